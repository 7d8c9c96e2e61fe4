//! Where the receivers of a pool get their buffers.

use super::PoolError;
use crate::memory::{Arena, Reach};
use crate::scheduler::{
    Grant, LeaseId, LeaseInfo, Outcome, Reclaim, ReclaimStats, Request, Scheduler, SchedulerStats, TenantConfig,
    TenantId, TenantInfo, WaitId, WaitInfo,
};

/// Where a [`Pool`](super::Pool) gets its buffers: from a [`Scheduler`] of its own, or from a shard of a shared pool. It is
/// for signatures that are generic over both kinds of pools; no other type implements it.
pub trait BufferSource: Source {}

impl<S: Source> BufferSource for S {}

/// The calls of a pool to its source, which keeps the books and holds no memory. The pool knows its indexes to be right:
/// `buffer` is one that a receiver holds, `wait` is one of the source's waits.
#[rustfmt::skip] // one line for each call
pub trait Source {
    // The fast path: `None` or `false` where it does not apply; nothing is changed then.
    fn try_fast_grant(&mut self, arena: &Arena, request: &Request, tenant: u32) -> Option<u32>;
    fn try_fast_release(&mut self, buffer: u32) -> bool;
    fn nothing_to_poll(&self) -> bool;

    // Requests and waits. `tenant` is an index of the table of tenants; `request_for` uses the tenant of the request.
    fn request_in(&mut self, request: &Request, tenant: u32) -> Result<Outcome, PoolError>;
    fn request_for(&mut self, request: &Request) -> Result<Outcome, PoolError>;
    /// As `request_for`; `None` if the request would have to wait.
    fn try_request(&mut self, request: &Request) -> Result<Option<LeaseId>, PoolError>;
    /// Refuses a larger buffer that could never be granted while its holder keeps `held`.
    fn admit_beside(&mut self, held: u32, request: &Request, tenant: u32) -> Result<(), PoolError>;
    fn cancel(&mut self, wait: WaitId) -> Result<(), PoolError>;
    fn cancel_at(&mut self, wait: u32);
    fn reclass_at(&mut self, wait: u32, class: u8);
    fn describe_wait(&self, wait: WaitId) -> Result<WaitInfo, PoolError>;
    fn wait_at(&self, wait: u32) -> WaitId;
    /// The number of waits, queued or assigned. Cost: O(waits).
    fn waits(&self) -> u32;

    // Leases of the host's own: `check` refuses one that is out of reach; the other calls get one that was checked, and
    // refuse it if another thread ended or adopted it since.
    fn check_host_lease(&self, lease: LeaseId, reach: Reach) -> Result<(), PoolError>;
    fn claim_host_lease(&self, _lease: LeaseId) -> Result<(), PoolError> { Ok(()) }
    fn adopt_host_lease(&mut self, lease: LeaseId, reach: Reach) -> Result<(), PoolError>;
    fn release_host_lease(&mut self, lease: LeaseId, reach: Reach) -> Result<(), PoolError>;

    // Leases of receivers.
    fn lease_at(&self, buffer: u32) -> LeaseId;
    fn release_at(&mut self, buffer: u32);
    /// Makes a receiver's lease the host's own.
    fn stop_timing(&mut self, lease: LeaseId);
    fn progress_at(&mut self, buffer: u32, bytes: u64);
    /// The holder is not shed yet, because its host blocks it; returns whether that is so.
    fn defer_at(&mut self, buffer: u32) -> bool;
    /// The holder is not asked after all if `wait`, which is its own, is the only one that could use its buffer.
    fn spare_if_alone(&mut self, wait: u32, reclaim: &Reclaim) -> bool;
    fn describe_lease(&self, lease: LeaseId) -> Option<LeaseInfo>;

    // What the host polls for.
    fn poll_grant(&mut self) -> Option<Grant>;
    fn poll_reclaim(&mut self) -> Option<Reclaim>;
    fn poll_wake(&mut self) -> Option<u32> { None }
    /// The wait whose grant is the next to be polled. Of a shard, another thread may have assigned it just now.
    fn next_grant(&self) -> Option<WaitId>;
    const IS_SHARED: bool;
    fn handle_timeout(&mut self, now_ns: u64);
    fn poll_timeout(&self) -> Option<u64>;
    /// The host's time at the last advance of the clock; `None` before the first.
    fn last_advance_ns(&self) -> Option<u64>;

    // Tenants: a source without them refuses.
    fn create_tenant(&mut self, _config: &TenantConfig) -> Result<TenantId, PoolError> { Err(PoolError::TenantsUnsupported) }
    fn remove_tenant(&mut self, _tenant: TenantId) -> Result<(), PoolError> { Err(PoolError::TenantsUnsupported) }
    fn describe_tenant(&self, _tenant: TenantId) -> Result<TenantInfo, PoolError> { Err(PoolError::TenantsUnsupported) }
    /// Keeps a tenant while a receiver may request buffers of this size in its name; returns its index.
    fn pin_tenant(&mut self, tenant: Option<TenantId>, _size_index: u8) -> Result<u32, PoolError> {
        tenant.map_or(Ok(0), |_| Err(PoolError::TenantsUnsupported))
    }
    fn unpin_tenant(&mut self, _index: u32) {}

    // Threads: refuses newcomers once the pool is closed, and calls from a thread that the source is not bound to.
    fn check_open(&self) -> Result<(), PoolError> { Ok(()) }
    fn check_thread(&self) -> Result<(), PoolError> { Ok(()) }

    // Memory and counts.
    /// A buffer was obtained and is about to be written.
    fn touch(&self, _arena: &mut Arena, _buffer: u32) {}
    fn trim(&mut self, arena: &mut Arena) -> usize;
    fn stats(&self) -> SchedulerStats;
    fn reclaim_stats(&self) -> ReclaimStats;
    fn bypass_bound(&self) -> u64;
    fn check_invariants(&self) -> Result<(), &'static str>;
}

/// A pool of one thread, which has all leases: each is within reach.
impl Source for Scheduler {
    #[inline(always)]
    fn try_fast_grant(&mut self, arena: &Arena, request: &Request, tenant: u32) -> Option<u32> {
        if !arena.is_there(self.next_buffer(request.size_index)?) {
            return None;
        }
        Scheduler::try_fast_grant(self, request, tenant)
    }

    #[inline(always)]
    fn try_fast_release(&mut self, buffer: u32) -> bool {
        Scheduler::try_fast_release(self, buffer)
    }

    #[inline(always)]
    fn nothing_to_poll(&self) -> bool {
        Scheduler::nothing_to_poll(self)
    }

    #[inline]
    fn request_in(&mut self, request: &Request, tenant: u32) -> Result<Outcome, PoolError> {
        Ok(Scheduler::request_in(self, request, tenant)?)
    }

    fn request_for(&mut self, request: &Request) -> Result<Outcome, PoolError> {
        Ok(Scheduler::request_for(self, request)?)
    }

    fn try_request(&mut self, request: &Request) -> Result<Option<LeaseId>, PoolError> {
        Ok(Scheduler::try_request(self, request)?)
    }

    fn admit_beside(&mut self, held: u32, request: &Request, tenant: u32) -> Result<(), PoolError> {
        Ok(Scheduler::admit_beside(self, held, request, tenant)?)
    }

    fn cancel(&mut self, wait: WaitId) -> Result<(), PoolError> {
        Ok(Scheduler::cancel(self, wait)?)
    }

    fn cancel_at(&mut self, wait: u32) {
        Scheduler::cancel(self, Scheduler::wait_at(self, wait)).expect("a wait is live until it is ended");
    }

    fn reclass_at(&mut self, wait: u32, class: u8) {
        Scheduler::reclass_at(self, wait, class);
    }

    fn describe_wait(&self, wait: WaitId) -> Result<WaitInfo, PoolError> {
        Ok(Scheduler::describe_wait(self, wait)?)
    }

    fn wait_at(&self, wait: u32) -> WaitId {
        Scheduler::wait_at(self, wait)
    }

    fn waits(&self) -> u32 {
        let stats = Scheduler::stats(self);
        stats.waiting + stats.assigned
    }

    fn check_host_lease(&self, lease: LeaseId, _reach: Reach) -> Result<(), PoolError> {
        Ok(self.check_lease(lease)?)
    }

    fn adopt_host_lease(&mut self, lease: LeaseId, _reach: Reach) -> Result<(), PoolError> {
        self.start_timing(lease);
        Ok(())
    }

    #[inline]
    fn release_host_lease(&mut self, lease: LeaseId, _reach: Reach) -> Result<(), PoolError> {
        Ok(self.release(lease)?)
    }

    #[inline]
    fn lease_at(&self, buffer: u32) -> LeaseId {
        Scheduler::lease_at(self, buffer)
    }

    #[inline]
    fn release_at(&mut self, buffer: u32) {
        Scheduler::release_at(self, buffer);
    }

    fn stop_timing(&mut self, lease: LeaseId) {
        Scheduler::stop_timing(self, lease);
    }

    #[inline]
    fn progress_at(&mut self, buffer: u32, bytes: u64) {
        Scheduler::progress_at(self, buffer, bytes);
    }

    fn defer_at(&mut self, buffer: u32) -> bool {
        Scheduler::defer_at(self, buffer)
    }

    fn spare_if_alone(&mut self, wait: u32, reclaim: &Reclaim) -> bool {
        let is_alone = self.waits_alone(wait);
        if is_alone {
            self.spare_at(reclaim.lease.index(), reclaim.kind);
        }
        is_alone
    }

    fn describe_lease(&self, lease: LeaseId) -> Option<LeaseInfo> {
        Scheduler::describe_lease(self, lease).unwrap_or_default()
    }

    #[inline]
    fn poll_grant(&mut self) -> Option<Grant> {
        Scheduler::poll_grant(self)
    }

    #[inline]
    fn poll_reclaim(&mut self) -> Option<Reclaim> {
        Scheduler::poll_reclaim(self)
    }

    fn next_grant(&self) -> Option<WaitId> {
        Scheduler::next_grant(self)
    }

    const IS_SHARED: bool = false;

    fn handle_timeout(&mut self, now_ns: u64) {
        Scheduler::handle_timeout(self, now_ns);
    }

    fn poll_timeout(&self) -> Option<u64> {
        Scheduler::poll_timeout(self)
    }

    fn last_advance_ns(&self) -> Option<u64> {
        Scheduler::last_advance_ns(self)
    }

    fn create_tenant(&mut self, config: &TenantConfig) -> Result<TenantId, PoolError> {
        Ok(Scheduler::create_tenant(self, config)?)
    }

    fn remove_tenant(&mut self, tenant: TenantId) -> Result<(), PoolError> {
        Ok(Scheduler::remove_tenant(self, tenant)?)
    }

    fn describe_tenant(&self, tenant: TenantId) -> Result<TenantInfo, PoolError> {
        Ok(Scheduler::describe_tenant(self, tenant)?)
    }

    fn pin_tenant(&mut self, tenant: Option<TenantId>, size_index: u8) -> Result<u32, PoolError> {
        Ok(Scheduler::pin_tenant(self, tenant, size_index)?)
    }

    fn unpin_tenant(&mut self, index: u32) {
        Scheduler::unpin_tenant(self, index);
    }

    #[inline(always)]
    fn touch(&self, arena: &mut Arena, buffer: u32) {
        arena.touch(buffer, |size_index| self.free_indexes(size_index));
    }

    fn trim(&mut self, arena: &mut Arena) -> usize {
        let rows = 0..self.buffers_max();
        arena.trim(self.free_to_trim(rows))
    }

    fn stats(&self) -> SchedulerStats {
        Scheduler::stats(self)
    }

    fn reclaim_stats(&self) -> ReclaimStats {
        Scheduler::reclaim_stats(self)
    }

    fn bypass_bound(&self) -> u64 {
        Scheduler::bypass_bound(self)
    }

    fn check_invariants(&self) -> Result<(), &'static str> {
        Scheduler::check_invariants(self)
    }
}
