//! The scheduler, as the docs of `demuxbuf::scheduler` have it.

mod deadlines;
mod for_shards;
mod state;
mod turns;

use crate::system::{Ask, Asked, Demand, Notice, Stats, System, UNKNOWN_SIZE};
use deadlines::{LeasePhase, Timed, Turns};
use demuxbuf::scheduler::{CLASSES_MAX, LeaseInfo, SchedulerConfig, TenantConfig, TenantInfo, WEIGHT_MAX, WaitInfo};
use demuxbuf_capi::*;
pub(super) use for_shards::Queued;
pub(super) use state::Names;
use std::collections::{BTreeMap, VecDeque};
use turns::Class;

/// The tenant of requests that name none.
pub(super) const DEFAULT_TENANT: u64 = 0;

/// A request that is queued, or assigned and not picked up.
#[derive(Clone, Copy, Debug)]
struct Wait {
    id: u64,
    token: u64,
    class: usize,
    tenant: u64,
    size_index: u8,
    has_deadline: bool,
    since_ns: u64,
    /// Of two in one queue that with the smaller number came first.
    place: u64,
    /// Bypasses, since its tenant's cap last blocked it.
    bypasses: u64,
}

/// A leased or assigned buffer.
#[derive(Clone, Copy, Debug)]
struct Lease {
    id: u64,
    token: u64,
    class: usize,
    tenant: u64,
    units: u32,
    /// Nothing for a lease without a deadline.
    timed: Option<Timed>,
}

/// A tenant; counts are units.
#[derive(Clone, Copy, Debug)]
struct Tenant {
    weight: u32,
    guaranteed: u32,
    cap: u32,
    granted: u64,
    is_retiring: bool,
}

/// Whether a class may take what its next waiter needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Fits,
    /// Some is free for it, but not enough.
    TooLargeNow,
    /// Its reserve or its cap blocks it.
    Blocked,
}

/// Leases and waits, in the order of events.
#[derive(Clone, Debug)]
pub struct ModelScheduler {
    config: SchedulerConfig,
    held: Vec<Lease>,
    /// Assigned and not picked up, oldest first.
    assigned: VecDeque<(Wait, Lease)>,
    /// Oldest first.
    queued: Vec<Wait>,
    classes: Vec<Class>,
    /// Those in use, `DEFAULT_TENANT` first.
    tenants: BTreeMap<u64, Tenant>,
    /// The largest weight that a tenant ever had.
    weight_peak: u32,
    /// The lease that is to be shed, and since when.
    shedding: Option<(u64, u64)>,
    turns: Turns,
    /// Time that counted since the clock was first advanced.
    now_ns: u64,
    /// The host's time at the last advance, if there was one.
    advanced_ns: Option<u64>,
    next_id: u64,
    /// Buffers that are out of use, and that are to be once they are free.
    withheld: u32,
    to_withhold: u32,
    /// What is counted and cannot be derived from leases and waits.
    pub(super) stats: Stats,
}

impl ModelScheduler {
    /// A scheduler with this configuration.
    pub fn new(config: &SchedulerConfig) -> ModelScheduler {
        let default = Tenant::new(TenantConfig::default());
        ModelScheduler {
            config: *config,
            held: Vec::new(),
            assigned: VecDeque::new(),
            queued: Vec::new(),
            classes: vec![Class::default(); config.classes.into()],
            tenants: BTreeMap::from([(DEFAULT_TENANT, default)]),
            weight_peak: 1,
            shedding: None,
            turns: Turns::default(),
            now_ns: 0,
            advanced_ns: None,
            next_id: DEFAULT_TENANT,
            withheld: 0,
            to_withhold: 0,
            stats: Stats::default(),
        }
    }

    /// Age of the oldest lease with a deadline.
    pub fn oldest_ns(&self) -> u64 {
        let timed = self.leases().filter_map(|lease| lease.timed);
        timed.map(|timed| timed.lease_info(self.now_ns).held_ns).max().unwrap_or(0)
    }

    /// A buffer, if one may be had without waiting.
    pub(super) fn try_request_timed(&mut self, ask: Ask, has_deadline: bool) -> Result<Option<u64>, i32> {
        let tenant = self.resolve(ask.tenant)?;
        self.try_request_as(ask, tenant, has_deadline)
    }

    pub(super) fn request_timed(&mut self, ask: Ask, has_deadline: bool) -> Result<Asked, i32> {
        let tenant = self.resolve(ask.tenant)?;
        self.request_as(ask, tenant, has_deadline)
    }

    /// Requests for a tenant that may be removed already.
    pub(super) fn request_as(&mut self, ask: Ask, tenant: u64, has_deadline: bool) -> Result<Asked, i32> {
        if let Some(lease) = self.try_request_as(ask, tenant, has_deadline)? {
            return Ok(Asked::Lease(lease));
        }
        if self.waits() == self.config.waiters_max as usize {
            return self.refuse(DEMUXBUF_ERR_TABLE_FULL);
        }
        let Ask { token, size_index, .. } = ask;
        let class = usize::from(ask.class);
        let id = self.new_id();
        self.queued.push(Wait {
            id,
            token,
            class,
            tenant,
            size_index,
            has_deadline,
            since_ns: self.now_ns,
            place: id,
            bypasses: 0,
        });
        self.place(tenant);
        self.stats.scheduler.queued += 1;
        self.stats.scheduler.waiting_peak = self.stats.scheduler.waiting_peak.max(self.queued.len() as u32);
        self.hand_over();
        Ok(Asked::Wait(id))
    }

    fn try_request_as(&mut self, ask: Ask, tenant: u64, has_deadline: bool) -> Result<Option<u64>, i32> {
        let units = self.admit(ask, tenant)?;
        let class = usize::from(ask.class);
        if !self.may_have_now(class, tenant, units) {
            return Ok(None);
        }
        let lease = self.lease(ask.token, class, tenant, units, has_deadline);
        self.held.push(lease);
        self.take(tenant);
        self.stats.scheduler.granted_at_once += 1;
        self.hand_over();
        Ok(Some(lease.id))
    }

    /// Whether a request is granted without waiting.
    fn may_have_now(&self, class: usize, tenant: u64, units: u32) -> bool {
        let waits_already = self.queued.iter().any(|wait| wait.class == class && wait.tenant == tenant);
        let is_first = self.next_of(class).is_none() && !waits_already && !self.is_behind_larger(class);
        is_first && self.verdict(class, units) == Verdict::Fits && units <= self.left_of(tenant)
    }

    /// How many buffers of the default size a class may take without waiting, one after the other, for the default
    /// tenant.
    pub(super) fn could_take(&self, class: u8) -> u32 {
        let class = usize::from(class);
        let waits_already = self.queued.iter().any(|wait| wait.class == class && wait.tenant == DEFAULT_TENANT);
        if self.next_of(class).is_some() || waits_already || self.is_behind_larger(class) {
            return 0;
        }
        let fits = |units: &u32| self.verdict(class, *units) == Verdict::Fits && *units <= self.left_of(DEFAULT_TENANT);
        (1..=self.all()).take_while(fits).count() as u32
    }

    /// This many buffers are out of use from now on, as far as they are free.
    pub(super) fn set_withheld(&mut self, buffers: u32) {
        self.withheld = self.withheld.min(buffers);
        self.to_withhold = buffers - self.withheld;
        self.hand_over();
    }

    /// Free buffers that are to be out of use are so.
    pub(super) fn withhold(&mut self) {
        let free = (self.free() / self.config.sizes[0]).min(self.to_withhold);
        (self.withheld, self.to_withhold) = (self.withheld + free, self.to_withhold - free);
    }

    /// Whether a buffer is to be withheld, or a wait is queued that a buffer more could serve, and that no cap of its
    /// class or of its tenant blocks.
    pub(super) fn is_wanted(&self) -> bool {
        if self.to_withhold > 0 {
            return true;
        }
        (0..usize::from(self.config.classes))
            .any(|class| self.left_of_class(class) > 0 && self.next_of(class).is_some())
    }

    /// A lease counts in this class, and for the default tenant, from now on, by a handle of its own; none if the cap
    /// of the class does not allow it.
    pub(super) fn reassign(&mut self, lease: u64, class: u8) -> Option<u64> {
        let class = usize::from(class);
        let held = *self.held.iter().find(|held| held.id == lease).expect("a lease in force");
        if held.class != class && held.units > self.left_of_class(class) {
            return None;
        }
        let id = self.new_id();
        let moved = self.held.iter_mut().find(|held| held.id == lease).expect("a lease in force");
        (moved.id, moved.class, moved.tenant, moved.timed) = (id, class, DEFAULT_TENANT, None);
        self.place(held.tenant);
        self.forget_if_done(held.tenant);
        self.hand_over();
        Some(id)
    }

    fn resolve(&mut self, tenant: Option<u64>) -> Result<u64, i32> {
        let found = tenant.map_or(Some(DEFAULT_TENANT), |tenant| self.find(tenant));
        found.map_or_else(|| self.refuse(DEMUXBUF_ERR_STALE), Ok)
    }

    /// What is asked for in units, unless it names what is not there or could never be granted.
    fn admit(&mut self, ask: Ask, tenant: u64) -> Result<u32, i32> {
        let class = usize::from(ask.class);
        if class >= self.classes.len() {
            return self.refuse(DEMUXBUF_ERR_CLASS);
        }
        let units = self.units_of(ask.size_index);
        if units == 0 {
            return self.refuse(UNKNOWN_SIZE);
        }
        let possible = (self.all() - self.reserve_of(class)).min(self.cap_of(class)).min(self.tenants[&tenant].cap);
        if units > possible { self.refuse(DEMUXBUF_ERR_TOO_LARGE) } else { Ok(units) }
    }

    fn refuse<T>(&mut self, status: i32) -> Result<T, i32> {
        self.stats.scheduler.refused += 1;
        Err(status)
    }

    pub(super) fn holds(&self, lease: u64) -> bool {
        self.held.iter().any(|held| held.id == lease)
    }

    pub(super) fn classes(&self) -> usize {
        self.classes.len()
    }

    /// Waits that are not over: queued, or assigned and not picked up.
    pub(super) fn waits(&self) -> usize {
        self.queued.len() + self.assigned.len()
    }

    pub(super) fn wait(&self, wait: u64) -> Option<WaitInfo> {
        let queued = self.queued.iter().map(|entry| (entry, false));
        let mut all = queued.chain(self.assigned.iter().map(|(entry, _)| (entry, true)));
        let (entry, is_assigned) = all.find(|(entry, _)| entry.id == wait)?;
        Some(filled!(WaitInfo::default();
            token: entry.token,
            class: entry.class as u8,
            age_ns: self.now_ns - entry.since_ns,
            bypasses: entry.bypasses,
            has_deadline: entry.has_deadline,
            is_assigned: is_assigned,
        ))
    }

    /// Units of a buffer of this size; 0 if there is no such size.
    pub(super) fn units_of(&self, size_index: u8) -> u32 {
        self.config.sizes.get(usize::from(size_index)).copied().unwrap_or(0)
    }

    fn leases(&self) -> impl Iterator<Item = &Lease> {
        self.held.iter().chain(self.assigned.iter().map(|(_, lease)| lease))
    }

    fn out_of(&self, mut belongs: impl FnMut(&Lease) -> bool) -> u32 {
        self.leases().filter(|lease| belongs(lease)).map(|lease| lease.units).sum()
    }

    fn all(&self) -> u32 {
        self.config.buffers * self.config.sizes[0]
    }

    fn free(&self) -> u32 {
        self.all() - self.out_of(|_| true) - self.withheld * self.config.sizes[0]
    }

    fn reserve_of(&self, class: usize) -> u32 {
        self.config.reserves[class].saturating_mul(self.config.sizes[0])
    }

    fn cap_of(&self, class: usize) -> u32 {
        self.config.class_caps[class].saturating_mul(self.config.sizes[0])
    }

    /// Units that may still be taken in a class.
    fn left_of_class(&self, class: usize) -> u32 {
        self.cap_of(class) - self.out_of(|lease| lease.class == class)
    }

    /// Units a tenant may still take.
    fn left_of(&self, tenant: u64) -> u32 {
        self.tenants[&tenant].cap.saturating_sub(self.out_of(|lease| lease.tenant == tenant))
    }

    /// When to advance the clock for what is due then.
    fn host_ns(&self, due_ns: u64) -> Option<u64> {
        let left_ns = due_ns.saturating_sub(self.now_ns).min(self.step_max_ns());
        self.advanced_ns.unwrap_or(0).checked_add(left_ns)
    }

    fn step_max_ns(&self) -> u64 {
        self.config.lease_ns.map_or(u64::MAX, |lease_ns| (lease_ns / 8).max(1))
    }

    fn new_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    fn lease(&mut self, token: u64, class: usize, tenant: u64, units: u32, has_deadline: bool) -> Lease {
        let timed = if has_deadline { self.timed() } else { None };
        Lease { id: self.new_id(), token, class, tenant, units, timed }
    }

    /// A tenant has just been granted a buffer.
    fn take(&mut self, tenant: u64) {
        self.tenants.get_mut(&tenant).expect("a tenant in use").granted += 1;
        self.place(tenant);
        let out = self.leases().count() as u32;
        self.stats.scheduler.leased_peak = self.stats.scheduler.leased_peak.max(out);
    }

    /// A tenant that is removed goes with its last lease and wait.
    fn forget_if_done(&mut self, tenant: u64) {
        let Tenant { is_retiring, .. } = self.tenants[&tenant];
        let has_out = self.leases().any(|lease| lease.tenant == tenant);
        if is_retiring && !has_out && self.queued.iter().all(|wait| wait.tenant != tenant) {
            self.tenants.remove(&tenant);
        }
    }

    /// A tenant that may be named.
    fn find(&self, tenant: u64) -> Option<u64> {
        let live = self.tenants.get(&tenant).is_some_and(|entry| !entry.is_retiring);
        (live && tenant != DEFAULT_TENANT).then_some(tenant)
    }
}

impl Tenant {
    fn new(tenant_config: TenantConfig) -> Tenant {
        let TenantConfig { weight, guaranteed, cap } = tenant_config;
        Tenant { weight, guaranteed, cap, granted: 0, is_retiring: false }
    }
}

impl System for ModelScheduler {
    const HAS_RECEIVERS: bool = false;

    fn request(&mut self, ask: Ask) -> Result<Asked, i32> {
        self.request_timed(ask, true)
    }

    fn try_request(&mut self, ask: Ask) -> Result<Option<u64>, i32> {
        self.try_request_timed(ask, true)
    }

    fn release(&mut self, lease: u64) -> Result<(), i32> {
        let Some(at) = self.held.iter().position(|held| held.id == lease) else {
            return self.refuse(DEMUXBUF_ERR_STALE);
        };
        let Lease { tenant, .. } = self.held.remove(at);
        self.stats.scheduler.released += 1;
        self.gave(lease, tenant);
        self.hand_over();
        Ok(())
    }

    fn cancel(&mut self, wait: u64) -> Result<(), i32> {
        if let Some(at) = self.assigned.iter().position(|(entry, _)| entry.id == wait) {
            let (_, lease) = self.assigned.remove(at).expect("it was found");
            self.gave(lease.id, lease.tenant);
        } else if let Some(at) = self.queued.iter().position(|entry| entry.id == wait) {
            let Wait { class, tenant, .. } = self.queued.remove(at);
            self.place(tenant);
            self.forget_if_done(tenant);
            if self.next_of(class).is_none() {
                self.classes[class].bypassed = 0;
            }
        } else {
            return self.refuse(DEMUXBUF_ERR_STALE);
        }
        self.stats.scheduler.cancelled += 1;
        self.hand_over();
        Ok(())
    }

    fn poll_notice(&mut self) -> Option<Notice> {
        let (wait, lease) = self.assigned.pop_front()?;
        self.held.push(lease);
        Some(Notice::Lease { wait: wait.id, token: wait.token, lease: lease.id })
    }

    fn tick(&mut self, now_ns: u64) {
        // The first is the origin; of a long step only an eighth of a lease counts.
        let last_ns = self.advanced_ns.unwrap_or(now_ns);
        let step_ns = now_ns.saturating_sub(last_ns);
        let counted_ns = step_ns.min(self.step_max_ns());
        self.now_ns += counted_ns;
        self.advanced_ns = Some(last_ns.max(now_ns));
        self.stats.scheduler.clock_backwards += u64::from(now_ns < last_ns);
        self.stats.reclaim.clock_skipped_ns += step_ns - counted_ns;
    }

    fn poll_timeout(&mut self) -> Option<u64> {
        self.host_ns(self.next_demand_ns()?)
    }

    fn progress(&mut self, lease: u64, bytes: u64) -> Result<(), i32> {
        if !self.holds(lease) {
            return Err(DEMUXBUF_ERR_STALE);
        }
        self.progressed(lease, bytes);
        Ok(())
    }

    fn poll_reclaim(&mut self) -> Option<Demand> {
        self.demand()
    }

    fn create_tenant(&mut self, tenant_config: TenantConfig) -> Result<u64, i32> {
        let default = self.config.sizes[0];
        let guaranteed: u32 = self.tenants.values().map(|tenant| tenant.guaranteed).sum();
        let left = (self.all() - guaranteed) / default;
        let allowed = (1..=WEIGHT_MAX).contains(&tenant_config.weight)
            && tenant_config.cap > 0
            && tenant_config.guaranteed <= left.min(tenant_config.cap);
        if !allowed {
            return self.refuse(DEMUXBUF_ERR_RANGE);
        }
        if self.tenants.len() as u32 > self.config.tenants_max {
            return self.refuse(DEMUXBUF_ERR_TABLE_FULL);
        }
        let in_units = |buffers: u32| buffers.saturating_mul(default);
        let tenant_config = TenantConfig {
            guaranteed: in_units(tenant_config.guaranteed),
            cap: in_units(tenant_config.cap),
            ..tenant_config
        };
        let id = self.new_id();
        self.tenants.insert(id, Tenant::new(tenant_config));
        self.weight_peak = self.weight_peak.max(tenant_config.weight);
        Ok(id)
    }

    fn remove_tenant(&mut self, tenant: u64) -> Result<(), i32> {
        let Some(tenant) = self.find(tenant) else {
            return self.refuse(DEMUXBUF_ERR_STALE);
        };
        let entry = self.tenants.get_mut(&tenant).expect("it was found");
        (entry.is_retiring, entry.guaranteed) = (true, 0);
        self.place(tenant);
        self.forget_if_done(tenant);
        self.hand_over();
        Ok(())
    }

    fn describe_tenant(&mut self, tenant: u64) -> Result<TenantInfo, i32> {
        let entry = self.tenants.get(&tenant).filter(|_| tenant != DEFAULT_TENANT).ok_or(DEMUXBUF_ERR_STALE)?;
        Ok(filled!(TenantInfo::default();
            weight: entry.weight,
            outstanding_units: self.out_of(|lease| lease.tenant == tenant),
            waiting: self.queued.iter().filter(|wait| wait.tenant == tenant).count() as u32,
            granted: entry.granted,
            is_retiring: entry.is_retiring,
        ))
    }

    fn describe_wait(&self, wait: u64) -> Option<Result<WaitInfo, i32>> {
        Some(self.wait(wait).ok_or(DEMUXBUF_ERR_STALE))
    }

    fn describe_lease(&self, lease: u64) -> Option<Result<Option<LeaseInfo>, i32>> {
        let held = self.held.iter().find(|held| held.id == lease);
        Some(held.map(|held| held.timed.map(|timed| timed.lease_info(self.now_ns))).ok_or(DEMUXBUF_ERR_STALE))
    }

    fn bypass_bound(&mut self) -> u64 {
        self.bound()
    }

    fn stats(&mut self) -> Stats {
        let mut stats = self.stats;
        let scheduler = &mut stats.scheduler;
        (scheduler.capacity, scheduler.free) = (self.all(), self.free());
        (scheduler.withheld, scheduler.to_withhold) = (self.withheld, self.to_withhold);
        (scheduler.leased, scheduler.assigned) = (self.held.len() as u32, self.assigned.len() as u32);
        scheduler.waiting = self.queued.len() as u32;
        for class in 0..CLASSES_MAX {
            scheduler.waiting_by_class[class] = self.queued.iter().filter(|wait| wait.class == class).count() as u32;
            scheduler.outstanding_by_class[class] = self.out_of(|lease| lease.class == class);
        }
        stats
    }

    fn check_invariants(&mut self) -> Result<(), String> {
        let mut ids: Vec<u64> = self.leases().map(|lease| lease.id).collect();
        let waits = || self.queued.iter().chain(self.assigned.iter().map(|(wait, _)| wait));
        ids.extend(waits().map(|wait| wait.id));
        let count = ids.len();
        ids.sort_unstable();
        ids.dedup();
        let within_cap = |class: usize| self.out_of(|lease| lease.class == class) <= self.cap_of(class);
        let is_idle =
            |class: usize| self.next_of(class).is_some_and(|units| self.verdict(class, units) == Verdict::Fits);
        let in_order = |(at, wait): (usize, &Wait)| {
            let later =
                self.queued[at + 1..].iter().filter(|other| (other.class, other.tenant) == (wait.class, wait.tenant));
            later.clone().all(|other| wait.place < other.place && wait.bypasses >= other.bypasses)
        };
        let knows = |tenant: u64| self.tenants.contains_key(&tenant);
        let rules = [
            (
                "I1: no more is outstanding and withheld than there is",
                self.out_of(|_| true) + self.withheld * self.config.sizes[0] <= self.all(),
            ),
            ("I3: no buffer is free while one is to be withheld", self.to_withhold == 0 || self.free() == 0),
            ("I1: no class has more outstanding than its cap", (0..self.classes()).all(within_cap)),
            (
                "I1: no tenant has more outstanding than its cap",
                self.tenants.iter().all(|(&id, tenant)| self.out_of(|lease| lease.tenant == id) <= tenant.cap),
            ),
            (
                "I1: no more is guaranteed than there is",
                self.tenants.values().map(|tenant| tenant.guaranteed).sum::<u32>() <= self.all(),
            ),
            ("I2: every id is in one place", ids.len() == count),
            (
                "I2: a tenant in use is not gone",
                self.leases().map(|lease| lease.tenant).chain(waits().map(|wait| wait.tenant)).all(knows),
            ),
            (
                "I3: no buffer is free while an eligible waiter is queued",
                !(0..self.classes()).any(|class| is_idle(class) && !self.is_behind_larger(class)),
            ),
            ("I6: first in, first out", self.queued.iter().enumerate().all(in_order)),
            ("I6: at most W bypasses of a waiter", waits().all(|wait| wait.bypasses <= self.bound())),
            ("one lease at a time is being shed", self.is_shedding_sound()),
        ];
        match rules.iter().find(|(_, holds)| !holds) {
            Some((rule, _)) => Err(format!("{rule}: {self:?}")),
            None => Ok(()),
        }
    }
}

impl ModelScheduler {
    /// A lease is over.
    fn gave(&mut self, lease: u64, tenant: u64) {
        self.shedding = self.shedding.filter(|&(shed, _)| shed != lease);
        self.place(tenant);
        self.forget_if_done(tenant);
    }

    fn is_shedding_sound(&self) -> bool {
        let is_expired = |id: u64| {
            self.leases().any(|lease| {
                lease.id == id && lease.timed.is_some_and(|timed| matches!(timed.phase, LeasePhase::Expired { .. }))
            })
        };
        self.shedding.is_none_or(|(lease, since_ns)| since_ns <= self.now_ns && is_expired(lease))
    }
}
