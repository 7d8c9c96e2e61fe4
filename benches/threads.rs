//! Operations per second of the shards, beside two pools in C: one lock around everything (`baseline/one_lock.c`), and a
//! list for each thread with a shared count (`baseline/per_thread.c`). An operation is one buffer taken and given back.
//!
//! Uncontended, each thread takes 8 buffers and gives them back, and there are 16 for each. Exhausted, each thread is an
//! event loop with 32 connections, and there are 8 buffers for each thread: who has one gives it back and wants one again,
//! who has none sleeps until it is told. There the fairness counts as well: *fewest* is what the thread that got the
//! least has done, in percent of an even share.
//!
//! `cargo bench --bench threads -- exhausted` runs one load alone.

#![allow(clippy::disallowed_methods, reason = "a benchmark measures time, on threads")]

use demuxbuf::pool::{LeaseId, Outcome, PoolConfig};
use demuxbuf::shards::{Shard, Shards};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Barrier, OnceLock};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

const THREADS: [u32; 4] = [1, 2, 4, 8];
/// Each figure is the median of so many runs, which take turns, so that a busy moment of the machine hits all alike.
const RUNS: usize = 3;
const RUN: Duration = Duration::from_millis(300);

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

#[derive(Clone, Copy)]
struct Figures {
    per_second: f64,
    /// Of the thread that did the least, in percent of an even share.
    fewest: f64,
}

impl Figures {
    fn new(all: u64, fewest: u64, threads: u32, time: Duration) -> Figures {
        let per_second = all as f64 / time.as_secs_f64();
        Figures { per_second, fewest: 100.0 * fewest as f64 * f64::from(threads) / all.max(1) as f64 }
    }
}

fn main() {
    let baselines = ["one_lock", "per_thread"].map(build);
    let cores = thread::available_parallelism().map_or(0, usize::from);
    println!("{cores} cores; operations per second, in millions; fewest: the least of a thread, of an even share");
    let mut cases = Vec::new();
    let only = std::env::args().skip(1).find(|argument| !argument.starts_with("--"));
    let is_wanted = |load: &Load| only.as_ref().is_none_or(|only| only == load.name());
    for load in [Load::Uncontended, Load::Exhausted].into_iter().filter(is_wanted) {
        for threads in THREADS {
            let mut runs: [Vec<Figures>; 3] = Default::default();
            for _ in 0..RUNS {
                runs[0].push(run_shards(load, threads));
                for (runs, program) in runs[1..].iter_mut().zip(&baselines) {
                    runs.push(run_baseline(program, load, threads));
                }
            }
            let [shards, one_lock, per_thread] = runs.map(median);
            println!(
                "{:11} {threads} threads: shards {}; one lock {}, ratio {:.2}; per thread {}, ratio {:.2}",
                load.name(),
                show(shards),
                show(one_lock),
                shards.per_second / one_lock.per_second,
                show(per_thread),
                shards.per_second / per_thread.per_second,
            );
            cases.push(serde_json::json!({
                "load": load.name(), "threads": threads, "shards": to_json(shards),
                "one_lock": to_json(one_lock), "per_thread": to_json(per_thread),
            }));
        }
    }
    let report = serde_json::json!({ "cores": cores, "runs": RUNS, "run_ms": RUN.as_millis() as u64, "cases": cases });
    let file = target().join("bench/threads.json");
    std::fs::create_dir_all(file.parent().expect("it is in a folder")).expect("target/ is writable");
    std::fs::write(&file, format!("{report:#}\n")).expect("target/ is writable");
    println!("{}", file.display());
}

fn show(figures: Figures) -> String {
    format!("{:.2} (fewest {:.0} %)", figures.per_second / 1e6, figures.fewest)
}

fn to_json(figures: Figures) -> serde_json::Value {
    serde_json::json!({ "per_second": figures.per_second.round(), "fewest_percent": figures.fewest })
}

fn median(mut runs: Vec<Figures>) -> Figures {
    runs.sort_by(|a, b| a.per_second.total_cmp(&b.per_second));
    runs[runs.len() / 2]
}

fn target() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |folder| root.join(folder))
}

fn build(name: &str) -> PathBuf {
    let program = target().join("bench").join(name);
    std::fs::create_dir_all(program.parent().expect("it is in a folder")).expect("target/ is writable");
    let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".into());
    let mut command = Command::new(compiler);
    command.args(["-std=c11", "-O2", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-pthread", "-o"]).arg(&program);
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("benches/baseline/{name}.c")));
    let status = command.status().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(status.success(), "{command:?}: {status}");
    program
}

fn run_baseline(program: &Path, load: Load, threads: u32) -> Figures {
    let mut command = Command::new(program);
    command.arg(load.name()).arg(threads.to_string()).arg(RUN.as_millis().to_string());
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", output.status);
    let numbers = String::from_utf8_lossy(&output.stdout);
    let mut numbers = numbers.split_whitespace().map(|number| number.parse::<u64>().expect("it prints numbers"));
    let mut next = || numbers.next().expect("it prints three numbers");
    let (all, fewest, nanoseconds) = (next(), next(), next());
    Figures::new(all, fewest, threads, Duration::from_nanos(nanoseconds))
}

/// What the threads of a run share.
struct Run {
    stop: AtomicBool,
    start: Barrier,
    threads: Vec<OnceLock<Thread>>,
}

fn run_shards(load: Load, threads: u32) -> Figures {
    let buffers = match load {
        Load::Uncontended => ENOUGH,
        Load::Exhausted => FEW,
    };
    let shards = Shards::new(&PoolConfig::new(buffers * threads, CONNECTIONS as u32 * threads), threads).unwrap();
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
        thread::sleep(RUN);
        run.stop.store(true, Ordering::SeqCst);
        let time = begin.elapsed();
        for thread in &run.threads {
            thread.get().expect("all have started").unpark();
        }
        let counts: Vec<u64> = workers.into_iter().map(|worker| worker.join().unwrap()).collect();
        (counts, time)
    });
    shards.check_invariants().unwrap();
    let fewest = *counts.iter().min().expect("there is a thread");
    Figures::new(counts.iter().sum(), fewest, threads, time)
}

fn uncontended(run: &Run, shard: &Shard) -> u64 {
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

fn exhausted(run: &Run, shard: &Shard) -> u64 {
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
