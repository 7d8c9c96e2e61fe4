//! What a host relies on that keeps its own buffer and flags, and tells the machine with `Sync`.

use demuxbuf::connection::{Action, Actions, Connection, Event, Hold, Mode, Policy};

fn tell(connection: &mut Connection, event: Event) -> Actions {
    connection.handle(event).unwrap_or_else(|error| panic!("{event:?}: {error}"))
}

fn sync(buffered_bytes: u32, capacity: u32, blocked: u32, short: bool, armed: bool) -> Event {
    Event::Sync { buffered_bytes, capacity, blocked, needed_bytes: short, armed }
}

/// A connection that is told to receive into a buffer of 100 bytes.
fn receiving(mode: Mode) -> Connection {
    let mut connection = Connection::new(Policy { mode, park_bytes: 16, ..Policy::default() });
    tell(&mut connection, Event::Attach { buffered_bytes: 0, capacity: 0 });
    tell(&mut connection, Event::Readable);
    assert!(tell(&mut connection, Event::BufferGranted { capacity: 100 }).has(Action::Recv));
    connection
}

#[test]
fn sync_armed_one_shot_ends_the_receiving() {
    for mode in [Mode::OneShot, Mode::Optimistic] {
        let mut connection = receiving(mode);
        assert_eq!(tell(&mut connection, sync(10, 100, 0, false, false)), Action::Decode.into());
        assert_eq!(tell(&mut connection, sync(5, 100, 0, true, true)), Action::Park.into(), "{mode:?}");
        assert_eq!(tell(&mut connection, sync(0, 0, 0, false, true)), Actions::NONE, "{mode:?}");
        assert_eq!(tell(&mut connection, Event::Readable), Action::RequestBuffer.into(), "{mode:?}: it reported");
    }
}

#[test]
fn sync_of_read_interest_keeps_the_queue_place() {
    let mut connection = Connection::new(Policy { mode: Mode::OneShot, ..Policy::default() });
    tell(&mut connection, Event::Attach { buffered_bytes: 0, capacity: 0 });
    assert!(tell(&mut connection, Event::Readable).has(Action::RequestBuffer));
    tell(&mut connection, Event::BufferDenied);
    let actions = tell(&mut connection, sync(0, 0, 0, false, true));
    assert!(!actions.has(Action::CancelRequest), "{actions:?}");
}

#[test]
fn sync_armed_one_shot_ends_receives_into_a_slot() {
    let mut connection = receiving(Mode::OneShot);
    tell(&mut connection, sync(5, 100, 0, true, true));
    tell(&mut connection, Event::BufferParked { capacity: 16 });
    tell(&mut connection, Event::Readable);
    assert!(tell(&mut connection, Event::BufferDenied).has(Action::Recv));
    let actions = tell(&mut connection, sync(5, 16, 0, true, true));
    assert!(!actions.has(Action::Recv), "{actions:?}");
    let actions = tell(&mut connection, sync(16, 16, 0, true, false));
    assert!(!actions.has(Action::Recv), "{actions:?}");
}

#[test]
fn sync_armed_level_is_not_readiness() {
    let mut connection = receiving(Mode::Level);
    assert!(tell(&mut connection, sync(10, 100, 0, true, true)).has(Action::Recv));
}

#[test]
fn sync_keeps_parked_bytes_parked() {
    let mut connection = receiving(Mode::OneShot);
    assert!(tell(&mut connection, sync(5, 100, 0, true, true)).has(Action::Park));
    tell(&mut connection, Event::BufferParked { capacity: 16 });
    tell(&mut connection, sync(5, 16, 0, true, true));
    assert_eq!(connection.hold(), Hold::Slot);
    assert_eq!(tell(&mut connection, Event::Readable), Action::RequestBuffer.into());
    tell(&mut connection, sync(5, 100, 0, true, false));
    assert_eq!(connection.hold(), Hold::Buffer, "its content is in a buffer of the host's again");
}

/// As `receiving`, with a receive in flight that the pool asks for, and that brings nothing.
fn reclaimed(hold: Event, asks: bool) -> Connection {
    let policy = Policy { mode: Mode::Completion, reclaim_bytes: 16, ..Policy::default() };
    let mut connection = Connection::new(policy);
    tell(&mut connection, Event::Attach { buffered_bytes: 0, capacity: 0 });
    if let Event::BufferParked { .. } = hold {
        tell(&mut connection, Event::BufferDenied);
    }
    assert!(tell(&mut connection, hold).has(Action::Recv));
    tell(&mut connection, Event::done(Action::Recv));
    if asks {
        tell(&mut connection, Event::ReclaimRequested);
    }
    tell(&mut connection, Event::WouldBlock);
    connection
}

#[test]
fn reclaim_request_ends_with_its_buffer() {
    let after = |asks| {
        let mut connection = reclaimed(Event::BufferGranted { capacity: 100 }, asks);
        tell(&mut connection, sync(0, 0, 0, false, false));
        connection
    };
    assert_eq!(after(true), after(false));
}

#[test]
fn slot_reclaim_is_not_carried_to_a_buffer() {
    let after = |asks| {
        let mut connection = reclaimed(Event::BufferParked { capacity: 16 }, asks);
        let actions = tell(&mut connection, sync(5, 100, 0, true, false));
        assert!(!actions.has(Action::Park), "{actions:?}");
        connection
    };
    assert_eq!(after(true), after(false));
}
