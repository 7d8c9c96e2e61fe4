//! The processes of a run: `h2load`, a relay, and `nghttpd`; and what the system knows of them.

use crate::support::{Error, folder};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Map, Value};
use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

const FILE_BYTES: usize = 1024;
const START_LIMIT: Duration = Duration::from_secs(30);
const END_LIMIT: Duration = Duration::from_secs(60);

fn statistics_file() -> PathBuf {
    folder().join("relay-statistics.json")
}

/// A process that ends with this at the latest.
pub(crate) struct Running(pub(crate) Child);

impl Drop for Running {
    fn drop(&mut self) {
        // One that has ended already is what this is for. What strace runs would outlive it.
        let _ = self.innermost().map(|process| kill_process(process, Signal::KILL));
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Running {
    /// Returns once something listens there.
    fn wait_for(&mut self, address: SocketAddr) -> Result<(), Error> {
        let begin = Instant::now();
        while TcpStream::connect(address).is_err() {
            if let Some(status) = self.0.try_wait()? {
                return Err(format!("it has ended before it listened: {status}").into());
            }
            if begin.elapsed() > START_LIMIT {
                return Err("it does not listen".into());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// Asks it to end, until it does: nginx misses a signal that comes just before it waits for events.
    fn end(&mut self) -> Result<ExitStatus, Error> {
        let begin = Instant::now();
        while begin.elapsed() < END_LIMIT {
            // Without success where what strace runs has ended before it.
            let _ = self.innermost().map(|process| kill_process(process, Signal::TERM));
            for _ in 0..100 {
                if let Some(status) = self.0.try_wait()? {
                    return Ok(status);
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        Err("it does not end".into())
    }

    /// What strace runs, or else this itself.
    fn innermost(&self) -> Result<Pid, Error> {
        let id = self.0.id();
        if std::fs::read_to_string(format!("/proc/{id}/comm"))?.trim_end() != "strace" {
            return Ok(Pid::from_child(&self.0));
        }
        let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children"))?;
        let first = children.split_whitespace().next().ok_or("strace runs a program")?.parse()?;
        Pid::from_raw(first).ok_or_else(|| "it has an id".into())
    }
}

/// A relay that listens.
pub(crate) struct Relay {
    pub(crate) process: Running,
    pub(crate) address: SocketAddr,
}

impl Relay {
    /// `h2relay` with its statistics in a file, for this many connections at once.
    pub(crate) fn command(program: &Path, backend: &Backend, connections: u32) -> Command {
        let mut command = Command::new(program);
        command.args(["--quiet", "--backend", &backend.address.to_string(), "--json"]).arg(statistics_file());
        command.args(["--connections", &(connections + 1).to_string()]);
        command
    }

    /// One that listens at this address; with `None`, `h2relay`, which prints its own.
    pub(crate) fn start(command: &mut Command, address: Option<SocketAddr>) -> Result<Relay, Error> {
        // Those of another run are not to be taken for this one's.
        let _ = std::fs::remove_file(statistics_file());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = Running(command.spawn()?);
        if let Some(address) = address {
            process.wait_for(address)?;
            return Ok(Relay { process, address });
        }
        let mut line = String::new();
        BufReader::new(process.0.stdout.as_mut().expect("it is piped")).read_line(&mut line)?;
        let address = line.trim_end().strip_prefix("h2relay: listening on ");
        let address = address.ok_or_else(|| format!("the relay printed {line:?} instead of its address"))?.parse()?;
        Ok(Relay { process, address })
    }

    /// Asks it to end; returns how it did, and what it or callgrind printed.
    pub(crate) fn stop(mut self) -> Result<(ExitStatus, String), Error> {
        let status = self.process.end()?;
        let mut notes = String::new();
        self.process.0.stderr.as_mut().expect("it is piped").read_to_string(&mut notes)?;
        Ok((status, notes))
    }

    /// As `stop`, of `h2relay`: its statistics, and what it or callgrind printed.
    pub(crate) fn stop_with_statistics(self) -> Result<(Map<String, Value>, String), Error> {
        let (status, notes) = self.stop()?;
        if !status.success() {
            return Err(format!("the relay did not end orderly: {status}: {notes}").into());
        }
        Ok((serde_json::from_str(&std::fs::read_to_string(statistics_file())?)?, notes))
    }
}

/// Of the statistics of `h2relay`.
pub(crate) fn figure(statistics: &Map<String, Value>, name: &str) -> u64 {
    statistics.get(name).and_then(Value::as_u64).unwrap_or_else(|| panic!("{name}"))
}

/// Ends the program unless `h2relay` has passed on all of a run, and holds nothing of it.
pub(crate) fn expect_all_served(statistics: &Map<String, Value>, requests: u32, connections: u32) {
    let figure = |name: &str| figure(statistics, name);
    let counts = ["requests", "responses_ended", "connections_total"].map(figure);
    assert_eq!(counts, [requests, requests, connections].map(u64::from), "all went through the relay");
    let faults = ["misuses", "protocol_errors", "shed", "receive_bytes_used"].map(figure);
    assert_eq!(faults, [0; 4], "the relay had nothing to complain about, and holds nothing");
}

/// An address that nothing listens at, for a program that does not print which port it has chosen.
pub(crate) fn unused_address() -> Result<SocketAddr, Error> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?)
}

/// `nghttpd` with one file.
pub(crate) struct Backend {
    pub(crate) process: Running,
    pub(crate) address: SocketAddr,
}

impl Backend {
    pub(crate) fn start() -> Result<Backend, Error> {
        let documents = folder().join("documents");
        std::fs::create_dir_all(&documents)?;
        std::fs::write(documents.join("file"), vec![b'x'; FILE_BYTES])?;
        let address = unused_address()?;
        let mut command = Command::new("nghttpd");
        command.args(["--no-tls", "--address=127.0.0.1", "--htdocs"]).arg(&documents).arg(address.port().to_string());
        let mut process = Running(command.stdin(Stdio::null()).stdout(Stdio::null()).spawn()?);
        process.wait_for(address)?;
        Ok(Backend { process, address })
    }
}

/// What `h2load` has done.
pub(crate) struct Load {
    pub(crate) per_second: f64,
    pub(crate) ticks: u64,
}

impl Load {
    pub(crate) fn run(to: SocketAddr, connections: u32, requests: u32) -> Result<Load, Error> {
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
            "requests: {requests} total, {requests} started, {requests} done, {requests} succeeded, 0 failed, \
             0 errored, 0 timeout"
        );
        if !printed.lines().any(|line| line == all) {
            return Err(format!("not all requests were answered: {printed}").into());
        }
        let per_second = printed.lines().find_map(|line| line.strip_prefix("finished in ")?.split(' ').nth(1));
        Ok(Load { per_second: per_second.ok_or("h2load prints its requests per second")?.parse()?, ticks })
    }
}

/// Processor time of a process up to now, its own and the system's for it.
pub(crate) fn processor_ticks(process: &Child) -> Result<u64, Error> {
    let all = std::fs::read_to_string(format!("/proc/{}/stat", process.id()))?;
    // Its name may have blanks.
    let (_, behind_name) = all.rsplit_once(')').ok_or("the system names the process")?;
    let fields: Vec<&str> = behind_name.split_whitespace().collect();
    Ok(fields[11].parse::<u64>()? + fields[12].parse::<u64>()?)
}

/// Processor time of a process of one thread up to now, its own and the system's for it.
pub(crate) fn scheduled_ns(process: &Child) -> Result<u64, Error> {
    let all = std::fs::read_to_string(format!("/proc/{}/schedstat", process.id()))?;
    Ok(all.split(' ').next().ok_or("it has run")?.parse()?)
}

/// The most memory it had at any time.
pub(crate) fn resident_peak(process: &Child) -> Result<u64, Error> {
    let all = std::fs::read_to_string(format!("/proc/{}/status", process.id()))?;
    let line = all.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("the system does not report it")?;
    Ok(1024 * line.trim().trim_end_matches(" kB").parse::<u64>()?)
}
