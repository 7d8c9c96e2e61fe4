//! The clock that deadlines are measured by: real time, less the time in which it was not advanced.
//!
//! A process that is stopped, suspended or starved learns nothing of what its peers sent meanwhile, so that time must
//! not count against them. One advance is therefore worth at most an eighth of a lease, and
//! [`poll_timeout`](super::Scheduler::poll_timeout) asks to be called that often while a deadline runs.

/// Parts of a lease that one advance may be worth at most.
const STEPS_PER_LEASE: u64 = 8;

/// Time as a pool counts it, from 0.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    now_ns: u64,
    /// The host's time at the last advance, `None` before the first, which is the origin.
    advanced_ns: Option<u64>,
    step_max_ns: u64,
    skipped_ns: u64,
    backwards: u64,
}

impl Clock {
    /// A clock for leases of this length; `None` if they have no deadline, so that a step may have any length.
    /// `park_ns` has no part in it: asking to park loses nothing, and a clock with smaller steps would stand still for
    /// every loop iteration that takes longer than one.
    pub(crate) fn new(lease_ns: Option<u64>) -> Clock {
        let step_max_ns = lease_ns.map_or(u64::MAX, |lease_ns| (lease_ns / STEPS_PER_LEASE).max(1));
        Clock { now_ns: 0, advanced_ns: None, step_max_ns, skipped_ns: 0, backwards: 0 }
    }

    /// For leases of another length from now on.
    pub(crate) fn set_lease_ns(&mut self, lease_ns: u64) {
        self.step_max_ns = (lease_ns / STEPS_PER_LEASE).max(1);
    }

    /// Time since the first advance, as far as it counts.
    #[inline(always)]
    pub(crate) fn now_ns(&self) -> u64 {
        self.now_ns
    }

    /// The host's time is passed on. A time before the last one is counted and not taken.
    pub(crate) fn advance(&mut self, advanced_ns: u64) {
        let last_ns = *self.advanced_ns.get_or_insert(advanced_ns);
        let Some(step_ns) = advanced_ns.checked_sub(last_ns) else {
            self.backwards += 1;
            return;
        };
        let counted_ns = step_ns.min(self.step_max_ns);
        self.now_ns += counted_ns;
        self.skipped_ns += step_ns - counted_ns;
        self.advanced_ns = Some(advanced_ns);
    }

    /// When the host is to advance it for something that is due at `due_ns` here, in the host's time: at most a step
    /// after the last advance, and not after it if that is due already. `None` if the host's time ends before.
    pub(crate) fn host_ns(&self, due_ns: u64) -> Option<u64> {
        let left_ns = due_ns.saturating_sub(self.now_ns).min(self.step_max_ns);
        self.advanced_ns.unwrap_or(0).checked_add(left_ns)
    }

    /// The host's time at the last advance; `None` before the first.
    pub(crate) fn last_advance_ns(&self) -> Option<u64> {
        self.advanced_ns
    }

    /// Whether an advance to this time would move it, or begin it.
    #[cfg(feature = "std")]
    pub(crate) fn is_behind(&self, advanced_ns: u64) -> bool {
        self.advanced_ns.is_none_or(|last_ns| advanced_ns > last_ns)
    }

    /// The host's time at the last advance less that of the clock.
    #[cfg(feature = "std")]
    pub(crate) fn lag_ns(&self) -> u64 {
        self.advanced_ns.unwrap_or(0) - self.now_ns
    }

    /// Time between two advances that was more than a step.
    pub(crate) fn skipped_ns(&self) -> u64 {
        self.skipped_ns
    }

    /// Advances to before the last one.
    pub(crate) fn backwards(&self) -> u64 {
        self.backwards
    }

    /// Whether it was advanced yet.
    #[cfg(feature = "model-check")]
    pub(crate) fn has_begun(&self) -> bool {
        self.advanced_ns.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn step_is_an_eighth_of_a_lease_and_at_least_1() {
        for (lease_ns, step_ns) in [(1, 1), (7, 1), (8, 1), (17, 2), (2_000, 250), (u64::MAX, u64::MAX / 8)] {
            let mut clock = Clock::new(Some(lease_ns));
            clock.advance(5);
            assert_eq!((clock.now_ns(), clock.host_ns(u64::MAX)), (0, Some(5 + step_ns)), "{lease_ns}");
            clock.advance(u64::MAX);
            assert_eq!((clock.now_ns(), clock.skipped_ns()), (step_ns, u64::MAX - 5 - step_ns), "{lease_ns}");
        }
    }

    #[test]
    fn step_has_any_length_without_a_lease() {
        let mut clock = Clock::new(None);
        clock.advance(5);
        assert_eq!(clock.host_ns(1 << 63), Some(5 + (1 << 63)));
        clock.advance(u64::MAX);
        assert_eq!((clock.now_ns(), clock.skipped_ns()), (u64::MAX - 5, 0));
    }

    #[test]
    fn due_time_is_that_of_the_host() {
        let mut clock = Clock::new(Some(80));
        let host_ns = |clock: &Clock, due_ns: &[u64]| -> Vec<u64> {
            due_ns.iter().map(|&due_ns| clock.host_ns(due_ns).expect("the host's time goes on")).collect()
        };
        assert_eq!(host_ns(&clock, &[0, 4, 70]), [0, 4, 10], "before the first advance");
        clock.advance(1_000);
        clock.advance(1_007);
        assert_eq!(host_ns(&clock, &[0, 7, 8, 17, 18]), [1_007, 1_007, 1_008, 1_017, 1_017]);
        clock.advance(1_006);
        assert_eq!((clock.now_ns(), clock.backwards(), clock.host_ns(u64::MAX)), (7, 1, Some(1_017)));
    }

    /// A host that slept until its time ends would be asked for the same time again and again.
    #[test]
    fn due_time_is_none_after_the_end_of_time() {
        let mut clock = Clock::new(Some(80));
        clock.advance(u64::MAX - 5);
        assert_eq!([0, 5, 6].map(|due_ns| clock.host_ns(due_ns)), [Some(u64::MAX - 5), Some(u64::MAX), None]);
        clock.advance(u64::MAX);
        assert_eq!([5, 6].map(|due_ns| clock.host_ns(due_ns)), [Some(u64::MAX), None]);
    }
}
