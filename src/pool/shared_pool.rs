//! One pool and its buffers for the receivers of several threads.

use super::exports::Exports;
use super::sharded::Sharded;
use super::source::Source;
use super::table::Stamp;
use super::{ConfigError, Pool, PoolConfig};
use crate::memory::{Arena, Memory, TryArc};
use crate::scheduler::{self, SchedulerConfig};
use crate::shared::{EXPORTS_MAX, SharedScheduler, SharedSchedulerError, SharedSchedulerStats};
use core::fmt;
use core::sync::atomic::{AtomicU32, Ordering};

/// A pool that several threads share, each through [`Pool`] of its own: the same calls, and
/// [`poll_wake`](Pool::poll_wake).
///
/// Buffers are for all together, up to the one hard cap, and a buffer that one thread gives back reaches a waiter of
/// another (see [`shards`](crate::shared)). Receivers, their waits and parking slots are each thread's own: so many as
/// the configuration says for each. A receiver moves to another thread by [`export`](Pool::export) and
/// [`import`](Pool::import). There are no tenants, and buffers have one size.
///
/// While somebody waits, on whichever thread, each thread asks its own holders to park or to leave, the costliest of its
/// own first: at most one leaves at a time on each.
///
/// It may be dropped before the receivers of its threads or after them. Then nobody is attached any more and no request of
/// a host's own is taken, while the receivers that are there go on to their end. When the receivers of a thread are dropped,
/// the leases of the host's own that it had stay: the first thread that uses, adopts or releases one has it.
///
/// ```
/// use demuxbuf::connection::{Action, Event};
/// use demuxbuf::pool::{SharedPool, PoolConfig};
///
/// let shards = SharedPool::new(&PoolConfig::new(1, 100), 2)?;
/// let (mut here, mut there) = (shards.shard(0)?, shards.shard(1)?);
/// let (mine, other) = (here.attach(0, 7)?, there.attach(0, 8)?);
/// assert!(here.handle(mine, Event::Readable)?.has(Action::Recv));
/// there.handle(other, Event::Readable)?; // It waits for the one buffer, and may receive a few bytes meanwhile.
/// here.handle(mine, Event::WouldBlock)?; // Its buffer is the other's from now on,
/// assert_eq!(here.poll_wake(), Some(1)); // whose thread is to be told, by an eventfd or its like,
/// assert!(there.poll_notice().is_some()); // and goes on with it.
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct SharedPool {
    common: TryArc<Common>,
}

#[derive(Debug)]
pub(super) struct Common {
    scheduler: SharedScheduler,
    pub(super) exports: Exports,
    arena: Arena,
    config: PoolConfig,
    shards: u32,
    /// How often the receivers of a thread were made.
    made: AtomicU32,
}

/// Why the receivers of a thread are not to be had.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SharedPoolError {
    /// There is no such thread, it has its receivers already, or the pool is closed.
    Shard(SharedSchedulerError),
    /// Its tables or slots could not be reserved; what had been is given back.
    Memory(ConfigError),
}

impl SharedPool {
    /// Reserves the buffers, and the pool's tables for so many threads, 1 to [`SHARDS_MAX`](crate::shared::SHARDS_MAX).
    ///
    /// # Errors
    ///
    /// As [`Pool::new`]. There are other sizes than the default, or tenants.
    pub fn new(config: &PoolConfig, shards: u32) -> Result<SharedPool, ConfigError> {
        config.check()?;
        // Each thread has so many waits, and more are on their way from one to another.
        let waiters_max = config.scheduler.waiters_max.saturating_mul(shards).saturating_add(EXPORTS_MAX);
        let scheduler = SharedScheduler::new(&SchedulerConfig { waiters_max, ..config.scheduler }, shards)?;
        // Where all receivers of all threads are on their way, those that took their rows may not be moved.
        let exports = Exports::new(config.receivers_max.saturating_mul(shards))?;
        let memory = config.memory();
        let arena = Arena::new(memory.buffers, &memory.buffer_bytes)?;
        let common =
            TryArc::try_new(Common { scheduler, exports, arena, config: *config, shards, made: AtomicU32::new(0) });
        Ok(SharedPool { common: common.ok_or(ConfigError::out_of_memory::<Common>("shards", 1))? })
    }

    /// The receivers of one thread; its tables and slots are reserved now, and nothing afterwards. They are bound to the
    /// thread that calls, as far as [`Pool::check_thread`] is used. When they are dropped, what they hold is
    /// everybody's, and they can be had again; leases of the host's own stay held until any thread releases them.
    ///
    /// # Errors
    ///
    /// There is no such thread, it has its receivers, or the pool is closed; memory could not be reserved.
    pub fn shard(&self, index: u32) -> Result<Pool, SharedPoolError> {
        let Common { scheduler, arena, config, shards, made, .. } = &*self.common;
        let shard = scheduler.shard(index).map_err(SharedPoolError::Shard)?;
        if shard.is_closed() {
            return Err(SharedPoolError::Shard(SharedSchedulerError::Closed));
        }
        shard.bind_thread();
        let arena = arena.alias().expect("buffers of shards have one size");
        let memory = Memory::with_arena(arena, &config.memory())?;
        let clock = scheduler::Clock::new(config.scheduler.lease_ns);
        let deadlines = scheduler::deadlines_of(&config.scheduler)?;
        let made = made.fetch_add(1, Ordering::Relaxed);
        let stamp = Stamp::of_thread(config.scheduler.tag, index, *shards, made);
        let source = Source::Shard(Sharded::new(shard, deadlines, clock, self.common.clone()));
        Ok(Pool::with(source, memory, config, config.scheduler.buffers, stamp)?)
    }

    /// As [`Pool::poll_wake`], for a thread that has no receivers: after it dropped them.
    pub fn poll_wake(&self) -> Option<u32> {
        self.common.scheduler.poll_wake()
    }

    /// Takes nobody in from now on, as dropping this does.
    pub fn close(&self) {
        self.common.scheduler.close();
    }

    /// Counts of the pool, without a lock.
    pub fn stats(&self) -> SharedSchedulerStats {
        self.common.scheduler.stats()
    }

    /// Checks what must always hold of the pool, walking everything: for tests. No other thread may be inside a call.
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
