//! Where does the next frame end, and may it stand there? Protocols only as far as the frame layer.
//!
//! A decoder looks at the front of what is buffered, says how many bytes are still missing, or what stands there. It
//! copies nothing, allocates nothing and keeps only what the order of frames needs.

#![forbid(unsafe_code)]

pub mod h2;
