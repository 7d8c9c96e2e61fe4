//! Buffers of the host's own: requested, waited for, released, and taken from receivers with their content.

use super::{BufferSource, LeasedContent, Notice, Pool, PoolError, ReceiverId};
use crate::connection::Event;
use crate::memory::Reach;
use crate::receiving::Content;
use crate::scheduler::{LeaseId, Outcome, Request, TenantConfig, TenantId, WaitId};
use core::ptr::NonNull;

impl<S: BufferSource> Pool<S> {
    /// Asks for a buffer of the host's own, of the default tenant.
    ///
    /// # Errors
    ///
    /// As [`request_for`](Pool::request_for).
    pub fn request(&mut self, class: u8, token: u64) -> Result<Outcome, PoolError> {
        self.request_for(&Request::new(class, token))
    }

    /// Asks for a buffer of the host's own, in the name of any tenant, and with a deadline if it asks for one:
    /// [`Notice::Overdue`] names the lease if it is held for `lease_ns` while others wait.
    ///
    /// # Errors
    ///
    /// It asks for a deadline, and the configuration has no `lease_ns`; the class, the size (there is one) or the
    /// tenant does not exist; it could never be granted; it would have to wait, and the table of waits is full.
    pub fn request_for(&mut self, request: &Request) -> Result<Outcome, PoolError> {
        self.ask(request, S::check_request, S::request_for)
    }

    /// Asks for a buffer of the host's own that is granted at once or not at all: `None` if the request would have to
    /// wait.
    ///
    /// # Errors
    ///
    /// It asks for a deadline, and the configuration has no `lease_ns`; the class, the size (there is one) or the
    /// tenant does not exist; it could never be granted.
    pub fn try_request(&mut self, request: &Request) -> Result<Option<LeaseId>, PoolError> {
        self.ask(request, S::check_try_request, S::try_request)
    }

    /// What is received now may need a place, which no request takes. A request that is refused leaves that as it is.
    fn ask<T>(
        &mut self,
        request: &Request,
        check: impl FnOnce(&mut S, &Request) -> Result<(), PoolError>,
        call: impl FnOnce(&mut S, &Request) -> Result<T, PoolError>,
    ) -> Result<T, PoolError> {
        if request.has_deadline && !self.memory.buffers().has_deadlines() {
            return Err(PoolError::DeadlinesOff);
        }
        self.leave_fast_path();
        // A request takes nothing of what a shard has ready.
        if !S::IS_SHARED && self.memory.secures_borrow() {
            check(self.memory.buffers_mut(), request)?;
            self.memory.secure_borrow();
        }
        let asked = call(self.memory.buffers_mut(), request)?;
        if S::IS_SHARED {
            self.memory.secure_borrow();
        }
        Ok(asked)
    }

    /// What is received now may need a place, which no request takes.
    pub(super) fn secure_borrow(&mut self) {
        self.leave_fast_path();
        self.memory.secure_borrow();
    }

    /// Releases a buffer of the host's own. The next waiter has it in the same step.
    ///
    /// # Errors
    ///
    /// The lease is stale, foreign, or a receiver's; nothing is changed.
    pub fn release(&mut self, lease: LeaseId) -> Result<(), PoolError> {
        self.release_within(lease, Reach::HERE)
    }

    /// As `release`, of a lease within reach.
    #[doc(hidden)]
    pub fn release_within(&mut self, lease: LeaseId, reach: Reach) -> Result<(), PoolError> {
        self.leave_fast_path();
        let (must_retire, wipes) = (self.memory.must_retire(), self.memory.wipes());
        self.memory.with_arena(|source, arena| {
            let retire: &mut dyn FnMut(u32) = &mut |buffer| arena.retire(buffer, wipes);
            source.release_host_lease(lease, reach, must_retire.then_some(retire))
        })
    }

    /// The deadline of a lease of the host's own begins anew: its holder makes progress. Cost: O(1).
    ///
    /// # Errors
    ///
    /// The lease is stale, foreign, or a receiver's; it has no deadline in this pool, be it one that another thread
    /// requested.
    pub fn renew_lease(&mut self, lease: LeaseId) -> Result<(), PoolError> {
        self.check_host_lease(lease, Reach::ANYWHERE)?;
        self.memory.buffers_mut().renew(lease)
    }

    /// Ends a wait. If a buffer was assigned to it, the next waiter has it in the same step.
    ///
    /// # Errors
    ///
    /// The wait is stale or foreign; nothing is changed.
    pub fn cancel(&mut self, wait: WaitId) -> Result<(), PoolError> {
        self.leave_fast_path();
        self.memory.buffers_mut().cancel(wait)
    }

    /// The memory of a buffer of the host's own.
    ///
    /// # Errors
    ///
    /// The lease is stale, foreign, or a receiver's.
    pub fn buffer(&mut self, lease: LeaseId) -> Result<&mut [u8], PoolError> {
        self.check_host_lease(lease, Reach::HERE)?;
        self.memory.buffers().claim_host_lease(lease)?;
        Ok(self.memory.arena_mut().buffer_mut(lease.index()))
    }

    /// As [`buffer`](Pool::buffer), for C: without a borrow.
    #[doc(hidden)]
    pub fn buffer_area(&self, lease: LeaseId) -> Result<(NonNull<u8>, u32), PoolError> {
        self.check_host_lease(lease, Reach::ANYWHERE)?;
        let buffer_bytes = self.memory.config().buffer_bytes;
        self.memory.arena().lend(lease.index(), 0..buffer_bytes);
        Ok((self.memory.arena().address(lease.index()), buffer_bytes))
    }

    /// The lease of the buffer that an address lies in, be it the first byte, the last or one between them. The address
    /// is compared, never followed. Cost: O(1).
    ///
    /// # Errors
    ///
    /// The address lies in no buffer of the pool; or in one that is free, or a receiver's (a stale lease).
    pub fn lease_of_address(&self, address: *const u8) -> Result<LeaseId, PoolError> {
        let buffer = self.memory.arena().index_at(address).ok_or(PoolError::UnknownAddress)?;
        let lease = self.memory.buffers().lease_at(buffer);
        self.check_host_lease(lease, Reach::ANYWHERE)?;
        Ok(lease)
    }

    /// Takes a tenant in, for receivers and for requests of the host's own. Cost: O(1).
    ///
    /// # Errors
    ///
    /// A field of the share is out of range; the table of tenants is full.
    pub fn create_tenant(&mut self, tenant_config: &TenantConfig) -> Result<TenantId, PoolError> {
        self.leave_fast_path();
        self.memory.buffers_mut().create_tenant(tenant_config)
    }

    /// Removes a tenant. It goes away with its last receiver, lease and wait.
    ///
    /// # Errors
    ///
    /// The tenant is stale or foreign.
    pub fn remove_tenant(&mut self, tenant: TenantId) -> Result<(), PoolError> {
        self.leave_fast_path();
        self.memory.buffers_mut().remove_tenant(tenant)
    }

    /// Takes what a receiver has not decoded away from it, with a buffer: the lease is the host's. Reading goes on.
    ///
    /// # Errors
    ///
    /// The handle is stale or foreign; a receive is in flight; bytes are in place, are looked at, or are to be received
    /// away; nothing is undecoded; no buffer is free that it could leave with, or the receiver's tenant may have none.
    /// Nothing of the receiver is changed; what others kept past their deadline may have been evicted to make room.
    pub fn take(&mut self, id: ReceiverId) -> Result<LeasedContent, PoolError> {
        let index = self.table.find(id)?;
        self.leave_fast_path();
        self.follow_shed(index);
        self.check_not_in_flight(index)?;
        self.check_not_in_place(index)?;
        self.check_no_look(index)?;
        if self.table.connection(index).buffered_bytes() == 0 {
            return Err(PoolError::NoBuffer);
        }
        let Content { buffer, start, bytes } = self.memory.take(index).ok_or(PoolError::NoBufferFree)?;
        let lease = self.memory.buffers_mut().hand_over(buffer);
        self.counts.taken_bytes += u64::from(bytes);
        if self.table.connection(index).is_waiting() {
            // The claim has ended with what was kept. The machine is to ask anew, not to wait on.
            let capacity = self.memory.config().buffer_bytes;
            self.feed(index, Event::BufferGranted { capacity });
        }
        self.feed(index, Event::BufferReleased);
        self.reconcile(index);
        Ok(LeasedContent { lease, offset: start, buffered_bytes: bytes })
    }

    /// A request of the host's own that waited and was granted.
    pub(super) fn poll_lease(&mut self) -> Option<Notice> {
        let grant = self.memory.buffers_mut().poll_grant()?;
        Some(Notice::Lease { wait: grant.wait, token: grant.token, lease: grant.lease })
    }

    /// A lease of the host's own that is held for too long.
    pub(super) fn poll_overdue(&mut self) -> Option<Notice> {
        let receivers_wait = self.memory.has_waiting_receivers();
        let (lease, token) = self.memory.buffers_mut().poll_overdue(receivers_wait)?;
        Some(Notice::Overdue { token, lease })
    }

    pub(super) fn check_host_lease(&self, lease: LeaseId, reach: Reach) -> Result<(), PoolError> {
        self.memory.buffers().check_host_lease(lease, reach)
    }
}
