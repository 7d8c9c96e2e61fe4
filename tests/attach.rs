//! What a connection is attached with, what of it can be changed later, and the notice that follows a full table.

use demuxbuf::connection::{Action, Actions, Event, EventError, Mode, Policy};
use demuxbuf::memory::BUFFER_BYTES_DEFAULT;
use demuxbuf::pool::{AttachOptions, Notice, Pool, PoolConfig, PoolError, ReceiverId};
use demuxbuf::scheduler::Outcome;

fn pool(receivers_max: u32) -> Pool {
    let memory_bytes = 8 * u64::from(BUFFER_BYTES_DEFAULT);
    let config = PoolConfig { classes: 3, ..PoolConfig::new(memory_bytes, receivers_max) };
    Pool::new(&config).expect("the configuration is allowed")
}

fn of_mode(mode: Mode) -> Option<Policy> {
    Some(Policy { mode, ..Policy::default() })
}

fn report(pool: &mut Pool, id: ReceiverId, event: Event) -> Actions {
    pool.handle(id, event).unwrap_or_else(|error| panic!("{event:?}: {error}"))
}

fn granted_to(pool: &mut Pool) -> Option<u64> {
    match pool.poll_notice()? {
        Notice::Receiver { token, .. } => Some(token),
        notice => panic!("{notice:?}"),
    }
}

/// A pool of one mode serves connections of every other one beside its own.
#[test]
fn attach_takes_a_policy_of_its_own() {
    let mut pool = pool(8);
    let plain = pool.attach(&AttachOptions::new(0, 0)).expect("there is room");
    for mode in Mode::ALL {
        let options = AttachOptions { policy: of_mode(mode), ..AttachOptions::new(0, 1) };
        let id = pool.attach(&options).expect("there is room");
        let receives_first = matches!(mode, Mode::Optimistic | Mode::Completion);
        let actions = pool.pending(id).expect("it is attached");
        assert_eq!((actions.has(Action::Recv), actions.has(Action::WantRecv)), (receives_first, !receives_first));
        let bytes = pool.attach_with(&options, &[7; 10]).expect("there is room");
        for id in [id, bytes] {
            let policy = pool.connection(id).expect("it is attached").policy();
            // What is left undecoded is kept whatever a policy has about parking.
            assert_eq!((policy.mode, policy.park_bytes, policy.reclaim_bytes), (mode, 0, 0));
        }
        for id in [id, bytes] {
            report(&mut pool, id, Event::Close);
        }
    }
    assert_eq!(pool.connection(plain).expect("it is attached").policy().mode, Mode::Level, "that of the pool");
}

/// After an upgrade to a layer that reads ahead: read interest is asked for in the new mode.
#[test]
fn set_policy_asks_for_read_interest_in_another_mode() {
    for from in Mode::ALL {
        for to in Mode::ALL.into_iter().filter(|&to| to != from) {
            let mut pool = pool(2);
            let options = AttachOptions { policy: of_mode(from), ..AttachOptions::new(0, 0) };
            let id = pool.attach(&options).expect("there is room");
            report(&mut pool, id, Event::WouldBlock);
            report(&mut pool, id, Event::done(Action::WantRecv));
            let policy = Policy { mode: to, ..Policy::default() };
            let actions = pool.set_policy(id, &policy).expect("it is open");
            let receives_first = matches!(to, Mode::Optimistic | Mode::Completion);
            assert_eq!(actions.has(Action::Recv), receives_first, "{from:?} {to:?}");
            let actions = report(&mut pool, id, Event::WouldBlock);
            assert!(actions.has(Action::WantRecv), "{from:?} {to:?}");
            report(&mut pool, id, Event::done(Action::WantRecv));
            // The same mode again leaves it armed.
            assert!(!pool.set_policy(id, &policy).expect("it is open").has(Action::WantRecv), "{from:?} {to:?}");
            report(&mut pool, id, Event::Close);
            assert_eq!(pool.set_policy(id, &policy), Err(PoolError::Stale));
            assert_eq!(pool.check_invariants(), Ok(()), "{from:?} {to:?}");
        }
    }
}

/// A host that accepts no more while the table is full learns once when it can go on.
#[test]
fn full_table_is_followed_by_one_notice() {
    let mut pool = pool(2);
    let asking = AttachOptions { notify_if_full: true, ..AttachOptions::new(0, 1) };
    let [first, second] = [1, 2].map(|token| pool.attach(&AttachOptions::new(0, token)).expect("there is room"));
    let full = PoolError::ReceiversFull { receivers_max: 2 };
    assert_eq!(pool.attach(&AttachOptions::new(0, 3)), Err(full));
    report(&mut pool, first, Event::Close);
    assert_eq!(pool.poll_notice(), None, "none was asked for");
    let third = pool.attach(&asking).expect("there is room");
    for _ in 0..3 {
        assert_eq!(pool.attach(&asking), Err(full));
        assert_eq!(pool.attach_with(&asking, &[1; 100]), Err(full));
    }
    assert_eq!(pool.poll_notice(), None, "the table is full");
    report(&mut pool, second, Event::Close);
    report(&mut pool, third, Event::Close);
    assert_eq!((pool.poll_notice(), pool.poll_notice()), (Some(Notice::Attachable), None));
    // Refused for another cause, nothing is asked for.
    assert!(pool.attach(&AttachOptions { class: 9, ..asking }).is_err());
    assert_eq!(pool.poll_notice(), None);
}

/// The notice comes after those that let a receiver go on.
#[test]
fn attachable_comes_after_the_grants() {
    let mut pool = pool(2);
    let [closed, waiter] = [1, 2].map(|token| pool.attach(&AttachOptions::new(0, token)).expect("there is room"));
    // Nothing is free but two small cells, and the waiter has filled one of them.
    let mut leases = Vec::new();
    while let Outcome::Granted(lease) = pool.request(0, 0).expect("it may wait") {
        leases.push(lease);
    }
    report(&mut pool, waiter, Event::Readable);
    report(&mut pool, waiter, Event::Received { bytes: 64 });
    pool.decoded(waiter, 0, 100).expect("they are buffered");
    report(&mut pool, waiter, Event::Readable);
    assert!(pool.connection(waiter).expect("it is attached").is_waiting());
    pool.attach(&AttachOptions { notify_if_full: true, ..AttachOptions::new(0, 3) }).expect_err("the table is full");
    report(&mut pool, closed, Event::Close);
    for lease in leases {
        pool.release(lease).expect("it is the host's");
    }
    assert!(matches!(pool.poll_notice(), Some(Notice::Lease { .. })));
    assert_eq!(granted_to(&mut pool), Some(2));
    assert_eq!((pool.poll_notice(), pool.poll_notice()), (Some(Notice::Attachable), None));
}

#[test]
fn set_policy_keeps_the_mode_during_a_receive() {
    let mut pool = pool(1);
    let options = AttachOptions { policy: of_mode(Mode::Completion), ..AttachOptions::new(0, 0) };
    let id = pool.attach(&options).expect("there is room");
    report(&mut pool, id, Event::done(Action::Recv));
    let before = pool.connection(id).expect("it is attached");
    assert_eq!(pool.set_policy(id, &Policy::default()), Err(PoolError::Event(EventError::InFlight)));
    assert_eq!((pool.connection(id), pool.check_invariants()), (Ok(before), Ok(())));
    let same_mode = Policy { mode: Mode::Completion, pause_when_blocked: true, ..Policy::default() };
    pool.set_policy(id, &same_mode).expect("the mode stays");
    report(&mut pool, id, Event::WouldBlock);
    pool.set_policy(id, &Policy::default()).expect("nothing is in flight");
    assert_eq!(pool.check_invariants(), Ok(()));
}
