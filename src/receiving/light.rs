//! A borrow of the receive buffer by a receiver that keeps nothing, while nothing is scarce: the common cycle.
//!
//! Most borrows end with everything decoded, so that nothing has to be known of the receiver but that it borrows. If a light
//! borrow turns out to be another kind, or anything else happens before it ends, it is made a full one, as if it had been
//! that from the beginning.

use super::borrow::Purpose;
use super::buffers::Buffers;
use super::credit::CREDIT_MAX;
use super::{NIL, Receiving};
use core::ptr::NonNull;

impl<B: Buffers> Receiving<B> {
    /// Lends the receive buffer lightly, all of it, if the receiver is idle and does not submit, and nothing is scarce.
    #[inline(always)]
    pub(crate) fn try_lend_lightly(&mut self, receiver: u32) -> bool {
        let may_lend = self.is_idle(receiver)
            && !self.rows[receiver as usize].submits
            && !self.is_receive_buffer_lent
            && self.buffers.free() > self.split.reserve
            && !self.is_capped(receiver);
        if may_lend {
            self.is_receive_buffer_lent = true;
            self.light = receiver;
        }
        may_lend
    }

    /// Whether this receiver borrows lightly.
    #[inline(always)]
    pub(crate) fn borrows_lightly(&self, receiver: u32) -> bool {
        self.light == receiver
    }

    /// The receiver that does.
    #[inline(always)]
    pub(crate) fn light_borrower(&self) -> Option<u32> {
        (self.light != NIL).then_some(self.light)
    }

    /// Everything that it received is decoded.
    #[inline(always)]
    pub(crate) fn end_light_borrow(&mut self, consumed_bytes: u32) {
        let row = &mut self.rows[self.light as usize];
        // At most 16 MiB fit into a buffer.
        row.credit_bytes = (row.credit_bytes + consumed_bytes as i32).min(CREDIT_MAX);
        self.light = NIL;
        self.is_receive_buffer_lent = false;
        self.take_back(self.receive_buffer);
    }

    /// What the light borrower received is this much, from the front of the receive buffer: it borrows like any other now.
    #[cold]
    pub(crate) fn make_full_borrow(&mut self, received_bytes: u32) {
        let receiver = core::mem::replace(&mut self.light, NIL);
        self.is_receive_buffer_lent = false;
        let keeper = self.keeper(receiver);
        self.borrow(keeper, Purpose::Receive, self.config.buffer_bytes);
        if received_bytes > 0 {
            self.received(receiver, received_bytes).expect("as many fit into a buffer");
        }
    }

    /// The first bytes of the receive buffer, without a borrow.
    #[inline(always)]
    pub(crate) fn receive_buffer_area(&self, bytes: u32) -> Option<(NonNull<u8>, u32)> {
        self.area_in(self.receive_buffer, 0, bytes)
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
