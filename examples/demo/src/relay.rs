//! The relay as a child process: started, asked for its statistics, ended.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use demuxbuf_ffi_tests::Program;
use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

/// Time for the relay to start, to answer a signal, and to end.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// How often its answer is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Connections beyond the attackers: the honest clients', and those that the relay has not yet seen closed.
const SPARE_CONNECTIONS: usize = 1024;

/// What the demo reads of the relay's statistics; the report has them all.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(crate) struct Statistics {
    pub(crate) uptime_ns: u64,
    pub(crate) connections: u64,
    pub(crate) buffers: u64,
    pub(crate) buffer_bytes: u64,
    pub(crate) free: u64,
    pub(crate) waiting: u64,
    pub(crate) waiting_peak: u64,
    pub(crate) slots_in_use: u64,
    pub(crate) client_buffers_held: u64,
    pub(crate) memory_bytes: u64,
    pub(crate) shed: u64,
}

/// A running relay; dropping it ends it.
#[derive(Debug)]
pub(crate) struct Relay {
    process: Child,
    pub(crate) address: SocketAddr,
    statistics: PathBuf,
    last_uptime_ns: u64,
    _folder: TempDir,
}

/// Builds the library and the relay.
pub(crate) fn build() -> Result<PathBuf, String> {
    Program::h2relay().try_build()
}

impl Relay {
    /// Starts the relay in front of `backend`; it is ready when this returns.
    pub(crate) async fn start(
        program: &Path,
        backend: SocketAddr,
        buffers: usize,
        park_bytes: u32,
        attackers: usize,
    ) -> Result<Relay, String> {
        let folder = tempfile::tempdir().map_err(|error| format!("no folder for the relay's statistics: {error}"))?;
        let statistics = folder.path().join("statistics.json");
        let mut command = Command::new(program);
        command.args(["--listen", "127.0.0.1:0", "--backend", &backend.to_string(), "--quiet"]);
        command.args(["--buffers", &buffers.to_string(), "--park", &park_bytes.to_string(), "--lease-ms", "0"]);
        command.args(["--connections", &(attackers + SPARE_CONNECTIONS).to_string()]);
        command.arg("--json").arg(&statistics).stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
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
            .ok_or_else(|| format!("the relay did not say where it listens, but {line:?}"))?;
        Ok(Relay { process, address, statistics, last_uptime_ns: 0, _folder: folder })
    }

    /// Asks for statistics and waits for them: the text that the relay wrote, and what the demo reads of it.
    pub(crate) async fn statistics(&mut self) -> Result<(String, Statistics), String> {
        let asked = Instant::now();
        self.signal(Signal::USR1)?;
        while asked.elapsed() < ANSWER_LIMIT {
            // Until the first answer there is no file; until the next it is the one before.
            if let Ok(text) = std::fs::read_to_string(&self.statistics) {
                let read: Statistics = serde_json::from_str(&text)
                    .map_err(|error| format!("the relay's statistics cannot be read: {error}: {text}"))?;
                if read.uptime_ns > self.last_uptime_ns {
                    self.last_uptime_ns = read.uptime_ns;
                    return Ok((text, read));
                }
            }
            sleep(LOOK_EVERY).await;
        }
        Err(format!("the relay wrote no statistics within {} s", ANSWER_LIMIT.as_secs()))
    }

    /// The relay's resident memory, as the kernel counts it.
    pub(crate) fn resident_bytes(&self) -> Result<u64, String> {
        let path = format!("/proc/{}/status", self.id()?.as_raw_nonzero());
        let status = std::fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
        resident_bytes(&status).ok_or_else(|| format!("{path} has no VmRSS"))
    }

    /// Asks the relay to end, and waits for it; an error if it does not end orderly.
    pub(crate) async fn stop(mut self) -> Result<(), String> {
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
    pub(crate) fn check(&mut self) -> Result<(), String> {
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
