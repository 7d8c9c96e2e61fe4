//! The pools of several threads against the model, in Rust and once more through C, then a drain that serves every
//! waiter. One thread plays all of them.

use super::ffi_ops;
use super::ops::{allow_requests, config as config_of_one, op};
use super::text::{Line, each_line, last_number};
use crate::system::ThreadSystem;
use crate::{CPool, Differential, ModelPool, Op, Response, RustPool, SharedDifferential};
use demuxbuf::pool::PoolConfig;
use demuxbuf::scheduler::CLASSES_MAX;
use demuxbuf::shared::PoolShard;

/// As those of `ops`. `on` names the thread that the operations behind it are of.
pub(super) const EXAMPLES: &[&str] = &[
    "threads 3",
    "buffers 3",
    "bytes 256",
    "receivers 4",
    "waits 3",
    "mode 1",
    "reads 1",
    "resume 10",
    "pause-when-blocked",
    "reads-ahead",
    "counting",
    "wipe",
    "grace-ms 80",
    "lease-ms 20",
    "blocked-ms 80",
    "classes 3",
    "burst 1",
    "reserve 1 1",
    "cap 1 1",
    "cap 0 9",
    "cap 1 9",
    "cap 2 9",
    "tenants 2",
    "in-flight 2",
    "on 0",
    "on 1",
    "on 0",
    "on 1",
    "on 2",
    "signal",
    "signal-any",
    "null 0",
    "no-output 0",
    "forged 5",
    "exhaust",
    "exhaust",
    "restart 0",
    "shut 0",
    "export 0",
    "import 0",
    "attach 0 0",
    "attach 0 70 0 1 1",
    "set-policy 0 1 2 64",
    "set-policy 0 1 2 64 1",
    "adopt 0 0 10 70",
    "obey 0 0 2",
    "obey 0 1 70",
    "obey 1 0 200",
    "decoded 0 5 9 20",
    "deliver 0 100",
    "deliver 1 200",
    "delivered 0 60 9",
    "take 0",
    "request 0",
    "request 0",
    "request 1",
    "tenant 2 1 3",
    "tenant 1 0 2",
    "tenant 3 2 max",
    "remove-tenant 0",
    "in-name-of 0 1",
    "request 0 0 1",
    "request 0 0 2",
    "request 1 0 1",
    "request 0 0 0 1",
    "try-request 0 0 0 1",
    "renew 0",
    "no-more 0",
    "times 80 160",
    "try-request 0",
    "release 0",
    "cancel 0",
    "poll",
    "drain",
    "tick 5",
    "later 5",
    "later 10",
    "wait 20",
    "pages",
    "limit 24",
    "readable 0",
    "peer-closed 0",
    "kernel-full 0",
    "received 0 5",
    "would-block 0",
    "end 0",
    "consumed 0 5",
    "need-more 0 5",
    "block 0 1",
    "unblock 0 1",
    "yield 0",
    "wake 0",
    "pause 0",
    "continue 0",
    "fail 0",
    "done 0 1",
    "close 0",
];

const MS: u64 = 1_000_000;

pub(super) fn run(text: &[u8]) -> Result<(), String> {
    play::<RustPool<PoolShard>>(text, |_, _| Ok(()))?;
    play::<CPool>(text, ffi_ops::misuse).map_err(|broken| format!("through C: {broken}"))
}

/// Plays all operations, then drains. `other` does what is no operation, on the thread that the text is at.
fn play<S: ThreadSystem>(
    text: &[u8],
    mut other: impl FnMut(&mut Differential<ModelPool, S>, Line<'_>) -> Result<(), String>,
) -> Result<(), String> {
    let (config, threads) = config(text);
    let mut differential = SharedDifferential::<S>::new(&config, threads);
    let mut on = 0;
    each_line(text, |line| {
        let played = match (op(line), line.word) {
            (Some(op), _) => differential.play(on, op).map(drop),
            (None, "on") => {
                on = line.number(0) as usize % differential.threads();
                Ok(())
            }
            (None, "export") => differential.export(on, line.number(0) as usize),
            (None, "import") => differential.import(on, line.number(0) as usize),
            (None, "exhaust") => exhaust(&mut differential, on),
            (None, "signal") => differential.signal(on),
            (None, "restart") => differential.restart(on, line.number(0) as usize),
            // Seldom, since nothing new begins then.
            (None, "shut") if line.number(0) % 8 == 7 => differential.close(),
            (None, "signal-any") => differential.signal_any(),
            (None, "drain") => differential.poll_all(on),
            // Nothing happens on this thread for this many loop iterations.
            (None, "wait") => {
                (0..line.number(0) % 32).try_for_each(|_| differential.play(on, Op::Later { ns: 10 * MS }).map(drop))
            }
            (None, _) => other(differential.of_thread(on), line),
        };
        played.map_err(|broken| format!("on thread {on}: {broken}"))
    })?;
    differential.drain()
}

/// The host takes all that it can have.
fn exhaust<S: ThreadSystem>(differential: &mut SharedDifferential<S>, on: usize) -> Result<(), String> {
    let all = Op::TryRequest { class: 0, size_index: 0, tenant: None, has_deadline: false };
    while matches!(differential.play(on, all)?.response, Response::Lease(_)) {}
    Ok(())
}

/// An allowed configuration, and how many threads.
fn config(text: &[u8]) -> (PoolConfig, u32) {
    let mut config = config_of_one(text);
    let threads = 1 + last_number(text, "threads").map_or(1, |number| number.wrapping_sub(1) % 3);
    config.classes = config.classes.min(CLASSES_MAX as u8 - 1);
    // As many cells of 64 bytes as receivers may take a few buffers, so that a few lines exhaust what is left.
    let header_buffers = config.receivers_max.div_ceil(config.buffer_bytes / 64);
    let least = (8 * threads).max(threads * (2 + header_buffers) + 1);
    let buffers = least + last_number(text, "buffers").map_or(0, |number| number % 16);
    config.memory_bytes = u64::from(buffers) * u64::from(config.buffer_bytes);
    allow_requests_of_threads(&mut config, threads * (1 + header_buffers), threads, buffers);
    config.in_flight_max = config.in_flight_max.min(buffers);
    (config, threads)
}

/// As `allow_requests`, where receivers always have this many buffers, and a spare for each thread.
fn allow_requests_of_threads(config: &mut PoolConfig, always: u32, threads: u32, buffers: u32) {
    allow_requests(config);
    let last = usize::from(config.classes) - 1;
    for reserve in &mut config.reserves[..=last] {
        *reserve = (*reserve).min(buffers - always - threads - 1);
    }
    config.reserves[last + 1..].fill(0);
    config.class_caps[last] = config.class_caps[last].max(always + threads + 1);
}
