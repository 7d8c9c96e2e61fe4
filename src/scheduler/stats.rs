//! What a scheduler counts.

use super::{CLASSES_MAX, ReclaimKind};

/// What a scheduler counts, and how it stands: of one thread, or of all shards of a shared one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SchedulerStats {
    /// The budget, in units: buffers, if there is one size.
    pub capacity: u32,
    /// Units that are neither leased nor assigned nor withheld.
    pub free: u32,
    /// Buffers that a limit of the pool's memory keeps out of use.
    pub withheld: u32,
    /// Buffers that are still to be withheld for that; 0 if the limit is met.
    pub to_withhold: u32,
    /// Buffers held.
    pub leased: u32,
    /// Buffers handed over and not picked up yet.
    pub assigned: u32,
    /// Waits queued.
    pub waiting: u32,
    /// Waits queued, by class.
    pub waiting_by_class: [u32; CLASSES_MAX],
    /// Units held or assigned, by class; of shards only the held ones.
    pub outstanding_by_class: [u32; CLASSES_MAX],
    /// The most buffers that were held or assigned at once; of several shards a number that is never too low.
    pub leased_peak: u32,
    /// The most waits that were queued at once.
    pub waiting_peak: u32,
    /// Requests granted at once.
    pub granted_at_once: u64,
    /// Requests granted by hand-off; of shards once they are picked up.
    pub granted_by_handoff: u64,
    /// Requests that had to wait.
    pub queued: u64,
    /// Waits that the host cancelled.
    pub cancelled: u64,
    /// Buffers released.
    pub released: u64,
    /// Calls that were refused.
    pub refused: u64,
    /// The most grants that bypassed a waiter which it could have had, until it was served; at most
    /// [`Scheduler::bypass_bound`](super::Scheduler::bypass_bound).
    pub bypass_peak: u64,
    /// Advances of the clock, each shard's own, to a time before the previous one.
    pub clock_backwards: u64,
}

/// What is counted where deadlines are polled: by a scheduler, or by each thread of a shared pool for its own holders.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReclaimStats {
    /// Times a holder was asked to park.
    pub parks_asked: u64,
    /// Times a holder was asked to close.
    pub sheds_asked: u64,
    /// Time that did not count, in nanoseconds: of each step of the clock what was more than an eighth of `lease_ns`.
    pub clock_skipped_ns: u64,
}

impl ReclaimStats {
    /// A holder is asked.
    pub(crate) fn ask(&mut self, kind: ReclaimKind) {
        *self.asked_mut(kind) += 1;
    }

    fn asked_mut(&mut self, kind: ReclaimKind) -> &mut u64 {
        match kind {
            ReclaimKind::Park => &mut self.parks_asked,
            ReclaimKind::Shed => &mut self.sheds_asked,
        }
    }
}

impl SchedulerStats {
    #[inline]
    pub(super) fn took(&mut self) {
        self.leased += 1;
        self.leased_peak = self.leased_peak.max(self.leased);
    }

    #[inline]
    pub(super) fn gave(&mut self) {
        self.leased -= 1;
    }

    /// Inside the pool `leased` counts assigned buffers too.
    pub(super) fn outstanding(&self) -> u32 {
        self.leased
    }
}
