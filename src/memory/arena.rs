//! The arena: all buffers of a pool in one piece of memory.
//!
//! Buffers of several sizes share a budget of bytes, not addresses: each size has a region as large as the whole budget,
//! of which only the pages that were used are there. So that no more than the budget is there at any time, buffers that
//! are free give their pages back when others are touched for the first time and the budget would be passed
//! ([`Arena::touch`]). With one size this never happens. Buffers smaller than a page keep theirs.

use super::block::Block;
use super::pages::PAGE_BYTES;
use super::{BUFFER_BYTES_MAX, BUFFER_BYTES_MIN, BUFFER_SIZES_MAX, MemoryError};
use alloc::vec::Vec;
use core::ops::Range;
use core::ptr::NonNull;

/// All buffers of a pool, in one page-aligned piece of memory.
#[cfg_attr(feature = "explore", derive(Clone))]
#[derive(Debug)]
pub struct Arena {
    block: Block,
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
    /// Where the first one starts in the block.
    offset: usize,
}

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
        let mut touched = Vec::new();
        if sizes[1..].iter().any(|&bytes| bytes > 0) {
            let words = regions.iter().map(|region| region.count as usize).sum::<usize>().div_ceil(64);
            let failed = MemoryError::AllocationFailed { field: "buffers", bytes: words * 8 };
            touched.try_reserve_exact(words).map_err(|_| failed)?;
            touched.resize(words, 0);
        }
        let block = Block::new("buffers", buffers, bytes)?;
        Ok(Arena { block, regions, budget, touched, touched_bytes: 0 })
    }

    /// The same buffers once more, for the receivers of another thread; `None` with several sizes, of which it would have
    /// to be known in one place which pages are there.
    ///
    /// It is safe only as the receivers use it, which is why nobody else can: whoever has an alias keeps the arena alive,
    /// and touches a buffer only between being granted its lease and giving it back, both of which order what the
    /// threads do (`shards`).
    #[cfg(feature = "std")]
    #[allow(unsafe_code)]
    pub(crate) fn alias(&self) -> Option<Arena> {
        if !self.touched.is_empty() {
            return None;
        }
        // SAFETY: see above. A buffer has one lease at a time.
        let block = unsafe { self.block.alias() };
        Some(Arena { block, regions: self.regions, budget: self.budget, touched: Vec::new(), touched_bytes: 0 })
    }

    /// Size of the buffers of one kind, in bytes; 0 if there are none.
    #[inline]
    pub fn buffer_bytes(&self, size: u8) -> u32 {
        self.regions.get(usize::from(size)).map_or(0, |region| region.bytes)
    }

    /// Size of one buffer, in bytes.
    ///
    /// # Panics
    ///
    /// There is no such buffer: a bug of the caller.
    #[inline]
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
    #[inline]
    pub fn buffer(&self, index: u32) -> &[u8] {
        self.block.slice(self.range_of(index))
    }

    /// As [`buffer`](Arena::buffer), for writing.
    ///
    /// # Panics
    ///
    /// There is no such buffer: a bug of the caller.
    #[inline]
    pub fn buffer_mut(&mut self, index: u32) -> &mut [u8] {
        self.block.slice_mut(self.range_of(index))
    }

    /// Where a buffer starts. Nothing is borrowed: pointers from here stay valid until the buffer is used otherwise.
    ///
    /// # Panics
    ///
    /// There is no such buffer: a bug of the caller.
    #[inline]
    pub fn address(&self, index: u32) -> NonNull<u8> {
        self.block.address(&self.range_of(index))
    }

    /// Copies part of one buffer to the front of another.
    ///
    /// # Panics
    ///
    /// It is the same buffer, or the range does not lie inside both: a bug of the caller.
    pub fn copy(&mut self, from: u32, range: Range<usize>, to: u32) {
        let (source, target) = (self.range_of(from), self.range_of(to));
        assert!(range.len() <= target.len() && range.end <= source.len(), "the content fits into both buffers");
        self.block.copy(source.start + range.start..source.start + range.end, target.start);
    }

    /// A buffer is about to be written. If it was not before, and all that were would be more than the budget, the free
    /// buffers that `free` names for each size, those used last first, give their pages back.
    ///
    /// Cost: nothing with one size. Else O(1), and one system call for each buffer that gives back; it was touched first.
    #[inline] // it is nothing with one size
    pub fn touch<F: Iterator<Item = u32>>(&mut self, index: u32, free: impl Fn(u8) -> F) {
        if !self.is_there(index) {
            self.touch_first(index, free);
        }
    }

    /// Whether a buffer's pages count as there already, so that `touch` does nothing.
    #[inline(always)]
    pub(crate) fn is_there(&self, index: u32) -> bool {
        self.touched.is_empty() || self.is_touched(index)
    }

    fn touch_first<F: Iterator<Item = u32>>(&mut self, index: u32, free: impl Fn(u8) -> F) {
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

    fn give_back(&mut self, index: u32) -> usize {
        self.block.give_back(self.range_of(index))
    }

    #[inline]
    fn region_of(&self, index: u32) -> &Region {
        let inside = |region: &&Region| index.wrapping_sub(region.first) < region.count;
        self.regions.iter().find(inside).expect("a buffer index comes from the pool of the same sizes")
    }

    #[inline]
    fn range_of(&self, index: u32) -> Range<usize> {
        let region = self.region_of(index);
        let start = region.offset + (index - region.first) as usize * region.bytes as usize;
        start..start + region.bytes as usize
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
