//! Receivers that leave for another thread, or come from one, by a step: at rest, or with bytes that are to be decoded
//! in a buffer that goes with them.

use super::kept_cycle::KeptCycle;
use super::open_cycle::Phase;
use super::{BufferSource, Pool, ReceiverId};
use crate::connection::Connection;
use crate::receiving::Content;

impl<S: BufferSource> Pool<S> {
    /// Whether a receiver borrows, keeps and waits for nothing, and has nothing to receive.
    #[inline(always)]
    pub(crate) fn is_at_rest(&self, index: u32) -> bool {
        let holds_nothing = !self.has_any_cycle() && self.memory.is_idle(index);
        holds_nothing && self.table.connection(index).pending_if_idle().is_some()
    }

    /// The bytes that a receiver has received in the common cycle that is open, and is to decode; 0 for another.
    #[inline(always)]
    pub(crate) fn undecoded_bytes(&self, id: ReceiverId) -> u32 {
        if self.cycle.is_open_of(id) && self.memory.is_common() { self.cycle.buffered_bytes() } else { 0 }
    }

    /// That receiver leaves with the receive buffer, so that its cycle is over. Returns its machine, and the buffer.
    /// `None`, and nothing is changed but that buffers may be ready, if none is free that could take the place of it.
    #[inline(always)]
    pub(crate) fn leave_with_receive_buffer(&mut self, index: u32) -> Option<(Connection, u32)> {
        let buffer = self.memory.take_receive_buffer()?;
        let bytes = u64::from(self.cycle.buffered_bytes());
        self.counts.received_bytes += bytes;
        self.counts.taken_bytes += bytes;
        let connection = self.cycle.view(self.table.connection(index));
        self.look_again();
        Some((connection, buffer))
    }

    /// Whether a receiver may come that is to decode what is in its buffer.
    #[inline(always)]
    pub(crate) fn may_come_to_decode(&self) -> bool {
        !self.has_any_cycle() && self.memory.is_common()
    }

    /// The receiver in this row has come with content, and is to decode it.
    #[inline(always)]
    pub(crate) fn come_to_decode(&mut self, index: u32, content: Content) {
        let is_scarce = self.cycle.progress.phase != Phase::Ready;
        let at = self.memory.adopt_unlisted(index, content);
        let cycle = KeptCycle::to_decode(index, content.bytes, at);
        self.open_kept_cycle(KeptCycle { is_whole: true, is_scarce, ..cycle });
        self.counts.received_bytes += u64::from(content.bytes);
    }
}
