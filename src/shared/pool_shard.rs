//! Where the receivers of one thread get their buffers: from the thread's shard, a few ahead, so that what a receive
//! leaves has a place whatever other threads take.

use super::asks::Asked;
use super::cache::Holder;
use super::common::Common;
use super::lease_deadlines::LeaseDeadlines;
use super::shard_tenants::ShardTenants;
use super::{SchedulerShard, SharedSchedulerError};
use crate::alloc_util::{TryArc, reserve};
use crate::config_error::ConfigError;
use crate::memory::{Arena, Reach};
use crate::pool::{PoolError, Source};
use crate::receiving::{Buffers, Wanted};
use crate::scheduler::{
    Grant, LeaseId, LoadOrder, Outcome, Request, SchedulerError, SchedulerStats, TenantConfig, TenantId, TenantInfo,
    WaitId, WaitInfo,
};
use alloc::vec::Vec;

/// The most buffers that a shard has ready while it waits for more.
const STOCK_MAX: u32 = 4;

/// The most buffers that are trimmed while other threads wait for the pool.
const TRIM_BUFFERS_MAX: u32 = 16;

/// The most bytes of such buffers, unless one has more.
const TRIM_BYTES_MAX: u32 = 1 << 20;

/// The buffers of one thread of a [`SharedPool`](super::SharedPool): `Pool<PoolShard>` is the pool of that thread.
///
/// What is ready is leased to this shard's receivers, and one of it is the *spare*. Where receivers wait for memory,
/// one wait of the shard stands for all of them: in the receivers' class if the first is in credit, else in a class of
/// its own that leaves the reserve.
#[derive(Debug)]
pub struct PoolShard {
    pub(super) shard: SchedulerShard,
    /// Keeps the memory of the buffers alive.
    pub(super) common: TryArc<Common>,
    /// Free for this shard's receivers alone.
    stock: Vec<u32>,
    /// Buffers that were free for all beside, when this shard looked last.
    seen_free: u32,
    /// Leases of this shard's receivers, with what is ready.
    taken: u32,
    /// Waits of the host's own.
    host_waits: u32,
    wait: Option<Wait>,
    /// Of leases of the host's own; none if the configuration has none.
    deadlines: Option<LeaseDeadlines>,
    tenants: ShardTenants,
}

/// The wait of a shard for its receivers.
#[derive(Clone, Copy, Debug)]
struct Wait {
    id: WaitId,
    wanted: Wanted,
    /// It is in the receivers' class, whatever is wanted.
    is_of_receivers: bool,
}

impl PoolShard {
    /// The shard, with the buffers that were reserved for its receivers.
    pub(super) fn new(shard: SchedulerShard, common: TryArc<Common>) -> Result<PoolShard, ConfigError> {
        let stock = reserve("shards", common.seeds_max().max(STOCK_MAX))?;
        let deadlines = LeaseDeadlines::new(common.config.lease_ns, common.split.buffers)?;
        let tenants = ShardTenants::new(common.config.tenants_max, common.split.buffer_bytes)?;
        let (seen_free, taken, host_waits, wait) = (0, 0, 0, None);
        let mut source = PoolShard { shard, common, stock, seen_free, taken, host_waits, wait, deadlines, tenants };
        source.common.clone().take_seeds(source.shard.index(), |lease| {
            source.shard.import_lease(lease).expect("what waits for this shard is no other's");
            source.stock_up(lease);
        });
        Ok(source)
    }
}

impl PoolShard {
    /// What a receiver of this shard asks for.
    fn request(&self) -> Request {
        Request::new(self.common.receivers_class(), 0)
    }

    /// A buffer is this shard's receivers', and free.
    fn stock_up(&mut self, lease: LeaseId) {
        self.stock.push(lease.index());
        self.taken += 1;
        self.look();
    }

    fn release_at(&mut self, buffer: u32) {
        self.taken -= 1;
        self.shard
            .release_of_receivers(self.shard.lease_at(buffer))
            .expect("only this shard ends the leases of its receivers");
    }

    /// A lease of the host's own begins.
    fn start_deadline(&mut self, lease: LeaseId, token: u64, has_deadline: bool) {
        if let Some(deadlines) = self.deadlines.as_mut().filter(|_| has_deadline) {
            deadlines.start(lease, token);
        }
    }

    /// A lease is the host's own no more.
    fn stop_deadline(&mut self, lease: LeaseId) {
        if let Some(deadlines) = &mut self.deadlines {
            deadlines.stop(lease);
        }
    }

    /// Takes a buffer of a receiver off this shard.
    pub(super) fn export_buffer(&mut self, buffer: u32) -> LeaseId {
        let lease = self.shard.lease_at(buffer);
        self.shard.export_lease(lease);
        self.taken -= 1;
        lease
    }

    /// Makes an exported lease one of this shard's receivers. It is refused if it was not exported.
    pub(super) fn import_lease(&self, lease: LeaseId) -> Result<(), PoolError> {
        Ok(self.shard.import_lease(lease)?)
    }

    /// It did so.
    #[inline]
    pub(super) fn count_imported(&mut self) {
        self.taken += 1;
    }

    /// A receiver of this shard moves, and its tenant with it.
    #[inline]
    pub(super) fn export_tenant(&mut self, tenant: u32) {
        self.tenants.unpin(tenant);
    }

    /// It has come, and its tenant with it.
    #[inline]
    pub(super) fn import_tenant(&mut self, tenant: u32, had_buffer: bool) {
        self.tenants.pin(tenant);
        if had_buffer && self.common.config.tenants_max > 0 {
            self.hold_moving(tenant, false);
        }
    }

    /// The wait is over: it was served, or no receiver waits any more.
    fn end_wait(&mut self) {
        if let Some(wait) = self.wait.take() {
            self.shard.ask(None);
            self.shard.cancel(wait.id).expect("only this shard ends its wait");
        }
    }

    /// The wait of the shard was served, in the receivers' class or in the one behind it.
    fn serve(&mut self, lease: LeaseId, is_of_receivers: bool) {
        if is_of_receivers || !self.common.are_receivers_capped() {
            return self.stock_up(lease);
        }
        // It counts for the class of the wait, and is to count for that of receivers.
        self.shard.release_of_receivers(lease).expect("it was granted just now");
        let stock = self.stock.len() as u32;
        self.make_ready(stock + 1);
        if self.stock.len() as u32 > stock {
            return;
        }
        // Receivers are at their cap: it waits until they are not.
        match self.shard.request_any(&self.request(), Holder::Receivers) {
            Ok(Outcome::Granted(lease)) => self.stock_up(lease),
            Ok(Outcome::Queued(id)) => {
                self.wait = Some(Wait { id, wanted: Wanted::BesideReserve, is_of_receivers: true });
            }
            Err(error) => unreachable!("each shard has a wait for its receivers: {error}"),
        }
    }
}

impl Buffers for PoolShard {
    #[inline(always)]
    fn free(&self) -> u32 {
        match self.stock.len() as u32 {
            0 => 0,
            stock => stock + self.seen_free,
        }
    }

    /// Those that are taken before it are ready: they count in the class of receivers already.
    fn may_adopt(&self, buffer: u32, _taken_before: u32) -> bool {
        self.shard.may_adopt(buffer, self.common.receivers_class())
    }

    fn taken(&self) -> u32 {
        self.taken - self.stock.len() as u32
    }

    fn take(&mut self) -> Option<u32> {
        self.stock.pop()
    }

    fn give(&mut self, buffer: u32) {
        if self.stock.is_empty() {
            self.stock.push(buffer);
        } else {
            self.release_at(buffer);
            self.look();
        }
    }

    #[inline(always)]
    fn make_ready(&mut self, buffers: u32) {
        while (self.stock.len() as u32) < buffers {
            let lease = if self.shard.free_buffers() > 0 {
                self.shard.try_request(&self.request(), Holder::Receivers)
            } else {
                Ok(None)
            };
            match lease {
                Ok(Some(lease)) => self.stock_up(lease),
                // What was seen is gone.
                Ok(None) | Err(_) => {
                    self.seen_free = 0;
                    return;
                }
            }
        }
    }

    #[inline(always)]
    fn free_once_ready(&mut self, _before: u32) -> u32 {
        self.make_ready(1);
        self.free()
    }

    fn look(&mut self) {
        self.seen_free = self.shard.free_buffers().saturating_sub(self.common.receivers_reserve());
    }

    fn reserve(&self, _before: u32) -> u32 {
        self.shard.reserve_of(self.common.receivers_class() + 1) - self.common.receivers_reserve()
    }

    fn return_spares(&mut self) -> bool {
        let free = self.free();
        while self.stock.len() > 1 {
            let buffer = self.take().expect("there is more than one");
            self.release_at(buffer);
            self.look();
        }
        self.free() > free
    }

    fn settle(&mut self, wanted: Option<Wanted>, may_ask: bool) -> bool {
        self.return_spares();
        // One that is in credit has what it needs.
        let wanted = wanted.filter(|wanted| *wanted == Wanted::BesideReserve || self.stock.is_empty());
        let is_asked = self.wait.map(|wait| wait.wanted) == wanted;
        if is_asked || wanted.is_some() && !may_ask {
            return false;
        }
        self.end_wait();
        let Some(wanted) = wanted else { return false };
        let is_of_receivers = wanted == Wanted::Any;
        let class = self.common.receivers_class() + u8::from(!is_of_receivers);
        match self.shard.request_any(&Request { class, ..self.request() }, Holder::Receivers) {
            Ok(Outcome::Granted(lease)) => {
                self.serve(lease, is_of_receivers);
                true
            }
            Ok(Outcome::Queued(id)) => {
                self.wait = Some(Wait { id, wanted, is_of_receivers });
                false
            }
            Err(error) => unreachable!("each shard has a wait for its receivers: {error}"),
        }
    }

    /// A request waits, on whichever thread.
    fn is_wanted(&self) -> bool {
        self.shard.is_wanted()
    }

    fn tenants_max(&self) -> u32 {
        self.common.config.tenants_max
    }

    fn keep(&mut self, tenant: u32, less_bytes: u32, more_bytes: u32) {
        self.tenants.keep(&self.shard, tenant, less_bytes, more_bytes);
    }

    fn kept_bytes(&self, tenant: u32) -> u64 {
        self.tenants.kept_bytes(tenant)
    }

    fn set_wants(&mut self, tenant: u32, order: LoadOrder, wants: bool) {
        self.tenants.set_wants(&self.shard, tenant, order, wants);
    }

    fn first_in(&self, order: LoadOrder) -> Option<u32> {
        self.tenants.first_in(order)
    }

    fn look_at_first(&mut self, order: LoadOrder) {
        self.tenants.look_at_first(&self.shard, order);
    }

    fn waits_for_cap(&self) -> bool {
        self.tenants.waits_for_cap()
    }

    fn next_to_evict(&self, claimant: u32, less_bytes: u32, more_bytes: u32) -> Option<u32> {
        self.tenants.next_to_evict(&self.shard, claimant, less_bytes, more_bytes)
    }

    fn ask(&mut self, claim: Option<(u32, u32)>) {
        let claim = claim.filter(|_| self.wait.is_some());
        self.shard.ask(claim.map(|(claimant, more_bytes)| Asked { claimant, more_bytes }));
    }

    fn next_to_evict_for_others(&mut self) -> Option<u32> {
        self.tenants.next_to_evict_for_others(&self.shard)
    }

    fn is_capped(&self, tenant: u32) -> bool {
        self.shard.load(tenant).is_capped(self.common.split.buffer_bytes)
    }

    fn begin_exchange(&mut self, tenant: u32, less_bytes: u32) -> bool {
        self.shard.begin_exchange(tenant, less_bytes)
    }

    fn hold_moving(&mut self, tenant: u32, holds: bool) {
        let buffer_bytes = self.common.split.buffer_bytes;
        let (less_bytes, more_bytes) = if holds { (0, buffer_bytes) } else { (buffer_bytes, 0) };
        self.shard.keep(tenant, less_bytes, more_bytes);
    }

    fn end_exchange(&mut self, tenant: u32, buffer: Option<u32>) {
        self.shard.end_exchange(tenant, buffer);
    }
}

/// There is one size of buffers.
fn check_request(request: &Request, classes: u8) -> Result<(), PoolError> {
    let Request { class, size_index, .. } = *request;
    if size_index > 0 {
        return Err(SchedulerError::UnknownSize { size_index }.into());
    }
    // The one above is for waits of shards.
    if class >= classes { Err(SchedulerError::UnknownClass { class, classes }.into()) } else { Ok(()) }
}

impl Source for PoolShard {
    fn classes(&self) -> u8 {
        self.common.receivers_class() + 1
    }

    fn request_for(&mut self, request: &Request) -> Result<Outcome, PoolError> {
        check_request(request, self.classes())?;
        // The table of waits has one more for each shard.
        let waiters_max = self.common.config.waiters_max;
        if self.host_waits == waiters_max {
            let lease = self.try_request(request)?.ok_or(SchedulerError::WaitersFull { waiters_max })?;
            return Ok(Outcome::Granted(lease));
        }
        let outcome = self.shard.request_any(request, Holder::Host)?;
        match outcome {
            Outcome::Granted(lease) => self.start_deadline(lease, request.token, request.has_deadline),
            Outcome::Queued(_) => self.host_waits += 1,
        }
        Ok(outcome)
    }

    fn try_request(&mut self, request: &Request) -> Result<Option<LeaseId>, PoolError> {
        check_request(request, self.classes())?;
        let lease = self.shard.try_request(request, Holder::Host)?;
        if let Some(lease) = lease {
            self.start_deadline(lease, request.token, request.has_deadline);
        }
        Ok(lease)
    }

    fn is_used_by_host(&self) -> bool {
        self.host_waits > 0
    }

    fn has_deadlines(&self) -> bool {
        self.deadlines.is_some()
    }

    fn renew(&mut self, lease: LeaseId) -> Result<(), PoolError> {
        let is_renewed = self.deadlines.as_mut().is_some_and(|deadlines| deadlines.renew(lease));
        if is_renewed { Ok(()) } else { Err(PoolError::NoDeadline) }
    }

    fn poll_overdue(&mut self, receivers_wait: bool) -> Option<(LeaseId, u64)> {
        if !receivers_wait && !self.shard.has_waiters() {
            return None;
        }
        // Another thread may have ended a lease since.
        self.deadlines.as_mut()?.poll(|lease| self.shard.check_host_lease(lease, Reach::HERE).is_ok())
    }

    fn has_overdue(&self, receivers_wait: bool) -> bool {
        let may_be = receivers_wait || self.shard.has_waiters();
        may_be && self.deadlines.as_ref().is_some_and(LeaseDeadlines::has_overdue)
    }

    fn cancel(&mut self, wait: WaitId) -> Result<(), PoolError> {
        self.describe_wait(wait)?;
        self.shard.cancel(wait)?;
        self.host_waits -= 1;
        Ok(())
    }

    fn poll_grant(&mut self) -> Option<Grant> {
        loop {
            let grant = self.shard.poll_grant()?;
            let Some(wait) = self.wait.take_if(|wait| wait.id == grant.wait) else {
                self.host_waits -= 1;
                self.start_deadline(grant.lease, grant.token, grant.has_deadline);
                return Some(grant);
            };
            self.shard.ask(None);
            self.serve(grant.lease, wait.is_of_receivers);
        }
    }

    /// The shard's own wait is none of the host's.
    fn describe_wait(&self, wait: WaitId) -> Result<WaitInfo, PoolError> {
        if self.wait.is_some_and(|own| own.id == wait) {
            return Err(SchedulerError::StaleWait.into());
        }
        Ok(self.shard.describe_own_wait(wait)?)
    }

    /// Not that of the shard, which the poll takes.
    fn next_grant(&self) -> Option<WaitId> {
        self.shard.next_grant().filter(|wait| self.wait.is_none_or(|own| own.id != *wait))
    }

    fn has_grants(&self) -> bool {
        self.shard.is_called()
    }

    const IS_SHARED: bool = true;

    fn check_host_lease(&self, lease: LeaseId, reach: Reach) -> Result<(), PoolError> {
        Ok(self.shard.check_host_lease(lease, reach)?)
    }

    fn claim_host_lease(&self, lease: LeaseId) -> Result<(), PoolError> {
        Ok(self.shard.claim_host_lease(lease)?)
    }

    fn release_host_lease(
        &mut self,
        lease: LeaseId,
        reach: Reach,
        retire: Option<&mut dyn FnMut(u32)>,
    ) -> Result<(), PoolError> {
        let Some(retire) = retire else {
            self.shard.release_host_lease(lease, reach)?;
            self.stop_deadline(lease);
            return Ok(());
        };
        // Of several threads that release it at once one has it, and takes its memory back.
        self.shard.retire_host_lease(lease, reach)?;
        self.stop_deadline(lease);
        self.taken += 1;
        retire(lease.index());
        self.release_at(lease.index());
        Ok(())
    }

    fn adopt_host_lease(&mut self, lease: LeaseId, reach: Reach) -> Result<(), PoolError> {
        if !self.shard.adopt_host_lease(lease, reach, self.common.receivers_class())? {
            return Err(PoolError::NoBufferFree);
        }
        self.stop_deadline(lease);
        self.taken += 1;
        Ok(())
    }

    fn hand_over(&mut self, buffer: u32) -> LeaseId {
        let lease = self.shard.lease_at(buffer);
        self.shard.hand_over_lease(lease);
        self.taken -= 1;
        lease
    }

    fn lease_at(&self, buffer: u32) -> LeaseId {
        self.shard.lease_at(buffer)
    }

    #[inline(always)]
    fn nothing_to_poll(&self) -> bool {
        // A thread that sleeps has one spare.
        self.stock.len() <= 1 && self.wait.is_none() && !self.shard.has_waiters() && !self.shard.is_called()
    }

    fn handle_timeout(&mut self, now_ns: u64) {
        self.shard.handle_timeout(now_ns);
        if let Some(deadlines) = &mut self.deadlines {
            deadlines.handle_timeout(now_ns);
        }
        self.tenants.look(&self.shard);
    }

    /// Grants that other threads do not pick up are timed by the common clock, which has the host's time.
    fn poll_timeout(&self, receivers_wait: bool) -> Option<u64> {
        let has_waiters = self.shard.has_waiters();
        let pick_up_ns = if has_waiters { self.shard.overdue_ns() } else { None };
        let deadlines = self.deadlines.as_ref().filter(|_| receivers_wait || has_waiters);
        [pick_up_ns, deadlines.and_then(LeaseDeadlines::next_ns)].into_iter().flatten().min()
    }

    fn poll_wake(&mut self) -> Option<u32> {
        self.shard.poll_wake()
    }

    fn create_tenant(&mut self, config: &TenantConfig) -> Result<TenantId, PoolError> {
        Ok(self.shard.create_tenant(config)?)
    }

    fn remove_tenant(&mut self, tenant: TenantId) -> Result<(), PoolError> {
        Ok(self.shard.remove_tenant(tenant)?)
    }

    fn describe_tenant(&self, tenant: TenantId) -> Result<TenantInfo, PoolError> {
        Ok(self.shard.describe_tenant(tenant)?)
    }

    fn pin_tenant(&mut self, tenant: Option<TenantId>) -> Result<u32, PoolError> {
        let Some(tenant) = tenant else {
            return Ok(0);
        };
        let index = self.shard.pin_tenant(tenant)?;
        self.tenants.pin(index);
        Ok(index)
    }

    #[inline]
    fn unpin_tenant(&mut self, index: u32) {
        if index > 0 {
            self.tenants.unpin(index);
            self.shard.unpin_tenant(index);
        }
    }

    fn check_open(&self) -> Result<(), PoolError> {
        if self.shard.is_closed() { Err(PoolError::PoolClosed) } else { Ok(()) }
    }

    fn check_thread(&self) -> Result<(), PoolError> {
        Ok(self.shard.check_thread()?)
    }

    fn leave(&mut self, retire: &mut dyn FnMut(u32)) {
        self.shard.ask(None);
        self.stock.clear();
        self.tenants.leave(&self.shard);
        self.shard.leave_leases(|lease| {
            retire(lease.index());
            self.common.keep_seed(self.shard.index(), lease)
        });
    }

    fn set_limit(&mut self, bytes: u64) -> Result<(), ConfigError> {
        self.common.set_limit(&self.shard, bytes)
    }

    /// Trims a few buffers at a time: other threads can wait for the pool meanwhile.
    fn trim(&mut self, arena: &mut Arena) -> usize {
        let rows = (TRIM_BYTES_MAX / arena.buffer_bytes(0)).clamp(1, TRIM_BUFFERS_MAX);
        self.shard.with_free(rows, |free| arena.trim(free))
    }

    fn stats(&self) -> SchedulerStats {
        self.shard.stats().scheduler
    }

    fn bypass_bound(&self) -> u64 {
        self.shard.bypass_bound()
    }

    fn check_invariants(&self) -> Result<(), &'static str> {
        self.tenants.check()?;
        if self.wait.is_none() && self.shard.shard_state().asks() {
            return Err("I2: a shard that asks others waits");
        }
        self.shard.check_invariants()
    }
}

/// The buffers of this thread's receivers return to the other threads, but for those that the next pool of this thread
/// begins with; the leases of the host's own stay.
impl Drop for PoolShard {
    fn drop(&mut self) {
        // Nothing is left if the pool did it. There may be no pool: its tables could not be reserved.
        self.leave(&mut |_| {});
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
