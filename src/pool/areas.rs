//! Where to receive and what to decode, and events that return it, so that a cycle is three calls, or two.
//!
//! Of these calls the fast path is inlined into the host; what else there is to do is a call.

use super::{BufferSource, Pool, PoolError, RawStep, ReceiverId, Step};
use crate::connection::{Action, Actions, Event};
use crate::memory::Address;

impl<S: BufferSource> Pool<S> {
    /// As [`handle`](Pool::handle) with [`Readable`](Event::Readable): the transport has bytes, an end of stream or an
    /// error to report.
    ///
    /// # Errors
    ///
    /// As [`handle`](Pool::handle).
    #[inline(always)]
    pub fn readable(&mut self, id: ReceiverId) -> Result<Step<'_>, PoolError> {
        match self.fast_path().begin_same(id) {
            Some(step) => Ok(self.with_area(step)),
            None => self.readable_otherwise(id),
        }
    }

    /// As `readable`, where the cycle is not like the one before.
    #[inline(never)]
    fn readable_otherwise(&mut self, id: ReceiverId) -> Result<Step<'_>, PoolError> {
        match self.fast_path().begin(id) {
            Some(step) => Ok(self.with_area(step)),
            None => match self.kept_path::<true>().step(id, Event::Readable) {
                Some(step) => Ok(self.with_area_anywhere(step)),
                None => self.step(id, Event::Readable),
            },
        }
    }

    /// A step of a cycle with kept bytes.
    fn with_area_anywhere(&mut self, step: RawStep) -> Step<'_> {
        let data = step.data.map(|at| self.memory.bytes_at_mut(Address::new(at), step.bytes()));
        Step { actions: step.actions(), data: data.unwrap_or_default() }
    }

    /// A step of a common cycle in which there is something to receive or to decode.
    #[inline(always)]
    fn with_area(&mut self, step: RawStep) -> Step<'_> {
        Step { actions: step.actions(), data: self.memory.bytes_at_mut(self.cycle.buffer, step.bytes()) }
    }

    /// As [`handle`](Pool::handle) with [`Received`](Event::Received): one receive brought this many bytes.
    ///
    /// # Errors
    ///
    /// As [`handle`](Pool::handle).
    #[inline(always)]
    pub fn received(&mut self, id: ReceiverId, bytes: u32) -> Result<Step<'_>, PoolError> {
        match self.fast_path().receive(id, bytes) {
            Some(step) => Ok(self.with_area(step)),
            None => self.received_otherwise(id, bytes),
        }
    }

    /// As `received`, where the fast path does not apply.
    #[inline(never)]
    fn received_otherwise(&mut self, id: ReceiverId, bytes: u32) -> Result<Step<'_>, PoolError> {
        let kept = if self.kept_cycle.is_open() { self.kept_path::<true>().receive(id, bytes) } else { None };
        match kept {
            Some(step) => Ok(self.with_area_anywhere(step)),
            None => self.step(id, Event::Received { bytes }),
        }
    }

    /// `Consumed`, and `NeedMore` if `needed_bytes` is not 0, in one step: either both are taken or none.
    ///
    /// # Errors
    ///
    /// As [`handle`](Pool::handle); both are 0 while `CannotFit` is pending, and nothing is undecoded.
    #[inline(always)]
    pub fn decoded(&mut self, id: ReceiverId, consumed_bytes: u32, needed_bytes: u32) -> Result<Actions, PoolError> {
        self.decoded_usable(id, consumed_bytes, needed_bytes, 0)
    }

    /// As `decoded`, of a decoder that can use up to `usable_bytes` at once, though `needed_bytes` help (0 for the
    /// same): where memory is short, a receive that waited for its turn takes as many, also where all was consumed; one
    /// byte if no need was reported then. What the decoder leaves of them may have no place.
    ///
    /// # Errors
    ///
    /// As [`handle`](Pool::handle).
    #[inline(always)]
    pub fn decoded_usable(
        &mut self,
        id: ReceiverId,
        consumed_bytes: u32,
        needed_bytes: u32,
        usable_bytes: u32,
    ) -> Result<Actions, PoolError> {
        let fast = if needed_bytes == 0 { self.fast_path().decode(id, consumed_bytes) } else { None };
        match fast {
            Some(step) => Ok(step.actions()),
            None => self.decoded_otherwise(id, consumed_bytes, needed_bytes, usable_bytes),
        }
    }

    /// As `decoded_usable`, where the fast path does not apply.
    #[inline(never)]
    fn decoded_otherwise(
        &mut self,
        id: ReceiverId,
        consumed_bytes: u32,
        needed_bytes: u32,
        usable_bytes: u32,
    ) -> Result<Actions, PoolError> {
        let step = match needed_bytes {
            0 if !self.kept_cycle.is_open() => None,
            0 => self.kept_path::<true>().pass(id, consumed_bytes),
            _ => self.kept_path::<true>().keep(id, consumed_bytes, needed_bytes, usable_bytes),
        };
        match step {
            Some(step) => Ok(step.actions()),
            None => self.consume_row(self.table.find(id)?, consumed_bytes, needed_bytes, usable_bytes),
        }
    }

    /// As `decoded_usable`, of the receiver in this row, the slow path.
    fn consume_row(
        &mut self,
        index: u32,
        consumed_bytes: u32,
        needed_bytes: u32,
        usable_bytes: u32,
    ) -> Result<Actions, PoolError> {
        let landed = if needed_bytes == 0 { self.try_pass_landed(index, consumed_bytes) } else { None };
        match landed {
            Some(step) => Ok(step.actions()),
            None => self.consume_row_elsewhere(index, consumed_bytes, needed_bytes, usable_bytes),
        }
    }

    /// As `consume_row`, where it is not of a receive that was in flight.
    #[inline(always)]
    pub(super) fn consume_row_elsewhere(
        &mut self,
        index: u32,
        consumed_bytes: u32,
        needed_bytes: u32,
        usable_bytes: u32,
    ) -> Result<Actions, PoolError> {
        if let Some(actions) = self.try_report(index, consumed_bytes, needed_bytes, usable_bytes) {
            return Ok(actions);
        }
        self.leave_fast_path();
        match self.try_report_listed(index, consumed_bytes, needed_bytes, usable_bytes) {
            Some(actions) => Ok(actions),
            None => self.consume_slowly(index, consumed_bytes, needed_bytes, usable_bytes),
        }
    }

    /// A receive brought this many bytes, and the decoder took all that is there, in one step: either both are taken or
    /// none. For a host that decodes before it reports.
    ///
    /// # Errors
    ///
    /// As [`handle`](Pool::handle); and it is closed, also if a receive is in flight, of which nothing is decoded any
    /// more.
    #[inline(always)]
    pub fn received_and_decoded(&mut self, id: ReceiverId, bytes: u32) -> Result<Actions, PoolError> {
        match self.fast_path().receive_and_decode(id, bytes) {
            Some(step) => Ok(step.actions()),
            None => self.receive_and_decode_otherwise(id, bytes),
        }
    }

    /// As `received_and_decoded`, where the fast path does not apply.
    #[inline(never)]
    fn receive_and_decode_otherwise(&mut self, id: ReceiverId, bytes: u32) -> Result<Actions, PoolError> {
        let kept = if self.kept_cycle.is_open() { self.kept_path::<true>().receive_and_pass(id, bytes) } else { None };
        match kept {
            Some(step) => Ok(step.actions()),
            None => self.receive_and_decode_row(self.table.find(id)?, bytes),
        }
    }

    /// As `received_and_decoded`, of the receiver in this row, the slow path.
    #[doc(hidden)]
    pub fn receive_and_decode_row(&mut self, index: u32, bytes: u32) -> Result<Actions, PoolError> {
        self.check_open(index)?;
        self.leave_fast_path();
        self.follow_shed(index);
        let is_owed = self.memory.owed_bytes(index) > 0;
        self.receive(index, bytes)?;
        if is_owed {
            return Ok(self.reconcile(index)); // They were decoded before.
        }
        let bytes = self.table.connection(index).buffered_bytes();
        self.consume_in_memory(index, bytes);
        self.feed(index, Event::Consumed { bytes });
        self.counts.consumed_bytes += u64::from(bytes);
        Ok(self.reconcile(index))
    }

    /// Any other event.
    #[inline(never)]
    fn step(&mut self, id: ReceiverId, event: Event) -> Result<Step<'_>, PoolError> {
        let index = self.table.find(id)?;
        let actions = self.handle_row(index, event)?;
        // One that is closed has nothing, and its handle may have ended.
        let data =
            if actions.has(Action::Recv) { self.receive_area(id)? } else { self.data_mut(id).unwrap_or_default() };
        Ok(Step { actions, data })
    }

    /// What is undecoded: one slice, empty if there is nothing.
    ///
    /// # Errors
    ///
    /// The handle is stale or foreign.
    pub fn data(&self, id: ReceiverId) -> Result<&[u8], PoolError> {
        if self.cycle.is_open_of(id) {
            return Ok(self.memory.bytes_at(self.cycle.buffer, self.cycle.buffered_bytes()));
        }
        let index = self.table.find(id)?;
        if self.kept_cycle.is_of(index) {
            return Ok(self.memory.bytes_at(self.kept_cycle.at, self.kept_cycle.buffered_bytes()));
        }
        if !self.table.connection(index).is_open() {
            return Ok(&[]);
        }
        Ok(self.memory.content(index).expect("it is attached"))
    }

    /// As [`data`](Pool::data), for decoders that work in place.
    ///
    /// To take a hole out of the content, move the bytes before the hole up to its end, and report the bytes of the
    /// hole as `Consumed`: they are at the front then. The same cuts bytes off at the end. Not so the host of a
    /// receiver that counts, which may change only what it consumes: the rest may be looked at again as it came.
    ///
    /// # Errors
    ///
    /// The handle is stale or foreign.
    pub fn data_mut(&mut self, id: ReceiverId) -> Result<&mut [u8], PoolError> {
        if self.cycle.is_open_of(id) {
            return Ok(self.memory.bytes_at_mut(self.cycle.buffer, self.cycle.buffered_bytes()));
        }
        let index = self.table.find(id)?;
        if self.kept_cycle.is_of(index) {
            return Ok(self.memory.bytes_at_mut(self.kept_cycle.at, self.kept_cycle.buffered_bytes()));
        }
        if !self.table.connection(index).is_open() {
            return Ok(&mut []);
        }
        Ok(self.memory.content_mut(index).expect("it is attached"))
    }

    /// Where to receive now: exactly as many bytes as may come, none unless `Recv` is pending.
    ///
    /// # Errors
    ///
    /// The handle is stale or foreign.
    pub fn receive_area(&mut self, id: ReceiverId) -> Result<&mut [u8], PoolError> {
        if self.cycle.is_open_of(id) {
            return Ok(self.memory.bytes_at_mut(self.cycle.buffer, self.cycle.room_bytes()));
        }
        let index = self.table.find(id)?;
        if self.kept_cycle.is_of(index) {
            let (at, bytes) = self.kept_cycle.place(true);
            return Ok(self.memory.bytes_at_mut(at, bytes));
        }
        let is_to_receive = self.is_to_receive(index) || self.memory.owed_bytes(index) > 0;
        Ok(if is_to_receive { self.memory.receive_area(index).expect("it is attached") } else { &mut [] })
    }
}
