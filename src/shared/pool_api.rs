//! What the receivers of one thread need of their shard beside its calls. They know their indexes to be right.

use super::cache::{BufferState, Holder, LeaseWord, NO_SHARD, NextHold};
use super::state::Locked;
use super::sync::Ordering;
use super::{SchedulerShard, SharedSchedulerError};
use crate::memory::Reach;
use crate::scheduler::{LeaseId, Outcome, Request, SchedulerError, WaitId, WaitInfo};

impl SchedulerShard {
    /// Asks for a buffer that is granted at once, or not at all.
    ///
    /// # Errors
    ///
    /// As [`SchedulerShard::request`], but for the table of waits.
    pub(crate) fn try_request(
        &self,
        request: &Request,
        holder: Holder,
    ) -> Result<Option<LeaseId>, SharedSchedulerError> {
        if let Some(lease) = self.take_cached_now(self.shard_state(), request, holder) {
            return Ok(Some(lease));
        }
        let outcome = self.locked(|state| {
            self.check_open_for(holder)?;
            state.scheduler.check_named_request(request)?;
            // What its receivers keep decides whether it is granted. Other threads may change that meanwhile: it is
            // looked at once.
            let tenant = state.scheduler.tenant_of(request).unwrap_or(0);
            self.shared.track(state, tenant);
            let granted = self.try_request_of(state, request, tenant, holder);
            self.shared.note_load(state, tenant);
            self.shared.untrack(state, tenant);
            granted
        });
        self.count_refusal(outcome)
    }

    /// A request in the name of a tenant whose receivers the scheduler knows about, that does not wait.
    fn try_request_of(
        &self,
        state: &mut Locked,
        request: &Request,
        tenant: u32,
        holder: Holder,
    ) -> Result<Option<LeaseId>, SharedSchedulerError> {
        if !self.would_grant(state, request) {
            return Ok(None);
        }
        match state.scheduler.request_for(request)? {
            Outcome::Granted(lease) => Ok(Some(self.grant_now(state, lease, request, holder, tenant))),
            Outcome::Queued(_) => unreachable!("the pool would grant this request"),
        }
    }

    /// The lease that holds this buffer, which is this shard's.
    pub(crate) fn lease_at(&self, buffer: u32) -> LeaseId {
        self.shared.buffers[buffer as usize].lease(buffer)
    }

    /// Whether a lease is the host's own and within reach.
    ///
    /// # Errors
    ///
    /// The lease is stale, foreign, a receiver's, or out of reach.
    pub(crate) fn check_host_lease(&self, lease: LeaseId, reach: Reach) -> Result<(), SharedSchedulerError> {
        let hold = self.shared.buffers.get(lease.index() as usize).and_then(|buffer| buffer.held_as(lease));
        let is_usable = hold.is_some_and(|hold| self.is_host_lease(hold, reach));
        if is_usable { Ok(()) } else { Err(SchedulerError::StaleLease.into()) }
    }

    /// Makes a lease of the host's own this shard's. Of several threads that claim, adopt or release one that no shard
    /// has, one succeeds.
    ///
    /// # Errors
    ///
    /// As [`SchedulerShard::check_host_lease`], within [`Reach::HERE`].
    pub(crate) fn claim_host_lease(&self, lease: LeaseId) -> Result<(), SharedSchedulerError> {
        let shard = self.index;
        self.change_lease(lease, |hold| self.is_host_lease(hold, Reach::HERE).then_some(LeaseWord { shard, ..hold }))?;
        Ok(())
    }

    /// Makes a lease of the host's own one of this shard's receivers, and ends its number. It counts in the class that
    /// it did. Of several threads that adopt or release one lease, one succeeds.
    ///
    /// # Errors
    ///
    /// As [`SchedulerShard::check_host_lease`].
    pub(crate) fn take_host_lease(&self, lease: LeaseId, reach: Reach) -> Result<(), SharedSchedulerError> {
        let before = self.renew_host_lease(lease, reach, |hold| LeaseWord { is_named: false, ..hold })?;
        if before.is_named {
            self.end_lease_of_tenant(lease.index());
        }
        Ok(())
    }

    /// As `take_host_lease`, of one that is to end: it counts as it did until then.
    ///
    /// # Errors
    ///
    /// As [`SchedulerShard::check_host_lease`].
    pub(crate) fn retire_host_lease(&self, lease: LeaseId, reach: Reach) -> Result<(), SharedSchedulerError> {
        self.renew_host_lease(lease, reach, |hold| hold).map(drop)
    }

    /// As `take_host_lease`, and it counts in this class from now on. `false`, and nothing is changed, if the cap of
    /// the class does not allow it.
    pub(crate) fn adopt_host_lease(
        &self,
        lease: LeaseId,
        reach: Reach,
        class: u8,
    ) -> Result<bool, SharedSchedulerError> {
        if self.counts_in(lease.index(), class) {
            return self.take_host_lease(lease, reach).map(|()| true);
        }
        self.locked(|state| {
            let buffer = lease.index();
            if !state.scheduler.may_reassign_at(buffer, class, 0) {
                return Ok(false);
            }
            let is_capped = !self.shared.is_uncapped(class);
            let adopted = |hold| LeaseWord { class, is_capped, is_named: false, ..hold };
            let before = self.renew_host_lease(lease, reach, adopted)?;
            let counts = &self.shard_state().counts;
            counts.given_by_class[usize::from(before.class)].add_one();
            counts.taken_by_class[usize::from(class)].add_one();
            let tenant = state.scheduler.tenant_at(buffer);
            let is_reassigned = state.scheduler.reassign_at(buffer, class);
            debug_assert!(is_reassigned, "the cap allows it");
            self.shared.note_load(state, tenant);
            Ok(true)
        })
    }

    /// Whether `adopt_host_lease` is not refused for the cap of this class.
    pub(crate) fn may_adopt(&self, buffer: u32, class: u8) -> bool {
        self.counts_in(buffer, class) || self.locked(|state| state.scheduler.may_reassign_at(buffer, class, 0))
    }

    fn counts_in(&self, buffer: u32, class: u8) -> bool {
        self.shared.buffers.get(buffer as usize).and_then(BufferState::any_hold).is_some_and(|hold| hold.class == class)
    }

    /// A lease of the host's own is one of this shard's receivers. Returns how it was held.
    fn renew_host_lease(
        &self,
        lease: LeaseId,
        reach: Reach,
        change: impl Fn(LeaseWord) -> LeaseWord,
    ) -> Result<LeaseWord, SharedSchedulerError> {
        let renewed = |hold| LeaseWord { shard: self.index, holder: Holder::Receivers, ..change(hold) };
        let renew = |hold| self.is_host_lease(hold, reach).then(|| NextHold::Renewed(renewed(hold)));
        Ok(self.shared.replace_hold(lease, renew).ok_or(SchedulerError::StaleLease)?)
    }

    /// A lease of one of this shard's receivers counts for a tenant from now on.
    pub(super) fn name_lease(&self, lease: LeaseId) {
        let named = |hold| self.is_own_receivers(hold).then_some(LeaseWord { is_named: true, ..hold });
        self.change_lease(lease, named).expect("only this shard changes the leases of its receivers");
    }

    /// Releases a buffer of the host's own. Of several threads that adopt or release one lease, one succeeds.
    ///
    /// # Errors
    ///
    /// As [`SchedulerShard::check_host_lease`].
    pub(crate) fn release_host_lease(&self, lease: LeaseId, reach: Reach) -> Result<(), SharedSchedulerError> {
        self.release_if(lease, |hold| self.is_host_lease(hold, reach))
    }

    fn is_host_lease(&self, hold: LeaseWord, reach: Reach) -> bool {
        (reach.is_anywhere() || [self.index, NO_SHARD].contains(&hold.shard)) && hold.holder == Holder::Host
    }

    /// Releases a buffer of one of this shard's receivers. No other thread can end or change its lease meanwhile.
    ///
    /// # Errors
    ///
    /// The lease is stale, foreign, or not of a receiver of this shard.
    #[inline(always)]
    pub(crate) fn release_of_receivers(&self, lease: LeaseId) -> Result<(), SharedSchedulerError> {
        self.release_if(lease, |hold| self.is_own_receivers(hold))
    }

    /// Makes a lease of one of this shard's receivers the host's own.
    pub(crate) fn hand_over_lease(&self, lease: LeaseId) {
        let hand_over = |hold| self.is_own_receivers(hold).then_some(LeaseWord { holder: Holder::Host, ..hold });
        self.change_lease(lease, hand_over).expect("only this shard changes the leases of its receivers");
    }

    /// Takes a lease of a receiver off this shard, for the one that its connection moves to.
    pub(crate) fn export_lease(&self, lease: LeaseId) {
        let export = |hold| self.is_own_receivers(hold).then_some(LeaseWord { shard: NO_SHARD, ..hold });
        self.change_lease(lease, export).expect("only this shard changes the leases of its receivers");
    }

    #[inline(always)]
    fn is_own_receivers(&self, hold: LeaseWord) -> bool {
        hold.holder == Holder::Receivers && hold.shard == self.index
    }

    /// Takes in a lease that another shard has exported.
    ///
    /// # Errors
    ///
    /// The lease is stale, foreign, or was not exported.
    pub(crate) fn import_lease(&self, lease: LeaseId) -> Result<(), SharedSchedulerError> {
        let is_exported = |hold: LeaseWord| hold.holder == Holder::Receivers && hold.shard == NO_SHARD;
        self.change_lease(lease, |hold| is_exported(hold).then_some(LeaseWord { shard: self.index, ..hold }))?;
        Ok(())
    }

    /// As `describe_wait`, of this shard's waits only.
    ///
    /// # Errors
    ///
    /// The wait is stale, foreign, or another shard's.
    pub(crate) fn describe_own_wait(&self, wait: WaitId) -> Result<WaitInfo, SharedSchedulerError> {
        self.locked(|state| {
            let place = self.find_wait(state, wait)?;
            self.shared.describe_at(state, place, wait)
        })
    }

    /// The wait of this shard whose grant is the next to be polled.
    pub(crate) fn next_grant(&self) -> Option<WaitId> {
        let is_called = self.shard_state().is_called.load(Ordering::Acquire);
        if !is_called {
            return None;
        }
        let of_own = self.shared.first_own_grant(self.index);
        of_own.or_else(|| self.locked(|state| state.first_number(self.index)))
    }

    /// Whether a request waits, on any shard. It takes no lock, and reads what others write only when that changes.
    pub(crate) fn has_waiters(&self) -> bool {
        self.shared.has_waiters.0.load(Ordering::Relaxed)
    }

    /// Whether a request waits for a buffer, on any shard, and not for its class or its tenant to come below its cap;
    /// or a buffer is to be withheld. It takes no lock, and reads what others write while requests wait.
    pub(crate) fn is_wanted(&self) -> bool {
        self.has_waiters() && self.shared.queue.see().wants_buffers()
    }

    /// This many buffers are withheld from all shards from now on, and a class has this reserve.
    pub(crate) fn set_withheld(&self, buffers: u32, class: u8, reserve: u32) {
        self.locked(|state| self.shared.set_withheld(state, buffers, class, reserve));
    }

    /// The buffers that a class leaves to others.
    pub(crate) fn reserve_of(&self, class: u8) -> u32 {
        self.shared.reserve_of(class)
    }

    /// Buffers that are free, on whichever shard, as of late. It takes no lock, and looks at each shard.
    pub(crate) fn free_buffers(&self) -> u32 {
        self.shared.free_buffers()
    }

    /// Whether there may be a grant to pick up.
    pub(crate) fn is_called(&self) -> bool {
        self.shard_state().is_called.load(Ordering::Relaxed)
    }

    /// When [`SchedulerShard::poll_grant`] takes grants from shards that do not look.
    pub(crate) fn overdue_ns(&self) -> Option<u64> {
        self.shared.overdue_ns()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.shared.is_closed()
    }

    /// Releases what this shard's receivers hold, or exports it if it `is_kept`. The leases of the host's own stay as
    /// they are, for any shard to use; other threads may release and adopt them meanwhile.
    pub(crate) fn leave_leases(&self, mut is_kept: impl FnMut(LeaseId) -> bool) {
        if self.shared.is_broken() {
            return;
        }
        for (index, buffer) in (0..).zip(&self.shared.buffers) {
            let lease = buffer.lease(index);
            match buffer.held_as(lease) {
                Some(hold) if self.is_own_receivers(hold) && is_kept(lease) => self.export_lease(lease),
                Some(hold) if self.is_own_receivers(hold) => {
                    self.release_of_receivers(lease).expect("only this shard changes the leases of its receivers");
                    self.shared.state.0.let_others_in();
                }
                Some(hold) if hold.shard == self.index => {
                    // Nothing is left to do if another thread was faster.
                    let leave = |hold: LeaseWord| LeaseWord { shard: NO_SHARD, ..hold };
                    let _ = self.change_lease(lease, |hold| (hold.shard == self.index).then(|| leave(hold)));
                }
                _ => {}
            }
        }
    }

    /// Runs `act` on the buffers that are free and in no cache, of at most `rows` rows at a time, and returns the
    /// sum; see [`Scheduler::free_to_trim`](crate::scheduler::Scheduler::free_to_trim). No thread can take
    /// those of one call meanwhile; between two calls any thread gets at the pool.
    pub(crate) fn with_free(
        &self,
        rows: u32,
        mut act: impl FnMut(&mut dyn Iterator<Item = (u32, bool)>) -> usize,
    ) -> usize {
        let buffers = self.shared.buffers.len() as u32;
        let mut sum = 0;
        for first in (0..buffers).step_by(rows as usize) {
            let rows = first..buffers.min(first + rows);
            sum += self.locked(|state| act(&mut state.scheduler.free_to_trim(rows)));
            self.shared.state.0.let_others_in();
        }
        sum
    }

    /// Returns how it was held.
    fn change_lease(
        &self,
        lease: LeaseId,
        change: impl Fn(LeaseWord) -> Option<LeaseWord>,
    ) -> Result<LeaseWord, SharedSchedulerError> {
        let changed = self.shared.replace_hold(lease, |hold| change(hold).map(NextHold::Same));
        changed.ok_or(SchedulerError::StaleLease.into())
    }
}

#[cfg(all(test, loom))]
mod tests {
    use super::super::SharedScheduler;
    use super::*;
    use crate::scheduler::SchedulerConfig;
    use loom::thread;

    /// Two shards of a pool with deadlines, and a receiver's lease of its one buffer.
    fn two_and_a_lease() -> (SharedScheduler, SchedulerShard, SchedulerShard, LeaseId) {
        let config = SchedulerConfig { lease_ns: Some(1), classes: 2, ..SchedulerConfig::new(1, 4) };
        let shards = SharedScheduler::new(&config, 3).unwrap();
        let (a, b) = (shards.shard(0).unwrap(), shards.shard(1).unwrap());
        let Ok(Some(lease)) = a.try_request(&Request::new(0, 7), Holder::Receivers) else {
            panic!("a buffer is free");
        };
        (shards, a, b, lease)
    }

    #[test]
    fn of_two_shards_that_import_a_lease_one_has_it() {
        loom::model(|| {
            let (shards, a, b, lease) = two_and_a_lease();
            a.export_lease(lease);
            let other = thread::spawn(move || (b.import_lease(lease).is_ok(), b));
            let here = a.import_lease(lease).is_ok();
            let (there, b) = other.join().unwrap();
            assert!(here != there, "exactly one imported it");
            let (owner, stranger) = if here { (&a, &b) } else { (&b, &a) };
            assert!(stranger.release_of_receivers(lease).is_err());
            owner.release_of_receivers(lease).unwrap();
            shards.check_invariants().unwrap();
        });
    }

    type Call = fn(&SchedulerShard, LeaseId) -> Result<(), SharedSchedulerError>;

    /// Two threads call with one number of a lease of the host's own, which `reach` gives to both.
    fn two_calls(calls: [Call; 2], reach: Reach) {
        loom::model(move || {
            let (shards, a, b, lease) = two_and_a_lease();
            a.hand_over_lease(lease);
            if reach == Reach::HERE {
                a.leave_leases(|_| false);
            }
            let other = thread::spawn(move || (calls[1](&b, lease).is_ok(), b));
            let here = calls[0](&a, lease).is_ok();
            let (there, b) = other.join().unwrap();
            assert!(here != there, "exactly one has its way");
            let winner = if here { &a } else { &b };
            // Adopted, it has another number.
            let adopted = winner.lease_at(lease.index());
            if winner.check_lease(adopted).is_ok() {
                assert_eq!(shards.stats().scheduler.leased, 1);
                winner.release_of_receivers(adopted).unwrap();
            }
            assert_eq!((shards.stats().scheduler.leased, shards.stats().scheduler.free), (0, 1));
            shards.check_invariants().unwrap();
        });
    }

    #[test]
    fn s85_one_of_two_calls_with_one_lease_succeeds() {
        let [release, take]: [Call; 2] = [
            |shard, lease| shard.release_host_lease(lease, Reach::HERE),
            |shard, lease| shard.take_host_lease(lease, Reach::HERE),
        ];
        for calls in [[release, release], [release, take], [take, take]] {
            two_calls(calls, Reach::HERE);
        }
        let [release, take, adopt]: [Call; 3] = [
            |shard, lease| shard.release_host_lease(lease, Reach::ANYWHERE),
            |shard, lease| shard.take_host_lease(lease, Reach::ANYWHERE),
            |shard, lease| shard.adopt_host_lease(lease, Reach::ANYWHERE, 1).map(|is_adopted| assert!(is_adopted)),
        ];
        for calls in [[release, release], [release, take], [take, take], [release, adopt], [adopt, adopt]] {
            two_calls(calls, Reach::ANYWHERE);
        }
    }

    /// A thread's pool is freed while another thread releases a lease of the host's own that came from it.
    #[test]
    fn s81_lease_is_released_once_while_its_shard_leaves() {
        loom::model(|| {
            let (shards, a, b, lease) = two_and_a_lease();
            a.hand_over_lease(lease);
            let leaves = thread::spawn(move || {
                a.leave_leases(|_| false);
                drop(a);
            });
            b.release_host_lease(lease, Reach::ANYWHERE).unwrap();
            leaves.join().unwrap();
            assert!(b.release_host_lease(lease, Reach::ANYWHERE).is_err());
            assert_eq!((shards.stats().scheduler.free, shards.stats().scheduler.released), (1, 1));
            shards.check_invariants().unwrap();
        });
    }

    #[test]
    fn s82_one_of_two_threads_claims_a_lease_left_behind() {
        loom::model(|| {
            let (shards, a, b, lease) = two_and_a_lease();
            let c = shards.shard(2).unwrap();
            a.hand_over_lease(lease);
            a.leave_leases(|_| false);
            let other = thread::spawn(move || (b.claim_host_lease(lease).is_ok(), b));
            let here = c.claim_host_lease(lease).is_ok();
            let (there, b) = other.join().unwrap();
            assert!(here != there, "exactly one has it");
            let (owner, stranger) = if here { (&c, &b) } else { (&b, &c) };
            assert!(stranger.release_host_lease(lease, Reach::HERE).is_err());
            owner.release_host_lease(lease, Reach::HERE).unwrap();
            shards.check_invariants().unwrap();
        });
    }

    #[test]
    fn first_wait_wakes_shards_that_hold() {
        loom::model(|| {
            let (shards, a, b, lease) = two_and_a_lease();
            let waiter = thread::spawn(move || {
                b.request_any(&Request::new(0, 8), Holder::Receivers).unwrap();
                (b.poll_wake(), b)
            });
            // As it does before it sleeps: its grants, then whether deadlines are to be polled.
            assert_eq!(a.poll_grant(), None);
            let seen = a.has_waiters();
            let (named, b) = waiter.join().unwrap();
            assert!(seen || named == Some(0), "it would sleep while a deadline runs");
            a.release(lease).unwrap();
            assert_eq!(a.poll_wake(), Some(1));
            assert_eq!(b.poll_grant().map(|grant| grant.token), Some(8));
            shards.check_invariants().unwrap();
        });
    }
}
