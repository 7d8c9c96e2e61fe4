//! A buffer as `bytes::Buf` and `bytes::BufMut`.
#![allow(unsafe_code)]

use bytes::buf::UninitSlice;
use bytes::{Buf, BufMut};

/// One leased buffer and the content in it, as `bytes` sees it: reading takes from the front of the content, writing
/// appends to it.
///
/// The buffer is borrowed for as long as the view lives; read [`Lease::content`] before you drop the view to
/// learn where the content is.
#[derive(Debug)]
pub struct Lease<'a> {
    buffer: &'a mut [u8],
    start: usize,
    end: usize,
}

impl<'a> Lease<'a> {
    /// A view of a buffer whose content is `buffer[start..start + buffered_bytes]`; `None` if that is not inside.
    pub fn new(buffer: &'a mut [u8], start: usize, buffered_bytes: usize) -> Option<Lease<'a>> {
        let end = start.checked_add(buffered_bytes)?;
        (end <= buffer.len()).then_some(Lease { buffer, start, end })
    }

    /// Where the content starts and how long it is, in bytes.
    pub fn content(&self) -> (usize, usize) {
        (self.start, self.end - self.start)
    }
}

impl Buf for Lease<'_> {
    fn remaining(&self) -> usize {
        self.end - self.start
    }

    fn chunk(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    fn advance(&mut self, count: usize) {
        assert!(count <= self.remaining(), "advanced by {count} bytes of {}", self.remaining());
        self.start += count;
    }
}

// SAFETY: `chunk_mut` is the initialised memory behind the content, and `advance_mut` never passes its end.
unsafe impl BufMut for Lease<'_> {
    fn remaining_mut(&self) -> usize {
        self.buffer.len() - self.end
    }

    unsafe fn advance_mut(&mut self, count: usize) {
        assert!(count <= self.remaining_mut(), "advanced by {count} bytes of {}", self.remaining_mut());
        self.end += count;
    }

    fn chunk_mut(&mut self) -> &mut UninitSlice {
        UninitSlice::new(&mut self.buffer[self.end..])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_in_order() {
        let mut buffer = [0; 8];
        let mut lease = Lease::new(&mut buffer, 0, 0).expect("an empty content lies inside");
        lease.put_slice(b"abcdef");
        assert_eq!(lease.get_u16(), 0x6162);
        lease.put_u8(b'g');
        assert_eq!((lease.chunk(), lease.remaining_mut()), (b"cdefg".as_slice(), 1));
        assert_eq!(lease.content(), (2, 5));
    }

    #[test]
    fn a_content_outside_the_buffer_is_refused() {
        let mut buffer = [0; 8];
        assert!(Lease::new(&mut buffer, 4, 5).is_none());
        assert!(Lease::new(&mut buffer, 4, usize::MAX).is_none());
        assert!(Lease::new(&mut buffer, 4, 4).is_some());
    }
}
