//! One run: a server, a relay, honest clients from begin to end, and from a fifth of it on the attackers.

use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use demuxbuf_demo::honest::{self, Asks, Attempt, Clients, Log, Outcome, have_all_asked};
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

/// Once the honest clients are gone, the relay has this long to see it; what is held then is held by the attackers.
const SETTLE_LIMIT: Duration = Duration::from_secs(10);

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

/// All that was seen in one run.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) park_bytes: u32,
    pub(crate) began: Instant,
    pub(crate) attack: Attack,
    pub(crate) attempts: Vec<Attempt>,
    pub(crate) samples: Vec<Sample>,
    /// With the honest clients gone and the attackers still there.
    pub(crate) settled: Sample,
    pub(crate) attackers_connected: usize,
}

/// The name of a run, on the screen and in the picture.
pub(crate) fn name(park_bytes: u32) -> &'static str {
    if park_bytes == 0 { "parking off" } else { "parking on" }
}

/// Carries out one run; everything that it started has ended when it returns, whether in an error or not.
pub(crate) async fn run(options: &Options, program: &Path, park_bytes: u32) -> Result<Run, String> {
    let server = Server::start(MAX_FRAME_BYTES).map_err(|error| format!("the server cannot start: {error}"))?;
    let relay = Relay::start(program, server.address, &arguments(options, park_bytes)).await?;
    let began = Instant::now();
    let log = Log::default();
    let (target, patience) = (relay.address, options.patience());
    let honest = Clients { count: CLIENTS, target, source: None, pace: PACE, patience, asks: Asks::Bodies };
    let (end, is_complete, mut clients) = (began + options.length(), Arc::new(OnceLock::new()), JoinSet::new());
    let is_over = {
        let (log, is_complete) = (log.clone(), is_complete.clone());
        move || {
            let complete = is_complete.get().filter(|_| Instant::now() >= end);
            complete.is_some_and(|&complete| have_all_asked(&log, CLIENTS, complete))
        }
    };
    clients.spawn(honest::work(honest, log.clone(), is_over));

    let (mut attackers, address, seen) = (Attackers::default(), relay.address, log.clone());
    let attack = async {
        sleep(options.calm()).await;
        while !have_all_asked(&seen, CLIENTS, began) {
            sleep(LOOK_EVERY).await;
        }
        let attack_began = Instant::now();
        for _ in 0..options.connections {
            attackers.add(address).await.map_err(|error| error.to_string())?;
        }
        let complete = *is_complete.get_or_init(Instant::now);
        while let Some(ended) = clients.join_next().await {
            ended.map_err(|error| format!("the honest clients: {error}"))?;
        }
        Ok::<_, String>(Attack { began: attack_began, complete })
    };
    let mut monitor =
        Monitor { options, park_bytes, began, relay, log, samples: Vec::new(), progress: Progress::default() };
    let attack = tokio::select! {
        attack = attack => attack.map_err(|error| monitor.relay.check().err().unwrap_or(error))?,
        error = monitor.sample_on() => return Err(error),
    };
    let attackers_connected = attackers.still_connected();
    let settled = monitor.settle(attackers_connected as u64).await?;
    let Monitor { relay, log, samples, .. } = monitor;
    relay.stop().await?;
    let attempts = std::mem::take(&mut *log.lock().expect("no client panics"));
    Ok(Run { park_bytes, began, attack, attempts, samples, settled, attackers_connected })
}

/// No client is shed, so that only parking makes the difference.
fn arguments(options: &Options, park_bytes: u32) -> Vec<String> {
    let connections = (options.connections + SPARE_CONNECTIONS).to_string();
    let (buffers, park_bytes) = (options.buffers.to_string(), park_bytes.to_string());
    let threads = options.threads.to_string();
    let values = [("buffers", buffers.as_str()), ("park", &park_bytes), ("lease-ms", "0")];
    let values = values.into_iter().chain([("connections", connections.as_str()), ("threads", &threads)]);
    values.flat_map(|(option, value)| [format!("--{option}"), value.into()]).collect()
}

/// Looks at a run while it goes on.
struct Monitor<'a> {
    options: &'a Options,
    park_bytes: u32,
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

    /// Waits until the relay has only this many attackers, and has received all their bytes.
    async fn settle(&mut self, attackers: u64) -> Result<Sample, String> {
        let began = Instant::now();
        loop {
            let sample = self.sample().await?;
            let Statistics { connections, client_buffers_held, waiting, slots_in_use, .. } = sample.relay;
            let is_settled = connections <= attackers && client_buffers_held + waiting + slots_in_use >= attackers;
            if is_settled || began.elapsed() >= SETTLE_LIMIT {
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
        let (run, name) = (if self.park_bytes == 0 { 1 } else { 2 }, name(self.park_bytes));
        let time = match self.options.length() {
            length if sample.at <= length => format!("{:.1} of {} s", sample.at.as_secs_f64(), length.as_secs()),
            _ => "last answers".into(),
        };
        let (connections, in_use) = (relay.connections, relay.in_use());
        let (waiting, served, unserved) = (relay.waiting, sample.served, sample.unserved);
        format!(
            "run {run} of 2, {name}: {time} | {connections} connections | {in_use} of {} buffers in use | {waiting} waiting | \
             {CLIENTS} clients: {served} served, {unserved} not",
            relay.buffers
        )
    }
}
