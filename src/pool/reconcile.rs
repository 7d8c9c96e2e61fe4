//! What happens inside a step: the machine and the memory model ask things of each other, until only the host's actions
//! are left.

use super::{BufferSource, Pool, PoolError};
use crate::connection::{Action, Actions, Connection, Event, EventError, Hold, Mode, Policy};
use crate::receiving::{After, Begin, Rest, Stance};

impl<S: BufferSource> Pool<S> {
    /// The receiver may receive. A machine that sees as much room already goes on with a report.
    pub(super) fn grant(&mut self, index: u32, max_bytes: u32) {
        let capacity = self.capacity_for(index, max_bytes);
        let connection = self.table.connection(index);
        let has_room = connection.hold() == Hold::Buffer && connection.capacity() >= capacity;
        self.feed(index, if has_room { Event::Readable } else { Event::BufferGranted { capacity } });
    }

    /// The buffer that the machine sees of a receiver that may receive: with that much room, so that it knows when a
    /// receive filled it. It is the whole buffer that the receive goes to if a poller reports again what a filled
    /// receive leaves (not of a layer that reads ahead), or if a cell has less room than the frame needs, since the
    /// frame does fit.
    pub(super) fn capacity_for(&self, index: u32, max_bytes: u32) -> u32 {
        self.table.connection(index).capacity_to_receive(self.memory.config().buffer_bytes, max_bytes)
    }

    /// The memory model dropped what the receiver kept.
    pub(super) fn shed(&mut self, index: u32) {
        let bytes = self.table.connection(index).buffered_bytes();
        self.counts.dropped_bytes += u64::from(bytes);
        self.feed(index, Event::Fail);
        self.feed(index, Event::PauseRecv);
        self.feed(index, Event::Consumed { bytes });
        self.follow_hold(index, Stance::Shed);
    }

    /// The host calls before the notice.
    pub(crate) fn follow_shed(&mut self, index: u32) {
        if self.is_shed_unseen(index) {
            self.shed(index);
        }
    }

    /// What it kept is gone, and the machine does not know yet.
    fn is_shed_unseen(&self, index: u32) -> bool {
        self.memory.is_shed(index) && self.table.connection(index).buffered_bytes() > 0
    }

    /// As `pending`, of the receiver in this row.
    #[doc(hidden)]
    pub fn pending_at(&self, index: u32) -> Actions {
        if self.has_open_cycle(index) {
            return self.cycle.view(self.table.connection(index)).pending();
        }
        let is_kept = self.kept_cycle.is_of(index);
        let stance = if is_kept { self.kept_cycle.stance() } else { self.memory.stance(index) };
        self.host_actions(index, self.table.connection(index).pending(), stance)
    }

    /// What is left for the host of what is pending, of a receiver that stands so.
    pub(super) fn host_actions(&self, index: u32, pending: Actions, stance: Stance) -> Actions {
        const OWN: Actions = Actions::of(&[
            Action::RequestBuffer,
            Action::CancelRequest,
            Action::ReleaseBuffer,
            Action::Park,
            Action::Discard,
        ]);
        let mut actions = pending.without(OWN);
        let connection = self.table.connection(index);
        if self.in_place_bytes(index) > 0 {
            // The borrow goes on until they are reported on, whatever the machine would receive into the buffer.
            actions = actions.without(Action::Recv.into());
        }
        if Self::is_late(pending, stance) {
            let next = if self.scheduled.get(index) { Actions::NONE } else { Action::Reschedule.into() };
            actions = actions.without(Action::Decode.into()) | next;
        }
        if connection.may_have_mark() {
            actions = self.with_counting(index, actions);
        }
        match stance {
            Stance::Shed if connection.buffered_bytes() > 0 => Action::Shed.into(), // What it kept is gone.
            Stance::Shed => actions | Action::Shed,
            _ => actions,
        }
    }

    /// There was no buffer that it could borrow in this loop iteration.
    pub(super) fn is_late(pending: Actions, stance: Stance) -> bool {
        pending.has(Action::RequestBuffer) || (pending.has(Action::Decode) && !stance.borrows())
    }

    /// Does what the machine and the memory model ask of each other, until only the host is asked.
    pub(crate) fn reconcile(&mut self, index: u32) -> Actions {
        self.reconcile_with(index, 0)
    }

    /// As `reconcile`, after a decoder's report of what it could use at once.
    pub(super) fn reconcile_with(&mut self, index: u32, usable_bytes: u32) -> Actions {
        self.reconcile_reported(index, usable_bytes, false)
    }

    pub(super) fn reconcile_reported(&mut self, index: u32, usable_bytes: u32, is_reported: bool) -> Actions {
        let is_reported = is_reported || (self.undelivered.has_any() && self.undelivered.get(index));
        loop {
            let stance = self.memory.stance(index);
            self.follow_hold(index, stance);
            let pending = self.table.connection(index).pending();
            if !self.reconcile_once(index, (pending, stance), usable_bytes, is_reported) {
                return self.host_actions(index, pending, stance);
            }
        }
    }

    /// One step of it; `false` if there was nothing to do, and all is as it was.
    fn reconcile_once(
        &mut self,
        index: u32,
        (pending, stance): (Actions, Stance),
        usable_bytes: u32,
        is_reported: bool,
    ) -> bool {
        if pending.has(Action::CancelRequest) {
            self.memory.cancel(index).expect("it is attached");
            self.feed(index, Event::done(Action::CancelRequest));
            return true;
        }
        match stance {
            Stance::InFlight => return self.reconcile_in_flight(index, pending),
            Stance::MayReceive | Stance::Unreported => {
                return self.reconcile_borrow(index, stance, pending, usable_bytes);
            }
            Stance::Idle | Stance::Resting if self.table.connection(index).is_waiting() => {
                // What it kept is gone, and its claim with that, but not its need.
                self.memory.claim_anew(index);
                return true;
            }
            Stance::Idle => return pending.has(Action::RequestBuffer) && self.begin(index, is_reported),
            Stance::Shed | Stance::Owing => return false,
            _ => {}
        }
        if pending.has(Action::Discard) {
            self.discard(index);
            return true;
        }
        if self.follow_held(index, stance) || self.follow_wait(index, pending, stance) {
            return true;
        }
        let keeps_misfit = self.table.connection(index).buffered_bytes() > 0 && self.is_misfit(index);
        if pending.has(Action::Decode) || (pending.has(Action::RequestBuffer) && keeps_misfit) {
            return self.borrow_to_decode(index).is_ok();
        }
        pending.has(Action::RequestBuffer) && self.begin(index, is_reported)
    }

    /// As `reconcile_once`, of a receiver that borrows, and has no receive in flight.
    fn reconcile_borrow(&mut self, index: u32, stance: Stance, pending: Actions, usable_bytes: u32) -> bool {
        let next = if stance == Stance::Unreported { Action::Decode } else { Action::Recv };
        if pending.has(next) {
            // Then nothing is to be discarded, and the frame fits.
            return false;
        }
        if self.memory.is_looked_at(index) {
            self.report_look(index, usable_bytes);
            return true;
        }
        if pending.has(Action::Discard) {
            self.discard(index);
            return true;
        }
        if self.in_place_bytes(index) > 0 {
            // Until they are reported on, only the host has them.
            return false;
        }
        if self.is_misfit(index) {
            return self.show_misfit(index);
        }
        let after = if stance == Stance::Unreported {
            self.memory.decoded(index, 0, self.rest(index, usable_bytes))
        } else {
            self.memory.dry(index)
        };
        self.follow(index, after.expect("it borrows"));
        true
    }

    pub(super) fn discard(&mut self, index: u32) {
        let bytes = self.memory.discard(index).expect("it is attached");
        self.counts.dropped_bytes += u64::from(bytes);
        self.feed(index, Event::Consumed { bytes });
    }

    /// The frame at the front fits into no buffer.
    pub(super) fn is_misfit(&self, index: u32) -> bool {
        self.is_misfit_of(self.table.connection(index))
    }

    pub(super) fn is_misfit_of(&self, connection: &Connection) -> bool {
        let is_receiving = connection.end().is_none() && !connection.is_failed();
        let length_bytes = connection.buffered_bytes().saturating_add(connection.needed_bytes());
        is_receiving && connection.needed_bytes() > 0 && length_bytes > self.memory.config().buffer_bytes
    }

    /// The machine holds what it takes for the buffer that a frame does not fit into.
    pub(super) fn is_misfit_seen(&self, index: u32) -> bool {
        self.table.connection(index).hold() == Hold::Buffer && self.is_misfit(index)
    }

    /// Whether this report is the answer to a frame that does not fit, of which nothing is there, to pass it on in
    /// pieces. Refused are a report of nothing, and, at the look that follows such an answer, one that the frame does
    /// not fit: all would be as it was, also for a host that goes on until nothing is to be done.
    pub(super) fn check_misfit_report(
        &self,
        index: u32,
        consumed_bytes: u32,
        needed_bytes: u32,
    ) -> Result<bool, PoolError> {
        let is_unread = self.table.connection(index).buffered_bytes() == 0;
        if consumed_bytes | needed_bytes == 0 && is_unread && self.pending_at(index).has(Action::CannotFit) {
            return Err(EventError::ZeroBytes.into());
        }
        let fits = needed_bytes <= self.memory.config().buffer_bytes;
        if !fits && self.memory.looks_in_pieces(index) {
            return Err(PoolError::TooManyBytes);
        }
        Ok(is_unread && fits && needed_bytes > 0 && self.is_misfit(index))
    }

    /// The machine has to see that the frame does not fit into a whole buffer, whatever the room was; `false` if it
    /// does.
    pub(super) fn show_misfit(&mut self, index: u32) -> bool {
        let (connection, buffer_bytes) = (self.table.connection(index), self.memory.config().buffer_bytes);
        let is_shown = connection.hold() == Hold::Buffer && connection.capacity() == buffer_bytes;
        if !is_shown {
            self.feed(index, Event::BufferGranted { capacity: buffer_bytes });
        }
        !is_shown
    }

    fn begin(&mut self, index: u32, is_reported: bool) -> bool {
        let memory = &mut self.memory;
        let begin = if is_reported { memory.begin(index) } else { memory.begin_unreported(index) };
        match begin.expect("the machine receives behind what is short") {
            Begin::Receive { max_bytes } | Begin::Look { max_bytes } => self.grant(index, max_bytes),
            Begin::Whole { bytes } | Begin::WholeLook { bytes } => self.grant(index, bytes),
            Begin::Later => return false,
            Begin::Claimed | Begin::Off if self.table.connection(index).is_waiting() => return false,
            Begin::Claimed if !is_reported && self.reports_again(index) => {
                // Perhaps there is nothing: the poller reports it when there is.
                self.memory.cancel(index).expect("it is attached");
                self.feed(index, Event::WouldBlock);
            }
            Begin::Claimed | Begin::Off => {
                self.fill_slot(index);
                self.feed(index, Event::BufferDenied);
            }
        }
        true
    }

    /// Whether a poller reports what is there once more, of a receiver that keeps nothing.
    fn reports_again(&self, index: u32) -> bool {
        let connection = self.table.connection(index);
        let Policy { mode, reads_ahead, .. } = connection.policy();
        mode != Mode::Edge && !reads_ahead && connection.buffered_bytes() == 0
    }

    /// Something is there to be received, also for a receiver that waits. An edge may be late: what it was reported for
    /// may have been received since. So only the report of one that waits is certain.
    pub(super) fn reconcile_readable(&mut self, index: u32) -> Actions {
        let waited = self.table.connection(index).is_waiting();
        let actions = self.reconcile_reported(index, 0, self.table.connection(index).policy().mode != Mode::Edge);
        let waits = waited && self.table.connection(index).is_waiting() && !self.memory.is_shed(index);
        if waits && self.memory.borrowed(index).is_none() && self.begin(index, true) {
            return self.reconcile(index);
        }
        actions
    }

    pub(super) fn follow(&mut self, index: u32, after: After) {
        match after {
            After::Ended | After::ReceiveAway { .. } => {}
            After::Receive { max_bytes } => {
                // A trial has a number of receives of its own.
                self.feed(index, Event::Wake);
                let connection = self.table.connection(index);
                if connection.capacity() >= connection.buffered_bytes() + max_bytes {
                    self.feed(index, Event::Readable);
                } else {
                    self.grant(index, max_bytes);
                }
            }
            After::Shed { .. } => self.shed(index),
        }
    }

    /// Why the decoder left bytes.
    pub(super) fn rest(&self, index: u32, usable_bytes: u32) -> Rest {
        let connection = self.table.connection(index);
        let (buffered_bytes, needed_bytes) = (connection.buffered_bytes(), connection.needed_bytes());
        let waits_for_host = connection.blocked() > 0 || connection.is_paused() || connection.end().is_some();
        if buffered_bytes == 0 {
            Rest::Nothing
        } else if needed_bytes > 0 && !waits_for_host && !self.is_misfit(index) {
            Rest::Short { needed_bytes, usable_bytes }
        } else {
            Rest::Held
        }
    }

    /// A decoder that left nothing needs more, and could use this at once: so it is known where the receiver waits.
    pub(super) fn note_usable(&mut self, index: u32, usable_bytes: u32) {
        let connection = self.table.connection(index);
        let needed_bytes = connection.needed_bytes();
        if connection.buffered_bytes() == 0 && needed_bytes > 0 && !self.memory.is_shed(index) {
            self.memory.set_usable(index, usable_bytes.max(needed_bytes)).expect("nothing is left");
        }
    }

    /// The machine holds a buffer while the receiver borrows, a slot while it keeps bytes, else nothing. But it goes on
    /// to see a frame that does not fit, or it would report that in each loop iteration.
    pub(super) fn follow_hold(&mut self, index: u32, stance: Stance) {
        let is_none = self.table.connection(index).hold() == Hold::None;
        if is_none || stance.borrows() || self.is_misfit_seen(index) {
            return;
        }
        let connection = self.table.connection(index);
        if connection.buffered_bytes() == 0 {
            self.feed(index, Event::BufferReleased);
        } else if connection.hold() == Hold::Buffer {
            // The next receive may bring as much as fits.
            let capacity = self.memory.config().buffer_bytes;
            self.feed(index, Event::BufferParked { capacity });
        }
    }

    /// While it waits, there is no room behind what it keeps.
    fn fill_slot(&mut self, index: u32) {
        let capacity = self.table.connection(index).buffered_bytes();
        if capacity > 0 {
            self.feed(index, Event::BufferParked { capacity });
        }
    }

    /// A receiver claims only while there may be something to be received, and waits under a mark only while it could
    /// be.
    pub(super) fn follow_wait(&mut self, index: u32, pending: Actions, stance: Stance) -> bool {
        let connection = self.table.connection(index);
        let is_over = match stance {
            Stance::Claiming => !connection.is_waiting() && !pending.has(Action::RequestBuffer),
            Stance::Marked => !connection.is_accepting(),
            _ => false,
        };
        if is_over {
            self.memory.cancel(index).expect("it is attached");
        }
        is_over
    }

    /// What is kept waits for the host, or for its peer, as the machine has it.
    fn follow_held(&mut self, index: u32, stance: Stance) -> bool {
        let connection = self.table.connection(index);
        let keeps = connection.buffered_bytes() > 0;
        // While it waits for room, it goes on waiting: there the host sees a frame that does not fit.
        let is_held = keeps && !connection.is_waiting() && self.rest(index, 0) == Rest::Held;
        if keeps && is_held != (stance == Stance::Held) {
            self.memory.hold(index, is_held).expect("it does not borrow");
            return true;
        }
        false
    }
}
