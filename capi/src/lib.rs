//! The `extern "C"` layer: the only one that C sees.
//!
//! Every function checks its pointers, keeps panics on this side of the boundary and translates between Rust results
//! and the numbers of the C API. It holds no rules of its own: those are in [`connection`](demuxbuf::connection),
//! [`pool`](demuxbuf::pool), [`scheduler`](demuxbuf::scheduler), [`shared`](demuxbuf::shared) and
//! [`framing`](demuxbuf::framing). The header `include/demuxbuf.h` is generated from the docs here; a test fails when
//! it is out of date.
//!
//! # Safety
//!
//! Of every function: pointers are NULL, or aligned and valid for the parameter's type and its length or `struct_size`.
//! What is read is initialised. What is written overlaps nothing else that the call is given. A pool or shared pool was
//! made by this library and is not freed. No other thread uses these objects meanwhile, except where the function's
//! thread rule allows it.
#![allow(unsafe_code)]
#![allow(clippy::missing_safety_doc, reason = "one rule for all, stated above")]

mod actions;
mod any_pool;
mod attach;
mod audit;
mod config;
mod connection;
mod deliver;
mod event;
mod fcgi;
mod guard;
mod h2;
mod info;
mod make;
mod nested;
mod never;
mod notice;
mod out;
mod policy;
mod pool;
mod receiver;
mod refusal;
mod request;
mod row_call;
mod row_steps;
mod shared_pool;
mod stats;
mod status;
mod step;
mod strerror;
mod tag;
mod tenant;
mod version;

pub use actions::*;
pub use attach::*;
pub use audit::*;
pub use config::*;
pub use connection::*;
pub use deliver::*;
pub use event::*;
pub use fcgi::*;
pub use guard::demuxbuf_pool;
pub use h2::*;
pub use info::*;
pub use nested::*;
pub use notice::*;
pub use policy::*;
pub use pool::*;
pub use receiver::*;
pub use request::*;
pub use shared_pool::*;
pub use stats::*;
pub use status::*;
pub use step::*;
pub use strerror::*;
pub use tenant::*;
pub use version::*;

/// The name by which C knows it; cbindgen writes it as it is.
#[allow(non_camel_case_types)]
pub(crate) type size_t = usize;
