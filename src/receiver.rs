//! One connection bound to a pool and its memory: the convenient way in.
//!
//! [`Receivers`] owns a [`Pool`], its [`Memory`] and a table of connections. It does by itself what the connection
//! machine asks about buffers (`RequestBuffer`, `CancelRequest`, `ReleaseBuffer`, `Park`, `Discard`); what is left for
//! the host is to receive, to decode and to watch. A cycle costs three calls:
//!
//! ```
//! use demuxbuf::connection::{Action, Event};
//! use demuxbuf::receiver::{Receivers, ReceiversConfig};
//!
//! let mut receivers = Receivers::new(&ReceiversConfig::new(2, 100))?;
//! let id = receivers.attach(0, 7)?;
//! let actions = receivers.handle(id, Event::Readable)?;
//! assert!(actions.has(Action::Recv));
//! receivers.receive_area(id)?[..5].copy_from_slice(b"hello");
//! let actions = receivers.handle(id, Event::Received { bytes: 5 })?;
//! assert!(actions.has(Action::Demux));
//! assert_eq!(receivers.data(id)?, b"hello");
//! receivers.handle(id, Event::Consumed { bytes: 5 })?;
//! assert_eq!(receivers.stats().pool.leased, 0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The methods sort into inputs ([`attach`](Receivers::attach), [`handle`](Receivers::handle), ...), outputs
//! ([`poll_grant`](Receivers::poll_grant), [`poll_timeout`](Receivers::poll_timeout)) and queries. In each turn of the
//! host's loop the time is told ([`handle_timeout`](Receivers::handle_timeout)) and the grants are drained.
//!
//! While somebody waits, `poll_grant` also parks what idle receivers hold, and names those that are to be shed.

#![forbid(unsafe_code)]

mod check;
mod config;
mod entry;
mod error;
#[cfg(feature = "explore")]
mod explore;
#[cfg(feature = "std")]
mod exports;
#[cfg(feature = "std")]
mod moving;
mod plain;
#[cfg(feature = "std")]
mod sharded;
mod source;
mod step;
#[cfg(feature = "std")]
mod threads;
mod types;

pub use config::{ConfigError, ReceiversConfig};
pub use error::ReceiverError;
pub use types::{Granted, Handover, ReceiverInfo, ReceiverStats};

use crate::connection::{Action, Actions, Connection, Event};
use crate::memory::{Memory, SLOT_BYTES};
use crate::pool::{LeaseId, Outcome, Pool, Reach, Request, TenantConfig, TenantId, TenantInfo, WaitId, WaitInfo};
use core::ptr::NonNull;
use entry::{Place, Stamp, Table};
#[doc(hidden)]
pub use plain::Plain;
use source::Source;

pub use entry::ReceiverId;
#[cfg(feature = "std")]
#[doc(hidden)]
pub use exports::Ticket;
#[cfg(feature = "std")]
pub use moving::Moving;
#[cfg(feature = "std")]
pub use threads::{ReceiverThreads, ThreadError};

/// A pool, its memory and the connections that receive into it. For one thread at a time.
#[derive(Debug)]
pub struct Receivers {
    pool: Source,
    memory: Memory,
    table: Table,
    /// Waits of the host's own.
    host_waits: u32,
    config: ReceiversConfig,
    counts: ReceiverStats,
}

impl Receivers {
    /// Reserves everything: buffers, slots and tables. Nothing is allocated afterwards.
    ///
    /// # Errors
    ///
    /// A field is out of range, or memory could not be reserved; everything is given back.
    pub fn new(config: &ReceiversConfig) -> Result<Receivers, ConfigError> {
        config.check()?;
        let pool = Pool::new(&config.pool)?;
        let buffers = pool.buffers_max();
        Receivers::with(
            Source::Pool(pool),
            Memory::new(&config.memory())?,
            config,
            buffers,
            Stamp::new(config.pool.tag),
        )
    }

    /// Reserves the tables of receivers, for so many buffers; `stamp` is that of their handles.
    fn with(
        pool: Source,
        memory: Memory,
        config: &ReceiversConfig,
        buffers: u32,
        stamp: Stamp,
    ) -> Result<Receivers, ConfigError> {
        Ok(Receivers {
            memory,
            table: Table::new(config.receivers_max, buffers, stamp)?,
            pool,
            host_waits: 0,
            config: *config,
            counts: ReceiverStats::default(),
        })
    }

    /// Gives all handles these bits, of [`SALT`](crate::pool::SALT), before there are any.
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

    /// Attaches a connection with nothing buffered. `class` is that of its requests; `token` is given back with grants.
    ///
    /// # Errors
    ///
    /// The class does not exist; the table is full.
    pub fn attach(&mut self, class: u8, token: u64) -> Result<ReceiverId, ReceiverError> {
        self.pool.check_open()?;
        let index = self.insert(class, token)?;
        self.report(index, Event::Attach { level: 0, capacity: 0 })?;
        Ok(self.table.id(index))
    }

    /// Attaches a connection with bytes that are there already (a protocol upgrade): they are copied, into a slot if
    /// they fit and one is free, else into a buffer. Call [`pending`](Receivers::pending) next: it will say `Demux`.
    ///
    /// # Errors
    ///
    /// As [`attach`](Receivers::attach); the bytes do not fit into a buffer; neither slot nor buffer is free at once.
    /// Nothing is changed.
    pub fn attach_with(&mut self, class: u8, token: u64, bytes: &[u8]) -> Result<ReceiverId, ReceiverError> {
        if bytes.is_empty() {
            return self.attach(class, token);
        }
        let level = u32::try_from(bytes.len()).map_err(|_| ReceiverError::TooManyBytes)?;
        if level > self.memory.arena().buffer_bytes(0) {
            return Err(ReceiverError::TooManyBytes);
        }
        self.check_class(class)?;
        self.table.check_free()?;
        self.pool.check_open()?;
        if bytes.len() <= SLOT_BYTES {
            if let Some(slot) = self.memory.slots_mut().take_smallest() {
                return self.attach_in_slot(class, token, slot, bytes);
            }
        }
        // The receiver's from the start: no thread can use the lease as one of the host's own in between.
        let request = Request { is_timed: true, ..Request::new(class, token) };
        let lease = self.pool.request_now(&request)?.ok_or(ReceiverError::NoBufferFree)?;
        self.touch(lease);
        self.memory.arena_mut().buffer_mut(lease.index())[..bytes.len()].copy_from_slice(bytes);
        self.attach_in_buffer(class, token, Handover { lease, offset: 0, level })
    }

    /// Attaches a connection to a leased buffer and the content in it, without copying. The lease is the receiver's.
    ///
    /// # Errors
    ///
    /// The lease is stale or not the host's; the content does not lie inside the buffer; as
    /// [`attach`](Receivers::attach). The lease stays the host's then.
    pub fn adopt(&mut self, class: u8, token: u64, content: Handover) -> Result<ReceiverId, ReceiverError> {
        self.adopt_within(class, token, content, Reach::Here)
    }

    /// As `adopt`, of a lease within reach.
    #[doc(hidden)]
    pub fn adopt_within(
        &mut self,
        class: u8,
        token: u64,
        content: Handover,
        reach: Reach,
    ) -> Result<ReceiverId, ReceiverError> {
        self.check_host_lease(content.lease, reach)?;
        self.pool.check_open()?;
        let end = content.offset.checked_add(content.level).ok_or(ReceiverError::TooManyBytes)?;
        if end > self.memory.arena().bytes_of(content.lease.index()) {
            return Err(ReceiverError::TooManyBytes);
        }
        self.check_class(class)?;
        self.table.check_free()?;
        // Last, since nothing undoes it: another thread may have ended or adopted the lease since it was checked.
        self.pool.adopt_host_lease(content.lease, reach)?;
        self.attach_in_buffer(class, token, content)
    }

    /// The class exists, the table has room, and the lease is a receiver's and holds the content.
    fn attach_in_buffer(&mut self, class: u8, token: u64, content: Handover) -> Result<ReceiverId, ReceiverError> {
        let buffer = content.lease.index();
        let capacity = self.memory.arena().bytes_of(buffer);
        let index = self.insert(class, token)?;
        self.table.set_place(index, Place::Buffer(buffer));
        self.table.set_start(buffer, content.offset);
        self.counts.received_bytes += u64::from(content.level);
        self.report(index, Event::Attach { level: content.level, capacity })?;
        Ok(self.table.id(index))
    }

    /// Reports what happened to a connection; returns what the host is to do now. The handle ends with `Finished`, which
    /// comes with `Close`, or if a receive is in flight then, with its outcome.
    ///
    /// Cost: O(1); no allocation, no system call. A residue of at most 64 bytes may be copied.
    ///
    /// # Errors
    ///
    /// The handle is stale or foreign; the event makes no sense, or is one that `Receivers` reports by itself
    /// (`Attach`, `BufferGranted`, `BufferDenied`, `BufferParked`, `BufferReleased`, `Sync`). Nothing is changed.
    #[inline]
    pub fn handle(&mut self, id: ReceiverId, event: Event) -> Result<Actions, ReceiverError> {
        let plain = match event {
            Event::Readable => self.begin_plainly(id),
            Event::Received { bytes } => self.receive_plainly(id, bytes),
            Event::Consumed { bytes } => self.finish_plainly(id, bytes),
            Event::Done { actions } if actions == Action::WantRecv as u32 => self.arm_plainly(id),
            _ => None,
        };
        match plain {
            Some(plain) => Ok(plain.actions),
            None => self.handle_at(self.table.find(id)?, event),
        }
    }

    /// `Consumed`, and `NeedMore` if `need_more` is not 0, in one step: either both are taken or none.
    ///
    /// # Errors
    ///
    /// As [`handle`](Receivers::handle).
    #[inline]
    pub fn decoded(&mut self, id: ReceiverId, consumed: u32, need_more: u32) -> Result<Actions, ReceiverError> {
        let plain = if need_more == 0 { self.finish_plainly(id, consumed) } else { None };
        match plain {
            Some(plain) => Ok(plain.actions),
            None => self.consume(self.table.find(id)?, consumed, need_more),
        }
    }

    /// What the host is to do now.
    ///
    /// # Errors
    ///
    /// The handle is stale or foreign.
    pub fn pending(&self, id: ReceiverId) -> Result<Actions, ReceiverError> {
        Ok(self.pending_at(self.table.find(id)?))
    }

    /// The connection's state.
    ///
    /// # Errors
    ///
    /// The handle is stale or foreign.
    pub fn connection(&self, id: ReceiverId) -> Result<&Connection, ReceiverError> {
        Ok(self.table.connection(self.table.find(id)?))
    }

    /// What is buffered: one contiguous slice, empty if nothing is.
    ///
    /// # Errors
    ///
    /// The handle is stale or foreign.
    #[inline]
    pub fn data(&self, id: ReceiverId) -> Result<&[u8], ReceiverError> {
        let index = self.table.find(id)?;
        let (level, (held, start)) = (self.table.connection(index).level() as usize, self.held(index));
        Ok(&held[start..start + level])
    }

    /// As [`data`](Receivers::data), for decoders that work in place.
    ///
    /// # Errors
    ///
    /// The handle is stale or foreign.
    pub fn data_mut(&mut self, id: ReceiverId) -> Result<&mut [u8], ReceiverError> {
        let index = self.table.find(id)?;
        let level = self.table.connection(index).level() as usize;
        let (held, start) = self.held_mut(index);
        Ok(&mut held[start..start + level])
    }

    /// Where to receive now: exactly `recv_max()` bytes, none unless `Recv` is pending.
    ///
    /// What is buffered is moved to the front first if it is not there; that is counted, and happens only here.
    /// Cost: O(1), or the length of the undecoded residue when it has to be moved.
    ///
    /// # Errors
    ///
    /// The handle is stale or foreign.
    #[inline]
    pub fn receive_area(&mut self, id: ReceiverId) -> Result<&mut [u8], ReceiverError> {
        let index = self.table.find(id)?;
        let room = self.table.connection(index).recv_max() as usize;
        if room == 0 {
            return Ok(&mut []);
        }
        let level = self.table.connection(index).level() as usize;
        self.compact(index);
        Ok(&mut self.held_mut(index).0[level..level + room])
    }

    /// Where the next receive goes, if `Recv` is pending, or else what is buffered, for C: an address and a length,
    /// borrowed from nobody, so that what C holds of other receivers stays valid.
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
        let connection = self.table.connection(index);
        let (from, bytes) = match is_receive {
            true => (start + connection.level(), connection.capacity() - connection.level()),
            false => (start, connection.level()),
        };
        NonNull::new(place.as_ptr().wrapping_add(from as usize)).filter(|_| bytes > 0).map(|start| (start, bytes))
    }

    /// The row of a receiver, for the calls that are told it.
    #[doc(hidden)]
    #[inline]
    pub fn find(&self, id: ReceiverId) -> Result<u32, ReceiverError> {
        self.table.find(id)
    }

    /// As [`buffer`](Receivers::buffer), for C: without a borrow, and of any thread's lease.
    #[doc(hidden)]
    pub fn buffer_area(&self, lease: LeaseId) -> Result<(NonNull<u8>, u32), ReceiverError> {
        self.check_host_lease(lease, Reach::Anywhere)?;
        let arena = self.memory.arena();
        Ok((arena.address(lease.index()), arena.bytes_of(lease.index())))
    }

    /// Takes the buffer away from a receiver, with what is in it: the lease is the host's. Reading goes on into
    /// another buffer.
    ///
    /// # Errors
    ///
    /// The handle is stale or foreign; no buffer is held (a parked residue is read with `data`); a receive is
    /// in flight.
    pub fn take(&mut self, id: ReceiverId) -> Result<Handover, ReceiverError> {
        let index = self.table.find(id)?;
        let Place::Buffer(buffer) = self.table.place(index) else {
            return Err(ReceiverError::NoBuffer);
        };
        self.check_not_in_flight(index)?;
        let lease = self.pool.lease_at(buffer);
        let content = Handover { lease, offset: self.table.start(index), level: self.table.connection(index).level() };
        self.cancel_wait(index);
        self.pool.stop_timing(lease);
        self.table.set_place(index, Place::Nowhere);
        self.counts.handed_over_bytes += u64::from(content.level);
        self.report(index, Event::BufferReleased)?;
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
    pub fn grow(&mut self, id: ReceiverId, size: u8) -> Result<Actions, ReceiverError> {
        self.grow_at(self.table.find(id)?, size)
    }

    /// Requests in the name of a tenant from now on, or in nobody's. What is held or waited for stays as it is.
    ///
    /// # Errors
    ///
    /// The receiver or the tenant is stale or foreign; its cap is below a receiver's first buffer, which it could
    /// therefore never have. Nothing is changed.
    pub fn set_tenant(&mut self, id: ReceiverId, tenant: Option<TenantId>) -> Result<(), ReceiverError> {
        let index = self.table.find(id)?;
        let next = self.pool.pin_tenant(tenant, self.config.first_size)?;
        self.pool.unpin_tenant(self.table.tenant(index));
        self.table.set_tenant(index, next);
        Ok(())
    }

    /// Takes a tenant in. Cost: O(1).
    ///
    /// # Errors
    ///
    /// A field of the share is out of range; the table of tenants is full.
    pub fn create_tenant(&mut self, share: &TenantConfig) -> Result<TenantId, ReceiverError> {
        self.pool.create_tenant(share)
    }

    /// Removes a tenant. Receivers that request in its name go on to do so; it goes away with the last of them.
    ///
    /// # Errors
    ///
    /// The tenant is stale or foreign.
    pub fn remove_tenant(&mut self, tenant: TenantId) -> Result<(), ReceiverError> {
        self.pool.remove_tenant(tenant)
    }

    /// How a tenant stands, also while it is going away.
    ///
    /// # Errors
    ///
    /// The tenant is stale or foreign.
    pub fn describe_tenant(&self, tenant: TenantId) -> Result<TenantInfo, ReceiverError> {
        self.pool.describe_tenant(tenant)
    }

    /// The next one who had waited and now has a buffer; then the next one that is to be shed, so that somebody who
    /// waits may have its buffer. Call it until `None` in each turn of the loop.
    #[inline]
    pub fn poll_grant(&mut self) -> Option<Granted> {
        if self.is_calm() { None } else { self.poll_grant_or_reclaim() }
    }

    /// Whether there is nothing to poll, as far as a short look tells.
    #[doc(hidden)]
    #[inline(always)]
    pub fn is_calm(&self) -> bool {
        self.pool.is_calm()
    }

    fn poll_grant_or_reclaim(&mut self) -> Option<Granted> {
        loop {
            if let Some(grant) = self.pool.poll_grant() {
                self.touch(grant.lease);
                if let Some(granted) = self.pass_on(grant) {
                    return Some(granted);
                }
            } else {
                let reclaim = self.pool.poll_reclaim()?;
                let asked = self.table.holder(reclaim.lease.index());
                let index = asked.expect("only receivers have leases with deadlines");
                if self.spares(index, &reclaim) {
                    continue;
                }
                if let Some(granted) = self.reclaim(index, reclaim.kind) {
                    return Some(granted);
                }
            }
        }
    }

    /// Asks for a buffer of the host's own (transmit, stream ...), with its own place in the queue: of the default size,
    /// in nobody's name.
    ///
    /// # Errors
    ///
    /// As [`request_for`](Receivers::request_for).
    pub fn request(&mut self, class: u8, token: u64) -> Result<Outcome, ReceiverError> {
        self.request_for(class, 0, None, token)
    }

    /// Asks for a buffer of the host's own, of any size and in the name of any tenant. It has no deadline.
    ///
    /// # Errors
    ///
    /// The class, the size or the tenant does not exist; it could never be granted; it would have to wait, and as many of
    /// the host's wait already as the configuration has room for beside the receivers.
    pub fn request_for(
        &mut self,
        class: u8,
        size: u8,
        tenant: Option<TenantId>,
        token: u64,
    ) -> Result<Outcome, ReceiverError> {
        let request = Request { token, tenant, class, size, is_timed: false };
        // The receivers' places in the table are theirs: each of them may have to wait at any time.
        let host_waits_max = self.config.pool.waiters_max - self.config.receivers_max;
        let outcome = if self.host_waits == host_waits_max {
            Outcome::Granted(self.pool.request_now(&request)?.ok_or(ReceiverError::TableFull)?)
        } else {
            self.pool.request_for(&request)?
        };
        match outcome {
            Outcome::Granted(lease) => self.touch(lease),
            Outcome::Queued(_) => self.host_waits += 1,
        }
        Ok(outcome)
    }

    /// Gives back a buffer of the host's own. It is handed to the next waiter in the same step.
    ///
    /// # Errors
    ///
    /// The lease is stale, foreign, or a receiver's; nothing is changed.
    pub fn release(&mut self, lease: LeaseId) -> Result<(), ReceiverError> {
        self.release_within(lease, Reach::Here)
    }

    /// As `release`, of a lease within reach.
    #[doc(hidden)]
    pub fn release_within(&mut self, lease: LeaseId, reach: Reach) -> Result<(), ReceiverError> {
        self.check_host_lease(lease, reach)?;
        self.pool.release_host_lease(lease, reach)
    }

    /// Ends a wait of the host's own. If a buffer was assigned to it, the next waiter has it in the same step.
    ///
    /// # Errors
    ///
    /// The wait is stale, foreign, or a receiver's; nothing is changed.
    pub fn cancel(&mut self, wait: WaitId) -> Result<(), ReceiverError> {
        if self.pool.describe_wait(wait)?.is_timed {
            return Err(ReceiverError::Stale);
        }
        self.pool.cancel(wait)?;
        self.host_waits -= 1;
        Ok(())
    }

    /// The memory of a buffer of the host's own.
    ///
    /// # Errors
    ///
    /// The lease is stale, foreign, or a receiver's.
    pub fn buffer(&mut self, lease: LeaseId) -> Result<&mut [u8], ReceiverError> {
        self.check_host_lease(lease, Reach::Here)?;
        self.pool.claim_host_lease(lease)?;
        Ok(self.memory.arena_mut().buffer_mut(lease.index()))
    }

    /// Advances the clock to this time, in monotonic nanoseconds: by at most an eighth of `lease_ns`, so that a pause of the
    /// process makes no receiver look idle. The first call is the origin. Early and repeated calls are harmless; a time
    /// before the last one is counted and not taken.
    pub fn handle_timeout(&mut self, now_ns: u64) {
        self.pool.handle_timeout(now_ns);
    }

    /// When `handle_timeout` is to be called at the latest, in nanoseconds; `u64::MAX` for never. While a deadline runs it
    /// is at most an eighth of `lease_ns` after the last call.
    #[inline]
    pub fn poll_timeout(&self) -> u64 {
        if self.is_calm() { u64::MAX } else { self.pool.poll_timeout() }
    }

    /// Gives the pages of free buffers back to the operating system; returns how many bytes.
    ///
    /// Of buffers that were used since the last call only. Cost: O(buffers), and a system call for each piece of such pages.
    /// For quiet times, not for the receive path. Other threads of a shared pool wait for the pages of at most 16
    /// buffers, and of at most 1 MiB if that is more than one buffer.
    pub fn give_back_pages(&mut self) -> usize {
        self.pool.give_back_pages(self.memory.arena_mut())
    }

    /// Counts. Needs no buffer, lock or allocation.
    pub fn stats(&self) -> ReceiverStats {
        ReceiverStats {
            pool: self.pool.stats(),
            receivers: self.table.len(),
            receivers_max: self.config.receivers_max,
            slots: self.memory.slots().count(),
            slots_in_use: self.memory.slots().in_use(),
            slots_in_use_by_size: self.memory.slots().in_use_by_size(),
            slots_in_use_peak: self.memory.slots().in_use_peak(),
            memory_bytes: self.memory.resident_bytes_max() as u64,
            ..self.counts
        }
    }

    /// Everything there is to print about a receiver.
    ///
    /// # Errors
    ///
    /// The handle is stale or foreign.
    pub fn describe(&self, id: ReceiverId) -> Result<ReceiverInfo, ReceiverError> {
        let index = self.table.find(id)?;
        let wait = self.table.wait(index).and_then(|wait| self.pool.describe_wait(self.pool.wait_at(wait)).ok());
        let idleness = match self.table.place(index) {
            Place::Buffer(buffer) => self.pool.describe_lease(self.pool.lease_at(buffer)),
            Place::Slot(_) | Place::Nowhere => None,
        };
        Ok(ReceiverInfo {
            connection: self.table.connection(index).clone(),
            token: self.table.token(index),
            class: self.table.class(index),
            wait_age_ns: wait.map_or(0, |wait| wait.age_ns),
            grants_passed: wait.map_or(0, |wait| wait.grants_passed),
            idleness,
        })
    }

    /// The published bound: the most grants that pass a waiter of this class before it is served.
    ///
    /// # Errors
    ///
    /// The class does not exist.
    pub fn passed_max(&self, class: u8) -> Result<u64, ReceiverError> {
        self.check_class(class)?;
        Ok(self.pool.passed_max(class))
    }

    /// How a wait stands: the host's own, or a receiver's.
    ///
    /// # Errors
    ///
    /// The wait is stale, foreign, or of another thread.
    pub fn describe_wait(&self, wait: WaitId) -> Result<WaitInfo, ReceiverError> {
        self.pool.describe_wait(wait)
    }
}
