//! What must always hold of a shared scheduler.

use super::cache::BufferState;
use super::shard_waits::{State, Ticket};
use super::state::{Locked, Shared};
use super::sync::Ordering;

impl Shared {
    pub(super) fn check_invariants(&self) -> Result<(), &'static str> {
        let state = self.lock();
        let Locked { scheduler, tickets, .. } = &*state;
        scheduler.check_invariants()?;
        let cached: u32 =
            self.shard_states.iter().map(|shard_state| shard_state.0.cache.iter(&self.buffers).count() as u32).sum();
        let held = self.buffers.iter().filter_map(BufferState::any_hold).count() as u32;
        let assigned = tickets.iter().filter(|ticket| matches!(ticket.state, State::Assigned { .. })).count() as u32;
        let queued = tickets.iter().filter(|ticket| matches!(ticket.state, State::Queued(_))).count() as u32;
        let stats = scheduler.stats();
        ensure(
            scheduler.free_buffers() + scheduler.withheld() + cached + held + assigned == self.buffers.len() as u32,
            "I1: free, withheld, cached, held or assigned is all",
        )?;
        ensure(assigned == tickets.assigned, "I1: as many buffers are assigned as are counted")?;
        for home in 0..self.shard_states.len() as u32 {
            ensure(
                tickets.iter().filter(|ticket| ticket.home == home).count() as u32 == tickets.waits_of(home),
                "I2: a shard has as many waits as are counted",
            )?;
        }
        ensure(queued == stats.waiting, "I2: what waits here waits in the pool")?;
        ensure(self.are_totals_known(&state), "while requests of a tenant wait, what its receivers keep is known")?;
        self.check_rest(&state, scheduler.free_buffers() + cached)?;
        for (home, shard_state) in (0..).zip(&self.shard_states) {
            let has_grants = tickets.first_grant(home).is_some();
            ensure(!has_grants || shard_state.0.is_called.load(Ordering::Relaxed), "a shard with grants is called")?;
        }
        Ok(())
    }

    /// The rest property, from what each class holds and waits for: it uses nothing that decides which wait is served.
    fn check_rest(&self, state: &Locked, free: u32) -> Result<(), &'static str> {
        let tickets = &state.tickets;
        let may_have_more = |ticket: &Ticket| match ticket.state {
            State::Queued(wait) => {
                state.scheduler.tenant_of_wait(wait).is_none_or(|tenant| self.is_below_cap(state, tenant))
            }
            _ => false,
        };
        for class in 0..self.classes {
            let of_class = |state: fn(&State) -> bool| {
                tickets.iter().filter(|ticket| ticket.class == class && state(&ticket.state)).count() as u32
            };
            let waits = tickets.iter().any(|ticket| ticket.class == class && may_have_more(ticket));
            let assigned = of_class(|state| matches!(state, State::Assigned { .. }));
            let held =
                self.buffers.iter().filter_map(BufferState::any_hold).filter(|hold| hold.class == class).count() as u32;
            let (reserve, cap) = (self.reserves[usize::from(class)], self.class_caps[usize::from(class)]);
            let is_eligible = free > reserve && held + assigned < cap;
            ensure(!(waits && is_eligible), "I3: no buffer is free anywhere while an eligible waiter is queued")?;
        }
        Ok(())
    }
}

fn ensure(holds: bool, rule: &'static str) -> Result<(), &'static str> {
    if holds { Ok(()) } else { Err(rule) }
}

// Loom's structures may only be made inside a model, and these tests have one thread.
#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;
    use crate::memory::Reach;
    use crate::scheduler::{LeaseId, Outcome, SchedulerConfig};
    use crate::shared::{SchedulerShard, SharedScheduler};

    /// Two shards with two buffers: one is held by shard 0, the other one is assigned to its first wait; a second one
    /// waits.
    struct TwoShards {
        here: SchedulerShard,
        held: LeaseId,
        shards: SharedScheduler,
    }

    fn two_shards() -> TwoShards {
        let shards = SharedScheduler::new(&SchedulerConfig::new(2, 4), 2).expect("the configuration is allowed");
        let (here, there) = (shards.shard(0).expect("it is free"), shards.shard(1).expect("it is free"));
        let [held, given] = core::array::from_fn(|_| match here.request(0, 0) {
            Ok(Outcome::Granted(lease)) => lease,
            other => panic!("a buffer is free: {other:?}"),
        });
        for token in 0..2 {
            assert!(matches!(here.request(0, token), Ok(Outcome::Queued(_))), "no buffer is free");
        }
        there.release(given).expect("it is held");
        assert_eq!(shards.check_invariants(), Ok(()));
        TwoShards { here, held, shards }
    }

    fn assert_named(rule: &str, breaks: fn(&TwoShards)) {
        let two = two_shards();
        breaks(&two);
        assert_eq!(two.shards.check_invariants(), Err(rule));
    }

    /// After a panic inside the pool, which is a defect, the shards and the pool can still be dropped.
    #[test]
    fn s81_drop_does_not_panic_after_a_panic() {
        let TwoShards { here, held, shards } = two_shards();
        // A receiver's: it is released when its thread ends, which takes the lock while the pool is exhausted.
        here.adopt_host_lease(held, Reach::HERE).expect("it is the host's own");
        let shared = here.shared.clone();
        let held = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _guard = shared.lock();
            panic!("while it holds the lock");
        }));
        assert!(held.is_err() && shared.is_broken());
        here.leave_leases(|_| false);
        drop(here);
        drop(shards);
    }

    #[test]
    fn each_rule_that_is_broken_is_named() {
        assert_named("I1: free, withheld, cached, held or assigned is all", |two| {
            let buffer = &two.here.shared.buffers[two.held.index() as usize];
            buffer.release(two.held, |_| true).expect("it is held");
        });
        assert_named("I1: as many buffers are assigned as are counted", |two| {
            two.here.shared.lock().tickets.assigned += 1;
        });
        assert_named("I2: a shard has as many waits as are counted", |two| {
            two.here.shared.lock().tickets.miscount(0);
        });
        assert_named("I2: what waits here waits in the pool", |two| {
            let asked = two.here.shared.lock().scheduler.request(0, 0);
            assert!(matches!(asked, Ok(Outcome::Queued(_))), "no buffer is free");
        });
        assert_named("I3: no buffer is free anywhere while an eligible waiter is queued", |two| {
            let Shared { buffers, shard_states, .. } = &*two.here.shared;
            buffers[two.held.index() as usize].release(two.held, |_| true).expect("it is held");
            shard_states[1].0.cache.push(buffers, two.held.index());
        });
        assert_named("a shard with grants is called", |two| two.here.shared.forget_call(0));
    }
}
