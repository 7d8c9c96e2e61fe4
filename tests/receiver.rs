//! What a receiver keeps for its host and its decoder.

use demuxbuf::connection::{Action, Actions, Event};
use demuxbuf::pool::{Outcome, WaitId};
use demuxbuf::receiver::{Granted, Handover, ReceiverError, Receivers, ReceiversConfig};

fn receivers() -> Receivers {
    Receivers::new(&ReceiversConfig::new(1, 4)).expect("the configuration is allowed")
}

#[test]
fn all_of_a_token_comes_back() {
    let mut receivers = receivers();
    for token in [u64::MAX, 1 << 63, 0x0123_4567_89ab_cdef] {
        let id = receivers.attach(0, token).expect("there is room");
        assert_eq!(receivers.describe(id).expect("it is attached").token, token);
    }
}

#[test]
fn a_decoder_that_works_in_place_changes_what_is_buffered() {
    let mut receivers = receivers();
    let id = receivers.attach(0, 0).expect("there is room");
    receivers.handle(id, Event::Readable).expect("it is attached");
    receivers.receive_area(id).expect("it has a buffer")[..3].copy_from_slice(&[1, 2, 3]);
    receivers.handle(id, Event::Received { bytes: 3 }).expect("there is room");
    receivers.data_mut(id).expect("it is attached")[1] = 9;
    assert_eq!(receivers.data(id), Ok(&[1, 9, 3][..]));
}

#[test]
fn two_actions_are_a_set_of_both() {
    let both = Action::Recv | Action::Demux;
    assert_eq!(both.iter().collect::<Vec<_>>().len(), 2);
    assert!(both.has(Action::Recv) && both.has(Action::Demux));
    assert_eq!(both, Actions::from(Action::Demux) | Action::Recv);
}

/// A lease has a deadline while it is a receiver's, and none while it is the host's.
#[test]
fn a_deadline_comes_and_goes_with_the_buffer() {
    let mut config = ReceiversConfig::new(1, 4);
    (config.pool.park_ns, config.pool.lease_ns) = (10, 20);
    let mut receivers = Receivers::new(&config).expect("the configuration is allowed");
    let Ok(Outcome::Granted(lease)) = receivers.request(0, 0) else { panic!("a buffer is free") };
    receivers.handle_timeout(5);
    let id = receivers.adopt(0, 0, Handover { lease, offset: 0, level: 8 }).expect("the lease is the host's");
    receivers.handle_timeout(12);
    let idleness = |receivers: &Receivers| receivers.describe(id).expect("it is attached").idleness;
    let adopted = idleness(&receivers).expect("it has a deadline");
    assert_eq!((adopted.held_ns, adopted.idle_ns, adopted.progress_bytes), (7, 7, 0));
    receivers.decoded(id, 3, 0).expect("so much is buffered");
    let progressed = idleness(&receivers).expect("it has a deadline");
    assert_eq!((progressed.held_ns, progressed.idle_ns, progressed.progress_bytes), (7, 0, 3));

    // Somebody waits from here on; the host's own lease is nobody to be asked.
    let waiting = receivers.attach(0, 1).expect("there is room");
    receivers.handle(waiting, Event::Readable).expect("it is attached");
    assert_ne!(receivers.poll_timeout(), u64::MAX);
    receivers.take(id).expect("it holds a buffer");
    assert_eq!((idleness(&receivers), receivers.poll_timeout()), (None, u64::MAX));
}

#[test]
fn the_wait_of_a_receiver_is_not_the_hosts_to_end() {
    let mut receivers = receivers();
    let Ok(Outcome::Granted(lease)) = receivers.request(0, 0) else { panic!("a buffer is free") };
    let Ok(Outcome::Queued(own)) = receivers.request(0, 1) else { panic!("none is free") };
    receivers.cancel(own).expect("it is the host's");
    let id = receivers.attach(0, 2).expect("there is room");
    receivers.handle(id, Event::Readable).expect("it is attached");
    // It waits where the host did before, under a name that can be guessed.
    let guesses = (1..9).map(|later| WaitId::from_bits(own.to_bits() + (later << 32)));
    let guess = guesses.into_iter().find(|&wait| receivers.describe_wait(wait).is_ok()).expect("one is right");
    assert_eq!(receivers.cancel(guess), Err(ReceiverError::Stale));
    receivers.check_invariants().expect("nothing is changed");
    receivers.release(lease).expect("it is the host's");
    assert!(matches!(receivers.poll_grant(), Some(Granted::Receiver { token: 2, .. })), "it waited on");
}
