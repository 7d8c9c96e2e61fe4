//! What is ordered by time: claims, waits under a mark, and content that may be evicted. Binary heaps whose entries
//! know their places, so that one can be removed from the middle.

use super::keeper::{Keeper, Keepers, Queue};
use crate::alloc_util::reserve;
use crate::config_error::ConfigError;
use alloc::vec::Vec;

/// The heaps; a keeper is in at most one of them.
#[cfg_attr(feature = "model-check", derive(Clone))]
#[derive(Debug)]
pub(super) struct Heaps {
    heaps: [Vec<Entry>; 4],
}

/// Earliest deadline first, then the lowest row. Deadline, receiver and keeper as one number, so that one comparison is
/// all that it takes: a receiver has one keeper.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry(u128);

impl Entry {
    /// Behind every other, and none itself.
    pub(super) const LAST: Entry = Entry(u128::MAX);

    #[inline(always)]
    pub(super) fn new(deadline_ns: u64, receiver: u32, keeper: u32) -> Entry {
        Entry(u128::from(deadline_ns) << 64 | u128::from(receiver) << 32 | u128::from(keeper))
    }

    #[inline(always)]
    pub(super) fn deadline_ns(self) -> u64 {
        (self.0 >> 64) as u64
    }

    #[inline(always)]
    pub(super) fn receiver(self) -> u32 {
        (self.0 >> 32) as u32
    }

    #[inline(always)]
    pub(super) fn keeper(self) -> u32 {
        self.0 as u32
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
        self.heaps[queue as usize].first().map_or(u64::MAX, |first| first.deadline_ns())
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
                is_behind && keepers[entry.keeper()].queued == Some((queue, at as u32))
            })
        })
    }

    /// Adds a keeper that is in no heap.
    #[inline(always)]
    pub(super) fn insert(&mut self, queue: Queue, keeper: u32, deadline_ns: u64, keepers: &mut [Keeper]) -> Entry {
        let heap = &mut self.heaps[queue as usize];
        let entry = Entry::new(deadline_ns, keepers[keeper as usize].receiver, keeper);
        heap.push(entry);
        let at = heap.len() - 1;
        // Most deadlines are later than those that are there.
        if at > 0 && entry < heap[(at - 1) / 2] {
            sift_up(heap, queue, at, keepers);
        } else {
            keepers[keeper as usize].queued = Some((queue, at as u32));
        }
        entry
    }

    /// The deadline of a keeper that is in a heap.
    pub(super) fn deadline_ns(&self, keeper: u32, keepers: &Keepers) -> u64 {
        keepers[keeper].queued.map_or(0, |(queue, at)| self.heaps[queue as usize][at as usize].deadline_ns())
    }

    /// Removes a keeper from the heap that it is in, if it is in one: which it was.
    #[inline]
    pub(super) fn remove(&mut self, keeper: u32, keepers: &mut [Keeper]) -> Option<Queue> {
        let (queue, _) = keepers[keeper as usize].queued?;
        self.take_out(keeper, keepers);
        Some(queue)
    }

    /// As `remove`, without an answer, so that nothing is to be done after the last call.
    #[inline(never)]
    pub(super) fn take_out(&mut self, keeper: u32, keepers: &mut [Keeper]) {
        let Some((queue, at)) = keepers[keeper as usize].queued.take() else { return };
        let (heap, at) = (&mut self.heaps[queue as usize], at as usize);
        heap.swap_remove(at);
        if at < heap.len() {
            let is_earlier = at > 0 && heap[at] < heap[(at - 1) / 2];
            let sift = if is_earlier { sift_up } else { sift_down };
            sift(heap, queue, at, keepers);
        }
    }
}

/// Moves an entry before those that it is earlier than.
#[inline(never)]
fn sift_up(heap: &mut [Entry], queue: Queue, mut at: usize, keepers: &mut [Keeper]) {
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
fn sift_down(heap: &mut [Entry], queue: Queue, mut at: usize, keepers: &mut [Keeper]) {
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

fn put(heap: &mut [Entry], queue: Queue, at: usize, entry: Entry, keepers: &mut [Keeper]) {
    heap[at] = entry;
    keepers[entry.keeper() as usize].queued = Some((queue, at as u32));
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
            heaps.insert(Queue::Claims, keeper, deadline_ns, keepers.table_mut());
            all.push((deadline_ns, receiver, keeper));
        }
        random.shuffle(&mut all);
        for (_, _, keeper) in all.drain(..90) {
            heaps.remove(keeper, keepers.table_mut());
            heaps.remove(keeper, keepers.table_mut());
            assert!(heaps.is_consistent(&keepers));
        }
        all.sort_unstable();
        for (deadline_ns, receiver, keeper) in all {
            assert_eq!(heaps.first(Queue::Claims), Some(Entry::new(deadline_ns, receiver, keeper)));
            heaps.remove(keeper, keepers.table_mut());
        }
        assert!(heaps.is_empty(Queue::Claims));
    }
}
