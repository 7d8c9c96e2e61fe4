//! What is known of a borrow.

use super::NIL;
use super::types::Borrowed;

/// A receiver's use of a buffer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Borrow {
    pub(super) keeper: u32,
    pub(super) buffer: u32,
    /// Where the undecoded bytes begin.
    pub(super) start: u32,
    pub(super) lender: Lender,
    pub(super) purpose: Purpose,
    /// The most that a receive may bring now; 0 if none may.
    pub(super) max_bytes: u32,
    /// Bytes that were there before the last receive.
    pub(super) before_bytes: u32,
    /// Bytes that the decoder consumed.
    pub(super) consumed_bytes: u32,
    /// The decoder has not reported on what is there.
    pub(super) is_unreported: bool,
    /// The last receive brought all that was allowed.
    pub(super) is_filled: bool,
    pub(super) receives: u8,
    /// Undecoded bytes, the last ones, that were only looked at: they are in the kernel.
    pub(super) seen_bytes: u32,
    /// Bytes that were decoded when they were looked at, and are in the kernel still.
    pub(super) owed_bytes: u32,
    /// Once they are received away, it receives whole again.
    pub(super) goes_on: bool,
    /// Of a look: the host answered that the frame, which does not fit, is to pass in pieces.
    pub(super) is_in_pieces: bool,
    pub(super) flight: Flight,
    /// It counts as one of the receives in flight, of which there is a most.
    pub(super) is_counted: bool,
}

/// The owner of a borrowed buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lender {
    /// The thread's: the receive buffer.
    Thread,
    /// A free buffer, for as long as the borrow lasts.
    Pool,
    /// The receiver's own.
    Receiver,
}

/// What a borrow is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// What `begin` allowed.
    Receive,
    Grant,
    Trial,
    /// To look at what is in the kernel.
    Look,
    /// To receive all that is allowed, or nothing.
    Whole,
    /// To look at all that is allowed, or nothing, and to decode it.
    WholeLook,
    /// To decode held content.
    Decode,
}

/// Whether the receive of a borrow is in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flight {
    No,
    /// It was submitted in this iteration.
    Since(u64),
    /// The host cancels it.
    TakenBack,
}

impl Borrow {
    /// Of a buffer that has these bytes, from `start` on.
    pub(super) fn new(buffer: u32, start: u32, lender: Lender, purpose: Purpose, bytes: u32) -> Borrow {
        Borrow {
            keeper: NIL,
            buffer,
            start,
            lender,
            purpose,
            max_bytes: 0,
            before_bytes: bytes,
            consumed_bytes: 0,
            is_unreported: purpose == Purpose::Decode,
            is_filled: false,
            receives: 0,
            seen_bytes: 0,
            owed_bytes: 0,
            goes_on: false,
            is_in_pieces: false,
            flight: Flight::No,
            is_counted: false,
        }
    }

    pub(super) fn describe(&self) -> Borrowed {
        let is_in_flight = self.flight != Flight::No;
        let is_look = matches!(self.purpose, Purpose::Look | Purpose::WholeLook);
        let is_whole = matches!(self.purpose, Purpose::Whole | Purpose::WholeLook);
        let Borrow { max_bytes, is_unreported, .. } = *self;
        let owed_bytes = if is_unreported { 0 } else { self.owed_bytes };
        Borrowed { max_bytes, is_unreported, is_in_flight, is_look, is_whole, owed_bytes }
    }

    /// Its host is to look at the header of a frame.
    pub(super) fn is_header_look(&self) -> bool {
        self.purpose == Purpose::Look && self.max_bytes > 0
    }

    /// Bytes that were looked at are being decoded.
    pub(super) fn is_looked_at(&self) -> bool {
        self.is_unreported && (self.seen_bytes > 0 || self.owed_bytes > 0)
    }

    /// Only the host can end it: it has bytes in the kernel to receive away.
    pub(super) fn owes(&self) -> bool {
        !self.is_unreported && self.owed_bytes > 0
    }

    /// How much the host may write: to receive, to look at, or to receive away.
    pub(super) fn area_bytes(&self) -> u32 {
        if self.owes() { self.owed_bytes } else { self.max_bytes }
    }

    /// All of it that the future depends on, for model checkers.
    #[cfg(feature = "model-check")]
    pub(super) fn state_key(&self, state: &mut alloc::vec::Vec<u64>) {
        let Borrow { start, max_bytes, before_bytes, consumed_bytes, .. } = *self;
        state.extend([start, max_bytes, before_bytes, consumed_bytes].map(u64::from));
        state.extend([self.lender as u64, self.purpose as u64, self.receives.into()]);
        state.extend([self.is_unreported, self.is_filled, self.is_counted].map(u64::from));
        state.extend([self.goes_on, self.is_in_pieces].map(u64::from));
        state.extend([self.seen_bytes, self.owed_bytes].map(u64::from));
    }
}
