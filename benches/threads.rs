//! Operations per second of the shards, beside two pools in C: one lock around everything (`baseline/one_lock.c`), and
//! a list for each thread with a shared count (`baseline/per_thread.c`). An operation is one buffer taken and released.
//!
//! Uncontended, each thread takes 8 buffers and releases them, and there are 16 for each. Exhausted, each thread is an
//! event loop with 32 connections, and there are 8 buffers for each thread: a connection that has one releases it and
//! wants one again, and a thread that has none sleeps until it is signalled. There the fairness counts as well:
//! *fewest* is what the thread that got the least has done, in percent of an even share.
//!
//! The same on one and two threads in the name of tenants, of which each has every eighth connection; and with two
//! classes, of which the more critical one has every second connection and is capped at half of the buffers, so that
//! the cap always binds. The lock in C has neither, and is given the same load without them.

#![allow(clippy::disallowed_methods, reason = "a benchmark measures time, on threads")]

mod support;

use demuxbuf::scheduler::{LeaseId, Outcome, Request, SchedulerConfig, TenantConfig, TenantId};
use demuxbuf::shared::{SchedulerShard, SharedScheduler};
use demuxbuf_ffi_tests::{Program, run};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Barrier, OnceLock};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};
use support::{Options, Report, Samples, child, has_valgrind, instructions_of_each, rotated};

const THREADS: [u32; 4] = [1, 2, 4, 8];

// The same as in `baseline/load.h`.
const ENOUGH: u32 = 16;
const AT_ONCE: usize = 8;
const FEW: u32 = 8;
const CONNECTIONS: u64 = 32;

const TENANTS: u32 = 8;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Load {
    Uncontended,
    Exhausted,
    /// Exhausted, all in the name of tenants.
    Tenants,
    /// Exhausted, with a class that has a cap.
    Capped,
}

const LOADS: [Load; 4] = [Load::Uncontended, Load::Exhausted, Load::Tenants, Load::Capped];

impl Load {
    fn name(self) -> &'static str {
        match self {
            Load::Uncontended => "uncontended",
            Load::Exhausted => "exhausted",
            Load::Tenants => "exhausted, tenants",
            Load::Capped => "exhausted, capped class",
        }
    }

    /// What programs in C know of it.
    fn plain(self) -> Load {
        if self == Load::Uncontended { Load::Uncontended } else { Load::Exhausted }
    }

    /// On how many threads it is measured.
    fn threads(self) -> &'static [u32] {
        if self == self.plain() { &THREADS } else { &THREADS[..2] }
    }

    /// In how many of the ways: the lists of each thread pass nothing on to those that wait.
    fn ways(self) -> usize {
        if self == self.plain() { WAYS.len() } else { 2 }
    }

    fn config(self, threads: u32) -> SchedulerConfig {
        let buffers = threads * if self == Load::Uncontended { ENOUGH } else { FEW };
        let mut config = SchedulerConfig::new(buffers, CONNECTIONS as u32 * threads);
        if self == Load::Tenants {
            config.tenants_max = TENANTS;
        }
        if self == Load::Capped {
            config.classes = 2;
            config.class_caps[0] = buffers / 2;
        }
        config
    }
}

/// The shards of a run, whose connections contend for its buffers.
struct Contest {
    load: Load,
    shared: SharedScheduler,
    tenants: Vec<TenantId>,
}

impl Contest {
    fn new(load: Load, threads: u32) -> Contest {
        let shared = SharedScheduler::new(&load.config(threads), threads).unwrap();
        let tenants = if load == Load::Tenants { TENANTS } else { 0 };
        let shard = shared.shard(0).unwrap();
        let tenants = (0..tenants).map(|_| shard.create_tenant(&TenantConfig::default()).unwrap()).collect();
        Contest { load, shared, tenants }
    }

    fn request(&self, shard: &SchedulerShard, token: u64) -> Outcome {
        let outcome = match self.load {
            Load::Uncontended | Load::Exhausted => shard.request(0, token),
            Load::Tenants => {
                let tenant = self.tenants[token as usize % self.tenants.len()];
                shard.request_for(&Request { tenant: Some(tenant), ..Request::new(0, token) })
            }
            Load::Capped => shard.request((token % 2) as u8, token),
        };
        outcome.unwrap()
    }

    /// Ends the program unless there were this many operations, and all tenants had a part in them.
    fn check(&self, operations: u64) {
        self.shared.check_invariants().unwrap();
        assert_eq!(self.shared.stats().scheduler.released, operations, "an operation ends with a release");
        let shard = self.shared.shard(0).unwrap();
        let granted = self.tenants.iter().map(|&tenant| shard.describe_tenant(tenant).unwrap().granted);
        let granted: Vec<u64> = granted.collect();
        assert!(granted.iter().all(|&grants| grants > 0), "each tenant is served: {granted:?}");
        assert!(granted.is_empty() || granted.iter().sum::<u64>() >= operations, "all is in the name of tenants");
    }
}

/// The results of one run.
#[derive(Clone, Copy)]
struct Figures {
    per_second: f64,
    /// Of the thread that did the least, in percent of an even share.
    fewest: f64,
}

impl Figures {
    fn new(all: u64, fewest: u64, threads: u32, time: Duration) -> Figures {
        assert!(all > 0, "something is done in this time");
        let per_second = all as f64 / time.as_secs_f64();
        Figures { per_second, fewest: 100.0 * fewest as f64 * f64::from(threads) / all as f64 }
    }
}

/// Ways to share buffers, and the source of those in C.
const WAYS: [(&str, Option<&str>); 3] =
    [("shards", None), ("C, one lock", Some("one_lock")), ("C, list of each thread", Some("per_thread"))];

fn main() {
    let options = Options::read();
    if let [name, load, handoffs] = &options.child[..] {
        assert_eq!(name, "handoffs");
        let load = LOADS.into_iter().find(|of| of.name() == load).expect("it is the name of a load");
        return hand_off(load, handoffs.parse().expect("how many"));
    }
    let programs = WAYS.map(|(_, source)| source.map(build));
    let columns = ["load", "threads", "pool", "millions/s", "least", "most", "to shards", "fewest, %"];
    let mut report = Report::new("threads", &columns, &options);
    let (rounds, length) = (options.pick(1, 5, 25), Duration::from_millis(options.pick(10, 300, 300)));
    report.fact("rounds", rounds);
    report.fact("ms of each", length.as_millis() as u64);
    let is_counted = has_valgrind();
    let (few, many) = options.pick((100, 200), (10_000, 50_000), (10_000, 50_000));
    for load in LOADS {
        if load != Load::Uncontended && is_counted {
            let command = |handoffs: u32| child("handoffs", &[load.name().into(), handoffs.to_string()]);
            let each = instructions_of_each(few, many, command).round() as u64;
            report.fact(&format!("instructions of a hand-off of shards, on one thread, {}", load.name()), each);
        }
        for &threads in load.threads() {
            compare(&mut report, load, threads, rounds, |way| match &programs[way] {
                None => run_shards(load, threads, length),
                Some(program) => run_program(program, load, threads, length),
            });
        }
    }
    report.finish();
}

/// A row for each of the ways that this load has.
fn compare(report: &mut Report, load: Load, threads: u32, rounds: u32, run: impl Fn(usize) -> Figures) {
    let ways = &WAYS[..load.ways()];
    let mut samples = WAYS.map(|_| [Samples::new(), Samples::new(), Samples::new()]);
    for round in 0..rounds {
        let mut figures = [None; WAYS.len()];
        for way in rotated(round, ways.len()) {
            figures[way] = Some(run(way));
        }
        let of_shards = figures[0].expect("it had its turn").per_second;
        for (of, samples) in figures.iter().flatten().zip(&mut samples) {
            let of = [of.per_second / 1e6, of.per_second / of_shards, of.fewest];
            of.iter().zip(samples).for_each(|(&figure, all)| all.record(figure));
        }
    }
    for ((name, _), [per_second, ratio, fewest]) in ways.iter().zip(&samples) {
        let mut cells = vec![json!(load.name()), json!(threads), json!(name)];
        cells.extend([0.5, 0.0, 1.0].map(|quantile| json!(per_second.at(quantile))));
        cells.extend([json!(ratio.median()), json!(fewest.median())]);
        report.row(cells);
    }
}

fn build(source: &str) -> PathBuf {
    Program::new(&format!("threads-{source}"), &[&format!("benches/baseline/{source}.c")]).build()
}

fn run_program(program: &Path, load: Load, threads: u32, length: Duration) -> Figures {
    let mut command = Command::new(program);
    command.arg(load.plain().name()).arg(threads.to_string()).arg(length.as_millis().to_string());
    let printed = run(&mut command);
    let numbers: Vec<u64> = printed.split_whitespace().map(|number| number.parse().expect("a number")).collect();
    let [all, fewest, nanoseconds] = numbers[..] else { panic!("it prints three numbers: {printed}") };
    Figures::new(all, fewest, threads, Duration::from_nanos(nanoseconds))
}

/// The state that the threads of a run share.
struct Run {
    stop: AtomicBool,
    start: Barrier,
    threads: Vec<OnceLock<Thread>>,
}

fn run_shards(load: Load, threads: u32, length: Duration) -> Figures {
    let shards = Contest::new(load, threads);
    let run = Run {
        stop: AtomicBool::new(false),
        start: Barrier::new(threads as usize + 1),
        threads: (0..threads).map(|_| OnceLock::new()).collect(),
    };
    let (counts, time) = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|index| {
                let (run, shards, shard) = (&run, &shards, shards.shared.shard(index).unwrap());
                scope.spawn(move || {
                    run.threads[index as usize].get_or_init(thread::current);
                    run.start.wait();
                    match load.plain() {
                        Load::Uncontended => uncontended(run, &shard),
                        _ => exhausted(run, shards, &shard),
                    }
                })
            })
            .collect();
        run.start.wait();
        let begin = Instant::now();
        thread::sleep(length);
        run.stop.store(true, Ordering::SeqCst);
        let time = begin.elapsed();
        for thread in &run.threads {
            thread.get().expect("all have started").unpark();
        }
        let counts: Vec<u64> = workers.into_iter().map(|worker| worker.join().unwrap()).collect();
        (counts, time)
    });
    shards.check(counts.iter().sum());
    let fewest = *counts.iter().min().expect("there is a thread");
    Figures::new(counts.iter().sum(), fewest, threads, time)
}

/// As `exhausted`, on one thread, this many times.
fn hand_off(load: Load, handoffs: u64) {
    let shards = Contest::new(load, 1);
    let shard = shards.shared.shard(0).unwrap();
    let mut turn = Vec::with_capacity(CONNECTIONS as usize);
    for token in 0..CONNECTIONS {
        if let Outcome::Granted(lease) = shards.request(&shard, token) {
            turn.push((token, lease));
        }
    }
    let mut operations = 0;
    while operations < handoffs {
        for (token, lease) in turn.drain(..) {
            shard.release(lease).unwrap();
            operations += 1;
            assert!(matches!(shards.request(&shard, token), Outcome::Queued(_)), "others wait");
        }
        turn.extend(std::iter::from_fn(|| shard.poll_grant()).map(|grant| (grant.token, grant.lease)));
        assert_eq!(shard.poll_wake(), None);
    }
}

fn uncontended(run: &Run, shard: &SchedulerShard) -> u64 {
    let mut operations = 0;
    let mut leases = [LeaseId::from_bits(0); AT_ONCE];
    while !run.stop.load(Ordering::Relaxed) {
        for _ in 0..64 {
            for lease in &mut leases {
                match shard.request(0, 0) {
                    Ok(Outcome::Granted(granted)) => *lease = granted,
                    other => panic!("there are enough buffers: {other:?}"),
                }
            }
            for &lease in &leases {
                shard.release(lease).unwrap();
            }
        }
        operations += 64 * AT_ONCE as u64;
    }
    operations
}

fn exhausted(run: &Run, shards: &Contest, shard: &SchedulerShard) -> u64 {
    let mut operations = 0;
    let mut held = Vec::with_capacity(CONNECTIONS as usize);
    let mut turn = Vec::with_capacity(CONNECTIONS as usize);
    let want = |token, held: &mut Vec<_>| match shards.request(shard, token) {
        Outcome::Granted(lease) => held.push((token, lease)),
        Outcome::Queued(_) => {}
    };
    for token in 0..CONNECTIONS {
        want(token, &mut held);
    }
    while !run.stop.load(Ordering::Relaxed) {
        std::mem::swap(&mut turn, &mut held);
        turn.extend(std::iter::from_fn(|| shard.poll_grant()).map(|grant| (grant.token, grant.lease)));
        if turn.is_empty() {
            thread::park_timeout(Duration::from_millis(100));
        }
        for (token, lease) in turn.drain(..) {
            shard.release(lease).unwrap();
            operations += 1;
            want(token, &mut held);
        }
        while let Some(index) = shard.poll_wake() {
            run.threads[index as usize].get().expect("all have started").unpark();
        }
    }
    operations
}
