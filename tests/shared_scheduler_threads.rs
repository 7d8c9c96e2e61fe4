//! Threads against each other on one pool, like event loops: each has its shard, and sleeps until it is signalled.
#![allow(clippy::disallowed_methods, reason = "event loops are threads, and a test that waits needs a clock")]

use demuxbuf::scheduler::{LeaseId, Outcome, SchedulerConfig, SchedulerError, WaitId};
use demuxbuf::shared::{SchedulerShard, SharedScheduler, SharedSchedulerError, SharedSchedulerStats};
use fastrand::Rng;
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Barrier, Mutex, OnceLock};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

/// Far longer than any of this takes: a thread that sleeps for this long was not signalled. No thread wakes before by
/// itself, or it would find what it was not signalled for.
const PATIENCE: Duration = Duration::from_secs(60);

/// What all threads of a test see beside the shards.
struct Exchange {
    threads: Vec<OnceLock<Thread>>,
    inboxes: Vec<Mutex<Vec<Message>>>,
    /// The owner of each buffer, by the test's own count.
    owned: Vec<AtomicBool>,
    /// Requests that are over: their buffer came back, or they were cancelled.
    finished: AtomicU64,
    signals: AtomicU64,
}

enum Message {
    Release(LeaseId),
    Adopt(WaitId),
}

impl Exchange {
    fn new(threads: usize, buffers: u32) -> Exchange {
        Exchange {
            threads: (0..threads).map(|_| OnceLock::new()).collect(),
            inboxes: (0..threads).map(|_| Mutex::new(Vec::new())).collect(),
            owned: (0..buffers).map(|_| AtomicBool::new(false)).collect(),
            finished: AtomicU64::new(0),
            signals: AtomicU64::new(0),
        }
    }

    fn signal(&self, index: u32) {
        self.threads[index as usize].get().expect("all threads have started").unpark();
    }

    fn signal_all(&self, shard: &SchedulerShard) {
        while let Some(index) = shard.poll_wake() {
            self.signals.fetch_add(1, Ordering::Relaxed);
            self.signal(index);
        }
    }

    fn send(&self, to: usize, message: Message) {
        self.inboxes[to].lock().unwrap().push(message);
        self.signal(to as u32);
    }

    fn take(&self, lease: LeaseId) -> LeaseId {
        let was = self.owned[lease.index() as usize].swap(true, Ordering::Relaxed);
        assert!(!was, "buffer {} was granted twice", lease.index());
        lease
    }

    fn give(&self, shard: &SchedulerShard, lease: LeaseId) {
        assert!(self.owned[lease.index() as usize].swap(false, Ordering::Relaxed), "only what is owned is given");
        shard.release(lease).unwrap();
        self.finished.fetch_add(1, Ordering::Relaxed);
    }

    /// Runs a function on a thread for each shard, all started before any goes on.
    fn run(&self, shards: &SharedScheduler, work: impl Fn(&SchedulerShard, usize) + Sync) {
        let start = Barrier::new(self.threads.len());
        thread::scope(|scope| {
            let threads = (0..self.threads.len()).map(|index| {
                let shard = shards.shard(index as u32).unwrap();
                let (work, start) = (&work, &start);
                scope.spawn(move || {
                    self.threads[index].get_or_init(thread::current);
                    start.wait();
                    work(&shard, index);
                    shard
                })
            });
            // No thread drops its handle while another thread may still signal it.
            let shards: Vec<_> = threads.collect::<Vec<_>>().into_iter().map(|thread| thread.join()).collect();
            assert!(shards.iter().all(Result::is_ok), "a thread failed; its message is above");
        });
    }
}

/// Sleeps until signalled.
fn sleep(shard: &SchedulerShard) {
    let since = Instant::now();
    thread::park_timeout(PATIENCE);
    assert!(since.elapsed() < PATIENCE, "shard {} was not signalled: {:?}", shard.index(), shard.stats());
}

/// One event loop: this many connections, each of which takes a buffer, decodes and releases it, again and again.
struct Loop<'a> {
    exchange: &'a Exchange,
    shard: &'a SchedulerShard,
    index: usize,
    connections: usize,
    /// Requests to make.
    left: u64,
    rng: Rng,
    held: Vec<LeaseId>,
    waits: HashSet<WaitId>,
}

impl Loop<'_> {
    fn run(mut self, finished_at: u64) {
        while self.exchange.finished.load(Ordering::Relaxed) < finished_at {
            if !self.iterate() {
                sleep(self.shard);
            }
        }
        (0..self.exchange.threads.len()).for_each(|index| self.exchange.signal(index as u32));
        assert!(self.held.is_empty() && self.waits.is_empty() && self.left == 0);
        assert_eq!(self.shard.poll_grant(), None);
    }

    /// Returns whether there was anything to do.
    fn iterate(&mut self) -> bool {
        let messages = std::mem::take(&mut *self.exchange.inboxes[self.index].lock().unwrap());
        let mut worked = !messages.is_empty();
        for message in messages {
            match message {
                Message::Release(lease) => self.exchange.give(self.shard, lease),
                Message::Adopt(wait) => {
                    self.shard.import_wait(wait, 0).unwrap();
                    self.waits.insert(wait);
                }
            }
        }
        while let Some(grant) = self.shard.poll_grant() {
            assert!(self.waits.remove(&grant.wait), "a grant is for a wait of this shard");
            self.held.push(self.exchange.take(grant.lease));
            worked = true;
        }
        for lease in std::mem::take(&mut self.held) {
            worked = true;
            if self.rng.u32(..8) == 0 {
                let to = self.rng.usize(..self.exchange.threads.len());
                self.exchange.send(to, Message::Release(lease));
            } else {
                self.exchange.give(self.shard, lease);
            }
        }
        while self.left > 0 && self.held.len() + self.waits.len() < self.connections {
            self.left -= 1;
            worked = true;
            let class = self.rng.u8(..2);
            match self.shard.request(class, 0).unwrap() {
                Outcome::Granted(lease) => self.held.push(self.exchange.take(lease)),
                Outcome::Queued(wait) => drop(self.waits.insert(wait)),
            }
        }
        self.disturb();
        self.exchange.signal_all(self.shard);
        worked || !self.held.is_empty()
    }

    /// Cancels a wait, or moves it to another thread.
    fn disturb(&mut self) {
        let Some(&wait) = self.waits.iter().next() else {
            return;
        };
        match self.rng.u32(..16) {
            0 => {
                self.shard.cancel(wait).unwrap();
                self.waits.remove(&wait);
                if self.exchange.finished.fetch_add(1, Ordering::Relaxed) % 2 == 0 {
                    assert_eq!(
                        self.shard.cancel(wait),
                        Err(SharedSchedulerError::Scheduler(SchedulerError::StaleWait))
                    );
                }
            }
            1 => {
                self.shard.export_wait(wait).unwrap();
                self.waits.remove(&wait);
                let to = self.rng.usize(..self.exchange.threads.len());
                self.exchange.send(to, Message::Adopt(wait));
            }
            _ => {}
        }
    }
}

/// Every request of every thread is served or cancelled, and in the end every buffer is free.
fn stress(config: &SchedulerConfig, threads: usize, connections: usize, requests: u64) {
    let shards = SharedScheduler::new(config, threads as u32).unwrap();
    let exchange = Exchange::new(threads, config.buffers);
    let total = requests * threads as u64;
    exchange.run(&shards, |shard, index| {
        let (held, waits) = (Vec::new(), HashSet::new());
        let rng = Rng::with_seed(index as u64);
        Loop { exchange: &exchange, shard, index, connections, left: requests, rng, held, waits }.run(total);
    });
    shards.check_invariants().unwrap();
    let stats = shards.stats();
    assert_eq!(
        (stats.scheduler.free, stats.scheduler.leased, stats.scheduler.assigned, stats.scheduler.waiting),
        (config.buffers, 0, 0, 0),
        "{stats:?}"
    );
    assert_eq!(
        stats.scheduler.granted_at_once + stats.scheduler.granted_by_handoff + stats.scheduler.cancelled,
        total,
        "{stats:?}"
    );
    assert_eq!(stats.scheduler.released + stats.scheduler.cancelled, total);
    assert!(stats.wakes <= stats.scheduler.granted_by_handoff + stats.scheduler.cancelled, "{stats:?}");
    assert!(exchange.signals.load(Ordering::Relaxed) <= stats.wakes, "no shard is named without a wake");
}

#[test]
fn threads_that_cancel_and_move_are_all_served() {
    let config = SchedulerConfig { classes: 2, ..SchedulerConfig::new(6, 256) };
    stress(&config, 4, 20, 5_000);
}

#[test]
fn threads_with_a_reserve_and_a_cap_are_all_served() {
    let mut config = SchedulerConfig { classes: 2, ..SchedulerConfig::new(8, 256) };
    config.reserves[1] = 3;
    config.class_caps[0] = 4;
    stress(&config, 4, 20, 5_000);
}

#[test]
fn threads_at_the_edge_of_the_pool_are_all_served() {
    // As many buffers as connections: the pool is exhausted and not, in turn, all the time.
    let config = SchedulerConfig { classes: 2, ..SchedulerConfig::new(16, 256) };
    stress(&config, 4, 4, 10_000);
}

/// Threads that release the same leases at once release each once.
#[test]
fn threads_release_a_contested_lease_once() {
    let shards = SharedScheduler::new(&SchedulerConfig::new(64, 0), 4).unwrap();
    let exchange = Exchange::new(4, 64);
    let leases: Mutex<Vec<LeaseId>> = Mutex::new(Vec::new());
    let (released, round) = (AtomicU64::new(0), Barrier::new(4));
    exchange.run(&shards, |shard, index| {
        for _ in 0..200 {
            if index == 0 {
                let grants = (0..64).map(|_| match shard.request(0, 0) {
                    Ok(Outcome::Granted(lease)) => lease,
                    other => panic!("64 buffers are free: {other:?}"),
                });
                *leases.lock().unwrap() = grants.collect();
            }
            round.wait();
            let mine = leases.lock().unwrap().clone();
            round.wait();
            for lease in mine {
                if shard.release(lease).is_ok() {
                    released.fetch_add(1, Ordering::Relaxed);
                }
            }
            round.wait();
        }
    });
    assert_eq!(released.load(Ordering::Relaxed), 64 * 200);
    assert_eq!((shards.stats().scheduler.free, shards.stats().scheduler.refused), (64, 64 * 200 * 3));
    shards.check_invariants().unwrap();
}

#[test]
fn threads_that_come_and_go_leave_nothing_behind() {
    let shards = SharedScheduler::new(&SchedulerConfig::new(6, 64), 4).unwrap();
    let exchange = Exchange::new(4, 6);
    // On a busy machine one thread may be through before the next has begun: they go on until they have met.
    let start = Barrier::new(4);
    let have_met =
        |stats: &SharedSchedulerStats| stats.scheduler.cancelled > 0 && stats.scheduler.granted_by_handoff > 0;
    thread::scope(|scope| {
        for index in 0..4 {
            let (shards, exchange, start) = (&shards, &exchange, &start);
            scope.spawn(move || {
                start.wait();
                let (mut since, mut rng) = (Instant::now(), Rng::with_seed(index.into()));
                for round in 0.. {
                    if round < 1_000 {
                        since = Instant::now();
                    } else if have_met(&shards.stats()) {
                        break;
                    }
                    assert!(since.elapsed() < PATIENCE, "both never happened: {:?}", shards.stats());
                    let shard = shards.shard(index).unwrap();
                    let mut held = Vec::new();
                    for token in 0..rng.u64(1..=4) {
                        if let Outcome::Granted(lease) = shard.request(0, token).unwrap() {
                            held.push(exchange.take(lease));
                        }
                    }
                    // Others come, find nothing, and wait.
                    thread::yield_now();
                    held.into_iter().for_each(|lease| exchange.give(&shard, lease));
                    thread::yield_now();
                    if let Some(grant) = shard.poll_grant() {
                        exchange.give(&shard, exchange.take(grant.lease));
                    }
                    // Some of its waits are served by now, by itself or by others, and some are not.
                    drop(shard);
                    assert_ne!(shards.poll_wake(), Some(index), "a dropped shard is not named");
                }
            });
        }
    });
    let stats = shards.stats();
    assert_eq!(
        (stats.scheduler.free, stats.scheduler.leased, stats.scheduler.assigned, stats.scheduler.waiting),
        (6, 0, 0, 0),
        "{stats:?}"
    );
    shards.check_invariants().unwrap();
}

/// The last release on one thread wakes the waiter of another one, once.
#[test]
fn s10_last_release_wakes_another_thread_once() {
    let shards = SharedScheduler::new(&SchedulerConfig::new(1, 4), 2).unwrap();
    let exchange = Exchange::new(2, 1);
    let turns = 2_000;
    // The buffer goes to and fro: each thread asks while the other has it, and sleeps until it is signalled.
    exchange.run(&shards, |shard, _| {
        for _ in 0..turns {
            let lease = match shard.request(0, 0).unwrap() {
                Outcome::Granted(lease) => lease,
                Outcome::Queued(_) => loop {
                    if let Some(grant) = shard.poll_grant() {
                        assert_eq!(shard.poll_grant(), None);
                        break grant.lease;
                    }
                    sleep(shard);
                },
            };
            let lease = exchange.take(lease);
            thread::yield_now();
            exchange.give(shard, lease);
            exchange.signal_all(shard);
        }
    });
    let stats = shards.stats();
    assert_eq!(stats.scheduler.granted_at_once + stats.scheduler.granted_by_handoff, 2 * turns);
    assert!(stats.wakes <= stats.scheduler.granted_by_handoff);
    assert_eq!(stats.scheduler.free, 1);
    shards.check_invariants().unwrap();
}

/// To the other of two, unless too many are being exported.
fn pass_on(exchange: &Exchange, shard: &SchedulerShard, wait: WaitId, waits: &mut HashSet<WaitId>) {
    match shard.export_wait(wait) {
        Ok(()) => exchange.send(1 - shard.index() as usize, Message::Adopt(wait)),
        Err(refused) => {
            assert_eq!(refused, SharedSchedulerError::ExportsFull);
            waits.insert(wait);
        }
    }
}

/// Connections that move between threads in every state are served exactly once.
#[test]
fn s11_moving_connections_are_served_once() {
    // Each thread sends every wait on to the other at once, which imports it and serves it, or sends it back.
    let rounds = 3_000;
    let total = 2 * rounds;
    let shards = SharedScheduler::new(&SchedulerConfig::new(4, total as u32), 2).unwrap();
    let exchange = Exchange::new(2, 4);
    exchange.run(&shards, |shard, index| {
        let (mut made, mut waits, mut rng) = (0, HashSet::new(), Rng::with_seed(index as u64));
        while exchange.finished.load(Ordering::Relaxed) < total {
            let messages = std::mem::take(&mut *exchange.inboxes[index].lock().unwrap());
            for message in messages {
                match message {
                    Message::Release(lease) => exchange.give(shard, lease),
                    Message::Adopt(wait) => {
                        shard.import_wait(wait, 0).unwrap();
                        if rng.u32(..3) == 0 {
                            // It may be assigned by now, and goes on all the same.
                            pass_on(&exchange, shard, wait, &mut waits);
                        } else {
                            waits.insert(wait);
                        }
                    }
                }
            }
            while let Some(grant) = shard.poll_grant() {
                assert!(waits.remove(&grant.wait));
                exchange.send(1 - index, Message::Release(exchange.take(grant.lease)));
            }
            exchange.signal_all(shard);
            if made < rounds && waits.len() < 8 {
                made += 1;
                match shard.request(0, 0).unwrap() {
                    Outcome::Granted(lease) => exchange.send(1 - index, Message::Release(exchange.take(lease))),
                    Outcome::Queued(wait) => {
                        pass_on(&exchange, shard, wait, &mut waits);
                    }
                }
            } else if exchange.finished.load(Ordering::Relaxed) < total {
                // Not after the last release of all: from then on only the thread that goes on to the end signals
                // another.
                sleep(shard);
            }
        }
        exchange.signal(1 - index as u32);
    });
    assert_eq!((shards.stats().scheduler.free, shards.stats().scheduler.waiting), (4, 0));
    shards.check_invariants().unwrap();
}

/// There are as many grants as releases, however many requests wait and on whichever thread.
#[test]
fn s13_one_grant_per_release_across_threads() {
    let shards = SharedScheduler::new(&SchedulerConfig::new(8, 400), 4).unwrap();
    let exchange = Exchange::new(4, 8);
    let (taken, queued, released) = (Barrier::new(4), Barrier::new(4), Barrier::new(4));
    let grants = AtomicU64::new(0);
    exchange.run(&shards, |shard, index| {
        let releases = index < 2;
        let take = || match shard.request(0, 0) {
            Ok(Outcome::Granted(lease)) => exchange.take(lease),
            other => panic!("8 buffers are free: {other:?}"),
        };
        let held: Vec<_> = if releases { (0..4).map(|_| take()).collect() } else { Vec::new() };
        taken.wait();
        if !releases {
            (0..200).for_each(|token| assert!(matches!(shard.request(0, token), Ok(Outcome::Queued(_)))));
        }
        queued.wait();
        held.into_iter().for_each(|lease| exchange.give(shard, lease));
        exchange.signal_all(shard);
        released.wait();
        if index == 0 {
            shard.check_invariants().unwrap();
            assert_eq!((shard.stats().scheduler.assigned, shard.stats().scheduler.waiting), (8, 392));
        }
        released.wait();
        let picked_up = std::iter::from_fn(|| shard.poll_grant()).count() as u64;
        grants.fetch_add(picked_up, Ordering::Relaxed);
        released.wait();
    });
    assert_eq!(grants.load(Ordering::Relaxed), 8);
    assert!(exchange.signals.load(Ordering::Relaxed) <= 2, "each waiting thread is signalled once");
}

/// When attackers on one thread leave, waiters of the other threads are served in that step.
#[test]
fn s44_threads_recover_in_the_step_attackers_leave() {
    let shards = SharedScheduler::new(&SchedulerConfig::new(32, 256), 4).unwrap();
    let exchange = Exchange::new(4, 32);
    let step = Barrier::new(4);
    exchange.run(&shards, |shard, index| {
        let attacker = index == 0;
        let mut held = Vec::new();
        if attacker {
            while let Outcome::Granted(lease) = shard.request(0, 0).unwrap() {
                held.push(exchange.take(lease));
            }
            assert_eq!(held.len(), 32);
        }
        step.wait();
        if !attacker {
            (0..10).for_each(|token| assert!(matches!(shard.request(0, token), Ok(Outcome::Queued(_)))));
        }
        step.wait();
        held.into_iter().for_each(|lease| exchange.give(shard, lease));
        if attacker {
            // The attacker's own wait of above is the first, and one buffer is left over.
            let stats = shard.stats();
            assert_eq!(
                (stats.scheduler.assigned, stats.scheduler.waiting, stats.scheduler.free),
                (31, 0, 1),
                "{stats:?}"
            );
            exchange.signal_all(shard);
        }
        step.wait();
        let expected = if attacker { 1 } else { 10 };
        let mut grants = Vec::new();
        while grants.len() < expected {
            match shard.poll_grant() {
                Some(grant) => grants.push(exchange.take(grant.lease)),
                None => sleep(shard),
            }
        }
        grants.into_iter().for_each(|lease| exchange.give(shard, lease));
    });
    assert_eq!(shards.stats().scheduler.free, 32);
    shards.check_invariants().unwrap();
}

/// Overload is served without idle buffers, and afterwards all is as before.
#[test]
fn s45_overload_leaves_no_buffer_idle_and_no_trace() {
    let (threads, buffers) = (4, 20);
    let shards =
        SharedScheduler::new(&SchedulerConfig { classes: 2, ..SchedulerConfig::new(buffers, 256) }, threads as u32)
            .unwrap();
    // Connections on each thread for 1.0, 1.2, 2 and 5 times the buffers there are, then less again.
    for (phase, connections) in [5, 6, 10, 25, 3].into_iter().enumerate() {
        let exchange = Exchange::new(threads, buffers);
        let requests = 1_000;
        let before = shards.stats();
        exchange.run(&shards, |shard, index| {
            let (held, waits) = (Vec::new(), HashSet::new());
            let rng = Rng::with_seed((phase as u64) << 32 | index as u64);
            let total = requests * threads as u64;
            Loop { exchange: &exchange, shard, index, connections, left: requests, rng, held, waits }.run(total);
        });
        shards.check_invariants().unwrap();
        let stats = shards.stats();
        let served = |stats: &SharedSchedulerStats| {
            stats.scheduler.granted_at_once + stats.scheduler.granted_by_handoff + stats.scheduler.cancelled
        };
        assert_eq!(served(&stats) - served(&before), requests * threads as u64);
        assert_eq!(stats.scheduler.free, buffers, "{stats:?}");
    }
    let shard = shards.shard(0).unwrap();
    let all: Vec<_> = (0..buffers).map(|_| shard.request(0, 0).unwrap()).collect();
    assert!(all.iter().all(|outcome| matches!(outcome, Outcome::Granted(_))), "every buffer can be had at once");
}
