//! A wait lasts as long as its need, and asks in the class of what has arrived by now.

use demuxbuf::connection::{Action, Actions, Event, Mode};
use demuxbuf::pool::{Outcome, PoolConfig, PoolError, PoolStats};
use demuxbuf::receiver::{Granted, ReceiverId, ReceiverThreads, Receivers, ReceiversConfig};

const LARGE: u8 = 1;
const UNIT: u32 = 4_096;

fn tell(receivers: &mut Receivers, id: ReceiverId, event: Event) -> Actions {
    let actions = receivers.handle(id, event).unwrap_or_else(|error| panic!("{event:?}: {error}"));
    receivers.check_invariants().expect("the invariants hold");
    actions
}

fn receive(receivers: &mut Receivers, id: ReceiverId, bytes: u32) {
    tell(receivers, id, Event::Readable);
    receivers.receive_area(id).expect("the handle is live")[..bytes as usize].fill(7);
    tell(receivers, id, Event::Received { bytes });
}

/// The receivers that were granted a buffer since this was asked last.
fn served(receivers: &mut Receivers) -> Vec<u64> {
    let granted = std::iter::from_fn(|| receivers.poll_grant()).filter_map(|granted| match granted {
        Granted::Receiver { token, actions, .. } => actions.has(Action::Recv).then_some(token),
        Granted::Lease { token, .. } => Some(token),
    });
    granted.collect()
}

/// Receiver 1 holds one of four units with a frame that does not fit and waits for three; receiver 2 waits behind it for
/// one, and one is free.
fn one_grows(mode: Mode) -> (Receivers, ReceiverId) {
    let mut config = ReceiversConfig { lifeline: false, ..ReceiversConfig::new(4, 4) };
    config.set_buffer_sizes(&[UNIT, 3 * UNIT]).expect("two sizes");
    config.policy.mode = mode;
    let mut receivers = Receivers::new(&config).expect("the configuration is allowed");
    for _ in 0..2 {
        assert!(matches!(receivers.request(0, 50), Ok(Outcome::Granted(_))));
    }
    let first = receivers.attach(0, 1).expect("there is room");
    receive(&mut receivers, first, UNIT);
    assert!(tell(&mut receivers, first, Event::NeedMore { bytes: 900 }).has(Action::CannotFit));
    tell(&mut receivers, first, Event::done(Action::CannotFit));
    receivers.grow(first, LARGE).expect("it is queued");
    let second = receivers.attach(0, 2).expect("there is room");
    tell(&mut receivers, second, Event::Readable);
    let stats = receivers.stats().pool;
    assert_eq!((stats.free, stats.waiting, served(&mut receivers)), (1, 2, vec![]));
    (receivers, first)
}

#[test]
fn s55_growth_ends_with_its_need_in_that_step() {
    let ends: [(&str, &[Event]); 8] = [
        ("decoded after all", &[Event::Consumed { bytes: UNIT }]),
        ("decoded in part", &[Event::Consumed { bytes: 1 }]),
        ("fits after all", &[Event::Consumed { bytes: 50 }, Event::NeedMore { bytes: 50 }]),
        ("blocked", &[Event::Block { reasons: 1 }]),
        ("end of stream", &[Event::EndOfStream]),
        ("error", &[Event::TransportError]),
        ("failed", &[Event::Fail]),
        ("closed", &[Event::Close]),
    ];
    for (mode, (name, events)) in
        [Mode::Level, Mode::Edge, Mode::Optimistic].into_iter().flat_map(|mode| ends.map(|end| (mode, end)))
    {
        let (mut receivers, id) = one_grows(mode);
        events.iter().for_each(|&event| _ = tell(&mut receivers, id, event));
        assert_eq!(served(&mut receivers), [2], "{mode:?}: {name}");
        assert_eq!(receivers.stats().pool.waiting, 0, "{mode:?}: {name}");
    }
}

#[test]
fn s55_growth_keeps_its_place_while_it_is_needed() {
    let (mut receivers, id) = one_grows(Mode::Level);
    let goes_on = [Event::PauseRecv, Event::ResumeRecv, Event::Readable, Event::NeedMore { bytes: 800 }];
    for event in goes_on {
        tell(&mut receivers, id, event);
    }
    // A part is decoded, and what is left needs a larger buffer as well.
    receivers.decoded(id, 96, 3_000).expect("they are buffered");
    assert_eq!((receivers.stats().pool.waiting, served(&mut receivers)), (2, vec![]));
}

#[test]
fn s55_blocked_growth_is_asked_for_again_once_unblocked() {
    let (mut receivers, id) = one_grows(Mode::Level);
    tell(&mut receivers, id, Event::Block { reasons: 2 });
    assert_eq!(served(&mut receivers), [2]);
    assert!(!receivers.pending(id).expect("the handle is live").has(Action::CannotFit), "it is blocked");
    assert!(tell(&mut receivers, id, Event::Unblock { reasons: 2 }).has(Action::CannotFit));
    receivers.grow(id, LARGE).expect("it is queued anew");
    assert_eq!(receivers.stats().pool.waiting, 1);
}

/// What was granted while a receive is in flight is kept back until that is over.
#[test]
fn s55_grant_kept_back_is_passed_on_with_the_need() {
    let mut config = ReceiversConfig { lifeline: false, ..ReceiversConfig::new(4, 4) };
    config.set_buffer_sizes(&[UNIT, 3 * UNIT]).expect("two sizes");
    config.policy.mode = Mode::Completion;
    let mut receivers = Receivers::new(&config).expect("the configuration is allowed");
    let leases = [(); 2].map(|()| match receivers.request(0, 50) {
        Ok(Outcome::Granted(lease)) => lease,
        other => panic!("a buffer is free: {other:?}"),
    });
    let first = receivers.attach(0, 1).expect("there is room");
    receive(&mut receivers, first, 100);
    // The host grows it before the frame is known to need that, and receives meanwhile.
    receivers.decoded(first, 0, 200).expect("it is short of so many");
    receivers.grow(first, LARGE).expect("it is queued");
    tell(&mut receivers, first, Event::done(Action::Recv));
    for lease in leases {
        receivers.release(lease).expect("it is held");
    }
    assert_eq!((served(&mut receivers), receivers.stats().pool.free), (vec![], 0), "it is kept back");
    let second = receivers.attach(0, 2).expect("there is room");
    tell(&mut receivers, second, Event::Readable);
    tell(&mut receivers, first, Event::Block { reasons: 1 });
    assert_eq!((served(&mut receivers), receivers.stats().pool.free), (vec![2], 2));
}

/// Of four buffers class 1 leaves two to class 0, in which the rest of a frame is asked for. Two are out.
fn reserved() -> ReceiversConfig {
    let mut pool = PoolConfig { classes: 2, ..PoolConfig::new(4, 20) };
    pool.reserves[1] = 2;
    ReceiversConfig { pool, continuation_class: Some(0), ..ReceiversConfig::new(4, 10) }
}

fn frame_begins_while_it_waits(receivers: &mut Receivers) {
    for _ in 0..2 {
        assert!(matches!(receivers.request(1, 50), Ok(Outcome::Granted(_))));
    }
    let id = receivers.attach(1, 1).expect("there is room");
    receive(receivers, id, 64);
    assert_eq!((receivers.stats().pool.waiting_by_class[1], receivers.stats().lifelines), (1, 1));
    // Whole frames that lie in the slot are decoded before it is known whether one has begun.
    assert!(receivers.pending(id).expect("the handle is live").has(Action::Demux));
    receivers.decoded(id, 0, 400).expect("it is short of so many");
    let stats = receivers.stats().pool;
    assert_eq!((stats.waiting, stats.assigned), (0, 1));
    assert_eq!((served(receivers), receivers.stats().pool.out_by_class[..2].to_vec()), (vec![1], vec![1, 2]));
    assert_eq!(receivers.data(id).expect("the handle is live"), [7; 64]);
    receivers.check_invariants().expect("the invariants hold");
}

#[test]
fn s57_queued_wait_follows_the_frame_that_begins() {
    frame_begins_while_it_waits(&mut Receivers::new(&reserved()).expect("the configuration is allowed"));
}

#[test]
fn s57_queued_wait_follows_the_frame_on_a_shared_pool() {
    let threads = ReceiverThreads::new(&reserved(), 2).expect("the configuration is allowed");
    frame_begins_while_it_waits(&mut threads.receivers(1).expect("it is not in use"));
}

/// It stands behind those that wait in the class already, and before those that come later.
#[test]
fn s57_wait_that_changes_class_is_the_last_there() {
    let mut receivers = Receivers::new(&reserved()).expect("the configuration is allowed");
    let leases: Vec<_> = (0..4)
        .map(|_| match receivers.request(0, 50) {
            Ok(Outcome::Granted(lease)) => lease,
            other => panic!("a buffer is free: {other:?}"),
        })
        .collect();
    let id = receivers.attach(1, 1).expect("there is room");
    receive(&mut receivers, id, 64);
    receivers.request(0, 10).expect("it is queued");
    receivers.decoded(id, 0, 400).expect("it is short of so many");
    receivers.request(0, 11).expect("it is queued");
    assert_eq!(receivers.stats().pool.waiting_by_class[..2], [3, 0]);
    for (lease, token) in leases.into_iter().zip([10, 1, 11]) {
        receivers.release(lease).expect("it is held");
        assert_eq!(served(&mut receivers), [token]);
    }
}

/// Bytes that are parked with a blocked decoder need no buffer before the decoder may go on.
#[test]
fn s62_blocked_receivers_do_not_trade_a_buffer() {
    for mode in [Mode::Level, Mode::Edge, Mode::OneShot, Mode::Optimistic] {
        let mut config = ReceiversConfig::new(1, 10);
        (config.pool.park_ns, config.pool.lease_ns, config.policy.mode) = (0, 2_000, mode);
        let mut receivers = Receivers::new(&config).expect("the configuration is allowed");
        let ids = [1, 2].map(|token| {
            let id = receivers.attach(0, token).expect("there is room");
            tell(&mut receivers, id, Event::Readable);
            receive(&mut receivers, id, 10);
            tell(&mut receivers, id, Event::Block { reasons: 1 });
            id
        });
        let mut grants = 0;
        for now_ns in 0..1_000 {
            receivers.handle_timeout(now_ns);
            grants += served(&mut receivers).len();
        }
        let stats = receivers.stats();
        assert!(grants <= 1 && stats.parked <= 2 && stats.pool.waiting == 0, "{mode:?}: {grants} grants, {stats:?}");
        // Nothing arrives that could be reported, and no watch stays on that would report it again and again.
        for id in ids {
            let connection = receivers.connection(id).expect("the handle is live");
            assert_eq!((connection.level(), connection.is_accepting()), (10, connection.capacity() > 64), "{mode:?}");
            assert!(tell(&mut receivers, id, Event::Unblock { reasons: 1 }).has(Action::Demux), "{mode:?}");
        }
    }
}

const LEASE_NS: u64 = 800;

/// Advances the clock by steps that count until a receiver is to be shed; returns when.
fn shed_at(receivers: &mut Receivers, from_ns: u64, until_ns: u64) -> Option<u64> {
    (from_ns..=until_ns).find(|&now_ns| {
        receivers.handle_timeout(now_ns);
        let mut granted = std::iter::from_fn(|| receivers.poll_grant());
        granted.any(|granted| matches!(granted, Granted::Receiver { actions, .. } if actions.has(Action::Shed)))
    })
}

/// One holds 5,000 bytes that its host blocks at time 0, another one waits.
fn blocks(receivers: &mut Receivers) -> ReceiverId {
    receivers.handle_timeout(0);
    let id = receivers.attach(0, 1).expect("there is room");
    receive(receivers, id, 5_000);
    tell(receivers, id, Event::Block { reasons: 1 });
    let other = receivers.attach(0, 2).expect("there is room");
    tell(receivers, other, Event::Readable);
    id
}

fn short_leases() -> ReceiversConfig {
    let mut config = ReceiversConfig { lifeline: false, ..ReceiversConfig::new(1, 10) };
    (config.pool.park_ns, config.pool.lease_ns) = (100, LEASE_NS);
    config
}

fn s61_on(make: impl Fn() -> (Receivers, Option<ReceiverThreads>)) {
    let (mut receivers, _threads) = make();
    blocks(&mut receivers);
    assert_eq!(shed_at(&mut receivers, 0, 9 * LEASE_NS), Some(2 * LEASE_NS), "it is not held for ever");
    assert_eq!((receivers.stats().shed, receivers.stats().pool.sheds_asked), (1, 1));

    // Unblocked, it is the peer's turn, and the whole lease is its.
    let (mut receivers, _threads) = make();
    let id = blocks(&mut receivers);
    assert_eq!(shed_at(&mut receivers, 0, LEASE_NS + 9), None);
    tell(&mut receivers, id, Event::Unblock { reasons: 1 });
    assert_eq!(shed_at(&mut receivers, LEASE_NS + 10, 9 * LEASE_NS), Some(2 * LEASE_NS + 9));

    // One of several reasons ends: it is blocked still.
    let (mut receivers, _threads) = make();
    let id = blocks(&mut receivers);
    tell(&mut receivers, id, Event::Block { reasons: 2 });
    assert_eq!(shed_at(&mut receivers, 0, LEASE_NS / 2), None);
    tell(&mut receivers, id, Event::Unblock { reasons: 1 });
    assert_eq!(shed_at(&mut receivers, LEASE_NS / 2, 9 * LEASE_NS), Some(2 * LEASE_NS));

    // Each byte that is decoded begins all of it anew.
    let (mut receivers, _threads) = make();
    let id = blocks(&mut receivers);
    assert_eq!(shed_at(&mut receivers, 0, LEASE_NS + 9), None);
    tell(&mut receivers, id, Event::Consumed { bytes: 1 });
    assert_eq!(shed_at(&mut receivers, LEASE_NS + 10, 9 * LEASE_NS), Some(3 * LEASE_NS + 9));
}

#[test]
fn s61_blocked_content_has_two_leases() {
    s61_on(|| (Receivers::new(&short_leases()).expect("the configuration is allowed"), None));
}

#[test]
fn s61_blocked_content_has_two_leases_on_threads() {
    s61_on(|| {
        let threads = ReceiverThreads::new(&short_leases(), 1).expect("the configuration is allowed");
        (threads.receivers(0).expect("it is not in use"), Some(threads))
    });
}

/// Receiver 1 holds one unit of `units` with a frame that does not fit, and waits for three; the host holds two.
fn one_grows_alone(units: u32) -> (Receivers, ReceiverId) {
    let mut config = ReceiversConfig { lifeline: false, ..ReceiversConfig::new(units, 4) };
    config.set_buffer_sizes(&[UNIT, 3 * UNIT]).expect("two sizes");
    (config.pool.park_ns, config.pool.lease_ns) = (100, LEASE_NS);
    let mut receivers = Receivers::new(&config).expect("the configuration is allowed");
    for _ in 0..2 {
        assert!(matches!(receivers.request(0, 50), Ok(Outcome::Granted(_))));
    }
    receivers.handle_timeout(0);
    let id = receivers.attach(0, 1).expect("there is room");
    receive(&mut receivers, id, UNIT);
    tell(&mut receivers, id, Event::NeedMore { bytes: 900 });
    (receivers, id)
}

#[test]
fn s56_receiver_is_not_shed_for_its_own_wait() {
    let (mut receivers, id) = one_grows_alone(4);
    receivers.grow(id, LARGE).expect("it is queued");
    assert_eq!(shed_at(&mut receivers, 0, 9 * LEASE_NS), None);
    assert_eq!((receivers.stats().pool.parks_asked, receivers.stats().pool.sheds_asked), (0, 0));
    // Once another one waits, its time runs like that of any holder.
    let other = receivers.attach(0, 2).expect("there is room");
    tell(&mut receivers, other, Event::Readable);
    let shed_ns = shed_at(&mut receivers, 9 * LEASE_NS + 1, 12 * LEASE_NS).expect("it makes no progress");
    assert!((9 * LEASE_NS + 700..10 * LEASE_NS + 1).contains(&shed_ns), "{shed_ns}");
}

/// It would wait for ever: what it holds is a part of what it needs.
#[test]
fn s56_growth_that_needs_what_it_holds_is_refused() {
    let (mut receivers, id) = one_grows_alone(3);
    let (before, pending) = (receivers.stats().pool, receivers.pending(id).expect("the handle is live"));
    assert_eq!(receivers.grow(id, LARGE), Err(PoolError::TooLarge { units: 3 }.into()));
    assert_eq!(receivers.pending(id), Ok(pending));
    assert_eq!(receivers.stats().pool, PoolStats { refused: before.refused + 1, ..before });
}
