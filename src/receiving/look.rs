//! Receives of a whole from a look: while what the decoder may leave would have no place, a frame stays in the kernel
//! while it is decoded, and the host receives away what was consumed.

use super::borrow::{Borrow, Lender, Purpose};
use super::buffers::Buffers;
use super::receive::RECEIVES_MAX;
use super::types::{After, Rest};
use super::{Receiving, ReceivingError};

impl<B: Buffers> Receiving<B> {
    /// A receive of a whole is allowed; it is from a look where what the decoder may leave would have no place. A free
    /// buffer stays free for as long as the receive buffer is borrowed, and any other buffer is a place itself.
    pub(super) fn allow_whole(&mut self, keeper: u32, bytes: u32) {
        let state = &self.keepers[keeper];
        let fits_own = self.cell_bytes(state.place) >= state.kept_bytes + bytes;
        let is_free = self.free_buffers() > 0;
        let borrow = &mut self.borrows[state.borrow as usize];
        let has_place = borrow.lender != Lender::Thread || is_free || fits_own;
        borrow.purpose = if has_place { Purpose::Whole } else { Purpose::WholeLook };
        borrow.max_bytes = bytes;
    }

    /// Bytes that were looked at are being decoded.
    pub(crate) fn is_looked_at(&self, receiver: u32) -> bool {
        let borrow = self.known(receiver).and_then(|keeper| self.borrows.get(keeper.borrow as usize));
        borrow.is_some_and(Borrow::is_looked_at)
    }

    /// How many bytes of a receiver were decoded, are in the kernel still, and are to be received away now.
    pub(crate) fn owed_bytes(&self, receiver: u32) -> u32 {
        self.borrowed(receiver).map_or(0, |borrowed| borrowed.owed_bytes)
    }

    /// How many bytes of a receiver are content only because they were looked at.
    pub(crate) fn seen_bytes(&self, receiver: u32) -> u32 {
        let borrow = self.known(receiver).and_then(|keeper| self.borrows.get(keeper.borrow as usize));
        borrow.map_or(0, |borrow| borrow.seen_bytes)
    }

    /// Refuses a call that is about the content, or a receive, before the report on what was looked at.
    pub(super) fn check_not_looked_at(&self, receiver: u32) -> Result<(), ReceivingError> {
        if self.is_looked_at(receiver) { Err(ReceivingError::LookedAt) } else { Ok(()) }
    }

    /// What was looked at, and not consumed, is content no more. Returns how many bytes that was.
    pub(super) fn leave_in_kernel(&mut self, keeper: u32) -> u32 {
        let state = &mut self.keepers[keeper];
        let left_bytes = core::mem::take(&mut self.borrows[state.borrow as usize].seen_bytes);
        state.kept_bytes -= left_bytes;
        left_bytes
    }

    /// After the report on what was looked at; `left_bytes` of it are in the kernel, and were not consumed, and what
    /// the rest needs is counted from there.
    pub(super) fn review_look(&mut self, keeper: u32, left_bytes: u32, rest: Rest) -> After {
        let counts_now = self.counts_now(keeper);
        let state = &mut self.keepers[keeper];
        let borrow = &mut self.borrows[state.borrow as usize];
        let rest_bytes = match rest {
            Rest::Short { needed_bytes, .. } if state.kept_bytes + left_bytes > 0 => needed_bytes,
            _ => 0,
        };
        let has_room = state.kept_bytes < self.config.buffer_bytes;
        borrow.goes_on = rest_bytes > 0 && borrow.is_filled && has_room && borrow.receives < RECEIVES_MAX && counts_now;
        if borrow.goes_on && state.kept_bytes == 0 {
            state.looked_bytes = rest_bytes;
        }
        if state.kept_bytes + left_bytes == 0 {
            state.start_ns = None;
        }
        if borrow.owed_bytes > 0 {
            // Where they were looked at makes no difference.
            borrow.start = 0;
            return After::ReceiveAway { bytes: borrow.owed_bytes };
        }
        self.follow_look(keeper)
    }

    /// The host has received this number of bytes that are owed, and dropped them.
    ///
    /// # Errors
    ///
    /// No bytes are owed, or not as many; or the decoder has not reported.
    pub fn received_away(&mut self, receiver: u32, bytes: u32) -> Result<After, ReceivingError> {
        let keeper = self.borrower(receiver)?;
        let max_bytes = self.owed_bytes(receiver);
        if max_bytes == 0 {
            return Err(ReceivingError::NotReceiving);
        }
        if bytes == 0 || bytes > max_bytes {
            return Err(ReceivingError::WrongLength { bytes, max_bytes });
        }
        let borrow = &mut self.borrows[self.keepers[keeper].borrow as usize];
        borrow.owed_bytes -= bytes;
        if borrow.owed_bytes > 0 {
            return Ok(After::ReceiveAway { bytes: borrow.owed_bytes });
        }
        Ok(self.follow_look(keeper))
    }

    /// Nothing is owed: the receiver goes on, or its borrow ends.
    fn follow_look(&mut self, keeper: u32) -> After {
        let goes_on = self.borrows[self.keepers[keeper].borrow as usize].goes_on;
        if goes_on && self.counts_now(keeper) {
            return self.receive_whole_again(keeper);
        }
        let after = self.keep_leftovers(keeper);
        self.rest(keeper);
        after
    }

    /// The part of `check_invariants` about looks.
    pub(super) fn check_looks(&self) -> Result<(), &'static str> {
        let is_sound = |borrow: &Borrow| {
            let kept_bytes = self.keepers[borrow.keeper].kept_bytes;
            // What is kept is consumed before what was looked at.
            let is_behind = borrow.owed_bytes == 0 || kept_bytes == borrow.seen_bytes;
            let is_known = borrow.is_unreported || borrow.seen_bytes == 0;
            borrow.seen_bytes <= kept_bytes && is_behind && is_known && borrow.max_bytes == 0
        };
        let mut looks = self.borrows.iter().filter(|borrow| borrow.seen_bytes > 0 || borrow.owed_bytes > 0);
        if looks.all(|borrow| borrow.purpose == Purpose::WholeLook && is_sound(borrow)) {
            Ok(())
        } else {
            Err("I5: what was looked at is undecoded, in the kernel, or owed")
        }
    }
}
