//! Receives whose bytes are in the host's memory already: what is kept is completed with them, and the rest is decoded
//! where it is.

use super::borrow::Purpose;
use super::buffers::Buffers;
use super::{NIL, Receiving, ReceivingError};

/// What became of bytes that were delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivered {
    /// This number of bytes was copied behind those that are kept.
    Copied {
        /// At least 1.
        bytes: u32,
    },
    /// This number of bytes was received, and stays where it is until it is reported on.
    InPlace {
        /// At least 1.
        bytes: u32,
    },
}

impl Delivered {
    /// How many bytes are the receiver's.
    pub fn bytes(self) -> u32 {
        let (Delivered::Copied { bytes } | Delivered::InPlace { bytes }) = self;
        bytes
    }
}

impl<B: Buffers> Receiving<B> {
    /// The receive that was allowed has brought these bytes, or more than may be received: those at the front.
    ///
    /// # Errors
    ///
    /// The receiver may not receive, or its receive is in flight; another has bytes in place; there are no bytes.
    pub fn deliver(&mut self, receiver: u32, bytes: &[u8]) -> Result<Delivered, ReceivingError> {
        let keeper = self.borrower(receiver)?;
        if self.in_place != NIL {
            return Err(ReceivingError::InPlace);
        }
        if self.is_in_flight(keeper) {
            return Err(ReceivingError::InFlight);
        }
        let state = &self.keepers[keeper];
        let borrow = self.borrows[state.borrow as usize];
        if borrow.max_bytes == 0 {
            return Err(ReceivingError::NotReceiving);
        }
        let there = u32::try_from(bytes.len()).unwrap_or(u32::MAX).min(borrow.max_bytes);
        if state.kept_bytes == 0 {
            self.received(receiver, there)?;
            self.in_place = receiver;
            return Ok(Delivered::InPlace { bytes: there });
        }
        // In a trial, more may follow only if the receive brought all that was asked for.
        let takes_all = borrow.purpose == Purpose::Trial || self.rows[receiver as usize].unknown_length;
        let taken = if takes_all { there } else { there.min(state.needed_bytes.max(1)) };
        let start = borrow.start + state.kept_bytes;
        self.received(receiver, taken)?;
        self.fill(borrow.buffer, start, &bytes[..taken as usize]);
        Ok(Delivered::Copied { bytes: taken })
    }

    /// Copies what is left in place, which is all of this, to the buffer that the receiver borrows.
    ///
    /// # Errors
    ///
    /// The receiver has nothing in place, or another number of bytes.
    pub fn place(&mut self, receiver: u32, rest: &[u8]) -> Result<(), ReceivingError> {
        if !self.is_in_place(receiver) {
            return Err(ReceivingError::NothingToDecode);
        }
        let keeper = self.borrower(receiver)?;
        let state = &self.keepers[keeper];
        if rest.len() != state.kept_bytes as usize {
            let bytes = u32::try_from(rest.len()).unwrap_or(u32::MAX);
            return Err(ReceivingError::WrongLength { bytes, max_bytes: state.kept_bytes });
        }
        let borrow = self.borrows[state.borrow as usize];
        self.fill(borrow.buffer, borrow.start, rest);
        self.in_place = NIL;
        Ok(())
    }

    /// Nothing is in place without bytes, however long the borrow goes on.
    pub(super) fn end_in_place_if_empty(&mut self, keeper: u32) {
        let state = &self.keepers[keeper];
        if state.kept_bytes == 0 && self.is_in_place(state.receiver) {
            self.in_place = NIL;
        }
    }

    fn fill(&mut self, buffer: u32, start: u32, bytes: &[u8]) {
        self.totals.copied_bytes += bytes.len() as u64;
        self.arena.buffer_mut(buffer)[start as usize..][..bytes.len()].copy_from_slice(bytes);
        self.take_back(buffer);
    }

    /// Whether what the receiver has is in the host's memory.
    #[inline(always)]
    pub(crate) fn is_in_place(&self, receiver: u32) -> bool {
        self.in_place == receiver
    }

    /// Whether any receiver has bytes in the host's memory.
    pub(crate) fn has_in_place(&self) -> bool {
        self.in_place != NIL
    }

    /// The part of `check_invariants` about bytes in place.
    pub(super) fn check_in_place(&self) -> Result<(), &'static str> {
        let borrow = self.known(self.in_place).and_then(|keeper| self.borrows.get(keeper.borrow as usize));
        let is_decoding = borrow.is_some_and(|borrow| {
            borrow.max_bytes == 0 && borrow.receives > 0 && self.keepers[borrow.keeper].kept_bytes > 0
        });
        match self.has_in_place() && !is_decoding {
            true => Err("I2: what has bytes in place borrows, has received them, and has some left"),
            false => Ok(()),
        }
    }
}
