//! The pool of the host: one for one thread.

use demuxbuf::pool::{Pool, PoolConfig};

pub(crate) type HostPool = Pool;

/// Whether it has a buffer beside its receive buffer and the cells of 64 bytes, which the host cannot have.
pub(crate) const HAS_SPARE: bool = false;

pub(crate) fn new_pool(config: &PoolConfig) -> HostPool {
    Pool::new(config).expect("the configuration is allowed")
}

/// Buffers that the host can have.
pub(crate) fn free_buffers(pool: &HostPool) -> u32 {
    pool.memory().free_buffers()
}
