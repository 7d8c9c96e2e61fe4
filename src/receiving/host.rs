//! Buffers of the host's own: requested, waited for, released, and passed to and from receivers with their content.

use super::ReceivingPool;
use super::transfer::Content;
use crate::connection::Event;
use crate::pool::{LeasedContent, Notice, PoolError, ReceiverId};
use crate::scheduler::{LeaseId, Outcome, Request, SchedulerError, WaitId};

impl ReceivingPool {
    /// Asks for a buffer of the host's own.
    ///
    /// # Errors
    ///
    /// The class, the size or the tenant does not exist; it could never be granted; it would have to wait, and the table of
    /// waits is full.
    pub fn request(&mut self, request: &Request) -> Result<Outcome, PoolError> {
        self.leave_fast_path();
        let request = Request { has_deadline: false, ..*request };
        self.memory.secure_borrow();
        let outcome = self.memory.buffers_mut().scheduler.request_for(&request)?;
        if let Outcome::Granted(lease) = outcome {
            self.set_host_lease(lease, true);
        }
        Ok(outcome)
    }

    /// Releases a buffer of the host's own. The next waiter has it in the same step.
    ///
    /// # Errors
    ///
    /// The lease is stale, foreign, or a receiver's; nothing is changed.
    pub fn release(&mut self, lease: LeaseId) -> Result<(), PoolError> {
        self.check_host_lease(lease)?;
        self.set_host_lease(lease, false);
        self.memory.buffers_mut().scheduler.release_at(lease.index());
        Ok(())
    }

    /// Ends a wait. If a buffer was assigned to it, the next waiter has it in the same step.
    ///
    /// # Errors
    ///
    /// The wait is stale or foreign; nothing is changed.
    pub fn cancel(&mut self, wait: WaitId) -> Result<(), PoolError> {
        Ok(self.memory.buffers_mut().scheduler.cancel(wait)?)
    }

    /// The memory of a buffer of the host's own.
    ///
    /// # Errors
    ///
    /// The lease is stale, foreign, or a receiver's.
    pub fn buffer(&mut self, lease: LeaseId) -> Result<&mut [u8], PoolError> {
        self.check_host_lease(lease)?;
        Ok(self.memory.arena_mut().buffer_mut(lease.index()))
    }

    /// Attaches a connection with bytes that are there already (a protocol upgrade): they are copied. `Decode` is pending
    /// then.
    ///
    /// # Errors
    ///
    /// The table is full; the bytes do not fit into a buffer; there is no room for what a decoder may leave of them. Nothing
    /// is changed.
    pub fn attach_with(&mut self, token: u64, unknown_length: bool, bytes: &[u8]) -> Result<ReceiverId, PoolError> {
        if bytes.is_empty() {
            return self.attach(token, unknown_length);
        }
        let buffered_bytes = u32::try_from(bytes.len()).map_err(|_| PoolError::TooManyBytes)?;
        if buffered_bytes > self.memory.config().buffer_bytes {
            return Err(PoolError::TooManyBytes);
        }
        let index = self.insert(token, unknown_length)?;
        if !self.memory.receive_earlier(index, bytes) {
            self.memory.close(index).expect("it is attached");
            self.table.remove(index);
            return Err(PoolError::NoBufferFree);
        }
        Ok(self.begin_attached(index, buffered_bytes))
    }

    /// Attaches a connection to a leased buffer and the content in it, without copying. The lease is the receiver's.
    ///
    /// # Errors
    ///
    /// The lease is stale or not the host's; the content does not lie inside the buffer; the table is full. The lease stays the
    /// host's then.
    pub fn adopt(&mut self, token: u64, unknown_length: bool, content: LeasedContent) -> Result<ReceiverId, PoolError> {
        let LeasedContent { lease, offset, buffered_bytes } = content;
        self.check_host_lease(lease)?;
        let end = offset.checked_add(buffered_bytes).ok_or(PoolError::TooManyBytes)?;
        if end > self.memory.config().buffer_bytes {
            return Err(PoolError::TooManyBytes);
        }
        let index = self.insert(token, unknown_length)?;
        self.set_host_lease(lease, false);
        self.memory.buffers_mut().adopt_buffer();
        self.memory.adopt(index, Content { buffer: lease.index(), start: offset, bytes: buffered_bytes });
        Ok(self.begin_attached(index, buffered_bytes))
    }

    fn begin_attached(&mut self, index: u32, buffered_bytes: u32) -> ReceiverId {
        self.counts.received_bytes += u64::from(buffered_bytes);
        self.feed(index, Event::Attach { buffered_bytes, capacity: buffered_bytes });
        self.reconcile(index);
        self.table.id(index)
    }

    /// Takes what a receiver has not decoded away from it, with a buffer: the lease is the host's. Reading goes on.
    ///
    /// # Errors
    ///
    /// The handle is stale or foreign; nothing is undecoded; no buffer is free that it could leave with. Nothing is changed.
    pub fn take(&mut self, id: ReceiverId) -> Result<LeasedContent, PoolError> {
        let index = self.table.find(id)?;
        self.leave_fast_path();
        self.follow_shed(index);
        if self.table.connection(index).buffered_bytes() == 0 {
            return Err(PoolError::NoBuffer);
        }
        self.memory.secure_borrow();
        let Content { buffer, start, bytes } = self.memory.take(index).ok_or(PoolError::NoBufferFree)?;
        self.memory.buffers_mut().give_away();
        let lease = self.memory.buffers().scheduler.lease_at(buffer);
        self.set_host_lease(lease, true);
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
        let grant = self.memory.buffers_mut().scheduler.poll_grant()?;
        self.set_host_lease(grant.lease, true);
        Some(Notice::Lease { wait: grant.wait, token: grant.token, lease: grant.lease })
    }

    fn check_host_lease(&self, lease: LeaseId) -> Result<(), PoolError> {
        self.memory.buffers().scheduler.check_lease(lease)?;
        if self.host_leases.get(lease.index()) { Ok(()) } else { Err(SchedulerError::StaleLease.into()) }
    }

    fn set_host_lease(&mut self, lease: LeaseId, is_host_lease: bool) {
        self.host_leases.set(lease.index(), is_host_lease);
    }
}
