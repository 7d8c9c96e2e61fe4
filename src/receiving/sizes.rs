//! The sizes of cells.

use super::config::HEADER_BYTES;

/// The most sizes there are.
pub(super) const SIZES_MAX: usize = 6;

/// One of the sizes, smallest first.
pub(super) type Size = u8;

/// Cells of 64 bytes, which are only in header buffers.
pub(super) const HEADER: Size = 0;

/// The sizes of cells, for one size of buffers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    bytes: [u32; SIZES_MAX],
    /// The same of those that are smaller than a whole buffer, then what no number is greater than.
    cells: [u32; 8],
    /// The smallest size that fits one more than 2^n bytes, by n. For more bytes, up to twice as many, it is that size
    /// or the next one: a size lies between two powers of 2 alone.
    by_log: [Size; 32],
    count: u8,
}

impl Sizes {
    pub(super) fn new(buffer_bytes: u32) -> Sizes {
        let half = buffer_bytes / 2 / HEADER_BYTES * HEADER_BYTES;
        let small = [256, 1024, 4096].into_iter().filter(|&bytes| bytes < half);
        let half = Some(half).filter(|&bytes| bytes > HEADER_BYTES);
        let mut sizes = Sizes { bytes: [0; SIZES_MAX], cells: [u32::MAX; 8], by_log: [0; 32], count: 0 };
        for bytes in [HEADER_BYTES].into_iter().chain(small).chain(half).chain([buffer_bytes]) {
            sizes.bytes[usize::from(sizes.count)] = bytes;
            sizes.count += 1;
        }
        let cells = usize::from(sizes.whole());
        sizes.cells[..cells].copy_from_slice(&sizes.bytes[..cells]);
        sizes.by_log = core::array::from_fn(|log| {
            let too_small = sizes.cells.iter().filter(|&&cell_bytes| cell_bytes <= 1 << log);
            too_small.count() as Size
        });
        sizes
    }

    /// Size of such a cell, in bytes.
    #[inline]
    pub(super) fn bytes(&self, size: Size) -> u32 {
        self.bytes[usize::from(size)]
    }

    /// A whole buffer.
    #[inline]
    pub(super) fn whole(&self) -> Size {
        self.count - 1
    }

    /// The smallest size that fits this number of bytes, at most a whole buffer.
    #[inline(always)]
    pub(super) fn fitting(&self, bytes: u32) -> Size {
        if bytes <= HEADER_BYTES { HEADER } else { self.fitting_several(bytes) }
    }

    /// As `fitting`, of two bytes at least.
    #[inline(always)]
    fn fitting_several(&self, bytes: u32) -> Size {
        let size = self.by_log[((bytes - 1) | 1).ilog2() as usize];
        size + Size::from(self.cells[usize::from(size % 8)] < bytes)
    }

    /// As `fitting`, of those that are not in header buffers.
    #[inline(always)]
    pub(super) fn fitting_above_header(&self, bytes: u32) -> Size {
        self.fitting_several(bytes.max(HEADER_BYTES + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    fn all(buffer_bytes: u32) -> Vec<u32> {
        let sizes = Sizes::new(buffer_bytes);
        (0..=sizes.whole()).map(|size| sizes.bytes(size)).collect()
    }

    #[test]
    fn sizes_are_those_below_half_a_buffer_half_and_whole() {
        assert_eq!(all(16_448), [64, 256, 1024, 4096, 8192, 16_448]);
        assert_eq!(all(2112), [64, 256, 1024, 2112]);
        assert_eq!(all(8192), [64, 256, 1024, 4096, 8192]);
        assert_eq!(all(1024), [64, 256, 512, 1024]);
        assert_eq!(all(512), [64, 256, 512]);
        assert_eq!((all(192), all(128)), ([64, 192].to_vec(), [64, 128].to_vec()));
    }

    #[test]
    fn smallest_size_that_fits_is_found() {
        let sizes = Sizes::new(16_448);
        let found = [1, 64, 65, 256, 257, 4096, 4097, 8192, 8193, 16_448, u32::MAX].map(|bytes| sizes.fitting(bytes));
        assert_eq!(found, [0, 0, 1, 1, 2, 3, 4, 4, 5, 5, 5]);
        assert_eq!([1, 64, 65, 257].map(|bytes| sizes.fitting_above_header(bytes)), [1, 1, 1, 2]);
    }

    #[test]
    fn smallest_size_is_found_whatever_the_sizes_are() {
        for buffer_bytes in (1..=400).map(|blocks| 128 + 64 * blocks).chain([16 << 20]) {
            let (sizes, all) = (Sizes::new(buffer_bytes), all(buffer_bytes));
            let powers = (6..32).map(|log| 1 << log);
            let around = all.iter().copied().chain(powers).flat_map(|bytes| [bytes - 1, bytes, bytes + 1]);
            for bytes in around.filter(|&bytes| bytes > 1) {
                let too_small = all[..all.len() - 1].iter().filter(|&&cell_bytes| cell_bytes < bytes).count();
                assert_eq!(usize::from(sizes.fitting(bytes)), too_small, "{bytes} of {all:?}");
            }
        }
    }
}
