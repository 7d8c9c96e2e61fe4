//! The conditions that the actions follow from: the table of actions.

use super::{Connection, Hold, Mode, Policy, flag};

impl Connection {
    pub(super) const fn has(&self, any_of: u32) -> bool {
        self.flags & any_of != 0
    }

    pub(super) fn set(&mut self, flags: u32) {
        self.flags |= flags;
    }

    pub(super) fn clear(&mut self, flags: u32) {
        self.flags &= !flags;
    }

    pub(super) fn mode(&self) -> Mode {
        Mode::from_number((self.flags >> flag::MODE_SHIFT) as u8).unwrap_or_default()
    }

    pub(super) const fn room(&self) -> u32 {
        self.capacity.saturating_sub(self.level)
    }

    pub(super) fn is_blocked(&self) -> bool {
        self.blocked != 0 && !self.has(flag::FAILED)
    }

    /// What the decoder is short of has no room in the buffer. A slot is only a stand-in for a buffer.
    pub(super) fn is_misfit(&self) -> bool {
        self.has(flag::BUFFER) && self.short > self.room() && !self.has(flag::OVER | flag::FAILED)
    }

    pub(super) fn may_read(&self) -> bool {
        let pauses = self.has(flag::PAUSE_WHEN_BLOCKED) && self.is_blocked();
        !self.has(flag::OVER | flag::PAUSED) && !self.is_misfit() && !pauses
    }

    pub(super) fn has_room(&self) -> bool {
        match self.hold() {
            Hold::Buffer => !self.has(flag::FULL),
            Hold::Slot => !(self.has(flag::FULL) && self.has(flag::WAITING)),
            Hold::None => !self.has(flag::WAITING),
        }
    }

    pub(super) fn wants_watch(&self) -> bool {
        match self.mode() {
            Mode::Level => self.is_accepting(),
            Mode::OneShot | Mode::Optimistic => self.is_accepting() && !self.has(flag::READY),
            Mode::Edge => !self.has(flag::OVER),
            Mode::Completion => false,
        }
    }

    /// A receive is in flight that should not be, or whose buffer others wait for.
    pub(super) fn should_take_back(&self) -> bool {
        let in_the_way = self.is_pinned() && (self.is_decodable() || self.is_refuse());
        let unwanted = self.has(flag::CLOSED | flag::ASKED) || !self.may_read() || in_the_way;
        self.is_in_flight() && unwanted && !self.has(flag::TAKEN_BACK)
    }

    /// Neither the receives of this turn are used up, nor the host's own budget.
    pub(super) fn is_within_budget(&self) -> bool {
        let allowed = match self.reads_per_wake {
            0 => Policy::READS_PER_WAKE_DEFAULT,
            allowed => allowed,
        };
        self.reads < allowed && !self.has(flag::YIELDED)
    }

    /// A place in the queue is kept across turns; a new request waits for the next turn's budget.
    pub(super) fn wants_buffer(&self) -> bool {
        self.may_read()
            && self.has(flag::READY)
            && !self.has(flag::BUFFER)
            && (self.has(flag::WAITING) || self.may_request())
    }

    /// What a slot holds is decoded before a buffer is asked for.
    pub(super) fn may_request(&self) -> bool {
        self.is_within_budget() && !self.can_decode() && !self.must_discard() && !self.is_in_flight()
    }

    pub(super) fn can_decode(&self) -> bool {
        self.is_decodable() && !self.is_pinned()
    }

    pub(super) fn must_discard(&self) -> bool {
        self.is_refuse() && !self.is_pinned()
    }

    pub(super) fn is_decodable(&self) -> bool {
        self.level > 0
            && self.short == 0
            && self.blocked == 0
            && !self.has(flag::YIELDED | flag::FAILED | flag::END_SEEN)
    }

    pub(super) fn is_refuse(&self) -> bool {
        self.level > 0 && self.has(flag::FAILED | flag::END_SEEN)
    }

    /// The content of a slot is moved to its front when bytes leave it, so none may while a receive goes to behind it.
    pub(super) fn is_pinned(&self) -> bool {
        self.is_in_flight() && self.has(flag::SLOT)
    }

    /// Everything but the budget speaks for a receive.
    pub(super) fn could_receive(&self) -> bool {
        let held = self.has(flag::BUFFER) || (self.has(flag::SLOT) && self.has(flag::WAITING));
        held && self.may_read()
            && !self.is_in_flight()
            && self.has(flag::READY)
            && !self.has(flag::FULL)
            && !self.can_decode()
            && !self.must_discard()
    }

    pub(super) fn should_receive(&self) -> bool {
        self.could_receive() && self.is_within_budget()
    }

    pub(super) fn end_is_due(&self) -> bool {
        self.has(flag::OVER)
            && !self.has(flag::END_SEEN)
            && !self.is_blocked()
            && (self.level == 0 || (self.short > 0 && !self.has(flag::FAILED)))
    }

    pub(super) fn reclaim_max(&self) -> u32 {
        u32::from(self.park_bytes.max(self.reclaim_bytes))
    }

    pub(super) fn should_park(&self) -> bool {
        let limit = if self.has(flag::RECLAIM) { self.reclaim_max() } else { u32::from(self.park_bytes) };
        let fits = 0 < self.level && self.level <= limit;
        let dry = !self.has(flag::READY) || !self.may_read();
        fits && self.has(flag::BUFFER)
            && !self.is_in_flight()
            && (dry || self.has(flag::RECLAIM))
            && (self.short > 0 || self.is_blocked())
            && !self.has(flag::FAILED | flag::END_SEEN)
            && !self.is_misfit()
            && !self.end_is_due()
    }

    /// An empty slot is worth keeping while a buffer is waited for: the next bytes go there.
    pub(super) fn keeps_lifeline(&self) -> bool {
        self.has(flag::SLOT) && self.has(flag::WAITING) && self.wants_buffer()
    }

    pub(super) fn has_work_for_next_turn(&self) -> bool {
        let decode = self.has(flag::YIELDED) && self.short == 0 && !self.is_blocked();
        // A level watch reports again by itself.
        let receive = self.mode() != Mode::Level && !self.is_within_budget() && self.has_unread();
        decode || receive
    }

    pub(super) fn has_unread(&self) -> bool {
        let lacks_buffer = !self.has(flag::BUFFER | flag::WAITING) && self.may_read() && self.has(flag::READY);
        self.could_receive() || (lacks_buffer && !self.can_decode() && !self.must_discard())
    }
}
