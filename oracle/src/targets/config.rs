//! Any configuration: it is allowed and works, or it is refused with the field named.

use super::text::{Line, lines};
use demuxbuf::connection::{Action, Event, Mode};
use demuxbuf::pool::{AttachOptions, Pool, PoolConfig};
use demuxbuf::scheduler::{CLASSES_MAX, Outcome, Request, SIZES_MAX, Scheduler, SchedulerConfig};

/// A line for each field. What is not set is small and allowed.
pub(super) const EXAMPLES: &[&str] = &[
    "memory_bytes 4096",
    "buffer_bytes 16448",
    "receivers_max 4",
    "frame_grace_ns 8",
    "blocked_ns 8",
    "in_flight_max 2",
    "waiters_max 4",
    "classes 8",
    "reserves 1 1",
    "class_caps 1 8",
    "class_burst max",
    "tenants_max 3",
    "tag 7",
    "mode 4",
    "reads_per_wake 1",
    "resume_free_bytes max",
    "pause_when_blocked 1",
    "reads_ahead 1",
    "counting 0",
    "buffers 3",
    "sizes 1 4",
    "park_ns 5",
    "lease_ns 10",
    "wipe 1",
    "audit 1",
];

/// The most that a run may reserve. A configuration that needs more is not tried here, because it would test the
/// machine.
const RESERVED_MAX: u128 = 16 << 20;
const RECEIVERS_PLAYED: usize = 8;

/// The settings of a pool, and of a scheduler alone.
#[derive(Clone, Copy, Debug)]
struct Settings {
    pool: PoolConfig,
    scheduler: SchedulerConfig,
}

pub(super) fn run(text: &[u8]) -> Result<(), String> {
    let pool = PoolConfig { buffer_bytes: 256, ..PoolConfig::new(8 * 256, 2) };
    let mut settings = Settings { pool, scheduler: SchedulerConfig::new(2, 2) };
    for line in lines(text) {
        set(&mut settings, line);
    }
    if settings.scheduler_bytes() <= RESERVED_MAX {
        scheduler_alone(&settings.scheduler)?;
    }
    if settings.pool_bytes() > RESERVED_MAX {
        return Ok(());
    }
    let config = settings.pool;
    match Pool::new(&config) {
        Ok(mut pool) => {
            reserved_as_promised(&mut pool, &config)?;
            busy(pool, &config)
        }
        Err(error) if error.is_out_of_memory() => Err(format!("{config:?}: {error}")),
        Err(error) => names_a_field(&error.to_string()),
    }
}

fn set(settings: &mut Settings, line: Line<'_>) {
    let (number, value) = (line.short(0), line.short(1));
    let Settings { pool, scheduler } = settings;
    let policy = &mut pool.policy;
    let class = number as usize % CLASSES_MAX;
    match line.word {
        "memory_bytes" => pool.memory_bytes = line.number(0),
        "buffer_bytes" => pool.buffer_bytes = number,
        "receivers_max" => pool.receivers_max = number,
        "frame_grace_ns" => pool.frame_grace_ns = line.number(0),
        "blocked_ns" => pool.blocked_ns = line.number(0),
        "in_flight_max" => pool.in_flight_max = number,
        "waiters_max" => (pool.waiters_max, scheduler.waiters_max) = (number, number),
        "classes" => (pool.classes, scheduler.classes) = (number as u8, number as u8),
        "reserves" => (pool.reserves[class], scheduler.reserves[class]) = (value, value),
        "class_caps" => (pool.class_caps[class], scheduler.class_caps[class]) = (value, value),
        "class_burst" => (pool.class_burst, scheduler.class_burst) = (number, number),
        "tenants_max" => (pool.tenants_max, scheduler.tenants_max) = (number, number),
        "tag" => (pool.tag, scheduler.tag) = (number as u8, number as u8),
        "mode" => policy.mode = Mode::try_from(number as u8).unwrap_or_default(),
        "reads_per_wake" => policy.reads_per_wake = number as u8,
        "resume_free_bytes" => policy.resume_free_bytes = number,
        "pause_when_blocked" => policy.pause_when_blocked = number != 0,
        "reads_ahead" => policy.reads_ahead = number != 0,
        "counting" => policy.counting = number != 0,
        "audit" => pool.audit = number != 0,
        "buffers" => scheduler.buffers = number,
        "sizes" => scheduler.sizes[number as usize % SIZES_MAX] = value,
        "park_ns" => scheduler.park_ns = Some(line.number(0)),
        "lease_ns" => (pool.lease_ns, scheduler.lease_ns) = (Some(line.number(0)), Some(line.number(0))),
        "wipe" => pool.wipe = number != 0,
        _ => {}
    }
}

/// At least what settings make the library reserve, were they allowed; generous where tables have entries.
impl Settings {
    fn scheduler_bytes(&self) -> u128 {
        let scheduler = &self.scheduler;
        let units = wide(scheduler.buffers) * wide(scheduler.sizes[0]);
        let smallest = scheduler.sizes.iter().copied().filter(|&units| units > 0).min().unwrap_or(1);
        let entries = units / wide(smallest) * SIZES_MAX as u128;
        let tenants = (wide(scheduler.tenants_max) + 1) * CLASSES_MAX as u128;
        (entries + wide(scheduler.waiters_max) + tenants) * ENTRY
    }

    fn pool_bytes(&self) -> u128 {
        let PoolConfig { memory_bytes, buffer_bytes, receivers_max, waiters_max, tenants_max, .. } = self.pool;
        let buffers = u128::from(memory_bytes) / wide(buffer_bytes.max(1));
        // Each size of cells has a table of its own.
        let cells = u128::from(memory_bytes) / 64 * 4;
        let tables =
            buffers + wide(waiters_max) + (wide(tenants_max) + 1) * CLASSES_MAX as u128 + 2 * wide(receivers_max);
        u128::from(memory_bytes) + cells + tables * ENTRY
    }
}

const ENTRY: u128 = 128;

fn wide(number: u32) -> u128 {
    number.into()
}

fn names_a_field(message: &str) -> Result<(), String> {
    let words = || message.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let is_named =
        EXAMPLES.iter().filter_map(|line| line.split(' ').next()).any(|field| words().any(|word| word == field));
    if is_named { Ok(()) } else { Err(format!("refused without a field: {message}")) }
}

fn scheduler_alone(config: &SchedulerConfig) -> Result<(), String> {
    let mut scheduler = match Scheduler::new(config) {
        Ok(scheduler) => scheduler,
        Err(error) => return names_a_field(&error.to_string()),
    };
    let mut held = Vec::new();
    for turn in 0..16 {
        let class = turn as u8 % config.classes;
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

/// As much is there as the configuration promises: the pool reports it, and requests until there are no more buffers
/// get all that their class may have.
fn reserved_as_promised(pool: &mut Pool, config: &PoolConfig) -> Result<(), String> {
    let (stats, split) = (pool.stats(), config.split().map_err(|error| error.to_string())?);
    let buffers = config.memory_bytes / u64::from(config.buffer_bytes);
    ensure_equal("buffers", stats.scheduler.capacity.into(), buffers)?;
    ensure_equal("bytes", stats.memory_bytes, buffers * u64::from(config.buffer_bytes))?;
    ensure_equal("receivers", stats.receivers_max.into(), config.receivers_max.into())?;
    // Those of receivers are of the last class.
    let own = split.header_buffers + 1;
    let of_class = if config.classes == 1 { own } else { 0 };
    let most = (split.buffers - own - config.reserves[0]).min(config.class_caps[0].min(split.buffers) - of_class);
    let mut held = Vec::new();
    let wait = loop {
        match pool.request_for(&Request::new(0, 0)) {
            Ok(Outcome::Granted(lease)) => held.push(lease),
            Ok(Outcome::Queued(wait)) => break Some(wait),
            Err(_) => break None,
        }
    };
    ensure_equal("buffers that are granted", held.len() as u64, most.into())?;
    wait.map_or(Ok(()), |wait| pool.cancel(wait)).map_err(|error| error.to_string())?;
    for lease in held {
        let memory = pool.buffer(lease).map_err(|error| error.to_string())?;
        ensure_equal("bytes of a buffer", memory.len() as u64, config.buffer_bytes.into())?;
        pool.release(lease).map_err(|error| error.to_string())?;
    }
    pool.check_invariants().map_err(str::to_owned)
}

fn ensure_equal(what: &str, seen: u64, promised: u64) -> Result<(), String> {
    if seen == promised { Ok(()) } else { Err(format!("{what}: {promised} are promised, {seen} are there")) }
}

/// Receivers that all get bytes, and decode all but one of them; then they decode the rest and leave.
fn busy(mut pool: Pool, config: &PoolConfig) -> Result<(), String> {
    let count = (config.receivers_max as usize).min(RECEIVERS_PLAYED);
    let attached: Result<Vec<_>, _> =
        (0..count).map(|nth| pool.attach(&AttachOptions::new(nth as u8 % config.classes, nth as u64))).collect();
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
    let (stats, split) = (pool.stats(), config.split().map_err(|error| error.to_string())?);
    ensure_equal("buffers in use", stats.scheduler.leased.into(), (split.header_buffers + 1).into())
}
