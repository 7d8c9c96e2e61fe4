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

mod config;
mod entry;
mod error;

pub use config::{ConfigError, ReceiversConfig};
pub use error::ReceiverError;

use crate::connection::{Action, Actions, Connection, Event, EventError, Hold};
use crate::memory::{Memory, SLOT_BYTES, SLOT_SIZES, SlotIndex};
use crate::pool::{
    Grant, Idleness, LeaseId, Outcome, Pool, PoolStats, ReclaimKind, Request, TenantConfig, TenantId, TenantInfo,
    WaitId,
};
use core::ops::Range;
#[cfg(feature = "ffi")]
use core::ptr::NonNull;
use entry::{Place, Table};

pub use entry::ReceiverId;

/// Something that came of others' doings: a buffer was handed over to somebody who had waited, or somebody is to be shed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Granted {
    /// A receiver got its buffer, or is to be shed; these actions are to be done.
    Receiver {
        /// The receiver.
        id: ReceiverId,
        /// What the host gave at `attach`.
        token: u64,
        /// What is to be done now.
        actions: Actions,
    },
    /// A request of the host's own was served.
    Lease {
        /// The wait that ended; stale now.
        wait: WaitId,
        /// What the host gave at `request`.
        token: u64,
        /// The buffer.
        lease: LeaseId,
    },
}

/// A buffer that left a receiver with what was in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handover {
    /// The buffer, held by the host now.
    pub lease: LeaseId,
    /// Where the content starts, in bytes.
    pub offset: u32,
    /// Length of the content, in bytes.
    pub level: u32,
}

/// Counts of the receive side; see [`PoolStats`] for the pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReceiverStats {
    /// The pool's.
    pub pool: PoolStats,
    /// Receivers attached.
    pub receivers: u32,
    /// Parking slots in all.
    pub slots: u32,
    /// Parking slots that hold a residue or lend a lifeline.
    pub slots_in_use: u32,
    /// The same by size: 64, 256, 1024 and 4096 bytes.
    pub slots_in_use_by_size: [u32; SLOT_SIZES.len()],
    /// The most slots that were in use at once.
    pub slots_in_use_peak: u32,
    /// Residues moved from a buffer to a slot.
    pub parked: u64,
    /// Those of them that were moved because the pool asked.
    pub parked_on_demand: u64,
    /// Receivers that were told to shed.
    pub shed: u64,
    /// Contents moved to a larger buffer.
    pub grown: u64,
    /// Residues moved from a slot to a buffer.
    pub unparked: u64,
    /// Slots lent to receive without a buffer.
    pub lifelines: u64,
    /// Residues that could not be parked because no slot was free.
    pub park_refused: u64,
    /// Times a content was moved to the front of its buffer to make room.
    pub compactions: u64,
    /// Bytes moved by compactions.
    pub compacted_bytes: u64,
    /// Bytes received.
    pub received_bytes: u64,
    /// Bytes the decoders took.
    pub consumed_bytes: u64,
    /// Bytes thrown away: after `Fail`, after the end, at `Close`.
    pub dropped_bytes: u64,
    /// Bytes that left with a buffer taken by the host.
    pub handed_over_bytes: u64,
    /// Bytes reserved at start for buffers and slots.
    pub memory_bytes: u64,
}

/// Everything there is to print about a receiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceiverInfo {
    /// The connection's state.
    pub connection: Connection,
    /// What the host gave at `attach`.
    pub token: u64,
    /// Class of its requests.
    pub class: u8,
    /// How long it has been queued, in nanoseconds of the pool's clock; 0 if it is not.
    pub wait_age_ns: u64,
    /// Grants that passed it while it is queued; 0 if it is not.
    pub grants_passed: u64,
    /// How it gets on with the buffer it holds; `None` if it holds none or leases have no deadline.
    pub idleness: Option<Idleness>,
}

/// A pool, its memory and the connections that receive into it. For one thread at a time.
#[derive(Debug)]
pub struct Receivers {
    pool: Pool,
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
        Ok(Receivers {
            memory: Memory::new(&config.memory())?,
            table: Table::new(config.receivers_max, pool.buffers_max(), config.pool.tag)?,
            pool,
            host_waits: 0,
            config: *config,
            counts: ReceiverStats::default(),
        })
    }

    /// Attaches a connection with nothing buffered. `class` is that of its requests; `token` is given back with grants.
    ///
    /// # Errors
    ///
    /// The class does not exist; the table is full.
    pub fn attach(&mut self, class: u8, token: u64) -> Result<ReceiverId, ReceiverError> {
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
        if bytes.len() <= SLOT_BYTES {
            if let Some(slot) = self.memory.slots_mut().take_smallest() {
                return self.attach_in_slot(class, token, slot, bytes);
            }
        }
        if !self.pool.would_grant(class) {
            return Err(ReceiverError::NoBufferFree);
        }
        let Outcome::Granted(lease) = self.pool.request(class, token)? else {
            unreachable!("the pool would grant this request");
        };
        self.touch(lease);
        self.memory.arena_mut().buffer_mut(lease.index())[..bytes.len()].copy_from_slice(bytes);
        self.adopt(class, token, Handover { lease, offset: 0, level })
    }

    /// Attaches a connection to a leased buffer and the content in it, without copying. The lease is the receiver's.
    ///
    /// # Errors
    ///
    /// The lease is stale or not the host's; the content does not lie inside the buffer; as
    /// [`attach`](Receivers::attach). The lease stays the host's then.
    pub fn adopt(&mut self, class: u8, token: u64, content: Handover) -> Result<ReceiverId, ReceiverError> {
        self.check_host_lease(content.lease)?;
        let buffer = content.lease.index();
        let capacity = self.memory.arena().bytes_of(buffer);
        let end = content.offset.checked_add(content.level).ok_or(ReceiverError::TooManyBytes)?;
        if end > capacity {
            return Err(ReceiverError::TooManyBytes);
        }
        let index = self.insert(class, token)?;
        self.pool.start_timing(content.lease);
        self.table.set_place(index, Place::Buffer(buffer));
        self.table.set_start(buffer, content.offset);
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
    pub fn handle(&mut self, id: ReceiverId, event: Event) -> Result<Actions, ReceiverError> {
        let index = self.table.find(id)?;
        match event {
            Event::Attach { .. }
            | Event::BufferGranted { .. }
            | Event::BufferDenied
            | Event::BufferParked { .. }
            | Event::BufferReleased
            | Event::Sync { .. } => Err(ReceiverError::InternalEvent),
            Event::Close => self.close(index),
            Event::Consumed { bytes } => self.decoded(id, bytes, 0),
            _ => self.report(index, event),
        }
    }

    /// `Consumed`, and `NeedMore` if `need_more` is not 0, in one step: either both are taken or none.
    ///
    /// # Errors
    ///
    /// As [`handle`](Receivers::handle).
    pub fn decoded(&mut self, id: ReceiverId, consumed: u32, need_more: u32) -> Result<Actions, ReceiverError> {
        let index = self.table.find(id)?;
        // What was buffered went with `Close`, though its memory may still be in use by a receive in flight.
        if !self.table.connection(index).is_open() {
            return Err(EventError::Closed.into());
        }
        if need_more == 0 {
            return self.report(index, Event::Consumed { bytes: consumed });
        }
        // The machine checks all before it changes anything; try on a copy, so that a refused second half undoes the first.
        let mut trial = self.table.connection(index).clone();
        trial.handle(Event::Consumed { bytes: consumed })?;
        let actions = trial.handle(Event::NeedMore { bytes: need_more })?;
        *self.table.connection_mut(index) = trial;
        self.consumed(index, consumed);
        Ok(self.settle(index, actions))
    }

    /// What the host is to do now.
    ///
    /// # Errors
    ///
    /// The handle is stale or foreign.
    pub fn pending(&self, id: ReceiverId) -> Result<Actions, ReceiverError> {
        Ok(host_actions(self.table.connection(self.table.find(id)?).pending()))
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
    pub fn data(&self, id: ReceiverId) -> Result<&[u8], ReceiverError> {
        let index = self.table.find(id)?;
        Ok(&self.held(index)[self.content(index)])
    }

    /// As [`data`](Receivers::data), for decoders that work in place.
    ///
    /// # Errors
    ///
    /// The handle is stale or foreign.
    pub fn data_mut(&mut self, id: ReceiverId) -> Result<&mut [u8], ReceiverError> {
        let index = self.table.find(id)?;
        let content = self.content(index);
        Ok(&mut self.held_mut(index)[content])
    }

    /// Where to receive now: exactly `recv_max()` bytes, none unless `Recv` is pending.
    ///
    /// What is buffered is moved to the front first if it is not there; that is counted, and happens only here.
    /// Cost: O(1), or the length of the undecoded residue when it has to be moved.
    ///
    /// # Errors
    ///
    /// The handle is stale or foreign.
    pub fn receive_area(&mut self, id: ReceiverId) -> Result<&mut [u8], ReceiverError> {
        let index = self.table.find(id)?;
        let room = self.table.connection(index).recv_max() as usize;
        if room == 0 {
            return Ok(&mut []);
        }
        self.compact(index);
        let level = self.table.connection(index).level() as usize;
        Ok(&mut self.held_mut(index)[level..level + room])
    }

    /// Where the next receive goes, or else what is buffered, for C: an address and a length, borrowed from nobody, so
    /// that what C holds of other receivers stays valid.
    #[cfg(feature = "ffi")]
    pub(crate) fn area(&mut self, id: ReceiverId, is_receive: bool) -> Option<(NonNull<u8>, u32)> {
        let index = self.table.find(id).ok()?;
        let room = if is_receive { self.table.connection(index).recv_max() } else { 0 };
        if room > 0 {
            self.compact(index);
        }
        let content = self.content(index);
        let (from, bytes) = if room > 0 { (content.end, room) } else { (content.start, content.len() as u32) };
        let place = match self.table.place(index) {
            Place::Nowhere => return None,
            Place::Slot(slot) => self.memory.slots().address(slot),
            Place::Buffer(buffer) => self.memory.arena().address(buffer),
        };
        let start = place.as_ptr().wrapping_add(from);
        NonNull::new(start).filter(|_| bytes > 0).map(|start| (start, bytes))
    }

    /// As [`buffer`](Receivers::buffer), for C: borrowed from nobody.
    #[cfg(feature = "ffi")]
    pub(crate) fn buffer_area(&self, lease: LeaseId) -> Result<(NonNull<u8>, u32), ReceiverError> {
        self.check_host_lease(lease)?;
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
    /// what it holds meanwhile.
    ///
    /// Cost: O(1), and a copy of what is buffered.
    ///
    /// # Errors
    ///
    /// The handle is stale or foreign; no buffer is held; the size does not exist, is not larger, or could never be
    /// granted; a buffer is waited for already; a receive is in flight; the table of waits is full. Nothing is changed.
    pub fn grow(&mut self, id: ReceiverId, size: u8) -> Result<Actions, ReceiverError> {
        let index = self.table.find(id)?;
        let capacity = self.memory.arena().buffer_bytes(size);
        if capacity == 0 {
            return Err(ReceiverError::UnknownSize);
        }
        let Place::Buffer(held) = self.table.place(index) else {
            return Err(ReceiverError::NoBuffer);
        };
        if capacity <= self.memory.arena().bytes_of(held) {
            return Err(ReceiverError::NotLarger);
        }
        if self.table.wait(index).or(self.table.granted(index)).is_some() {
            return Err(ReceiverError::AlreadyWaiting);
        }
        self.check_not_in_flight(index)?;
        match self.request_as(index, size)? {
            Outcome::Granted(lease) => self.enter_buffer(index, lease),
            Outcome::Queued(wait) => self.table.set_wait(index, Some(wait.index())),
        }
        let actions = self.table.connection(index).pending();
        Ok(self.settle(index, actions))
    }

    /// Requests in the name of a tenant from now on, or in nobody's. What is held or waited for stays as it is.
    ///
    /// # Errors
    ///
    /// The receiver or the tenant is stale or foreign. Nothing is changed.
    pub fn set_tenant(&mut self, id: ReceiverId, tenant: Option<TenantId>) -> Result<(), ReceiverError> {
        let index = self.table.find(id)?;
        let next = self.pool.pin_tenant(tenant)?;
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
        Ok(self.pool.create_tenant(share)?)
    }

    /// Removes a tenant. Receivers that request in its name go on to do so; it goes away with the last of them.
    ///
    /// # Errors
    ///
    /// The tenant is stale or foreign.
    pub fn remove_tenant(&mut self, tenant: TenantId) -> Result<(), ReceiverError> {
        Ok(self.pool.remove_tenant(tenant)?)
    }

    /// How a tenant stands, also while it is going away.
    ///
    /// # Errors
    ///
    /// The tenant is stale or foreign.
    pub fn describe_tenant(&self, tenant: TenantId) -> Result<TenantInfo, ReceiverError> {
        Ok(self.pool.describe_tenant(tenant)?)
    }

    /// The next one who had waited and now has a buffer; then the next one that is to be shed, so that somebody who
    /// waits may have its buffer. Call it until `None` in each turn of the loop.
    pub fn poll_grant(&mut self) -> Option<Granted> {
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
        if self.host_waits == host_waits_max && self.pool.would_queue(&request) {
            return Err(ReceiverError::TableFull);
        }
        let outcome = self.pool.request_for(&request)?;
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
        self.check_host_lease(lease)?;
        Ok(self.pool.release(lease)?)
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
        self.check_host_lease(lease)?;
        Ok(self.memory.arena_mut().buffer_mut(lease.index()))
    }

    /// Tells the time: monotonic nanoseconds. Early, late and repeated calls are harmless; backwards is counted.
    pub fn handle_timeout(&mut self, now_ns: u64) {
        self.pool.handle_timeout(now_ns);
    }

    /// When `handle_timeout` is to be called, in nanoseconds; `u64::MAX` for never.
    pub fn poll_timeout(&self) -> u64 {
        self.pool.poll_timeout()
    }

    /// Gives the pages of free buffers back to the operating system; returns how many bytes.
    ///
    /// Cost: a system call for each free buffer. For quiet times, not for the receive path.
    pub fn give_back_pages(&mut self) -> usize {
        let sizes = 0..crate::memory::BUFFER_SIZES_MAX as u8;
        sizes.map(|size| self.memory.arena_mut().give_back_pages(self.pool.free_indexes(size))).sum()
    }

    /// Counts. Needs no buffer, lock or allocation.
    pub fn stats(&self) -> ReceiverStats {
        ReceiverStats {
            pool: self.pool.stats(),
            receivers: self.table.len(),
            slots: self.memory.slots().count(),
            slots_in_use: self.memory.slots().in_use(),
            slots_in_use_by_size: self.memory.slots().in_use_by_size(),
            slots_in_use_peak: self.memory.slots().in_use_peak(),
            memory_bytes: self.memory.reserved_bytes() as u64,
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
            Place::Buffer(buffer) => self.pool.describe_lease(self.pool.lease_at(buffer)).unwrap_or_default(),
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

    /// The pool: who waits, who holds.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Checks what must always hold, walking everything: for tests.
    ///
    /// # Errors
    ///
    /// Names the rule that is broken.
    pub fn check_invariants(&self) -> Result<(), &'static str> {
        self.pool.check_invariants()?;
        let (mut waiting, mut in_buffers, mut in_slots) = (0, 0, 0);
        for index in self.table.iter() {
            let (connection, place) = (self.table.connection(index), self.table.place(index));
            let granted = self.table.granted(index);
            let waits = self.table.wait(index).is_some() || granted.is_some();
            waiting += u32::from(waits && granted.is_none());
            in_buffers += u32::from(granted.is_some());
            if granted.is_some_and(|buffer| self.table.holder(buffer) != Some(index) || !connection.is_in_flight()) {
                return Err("I2: a grant is kept back only while a receive is in flight");
            }
            // One that holds a buffer and waits is waiting for a larger one.
            let grows = waits && matches!(place, Place::Buffer(_));
            if connection.is_waiting() != (waits && !grows) {
                return Err("I2: a receiver waits exactly when its connection does");
            }
            let agrees = match place {
                Place::Nowhere => connection.hold() == Hold::None,
                Place::Slot(_) => connection.hold() == Hold::Slot,
                Place::Buffer(buffer) => connection.hold() == Hold::Buffer && self.table.holder(buffer) == Some(index),
            };
            if !agrees {
                return Err("I2: a receiver holds exactly what its connection does");
            }
            in_slots += u32::from(matches!(place, Place::Slot(_)));
            in_buffers += u32::from(matches!(place, Place::Buffer(_)));
            if self.table.start(index) + connection.level() > connection.capacity() {
                return Err("I5: the content lies inside what is held");
            }
            let undone = connection.pending().without(host_actions(connection.pending()));
            if !undone.is_empty() && undone != Actions::from(Action::Park) {
                return Err("I4: what the receiver does by itself is done");
            }
        }
        let stats = self.stats();
        if in_slots != stats.slots_in_use || in_buffers > stats.pool.leased {
            return Err("I1: every slot and every buffer in use has a holder");
        }
        if waiting + self.host_waits != stats.pool.waiting + stats.pool.assigned {
            return Err("I2: every waiting receiver is in the pool's queue");
        }
        Ok(())
    }
}

/// What happens inside a step.
impl Receivers {
    fn check_class(&self, class: u8) -> Result<(), ReceiverError> {
        if class < self.config.pool.classes { Ok(()) } else { Err(ReceiverError::UnknownClass) }
    }

    fn insert(&mut self, class: u8, token: u64) -> Result<u32, ReceiverError> {
        self.check_class(class)?;
        self.table.insert(Connection::new(self.config.policy), class, token)
    }

    fn attach_in_slot(
        &mut self,
        class: u8,
        token: u64,
        slot: SlotIndex,
        bytes: &[u8],
    ) -> Result<ReceiverId, ReceiverError> {
        let memory = self.memory.slots_mut().slot_mut(slot);
        memory[..bytes.len()].copy_from_slice(bytes);
        let capacity = memory.len() as u32;
        let index = self.insert(class, token)?;
        self.table.set_place(index, Place::Slot(slot));
        self.tell(index, Event::Attach { level: bytes.len() as u32, capacity });
        self.tell(index, Event::BufferParked { capacity });
        Ok(self.table.id(index))
    }

    fn report(&mut self, index: u32, event: Event) -> Result<Actions, ReceiverError> {
        if let Event::Received { bytes } = event {
            self.check_behind(index, bytes)?;
        }
        let actions = self.table.connection_mut(index).handle(event)?;
        match event {
            Event::Received { bytes } => self.received(index, bytes),
            Event::Consumed { bytes } => self.consumed(index, bytes),
            _ => {}
        }
        let actions = self.enter_granted(index).unwrap_or(actions);
        let actions = self.settle(index, actions);
        if actions.has(Action::Finished) {
            self.pool.unpin_tenant(self.table.tenant(index));
            self.table.remove(index);
        }
        Ok(actions)
    }

    /// A buffer that was granted while a receive was in flight becomes what the receiver holds once that is over.
    fn enter_granted(&mut self, index: u32) -> Option<Actions> {
        let connection = self.table.connection(index);
        if connection.is_in_flight() || !connection.is_open() {
            return None;
        }
        let buffer = self.table.granted(index)?;
        self.table.set_granted(index, None);
        self.enter_buffer(index, self.pool.lease_at(buffer));
        Some(self.table.connection(index).pending())
    }

    fn received(&mut self, index: u32, bytes: u32) {
        self.counts.received_bytes += u64::from(bytes);
        if !self.table.connection(index).is_open() {
            // A receive in flight has outlived its connection.
            self.counts.dropped_bytes += u64::from(bytes);
        }
    }

    /// Does what the machine asks about buffers, until only the host's actions are left.
    fn settle(&mut self, index: u32, pending: Actions) -> Actions {
        let mut actions = pending;
        while !actions.intersection(OWN_ACTIONS).is_empty() {
            if actions.has(Action::Discard) {
                self.discard(index);
            } else if actions.has(Action::CancelRequest) {
                self.cancel_request(index);
            } else if actions.has(Action::ReleaseBuffer) {
                self.release_held(index);
            } else if actions.has(Action::RequestBuffer) {
                self.request_buffer(index);
            } else if !self.park(index) {
                break;
            }
            actions = self.table.connection(index).pending();
        }
        host_actions(actions)
    }

    fn close(&mut self, index: u32) -> Result<Actions, ReceiverError> {
        if self.table.connection(index).is_open() {
            self.counts.dropped_bytes += u64::from(self.table.connection(index).level());
        }
        self.report(index, Event::Close)
    }

    fn check_not_in_flight(&self, index: u32) -> Result<(), ReceiverError> {
        let in_flight = self.table.connection(index).is_in_flight();
        if in_flight { Err(EventError::InFlight.into()) } else { Ok(()) }
    }

    fn discard(&mut self, index: u32) {
        let bytes = self.table.connection(index).level();
        self.counts.dropped_bytes += u64::from(bytes);
        self.tell(index, Event::Consumed { bytes });
        self.advance(index, bytes);
    }

    /// Somebody who waited has its buffer; what it is to do, if anything.
    fn pass_on(&mut self, grant: Grant) -> Option<Granted> {
        if !grant.is_timed {
            self.host_waits -= 1;
            return Some(Granted::Lease { wait: grant.wait, token: grant.token, lease: grant.lease });
        }
        let index = grant.token as u32;
        self.table.set_wait(index, None);
        if self.table.connection(index).is_in_flight() {
            // What it receives into cannot be moved now: the host is asked to take the receive back.
            self.table.set_granted(index, Some(grant.lease.index()));
            self.tell(index, Event::ReclaimRequested);
        } else {
            self.enter_buffer(index, grant.lease);
        }
        self.granted(index)
    }

    fn granted(&mut self, index: u32) -> Option<Granted> {
        let pending = self.table.connection(index).pending();
        let actions = self.settle(index, pending);
        let granted = Granted::Receiver { id: self.table.id(index), token: self.table.token(index), actions };
        (!actions.is_empty()).then_some(granted)
    }

    /// Asks a receiver to give its buffer back; what it is to do, if that is something new.
    fn reclaim(&mut self, index: u32, kind: ReclaimKind) -> Option<Granted> {
        let before = host_actions(self.table.connection(index).pending());
        let parked = self.counts.parked;
        match kind {
            ReclaimKind::Park => self.tell(index, Event::ReclaimRequested),
            ReclaimKind::Shed => self.tell(index, Event::LeaseExpired),
        }
        let granted = self.granted(index);
        self.counts.parked_on_demand += self.counts.parked - parked;
        let after = host_actions(self.table.connection(index).pending());
        self.counts.shed += u64::from(after.without(before).has(Action::Shed));
        granted.filter(|_| !after.without(before).is_empty())
    }

    fn cancel_request(&mut self, index: u32) {
        self.cancel_wait(index);
        self.tell(index, Event::done(Action::CancelRequest));
    }

    /// Ends the wait, if there is one: for a first buffer, or for a larger one than that which is given up.
    fn cancel_wait(&mut self, index: u32) {
        if let Some(buffer) = self.table.granted(index) {
            self.table.set_granted(index, None);
            let lease = self.pool.lease_at(buffer);
            self.pool.release(lease).expect("a receiver's lease is live until it is released here");
        }
        if let Some(wait) = self.table.wait(index) {
            self.table.set_wait(index, None);
            let wait = self.pool.wait_at(wait);
            self.pool.cancel(wait).expect("a receiver's wait is live until it is granted or cancelled here");
        }
    }

    fn release_held(&mut self, index: u32) {
        match self.table.set_place(index, Place::Nowhere) {
            Place::Nowhere => {}
            Place::Slot(slot) => self.give_slot(slot),
            Place::Buffer(buffer) => self.leave_buffer(index, buffer),
        }
        self.tell(index, Event::BufferReleased);
    }

    fn give_slot(&mut self, slot: SlotIndex) {
        self.memory.slots_mut().give(slot).expect("a receiver's slot is taken");
    }

    /// Gives back a buffer that the receiver holds no more; whoever waits for a larger one does not need it now.
    fn leave_buffer(&mut self, index: u32, buffer: u32) {
        if !self.table.connection(index).is_waiting() {
            self.cancel_wait(index);
        }
        let lease = self.pool.lease_at(buffer);
        self.pool.release(lease).expect("a receiver's lease is live until it is released here");
    }

    fn request_as(&mut self, index: u32, size: u8) -> Result<Outcome, ReceiverError> {
        let continues = self.table.connection(index).level() > 0;
        let class = self.config.continuation_class.filter(|_| continues).unwrap_or(self.table.class(index));
        let request = Request { token: index.into(), tenant: None, class, size, is_timed: true };
        Ok(self.pool.request_in(&request, self.table.tenant(index))?)
    }

    fn request_buffer(&mut self, index: u32) {
        let asked = self.request_as(index, self.config.first_size);
        match asked.expect("the table of waits has an entry for each receiver, and any class may have a first buffer") {
            Outcome::Granted(lease) => self.enter_buffer(index, lease),
            Outcome::Queued(wait) => {
                self.table.set_wait(index, Some(wait.index()));
                self.tell(index, Event::BufferDenied);
                self.lend_lifeline(index);
            }
        }
    }

    /// Somebody who waits with nothing held gets a slot to receive into meanwhile.
    fn lend_lifeline(&mut self, index: u32) {
        if !self.config.lifeline || self.table.place(index) != Place::Nowhere {
            return;
        }
        if let Some(slot) = self.memory.slots_mut().take_smallest() {
            self.table.set_place(index, Place::Slot(slot));
            self.counts.lifelines += 1;
            let capacity = self.memory.slots().slot(slot).len() as u32;
            self.tell(index, Event::BufferParked { capacity });
        }
    }

    /// The buffer becomes what the receiver holds; what a slot or a smaller buffer held comes to its front.
    fn enter_buffer(&mut self, index: u32, lease: LeaseId) {
        self.touch(lease);
        let content = self.content(index);
        let buffer = lease.index();
        match self.table.set_place(index, Place::Buffer(buffer)) {
            Place::Nowhere => {}
            Place::Slot(slot) => {
                self.counts.unparked += u64::from(!content.is_empty());
                self.memory.unpark(slot, content, buffer);
                self.give_slot(slot);
            }
            Place::Buffer(smaller) => {
                self.counts.grown += 1;
                self.memory.arena_mut().copy(smaller, content, buffer);
                let smaller = self.pool.lease_at(smaller);
                self.pool.release(smaller).expect("a receiver's lease is live until it is released here");
            }
        }
        self.tell(index, Event::BufferGranted { capacity: self.memory.arena().bytes_of(buffer) });
    }

    /// Moves the residue into a slot; says whether there was one.
    fn park(&mut self, index: u32) -> bool {
        let Place::Buffer(buffer) = self.table.place(index) else {
            return false;
        };
        let content = self.content(index);
        let Some(slot) = self.memory.slots_mut().take(content.len()) else {
            self.counts.park_refused += 1;
            return false;
        };
        self.memory.park(buffer, content, slot);
        self.counts.parked += 1;
        self.table.set_place(index, Place::Slot(slot));
        self.leave_buffer(index, buffer);
        let capacity = self.memory.slots().slot(slot).len() as u32;
        self.tell(index, Event::BufferParked { capacity });
        true
    }

    fn consumed(&mut self, index: u32, bytes: u32) {
        self.counts.consumed_bytes += u64::from(bytes);
        self.advance(index, bytes);
    }

    /// Bytes left from the front. In a buffer nothing is moved, and an empty one starts at the front again;
    /// a slot is so small that what is left is moved to its front at once.
    fn advance(&mut self, index: u32, bytes: u32) {
        let level = self.table.connection(index).level();
        match self.table.place(index) {
            Place::Buffer(buffer) => {
                // A receive in flight goes to behind what was there when it was submitted.
                let restarts = level == 0 && !self.table.connection(index).is_in_flight();
                let start = if restarts { 0 } else { self.table.start(index) + bytes };
                self.table.set_start(buffer, start);
                if bytes > 0 {
                    self.pool.progress_at(buffer, bytes.into());
                }
            }
            Place::Slot(slot) => {
                let rest = bytes as usize..(bytes + level) as usize;
                self.memory.slots_mut().slot_mut(slot).copy_within(rest, 0);
            }
            Place::Nowhere => {}
        }
    }

    fn compact(&mut self, index: u32) {
        let content = self.content(index);
        let Place::Buffer(buffer) = self.table.place(index) else {
            return;
        };
        if content.start == 0 {
            return;
        }
        self.table.set_start(buffer, 0);
        if !content.is_empty() {
            self.counts.compactions += 1;
            self.counts.compacted_bytes += content.len() as u64;
            self.memory.arena_mut().buffer_mut(buffer).copy_within(content, 0);
        }
    }

    fn tell(&mut self, index: u32, event: Event) {
        let told = self.table.connection_mut(index).handle(event);
        told.expect("the connection asked for what is reported to it");
    }

    /// Where the content lies inside what is held.
    fn content(&self, index: u32) -> Range<usize> {
        let start = self.table.start(index) as usize;
        start..start + self.table.connection(index).level() as usize
    }

    fn held(&self, index: u32) -> &[u8] {
        match self.table.place(index) {
            Place::Nowhere => &[],
            Place::Slot(slot) => self.memory.slots().slot(slot),
            Place::Buffer(buffer) => self.memory.arena().buffer(buffer),
        }
    }

    fn held_mut(&mut self, index: u32) -> &mut [u8] {
        match self.table.place(index) {
            Place::Nowhere => &mut [],
            Place::Slot(slot) => self.memory.slots_mut().slot_mut(slot),
            Place::Buffer(buffer) => self.memory.arena_mut().buffer_mut(buffer),
        }
    }

    /// A buffer was obtained and is about to be written.
    fn touch(&mut self, lease: LeaseId) {
        self.memory.arena_mut().touch(lease.index(), |size| self.pool.free_indexes(size));
    }

    /// Refuses received bytes that cannot lie behind the content, because nobody asked for the area that the content
    /// is moved to the front for. Where it is at the front, the machine knows the room.
    fn check_behind(&self, index: u32, bytes: u32) -> Result<(), ReceiverError> {
        let (start, connection) = (self.table.start(index), self.table.connection(index));
        let behind = connection.capacity() - start - connection.level();
        if start > 0 && bytes > behind { Err(ReceiverError::TooManyBytes) } else { Ok(()) }
    }

    fn check_host_lease(&self, lease: LeaseId) -> Result<(), ReceiverError> {
        self.pool.check_lease(lease)?;
        match self.table.holder(lease.index()) {
            None => Ok(()),
            Some(_) => Err(ReceiverError::Stale),
        }
    }
}

/// What the receiver does by itself.
const OWN_ACTIONS: Actions =
    Actions::of(&[Action::RequestBuffer, Action::CancelRequest, Action::ReleaseBuffer, Action::Park, Action::Discard]);

/// What is left for the host.
fn host_actions(actions: Actions) -> Actions {
    actions.without(OWN_ACTIONS)
}
