//! The arena: all buffers of a pool in one piece of memory.
//!
//! Buffers of several sizes share a budget of bytes, not addresses: each size has a region as large as the whole budget,
//! of which only the pages that were used are there. So that no more than the budget is there at any time, buffers that
//! are free give their pages back when others are touched for the first time and the budget would be passed
//! ([`Arena::touch`]). With one size this never happens. Buffers smaller than a page keep theirs.
#![allow(unsafe_code)]

use super::{BUFFER_BYTES_MAX, BUFFER_BYTES_MIN, BUFFER_SIZES_MAX, MemoryError};
use alloc::alloc::{alloc_zeroed, dealloc};
use alloc::vec::Vec;
use core::alloc::Layout;
use core::fmt;
use core::ops::Range;
use core::ptr::NonNull;

/// What page alignment means here. Larger pages of the machine only make handing back coarser.
const PAGE_BYTES: usize = 4096;

/// All buffers of a pool, in one page-aligned piece of memory.
pub struct Arena {
    /// Start of the first buffer: the first page boundary in the allocation.
    base: NonNull<u8>,
    allocation: NonNull<u8>,
    layout: Layout,
    regions: [Region; BUFFER_SIZES_MAX],
    /// Bytes that all buffers out may have together.
    budget: usize,
    /// One bit for each buffer: its pages may be there. Empty with one size, where they can never be too many.
    touched: Vec<u64>,
    touched_bytes: usize,
}

/// The buffers of one size.
#[derive(Clone, Copy, Debug, Default)]
struct Region {
    first: u32,
    count: u32,
    /// Size of each, in bytes.
    bytes: u32,
    /// Where the first one starts, from `base`.
    offset: usize,
}

// SAFETY: the arena owns its memory alone, and shares it through `&self` and `&mut self` only.
unsafe impl Send for Arena {}
// SAFETY: through `&self` the memory is only read.
unsafe impl Sync for Arena {}

impl Arena {
    /// Reserves the budget of `buffers` buffers of the first size, for buffers of all these sizes. No page is touched yet.
    ///
    /// # Errors
    ///
    /// A size is not allowed, what is needed cannot be counted, or the allocator has no such memory.
    pub fn new(buffers: u32, sizes: &[u32; BUFFER_SIZES_MAX]) -> Result<Arena, MemoryError> {
        if buffers == 0 {
            return Err(MemoryError::NoBuffers);
        }
        for (at, &value) in sizes.iter().enumerate().filter(|&(at, &bytes)| at == 0 || bytes > 0) {
            if !(BUFFER_BYTES_MIN..=BUFFER_BYTES_MAX).contains(&value) || value % 64 != 0 {
                return Err(MemoryError::BufferBytes { index: at, value });
            }
        }
        let too_large = MemoryError::TooLarge { field: "buffers", count: buffers };
        let budget = (buffers as usize).checked_mul(sizes[0] as usize).ok_or(too_large)?;
        let (regions, bytes) = lay_out(budget, sizes).ok_or(too_large)?;
        let padded = bytes.checked_add(PAGE_BYTES).ok_or(too_large)?;
        // Aligned by hand inside a little more: allocators zero large pieces for free only at small alignments, with an
        // aligned request each page would be written, and so touched, at start.
        let layout = Layout::from_size_align(padded, 16).map_err(|_| too_large)?;
        let mut touched = Vec::new();
        if sizes[1..].iter().any(|&bytes| bytes > 0) {
            let words = regions.iter().map(|region| region.count as usize).sum::<usize>().div_ceil(64);
            let failed = MemoryError::AllocationFailed { field: "buffers", bytes: words * 8 };
            touched.try_reserve_exact(words).map_err(|_| failed)?;
            touched.resize(words, 0);
        }
        // SAFETY: the size is not zero.
        let allocation = NonNull::new(unsafe { alloc_zeroed(layout) })
            .ok_or(MemoryError::AllocationFailed { field: "buffers", bytes: padded })?;
        // SAFETY: `align_offset` is below one page, which was added to the size.
        let base = unsafe { allocation.add(allocation.as_ptr().align_offset(PAGE_BYTES)) };
        Ok(Arena { base, allocation, layout, regions, budget, touched, touched_bytes: 0 })
    }

    /// Size of the buffers of one kind, in bytes; 0 if there are none.
    pub fn buffer_bytes(&self, size: u8) -> u32 {
        self.regions.get(usize::from(size)).map_or(0, |region| region.bytes)
    }

    /// Size of one buffer, in bytes.
    ///
    /// # Panics
    ///
    /// There is no such buffer: a bug of the caller.
    pub fn bytes_of(&self, index: u32) -> u32 {
        self.region_of(index).bytes
    }

    /// The budget: bytes of all buffers that may be out together.
    pub fn bytes(&self) -> usize {
        self.budget
    }

    /// The memory of one buffer. What nobody has written yet is zero.
    ///
    /// # Panics
    ///
    /// There is no such buffer: a bug of the caller.
    pub fn buffer(&self, index: u32) -> &[u8] {
        let (at, bytes) = self.at(index);
        // SAFETY: `at` checks that the buffer lies inside the allocation, which is initialised and lives as long as
        // `self`; it is not written while `self` is shared.
        unsafe { core::slice::from_raw_parts(at.as_ptr(), bytes) }
    }

    /// As [`buffer`](Arena::buffer), for writing.
    ///
    /// # Panics
    ///
    /// There is no such buffer: a bug of the caller.
    pub fn buffer_mut(&mut self, index: u32) -> &mut [u8] {
        let (at, bytes) = self.at(index);
        // SAFETY: as in `buffer`; `self` is not shared. The slice covers this buffer only, so that pointers which C
        // holds into other buffers stay valid.
        unsafe { core::slice::from_raw_parts_mut(at.as_ptr(), bytes) }
    }

    /// Copies part of one buffer to the front of another.
    ///
    /// # Panics
    ///
    /// It is the same buffer, or the range does not lie inside both: a bug of the caller.
    pub fn copy(&mut self, from: u32, range: Range<usize>, to: u32) {
        assert_ne!(from, to, "a content is moved to another buffer");
        let from = self.buffer(from)[range.clone()].as_ptr();
        let (to, room) = self.at(to);
        assert!(range.len() <= room, "the content fits into the larger buffer");
        // SAFETY: both ranges were checked to lie inside buffers of ours, and these do not overlap.
        unsafe { core::ptr::copy_nonoverlapping(from, to.as_ptr(), range.len()) };
    }

    /// A buffer is about to be written. If it was not before, and all that were would be more than the budget, the free
    /// buffers that `free` names for each size, those used last first, give their pages back.
    ///
    /// Cost: nothing with one size. Else O(1), and one system call for each buffer that gives back; it was touched first.
    pub fn touch<F: Iterator<Item = u32>>(&mut self, index: u32, free: impl Fn(u8) -> F) {
        if self.touched.is_empty() || self.is_touched(index) {
            return;
        }
        self.touched[index as usize / 64] |= 1 << (index % 64);
        self.touched_bytes += self.bytes_of(index) as usize;
        for size in 0..BUFFER_SIZES_MAX {
            if self.touched_bytes <= self.budget {
                return;
            }
            if self.regions[size].bytes as usize >= PAGE_BYTES {
                // Below the first that is not touched none is: the lists are stacks, and this empties them.
                free(size as u8).take_while(|&index| self.give_back_touched(index)).for_each(drop);
            }
        }
    }

    /// Gives the whole pages inside these buffers back to the operating system and returns how many bytes; they read as
    /// zero afterwards (madvise(2), `MADV_DONTNEED`). Buffers smaller than a page keep theirs. On other systems than
    /// Linux nothing is given back. Cost: one system call for each buffer.
    pub fn give_back_pages(&mut self, free: impl Iterator<Item = u32>) -> usize {
        free.map(|index| {
            self.forget_touched(index);
            self.give_back(index)
        })
        .sum()
    }

    /// Bytes of the buffers whose pages may be there; 0 with one size, where nothing is counted.
    pub fn touched_bytes(&self) -> usize {
        self.touched_bytes
    }

    fn is_touched(&self, index: u32) -> bool {
        self.touched.get(index as usize / 64).is_some_and(|word| word >> (index % 64) & 1 == 1)
    }

    fn forget_touched(&mut self, index: u32) -> bool {
        let was = self.is_touched(index);
        if was && self.bytes_of(index) as usize >= PAGE_BYTES {
            self.touched[index as usize / 64] &= !(1 << (index % 64));
            self.touched_bytes -= self.bytes_of(index) as usize;
        }
        was
    }

    fn give_back_touched(&mut self, index: u32) -> bool {
        let was = self.forget_touched(index);
        if was {
            self.give_back(index);
        }
        was
    }

    #[cfg(all(target_os = "linux", feature = "std", not(miri)))]
    fn give_back(&mut self, index: u32) -> usize {
        let (at, bytes) = self.at(index);
        let start = at.as_ptr();
        let skip = start.align_offset(PAGE_BYTES);
        let whole = bytes.saturating_sub(skip) / PAGE_BYTES * PAGE_BYTES;
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

    fn region_of(&self, index: u32) -> &Region {
        let inside = |region: &&Region| index.wrapping_sub(region.first) < region.count;
        self.regions.iter().find(inside).expect("a buffer index comes from the pool of the same sizes")
    }

    fn at(&self, index: u32) -> (NonNull<u8>, usize) {
        let region = self.region_of(index);
        let bytes = region.bytes as usize;
        // SAFETY: below the number of buffers of its region, so inside the allocation.
        let at = unsafe { self.base.add(region.offset + (index - region.first) as usize * bytes) };
        (at, bytes)
    }
}

/// A region for each size, page after page; with the bytes of all. `None` if they cannot be counted.
fn lay_out(budget: usize, sizes: &[u32; BUFFER_SIZES_MAX]) -> Option<([Region; BUFFER_SIZES_MAX], usize)> {
    let (mut first, mut offset) = (0u32, 0usize);
    let mut regions = [Region::default(); BUFFER_SIZES_MAX];
    for (region, &bytes) in regions.iter_mut().zip(sizes).filter(|(_, bytes)| **bytes > 0) {
        let count = u32::try_from(budget / bytes as usize).ok()?;
        *region = Region { first, count, bytes, offset };
        first = first.checked_add(count)?;
        offset = offset.checked_add(budget)?.checked_next_multiple_of(PAGE_BYTES)?;
    }
    Some((regions, offset))
}
impl Drop for Arena {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout.
        unsafe { dealloc(self.allocation.as_ptr(), self.layout) };
    }
}

impl fmt::Debug for Arena {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arena").field("bytes", &self.budget).field("regions", &self.regions).finish()
    }
}

#[cfg(all(target_os = "linux", feature = "std", not(miri)))]
const MADV_DONTNEED: core::ffi::c_int = 4;

#[cfg(all(target_os = "linux", feature = "std", not(miri)))]
unsafe extern "C" {
    fn madvise(address: *mut core::ffi::c_void, length: usize, advice: core::ffi::c_int) -> core::ffi::c_int;
}
