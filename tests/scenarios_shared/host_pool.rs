//! The pool of the host: that of a thread, of a shared pool.

use demuxbuf::pool::{Pool, PoolConfig};
use demuxbuf::shared::{PoolShard, SharedPool};
use std::ops::{Deref, DerefMut};

/// The pool of a thread, and what it is of: attaching ends with that.
pub(crate) struct HostPool {
    pool: Pool<PoolShard>,
    shared_pool: SharedPool,
}

/// What its receive leaves has a place there, whatever others take.
pub(crate) const HAS_SPARE: bool = true;

pub(crate) fn new_pool(config: &PoolConfig) -> HostPool {
    let shared_pool = SharedPool::new(config, 1).expect("the configuration is allowed");
    HostPool { pool: shared_pool.shard(0).expect("it is free"), shared_pool }
}

impl Deref for HostPool {
    type Target = Pool<PoolShard>;

    fn deref(&self) -> &Pool<PoolShard> {
        &self.pool
    }
}

impl DerefMut for HostPool {
    fn deref_mut(&mut self) -> &mut Pool<PoolShard> {
        &mut self.pool
    }
}

/// Buffers that the host can have.
pub(crate) fn free_buffers(pool: &HostPool) -> u32 {
    pool.shared_pool.stats().scheduler.free.saturating_sub(1)
}
