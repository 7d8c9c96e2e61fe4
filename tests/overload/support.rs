//! The calls that every module makes.

use demuxbuf::scheduler::{Grant, LeaseId, Outcome, Request, Scheduler, SchedulerConfig, WaitId};
use std::ops::{Deref, DerefMut};

pub(crate) fn new_scheduler(config: &SchedulerConfig) -> Scheduler {
    Scheduler::new(config).expect("the configuration is allowed")
}

/// A pool with a host that advances the clock from 0 on as often as `poll_timeout` can ask for, so that their times
/// agree.
pub(crate) struct Paced {
    scheduler: Scheduler,
    now_ns: u64,
    step_max_ns: u64,
}

impl Paced {
    pub(crate) fn new(config: &SchedulerConfig) -> Paced {
        let mut scheduler = new_scheduler(config);
        scheduler.handle_timeout(0);
        Paced { scheduler, now_ns: 0, step_max_ns: config.lease_ns.map_or(u64::MAX, |lease_ns| (lease_ns / 8).max(1)) }
    }

    /// Advances the clock in steps that count.
    pub(crate) fn handle_timeout(&mut self, now_ns: u64) {
        while now_ns.saturating_sub(self.now_ns) > self.step_max_ns {
            self.now_ns += self.step_max_ns;
            self.scheduler.handle_timeout(self.now_ns);
        }
        self.now_ns = self.now_ns.max(now_ns);
        self.scheduler.handle_timeout(now_ns);
    }

    /// The latest time at which the host is to advance the clock, if something is due then.
    pub(crate) fn or_step(&self, due_ns: u64) -> Option<u64> {
        Some(due_ns.min(self.now_ns + self.step_max_ns))
    }
}

impl Deref for Paced {
    type Target = Scheduler;

    fn deref(&self) -> &Scheduler {
        &self.scheduler
    }
}

impl DerefMut for Paced {
    fn deref_mut(&mut self) -> &mut Scheduler {
        &mut self.scheduler
    }
}

/// The buffer that is granted at once.
pub(crate) fn take(scheduler: &mut Scheduler, request: &Request) -> LeaseId {
    match scheduler.request_for(request).expect("the request is allowed") {
        Outcome::Granted(lease) => lease,
        Outcome::Queued(_) => panic!("a buffer is free: {request:?}"),
    }
}

/// The place in the queue of a request that cannot be granted at once.
pub(crate) fn queue(scheduler: &mut Scheduler, request: &Request) -> WaitId {
    match scheduler.request_for(request).expect("the request is allowed") {
        Outcome::Granted(_) => panic!("nothing is free: {request:?}"),
        Outcome::Queued(wait) => wait,
    }
}

/// Releases a buffer; returns the grants that follow.
pub(crate) fn release(scheduler: &mut Scheduler, lease: LeaseId) -> Vec<Grant> {
    scheduler.release(lease).expect("the lease is held");
    check(scheduler);
    std::iter::from_fn(|| scheduler.poll_grant()).collect()
}

pub(crate) fn check(scheduler: &Scheduler) {
    scheduler.check_invariants().expect("the invariants hold");
}
