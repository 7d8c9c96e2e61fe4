//! What receivers are lent, keep and lose: borrows, caps, claims, trials and evictions.

use crate::{MODES, MS, pool_of_eight, pool_of_eight_in, receive};
use demuxbuf::connection::{Action, Actions, Event, EventError, Mode, Policy};
use demuxbuf::pool::{AttachOptions, Notice, Pool, PoolConfig, PoolError, ReceiverId};
use demuxbuf::scheduler::{Outcome, Request};
use demuxbuf_testkit::in_modes;

#[test]
fn plain_connections_keep_nothing() {
    let config = PoolConfig::new(1 << 20, 1000);
    let mut pool = Pool::new(&config).expect("the configuration is allowed");
    let free = pool.memory().free_buffers();
    let ids: Vec<ReceiverId> =
        (0..1000).map(|token| pool.attach(&AttachOptions::new(0, token)).expect("there is room")).collect();
    for &id in &ids {
        let actions = pool.handle(id, Event::Readable).expect("it is attached");
        assert!(actions.has(Action::Recv));
        let area = pool.receive_area(id).expect("it is attached");
        assert_eq!(area.len(), 16_448);
        area[..5].copy_from_slice(b"hello");
        assert!(pool.handle(id, Event::Received { bytes: 5 }).expect("there is room").has(Action::Decode));
        assert_eq!(pool.data(id), Ok(&b"hello"[..]));
        pool.decoded(id, 5, 0).expect("it is attached");
        assert_eq!((pool.memory().free_buffers(), pool.check_invariants()), (free, Ok(())));
    }
    assert_eq!(pool.totals().copied_bytes, 0);
    assert_eq!(pool.connection(ids[0]).map(|connection| connection.buffered_bytes()), Ok(0));
}

/// A frame of which the decoder takes the middle out, and what is left of it then, wherever that is.
#[test]
fn decoder_works_in_place() {
    let mut pool = pool_of_eight(0);
    let [beside, id] = [1, 2].map(|token| pool.attach(&AttachOptions::new(0, token)).expect("there is room"));
    receive(&mut pool, beside, b"beside", 10);
    assert_eq!(pool.data_mut(id), Ok(&mut [][..]), "nothing is buffered");
    pool.handle(id, Event::Readable).expect("it is attached");
    pool.receive_area(id).expect("it is attached")[..10].copy_from_slice(b"hello-hole");
    pool.handle(id, Event::Received { bytes: 10 }).expect("there is room");
    assert_eq!(pool.data(id), Ok(&b"hello-hole"[..]));
    let data = pool.data_mut(id).expect("it is attached");
    data.copy_within(0..5, 1);
    data[9] = b'y';
    pool.decoded(id, 1, 3).expect("they are buffered");
    // What is left is kept in a cell.
    assert_eq!(pool.data(id), Ok(&b"helloholy"[..]));
    pool.data_mut(id).expect("it is attached")[..2].copy_from_slice(b"je");
    assert_eq!(pool.data(id), Ok(&b"jelloholy"[..]));
    // And behind that, in a borrow that is none of the common ones.
    pool.handle(id, Event::Readable).expect("it is attached");
    pool.receive_area(id).expect("it is attached")[..3].copy_from_slice(b"day");
    pool.handle(id, Event::Received { bytes: 3 }).expect("there is room");
    pool.data_mut(id).expect("it is attached")[9] = b'b';
    assert_eq!((pool.data(id), pool.check_invariants()), (Ok(&b"jelloholybay"[..]), Ok(())));
    assert_eq!(pool.data(beside), Ok(&b"beside"[..]));
}

/// What is left in a buffer that was free stays where it is, if that is cut for it.
#[test]
fn cut_buffer_keeps_what_it_has() {
    let mut pool = pool_of_eight(0);
    let [beside, id] = [1, 2].map(|token| pool.attach(&AttachOptions::new(0, token)).expect("there is room"));
    assert!(pool.handle(beside, Event::Readable).expect("it is attached").has(Action::Recv));
    let free = pool.memory().free_buffers();
    receive(&mut pool, id, &[7; 100], 30);
    assert_eq!((pool.data(id), pool.totals().copied_bytes), (Ok(&[7; 100][..]), 0));
    assert_eq!((pool.memory().free_buffers(), pool.check_invariants()), (free - 1, Ok(())));
}

#[test]
fn received_unasked_is_refused_by_its_cause() {
    let mut pool = pool_of_eight(1);
    let id = pool.attach(&AttachOptions::new(0, 0)).expect("there is room");
    let received = |pool: &mut Pool, bytes| pool.handle(id, Event::Received { bytes });
    assert_eq!(received(&mut pool, 1), Err(EventError::NoBuffer.into()));
    pool.handle(id, Event::Readable).expect("it is attached");
    assert_eq!(received(&mut pool, 0), Err(EventError::ZeroBytes.into()));
    assert_eq!(received(&mut pool, 257), Err(EventError::TooManyBytes.into()));
    received(&mut pool, 10).expect("there is room");
    assert_eq!(received(&mut pool, 1), Err(PoolError::TooManyBytes), "it is to decode");
    pool.handle(id, Event::EndOfStream).expect("it is attached");
    assert_eq!(received(&mut pool, 1), Err(EventError::AfterEnd.into()));
    assert_eq!((pool.data(id), pool.check_invariants()), (Ok(&[0; 10][..]), Ok(())));
}

#[test]
fn bytes_from_before_are_decoded_first() {
    let mut pool = pool_of_eight(1);
    let id = pool.attach_with(&AttachOptions::new(0, 1), b"upgraded").expect("there is room");
    assert!(pool.pending(id).expect("it is attached").has(Action::Decode));
    assert_eq!(pool.data(id), Ok(&b"upgraded"[..]));
    // What is borrowed when the clock is advanced is kept, and can be decoded in the next loop iteration.
    pool.handle_timeout(1);
    assert_eq!((pool.data(id), pool.check_invariants()), (Ok(&b"upgraded"[..]), Ok(())));
    pool.handle(id, Event::Wake).expect("it is attached");
    assert!(pool.pending(id).expect("it is attached").has(Action::Decode));
    pool.decoded(id, 8, 0).expect("they are buffered");
    assert_eq!(pool.attach_with(&AttachOptions::new(0, 2), &[0; 257]), Err(PoolError::TooManyBytes));
    // Nothing is free that a decoder could leave bytes in.
    let leases: Vec<_> = std::iter::from_fn(|| match pool.request(0, 0) {
        Ok(Outcome::Granted(lease)) => Some(lease),
        _ => None,
    })
    .collect();
    assert_eq!(pool.attach_with(&AttachOptions::new(0, 2), &[0; 65]), Err(PoolError::NoBufferFree));
    assert_eq!(pool.check_invariants(), Ok(()));
    // One of the smallest cells is enough for a few.
    let few = pool.attach_with(&AttachOptions::new(0, 2), b"more").expect("there is room");
    assert!(!pool.decoded(few, 0, 1).expect("they are buffered").has(Action::Shed));
    assert_eq!((pool.data(few), pool.check_invariants()), (Ok(&b"more"[..]), Ok(())));
    for lease in leases {
        pool.release(lease).expect("it is the host's");
    }
    pool.attach_with(&AttachOptions::new(0, 3), &[0; 65]).expect("there is room again");
}

/// Receivers may have no more than their cap, however much is free.
#[test]
fn cap_of_receivers_is_kept() {
    let mut config = PoolConfig { buffer_bytes: 256, ..PoolConfig::new(12 * 256, 8) };
    (config.classes, config.class_caps[1]) = (2, 5);
    let mut pool = Pool::new(&config).expect("it is allowed");
    // The receive buffer and two header buffers are among the five.
    assert_eq!(pool.memory().free_buffers(), 2);
    for token in 0..3 {
        let id = pool.attach(&AttachOptions::new(0, token)).expect("there is room");
        pool.handle(id, Event::Readable).expect("it is attached");
        let room = pool.receive_area(id).expect("it is attached").len() as u32;
        if room > 0 {
            pool.handle(id, Event::Received { bytes: room }).expect("there is room");
            pool.handle(id, Event::Block { reasons: 1 }).expect("it is attached");
        }
        assert_eq!(pool.check_invariants(), Ok(()));
    }
    let outstanding = pool.stats().scheduler.outstanding_by_class[1];
    assert_eq!((pool.memory().free_buffers(), outstanding), (0, 5));
}

/// What the first edge was reported for may have been received before the report was looked at.
#[test]
fn time_of_a_frame_does_not_run_from_a_late_edge() {
    let policy = Policy { mode: Mode::Edge, ..Policy::default() };
    let config = PoolConfig { buffer_bytes: 256, policy, ..PoolConfig::new(8 * 256, 8) };
    let mut pool = Pool::new(&config).expect("the configuration is allowed");
    while let Ok(Outcome::Granted(_)) = pool.request(0, 0) {}
    pool.handle_timeout(0);
    let ids: Vec<ReceiverId> =
        (0..5).map(|token| pool.attach(&AttachOptions::new(0, token)).expect("there is room")).collect();
    let (&client, others) = ids.split_last().expect("there are five");
    // Nothing is free but four small cells, and these are filled.
    for &other in others {
        receive(&mut pool, other, &[1; 64], 1);
    }
    assert!(!pool.handle(client, Event::Readable).expect("it is attached").has(Action::Recv));
    let mut tried = Vec::new();
    for step in 1..=20 {
        pool.handle_timeout(step * 100 * MS);
        if step == 9 {
            pool.handle(client, Event::Readable).expect("it is attached");
        }
        while let Some(notice) = pool.poll_notice() {
            tried.extend(matches!(notice, Notice::Receiver { id, .. } if id == client).then_some(step));
        }
    }
    assert_eq!(tried, [20], "its frame began with the second edge, and has 1 s and 31 ms");
}

/// A pool without room: the host has leased what was free, and no cell of 64 bytes is left. In it, a receiver that has
/// decoded all of 5 bytes, and reported these two numbers then.
fn shortage_after(mode: Mode, needed: u32, usable: u32) -> (Pool, ReceiverId) {
    let mut pool = pool_of_eight_in(mode, 0);
    pool.handle_timeout(0);
    let id = pool.attach(&AttachOptions::new(0, 0)).expect("there is room");
    assert!(pool.handle(id, Event::Readable).expect("it is attached").has(Action::Recv));
    pool.handle(id, Event::Received { bytes: 5 }).expect("there is room");
    pool.decoded_usable(id, 5, needed, usable).expect("they are buffered");
    pool.handle(id, Event::WouldBlock).expect("it is attached");
    for token in 1..5 {
        let other = pool.attach(&AttachOptions::new(0, token)).expect("there is room");
        receive(&mut pool, other, &[1; 20], 10);
        pool.handle(other, Event::WouldBlock).expect("it is attached");
    }
    while let Ok(Outcome::Granted(_)) = pool.request(0, 0) {}
    pool.handle_timeout(1);
    (pool, id)
}

/// Something is there for a receiver that has to wait; time passes until its trial. How much that may receive.
fn wait_for_trial(pool: &mut Pool, id: ReceiverId, now_ns: &mut u64) -> u32 {
    assert!(!pool.handle(id, Event::Readable).expect("it is attached").has(Action::Recv), "it claims");
    for _ in 1..=26 {
        *now_ns += 125 * MS;
        pool.handle_timeout(*now_ns);
    }
    let is_trial =
        |notice: &Notice| matches!(notice, Notice::Receiver { token: 0, actions, .. } if actions.has(Action::Recv));
    assert!(std::iter::from_fn(|| pool.poll_notice()).any(|notice| is_trial(&notice)), "its deadline has come");
    pool.receive_area(id).expect("it is attached").len() as u32
}

/// A decoder may not have said what it needs. The receive of a trial begins with one byte then, and goes on.
#[test]
fn trial_goes_on_when_nothing_was_kept() {
    in_modes(&MODES, |mode| {
        let (mut pool, id) = shortage_after(mode, 0, 0);
        assert_eq!(wait_for_trial(&mut pool, id, &mut 1), 1);
        for (bytes, needed) in [(1, 140), (140, 0)] {
            assert_eq!(pool.receive_area(id).expect("it is attached").len(), bytes as usize);
            pool.handle(id, Event::Received { bytes }).expect("there is room");
            let actions = pool.decoded(id, 141 * u32::from(needed == 0), needed).expect("they are buffered");
            assert_eq!((actions.has(Action::Recv), pool.check_invariants()), (needed > 0, Ok(())));
        }
    });
}

/// A decoder that takes content in pieces has all that it said it can use in each trial, not a byte.
#[test]
fn trial_brings_what_the_decoder_can_use() {
    in_modes(&MODES, |mode| {
        let (mut pool, id) = shortage_after(mode, 1, 1_000);
        let (mut left, mut now_ns) = (1_000, 1);
        for bytes in [256, 256, 100, 256] {
            assert_eq!(wait_for_trial(&mut pool, id, &mut now_ns), 256.min(left), "the size of a buffer");
            left -= bytes;
            pool.handle(id, Event::Received { bytes }).expect("there is room");
            pool.decoded_usable(id, bytes, 1, left).expect("they are buffered");
            pool.handle(id, Event::WouldBlock).expect("it is attached");
            assert_eq!((pool.totals().shed_at_deadline, pool.check_invariants()), (0, Ok(())));
        }
        assert_eq!(wait_for_trial(&mut pool, id, &mut now_ns), left);
        // At the end of the content, what comes next is not the decoder's to use.
        pool.handle(id, Event::Received { bytes: left }).expect("there is room");
        pool.decoded(id, left, 0).expect("they are buffered");
        pool.handle(id, Event::WouldBlock).expect("it is attached");
        assert_eq!(wait_for_trial(&mut pool, id, &mut now_ns), 1);
    });
}

/// The last report counts, also one without bytes; what only a need was named for is used at once, too.
#[test]
fn decoder_says_anew_what_it_can_use() {
    for (needed, usable, expected) in [(9, 0, 9), (1, 0, 1), (1, 40, 40), (60, 70, 70)] {
        let (mut pool, id) = shortage_after(Mode::Level, 1, 1_000);
        pool.decoded_usable(id, 0, needed, usable).expect("it is attached");
        assert_eq!((wait_for_trial(&mut pool, id, &mut 1), pool.check_invariants()), (expected, Ok(())));
    }
    // Of content that was dropped, or after the end, nothing is known.
    let (mut pool, id) = shortage_after(Mode::Level, 1, 1_000);
    pool.handle(id, Event::EndOfStream).expect("it is attached");
    assert_eq!(pool.memory().facts(0).map(|facts| facts.usable_bytes), Ok(0));
    assert_eq!(pool.check_invariants(), Ok(()));
}

/// Content is evicted for the sake of another receiver; the host may call for the one that lost it before it has polled
/// the notice.
#[test]
fn evicted_receiver_takes_calls_before_its_notice() {
    for case in 0..4 {
        let mut pool = pool_of_eight(1);
        let [first, second, third] =
            [0, 1, 2].map(|token| pool.attach(&AttachOptions::new(0, token)).expect("there is room"));
        pool.handle_timeout(0);
        receive(&mut pool, first, &[1; 200], 56);
        receive(&mut pool, second, &[2; 200], 56);
        while pool.try_request(&Request::new(0, 0)).expect("the class exists").is_some() {}
        for step in 1..12 {
            pool.handle_timeout(step * 125 * MS);
        }
        receive(&mut pool, third, &[3; 64], 100);
        assert!(!pool.handle(third, Event::Readable).expect("it is attached").has(Action::Recv));
        assert_eq!((pool.totals().evicted, pool.check_invariants()), (1, Ok(())));
        match case {
            0 => assert!(pool.handle(first, Event::Close).expect("it is attached").has(Action::Finished)),
            1 => assert!(pool.decoded(first, 200, 0).is_err(), "there is nothing left"),
            2 => assert_eq!(pool.take(first), Err(PoolError::NoBuffer)),
            _ => assert!(pool.set_policy(first, &Policy::default()).expect("it is allowed").has(Action::Shed)),
        }
        assert_eq!((pool.check_invariants(), pool.counts().dropped_bytes), (Ok(()), 200), "case {case}");
        if case > 0 {
            assert!(pool.pending(first).expect("it is attached").has(Action::Shed));
        }
        let is_third = |notice: &Notice| match notice {
            Notice::Receiver { id, actions, .. } => *id == third && actions.has(Action::Recv),
            _ => false,
        };
        let notices: Vec<Notice> = std::iter::from_fn(|| pool.poll_notice()).collect();
        assert!(notices.iter().any(is_third), "there is room for it: {notices:?}");
        assert_eq!((pool.check_invariants(), pool.counts().dropped_bytes), (Ok(()), 400), "case {case}");
    }
}

#[test]
fn statistics_have_the_counts_of_the_memory_model() {
    let mut pool = pool_of_eight(0);
    let id = pool.attach(&AttachOptions::new(0, 1)).expect("there is room");
    receive(&mut pool, id, &[1; 200], 56);
    let stats = pool.stats();
    assert_eq!((stats.scheduler.capacity, stats.scheduler.free), (8, pool.memory().free_buffers()));
    assert_eq!((stats.received_bytes, stats.receivers, stats.receivers_max, stats.memory_bytes), (200, 1, 8, 2048));
    assert_eq!(stats.memory_model.copied_bytes, pool.totals().copied_bytes);
    assert_eq!(stats.memory_model.wait_ns_max, pool.memory().config().wait_ns_max());
    assert_eq!((stats.shed, stats.memory_model.claims), (0, 0));
    // An advance is worth an eighth of the grace.
    pool.handle_timeout(5);
    pool.handle_timeout(5 + 125 * MS);
    assert_eq!(pool.stats().clock_skipped_ns, 0);
    pool.handle_timeout(5 + 1_000 * MS);
    assert_eq!(pool.stats().clock_skipped_ns, 750 * MS);
}

/// The host has seen it and does nothing about it: no loop iteration reports it anew.
#[test]
fn frame_that_does_not_fit_is_reported_once() {
    in_modes(&MODES, |mode| {
        for received in [20, 256] {
            let mut pool = pool_of_eight_in(mode, 0);
            let id = pool.attach(&AttachOptions::new(0, 1)).expect("there is room");
            let interest = pool.pending(id).expect("it is attached").intersection(Action::WantRecv.into());
            pool.handle(id, Event::done(interest)).expect("it is pending");
            let actions = receive(&mut pool, id, &vec![1; received], 300);
            assert!(actions.has(Action::CannotFit));
            let done = actions.intersection(Action::CannotFit | Action::StopRecv);
            pool.handle(id, Event::done(done)).expect("they are pending");
            for iteration in 1..4 {
                pool.handle_timeout(iteration * MS);
                assert_eq!((pool.pending(id), pool.check_invariants()), (Ok(Actions::NONE), Ok(())));
                for event in [Event::Wake, Event::Readable] {
                    assert_eq!(pool.handle(id, event), Ok(Actions::NONE), "{event:?}");
                }
            }
            // A decoder that drops the frame piece by piece after all goes on.
            pool.decoded(id, received as u32, 0).expect("they are there");
            assert_eq!((pool.data(id), pool.check_invariants()), (Ok(&[][..]), Ok(())));
            assert!(pool.handle(id, Event::Readable).expect("it is attached").has(Action::Recv));
        }
    });
}

/// What the peer of a receiver with paused read interest sends stays in the kernel: it is not its peer that is late.
#[test]
fn pause_stops_the_clock_of_a_frame() {
    in_modes(&MODES, |mode| {
        for is_paused in [false, true] {
            let mut pool = pool_of_eight_in(mode, 1);
            pool.handle_timeout(0);
            let id = pool.attach(&AttachOptions::new(0, 1)).expect("there is room");
            receive(&mut pool, id, &[1; 200], 56);
            if is_paused {
                pool.handle(id, Event::PauseRecv).expect("it is attached");
            }
            while let Ok(Outcome::Granted(_)) = pool.request(0, 0) {}
            // Its deadline is after 1.031 s; content that waits for the host has 2 s.
            let mut shed_at = Vec::new();
            for step in 1..=18 {
                pool.handle_timeout(step * 125 * MS);
                let is_shed = |notice| matches!(notice, Notice::Receiver { actions, .. } if actions.has(Action::Shed));
                shed_at.extend(std::iter::from_fn(|| pool.poll_notice()).any(is_shed).then_some(step));
            }
            assert_eq!((shed_at, pool.check_invariants()), (vec![if is_paused { 17 } else { 10 }], Ok(())));
        }
    });
}
