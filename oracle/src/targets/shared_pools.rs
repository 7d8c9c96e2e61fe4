//! Pools of several threads through the C functions, interleaved on one thread: receivers that move, threads that come
//! and go, and requests of the host's own, whichever thread they come from.

mod config;
mod receives;
mod tenants;
mod threads;

use self::config::{config, in_flight_max};
use self::receives::InFlight;
use super::ops::event;
use super::text::{Line, each_line};
use crate::system::{Ask, Asked, Attach, CExported, CPool, CSharedPool, Notice, System, Taken};
use demuxbuf::connection::{Action, Actions, Event};
use demuxbuf::scheduler::TenantConfig;
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
    "resume 10",
    "pause-when-blocked",
    "wipe",
    "grace-ms 80",
    "blocked-ms 80",
    "lease-ms 80",
    "waits 2",
    "classes 2",
    "reserve 1 1",
    "cap 1 8",
    "counting",
    "reads-ahead",
    "in-flight 2",
    "tenants 2",
    "attach 0",
    "attach 1",
    "attach-with 0 70",
    "adopt 1 0 10 70",
    "take 0",
    "request 0 0",
    "request 1 1",
    "request 0 0 1",
    "request 0 0 0 1",
    "tenant 0 1 1",
    "tenant 1 3 0 2",
    "remove-tenant 0 0",
    "in-name-of 0 1",
    "in-name-of 0 2",
    "in-name-of 1 1",
    "try 0 0",
    "try 0 0 1",
    "exhaust 0",
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
    "no-more 0",
    "times 0 80 160",
    "limit 0 24",
    "limit 1 30",
    "limit 0 100",
    "set-policy 0 4",
    "set-policy 0 0 1",
    "obey 0 0 70",
    "obey 0 1 70",
    "obey 0 2 70",
    "obey 1 0 200",
    "obey 2 2 1",
    "obey 0 5 200",
    "decoded 0 5 9",
    "deliver 0 100",
    "deliver 1 200",
    "delivered 0 60 9",
    "delivered 1 100 0",
    "peer-closed 0",
    "kernel-full 0",
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
    each_line(text, |line| play.step(line).and_then(|()| play.check()))?;
    play.finish()
}

struct Receiver {
    home: usize,
    id: u64,
    token: u64,
    /// What was received and not decoded.
    undecoded: Vec<u8>,
    /// How many of them, the last ones, were only looked at.
    seen: usize,
    in_flight: Option<InFlight>,
    /// The last bytes that were delivered may be in the host's memory still.
    is_delivering: bool,
    /// Closed while a receive is in flight: it is over with the outcome.
    is_closing: bool,
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
    /// Threads that take no new receivers.
    drained: BTreeSet<usize>,
    buffer_bytes: u32,
    in_flight_max: u32,
    /// Free buffers at first, when each thread had its pool.
    free: u32,
    now_ns: u64,
    receivers: Vec<Receiver>,
    exported: Vec<Exported>,
    /// Handles that are over, and where they were valid.
    closed: Vec<(usize, u64)>,
    leases: Vec<u64>,
    tenants: Vec<u64>,
    /// There was one, which may have receivers still.
    has_tenants: bool,
    /// Waits: the thread, the handle and the token.
    waits: Vec<(usize, u64, u64)>,
    /// Threads that have a reason to look: they were named, or made a call since they last looked.
    awake: BTreeSet<usize>,
    tokens: u64,
    /// The next byte that a peer sends.
    next: u8,
}

impl Receiver {
    fn new(home: usize, id: u64, token: u64, undecoded: Vec<u8>) -> Receiver {
        Receiver { home, id, token, undecoded, seen: 0, in_flight: None, is_delivering: false, is_closing: false }
    }
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
            drained: BTreeSet::new(),
            buffer_bytes: config.buffer_bytes,
            in_flight_max: in_flight_max(&config, shards),
            free,
            now_ns: 0,
            receivers: Vec::new(),
            exported: Vec::new(),
            closed: Vec::new(),
            leases: Vec::new(),
            tenants: Vec::new(),
            has_tenants: false,
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
            "request" => self.request(first, second as u8, line.number(2) != 0, line.short(3) as usize),
            "try" => self.try_request(first, second as u8, line.number(2) != 0),
            "exhaust" => self.exhaust(first),
            "tenant" => {
                let cap = line.number(3).checked_rem(8).filter(|&cap| cap > 0).map_or(u32::MAX, |cap| cap as u32);
                let (weight, guaranteed) = (line.short(1), line.short(2) % 4);
                self.create_tenant(first, TenantConfig { weight, guaranteed, cap })
            }
            "remove-tenant" => self.remove_tenant(first, second),
            "in-name-of" => self.belong(first, second),
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
            "no-more" => self.drain(first),
            "times" => {
                let [grace_ns, blocked_ns] = [1, 2].map(|at| line.number(at).saturating_mul(MS));
                self.set_times(first, grace_ns, blocked_ns)
            }
            // One that is not allowed changes nothing.
            "limit" => self.with_pool(first, |pool| _ = pool.set_limit(line.short(1).into())),
            "set-policy" => self.set_policy(first, line.short(1), line.number(2) != 0),
            "deliver" => self.deliver(first, line.short(1)),
            "delivered" => self.delivered(first, line.short(1), line.short(2)),
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
        if outcome.is_ok() && self.drained.contains(&home) {
            return Err("it is attached to a pool that is drained".into());
        }
        self.receivers.extend(outcome.map(|id| Receiver::new(home, id, token, undecoded)));
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
            self.receivers.push(Receiver::new(home, id, token, undecoded));
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

    fn request(&mut self, thread: usize, class: u8, has_deadline: bool, tenant: usize) -> Result<(), String> {
        self.tokens += 1;
        let (token, tenant) = (self.tokens, self.tenant(tenant));
        let Some((at, pool)) = self.pool(thread) else { return Ok(()) };
        let outcome = pool.request(Ask { has_deadline, tenant, ..Ask::new(class, token) });
        self.is_refused_rightly(&outcome)?;
        match outcome {
            Ok(Asked::Lease(lease)) => self.leases.push(lease),
            Ok(Asked::Wait(wait)) => self.waits.push((at, wait, token)),
            Err(_) => {}
        }
        Ok(())
    }

    fn try_request(&mut self, thread: usize, class: u8, has_deadline: bool) -> Result<(), String> {
        let Some((_, pool)) = self.pool(thread) else { return Ok(()) };
        let outcome = pool.try_request(Ask { has_deadline, ..Ask::new(class, 0) });
        self.is_refused_rightly(&outcome)?;
        self.leases.extend(outcome.ok().flatten());
        Ok(())
    }

    /// The host takes all that it can have.
    fn exhaust(&mut self, thread: usize) -> Result<(), String> {
        let mut leases = self.leases.len();
        loop {
            self.try_request(thread, 0, false)?;
            if self.leases.len() == std::mem::replace(&mut leases, self.leases.len()) {
                return Ok(());
            }
        }
    }

    /// A thread takes no new receivers but those that are imported.
    fn drain(&mut self, thread: usize) -> Result<(), String> {
        // Seldom, as "shut".
        if thread % 8 != 7 {
            return Ok(());
        }
        if let Some((at, pool)) = self.pool(thread) {
            pool.drain();
            self.drained.insert(at);
        }
        Ok(())
    }

    fn set_times(&mut self, thread: usize, frame_grace_ns: u64, blocked_ns: u64) -> Result<(), String> {
        let Some((_, pool)) = self.pool(thread) else { return Ok(()) };
        let is_allowed = frame_grace_ns >= 8 && blocked_ns >= 8;
        match pool.set_times(frame_grace_ns, blocked_ns) {
            Ok(()) if !is_allowed => Err("times are accepted that are too short".into()),
            Err(status) if is_allowed && frame_grace_ns.max(blocked_ns) < u64::MAX / 4 => {
                Err(format!("times are refused with {status}"))
            }
            Ok(()) | Err(_) => Ok(()),
        }
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
            // Leases of the host's own are none of a shard's.
            Some(Notice::Drained) => {
                let has_receivers = self.receivers.iter().any(|receiver| receiver.home == at);
                let has_waits = self.waits.iter().any(|&(home, ..)| home == at);
                if !self.drained.contains(&at) || has_receivers || has_waits {
                    return Err(format!("thread {at} is drained"));
                }
            }
            Some(notice) => return Err(format!("{notice:?} was not asked for")),
        }
        Ok(true)
    }

    /// What must hold after every call.
    fn check(&mut self) -> Result<(), String> {
        for pool in self.pools.iter_mut().flatten() {
            pool.check_invariants()?;
        }
        self.check_in_flight()?;
        for receiver in &mut self.receivers {
            let Receiver { home, id, token, is_closing, .. } = *receiver;
            if is_closing {
                continue;
            }
            let pool = self.pools[home].as_mut().expect("its receivers end with a pool");
            let info = pool.describe(id).map_err(|status| format!("{token} is refused with {status}"))?;
            let step = pool.pending(id).map_err(|status| format!("{token} is refused with {status}"))?;
            if info.facts.buffered_bytes as usize + receiver.seen == receiver.undecoded.len() {
                receiver.leave_seen();
            }
            let Receiver { ref mut undecoded, ref mut is_delivering, ref mut seen, .. } = *receiver;
            let is_shed = step.actions & Actions::from(Action::Shed).bits() != 0;
            if info.facts.buffered_bytes == 0 && (is_shed || info.facts.failed || info.facts.end != 0) {
                undecoded.clear();
                *seen = 0;
            }
            if info.facts.buffered_bytes as usize != undecoded.len() || info.token != token {
                return Err(format!("undecoded are {} bytes of {token}: {info:?}", undecoded.len()));
            }
            let is_decoding = step.actions & Actions::from(Action::Decode).bits() != 0;
            *is_delivering &= !(undecoded.is_empty() || is_decoding && !step.data.is_empty());
            let shows_all = *is_delivering || bytes_of(step.data.clone()) == *undecoded;
            if is_decoding && (undecoded.is_empty() || !shows_all) {
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
            self.report(thread, Event::WouldBlock)?;
            self.release(thread, 0)?;
            if let Some(&(home, ..)) = self.waits.first() {
                self.cancel(home, 0)?;
            }
            self.rest()?;
            self.check()?;
        }
        let all = self.pools[0].as_mut().expect("it is there").stats().scheduler.capacity;
        self.with_pool(0, |pool| _ = pool.set_limit(all.into()))?;
        self.rest()?;
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
