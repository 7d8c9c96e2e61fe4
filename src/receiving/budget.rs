//! Buffers out of the budget that the host's own requests have as well: a scheduler decides between them.

#[cfg(feature = "model-check")]
use super::ReceivingConfig;
use super::buffers::{Buffers, LoadOrder};
use super::config::OTHERS_MIN;
use super::{Receiving, Split};
use crate::config_error::{Allowed, ConfigError};
#[cfg(feature = "model-check")]
use crate::memory::Protection;
#[cfg(feature = "model-check")]
use crate::scheduler::TenantConfig;
use crate::scheduler::{Request, Scheduler, SchedulerConfig};

/// One budget for receivers and for requests of the host's own. Receivers use it as requests of the least critical class.
#[cfg_attr(feature = "model-check", derive(Clone))]
#[derive(Debug)]
pub struct Budget {
    pub(super) scheduler: Scheduler,
    /// The class of receivers, and its reserve.
    class: u8,
    reserve: u32,
    taken: u32,
}

impl Budget {
    /// A budget of as many buffers as memory is split into.
    pub(super) fn new(requests: &SchedulerConfig, split: &Split) -> Result<Budget, ConfigError> {
        Budget::check(requests, split)?;
        let mut scheduler = Scheduler::new(requests)?;
        if requests.tenants_max > 0 {
            scheduler.count_kept(split.buffer_bytes)?;
        }
        let class = requests.classes - 1;
        Ok(Budget { scheduler, class, reserve: requests.reserves[usize::from(class)], taken: 0 })
    }

    /// Whether each class can be granted a buffer beside those that receivers always have, and receivers have enough.
    pub(super) fn check(requests: &SchedulerConfig, split: &Split) -> Result<(), ConfigError> {
        requests.check()?;
        let last = usize::from(requests.classes) - 1;
        let least = split.header_buffers + OTHERS_MIN;
        let refused = |field, at, value: u32, allowed| ConfigError::Refused {
            field,
            index: Some(at),
            value: value.into(),
            allowed,
        };
        for (at, &reserve) in requests.reserves[..=last].iter().enumerate() {
            let left = if at == last { least } else { split.buffers_of_receivers() + 1 };
            let max = split.buffers - left;
            if reserve > max {
                return Err(refused("reserves", at, reserve, Allowed::Range { min: 0, max: max.into() }));
            }
        }
        let cap = requests.class_caps[last];
        if cap < least {
            return Err(refused("class_caps", last, cap, Allowed::AtLeast(least.into())));
        }
        Ok(())
    }

    /// Classes of requests; receivers have the last.
    pub(super) fn classes(&self) -> u8 {
        self.class + 1
    }

    /// A buffer that a receiver had is the host's own lease from now on.
    pub(super) fn give_away(&mut self) {
        self.taken -= 1;
    }

    /// A buffer that was a lease of the host's own is a receiver's from now on.
    pub(super) fn adopt_buffer(&mut self) {
        self.taken += 1;
    }
}

impl Buffers for Budget {
    fn free(&self) -> u32 {
        if !self.scheduler.would_grant(self.class) {
            return 0;
        }
        // There is one size, so a unit is a buffer.
        (self.scheduler.free_units() - self.reserve).min(self.scheduler.left_of_cap(self.class))
    }

    fn taken(&self) -> u32 {
        self.taken
    }

    fn take(&mut self) -> Option<u32> {
        let request = Request { has_deadline: false, ..Request::new(self.class, 0) };
        let lease = self.scheduler.try_request(&request).ok()??;
        self.taken += 1;
        Some(lease.index())
    }

    fn give(&mut self, buffer: u32) {
        self.taken -= 1;
        self.scheduler.release_at(buffer);
    }

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

    fn may_exchange(&self, tenant: u32, less_bytes: u32) -> bool {
        self.scheduler.may_exchange(tenant, less_bytes)
    }

    fn move_lease(&mut self, buffer: u32, tenant: u32) {
        self.scheduler.move_lease(buffer, tenant);
    }
}

impl Receiving<Budget> {
    /// As `new`, with these tenants, whose numbers begin at 1. For comparisons with a model.
    ///
    /// # Errors
    ///
    /// As `new`; a share is out of range.
    #[cfg(feature = "model-check")]
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
        Receiving::with_buffers(config, budget, Protection::default()).map_err(|error| error.to_string())
    }

    /// Returns the pages of free buffers to the operating system, and reports how many bytes.
    pub(super) fn trim(&mut self) -> usize {
        let rows = 0..self.buffers.scheduler.buffers_max();
        self.arena.trim(self.buffers.scheduler.free_to_trim(rows))
    }
}
