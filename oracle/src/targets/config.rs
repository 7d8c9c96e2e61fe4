//! Any configuration: it is allowed and works, or it is refused with the field named.

use super::text::{Line, lines};
use demuxbuf::connection::{Action, Event, Mode};
use demuxbuf::memory::{Memory, MemoryConfig, Protection, SLOT_SIZES};
use demuxbuf::pool::{AttachOptions, Pool, PoolConfig};
use demuxbuf::scheduler::{CLASSES_MAX, Outcome, Request, SIZES_MAX, Scheduler};

/// A line for each field. What is not set is small and allowed.
pub(super) const EXAMPLES: &[&str] = &[
    "buffers 3",
    "waiters_max 4",
    "classes 8",
    "reserves 1 1",
    "class_caps 1 1",
    "class_burst max",
    "sizes 1 4",
    "tenants_max 3",
    "park_ns 5",
    "lease_ns 10",
    "tag 7",
    "buffer_bytes 16448",
    "first_size_index 1",
    "receivers_max 4",
    "slots 9",
    "large_slots 2 3",
    "continuation_class 1",
    "lifeline 0",
    "park_bytes 64",
    "reclaim_bytes 4096",
    "mode 4",
    "reads_per_wake 1",
    "resume_free_bytes max",
    "pause_when_blocked 1",
    "audit 1",
    "wipe 1",
    "reads_ahead 1",
];

/// The most that a run may reserve. A configuration that needs more is not tried here, because it would test the
/// machine.
const RESERVED_MAX: u128 = 16 << 20;
const RECEIVERS_PLAYED: usize = 8;

pub(super) fn run(text: &[u8]) -> Result<(), String> {
    let mut config = PoolConfig { buffer_bytes: 256, ..PoolConfig::new(2, 2) };
    for line in lines(text) {
        set(&mut config, line);
    }
    if reserved_bytes(&config) > RESERVED_MAX {
        return Ok(());
    }
    scheduler_alone(&config)?;
    memory_alone(&config)?;
    match Pool::new(&config) {
        Ok(mut pool) => {
            reserved_as_promised(&mut pool, &config)?;
            busy(pool, &config)
        }
        Err(error) if error.is_out_of_memory() => Err(format!("{config:?}: {error}")),
        Err(error) => names_a_field(&error.to_string()),
    }
}

fn set(config: &mut PoolConfig, line: Line<'_>) {
    let (number, value) = (line.short(0), line.short(1));
    let PoolConfig { scheduler, policy, .. } = config;
    let class = number as usize % CLASSES_MAX;
    match line.word {
        "buffers" => scheduler.buffers = number,
        "waiters_max" => scheduler.waiters_max = number,
        "classes" => scheduler.classes = number as u8,
        "reserves" => scheduler.reserves[class] = value,
        "class_caps" => scheduler.class_caps[class] = value,
        "class_burst" => scheduler.class_burst = number,
        "sizes" => scheduler.sizes[number as usize % SIZES_MAX] = value,
        "tenants_max" => scheduler.tenants_max = number,
        "park_ns" => scheduler.park_ns = Some(line.number(0)),
        "lease_ns" => scheduler.lease_ns = Some(line.number(0)),
        "tag" => scheduler.tag = number as u8,
        "buffer_bytes" => config.buffer_bytes = number,
        "first_size_index" => config.first_size_index = number as u8,
        "receivers_max" => config.receivers_max = number,
        "slots" => config.slots = number,
        "large_slots" => config.large_slots[number as usize % 3] = value,
        "continuation_class" => config.continuation_class = Some(number as u8),
        "lifeline" => config.lifeline = number != 0,
        "park_bytes" => policy.park_bytes = number as u16,
        "reclaim_bytes" => policy.reclaim_bytes = number as u16,
        "mode" => policy.mode = Mode::try_from(number as u8).unwrap_or_default(),
        "reads_per_wake" => policy.reads_per_wake = number as u8,
        "resume_free_bytes" => policy.resume_free_bytes = number,
        "pause_when_blocked" => policy.pause_when_blocked = number != 0,
        "audit" => config.audit = number != 0,
        "wipe" => config.wipe = number != 0,
        "reads_ahead" => policy.reads_ahead = number != 0,
        _ => {}
    }
}

/// At least what a configuration makes the library reserve, were it allowed; generous where tables have entries.
fn reserved_bytes(config: &PoolConfig) -> u128 {
    const ENTRY: u128 = 128;
    let wide = |number: u32| u128::from(number);
    let scheduler = &config.scheduler;
    let units = wide(scheduler.buffers) * wide(scheduler.sizes[0]);
    let smallest = scheduler.sizes.iter().copied().filter(|&units| units > 0).min().unwrap_or(1);
    let entries = units / wide(smallest) * SIZES_MAX as u128;
    let tenants = (wide(scheduler.tenants_max) + 1) * CLASSES_MAX as u128;
    let tables = entries + wide(scheduler.waiters_max) + tenants + wide(config.receivers_max) + wide(config.slots);
    let large: u128 =
        SLOT_SIZES[1..].iter().zip(config.large_slots).map(|(&size, count)| size as u128 * wide(count)).sum();
    let unit = wide(config.buffer_bytes) / wide(scheduler.sizes[0].max(1)) + 1;
    // The memory alone is asked for `buffers` of `buffer_bytes`, whatever is in `sizes`, also if it is empty.
    let budget = (units * unit).max(wide(scheduler.buffers) * wide(config.buffer_bytes));
    // Each size in use has a region as large as the whole budget; the memory alone has one.
    let sizes = scheduler.sizes.iter().filter(|&&units| units > 0).count().max(1);
    budget * sizes as u128 + large + tables * ENTRY
}

fn names_a_field(message: &str) -> Result<(), String> {
    let words = || message.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let is_named =
        EXAMPLES.iter().filter_map(|line| line.split(' ').next()).any(|field| words().any(|word| word == field));
    if is_named { Ok(()) } else { Err(format!("refused without a field: {message}")) }
}

fn scheduler_alone(config: &PoolConfig) -> Result<(), String> {
    let mut scheduler = match Scheduler::new(&config.scheduler) {
        Ok(scheduler) => scheduler,
        Err(error) => return names_a_field(&error.to_string()),
    };
    let mut held = Vec::new();
    for turn in 0..16 {
        let class = turn as u8 % config.scheduler.classes;
        if let Ok(Outcome::Granted(lease)) = scheduler.request(class, turn) {
            held.push(lease);
        }
        scheduler.handle_timeout(turn * 3);
        scheduler.check_invariants()?;
    }
    while let Some(lease) = held.pop() {
        scheduler.release(lease).map_err(|error| error.to_string())?;
        held.extend(std::iter::from_fn(|| scheduler.poll_grant()).map(|grant| grant.lease));
        scheduler.check_invariants()?;
    }
    let stats = scheduler.stats();
    if stats.waiting + stats.leased + stats.assigned == 0 { Ok(()) } else { Err(format!("not all served: {stats:?}")) }
}

fn memory_alone(config: &PoolConfig) -> Result<(), String> {
    let [a, b, c] = config.large_slots;
    let (buffers, buffer_bytes) = (config.scheduler.buffers, [config.buffer_bytes, 0, 0, 0]);
    let protection = Protection { wipe: config.wipe, no_dump: false };
    match Memory::new(&MemoryConfig { buffers, buffer_bytes, slots: [config.slots, a, b, c], protection }) {
        Ok(memory) => ensure_equal("bytes reserved", memory.reserved_bytes() as u64, promised_bytes(config)),
        Err(error) => names_a_field(&error.to_string()),
    }
}

/// What a configuration promises: this many buffers of the default size, and each slot.
fn promised_bytes(config: &PoolConfig) -> u64 {
    let [a, b, c] = config.large_slots;
    let slots: u64 =
        [config.slots, a, b, c].into_iter().zip(SLOT_SIZES).map(|(count, bytes)| u64::from(count) * bytes as u64).sum();
    u64::from(config.scheduler.buffers) * u64::from(config.buffer_bytes) + slots
}

/// As much is there as the configuration promises: the pool reports it, and requests until there are no more buffers
/// get all that their class may have, each as large as its size.
fn reserved_as_promised(pool: &mut Pool, config: &PoolConfig) -> Result<(), String> {
    let (stats, scheduler) = (pool.stats(), &config.scheduler);
    // Each further size may have the budget once more, if its buffers cut pages.
    let budget = u64::from(scheduler.buffers) * u64::from(config.buffer_bytes);
    let more = stats.memory_bytes.checked_sub(promised_bytes(config)).ok_or("less memory than promised")?;
    let sizes = scheduler.sizes.iter().filter(|&&units| units > 0).count() as u64;
    ensure_equal("bytes above the budget", more % budget, 0)?;
    ensure_equal("budgets above the first, at most", (more / budget).max(sizes - 1), sizes - 1)?;
    let slots = config.slots + config.large_slots.iter().sum::<u32>();
    ensure_equal("slots", stats.slots.into(), slots.into())?;
    ensure_equal("receivers", stats.receivers_max.into(), config.receivers_max.into())?;
    for (size, units) in (0..).zip(scheduler.sizes).filter(|&(_, units)| units > 0) {
        let most = (scheduler.buffers - scheduler.reserves[0]).min(scheduler.class_caps[0]);
        let most = u64::from(most) * u64::from(scheduler.sizes[0]) / u64::from(units);
        let bytes = u64::from(config.buffer_bytes / scheduler.sizes[0]) * u64::from(units);
        let mut held = Vec::new();
        let wait = loop {
            match pool.request_for(&Request { size_index: size, ..Request::new(0, 0) }) {
                Ok(Outcome::Granted(lease)) => held.push(lease),
                Ok(Outcome::Queued(wait)) => break Some(wait),
                Err(_) => break None,
            }
        };
        ensure_equal("buffers that are granted", held.len() as u64, most)?;
        wait.map_or(Ok(()), |wait| pool.cancel(wait)).map_err(|error| error.to_string())?;
        for lease in held {
            let memory = pool.buffer(lease).map_err(|error| error.to_string())?;
            ensure_equal("bytes of a buffer", memory.len() as u64, bytes)?;
            pool.release(lease).map_err(|error| error.to_string())?;
        }
    }
    pool.check_invariants().map_err(str::to_owned)
}

fn ensure_equal(what: &str, seen: u64, promised: u64) -> Result<(), String> {
    if seen == promised { Ok(()) } else { Err(format!("{what}: {promised} are promised, {seen} are there")) }
}

/// Receivers that all get bytes, and decode all but one of them; then they decode the rest and leave.
fn busy(mut pool: Pool, config: &PoolConfig) -> Result<(), String> {
    let count = (config.receivers_max as usize).min(RECEIVERS_PLAYED);
    let attached: Result<Vec<_>, _> = (0..count)
        .map(|nth| pool.attach(&AttachOptions::new(nth as u8 % config.scheduler.classes, nth as u64)))
        .collect();
    let attached = attached.map_err(|error| error.to_string())?;
    for turn in 0..3 {
        pool.handle_timeout(turn * 7);
        while pool.poll_notice().is_some() {}
        for &id in &attached {
            let mut actions = pool.handle(id, Event::Readable).map_err(|error| error.to_string())?;
            for _ in 0..12 {
                let event = if actions.has(Action::Recv) {
                    pool.receive_area(id).map_err(|error| error.to_string())?[0] = 7;
                    Event::Received { bytes: 1 }
                } else if actions.has(Action::Decode) {
                    Event::Consumed { bytes: 1 }
                } else {
                    break;
                };
                actions = pool.handle(id, event).map_err(|error| error.to_string())?;
                pool.check_invariants()?;
            }
        }
    }
    for &id in &attached {
        pool.handle(id, Event::Close).map_err(|error| error.to_string())?;
        while pool.poll_notice().is_some() {}
        pool.check_invariants()?;
    }
    let stats = pool.stats();
    if stats.scheduler.free == stats.scheduler.capacity {
        Ok(())
    } else {
        Err(format!("not every buffer is free: {stats:?}"))
    }
}
