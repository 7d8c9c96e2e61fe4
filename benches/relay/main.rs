//! `h2relay` between `h2load` and `nghttpd`, in three tables: a pool beside a buffer for each connection, one thread
//! beside several, and the relay beside others.
//!
//! Those that are compared take turns, each run with a relay of its own, and the one that begins changes from round to
//! round. A run is a fixed number of requests for a file of 1 KiB, by a fixed number of connections, each with one
//! request at a time, so that each request and each answer is a receive of its own. Setting up the connections is part
//! of the run.
//!
//! Runs are short and many, since a busy machine makes single ones differ by a tenth and more: a printed ratio
//! is the median of all rounds' ratios, with the interval that it lies in (`ratio.rs`).
//!
//! Instructions are those of the relay itself, without the system's, counted by callgrind.

#![allow(clippy::disallowed_methods, reason = "a benchmark measures time")]

mod counting;
mod memory;
mod others;
mod parties;
mod ratio;
#[path = "../support/mod.rs"]
mod support;
mod threads;

use counting::Counter;
use demuxbuf_ffi_tests::{Program, try_run};
use parties::Backend;
use std::process::Command;
use support::{Error, Options};

fn main() -> Result<(), Error> {
    let options = Options::read();
    for (program, package) in [("h2load", "nghttp2-client"), ("nghttpd", "nghttp2-server")] {
        if try_run(Command::new(program).arg("--version")).is_err() {
            println!("skipped: the relay between clients and a server, {package} is not installed");
            return Ok(());
        }
    }
    let relay = Program::h2relay().build();
    let backend = Backend::start()?;
    let counter = Counter::new(&options);
    memory::compare(&options, &counter, &relay, &backend)?;
    threads::compare(&options, &counter, &relay, &backend)?;
    others::compare(&options, &counter, &relay, &backend)
}
