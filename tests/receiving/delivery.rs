//! Bytes that the host has received already, into memory that the system chose: kept frames are completed with them,
//! the others are decoded where they are, and what is left has a place in the pool.

use crate::{MODES, MS, pool_of_eight, pool_of_eight_in, receive};
use demuxbuf::connection::{Action, Actions, Event, EventError, Mode, Policy};
use demuxbuf::pool::{AttachOptions, Delivery, Notice, Pool, PoolConfig, PoolError, ReceiverId};
use demuxbuf::scheduler::{LeaseId, Request};
use demuxbuf::shared::SharedPool;
use demuxbuf_testkit::numbered;

pub(crate) fn attach(pool: &mut Pool, token: u64) -> ReceiverId {
    let id = pool.attach(&AttachOptions::new(0, token)).expect("there is room");
    pool.handle(id, Event::WouldBlock).expect("it is attached");
    id
}

fn deliver(pool: &mut Pool, id: ReceiverId, bytes: &[u8]) -> Delivery {
    let delivery = pool.deliver(id, bytes).expect("it may be delivered");
    assert_eq!(pool.check_invariants(), Ok(()));
    delivery
}

fn delivered(pool: &mut Pool, id: ReceiverId, data: &[u8], consumed: u32, needed: u32) -> Actions {
    let actions = pool.delivered(id, data, consumed, needed).expect("it is in place");
    assert_eq!(pool.check_invariants(), Ok(()));
    actions
}

/// Taken in place, and decoded next.
fn in_place(pool: &mut Pool, id: ReceiverId, bytes: &[u8]) {
    let Delivery { accepted_bytes, in_place_bytes, actions } = deliver(pool, id, bytes);
    assert_eq!((accepted_bytes as usize, in_place_bytes as usize), (bytes.len(), bytes.len()));
    assert!(actions.has(Action::Decode) && !actions.has(Action::Recv));
    assert_eq!(pool.data(id), Ok(&[][..]), "only the host has them");
    assert_eq!(pool.data_mut(id), Ok(&mut [][..]));
}

pub(crate) fn lease_all(pool: &mut Pool) -> Vec<LeaseId> {
    std::iter::from_fn(|| pool.try_request(&Request::new(0, 0)).expect("the class exists")).collect()
}

/// What is delivered, and not taken.
fn refused(pool: &mut Pool, id: ReceiverId, bytes: &[u8]) -> Actions {
    let before = pool.counts();
    let Delivery { accepted_bytes, in_place_bytes, actions } = deliver(pool, id, bytes);
    assert_eq!((accepted_bytes, in_place_bytes, pool.counts()), (0, 0, before), "nothing is accepted");
    actions
}

#[test]
fn delivery_in_place_leaves_nothing_of_whole_frames() {
    for mode in MODES {
        let mut pool = pool_of_eight_in(mode, 4);
        let (id, free) = (attach(&mut pool, 1), pool.memory().free_buffers());
        for round in 1..20 {
            in_place(&mut pool, id, b"onetwo");
            assert!(delivered(&mut pool, id, b"onetwo", 3, 0).has(Action::Decode), "the rest is still in place");
            let actions = match round % 3 {
                // A report without the bytes needs none.
                0 => pool.decoded(id, 3, 0).expect("all of it is decoded"),
                1 => pool.handle(id, Event::Consumed { bytes: 3 }).expect("all of it is decoded"),
                _ => delivered(&mut pool, id, b"two", 3, 0),
            };
            assert!(!actions.has(Action::Decode));
            assert_eq!((pool.memory().free_buffers(), pool.totals().copied_bytes), (free, 0));
            assert_eq!((pool.counts().received_bytes, pool.counts().consumed_bytes), (6 * round, 6 * round));
            if actions.has(Action::Recv) {
                pool.handle(id, Event::WouldBlock).expect("nothing is left to deliver");
            }
        }
    }
}

/// The rows of the table of section 16 that leave bytes: they are the pool's when the report returns.
#[test]
fn delivery_copies_what_cannot_be_decoded() {
    type Report = fn(&mut Pool, ReceiverId, &[u8]) -> Actions;
    let rows: [(&str, Report); 6] = [
        ("short", |pool, id, data| delivered(pool, id, data, 3, 9)),
        ("short, without progress", |pool, id, data| delivered(pool, id, data, 0, 9)),
        ("blocked", |pool, id, data| {
            pool.handle(id, Event::Block { reasons: 1 }).expect("it is attached");
            delivered(pool, id, data, 3, 0)
        }),
        ("blocked afterwards", |pool, id, data| {
            assert!(delivered(pool, id, data, 3, 0).has(Action::Decode));
            let actions = pool.handle(id, Event::Block { reasons: 1 }).expect("it is attached");
            assert!(!actions.has(Action::Decode) && !actions.has(Action::Recv), "{actions}");
            delivered(pool, id, &data[3..], 0, 0)
        }),
        ("yielded", |pool, id, data| {
            pool.handle(id, Event::Yield).expect("it is attached");
            delivered(pool, id, data, 3, 0)
        }),
        ("paused, and short", |pool, id, data| {
            pool.handle(id, Event::PauseRecv).expect("it is attached");
            delivered(pool, id, data, 3, 9)
        }),
    ];
    for mode in MODES {
        for (name, report) in rows {
            let mut pool = pool_of_eight_in(mode, 4);
            let id = attach(&mut pool, 1);
            let mut memory = *b"onetwothree";
            in_place(&mut pool, id, &memory);
            let actions = report(&mut pool, id, &memory);
            assert!(!actions.has(Action::Decode), "{name}: {actions}");
            pool.handle(id, Event::WouldBlock).expect("it is attached");
            memory.fill(0xff);
            let left: &[u8] = if name.contains("without") { b"onetwothree" } else { b"twothree" };
            assert_eq!(pool.data(id), Ok(left), "{mode:?}, {name}");
            assert!(pool.totals().copied_bytes >= left.len() as u64, "{name}");
            assert!(!pool.memory().facts(0).expect("it is attached").is_borrowing, "{name}");
        }
    }
}

#[test]
fn delivery_completes_a_kept_frame_with_what_it_needs() {
    for mode in MODES {
        let mut pool = pool_of_eight_in(mode, 4);
        let id = attach(&mut pool, 1);
        receive(&mut pool, id, b"hel", 2);
        pool.handle(id, Event::WouldBlock).expect("it is attached");
        let copied = pool.totals().copied_bytes;
        let Delivery { accepted_bytes, in_place_bytes, actions } = deliver(&mut pool, id, b"lonext");
        assert_eq!((accepted_bytes, in_place_bytes), (2, 0), "{mode:?}");
        assert!(actions.has(Action::Decode));
        assert_eq!(pool.data(id), Ok(&b"hello"[..]));
        assert_eq!(pool.totals().copied_bytes, copied + 3 + 2, "what was kept, and what completes it");
        let actions = delivered(&mut pool, id, b"", 5, 0);
        assert!(actions.has(Action::Recv), "{mode:?}: the others can be delivered: {actions}");
        in_place(&mut pool, id, b"next");
        delivered(&mut pool, id, b"next", 4, 0);
        assert_eq!(pool.totals().copied_bytes, copied + 5, "in place nothing is copied");
    }
}

/// Fewer bytes than are needed are kept with the others; a decoder that does not know its need gets all that there are.
#[test]
fn delivery_behind_kept_bytes_accepts_what_helps() {
    let mut pool = pool_of_eight(4);
    let id = attach(&mut pool, 1);
    receive(&mut pool, id, b"hel", 200);
    let Delivery { accepted_bytes, actions, .. } = deliver(&mut pool, id, b"lo");
    assert!(accepted_bytes == 2 && !actions.has(Action::Decode), "{actions}");
    assert_eq!(pool.data(id), Ok(&b"hello"[..]));
    assert_eq!(pool.memory().facts(0).expect("it is attached").needed_bytes, 198);

    let options = AttachOptions { unknown_length: true, ..AttachOptions::new(0, 2) };
    let unknown = pool.attach(&options).expect("there is room");
    receive(&mut pool, unknown, b"hel", 1);
    let delivery = deliver(&mut pool, unknown, &[7; 254]);
    assert_eq!((delivery.accepted_bytes, pool.data(unknown).map(<[u8]>::len)), (253, Ok(256)));
}

/// As `received` after a report that nothing is left, but more is needed.
#[test]
fn delivery_that_is_too_short_is_copied_at_once() {
    let mut pool = pool_of_eight(4);
    let id = attach(&mut pool, 1);
    receive(&mut pool, id, b"hello", 1);
    let actions = pool.decoded(id, 5, 10).expect("it is buffered");
    assert!(!actions.has(Action::Decode));
    let Delivery { accepted_bytes, in_place_bytes, actions } = deliver(&mut pool, id, b"short");
    assert!((accepted_bytes, in_place_bytes) == (5, 0) && !actions.has(Action::Decode), "{actions}");
    assert_eq!(pool.data(id), Ok(&b"short"[..]));
}

#[test]
fn delivery_is_refused_and_changes_nothing() {
    let mut pool = pool_of_eight(4);
    let [id, other] = [1, 2].map(|token| attach(&mut pool, token));
    let refuse = |pool: &mut Pool, id, bytes: &[u8], error: PoolError| {
        let before = (pool.counts(), pool.pending(id));
        assert_eq!(pool.deliver(id, bytes), Err(error));
        assert_eq!(((pool.counts(), pool.pending(id)), pool.check_invariants()), (before, Ok(())));
    };
    let counting = |counting| Policy { counting, ..Policy::default() };
    pool.set_policy(id, &counting(true)).expect("it is open");
    refuse(&mut pool, id, b"hello", PoolError::CannotCount { with: "deliveries" });
    pool.set_policy(id, &counting(false)).expect("it is open");
    refuse(&mut pool, id, b"", EventError::ZeroBytes.into());
    refuse(&mut pool, id, &[0; 257], PoolError::TooManyBytes);
    in_place(&mut pool, id, b"hello");
    for receiver in [id, other] {
        refuse(&mut pool, receiver, b"x", PoolError::InPlace);
    }
    assert_eq!(pool.take(id), Err(PoolError::InPlace));
    for event in [Event::EndOfStream, Event::TransportError, Event::NeedMore { bytes: 5 }] {
        assert_eq!(pool.handle(id, event), Err(PoolError::InPlace), "{event:?}");
    }
    assert_eq!(pool.decoded(id, 2, 5), Err(PoolError::InPlace), "the bytes that it leaves are missing");
    assert_eq!(pool.delivered(id, b"hell", 2, 5), Err(PoolError::InPlace), "one of them is missing");
    assert_eq!(pool.delivered(id, b"hello", 6, 0), Err(EventError::TooManyBytes.into()));
    assert_eq!(pool.delivered(id, b"hello", 0, u32::MAX), Err(EventError::TooManyBytes.into()));
    assert_eq!(pool.handle(id, Event::Received { bytes: 1 }), Err(PoolError::TooManyBytes));
    assert!(delivered(&mut pool, id, b"hello", 0, 5).has(Action::WantRecv), "nothing was changed");
    assert_eq!(pool.data(id), Ok(&b"hello"[..]));
    pool.handle(id, Event::EndOfStream).expect("it is attached");
    refuse(&mut pool, id, b"x", EventError::AfterEnd.into());

    pool.set_policy(other, &Policy { mode: Mode::Completion, ..Policy::default() }).expect("it is open");
    pool.handle(other, Event::Readable).expect("it is attached");
    pool.handle(other, Event::done(Action::Recv)).expect("a receive is pending");
    refuse(&mut pool, other, b"x", EventError::InFlight.into());
    pool.handle(other, Event::Close).expect("it is attached");
    refuse(&mut pool, other, b"x", EventError::Closed.into());
    pool.handle(id, Event::Close).expect("it is attached");
    refuse(&mut pool, id, b"x", PoolError::Stale);
}

/// A connection that is blocked would receive behind what is in place. Nothing can be received there, be it submitted
/// or not.
#[test]
fn nothing_is_submitted_behind_bytes_in_place() {
    for event in [Event::Block { reasons: 1 }, Event::SetBlocked { reasons: 2 }] {
        for consumed_bytes in [0, 3] {
            let mut pool = pool_of_eight_in(Mode::Completion, 4);
            let id = attach(&mut pool, 1);
            in_place(&mut pool, id, b"onetwo");
            delivered(&mut pool, id, b"onetwo", consumed_bytes, 0);
            assert_eq!(pool.handle(id, event), Ok(Actions::NONE), "the rest has to be reported on first");
            assert_eq!(pool.handle(id, Event::done(Action::Recv)), Err(EventError::NotPending.into()), "{event:?}");
            assert_eq!(pool.handle(id, Event::Received { bytes: 1 }), Err(PoolError::TooManyBytes), "{event:?}");
            assert_eq!((pool.pending(id), pool.check_invariants()), (Ok(Actions::NONE), Ok(())));
            let rest = &b"onetwo"[consumed_bytes as usize..];
            delivered(&mut pool, id, rest, 0, 0);
            assert_eq!(pool.data(id), Ok(rest));
        }
    }
}

/// All of it is decoded, and the next frame fits into no buffer: nothing is left that anyone would have to wait for.
#[test]
fn misfit_after_a_delivery_leaves_nothing_in_place() {
    type Next = fn(&mut Pool, ReceiverId, ReceiverId);
    let nexts: [(&str, Next); 4] = [
        ("take", |pool, id, _| assert_eq!(pool.take(id), Err(PoolError::NoBuffer))),
        ("end", |pool, id, _| assert!(pool.handle(id, Event::EndOfStream).expect("nothing is left").has(Action::End))),
        ("another", |pool, _, other| {
            in_place(pool, other, b"next");
            delivered(pool, other, b"next", 4, 0);
        }),
        ("clock", |pool, _, _| {
            pool.handle_timeout(MS);
            assert!(!pool.memory().facts(0).expect("it is attached").is_borrowing);
        }),
    ];
    for mode in MODES {
        for (name, next) in nexts {
            let mut pool = pool_of_eight_in(mode, 4);
            pool.handle_timeout(0);
            let [id, other] = [1, 2].map(|token| attach(&mut pool, token));
            in_place(&mut pool, id, b"header");
            let actions = delivered(&mut pool, id, b"header", 6, 257);
            assert!(actions.has(Action::CannotFit), "{mode:?}, {name}: {actions}");
            assert!(pool.memory().facts(0).expect("it is attached").is_borrowing, "the host has to see it");
            next(&mut pool, id, other);
            assert_eq!(pool.check_invariants(), Ok(()), "{mode:?}, {name}");
        }
    }
}

/// Each state in which a receiver takes nothing; when that is over, the next step asks for what the host still has.
#[test]
fn held_receiver_accepts_no_delivery() {
    for mode in MODES {
        let mut pool = pool_of_eight_in(mode, 4);
        let id = attach(&mut pool, 1);
        // It decodes.
        receive(&mut pool, id, b"abc", 1);
        deliver(&mut pool, id, b"d");
        assert!(refused(&mut pool, id, b"efg").has(Action::Decode), "{mode:?}");
        // Blocked.
        pool.handle(id, Event::Block { reasons: 1 }).expect("it is attached");
        pool.decoded(id, 0, 0).expect("it is attached");
        assert!(!refused(&mut pool, id, b"efg").has(Action::Recv));
        assert!(pool.handle(id, Event::Unblock { reasons: 1 }).expect("it is attached").has(Action::Decode));
        let actions = pool.decoded(id, 4, 0).expect("it is buffered");
        assert!(actions.has(Action::Recv), "{mode:?}: the host has more: {actions}");
        pool.handle(id, Event::WouldBlock).expect("it is attached");
        // Paused.
        pool.handle(id, Event::PauseRecv).expect("it is attached");
        assert!(!refused(&mut pool, id, b"efg").has(Action::Recv));
        assert!(pool.handle(id, Event::ResumeRecv).expect("it is attached").has(Action::Recv), "{mode:?}");
        in_place(&mut pool, id, b"efg");
        delivered(&mut pool, id, b"efg", 3, 0);
    }
}

/// A second borrow needs two free buffers: one to complete what is kept, and one for what the first leaves.
#[test]
fn delivery_waits_for_a_buffer_to_complete_a_frame_in() {
    let mut pool = pool_of_eight(4);
    let [first, second] = [1, 2].map(|token| attach(&mut pool, token));
    receive(&mut pool, second, &[7; 50], 10);
    let mut leases = lease_all(&mut pool);
    pool.release(leases.pop().expect("one is leased")).expect("it is leased");
    assert!(pool.handle(first, Event::Readable).expect("it is attached").has(Action::Recv));
    let actions = refused(&mut pool, second, b"completed.");
    assert!(actions.has(Action::Reschedule), "{actions}");
    pool.handle(second, Event::done(Action::Reschedule)).expect("it is pending");
    pool.handle(first, Event::WouldBlock).expect("it is attached");
    let actions = pool.handle(second, Event::Wake).expect("it is attached");
    assert!(actions.has(Action::Recv), "the host has more: {actions}");
    assert_eq!(deliver(&mut pool, second, b"completed.").accepted_bytes, 10);
}

/// In shortage, a receiver takes what any receive may bring, and claims. What it does not take is the host's, and is
/// asked for.
#[test]
fn delivery_claims_in_shortage_and_is_asked_for() {
    for mode in MODES {
        let mut pool = pool_of_eight_in(mode, 4);
        pool.handle_timeout(0);
        let id = attach(&mut pool, 1);
        let mut leases = lease_all(&mut pool);
        let frame = numbered(1, 0..200);
        let Delivery { accepted_bytes, in_place_bytes, .. } = deliver(&mut pool, id, &frame);
        assert_eq!((accepted_bytes, in_place_bytes), (64, 64), "{mode:?}");
        assert!(!delivered(&mut pool, id, &frame[..64], 0, 136).has(Action::Decode));
        assert!(!refused(&mut pool, id, &frame[64..]).has(Action::Recv), "{mode:?}");
        assert!(pool.connection(id).expect("it is attached").is_waiting());
        assert_eq!(pool.poll_notice(), None);
        pool.release(leases.pop().expect("one is leased")).expect("it is leased");
        pool.release(leases.pop().expect("one is leased")).expect("it is leased");
        let notice = pool.poll_notice();
        assert!(
            matches!(notice, Some(Notice::Receiver { id: of, actions, .. }) if of == id && actions.has(Action::Recv)),
            "{mode:?}: {notice:?}"
        );
        assert_eq!(deliver(&mut pool, id, &frame[64..]).accepted_bytes, 136);
        assert_eq!(pool.data(id), Ok(&frame[..]));
        pool.decoded(id, 200, 0).expect("it is buffered");
        assert_eq!(pool.totals().longest_claim_ns, 0, "no time has passed");
    }
}

/// A receiver that keeps nothing claims for what the host has, since no poller reports that: also one that a pause took
/// out of the queue, until the host reports that there is nothing.
#[test]
fn undelivered_bytes_keep_a_claim_alive() {
    let policy = Policy { mode: Mode::Level, ..Policy::default() };
    for forgets in [false, true] {
        let mut pool = crate::pool_of_eight_with(policy, 4);
        pool.handle_timeout(0);
        let ids: Vec<ReceiverId> = (0..8).map(|token| attach(&mut pool, token)).collect();
        let (&id, others) = ids.split_first().expect("there are eight");
        lease_all(&mut pool);
        for (at, &other) in others.iter().enumerate() {
            let bytes = deliver(&mut pool, other, &[at as u8; 64]).in_place_bytes;
            if bytes > 0 {
                delivered(&mut pool, other, &[at as u8; 64][..bytes as usize], 0, 100);
            }
        }
        assert_eq!(pool.memory().cells().next(), Some((64, 4)), "all small cells are in use");
        let waits = |pool: &Pool| pool.connection(id).expect("it is attached").is_waiting();
        refused(&mut pool, id, &[9; 100]);
        assert!(waits(&pool));
        pool.handle(id, Event::PauseRecv).expect("it is attached");
        assert!(!waits(&pool));
        if forgets {
            pool.handle(id, Event::WouldBlock).expect("it is attached");
            pool.handle(id, Event::Readable).expect("it is attached");
        }
        pool.handle(id, Event::ResumeRecv).expect("it is attached");
        assert_eq!(waits(&pool), !forgets);
    }
}

/// Only the host has bytes in place: an advance of the clock leaves them, and the report comes later.
#[test]
fn clock_leaves_bytes_in_place() {
    let mut pool = pool_of_eight(4);
    pool.handle_timeout(0);
    let [id, other] = [1, 2].map(|token| attach(&mut pool, token));
    in_place(&mut pool, id, b"hello");
    assert!(pool.handle(other, Event::Readable).expect("it is attached").has(Action::Recv));
    for step in 1..20 {
        pool.handle_timeout(step * 125 * MS);
        assert_eq!((pool.poll_notice(), pool.check_invariants()), (None, Ok(())));
        assert!(pool.pending(id).expect("it is attached").has(Action::Decode));
    }
    assert!(!pool.memory().facts(1).expect("it is attached").is_borrowing, "that of another has ended");
    delivered(&mut pool, id, b"hello", 1, 5);
    assert_eq!(pool.data(id), Ok(&b"ello"[..]));
}

#[test]
fn failed_or_closed_receiver_drops_what_is_in_place() {
    for event in [Event::Fail, Event::Close] {
        let mut pool = pool_of_eight(4);
        let (id, free) = (attach(&mut pool, 1), pool.memory().free_buffers());
        in_place(&mut pool, id, b"hello");
        delivered(&mut pool, id, b"hello", 2, 0);
        pool.handle(id, event).expect("it is attached");
        let counts = pool.counts();
        assert_eq!((counts.received_bytes, counts.consumed_bytes, counts.dropped_bytes), (5, 2, 3), "{event:?}");
        assert_eq!((pool.memory().free_buffers(), pool.check_invariants()), (free, Ok(())));
        let other = attach(&mut pool, 2);
        in_place(&mut pool, other, b"next");
        delivered(&mut pool, other, b"next", 4, 0);
    }
}

/// What a failed connection is delivered is dropped at once.
#[test]
fn failed_receiver_drops_deliveries() {
    let mut pool = pool_of_eight(4);
    let id = attach(&mut pool, 1);
    pool.handle(id, Event::Fail).expect("it is attached");
    let Delivery { accepted_bytes, in_place_bytes, actions } = deliver(&mut pool, id, b"hello");
    assert_eq!((accepted_bytes, in_place_bytes), (5, 0));
    assert!(!actions.has(Action::Decode));
    assert_eq!((pool.counts().dropped_bytes, pool.check_invariants()), (5, Ok(())));
}

/// A trial goes on only if its receive brought all that was asked for, so that a delivery brings as much, and not only
/// what is needed.
#[test]
fn delivery_in_a_trial_brings_what_is_usable() {
    let mut pool = pool_of_eight(4);
    pool.handle_timeout(0);
    let id = attach(&mut pool, 1);
    lease_all(&mut pool);
    let frame = numbered(1, 0..250);
    pool.handle(id, Event::Readable).expect("it is attached");
    pool.receive_area(id).expect("it is attached").copy_from_slice(&frame[..64]);
    pool.handle(id, Event::Received { bytes: 64 }).expect("there is room");
    pool.decoded_usable(id, 0, 6, 96).expect("it is attached");
    refused(&mut pool, id, &frame[64..]);
    let trial = (1..40).find_map(|step| {
        pool.handle_timeout(step * 125 * MS);
        pool.poll_notice()
    });
    assert!(matches!(trial, Some(Notice::Receiver { actions, .. }) if actions.has(Action::Recv)), "{trial:?}");
    assert_eq!(deliver(&mut pool, id, &frame[64..]).accepted_bytes, 96);
    assert_eq!(pool.data(id), Ok(&frame[..160]));
}

/// A host that forgets its report is named by the audit.
#[test]
fn bytes_left_in_place_are_named_by_the_audit() {
    let config = PoolConfig { buffer_bytes: 256, audit: true, ..PoolConfig::new(8 * 256, 8) };
    let mut pool = Pool::new(&config).expect("the configuration is allowed");
    pool.handle_timeout(0);
    let id = attach(&mut pool, 1);
    pool.handle(id, Event::done(Action::WantRecv)).expect("it is pending");
    assert_eq!(pool.poll_audit(0), Ok(None));
    in_place(&mut pool, id, b"hello");
    pool.handle_timeout(2);
    let finding = pool.poll_audit(2).expect("it is on").expect("the report is missing");
    assert_eq!((finding.receiver, finding.actions), (Some(id), Action::Decode.into()));
}

/// A receiver moves between threads with what it keeps; what the host has of it is delivered where it arrives.
#[test]
fn receiver_moves_between_deliveries() {
    let config = PoolConfig { buffer_bytes: 256, ..PoolConfig::new(32 * 256, 8) };
    let shared = SharedPool::new(&config, 2).expect("the configuration is allowed");
    let [mut one, mut other] = [0, 1].map(|index| shared.shard(index).expect("it is free"));
    let id = one.attach(&AttachOptions::new(0, 1)).expect("there is room");
    assert_eq!(one.deliver(id, b"onetwothree").expect("it may be delivered").in_place_bytes, 11);
    assert_eq!(one.export(id).map(drop), Err(PoolError::InPlace));
    one.delivered(id, b"onetwothree", 3, 9).expect("it is in place");
    let mut exported = one.export(id).expect("nothing is in place");
    let id = other.import(&mut exported).expect("there is room");
    let delivery = other.deliver(id, b"123456789rest").expect("it may be delivered");
    assert_eq!((delivery.accepted_bytes, other.data(id)), (9, Ok(&b"twothree123456789"[..])));
    assert!(other.delivered(id, b"", 17, 0).expect("it is buffered").has(Action::Recv));
    assert_eq!(other.deliver(id, b"rest").expect("it may be delivered").in_place_bytes, 4);
    other.delivered(id, b"rest", 4, 0).expect("it is in place");
    assert_eq!((one.check_invariants(), other.check_invariants()), (Ok(()), Ok(())));
}
