//! What must always hold of a shared scheduler.

use super::cache::BufferState;
use super::homes::Resident;
use super::own_waits::{OwnWait, OwnWaits, Phase};
use super::placeholders::bypass_bound;
use super::state::{Locked, Shared};
use super::sync::Ordering;

impl Shared {
    pub(super) fn check_invariants(&self) -> Result<(), &'static str> {
        let state = self.lock();
        let Locked { scheduler, homes, .. } = &*state;
        scheduler.check_invariants()?;
        let cached = |shard| self.own_waits(shard).with(|own| own.cache.iter(&self.buffers).count() as u32);
        let cached: u32 = (0..self.shard_states.len() as u32).map(cached).sum();
        let held = self.buffers.iter().filter_map(BufferState::any_hold).count() as u32;
        let is_queued = |&(index, _): &(u32, &Resident)| scheduler.is_queued(index);
        let assigned = state.common_waits().filter(|wait| !is_queued(wait)).count() as u32;
        let (mut own_assigned, mut own_waits) = (0, 0);
        for shard in 0..self.shard_states.len() as u32 {
            let (assigned, waits) = self.own_waits(shard).with(|own| self.check_own_waits(&state, shard, own))?;
            (own_assigned, own_waits) = (own_assigned + assigned, own_waits + waits);
        }
        let queued = state.common_waits().filter(is_queued).count() as u32;
        let stats = scheduler.stats();
        ensure(
            scheduler.free_buffers() + scheduler.withheld() + cached + held + assigned + own_assigned
                == self.buffers.len() as u32,
            "I1: free, withheld, cached, held or assigned is all",
        )?;
        ensure(assigned == homes.assigned, "I1: as many buffers are assigned as are counted")?;
        for home in 0..=homes.away() {
            let of_home = || state.common_waits().filter(|(_, wait)| wait.home == home);
            let are_queued = |class: u8| {
                let is_of_class = |&(index, _): &(u32, &Resident)| scheduler.class_of_wait(index) == class;
                of_home().filter(is_queued).filter(is_of_class).count() as u32 == homes.queued_of(home, class)
            };
            ensure(
                of_home().count() as u32 == homes.waits_of(home) && (0..self.classes).all(are_queued),
                "I2: a shard has as many waits as are counted",
            )?;
        }
        let asking = self.shard_states.iter().filter(|of| of.0.asks()).count() as u64;
        ensure(asking == self.asking.0.load(Ordering::Relaxed), "I2: as many shards ask as are counted")?;
        ensure(state.are_homes_sound(), "I2: the grants of each home are sound")?;
        let placeholders = state.placeholders.by_class.iter().sum::<u32>();
        ensure(queued + placeholders == stats.waiting, "I2: what waits here waits in the pool")?;
        let common_waits = state.common_waits().count() as u32;
        ensure(
            homes.rights + common_waits + own_waits == scheduler.waiters_max(),
            "I2: as many waits may begin as are not in use",
        )?;
        ensure(self.are_totals_known(&state), "while requests of a tenant wait, what its receivers keep is known")?;
        self.check_rest(&state, scheduler.free_buffers() + cached)?;
        for (home, shard_state) in (0..).zip(&self.shard_states) {
            let has_grants = self.first_own_grant(home).is_some() || homes.has_grants(home);
            let looks_at_them = self.own_waits(home).with(|own| own.has_common_grants);
            ensure(looks_at_them || !homes.has_grants(home), "a shard with grants at home looks at them")?;
            ensure(!has_grants || shard_state.0.is_called.load(Ordering::Relaxed), "a shard with grants is called")?;
        }
        Ok(())
    }

    /// What a shard queues itself. Returns how many buffers are assigned there, and how many waits it has or may begin.
    fn check_own_waits(&self, state: &Locked, shard: u32, own: &OwnWaits) -> Result<(u32, u32), &'static str> {
        let shard_state = &self.shard_states[shard as usize].0;
        ensure(
            own.cache.is_sound(&shard_state.cached, &self.buffers),
            "I1: as many buffers are cached as are counted",
        )?;
        ensure(own.are_lists_sound(&shard_state.shown), "I2: the lists of a shard are sound")?;
        for class in 0..self.classes {
            let placeholder = state.placeholders.get(shard, class);
            ensure(own.is_waiting(class) == placeholder.is_some(), "I2: a placeholder stands for waits of a shard")?;
        }
        let bound = bypass_bound(state.scheduler.bypass_bound(), self.shard_states.len() as u32);
        let are_bounded = own.iter().all(|wait| match wait.phase {
            Phase::Queued => state.grants_before(wait.class, &own.exchanged).saturating_sub(wait.grants) <= bound,
            _ => wait.grants <= bound,
        });
        ensure(are_bounded, "I6: at most W grants bypass a waiter")?;
        let assigned = own.iter().filter(|wait| wait.phase != Phase::Queued).count() as u32;
        Ok((assigned, own.rights + own.iter().count() as u32))
    }

    /// The rest property, from what each class holds and waits for: it uses nothing that decides which wait is served.
    fn check_rest(&self, state: &Locked, free: u32) -> Result<(), &'static str> {
        let may_have_more = |index| self.is_below_cap(state, state.scheduler.tenant_of_wait(index));
        for class in 0..self.classes {
            let of_class = |is_queued| {
                let is_meant = move |&index: &u32| {
                    state.scheduler.class_of_wait(index) == class && state.scheduler.is_queued(index) == is_queued
                };
                state.common_waits().map(|(index, _)| index).filter(is_meant)
            };
            let own = |is_meant: fn(Phase) -> bool| {
                let is_counted = |wait: &&OwnWait| wait.class == class && is_meant(wait.phase);
                let of_shard = |shard| self.own_waits(shard).with(|own| own.iter().filter(is_counted).count() as u32);
                (0..self.shard_states.len() as u32).map(of_shard).sum::<u32>()
            };
            let waits = of_class(true).any(may_have_more) || own(|phase| phase == Phase::Queued) > 0;
            let assigned = of_class(false).count() as u32 + own(|phase| phase != Phase::Queued);
            let held =
                self.buffers.iter().filter_map(BufferState::any_hold).filter(|hold| hold.class == class).count() as u32;
            let (reserve, cap) = (self.reserve_of(class), self.class_caps[usize::from(class)]);
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

    /// Two shards with two buffers: one is held by shard 0, the other one is assigned to its first wait; others wait.
    struct TwoShards {
        here: SchedulerShard,
        held: LeaseId,
        shards: SharedScheduler,
    }

    /// Both of two waits are in the common queue themselves, for their class has a cap.
    fn two_shards() -> TwoShards {
        two_shards_of(&SchedulerConfig { class_caps: [2; 8], ..SchedulerConfig::new(2, 4) }, 2)
    }

    /// All of three waits are queued by the shard itself.
    fn two_shards_with_own_waits() -> TwoShards {
        two_shards_of(&SchedulerConfig::new(2, 4), 3)
    }

    fn two_shards_of(config: &SchedulerConfig, waits: u64) -> TwoShards {
        let shards = SharedScheduler::new(config, 2).expect("the configuration is allowed");
        let (here, there) = (shards.shard(0).expect("it is free"), shards.shard(1).expect("it is free"));
        let [held, given] = core::array::from_fn(|_| match here.request(0, 0) {
            Ok(Outcome::Granted(lease)) => lease,
            other => panic!("a buffer is free: {other:?}"),
        });
        for token in 0..waits {
            assert!(matches!(here.request(0, token), Ok(Outcome::Queued(_))), "no buffer is free");
        }
        there.release(given).expect("it is held");
        assert_eq!(shards.check_invariants(), Ok(()));
        TwoShards { here, held, shards }
    }

    #[test]
    fn each_rule_of_own_waits_that_is_broken_is_named() {
        let assert_named = |rule, breaks| assert_named_of(two_shards_with_own_waits(), rule, breaks);
        assert_named("I2: the lists of a shard are sound", |two| {
            two.here.shard_state().shown.waiting_by_class[0].set(7);
        });
        assert_named("I2: as many waits may begin as are not in use", |two| {
            two.here.shared.own_waits(0).with(|own| own.rights += 1);
        });
        assert_named("I6: at most W grants bypass a waiter", |two| {
            let beyond = two.shards.bypass_bound() + 1;
            two.here.shared.own_waits(0).with(|own| own.exchanged[0] = beyond);
        });
        assert_named("I1: free, withheld, cached, held or assigned is all", |two| {
            two.here.shared.own_waits(0).with(|own| {
                own.pick_up().expect("it has a buffer");
                own.show_assigned(&two.here.shard_state().shown);
            });
        });
        assert_named("a shard with grants is called", |two| two.here.shared.forget_call(0));
        let two = two_shards_with_own_waits();
        let placeholder = two.here.shared.lock().placeholders.take(0, 0).expect("waits are queued");
        assert_eq!(two.shards.check_invariants(), Err("I2: a placeholder stands for waits of a shard"));
        two.here.shared.lock().placeholders.set(0, 0, placeholder);
    }

    fn assert_named_of(two: TwoShards, rule: &str, breaks: fn(&TwoShards)) {
        breaks(&two);
        assert_eq!(two.shards.check_invariants(), Err(rule));
    }

    /// After a panic inside the pool, which is a defect, the shards and the pool can still be dropped.
    #[test]
    fn s81_drop_does_not_panic_after_a_panic() {
        let TwoShards { here, held, shards } = two_shards();
        // A receiver's: it is released when its thread ends, which takes the lock while the pool is exhausted.
        here.take_host_lease(held, Reach::HERE).expect("it is the host's own");
        let shared = here.shared.clone();
        let held = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _guard = shared.lock();
            panic!("while it holds the lock");
        }));
        assert!(held.is_err() && shared.is_broken());
        here.leave_leases(|_| false);
        here.leave_tenants(&[]);
        drop(here);
        drop(shards);
    }

    #[test]
    fn each_rule_that_is_broken_is_named() {
        let assert_named = |rule, breaks| assert_named_of(two_shards(), rule, breaks);
        assert_named("I1: free, withheld, cached, held or assigned is all", |two| {
            let buffer = &two.here.shared.buffers[two.held.index() as usize];
            buffer.release(two.held);
        });
        assert_named("I1: as many buffers are assigned as are counted", |two| {
            two.here.shared.lock().homes.assigned += 1;
        });
        for [waits, assigned] in [[1, 0], [0, 1], [1, 1]] {
            let two = two_shards();
            two.here.shared.lock().homes.miscount(0, [waits, assigned]);
            assert_eq!(two.shards.check_invariants(), Err("I2: a shard has as many waits as are counted"));
        }
        assert_named("I1: as many buffers are cached as are counted", |two| {
            two.here.shard_state().cached.len.set(1);
        });
        assert_named("I1: as many buffers are cached as are counted", |two| {
            two.here.shard_state().cached.lowest.0.set(1);
        });
        let two = two_shards();
        let asked = two.here.shared.lock().scheduler.request(0, 0);
        let Ok(Outcome::Queued(wait)) = asked else { panic!("no buffer is free: {asked:?}") };
        assert_eq!(two.shards.check_invariants(), Err("I2: what waits here waits in the pool"));
        two.here.shared.lock().scheduler.cancel(wait).expect("it waits");
        assert_named("I2: the grants of each home are sound", |two| two.here.shared.lock().homes.lose_tail(0));
        assert_named("I3: no buffer is free anywhere while an eligible waiter is queued", |two| {
            let Shared { buffers, shard_states, .. } = &*two.here.shared;
            buffers[two.held.index() as usize].release(two.held);
            let shown = &shard_states[1].0.cached;
            two.here.shared.own_waits(1).with(|own| own.cache.push(shown, buffers, two.held.index()));
        });
        assert_named("a shard with grants at home looks at them", |two| {
            two.here.shared.own_waits(0).with(|own| own.has_common_grants = false);
        });
        assert_named("a shard with grants is called", |two| two.here.shared.forget_call(0));
    }
}
