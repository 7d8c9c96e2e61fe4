//! The pool of the host: one for one thread.

use demuxbuf::pool::{Pool, PoolConfig};
use demuxbuf::scheduler::{LeaseId, Request, Scheduler, SchedulerConfig};
use demuxbuf_capi::{DEMUXBUF_OK, demuxbuf_pool, demuxbuf_pool_config, demuxbuf_pool_new};

pub(crate) type HostPool = Pool;
pub(crate) type HostScheduler = Scheduler;

/// Whether it has a buffer beside its receive buffer and the cells of 64 bytes, which the host cannot have.
pub(crate) const HAS_SPARE: bool = false;

/// Runs a scenario once for each thread that may release what the host has: there is one.
pub(crate) fn wherever_released(scenario: impl Fn()) {
    scenario();
}

pub(crate) fn new_pool(config: &PoolConfig) -> HostPool {
    Pool::new(config).expect("the configuration is allowed")
}

pub(crate) fn new_scheduler(config: &SchedulerConfig) -> HostScheduler {
    Scheduler::new(config).expect("the configuration is allowed")
}

/// Buffers that the host can have.
pub(crate) fn free_buffers(pool: &HostPool) -> u32 {
    pool.memory().free_buffers()
}

/// The host takes a buffer.
pub(crate) fn take_buffer(pool: &mut HostPool, class: u8) -> LeaseId {
    let lease = pool.try_request(&Request::new(class, u64::MAX)).expect("the class exists");
    lease.expect("the class can take every buffer")
}

/// Takes what receivers have left once the host has all that it can have: nothing.
pub(crate) fn take_spare(_pool: &mut HostPool) {}

/// Receivers that keep bytes in it, and how many: none.
pub(crate) fn kept_in_spare(_pool: &HostPool) -> (u32, u64) {
    (0, 0)
}

/// What a pool of C belongs to: nothing.
pub(crate) struct CParent;

#[allow(unsafe_code, reason = "the C functions are unsafe to call")]
pub(crate) fn new_c_pool(config: &demuxbuf_pool_config) -> (*mut demuxbuf_pool, CParent) {
    let mut pool = std::ptr::null_mut();
    // SAFETY: the configuration is a live struct that says its size, and the output is a live local.
    let status = unsafe { demuxbuf_pool_new(config, &mut pool, std::ptr::null_mut(), std::ptr::null_mut()) };
    assert_eq!(status, DEMUXBUF_OK);
    (pool, CParent)
}
