//! Copies between buffers of an arena.

use super::arena::{Arena, Region};
use super::block::COPIED_AT_ONCE;
use core::ops::Range;
use core::ptr::NonNull;

impl Arena {
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

    /// Copies bytes of one buffer to a place in another, or in the same one.
    ///
    /// # Panics
    ///
    /// A range is not inside its buffer: a bug of the caller.
    pub(crate) fn move_bytes(&mut self, from: (u32, usize), bytes: usize, to: (u32, usize)) {
        let source = from.1..from.1 + bytes;
        if from.0 == to.0 {
            return self.buffer_mut(to.0).copy_within(source, to.1);
        }
        let (from_range, to_range) = (self.range_of(from.0), self.range_of(to.0));
        assert!(source.end <= from_range.len() && to.1 + bytes <= to_range.len(), "the content fits into both buffers");
        self.block.copy(from_range.start + source.start..from_range.start + source.end, to_range.start + to.1);
    }

    /// As `move_bytes`, between places of buffers of the first size; returns where the bytes are then. At least
    /// [`COPIED_AT_ONCE`] are copied, since a loop for fewer takes longer. `None`, and nothing is copied, if they are
    /// not inside of both buffers.
    #[inline(always)]
    pub(crate) fn try_copy(&mut self, from: (u32, usize), bytes: usize, to: (u32, usize)) -> Option<NonNull<u8>> {
        if bytes > COPIED_AT_ONCE {
            return self.block.try_copy(self.place(from, bytes)?, bytes, self.place(to, bytes)?);
        }
        match (self.place(from, COPIED_AT_ONCE), self.place(to, COPIED_AT_ONCE)) {
            (Some(from), Some(to)) => self.block.try_copy_at_once(from, to),
            _ => None, // Fewer may be inside.
        }
    }

    /// Where this many bytes lie in the block, of a buffer of the first size. `None` if they are not inside of it.
    #[inline(always)]
    fn place(&self, (index, start): (u32, usize), bytes: usize) -> Option<usize> {
        let Region { count, bytes: buffer_bytes, offset, .. } = self.regions[0];
        let is_inside = index < count && start + bytes <= buffer_bytes as usize;
        is_inside.then(|| offset + index as usize * buffer_bytes as usize + start)
    }

    /// Where a place in a buffer is, if that is one of the first size.
    #[inline(always)]
    pub(crate) fn address_of(&self, at: (u32, usize)) -> Option<NonNull<u8>> {
        Some(self.block.address_at(self.place(at, 0)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nothing is written where they are not inside of both buffers.
    #[test]
    fn bytes_are_copied_inside_of_buffers() {
        let mut arena = Arena::new(3, &[128, 0, 0, 0]).expect("there is memory");
        arena.buffer_mut(1).fill(1);
        for (from, bytes, to) in [
            ((1, 65), 64, (0, 0)),
            ((1, 0), 64, (2, 65)),
            ((3, 0), 1, (0, 0)),
            ((1, 0), 1, (3, 0)),
            ((1, 28), 101, (0, 0)),
            ((1, 0), 101, (0, 28)),
            ((1, 100), 28, (2, 8)),
        ] {
            assert_eq!(arena.try_copy(from, bytes, to), None, "{from:?} {bytes} {to:?}");
        }
        let sum = |arena: &Arena, index| arena.buffer(index).iter().map(|&byte| u32::from(byte)).sum::<u32>();
        assert_eq!([0, 1, 2].map(|index| sum(&arena, index)), [0, 128, 0]);
        for (from, bytes, to) in
            [((1, 64), 3, (0, 64)), ((0, 64), 64, (0, 0)), ((1, 64), 3, (2, 8)), ((1, 20), 100, (2, 28))]
        {
            let at = arena.try_copy(from, bytes, to);
            assert_eq!(at.map(NonNull::as_ptr), Some(arena.address(to.0).as_ptr().wrapping_add(to.1)));
            assert_eq!(at, arena.address_of(to));
            assert_eq!(arena.buffer(to.0)[to.1..to.1 + bytes], [1; 100][..bytes]);
        }
        assert_eq!([0, 1, 2].map(|index| sum(&arena, index)), [128, 128, 120]);
    }

    /// As if all of them were read before the first is written.
    #[test]
    fn bytes_are_copied_to_where_they_overlap() {
        for (bytes, from, to) in [(64, 0, 63), (64, 63, 0), (64, 5, 5), (100, 0, 28), (100, 28, 0), (65, 1, 0)] {
            let mut arena = Arena::new(1, &[128, 0, 0, 0]).expect("there is memory");
            (0..).zip(arena.buffer_mut(0)).for_each(|(value, byte)| *byte = value);
            let at = arena.try_copy((0, from), bytes, (0, to));
            assert_eq!(at, arena.address_of((0, to)));
            let copied = &arena.buffer(0)[to..to + bytes];
            assert!(copied.iter().zip(from..).all(|(&byte, value)| usize::from(byte) == value), "{from} to {to}");
        }
    }
}
