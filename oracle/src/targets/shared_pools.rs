//! Pools of several threads through the C functions, interleaved on one thread: receivers that move, threads that come and
//! go, and requests of the host's own, whichever thread they come from.

mod threads;

use super::ops::event;
use super::text::{Line, lines};
use crate::system::{Ask, Asked, Attach, CExported, CPool, CSharedPool, Notice, System, Taken};
use demuxbuf::connection::{Action, Actions, Event, Mode};
use demuxbuf::pool::PoolConfig;
use demuxbuf_capi::{DEMUXBUF_ERR_NO_DEADLINE, DEMUXBUF_ERR_POOL_CLOSED, DEMUXBUF_ERR_STALE};
use std::collections::BTreeSet;

/// Lines of the configuration, wherever they are; then operations. The first number of an operation names a thread or a
/// receiver.
pub(super) const EXAMPLES: &[&str] = &[
    "shards 3",
    "spare 4",
    "bytes 256",
    "receivers 4",
    "mode 1",
    "reads 1",
    "grace-ms 80",
    "blocked-ms 80",
    "lease-ms 80",
    "waits 2",
    "classes 2",
    "reserve 1 1",
    "cap 1 8",
    "attach 0",
    "attach 1",
    "attach-with 0 70",
    "adopt 1 0 10 70",
    "take 0",
    "request 0 0",
    "request 1 1",
    "try 0 0",
    "renew 0 0",
    "release 1 0",
    "cancel 0 0",
    "poll 0",
    "drain 1",
    "rest",
    "later 5",
    "later 200",
    "tick 0 30",
    "trim 0",
    "export 0",
    "import 1 0",
    "move 0 1",
    "move 1 0",
    "elsewhere 0 1",
    "free 1",
    "shard 0",
    "shard 1",
    "shard 2",
    "shut 0",
    "obey 0 0 70",
    "obey 0 1 70",
    "obey 0 2 70",
    "obey 1 0 200",
    "obey 2 2 1",
    "decoded 0 5 9",
    "readable 0",
    "readable 1",
    "received 0 70",
    "would-block 0",
    "end 0",
    "error 0",
    "block 0 1",
    "unblock 0 1",
    "set-blocked 0 1",
    "yield 0",
    "wake 0",
    "pause 0",
    "continue 0",
    "fail 0",
    "done 0 1",
    "close 0",
    "close 1",
];

const MS: u64 = 1_000_000;

pub(super) fn run(text: &[u8]) -> Result<(), String> {
    let mut play = Play::new(text)?;
    for line in lines(text) {
        play.step(line).and_then(|()| play.check()).map_err(|broken| format!("{line:?}: {broken}"))?;
    }
    play.finish()
}

struct Receiver {
    home: usize,
    id: u64,
    token: u64,
    /// What was received and not decoded.
    undecoded: Vec<u8>,
}

/// A receiver between its export and its import.
struct Exported {
    value: CExported,
    token: u64,
    undecoded: Vec<u8>,
}

struct Play {
    shared_pool: Option<CSharedPool>,
    pools: Vec<Option<CPool>>,
    buffer_bytes: u32,
    /// Free buffers at first, when each thread had its pool.
    free: u32,
    now_ns: u64,
    receivers: Vec<Receiver>,
    exported: Vec<Exported>,
    /// Handles that are over, and where they were valid.
    closed: Vec<(usize, u64)>,
    leases: Vec<u64>,
    /// Waits: the thread, the handle and the token.
    waits: Vec<(usize, u64, u64)>,
    /// Threads that have a reason to look: they were named, or made a call since they last looked.
    awake: BTreeSet<usize>,
    tokens: u64,
    /// The next byte that a peer sends.
    next: u8,
}

impl Play {
    fn new(text: &[u8]) -> Result<Play, String> {
        let (config, shards) = config(text);
        let shared_pool = CSharedPool::new(&config, shards);
        let pools: Result<Vec<_>, _> = (0..shards).map(|index| shared_pool.shard(index).map(Some)).collect();
        let mut pools = pools.map_err(|status| format!("a thread's pool is refused with {status}"))?;
        let free = pools[0].as_mut().expect("it was made").stats().scheduler.free;
        Ok(Play {
            shared_pool: Some(shared_pool),
            pools,
            buffer_bytes: config.buffer_bytes,
            free,
            now_ns: 0,
            receivers: Vec::new(),
            exported: Vec::new(),
            closed: Vec::new(),
            leases: Vec::new(),
            waits: Vec::new(),
            awake: BTreeSet::new(),
            tokens: 0,
            next: 0,
        })
    }

    fn step(&mut self, line: Line<'_>) -> Result<(), String> {
        let (first, second) = (line.short(0) as usize, line.short(1) as usize);
        match line.word {
            "attach" => self.attach(first, 0),
            "attach-with" => self.attach(first, line.short(1) % (self.buffer_bytes + 2)),
            "adopt" => self.adopt(first, second, line.short(2), line.short(3)),
            "take" => self.take(first),
            "request" => self.request(first, second as u8),
            "try" => self.try_request(first, second as u8),
            "renew" => self.renew(first, second),
            "release" => self.release(first, second),
            "cancel" => self.cancel(first, second),
            "poll" => self.poll(first % self.pools.len()).map(|_| ()),
            "drain" => self.settle(first % self.pools.len()),
            "rest" => self.rest(),
            // Milliseconds, on each thread.
            "later" => {
                self.now_ns = self.now_ns.saturating_add(line.number(0).saturating_mul(MS));
                (0..self.pools.len()).try_for_each(|at| self.tick(at, self.now_ns))
            }
            "tick" => self.tick(first, self.now_ns.saturating_add(line.number(1).saturating_mul(MS))),
            "trim" => self.with_pool(first, |pool| pool.trim()),
            "export" => self.export(first).map(|_| ()),
            "import" => self.import(first, second),
            "move" => {
                let is_exported = self.export(first)?;
                if is_exported { self.import(second, self.exported.len() - 1) } else { Ok(()) }
            }
            "elsewhere" => self.elsewhere(first, second),
            "free" => self.free(first),
            "shard" => self.shard(first),
            // Seldom, since nothing new begins then.
            "shut" if first % 8 == 7 => {
                self.shared_pool = None;
                Ok(())
            }
            "obey" => self.obey(first, line.short(1), line.short(2)),
            "decoded" => self.decoded(first, line.short(1), line.short(2)),
            _ => event(line).map_or(Ok(()), |event| self.report(first, event)),
        }
    }

    /// The thread of this number, if it has its pool. It has a reason to look from now on.
    fn pool(&mut self, thread: usize) -> Option<(usize, &mut CPool)> {
        let at = thread % self.pools.len();
        self.awake.insert(at);
        self.pools[at].as_mut().map(|pool| (at, pool))
    }

    fn with_pool(&mut self, thread: usize, call: impl FnOnce(&mut CPool)) -> Result<(), String> {
        if let Some((_, pool)) = self.pool(thread) {
            call(pool);
        }
        Ok(())
    }

    fn home(&mut self, at: usize) -> &mut CPool {
        let home = self.receivers[at].home;
        self.pool(home).expect("its receivers end with a pool").1
    }

    fn which(&self, nth: usize) -> Option<usize> {
        nth.checked_rem(self.receivers.len())
    }

    fn sent(&mut self, bytes: u32) -> Vec<u8> {
        let sent = (0..bytes).map(|at| self.next.wrapping_add(at as u8)).collect();
        self.next = self.next.wrapping_add(bytes as u8).wrapping_add(1);
        sent
    }

    /// Once the shared pool was freed, nothing new is begun.
    fn is_refused_rightly<T>(&self, outcome: &Result<T, i32>) -> Result<(), String> {
        match outcome {
            Ok(_) if self.shared_pool.is_none() => Err("it is served by a pool that is closed".into()),
            Err(DEMUXBUF_ERR_POOL_CLOSED) if self.shared_pool.is_some() => Err("it is refused by an open pool".into()),
            _ => Ok(()),
        }
    }

    fn attach(&mut self, thread: usize, bytes: u32) -> Result<(), String> {
        self.tokens += 1;
        let (token, undecoded) = (self.tokens, self.sent(bytes));
        let Some((home, pool)) = self.pool(thread) else { return Ok(()) };
        let outcome = pool.attach(Attach::new(0, token), &undecoded);
        self.is_refused_rightly(&outcome)?;
        self.receivers.extend(outcome.map(|id| Receiver { home, id, token, undecoded }));
        Ok(())
    }

    fn adopt(&mut self, thread: usize, nth: usize, offset: u32, buffered_bytes: u32) -> Result<(), String> {
        let Some(nth) = nth.checked_rem(self.leases.len()) else { return Ok(()) };
        self.tokens += 1;
        let (token, lease) = (self.tokens, self.leases[nth]);
        let Some((home, pool)) = self.pool(thread) else { return Ok(()) };
        let content = bytes_of(pool.content(lease).map_err(|status| format!("a lease is refused with {status}"))?);
        let outcome = pool.adopt(Attach::new(0, token), Taken { lease, offset, buffered_bytes });
        let is_over = outcome.is_ok() && pool.release(lease) != Err(DEMUXBUF_ERR_STALE);
        self.is_refused_rightly(&outcome)?;
        if let Ok(id) = outcome {
            self.leases.remove(nth);
            let undecoded = content[offset as usize..][..buffered_bytes as usize].to_vec();
            self.receivers.push(Receiver { home, id, token, undecoded });
        }
        if is_over { Err("a lease that was adopted is released".into()) } else { Ok(()) }
    }

    fn take(&mut self, nth: usize) -> Result<(), String> {
        let Some(at) = self.which(nth) else { return Ok(()) };
        let id = self.receivers[at].id;
        let pool = self.home(at);
        let Ok(Taken { lease, offset, buffered_bytes }) = pool.take(id) else { return Ok(()) };
        let content = bytes_of(pool.content(lease).map_err(|status| format!("what was taken: {status}"))?);
        let taken = &content[offset as usize..][..buffered_bytes as usize];
        if taken != self.receivers[at].undecoded {
            return Err(format!("{taken:?} left; undecoded was {:?}", self.receivers[at].undecoded));
        }
        self.receivers[at].undecoded.clear();
        self.leases.push(lease);
        Ok(())
    }

    fn request(&mut self, thread: usize, class: u8) -> Result<(), String> {
        self.tokens += 1;
        let token = self.tokens;
        let Some((at, pool)) = self.pool(thread) else { return Ok(()) };
        let outcome = pool.request(Ask::new(class, token));
        self.is_refused_rightly(&outcome)?;
        match outcome {
            Ok(Asked::Lease(lease)) => self.leases.push(lease),
            Ok(Asked::Wait(wait)) => self.waits.push((at, wait, token)),
            Err(_) => {}
        }
        Ok(())
    }

    fn try_request(&mut self, thread: usize, class: u8) -> Result<(), String> {
        let Some((_, pool)) = self.pool(thread) else { return Ok(()) };
        let outcome = pool.try_request(Ask::new(class, 0));
        self.is_refused_rightly(&outcome)?;
        self.leases.extend(outcome.ok().flatten());
        Ok(())
    }

    fn renew(&mut self, thread: usize, nth: usize) -> Result<(), String> {
        let Some(&lease) = nth.checked_rem(self.leases.len()).map(|nth| &self.leases[nth]) else { return Ok(()) };
        let Some((_, pool)) = self.pool(thread) else { return Ok(()) };
        match pool.progress(lease, 0) {
            Ok(()) | Err(DEMUXBUF_ERR_NO_DEADLINE) => Ok(()),
            Err(status) => Err(format!("a lease is not renewed: {status}")),
        }
    }

    /// Any thread may release a lease, whichever thread's it was.
    fn release(&mut self, thread: usize, nth: usize) -> Result<(), String> {
        let Some(nth) = nth.checked_rem(self.leases.len()) else { return Ok(()) };
        let lease = self.leases[nth];
        let Some((_, pool)) = self.pool(thread) else { return Ok(()) };
        let outcomes = [pool.release(lease), pool.release(lease)];
        self.leases.remove(nth);
        if outcomes == [Ok(()), Err(DEMUXBUF_ERR_STALE)] { Ok(()) } else { Err(format!("released: {outcomes:?}")) }
    }

    fn cancel(&mut self, thread: usize, nth: usize) -> Result<(), String> {
        let Some(nth) = nth.checked_rem(self.waits.len()) else { return Ok(()) };
        let (home, wait, _) = self.waits[nth];
        let Some((at, pool)) = self.pool(thread) else { return Ok(()) };
        let outcome = pool.cancel(wait);
        if outcome.is_ok() {
            self.waits.remove(nth);
        }
        if outcome.is_ok() || at != home { Ok(()) } else { Err(format!("a wait is not cancelled: {outcome:?}")) }
    }

    fn tick(&mut self, thread: usize, now_ns: u64) -> Result<(), String> {
        self.with_pool(thread, |pool| pool.tick(now_ns))
    }

    /// Whether there was a notice.
    fn poll(&mut self, at: usize) -> Result<bool, String> {
        let notice = self.pools[at].as_mut().and_then(CPool::poll_notice);
        match notice {
            None => {
                self.awake.remove(&at);
                return Ok(false);
            }
            Some(Notice::Lease { wait, token, lease }) => {
                let nth = self.waits.iter().position(|&known| known == (at, wait, token));
                self.waits.remove(nth.ok_or("a buffer for an unknown wait")?);
                self.leases.push(lease);
            }
            Some(Notice::Receiver { id, token, step }) => {
                let is_it = |one: &Receiver| (one.home, one.id, one.token) == (at, id, token);
                if !self.receivers.iter().any(is_it) || step.actions == 0 {
                    return Err(format!("a notice of {id} with {:#x}", step.actions));
                }
            }
            Some(Notice::Overdue { lease, .. }) if !self.leases.contains(&lease) => {
                return Err(format!("{lease} is overdue, and is no lease"));
            }
            Some(Notice::Overdue { .. }) => {}
            Some(notice) => return Err(format!("{notice:?} was not asked for")),
        }
        Ok(true)
    }

    /// Does one of the things that are asked for.
    fn obey(&mut self, nth: usize, choice: u32, amount: u32) -> Result<(), String> {
        let Some(at) = self.which(nth) else { return Ok(()) };
        let (id, there) = (self.receivers[at].id, self.receivers[at].undecoded.len() as u32);
        let step = self.home(at).pending(id).map_err(|status| format!("a receiver is refused with {status}"))?;
        let actions = Actions::from_bits(step.actions).ok_or("an unknown action")?;
        let outcomes = actions.intersection(Actions::ACKNOWLEDGED);
        if actions.has(Action::Shed) && choice % 2 == 0 {
            return self.report(at, Event::Close);
        }
        if !outcomes.is_empty() && choice % 8 != 7 {
            return self.report(at, Event::Done(outcomes));
        }
        if actions.has(Action::Decode) {
            return match choice % 8 {
                0 => self.decoded(at, there, 0),
                1 | 2 => self.decoded(at, amount % (there + 1), 1 + amount % self.buffer_bytes),
                3 => self.report(at, Event::Consumed { bytes: amount % (there + 1) }),
                4 => self.report(at, Event::Block { reasons: 1 }),
                5 => self.report(at, Event::Yield),
                6 => self.export(at).map(|_| ()),
                _ => self.decoded(at, 0, (self.buffer_bytes - there).max(1)),
            };
        }
        if actions.has(Action::Recv) {
            let bytes = [step.area, 1 + amount % step.area, 1][choice as usize % 3];
            return self.report(at, if choice < 6 { Event::Received { bytes } } else { Event::WouldBlock });
        }
        self.report(at, [Event::Readable, Event::Wake, Event::Unblock { reasons: 1 }][choice as usize % 3])
    }

    fn report(&mut self, nth: usize, event: Event) -> Result<(), String> {
        let Some(at) = self.which(nth) else { return Ok(()) };
        let Receiver { home, id, .. } = self.receivers[at];
        let mut received = Vec::new();
        if let Event::Received { bytes } = event {
            let area = self.home(at).pending(id).map_err(|status| format!("it is refused with {status}"))?.area;
            received = self.sent(bytes.min(area));
            self.home(at).write(id, &received);
        }
        let Ok(step) = self.home(at).report(id, event) else { return Ok(()) };
        match event {
            Event::Received { bytes } if bytes as usize != received.len() => {
                return Err(format!("{bytes} bytes are accepted, room was for {}", received.len()));
            }
            Event::Received { .. } => self.receivers[at].undecoded.extend(received),
            Event::Consumed { bytes } => drop(self.receivers[at].undecoded.drain(..bytes as usize)),
            Event::Close if step.actions != Actions::from(Action::Finished).bits() => {
                return Err(format!("it does not finish: {:#x}", step.actions));
            }
            Event::Close => {
                self.receivers.remove(at);
                self.closed.push((home, id));
            }
            _ => {}
        }
        Ok(())
    }

    fn decoded(&mut self, nth: usize, consumed: u32, needed: u32) -> Result<(), String> {
        let Some(at) = self.which(nth) else { return Ok(()) };
        let id = self.receivers[at].id;
        if self.home(at).decoded(id, consumed, needed, needed).is_ok() {
            self.receivers[at].undecoded.drain(..consumed as usize);
        }
        Ok(())
    }

    /// What must hold after every call.
    fn check(&mut self) -> Result<(), String> {
        for pool in self.pools.iter_mut().flatten() {
            pool.check_invariants()?;
        }
        for receiver in &mut self.receivers {
            let Receiver { home, id, ref mut undecoded, token } = *receiver;
            let pool = self.pools[home].as_mut().expect("its receivers end with a pool");
            let info = pool.describe(id).map_err(|status| format!("{token} is refused with {status}"))?;
            let step = pool.pending(id).map_err(|status| format!("{token} is refused with {status}"))?;
            let is_shed = step.actions & Actions::from(Action::Shed).bits() != 0;
            if info.facts.buffered_bytes == 0 && (is_shed || info.facts.failed || info.facts.end != 0) {
                undecoded.clear();
            }
            if info.facts.buffered_bytes as usize != undecoded.len() || info.token != token {
                return Err(format!("undecoded are {} bytes of {token}: {info:?}", undecoded.len()));
            }
            let is_decoding = step.actions & Actions::from(Action::Decode).bits() != 0;
            if is_decoding && (undecoded.is_empty() || bytes_of(step.data.clone()) != *undecoded) {
                return Err(format!("undecoded are {undecoded:?}: {step:?}"));
            }
        }
        for &(home, id) in &self.closed {
            if let Some(pool) = &mut self.pools[home] {
                if pool.pending(id) != Err(DEMUXBUF_ERR_STALE) {
                    return Err(format!("{id} is over, and was {home}'s"));
                }
            }
        }
        Ok(())
    }

    /// All is over; then what is free was free at first, but for what each thread keeps for itself.
    fn finish(&mut self) -> Result<(), String> {
        if self.shared_pool.is_none() || self.pools.iter().any(Option::is_none) {
            return self.finish_without_a_thread();
        }
        self.rest()?;
        while !self.receivers.is_empty()
            || !self.exported.is_empty()
            || !self.leases.is_empty()
            || !self.waits.is_empty()
        {
            let thread = self.tokens as usize;
            self.tokens += 1;
            self.import(thread, 0)?;
            self.report(thread, Event::Close)?;
            self.release(thread, 0)?;
            if let Some(&(home, ..)) = self.waits.first() {
                self.cancel(home, 0)?;
            }
            self.rest()?;
            self.check()?;
        }
        let (free, shards) =
            (self.pools[0].as_mut().expect("it is there").stats().scheduler.free, self.pools.len() as u32);
        if free + shards >= self.free { Ok(()) } else { Err(format!("{free} are free, and {} were", self.free)) }
    }

    /// In whatever order the parts end, nothing is touched that is gone.
    fn finish_without_a_thread(&mut self) -> Result<(), String> {
        for nth in 0..self.leases.len() {
            self.release(nth, 0)?;
        }
        (0..self.pools.len()).try_for_each(|at| self.free(at).and_then(|()| self.check()))
    }
}

fn bytes_of(cells: Vec<Option<u8>>) -> Vec<u8> {
    cells.into_iter().map(|cell| cell.expect("C shows bytes")).collect()
}

/// An allowed configuration, small enough that a few lines exhaust it, and how many threads.
fn config(text: &[u8]) -> (PoolConfig, u32) {
    let (mut shards, mut spare) = (2, 0);
    let (buffer_bytes, frame_grace_ns, blocked_ns, waiters_max) = (256, 80 * MS, 80 * MS, 2);
    let mut config = PoolConfig { buffer_bytes, frame_grace_ns, blocked_ns, waiters_max, ..PoolConfig::new(0, 4) };
    for line in lines(text) {
        let (number, class) = (line.short(0), line.short(0) as usize % 4);
        match line.word {
            "shards" => shards = 1 + number.wrapping_sub(1) % 4,
            "spare" => spare = u64::from(number % 16),
            "bytes" => config.buffer_bytes = 128 + number / 64 % 20 * 64,
            "receivers" => config.receivers_max = 1 + number.wrapping_sub(1) % 12,
            // A receive in flight moves nowhere.
            "mode" => config.policy.mode = Mode::try_from((number % 4) as u8).unwrap_or_default(),
            "reads" => config.policy.reads_per_wake = number as u8 % 4,
            "grace-ms" => config.frame_grace_ns = (line.number(0) * MS).max(8),
            "blocked-ms" => config.blocked_ns = (line.number(0) * MS).max(8),
            "lease-ms" => config.lease_ns = Some((line.number(0).min(1 << 40) * MS).max(1)),
            "waits" => config.waiters_max = number % 4,
            "classes" => config.classes = 1 + number.wrapping_sub(1) as u8 % 4,
            "reserve" => config.reserves[class] = line.short(1) % 4,
            "cap" => config.class_caps[class] = line.short(1).max(1),
            _ => {}
        }
    }
    for class in usize::from(config.classes)..config.reserves.len() {
        config.reserves[class] = 0;
    }
    let buffers = 8 * u64::from(shards) + spare;
    config.memory_bytes = buffers * u64::from(config.buffer_bytes);
    let last = usize::from(config.classes) - 1;
    config.class_caps[last] = u32::MAX;
    (config, shards)
}
