//! What the audit sees of a pool on the memory model. Here no memory outlives an iteration: an advance of the clock
//! ends borrows, so that what the host left undone is a receive that is put off, or bytes that are kept and not
//! decoded.

use super::audit::{Audited, LeftNotice, NoticeOf, PoolState};
use super::{BufferSource, Finding, Pool, PoolError, Table};
use crate::connection::{Action, Actions, Mode, Policy};

impl<S: BufferSource> Pool<S> {
    /// What the host left undone. Call it until `None` in each iteration, as the last thing before you sleep, with the
    /// time that you would advance the clock to. It finds actions that are undone, memory that is held across
    /// iterations, and other mistakes ([`FindingKind`](super::FindingKind)); some of them are seen only if they last
    /// from one audit to the next. So sleep for a second at most where you use it.
    ///
    /// For debugging: a round looks at each receiver, and the first event for each of them after it is a slower one.
    /// Where [`PoolConfig::audit`](super::PoolConfig::audit) is not set it costs nothing.
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
        let buffers = self.memory.buffers();
        if let Some(wait) = buffers.next_grant() {
            let token = buffers.describe_wait(wait).map_or(0, |wait| wait.token);
            return Some(LeftNotice { of: NoticeOf::Grant(wait), receiver: None, token });
        }
        if let Some(row) = self.memory.next_served() {
            let (receiver, token) = (Some(self.table.id(row)), self.table.token(row));
            return Some(LeftNotice { of: NoticeOf::Receiver, receiver, token });
        }
        let is_overdue = buffers.has_overdue(self.memory.has_waiting_receivers());
        let of = if is_overdue { Some(NoticeOf::Overdue) } else { self.next_awaited().map(|_| NoticeOf::Awaited) };
        of.map(|of| LeftNotice { of, receiver: None, token: 0 })
    }
}

impl<S: BufferSource> Audited for Pool<S> {
    fn table(&self) -> &Table {
        &self.table
    }

    fn table_mut(&mut self) -> &mut Table {
        &mut self.table
    }

    fn state(&self) -> PoolState {
        let requests = self.memory.buffers().stats();
        PoolState {
            advance_ns: self.memory.last_advance_ns(),
            slack_ns: Some(self.memory.config().frame_grace_ns / 8),
            waiting: requests.waiting + self.memory.claims(),
            notice: self.left_notice(),
            is_shared: S::IS_SHARED,
        }
    }

    fn timeout_ns(&self) -> Option<u64> {
        self.poll_timeout()
    }

    /// What was put off when the clock was advanced is to be done in this iteration.
    fn undone_actions(&self, row: u32, before: Actions) -> Actions {
        let put_off = before.intersection(Action::Recv | Action::Peek | Action::Decode);
        let is_late =
            Self::is_late(self.table.connection(row).pending(), self.memory.stance(row)) && !self.scheduled.get(row);
        if is_late && !put_off.is_empty() {
            return put_off;
        }
        self.pending_at(row)
    }

    fn awaits_wake(&self, row: u32) -> bool {
        let connection = self.table.connection(row);
        connection.awaits_wake()
            || (self.scheduled.get(row) && Self::is_late(connection.pending(), self.memory.stance(row)))
    }

    fn is_misfit_left(&self, row: u32) -> bool {
        self.table.connection(row).is_misfit_left()
    }

    fn has_in_place(&self, row: u32) -> bool {
        self.in_place_bytes(row) > 0
    }

    fn is_reported_again(&self, row: u32, actions: Actions) -> bool {
        let connection = self.table.connection(row);
        let Policy { mode, reads_ahead, .. } = connection.policy();
        actions.without(Action::RecvWhole.into()) == Action::Recv.into()
            && connection.is_armed()
            && mode == Mode::Level
            && !reads_ahead
    }
}
