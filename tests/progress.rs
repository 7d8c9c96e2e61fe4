//! Sequences after which a connection must still find a way on, or must still come to an end of its loop iteration.

use demuxbuf::connection::{Action, Actions, Connection, Event, EventError, Mode, Policy};
use demuxbuf::framing::h2::{FrameHeader, MAX_FRAME_SIZE_MAX};
use demuxbuf::pool::{AttachOptions, Pool, PoolConfig, PoolError, ReceiverId};
use demuxbuf::scheduler::{Outcome, SchedulerError};

/// The modes of connections that are polled.
const POLLED: [Mode; 4] = [Mode::Level, Mode::OneShot, Mode::Edge, Mode::Optimistic];

/// Eight buffers of 256 bytes.
fn pool(mode: Mode, receivers_max: u32) -> Pool {
    let policy = Policy { mode, ..Policy::default() };
    let config = PoolConfig { buffer_bytes: 256, policy, waiters_max: 3, ..PoolConfig::new(8 * 256, receivers_max) };
    Pool::new(&config).expect("the configuration is allowed")
}

/// The host has every buffer that receivers do not always have.
fn exhaust(pool: &mut Pool) {
    while pool.memory().free_buffers() > 0 {
        pool.request(0, 0).expect("a buffer is free");
    }
}

/// Receives as much as there is room for, at most this number of bytes; returns how many.
fn receive(pool: &mut Pool, id: ReceiverId, bytes: u32) -> u32 {
    pool.handle(id, Event::Readable).expect("attached");
    let bytes = bytes.min(pool.receive_area(id).expect("attached").len() as u32);
    if bytes > 0 {
        pool.handle(id, Event::Received { bytes }).expect("there is room");
    }
    bytes
}

/// A connection with a buffer of 100 bytes that received this many.
fn receiving(policy: Policy, bytes: u32) -> Connection {
    let mut connection = Connection::new(policy);
    report(&mut connection, Event::Attach { buffered_bytes: 0, capacity: 0 });
    if connection.pending().has(Action::WantRecv) {
        report(&mut connection, Event::done(Action::WantRecv));
    }
    report(&mut connection, Event::Readable);
    report(&mut connection, Event::BufferGranted { capacity: 100 });
    report(&mut connection, Event::Received { bytes });
    connection
}

fn report(connection: &mut Connection, event: Event) -> Actions {
    connection.handle(event).unwrap_or_else(|error| panic!("{event:?}: {error}"))
}

/// A decoder that needs bytes is fed although fewer bytes are free than a full buffer resumes at.
#[test]
fn needed_bytes_arrive_below_the_resume_threshold() {
    for mode in Mode::ALL {
        let mut connection = receiving(Policy { mode, resume_free_bytes: 50, ..Policy::default() }, 100);
        let actions = report(&mut connection, Event::Consumed { bytes: 20 });
        assert!(!actions.has(Action::Recv), "{mode:?}: not enough is free to resume for its own sake");
        let actions = report(&mut connection, Event::NeedMore { bytes: 10 });
        assert!(actions.has(Action::Recv), "{mode:?}: {actions:?}");
        assert!(!actions.has(Action::StopRecv), "{mode:?}: {actions:?}");
    }
}

/// A host that arms read interest as soon as it finds nothing says both in one event, and is where two events lead.
#[test]
fn would_block_armed_is_would_block_and_armed() {
    for mode in Mode::ALL {
        let mut twice = receiving(Policy { mode, ..Policy::default() }, 30);
        report(&mut twice, Event::NeedMore { bytes: 10 });
        let mut once = twice.clone();
        let actions = report(&mut twice, Event::WouldBlock);
        if actions.has(Action::WantRecv) {
            report(&mut twice, Event::done(Action::WantRecv));
        }
        let actions = report(&mut once, Event::WouldBlockArmed);
        assert_eq!((actions, &once), (twice.pending(), &twice), "{mode:?}");
        assert!(once.is_armed() && !once.is_ready(), "{mode:?}");
        // Armed where it is not wanted, it is to be turned off.
        report(&mut once, Event::PauseRecv);
        report(&mut once, Event::WouldBlockArmed);
        assert!(mode == Mode::Edge || once.pending().has(Action::StopRecv), "{mode:?}");
        let detached = Connection::default().handle(Event::WouldBlockArmed);
        assert_eq!(detached, Err(EventError::NotAttached));
    }
}

#[test]
fn unpark_into_a_larger_buffer_is_not_full() {
    let policy = Policy { resume_free_bytes: 1000, ..Policy::default() };
    let mut connection = receiving(policy, 100);
    report(&mut connection, Event::Block { reasons: 1 });
    assert!(!connection.is_accepting());
    let actions = report(&mut connection, Event::BufferGranted { capacity: 200 });
    assert!(actions.has(Action::Recv), "{actions:?}");
}

/// A yield while the decoder needs bytes or is blocked ends the iteration; receiving goes on after `Wake`.
#[test]
fn yield_without_work_ends_with_the_reschedule() {
    for mode in [Mode::Edge, Mode::Optimistic, Mode::Completion] {
        for reason in [Event::NeedMore { bytes: 10 }, Event::Block { reasons: 1 }] {
            let mut connection = receiving(Policy { mode, ..Policy::default() }, 30);
            report(&mut connection, reason);
            let actions = report(&mut connection, Event::Yield);
            assert!(!actions.has(Action::Recv), "{mode:?} {reason:?}: {actions:?}");
            assert!(actions.has(Action::Reschedule), "{mode:?} {reason:?}: {actions:?}");
            report(&mut connection, Event::done(Action::Reschedule));
            let actions = report(&mut connection, Event::Wake);
            assert!(actions.has(Action::Recv), "{mode:?} {reason:?}: {actions:?}");
        }
    }
}

#[test]
fn reclaim_request_survives_a_sync() {
    let policy = Policy { park_bytes: 64, ..Policy::default() };
    for (buffered_bytes, event, action) in
        [(30, Event::ReclaimRequested, Action::Park), (80, Event::LeaseExpired, Action::Shed)]
    {
        let mut connection = receiving(policy, buffered_bytes);
        report(&mut connection, Event::NeedMore { bytes: 1 });
        report(&mut connection, Event::Readable);
        assert!(report(&mut connection, event).has(action));
        let sync =
            |buffered_bytes| Event::Sync { buffered_bytes, capacity: 100, blocked: 0, needed_bytes: true, armed: true };
        assert!(report(&mut connection, sync(buffered_bytes)).has(action), "{event:?}: nothing was decoded");
        assert!(!report(&mut connection, sync(buffered_bytes - 1)).has(action), "{event:?}: something was decoded");
    }
}

#[test]
fn frame_length_is_saturated_for_any_header() {
    let head = FrameHeader { length: u32::MAX, ..FrameHeader::default() };
    assert_eq!(head.frame_bytes(), 9 + MAX_FRAME_SIZE_MAX);
}

#[test]
fn block_stops_receiving_only_by_policy() {
    for pause_when_blocked in [false, true] {
        let mut connection = receiving(Policy { pause_when_blocked, ..Policy::default() }, 30);
        report(&mut connection, Event::Readable);
        let actions = report(&mut connection, Event::Block { reasons: 1 });
        assert_eq!(connection.policy().pause_when_blocked, pause_when_blocked);
        assert_eq!(
            (actions.has(Action::Recv), actions.has(Action::StopRecv)),
            (!pause_when_blocked, pause_when_blocked)
        );
        assert!(report(&mut connection, Event::Unblock { reasons: 1 }).has(Action::Decode));
    }
}

/// A partial frame goes on where memory is short: up to the end of its cell, and no further before there is room.
#[test]
fn partial_frame_receives_on_in_its_cell() {
    for mode in POLLED {
        let mut pool = pool(mode, 1);
        let id = pool.attach(&AttachOptions::new(0, 0)).expect("the table has room");
        assert_eq!(receive(&mut pool, id, 9), 9);
        pool.decoded(id, 0, 100).expect("it fits");
        pool.handle_timeout(0);
        exhaust(&mut pool);
        assert_eq!(receive(&mut pool, id, 100), 64 - 9, "{mode:?}");
        let actions = pool.decoded(id, 0, 45).expect("it fits");
        assert!(!actions.has(Action::Recv), "{mode:?}: {actions:?}");
        assert_eq!((receive(&mut pool, id, 100), pool.check_invariants()), (0, Ok(())), "{mode:?}");
        assert!(pool.connection(id).expect("attached").is_waiting(), "{mode:?}");
    }
}

/// A frame too large for any buffer is reported even if nothing of it is left.
#[test]
fn cannot_fit_is_reported_for_an_empty_buffer() {
    for mode in POLLED {
        let mut pool = pool(mode, 1);
        let free = pool.memory().free_buffers();
        let id = pool.attach(&AttachOptions::new(0, 0)).expect("the table has room");
        assert_eq!(receive(&mut pool, id, 9), 9);
        let actions = pool.decoded(id, 9, 257).expect("as many are buffered");
        assert!(actions.has(Action::CannotFit), "{mode:?}: {actions:?}");
        pool.handle(id, Event::done(Action::CannotFit)).expect("it is pending");
        assert!(!pool.handle(id, Event::Readable).expect("attached").has(Action::CannotFit), "{mode:?}: once");
        let actions = pool.handle(id, Event::Fail).expect("attached");
        assert!(actions.has(Action::Recv), "{mode:?}: what follows is received to be discarded: {actions:?}");
        pool.handle(id, Event::Close).expect("attached");
        assert_eq!((pool.memory().free_buffers(), pool.check_invariants()), (free, Ok(())));
    }
}

/// A host that takes each buffer as soon as it is full still reaches `Reschedule`.
#[test]
fn take_of_every_buffer_ends_the_iteration() {
    let mut pool = pool(Mode::Edge, 1);
    let id = pool.attach(&AttachOptions::new(0, 0)).expect("the table has room");
    let mut actions = pool.handle(id, Event::Readable).expect("attached");
    for _ in 0..Policy::READS_PER_WAKE_DEFAULT {
        assert!(actions.has(Action::Recv), "{actions:?}");
        pool.handle(id, Event::Received { bytes: 256 }).expect("there is room");
        let content = pool.take(id).expect("a buffer is held");
        pool.release(content.lease).expect("the lease is the host's");
        actions = pool.pending(id).expect("attached");
    }
    assert!(!actions.has(Action::Recv), "{actions:?}");
    assert!(actions.has(Action::Reschedule), "{actions:?}");
}

/// However many requests of the host's own wait, receivers wait beside them, and a full table refuses only the host.
#[test]
fn waits_of_the_host_keep_none_from_receivers() {
    let mut pool = pool(Mode::Level, 5);
    exhaust(&mut pool);
    let mut waits = Vec::new();
    while let Ok(Outcome::Queued(wait)) = pool.request(0, 0) {
        waits.push(wait);
    }
    assert_eq!((waits.len(), pool.request(0, 0)), (3, Err(SchedulerError::WaitersFull { waiters_max: 3 }.into())));
    // Four small cells are free.
    for (token, expected_bytes) in [64, 64, 64, 64, 0].into_iter().enumerate() {
        let id = pool.attach(&AttachOptions::new(0, token as u64)).expect("the table has room");
        let bytes = receive(&mut pool, id, 100);
        assert_eq!(bytes, expected_bytes);
        if bytes > 0 {
            pool.decoded(id, 0, 100).expect("it fits");
            assert_eq!(receive(&mut pool, id, 100), 0);
        }
        assert!(pool.connection(id).expect("attached").is_waiting());
    }
    pool.cancel(waits[0]).expect("the wait is the host's");
    assert!(matches!(pool.request(0, 0), Ok(Outcome::Queued(_))));
    assert_eq!(pool.check_invariants(), Ok(()));
}

/// Bytes from before the attach need a place for what a decoder may leave of them, and no more.
#[test]
fn attach_with_few_bytes_needs_no_buffer() {
    let mut pool = pool(Mode::Level, 2);
    while pool.memory().free_buffers() > 1 {
        pool.request(0, 0).expect("a buffer is free");
    }
    let id = pool.attach_with(&AttachOptions::new(0, 0), b"hello").expect("there is room");
    assert!(pool.pending(id).expect("attached").has(Action::Decode));
    assert_eq!(pool.data(id), Ok(b"hello".as_slice()));
    assert_eq!(
        pool.attach_with(&AttachOptions::new(1, 0), b"hello"),
        Err(SchedulerError::UnknownClass { class: 1, classes: 1 }.into())
    );
    pool.decoded(id, 0, 100).expect("they are buffered");
    exhaust(&mut pool);
    assert_eq!(pool.attach_with(&AttachOptions::new(0, 0), &[0; 65]), Err(PoolError::NoBufferFree));
    assert_eq!((pool.data(id), pool.check_invariants()), (Ok(b"hello".as_slice()), Ok(())));
}

/// The hang-up of a peer is reported once in most modes, and bytes may be unread: what is behind a receive, be it short
/// or not, is looked for until a receive finds nothing, or the end.
#[test]
fn closed_peer_is_received_from_until_the_end() {
    for mode in Mode::ALL {
        let mut connection = Connection::new(Policy { mode, ..Policy::default() });
        let mut on = |event| connection.handle(event).unwrap_or_else(|error| panic!("{mode:?}, {event:?}: {error}"));
        on(Event::Attach { buffered_bytes: 0, capacity: 0 });
        on(Event::WouldBlockArmed);
        assert!(on(Event::PeerClosed).has(Action::RequestBuffer), "{mode:?}: it is a report");
        on(Event::BufferGranted { capacity: 100 });
        for _ in 0..2 {
            assert_eq!(on(Event::Received { bytes: 5 }), Action::Decode.into(), "{mode:?}: read interest is as it was");
            assert!(on(Event::Consumed { bytes: 5 }).has(Action::Recv), "{mode:?}: a short receive is not the last");
        }
        assert!(!on(Event::WouldBlock).has(Action::Recv), "{mode:?}");
        assert!(on(Event::KernelFull).has(Action::Recv), "{mode:?}: it is a report");
        assert_eq!(on(Event::EndOfStream).intersection(Action::End | Action::Recv), Action::End.into(), "{mode:?}");
        // The end is known, so a late report brings nothing.
        assert!(!on(Event::PeerClosed).has(Action::Recv), "{mode:?}");
        assert!(connection.has_peer_closed());
        connection.handle(Event::Close).expect("it is open");
        connection.handle(Event::BufferReleased).expect("it has one");
        connection.handle(Event::Attach { buffered_bytes: 0, capacity: 0 }).expect("it is finished");
        assert!(!connection.has_peer_closed(), "another peer");
    }
}
