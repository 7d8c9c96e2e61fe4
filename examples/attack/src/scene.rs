//! One attack: honest clients alone, then with all attackers in place, a few times in turn, then alone again.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use demuxbuf_demo::honest::{self, Asks, Attempt, Clients, Log, Outcome, have_all_asked};
use demuxbuf_demo::progress::Progress;
use demuxbuf_demo::relay::{Relay, Statistics};
use demuxbuf_demo::requests::milliseconds;
use demuxbuf_demo::shape::SHAPES;
use serde::Serialize;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use crate::attackers::{Aim, Attackers, Tally};
use crate::backend::{self, Backend};
use crate::options::Options;
use crate::plan::{self, Band, LOADS, Name, beside_source, honest_source, load};
use crate::priority::{self, Above};

/// How often each honest client begins a request.
const PACE: Duration = Duration::from_millis(40);

/// Clients that ask the server itself, around the relay: one of each shape. What their requests take longer under
/// attack is not for the relay to answer for, but the machine that all share.
const BESIDE: usize = SHAPES.len();

/// Time for what begins and ends at once: of the honest clients, of the attackers.
const CALM: Duration = Duration::from_secs(1);

/// All attackers come within this time, and full service is back within this time after they have left.
const ARRIVAL_LIMIT: Duration = Duration::from_secs(120);
const RECOVERY_LIMIT: Duration = Duration::from_secs(10);

const LOOK_EVERY: Duration = Duration::from_millis(5);
const SAMPLE_EVERY: Duration = Duration::from_millis(100);

/// Connections of the relay beyond the attackers' and the honest clients': those that it has not yet seen closed.
const SPARE_CONNECTIONS: usize = 8000;

/// When what happened, of a time without attackers and the attack after it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pair {
    /// From here on the honest clients were alone.
    pub(crate) began: Instant,
    /// The first attacker came.
    pub(crate) attacked: Instant,
    /// All attackers were there.
    pub(crate) complete: Instant,
    /// The last of them had left.
    pub(crate) left: Instant,
    pub(crate) ended: Instant,
    pub(crate) strength: Strength,
}

/// What the attackers achieved until they left.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Strength {
    /// From the first that came until all had an answer.
    pub(crate) came_within: Duration,
    /// Those that had sent what they attack with, and from when they could until the last of them had.
    pub(crate) struck: u64,
    pub(crate) struck_within: Duration,
    /// How often those that have a rate acted, with all of them there.
    pub(crate) acts: u64,
}

/// One look at everything.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) at: Instant,
    /// The relay's figures, and its resident memory.
    pub(crate) relay: Option<(Statistics, u64)>,
    /// Attackers that have a connection.
    pub(crate) attackers: u64,
}

/// One step of an overload, as in the report.
#[derive(Debug, Serialize)]
pub(crate) struct Load {
    /// Requests of this multiple of what the buffers are enough for.
    pub(crate) factor: f64,
    pub(crate) clients: u64,
    pub(crate) served_per_second: f64,
    pub(crate) slowest_ms: f64,
    /// Connections of its clients that were shed, and that were closed otherwise.
    pub(crate) shed: u64,
    pub(crate) lost: u64,
}

/// All that was seen of one attack.
#[derive(Debug)]
pub(crate) struct Scene {
    pub(crate) name: Name,
    pub(crate) attackers: u64,
    /// There is at least one.
    pub(crate) pairs: Vec<Pair>,
    pub(crate) attempts: Vec<Attempt>,
    /// Of those that asked the server itself.
    pub(crate) beside: Vec<Attempt>,
    pub(crate) samples: Vec<Sample>,
    pub(crate) loads: Vec<Load>,
    /// Connections of attackers that ended with the reason that too much was asked for, and otherwise.
    pub(crate) ended_shed: u64,
    pub(crate) closed: u64,
    /// The relay's figures at the end.
    pub(crate) relay: Option<Statistics>,
}

/// Carries out one attack; all that it started has ended when this returns, whether in an error or not.
pub(crate) async fn run(options: &Options, program: Option<&Path>, name: Name) -> Result<Scene, String> {
    let (mut relay, mut backend) = (None, None);
    if let Some(program) = program {
        let server = backend.insert(Backend::start().await?);
        relay = Some(Relay::start(program, server.address, &relay_arguments(options, name)).await?);
    }
    // The relay keeps its own.
    let above =
        Above::relay(priority::HONEST).map_err(|error| format!("the priority of the honest clients: {error}"))?;
    let target = relay.as_ref().map(|relay| relay.address).or(options.target).expect("there is one of them");
    let mut stage = Stage::new(options, name, target, backend.as_ref().map(|server: &Backend| server.address));
    let mut monitor =
        Monitor { name, relay, tally: stage.tally.clone(), samples: Vec::new(), progress: Progress::default() };
    let played = tokio::select! {
        played = stage.play() => played,
        error = monitor.sample_on() => Err(error),
    };
    // Why the relay has ended explains other errors.
    let Played { pairs, loads, attempts, beside } = match (played, monitor.relay.as_mut().map(Relay::check)) {
        (Err(_), Some(Err(error))) => return Err(error),
        (played, _) => played?,
    };
    monitor.sample().await?;
    drop(above);
    let last = monitor.samples.last().and_then(|sample| sample.relay);
    if let Some(relay) = monitor.relay {
        relay.stop().await?;
    }
    Ok(Scene {
        name,
        attackers: stage.attackers(),
        pairs,
        attempts,
        beside,
        samples: monitor.samples,
        loads,
        ended_shed: stage.tally.ended_shed.load(Relaxed),
        closed: stage.tally.closed.load(Relaxed),
        relay: last.map(|(statistics, _)| statistics),
    })
}

/// The clients of an attack.
struct Stage<'a> {
    options: &'a Options,
    name: Name,
    aim: Aim,
    /// The server behind the relay.
    server: Option<SocketAddr>,
    tally: Arc<Tally>,
    log: Log,
    beside: Log,
    is_over: Arc<AtomicBool>,
    clients: JoinSet<()>,
}

/// The results of the stage.
struct Played {
    pairs: Vec<Pair>,
    loads: Vec<Load>,
    attempts: Vec<Attempt>,
    beside: Vec<Attempt>,
}

impl Stage<'_> {
    fn new(options: &Options, name: Name, target: SocketAddr, server: Option<SocketAddr>) -> Stage<'_> {
        let [small, large] = if options.target.is_some() {
            [&options.path; 2].map(String::as_str)
        } else {
            [backend::SMALL, backend::LARGE]
        };
        let aim = Aim { target, small: small.into(), large: large.into() };
        let (log, beside, is_over) = (Log::default(), Log::default(), Arc::new(AtomicBool::new(false)));
        Stage { options, name, aim, server, tally: Arc::default(), log, beside, is_over, clients: JoinSet::new() }
    }

    fn attackers(&self) -> u64 {
        // An overload has no hostile client.
        if self.name == Name::Overload { 0 } else { plan::connections(&self.name.bands(self.options)) as u64 }
    }

    async fn play(&mut self) -> Result<Played, String> {
        let Aim { target, small, .. } = &self.aim;
        let asks = if self.options.target.is_some() { Asks::Path(small.clone()) } else { Asks::Shapes };
        let is_here = target.is_ipv4() && target.ip().is_loopback();
        let source = is_here.then_some(honest_source as fn(usize) -> Ipv4Addr);
        let (count, patience) = (self.options.honest, self.options.patience());
        let clients = Clients { count, target: *target, source, pace: PACE, patience, asks };
        if let Some(target) = self.server {
            let source = Some(beside_source as fn(usize) -> Ipv4Addr);
            let beside = Clients { count: BESIDE, target, source, ..clients.clone() };
            let is_over = self.is_over.clone();
            self.clients.spawn(honest::work(beside, self.beside.clone(), move || is_over.load(Relaxed)));
        }
        let is_over = self.is_over.clone();
        self.clients.spawn(honest::work(clients, self.log.clone(), move || is_over.load(Relaxed)));

        sleep(CALM).await;
        let (mut pairs, mut loads) = (Vec::new(), Vec::new());
        if self.name == Name::Overload {
            pairs.push(self.overloads(&mut loads).await?);
        } else {
            for _ in 0..self.options.pairs() {
                pairs.push(self.pair().await?);
            }
        }
        self.is_over.store(true, Relaxed);
        while let Some(ended) = self.clients.join_next().await {
            ended.map_err(|error| format!("the honest clients: {error}"))?;
        }
        // Until now the last requests have been answered.
        pairs.last_mut().expect("there is one").ended = Instant::now();
        let [attempts, beside] =
            [&self.log, &self.beside].map(|log| std::mem::take(&mut *log.lock().expect("no client panics")));
        Ok(Played { pairs, loads, attempts, beside })
    }

    /// A time without attackers, then one with all of them.
    async fn pair(&self) -> Result<Pair, String> {
        let began = Instant::now();
        self.stay(began).await;
        let attacked = Instant::now();
        let attackers = self.gather(self.name.bands(self.options), &self.tally).await?;
        let came_within = attacked.elapsed();
        // What it took to let them in is over then.
        sleep(CALM).await;
        self.tally.take_acts();
        attackers.begin();
        let complete = Instant::now();
        self.stay(complete).await;
        let strength = Strength {
            came_within,
            struck: self.tally.struck.load(Relaxed),
            struck_within: self.tally.struck_within(),
            acts: self.tally.take_acts(),
        };
        let left = attackers.leave().await?;
        Ok(Pair { began, attacked, complete, left, ended: self.recover(left).await, strength })
    }

    async fn overloads(&self, loads: &mut Vec<Load>) -> Result<Pair, String> {
        let began = Instant::now();
        sleep(CALM).await;
        let attacked = Instant::now();
        for factor in LOADS {
            loads.push(self.overload(factor).await?);
        }
        let left = Instant::now();
        let (ended, strength) = (self.recover(left).await, Strength::default());
        Ok(Pair { began, attacked, complete: attacked, left, ended, strength })
    }

    /// Returns after the length of an attack, and once each honest client has asked for something since it began.
    async fn stay(&self, began: Instant) {
        sleep(self.options.length()).await;
        while !have_all_asked(&self.log, self.options.honest, began) {
            sleep(LOOK_EVERY).await;
        }
    }

    /// Returns when service is back, or will not come back.
    async fn recover(&self, left: Instant) -> Instant {
        let limit = RECOVERY_LIMIT.max(self.options.patience());
        let is_back = || recovered(&self.log.lock().expect("no client panics"), self.options.honest, left).is_some();
        while left.elapsed() < CALM || (!is_back() && left.elapsed() < limit) {
            sleep(LOOK_EVERY).await;
        }
        Instant::now()
    }

    async fn gather(&self, bands: Vec<Band>, tally: &Arc<Tally>) -> Result<Attackers, String> {
        let began = Instant::now();
        // On a busy machine attackers that wait for all others might never come.
        let is_background = !self.options.no_latency && self.name != Name::Overload;
        let attackers = Attackers::start(&self.aim, bands, tally, is_background)?;
        while !attackers.have_arrived() {
            if began.elapsed() >= ARRIVAL_LIMIT {
                let (arrived, limit) = (tally.arrived.load(Relaxed), ARRIVAL_LIMIT.as_secs());
                let why = tally.first_failure.get().map_or(String::new(), |error| format!(": {error}"));
                return Err(format!("only {arrived} could connect within {limit} s{why}"));
            }
            sleep(LOOK_EVERY).await;
        }
        Ok(attackers)
    }

    /// One step of an overload; its clients are honest and counted separately.
    async fn overload(&self, factor: f64) -> Result<Load, String> {
        let (band, tally) = (load(factor, self.options), Arc::default());
        let clients = self.gather(vec![band], &tally).await?;
        tally.take_served();
        let began = Instant::now();
        sleep(self.options.length() / 2).await;
        let ((served, slowest), lasted) = (tally.take_served(), began.elapsed());
        clients.leave().await?;
        Ok(Load {
            factor,
            clients: band.count as u64,
            served_per_second: served as f64 / lasted.as_secs_f64(),
            slowest_ms: milliseconds(slowest),
            shed: tally.ended_shed.load(Relaxed),
            lost: tally.closed.load(Relaxed),
        })
    }
}

/// The time from when the last attacker had left until each honest client was served with what it asked for after that.
pub(crate) fn recovered(attempts: &[Attempt], clients: usize, left: Instant) -> Option<Duration> {
    let mut waiting: BTreeSet<usize> = (0..clients).collect();
    let is_after = |attempt: &&Attempt| attempt.began >= left && attempt.outcome == Outcome::Served;
    for attempt in attempts.iter().filter(is_after) {
        waiting.remove(&attempt.client);
        if waiting.is_empty() {
            // They are in the order in which they ended.
            return Some(attempt.began + attempt.lasted - left);
        }
    }
    None
}

/// Looks at an attack while it goes on.
struct Monitor {
    name: Name,
    relay: Option<Relay>,
    tally: Arc<Tally>,
    samples: Vec<Sample>,
    progress: Progress,
}

impl Monitor {
    /// Samples and shows progress until an error ends it.
    async fn sample_on(&mut self) -> String {
        let began = Instant::now();
        let mut ticks = interval(SAMPLE_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            ticks.tick().await;
            if let Err(error) = self.sample().await {
                return error;
            }
            let line = self.line();
            self.progress.show(began.elapsed(), &line);
        }
    }

    async fn sample(&mut self) -> Result<(), String> {
        let relay = match &mut self.relay {
            Some(relay) => Some((relay.statistics().await?, relay.resident_bytes()?)),
            None => None,
        };
        self.samples.push(Sample { at: Instant::now(), relay, attackers: self.tally.connected.load(Relaxed) });
        Ok(())
    }

    fn line(&self) -> String {
        let sample = self.samples.last().expect("one was taken");
        let relay = sample.relay.map_or(String::new(), |(relay, _)| {
            let (in_use, waiting, shed) = (relay.in_use(), relay.waiting, relay.shed);
            format!(" | {in_use} of {} buffers in use | {waiting} waiting | {shed} shed", relay.buffers)
        });
        format!("{}: {} attackers connected{relay}", self.name.text(), sample.attackers)
    }
}

/// The relay's defaults, but for its memory and room for all connections.
fn relay_arguments(options: &Options, name: Name) -> Vec<String> {
    let connections = options.honest + plan::connections(&name.bands(options)) + SPARE_CONNECTIONS;
    let numbers =
        [("--memory-kib", options.memory_kib), ("--connections", connections as u64), ("--threads", options.threads)];
    let arguments = numbers.into_iter().flat_map(|(option, value)| [option.into(), value.to_string()]);
    let counting = options.counting.then(|| "--counting".into());
    arguments.chain(counting).chain(options.relay_arguments.iter().cloned()).collect()
}
