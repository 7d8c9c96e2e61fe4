//! The calls that every module makes.

use demuxbuf::pool::{Grant, LeaseId, Outcome, Pool, PoolConfig, Request, WaitId};

pub(crate) fn new_pool(config: &PoolConfig) -> Pool {
    Pool::new(config).expect("the configuration is allowed")
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
