//! Receivers with their pool, memory and time against the model, then a drain that serves everybody.

use super::text::{Line, lines};
use crate::{Duel, ModelReceivers, Op, RustReceivers, Subject, Which};
use demuxbuf::connection::{Event, Mode};
use demuxbuf::memory::SLOT_SIZES;
use demuxbuf::pool::CLASSES_MAX;
use demuxbuf::receiver::ReceiversConfig;

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
    "release 0",
    "cancel 0",
    "poll",
    "tick 5",
    "later 5",
    "pages",
    "readable 0",
    "received 0 5",
    "would-block 0",
    "end 0",
    "error 0",
    "consumed 0 5",
    "need-more 0 5",
    "block 0 1",
    "unblock 0 1",
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
    let mut duel = Duel::new(ModelReceivers::new(&config), RustReceivers::new(&config));
    play(&mut duel, text, |_, _| Ok(()))
}

/// Plays all operations, then drains. `other` does what is no operation.
pub(super) fn play<S: Subject>(
    duel: &mut Duel<ModelReceivers, S>,
    text: &[u8],
    mut other: impl FnMut(&mut Duel<ModelReceivers, S>, Line<'_>) -> Result<(), String>,
) -> Result<(), String> {
    for line in lines(text) {
        match op(line) {
            Some(op) => drop(duel.play(op)?),
            None => other(duel, line)?,
        }
    }
    duel.drain()
}

/// An allowed configuration, small enough that a few lines exhaust it.
pub(super) fn config(text: &[u8]) -> ReceiversConfig {
    let mut config = ReceiversConfig { buffer_bytes: 64, ..ReceiversConfig::new(2, 4) };
    let mut sizes = [0, 0];
    for line in lines(text).take_while(|line| op(*line).is_none()) {
        let ReceiversConfig { pool, policy, .. } = &mut config;
        let number = line.short(0);
        let class = number as usize % CLASSES_MAX;
        match line.word {
            "buffers" => pool.buffers = 1 + number.wrapping_sub(1) % 4,
            "bytes" => config.buffer_bytes = 64 * (1 + (number / 64).wrapping_sub(1) % 3),
            "receivers" => config.receivers_max = 1 + number.wrapping_sub(1) % 5,
            "waits" => pool.waiters_max = number % 8,
            "slots" => config.slots = number % 5,
            "no-lifeline" => config.lifeline = false,
            "mode" => policy.mode = Mode::from_number((number % 5) as u8).unwrap_or_default(),
            "reads" => policy.reads_per_wake = number as u8 % 4,
            "park" => policy.park_bytes = number as u16 % 65,
            "reclaim" => policy.reclaim_bytes = number as u16 % 65,
            "resume" => policy.resume_at = number,
            "pause-when-blocked" => policy.pause_when_blocked = true,
            "classes" => pool.classes = 1 + number.wrapping_sub(1) as u8 % 8,
            "burst" => pool.class_burst = number.max(1),
            "reserve" => pool.reserves[class] = line.short(1),
            "cap" => pool.class_caps[class] = line.short(1).max(1),
            "sizes" => sizes = [line.short(0) % 7, line.short(1) % 7],
            "first-size" => config.first_size = number as u8 % 3,
            "large-slots" => config.large_slots[0] = number % 3,
            "continuation" => config.continuation_class = Some(number as u8 % 8),
            "tenants" => pool.tenants_max = number % 4,
            "park-ns" => pool.park_ns = number.into(),
            "lease-ns" => pool.lease_ns = u64::from(number).max(1),
            _ => {}
        }
    }
    allow(&mut config, sizes);
    config
}

/// Changes what the docs of `PoolConfig` and `ReceiversConfig` do not allow to the nearest that they do, so that no input
/// is passed over: whether the library allows it is asked of nobody, and a refusal is a finding. What is refused is the
/// matter of the target `config`. The sizes of buffers beside the default are units of 64 bytes.
fn allow(config: &mut ReceiversConfig, sizes: [u32; 2]) {
    let sizes = sizes.map(|units| 64 * units);
    if sizes != [0, 0] {
        config.set_buffer_sizes(&[config.buffer_bytes, sizes[0], sizes[1]]).expect("there is a default size");
    }
    let pool = &mut config.pool;
    // One wait for each receiver, and those of the host's own above them.
    pool.waiters_max = pool.waiters_max % 8 + config.receivers_max;
    for class in 0..CLASSES_MAX {
        let reserve_max = if class < usize::from(pool.classes) { pool.buffers - 1 } else { 0 };
        pool.reserves[class] = pool.reserves[class].min(reserve_max);
    }
    if pool.park_ns != u64::MAX {
        pool.park_ns = pool.park_ns.min(pool.lease_ns);
    }
    config.continuation_class = config.continuation_class.map(|class| class % pool.classes);
    allow_first_buffer(config);
}

/// The first size becomes the default if there is none such, or some class could never have one; and slots that are larger
/// than a first buffer go. The rest of the configuration is allowed.
pub fn allow_first_buffer(config: &mut ReceiversConfig) {
    let pool = &config.pool;
    let units = pool.sizes[usize::from(config.first_size)];
    let could_have_one = |class: usize| {
        let in_units = |buffers: u32| u64::from(buffers) * u64::from(pool.sizes[0]);
        let most = in_units(pool.buffers - pool.reserves[class]).min(in_units(pool.class_caps[class]));
        u64::from(units) <= most
    };
    if units == 0 || !(0..usize::from(pool.classes)).all(could_have_one) {
        config.first_size = 0;
    }
    let unit_bytes = config.buffer_bytes / pool.sizes[0];
    let first_bytes = pool.sizes[usize::from(config.first_size)] * unit_bytes;
    for (count, &slot_bytes) in config.large_slots.iter_mut().zip(&SLOT_SIZES[1..]) {
        if slot_bytes > first_bytes as usize {
            *count = 0;
        }
    }
}

/// Handles below 100 are in force, those below 200 are over, the others are nobody's.
fn which(number: u64) -> Which {
    match number {
        0..100 => Which::Live(number as u8),
        100..200 => Which::Dead(number as u8 - 100),
        _ => Which::Nobody,
    }
}

/// In whose name: 0 for nobody's, else one more than the tenant's handle.
fn named(number: u64) -> Option<Which> {
    number.checked_sub(1).map(which)
}

fn op(line: Line<'_>) -> Option<Op> {
    let (first, second, third) = (which(line.number(0)), line.short(1), line.short(2));
    Some(match line.word {
        "attach" => Op::Attach { class: line.short(0) as u8, bytes: second as u16 % 256 },
        "adopt" => {
            let (class, lease) = (line.short(0) as u8, which(line.number(1)));
            Op::Adopt { class, lease, offset: third, level: line.short(3) }
        }
        "obey" => Op::Obey { receiver: first, choice: second as u8, amount: third },
        "decoded" => Op::Decoded { receiver: first, consumed: second, need_more: third },
        "take" => Op::Take { receiver: first },
        "grow" => Op::Grow { receiver: first, size: second as u8 },
        "in-name-of" => Op::SetTenant { receiver: first, tenant: named(line.number(1)) },
        "tenant" => Op::CreateTenant { weight: line.short(0), guaranteed: second, cap: third },
        "remove-tenant" => Op::RemoveTenant { tenant: first },
        "request" => Op::Request { class: line.short(0) as u8, size: second as u8, tenant: named(line.number(2)) },
        "release" => Op::Release { lease: first },
        "cancel" => Op::Cancel { wait: first },
        "poll" => Op::PollGrant,
        "tick" => Op::Tick { now_ns: line.number(0) },
        "later" => Op::Later { ns: line.number(0) },
        "pages" => Op::GiveBackPages,
        _ => Op::Report { receiver: first, event: event(line)? },
    })
}

fn event(line: Line<'_>) -> Option<Event> {
    let (first, second) = (line.short(1), line.short(2));
    Some(match line.word {
        "readable" => Event::Readable,
        "received" => Event::Received { bytes: first },
        "would-block" => Event::WouldBlock,
        "end" => Event::EndOfStream,
        "error" => Event::TransportError,
        "consumed" => Event::Consumed { bytes: first },
        "need-more" => Event::NeedMore { bytes: first },
        "block" => Event::Block { reasons: first },
        "unblock" => Event::Unblock { reasons: first },
        "yield" => Event::Yield,
        "wake" => Event::Wake,
        "pause" => Event::PauseRecv,
        "continue" => Event::ResumeRecv,
        "fail" => Event::Fail,
        "reclaim-requested" => Event::ReclaimRequested,
        "lease-expired" => Event::LeaseExpired,
        "done" => Event::Done { actions: first },
        "close" => Event::Close,
        "granted" => Event::BufferGranted { capacity: first },
        "denied" => Event::BufferDenied,
        "parked" => Event::BufferParked { capacity: first },
        "released" => Event::BufferReleased,
        "sync" => {
            let (blocked, short, armed) = (line.short(3), line.number(4) != 0, line.number(5) != 0);
            Event::Sync { level: first, capacity: second, blocked, short, armed }
        }
        "attach-again" => Event::Attach { level: first, capacity: second },
        _ => return None,
    })
}
