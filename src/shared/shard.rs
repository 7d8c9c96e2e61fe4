//! The handle of one thread.

use super::cache::{Holder, LeaseWord};
use super::own_waits::{PickedUp, Place};
use super::shard_state::ShardState;
use super::state::{Locked, Shared};
use super::sync::Ordering;
use super::{CACHE_MAX, EXPORTS_MAX, SharedSchedulerError, SharedSchedulerStats};
use crate::alloc_util::TryArc;
use crate::scheduler::{Grant, LeaseId, Outcome, Request, SchedulerError, WaitId, WaitInfo};
use core::cell::Cell;
use core::marker::PhantomData;
use core::sync::atomic::{self, AtomicUsize};

/// The most free buffers that a shard takes at once.
const LEND_MAX: u32 = CACHE_MAX / 2;

/// The most times that one call takes the lock of all to take grants from shards that do not look.
const OVERDUE_ROUNDS_MAX: u32 = 1024;

/// The most rows of the table of waits that a shard which is dropped looks at while it holds the lock.
const ROWS_AT_ONCE: u32 = 1024;

/// The most waits that it ends meanwhile.
const ENDS_AT_ONCE: u32 = 32;

/// One thread's handle.
#[derive(Debug)]
pub struct SchedulerShard {
    pub(super) shared: TryArc<Shared>,
    pub(super) index: u32,
    /// The mark of the thread it is bound to; 0 for none.
    thread: AtomicUsize,
    is_not_sync: PhantomData<Cell<()>>,
}

impl SchedulerShard {
    /// Takes the handle of a shard that is not in use.
    pub(super) fn claim(shared: &TryArc<Shared>, index: u32) -> Result<SchedulerShard, SharedSchedulerError> {
        let shards = shared.shard_states.len() as u32;
        let shard_state =
            shared.shard_states.get(index as usize).ok_or(SharedSchedulerError::UnknownShard { index, shards })?;
        if shard_state.0.is_in_use.swap(true, Ordering::Acquire) {
            return Err(SharedSchedulerError::ShardInUse { index });
        }
        let (shared, thread) = (shared.clone(), AtomicUsize::new(0));
        Ok(SchedulerShard { shared, index, thread, is_not_sync: PhantomData })
    }

    /// Asks for a buffer: granted at once, or queued. `token` comes back with the grant, at this shard.
    ///
    /// # Errors
    ///
    /// The class does not exist; it would have to wait and all waits are in use; the pool is closed.
    pub fn request(&self, class: u8, token: u64) -> Result<Outcome, SharedSchedulerError> {
        self.request_any(&Request::new(class, token), Holder::Host)
    }

    /// As `request_for`, also for receivers.
    pub(crate) fn request_any(&self, request: &Request, holder: Holder) -> Result<Outcome, SharedSchedulerError> {
        let of = self.shard_state();
        if let Some(lease) = self.take_cached_now(of, request, holder) {
            return Ok(Outcome::Granted(lease));
        }
        if let Some(wait) = self.queue_behind_own(of, request, holder) {
            return Ok(Outcome::Queued(wait));
        }
        let outcome = self.locked(|state| self.request_locked(state, request, holder));
        self.count_refusal(outcome)
    }

    /// Releases a buffer, whichever shard it was taken on. It is assigned to the next eligible waiter in this step.
    ///
    /// # Errors
    ///
    /// The lease is stale or foreign. Of several threads that release it at once, one succeeds.
    pub fn release(&self, lease: LeaseId) -> Result<(), SharedSchedulerError> {
        self.release_if(lease, |_| true)
    }

    /// Ends a wait, whichever shard it is of. If a buffer was assigned to it, the next waiter has it in this step.
    ///
    /// # Errors
    ///
    /// The wait is stale or foreign.
    pub fn cancel(&self, wait: WaitId) -> Result<(), SharedSchedulerError> {
        let outcome = self.locked(|state| {
            let place = self.shared.locate(state, wait).ok_or(SchedulerError::StaleWait)?;
            match place {
                Place::Common(index) => self.end_common(state, index),
                Place::Own { shard, row } if self.shared.end_own_wait(state, (shard, row), wait) => {}
                Place::Own { .. } => return Err(SchedulerError::StaleWait.into()),
            }
            self.shard_state().counts.cancelled.add_one();
            Ok(())
        });
        self.count_refusal(outcome)
    }

    /// The next waiter of this shard that has a buffer, in the order in which they were assigned: first of those that
    /// the shard queued itself, then of the others. Call it until `None`. While there is nothing to pick up it takes no
    /// lock.
    ///
    /// If leases have deadlines, it first takes grants that waits of other shards could use, from shards that were
    /// called a lease ago and have not looked since: those waits queue again, behind all others of their class.
    pub fn poll_grant(&self) -> Option<Grant> {
        let of = self.shard_state();
        if self.is_overdue(of) {
            self.take_overdue();
        }
        if !of.is_called.load(Ordering::Acquire) {
            return None;
        }
        match self.pick_up_own(of) {
            PickedUp::Grant(grant) => return Some(grant),
            PickedUp::Nothing => return None,
            PickedUp::LookAtCommon => {}
        }
        self.locked(|state| {
            let grant = self.pick_up(state);
            if !state.homes.has_grants(self.index) {
                self.forget_common_grants();
            }
            of.called_ns.set(state.now_ns());
            grant
        })
    }

    /// A shard that has grants to pick up and may sleep. Signal its thread, by an eventfd or its like.
    /// Call it until `None`. It takes no lock.
    pub fn poll_wake(&self) -> Option<u32> {
        self.shared.poll_wake(Some(self.index))
    }

    /// Takes a wait off this shard, for the one that its connection moves to. Meanwhile it keeps its place and is
    /// served as before, but no shard picks the buffer up until [`SchedulerShard::import_wait`].
    ///
    /// # Errors
    ///
    /// The wait is stale: if it was served, the grant was picked up here already. Or it is not of this shard; or
    /// [`EXPORTS_MAX`] are exported already.
    pub fn export_wait(&self, wait: WaitId) -> Result<(), SharedSchedulerError> {
        let outcome = self.locked(|state| {
            let place = self.find_wait(state, wait)?;
            let away = state.homes.away();
            if state.homes.waits_of(away) == EXPORTS_MAX {
                return Err(SharedSchedulerError::ExportsFull);
            }
            let index = match place {
                Place::Common(index) => index,
                Place::Own { row, .. } => self.move_to_common(state, row, wait),
            };
            state.rehome(index, away);
            Ok(())
        });
        self.count_refusal(outcome)
    }

    /// Takes in a wait that another shard has exported; `token` comes back with the grant from now on. If it was served
    /// meanwhile, the next `poll_grant` has it.
    ///
    /// # Errors
    ///
    /// The wait is stale, or was not exported.
    pub fn import_wait(&self, wait: WaitId, token: u64) -> Result<(), SharedSchedulerError> {
        let outcome = self.locked(|state| {
            let index = match self.shared.locate(state, wait).ok_or(SchedulerError::StaleWait)? {
                Place::Common(index) if state.homes.at(index).home == state.homes.away() => index,
                _ => return Err(SharedSchedulerError::WaitNotExported),
            };
            state.rehome(index, self.index);
            state.scheduler.set_wait_token(index, token);
            if state.homes.has_grants(self.index) {
                self.shared.own_waits(self.index).with(|own| own.has_common_grants = true);
                self.shard_state().called_ns.set(state.now_ns());
                self.shared.expect_pick_up(self.index);
                self.shard_state().is_called.store(true, Ordering::Release);
            }
            Ok(())
        });
        self.count_refusal(outcome)
    }

    /// How a wait stands, whichever shard it is of.
    ///
    /// # Errors
    ///
    /// The wait is stale or foreign.
    pub fn describe_wait(&self, wait: WaitId) -> Result<WaitInfo, SharedSchedulerError> {
        self.locked(|state| {
            let place = self.shared.locate(state, wait).ok_or(SchedulerError::StaleWait)?;
            self.shared.describe_at(state, place, wait)
        })
    }

    /// Whether a lease is held.
    ///
    /// # Errors
    ///
    /// The lease is stale or foreign.
    pub fn check_lease(&self, lease: LeaseId) -> Result<(), SharedSchedulerError> {
        let buffer = self.shared.buffers.get(lease.index() as usize);
        if buffer.is_some_and(|buffer| buffer.held_as(lease).is_some()) {
            Ok(())
        } else {
            Err(SchedulerError::StaleLease.into())
        }
    }

    /// Advances the clock of this shard to the current time, in monotonic nanoseconds; it dates waits. A time before
    /// the last one is counted and not taken.
    pub fn handle_timeout(&self, now_ns: u64) {
        let shard_state = self.shard_state();
        if shard_state.note_time(now_ns) {
            shard_state.counts.clock_backwards.add_one();
        }
    }

    /// Counts, without a lock.
    pub fn stats(&self) -> SharedSchedulerStats {
        self.shared.stats()
    }

    /// As [`SharedScheduler::bypass_bound`](super::SharedScheduler::bypass_bound).
    pub fn bypass_bound(&self) -> u64 {
        self.shared.bypass_bound()
    }

    /// Which shard this is.
    pub fn index(&self) -> u32 {
        self.index
    }

    /// Binds the shard to the thread that calls, for [`SchedulerShard::check_thread`].
    pub fn bind_thread(&self) {
        self.thread.store(thread_mark(), atomic::Ordering::Relaxed);
    }

    /// Whether the thread that calls may use the shard: it is bound to it, or to none. Costs a load and a comparison.
    ///
    /// # Errors
    ///
    /// The shard is bound to another thread.
    pub fn check_thread(&self) -> Result<(), SharedSchedulerError> {
        let thread = self.thread.load(atomic::Ordering::Relaxed);
        if thread == 0 || thread == thread_mark() { Ok(()) } else { Err(SharedSchedulerError::WrongThread) }
    }

    /// As [`SharedScheduler::check_invariants`](super::SharedScheduler::check_invariants).
    ///
    /// # Errors
    ///
    /// Names the rule that is broken.
    pub fn check_invariants(&self) -> Result<(), &'static str> {
        self.shared.check_invariants()
    }
}

impl Drop for SchedulerShard {
    fn drop(&mut self) {
        if self.shared.is_broken() {
            return;
        }
        let mut next = Some(0);
        while let Some(from) = next {
            next = self.locked(|state| {
                self.shared.take_cached(state, self.index);
                let next = self.end_some_waits(state, from);
                if next.is_none() {
                    self.forget_common_grants();
                }
                next
            });
            self.shared.state.0.let_others_in();
        }
        self.shard_state().is_in_use.store(false, Ordering::Release);
    }
}

impl SchedulerShard {
    #[inline(always)]
    fn is_overdue(&self, of: &ShardState) -> bool {
        let is_past = |now_ns| self.shared.overdue_ns().is_some_and(|due_ns| now_ns >= due_ns);
        of.last_ns().is_some_and(is_past) && self.has_waiters()
    }

    /// Goes on until nothing of shards that do not look is of use to others, though many waits of such shards may come
    /// first. Where caps of tenants keep it from others, it may come back every time.
    fn take_overdue(&self) {
        for _ in 0..OVERDUE_ROUNDS_MAX {
            let calls = self.locked(|state| {
                // This shard is looking.
                self.shard_state().called_ns.set(state.now_ns());
                self.shared.take_overdue(state, Some(self.index))
            });
            self.shard_state().counts.wakes.add(calls);
            if !self.is_overdue(self.shard_state()) {
                return;
            }
        }
        self.locked(|state| self.shared.forgive_overdue(state));
    }

    pub(super) fn shard_state(&self) -> &ShardState {
        &self.shared.shard_states[self.index as usize].0
    }

    /// Ends waits of this shard, from this row of the table on: a piece of work that is bounded however many there are.
    /// Returns the row to go on from, if waits are left.
    fn end_some_waits(&self, state: &mut Locked, from: u32) -> Option<u32> {
        if self.end_some_own(state, ENDS_AT_ONCE) {
            return Some(from);
        }
        let (rows, mut ended) = (state.scheduler.wait_rows(), 0);
        let end = rows.min(from + ROWS_AT_ONCE);
        for index in from..end {
            if state.homes.waits_of(self.index) == 0 {
                return None;
            }
            if state.is_wait(index) && state.homes.at(index).home == self.index {
                self.end_common(state, index);
                self.shard_state().counts.cancelled.add_one();
                ended += 1;
            }
            if ended == ENDS_AT_ONCE {
                return Some(index + 1);
            }
        }
        (end < rows).then_some(end)
    }

    /// Does something with the pool, and afterwards what follows from it.
    pub(super) fn locked<R>(&self, act: impl FnOnce(&mut Locked) -> R) -> R {
        let mut state = self.shared.lock();
        let shard_state = self.shard_state();
        let ShardState { cached, counts, .. } = shard_state;
        counts.locked.add_one();
        self.shared.advance_clock(&mut state, shard_state);
        self.shared.note_peak(&state);
        self.shared.stamp(&mut state, shard_state);
        let outcome = act(&mut state);
        cached.forget_lowest();
        counts.wakes.add(self.shared.publish(&mut state, Some(self.index)));
        outcome
    }

    pub(super) fn request_locked(
        &self,
        state: &mut Locked,
        request: &Request,
        holder: Holder,
    ) -> Result<Outcome, SharedSchedulerError> {
        let (class, classes) = (request.class, self.shared.classes);
        if class >= classes {
            return Err(SchedulerError::UnknownClass { class, classes }.into());
        }
        self.check_open_for(holder)?;
        let tenant = state.scheduler.tenant_of(request).ok_or(SchedulerError::StaleTenant)?;
        self.shared.track(state, tenant);
        let outcome = self.request_of(state, request, tenant, holder);
        self.shared.note_load(state, tenant);
        self.shared.untrack(state, tenant);
        outcome
    }

    /// A request in the name of a tenant whose receivers the scheduler knows about.
    pub(super) fn request_of(
        &self,
        state: &mut Locked,
        request: &Request,
        tenant: u32,
        holder: Holder,
    ) -> Result<Outcome, SharedSchedulerError> {
        let is_granted = self.would_grant(state, request);
        if let Some(outcome) = self.request_own(state, request, holder) {
            return outcome;
        }
        if !self.shared.has_rights(state) && !is_granted {
            let waiters_max = state.scheduler.waiters_max();
            return Err(SchedulerError::WaitersFull { waiters_max }.into());
        }
        match state.scheduler.request_for(request)? {
            Outcome::Queued(wait) => {
                self.shard_state().counts.queued.add_one();
                state.homes.open(self.index, wait, request.class, holder, state.stamp);
                Ok(Outcome::Queued(wait))
            }
            Outcome::Granted(lease) => Ok(Outcome::Granted(self.grant_now(state, lease, request, holder, tenant))),
        }
    }

    /// The scheduler granted a request at once.
    pub(super) fn grant_now(
        &self,
        state: &mut Locked,
        lease: LeaseId,
        request: &Request,
        holder: Holder,
        tenant: u32,
    ) -> LeaseId {
        let lease = self.hold(self.shard_state(), lease.index(), request.class, holder, tenant > 0);
        if self.shared.is_uncapped(request.class) {
            self.stock_up(state, request.class);
        }
        lease
    }

    /// Whether a request would be granted at once. Drains the caches of all shards if that may change the answer.
    pub(super) fn would_grant(&self, state: &mut Locked, request: &Request) -> bool {
        if state.scheduler.would_grant_to(request) {
            return true;
        }
        if !state.scheduler.could_use_more(request) {
            return false;
        }
        self.shared.collect(state);
        state.scheduler.would_grant_to(request)
    }

    pub(super) fn take_back(&self, state: &mut Locked, buffer: u32) {
        let tenant = state.take_back(buffer);
        self.shared.note_load(state, tenant);
    }

    fn end_common(&self, state: &mut Locked, index: u32) {
        let (tenant, alias) = state.end_common(index);
        self.shared.end_moved(alias);
        self.shared.note_load(state, tenant);
    }

    /// Refuses a request of the host's own once the pool is closed. The receivers that are there may end what they have
    /// begun.
    pub(super) fn check_open_for(&self, holder: Holder) -> Result<(), SharedSchedulerError> {
        if self.shared.is_closed() && holder == Holder::Host { Err(SharedSchedulerError::Closed) } else { Ok(()) }
    }

    /// Puts this shard's part of the surplus into its cache. For the scheduler it is leased to a class that has no cap,
    /// so that it makes no difference to which.
    fn stock_up(&self, state: &mut Locked, class: u8) {
        // A closed scheduler counts as exhausted: nothing may stay in a cache, where no waiter and no check of a
        // request finds it.
        if self.shared.is_closed() {
            return;
        }
        let of = self.shard_state();
        let part = state.scheduler.surplus() / self.shared.shard_states.len() as u32;
        // After a request of a tenant, which takes none of them, there may be some.
        for _ in of.cached.len()..part.min(LEND_MAX) {
            let Ok(Outcome::Granted(lease)) = state.scheduler.request(class, 0) else {
                unreachable!("a part of the surplus is granted at once");
            };
            of.own_waits.0.with(|own| own.cache.push(&of.cached, &self.shared.buffers, lease.index()));
        }
    }

    /// Ends the first of this shard's waits at home that have a buffer, and starts its lease.
    fn pick_up(&self, state: &mut Locked) -> Option<Grant> {
        let (grant, holder, alias) = state.pick_up(self.index)?;
        self.shard_state().counts.picked_up.add_one();
        self.shared.end_moved(alias);
        let buffer = grant.lease.index();
        let is_named = state.scheduler.tenant_at(buffer) > 0;
        let lease = self.hold(self.shard_state(), buffer, grant.class, holder, is_named);
        Some(Grant { wait: alias.unwrap_or(grant.wait), lease, ..grant })
    }

    /// A wait of this shard.
    pub(super) fn find_wait(&self, state: &Locked, wait: WaitId) -> Result<Place, SharedSchedulerError> {
        let place = self.shared.locate(state, wait).ok_or(SchedulerError::StaleWait)?;
        let home = match place {
            Place::Common(index) => state.homes.at(index).home,
            Place::Own { shard, .. } => shard,
        };
        if home == self.index { Ok(place) } else { Err(SharedSchedulerError::WaitElsewhere) }
    }

    /// Starts a lease of a buffer that this shard owns by now.
    #[inline(always)]
    pub(super) fn hold(&self, of: &ShardState, index: u32, class: u8, holder: Holder, is_named: bool) -> LeaseId {
        of.counts.taken_by_class[usize::from(class)].add_one();
        let (is_capped, shard) = (!self.shared.is_uncapped(class), self.index);
        self.shared.buffers[index as usize].hold(index, LeaseWord { class, is_capped, holder, is_named, shard })
    }

    /// Takes a buffer from this shard's cache, without the lock of all.
    #[inline(always)]
    pub(super) fn take_cached_now(&self, of: &ShardState, request: &Request, holder: Holder) -> Option<LeaseId> {
        if !self.shared.is_uncapped(request.class) || request.tenant.is_some() || request.size_index > 0 {
            return None;
        }
        if of.cached.len() == 0 {
            return None;
        }
        let index = of.own_waits.0.with(|own| own.cache.pop(&of.cached, &self.shared.buffers))?;
        Some(self.hold(of, index, request.class, holder, false))
    }

    pub(super) fn count_refusal<T>(&self, outcome: Result<T, SharedSchedulerError>) -> Result<T, SharedSchedulerError> {
        if outcome.is_err() {
            self.shard_state().counts.refused.add_one();
        }
        outcome
    }
}

/// A number that no other living thread has: an address of its own.
fn thread_mark() -> usize {
    std::thread_local!(static MARK: u8 = const { 0 });
    MARK.with(|mark| core::ptr::from_ref(mark).addr())
}
