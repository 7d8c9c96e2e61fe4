//! One pool and its buffers for the receivers of several threads.

use super::common::Common;
use super::exports::Exports;
use super::pool_shard::PoolShard;
use super::{SHARDS_MAX, SharedScheduler, SharedSchedulerError, SharedSchedulerStats};
use crate::alloc_util::TryArc;
use crate::config_error::{ConfigError, in_range};
use crate::pool::{Pool, PoolConfig, Stamp, check_receivers};
use crate::receiving::Split;
use crate::scheduler::{CLASSES_MAX, NestedRequest};
use core::fmt;
use core::sync::atomic::Ordering;

/// A pool that several threads share, each through a [`Pool`] of its own: the same calls, and
/// [`poll_wake`](Pool::poll_wake), [`export`](Pool::export) and [`import`](Pool::import).
///
/// All threads take buffers from one budget with one hard cap. A buffer that one thread releases reaches a request or a
/// receiver of another thread (see [the module](super)). Each thread has receivers, waits of the host's own, cells and
/// a clock of its own: as many receivers and waits as the configuration says for each. Tenants are of all threads: each
/// may use every handle, and what a tenant holds is counted over all.
///
/// Each thread has two buffers in any case, and those that are cut into its cells of 64 bytes: the one that its
/// receivers receive into, and a *spare*, so that what a receive leaves has a place whatever other threads take. So
/// there are at least 8 buffers for each thread. A thread that sleeps has one spare at most. Where its receivers wait
/// for memory, one wait stands for all of them; how long a receiver waits at most depends on no other thread.
///
/// While a request waits, on whichever thread, each thread evicts what its own receivers keep past its deadline, when
/// it polls.
///
/// You may drop it before the pools of its threads or after them. Then no receiver is attached any more and no request
/// of the host's own is taken; the receivers that are there go on to their end. When the pool of a thread is dropped,
/// the leases of the host's own that it had stay: the first thread that uses, adopts or releases one has it.
///
/// ```
/// use demuxbuf::pool::PoolConfig;
/// use demuxbuf::scheduler::{Outcome, Request};
/// use demuxbuf::shared::SharedPool;
///
/// let shared_pool = SharedPool::new(&PoolConfig::new(1 << 20, 100), 2)?;
/// let (mut here, mut there) = (shared_pool.shard(0)?, shared_pool.shard(1)?);
/// let Some(lease) = here.try_request(&Request::new(0, 7))? else { panic!("buffers are free") };
/// while there.try_request(&Request::new(0, 8))?.is_some() {} // All others are taken.
/// assert!(matches!(there.request(0, 9)?, Outcome::Queued(_)));
/// here.release(lease)?; // The buffer is assigned to the request of the other thread.
/// assert_eq!(here.poll_wake(), Some(1)); // Signal that thread, by an eventfd or its like:
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
    /// Its tables could not be reserved. Nothing stays reserved.
    Memory(ConfigError),
}

/// How memory is split for this number of threads.
fn check_shards(config: &PoolConfig, shards: u32) -> Result<Split, ConfigError> {
    in_range("shards", shards.into(), 1, SHARDS_MAX.into())?;
    // One class more, of receivers without credit that wait.
    in_range("classes", config.classes.into(), 1, CLASSES_MAX as u64 - 1)?;
    config.split_for(shards)
}

impl SharedPool {
    /// Reserves the buffers, and the tables for this number of threads, 1 to [`SHARDS_MAX`](super::SHARDS_MAX).
    ///
    /// # Errors
    ///
    /// As [`Pool::new`]; there are as many classes as there can be, of which one is for receivers that wait.
    pub fn new(config: &PoolConfig, shards: u32) -> Result<SharedPool, ConfigError> {
        let split = check_shards(config, shards)?;
        let mut requests = config.requests(split.buffers);
        check_receivers(&requests, &split)?;
        let (receivers, waiters) = (usize::from(config.classes) - 1, usize::from(config.classes));
        requests.classes += 1;
        requests.reserves[waiters] = requests.reserves[receivers] + split.reserve;
        requests.class_caps[waiters] = requests.class_caps[receivers];
        // Each thread has one for its receivers.
        requests.waiters_max = config.waiters_max.saturating_add(1).saturating_mul(shards);
        requests.lease_ns = Some(config.frame_grace_ns);
        let scheduler = SharedScheduler::with_receivers(&requests, shards, split.buffer_bytes)?;
        // While all receivers of all threads are exported, those that took their rows cannot be.
        let exports = Exports::new(config.receivers_max.saturating_mul(shards))?;
        let common = Common::new(scheduler, exports, config.arena(&split)?, config, split, shards)?;
        let no_memory = ConfigError::out_of_memory::<Common>("shards", 1);
        Ok(SharedPool { common: TryArc::try_new(common).ok_or(no_memory)? })
    }

    /// As [`PoolConfig::check_nested_requests`], of a shared pool for this number of threads. What the receivers of
    /// each always have is left out, and its spare.
    ///
    /// # Errors
    ///
    /// As [`PoolConfig::check_nested_requests`], and [`new`](SharedPool::new).
    pub fn check_nested_requests(
        config: &PoolConfig,
        shards: u32,
        nested: &[NestedRequest],
    ) -> Result<(), ConfigError> {
        let split = check_shards(config, shards)?;
        config.check_nested_beside(&split, split.always + shards, nested)
    }

    /// The pool of one thread. Its tables are reserved now, and nothing afterwards. It is bound to the thread that
    /// calls, as far as [`Pool::check_thread`] is used. When it is dropped, the buffers of its receivers return to the
    /// other threads, and this can be called for `index` again; leases of the host's own stay held until a thread
    /// releases them.
    ///
    /// # Errors
    ///
    /// There is no such shard, its pool exists, or the shared pool is closed; memory could not be reserved.
    pub fn shard(&self, index: u32) -> Result<Pool<PoolShard>, SharedPoolError> {
        let Common { scheduler, arena, config, split, shards, made, .. } = &*self.common;
        let shard = scheduler.shard(index).map_err(SharedPoolError::Shard)?;
        if shard.is_closed() {
            return Err(SharedPoolError::Shard(SharedSchedulerError::Closed));
        }
        shard.bind_thread();
        // SAFETY: the pool's source owns `common`, and with it the arena. A pool makes slices of the buffers of its own
        // leases alone, or, by a caller of `Reach::anywhere`, of one that it adopts. The scheduler leases a buffer once
        // at a time, and each way from a release to the next grant orders both, be it the lock of all or that of a
        // shard. What a pool trims is free and in no cache, and stays so under the lock that `with_free` holds.
        #[allow(unsafe_code)]
        let arena = unsafe { arena.alias() }.expect("buffers of shards have one size");
        let made = made.fetch_add(1, Ordering::Relaxed);
        let stamp = Stamp::of_thread(config.tag, index, *shards, made);
        let source = PoolShard::new(shard, self.common.clone())?;
        Ok(Pool::with_source(source, arena, config, *split, stamp)?)
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

    /// As `check_invariants`, where this is what the receivers of all threads keep in the name of each tenant.
    ///
    /// # Errors
    ///
    /// Names the rule that is broken.
    #[doc(hidden)]
    pub fn check_tenants(&self, kept_bytes: impl Fn(u32) -> u64) -> Result<(), &'static str> {
        self.common.scheduler.shared.check_kept(kept_bytes)?;
        self.check_invariants()
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
