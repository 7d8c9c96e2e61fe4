//! Buffers that are out of the budget for a time: no class or tenant has them, and none is free.

use super::Scheduler;

impl Scheduler {
    /// This many buffers of the default size are withheld from now on: what is free at once, others as they are
    /// released, before any request that waits. Those that were withheld beyond that are free again, or serve a waiter.
    pub(crate) fn set_withheld(&mut self, buffers: u32) {
        while self.buffers.withheld() > buffers && self.buffers.restore() {}
        self.to_withhold = buffers - self.buffers.withheld();
        self.serve_waiters();
    }
}

/// For pools that are shared.
#[cfg(feature = "std")]
impl Scheduler {
    /// Buffers that are withheld now.
    pub(crate) fn withheld(&self) -> u32 {
        self.buffers.withheld()
    }

    /// Buffers that are to be withheld beside those.
    pub(crate) fn to_withhold(&self) -> u32 {
        self.to_withhold
    }

    /// A class is eligible only while more units than this are free. Waiters are served by `set_withheld`, which comes
    /// then.
    pub(crate) fn set_reserve(&mut self, class: u8, units: u32) {
        self.classes[usize::from(class)].reserve = units;
    }
}

#[cfg(test)]
mod tests {
    use super::super::{LeaseId, Outcome, Request, SchedulerConfig};
    use super::*;

    fn scheduler() -> Scheduler {
        Scheduler::new(&SchedulerConfig::new(6, 4)).expect("the configuration is allowed")
    }

    fn request(scheduler: &mut Scheduler) -> Option<LeaseId> {
        match scheduler.request_for(&Request::new(0, 0)) {
            Ok(Outcome::Granted(lease)) => Some(lease),
            other => {
                assert!(matches!(other, Ok(Outcome::Queued(_))), "{other:?}");
                None
            }
        }
    }

    fn counts(scheduler: &Scheduler) -> [u32; 3] {
        assert_eq!(scheduler.check_invariants(), Ok(()));
        let stats = scheduler.stats();
        [stats.free, stats.leased, stats.withheld]
    }

    #[test]
    fn buffers_are_withheld_before_requests_are_served() {
        let mut scheduler = scheduler();
        let leases: Vec<LeaseId> = (0..4).map_while(|_| request(&mut scheduler)).collect();
        scheduler.set_withheld(3);
        assert_eq!((counts(&scheduler), scheduler.to_withhold()), ([0, 4, 2], 1));
        assert!(scheduler.is_wanted() && !scheduler.nothing_to_poll());
        assert_eq!(request(&mut scheduler), None, "it waits");
        scheduler.release(leases[0]).expect("it is held");
        assert_eq!((counts(&scheduler), scheduler.to_withhold()), ([0, 3, 3], 0));
        scheduler.release(leases[1]).expect("it is held");
        assert!(scheduler.poll_grant().is_some());
        assert_eq!(counts(&scheduler), [0, 3, 3]);
    }

    #[test]
    fn buffers_that_are_restored_serve_requests() {
        let mut scheduler = scheduler();
        scheduler.set_withheld(5);
        assert!(request(&mut scheduler).is_some() && request(&mut scheduler).is_none());
        scheduler.set_withheld(3);
        assert!(scheduler.poll_grant().is_some());
        assert_eq!(counts(&scheduler), [1, 2, 3]);
        scheduler.set_withheld(0);
        assert_eq!((counts(&scheduler), scheduler.nothing_to_poll()), ([4, 2, 0], true));
    }

    #[test]
    fn withheld_buffers_are_trimmed_like_free_ones() {
        let mut scheduler = scheduler();
        let lease = request(&mut scheduler).expect("all are free");
        scheduler.set_withheld(2);
        let used: Vec<(u32, bool)> = scheduler.free_to_trim(0..6).collect();
        assert_eq!(used.len(), 5);
        assert!(used.iter().all(|&(index, _)| index != lease.index()));
    }
}
