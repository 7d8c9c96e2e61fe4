//! Receive buffers for proxies and servers that multiplex: a state machine for each connection, and a bounded pool that
//! all connections share.
//!
//! A proxy for HTTP/2 or another framed protocol receives into a buffer and decodes frames from it. One buffer for each
//! of a million connections is 16 GiB, most of it idle. Here a connection *borrows* the receive buffer of its thread
//! while bytes arrive, and *keeps* memory of a bounded pool only for a partial frame. While memory is short,
//! connections wait for it, and every wait ends at a known time. The crate does no I/O, has no clock, starts no thread
//! and calls nothing back (*sans-IO*), so it fits any event loop: mio, tokio or io_uring in Rust; epoll, libuv or
//! libevent in C.
//!
//! # Where to begin
//!
//! | you | use |
//! |---|---|
//! | want the library to manage memory, queue and deadlines | [`Pool`], with a [receiver](pool::ReceiverId) for each connection |
//! | have several threads, and one budget for all of them | [`SharedPool`]; each shard is a [`Pool`] |
//! | have an allocator and a queue already | [`connection::Connection`], the state machine alone |
//! | want only the decision which request gets the next buffer | [`scheduler::Scheduler`] |
//! | want only to find where an HTTP/2 frame or a FastCGI record ends | [`framing`] |
//!
//! # The usage contract
//!
//! 1. **Report** each thing that happens, as an [`Event`].
//! 2. **Do** each [`Action`] that comes back, and report its outcome.
//! 3. After `Decode`, if bytes are left, report why: `NeedMore`, `Block` or `Yield`.
//! 4. In each loop iteration, advance the clock with [`Pool::handle_timeout`] before you report events, and drain
//!    [`Pool::poll_notice`] afterwards.
//!
//! Actions are levels: each call returns everything that is pending, and [`Pool::pending`] returns it again. An action
//! may be done late, and a repeated call loses nothing. An event that makes no sense is an error and changes nothing.
//!
//! # One connection
//!
//! ```
//! use demuxbuf::{Action, AttachOptions, Event, Pool, PoolConfig};
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let mut pool = Pool::new(&PoolConfig::new(1 << 20, 100_000))?; // 1 MiB for up to 100,000 connections
//!     let id = pool.attach(&AttachOptions::new(0, 7))?; // class 0; the token 7 is yours and comes back in notices
//!     let pending = pool.pending(id)?; // `WantRecv`: arm read interest, then report that you did
//!     pool.handle(id, Event::done(pending))?;
//!     let actions = pool.handle(id, Event::Readable)?; // your poller reported the socket
//!     assert!(actions.has(Action::Recv));
//!     pool.receive_area(id)?[..6].copy_from_slice(b"\x05hello"); // here your receive goes
//!     let actions = pool.handle(id, Event::Received { bytes: 6 })?;
//!     assert!(actions.has(Action::Decode));
//!     println!("{}", String::from_utf8_lossy(&pool.data(id)?[1..]));
//!     pool.decoded(id, 6, 0)?; // 6 bytes were consumed and none are missing: nothing is kept
//!     Ok(())
//! }
//! ```
//!
//! # A whole loop
//!
//! `cargo run --example minimal` runs this program:
//!
//! ```
#![doc = include_str!("../examples/minimal.rs")]
//! ```
//!
//! # Features
//!
//! | feature | gives |
//! |---|---|
//! | `std` (default) | [`shared`], and pages returned to the operating system; without it the crate is `no_std` with `alloc` |
//! | `bytes` | `Buf` and `BufMut` for a buffer |
//! | `arbitrary` | random events and configurations, for fuzzers |
//! | `model-check` | copies and state keys of pools, for model checkers |
//! | `poison` | AddressSanitizer and Valgrind report uses of a pool's memory that is not lent; for debugging |
//!
//! # What to do when it stalls
//!
//! Set [`PoolConfig::audit`] and call [`Pool::poll_audit`] before your thread sleeps: it names the receiver and the
//! action that is undone, the clock that stands still, and other mistakes ([`pool::FindingKind`]), in one line each.
//!
//! # Processes
//!
//! After fork(2) a pool of one thread works on in the child, on a copy of the memory. Do not use a shared pool in the
//! child if the parent had other threads: one of them may have held the lock. No call is for a signal handler.
//! `docs/c-api.md` has both in full, and dlclose(3).
// Without `std`, links to what is missing lead to the table of features.
#![cfg_attr(not(feature = "std"), doc = "\n\n[`SharedPool`]: #features\n[`shared`]: #features\n")]
#![cfg_attr(not(feature = "std"), no_std)]
#![deny(unsafe_code)]

extern crate alloc;

#[doc(hidden)]
pub mod alloc_util;
mod config_error;
pub mod connection;
pub mod framing;
pub mod memory;
pub mod pool;
#[doc(hidden)]
pub mod receiving;
pub mod scheduler;
mod send_sync;
#[cfg(feature = "std")]
pub mod shared;

pub use config_error::{Allowed, ConfigError};
pub use connection::{Action, Actions, Event};
pub use pool::{AttachOptions, Notice, Pool, PoolConfig};
#[cfg(feature = "std")]
pub use shared::SharedPool;

/// The Rust code of the README is compiled and run with that of the docs.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
