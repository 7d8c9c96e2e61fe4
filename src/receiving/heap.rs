//! What is ordered by time: claims, waits under a mark, and content that may be evicted. Binary heaps whose entries
//! know their places, so that one can be removed from the middle.

use super::keeper::{Keepers, Queue};
use crate::alloc_util::reserve;
use crate::config_error::ConfigError;
use alloc::vec::Vec;
use core::cmp::Ordering;

/// The heaps; a keeper is in at most one of them.
#[cfg_attr(feature = "model-check", derive(Clone))]
#[derive(Debug)]
pub(super) struct Heaps {
    heaps: [Vec<Entry>; 4],
}

/// Earliest deadline first, then the lowest row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) deadline_ns: u64,
    pub(super) receiver: u32,
    pub(super) keeper: u32,
}

impl Entry {
    /// One comparison is all that it takes: a receiver has one keeper.
    #[inline(always)]
    fn order(&self) -> u128 {
        u128::from(self.deadline_ns) << 32 | u128::from(self.receiver)
    }
}

impl PartialOrd for Entry {
    #[inline(always)]
    fn partial_cmp(&self, other: &Entry) -> Option<Ordering> {
        Some(self.cmp(other))
    }

    #[inline(always)]
    fn lt(&self, other: &Entry) -> bool {
        self.order() < other.order()
    }
}

impl Ord for Entry {
    #[inline(always)]
    fn cmp(&self, other: &Entry) -> Ordering {
        self.order().cmp(&other.order())
    }
}

impl Heaps {
    pub(super) fn new(receivers_max: u32) -> Result<Heaps, ConfigError> {
        let reserve = || reserve("receivers_max", receivers_max);
        Ok(Heaps { heaps: [reserve()?, reserve()?, reserve()?, reserve()?] })
    }

    /// The earliest.
    #[inline]
    pub(super) fn first(&self, queue: Queue) -> Option<Entry> {
        self.heaps[queue as usize].first().copied()
    }

    /// The earliest deadline; that of none is never.
    #[inline]
    pub(super) fn first_deadline_ns(&self, queue: Queue) -> u64 {
        self.heaps[queue as usize].first().map_or(u64::MAX, |first| first.deadline_ns)
    }

    pub(super) fn len(&self, queue: Queue) -> u32 {
        self.heaps[queue as usize].len() as u32
    }

    pub(super) fn is_empty(&self, queue: Queue) -> bool {
        self.heaps[queue as usize].is_empty()
    }

    /// Whether every entry is behind its parent, and known to its keeper.
    pub(super) fn is_consistent(&self, keepers: &Keepers) -> bool {
        [Queue::CreditedClaims, Queue::Claims, Queue::Evictable, Queue::Marks].into_iter().all(|queue| {
            let heap = &self.heaps[queue as usize];
            heap.iter().enumerate().all(|(at, entry)| {
                let is_behind = at == 0 || heap[(at - 1) / 2] < *entry;
                is_behind && keepers[entry.keeper].queued == Some((queue, at as u32))
            })
        })
    }

    /// Adds a keeper that is in no heap.
    #[inline(always)]
    pub(super) fn insert(&mut self, queue: Queue, keeper: u32, deadline_ns: u64, keepers: &mut Keepers) -> Entry {
        let heap = &mut self.heaps[queue as usize];
        let entry = Entry { deadline_ns, receiver: keepers[keeper].receiver, keeper };
        heap.push(entry);
        let at = heap.len() - 1;
        // Most deadlines are later than those that are there.
        if at > 0 && entry < heap[(at - 1) / 2] {
            sift_up(heap, queue, at, keepers);
        } else {
            keepers[keeper].queued = Some((queue, at as u32));
        }
        entry
    }

    /// The deadline of a keeper that is in a heap.
    pub(super) fn deadline_ns(&self, keeper: u32, keepers: &Keepers) -> u64 {
        keepers[keeper].queued.map_or(0, |(queue, at)| self.heaps[queue as usize][at as usize].deadline_ns)
    }

    /// Removes a keeper from the heap that it is in, if it is in one: which it was.
    #[inline]
    pub(super) fn remove(&mut self, keeper: u32, keepers: &mut Keepers) -> Option<Queue> {
        let (queue, at) = keepers[keeper].queued.take()?;
        let (heap, at) = (&mut self.heaps[queue as usize], at as usize);
        heap.swap_remove(at);
        if at < heap.len() {
            let is_earlier = at > 0 && heap[at] < heap[(at - 1) / 2];
            let sift = if is_earlier { sift_up } else { sift_down };
            sift(heap, queue, at, keepers);
        }
        Some(queue)
    }
}

/// Moves an entry before those that it is earlier than.
#[inline(never)]
fn sift_up(heap: &mut [Entry], queue: Queue, mut at: usize, keepers: &mut Keepers) {
    let entry = heap[at];
    while at > 0 && entry < heap[(at - 1) / 2] {
        let parent = (at - 1) / 2;
        put(heap, queue, at, heap[parent], keepers);
        at = parent;
    }
    put(heap, queue, at, entry, keepers);
}

/// Moves an entry behind those that it is later than.
#[inline(never)]
fn sift_down(heap: &mut [Entry], queue: Queue, mut at: usize, keepers: &mut Keepers) {
    let entry = heap[at];
    loop {
        let mut child = 2 * at + 1;
        let Some(&(mut first)) = heap.get(child) else { break };
        if let Some(&right) = heap.get(child + 1).filter(|&&right| right < first) {
            (child, first) = (child + 1, right);
        }
        if entry < first {
            break;
        }
        put(heap, queue, at, first, keepers);
        at = child;
    }
    put(heap, queue, at, entry, keepers);
}

fn put(heap: &mut [Entry], queue: Queue, at: usize, entry: Entry, keepers: &mut Keepers) {
    heap[at] = entry;
    keepers[entry.keeper].queued = Some((queue, at as u32));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heap_keeps_its_order_after_removals() {
        let mut random = fastrand::Rng::with_seed(1);
        let mut keepers = Keepers::new(200).expect("there is memory");
        let mut heaps = Heaps::new(200).expect("there is memory");
        let mut all = Vec::new();
        for receiver in 0..200 {
            let keeper = keepers.insert(receiver);
            let deadline_ns = random.u64(0..40);
            heaps.insert(Queue::Claims, keeper, deadline_ns, &mut keepers);
            all.push((deadline_ns, receiver, keeper));
        }
        random.shuffle(&mut all);
        for (_, _, keeper) in all.drain(..90) {
            heaps.remove(keeper, &mut keepers);
            heaps.remove(keeper, &mut keepers);
            assert!(heaps.is_consistent(&keepers));
        }
        all.sort_unstable();
        for (deadline_ns, receiver, keeper) in all {
            assert_eq!(heaps.first(Queue::Claims), Some(Entry { deadline_ns, receiver, keeper }));
            heaps.remove(keeper, &mut keepers);
        }
        assert!(heaps.is_empty(Queue::Claims));
    }
}
