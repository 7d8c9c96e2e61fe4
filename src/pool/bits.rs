//! One bit for each row of a table.

use crate::alloc_util::reserve;
use crate::config_error::ConfigError;
use alloc::vec::Vec;

/// Bits that are all 0 at first.
#[cfg_attr(feature = "model-check", derive(Clone))]
#[derive(Debug)]
pub(super) struct Bits {
    words: Vec<u64>,
    ones: u32,
}

impl Bits {
    /// Room for as many bits; `field` is the setting that they come from.
    pub(super) fn new(field: &'static str, bits: u32) -> Result<Bits, ConfigError> {
        Ok(Bits { words: reserve(field, bits.div_ceil(64))?, ones: 0 })
    }

    /// Whether one of them is 1.
    #[inline(always)]
    pub(super) fn has_any(&self) -> bool {
        self.ones > 0
    }

    /// One of the bits.
    pub(super) fn get(&self, at: u32) -> bool {
        self.words.get(at as usize / 64).is_some_and(|word| word >> (at % 64) & 1 == 1)
    }

    /// One of the bits is 0 from now on.
    #[inline(always)]
    pub(super) fn clear(&mut self, at: u32) {
        if self.has_any() {
            self.set(at, false);
        }
    }

    /// Changes one of the bits.
    pub(super) fn set(&mut self, at: u32, is_set: bool) {
        if self.get(at) == is_set {
            return;
        }
        let word = at as usize / 64;
        if word >= self.words.len() {
            // Inside what was reserved.
            self.words.resize(word + 1, 0);
        }
        self.words[word] ^= 1 << (at % 64);
        self.ones = if is_set { self.ones + 1 } else { self.ones - 1 };
    }
}
