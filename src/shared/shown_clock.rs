//! The clock that all shards advance, as each sees it without the lock of all.

use super::stats::Counter;
use crate::scheduler::Clock;

/// Written under that lock, read at any time.
#[derive(Debug, Default)]
pub(super) struct ShownClock {
    /// The host's time less that of the clock, when that was advanced last. It never gets less.
    lag_ns: Counter,
    /// When the clock is to be advanced again, in the host's time, so that it goes as fast.
    tick_ns: Counter,
    now_ns: Counter,
}

impl ShownClock {
    /// After the clock was advanced. The lag comes before the tick: see `at`.
    pub(super) fn show(&self, clock: &Clock) {
        // A step that would be longer than the host's time lasts to its end.
        let tick_ns = clock.host_ns(u64::MAX).unwrap_or(u64::MAX);
        for (shown, ns) in [(&self.lag_ns, clock.lag_ns()), (&self.tick_ns, tick_ns), (&self.now_ns, clock.now_ns())] {
            if shown.get() != ns {
                shown.set_after_others(ns);
            }
        }
    }

    /// The time of the clock, if it were advanced to this time of the host.
    ///
    /// While another thread advances it, the lag that is seen may be that of a later tick, never that of an earlier
    /// one: the answer may be too early, and is not too late.
    #[inline(always)]
    pub(super) fn at(&self, last_ns: Option<u64>) -> u64 {
        let advanced_ns = last_ns.map_or(0, |last_ns| last_ns.min(self.tick_ns.get_before_others()));
        advanced_ns.saturating_sub(self.lag_ns.get()).max(self.now_ns.get())
    }

    /// When to look at what is due at this time of the clock, in the host's time: once in each step until then, so that
    /// the clock does not stand still. `None` if time ends before.
    pub(super) fn host_ns(&self, due_ns: u64) -> Option<u64> {
        Some(due_ns.checked_add(self.lag_ns.get())?.min(self.tick_ns.get()))
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a test may start threads")]
mod tests {
    use super::*;

    /// The host is late each time, so that the lag grows by far more than a step.
    #[test]
    fn time_is_not_too_late_while_the_clock_advances() {
        const ADVANCES: u64 = if cfg!(miri) { 300 } else { 300_000 };
        const STEP_NS: u64 = 10;
        let (shown, mut clock) = (ShownClock::default(), Clock::new(Some(8 * STEP_NS)));
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                while shown.now_ns.get() < (ADVANCES - 1) * STEP_NS {
                    let at_ns = shown.at(Some(u64::MAX));
                    // It is shown last, so the clock may be a step further.
                    let now_ns = shown.now_ns.get();
                    assert!(at_ns <= now_ns + 2 * STEP_NS, "{at_ns} is too late at {now_ns}");
                }
            });
            for advance in 0..ADVANCES {
                clock.advance(advance * 1_000_000);
                shown.show(&clock);
            }
            reader.join().expect("no time was too late");
        });
    }
}
