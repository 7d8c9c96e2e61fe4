//! Where the pool of one thread gets its buffers: the thread's shard of a shared scheduler, the thread's clock, and the
//! deadlines of its receivers' leases.

use super::common::Common;
use super::{SchedulerShard, SharedSchedulerError};
use crate::alloc_util::TryArc;
use crate::memory::{Arena, Reach};
use crate::pool::{PoolError, Source};
use crate::scheduler::{
    Clock, Deadlines, Demand, Grant, LeaseId, LeaseInfo, Outcome, Reclaim, ReclaimKind, ReclaimStats, Request,
    SchedulerError, SchedulerStats, WaitId, WaitInfo, WaiterScope,
};

/// The most buffers that are trimmed while other threads wait for the pool.
const TRIM_BUFFERS_MAX: u32 = 16;

/// The most bytes of such buffers, unless one has more.
const TRIM_BYTES_MAX: u32 = 1 << 20;

/// Where the pool of one thread of a [`SharedPool`](super::SharedPool) gets its buffers: `Pool<PoolShard>` is that pool.
#[derive(Debug)]
pub struct PoolShard {
    pub(super) shard: SchedulerShard,
    /// They run while a request waits, on whichever thread. Each thread asks its own holders.
    deadlines: Deadlines,
    clock: Clock,
    reclaim: ReclaimStats,
    /// Keeps the memory of the buffers alive.
    pub(super) common: TryArc<Common>,
}

impl PoolShard {
    pub(super) fn new(shard: SchedulerShard, deadlines: Deadlines, clock: Clock, common: TryArc<Common>) -> PoolShard {
        PoolShard { shard, deadlines, clock, reclaim: ReclaimStats::default(), common }
    }

    /// Takes a receiver's lease off this shard.
    pub(super) fn export_lease(&mut self, lease: LeaseId) {
        self.deadlines.stop(lease.index());
        self.shard.export_lease(lease);
    }

    /// Makes an exported lease one of this shard's receivers. It is refused if it was not exported.
    pub(super) fn import_lease(&mut self, lease: LeaseId) -> Result<(), PoolError> {
        self.shard.import_lease(lease)?;
        self.start(lease, true);
        Ok(())
    }

    #[inline(always)]
    fn start(&mut self, lease: LeaseId, has_deadline: bool) {
        if has_deadline {
            self.deadlines.start(lease.index(), 0, 1, self.clock.now_ns());
        }
    }
}

/// A shared scheduler has no tenants, and one size of buffers.
fn check_request(request: &Request) -> Result<(), PoolError> {
    match (request.tenant, request.size_index) {
        (None, 0) => Ok(()),
        (Some(_), _) => Err(PoolError::TenantsUnsupported),
        (None, size_index) => Err(SchedulerError::UnknownSize { size_index }.into()),
    }
}

/// There is one size of buffers and no tenants, so the index of a tenant is always 0.
impl Source for PoolShard {
    /// Takes a buffer from this shard's cache, if there is one and the class has no cap. No lock.
    #[inline(always)]
    fn try_fast_grant(&mut self, _arena: &Arena, request: &Request, _tenant: u32) -> Option<u32> {
        let lease = self.shard.take_cached_now(request)?;
        self.start(lease, request.has_deadline);
        Some(lease.index())
    }

    /// A waiter of any thread is assigned the buffer, as by `release_at`.
    #[inline(always)]
    fn try_fast_release(&mut self, buffer: u32) -> bool {
        if !self.deadlines.try_fast_stop(buffer) {
            return false;
        }
        self.shard
            .release_timed(self.shard.lease_at(buffer))
            .expect("only this shard ends the leases of its receivers");
        true
    }

    /// It is not known without a closer look.
    #[inline(always)]
    fn nothing_to_poll(&self) -> bool {
        false
    }

    fn request_in(&mut self, request: &Request, _tenant: u32) -> Result<Outcome, PoolError> {
        let outcome = self.shard.request_for(request)?;
        if let Outcome::Granted(lease) = outcome {
            self.start(lease, request.has_deadline);
        }
        Ok(outcome)
    }

    fn request_for(&mut self, request: &Request) -> Result<Outcome, PoolError> {
        check_request(request)?;
        self.request_in(request, 0)
    }

    fn try_request(&mut self, request: &Request) -> Result<Option<LeaseId>, PoolError> {
        check_request(request)?;
        let lease = self.shard.try_request(request)?;
        if let Some(lease) = lease {
            self.start(lease, request.has_deadline);
        }
        Ok(lease)
    }

    /// There are no larger buffers.
    fn admit_beside(&mut self, _held: u32, _request: &Request, _tenant: u32) -> Result<(), PoolError> {
        Ok(())
    }

    fn cancel(&mut self, wait: WaitId) -> Result<(), PoolError> {
        Ok(self.shard.cancel(wait)?)
    }

    fn cancel_at(&mut self, wait: u32) {
        self.shard.cancel_at(wait);
    }

    fn reclass_at(&mut self, wait: u32, class: u8) {
        self.shard.reclass_at(wait, class);
    }

    fn describe_wait(&self, wait: WaitId) -> Result<WaitInfo, PoolError> {
        Ok(self.shard.describe_own_wait(wait)?)
    }

    fn wait_at(&self, wait: u32) -> WaitId {
        self.shard.wait_at(wait)
    }

    fn waits(&self) -> u32 {
        self.shard.waits()
    }

    fn check_host_lease(&self, lease: LeaseId, reach: Reach) -> Result<(), PoolError> {
        Ok(self.shard.check_host_lease(lease, reach)?)
    }

    fn claim_host_lease(&self, lease: LeaseId) -> Result<(), PoolError> {
        Ok(self.shard.claim_host_lease(lease)?)
    }

    fn adopt_host_lease(&mut self, lease: LeaseId, reach: Reach) -> Result<(), PoolError> {
        self.shard.adopt_host_lease(lease, reach)?;
        self.start(lease, true);
        Ok(())
    }

    fn release_host_lease(&mut self, lease: LeaseId, reach: Reach) -> Result<(), PoolError> {
        Ok(self.shard.release_host_lease(lease, reach)?)
    }

    fn lease_at(&self, buffer: u32) -> LeaseId {
        self.shard.lease_at(buffer)
    }

    fn release_at(&mut self, buffer: u32) {
        self.deadlines.stop(buffer);
        self.shard.release_timed(self.lease_at(buffer)).expect("only this shard ends the leases of its receivers");
    }

    fn stop_timing(&mut self, lease: LeaseId) {
        self.shard.hand_over_lease(lease);
        self.deadlines.stop(lease.index());
    }

    fn progress_at(&mut self, buffer: u32, bytes: u64) {
        self.deadlines.progress(buffer, bytes, self.clock.now_ns());
    }

    fn defer_at(&mut self, buffer: u32) -> bool {
        let is_deferred = self.deadlines.defer(buffer, self.clock.now_ns());
        if is_deferred {
            self.reclaim.take_back(ReclaimKind::Shed);
        }
        is_deferred
    }

    /// No holder waits for a larger buffer: there are none.
    fn spare_if_alone(&mut self, _wait: u32, _reclaim: &Reclaim) -> bool {
        false
    }

    fn describe_lease(&self, lease: LeaseId) -> Option<LeaseInfo> {
        self.deadlines.describe(lease.index(), self.clock.now_ns())
    }

    fn poll_grant(&mut self) -> Option<Grant> {
        let grant = self.shard.poll_grant()?;
        self.start(grant.lease, grant.has_deadline);
        Some(grant)
    }

    fn poll_reclaim(&mut self) -> Option<Reclaim> {
        if !self.shard.has_waiters() {
            return None;
        }
        let (index, kind) = match self.deadlines.poll(WaiterScope::Any, self.clock.now_ns())? {
            Demand::Park(index) => (index, ReclaimKind::Park),
            Demand::Shed(index) => (index, ReclaimKind::Shed),
        };
        self.reclaim.ask(kind);
        let lease_info =
            self.deadlines.describe(index, self.clock.now_ns()).expect("the deadlines name timed leases only");
        Some(Reclaim { lease: self.lease_at(index), token: 0, kind, lease_info })
    }

    fn poll_wake(&mut self) -> Option<u32> {
        self.shard.poll_wake()
    }

    fn next_grant(&self) -> Option<WaitId> {
        self.shard.next_grant()
    }

    const IS_SHARED: bool = true;

    fn last_advance_ns(&self) -> Option<u64> {
        self.clock.last_advance_ns()
    }

    fn handle_timeout(&mut self, now_ns: u64) {
        self.clock.advance(now_ns);
        self.shard.handle_timeout(now_ns);
    }

    fn poll_timeout(&self) -> Option<u64> {
        if !self.shard.has_waiters() {
            return None;
        }
        let own_ns = self.deadlines.next_ns(WaiterScope::Any).and_then(|due_ns| self.clock.host_ns(due_ns));
        // Grants that other threads do not pick up are timed by the common clock, which has the host's time.
        [own_ns, self.shard.overdue_ns()].into_iter().flatten().min()
    }

    fn check_open(&self) -> Result<(), PoolError> {
        if self.shard.is_closed() { Err(PoolError::PoolClosed) } else { Ok(()) }
    }

    fn check_thread(&self) -> Result<(), PoolError> {
        Ok(self.shard.check_thread()?)
    }

    /// Trims a few buffers at a time: other threads can wait for the pool meanwhile.
    fn trim(&mut self, arena: &mut Arena) -> usize {
        let rows = (TRIM_BYTES_MAX / arena.buffer_bytes(0)).clamp(1, TRIM_BUFFERS_MAX);
        self.shard.with_free(rows, |free| arena.trim(free))
    }

    fn stats(&self) -> SchedulerStats {
        self.shard.stats().scheduler
    }

    fn reclaim_stats(&self) -> ReclaimStats {
        ReclaimStats { clock_skipped_ns: self.clock.skipped_ns(), ..self.reclaim }
    }

    fn bypass_bound(&self) -> u64 {
        self.shard.bypass_bound()
    }

    fn check_invariants(&self) -> Result<(), &'static str> {
        self.shard.check_invariants()?;
        // Where there are no tenants, none is cap-blocked.
        self.deadlines.check(|buffer| self.shard.has_timed(buffer), |_| false)
    }
}

/// The buffers of this thread's receivers return to the other threads; the leases of the host's own stay.
impl Drop for PoolShard {
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
