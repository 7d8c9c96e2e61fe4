//! Which memory the host may use, for memory checkers: with the feature `poison`, and else nothing. And the end
//! of what is held when a pool is dropped.
//!
//! A step lends what it returns until the next step of that receiver. `poll_notice` ends that for all receivers but those
//! with a decoder that may be running, and those with a receive in flight.

use super::table::Place;
use super::{BufferSource, Pool};
use crate::connection::Action;
use crate::memory::poison;
use core::ops::Range;

impl<S: BufferSource> Pool<S> {
    /// A step of this receiver returns the room to receive into, or else what is buffered. A receive in flight keeps its
    /// room.
    #[inline(always)]
    pub(super) fn lend_step(&self, index: u32, is_receive: bool) {
        if !poison::IS_ON {
            return;
        }
        let connection = self.table.connection(index);
        let start = self.table.start(index);
        let end = start + connection.buffered_bytes();
        let part = match (is_receive, connection.is_in_flight()) {
            (true, _) => end..connection.capacity(),
            (false, true) => start..connection.capacity(),
            (false, false) => start..end,
        };
        self.lend_part(index, part);
    }

    /// The whole buffer is the host's.
    #[inline(always)]
    pub(super) fn lend_buffer(&self, buffer: u32) {
        if poison::IS_ON {
            self.memory.arena().lend(buffer, 0..self.memory.arena().bytes_of(buffer));
        }
    }

    /// `poll_notice` may move what any receiver has buffered.
    #[inline(always)]
    pub(super) fn take_back_contents(&self) {
        if !poison::IS_ON {
            return;
        }
        for index in self.table.iter() {
            let connection = self.table.connection(index);
            if !connection.is_in_flight() && !connection.pending().has(Action::Decode) {
                self.lend_part(index, 0..0);
            }
        }
    }

    fn lend_part(&self, index: u32, part: Range<u32>) {
        match self.table.place(index) {
            Place::Nowhere => {}
            Place::Slot(slot) => self.memory.slots().lend(slot, part),
            Place::Buffer(buffer) => self.memory.arena().lend(buffer, part),
        }
    }
}

/// Of a shared pool, the buffers of this thread's receivers are granted to others next.
impl<S> Drop for Pool<S> {
    fn drop(&mut self) {
        if !poison::IS_ON && !self.memory.wipes() {
            return;
        }
        for index in 0..self.table.rows() {
            if let Place::Buffer(buffer) = self.table.place(index) {
                self.memory.retire_buffer(buffer);
            }
        }
    }
}
