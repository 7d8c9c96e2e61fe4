//! A pool with its receivers, memory and time against the model, then a drain that serves every waiter.

use super::text::{Line, each_line, lines};
use crate::{Differential, HandleRef, ModelPool, Op, Response, RustPool, System};
use demuxbuf::connection::{Actions, Event, Mode, Policy};
use demuxbuf::pool::PoolConfig;
use demuxbuf::scheduler::CLASSES_MAX;

/// Lines of the configuration, wherever they are; then operations.
pub(super) const EXAMPLES: &[&str] = &[
    "buffers 9",
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
    "blocked-ms 80",
    "classes 3",
    "burst 1",
    "reserve 1 1",
    "cap 2 8",
    "tenants 2",
    "in-flight 2",
    "attach 0 0",
    "attach 0 70 0 1 1",
    "set-class 0 1",
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
    "delivered 1 100 0",
    "take 0",
    "tenant 2 1 3",
    "remove-tenant 0",
    "in-name-of 0 1",
    "request 0",
    "request 0 1",
    "request 1 0 1",
    "request 0 0 0 1",
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
    "limit 8",
    "limit 9",
    "readable 0",
    "peer-closed 0",
    "kernel-full 0",
    "received 0 5",
    "would-block 0",
    "would-block-armed 0",
    "end 0",
    "error 0",
    "consumed 0 5",
    "need-more 0 5",
    "block 0 1",
    "unblock 0 1",
    "set-blocked 0 1",
    "yield 0",
    "wake 0",
    "pause 0",
    "continue 0",
    "fail 0",
    "reclaim-requested 0",
    "lease-expired 0",
    "done 0 1",
    "close 0",
    "granted 0 64",
    "denied 0",
    "parked 0 64",
    "released 0",
    "sync 0 5 64 0 0 0",
    "attach-again 0 0 0",
];

/// The operations of a text, played on Rust.
pub(super) fn run(text: &[u8]) -> Result<(), String> {
    let config = config(text);
    let mut differential = Differential::new(ModelPool::new(&config), RustPool::new(&config));
    play(&mut differential, text, |_, _| Ok(()))
}

/// Plays all operations, then drains. `other` does what is no operation.
pub(super) fn play<S: System>(
    differential: &mut Differential<ModelPool, S>,
    text: &[u8],
    mut other: impl FnMut(&mut Differential<ModelPool, S>, Line<'_>) -> Result<(), String>,
) -> Result<(), String> {
    each_line(text, |line| match (op(line), line.word) {
        (Some(op), _) => differential.play(op).map(drop),
        (None, "drain") => poll_all(differential),
        // Nothing happens for this many loop iterations.
        (None, "wait") => {
            (0..line.number(0) % 32).try_for_each(|_| differential.play(Op::Later { ns: 10 * MS }).map(drop))
        }
        (None, _) => other(differential, line),
    })?;
    differential.drain()
}

/// Each receiver, each trial and each wait is named a few times at most, unless a host does nothing about them.
fn poll_all<S: System>(differential: &mut Differential<ModelPool, S>) -> Result<(), String> {
    let handles = differential.model.receivers().len() + differential.model.waits().len();
    for _ in 0..4 * handles + 64 {
        if differential.play(Op::PollNotice)?.response == Response::Nothing {
            return Ok(());
        }
    }
    Err("the notices have no end".into())
}

const MS: u64 = 1_000_000;

/// An allowed configuration, small enough that a few lines exhaust it.
pub(super) fn config(text: &[u8]) -> PoolConfig {
    let mut buffers = 8;
    let (buffer_bytes, frame_grace_ns, blocked_ns, waiters_max) = (256, 80 * MS, 80 * MS, 2);
    let mut config = PoolConfig { buffer_bytes, frame_grace_ns, blocked_ns, waiters_max, ..PoolConfig::new(0, 4) };
    for line in lines(text) {
        let number = line.short(0);
        let class = number as usize % CLASSES_MAX;
        let policy = &mut config.policy;
        match line.word {
            "buffers" => buffers = 8 + u64::from(number % 16),
            "bytes" => config.buffer_bytes = 128 + number / 64 % 20 * 64,
            "receivers" => config.receivers_max = 1 + number.wrapping_sub(1) % 12,
            "waits" => config.waiters_max = number % 8,
            "mode" => policy.mode = Mode::try_from((number % 5) as u8).unwrap_or_default(),
            "reads" => policy.reads_per_wake = number as u8 % 4,
            "resume" => policy.resume_free_bytes = number,
            "pause-when-blocked" => policy.pause_when_blocked = true,
            "reads-ahead" => policy.reads_ahead = true,
            "counting" => policy.counting = true,
            "wipe" => config.wipe = true,
            "grace-ms" => config.frame_grace_ns = line.number(0).clamp(8, 1 << 40) * MS,
            "lease-ms" => config.lease_ns = Some((line.number(0).min(1 << 40) * MS).max(1)),
            "blocked-ms" => config.blocked_ns = (line.number(0).min(1 << 40) * MS).max(8),
            "classes" => config.classes = 1 + number.wrapping_sub(1) as u8 % 8,
            "burst" => config.class_burst = number.max(1),
            "reserve" => config.reserves[class] = line.short(1) % 8,
            "cap" => config.class_caps[class] = line.short(1).max(1),
            "in-flight" => config.in_flight_max = number % 9,
            "tenants" => config.tenants_max = number % 4,
            _ => {}
        }
    }
    config.memory_bytes = buffers * u64::from(config.buffer_bytes);
    allow_requests(&mut config);
    allow_counting(&mut config.policy);
    config
}

/// Does not let count what cannot, for the same reason.
fn allow_counting(policy: &mut Policy) {
    policy.counting &= policy.mode != Mode::Optimistic && !policy.reads_ahead;
}

/// Changes reserves and caps that the docs of `PoolConfig` do not allow to the nearest that they do, so that no input
/// is passed over: a refusal is a finding. Refusals are the matter of the target `config`.
pub fn allow_requests(config: &mut PoolConfig) {
    for class in usize::from(config.classes)..CLASSES_MAX {
        config.reserves[class] = 0;
    }
    // Receivers have the last class, and need the receive buffer, the header buffers and two more; a request needs one
    // more.
    let buffers = (config.memory_bytes / u64::from(config.buffer_bytes)) as u32;
    let header_cells = u64::from(config.receivers_max).min(u64::from(buffers) * u64::from(config.buffer_bytes) / 512);
    let least = (header_cells as u32).div_ceil(config.buffer_bytes / 64) + 3;
    let last = usize::from(config.classes) - 1;
    for reserve in &mut config.reserves {
        *reserve = (*reserve).min(buffers - least + 1);
    }
    config.reserves[last] = config.reserves[last].min(buffers - least);
    config.class_caps[last] = config.class_caps[last].max(least);
}

/// Handles below 100 are in force, those below 200 are over, higher ones name nothing.
fn which(number: u64) -> HandleRef {
    match number {
        0..100 => HandleRef::Live(number as u8),
        100..200 => HandleRef::Dead(number as u8 - 100),
        _ => HandleRef::Unknown,
    }
}

/// The tenant: 0 for the default tenant, else one more than the tenant's handle.
fn named(number: u64) -> Option<HandleRef> {
    number.checked_sub(1).map(which)
}

/// As `named`, of a receiver: no tenant but the default one has receivers here.
fn unknown(number: u64) -> Option<HandleRef> {
    (number > 0).then_some(HandleRef::Unknown)
}

pub(super) fn op(line: Line<'_>) -> Option<Op> {
    let (first, second, third) = (which(line.number(0)), line.short(1), line.short(2));
    Some(match line.word {
        "attach" => {
            let (class, tenant) = (line.short(0) as u8, unknown(line.number(2)));
            let (notify_if_full, unknown_length) = (line.number(3) != 0, line.number(4) != 0);
            Op::Attach { class, bytes: second as u16 % 512, tenant, policy: None, notify_if_full, unknown_length }
        }
        "set-class" => Op::SetClass { receiver: first, class: second as u8 },
        "set-policy" => {
            let mode = Mode::try_from(second as u8).unwrap_or_default();
            let (reads_per_wake, resume_free_bytes) = (third as u8, line.short(3));
            let counting = line.number(4) != 0;
            let policy = Policy { mode, reads_per_wake, resume_free_bytes, counting, ..Policy::default() };
            Op::SetPolicy { receiver: first, policy }
        }
        "adopt" => {
            let (class, lease) = (line.short(0) as u8, which(line.number(1)));
            Op::Adopt { class, lease, offset: third, buffered_bytes: line.short(3) }
        }
        "obey" => Op::Obey { receiver: first, choice: second as u8, amount: third },
        "decoded" => Op::Decoded { receiver: first, consumed: second, need_more: third, usable: line.short(3) },
        "deliver" => Op::Deliver { receiver: first, bytes: second as u16 },
        "delivered" => Op::Delivered { receiver: first, consumed: second, need_more: third },
        "take" => Op::Take { receiver: first },
        "in-name-of" => Op::SetTenant { receiver: first, tenant: unknown(line.number(1)) },
        "tenant" => Op::CreateTenant { weight: line.short(0), guaranteed: second, cap: third },
        "remove-tenant" => Op::RemoveTenant { tenant: first },
        "request" => {
            let (class, tenant, has_deadline) = (line.short(0) as u8, named(line.number(2)), line.number(3) != 0);
            Op::Request { class, size_index: second as u8, tenant, has_deadline }
        }
        "try-request" => {
            let (class, tenant, has_deadline) = (line.short(0) as u8, named(line.number(2)), line.number(3) != 0);
            Op::TryRequest { class, size_index: second as u8, tenant, has_deadline }
        }
        "renew" => Op::Progress { lease: first, bytes: 0 },
        "release" => Op::Release { lease: first },
        "cancel" => Op::Cancel { wait: first },
        "poll" => Op::PollNotice,
        "tick" => Op::Tick { now_ns: line.number(0) },
        "later" => Op::Later { ns: line.number(0).saturating_mul(MS) },
        // Seldom, since no receiver is attached then.
        "no-more" if line.number(0) % 8 == 7 => Op::Drain,
        "times" => Op::SetTimes { frame_grace_ns: line.number(0) * MS, blocked_ns: line.number(1) * MS },
        "limit" => Op::SetLimit { buffers: line.short(0) as u8 },
        "pages" => Op::GiveBackPages,
        _ => Op::Report { receiver: first, event: event(line)? },
    })
}

pub(super) fn event(line: Line<'_>) -> Option<Event> {
    let (first, second) = (line.short(1), line.short(2));
    Some(match line.word {
        "readable" => Event::Readable,
        "peer-closed" => Event::PeerClosed,
        "kernel-full" => Event::KernelFull,
        "received" => Event::Received { bytes: first },
        "would-block" => Event::WouldBlock,
        "would-block-armed" => Event::WouldBlockArmed,
        "end" => Event::EndOfStream,
        "error" => Event::TransportError,
        "consumed" => Event::Consumed { bytes: first },
        "need-more" => Event::NeedMore { bytes: first },
        "block" => Event::Block { reasons: first },
        "unblock" => Event::Unblock { reasons: first },
        "set-blocked" => Event::SetBlocked { reasons: first },
        "yield" => Event::Yield,
        "wake" => Event::Wake,
        "pause" => Event::PauseRecv,
        "continue" => Event::ResumeRecv,
        "fail" => Event::Fail,
        "reclaim-requested" => Event::ReclaimRequested,
        "lease-expired" => Event::LeaseExpired,
        "done" => Event::Done(Actions::from_bits(first).unwrap_or(Actions::ALL)),
        "close" => Event::Close,
        "granted" => Event::BufferGranted { capacity: first },
        "denied" => Event::BufferDenied,
        "parked" => Event::BufferParked { capacity: first },
        "released" => Event::BufferReleased,
        "sync" => {
            let (blocked, short, armed) = (line.short(3), line.number(4) != 0, line.number(5) != 0);
            Event::Sync { buffered_bytes: first, capacity: second, blocked, needed_bytes: short, armed }
        }
        "attach-again" => Event::Attach { buffered_bytes: first, capacity: second },
        _ => return None,
    })
}
