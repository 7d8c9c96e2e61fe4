//! Deliveries: bytes that the host has received already, into memory that the system chose.

use super::{BufferSource, Pool, PoolError, ReceiverId};
use crate::connection::{Action, Actions, Event, EventError};

/// What became of bytes that were delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// This number of bytes, from the front, are the receiver's. The others are still yours: deliver them when `Recv`
    /// is pending.
    pub accepted_bytes: u32,
    /// This number of bytes, from the front, are to be decoded where they are: all that were accepted, or none. The
    /// memory is in use until [`Pool::delivered`] reports on them and `Decode` is not pending any more.
    pub in_place_bytes: u32,
    /// What is to be done now.
    pub actions: Actions,
}

impl<S: BufferSource> Pool<S> {
    /// These bytes came for a receiver, and are in your memory: the system chose a buffer, of a ring for instance. It
    /// is as if they were received now, as many as may be: to complete what is kept they are copied, else they are
    /// decoded where they are.
    ///
    /// Take the steps that follow to their end, and report what the decoder did with [`delivered`](Pool::delivered).
    /// Where `Recv` is pending while you still have bytes, deliver those. When all are accepted and `Decode` is not
    /// pending, your buffer is free.
    ///
    /// # Errors
    ///
    /// The handle is stale or foreign; the connection is closed, has ended, or counts; there are no bytes, or more than
    /// a buffer has; a receive is in flight; a receiver has bytes in place. Nothing is changed.
    pub fn deliver(&mut self, id: ReceiverId, bytes: &[u8]) -> Result<Delivery, PoolError> {
        let index = self.table.find(id)?;
        self.check_deliverable(index, bytes)?;
        self.leave_fast_path();
        self.follow_shed(index);
        let may_receive = |pool: &Pool<S>| pool.pending_at(index).has(Action::Recv);
        let mut actions = self.pending_at(index);
        if !actions.has(Action::Recv) {
            self.undelivered.set(index, true);
            self.feed(index, Event::Readable);
            self.scheduled.clear(index);
            actions = self.reconcile_readable(index);
        }
        let mut delivery = Delivery { accepted_bytes: 0, in_place_bytes: 0, actions };
        if may_receive(self) {
            let delivered = self.memory.deliver(index, bytes).expect("it may receive");
            delivery.accepted_bytes = delivered.bytes();
            self.feed(index, Event::Received { bytes: delivered.bytes() });
            self.count_received(index, delivered.bytes());
        }
        let has_more = (delivery.accepted_bytes as usize) < bytes.len();
        self.undelivered.set(index, has_more);
        if delivery.accepted_bytes > 0 {
            if has_more {
                // A receive may end readiness, but there is more.
                self.feed(index, Event::Readable);
            }
            self.place_rest(index, &bytes[..delivery.accepted_bytes as usize]);
            delivery.actions = self.reconcile(index);
            delivery.in_place_bytes = self.in_place_bytes(index);
        }
        Ok(delivery)
    }

    fn check_deliverable(&self, index: u32, bytes: &[u8]) -> Result<(), PoolError> {
        self.check_open(index)?;
        self.check_not_in_flight(index)?;
        if self.table.connection(index).is_counting() {
            return Err(PoolError::CannotCount { with: "deliveries" });
        }
        self.check_no_look(index)?;
        if bytes.is_empty() {
            return Err(EventError::ZeroBytes.into());
        }
        if bytes.len() > self.memory.config().buffer_bytes as usize {
            return Err(PoolError::TooManyBytes);
        }
        if self.table.connection(index).end().is_some() {
            return Err(EventError::AfterEnd.into());
        }
        if self.memory.has_in_place() { Err(PoolError::InPlace) } else { Ok(()) }
    }

    /// As [`decoded`](Pool::decoded), of a receiver that bytes are delivered to. If it has bytes in place, these are
    /// `data`: as many as the step before had. What is left of them and cannot be decoded now is copied; where `Decode`
    /// is pending, the others are still in place. If it has none, `data` makes no difference.
    ///
    /// # Errors
    ///
    /// As [`handle`](Pool::handle); another number of bytes lies in place.
    pub fn delivered(
        &mut self,
        id: ReceiverId,
        data: &[u8],
        consumed_bytes: u32,
        needed_bytes: u32,
    ) -> Result<Actions, PoolError> {
        let index = self.table.find(id)?;
        if !self.memory.is_in_place(index) {
            return self.decoded(id, consumed_bytes, needed_bytes);
        }
        if data.len() != self.in_place_bytes(index) as usize {
            return Err(PoolError::InPlace);
        }
        let left = self.try_consume(index, consumed_bytes, needed_bytes)?;
        self.consume_checked(index, left, consumed_bytes, needed_bytes);
        self.place_rest(index, &data[consumed_bytes as usize..]);
        let actions = self.reconcile(index);
        if needed_bytes > 0 {
            self.note_usable(index, 0);
        }
        Ok(actions)
    }

    /// How many bytes of a receiver are in the host's memory.
    #[doc(hidden)]
    pub fn in_place_bytes(&self, index: u32) -> u32 {
        if self.memory.is_in_place(index) { self.table.connection(index).buffered_bytes() } else { 0 }
    }

    /// What cannot be decoded now does not stay in place.
    fn place_rest(&mut self, index: u32, rest: &[u8]) {
        const STAYS: Actions = Actions::of(&[Action::Decode, Action::Discard]);
        let pending = self.table.connection(index).pending();
        if self.in_place_bytes(index) > 0 && pending.intersection(STAYS).is_empty() {
            self.memory.place(index, rest).expect("these are all that are in place");
        }
    }

    /// Refuses a call that needs bytes that only the host has.
    pub(crate) fn check_not_in_place(&self, index: u32) -> Result<(), PoolError> {
        if self.memory.is_in_place(index) { Err(PoolError::InPlace) } else { Ok(()) }
    }
}
