//! Where receivers get their buffers: from a pool of their own, or from their thread's shard of one that is shared.

use super::PoolError;
#[cfg(feature = "std")]
use super::sharded::Sharded;
use crate::memory::Arena;
use crate::scheduler::{
    Grant, LeaseId, LeaseInfo, Outcome, Reach, Reclaim, Request, Scheduler, SchedulerStats, TenantConfig, TenantId,
    TenantInfo, WaitId, WaitInfo,
};

#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "there is one for each set of receivers, and it is never moved")]
pub(super) enum Source {
    Scheduler(Scheduler),
    #[cfg(feature = "std")]
    Shard(Sharded),
}

/// Calls the same of whichever it is.
macro_rules! either {
    ($source:expr, $from:ident => $call:expr) => {
        match $source {
            Source::Scheduler($from) => $call,
            #[cfg(feature = "std")]
            Source::Shard($from) => $call,
        }
    };
}

/// Requests and waits.
impl Source {
    /// The pool that is not shared, if it is one.
    #[inline(always)]
    pub(super) fn own(&mut self) -> Option<&mut Scheduler> {
        match self {
            Source::Scheduler(scheduler) => Some(scheduler),
            #[cfg(feature = "std")]
            Source::Shard(_) => None,
        }
    }

    /// Asks for a buffer in the name of the tenant at this index of the table: granted at once, or queued.
    #[inline]
    pub(super) fn request_in(&mut self, request: &Request, tenant: u32) -> Result<Outcome, PoolError> {
        match self {
            Source::Scheduler(scheduler) => Ok(scheduler.request_in(request, tenant)?),
            #[cfg(feature = "std")]
            Source::Shard(shard) => shard.request_for(request),
        }
    }

    /// As `request_in`, in the name of the tenant that the request names.
    pub(super) fn request_for(&mut self, request: &Request) -> Result<Outcome, PoolError> {
        match self {
            Source::Scheduler(scheduler) => Ok(scheduler.request_for(request)?),
            #[cfg(feature = "std")]
            Source::Shard(shard) => shard.check_tenant(request.tenant).and_then(|()| shard.request_for(request)),
        }
    }

    /// As `request_for`; `None` if it would have to wait.
    pub(super) fn request_now(&mut self, request: &Request) -> Result<Option<LeaseId>, PoolError> {
        match self {
            Source::Scheduler(scheduler) if scheduler.would_queue(request) => Ok(None),
            Source::Scheduler(scheduler) => match scheduler.request_for(request)? {
                Outcome::Granted(lease) => Ok(Some(lease)),
                Outcome::Queued(_) => unreachable!("the pool would grant this request"),
            },
            #[cfg(feature = "std")]
            Source::Shard(shard) => shard.check_tenant(request.tenant).and_then(|()| shard.request_now(request)),
        }
    }

    /// Whether newcomers are taken in.
    pub(super) fn check_open(&self) -> Result<(), PoolError> {
        match self {
            Source::Scheduler(_) => Ok(()),
            #[cfg(feature = "std")]
            Source::Shard(shard) => shard.check_open(),
        }
    }

    /// Ends a wait.
    pub(super) fn cancel(&mut self, wait: WaitId) -> Result<(), PoolError> {
        match self {
            Source::Scheduler(scheduler) => Ok(scheduler.cancel(wait)?),
            #[cfg(feature = "std")]
            Source::Shard(shard) => shard.cancel(wait),
        }
    }

    /// Ends the wait at this index, which is one.
    pub(super) fn cancel_at(&mut self, wait: u32) {
        match self {
            Source::Scheduler(scheduler) => {
                scheduler.cancel(scheduler.wait_at(wait)).expect("a wait is live until it is ended")
            }
            #[cfg(feature = "std")]
            Source::Shard(shard) => shard.cancel_at(wait),
        }
    }

    /// The wait at this index, which is one, asks in another class from now on.
    pub(super) fn reclass_at(&mut self, wait: u32, class: u8) {
        match self {
            Source::Scheduler(scheduler) => _ = scheduler.reclass_at(wait, class),
            #[cfg(feature = "std")]
            Source::Shard(shard) => shard.reclass_at(wait, class),
        }
    }

    pub(super) fn describe_wait(&self, wait: WaitId) -> Result<WaitInfo, PoolError> {
        match self {
            Source::Scheduler(scheduler) => Ok(scheduler.describe_wait(wait)?),
            #[cfg(feature = "std")]
            Source::Shard(shard) => shard.describe_wait(wait),
        }
    }

    /// The wait at this index, which is one.
    pub(super) fn wait_at(&self, wait: u32) -> WaitId {
        either!(self, from => from.wait_at(wait))
    }

    /// Whether there is nothing to poll; of a shard it is not known without a closer look.
    #[inline(always)]
    pub(super) fn nothing_to_poll(&self) -> bool {
        match self {
            Source::Scheduler(scheduler) => scheduler.nothing_to_poll(),
            #[cfg(feature = "std")]
            Source::Shard(_) => false,
        }
    }

    #[inline]
    pub(super) fn poll_grant(&mut self) -> Option<Grant> {
        either!(self, from => from.poll_grant())
    }
}

/// Leases.
impl Source {
    /// Refuses a lease that is not held, out of reach, or known to be a receiver's.
    #[cfg_attr(not(feature = "std"), expect(unused_variables, reason = "one thread has all leases"))]
    pub(super) fn check_host_lease(&self, lease: LeaseId, reach: Reach) -> Result<(), PoolError> {
        match self {
            Source::Scheduler(scheduler) => Ok(scheduler.check_lease(lease)?),
            #[cfg(feature = "std")]
            Source::Shard(shard) => shard.check_host_lease(lease, reach),
        }
    }

    /// Makes a lease that was checked this thread's, if no thread has it.
    #[cfg_attr(not(feature = "std"), expect(unused_variables, reason = "one thread has all leases"))]
    pub(super) fn claim_host_lease(&self, lease: LeaseId) -> Result<(), PoolError> {
        match self {
            Source::Scheduler(_) => Ok(()),
            #[cfg(feature = "std")]
            Source::Shard(shard) => shard.claim_host_lease(lease),
        }
    }

    /// Makes a lease that was checked a receiver's. It is refused if another thread ended or adopted it since.
    #[cfg_attr(not(feature = "std"), expect(unused_variables, reason = "one thread has all leases"))]
    pub(super) fn adopt_host_lease(&mut self, lease: LeaseId, reach: Reach) -> Result<(), PoolError> {
        match self {
            Source::Scheduler(scheduler) => {
                scheduler.start_timing(lease);
                Ok(())
            }
            #[cfg(feature = "std")]
            Source::Shard(shard) => shard.adopt_host_lease(lease, reach),
        }
    }

    /// Ends a lease that was checked. It is refused if another thread ended or adopted it since.
    #[inline]
    #[cfg_attr(not(feature = "std"), expect(unused_variables, reason = "one thread has all leases"))]
    pub(super) fn release_host_lease(&mut self, lease: LeaseId, reach: Reach) -> Result<(), PoolError> {
        match self {
            Source::Scheduler(scheduler) => Ok(scheduler.release(lease)?),
            #[cfg(feature = "std")]
            Source::Shard(shard) => shard.release_host_lease(lease, reach),
        }
    }

    /// Ends the lease of a receiver that holds this buffer.
    #[inline]
    pub(super) fn release_at(&mut self, buffer: u32) {
        either!(self, from => from.release_at(buffer));
    }

    /// The lease that holds this buffer.
    #[inline]
    pub(super) fn lease_at(&self, buffer: u32) -> LeaseId {
        either!(self, from => from.lease_at(buffer))
    }

    pub(super) fn describe_lease(&self, lease: LeaseId) -> Option<LeaseInfo> {
        match self {
            Source::Scheduler(scheduler) => scheduler.describe_lease(lease).unwrap_or_default(),
            #[cfg(feature = "std")]
            Source::Shard(shard) => shard.describe_lease(lease),
        }
    }

    /// Makes a receiver's lease the host's own.
    pub(super) fn stop_timing(&mut self, lease: LeaseId) {
        either!(self, from => from.stop_timing(lease));
    }

    /// The holder of this buffer consumed bytes.
    #[inline]
    pub(super) fn progress_at(&mut self, buffer: u32, bytes: u64) {
        either!(self, from => from.progress_at(buffer, bytes));
    }

    /// The holder of this buffer is not shed yet, because its host blocks it; says whether that is so.
    pub(super) fn defer_at(&mut self, buffer: u32) -> bool {
        either!(self, from => from.defer_at(buffer))
    }

    #[inline]
    pub(super) fn poll_reclaim(&mut self) -> Option<Reclaim> {
        either!(self, from => from.poll_reclaim())
    }

    /// A buffer was obtained and is about to be written. Buffers of a shared pool have one size.
    #[inline(always)]
    pub(super) fn touch(&self, arena: &mut Arena, buffer: u32) {
        match self {
            Source::Scheduler(scheduler) => arena.touch(buffer, |size_index| scheduler.free_indexes(size_index)),
            #[cfg(feature = "std")]
            Source::Shard(_) => {}
        }
    }

    pub(super) fn trim(&mut self, arena: &mut Arena) -> usize {
        match self {
            Source::Scheduler(scheduler) => {
                let rows = 0..scheduler.buffers_max();
                arena.trim(scheduler.free_to_give_back(rows))
            }
            #[cfg(feature = "std")]
            Source::Shard(shard) => shard.trim(arena),
        }
    }
}

/// Tenants: only a pool of one thread has them.
impl Source {
    pub(super) fn create_tenant(&mut self, tenant_config: &TenantConfig) -> Result<TenantId, PoolError> {
        match self {
            Source::Scheduler(scheduler) => Ok(scheduler.create_tenant(tenant_config)?),
            #[cfg(feature = "std")]
            Source::Shard(_) => Err(PoolError::TenantsUnsupported),
        }
    }

    pub(super) fn remove_tenant(&mut self, tenant: TenantId) -> Result<(), PoolError> {
        match self {
            Source::Scheduler(scheduler) => Ok(scheduler.remove_tenant(tenant)?),
            #[cfg(feature = "std")]
            Source::Shard(shard) => shard.check_tenant(Some(tenant)),
        }
    }

    pub(super) fn describe_tenant(&self, tenant: TenantId) -> Result<TenantInfo, PoolError> {
        match self {
            Source::Scheduler(scheduler) => Ok(scheduler.describe_tenant(tenant)?),
            #[cfg(feature = "std")]
            Source::Shard(_) => Err(PoolError::TenantsUnsupported),
        }
    }

    /// Keeps a tenant while somebody may request buffers of this size in its name; returns its index.
    pub(super) fn pin_tenant(&mut self, tenant: Option<TenantId>, size_index: u8) -> Result<u32, PoolError> {
        match self {
            Source::Scheduler(scheduler) => Ok(scheduler.pin_tenant(tenant, size_index)?),
            #[cfg(feature = "std")]
            Source::Shard(shard) => shard.check_tenant(tenant).map(|()| 0),
        }
    }

    pub(super) fn unpin_tenant(&mut self, index: u32) {
        match self {
            Source::Scheduler(scheduler) => scheduler.unpin_tenant(index),
            #[cfg(feature = "std")]
            Source::Shard(_) => {}
        }
    }
}

/// Time, counts and checks.
impl Source {
    pub(super) fn handle_timeout(&mut self, now_ns: u64) {
        either!(self, from => from.handle_timeout(now_ns));
    }

    pub(super) fn poll_timeout(&self) -> u64 {
        either!(self, from => from.poll_timeout())
    }

    pub(super) fn stats(&self) -> SchedulerStats {
        either!(self, from => from.stats())
    }

    pub(super) fn bypass_bound(&self) -> u64 {
        either!(self, from => from.bypass_bound())
    }

    /// Waits of this thread, queued or assigned; it walks them all.
    pub(super) fn waits(&self) -> u32 {
        match self {
            Source::Scheduler(scheduler) => {
                let stats = scheduler.stats();
                stats.waiting + stats.assigned
            }
            #[cfg(feature = "std")]
            Source::Shard(shard) => shard.waits(),
        }
    }

    pub(super) fn check_invariants(&self) -> Result<(), &'static str> {
        either!(self, from => from.check_invariants())
    }
}
