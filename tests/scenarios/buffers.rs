//! The host's own requests, without receivers.

use crate::host_pool::{HostScheduler, new_scheduler};
use demuxbuf::scheduler::{LeaseId, Outcome, SchedulerConfig, WaitId};

/// A scheduler; every step of it is checked.
pub(crate) struct Buffers(pub(crate) HostScheduler);

impl Buffers {
    pub(crate) fn new(config: &SchedulerConfig) -> Buffers {
        Buffers(new_scheduler(config))
    }

    pub(crate) fn request(&mut self, class: u8, token: u64) -> Outcome {
        let outcome = self.0.request(class, token).expect("the class exists and waits are free");
        self.check();
        outcome
    }

    pub(crate) fn granted(&mut self, class: u8, token: u64) -> LeaseId {
        match self.request(class, token) {
            Outcome::Granted(lease) => lease,
            Outcome::Queued(_) => panic!("a buffer is free"),
        }
    }

    pub(crate) fn queued(&mut self, class: u8, token: u64) -> WaitId {
        match self.request(class, token) {
            Outcome::Granted(_) => panic!("no buffer is free for {token}"),
            Outcome::Queued(wait) => wait,
        }
    }

    pub(crate) fn release(&mut self, lease: LeaseId) {
        self.0.release(lease).expect("the lease is held");
        self.check();
    }

    pub(crate) fn cancel(&mut self, wait: WaitId) {
        self.0.cancel(wait).expect("the wait is live");
        self.check();
    }

    /// The waiters that were served, in order, with their leases.
    pub(crate) fn grants(&mut self) -> Vec<(u64, LeaseId)> {
        let mut grants = Vec::new();
        while let Some(grant) = self.0.poll_grant() {
            self.check();
            grants.push((grant.token, grant.lease));
        }
        grants
    }

    pub(crate) fn is_assigned(&self, wait: WaitId) -> bool {
        self.0.describe_wait(wait).expect("the wait is live").is_assigned
    }

    pub(crate) fn check(&self) {
        self.0.check_invariants().expect("the invariants hold");
    }
}

/// The tokens that were served, in order.
pub(crate) fn tokens(grants: &[(u64, LeaseId)]) -> Vec<u64> {
    grants.iter().map(|&(token, _)| token).collect()
}
