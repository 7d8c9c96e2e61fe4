//! Receivers that wait with nothing kept, and move between the threads of a shared pool: the age of a wait goes along.

mod common;

use common::{ShardPool, attach, check, config, exhaust, receive, two, waiting};
use demuxbuf::connection::{Action, Event, Mode, Policy};
use demuxbuf::pool::{AttachOptions, Notice, PoolConfig, ReceiverId};
use demuxbuf::shared::SharedPool;

const MS: u64 = 1_000_000;
const TOKEN: u64 = 9;
/// The most that an advance of the clock adds.
const STEP_NS: u64 = 125 * MS;
/// The first step behind the deadline of a wait that began in step 0: a second, and 1/32 s for the 256 bytes of a
/// buffer.
const DUE_STEP: u64 = 9;

/// Two threads without memory, of which receivers have all cells, too.
fn without_memory(mode: Mode) -> (SharedPool, [ShardPool; 2]) {
    let policy = Policy { mode, ..Policy::default() };
    let (shared_pool, mut a, mut b) = two(&PoolConfig { policy, ..config() });
    exhaust(&mut a, &mut b);
    // Those that submit receives use none of these cells.
    for pool in [&mut a, &mut b].into_iter().filter(|_| mode != Mode::Completion) {
        (0..4).for_each(|token| _ = waiting(pool, token));
    }
    (shared_pool, [a, b])
}

fn moves([from, to]: [&mut ShardPool; 2], id: ReceiverId) -> ReceiverId {
    let mut exported = from.export(id).expect("it can move");
    to.import(&mut exported).expect("there is a row")
}

/// Whether it is among the notices of this iteration, which begins here. Another one that is named would receive, and
/// is closed.
fn is_named(pool: &mut ShardPool, step: u64) -> bool {
    pool.handle_timeout(step * STEP_NS);
    let mut is_named = false;
    while let Some(notice) = pool.poll_notice() {
        let Notice::Receiver { id, token, .. } = notice else { panic!("{notice:?}") };
        is_named |= token == TOKEN;
        if token != TOKEN {
            pool.handle(id, Event::Close).expect("it is attached");
        }
    }
    is_named
}

#[test]
fn wait_that_moves_ends_at_its_deadline() {
    for mode in [Mode::Level, Mode::OneShot, Mode::Edge, Mode::Completion] {
        let (_shared_pool, mut pools) = without_memory(mode);
        let mut id = attach(&mut pools[0], TOKEN);
        // The second report is certain in every mode.
        (0..2).for_each(|_| _ = pools[0].handle(id, Event::Readable).expect("it is attached"));
        assert!(pools[0].connection(id).expect("it is attached").is_waiting(), "given: it waits with nothing");
        let tried = (1..4 * DUE_STEP).find(|&step| {
            let [a, b] = &mut pools;
            let [from, to] = if step % 2 == 1 { [a, b] } else { [b, a] };
            id = moves([&mut *from, &mut *to], id);
            let actions = to.pending(id).expect("it is attached");
            assert!(!actions.has(Action::Recv) && to.connection(id).expect("it is attached").is_waiting(), "{mode:?}");
            is_named(from, step);
            is_named(to, step)
        });
        assert_eq!(tried, Some(DUE_STEP), "in the mode {mode:?}");
        check(&pools[0], &pools[1]);
    }
}

/// What it waits for is in the kernel.
#[test]
fn wait_under_a_mark_that_moves_ends_at_its_deadline() {
    for mode in [Mode::Level, Mode::OneShot, Mode::Edge, Mode::Completion] {
        let (_shared_pool, mut pools) = without_memory(mode);
        for pool in &mut pools {
            // Nor are there spares.
            while pool.memory().free_buffers() > 0 {
                let id = pool.attach_with(&AttachOptions::new(0, 0), &[3; 100]).expect("one is free");
                pool.decoded(id, 0, 150).expect("it is attached");
            }
        }
        let policy = Policy { mode, counting: true, ..Policy::default() };
        let options = AttachOptions { policy: Some(policy), ..AttachOptions::new(0, TOKEN) };
        let mut id = pools[0].attach(&options).expect("there is a row");
        let actions = pools[0].handle(id, Event::Readable).expect("it is attached");
        assert!(actions.has(Action::Peek), "given: memory is short, {actions}");
        pools[0].decoded(id, 0, 200).expect("it looks");
        pools[0].handle(id, Event::WouldBlock).expect("it is not whole");
        let tried = (1..4 * DUE_STEP).find(|&step| {
            let [a, b] = &mut pools;
            let [from, to] = if step % 2 == 1 { [a, b] } else { [b, a] };
            id = moves([&mut *from, &mut *to], id);
            assert_eq!(to.low_water_mark(id), Ok(200), "{mode:?}");
            to.handle(id, Event::done(Action::WantRecv)).expect("it is attached");
            is_named(from, step);
            is_named(to, step)
        });
        assert_eq!(tried, Some(DUE_STEP), "in the mode {mode:?}");
        check(&pools[0], &pools[1]);
    }
}

/// A wait of which nothing was reported begins with the report, on whichever thread that comes.
#[test]
fn guess_that_moves_begins_with_the_report() {
    let (_shared_pool, [mut a, mut b]) = without_memory(Mode::Edge);
    let id = attach(&mut a, TOKEN);
    // The first edge may be late.
    a.handle(id, Event::Readable).expect("it is attached");
    assert!(a.connection(id).expect("it is attached").is_waiting(), "given: it waits with nothing");
    let step = 4;
    for step in 1..=step {
        [&mut a, &mut b].into_iter().for_each(|pool| _ = is_named(pool, step));
    }
    let id = moves([&mut a, &mut b], id);
    b.handle(id, Event::Readable).expect("it is attached");
    let tried = (step + 1..4 * DUE_STEP).find(|&step| is_named(&mut b, step));
    assert_eq!(tried, Some(step + DUE_STEP));
    check(&a, &b);
}

/// One whose wait is over, and that has not received yet, waits on where it moves to, and has what is free there.
#[test]
fn wait_goes_on_where_there_is_room() {
    let (_shared_pool, mut a, mut b) = two(&config());
    let leases = exhaust(&mut a, &mut b);
    let cells: Vec<_> = (0..4).map(|token| waiting(&mut a, token)).collect();
    let id = attach(&mut a, TOKEN);
    a.handle(id, Event::Readable).expect("it is attached");
    cells.into_iter().for_each(|cell| _ = a.handle(cell, Event::Close).expect("it is attached"));
    leases.into_iter().for_each(|lease| a.release(lease).expect("it is in force"));
    let id = moves([&mut a, &mut b], id);
    assert!(b.connection(id).expect("it is attached").is_waiting());
    assert!(is_named(&mut b, 0), "a notice grants it what is free");
    let id = moves([&mut b, &mut a], id);
    assert!(is_named(&mut a, 0), "it had received nothing");
    receive(&mut a, id, &[1; 200]);
    a.decoded(id, 200, 0).expect("it has as many");
    check(&a, &b);
}
