//! Demux buffers for multiplexing proxies.
#![cfg_attr(not(feature = "std"), no_std)]
#![deny(unsafe_code)]

extern crate alloc;

pub mod connection;
pub mod framing;
pub mod memory;
pub mod pool;
pub mod receiver;
#[cfg(feature = "std")]
pub mod shards;

/// The Rust code of the README is compiled and run with that of the docs.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
