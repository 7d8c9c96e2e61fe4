//! What the audit sees of a pool on the memory model. Here no memory outlives an iteration: an advance of the clock ends
//! borrows, so that what the host left undone is a receive that is put off, or bytes that are kept and not decoded.

use super::ReceivingPool;
use crate::connection::{Action, Actions, Mode, Policy};
use crate::pool::{Audited, Finding, LeftNotice, PoolError, PoolState, Table};

impl ReceivingPool {
    /// What the host left undone, as [`Pool::poll_audit`](crate::pool::Pool::poll_audit).
    ///
    /// # Errors
    ///
    /// The configuration did not ask for an audit.
    pub fn poll_audit(&mut self, now_ns: u64) -> Result<Option<Finding>, PoolError> {
        let mut audit = self.audit.take().ok_or(PoolError::AuditOff)?;
        self.leave_fast_path();
        let found = audit.poll(self, now_ns);
        self.audit = Some(audit);
        Ok(found)
    }

    /// A receiver that is to be shed has that as its action, whether its notice came or not.
    fn left_notice(&self) -> Option<LeftNotice> {
        let scheduler = &self.memory.buffers().scheduler;
        if let Some(wait) = scheduler.next_grant() {
            let token = scheduler.describe_wait(wait).map_or(0, |wait| wait.token);
            return Some(LeftNotice { wait: Some(wait), receiver: None, token });
        }
        let row = self.memory.next_served()?;
        Some(LeftNotice { wait: None, receiver: Some(self.table.id(row)), token: self.table.token(row) })
    }
}

impl Audited for ReceivingPool {
    fn table(&self) -> &Table {
        &self.table
    }

    fn table_mut(&mut self) -> &mut Table {
        &mut self.table
    }

    fn state(&self) -> PoolState {
        let requests = self.memory.buffers().scheduler.stats();
        PoolState {
            advance_ns: self.memory.last_advance_ns(),
            slack_ns: Some(self.memory.config().frame_grace_ns / 8),
            waiting: requests.waiting + self.memory.claims(),
            grants: requests.granted_at_once + requests.granted_by_handoff + self.memory.totals().grants,
            has_deadlines: true,
            notice: self.left_notice(),
            is_shared: false,
        }
    }

    fn timeout_ns(&self) -> Option<u64> {
        self.poll_timeout()
    }

    /// What was put off when the clock was advanced is to be done in this iteration.
    fn undone_actions(&self, row: u32, before: Actions) -> Actions {
        let put_off = before.intersection(Action::Recv | Action::Decode);
        let is_late = self.is_late(row, self.table.connection(row).pending()) && !self.scheduled.get(row);
        if is_late && !put_off.is_empty() {
            return put_off;
        }
        self.pending_at(row)
    }

    fn awaits_wake(&self, row: u32) -> bool {
        let connection = self.table.connection(row);
        connection.awaits_wake() || (self.scheduled.get(row) && self.is_late(row, connection.pending()))
    }

    fn is_misfit_left(&self, row: u32) -> bool {
        self.table.connection(row).is_misfit_left()
    }

    fn is_reported_again(&self, row: u32, actions: Actions) -> bool {
        let connection = self.table.connection(row);
        let Policy { mode, reads_ahead, .. } = connection.policy();
        actions == Action::Recv.into() && connection.is_armed() && mode == Mode::Level && !reads_ahead
    }
}
