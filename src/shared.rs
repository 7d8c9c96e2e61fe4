//! One bounded pool for all event-loop threads, without a lock on the common path; ids only, no memory.
//!
//! [`SharedScheduler`] is the pool, a [`SchedulerShard`] the handle of one thread: the same calls as [`Scheduler`], and
//! [`SchedulerShard::poll_wake`].
//!
//! ```
//! use demuxbuf::scheduler::{Outcome, SchedulerConfig};
//! use demuxbuf::shared::SharedScheduler;
//!
//! let shards = SharedScheduler::new(&SchedulerConfig::new(1, 8), 2)?;
//! let (here, there) = (shards.shard(0)?, shards.shard(1)?);
//! let Outcome::Granted(lease) = here.request(0, 7)? else { panic!("the buffer is free") };
//! assert!(matches!(there.request(0, 8)?, Outcome::Queued(_)));
//! here.release(lease)?; // It is the other's from now on,
//! assert_eq!(here.poll_wake(), Some(1)); // who is to be told, by an eventfd or its like,
//! assert_eq!(there.poll_grant().map(|grant| grant.token), Some(8)); // and picks it up.
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # How it works
//!
//! A [`Scheduler`] behind a lock decides everything that takes a decision. Each shard keeps some free buffers at hand,
//! leased from what no reserve of the pool holds back: a request takes one of them, a release puts one there, and
//! neither takes the lock nor writes a cache line that another thread is using. The pool is *short* while a waiter
//! could be served if more buffers were free, or a reserve is not whole. Who makes it short says so, then takes back
//! what all shards keep at hand; who releases a buffer puts it at hand, then looks whether the pool is short, and if so
//! takes it there. Both change the same word, the top of what is at hand: the buffer is there when all is taken back,
//! or its holder comes after that and sees that the pool is short. So at rest, while it is short, nothing is at hand
//! anywhere: **no buffer is free that a waiter may take**. It also means that no newcomer overtakes a waiter, and that
//! the pool's bound *W* ([`Scheduler::bypass_bound`]) holds for all shards together.
//!
//! The calls that take the lock: a request when nothing is at hand, any release while the pool is short, every
//! [`CACHE_MAX`]th release without a request in between, all calls about a wait, and both request and release for a
//! class with a cap (which must be counted in one place).
//!
//! # Threads
//!
//! A shard belongs to one thread at a time; it can be sent to another, and is not shared (`Send`, not `Sync`). A lease is
//! of the pool, not of the shard: any shard releases it. A wait is of the shard that requested it until it is moved
//! ([`SchedulerShard::export_wait`]). Sizes other than the default and tenants are refused: buffers at hand are all
//! alike. A layer that lends a shard out without Rust's checks uses [`SchedulerShard::check_thread`]; what slips
//! through loses no buffer and grants none twice, but may overtake a waiter and miscount.
//!
//! The host's loop, on each thread, before it sleeps: [`SchedulerShard::poll_grant`] until `None`,
//! [`SchedulerShard::poll_wake`] until `None`. Of the shards that have a grant to pick up, each is named once, to
//! whichever thread asks first, until it has looked (until it has picked up all there were). It is named for nothing
//! only if its grants are picked up, cancelled, exported or taken back after it was named and before the host's signal
//! arrives. If leases have deadlines, a shard that has not looked for as long as a lease loses its grants to waits of
//! other shards, and its own waits queue again: no wait depends on a thread that hangs. There are at most as many wakes
//! as hand-offs to other shards; and if leases have deadlines, one for each shard whenever somebody begins to wait
//! while nobody did, so that each watches those of its own.
//!
//! # The end
//!
//! [`SharedScheduler`] and its shards may be dropped in any order. Dropping `SharedScheduler` closes the pool: requests
//! are refused, all else still works, so that what is held and what waits can be ended in order. Dropping a shard ends
//! its waits, and what it has at hand is everybody's; a buffer that was assigned to it goes to the next waiter, whom
//! any thread's `poll_wake` names. Leases stay: any other shard releases them. It ends its waits in pieces, between
//! which other shards get at the pool.

#![forbid(unsafe_code)]

mod cache;
mod common;
mod error;
mod exports;
mod migration;
mod pool_api;
mod pool_shard;
mod shard;
mod shard_waits;
mod shared_pool;
mod state;
mod stats;
mod sync;

pub use error::SharedSchedulerError;
#[doc(hidden)]
pub use exports::Ticket;
pub use migration::ExportedReceiver;
pub use pool_shard::PoolShard;
pub use shard::SchedulerShard;
pub use shared_pool::{SharedPool, SharedPoolError};
pub use stats::SharedSchedulerStats;

use crate::alloc_util::TryArc;
#[cfg(doc)]
use crate::scheduler::Scheduler;
use crate::scheduler::{ConfigError, SchedulerConfig};
use state::Shared;

/// The most shards there can be.
pub const SHARDS_MAX: u32 = 1024;

/// The most waits that are on their way from one shard to another at once.
pub const EXPORTS_MAX: u32 = 256;

/// The most free buffers that a shard keeps at hand.
pub const CACHE_MAX: u32 = 64;

/// The pool of all threads.
#[derive(Debug)]
pub struct SharedScheduler {
    shared: TryArc<Shared>,
}

impl SharedScheduler {
    /// Reserves all tables for so many shards, 1 to [`SHARDS_MAX`]. Nothing is allocated afterwards.
    ///
    /// # Errors
    ///
    /// A field is out of range, or a table could not be reserved; what had been is given back.
    pub fn new(config: &SchedulerConfig, shards: u32) -> Result<SharedScheduler, ConfigError> {
        if !(1..=SHARDS_MAX).contains(&shards) {
            return Err(ConfigError::out_of_range("shards", shards.into(), 1, SHARDS_MAX.into()));
        }
        let no_memory = ConfigError::out_of_memory::<Shared>("shards", 1);
        Ok(SharedScheduler { shared: TryArc::try_new(Shared::new(config, shards)?).ok_or(no_memory)? })
    }

    /// The handle of one shard; when it is dropped, it can be had again.
    ///
    /// # Errors
    ///
    /// There is no such shard, or its handle is in use.
    pub fn shard(&self, index: u32) -> Result<SchedulerShard, SharedSchedulerError> {
        SchedulerShard::claim(&self.shared, index)
    }

    /// As [`SchedulerShard::poll_wake`], for a thread without a shard: after it dropped one.
    pub fn poll_wake(&self) -> Option<u32> {
        self.shared.poll_wake(None)
    }

    /// Counts, without a lock.
    pub fn stats(&self) -> SharedSchedulerStats {
        self.shared.stats()
    }

    /// Refuses requests from now on, as dropping this does; all else still works.
    pub fn close(&self) {
        self.shared.close();
    }

    /// Checks what must always hold, walking everything: for tests. No other thread may be inside a call.
    ///
    /// # Errors
    ///
    /// Names the rule that is broken.
    pub fn check_invariants(&self) -> Result<(), &'static str> {
        self.shared.check_invariants()
    }
}

impl Drop for SharedScheduler {
    fn drop(&mut self) {
        self.close();
    }
}
