//! The order of tenants by load: what a tenant holds, relative to its weight.
//!
//! A tenant holds the cells of its receivers and the buffers of the host's own requests in its name. Tenants that want
//! something, or have something to be evicted, are in a binary heap for it, whose entries know their places.

use super::Tenants;
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

/// What the receivers of a tenant keep and want.
#[derive(Clone, Copy, Debug)]
struct Entry {
    kept_bytes: u64,
    /// By order: whether it belongs there, but for what it holds.
    wants: [bool; 3],
    /// Its place in each heap, `NIL` for none.
    at: [u32; 3],
}

const UNUSED: Entry = Entry { kept_bytes: 0, wants: [false; 3], at: [NIL; 3] };

/// The orders; empty where no receiver has a tenant.
#[cfg_attr(feature = "model-check", derive(Clone))]
#[derive(Debug)]
pub(super) struct Loads {
    entries: Vec<Entry>,
    heaps: [Vec<u32>; 3],
    /// Bytes of a unit; 0 where nothing is counted.
    unit_bytes: u32,
}

impl Loads {
    pub(super) const NONE: Loads = Loads { entries: Vec::new(), heaps: [const { Vec::new() }; 3], unit_bytes: 0 };
}

impl Tenants {
    /// Counts what receivers keep from now on, in buffers of this size, each of which is a unit.
    pub(in crate::scheduler) fn count_kept(&mut self, unit_bytes: u32) -> Result<(), ConfigError> {
        let reserve = || reserve("tenants_max", self.max + 1);
        let heaps = [reserve()?, reserve()?, reserve()?];
        self.loads = Loads { entries: crate::alloc_util::reserve("tenants_max", self.max + 1)?, heaps, unit_bytes };
        Ok(())
    }

    /// A cell of a receiver of this tenant has another size now.
    pub(in crate::scheduler) fn keep(&mut self, tenant: u32, less_bytes: u32, more_bytes: u32) {
        let unit_bytes = u64::from(self.loads.unit_bytes);
        let entry = self.load_entry(tenant);
        entry.kept_bytes = entry.kept_bytes + u64::from(more_bytes) - u64::from(less_bytes);
        self.tenants[tenant as usize].kept = entry.kept_bytes.div_ceil(unit_bytes) as u32;
        self.reorder(tenant);
    }

    /// Whether the tenant belongs into an order from now on, as far as what it holds allows.
    pub(in crate::scheduler) fn set_wants(&mut self, tenant: u32, order: LoadOrder, wants: bool) {
        let entry = self.load_entry(tenant);
        if core::mem::replace(&mut entry.wants[order as usize], wants) != wants {
            self.reorder(tenant);
        }
    }

    /// The first in an order.
    pub(in crate::scheduler) fn first_in(&self, order: LoadOrder) -> Option<u32> {
        self.loads.heaps[order as usize].first().copied()
    }

    /// Bytes of the cells of its receivers.
    pub(in crate::scheduler) fn kept_bytes(&self, tenant: u32) -> u64 {
        self.loads.entries.get(tenant as usize).map_or(0, |entry| entry.kept_bytes)
    }

    fn held_bytes(&self, tenant: u32) -> u64 {
        let outstanding = u64::from(self.tenants[tenant as usize].outstanding);
        self.kept_bytes(tenant) + outstanding * u64::from(self.loads.unit_bytes)
    }

    /// Whether it holds as much as it may.
    pub(in crate::scheduler) fn is_capped(&self, tenant: u32) -> bool {
        let cap = self.tenants[tenant as usize].cap;
        cap != u32::MAX && self.held_bytes(tenant) >= u64::from(cap) * u64::from(self.loads.unit_bytes)
    }

    /// Whether it may have a unit more outstanding if its receivers keep this much less.
    pub(in crate::scheduler) fn may_exchange(&self, tenant: u32, less_bytes: u32) -> bool {
        let kept_bytes = self.kept_bytes(tenant) - u64::from(less_bytes);
        let kept = kept_bytes.div_ceil(u64::from(self.loads.unit_bytes.max(1))) as u32;
        let entry = &self.tenants[tenant as usize];
        kept + entry.outstanding < entry.cap
    }

    /// The tenant whose content goes for a claim of another before its deadline, if that is fair: the claimant's cell of
    /// `less_bytes` would be one of `more_bytes`.
    pub(in crate::scheduler) fn next_to_evict(&self, claimant: u32, less_bytes: u32, more_bytes: u32) -> Option<u32> {
        let tenant = self.first_in(LoadOrder::Evictable).filter(|&tenant| tenant != claimant)?;
        let would_hold = self.held_bytes(claimant) + u64::from(more_bytes) - u64::from(less_bytes);
        let weight = |tenant: u32| u64::from(self.tenants[tenant as usize].weight);
        let is_fair = self.held_bytes(tenant) * weight(claimant) > 2 * would_hold * weight(tenant);
        is_fair.then_some(tenant)
    }

    fn load_entry(&mut self, tenant: u32) -> &mut Entry {
        let entries = &mut self.loads.entries;
        if entries.len() <= tenant as usize {
            // Inside what was reserved, touched when it is needed.
            entries.resize(tenant as usize + 1, UNUSED);
        }
        &mut entries[tenant as usize]
    }

    /// What a tenant holds or wants has changed.
    #[inline]
    pub(super) fn reorder(&mut self, tenant: u32) {
        if (tenant as usize) < self.loads.entries.len() {
            ORDERS.into_iter().for_each(|order| self.reorder_in(tenant, order));
        }
    }

    fn reorder_in(&mut self, tenant: u32, order: LoadOrder) {
        let (belongs, at) = (self.belongs(tenant, order), self.loads.entries[tenant as usize].at[order as usize]);
        let heap = &mut self.loads.heaps[order as usize];
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
                self.loads.entries[tenant as usize].at[order as usize] = NIL;
                if (at as usize) < self.loads.heaps[order as usize].len() {
                    self.sift(order, at as usize);
                }
            }
        }
    }

    fn belongs(&self, tenant: u32, order: LoadOrder) -> bool {
        let is_allowed = || match order {
            LoadOrder::Claiming | LoadOrder::Off => !self.is_capped(tenant),
            LoadOrder::Evictable => {
                let least = u64::from(self.tenants[tenant as usize].guaranteed.max(1));
                self.held_bytes(tenant) > least * u64::from(self.loads.unit_bytes)
            }
        };
        self.loads.entries[tenant as usize].wants[order as usize] && is_allowed()
    }

    /// Whether one tenant comes before another.
    fn is_before(&self, order: LoadOrder, one: u32, other: u32) -> bool {
        let load = |tenant: u32, of: u32| self.held_bytes(tenant) * u64::from(self.tenants[of as usize].weight);
        let (one_load, other_load) = (load(one, other), load(other, one));
        let is_less = if order == LoadOrder::Evictable { one_load > other_load } else { one_load < other_load };
        is_less || (one_load == other_load && one < other)
    }

    /// Moves an entry to where it belongs.
    fn sift(&mut self, order: LoadOrder, mut at: usize) {
        while at > 0 && self.is_child_before(order, at) {
            self.swap(order, at, (at - 1) / 2);
            at = (at - 1) / 2;
        }
        let heap = |tenants: &Tenants, at: usize| tenants.loads.heaps[order as usize].get(at).copied();
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
        let heap = &self.loads.heaps[order as usize];
        self.is_before(order, heap[at], heap[(at - 1) / 2])
    }

    fn swap(&mut self, order: LoadOrder, one: usize, other: usize) {
        self.loads.heaps[order as usize].swap(one, other);
        self.note_place(order, one);
        self.note_place(order, other);
    }

    fn note_place(&mut self, order: LoadOrder, at: usize) {
        let tenant = self.loads.heaps[order as usize][at];
        self.loads.entries[tenant as usize].at[order as usize] = at as u32;
    }

    /// The part of `check` about loads.
    pub(super) fn check_loads(&self) -> Result<(), &'static str> {
        for order in ORDERS {
            let heap = &self.loads.heaps[order as usize];
            let is_sound = |at: usize| {
                let is_known = self.loads.entries[heap[at] as usize].at[order as usize] == at as u32;
                is_known && (at == 0 || !self.is_child_before(order, at))
            };
            ensure((0..heap.len()).all(is_sound), "the order of tenants by load is sound")?;
            let belonging = (0..self.loads.entries.len() as u32).filter(|&tenant| self.belongs(tenant, order)).count();
            let all_belong = heap.iter().all(|&tenant| self.belongs(tenant, order));
            ensure(all_belong && belonging == heap.len(), "each tenant is in the orders by load that it belongs to")?;
        }
        for (tenant, entry) in self.tenants.iter().zip(&self.loads.entries) {
            let kept = entry.kept_bytes.div_ceil(u64::from(self.loads.unit_bytes)) as u32;
            ensure(tenant.kept == kept, "what receivers keep counts in whole buffers")?;
        }
        Ok(())
    }
}
