//! Tags: each pool that is alive in the process has one of its own, so that it refuses the handles of any other.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use demuxbuf::scheduler::SALT;

/// The most pools that can be alive at once, a shared pool counted once. 0 is never a tag: no handle is
/// all-zero.
pub(super) const TAGS: u32 = (1 << (TAG_BITS + SALT.count_ones())) - 1;

/// Bits of a tag that the core knows; those above go to bits of a handle that are no entry's.
const TAG_BITS: u32 = u8::BITS;

/// A bit for each number: a pool that is alive has it.
static TAKEN: [AtomicU64; (TAGS as usize + 1) / 64] = [const { AtomicU64::new(0) }; (TAGS as usize + 1) / 64];

/// Where the next search begins, so that the tag of a pool that was freed is taken again as late as can be.
static NEXT: AtomicU32 = AtomicU32::new(0);

/// The tag of a pool, for as long as it is alive.
#[derive(Debug)]
pub(super) struct Tag(u32);

impl Tag {
    /// A tag that no other pool has; `None` if as many pools are alive as there are tags. Cost: one step for each tag
    /// in a row that is taken.
    pub(super) fn take() -> Option<Tag> {
        let first = NEXT.fetch_add(1, Ordering::Relaxed);
        let mut numbers = numbers_from(first);
        numbers.find(|&number| TAKEN[word(number)].fetch_or(bit(number), Ordering::Acquire) & bit(number) == 0).map(Tag)
    }

    /// What the core mixes into the handles of the pool.
    pub(super) fn low(&self) -> u8 {
        (self.0 & u32::from(u8::MAX)) as u8
    }

    /// What this layer mixes into the handles of the pool: bits of [`SALT`].
    pub(super) fn salt(&self) -> u32 {
        self.0 >> TAG_BITS << SALT.trailing_zeros()
    }
}

impl Drop for Tag {
    fn drop(&mut self) {
        TAKEN[word(self.0)].fetch_and(!bit(self.0), Ordering::Release);
    }
}

/// Each number once, wherever the search begins.
fn numbers_from(first: u32) -> impl Iterator<Item = u32> {
    (0..TAGS).map(move |step| (first % TAGS + step) % TAGS + 1)
}

fn word(number: u32) -> usize {
    number as usize / 64
}

fn bit(number: u32) -> u64 {
    1 << (number % 64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn search_visits_each_tag_once_from_any_start() {
        for first in [0, 1, TAGS - 1, TAGS, u32::MAX - TAGS, u32::MAX - 1, u32::MAX] {
            let mut numbers: Vec<u32> = numbers_from(first).collect();
            numbers.sort_unstable();
            assert!(numbers.into_iter().eq(1..=TAGS), "the search from {first} misses a tag");
        }
    }
}
