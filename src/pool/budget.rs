//! Buffers out of the budget that the host's own requests have as well: a scheduler decides between them.

use super::bits::Bits;
use super::limit::{Limit, Limits, needed_beside};
use super::{PoolError, Source};
use crate::config_error::{Allowed, ConfigError};
use crate::memory::{Arena, Reach};
use crate::receiving::{Buffers, Split};
#[cfg(feature = "model-check")]
use crate::receiving::{Receiving, ReceivingConfig};
use crate::scheduler::{
    Grant, LeaseId, LoadOrder, Outcome, Request, Scheduler, SchedulerConfig, SchedulerError, SchedulerStats,
    TenantConfig, TenantId, TenantInfo, WaitId, WaitInfo,
};

/// One budget for receivers and for requests of the host's own. Receivers use it as requests of the least critical
/// class.
#[cfg_attr(feature = "model-check", derive(Clone))]
#[derive(Debug)]
pub struct Budget {
    scheduler: Scheduler,
    /// The class of receivers, and its reserve.
    class: u8,
    reserve: u32,
    taken: u32,
    /// Leases of the host's own.
    host_leases: Bits,
    limits: Limits,
    limit: Limit,
    /// From the next advance of the clock on: nothing is borrowed then.
    next_limit: Option<Limit>,
}

impl Budget {
    /// A budget of as many buffers as memory is split into.
    pub(super) fn new(requests: &SchedulerConfig, split: &Split) -> Result<Budget, ConfigError> {
        check_receivers(requests, split)?;
        let mut scheduler = Scheduler::new(requests)?;
        if requests.tenants_max > 0 {
            scheduler.count_kept(split.buffer_bytes)?;
        }
        let class = requests.classes - 1;
        let reserve = requests.reserves[usize::from(class)];
        let host_leases = Bits::new("memory_bytes", split.buffers)?;
        let limits = Limits::new(requests, split, 1);
        let limit = Limit { withheld: 0, reserve: split.reserve };
        Ok(Budget { scheduler, class, reserve, taken: 0, host_leases, limits, limit, next_limit: None })
    }
}

/// Whether each class can be granted a buffer beside those that receivers always have, and receivers have enough.
pub(crate) fn check_receivers(requests: &SchedulerConfig, split: &Split) -> Result<(), ConfigError> {
    requests.check()?;
    let last = usize::from(requests.classes) - 1;
    let refused =
        |field, at, value: u32, allowed| ConfigError::Refused { field, index: Some(at), value: value.into(), allowed };
    for (at, &reserve) in requests.reserves[..=last].iter().enumerate() {
        let max = split.buffers - needed_beside(split, at == last);
        if reserve > max {
            return Err(refused("reserves", at, reserve, Allowed::Range { min: 0, max: max.into() }));
        }
    }
    let cap = requests.class_caps[last];
    if cap < split.in_use {
        return Err(refused("class_caps", last, cap, Allowed::AtLeast(split.in_use.into())));
    }
    Ok(())
}

#[cfg(feature = "model-check")]
impl Budget {
    /// Writes down how the scheduler stands. Which of the buffers a receiver uses makes no difference.
    pub(super) fn state_key(
        &self,
        state: &mut alloc::vec::Vec<u64>,
        wait: &dyn Fn(WaitId) -> u64,
        lease: &dyn Fn(LeaseId) -> u64,
    ) {
        let limits = [Some(self.limit), self.next_limit];
        state.extend(limits.map(|limit| limit.map_or(u64::MAX, |limit| limit.withheld.into())));
        let leases = |of: LeaseId| if self.host_leases.get(of.index()) { lease(of) } else { u64::MAX };
        self.scheduler.state_key(state, wait, &leases);
    }
}

impl Buffers for Budget {
    #[inline(always)]
    fn free(&self) -> u32 {
        if self.scheduler.has_waiters() && !self.scheduler.would_grant(self.class) {
            return 0;
        }
        // There is one size, so a unit is a buffer.
        self.scheduler.free_units().saturating_sub(self.reserve).min(self.scheduler.left_of_cap(self.class))
    }

    fn may_adopt(&self, buffer: u32, taken_before: u32) -> bool {
        self.scheduler.may_reassign_at(buffer, self.class, taken_before)
    }

    fn taken(&self) -> u32 {
        self.taken
    }

    fn take(&mut self) -> Option<u32> {
        let buffer = self.scheduler.try_take(self.class)?;
        self.taken += 1;
        Some(buffer)
    }

    fn give(&mut self, buffer: u32) {
        self.taken -= 1;
        self.scheduler.release_at(buffer);
    }

    fn look(&mut self) {
        if let Some(limit) = self.next_limit.take() {
            self.limit = limit;
            self.scheduler.set_withheld(limit.withheld);
        }
    }

    fn awaits_advance(&self) -> bool {
        self.next_limit.is_some()
    }

    fn reserve(&self, _before: u32) -> u32 {
        self.limit.reserve
    }

    #[inline(always)]
    fn is_wanted(&self) -> bool {
        self.scheduler.is_wanted()
    }

    fn has_waiters(&self) -> bool {
        self.scheduler.has_waiters()
    }

    fn tenants_max(&self) -> u32 {
        self.scheduler.tenants_max()
    }

    fn keep(&mut self, tenant: u32, less_bytes: u32, more_bytes: u32) {
        self.scheduler.keep(tenant, less_bytes, more_bytes);
    }

    fn kept_bytes(&self, tenant: u32) -> u64 {
        self.scheduler.kept_bytes(tenant)
    }

    fn set_wants(&mut self, tenant: u32, order: LoadOrder, wants: bool) {
        self.scheduler.set_wants(tenant, order, wants);
    }

    fn first_in(&self, order: LoadOrder) -> Option<u32> {
        self.scheduler.first_in(order)
    }

    fn next_to_evict(&self, claimant: u32, less_bytes: u32, more_bytes: u32) -> Option<u32> {
        self.scheduler.next_to_evict(claimant, less_bytes, more_bytes)
    }

    fn is_capped(&self, tenant: u32) -> bool {
        self.scheduler.is_capped(tenant)
    }

    fn begin_exchange(&mut self, tenant: u32, less_bytes: u32) -> bool {
        self.scheduler.may_exchange(tenant, less_bytes)
    }

    fn end_exchange(&mut self, tenant: u32, buffer: Option<u32>) {
        if let Some(buffer) = buffer {
            self.scheduler.move_lease(buffer, tenant);
        }
    }
}

#[cfg(feature = "model-check")]
impl Receiving<Budget> {
    /// As `new`, with these tenants, whose numbers begin at 1. For comparisons with a model.
    ///
    /// # Errors
    ///
    /// As `new`; a share is out of range.
    #[doc(hidden)]
    pub fn with_tenants(
        config: &ReceivingConfig,
        tenants: &[TenantConfig],
    ) -> Result<Receiving<Budget>, alloc::string::String> {
        use alloc::string::ToString;
        let split = config.split().map_err(|error| error.to_string())?;
        let requests = SchedulerConfig { tenants_max: tenants.len() as u32, ..SchedulerConfig::new(split.buffers, 0) };
        let mut budget = Budget::new(&requests, &split).map_err(|error| error.to_string())?;
        for share in tenants {
            let tenant = budget.scheduler.create_tenant(share).map_err(|error| error.to_string())?;
            budget.scheduler.pin_tenant(Some(tenant), 0).map_err(|error| error.to_string())?;
        }
        let arena = config.arena(&split).map_err(|error| error.to_string())?;
        Receiving::with_buffers(config, split, budget, arena, false).map_err(|error| error.to_string())
    }
}

/// A pool of one thread, which has all leases: each is within reach.
impl Source for Budget {
    fn classes(&self) -> u8 {
        self.class + 1
    }

    fn request_for(&mut self, request: &Request) -> Result<Outcome, PoolError> {
        let outcome = self.scheduler.request_for(request)?;
        if let Outcome::Granted(lease) = outcome {
            self.host_leases.set(lease.index(), true);
        }
        Ok(outcome)
    }

    fn try_request(&mut self, request: &Request) -> Result<Option<LeaseId>, PoolError> {
        let lease = self.scheduler.try_request(request)?;
        if let Some(lease) = lease {
            self.host_leases.set(lease.index(), true);
        }
        Ok(lease)
    }

    fn check_request(&mut self, request: &Request) -> Result<(), PoolError> {
        Ok(self.scheduler.check_request(request, self.class)?)
    }

    fn check_try_request(&mut self, request: &Request) -> Result<(), PoolError> {
        Ok(self.scheduler.check_try_request(request)?)
    }

    fn is_used_by_host(&self) -> bool {
        // While all is free but what receivers have, no request waits.
        let stats = self.scheduler.stats();
        stats.leased + stats.assigned > self.taken
    }

    fn has_deadlines(&self) -> bool {
        self.scheduler.has_deadlines()
    }

    fn renew(&mut self, lease: LeaseId) -> Result<(), PoolError> {
        if self.scheduler.renew_at(lease.index()) { Ok(()) } else { Err(PoolError::NoDeadline) }
    }

    fn poll_overdue(&mut self, receivers_wait: bool) -> Option<(LeaseId, u64)> {
        self.scheduler.poll_overdue(receivers_wait)
    }

    fn has_overdue(&self, receivers_wait: bool) -> bool {
        self.scheduler.has_overdue(receivers_wait)
    }

    fn cancel(&mut self, wait: WaitId) -> Result<(), PoolError> {
        Ok(self.scheduler.cancel(wait)?)
    }

    fn poll_grant(&mut self) -> Option<Grant> {
        let grant = self.scheduler.poll_grant()?;
        self.host_leases.set(grant.lease.index(), true);
        Some(grant)
    }

    fn describe_wait(&self, wait: WaitId) -> Result<WaitInfo, PoolError> {
        Ok(self.scheduler.describe_wait(wait)?)
    }

    fn next_grant(&self) -> Option<WaitId> {
        self.scheduler.next_grant()
    }

    fn has_grants(&self) -> bool {
        self.scheduler.next_grant().is_some()
    }

    const IS_SHARED: bool = false;

    fn check_host_lease(&self, lease: LeaseId, _reach: Reach) -> Result<(), PoolError> {
        self.scheduler.check_lease(lease)?;
        if self.host_leases.get(lease.index()) { Ok(()) } else { Err(SchedulerError::StaleLease.into()) }
    }

    fn release_host_lease(
        &mut self,
        lease: LeaseId,
        reach: Reach,
        retire: Option<&mut dyn FnMut(u32)>,
    ) -> Result<(), PoolError> {
        self.check_host_lease(lease, reach)?;
        if let Some(retire) = retire {
            retire(lease.index());
        }
        self.host_leases.set(lease.index(), false);
        self.scheduler.release_at(lease.index());
        Ok(())
    }

    fn adopt_host_lease(&mut self, lease: LeaseId, reach: Reach) -> Result<(), PoolError> {
        self.check_host_lease(lease, reach)?;
        if !self.scheduler.reassign_at(lease.index(), self.class) {
            return Err(PoolError::NoBufferFree);
        }
        self.host_leases.set(lease.index(), false);
        self.taken += 1;
        Ok(())
    }

    fn hand_over(&mut self, buffer: u32) -> LeaseId {
        self.taken -= 1;
        self.host_leases.set(buffer, true);
        self.scheduler.lease_at(buffer)
    }

    fn lease_at(&self, buffer: u32) -> LeaseId {
        self.scheduler.lease_at(buffer)
    }

    #[inline(always)]
    fn nothing_to_poll(&self) -> bool {
        self.scheduler.nothing_to_poll()
    }

    fn handle_timeout(&mut self, now_ns: u64) {
        self.scheduler.handle_timeout(now_ns);
    }

    fn poll_timeout(&self, receivers_wait: bool) -> Option<u64> {
        self.scheduler.overdue_ns(receivers_wait)
    }

    fn create_tenant(&mut self, config: &TenantConfig) -> Result<TenantId, PoolError> {
        Ok(self.scheduler.create_tenant(config)?)
    }

    fn remove_tenant(&mut self, tenant: TenantId) -> Result<(), PoolError> {
        Ok(self.scheduler.remove_tenant(tenant)?)
    }

    fn describe_tenant(&self, tenant: TenantId) -> Result<TenantInfo, PoolError> {
        Ok(self.scheduler.describe_tenant(tenant)?)
    }

    fn pin_tenant(&mut self, tenant: Option<TenantId>) -> Result<u32, PoolError> {
        Ok(self.scheduler.pin_tenant(tenant, 0)?)
    }

    fn unpin_tenant(&mut self, index: u32) {
        self.scheduler.unpin_tenant(index);
    }

    fn set_limit(&mut self, bytes: u64) -> Result<(), ConfigError> {
        self.next_limit = Some(self.limits.check(bytes)?).filter(|&next| next != self.limit);
        Ok(())
    }

    fn trim(&mut self, arena: &mut Arena) -> usize {
        let rows = 0..self.scheduler.buffers_max();
        arena.trim(self.scheduler.free_to_trim(rows))
    }

    fn stats(&self) -> SchedulerStats {
        let stats = self.scheduler.stats();
        match self.next_limit {
            Some(limit) => SchedulerStats { to_withhold: limit.withheld.saturating_sub(stats.withheld), ..stats },
            None => stats,
        }
    }

    fn bypass_bound(&self) -> u64 {
        self.scheduler.bypass_bound()
    }

    fn check_invariants(&self) -> Result<(), &'static str> {
        self.scheduler.check_invariants()
    }
}
