//! Tenants of receivers: one that floods starves no other, weights, guarantees and caps count what receivers keep, and
//! tenants come and go while they are in use.

use crate::{MS, receive};
use demuxbuf::connection::{Action, Event, Mode, Policy};
use demuxbuf::pool::{AttachOptions, BufferSource, Notice, Pool, PoolConfig, PoolError, ReceiverId};
use demuxbuf::scheduler::{LeaseId, Outcome, Request, SchedulerError, TenantConfig, TenantId, TenantInfo};

pub(crate) const BUFFER: u32 = 256;

/// Ten buffers: one to receive into, two of header cells, and seven more, of which one is in reserve.
fn pool(tenants_max: u32) -> Pool {
    let config =
        PoolConfig { buffer_bytes: BUFFER, tenants_max, waiters_max: 8, ..PoolConfig::new(10 * u64::from(BUFFER), 64) };
    let mut pool = Pool::new(&config).expect("the configuration is allowed");
    pool.handle_timeout(0);
    pool
}

pub(crate) fn tenant<S: BufferSource>(pool: &mut Pool<S>, tenant_config: TenantConfig) -> TenantId {
    pool.create_tenant(&tenant_config).expect("there is room")
}

pub(crate) fn attach<S: BufferSource>(pool: &mut Pool<S>, tenant: Option<TenantId>) -> ReceiverId {
    pool.attach(&AttachOptions { tenant, ..AttachOptions::new(0, 0) }).expect("there is room")
}

pub(crate) fn info<S: BufferSource>(pool: &Pool<S>, tenant: TenantId) -> TenantInfo {
    pool.describe_tenant(tenant).expect("it is known")
}

pub(crate) fn check<S: BufferSource>(pool: &Pool<S>) {
    pool.check_invariants().expect("the invariants hold");
}

/// The receiver is readable, and receives what it may of a frame of a whole buffer; returns what it has.
pub(crate) fn flood<S: BufferSource>(pool: &mut Pool<S>, id: ReceiverId) -> u32 {
    let buffered_bytes = |pool: &Pool<S>| pool.connection(id).expect("it is attached").buffered_bytes();
    loop {
        let before = buffered_bytes(pool);
        pool.handle(id, Event::Readable).expect("it is attached");
        receive_on(pool, id);
        if buffered_bytes(pool) == before {
            return before;
        }
    }
}

/// The peer never sends the last byte.
pub(crate) fn receive_on<S: BufferSource>(pool: &mut Pool<S>, id: ReceiverId) {
    while pool.pending(id).expect("it is attached").has(Action::Recv) {
        let room = pool.receive_area(id).expect("it is attached").len() as u32;
        let buffered_bytes = pool.connection(id).expect("it is attached").buffered_bytes();
        let bytes = room.min(BUFFER - 1 - buffered_bytes);
        if bytes == 0 {
            pool.handle(id, Event::WouldBlock).expect("it may receive");
        } else {
            pool.handle(id, Event::Received { bytes }).expect("there is room");
            pool.decoded(id, 0, BUFFER - buffered_bytes - bytes).expect("it is attached");
        }
        check(pool);
    }
}

/// Notices until there is none; which receivers may receive, and which are to be shed.
pub(crate) fn drain<S: BufferSource>(pool: &mut Pool<S>) -> (Vec<ReceiverId>, Vec<ReceiverId>) {
    let (mut granted, mut shed) = (Vec::new(), Vec::new());
    while let Some(notice) = pool.poll_notice() {
        check(pool);
        let Notice::Receiver { id, actions, .. } = notice else {
            continue;
        };
        if actions.has(Action::Shed) {
            pool.handle(id, Event::Close).expect("it is attached");
            shed.push(id);
        } else {
            granted.push(id);
            receive_on(pool, id);
        }
    }
    (granted, shed)
}

/// Fills all memory by receivers of a tenant.
pub(crate) fn fill<S: BufferSource>(pool: &mut Pool<S>, tenant: Option<TenantId>) -> Vec<ReceiverId> {
    let flooding: Vec<ReceiverId> = (0..32).map(|_| attach(pool, tenant)).collect();
    for &id in &flooding {
        flood(pool, id);
    }
    drain(pool);
    flooding
}

#[test]
fn tenant_that_floods_does_not_starve_another() {
    for has_claims in [false, true] {
        let mut pool = pool(2);
        let [flooding, honest] = [(); 2].map(|()| tenant(&mut pool, TenantConfig::default()));
        let receivers = fill(&mut pool, Some(flooding));
        if !has_claims {
            // Those that claim leave, so that only content at rest is there.
            for id in receivers {
                if pool.connection(id).is_ok_and(|connection| connection.is_waiting()) {
                    pool.handle(id, Event::Close).expect("it is attached");
                }
            }
        }
        let before = info(&pool, flooding).outstanding_units;
        assert!(before >= 6, "{before}");
        let id = attach(&mut pool, Some(honest));
        flood(&mut pool, id);
        assert!(pool.connection(id).expect("it is attached").is_waiting());
        let (granted, shed) = drain(&mut pool);
        assert_eq!(granted.first(), Some(&id), "no time has passed, and it is first");
        assert!(!shed.is_empty(), "its place was that of another");
        assert_eq!(pool.connection(id).expect("it is attached").buffered_bytes(), BUFFER - 1);
        assert_eq!(info(&pool, honest).outstanding_units, 1);
    }
}

/// Without tenants nothing goes before its deadline.
#[test]
fn receivers_of_one_tenant_wait_for_the_deadline() {
    let mut pool = pool(1);
    let only = tenant(&mut pool, TenantConfig::default());
    fill(&mut pool, Some(only));
    let id = attach(&mut pool, Some(only));
    flood(&mut pool, id);
    assert_eq!(drain(&mut pool), (vec![], vec![]));
}

#[test]
fn tenant_guarantee_protects_what_arrives_in_time() {
    for (guaranteed, is_protected) in [(5, false), (6, true)] {
        let mut pool = pool(2);
        let owner = tenant(&mut pool, TenantConfig { guaranteed, ..TenantConfig::default() });
        let other = tenant(&mut pool, TenantConfig::default());
        fill(&mut pool, Some(owner));
        assert_eq!(info(&pool, owner).outstanding_units, 6);
        let id = attach(&mut pool, Some(other));
        flood(&mut pool, id);
        let (granted, shed) = drain(&mut pool);
        assert_eq!((granted.is_empty(), shed.is_empty()), (is_protected, is_protected), "{guaranteed}");
        // Content past its deadline goes, whatever is guaranteed.
        for step in 1..=10 {
            pool.handle_timeout(step * 125 * MS);
        }
        let id = attach(&mut pool, Some(other));
        flood(&mut pool, id);
        drain(&mut pool);
        assert_eq!(pool.connection(id).map(|connection| connection.buffered_bytes()), Ok(BUFFER - 1));
    }
}

#[test]
fn tenant_weights_divide_memory() {
    // What the first holds goes until its load is not more than twice what that of the other would be.
    for (weight, divided) in [(1, [4, 2]), (2, [3, 3]), (5, [2, 4])] {
        let mut pool = pool(2);
        let tenants = [1, weight].map(|weight| tenant(&mut pool, TenantConfig { weight, ..TenantConfig::default() }));
        for tenant in tenants {
            fill(&mut pool, Some(tenant));
        }
        assert_eq!(tenants.map(|tenant| info(&pool, tenant).outstanding_units), divided, "{weight}");
    }
}

#[test]
fn tenant_cap_holds_for_receivers_and_requests() {
    let mut pool = pool(1);
    let capped = tenant(&mut pool, TenantConfig { cap: 3, ..TenantConfig::default() });
    let request = Request { tenant: Some(capped), ..Request::new(0, 7) };
    let Ok(Outcome::Granted(lease)) = pool.request_for(&request) else {
        panic!("a buffer is free");
    };
    let receivers = fill(&mut pool, Some(capped));
    assert_eq!(info(&pool, capped).outstanding_units, 3);
    assert!(pool.memory().free_buffers() > 3, "memory is there, and not for this tenant");
    let wait = match pool.request_for(&request).expect("it may wait") {
        Outcome::Queued(wait) => wait,
        granted => panic!("{granted:?}"),
    };
    check(&pool);
    // Others are not kept by it.
    let other = attach(&mut pool, None);
    assert_eq!(flood(&mut pool, other), BUFFER - 1);
    // What its receivers give up serves its request.
    for id in receivers {
        pool.handle(id, Event::Close).expect("it is attached");
        check(&pool);
    }
    let notice = pool.poll_notice();
    assert!(matches!(notice, Some(Notice::Lease { wait: served, .. }) if served == wait), "{notice:?}");
    pool.release(lease).expect("it is the host's");
    assert_eq!(info(&pool, capped).outstanding_units, 1);
}

/// Claims of a capped tenant wait for their trial, and keep no other tenant.
#[test]
fn capped_tenant_keeps_no_other_from_its_grants() {
    let mut pool = pool(1);
    let capped = tenant(&mut pool, TenantConfig { cap: 1, ..TenantConfig::default() });
    let receivers = fill(&mut pool, Some(capped));
    assert!(pool.connection(receivers[5]).expect("it is attached").is_waiting());
    let mut leases = Vec::new();
    while pool.memory().free_buffers() > 0 {
        leases.extend(pool.try_request(&Request::new(0, 0)).expect("it is allowed"));
    }
    let id = attach(&mut pool, None);
    flood(&mut pool, id);
    assert!(pool.connection(id).expect("it is attached").is_waiting());
    leases.into_iter().for_each(|lease| pool.release(lease).expect("it is the host's"));
    assert_eq!(drain(&mut pool).0, [id]);
    for step in 1..=16 {
        pool.handle_timeout(step * 125 * MS);
        drain(&mut pool);
    }
    assert!(pool.totals().shed_at_deadline >= 5, "their frames were not whole then: {:?}", pool.totals());
    assert!(info(&pool, capped).outstanding_units <= 2);
}

#[test]
fn taken_and_adopted_buffers_change_their_tenant() {
    let mut pool = pool(2);
    let [first, second] = [1, u32::MAX].map(|cap| tenant(&mut pool, TenantConfig { cap, ..TenantConfig::default() }));
    let [a, b] = [(); 2].map(|()| attach(&mut pool, Some(first)));
    assert_eq!(flood(&mut pool, a), BUFFER - 1);
    let content = pool.take(a).expect("it only changes hands");
    check(&pool);
    assert_eq!(info(&pool, first).outstanding_units, 1);
    receive(&mut pool, b, &[1; 20], 10);
    assert_eq!(pool.take(b), Err(PoolError::NoBufferFree), "its tenant has its buffer");
    let options = AttachOptions { tenant: Some(second), ..AttachOptions::new(0, 0) };
    let adopted = pool.adopt(&options, content).expect("the lease is the host's");
    check(&pool);
    assert_eq!([first, second].map(|tenant| info(&pool, tenant).outstanding_units), [0, 1]);
    assert!(pool.take(b).is_ok());
    pool.set_tenant(adopted, None).expect("it is attached");
    check(&pool);
    assert_eq!([first, second].map(|tenant| info(&pool, tenant).outstanding_units), [1, 0]);
}

#[test]
fn removed_tenant_goes_with_its_last_receiver() {
    let mut pool = pool(2);
    let [first, second] = [(); 2].map(|()| tenant(&mut pool, TenantConfig::default()));
    let [a, b] = [(); 2].map(|()| attach(&mut pool, Some(first)));
    pool.remove_tenant(first).expect("it is known");
    assert!(info(&pool, first).is_retiring);
    let stale = Err(SchedulerError::StaleTenant.into());
    assert_eq!(pool.set_tenant(b, Some(first)), stale, "no new receiver may have it");
    let options = AttachOptions { tenant: Some(first), ..AttachOptions::new(0, 0) };
    assert_eq!(pool.attach(&options).map(drop), stale);
    assert_eq!(pool.stats().receivers, 2);
    flood(&mut pool, a);
    assert_eq!(info(&pool, first).outstanding_units, 1);
    for id in [a, b] {
        pool.set_tenant(id, Some(second)).expect("it is known");
        pool.set_tenant(id, Some(second)).expect("again is harmless");
        check(&pool);
    }
    assert_eq!(pool.describe_tenant(first).map(drop), Err(SchedulerError::StaleTenant.into()));
    assert_eq!(info(&pool, second).outstanding_units, 1);
    pool.remove_tenant(second).expect("it is known");
    for id in [a, b] {
        pool.handle(id, Event::Close).expect("it is attached");
        check(&pool);
    }
    assert_eq!(pool.describe_tenant(second).map(drop), Err(SchedulerError::StaleTenant.into()), "all are closed");
}

/// A receiver belongs to its tenant until the outcome of the receive that was in flight at its close, and no longer.
#[test]
fn removed_tenant_goes_with_the_receive_in_flight() {
    let mut pool = pool(1);
    let tenant = tenant(&mut pool, TenantConfig::default());
    let policy = Some(Policy { mode: Mode::Completion, ..Policy::default() });
    let options = AttachOptions { tenant: Some(tenant), policy, ..AttachOptions::new(0, 0) };
    let id = pool.attach(&options).expect("there is room");
    pool.handle(id, Event::Readable).expect("it is attached");
    pool.handle(id, Event::done(Action::Recv)).expect("it may receive");
    pool.handle(id, Event::Close).expect("it is attached");
    pool.remove_tenant(tenant).expect("it is known");
    assert!(info(&pool, tenant).is_retiring);
    pool.handle(id, Event::WouldBlock).expect("it is in flight");
    assert_eq!(pool.describe_tenant(tenant), Err(SchedulerError::StaleTenant.into()));
    check(&pool);
}

/// Of tenants with the same load the one with the lowest number is first, whichever claimed, was off or kept first.
#[test]
fn equal_loads_go_by_tenant_number() {
    for weights in [[1, 1, 1], [2, 1, 1]] {
        claims_are_in_order_of_number(&mut pool(3), weights);
    }
    off_is_in_order_of_number(&mut pool(3));
    content_goes_in_order_of_number(&mut pool(3));
}

/// Three tenants in the order of their numbers. The first is made last: it has the number of one that was removed.
fn by_number<S: BufferSource>(pool: &mut Pool<S>, weights: [u32; 3]) -> [TenantId; 3] {
    let before = tenant(pool, TenantConfig::default());
    let [second, third] =
        [1, 2].map(|at| tenant(pool, TenantConfig { weight: weights[at], ..TenantConfig::default() }));
    pool.remove_tenant(before).expect("nothing is in it");
    let first = tenant(pool, TenantConfig { weight: weights[0], ..TenantConfig::default() });
    [first, second, third]
}

fn lease_of<S: BufferSource>(pool: &mut Pool<S>, tenant: Option<TenantId>) -> Option<LeaseId> {
    pool.try_request(&Request { tenant, ..Request::new(0, 0) }).expect("it is allowed")
}

/// The host takes buffers until this number is left, as receivers see it.
fn take_until<S: BufferSource>(pool: &mut Pool<S>, left: u32) -> Vec<LeaseId> {
    let mut taken = Vec::new();
    while pool.memory().free_buffers() > left {
        let Some(lease) = lease_of(pool, None) else { break };
        taken.push(lease);
        pool.handle_timeout(0);
    }
    taken
}

/// Each tenant holds as many buffers as it weighs, so that no load is less than another but that of the default tenant.
pub(crate) fn claims_are_in_order_of_number<S: BufferSource>(pool: &mut Pool<S>, weights: [u32; 3]) {
    let tenants = by_number(pool, weights);
    for (tenant, weight) in tenants.into_iter().zip(weights) {
        assert!((0..weight).all(|_| lease_of(pool, Some(tenant)).is_some()), "given: buffers are free");
    }
    let taken = take_until(pool, 0);
    let claim = |at: usize| {
        let id = attach(pool, at.checked_sub(1).map(|at| tenants[at]));
        assert_eq!(flood(pool, id), 64);
        assert!(pool.connection(id).expect("it is attached").is_waiting());
        id
    };
    let claims = [3, 1, 0, 2].map(claim);
    let mut granted = Vec::new();
    for lease in taken {
        pool.release(lease).expect("it is the host's");
        while let Some(notice) = pool.poll_notice() {
            let Notice::Receiver { id, actions, .. } = notice else { panic!("{notice:?}") };
            assert!(actions.has(Action::Recv));
            granted.push(id);
            // Its frame is whole then, and it keeps nothing.
            let bytes = pool.receive_area(id).expect("it is attached").len() as u32;
            pool.handle(id, Event::Received { bytes }).expect("there is room");
            if pool.decoded(id, 64 + bytes, 0).expect("all is decoded").has(Action::Recv) {
                pool.handle(id, Event::WouldBlock).expect("it may receive");
            }
            check(pool);
        }
    }
    let [third, first, default, second] = claims;
    assert_eq!(granted, [default, first, second, third], "weights are {weights:?}");
}

pub(crate) fn off_is_in_order_of_number<S: BufferSource>(pool: &mut Pool<S>) {
    let [first, second, _] = by_number(pool, [1; 3]);
    // One buffer is no more than the reserve, and has room for two cells.
    let taken = take_until(pool, 1);
    let off = [second, first].map(|tenant| {
        let id = attach(pool, Some(tenant));
        receive(pool, id, &[1; 64], 36);
        pool.handle(id, Event::Readable).expect("it is attached");
        id
    });
    let mut now_ns = 0;
    while pool.totals().trials < 2 {
        now_ns += 125 * MS;
        assert!(now_ns < 4_000 * MS, "their deadlines have come");
        pool.handle_timeout(now_ns);
        while let Some(notice) = pool.poll_notice() {
            let Notice::Receiver { id, .. } = notice else { panic!("{notice:?}") };
            // The kernel has less than is asked for.
            pool.handle(id, Event::Received { bytes: 1 }).expect("there is room");
            pool.decoded(id, 0, 35).expect("it is attached");
        }
    }
    // Half a buffer was for the frame of each, which turns out longer.
    assert_eq!(off.map(|id| flood(pool, id)), [BUFFER / 2; 2]);
    assert!((0..2).all(|row| pool.memory().facts(row).is_ok_and(|facts| facts.is_off)));
    taken.into_iter().for_each(|lease| pool.release(lease).expect("it is the host's"));
    pool.handle_timeout(now_ns);
    let (mut resumed, _) = drain(pool);
    resumed.dedup();
    assert_eq!(resumed, [off[1], off[0]]);
}

pub(crate) fn content_goes_in_order_of_number<S: BufferSource>(pool: &mut Pool<S>) {
    let [first, second, third] = by_number(pool, [1; 3]);
    take_until(pool, 6 + pool.memory().split().reserve);
    let content: Vec<ReceiverId> = (0..6).map(|at| attach(pool, Some([second, first][at % 2]))).collect();
    content.iter().for_each(|&id| assert_eq!(flood(pool, id), BUFFER - 1));
    assert_eq!([first, second].map(|tenant| info(pool, tenant).outstanding_units), [3; 2]);
    let id = attach(pool, Some(third));
    flood(pool, id);
    assert_eq!(drain(pool), (vec![id], vec![content[1]]), "of the first, though that of the second is older");
}
