//! What the common cycle needs: the receive buffer is used by a receiver that keeps nothing, while nothing is scarce.
//!
//! Most borrows end with everything decoded, so that nothing is written down before it is known that one does not. Then the
//! borrow is made, as if it had been there from the beginning.

use super::borrow::Purpose;
use super::buffers::Buffers;
use super::credit::CREDIT_MAX;
use super::keeper::Row;
use super::types::{After, Rest};
use super::{NIL, Receiving};
use crate::alloc_util::prefetch;
use crate::memory::{Address, Arena, poison};
use alloc::vec::Vec;

impl<B: Buffers> Receiving<B> {
    /// Whether a receiver that is idle, does not submit and has no cap would be lent all of the receive buffer.
    pub(crate) fn would_lend_all(&self) -> bool {
        !self.is_receive_buffer_lent && self.buffers.free() > self.split.reserve
    }

    /// Whether some receivers may have a cap.
    pub(crate) fn has_caps(&self) -> bool {
        self.tenants.is_used()
    }

    /// Whether this receiver, which has no borrow, can have one of which nothing is written down.
    pub(crate) fn may_borrow_unlisted(&self, receiver: u32) -> bool {
        self.rows.get(receiver as usize).is_some_and(|row| row.keeper == NIL && !row.submits)
            && !self.is_capped(receiver)
    }

    /// A hint that the row of this number, if there is one, is used soon.
    #[inline(always)]
    pub(crate) fn prefetch(&self, receiver: u32) {
        if let Some(row) = self.rows.get(receiver as usize) {
            prefetch(row);
        }
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

    /// As `list_unlisted`, and the decoder's report follows at once.
    pub(crate) fn keep_unlisted(
        &mut self,
        receiver: u32,
        received_bytes: u32,
        consumed_bytes: u32,
        rest: Rest,
    ) -> After {
        self.list_unlisted(receiver, received_bytes);
        let keeper = self.keeper(receiver);
        self.report(keeper, consumed_bytes, rest)
    }

    /// Where the receive buffer is.
    pub(crate) fn receive_buffer_address(&self) -> Address {
        Address::new(self.arena.address(self.receive_buffer))
    }

    /// The receive buffer, for writing.
    #[inline(always)]
    pub(crate) fn receive_buffer_mut(&mut self) -> &mut [u8] {
        self.arena.buffer_mut(self.receive_buffer)
    }

    /// The receive buffer.
    #[inline(always)]
    pub(crate) fn receive_buffer(&self) -> &[u8] {
        self.arena.buffer(self.receive_buffer)
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
            // At most 16 MiB fit into a buffer.
            row.credit_bytes = (row.credit_bytes + bytes as i32).min(CREDIT_MAX);
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
