//! What the receivers of one thread need of their shard beside its calls. They know their indexes to be right.

use super::cache::{Hold, ON_ITS_WAY};
use super::sync::Ordering;
use super::{Shard, ShardError};
use crate::pool::{LeaseId, Outcome, PoolError, PoolStats, Request, WaitId, WaitInfo};

impl Shard {
    /// Asks for a buffer that is granted at once, or not at all.
    ///
    /// # Errors
    ///
    /// As [`Shard::request`], but for the table of waits.
    pub(crate) fn request_now(&self, request: &Request) -> Result<Option<LeaseId>, ShardError> {
        if let Some(lease) = self.take_at_hand(request) {
            return Ok(Some(lease));
        }
        let outcome = self.locked(|central| {
            let known = request.class < self.shared.classes;
            if known && !central.pool.would_grant(request.class) {
                self.shared.collect(central);
            }
            if known && !central.pool.would_grant(request.class) {
                return Ok(None);
            }
            match self.request_locked(central, request)? {
                Outcome::Granted(lease) => Ok(Some(lease)),
                Outcome::Queued(_) => unreachable!("the pool would grant this request"),
            }
        });
        self.count_refusal(outcome)
    }

    /// The lease that holds this buffer, which is this shard's.
    pub(crate) fn lease_at(&self, buffer: u32) -> LeaseId {
        self.shared.slots[buffer as usize].lease(buffer)
    }

    /// Whether a lease is held, and this shard's.
    ///
    /// # Errors
    ///
    /// The lease is stale, foreign, or another shard's.
    pub(crate) fn check_own_lease(&self, lease: LeaseId) -> Result<(), ShardError> {
        let hold = self.shared.slots.get(lease.index() as usize).and_then(|slot| slot.held_as(lease));
        if hold.is_some_and(|hold| hold.shard == self.index) { Ok(()) } else { Err(PoolError::StaleLease.into()) }
    }

    /// Makes a lease of the host's own this shard's, whosever it was.
    ///
    /// # Errors
    ///
    /// The lease is stale, foreign, or a receiver's.
    #[cfg(any(test, feature = "ffi"))]
    pub(crate) fn claim_lease(&self, lease: LeaseId) -> Result<(), ShardError> {
        self.change_lease(lease, |hold| (!hold.is_timed).then_some(Hold { shard: self.index, ..hold }))
    }

    /// Whether the lease is a receiver's from now on.
    pub(crate) fn set_timed(&self, lease: LeaseId, is_timed: bool) {
        self.change_lease(lease, |hold| Some(Hold { is_timed, ..hold })).expect("the lease is the caller's");
    }

    /// Takes a lease of a receiver off this shard, for the one that its connection moves to.
    pub(crate) fn export_lease(&self, lease: LeaseId) {
        let hand_over = |hold| Some(Hold { shard: ON_ITS_WAY, ..hold });
        self.change_lease(lease, hand_over).expect("the lease is the caller's");
    }

    /// Takes in a lease that another shard has exported.
    ///
    /// # Errors
    ///
    /// The lease is stale, foreign, or was not exported.
    pub(crate) fn import_lease(&self, lease: LeaseId) -> Result<(), ShardError> {
        self.change_lease(lease, |hold| (hold.shard == ON_ITS_WAY).then_some(Hold { shard: self.index, ..hold }))
    }

    /// Ends the wait at this index, which is this shard's.
    pub(crate) fn cancel_at(&self, index: u32) {
        self.locked(|central| {
            central.end_wait(index);
            self.lane().counts.cancelled.add_one();
        });
    }

    /// As `describe_wait`, of this shard's waits only.
    ///
    /// # Errors
    ///
    /// The wait is stale, foreign, or another shard's.
    pub(crate) fn describe_own_wait(&self, wait: WaitId) -> Result<WaitInfo, ShardError> {
        self.locked(|central| self.find_wait(central, wait).map(|_| ()))?;
        self.describe_wait(wait)
    }

    /// The wait at this index, which is one.
    pub(crate) fn wait_at(&self, index: u32) -> WaitId {
        self.locked(|central| central.tickets.wait_at(index))
    }

    /// Waits of this shard.
    pub(crate) fn waits(&self) -> u32 {
        self.locked(|central| central.tickets.iter().filter(|ticket| ticket.home == self.index).count() as u32)
    }

    /// Whether somebody waits, on any shard. It takes no lock, and reads what others write only when that changes.
    pub(crate) fn has_waiters(&self) -> bool {
        self.shared.has_waiters.0.load(Ordering::Relaxed)
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.shared.is_closed()
    }

    /// The pool's bound *W*, for all shards together.
    pub(crate) fn passed_max(&self) -> u64 {
        self.shared.passed_max
    }

    /// Gives back all that this shard holds.
    pub(crate) fn release_own(&self) {
        for (index, slot) in (0..).zip(&self.shared.slots) {
            let lease = slot.lease(index);
            if slot.held_as(lease).is_some_and(|hold| hold.shard == self.index) {
                self.release(lease).expect("the lease is this shard's");
            }
        }
    }

    /// Runs `act` on the buffers that are free and at nobody's hand, which nobody can take meanwhile.
    pub(crate) fn with_free<R>(&self, act: impl FnOnce(&mut dyn Iterator<Item = u32>) -> R) -> R {
        self.locked(|central| act(&mut central.pool.free_indexes(0)))
    }

    /// The counts of all shards, as a pool's.
    pub(crate) fn pool_stats(&self) -> PoolStats {
        let stats = self.stats();
        PoolStats {
            capacity: stats.capacity,
            free: stats.free,
            leased: stats.leased,
            assigned: stats.assigned,
            waiting: stats.waiting,
            waiting_by_class: stats.waiting_by_class,
            out_by_class: stats.leased_by_class,
            waiting_peak: stats.waiting_peak,
            granted_at_once: stats.granted_at_once,
            granted_by_hand_over: stats.granted_by_hand_over,
            queued: stats.queued,
            cancelled: stats.cancelled,
            released: stats.released,
            refused: stats.refused,
            passed_peak: stats.passed_peak,
            clock_backwards: stats.clock_backwards,
            leased_peak: stats.leased_peak,
            // Each shard asks its own holders.
            parks_asked: 0,
            sheds_asked: 0,
        }
    }

    fn change_lease(&self, lease: LeaseId, change: impl FnOnce(Hold) -> Option<Hold>) -> Result<(), ShardError> {
        let slot = self.shared.slots.get(lease.index() as usize);
        let changed = slot.and_then(|slot| slot.change(lease, change));
        changed.map(|_| ()).ok_or(PoolError::StaleLease.into())
    }
}

#[cfg(all(test, loom))]
mod tests {
    use super::super::Shards;
    use super::*;
    use crate::pool::PoolConfig;
    use loom::thread;

    /// Two shards of a pool with deadlines, and a receiver's lease of its one buffer.
    fn two_and_a_lease() -> (Shards, Shard, Shard, LeaseId) {
        let shards = Shards::new(&PoolConfig { lease_ns: 1, ..PoolConfig::new(1, 4) }, 2).unwrap();
        let (a, b) = (shards.shard(0).unwrap(), shards.shard(1).unwrap());
        let Ok(Some(lease)) = a.request_now(&Request { is_timed: true, ..Request::new(0, 7) }) else {
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
            assert_eq!((owner.check_own_lease(lease).is_ok(), stranger.check_own_lease(lease).is_ok()), (true, false));
            owner.release(lease).unwrap();
            shards.check_invariants().unwrap();
        });
    }

    #[test]
    fn a_lease_that_ends_while_it_changes_comes_back_once() {
        loom::model(|| {
            let (shards, a, b, lease) = two_and_a_lease();
            a.set_timed(lease, false);
            let other = thread::spawn(move || (b.claim_lease(lease).is_ok(), b));
            // Refused only if the other changed it in between; then it is the other's to end.
            let ended = a.release(lease).is_ok();
            let (claimed, b) = other.join().unwrap();
            assert!(ended || claimed, "one of two always gets its way");
            if !ended {
                b.release(lease).unwrap();
            }
            assert!(b.release(lease).is_err() && a.check_lease(lease).is_err());
            assert_eq!(shards.stats().free, 1);
            shards.check_invariants().unwrap();
        });
    }

    #[test]
    fn who_holds_is_told_of_the_first_that_waits_or_has_seen_it() {
        loom::model(|| {
            let (shards, a, b, lease) = two_and_a_lease();
            let waiter = thread::spawn(move || {
                b.request_for(&Request { is_timed: true, ..Request::new(0, 8) }).unwrap();
                (b.poll_wake(), b)
            });
            // As it does before it sleeps: its grants, then whether deadlines are to be watched.
            assert_eq!(a.poll_grant(), None);
            let seen = a.has_waiters();
            let (named, b) = waiter.join().unwrap();
            assert!(seen || named == Some(0), "it would sleep with a deadline that nobody watches");
            a.release(lease).unwrap();
            assert_eq!(a.poll_wake(), Some(1));
            assert_eq!(b.poll_grant().map(|grant| grant.token), Some(8));
            shards.check_invariants().unwrap();
        });
    }
}
