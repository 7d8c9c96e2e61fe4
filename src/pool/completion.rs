//! Receives in flight, as the machine and the memory model have them.

use super::open_cycle::{OpenCycle, Phase, Progress, RawStep};
use super::{BufferSource, Pool, PoolError};
use crate::connection::{Action, Actions, Event, EventError, Extent, Mode, Policy};

impl<S: BufferSource> Pool<S> {
    /// The receiver follows this policy from now on: whether its receives are submitted.
    pub(super) fn follow_mode(&mut self, index: u32, policy: &Policy) {
        let submits = policy.mode == Mode::Completion;
        if self.memory.submits_at(index) == submits {
            return;
        }
        // What is allowed was allowed by the rules of the other mode.
        if self.memory.borrowed(index).is_some_and(|borrowed| borrowed.max_bytes > 0) {
            let after = self.memory.dry(index).expect("it may receive");
            self.follow(index, after);
        }
        self.memory.set_submits(index, submits).expect("it has no receive");
    }

    /// Refuses a receive that the host was not shown: the machine may have `Recv` pending where the memory model allows
    /// none, while bytes are in place. And one that is done at once.
    pub(super) fn check_may_submit(&self, index: u32) -> Result<(), PoolError> {
        let is_shown = self.pending_at(index).has(Action::Recv);
        let is_now = self.leaves_partial(index) || self.memory.owed_bytes(index) > 0;
        if is_shown && !is_now { Ok(()) } else { Err(EventError::NotPending.into()) }
    }

    /// The host has submitted the receive that was pending.
    pub(super) fn submit(&mut self, index: u32) {
        self.memory.submit(index).expect("the machine has the same room");
    }

    /// An event of a receiver that submits its receives, and keeps nothing, with the place of its content.
    #[inline(always)]
    pub(super) fn try_completion_step(&mut self, index: u32, event: Event) -> Option<RawStep> {
        match event {
            Event::Done(actions) if actions.bits() == Action::Recv as u32 => self.try_submit_in_cycle(index),
            Event::Received { bytes } => self.try_land(index, bytes),
            Event::Consumed { bytes } => self.try_pass_landed(index, bytes),
            _ => None,
        }
    }

    /// The receive of an open cycle is submitted: `None`, and nothing is changed, if there is none of this receiver.
    #[inline(always)]
    fn try_submit_in_cycle(&mut self, index: u32) -> Option<RawStep> {
        let OpenCycle { plan, progress, buffer_bytes, .. } = self.cycle;
        if progress.phase != Phase::Receiving || !plan.submits || !self.has_open_cycle(index) {
            return None;
        }
        self.table.connection_mut(index).submit_in_cycle(buffer_bytes, progress.reads);
        self.memory.submit_unlisted(index);
        self.cycle.progress.phase = Phase::Closed;
        Some(OpenCycle::step_at_rest(Actions::NONE))
    }

    /// A receive in flight has brought bytes, and nothing was there before: they are to be decoded. `None`, and nothing
    /// is changed, where there is more to do.
    #[inline(always)]
    fn try_land(&mut self, index: u32, bytes: u32) -> Option<RawStep> {
        if self.has_any_cycle() || !self.table.connection(index).may_land(bytes) {
            return None;
        }
        let at = self.memory.try_land_alone(index, bytes)?;
        self.table.connection_mut(index).land(bytes);
        self.counts.received_bytes += u64::from(bytes);
        Some(RawStep { data: Some(at), extent: Extent::new(bytes, Action::Decode.into()) })
    }

    /// All that a receive in flight has brought is decoded, and the receiver is to receive again: that is a cycle, or
    /// what `reconcile` finds. `None`, and nothing is changed, where there is more to do.
    pub(super) fn try_pass_landed(&mut self, index: u32, bytes: u32) -> Option<RawStep> {
        let has_landed = !self.has_any_cycle() && self.table.connection(index).has_landed(bytes);
        if !has_landed || !self.memory.try_release_landed(index, bytes) {
            return None;
        }
        self.counts.consumed_bytes += u64::from(bytes);
        self.table.connection_mut(index).release_landed();
        self.look_again();
        let is_ready = self.cycle.progress.phase == Phase::Ready;
        let plan = &mut self.cycle.plan;
        let goes_on = if is_ready { self.table.connection_mut(index).try_go_on_in_cycle(plan) } else { None };
        let Some(reads) = goes_on else {
            self.leave_fast_path();
            let actions = self.reconcile(index);
            return Some(self.placed(index, actions));
        };
        self.cycle.progress = Progress { phase: Phase::Receiving, reads };
        self.cycle.id = self.table.id(index);
        self.memory.unlisted().lend(self.cycle.buffer_bytes);
        Some(self.cycle.step_to_receive())
    }

    /// Refuses a call that needs the buffer of a receive in flight.
    pub(super) fn check_not_in_flight(&self, index: u32) -> Result<(), PoolError> {
        if self.table.connection(index).is_in_flight() { Err(EventError::InFlight.into()) } else { Ok(()) }
    }

    /// Refuses a call for a receiver that is closed, and has a receive in flight.
    pub(super) fn check_open(&self, index: u32) -> Result<(), PoolError> {
        if self.table.connection(index).is_open() { Ok(()) } else { Err(EventError::Closed.into()) }
    }

    /// As `handle_row`, of a receiver that was closed with a receive in flight: all that is left to come is its
    /// outcome.
    pub(super) fn handle_closed(&mut self, index: u32, event: Event) -> Result<Actions, PoolError> {
        match event {
            Event::Received { bytes } => self.drop_late(index, bytes)?,
            Event::Consumed { .. } => return Err(EventError::Closed.into()),
            event => self.apply(index, event)?,
        }
        if self.table.connection(index).is_in_flight() {
            return Ok(self.table.connection(index).pending());
        }
        self.memory.complete(index).expect("it was in flight");
        self.feed(index, Event::BufferReleased);
        let actions = self.table.connection(index).pending();
        self.free_row(index);
        Ok(actions)
    }

    /// Bytes came after all.
    fn drop_late(&mut self, index: u32, bytes: u32) -> Result<(), PoolError> {
        if self.memory.borrowed(index).is_none_or(|borrowed| bytes > borrowed.max_bytes) {
            return Err(PoolError::TooManyBytes);
        }
        self.apply(index, Event::Received { bytes })?;
        self.counts.received_bytes += u64::from(bytes);
        self.counts.dropped_bytes += u64::from(bytes);
        Ok(())
    }

    /// Others wait for the buffer that its receive is in flight in.
    pub(super) fn take_back(&mut self, index: u32) {
        self.feed(index, Event::ReclaimRequested);
    }

    /// As `reconcile_borrow`, while a receive is in flight, or was until its outcome, which brought nothing.
    pub(super) fn reconcile_in_flight(&mut self, index: u32, pending: Actions) -> bool {
        if !self.table.connection(index).is_in_flight() {
            let after = self.memory.dry(index).expect("it was in flight");
            self.follow(index, after);
            return true;
        }
        // The buffer stays, whatever becomes of its content.
        if pending.has(Action::Discard) {
            self.discard(index);
        }
        pending.has(Action::Discard)
    }

    /// The part of `check_invariants` about receives in flight; whether the receiver is closed, and there is no more to
    /// check.
    pub(super) fn check_in_flight(&self, index: u32) -> Result<bool, &'static str> {
        let connection = self.table.connection(index);
        if connection.is_in_flight() != self.memory.has_in_flight(index) {
            return Err("I2: the machine knows what is in flight");
        }
        match (connection.is_open(), connection.is_in_flight()) {
            (false, false) => Err("I7: a receiver that is closed has nothing but a receive in flight"),
            (is_open, _) => Ok(!is_open),
        }
    }
}
