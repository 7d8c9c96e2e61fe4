//! Connections and memory together: what the machine of a connection asks for is done with the memory model.
//!
//! The machine sees a borrow as a buffer with room for what may be received, kept bytes as a full slot, and a claim as
//! a request that is queued. It decides what a host does; the memory model decides how much and when.

use super::bits::Bits;
use super::budget::Budget;
use super::buffers::Buffers;
use super::{After, Begin, Notice as MemoryNotice, Receiving, ReceivingConfig, Rest, Totals};
use crate::config_error::{Allowed, ConfigError};
use crate::connection::{Action, Actions, Connection, Event, Hold, Mode, Policy};
use crate::pool::{Notice, PoolError, ReceiverId, Stamp, Table};
use crate::scheduler::SchedulerConfig;

/// A pool of one thread whose receivers borrow to receive and keep only partial frames.
#[derive(Debug)]
pub struct ReceivingPool {
    pub(super) memory: Receiving<Budget>,
    pub(super) table: Table,
    policy: Policy,
    pub(super) counts: Counts,
    /// Buffers that are leases of the host's own.
    pub(super) host_leases: Bits,
    /// Receivers whose hosts know that there is no buffer to borrow in this loop iteration.
    pub(super) scheduled: Bits,
}

/// Bytes that came and went. What is buffered is what was received, less the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Bytes received.
    pub received_bytes: u64,
    /// Bytes that decoders consumed.
    pub consumed_bytes: u64,
    /// Bytes thrown away.
    pub dropped_bytes: u64,
    /// Bytes that left with a buffer that the host took.
    pub taken_bytes: u64,
}

impl ReceivingPool {
    /// Reserves everything. Nothing is allocated afterwards.
    ///
    /// # Errors
    ///
    /// A setting is out of range, memory is too small to be split, or could not be reserved; the mode is completion.
    pub fn new(config: &ReceivingConfig, policy: Policy) -> Result<ReceivingPool, ConfigError> {
        ReceivingPool::with_requests(config, policy, &SchedulerConfig::new(1, 0))
    }

    /// As `new`, for a host that requests buffers of its own: their classes, reserves, caps, tenants and waits. The number of buffers is that
    /// of the memory, and of one size. Receivers have the least critical class.
    ///
    /// # Errors
    ///
    /// As [`new`](ReceivingPool::new).
    pub fn with_requests(
        config: &ReceivingConfig,
        policy: Policy,
        requests: &SchedulerConfig,
    ) -> Result<ReceivingPool, ConfigError> {
        if policy.mode == Mode::Completion {
            let allowed = Allowed::Range { min: 0, max: Mode::Optimistic as u64 };
            return Err(ConfigError::refused("policy.mode", policy.mode as u64, allowed));
        }
        let split = config.split()?;
        let requests = SchedulerConfig { buffers: split.buffers, sizes: [1, 0, 0, 0], ..*requests };
        let host_leases = Bits::new("memory_bytes", split.buffers)?;
        let scheduled = Bits::new("receivers_max", config.receivers_max)?;
        let table = Table::new(config.receivers_max, 0, Stamp::new(requests.tag))?;
        // Whatever is left undecoded is kept at once.
        let policy = Policy { park_bytes: 0, reclaim_bytes: 0, ..policy };
        let memory = Receiving::with_buffers(config, Budget::new(&requests)?)?;
        Ok(ReceivingPool { memory, table, policy, counts: Counts::default(), host_leases, scheduled })
    }

    /// Attaches a connection with nothing buffered. `token` comes back in notices.
    ///
    /// # Errors
    ///
    /// The table is full.
    pub fn attach(&mut self, token: u64, unknown_length: bool) -> Result<ReceiverId, PoolError> {
        let index = self.insert(token, unknown_length)?;
        self.feed(index, Event::Attach { buffered_bytes: 0, capacity: 0 });
        self.reconcile(index);
        Ok(self.table.id(index))
    }

    pub(super) fn insert(&mut self, token: u64, unknown_length: bool) -> Result<u32, PoolError> {
        self.leave_fast_path();
        let index = self.table.insert(Connection::new(self.policy), 0, token)?;
        self.scheduled.set(index, false);
        self.memory.attach(index, unknown_length).expect("the row is free");
        Ok(index)
    }

    /// Reports what happened to a connection; returns what the host is to do now. The handle ends with `Finished`.
    ///
    /// # Errors
    ///
    /// The handle is stale or foreign; the event makes no sense, or is one that the pool reports by itself. Nothing is
    /// changed.
    pub fn handle(&mut self, id: ReceiverId, event: Event) -> Result<Actions, PoolError> {
        let fast = match event {
            Event::Readable => self.try_fast_begin(id),
            Event::Received { bytes } => self.try_fast_receive(id, bytes),
            Event::Consumed { bytes } => self.try_fast_finish(id, bytes),
            Event::Done(actions) if actions.bits() == Action::WantRecv as u32 => self.try_fast_arm(id),
            _ => None,
        };
        match fast {
            Some(actions) => Ok(actions),
            None => self.handle_row(self.table.find(id)?, event),
        }
    }

    /// As `handle`, of the receiver in this row, the slow path.
    pub(super) fn handle_row(&mut self, index: u32, event: Event) -> Result<Actions, PoolError> {
        self.leave_fast_path();
        match event {
            Event::Attach { .. }
            | Event::BufferGranted { .. }
            | Event::BufferDenied
            | Event::BufferParked { .. }
            | Event::BufferReleased
            | Event::ReclaimRequested
            | Event::LeaseExpired
            | Event::Sync { .. } => return Err(PoolError::InternalEvent),
            Event::Received { bytes } => self.receive(index, bytes)?,
            Event::Consumed { bytes } => return self.consume(index, bytes, 0, 0),
            Event::Close => return self.close(index),
            Event::Done(actions) => {
                // A receiver is to be shed until it is closed.
                let mut own = if self.memory.is_shed(index) { Action::Shed.into() } else { Actions::NONE };
                if actions.has(Action::Reschedule) && self.is_late(index) {
                    self.scheduled.set(index, true);
                    own = own | Action::Reschedule;
                }
                self.apply(index, Event::Done(actions.without(own)))?;
            }
            event => self.apply(index, event)?,
        }
        if matches!(event, Event::Readable | Event::Wake) {
            self.scheduled.set(index, false);
        }
        if event == Event::Readable {
            return Ok(self.readable(index));
        }
        if matches!(event, Event::EndOfStream | Event::TransportError) && !self.memory.is_shed(index) {
            self.memory.end(index).expect("it is attached");
        }
        Ok(self.reconcile(index))
    }

    /// The decoder consumed bytes, and needs more if `needed_bytes` is not 0: at least these, and at most `usable_bytes` at once
    /// (0 for the same).
    ///
    /// # Errors
    ///
    /// As [`handle`](ReceivingPool::handle).
    pub fn decoded(
        &mut self,
        id: ReceiverId,
        consumed_bytes: u32,
        needed_bytes: u32,
        usable_bytes: u32,
    ) -> Result<Actions, PoolError> {
        let fast = if needed_bytes == 0 { self.try_fast_finish(id, consumed_bytes) } else { None };
        match fast {
            Some(actions) => Ok(actions),
            None => self.consume(self.table.find(id)?, consumed_bytes, needed_bytes, usable_bytes),
        }
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
    pub fn connection(&self, id: ReceiverId) -> Result<&Connection, PoolError> {
        Ok(self.table.connection(self.table.find(id)?))
    }

    /// What is undecoded: one slice, empty if there is nothing.
    ///
    /// # Errors
    ///
    /// The handle is stale or foreign.
    pub fn data(&self, id: ReceiverId) -> Result<&[u8], PoolError> {
        let index = self.table.find(id)?;
        if self.memory.borrows_lightly(index) {
            return Ok(&self.memory.receive_buffer()[..self.table.connection(index).buffered_bytes() as usize]);
        }
        Ok(self.memory.content(index).expect("it is attached"))
    }

    /// Where to receive now: exactly as many bytes as may come, none unless `Recv` is pending.
    ///
    /// # Errors
    ///
    /// The handle is stale or foreign.
    pub fn receive_area(&mut self, id: ReceiverId) -> Result<&mut [u8], PoolError> {
        let index = self.table.find(id)?;
        if self.memory.borrows_lightly(index) {
            let is_to_receive = self.table.connection(index).buffered_bytes() == 0;
            return Ok(if is_to_receive { self.memory.receive_buffer_mut() } else { &mut [] });
        }
        Ok(self.memory.receive_area(index).expect("it is attached"))
    }

    /// The next receiver that something happened to without an event of its own: it may receive, or is to be shed.
    /// Call it until `None` in each loop iteration, and serve each receiver before the next call.
    pub fn poll_notice(&mut self) -> Option<Notice> {
        self.leave_fast_path();
        loop {
            if let Some(lease) = self.poll_lease() {
                return Some(lease);
            }
            // What was evicted may have served a request.
            let Some(notice) = self.memory.poll() else {
                return self.poll_lease();
            };
            let index = match notice {
                MemoryNotice::Shed { receiver, .. } => {
                    self.shed(receiver);
                    receiver
                }
                MemoryNotice::Trial { receiver, max_bytes } | MemoryNotice::Granted { receiver, max_bytes } => {
                    self.grant(receiver, max_bytes);
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
                return Some(Notice::Receiver { id: self.table.id(index), token: self.table.token(index), actions });
            }
        }
    }

    /// Advances the clock to this time, in monotonic nanoseconds, before the events of a loop iteration. What is still borrowed is
    /// kept.
    pub fn handle_timeout(&mut self, now_ns: u64) {
        self.leave_fast_path();
        while let Some(receiver) = self.memory.end_first_borrow() {
            if self.memory.is_shed(receiver) {
                self.shed(receiver);
            }
            self.follow_hold(receiver);
            let pending = self.table.connection(receiver).pending();
            self.follow_wait(receiver, pending);
        }
        self.memory.advance(now_ns);
        self.memory.buffers_mut().scheduler.handle_timeout(now_ns);
    }

    /// When to call `handle_timeout` and `poll_notice` at the latest; `None` for never.
    pub fn poll_timeout(&self) -> Option<u64> {
        self.memory.poll_timeout()
    }

    /// Bytes that came and went.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Counts of the memory model.
    pub fn totals(&self) -> Totals {
        self.memory.totals()
    }

    /// The memory, for looking.
    pub fn memory(&self) -> &Receiving<impl Buffers> {
        &self.memory
    }

    /// Checks what must always hold, walking everything: for tests.
    ///
    /// # Errors
    ///
    /// Names the rule that is broken.
    pub fn check_invariants(&self) -> Result<(), &'static str> {
        self.memory.check_invariants()?;
        let mut buffered_bytes = 0;
        for index in self.table.iter() {
            let (connection, facts) =
                (self.table.connection(index), self.memory.facts(index).map_err(|_| "I2: a row without memory")?);
            buffered_bytes += u64::from(connection.buffered_bytes());
            if self.memory.borrows_lightly(index) {
                continue;
            }
            if facts.is_shed {
                // The machine learns of it with the notice.
                continue;
            }
            if connection.buffered_bytes() != facts.kept_bytes {
                return Err("I5: the machine knows what is undecoded");
            }
            let hold = match (facts.is_borrowing, facts.kept_bytes) {
                (true, _) => Hold::Buffer,
                (false, 0) => Hold::None,
                (false, _) => Hold::Slot,
            };
            if connection.hold() != hold {
                return Err("I2: the machine knows what is held");
            }
            let waits = facts.claim_since_ns.is_some() || facts.is_off;
            if connection.is_waiting() != waits && !facts.is_borrowing {
                return Err("I2: the machine knows what is waited for");
            }
        }
        let Counts { received_bytes, consumed_bytes, dropped_bytes, taken_bytes } = self.counts;
        if received_bytes != consumed_bytes + dropped_bytes + taken_bytes + buffered_bytes {
            return Err("I5: the counters add up");
        }
        self.memory.buffers().scheduler.check_invariants()
    }

    pub(super) fn feed(&mut self, index: u32, event: Event) {
        self.apply(index, event).expect("the machine asked for what is reported to it");
    }

    fn apply(&mut self, index: u32, event: Event) -> Result<(), PoolError> {
        Ok(self.table.connection_mut(index).apply_event(event)?)
    }

    fn receive(&mut self, index: u32, bytes: u32) -> Result<(), PoolError> {
        if self.memory.borrowed(index).is_none_or(|borrowed| bytes > borrowed.max_bytes) && bytes > 0 {
            return Err(PoolError::TooManyBytes);
        }
        self.apply(index, Event::Received { bytes })?;
        self.memory.received(index, bytes).expect("the machine has the same room");
        self.counts.received_bytes += u64::from(bytes);
        Ok(())
    }

    fn consume(
        &mut self,
        index: u32,
        consumed_bytes: u32,
        needed_bytes: u32,
        usable_bytes: u32,
    ) -> Result<Actions, PoolError> {
        self.leave_fast_path();
        // The machine checks all before it changes anything; try on a copy, so that a refused second half undoes the first.
        let mut trial = self.table.connection(index).clone();
        trial.apply_event(Event::Consumed { bytes: consumed_bytes })?;
        if needed_bytes > 0 {
            trial.apply_event(Event::NeedMore { bytes: needed_bytes })?;
        }
        if consumed_bytes > 0 {
            self.borrow_to_decode(index)?;
            self.memory.consume(index, consumed_bytes).expect("the machine has as many");
        }
        // A new hold may have come with the borrow.
        self.feed(index, Event::Consumed { bytes: consumed_bytes });
        if needed_bytes > 0 {
            self.feed(index, Event::NeedMore { bytes: needed_bytes });
        }
        self.counts.consumed_bytes += u64::from(consumed_bytes);
        Ok(self.reconcile_with(index, usable_bytes))
    }

    /// What is consumed is in a borrowed buffer.
    fn borrow_to_decode(&mut self, index: u32) -> Result<(), PoolError> {
        if self.memory.borrowed(index).is_none() {
            let is_borrowed = self.memory.decode(index).expect("it keeps something");
            if !is_borrowed {
                return Err(PoolError::NoBufferFree);
            }
            let capacity = self.table.connection(index).buffered_bytes();
            self.feed(index, Event::BufferGranted { capacity });
        }
        Ok(())
    }

    fn close(&mut self, index: u32) -> Result<Actions, PoolError> {
        self.apply(index, Event::Close)?;
        self.counts.dropped_bytes += u64::from(self.memory.close(index).expect("it is attached"));
        if self.table.connection(index).is_waiting() {
            self.feed(index, Event::done(Action::CancelRequest));
        }
        if self.table.connection(index).hold() != Hold::None {
            self.feed(index, Event::BufferReleased);
        }
        let actions = self.table.connection(index).pending();
        self.table.remove(index);
        Ok(host_actions(actions))
    }

    /// The receiver may receive. The machine sees that much room, so that it knows when a receive filled it. It sees the whole
    /// buffer that the receive goes to if a poller reports again what a filled receive leaves, or if a cell has less room than
    /// the frame needs, since the frame does fit.
    fn grant(&mut self, index: u32, max_bytes: u32) {
        let connection = self.table.connection(index);
        let is_partial = self.policy.mode == Mode::Level || connection.needed_bytes() > max_bytes;
        let capacity =
            if is_partial { self.memory.config().buffer_bytes } else { connection.buffered_bytes() + max_bytes };
        self.feed(index, Event::BufferGranted { capacity });
    }

    /// The memory model dropped what the receiver kept.
    fn shed(&mut self, index: u32) {
        let bytes = self.table.connection(index).buffered_bytes();
        self.counts.dropped_bytes += u64::from(bytes);
        self.feed(index, Event::Fail);
        self.feed(index, Event::PauseRecv);
        self.feed(index, Event::Consumed { bytes });
        self.follow_hold(index);
    }

    fn pending_at(&self, index: u32) -> Actions {
        let actions = self.table.connection(index).pending();
        let shed = if self.memory.is_shed(index) { Action::Shed.into() } else { Actions::NONE };
        if self.is_late(index) {
            let next = if self.scheduled.get(index) { Actions::NONE } else { Action::Reschedule.into() };
            return host_actions(actions.without(Action::Decode.into())) | next | shed;
        }
        host_actions(actions) | shed
    }

    /// There was no buffer that it could borrow in this loop iteration.
    fn is_late(&self, index: u32) -> bool {
        let actions = self.table.connection(index).pending();
        let borrows = self.memory.borrows_lightly(index) || self.memory.borrowed(index).is_some();
        actions.has(Action::RequestBuffer) || (actions.has(Action::Decode) && !borrows)
    }

    /// Does what the machine and the memory model ask of each other, until only the host is asked.
    pub(super) fn reconcile(&mut self, index: u32) -> Actions {
        self.reconcile_with(index, 0)
    }

    /// As `reconcile`, after a decoder's report of what it could use at once.
    fn reconcile_with(&mut self, index: u32, usable_bytes: u32) -> Actions {
        while self.reconcile_once(index, usable_bytes, false) {}
        self.pending_at(index)
    }

    /// One step of it; `false` if there was nothing to do.
    fn reconcile_once(&mut self, index: u32, usable_bytes: u32, is_reported: bool) -> bool {
        self.follow_hold(index);
        let pending = self.table.connection(index).pending();
        if self.memory.is_shed(index) && !pending.has(Action::CancelRequest) {
            return false;
        }
        if pending.has(Action::Discard) {
            let bytes = self.memory.discard(index).expect("it is attached");
            self.counts.dropped_bytes += u64::from(bytes);
            self.feed(index, Event::Consumed { bytes });
            return true;
        }
        if pending.has(Action::CancelRequest) {
            self.memory.cancel(index).expect("it is attached");
            self.feed(index, Event::done(Action::CancelRequest));
            return true;
        }
        if let Some(borrowed) = self.memory.borrowed(index) {
            if self.is_misfit(index) {
                return self.show_misfit(index);
            }
            let after = if borrowed.is_unreported && !pending.has(Action::Decode) {
                self.memory.decoded(index, 0, self.rest(index, usable_bytes))
            } else if !borrowed.is_unreported && !pending.has(Action::Recv) {
                self.memory.dry(index)
            } else {
                return false;
            };
            self.follow(index, after.expect("it borrows"));
            return true;
        }
        if self.follow_held(index) || self.follow_wait(index, pending) {
            return true;
        }
        let keeps_misfit = self.table.connection(index).buffered_bytes() > 0 && self.is_misfit(index);
        if pending.has(Action::Decode) || (pending.has(Action::RequestBuffer) && keeps_misfit) {
            return self.borrow_to_decode(index).is_ok();
        }
        pending.has(Action::RequestBuffer) && self.begin(index, is_reported)
    }

    /// The frame at the front fits into no buffer.
    fn is_misfit(&self, index: u32) -> bool {
        let connection = self.table.connection(index);
        let is_receiving = connection.end().is_none() && !connection.is_failed();
        let length_bytes = connection.buffered_bytes().saturating_add(connection.needed_bytes());
        is_receiving && connection.needed_bytes() > 0 && length_bytes > self.memory.config().buffer_bytes
    }

    /// The machine has to see that the frame does not fit into a whole buffer, whatever the room was; `false` if it does.
    fn show_misfit(&mut self, index: u32) -> bool {
        let (connection, buffer_bytes) = (self.table.connection(index), self.memory.config().buffer_bytes);
        let is_shown = connection.hold() == Hold::Buffer && connection.capacity() == buffer_bytes;
        if !is_shown {
            self.feed(index, Event::BufferGranted { capacity: buffer_bytes });
        }
        !is_shown
    }

    fn begin(&mut self, index: u32, is_reported: bool) -> bool {
        let memory = &mut self.memory;
        let begin = if is_reported { memory.begin(index) } else { memory.begin_unreported(index) };
        match begin.expect("the machine receives behind what is short") {
            Begin::Receive { max_bytes } => self.grant(index, max_bytes),
            Begin::Later => return false,
            Begin::Claimed | Begin::Off if self.table.connection(index).is_waiting() => return false,
            Begin::Claimed if !is_reported && self.reports_again(index) => {
                // Perhaps there is nothing: the poller says when there is.
                self.memory.cancel(index).expect("it is attached");
                self.feed(index, Event::WouldBlock);
            }
            Begin::Claimed | Begin::Off => self.feed(index, Event::BufferDenied),
        }
        true
    }

    /// Whether a poller reports what is there once more, of a receiver that keeps nothing.
    fn reports_again(&self, index: u32) -> bool {
        self.policy.mode != Mode::Edge && self.table.connection(index).buffered_bytes() == 0
    }

    /// Something is there to be received, also for a receiver that waits.
    fn readable(&mut self, index: u32) -> Actions {
        while self.reconcile_once(index, 0, true) {}
        let waits = self.table.connection(index).is_waiting() && !self.memory.is_shed(index);
        if waits && self.memory.borrowed(index).is_none() {
            self.begin(index, true);
        }
        self.reconcile(index)
    }

    fn follow(&mut self, index: u32, after: After) {
        match after {
            After::Ended => {}
            After::Receive { max_bytes } => {
                // A trial has a number of receives of its own.
                self.feed(index, Event::Wake);
                if self.policy.mode == Mode::Level {
                    self.feed(index, Event::Readable);
                } else {
                    self.grant(index, max_bytes);
                }
            }
            After::Shed { .. } => self.shed(index),
        }
    }

    /// Why the decoder left bytes.
    fn rest(&self, index: u32, usable_bytes: u32) -> Rest {
        let connection = self.table.connection(index);
        let (buffered_bytes, needed_bytes) = (connection.buffered_bytes(), connection.needed_bytes());
        let fits = !self.is_misfit(index);
        if buffered_bytes == 0 {
            Rest::Nothing
        } else if needed_bytes > 0 && connection.blocked() == 0 && connection.end().is_none() && fits {
            Rest::Short { needed_bytes, usable_bytes }
        } else {
            Rest::Held
        }
    }

    /// The machine holds a buffer while the receiver borrows, a full slot while it keeps bytes, else nothing.
    fn follow_hold(&mut self, index: u32) {
        if self.memory.borrowed(index).is_some() {
            return;
        }
        let connection = self.table.connection(index);
        let capacity = connection.buffered_bytes();
        match connection.hold() {
            Hold::None => {}
            _ if capacity == 0 => self.feed(index, Event::BufferReleased),
            Hold::Slot if connection.capacity() == capacity => {}
            _ => self.feed(index, Event::BufferParked { capacity }),
        }
    }

    /// A receiver claims only while there may be something to be received.
    fn follow_wait(&mut self, index: u32, pending: Actions) -> bool {
        let (claims, _) = self.memory.waits(index);
        let is_over = claims && !self.table.connection(index).is_waiting() && !pending.has(Action::RequestBuffer);
        if is_over {
            self.memory.cancel(index).expect("it is attached");
        }
        is_over
    }

    /// What is kept waits for the host, or for its peer, as the machine has it.
    fn follow_held(&mut self, index: u32) -> bool {
        let keeps = self.table.connection(index).buffered_bytes() > 0;
        let (_, was_held) = self.memory.waits(index);
        let is_held = keeps && self.rest(index, 0) == Rest::Held;
        if keeps && is_held != was_held {
            self.memory.hold(index, is_held).expect("it does not borrow");
            return true;
        }
        false
    }
}

/// What is left for the host.
fn host_actions(actions: Actions) -> Actions {
    const OWN: [Action; 5] =
        [Action::RequestBuffer, Action::CancelRequest, Action::ReleaseBuffer, Action::Park, Action::Discard];
    actions.without(Actions::of(&OWN))
}
