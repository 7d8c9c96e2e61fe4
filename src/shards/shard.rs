//! The handle of one thread.

use super::cache::Hold;
use super::shared::{Central, Lane, Shared};
use super::sync::Ordering;
use super::tickets::{State, Ticket, Tickets};
use super::{AT_HAND_MAX, ShardError, ShardsStats, TRAVELLING_MAX};
use crate::memory::Counted;
use crate::pool::{Grant, LeaseId, Outcome, PoolError, Request, WaitId, WaitInfo};
use core::cell::Cell;
use core::marker::PhantomData;
use core::sync::atomic::{self, AtomicUsize};

/// The most free buffers that a shard takes at once.
const LEND_MAX: u32 = AT_HAND_MAX / 2;

/// The most times that grants are taken from shards that do not look, in one call.
const OVERDUE_ROUNDS_MAX: u32 = 1024;

/// The most rows of the table of waits that a shard which is dropped looks at while it holds the lock.
const ROWS_AT_ONCE: u32 = 1024;

/// The most waits that it ends meanwhile.
const ENDS_AT_ONCE: u32 = 32;

/// One thread's handle.
#[derive(Debug)]
pub struct Shard {
    pub(super) shared: Counted<Shared>,
    pub(super) index: u32,
    /// The mark of the thread it is bound to; 0 for none.
    thread: AtomicUsize,
    is_not_sync: PhantomData<Cell<()>>,
}

impl Shard {
    /// Takes the handle of a shard that is not in use.
    pub(super) fn claim(shared: &Counted<Shared>, index: u32) -> Result<Shard, ShardError> {
        let shards = shared.lanes.len() as u32;
        let lane = shared.lanes.get(index as usize).ok_or(ShardError::UnknownShard { index, shards })?;
        if lane.0.is_in_use.swap(true, Ordering::Acquire) {
            return Err(ShardError::ShardInUse { index });
        }
        let (shared, thread) = (shared.clone(), AtomicUsize::new(0));
        Ok(Shard { shared, index, thread, is_not_sync: PhantomData })
    }

    /// Asks for a buffer: granted at once, or queued. `token` comes back with the grant, at this shard.
    ///
    /// # Errors
    ///
    /// The class does not exist; it would have to wait and all waits are in use; the pool is closed.
    pub fn request(&self, class: u8, token: u64) -> Result<Outcome, ShardError> {
        self.request_for(&Request::new(class, token))
    }

    /// As `request`, also for a lease with a deadline; size and tenant are the default.
    pub(crate) fn request_for(&self, request: &Request) -> Result<Outcome, ShardError> {
        if let Some(lease) = self.take_at_hand(request) {
            return Ok(Outcome::Granted(lease));
        }
        let outcome = self.locked(|central| self.request_locked(central, request));
        self.count_refusal(outcome)
    }

    /// Gives a buffer back, whichever shard it was taken on. If somebody waits who may take it, it is assigned to him in
    /// this step.
    ///
    /// # Errors
    ///
    /// The lease is stale or foreign. Of several threads that release it at once, all but one are told so.
    pub fn release(&self, lease: LeaseId) -> Result<(), ShardError> {
        self.release_if(lease, |_| true)
    }

    /// As `release`, of a lease that is held in a way that `may_end` allows; any other is stale.
    #[inline(always)]
    pub(super) fn release_if(&self, lease: LeaseId, may_end: impl Fn(Hold) -> bool) -> Result<(), ShardError> {
        let slot = self.shared.slots.get(lease.index() as usize);
        let Some(hold) = slot.and_then(|slot| slot.release(lease, may_end)) else {
            return self.count_refusal(Err(PoolError::StaleLease.into()));
        };
        let Lane { cache, counts, .. } = self.lane();
        counts.given_by_class[usize::from(hold.class)].add_one();
        if hold.is_capped {
            self.locked(|central| central.take_back(lease.index()));
            return Ok(());
        }
        let at_hand = cache.push(&self.shared.slots, lease.index());
        // The other side of `collect`: this comes after `push`, so it sees that the pool is short if `take` came before.
        if at_hand > AT_HAND_MAX || self.shared.is_short.0.load(Ordering::Relaxed) {
            self.locked(|central| self.shared.take_cached(central, cache));
        }
        Ok(())
    }

    /// Ends a wait, whichever shard it is of. If a buffer was assigned to it, the next waiter has it in this step.
    ///
    /// # Errors
    ///
    /// The wait is stale or foreign.
    pub fn cancel(&self, wait: WaitId) -> Result<(), ShardError> {
        let outcome = self.locked(|central| {
            central.tickets.find(wait).ok_or(PoolError::StaleWait)?;
            central.end_wait(wait.index());
            self.lane().counts.cancelled.add_one();
            Ok(())
        });
        self.count_refusal(outcome)
    }

    /// The next waiter of this shard that has a buffer, in the order in which they were assigned. Call it until `None`.
    /// While there is nothing to pick up it takes no lock.
    ///
    /// If leases have deadlines, it first takes grants from shards that were called a lease ago and have not looked since:
    /// those waits queue again, behind all others of their class.
    pub fn poll_grant(&self) -> Option<Grant> {
        if self.is_overdue() {
            self.take_overdue();
        }
        if !self.lane().is_called.load(Ordering::Acquire) {
            return None;
        }
        self.locked(|central| {
            let grant = central.tickets.first_grant(self.index).map(|wait| self.pick_up(central, wait));
            if central.tickets.first_grant(self.index).is_none() {
                self.shared.forget_call(self.index);
            }
            self.lane().called_ns.set(central.now_ns());
            grant
        })
    }

    /// A shard that has grants to pick up and sleeps, for all that is known; the host tells it, by an eventfd or its like.
    /// Call it until `None`. It takes no lock.
    pub fn poll_wake(&self) -> Option<u32> {
        self.shared.poll_wake(Some(self.index))
    }

    /// Takes a wait off this shard, for the one that its connection moves to. On the way it keeps its place and is served
    /// as ever, but no shard picks the buffer up until [`Shard::import_wait`].
    ///
    /// # Errors
    ///
    /// The wait is stale: if it was served, the grant was picked up here already. Or it is not of this shard; or
    /// [`TRAVELLING_MAX`] are on their way already.
    pub fn export_wait(&self, wait: WaitId) -> Result<(), ShardError> {
        let outcome = self.locked(|central| {
            let token = self.find_wait(central, wait)?.token;
            if central.tickets.travelling == TRAVELLING_MAX {
                return Err(ShardError::TooManyOnTheWay);
            }
            central.tickets.rehome(wait.index(), Tickets::NOWHERE, token);
            Ok(())
        });
        self.count_refusal(outcome)
    }

    /// Takes in a wait that another shard has exported; `token` comes back with the grant from now on. If it was served
    /// on the way, the next `poll_grant` has it.
    ///
    /// # Errors
    ///
    /// The wait is stale, or was not exported.
    pub fn import_wait(&self, wait: WaitId, token: u64) -> Result<(), ShardError> {
        let outcome = self.locked(|central| {
            let ticket = central.tickets.find(wait).ok_or(PoolError::StaleWait)?;
            if ticket.home != Tickets::NOWHERE {
                return Err(ShardError::WaitNotExported);
            }
            central.tickets.rehome(wait.index(), self.index, token);
            if central.tickets.first_grant(self.index).is_some() {
                self.lane().called_ns.set(central.now_ns());
                self.lane().is_called.store(true, Ordering::Release);
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
    pub fn describe_wait(&self, wait: WaitId) -> Result<WaitInfo, ShardError> {
        self.locked(|central| central.describe_wait(wait))
    }

    /// Whether a lease is held.
    ///
    /// # Errors
    ///
    /// The lease is stale or foreign.
    pub fn check_lease(&self, lease: LeaseId) -> Result<(), ShardError> {
        let slot = self.shared.slots.get(lease.index() as usize);
        if slot.is_some_and(|slot| slot.held_as(lease).is_some()) { Ok(()) } else { Err(PoolError::StaleLease.into()) }
    }

    /// Tells this shard the time, in monotonic nanoseconds; it dates waits. A time before the last one is counted and not
    /// taken.
    pub fn handle_timeout(&self, now_ns: u64) {
        let lane = self.lane();
        if lane.note_time(now_ns) {
            lane.counts.clock_backwards.add_one();
        }
    }

    /// Counts, without a lock.
    pub fn stats(&self) -> ShardsStats {
        self.shared.stats()
    }

    /// Which shard this is.
    pub fn index(&self) -> u32 {
        self.index
    }

    /// Binds the shard to the thread that calls, for [`Shard::check_thread`].
    pub fn bind_thread(&self) {
        self.thread.store(thread_mark(), atomic::Ordering::Relaxed);
    }

    /// Whether the thread that calls may use the shard: it is bound to it, or to none. Costs a load and a comparison.
    ///
    /// # Errors
    ///
    /// The shard is bound to another thread.
    pub fn check_thread(&self) -> Result<(), ShardError> {
        let thread = self.thread.load(atomic::Ordering::Relaxed);
        if thread == 0 || thread == thread_mark() { Ok(()) } else { Err(ShardError::WrongThread) }
    }

    /// As [`Shards::check_invariants`](super::Shards::check_invariants).
    ///
    /// # Errors
    ///
    /// Names the rule that is broken.
    pub fn check_invariants(&self) -> Result<(), &'static str> {
        self.shared.check_invariants()
    }
}

impl Drop for Shard {
    fn drop(&mut self) {
        if self.shared.is_broken() {
            return;
        }
        let mut next = Some(0);
        while let Some(from) = next {
            next = self.locked(|central| {
                self.shared.take_cached(central, &self.lane().cache);
                let next = self.end_some_waits(central, from);
                if next.is_none() {
                    self.shared.forget_call(self.index);
                }
                next
            });
            self.shared.central.0.let_others_in();
        }
        self.lane().is_in_use.store(false, Ordering::Release);
    }
}

impl Shard {
    fn is_overdue(&self) -> bool {
        self.lane().told_ns().is_some_and(|now_ns| now_ns >= self.shared.overdue_ns()) && self.has_waiters()
    }

    /// Goes on until the grants of shards that do not look are with others, though many waits of such shards may come
    /// first. What comes back to them every time is of no use to other shards.
    fn take_overdue(&self) {
        for _ in 0..OVERDUE_ROUNDS_MAX {
            self.locked(|central| {
                // This shard is looking.
                self.lane().called_ns.set(central.now_ns());
                self.shared.take_overdue(central);
            });
            if !self.is_overdue() {
                return;
            }
        }
        self.locked(|central| self.shared.forgive_overdue(central));
    }

    pub(super) fn lane(&self) -> &Lane {
        &self.shared.lanes[self.index as usize].0
    }

    /// Ends waits of this shard, from this row of the table on: a piece of work that is bounded however many there are.
    /// Returns the row to go on from, if waits are left.
    fn end_some_waits(&self, central: &mut Central, from: u32) -> Option<u32> {
        let (rows, mut ended) = (central.tickets.rows(), 0);
        let end = rows.min(from + ROWS_AT_ONCE);
        for index in from..end {
            if central.tickets.waits_of(self.index) == 0 {
                return None;
            }
            if central.tickets.is_of(self.index, index) {
                central.end_wait(index);
                self.lane().counts.cancelled.add_one();
                ended += 1;
            }
            if ended == ENDS_AT_ONCE {
                return Some(index + 1);
            }
        }
        (end < rows).then_some(end)
    }

    /// Does something with the pool, and afterwards what follows from it.
    pub(super) fn locked<R>(&self, act: impl FnOnce(&mut Central) -> R) -> R {
        let mut central = self.shared.lock();
        let lane = self.lane();
        let Lane { cache, counts, .. } = lane;
        counts.locked.add_one();
        self.shared.advance_clock(&mut central, lane);
        self.shared.note_peak(&central);
        let outcome = act(&mut central);
        cache.forget_lowest();
        counts.wakes.add(self.shared.settle(&mut central, Some(self.index)));
        outcome
    }

    pub(super) fn request_locked(&self, central: &mut Central, request: &Request) -> Result<Outcome, ShardError> {
        let (class, classes) = (request.class, self.shared.classes);
        if class >= classes {
            return Err(PoolError::UnknownClass { class, classes }.into());
        }
        self.check_open_for(request)?;
        if !central.pool.would_grant(class) {
            self.shared.collect(central);
        }
        // A ticket must be there before the pool queues the request: a wait without a home could not be served.
        let Some(ticket) = central.tickets.next_unused().or(central.pool.would_grant(class).then_some(0)) else {
            let waiters_max = central.tickets.len();
            return Err(PoolError::WaitersFull { waiters_max }.into());
        };
        match central.pool.request(class, ticket.into())? {
            Outcome::Queued(wait) => {
                self.lane().counts.queued.add_one();
                Ok(Outcome::Queued(central.tickets.open(self.index, request, wait)))
            }
            Outcome::Granted(lease) => {
                let lease = self.hold(lease.index(), class, request.is_timed);
                if self.shared.is_uncapped(class) {
                    self.stock_up(central, class);
                }
                Ok(Outcome::Granted(lease))
            }
        }
    }

    /// Refuses a request of the host's own once the pool is closed. The receivers that are there may end what they have
    /// begun.
    pub(super) fn check_open_for(&self, request: &Request) -> Result<(), ShardError> {
        if self.shared.is_closed() && !request.is_timed { Err(ShardError::Closed) } else { Ok(()) }
    }

    /// Puts this shard's part of what is left at hand. For the pool it is leased to a class that has no cap, so that it
    /// makes no difference to which.
    fn stock_up(&self, central: &mut Central, class: u8) {
        // A closed pool counts as short: nothing may stay at hand, where no waiter and no check of a request finds it.
        if self.shared.is_closed() {
            return;
        }
        let part = central.pool.surplus() / self.shared.lanes.len() as u32;
        for _ in 0..part.min(LEND_MAX) {
            let Ok(Outcome::Granted(lease)) = central.pool.request(class, 0) else {
                unreachable!("a part of the surplus is granted at once");
            };
            self.lane().cache.push(&self.shared.slots, lease.index());
        }
    }

    /// Ends the wait that is the first of this shard's grants, and starts its lease.
    fn pick_up(&self, central: &mut Central, wait: WaitId) -> Grant {
        let ticket = central.tickets.close(wait.index());
        let State::Assigned { buffer, .. } = ticket.state else { unreachable!("what is among the grants is assigned") };
        self.lane().counts.picked_up.add_one();
        let Ticket { token, class, is_timed, .. } = ticket;
        Grant { wait, token, class, lease: self.hold(buffer, class, is_timed), is_timed }
    }

    /// A wait of this shard.
    pub(super) fn find_wait<'a>(&self, central: &'a Central, wait: WaitId) -> Result<&'a Ticket, ShardError> {
        let ticket = central.tickets.find(wait).ok_or(PoolError::StaleWait)?;
        if ticket.home == self.index { Ok(ticket) } else { Err(ShardError::WaitElsewhere) }
    }

    /// Starts a lease of a buffer that this shard owns by now.
    fn hold(&self, index: u32, class: u8, is_timed: bool) -> LeaseId {
        self.lane().counts.taken_by_class[usize::from(class)].add_one();
        let is_capped = !self.shared.is_uncapped(class);
        self.shared.slots[index as usize].hold(index, Hold { class, is_capped, is_timed, shard: self.index })
    }

    pub(super) fn take_at_hand(&self, request: &Request) -> Option<LeaseId> {
        if !self.shared.is_uncapped(request.class) {
            return None;
        }
        let index = self.lane().cache.pop(&self.shared.slots)?;
        Some(self.hold(index, request.class, request.is_timed))
    }

    pub(super) fn count_refusal<T>(&self, outcome: Result<T, ShardError>) -> Result<T, ShardError> {
        if outcome.is_err() {
            self.lane().counts.refused.add_one();
        }
        outcome
    }
}

/// A number that no other living thread has: an address of its own.
fn thread_mark() -> usize {
    std::thread_local!(static MARK: u8 = const { 0 });
    MARK.with(|mark| core::ptr::from_ref(mark).addr())
}
