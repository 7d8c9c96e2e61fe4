//! A wait lasts as long as its need, and asks in the class of what has arrived by now.

use demuxbuf::connection::{Action, Actions, Event, Mode};
use demuxbuf::pool::{AttachOptions, BufferSource, Notice, Pool, PoolConfig, ReceiverId};
use demuxbuf::scheduler::{Outcome, SchedulerConfig, SchedulerError};
use demuxbuf::shared::SharedPool;

const LARGE: u8 = 1;
const UNIT: u32 = 4_096;

fn report<S: BufferSource>(pool: &mut Pool<S>, id: ReceiverId, event: Event) -> Actions {
    let actions = pool.handle(id, event).unwrap_or_else(|error| panic!("{event:?}: {error}"));
    pool.check_invariants().expect("the invariants hold");
    actions
}

fn receive<S: BufferSource>(pool: &mut Pool<S>, id: ReceiverId, bytes: u32) {
    report(pool, id, Event::Readable);
    pool.receive_area(id).expect("the handle is live")[..bytes as usize].fill(7);
    report(pool, id, Event::Received { bytes });
}

/// The receivers that were granted a buffer since the last call.
fn served<S: BufferSource>(pool: &mut Pool<S>) -> Vec<u64> {
    let granted = std::iter::from_fn(|| pool.poll_notice()).filter_map(|granted| match granted {
        Notice::Receiver { token, actions, .. } => actions.has(Action::Recv).then_some(token),
        Notice::Lease { token, .. } => Some(token),
        notice => unreachable!("{notice:?}"),
    });
    granted.collect()
}

/// Receiver 1 holds one of four units with a frame that does not fit and waits for three; receiver 2 waits behind it
/// for one, and one is free.
fn one_grows(mode: Mode) -> (Pool, ReceiverId) {
    let mut config = PoolConfig { lifeline: false, ..PoolConfig::new(4, 4) };
    config.set_buffer_sizes(&[UNIT, 3 * UNIT]).expect("two sizes");
    config.policy.mode = mode;
    let mut pool = Pool::new(&config).expect("the configuration is allowed");
    for _ in 0..2 {
        assert!(matches!(pool.request(0, 50), Ok(Outcome::Granted(_))));
    }
    let first = pool.attach(&AttachOptions::new(0, 1)).expect("there is room");
    receive(&mut pool, first, UNIT);
    assert!(report(&mut pool, first, Event::NeedMore { bytes: 900 }).has(Action::CannotFit));
    report(&mut pool, first, Event::done(Action::CannotFit));
    pool.grow(first, LARGE).expect("it is queued");
    another_waits(&mut pool);
    (pool, first)
}

fn another_waits(pool: &mut Pool) {
    let second = pool.attach(&AttachOptions::new(0, 2)).expect("there is room");
    report(pool, second, Event::Readable);
    let stats = pool.stats().scheduler;
    assert_eq!((stats.free, stats.waiting, served(pool)), (1, 2, vec![]));
}

#[test]
fn s55_growth_ends_with_its_need_in_that_step() {
    let ends: [(&str, &[Event]); 9] = [
        ("decoded after all", &[Event::Consumed { bytes: UNIT }]),
        ("decoded in part", &[Event::Consumed { bytes: 1 }]),
        ("fits after all", &[Event::Consumed { bytes: 50 }, Event::NeedMore { bytes: 50 }]),
        ("blocked", &[Event::Block { reasons: 1 }]),
        ("set blocked", &[Event::SetBlocked { reasons: 1 }]),
        ("end of stream", &[Event::EndOfStream]),
        ("error", &[Event::TransportError]),
        ("failed", &[Event::Fail]),
        ("closed", &[Event::Close]),
    ];
    for (mode, (name, events)) in
        [Mode::Level, Mode::Edge, Mode::Optimistic].into_iter().flat_map(|mode| ends.map(|end| (mode, end)))
    {
        let (mut pool, id) = one_grows(mode);
        events.iter().for_each(|&event| _ = report(&mut pool, id, event));
        assert_eq!(served(&mut pool), [2], "{mode:?}: {name}");
        assert_eq!(pool.stats().scheduler.waiting, 0, "{mode:?}: {name}");
    }
}

#[test]
fn s55_growth_keeps_its_place_while_it_is_needed() {
    let (mut pool, id) = one_grows(Mode::Level);
    let goes_on = [
        Event::PauseRecv,
        Event::ResumeRecv,
        Event::Readable,
        Event::NeedMore { bytes: 800 },
        Event::SetBlocked { reasons: 0 },
    ];
    for event in goes_on {
        report(&mut pool, id, event);
    }
    // A part is decoded, and what is left needs a larger buffer as well.
    pool.decoded(id, 96, 3_000).expect("they are buffered");
    assert_eq!((pool.stats().scheduler.waiting, served(&mut pool)), (2, vec![]));
}

/// A host that asks for a larger buffer before a frame needs it, and then blocks, has no need for it either.
#[test]
fn s55_growth_before_its_need_ends_with_a_block() {
    for block in [Event::Block { reasons: 1 }, Event::SetBlocked { reasons: 1 }] {
        let mut config = PoolConfig { lifeline: false, ..PoolConfig::new(4, 4) };
        config.set_buffer_sizes(&[UNIT, 3 * UNIT]).expect("two sizes");
        let mut pool = Pool::new(&config).expect("the configuration is allowed");
        for _ in 0..2 {
            assert!(matches!(pool.request(0, 50), Ok(Outcome::Granted(_))));
        }
        let first = pool.attach(&AttachOptions::new(0, 1)).expect("there is room");
        receive(&mut pool, first, UNIT / 2);
        pool.grow(first, LARGE).expect("it is queued");
        another_waits(&mut pool);
        report(&mut pool, first, block);
        assert_eq!((served(&mut pool), pool.stats().scheduler.waiting), (vec![2], 0), "{block:?}");
    }
}

#[test]
fn s55_blocked_growth_is_requested_once_unblocked() {
    let (mut pool, id) = one_grows(Mode::Level);
    report(&mut pool, id, Event::Block { reasons: 2 });
    assert_eq!(served(&mut pool), [2]);
    assert!(!pool.pending(id).expect("the handle is live").has(Action::CannotFit), "it is blocked");
    assert!(report(&mut pool, id, Event::Unblock { reasons: 2 }).has(Action::CannotFit));
    pool.grow(id, LARGE).expect("it is queued anew");
    assert_eq!(pool.stats().scheduler.waiting, 1);
}

/// A grant is deferred while a receive is in flight, until the receive has ended.
#[test]
fn s55_deferred_grant_is_passed_on_with_the_need() {
    let mut config = PoolConfig { lifeline: false, ..PoolConfig::new(4, 4) };
    config.set_buffer_sizes(&[UNIT, 3 * UNIT]).expect("two sizes");
    config.policy.mode = Mode::Completion;
    let mut pool = Pool::new(&config).expect("the configuration is allowed");
    let leases = [(); 2].map(|()| match pool.request(0, 50) {
        Ok(Outcome::Granted(lease)) => lease,
        other => panic!("a buffer is free: {other:?}"),
    });
    let first = pool.attach(&AttachOptions::new(0, 1)).expect("there is room");
    receive(&mut pool, first, 100);
    // The host grows it before the frame is known to need that, and receives meanwhile.
    pool.decoded(first, 0, 200).expect("that many bytes are missing");
    pool.grow(first, LARGE).expect("it is queued");
    report(&mut pool, first, Event::done(Action::Recv));
    for lease in leases {
        pool.release(lease).expect("it is held");
    }
    assert_eq!((served(&mut pool), pool.stats().scheduler.free), (vec![], 0), "the grant is deferred");
    let second = pool.attach(&AttachOptions::new(0, 2)).expect("there is room");
    report(&mut pool, second, Event::Readable);
    report(&mut pool, first, Event::Block { reasons: 1 });
    assert_eq!((served(&mut pool), pool.stats().scheduler.free), (vec![2], 2));
}

/// Of four buffers class 1 leaves two to class 0, the class of partial frames. Two are leased.
fn reserved() -> PoolConfig {
    let mut scheduler = SchedulerConfig { classes: 2, ..SchedulerConfig::new(4, 20) };
    scheduler.reserves[1] = 2;
    PoolConfig { scheduler, continuation_class: Some(0), ..PoolConfig::new(4, 10) }
}

fn frame_begins_while_it_waits<S: BufferSource>(pool: &mut Pool<S>) {
    for _ in 0..2 {
        assert!(matches!(pool.request(1, 50), Ok(Outcome::Granted(_))));
    }
    let id = pool.attach(&AttachOptions::new(1, 1)).expect("there is room");
    receive(pool, id, 64);
    assert_eq!((pool.stats().scheduler.waiting_by_class[1], pool.stats().lifelines), (1, 1));
    // Whole frames that lie in the slot are decoded before it is known whether one has begun.
    assert!(pool.pending(id).expect("the handle is live").has(Action::Decode));
    pool.decoded(id, 0, 400).expect("that many bytes are missing");
    let stats = pool.stats().scheduler;
    assert_eq!((stats.waiting, stats.assigned), (0, 1));
    assert_eq!((served(pool), pool.stats().scheduler.outstanding_by_class[..2].to_vec()), (vec![1], vec![1, 2]));
    assert_eq!(pool.data(id).expect("the handle is live"), [7; 64]);
    pool.check_invariants().expect("the invariants hold");
}

#[test]
fn s57_queued_wait_follows_the_frame_that_begins() {
    frame_begins_while_it_waits(&mut Pool::new(&reserved()).expect("the configuration is allowed"));
}

#[test]
fn s57_queued_wait_follows_the_frame_on_a_shared_pool() {
    let threads = SharedPool::new(&reserved(), 2).expect("the configuration is allowed");
    frame_begins_while_it_waits(&mut threads.shard(1).expect("it is not in use"));
}

/// The wait is queued behind the waits that the class has already, and before later ones.
#[test]
fn s57_wait_that_changes_class_is_the_last_there() {
    let mut pool = Pool::new(&reserved()).expect("the configuration is allowed");
    let leases: Vec<_> = (0..4)
        .map(|_| match pool.request(0, 50) {
            Ok(Outcome::Granted(lease)) => lease,
            other => panic!("a buffer is free: {other:?}"),
        })
        .collect();
    let id = pool.attach(&AttachOptions::new(1, 1)).expect("there is room");
    receive(&mut pool, id, 64);
    pool.request(0, 10).expect("it is queued");
    pool.decoded(id, 0, 400).expect("that many bytes are missing");
    pool.request(0, 11).expect("it is queued");
    assert_eq!(pool.stats().scheduler.waiting_by_class[..2], [3, 0]);
    for (lease, token) in leases.into_iter().zip([10, 1, 11]) {
        pool.release(lease).expect("it is held");
        assert_eq!(served(&mut pool), [token]);
    }
}

/// Bytes that are parked with a blocked decoder need no buffer before the decoder may go on.
#[test]
fn s62_blocked_receivers_do_not_trade_a_buffer() {
    for mode in [Mode::Level, Mode::Edge, Mode::OneShot, Mode::Optimistic] {
        let mut config = PoolConfig::new(1, 10);
        (config.scheduler.park_ns, config.scheduler.lease_ns, config.policy.mode) = (Some(0), Some(2_000), mode);
        let mut pool = Pool::new(&config).expect("the configuration is allowed");
        let ids = [1, 2].map(|token| {
            let id = pool.attach(&AttachOptions::new(0, token)).expect("there is room");
            report(&mut pool, id, Event::Readable);
            receive(&mut pool, id, 10);
            report(&mut pool, id, Event::Block { reasons: 1 });
            id
        });
        let mut grants = 0;
        for now_ns in 0..1_000 {
            pool.handle_timeout(now_ns);
            grants += served(&mut pool).len();
        }
        let stats = pool.stats();
        assert!(
            grants <= 1 && stats.parked <= 2 && stats.scheduler.waiting == 0,
            "{mode:?}: {grants} grants, {stats:?}"
        );
        // Nothing arrives that could be reported, and no read interest stays armed that would report it again and
        // again.
        for id in ids {
            let connection = pool.connection(id).expect("the handle is live");
            assert_eq!(
                (connection.buffered_bytes(), connection.is_accepting()),
                (10, connection.capacity() > 64),
                "{mode:?}"
            );
            assert!(report(&mut pool, id, Event::Unblock { reasons: 1 }).has(Action::Decode), "{mode:?}");
        }
    }
}

const LEASE_NS: u64 = 800;

/// Advances the clock by steps that count until a receiver is to be shed; returns when.
fn shed_at<S: BufferSource>(pool: &mut Pool<S>, from_ns: u64, until_ns: u64) -> Option<u64> {
    (from_ns..=until_ns).find(|&now_ns| {
        pool.handle_timeout(now_ns);
        let mut granted = std::iter::from_fn(|| pool.poll_notice());
        granted.any(|granted| matches!(granted, Notice::Receiver { actions, .. } if actions.has(Action::Shed)))
    })
}

/// One receiver holds 5,000 bytes that its host blocks at time 0, another one waits.
fn blocks<S: BufferSource>(pool: &mut Pool<S>) -> ReceiverId {
    pool.handle_timeout(0);
    let id = pool.attach(&AttachOptions::new(0, 1)).expect("there is room");
    receive(pool, id, 5_000);
    report(pool, id, Event::Block { reasons: 1 });
    let other = pool.attach(&AttachOptions::new(0, 2)).expect("there is room");
    report(pool, other, Event::Readable);
    id
}

fn short_leases() -> PoolConfig {
    let mut config = PoolConfig { lifeline: false, ..PoolConfig::new(1, 10) };
    (config.scheduler.park_ns, config.scheduler.lease_ns) = (Some(100), Some(LEASE_NS));
    config
}

fn s61_on<S: BufferSource>(make: impl Fn() -> (Pool<S>, Option<SharedPool>)) {
    let (mut pool, _threads) = make();
    blocks(&mut pool);
    assert_eq!(shed_at(&mut pool, 0, 9 * LEASE_NS), Some(2 * LEASE_NS), "the lease ends");
    assert_eq!((pool.stats().shed, pool.stats().reclaim.sheds_asked), (1, 1));

    // While no other receiver waits, the host may block it for as long as it likes.
    let (mut pool, _threads) = make();
    pool.handle_timeout(0);
    let id = pool.attach(&AttachOptions::new(0, 1)).expect("there is room");
    receive(&mut pool, id, 5_000);
    report(&mut pool, id, Event::Block { reasons: 1 });
    assert_eq!(shed_at(&mut pool, 0, 9 * LEASE_NS), None);

    // Once it is unblocked, the peer has a whole lease.
    let (mut pool, _threads) = make();
    let id = blocks(&mut pool);
    assert_eq!(shed_at(&mut pool, 0, LEASE_NS + 9), None);
    report(&mut pool, id, Event::Unblock { reasons: 1 });
    assert_eq!(shed_at(&mut pool, LEASE_NS + 10, 9 * LEASE_NS), Some(2 * LEASE_NS + 9));

    // One of several reasons ends: the decoder is still blocked.
    let (mut pool, _threads) = make();
    let id = blocks(&mut pool);
    report(&mut pool, id, Event::Block { reasons: 2 });
    assert_eq!(shed_at(&mut pool, 0, LEASE_NS / 2), None);
    report(&mut pool, id, Event::Unblock { reasons: 1 });
    assert_eq!(shed_at(&mut pool, LEASE_NS / 2, 9 * LEASE_NS), Some(2 * LEASE_NS));

    // Each decoded byte starts the lease anew.
    let (mut pool, _threads) = make();
    let id = blocks(&mut pool);
    assert_eq!(shed_at(&mut pool, 0, LEASE_NS + 9), None);
    report(&mut pool, id, Event::Consumed { bytes: 1 });
    assert_eq!(shed_at(&mut pool, LEASE_NS + 10, 9 * LEASE_NS), Some(3 * LEASE_NS + 9));
}

#[test]
fn s61_blocked_content_has_two_leases() {
    s61_on(|| (Pool::new(&short_leases()).expect("the configuration is allowed"), None));
}

#[test]
fn s61_blocked_content_has_two_leases_when_shared() {
    s61_on(|| {
        let threads = SharedPool::new(&short_leases(), 1).expect("the configuration is allowed");
        (threads.shard(0).expect("it is not in use"), Some(threads))
    });
}

/// Receiver 1 holds one unit of `units` with a frame that does not fit, and waits for three; the host holds two.
fn one_grows_alone(units: u32) -> (Pool, ReceiverId) {
    let mut config = PoolConfig { lifeline: false, ..PoolConfig::new(units, 4) };
    config.set_buffer_sizes(&[UNIT, 3 * UNIT]).expect("two sizes");
    (config.scheduler.park_ns, config.scheduler.lease_ns) = (Some(100), Some(LEASE_NS));
    let mut pool = Pool::new(&config).expect("the configuration is allowed");
    for _ in 0..2 {
        assert!(matches!(pool.request(0, 50), Ok(Outcome::Granted(_))));
    }
    pool.handle_timeout(0);
    let id = pool.attach(&AttachOptions::new(0, 1)).expect("there is room");
    receive(&mut pool, id, UNIT);
    report(&mut pool, id, Event::NeedMore { bytes: 900 });
    (pool, id)
}

#[test]
fn s56_receiver_is_not_shed_for_its_own_wait() {
    let (mut pool, id) = one_grows_alone(4);
    pool.grow(id, LARGE).expect("it is queued");
    assert_eq!(shed_at(&mut pool, 0, 9 * LEASE_NS), None);
    assert_eq!((pool.stats().reclaim.parks_asked, pool.stats().reclaim.sheds_asked), (0, 0));
    // Once another receiver waits, its lease expires like that of any holder.
    let other = pool.attach(&AttachOptions::new(0, 2)).expect("there is room");
    report(&mut pool, other, Event::Readable);
    let shed_ns = shed_at(&mut pool, 9 * LEASE_NS + 1, 12 * LEASE_NS).expect("it makes no progress");
    assert!((9 * LEASE_NS + 700..10 * LEASE_NS + 1).contains(&shed_ns), "{shed_ns}");
}

/// The growth could never be granted, because the held buffer is a part of the budget that it needs.
#[test]
fn s56_growth_that_needs_what_it_holds_is_refused() {
    let (mut pool, id) = one_grows_alone(3);
    let (before, pending) = (pool.stats().scheduler, pool.pending(id).expect("the handle is live"));
    assert_eq!(pool.grow(id, LARGE), Err(SchedulerError::TooLarge { units: 3 }.into()));
    assert_eq!(pool.pending(id), Ok(pending));
    let mut expected = before;
    expected.refused += 1;
    assert_eq!(pool.stats().scheduler, expected);
}
