//! What the shards need of a pool beside its calls: when its free buffers may be kept elsewhere.

use super::Scheduler;

impl Scheduler {
    /// Whether every free buffer belongs here: more of them would serve a waiter, or a reserve is not whole. The result
    /// may be `true` without need. It is `false` only if no number of free buffers would lead to another grant.
    pub(crate) fn needs_all(&self) -> bool {
        self.is_wanted() || self.buffers.free_units() < self.reserve_max()
    }

    /// Free buffers of the default size that no reserve and no waiter needs: requests of any class without a cap would
    /// be granted all of them, one after the other.
    pub(crate) fn surplus(&self) -> u32 {
        if self.needs_all() { 0 } else { (self.buffers.free_units() - self.reserve_max()) / self.buffers.units_of(0) }
    }

    /// Free buffers of the default size.
    pub(crate) fn free_buffers(&self) -> u32 {
        self.buffers.free_units() / self.buffers.units_of(0)
    }

    /// Waits queued, by class.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = u32> {
        self.classes.iter().map(|class| class.waiting)
    }

    /// The most waits that were queued at once.
    pub(crate) fn waiting_peak(&self) -> u32 {
        self.stats.waiting_peak
    }

    /// The most grants that bypassed a waiter.
    pub(crate) fn bypass_peak(&self) -> u64 {
        self.stats.bypass_peak
    }

    fn reserve_max(&self) -> u32 {
        self.classes.iter().map(|class| class.reserve).max().expect("there are classes")
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Outcome, SchedulerConfig};
    use super::*;

    /// A pool of 5 buffers of 3 units each, with two classes, of which the second leaves 2 buffers to the first.
    fn scheduler() -> Scheduler {
        let config = SchedulerConfig {
            classes: 2,
            reserves: [0, 2, 0, 0, 0, 0, 0, 0],
            sizes: [3, 0, 0, 0],
            ..SchedulerConfig::new(5, 4)
        };
        Scheduler::new(&config).expect("the configuration is allowed")
    }

    #[test]
    fn what_no_reserve_holds_back_may_be_kept_elsewhere() {
        let mut scheduler = scheduler();
        for taken in 0..=5 {
            assert_eq!((scheduler.free_buffers(), scheduler.reserve_max()), (5 - taken, 6));
            assert_eq!(
                (scheduler.surplus(), scheduler.needs_all()),
                (3u32.saturating_sub(taken), taken > 3),
                "{taken} taken"
            );
            assert_eq!(matches!(scheduler.request(0, 0), Ok(Outcome::Granted(_))), taken < 5);
        }
    }

    #[test]
    fn needs_all_if_a_cap_does_not_block_the_waiter() {
        let config = SchedulerConfig { class_caps: [1; 8], ..SchedulerConfig::new(2, 4) };
        let mut scheduler = Scheduler::new(&config).expect("the configuration is allowed");
        for token in 0..2 {
            scheduler.request(0, token).expect("it is granted, or waits");
        }
        assert_eq!((scheduler.waiting().sum::<u32>(), scheduler.needs_all(), scheduler.surplus()), (1, false, 1));

        let mut scheduler = self::scheduler();
        for token in 0..4 {
            scheduler.request(1, token).expect("it is granted, or waits");
        }
        assert_eq!((scheduler.waiting().sum::<u32>(), scheduler.needs_all(), scheduler.surplus()), (1, true, 0));
    }

    #[test]
    fn peaks_remain_after_the_last_wait_ends() {
        let mut scheduler = Scheduler::new(&SchedulerConfig::new(1, 4)).expect("the configuration is allowed");
        assert_eq!((scheduler.waiting_peak(), scheduler.bypass_peak(), scheduler.next_grant()), (0, 0, None));
        let Ok(Outcome::Granted(mut lease)) = scheduler.request(0, 0) else { panic!("a buffer is free") };
        let waits = core::array::from_fn::<_, 3, _>(|_| match scheduler.request(0, 0) {
            Ok(Outcome::Queued(wait)) => wait,
            other => panic!("none is free: {other:?}"),
        });
        for wait in waits {
            scheduler.release(lease).expect("it is held");
            assert_eq!(scheduler.next_grant(), Some(wait));
            lease = scheduler.poll_grant().expect("it was handed over").lease;
        }
        assert_eq!((scheduler.waiting_peak(), scheduler.bypass_peak(), scheduler.next_grant()), (3, 2, None));
    }
}
