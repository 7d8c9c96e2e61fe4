//! What the core refuses, and that nothing is changed by it; splits of memory.

use super::{After, Begin, Notice, Receiving, ReceivingConfig, ReceivingError, Rest, ShedReason};
use crate::config_error::{Allowed, ConfigError};

const MS: u64 = 1_000_000;

/// Eight buffers of 256 bytes, one of them cut into four header cells.
fn core(receivers_max: u32) -> Receiving {
    let config = ReceivingConfig { buffer_bytes: 256, ..ReceivingConfig::new(8 * 256, receivers_max) };
    Receiving::new(&config).expect("the configuration is allowed")
}

#[test]
fn memory_split_has_header_buffers_and_a_reserve() {
    let split = |memory_bytes, receivers_max| {
        let split = ReceivingConfig::new(memory_bytes, receivers_max).split().expect("it is enough");
        (split.buffers, split.header_buffers, split.header_cells, split.reserve)
    };
    // 63 buffers of 16,448 bytes are 1 MiB; an eighth of them are header buffers at most.
    assert_eq!(split(1 << 20, 10_000), (63, 8, 2023, 7));
    assert_eq!(split(1 << 20, 100), (63, 1, 100, 7));
    assert_eq!(split(8 * 16_448, 1), (8, 1, 1, 1));
    let refused = |config: ReceivingConfig| config.split().map(|_| ());
    let config = ReceivingConfig::new(8 * 16_448 - 1, 1);
    let allowed = Allowed::AtLeast(8 * 16_448);
    assert_eq!(
        refused(config),
        Err(ConfigError::Refused { field: "memory_bytes", index: None, value: 131_583, allowed })
    );
    for buffer_bytes in [0, 64, 100, 129, (16 << 20) + 64] {
        let refused = refused(ReceivingConfig { buffer_bytes, ..ReceivingConfig::new(1 << 30, 1) });
        assert!(
            matches!(refused, Err(ConfigError::Refused { field: "buffer_bytes", .. })),
            "{buffer_bytes}: {refused:?}"
        );
    }
    for (frame_grace_ns, blocked_ns, wrong) in
        [(7, 8, "frame_grace_ns"), (8, 7, "blocked_ns"), (u64::MAX, 8, "frame_grace_ns"), (8, u64::MAX, "blocked_ns")]
    {
        let config = ReceivingConfig { frame_grace_ns, blocked_ns, ..ReceivingConfig::new(1 << 20, 1) };
        assert!(matches!(refused(config), Err(ConfigError::Refused { field, .. }) if field == wrong), "{wrong}");
    }
}

#[test]
fn longest_wait_is_a_formula_of_the_configuration() {
    assert_eq!(ReceivingConfig::new(1 << 20, 1).wait_ns_max(), 1_000 * MS + 2_007_812_500 + 125 * MS);
}

#[test]
fn refused_call_changes_nothing() {
    let mut core = core(4);
    core.attach(0, false).expect("the row is free");
    core.attach(1, false).expect("the row is free");
    let short = Rest::Short { needed_bytes: 9, usable_bytes: 0 };
    let before = (core.facts(0), core.totals());
    assert_eq!(core.attach(0, true), Err(ReceivingError::Attached));
    assert_eq!([core.attach(4, false), core.close(2).map(|_| ())], [Err(ReceivingError::UnknownReceiver); 2]);
    assert_eq!(core.begin(3), Err(ReceivingError::UnknownReceiver));
    assert_eq!([core.borrowed(3), core.borrowed(4)], [None; 2]);
    assert_eq!(core.received(0, 1), Err(ReceivingError::NotBorrowing));
    assert_eq!([core.dry(0), core.decoded(0, 0, Rest::Held)], [Err(ReceivingError::NotBorrowing); 2]);
    assert_eq!(core.decode(0), Err(ReceivingError::NothingToDecode));
    assert_eq!((core.facts(0), core.totals()), before);

    assert_eq!(core.begin(0), Ok(Begin::Receive { max_bytes: 256 }));
    let before = core.facts(0);
    assert_eq!(core.begin(0), Err(ReceivingError::Borrowing));
    assert_eq!(core.hold(0, true), Err(ReceivingError::Borrowing));
    assert_eq!(core.decoded(0, 0, short), Err(ReceivingError::NothingToDecode));
    for bytes in [0, 257] {
        assert_eq!(core.received(0, bytes), Err(ReceivingError::WrongLength { bytes, max_bytes: 256 }));
    }
    assert_eq!(core.facts(0), before);

    core.received(0, 20).expect("there is room");
    let before = core.facts(0);
    assert_eq!(core.received(0, 1), Err(ReceivingError::WrongLength { bytes: 1, max_bytes: 0 }));
    assert_eq!(core.dry(0), Err(ReceivingError::NotReceiving));
    assert_eq!(core.decoded(0, 21, Rest::Nothing), Err(ReceivingError::WrongLength { bytes: 21, max_bytes: 20 }));
    let nothing_needed = Rest::Short { needed_bytes: 0, usable_bytes: 9 };
    assert_eq!(
        [core.decoded(0, 19, Rest::Nothing), core.decoded(0, 0, nothing_needed)],
        [Err(ReceivingError::WrongRest); 2]
    );
    assert_eq!(core.facts(0), before);

    assert_eq!(core.decoded(0, 5, Rest::Held), Ok(After::Ended));
    assert_eq!(core.begin(0), Err(ReceivingError::Held));
    assert_eq!(core.decode(0), Ok(true));
    assert_eq!(core.decode(0), Err(ReceivingError::Borrowing));
    assert_eq!(core.decoded(0, 15, Rest::Nothing), Ok(After::Ended));
    assert_eq!((core.free_buffers(), core.check_invariants()), (6, Ok(())));
}

#[test]
fn full_receiver_is_refused_to_receive() {
    let mut core = core(1);
    core.attach(0, false).expect("the row is free");
    core.begin(0).expect("it is attached");
    core.received(0, 256).expect("there is room");
    core.decoded(0, 0, Rest::Short { needed_bytes: 1, usable_bytes: 0 }).expect("it is buffered");
    assert_eq!(core.begin(0), Err(ReceivingError::Full));
}

#[test]
fn shed_receiver_takes_nothing_but_close() {
    let mut core = core(1);
    core.attach(0, false).expect("the row is free");
    core.advance(0);
    core.begin(0).expect("it is attached");
    core.received(0, 200).expect("there is room");
    core.decoded(0, 0, Rest::Short { needed_bytes: 56, usable_bytes: 0 }).expect("it is buffered");
    for step in 1..=10 {
        core.advance(step * 125 * MS);
    }
    // The host takes all that is free, and then what has passed its deadline.
    while core.lease().is_some() {}
    assert_eq!(core.facts(0).map(|facts| (facts.is_shed, facts.kept_bytes)), Ok((true, 0)));
    assert_eq!(core.poll(), Some(Notice::Shed { receiver: 0, reason: ShedReason::Evicted }));
    assert_eq!(core.poll(), None);
    assert_eq!(core.begin(0), Err(ReceivingError::Shed));
    assert_eq!([core.end(0), core.hold(0, true)], [Err(ReceivingError::Shed); 2]);
    assert_eq!((core.close(0), core.check_invariants()), (Ok(0), Ok(())));
}

/// Held content that fills the memory is no claim's rival, where decoders consume the 64 bytes that others receive at
/// once.
#[test]
fn receive_without_a_free_buffer_evicts_what_is_late() {
    let mut core = core(4);
    core.advance(0);
    for receiver in 0..3 {
        core.attach(receiver, false).expect("the row is free");
    }
    // The third is in credit.
    for _ in 0..2 {
        core.begin(2).expect("it is attached");
        core.received(2, 256).expect("there is room");
        core.decoded(2, 256, Rest::Nothing).expect("it is buffered");
    }
    // Two hold a buffer each, the host has the others.
    for receiver in [0, 1] {
        core.begin(receiver).expect("it is attached");
        core.received(receiver, 200).expect("there is room");
        assert_eq!(core.decoded(receiver, 0, Rest::Held), Ok(After::Ended));
    }
    while core.free_buffers() > 0 {
        core.lease().expect("it is free");
    }
    assert_eq!(core.begin(2), Ok(Begin::Receive { max_bytes: 64 }));
    core.received(2, 64).expect("there is room");
    core.decoded(2, 64, Rest::Nothing).expect("it is buffered");
    // The second is decoded in time, and held anew.
    for step in 1..=17 {
        core.advance(step * 125 * MS);
        if step == 8 {
            assert_eq!(core.decode(1), Ok(true));
            assert_eq!(core.decoded(1, 1, Rest::Held), Ok(After::Ended));
        }
    }
    assert_eq!(core.begin(2), Ok(Begin::Receive { max_bytes: 256 }));
    core.dry(2).expect("it borrows");
    let shed = [0, 1].map(|receiver| core.facts(receiver).expect("it is attached").is_shed);
    assert_eq!((shed, core.totals().evicted, core.check_invariants()), ([true, false], 1, Ok(())));
    assert_eq!(core.poll(), Some(Notice::Shed { receiver: 0, reason: ShedReason::Evicted }));
}

/// Only what others hold goes for a receive.
#[test]
fn receive_does_not_evict_its_own_content() {
    let mut core = core(2);
    core.advance(0);
    core.attach(0, false).expect("the row is free");
    core.begin(0).expect("it is attached");
    core.received(0, 200).expect("there is room");
    core.decoded(0, 0, Rest::Short { needed_bytes: 56, usable_bytes: 0 }).expect("it is buffered");
    while core.free_buffers() > 0 {
        core.lease().expect("it is free");
    }
    for step in 1..=10 {
        core.advance(step * 125 * MS);
    }
    assert_eq!(core.begin(0), Ok(Begin::Receive { max_bytes: 56 }));
    core.dry(0).expect("it borrows");
    assert_eq!((core.totals().evicted, core.check_invariants()), (0, Ok(())));
    // The host's own requests evict it still.
    assert!(core.lease().is_some() && core.facts(0).expect("it is attached").is_shed);
}

#[test]
fn receiver_that_is_off_can_be_cancelled() {
    let mut core = core(4);
    core.advance(0);
    let short = |needed_bytes| Rest::Short { needed_bytes, usable_bytes: 0 };
    // The first has a header cell; the second cuts a buffer into two cells of 128.
    for (receiver, bytes, needed_bytes) in [(0, 64, 64), (1, 100, 100)] {
        core.attach(receiver, false).expect("the row is free");
        core.begin(receiver).expect("it is attached");
        core.received(receiver, bytes).expect("there is room");
        core.decoded(receiver, 0, short(needed_bytes)).expect("it is buffered");
    }
    let leased = [(); 5].map(|()| core.lease().expect("it is free"));
    assert_eq!(core.begin(0), Ok(Begin::Claimed));
    for step in 1..=9 {
        core.advance(step * 125 * MS);
    }
    assert_eq!(core.poll(), Some(Notice::Trial { receiver: 0, max_bytes: 64 }));
    assert_eq!(core.dry(0), Ok(After::Ended));
    // It has the other cell of 128 for good, and its frame is longer.
    assert_eq!(core.begin(0), Ok(Begin::Receive { max_bytes: 64 }));
    core.received(0, 64).expect("there is room");
    assert_eq!(core.decoded(0, 0, short(50)), Ok(After::Ended));
    assert_eq!((core.begin(0), core.check_invariants()), (Ok(Begin::Off), Ok(())));
    core.cancel(0).expect("it is attached");
    assert_eq!(core.check_invariants(), Ok(()));
    leased.into_iter().for_each(|buffer| core.release(buffer));
    assert_eq!(core.poll(), None, "it waits for nothing");
}

/// The frame that a look found is not whole. What was a guess is one until a report, also under the mark.
#[test]
fn guess_under_a_mark_ends_with_a_report() {
    let mut core = core(4);
    core.advance(0);
    core.attach(0, false).expect("the row is free");
    core.set_submits(0, true).expect("it does not borrow");
    while core.free_buffers() > 0 {
        core.lease().expect("it is free");
    }
    let start_ns = |core: &Receiving| core.facts(0).expect("it is attached").start_ns;
    assert_eq!(core.begin_unreported(0), Ok(Begin::Claimed));
    core.set_counts(0, true).expect("its length is known");
    assert_eq!(core.begin_unreported(0), Ok(Begin::Look { max_bytes: 64 }));
    assert_eq!(core.looked(0, 100), Ok(Some(100)));
    assert_eq!((core.dry(0), start_ns(&core)), (Ok(After::Ended), Some(0)));
    core.advance(MS);
    assert_eq!(core.begin_unreported(0), Ok(Begin::WholeLook { bytes: 100 }));
    assert_eq!((core.dry(0), start_ns(&core)), (Ok(After::Ended), Some(0)));
    assert_eq!(core.begin(0), Ok(Begin::WholeLook { bytes: 100 }));
    assert_eq!((start_ns(&core), core.check_invariants()), (Some(MS), Ok(())));
    core.dry(0).expect("it borrows");
    core.advance(2 * MS);
    assert_eq!(core.begin(0), Ok(Begin::WholeLook { bytes: 100 }));
    assert_eq!(start_ns(&core), Some(MS), "it was no guess any more");
}

#[test]
fn messages_name_what_was_wrong() {
    let wrong = ReceivingError::WrongLength { bytes: 300, max_bytes: 256 };
    assert_eq!(alloc::format!("{wrong}"), "300 bytes reported, allowed are 1 to 256");
}

/// What is free is less than a receive borrows and leaves, while another is in flight in the receive buffer.
#[test]
fn receiver_that_is_off_resumes_once_it_can_borrow() {
    let config = ReceivingConfig { buffer_bytes: 256, in_flight_max: 2, ..ReceivingConfig::new(8 * 256, 4) };
    let mut core = Receiving::new(&config).expect("the configuration is allowed");
    core.advance(0);
    for receiver in [0, 1] {
        core.attach(receiver, false).expect("the row is free");
        core.set_submits(receiver, true).expect("nothing is in flight");
    }
    // The first is in credit, so that the reserve is not kept from it.
    for _ in 0..3 {
        core.begin(0).expect("it is attached");
        core.received(0, 256).expect("there is room");
        core.decoded(0, 256, Rest::Nothing).expect("it is buffered");
    }
    let mut leases: Vec<_> = core::iter::from_fn(|| core.lease()).collect();
    assert_eq!([core.begin(0), core.begin(1)], [Ok(Begin::Claimed); 2]);
    (1..=10).for_each(|step| core.advance(step * 125 * MS));
    let receive = |core: &mut Receiving, max_bytes, bytes, needed_bytes| {
        assert_eq!(core.borrowed(0).map(|borrowed| borrowed.max_bytes), Some(max_bytes));
        core.submit(0).expect("it may receive");
        core.received(0, bytes).expect("there is room");
        core.decoded(0, 0, Rest::Short { needed_bytes, usable_bytes: 0 })
    };
    assert_eq!(core.poll(), Some(Notice::Trial { receiver: 0, max_bytes: 1 }));
    assert_eq!(receive(&mut core, 1, 1, 9), Ok(After::Receive { max_bytes: 9 }));
    assert_eq!((receive(&mut core, 9, 5, 4), core.begin(0)), (Ok(After::Ended), Ok(Begin::Off)));
    assert_eq!(core.poll(), Some(Notice::Trial { receiver: 1, max_bytes: 1 }));
    core.submit(1).expect("it may receive");
    let mut release = |core: &mut Receiving| core.release(leases.pop().expect("all were leased"));
    release(&mut core);
    assert_eq!((core.poll(), core.facts(0).map(|facts| facts.is_off)), (None, Ok(true)));
    release(&mut core);
    assert_eq!(core.poll(), Some(Notice::Resume { receiver: 0 }));
    assert_eq!(core.begin(0), Ok(Begin::Receive { max_bytes: 4 }));
}
