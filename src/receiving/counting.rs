//! Receivers that count: while memory is short, a frame stays in the kernel until it is whole there. The host looks at
//! its header, receives all of it or nothing, and waits under a mark, at which the kernel wakes it.

use super::borrow::{Borrow, Purpose};
use super::buffers::Buffers;
use super::config::HEADER_BYTES;
use super::keeper::{Keeper, Queue, Standing, Transport};
use super::types::{After, Begin};
use super::{NIL, Receiving, ReceivingError};

impl<B: Buffers> Receiving<B> {
    /// The host knows how many bytes wait in the kernel, and can leave a partial frame there, or not any more. A
    /// receiver that waited under a mark does not then.
    ///
    /// # Errors
    ///
    /// There is no such receiver; it is to stop, but looks or receives a whole, or decodes what it looked at; it is of
    /// unknown length, or under a layer that reads ahead.
    pub fn set_counts(&mut self, receiver: u32, counts: bool) -> Result<(), ReceivingError> {
        let row = self.row(receiver)?;
        if counts && (row.unknown_length || row.transport.has(Transport::READS_AHEAD)) {
            return Err(ReceivingError::CannotCount);
        }
        if !counts {
            self.check_not_looked_at(receiver)?;
            if self.leaves_partial(receiver) {
                return Err(ReceivingError::Borrowing);
            }
        }
        self.rows[receiver as usize].transport.set(Transport::COUNTS, counts);
        if !counts && self.waits_under_mark(receiver) {
            self.cancel(receiver)?;
        }
        let keeper = self.rows[receiver as usize].keeper;
        if !counts && keeper != NIL {
            self.keepers[keeper].is_full = false;
            self.forget_if_idle(keeper);
        }
        Ok(())
    }

    /// Whether it leaves a partial frame in the kernel now.
    pub(super) fn counts_now(&self, keeper: u32) -> bool {
        let state = &self.keepers[keeper];
        let transport = self.rows[state.receiver as usize].transport;
        transport.has(Transport::COUNTS) && !transport.has(Transport::CLOSED) && !state.is_full
    }

    /// As `begin`, in shortage, of a receiver that counts now.
    pub(super) fn begin_counting(&mut self, keeper: u32) -> Begin {
        self.end_claim(keeper);
        let Keeper { kept_bytes, looked_bytes, .. } = self.keepers[keeper];
        // A second look at a header that was not whole costs no more than a receive.
        let is_known = kept_bytes > 0 || looked_bytes > HEADER_BYTES;
        let bytes = if is_known { self.whole_bytes(keeper) } else { HEADER_BYTES };
        self.borrow(keeper, Purpose::Look, bytes);
        self.keepers[keeper].looked_bytes = looked_bytes;
        if !is_known {
            return Begin::Look { max_bytes: bytes };
        }
        self.allow_whole(keeper, bytes);
        match self.borrows[self.keepers[keeper].borrow as usize].purpose {
            Purpose::WholeLook => Begin::WholeLook { bytes },
            _ => Begin::Whole { bytes },
        }
    }

    /// All that the decoder needs, at most what there is room for.
    pub(super) fn whole_bytes(&self, keeper: u32) -> u32 {
        self.rest_bytes(keeper).min(self.config.buffer_bytes - self.keepers[keeper].kept_bytes)
    }

    /// What the decoder needs, from the first byte in the kernel on, as far as it is known; at least 1.
    fn rest_bytes(&self, keeper: u32) -> u32 {
        let state = &self.keepers[keeper];
        if state.kept_bytes > 0 { state.needed_bytes.max(1) } else { state.looked_bytes.max(1) }
    }

    /// The look found the beginning of a frame, of which this number of bytes helps, from the first one in the kernel
    /// on. Returns how many bytes to receive, all or none of them; `None` if they fit into no buffer, and the borrow is
    /// over.
    ///
    /// # Errors
    ///
    /// The receiver does not look, or needs 0 bytes.
    pub fn looked(&mut self, receiver: u32, needed_bytes: u32) -> Result<Option<u32>, ReceivingError> {
        let keeper = self.borrower(receiver)?;
        let at = self.keepers[keeper].borrow as usize;
        if !self.borrows[at].is_header_look() {
            return Err(ReceivingError::NotLooking);
        }
        if needed_bytes == 0 {
            return Err(ReceivingError::WrongRest);
        }
        if needed_bytes > self.config.buffer_bytes {
            self.review(keeper, false);
            return Ok(None);
        }
        let state = &mut self.keepers[keeper];
        state.start_ns.get_or_insert(self.clock.now_ns());
        state.looked_bytes = needed_bytes;
        self.allow_whole(keeper, needed_bytes);
        Ok(Some(needed_bytes))
    }

    /// If the receiver looks now, it is at a frame that is to pass in pieces: its decoder knows that it does not fit.
    pub(crate) fn look_in_pieces(&mut self, receiver: u32) {
        if let Ok(keeper) = self.borrower(receiver) {
            let borrow = &mut self.borrows[self.keepers[keeper].borrow as usize];
            borrow.is_in_pieces = borrow.is_header_look();
        }
    }

    /// Whether it looks at such a frame.
    pub(crate) fn looks_in_pieces(&self, receiver: u32) -> bool {
        self.borrower(receiver).is_ok_and(|keeper| {
            let borrow = &self.borrows[self.keepers[keeper].borrow as usize];
            borrow.is_in_pieces && borrow.is_header_look()
        })
    }

    /// A frame is not whole in the kernel: its borrow is over, and the receiver waits under a mark.
    pub(super) fn wait_for_whole(&mut self, keeper: u32) -> After {
        let Keeper { start_ns, is_guess, looked_bytes, .. } = self.keepers[keeper];
        let after = self.keep_leftovers(keeper);
        if after == After::Ended {
            let now_ns = self.clock.now_ns();
            let state = &mut self.keepers[keeper];
            (state.start_ns, state.is_guess) = (start_ns.or(Some(now_ns)), is_guess);
            (state.looked_bytes, state.standing) = (looked_bytes, Standing::Marked);
        }
        self.rest(keeper);
        after
    }

    /// A receive of a whole is followed by one of what the decoder needs now, behind what it left.
    pub(super) fn receive_whole_again(&mut self, keeper: u32) -> After {
        let max_bytes = self.whole_bytes(keeper);
        let Keeper { kept_bytes, borrow: at, .. } = self.keepers[keeper];
        let Borrow { buffer, start, .. } = self.borrows[at as usize];
        self.move_bytes((buffer, start as usize), kept_bytes, (buffer, 0));
        self.borrows[at as usize].start = 0;
        self.allow_whole(keeper, max_bytes);
        After::Receive { max_bytes }
    }

    /// A receiver that waits under a mark has its place in the order of trials.
    pub(super) fn enqueue_mark(&mut self, keeper: u32) {
        let deadline_ns = self.deadline_ns(keeper);
        self.enqueue(Queue::Marks, keeper, deadline_ns);
    }

    /// It does not wait under a mark any more, if it did; the host may still have to change that.
    pub(super) fn end_mark(&mut self, keeper: u32) {
        if self.keepers[keeper].standing == Standing::Marked {
            self.dequeue(keeper);
            let state = &mut self.keepers[keeper];
            (state.standing, state.looked_bytes) = (Standing::Resting, 0);
        }
    }

    /// The kernel woke the host though the mark is not reached: it will hold no more of this frame. The borrow, if
    /// there is one, is over, and what follows is `begin`. `None` if there is nothing to look at, to receive whole or
    /// to wait for.
    ///
    /// # Errors
    ///
    /// There is no such receiver.
    pub fn kernel_full(&mut self, receiver: u32) -> Result<Option<After>, ReceivingError> {
        let keeper = self.row(receiver)?.keeper;
        if keeper == NIL || !self.counts_now(keeper) {
            return Ok(None);
        }
        if !self.leaves_partial(receiver) && !self.waits_under_mark(receiver) {
            return Ok(None);
        }
        let after = self.end_counting(receiver)?;
        self.totals.full_kernels += 1;
        // A look that ended may have left nothing but the row.
        let keeper = self.keeper(receiver);
        self.keepers[keeper].is_full = !self.keepers[keeper].is_shed();
        Ok(Some(after))
    }

    /// The peer will send no more, so that what is there may be less than a frame. What follows is `begin`.
    ///
    /// # Errors
    ///
    /// There is no such receiver.
    pub fn peer_closed(&mut self, receiver: u32) -> Result<After, ReceivingError> {
        self.row(receiver)?;
        let after = self.end_counting(receiver)?;
        self.rows[receiver as usize].transport.set(Transport::CLOSED, true);
        Ok(after)
    }

    /// A look, or a receive of a whole, ends as if it had brought nothing.
    fn end_counting(&mut self, receiver: u32) -> Result<After, ReceivingError> {
        if self.leaves_partial(receiver) { self.dry(receiver) } else { Ok(After::Ended) }
    }

    /// Whether it is to look, or to receive a whole.
    pub(super) fn leaves_partial(&self, receiver: u32) -> bool {
        self.borrowed(receiver).is_some_and(|borrowed| borrowed.leaves_partial())
    }

    /// Whether it waits until a frame is whole in the kernel.
    pub(crate) fn waits_under_mark(&self, receiver: u32) -> bool {
        self.known(receiver).is_some_and(|keeper| keeper.standing == Standing::Marked)
    }

    /// How many bytes it waits for under a mark; 0 if it does not.
    pub(crate) fn awaited_bytes(&self, receiver: u32) -> u32 {
        if self.waits_under_mark(receiver) { self.rest_bytes(self.rows[receiver as usize].keeper) } else { 0 }
    }

    /// The mark that the host is to set: the number of bytes at which the kernel wakes it.
    ///
    /// # Errors
    ///
    /// There is no such receiver.
    pub fn wanted_mark(&self, receiver: u32) -> Result<u32, ReceivingError> {
        self.row(receiver)?;
        Ok(self.awaited_bytes(receiver).max(1))
    }

    /// The mark that the host has set, as far as it is known; 0 if it has no effect any more.
    ///
    /// # Errors
    ///
    /// There is no such receiver.
    pub fn mark_in_force(&self, receiver: u32) -> Result<u32, ReceivingError> {
        self.row(receiver)?;
        Ok(self.known(receiver).map_or(1, |keeper| keeper.mark_bytes))
    }

    /// Whether the host is to set another mark.
    #[inline]
    pub(crate) fn is_mark_wrong(&self, receiver: u32) -> bool {
        self.known(receiver).is_some_and(|keeper| keeper.mark_bytes != self.awaited_bytes(receiver).max(1))
    }

    /// The host has set the mark that is wanted.
    ///
    /// # Errors
    ///
    /// There is no such receiver.
    pub fn set_mark(&mut self, receiver: u32) -> Result<(), ReceivingError> {
        let mark_bytes = self.wanted_mark(receiver)?;
        self.put_mark(receiver, mark_bytes);
        Ok(())
    }

    /// The mark has no effect any more until it is set again, if it is above 1.
    ///
    /// # Errors
    ///
    /// There is no such receiver.
    pub fn expire_mark(&mut self, receiver: u32) -> Result<(), ReceivingError> {
        if self.mark_in_force(receiver)? > 1 {
            self.put_mark(receiver, 0);
        }
        Ok(())
    }

    fn put_mark(&mut self, receiver: u32, mark_bytes: u32) {
        let keeper = self.rows[receiver as usize].keeper;
        if keeper != NIL {
            self.keepers[keeper].mark_bytes = mark_bytes;
            self.forget_if_idle(keeper);
        }
    }
}
