//! Reserving memory at the start, with an error where the standard library would end the process, and hints about its
//! use. A leaf: every layer may use it.

#[cfg(feature = "std")]
mod owned;
pub(crate) mod pages;
mod prefetch;
mod table;

#[cfg(feature = "std")]
pub use owned::{TryArc, try_box};
pub(crate) use prefetch::prefetch;
pub(crate) use table::reserve;
