//! Where the buffers of receivers come from.

use super::Split;
use crate::alloc_util::reserve;
use crate::config_error::ConfigError;
use alloc::vec::Vec;

/// The buffers that receivers may use. Their numbers are those of the arena.
pub trait Buffers {
    /// How many may be taken now, one after the other.
    fn free(&self) -> u32;

    /// Takes a buffer, if one is free.
    fn take(&mut self) -> Option<u32>;

    /// Returns a buffer. A request of the host's own that waits may have it at once.
    fn give(&mut self, buffer: u32);

    /// How many are taken, by receivers or otherwise by way of `take`.
    fn taken(&self) -> u32;

    /// Whether a request of the host's own waits that content may be evicted for.
    fn is_wanted(&self) -> bool;
}

/// Buffers that only receivers use.
#[derive(Debug)]
pub struct FreeList {
    free: Vec<u32>,
    all: u32,
}

impl FreeList {
    /// All buffers of a pool.
    pub(super) fn new(split: &Split) -> Result<FreeList, ConfigError> {
        let mut free = reserve("memory_bytes", split.buffers)?;
        free.extend((0..split.buffers).rev());
        Ok(FreeList { free, all: split.buffers })
    }
}

impl Buffers for FreeList {
    fn free(&self) -> u32 {
        self.free.len() as u32
    }

    fn taken(&self) -> u32 {
        self.all - self.free()
    }

    fn take(&mut self) -> Option<u32> {
        self.free.pop()
    }

    fn give(&mut self, buffer: u32) {
        self.free.push(buffer);
    }

    fn is_wanted(&self) -> bool {
        false
    }
}
