//! The `extern "C"` layer: the only one that C sees.
//!
//! Every function checks its pointers, keeps panics on this side of the boundary and translates between Rust results
//! and the numbers of the C API. It holds no rules of its own: those are in [`connection`](demuxbuf::connection),
//! [`pool`](demuxbuf::pool) and [`receiver`](demuxbuf::receiver). The header `include/demuxbuf.h` is generated from the
//! docs here; a test fails when it is out of date.
//!
//! # Safety
//!
//! Of every function: pointers are NULL or valid for what the parameter's type says, and no other thread uses the
//! objects meanwhile, unless the function's thread rule says otherwise.
#![allow(unsafe_code)]
#![allow(clippy::missing_safety_doc, reason = "one rule for all, stated above")]

mod config;
mod connection;
mod framing;
mod pool;
mod receiver;
mod shards;
mod status;
mod tag;
mod tenant;

pub use config::*;
pub use connection::*;
pub use framing::*;
pub use pool::*;
pub use receiver::*;
pub use shards::*;
pub use status::*;
pub use tenant::*;

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs `body`; if it panics, `None`. The caller poisons what `body` was working on.
fn guarded<T>(body: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(body)).ok()
}
