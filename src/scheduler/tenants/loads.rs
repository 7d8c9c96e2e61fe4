//! The order of tenants by load: what a tenant holds, relative to its weight.
//!
//! A tenant holds the cells of its receivers and the buffers of the host's own requests in its name. Tenants that want
//! something, or have something to be evicted, are in a binary heap for it, whose entries know their places.

use super::{Tenant, Tenants};
use crate::alloc_util::reserve;
use crate::scheduler::list::NIL;
use crate::scheduler::{ConfigError, ensure};
use alloc::vec::Vec;

/// Why a tenant is in an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadOrder {
    /// It has claims, and is not capped: least first.
    Claiming,
    /// It has receivers that are off, and is not capped: least first.
    Off,
    /// It has content that may go for others, and holds more than a buffer and its guarantee: greatest first.
    Evictable,
}

const ORDERS: [LoadOrder; 3] = [LoadOrder::Claiming, LoadOrder::Off, LoadOrder::Evictable];

/// What a tenant holds, and what it may hold. Counts are buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Load {
    pub(crate) held_bytes: u64,
    pub(crate) weight: u32,
    pub(crate) guaranteed: u32,
    pub(crate) cap: u32,
}

impl Load {
    /// Whether it holds as much as it may.
    pub(crate) fn is_capped(&self, unit_bytes: u32) -> bool {
        self.cap != u32::MAX && self.held_bytes >= u64::from(self.cap) * u64::from(unit_bytes)
    }

    fn belongs(&self, order: LoadOrder, unit_bytes: u32) -> bool {
        match order {
            LoadOrder::Claiming | LoadOrder::Off => !self.is_capped(unit_bytes),
            LoadOrder::Evictable => self.held_bytes > u64::from(self.guaranteed.max(1)) * u64::from(unit_bytes),
        }
    }

    /// Whether content of this tenant goes for a claim of another before its deadline: `claimant` is what that holds,
    /// of which a cell of `less_bytes` would be one of `more_bytes`.
    pub(crate) fn goes_for(&self, claimant: &Load, less_bytes: u32, more_bytes: u32) -> bool {
        let would_hold = claimant.held_bytes + u64::from(more_bytes) - u64::from(less_bytes);
        self.held_bytes * u64::from(claimant.weight) > 2 * would_hold * u64::from(self.weight)
    }
}

/// What the receivers of a tenant keep and want.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    kept_bytes: u64,
    /// As it was seen last.
    pub(super) load: Load,
    /// By order: whether it belongs there, but for what it holds.
    wants: [bool; 3],
    /// Its place in each heap, `NIL` for none.
    at: [u32; 3],
}

const UNUSED: Entry = Entry {
    kept_bytes: 0,
    load: Load { held_bytes: 0, weight: 1, guaranteed: 0, cap: u32::MAX },
    wants: [false; 3],
    at: [NIL; 3],
};

/// The orders; empty where no receiver has a tenant.
#[cfg_attr(feature = "model-check", derive(Clone))]
#[derive(Debug)]
pub(crate) struct Loads {
    pub(super) entries: Vec<Entry>,
    heaps: [Vec<u32>; 3],
    /// Bytes of a unit; 0 where nothing is counted.
    unit_bytes: u32,
}

impl Loads {
    pub(super) const NONE: Loads = Loads { entries: Vec::new(), heaps: [const { Vec::new() }; 3], unit_bytes: 0 };

    /// For at most this number of tenants beside the default one, and buffers of this size.
    pub(crate) fn new(tenants_max: u32, unit_bytes: u32) -> Result<Loads, ConfigError> {
        let reserve = || reserve("tenants_max", tenants_max + 1);
        let heaps = [reserve()?, reserve()?, reserve()?];
        Ok(Loads { entries: crate::alloc_util::reserve("tenants_max", tenants_max + 1)?, heaps, unit_bytes })
    }

    /// Bytes of the cells of a tenant's receivers.
    pub(crate) fn kept_bytes(&self, tenant: u32) -> u64 {
        self.entries.get(tenant as usize).map_or(0, |entry| entry.kept_bytes)
    }

    pub(crate) fn set_kept_bytes(&mut self, tenant: u32, kept_bytes: u64) {
        self.entry(tenant).kept_bytes = kept_bytes;
    }

    /// Whether it belongs into an order from now on, as far as what it holds allows. `true` if that is a change; then
    /// [`see`](Loads::see) is to follow.
    pub(crate) fn set_wants(&mut self, tenant: u32, order: LoadOrder, wants: bool) -> bool {
        core::mem::replace(&mut self.entry(tenant).wants[order as usize], wants) != wants
    }

    /// The first in an order.
    pub(crate) fn first_in(&self, order: LoadOrder) -> Option<u32> {
        self.heaps[order as usize].first().copied()
    }

    /// Tenants up to the last of which something is known.
    #[cfg(feature = "std")]
    pub(crate) fn known(&self) -> usize {
        self.entries.len()
    }

    /// How many tenants are in an order.
    #[cfg(feature = "std")]
    pub(crate) fn len(&self, order: LoadOrder) -> u32 {
        self.heaps[order as usize].len() as u32
    }

    /// Whether something is known of a tenant, so that it may be in an order.
    #[inline]
    pub(crate) fn knows(&self, tenant: u32) -> bool {
        (tenant as usize) < self.entries.len()
    }

    fn entry(&mut self, tenant: u32) -> &mut Entry {
        if self.entries.len() <= tenant as usize {
            // Inside what was reserved, touched when it is needed.
            self.entries.resize(tenant as usize + 1, UNUSED);
        }
        &mut self.entries[tenant as usize]
    }

    /// The load of a tenant is this, and it is where it belongs from now on.
    pub(crate) fn see(&mut self, tenant: u32, load: Load) {
        self.entry(tenant).load = load;
        ORDERS.into_iter().for_each(|order| self.reorder_in(tenant, order));
    }

    fn reorder_in(&mut self, tenant: u32, order: LoadOrder) {
        let (belongs, at) = (self.belongs(tenant, order), self.entries[tenant as usize].at[order as usize]);
        let heap = &mut self.heaps[order as usize];
        match (at, belongs) {
            (NIL, true) => {
                heap.push(tenant);
                let last = heap.len() - 1;
                self.sift(order, last);
            }
            (NIL, false) => {}
            (at, true) => self.sift(order, at as usize),
            (at, false) => {
                heap.swap_remove(at as usize);
                self.entries[tenant as usize].at[order as usize] = NIL;
                if (at as usize) < self.heaps[order as usize].len() {
                    self.sift(order, at as usize);
                }
            }
        }
    }

    fn belongs(&self, tenant: u32, order: LoadOrder) -> bool {
        let Entry { wants, load, .. } = &self.entries[tenant as usize];
        wants[order as usize] && load.belongs(order, self.unit_bytes)
    }

    /// Whether one tenant comes before another.
    fn is_before(&self, order: LoadOrder, one: u32, other: u32) -> bool {
        let [of_one, of_other] = [one, other].map(|tenant| self.entries[tenant as usize].load);
        let one_load = of_one.held_bytes * u64::from(of_other.weight);
        let other_load = of_other.held_bytes * u64::from(of_one.weight);
        let is_less = if order == LoadOrder::Evictable { one_load > other_load } else { one_load < other_load };
        is_less || (one_load == other_load && one < other)
    }

    /// Moves an entry to where it belongs.
    fn sift(&mut self, order: LoadOrder, mut at: usize) {
        while at > 0 && self.is_child_before(order, at) {
            self.swap(order, at, (at - 1) / 2);
            at = (at - 1) / 2;
        }
        let heap = |loads: &Loads, at: usize| loads.heaps[order as usize].get(at).copied();
        loop {
            let mut next = at;
            for child in [2 * at + 1, 2 * at + 2] {
                if let (Some(one), Some(other)) = (heap(self, child), heap(self, next)) {
                    next = if self.is_before(order, one, other) { child } else { next };
                }
            }
            if next == at {
                break;
            }
            self.swap(order, at, next);
            at = next;
        }
        self.note_place(order, at);
    }

    fn is_child_before(&self, order: LoadOrder, at: usize) -> bool {
        let heap = &self.heaps[order as usize];
        self.is_before(order, heap[at], heap[(at - 1) / 2])
    }

    fn swap(&mut self, order: LoadOrder, one: usize, other: usize) {
        self.heaps[order as usize].swap(one, other);
        self.note_place(order, one);
        self.note_place(order, other);
    }

    fn note_place(&mut self, order: LoadOrder, at: usize) {
        let tenant = self.heaps[order as usize][at];
        self.entries[tenant as usize].at[order as usize] = at as u32;
    }

    /// Walks everything; for tests. Each tenant has to be where its load as it was seen last puts it.
    pub(crate) fn check(&self) -> Result<(), &'static str> {
        for order in ORDERS {
            let heap = &self.heaps[order as usize];
            let is_sound = |at: usize| {
                let is_known = self.entries[heap[at] as usize].at[order as usize] == at as u32;
                is_known && (at == 0 || !self.is_child_before(order, at))
            };
            ensure((0..heap.len()).all(is_sound), "the order of tenants by load is sound")?;
            let belonging = (0..self.entries.len() as u32).filter(|&tenant| self.belongs(tenant, order)).count();
            let all_belong = heap.iter().all(|&tenant| self.belongs(tenant, order));
            ensure(all_belong && belonging == heap.len(), "each tenant is in the orders by load that it belongs to")?;
        }
        Ok(())
    }
}

impl Tenants {
    /// Counts what receivers keep from now on, in buffers of this size, each of which is a unit.
    pub(in crate::scheduler) fn count_kept(&mut self, unit_bytes: u32) -> Result<(), ConfigError> {
        self.loads = Loads::new(self.max, unit_bytes)?;
        Ok(())
    }

    /// A cell of a receiver of this tenant has another size now.
    pub(in crate::scheduler) fn keep(&mut self, tenant: u32, less_bytes: u32, more_bytes: u32) {
        self.set_kept_bytes(tenant, self.kept_bytes(tenant) + u64::from(more_bytes) - u64::from(less_bytes));
    }

    /// The receivers of this tenant keep this much.
    pub(in crate::scheduler) fn set_kept_bytes(&mut self, tenant: u32, kept_bytes: u64) {
        self.loads.set_kept_bytes(tenant, kept_bytes);
        self.tenants[tenant as usize].kept = kept_bytes.div_ceil(u64::from(self.loads.unit_bytes)) as u32;
        self.reorder(tenant);
    }

    /// Whether the tenant belongs into an order from now on, as far as what it holds allows.
    pub(in crate::scheduler) fn set_wants(&mut self, tenant: u32, order: LoadOrder, wants: bool) {
        if self.loads.set_wants(tenant, order, wants) {
            self.reorder(tenant);
        }
    }

    /// The first in an order.
    pub(in crate::scheduler) fn first_in(&self, order: LoadOrder) -> Option<u32> {
        self.loads.first_in(order)
    }

    /// Bytes of the cells of its receivers.
    pub(in crate::scheduler) fn kept_bytes(&self, tenant: u32) -> u64 {
        self.loads.kept_bytes(tenant)
    }

    pub(in crate::scheduler) fn load(&self, tenant: u32) -> Load {
        let Tenant { outstanding, weight, guaranteed, cap, .. } = self.tenants[tenant as usize];
        let held_bytes = self.kept_bytes(tenant) + u64::from(outstanding) * u64::from(self.loads.unit_bytes);
        Load { held_bytes, weight, guaranteed, cap }
    }

    /// Whether it holds as much as it may.
    pub(in crate::scheduler) fn is_capped(&self, tenant: u32) -> bool {
        self.load(tenant).is_capped(self.loads.unit_bytes)
    }

    /// Whether it may have a unit more outstanding if its receivers keep this much less.
    pub(in crate::scheduler) fn may_exchange(&self, tenant: u32, less_bytes: u32) -> bool {
        let kept_bytes = self.kept_bytes(tenant) - u64::from(less_bytes);
        let kept = kept_bytes.div_ceil(u64::from(self.loads.unit_bytes.max(1))) as u32;
        let entry = &self.tenants[tenant as usize];
        kept + entry.outstanding < entry.cap
    }

    /// The tenant whose content goes for a claim of another before its deadline, if that is fair: the claimant's cell
    /// of `less_bytes` would be one of `more_bytes`.
    pub(in crate::scheduler) fn next_to_evict(&self, claimant: u32, less_bytes: u32, more_bytes: u32) -> Option<u32> {
        let tenant = self.first_in(LoadOrder::Evictable).filter(|&tenant| tenant != claimant)?;
        self.load(tenant).goes_for(&self.load(claimant), less_bytes, more_bytes).then_some(tenant)
    }

    /// What a tenant holds or wants has changed.
    #[inline]
    pub(super) fn reorder(&mut self, tenant: u32) {
        if self.loads.knows(tenant) {
            self.loads.see(tenant, self.load(tenant));
        }
    }

    /// The part of `check` about loads.
    pub(super) fn check_loads(&self) -> Result<(), &'static str> {
        self.loads.check()?;
        for (tenant, entry) in (0..).zip(&self.tenants).filter(|&(tenant, _)| self.loads.knows(tenant)) {
            let Entry { load, wants, .. } = self.loads.entries[tenant as usize];
            let is_seen = !wants.contains(&true) || load == self.load(tenant);
            ensure(is_seen, "the orders by load are of what tenants hold now")?;
            let kept = self.kept_bytes(tenant).div_ceil(u64::from(self.loads.unit_bytes)) as u32;
            ensure(entry.kept == kept, "what receivers keep counts in whole buffers")?;
        }
        Ok(())
    }
}
