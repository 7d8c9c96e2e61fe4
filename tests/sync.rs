//! What a host relies on that keeps its own buffer and flags, and reports them with `Sync`.

use demuxbuf::connection::{Action, Actions, Connection, Event, Hold, Mode, Policy};

fn report(connection: &mut Connection, event: Event) -> Actions {
    connection.handle(event).unwrap_or_else(|error| panic!("{event:?}: {error}"))
}

fn sync(buffered_bytes: u32, capacity: u32, blocked: u32, short: bool, armed: bool) -> Event {
    Event::Sync { buffered_bytes, capacity, blocked, needed_bytes: short, armed }
}

/// A connection that is to receive into a buffer of 100 bytes.
fn receiving(mode: Mode) -> Connection {
    let mut connection = Connection::new(Policy { mode, park_bytes: 16, ..Policy::default() });
    report(&mut connection, Event::Attach { buffered_bytes: 0, capacity: 0 });
    report(&mut connection, Event::Readable);
    assert!(report(&mut connection, Event::BufferGranted { capacity: 100 }).has(Action::Recv));
    connection
}

/// One-shot read interest that is armed shows that the socket ran dry.
#[test]
fn sync_armed_one_shot_ends_the_receiving() {
    for mode in [Mode::OneShot, Mode::Optimistic] {
        let mut connection = receiving(mode);
        assert_eq!(report(&mut connection, sync(10, 100, 0, false, false)), Action::Decode.into());
        assert_eq!(report(&mut connection, sync(5, 100, 0, true, true)), Action::Park.into(), "{mode:?}");
        assert_eq!(report(&mut connection, sync(0, 0, 0, false, true)), Actions::NONE, "{mode:?}");
        assert_eq!(report(&mut connection, Event::Readable), Action::RequestBuffer.into(), "{mode:?}: it reported");
    }
}

#[test]
fn sync_of_read_interest_keeps_the_queue_place() {
    let mut connection = Connection::new(Policy { mode: Mode::OneShot, ..Policy::default() });
    report(&mut connection, Event::Attach { buffered_bytes: 0, capacity: 0 });
    assert!(report(&mut connection, Event::Readable).has(Action::RequestBuffer));
    report(&mut connection, Event::BufferDenied);
    let actions = report(&mut connection, sync(0, 0, 0, false, true));
    assert!(!actions.has(Action::CancelRequest), "{actions:?}");
}

#[test]
fn sync_armed_one_shot_ends_receives_into_a_slot() {
    let mut connection = receiving(Mode::OneShot);
    report(&mut connection, sync(5, 100, 0, true, true));
    report(&mut connection, Event::BufferParked { capacity: 16 });
    report(&mut connection, Event::Readable);
    assert!(report(&mut connection, Event::BufferDenied).has(Action::Recv));
    let actions = report(&mut connection, sync(5, 16, 0, true, true));
    assert!(!actions.has(Action::Recv), "{actions:?}");
    let actions = report(&mut connection, sync(16, 16, 0, true, false));
    assert!(!actions.has(Action::Recv), "{actions:?}");
}

/// Level-triggered read interest is armed whether the socket is readable or not.
#[test]
fn sync_armed_level_is_not_readiness() {
    let mut connection = receiving(Mode::Level);
    assert!(report(&mut connection, sync(10, 100, 0, true, true)).has(Action::Recv));
}

#[test]
fn sync_keeps_parked_bytes_parked() {
    let mut connection = receiving(Mode::OneShot);
    assert!(report(&mut connection, sync(5, 100, 0, true, true)).has(Action::Park));
    report(&mut connection, Event::BufferParked { capacity: 16 });
    report(&mut connection, sync(5, 16, 0, true, true));
    assert_eq!(connection.hold(), Hold::Slot);
    assert_eq!(report(&mut connection, Event::Readable), Action::RequestBuffer.into());
    report(&mut connection, sync(5, 100, 0, true, false));
    assert_eq!(connection.hold(), Hold::Buffer, "its content is in a buffer of the host's again");
}

/// As `receiving`, with a receive in flight that the pool asks for, and that brings nothing.
fn reclaimed(hold: Event, asks: bool) -> Connection {
    let policy = Policy { mode: Mode::Completion, reclaim_bytes: 16, ..Policy::default() };
    let mut connection = Connection::new(policy);
    report(&mut connection, Event::Attach { buffered_bytes: 0, capacity: 0 });
    if let Event::BufferParked { .. } = hold {
        report(&mut connection, Event::BufferDenied);
    }
    assert!(report(&mut connection, hold).has(Action::Recv));
    report(&mut connection, Event::done(Action::Recv));
    if asks {
        report(&mut connection, Event::ReclaimRequested);
    }
    report(&mut connection, Event::WouldBlock);
    connection
}

#[test]
fn reclaim_request_ends_with_its_buffer() {
    let after = |asks| {
        let mut connection = reclaimed(Event::BufferGranted { capacity: 100 }, asks);
        report(&mut connection, sync(0, 0, 0, false, false));
        connection
    };
    assert_eq!(after(true), after(false));
}

#[test]
fn slot_reclaim_is_not_carried_to_a_buffer() {
    let after = |asks| {
        let mut connection = reclaimed(Event::BufferParked { capacity: 16 }, asks);
        let actions = report(&mut connection, sync(5, 100, 0, true, false));
        assert!(!actions.has(Action::Park), "{actions:?}");
        connection
    };
    assert_eq!(after(true), after(false));
}
