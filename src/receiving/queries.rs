//! Counts, descriptions and places.

use super::{ReceivingPool, Totals};
use crate::connection::Actions;
use crate::pool::{MemoryModelStats, PoolError, PoolStats, ReceiverId, ReceiverInfo};
use crate::scheduler::{ReclaimStats, SchedulerError, TenantId, TenantInfo, WaitId, WaitInfo};
use core::ptr::NonNull;

impl ReceivingPool {
    /// Gives all handles these bits, of [`SALT`](crate::scheduler::SALT), before there are any.
    #[doc(hidden)]
    pub fn salt(&mut self, salt: u32) {
        self.table.salt(salt);
    }

    /// The number of a lease, wait or tenant as C has it; and of C's, the number here. Those of receivers are the same.
    #[doc(hidden)]
    #[inline]
    pub fn salted(&self, bits: u64) -> u64 {
        bits ^ self.table.salted()
    }

    /// The row of a receiver, for the calls that take it.
    #[doc(hidden)]
    #[inline]
    pub fn find(&self, id: ReceiverId) -> Result<u32, PoolError> {
        self.table.find(id)
    }

    /// A hint that events of this receiver follow soon, as [`Pool::prefetch`](crate::pool::Pool::prefetch).
    #[inline]
    pub fn prefetch(&self, id: ReceiverId) {
        self.table.prefetch(id);
    }

    /// Where the next receive goes, if `Recv` is pending, or else what is undecoded, for C: an address and a length, without a
    /// borrow.
    #[doc(hidden)]
    #[inline]
    pub fn area(&self, index: u32, is_receive: bool) -> Option<(NonNull<u8>, u32)> {
        if !self.memory.borrows_lightly(index) {
            return self.memory.area(index, is_receive);
        }
        let buffered_bytes = self.table.connection(index).buffered_bytes();
        match is_receive {
            true if buffered_bytes == 0 => self.memory.receive_buffer_area(self.memory.config().buffer_bytes),
            true => None,
            false => self.memory.receive_buffer_area(buffered_bytes),
        }
    }

    /// There is one size of buffers, so none is larger.
    ///
    /// # Errors
    ///
    /// Always.
    #[doc(hidden)]
    pub fn grow_at(&mut self, _index: u32, size_index: u8) -> Result<Actions, PoolError> {
        Err(if size_index == 0 { PoolError::NotLarger } else { SchedulerError::UnknownSize { size_index }.into() })
    }

    /// Counts. Needs no buffer or allocation. Those of the scheduler are of all buffers, and one that receivers use, be it to
    /// receive or cut into cells, counts as leased.
    pub fn stats(&self) -> PoolStats {
        let scheduler = &self.memory.buffers().scheduler;
        let Totals { shed_at_deadline, evicted, shed_for_memory, .. } = self.memory.totals();
        PoolStats {
            scheduler: scheduler.stats(),
            reclaim: ReclaimStats { clock_skipped_ns: self.memory.clock_skipped_ns(), ..scheduler.reclaim_stats() },
            receivers: self.table.len(),
            receivers_max: self.memory.config().receivers_max,
            shed: shed_at_deadline + evicted + shed_for_memory,
            received_bytes: self.counts.received_bytes,
            consumed_bytes: self.counts.consumed_bytes,
            dropped_bytes: self.counts.dropped_bytes,
            taken_bytes: self.counts.taken_bytes,
            memory_bytes: self.memory.arena().resident_bytes_max() as u64,
            memory_model: self.model_stats(),
            ..PoolStats::default()
        }
    }

    fn model_stats(&self) -> MemoryModelStats {
        let totals = self.memory.totals();
        MemoryModelStats {
            claims: totals.claims,
            grants: totals.grants,
            trials: totals.trials,
            shed_at_deadline: totals.shed_at_deadline,
            evicted: totals.evicted,
            shed_for_memory: totals.shed_for_memory,
            longest_claim_ns: totals.longest_claim_ns,
            wait_ns_max: self.memory.config().wait_ns_max(),
            copied_bytes: totals.copied_bytes,
        }
    }

    /// Everything there is to print about a receiver. One that claims waits.
    ///
    /// # Errors
    ///
    /// The handle is stale or foreign.
    pub fn describe(&self, id: ReceiverId) -> Result<ReceiverInfo, PoolError> {
        let index = self.table.find(id)?;
        Ok(ReceiverInfo {
            pending: self.pending_at(index),
            connection: self.table.connection(index).clone(),
            token: self.table.token(index),
            class: self.table.class(index),
            wait_age_ns: self.memory.claim_age_ns(index).unwrap_or(0),
            bypasses: 0,
            lease_info: None,
            shed_reason: self.memory.shed_reason(index),
        })
    }

    /// How a wait of the host's own stands.
    ///
    /// # Errors
    ///
    /// The wait is stale or foreign.
    pub fn describe_wait(&self, wait: WaitId) -> Result<WaitInfo, PoolError> {
        Ok(self.memory.buffers().scheduler.describe_wait(wait)?)
    }

    /// How a tenant stands, also while it is going away.
    ///
    /// # Errors
    ///
    /// The tenant is stale or foreign.
    pub fn describe_tenant(&self, tenant: TenantId) -> Result<TenantInfo, PoolError> {
        Ok(self.memory.buffers().scheduler.describe_tenant(tenant)?)
    }

    /// The most grants to other requests that one of the host's own could have had before it.
    pub fn bypass_bound(&self) -> u64 {
        self.memory.buffers().scheduler.bypass_bound()
    }

    /// As [`Pool::poll_wake`](crate::pool::Pool::poll_wake) of a pool of one thread: `None`.
    #[doc(hidden)]
    pub fn poll_wake(&mut self) -> Option<u32> {
        None
    }

    /// Returns the pages of free buffers to the operating system, and reports how many bytes, as
    /// [`Pool::trim`](crate::pool::Pool::trim).
    pub fn trim(&mut self) -> usize {
        self.memory.trim()
    }
}
