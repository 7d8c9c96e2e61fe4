//! Counts and descriptions. They change nothing.

use super::table::Place;
use super::{BufferSource, Pool, PoolError, PoolStats, ReceiverId, ReceiverInfo};
use crate::scheduler::{TenantId, TenantInfo, WaitId, WaitInfo};

impl<S: BufferSource> Pool<S> {
    /// Counts. Needs no buffer, lock or allocation.
    pub fn stats(&self) -> PoolStats {
        PoolStats {
            scheduler: self.source.stats(),
            reclaim: self.source.reclaim_stats(),
            receivers: self.table.len(),
            receivers_max: self.config.receivers_max,
            slots: self.memory.slots().count(),
            slots_in_use: self.memory.slots().in_use(),
            slots_in_use_by_size: self.memory.slots().in_use_by_size(),
            slots_in_use_peak: self.memory.slots().in_use_peak(),
            memory_bytes: self.memory.resident_bytes_max() as u64,
            ..self.counts
        }
    }

    /// Everything there is to print about a receiver.
    ///
    /// # Errors
    ///
    /// The handle is stale or foreign.
    pub fn describe(&self, id: ReceiverId) -> Result<ReceiverInfo, PoolError> {
        let index = self.table.find(id)?;
        let wait = self.table.wait(index).and_then(|wait| self.source.describe_wait(self.source.wait_at(wait)).ok());
        let lease_info = match self.table.place(index) {
            Place::Buffer(buffer) => self.source.describe_lease(self.source.lease_at(buffer)),
            Place::Slot(_) | Place::Nowhere => None,
        };
        Ok(ReceiverInfo {
            pending: self.pending_at(index),
            connection: self.table.connection(index).clone(),
            token: self.table.token(index),
            class: self.table.class(index),
            wait_age_ns: wait.map_or(0, |wait| wait.age_ns),
            bypasses: wait.map_or(0, |wait| wait.bypasses),
            lease_info,
            shed_reason: None,
        })
    }

    /// The published bound: the most grants to other requests that a waiter, of whichever class, could have had.
    pub fn bypass_bound(&self) -> u64 {
        self.source.bypass_bound()
    }

    /// How a wait stands: the host's own, or a receiver's.
    ///
    /// # Errors
    ///
    /// The wait is stale, foreign, or of another thread.
    pub fn describe_wait(&self, wait: WaitId) -> Result<WaitInfo, PoolError> {
        self.source.describe_wait(wait)
    }

    /// How a tenant stands, also while it is going away.
    ///
    /// # Errors
    ///
    /// The tenant is stale or foreign.
    pub fn describe_tenant(&self, tenant: TenantId) -> Result<TenantInfo, PoolError> {
        self.source.describe_tenant(tenant)
    }
}
