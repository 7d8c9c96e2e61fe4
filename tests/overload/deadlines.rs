//! Which holders are asked to return their buffer, when, and in which order.

use crate::support::{Paced, check, new_scheduler, queue, release, take};
use demuxbuf::scheduler::{
    LeaseId, LeaseInfo, Reclaim, ReclaimKind, Request, Scheduler, SchedulerConfig, TenantConfig, TenantId, WaitId,
};
use demuxbuf::{Allowed, ConfigError};

const PARK_NS: u64 = 100;
const LEASE_NS: u64 = 1_000;

fn config(buffers: u32) -> SchedulerConfig {
    SchedulerConfig { park_ns: Some(PARK_NS), lease_ns: Some(LEASE_NS), ..SchedulerConfig::new(buffers, 100) }
}

fn timed(token: u64) -> Request {
    Request { has_deadline: true, ..Request::new(0, token) }
}

/// All that is asked now: the kind of each request and the token of its holder.
fn demands(scheduler: &mut Scheduler) -> Vec<(ReclaimKind, u64)> {
    let asked = std::iter::from_fn(|| scheduler.poll_reclaim()).map(|reclaim| (reclaim.kind, reclaim.token)).collect();
    check(scheduler);
    asked
}

fn park(token: u64) -> (ReclaimKind, u64) {
    (ReclaimKind::Park, token)
}

fn shed(token: u64) -> (ReclaimKind, u64) {
    (ReclaimKind::Shed, token)
}

/// A pool with all buffers taken, one every 10 ns, by the holders 0, 1 ...
fn held(config: &SchedulerConfig) -> (Paced, Vec<LeaseId>) {
    let mut scheduler = Paced::new(config);
    let leases = (0..config.buffers.into()).map(|token| {
        scheduler.handle_timeout(token * 10);
        take(&mut scheduler, &timed(token))
    });
    let leases = leases.collect();
    (scheduler, leases)
}

#[test]
fn holders_are_not_asked_while_no_request_waits() {
    let (mut scheduler, _) = held(&config(3));
    scheduler.handle_timeout(50 * LEASE_NS);
    assert_eq!((demands(&mut scheduler), scheduler.poll_timeout()), (vec![], None));

    // A request that waits makes all of it due, and its cancellation undoes that.
    let wait = queue(&mut scheduler, &timed(7));
    assert!(scheduler.poll_timeout().is_some_and(|due_ns| due_ns <= 50 * LEASE_NS), "it is due at once");
    assert_eq!(scheduler.poll_reclaim().map(|reclaim| reclaim.token), Some(0));
    scheduler.cancel(wait).expect("the wait is live");
    assert_eq!((demands(&mut scheduler), scheduler.poll_timeout()), (vec![], None));
}

/// A pool of 20 buffers and `tenants` tenants with a cap of 2, which all hold 2. Tokens are 10 times the tenant plus 0
/// or 1. The lease with token 900 belongs to the default tenant and is idle for longest.
fn capped(tenants: u64) -> (Paced, Vec<TenantId>, Vec<LeaseId>) {
    let mut scheduler = Paced::new(&SchedulerConfig { tenants_max: 9, ..config(20) });
    take(&mut scheduler, &timed(900));
    let tenant_config = TenantConfig { cap: 2, ..TenantConfig::default() };
    let all: Vec<TenantId> =
        (0..tenants).map(|_| scheduler.create_tenant(&tenant_config).expect("there is room")).collect();
    let leases = (0..2 * tenants).map(|at| {
        scheduler.handle_timeout(10 + at);
        take(&mut scheduler, &Request { tenant: Some(all[at as usize / 2]), ..timed(10 * (at / 2) + at % 2) })
    });
    let leases = leases.collect();
    (scheduler, all, leases)
}

/// Queues one more request of this tenant.
fn queue_of(scheduler: &mut Scheduler, tenants: &[TenantId], tenant: usize) -> WaitId {
    queue(scheduler, &Request { tenant: Some(tenants[tenant]), ..timed(10 * tenant as u64 + 2) })
}

/// A waiter that its tenant's cap blocks is helped by holders of that tenant alone; no other holder is asked.
#[test]
fn tenant_cap_reclaims_from_its_own_holders_only() {
    let (mut scheduler, tenants, leases) = capped(3);
    for tenant in 0..2 {
        queue_of(&mut scheduler, &tenants, tenant);
    }
    assert_eq!((demands(&mut scheduler), scheduler.poll_timeout()), (vec![], scheduler.or_step(PARK_NS)));
    scheduler.handle_timeout(PARK_NS);
    assert_eq!(
        (demands(&mut scheduler), scheduler.poll_timeout()),
        (vec![], scheduler.or_step(10 + PARK_NS)),
        "900 is not asked for anything"
    );
    scheduler.handle_timeout(10 + PARK_NS);
    assert_eq!((demands(&mut scheduler), scheduler.poll_timeout()), (vec![park(0)], scheduler.or_step(11 + PARK_NS)));

    // A holder that parks makes room for the waiter, and then its tenant needs nothing more.
    assert_eq!(release(&mut scheduler, leases[0])[0].token, 2);
    scheduler.handle_timeout(2 * LEASE_NS);
    assert_eq!(demands(&mut scheduler), [park(10), park(11), shed(10)]);
    assert_eq!(scheduler.poll_timeout(), scheduler.or_step(3 * LEASE_NS), "one at a time, however many tenants");
    assert_eq!(release(&mut scheduler, leases[2])[0].token, 12);
    assert_eq!(
        (demands(&mut scheduler), scheduler.poll_timeout()),
        (vec![], None),
        "no request needs what the other holders have"
    );

    // Once a request waits that any holder could help, all idle holders count, the one idle for longest first.
    while scheduler.would_grant(0) {
        take(&mut scheduler, &timed(902));
    }
    queue(&mut scheduler, &timed(901));
    assert!(scheduler.poll_timeout().is_some_and(|due_ns| due_ns <= 2 * LEASE_NS), "it is due at once");
    assert_eq!(demands(&mut scheduler), [park(900), park(1), park(20), park(21), park(2), shed(11)]);
}

/// Tenants that block a waiter by their cap take turns, and the costliest holder of each is shed.
#[test]
fn tenant_caps_shed_in_turn_the_costliest_holder() {
    let (mut scheduler, tenants, leases) = capped(3);
    for tenant in 0..3 {
        queue_of(&mut scheduler, &tenants, tenant);
    }
    // The first holder of the second tenant makes progress, so its lease costs less for the time that it was held.
    scheduler.handle_timeout(50);
    scheduler.progress(leases[2], 1 << 20).expect("the lease is held");
    scheduler.handle_timeout(5 * LEASE_NS);
    let parks = [0, 1, 11, 20, 21, 10].map(park);
    assert_eq!(demands(&mut scheduler), [&parks[..], &[shed(0)]].concat());
    for (step, token) in [(6, 11), (7, 20), (8, 1), (9, 10), (10, 21), (11, 0)] {
        assert_eq!(scheduler.poll_timeout(), scheduler.or_step(step * LEASE_NS));
        scheduler.handle_timeout(step * LEASE_NS);
        assert_eq!(demands(&mut scheduler), [shed(token)], "{step}");
    }
    // A tenant without a waiter is left alone.
    assert_eq!(release(&mut scheduler, leases[5])[0].token, 22);
    for step in 12..20 {
        scheduler.handle_timeout(step * LEASE_NS);
        assert!(demands(&mut scheduler).iter().all(|&(_, token)| token < 20), "{step}");
    }
}

/// When a tenant's cap starts to block a waiter, the tenant's idle holders are asked to park at once. When its last
/// blocked waiter is gone, none of them is shed.
#[test]
fn tenant_cap_reclaims_only_while_it_blocks() {
    let (mut scheduler, tenants, _) = capped(2);
    let first = queue_of(&mut scheduler, &tenants, 0);
    scheduler.handle_timeout(2 * LEASE_NS);
    assert_eq!(
        (demands(&mut scheduler), scheduler.poll_timeout()),
        (vec![park(0), park(1), shed(0)], scheduler.or_step(3 * LEASE_NS))
    );
    let second = queue_of(&mut scheduler, &tenants, 1);
    assert!(scheduler.poll_timeout().is_some_and(|due_ns| due_ns <= 2 * LEASE_NS), "its holders are idle already");
    assert_eq!(
        (demands(&mut scheduler), scheduler.poll_timeout()),
        (vec![park(10), park(11)], scheduler.or_step(3 * LEASE_NS))
    );
    scheduler.handle_timeout(3 * LEASE_NS - 1);
    assert_eq!((demands(&mut scheduler), scheduler.poll_timeout()), (vec![], scheduler.or_step(3 * LEASE_NS)));
    scheduler.cancel(first).expect("the wait is live");
    scheduler.handle_timeout(3 * LEASE_NS);
    assert_eq!(demands(&mut scheduler), [shed(10)], "not 1: its tenant needs nothing now");
    scheduler.cancel(second).expect("the wait is live");
    assert_eq!((demands(&mut scheduler), scheduler.poll_timeout()), (vec![], None));
}

#[test]
fn idle_holders_are_asked_to_park_before_a_shed() {
    let (mut scheduler, leases) = held(&config(4));
    queue(&mut scheduler, &timed(9));
    assert_eq!((demands(&mut scheduler), scheduler.poll_timeout()), (vec![], scheduler.or_step(PARK_NS)));
    scheduler.handle_timeout(PARK_NS - 1);
    assert_eq!(demands(&mut scheduler), []);
    scheduler.handle_timeout(PARK_NS);
    assert_eq!((demands(&mut scheduler), scheduler.poll_timeout()), (vec![park(0)], scheduler.or_step(PARK_NS + 10)));
    // Late is as good, and the holder that is idle for longest comes first, whatever it was asked before.
    scheduler.handle_timeout(5 * LEASE_NS);
    let due = [park(1), park(2), park(3), shed(0)];
    assert_eq!(demands(&mut scheduler), due);
    assert_eq!(
        scheduler.poll_timeout(),
        scheduler.or_step(6 * LEASE_NS),
        "no other holder before the first has had the time to leave"
    );
    assert_eq!(release(&mut scheduler, leases[0])[0].token, 9);
    assert_eq!((demands(&mut scheduler), scheduler.poll_timeout()), (vec![], None), "no request waits any more");
}

#[test]
fn shed_is_one_at_a_time() {
    let (mut scheduler, leases) = held(&config(4));
    for token in 10..14 {
        queue(&mut scheduler, &timed(token));
    }
    let mut now = 100_000;
    scheduler.handle_timeout(now);
    assert_eq!(demands(&mut scheduler), [park(0), park(1), park(2), park(3), shed(0)]);
    scheduler.handle_timeout(now + LEASE_NS - 1);
    assert_eq!(demands(&mut scheduler), []);

    // The next holder is shed as soon as the first is gone, at the same time if requests still wait.
    release(&mut scheduler, leases[0]);
    now += LEASE_NS - 1;
    assert!(scheduler.poll_timeout().is_some_and(|due_ns| due_ns <= now), "it is due at once");
    assert_eq!(demands(&mut scheduler), [shed(1)]);
    scheduler.handle_timeout(now + PARK_NS);
    assert_eq!(demands(&mut scheduler), [park(10)], "the holder that got the buffer is idle as well by now");
    // If the host did not act, it is shed `lease_ns` later; holders that were asked already come last.
    for token in [2, 3, 10, 1, 2] {
        now += LEASE_NS;
        assert_eq!(scheduler.poll_timeout(), scheduler.or_step(now));
        scheduler.handle_timeout(now - 1);
        assert_eq!(demands(&mut scheduler), []);
        scheduler.handle_timeout(now);
        assert_eq!(demands(&mut scheduler), [shed(token)]);
    }
    assert_eq!(scheduler.reclaim_stats().sheds_asked, 7);
}

#[test]
fn progress_restarts_the_deadline() {
    let (mut scheduler, leases) = held(&config(2));
    queue(&mut scheduler, &timed(9));
    scheduler.handle_timeout(LEASE_NS);
    assert_eq!(demands(&mut scheduler), [park(0), park(1), shed(0)]);
    scheduler.progress(leases[0], 1).expect("the lease is held");
    // Progress withdraws the demand, which then does not keep other holders from being asked.
    scheduler.handle_timeout(LEASE_NS + 10);
    assert_eq!(demands(&mut scheduler), [shed(1)]);
    for &lease in &leases {
        scheduler.progress(lease, 1).expect("the lease is held");
    }
    for step in 1..50 {
        scheduler.handle_timeout(LEASE_NS + 10 + step * (LEASE_NS - 1));
        let sheds = demands(&mut scheduler).iter().filter(|demand| demand.0 == ReclaimKind::Shed).count();
        assert_eq!(sheds, 0, "one byte within each lease is enough");
        for &lease in &leases {
            scheduler.progress(lease, 1).expect("the lease is held");
        }
    }
}

#[test]
fn shed_takes_the_costliest_first() {
    let mut scheduler = Paced::new(&SchedulerConfig { sizes: [4, 1, 0, 0], ..config(5) });
    let small = |token| Request { size_index: 1, ..timed(token) };
    // Longest held, most progress; longer held; four times as large; the latest.
    let long = take(&mut scheduler, &timed(0));
    scheduler.handle_timeout(1_000_000);
    take(&mut scheduler, &small(1));
    scheduler.handle_timeout(1_500_000);
    take(&mut scheduler, &timed(2));
    scheduler.handle_timeout(1_600_000);
    take(&mut scheduler, &small(3));
    scheduler.progress(long, 100).expect("the lease is held");
    while scheduler.stats().free >= 4 {
        take(&mut scheduler, &Request::new(0, 9));
    }
    queue(&mut scheduler, &timed(8));
    scheduler.handle_timeout(2_000_000);
    let costs: [u64; 4] = [4 * 2_000_000 / 101, 1_000_000, 4 * 500_000, 400_000];
    let mut order: Vec<u64> = (0..4).collect();
    order.sort_by_key(|&token| std::cmp::Reverse(costs[token as usize].ilog2()));
    let mut sheds = Vec::new();
    for round in 0..4 {
        scheduler.handle_timeout(2_000_000 + round * LEASE_NS);
        sheds.extend(demands(&mut scheduler).into_iter().filter(|demand| demand.0 == ReclaimKind::Shed));
    }
    assert_eq!(order, [2, 1, 3, 0]);
    assert_eq!(sheds, order.into_iter().map(shed).collect::<Vec<_>>());
}

#[test]
fn reclaim_requests_are_counted() {
    let (mut scheduler, _) = held(&config(3));
    queue(&mut scheduler, &timed(9));
    scheduler.handle_timeout(50 * LEASE_NS);
    let asked = demands(&mut scheduler);
    let of = |kind| asked.iter().filter(|demand| demand.0 == kind).count() as u64;
    assert_eq!((of(ReclaimKind::Park), of(ReclaimKind::Shed)), (3, 1));
    assert_eq!((scheduler.reclaim_stats().parks_asked, scheduler.reclaim_stats().sheds_asked), (3, 1));
}

/// What is known of a lease: time held, idle time, and bytes consumed.
fn figures(lease_info: &LeaseInfo) -> (u64, u64, u64) {
    (lease_info.held_ns, lease_info.idle_ns, lease_info.progress_bytes)
}

#[test]
fn idle_time_counts_from_grant_and_last_progress() {
    let (mut scheduler, leases) = held(&config(2));
    scheduler.handle_timeout(50);
    scheduler.progress(leases[1], 7).expect("the lease is held");
    scheduler.handle_timeout(80);
    let lease_info = scheduler.describe_lease(leases[1]).expect("the lease is held").expect("it is timed");
    assert_eq!(figures(&lease_info), (70, 30, 7));
}

#[test]
fn s53_pause_of_any_length_counts_as_one_step() {
    const STEP_NS: u64 = LEASE_NS / 8;
    for pause_ns in [STEP_NS, STEP_NS + 1, LEASE_NS, 8 * 3_600_000_000_000, u64::MAX - 3 * LEASE_NS] {
        let (mut scheduler, leases) = held(&config(2));
        queue(&mut scheduler, &timed(9));
        let before_ns = PARK_NS / 2;
        scheduler.handle_timeout(before_ns);
        let scheduler: &mut Scheduler = &mut scheduler;
        scheduler.handle_timeout(before_ns + pause_ns);
        let lease_info = scheduler.describe_lease(leases[0]).expect("the lease is held").expect("it is timed");
        assert_eq!(lease_info.idle_ns, before_ns + STEP_NS, "a pause of {pause_ns}");
        assert_eq!(scheduler.reclaim_stats().clock_skipped_ns, pause_ns - STEP_NS);
        assert_eq!(demands(scheduler), [park(0), park(1)], "a pause sheds no holder");
        // From there on the clock follows the host's again, step by step.
        let mut now_ns = before_ns + pause_ns;
        while idle_of(scheduler, leases[0]) < LEASE_NS {
            assert_eq!(demands(scheduler), []);
            let next_ns = scheduler.poll_timeout().expect("its lease runs");
            assert!(now_ns < next_ns && next_ns <= now_ns + STEP_NS, "it asks for each step, and for no less than one");
            now_ns = next_ns;
            scheduler.handle_timeout(now_ns);
        }
        assert_eq!((demands(scheduler), now_ns), (vec![shed(0)], pause_ns + LEASE_NS - STEP_NS));
    }
}

fn idle_of(scheduler: &Scheduler, lease: LeaseId) -> u64 {
    scheduler.describe_lease(lease).expect("the lease is held").expect("it is timed").idle_ns
}

#[test]
fn s53_pause_counts_as_one_step_without_waiters() {
    let (mut scheduler, leases) = held(&config(1));
    let scheduler: &mut Scheduler = &mut scheduler;
    scheduler.handle_timeout(50 * LEASE_NS);
    queue(scheduler, &timed(9));
    assert_eq!((demands(scheduler), idle_of(scheduler, leases[0])), (vec![park(0)], LEASE_NS / 8));
}

#[test]
fn s54_first_advance_is_the_origin_of_time() {
    const DAYS_NS: u64 = 10 * 86_400_000_000_000;
    let mut scheduler = new_scheduler(&config(1));
    let lease = take(&mut scheduler, &timed(0));
    let wait = queue(&mut scheduler, &timed(9));
    scheduler.handle_timeout(DAYS_NS);
    let age_ns = scheduler.describe_wait(wait).expect("the wait is live").age_ns;
    assert_eq!((demands(&mut scheduler), idle_of(&scheduler, lease), age_ns), (vec![], 0, 0));
    assert_eq!((scheduler.poll_timeout(), scheduler.reclaim_stats().clock_skipped_ns), (Some(DAYS_NS + PARK_NS), 0));
    scheduler.handle_timeout(DAYS_NS + PARK_NS);
    assert_eq!((demands(&mut scheduler), scheduler.stats().clock_backwards), (vec![park(0)], 0));
}

#[test]
fn clock_that_goes_backwards_is_counted_and_ignored() {
    let (mut scheduler, leases) = held(&config(1));
    queue(&mut scheduler, &timed(9));
    scheduler.handle_timeout(PARK_NS);
    for now_ns in [PARK_NS - 1, 0] {
        scheduler.handle_timeout(now_ns);
        let lease_info = scheduler.describe_lease(leases[0]).expect("the lease is held").expect("it is timed");
        assert_eq!(figures(&lease_info), (PARK_NS, PARK_NS, 0));
    }
    assert_eq!(scheduler.stats().clock_backwards, 2);
    assert_eq!(demands(&mut scheduler), [park(0)]);
    // The same time again is not backwards; early and repeated calls change nothing.
    for _ in 0..3 {
        scheduler.handle_timeout(PARK_NS);
        assert_eq!((demands(&mut scheduler), scheduler.poll_timeout()), (vec![], scheduler.or_step(LEASE_NS)));
    }
    assert_eq!(scheduler.stats().clock_backwards, 2);
    scheduler.handle_timeout(LEASE_NS);
    assert_eq!(demands(&mut scheduler), [shed(0)]);
}

#[test]
fn lease_ns_of_zero_is_refused() {
    let refused = Scheduler::new(&SchedulerConfig { park_ns: Some(0), lease_ns: Some(0), ..config(1) }).map(|_| ());
    assert_eq!(
        refused,
        Err(ConfigError::Refused { field: "lease_ns", index: None, value: 0, allowed: Allowed::AtLeast(1) }),
        "every holder would be shed again and again"
    );
    let mut scheduler = Paced::new(&SchedulerConfig { park_ns: Some(0), lease_ns: Some(1), ..config(1) });
    take(&mut scheduler, &timed(0));
    queue(&mut scheduler, &timed(1));
    assert_eq!(
        (demands(&mut scheduler), scheduler.poll_timeout()),
        (vec![], scheduler.or_step(1)),
        "no holder is asked at the time of its grant"
    );
    scheduler.handle_timeout(1);
    assert_eq!(demands(&mut scheduler), [park(0), shed(0)]);
}

/// What the test knows of one holder.
#[derive(Clone, Copy)]
struct Holder {
    lease: LeaseId,
    granted_ns: u64,
    progress_ns: u64,
    progress_bytes: u64,
    is_asked: bool,
    /// The cost at the expiry, rounded down to a power of two.
    expired: Option<u32>,
}

impl Holder {
    fn lease_info(&self, now_ns: u64) -> LeaseInfo {
        let (held_ns, idle_ns) = (now_ns - self.granted_ns, now_ns - self.progress_ns);
        let mut lease_info = LeaseInfo::default();
        (lease_info.held_ns, lease_info.idle_ns) = (held_ns, idle_ns);
        lease_info.progress_bytes = self.progress_bytes;
        lease_info
    }

    fn expire(&mut self, now_ns: u64) {
        if self.is_asked && self.expired.is_none() && now_ns - self.progress_ns >= LEASE_NS {
            let cost = (now_ns - self.granted_ns) / (self.progress_bytes + 1);
            self.expired = Some(cost.checked_ilog2().unwrap_or(0));
        }
    }
}

/// Holders by buffer, and the holder that was to be shed last.
struct Model {
    holders: Vec<Holder>,
    shedding: Option<(usize, u64)>,
    now_ns: u64,
}

impl Model {
    /// Checks one demand against what the test knows.
    fn expect(&mut self, reclaim: &Reclaim) {
        let (now_ns, at) = (self.now_ns, reclaim.lease.index() as usize);
        let unasked = self.holders.iter().filter(|holder| !holder.is_asked);
        let longest_idle_ns = unasked.map(|holder| holder.lease_info(now_ns).idle_ns).max();
        let holder = self.holders[at];
        assert_eq!((reclaim.lease, reclaim.lease_info), (holder.lease, holder.lease_info(now_ns)));
        match reclaim.kind {
            ReclaimKind::Park => {
                assert!(!holder.is_asked, "a holder is asked once between two reports of progress");
                assert!(reclaim.lease_info.idle_ns >= PARK_NS);
                assert_eq!(
                    longest_idle_ns,
                    Some(reclaim.lease_info.idle_ns),
                    "the holder that is idle for longest comes first"
                );
                self.holders[at].is_asked = true;
            }
            ReclaimKind::Shed => {
                for holder in &self.holders {
                    let is_due = !holder.is_asked && now_ns - holder.progress_ns >= PARK_NS;
                    assert!(!is_due, "parks are asked before sheds");
                }
                self.see_expired();
                assert!(reclaim.lease_info.idle_ns >= LEASE_NS, "no holder with progress within its lease is shed");
                if let Some((_, since_ns)) = self.shedding {
                    assert!(now_ns - since_ns >= LEASE_NS, "one at a time");
                }
                let costliest = self.holders.iter().filter_map(|holder| holder.expired).max();
                assert_eq!(self.holders[at].expired, costliest, "the costliest holder comes first");
                self.holders[at].expired = Some(0);
                self.shedding = Some((at, now_ns));
            }
        }
    }

    fn see_expired(&mut self) {
        self.holders.iter_mut().for_each(|holder| holder.expire(self.now_ns));
    }

    fn begin(&mut self, at: usize, lease: LeaseId) {
        let now_ns = self.now_ns;
        self.forget_shedding(at);
        self.holders[at] = Holder {
            lease,
            granted_ns: now_ns,
            progress_ns: now_ns,
            progress_bytes: 0,
            is_asked: false,
            expired: None,
        };
    }

    fn progress(&mut self, at: usize, bytes: u64) {
        self.forget_shedding(at);
        let holder = &mut self.holders[at];
        (holder.progress_ns, holder.is_asked, holder.expired) = (self.now_ns, false, None);
        holder.progress_bytes += bytes;
    }

    fn forget_shedding(&mut self, at: usize) {
        self.shedding = self.shedding.filter(|&(shed, _)| shed != at);
    }
}

/// Random events against a model of the holders: each request to park or to leave is allowed, and none is missing.
#[test]
fn reclaim_requests_follow_the_rules() {
    let mut sheds = 0;
    for seed in 0..30 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let buffers = rng.u32(1..20);
        let (mut scheduler, leases) = held(&config(buffers));
        let holder = |(token, lease): (u64, LeaseId)| {
            let granted_ns = token * 10;
            let (is_asked, expired) = (false, None);
            Holder { lease, granted_ns, progress_ns: granted_ns, progress_bytes: 0, is_asked, expired }
        };
        let now_ns = u64::from(buffers - 1) * 10;
        let mut model = Model { holders: (0..).zip(leases).map(holder).collect(), shedding: None, now_ns };
        let mut waits = Vec::new();
        for _ in 0..2_000 {
            let at = rng.usize(..model.holders.len());
            match rng.u8(..10) {
                0..4 => {
                    model.now_ns += if rng.bool() { rng.u64(..20) } else { rng.u64(..LEASE_NS) };
                    scheduler.handle_timeout(model.now_ns);
                }
                4..7 => {
                    let bytes = rng.u64(..50);
                    scheduler.progress(model.holders[at].lease, bytes).expect("the lease is held");
                    model.progress(at, bytes);
                }
                7 if waits.len() < 50 => waits.push(queue(&mut scheduler, &timed(at as u64))),
                8 if !waits.is_empty() => {
                    scheduler.cancel(waits.swap_remove(rng.usize(..waits.len()))).expect("the wait is live");
                }
                _ => {
                    // Its buffer goes to a waiter if there is one; else the holder takes it again.
                    let granted = release(&mut scheduler, model.holders[at].lease);
                    let lease = match granted.first() {
                        Some(grant) => {
                            waits.retain(|&wait| wait != grant.wait);
                            grant.lease
                        }
                        None => take(&mut scheduler, &timed(at as u64)),
                    };
                    model.begin(at, lease);
                }
            }
            let was_due_ns = scheduler.poll_timeout();
            while let Some(reclaim) = scheduler.poll_reclaim() {
                assert!(!waits.is_empty(), "a request waits");
                assert!(
                    was_due_ns.is_some_and(|due_ns| due_ns <= model.now_ns),
                    "`poll_timeout` announced what is asked"
                );
                model.expect(&reclaim);
                sheds += u32::from(reclaim.kind == ReclaimKind::Shed);
            }
            if !waits.is_empty() {
                model.see_expired();
            }
            let next_ns = scheduler.poll_timeout();
            assert!(
                next_ns.is_none_or(|due_ns| due_ns > model.now_ns),
                "a host that slept until it is due does not spin"
            );
            assert_eq!(next_ns.is_none(), waits.is_empty());
            check(&scheduler);
        }
    }
    assert!(sheds > 100, "enough holders were shed: {sheds}");
}
