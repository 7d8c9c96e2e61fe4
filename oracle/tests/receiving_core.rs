//! The core of the memory model against its model, call by call and byte by byte.

mod common;

use common::cases;
use common::receiving::{drawn, receiving_config};
use demuxbuf_oracle::receiving_system::{After, Begin, Notice, Reason, ReceivingConfig, Rest};
use demuxbuf_oracle::{Answer, CoreReceiving, ReceivingDifferential, ReceivingOp, opening, wind_up};
use proptest::prelude::*;

proptest! {
    #![proptest_config(cases(2_000, 50_000))]

    #[test]
    fn core_receives_like_its_model(
        config in receiving_config(),
        free in 0..5u32,
        all in prop::collection::vec(drawn(), 1..500),
    ) {
        let system = CoreReceiving::new(config).map_err(TestCaseError::fail)?;
        let mut pair = ReceivingDifferential::new(system, config).map_err(TestCaseError::fail)?;
        for op in opening(config, free) {
            pair.play(op).map_err(TestCaseError::fail)?;
        }
        for drawn in all {
            pair.play_drawn(drawn).map_err(TestCaseError::fail)?;
        }
        wind_up(pair.model.system.leases(), pair.now_ns(), |op| pair.play(op)).map_err(TestCaseError::fail)?;
    }
}

/// What a claim is granted was asked for when the receiver did not count, and may leave more than has a place.
#[test]
fn claim_from_before_counting_is_granted_as_before() {
    let config = ReceivingConfig {
        memory_bytes: 2_048,
        buffer_bytes: 256,
        receivers_max: 8,
        frame_grace_ns: 8,
        blocked_ns: 8,
        in_flight_max: 0,
        tenants: None,
    };
    let system = CoreReceiving::new(config).expect("it is allowed");
    let mut pair = ReceivingDifferential::new(system, config).expect("it is allowed");
    let mut play = |op| pair.play(op).expect("the core does as its model");
    for op in opening(config, 1) {
        play(op);
    }
    let (receiver, other) = (1, 2);
    assert_eq!(play(ReceivingOp::Begin { receiver }), Answer::Begin(Begin::Receive { max: 64 }));
    play(ReceivingOp::Received { receiver, bytes: 64 });
    play(ReceivingOp::Decoded { receiver, consumed: 0, rest: Rest::Short { needed: 22, usable: 192 } });
    assert_eq!(play(ReceivingOp::Begin { receiver }), Answer::Begin(Begin::Claimed));
    // The other one takes the last buffer for a cell of half its size: the other half is free.
    play(ReceivingOp::Begin { receiver: other });
    assert_eq!(play(ReceivingOp::Looked { receiver: other, needed: 73 }), Answer::After(After::Whole { bytes: 73 }));
    play(ReceivingOp::Received { receiver: other, bytes: 73 });
    play(ReceivingOp::Decoded { receiver: other, consumed: 0, rest: Rest::Held });
    play(ReceivingOp::SetCounts { receiver, counts: true });
    assert_eq!(play(ReceivingOp::Poll), Answer::Notice(Some(Notice::Granted { receiver, max: 192 })));
    play(ReceivingOp::Received { receiver, bytes: 192 });
    let answer = play(ReceivingOp::Decoded { receiver, consumed: 0, rest: Rest::Held });
    assert_eq!(answer, Answer::After(After::Shed { reason: Reason::Memory }));
}
