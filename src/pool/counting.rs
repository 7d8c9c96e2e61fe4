//! Receivers that count, as the machine and the memory model have them: looks, receives of a whole, and the mark.

use super::{BufferSource, Pool, PoolError, ReceiverId};
use crate::config_error::{Allowed, ConfigError};
use crate::connection::{Action, Actions, Event, Mode, Policy};
use crate::memory::poison;
use crate::receiving::Stance;
use core::ptr::NonNull;

/// What a receiver cannot count with, if it has it.
fn obstacle(policy: &Policy, unknown_length: bool) -> Option<&'static str> {
    match policy {
        Policy { counting: false, .. } => None,
        Policy { mode: Mode::Optimistic, .. } => Some("the mode optimistic"),
        Policy { reads_ahead: true, .. } => Some("reads_ahead"),
        _ => unknown_length.then_some("unknown_length"),
    }
}

/// Refuses the policy of a receiver that cannot count.
pub(crate) fn check_counting(policy: &Policy, unknown_length: bool) -> Result<(), PoolError> {
    obstacle(policy, unknown_length).map_or(Ok(()), |with| Err(PoolError::CannotCount { with }))
}

/// As `check_counting`, of the policy of a pool.
pub(super) fn check_config(policy: &Policy) -> Result<(), ConfigError> {
    obstacle(policy, false).map_or(Ok(()), |with| Err(ConfigError::refused("counting", 1, Allowed::ZeroWith { with })))
}

impl<S: BufferSource> Pool<S> {
    /// The least that is worth receiving now: all of the receive area while `RecvWhole` is pending, else 0.
    ///
    /// # Errors
    ///
    /// The handle is stale or foreign.
    pub fn recv_min(&self, id: ReceiverId) -> Result<u32, PoolError> {
        let index = self.table.find(id)?;
        let is_whole = self.pending_at(index).has(Action::RecvWhole);
        let borrowed = self.memory.borrowed(index).filter(|_| is_whole);
        Ok(borrowed.map_or(0, |borrowed| borrowed.max_bytes.max(borrowed.owed_bytes)))
    }

    /// The mark that `WantRecv` asks for: the number of bytes in the kernel at which the poller is to report
    /// (`SO_RCVLOWAT`). It is 1 unless the receiver counts, and waits until a frame is whole.
    ///
    /// # Errors
    ///
    /// The handle is stale or foreign.
    pub fn low_water_mark(&self, id: ReceiverId) -> Result<u32, PoolError> {
        Ok(self.mark(self.table.find(id)?))
    }

    fn mark(&self, index: u32) -> u32 {
        self.memory.awaited_bytes(index).max(1)
    }

    /// What a step is about, for C: where to receive or to look; else, of a receiver that counts, the mark, without an
    /// address; else what is undecoded.
    #[doc(hidden)]
    #[inline]
    pub fn place(&self, index: u32, actions: Actions) -> (Option<NonNull<u8>>, u32) {
        let is_receive = !actions.intersection(Action::Recv | Action::Peek).is_empty();
        let connection = self.table.connection(index);
        if !is_receive && actions.has(Action::WantRecv) && connection.may_have_mark() && self.shows_mark(index, actions)
        {
            return (None, self.mark(index));
        }
        if !is_receive && !poison::IS_ON && !self.cycle.is_open() && connection.buffered_bytes() == 0 {
            return (None, 0);
        }
        self.area(index, is_receive).map_or((None, 0), |(at, bytes)| (Some(at), bytes))
    }

    fn shows_mark(&self, index: u32, actions: Actions) -> bool {
        const ABOUT_CONTENT: Actions = Actions::of(&[Action::Decode, Action::End, Action::CannotFit, Action::Shed]);
        let has_marks = self.table.connection(index).is_counting() || self.memory.is_mark_wrong(index);
        has_marks && actions.intersection(ABOUT_CONTENT).is_empty()
    }

    /// Whether a host that armed read interest has set another mark: a step that is about bytes has none.
    pub(super) fn sets_mark(&self, index: u32, pending: Actions, stance: Stance) -> bool {
        if !self.table.connection(index).may_have_mark() || !self.memory.is_mark_wrong(index) {
            return false;
        }
        let actions = self.host_actions(index, pending, stance);
        actions.intersection(Action::Recv | Action::Peek).is_empty() && self.shows_mark(index, actions)
    }

    /// What the machine asks of the host, as a receiver that counts does it.
    pub(super) fn with_counting(&self, index: u32, actions: Actions) -> Actions {
        let actions = match self.memory.borrowed(index) {
            Some(borrowed) if borrowed.owed_bytes > 0 => {
                return actions.intersection(Action::StopRecv.into())
                    | Actions::of(&[Action::Recv, Action::RecvWhole, Action::Discard]);
            }
            Some(borrowed) if borrowed.is_look && actions.has(Action::Recv) => {
                let whole = if borrowed.is_whole { Action::RecvWhole.into() } else { Actions::NONE };
                actions.without(Action::Recv.into()) | Action::Peek | whole
            }
            Some(borrowed) if borrowed.is_whole && actions.has(Action::Recv) => actions | Action::RecvWhole,
            _ => actions,
        };
        if self.is_mark_due(index, actions) { actions | Action::WantRecv } else { actions }
    }

    /// The mark in force is not the one that is wanted, and nothing comes before that.
    fn is_mark_due(&self, index: u32, actions: Actions) -> bool {
        const BEFORE: Actions =
            Actions::of(&[Action::Recv, Action::Peek, Action::Decode, Action::StopRecv, Action::Reschedule]);
        if !self.memory.is_mark_wrong(index) || !actions.intersection(BEFORE).is_empty() {
            return false;
        }
        let connection = self.table.connection(index);
        connection.is_open() && connection.is_accepting() && !connection.is_in_flight() && !self.memory.is_shed(index)
    }

    /// The host did `actions`: those of them that the machine did not ask for.
    pub(super) fn done_for_mark(&self, index: u32, actions: Actions, pending: Actions, stance: Stance) -> Actions {
        let is_own = actions.has(Action::WantRecv)
            && !pending.has(Action::WantRecv)
            && self.host_actions(index, pending, stance).has(Action::WantRecv);
        if is_own { Action::WantRecv.into() } else { Actions::NONE }
    }

    /// It looks, or receives all or nothing: that is done at once, and never submitted.
    pub(super) fn leaves_partial(&self, index: u32) -> bool {
        self.memory.borrowed(index).is_some_and(|borrowed| borrowed.leaves_partial())
    }

    /// The decoder needs this number of bytes: if the host looked, of what is in the kernel.
    pub(super) fn follow_look(&mut self, index: u32, needed_bytes: u32) {
        if !self.memory.borrowed(index).is_some_and(|borrowed| borrowed.is_header_look() && borrowed.leaves_partial()) {
            return;
        }
        let connection = self.table.connection(index);
        if connection.is_failed() {
            return;
        }
        match self.memory.looked(index, needed_bytes).expect("it looks") {
            Some(bytes) if connection.capacity() < bytes => self.grant(index, bytes),
            Some(_) => {}
            None => {
                self.show_misfit(index);
            }
        }
    }

    /// The kernel will hold no more of the frame that a receiver waits for. Without such a frame it is a report.
    pub(super) fn kernel_full(&mut self, index: u32) -> Actions {
        match self.memory.kernel_full(index).expect("it is attached") {
            Some(after) => {
                self.follow(index, after);
                self.reconcile_reported(index, 0, true)
            }
            None => self.reconcile_readable(index),
        }
    }

    /// The peer will send no more: what is there is received, be it whole or not.
    pub(super) fn peer_closed(&mut self, index: u32) -> Actions {
        let has_left_some = self.leaves_partial(index) || self.memory.waits_under_mark(index);
        let after = self.memory.peer_closed(index).expect("it is attached");
        self.follow(index, after);
        if has_left_some { self.reconcile_reported(index, 0, true) } else { self.reconcile_readable(index) }
    }

    /// Its frame is received, be it whole or not: one that waited under a mark has not asked for that.
    pub(super) fn end_wait_under_mark(&mut self, index: u32) {
        if !self.table.connection(index).is_ready() {
            self.feed(index, Event::Readable);
        }
    }

    /// A partial frame stays in the kernel no more.
    pub(super) fn stop_counting(&mut self, index: u32) {
        self.end_look(index);
        if self.leaves_partial(index) {
            let after = self.memory.dry(index).expect("it may receive");
            self.follow(index, after);
        }
        self.memory.set_counts(index, false).expect("it does not receive");
    }

    /// The receiver follows this policy from now on, which was checked.
    pub(super) fn follow_policy(&mut self, index: u32, policy: &Policy) {
        self.follow_mode(index, policy);
        let counts = policy.counting && !self.table.connection(index).is_failed();
        if !counts {
            self.stop_counting(index);
            if self.memory.is_mark_wrong(index) || self.memory.owed_bytes(index) > 0 {
                // The fast path knows neither marks nor owed bytes but those of receivers that count.
                let connection = self.table.connection_mut(index);
                *connection = connection.clone().on_slow_path();
            }
        }
        self.memory.set_reads_ahead(index, policy.reads_ahead).expect("it does not count then");
        if counts {
            self.memory.set_counts(index, true).expect("the policy was checked");
        }
    }
}
