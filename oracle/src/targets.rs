//! What the fuzzers run, as plain functions of a text: one operation per line, a word and numbers behind it.
//!
//! A text that a person can read is the input itself, so a seed needs no description, and what a fuzzer finds can be
//! read and cut down by hand. A line that means nothing is skipped, so every text is an input.

mod config;
mod fcgi_records;
mod fcgi_reference;
mod ffi_ops;
mod h2_frames;
mod memory_model;
mod ops;
mod receiving;
mod reference;
mod shared_ops;
mod shared_pools;
mod shared_scheduler;
mod text;

pub use ops::allow_requests;
pub use text::{Line, lines};

/// A target: what it is called, what it runs, and examples of the lines that it knows.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, and that of its folder of seeds.
    pub name: &'static str,
    /// Runs a text.
    pub run: fn(&[u8]) -> Result<(), String>,
    /// A line of each kind, for a fuzzer to start from.
    pub examples: &'static [&'static str],
}

/// All targets.
pub const TARGETS: [Target; 10] = [
    Target { name: "ops", run: ops::run, examples: ops::EXAMPLES },
    Target { name: "ffi_ops", run: ffi_ops::run, examples: ffi_ops::EXAMPLES },
    Target { name: "shared_scheduler", run: shared_scheduler::run, examples: shared_scheduler::EXAMPLES },
    Target { name: "shared_pools", run: shared_pools::run, examples: shared_pools::EXAMPLES },
    Target { name: "shared_ops", run: shared_ops::run, examples: shared_ops::EXAMPLES },
    Target { name: "memory_model", run: memory_model::run, examples: memory_model::EXAMPLES },
    Target { name: "receiving", run: receiving::run, examples: receiving::EXAMPLES },
    Target { name: "h2_frames", run: h2_frames::run, examples: h2_frames::EXAMPLES },
    Target { name: "fcgi_records", run: fcgi_records::run, examples: fcgi_records::EXAMPLES },
    Target { name: "config", run: config::run, examples: config::EXAMPLES },
];
