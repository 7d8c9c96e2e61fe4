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
        Mode::try_from(((self.flags & flag::MODE) >> flag::MODE_SHIFT) as u8).unwrap_or_default()
    }

    pub(super) const fn room(&self) -> u32 {
        self.capacity.saturating_sub(self.buffered_bytes)
    }

    /// What the decoder needs has no room in the buffer. A slot is only a stand-in for a buffer.
    pub(crate) fn is_misfit(&self) -> bool {
        self.has(flag::BUFFER) && self.needed_bytes > self.room() && !self.has(flag::OVER | flag::FAILED)
    }

    pub(super) fn has_room(&self) -> bool {
        match self.hold() {
            Hold::Buffer => !self.has(flag::FULL),
            Hold::Slot => !(self.has(flag::FULL | flag::READS_AHEAD) && self.has(flag::WAITING)),
            Hold::None => !self.has(flag::WAITING),
        }
    }

    /// The content of a slot is moved to its front when bytes leave it, so none may while a receive goes to behind it.
    pub(super) fn is_pinned(&self) -> bool {
        self.is_in_flight() && self.has(flag::SLOT)
    }

    pub(super) fn reclaim_max(&self) -> u32 {
        u32::from(self.park_bytes.max(self.reclaim_bytes))
    }

    /// Neither the receives of this loop iteration nor the host's own budget are used up.
    pub(super) fn is_within_budget(&self) -> bool {
        self.reads < self.allowed_reads() && !self.has(flag::YIELDED)
    }

    /// Receives allowed in one loop iteration.
    pub(super) fn allowed_reads(&self) -> u8 {
        match self.reads_per_wake {
            0 => Policy::READS_PER_WAKE_DEFAULT,
            allowed => allowed,
        }
    }
}

/// All of the conditions. Each is computed once, without branches, because every event asks for nearly all of them.
pub(super) struct Conditions {
    /// Bytes could be accepted now.
    pub(super) accepts: bool,
    /// Read interest is wanted.
    pub(super) interest: bool,
    /// A receive in flight is no longer wanted, prevents the decoding of a slot, or uses a buffer that other
    /// connections wait for.
    pub(super) take_back: bool,
    /// A buffer is wanted, or goes on being waited for.
    pub(super) buffer: bool,
    pub(super) decode: bool,
    pub(super) discard: bool,
    pub(super) receive: bool,
    pub(super) end: bool,
    pub(super) cannot_fit: bool,
    pub(super) park: bool,
    /// The buffer or slot is empty, and there is no reason to hold it.
    pub(super) release: bool,
    /// Work is left for the next loop iteration, and no read interest would wake the host for it.
    pub(super) next_iteration: bool,
}

impl Conditions {
    #[inline(always)] // a caller that reads one field does not compute the others
    pub(super) fn of(c: &Connection) -> Conditions {
        let (has_buffer, has_slot, waiting) = (c.has(flag::BUFFER), c.has(flag::SLOT), c.has(flag::WAITING));
        let (ready, over, failed) = (c.has(flag::READY), c.has(flag::OVER), c.has(flag::FAILED));
        let (empty, needs_more, in_flight) = (c.buffered_bytes == 0, c.needed_bytes > 0, c.is_in_flight());
        let blocked = (c.blocked != 0) & !failed;
        let misfit = c.is_misfit();
        // What is parked with a decoder that is blocked needs no buffer before that ends: two such would trade one
        // forever. Nor is what was left in the kernel received before that.
        let parked = (has_slot & !empty) | c.has(flag::LEFT);
        let paused = c.has(flag::PAUSED) | ((c.has(flag::PAUSE_WHEN_BLOCKED) | parked) & blocked);
        let may_read = !over & !paused & !misfit;
        let in_budget = c.is_within_budget();

        let stopped = needs_more | (c.blocked != 0) | c.has(flag::YIELDED | flag::FAILED | flag::END_SEEN);
        let (decodable, refuse) = (!empty & !stopped, !empty & c.has(flag::FAILED | flag::END_SEEN));
        let pinned = c.is_pinned();
        let (decode, discard) = (decodable & !pinned, refuse & !pinned);
        let has_work = decode | discard;

        // What a slot holds is decoded before a buffer is asked for. A queued request stays queued across loop
        // iterations; a new request waits for the budget of the next one.
        let lacks_buffer = may_read & ready & !has_buffer;
        let buffer = lacks_buffer & (waiting | (in_budget & !has_work & !in_flight));
        // A slot to receive into until the buffer comes, but not under a layer that reads ahead. It is worth keeping
        // while it is empty: the next bytes go there. An empty buffer that is too small stays until the host has seen
        // to it: the next would be no larger.
        let lifeline = has_slot & waiting & !c.reads_ahead();
        let receivable = has_buffer | lifeline;
        let unread = receivable & may_read & ready & !in_flight & !c.has(flag::FULL) & !has_work;
        let receive = unread & in_budget;

        let end = over & !c.has(flag::END_SEEN) & !blocked & (empty | (needs_more & !failed));
        let accepts = may_read & c.has_room();
        let (interest, reports_again) = match c.mode() {
            Mode::Level => (accepts, !c.reads_ahead()),
            Mode::OneShot | Mode::Optimistic | Mode::Completion => (accepts & !ready, false),
            Mode::Edge => (!over, false),
        };
        let wants_room = unread | (lacks_buffer & !waiting & !has_work);
        Conditions {
            accepts,
            interest,
            take_back: in_flight
                & !c.has(flag::TAKEN_BACK)
                & (c.has(flag::CLOSED | flag::ASKED) | !may_read | (pinned & (decodable | refuse))),
            buffer,
            decode,
            discard,
            receive,
            end,
            cannot_fit: misfit & !blocked & !c.has(flag::MISFIT_SEEN),
            park: has_buffer & !in_flight & (needs_more | blocked) & !misfit & !end && c.may_park(ready & may_read),
            release: (has_buffer | has_slot) & empty & !misfit & !in_flight & !receive & !(lifeline & buffer),
            next_iteration: (c.has(flag::YIELDED) & !needs_more & !blocked)
                | (!reports_again & !in_budget & wants_room),
        }
    }
}

impl Connection {
    /// Whether what is buffered is little enough to be parked, and now is the time.
    fn may_park(&self, is_receiving: bool) -> bool {
        let asked = self.has(flag::RECLAIM);
        let limit = if asked { self.reclaim_max() } else { u32::from(self.park_bytes) };
        let fits = 0 < self.buffered_bytes && self.buffered_bytes <= limit;
        fits && (asked || !is_receiving) && !self.has(flag::FAILED | flag::END_SEEN)
    }
}
