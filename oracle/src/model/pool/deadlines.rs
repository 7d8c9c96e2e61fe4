//! Leases of the host's own that one of several threads has with a deadline.

use super::ModelPool;
use crate::system::Notice;
use demuxbuf_capi::DEMUXBUF_ERR_NO_DEADLINE;

/// Which of them are idle, and the clock that counts for them.
#[derive(Clone, Debug)]
pub(super) struct Deadlines {
    lease_ns: u64,
    now: u64,
    /// Host time of the last advance.
    advanced_at: Option<u64>,
    /// The one that is idle for longest first.
    idle: Vec<Idle>,
}

#[derive(Clone, Copy, Debug)]
struct Idle {
    lease: u64,
    token: u64,
    since: u64,
    named: bool,
}

impl Deadlines {
    pub(super) fn new(lease_ns: u64) -> Deadlines {
        Deadlines { lease_ns, now: 0, advanced_at: None, idle: Vec::new() }
    }

    fn step_max(&self) -> u64 {
        (self.lease_ns / 8).max(1)
    }

    pub(super) fn advance(&mut self, now_ns: u64) {
        let last = self.advanced_at.unwrap_or(now_ns);
        self.now += now_ns.saturating_sub(last).min(self.step_max());
        self.advanced_at = Some(last.max(now_ns));
    }

    pub(super) fn start(&mut self, lease: u64, token: u64) {
        self.idle.push(Idle { lease, token, since: self.now, named: false });
    }

    pub(super) fn stop(&mut self, lease: u64) {
        self.idle.retain(|idle| idle.lease != lease);
    }

    fn renew(&mut self, lease: u64) -> bool {
        let renewed = self.idle.iter().find(|idle| idle.lease == lease).map(|idle| idle.token);
        self.stop(lease);
        renewed.into_iter().for_each(|token| self.start(lease, token));
        renewed.is_some()
    }

    fn name_next(&mut self) -> Option<(u64, u64)> {
        let overdue = |idle: &&mut Idle| !idle.named && self.now - idle.since >= self.lease_ns;
        let first = self.idle.iter_mut().find(overdue)?;
        first.named = true;
        Some((first.lease, first.token))
    }

    fn next_ns(&self) -> Option<u64> {
        let first = self.idle.iter().find(|idle| !idle.named)?;
        let left = (first.since + self.lease_ns).saturating_sub(self.now);
        Some(self.advanced_at.unwrap_or(0) + left.min(self.step_max()))
    }
}

impl ModelPool {
    /// Something waits on whichever thread.
    fn something_waits(&self) -> bool {
        self.memory.has_waiting_receivers() || self.memory.look_at_scheduler(|scheduler| scheduler.has_waiters())
    }

    pub(super) fn stop_deadline(&mut self, lease: u64) {
        if let Some(deadlines) = &mut self.deadlines {
            deadlines.stop(lease);
        }
    }

    pub(super) fn renew_own(&mut self, lease: u64) -> Result<(), i32> {
        let renewed = self.deadlines.as_mut().is_some_and(|deadlines| deadlines.renew(lease));
        if renewed { Ok(()) } else { Err(DEMUXBUF_ERR_NO_DEADLINE) }
    }

    pub(super) fn next_overdue_here(&mut self) -> Option<Notice> {
        if !self.something_waits() {
            return None;
        }
        let (lease, token) = self.deadlines.as_mut()?.name_next()?;
        Some(Notice::Overdue { token, lease })
    }

    pub(super) fn next_overdue_ns_here(&self) -> Option<u64> {
        self.deadlines.as_ref().filter(|_| self.something_waits())?.next_ns()
    }
}
