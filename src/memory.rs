//! The memory behind the pool's ids: one arena of buffers. No policy, no I/O. Beside it, a lock for what threads share.
//!
//! Everything is reserved at start and nothing afterwards. The arena is page aligned and zeroed by the operating system
//! on first touch, so a buffer that was never used costs address space only.

#![deny(unsafe_code)]

mod address;
mod arena;
mod block;
mod copy;
#[cfg(feature = "bytes")]
mod lease;
pub(crate) mod poison;
mod reach;
#[cfg(all(feature = "std", any(not(loom), test)))]
pub(crate) mod short_lock;

pub(crate) use address::Address;
pub use arena::Arena;
#[cfg(feature = "bytes")]
pub use lease::Lease;
#[doc(hidden)]
pub use reach::Reach;

/// Size of a buffer if the configuration does not say: the largest HTTP/2 frame that every peer must accept (16,384
/// bytes and a header of 9, RFC 9113 section 4.2), rounded up to a multiple of 64.
pub const BUFFER_BYTES_DEFAULT: u32 = 16_448;
/// The smallest size of a buffer.
pub const BUFFER_BYTES_MIN: u32 = 64;
/// The largest size of a buffer: the largest HTTP/2 frame (RFC 9113 section 4.2), rounded up.
pub const BUFFER_BYTES_MAX: u32 = 16 << 20;

/// The most sizes of buffers there can be.
pub const BUFFER_SIZES_MAX: usize = 4;

/// What is done so that the bytes of peers stay where they are needed; the default is nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Protection {
    /// A buffer is overwritten with zeros when it is released.
    pub wipe: bool,
    /// The memory is left out of core dumps (madvise(2), `MADV_DONTDUMP`).
    pub no_dump: bool,
}
