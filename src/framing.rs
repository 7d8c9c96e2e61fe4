//! Where does the next frame end, and may it stand there? Protocols only as far as the frame layer.
//!
//! A decoder looks at the front of the buffered bytes. It returns the number of bytes that are still missing, or what
//! stands there. It copies nothing, allocates nothing and keeps only what the order of frames needs.

#![forbid(unsafe_code)]

pub mod fcgi;
pub mod h2;
