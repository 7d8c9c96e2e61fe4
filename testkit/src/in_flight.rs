//! The memory of a receive that was submitted.

use crate::frames::numbered;
use std::ops::Range;
use std::ptr::NonNull;

/// The numbered stream that the system leaves in the memory of a receive before its bytes arrive.
const SCRIBBLE: u64 = 41;

/// A receive in flight: its memory belongs to the system from submission to outcome.
#[derive(Debug)]
pub(crate) struct InFlight {
    memory: NonNull<[u8]>,
    pub(crate) is_cancelled: bool,
}

// SAFETY: it is the only user of its memory, as `new` demands, on whatever thread it is.
unsafe impl Send for InFlight {}

impl InFlight {
    /// Submits a receive into this memory. The system writes something into it at once, so that any other use of the
    /// memory shows.
    ///
    /// # Safety
    ///
    /// Whenever a method of this is called, the memory is allocated, and nothing borrows it.
    pub(crate) unsafe fn new(area: &mut [u8]) -> InFlight {
        area.copy_from_slice(&scribble(area.len()));
        InFlight { memory: NonNull::from(area), is_cancelled: false }
    }

    /// Addresses of the memory.
    ///
    /// # Panics
    ///
    /// Something else wrote to it.
    pub(crate) fn addresses(&self) -> Range<usize> {
        // SAFETY: as `new` demands.
        let memory = unsafe { self.memory.as_ref() };
        assert!(memory == scribble(memory.len()), "memory in flight belongs to the system");
        let addresses = memory.as_ptr_range();
        addresses.start.addr()..addresses.end.addr()
    }

    pub(crate) fn room(&self) -> usize {
        self.memory.len()
    }

    /// The outcome: these bytes are written, and the memory belongs to the host again.
    ///
    /// # Panics
    ///
    /// Something else wrote to the memory.
    pub(crate) fn complete(mut self, bytes: &[u8]) {
        self.addresses();
        // SAFETY: as `new` demands.
        let memory = unsafe { self.memory.as_mut() };
        memory[..bytes.len()].copy_from_slice(bytes);
    }
}

fn scribble(bytes: usize) -> Vec<u8> {
    numbered(SCRIBBLE, 0..bytes as u64)
}
