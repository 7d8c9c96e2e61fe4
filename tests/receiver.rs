//! What a receiver keeps for its host and its decoder.

use demuxbuf::connection::{Action, Actions, Event};
use demuxbuf::receiver::{Receivers, ReceiversConfig};

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
