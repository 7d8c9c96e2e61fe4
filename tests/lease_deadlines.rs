//! Deadlines of the host's own leases: which of them the host learns of, when, and for what.

mod common;

use common::{ShardPool, check, config, exhaust, granted_to, two, waiting};
use demuxbuf::connection::{Action, Event};
use demuxbuf::pool::{AttachOptions, LeasedContent, Notice, Pool, PoolConfig, PoolError};
use demuxbuf::scheduler::{LeaseId, Outcome, Request, SchedulerError, TenantConfig};

const MS: u64 = 1_000_000;
const LEASE_NS: u64 = 80 * MS;
/// The most that one advance of the clock counts for.
const STEP_NS: u64 = LEASE_NS / 8;

fn timed(token: u64) -> Request {
    Request { has_deadline: true, ..Request::new(0, token) }
}

/// A pool of eight buffers.
fn pool() -> Pool {
    let config = PoolConfig { buffer_bytes: 256, lease_ns: Some(LEASE_NS), ..PoolConfig::new(8 * 256, 8) };
    let mut pool = Pool::new(&config).expect("it is allowed");
    pool.handle_timeout(0);
    pool
}

fn lease(pool: &mut Pool, request: &Request) -> LeaseId {
    pool.try_request(request).expect("it is allowed").expect("a buffer is free")
}

fn fill(pool: &mut Pool) {
    while pool.try_request(&Request::new(0, 0)).expect("it is allowed").is_some() {}
}

/// Advances the clock to this time, in steps that count in full.
fn advance(pool: &mut Pool, from_ns: u64, to_ns: u64) {
    (from_ns..=to_ns).step_by(STEP_NS as usize).for_each(|now_ns| pool.handle_timeout(now_ns));
}

/// The leases that notices name, with their tokens.
fn overdue(pool: &mut Pool) -> Vec<(u64, LeaseId)> {
    let mut leases = Vec::new();
    while let Some(notice) = pool.poll_notice() {
        match notice {
            Notice::Overdue { token, lease } => leases.push((token, lease)),
            other => panic!("no other notice is due: {other:?}"),
        }
    }
    assert_eq!(pool.check_invariants(), Ok(()));
    leases
}

/// Only while a request waits; the one held for longest first; those that have a deadline; each once, until it is
/// renewed.
#[test]
fn overdue_lease_is_named_once_while_a_request_waits() {
    let mut pool = pool();
    let first = lease(&mut pool, &timed(1));
    pool.handle_timeout(STEP_NS);
    let second = lease(&mut pool, &timed(2));
    fill(&mut pool);
    advance(&mut pool, 2 * STEP_NS, 20 * STEP_NS);
    assert_eq!((overdue(&mut pool), pool.poll_timeout()), (vec![], None), "no request waits");
    let Ok(Outcome::Queued(wait)) = pool.request(0, 3) else { panic!("no buffer is free") };
    assert_eq!(pool.poll_timeout(), Some(20 * STEP_NS), "at once");
    assert_eq!(overdue(&mut pool), [(1, first), (2, second)]);
    assert_eq!((overdue(&mut pool), pool.poll_timeout()), (vec![], None), "once");
    assert_eq!(pool.renew_lease(first), Ok(()));
    advance(&mut pool, 21 * STEP_NS, 27 * STEP_NS);
    assert_eq!((overdue(&mut pool), pool.poll_timeout()), (vec![], Some(28 * STEP_NS)));
    pool.handle_timeout(28 * STEP_NS);
    assert_eq!(overdue(&mut pool), [(1, first)]);
    pool.release(first).expect("it is the host's");
    assert!(matches!(pool.poll_notice(), Some(Notice::Lease { wait: ended, token: 3, .. }) if ended == wait));
    assert_eq!(overdue(&mut pool), []);
}

/// A pause of the host makes no lease older than a step.
#[test]
fn pause_of_the_host_counts_for_a_step() {
    let mut pool = pool();
    let held = lease(&mut pool, &timed(1));
    fill(&mut pool);
    pool.request(0, 2).expect("it waits");
    for step in 1..8 {
        pool.handle_timeout(step * 1_000 * LEASE_NS);
        assert_eq!((overdue(&mut pool), pool.poll_timeout()), (vec![], Some(step * 1_000 * LEASE_NS + STEP_NS)));
    }
    pool.handle_timeout(8_000 * LEASE_NS);
    assert_eq!(overdue(&mut pool), [(1, held)]);
}

/// A lease that was granted to a wait begins when it was assigned.
#[test]
fn granted_wait_has_its_deadline() {
    let mut pool = pool();
    let before = lease(&mut pool, &Request::new(0, 0));
    fill(&mut pool);
    let Ok(Outcome::Queued(_)) = pool.request_for(&timed(7)) else { panic!("no buffer is free") };
    pool.request(0, 8).expect("it waits");
    advance(&mut pool, STEP_NS, 10 * STEP_NS);
    pool.release(before).expect("it is the host's");
    let Some(Notice::Lease { token: 7, lease, .. }) = pool.poll_notice() else { panic!("it was served") };
    advance(&mut pool, 11 * STEP_NS, 17 * STEP_NS);
    assert_eq!(overdue(&mut pool), []);
    pool.handle_timeout(18 * STEP_NS);
    assert_eq!(overdue(&mut pool), [(7, lease)]);
}

/// A receiver that waits is reason enough.
#[test]
fn overdue_lease_is_named_while_a_receiver_waits() {
    let mut pool = pool();
    let held = lease(&mut pool, &timed(1));
    let other = lease(&mut pool, &Request::new(0, 0));
    fill(&mut pool);
    advance(&mut pool, STEP_NS, 9 * STEP_NS);
    let id = pool.attach(&AttachOptions::new(0, 2)).expect("there is room");
    assert!(pool.handle(id, Event::Readable).expect("it is attached").has(Action::Recv));
    pool.receive_area(id).expect("it is attached")[..64].fill(1);
    pool.handle(id, Event::Received { bytes: 64 }).expect("there is room");
    pool.decoded(id, 0, 100).expect("it is attached");
    assert_eq!(overdue(&mut pool), [], "it keeps what it has");
    pool.handle(id, Event::Readable).expect("it is attached");
    assert!(pool.connection(id).expect("it is attached").is_waiting());
    assert_eq!(overdue(&mut pool), [(1, held)]);
    [held, other].into_iter().for_each(|lease| pool.release(lease).expect("it is the host's"));
    assert!(matches!(pool.poll_notice(), Some(Notice::Receiver { token: 2, .. })), "there is room again");
}

/// While a tenant's cap is all that blocks the requests that wait, leases of that tenant alone are named.
#[test]
fn overdue_lease_of_a_capped_tenant_is_named() {
    let config =
        PoolConfig { buffer_bytes: 256, tenants_max: 1, lease_ns: Some(LEASE_NS), ..PoolConfig::new(8 * 256, 8) };
    let mut pool = Pool::new(&config).expect("it is allowed");
    pool.handle_timeout(0);
    let tenant = pool.create_tenant(&TenantConfig { cap: 1, ..TenantConfig::default() }).expect("there is room");
    lease(&mut pool, &timed(1));
    let of_tenant = Request { tenant: Some(tenant), ..timed(2) };
    let capped = lease(&mut pool, &of_tenant);
    assert!(matches!(pool.request_for(&of_tenant), Ok(Outcome::Queued(_))), "its cap blocks it");
    advance(&mut pool, STEP_NS, 9 * STEP_NS);
    assert_eq!(overdue(&mut pool), [(2, capped)]);
}

/// What has no deadline is not named, and a deadline that there is none of is refused. Nothing is changed.
#[test]
fn deadline_that_is_not_there_is_refused() {
    let mut pool = pool();
    let plain = lease(&mut pool, &Request::new(0, 1));
    assert_eq!(pool.renew_lease(plain), Err(PoolError::NoDeadline));
    let held = lease(&mut pool, &timed(2));
    assert_eq!(pool.renew_lease(held), Ok(()));
    pool.release(held).expect("it is the host's");
    assert_eq!(pool.renew_lease(held), Err(SchedulerError::StaleLease.into()));
    // A buffer that is a receiver's has none; nor has one that was taken from a receiver.
    let held = lease(&mut pool, &timed(3));
    let content = LeasedContent { lease: held, offset: 0, buffered_bytes: 200 };
    let id = pool.adopt(&AttachOptions::new(0, 4), content).expect("it is the host's");
    assert_eq!(pool.renew_lease(held), Err(SchedulerError::StaleLease.into()));
    pool.handle(id, Event::NeedMore { bytes: 10 }).expect("it is attached");
    let taken = pool.take(id).expect("it has a buffer").lease;
    assert_eq!(pool.renew_lease(taken), Err(PoolError::NoDeadline));
    fill(&mut pool);
    pool.request(0, 5).expect("it waits");
    advance(&mut pool, STEP_NS, 20 * STEP_NS);
    assert_eq!((overdue(&mut pool), pool.poll_timeout()), (vec![], None));

    let mut pool = Pool::new(&PoolConfig { buffer_bytes: 256, ..PoolConfig::new(8 * 256, 8) }).expect("it is allowed");
    let free = pool.stats();
    assert_eq!(pool.request_for(&timed(1)), Err(PoolError::DeadlinesOff));
    assert_eq!(pool.try_request(&timed(1)), Err(PoolError::DeadlinesOff));
    assert_eq!(pool.stats(), free);
    let none = PoolConfig { lease_ns: Some(0), ..PoolConfig::new(1 << 20, 8) };
    let refused = Pool::new(&none).map(|_| ()).map_err(|error| error.to_string());
    assert_eq!(refused, Err("lease_ns is 0; allowed is 1 or more".into()));
}

fn timed_config() -> PoolConfig {
    PoolConfig { lease_ns: Some(LEASE_NS), ..config() }
}

fn overdue_of(pool: &mut ShardPool) -> Option<(u64, LeaseId)> {
    match pool.poll_notice()? {
        Notice::Overdue { token, lease } => Some((token, lease)),
        other => panic!("no other notice is due: {other:?}"),
    }
}

/// The thread that has the lease learns of it, whichever thread waits, be it a request or a receiver. It is signalled
/// when the first begins to wait, and knows when the deadline passes.
#[test]
fn overdue_lease_is_named_to_its_thread() {
    for is_receiver in [false, true] {
        let (_shared_pool, mut a, mut b) = two(&timed_config());
        a.handle_timeout(0);
        let held = a.try_request(&timed(1)).unwrap().expect("a buffer is free");
        exhaust(&mut b, &mut a);
        if is_receiver {
            waiting(&mut b, 2);
            waiting(&mut b, 3);
            while b.poll_notice().is_some() {}
        } else {
            assert!(matches!(b.request(0, 2), Ok(Outcome::Queued(_))));
        }
        assert_eq!(b.poll_wake(), Some(0), "a thread with deadlines learns that others wait");
        assert_eq!((overdue_of(&mut a), a.poll_timeout().is_some()), (None, true));
        for step in 1..8 {
            a.handle_timeout(step * STEP_NS);
            assert_eq!(overdue_of(&mut a), None, "step {step}");
        }
        assert_eq!(a.poll_timeout(), Some(8 * STEP_NS));
        a.handle_timeout(8 * STEP_NS);
        assert_eq!(overdue_of(&mut a), Some((1, held)));
        assert_eq!(overdue_of(&mut a), None, "once");
        assert_eq!(b.renew_lease(held), Err(PoolError::NoDeadline), "it is one of the other thread");
        a.renew_lease(held).unwrap();
        (9..=16).for_each(|step| a.handle_timeout(step * STEP_NS));
        assert_eq!(overdue_of(&mut a), Some((1, held)));
        a.release(held).unwrap();
        if !is_receiver {
            assert_eq!((a.poll_wake(), granted_to(&mut b)), (Some(1), Some(2)));
        }
        check(&a, &b);
    }
}

/// A thread that polls for another reason names nothing while no request and no receiver waits.
#[test]
fn lease_is_not_overdue_while_nothing_waits_on_shards() {
    let (_shared_pool, mut a, mut b) = two(&timed_config());
    a.handle_timeout(0);
    let held = a.try_request(&timed(1)).unwrap().expect("a buffer is free");
    while a.attach(&AttachOptions { notify_if_full: true, ..AttachOptions::new(0, 2) }).is_ok() {}
    (1..=8).for_each(|step| a.handle_timeout(step * STEP_NS));
    assert_eq!((overdue_of(&mut a), a.poll_timeout()), (None, None));
    exhaust(&mut b, &mut a);
    assert!(matches!(b.request(0, 2), Ok(Outcome::Queued(_))));
    assert_eq!(overdue_of(&mut a), Some((1, held)));
}

/// Also while a limit of memory is not met, though nothing waits; the thread that has the lease is signalled.
#[test]
fn lease_is_overdue_while_a_limit_is_not_met() {
    let config = PoolConfig { memory_bytes: 40 * 256, ..timed_config() };
    let mut pool = Pool::new(&config).expect("it is allowed");
    pool.handle_timeout(0);
    let held = lease(&mut pool, &timed(1));
    let mut others: Vec<_> =
        std::iter::from_fn(|| pool.try_request(&Request::new(0, 0)).expect("it is allowed")).collect();
    pool.set_memory_limit(20 * 256).expect("it is allowed");
    advance(&mut pool, STEP_NS, LEASE_NS);
    assert_eq!((overdue(&mut pool), overdue(&mut pool)), (vec![(1, held)], vec![]));
    pool.renew_lease(held).expect("it has a deadline");
    others.drain(..20).for_each(|lease| pool.release(lease).expect("it is the host's"));
    assert_eq!(pool.stats().scheduler.to_withhold, 0, "given: the limit is met");
    advance(&mut pool, LEASE_NS, 3 * LEASE_NS);
    assert_eq!((overdue(&mut pool), pool.poll_timeout()), (vec![], None));

    let (_shared_pool, mut a, mut b) = two(&config);
    [&mut a, &mut b].into_iter().for_each(|pool| pool.handle_timeout(0));
    let held = a.try_request(&timed(1)).unwrap().expect("a buffer is free");
    let mut others = exhaust(&mut b, &mut a);
    assert_eq!((overdue_of(&mut a), a.poll_timeout()), (None, None));
    b.set_memory_limit(20 * 256).expect("it is allowed");
    assert_eq!(b.poll_wake(), Some(0), "it would sleep");
    (1..=8).for_each(|step| a.handle_timeout(step * STEP_NS));
    assert_eq!((overdue_of(&mut a), overdue_of(&mut a)), (Some((1, held)), None));
    a.renew_lease(held).unwrap();
    others.drain(..20).for_each(|lease| b.release(lease).unwrap());
    (9..=30).for_each(|step| a.handle_timeout(step * STEP_NS));
    assert_eq!((overdue_of(&mut a), a.poll_timeout()), (None, None));
    check(&a, &b);
}

/// A deadline ends with its lease, however that ends, and with the pool of its thread.
#[test]
fn deadline_ends_with_its_lease_on_shards() {
    let (_shared_pool, mut a, mut b) = two(&timed_config());
    a.handle_timeout(0);
    let [released, adopted] = [1, 2].map(|token| a.try_request(&timed(token)).unwrap().expect("one is free"));
    a.handle_timeout(STEP_NS);
    let left = a.try_request(&timed(3)).unwrap().expect("one is free");
    a.release(released).unwrap();
    let content = LeasedContent { lease: adopted, offset: 0, buffered_bytes: 200 };
    a.adopt(&AttachOptions::new(0, 4), content).unwrap();
    for lease in [released, adopted] {
        assert_eq!(a.renew_lease(lease), Err(SchedulerError::StaleLease.into()));
    }
    exhaust(&mut b, &mut a);
    assert!(matches!(b.request(0, 5), Ok(Outcome::Queued(_))));
    (2..=8).for_each(|step| a.handle_timeout(step * STEP_NS));
    assert_eq!(a.poll_timeout(), Some(9 * STEP_NS), "of those before nothing is due");
    a.handle_timeout(9 * STEP_NS);
    assert_eq!((overdue_of(&mut a), overdue_of(&mut a)), (Some((3, left)), None));
    drop(a);
    (1..=20).for_each(|step| b.handle_timeout(step * STEP_NS));
    assert_eq!(b.renew_lease(left), Err(PoolError::NoDeadline));
    while let Some(notice) = b.poll_notice() {
        assert!(matches!(notice, Notice::Lease { token: 5, .. }), "{notice:?}");
    }
    b.check_invariants().unwrap();
}

/// A wait that has a deadline takes it along to its lease, on shards too; and configurations without deadlines refuse
/// it.
#[test]
fn granted_wait_has_its_deadline_on_shards() {
    let (_shared_pool, mut a, mut b) = two(&timed_config());
    a.handle_timeout(0);
    let leases = exhaust(&mut b, &mut a);
    assert!(matches!(a.request_for(&timed(1)), Ok(Outcome::Queued(_))));
    b.release(leases[0]).unwrap();
    let Some(Notice::Lease { token: 1, lease, .. }) = a.poll_notice() else { panic!("it was served") };
    assert!(matches!(b.request(0, 2), Ok(Outcome::Queued(_))));
    (1..=8).for_each(|step| a.handle_timeout(step * STEP_NS));
    assert_eq!(overdue_of(&mut a), Some((1, lease)));

    let (_shared_pool, mut a, _b) = two(&config());
    assert_eq!(a.request_for(&timed(1)), Err(PoolError::DeadlinesOff));
    let none = PoolConfig { lease_ns: Some(0), ..config() };
    assert!(demuxbuf::shared::SharedPool::new(&none, 2).is_err());
}
