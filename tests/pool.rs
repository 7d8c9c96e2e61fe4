//! What a receiver keeps for its host and its decoder, and the handles, events and configurations that are refused.

use demuxbuf::connection::{Action, Actions, Event, EventError, Mode};
use demuxbuf::framing::h2;
use demuxbuf::memory::BUFFER_BYTES_DEFAULT;
use demuxbuf::pool::{AttachOptions, LeasedContent, Notice, Pool, PoolConfig, PoolError, ReceiverId};
use demuxbuf::scheduler::{LeaseId, Outcome, SchedulerError, TenantId, WaitId};
use demuxbuf::{Allowed, ConfigError};

fn pool() -> Pool {
    Pool::new(&PoolConfig::new(1, 4)).expect("the configuration is allowed")
}

#[test]
fn token_comes_back_whole() {
    let mut pool = pool();
    for token in [u64::MAX, 1 << 63, 0x0123_4567_89ab_cdef] {
        let id = pool.attach(&AttachOptions::new(0, token)).expect("there is room");
        assert_eq!(pool.describe(id).expect("it is attached").token, token);
    }
}

#[test]
fn decoder_may_change_buffered_bytes_in_place() {
    let mut pool = pool();
    let id = pool.attach(&AttachOptions::new(0, 0)).expect("there is room");
    assert_eq!(pool.data_mut(id), Ok(&mut [][..]), "nothing is held");
    pool.handle(id, Event::Readable).expect("it is attached");
    pool.receive_area(id).expect("it has a buffer")[..3].copy_from_slice(&[1, 2, 3]);
    pool.handle(id, Event::Received { bytes: 3 }).expect("there is room");
    pool.data_mut(id).expect("it is attached")[1] = 9;
    assert_eq!(pool.data(id), Ok(&[1, 9, 3][..]));
    // A hole: what lies before it moves up to its end, and its bytes are consumed at the front.
    pool.data_mut(id).expect("it is attached").copy_within(0..1, 1);
    pool.decoded(id, 1, 0).expect("it is buffered");
    assert_eq!(pool.data(id), Ok(&[1, 3][..]));
    assert_eq!((pool.stats().received_bytes, pool.stats().consumed_bytes, pool.check_invariants()), (3, 1, Ok(())));
}

/// A hint changes nothing, whatever handle it is given.
#[test]
fn prefetch_is_harmless_for_any_handle() {
    let mut pool = pool();
    let ids = [1, 2].map(|token| pool.attach(&AttachOptions::new(0, token)).expect("there is room"));
    pool.handle(ids[0], Event::Close).expect("it is attached");
    let before = (pool.stats(), pool.describe(ids[1]));
    let mut random = fastrand::Rng::with_seed(8);
    let numbers = [0, 1, u64::from(u32::MAX), u64::MAX].into_iter().chain((0..1000).map(|_| random.u64(..)));
    for id in numbers.map(ReceiverId::from_bits).chain(ids) {
        pool.prefetch(id);
    }
    assert_eq!((pool.stats(), pool.describe(ids[1])), before);
    assert_eq!(pool.check_invariants(), Ok(()));
}

#[test]
fn actions_are_a_set() {
    let both = Action::Recv | Action::Decode;
    assert_eq!(both.iter().collect::<Vec<_>>().len(), 2);
    assert!(both.has(Action::Recv) && both.has(Action::Decode));
    assert_eq!(both, Actions::from(Action::Decode) | Action::Recv);
    assert_eq!((both | both, both | Action::Recv, Action::Recv | Action::Recv), (both, both, Action::Recv.into()));
}

/// A lease has a deadline while it is a receiver's, and none while it is the host's.
#[test]
fn deadline_belongs_to_a_receivers_buffer_only() {
    let mut config = PoolConfig::new(1, 4);
    (config.scheduler.park_ns, config.scheduler.lease_ns) = (Some(10), Some(20));
    let mut pool = Pool::new(&config).expect("the configuration is allowed");
    let Ok(Outcome::Granted(lease)) = pool.request(0, 0) else { panic!("a buffer is free") };
    pool.handle_timeout(5);
    let id = pool
        .adopt(&AttachOptions::new(0, 0), LeasedContent { lease, offset: 0, buffered_bytes: 200 })
        .expect("the lease is the host's");
    (6..=12).for_each(|now_ns| pool.handle_timeout(now_ns));
    let lease_info = |pool: &Pool| pool.describe(id).expect("it is attached").lease_info;
    let adopted = lease_info(&pool).expect("it has a deadline");
    assert_eq!((adopted.held_ns, adopted.idle_ns, adopted.progress_bytes), (7, 7, 0));
    pool.decoded(id, 0, 9).expect("that many bytes are missing");
    assert_eq!(lease_info(&pool), Some(adopted), "needing bytes is no progress");
    pool.decoded(id, 3, 0).expect("that many bytes are buffered");
    let progressed = lease_info(&pool).expect("it has a deadline");
    assert_eq!((progressed.held_ns, progressed.idle_ns, progressed.progress_bytes), (7, 0, 3));

    // A request waits from here on; the host's own lease is never asked for.
    let waiting = pool.attach(&AttachOptions::new(0, 1)).expect("there is room");
    pool.handle(waiting, Event::Readable).expect("it is attached");
    assert!(pool.poll_timeout().is_some());
    pool.take(id).expect("it holds a buffer");
    assert_eq!((lease_info(&pool), pool.poll_timeout()), (None, None));
}

/// A holder that keeps an empty buffer for a frame that can never fit is shed for the benefit of waiters.
#[test]
fn holder_of_an_oversized_frame_is_shed() {
    let mut config = PoolConfig::new(1, 2);
    config.buffer_bytes = 64;
    (config.scheduler.park_ns, config.scheduler.lease_ns) = (Some(10), Some(20));
    let mut pool = Pool::new(&config).expect("the memory is there");
    let [holder, other] = [7, 8].map(|token| pool.attach(&AttachOptions::new(0, token)).expect("there is room"));
    pool.handle(holder, Event::Readable).expect("a buffer is free");
    pool.handle(holder, Event::Received { bytes: 9 }).expect("they fit");
    let actions = pool.decoded(holder, 9, 65).expect("they are there");
    assert!(actions.has(Action::CannotFit), "{actions:?}");
    pool.handle(other, Event::Readable).expect("it is attached");
    // The holder has nothing to park, and its host does not act.
    (0..=30).for_each(|now_ns| pool.handle_timeout(now_ns));
    let mut asked = std::iter::from_fn(|| pool.poll_notice());
    let is_shed =
        |granted| matches!(granted, Notice::Receiver { id, actions, .. } if id == holder && actions.has(Action::Shed));
    assert!(asked.any(is_shed));
    pool.handle(holder, Event::Close).expect("it is attached");
    assert!(matches!(pool.poll_notice(), Some(Notice::Receiver { id, .. }) if id == other));
}

/// A receiver that parks, and at once needs a buffer again, is not asked for that one in the same call, which would not
/// end.
#[test]
fn fresh_grant_is_not_reclaimed_at_once() {
    let mut config = PoolConfig::new(3, 3);
    (config.scheduler.classes, config.scheduler.class_caps[1], config.policy.mode) = (2, 1, Mode::Edge);
    (config.scheduler.park_ns, config.scheduler.lease_ns) = (Some(0), Some(10));
    let mut pool = Pool::new(&config).expect("the configuration is allowed");
    let [holder, other] =
        [0, 1].map(|class| pool.attach(&AttachOptions::new(class, class.into())).expect("there is room"));
    pool.handle(holder, Event::Readable).expect("a buffer is free");
    pool.handle(holder, Event::Received { bytes: 9 }).expect("they fit");
    assert!(pool.decoded(holder, 0, 9).expect("that many bytes are missing").has(Action::Recv));
    // Its class is at its cap, whatever other classes release.
    pool.request(1, 0).expect("a buffer is free");
    pool.handle(other, Event::Readable).expect("it is attached");
    assert_eq!((pool.poll_notice(), pool.stats().parked_on_demand), (None, 0));
    assert_eq!(pool.poll_timeout(), Some(1));
    (0..=1).for_each(|now_ns| pool.handle_timeout(now_ns));
    assert_eq!((pool.poll_notice(), pool.stats().parked_on_demand), (None, 1));
}

#[test]
fn cancel_refuses_the_wait_of_a_receiver() {
    let mut pool = pool();
    let Ok(Outcome::Granted(lease)) = pool.request(0, 0) else { panic!("a buffer is free") };
    let Ok(Outcome::Queued(own)) = pool.request(0, 1) else { panic!("none is free") };
    pool.cancel(own).expect("it is the host's");
    let id = pool.attach(&AttachOptions::new(0, 2)).expect("there is room");
    pool.handle(id, Event::Readable).expect("it is attached");
    // The receiver's wait has the row of the host's wait, so its handle can be guessed.
    let guesses = (1..9).map(|later| WaitId::from_bits(own.to_bits() + (later << 32)));
    let guess = guesses.into_iter().find(|&wait| pool.describe_wait(wait).is_ok()).expect("one is right");
    assert_eq!(pool.cancel(guess), Err(SchedulerError::StaleWait.into()));
    pool.check_invariants().expect("nothing is changed");
    pool.release(lease).expect("it is the host's");
    assert!(matches!(pool.poll_notice(), Some(Notice::Receiver { token: 2, .. })), "the receiver waited on");
}

#[test]
fn handle_raw_round_trip_keeps_any_number() {
    for bits in [0, 1, u64::MAX, 0x0123_4567_89ab_cdef, 0b11 << 54, 0b10 << 54] {
        assert_eq!(ReceiverId::from_bits(bits).to_bits(), bits);
        assert_eq!(LeaseId::from_bits(bits).to_bits(), bits);
        assert_eq!(WaitId::from_bits(bits).to_bits(), bits);
        assert_eq!(TenantId::from_bits(bits).to_bits(), bits);
    }
}

#[test]
fn handle_is_stale_once_its_row_is_reused() {
    let new = || Pool::new(&PoolConfig::new(1, 1)).expect("the configuration is allowed");
    let (mut pool, mut others) = (new(), new());
    let mut used = Vec::new();
    for token in 0..5 {
        let id = pool.attach(&AttachOptions::new(0, token)).expect("the row is free");
        assert!(!used.contains(&id) && used.iter().all(|&id| pool.pending(id) == Err(PoolError::Stale)));
        assert!(pool.pending(id).is_ok());
        // Nor is it valid before its time: the same row of the other pool is free until now.
        assert_eq!(others.pending(id), Err(PoolError::Stale));
        let same = others.attach(&AttachOptions::new(0, token)).expect("the row is free");
        for (pool, id) in [(&mut pool, id), (&mut others, same)] {
            pool.handle(id, Event::Close).expect("close is always allowed");
        }
        used.push(id);
    }
}

#[test]
fn attach_is_refused_when_all_rows_are_used() {
    let mut pool = Pool::new(&PoolConfig::new(1, 2)).expect("the configuration is allowed");
    let Ok(Outcome::Granted(lease)) = pool.request(0, 0) else { panic!("a buffer is free") };
    let first = pool.attach(&AttachOptions::new(0, 1)).expect("there is room");
    pool.attach(&AttachOptions::new(0, 2)).expect("there is room");
    let content = LeasedContent { lease, offset: 0, buffered_bytes: 8 };
    assert_eq!(pool.attach(&AttachOptions::new(0, 3)), Err(PoolError::ReceiversFull { receivers_max: 2 }));
    assert_eq!(
        pool.attach_with(&AttachOptions::new(0, 3), b"hello"),
        Err(PoolError::ReceiversFull { receivers_max: 2 })
    );
    assert_eq!(pool.adopt(&AttachOptions::new(0, 3), content), Err(PoolError::ReceiversFull { receivers_max: 2 }));
    assert_eq!(pool.stats().receivers, 2);
    pool.handle(first, Event::Close).expect("close is always allowed");
    pool.adopt(&AttachOptions::new(0, 3), content).expect("the lease is still the host's");
    assert_eq!(pool.check_invariants(), Ok(()));
}

/// A receiver that waits for a larger buffer leaves the queue once it needs none.
#[test]
fn growth_leaves_the_queue_without_a_need() {
    let mut config = PoolConfig::new(3, 4);
    config.set_buffer_sizes(&[256, 512]).expect("there is a default size");
    let mut pool = Pool::new(&config).expect("the configuration is allowed");
    let Ok(Outcome::Granted(lease)) = pool.request(0, 0) else { panic!("a buffer is free") };
    let id = pool.attach(&AttachOptions::new(0, 7)).expect("there is room");
    pool.handle(id, Event::Readable).expect("it is open");
    pool.handle(id, Event::Received { bytes: 200 }).expect("there is room");
    pool.grow(id, 1).expect("it may wait for one");
    assert_eq!(pool.stats().scheduler.waiting, 1);
    pool.decoded(id, 200, 0).expect("that many bytes are buffered");
    let stats = pool.stats().scheduler;
    assert_eq!((stats.waiting, stats.leased, pool.check_invariants()), (0, 1, Ok(())));
    pool.release(lease).expect("it is the host's");
    assert_eq!(pool.poll_notice(), None::<Notice>);
}

/// One more than the limit, and the limit, of each field that is checked here; the scheduler checks the other fields.
#[test]
fn config_is_refused_just_outside_its_range() {
    type Set = fn(&mut PoolConfig, u32);
    let fields: [(&str, u32, u32, Set); 6] = [
        ("receivers_max", 1, i32::MAX as u32 - 1, |config, value| config.receivers_max = value),
        ("waiters_max", 4, i32::MAX as u32 - 1, |config, value| config.scheduler.waiters_max = value),
        ("policy.park_bytes", 0, 64, |config, value| config.policy.park_bytes = value as u16),
        ("policy.reclaim_bytes", 0, 4096, |config, value| config.policy.reclaim_bytes = value as u16),
        ("continuation_class", 0, 2, |config, value| config.continuation_class = Some(value as u8)),
        ("first_size_index", 0, 3, |config, value| config.first_size_index = value as u8),
    ];
    for (name, least, most, set) in fields {
        for (value, is_allowed) in [(least.wrapping_sub(1), least == 0), (least, true), (most, true), (most + 1, false)]
        {
            let mut config = PoolConfig::new(4, 4);
            (config.scheduler.classes, config.scheduler.sizes) = (3, [1, 1, 1, 1]);
            set(&mut config, value);
            // Not every allowed pool is made: the largest table of receivers may not fit into memory.
            if !is_allowed {
                let refused = Pool::new(&config).expect_err("out of range");
                let words = format!("{name} is {value}; allowed is ");
                assert!(refused.to_string().contains(&words), "{name} = {value}: {refused}");
            } else if value < 10_000 {
                Pool::new(&config).unwrap_or_else(|error| panic!("{name} = {value}: {error}"));
            }
        }
    }
}

/// A receiver that could never be granted its first buffer would wait without end.
#[test]
fn class_cap_must_admit_a_first_buffer() {
    // 4 buffers of 2 units each, and first ones of 8.
    let mut config = PoolConfig { first_size_index: 1, ..PoolConfig::new(4, 4) };
    config.scheduler.sizes = [2, 8, 0, 0];
    assert!(Pool::new(&config).is_ok());
    let refused = |max| Err(ConfigError::out_of_range("scheduler.sizes[first_size_index]", 8, 1, max));
    let (mut reserved, mut capped) = (config, config);
    reserved.scheduler.reserves[0] = 1;
    capped.scheduler.class_caps[0] = 3;
    assert_eq!(Pool::new(&reserved).map(|_| ()), refused(6));
    assert_eq!(Pool::new(&capped).map(|_| ()), refused(6));
    // Classes that are not there are not checked.
    capped.scheduler.class_caps = [4, 3, 0, 0, 0, 0, 0, 0].map(|cap| if cap > 0 { cap } else { u32::MAX });
    assert!(Pool::new(&capped).is_ok());
}

#[test]
fn out_of_memory_is_only_a_failed_reservation() {
    let no_memory = ConfigError::OutOfMemory { field: "slots", bytes: 9 };
    assert!(no_memory.is_out_of_memory());
    let wrong = [
        ConfigError::out_of_range("receivers_max", 0, 1, 9),
        ConfigError::Refused { field: "lease_ns", index: None, value: 0, allowed: Allowed::AtLeast(1) },
    ];
    assert!(!wrong.iter().any(ConfigError::is_out_of_memory));
}

#[test]
fn events_of_the_pool_itself_are_refused() {
    let mut pool = pool();
    let id = pool.attach(&AttachOptions::new(0, 0)).expect("there is room");
    pool.handle(id, Event::Readable).expect("it is open");
    let before = pool.connection(id).expect("it is attached").clone();
    for event in [
        Event::Attach { buffered_bytes: 0, capacity: 0 },
        Event::BufferGranted { capacity: 1 << 20 },
        Event::BufferDenied,
        Event::BufferParked { capacity: 64 },
        Event::BufferReleased,
        Event::Sync { buffered_bytes: 0, capacity: 0, blocked: 0, needed_bytes: false, armed: false },
    ] {
        assert_eq!(pool.handle(id, event), Err(PoolError::InternalEvent), "{event:?}");
        assert_eq!(pool.connection(id), Ok(&before));
    }
}

/// Received bytes are refused with the state machine's error while what came before is not decoded.
#[test]
fn received_is_refused_while_decoding_is_due() {
    let mut pool = pool();
    let id = pool.attach(&AttachOptions::new(0, 0)).expect("there is room");
    let received = |pool: &mut Pool, bytes| pool.handle(id, Event::Received { bytes });
    assert_eq!(received(&mut pool, 1), Err(EventError::NoBuffer.into()));
    pool.handle(id, Event::Readable).expect("it is open");
    assert_eq!(received(&mut pool, BUFFER_BYTES_DEFAULT + 1), Err(EventError::TooManyBytes.into()));
    received(&mut pool, 100).expect("there is room");
    pool.decoded(id, 40, 0).expect("that many bytes are buffered");
    // The host did not ask where to receive since then, so what is left was not moved to the front.
    assert_eq!(received(&mut pool, BUFFER_BYTES_DEFAULT - 99), Err(PoolError::TooManyBytes));
    received(&mut pool, BUFFER_BYTES_DEFAULT - 100).expect("there is room behind it");
}

#[test]
fn compacted_bytes_are_counted() {
    let mut pool = pool();
    let id = pool.attach(&AttachOptions::new(0, 0)).expect("there is room");
    for (moved, consumed) in [(0, 80), (120, 100), (340, 420)] {
        pool.handle(id, Event::Readable).expect("it is open");
        // The second time the content is at the front already.
        for _ in 0..2 {
            pool.receive_area(id).expect("it has a buffer");
            assert_eq!(pool.stats().compacted_bytes, moved);
        }
        pool.handle(id, Event::Received { bytes: 200 }).expect("there is room");
        pool.decoded(id, consumed, 1).expect("that many bytes are buffered");
    }
    assert_eq!(pool.stats().compactions, 2);
}

#[test]
fn reserve_for_partial_frames_serves_only_those() {
    let mut config = PoolConfig { continuation_class: Some(0), ..PoolConfig::new(2, 4) };
    (config.scheduler.classes, config.scheduler.reserves[1]) = (2, 1);
    let mut pool = Pool::new(&config).expect("the configuration is allowed");
    let [begun, new] = [7, 8].map(|token| pool.attach(&AttachOptions::new(1, token)).expect("there is room"));
    for event in [Event::Readable, Event::Received { bytes: 9 }, Event::NeedMore { bytes: 100 }] {
        pool.handle(begun, event).expect("it is open");
    }
    assert!(matches!(pool.request(0, 0), Ok(Outcome::Granted(_))), "the rest of it is parked");
    pool.handle(new, Event::Readable).expect("it is open");
    assert!(pool.connection(new).expect("it is attached").is_waiting());
    pool.handle(begun, Event::Readable).expect("it is open");
    assert!(!pool.connection(begun).expect("it is attached").is_waiting());
}

#[test]
fn receiver_handle_is_refused_as_a_lease() {
    let mut pool = pool();
    let Ok(Outcome::Granted(lease)) = pool.request(0, 0) else { panic!("a buffer is free") };
    let first = pool.attach(&AttachOptions::new(0, 0)).expect("there is room");
    pool.handle(first, Event::Close).expect("close is always allowed");
    // Row and use are the same as the lease's.
    let id = pool.attach(&AttachOptions::new(0, 0)).expect("there is room");
    assert_eq!(pool.release(LeaseId::from_bits(id.to_bits())), Err(SchedulerError::StaleLease.into()));
    pool.release(lease).expect("it is the host's");
}

/// 16,384 bytes and a header of 9: the largest frame that every HTTP/2 peer may send (RFC 9113 section 4.2).
#[test]
fn s65_largest_default_frame_fits_default_buffer() {
    let head = h2::FrameHeader { length: h2::MAX_FRAME_SIZE_MIN, stream_id: 1, kind: h2::kind::DATA, flags: 0 };
    let frame = [head.encode().as_slice(), &vec![7; h2::MAX_FRAME_SIZE_MIN as usize]].concat();
    for piece_bytes in [1000, frame.len() - 1, frame.len()] {
        let mut pool = Pool::new(&PoolConfig::new(1, 1)).expect("the defaults are allowed");
        let id = pool.attach(&AttachOptions::new(0, 1)).expect("there is room");
        let mut actions = pool.handle(id, Event::Readable).expect("it is attached");
        for piece in frame.chunks(piece_bytes) {
            if !actions.has(Action::Recv) {
                actions = pool.handle(id, Event::Readable).expect("it is attached");
            }
            assert!(actions.has(Action::Recv), "{actions:?}");
            pool.receive_area(id).expect("it is attached")[..piece.len()].copy_from_slice(piece);
            pool.handle(id, Event::Received { bytes: piece.len() as u32 }).expect("there is room");
            let buffered_bytes = pool.data(id).expect("it is attached").len();
            if buffered_bytes < frame.len() {
                actions = pool.decoded(id, 0, (frame.len() - buffered_bytes) as u32).expect("it is more");
                assert!(!actions.has(Action::CannotFit), "{buffered_bytes} bytes of {}", frame.len());
            }
        }
        assert_eq!(pool.data(id), Ok(frame.as_slice()));
        assert_eq!(pool.stats().compacted_bytes, 0, "it stays where it was received");
        pool.decoded(id, frame.len() as u32, 0).expect("it is there");
        assert_eq!(pool.stats().scheduler.leased, 0);
    }
}
