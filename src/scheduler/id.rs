//! Handles: an index and a generation, so that a stale one is refused.

use core::fmt;

/// A connection's hold on one buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseId(u64);

/// A place in a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WaitId(u64);

/// A tenant: a party that has a fair share of the buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TenantId(u64);

macro_rules! handle {
    ($name:ident, $kind:expr) => {
        impl $name {
            /// Changes the number, so that it is refused where a handle of another kind is expected. Without it, a
            /// lease and a wait with the same index and generation would have the same number.
            const KIND: u64 = $kind << 54;

            pub(crate) const fn new(index: u32, generation: Generation) -> $name {
                $name((generation.0 as u64) << 32 | index as u64)
            }

            /// The handle as a number, for C and for logs.
            pub const fn to_bits(self) -> u64 {
                self.0 ^ Self::KIND
            }

            /// The handle with this number. Any number is allowed; a number that names no entry is refused where it
            /// is used.
            pub const fn from_bits(bits: u64) -> $name {
                $name(bits ^ Self::KIND)
            }

            /// Index of the entry; a lease's is that of its buffer.
            #[doc(hidden)]
            pub const fn index(self) -> u32 {
                self.0 as u32
            }

            pub(crate) const fn generation(self) -> Generation {
                Generation((self.0 >> 32) as u32)
            }
        }

        /// The number that C and logs have.
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.to_bits().fmt(f)
            }
        }
    };
}

handle!(LeaseId, 0);
handle!(WaitId, 1);
handle!(TenantId, 2);

/// How often an entry was used, in its low 24 bits, and the pool's tag above. After 2^24 uses of one entry its numbers
/// start again: a handle kept for that long could be taken for a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Generation(u32);

const USES: u32 = 0x00ff_ffff;

impl Generation {
    pub(crate) const fn first(tag: u8) -> Generation {
        Generation((tag as u32) << 24 | 1)
    }

    /// The generation with this number, as [`Generation::to_bits`] gave it.
    #[cfg(feature = "std")]
    pub(crate) const fn from_bits(bits: u32) -> Generation {
        Generation(bits)
    }

    #[cfg(feature = "std")]
    pub(crate) const fn to_bits(self) -> u32 {
        self.0
    }

    /// How often the entry was used before: 0 for the first time.
    pub(crate) const fn uses_before(self) -> u32 {
        self.0.wrapping_sub(1) & USES
    }

    pub(crate) const fn next(self) -> Generation {
        Generation((self.0 & !USES) | (self.0.wrapping_add(1) & USES))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handle_of_one_kind_is_invalid_as_another() {
        let (index, generation) = (7, Generation::first(3).next());
        let (lease, wait) = (LeaseId::new(index, generation), WaitId::new(index, generation));
        assert_ne!(lease.to_bits(), wait.to_bits());
        assert_ne!(WaitId::from_bits(lease.to_bits()).generation(), generation);
        assert_eq!(WaitId::from_bits(wait.to_bits()), wait);
        assert_eq!(WaitId::from_bits(wait.to_bits()).index(), index);
        assert_eq!(alloc::format!("{wait}"), alloc::format!("{}", wait.to_bits()));
    }

    #[test]
    fn a_generation_keeps_its_tag_when_it_wraps() {
        let last = Generation(0xab << 24 | USES);
        assert_eq!(last.next(), Generation(0xab << 24));
        assert_eq!(last.next().next(), Generation::first(0xab));
    }
}
