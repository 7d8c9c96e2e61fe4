//! Completion mode of the state machine: what a receive was submitted to is in use until its outcome.

use demuxbuf::connection::{Action, Actions, Connection, Event, EventError, Mode, Policy};

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
fn s68_stop_cancels_an_unwanted_poll() {
    let mut connection = Connection::new(Policy { mode: Mode::Completion, ..Policy::default() });
    for event in [Event::Attach { buffered_bytes: 0, capacity: 0 }, Event::WouldBlock, Event::done(Action::WantRecv)] {
        connection.handle(event).unwrap_or_else(|error| panic!("{event:?}: {error}"));
    }
    assert_eq!(connection.handle(Event::PauseRecv), Ok(Action::StopRecv.into()));
    assert_eq!(connection.handle(Event::done(Action::StopRecv)), Ok(Actions::NONE));
    assert_eq!(connection.handle(Event::ResumeRecv), Ok(Action::WantRecv.into()));
}
