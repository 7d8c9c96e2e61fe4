//! Operations per second of the shards, beside two pools in C: one lock around everything (`baseline/one_lock.c`), and
//! a list for each thread with a shared count (`baseline/per_thread.c`). An operation is one buffer taken and released.
//!
//! Uncontended, each thread takes 8 buffers and releases them, and there are 16 for each. Exhausted, each thread is an
//! event loop with 32 connections, and there are 8 buffers for each thread: a connection that has one releases it and
//! wants one again, and a thread that has none sleeps until it is signalled. There the fairness counts as well:
//! *fewest* is what the thread that got the least has done, in percent of an even share.

#![allow(clippy::disallowed_methods, reason = "a benchmark measures time, on threads")]

mod support;

use demuxbuf::scheduler::{LeaseId, Outcome, SchedulerConfig};
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

#[derive(Clone, Copy)]
enum Load {
    Uncontended,
    Exhausted,
}

impl Load {
    fn name(self) -> &'static str {
        match self {
            Load::Uncontended => "uncontended",
            Load::Exhausted => "exhausted",
        }
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
    if let [name, handoffs] = &options.child[..] {
        assert_eq!(name, "handoffs");
        return hand_off(handoffs.parse().expect("how many"));
    }
    let programs = WAYS.map(|(_, source)| source.map(build));
    let columns = ["load", "threads", "pool", "millions/s", "least", "most", "to shards", "fewest, %"];
    let mut report = Report::new("threads", &columns, &options);
    let (rounds, length) = (options.pick(1, 5, 25), Duration::from_millis(options.pick(10, 300, 300)));
    report.fact("rounds", rounds);
    report.fact("ms of each", length.as_millis() as u64);
    if !options.smoke && has_valgrind() {
        let each = instructions_of_each(10_000, 50_000, |handoffs| child("handoffs", &[handoffs.to_string()]));
        report.fact("instructions of a hand-off of shards, on one thread", each.round() as u64);
    }
    for load in [Load::Uncontended, Load::Exhausted] {
        for threads in THREADS {
            let mut samples = WAYS.map(|_| [Samples::new(), Samples::new(), Samples::new()]);
            for round in 0..rounds {
                let mut figures = [None; WAYS.len()];
                for way in rotated(round, WAYS.len()) {
                    figures[way] = Some(match &programs[way] {
                        None => run_shards(load, threads, length),
                        Some(program) => run_program(program, load, threads, length),
                    });
                }
                let figures = figures.map(|figures| figures.expect("each had its turn"));
                for (of, samples) in figures.iter().zip(&mut samples) {
                    let ratio = of.per_second / figures[0].per_second;
                    [of.per_second / 1e6, ratio, of.fewest]
                        .iter()
                        .zip(samples)
                        .for_each(|(&figure, all)| all.record(figure));
                }
            }
            for ((name, _), [per_second, ratio, fewest]) in WAYS.iter().zip(&samples) {
                let mut cells = vec![json!(load.name()), json!(threads), json!(name)];
                cells.extend([0.5, 0.0, 1.0].map(|quantile| json!(per_second.at(quantile))));
                cells.extend([json!(ratio.median()), json!(fewest.median())]);
                report.row(cells);
            }
        }
    }
    report.finish();
}

fn build(source: &str) -> PathBuf {
    Program::new(&format!("threads-{source}"), &[&format!("benches/baseline/{source}.c")]).build()
}

fn run_program(program: &Path, load: Load, threads: u32, length: Duration) -> Figures {
    let mut command = Command::new(program);
    command.arg(load.name()).arg(threads.to_string()).arg(length.as_millis().to_string());
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
    let buffers = match load {
        Load::Uncontended => ENOUGH,
        Load::Exhausted => FEW,
    };
    let shards =
        SharedScheduler::new(&SchedulerConfig::new(buffers * threads, CONNECTIONS as u32 * threads), threads).unwrap();
    let run = Run {
        stop: AtomicBool::new(false),
        start: Barrier::new(threads as usize + 1),
        threads: (0..threads).map(|_| OnceLock::new()).collect(),
    };
    let (counts, time) = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|index| {
                let (run, shard) = (&run, shards.shard(index).unwrap());
                scope.spawn(move || {
                    run.threads[index as usize].get_or_init(thread::current);
                    run.start.wait();
                    match load {
                        Load::Uncontended => uncontended(run, &shard),
                        Load::Exhausted => exhausted(run, &shard),
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
    shards.check_invariants().unwrap();
    assert_eq!(shards.stats().scheduler.released, counts.iter().sum::<u64>(), "an operation ends with a release");
    let fewest = *counts.iter().min().expect("there is a thread");
    Figures::new(counts.iter().sum(), fewest, threads, time)
}

/// As `exhausted`, on one thread, this many times.
fn hand_off(handoffs: u64) {
    let shards = SharedScheduler::new(&SchedulerConfig::new(FEW, CONNECTIONS as u32), 1).unwrap();
    let shard = shards.shard(0).unwrap();
    let mut turn = Vec::with_capacity(CONNECTIONS as usize);
    for token in 0..CONNECTIONS {
        if let Outcome::Granted(lease) = shard.request(0, token).unwrap() {
            turn.push((token, lease));
        }
    }
    let mut operations = 0;
    while operations < handoffs {
        for (token, lease) in turn.drain(..) {
            shard.release(lease).unwrap();
            operations += 1;
            assert!(matches!(shard.request(0, token).unwrap(), Outcome::Queued(_)), "others wait");
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

fn exhausted(run: &Run, shard: &SchedulerShard) -> u64 {
    let mut operations = 0;
    let mut held = Vec::with_capacity(CONNECTIONS as usize);
    let mut turn = Vec::with_capacity(CONNECTIONS as usize);
    let want = |token, held: &mut Vec<_>| match shard.request(0, token).unwrap() {
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
