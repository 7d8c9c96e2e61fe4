//! `h2relay` on several threads, which share a pool, beside one thread with a pool of its own; and all of it with
//! tenants. All clients have the same address, so they are one tenant: the table shows what naming it costs.
//!
//! The server and the load generator have one thread each: where there are not enough processors for all, more threads
//! of the relay cannot make it faster, and instructions and system calls show what they cost.

use crate::counting::{COUNTED_CONNECTIONS, Counter};
use crate::parties::{Backend, Load, Relay, expect_all_served};
use crate::ratio::Ratio;
use crate::support::{Error, Options, Report, Samples, ratio, rotated};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;

const THREADS: [u32; 3] = [1, 2, 4];
const TENANTS: [&str; 2] = ["none", "address"];
const REQUESTS: u32 = 40_000;

/// What runs have in common.
struct Setup<'a> {
    relay: &'a Path,
    backend: &'a Backend,
    connections: u32,
}

impl Setup<'_> {
    fn command(&self, tenant: &str, threads: u32) -> Command {
        let mut command = Relay::command(self.relay, self.backend, self.connections);
        command.args(["--tenant", tenant, "--threads", &threads.to_string()]);
        command
    }

    /// Requests per second.
    fn run(&self, tenant: &str, threads: u32, requests: u32) -> Result<f64, Error> {
        let relay = Relay::start(&mut self.command(tenant, threads), None)?;
        let load = Load::run(relay.address, self.connections, requests)?;
        expect_all_served(&relay.stop_with_statistics()?.0, requests, self.connections);
        Ok(load.per_second)
    }
}

pub(crate) fn compare(options: &Options, counter: &Counter, relay: &Path, backend: &Backend) -> Result<(), Error> {
    let columns = [
        "tenant",
        "threads",
        "requests/s",
        "least",
        "most",
        "to one thread",
        "with 95 %",
        "instructions",
        "to one thread ",
        "system calls",
    ];
    let mut report = Report::new("relay-threads", &columns, options);
    let (rounds, requests) = (options.pick(1, 8, 24), options.pick(400, REQUESTS, REQUESTS));
    let setup = Setup { relay, backend, connections: options.pick(20, COUNTED_CONNECTIONS, COUNTED_CONNECTIONS) };
    report.fact("rounds", rounds);
    report.fact("connections", setup.connections);
    for tenant in TENANTS {
        let mut runs = THREADS.map(|_| Vec::new());
        for round in 0..rounds {
            for at in rotated(round, THREADS.len()) {
                runs[at].push(setup.run(tenant, THREADS[at], requests)?);
            }
        }
        let mut instructions_of_one = None;
        for (at, threads) in THREADS.into_iter().enumerate() {
            let command = || Ok((setup.command(tenant, threads), None));
            // Callgrind takes seconds; one try is enough to see that it works.
            let is_counted = !options.smoke || (tenant, threads) == ("address", 4);
            let instructions = if is_counted { counter.instructions(setup.connections, command)? } else { None };
            if threads == 1 {
                instructions_of_one = instructions;
            }
            let mut per_second = Samples::new();
            runs[at].iter().for_each(|&run| per_second.record(run));
            let mut cells: Vec<Value> = vec![json!(tenant), json!(threads)];
            cells.extend([0.5, 0.0, 1.0].map(|quantile| json!(per_second.at(quantile))));
            cells.extend(Ratio::new(runs[at].iter().zip(&runs[0]).map(|(run, one)| run / one)).cells());
            cells.push(json!(instructions.map(|count| count.round() as i64)));
            cells.push(ratio(instructions, instructions_of_one));
            cells.push(json!(counter.system_calls(setup.connections, command)?));
            report.row(cells);
        }
    }
    report.finish();
    Ok(())
}
