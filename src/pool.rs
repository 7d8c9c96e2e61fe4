//! Connections and memory together: the convenient way in.
//!
//! [`Pool`] has a table of connections, and memory that they share by the memory model (`docs/memory-model.md`): a
//! receive borrows a buffer, only a partial frame keeps memory, and every wait ends at a known time. It does by itself
//! what the connection machine asks about buffers (`RequestBuffer`, `CancelRequest`, `ReleaseBuffer`, `Park`,
//! `Discard`); what is left for the host is to receive, to decode and to arm read interest. A cycle costs three calls:
//!
//! ```
//! use demuxbuf::connection::{Action, Event};
//! use demuxbuf::pool::{AttachOptions, Pool, PoolConfig};
//!
//! let mut pool = Pool::new(&PoolConfig::new(1 << 20, 100))?; // 1 MiB for up to 100 receivers
//! let id = pool.attach(&AttachOptions::new(0, 7))?;
//! pool.handle(id, Event::done(Action::WantRecv))?; // read interest is armed
//! let step = pool.readable(id)?;
//! assert!(step.actions.has(Action::Recv));
//! step.data[..5].copy_from_slice(b"hello");
//! let step = pool.received(id, 5)?;
//! assert!(step.actions.has(Action::Decode));
//! assert_eq!(step.data, b"hello");
//! pool.decoded(id, 5, 0)?; // nothing is kept
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The methods sort into inputs ([`attach`](Pool::attach), [`handle`](Pool::handle), ...), outputs
//! ([`poll_notice`](Pool::poll_notice), [`poll_timeout`](Pool::poll_timeout)) and queries. In each loop iteration,
//! advance the clock ([`handle_timeout`](Pool::handle_timeout)) before you report events, and drain the notices
//! afterwards.
//!
//! The machine sees a borrow as a buffer with room for what may be received, kept bytes as a full slot, and a claim as
//! a request that is queued. It decides what a host does; the memory model decides how much and when.

#![forbid(unsafe_code)]

mod areas;
mod attach;
mod audit;
mod audited;
mod bits;
mod budget;
mod check;
mod completion;
mod config;
mod counting;
mod deliver;
mod error;
mod events;
mod fast_path;
mod finding;
mod host;
mod idle;
mod kept_cycle;
mod kept_path;
mod limit;
mod look;
#[cfg(feature = "model-check")]
mod model_check;
#[cfg(feature = "std")]
mod moves;
mod open_cycle;
mod queries;
mod reconcile;
mod reload;
mod row_step;
mod scarce;
mod source;
mod table;
#[cfg(test)]
mod twins;
mod types;

pub use attach::AttachOptions;
#[doc(hidden)]
pub use budget::Budget;
#[cfg(feature = "std")]
pub(crate) use budget::check_receivers;
pub use config::PoolConfig;
#[cfg(feature = "std")]
pub(crate) use counting::check_counting;
pub use deliver::Delivery;
pub use error::PoolError;
#[doc(hidden)]
pub use fast_path::FastPath;
pub use finding::{Finding, FindingKind};
#[doc(hidden)]
pub use kept_path::{GrantStep, KeptPath};
#[cfg(feature = "std")]
pub(crate) use limit::Limits;
#[doc(hidden)]
pub use open_cycle::RawStep;
pub use source::BufferSource;
pub(crate) use source::Source;
pub use table::ReceiverId;
pub(crate) use table::{Stamp, Table};
pub use types::{Counts, LeasedContent, MemoryModelStats, Notice, PoolStats, ReceiverInfo, Step};

pub use crate::config_error::ConfigError;

use crate::connection::{Action, Actions, Connection, Event, Hold, Policy};
use crate::memory::{Arena, poison};
use crate::receiving::{Begin, Buffers, Notice as MemoryNotice, Receiving, Split, Stance, Totals};
use audit::Audit;
use bits::Bits;
use core::cell::Cell;
use core::marker::PhantomData;
use kept_cycle::KeptCycle;
use open_cycle::OpenCycle;

/// What the host learns once it is so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Awaited {
    Nothing,
    /// An attach was refused because the table was full: that it is not any more.
    Attachable,
    /// The pool takes no new receivers: that nothing is left.
    Drained,
}

/// A pool whose receivers borrow to receive and keep only partial frames: of one thread, or one thread's part of a
/// `SharedPool`.
#[derive(Debug)]
#[repr(C)] // What a common cycle needs is at the same place in each kind of pool, and C need not know the kind.
pub struct Pool<S: BufferSource = Budget> {
    /// A common cycle that is open. The row of its receiver has what will be, the rest of the pool has nothing of it.
    pub(super) cycle: OpenCycle,
    /// A cycle with kept bytes that is open.
    kept_cycle: KeptCycle,
    /// But for what passed in common cycles.
    pub(crate) counts: Counts,
    pub(crate) table: Table,
    pub(crate) memory: Receiving<S>,
    pub(super) policy: Policy,
    /// Receivers whose hosts know that there is no buffer to borrow in this loop iteration.
    scheduled: Bits,
    pub(super) awaited: Awaited,
    /// It takes no new receivers.
    pub(super) is_draining: bool,
    /// Receivers of which the host has bytes that it could not deliver yet.
    undelivered: Bits,
    pub(super) audit: Option<Audit>,
    /// A pool moves between threads, but two threads never have it at once; the same for all features, whatever its
    /// fields are.
    is_not_sync: PhantomData<Cell<()>>,
}

impl Pool {
    /// Reserves everything. Nothing is allocated afterwards.
    ///
    /// # Errors
    ///
    /// A setting is out of range, memory is too small to be split, or could not be reserved.
    pub fn new(config: &PoolConfig) -> Result<Pool, ConfigError> {
        let split = config.split()?;
        let budget = Budget::new(&config.requests(split.buffers), &split)?;
        Pool::with_source(budget, config.arena(&split)?, config, split, Stamp::new(config.tag))
    }
}

impl<S: BufferSource> Pool<S> {
    /// As `new`, with buffers of this source, whose memory is the arena's; `stamp` is that of the handles.
    pub(crate) fn with_source(
        source: S,
        arena: Arena,
        config: &PoolConfig,
        split: Split,
        stamp: Stamp,
    ) -> Result<Pool<S>, ConfigError> {
        Ok(Pool {
            cycle: OpenCycle::closed(config.buffer_bytes),
            kept_cycle: KeptCycle::NONE,
            scheduled: Bits::new("receivers_max", config.receivers_max)?,
            undelivered: Bits::new("receivers_max", config.receivers_max)?,
            table: Table::new(config.receivers_max, stamp)?,
            memory: Receiving::with_buffers(&config.memory(), split, source, arena, config.wipe)?,
            policy: without_parking(&config.policy),
            counts: Counts::default(),
            awaited: Awaited::Nothing,
            is_draining: false,
            audit: Audit::new(config.audit, config.receivers_max)?,
            is_not_sync: PhantomData,
        })
    }

    /// Reports what happened to a connection; returns what the host is to do now. The handle ends with `Finished`.
    ///
    /// # Errors
    ///
    /// The handle is stale or foreign; the event makes no sense, or is one that the pool reports by itself; bytes that
    /// are kept are consumed while there is no buffer to decode them in. Nothing is changed.
    #[inline(always)] // A host's call names its event.
    pub fn handle(&mut self, id: ReceiverId, event: Event) -> Result<Actions, PoolError> {
        let fast = match event {
            Event::WouldBlock => self.fast_path().dry(id, false),
            Event::Done(actions) if actions.bits() == Action::WantRecv as u32 => self.fast_path().arm(id),
            _ => None,
        };
        match fast {
            Some(step) => Ok(step.actions()),
            None => self.handle_otherwise(id, event),
        }
    }

    /// As `handle`, of an event that a host reports less often, or where the fast path does not apply.
    #[inline(never)]
    fn handle_otherwise(&mut self, id: ReceiverId, event: Event) -> Result<Actions, PoolError> {
        let fast = match event {
            Event::Readable => self.fast_path().begin(id),
            Event::Received { bytes } => self.fast_path().receive(id, bytes),
            Event::Consumed { bytes } => self.fast_path().decode(id, bytes),
            Event::WouldBlockArmed => self.fast_path().dry(id, true),
            Event::EndOfStream | Event::TransportError => self.fast_path().end(id, event),
            _ => None,
        };
        if let Some(step) = fast {
            return Ok(step.actions());
        }
        let kept = if self.is_about_kept(id, event) { self.kept_path::<true>().step(id, event) } else { None };
        match kept {
            Some(step) => Ok(step.actions()),
            None => self.handle_row(self.table.find(id)?, event),
        }
    }

    /// As `handle`, of the receiver in this row, where the fast path does not apply, or not yet.
    fn handle_row(&mut self, index: u32, event: Event) -> Result<Actions, PoolError> {
        match self.try_completion_step(index, event) {
            Some(step) => Ok(step.actions()),
            None => self.handle_row_elsewhere(index, event),
        }
    }

    /// As `handle_row`, where it is not about a receive in flight.
    #[inline(always)]
    fn handle_row_elsewhere(&mut self, index: u32, event: Event) -> Result<Actions, PoolError> {
        match self.try_step(index, event) {
            Some(actions) => Ok(actions),
            None => self.handle_without_step(index, event),
        }
    }

    /// As `handle_row`, of an event for which there is no step where nothing is scarce.
    #[inline(never)]
    fn handle_without_step(&mut self, index: u32, event: Event) -> Result<Actions, PoolError> {
        self.leave_fast_path();
        match self.try_scarce_step(index, event) {
            Some(actions) => Ok(actions),
            None => self.handle_slowly(index, event),
        }
    }

    #[inline(never)]
    fn handle_slowly(&mut self, index: u32, event: Event) -> Result<Actions, PoolError> {
        self.leave_fast_path();
        self.follow_shed(index);
        match event {
            Event::Attach { .. }
            | Event::BufferGranted { .. }
            | Event::BufferDenied
            | Event::BufferParked { .. }
            | Event::BufferReleased
            | Event::ReclaimRequested
            | Event::LeaseExpired
            | Event::Sync { .. } => return Err(PoolError::InternalEvent),
            event if !self.table.connection(index).is_open() => return self.handle_closed(index, event),
            Event::Received { bytes } => self.receive(index, bytes)?,
            Event::Consumed { bytes } => return self.consume_slowly(index, bytes, 0, 0),
            Event::Close => return self.close(index),
            Event::NeedMore { bytes } if bytes > 0 => return self.consume_slowly(index, 0, bytes, 0),
            Event::WouldBlock | Event::WouldBlockArmed => {
                self.check_nothing_owed(index)?;
                self.apply(index, event)?;
            }
            Event::EndOfStream => {
                self.check_not_in_place(index)?;
                self.check_not_looked_at(index)?;
                self.apply(index, event)?;
            }
            Event::TransportError => {
                self.check_not_in_place(index)?;
                self.end_look(index);
                self.apply(index, event)?;
            }
            Event::Done(actions) => self.acknowledge(index, actions)?,
            event => self.apply(index, event)?,
        }
        Ok(self.follow_event(index, event))
    }

    /// What the host is to do now.
    ///
    /// # Errors
    ///
    /// The handle is stale or foreign.
    pub fn pending(&self, id: ReceiverId) -> Result<Actions, PoolError> {
        Ok(self.pending_at(self.table.find(id)?))
    }

    /// The state of the connection.
    ///
    /// # Errors
    ///
    /// The handle is stale or foreign.
    pub fn connection(&self, id: ReceiverId) -> Result<Connection, PoolError> {
        Ok(self.connection_at(self.table.find(id)?))
    }

    /// How the connection in a row stands, also while its cycle is open.
    pub(super) fn connection_at(&self, index: u32) -> Connection {
        let connection = self.table.connection(index);
        if self.has_open_cycle(index) { self.cycle.view(connection) } else { connection.clone() }
    }

    /// Not if a borrow is open only because the host has to see a frame that does not fit.
    pub(super) fn is_to_receive(&self, index: u32) -> bool {
        self.table.connection(index).pending().has(Action::Recv)
    }

    /// The next receiver that something happened to without an event of its own: it may receive, or is to be shed.
    /// Then, while others wait, each lease of the host's own whose deadline passed. Then, if it is drained, that
    /// nothing is left; or, if an attach asked for it, that the table of receivers is not full any more. Call it until
    /// `None` in each loop iteration, and serve each receiver before the next call.
    pub fn poll_notice(&mut self) -> Option<Notice> {
        if self.nothing_to_poll() {
            return None;
        }
        match self.kept_path::<true>().poll() {
            Some(GrantStep { id, token, step }) => Some(Notice::Receiver { id, token, actions: step.actions() }),
            None => self.poll_lease_or_receiver(),
        }
    }

    /// Whether there is nothing to poll, as far as a short look shows.
    #[doc(hidden)]
    #[inline(always)]
    pub fn nothing_to_poll(&self) -> bool {
        !poison::IS_ON
            && self.memory.nothing_to_poll()
            && self.memory.buffers().nothing_to_poll()
            && self.awaited == Awaited::Nothing
    }

    fn poll_lease_or_receiver(&mut self) -> Option<Notice> {
        self.leave_fast_path();
        self.memory.take_back_kept();
        loop {
            if let Some(lease) = self.poll_lease() {
                return Some(lease);
            }
            let Some(notice) = self.memory.poll() else {
                // What was evicted, or another thread released, may have served a request.
                if self.memory.buffers().has_grants() {
                    continue;
                }
                return self.poll_overdue().or_else(|| self.poll_awaited());
            };
            let index = match notice {
                MemoryNotice::Shed { receiver, .. } => {
                    self.shed(receiver);
                    receiver
                }
                MemoryNotice::Trial { receiver, max_bytes } | MemoryNotice::Granted { receiver, max_bytes } => {
                    if let Some(actions) = self.try_grant(receiver, max_bytes) {
                        return Some(self.notice(receiver, actions));
                    }
                    self.end_wait_under_mark(receiver);
                    self.grant(receiver, max_bytes);
                    receiver
                }
                MemoryNotice::TakeBack { receiver } => {
                    self.take_back(receiver);
                    receiver
                }
                MemoryNotice::Resume { receiver } => match self.memory.begin(receiver) {
                    Ok(Begin::Receive { max_bytes }) => {
                        self.grant(receiver, max_bytes);
                        receiver
                    }
                    // It waits on.
                    _ => continue,
                },
            };
            let actions = self.reconcile(index);
            if !actions.is_empty() {
                return Some(self.notice(index, actions));
            }
        }
    }

    fn notice(&self, index: u32, actions: Actions) -> Notice {
        Notice::Receiver { id: self.table.id(index), token: self.table.token(index), actions }
    }

    /// Advances the clock to this time, in monotonic nanoseconds, before the events of a loop iteration. What is still
    /// borrowed is kept, but for receives in flight and bytes in place, which stay where they are.
    pub fn handle_timeout(&mut self, now_ns: u64) {
        self.leave_fast_path();
        while let Some(receiver) = self.memory.end_first_borrow() {
            if self.memory.is_shed(receiver) {
                self.shed(receiver);
            }
            self.follow_left(receiver, true);
            let stance = self.memory.stance(receiver);
            self.follow_hold(receiver, stance);
            let pending = self.table.connection(receiver).pending();
            self.follow_wait(receiver, pending, stance);
        }
        self.memory.take_back_kept();
        self.memory.advance(now_ns);
        self.memory.buffers_mut().handle_timeout(now_ns);
        self.look_again();
    }

    /// When to call `handle_timeout` and `poll_notice` at the latest; `None` for never.
    pub fn poll_timeout(&self) -> Option<u64> {
        let of_source = self.memory.buffers().poll_timeout(self.memory.has_waiting_receivers());
        [self.memory.poll_timeout(), of_source].into_iter().flatten().min()
    }

    /// Bytes that came and went.
    pub fn counts(&self) -> Counts {
        let OpenCycle { passed_bytes, .. } = self.cycle;
        let open_bytes = self.cycle.buffered_bytes() + self.kept_cycle.received_bytes;
        let received_bytes = self.counts.received_bytes + passed_bytes + u64::from(open_bytes);
        Counts { received_bytes, consumed_bytes: self.counts.consumed_bytes + passed_bytes, ..self.counts }
    }

    /// Counts of the memory model.
    pub fn totals(&self) -> Totals {
        self.memory.totals()
    }

    /// The memory, for looking.
    pub fn memory(&self) -> &Receiving<impl Buffers> {
        &self.memory
    }

    /// Reports to the machine what it asked for.
    #[inline(always)]
    pub(super) fn feed(&mut self, index: u32, event: Event) {
        self.table.connection_mut(index).apply_asked(event);
    }

    pub(super) fn apply(&mut self, index: u32, event: Event) -> Result<(), PoolError> {
        Ok(self.table.connection_mut(index).apply_event(event)?)
    }

    pub(super) fn receive(&mut self, index: u32, bytes: u32) -> Result<(), PoolError> {
        if self.memory.owed_bytes(index) > 0 {
            return self.receive_away(index, bytes);
        }
        let may_receive = self.is_to_receive(index) || self.table.connection(index).is_in_flight();
        let borrowed = self.memory.borrowed(index).filter(|borrowed| may_receive && !borrowed.is_header_look());
        if borrowed.is_none_or(|borrowed| bytes > borrowed.max_bytes) && bytes > 0 {
            // The machine knows whether there is another reason.
            self.table.connection(index).clone().apply_event(Event::Received { bytes })?;
            return Err(PoolError::TooManyBytes);
        }
        let is_look = borrowed.is_some_and(|borrowed| borrowed.is_whole_look());
        if is_look && borrowed.is_some_and(|borrowed| bytes < borrowed.max_bytes) && bytes > 0 {
            return Err(PoolError::LookedAt);
        }
        self.apply(index, Event::Received { bytes })?;
        self.memory.received(index, bytes).expect("the machine has the same room");
        if !is_look {
            self.count_received(index, bytes);
        }
        Ok(())
    }

    /// Machine and memory have received this number of bytes.
    pub(super) fn count_received(&mut self, index: u32, bytes: u32) {
        self.follow_receive(index);
        self.counts.received_bytes += u64::from(bytes);
    }

    /// As `consume_row`, without a step of its own for what is common.
    #[inline(never)]
    fn consume_slowly(
        &mut self,
        index: u32,
        consumed_bytes: u32,
        needed_bytes: u32,
        usable_bytes: u32,
    ) -> Result<Actions, PoolError> {
        self.check_open(index)?;
        self.leave_fast_path();
        self.follow_shed(index);
        let answers_misfit = self.check_misfit_report(index, consumed_bytes, needed_bytes)?;
        let mut left = self.try_consume(index, consumed_bytes, needed_bytes)?;
        if self.memory.is_in_place(index) && left.buffered_bytes() > 0 && !left.pending().has(Action::Decode) {
            self.check_not_in_place(index)?;
        }
        if consumed_bytes > 0 && !self.memory.stance(index).borrows() {
            self.borrow_to_decode(index)?;
            left = self.try_consume(index, consumed_bytes, needed_bytes)?;
        }
        let needs_more_than_all = needed_bytes > 0 && left.buffered_bytes() == 0;
        if !self.try_report_to_memory(index, &left, consumed_bytes, usable_bytes) {
            self.consume_checked(index, left, consumed_bytes, needed_bytes);
        }
        let actions = self.reconcile_with(index, usable_bytes);
        if answers_misfit {
            self.memory.look_in_pieces(index);
        }
        if needs_more_than_all {
            self.note_usable(index, usable_bytes);
        }
        Ok(actions)
    }

    /// A decoder's report ends a borrow, whatever it leaves: the memory model has all of it at once.
    fn try_report_to_memory(&mut self, index: u32, left: &Connection, consumed_bytes: u32, usable_bytes: u32) -> bool {
        const GOES_ON: Actions = Actions::of(&[Action::Decode, Action::Discard, Action::CancelRequest]);
        let is_elsewhere = self.memory.is_in_place(index) || self.memory.is_looked_at(index);
        let is_decoding = self.memory.stance(index) == Stance::Unreported && !is_elsewhere;
        if !is_decoding || !left.pending().intersection(GOES_ON).is_empty() || self.is_misfit_of(left) {
            return false;
        }
        *self.table.connection_mut(index) = left.clone();
        self.counts.consumed_bytes += u64::from(consumed_bytes);
        let rest = self.rest(index, usable_bytes);
        let after = self.memory.decoded(index, consumed_bytes, rest).expect("the machine has as many");
        self.follow(index, after);
        true
    }

    /// What a report would leave of the machine, which checks all before it changes anything: a refused second half
    /// undoes the first.
    fn try_consume(&self, index: u32, consumed_bytes: u32, needed_bytes: u32) -> Result<Connection, PoolError> {
        let mut trial = self.table.connection(index).clone();
        trial.apply_event(Event::Consumed { bytes: consumed_bytes })?;
        if needed_bytes > 0 {
            trial.apply_event(Event::NeedMore { bytes: needed_bytes })?;
        }
        Ok(trial)
    }

    /// What a decoder reported, and `left` is what that leaves of the machine. What is consumed is in a borrowed
    /// buffer, or in place.
    fn consume_checked(&mut self, index: u32, left: Connection, consumed_bytes: u32, needed_bytes: u32) {
        if consumed_bytes > 0 {
            self.consume_in_memory(index, consumed_bytes);
        }
        *self.table.connection_mut(index) = left;
        if needed_bytes > 0 {
            self.follow_look(index, needed_bytes);
        }
        self.counts.consumed_bytes += u64::from(consumed_bytes);
    }

    /// What is consumed is in a borrowed buffer.
    pub(super) fn borrow_to_decode(&mut self, index: u32) -> Result<(), PoolError> {
        if self.memory.borrowed(index).is_none() {
            let is_borrowed = self.memory.decode(index).expect("it keeps something");
            if !is_borrowed {
                return Err(PoolError::NoBufferFree);
            }
            // The machine sees one already if what it has is a frame that does not fit.
            if self.table.connection(index).hold() != Hold::Buffer {
                let capacity = self.table.connection(index).buffered_bytes();
                self.feed(index, Event::BufferGranted { capacity });
            }
        }
        Ok(())
    }

    fn close(&mut self, index: u32) -> Result<Actions, PoolError> {
        self.apply(index, Event::Close)?;
        self.counts.dropped_bytes += u64::from(self.memory.close(index).expect("it is attached"));
        if self.table.connection(index).is_waiting() {
            self.feed(index, Event::done(Action::CancelRequest));
        }
        if self.table.connection(index).is_in_flight() {
            return Ok(self.table.connection(index).pending());
        }
        if self.table.connection(index).hold() != Hold::None {
            self.feed(index, Event::BufferReleased);
        }
        let actions = self.table.connection(index).pending();
        self.free_row(index);
        Ok(actions)
    }
}

/// What is left undecoded is kept at once, whatever a policy has about parking.
pub(super) fn without_parking(policy: &Policy) -> Policy {
    Policy { park_bytes: 0, reclaim_bytes: 0, ..*policy }
}

/// Receivers end with their pool.
impl<S: BufferSource> Drop for Pool<S> {
    fn drop(&mut self) {
        let wipes = self.memory.wipes();
        self.memory.with_arena(|source, arena| source.leave(&mut |buffer| arena.retire(buffer, wipes)));
    }
}
