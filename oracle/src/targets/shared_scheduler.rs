//! Interleavings of the calls of several shards, driven from one thread, against plain sets.

use super::text::{Line, each_line, lines};
use demuxbuf::scheduler::{CLASSES_MAX, LeaseId, Outcome, SchedulerConfig, WaitId};
use demuxbuf::shared::{SchedulerShard, SharedScheduler};
use std::collections::{BTreeMap, BTreeSet};

pub(super) const EXAMPLES: &[&str] = &[
    "shards 3",
    "buffers 2",
    "waits 8",
    "classes 2",
    "burst 1",
    "reserve 1 1",
    "cap 1 1",
    "request 0 0",
    "release 0 0",
    "again 0",
    "cancel 0 0",
    "export 0 0",
    "import 1 0",
    "poll 0",
    "wake 0",
    "tick 0 100",
];

pub(super) fn run(text: &[u8]) -> Result<(), String> {
    let mut play = Play::new(text)?;
    each_line(text, |line| play.step(line).and_then(|()| play.check()))?;
    play.drain()
}

/// A wait that has not ended: what it was made with, and where it is; `None` while it is exported.
#[derive(Clone, Copy, Debug)]
struct Wait {
    id: WaitId,
    token: u64,
    class: u8,
    home: Option<usize>,
}

struct Play {
    config: SchedulerConfig,
    shards: SharedScheduler,
    handles: Vec<SchedulerShard>,
    held: Vec<(LeaseId, u8)>,
    released: Vec<LeaseId>,
    waits: Vec<Wait>,
    /// Shards that have a reason to poll: they were named, or made a call of their own since they last polled.
    awake: BTreeSet<usize>,
    tokens: u64,
    /// The most that was held or assigned at once.
    out_peak: u32,
}

impl Play {
    fn new(text: &[u8]) -> Result<Play, String> {
        let (config, count) = config(text);
        let shards =
            SharedScheduler::new(&config, count).map_err(|error| format!("an allowed configuration: {error}"))?;
        let handles: Result<Vec<_>, _> = (0..count).map(|index| shards.shard(index)).collect();
        let handles = handles.map_err(|error| error.to_string())?;
        let (held, released, waits) = (Vec::new(), Vec::new(), Vec::new());
        Ok(Play { config, shards, handles, held, released, waits, awake: BTreeSet::new(), tokens: 0, out_peak: 0 })
    }

    fn step(&mut self, line: Line<'_>) -> Result<(), String> {
        let at = line.short(0) as usize % self.handles.len();
        let nth = line.short(1) as usize;
        match line.word {
            "request" => self.request(at, nth as u8),
            "release" => self.release(at, nth),
            "again" => match self.released.last() {
                Some(&lease) => refused(self.handles[at].release(lease)),
                None => Ok(()),
            },
            "cancel" => self.cancel(at, nth),
            "export" => self.export(at, nth),
            "import" => self.import(at, nth),
            "poll" => self.poll(at),
            "wake" => {
                self.wake(at);
                Ok(())
            }
            "tick" => {
                self.handles[at].handle_timeout(line.number(1));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn request(&mut self, at: usize, class: u8) -> Result<(), String> {
        self.tokens += 1;
        self.awake.insert(at);
        match self.handles[at].request(class, self.tokens) {
            Ok(_) if class >= self.config.classes => Err("a class that does not exist is served".into()),
            Ok(Outcome::Granted(lease)) => self.hold(lease, class),
            Ok(Outcome::Queued(id)) => {
                self.waits.push(Wait { id, token: self.tokens, class, home: Some(at) });
                Ok(())
            }
            Err(_) if class >= self.config.classes => Ok(()),
            Err(_) if self.waits.len() >= self.config.waiters_max as usize => Ok(()),
            Err(error) => Err(format!("refused: {error}")),
        }
    }

    fn hold(&mut self, lease: LeaseId, class: u8) -> Result<(), String> {
        if self.held.iter().any(|(held, _)| held.index() == lease.index()) {
            return Err(format!("buffer {} is granted twice", lease.index()));
        }
        self.held.push((lease, class));
        Ok(())
    }

    fn release(&mut self, at: usize, nth: usize) -> Result<(), String> {
        let Some(nth) = nth.checked_rem(self.held.len()) else { return Ok(()) };
        let (lease, _) = self.held.remove(nth);
        self.awake.insert(at);
        self.released.push(lease);
        self.handles[at].release(lease).map_err(|error| error.to_string())
    }

    fn cancel(&mut self, at: usize, nth: usize) -> Result<(), String> {
        let Some(nth) = nth.checked_rem(self.waits.len()) else { return Ok(()) };
        let wait = self.waits.remove(nth);
        self.awake.insert(at);
        self.handles[at].cancel(wait.id).map_err(|error| error.to_string())?;
        refused(self.handles[at].cancel(wait.id))
    }

    fn export(&mut self, at: usize, nth: usize) -> Result<(), String> {
        let Some(nth) = nth.checked_rem(self.waits.len()) else { return Ok(()) };
        self.awake.insert(at);
        let outcome = self.handles[at].export_wait(self.waits[nth].id);
        if self.waits[nth].home != Some(at) {
            return refused(outcome);
        }
        self.waits[nth].home = None;
        outcome.map_err(|error| error.to_string())
    }

    fn import(&mut self, at: usize, nth: usize) -> Result<(), String> {
        let Some(nth) = nth.checked_rem(self.waits.len()) else { return Ok(()) };
        self.awake.insert(at);
        self.tokens += 1;
        let outcome = self.handles[at].import_wait(self.waits[nth].id, self.tokens);
        if self.waits[nth].home.is_some() {
            return refused(outcome);
        }
        (self.waits[nth].home, self.waits[nth].token) = (Some(at), self.tokens);
        outcome.map_err(|error| error.to_string())
    }

    fn poll(&mut self, at: usize) -> Result<(), String> {
        let Some(grant) = self.handles[at].poll_grant() else {
            self.awake.remove(&at);
            return Ok(());
        };
        let found = self.waits.iter().position(|wait| wait.id == grant.wait);
        let wait = self.waits.remove(found.ok_or("a grant for an unknown wait")?);
        if (wait.token, wait.class, wait.home) != (grant.token, grant.class, Some(at)) {
            return Err(format!("{grant:?} for {wait:?} at shard {at}"));
        }
        self.hold(grant.lease, grant.class)
    }

    fn wake(&mut self, at: usize) {
        // There are fewer names than shards; a shard that is named again and again would not end this.
        for _ in 0..=self.handles.len() {
            match self.handles[at].poll_wake() {
                Some(named) => self.awake.insert(named as usize),
                None => return,
            };
        }
    }

    /// Conservation, and the rest property by our own count.
    fn check(&mut self) -> Result<(), String> {
        self.shards.check_invariants()?;
        let mut out: BTreeMap<u8, u32> = BTreeMap::new();
        let (mut assigned, mut unserved) = (0, BTreeSet::new());
        for &(_, class) in &self.held {
            *out.entry(class).or_default() += 1;
        }
        for wait in &self.waits {
            let info = self.handles[0].describe_wait(wait.id).map_err(|error| error.to_string())?;
            if info.is_assigned {
                assigned += 1;
                *out.entry(wait.class).or_default() += 1;
            } else {
                unserved.insert(wait.class);
            }
        }
        let held = self.held.len() as u32;
        let free = self.config.buffers.checked_sub(held + assigned).ok_or("more is outstanding than there is")?;
        let stats = self.shards.stats();
        if (stats.scheduler.free, stats.scheduler.leased, stats.scheduler.assigned) != (free, held, assigned) {
            return Err(format!("free, held and assigned are {free}, {held}, {assigned}; seen {stats:?}"));
        }
        self.out_peak = self.out_peak.max(held + assigned);
        if stats.scheduler.leased_peak > self.config.buffers {
            return Err(format!("at most {} can be outstanding at once; seen {stats:?}", self.config.buffers));
        }
        let is_exact = self.handles.len() == 1;
        if stats.scheduler.leased_peak < self.out_peak || is_exact && stats.scheduler.leased_peak > self.out_peak {
            return Err(format!("at most {} were outstanding at once; seen {stats:?}", self.out_peak));
        }
        for class in unserved {
            let at = usize::from(class);
            let taken = out.get(&class).copied().unwrap_or(0);
            if free > self.config.reserves[at] && taken < self.config.class_caps[at] {
                return Err(format!("I3: {free} are free, and class {class} waits"));
            }
        }
        Ok(())
    }

    /// Every shard releases, and polls only when there is a reason to. Then every waiter must have been served.
    fn drain(&mut self) -> Result<(), String> {
        for nth in 0..self.waits.len() {
            if self.waits[nth].home.is_none() {
                self.import(nth % self.handles.len(), nth)?;
            }
        }
        for turn in 0..4 * (self.waits.len() + self.held.len() + self.handles.len()) {
            for at in 0..self.handles.len() {
                self.wake(at);
                while self.awake.contains(&at) {
                    self.poll(at)?;
                }
            }
            self.release(turn % self.handles.len(), 0)?;
            self.check()?;
        }
        let stats = self.shards.stats();
        if self.waits.is_empty() && stats.scheduler.free == self.config.buffers {
            return Ok(());
        }
        Err(format!("I6: {} still wait, although every named shard polled: {stats:?}", self.waits.len()))
    }
}

fn refused<T, E>(outcome: Result<T, E>) -> Result<(), String> {
    if outcome.is_err() { Ok(()) } else { Err("a handle that is stale or elsewhere is accepted".into()) }
}

/// An allowed configuration, and how many shards.
fn config(text: &[u8]) -> (SchedulerConfig, u32) {
    let (mut config, mut shards) = (SchedulerConfig::new(2, 8), 2);
    for line in lines(text) {
        let (number, class) = (line.short(0), line.short(0) as usize % CLASSES_MAX);
        match line.word {
            "shards" => shards = 1 + number.wrapping_sub(1) % 4,
            "buffers" => config.buffers = 1 + number.wrapping_sub(1) % 200,
            "waits" => config.waiters_max = number % 16,
            "classes" => config.classes = 1 + number.wrapping_sub(1) as u8 % 8,
            "burst" => config.class_burst = number.max(1),
            "reserve" => config.reserves[class] = line.short(1),
            "cap" => config.class_caps[class] = line.short(1).max(1),
            _ => {}
        }
    }
    for class in 0..CLASSES_MAX {
        let reserve_max = if class < usize::from(config.classes) { config.buffers - 1 } else { 0 };
        config.reserves[class] = config.reserves[class].min(reserve_max);
    }
    (config, shards)
}
