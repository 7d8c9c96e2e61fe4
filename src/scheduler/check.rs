//! What must always hold of a pool.

use super::buffers::{Lease, LeaseState};
use super::config::SIZES_MAX;
use super::schedule::Verdict;
use super::waits::{Wait, WaitState};
use super::{Scheduler, ensure};

impl Scheduler {
    /// Checks what must always hold, walking everything: for tests.
    ///
    /// # Errors
    ///
    /// Names the rule that is broken.
    pub fn check_invariants(&self) -> Result<(), &'static str> {
        self.check_buffers()?;
        let queued = |wait: &&Wait| wait.state == WaitState::Queued;
        let assigned = |_, wait: &Wait| wait.state == WaitState::Assigned;
        ensure(self.assigned.is_sound(self.waits.table(), assigned), "I2: the list of grants is sound")?;
        for (index, class) in self.classes.iter().enumerate() {
            let of_class = |wait: &&Wait| usize::from(wait.class) == index;
            let waiting = self.waits.table().iter().filter(queued).filter(of_class).count();
            ensure(waiting == class.waiting as usize, "I2: as many wait as are counted")?;
            ensure(class.outstanding <= class.cap, "a class never has more outstanding than its cap")?;
            let next = self.next_of(index);
            let idle = next.is_some_and(|(_, units)| self.verdict(index, units) == Verdict::Fits);
            ensure(!idle || self.is_behind_larger(index), "I3: no buffer is free while an eligible waiter is queued")?;
        }
        let waiting = self.classes.iter().map(|class| class.waiting).sum::<u32>();
        ensure(waiting == self.stats.waiting, "I2: as many wait as are counted")?;
        // The bound of what is at home is that of the shared scheduler.
        let is_here = |wait: &&Wait| matches!(wait.state, WaitState::Queued | WaitState::Assigned);
        for wait in self.waits.table().iter().filter(is_here) {
            ensure(self.bypasses(wait) <= self.bypass_bound(), "I6: at most W grants bypass a waiter")?;
        }
        self.check_tenants()
    }

    pub(super) fn check_tenants(&self) -> Result<(), &'static str> {
        let queued = |wait: &&Wait| wait.state == WaitState::Queued;
        let held = |lease: &&Lease| lease.is_outstanding();
        let outstanding = |tenant: u32| {
            let leases = self.buffers.table().iter().filter(held).filter(|lease| lease.tenant == tenant);
            leases.map(|lease| self.buffers.units_of(lease.size_index)).sum()
        };
        let waiting =
            |tenant: u32| self.waits.table().iter().filter(queued).filter(|wait| wait.tenant == tenant).count() as u32;
        let withheld = self.buffers.withheld() * self.buffers.units_of(0);
        let all_outstanding = self.buffers.units() - self.buffers.free_units() - withheld;
        self.tenants.check(self.waits.table(), outstanding, waiting, (all_outstanding, self.stats.waiting))
    }

    fn check_buffers(&self) -> Result<(), &'static str> {
        let leases = self.buffers.table();
        let count = |state| leases.iter().filter(|lease| lease.state == state).count();
        let units = |lease: &Lease| self.buffers.units_of(lease.size_index);
        let outstanding = leases.iter().filter(|lease| lease.state != LeaseState::Free).map(units).sum::<u32>();
        ensure(outstanding + self.buffers.free_units() == self.buffers.units(), "I1: outstanding and free are all")?;
        let withheld = self.buffers.withheld();
        ensure(count(LeaseState::Withheld) == withheld as usize, "I1: as many buffers are withheld as are counted")?;
        let is_idle = self.to_withhold > 0 && self.buffers.free_units() >= self.buffers.units_of(0);
        ensure(!is_idle, "I3: no buffer is free while one is to be withheld")?;
        let listed = (0..SIZES_MAX as u8).map(|size_index| self.buffers.free_of(size_index).count()).sum::<usize>();
        ensure(listed == count(LeaseState::Free), "I1: every free buffer is in a free list")?;
        ensure(count(LeaseState::Assigned) == self.assigned.len as usize, "I1: every assigned buffer has a waiter")?;
        for (index, class) in self.classes.iter().enumerate() {
            let of_class = |lease: &&Lease| lease.is_outstanding() && usize::from(lease.class) == index;
            let outstanding = leases.iter().filter(of_class).map(units).sum::<u32>();
            ensure(outstanding == class.outstanding, "I1: a class has outstanding what is counted")?;
        }
        let has_deadline = |index: u32| {
            let lease = &leases[index as usize];
            lease.is_outstanding() && lease.has_deadline
        };
        self.deadlines.check(has_deadline, |tenant| self.tenants.is_cap_blocked(tenant))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{LeaseId, Outcome, Request, SchedulerConfig, TenantConfig};
    use super::*;

    /// A pool of 4 buffers and as many halves of one, the last buffer in reserve. Two buffers are leased, one that came
    /// back is assigned to the first waiter, and another waits.
    fn scheduler() -> Scheduler {
        let config = SchedulerConfig {
            reserves: [1, 0, 0, 0, 0, 0, 0, 0],
            sizes: [2, 1, 0, 0],
            tenants_max: 1,
            park_ns: Some(10),
            lease_ns: Some(20),
            ..SchedulerConfig::new(4, 4)
        };
        let mut scheduler = Scheduler::new(&config).expect("the configuration is allowed");
        scheduler.create_tenant(&TenantConfig::default()).expect("there is room");
        let request = Request { has_deadline: true, ..Request::new(0, 0) };
        let leases: [LeaseId; 3] = core::array::from_fn(|_| match scheduler.request_for(&request) {
            Ok(Outcome::Granted(lease)) => lease,
            other => panic!("more than the reserve is free: {other:?}"),
        });
        for _ in 0..2 {
            assert!(matches!(scheduler.request_for(&request), Ok(Outcome::Queued(_))));
        }
        scheduler.release(leases[0]).expect("it is held");
        assert_eq!(scheduler.check_invariants(), Ok(()));
        scheduler
    }

    type Broken = (fn(&mut Scheduler), &'static str);

    fn assert_named(broken: &[Broken]) {
        for (breaks, rule) in broken {
            let mut scheduler = scheduler();
            breaks(&mut scheduler);
            assert_eq!(scheduler.check_invariants(), Err(*rule));
        }
    }

    #[test]
    fn what_is_wrong_with_the_buffers_is_named() {
        assert_named(&[
            (|scheduler| scheduler.buffers.lease_mut(1).state = LeaseState::Free, "I1: outstanding and free are all"),
            (
                |scheduler| {
                    scheduler.buffers.lease_mut(1).state = LeaseState::Free;
                    // Two halves.
                    [4, 5].into_iter().for_each(|half| scheduler.buffers.lease_mut(half).state = LeaseState::Leased);
                },
                "I1: every free buffer is in a free list",
            ),
            (
                |scheduler| scheduler.buffers.lease_mut(0).state = LeaseState::Leased,
                "I1: every assigned buffer has a waiter",
            ),
            (|scheduler| scheduler.classes[0].outstanding += 1, "I1: a class has outstanding what is counted"),
            (|scheduler| scheduler.buffers.lease_mut(1).has_deadline = false, "every timed lease has its deadline"),
        ]);
    }

    #[test]
    fn what_is_wrong_with_the_waits_is_named() {
        assert_named(&[
            (|scheduler| scheduler.waits.table_mut()[0].state = WaitState::Queued, "I2: the list of grants is sound"),
            (|scheduler| scheduler.classes[0].waiting += 1, "I2: as many wait as are counted"),
            (|scheduler| scheduler.stats.waiting += 1, "I2: as many wait as are counted"),
            (|scheduler| scheduler.classes[0].cap = 5, "a class never has more outstanding than its cap"),
            (|scheduler| scheduler.classes[0].reserve = 0, "I3: no buffer is free while an eligible waiter is queued"),
            (
                |scheduler| scheduler.waits.table_mut()[0].bypasses = scheduler.bypass_bound() + 1,
                "I6: at most W grants bypass a waiter",
            ),
            (
                |scheduler| scheduler.buffers.lease_mut(1).tenant = 1,
                "what the tenants have outstanding and wait for is all",
            ),
            (|scheduler| scheduler.waits.table_mut()[1].tenant = 1, "I2: a tenant waits for what is counted"),
        ]);
    }
}
