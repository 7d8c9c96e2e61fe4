//! Receivers that count, where what their decoder may leave has no place: a frame is decoded while it stays in the
//! kernel, and what was consumed is received away.

use crate::counting::{COUNTING_MODES, Case, attach, lease_all, policy};
use crate::{MS, pool_of_eight_with};
use demuxbuf::connection::{Action, Actions, Event, EventError, Mode};
use demuxbuf::pool::PoolError;
use demuxbuf_testkit::in_modes;

const LOOK: [Action; 2] = [Action::Peek, Action::RecvWhole];
const AWAY: [Action; 3] = [Action::Recv, Action::RecvWhole, Action::Discard];

/// Read interest aside, which is armed anew where it reports once.
fn is(actions: Actions, expected: &[Action]) -> bool {
    let expected = expected.iter().fold(Actions::NONE, |all, &action| all | action);
    actions.without(Action::StopRecv | Action::WantRecv) == expected
}

/// A case whose frame of this length is whole in the kernel, and is looked at.
fn looked_at(mode: Mode, bytes: u32) -> Case {
    let mut case = Case::new(mode);
    case.look();
    case.see(bytes);
    assert!(is(case.on(Event::Received { bytes }), &[Action::Decode]), "it is decoded where it is looked at");
    case
}

/// The host receives what was decoded.
fn receive_away(case: &mut Case, bytes: u32) -> Actions {
    assert_eq!(case.area(), bytes as usize);
    case.on(Event::Received { bytes })
}

#[test]
fn what_is_decoded_is_received_away() {
    in_modes(&COUNTING_MODES, |mode| {
        let mut case = looked_at(mode, 200);
        assert_eq!(case.pool.counts().received_bytes, 0, "it is in the kernel");
        let actions = case.decoded(200, 0);
        assert!(is(actions, &AWAY), "{mode:?}: {actions}");
        assert_eq!((case.pool.counts().received_bytes, case.facts().owed_bytes), (200, 200));
        let next: &[Action] = if mode == Mode::Level { &[] } else { &[Action::Peek] };
        let actions = receive_away(&mut case, 200);
        assert!(is(actions, next), "{mode:?}: {actions}");
        assert_eq!((case.facts().kept_bytes, case.facts().owed_bytes), (0, 0));
    });
}

/// It may take several receives.
#[test]
fn bytes_are_owed_until_all_are_received() {
    let mut case = looked_at(Mode::Level, 200);
    case.decoded(200, 0);
    assert!(is(receive_away_part(&mut case, 200, 150), &AWAY));
    assert_eq!(case.pool.handle(case.id, Event::Received { bytes: 51 }), Err(PoolError::TooManyBytes));
    assert_eq!(case.pool.handle(case.id, Event::Received { bytes: 0 }), Err(EventError::ZeroBytes.into()));
    assert!(is(receive_away(&mut case, 50), &[]));
}

fn receive_away_part(case: &mut Case, owed: usize, bytes: u32) -> Actions {
    assert_eq!(case.area(), owed);
    case.on(Event::Received { bytes })
}

/// What the decoder needs more of is looked at again from its beginning, with what it needs.
#[test]
fn rest_of_a_frame_is_awaited_under_a_mark() {
    in_modes(&COUNTING_MODES, |mode| {
        let mut case = looked_at(mode, 60);
        let actions = case.decoded(0, 100);
        assert!(is(actions, &LOOK), "{mode:?}: {actions}");
        assert_eq!((case.area(), case.facts().kept_bytes), (160, 0));
        case.wait(160);
        assert!(is(case.on(Event::Readable), &LOOK));
        case.on(Event::Received { bytes: 160 });
        // A frame, and the beginning of the next one.
        assert!(is(case.decoded(150, 70), &AWAY));
        assert!(is(receive_away(&mut case, 150), &LOOK));
        assert_eq!(case.area(), 80);
    });
}

/// Decoders that go on step by step get eight looks in one borrow.
#[test]
fn looks_of_a_borrow_are_limited() {
    let mut case = looked_at(Mode::Level, 10);
    for step in 1..8 {
        assert!(is(case.decoded(0, 10), &LOOK));
        assert_eq!(case.area(), 10 * (step + 1));
        case.on(Event::Received { bytes: 10 * (step as u32 + 1) });
    }
    // The next borrow begins with the header.
    assert!(is(case.decoded(0, 10), &[Action::Peek]));
    assert_eq!((case.facts().kept_bytes, case.area()), (0, 64));
}

/// What waits for the host waits in the kernel, and is not looked at meanwhile.
#[test]
fn blocked_decoder_leaves_its_frame_in_the_kernel() {
    in_modes(&COUNTING_MODES, |mode| {
        let mut case = looked_at(mode, 200);
        let actions = case.on(Event::Block { reasons: 1 });
        assert!(is(actions, &[]), "{mode:?}: {actions}");
        assert!(mode == Mode::Edge || !actions.has(Action::WantRecv), "{mode:?}: it would be reported always");
        assert_eq!((case.facts().kept_bytes, case.facts().held_since_ns, case.awaited()), (0, None, 0));
        if actions.has(Action::StopRecv) {
            case.on(Event::done(Action::StopRecv));
        }
        case.advance(10_000 * MS);
        assert_eq!(case.notice(), None, "nothing is evicted, and nothing is late");
        let actions = case.on(Event::Readable);
        assert!(is(actions, &[]), "{mode:?}: {actions}");
        assert!(is(case.on(Event::Unblock { reasons: 1 }), &[Action::Peek]));
        assert!(is(case.decoded(0, 200), &LOOK));
        case.on(Event::Received { bytes: 200 });
        assert!(is(case.decoded(200, 0), &AWAY));
        receive_away(&mut case, 200);
    });
}

/// A part may be decoded before the host blocks.
#[test]
fn what_was_decoded_before_a_block_is_received_away() {
    let mut case = looked_at(Mode::Level, 200);
    assert_eq!(case.on(Event::Consumed { bytes: 120 }), Action::Decode.into());
    assert!(is(case.on(Event::Block { reasons: 1 }), &AWAY));
    assert!(is(receive_away(&mut case, 120), &[]));
    assert_eq!(case.facts().kept_bytes, 0);
    case.on(Event::Unblock { reasons: 1 });
    case.see(80);
}

/// A host that yields comes back in the next iteration.
#[test]
fn yield_lasts_until_the_next_iteration() {
    in_modes(&COUNTING_MODES, |mode| {
        let mut case = looked_at(mode, 200);
        assert_eq!(case.on(Event::Yield).without(Action::WantRecv.into()), Action::Reschedule.into(), "{mode:?}");
        case.on(Event::done(Action::Reschedule));
        assert_eq!(case.pool.pending(case.id).map(|actions| actions.has(Action::Peek)), Ok(false));
        assert_eq!(case.on(Event::Wake).without(Action::WantRecv.into()), Action::Peek.into(), "{mode:?}");
        case.see(200);
    });
}

/// A host that decodes after the clock was advanced looks again.
#[test]
fn look_ends_with_the_iteration() {
    let mut case = looked_at(Mode::Level, 200);
    case.advance(1);
    assert_eq!(case.pool.data(case.id).map(<[u8]>::len), Ok(0));
    assert_eq!(case.on(Event::Wake).without(Action::WantRecv.into()), Action::Peek.into());
    case.see(200);
}

/// What is kept is in front of what is looked at, and stays in its cell.
#[test]
fn kept_bytes_are_in_front() {
    let mut pool = pool_of_eight_with(policy(Mode::Level), 0);
    pool.handle_timeout(0);
    let id = attach(&mut pool);
    pool.handle(id, Event::Readable).expect("it is attached");
    pool.receive_area(id).expect("it is attached")[..100].fill(1);
    pool.handle(id, Event::Received { bytes: 100 }).expect("there is room");
    pool.decoded(id, 0, 50).expect("they are buffered");
    lease_all(&mut pool);
    assert!(is(pool.handle(id, Event::Readable).expect("it is attached"), &LOOK));
    pool.receive_area(id).expect("it is attached").fill(2);
    pool.handle(id, Event::Received { bytes: 50 }).expect("they are there");
    assert_eq!(pool.data(id), Ok(&[[1; 100].as_slice(), &[2; 50]].concat()[..]));
    // A frame of 70 bytes, and a part of the next one.
    let actions = pool.decoded(id, 70, 60).expect("they are buffered");
    assert!(is(actions, &LOOK), "{actions}");
    assert_eq!((pool.data(id).map(<[u8]>::len), pool.recv_min(id)), (Ok(30), Ok(110)));
    pool.handle(id, Event::Received { bytes: 110 }).expect("they are there");
    assert!(is(pool.decoded(id, 140, 0).expect("they are buffered"), &AWAY));
    assert_eq!(pool.recv_min(id), Ok(110), "what was kept was received before");
    assert_eq!(pool.check_invariants(), Ok(()));
}

/// What makes no sense is refused, and changes nothing.
#[test]
fn calls_out_of_order_are_refused() {
    let mut case = Case::new(Mode::Completion);
    case.look();
    case.see(200);
    assert_eq!(case.pool.handle(case.id, Event::Received { bytes: 199 }), Err(PoolError::LookedAt));
    assert_eq!(case.pool.handle(case.id, Event::Received { bytes: 201 }), Err(EventError::TooManyBytes.into()));
    assert_eq!(case.pool.handle(case.id, Event::done(Action::Recv)), Err(EventError::NotPending.into()));
    case.on(Event::Received { bytes: 200 });
    assert_eq!(
        case.pool.handle(case.id, Event::EndOfStream),
        Err(PoolError::LookedAt),
        "there is something to receive"
    );
    assert_eq!(case.pool.take(case.id).map(drop), Err(PoolError::LookedAt));
    case.decoded(200, 0);
    for event in [Event::WouldBlock, Event::WouldBlockArmed] {
        assert_eq!(case.pool.handle(case.id, event), Err(PoolError::LookedAt), "{event:?}");
    }
    assert_eq!(case.pool.handle(case.id, Event::done(Action::Recv)), Err(EventError::NotPending.into()));
    assert_eq!(case.pool.handle(case.id, Event::Consumed { bytes: 1 }), Err(EventError::TooManyBytes.into()));
    assert_eq!(case.pool.take(case.id).map(drop), Err(PoolError::LookedAt));
    // One that does not count any more owes them all the same.
    case.pool.set_policy(case.id, &demuxbuf::connection::Policy::default()).expect("it is allowed");
    assert_eq!(case.pool.deliver(case.id, b"bytes").map(drop), Err(PoolError::LookedAt));
    assert!(is(case.pool.pending(case.id).expect("it is attached"), &AWAY));
    receive_away(&mut case, 200);
}

/// The end of the transport, or of the receiver, ends what it owes.
#[test]
fn nothing_is_owed_after_an_end() {
    let mut case = looked_at(Mode::Level, 200);
    case.decoded(200, 0);
    assert_eq!(case.on(Event::TransportError).without(Action::StopRecv.into()), Action::End.into());
    assert_eq!(case.facts().owed_bytes, 0);
    // A host may see the failure when it sends what it decodes.
    let mut case = looked_at(Mode::Level, 200);
    case.on(Event::Consumed { bytes: 50 });
    assert_eq!(case.on(Event::TransportError).without(Action::StopRecv.into()), Action::End.into());
    assert_eq!((case.facts().owed_bytes, case.facts().kept_bytes), (0, 0));
    let mut case = looked_at(Mode::Level, 200);
    case.on(Event::Consumed { bytes: 50 });
    assert_eq!(case.pool.handle(case.id, Event::Close), Ok(Action::Finished.into()));
    let counts = case.pool.counts();
    assert_eq!((counts.received_bytes, counts.dropped_bytes), (50, 0), "what was not decoded was not received");
}

/// A host that decodes before it reports does not decode what it receives away.
#[test]
fn both_halves_in_one_call_decode_once() {
    let mut case = Case::new(Mode::Level);
    case.look();
    case.see(200);
    let actions = case.pool.received_and_decoded(case.id, 200).expect("they are there");
    assert!(is(actions, &AWAY), "{actions}");
    let actions = case.pool.received_and_decoded(case.id, 200).expect("they are there");
    assert!(is(actions, &[]), "{actions}");
    assert_eq!((case.pool.counts().received_bytes, case.pool.counts().consumed_bytes), (200, 200));
    case.check();
}

/// A decoder that fails leaves what it did not decode; what it decoded is received away.
#[test]
fn failed_decoder_looks_no_more() {
    let mut case = looked_at(Mode::Level, 200);
    case.on(Event::Consumed { bytes: 50 });
    assert!(is(case.on(Event::Fail), &AWAY));
    let actions = receive_away(&mut case, 50);
    assert!(!actions.has(Action::Peek) && !actions.has(Action::RecvWhole), "{actions}");
}

/// A frame that fits into no buffer is shown as one, and stays in the kernel.
#[test]
fn frame_that_turns_out_too_long_stays_in_the_kernel() {
    let mut case = looked_at(Mode::Level, 200);
    let actions = case.decoded(0, 100);
    assert!(is(actions, &[Action::CannotFit]), "{actions}");
    assert_eq!(case.facts().kept_bytes, 0);
}

/// Of a frame that fits into no buffer the host can receive the header, and pass on what follows in pieces.
#[test]
fn frame_that_is_too_long_passes_in_pieces() {
    in_modes(&COUNTING_MODES, |mode| {
        let mut case = Case::new(mode);
        case.look();
        let actions = case.decoded(0, 300);
        assert!(is(actions, &[Action::CannotFit]), "{mode:?}: {actions}");
        assert_eq!((case.facts().kept_bytes, case.pool.counts().received_bytes), (0, 0), "all is in the kernel");
        let capacity = case.pool.connection(case.id).expect("it is attached").capacity();
        assert_eq!(capacity, 256, "no buffer is larger");
        let nothing = Err(PoolError::Event(EventError::ZeroBytes));
        assert_eq!((case.pool.decoded(case.id, 0, 0), case.pool.pending(case.id)), (nothing, Ok(actions)), "{mode:?}");
        let actions = case.decoded(0, 9);
        assert!(is(actions, &[Action::Peek]), "{mode:?}: {actions}");
        let again = (case.pool.decoded(case.id, 0, 300), case.pool.pending(case.id));
        assert_eq!(again, (Err(PoolError::TooManyBytes), Ok(actions)), "{mode:?}: it would never end");
        pass_piece(&mut case, 9);
        pass_piece(&mut case, 256);
        pass_piece(&mut case, 35);
        let counts = case.pool.counts();
        assert_eq!((counts.received_bytes, counts.consumed_bytes), (300, 300));
        assert_eq!((case.facts().kept_bytes, case.pool.totals().claims), (0, 0), "{mode:?}");
    });
}

/// The decoder looks, can use this number of bytes, and consumes them.
fn pass_piece(case: &mut Case, bytes: u32) {
    if !case.pool.pending(case.id).expect("it is attached").has(Action::Peek) {
        case.look();
    }
    case.see(bytes);
    assert!(is(case.on(Event::Received { bytes }), &[Action::Decode]));
    assert!(is(case.decoded(bytes, 0), &AWAY));
    let actions = receive_away(case, bytes);
    assert!(is(actions, &[]) || is(actions, &[Action::Peek]), "{actions}");
}

/// Only the host can receive what was decoded: no advance of the clock ends that.
#[test]
fn clock_leaves_what_is_owed() {
    let mut case = looked_at(Mode::Level, 200);
    case.decoded(200, 0);
    case.advance(500 * MS);
    assert!(is(case.pool.pending(case.id).expect("it is attached"), &AWAY));
    assert!(is(receive_away(&mut case, 200), &[]));
}
