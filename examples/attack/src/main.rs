//! `cargo run --release -p attack`: hostile connections of every kind against `h2relay`, or another HTTP/2 server, and
//! what honest clients get meanwhile.
//!
//! It prints, writes and draws the results. It exits with status 0 only if honest clients were served as docs/attack.md
//! demands.

mod attackers;
mod backend;
mod habits;
mod options;
mod picture;
mod plan;
mod priority;
mod report;
mod scene;
mod strength;
mod table;
mod wire;

use std::net::TcpStream;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use demuxbuf_demo::{descriptors, interruptible, relay};

use crate::attackers::CONNECT_LIMIT;
use crate::options::{Command, Options};
use crate::plan::Name;
use crate::report::Report;
use crate::scene::Scene;

/// Descriptors beside those of the attackers, for each honest client and for everything else.
const DESCRIPTORS_PER_CLIENT: usize = 4;
const SPARE_DESCRIPTORS: usize = 64;

fn main() -> ExitCode {
    let options = Options::parse();
    let done = match options.command {
        Some(Command::Serve) => backend::serve().map(|()| ExitCode::SUCCESS),
        None => attack(&options),
    };
    done.unwrap_or_else(|error| {
        eprintln!("attack: {error}");
        ExitCode::FAILURE
    })
}

fn attack(options: &Options) -> Result<ExitCode, String> {
    allow_descriptors(options)?;
    let output = options.output();
    output.prepare()?;
    let program = match options.target {
        Some(target) => {
            let reached = TcpStream::connect_timeout(&target, CONNECT_LIMIT);
            reached.map_err(|error| format!("{target}: {error}"))?;
            None
        }
        None => {
            eprintln!("building the library and h2relay");
            Some(relay::build()?)
        }
    };
    let Some(scenes) = interruptible::run(all(options, program.as_deref()))? else {
        eprintln!("attack: interrupted");
        return Ok(ExitCode::from(interruptible::INTERRUPTED));
    };
    let report = Report::new(options, scenes);
    let places = output.write(&report, &picture::draw(&report)?)?;
    println!("{}\n\n{}\n{places}", table::table(&report), report.verdict.join("\n"));
    Ok(if report.passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn allow_descriptors(options: &Options) -> Result<(), String> {
    let spare = (options.honest * DESCRIPTORS_PER_CLIENT + SPARE_DESCRIPTORS) as u64;
    for name in options.attacks() {
        let connections = plan::connections(&name.bands(options));
        descriptors::allow(connections, spare).map_err(|error| {
            let option =
                if name == Name::Overload { "--memory-kib, with ten clients for each buffer" } else { "--connections" };
            format!("{} and {option}: {error}", name.text())
        })?;
    }
    Ok(())
}

async fn all(options: &Options, program: Option<&Path>) -> Result<Vec<Scene>, String> {
    let mut scenes = Vec::new();
    for name in options.attacks() {
        let scene = scene::run(options, program, name).await;
        scenes.push(scene.map_err(|error| format!("{}: {error}", name.text()))?);
    }
    Ok(scenes)
}
