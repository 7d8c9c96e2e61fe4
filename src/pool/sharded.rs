//! One thread's shard of a shared pool, with what is the thread's own: its clock and the deadlines of its leases.

use super::PoolError;
use super::shared_pool::Common;
use crate::memory::{Arena, TryArc};
use crate::scheduler::{
    Clock, Deadlines, Demand, Grant, LeaseId, LeaseInfo, Outcome, Reach, Reclaim, ReclaimKind, Request, SchedulerError,
    SchedulerStats, TenantId, WaitId, WaitInfo, WaiterScope,
};
use crate::shared::{SchedulerShard, SharedSchedulerError};

/// The most buffers whose pages are given back while other threads wait for the pool.
const GIVE_BACK_MAX: u32 = 16;

/// The most bytes of such buffers, unless one has more.
const GIVE_BACK_BYTES_MAX: u32 = 1 << 20;

#[derive(Debug)]
pub(super) struct Sharded {
    pub(super) shard: SchedulerShard,
    /// Watched while somebody waits, on whichever thread. Each thread asks its own holders.
    deadlines: Deadlines,
    clock: Clock,
    parks_asked: u64,
    sheds_asked: u64,
    /// Keeps the memory of the buffers alive.
    pub(super) common: TryArc<Common>,
}

impl Sharded {
    pub(super) fn new(shard: SchedulerShard, deadlines: Deadlines, clock: Clock, common: TryArc<Common>) -> Sharded {
        Sharded { shard, deadlines, clock, parks_asked: 0, sheds_asked: 0, common }
    }

    pub(super) fn request_for(&mut self, request: &Request) -> Result<Outcome, PoolError> {
        let outcome = self.shard.request_for(request)?;
        if let Outcome::Granted(lease) = outcome {
            self.start(lease, request.has_deadline);
        }
        Ok(outcome)
    }

    pub(super) fn request_now(&mut self, request: &Request) -> Result<Option<LeaseId>, PoolError> {
        let lease = self.shard.request_now(request)?;
        if let Some(lease) = lease {
            self.start(lease, request.has_deadline);
        }
        Ok(lease)
    }

    pub(super) fn poll_grant(&mut self) -> Option<Grant> {
        let grant = self.shard.poll_grant()?;
        self.start(grant.lease, grant.has_deadline);
        Some(grant)
    }

    pub(super) fn check_host_lease(&self, lease: LeaseId, reach: Reach) -> Result<(), PoolError> {
        Ok(self.shard.check_host_lease(lease, reach)?)
    }

    pub(super) fn claim_host_lease(&self, lease: LeaseId) -> Result<(), PoolError> {
        Ok(self.shard.claim_host_lease(lease)?)
    }

    pub(super) fn adopt_host_lease(&mut self, lease: LeaseId, reach: Reach) -> Result<(), PoolError> {
        self.shard.adopt_host_lease(lease, reach)?;
        self.start(lease, true);
        Ok(())
    }

    pub(super) fn release_host_lease(&self, lease: LeaseId, reach: Reach) -> Result<(), PoolError> {
        Ok(self.shard.release_host_lease(lease, reach)?)
    }

    pub(super) fn release_at(&mut self, buffer: u32) {
        self.deadlines.stop(buffer);
        self.shard.release_timed(self.lease_at(buffer)).expect("only this shard ends the leases of its receivers");
    }

    pub(super) fn stop_timing(&mut self, lease: LeaseId) {
        self.shard.hand_over_lease(lease);
        self.deadlines.stop(lease.index());
    }

    pub(super) fn export_lease(&mut self, lease: LeaseId) {
        self.deadlines.stop(lease.index());
        self.shard.export_lease(lease);
    }

    pub(super) fn import_lease(&mut self, lease: LeaseId) -> Result<(), PoolError> {
        self.shard.import_lease(lease)?;
        self.start(lease, true);
        Ok(())
    }

    fn start(&mut self, lease: LeaseId, has_deadline: bool) {
        if has_deadline {
            self.deadlines.start(lease.index(), 0, 1, self.clock.now_ns());
        }
    }

    pub(super) fn lease_at(&self, buffer: u32) -> LeaseId {
        self.shard.lease_at(buffer)
    }

    pub(super) fn describe_lease(&self, lease: LeaseId) -> Option<LeaseInfo> {
        self.deadlines.describe(lease.index(), self.clock.now_ns())
    }

    pub(super) fn progress_at(&mut self, buffer: u32, bytes: u64) {
        self.deadlines.progress(buffer, bytes, self.clock.now_ns());
    }

    pub(super) fn defer_at(&mut self, buffer: u32) -> bool {
        let is_deferred = self.deadlines.defer(buffer, self.clock.now_ns());
        self.sheds_asked -= u64::from(is_deferred);
        is_deferred
    }

    pub(super) fn poll_reclaim(&mut self) -> Option<Reclaim> {
        if !self.shard.has_waiters() {
            return None;
        }
        let (index, kind) = match self.deadlines.poll(WaiterScope::Any, self.clock.now_ns())? {
            Demand::Park(index) => (index, ReclaimKind::Park),
            Demand::Shed(index) => (index, ReclaimKind::Shed),
        };
        match kind {
            ReclaimKind::Park => self.parks_asked += 1,
            ReclaimKind::Shed => self.sheds_asked += 1,
        }
        let lease_info =
            self.deadlines.describe(index, self.clock.now_ns()).expect("the deadlines name timed leases only");
        Some(Reclaim { lease: self.lease_at(index), token: 0, kind, lease_info })
    }

    pub(super) fn cancel(&mut self, wait: WaitId) -> Result<(), PoolError> {
        Ok(self.shard.cancel(wait)?)
    }

    pub(super) fn cancel_at(&mut self, wait: u32) {
        self.shard.cancel_at(wait);
    }

    pub(super) fn reclass_at(&mut self, wait: u32, class: u8) {
        self.shard.reclass_at(wait, class);
    }

    pub(super) fn wait_at(&self, wait: u32) -> WaitId {
        self.shard.wait_at(wait)
    }

    pub(super) fn describe_wait(&self, wait: WaitId) -> Result<WaitInfo, PoolError> {
        Ok(self.shard.describe_own_wait(wait)?)
    }

    pub(super) fn waits(&self) -> u32 {
        self.shard.waits()
    }

    /// There are none.
    pub(super) fn check_tenant(&self, tenant: Option<TenantId>) -> Result<(), PoolError> {
        tenant.map_or(Ok(()), |_| Err(PoolError::TenantsUnsupported))
    }

    pub(super) fn check_open(&self) -> Result<(), PoolError> {
        if self.shard.is_closed() { Err(PoolError::PoolClosed) } else { Ok(()) }
    }

    /// Gives the pages of free buffers back, a few at a time: other threads can wait for the pool meanwhile.
    pub(super) fn trim(&self, arena: &mut Arena) -> usize {
        let rows = (GIVE_BACK_BYTES_MAX / arena.buffer_bytes(0)).clamp(1, GIVE_BACK_MAX);
        self.shard.with_free(rows, |free| arena.trim(free))
    }

    pub(super) fn handle_timeout(&mut self, now_ns: u64) {
        self.clock.advance(now_ns);
        self.shard.handle_timeout(now_ns);
    }

    pub(super) fn poll_timeout(&self) -> u64 {
        if !self.shard.has_waiters() {
            return u64::MAX;
        }
        // What others do not pick up is a matter of the common clock, and in the host's time already.
        self.clock.host_ns(self.deadlines.next_ns(WaiterScope::Any)).min(self.shard.overdue_ns())
    }

    pub(super) fn bypass_bound(&self) -> u64 {
        self.shard.bypass_bound()
    }

    pub(super) fn stats(&self) -> SchedulerStats {
        let (parks_asked, sheds_asked) = (self.parks_asked, self.sheds_asked);
        let clock_skipped_ns = self.clock.skipped_ns();
        SchedulerStats { parks_asked, sheds_asked, clock_skipped_ns, ..self.shard.pool_stats() }
    }

    pub(super) fn check_invariants(&self) -> Result<(), &'static str> {
        self.shard.check_invariants()?;
        // Where there are no tenants, none is kept.
        self.deadlines.check(|buffer| self.shard.has_timed(buffer), |_| false)
    }
}

/// What the receivers of this thread held goes to the others; the leases of the host's own stay.
impl Drop for Sharded {
    fn drop(&mut self) {
        self.shard.leave_leases();
    }
}

impl From<SharedSchedulerError> for PoolError {
    fn from(error: SharedSchedulerError) -> PoolError {
        match error {
            SharedSchedulerError::Scheduler(error) => error.into(),
            SharedSchedulerError::Closed => PoolError::PoolClosed,
            SharedSchedulerError::ExportsFull => PoolError::ExportsFull,
            SharedSchedulerError::WrongThread => PoolError::WrongThread,
            // For this thread, a wait of another shard is as foreign as one of another pool.
            SharedSchedulerError::WaitElsewhere => SchedulerError::StaleWait.into(),
            SharedSchedulerError::WaitNotExported
            | SharedSchedulerError::UnknownShard { .. }
            | SharedSchedulerError::ShardInUse { .. } => PoolError::Stale,
        }
    }
}
