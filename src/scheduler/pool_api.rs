//! What the pool needs of its scheduler beside the public calls. It knows its indexes to be right.

use super::buffers::Lease;
use super::{Class, LeaseId, Request, Scheduler, SchedulerError, TenantId, WaitId, WaiterScope};
use core::ops::Range;

impl Scheduler {
    /// The buffers of these rows that are free or withheld, in the order of their numbers, and of each whether it was
    /// taken since it was named here last.
    pub(crate) fn free_to_trim(&mut self, rows: Range<u32>) -> impl Iterator<Item = (u32, bool)> {
        self.buffers.free_to_trim(rows)
    }

    /// Entries of a table by buffer index.
    pub(crate) fn buffers_max(&self) -> u32 {
        self.buffers.table().len() as u32
    }

    /// The lease that holds this buffer.
    pub(crate) fn lease_at(&self, buffer: u32) -> LeaseId {
        LeaseId::new(buffer, self.buffers.table()[buffer as usize].generation)
    }

    /// A buffer of the default size for the default tenant, in a class that there is, without a deadline: granted at
    /// once or not at all.
    #[inline]
    pub(crate) fn try_take(&mut self, class: u8) -> Option<u32> {
        if self.stats.waiting > 0 || self.to_withhold > 0 {
            return self.try_take_beside_waiters(class);
        }
        self.grant_at_once(&Request::new(class, 0), 0).map(LeaseId::index)
    }

    /// A function of its own, so that the other case saves no registers for it.
    #[cold]
    #[inline(never)]
    fn try_take_beside_waiters(&mut self, class: u8) -> Option<u32> {
        self.grant_at_once(&Request::new(class, 0), 0).map(LeaseId::index)
    }

    /// As `release`, of the lease that holds this buffer.
    #[inline]
    pub(crate) fn release_at(&mut self, buffer: u32) {
        self.stats.released += 1;
        self.put_buffer(buffer);
        self.serve_waiters();
    }

    /// Whether more free buffers might serve a waiter, or are to be withheld.
    #[inline(always)]
    pub(crate) fn is_wanted(&self) -> bool {
        self.to_withhold > 0 || (self.stats.waiting > 0 && self.has_ready_class())
    }

    #[cold]
    #[inline(never)]
    fn has_ready_class(&self) -> bool {
        let is_ready = |(at, class): (usize, &Class)| self.tenants.is_ready(at) && class.outstanding < class.cap;
        self.classes.iter().enumerate().any(is_ready)
    }

    /// How many more units a class may have outstanding.
    #[inline]
    pub(crate) fn left_of_cap(&self, class: u8) -> u32 {
        let Class { cap, outstanding, .. } = self.classes[usize::from(class)];
        cap - outstanding
    }

    /// Free units.
    #[inline]
    pub(crate) fn free_units(&self) -> u32 {
        self.buffers.free_units()
    }

    /// The wait whose grant is the next to be polled.
    pub(crate) fn next_grant(&self) -> Option<WaitId> {
        self.assigned.first().map(|index| self.wait_at(index))
    }

    /// The wait at this index.
    pub(crate) fn wait_at(&self, index: u32) -> WaitId {
        self.waits.table()[index as usize].id(index)
    }

    /// Refuses what `request_for` would refuse after a buffer more was taken in this class, for the default tenant.
    pub(crate) fn check_request(&mut self, request: &Request, taken_class: u8) -> Result<(), SchedulerError> {
        let tenant = self.check_named(request)?;
        if self.waits.has_room() || self.may_have_after(request, tenant, taken_class) {
            return Ok(());
        }
        self.refuse(SchedulerError::WaitersFull { waiters_max: self.waits.max() })
    }

    /// Refuses what `try_request` would refuse.
    pub(crate) fn check_try_request(&mut self, request: &Request) -> Result<(), SchedulerError> {
        self.check_named(request).map(|_| ())
    }

    fn check_named(&mut self, request: &Request) -> Result<u32, SchedulerError> {
        let Some(tenant) = request.tenant.map_or(Some(0), |tenant| self.tenants.find(tenant)) else {
            return self.refuse(SchedulerError::StaleTenant);
        };
        match self.admit(request, tenant) {
            Ok(()) => Ok(tenant),
            Err(error) => self.refuse(error),
        }
    }

    /// The next lease whose deadline passed while a request or, beside it, a receiver waits, or a buffer is to be
    /// withheld, with the token of its request: each once until it is renewed.
    pub(crate) fn poll_overdue(&mut self, receivers_wait: bool) -> Option<(LeaseId, u64)> {
        let index = self.deadlines.poll_idle(self.pool_scope(receivers_wait)?, self.clock.now_ns())?;
        Some((self.lease_at(index), self.buffers.table()[index as usize].token))
    }

    /// Whether `poll_overdue` would bring one; where requests wait for the caps of their tenants alone, only if the
    /// last poll left one.
    pub(crate) fn has_overdue(&self, receivers_wait: bool) -> bool {
        let scope = self.pool_scope(receivers_wait);
        scope.is_some_and(|scope| self.deadlines.has_idle(scope, self.clock.now_ns()))
    }

    /// When to advance the clock for `poll_overdue` at the latest, in the host's time.
    pub(crate) fn overdue_ns(&self, receivers_wait: bool) -> Option<u64> {
        self.clock.host_ns(self.deadlines.next_idle_ns(self.pool_scope(receivers_wait)?)?)
    }

    fn pool_scope(&self, receivers_wait: bool) -> Option<WaiterScope> {
        if receivers_wait || self.to_withhold > 0 { Some(WaiterScope::Any) } else { self.waiter_scope() }
    }

    /// The deadline of the lease that holds this buffer begins anew. Whether it has one.
    pub(crate) fn renew_at(&mut self, buffer: u32) -> bool {
        let now_ns = self.clock.now_ns();
        let has_deadline = self.deadlines.describe(buffer, now_ns).is_some();
        if has_deadline {
            self.deadlines.progress(buffer, 0, now_ns);
        }
        has_deadline
    }

    /// Whether leases may have deadlines.
    pub(crate) fn has_deadlines(&self) -> bool {
        self.deadlines.is_used()
    }

    /// Whether `reassign_at` will do it, after this many units more were taken in the class.
    pub(crate) fn may_reassign_at(&self, buffer: u32, class: u8, taken_units: u32) -> bool {
        let Lease { class: before, size_index, .. } = self.buffers.table()[buffer as usize];
        class == before || self.buffers.units_of(size_index) + taken_units <= self.left_of_cap(class)
    }

    /// A leased buffer counts in this class, and for the default tenant, from now on; the handle and the deadline of
    /// its lease are over. `false`, and nothing is changed, if the cap of the class does not allow it.
    pub(crate) fn reassign_at(&mut self, buffer: u32, class: u8) -> bool {
        let Lease { class: before, size_index, .. } = self.buffers.table()[buffer as usize];
        let units = self.buffers.units_of(size_index);
        if !self.may_reassign_at(buffer, class, 0) {
            return false;
        }
        if class != before {
            self.classes[usize::from(before)].outstanding -= units;
            self.classes[usize::from(class)].outstanding += units;
        }
        self.deadlines.stop(buffer);
        let lease = self.buffers.lease_mut(buffer);
        (lease.class, lease.generation, lease.has_deadline) = (class, lease.generation.next(), false);
        self.move_lease(buffer, 0);
        self.serve_waiters();
        true
    }

    /// Keeps a tenant while a receiver may request buffers of this size in its name; returns its index. `None` is the
    /// default tenant.
    pub(crate) fn pin_tenant(&mut self, tenant: Option<TenantId>, size_index: u8) -> Result<u32, SchedulerError> {
        let Some(tenant) = tenant else {
            return Ok(0);
        };
        let index = self.tenants.find(tenant).ok_or(SchedulerError::StaleTenant)?;
        let units = self.buffers.units_of(size_index);
        if !self.tenants.could_take(index, units) {
            return Err(SchedulerError::TooLarge { units });
        }
        self.tenants.pin(index);
        Ok(index)
    }

    /// Undoes one `pin_tenant`.
    pub(crate) fn unpin_tenant(&mut self, index: u32) {
        if index != 0 {
            self.tenants.unpin(index);
        }
    }
}
