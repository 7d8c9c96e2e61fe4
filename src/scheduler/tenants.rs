//! Fair shares: whose turn is it inside a class?
//!
//! A *flow* is what one tenant waits for in one class, first in, first out. The flows of a class that may be served
//! stand in its *open* ring, where deficit round robin (Shreedhar and Varghese, SIGCOMM 1995) serves `weight` buffers
//! of the largest size a turn. A flow whose tenant is below its guaranteed share stands in the *entitled* ring as well,
//! which goes first; after `burst` entitled grants one goes to the open ring, so that nobody waits for ever. A flow
//! keeps its place in the open ring whatever becomes of its entitlement. One whose tenant is at its cap stands in none.

use super::config::{CLASSES_MAX, SIZES_MAX, SchedulerConfig};
use super::ensure;
use super::id::{Generation, TenantId};
use super::list::{Linked, Links, List, NIL};
use super::waits::{Wait, WaitState};
use alloc::vec::Vec;

/// The largest weight of a tenant.
pub const WEIGHT_MAX: u32 = 1_000;

/// What a tenant may have. Counts are buffers of the default size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub struct TenantConfig {
    /// Share of a class's grants, relative to the other tenants that wait: 1 to [`WEIGHT_MAX`].
    pub weight: u32,
    /// Buffers it gets before those who have their guaranteed share already. While it does not want them others
    /// borrow them; the next that are released are its own again. All guarantees together are at most the pool.
    pub guaranteed: u32,
    /// The most buffers it may have; `u32::MAX` for no cap.
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
    /// What it has out, in units of the pool's smallest common size (see
    /// [`SchedulerConfig::sizes`](super::SchedulerConfig)).
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
    out: u32,
    waiting: u32,
    /// Those who will request in its name: it stays for as long as there are any.
    pinned: u32,
    life: Life,
}

/// What one tenant waits for in one class.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flow {
    queue: List,
    open: Links,
    entitled: Links,
    deficit: u32,
    in_turn: bool,
    in_open: bool,
    in_entitled: bool,
    /// The class's count of grants when the tenant's cap last ceased to keep this flow back.
    free_since: u64,
}

const OPEN: usize = 1;
const ENTITLED: usize = 2;

impl Linked<OPEN> for Flow {
    fn links(&self) -> &Links {
        &self.open
    }

    fn links_mut(&mut self) -> &mut Links {
        &mut self.open
    }
}

impl Linked<ENTITLED> for Flow {
    fn links(&self) -> &Links {
        &self.entitled
    }

    fn links_mut(&mut self) -> &mut Links {
        &mut self.entitled
    }
}

/// Whose turn it is.
#[derive(Clone, Copy)]
pub(super) struct Turn {
    flow: u32,
    is_entitled: bool,
    /// The wait at the front of the flow.
    pub(super) wait: u32,
}

/// The rings of one class.
#[derive(Clone, Copy, Debug)]
struct Rings {
    open: List<OPEN>,
    entitled: List<ENTITLED>,
    /// Entitled grants since the last open one, while somebody waited for that.
    entitled_run: u32,
    /// Grants of this class that its flows could have had.
    grants: u64,
}

/// The tenant of requests that name none. What it has out is not counted: nothing limits it.
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
}

impl Tenants {
    /// Only the tenant of those who name none, in tables that were reserved for `max` more.
    pub(super) fn new(config: &SchedulerConfig, tenants: Vec<Tenant>, flows: Vec<Flow>) -> Tenants {
        let rings = Rings { open: List::EMPTY, entitled: List::EMPTY, entitled_run: 0, grants: 0 };
        let mut all = Tenants {
            tenants,
            flows,
            rings: [rings; CLASSES_MAX],
            classes: usize::from(config.classes),
            free: NIL,
            max: config.tenants_max,
            tag: config.tag,
            sizes: config.sizes,
            burst: config.class_burst,
            guaranteed: 0,
            weight_peak: 1,
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
        self.free_if_done(index);
    }

    #[inline]
    fn free_if_done(&mut self, index: u32) {
        let tenant = &mut self.tenants[index as usize];
        if tenant.life == Life::Retiring && tenant.out == 0 && tenant.waiting == 0 && tenant.pinned == 0 {
            tenant.life = Life::Free;
            tenant.generation = tenant.generation.next();
            tenant.next_free = self.free;
            self.free = index;
        }
    }

    pub(super) fn id(&self, index: u32) -> TenantId {
        TenantId::new(index, self.tenants[index as usize].generation)
    }

    /// The index of a tenant that was created and not removed; no handle names the one of those who name none.
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
            outstanding_units: entry.out,
            waiting: entry.waiting,
            granted: entry.granted,
            is_retiring: entry.life == Life::Retiring,
        })
    }

    /// Keeps a tenant while somebody may request in its name.
    pub(super) fn pin(&mut self, index: u32) {
        self.tenants[index as usize].pinned += 1;
    }

    pub(super) fn unpin(&mut self, index: u32) {
        self.tenants[index as usize].pinned -= 1;
        self.free_if_done(index);
    }

    /// The most tenants beside tenant 0.
    pub(super) fn max(&self) -> u32 {
        self.max
    }

    /// Units guaranteed to all tenants together.
    pub(super) fn guaranteed(&self) -> u32 {
        self.guaranteed
    }

    /// The most grants of a class between two of the same flow that it could have had, and one more: the rounds of
    /// the bound *W*. In a turn each other flow of the open ring gets `weight` times the largest size, and each open
    /// grant lets `burst` entitled ones pass.
    pub(super) fn rounds_max(&self, waiters_max: u32) -> u64 {
        let others = u64::from(self.max.min(waiters_max.saturating_sub(1)));
        if others == 0 {
            return 1;
        }
        let smallest = self.sizes.iter().copied().filter(|&units| units > 0).min().unwrap_or(1);
        // With several sizes, what a turn left over because the next one was large may go to small ones later.
        let left_over = u64::from(self.quantum() > smallest);
        let a_turn = (u64::from(self.weight_peak) + left_over) * u64::from(self.quantum().div_ceil(smallest));
        let open = others.saturating_mul(a_turn).saturating_add(1);
        open.saturating_mul(u64::from(self.burst) + 1)
    }

    /// Waits queued in the name of a tenant.
    pub(super) fn waiting_of(&self, tenant: u32) -> u32 {
        self.tenants[tenant as usize].waiting
    }

    /// Whether the tenant's cap lets it take so many more units.
    #[inline(always)]
    pub(super) fn may_take(&self, tenant: u32, units: u32) -> bool {
        tenant == DEFAULT_TENANT || {
            let tenant = &self.tenants[tenant as usize];
            units <= tenant.cap.saturating_sub(tenant.out)
        }
    }

    /// Whether the tenant's cap is above so many units, so that it may take them one day.
    #[inline]
    pub(super) fn could_take(&self, tenant: u32, units: u32) -> bool {
        units <= self.tenants[tenant as usize].cap
    }

    /// Whether its cap keeps somebody of it back. Cost: O(classes).
    pub(super) fn is_cap_blocked(&self, tenant: u32) -> bool {
        let Some(entry) = self.tenants.get(tenant as usize).filter(|entry| entry.waiting > 0) else {
            return false;
        };
        let flows = self.flow(0, tenant)..self.flow(0, tenant + 1);
        entry.cap != u32::MAX && self.flows[flows].iter().any(|flow| !flow.queue.is_empty() && !flow.in_open)
    }

    /// Whether it waits for something in this class already.
    pub(super) fn is_waiting(&self, class: usize, tenant: u32) -> bool {
        !self.flows[self.flow(class, tenant)].queue.is_empty()
    }

    /// Whether somebody waits in this class whom no cap of his own keeps back.
    pub(super) fn is_ready(&self, class: usize) -> bool {
        !self.rings[class].open.is_empty()
    }

    /// Grants of this class that those who wait in it could have had.
    pub(super) fn grants(&self, class: usize) -> u64 {
        self.rings[class].grants
    }

    /// One more of them.
    pub(super) fn count_grant(&mut self, class: usize) {
        self.rings[class].grants += 1;
    }

    /// Grants that passed a queued wait which it could have had, since its tenant's cap last kept it back.
    pub(super) fn bypasses(&self, wait: &Wait) -> u64 {
        let class = usize::from(wait.class);
        let flow = &self.flows[self.flow(class, wait.tenant)];
        if flow.in_open { self.rings[class].grants - wait.bypasses.max(flow.free_since) } else { 0 }
    }

    /// Queues a wait.
    pub(super) fn push(&mut self, waits: &mut [Wait], index: u32) {
        let Wait { class, tenant, .. } = waits[index as usize];
        let flow = self.flow(class.into(), tenant);
        self.flows[flow].queue.push_back(waits, index);
        self.tenants[tenant as usize].waiting += 1;
        self.place(waits, flow);
    }

    /// Takes a wait out of its queue, because it is cancelled.
    pub(super) fn unlink(&mut self, waits: &mut [Wait], index: u32) {
        let tenant = waits[index as usize].tenant;
        self.leave_queue(waits, index);
        self.free_if_done(tenant);
    }

    /// Whose turn it is in this class.
    #[inline]
    pub(super) fn next(&self, waits: &[Wait], class: usize) -> Option<Turn> {
        let (flow, is_entitled) = self.choose(waits, class)?;
        Some(Turn { flow, is_entitled, wait: self.flows[flow as usize].queue.head })
    }

    /// Takes the wait that `next` named out of its queue and moves the rings on. Its tenant `took` a buffer next.
    pub(super) fn serve(&mut self, waits: &mut [Wait], class: usize, turn: Turn) {
        if turn.is_entitled {
            let rings = &mut self.rings[class];
            rings.entitled_run += 1;
            rings.entitled.unlink(&mut self.flows, turn.flow);
            rings.entitled.push_back(&mut self.flows, turn.flow);
        } else {
            self.rings[class].entitled_run = 0;
            self.move_on(waits, class, turn.flow);
        }
        self.leave_queue(waits, turn.wait);
    }

    /// A tenant has so many units more out.
    #[inline(always)]
    pub(super) fn took(&mut self, tenant: u32, units: u32) {
        if tenant != DEFAULT_TENANT {
            let entry = &mut self.tenants[tenant as usize];
            entry.out += units;
            entry.granted += 1;
        }
    }

    /// A tenant has so many units less out.
    #[inline(always)]
    pub(super) fn gave(&mut self, tenant: u32, units: u32) {
        if tenant != DEFAULT_TENANT {
            self.tenants[tenant as usize].out -= units;
            self.free_if_done(tenant);
        }
    }

    /// What a tenant has out has changed. Returns whether that may change what its limits mean for those who wait.
    pub(super) fn limit(&mut self, waits: &[Wait], tenant: u32) -> bool {
        let entry = &self.tenants[tenant as usize];
        let matters = entry.waiting > 0 && entry.is_limited();
        if matters {
            self.place_all(waits, tenant);
        }
        matters
    }

    /// Walks everything; for tests. `out` and `waiting` count a tenant's units and waits independently,
    /// `in_all` is both of all tenants.
    pub(super) fn check(
        &self,
        waits: &[Wait],
        out: impl Fn(u32) -> u32,
        waiting: impl Fn(u32) -> u32,
        in_all: (u32, u32),
    ) -> Result<(), &'static str> {
        // Those who are counted out right and are all that there is leave nothing for the others.
        let (mut all_out, mut all_waiting) = (out(DEFAULT_TENANT), 0);
        for (index, tenant) in (0..).zip(&self.tenants) {
            ensure(tenant.out == 0 || out(index) == tenant.out, "I1: a tenant has out what is counted")?;
            let waits = tenant.waiting == 0 || waiting(index) == tenant.waiting;
            ensure(waits, "I2: a tenant waits for what is counted")?;
            (all_out, all_waiting) = (all_out + tenant.out, all_waiting + tenant.waiting);
            ensure(tenant.out <= tenant.cap, "a tenant never has more out than its cap")?;
            let gone = tenant.life == Life::Free;
            let is_unused = index != DEFAULT_TENANT && tenant.out + tenant.waiting + tenant.pinned == 0;
            ensure(!gone || is_unused, "I2: a tenant in use is not gone")?;
        }
        ensure((all_out, all_waiting) == in_all, "what the tenants have out and wait for is all")?;
        for (index, flow) in (0..).zip(&self.flows) {
            let here = |_, wait: &Wait| {
                wait.state == WaitState::Queued && self.flow(wait.class.into(), wait.tenant) == index as usize
            };
            ensure(flow.queue.is_sound(waits, here), "I2: a queue is sound")?;
            let (open, entitled) = self.ring_membership(waits, index as usize);
            ensure((flow.in_open, flow.in_entitled) == (open, entitled), "a flow stands in the rings it belongs to")?;
        }
        for (class, rings) in self.rings.iter().enumerate() {
            let of_class = |flow: u32| flow as usize % self.classes == class;
            let open = rings.open.is_sound(&self.flows, |index, flow: &Flow| of_class(index) && flow.in_open);
            let entitled =
                rings.entitled.is_sound(&self.flows, |index, flow: &Flow| of_class(index) && flow.in_entitled);
            ensure(open && entitled, "I2: a ring is sound")?;
        }
        Ok(())
    }
}

impl Tenants {
    fn leave_queue(&mut self, waits: &mut [Wait], index: u32) {
        let Wait { class, tenant, .. } = waits[index as usize];
        let flow = self.flow(class.into(), tenant);
        self.flows[flow].queue.unlink(waits, index);
        self.tenants[tenant as usize].waiting -= 1;
        self.place(waits, flow);
    }

    fn flow(&self, class: usize, tenant: u32) -> usize {
        tenant as usize * self.classes + class
    }

    /// Units a flow of weight 1 may take in one turn: those of the largest size, so that each turn serves somebody.
    fn quantum(&self) -> u32 {
        self.sizes.iter().copied().max().unwrap_or(1)
    }

    fn need(&self, waits: &[Wait], flow: u32) -> u32 {
        let head = self.flows[flow as usize].queue.head;
        self.sizes[usize::from(waits[head as usize].size_index)]
    }

    /// Whose turn it is, and whether by entitlement.
    fn choose(&self, waits: &[Wait], class: usize) -> Option<(u32, bool)> {
        let rings = &self.rings[class];
        if !rings.entitled.is_empty() && rings.entitled_run < self.burst {
            return Some((rings.entitled.head, true));
        }
        if rings.open.is_empty() {
            return None;
        }
        let head = rings.open.head;
        let flow = &self.flows[head as usize];
        let turn_is_over = flow.in_turn && flow.deficit < self.need(waits, head);
        let next = if turn_is_over && flow.open.next != NIL { flow.open.next } else { head };
        Some((next, false))
    }

    /// The chosen flow of the open ring pays for its head.
    fn move_on(&mut self, waits: &[Wait], class: usize, chosen: u32) {
        let rings = &mut self.rings[class];
        let head = rings.open.head;
        if head != chosen {
            self.flows[head as usize].in_turn = false;
            rings.open.unlink(&mut self.flows, head);
            rings.open.push_back(&mut self.flows, head);
        }
        let need = self.need(waits, chosen);
        let turn = self.quantum() * self.tenants[chosen as usize / self.classes].weight;
        let flow = &mut self.flows[chosen as usize];
        if !flow.in_turn || flow.deficit < need {
            flow.deficit += turn;
            flow.in_turn = true;
        }
        flow.deficit -= need;
    }

    fn place_all(&mut self, waits: &[Wait], tenant: u32) {
        for class in 0..self.classes {
            self.place(waits, self.flow(class, tenant));
        }
    }

    /// In which rings a flow belongs: open, entitled.
    fn ring_membership(&self, waits: &[Wait], flow: usize) -> (bool, bool) {
        if self.flows[flow].queue.is_empty() {
            return (false, false);
        }
        let tenant = &self.tenants[flow / self.classes];
        if !tenant.is_limited() {
            return (true, false);
        }
        let open = self.need(waits, flow as u32) <= tenant.cap.saturating_sub(tenant.out);
        (open, open && tenant.out < tenant.guaranteed)
    }

    /// Puts a flow into the rings it belongs to.
    fn place(&mut self, waits: &[Wait], index: usize) {
        let (open, entitled) = self.ring_membership(waits, index);
        let rings = &mut self.rings[index % self.classes];
        let flow = &mut self.flows[index];
        let (was_open, was_entitled) = (flow.in_open, flow.in_entitled);
        if (open, entitled) == (was_open, was_entitled) {
            return;
        }
        (flow.in_open, flow.in_entitled) = (open, entitled);
        if open != was_open {
            (flow.deficit, flow.in_turn, flow.free_since) = (0, false, rings.grants);
        }
        match (was_open, open) {
            (false, true) => rings.open.push_back(&mut self.flows, index as u32),
            (true, false) => rings.open.unlink(&mut self.flows, index as u32),
            _ => {}
        }
        match (was_entitled, entitled) {
            (false, true) => rings.entitled.push_back(&mut self.flows, index as u32),
            (true, false) => rings.entitled.unlink(&mut self.flows, index as u32),
            _ => {}
        }
    }
}

/// For model checkers: the tenants, and the order of turns.
#[cfg(feature = "model-check")]
impl Tenants {
    pub(super) fn state_key(&self, state: &mut Vec<u64>, waits: &[Wait], write_wait: &dyn Fn(&mut Vec<u64>, u32)) {
        for tenant in &self.tenants {
            let Tenant { weight, guaranteed, cap, out, pinned, life, .. } = *tenant;
            state.extend([weight, guaranteed, cap, out, pinned, life as u32].map(u64::from));
        }
        for (class, rings) in self.rings.iter().enumerate().take(self.classes) {
            state.extend([class as u64, rings.entitled_run.into()]);
            state.extend(rings.open.iter(&self.flows).map(u64::from));
            state.push(u64::MAX);
            state.extend(rings.entitled.iter(&self.flows).map(u64::from));
            state.push(u64::MAX);
        }
        for flow in &self.flows {
            state.extend([flow.deficit, flow.in_turn.into()].map(u64::from));
            flow.queue.iter(waits).for_each(|wait| write_wait(state, wait));
            state.push(u64::MAX);
        }
    }
}

impl Tenant {
    /// Whether it matters how much it has out.
    fn is_limited(&self) -> bool {
        self.cap != u32::MAX || self.guaranteed > 0
    }

    fn new(tenant_config: TenantConfig, generation: Generation) -> Tenant {
        Tenant {
            granted: 0,
            generation,
            next_free: NIL,
            weight: tenant_config.weight,
            guaranteed: tenant_config.guaranteed,
            cap: tenant_config.cap,
            out: 0,
            waiting: 0,
            pinned: 0,
            life: Life::Live,
        }
    }
}

impl Flow {
    const EMPTY: Flow = Flow {
        queue: List::EMPTY,
        open: Links::NONE,
        entitled: Links::NONE,
        deficit: 0,
        in_turn: false,
        in_open: false,
        in_entitled: false,
        free_since: 0,
    };
}

#[cfg(test)]
mod tests;
