//! Fast path of the common cycle: nothing is scarce, and the decoder consumes everything. Where it does not apply,
//! nothing is changed and `None` is returned.
//!
//! While none but these calls are made, nothing becomes scarce. So that is looked at once in each iteration, when the
//! clock is advanced, and else before the first cycle. Events that need no memory change nothing of that (`idle.rs`);
//! after steps with kept bytes that took or gave buffers, or a receive in flight, it is looked at again
//! (`kept_path.rs`, `kept_cycle.rs`, `completion.rs`). Any other call leaves the fast path.

use super::kept_cycle::KeptCycle;
use super::open_cycle::{OpenCycle, Phase, Progress, RawStep};
use super::table::Table;
use super::{BufferSource, Pool, ReceiverId};
use crate::connection::{Action, Actions, Event, Hold};
use crate::receiving::Unlisted;

/// What a common cycle needs of a pool, whatever kind that is.
#[doc(hidden)]
pub struct FastPath<'a> {
    cycle: &'a mut OpenCycle,
    table: &'a mut Table,
    memory: Unlisted<'a>,
    kept_cycle: &'a mut KeptCycle,
}

impl<S: BufferSource> Pool<S> {
    /// For C, which hands out addresses.
    #[doc(hidden)]
    #[inline(always)]
    pub fn fast_path(&mut self) -> FastPath<'_> {
        FastPath {
            cycle: &mut self.cycle,
            table: &mut self.table,
            memory: self.memory.unlisted(),
            kept_cycle: &mut self.kept_cycle,
        }
    }
}

impl FastPath<'_> {
    /// A receiver that holds nothing is readable.
    #[inline(always)]
    pub fn begin(&mut self, id: ReceiverId) -> Option<RawStep> {
        self.begin_planned::<false>(id)
    }

    /// As `begin`, if its cycle is like the one before.
    #[inline(always)]
    pub(super) fn begin_same(&mut self, id: ReceiverId) -> Option<RawStep> {
        self.begin_planned::<true>(id)
    }

    #[inline(always)]
    fn begin_planned<const IS_SAME: bool>(&mut self, id: ReceiverId) -> Option<RawStep> {
        let cycle = &mut *self.cycle;
        if cycle.progress.phase != Phase::Ready {
            return None;
        }
        let (index, connection) = self.table.find_fast(id)?;
        let memory = &self.memory;
        let begins = if IS_SAME {
            connection.try_begin_same_cycle(&cycle.plan)
        } else {
            connection.try_begin_cycle(&mut cycle.plan, || memory.is_idle(index))
        };
        if !begins {
            return None;
        }
        debug_assert!(self.memory.is_idle(index), "one that is idle for its machine is idle");
        cycle.progress = Progress { phase: Phase::Receiving, reads: 0 };
        cycle.id = id;
        self.memory.lend(cycle.buffer_bytes);
        Some(cycle.step_to_receive())
    }

    /// It has received, and there is room left.
    #[inline(always)]
    pub fn receive(&mut self, id: ReceiverId, bytes: u32) -> Option<RawStep> {
        if !self.cycle.may_receive(id, bytes) {
            return None;
        }
        (self.cycle.progress.phase, self.cycle.received_bytes) = (Phase::Decoding, bytes);
        self.memory.lend(bytes);
        Some(self.cycle.step_to_decode(bytes))
    }

    /// All of it is decoded.
    #[inline(always)]
    pub fn decode(&mut self, id: ReceiverId, bytes: u32) -> Option<RawStep> {
        if self.cycle.may_decode(id, bytes) { self.pass(bytes) } else { None }
    }

    /// It has received, there is room left, and all of it is decoded.
    #[inline(always)]
    pub fn receive_and_decode(&mut self, id: ReceiverId, bytes: u32) -> Option<RawStep> {
        if self.cycle.may_receive(id, bytes) { self.pass(bytes) } else { None }
    }

    /// What it received last is decoded. It receives again where only a receive that finds nothing ends the cycle.
    #[inline(always)]
    fn pass(&mut self, bytes: u32) -> Option<RawStep> {
        let cycle = &mut *self.cycle;
        if cycle.plan.leaves_nothing {
            cycle.progress.phase = Phase::Ready;
            cycle.passed_bytes += u64::from(bytes);
            self.memory.note_decoded(self.table.row(cycle.id), bytes);
            self.memory.lend(0);
            return Some(OpenCycle::step_at_rest(Actions::NONE));
        }
        if cycle.plan.decoded.actions().has(Action::Recv) {
            let reads = cycle.progress.reads + 1; // At most as many as are allowed.
            if reads >= cycle.plan.reads_max {
                return None;
            }
            cycle.progress = Progress { phase: Phase::Receiving, reads };
            cycle.passed_bytes += u64::from(bytes);
            self.memory.note_decoded(self.table.row(cycle.id), bytes);
            self.memory.lend(cycle.buffer_bytes);
            return Some(cycle.step_to_receive());
        }
        cycle.progress.phase = Phase::Ready;
        cycle.passed_bytes += u64::from(bytes);
        self.memory.note_decoded(self.table.row(cycle.id), bytes);
        self.memory.lend(0);
        Some(OpenCycle::step_at_rest(cycle.plan.decoded))
    }

    /// A receive found nothing, and nothing is left of those before; perhaps the read interest is armed.
    #[inline(always)]
    pub fn dry(&mut self, id: ReceiverId, armed: bool) -> Option<RawStep> {
        let cycle = &mut *self.cycle;
        if cycle.progress.phase != Phase::Receiving || cycle.id != id {
            return None;
        }
        let connection = self.table.row_mut(self.table.row(id))?;
        connection.end_cycle_dry(cycle.progress.reads, armed);
        cycle.progress.phase = Phase::Ready;
        self.memory.lend(0);
        Some(OpenCycle::step_at_rest(if armed { Actions::NONE.into() } else { cycle.plan.dry }))
    }

    /// A receive found the end of the stream or failed (`event`), and nothing is left of those before.
    #[inline(always)]
    pub fn end(&mut self, id: ReceiverId, event: Event) -> Option<RawStep> {
        let cycle = &mut *self.cycle;
        if cycle.progress.phase != Phase::Receiving || cycle.id != id {
            return None;
        }
        let connection = self.table.row_mut(self.table.row(id))?;
        let actions = connection.try_end_cycle(cycle.progress.reads, event)?;
        cycle.progress.phase = Phase::Ready;
        self.memory.lend(0);
        Some(OpenCycle::step_at_rest(actions))
    }

    /// Read interest of a connection that holds nothing is armed again.
    #[inline(always)]
    pub fn arm(&mut self, id: ReceiverId) -> Option<RawStep> {
        if self.cycle.progress.phase != Phase::Ready {
            return None;
        }
        let (index, connection) = self.table.find_fast(id)?;
        if connection.is_counting() && !self.memory.is_idle(index) {
            return None; // It may be about the mark.
        }
        Some(OpenCycle::step_at_rest(connection.try_fast_arm()?))
    }

    /// What a receiver is to do that holds nothing.
    #[inline(always)]
    pub fn pending(&mut self, id: ReceiverId) -> Option<RawStep> {
        if self.cycle.progress.phase != Phase::Ready {
            return None;
        }
        let (index, connection) = self.table.find_fast(id)?;
        if connection.may_have_mark() || !self.memory.is_idle(index) {
            return None;
        }
        Some(OpenCycle::step_at_rest(connection.pending_if_idle()?))
    }

    /// Whether a cycle with kept bytes is open.
    #[inline(always)]
    pub fn has_kept_cycle(&self) -> bool {
        self.kept_cycle.is_open()
    }

    /// Whether a cycle may begin without another look at what is scarce.
    #[inline(always)]
    pub fn is_ready(&self) -> bool {
        self.cycle.progress.phase == Phase::Ready
    }

    /// Whether a cycle is open that began while memory was short.
    #[inline(always)]
    pub fn has_scarce_cycle(&self) -> bool {
        self.kept_cycle.is_scarce
    }

    /// Whether a receiver keeps bytes.
    #[inline(always)]
    pub(super) fn keeps(&mut self, id: ReceiverId) -> bool {
        self.row_of_kept(id).is_some()
    }

    /// The row of a receiver that keeps bytes.
    #[inline(always)]
    pub fn row_of_kept(&mut self, id: ReceiverId) -> Option<u32> {
        let (index, connection) = self.table.find_fast(id)?;
        (connection.hold() == Hold::Slot).then_some(index)
    }

    /// After a defect nothing can be trusted.
    pub fn close(&mut self) {
        self.cycle.progress.phase = Phase::Closed;
        *self.kept_cycle = KeptCycle::NONE;
    }
}

impl<S: BufferSource> Pool<S> {
    /// As `FastPath::begin`, where it has to be seen whether anything is scarce.
    pub(super) fn look_and_begin(&mut self, index: u32) -> Option<RawStep> {
        let has_caps = self.memory.has_caps();
        // A cap is looked at each time.
        let is_looked_at = self.cycle.progress.phase == Phase::Closed || (has_caps && !self.cycle.is_open());
        if !is_looked_at
            || self.kept_cycle.is_open()
            || !self.is_plentiful()
            || (has_caps && !self.memory.may_borrow_unlisted(index))
        {
            return None;
        }
        self.make_ready_for_cycles();
        self.cycle.plan.is_fixed = false;
        let id = self.table.id(index);
        let step = self.fast_path().begin(id);
        self.cycle.plan.is_fixed = has_caps;
        if has_caps {
            self.cycle.plan.forget();
        }
        step
    }

    /// Whether nothing is scarce, and nothing is left to be done that a cycle would have to know of.
    pub(super) fn is_plentiful(&self) -> bool {
        !self.scheduled.has_any() && !self.undelivered.has_any() && self.memory.would_lend_all()
    }

    fn make_ready_for_cycles(&mut self) {
        self.cycle.buffer = self.memory.receive_buffer_address();
        self.cycle.progress.phase = Phase::Ready;
        self.cycle.plan.set_may_submit(self.memory.may_submit_more());
    }

    /// No cycle is open, and what is in flight or free may have changed since it was seen whether anything is scarce.
    pub(super) fn look_again(&mut self) {
        self.cycle.progress.phase = Phase::Closed;
        if self.is_plentiful() && !self.memory.has_caps() {
            self.make_ready_for_cycles();
        }
    }

    /// As `FastPath::arm`, which is the same while anything is scarce.
    pub(super) fn look_and_arm(&mut self, index: u32) -> Option<RawStep> {
        let connection = self.table.row_mut(index)?;
        if self.cycle.is_open() || (connection.is_counting() && !self.memory.is_idle(index)) {
            return None;
        }
        Some(OpenCycle::step_at_rest(connection.try_fast_arm()?))
    }

    /// Whether a cycle is open, whosever.
    #[inline(always)]
    pub(super) fn has_any_cycle(&self) -> bool {
        self.cycle.is_open() || self.kept_cycle.is_open()
    }

    /// Whether the cycle of the receiver in this row is open.
    #[inline(always)]
    pub(super) fn has_open_cycle(&self, index: u32) -> bool {
        self.cycle.is_open() && self.table.row(self.cycle.id) == index
    }

    /// Before anything but the common cycle: of one that is open, all is done that was left out.
    #[inline(always)]
    pub(crate) fn leave_fast_path(&mut self) {
        if self.cycle.is_open() {
            self.leave_cycle();
        }
        if self.kept_cycle.is_open() {
            self.leave_kept_cycle();
        }
        self.cycle.progress.phase = Phase::Closed;
    }

    fn leave_cycle(&mut self) {
        let cycle = self.cycle;
        let index = self.table.row(cycle.id);
        let connection = self.table.connection_mut(index);
        *connection = cycle.view(connection);
        self.counts.received_bytes += u64::from(cycle.buffered_bytes());
        self.memory.list_unlisted(index, cycle.buffered_bytes());
    }
}

#[cfg(test)]
mod tests;
