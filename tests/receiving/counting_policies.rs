//! Receivers that count: what counting goes with, and what becomes of it when the policy changes.

use crate::counting::{Case, attach, lease_all, policy, rest};
use crate::{MS, pool_of_eight_with};
use demuxbuf::connection::{Action, Actions, Event, EventError, Mode, Policy};
use demuxbuf::pool::{AttachOptions, ConfigError, Pool, PoolConfig, PoolError};
use demuxbuf::scheduler::Request;
use demuxbuf_testkit::in_modes;

/// What does not go with counting is refused where it is set, by a name of its own.
#[test]
fn what_cannot_count_is_refused() {
    let with = |with| PoolError::CannotCount { with };
    let optimistic = Policy { mode: Mode::Optimistic, ..policy(Mode::Level) };
    let layer = Policy { reads_ahead: true, ..policy(Mode::Level) };
    let mut pool = pool_of_eight_with(policy(Mode::Level), 0);
    let id = attach(&mut pool);
    for (policy, name) in [(optimistic, "the mode optimistic"), (layer, "reads_ahead")] {
        let options = AttachOptions { policy: Some(policy), ..AttachOptions::new(0, 0) };
        assert_eq!(pool.attach(&options), Err(with(name)));
        assert_eq!(pool.set_policy(id, &policy), Err(with(name)));
        let config = PoolConfig { policy, ..PoolConfig::new(8 * 16_448, 1) };
        let refused = Pool::new(&config).expect_err("it is no policy of receivers");
        assert!(matches!(refused, ConfigError::Refused { field: "counting", .. }), "{refused}");
        assert_eq!(refused.to_string(), format!("counting is 1; allowed is 0 with {name}"));
    }
    let unknown = AttachOptions { unknown_length: true, ..AttachOptions::new(0, 0) };
    assert_eq!(pool.attach(&unknown), Err(with("unknown_length")), "the policy is the pool's");
    let options = AttachOptions { policy: Some(Policy::default()), ..unknown };
    let unknown = pool.attach(&options).expect("it does not count");
    assert_eq!(pool.set_policy(unknown, &policy(Mode::Level)), Err(with("unknown_length")));
    assert_eq!(with("reads_ahead").to_string(), "counting is not possible with reads_ahead");
    assert_eq!(pool.check_invariants(), Ok(()));
}

/// Looks, and receives of a whole, are done at once, also where receives are submitted.
#[test]
fn look_and_whole_are_not_submitted() {
    let mut case = Case::with_place(Mode::Completion);
    case.look();
    let refused = Err(EventError::NotPending.into());
    assert_eq!(case.pool.handle(case.id, Event::done(Action::Recv)), refused);
    assert_eq!(case.pool.handle(case.id, Event::done(Action::Peek)), refused);
    assert_eq!(case.pool.handle(case.id, Event::Received { bytes: 5 }), Err(PoolError::TooManyBytes));
    case.see(200);
    assert_eq!(case.pool.handle(case.id, Event::done(Action::Recv)), refused);
    assert_eq!(case.pool.handle(case.id, Event::done(Action::RecvWhole)), refused);
    case.check();
}

/// A policy that comes later counts from then on; one that ends leaves the host to lower its mark.
#[test]
fn counting_may_come_and_go() {
    in_modes(&[Mode::Level, Mode::OneShot, Mode::Edge], |mode| {
        let mut case = Case::with_place(mode);
        let plain = Policy { mode, ..Policy::default() };
        for _ in 0..2 {
            case.look();
            case.pool.set_policy(case.id, &policy(mode)).expect("it is open");
            assert!(case.pool.pending(case.id).expect("it is attached").has(Action::Peek), "the same again");
            case.pool.set_policy(case.id, &plain).expect("it is open");
            let actions = case.on(Event::Wake);
            assert!(actions.has(Action::Recv), "{actions}: a look ends");
            case.pool.set_policy(case.id, &policy(mode)).expect("it is open");
            case.on(Event::WouldBlock);
            if case.pool.pending(case.id).expect("it is attached").has(Action::WantRecv) {
                case.on(Event::done(Action::WantRecv));
            }
            case.look();
            case.see(200);
            case.wait(200);
            let actions = case.pool.set_policy(case.id, &plain).expect("it is open");
            assert_eq!((actions, case.mark(), case.awaited()), (Action::WantRecv.into(), 1, 0));
            assert_eq!(case.on(Event::done(Action::WantRecv)), Actions::NONE);
            case.pool.set_policy(case.id, &policy(mode)).expect("it is open");
        }
    });
}

/// What arrives for a decoder that failed is thrown away, with nothing to look at.
#[test]
fn failed_receiver_does_not_look() {
    let mut case = Case::with_place(Mode::Level);
    case.look();
    let actions = case.on(Event::Fail);
    assert_eq!((actions, case.area()), (Action::Recv.into(), 64));
    case.on(Event::Received { bytes: 64 });
    assert_eq!(case.facts().kept_bytes, 0);
    case.pool.set_policy(case.id, &policy(Mode::Level)).expect("it is open");
    assert_eq!(case.on(Event::Readable), Action::Recv.into());
}

/// A look is named that the host does not follow; one that waits under a mark is not.
#[test]
fn audit_names_a_look_that_is_left() {
    let config =
        PoolConfig { buffer_bytes: 256, policy: policy(Mode::Level), audit: true, ..PoolConfig::new(8 * 256, 8) };
    let mut pool = Pool::new(&config).expect("the configuration is allowed");
    pool.handle_timeout(0);
    let id = attach(&mut pool);
    lease_all(&mut pool);
    let audit = |pool: &mut Pool, now_ns| {
        let findings = std::iter::from_fn(|| pool.poll_audit(now_ns).expect("it is on"));
        let of_receivers = findings.filter(|finding| finding.receiver.is_some());
        of_receivers.map(|finding| finding.to_string()).collect::<Vec<_>>()
    };
    pool.handle(id, Event::Readable).expect("it is attached");
    for (now_ns, line) in
        [(1, "is undone: look at what is in the kernel"), (2, "is undone for 1 ns and keeps its memory")]
    {
        let named = audit(&mut pool, now_ns);
        assert!(matches!(&named[..], [named] if named.contains(&format!("Peek {line}"))), "{named:?}");
    }
    pool.handle_timeout(3);
    let named = audit(&mut pool, 3);
    assert!(matches!(&named[..], [named] if named.contains("Peek is undone")), "its borrow is over: {named:?}");
    pool.handle(id, Event::Readable).expect("it is attached");
    pool.decoded(id, 0, 200).expect("it looks");
    pool.handle(id, Event::WouldBlock).expect("it is attached");
    let named = audit(&mut pool, 4);
    assert!(matches!(&named[..], [line] if line.contains("WantRecv is undone")), "{named:?}");
    pool.handle(id, Event::done(Action::WantRecv)).expect("it is pending");
    for step in 1..9 {
        pool.handle_timeout(step * 125 * MS);
        assert_eq!(audit(&mut pool, step * 125 * MS), [""; 0], "it waits for its peer");
    }
}

/// A mark that is left behind is lowered by a host that does not count any more, also where it arms read interest anew.
#[test]
fn last_mark_is_lowered_on_the_way() {
    let mut case = Case::with_place(Mode::OneShot);
    case.look();
    case.see(200);
    case.wait(200);
    let plain = Policy { mode: Mode::OneShot, ..Policy::default() };
    case.pool.set_policy(case.id, &plain).expect("it is open");
    assert!(case.on(Event::Readable).has(Action::Recv));
    assert_eq!(case.on(Event::WouldBlock), Action::WantRecv.into());
    assert_eq!(case.on(Event::done(Action::WantRecv)), Actions::NONE);
    assert_eq!(case.pool.memory().mark_in_force(0), Ok(1));
}

/// What is not submitted is none of the receives in flight, of which there may be one here.
#[test]
fn look_is_no_receive_in_flight() {
    let config = PoolConfig {
        buffer_bytes: 256,
        in_flight_max: 1,
        policy: policy(Mode::Completion),
        ..PoolConfig::new(24 * 256, 8)
    };
    let mut pool = Pool::new(&config).expect("the configuration is allowed");
    let [poor, rich] = [0, 1].map(|_| attach(&mut pool));
    for _ in 0..4 {
        pool.handle(rich, Event::Readable).expect("it is attached");
        pool.handle(rich, Event::done(Action::Recv)).expect("it is pending");
        pool.handle(rich, Event::Received { bytes: 256 }).expect("there is room");
        pool.decoded(rich, 256, 0).expect("they are buffered");
        rest(&mut pool, rich);
    }
    while pool.memory().free_buffers() > 2 {
        pool.try_request(&Request::new(0, 0)).expect("the class exists").expect("one is free");
    }
    assert!(pool.handle(poor, Event::Readable).expect("it is attached").has(Action::Peek), "given: it has no credit");
    let actions = pool.handle(rich, Event::Readable).expect("it is attached");
    assert!(actions.has(Action::Recv) && !actions.has(Action::RecvWhole), "{actions}");
}
