//! Section 13: what tenants hold, and what follows.

use super::{ModelReceiving, Reason, Receiver};
use std::cmp::Ordering;

impl ModelReceiving {
    /// Whether there are tenants beside the default one.
    pub fn has_tenants(&self) -> bool {
        self.config.tenants.is_some()
    }

    /// Evictions so far by claims of other tenants, of what others may not evict.
    pub fn evictions_for_tenants(&self) -> u64 {
        self.evictions_for_tenants
    }

    fn of_tenant(&self, tenant: usize) -> impl Iterator<Item = (u32, &Receiver)> {
        self.live().filter(move |(_, receiver)| receiver.tenant == tenant)
    }

    /// Bytes of a cell as a tenant holds it.
    fn counted(&self, cell: Option<usize>) -> u64 {
        cell.filter(|&cell| cell > 0).map_or(0, |cell| self.sizes[cell].into())
    }

    pub(super) fn held(&self, tenant: usize) -> u64 {
        self.of_tenant(tenant).map(|(_, receiver)| self.counted(receiver.cell)).sum()
    }

    fn in_bytes(&self, buffers: u32) -> u64 {
        u64::from(buffers) * u64::from(self.config.buffer_bytes)
    }

    pub(super) fn is_capped(&self, tenant: usize) -> bool {
        self.config.share(tenant).cap.is_some_and(|cap| self.held(tenant) >= self.in_bytes(cap))
    }

    /// Compares loads: what is held, by weight.
    fn compare(&self, (held, tenant): (u64, usize), (other_held, other): (u64, usize)) -> Ordering {
        let weight = |tenant: usize| u64::from(self.config.share(tenant).weight);
        (held * weight(other)).cmp(&(other_held * weight(tenant)))
    }

    fn compare_now(&self, one: usize, other: usize) -> Ordering {
        self.compare((self.held(one), one), (self.held(other), other))
    }

    /// The receivers of the tenant that is served first, of those for which this holds.
    pub(super) fn served_first(&self, is_waiting: impl Fn(&Receiver) -> bool) -> Vec<u32> {
        let waits = |tenant: usize| self.of_tenant(tenant).filter(|(_, receiver)| is_waiting(receiver));
        let tenants = (0..3).filter(|&tenant| waits(tenant).count() > 0 && !self.is_capped(tenant));
        let first = tenants.min_by(|&one, &other| self.compare_now(one, other).then(one.cmp(&other)));
        first.into_iter().flat_map(|tenant| waits(tenant).map(|(id, _)| id)).collect()
    }

    /// Whether it holds more than its share, by weight, of what these tenants hold.
    fn is_above_share(&self, tenant: usize, among: impl Iterator<Item = usize>) -> bool {
        let weight = |tenant: usize| u64::from(self.config.share(tenant).weight);
        let (held, weights) = among
            .map(|other| (self.held(other), weight(other)))
            .fold((0, 0), |(h, w), (held, weight)| (h + held, w + weight));
        self.held(tenant) * weights > held * weight(tenant)
    }

    /// Evicts for a claim what may not be evicted for others; false if there is nothing.
    pub(super) fn evict_for(&mut self, id: u32, size: usize) -> bool {
        let claimant = self.receiver(id);
        let own = claimant.tenant;
        let would_hold = self.held(own) - self.counted(claimant.cell) + self.counted(Some(size));
        let exceeds = |tenant: usize| {
            self.held(tenant) > self.in_bytes(1)
                && self.held(tenant) > self.in_bytes(self.config.share(tenant).guaranteed)
        };
        let victims = |tenant: usize| {
            let keeps = |receiver: &Receiver| receiver.borrow.is_none() && receiver.cell.is_some_and(|cell| cell > 0);
            let victims = self.of_tenant(tenant).filter(move |(_, receiver)| keeps(receiver));
            victims.filter_map(|(id, _)| self.evictable_from(id).map(|from| (from, id)))
        };
        // Those without such content, or with a guarantee for it, lose none, however much they hold.
        let tenants = (0..3).filter(|&tenant| exceeds(tenant) && victims(tenant).count() > 0);
        let among = tenants.clone().filter(|&tenant| tenant != own).chain([own]);
        let greatest = tenants.max_by(|&one, &other| self.compare_now(one, other).then(other.cmp(&one)));
        let Some(greatest) = greatest.filter(|&tenant| tenant != own && self.evictions_left > 0) else {
            return false;
        };
        if self.compare((self.held(greatest), greatest), (2 * would_hold, own)) != Ordering::Greater {
            return false;
        }
        assert!(self.is_above_share(greatest, among), "I11: content in time goes only from a tenant above its share");
        let (_, victim) = victims(greatest).min().expect("it has some");
        self.evictions_left -= 1;
        self.counts.evictions += 1;
        self.evictions_for_tenants += 1;
        self.shed(victim, Reason::Evicted, None);
        self.notify_shed(victim);
        true
    }

    pub(super) fn move_to_tenant(&mut self, id: u32, tenant: usize) {
        let receiver = self.receiver(id);
        if receiver.tenant != tenant && receiver.off.is_some() {
            let place = self.take_place();
            self.receiver_mut(id).off = Some(place);
        }
        self.receiver_mut(id).tenant = tenant;
    }
}
