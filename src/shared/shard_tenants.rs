//! What one shard knows of tenants: what its receivers keep in the name of each, and the orders by load as it saw them
//! last.

use super::SchedulerShard;
use super::asks::Asked;
use super::tenants::LEFT_AT_ONCE;
use crate::alloc_util::reserve;
use crate::scheduler::{ConfigError, LoadOrder, Loads};
use alloc::vec::Vec;

/// The most tenants that are looked at again with each advance of the clock, and before one is the first of an order.
const LOOKS_MAX: usize = 64;

const NIL: u32 = u32::MAX;

/// A tenant in this shard.
#[derive(Clone, Copy, Debug)]
struct Own {
    /// Receivers in its name.
    pins: u32,
    /// Orders that it belongs to, but for what it holds.
    wants: u32,
    /// Its place among those that belong to any, `NIL` for none.
    at: u32,
}

/// All tenants in this shard. Tables are touched when they are needed.
#[derive(Debug)]
pub(super) struct ShardTenants {
    loads: Loads,
    own: Vec<Own>,
    /// Tenants that belong to an order, but for what they hold.
    wanting: Vec<u32>,
    /// How many of them belong to each order.
    wants: [u32; 3],
    /// The next of them that is looked at.
    next: usize,
}

impl ShardTenants {
    pub(super) fn new(tenants_max: u32, buffer_bytes: u32) -> Result<ShardTenants, ConfigError> {
        let (own, wanting) = (reserve("tenants_max", tenants_max + 1)?, reserve("tenants_max", tenants_max + 1)?);
        Ok(ShardTenants { loads: Loads::new(tenants_max, buffer_bytes)?, own, wanting, wants: [0; 3], next: 0 })
    }

    #[inline(never)]
    fn own(&mut self, tenant: u32) -> &mut Own {
        if self.own.len() <= tenant as usize {
            self.own.resize(tenant as usize + 1, Own { pins: 0, wants: 0, at: NIL });
        }
        &mut self.own[tenant as usize]
    }

    /// A receiver is in the name of a tenant.
    #[inline]
    pub(super) fn pin(&mut self, tenant: u32) {
        if tenant > 0 {
            self.own(tenant).pins += 1;
        }
    }

    /// It is so no more.
    #[inline]
    pub(super) fn unpin(&mut self, tenant: u32) {
        if tenant > 0 {
            self.own(tenant).pins -= 1;
        }
    }

    /// What this shard's receivers keep.
    pub(super) fn kept_bytes(&self, tenant: u32) -> u64 {
        self.loads.kept_bytes(tenant)
    }

    pub(super) fn keep(&mut self, shard: &SchedulerShard, tenant: u32, less_bytes: u32, more_bytes: u32) {
        let kept_bytes = self.loads.kept_bytes(tenant) + u64::from(more_bytes) - u64::from(less_bytes);
        self.loads.set_kept_bytes(tenant, kept_bytes);
        shard.keep(tenant, less_bytes, more_bytes);
        self.loads.see(tenant, shard.load(tenant));
    }

    pub(super) fn set_wants(&mut self, shard: &SchedulerShard, tenant: u32, order: LoadOrder, wants: bool) {
        if !self.loads.set_wants(tenant, order, wants) {
            return;
        }
        self.loads.see(tenant, shard.load(tenant));
        let step = if wants { 1 } else { u32::MAX };
        self.wants[order as usize] = self.wants[order as usize].wrapping_add(step);
        let last = self.wanting.len() as u32;
        let own = self.own(tenant);
        own.wants = own.wants.wrapping_add(step);
        match (own.at, own.wants) {
            (NIL, _) => {
                own.at = last;
                self.wanting.push(tenant);
            }
            (at, 0) => {
                own.at = NIL;
                self.wanting.swap_remove(at as usize);
                if let Some(&moved) = self.wanting.get(at as usize) {
                    self.own[moved as usize].at = at;
                }
            }
            _ => {}
        }
    }

    pub(super) fn first_in(&self, order: LoadOrder) -> Option<u32> {
        self.loads.first_in(order)
    }

    /// Looks at the first of an order again, until it is first by what it holds now.
    pub(super) fn look_at_first(&mut self, shard: &SchedulerShard, order: LoadOrder) {
        for _ in 0..LOOKS_MAX {
            let Some(first) = self.loads.first_in(order) else {
                return;
            };
            self.loads.see(first, shard.load(first));
            if self.loads.first_in(order) == Some(first) {
                return;
            }
        }
    }

    /// Looks again at tenants that belong to an order, one after the other.
    pub(super) fn look(&mut self, shard: &SchedulerShard) {
        for _ in 0..self.wanting.len().min(LOOKS_MAX) {
            self.next = if self.next < self.wanting.len() { self.next } else { 0 };
            let tenant = self.wanting[self.next];
            self.loads.see(tenant, shard.load(tenant));
            self.next += 1;
        }
    }

    /// Whether a tenant is left out of an order for its cap.
    pub(super) fn waits_for_cap(&self) -> bool {
        [LoadOrder::Claiming, LoadOrder::Off]
            .into_iter()
            .any(|order| self.loads.len(order) < self.wants[order as usize])
    }

    /// The tenant whose content goes before its deadline, so that a cell of the claimant has another size.
    pub(super) fn next_to_evict(
        &self,
        shard: &SchedulerShard,
        claimant: u32,
        less_bytes: u32,
        more_bytes: u32,
    ) -> Option<u32> {
        let tenant = self.first_in(LoadOrder::Evictable).filter(|&tenant| tenant != claimant)?;
        shard.load(tenant).goes_for(&shard.load(claimant), less_bytes, more_bytes).then_some(tenant)
    }

    /// The tenant whose content goes before its deadline, for what another shard asks.
    pub(super) fn next_to_evict_for_others(&mut self, shard: &SchedulerShard) -> Option<u32> {
        shard.asked_by_others().next()?;
        self.look_at_first(shard, LoadOrder::Evictable);
        let tenant = self.first_in(LoadOrder::Evictable)?;
        let load = shard.load(tenant);
        let goes =
            |Asked { claimant, more_bytes }| claimant != tenant && load.goes_for(&shard.load(claimant), 0, more_bytes);
        shard.asked_by_others().any(goes).then_some(tenant)
    }

    /// The shard ends, and all of its receivers.
    pub(super) fn leave(&mut self, shard: &SchedulerShard) {
        let tenants = self.own.len().max(self.loads.known()) as u32;
        for first in (0..tenants).step_by(LEFT_AT_ONCE) {
            let mut left = [(0, 0, 0); LEFT_AT_ONCE];
            for (tenant, left) in (first..tenants).zip(&mut left) {
                let pins = self.own.get_mut(tenant as usize).map_or(0, |own| core::mem::take(&mut own.pins));
                *left = (tenant, self.loads.kept_bytes(tenant), pins);
                self.loads.set_kept_bytes(tenant, 0);
            }
            shard.leave_tenants(&left);
        }
    }

    /// Walks everything; for tests.
    pub(super) fn check(&self) -> Result<(), &'static str> {
        self.loads.check()?;
        let is_placed = |(at, &tenant): (u32, &u32)| {
            let own = &self.own[tenant as usize];
            own.at == at && own.wants > 0
        };
        let wanting = self.own.iter().filter(|own| own.wants > 0).count();
        let are_placed = (0..).zip(&self.wanting).all(is_placed) && wanting == self.wanting.len();
        if are_placed { Ok(()) } else { Err("I2: each tenant that wants something is looked at") }
    }
}
