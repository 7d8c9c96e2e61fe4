//! What a step while memory is short looks at, and what it does where no rarer case can follow.

use super::Receiving;
use super::borrow::{Flight, Purpose};
use super::buffers::Buffers;
use super::keeper::Standing;

impl<B: Buffers> Receiving<B> {
    /// Whether a receiver borrows, may receive this many bytes, and is not asked to look, to receive a whole, or to
    /// submit.
    pub(crate) fn may_receive_plainly(&self, receiver: u32, bytes: u32) -> bool {
        let Some(borrow) = self.known(receiver).and_then(|state| self.borrows.get(state.borrow as usize)) else {
            return false;
        };
        let is_plain = matches!(borrow.purpose, Purpose::Receive | Purpose::Grant | Purpose::Trial);
        is_plain && borrow.flight == Flight::No && bytes <= borrow.max_bytes
    }

    /// Whether a receiver borrows, is to report on what is there, all of which is in its buffer, and waits for nothing.
    pub(crate) fn may_report_plainly(&self, receiver: u32) -> bool {
        let Some(state) = self.known(receiver) else { return false };
        let Some(borrow) = self.borrows.get(state.borrow as usize) else { return false };
        let is_plain = matches!(borrow.purpose, Purpose::Receive | Purpose::Grant | Purpose::Decode);
        let is_whole = borrow.seen_bytes | borrow.owed_bytes == 0 && !self.is_in_place(receiver);
        is_plain
            && is_whole
            && borrow.is_unreported
            && borrow.flight == Flight::No
            && state.standing == Standing::Resting
    }
}
