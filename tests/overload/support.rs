//! The calls that every module makes.

use demuxbuf::pool::{Grant, LeaseId, Outcome, Pool, PoolConfig, Request, WaitId};
use std::ops::{Deref, DerefMut};

pub(crate) fn new_pool(config: &PoolConfig) -> Pool {
    Pool::new(config).expect("the configuration is allowed")
}

/// A pool whose host advances the clock from 0 on as often as `poll_timeout` can ask for, so that its time is the host's.
pub(crate) struct Paced {
    pool: Pool,
    now_ns: u64,
    step_max_ns: u64,
}

impl Paced {
    pub(crate) fn new(config: &PoolConfig) -> Paced {
        let mut pool = new_pool(config);
        pool.handle_timeout(0);
        Paced { pool, now_ns: 0, step_max_ns: (config.lease_ns / 8).max(1) }
    }

    /// Advances the clock in steps that count.
    pub(crate) fn handle_timeout(&mut self, now_ns: u64) {
        while now_ns.saturating_sub(self.now_ns) > self.step_max_ns {
            self.now_ns += self.step_max_ns;
            self.pool.handle_timeout(self.now_ns);
        }
        self.now_ns = self.now_ns.max(now_ns);
        self.pool.handle_timeout(now_ns);
    }

    /// When the host is asked for at the latest, if something is due then.
    pub(crate) fn or_step(&self, due_ns: u64) -> u64 {
        due_ns.min(self.now_ns + self.step_max_ns)
    }
}

impl Deref for Paced {
    type Target = Pool;

    fn deref(&self) -> &Pool {
        &self.pool
    }
}

impl DerefMut for Paced {
    fn deref_mut(&mut self) -> &mut Pool {
        &mut self.pool
    }
}

/// The buffer that is granted at once.
pub(crate) fn take(pool: &mut Pool, request: &Request) -> LeaseId {
    match pool.request_for(request).expect("the request is allowed") {
        Outcome::Granted(lease) => lease,
        Outcome::Queued(_) => panic!("a buffer is free: {request:?}"),
    }
}

/// The place in the queue of a request that cannot be granted at once.
pub(crate) fn queue(pool: &mut Pool, request: &Request) -> WaitId {
    match pool.request_for(request).expect("the request is allowed") {
        Outcome::Granted(_) => panic!("nothing is free: {request:?}"),
        Outcome::Queued(wait) => wait,
    }
}

/// Gives a buffer back; returns who has one now.
pub(crate) fn release(pool: &mut Pool, lease: LeaseId) -> Vec<Grant> {
    pool.release(lease).expect("the lease is held");
    check(pool);
    std::iter::from_fn(|| pool.poll_grant()).collect()
}

pub(crate) fn check(pool: &Pool) {
    pool.check_invariants().expect("the invariants hold");
}
