//! Receivers with their pool, memory and time against the model, then a drain that serves every waiter.

use super::text::{Line, lines};
use crate::{Differential, HandleRef, ModelPool, Op, RustPool, System};
use demuxbuf::connection::{Actions, Event, Mode, Policy};
use demuxbuf::memory::SLOT_SIZES;
use demuxbuf::pool::PoolConfig;
use demuxbuf::scheduler::CLASSES_MAX;

/// Lines of the configuration, which count as long as nothing was done; then operations.
pub(super) const EXAMPLES: &[&str] = &[
    "buffers 2",
    "bytes 128",
    "receivers 4",
    "waits 3",
    "slots 2",
    "no-lifeline",
    "mode 1",
    "reads 1",
    "park 64",
    "reclaim 64",
    "resume 10",
    "pause-when-blocked",
    "reads-ahead",
    "classes 3",
    "burst 1",
    "reserve 1 1",
    "cap 2 1",
    "sizes 2 1",
    "first-size 1",
    "large-slots 1",
    "continuation 0",
    "tenants 2",
    "park-ns 5",
    "lease-ns 10",
    "attach 0 0",
    "attach 0 10 1 1",
    "set-class 0 1",
    "set-policy 0 1 64 64",
    "adopt 0 0 0 10",
    "obey 0 0 2",
    "decoded 0 1 2",
    "take 0",
    "grow 0 1",
    "tenant 2 1 3",
    "remove-tenant 0",
    "in-name-of 0 1",
    "request 0",
    "request 0 1",
    "request 1 0 1",
    "try-request 0",
    "release 0",
    "cancel 0",
    "poll",
    "tick 5",
    "later 5",
    "pages",
    "readable 0",
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
    for line in lines(text) {
        match op(line) {
            Some(op) => drop(differential.play(op)?),
            None => other(differential, line)?,
        }
    }
    differential.drain()
}

/// An allowed configuration, small enough that a few lines exhaust it.
pub(super) fn config(text: &[u8]) -> PoolConfig {
    let mut config = PoolConfig { buffer_bytes: 64, ..PoolConfig::new(2, 4) };
    let mut sizes = [0, 0];
    for line in lines(text).take_while(|line| op(*line).is_none()) {
        let PoolConfig { scheduler, policy, .. } = &mut config;
        let number = line.short(0);
        let class = number as usize % CLASSES_MAX;
        match line.word {
            "buffers" => scheduler.buffers = 1 + number.wrapping_sub(1) % 4,
            "bytes" => config.buffer_bytes = 64 * (1 + (number / 64).wrapping_sub(1) % 3),
            "receivers" => config.receivers_max = 1 + number.wrapping_sub(1) % 5,
            "waits" => scheduler.waiters_max = number % 8,
            "slots" => config.slots = number % 5,
            "no-lifeline" => config.lifeline = false,
            "mode" => policy.mode = Mode::try_from((number % 5) as u8).unwrap_or_default(),
            "reads" => policy.reads_per_wake = number as u8 % 4,
            "park" => policy.park_bytes = number as u16 % 65,
            "reclaim" => policy.reclaim_bytes = number as u16 % 65,
            "resume" => policy.resume_free_bytes = number,
            "pause-when-blocked" => policy.pause_when_blocked = true,
            "reads-ahead" => policy.reads_ahead = true,
            "classes" => scheduler.classes = 1 + number.wrapping_sub(1) as u8 % 8,
            "burst" => scheduler.class_burst = number.max(1),
            "reserve" => scheduler.reserves[class] = line.short(1),
            "cap" => scheduler.class_caps[class] = line.short(1).max(1),
            "sizes" => sizes = [line.short(0) % 7, line.short(1) % 7],
            "first-size" => config.first_size_index = number as u8 % 3,
            "large-slots" => config.large_slots[0] = number % 3,
            "continuation" => config.continuation_class = Some(number as u8 % 8),
            "tenants" => scheduler.tenants_max = number % 4,
            "park-ns" => scheduler.park_ns = Some(number.into()),
            "lease-ns" => scheduler.lease_ns = Some(u64::from(number).max(1)),
            _ => {}
        }
    }
    allow(&mut config, sizes);
    config
}

/// Changes what the docs of `SchedulerConfig` and `PoolConfig` do not allow to the nearest that they do, so that
/// no input is passed over: the library is not asked whether it allows the configuration, and a refusal is a finding.
/// Refusals are the matter of the target `config`. The sizes of buffers beside the default are units of 64 bytes.
fn allow(config: &mut PoolConfig, sizes: [u32; 2]) {
    let sizes = sizes.map(|units| 64 * units);
    if sizes != [0, 0] {
        config.set_buffer_sizes(&[config.buffer_bytes, sizes[0], sizes[1]]).expect("there is a default size");
    }
    let scheduler = &mut config.scheduler;
    // One wait for each receiver, and those of the host's own above them.
    scheduler.waiters_max = scheduler.waiters_max % 8 + config.receivers_max;
    for class in 0..CLASSES_MAX {
        let reserve_max = if class < usize::from(scheduler.classes) { scheduler.buffers - 1 } else { 0 };
        scheduler.reserves[class] = scheduler.reserves[class].min(reserve_max);
    }
    scheduler.park_ns = scheduler.park_ns.and_then(|park_ns| Some(park_ns.min(scheduler.lease_ns?)));
    config.continuation_class = config.continuation_class.map(|class| class % scheduler.classes);
    allow_first_buffer(config);
}

/// The first size becomes the default if there is none such, or some class could never have one; and slots that are
/// larger than a first buffer go. The rest of the configuration is allowed.
pub fn allow_first_buffer(config: &mut PoolConfig) {
    let scheduler = &config.scheduler;
    let units = scheduler.sizes[usize::from(config.first_size_index)];
    let could_have_one = |class: usize| {
        let in_units = |buffers: u32| u64::from(buffers) * u64::from(scheduler.sizes[0]);
        let most = in_units(scheduler.buffers - scheduler.reserves[class]).min(in_units(scheduler.class_caps[class]));
        u64::from(units) <= most
    };
    if units == 0 || !(0..usize::from(scheduler.classes)).all(could_have_one) {
        config.first_size_index = 0;
    }
    let unit_bytes = config.buffer_bytes / scheduler.sizes[0];
    let first_bytes = scheduler.sizes[usize::from(config.first_size_index)] * unit_bytes;
    for (count, &slot_bytes) in config.large_slots.iter_mut().zip(&SLOT_SIZES[1..]) {
        if slot_bytes > first_bytes as usize {
            *count = 0;
        }
    }
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

fn op(line: Line<'_>) -> Option<Op> {
    let (first, second, third) = (which(line.number(0)), line.short(1), line.short(2));
    Some(match line.word {
        "attach" => {
            let (class, tenant) = (line.short(0) as u8, named(line.number(2)));
            let notify_if_full = line.number(3) != 0;
            Op::Attach { class, bytes: second as u16 % 256, tenant, policy: None, notify_if_full }
        }
        "set-class" => Op::SetClass { receiver: first, class: second as u8 },
        "set-policy" => {
            let mode = Mode::try_from(second as u8).unwrap_or_default();
            let policy =
                Policy { mode, park_bytes: third as u16, reclaim_bytes: line.short(3) as u16, ..Policy::default() };
            Op::SetPolicy { receiver: first, policy }
        }
        "adopt" => {
            let (class, lease) = (line.short(0) as u8, which(line.number(1)));
            Op::Adopt { class, lease, offset: third, buffered_bytes: line.short(3) }
        }
        "obey" => Op::Obey { receiver: first, choice: second as u8, amount: third },
        "decoded" => Op::Decoded { receiver: first, consumed: second, need_more: third },
        "take" => Op::Take { receiver: first },
        "grow" => Op::Grow { receiver: first, size_index: second as u8 },
        "in-name-of" => Op::SetTenant { receiver: first, tenant: named(line.number(1)) },
        "tenant" => Op::CreateTenant { weight: line.short(0), guaranteed: second, cap: third },
        "remove-tenant" => Op::RemoveTenant { tenant: first },
        "request" => {
            Op::Request { class: line.short(0) as u8, size_index: second as u8, tenant: named(line.number(2)) }
        }
        "try-request" => {
            Op::TryRequest { class: line.short(0) as u8, size_index: second as u8, tenant: named(line.number(2)) }
        }
        "release" => Op::Release { lease: first },
        "cancel" => Op::Cancel { wait: first },
        "poll" => Op::PollNotice,
        "tick" => Op::Tick { now_ns: line.number(0) },
        "later" => Op::Later { ns: line.number(0) },
        "pages" => Op::GiveBackPages,
        _ => Op::Report { receiver: first, event: event(line)? },
    })
}

pub(super) fn event(line: Line<'_>) -> Option<Event> {
    let (first, second) = (line.short(1), line.short(2));
    Some(match line.word {
        "readable" => Event::Readable,
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
