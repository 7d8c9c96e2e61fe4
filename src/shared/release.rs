//! How a lease ends, or changes, on whichever thread: under the lock of the shard that has it.

use super::cache::{LeaseWord, NO_SHARD, NextHold};
use super::own_waits::OwnWaits;
use super::shard_state::ShardState;
use super::state::Shared;
use super::sync::Ordering;
use super::{CACHE_MAX, SchedulerShard, SharedSchedulerError};
use crate::scheduler::{LeaseId, SchedulerError};

/// What became of a buffer whose lease was to end.
enum Released {
    /// A wait of the shard has it, or its cache.
    Done,
    /// The lock of all is needed.
    ToAll,
    CacheFull,
    /// The lease is not this shard's, or stale.
    Elsewhere,
}

impl Shared {
    /// Ends or changes a lease, if `next` allows it; returns how it was held. Decides and writes in one step: what
    /// `next` decided on is what is replaced. So of several threads that end or change one lease in ways that exclude
    /// each other, one succeeds.
    pub(super) fn replace_hold(
        &self,
        lease: LeaseId,
        next: impl Fn(LeaseWord) -> Option<NextHold>,
    ) -> Option<LeaseWord> {
        let buffer = self.buffers.get(lease.index() as usize)?;
        loop {
            let hold = buffer.held_as(lease)?;
            let next = next(hold)?;
            let is_replaced = match hold.shard {
                NO_SHARD => buffer.replace(lease, hold, next),
                shard => self.own_waits(shard).with(|_| buffer.replace(lease, hold, next)),
            };
            if is_replaced {
                return Some(hold);
            }
        }
    }
}

impl SchedulerShard {
    /// As `release`, of a lease that is held in a way that `may_end` allows; any other is stale.
    #[inline(always)]
    pub(super) fn release_if(
        &self,
        lease: LeaseId,
        may_end: impl Fn(LeaseWord) -> bool,
    ) -> Result<(), SharedSchedulerError> {
        let of = self.shard_state();
        match of.own_waits.0.with(|own| self.release_own(of, own, lease, &may_end)) {
            Released::Done => Ok(()),
            released => self.finish_release(released, lease, may_end),
        }
    }

    /// Ends a lease of this shard's.
    #[inline(always)]
    fn release_own(
        &self,
        of: &ShardState,
        own: &mut OwnWaits,
        lease: LeaseId,
        may_end: impl Fn(LeaseWord) -> bool,
    ) -> Released {
        let buffer = self.shared.buffers.get(lease.index() as usize);
        let held = buffer.and_then(|buffer| Some((buffer, buffer.held_as(lease)?)));
        let Some((buffer, hold)) = held.filter(|(_, hold)| hold.shard == self.index && may_end(*hold)) else {
            return Released::Elsewhere;
        };
        buffer.release(lease);
        self.pass_on(of, own, hold, lease.index())
    }

    /// Passes on a buffer whose lease was held so, as far as the lock of all is not needed.
    #[inline(always)]
    fn pass_on(&self, of: &ShardState, own: &mut OwnWaits, hold: LeaseWord, buffer: u32) -> Released {
        of.counts.given_by_class[usize::from(hold.class)].add_one();
        if hold.is_capped || hold.is_named {
            return Released::ToAll;
        }
        if self.exchange(of, own, buffer) {
            return Released::Done;
        }
        // The other side of `collect`: it has this lock after it is set, so either it is seen here, or what is pushed
        // is seen there.
        if self.shared.is_exhausted.0.load(Ordering::Relaxed) {
            return Released::ToAll;
        }
        let cached = own.cache.push(&of.cached, &self.shared.buffers, buffer);
        if cached > CACHE_MAX { Released::CacheFull } else { Released::Done }
    }

    /// What is left of a release: the lease is another shard's, or stale, or the lock of all is needed.
    #[inline(never)]
    fn finish_release(
        &self,
        mut released: Released,
        lease: LeaseId,
        may_end: impl Fn(LeaseWord) -> bool,
    ) -> Result<(), SharedSchedulerError> {
        if let Released::Elsewhere = released {
            let ended = self.shared.replace_hold(lease, |hold| may_end(hold).then_some(NextHold::Free));
            let Some(hold) = ended else {
                return self.count_refusal(Err(SchedulerError::StaleLease.into()));
            };
            let of = self.shard_state();
            released = of.own_waits.0.with(|own| self.pass_on(of, own, hold, lease.index()));
        }
        match released {
            Released::ToAll => self.locked(|state| self.take_back(state, lease.index())),
            Released::CacheFull => self.locked(|state| self.shared.take_cached(state, self.index)),
            Released::Done | Released::Elsewhere => {}
        }
        Ok(())
    }
}
