//! One bounded pool for all event-loop threads, without a lock of all on the common path; ids only, no memory.
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
//! here.release(lease)?; // It is assigned to the waiter of the other shard.
//! assert_eq!(here.poll_wake(), Some(1)); // Signal that shard's thread, by an eventfd or its like:
//! assert_eq!(there.poll_grant().map(|grant| grant.token), Some(8)); // it picks the buffer up.
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # How it works
//!
//! A [`Scheduler`] behind a lock makes all decisions. Each shard has a cache of some free buffers, which are leased
//! from what no reserve of the scheduler holds back. A request takes one of them, and a release pushes one, under a
//! lock of the shard. That is one atomic exchange and a store: neither takes the lock of all nor writes a cache line
//! that another thread uses.
//!
//! The pool is *exhausted* while an eligible waiter finds no free buffer, or a reserve is not whole. A thread that
//! exhausts the pool sets `is_exhausted`, then drains the caches of all shards, each under its lock. A thread that
//! releases a buffer reads `is_exhausted` under the lock of its shard, and pushes the buffer only if it is not set. So
//! either the drain finds what was pushed, or the releasing thread sees `is_exhausted`. Between calls, while the pool
//! is exhausted, all caches are empty: **no buffer is free while an eligible waiter is queued**.
//!
//! The lock of a shard is also that of its leases: only under it one of them ends or changes, on whichever thread. So
//! of two threads that release a lease at the same time, one succeeds.
//!
//! # Waits of a shard
//!
//! A shard queues its requests itself, first in, first out in each class, and for all of one class a single wait is in
//! the queue of the scheduler, the *placeholder*. When the placeholder is served, so is the first of those it stands
//! for, and it queues again where the next of them belongs: that queue goes by age, of all shards. It keeps
//! its place for the next one where the first ends, or has a buffer otherwise.
//!
//! A buffer that a shard releases may go to the first of its own waits, of its most critical class that waits, without
//! the lock of all: an *exchange*, in the same hold of the lock of the shard that ends the lease. Other threads want
//! that lock to end a lease of the shard, and beside the lock of all: to serve, end or describe one of these waits, to
//! call the shard, or to take what it does not use: cached buffers, a grant that it did not look at, or a right to
//! begin waits. The pool stays as it was, but for the holder of the buffer. There is no exchange, and the buffer goes
//! through the scheduler, where that would decide otherwise than by age:
//!
//! - while a wait is in the name of a tenant, for tenants take turns over all threads;
//! - while a buffer is to be withheld, for the pool's memory was limited;
//! - while a more critical class waits for a buffer, on any shard;
//! - while the reserve that the class leaves to others is not whole;
//! - for a buffer of a class with a cap or of a tenant, which is counted in one place;
//! - if it is the last wait of its class, for the placeholder stands for one;
//! - after [`EXCHANGES_MAX`] exchanges in a row, if anything else waits in the scheduler.
//!
//! Requests for a class with a cap or in the name of a tenant are in the queue of the scheduler themselves, and so is a
//! wait from its first export on, and one that finds no room with its shard: there are 2^20 of these places in all.
//!
//! # The bound
//!
//! No newcomer overtakes a waiter that the same shard queues in its class. To others, an exchange may be a bypass. Let
//! *w* be the bound of the scheduler alone ([`Scheduler::bypass_bound`]): a wait is served by grant *w + 1* of the
//! scheduler, since its queue goes by age. Before each of these grants a shard may exchange [`EXCHANGES_MAX`] times,
//! and each of *S* shards once more so often before it next gives a buffer to the scheduler. So for all shards together
//! *W* is `w + EXCHANGES_MAX (w + 1 + S)`. A wait's count starts again at its first export, and where a shard that did
//! not look lost its grant. That of a wait in the queue of the scheduler has no exchanges in it.
//!
//! # Locks
//!
//! These calls take the lock of all:
//!
//! - a request when the cache is empty, unless it queues behind others of its shard; every 16th of those may take it;
//! - any release while the pool is exhausted that is no exchange, and the one after [`CACHE_MAX`] without a request in
//!   between;
//! - all calls about a wait or a tenant, but for picking up the grant of a wait that its shard queued;
//! - request and release for a class with a cap or in the name of a tenant;
//! - [`SharedScheduler::bypass_bound`] and [`SharedScheduler::close`].
//!
//! The lock of all is a mutex. That of a shard is held for some instructions, and costs one atomic exchange and a
//! store: a thread that finds it taken looks again, lets others run, and at last sleeps between two looks.
//!
//! # Threads
//!
//! A shard belongs to one thread at a time. It can be sent to another, and is not shared (`Send`, not `Sync`). A lease
//! belongs to the scheduler, not to the shard: any shard releases it. A wait belongs to the shard that requested it
//! until it is moved ([`SchedulerShard::export_wait`]). Sizes other than the default are refused: all cached buffers
//! are alike. Tenants are those of all shards; a request in the name of one takes the lock of all, and so does the
//! release of its buffer. A layer that lends a shard out without Rust's checks uses [`SchedulerShard::check_thread`].
//! Misuse that this misses loses no buffer and grants none twice, but may overtake a waiter and miscount.
//!
//! On each thread, before it sleeps, call [`SchedulerShard::poll_grant`] until `None`, then
//! [`SchedulerShard::poll_wake`] until `None`. Each shard that has a grant to pick up is named once, to the thread that
//! asks first, until it has picked up all there were. A signal is in vain only if the grants are picked up, cancelled,
//! exported or taken back after the shard was named and before the signal arrives.
//!
//! If there is a `lease_ns`, a shard that has not looked for `lease_ns` loses its grants to waits of shards that look,
//! if they could use them, and its own waits queue again: no wait depends on a thread that hangs. There are at most as
//! many wakes as hand-offs to other shards. With a `lease_ns` there is one more for each shard whenever the queue
//! ceases to be empty, so that each shard polls its own deadlines.
//!
//! # The end
//!
//! You may drop [`SharedScheduler`] and its shards in any order. Dropping `SharedScheduler` closes it: requests are
//! refused, and all other calls still work, so that you can end leases and waits in order. Dropping a shard ends its
//! waits, and its cached buffers return to all shards. A buffer that was assigned to it goes to the next waiter, whose
//! shard any thread's `poll_wake` names. Leases stay: any other shard releases them. A shard ends its waits in pieces,
//! and gives up the lock between two of them.

// One block: the buffers of a shared pool are those of all its threads (`shared_pool.rs`).
#![deny(unsafe_code)]

mod asks;
mod cache;
mod check;
mod common;
mod error;
mod exchange;
mod exports;
mod homes;
mod lease_deadlines;
mod migration;
mod own_waits;
mod placeholders;
mod pool_api;
mod pool_shard;
mod release;
mod shard;
mod shard_state;
mod shard_tenants;
mod shared_pool;
mod shown_clock;
mod state;
mod stats;
mod sync;
mod tenants;
mod totals;

pub use error::SharedSchedulerError;
#[doc(hidden)]
pub use exports::Ticket;
#[doc(hidden)]
pub use migration::Arriving;
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

/// The most exported waits at once.
pub const EXPORTS_MAX: u32 = 256;

/// The most free buffers that a shard caches.
pub const CACHE_MAX: u32 = 64;

/// The most buffers in a row that a shard gives to waits of its own while others wait.
pub const EXCHANGES_MAX: u32 = 15;

/// The scheduler of all threads.
#[derive(Debug)]
pub struct SharedScheduler {
    shared: TryArc<Shared>,
}

impl SharedScheduler {
    /// Reserves all tables for this number of shards, 1 to [`SHARDS_MAX`]. Nothing is allocated afterwards.
    ///
    /// # Errors
    ///
    /// A field is out of range, or a table could not be reserved; what had been is freed.
    pub fn new(config: &SchedulerConfig, shards: u32) -> Result<SharedScheduler, ConfigError> {
        if !(1..=SHARDS_MAX).contains(&shards) {
            return Err(ConfigError::out_of_range("shards", shards.into(), 1, SHARDS_MAX.into()));
        }
        SharedScheduler::with_receivers(config, shards, 0)
    }

    /// As `new`; receivers keep content in buffers of this size in the name of tenants.
    fn with_receivers(config: &SchedulerConfig, shards: u32, unit_bytes: u32) -> Result<SharedScheduler, ConfigError> {
        let shared = Shared::new(config, shards, unit_bytes)?;
        let no_memory = ConfigError::out_of_memory::<Shared>("shards", 1);
        Ok(SharedScheduler { shared: TryArc::try_new(shared).ok_or(no_memory)? })
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

    /// The published bound *W* for all shards together; see [`Scheduler::bypass_bound`].
    pub fn bypass_bound(&self) -> u64 {
        self.shared.bypass_bound()
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
