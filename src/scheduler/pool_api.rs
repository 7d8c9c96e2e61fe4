//! What the pool needs of its scheduler beside the public calls. It knows its indexes to be right.

use super::buffers::Lease;
use super::reclaim::WaiterScope;
use super::waits::{Wait, WaitState};
use super::{Class, LeaseId, ReclaimKind, Request, Scheduler, SchedulerError, TenantId, WaitId};
use core::ops::Range;

impl Scheduler {
    /// The free buffers of these rows in the order of their numbers, and of each whether it was taken since it was named
    /// here last.
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

    /// As `release`, of the lease that holds this buffer.
    #[inline]
    pub(crate) fn release_at(&mut self, buffer: u32) {
        self.stats.released += 1;
        self.put_buffer(buffer);
        self.serve_waiters();
    }

    /// Whether more free buffers might serve a waiter.
    pub(crate) fn is_wanted(&self) -> bool {
        let is_wanted = |(at, class): (usize, &Class)| self.tenants.is_ready(at) && class.outstanding < class.cap;
        self.stats.waiting > 0 && self.classes.iter().enumerate().any(is_wanted)
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

    /// The host's time at the last advance of the clock; `None` before the first.
    pub(crate) fn last_advance_ns(&self) -> Option<u64> {
        self.clock.last_advance_ns()
    }

    /// The wait at this index.
    pub(crate) fn wait_at(&self, index: u32) -> WaitId {
        self.waits.table()[index as usize].id(index)
    }

    /// A wait that is queued asks in another class from now on, behind those that wait there; returns whether it does. It stays
    /// where it is if it was served already, or could never be granted there.
    pub(crate) fn reclass_at(&mut self, wait: u32, class: u8) -> bool {
        let Wait { class: before, tenant, size_index, state, .. } = self.waits.table()[wait as usize];
        let request = Request { size_index, ..Request::new(class, 0) };
        if state != WaitState::Queued || class == before || self.admit(&request, tenant).is_err() {
            return false;
        }
        // Its tenant may have no other wait, nor lease, and be going away.
        self.tenants.pin(tenant);
        self.leave_queue(wait);
        self.waits.table_mut()[wait as usize].class = class;
        self.enter_queue(wait);
        self.tenants.unpin(tenant);
        self.serve_waiters();
        true
    }

    /// A holder that was to be shed is not, since its host blocks what it holds: its lease begins anew, once without
    /// progress. Returns whether it does.
    pub(crate) fn defer_at(&mut self, buffer: u32) -> bool {
        let is_deferred = self.deadlines.defer(buffer, self.clock.now_ns());
        if is_deferred {
            self.reclaim.take_back(ReclaimKind::Shed);
        }
        is_deferred
    }

    /// Whether a wait is queued, and nothing else is that a holder of its tenant could help.
    pub(crate) fn waits_alone(&self, wait: u32) -> bool {
        let Wait { tenant, state, .. } = self.waits.table()[wait as usize];
        let is_only = |waiter_scope| waiter_scope == WaiterScope::CappedTenant && self.tenants.waiting_of(tenant) == 1;
        state == WaitState::Queued && (self.stats.waiting == 1 || self.waiter_scope().is_some_and(is_only))
    }

    /// A holder is not asked after all: its time begins anew.
    pub(crate) fn spare_at(&mut self, buffer: u32, kind: ReclaimKind) {
        self.reclaim.take_back(kind);
        self.progress_at(buffer, 0);
    }

    /// Refuses a request that could never be granted while its holder keeps this buffer.
    pub(crate) fn admit_beside(&mut self, buffer: u32, request: &Request, tenant: u32) -> Result<(), SchedulerError> {
        let held = self.buffers.table()[buffer as usize];
        let (units, more) = (self.buffers.units_of(held.size_index), self.buffers.units_of(request.size_index));
        let of_same = |is_same: bool| more + if is_same { units } else { 0 };
        let Class { reserve, cap, .. } = self.classes[usize::from(request.class)];
        let is_possible = of_same(true) <= self.buffers.units() - reserve
            && of_same(held.class == request.class) <= cap
            && self.tenants.could_take(tenant, of_same(held.tenant == tenant));
        if is_possible { Ok(()) } else { self.refuse(SchedulerError::TooLarge { units: more }) }
    }

    /// As `progress`, by buffer.
    pub(crate) fn progress_at(&mut self, buffer: u32, bytes: u64) {
        self.deadlines.progress(buffer, bytes, self.clock.now_ns());
    }

    /// A lease without a deadline gets one.
    pub(crate) fn start_timing(&mut self, lease: LeaseId) {
        let entry = self.buffers.lease_mut(lease.index());
        if !core::mem::replace(&mut entry.has_deadline, true) {
            let Lease { tenant, size_index, .. } = self.buffers.table()[lease.index() as usize];
            self.deadlines.start(lease.index(), tenant, self.buffers.units_of(size_index), self.clock.now_ns());
        }
    }

    /// A lease loses its deadline.
    pub(crate) fn stop_timing(&mut self, lease: LeaseId) {
        self.buffers.lease_mut(lease.index()).has_deadline = false;
        self.deadlines.stop(lease.index());
    }

    /// Keeps a tenant while a receiver may request buffers of this size in its name; returns its index. `None` is the default
    /// tenant.
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
