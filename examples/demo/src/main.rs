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
use demuxbuf_demo::{descriptors, interruptible, relay};

use crate::options::Options;
use crate::report::Report;

/// The largest partial frame that the second run parks; every attacker sends less.
const PARK_BYTES: u32 = 64;

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
    let Some(runs) = interruptible::run(both(options, &program))? else {
        eprintln!("demo: interrupted");
        return Ok(ExitCode::from(interruptible::INTERRUPTED));
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
