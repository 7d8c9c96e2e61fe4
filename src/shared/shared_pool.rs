//! One pool and its buffers for the receivers of several threads.

use super::common::Common;
use super::exports::Exports;
use super::pool_shard::PoolShard;
use super::{EXPORTS_MAX, SharedScheduler, SharedSchedulerError, SharedSchedulerStats};
use crate::alloc_util::TryArc;
use crate::config_error::ConfigError;
use crate::memory::{Arena, Memory};
use crate::pool::{Pool, PoolConfig, Stamp};
use crate::scheduler::{self, SchedulerConfig};
use core::fmt;
use core::sync::atomic::{AtomicU32, Ordering};

/// A pool that several threads share, each through a [`Pool`] of its own: the same calls, and
/// [`poll_wake`](Pool::poll_wake), [`export`](Pool::export) and [`import`](Pool::import).
///
/// All threads take buffers from one budget with one hard cap. A buffer that one thread releases reaches a waiter of
/// another thread (see [the module](super)). Each thread has receivers, waits and parking slots of its own: as many as the
/// configuration says for each. There are no tenants, and buffers have one size.
///
/// While a request waits, on whichever thread, each thread asks its own holders to park or to leave, the costliest of its
/// own first: at most one leaves at a time on each.
///
/// You may drop it before the pools of its threads or after them. Then no receiver is attached any more and no request of
/// the host's own is taken; the receivers that are there go on to their end. When the pool of a thread is dropped, the
/// leases of the host's own that it had stay: the first thread that uses, adopts or releases one has it.
///
/// ```
/// use demuxbuf::connection::{Action, Event};
/// use demuxbuf::pool::{AttachOptions, PoolConfig};
/// use demuxbuf::shared::SharedPool;
///
/// let shared_pool = SharedPool::new(&PoolConfig::new(1, 100), 2)?;
/// let (mut here, mut there) = (shared_pool.shard(0)?, shared_pool.shard(1)?);
/// let (mine, other) = (here.attach(&AttachOptions::new(0, 7))?, there.attach(&AttachOptions::new(0, 8))?);
/// assert!(here.handle(mine, Event::Readable)?.has(Action::Recv));
/// there.handle(other, Event::Readable)?; // It waits for the one buffer, and may receive a few bytes meanwhile.
/// here.handle(mine, Event::WouldBlock)?; // The buffer is assigned to the other receiver.
/// assert_eq!(here.poll_wake(), Some(1)); // Signal its thread, by an eventfd or its like:
/// assert!(there.poll_notice().is_some()); // it goes on with the buffer.
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct SharedPool {
    common: TryArc<Common>,
}

/// Why the pool of a thread is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SharedPoolError {
    /// There is no such shard, its pool exists already, or the shared pool is closed.
    Shard(SharedSchedulerError),
    /// Its tables or slots could not be reserved. Nothing stays reserved.
    Memory(ConfigError),
}

impl SharedPool {
    /// Reserves the buffers, and the tables for this number of threads, 1 to [`SHARDS_MAX`](super::SHARDS_MAX).
    ///
    /// # Errors
    ///
    /// As [`Pool::new`]; there are other sizes than the default, or tenants.
    pub fn new(config: &PoolConfig, shards: u32) -> Result<SharedPool, ConfigError> {
        config.check()?;
        // Each thread has this number of waits, and exported ones belong to no thread.
        let waiters_max = config.scheduler.waiters_max.saturating_mul(shards).saturating_add(EXPORTS_MAX);
        let scheduler = SharedScheduler::new(&SchedulerConfig { waiters_max, ..config.scheduler }, shards)?;
        // While all receivers of all threads are exported, those that took their rows cannot be.
        let exports = Exports::new(config.receivers_max.saturating_mul(shards))?;
        let memory = config.memory();
        let arena = Arena::protected(memory.buffers, &memory.buffer_bytes, memory.protection)?;
        let common =
            TryArc::try_new(Common { scheduler, exports, arena, config: *config, shards, made: AtomicU32::new(0) });
        Ok(SharedPool { common: common.ok_or(ConfigError::out_of_memory::<Common>("shards", 1))? })
    }

    /// The pool of one thread. Its tables and slots are reserved now, and nothing afterwards. It is bound to the thread
    /// that calls, as far as [`Pool::check_thread`] is used. When it is dropped, the buffers of its receivers return to the
    /// other threads, and this can be called for `index` again; leases of the host's own stay held until a thread releases
    /// them.
    ///
    /// # Errors
    ///
    /// There is no such shard, its pool exists, or the shared pool is closed; memory could not be reserved.
    pub fn shard(&self, index: u32) -> Result<Pool<PoolShard>, SharedPoolError> {
        let Common { scheduler, arena, config, shards, made, .. } = &*self.common;
        let shard = scheduler.shard(index).map_err(SharedPoolError::Shard)?;
        if shard.is_closed() {
            return Err(SharedPoolError::Shard(SharedSchedulerError::Closed));
        }
        shard.bind_thread();
        // SAFETY: the pool's source owns `common`, and with it the arena. A pool makes slices of the buffers of its own
        // leases alone, or, by a caller of `Reach::anywhere`, of one that it adopts. The scheduler leases a buffer once at
        // a time, and each way from a release to the next grant orders both, be it the lock or the top of a cache. What a
        // pool trims is free and in no cache, and stays so under the lock that `with_free` holds.
        #[allow(unsafe_code)]
        let arena = unsafe { arena.alias() }.expect("buffers of shards have one size");
        let memory = Memory::with_arena(arena, &config.memory())?;
        let clock = scheduler::Clock::new(config.scheduler.lease_ns);
        let deadlines = scheduler::deadlines_of(&config.scheduler)?;
        let made = made.fetch_add(1, Ordering::Relaxed);
        let stamp = Stamp::of_thread(config.scheduler.tag, index, *shards, made);
        let source = PoolShard::new(shard, deadlines, clock, self.common.clone());
        Ok(Pool::with_source(source, memory, config, config.scheduler.buffers, stamp)?)
    }

    /// As [`Pool::poll_wake`], for a thread without a pool: after it dropped the pool.
    pub fn poll_wake(&self) -> Option<u32> {
        self.common.scheduler.poll_wake()
    }

    /// Refuses newcomers from now on, as dropping this does.
    pub fn close(&self) {
        self.common.scheduler.close();
    }

    /// Counts of the pool, without a lock.
    pub fn stats(&self) -> SharedSchedulerStats {
        self.common.scheduler.stats()
    }

    /// Checks what must always hold, walking everything: for tests. No other thread may be inside a call.
    ///
    /// # Errors
    ///
    /// Names the rule that is broken.
    pub fn check_invariants(&self) -> Result<(), &'static str> {
        self.common.scheduler.check_invariants()
    }
}

impl Drop for SharedPool {
    fn drop(&mut self) {
        self.close();
    }
}

impl fmt::Display for SharedPoolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SharedPoolError::Shard(error) => error.fmt(f),
            SharedPoolError::Memory(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for SharedPoolError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            SharedPoolError::Shard(error) => Some(error),
            SharedPoolError::Memory(error) => Some(error),
        }
    }
}

impl From<ConfigError> for SharedPoolError {
    fn from(error: ConfigError) -> SharedPoolError {
        SharedPoolError::Memory(error)
    }
}
