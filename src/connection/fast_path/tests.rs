//! What the fast path does is what the tables do, of all common connections.

use super::*;
use crate::connection::{Event, EventError, Policy};

const CAPACITY: u32 = 9;

/// Calls `look` with every common connection of small numbers: all flag words, also those that no events lead to.
/// Too many for Miri.
fn for_each_common(mut look: impl FnMut(&Connection)) {
    for mode in Mode::ALL {
        let words = (0..1 << 22).flat_map(|word| [0, flag::READS_AHEAD, flag::COUNTING].map(|rule| word | rule));
        for word in words {
            let flags = word | (mode as u32) << flag::MODE_SHIFT;
            let empty = Connection { flags, park_bytes: 3, reclaim_bytes: 5, ..Connection::default() };
            if !empty.has_only_common_flags() {
                continue;
            }
            let (capacity, counts) = if empty.has(flag::HELD) { (CAPACITY, 0..CAPACITY) } else { (0, 0..1) };
            for reads in READS {
                for (buffered_bytes, needed_bytes) in
                    counts.clone().flat_map(|buffered_bytes| (0..CAPACITY + 2).map(move |n| (buffered_bytes, n)))
                {
                    look(&Connection { buffered_bytes, capacity, needed_bytes, reads, ..empty.clone() });
                }
            }
        }
    }
}

/// Of which the last two leave nothing of the budget.
const READS: [u8; 5] = [0, 1, Policy::READS_PER_WAKE_DEFAULT - 1, Policy::READS_PER_WAKE_DEFAULT, u8::MAX];

/// Those of them that are eligible.
fn for_each_eligible(mut look: impl FnMut(&Connection)) {
    for_each_common(|connection| {
        if connection.is_fast_path_eligible() {
            look(connection);
        } else {
            assert!(connection.is_misfit() || !connection.is_within_budget(), "{connection:?}");
        }
    });
}

#[test]
#[cfg_attr(miri, ignore)]
fn eligible_connections_are_in_no_rare_state() {
    let mut count = 0;
    for_each_eligible(|fast| {
        count += 1;
        for (blocked, reads) in [(1, 0), (0, Policy::READS_PER_WAKE_DEFAULT)] {
            assert!(!Connection { blocked, reads, ..fast.clone() }.is_fast_path_eligible(), "{fast:?}");
        }
    });
    // Bytes that it may need: any number without a buffer, else what there is room for.
    let (in_buffer, in_slot) =
        ((0..CAPACITY).map(|buffered_bytes| CAPACITY - buffered_bytes + 1).sum::<u32>(), CAPACITY * (CAPACITY + 2));
    // Ready or not, armed or not, pausing when blocked or not; reading ahead, counting or neither; holding nothing,
    // a slot, a buffer, or both.
    assert_eq!(count, 5 * 3 * 24 * ((CAPACITY + 2) + in_slot + 2 * in_buffer));
}

#[test]
#[cfg_attr(miri, ignore)]
fn their_actions_are_those_of_the_table() {
    for_each_eligible(|fast| assert_eq!(fast.pending_if_eligible(), fast.pending_in_any_state(), "{fast:?}"));
}

/// Whatever a connection is, its actions are those of the table.
#[test]
#[cfg_attr(miri, ignore)]
fn actions_of_all_are_those_of_the_table() {
    let mut random = fastrand::Rng::with_seed(1);
    for _ in 0..1_000_000 {
        let rare = if random.bool() { random.u32(..) } else { 0 };
        let word = random.u32(..) & (!flag::SELDOM | rare) & !flag::MODE | flag::ATTACHED;
        let flags = word | (random.choice(Mode::ALL).expect("there are modes") as u32) << flag::MODE_SHIFT;
        let [capacity, buffered_bytes, needed_bytes] = [0; 3].map(|_| random.u32(0..4));
        let (blocked, reads) = (random.u32(0..2), random.u8(0..6));
        let connection = Connection { flags, capacity, needed_bytes, blocked, reads, ..Connection::default() };
        let connection = Connection { buffered_bytes: buffered_bytes.min(capacity), ..connection };
        assert_eq!(connection.pending(), connection.pending_in_any_state(), "{connection:?}");
    }
}

#[test]
#[cfg_attr(miri, ignore)]
fn their_events_have_the_effects_of_the_table() {
    let by_table = |connection: &Connection, events: &[Event]| {
        let mut connection = connection.clone();
        events.iter().for_each(|&event| connection.apply_event(event).expect("the event makes sense"));
        (connection.pending_in_any_state(), connection)
    };
    let mut taken = [0; 4];
    for_each_common(|before| {
        let mut connection = before.clone();
        match connection.try_fast_become_ready() {
            None => assert!(connection == *before && before.is_misfit(), "{before:?}"),
            Some(actions) => {
                assert_eq!((actions, connection), by_table(before, &[Event::Readable]), "{before:?}");
                taken[0] += 1;
            }
        }
        for armed in [false, true] {
            let mut connection = before.clone();
            let actions = connection.try_fast_sync(armed).expect("it is common");
            let event = Event::Sync { buffered_bytes: 0, capacity: 0, blocked: 0, needed_bytes: false, armed };
            assert_eq!((actions, connection), by_table(before, &[event]), "{before:?}");
            taken[1] += 1;
        }
        compare_sync_of_content(before, by_table);
        let mut connection = before.clone();
        match connection.try_fast_arm() {
            None => assert_eq!(&connection, before),
            Some(actions) => {
                let (asked, _) = by_table(before, &[]);
                assert_eq!(asked, Action::WantRecv.into(), "{before:?}");
                let event = Event::done(Action::WantRecv);
                assert_eq!((actions, connection), by_table(before, &[event]), "{before:?}");
                taken[3] += 1;
            }
        }
        taken[2] += u32::from(compare_cycle(before, by_table));
    });
    // Of each mode, number of reads, and read interest, pausing when blocked or not, reading ahead, counting or
    // neither, and readiness.
    let (all, reads) = (CAPACITY + 2, READS.len() as u32);
    let of_each = 5 * reads * 24;
    let fitting = (0..CAPACITY).map(|buffered_bytes| CAPACITY - buffered_bytes + 1).sum::<u32>();
    assert_eq!(taken[0], of_each * (all + CAPACITY * all + 2 * fitting));
    assert_eq!(taken[1], of_each * (all + 3 * CAPACITY * all) * 2);
    // Armed and not ready, needing nothing: in five modes, or counting in two.
    assert_eq!(taken[2], reads * 2 * (5 * 2 + 2));
    // Neither ready nor armed.
    assert_eq!(taken[3], of_each / 4 * all);
}

/// What a host may have: that many bytes in a buffer of that size, which is the one before, or another.
fn contents() -> impl Iterator<Item = (u32, u32)> {
    [CAPACITY, CAPACITY + 1]
        .into_iter()
        .flat_map(|capacity| [1, 4, CAPACITY - 1, CAPACITY].map(|bytes| (bytes, capacity)))
}

/// Each report of content that nothing keeps from the fast path is as the table has it.
fn compare_sync_of_content(before: &Connection, by_table: impl Fn(&Connection, &[Event]) -> (Actions, Connection)) {
    for (buffered_bytes, capacity) in contents() {
        for (needed_bytes, armed) in [(false, false), (false, true), (true, false), (true, true)] {
            let mut connection = before.clone();
            match connection.try_fast_sync_content(buffered_bytes, capacity, needed_bytes, armed) {
                None => {
                    let reads = before.reads.saturating_add(u8::from(buffered_bytes > before.buffered_bytes));
                    let is_used_up = reads >= Policy::READS_PER_WAKE_DEFAULT;
                    assert!(before.has(flag::SLOT) || buffered_bytes == capacity || is_used_up, "{before:?}");
                    assert_eq!(&connection, before);
                }
                Some(actions) => {
                    let event = Event::Sync { buffered_bytes, capacity, blocked: 0, needed_bytes, armed };
                    assert_eq!((actions, connection), by_table(before, &[event]), "{before:?}");
                }
            }
        }
    }
}

/// Whether a cycle of this connection begins; if so, in each phase it is as the table has it.
fn compare_cycle(before: &Connection, by_table: impl Fn(&Connection, &[Event]) -> (Actions, Connection)) -> bool {
    let (mut row, mut plan) = (before.clone(), CyclePlan { may_submit: true, ..CyclePlan::NONE });
    if !row.try_begin_cycle(&mut plan, || true) {
        assert_eq!(&row, before);
        return false;
    }
    let mut alike = before.clone();
    assert!(alike.try_begin_cycle(&mut plan, || true) && alike == row, "{before:?}");
    let mut same = before.clone();
    let is_same = same.try_begin_same_cycle(&plan);
    assert_eq!((is_same, &same), (before.flags == plan.flags, if is_same { &row } else { before }));
    let rare = Connection { blocked: 1, ..before.clone() };
    assert!(!rare.clone().try_begin_same_cycle(&plan), "{rare:?}");
    let begun = [Event::Readable, Event::BufferGranted { capacity: CAPACITY }];
    assert_eq!(by_table(before, &begun[..1]).0, Action::RequestBuffer.into(), "{before:?}");
    assert_eq!((Action::Recv.into(), row.in_cycle(CAPACITY, 0, 0)), by_table(before, &begun), "{before:?}");
    let goes_on = plan.decoded.actions().has(Action::Recv);
    for bytes in 1..CAPACITY {
        let received = [begun[0], begun[1], Event::Received { bytes }];
        let expected = by_table(before, &received);
        assert_eq!((plan.received, row.in_cycle(CAPACITY, bytes, 1)), expected, "{before:?}");
        let decoded = [&received[..], &[Event::Consumed { bytes }]].concat();
        let (pending, connection) = by_table(before, &decoded);
        if goes_on {
            let expected = (plan.decoded.actions(), row.in_cycle(CAPACITY, 0, 1));
            assert_eq!(expected, (pending, connection), "{before:?}");
            assert!(1 < plan.reads_max, "{before:?}");
        } else {
            assert!(pending.has(Action::ReleaseBuffer), "{before:?}");
            let expected = by_table(before, &[&decoded[..], &[Event::BufferReleased]].concat());
            assert_eq!((plan.decoded.actions(), row.clone()), expected, "{before:?}");
        }
    }
    let received = [begun[0], begun[1], Event::Received { bytes: 1 }, Event::Consumed { bytes: 1 }];
    if plan.submits {
        compare_flight(&row, &begun, before, &by_table);
    }
    let lasts = if goes_on { &[&begun[..], &received[..]][..] } else { &[&begun[..]] };
    for (reads, events) in (0..).zip(lasts) {
        for (event, armed) in [(Event::WouldBlock, false), (Event::WouldBlockArmed, true)] {
            let expected = by_table(before, &[events, &[event, Event::BufferReleased][..]].concat());
            let mut ended = row.clone();
            ended.end_cycle_dry(reads, armed);
            let actions = if armed { Actions::NONE } else { plan.dry.actions() };
            assert_eq!((actions, ended), expected, "{before:?} {reads}");
        }
    }
    true
}

/// As `compare_cycle`, if the receive is submitted.
fn compare_flight(
    row: &Connection,
    begun: &[Event],
    before: &Connection,
    by_table: &impl Fn(&Connection, &[Event]) -> (Actions, Connection),
) {
    let mut row = row.clone();
    row.submit_in_cycle(CAPACITY, 0);
    let submitted = [begun, &[Event::done(Action::Recv)]].concat();
    assert_eq!((Actions::NONE, row.clone()), by_table(before, &submitted), "{before:?}");
    assert!(![0, CAPACITY, CAPACITY + 1].iter().any(|&bytes| row.may_land(bytes)), "{row:?}");
    for bytes in 1..CAPACITY {
        let mut row = row.clone();
        assert!(row.may_land(bytes) && !row.has_landed(bytes));
        row.land(bytes);
        let landed = [&submitted[..], &[Event::Received { bytes }]].concat();
        assert_eq!((Action::Decode.into(), row.clone()), by_table(before, &landed), "{before:?}");
        assert!(row.has_landed(bytes) && !row.has_landed(bytes - 1) && !row.may_land(bytes));
        row.release_landed();
        let released = [&landed[..], &[Event::Consumed { bytes }, Event::BufferReleased]].concat();
        let (actions, expected) = by_table(before, &released);
        assert_eq!(row, expected, "{before:?}");
        let mut plan = CyclePlan { may_submit: true, ..CyclePlan::NONE };
        let reads = row.try_go_on_in_cycle(&mut plan);
        assert_eq!(reads, actions.has(Action::RequestBuffer).then_some(1), "{before:?}");
        let Some(reads) = reads else { continue };
        let going_on = [&released[..], &[Event::BufferGranted { capacity: CAPACITY }]].concat();
        assert_eq!((Action::Recv.into(), row.in_cycle(CAPACITY, 0, reads)), by_table(before, &going_on));
    }
}

#[test]
fn others_are_left_to_the_table() {
    let rare =
        [flag::PEER_CLOSED, flag::CLOSED, flag::WAITING, flag::PAUSED, flag::ENDED, flag::IN_FLIGHT, flag::POISONED];
    for (rare, blocked) in rare.map(|rare| (rare, 0)).into_iter().chain([(0, 1)]) {
        let flags = flag::ATTACHED | rare;
        let mut idle = Connection { flags, blocked, ..Connection::default() };
        let holder = Connection { flags: flags | flag::BUFFER, buffered_bytes: 1, capacity: CAPACITY, ..idle.clone() };
        assert!(idle.try_fast_arm().is_none(), "{idle:?}");
        idle.set(flag::ARMED);
        assert!(!idle.try_begin_cycle(&mut CyclePlan::NONE.clone(), || true), "{idle:?}");
        for mut connection in [idle, holder] {
            assert_eq!((connection.try_fast_become_ready(), connection.try_fast_sync(true)), (None, None));
        }
    }
    let mut idle = Connection { flags: flag::ATTACHED, ..Connection::default() };
    assert_eq!(idle.pending(), Action::WantRecv.into());
    assert_eq!(idle.handle(Event::done(Action::StopRecv)), Err(EventError::NotPending));
    assert_eq!((idle.handle(Event::done(Action::WantRecv)), idle.is_armed()), (Ok(Actions::NONE), true));
}
