//! One connection bound to a pool and its memory: the convenient way in.
//!
//! [`Pool`] owns a [`Scheduler`], its [`Memory`] and a table of connections. It does by itself what the connection
//! machine asks about buffers (`RequestBuffer`, `CancelRequest`, `ReleaseBuffer`, `Park`, `Discard`); what is left for
//! the host is to receive, to decode and to arm read interest. A cycle costs three calls:
//!
//! ```
//! use demuxbuf::connection::{Action, Event};
//! use demuxbuf::pool::{AttachOptions, Pool, PoolConfig};
//!
//! let mut pool = Pool::new(&PoolConfig::new(2, 100))?;
//! let id = pool.attach(&AttachOptions::new(0, 7))?;
//! let actions = pool.handle(id, Event::Readable)?;
//! assert!(actions.has(Action::Recv));
//! pool.receive_area(id)?[..5].copy_from_slice(b"hello");
//! let actions = pool.handle(id, Event::Received { bytes: 5 })?;
//! assert!(actions.has(Action::Decode));
//! assert_eq!(pool.data(id)?, b"hello");
//! pool.handle(id, Event::Consumed { bytes: 5 })?;
//! assert_eq!(pool.stats().scheduler.leased, 0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The methods sort into inputs ([`attach`](Pool::attach), [`handle`](Pool::handle), ...), outputs
//! ([`poll_notice`](Pool::poll_notice), [`poll_timeout`](Pool::poll_timeout)) and queries. In each loop
//! iteration, advance the clock ([`handle_timeout`](Pool::handle_timeout)) before you report events, and drain the notices
//! afterwards.
//!
//! While a request waits, `poll_notice` also parks what idle receivers hold, and names those that are to be shed.

#![forbid(unsafe_code)]

mod attach;
mod audit;
mod buffer_source;
mod check;
mod config;
mod error;
mod fast_path;
mod finding;
mod host_leases;
mod lent;
#[cfg(feature = "model-check")]
mod model_check;
mod own_actions;
mod queries;
mod table;
mod types;

pub use attach::AttachOptions;
pub use buffer_source::BufferSource;
#[cfg(feature = "std")]
pub(crate) use buffer_source::Source;
pub use config::PoolConfig;

pub use crate::config_error::ConfigError;
pub use error::PoolError;
pub use finding::{Finding, FindingKind};
pub use types::{LeasedContent, MemoryModelStats, Notice, PoolStats, ReceiverInfo};

use crate::connection::{Action, Actions, Connection, Event};
use crate::memory::{Memory, poison};
use crate::scheduler::{Scheduler, TenantConfig, TenantId};
pub(crate) use audit::{Audit, Audited, LeftNotice, PoolState};
use core::cell::Cell;
use core::marker::PhantomData;
use core::ptr::NonNull;
#[doc(hidden)]
pub use fast_path::Step;

pub use table::ReceiverId;
pub(crate) use table::{Place, Stamp, Table};

/// A pool, its memory and the connections that receive into it. For one thread at a time.
#[derive(Debug)]
pub struct Pool<S = Scheduler> {
    pub(crate) source: S,
    pub(crate) memory: Memory,
    pub(crate) table: Table,
    /// Waits of the host's own.
    host_waits: u32,
    /// An attach was refused because the table was full, and asked for a notice.
    is_attach_awaited: bool,
    pub(crate) config: PoolConfig,
    pub(crate) counts: PoolStats,
    audit: Option<Audit>,
    /// A pool moves between threads, but two threads never have it at once; the same for all features, whatever its
    /// fields are.
    is_not_sync: PhantomData<Cell<()>>,
}

impl Pool<Scheduler> {
    /// Reserves everything: buffers, slots and tables. Nothing is allocated afterwards.
    ///
    /// # Errors
    ///
    /// A field is out of range, or memory could not be reserved. Nothing stays reserved.
    pub fn new(config: &PoolConfig) -> Result<Pool, ConfigError> {
        config.check()?;
        let scheduler = Scheduler::new(&config.scheduler)?;
        let buffers = scheduler.buffers_max();
        Pool::with_source(scheduler, Memory::new(&config.memory())?, config, buffers, Stamp::new(config.scheduler.tag))
    }
}

impl<S: BufferSource> Pool<S> {
    /// Reserves the tables of receivers, for this number of buffers; `stamp` is that of their handles.
    pub(crate) fn with_source(
        source: S,
        memory: Memory,
        config: &PoolConfig,
        buffers: u32,
        stamp: Stamp,
    ) -> Result<Pool<S>, ConfigError> {
        Ok(Pool {
            memory,
            table: Table::new(config.receivers_max, buffers, stamp)?,
            source,
            host_waits: 0,
            is_attach_awaited: false,
            config: *config,
            counts: PoolStats::default(),
            audit: Audit::new(config.audit, config.receivers_max)?,
            is_not_sync: PhantomData,
        })
    }

    /// Gives all handles these bits, of [`SALT`](crate::scheduler::SALT), before there are any.
    #[doc(hidden)]
    pub fn salt(&mut self, salt: u32) {
        self.table.salt(salt);
    }

    /// The number of a lease, wait or tenant as C has it; and of C's, the number here. Those of receivers are the same.
    #[doc(hidden)]
    #[inline]
    pub fn salted(&self, bits: u64) -> u64 {
        bits ^ self.table.salted()
    }

    /// Reports what happened to a connection; returns what the host is to do now. The handle ends with `Finished`, which
    /// comes with `Close`, or if a receive is in flight then, with its outcome.
    ///
    /// Cost: O(1); no allocation, no system call. At most 64 undecoded bytes may be copied.
    ///
    /// # Errors
    ///
    /// The handle is stale or foreign; the event makes no sense, or is one that `Pool` reports by itself
    /// (`Attach`, `BufferGranted`, `BufferDenied`, `BufferParked`, `BufferReleased`, `Sync`). Nothing is changed.
    #[inline]
    pub fn handle(&mut self, id: ReceiverId, event: Event) -> Result<Actions, PoolError> {
        let step = match event {
            Event::Readable => self.try_fast_begin(id),
            Event::Received { bytes } => self.try_fast_receive(id, bytes),
            Event::Consumed { bytes } => self.try_fast_finish(id, bytes),
            Event::Done(actions) if actions.bits() == Action::WantRecv as u32 => self.try_fast_arm(id),
            _ => None,
        };
        match step {
            Some(step) => Ok(step.actions),
            None => self.handle_row(self.table.find(id)?, event),
        }
    }

    /// `Consumed`, and `NeedMore` if `need_more` is not 0, in one step: either both are taken or none.
    ///
    /// # Errors
    ///
    /// As [`handle`](Pool::handle).
    #[inline]
    pub fn decoded(&mut self, id: ReceiverId, consumed: u32, need_more: u32) -> Result<Actions, PoolError> {
        let step = if need_more == 0 { self.try_fast_finish(id, consumed) } else { None };
        match step {
            Some(step) => Ok(step.actions),
            None => self.consume(self.table.find(id)?, consumed, need_more),
        }
    }

    /// A hint that events of this receiver follow soon: the processor fetches its row from memory meanwhile. With more
    /// connections than the caches hold, nearly every event waits for its row otherwise.
    ///
    /// When the poller returns a batch, call this for all of its events first, and handle the events then; take batches of at
    /// most about 100 events, since what is fetched has to stay in the first cache until it is used. Fetch your own state of the
    /// connection in the same pass.
    ///
    /// Any handle is harmless, a stale one too. Cost: some instructions; it waits for nothing and changes nothing.
    #[inline]
    pub fn prefetch(&self, id: ReceiverId) {
        self.table.prefetch(id);
    }

    /// What the host is to do now.
    ///
    /// # Errors
    ///
    /// The handle is stale or foreign.
    pub fn pending(&self, id: ReceiverId) -> Result<Actions, PoolError> {
        Ok(self.pending_at(self.table.find(id)?))
    }

    /// The connection's state.
    ///
    /// # Errors
    ///
    /// The handle is stale or foreign.
    pub fn connection(&self, id: ReceiverId) -> Result<&Connection, PoolError> {
        Ok(self.table.connection(self.table.find(id)?))
    }

    /// What is buffered: one contiguous slice, empty if nothing is.
    ///
    /// # Errors
    ///
    /// The handle is stale or foreign.
    #[inline]
    pub fn data(&self, id: ReceiverId) -> Result<&[u8], PoolError> {
        let index = self.table.find(id)?;
        let (buffered_bytes, (held, start)) =
            (self.table.connection(index).buffered_bytes() as usize, self.held(index));
        Ok(&held[start..start + buffered_bytes])
    }

    /// As [`data`](Pool::data), for decoders that work in place.
    ///
    /// To take a hole out of the content, move the bytes before the hole up to its end, and report the bytes of the hole as
    /// `Consumed`: they are at the front then. The same cuts bytes off at the end.
    ///
    /// # Errors
    ///
    /// The handle is stale or foreign.
    pub fn data_mut(&mut self, id: ReceiverId) -> Result<&mut [u8], PoolError> {
        let index = self.table.find(id)?;
        let buffered_bytes = self.table.connection(index).buffered_bytes() as usize;
        let (held, start) = self.held_mut(index);
        Ok(&mut held[start..start + buffered_bytes])
    }

    /// Where to receive now: exactly `recv_max()` bytes, none unless `Recv` is pending.
    ///
    /// What is buffered is moved to the front first if it is not there; that is counted, and happens only here.
    /// Cost: O(1), or the number of undecoded bytes when they have to be moved.
    ///
    /// # Errors
    ///
    /// The handle is stale or foreign.
    #[inline]
    pub fn receive_area(&mut self, id: ReceiverId) -> Result<&mut [u8], PoolError> {
        let index = self.table.find(id)?;
        let room = self.table.connection(index).recv_max() as usize;
        if room == 0 {
            return Ok(&mut []);
        }
        let buffered_bytes = self.table.connection(index).buffered_bytes() as usize;
        self.compact(index);
        Ok(&mut self.held_mut(index).0[buffered_bytes..buffered_bytes + room])
    }

    /// Where the next receive goes, if `Recv` is pending, or else what is buffered, for C: an address and a length,
    /// without a borrow, so that what C holds of other receivers stays valid.
    #[doc(hidden)]
    #[inline(always)] // what it looks at was just looked at
    pub fn area(&mut self, index: u32, is_receive: bool) -> Option<(NonNull<u8>, u32)> {
        let (place, start) = match self.table.place(index) {
            Place::Nowhere => return None,
            Place::Slot(slot) => (self.memory.slots().address(slot), 0),
            Place::Buffer(buffer) => {
                if is_receive {
                    self.compact(index);
                }
                (self.memory.arena().address(buffer), self.table.start_in(buffer))
            }
        };
        self.lend_step(index, is_receive);
        let connection = self.table.connection(index);
        let (from, bytes) = match is_receive {
            true => (start + connection.buffered_bytes(), connection.capacity() - connection.buffered_bytes()),
            false => (start, connection.buffered_bytes()),
        };
        NonNull::new(place.as_ptr().wrapping_add(from as usize)).filter(|_| bytes > 0).map(|start| (start, bytes))
    }

    /// The row of a receiver, for the calls that take it.
    #[doc(hidden)]
    #[inline]
    pub fn find(&self, id: ReceiverId) -> Result<u32, PoolError> {
        self.table.find(id)
    }

    /// Takes the buffer and its content away from a receiver: the lease is the host's. Reading goes on into
    /// another buffer.
    ///
    /// # Errors
    ///
    /// The handle is stale or foreign; no buffer is held (parked bytes are read with `data`); a receive is
    /// in flight.
    pub fn take(&mut self, id: ReceiverId) -> Result<LeasedContent, PoolError> {
        let index = self.table.find(id)?;
        let Place::Buffer(buffer) = self.table.place(index) else {
            return Err(PoolError::NoBuffer);
        };
        self.check_not_in_flight(index)?;
        let lease = self.source.lease_at(buffer);
        let content = LeasedContent {
            lease,
            offset: self.table.start(index),
            buffered_bytes: self.table.connection(index).buffered_bytes(),
        };
        self.cancel_wait(index);
        self.source.stop_timing(lease);
        self.table.set_place(index, Place::Nowhere);
        self.counts.taken_bytes += u64::from(content.buffered_bytes);
        self.handle_and_run(index, Event::BufferReleased)?;
        Ok(content)
    }

    /// Moves what a receiver holds to a buffer of a larger size, because one frame needs it (`CannotFit`); when it lets
    /// go of that one the next is of the usual size again. If none is free the receiver waits for it, and goes on with
    /// what it holds meanwhile. The wait ends with its need: when the frame fits after all or a part of it is decoded,
    /// when it is blocked, and with the end of the stream, an error, `Fail` or `Close`. A frame that still does not fit
    /// once it is unblocked is reported again (`CannotFit`).
    ///
    /// Cost: O(1), and a copy of what is buffered.
    ///
    /// # Errors
    ///
    /// The handle is stale or foreign; no buffer is held; the size does not exist, is not larger, or could never be
    /// granted beside what is held; a buffer is waited for already; a receive is in flight; the table of waits is full. Nothing is changed.
    pub fn grow(&mut self, id: ReceiverId, size_index: u8) -> Result<Actions, PoolError> {
        self.grow_at(self.table.find(id)?, size_index)
    }

    /// Requests in the name of a tenant from now on, or of the default tenant. What is held or waited for stays as it is.
    ///
    /// # Errors
    ///
    /// The receiver or the tenant is stale or foreign; its cap is below a receiver's first buffer, which it could
    /// therefore never have. Nothing is changed.
    pub fn set_tenant(&mut self, id: ReceiverId, tenant: Option<TenantId>) -> Result<(), PoolError> {
        let index = self.table.find(id)?;
        let next = self.source.pin_tenant(tenant, self.config.first_size_index)?;
        self.source.unpin_tenant(self.table.tenant(index));
        self.table.set_tenant(index, next);
        Ok(())
    }

    /// Takes a tenant in. Cost: O(1).
    ///
    /// # Errors
    ///
    /// A field of the share is out of range; the table of tenants is full.
    pub fn create_tenant(&mut self, tenant_config: &TenantConfig) -> Result<TenantId, PoolError> {
        self.source.create_tenant(tenant_config)
    }

    /// Removes a tenant. Receivers that request in its name go on to do so; it goes away with the last of them.
    ///
    /// # Errors
    ///
    /// The tenant is stale or foreign.
    pub fn remove_tenant(&mut self, tenant: TenantId) -> Result<(), PoolError> {
        self.source.remove_tenant(tenant)
    }

    /// The next request that had waited and was granted; then the next receiver that is to be shed, so that a waiter is
    /// granted its buffer; then, if an attach asked for it, that the table of receivers is not full any more. Call it until
    /// `None` in each loop iteration.
    #[inline]
    pub fn poll_notice(&mut self) -> Option<Notice> {
        let notice = if self.nothing_to_poll() { None } else { self.poll_grant_or_reclaim() };
        self.take_back_contents();
        notice
    }

    /// Whether there is nothing to poll, as far as a short look shows.
    #[doc(hidden)]
    #[inline(always)]
    pub fn nothing_to_poll(&self) -> bool {
        !poison::IS_ON && self.source.nothing_to_poll() && !self.is_attach_awaited
    }

    /// A thread that has something to do and may sleep: it is to call `poll_notice`. Signal it, by an eventfd or its like.
    /// Call this until `None` before your own thread sleeps. Takes no lock. `None` for a pool of one thread.
    pub fn poll_wake(&mut self) -> Option<u32> {
        self.source.poll_wake()
    }

    /// Whether the calling thread may use this pool: the pool is bound to it, or to none. Costs a load and a comparison.
    ///
    /// # Errors
    ///
    /// The pool is bound to another thread.
    pub fn check_thread(&self) -> Result<(), PoolError> {
        self.source.check_thread()
    }

    fn poll_grant_or_reclaim(&mut self) -> Option<Notice> {
        loop {
            if let Some(grant) = self.source.poll_grant() {
                self.touch(grant.lease);
                if let Some(notice) = self.pass_on(grant) {
                    return Some(notice);
                }
            } else {
                let Some(reclaim) = self.source.poll_reclaim() else {
                    return self.poll_attachable();
                };
                let asked = self.table.holder(reclaim.lease.index());
                let index = asked.expect("only receivers have leases with deadlines");
                if self.spares(index, &reclaim) {
                    continue;
                }
                if let Some(notice) = self.reclaim(index, reclaim.kind) {
                    return Some(notice);
                }
            }
        }
    }

    /// Advances the clock to this time, in monotonic nanoseconds: by at most an eighth of `lease_ns`, if there is one, so
    /// that a pause of the process makes no receiver look idle. The first call is the origin. Early and repeated calls are harmless; a time
    /// before the last one is counted and not taken.
    pub fn handle_timeout(&mut self, now_ns: u64) {
        self.source.handle_timeout(now_ns);
    }

    /// When `handle_timeout` is to be called at the latest, in nanoseconds: `None` for never, a time not after the last call
    /// for at once. While a deadline runs it is at most an eighth of `lease_ns` after the last call.
    #[inline]
    pub fn poll_timeout(&self) -> Option<u64> {
        if self.nothing_to_poll() { None } else { self.source.poll_timeout() }
    }

    /// Returns the pages of free buffers to the operating system, and reports how many bytes.
    ///
    /// Of buffers that were used since the last call only. Cost: O(buffers), and a system call for each piece of such pages.
    /// For quiet times, not for the receive path. Other threads of a shared pool wait for the pages of at most 16
    /// buffers, and of at most 1 MiB if that is more than one buffer.
    pub fn trim(&mut self) -> usize {
        self.source.trim(self.memory.arena_mut())
    }
}
