//! What a connection is attached with, what of it can be changed later, and the notice that follows a full table.

use demuxbuf::connection::{Action, Actions, Event, EventError, Mode, Policy};
use demuxbuf::pool::{AttachOptions, Notice, Pool, PoolConfig, PoolError, ReceiverId};
use demuxbuf::scheduler::{LeaseId, Outcome, SchedulerError, TenantConfig, TenantId};

fn pool(buffers: u32, receivers_max: u32) -> Pool {
    let mut config = PoolConfig { lifeline: false, slots: 0, ..PoolConfig::new(buffers, receivers_max) };
    (config.scheduler.classes, config.scheduler.tenants_max) = (3, 2);
    Pool::new(&config).expect("the configuration is allowed")
}

fn of_mode(mode: Mode) -> Option<Policy> {
    Some(Policy { mode, ..Policy::default() })
}

fn report(pool: &mut Pool, id: ReceiverId, event: Event) -> Actions {
    pool.handle(id, event).unwrap_or_else(|error| panic!("{event:?}: {error}"))
}

fn lease(pool: &mut Pool) -> LeaseId {
    match pool.request(0, 0) {
        Ok(Outcome::Granted(lease)) => lease,
        other => panic!("a buffer is free: {other:?}"),
    }
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
    let mut pool = pool(8, 8);
    let plain = pool.attach(&AttachOptions::new(0, 0)).expect("there is room");
    for mode in Mode::ALL {
        let options = AttachOptions { policy: of_mode(mode), ..AttachOptions::new(0, 1) };
        let id = pool.attach(&options).expect("there is room");
        let receives_first = matches!(mode, Mode::Optimistic | Mode::Completion);
        let actions = pool.pending(id).expect("it is attached");
        assert_eq!((actions.has(Action::Recv), actions.has(Action::WantRecv)), (receives_first, !receives_first));
        assert_eq!(pool.connection(id).expect("it is attached").policy(), options.policy.expect("it has one"));
        let bytes = pool.attach_with(&options, &[7; 10]).expect("a buffer is free");
        assert_eq!(pool.connection(bytes).expect("it is attached").policy(), options.policy.expect("it has one"));
        for id in [id, bytes] {
            report(&mut pool, id, Event::Close);
        }
    }
    assert_eq!(pool.connection(plain).expect("it is attached").policy().park_bytes, 64, "that of the pool");
}

/// A receive in flight is known by the mode of its receiver, and a grant that came meanwhile is used afterwards.
#[test]
fn completion_in_a_level_pool_uses_a_deferred_grant() {
    let config = PoolConfig::new(1, 4);
    let mut pool = Pool::new(&config).expect("the configuration is allowed");
    let held = lease(&mut pool);
    let options = AttachOptions { policy: of_mode(Mode::Completion), ..AttachOptions::new(0, 9) };
    let id = pool.attach(&options).expect("there is room");
    assert!(pool.pending(id).expect("it is attached").has(Action::Recv), "into a slot that is lent");
    report(&mut pool, id, Event::done(Action::Recv));
    pool.release(held).expect("it is the host's");
    while pool.poll_notice().is_some() {}
    assert_eq!(pool.connection(id).expect("it is attached").capacity(), 64, "the receive goes to the slot");
    report(&mut pool, id, Event::Received { bytes: 3 });
    let capacity = pool.connection(id).expect("it is attached").capacity();
    assert_eq!((capacity, pool.check_invariants()), (config.buffer_bytes, Ok(())));
}

/// What is out of range of a policy names its field, and nothing is attached or changed.
#[test]
fn policy_out_of_range_is_refused() {
    let mut pool = pool(1, 1);
    let park = Policy { park_bytes: 65, ..Policy::default() };
    let reclaim = Policy { reclaim_bytes: 4097, ..Policy::default() };
    let refused = [("policy.park_bytes", 65, 64, park), ("policy.reclaim_bytes", 4097, 4096, reclaim)];
    for (field, value, max, policy) in refused {
        let options = AttachOptions { policy: Some(policy), ..AttachOptions::new(0, 0) };
        assert_eq!(pool.attach(&options), Err(PoolError::Policy { field, value, max }));
        assert_eq!(pool.attach_with(&options, &[1]), Err(PoolError::Policy { field, value, max }));
    }
    let id = pool.attach(&AttachOptions::new(0, 0)).expect("nothing was attached");
    for (field, value, max, policy) in refused {
        assert_eq!(pool.set_policy(id, &policy), Err(PoolError::Policy { field, value, max }));
    }
    assert_eq!(pool.connection(id).expect("it is attached").policy().park_bytes, 64, "that of the pool");
    let text = PoolError::Policy { field: "policy.park_bytes", value: 65, max: 64 }.to_string();
    assert_eq!(text, "policy.park_bytes is 65; allowed is 0 to 64");
}

/// After an upgrade to a layer that reads ahead: read interest is asked for in the new mode.
#[test]
fn set_policy_asks_for_read_interest_in_another_mode() {
    for from in Mode::ALL {
        for to in Mode::ALL.into_iter().filter(|&to| to != from) {
            let mut pool = pool(2, 2);
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
            assert_eq!(pool.stats().scheduler.leased, 0, "{from:?} {to:?}");
        }
    }
}

#[test]
fn set_policy_keeps_the_mode_during_a_receive() {
    let mut pool = pool(1, 1);
    let options = AttachOptions { policy: of_mode(Mode::Completion), ..AttachOptions::new(0, 0) };
    let id = pool.attach(&options).expect("there is room");
    report(&mut pool, id, Event::done(Action::Recv));
    let before = pool.connection(id).expect("it is attached").clone();
    let refused = pool.set_policy(id, &Policy::default());
    assert_eq!(refused, Err(PoolError::Event(EventError::InFlight)));
    assert_eq!(pool.connection(id), Ok(&before));
    let same_mode = Policy { mode: Mode::Completion, park_bytes: 9, ..Policy::default() };
    pool.set_policy(id, &same_mode).expect("the mode stays");
    report(&mut pool, id, Event::WouldBlock);
    pool.set_policy(id, &Policy::default()).expect("nothing is in flight");
}

/// A larger threshold or a smaller one counts at once for a buffer that is full.
#[test]
fn set_policy_resumes_a_full_buffer() {
    let mut pool = pool(1, 1);
    let policy = Policy { resume_free_bytes: 5_000, ..Policy::default() };
    let id = pool.attach(&AttachOptions { policy: Some(policy), ..AttachOptions::new(0, 0) }).expect("there is room");
    report(&mut pool, id, Event::Readable);
    let room = pool.receive_area(id).expect("it is attached").len() as u32;
    report(&mut pool, id, Event::Received { bytes: room });
    report(&mut pool, id, Event::Consumed { bytes: 100 });
    assert!(!report(&mut pool, id, Event::Block { reasons: 1 }).has(Action::Recv), "too little is free");
    let policy = Policy { resume_free_bytes: 100, ..Policy::default() };
    assert!(pool.set_policy(id, &policy).expect("it is open").has(Action::Recv));
}

/// A connection that becomes more critical while it waits goes before those that waited longer in the class it left.
#[test]
fn set_class_moves_a_queued_wait() {
    let mut pool = pool(1, 4);
    let held = lease(&mut pool);
    let [first, second, third] = [1, 2, 3].map(|token| {
        let id = pool.attach(&AttachOptions::new(2, token)).expect("there is room");
        report(&mut pool, id, Event::Readable);
        id
    });
    pool.set_class(third, 0).expect("the class exists");
    pool.set_class(second, 1).expect("the class exists");
    assert_eq!(pool.describe(third).expect("it is attached").class, 0);
    pool.release(held).expect("it is the host's");
    for (token, id) in [(3, third), (2, second), (1, first)] {
        assert_eq!(granted_to(&mut pool), Some(token));
        report(&mut pool, id, Event::WouldBlock);
    }
    let unknown = SchedulerError::UnknownClass { class: 3, classes: 3 };
    assert_eq!(pool.set_class(first, 3), Err(unknown.into()));
    report(&mut pool, first, Event::Close);
    assert_eq!(pool.set_class(first, 0), Err(PoolError::Stale));
    assert_eq!(pool.check_invariants(), Ok(()));
}

fn tenant(pool: &mut Pool, cap: u32) -> TenantId {
    pool.create_tenant(&TenantConfig { cap, ..TenantConfig::default() }).expect("there is room")
}

/// What is attached in the name of a tenant counts for it, from the first byte on.
#[test]
fn attach_counts_for_its_tenant() {
    let mut pool = pool(4, 4);
    let capped = tenant(&mut pool, 1);
    let options = AttachOptions { tenant: Some(capped), ..AttachOptions::new(0, 1) };
    let first = pool.attach_with(&options, &[1; 100]).expect("a buffer is free");
    assert_eq!(pool.describe_tenant(capped).expect("it is there").outstanding_units, 1);
    assert_eq!(pool.attach_with(&options, &[1; 100]), Err(PoolError::NoBufferFree), "its cap");
    let second = pool.attach(&options).expect("there is room");
    report(&mut pool, second, Event::Readable);
    assert!(pool.connection(second).expect("it is attached").is_waiting(), "its cap");
    report(&mut pool, first, Event::Close);
    assert_eq!(granted_to(&mut pool), Some(1));
    // It goes with the last receiver that requests for it.
    pool.remove_tenant(capped).expect("it is there");
    assert!(pool.describe_tenant(capped).expect("it has a receiver").is_retiring);
    let stale = PoolError::Scheduler(SchedulerError::StaleTenant);
    assert_eq!(pool.attach(&options), Err(stale));
    report(&mut pool, second, Event::Close);
    assert_eq!(pool.describe_tenant(capped).err(), Some(stale));
}

/// Whatever an attach is refused for, its tenant is not kept for it.
#[test]
fn refused_attach_keeps_no_tenant() {
    let mut pool = pool(1, 2);
    let held = lease(&mut pool);
    let owner = tenant(&mut pool, 1);
    let options = AttachOptions { tenant: Some(owner), ..AttachOptions::new(0, 1) };
    assert_eq!(pool.attach_with(&options, &[1; 100]), Err(PoolError::NoBufferFree));
    pool.remove_tenant(owner).expect("it is there");
    let stale = PoolError::Scheduler(SchedulerError::StaleTenant);
    assert_eq!(pool.describe_tenant(owner).err(), Some(stale), "nothing keeps it");
    pool.release(held).expect("it is the host's");
    assert_eq!((pool.stats().receivers, pool.check_invariants()), (0, Ok(())));
}

/// A host that accepts no more while the table is full learns once when it can go on.
#[test]
fn full_table_is_followed_by_one_notice() {
    let mut pool = pool(2, 2);
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
    let mut pool = pool(1, 2);
    let [holder, waiter] = [1, 2].map(|token| pool.attach(&AttachOptions::new(0, token)).expect("there is room"));
    for id in [holder, waiter] {
        report(&mut pool, id, Event::Readable);
    }
    pool.attach(&AttachOptions { notify_if_full: true, ..AttachOptions::new(0, 3) }).expect_err("the table is full");
    report(&mut pool, holder, Event::Close);
    assert_eq!(granted_to(&mut pool), Some(2));
    assert_eq!((pool.poll_notice(), pool.poll_notice()), (Some(Notice::Attachable), None));
}
