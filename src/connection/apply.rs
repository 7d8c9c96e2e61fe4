//! What an admitted event changes: the column "effect" of the table of events.

use super::{Action, Actions, Connection, Event, Mode, Policy, flag};

impl Connection {
    #[inline(always)] // see `handle_inline`
    pub(super) fn apply(&mut self, event: Event) {
        match event {
            Event::Attach { buffered_bytes, capacity } => self.attach(buffered_bytes, capacity),
            Event::Readable | Event::KernelFull => self.readable(),
            Event::PeerClosed => {
                self.set(flag::PEER_CLOSED);
                self.readable();
            }
            Event::BufferGranted { capacity } => self.apply_grant(capacity),
            Event::BufferDenied => self.set(flag::WAITING),
            Event::BufferParked { capacity } => self.hold_as(flag::SLOT, capacity),
            Event::BufferReleased => self.drop_hold(),
            Event::Received { bytes } => self.received(bytes),
            Event::WouldBlock => self.clear(flag::READY | flag::FLIGHT),
            Event::WouldBlockArmed => {
                self.clear(flag::READY | flag::FLIGHT);
                self.set(flag::ARMED);
            }
            Event::EndOfStream => self.end_with(flag::ENDED),
            Event::TransportError => self.end_with(flag::BROKEN),
            Event::Consumed { bytes } => self.consumed(bytes),
            Event::NeedMore { bytes } => self.need_more(bytes),
            Event::Block { reasons } => self.blocked |= reasons,
            Event::Unblock { reasons } => self.blocked &= !reasons,
            Event::SetBlocked { reasons } => self.blocked = reasons,
            Event::Yield => self.yield_iteration(),
            Event::Wake => self.begin_iteration(),
            Event::PauseRecv => self.set(flag::PAUSED),
            Event::ResumeRecv => self.clear(flag::PAUSED),
            Event::Fail => self.fail(),
            Event::Sync { buffered_bytes, capacity, blocked, needed_bytes, armed } => {
                self.sync(buffered_bytes, capacity, blocked, needed_bytes, armed)
            }
            Event::ReclaimRequested => self.reclaim(),
            Event::LeaseExpired => self.expire(),
            Event::Done(actions) => self.done(actions),
            Event::Close => self.set(flag::CLOSED),
        }
    }

    fn attach(&mut self, buffered_bytes: u32, capacity: u32) {
        let flags = self.flags & flag::MADE_WITH | flag::ATTACHED;
        *self = Connection { flags, ..Connection::new(self.policy()) };
        self.expect_data();
        self.buffered_bytes = buffered_bytes;
        if capacity > 0 {
            self.hold_as(flag::BUFFER, capacity);
        }
    }

    pub(super) fn apply_policy(&mut self, policy: &Policy) {
        let Policy { mode, reads_per_wake, park_bytes, reclaim_bytes, resume_free_bytes, .. } = *policy;
        let is_same_mode = self.has_mode(mode);
        let rules = Connection::new(*policy).flags;
        self.flags = self.flags & !flag::SETTINGS | rules;
        (self.reads_per_wake, self.resume_free_bytes) = (reads_per_wake, resume_free_bytes);
        (self.park_bytes, self.reclaim_bytes) = (park_bytes, reclaim_bytes);
        if !is_same_mode {
            self.clear(flag::ARMED);
            self.expect_data();
        }
        self.update_room();
    }

    /// Hosts of these modes receive first and ask later.
    fn expect_data(&mut self) {
        if matches!(self.mode(), Mode::Optimistic | Mode::Completion) && !self.has(flag::OVER) {
            self.set(flag::READY);
        }
    }

    #[inline]
    fn readable(&mut self) {
        if self.has(flag::OVER) {
            return;
        }
        self.set(flag::READY);
        if self.is_single_report() {
            self.clear(flag::ARMED);
        }
        self.begin_iteration();
    }

    #[inline]
    fn apply_grant(&mut self, capacity: u32) {
        // What is granted at once belongs to the loop iteration that asked for it, or a host that hands each buffer on
        // would never come to the end of its budget.
        if self.has(flag::WAITING) {
            self.clear(flag::WAITING);
            self.begin_iteration();
        }
        self.hold_as(flag::BUFFER, capacity);
    }

    /// The budgets of the loop iteration start again.
    #[inline]
    fn begin_iteration(&mut self) {
        self.reads = 0;
        self.clear(flag::YIELDED | flag::SCHEDULED | flag::QUIET);
    }

    fn yield_iteration(&mut self) {
        if self.buffered_bytes > 0 && !self.has(flag::FAILED) {
            self.set(flag::YIELDED);
        }
    }

    #[inline]
    fn received(&mut self, bytes: u32) {
        self.clear(flag::FLIGHT | flag::QUIET | flag::LEFT);
        let filled = bytes == self.room();
        self.buffered_bytes += bytes;
        self.needed_bytes = self.needed_bytes.saturating_sub(bytes);
        self.reads = self.reads.saturating_add(1);
        // A receive that filled what was offered may have left more behind. In level-triggered and one-shot mode
        // another ran dry, and read interest reports again whatever came since. The other modes report a change only
        // once: an end that arrived with the bytes is part of that report, so another receive has to look for it. What
        // a layer that reads ahead holds is not reported in any mode. Behind the last bytes of a peer that closed is
        // the end.
        self.clear(flag::READY);
        self.set(if filled | self.asks_again() { flag::READY } else { 0 });
        self.update_room();
    }

    fn end_with(&mut self, kind: u32) {
        if !self.has(flag::END_SEEN) {
            self.set(kind);
        }
        self.clear(flag::READY | flag::FLIGHT);
    }

    #[inline]
    fn consumed(&mut self, bytes: u32) {
        if bytes == 0 {
            return;
        }
        self.buffered_bytes -= bytes;
        // The decoder went on, so what it needed is behind it.
        self.needed_bytes = 0;
        self.clear(flag::ASKED | flag::QUIET);
        if self.buffered_bytes == 0 {
            self.clear(flag::YIELDED);
        }
        self.update_room();
    }

    fn need_more(&mut self, bytes: u32) {
        if self.has(flag::FAILED) {
            return;
        }
        self.needed_bytes = bytes;
        self.clear(flag::YIELDED | flag::MISFIT_SEEN);
        self.update_room();
    }

    fn fail(&mut self) {
        self.set(flag::FAILED);
        self.clear(flag::YIELDED | flag::ASKED);
        self.needed_bytes = 0;
        self.blocked = 0;
    }

    fn sync(&mut self, buffered_bytes: u32, capacity: u32, blocked: u32, needed_bytes: bool, armed: bool) {
        // As with `Consumed`, only progress or another buffer ends what the pool asked for.
        let same_buffer = self.has(flag::BUFFER) && capacity > 0;
        let asked = if same_buffer && buffered_bytes >= self.buffered_bytes { self.flags & flag::ASKED } else { 0 };
        if buffered_bytes > self.buffered_bytes {
            self.reads = self.reads.saturating_add(1);
        }
        self.buffered_bytes = buffered_bytes;
        self.blocked = blocked;
        // A need without a number is one of at least one byte.
        self.needed_bytes = u32::from(needed_bytes && !self.has(flag::FAILED));
        if buffered_bytes == 0 {
            self.clear(flag::YIELDED);
        }
        self.clear(flag::ARMED);
        if armed {
            self.set(flag::ARMED);
        }
        match capacity {
            0 => self.drop_hold_empty(),
            _ if self.has(flag::SLOT) && capacity == self.capacity => self.hold_as(flag::SLOT, capacity),
            _ => self.hold_as(flag::BUFFER, capacity),
        }
        self.set(asked);
        // One-shot read interest that is armed looks again, so there is nothing to receive before it reports. A place
        // in the queue, with no room to have received into, is not given up for that.
        let looks_again = armed && self.is_single_report();
        if looks_again && (self.has_room() || !self.has(flag::WAITING)) {
            self.clear(flag::READY);
        }
    }

    fn reclaim(&mut self) {
        // What a receive is in flight into may be empty, or have to make way for something larger.
        if (self.has(flag::BUFFER) && self.buffered_bytes > 0) || self.is_in_flight() {
            self.set(flag::RECLAIM);
        }
    }

    fn expire(&mut self) {
        // An empty buffer that is too small for what is to come is held until its host ends that.
        let is_kept_empty = self.buffered_bytes == 0 && self.is_misfit();
        if self.buffered_bytes == 0 && !is_kept_empty {
            return self.reclaim();
        }
        if !self.has(flag::BUFFER) {
            return;
        }
        // A connection that was asked to park before and still holds the buffer was not able to park.
        let could_park = !is_kept_empty && self.buffered_bytes <= self.reclaim_max() && !self.has(flag::RECLAIM);
        self.set(if could_park { flag::RECLAIM } else { flag::EXPIRED });
    }

    fn done(&mut self, actions: Actions) {
        for action in actions.iter() {
            match action {
                Action::WantRecv => self.set(flag::ARMED),
                Action::StopRecv => {
                    self.clear(flag::ARMED);
                    self.set(if self.is_in_flight() { flag::TAKEN_BACK } else { 0 });
                }
                Action::Recv => self.set(flag::IN_FLIGHT),
                Action::CancelRequest => self.clear(flag::WAITING),
                Action::End => self.set(flag::END_SEEN),
                Action::CannotFit => self.set(flag::MISFIT_SEEN),
                Action::Shed => self.clear(flag::EXPIRED),
                Action::Reschedule => self.set(flag::SCHEDULED),
                // `admit_done` let none of the others through.
                _ => {}
            }
        }
    }

    /// What is held is now a buffer or slot of this capacity, with the same content.
    #[inline]
    fn hold_as(&mut self, kind: u32, capacity: u32) {
        self.clear(flag::HELD | flag::ASKED);
        self.set(kind);
        if capacity != self.capacity {
            // Another place was never full itself, so it need not be drained first.
            self.clear(flag::FULL);
        }
        self.capacity = capacity;
        self.update_room();
    }

    #[inline]
    fn drop_hold(&mut self) {
        if self.buffered_bytes > 0 {
            // What the decoder needed left with the content.
            self.needed_bytes = 0;
        }
        self.buffered_bytes = 0;
        self.drop_hold_empty();
    }

    #[inline]
    fn drop_hold_empty(&mut self) {
        self.capacity = 0;
        let yielded = if self.has(flag::LEFT) { 0 } else { flag::YIELDED };
        self.clear(flag::HELD | flag::ASKED | yielded);
        self.update_room();
    }

    /// The last bytes, this many, were only looked at, and are in the kernel still: they are received again, with as
    /// many as are needed from there on, 0 if the decoder waits for the host.
    pub(crate) fn leave_in_kernel(&mut self, bytes: u32, needed_bytes: u32, waits_for_host: bool) {
        self.buffered_bytes -= bytes;
        self.needed_bytes = needed_bytes;
        self.set(flag::READY | if waits_for_host { flag::LEFT } else { 0 });
        self.update_room();
    }

    /// The one place where buffered bytes and capacity decide over full and misfit.
    #[inline]
    fn update_room(&mut self) {
        let room = self.room();
        if room > 0 && !self.has(flag::FULL | flag::MISFIT_SEEN) {
            return; // There is nothing to take back.
        }
        // A decoder that needs more bytes frees nothing before it has been given more.
        let resume_free_bytes = if self.needed_bytes > 0 { 1 } else { self.resume_free_bytes.max(1) };
        let enough = resume_free_bytes.min(self.capacity);
        if self.has(flag::HELD) && room == 0 {
            self.set(flag::FULL);
        } else if room >= enough {
            self.clear(flag::FULL);
        }
        if !self.is_misfit() {
            self.clear(flag::MISFIT_SEEN);
        }
    }
}
