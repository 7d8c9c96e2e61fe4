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
//! ([`poll_grant`](Receivers::poll_grant)) and queries. After each turn of the host's loop the grants are drained.

#![forbid(unsafe_code)]

mod config;
mod entry;
mod error;

pub use config::{ConfigError, ReceiversConfig};
pub use error::ReceiverError;

use crate::connection::{Action, Actions, Connection, Event, Hold};
use crate::memory::{Memory, SLOT_BYTES, SlotIndex};
use crate::pool::{LeaseId, Outcome, Pool, PoolStats, WaitId};
use alloc::vec::Vec;
use entry::{Entry, Place, Table};

pub use entry::ReceiverId;

/// Who owns a wait of the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    /// The host: it asked for a buffer of its own.
    Host,
    /// The receiver at this index of the table.
    Receiver(u32),
}

/// A buffer that was handed over to somebody who had waited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Granted {
    /// A receiver got it; these actions are to be done.
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
    /// The most slots that were in use at once.
    pub slots_in_use_peak: u32,
    /// Residues moved from a buffer to a slot.
    pub parked: u64,
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
}

/// A pool, its memory and the connections that receive into it. For one thread at a time.
#[derive(Debug)]
pub struct Receivers {
    pool: Pool,
    memory: Memory,
    table: Table,
    /// By the index of the pool's wait entry.
    owners: Vec<Owner>,
    /// Waits of the host's own; the table keeps one entry for each receiver besides.
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
        let waiters = config.pool.waiters_max as usize;
        let mut owners = Vec::new();
        owners.try_reserve_exact(waiters).map_err(|_| config::no_memory("pool.waiters_max", waiters))?;
        owners.resize(waiters, Owner::Host);
        Ok(Receivers {
            pool: Pool::new(&config.pool)?,
            memory: Memory::new(&config.memory())?,
            table: Table::new(config.receivers_max, config.pool.buffers, config.pool.tag)?,
            owners,
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
    /// As [`attach`](Receivers::attach); the bytes do not fit into a buffer; none is free at once. Nothing is changed.
    pub fn attach_with(&mut self, class: u8, token: u64, bytes: &[u8]) -> Result<ReceiverId, ReceiverError> {
        if bytes.is_empty() {
            return self.attach(class, token);
        }
        let level = u32::try_from(bytes.len()).map_err(|_| ReceiverError::TooManyBytes)?;
        if level > self.config.buffer_bytes {
            return Err(ReceiverError::TooManyBytes);
        }
        self.check_attach(class)?;
        if bytes.len() <= SLOT_BYTES {
            if let Some(slot) = self.memory.slots_mut().take() {
                return Ok(self.attach_slot(class, token, slot, bytes));
            }
        }
        if !self.pool.would_grant(class) {
            return Err(ReceiverError::NoBufferFree);
        }
        let Outcome::Granted(lease) = self.pool.request(class, token)? else {
            unreachable!("the pool would grant this request");
        };
        self.buffer_mut(lease)[..bytes.len()].copy_from_slice(bytes);
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
        let end = content.offset.checked_add(content.level).ok_or(ReceiverError::TooManyBytes)?;
        if end > self.config.buffer_bytes {
            return Err(ReceiverError::TooManyBytes);
        }
        let index = self.insert(class, token)?;
        self.table.set_holder(content.lease.index(), Some(index));
        let entry = self.table.entry_mut(index);
        entry.place = Place::Buffer(content.lease);
        entry.start = content.offset;
        self.report(index, Event::Attach { level: content.level, capacity: self.config.buffer_bytes })?;
        Ok(self.table.id(index))
    }

    /// Reports what happened to a connection; returns what the host is to do now. `Close` ends the handle.
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
        if need_more == 0 {
            return self.report(index, Event::Consumed { bytes: consumed });
        }
        // The machine checks all before it changes anything; try on a copy, so that a refused second half undoes the first.
        let mut trial = self.table.entry(index).connection.clone();
        trial.handle(Event::Consumed { bytes: consumed })?;
        trial.handle(Event::NeedMore { bytes: need_more })?;
        let entry = self.table.entry_mut(index);
        entry.connection = trial;
        entry.advance(consumed);
        Ok(self.settle(index))
    }

    /// What the host is to do now.
    ///
    /// # Errors
    ///
    /// The handle is stale or foreign.
    pub fn pending(&self, id: ReceiverId) -> Result<Actions, ReceiverError> {
        Ok(host_actions(self.table.entry(self.table.find(id)?).connection.pending()))
    }

    /// The connection's state.
    ///
    /// # Errors
    ///
    /// The handle is stale or foreign.
    pub fn connection(&self, id: ReceiverId) -> Result<&Connection, ReceiverError> {
        Ok(&self.table.entry(self.table.find(id)?).connection)
    }

    /// What is buffered: one contiguous slice, empty if nothing is.
    ///
    /// # Errors
    ///
    /// The handle is stale or foreign.
    pub fn data(&self, id: ReceiverId) -> Result<&[u8], ReceiverError> {
        let entry = self.table.entry(self.table.find(id)?);
        let (start, level) = (entry.start as usize, entry.connection.level() as usize);
        Ok(&self.held(entry)[start..start + level])
    }

    /// As [`data`](Receivers::data), for decoders that work in place.
    ///
    /// # Errors
    ///
    /// The handle is stale or foreign.
    pub fn data_mut(&mut self, id: ReceiverId) -> Result<&mut [u8], ReceiverError> {
        let index = self.table.find(id)?;
        let entry = self.table.entry(index);
        let (start, level) = (entry.start as usize, entry.connection.level() as usize);
        Ok(&mut self.held_mut(index)[start..start + level])
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
        let room = self.table.entry(index).connection.recv_max() as usize;
        if room == 0 {
            return Ok(&mut []);
        }
        self.compact(index);
        let level = self.table.entry(index).connection.level() as usize;
        Ok(&mut self.held_mut(index)[level..level + room])
    }

    /// Takes the buffer away from a receiver, with what is in it: the lease is the host's. Reading goes on into
    /// another buffer.
    ///
    /// # Errors
    ///
    /// The handle is stale or foreign; no buffer is held (a parked residue is read with `data`).
    pub fn take(&mut self, id: ReceiverId) -> Result<Handover, ReceiverError> {
        let index = self.table.find(id)?;
        let entry = self.table.entry_mut(index);
        let Place::Buffer(lease) = entry.place else {
            return Err(ReceiverError::NoBuffer);
        };
        let content = Handover { lease, offset: entry.start, level: entry.connection.level() };
        entry.leave();
        self.table.set_holder(lease.index(), None);
        self.counts.handed_over_bytes += u64::from(content.level);
        self.report(index, Event::BufferReleased)?;
        Ok(content)
    }

    /// The next one who had waited and now has a buffer. Call it until `None` in each turn of the loop.
    pub fn poll_grant(&mut self) -> Option<Granted> {
        loop {
            let grant = self.pool.poll_grant()?;
            let Owner::Receiver(index) = self.owners[grant.wait.index() as usize] else {
                self.host_waits -= 1;
                return Some(Granted::Lease { wait: grant.wait, token: grant.token, lease: grant.lease });
            };
            self.owners[grant.wait.index() as usize] = Owner::Host;
            self.table.entry_mut(index).wait = None;
            self.enter_buffer(index, grant.lease);
            let actions = self.settle(index);
            if !actions.is_empty() {
                return Some(Granted::Receiver { id: self.table.id(index), token: grant.token, actions });
            }
        }
    }

    /// Asks for a buffer of the host's own (transmit, stream ...), with its own place in the queue.
    ///
    /// # Errors
    ///
    /// The class does not exist; all waits but those kept for the receivers (`receivers_max`) are in use.
    pub fn request(&mut self, class: u8, token: u64) -> Result<Outcome, ReceiverError> {
        self.check_class(class)?;
        let full = self.host_waits == self.config.pool.waiters_max - self.config.receivers_max;
        if full && !self.pool.would_grant(class) {
            return Err(ReceiverError::TableFull);
        }
        let outcome = self.pool.request(class, token)?;
        self.host_waits += u32::from(matches!(outcome, Outcome::Queued(_)));
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
        self.pool.describe_wait(wait)?;
        match self.owners[wait.index() as usize] {
            Owner::Host => {
                self.host_waits -= 1;
                Ok(self.pool.cancel(wait)?)
            }
            Owner::Receiver(_) => Err(ReceiverError::Stale),
        }
    }

    /// The memory of a buffer of the host's own.
    ///
    /// # Errors
    ///
    /// The lease is stale, foreign, or a receiver's.
    pub fn buffer(&mut self, lease: LeaseId) -> Result<&mut [u8], ReceiverError> {
        self.check_host_lease(lease)?;
        Ok(self.buffer_mut(lease))
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
        self.memory.give_back_pages(self.pool.free_indexes())
    }

    /// Counts. Needs no buffer, lock or allocation.
    pub fn stats(&self) -> ReceiverStats {
        ReceiverStats {
            pool: self.pool.stats(),
            receivers: self.table.len(),
            slots: self.memory.slots().count(),
            slots_in_use: self.memory.slots().in_use(),
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
        let entry = self.table.entry(self.table.find(id)?);
        let wait = entry.wait.and_then(|wait| self.pool.describe_wait(wait).ok());
        Ok(ReceiverInfo {
            connection: entry.connection.clone(),
            token: entry.token,
            class: entry.class,
            wait_age_ns: wait.map_or(0, |wait| wait.age_ns),
            grants_passed: wait.map_or(0, |wait| wait.grants_passed),
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
        for (index, entry) in self.table.iter() {
            waiting += u32::from(entry.wait.is_some());
            let connection = &entry.connection;
            if connection.is_waiting() != entry.wait.is_some() {
                return Err("I2: a receiver waits exactly when its connection does");
            }
            let agrees = match entry.place {
                Place::Nowhere => connection.hold() == Hold::None,
                Place::Slot(_) => connection.hold() == Hold::Slot,
                Place::Buffer(lease) => {
                    connection.hold() == Hold::Buffer && self.table.holder(lease.index()) == Some(index)
                }
            };
            if !agrees {
                return Err("I2: a receiver holds exactly what its connection does");
            }
            in_slots += u32::from(matches!(entry.place, Place::Slot(_)));
            in_buffers += u32::from(matches!(entry.place, Place::Buffer(_)));
            if entry.start + connection.level() > connection.capacity() {
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
            return Err("I2: every wait is a receiver's or the host's own");
        }
        Ok(())
    }
}

/// What happens inside a step.
impl Receivers {
    fn check_class(&self, class: u8) -> Result<(), ReceiverError> {
        if class < self.config.pool.classes { Ok(()) } else { Err(ReceiverError::UnknownClass) }
    }

    fn check_attach(&self, class: u8) -> Result<(), ReceiverError> {
        self.check_class(class)?;
        self.table.check_free()
    }

    fn insert(&mut self, class: u8, token: u64) -> Result<u32, ReceiverError> {
        self.check_attach(class)?;
        self.table.insert(Entry::new(Connection::new(self.config.policy), class, token))
    }

    /// A receiver that starts with these bytes in a slot; there is room for it in the table.
    fn attach_slot(&mut self, class: u8, token: u64, slot: SlotIndex, bytes: &[u8]) -> ReceiverId {
        self.memory.slots_mut().slot_mut(slot)[..bytes.len()].copy_from_slice(bytes);
        let index = self.insert(class, token).expect("class and table were checked before the slot was taken");
        self.table.entry_mut(index).place = Place::Slot(slot);
        let capacity = SLOT_BYTES as u32;
        self.tell(index, Event::Attach { level: bytes.len() as u32, capacity });
        self.tell(index, Event::BufferParked { capacity });
        self.table.id(index)
    }

    fn report(&mut self, index: u32, event: Event) -> Result<Actions, ReceiverError> {
        let entry = self.table.entry_mut(index);
        if let Event::Received { bytes } = event {
            entry.check_behind(bytes)?;
        }
        entry.connection.handle(event)?;
        match event {
            Event::Received { bytes } => self.counts.received_bytes += u64::from(bytes),
            Event::Consumed { bytes } => entry.advance(bytes),
            _ => {}
        }
        Ok(self.settle(index))
    }

    /// Does what the machine asks about buffers, until only the host's actions are left.
    fn settle(&mut self, index: u32) -> Actions {
        loop {
            let actions = self.table.entry(index).connection.pending();
            if actions.has(Action::Discard) {
                self.discard(index);
            } else if actions.has(Action::CancelRequest) {
                self.cancel_request(index);
            } else if actions.has(Action::ReleaseBuffer) {
                self.release_held(index);
            } else if actions.has(Action::RequestBuffer) {
                self.request_buffer(index);
            } else if !(actions.has(Action::Park) && self.park(index)) {
                return host_actions(actions);
            }
        }
    }

    fn close(&mut self, index: u32) -> Result<Actions, ReceiverError> {
        self.counts.dropped_bytes += u64::from(self.table.entry(index).connection.level());
        let actions = self.report(index, Event::Close)?;
        self.table.remove(index);
        Ok(actions)
    }

    fn discard(&mut self, index: u32) {
        let bytes = self.table.entry(index).connection.level();
        self.counts.dropped_bytes += u64::from(bytes);
        self.tell(index, Event::Consumed { bytes });
        self.table.entry_mut(index).advance(bytes);
    }

    fn cancel_request(&mut self, index: u32) {
        if let Some(wait) = self.table.entry_mut(index).wait.take() {
            self.pool.cancel(wait).expect("a receiver's wait is live until it is granted or cancelled here");
            self.owners[wait.index() as usize] = Owner::Host;
        }
        self.tell(index, Event::done(Action::CancelRequest));
    }

    fn release_held(&mut self, index: u32) {
        match self.table.entry_mut(index).leave() {
            Place::Nowhere => {}
            Place::Slot(slot) => self.memory.slots_mut().give(slot).expect("a receiver's slot is taken"),
            Place::Buffer(lease) => {
                self.table.set_holder(lease.index(), None);
                self.pool.release(lease).expect("a receiver's lease is live until it is released here");
            }
        }
        self.tell(index, Event::BufferReleased);
    }

    fn request_buffer(&mut self, index: u32) {
        let (class, token) = (self.table.entry(index).class, self.table.entry(index).token);
        match self.pool.request(class, token).expect("the table of waits has an entry for each receiver") {
            Outcome::Granted(lease) => self.enter_buffer(index, lease),
            Outcome::Queued(wait) => {
                self.owners[wait.index() as usize] = Owner::Receiver(index);
                self.table.entry_mut(index).wait = Some(wait);
                self.tell(index, Event::BufferDenied);
                self.lend_lifeline(index);
            }
        }
    }

    /// Somebody who waits with nothing held gets a slot to receive into meanwhile.
    fn lend_lifeline(&mut self, index: u32) {
        if !self.config.lifeline || self.table.entry(index).place != Place::Nowhere {
            return;
        }
        if let Some(slot) = self.memory.slots_mut().take() {
            self.table.entry_mut(index).place = Place::Slot(slot);
            self.counts.lifelines += 1;
            self.tell(index, Event::BufferParked { capacity: SLOT_BYTES as u32 });
        }
    }

    /// The buffer becomes what the receiver holds; what a slot held comes back at its front.
    fn enter_buffer(&mut self, index: u32, lease: LeaseId) {
        let entry = self.table.entry(index);
        let (place, start, level) = (entry.place, entry.start as usize, entry.connection.level() as usize);
        if let Place::Slot(slot) = place {
            if level > 0 {
                self.memory.unpark(slot, start..start + level, lease.index());
                self.counts.unparked += 1;
            }
            self.memory.slots_mut().give(slot).expect("a receiver's slot is taken");
        }
        let entry = self.table.entry_mut(index);
        entry.place = Place::Buffer(lease);
        entry.start = 0;
        self.table.set_holder(lease.index(), Some(index));
        self.tell(index, Event::BufferGranted { capacity: self.config.buffer_bytes });
    }

    /// Moves the residue into a slot; says whether there was one.
    fn park(&mut self, index: u32) -> bool {
        let entry = self.table.entry(index);
        let Place::Buffer(lease) = entry.place else {
            return false;
        };
        let (start, level) = (entry.start as usize, entry.connection.level() as usize);
        let Some(slot) = self.memory.slots_mut().take() else {
            self.counts.park_refused += 1;
            return false;
        };
        self.memory.park(lease.index(), start..start + level, slot);
        self.counts.parked += 1;
        let entry = self.table.entry_mut(index);
        entry.place = Place::Slot(slot);
        entry.start = 0;
        self.table.set_holder(lease.index(), None);
        self.pool.release(lease).expect("a receiver's lease is live until it is released here");
        self.tell(index, Event::BufferParked { capacity: SLOT_BYTES as u32 });
        true
    }

    fn compact(&mut self, index: u32) {
        let entry = self.table.entry_mut(index);
        let (start, level) = (entry.start as usize, entry.connection.level() as usize);
        if start == 0 {
            return;
        }
        entry.start = 0;
        if level > 0 {
            self.held_mut(index).copy_within(start..start + level, 0);
            self.counts.compactions += 1;
            self.counts.compacted_bytes += level as u64;
        }
    }

    fn tell(&mut self, index: u32, event: Event) {
        let told = self.table.entry_mut(index).connection.handle(event);
        told.expect("the connection asked for what is reported to it");
    }

    fn held(&self, entry: &Entry) -> &[u8] {
        match entry.place {
            Place::Nowhere => &[],
            Place::Slot(slot) => self.memory.slots().slot(slot),
            Place::Buffer(lease) => self.memory.arena().buffer(lease.index()),
        }
    }

    fn held_mut(&mut self, index: u32) -> &mut [u8] {
        match self.table.entry(index).place {
            Place::Nowhere => &mut [],
            Place::Slot(slot) => self.memory.slots_mut().slot_mut(slot),
            Place::Buffer(lease) => self.buffer_mut(lease),
        }
    }

    fn buffer_mut(&mut self, lease: LeaseId) -> &mut [u8] {
        self.memory.arena_mut().buffer_mut(lease.index())
    }

    fn check_host_lease(&self, lease: LeaseId) -> Result<(), ReceiverError> {
        self.pool.check_lease(lease)?;
        match self.table.holder(lease.index()) {
            None => Ok(()),
            Some(_) => Err(ReceiverError::Stale),
        }
    }
}

/// What is left for the host.
fn host_actions(actions: Actions) -> Actions {
    const OWN: [Action; 5] =
        [Action::RequestBuffer, Action::CancelRequest, Action::ReleaseBuffer, Action::Park, Action::Discard];
    OWN.into_iter().fold(actions, |actions, own| actions.without(own.into()))
}
