//! What shards ask beside the calls of a scheduler: which wait has what, and in which order.

use super::{Lease, ModelScheduler};

impl ModelScheduler {
    /// Buffers that are free, of the one size.
    pub(in crate::model) fn free_buffers(&self) -> u32 {
        self.free() / self.config.sizes[0]
    }

    /// The buffers that a class leaves to others.
    pub(in crate::model) fn reserve(&self, class: u8) -> u32 {
        self.config.reserves[usize::from(class)]
    }

    /// A class leaves this many to others from now on.
    pub(in crate::model) fn set_reserve(&mut self, class: u8, reserve: u32) {
        self.config.reserves[usize::from(class)] = reserve;
    }

    /// A request waits, or a buffer is to be withheld.
    pub(in crate::model) fn has_waiters(&self) -> bool {
        !self.queued.is_empty() || self.to_withhold > 0
    }

    /// Waits that have a buffer and were not picked up, the first first.
    pub(in crate::model) fn assigned_waits(&self) -> Vec<u64> {
        self.assigned.iter().map(|(wait, _)| wait.id).collect()
    }

    /// Waits that are queued, with their classes, in the order in which each class is served.
    pub(in crate::model) fn queued_waits(&self) -> Vec<(u64, u8)> {
        self.queued.iter().map(|wait| (wait.id, wait.class as u8)).collect()
    }

    /// Whether a buffer is to be withheld, or fewer are free than a class leaves to others.
    pub(in crate::model) fn is_short_for(&self, class: u8) -> bool {
        self.to_withhold > 0 || self.free() < self.reserve_of(class.into())
    }

    /// A lease ends, and a wait has its buffer in the same step.
    pub(in crate::model) fn hand_to(&mut self, lease: u64, wait: u64) {
        let held = self.held.iter().position(|held| held.id == lease).expect("a lease in force");
        let Lease { tenant, units, .. } = self.held.remove(held);
        let at = self.queued.iter().position(|queued| queued.id == wait).expect("the wait is queued");
        let wait = self.queued.remove(at);
        let lease = self.lease(wait.token, wait.class, tenant, units, wait.has_deadline);
        self.assigned.push_back((wait, lease));
        self.stats.scheduler.released += 1;
    }

    /// A wait takes the place behind another one, which is about to leave it.
    pub(in crate::model) fn move_behind(&mut self, wait: u64, other: u64) {
        let from = self.queued.iter().position(|queued| queued.id == wait).expect("the wait is queued");
        let moved = self.queued.remove(from);
        let to = self.queued.iter().position(|queued| queued.id == other).expect("the wait is queued");
        self.queued.insert(to + 1, moved);
    }

    /// An assigned wait ends: its token, the lease, which is held from now on, and whether that was to have a deadline.
    pub(in crate::model) fn pick_up(&mut self, wait: u64) -> (u64, u64, bool) {
        let at = self.assigned.iter().position(|(assigned, _)| assigned.id == wait).expect("it has a buffer");
        let (wait, lease) = self.assigned.remove(at).expect("it was found");
        self.held.push(lease);
        (wait.token, lease.id, wait.has_deadline)
    }
}
