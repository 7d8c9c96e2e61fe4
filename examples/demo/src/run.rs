//! One run: a server, a relay, honest clients from begin to end, and from a fifth of it on the attackers.

use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use demuxbuf_demo::honest::{self, Asks, Attempt, Clients, Log, Outcome, REQUESTS_PER_CONNECTION, have_all_asked};
use demuxbuf_demo::progress::Progress;
use demuxbuf_demo::relay::{Relay, Statistics};
use demuxbuf_demo::server::Server;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use crate::attackers::Attackers;
use crate::options::Options;

/// Honest clients at work at the same time.
pub(crate) const CLIENTS: usize = 16;

/// How often each of them begins a request.
const PACE: Duration = Duration::from_millis(20);

/// The largest frame that the server takes: what HTTP/2 has without being asked.
const MAX_FRAME_BYTES: u32 = 1 << 14;

/// How often the relay is sampled.
const SAMPLE_EVERY: Duration = Duration::from_millis(200);

/// Connections beyond the attackers: the honest clients', and those that the relay has not yet seen closed.
pub(crate) const SPARE_CONNECTIONS: usize = 1024;

/// Descriptors beyond those of the attackers: of honest clients and what stands between, of listeners and files.
pub(crate) const SPARE_DESCRIPTORS: u64 = 160;

/// What a connection takes with a buffer each: one of the relay's usual size for each direction.
pub(crate) const PLACE_BYTES: u64 = 2 * 16_448;

/// Once the honest clients are gone, the relay has this long to see it, and attackers to take their places; what is
/// kept then is kept of the attackers.
const SETTLE_LIMIT: Duration = Duration::from_secs(60);

/// How often that, and what the honest clients have done, is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// One look at the relay and at the clients.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    /// Since the run's begin.
    pub(crate) at: Duration,
    pub(crate) relay: Statistics,
    pub(crate) resident_bytes: u64,
    pub(crate) served: u64,
    pub(crate) unserved: u64,
}

/// When the attackers came.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attack {
    pub(crate) began: Instant,
    /// All of them are connected and have sent what they send.
    pub(crate) complete: Instant,
}

/// How the relay of a run uses its receive memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Memory {
    /// A buffer for each connection and direction, and no more connections than there is memory for.
    BufferEach,
    /// The memory model.
    Model,
    /// The same, and partial frames stay in the kernel while memory is short.
    Counting,
}

/// The runs, in their order.
pub(crate) const RUNS: [Memory; 3] = [Memory::BufferEach, Memory::Model, Memory::Counting];

impl Memory {
    /// The name of a run, on the screen and in the picture.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Memory::BufferEach => "a buffer each",
            Memory::Model => "pool",
            Memory::Counting => "pool, counting",
        }
    }
}

/// All that was seen in one run.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) memory: Memory,
    pub(crate) began: Instant,
    pub(crate) attack: Attack,
    pub(crate) attempts: Vec<Attempt>,
    pub(crate) samples: Vec<Sample>,
    /// With the honest clients gone and the attackers still there.
    pub(crate) settled: Sample,
}

/// Whether each client has left since then, and has asked for something after that: for which it needs another place.
fn have_all_returned(log: &Log, since: Instant) -> bool {
    let attempts = log.lock().expect("no client panics");
    let requests = |client| attempts.iter().filter(|one| one.client == client && one.began >= since).count() as u64;
    (0..CLIENTS).all(|client| requests(client) > REQUESTS_PER_CONNECTION)
}

/// Carries out one run; everything that it started has ended when it returns, whether in an error or not.
pub(crate) async fn run(options: &Options, program: &Path, memory: Memory) -> Result<Run, String> {
    let server = Server::start(MAX_FRAME_BYTES).map_err(|error| format!("the server cannot start: {error}"))?;
    let relay = Relay::start(program, server.address, &arguments(options, memory)).await?;
    let began = Instant::now();
    let log = Log::default();
    let (target, patience) = (relay.address, options.patience());
    let honest = Clients { count: CLIENTS, target, source: None, pace: PACE, patience, asks: Asks::Bodies };
    let (end, is_complete, mut clients) = (began + options.length(), Arc::new(OnceLock::new()), JoinSet::new());
    let is_over = {
        let (log, is_complete) = (log.clone(), is_complete.clone());
        move || {
            let complete = is_complete.get().filter(|_| Instant::now() >= end);
            complete.is_some_and(|&complete| match memory {
                Memory::BufferEach => have_all_returned(&log, complete),
                Memory::Model | Memory::Counting => have_all_asked(&log, CLIENTS, complete),
            })
        }
    };
    clients.spawn(honest::work(honest, log.clone(), is_over));

    let (mut attackers, address, seen) = (None, relay.address, log.clone());
    let attack = async {
        sleep(options.calm()).await;
        while !have_all_asked(&seen, CLIENTS, began) {
            sleep(LOOK_EVERY).await;
        }
        let attack_began = Instant::now();
        let attackers = attackers.insert(Attackers::start(address, options.connections));
        while !attackers.have_arrived()? {
            sleep(LOOK_EVERY).await;
        }
        let complete = *is_complete.get_or_init(Instant::now);
        while let Some(ended) = clients.join_next().await {
            ended.map_err(|error| format!("the honest clients: {error}"))?;
        }
        Ok::<_, String>(Attack { began: attack_began, complete })
    };
    let mut monitor =
        Monitor { options, memory, began, relay, log, samples: Vec::new(), progress: Progress::default() };
    let attack = tokio::select! {
        attack = attack => attack.map_err(|error| monitor.relay.check().err().unwrap_or(error))?,
        error = monitor.sample_on() => return Err(error),
    };
    let settled = monitor.settle().await?;
    drop(attackers);
    let Monitor { relay, log, samples, .. } = monitor;
    relay.stop().await?;
    let attempts = std::mem::take(&mut *log.lock().expect("no client panics"));
    Ok(Run { memory, began, attack, attempts, samples, settled })
}

/// The connections that there is memory for, if each has its buffers.
fn places(options: &Options) -> u64 {
    options.memory_kib * 1024 / PLACE_BYTES
}

fn arguments(options: &Options, memory: Memory) -> Vec<String> {
    let (kib, connections) = (options.memory_kib, options.connections + SPARE_CONNECTIONS);
    let line = match memory {
        Memory::BufferEach => format!("--static-buffers --connections {}", places(options)),
        Memory::Model => format!("--memory-kib {kib} --connections {connections}"),
        Memory::Counting => format!("--memory-kib {kib} --connections {connections} --counting"),
    };
    let line = format!("{line} --threads {}", options.threads);
    line.split(' ').map(String::from).collect()
}

/// Looks at a run while it goes on.
struct Monitor<'a> {
    options: &'a Options,
    memory: Memory,
    began: Instant,
    relay: Relay,
    log: Log,
    samples: Vec<Sample>,
    progress: Progress,
}

impl Monitor<'_> {
    /// Samples and shows progress until an error ends it.
    async fn sample_on(&mut self) -> String {
        let mut ticks = interval(SAMPLE_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            ticks.tick().await;
            match self.sample().await {
                Ok(sample) => {
                    self.samples.push(sample);
                    self.progress.show(sample.at, &self.line(&sample));
                }
                Err(error) => return error,
            }
        }
    }

    /// Waits until the relay has no honest client any more, and attackers have taken all places that there are for
    /// them.
    async fn settle(&mut self) -> Result<Sample, String> {
        let (began, attackers) = (Instant::now(), self.options.connections as u64);
        let taken = match self.memory {
            Memory::BufferEach => attackers.min(places(self.options)),
            // Those that are shed come and go.
            Memory::Model | Memory::Counting => 0,
        };
        loop {
            let sample = self.sample().await?;
            if (taken..=attackers).contains(&sample.relay.connections) || began.elapsed() >= SETTLE_LIMIT {
                return Ok(sample);
            }
            sleep(LOOK_EVERY).await;
        }
    }

    async fn sample(&mut self) -> Result<Sample, String> {
        let relay = self.relay.statistics().await?;
        let (served, unserved) = self.count();
        let resident_bytes = self.relay.resident_bytes()?;
        Ok(Sample { at: self.began.elapsed(), relay, resident_bytes, served, unserved })
    }

    /// Requests served and not served so far.
    fn count(&self) -> (u64, u64) {
        let log = self.log.lock().expect("no client panics");
        let served = log.iter().filter(|attempt| attempt.outcome == Outcome::Served).count();
        (served as u64, (log.len() - served) as u64)
    }

    fn line(&self, sample: &Sample) -> String {
        let relay = &sample.relay;
        let run = 1 + RUNS.iter().position(|&memory| memory == self.memory).expect("it is one of them");
        let name = self.memory.name();
        let time = match self.options.length() {
            length if sample.at <= length => format!("{:.1} of {} s", sample.at.as_secs_f64(), length.as_secs()),
            _ => "last answers".into(),
        };
        let (connections, in_use) = (relay.connections, relay.in_use());
        let (refused, served, unserved) = (relay.refused, sample.served, sample.unserved);
        format!(
            "run {run} of {}, {name}: {time} | {connections} connections | {refused} refused | {in_use} of {} buffers \
             in use | {CLIENTS} clients: {served} served, {unserved} not",
            RUNS.len(),
            relay.buffers
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[test]
    fn each_run_has_its_own_arguments() {
        let options = Options::parse_from(["demo", "--connections", "100", "--threads", "2"]);
        let lines = RUNS.map(|memory| arguments(&options, memory).join(" "));
        let expected = [
            "--static-buffers --connections 31 --threads 2",
            "--memory-kib 1024 --connections 1124 --threads 2",
            "--memory-kib 1024 --connections 1124 --counting --threads 2",
        ];
        assert_eq!(lines, expected);
    }
}
