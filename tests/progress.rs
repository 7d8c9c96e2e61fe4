//! Sequences after which a connection must still find a way on, or must still come to an end of its turn.

use demuxbuf::connection::{Action, Actions, Connection, Event, Mode, Policy};
use demuxbuf::framing::h2::{Head, MAX_FRAME_SIZE_MAX};
use demuxbuf::memory::BUFFER_BYTES_DEFAULT;
use demuxbuf::pool::Outcome;
use demuxbuf::receiver::{ReceiverError, Receivers, ReceiversConfig};

/// A connection with a buffer of 100 bytes that received so many.
fn receiving(policy: Policy, bytes: u32) -> Connection {
    let mut connection = Connection::new(policy);
    tell(&mut connection, Event::Attach { level: 0, capacity: 0 });
    if connection.pending().has(Action::WantRecv) {
        tell(&mut connection, Event::done(Action::WantRecv));
    }
    tell(&mut connection, Event::Readable);
    tell(&mut connection, Event::BufferGranted { capacity: 100 });
    tell(&mut connection, Event::Received { bytes });
    connection
}

fn tell(connection: &mut Connection, event: Event) -> Actions {
    connection.handle(event).unwrap_or_else(|error| panic!("{event:?}: {error}"))
}

#[test]
fn a_decoder_short_of_data_is_fed_below_the_mark_at_which_a_full_buffer_resumes() {
    for mode in [Mode::Level, Mode::Edge, Mode::OneShot, Mode::Optimistic, Mode::Completion] {
        let mut connection = receiving(Policy { mode, resume_at: 50, ..Policy::default() }, 100);
        let actions = tell(&mut connection, Event::Consumed { bytes: 20 });
        assert!(!actions.has(Action::Recv), "{mode:?}: not enough is free to resume for its own sake");
        let actions = tell(&mut connection, Event::NeedMore { bytes: 10 });
        assert!(actions.has(Action::Recv), "{mode:?}: {actions:?}");
        assert!(!actions.has(Action::StopRecv), "{mode:?}: {actions:?}");
    }
}

#[test]
fn a_larger_place_for_what_is_buffered_is_not_full() {
    let policy = Policy { resume_at: 1000, ..Policy::default() };
    let mut connection = receiving(policy, 100);
    tell(&mut connection, Event::Block { reasons: 1 });
    assert!(!connection.is_accepting());
    let actions = tell(&mut connection, Event::BufferGranted { capacity: 200 });
    assert!(actions.has(Action::Recv), "{actions:?}");
}

#[test]
fn a_yield_while_short_of_data_or_blocked_ends_with_the_turn() {
    for mode in [Mode::Edge, Mode::Optimistic, Mode::Completion] {
        for reason in [Event::NeedMore { bytes: 10 }, Event::Block { reasons: 1 }] {
            let mut connection = receiving(Policy { mode, ..Policy::default() }, 30);
            tell(&mut connection, reason);
            let actions = tell(&mut connection, Event::Yield);
            assert!(!actions.has(Action::Recv), "{mode:?} {reason:?}: {actions:?}");
            assert!(actions.has(Action::Reschedule), "{mode:?} {reason:?}: {actions:?}");
            tell(&mut connection, Event::done(Action::Reschedule));
            let actions = tell(&mut connection, Event::Wake);
            assert!(actions.has(Action::Recv), "{mode:?} {reason:?}: {actions:?}");
        }
    }
}

#[test]
fn a_residue_that_cannot_be_parked_is_received_for() {
    for mode in [Mode::Level, Mode::Edge] {
        let mut config = ReceiversConfig { slots: 0, ..ReceiversConfig::new(1, 1) };
        config.policy.mode = mode;
        let mut receivers = Receivers::new(&config).expect("the configuration is allowed");
        let id = receivers.attach(0, 0).expect("the table has room");
        receivers.handle(id, Event::Readable).expect("attached");
        receivers.handle(id, Event::Received { bytes: 9 }).expect("there is room");
        receivers.decoded(id, 0, 100).expect("it fits");
        receivers.handle(id, Event::ReclaimRequested).expect("attached");
        let actions = receivers.handle(id, Event::Readable).expect("attached");
        assert!(actions.has(Action::Recv), "{mode:?}: {actions:?}");
        assert_eq!(receivers.receive_area(id).map(|area| area.len()), Ok(BUFFER_BYTES_DEFAULT as usize - 9));
    }
}

#[test]
fn an_element_too_large_for_any_buffer_is_reported_although_nothing_of_it_is_left() {
    for mode in [Mode::Level, Mode::Edge, Mode::OneShot, Mode::Optimistic, Mode::Completion] {
        let mut config = ReceiversConfig::new(1, 1);
        config.policy.mode = mode;
        let mut receivers = Receivers::new(&config).expect("the configuration is allowed");
        let id = receivers.attach(0, 0).expect("the table has room");
        receivers.handle(id, Event::Readable).expect("attached");
        receivers.handle(id, Event::Received { bytes: 9 }).expect("there is room");
        let actions = receivers.decoded(id, 9, BUFFER_BYTES_DEFAULT + 1).expect("as many are buffered");
        assert!(actions.has(Action::CannotFit), "{mode:?}: {actions:?}");
        receivers.handle(id, Event::done(Action::CannotFit)).expect("it is pending");
        assert!(!receivers.handle(id, Event::Readable).expect("attached").has(Action::CannotFit), "{mode:?}: once");
        let actions = receivers.handle(id, Event::Fail).expect("attached");
        assert!(actions.has(Action::Recv), "{mode:?}: what follows is received to be discarded: {actions:?}");
        receivers.handle(id, Event::Close).expect("attached");
        assert_eq!(receivers.stats().pool.leased, 0);
    }
}

#[test]
fn what_the_pool_asked_for_survives_a_sync_without_progress() {
    let policy = Policy { park_bytes: 64, ..Policy::default() };
    for (level, event, action) in [(30, Event::ReclaimRequested, Action::Park), (80, Event::LeaseExpired, Action::Shed)]
    {
        let mut connection = receiving(policy, level);
        tell(&mut connection, Event::NeedMore { bytes: 1 });
        tell(&mut connection, Event::Readable);
        assert!(tell(&mut connection, event).has(action));
        let sync = |level| Event::Sync { level, capacity: 100, blocked: 0, short: true, armed: true };
        assert!(tell(&mut connection, sync(level)).has(action), "{event:?}: nothing was decoded");
        assert!(!tell(&mut connection, sync(level - 1)).has(action), "{event:?}: something was decoded");
    }
}

#[test]
fn a_host_that_hands_each_buffer_on_comes_to_the_end_of_its_turn() {
    let mut config = ReceiversConfig::new(8, 1);
    config.policy.mode = Mode::Edge;
    let mut receivers = Receivers::new(&config).expect("the configuration is allowed");
    let id = receivers.attach(0, 0).expect("the table has room");
    let mut actions = receivers.handle(id, Event::Readable).expect("attached");
    for _ in 0..Policy::READS_PER_WAKE_DEFAULT {
        assert!(actions.has(Action::Recv), "{actions:?}");
        receivers.handle(id, Event::Received { bytes: BUFFER_BYTES_DEFAULT }).expect("there is room");
        let content = receivers.take(id).expect("a buffer is held");
        receivers.release(content.lease).expect("the lease is the host's");
        actions = receivers.pending(id).expect("attached");
    }
    assert!(!actions.has(Action::Recv), "{actions:?}");
    assert!(actions.has(Action::Reschedule), "{actions:?}");
}

#[test]
fn the_waits_of_the_host_leave_one_for_each_receiver() {
    let mut receivers = Receivers::new(&ReceiversConfig::new(1, 3)).expect("the defaults are allowed");
    assert!(matches!(receivers.request(0, 0), Ok(Outcome::Granted(_))));
    let mut waits = Vec::new();
    while let Ok(Outcome::Queued(wait)) = receivers.request(0, 0) {
        waits.push(wait);
    }
    assert_eq!((waits.len(), receivers.request(0, 0)), (3, Err(ReceiverError::TableFull)));
    for token in 0..3 {
        let id = receivers.attach(0, token).expect("the table has room");
        receivers.handle(id, Event::Readable).expect("attached");
        assert!(receivers.connection(id).expect("attached").is_waiting());
    }
    receivers.cancel(waits[0]).expect("the wait is the host's");
    assert!(matches!(receivers.request(0, 0), Ok(Outcome::Queued(_))));
    assert_eq!(receivers.check_invariants(), Ok(()));
}

#[test]
fn few_bytes_that_are_there_already_need_no_buffer() {
    let mut receivers = Receivers::new(&ReceiversConfig::new(1, 2)).expect("the defaults are allowed");
    assert!(matches!(receivers.request(0, 0), Ok(Outcome::Granted(_))));
    let id = receivers.attach_with(0, 0, b"hello").expect("a slot is free");
    assert!(receivers.pending(id).expect("attached").has(Action::Demux));
    assert_eq!(receivers.data(id), Ok(b"hello".as_slice()));
    assert_eq!(receivers.attach_with(0, 0, &[0; 65]), Err(ReceiverError::NoBufferFree));
    assert_eq!(receivers.attach_with(1, 0, b"hello"), Err(ReceiverError::UnknownClass));
    assert_eq!(receivers.check_invariants(), Ok(()));
    receivers.handle(id, Event::Consumed { bytes: 5 }).expect("as many are buffered");
    assert_eq!(receivers.stats().slots_in_use, 0);
}

#[test]
fn the_length_of_a_frame_is_counted_for_any_header() {
    let head = Head { length: u32::MAX, ..Head::default() };
    assert_eq!(head.frame_bytes(), 9 + MAX_FRAME_SIZE_MAX);
}

#[test]
fn a_blocked_decoder_stops_the_receiving_only_if_the_policy_says_so() {
    for pause_when_blocked in [false, true] {
        let mut connection = receiving(Policy { pause_when_blocked, ..Policy::default() }, 30);
        tell(&mut connection, Event::Readable);
        let actions = tell(&mut connection, Event::Block { reasons: 1 });
        assert_eq!(connection.policy().pause_when_blocked, pause_when_blocked);
        assert_eq!(
            (actions.has(Action::Recv), actions.has(Action::StopRecv)),
            (!pause_when_blocked, pause_when_blocked)
        );
        assert!(tell(&mut connection, Event::Unblock { reasons: 1 }).has(Action::Demux));
    }
}
