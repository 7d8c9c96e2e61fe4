//! The cost of a pool in a whole relay: requests per second, processor time and receive memory of `h2relay`
//! between `h2load` and `nghttpd`, with a pool and with a buffer for each connection and direction
//! (`--static-buffers`).
//!
//! The two take turns, each run with a relay of its own, and the one that begins changes from round to round. A run is
//! a fixed number of requests for a file of 1 KiB, by a fixed number of connections, each with one request at a time,
//! so that each request and each answer is a receive of its own. Setting up the connections is part of the run.
//! The pool may take no more than 2 % of what the static buffers take, or the least that a pool takes where that is more.
//!
//! Runs are short and many, since a busy machine makes single ones differ by a tenth and more: a printed ratio
//! is the median of all rounds' ratios, with the interval that the median of any number of rounds lies in, with a
//! probability of 95 % at least (from order statistics, which assume nothing of how runs scatter).
//!
//! All three programs share the machine's processors. Where these are busy, what the relay saves or wastes shows in
//! requests per second only by its share of the work; its processor time for a request shows it undiluted, most of it
//! in the system's calls, and is read from the scheduler, to the nanosecond. Instructions are those of the relay
//! itself, without the system's, counted by callgrind.
//!
//! Receive memory is what the relay's statistics report: for the pool all buffers, reserved at start; for the
//! other the most buffers that there were at once.

#![allow(clippy::disallowed_methods, reason = "a benchmark measures time")]

mod support;

use demuxbuf_demo::descriptors;
use demuxbuf_ffi_tests::{Program, try_run};
use rustix::param::clock_ticks_per_second;
use rustix::process::{Pid, Resource, Signal, getrlimit, kill_process};
use serde_json::{Map, Value, json};
use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use support::{Counted, Options, Report, Samples, folder, has_valgrind, rotated, under_callgrind};

type Error = Box<dyn std::error::Error>;

/// Connections, and requests of one run.
const LOADS: [(u32, u32); 4] = [(1, 20_000), (100, 40_000), (1_000, 40_000), (10_000, 100_000)];
/// Beside two for each connection: listeners, files, connections that are not seen closed yet.
const SPARE_DESCRIPTORS: u64 = 100;
const BUFFER_BYTES: u64 = 16448;
/// The pool's share of the other's receive memory, in percent.
const MEMORY_PERCENT: u64 = 2;
/// The least that a pool takes: 8 buffers.
const MEMORY_KIB_MIN: u64 = (8 * BUFFER_BYTES).div_ceil(1024);
const FILE_BYTES: usize = 1024;
const START_LIMIT: Duration = Duration::from_secs(10);
/// Callgrind is too slow for more.
const COUNTED_CONNECTIONS: u32 = 100;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Static,
    Pool,
}

const KINDS: [Kind; 2] = [Kind::Static, Kind::Pool];

fn main() -> Result<(), Error> {
    let options = Options::read();
    for (program, package) in [("h2load", "nghttp2-client"), ("nghttpd", "nghttp2-server")] {
        if try_run(Command::new(program).arg("--version")).is_err() {
            println!("skipped: the relay between clients and a server, {package} is not installed");
            return Ok(());
        }
    }
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
    let mut report = Report::new("relay", &columns, &options);
    let rounds = options.pick(1, 16, 48);
    report.fact("rounds", rounds);
    let most = raise_descriptors();
    if most < LOADS[LOADS.len() - 1].0 {
        report.fact("most connections, as the limit of descriptors (ulimit -Hn) allows", most);
    }
    let relay = Program::h2relay().build();
    let backend = Backend::start()?;
    let loads = LOADS.map(|(connections, requests)| (connections.min(most), requests));
    let loads = options.pick([(1, 200), (20, 400)].to_vec(), loads.to_vec(), loads.to_vec());
    let is_counted = !options.smoke && has_valgrind();
    for (connections, requests) in loads {
        let setup = Setup { relay: &relay, backend: &backend, connections };
        let mut series = KINDS.map(|_| Series::new());
        for round in 0..rounds {
            for kind in rotated(round, KINDS.len()) {
                series[kind].runs.push(setup.run(KINDS[kind], requests)?);
            }
        }
        let is_counted = is_counted && connections <= COUNTED_CONNECTIONS;
        for kind in 0..KINDS.len() {
            let counted = is_counted.then(|| setup.count(KINDS[kind])).transpose()?;
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
        let mut ratios: Vec<_> =
            self.runs.iter().zip(&to.runs).map(|(run, other)| figure(run) / figure(other)).collect();
        ratios.sort_by(f64::total_cmp);
        Ratio { ratios }
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

/// Ratios of pairs of runs, in ascending order.
struct Ratio {
    ratios: Vec<f64>,
}

impl Ratio {
    fn median(&self) -> f64 {
        let (below, above) = ((self.ratios.len() - 1) / 2, self.ratios.len() / 2);
        f64::midpoint(self.ratios[below], self.ratios[above])
    }

    /// Where the true median lies, with a probability of 95 % at least. `None` for too few rounds.
    fn interval(&self) -> Option<[f64; 2]> {
        // How likely each number of rounds, and fewer, are to be below the true median: it lies outside of what is left
        // when as many are taken away at either end.
        let rounds = self.ratios.len();
        let mut ways = 1.0;
        let mut fewer = 0.0;
        let mut outside = None;
        for below in 0..rounds / 2 {
            fewer += ways / 2f64.powi(rounds as i32);
            if fewer > 0.025 {
                break;
            }
            outside = Some(below);
            ways *= (rounds - below) as f64 / (below + 1) as f64;
        }
        outside.map(|outside| [self.ratios[outside], self.ratios[rounds - 1 - outside]])
    }

    fn cells(&self) -> [Value; 2] {
        let interval = self.interval().map(|[from, to]| format!("{from:.3} to {to:.3}"));
        [json!(self.median()), json!(interval)]
    }
}

/// What runs have in common.
struct Setup<'a> {
    relay: &'a PathBuf,
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
        let mut command = Command::new(self.relay);
        command.args(["--quiet", "--backend", &self.backend.address.to_string(), "--json"]).arg(statistics_file());
        command.args(["--connections", &(self.connections + 1).to_string()]);
        match kind {
            Kind::Static => command.arg("--static-buffers"),
            Kind::Pool => command.args(["--memory-kib", &self.memory_kib().to_string()]),
        };
        command
    }

    fn run(&self, kind: Kind, requests: u32) -> Result<Run, Error> {
        let relay = Relay::start(&mut self.command(kind))?;
        let backend_before = processor_ticks(&self.backend.process.0)?;
        let load = Load::run(relay.address, self.connections, requests)?;
        let backend_ticks = processor_ticks(&self.backend.process.0)? - backend_before;
        let relay_ns = scheduled_ns(&relay.process.0)?;
        let resident_bytes = resident_peak(&relay.process.0)?;
        let (statistics, _) = relay.stop()?;
        let figure = |name: &str| statistics.get(name).and_then(Value::as_u64).unwrap_or_else(|| panic!("{name}"));
        let counts = ["requests", "responses_ended", "connections_total"].map(figure);
        assert_eq!(counts, [requests, requests, self.connections].map(u64::from), "all went through the relay");
        let faults = ["misuses", "protocol_errors", "shed", "receive_bytes_used"].map(figure);
        assert_eq!(faults, [0; 4], "the relay had nothing to complain about, and holds nothing");
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

    /// Instructions of the relay for one request: what more of them cost.
    fn count(&self, kind: Kind) -> Result<f64, Error> {
        let count = |requests: u32| -> Result<u64, Error> {
            let relay = Relay::start(&mut under_callgrind(&self.command(kind), &[]))?;
            Load::run(relay.address, self.connections, requests)?;
            Ok(Counted::read(&relay.stop()?.1).instructions)
        };
        let (few, many) = (1_000, 5_000);
        let [few_counted, many_counted] = [count(few)?, count(many)?];
        Ok((many_counted as f64 - few_counted as f64) / f64::from(many - few))
    }
}

fn statistics_file() -> PathBuf {
    folder().join("relay-statistics.json")
}

/// A process that ends with this at the latest.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // One that has ended already is what this is for.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct Relay {
    process: Running,
    address: SocketAddr,
}

impl Relay {
    fn start(command: &mut Command) -> Result<Relay, Error> {
        // Those of another run are not to be taken for this one's.
        let _ = std::fs::remove_file(statistics_file());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = Running(command.spawn()?);
        let mut line = String::new();
        BufReader::new(process.0.stdout.as_mut().expect("it is piped")).read_line(&mut line)?;
        let address = line.trim_end().strip_prefix("h2relay: listening on ");
        let address = address.ok_or_else(|| format!("the relay printed {line:?} instead of its address"))?.parse()?;
        Ok(Relay { process, address })
    }

    /// Asks it to end; returns its statistics, and what it or callgrind printed.
    fn stop(mut self) -> Result<(Map<String, Value>, String), Error> {
        kill_process(Pid::from_child(&self.process.0), Signal::TERM)?;
        let mut notes = String::new();
        self.process.0.stderr.as_mut().expect("it is piped").read_to_string(&mut notes)?;
        let status = self.process.0.wait()?;
        if !status.success() {
            return Err(format!("the relay did not end orderly: {status}: {notes}").into());
        }
        Ok((serde_json::from_str(&std::fs::read_to_string(statistics_file())?)?, notes))
    }
}

/// `nghttpd` with one file.
struct Backend {
    process: Running,
    address: SocketAddr,
}

impl Backend {
    fn start() -> Result<Backend, Error> {
        let documents = folder().join("documents");
        std::fs::create_dir_all(&documents)?;
        std::fs::write(documents.join("file"), vec![b'x'; FILE_BYTES])?;
        // It does not print its port if it may choose one.
        let address = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?;
        let mut command = Command::new("nghttpd");
        command.args(["--no-tls", "--address=127.0.0.1", "--htdocs"]).arg(&documents).arg(address.port().to_string());
        let mut process = Running(command.stdin(Stdio::null()).stdout(Stdio::null()).spawn()?);
        let begin = Instant::now();
        while TcpStream::connect(address).is_err() {
            if let Some(status) = process.0.try_wait()? {
                return Err(format!("nghttpd has ended: {status}").into());
            }
            if begin.elapsed() > START_LIMIT {
                return Err("nghttpd does not listen".into());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(Backend { process, address })
    }
}

/// What `h2load` has done.
struct Load {
    per_second: f64,
    ticks: u64,
}

impl Load {
    fn run(to: SocketAddr, connections: u32, requests: u32) -> Result<Load, Error> {
        let mut command = Command::new("h2load");
        command.args(["--max-concurrent-streams=1", "--connection-inactivity-timeout=60"]);
        command.arg(format!("--requests={requests}")).arg(format!("--clients={connections}"));
        command.arg(format!("http://{to}/file")).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut process = Running(command.spawn()?);
        let mut printed = String::new();
        process.0.stdout.as_mut().expect("it is piped").read_to_string(&mut printed)?;
        // It has nothing more to do, and is not waited for yet: after that its time is no longer known.
        let ticks = processor_ticks(&process.0)?;
        // Whatever became of the requests, it exits with status 0.
        let all = format!(
            "requests: {requests} total, {requests} started, {requests} done, {requests} succeeded, 0 failed, 0 errored, 0 timeout"
        );
        if !printed.lines().any(|line| line == all) {
            return Err(format!("not all requests were answered: {printed}").into());
        }
        let per_second = printed.lines().find_map(|line| line.strip_prefix("finished in ")?.split(' ').nth(1));
        Ok(Load { per_second: per_second.ok_or("h2load prints its requests per second")?.parse()?, ticks })
    }
}

/// Processor time of a process up to now, its own and the system's for it.
fn processor_ticks(process: &Child) -> Result<u64, Error> {
    let all = std::fs::read_to_string(format!("/proc/{}/stat", process.id()))?;
    // Its name may have blanks.
    let (_, behind_name) = all.rsplit_once(')').ok_or("the system names the process")?;
    let fields: Vec<&str> = behind_name.split_whitespace().collect();
    Ok(fields[11].parse::<u64>()? + fields[12].parse::<u64>()?)
}

/// Processor time of a process of one thread up to now, its own and the system's for it.
fn scheduled_ns(process: &Child) -> Result<u64, Error> {
    let all = std::fs::read_to_string(format!("/proc/{}/schedstat", process.id()))?;
    Ok(all.split(' ').next().ok_or("it has run")?.parse()?)
}

/// The most memory it had at any time.
fn resident_peak(process: &Child) -> Result<u64, Error> {
    let all = std::fs::read_to_string(format!("/proc/{}/status", process.id()))?;
    let line = all.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("the system does not report it")?;
    Ok(1024 * line.trim().trim_end_matches(" kB").parse::<u64>()?)
}
