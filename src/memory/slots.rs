//! Parking slots: 64 bytes for a residue, or to receive into without a buffer.

use super::MemoryError;
use alloc::vec::Vec;

/// Size of a parking slot, in bytes.
pub const SLOT_BYTES: usize = 64;

/// The index of a slot that was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SlotIndex(u32);

/// Why a slot was not taken back. Nothing is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotError {
    /// The slot is free.
    NotTaken,
}

/// All parking slots of a pool.
#[derive(Debug)]
pub struct Slots {
    memory: Vec<[u8; SLOT_BYTES]>,
    links: Vec<Link>,
    free: Option<u32>,
    in_use: u32,
    in_use_peak: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    Taken,
    Free { next: Option<u32> },
}

impl Slots {
    /// Reserves `count` slots; 0 for none.
    ///
    /// # Errors
    ///
    /// The allocator has no such memory.
    pub fn new(count: u32) -> Result<Slots, MemoryError> {
        let failed = |bytes| MemoryError::AllocationFailed { field: "slots", bytes };
        let entries = count as usize;
        let mut memory = Vec::new();
        memory.try_reserve_exact(entries).map_err(|_| failed(entries.saturating_mul(SLOT_BYTES)))?;
        let mut links = Vec::new();
        links.try_reserve_exact(entries).map_err(|_| failed(entries.saturating_mul(size_of::<Link>())))?;
        links.extend((1..=count).map(|next| Link::Free { next: (next < count).then_some(next) }));
        Ok(Slots { memory, links, free: (count > 0).then_some(0), in_use: 0, in_use_peak: 0 })
    }

    /// Takes a slot, if one is free. Cost: O(1).
    pub fn take(&mut self) -> Option<SlotIndex> {
        let index = self.free?;
        let Link::Free { next } = self.links[index as usize] else {
            unreachable!("the free list links free slots only");
        };
        // The slots are touched in order of first use, so that those never used cost address space only.
        if self.memory.len() <= index as usize {
            self.memory.resize(index as usize + 1, [0; SLOT_BYTES]);
        }
        self.free = next;
        self.links[index as usize] = Link::Taken;
        self.in_use += 1;
        self.in_use_peak = self.in_use_peak.max(self.in_use);
        Some(SlotIndex(index))
    }

    /// Gives a slot back. Cost: O(1).
    ///
    /// # Errors
    ///
    /// The slot is not taken, or of another pool; nothing is changed.
    pub fn give(&mut self, slot: SlotIndex) -> Result<(), SlotError> {
        match self.links.get_mut(slot.0 as usize) {
            Some(link @ Link::Taken) => *link = Link::Free { next: self.free },
            _ => return Err(SlotError::NotTaken),
        }
        self.free = Some(slot.0);
        self.in_use -= 1;
        Ok(())
    }

    /// The memory of a slot that is taken.
    ///
    /// # Panics
    ///
    /// The slot was never taken: a bug of the caller.
    pub fn slot(&self, slot: SlotIndex) -> &[u8] {
        &self.memory[slot.0 as usize]
    }

    /// As [`slot`](Slots::slot), for writing.
    ///
    /// # Panics
    ///
    /// The slot was never taken: a bug of the caller.
    pub fn slot_mut(&mut self, slot: SlotIndex) -> &mut [u8] {
        &mut self.memory[slot.0 as usize]
    }

    /// Number of slots.
    pub fn count(&self) -> u32 {
        self.links.len() as u32
    }

    /// Slots that are taken.
    pub fn in_use(&self) -> u32 {
        self.in_use
    }

    /// The most slots that were taken at once.
    pub fn in_use_peak(&self) -> u32 {
        self.in_use_peak
    }

    /// Bytes of all slots together.
    pub fn bytes(&self) -> usize {
        self.links.len() * SLOT_BYTES
    }
}
