//! The cost of a pool in a whole relay: requests per second, processor time and receive memory of `h2relay`
//! with a pool and with a buffer for each connection and direction (`--static-buffers`). The pool may take no more than
//! 2 % of what the static buffers take, or the least that a pool takes where that is more.
//!
//! All three programs share the machine's processors. Where these are busy, what the relay saves or wastes shows in
//! requests per second only by its share of the work; its processor time for a request shows it undiluted, most of it
//! in the system's calls, and is read from the scheduler, to the nanosecond.
//!
//! Receive memory is what the relay's statistics report: for the pool all buffers, reserved at start; for the
//! other the most buffers that there were at once.

use crate::counting::{COUNTED_CONNECTIONS, Counter};
use crate::parties::{Backend, Load, Relay, expect_all_served, figure, processor_ticks, resident_peak, scheduled_ns};
use crate::ratio::Ratio;
use crate::support::{Error, Options, Report, Samples, rotated};
use demuxbuf_demo::descriptors;
use rustix::param::clock_ticks_per_second;
use rustix::process::{Resource, getrlimit};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;

/// Connections, and requests of one run.
const LOADS: [(u32, u32); 4] = [(1, 20_000), (100, 40_000), (1_000, 40_000), (10_000, 100_000)];
/// Beside two for each connection: listeners, files, connections that are not seen closed yet.
const SPARE_DESCRIPTORS: u64 = 100;
const BUFFER_BYTES: u64 = 16448;
/// The pool's share of the other's receive memory, in percent.
const MEMORY_PERCENT: u64 = 2;
/// The least that a pool takes: 8 buffers.
const MEMORY_KIB_MIN: u64 = (8 * BUFFER_BYTES).div_ceil(1024);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Static,
    Pool,
}

const KINDS: [Kind; 2] = [Kind::Static, Kind::Pool];

pub(crate) fn compare(options: &Options, counter: &Counter, relay: &Path, backend: &Backend) -> Result<(), Error> {
    let columns = [
        "connections",
        "buffers",
        "requests/s",
        "least",
        "most",
        "to static",
        "with 95 %",
        "relay's us each",
        "to static ",
        "with 95 % ",
        "instructions",
        "most leased",
        "most claims",
        "receive KiB",
        "% of static",
        "resident KiB",
        "% of time: relay",
        "nghttpd",
        "h2load",
    ];
    let mut report = Report::new("relay", &columns, options);
    let rounds = options.pick(1, 16, 48);
    report.fact("rounds", rounds);
    let most = raise_descriptors();
    if most < LOADS[LOADS.len() - 1].0 {
        report.fact("most connections, as the limit of descriptors (ulimit -Hn) allows", most);
    }
    let loads = LOADS.map(|(connections, requests)| (connections.min(most), requests));
    let loads = options.pick([(1, 200), (20, 400)].to_vec(), loads.to_vec(), loads.to_vec());
    for (connections, requests) in loads {
        let setup = Setup { relay, backend, connections };
        let mut series = KINDS.map(|_| Series::new());
        for round in 0..rounds {
            for kind in rotated(round, KINDS.len()) {
                series[kind].runs.push(setup.run(KINDS[kind], requests)?);
            }
        }
        let is_counted = !options.smoke && connections <= COUNTED_CONNECTIONS;
        for kind in 0..KINDS.len() {
            let command = || Ok((setup.command(KINDS[kind]), None));
            let counted = if is_counted { counter.instructions(connections, command)? } else { None };
            report.row(series[kind].cells(connections, KINDS[kind], counted, &series[0]));
        }
    }
    report.finish();
    Ok(())
}

/// Opens as many descriptors as are needed, or as are allowed; returns for how many connections.
fn raise_descriptors() -> u32 {
    let most = LOADS[LOADS.len() - 1].0;
    if descriptors::allow(most as usize, SPARE_DESCRIPTORS).is_ok() {
        return most;
    }
    let allowed = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
    let possible = (allowed.saturating_sub(SPARE_DESCRIPTORS) / 2) as u32;
    descriptors::allow(possible as usize, SPARE_DESCRIPTORS).expect("a process may open as many as its limit allows");
    possible
}

/// The results of one run.
struct Run {
    per_second: f64,
    /// Processor time of the relay for each request, in microseconds.
    relay_us: f64,
    /// Of the processor time of all three, in percent: relay, server, client.
    shares: [f64; 3],
    buffers: u64,
    /// The most buffers that were leased at once.
    leased_peak: u64,
    /// Receives that had to wait for room.
    claims: u64,
    receive_bytes: u64,
    resident_bytes: u64,
}

/// The runs of one kind, by round.
struct Series {
    runs: Vec<Run>,
}

impl Series {
    fn new() -> Series {
        Series { runs: Vec::new() }
    }

    fn all(&self, figure: impl Fn(&Run) -> f64) -> Samples {
        let mut samples = Samples::new();
        self.runs.iter().for_each(|run| samples.record(figure(run)));
        samples
    }

    /// The rounds' ratios.
    fn ratio(&self, to: &Series, figure: impl Fn(&Run) -> f64) -> Ratio {
        Ratio::new(self.runs.iter().zip(&to.runs).map(|(run, other)| figure(run) / figure(other)))
    }

    fn cells(&self, connections: u32, kind: Kind, counted: Option<f64>, to: &Series) -> Vec<Value> {
        let per_second = self.all(|run| run.per_second);
        let most = |figure: fn(&Run) -> u64| json!(self.runs.iter().map(figure).max());
        let receive_bytes = |series: &Series| series.all(|run| run.receive_bytes as f64).median();
        let buffers = match kind {
            Kind::Static => "static".into(),
            Kind::Pool => format!("{} in a pool", self.runs[0].buffers),
        };
        let mut cells = vec![json!(connections), json!(buffers)];
        cells.extend([0.5, 0.0, 1.0].map(|quantile| json!(per_second.at(quantile))));
        cells.extend(self.ratio(to, |run| run.per_second).cells());
        cells.push(json!(self.all(|run| run.relay_us).median()));
        cells.extend(self.ratio(to, |run| run.relay_us).cells());
        cells.push(json!(counted.map(|count| count.round() as u64)));
        cells.extend([most(|run| run.leased_peak), most(|run| run.claims)]);
        cells.push(json!(receive_bytes(self) / 1024.0));
        cells.push(json!(100.0 * receive_bytes(self) / receive_bytes(to)));
        cells.push(json!(self.all(|run| run.resident_bytes as f64).median() / 1024.0));
        cells.extend([0, 1, 2].map(|share| json!(self.all(|run| run.shares[share]).median())));
        cells
    }
}

/// What runs have in common.
struct Setup<'a> {
    relay: &'a Path,
    backend: &'a Backend,
    connections: u32,
}

impl Setup<'_> {
    /// What the pool may take.
    fn memory_kib(&self) -> u64 {
        let directions = 2 * u64::from(self.connections);
        MEMORY_KIB_MIN.max(directions * BUFFER_BYTES * MEMORY_PERCENT / 100 / 1024)
    }

    fn command(&self, kind: Kind) -> Command {
        let mut command = Relay::command(self.relay, self.backend, self.connections);
        match kind {
            Kind::Static => command.arg("--static-buffers"),
            Kind::Pool => command.args(["--memory-kib", &self.memory_kib().to_string()]),
        };
        command
    }

    fn run(&self, kind: Kind, requests: u32) -> Result<Run, Error> {
        let relay = Relay::start(&mut self.command(kind), None)?;
        let backend_before = processor_ticks(&self.backend.process.0)?;
        let load = Load::run(relay.address, self.connections, requests)?;
        let backend_ticks = processor_ticks(&self.backend.process.0)? - backend_before;
        let relay_ns = scheduled_ns(&relay.process.0)?;
        let resident_bytes = resident_peak(&relay.process.0)?;
        let (statistics, _) = relay.stop_with_statistics()?;
        expect_all_served(&statistics, requests, self.connections);
        let figure = |name: &str| figure(&statistics, name);
        let leased_peak = figure("leased_peak");
        let receive_bytes = match kind {
            Kind::Static => {
                // A client that is through may have left before the last has come.
                let all = u64::from(self.connections);
                assert!(
                    leased_peak > all && leased_peak <= 2 * all,
                    "each has its own, for both directions: {leased_peak}"
                );
                leased_peak * figure("buffer_bytes")
            }
            Kind::Pool => {
                let bytes = figure("memory_bytes");
                assert!(bytes <= 1024 * self.memory_kib(), "it keeps to what it may: {bytes}");
                bytes
            }
        };
        let ns_each = 1_000_000_000 / clock_ticks_per_second();
        let times_ns = [relay_ns, backend_ticks * ns_each, load.ticks * ns_each];
        let all_ns = times_ns.iter().sum::<u64>() as f64;
        Ok(Run {
            per_second: load.per_second,
            relay_us: relay_ns as f64 / 1000.0 / f64::from(requests),
            shares: times_ns.map(|ns| 100.0 * ns as f64 / all_ns),
            buffers: figure("buffers"),
            leased_peak,
            claims: figure("claims"),
            receive_bytes,
            resident_bytes,
        })
    }
}
