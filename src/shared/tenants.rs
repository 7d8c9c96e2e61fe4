//! What tenants hold over all shards, and how requests in their names see what receivers keep.
//!
//! Receivers change what a tenant holds without the lock. The scheduler behind the lock has to know it only while it
//! decides on a request in the tenant's name: so a tenant with a cap or a guarantee is *tracked* from before a request
//! of it may wait until none does, and while it is, each change leads to the scheduler. A thread that queues a request
//! sets `is_tracked`, then reads `kept_bytes`; a thread whose receivers keep more or less writes `kept_bytes`, then
//! reads `is_tracked`. A fence between the two on either side makes sure that one of them sees the other.

use super::cache::Holder;
use super::state::{Locked, Shared};
use super::sync::Ordering;
use super::totals::Total;
use super::{SchedulerShard, SharedSchedulerError};
use crate::scheduler::{Load, Request, SchedulerError, TenantConfig, TenantId, TenantInfo};

/// Tenants that a shard which ends leaves while it holds the lock.
pub(super) const LEFT_AT_ONCE: usize = 32;

impl Shared {
    /// The scheduler learns what the receivers of a tenant keep.
    fn see_kept(&self, state: &mut Locked, tenant: u32) {
        if tenant > 0 && self.totals.are_used() {
            state.scheduler.set_kept_bytes(tenant, self.totals.kept_bytes(tenant));
            self.note_load(state, tenant);
        }
    }

    /// A request of this tenant may wait from now on: the scheduler knows, and learns, what its receivers keep.
    pub(super) fn track(&self, state: &mut Locked, tenant: u32) {
        if tenant > 0 && self.totals.are_used() {
            if state.scheduler.is_limited(tenant) {
                self.totals.track(tenant, true);
            }
            self.see_kept(state, tenant);
        }
    }

    /// Ends what `track` began, if no request of the tenant waits.
    pub(super) fn untrack(&self, state: &Locked, tenant: u32) {
        if tenant > 0 && self.totals.are_used() && !state.scheduler.has_limited_waits(tenant) {
            self.totals.track(tenant, false);
        }
    }

    /// What a tenant has leased, or may have, has changed.
    pub(super) fn note_load(&self, state: &Locked, tenant: u32) {
        if tenant == 0 || !self.totals.are_used() {
            return;
        }
        let Total { leased, weight, guaranteed, cap, .. } = &self.totals.totals[tenant as usize];
        let load = state.scheduler.load(tenant);
        let now = [state.scheduler.outstanding_of(tenant), load.weight, load.guaranteed, load.cap];
        for (shown, now) in [leased, weight, guaranteed, cap].into_iter().zip(now) {
            if shown.load(Ordering::Relaxed) != now {
                shown.store(now, Ordering::Relaxed);
            }
        }
    }

    /// Whether a tenant may have a buffer more, counted from the leases and from what receivers keep: for the check of
    /// invariants.
    pub(super) fn is_below_cap(&self, state: &Locked, tenant: u32) -> bool {
        let kept = if self.totals.are_used() {
            self.totals.kept_bytes(tenant).div_ceil(self.totals.unit_bytes.into()) as u32
        } else {
            0
        };
        tenant == 0 || state.scheduler.leases_of(tenant) + kept < state.scheduler.load(tenant).cap
    }

    /// Whether the scheduler knows what the receivers of a tenant keep, where it makes a difference.
    pub(super) fn are_totals_known(&self, state: &Locked) -> bool {
        (1..).zip(self.totals.totals.iter().skip(1)).all(|(tenant, total)| {
            !state.scheduler.has_limited_waits(tenant)
                || (total.is_tracked.load(Ordering::Relaxed)
                    && state.scheduler.kept_bytes(tenant) == self.totals.kept_bytes(tenant))
        })
    }

    /// Compares what is counted for each tenant with what its receivers keep.
    pub(super) fn check_kept(&self, kept_bytes: impl Fn(u32) -> u64) -> Result<(), &'static str> {
        let are_equal =
            (0..self.totals.totals.len() as u32).all(|tenant| kept_bytes(tenant) == self.totals.kept_bytes(tenant));
        if are_equal { Ok(()) } else { Err("I1: a tenant holds what its receivers keep on all shards") }
    }
}

impl SchedulerShard {
    /// Takes a tenant in, for all shards. Cost: O(1), and the lock, as all calls about tenants.
    ///
    /// # Errors
    ///
    /// A field is out of range; the guarantees would be more than the pool; the table is full.
    pub fn create_tenant(&self, tenant_config: &TenantConfig) -> Result<TenantId, SharedSchedulerError> {
        let outcome = self.locked(|state| {
            let tenant = state.scheduler.create_tenant(tenant_config)?;
            self.shared.see_kept(state, tenant.index());
            Ok(tenant)
        });
        self.count_refusal(outcome)
    }

    /// Removes a tenant: it takes no more requests on any shard, and goes away with its last lease, wait and receiver.
    ///
    /// # Errors
    ///
    /// The tenant is stale or foreign.
    pub fn remove_tenant(&self, tenant: TenantId) -> Result<(), SharedSchedulerError> {
        let outcome = self.locked(|state| {
            let index = state.scheduler.find_tenant(tenant).ok_or(SchedulerError::StaleTenant)?;
            self.shared.see_kept(state, index);
            state.scheduler.remove_tenant(tenant)?;
            self.shared.note_load(state, index);
            Ok(())
        });
        self.count_refusal(outcome)
    }

    /// How a tenant stands, also while it is going away.
    ///
    /// # Errors
    ///
    /// The tenant is stale or foreign.
    pub fn describe_tenant(&self, tenant: TenantId) -> Result<TenantInfo, SharedSchedulerError> {
        self.locked(|state| {
            let index = state.scheduler.known_tenant(tenant).ok_or(SchedulerError::StaleTenant)?;
            self.shared.see_kept(state, index);
            Ok(state.scheduler.describe_tenant(tenant)?)
        })
    }

    /// Asks for a buffer in the name of any tenant: granted at once, or queued. [`Request::has_deadline`] makes no
    /// difference.
    ///
    /// # Errors
    ///
    /// As [`SchedulerShard::request`]; the tenant is stale or foreign; the size is not the default.
    pub fn request_for(&self, request: &Request) -> Result<crate::scheduler::Outcome, SharedSchedulerError> {
        self.request_any(&Request { has_deadline: false, ..*request }, Holder::Host)
    }

    /// Keeps a tenant while a receiver is in its name; returns its index.
    pub(super) fn pin_tenant(&self, tenant: TenantId) -> Result<u32, SharedSchedulerError> {
        let outcome = self.locked(|state| state.scheduler.pin_tenant(Some(tenant), 0));
        self.count_refusal(outcome.map_err(SharedSchedulerError::from))
    }

    /// Undoes one `pin_tenant`.
    pub(super) fn unpin_tenant(&self, tenant: u32) {
        self.locked(|state| self.leave_tenant(state, tenant, 1));
    }

    fn leave_tenant(&self, state: &mut Locked, tenant: u32, pins: u32) {
        // If it goes away, it has nothing.
        self.shared.see_kept(state, tenant);
        if tenant > 0 {
            state.scheduler.unpin_all(tenant, pins);
        }
    }

    /// This shard's receivers keep nothing any more, of these tenants: with the bytes and the receivers in the name of
    /// each.
    pub(super) fn leave_tenants(&self, tenants: &[(u32, u64, u32)]) {
        if self.shared.is_broken() {
            return;
        }
        self.locked(|state| {
            for &(tenant, kept_bytes, pins) in tenants {
                self.shared.totals.keep(tenant, kept_bytes, 0);
                self.leave_tenant(state, tenant, pins);
            }
        });
        self.shared.state.0.let_others_in();
    }

    /// A cell of a receiver of this tenant had `less_bytes`, and has `more_bytes`. It takes the lock only if a request
    /// waits that this may serve or block.
    pub(super) fn keep(&self, tenant: u32, less_bytes: u32, more_bytes: u32) {
        if self.shared.totals.keep(tenant, less_bytes.into(), more_bytes.into()) {
            self.locked(|state| {
                self.shared.see_kept(state, tenant);
                self.shared.untrack(state, tenant);
            });
        }
    }

    /// What a tenant holds and may hold, over all shards.
    pub(super) fn load(&self, tenant: u32) -> Load {
        self.shared.totals.load(tenant)
    }

    /// As [`Scheduler::begin_exchange`](crate::scheduler::Scheduler::begin_exchange).
    pub(super) fn begin_exchange(&self, tenant: u32, less_bytes: u32) -> bool {
        tenant == 0
            || self.locked(|state| {
                self.shared.see_kept(state, tenant);
                let may_exchange = state.scheduler.begin_exchange(tenant, less_bytes);
                self.shared.note_load(state, tenant);
                may_exchange
            })
    }

    /// As [`Scheduler::end_exchange`](crate::scheduler::Scheduler::end_exchange).
    pub(super) fn end_exchange(&self, tenant: u32, buffer: Option<u32>) {
        if tenant == 0 {
            return;
        }
        if let Some(buffer) = buffer {
            self.name_lease(self.lease_at(buffer));
        }
        self.locked(|state| {
            state.scheduler.end_exchange(tenant, buffer);
            self.shared.note_load(state, tenant);
        });
    }

    /// A lease that counts for a tenant, and is a receiver's by now, counts for the default one.
    pub(super) fn end_lease_of_tenant(&self, buffer: u32) {
        self.locked(|state| {
            let tenant = state.scheduler.tenant_at(buffer);
            state.scheduler.move_lease(buffer, 0);
            self.shared.note_load(state, tenant);
        });
    }
}

#[cfg(all(test, loom))]
mod tests {
    use super::super::SharedScheduler;
    use super::*;
    use crate::scheduler::{Outcome, SchedulerConfig};
    use loom::thread;

    /// Two buffers of 100 bytes, two shards, and a tenant that may have one buffer.
    fn two() -> (SharedScheduler, SchedulerShard, SchedulerShard, TenantId, u32) {
        let config = SchedulerConfig { tenants_max: 1, ..SchedulerConfig::new(2, 4) };
        let shards = SharedScheduler::with_receivers(&config, 2, 100).unwrap();
        let (a, b) = (shards.shard(0).unwrap(), shards.shard(1).unwrap());
        let tenant = a.create_tenant(&TenantConfig { cap: 1, ..TenantConfig::default() }).unwrap();
        let index = a.pin_tenant(tenant).unwrap();
        (shards, a, b, tenant, index)
    }

    fn request_of(tenant: TenantId) -> Request {
        Request { tenant: Some(tenant), ..Request::new(0, 7) }
    }

    /// Receivers of one thread give up what they keep while a request of their tenant is queued on another.
    #[test]
    fn kept_less_serves_a_request_of_another_thread() {
        loom::model(|| {
            let (shards, a, b, tenant, index) = two();
            a.keep(index, 0, 100);
            let keeps = thread::spawn(move || {
                a.keep(index, 100, 0);
                a
            });
            let outcome = b.request_for(&request_of(tenant)).unwrap();
            let a = keeps.join().unwrap();
            let lease = match outcome {
                Outcome::Granted(lease) => lease,
                Outcome::Queued(wait) => {
                    let grant = b.poll_grant().expect("nothing blocks it any more");
                    assert_eq!(grant.wait, wait);
                    grant.lease
                }
            };
            shards.check_invariants().unwrap();
            a.release(lease).unwrap();
            shards.check_invariants().unwrap();
        });
    }

    /// What receivers keep meanwhile is known before another request of the tenant is served.
    #[test]
    fn kept_more_blocks_the_next_request() {
        loom::model(|| {
            let (shards, a, b, tenant, index) = two();
            let Ok(Outcome::Granted(lease)) = b.request_for(&request_of(tenant)) else { panic!("the cap is one") };
            let keeps = thread::spawn(move || {
                a.keep(index, 0, 100);
                a
            });
            assert!(matches!(b.request_for(&request_of(tenant)), Ok(Outcome::Queued(_))));
            let a = keeps.join().unwrap();
            shards.check_invariants().unwrap();
            b.release(lease).unwrap();
            assert_eq!(b.poll_grant(), None, "a receiver has the place");
            shards.check_invariants().unwrap();
            a.keep(index, 100, 0);
            assert!(b.poll_grant().is_some());
            shards.check_invariants().unwrap();
        });
    }

    /// A tenant is removed while another thread requests in its name, and a third shard with receivers of it ends.
    #[test]
    fn removed_tenant_goes_with_its_last_lease() {
        loom::model(|| {
            let (shards, a, b, tenant, index) = two();
            a.keep(index, 0, 50);
            let ends = thread::spawn(move || {
                a.remove_tenant(tenant).unwrap();
                a.leave_tenants(&[(index, 50, 1)]);
                a
            });
            let outcome = b.request_for(&request_of(tenant));
            let a = ends.join().unwrap();
            let stale = Err(SchedulerError::StaleTenant.into());
            match outcome {
                Ok(Outcome::Granted(lease)) => {
                    assert!(a.describe_tenant(tenant).unwrap().is_retiring);
                    b.release(lease).unwrap();
                }
                Ok(Outcome::Queued(_)) => b.release(b.poll_grant().expect("its cap has room").lease).unwrap(),
                Err(error) => assert_eq!(error, SchedulerError::StaleTenant.into()),
            }
            assert_eq!(a.describe_tenant(tenant), stale);
            shards.check_kept();
            shards.check_invariants().unwrap();
        });
    }

    impl SharedScheduler {
        fn check_kept(&self) {
            self.shared.check_kept(|_| 0).unwrap();
        }
    }
}
