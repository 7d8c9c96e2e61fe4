//! The arena: all buffers of a pool in one piece of memory.
//!
//! Buffers of several sizes share a budget of bytes, not addresses: each size has a region as large as the whole
//! budget, of which only the pages that were used are there. So that no more than the budget is there at any time,
//! buffers that are free are trimmed when others are touched for the first time and the budget would be passed
//! ([`Arena::touch`]). With one size this never happens. Buffers smaller than a page keep theirs.

use super::address::Address;
use super::block::Block;
use super::{BUFFER_BYTES_MAX, BUFFER_BYTES_MIN, BUFFER_SIZES_MAX, Protection, poison};
use crate::alloc_util::{pages, reserve};
use crate::config_error::{Allowed, ConfigError};
use alloc::vec::Vec;
use core::ops::Range;
use core::ptr::NonNull;

/// All buffers of a pool, in one page-aligned piece of memory.
#[cfg_attr(feature = "model-check", derive(Clone))]
#[derive(Debug)]
pub struct Arena {
    pub(super) block: Block,
    pub(super) regions: [Region; BUFFER_SIZES_MAX],
    /// Bytes that all outstanding buffers may have together.
    budget: usize,
    /// One bit for each buffer: its pages may be there. Empty with one size, where they can never be too many.
    touched: Vec<u64>,
    touched_bytes: usize,
}

/// The buffers of one size.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Region {
    pub(super) first: u32,
    pub(super) count: u32,
    /// Size of each, in bytes.
    pub(super) bytes: u32,
    /// Where the first one starts in the block.
    pub(super) offset: usize,
}

/// Free buffers one behind the other.
#[derive(Debug, Default)]
struct Run {
    /// Where they lie in the block.
    free: Range<usize>,
    /// Addresses of pages that some of them were used in and that are not trimmed yet.
    pages: Range<usize>,
}

impl Arena {
    /// Reserves the budget of `buffers` buffers of the first size, for buffers of all these sizes. No page is touched
    /// yet.
    ///
    /// # Errors
    ///
    /// A size is not allowed, what is needed cannot be counted, or the allocator has no such memory.
    pub fn new(buffers: u32, sizes: &[u32; BUFFER_SIZES_MAX]) -> Result<Arena, ConfigError> {
        Arena::protected(buffers, sizes, Protection::default())
    }

    /// As `new`, protected like this.
    pub(crate) fn protected(
        buffers: u32,
        sizes: &[u32; BUFFER_SIZES_MAX],
        protection: Protection,
    ) -> Result<Arena, ConfigError> {
        Arena::with_pages_of(pages::page_bytes(), buffers, sizes, protection)
    }

    /// As `new`, on a machine with pages of `page_bytes`.
    fn with_pages_of(
        page_bytes: usize,
        buffers: u32,
        sizes: &[u32; BUFFER_SIZES_MAX],
        protection: Protection,
    ) -> Result<Arena, ConfigError> {
        if buffers == 0 {
            return Err(ConfigError::refused("buffers", 0, Allowed::AtLeast(1)));
        }
        for (at, &value) in sizes.iter().enumerate().filter(|&(at, &bytes)| at == 0 || bytes > 0) {
            if !(BUFFER_BYTES_MIN..=BUFFER_BYTES_MAX).contains(&value) || value % 64 != 0 {
                let (field, allowed) =
                    ("buffer_bytes", Allowed::BufferBytes { min: BUFFER_BYTES_MIN, max: BUFFER_BYTES_MAX });
                return Err(ConfigError::Refused { field, index: Some(at), value: value.into(), allowed });
            }
        }
        let too_large = ConfigError::refused("buffers", buffers.into(), Allowed::Addressable);
        let budget = (buffers as usize).checked_mul(sizes[0] as usize).ok_or(too_large)?;
        let (regions, bytes) = lay_out(budget, sizes, page_bytes).ok_or(too_large)?;
        let mut touched = Vec::new();
        if sizes[1..].iter().any(|&bytes| bytes > 0) {
            let words = regions.iter().map(|region| region.count as usize).sum::<usize>().div_ceil(64);
            touched = reserve("buffers", words as u32)?;
            touched.resize(words, 0);
        }
        let block = Block::new("buffers", buffers, bytes, page_bytes, protection)?;
        Ok(Arena { block, regions, budget, touched, touched_bytes: 0 })
    }

    /// A second view of the same buffers, for the receivers of another thread. `None` with several sizes, because then
    /// one place would have to record which pages are resident.
    ///
    /// # Safety
    ///
    /// No alias is used once the arena is dropped. A buffer is used through one of them only between the grant and the
    /// release of a lease, or trimmed between a release and the next grant. It has one lease at a time, and each of
    /// these uses happens before the next.
    #[cfg(feature = "std")]
    #[allow(unsafe_code)]
    pub(crate) unsafe fn alias(&self) -> Option<Arena> {
        if !self.touched.is_empty() {
            return None;
        }
        // SAFETY: as the caller guarantees.
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

    /// The budget: bytes of all buffers that may be outstanding together.
    pub fn bytes(&self) -> usize {
        self.budget
    }

    /// The most bytes of buffers that can be resident: the budget, and once more for each further size of which a
    /// buffer is not a whole number of pages, so that some of its pages are never trimmed.
    pub fn resident_bytes_max(&self) -> usize {
        let is_whole = |region: &Region| region.bytes as usize % self.block.page_bytes() == 0;
        let mut used = self.regions.iter().filter(|region| region.count > 0);
        let cut = used.clone().filter(|region| !is_whole(region)).count();
        self.budget * (cut + usize::from(used.any(is_whole)))
    }

    /// The memory of one buffer. Bytes that were never written are zero.
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

    /// The bytes from an address on.
    ///
    /// # Panics
    ///
    /// They are not all in the arena: a bug of the caller.
    #[inline]
    pub(crate) fn bytes_at(&self, at: Address, bytes: u32) -> &[u8] {
        self.block.slice_at(at.get().as_ptr(), bytes as usize)
    }

    /// As `bytes_at`, for writing.
    #[inline]
    pub(crate) fn bytes_at_mut(&mut self, at: Address, bytes: u32) -> &mut [u8] {
        self.block.slice_at_mut(at.get().as_ptr(), bytes as usize)
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

    /// The buffer that an address lies in; the address is compared, never followed. Cost: O(1).
    pub fn index_at(&self, address: *const u8) -> Option<u32> {
        let offset = self.block.offset_of(address)?;
        self.regions.iter().filter(|region| region.count > 0).find_map(|region| {
            let at = offset.checked_sub(region.offset)? / region.bytes as usize;
            (at < region.count as usize).then(|| region.first + at as u32)
        })
    }

    /// Lends the host a part of a buffer, and takes the rest back, for memory checkers.
    #[inline(always)]
    pub(crate) fn lend(&self, index: u32, part: Range<u32>) {
        if poison::IS_ON {
            self.block.lend(&self.range_of(index), part.start as usize..part.end as usize);
        }
    }

    /// What is in a buffer is not needed any more: it is overwritten if the pool `wipes`, and taken back from memory
    /// checkers.
    #[inline(always)]
    pub(crate) fn retire(&mut self, index: u32, wipes: bool) {
        if wipes {
            self.wipe(index, 0..self.bytes_of(index) as usize);
        }
        self.lend(index, 0..0);
    }

    /// Overwrites a part of a buffer with zeros.
    #[cold]
    #[inline(never)]
    pub(crate) fn wipe(&mut self, index: u32, part: Range<usize>) {
        self.buffer_mut(index)[part].fill(0);
    }

    /// A buffer is about to be written. If it was not before, and all that were would be more than the budget, the free
    /// buffers that `free` names for each size, those used last first, are trimmed.
    ///
    /// Cost: nothing with one size. Else O(1), and one system call for each buffer that is trimmed; it was touched
    /// first.
    #[doc(hidden)]
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
            if self.regions[size].bytes as usize >= self.block.page_bytes() {
                // Below the first that is not touched none is: the lists are stacks, and this empties them.
                free(size as u8).take_while(|&index| self.trim_touched(index)).for_each(drop);
            }
        }
    }

    /// Returns pages of free buffers to the operating system, and reports how many bytes; they read as zero afterwards
    /// (madvise(2), `MADV_DONTNEED`). `free` names buffers that are free, in the order of their numbers, and of each
    /// whether it was used since it was named here last: pages that nothing was written to since are left alone. A page
    /// that a buffer in use has a part of stays. On other systems than Linux nothing is trimmed. Cost: one system call
    /// for each piece of such pages.
    pub fn trim(&mut self, free: impl Iterator<Item = (u32, bool)>) -> usize {
        let mut run = Run::default();
        let mut bytes = 0;
        for (index, is_used) in free {
            let range = self.range_of(index);
            if range.start != run.free.end {
                bytes += self.trim_rest(&run);
                run = Run { free: range.start..range.start, ..Run::default() };
            }
            run.free.end = range.end;
            if is_used {
                self.forget_touched(index);
                let around = self.block.pages_around(&range);
                if run.pages.is_empty() || around.start > run.pages.end {
                    bytes += self.trim_rest(&run);
                    run.pages = around;
                } else {
                    run.pages.end = around.end;
                }
            }
        }
        bytes + self.trim_rest(&run)
    }

    /// Trims those pages of a run that lie in it as a whole.
    fn trim_rest(&mut self, run: &Run) -> usize {
        let Run { free, pages } = run;
        let inside = self.block.pages_inside(free);
        let pages = pages.start.max(inside.start)..pages.end.min(inside.end);
        self.block.trim(pages)
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
        if was && self.bytes_of(index) as usize >= self.block.page_bytes() {
            self.touched[index as usize / 64] &= !(1 << (index % 64));
            self.touched_bytes -= self.bytes_of(index) as usize;
        }
        was
    }

    fn trim_touched(&mut self, index: u32) -> bool {
        let was = self.forget_touched(index);
        if was {
            let pages = self.block.pages_inside(&self.range_of(index));
            self.block.trim(pages);
        }
        was
    }

    #[inline]
    fn region_of(&self, index: u32) -> &Region {
        let inside = |region: &&Region| index.wrapping_sub(region.first) < region.count;
        self.regions.iter().find(inside).expect("a buffer index comes from the pool of the same sizes")
    }

    #[inline]
    pub(super) fn range_of(&self, index: u32) -> Range<usize> {
        let region = self.region_of(index);
        let start = region.offset + (index - region.first) as usize * region.bytes as usize;
        start..start + region.bytes as usize
    }
}

/// A region for each size, page after page; with the bytes of all. `None` if they cannot be counted.
fn lay_out(
    budget: usize,
    sizes: &[u32; BUFFER_SIZES_MAX],
    page_bytes: usize,
) -> Option<([Region; BUFFER_SIZES_MAX], usize)> {
    let (mut first, mut offset) = (0u32, 0usize);
    let mut regions = [Region::default(); BUFFER_SIZES_MAX];
    for (region, &bytes) in regions.iter_mut().zip(sizes).filter(|(_, bytes)| **bytes > 0) {
        let count = u32::try_from(budget / bytes as usize).ok()?;
        *region = Region { first, count, bytes, offset };
        first = first.checked_add(count)?;
        offset = offset.checked_add(budget)?.checked_next_multiple_of(page_bytes)?;
    }
    Some((regions, offset))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_at_an_address_are_those_of_its_buffer() {
        let mut arena = Arena::new(3, &[128, 0, 0, 0]).expect("there is memory");
        for index in 0..3 {
            let at = Address::new(arena.address(index));
            assert_eq!(arena.bytes_at(at, 128).as_ptr_range(), arena.buffer(index).as_ptr_range());
            assert_eq!(arena.bytes_at_mut(at, 5).as_ptr_range(), arena.buffer(index)[..5].as_ptr_range());
        }
    }

    #[test]
    #[cfg(feature = "std")]
    fn bytes_outside_of_the_arena_are_refused() {
        let arena = Arena::with_pages_of(64, 3, &[128, 0, 0, 0], Protection::default()).expect("there is memory");
        let ends = |bytes: isize| arena.address(0).as_ptr().wrapping_offset(bytes);
        for (at, bytes) in
            [(ends(-1), 1), (ends(-1), 2), (ends(-128), 128), (ends(383), 2), (ends(384), 1), (ends(385), 0)]
        {
            let at = Address::new(NonNull::new(at).expect("it is not null"));
            let look = std::panic::AssertUnwindSafe(|| arena.bytes_at(at, bytes).len());
            assert!(std::panic::catch_unwind(look).is_err(), "{at:?} {bytes}");
        }
    }

    /// Buffers of one size on a machine with such pages, of which some are free; the pool's part is played by `free`.
    struct TrackedArena {
        arena: Arena,
        page_bytes: usize,
        free: Vec<bool>,
        used: Vec<bool>,
    }

    impl TrackedArena {
        fn new(page_bytes: usize, count: u32, bytes: u32) -> TrackedArena {
            let arena = Arena::with_pages_of(page_bytes, count, &[bytes, 0, 0, 0], Protection::default())
                .expect("there is memory");
            TrackedArena { arena, page_bytes, free: vec![true; count as usize], used: vec![false; count as usize] }
        }

        fn content(index: u32) -> u8 {
            1 + (index % 251) as u8
        }

        fn write(&mut self, index: u32) {
            self.arena.buffer_mut(index).fill(TrackedArena::content(index));
            self.used[index as usize] = true;
        }

        /// Pages by number, counted from the start of the block, which is aligned to them.
        fn pages_of(&self, index: u32) -> Range<usize> {
            let range = self.arena.range_of(index);
            range.start / self.page_bytes..range.end.div_ceil(self.page_bytes)
        }

        /// What is to be trimmed: pages of which each byte is a free buffer's and some was used since.
        fn expected(&self) -> usize {
            let count = self.free.len() as u32;
            let end = self.arena.range_of(count - 1).end;
            let pages = (0..end / self.page_bytes).filter(|page| {
                let parts = (0..count).filter(|&index| self.pages_of(index).contains(page));
                parts.clone().all(|index| self.free[index as usize])
                    && parts.clone().any(|index| self.used[index as usize])
            });
            pages.count() * self.page_bytes
        }

        fn trim(&mut self) -> usize {
            let free = (0..).zip(&self.free).filter(|(_, is_free)| **is_free);
            let named: Vec<(u32, bool)> = free.map(|(index, _)| (index, self.used[index as usize])).collect();
            let bytes = self.arena.trim(named.iter().copied());
            for (index, _) in named {
                self.used[index as usize] = false;
            }
            bytes
        }

        fn check_contents(&self) {
            for (index, _) in (0..).zip(&self.free).filter(|(_, is_free)| !**is_free) {
                let is_cap_blocked = self.arena.buffer(index).iter().all(|&byte| byte == TrackedArena::content(index));
                assert!(is_cap_blocked, "buffer {index} with pages of {}", self.page_bytes);
            }
        }
    }

    /// Every byte of a buffer leads to it; what lies between the sizes, before or behind all buffers leads nowhere.
    #[test]
    #[cfg_attr(miri, ignore)] // it takes minutes
    fn index_at_finds_the_buffer_of_an_address() {
        let arena = Arena::with_pages_of(4096, 3, &[4096 * 5, 4096 * 2 + 64, 0, 64], Protection::default())
            .expect("there is memory");
        let buffers = arena.regions.iter().map(|region| region.count).sum::<u32>();
        assert_eq!(buffers, 3 + 7 + 960);
        let base = arena.address(0).as_ptr().addr();
        let (end, mut found) = (3 * arena.bytes(), 0);
        for offset in (0..end).step_by(64) {
            for address in [base + offset, base + offset + 63] {
                let index = arena.index_at(core::ptr::without_provenance(address));
                let inside = |index: &u32| arena.range_of(*index).contains(&offset);
                assert_eq!(index, (0..buffers).find(inside), "at byte {offset}");
                found += u32::from(index.is_some());
            }
        }
        assert_eq!(found as usize, 2 * (3 * 320 + 7 * 129 + 960), "each piece of 64 bytes of each buffer, twice");
        for outside in [base - 1, base + end, 0, usize::MAX] {
            assert_eq!(arena.index_at(core::ptr::without_provenance(outside)), None);
        }
    }

    /// Whatever the size of a page is, no byte of a buffer in use changes, and all that can be trimmed is.
    #[test]
    #[cfg_attr(miri, ignore)] // it takes minutes, and nothing is trimmed there
    fn s78_trim_leaves_neighbours_alone() {
        let mut random = fastrand::Rng::with_seed(78);
        let real = pages::page_bytes();
        for page_bytes in [4096, 16_384, 65_536].into_iter().filter(|page| page % real == 0) {
            for bytes in [64, 1024, 4096, 5056, 16_384, 16_448, 65_536, 70_016] {
                let count = (400_000 / bytes).max(9);
                let mut tracked = TrackedArena::new(page_bytes, count, bytes);
                assert_eq!(tracked.arena.address(0).as_ptr().addr() % page_bytes, 0);
                for share in [10, 50, 90, 100, 0] {
                    for index in 0..count {
                        tracked.free[index as usize] = random.u32(0..100) < share;
                        // Some stay as they are, used or never used.
                        if !tracked.free[index as usize] || random.bool() {
                            tracked.write(index);
                        }
                    }
                    let expected =
                        if cfg!(target_os = "linux") && cfg!(feature = "std") { tracked.expected() } else { 0 };
                    assert_eq!(
                        tracked.trim(),
                        expected,
                        "{share} of 100 buffers of {bytes} bytes, pages of {page_bytes}"
                    );
                    tracked.check_contents();
                    assert_eq!(tracked.trim(), 0, "nothing was used since");
                }
            }
        }
    }

    /// Named in any order, and in pieces: never a byte of a buffer that is not named.
    #[test]
    #[cfg_attr(miri, ignore)] // nothing is trimmed there
    fn s78_trim_takes_buffers_in_any_order() {
        let mut random = fastrand::Rng::with_seed(79);
        let page_bytes = pages::page_bytes();
        for bytes in [1024, 5056, 16_448] {
            let mut tracked = TrackedArena::new(page_bytes, 50, bytes);
            for _ in 0..20 {
                (0..50).for_each(|index| tracked.write(index));
                let mut named: Vec<u32> = (0..50).filter(|_| random.bool()).collect();
                random.shuffle(&mut named);
                tracked.free = (0..50).map(|index| named.contains(&index)).collect();
                tracked.arena.trim(named.iter().map(|&index| (index, true)));
                tracked.check_contents();
            }
        }
    }

    /// The budget once, and once more for each further size that leaves pages cut.
    #[test]
    fn s79_resident_bytes_max_counts_cut_pages() {
        let most = |sizes| {
            Arena::with_pages_of(4096, 10, &sizes, Protection::default()).expect("there is memory").resident_bytes_max()
        };
        assert_eq!(most([16_384, 0, 0, 0]), 163_840);
        assert_eq!(most([16_448, 0, 0, 0]), 164_480);
        assert_eq!(most([16_384, 4096, 8192, 65_536]), 163_840);
        assert_eq!(most([16_384, 1024, 0, 0]), 2 * 163_840);
        assert_eq!(most([16_448, 1024, 64, 4096]), 4 * 164_480);
    }
}
