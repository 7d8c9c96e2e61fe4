//! What the shards count. Reading it needs no lock; it disturbs other threads by the read only.
//!
//! The counts take no part in any decision, so these atomics are never loom's: its models stay small.

use super::sync::CachePadded;
use crate::scheduler::{CLASSES_MAX, Scheduler, SchedulerStats};
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// What the shards count, and how they stand. While other threads work, the numbers are of slightly different moments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SharedSchedulerStats {
    /// The counts of all shards together, as those of a scheduler of one thread.
    ///
    /// `leased_peak` is exact for one shard, and as of any moment when a request waited or a reserve was not whole.
    /// Else it may over-count: buffers that two shards took between their lock acquisitions are counted as taken at the
    /// same time. `waiting_peak` is exact for waits of one shard; those of several are added up. `bypass_peak` counts
    /// what other shards exchange once these have taken the lock of all.
    pub scheduler: SchedulerStats,
    /// Of the free buffers, those that shards have cached.
    pub cached: u32,
    /// Shards that `poll_wake` had to name.
    pub wakes: u64,
    /// Calls that took the lock of all.
    pub locked: u64,
}

impl SharedSchedulerStats {
    /// A sum over counts of different moments can be below zero: a buffer seen given and not seen taken.
    pub(super) fn finish(&mut self) {
        let stats = &mut self.scheduler;
        for held in &mut stats.outstanding_by_class {
            *held = if *held > stats.capacity { 0 } else { *held };
        }
        stats.leased = stats.outstanding_by_class.iter().sum();
        stats.leased_peak = stats.leased_peak.max(stats.leased + stats.assigned).min(stats.capacity);
    }
}

/// A number with one writer.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn new(value: u32) -> Counter {
        Counter(AtomicU64::new(value.into()))
    }

    pub(super) fn add_one(&self) {
        self.add(1);
    }

    pub(super) fn add(&self, more: u64) {
        self.set(self.get().wrapping_add(more));
    }

    pub(super) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// A thread that reads this by [`Counter::get_before_others`] sees what was set before it.
    pub(super) fn set_after_others(&self, value: u64) {
        self.0.store(value, Ordering::Release);
    }

    pub(super) fn get_before_others(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

/// The buffers that a shard has cached, as of late. Written under its lock.
#[derive(Debug, Default)]
pub(super) struct ShownCache {
    pub(super) len: Counter,
    pub(super) lowest: CachePadded<Counter>,
}

impl ShownCache {
    pub(super) fn len(&self) -> u32 {
        self.len.get() as u32
    }

    /// The fewest buffers that lay here at once, since the last [`ShownCache::forget_lowest`].
    pub(super) fn lowest(&self) -> u32 {
        self.lowest.0.get() as u32
    }

    /// This many are left. What is read under the lock of all is written only when it gets lower, so that its readers
    /// do not wait for each other.
    #[inline(always)]
    pub(super) fn show_fewer(&self, len: u32) {
        self.len.set(len.into());
        if len < self.lowest() {
            self.lowest.0.set(len.into());
        }
    }

    /// Counts from what lies here now. For the shard itself, while no thread takes: it has the lock of all.
    pub(super) fn forget_lowest(&self) {
        self.lowest.0.set(self.len.get());
    }
}

/// The earliest of some times, or none. In the word, `u64::MAX` is none: no clock gets there.
#[derive(Debug)]
pub(super) struct Earliest(Counter);

impl Earliest {
    pub(super) fn reach(&self, ns: u64) {
        if ns < self.0.get() {
            self.0.0.fetch_min(ns, Ordering::Relaxed);
        }
    }

    pub(super) fn set(&self, ns: Option<u64>) {
        self.0.set(ns.unwrap_or(u64::MAX));
    }

    pub(super) fn get(&self) -> Option<u64> {
        Some(self.0.get()).filter(|&ns| ns != u64::MAX)
    }
}

impl Default for Earliest {
    fn default() -> Earliest {
        Earliest(Counter(AtomicU64::new(u64::MAX)))
    }
}

/// What one shard counts.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) taken_by_class: [Counter; CLASSES_MAX],
    pub(super) given_by_class: [Counter; CLASSES_MAX],
    pub(super) picked_up: Counter,
    pub(super) queued: Counter,
    pub(super) cancelled: Counter,
    pub(super) refused: Counter,
    pub(super) wakes: Counter,
    pub(super) locked: Counter,
    pub(super) clock_backwards: Counter,
}

impl Counts {
    pub(super) fn add_to(&self, shared: &mut SharedSchedulerStats) {
        let stats = &mut shared.scheduler;
        for class in 0..CLASSES_MAX {
            let (taken, given) = (self.taken_by_class[class].get(), self.given_by_class[class].get());
            stats.granted_at_once = stats.granted_at_once.wrapping_add(taken);
            stats.released = stats.released.wrapping_add(given);
            // A buffer may come back through another shard, so only the sum over all shards means something.
            let held = &mut stats.outstanding_by_class[class];
            *held = held.wrapping_add(taken as u32).wrapping_sub(given as u32);
        }
        stats.granted_at_once = stats.granted_at_once.wrapping_sub(self.picked_up.get());
        stats.granted_by_handoff += self.picked_up.get();
        stats.queued += self.queued.get();
        stats.cancelled += self.cancelled.get();
        stats.refused += self.refused.get();
        stats.clock_backwards += self.clock_backwards.get();
        shared.wakes += self.wakes.get();
        shared.locked += self.locked.get();
    }
}

/// How many waits a shard queues itself, as of late. Written under the lock of these.
#[derive(Debug, Default)]
pub(super) struct ShownWaits {
    pub(super) waiting_by_class: [Counter; CLASSES_MAX],
    pub(super) assigned: Counter,
    waiting_peak: Counter,
    bypass_peak: Counter,
}

impl ShownWaits {
    /// This many wait, of all classes.
    #[inline(always)]
    pub(super) fn reach_peak(&self, waiting: u32) {
        if u64::from(waiting) > self.waiting_peak.get() {
            self.waiting_peak.set(waiting.into());
        }
    }

    #[inline(always)]
    pub(super) fn note_bypasses(&self, bypasses: u64) {
        if bypasses > self.bypass_peak.get() {
            self.bypass_peak.set(bypasses);
        }
    }

    pub(super) fn add_to(&self, stats: &mut SchedulerStats) {
        for (sum, waiting) in stats.waiting_by_class.iter_mut().zip(&self.waiting_by_class) {
            *sum += waiting.get() as u32;
            stats.waiting += waiting.get() as u32;
        }
        stats.assigned += self.assigned.get() as u32;
        stats.waiting_peak += self.waiting_peak.get() as u32;
        stats.bypass_peak = stats.bypass_peak.max(self.bypass_peak.get());
    }
}

/// How the pool behind the lock stands, as of the last call that took the lock.
#[derive(Debug, Default)]
pub(super) struct PublishedStats {
    free: AtomicU32,
    withheld: AtomicU32,
    to_withhold: AtomicU32,
    assigned: AtomicU32,
    /// Without those that shards queue themselves, and without their placeholders.
    waiting_by_class: [AtomicU32; CLASSES_MAX],
    leased_peak: AtomicU32,
    waiting_peak: AtomicU32,
    bypass_peak: AtomicU64,
}

impl PublishedStats {
    /// At most `outstanding` were outstanding at once, of late.
    pub(super) fn note_outstanding(&self, outstanding: u32) {
        if outstanding > self.leased_peak.load(Ordering::Relaxed) {
            self.leased_peak.store(outstanding, Ordering::Relaxed);
        }
    }

    /// With the placeholders of each class.
    pub(super) fn publish(&self, scheduler: &Scheduler, assigned: u32, placeholders: &[u32; CLASSES_MAX]) {
        self.free.store(scheduler.free_buffers(), Ordering::Relaxed);
        self.withheld.store(scheduler.withheld(), Ordering::Relaxed);
        self.to_withhold.store(scheduler.to_withhold(), Ordering::Relaxed);
        self.assigned.store(assigned, Ordering::Relaxed);
        self.bypass_peak.store(scheduler.bypass_peak(), Ordering::Relaxed);
        for ((shown, waiting), placeholders) in self.waiting_by_class.iter().zip(scheduler.waiting()).zip(placeholders)
        {
            shown.store(waiting - placeholders, Ordering::Relaxed);
        }
        self.reach_peak(scheduler, placeholders);
    }

    /// As many wait now as are queued without the placeholders of each class.
    pub(super) fn reach_peak(&self, scheduler: &Scheduler, placeholders: &[u32; CLASSES_MAX]) {
        let all = scheduler.waiting().sum::<u32>() - placeholders.iter().sum::<u32>();
        if all > self.waiting_peak.load(Ordering::Relaxed) {
            self.waiting_peak.store(all, Ordering::Relaxed);
        }
    }

    /// Free buffers, but for those that are cached.
    pub(super) fn free(&self) -> u32 {
        self.free.load(Ordering::Relaxed)
    }

    /// `cached_since` buffers were cached all the time.
    pub(super) fn add_to(&self, stats: &mut SchedulerStats, cached_since: u32) {
        let free = self.free.load(Ordering::Relaxed);
        stats.withheld = self.withheld.load(Ordering::Relaxed);
        stats.to_withhold = self.to_withhold.load(Ordering::Relaxed);
        let outstanding = stats.capacity.saturating_sub(stats.withheld + free + cached_since);
        stats.leased_peak = self.leased_peak.load(Ordering::Relaxed).max(outstanding);
        stats.free += free;
        stats.assigned = self.assigned.load(Ordering::Relaxed);
        stats.waiting_by_class = core::array::from_fn(|class| self.waiting_by_class[class].load(Ordering::Relaxed));
        stats.waiting = stats.waiting_by_class.iter().sum();
        stats.waiting_peak = self.waiting_peak.load(Ordering::Relaxed);
        stats.bypass_peak = self.bypass_peak.load(Ordering::Relaxed);
    }
}
