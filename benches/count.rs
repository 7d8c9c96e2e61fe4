//! Instructions of each cycle that hosts play: own and shared pools, all modes, the rarer paths, and the state machine
//! alone; through the static C library and in Rust. `scripts/cycle-count.sh` compares them with those of another
//! commit.
//!
//! A count is the difference of two runs under callgrind, divided by the cycles that one plays more. Times and hash
//! seeds have no part in them, so that each is the same in every run. Each line is a name and a count:
//!
//! | name | cycle, of 64 connections in turn |
//! |---|---|
//! | `level`, `edge`, `one-shot`, `optimistic`, `completion` | readable, one receive, all of it is decoded |
//! | `two-calls` | as `level`, with the receive and its decoding reported in one call |
//! | `trickle` | a frame in two parts, of 4 and of 20 bytes |
//! | `blocked` | decoding is blocked after the receive, and unblocked |
//! | `end` | the stream ends, the connection is closed, and another one is attached |
//! | `handoff` | memory is full: a connection receives the start of a frame and waits, and the room of another one is its own |
//! | `move-idle`, `move-holding` | a connection changes shards, at rest or with bytes that are not decoded |
//! | `machine/events`, `machine/sync` | the state machine alone: event by event, or with the host's buffer reported |
//!
//! `own` is a pool of one thread. `shared` is one of two shards; one thread plays both, so no lock is contended.

mod support;

use demuxbuf::connection::{Action, Event, Mode};
use demuxbuf::pool::Budget;
use demuxbuf::shared::PoolShard;
use demuxbuf_ffi_tests::{Linking, Program};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use support::host::{
    BUFFER_BYTES, CONNECTIONS, Host, HostPool, Machines, NOTHING, RECEIVED_BYTES, expect, receive, transport_bytes,
};
use support::{Error, Options, has_valgrind, instructions_of_each};

/// How many cycles the two runs play: whole loop iterations.
const FEW: u32 = 1_280;
const MANY: u32 = 6_400;

/// A cycle, as it is played in C and in Rust.
struct Cycle {
    name: &'static str,
    source: &'static str,
    defines: &'static [&'static str],
    rust: fn(cycles: u64) -> Result<(), Error>,
}

const fn cycle(
    name: &'static str,
    source: &'static str,
    defines: &'static [&'static str],
    rust: fn(u64) -> Result<(), Error>,
) -> Cycle {
    Cycle { name, source, defines, rust }
}

const LEVEL: u8 = Mode::Level as u8;
const EDGE: u8 = Mode::Edge as u8;
const ONE_SHOT: u8 = Mode::OneShot as u8;
const OPTIMISTIC: u8 = Mode::Optimistic as u8;
const COMPLETION: u8 = Mode::Completion as u8;

const CYCLES: [Cycle; 24] = [
    cycle("own/level", "receiver", &["MODE=DEMUXBUF_MODE_LEVEL"], common::<LEVEL, Budget>),
    cycle("own/two-calls", "receiver", &["TWO_CALLS"], two_calls::<Budget>),
    cycle("own/edge", "receiver", &["MODE=DEMUXBUF_MODE_EDGE"], common::<EDGE, Budget>),
    cycle("own/one-shot", "receiver", &["MODE=DEMUXBUF_MODE_ONE_SHOT"], common::<ONE_SHOT, Budget>),
    cycle("own/optimistic", "receiver", &["MODE=DEMUXBUF_MODE_OPTIMISTIC"], common::<OPTIMISTIC, Budget>),
    cycle("own/completion", "receiver", &["MODE=DEMUXBUF_MODE_COMPLETION"], common::<COMPLETION, Budget>),
    cycle("own/trickle", "trickle", &[], trickle::<Budget>),
    cycle("own/blocked", "blocked", &[], blocked::<Budget>),
    cycle("own/end", "end", &[], end::<Budget>),
    cycle("own/handoff", "handoff", &[], handoff::<Budget>),
    cycle("shared/level", "receiver", &["SHARED", "MODE=DEMUXBUF_MODE_LEVEL"], common::<LEVEL, PoolShard>),
    cycle("shared/two-calls", "receiver", &["SHARED", "TWO_CALLS"], two_calls::<PoolShard>),
    cycle("shared/edge", "receiver", &["SHARED", "MODE=DEMUXBUF_MODE_EDGE"], common::<EDGE, PoolShard>),
    cycle("shared/one-shot", "receiver", &["SHARED", "MODE=DEMUXBUF_MODE_ONE_SHOT"], common::<ONE_SHOT, PoolShard>),
    cycle(
        "shared/optimistic",
        "receiver",
        &["SHARED", "MODE=DEMUXBUF_MODE_OPTIMISTIC"],
        common::<OPTIMISTIC, PoolShard>,
    ),
    cycle(
        "shared/completion",
        "receiver",
        &["SHARED", "MODE=DEMUXBUF_MODE_COMPLETION"],
        common::<COMPLETION, PoolShard>,
    ),
    cycle("shared/trickle", "trickle", &["SHARED"], trickle::<PoolShard>),
    cycle("shared/blocked", "blocked", &["SHARED"], blocked::<PoolShard>),
    cycle("shared/end", "end", &["SHARED"], end::<PoolShard>),
    cycle("shared/handoff", "handoff", &["SHARED"], handoff::<PoolShard>),
    cycle("shared/move-idle", "move", &["SHARED"], migrate::<false>),
    cycle("shared/move-holding", "move", &["SHARED", "HOLDING"], migrate::<true>),
    cycle("machine/events", "machine_events", &[], machine_events),
    cycle("machine/sync", "machine", &["ONE_SHOT"], machine_sync),
];

fn main() -> Result<(), Error> {
    let options = Options::read();
    if let [name, cycles] = options.child.as_slice() {
        let cycle = CYCLES.iter().find(|cycle| cycle.name == name).ok_or("there is no such cycle")?;
        return (cycle.rust)(cycles.parse()?);
    }
    let programs: Vec<(String, Command)> = CYCLES.iter().flat_map(programs).collect();
    if !has_valgrind() {
        return Ok(());
    }
    let counted = if options.smoke { programs.len() - 2 } else { 0 };
    for (name, count) in count_all(&programs[counted..]) {
        println!("{name} {count:.1}");
    }
    Ok(())
}

/// What plays a cycle in C, and in Rust.
fn programs(cycle: &Cycle) -> [(String, Command); 2] {
    let flags = ["_GNU_SOURCE", "COUNTED"].iter().chain(cycle.defines).map(|define| format!("-D{define}")).collect();
    let program = Program {
        name: format!("count-{}", cycle.name.replace('/', "-")),
        sources: vec![PathBuf::from(format!("benches/baseline/cycle/{}.c", cycle.source))],
        linking: Linking::Static,
        flags,
    };
    let rust = support::child(cycle.name, &[]);
    [(format!("{}/C", cycle.name), Command::new(program.build())), (format!("{}/Rust", cycle.name), rust)]
}

/// Counts with as many threads as there are processors: counts do not depend on load.
fn count_all(programs: &[(String, Command)]) -> Vec<(String, f64)> {
    let next = AtomicUsize::new(0);
    let counts = Mutex::new(vec![0.0; programs.len()]);
    let work = || {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some((_, program)) = programs.get(at) else { return };
            let count = instructions_of_each(FEW, MANY, |cycles| {
                let mut command = Command::new(program.get_program());
                command.args(program.get_args()).arg(cycles.to_string());
                command
            });
            counts.lock().expect("no thread panicked")[at] = count;
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    let counts = counts.into_inner().expect("no thread panicked");
    programs.iter().map(|(name, _)| name.clone()).zip(counts).collect()
}

/// Plays this many cycles, in loop iterations.
#[inline(always)]
fn play<const MODE: u8, S: HostPool>(
    host: &mut Host<MODE, S>,
    cycles: u64,
    mut cycle: impl FnMut(&mut Host<MODE, S>, usize) -> Result<(), Error>,
) -> Result<(), Error> {
    for _ in 0..cycles / CONNECTIONS as u64 {
        for index in 0..CONNECTIONS {
            cycle(host, index)?;
        }
        host.end_iteration()?;
    }
    Ok(())
}

/// What is received if each cycle receives once.
fn received(cycles: u64) -> u64 {
    cycles * u64::from(RECEIVED_BYTES)
}

fn common<const MODE: u8, S: HostPool>(cycles: u64) -> Result<(), Error> {
    let mut host = Host::<MODE, S>::new()?;
    for _ in 0..cycles / CONNECTIONS as u64 {
        host.iterate(CONNECTIONS, receive)?;
    }
    host.finish(received(cycles))
}

fn two_calls<S: HostPool>(cycles: u64) -> Result<(), Error> {
    let mut host = Host::<LEVEL, S>::new()?;
    play(&mut host, cycles, |host, index| host.cycle_of_two_calls(index, &mut receive))?;
    host.finish(received(cycles))
}

fn trickle<S: HostPool>(cycles: u64) -> Result<(), Error> {
    let (first, second) = (4, 20);
    let mut host = Host::<LEVEL, S>::new()?;
    play(&mut host, cycles, |host, index| {
        host.receive_part(index, first)?;
        let id = host.ids[index];
        expect(host.pool.decoded(id, 0, second)?, NOTHING)?;
        host.receive_part(index, second)?;
        expect(host.decode(index)?, NOTHING)
    })?;
    host.finish(u64::from(first + second) * cycles)
}

fn blocked<S: HostPool>(cycles: u64) -> Result<(), Error> {
    let mut host = Host::<LEVEL, S>::new()?;
    play(&mut host, cycles, |host, index| {
        expect(host.report_readable(index)?, Action::Recv)?;
        expect(host.receive(index, &mut receive)?, Action::Decode)?;
        host.block(index)?;
        let actions = host.handle(index, Event::Unblock { reasons: 1 })?;
        host.run(index, actions, &mut receive)
    })?;
    host.finish(received(cycles))
}

fn end<S: HostPool>(cycles: u64) -> Result<(), Error> {
    let mut host = Host::<LEVEL, S>::new()?;
    play(&mut host, cycles, |host, index| {
        expect(host.report_readable(index)?, Action::Recv)?;
        let mut actions = host.handle(index, Event::EndOfStream)?;
        if actions.has(Action::StopRecv) {
            actions = host.disarm(index)?;
        }
        expect(actions, Action::End)?;
        expect(host.handle(index, Event::done(Action::End))?, NOTHING)?;
        expect(host.handle(index, Event::Close)?, Action::Finished)?;
        host.attach(index)
    })?;
    host.finish(0)
}

/// The frame of a connection that waits: more than half of a buffer.
const FRAME_BYTES: u32 = 10_000;
/// What it receives while memory is full.
const START_BYTES: u32 = 64;

/// What each decodes four times before, for its credit: without credit some memory is kept for others.
const CREDIT_BYTES: u32 = BUFFER_BYTES - 1;

fn handoff<S: HostPool>(cycles: u64) -> Result<(), Error> {
    let mut host = Host::<LEVEL, S>::new()?;
    for _ in 0..4 {
        host.iterate(CONNECTIONS, |_, area| Ok(transport_bytes(area, CREDIT_BYTES)))?;
    }
    let (mut holders, mut oldest_holder) = (0, 0);
    play(&mut host, cycles, |host, index| {
        let actions = host.report_readable(index)?;
        if host.pool.receive_area(host.ids[index])?.len() > START_BYTES as usize {
            holders += 1;
            return host.hold(index, actions, FRAME_BYTES);
        }
        expect(actions, Action::Recv)?;
        let mut start = |_: usize, area: &mut [u8]| Ok(transport_bytes(area, START_BYTES));
        expect(host.receive(index, &mut start)?, Action::Decode)?;
        expect(host.pool.decoded(host.ids[index], 0, FRAME_BYTES - START_BYTES)?, NOTHING)?;
        expect(host.report_readable(index)?, Action::StopRecv)?;
        expect(host.disarm(index)?, NOTHING)?;
        let actions = host.handle(oldest_holder, Event::Unblock { reasons: 1 })?;
        host.run(oldest_holder, actions, &mut receive)?;
        oldest_holder = (oldest_holder + 1) % CONNECTIONS;
        let actions = host.granted(index)?;
        host.hold(index, actions, FRAME_BYTES - START_BYTES)
    })?;
    let grants = host.pool.stats().memory_model.grants;
    if holders == 0 || grants != cycles - holders {
        return Err(format!("not each cycle hands memory to the queued connection: {grants} of {cycles}").into());
    }
    Ok(())
}

fn migrate<const HOLDING: bool>(cycles: u64) -> Result<(), Error> {
    let mut host = Host::<LEVEL, PoolShard>::new()?;
    let mut moves = 0;
    play(&mut host, cycles, |host, index| {
        let is_back = moves / CONNECTIONS % 2 == 1;
        moves += 1;
        host.migrate(index, is_back, HOLDING)
    })?;
    let stats = host.pool.stats();
    match stats.received_bytes - stats.consumed_bytes - stats.taken_bytes {
        0 => Ok(()),
        bytes => Err(format!("{bytes} bytes are kept").into()),
    }
}

fn machine_events(cycles: u64) -> Result<(), Error> {
    let mut machines = Machines::new(Mode::Level)?;
    (0..cycles).try_for_each(|cycle| machines.report_events(cycle as usize % CONNECTIONS))
}

fn machine_sync(cycles: u64) -> Result<(), Error> {
    let mut machines = Machines::new(Mode::OneShot)?;
    (0..cycles).try_for_each(|cycle| machines.report_sync(cycle as usize % CONNECTIONS))
}
