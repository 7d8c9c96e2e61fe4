//! What a receiver keeps for its host and its decoder, and the handles, events and configurations that are refused.

use demuxbuf::connection::{Action, Actions, Event, EventError};
use demuxbuf::framing::h2;
use demuxbuf::memory::BUFFER_BYTES_DEFAULT;
use demuxbuf::pool::{AttachOptions, LeasedContent, Notice, Pool, PoolConfig, PoolError, ReceiverId};
use demuxbuf::scheduler::{LeaseId, Outcome, SchedulerError, TenantId, WaitId};
use demuxbuf::{Allowed, ConfigError};

/// Eight buffers of the default size.
fn config(receivers_max: u32) -> PoolConfig {
    PoolConfig::new(8 * u64::from(BUFFER_BYTES_DEFAULT), receivers_max)
}

fn pool() -> Pool {
    Pool::new(&config(4)).expect("the configuration is allowed")
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
    pool.receive_area(id).expect("it is to receive")[..3].copy_from_slice(&[1, 2, 3]);
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
fn out_of_memory_is_only_a_failed_reservation() {
    let no_memory = ConfigError::OutOfMemory { field: "receivers_max", bytes: 9 };
    assert!(no_memory.is_out_of_memory());
    let wrong = [
        ConfigError::out_of_range("receivers_max", 0, 1, 9),
        ConfigError::Refused { field: "memory_bytes", index: None, value: 0, allowed: Allowed::AtLeast(1) },
    ];
    assert!(!wrong.iter().any(ConfigError::is_out_of_memory));
}

/// A frame that fits into no buffer, which its host does not deal with, goes for the sake of others.
#[test]
fn holder_of_an_oversized_frame_is_shed() {
    let mut pool = Pool::new(&PoolConfig { buffer_bytes: 256, ..PoolConfig::new(8 * 256, 2) }).expect("it is allowed");
    let [holder, other] = [7, 8].map(|token| pool.attach(&AttachOptions::new(0, token)).expect("there is room"));
    pool.handle_timeout(0);
    pool.handle(holder, Event::Readable).expect("it is attached");
    pool.handle(holder, Event::Received { bytes: 256 }).expect("there is room");
    let actions = pool.decoded(holder, 0, 1).expect("they are there");
    assert!(actions.has(Action::CannotFit), "{actions:?}");
    // Its host does not act. All else is the host's own, and a request waits.
    pool.handle_timeout(1);
    while let Outcome::Granted(_) = pool.request(0, 9).expect("it may wait") {}
    let mut notices = Vec::new();
    for step in 1..=24 {
        pool.handle_timeout(step * 125_000_000);
        notices.extend(std::iter::from_fn(|| pool.poll_notice()).map(|notice| (step, notice)));
    }
    let is_shed = |notice: &Notice| match notice {
        Notice::Receiver { id, actions, .. } => *id == holder && actions.has(Action::Shed),
        _ => false,
    };
    assert!(notices.iter().any(|(step, notice)| is_shed(notice) && (17..=18).contains(step)), "{notices:?}");
    assert!(notices.iter().any(|(_, notice)| matches!(notice, Notice::Lease { token: 9, .. })), "{notices:?}");
    assert!(pool.handle(other, Event::Readable).expect("it is attached").has(Action::Recv));
    assert_eq!(pool.check_invariants(), Ok(()));
}

/// Receivers have no waits that a host could end, whatever handle it makes up.
#[test]
fn cancel_refuses_all_but_waits_of_the_host() {
    let mut pool = Pool::new(&PoolConfig { buffer_bytes: 256, ..PoolConfig::new(8 * 256, 4) }).expect("it is allowed");
    let mut leases = Vec::new();
    let own = loop {
        match pool.request(0, 1).expect("the table of waits is not full") {
            Outcome::Granted(lease) => leases.push(lease),
            Outcome::Queued(wait) => break wait,
        }
    };
    assert_eq!(pool.describe_wait(own).map(|wait| (wait.token, wait.class)), Ok((1, 0)));
    let id = pool.attach(&AttachOptions::new(0, 2)).expect("there is room");
    pool.handle(id, Event::Readable).expect("it is attached");
    pool.handle(id, Event::Received { bytes: 64 }).expect("a cell is free");
    pool.decoded(id, 0, 100).expect("they are there");
    pool.handle(id, Event::Readable).expect("it is attached");
    assert!(pool.connection(id).expect("it is attached").is_waiting());
    pool.cancel(own).expect("it is the host's");
    let stale = Err(SchedulerError::StaleWait.into());
    for guess in (0..9).map(|later| WaitId::from_bits(own.to_bits() + (later << 32))) {
        assert_eq!((pool.cancel(guess), pool.describe_wait(guess).map(|_| ())), (stale, stale));
    }
    pool.check_invariants().expect("nothing is changed");
    leases.into_iter().for_each(|lease| pool.release(lease).expect("it is the host's"));
    assert!(matches!(pool.poll_notice(), Some(Notice::Receiver { token: 2, .. })), "the receiver waited on");
}

#[test]
fn handle_is_stale_once_its_row_is_reused() {
    let new = || Pool::new(&config(1)).expect("the configuration is allowed");
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
    let mut pool = Pool::new(&config(2)).expect("the configuration is allowed");
    let Ok(Outcome::Granted(lease)) = pool.request(0, 0) else { panic!("a buffer is free") };
    let first = pool.attach(&AttachOptions::new(0, 1)).expect("there is room");
    pool.attach(&AttachOptions::new(0, 2)).expect("there is room");
    let content = LeasedContent { lease, offset: 0, buffered_bytes: 8 };
    let full = PoolError::ReceiversFull { receivers_max: 2 };
    assert_eq!(pool.attach(&AttachOptions::new(0, 3)), Err(full));
    assert_eq!(pool.attach_with(&AttachOptions::new(0, 3), b"hello"), Err(full));
    assert_eq!(pool.adopt(&AttachOptions::new(0, 3), content), Err(full));
    assert_eq!(pool.stats().receivers, 2);
    pool.handle(first, Event::Close).expect("close is always allowed");
    pool.adopt(&AttachOptions::new(0, 3), content).expect("the lease is still the host's");
    assert_eq!(pool.check_invariants(), Ok(()));
}

/// One more than the limit, and the limit, of each field that a host sets for the memory and its receivers.
#[test]
fn config_is_refused_just_outside_its_range() {
    type Set = fn(&mut PoolConfig, u64);
    const NONE: u64 = u64::MAX;
    let fields: [(&str, u64, u64, Set); 7] = [
        ("receivers_max", 1, (1 << 29) - 1, |config, value| config.receivers_max = value as u32),
        ("waiters_max", 0, (1 << 29) - 1, |config, value| config.waiters_max = value as u32),
        ("frame_grace_ns", 8, u64::MAX / 4, |config, value| config.frame_grace_ns = value),
        ("blocked_ns", 8, u64::MAX / 4, |config, value| config.blocked_ns = value),
        ("buffer_bytes", 128, 16 << 20, |config, value| config.buffer_bytes = value as u32),
        ("memory_bytes", 8 * 128, NONE, |config, value| config.memory_bytes = value),
        ("classes", 1, 8, |config, value| config.classes = value as u8),
    ];
    for (name, least, most, set) in fields {
        let below = least.checked_sub(1).map(|value| (value, false));
        let above = (most < NONE).then(|| [(most, true), (most + 1, false)]);
        for (value, is_allowed) in below.into_iter().chain([(least, true)]).chain(above.into_iter().flatten()) {
            let mut config = PoolConfig { buffer_bytes: 128, ..PoolConfig::new(256 << 20, 4) };
            set(&mut config, value);
            let made = if is_allowed { config.split().map(|_| ()) } else { Pool::new(&config).map(|_| ()) };
            match made {
                Ok(()) => assert!(is_allowed, "{name} = {value}"),
                Err(error) => {
                    let words = format!("{name} is {value}; allowed is ");
                    assert!(!is_allowed && error.to_string().contains(&words), "{name} = {value}: {error}");
                }
            }
        }
    }
}

#[test]
fn events_of_the_pool_itself_are_refused() {
    let mut pool = pool();
    let id = pool.attach(&AttachOptions::new(0, 0)).expect("there is room");
    pool.handle(id, Event::Readable).expect("it is open");
    let before = pool.connection(id).expect("it is attached");
    for event in [
        Event::Attach { buffered_bytes: 0, capacity: 0 },
        Event::BufferGranted { capacity: 1 << 20 },
        Event::BufferDenied,
        Event::BufferParked { capacity: 64 },
        Event::BufferReleased,
        Event::ReclaimRequested,
        Event::LeaseExpired,
        Event::Sync { buffered_bytes: 0, capacity: 0, blocked: 0, needed_bytes: false, armed: false },
    ] {
        assert_eq!(pool.handle(id, event), Err(PoolError::InternalEvent), "{event:?}");
        assert_eq!((pool.connection(id), pool.check_invariants()), (Ok(before.clone()), Ok(())));
    }
}

/// A receive is refused that nothing allowed, or that brought more than was allowed; nothing is changed.
#[test]
fn received_is_refused_where_none_was_allowed() {
    let mut pool = pool();
    let id = pool.attach(&AttachOptions::new(0, 0)).expect("there is room");
    let received = |pool: &mut Pool, bytes| pool.handle(id, Event::Received { bytes });
    assert_eq!(received(&mut pool, 1), Err(EventError::NoBuffer.into()), "it is not readable");
    pool.handle(id, Event::Readable).expect("it is open");
    assert_eq!(received(&mut pool, BUFFER_BYTES_DEFAULT + 1), Err(EventError::TooManyBytes.into()));
    received(&mut pool, 100).expect("there is room");
    pool.decoded(id, 40, 0).expect("that many bytes are buffered");
    assert_eq!(received(&mut pool, BUFFER_BYTES_DEFAULT - 59), Err(EventError::TooManyBytes.into()));
    pool.decoded(id, 0, 20).expect("more is missing");
    pool.handle(id, Event::Readable).expect("it is open");
    assert_eq!(pool.receive_area(id).map(|area| area.len() as u32), Ok(BUFFER_BYTES_DEFAULT - 60));
    assert_eq!(received(&mut pool, BUFFER_BYTES_DEFAULT - 59), Err(EventError::TooManyBytes.into()));
    received(&mut pool, BUFFER_BYTES_DEFAULT - 60).expect("there is room behind it");
    assert_eq!((pool.stats().received_bytes, pool.check_invariants()), (u64::from(BUFFER_BYTES_DEFAULT) + 40, Ok(())));
}

#[test]
fn receiver_handle_is_refused_as_a_lease() {
    let mut pool = Pool::new(&config(8)).expect("the configuration is allowed");
    let Ok(Outcome::Granted(lease)) = pool.request(0, 0) else { panic!("a buffer is free") };
    // Rows, and how often they were used, are the same as those of leases.
    for _ in 0..3 {
        let ids: Vec<ReceiverId> =
            (0..8).map(|token| pool.attach(&AttachOptions::new(0, token)).expect("there is room")).collect();
        for id in ids {
            let guess = LeaseId::from_bits(id.to_bits());
            assert_eq!(pool.release(guess), Err(SchedulerError::StaleLease.into()));
            assert_eq!(pool.buffer(guess).map(|_| ()), Err(SchedulerError::StaleLease.into()));
            assert_eq!(pool.pending(ReceiverId::from_bits(lease.to_bits())), Err(PoolError::Stale));
            pool.handle(id, Event::Close).expect("close is always allowed");
        }
    }
    pool.release(lease).expect("it is the host's");
}

/// The buffers of receivers are leases too, whose handles can be guessed.
#[test]
fn release_refuses_the_buffers_of_receivers() {
    let mut pool = pool();
    let Ok(Outcome::Granted(lease)) = pool.request(0, 0) else { panic!("a buffer is free") };
    let stale = SchedulerError::StaleLease.into();
    for guess in (0..8).flat_map(|buffer| (0..9).map(move |uses: u64| LeaseId::from_bits(uses << 32 | buffer))) {
        let content = LeasedContent { lease: guess, offset: 0, buffered_bytes: 1 };
        if guess != lease {
            assert_eq!((pool.release(guess), pool.buffer(guess).map(|_| ())), (Err(stale), Err(stale)));
            assert_eq!(pool.adopt(&AttachOptions::new(0, 0), content), Err(stale));
        }
    }
    assert_eq!((pool.release(lease), pool.check_invariants()), (Ok(()), Ok(())));
}

/// 16,384 bytes and a header of 9: the largest frame that every HTTP/2 peer may send (RFC 9113 section 4.2).
#[test]
fn s65_largest_default_frame_fits_default_buffer() {
    let head = h2::FrameHeader { length: h2::MAX_FRAME_SIZE_MIN, stream_id: 1, kind: h2::kind::DATA, flags: 0 };
    let frame = [head.encode().as_slice(), &vec![7; h2::MAX_FRAME_SIZE_MIN as usize]].concat();
    for piece_bytes in [1000, frame.len() - 1, frame.len()] {
        let mut pool = Pool::new(&config(1)).expect("the defaults are allowed");
        let free = pool.memory().free_buffers();
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
        // Up to half a buffer is copied into a cell, and back for the next receive; more stays where it was received.
        let copied_bytes: u64 =
            (1000..).step_by(piece_bytes).take_while(|bytes| bytes * 2 <= 16_448).map(|bytes| 2 * bytes).sum();
        let copied_bytes = if piece_bytes == 1000 { copied_bytes } else { 0 };
        assert_eq!(pool.stats().memory_model.copied_bytes, copied_bytes);
        pool.decoded(id, frame.len() as u32, 0).expect("it is there");
        assert_eq!((pool.memory().free_buffers(), pool.check_invariants()), (free, Ok(())));
    }
}

/// Whichever way bytes come in, they are counted once, and leave once.
#[test]
fn s88_counters_add_up_for_attach_and_adopt() {
    let mut pool = Pool::new(&PoolConfig { buffer_bytes: 256, ..PoolConfig::new(8 * 256, 4) }).expect("it is allowed");
    let buffered = |pool: &Pool| {
        pool.check_invariants().expect("nothing is broken");
        let stats = pool.stats();
        stats.received_bytes - stats.consumed_bytes - stats.dropped_bytes - stats.taken_bytes
    };
    let small = pool.attach_with(&AttachOptions::new(0, 0), &[7; 10]).expect("there is room");
    let large = pool.attach_with(&AttachOptions::new(0, 0), &[7; 100]).expect("there is room");
    assert_eq!((buffered(&pool), pool.stats().received_bytes), (110, 110));
    pool.decoded(small, 10, 0).expect("they are there");
    pool.decoded(large, 30, 0).expect("they are there");
    let taken = pool.take(large).expect("a buffer is free");
    assert_eq!((buffered(&pool), pool.stats().taken_bytes), (0, 70));
    let adopted = pool.adopt(&AttachOptions::new(0, 0), taken).expect("it is the host's");
    assert_eq!((buffered(&pool), pool.stats().received_bytes), (70, 180));
    pool.handle(adopted, Event::Close).expect("it is attached");
    assert_eq!((buffered(&pool), pool.stats().dropped_bytes), (0, 70));

    // A refused call counts nothing.
    let Ok(Outcome::Granted(lease)) = pool.request(0, 0) else { panic!("a buffer is free") };
    let outside = LeasedContent { lease, offset: 200, buffered_bytes: 57 };
    pool.adopt(&AttachOptions::new(0, 0), outside).expect_err("it is outside");
    pool.attach_with(&AttachOptions::new(9, 0), &[7; 10]).expect_err("there is no such class");
    pool.attach_with(&AttachOptions::new(0, 0), &[7; 257]).expect_err("it is more than a buffer");
    assert_eq!((buffered(&pool), pool.stats().received_bytes), (0, 180));
}
