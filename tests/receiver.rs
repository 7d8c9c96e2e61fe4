//! What a receiver keeps for its host and its decoder, and which handles, events and configurations are refused.

use demuxbuf::connection::{Action, Actions, Event, EventError, Mode};
use demuxbuf::framing::h2;
use demuxbuf::memory::BUFFER_BYTES_DEFAULT;
use demuxbuf::pool::{ConfigError::NoLease, LeaseId, Outcome, TenantId, WaitId};
use demuxbuf::receiver::{ConfigError, Granted, Handover, ReceiverError, ReceiverId, Receivers, ReceiversConfig};

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
    assert_eq!(receivers.data_mut(id), Ok(&mut [][..]), "nothing is held");
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
    assert_eq!((both | both, both | Action::Recv, Action::Recv | Action::Recv), (both, both, Action::Recv.into()));
}

/// A lease has a deadline while it is a receiver's, and none while it is the host's.
#[test]
fn a_deadline_comes_and_goes_with_the_buffer() {
    let mut config = ReceiversConfig::new(1, 4);
    (config.pool.park_ns, config.pool.lease_ns) = (10, 20);
    let mut receivers = Receivers::new(&config).expect("the configuration is allowed");
    let Ok(Outcome::Granted(lease)) = receivers.request(0, 0) else { panic!("a buffer is free") };
    receivers.handle_timeout(5);
    let id = receivers.adopt(0, 0, Handover { lease, offset: 0, level: 200 }).expect("the lease is the host's");
    (6..=12).for_each(|now_ns| receivers.handle_timeout(now_ns));
    let idleness = |receivers: &Receivers| receivers.describe(id).expect("it is attached").idleness;
    let adopted = idleness(&receivers).expect("it has a deadline");
    assert_eq!((adopted.held_ns, adopted.idle_ns, adopted.progress_bytes), (7, 7, 0));
    receivers.decoded(id, 0, 9).expect("it may be short of so many");
    assert_eq!(idleness(&receivers), Some(adopted), "to be short of data is no progress");
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
fn who_keeps_an_empty_buffer_for_a_frame_that_can_never_fit_is_shed_for_others() {
    let mut config = ReceiversConfig::new(1, 2);
    config.buffer_bytes = 64;
    (config.pool.park_ns, config.pool.lease_ns) = (10, 20);
    let mut receivers = Receivers::new(&config).expect("the memory is there");
    let [holder, other] = [7, 8].map(|token| receivers.attach(0, token).expect("there is room"));
    receivers.handle(holder, Event::Readable).expect("a buffer is free");
    receivers.handle(holder, Event::Received { bytes: 9 }).expect("they fit");
    let actions = receivers.decoded(holder, 9, 65).expect("they are there");
    assert!(actions.has(Action::CannotFit), "{actions:?}");
    receivers.handle(other, Event::Readable).expect("it is attached");
    // It cannot park what is not there, and its host does not act.
    (0..=30).for_each(|now_ns| receivers.handle_timeout(now_ns));
    let mut asked = std::iter::from_fn(|| receivers.poll_grant());
    let is_shed =
        |granted| matches!(granted, Granted::Receiver { id, actions, .. } if id == holder && actions.has(Action::Shed));
    assert!(asked.any(is_shed));
    receivers.handle(holder, Event::Close).expect("it is attached");
    assert!(matches!(receivers.poll_grant(), Some(Granted::Receiver { id, .. }) if id == other));
}

/// One that parks, and at once needs a buffer again, is not asked for that one at the same time: the call would never end.
#[test]
fn nobody_is_asked_for_what_he_got_just_now() {
    let mut config = ReceiversConfig::new(3, 3);
    (config.pool.classes, config.pool.class_caps[1], config.policy.mode) = (2, 1, Mode::Edge);
    (config.pool.park_ns, config.pool.lease_ns) = (0, 10);
    let mut receivers = Receivers::new(&config).expect("the configuration is allowed");
    let [holder, other] = [0, 1].map(|class| receivers.attach(class, class.into()).expect("there is room"));
    receivers.handle(holder, Event::Readable).expect("a buffer is free");
    receivers.handle(holder, Event::Received { bytes: 9 }).expect("they fit");
    assert!(receivers.decoded(holder, 0, 9).expect("it is short of so many").has(Action::Recv));
    // Its class is at its cap, whatever the others give back.
    receivers.request(1, 0).expect("a buffer is free");
    receivers.handle(other, Event::Readable).expect("it is attached");
    assert_eq!((receivers.poll_grant(), receivers.stats().parked_on_demand), (None, 0));
    assert_eq!(receivers.poll_timeout(), 1);
    (0..=1).for_each(|now_ns| receivers.handle_timeout(now_ns));
    assert_eq!((receivers.poll_grant(), receivers.stats().parked_on_demand), (None, 1));
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

#[test]
fn any_number_comes_back_from_a_handle_of_any_kind() {
    for bits in [0, 1, u64::MAX, 0x0123_4567_89ab_cdef, 0b11 << 54, 0b10 << 54] {
        assert_eq!(ReceiverId::from_bits(bits).to_bits(), bits);
        assert_eq!(LeaseId::from_bits(bits).to_bits(), bits);
        assert_eq!(WaitId::from_bits(bits).to_bits(), bits);
        assert_eq!(TenantId::from_bits(bits).to_bits(), bits);
    }
}

#[test]
fn a_handle_is_good_for_one_use_of_its_row() {
    let new = || Receivers::new(&ReceiversConfig::new(1, 1)).expect("the configuration is allowed");
    let (mut receivers, mut others) = (new(), new());
    let mut used = Vec::new();
    for token in 0..5 {
        let id = receivers.attach(0, token).expect("the row is free");
        assert!(!used.contains(&id) && used.iter().all(|&id| receivers.pending(id) == Err(ReceiverError::Stale)));
        assert!(receivers.pending(id).is_ok());
        // Nor is it good before its time: the same row of others is free until now.
        assert_eq!(others.pending(id), Err(ReceiverError::Stale));
        let same = others.attach(0, token).expect("the row is free");
        for (receivers, id) in [(&mut receivers, id), (&mut others, same)] {
            receivers.handle(id, Event::Close).expect("close is always allowed");
        }
        used.push(id);
    }
}

#[test]
fn no_more_are_attached_than_there_is_room_for() {
    let mut receivers = Receivers::new(&ReceiversConfig::new(1, 2)).expect("the configuration is allowed");
    let Ok(Outcome::Granted(lease)) = receivers.request(0, 0) else { panic!("a buffer is free") };
    let first = receivers.attach(0, 1).expect("there is room");
    receivers.attach(0, 2).expect("there is room");
    let content = Handover { lease, offset: 0, level: 8 };
    assert_eq!(receivers.attach(0, 3), Err(ReceiverError::TableFull));
    assert_eq!(receivers.attach_with(0, 3, b"hello"), Err(ReceiverError::TableFull));
    assert_eq!(receivers.adopt(0, 3, content), Err(ReceiverError::TableFull));
    assert_eq!(receivers.stats().receivers, 2);
    receivers.handle(first, Event::Close).expect("close is always allowed");
    receivers.adopt(0, 3, content).expect("the lease is still the host's");
    assert_eq!(receivers.check_invariants(), Ok(()));
}

#[test]
fn who_waits_for_a_larger_buffer_and_needs_none_leaves_the_queue() {
    let mut config = ReceiversConfig::new(3, 4);
    config.set_buffer_sizes(&[256, 512]).expect("there is a default size");
    let mut receivers = Receivers::new(&config).expect("the configuration is allowed");
    let Ok(Outcome::Granted(lease)) = receivers.request(0, 0) else { panic!("a buffer is free") };
    let id = receivers.attach(0, 7).expect("there is room");
    receivers.handle(id, Event::Readable).expect("it is open");
    receivers.handle(id, Event::Received { bytes: 200 }).expect("there is room");
    receivers.grow(id, 1).expect("it may wait for one");
    assert_eq!(receivers.stats().pool.waiting, 1);
    receivers.decoded(id, 200, 0).expect("so much is buffered");
    let stats = receivers.stats().pool;
    assert_eq!((stats.waiting, stats.leased, receivers.check_invariants()), (0, 1, Ok(())));
    receivers.release(lease).expect("it is the host's");
    assert_eq!(receivers.poll_grant(), None::<Granted>);
}

/// One more than the limit, and the limit, of each field that is checked here; the others are the pool's.
#[test]
fn a_field_is_refused_just_outside_its_range() {
    type Set = fn(&mut ReceiversConfig, u32);
    let fields: [(&str, u32, u32, Set); 6] = [
        ("receivers_max", 1, i32::MAX as u32 - 1, |config, value| config.receivers_max = value),
        ("waiters_max", 4, i32::MAX as u32 - 1, |config, value| config.pool.waiters_max = value),
        ("policy.park_bytes", 0, 64, |config, value| config.policy.park_bytes = value as u16),
        ("policy.reclaim_bytes", 0, 4096, |config, value| config.policy.reclaim_bytes = value as u16),
        ("continuation_class", 0, 2, |config, value| config.continuation_class = Some(value as u8)),
        ("first_size", 0, 3, |config, value| config.first_size = value as u8),
    ];
    for (name, least, most, set) in fields {
        for (value, is_allowed) in [(least.wrapping_sub(1), least == 0), (least, true), (most, true), (most + 1, false)]
        {
            let mut config = ReceiversConfig::new(4, 4);
            (config.pool.classes, config.pool.sizes) = (3, [1, 1, 1, 1]);
            set(&mut config, value);
            // Those that are allowed are not all made: a table of so many receivers may not fit into memory.
            if !is_allowed {
                let refused = Receivers::new(&config).expect_err("out of range");
                let words = format!("{name} is {value}; allowed is ");
                assert!(refused.to_string().contains(&words), "{name} = {value}: {refused}");
            } else if value < 10_000 {
                Receivers::new(&config).unwrap_or_else(|error| panic!("{name} = {value}: {error}"));
            }
        }
    }
}

/// A receiver that could never be granted its first buffer would wait for ever.
#[test]
fn every_class_must_be_able_to_have_a_first_buffer() {
    // 4 buffers of 2 units each, and first ones of 8.
    let mut config = ReceiversConfig { first_size: 1, ..ReceiversConfig::new(4, 4) };
    config.pool.sizes = [2, 8, 0, 0];
    assert!(Receivers::new(&config).is_ok());
    let refused = |max| Err(ConfigError::OutOfRange { field: "pool.sizes[first_size]", value: 8, min: 1, max });
    let (mut reserved, mut capped) = (config, config);
    reserved.pool.reserves[0] = 1;
    capped.pool.class_caps[0] = 3;
    assert_eq!(Receivers::new(&reserved).map(|_| ()), refused(6));
    assert_eq!(Receivers::new(&capped).map(|_| ()), refused(6));
    // Nothing is said of classes that are not there.
    capped.pool.class_caps = [4, 3, 0, 0, 0, 0, 0, 0].map(|cap| if cap > 0 { cap } else { u32::MAX });
    assert!(Receivers::new(&capped).is_ok());
}

#[test]
fn only_what_could_not_be_reserved_is_a_lack_of_memory() {
    let no_memory = [
        ConfigError::NoMemory { field: "slots", entries: 9 },
        ConfigError::Pool(demuxbuf::pool::ConfigError::AllocationFailed { field: "buffers", entries: 9 }),
        ConfigError::Memory(demuxbuf::memory::MemoryError::AllocationFailed { field: "buffers", bytes: 9 }),
    ];
    assert!(no_memory.iter().all(ConfigError::is_out_of_memory));
    let wrong = [
        ConfigError::OutOfRange { field: "receivers_max", value: 0, min: 1, max: 9 },
        ConfigError::NotDivisible { buffer_bytes: 256, units: 3 },
        ConfigError::SlotTooLarge { slot_bytes: 1024, first_bytes: 256 },
        ConfigError::Pool(NoLease),
    ];
    assert!(!wrong.iter().any(ConfigError::is_out_of_memory));
}

#[test]
fn what_receivers_report_by_themselves_is_refused() {
    let mut receivers = receivers();
    let id = receivers.attach(0, 0).expect("there is room");
    receivers.handle(id, Event::Readable).expect("it is open");
    let before = receivers.connection(id).expect("it is attached").clone();
    for event in [
        Event::Attach { level: 0, capacity: 0 },
        Event::BufferGranted { capacity: 1 << 20 },
        Event::BufferDenied,
        Event::BufferParked { capacity: 64 },
        Event::BufferReleased,
        Event::Sync { level: 0, capacity: 0, blocked: 0, short: false, armed: false },
    ] {
        assert_eq!(receivers.handle(id, event), Err(ReceiverError::InternalEvent), "{event:?}");
        assert_eq!(receivers.connection(id), Ok(&before));
    }
}

#[test]
fn received_bytes_are_refused_in_the_machine_s_words_while_nothing_was_decoded() {
    let mut receivers = receivers();
    let id = receivers.attach(0, 0).expect("there is room");
    let received = |receivers: &mut Receivers, bytes| receivers.handle(id, Event::Received { bytes });
    assert_eq!(received(&mut receivers, 1), Err(EventError::NoBuffer.into()));
    receivers.handle(id, Event::Readable).expect("it is open");
    assert_eq!(received(&mut receivers, BUFFER_BYTES_DEFAULT + 1), Err(EventError::TooManyBytes.into()));
    received(&mut receivers, 100).expect("there is room");
    receivers.decoded(id, 40, 0).expect("so much is buffered");
    // Nobody asked where to receive since then, so what is left was not moved to the front.
    assert_eq!(received(&mut receivers, BUFFER_BYTES_DEFAULT - 99), Err(ReceiverError::TooManyBytes));
    received(&mut receivers, BUFFER_BYTES_DEFAULT - 100).expect("there is room behind it");
}

#[test]
fn what_is_moved_to_make_room_is_counted() {
    let mut receivers = receivers();
    let id = receivers.attach(0, 0).expect("there is room");
    for (moved, consumed) in [(0, 80), (120, 100), (340, 420)] {
        receivers.handle(id, Event::Readable).expect("it is open");
        // The second time it is at the front already.
        for _ in 0..2 {
            receivers.receive_area(id).expect("it has a buffer");
            assert_eq!(receivers.stats().compacted_bytes, moved);
        }
        receivers.handle(id, Event::Received { bytes: 200 }).expect("there is room");
        receivers.decoded(id, consumed, 1).expect("so much is buffered");
    }
    assert_eq!(receivers.stats().compactions, 2);
}

#[test]
fn only_the_rest_of_a_frame_may_have_what_is_reserved_for_it() {
    let mut config = ReceiversConfig { continuation_class: Some(0), ..ReceiversConfig::new(2, 4) };
    (config.pool.classes, config.pool.reserves[1]) = (2, 1);
    let mut receivers = Receivers::new(&config).expect("the configuration is allowed");
    let [begun, new] = [7, 8].map(|token| receivers.attach(1, token).expect("there is room"));
    for event in [Event::Readable, Event::Received { bytes: 9 }, Event::NeedMore { bytes: 100 }] {
        receivers.handle(begun, event).expect("it is open");
    }
    assert!(matches!(receivers.request(0, 0), Ok(Outcome::Granted(_))), "the rest of it is parked");
    receivers.handle(new, Event::Readable).expect("it is open");
    assert!(receivers.connection(new).expect("it is attached").is_waiting());
    receivers.handle(begun, Event::Readable).expect("it is open");
    assert!(!receivers.connection(begun).expect("it is attached").is_waiting());
}

#[test]
fn a_receiver_s_handle_is_nobody_s_as_that_of_a_lease() {
    let mut receivers = receivers();
    let Ok(Outcome::Granted(lease)) = receivers.request(0, 0) else { panic!("a buffer is free") };
    let first = receivers.attach(0, 0).expect("there is room");
    receivers.handle(first, Event::Close).expect("close is always allowed");
    // Row and use are the same as the lease's.
    let id = receivers.attach(0, 0).expect("there is room");
    assert_eq!(receivers.release(LeaseId::from_bits(id.to_bits())), Err(ReceiverError::Stale));
    receivers.release(lease).expect("it is the host's");
}

/// 16,384 bytes and a header of 9: the largest frame that every HTTP/2 peer may send (RFC 9113 section 4.2).
#[test]
fn s65_largest_default_frame_fits_default_buffer() {
    let head = h2::Head { length: h2::MAX_FRAME_SIZE_MIN, stream_id: 1, kind: h2::kind::DATA, flags: 0 };
    let frame = [head.encode().as_slice(), &vec![7; h2::MAX_FRAME_SIZE_MIN as usize]].concat();
    for piece_bytes in [1000, frame.len() - 1, frame.len()] {
        let mut receivers = Receivers::new(&ReceiversConfig::new(1, 1)).expect("the defaults are allowed");
        let id = receivers.attach(0, 1).expect("there is room");
        let mut actions = receivers.handle(id, Event::Readable).expect("it is attached");
        for piece in frame.chunks(piece_bytes) {
            if !actions.has(Action::Recv) {
                actions = receivers.handle(id, Event::Readable).expect("it is attached");
            }
            assert!(actions.has(Action::Recv), "{actions:?}");
            receivers.receive_area(id).expect("it is attached")[..piece.len()].copy_from_slice(piece);
            receivers.handle(id, Event::Received { bytes: piece.len() as u32 }).expect("there is room");
            let level = receivers.data(id).expect("it is attached").len();
            if level < frame.len() {
                actions = receivers.decoded(id, 0, (frame.len() - level) as u32).expect("it is more");
                assert!(!actions.has(Action::CannotFit), "{level} bytes of {}", frame.len());
            }
        }
        assert_eq!(receivers.data(id), Ok(frame.as_slice()));
        assert_eq!(receivers.stats().compacted_bytes, 0, "it stays where it was received");
        receivers.decoded(id, frame.len() as u32, 0).expect("it is there");
        assert_eq!(receivers.stats().pool.leased, 0);
    }
}
