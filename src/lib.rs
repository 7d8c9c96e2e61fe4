//! Demux buffers for multiplexing proxies.
//!
//! # Processes
//!
//! After fork(2) a pool of one thread works on in the child, on a copy of the memory. A pool that threads share is not to be
//! used there if the parent had other threads, one of which may have held its lock. No call is for a signal handler. See
//! `docs/c-api.md` for both and for dlclose(3).
#![cfg_attr(not(feature = "std"), no_std)]
#![deny(unsafe_code)]

extern crate alloc;

mod config_error;
pub mod connection;
pub mod framing;
pub mod memory;
pub mod pool;
pub mod scheduler;
#[cfg(feature = "std")]
pub mod shared;

pub use config_error::{Allowed, ConfigError};

/// The Rust code of the README is compiled and run with that of the docs.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
