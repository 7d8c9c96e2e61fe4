//! Buffers of the host's own: requested, waited for and released beside those of receivers.

use super::{BufferSource, Pool, PoolError};
use crate::memory::{Reach, poison};
use crate::scheduler::{LeaseId, Outcome, Request, SchedulerError, WaitId};
use core::ptr::NonNull;

impl<S: BufferSource> Pool<S> {
    /// Asks for a buffer of the host's own (transmit, stream ...), with its own place in the queue: of the default size,
    /// of the default tenant.
    ///
    /// # Errors
    ///
    /// As [`request_for`](Pool::request_for).
    pub fn request(&mut self, class: u8, token: u64) -> Result<Outcome, PoolError> {
        self.request_for(&Request::new(class, token))
    }

    /// Asks for a buffer of the host's own, of any size and in the name of any tenant. A lease of the host's own never has
    /// a deadline, so `has_deadline` makes no difference here.
    ///
    /// # Errors
    ///
    /// The class, the size or the tenant does not exist; it could never be granted; it would have to wait, and as many of
    /// the host's wait already as the configuration has room for beside the receivers.
    pub fn request_for(&mut self, request: &Request) -> Result<Outcome, PoolError> {
        let request = Request { has_deadline: false, ..*request };
        // The receivers' places in the table are theirs: each of them may have to wait at any time.
        let host_waits_max = self.config.scheduler.waiters_max - self.config.receivers_max;
        if self.host_waits == host_waits_max {
            let lease = self.try_request(&request)?;
            return Ok(Outcome::Granted(lease.ok_or(SchedulerError::WaitersFull { waiters_max: host_waits_max })?));
        }
        let outcome = self.source.request_for(&request)?;
        match outcome {
            Outcome::Granted(lease) => self.touch(lease),
            Outcome::Queued(_) => self.host_waits += 1,
        }
        Ok(outcome)
    }

    /// Asks for a buffer of the host's own that is granted at once or not at all: `None` if the request would have to wait.
    /// It is never queued, so no notice follows; and it goes before no request that is.
    ///
    /// # Errors
    ///
    /// The class, the size or the tenant does not exist; it could never be granted; the shared pool is closed.
    pub fn try_request(&mut self, request: &Request) -> Result<Option<LeaseId>, PoolError> {
        let lease = self.source.try_request(&Request { has_deadline: false, ..*request })?;
        if let Some(lease) = lease {
            self.touch(lease);
        }
        Ok(lease)
    }

    /// Releases a buffer of the host's own. It is handed to the next waiter in the same step.
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
        self.check_host_lease(lease, reach)?;
        if poison::IS_ON || self.memory.wipes() {
            // Of several threads that release it at once one has it, and takes its memory back.
            self.source.adopt_host_lease(lease, reach)?;
            self.release_buffer(lease.index());
            return Ok(());
        }
        self.source.release_host_lease(lease, reach)
    }

    /// Ends a wait of the host's own. If a buffer was assigned to it, the next waiter has it in the same step.
    ///
    /// # Errors
    ///
    /// The wait is stale, foreign, or a receiver's; nothing is changed.
    pub fn cancel(&mut self, wait: WaitId) -> Result<(), PoolError> {
        if self.source.describe_wait(wait)?.has_deadline {
            return Err(SchedulerError::StaleWait.into());
        }
        self.source.cancel(wait)?;
        self.host_waits -= 1;
        Ok(())
    }

    /// The memory of a buffer of the host's own.
    ///
    /// # Errors
    ///
    /// The lease is stale, foreign, or a receiver's.
    pub fn buffer(&mut self, lease: LeaseId) -> Result<&mut [u8], PoolError> {
        self.check_host_lease(lease, Reach::HERE)?;
        self.source.claim_host_lease(lease)?;
        Ok(self.memory.arena_mut().buffer_mut(lease.index()))
    }

    /// As [`buffer`](Pool::buffer), for C: without a borrow, and of any thread's lease.
    #[doc(hidden)]
    pub fn buffer_area(&self, lease: LeaseId) -> Result<(NonNull<u8>, u32), PoolError> {
        self.check_host_lease(lease, Reach::ANYWHERE)?;
        let arena = self.memory.arena();
        self.lend_buffer(lease.index());
        Ok((arena.address(lease.index()), arena.bytes_of(lease.index())))
    }

    /// The lease of the buffer that an address lies in, be it the first byte, the last or one between them: for hosts that
    /// hand on pointers into their buffers. The address is compared, never followed. Cost: O(1).
    ///
    /// # Errors
    ///
    /// The address lies in no buffer of the pool; or in one that is free, or a receiver's (a stale lease).
    pub fn lease_of_address(&self, address: *const u8) -> Result<LeaseId, PoolError> {
        let buffer = self.memory.arena().index_at(address).ok_or(PoolError::UnknownAddress)?;
        let lease = self.source.lease_at(buffer);
        // A number gives no access to the buffer; the calls that do look at the thread of the lease.
        self.check_host_lease(lease, Reach::ANYWHERE)?;
        Ok(lease)
    }

    pub(super) fn check_host_lease(&self, lease: LeaseId, reach: Reach) -> Result<(), PoolError> {
        self.source.check_host_lease(lease, reach)?;
        match self.table.holder(lease.index()) {
            None => Ok(()),
            Some(_) => Err(SchedulerError::StaleLease.into()),
        }
    }
}
