//! Receives of a connection that submits them, and keeps nothing: what the tables come to for each event of its cycle.
//! The tests of `fast_path.rs` compare the two.

use super::{Connection, CyclePlan, Mode, flag};

/// The mode in which receives are submitted.
const SUBMITS: u32 = (Mode::Completion as u32) << flag::MODE_SHIFT;

impl Connection {
    /// The receive of its open cycle is in flight.
    #[inline(always)]
    pub(crate) fn submit_in_cycle(&mut self, capacity: u32, reads: u8) {
        (self.capacity, self.reads) = (capacity, reads);
        self.set(flag::BUFFER | flag::READY | flag::IN_FLIGHT);
    }

    /// Whether it is in none of the rare states, has a buffer with this number of bytes, and is to receive again.
    #[inline(always)]
    fn is_receiving(&self, buffered_bytes: u32, flight: u32) -> bool {
        let any = flag::PAUSE_WHEN_BLOCKED | flag::READS_AHEAD | flag::OWN_READS | flag::TAKEN_BACK & flight;
        let expected = flag::ATTACHED | flag::BUFFER | flag::READY | flag::IN_FLIGHT & flight | SUBMITS;
        self.flags & !any == expected && self.blocked | self.needed_bytes == 0 && self.buffered_bytes == buffered_bytes
    }

    /// Whether its receive is in flight, and brought this number of bytes and leaves room: they are all there is to
    /// decode then.
    #[inline(always)]
    pub(crate) fn may_land(&self, bytes: u32) -> bool {
        self.is_receiving(0, flag::FLIGHT) && bytes.wrapping_sub(1) < self.capacity.saturating_sub(1)
    }

    /// As `may_land`, and so it is.
    #[inline(always)]
    pub(crate) fn land(&mut self, bytes: u32) {
        self.clear(flag::FLIGHT);
        self.buffered_bytes = bytes;
        self.reads = self.reads.saturating_add(1);
    }

    /// Whether its receive was in flight, and these bytes are all there is to decode.
    #[inline(always)]
    pub(crate) fn has_landed(&self, bytes: u32) -> bool {
        bytes > 0 && self.is_receiving(bytes, 0)
    }

    /// As `has_landed`, and all is decoded: it asks for another buffer.
    #[inline(always)]
    pub(crate) fn release_landed(&mut self) {
        (self.capacity, self.buffered_bytes) = (0, 0);
        self.clear(flag::BUFFER);
    }

    /// After `release_landed` its next receive is that of a cycle, with that number of receives before it. `None`, and
    /// nothing is changed, if none may begin.
    #[inline(always)]
    pub(crate) fn try_go_on_in_cycle(&mut self, plan: &mut CyclePlan) -> Option<u8> {
        if !self.is_within_budget() {
            return None;
        }
        let before = self.clone();
        self.flags = self.flags & !flag::READY | flag::ARMED;
        if self.try_begin_cycle(plan, || true) {
            return Some(before.reads);
        }
        *self = before;
        None
    }
}
