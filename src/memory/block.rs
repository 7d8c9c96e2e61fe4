//! One piece of zeroed memory that is handed out in ranges.
//!
//! The only place that turns addresses into slices. Each slice covers just the range that was asked for, and addresses
//! are handed out without making one, so that a pointer which C holds into one range stays valid whatever is done with
//! the others.
#![allow(unsafe_code)]

use super::{Protection, poison};
use crate::alloc_util::pages;
use crate::config_error::{Allowed, ConfigError};
use alloc::alloc::{alloc_zeroed, dealloc};
use core::alloc::Layout;
use core::ops::Range;
use core::ptr::NonNull;

/// Page-aligned memory of a fixed size. No page is touched before its first use.
#[derive(Debug)]
pub(super) struct Block {
    /// The first page boundary in the allocation; dangling if there are no bytes.
    base: NonNull<u8>,
    allocation: Option<Allocation>,
    bytes: usize,
    /// A power of two.
    page_bytes: usize,
    wipes: bool,
}

/// Where the memory is from.
#[derive(Debug)]
enum Allocation {
    /// The allocator.
    Heap(NonNull<u8>, Layout),
    /// A mapping of the operating system, and its size in bytes.
    Map(NonNull<u8>, usize),
}

/// Smallest block, in bytes, that is mapped from the operating system where that is possible. An allocator may zero
/// memory by writing to it, and then the pages are resident before their first use.
const MAP_BYTES_MIN: usize = 128 << 10;

/// Bytes that are copied at once, as many as the smallest cells have: fewer would need a loop.
pub(super) const COPIED_AT_ONCE: usize = 64;

// SAFETY: a block is the only owner of its memory and gives access through `&self` and `&mut self` only. An alias adds
// a second path to the memory; the caller of the unsafe function `alias` guarantees that uses of a range are ordered.
unsafe impl Send for Block {}
// SAFETY: through `&self` a block itself only reads. An alias, or C by an address, writes beside it only to ranges that
// nothing else uses meanwhile, by the rule of `alias`.
unsafe impl Sync for Block {}

impl Block {
    /// Reserves `bytes` bytes for the `count` pieces of the setting `field`, which an error names.
    pub(super) fn new(
        field: &'static str,
        count: u32,
        bytes: usize,
        page_bytes: usize,
        protection: Protection,
    ) -> Result<Block, ConfigError> {
        let Protection { wipe: wipes, no_dump } = protection;
        if no_dump && !pages::HAS_MAPS {
            return Err(ConfigError::refused("no_dump", 1, Allowed::Unsupported));
        }
        if bytes == 0 {
            return Ok(Block { base: NonNull::dangling(), allocation: None, bytes, page_bytes, wipes });
        }
        let too_large = ConfigError::refused(field, count.into(), Allowed::Addressable);
        let padded = bytes.checked_add(page_bytes).ok_or(too_large)?;
        // Aligned by hand inside a little more: allocators zero large pieces for free only at small alignments, with an
        // aligned request each page would be written, and so touched, at start.
        let layout = Layout::from_size_align(padded, 16).map_err(|_| too_large)?;
        let failed = ConfigError::out_of_memory::<u8>(field, padded);
        // Pages that are left out of dumps have no neighbour of another kind, and unmapped ones no next owner.
        let is_map = pages::HAS_MAPS && (padded >= MAP_BYTES_MIN || no_dump || wipes);
        let (start, allocation) = if is_map {
            let start = pages::map(padded).ok_or(failed)?;
            (start, Allocation::Map(start, padded))
        } else {
            // SAFETY: the size is not zero.
            let start = NonNull::new(unsafe { alloc_zeroed(layout) }).ok_or(failed)?;
            (start, Allocation::Heap(start, layout))
        };
        // SAFETY: `align_offset` is below one page, which was added to the size.
        let base = unsafe { start.add(start.as_ptr().align_offset(page_bytes)) };
        let block = Block { base, allocation: Some(allocation), bytes, page_bytes, wipes };
        // SAFETY: the whole of the mapping that was made above.
        if no_dump && !unsafe { pages::leave_out_of_dumps(start, padded) } {
            return Err(ConfigError::refused("no_dump", 1, Allowed::Unsupported));
        }
        block.take_back(&(0..bytes));
        Ok(block)
    }

    /// The same memory once more, for another thread.
    ///
    /// # Safety
    ///
    /// No alias is used once the block is dropped; no range is used through two of them, or through one and the block,
    /// at once, and its uses by two are ordered. A use lasts as long as any slice or address made of the range;
    /// trimming its pages and copying it are uses.
    #[cfg(feature = "std")]
    pub(super) unsafe fn alias(&self) -> Block {
        Block { base: self.base, allocation: None, bytes: self.bytes, page_bytes: self.page_bytes, wipes: self.wipes }
    }

    /// The bytes of a range. Bytes that were never written are zero.
    #[inline]
    pub(super) fn slice(&self, range: Range<usize>) -> &[u8] {
        let at = self.lend_all(&range);
        // SAFETY: `lend_all` checks that the range lies inside the allocation, which is initialised and lives as long
        // as `self`. The range is not written while the slice lives: not by `self`, which is borrowed, not by an alias,
        // by the rule of `alias`, and not by C, by the thread rule of the buffer.
        unsafe { core::slice::from_raw_parts(at.as_ptr(), range.len()) }
    }

    /// As `slice`, for writing.
    #[inline]
    pub(super) fn slice_mut(&mut self, range: Range<usize>) -> &mut [u8] {
        let at = self.lend_all(&range);
        // SAFETY: as in `slice`; `self` is not shared, and no alias uses the range meanwhile.
        unsafe { core::slice::from_raw_parts_mut(at.as_ptr(), range.len()) }
    }

    /// As `slice`, from this address on.
    #[inline]
    pub(super) fn slice_at(&self, address: *const u8, bytes: usize) -> &[u8] {
        self.slice(self.range_at(address, bytes))
    }

    /// As `slice_at`, for writing.
    #[inline]
    pub(super) fn slice_at_mut(&mut self, address: *const u8, bytes: usize) -> &mut [u8] {
        self.slice_mut(self.range_at(address, bytes))
    }

    /// The range from an address on, which is not followed. One outside of the block makes a range that is not inside
    /// it, or one that ends before it starts.
    #[inline(always)]
    fn range_at(&self, address: *const u8, bytes: usize) -> Range<usize> {
        let start = address.addr().wrapping_sub(self.base.as_ptr().addr());
        start..start.wrapping_add(bytes)
    }

    /// Where a range starts, without borrowing it.
    #[inline]
    pub(super) fn address(&self, range: &Range<usize>) -> NonNull<u8> {
        assert!(range.start <= range.end && range.end <= self.bytes, "a range comes from the table of the same size");
        // SAFETY: inside the allocation, or at the end of it; or dangling, with no bytes and an offset of 0.
        unsafe { self.base.add(range.start) }
    }

    /// How far behind the start of the block an address lies, if it lies inside.
    pub(super) fn offset_of(&self, address: *const u8) -> Option<usize> {
        let offset = address.addr().checked_sub(self.base.as_ptr().addr())?;
        (offset < self.bytes).then_some(offset)
    }

    /// Copies a range to where it does not overlap.
    pub(super) fn copy(&mut self, from: Range<usize>, to: usize) {
        let target = to..to + from.len();
        assert!(from.end <= target.start || target.end <= from.start, "a content is moved to another place");
        let (source, target) = (self.lend_all(&from), self.lend_all(&target));
        // SAFETY: both ranges lie inside the allocation and do not overlap, and no alias uses them meanwhile.
        unsafe { core::ptr::copy_nonoverlapping(source.as_ptr(), target.as_ptr(), from.len()) };
    }

    /// Copies bytes to where they may overlap, and returns where they are then; `None`, and nothing is copied, if they
    /// are not all inside.
    #[inline(always)]
    pub(super) fn try_copy(&mut self, from: usize, bytes: usize, to: usize) -> Option<NonNull<u8>> {
        let (source, target) = self.lend_both(from, bytes, to)?;
        // SAFETY: both ranges lie inside the allocation, and no alias uses them meanwhile.
        unsafe { core::ptr::copy(source.as_ptr(), target.as_ptr(), bytes) };
        Some(target)
    }

    /// As `try_copy`, of [`COPIED_AT_ONCE`] bytes.
    #[inline(always)]
    pub(super) fn try_copy_at_once(&mut self, from: usize, to: usize) -> Option<NonNull<u8>> {
        const WORDS: usize = COPIED_AT_ONCE / 8;
        let (source, target) = self.lend_both(from, COPIED_AT_ONCE, to)?;
        // SAFETY: as in `try_copy`; all of them are read before the first is written.
        unsafe {
            let words = source.cast::<[u64; WORDS]>().read_unaligned();
            target.cast::<[u64; WORDS]>().write_unaligned(words);
        }
        Some(target)
    }

    /// Lends two places with this many bytes to the library itself; returns where they are. `None` if they are not both
    /// inside.
    #[inline(always)]
    fn lend_both(&self, from: usize, bytes: usize, to: usize) -> Option<(NonNull<u8>, NonNull<u8>)> {
        let last = self.bytes.checked_sub(bytes)?;
        if from > last || to > last {
            return None;
        }
        // SAFETY: both lie inside the allocation.
        unsafe {
            let (source, target) = (self.base.add(from), self.base.add(to));
            poison::lend(source, bytes);
            poison::lend(target, bytes);
            Some((source, target))
        }
    }

    /// Where a place in the block is, or its end.
    #[inline(always)]
    pub(super) fn address_at(&self, at: usize) -> NonNull<u8> {
        self.address(&(at..at))
    }

    /// Takes a range back from the host, for memory checkers.
    #[inline(always)]
    pub(super) fn take_back(&self, range: &Range<usize>) {
        if poison::IS_ON {
            // SAFETY: the range lies inside the allocation.
            unsafe { poison::take_back(self.address(range), range.len()) };
        }
    }

    /// Lends a part of a range, and takes the rest back.
    #[inline(always)]
    pub(super) fn lend(&self, range: &Range<usize>, part: Range<usize>) {
        if poison::IS_ON {
            self.take_back(range);
            self.lend_all(&(range.start + part.start..range.start + part.end));
        }
    }

    /// Lends a range, to the host or to the library itself; returns where it starts.
    #[inline(always)]
    fn lend_all(&self, range: &Range<usize>) -> NonNull<u8> {
        let at = self.address(range);
        // SAFETY: `address` checks that the range lies inside the allocation.
        unsafe { poison::lend(at, range.len()) };
        at
    }

    /// Size of the pages that are trimmed, in bytes.
    pub(super) fn page_bytes(&self) -> usize {
        self.page_bytes
    }

    /// The addresses of all pages that this range has a part of.
    pub(super) fn pages_around(&self, range: &Range<usize>) -> Range<usize> {
        let base = self.base.addr().get();
        let end = (base + range.end).next_multiple_of(self.page_bytes);
        self.page_of(base + range.start)..end
    }

    /// The addresses of the pages that lie in this range as a whole; its end is below its start if there are none.
    pub(super) fn pages_inside(&self, range: &Range<usize>) -> Range<usize> {
        let base = self.base.addr().get();
        let start = (base + range.start).next_multiple_of(self.page_bytes);
        start..self.page_of(base + range.end)
    }

    fn page_of(&self, address: usize) -> usize {
        address & !(self.page_bytes - 1)
    }

    /// Returns pages of this block to the operating system, and reports how many bytes; they read as zero afterwards
    /// (madvise(2), `MADV_DONTNEED`). On other systems than Linux nothing is trimmed.
    pub(super) fn trim(&mut self, pages: Range<usize>) -> usize {
        if pages.is_empty() {
            return 0;
        }
        let base = self.base.addr().get();
        let at = self.address(&(pages.start - base..pages.end - base));
        // SAFETY: whole pages inside the allocation, private memory of the process. Nothing uses a byte of them: the
        // caller has `self` exclusively, and for buffers that threads share the lock under which they are free.
        if unsafe { pages::trim(at.as_ptr(), pages.len()) } { pages.len() } else { 0 }
    }
}

/// Memory of its own with the same bytes.
#[cfg(feature = "model-check")]
impl Clone for Block {
    fn clone(&self) -> Block {
        let mut copy =
            Block::new("copy", 0, self.bytes, self.page_bytes, Protection { wipe: self.wipes, no_dump: false })
                .expect("there is memory for the copy of a small block");
        copy.slice_mut(0..self.bytes).copy_from_slice(self.slice(0..self.bytes));
        copy
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        if self.allocation.is_some() {
            self.lend_all(&(0..self.bytes)); // It is no memory of the pool's any more.
        }
        match self.allocation {
            Some(Allocation::Heap(start, layout)) => {
                if self.wipes {
                    for at in 0..layout.size() {
                        // SAFETY: inside the allocation. Volatile, since a compiler may leave out a store before the
                        // end.
                        unsafe { start.as_ptr().add(at).write_volatile(0) };
                    }
                }
                // SAFETY: allocated in `new` with this layout.
                unsafe { dealloc(start.as_ptr(), layout) };
            }
            // SAFETY: mapped in `new` with this size.
            Some(Allocation::Map(start, bytes)) => unsafe { pages::unmap(start, bytes) },
            None => {}
        }
    }
}
