//! Tenants of a shared pool, with the pools of two threads driven by one: what a tenant holds counts over both,
//! whichever of them looks, and tenants come and go on both.

use crate::tenants::{
    BUFFER, attach, claims_are_in_order_of_number, content_goes_in_order_of_number, drain, fill, flood, info,
    off_is_in_order_of_number, tenant,
};
use crate::{MS, receive};
use demuxbuf::connection::{Action, Event, Mode, Policy};
use demuxbuf::pool::{AttachOptions, Notice, Pool, PoolConfig, PoolError, ReceiverId};
use demuxbuf::scheduler::{LeaseId, Outcome, Request, SchedulerError, TenantConfig, TenantId, WaitId};
use demuxbuf::shared::{PoolShard, SharedPool};

type ShardPool = Pool<PoolShard>;

/// Buffers beside those that each thread has: to receive into, two of header cells, and its spare.
const COMMON: u32 = 12;

struct Two {
    a: ShardPool,
    b: ShardPool,
    shared_pool: SharedPool,
}

fn two() -> Two {
    two_of(|_| {})
}

fn two_of(configure: impl Fn(&mut PoolConfig)) -> Two {
    let memory_bytes = u64::from(COMMON + 2 * 4) * u64::from(BUFFER);
    let mut config =
        PoolConfig { buffer_bytes: BUFFER, tenants_max: 3, waiters_max: 8, ..PoolConfig::new(memory_bytes, 64) };
    configure(&mut config);
    let shared_pool = SharedPool::new(&config, 2).expect("the configuration is allowed");
    let [mut a, mut b] = [0, 1].map(|index| shared_pool.shard(index).expect("it is free"));
    a.handle_timeout(0);
    b.handle_timeout(0);
    Two { a, b, shared_pool }
}

impl Two {
    /// Everything must hold, and the counts of both add up.
    fn check(&self) {
        let kept_bytes = |tenant| self.a.memory().kept_bytes(tenant) + self.b.memory().kept_bytes(tenant);
        self.shared_pool.check_tenants(kept_bytes).expect("the counts add up");
        self.a.check_invariants().expect("the invariants hold");
        self.b.check_invariants().expect("the invariants hold");
    }

    fn advance(&mut self, now_ns: u64) {
        self.a.handle_timeout(now_ns);
        self.b.handle_timeout(now_ns);
    }
}

/// The host takes all buffers that it may have; both threads look then.
fn take_all(two: &mut Two) -> Vec<LeaseId> {
    let taken = std::iter::from_fn(|| two.b.try_request(&Request::new(0, 0)).expect("it is allowed")).collect();
    two.advance(1);
    taken
}

fn lease_of(outcome: Result<Outcome, PoolError>) -> LeaseId {
    match outcome {
        Ok(Outcome::Granted(lease)) => lease,
        other => panic!("a buffer is free: {other:?}"),
    }
}

fn wait_of(outcome: Result<Outcome, PoolError>) -> WaitId {
    match outcome {
        Ok(Outcome::Queued(wait)) => wait,
        other => panic!("it has to wait: {other:?}"),
    }
}

fn request_of(tenant: TenantId) -> Request {
    Request { tenant: Some(tenant), ..Request::new(0, 7) }
}

fn buffered(pool: &ShardPool, id: ReceiverId) -> u32 {
    pool.connection(id).expect("it is attached").buffered_bytes()
}

fn is_waiting(pool: &ShardPool, id: ReceiverId) -> bool {
    pool.connection(id).expect("it is attached").is_waiting()
}

fn close(pool: &mut ShardPool, id: ReceiverId) {
    pool.handle(id, Event::Close).expect("it is attached");
}

/// The next notice is the grant of this wait.
fn picked_up(pool: &mut ShardPool, wait: WaitId) -> LeaseId {
    match pool.poll_notice() {
        Some(Notice::Lease { wait: served, lease, .. }) if served == wait => lease,
        other => panic!("the wait was served: {other:?}"),
    }
}

#[test]
fn tenant_cap_holds_over_two_threads() {
    let mut two = two();
    let capped = tenant(&mut two.a, TenantConfig { cap: 3, ..TenantConfig::default() });
    let lease = lease_of(two.b.request_for(&request_of(capped)));
    let here = fill(&mut two.a, Some(capped));
    assert_eq!(info(&two.b, capped).outstanding_units, 3, "each thread sees what both hold");
    let there = fill(&mut two.b, Some(capped));
    assert_eq!(info(&two.a, capped).outstanding_units, 3);
    assert!(two.b.memory().free_buffers() > 3, "memory is there, and not for this tenant");
    assert_eq!(two.b.try_request(&request_of(capped)), Ok(None));
    let wait = wait_of(two.b.request_for(&request_of(capped)));
    two.check();
    // Others are not kept by it, on either thread.
    let other = attach(&mut two.b, None);
    assert_eq!(flood(&mut two.b, other), BUFFER - 1);
    assert_eq!(two.b.poll_notice(), None, "it waits while its tenant is at its cap");
    // What its receivers give up on one thread serves its request on the other.
    for id in here {
        close(&mut two.a, id);
        two.check();
    }
    assert_eq!(two.a.poll_wake(), Some(1));
    let second = picked_up(&mut two.b, wait);
    two.check();
    for id in there {
        close(&mut two.b, id);
    }
    assert_eq!(info(&two.a, capped).outstanding_units, 2);
    two.a.release(lease).expect_err("a lease of the other thread is out of reach");
    two.b.release(lease).expect("it is the host's");
    two.b.release(second).expect("it is the host's");
    assert_eq!(info(&two.a, capped).outstanding_units, 0);
    two.check();
}

#[test]
fn tenant_request_counts_what_another_thread_keeps() {
    let mut two = two();
    let capped = tenant(&mut two.a, TenantConfig { cap: 1, ..TenantConfig::default() });
    let id = attach(&mut two.a, Some(capped));
    assert_eq!(flood(&mut two.a, id), BUFFER - 1);
    assert_eq!(two.b.try_request(&request_of(capped)), Ok(None), "what is kept is its cap");
    let wait = wait_of(two.b.request_for(&request_of(capped)));
    close(&mut two.a, id);
    picked_up(&mut two.b, wait);
    two.check();
}

/// A receiver that keeps more while a request of its tenant waits takes the place that the request waits for.
#[test]
fn tenant_request_sees_what_is_kept_later() {
    let mut two = two();
    let capped = tenant(&mut two.a, TenantConfig { cap: 2, ..TenantConfig::default() });
    let leases = [(); 2].map(|()| lease_of(two.a.request_for(&request_of(capped))));
    let wait = wait_of(two.a.request_for(&request_of(capped)));
    let id = attach(&mut two.b, Some(capped));
    // It is in shortage, and a cell of 64 bytes is not counted: only bytes that were there before are kept beyond the
    // cap.
    assert_eq!(flood(&mut two.b, id), 64);
    let options = AttachOptions { tenant: Some(capped), ..AttachOptions::new(0, 0) };
    let kept = two.b.attach_with(&options, &[7; 200]).expect("there is a buffer");
    two.b.decoded(kept, 0, 50).expect("it is attached");
    two.check();
    assert_eq!(info(&two.a, capped).outstanding_units, 3);
    two.a.release(leases[0]).expect("it is the host's");
    two.check();
    assert_eq!(two.a.poll_notice(), None, "what is kept counts: the cap is reached still");
    close(&mut two.b, kept);
    two.check();
    picked_up(&mut two.a, wait);
    assert_eq!(info(&two.b, capped).outstanding_units, 2);
}

/// On its own the tenant holds one buffer of the second thread, which would not be enough to lose it.
#[test]
fn s46_tenant_that_floods_gives_way_on_another_thread() {
    let mut two = two();
    let [flooding, honest] = [(); 2].map(|()| tenant(&mut two.a, TenantConfig::default()));
    let one = attach(&mut two.b, Some(flooding));
    assert_eq!(flood(&mut two.b, one), BUFFER - 1);
    fill(&mut two.a, Some(flooding));
    take_all(&mut two);
    assert!(info(&two.b, flooding).outstanding_units > 4, "{:?}", info(&two.b, flooding));
    let id = attach(&mut two.b, Some(honest));
    flood(&mut two.b, id);
    // Another receiver has the spare of the thread.
    let next = attach(&mut two.b, Some(honest));
    flood(&mut two.b, next);
    assert!(is_waiting(&two.b, next) || is_waiting(&two.b, id));
    let (granted, shed) = drain(&mut two.b);
    assert_eq!(shed, [one], "it goes for a tenant that holds less: {granted:?}");
    two.check();
}

/// All that the flooding tenant keeps is on one thread, and a receiver of another tenant claims on the other.
fn claim_against_a_flood(weight: u32) -> (Two, TenantId, ReceiverId) {
    claim_against_a_flood_in(two(), weight)
}

fn claim_against_a_flood_in(mut two: Two, weight: u32) -> (Two, TenantId, ReceiverId) {
    let flooding = tenant(&mut two.a, TenantConfig { weight, ..TenantConfig::default() });
    let honest = tenant(&mut two.a, TenantConfig::default());
    fill(&mut two.a, Some(flooding));
    take_all(&mut two);
    while two.a.poll_wake().is_some() || two.b.poll_wake().is_some() {}
    assert_eq!(two.a.poll_notice(), None);
    let claiming = attach(&mut two.b, Some(honest));
    assert_eq!(flood(&mut two.b, claiming), 64);
    assert!(is_waiting(&two.b, claiming));
    assert_eq!(drain(&mut two.b), (Vec::new(), Vec::new()), "nothing on its own thread may go");
    two.check();
    (two, flooding, claiming)
}

#[test]
fn s46_flood_gives_way_to_a_claim_on_another_thread() {
    // With a cap, the wait of the thread is in the queue of all.
    for is_capped in [false, true] {
        let cap = if is_capped { COMMON + 2 * 4 } else { u32::MAX };
        let (mut two, _, claiming) = claim_against_a_flood_in(two_of(|config| config.class_caps[0] = cap), 1);
        assert_eq!(two.b.poll_wake(), Some(0), "the other thread is asked");
        let shed = drain(&mut two.a).1;
        // Two are the reserve, one each is for the spare and the first claim of its own thread, which waits for longer.
        assert!((1..=5).contains(&shed.len()), "its tenant holds much more: {shed:?}");
        assert_eq!(drain(&mut two.a), (Vec::new(), Vec::new()), "no more goes than what was asked for");
        two.check();
        assert_eq!(two.a.poll_wake(), Some(1));
        assert_eq!(drain(&mut two.b), (vec![claiming], Vec::new()), "no time has passed");
        assert_eq!(buffered(&two.b, claiming), BUFFER - 1);
        two.check();
        assert_eq!(drain(&mut two.a).1, [], "it asks no more");
    }
}

/// A buffer that the thread itself releases goes to its claim past the queue of all, and nothing is to give way then.
#[test]
fn claim_that_its_own_thread_serves_asks_no_more() {
    let mut two = two();
    let [flooding, honest] = [(); 2].map(|()| tenant(&mut two.a, TenantConfig::default()));
    let [first, claiming] = [(); 2].map(|()| attach(&mut two.b, Some(honest)));
    for id in [first, claiming].repeat(4) {
        // With credit, a claim may have the last buffer.
        receive(&mut two.b, id, &[7; BUFFER as usize - 1], 1);
        two.b.decoded(id, BUFFER - 1, 0).expect("it is attached");
    }
    fill(&mut two.a, Some(flooding));
    let taken = take_all(&mut two);
    assert_eq!([first, claiming].map(|id| flood(&mut two.b, id)), [BUFFER - 1, 64], "the spare is for the first");
    while two.a.poll_wake().is_some() || two.b.poll_wake().is_some() {}
    assert_eq!(drain(&mut two.b), (Vec::new(), Vec::new()), "nothing on its own thread may go");
    assert_eq!(two.b.poll_wake(), Some(0), "the other thread is asked");
    // Waits of the thread are exchanged if there is more than one.
    wait_of(two.b.request_for(&Request::new(0, 7)));
    two.b.release(taken[0]).expect("it is the host's");
    assert!(matches!(two.b.poll_notice(), Some(Notice::Receiver { id, .. }) if id == claiming));
    assert_eq!(drain(&mut two.a).1, [], "it asks no more while it borrows");
    two.check();
}

/// A tenant that may hold more does not give way.
#[test]
fn claim_on_another_thread_spares_a_fair_share() {
    let (mut two, _, claiming) = claim_against_a_flood(20);
    assert_eq!(two.b.poll_wake(), Some(0), "the other thread is asked");
    assert_eq!(drain(&mut two.a).1, [], "what it holds is its share");
    assert!(is_waiting(&two.b, claiming));
    two.check();
}

#[test]
fn claim_that_ends_asks_no_other_thread_any_more() {
    for borrows in [false, true] {
        let (mut two, _, claiming) = claim_against_a_flood(1);
        let other = attach(&mut two.b, None);
        if borrows {
            two.b.handle(other, Event::Readable).expect("it is attached");
        }
        close(&mut two.b, claiming);
        assert_eq!(two.b.poll_notice(), None);
        assert_eq!(drain(&mut two.a).1, [], "another one borrows: {borrows}");
    }
    let (mut two, flooding, claiming) = claim_against_a_flood(1);
    two.b.set_tenant(claiming, Some(flooding)).expect("both exist");
    drain(&mut two.b);
    assert_eq!(drain(&mut two.a).1, [], "a tenant does not give way to itself");
    let (two, _, _) = claim_against_a_flood(1);
    let Two { mut a, b, .. } = two;
    drop(b);
    assert_eq!(drain(&mut a).1, []);
}

#[test]
fn tenant_guarantee_counts_what_both_threads_hold() {
    for (guaranteed, is_protected) in [(4, true), (1, false)] {
        let mut two = two();
        let owner = tenant(&mut two.a, TenantConfig { guaranteed, ..TenantConfig::default() });
        let other = tenant(&mut two.b, TenantConfig::default());
        let own = attach(&mut two.b, Some(owner));
        assert_eq!(flood(&mut two.b, own), BUFFER - 1);
        for _ in 0..3 {
            let id = attach(&mut two.a, Some(owner));
            assert_eq!(flood(&mut two.a, id), BUFFER - 1);
        }
        assert_eq!(info(&two.b, owner).outstanding_units, 4);
        take_all(&mut two);
        for _ in 0..3 {
            let id = attach(&mut two.b, Some(other));
            flood(&mut two.b, id);
        }
        let (_, shed) = drain(&mut two.b);
        assert_eq!(shed.is_empty(), is_protected, "{guaranteed} of 4 are guaranteed");
        two.check();
    }
}

/// Of two tenants that claim on one thread, the one that holds less is first, though all that it holds less is on the
/// other.
#[test]
fn claims_are_in_the_order_of_the_loads_of_all() {
    // With the clock, or as it polls.
    for (loaded, advances) in [(0, true), (1, true), (0, false), (1, false)] {
        let mut two = two();
        let tenants = [(); 2].map(|()| tenant(&mut two.a, TenantConfig::default()));
        let taken = take_all(&mut two);
        let claims = [1, 0].map(|at: usize| {
            let id = attach(&mut two.b, Some(tenants[at]));
            flood(&mut two.b, id);
            assert!(is_waiting(&two.b, id));
            (at, id)
        });
        let mut taken = taken.into_iter();
        let lease = taken.next().expect("all are taken");
        two.b.release(lease).expect("it is the host's");
        lease_of(two.a.request_for(&request_of(tenants[loaded])));
        if advances {
            two.b.handle_timeout(1);
        }
        taken.by_ref().take(5).for_each(|lease| two.b.release(lease).expect("it is the host's"));
        let (granted, _) = drain(&mut two.b);
        let expected = claims.iter().find(|(at, _)| *at != loaded).map(|(_, id)| *id);
        assert_eq!(granted.first().copied(), expected, "tenant {loaded} has a lease on the other thread");
        two.check();
    }
}

/// As on a pool of one thread.
#[test]
fn equal_loads_go_by_tenant_number_on_shards() {
    for weights in [[1, 1, 1], [2, 1, 1]] {
        claims_are_in_order_of_number(&mut two().b, weights);
    }
    off_is_in_order_of_number(&mut two().b);
    content_goes_in_order_of_number(&mut two().b);
}

/// A tenant comes below its cap on one thread: the other looks in time, without being signalled.
#[test]
fn capped_receivers_go_on_after_another_thread() {
    let mut two = two();
    let capped = tenant(&mut two.a, TenantConfig { cap: 1, ..TenantConfig::default() });
    let lease = lease_of(two.a.request_for(&request_of(capped)));
    let id = attach(&mut two.b, Some(capped));
    assert_eq!(flood(&mut two.b, id), 64);
    assert!(is_waiting(&two.b, id));
    assert_eq!(drain(&mut two.b), (vec![], vec![]));
    let due_ns = two.b.poll_timeout().expect("it looks again");
    assert!(due_ns <= 125 * MS);
    two.a.release(lease).expect("it is the host's");
    while two.a.poll_wake().is_some() {}
    two.b.handle_timeout(due_ns);
    assert_eq!(drain(&mut two.b).0, [id]);
    assert_eq!(buffered(&two.b, id), BUFFER - 1);
    two.check();
}

/// No cap keeps a tenant of the thread from anything: it looks at none again, and sleeps.
#[test]
fn thread_sleeps_while_no_tenant_is_capped() {
    let mut two = two();
    let tenant = tenant(&mut two.a, TenantConfig { cap: 2, ..TenantConfig::default() });
    let id = attach(&mut two.b, Some(tenant));
    assert_eq!(two.b.poll_timeout(), None);
    assert_eq!(flood(&mut two.b, id), BUFFER - 1);
    assert_eq!((drain(&mut two.b), two.b.poll_timeout()), ((vec![], vec![]), None));
    two.check();
}

/// A receiver that is off after its trial waits for nothing but its tenant's cap.
#[test]
fn off_receiver_of_a_capped_tenant_looks_again() {
    let mut two = two();
    let capped = tenant(&mut two.a, TenantConfig { cap: 1, ..TenantConfig::default() });
    let taken = take_all(&mut two);
    let id = attach(&mut two.b, Some(capped));
    receive(&mut two.b, id, &[1; 64], 36);
    two.b.handle(id, Event::Readable).expect("it is attached");
    assert!(is_waiting(&two.b, id));
    let mut now_ns = 0;
    while two.b.totals().trials == 0 {
        now_ns += 125 * MS;
        assert!(now_ns < 4_000 * MS, "its deadline has come");
        two.advance(now_ns);
        while let Some(notice) = two.b.poll_notice() {
            assert!(matches!(notice, Notice::Receiver { id: tried, .. } if tried == id), "{notice:?}");
            // The kernel has less than is asked for.
            two.b.handle(id, Event::Received { bytes: 1 }).expect("there is room");
            two.b.decoded(id, 0, 35).expect("it is attached");
        }
    }
    // Half a buffer was for its frame, which turns out longer.
    assert_eq!(flood(&mut two.b, id), BUFFER / 2);
    assert!(two.b.memory().facts(0).is_ok_and(|facts| facts.is_off));
    taken.into_iter().for_each(|lease| two.b.release(lease).expect("it is the host's"));
    two.a.handle_timeout(now_ns);
    let other = attach(&mut two.a, Some(capped));
    assert_eq!(flood(&mut two.a, other), BUFFER - 1);
    two.advance(now_ns + 1);
    assert_eq!(drain(&mut two.b), (vec![], vec![]), "its tenant is at its cap");
    two.check();
    let due_ns = two.b.poll_timeout().expect("it looks again");
    assert!(due_ns <= now_ns + 1 + 125 * MS);
    close(&mut two.a, other);
    while two.a.poll_wake().is_some() {}
    two.b.handle_timeout(due_ns);
    assert_eq!(drain(&mut two.b).0, [id]);
    assert_eq!(buffered(&two.b, id), BUFFER - 1);
    two.check();
}

#[test]
fn tenant_is_removed_on_one_thread_for_both() {
    let mut two = two();
    let removed = tenant(&mut two.a, TenantConfig::default());
    let other = tenant(&mut two.b, TenantConfig::default());
    let id = attach(&mut two.b, Some(removed));
    two.a.remove_tenant(removed).expect("it is known");
    let stale = SchedulerError::StaleTenant;
    assert_eq!(two.b.request_for(&request_of(removed)), Err(stale.into()));
    assert_eq!(two.b.try_request(&request_of(removed)), Err(stale.into()));
    let options = AttachOptions { tenant: Some(removed), ..AttachOptions::new(0, 0) };
    assert_eq!(two.b.attach(&options).map(drop), Err(stale.into()));
    assert_eq!(two.a.remove_tenant(removed), Err(stale.into()));
    assert!(info(&two.b, removed).is_retiring);
    assert_eq!(flood(&mut two.b, id), BUFFER - 1);
    assert_eq!(info(&two.a, removed).outstanding_units, 1);
    two.check();
    two.b.set_tenant(id, Some(other)).expect("it is attached");
    assert_eq!(two.a.describe_tenant(removed), Err(stale.into()));
    assert_eq!(info(&two.a, other).outstanding_units, 1);
    two.check();
    // The place in the table is free again, and what it held before is forgotten.
    let again = tenant(&mut two.a, TenantConfig { cap: 1, ..TenantConfig::default() });
    assert_eq!(info(&two.b, again).outstanding_units, 0);
    lease_of(two.b.request_for(&request_of(again)));
    two.check();
}

#[test]
fn receiver_that_moves_takes_its_tenant_along() {
    for bytes in [0, 20, 64, 200] {
        let mut two = two();
        let tenant = tenant(&mut two.a, TenantConfig { cap: 1, ..TenantConfig::default() });
        let id = attach(&mut two.a, Some(tenant));
        if bytes > 0 {
            receive(&mut two.a, id, &vec![9; bytes], BUFFER - bytes as u32);
        }
        let held = u32::from(bytes > 64);
        assert_eq!(info(&two.b, tenant).outstanding_units, held);
        let waits = held > 0;
        let wait = waits.then(|| wait_of(two.b.request_for(&request_of(tenant))));
        let mut exported = two.a.export(id).expect("it can move");
        assert_eq!(info(&two.b, tenant).outstanding_units, held, "while it moves, too");
        assert_eq!(two.b.poll_notice(), None, "a request does not take its place");
        two.a.remove_tenant(tenant).expect("it is known");
        assert!(info(&two.b, tenant).is_retiring, "the receiver is in it still");
        let moved = two.b.import(&mut exported).expect("it was exported");
        two.check();
        two.b.decoded(moved, 0, BUFFER - bytes as u32).expect("it is attached");
        two.check();
        assert_eq!(info(&two.a, tenant).outstanding_units, held);
        wait.into_iter().for_each(|wait| two.b.cancel(wait).expect("it waits still"));
        close(&mut two.b, moved);
        assert_eq!(two.a.describe_tenant(tenant), Err(SchedulerError::StaleTenant.into()));
        two.check();
    }
}

/// An import that is refused for want of a buffer leaves the tenant with what is exported.
#[test]
fn refused_import_keeps_the_tenant() {
    let mut two = two();
    let tenant = tenant(&mut two.a, TenantConfig::default());
    let id = attach(&mut two.a, Some(tenant));
    receive(&mut two.a, id, &[1; 20], 100);
    let mut exported = two.a.export(id).expect("it can move");
    two.a.remove_tenant(tenant).expect("it is known");
    // Another receiver has the receive buffer, and no free one is left.
    take_all(&mut two);
    let borrower = attach(&mut two.b, None);
    assert!(two.b.handle(borrower, Event::Readable).expect("it is attached").has(Action::Recv));
    assert_eq!(two.b.import(&mut exported), Err(PoolError::NoBufferFree));
    two.check();
    assert!(info(&two.b, tenant).is_retiring);
    close(&mut two.b, borrower);
    let moved = two.b.import(&mut exported).expect("there is a buffer now");
    close(&mut two.b, moved);
    assert_eq!(two.a.describe_tenant(tenant), Err(SchedulerError::StaleTenant.into()));
    two.check();
}

/// A shard that ends takes its receivers with it; leases of the tenant stay, and so does the tenant.
#[test]
fn shard_that_ends_leaves_its_tenants() {
    let mut two = two();
    let capped = tenant(&mut two.a, TenantConfig { cap: 4, ..TenantConfig::default() });
    let lease = lease_of(two.a.request_for(&request_of(capped)));
    fill(&mut two.a, Some(capped));
    let there = fill(&mut two.b, Some(capped));
    assert_eq!(info(&two.b, capped).outstanding_units, 4);
    let wait = wait_of(two.b.request_for(&request_of(capped)));
    drop(two.a);
    two.a = two.shared_pool.shard(0).expect("it is free");
    two.check();
    let second = picked_up(&mut two.b, wait);
    two.b.remove_tenant(capped).expect("it is known");
    for id in there {
        // Some were shed by now.
        let _ = two.b.handle(id, Event::Close);
    }
    two.check();
    assert_eq!(info(&two.a, capped).outstanding_units, 2, "the leases are left");
    two.a.release(lease).expect("it was left behind");
    assert!(info(&two.a, capped).is_retiring);
    two.b.release(second).expect("it is the host's");
    assert_eq!(two.a.describe_tenant(capped), Err(SchedulerError::StaleTenant.into()));
    two.check();
}

#[test]
fn taken_buffers_change_their_tenant_across_threads() {
    let mut two = two();
    let [first, second] = [1, u32::MAX].map(|cap| tenant(&mut two.a, TenantConfig { cap, ..TenantConfig::default() }));
    let a = attach(&mut two.a, Some(first));
    let b = attach(&mut two.b, Some(first));
    assert_eq!(flood(&mut two.a, a), BUFFER - 1);
    receive(&mut two.b, b, &[1; 20], 10);
    assert_eq!(
        two.b.take(b),
        Err(PoolError::NoBufferFree),
        "a receiver of the other thread has the buffer of its tenant"
    );
    two.check();
    let content = two.a.take(a).expect("it only changes hands");
    two.check();
    assert_eq!(info(&two.b, first).outstanding_units, 1);
    assert_eq!(two.b.take(b), Err(PoolError::NoBufferFree));
    let options = AttachOptions { tenant: Some(second), ..AttachOptions::new(0, 0) };
    let adopted = two.a.adopt(&options, content).expect("the lease is the host's");
    two.check();
    assert_eq!([first, second].map(|tenant| info(&two.b, tenant).outstanding_units), [0, 1]);
    let content = two.b.take(b).expect("its tenant has room");
    two.check();
    assert_eq!(info(&two.a, first).outstanding_units, 1);
    two.b.release(content.lease).expect("it is the host's");
    close(&mut two.a, adopted);
    two.check();
    assert_eq!([first, second].map(|tenant| info(&two.b, tenant).outstanding_units), [0, 0]);
}

/// A grant that its thread does not pick up goes to the tenant's wait on another thread, and counts for it all the
/// time.
#[test]
fn grant_of_a_tenant_that_is_not_picked_up_goes_on() {
    let mut two = two();
    let capped = tenant(&mut two.a, TenantConfig { cap: 1, ..TenantConfig::default() });
    let lease = lease_of(two.a.request_for(&request_of(capped)));
    wait_of(two.a.request_for(&request_of(capped)));
    let wait = wait_of(two.b.request_for(&request_of(capped)));
    two.b.poll_notice();
    two.a.release(lease).expect("it is the host's");
    assert_eq!(info(&two.b, capped).outstanding_units, 1, "it is assigned to the first");
    two.check();
    let mut now_ns = 0;
    let granted = loop {
        now_ns += 125 * MS;
        two.b.handle_timeout(now_ns);
        if let Some(Notice::Lease { wait, lease, .. }) = two.b.poll_notice() {
            break (wait, lease);
        }
        two.check();
        assert!(now_ns < 3_000 * MS, "the other thread does not look");
    };
    assert_eq!((granted.0, info(&two.b, capped).outstanding_units), (wait, 1));
    two.check();
    two.b.release(granted.1).expect("it is the host's");
    assert_eq!(info(&two.b, capped).outstanding_units, 1, "the first has it again");
    two.check();
}

/// A receive in flight at its close keeps its tenant until the outcome, on a thread of a shared pool too.
#[test]
fn removed_tenant_of_a_shard_stays_in_flight() {
    let mut two = two();
    let tenant = tenant(&mut two.a, TenantConfig::default());
    let policy = Some(Policy { mode: Mode::Completion, ..Policy::default() });
    let options = AttachOptions { tenant: Some(tenant), policy, ..AttachOptions::new(0, 0) };
    let id = two.b.attach(&options).expect("there is room");
    two.b.handle(id, Event::Readable).expect("it is attached");
    two.b.handle(id, Event::done(Action::Recv)).expect("it may receive");
    close(&mut two.b, id);
    two.a.remove_tenant(tenant).expect("it is known");
    assert!(info(&two.a, tenant).is_retiring);
    two.b.handle(id, Event::WouldBlock).expect("it is in flight");
    assert_eq!(two.a.describe_tenant(tenant), Err(SchedulerError::StaleTenant.into()));
    two.check();
}
