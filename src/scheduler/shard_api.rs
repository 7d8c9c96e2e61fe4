//! What the shards need of a pool beside its calls: when its free buffers may be kept elsewhere.

use super::buffers::Lease;
use super::{Class, Load, Request, Scheduler, SchedulerError, TenantId, WaitId};

impl Scheduler {
    /// As [`would_grant`](Scheduler::would_grant), in the name of any tenant.
    pub(crate) fn would_grant_to(&self, request: &Request) -> bool {
        self.tenant_of(request).is_some_and(|tenant| self.may_have_now(request, tenant))
    }

    /// Whether it may change the answer to a request if more buffers are free.
    pub(crate) fn could_use_more(&self, request: &Request) -> bool {
        let tenant = self.tenant_of(request);
        tenant.is_some_and(|tenant| self.tenants.may_take(tenant, self.buffers.units_of(request.size_index)))
    }

    /// Whether a request may be granted or queued.
    pub(crate) fn check_named_request(&self, request: &Request) -> Result<(), SchedulerError> {
        self.admit(request, self.tenant_of(request).ok_or(SchedulerError::StaleTenant)?)
    }

    /// The index of the tenant that a request names, if that takes requests.
    pub(crate) fn tenant_of(&self, request: &Request) -> Option<u32> {
        request.tenant.map_or(Some(0), |tenant| self.find_tenant(tenant))
    }

    /// The index of a tenant that takes requests and receivers.
    pub(crate) fn find_tenant(&self, tenant: TenantId) -> Option<u32> {
        self.tenants.find(tenant)
    }

    /// As `find_tenant`, also of one that is going away.
    pub(crate) fn known_tenant(&self, tenant: TenantId) -> Option<u32> {
        self.tenants.describe(tenant).map(|_| tenant.index())
    }

    /// The tenant that the lease of this buffer counts for.
    pub(crate) fn tenant_at(&self, buffer: u32) -> u32 {
        self.buffers.table()[buffer as usize].tenant
    }

    /// What a tenant holds and may hold, as far as is known here.
    pub(crate) fn load(&self, tenant: u32) -> Load {
        self.tenants.load(tenant)
    }

    /// Buffers leased in a tenant's name, counted one by one: for checks.
    pub(crate) fn leases_of(&self, tenant: u32) -> u32 {
        let is_its = |lease: &&Lease| lease.is_outstanding() && lease.tenant == tenant;
        self.buffers.table().iter().filter(is_its).count() as u32
    }

    /// Undoes this many `pin_tenant`.
    pub(crate) fn unpin_all(&mut self, tenant: u32, pins: u32) {
        self.tenants.unpin_all(tenant, pins);
    }

    /// Units that a tenant has outstanding. That of the default tenant is not counted.
    pub(crate) fn outstanding_of(&self, tenant: u32) -> u32 {
        self.tenants.outstanding(tenant)
    }

    /// Whether requests of a tenant wait, and what its receivers keep makes a difference to them.
    pub(crate) fn has_limited_waits(&self, tenant: u32) -> bool {
        self.tenants.has_waits(tenant) && self.tenants.is_limited(tenant)
    }

    /// Whether it makes a difference to requests of a tenant what its receivers keep.
    pub(crate) fn is_limited(&self, tenant: u32) -> bool {
        self.tenants.is_limited(tenant)
    }

    /// The receivers of this tenant keep this much. Requests of it may be served.
    pub(crate) fn set_kept_bytes(&mut self, tenant: u32, kept_bytes: u64) {
        if self.tenants.kept_bytes(tenant) != kept_bytes {
            self.tenants.set_kept_bytes(tenant, kept_bytes);
            self.limit(tenant);
            self.serve_waiters();
        }
    }

    /// A receiver's content of this size is to leave with a buffer, which then counts for its tenant. `false` if its
    /// cap does not allow that; else the place is kept for [`end_exchange`](Scheduler::end_exchange).
    pub(crate) fn begin_exchange(&mut self, tenant: u32, less_bytes: u32) -> bool {
        let may_exchange = self.tenants.may_exchange(tenant, less_bytes);
        if may_exchange {
            self.tenants.add_units(tenant, self.buffers.units_of(0));
            self.limit(tenant);
        }
        may_exchange
    }

    /// The lease of a buffer counts for the tenant from now on; or, without one, the content stays.
    pub(crate) fn end_exchange(&mut self, tenant: u32, buffer: Option<u32>) {
        if let Some(buffer) = buffer {
            self.buffers.lease_mut(buffer).tenant = tenant;
            return;
        }
        self.tenants.gave(tenant, self.buffers.units_of(0));
        self.limit(tenant);
        self.serve_waiters();
    }

    /// Queues a request of the default tenant in front of the first of its class and tenant that does not go before it,
    /// by their indexes; then serves waiters. The caller knows that there is room, and that the class exists.
    pub(crate) fn queue_in_order(
        &mut self,
        request: &Request,
        since_ns: u64,
        goes_before: impl Fn(u32) -> bool,
    ) -> WaitId {
        let (index, at) = (self.add_wait(request, 0), usize::from(request.class));
        let wait = &mut self.waits.table_mut()[index as usize];
        (wait.since_ns, wait.bypasses) = (since_ns, self.tenants.grants(at));
        self.tenants.push_in_order(self.waits.table_mut(), index, goes_before);
        self.classes[at].waiting += 1;
        self.stats.waiting += 1;
        self.serve_waiters();
        self.wait_at(index)
    }

    /// Hand-offs that waits of this class could have had.
    pub(crate) fn grants_of(&self, class: u8) -> u64 {
        self.tenants.grants(class.into())
    }

    /// A bit for each class in which a request waits for a free buffer, not for its cap.
    pub(crate) fn wanted_classes(&self) -> u8 {
        let is_wanted = |at: usize| self.tenants.is_ready(at) && self.classes[at].outstanding < self.classes[at].cap;
        (0..usize::from(self.classes_used)).filter(|&at| is_wanted(at)).fold(0, |mask, at| mask | 1 << at)
    }

    /// Whether the buffer of this lease would be withheld if it came back, or one of these classes be eligible for it,
    /// and have a request that no cap of a tenant blocks.
    pub(crate) fn would_serve(&self, buffer: u32, classes: u8) -> bool {
        let Lease { class: of_lease, tenant, .. } = self.buffers.table()[buffer as usize];
        let units = self.buffers.units_of(0);
        let is_served = |at: usize| {
            let Class { reserve, cap, outstanding, .. } = self.classes[at];
            let others = if at == usize::from(of_lease) { outstanding - units } else { outstanding };
            let is_ready = self.tenants.is_ready(at) || self.tenants.would_be_ready(at, tenant, units);
            self.buffers.free_units() >= reserve && units <= cap - others && is_ready
        };
        self.to_withhold > 0 || (0..usize::from(self.classes_used)).any(|at| classes >> at & 1 != 0 && is_served(at))
    }

    /// Requests that wait in the name of any tenant but the default one.
    pub(crate) fn named_waits(&self) -> u32 {
        self.tenants.named_waits(self.stats.waiting)
    }

    /// Whether every free buffer belongs here: more of them would serve a waiter, or a reserve is not whole. The result
    /// may be `true` without need. It is `false` only if no number of free buffers would lead to another grant.
    pub(crate) fn needs_all(&self) -> bool {
        self.is_wanted() || self.buffers.free_units() < self.reserve_max()
    }

    /// Free buffers of the default size that no reserve and no waiter needs: requests of any class without a cap would
    /// be granted all of them, one after the other.
    pub(crate) fn surplus(&self) -> u32 {
        if self.needs_all() { 0 } else { (self.buffers.free_units() - self.reserve_max()) / self.buffers.units_of(0) }
    }

    /// Free buffers of the default size.
    pub(crate) fn free_buffers(&self) -> u32 {
        self.buffers.free_units() / self.buffers.units_of(0)
    }

    /// Waits queued, by class.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = u32> {
        self.classes.iter().map(|class| class.waiting)
    }

    /// How many classes there are.
    pub(crate) fn classes(&self) -> u8 {
        self.classes_used
    }

    /// The most grants that bypassed a waiter.
    pub(crate) fn bypass_peak(&self) -> u64 {
        self.stats.bypass_peak
    }

    fn reserve_max(&self) -> u32 {
        self.classes.iter().map(|class| class.reserve).max().expect("there are classes")
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Outcome, SchedulerConfig, TenantConfig};
    use super::*;

    /// A pool of 5 buffers of 3 units each, with two classes, of which the second leaves 2 buffers to the first.
    fn scheduler() -> Scheduler {
        let config = SchedulerConfig {
            classes: 2,
            reserves: [0, 2, 0, 0, 0, 0, 0, 0],
            sizes: [3, 0, 0, 0],
            ..SchedulerConfig::new(5, 4)
        };
        Scheduler::new(&config).expect("the configuration is allowed")
    }

    #[test]
    fn what_no_reserve_holds_back_may_be_kept_elsewhere() {
        let mut scheduler = scheduler();
        for taken in 0..=5 {
            assert_eq!((scheduler.free_buffers(), scheduler.reserve_max()), (5 - taken, 6));
            assert_eq!(
                (scheduler.surplus(), scheduler.needs_all()),
                (3u32.saturating_sub(taken), taken > 3),
                "{taken} taken"
            );
            assert_eq!(matches!(scheduler.request(0, 0), Ok(Outcome::Granted(_))), taken < 5);
        }
    }

    #[test]
    fn needs_all_if_a_cap_does_not_block_the_waiter() {
        let config = SchedulerConfig { class_caps: [1; 8], ..SchedulerConfig::new(2, 4) };
        let mut scheduler = Scheduler::new(&config).expect("the configuration is allowed");
        for token in 0..2 {
            scheduler.request(0, token).expect("it is granted, or waits");
        }
        assert_eq!((scheduler.waiting().sum::<u32>(), scheduler.needs_all(), scheduler.surplus()), (1, false, 1));

        let mut scheduler = self::scheduler();
        for token in 0..4 {
            scheduler.request(1, token).expect("it is granted, or waits");
        }
        assert_eq!((scheduler.waiting().sum::<u32>(), scheduler.needs_all(), scheduler.surplus()), (1, true, 0));
    }

    #[test]
    fn buffer_would_serve_a_class_eligible_with_it() {
        let mut config = SchedulerConfig { classes: 3, tenants_max: 1, ..SchedulerConfig::new(3, 4) };
        (config.reserves[1], config.class_caps[2]) = (1, 1);
        let mut scheduler = Scheduler::new(&config).expect("the configuration is allowed");
        let tenant = scheduler.create_tenant(&TenantConfig { cap: 1, ..TenantConfig::default() }).expect("it is one");
        let in_name = Request { tenant: Some(tenant), ..Request::new(0, 0) };
        let all = [Request::new(0, 0), Request::new(2, 0), in_name];
        let [plain, capped, named] = all.map(|request| match scheduler.request_for(&request) {
            Ok(Outcome::Granted(lease)) => lease.index(),
            other => panic!("a buffer is free: {other:?}"),
        });
        let mut queue = |request: &Request| {
            assert!(matches!(scheduler.request_for(request), Ok(Outcome::Queued(_))), "none is free");
            [plain, capped, named].map(|lease| [1, 2, 4].map(|classes| scheduler.would_serve(lease, classes)))
        };
        assert_eq!(queue(&in_name), [[false; 3], [false; 3], [true, false, false]], "its cap blocks all of the class");
        assert_eq!(queue(&Request::new(1, 0))[0], [false; 3], "it is the reserve");
        assert_eq!(queue(&Request::new(2, 0)).map(|[.., last]| last), [false, true, false], "the class is at its cap");
        assert_eq!(queue(&Request::new(0, 0)).map(|[first, ..]| first), [true; 3]);
        assert!(!scheduler.would_serve(plain, 0));
        scheduler.set_withheld(1);
        assert!(scheduler.would_serve(plain, 0), "it would be withheld");
    }

    #[test]
    fn bypass_peak_remains_after_the_last_wait_ends() {
        let mut scheduler = Scheduler::new(&SchedulerConfig::new(1, 4)).expect("the configuration is allowed");
        assert_eq!((scheduler.bypass_peak(), scheduler.next_grant()), (0, None));
        let Ok(Outcome::Granted(mut lease)) = scheduler.request(0, 0) else { panic!("a buffer is free") };
        let waits = core::array::from_fn::<_, 3, _>(|_| match scheduler.request(0, 0) {
            Ok(Outcome::Queued(wait)) => wait,
            other => panic!("none is free: {other:?}"),
        });
        for wait in waits {
            scheduler.release(lease).expect("it is held");
            assert_eq!(scheduler.next_grant(), Some(wait));
            lease = scheduler.poll_grant().expect("it was handed over").lease;
        }
        assert_eq!((scheduler.bypass_peak(), scheduler.next_grant()), (2, None));
    }
}
