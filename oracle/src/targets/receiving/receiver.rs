//! What is known of a receiver.

use demuxbuf::pool::ReceiverId;

pub(super) struct Receiver {
    pub(super) id: ReceiverId,
    pub(super) token: u64,
    /// What was received and not decoded.
    pub(super) undecoded: Vec<u8>,
    /// How many of them, the last ones, were only looked at.
    pub(super) seen: usize,
    /// What the system has written for a receive in flight.
    pub(super) in_flight: Option<Vec<u8>>,
    pub(super) is_closed: bool,
}

impl Receiver {
    /// Bytes from the front are decoded.
    pub(super) fn consume(&mut self, bytes: u32) {
        self.undecoded.drain(..bytes as usize);
        self.seen = self.seen.min(self.undecoded.len());
    }

    /// What was only looked at is in the kernel.
    pub(super) fn leave_seen(&mut self) {
        self.undecoded.truncate(self.undecoded.len() - std::mem::take(&mut self.seen));
    }

    /// All that is left is lost; how much that is.
    pub(super) fn lose(&mut self) -> u64 {
        self.leave_seen();
        std::mem::take(&mut self.undecoded).len() as u64
    }
}
