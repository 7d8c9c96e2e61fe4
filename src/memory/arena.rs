//! The arena: all buffers of a pool in one piece of memory.
#![allow(unsafe_code)]

use super::{BUFFER_BYTES_MAX, BUFFER_BYTES_MIN, MemoryError};
use alloc::alloc::{alloc_zeroed, dealloc};
use core::alloc::Layout;
use core::fmt;
use core::ptr::NonNull;

/// What page alignment means here. Larger pages of the machine only make handing back coarser.
const PAGE_BYTES: usize = 4096;

/// All buffers of a pool, in one page-aligned piece of memory.
pub struct Arena {
    /// Start of the first buffer: the first page boundary in the allocation.
    base: NonNull<u8>,
    allocation: NonNull<u8>,
    layout: Layout,
    buffers: u32,
    buffer_bytes: u32,
}

// SAFETY: the arena owns its memory alone, and shares it through `&self` and `&mut self` only.
unsafe impl Send for Arena {}
// SAFETY: through `&self` the memory is only read.
unsafe impl Sync for Arena {}

impl Arena {
    /// Reserves `buffers` buffers of `buffer_bytes` bytes each. No page is touched yet.
    ///
    /// # Errors
    ///
    /// A size is not allowed, their product overflows, or the allocator has no such memory.
    pub fn new(buffers: u32, buffer_bytes: u32) -> Result<Arena, MemoryError> {
        if buffers == 0 {
            return Err(MemoryError::NoBuffers);
        }
        if !(BUFFER_BYTES_MIN..=BUFFER_BYTES_MAX).contains(&buffer_bytes) || buffer_bytes % 64 != 0 {
            return Err(MemoryError::BufferBytes { value: buffer_bytes });
        }
        let too_large = MemoryError::TooLarge { field: "buffers", count: buffers };
        let bytes = (buffers as usize).checked_mul(buffer_bytes as usize).ok_or(too_large)?;
        let padded = bytes.checked_add(PAGE_BYTES).ok_or(too_large)?;
        // Aligned by hand inside a little more: allocators zero large pieces for free only at small alignments, with an
        // aligned request each page would be written, and so touched, at start.
        let layout = Layout::from_size_align(padded, 16).map_err(|_| too_large)?;
        // SAFETY: the size is not zero.
        let allocation = NonNull::new(unsafe { alloc_zeroed(layout) })
            .ok_or(MemoryError::AllocationFailed { field: "buffers", bytes: padded })?;
        // SAFETY: `align_offset` is below one page, which was added to the size.
        let base = unsafe { allocation.add(allocation.as_ptr().align_offset(PAGE_BYTES)) };
        Ok(Arena { base, allocation, layout, buffers, buffer_bytes })
    }

    /// Number of buffers.
    pub fn buffers(&self) -> u32 {
        self.buffers
    }

    /// Size of each buffer, in bytes.
    pub fn buffer_bytes(&self) -> u32 {
        self.buffer_bytes
    }

    /// Bytes of all buffers together.
    pub fn bytes(&self) -> usize {
        self.buffers as usize * self.buffer_bytes as usize
    }

    /// The memory of one buffer. What nobody has written yet is zero.
    ///
    /// # Panics
    ///
    /// There is no such buffer: a bug of the caller.
    pub fn buffer(&self, index: u32) -> &[u8] {
        // SAFETY: `at` checks that the buffer lies inside the allocation, which is initialised and lives as long as
        // `self`; it is not written while `self` is shared.
        unsafe { core::slice::from_raw_parts(self.at(index).as_ptr(), self.buffer_bytes as usize) }
    }

    /// As [`buffer`](Arena::buffer), for writing.
    ///
    /// # Panics
    ///
    /// There is no such buffer: a bug of the caller.
    pub fn buffer_mut(&mut self, index: u32) -> &mut [u8] {
        // SAFETY: as in `buffer`; `self` is not shared. The slice covers this buffer only, so that pointers which C
        // holds into other buffers stay valid.
        unsafe { core::slice::from_raw_parts_mut(self.at(index).as_ptr(), self.buffer_bytes as usize) }
    }

    /// Gives the whole pages inside these buffers back to the operating system and returns how many bytes; they read as
    /// zero afterwards (madvise(2), `MADV_DONTNEED`). Buffers smaller than a page keep theirs. On other systems than
    /// Linux nothing is given back. Cost: one system call for each buffer.
    pub fn give_back_pages(&mut self, free: impl Iterator<Item = u32>) -> usize {
        free.map(|index| self.give_back(index)).sum()
    }

    #[cfg(all(target_os = "linux", feature = "std", not(miri)))]
    fn give_back(&mut self, index: u32) -> usize {
        let start = self.at(index).as_ptr();
        let skip = start.align_offset(PAGE_BYTES);
        let whole = (self.buffer_bytes as usize).saturating_sub(skip) / PAGE_BYTES * PAGE_BYTES;
        if whole == 0 {
            return 0;
        }
        // SAFETY: whole pages inside one buffer of ours, exclusively borrowed; private memory of the allocator, which
        // reads as zero afterwards.
        let refused = unsafe { madvise(start.add(skip).cast(), whole, MADV_DONTNEED) };
        if refused == 0 { whole } else { 0 }
    }

    #[cfg(not(all(target_os = "linux", feature = "std", not(miri))))]
    fn give_back(&mut self, _index: u32) -> usize {
        0
    }

    fn at(&self, index: u32) -> NonNull<u8> {
        assert!(index < self.buffers, "a buffer index comes from the pool of the same size");
        // SAFETY: below the number of buffers, so inside the allocation.
        unsafe { self.base.add(index as usize * self.buffer_bytes as usize) }
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout.
        unsafe { dealloc(self.allocation.as_ptr(), self.layout) };
    }
}

impl fmt::Debug for Arena {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arena").field("buffers", &self.buffers).field("buffer_bytes", &self.buffer_bytes).finish()
    }
}

#[cfg(all(target_os = "linux", feature = "std", not(miri)))]
const MADV_DONTNEED: core::ffi::c_int = 4;

#[cfg(all(target_os = "linux", feature = "std", not(miri)))]
unsafe extern "C" {
    fn madvise(address: *mut core::ffi::c_void, length: usize, advice: core::ffi::c_int) -> core::ffi::c_int;
}
