//! Cells, packed densely: those of one size lie one behind the other, so that at most one buffer of a size is not full.
//!
//! Nothing outside points into a cell, so the last one of a size fills the place of one that is freed. Each has its
//! owner written beside it, whose place changes then. Cells of whole buffers are not here: a whole buffer is its
//! owner's.

use super::NIL;
use super::config::Split;
use super::sizes::{HEADER, SIZES_MAX, Size, Sizes};
use crate::alloc_util::reserve;
use crate::config_error::ConfigError;
use alloc::vec::Vec;
use core::num::NonZero;

/// The cells of all sizes but whole buffers.
#[cfg_attr(feature = "model-check", derive(Clone))]
#[derive(Debug)]
pub(super) struct Cells {
    pub(super) sizes: Sizes,
    /// The most cells of 64 bytes.
    header_cells: u32,
    kinds: [Kind; SIZES_MAX - 1],
}

/// The cells of one size.
#[cfg_attr(feature = "model-check", derive(Clone))]
#[derive(Debug)]
struct Kind {
    bytes: u32,
    per_buffer: NonZero<u32>,
    /// The buffers that are cut into such cells, in the order of their cells.
    buffers: Vec<u32>,
    /// The keeper whose cell it is, of each.
    owners: Vec<u32>,
}

impl Kind {
    /// Of a size that there is not.
    const UNUSED: Kind = Kind { bytes: 0, per_buffer: NonZero::<u32>::MIN, buffers: Vec::new(), owners: Vec::new() };
}

/// What became of a size when one of its cells was freed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Freed {
    /// The keeper whose cell fills the place now; its content has to be moved there from `from`.
    pub(super) moved: Option<Move>,
    /// A buffer that has no cell any more; what was to be moved from it is still in it.
    pub(super) emptied: Option<u32>,
}

/// A cell that fills the place of another.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Move {
    pub(super) owner: u32,
    /// Buffer, and offset in it.
    pub(super) from: (u32, usize),
    pub(super) to: (u32, usize),
}

impl Cells {
    /// Tables for as many cells as fit. Each header buffer is taken from `next`.
    pub(super) fn new(buffer_bytes: u32, split: &Split, mut next: impl FnMut() -> u32) -> Result<Cells, ConfigError> {
        let sizes = Sizes::new(buffer_bytes);
        let mut kinds = [Kind::UNUSED; SIZES_MAX - 1];
        for (size, kind) in (0..sizes.whole()).zip(&mut kinds) {
            let bytes = sizes.bytes(size);
            let per_buffer = NonZero::new(buffer_bytes / bytes).expect("a cell fits into a buffer");
            let buffers = if size == HEADER { split.header_buffers } else { split.buffers };
            let cells = u64::from(buffers) * u64::from(per_buffer.get());
            // A receiver has at most one.
            let cells = cells.min(split.receivers_max.into()) as u32;
            *kind = Kind {
                bytes,
                per_buffer,
                buffers: reserve("memory_bytes", buffers)?,
                owners: reserve("memory_bytes", cells)?,
            };
        }
        kinds[usize::from(HEADER)].buffers.extend((0..split.header_buffers).map(|_| next()));
        Ok(Cells { sizes, header_cells: split.header_cells, kinds })
    }

    #[inline(always)]
    fn kind(&self, size: Size) -> &Kind {
        &self.kinds[usize::from(size)]
    }

    /// Whether one more such cell needs no buffer; a cell less of this size counts if `is_one_less`.
    #[inline(always)]
    pub(super) fn has_hole(&self, size: Size, is_one_less: bool) -> bool {
        let kind = self.kind(size);
        let cells = kind.owners.len() as u32 - u32::from(is_one_less);
        if size == HEADER { cells < self.header_cells } else { cells % kind.per_buffer != 0 }
    }

    /// Whether freeing one such cell empties a buffer.
    #[inline(always)]
    pub(super) fn empties_with_one_less(&self, size: Size) -> bool {
        let kind = self.kind(size);
        size != HEADER && kind.owners.len() as u32 % kind.per_buffer == 1 % kind.per_buffer
    }

    /// Whether a cell of 64 bytes is free.
    pub(super) fn has_header_cell(&self) -> bool {
        self.has_hole(HEADER, false)
    }

    /// The next cell of this size, behind all others; a buffer is needed exactly if the size `has_hole` not.
    pub(super) fn take(&mut self, size: Size, owner: u32, buffer: impl FnOnce() -> u32) -> u32 {
        if !self.has_hole(size, false) {
            self.cut(size, buffer());
        }
        self.fill_hole(size, owner)
    }

    /// A buffer is cut into cells of this size, which has no hole.
    #[inline]
    pub(super) fn cut(&mut self, size: Size, buffer: u32) {
        self.kinds[usize::from(size)].buffers.push(buffer);
    }

    /// Takes a cell of a size that has a hole.
    #[inline(always)]
    pub(super) fn fill_hole(&mut self, size: Size, owner: u32) -> u32 {
        let owners = &mut self.kinds[usize::from(size)].owners;
        // Inside what was reserved.
        owners.push(owner);
        owners.len() as u32 - 1
    }

    /// The last cell of this size, which has some.
    #[inline(always)]
    pub(super) fn last(&self, size: Size) -> u32 {
        self.kind(size).owners.len() as u32 - 1
    }

    /// The owner of the last cell of this size has this one, too. Returns it.
    pub(super) fn replace_owner(&mut self, size: Size, index: u32) -> u32 {
        let owners = &mut self.kinds[usize::from(size)].owners;
        let owner = owners[owners.len() - 1];
        owners[index as usize] = owner;
        owner
    }

    /// Frees the last cell of this size. Returns a buffer that is emptied by that.
    #[inline(always)]
    pub(super) fn free_last(&mut self, size: Size) -> Option<u32> {
        let kind = &mut self.kinds[usize::from(size)];
        kind.owners.pop();
        if size != HEADER && kind.owners.len() as u32 % kind.per_buffer == 0 { kind.buffers.pop() } else { None }
    }

    /// Frees a cell.
    pub(super) fn free(&mut self, size: Size, index: u32) -> Freed {
        let last = self.last(size);
        let moved = (index != last).then(|| {
            let (from, to) = (self.locate(size, last), self.locate(size, index));
            Move { owner: self.replace_owner(size, index), from, to }
        });
        Freed { moved, emptied: self.free_last(size) }
    }

    /// The buffer of a cell, and where the cell begins in it.
    #[inline(always)]
    pub(super) fn locate(&self, size: Size, index: u32) -> (u32, usize) {
        let kind = self.kind(size);
        let buffer = kind.buffers[(index / kind.per_buffer) as usize];
        (buffer, (index % kind.per_buffer * kind.bytes) as usize)
    }

    /// The keeper whose cell it is.
    pub(super) fn owner(&self, size: Size, index: u32) -> u32 {
        self.kind(size).owners.get(index as usize).copied().unwrap_or(NIL)
    }

    /// Size in bytes and number of cells in use, smallest first.
    pub(super) fn counts(&self) -> impl Iterator<Item = (u32, u32)> {
        (0..self.sizes.whole()).map(|size| (self.kind(size).bytes, self.kind(size).owners.len() as u32))
    }

    /// Buffers that are cut, but for header buffers.
    pub(super) fn cut_buffers(&self) -> u32 {
        self.kinds[1..].iter().map(|kind| kind.buffers.len() as u32).sum()
    }

    /// Whether the cells of each size are packed.
    pub(super) fn is_packed(&self) -> bool {
        let is_packed =
            |kind: &Kind| kind.buffers.len() as u32 == (kind.owners.len() as u32).div_ceil(kind.per_buffer.get());
        self.kinds[1..].iter().all(is_packed) && self.kinds[0].owners.len() as u32 <= self.header_cells
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two buffers of header cells, of which three cells are used; buffers of 1,024 bytes: four cells of 256, two of
    /// 512.
    fn cells() -> Cells {
        let split = Split {
            buffers: 12,
            header_buffers: 2,
            header_cells: 3,
            always: 3,
            spares: 0,
            in_use: 5,
            reserve: 1,
            receivers_max: 9,
            in_flight_max: 1,
            buffer_bytes: 1024,
        };
        let mut header_buffers = 1..;
        Cells::new(1024, &split, || header_buffers.next().expect("there are more")).expect("there is memory")
    }

    #[test]
    fn freed_cell_is_filled_with_the_last() {
        let mut cells = cells();
        let taken: Vec<u32> = (0..5).map(|owner| cells.take(1, 10 + owner, || 3 + owner)).collect();
        assert_eq!((taken, cells.cut_buffers()), ([0, 1, 2, 3, 4].to_vec(), 2));
        assert_eq!([0, 3, 4].map(|index| cells.locate(1, index)), [(3, 0), (3, 768), (7, 0)]);
        assert!(cells.has_hole(1, false) && !cells.has_hole(1, true) && cells.empties_with_one_less(1));
        let moved = Some(Move { owner: 14, from: (7, 0), to: (3, 256) });
        assert_eq!(cells.free(1, 1), Freed { moved, emptied: Some(7) });
        assert_eq!((cells.owner(1, 1), cells.owner(1, 4), cells.is_packed()), (14, NIL, true));
        assert!(!cells.has_hole(1, false) && cells.has_hole(1, true) && !cells.empties_with_one_less(1));
        assert_eq!(cells.free(1, 3), Freed { moved: None, emptied: None });
    }

    #[test]
    fn half_buffers_are_two_to_a_buffer() {
        let mut cells = cells();
        assert_eq!(cells.take(2, 1, || 5), 0);
        assert!(cells.empties_with_one_less(2));
        assert_eq!(cells.take(2, 2, || unreachable!("there is a hole")), 1);
        assert!(!cells.empties_with_one_less(2));
        assert_eq!(cells.counts().collect::<Vec<_>>(), [(64, 0), (256, 0), (512, 2)]);
    }

    #[test]
    fn header_cells_are_limited_and_empty_no_buffer() {
        let mut cells = cells();
        for owner in 0..3 {
            assert!(cells.has_hole(HEADER, false));
            cells.take(HEADER, owner, || unreachable!("its buffers are there"));
        }
        assert!(!cells.has_hole(HEADER, false) && cells.has_hole(HEADER, true) && !cells.empties_with_one_less(HEADER));
        assert_eq!(cells.locate(HEADER, 2), (1, 128));
        let moved = Some(Move { owner: 2, from: (1, 128), to: (1, 0) });
        assert_eq!(cells.free(HEADER, 0), Freed { moved, emptied: None });
        assert_eq!(cells.cut_buffers(), 0);
    }
}
