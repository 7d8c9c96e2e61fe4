//! Parking slots: small pieces of memory for undecoded bytes, or to receive into without a buffer.
//!
//! Slots have 64, 256, 1024 or 4096 bytes. Each size has its own budget, which is reserved at start. Slots are not cut
//! out of the pool's buffers, for two reasons: buffers are scarce exactly when something is parked, and a buffer that
//! was cut into pieces is free again only when its last piece is.
//!
//! `examples/parking.rs` measures the second reason (seed 2). It fills 256 buffers of 16 KiB with parked partial
//! frames, lets most of the frames leave in random order, then lets frames come and go at the number that is left. The
//! columns give the buffers that are still cut up, by size of the pieces:
//!
//! | frames left | 64-byte pieces | 256 bytes | 1024 bytes | 4096 bytes | buffers that would suffice |
//! |---|---|---|---|---|---|
//! | 1 in 10 | 252 | 189 | 88 | 39 | 26 |
//! | 1 in 100 | 78 | 35 | 14 | 6 | 3 |
//!
//! Separate slots cost the memory of the partial frames at the peak, and no buffer.

use super::block::Block;
use super::{Protection, poison};
use crate::alloc_util::{pages, reserve};
use crate::config_error::{Allowed, ConfigError};
use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;
use core::ptr::NonNull;

/// Size of the smallest parking slot, in bytes: also the most that is received without a buffer.
pub const SLOT_BYTES: usize = 64;

/// Sizes of the parking slots, in bytes.
pub const SLOT_SIZES: [usize; 4] = [SLOT_BYTES, 256, 1024, 4096];

/// A slot that was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SlotIndex(u32);

/// The bits of a [`SlotIndex`] below its size.
const INDEX_BITS: u32 = 28;

/// The most slots of one size.
pub const SLOTS_MAX: u32 = (1 << INDEX_BITS) - 1;

/// Why a slot was not taken back. Nothing is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SlotError {
    /// The slot is free.
    NotTaken,
}

impl fmt::Display for SlotError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SlotError::NotTaken => f.write_str("the slot is not taken"),
        }
    }
}

impl core::error::Error for SlotError {}

impl SlotIndex {
    fn new(size: usize, index: u32) -> SlotIndex {
        SlotIndex((size as u32) << INDEX_BITS | index)
    }

    fn size(self) -> usize {
        (self.0 >> INDEX_BITS) as usize % SLOT_SIZES.len()
    }

    fn index(self) -> usize {
        (self.0 & SLOTS_MAX) as usize
    }

    /// The slot as a number below 2^30, for compact tables.
    pub(crate) const fn to_number(self) -> u32 {
        self.0
    }

    /// The slot with this number.
    pub(crate) const fn from_number(number: u32) -> SlotIndex {
        SlotIndex(number)
    }
}

/// All parking slots of a pool.
#[cfg_attr(feature = "model-check", derive(Clone))]
#[derive(Debug)]
pub struct Slots {
    sizes: [Size; SLOT_SIZES.len()],
    in_use_peak: u32,
}

/// The slots of one size. They are touched in the order of their first use, so that those never used cost address
/// space only. The free list lies beside the slots: a late write of the host into a slot that it no longer holds must
/// not decide which slot is lent next.
#[cfg_attr(feature = "model-check", derive(Clone))]
#[derive(Debug)]
struct Size {
    bytes: usize,
    memory: Block,
    /// Slots that were taken at least once.
    used: u32,
    /// One bit for each slot: taken.
    taken: Vec<u64>,
    /// Of each slot that was used: the next one in the free list, or [`NIL`].
    next: Vec<u32>,
    /// First free slot among those used before, or [`NIL`].
    free: u32,
    count: u32,
    in_use: u32,
}

/// In place of a slot: none.
const NIL: u32 = u32::MAX;

impl Slots {
    /// Reserves `counts[i]` slots of `SLOT_SIZES[i]` bytes; 0 for none.
    ///
    /// # Errors
    ///
    /// More than [`SLOTS_MAX`] of one size; the allocator has no such memory.
    pub fn new(counts: [u32; SLOT_SIZES.len()]) -> Result<Slots, ConfigError> {
        Slots::protected(counts, Protection::default())
    }

    /// As `new`, protected like this.
    pub(crate) fn protected(counts: [u32; SLOT_SIZES.len()], protection: Protection) -> Result<Slots, ConfigError> {
        Ok(Slots {
            sizes: [
                Size::new(SLOT_SIZES[0], counts[0], protection)?,
                Size::new(SLOT_SIZES[1], counts[1], protection)?,
                Size::new(SLOT_SIZES[2], counts[2], protection)?,
                Size::new(SLOT_SIZES[3], counts[3], protection)?,
            ],
            in_use_peak: 0,
        })
    }

    /// Takes the smallest free slot that has room for `bytes` bytes. Cost: O(1).
    pub fn take(&mut self, bytes: usize) -> Option<SlotIndex> {
        let fitting = self.sizes.iter_mut().enumerate().filter(|(_, size)| size.bytes >= bytes);
        for (at, size) in fitting {
            if let Some(index) = size.take() {
                self.in_use_peak = self.in_use_peak.max(self.in_use());
                return Some(SlotIndex::new(at, index));
            }
        }
        None
    }

    /// Takes a slot of the smallest size, to receive into. Cost: O(1).
    pub fn take_smallest(&mut self) -> Option<SlotIndex> {
        let index = self.sizes[0].take()?;
        self.in_use_peak = self.in_use_peak.max(self.in_use());
        Some(SlotIndex::new(0, index))
    }

    /// Returns a slot. Cost: O(1).
    ///
    /// # Errors
    ///
    /// The slot is not taken; nothing is changed. A slot of another pool of the same sizes cannot be told apart.
    pub fn give(&mut self, slot: SlotIndex) -> Result<(), SlotError> {
        self.sizes[slot.size()].give(slot.index())
    }

    /// The memory of a slot that is taken.
    ///
    /// # Panics
    ///
    /// There is no such slot: a bug of the caller.
    pub fn slot(&self, slot: SlotIndex) -> &[u8] {
        let size = &self.sizes[slot.size()];
        size.memory.slice(size.range_of(slot.index()))
    }

    /// As [`slot`](Slots::slot), for writing.
    ///
    /// # Panics
    ///
    /// There is no such slot: a bug of the caller.
    pub fn slot_mut(&mut self, slot: SlotIndex) -> &mut [u8] {
        let size = &mut self.sizes[slot.size()];
        size.memory.slice_mut(size.range_of(slot.index()))
    }

    /// Where a slot starts. Nothing is borrowed: pointers from here stay valid until the slot is used otherwise.
    ///
    /// # Panics
    ///
    /// There is no such slot: a bug of the caller.
    pub fn address(&self, slot: SlotIndex) -> NonNull<u8> {
        let size = &self.sizes[slot.size()];
        size.memory.address(&size.range_of(slot.index()))
    }

    /// Lends the host a part of a slot, and takes the rest back, for memory checkers.
    #[inline(always)]
    pub(crate) fn lend(&self, slot: SlotIndex, part: Range<u32>) {
        if poison::IS_ON {
            let size = &self.sizes[slot.size()];
            size.memory.lend(&size.range_of(slot.index()), part.start as usize..part.end as usize);
        }
    }

    /// Size of a slot, in bytes.
    pub fn bytes_of(&self, slot: SlotIndex) -> usize {
        self.sizes[slot.size()].bytes
    }

    /// Number of slots, of all sizes.
    pub fn count(&self) -> u32 {
        self.sizes.iter().map(|size| size.count).sum()
    }

    /// Slots that are taken, of all sizes.
    pub fn in_use(&self) -> u32 {
        self.sizes.iter().map(|size| size.in_use).sum()
    }

    /// Slots that are taken, by size.
    pub fn in_use_by_size(&self) -> [u32; SLOT_SIZES.len()] {
        [self.sizes[0].in_use, self.sizes[1].in_use, self.sizes[2].in_use, self.sizes[3].in_use]
    }

    /// The most slots that were taken at once.
    pub fn in_use_peak(&self) -> u32 {
        self.in_use_peak
    }

    /// Checks what must always hold, walking everything: for tests.
    ///
    /// # Errors
    ///
    /// Names the rule that is broken.
    pub(crate) fn check(&self) -> Result<(), &'static str> {
        self.sizes.iter().try_for_each(Size::check)
    }

    /// Whether a slot is taken.
    pub(crate) fn is_taken(&self, slot: SlotIndex) -> bool {
        self.sizes[slot.size()].is_taken(slot.index())
    }

    /// Bytes of all slots together.
    pub fn bytes(&self) -> usize {
        self.sizes.iter().map(|size| size.count as usize * size.bytes).sum()
    }
}

impl Size {
    fn new(bytes: usize, count: u32, protection: Protection) -> Result<Size, ConfigError> {
        if count > SLOTS_MAX {
            let large = SLOT_SIZES[1..].iter().position(|&size| size == bytes);
            let field = if large.is_some() { "large_slots" } else { "slots" };
            let allowed = Allowed::Range { min: 0, max: SLOTS_MAX.into() };
            return Err(ConfigError::Refused { field, index: large, value: count.into(), allowed });
        }
        let too_large = ConfigError::refused("slots", count.into(), Allowed::Addressable);
        let wanted = (count as usize).checked_mul(bytes).ok_or(too_large)?;
        let memory = Block::new("slots", count, wanted, pages::page_bytes(), protection)?;
        let (taken, next) = (reserve("slots", count.div_ceil(64))?, reserve("slots", count)?);
        Ok(Size { bytes, memory, used: 0, taken, next, free: NIL, count, in_use: 0 })
    }

    fn range_of(&self, index: usize) -> Range<usize> {
        index * self.bytes..(index + 1) * self.bytes
    }

    fn take(&mut self) -> Option<u32> {
        let index = match self.free {
            NIL if self.used < self.count => {
                self.used += 1;
                // Inside what was reserved at start.
                self.taken.resize((self.used as usize).div_ceil(64), 0);
                self.next.push(NIL);
                self.used - 1
            }
            NIL => return None,
            index => {
                self.free = self.next[index as usize];
                index
            }
        };
        self.taken[index as usize / 64] |= 1 << (index % 64);
        self.in_use += 1;
        Some(index)
    }

    fn give(&mut self, index: usize) -> Result<(), SlotError> {
        if !self.is_taken(index) {
            return Err(SlotError::NotTaken);
        }
        self.taken[index / 64] &= !(1 << (index % 64));
        self.next[index] = self.free;
        self.free = index as u32;
        self.in_use -= 1;
        Ok(())
    }

    fn is_taken(&self, index: usize) -> bool {
        self.taken.get(index / 64).is_some_and(|word| word >> (index % 64) & 1 == 1)
    }

    fn check(&self) -> Result<(), &'static str> {
        let taken = self.taken.iter().map(|word| word.count_ones()).sum::<u32>();
        if taken != self.in_use {
            return Err("I1: as many slots are taken as are counted");
        }
        let link = |index: u32| (index != NIL).then_some(index);
        let next = |&index: &u32| self.next.get(index as usize).copied().and_then(link);
        // One more than there can be ends a list that goes in a circle.
        let listed = core::iter::successors(link(self.free), next).take(self.used as usize + 1);
        let (mut free, mut is_free) = (0, true);
        for index in listed {
            free += 1;
            is_free &= index < self.used && !self.is_taken(index as usize);
        }
        if is_free && free == self.used - taken { Ok(()) } else { Err("I1: every free slot is in the free list once") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_free_slot_that_fits_is_taken() {
        let mut slots = Slots::new([1, 1, 0, 1]).expect("there is memory");
        let lengths = [65, 1, 1, 1].map(|bytes| slots.take(bytes).map(|slot| slots.slot(slot).len()));
        assert_eq!(lengths, [Some(256), Some(64), Some(4096), None]);
        assert_eq!((slots.in_use(), slots.in_use_peak(), slots.count()), (3, 3, 3));
    }

    #[test]
    fn slot_is_returned_once() {
        let mut slots = Slots::new([2, 0, 0, 0]).expect("there is memory");
        let (first, second) = (slots.take(64).expect("one is free"), slots.take(64).expect("one is free"));
        assert_eq!(slots.take(64), None);
        assert_eq!(slots.give(second), Ok(()));
        assert_eq!(slots.give(second), Err(SlotError::NotTaken));
        assert_eq!(slots.give(first), Ok(()));
        assert_eq!(slots.give(SlotIndex::new(3, 0)), Err(SlotError::NotTaken));
        assert_eq!((slots.take(1), slots.take(1), slots.take(1)), (Some(first), Some(second), None));
    }

    #[test]
    fn s87_late_write_into_a_free_slot_is_not_believed() {
        let mut slots = Slots::new([4, 0, 0, 0]).expect("there is memory");
        let [first, second, third] = [0, 1, 2].map(|_| slots.take(64).expect("one is free"));
        slots.give(third).expect("it is taken");
        slots.give(second).expect("it is taken");
        // Whatever number the host leaves there, none of the slots in use is lent again.
        slots.slot_mut(second).fill(0);
        slots.slot_mut(third).fill(0xff);
        assert_eq!((slots.take(64), slots.take(64)), (Some(second), Some(third)));
        assert!(slots.take(64).is_some_and(|last| last != first) && slots.take(64).is_none());
        assert_eq!(slots.check(), Ok(()));
    }

    #[test]
    fn slot_check_names_each_violation() {
        type Breaks = fn(&mut Size);
        let broken: [(&str, Breaks); 5] = [
            ("I1: as many slots are taken as are counted", |size| size.in_use -= 1),
            ("I1: as many slots are taken as are counted", |size| size.taken[0] |= 2),
            ("I1: every free slot is in the free list once", |size| size.free = NIL),
            ("I1: every free slot is in the free list once", |size| size.next[2] = 2),
            ("I1: every free slot is in the free list once", |size| size.next[2] = 0),
        ];
        for (case, (rule, breaks)) in broken.into_iter().enumerate() {
            let mut slots = Slots::new([3, 0, 0, 0]).expect("there is memory");
            let taken = [0, 1, 2].map(|_| slots.take(64).expect("one is free"));
            slots.give(taken[1]).expect("it is taken");
            slots.give(taken[2]).expect("it is taken");
            assert_eq!(slots.check(), Ok(()));
            breaks(&mut slots.sizes[0]);
            assert_eq!(slots.check(), Err(rule), "case {case}");
        }
    }

    #[test]
    fn more_slots_than_can_be_numbered_are_refused() {
        let refused = Slots::new([0, SLOTS_MAX + 1, 0, 0]).map(|_| ());
        assert_eq!(
            refused,
            Err(ConfigError::Refused {
                field: "large_slots",
                index: Some(0),
                value: u64::from(SLOTS_MAX) + 1,
                allowed: Allowed::Range { min: 0, max: SLOTS_MAX.into() },
            })
        );
    }
}
