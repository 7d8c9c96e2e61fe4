//! Deadlines of the host's own leases that one thread has.

use crate::alloc_util::reserve;
use crate::config_error::ConfigError;
use crate::scheduler::{Clock, Deadlines, LeaseId, SchedulerConfig, WaiterScope};
use alloc::vec::Vec;

/// Which of this thread's leases their holders have for too long while others wait.
#[derive(Debug)]
pub(super) struct LeaseDeadlines {
    deadlines: Deadlines,
    clock: Clock,
    /// By buffer, touched in the order of first use: the lease that the deadline is of, and the token of its request.
    leases: Vec<Option<(LeaseId, u64)>>,
}

impl LeaseDeadlines {
    /// Reserves the tables; `None` if leases have no deadlines.
    pub(super) fn new(lease_ns: Option<u64>, buffers: u32) -> Result<Option<LeaseDeadlines>, ConfigError> {
        if lease_ns.is_none() {
            return Ok(None);
        }
        let deadlines = Deadlines::new(&SchedulerConfig { lease_ns, ..SchedulerConfig::new(buffers, 0) }, buffers)?;
        let leases = reserve("memory_bytes", buffers)?;
        Ok(Some(LeaseDeadlines { deadlines, clock: Clock::new(lease_ns), leases }))
    }

    /// A lease begins.
    pub(super) fn start(&mut self, lease: LeaseId, token: u64) {
        let index = lease.index();
        // Another thread may have ended the one before.
        self.deadlines.stop(index);
        if index as usize >= self.leases.len() {
            // Inside what was reserved.
            self.leases.resize(index as usize + 1, None);
        }
        self.leases[index as usize] = Some((lease, token));
        self.deadlines.start(index, 0, 1, self.clock.now_ns());
    }

    /// A lease ends, be it one of these or not.
    pub(super) fn stop(&mut self, lease: LeaseId) {
        if self.has(lease) {
            self.leases[lease.index() as usize] = None;
            self.deadlines.stop(lease.index());
        }
    }

    /// The deadline begins anew. Whether the lease has one here.
    pub(super) fn renew(&mut self, lease: LeaseId) -> bool {
        let has_deadline = self.has(lease);
        if has_deadline {
            self.deadlines.progress(lease.index(), 0, self.clock.now_ns());
        }
        has_deadline
    }

    /// The next lease whose deadline passed, with the token of its request: each once until it is renewed. One that is
    /// not held any more is forgotten.
    pub(super) fn poll(&mut self, is_held: impl Fn(LeaseId) -> bool) -> Option<(LeaseId, u64)> {
        loop {
            let index = self.deadlines.poll_idle(WaiterScope::Any, self.clock.now_ns())?;
            let overdue = self.leases[index as usize].expect("a deadline is that of a lease");
            if is_held(overdue.0) {
                return Some(overdue);
            }
            self.stop(overdue.0);
        }
    }

    /// Whether there is one to poll, which may not be held any more.
    pub(super) fn has_overdue(&self) -> bool {
        self.deadlines.has_idle(WaiterScope::Any, self.clock.now_ns())
    }

    /// When to poll at the latest, in the host's time.
    pub(super) fn next_ns(&self) -> Option<u64> {
        self.clock.host_ns(self.deadlines.next_idle_ns(WaiterScope::Any)?)
    }

    pub(super) fn handle_timeout(&mut self, now_ns: u64) {
        self.clock.advance(now_ns);
    }

    fn has(&self, lease: LeaseId) -> bool {
        let known = self.leases.get(lease.index() as usize).copied().flatten();
        known.is_some_and(|(known, _)| known == lease)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lease of a buffer, of as many that it had.
    fn lease(buffer: u32, uses: u64) -> LeaseId {
        LeaseId::from_bits(uses << 32 | u64::from(buffer))
    }

    /// What another thread ended is forgotten when the buffer is leased again.
    #[test]
    fn deadline_of_a_buffer_is_that_of_its_last_lease() {
        let mut deadlines = LeaseDeadlines::new(Some(80), 4).expect("it is allowed").expect("there are deadlines");
        deadlines.handle_timeout(0);
        deadlines.start(lease(1, 1), 1);
        deadlines.start(lease(2, 1), 2);
        deadlines.handle_timeout(10);
        deadlines.start(lease(1, 2), 3);
        assert!(!deadlines.renew(lease(1, 1)), "it is over");
        (2..9).for_each(|step| deadlines.handle_timeout(10 * step));
        let polled: [_; 3] = core::array::from_fn(|_| deadlines.poll(|_| true));
        assert_eq!(polled, [Some((lease(2, 1), 2)), None, None], "the one before counts no more");
        deadlines.handle_timeout(90);
        assert_eq!(deadlines.poll(|_| true), Some((lease(1, 2), 3)));
    }
}
