//! Fair shares: weights, guarantees, borrowing, caps, and tenants that come and go while they are in use.

use crate::support::{check, new_scheduler, queue, release, take};
use demuxbuf::scheduler::{
    LeaseId, Outcome, Request, Scheduler, SchedulerConfig, SchedulerError, TenantConfig, TenantId, TenantInfo,
};
use std::collections::VecDeque;

fn config(buffers: u32, tenants: u32) -> SchedulerConfig {
    SchedulerConfig { tenants_max: tenants, ..SchedulerConfig::new(buffers, 10_000) }
}

fn create(scheduler: &mut Scheduler, tenant_config: TenantConfig) -> TenantId {
    scheduler.create_tenant(&tenant_config).expect("there is room, and the share is allowed")
}

fn weighted(weight: u32) -> TenantConfig {
    TenantConfig { weight, ..TenantConfig::default() }
}

fn guaranteed(guaranteed: u32) -> TenantConfig {
    TenantConfig { guaranteed, ..TenantConfig::default() }
}

fn capped(cap: u32) -> TenantConfig {
    TenantConfig { cap, ..TenantConfig::default() }
}

fn of(tenant: TenantId, token: u64) -> Request {
    Request { tenant: Some(tenant), ..Request::new(0, token) }
}

fn info(scheduler: &Scheduler, tenant: TenantId) -> TenantInfo {
    scheduler.describe_tenant(tenant).expect("the tenant is known")
}

/// Takes all buffers for the default tenant.
fn take_all(scheduler: &mut Scheduler) -> VecDeque<LeaseId> {
    let mut leases = VecDeque::new();
    while scheduler.would_grant(0) {
        leases.push_back(take(scheduler, &Request::new(0, u64::MAX)));
    }
    leases
}

/// The tokens of this many grants, in order, where every tenant (by its token) waits all the time.
fn turns(scheduler: &mut Scheduler, requests: &[Request], count: usize) -> Vec<u64> {
    let mut held = take_all(scheduler);
    for request in requests {
        for _ in 0..8 {
            queue(scheduler, request);
        }
    }
    let mut order = Vec::new();
    while order.len() < count {
        let lease = held.pop_front().expect("a buffer is held");
        for grant in release(scheduler, lease) {
            order.push(grant.token);
            held.push_back(grant.lease);
            queue(scheduler, requests.iter().find(|request| request.token == grant.token).expect("it waits"));
        }
    }
    order
}

#[test]
fn tenant_weights_divide_grants_exactly() {
    let weights = [1, 2, 3, 10];
    for buffers in [1, 3, 16] {
        let mut scheduler = new_scheduler(&config(buffers, 4));
        let tenants = weights.map(|weight| create(&mut scheduler, weighted(weight)));
        let requests: Vec<Request> = (0..).zip(tenants).map(|(token, tenant)| of(tenant, token)).collect();
        let round: usize = weights.iter().sum::<u32>() as usize;
        let order = turns(&mut scheduler, &requests, 50 * round);
        for round in order.chunks(round) {
            let counts = [0, 1, 2, 3].map(|token| round.iter().filter(|&&served| served == token).count() as u32);
            assert_eq!(counts, weights, "in every round");
        }
        assert_eq!(
            tenants.map(|tenant| info(&scheduler, tenant).granted),
            weights.map(|weight| 50 * u64::from(weight))
        );
    }
}

#[test]
fn default_tenant_has_weight_one() {
    let mut scheduler = new_scheduler(&config(2, 1));
    let tenant = create(&mut scheduler, weighted(3));
    let order = turns(&mut scheduler, &[of(tenant, 1), Request::new(0, 0)], 40);
    assert!(order.chunks(4).all(|round| round.iter().filter(|&&token| token == 1).count() == 3), "{order:?}");
}

#[test]
fn tenant_weights_count_units_taken() {
    // One tenant asks for buffers that are four times as large as the other's, and gets a fourth as many.
    let mut scheduler = new_scheduler(&SchedulerConfig { sizes: [4, 1, 0, 0], ..config(4, 2) });
    let [large, small] = [(); 2].map(|()| create(&mut scheduler, TenantConfig::default()));
    let requests = [of(large, 0), Request { size_index: 1, ..of(small, 1) }];
    let order = turns(&mut scheduler, &requests, 5 * 40);
    for round in order.chunks(5) {
        assert_eq!(round.iter().filter(|&&token| token == 0).count(), 1, "{order:?}");
    }
}

#[test]
fn tenant_turns_are_per_class() {
    let mut scheduler = new_scheduler(&SchedulerConfig { classes: 2, ..config(1, 2) });
    let [first, second] = [(); 2].map(|()| create(&mut scheduler, TenantConfig::default()));
    let requests =
        [of(first, 0), of(second, 1), Request { class: 1, ..of(first, 2) }, Request { class: 1, ..of(second, 3) }];
    let order = turns(&mut scheduler, &requests, 100);
    for class in [[0, 1], [2, 3]] {
        let of_class: Vec<u64> = order.iter().copied().filter(|token| class.contains(token)).collect();
        assert!(of_class.windows(2).all(|two| two[0] != two[1]), "by turns: {of_class:?}");
    }
    assert_eq!(order.iter().filter(|&&token| token >= 2).count(), 20, "each fifth grant, by the burst of 4");
}

#[test]
fn tenant_guarantee_comes_first() {
    let mut scheduler = new_scheduler(&config(8, 2));
    let (mine, flood) = (create(&mut scheduler, guaranteed(3)), create(&mut scheduler, weighted(1_000)));
    let mut held: VecDeque<LeaseId> = (0..8).map(|_| take(&mut scheduler, &of(flood, 0))).collect();
    for _ in 0..100 {
        queue(&mut scheduler, &of(flood, 0));
    }
    // All buffers are lent. The owner comes, and gets the buffers that are released first.
    for _ in 0..5 {
        queue(&mut scheduler, &of(mine, 1));
    }
    let mut order = Vec::new();
    for _ in 0..8 {
        let grants = release(&mut scheduler, held.pop_front().expect("the flood holds all"));
        order.extend(grants.iter().map(|grant| grant.token));
        held.extend(grants.iter().filter(|grant| grant.token == 0).map(|grant| grant.lease));
    }
    assert_eq!(order[..3], [1, 1, 1], "its guarantee at once");
    assert!(order[3..].iter().filter(|&&token| token == 1).count() <= 1, "more only by its turn: {order:?}");
    assert!(info(&scheduler, mine).outstanding_units >= 3);
}

#[test]
fn tenant_guarantees_fit_into_the_pool() {
    let mut scheduler = new_scheduler(&SchedulerConfig { sizes: [4, 1, 0, 0], ..config(5, 2) });
    create(&mut scheduler, guaranteed(3));
    let refused = scheduler.create_tenant(&guaranteed(3));
    assert_eq!(refused, Err(SchedulerError::TenantConfig { field: "guaranteed", value: 3, min: 0, max: 2 }));
    create(&mut scheduler, guaranteed(2));
}

/// Grants to tenants below their guarantee let one other grant through after each burst.
#[test]
fn tenant_guarantee_yields_after_a_burst() {
    // New requests below their guarantee never end, and do not starve the other tenants.
    let mut scheduler = new_scheduler(&SchedulerConfig { class_burst: 3, ..config(6, 7) });
    let owners: Vec<TenantId> = (0..6).map(|_| create(&mut scheduler, guaranteed(1))).collect();
    let other = create(&mut scheduler, TenantConfig::default());
    let mut last = take_all(&mut scheduler)[0];
    let ask = |scheduler: &mut Scheduler, token: u64| {
        let tenant = owners.get(token as usize).copied().unwrap_or(other);
        queue(scheduler, &of(tenant, token))
    };
    for token in (0..7).chain(0..7) {
        ask(&mut scheduler, token);
    }
    // A grant is released at once, so that its tenant is below its guarantee again.
    let mut order = Vec::new();
    for _ in 0..280 {
        let grant = release(&mut scheduler, last)[0];
        order.push(grant.token);
        ask(&mut scheduler, grant.token);
        last = grant.lease;
    }
    let waited = order.split(|&token| token == 6).map(<[u64]>::len).max();
    assert_eq!(waited, Some(4 * 7 - 1), "each open turn lets 3 pass, and 7 take turns");
}

/// A tenant may borrow a guarantee that is idle; the next release goes to the tenant that it belongs to.
#[test]
fn tenant_guarantee_returns_with_the_next_release() {
    let mut scheduler = new_scheduler(&config(10, 2));
    let (owner, borrower) = (create(&mut scheduler, guaranteed(10)), create(&mut scheduler, TenantConfig::default()));
    let mut lent: Vec<LeaseId> = (0..10).map(|_| take(&mut scheduler, &of(borrower, 0))).collect();
    assert_eq!(
        info(&scheduler, borrower).outstanding_units,
        10,
        "the whole guarantee, while its tenant does not want it"
    );
    let mut order = Vec::new();
    for _ in 0..10 {
        queue(&mut scheduler, &of(owner, 1));
        queue(&mut scheduler, &of(borrower, 0));
        let granted = release(&mut scheduler, lent.pop().expect("it borrowed all"));
        order.extend(granted.iter().map(|grant| grant.token));
        lent.extend(granted.iter().filter(|grant| grant.token == 0).map(|grant| grant.lease));
    }
    // After `class_burst` of them one grant goes by turns.
    assert_eq!(order, [1, 1, 1, 1, 0, 1, 1, 1, 1, 1]);
}

/// A tenant at its cap waits; other tenants are served past it.
#[test]
fn tenant_cap_blocks_no_other_tenant() {
    let mut scheduler = new_scheduler(&config(4, 2));
    let (tight, free) = (create(&mut scheduler, capped(1)), create(&mut scheduler, TenantConfig::default()));
    let own = take(&mut scheduler, &of(tight, 0));
    let wait = queue(&mut scheduler, &of(tight, 0));
    // It waits for its own buffers; three are free for other tenants, also for waiters of its class.
    let others: Vec<LeaseId> = (0..3).map(|_| take(&mut scheduler, &of(free, 1))).collect();
    queue(&mut scheduler, &of(free, 2));
    assert_eq!(release(&mut scheduler, others[0])[0].token, 2);
    assert_eq!(release(&mut scheduler, others[1]), []);
    assert_eq!(
        scheduler.describe_wait(wait).expect("the wait is live").bypasses,
        0,
        "none of the grants could have been its own"
    );
    let granted = release(&mut scheduler, own);
    assert_eq!((granted[0].wait, info(&scheduler, tight).outstanding_units), (wait, 1));
    let refused = scheduler.create_tenant(&TenantConfig { guaranteed: 2, ..capped(1) });
    assert_eq!(refused, Err(SchedulerError::TenantConfig { field: "guaranteed", value: 2, min: 0, max: 1 }));
}

/// New requests for a removed tenant are refused; what it holds and waits for ends in the ordinary way.
#[test]
fn removed_tenant_is_refused_and_finishes_its_waits() {
    let mut scheduler = new_scheduler(&config(2, 2));
    let (going, other) = (create(&mut scheduler, guaranteed(1)), create(&mut scheduler, guaranteed(1)));
    assert!(matches!(
        scheduler.create_tenant(&guaranteed(1)),
        Err(SchedulerError::TenantConfig { field: "guaranteed", max: 0, .. })
    ));
    let (lease, rest) = (take(&mut scheduler, &of(going, 0)), take(&mut scheduler, &of(other, 1)));
    let (first, second) = (queue(&mut scheduler, &of(going, 2)), queue(&mut scheduler, &of(going, 3)));
    scheduler.remove_tenant(going).expect("it is known");
    check(&scheduler);
    assert_eq!(scheduler.request_for(&of(going, 0)), Err(SchedulerError::StaleTenant));
    assert_eq!(scheduler.remove_tenant(going), Err(SchedulerError::StaleTenant));
    assert!(info(&scheduler, going).is_retiring && info(&scheduler, going).waiting == 2);
    assert_eq!(
        scheduler.create_tenant(&weighted(1)),
        Err(SchedulerError::TenantsFull { tenants_max: 2 }),
        "its place is in use"
    );

    // Waits of the removed tenant are served, but no longer before others.
    let granted = release(&mut scheduler, lease);
    assert_eq!((granted.len(), granted[0].wait), (1, first));
    let granted = release(&mut scheduler, granted[0].lease);
    assert_eq!(granted[0].wait, second);
    assert_eq!(info(&scheduler, going).granted, 3);
    assert_eq!(release(&mut scheduler, granted[0].lease), []);
    assert_eq!(scheduler.describe_tenant(going), Err(SchedulerError::StaleTenant), "its last lease has ended");

    // Its place is used again, and its guarantee; the old handle is not the new tenant.
    let fresh = create(&mut scheduler, guaranteed(1));
    assert_eq!((fresh.index(), fresh == going), (going.index(), false));
    assert_eq!(scheduler.request_for(&of(going, 0)), Err(SchedulerError::StaleTenant));
    assert_eq!(release(&mut scheduler, rest), []);
    for tenant in [fresh, other] {
        scheduler.remove_tenant(tenant).expect("it is known");
        assert_eq!(scheduler.describe_tenant(tenant), Err(SchedulerError::StaleTenant), "not in use: gone at once");
    }
}

#[test]
fn default_tenant_has_no_number_of_a_named_one() {
    let mut scheduler = new_scheduler(&SchedulerConfig { tag: 7, ..config(2, 1) });
    let real = create(&mut scheduler, capped(1));
    let before = scheduler.stats();
    // The handles before and after the first one that exists: of the entry in front of it, and of later uses.
    for (entry, uses) in [(-1, 0), (-1, 1), (0, 1), (1, 0), (0, 1_u64 << 24)] {
        let number = real.to_bits().wrapping_add_signed(entry).wrapping_add(uses << 32);
        let wrong = TenantId::from_bits(number);
        assert_eq!(scheduler.remove_tenant(wrong), Err(SchedulerError::StaleTenant), "{entry} {uses}");
        assert_eq!(scheduler.describe_tenant(wrong), Err(SchedulerError::StaleTenant));
        assert_eq!(scheduler.request_for(&of(wrong, 0)), Err(SchedulerError::StaleTenant));
    }
    let other = create_in_another_pool();
    assert_eq!(scheduler.remove_tenant(other), Err(SchedulerError::StaleTenant), "another tag");
    assert_eq!((scheduler.stats().free, scheduler.stats().refused), (before.free, before.refused + 11));
    // Requests without a tenant count for the default tenant alone.
    take(&mut scheduler, &Request::new(0, 0));
    take(&mut scheduler, &Request::new(0, 0));
    assert_eq!(info(&scheduler, real).outstanding_units, 0);
}

fn create_in_another_pool() -> TenantId {
    create(&mut new_scheduler(&config(1, 1)), weighted(1))
}

#[test]
fn hundred_thousand_tenants_take_turns() {
    const TENANTS: u32 = 100_000;
    let mut scheduler =
        new_scheduler(&SchedulerConfig { tenants_max: TENANTS, ..SchedulerConfig::new(10, 2 * TENANTS) });
    let mut held = take_all(&mut scheduler);
    let tenants: Vec<TenantId> = (0..TENANTS).map(|_| create(&mut scheduler, TenantConfig::default())).collect();
    for _ in 0..2 {
        for (token, &tenant) in (0..).zip(&tenants) {
            queue(&mut scheduler, &of(tenant, token));
        }
    }
    for _ in 0..2 {
        for expected in 0..u64::from(TENANTS) {
            scheduler.release(held.pop_front().expect("a buffer is held")).expect("the lease is held");
            let grant = scheduler.poll_grant().expect("every tenant waits");
            assert_eq!(grant.token, expected, "once each round");
            held.push_back(grant.lease);
        }
    }
    assert_eq!(scheduler.stats().bypass_peak, u64::from(TENANTS) * 2 - 1);
    for lease in held {
        scheduler.release(lease).expect("the lease is held");
    }
    for tenant in tenants {
        scheduler.remove_tenant(tenant).expect("it is known");
        assert_eq!(scheduler.describe_tenant(tenant), Err(SchedulerError::StaleTenant));
    }
    assert_eq!(scheduler.stats().free, 10);
}

/// A request, a release, a cancellation, a grant, a tenant more or less: in any order.
#[test]
fn tenants_come_and_go_in_any_order() {
    for seed in 0..20 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let classes = rng.u8(1..4);
        let mut settings = SchedulerConfig { classes, class_burst: rng.u32(1..4), ..config(rng.u32(3..12), 6) };
        settings.sizes = if rng.bool() { [1, 0, 0, 0] } else { [4, 1, 8, 0] };
        settings.reserves[usize::from(classes) - 1] = rng.u32(0..2);
        let mut scheduler = new_scheduler(&settings);
        let (mut tenants, mut leases, mut waits) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..3_000 {
            match rng.u8(..10) {
                0 => {
                    let tenant_config = TenantConfig {
                        weight: rng.u32(1..5),
                        guaranteed: rng.u32(0..3),
                        cap: if rng.bool() { u32::MAX } else { rng.u32(2..6) },
                    };
                    tenants.extend(scheduler.create_tenant(&tenant_config));
                }
                1 if !tenants.is_empty() => {
                    scheduler.remove_tenant(tenants.swap_remove(rng.usize(..tenants.len()))).expect("it is known");
                }
                2..6 => {
                    let size_index = if settings.sizes[1] > 0 { rng.u8(..3) } else { 0 };
                    let tenant = if rng.bool() { rng.choice(&tenants).copied() } else { None };
                    let request = Request { tenant, size_index, ..Request::new(rng.u8(..classes), 0) };
                    match scheduler.request_for(&request) {
                        Ok(Outcome::Granted(lease)) => leases.push(lease),
                        Ok(Outcome::Queued(wait)) => waits.push(wait),
                        Err(error) => assert!(matches!(error, SchedulerError::TooLarge { .. }), "{error}"),
                    }
                }
                6..9 if !leases.is_empty() => {
                    scheduler.release(leases.swap_remove(rng.usize(..leases.len()))).expect("the lease is held");
                }
                9 if !waits.is_empty() => {
                    scheduler.cancel(waits.swap_remove(rng.usize(..waits.len()))).expect("the wait is live");
                }
                _ => {}
            }
            check(&scheduler);
            while rng.bool() {
                let Some(grant) = scheduler.poll_grant() else { break };
                waits.retain(|&wait| wait != grant.wait);
                leases.push(grant.lease);
            }
        }
        // At the end nothing is left of any tenant.
        while let Some(wait) = waits.pop() {
            scheduler.cancel(wait).expect("the wait is live");
        }
        for lease in leases {
            scheduler.release(lease).expect("the lease is held");
        }
        check(&scheduler);
        for tenant in tenants {
            scheduler.remove_tenant(tenant).expect("it is known");
            assert_eq!(scheduler.describe_tenant(tenant), Err(SchedulerError::StaleTenant));
        }
        for _ in 0..6 {
            create(&mut scheduler, TenantConfig::default());
        }
    }
}

#[test]
fn default_tenant_is_refused_as_a_named_one() {
    let mut scheduler = new_scheduler(&config(1, 1));
    let tenant = create(&mut scheduler, TenantConfig::default());
    // The default tenant is in the row before that of the first tenant.
    let default = TenantId::from_bits(tenant.to_bits() - 1);
    assert_eq!(scheduler.describe_tenant(default).unwrap_err(), SchedulerError::StaleTenant);
    assert_eq!(scheduler.remove_tenant(default), Err(SchedulerError::StaleTenant));
    assert_eq!(scheduler.request_for(&of(default, 0)), Err(SchedulerError::StaleTenant));
    check(&scheduler);
}
