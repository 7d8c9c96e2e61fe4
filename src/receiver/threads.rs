//! One pool and its buffers for the receivers of several threads.

use super::entry::Stamp;
use super::exports::Exports;
use super::sharded::Sharded;
use super::source::Source;
use super::{ConfigError, Receivers, ReceiversConfig};
use crate::memory::{Arena, Counted, Memory, MemoryError};
use crate::pool::{self, PoolConfig};
use crate::shards::{ShardError, Shards, ShardsStats, TRAVELLING_MAX};
use core::fmt;
use core::sync::atomic::{AtomicU32, Ordering};

/// A pool that several threads share, each through [`Receivers`] of its own: the same calls, and
/// [`poll_wake`](Receivers::poll_wake).
///
/// Buffers are for all together, up to the one hard cap, and a buffer that one thread gives back reaches a waiter of
/// another (see [`shards`](crate::shards)). Receivers, their waits and parking slots are each thread's own: so many as the
/// configuration says for each. A receiver moves to another thread by [`export`](Receivers::export) and
/// [`import`](Receivers::import). There are no tenants, and buffers have one size.
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
/// use demuxbuf::receiver::{ReceiverThreads, ReceiversConfig};
///
/// let threads = ReceiverThreads::new(&ReceiversConfig::new(1, 100), 2)?;
/// let (mut here, mut there) = (threads.receivers(0)?, threads.receivers(1)?);
/// let (mine, other) = (here.attach(0, 7)?, there.attach(0, 8)?);
/// assert!(here.handle(mine, Event::Readable)?.has(Action::Recv));
/// there.handle(other, Event::Readable)?; // It waits for the one buffer, and may receive a few bytes meanwhile.
/// here.handle(mine, Event::WouldBlock)?; // Its buffer is the other's from now on,
/// assert_eq!(here.poll_wake(), Some(1)); // whose thread is to be told, by an eventfd or its like,
/// assert!(there.poll_grant().is_some()); // and goes on with it.
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct ReceiverThreads {
    common: Counted<Common>,
}

#[derive(Debug)]
pub(super) struct Common {
    shards: Shards,
    pub(super) exports: Exports,
    arena: Arena,
    config: ReceiversConfig,
    threads: u32,
    /// How often the receivers of a thread were made.
    made: AtomicU32,
}

/// Why the receivers of a thread are not to be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ThreadError {
    /// There is no such thread, it has its receivers already, or the pool is closed.
    Shard(ShardError),
    /// Its tables or slots could not be reserved; what had been is given back.
    Memory(ConfigError),
}

impl ReceiverThreads {
    /// Reserves the buffers, and the pool's tables for so many threads, 1 to [`SHARDS_MAX`](crate::shards::SHARDS_MAX).
    ///
    /// # Errors
    ///
    /// As [`Receivers::new`]. There are other sizes than the default, or tenants.
    pub fn new(config: &ReceiversConfig, threads: u32) -> Result<ReceiverThreads, ConfigError> {
        config.check()?;
        // Each thread has so many waits, and more are on their way from one to another.
        let waiters_max = config.pool.waiters_max.saturating_mul(threads).saturating_add(TRAVELLING_MAX);
        let shards = Shards::new(&PoolConfig { waiters_max, ..config.pool }, threads)?;
        // Where all receivers of all threads are on their way, those that took their rows may not be moved.
        let exports = Exports::new(config.receivers_max.saturating_mul(threads))?;
        let memory = config.memory();
        let arena = Arena::new(memory.buffers, &memory.buffer_bytes)?;
        let bytes = size_of::<Common>();
        let common =
            Counted::try_new(Common { shards, exports, arena, config: *config, threads, made: AtomicU32::new(0) });
        Ok(ReceiverThreads { common: common.ok_or(MemoryError::AllocationFailed { field: "threads", bytes })? })
    }

    /// The receivers of one thread; its tables and slots are reserved now, and nothing afterwards. They are bound to the
    /// thread that calls, as far as [`Receivers::check_thread`] is used. When they are dropped, what they hold is
    /// everybody's, and they can be had again; leases of the host's own stay held until any thread releases them.
    ///
    /// # Errors
    ///
    /// There is no such thread, it has its receivers, or the pool is closed; memory could not be reserved.
    pub fn receivers(&self, index: u32) -> Result<Receivers, ThreadError> {
        let Common { shards, arena, config, threads, made, .. } = &*self.common;
        let shard = shards.shard(index).map_err(ThreadError::Shard)?;
        if shard.is_closed() {
            return Err(ThreadError::Shard(ShardError::Closed));
        }
        shard.bind_thread();
        let arena = arena.alias().expect("buffers of shards have one size");
        let memory = Memory::with_arena(arena, &config.memory()).map_err(ConfigError::from)?;
        let clock = pool::Clock::new(config.pool.lease_ns);
        let deadlines = pool::deadlines_of(&config.pool).map_err(ConfigError::from)?;
        let made = made.fetch_add(1, Ordering::Relaxed);
        let stamp = Stamp::of_thread(config.pool.tag, index, *threads, made);
        let source = Source::Shard(Sharded::new(shard, deadlines, clock, self.common.clone()));
        Ok(Receivers::with(source, memory, config, config.pool.buffers, stamp)?)
    }

    /// As [`Receivers::poll_wake`], for a thread that has no receivers: after it dropped them.
    pub fn poll_wake(&self) -> Option<u32> {
        self.common.shards.poll_wake()
    }

    /// Takes nobody in from now on, as dropping this does.
    pub fn close(&self) {
        self.common.shards.close();
    }

    /// Counts of the pool, without a lock.
    pub fn stats(&self) -> ShardsStats {
        self.common.shards.stats()
    }

    /// Checks what must always hold of the pool, walking everything: for tests. No other thread may be inside a call.
    ///
    /// # Errors
    ///
    /// Names the rule that is broken.
    pub fn check_invariants(&self) -> Result<(), &'static str> {
        self.common.shards.check_invariants()
    }
}

impl Drop for ReceiverThreads {
    fn drop(&mut self) {
        self.close();
    }
}

impl fmt::Display for ThreadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ThreadError::Shard(error) => error.fmt(f),
            ThreadError::Memory(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for ThreadError {}

impl From<ConfigError> for ThreadError {
    fn from(error: ConfigError) -> ThreadError {
        ThreadError::Memory(error)
    }
}
