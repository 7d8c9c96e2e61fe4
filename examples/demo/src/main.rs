//! `cargo demo`: what half-sent frames do to a relay with little receive memory: with a buffer for each connection, on
//! the memory model, and when it leaves such frames in the kernel, too.
//!
//! Builds the library and `h2relay`, lets honest HTTP/2 clients work through it beside connections that send part of
//! a frame and stay, three times, and prints, writes and draws what happened. It exits with 0 only if all honest
//! requests of the second and the third run were served.

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
use crate::run::{Memory, RUNS};

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
    descriptors::allow(options.connections, run::SPARE_DESCRIPTORS)
        .map_err(|error| format!("--connections: {error}"))?;
    let output = options.output();
    output.prepare()?;
    eprintln!("building the library and h2relay");
    let program = relay::build()?;
    let Some(runs) = interruptible::run(all(options, &program))? else {
        eprintln!("demo: interrupted");
        return Ok(ExitCode::from(interruptible::INTERRUPTED));
    };
    let report = Report::new(options, runs);
    let places = output.write(&report, &picture::draw(&report)?)?;
    println!("{}\n\n{}\n{places}", table::table(&report), report.verdict);
    Ok(if report.passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn all(options: &Options, program: &Path) -> Result<[run::Run; 3], String> {
    let run = async |memory: Memory| {
        run::run(options, program, memory).await.map_err(|error| format!("{}: {error}", memory.name()))
    };
    let [each, model, counting] = RUNS;
    Ok([run(each).await?, run(model).await?, run(counting).await?])
}
