//! What the common cycle needs, and one that begins or ends with kept bytes: the receive buffer is used by a receiver
//! that has nothing, or bytes in a cell, while nothing is scarce.
//!
//! Most borrows end with the decoder's report, so that nothing is written down before it is known that one does not.
//! Then the borrow is made, as if it had been there from the beginning.

use super::borrow::{Borrow, Lender, Purpose};
use super::buffers::Buffers;
use super::in_cells::Kept;
use super::keeper::{Place, Row};
use super::types::{After, Rest, Stance};
use super::{NIL, Receiving};
use crate::alloc_util::prefetch;
use crate::memory::{Address, Arena, poison};
use alloc::vec::Vec;
#[cfg(feature = "model-check")]
use core::ptr::NonNull;

impl<B: Buffers> Receiving<B> {
    /// Whether a receiver that is idle, has no cap and may submit if it does would be lent all of the receive buffer.
    pub(crate) fn would_lend_all(&self) -> bool {
        !self.is_receive_buffer_lent && self.buffers.free() > self.split.reserve
    }

    /// Whether some receivers may have a cap.
    pub(crate) fn has_caps(&self) -> bool {
        self.tenants.is_used()
    }

    /// Whether this receiver, which has no borrow, can have one of which nothing is written down.
    pub(crate) fn may_borrow_unlisted(&self, receiver: u32) -> bool {
        self.rows.get(receiver as usize).is_some_and(|row| row.keeper == NIL) && !self.is_capped(receiver)
    }

    /// A hint that the row of this number, if there is one, is used soon.
    #[inline(always)]
    pub(crate) fn prefetch(&self, receiver: u32) {
        if let Some(row) = self.rows.get(receiver as usize) {
            prefetch(row);
        }
    }

    /// Whether one more receive may be in flight.
    #[inline(always)]
    pub(crate) fn may_submit_more(&self) -> bool {
        self.flights.counted < self.split.in_flight_max
    }

    /// For borrows of which nothing is written down.
    #[inline(always)]
    pub(crate) fn unlisted(&mut self) -> Unlisted<'_> {
        Unlisted { rows: &mut self.rows, arena: &self.arena, receive_buffer: self.receive_buffer }
    }

    /// This idle receiver borrows the receive buffer, and has received this much, from its front on.
    pub(crate) fn list_unlisted(&mut self, receiver: u32, received_bytes: u32) {
        let keeper = self.keeper(receiver);
        self.borrow(keeper, Purpose::Receive, self.config.buffer_bytes);
        if received_bytes > 0 {
            self.received(receiver, received_bytes).expect("as many fit into a buffer");
        }
    }

    /// What a receiver that stands so keeps in a cell, and may be lent the receive buffer with.
    pub(crate) fn kept_in_cell(&mut self, receiver: u32, stance: Stance) -> Option<Kept> {
        if self.is_capped(receiver) {
            return None;
        }
        self.in_cells().kept::<false>(receiver, stance)
    }

    /// As `InCells::lend`, where tenants count what is kept, or memory checkers see what is lent.
    pub(crate) fn lend_with_kept(&mut self, kept: Kept) -> Address {
        self.dequeue(kept.keeper);
        self.move_bytes(kept.at, kept.bytes, (self.receive_buffer, 0));
        self.receive_buffer_address()
    }

    /// Where the content of a receiver is that has the use of a buffer, of which nothing is written down.
    #[cfg(feature = "model-check")]
    pub(crate) fn unlisted_address(&self, receiver: u32) -> Address {
        let place = self.known(receiver).map_or(Place::Nowhere, |state| state.place);
        let Place::Whole { buffer, start } = place else {
            return self.receive_buffer_address();
        };
        Address::new(
            NonNull::new(self.arena.address(buffer).as_ptr().wrapping_add(start as usize)).expect("it is inside"),
        )
    }

    /// That receiver borrows the buffer where its content is, to receive at most this much or to decode, and has
    /// received this much behind it.
    pub(crate) fn list_with_kept(&mut self, receiver: u32, purpose: Purpose, max_bytes: u32, received_bytes: u32) {
        let keeper = self.keeper(receiver);
        self.end_hold(keeper);
        self.borrow_in_place(keeper, purpose, max_bytes);
        if received_bytes > 0 {
            self.received(receiver, received_bytes).expect("as many fit into a buffer");
        }
    }

    /// A receiver borrows its own buffer, or the receive buffer, at the front of which its content is.
    fn borrow_in_place(&mut self, keeper: u32, purpose: Purpose, max_bytes: u32) {
        self.end_rest(keeper);
        let (buffer, start, lender) = match self.keepers[keeper].place {
            Place::Whole { buffer, start } => (buffer, start, Lender::Receiver),
            _ => (self.receive_buffer, 0, Lender::Thread),
        };
        self.is_receive_buffer_lent |= lender == Lender::Thread;
        let borrow = Borrow::new(buffer, start, lender, purpose, self.keepers[keeper].kept_bytes);
        self.list_borrow(Borrow { keeper, max_bytes, ..borrow });
    }

    /// What follows the report of a decoder, of a receiver that used the receive buffer and of which nothing was
    /// written down: as if it had borrowed it, received this much behind what it kept, and reported.
    pub(crate) fn report_unlisted(
        &mut self,
        receiver: u32,
        received_bytes: u32,
        consumed_bytes: u32,
        rest: Rest,
    ) -> After {
        let keeper = self.keeper(receiver);
        self.end_hold(keeper);
        if consumed_bytes > 0 {
            self.add_credit(keeper, consumed_bytes);
        }
        let (cell_bytes, now_ns) = (self.cell_bytes(self.keepers[keeper].place), self.clock.now_ns());
        let state = &mut self.keepers[keeper];
        state.note_receive(received_bytes, consumed_bytes, cell_bytes, now_ns);
        state.kept_bytes = state.kept_bytes + received_bytes - consumed_bytes;
        self.note_rest(keeper, rest, consumed_bytes > 0);
        if self.keepers[keeper].kept_bytes == 0 {
            self.end_unlisted(keeper);
            return After::Ended;
        }
        let Some(size) = self.choose_size(keeper, 0, Lender::Thread) else {
            return self.keep_listed(keeper, consumed_bytes);
        };
        self.put(keeper, size, (self.receive_buffer, consumed_bytes), Lender::Thread);
        self.make_evictable(keeper);
        After::Ended
    }

    /// Everything that a receiver had is decoded.
    fn end_unlisted(&mut self, keeper: u32) {
        self.free_place(keeper);
        self.keepers[keeper].start_ns = None;
        self.retire(self.receive_buffer);
        self.forget_if_idle(keeper);
    }

    /// What is left, from here on, has no place before others lose theirs.
    fn keep_listed(&mut self, keeper: u32, start: u32) -> After {
        self.borrow_in_place(keeper, Purpose::Receive, 0);
        self.borrows[self.keepers[keeper].borrow as usize].start = start;
        let after = self.keep_leftovers(keeper);
        self.rest(keeper);
        self.acknowledge_shed(keeper, after)
    }

    /// The host has the use of the first bytes of the receive buffer, and of nothing else in it, for memory checkers.
    pub(crate) fn lend_receive_buffer(&self, bytes: u32) {
        self.arena.lend(self.receive_buffer, 0..bytes);
    }

    /// Where the receive buffer is.
    pub(crate) fn receive_buffer_address(&self) -> Address {
        Address::new(self.arena.address(self.receive_buffer))
    }

    /// The bytes from an address in a buffer on.
    #[inline(always)]
    pub(crate) fn bytes_at(&self, at: Address, bytes: u32) -> &[u8] {
        self.arena.bytes_at(at, bytes)
    }

    /// As `bytes_at`, for writing.
    #[inline(always)]
    pub(crate) fn bytes_at_mut(&mut self, at: Address, bytes: u32) -> &mut [u8] {
        self.arena.bytes_at_mut(at, bytes)
    }
}

/// What a borrow needs of which nothing is written down.
pub(crate) struct Unlisted<'a> {
    rows: &'a mut Vec<Row>,
    arena: &'a Arena,
    receive_buffer: u32,
}

impl Unlisted<'_> {
    /// Everything that this idle receiver received is decoded.
    #[inline(always)]
    pub(crate) fn note_decoded(&mut self, receiver: u32, bytes: u32) {
        if let Some(row) = self.rows.get_mut(receiver as usize) {
            row.add_credit(bytes);
        }
    }

    /// Whether a receiver borrows, keeps and waits for nothing.
    pub(crate) fn is_idle(&self, receiver: u32) -> bool {
        self.rows.get(receiver as usize).is_some_and(|row| row.keeper == NIL)
    }

    /// The host has the use of the first bytes of the receive buffer, and of nothing else in it, for memory checkers.
    #[inline(always)]
    pub(crate) fn lend(&self, bytes: u32) {
        if poison::IS_ON {
            self.arena.lend(self.receive_buffer, 0..bytes);
        }
    }
}
