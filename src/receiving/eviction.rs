//! Content that goes for the sake of others, and receivers that are shed.

use super::Receiving;
use super::buffers::{Buffers, LoadOrder};
use super::config::HEADER_BYTES;
use super::keeper::Queue;
use super::keeper::Standing;
use super::sizes::Size;
use super::types::ShedReason;

impl<B: Buffers> Receiving<B> {
    /// Content at rest may be evicted once its deadline has passed.
    pub(super) fn make_evictable(&mut self, keeper: u32) {
        let state = &self.keepers[keeper];
        if state.queued.is_none() && self.cell_bytes(state.place) > HEADER_BYTES {
            let evictable_ns = self.due_ns(Queue::Evictable, keeper);
            self.enqueue(Queue::Evictable, keeper, evictable_ns);
        }
    }

    /// Whether the deadline of some content passed before the latest advance of the clock, and it may still go in this
    /// iteration.
    #[inline]
    pub(super) fn may_evict(&self) -> bool {
        let is_late = self.heaps.first(Queue::Evictable).is_some_and(|first| first.deadline_ns() <= self.before_ns);
        is_late && self.evictions_left > 0
    }

    /// Sheds the receiver whose deadline passed first, if it passed before the latest advance of the clock.
    pub(super) fn evict(&mut self) -> bool {
        let Some(first) = self.heaps.first(Queue::Evictable).filter(|_| self.may_evict()) else {
            return false;
        };
        self.evictions_left -= 1;
        self.shed_receiver(first.keeper(), ShedReason::Evicted);
        true
    }

    /// Sheds a receiver of the tenant that holds most, if it holds much more than the tenant of a claimant would with a
    /// cell of this size.
    pub(super) fn evict_for(&mut self, claimant: u32, size: Size) -> bool {
        if !self.tenants.is_used() || self.evictions_left == 0 {
            return false;
        }
        let (less_bytes, more_bytes) = (self.counted_bytes(claimant), self.cells.sizes.bytes(size));
        let tenant = self.tenant(self.keepers[claimant].receiver);
        self.buffers.look_at_first(LoadOrder::Evictable);
        let victim = self.buffers.next_to_evict(tenant, less_bytes, more_bytes);
        self.evict_of(victim)
    }

    /// As `evict_for`, for claims of other threads.
    pub(super) fn evict_for_others(&mut self) -> bool {
        if !self.tenants.is_used() || self.evictions_left == 0 {
            return false;
        }
        let victim = self.buffers.next_to_evict_for_others();
        self.evict_of(victim)
    }

    fn evict_of(&mut self, victim: Option<u32>) -> bool {
        let Some(first) = victim.and_then(|victim| self.tenants.first_content(victim)) else {
            return false;
        };
        self.evictions_left -= 1;
        self.shed_receiver(first.keeper(), ShedReason::Evicted);
        true
    }

    /// No buffer is free for what a receive may leave: what others hold beyond its deadline goes, or all would receive
    /// no more than 64 bytes at once for as long as they please.
    pub(super) fn evict_for_receive(&mut self, keeper: u32) {
        let is_evictable = matches!(self.keepers[keeper].queued, Some((Queue::Evictable, _)));
        if is_evictable {
            self.dequeue(keeper);
        }
        while self.free_buffers() == 0 && self.evict() {}
        if is_evictable {
            self.make_evictable(keeper);
        }
    }

    /// A receiver loses its place; `poll` brings the notice, unless it is the answer to a report of its own.
    pub(super) fn shed_receiver(&mut self, keeper: u32, reason: ShedReason) {
        match reason {
            ShedReason::Deadline => self.totals.shed_at_deadline += 1,
            ShedReason::Evicted => self.totals.evicted += 1,
            ShedReason::Memory => self.totals.shed_for_memory += 1,
        }
        self.drop_all(keeper);
        self.keepers[keeper].standing = Standing::Shed { reason };
        self.keepers.push(&mut self.shed, keeper);
    }
}
