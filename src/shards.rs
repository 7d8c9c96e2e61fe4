//! One bounded pool for all event-loop threads, without a lock on the common path; ids only, no memory.
//!
//! [`Shards`] is the pool, a [`Shard`] the handle of one thread: the same calls as [`Pool`], and [`Shard::poll_wake`].
//!
//! ```
//! use demuxbuf::pool::{Outcome, PoolConfig};
//! use demuxbuf::shards::Shards;
//!
//! let shards = Shards::new(&PoolConfig::new(1, 8), 2)?;
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
//! A [`Pool`] behind a lock decides everything that takes a decision. Each shard keeps some free buffers at hand, leased
//! from what no reserve of the pool holds back: a request takes one of them, a release puts one there, and neither takes the
//! lock nor writes a cache line that another thread is using. The pool is *short* while a waiter could be served if more
//! buffers were free, or a reserve is not whole. Who makes it short says so, then takes back what all shards keep at
//! hand; who releases a buffer puts it at hand, then looks whether the pool is short, and if so takes it there. Both
//! change the same word, the top of what is at hand: the buffer is there when all is taken back, or its holder comes after
//! that and sees that the pool is short. So at rest, while it is short, nothing is at hand anywhere: **no buffer is free
//! that a waiter may take**. It also means that no newcomer overtakes a waiter, and that the pool's bound *W*
//! ([`Pool::passed_max`]) holds for all shards together.
//!
//! The calls that take the lock: a request when nothing is at hand, any release while the pool is short, every
//! [`AT_HAND_MAX`]th release without a request in between, all calls about a wait, and both request and release for a
//! class with a cap (which must be counted in one place).
//!
//! # Threads
//!
//! A shard belongs to one thread at a time; it can be sent to another, and is not shared (`Send`, not `Sync`). A lease is
//! of the pool, not of the shard: any shard releases it. A wait is of the shard that requested it until it is moved
//! ([`Shard::export_wait`]). Sizes other than the default and tenants are refused: buffers at hand are all alike. A layer that lends a shard out without Rust's checks uses [`Shard::check_thread`]; what slips
//! through loses no buffer and grants none twice, but may overtake a waiter and miscount.
//!
//! The host's loop, on each thread, before it sleeps: [`Shard::poll_grant`] until `None`, [`Shard::poll_wake`] until
//! `None`. Of the shards that have a grant to pick up, each is named once, to whichever thread asks first, until it has
//! looked (until it has picked up all there were). It is named for nothing only if its grants are picked up, cancelled,
//! exported or taken back after it was named and before the host's signal arrives. If leases have deadlines, a shard that
//! has not looked for as long as a lease loses its grants to waits of other shards, and its own waits queue again: no wait
//! depends on a thread that hangs. There are at most as many wakes as hand-overs to
//! other shards; and if leases have deadlines, one for each shard whenever somebody begins to wait while nobody did, so
//! that each watches those of its own.
//!
//! # The end
//!
//! [`Shards`] and its shards may be dropped in any order. Dropping `Shards` closes the pool: requests are refused, all
//! else still works, so that what is held and what waits can be ended in order. Dropping a shard ends its waits, and what
//! it has at hand is everybody's; a buffer that was assigned to it goes to the next waiter, whom any thread's `poll_wake`
//! names. Leases stay: any other shard releases them. It ends its waits in pieces, between which other shards get at the
//! pool.

#![forbid(unsafe_code)]

mod binding;
mod cache;
mod error;
mod shard;
mod shared;
mod stats;
mod sync;
mod tickets;

pub use error::ShardError;
pub use shard::Shard;
pub use stats::ShardsStats;

use crate::memory::Counted;
#[cfg(doc)]
use crate::pool::Pool;
use crate::pool::{ConfigError, PoolConfig};
use alloc::vec::Vec;
use shared::Shared;

/// The most shards there can be.
pub const SHARDS_MAX: u32 = 1024;

/// The most waits that are on their way from one shard to another at once.
pub const TRAVELLING_MAX: u32 = 256;

/// The most free buffers that a shard keeps at hand.
pub const AT_HAND_MAX: u32 = 64;

/// The pool of all threads.
#[derive(Debug)]
pub struct Shards {
    shared: Counted<Shared>,
}

impl Shards {
    /// Reserves all tables for so many shards, 1 to [`SHARDS_MAX`]. Nothing is allocated afterwards.
    ///
    /// # Errors
    ///
    /// A field is out of range, or a table could not be reserved; what had been is given back.
    pub fn new(config: &PoolConfig, shards: u32) -> Result<Shards, ConfigError> {
        if !(1..=SHARDS_MAX).contains(&shards) {
            let (field, index) = ("shards", None);
            return Err(ConfigError::OutOfRange { field, index, value: shards, min: 1, max: SHARDS_MAX });
        }
        let no_memory = ConfigError::AllocationFailed { field: "shards", entries: shards };
        Ok(Shards { shared: Counted::try_new(Shared::new(config, shards)?).ok_or(no_memory)? })
    }

    /// The handle of one shard; when it is dropped, it can be had again.
    ///
    /// # Errors
    ///
    /// There is no such shard, or its handle is in use.
    pub fn shard(&self, index: u32) -> Result<Shard, ShardError> {
        Shard::claim(&self.shared, index)
    }

    /// As [`Shard::poll_wake`], for a thread without a shard: after it dropped one.
    pub fn poll_wake(&self) -> Option<u32> {
        self.shared.poll_wake(None)
    }

    /// Counts, without a lock.
    pub fn stats(&self) -> ShardsStats {
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

impl Drop for Shards {
    fn drop(&mut self) {
        self.close();
    }
}

fn reserve<T>(field: &'static str, entries: u32) -> Result<Vec<T>, ConfigError> {
    crate::memory::reserve(entries).map_err(|_| ConfigError::AllocationFailed { field, entries })
}
