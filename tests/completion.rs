//! Receives that are submitted and complete later: what they go to is in use until then.

use demuxbuf::connection::{Action, Actions, Connection, Event, EventError, Mode, Policy};
use demuxbuf::pool::{AttachOptions, Notice, Pool, PoolConfig, PoolError, ReceiverId};
use demuxbuf::scheduler::SchedulerError;

fn pool(buffers: u32) -> Pool {
    let mut config = PoolConfig::new(buffers, 4);
    config.buffer_bytes = 256;
    config.policy.mode = Mode::Completion;
    config.scheduler.lease_ns = Some(1_000);
    Pool::new(&config).expect("the configuration is allowed")
}

/// Submits a receive; returns where it goes, as the system would keep it.
fn submit(pool: &mut Pool, id: ReceiverId) -> *mut u8 {
    let area = pool.receive_area(id).expect("the handle is live").as_mut_ptr();
    let actions = pool.handle(id, Event::done(Action::Recv)).expect("a receive is pending");
    assert!(!actions.has(Action::Recv), "one at a time");
    assert!(pool.receive_area(id).expect("the handle is live").is_empty(), "nothing more is offered");
    area
}

fn attach(pool: &mut Pool, token: u64) -> ReceiverId {
    let id = pool.attach(&AttachOptions::new(0, token)).expect("there is room");
    assert!(pool.pending(id).expect("it is live").has(Action::Recv), "completion receives without an event");
    id
}

fn only_granted(pool: &mut Pool) -> (ReceiverId, Actions) {
    let Some(Notice::Receiver { id, actions, .. }) = pool.poll_notice() else {
        panic!("a receiver has a notice");
    };
    assert_eq!(pool.poll_notice(), None);
    pool.check_invariants().expect("the invariants hold");
    (id, actions)
}

/// Memory that the kernel may write to is not released, parked or lent.
#[test]
fn in_flight_memory_is_not_released_or_parked() {
    let mut pool = pool(2);
    let id = attach(&mut pool, 1);
    submit(&mut pool, id);
    let in_flight = |pool: &Pool| pool.connection(id).expect("it is live").is_in_flight();
    for event in [Event::PauseRecv, Event::ReclaimRequested, Event::LeaseExpired, Event::Fail, Event::Wake] {
        let actions = pool.handle(id, event).expect("the event is allowed");
        assert!(!actions.has(Action::Recv));
        assert_eq!((pool.stats().scheduler.leased, in_flight(&pool)), (1, true), "{event:?}");
    }
    assert_eq!(pool.take(id), Err(EventError::InFlight.into()));
    assert_eq!(pool.grow(id, 1), Err(SchedulerError::UnknownSize { size_index: 1 }.into()));
    assert!(pool.pending(id).expect("it is live").has(Action::StopRecv), "the host is asked to cancel it");
    let actions = pool.handle(id, Event::done(Action::StopRecv)).expect("it is pending");
    assert!(!actions.has(Action::StopRecv), "and is not asked twice");
    pool.handle(id, Event::WouldBlock).expect("the outcome of the cancelled receive");
    assert_eq!(pool.stats().scheduler.leased, 0, "the buffer is released");
    pool.check_invariants().expect("the invariants hold");
}

#[test]
fn closed_connection_keeps_its_buffer_in_flight() {
    for outcome in [Event::Received { bytes: 9 }, Event::WouldBlock, Event::EndOfStream, Event::TransportError] {
        let mut pool = pool(1);
        let id = attach(&mut pool, 1);
        submit(&mut pool, id);
        let actions = pool.handle(id, Event::Close).expect("close is always allowed");
        assert_eq!(actions, Action::StopRecv.into(), "{outcome:?}");
        let other = pool.attach(&AttachOptions::new(0, 2)).expect("there is room");
        assert!(!pool.pending(other).expect("it is live").has(Action::RequestBuffer));
        assert_eq!((pool.stats().scheduler.leased, pool.stats().scheduler.waiting), (1, 1));
        pool.check_invariants().expect("the invariants hold");
        let actions = pool.handle(id, outcome).expect("the outcome is allowed after close");
        assert!(actions.has(Action::Finished), "{outcome:?}");
        assert_eq!(pool.pending(id), Err(PoolError::Stale), "the handle has ended");
        let (granted, actions) = only_granted(&mut pool);
        assert!(granted == other && actions.has(Action::Recv), "the next waiter has it in the same step");
        let stats = pool.stats();
        assert_eq!(stats.received_bytes, stats.dropped_bytes, "late bytes are counted as dropped");
    }
}

/// Bytes land behind the content that was there when the receive was submitted, even if that content was decoded since.
#[test]
fn receive_in_flight_appends_at_its_submitted_place() {
    let mut pool = pool(1);
    let id = attach(&mut pool, 1);
    pool.receive_area(id).expect("it is live")[..100].fill(b'a');
    pool.handle(id, Event::Received { bytes: 100 }).expect("there is room");
    pool.handle(id, Event::Block { reasons: 1 }).expect("it is open");
    let area = submit(&mut pool, id);
    pool.handle(id, Event::Unblock { reasons: 1 }).expect("it is open");
    // All that was there is decoded before the receive is complete.
    pool.decoded(id, 60, 0).expect("100 are there");
    pool.decoded(id, 40, 0).expect("40 are there");
    assert_eq!((pool.stats().scheduler.leased, pool.data(id).map(<[u8]>::len)), (1, Ok(0)));
    // SAFETY: the buffer is still the receiver's, and nothing borrows it.
    #[allow(unsafe_code, reason = "the test writes as the system would")]
    unsafe {
        area.copy_from_nonoverlapping(b"later".as_ptr(), 5);
    }
    pool.handle(id, Event::Received { bytes: 5 }).expect("there was room for 156");
    assert_eq!(pool.data(id), Ok(b"later".as_slice()));
    pool.check_invariants().expect("the invariants hold");
}

#[test]
fn grant_waits_for_the_receive_into_a_lifeline() {
    for taken_back in [false, true] {
        let mut pool = pool(1);
        let holder = pool.request(0, 9).expect("a buffer is free");
        let demuxbuf::scheduler::Outcome::Granted(lease) = holder else { panic!("it is granted at once") };
        let id = attach(&mut pool, 1);
        let area = submit(&mut pool, id);
        pool.release(lease).expect("it is held");
        let (granted, actions) = only_granted(&mut pool);
        assert_eq!((granted, actions), (id, Action::StopRecv.into()), "the slot is in use until the outcome");
        let other = attach_waiting(&mut pool);
        if taken_back {
            pool.handle(id, Event::done(Action::StopRecv)).expect("it is pending");
            pool.handle(id, Event::WouldBlock).expect("the outcome");
            pool.handle(id, Event::Readable).expect("it is open");
        } else {
            // SAFETY: the slot is still the receiver's, and nothing borrows it.
            #[allow(unsafe_code, reason = "the test writes as the system would")]
            unsafe {
                area.copy_from_nonoverlapping(b"late".as_ptr(), 4);
            }
            let actions = pool.handle(id, Event::Received { bytes: 4 }).expect("a slot has room for 64");
            assert!(actions.has(Action::Decode));
            assert_eq!(pool.data(id), Ok(b"late".as_slice()));
            assert_eq!(pool.connection(id).map(Connection::capacity), Ok(256), "it is in the buffer now");
        }
        pool.check_invariants().expect("the invariants hold");
        pool.handle(id, Event::Close).expect("close is always allowed");
        pool.handle(other, Event::Close).expect("close is always allowed");
        assert_eq!((pool.stats().scheduler.leased, pool.stats().slots_in_use), (0, 0));
    }
}

fn attach_waiting(pool: &mut Pool) -> ReceiverId {
    let id = pool.attach(&AttachOptions::new(0, 2)).expect("there is room");
    assert!(pool.connection(id).expect("it is live").is_waiting());
    id
}

/// A grant that cannot be used yet goes to the next waiter when its receiver closes.
#[test]
fn deferred_grant_passes_on_when_receiver_closes() {
    let mut pool = pool(1);
    let demuxbuf::scheduler::Outcome::Granted(lease) = pool.request(0, 9).expect("a buffer is free") else {
        panic!("it is granted at once")
    };
    let id = attach(&mut pool, 1);
    submit(&mut pool, id);
    let next = attach_waiting(&mut pool);
    pool.release(lease).expect("it is held");
    assert_eq!(only_granted(&mut pool).0, id);
    let actions = pool.handle(id, Event::Close).expect("close is always allowed");
    assert!(!actions.has(Action::Finished), "its slot is in use");
    assert_eq!(only_granted(&mut pool).0, next, "the buffer is passed on");
    assert!(pool.handle(id, Event::WouldBlock).expect("the outcome").has(Action::Finished));
    pool.check_invariants().expect("the invariants hold");
}

#[test]
fn idle_receive_returns_its_buffer_while_others_wait() {
    let mut pool = pool(1);
    let id = attach(&mut pool, 1);
    submit(&mut pool, id);
    let other = attach_waiting(&mut pool);
    // The first advance is the origin.
    pool.handle_timeout(0);
    (0..8).for_each(|_| pool.handle_timeout(pool.poll_timeout().expect("a request waits")));
    assert_eq!(only_granted(&mut pool), (id, Action::StopRecv.into()));
    pool.handle(id, Event::done(Action::StopRecv)).expect("it is pending");
    pool.handle(id, Event::WouldBlock).expect("the outcome");
    assert_eq!(only_granted(&mut pool).0, other);
    assert!(!pool.pending(id).expect("it was not shed").has(Action::Shed));
}

#[test]
fn submit_is_for_completion_mode_only() {
    for mode in [Mode::Level, Mode::Edge, Mode::OneShot, Mode::Optimistic] {
        let mut connection = Connection::new(Policy { mode, ..Policy::default() });
        connection.handle(Event::Attach { buffered_bytes: 0, capacity: 64 }).expect("it is not attached");
        assert!(connection.handle(Event::Readable).expect("it is open").has(Action::Recv));
        assert_eq!(connection.handle(Event::done(Action::Recv)), Err(EventError::NotPending));
    }
    let mut connection = Connection::new(Policy { mode: Mode::Completion, ..Policy::default() });
    connection.handle(Event::Attach { buffered_bytes: 8, capacity: 64 }).expect("it is not attached");
    assert_eq!(connection.handle(Event::done(Action::Recv)), Err(EventError::NotPending), "decode first");
    connection.handle(Event::NeedMore { bytes: 1 }).expect("it is open");
    connection.handle(Event::done(Action::Recv)).expect("it is pending");
    let before = connection.clone();
    let sync = Event::Sync { buffered_bytes: 8, capacity: 128, blocked: 0, needed_bytes: true, armed: false };
    for event in [
        Event::BufferReleased,
        Event::BufferParked { capacity: 64 },
        Event::BufferGranted { capacity: 128 },
        Event::done(Action::Recv),
        sync,
    ] {
        let refused = if matches!(event, Event::Done(_)) { EventError::NotPending } else { EventError::InFlight };
        assert_eq!(connection.handle(event), Err(refused), "{event:?}");
        assert_eq!(connection, before);
    }
}

/// A slot is not decoded while a receive goes to behind its content.
#[test]
fn slot_is_not_decoded_while_a_receive_is_in_flight() {
    let mut connection = Connection::new(Policy { mode: Mode::Completion, ..Policy::default() });
    for event in [
        Event::Attach { buffered_bytes: 8, capacity: 64 },
        Event::NeedMore { bytes: 1 },
        Event::BufferParked { capacity: 16 },
        Event::BufferDenied,
        Event::done(Action::Recv),
    ] {
        connection.handle(event).unwrap_or_else(|error| panic!("{event:?}: {error}"));
    }
    assert_eq!(connection.handle(Event::Consumed { bytes: 1 }), Err(EventError::InFlight));
    connection.handle(Event::Consumed { bytes: 0 }).expect("nothing moves");
    connection.handle(Event::Received { bytes: 8 }).expect("there is room");
    connection.handle(Event::Consumed { bytes: 1 }).expect("it is complete");
}

#[test]
fn closed_connection_finishes_with_its_outcome_only() {
    let mut connection = Connection::new(Policy { mode: Mode::Completion, ..Policy::default() });
    for event in [Event::Attach { buffered_bytes: 0, capacity: 64 }, Event::done(Action::Recv), Event::Close] {
        connection.handle(event).unwrap_or_else(|error| panic!("{event:?}: {error}"));
    }
    for event in [Event::Readable, Event::Wake, Event::PauseRecv, Event::ReclaimRequested, Event::Close] {
        let actions = connection.handle(event).unwrap_or_else(|error| panic!("{event:?}: {error}"));
        assert!(connection.is_in_flight() && !actions.has(Action::ReleaseBuffer), "{event:?}: {actions:?}");
    }
    assert!(connection.handle(Event::WouldBlock).expect("the outcome").has(Action::ReleaseBuffer));
}

/// Two reasons to take a receive back ask for one cancellation.
#[test]
fn cancel_is_requested_once_for_two_reasons() {
    let stops = |events: &[Event]| {
        let mut connection = Connection::new(Policy { mode: Mode::Completion, ..Policy::default() });
        for &event in events {
            connection.handle(event).unwrap_or_else(|error| panic!("{event:?}: {error}"));
        }
        connection.pending().has(Action::StopRecv)
    };
    let into_buffer = [Event::Attach { buffered_bytes: 0, capacity: 64 }, Event::done(Action::Recv)];
    assert!(!stops(&into_buffer));
    // Others wait for the buffer, and the host wants no reading.
    assert!(stops(&[&into_buffer[..], &[Event::ReclaimRequested]].concat()));
    assert!(stops(&[&into_buffer[..], &[Event::PauseRecv, Event::ReclaimRequested]].concat()));
    let into_slot = [
        Event::Attach { buffered_bytes: 8, capacity: 64 },
        Event::NeedMore { bytes: 1 },
        Event::BufferParked { capacity: 16 },
        Event::BufferDenied,
        Event::done(Action::Recv),
    ];
    assert!(!stops(&into_slot));
    // What is in the slot could be decoded, and the host wants no reading.
    let decodable = Event::Sync { buffered_bytes: 8, capacity: 16, blocked: 0, needed_bytes: false, armed: false };
    assert!(stops(&[&into_slot[..], &[decodable]].concat()));
    assert!(stops(&[&into_slot[..], &[Event::PauseRecv, decodable]].concat()));
    // What is in it is blocked, so that no more of it is received.
    assert!(stops(&[&into_slot[..], &[Event::Block { reasons: 1 }]].concat()));
}

/// Every way to a receive that was cancelled as asked and brought nothing: the host is asked to submit a poll, at once
/// or as soon as reading is allowed again.
#[test]
fn s68_cancelled_receive_leaves_a_poll_pending() {
    let into_buffer = [Event::Attach { buffered_bytes: 0, capacity: 64 }, Event::done(Action::Recv)];
    let pause = Policy { pause_when_blocked: true, ..Policy::default() };
    let cases: [(Policy, &[Event], Option<Event>); 5] = [
        (Policy::default(), &[Event::ReclaimRequested], None),
        (Policy::default(), &[Event::LeaseExpired], None),
        (Policy::default(), &[Event::PauseRecv], Some(Event::ResumeRecv)),
        (Policy::default(), &[Event::PauseRecv, Event::ReclaimRequested], Some(Event::ResumeRecv)),
        (pause, &[Event::Block { reasons: 1 }], Some(Event::Unblock { reasons: 1 })),
    ];
    for (policy, reasons, again) in cases {
        let mut connection = Connection::new(Policy { mode: Mode::Completion, ..policy });
        for &event in into_buffer.iter().chain(reasons) {
            connection.handle(event).unwrap_or_else(|error| panic!("{event:?}: {error}"));
        }
        assert!(connection.pending().has(Action::StopRecv), "{reasons:?}");
        connection.handle(Event::done(Action::StopRecv)).expect("it is pending");
        let mut actions = connection.handle(Event::WouldBlock).expect("the outcome");
        assert!(actions.has(Action::ReleaseBuffer) && !actions.has(Action::Recv), "{reasons:?}: {actions:?}");
        actions = connection.handle(Event::BufferReleased).expect("it is held");
        if let Some(again) = again {
            assert!(actions.is_empty(), "{reasons:?}: {actions:?}");
            actions = connection.handle(again).expect("it is open");
        }
        assert_eq!(actions, Action::WantRecv.into(), "{reasons:?}: submit a poll");
        // The poll is submitted, completes, and the next receive needs a buffer.
        actions = connection.handle(Event::done(Action::WantRecv)).expect("it is pending");
        assert!(actions.is_empty() && connection.is_armed(), "{reasons:?}");
        actions = connection.handle(Event::Readable).expect("it is open");
        assert!(actions == Action::RequestBuffer.into() && !connection.is_armed(), "{reasons:?}: {actions:?}");
    }
}

#[test]
fn s68_idle_receivers_poll_and_all_are_served() {
    let mut pool = pool(1);
    let ids: Vec<ReceiverId> = (0..4).map(|token| attach_idle(&mut pool, token)).collect();
    assert_eq!(pool.stats().scheduler.leased, 0, "an idle connection that polls holds nothing");
    let mut now_ns = 0;
    for _ in 0..3 {
        for &id in &ids {
            assert!(pool.handle(id, Event::Readable).expect("its poll completed").has(Action::Recv));
            submit(&mut pool, id);
            let other = ids.iter().copied().find(|&other| other != id).expect("there are four");
            pool.handle(other, Event::Readable).expect("its poll completed");
            while let Some(due_ns) = pool.poll_timeout().filter(|&due_ns| due_ns > now_ns) {
                now_ns = due_ns;
                pool.handle_timeout(now_ns);
            }
            assert_eq!(only_granted(&mut pool), (id, Action::StopRecv.into()));
            pool.handle(id, Event::done(Action::StopRecv)).expect("it is pending");
            let actions = pool.handle(id, Event::WouldBlock).expect("the outcome");
            assert_eq!(actions, Action::WantRecv.into(), "submit a poll");
            pool.handle(id, Event::done(Action::WantRecv)).expect("it is pending");
            let (granted, actions) = only_granted(&mut pool);
            assert!(granted == other && actions.has(Action::Recv));
            let actions = pool.handle(other, Event::WouldBlock).expect("there was nothing");
            assert_eq!(actions, Action::WantRecv.into());
            pool.handle(other, Event::done(Action::WantRecv)).expect("it is pending");
            assert_eq!(pool.stats().scheduler.leased, 0);
        }
    }
    pool.check_invariants().expect("the invariants hold");
}

/// Attaches a connection; its host polls before it receives.
fn attach_idle(pool: &mut Pool, token: u64) -> ReceiverId {
    let id = attach(pool, token);
    let actions = pool.handle(id, Event::WouldBlock).expect("it is live");
    assert_eq!(actions, Action::WantRecv.into(), "submit a poll");
    pool.handle(id, Event::done(Action::WantRecv)).expect("it is pending");
    id
}

#[test]
fn s68_stop_cancels_an_unwanted_poll() {
    let mut connection = Connection::new(Policy { mode: Mode::Completion, ..Policy::default() });
    for event in [Event::Attach { buffered_bytes: 0, capacity: 0 }, Event::WouldBlock, Event::done(Action::WantRecv)] {
        connection.handle(event).unwrap_or_else(|error| panic!("{event:?}: {error}"));
    }
    assert_eq!(connection.handle(Event::PauseRecv), Ok(Action::StopRecv.into()));
    assert_eq!(connection.handle(Event::done(Action::StopRecv)), Ok(Actions::NONE));
    assert_eq!(connection.handle(Event::ResumeRecv), Ok(Action::WantRecv.into()));
}
