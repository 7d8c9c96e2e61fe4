//! The relay as a child process: started, asked for its statistics, ended.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use demuxbuf_ffi_tests::Program;
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

/// Time for the relay to start, to answer a signal, and to end.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);

/// How often its answer is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Some of the relay's statistics, by the names that it gives them.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub struct Statistics {
    /// Since it began.
    pub uptime_ns: u64,
    /// Clients that are connected.
    pub connections: u64,
    /// Clients that were closed at once, because there were too many.
    pub refused: u64,
    /// Receive buffers, in use or not.
    pub buffers: u64,
    /// Size of each.
    pub buffer_bytes: u64,
    /// Buffers not in use.
    pub free: u64,
    /// Receivers that wait for room.
    pub waiting: u64,
    /// Receivers that keep part of a frame, and have no buffer.
    pub keeping: u64,
    /// Bytes received and not passed on yet.
    pub receive_bytes_used: u64,
    /// Reserved for received bytes.
    pub memory_bytes: u64,
    /// The longest that a receiver waited for room.
    pub longest_claim_ns: u64,
    /// The longest that one ever may.
    pub wait_ns_max: u64,
    /// What a frame is allowed while memory is short, beside the time for its length.
    pub grace_ms: u64,
    /// Connections that were closed because others waited for room.
    pub shed: u64,
    /// Of these, those with a frame that was not whole at its deadline.
    pub shed_at_deadline: u64,
    /// Those with content that was kept beyond its deadline.
    pub evicted: u64,
    /// Those with content that could not be passed on, and for which there was no room.
    pub shed_for_memory: u64,
    /// The longest time between two advances of the pool's clock, while it had a deadline.
    pub clock_gap_max_ns: u64,
    /// The longest iteration of its event loop, of those with much to do.
    pub iteration_max_ns: u64,
}

impl Statistics {
    /// Buffers in use.
    pub fn in_use(&self) -> u64 {
        self.buffers - self.free
    }

    /// The longest that a receiver waited for room, and the longest that one ever may, in milliseconds.
    pub fn waits_ms(&self) -> [f64; 2] {
        [self.longest_claim_ns, self.wait_ns_max].map(|ns| ns as f64 / 1e6)
    }
}

/// A running relay; dropping it ends it.
#[derive(Debug)]
pub struct Relay {
    process: Child,
    /// Where it listens.
    pub address: SocketAddr,
    statistics: PathBuf,
    last_uptime_ns: u64,
    _folder: TempDir,
}

/// Builds the library and the relay.
///
/// # Errors
///
/// The compiler's output.
pub fn build() -> Result<PathBuf, String> {
    Program::h2relay().try_build()
}

impl Relay {
    /// Starts the relay in front of `backend`, with these further arguments; it is ready when this returns.
    ///
    /// # Errors
    ///
    /// It does not start, or its first line has no address.
    pub async fn start(program: &Path, backend: SocketAddr, arguments: &[String]) -> Result<Relay, String> {
        let folder = tempfile::tempdir().map_err(|error| format!("no folder for the relay's statistics: {error}"))?;
        let statistics = folder.path().join("statistics.json");
        let mut command = Command::new(program);
        command.args(["--listen", "127.0.0.1:0", "--backend", &backend.to_string(), "--quiet"]);
        command.arg("--json").arg(&statistics).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut process = command.spawn().map_err(|error| format!("{}: {error}", program.display()))?;
        let mut output = BufReader::new(process.stdout.take().expect("its output is piped"));
        let mut line = String::new();
        timeout(ANSWER_LIMIT, output.read_line(&mut line))
            .await
            .map_err(|_| format!("the relay did not start within {} s", ANSWER_LIMIT.as_secs()))?
            .map_err(|error| format!("the relay's output: {error}"))?;
        let address = line
            .trim_end()
            .strip_prefix("h2relay: listening on ")
            .and_then(|address| address.parse().ok())
            .ok_or_else(|| format!("no address in the first line of the relay: {line:?}"))?;
        Ok(Relay { process, address, statistics, last_uptime_ns: 0, _folder: folder })
    }

    /// Asks for statistics and waits for them.
    ///
    /// # Errors
    ///
    /// It has ended, or does not answer.
    pub async fn statistics(&mut self) -> Result<Statistics, String> {
        let asked = Instant::now();
        self.signal(Signal::USR1)?;
        while asked.elapsed() < ANSWER_LIMIT {
            // Until the first answer there is no file; until the next it is the one before.
            if let Ok(text) = std::fs::read_to_string(&self.statistics) {
                let read: Statistics = serde_json::from_str(&text)
                    .map_err(|error| format!("the relay's statistics cannot be read: {error}: {text}"))?;
                if read.uptime_ns > self.last_uptime_ns {
                    self.last_uptime_ns = read.uptime_ns;
                    return Ok(read);
                }
            }
            sleep(LOOK_EVERY).await;
        }
        Err(format!("the relay wrote no statistics within {} s", ANSWER_LIMIT.as_secs()))
    }

    /// The relay's resident memory, as the kernel counts it.
    ///
    /// # Errors
    ///
    /// It has ended.
    pub fn resident_bytes(&self) -> Result<u64, String> {
        let path = format!("/proc/{}/status", self.id()?.as_raw_nonzero());
        let status = std::fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
        resident_bytes(&status).ok_or_else(|| format!("{path} has no VmRSS"))
    }

    /// Asks the relay to end, and waits for it.
    ///
    /// # Errors
    ///
    /// It does not end, or not with 0.
    pub async fn stop(mut self) -> Result<(), String> {
        self.signal(Signal::TERM)?;
        let ended = timeout(ANSWER_LIMIT, self.process.wait())
            .await
            .map_err(|_| format!("the relay did not end within {} s", ANSWER_LIMIT.as_secs()))?;
        match ended.map_err(|error| format!("the relay's end: {error}"))? {
            status if status.success() => Ok(()),
            status => Err(format!("the relay did not end orderly: {status}")),
        }
    }

    /// An error if the relay has ended, which explains other errors.
    pub fn check(&mut self) -> Result<(), String> {
        match self.process.try_wait().map_err(|error| format!("the relay's state: {error}"))? {
            Some(status) => Err(format!("the relay has ended by itself: {status}")),
            None => Ok(()),
        }
    }

    fn signal(&mut self, signal: Signal) -> Result<(), String> {
        // A process that has ended is seen here, before its id can be given to another.
        self.check()?;
        kill_process(self.id()?, signal).map_err(|error| format!("the relay cannot be signalled: {error}"))
    }

    fn id(&self) -> Result<Pid, String> {
        let id = self.process.id().and_then(|id| Pid::from_raw(id as i32));
        id.ok_or_else(|| "the relay has ended by itself".into())
    }
}

fn resident_bytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resident_memory_is_read_in_bytes() {
        assert_eq!(resident_bytes("Name:\th2relay\nVmHWM:\t    9000 kB\nVmRSS:\t    1234 kB\n"), Some(1_263_616));
        assert_eq!(resident_bytes("Name:\th2relay\n"), None);
    }
}
