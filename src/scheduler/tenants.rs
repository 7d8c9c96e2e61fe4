//! The registry of tenants: what each may have, has outstanding and waits for. `fair_queue` has the order of turns,
//! `loads` that of what receivers keep.

mod fair_queue;
mod loads;

pub(super) use fair_queue::Turn;
pub use loads::LoadOrder;
#[cfg(feature = "std")]
pub(crate) use loads::{Load, Loads};

use super::config::{CLASSES_MAX, SIZES_MAX, SchedulerConfig};
use super::ensure;
use super::id::{Generation, TenantId};
use super::list::NIL;
use super::waits::Wait;
use alloc::vec::Vec;
use fair_queue::{Flow, Rings};
#[cfg(not(feature = "std"))]
use loads::Loads;

/// The largest weight of a tenant.
pub const WEIGHT_MAX: u32 = 1_000;

/// What a tenant may have. Counts are buffers of the default size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub struct TenantConfig {
    /// Share of a class's grants, relative to the other tenants that wait: 1 to [`WEIGHT_MAX`]. On the memory model,
    /// what its receivers and leases hold is divided by it.
    pub weight: u32,
    /// Buffers it gets before the tenants that have their guaranteed share already. While it does not want them others
    /// borrow them; the next that are released are its own again. All guarantees together are at most the pool. On the
    /// memory model, while it holds no more, nothing of it is evicted before its deadline.
    pub guaranteed: u32,
    /// The most buffers it may have; `u32::MAX` for no cap. On the memory model its receivers may keep less than a
    /// buffer more for each that borrows.
    pub cap: u32,
}

impl Default for TenantConfig {
    fn default() -> TenantConfig {
        TenantConfig { weight: 1, guaranteed: 0, cap: u32::MAX }
    }
}

/// How a tenant stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TenantInfo {
    /// Its share.
    pub weight: u32,
    /// What it has outstanding, in units of the pool's smallest common size (see
    /// [`SchedulerConfig::sizes`](super::SchedulerConfig)). On the memory model, with what its receivers keep, in whole
    /// buffers, rounded up.
    pub outstanding_units: u32,
    /// Its requests that wait.
    pub waiting: u32,
    /// Grants it got, at once or by hand-off.
    pub granted: u64,
    /// It is removed, and goes away with its last lease and wait.
    pub is_retiring: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Free,
    Live,
    Retiring,
}

/// One tenant, or a link of the free list.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tenant {
    granted: u64,
    generation: Generation,
    next_free: u32,
    weight: u32,
    guaranteed: u32,
    cap: u32,
    outstanding: u32,
    /// What its receivers keep, in units, rounded up.
    kept: u32,
    waiting: u32,
    /// Receivers and requests that name it: it stays for as long as there are any.
    pinned: u32,
    life: Life,
}

/// The tenant of requests that name none. What it has outstanding is not counted: nothing limits it.
const DEFAULT_TENANT: u32 = 0;

/// All tenants of a pool.
#[cfg_attr(feature = "model-check", derive(Clone))]
#[derive(Debug)]
pub(super) struct Tenants {
    tenants: Vec<Tenant>,
    /// By tenant, then class.
    flows: Vec<Flow>,
    rings: [Rings; CLASSES_MAX],
    classes: usize,
    free: u32,
    max: u32,
    tag: u8,
    /// Units of each size.
    sizes: [u32; SIZES_MAX],
    burst: u32,
    /// Units that are guaranteed to all tenants together.
    guaranteed: u32,
    weight_peak: u32,
    loads: Loads,
}

impl Tenants {
    /// Only the default tenant, in tables that were reserved for `max` more.
    pub(super) fn new(config: &SchedulerConfig, tenants: Vec<Tenant>, flows: Vec<Flow>) -> Tenants {
        let mut all = Tenants {
            tenants,
            flows,
            rings: [Rings::EMPTY; CLASSES_MAX],
            classes: usize::from(config.classes),
            free: NIL,
            max: config.tenants_max,
            tag: config.tag,
            sizes: config.sizes,
            burst: config.class_burst,
            guaranteed: 0,
            weight_peak: 1,
            loads: Loads::NONE,
        };
        all.add(TenantConfig::default());
        all
    }

    /// A tenant with this share, its counts in units. The handle is `None` if the table is full.
    pub(super) fn create(&mut self, tenant_config: TenantConfig) -> Option<TenantId> {
        let index = if self.free != NIL {
            let index = self.free;
            let entry = &mut self.tenants[index as usize];
            self.free = entry.next_free;
            *entry = Tenant::new(tenant_config, entry.generation);
            index
        } else if self.tenants.len() as u64 <= u64::from(self.max) {
            self.add(tenant_config)
        } else {
            return None;
        };
        self.guaranteed += tenant_config.guaranteed;
        self.weight_peak = self.weight_peak.max(tenant_config.weight);
        self.reorder(index);
        Some(self.id(index))
    }

    fn add(&mut self, tenant_config: TenantConfig) -> u32 {
        self.tenants.push(Tenant::new(tenant_config, Generation::first(self.tag)));
        self.flows.extend(core::iter::repeat_n(Flow::EMPTY, self.classes));
        self.tenants.len() as u32 - 1
    }

    /// Takes no more requests for it; it goes away with its last lease, wait and pin.
    pub(super) fn remove(&mut self, waits: &[Wait], index: u32) {
        let tenant = &mut self.tenants[index as usize];
        self.guaranteed -= tenant.guaranteed;
        tenant.guaranteed = 0;
        tenant.life = Life::Retiring;
        self.place_all(waits, index);
        self.reorder(index);
        self.free_if_done(index);
    }

    #[inline]
    fn free_if_done(&mut self, index: u32) {
        let tenant = &mut self.tenants[index as usize];
        if tenant.life == Life::Retiring && tenant.outstanding == 0 && tenant.waiting == 0 && tenant.pinned == 0 {
            tenant.life = Life::Free;
            tenant.generation = tenant.generation.next();
            tenant.next_free = self.free;
            self.free = index;
        }
    }

    pub(super) fn id(&self, index: u32) -> TenantId {
        TenantId::new(index, self.tenants[index as usize].generation)
    }

    /// The index of a tenant that was created and not removed; no handle names the default tenant.
    pub(super) fn find(&self, tenant: TenantId) -> Option<u32> {
        let entry = self.tenants.get(tenant.index() as usize)?;
        let live = entry.generation == tenant.generation() && entry.life == Life::Live;
        (live && tenant.index() != 0).then_some(tenant.index())
    }

    /// As `find`, for one that is removed but still in use as well.
    pub(super) fn describe(&self, tenant: TenantId) -> Option<TenantInfo> {
        let entry = self.tenants.get(tenant.index() as usize)?;
        let known = entry.generation == tenant.generation() && entry.life != Life::Free && tenant.index() != 0;
        known.then_some(TenantInfo {
            weight: entry.weight,
            outstanding_units: entry.used(),
            waiting: entry.waiting,
            granted: entry.granted,
            is_retiring: entry.life == Life::Retiring,
        })
    }

    /// Keeps a tenant while a receiver may request in its name.
    pub(super) fn pin(&mut self, index: u32) {
        self.tenants[index as usize].pinned += 1;
    }

    pub(super) fn unpin(&mut self, index: u32) {
        self.unpin_all(index, 1);
    }

    pub(super) fn unpin_all(&mut self, index: u32, pins: u32) {
        self.tenants[index as usize].pinned -= pins;
        self.free_if_done(index);
    }

    /// The most tenants beside tenant 0.
    pub(super) fn max(&self) -> u32 {
        self.max
    }

    /// Units that a tenant has outstanding.
    #[cfg(feature = "std")]
    pub(super) fn outstanding(&self, tenant: u32) -> u32 {
        self.tenants[tenant as usize].outstanding
    }

    /// Whether requests of a tenant wait.
    #[cfg(feature = "std")]
    pub(super) fn has_waits(&self, tenant: u32) -> bool {
        self.tenants.get(tenant as usize).is_some_and(|tenant| tenant.waiting > 0)
    }

    /// Whether it matters to its requests how much a tenant holds.
    #[cfg(feature = "std")]
    pub(super) fn is_limited(&self, tenant: u32) -> bool {
        self.tenants[tenant as usize].is_limited()
    }

    /// A tenant has this number of units more outstanding, which it was not granted.
    #[cfg(feature = "std")]
    pub(super) fn add_units(&mut self, tenant: u32, units: u32) {
        self.tenants[tenant as usize].outstanding += units;
        self.reorder(tenant);
    }

    /// Units guaranteed to all tenants together.
    pub(super) fn guaranteed(&self) -> u32 {
        self.guaranteed
    }

    /// Whether the tenant's cap lets it take this number of units more.
    #[inline(always)]
    pub(super) fn may_take(&self, tenant: u32, units: u32) -> bool {
        tenant == DEFAULT_TENANT || {
            let tenant = &self.tenants[tenant as usize];
            units <= tenant.cap.saturating_sub(tenant.used())
        }
    }

    /// Whether the tenant's cap is at least this number of units, so that it may take them one day.
    #[inline]
    pub(super) fn could_take(&self, tenant: u32, units: u32) -> bool {
        units <= self.tenants[tenant as usize].cap
    }

    /// A tenant has this number of units more outstanding.
    #[inline(always)]
    pub(super) fn took(&mut self, tenant: u32, units: u32) {
        if tenant != DEFAULT_TENANT {
            self.took_of(tenant, units);
        }
    }

    #[inline(never)]
    fn took_of(&mut self, tenant: u32, units: u32) {
        let entry = &mut self.tenants[tenant as usize];
        entry.outstanding += units;
        entry.granted += 1;
        self.reorder(tenant);
    }

    /// A tenant has this number of units less outstanding.
    #[inline(always)]
    pub(super) fn gave(&mut self, tenant: u32, units: u32) {
        if tenant != DEFAULT_TENANT {
            self.gave_of(tenant, units);
        }
    }

    #[inline(never)]
    fn gave_of(&mut self, tenant: u32, units: u32) {
        self.tenants[tenant as usize].outstanding -= units;
        self.reorder(tenant);
        self.free_if_done(tenant);
    }

    /// Units that one tenant has outstanding are another's from now on.
    pub(super) fn move_units(&mut self, from: u32, to: u32, units: u32) {
        if to != DEFAULT_TENANT {
            self.tenants[to as usize].outstanding += units;
            self.reorder(to);
        }
        self.gave(from, units);
    }

    /// Walks everything; for tests. `outstanding` and `waiting` count a tenant's units and waits independently,
    /// `in_all` is both of all tenants.
    pub(super) fn check(
        &self,
        waits: &[Wait],
        outstanding: impl Fn(u32) -> u32,
        waiting: impl Fn(u32) -> u32,
        in_all: (u32, u32),
    ) -> Result<(), &'static str> {
        // If the named tenants are counted right and are all that there is, nothing is left for the default tenant.
        let (mut all_outstanding, mut all_waiting) = (outstanding(DEFAULT_TENANT), 0);
        for (index, tenant) in (0..).zip(&self.tenants) {
            ensure(
                tenant.outstanding == 0 || outstanding(index) == tenant.outstanding,
                "I1: a tenant has outstanding what is counted",
            )?;
            let waits = tenant.waiting == 0 || waiting(index) == tenant.waiting;
            ensure(waits, "I2: a tenant waits for what is counted")?;
            (all_outstanding, all_waiting) = (all_outstanding + tenant.outstanding, all_waiting + tenant.waiting);
            ensure(tenant.outstanding <= tenant.cap, "a tenant never has more outstanding than its cap")?;
            let gone = tenant.life == Life::Free;
            let is_unused = index != DEFAULT_TENANT && tenant.used() + tenant.waiting + tenant.pinned == 0;
            ensure(!gone || is_unused, "I2: a tenant in use is not gone")?;
        }
        ensure((all_outstanding, all_waiting) == in_all, "what the tenants have outstanding and wait for is all")?;
        self.check_flows(waits)?;
        self.check_loads()
    }
}

/// For model checkers: the tenants, and the order of turns.
#[cfg(feature = "model-check")]
impl Tenants {
    pub(super) fn state_key(&self, state: &mut Vec<u64>, waits: &[Wait], write_wait: &dyn Fn(&mut Vec<u64>, u32)) {
        for tenant in &self.tenants {
            let Tenant { weight, guaranteed, cap, outstanding, pinned, life, .. } = *tenant;
            state.extend([weight, guaranteed, cap, outstanding, pinned, life as u32].map(u64::from));
        }
        self.write_flows(state, waits, write_wait);
    }
}

impl Tenant {
    /// Whether it matters how much it has outstanding.
    fn is_limited(&self) -> bool {
        self.cap != u32::MAX || self.guaranteed > 0
    }

    /// Units that it has outstanding, or its receivers keep.
    fn used(&self) -> u32 {
        self.outstanding + self.kept
    }

    fn new(tenant_config: TenantConfig, generation: Generation) -> Tenant {
        Tenant {
            granted: 0,
            generation,
            next_free: NIL,
            weight: tenant_config.weight,
            guaranteed: tenant_config.guaranteed,
            cap: tenant_config.cap,
            outstanding: 0,
            kept: 0,
            waiting: 0,
            pinned: 0,
            life: Life::Live,
        }
    }
}

#[cfg(test)]
mod tests;
