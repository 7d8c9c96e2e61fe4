//! `cargo demo`: what half-sent frames do to a relay with few receive buffers, without and with parking.
//!
//! Builds the library and `h2relay`, lets honest HTTP/2 clients work through it beside connections that send part of
//! a frame and stay, twice, and prints, writes and draws what happened. It exits with 0 only if all honest requests
//! of the second run were served.

mod attackers;
mod options;
mod picture;
mod report;
mod run;
mod table;

use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use demuxbuf_demo::{descriptors, relay};
use tokio::signal::unix::{SignalKind, signal};

use crate::options::Options;
use crate::report::Report;

/// The largest residue that the second run parks, and the most that the relay allows.
const PARK_BYTES: u32 = 64;

/// What a shell reports for a program that was interrupted.
const INTERRUPTED: u8 = 130;

fn main() -> ExitCode {
    let options = Options::parse();
    match demonstrate(&options) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("demo: {error}");
            ExitCode::FAILURE
        }
    }
}

fn demonstrate(options: &Options) -> Result<ExitCode, String> {
    descriptors::allow(options.connections, run::SPARE_CONNECTIONS as u64)
        .map_err(|error| format!("--connections: {error}"))?;
    let output = options.output();
    output.prepare()?;
    eprintln!("building the library and h2relay");
    let program = relay::build()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("no event loop: {error}"))?;
    // An interrupt drops both runs, and with them all that they started.
    let Some(runs) = runtime.block_on(async {
        tokio::select! {
            runs = both(options, &program) => runs.map(Some),
            interrupted = interrupt() => interrupted.map(|()| None),
        }
    })?
    else {
        eprintln!("demo: interrupted");
        return Ok(ExitCode::from(INTERRUPTED));
    };
    let report = Report::new(options, runs);
    let places = output.write(&report, &picture::draw(&report)?)?;
    println!("{}\n\n{}\n{places}", table::table(&report), report.verdict);
    Ok(if report.passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn both(options: &Options, program: &Path) -> Result<[run::Run; 2], String> {
    let off = run::run(options, program, 0).await.map_err(|error| format!("parking off: {error}"))?;
    let on = run::run(options, program, PARK_BYTES).await.map_err(|error| format!("parking on: {error}"))?;
    Ok([off, on])
}

/// Waits for Ctrl-C or a request to end.
async fn interrupt() -> Result<(), String> {
    let handler = |kind| signal(kind).map_err(|error| format!("signals: {error}"));
    let (mut interrupt, mut terminate) = (handler(SignalKind::interrupt())?, handler(SignalKind::terminate())?);
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}
