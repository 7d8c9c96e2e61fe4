//! The memory behind the pool's ids: one arena of buffers, and small parking slots. No policy, no I/O.
//!
//! Everything is reserved at start and nothing afterwards. The arena is page aligned and zeroed by the operating system
//! on first touch, so a buffer that was never used costs address space only.

#![deny(unsafe_code)]

mod arena;
mod block;
#[cfg(feature = "bytes")]
mod lease;
pub(crate) mod poison;
mod reach;
mod slots;

pub use arena::Arena;
#[cfg(feature = "bytes")]
pub use lease::Lease;
#[doc(hidden)]
pub use reach::Reach;
pub use slots::{SLOT_BYTES, SLOT_SIZES, SLOTS_MAX};
#[doc(hidden)]
pub use slots::{SlotError, SlotIndex, Slots};

use crate::config_error::ConfigError;
use core::ops::Range;

/// Size of a buffer if the configuration does not say: the largest HTTP/2 frame that every peer must accept (16,384 bytes
/// and a header of 9, RFC 9113 section 4.2), rounded up to a multiple of 64.
pub const BUFFER_BYTES_DEFAULT: u32 = 16_448;
/// The smallest size of a buffer: one parking slot.
pub const BUFFER_BYTES_MIN: u32 = 64;
/// The largest size of a buffer: the largest HTTP/2 frame (RFC 9113 section 4.2), rounded up.
pub const BUFFER_BYTES_MAX: u32 = 16 << 20;

/// The most sizes of buffers there can be.
pub const BUFFER_SIZES_MAX: usize = 4;

/// How much memory is reserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryConfig {
    /// Buffers of the default size, at least 1: the budget that all sizes share.
    pub buffers: u32,
    /// Size of each kind of buffer, in bytes: a multiple of 64 from [`BUFFER_BYTES_MIN`] to [`BUFFER_BYTES_MAX`]. The
    /// first is the default; 0 for no such kind.
    pub buffer_bytes: [u32; BUFFER_SIZES_MAX],
    /// Parking slots of each of the [`SLOT_SIZES`].
    pub slots: [u32; SLOT_SIZES.len()],
    /// What is done so that the bytes of peers stay where they are needed.
    pub protection: Protection,
}

/// What is done so that the bytes of peers stay where they are needed; the default is nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Protection {
    /// A buffer or slot is overwritten with zeros when it is released.
    pub wipe: bool,
    /// The memory is left out of core dumps (madvise(2), `MADV_DONTDUMP`).
    pub no_dump: bool,
}

/// The arena and the slots of one pool.
#[cfg_attr(feature = "model-check", derive(Clone))]
#[derive(Debug)]
#[doc(hidden)]
pub struct Memory {
    arena: Arena,
    slots: Slots,
    wipes: bool,
}

impl Memory {
    /// Reserves everything.
    ///
    /// # Errors
    ///
    /// A size is not allowed, or the allocator has no such memory; what had been reserved is freed.
    pub fn new(config: &MemoryConfig) -> Result<Memory, ConfigError> {
        Memory::with_arena(Arena::protected(config.buffers, &config.buffer_bytes, config.protection)?, config)
    }

    /// Reserves slots only, beside buffers that are there.
    pub(crate) fn with_arena(arena: Arena, config: &MemoryConfig) -> Result<Memory, ConfigError> {
        let slots = Slots::protected(config.slots, config.protection)?;
        Ok(Memory { arena, slots, wipes: config.protection.wipe })
    }

    /// The buffers.
    pub fn arena(&self) -> &Arena {
        &self.arena
    }

    /// The buffers, for writing.
    pub fn arena_mut(&mut self) -> &mut Arena {
        &mut self.arena
    }

    /// The parking slots.
    pub fn slots(&self) -> &Slots {
        &self.slots
    }

    /// The parking slots, for writing.
    pub fn slots_mut(&mut self) -> &mut Slots {
        &mut self.slots
    }

    /// Whether what is released is overwritten.
    #[inline(always)]
    pub(crate) fn wipes(&self) -> bool {
        self.wipes
    }

    /// A buffer is about to be released: wipes it if that is asked for, and takes it back from memory checkers.
    #[inline(always)]
    pub(crate) fn retire_buffer(&mut self, buffer: u32) {
        self.arena.retire(buffer, self.wipes);
    }

    /// As `retire_buffer`, of a slot.
    #[inline(always)]
    pub(crate) fn retire_slot(&mut self, slot: SlotIndex) {
        if self.wipes {
            self.wipe_slot(slot);
        }
        self.slots.lend(slot, 0..0);
    }

    #[cold]
    #[inline(never)]
    fn wipe_slot(&mut self, slot: SlotIndex) {
        self.slots.slot_mut(slot).fill(0);
    }

    /// Copies undecoded bytes from a buffer to the front of a slot. Cost: the copy.
    ///
    /// # Panics
    ///
    /// The range is not inside the buffer, or longer than a slot: a bug of the caller.
    pub fn park(&mut self, buffer: u32, content: Range<usize>, slot: SlotIndex) {
        let buffered_bytes = content.len();
        self.slots.slot_mut(slot)[..buffered_bytes].copy_from_slice(&self.arena.buffer(buffer)[content]);
    }

    /// Copies undecoded bytes from a slot to the front of a buffer. Cost: the copy.
    ///
    /// # Panics
    ///
    /// The range is not inside the slot: a bug of the caller.
    pub fn unpark(&mut self, slot: SlotIndex, content: Range<usize>, buffer: u32) {
        let buffered_bytes = content.len();
        self.arena.buffer_mut(buffer)[..buffered_bytes].copy_from_slice(&self.slots.slot(slot)[content]);
    }

    /// The budget of the buffers, and all slots, in bytes.
    pub fn reserved_bytes(&self) -> usize {
        self.arena.bytes() + self.slots.bytes()
    }

    /// The most bytes of buffers and slots that can be resident, see [`Arena::resident_bytes_max`]; rounded up to pages
    /// it is a little more.
    pub fn resident_bytes_max(&self) -> usize {
        self.arena.resident_bytes_max() + self.slots.bytes()
    }
}
