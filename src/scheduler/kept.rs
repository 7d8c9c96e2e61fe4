//! What the receivers of a pool keep in the name of a tenant, for pools on the memory model.

use super::{ConfigError, LoadOrder, Scheduler};

impl Scheduler {
    /// The most tenants beside the default one.
    pub(crate) fn tenants_max(&self) -> u32 {
        self.tenants.max()
    }

    /// Whether a request waits.
    pub(crate) fn has_waiters(&self) -> bool {
        self.stats.waiting > 0
    }

    /// Counts what receivers keep from now on, in buffers of this size.
    pub(crate) fn count_kept(&mut self, buffer_bytes: u32) -> Result<(), ConfigError> {
        self.tenants.count_kept(buffer_bytes)
    }

    /// A cell of a receiver of this tenant has another size. A request that only the tenant's cap blocked may be
    /// served.
    pub(crate) fn keep(&mut self, tenant: u32, less_bytes: u32, more_bytes: u32) {
        self.tenants.keep(tenant, less_bytes, more_bytes);
        self.limit(tenant);
        self.serve_waiters();
    }

    /// The lease of this buffer counts for another tenant from now on.
    pub(crate) fn move_lease(&mut self, buffer: u32, tenant: u32) {
        let lease = self.buffers.lease_mut(buffer);
        if lease.tenant == tenant {
            return;
        }
        let (before, size_index) = (core::mem::replace(&mut lease.tenant, tenant), lease.size_index);
        self.tenants.move_units(before, tenant, self.buffers.units_of(size_index));
        self.limit(tenant);
        self.limit(before);
        self.serve_waiters();
    }

    /// Whether the tenant belongs into an order from now on, as far as what it holds allows.
    pub(crate) fn set_wants(&mut self, tenant: u32, order: LoadOrder, wants: bool) {
        self.tenants.set_wants(tenant, order, wants);
    }

    /// The first tenant in an order.
    pub(crate) fn first_in(&self, order: LoadOrder) -> Option<u32> {
        self.tenants.first_in(order)
    }

    /// The tenant whose content goes before its deadline, so that a cell of the claimant has another size.
    pub(crate) fn next_to_evict(&self, claimant: u32, less_bytes: u32, more_bytes: u32) -> Option<u32> {
        self.tenants.next_to_evict(claimant, less_bytes, more_bytes)
    }

    /// Whether a tenant holds as much as it may.
    pub(crate) fn is_capped(&self, tenant: u32) -> bool {
        self.tenants.is_capped(tenant)
    }

    /// Whether a tenant may have a buffer more outstanding if its receivers keep this much less.
    pub(crate) fn may_exchange(&self, tenant: u32, less_bytes: u32) -> bool {
        self.tenants.may_exchange(tenant, less_bytes)
    }

    /// Bytes of the cells of a tenant's receivers.
    pub(crate) fn kept_bytes(&self, tenant: u32) -> u64 {
        self.tenants.kept_bytes(tenant)
    }
}
