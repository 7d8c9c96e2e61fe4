//! The C library: everything that [`demuxbuf_capi`] exports, under the name by which C programs link it.

pub use demuxbuf_capi::*;
