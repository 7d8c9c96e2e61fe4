//! Counts and descriptions. They change nothing.

use super::waits::WaitState;
use super::{
    LeaseId, LeaseInfo, ReclaimStats, Request, Scheduler, SchedulerError, SchedulerStats, TenantId, TenantInfo, WaitId,
    WaitInfo,
};

impl Scheduler {
    /// How a tenant stands, also while it is going away.
    ///
    /// # Errors
    ///
    /// The tenant is stale or foreign.
    pub fn describe_tenant(&self, tenant: TenantId) -> Result<TenantInfo, SchedulerError> {
        self.tenants.describe(tenant).ok_or(SchedulerError::StaleTenant)
    }

    /// How a wait stands.
    ///
    /// # Errors
    ///
    /// The wait is stale or foreign.
    pub fn describe_wait(&self, wait: WaitId) -> Result<WaitInfo, SchedulerError> {
        let entry = self.waits.find(wait).ok_or(SchedulerError::StaleWait)?;
        Ok(WaitInfo {
            token: entry.token,
            class: entry.class,
            age_ns: self.clock.now_ns() - entry.since_ns,
            bypasses: self.bypasses(entry),
            has_deadline: entry.has_deadline,
            is_assigned: entry.state != WaitState::Queued,
        })
    }

    /// How the holder of a lease gets on; `None` if the lease is not timed.
    ///
    /// # Errors
    ///
    /// The lease is stale or foreign.
    pub fn describe_lease(&self, lease: LeaseId) -> Result<Option<LeaseInfo>, SchedulerError> {
        self.check_lease(lease)?;
        Ok(self.deadlines.describe(lease.index(), self.clock.now_ns()))
    }

    /// Whether a lease is held.
    ///
    /// # Errors
    ///
    /// The lease is stale or foreign.
    pub fn check_lease(&self, lease: LeaseId) -> Result<(), SchedulerError> {
        self.buffers.find(lease).map(|_| ()).ok_or(SchedulerError::StaleLease)
    }

    /// The size of a lease's buffer.
    ///
    /// # Errors
    ///
    /// The lease is stale or foreign.
    pub fn size_of(&self, lease: LeaseId) -> Result<u8, SchedulerError> {
        self.buffers.find(lease).map(|lease| lease.size_index).ok_or(SchedulerError::StaleLease)
    }

    /// The published bound *W* (see the module's docs): the most grants to other requests that a waiter could have had.
    /// It is the same for all classes, and grows with the largest weight of a tenant. That of a shared scheduler is
    /// larger (see the module `shared`).
    pub fn bypass_bound(&self) -> u64 {
        let others = u64::from(self.classes_used) - 1;
        let for_others = if others == 0 { 0 } else { u64::from(self.class_burst) + others };
        let turns = u64::from(self.waits.max()).saturating_mul(self.tenants.rounds_max(self.waits.max()));
        turns.saturating_mul(1 + for_others).saturating_sub(1)
    }

    /// Counts. Costs a copy.
    pub fn stats(&self) -> SchedulerStats {
        SchedulerStats {
            capacity: self.buffers.units(),
            free: self.buffers.free_units(),
            leased: self.stats.outstanding() - self.assigned.len,
            assigned: self.assigned.len,
            withheld: self.buffers.withheld(),
            to_withhold: self.to_withhold,
            clock_backwards: self.clock.backwards(),
            waiting_by_class: self.classes.map(|class| class.waiting),
            outstanding_by_class: self.classes.map(|class| class.outstanding),
            ..self.stats
        }
    }

    /// Counts of the deadlines that it polls. Costs a copy.
    pub fn reclaim_stats(&self) -> ReclaimStats {
        ReclaimStats { clock_skipped_ns: self.clock.skipped_ns(), ..self.reclaim }
    }

    /// The free buffers of one size, the one used last first.
    pub fn free_indexes(&self, size_index: u8) -> impl Iterator<Item = u32> {
        self.buffers.free_of(size_index)
    }

    /// Whether a request of this class, of the default size and tenant, would be granted at once; never for a
    /// class that does not exist.
    #[doc(hidden)]
    pub fn would_grant(&self, class: u8) -> bool {
        self.may_have_now(&Request::new(class, 0), 0)
    }
}
