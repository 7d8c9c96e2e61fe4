//! The bypass bound *W*, against schedulers that try to bypass a waiter as often as they can.

use crate::support::{check, new_scheduler, take};
use demuxbuf::scheduler::{LeaseId, Outcome, Request, Scheduler, SchedulerConfig, TenantConfig, TenantId, WaitId};
use std::collections::BTreeMap;

/// A pool and its tenants; the first of `requesters` is the default tenant.
struct Setting {
    config: SchedulerConfig,
    shares: Vec<TenantConfig>,
}

impl Setting {
    fn random(rng: &mut fastrand::Rng) -> Setting {
        let buffers = rng.u32(1..6);
        let tenants = rng.u32(0..4);
        let mut config = SchedulerConfig { tenants_max: tenants, ..SchedulerConfig::new(buffers, 64) };
        config.classes = rng.u8(1..4);
        config.class_burst = rng.u32(1..4);
        if rng.u8(..3) == 0 {
            config.sizes = [[2, 1, 0, 0], [4, 1, 0, 0], [8, 2, 1, 16]][rng.usize(..3)];
        }
        let mut left = buffers;
        let tenant_config = |_| {
            let guaranteed = rng.u32(0..=left);
            left -= guaranteed;
            TenantConfig { weight: rng.u32(1..4), guaranteed, cap: u32::MAX }
        };
        let shares = (0..tenants).map(tenant_config).collect();
        Setting { config, shares }
    }

    /// The formula of the module's docs for one wait with this many ahead of it in its flow: the grants of its class
    /// by which it is served, and the grants that bypass it until then.
    fn bypass_bound(&self, ahead: u64) -> u64 {
        let others = self.shares.len() as u64;
        let sizes = self.config.sizes.iter().copied().filter(|&units| units > 0);
        let (largest, smallest) = (sizes.clone().max().unwrap_or(1), sizes.min().unwrap_or(1));
        let weight = u64::from(self.shares.iter().map(|tenant_config| tenant_config.weight).max().unwrap_or(1));
        let ratio = u64::from(largest.div_ceil(smallest));
        let turn = if ratio == 1 { weight } else { (weight + 1) * ratio };
        let burst = u64::from(self.config.class_burst);
        let own = (ahead + 1) * if others == 0 { 1 } else { (others * turn + 1) * (burst + 1) };
        let classes = u64::from(self.config.classes);
        if classes == 1 { own - 1 } else { own * (burst + classes) - 1 }
    }

    fn sizes(&self) -> u8 {
        self.config.sizes.iter().filter(|&&units| units > 0).count() as u8
    }
}

/// A waiter, and its place when it was queued.
struct Waiter {
    wait: WaitId,
    request: Request,
    ahead: u64,
    handed_over: u64,
}

/// A scheduler with its leases and waits.
struct Game {
    scheduler: Scheduler,
    setting: Setting,
    tenants: Vec<Option<TenantId>>,
    held: Vec<(LeaseId, Option<Request>)>,
    waiters: Vec<Waiter>,
    /// The most bypasses of one waiter, and its bound, of the waiters that came closest to it.
    closest: (u64, u64),
}

impl Game {
    fn new(setting: Setting) -> Game {
        let mut scheduler = new_scheduler(&setting.config);
        let create = |tenant_config| Some(scheduler.create_tenant(tenant_config).expect("the share is allowed"));
        let tenants = [None].into_iter().chain(setting.shares.iter().map(create)).collect();
        let mut held = Vec::new();
        while scheduler.would_grant(0) {
            held.push((take(&mut scheduler, &Request::new(0, 0)), None));
        }
        Game { scheduler, setting, tenants, held, waiters: Vec::new(), closest: (0, 1) }
    }

    fn is_same_flow(a: &Request, b: &Request) -> bool {
        (a.class, a.tenant) == (b.class, b.tenant)
    }

    fn waiting_in_flow(&self, request: &Request) -> usize {
        self.waiters.iter().filter(|waiter| Game::is_same_flow(&waiter.request, request)).count()
    }

    fn request(&mut self, request: Request) {
        let Ok(outcome) = self.scheduler.request_for(&request) else {
            return;
        };
        match outcome {
            Outcome::Granted(lease) => self.held.push((lease, Some(request))),
            Outcome::Queued(wait) => {
                let ahead = self.waiting_in_flow(&request) as u64;
                let handed_over = self.scheduler.stats().granted_by_handoff;
                self.waiters.push(Waiter { wait, request, ahead, handed_over });
            }
        }
        self.look();
    }

    fn release(&mut self, at: usize) {
        let (lease, _) = self.held.remove(at);
        self.scheduler.release(lease).expect("the lease is held");
        self.look();
    }

    fn cancel(&mut self, at: usize) {
        self.scheduler.cancel(self.waiters.remove(at).wait).expect("the wait is live");
        self.look();
    }

    /// Checks each waiter that has a buffer now, and picks the buffer up.
    fn look(&mut self) {
        check(&self.scheduler);
        let plain = self.setting.sizes() == 1;
        let mut handed_over = self.scheduler.stats().granted_by_handoff - u64::from(self.scheduler.stats().assigned);
        while self.scheduler.stats().assigned > 0 {
            let is_first =
                |waiter: &&Waiter| self.scheduler.describe_wait(waiter.wait).is_ok_and(|info| info.is_assigned);
            let passed: Vec<_> = self.waiters.iter().filter(is_first).map(|waiter| self.passed(waiter)).collect();
            let grant = self.scheduler.poll_grant().expect("one is assigned");
            handed_over += 1;
            let at = self.waiters.iter().position(|waiter| waiter.wait == grant.wait).expect("it waited");
            let waiter = self.waiters.remove(at);
            let passed = passed.into_iter().find(|&(wait, _)| wait == grant.wait).expect("it was assigned").1;
            let allowed = self.setting.bypass_bound(waiter.ahead);
            assert!(
                passed <= allowed,
                "{passed} bypasses of {:?} behind {}; the bound is {allowed}",
                waiter.request,
                waiter.ahead
            );
            if plain {
                assert_eq!(passed, handed_over - waiter.handed_over - 1, "each hand-off meanwhile is counted");
            }
            if passed * self.closest.1 > self.closest.0 * allowed {
                self.closest = (passed, allowed);
            }
            self.held.push((grant.lease, Some(waiter.request)));
        }
    }

    fn passed(&self, waiter: &Waiter) -> (WaitId, u64) {
        let info = self.scheduler.describe_wait(waiter.wait).expect("the wait is live");
        (waiter.wait, info.bypasses)
    }

    fn random_request(&self, rng: &mut fastrand::Rng) -> Request {
        let tenant = self.tenants[rng.usize(..self.tenants.len())];
        Request {
            tenant,
            size_index: rng.u8(..self.setting.sizes()),
            ..Request::new(rng.u8(..self.setting.config.classes), 0)
        }
    }
}

/// How close games of one kind came to the bound: the bypasses of one waiter, against the bound for its place in the
/// queue, and against *W*.
#[derive(Clone, Copy, Debug)]
struct Closest {
    to_its_own: (u64, u64),
    to_w: (u64, u64),
}

fn keep_larger(kept: &mut (u64, u64), seen: (u64, u64)) {
    if seen.0 * kept.1 > kept.0 * seen.1 {
        *kept = seen;
    }
}

/// Plays; returns how close it came, by whether there were several classes, tenants and sizes.
fn play(seeds: std::ops::Range<u64>, game: impl Fn(&mut fastrand::Rng, &mut Game)) -> BTreeMap<[bool; 3], Closest> {
    let mut closest = BTreeMap::new();
    for seed in seeds {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut table = Game::new(Setting::random(&mut rng));
        game(&mut rng, &mut table);
        let seen = (table.scheduler.stats().bypass_peak, table.scheduler.bypass_bound());
        assert!(seen.0 <= seen.1);
        let kind = [table.setting.config.classes > 1, table.tenants.len() > 1, table.setting.sizes() > 1];
        let kept = closest.entry(kind).or_insert(Closest { to_its_own: (0, 1), to_w: (0, 1) });
        keep_larger(&mut kept.to_its_own, table.closest);
        keep_larger(&mut kept.to_w, seen);
    }
    closest
}

/// No waiter is bypassed more often than the bound allows, whatever the order of requests and releases.
#[test]
fn bypass_bound_holds_for_random_load() {
    play(0..60, |rng, table| {
        for _ in 0..400 {
            match rng.u8(..8) {
                0..4 => {
                    let request = table.random_request(rng);
                    table.request(request);
                }
                4..7 if !table.held.is_empty() => table.release(rng.usize(..table.held.len())),
                7 if !table.waiters.is_empty() && rng.bool() => table.cancel(rng.usize(..table.waiters.len())),
                _ => {}
            }
        }
    });
}

/// Lets one request wait and serves other flows instead. Each other flow always has a waiter, of the largest or the
/// smallest size. The request that was served last is released first, so that a tenant below its guarantee stays below.
#[test]
fn bypass_bound_is_reached_by_worst_case_load() {
    let closest = play(0..1_000, |rng, table| {
        let victim = table.random_request(rng);
        // In some games nearly all the places in the table of waits are ahead of the last of the victims.
        let behind = if rng.u8(..20) == 0 { usize::MAX } else { rng.usize(..3) };
        let mut others = Vec::new();
        for class in 0..table.setting.config.classes {
            others.extend(table.tenants.iter().map(|&tenant| Request { tenant, ..Request::new(class, 0) }));
        }
        others.retain(|other| !Game::is_same_flow(other, &victim));
        rng.shuffle(&mut others);
        let refill = |rng: &mut fastrand::Rng, table: &mut Game| {
            for other in &others {
                while table.waiting_in_flow(other) < 2 {
                    let before = table.waiters.len();
                    table.request(Request { size_index: rng.u8(..table.setting.sizes()), ..*other });
                    if table.waiters.len() <= before {
                        return;
                    }
                }
            }
        };
        refill(rng, table);
        let room = table.setting.config.waiters_max as usize - table.waiters.len();
        for _ in 0..room.min(behind.saturating_add(1)) {
            table.request(victim);
        }
        for _ in 0..10_000 {
            if table.waiting_in_flow(&victim) == 0 || table.held.is_empty() {
                break;
            }
            let last = table.held.len() - 1;
            table.release(if rng.u8(..16) == 0 { rng.usize(..=last) } else { last });
            if rng.u8(..16) == 0 {
                let own = |waiter: &Waiter| Game::is_same_flow(&waiter.request, &victim);
                if let Some(at) = table.waiters.iter().position(|waiter| !own(waiter)) {
                    table.cancel(at);
                }
            }
            refill(rng, table);
        }
    });
    for ([classes, tenants, sizes], closest) in closest {
        println!("several classes {classes}, tenants {tenants}, sizes {sizes}: {closest:?}");
        let (seen, allowed) = closest.to_its_own;
        assert!(4 * seen >= allowed, "the bound is within four times the bypasses seen: {closest:?}");
    }
}

/// The formula of the module's docs, worked out by hand.
#[test]
fn bypass_bound_equals_its_formula() {
    let one_class = |waiters_max| SchedulerConfig { class_burst: 4, ..SchedulerConfig::new(2, waiters_max) };
    let bypass_bound = |config: &SchedulerConfig, weight: Option<u32>| {
        let mut scheduler = new_scheduler(config);
        if let Some(weight) = weight {
            scheduler.create_tenant(&TenantConfig { weight, ..TenantConfig::default() }).expect("the table has room");
        }
        scheduler.bypass_bound()
    };
    // K = q + 1 = 10.
    assert_eq!(bypass_bound(&one_class(10), None), 10 - 1);
    // K = 10 (3 x 1 + 1) (4 + 1); with a weight of 5, 10 (3 x 5 + 1) (4 + 1).
    let tenants = SchedulerConfig { tenants_max: 3, ..one_class(10) };
    assert_eq!(bypass_bound(&tenants, None), 200 - 1);
    assert_eq!(bypass_bound(&tenants, Some(5)), 800 - 1);
    // No more than 3 others can wait beside one of 4.
    assert_eq!(bypass_bound(&SchedulerConfig { tenants_max: 100, ..one_class(4) }, None), 4 * 4 * 5 - 1);
    // Sizes of 4 and 1: a turn of 1 + 1 buffers, times 4.
    assert_eq!(bypass_bound(&SchedulerConfig { sizes: [4, 1, 0, 0], ..tenants }, None), 10 * (3 * 8 + 1) * 5 - 1);
    // Sizes of 6 and 4: a turn of 1 + 1 buffers, times 2. One of 3 alone is as one of 1.
    assert_eq!(bypass_bound(&SchedulerConfig { sizes: [6, 4, 0, 0], ..tenants }, None), 10 * (3 * 4 + 1) * 5 - 1);
    assert_eq!(bypass_bound(&SchedulerConfig { sizes: [3, 0, 0, 0], ..tenants }, None), 200 - 1);
    // Two classes: K (4 + 2).
    assert_eq!(bypass_bound(&SchedulerConfig { classes: 2, ..tenants }, None), 200 * 6 - 1);
}
