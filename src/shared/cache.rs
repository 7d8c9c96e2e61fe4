//! The lock-free parts: how each buffer is held, and the cache of a shard.

use super::stats::LowWaterMark;
use super::sync::{AtomicU32, AtomicU64, CachePadded, Ordering};
use crate::scheduler::{Generation, LeaseId};

/// One buffer: how it is held, and its place in a cache. A cache line each, so that threads whose buffers are
/// neighbours do not disturb each other.
#[repr(align(64))]
#[derive(Debug)]
pub(super) struct BufferState {
    /// Generation in the upper half; [`HELD`], [`CAPPED`], [`RECEIVERS`], [`NAMED`], the shard and the class below.
    /// Only the owner of the buffer writes it.
    hold: AtomicU64,
    /// The link below this one in a cache.
    below: AtomicU32,
}

const HELD: u64 = 1 << 31;
const CAPPED: u64 = 1 << 30;
const RECEIVERS: u64 = 1 << 29;
const NAMED: u64 = 1 << 28;
const SHARD_SHIFT: u32 = 8;
const SHARD: u64 = 0xffff << SHARD_SHIFT;
const CLASS: u64 = 0xff;

/// In place of a shard. The receiver of the lease is exported and not imported yet; a lease of the host's own outlived
/// the receivers of the thread that had it.
pub(super) const NO_SHARD: u32 = 0xffff;

/// What holds a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holder {
    /// The host's own.
    Host,
    /// Of receivers of the shard that has it.
    Receivers,
}

/// What a lease was taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LeaseWord {
    pub(super) class: u8,
    /// Its class has a cap, so it comes back to the pool at once.
    pub(super) is_capped: bool,
    pub(super) holder: Holder,
    /// It counts for a tenant, so it comes back to the pool at once.
    pub(super) is_named: bool,
    /// The shard that has it, or [`NO_SHARD`].
    pub(super) shard: u32,
}

impl LeaseWord {
    fn of(word: u64) -> LeaseWord {
        LeaseWord {
            class: (word & CLASS) as u8,
            is_capped: word & CAPPED != 0,
            holder: if word & RECEIVERS != 0 { Holder::Receivers } else { Holder::Host },
            is_named: word & NAMED != 0,
            shard: ((word & SHARD) >> SHARD_SHIFT) as u32,
        }
    }

    fn bits(self) -> u64 {
        let capped = if self.is_capped { CAPPED } else { 0 };
        let receivers = if self.holder == Holder::Receivers { RECEIVERS } else { 0 };
        let named = if self.is_named { NAMED } else { 0 };
        HELD | capped | receivers | named | u64::from(self.shard) << SHARD_SHIFT | u64::from(self.class)
    }
}

impl BufferState {
    pub(super) fn new(tag: u8) -> BufferState {
        BufferState { hold: AtomicU64::new(free(Generation::first(tag))), below: AtomicU32::new(0) }
    }

    /// Starts a lease; the caller owns the buffer.
    pub(super) fn hold(&self, index: u32, hold: LeaseWord) -> LeaseId {
        let word = self.hold.load(Ordering::Relaxed);
        debug_assert_eq!(word & HELD, 0, "a buffer is leased once");
        self.hold.store(word | hold.bits(), Ordering::Relaxed);
        LeaseId::new(index, generation(word))
    }

    /// Ends a lease, if it is held in a way that `may_end` allows. Of several threads that end or change one lease in
    /// ways that exclude each other, one succeeds; a thread that succeeded here owns the buffer.
    pub(super) fn release(&self, lease: LeaseId, may_end: impl Fn(LeaseWord) -> bool) -> Option<LeaseWord> {
        let next = free(lease.generation().next());
        self.replace(lease, |hold| may_end(hold).then_some(next)).map(LeaseWord::of)
    }

    /// How a lease is held, if it is.
    pub(super) fn held_as(&self, lease: LeaseId) -> Option<LeaseWord> {
        self.held(lease).map(LeaseWord::of)
    }

    /// Changes how a lease is held, if `change` allows it; returns how it was held. Else as `release`.
    pub(super) fn change(&self, lease: LeaseId, change: impl Fn(LeaseWord) -> Option<LeaseWord>) -> Option<LeaseWord> {
        let generation = free(lease.generation());
        self.replace(lease, |hold| change(hold).map(|next| generation | next.bits())).map(LeaseWord::of)
    }

    /// As `change`, and the lease has another number from then on.
    pub(super) fn renew(&self, lease: LeaseId, change: impl Fn(LeaseWord) -> Option<LeaseWord>) -> Option<LeaseWord> {
        let generation = free(lease.generation().next());
        self.replace(lease, |hold| change(hold).map(|next| generation | next.bits())).map(LeaseWord::of)
    }

    /// Decides and writes in one step: what `next` decided on is what is replaced. Returns the word that was replaced.
    fn replace(&self, lease: LeaseId, next: impl Fn(LeaseWord) -> Option<u64>) -> Option<u64> {
        loop {
            let word = self.held(lease)?;
            let next = next(LeaseWord::of(word))?;
            if self.hold.compare_exchange(word, next, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
                return Some(word);
            }
        }
    }

    /// The lease that holds this buffer, if one does; it is the caller's, or the answer is old by now.
    pub(super) fn lease(&self, index: u32) -> LeaseId {
        LeaseId::new(index, generation(self.hold.load(Ordering::Relaxed)))
    }

    fn held(&self, lease: LeaseId) -> Option<u64> {
        let word = self.hold.load(Ordering::Relaxed);
        (generation(word) == lease.generation() && word & HELD != 0).then_some(word)
    }

    /// How it is held, if it is; the answer is old by now, unless the lease is the caller's.
    pub(super) fn any_hold(&self) -> Option<LeaseWord> {
        let word = self.hold.load(Ordering::Relaxed);
        (word & HELD != 0).then(|| LeaseWord::of(word))
    }
}

fn free(generation: Generation) -> u64 {
    u64::from(generation.to_bits()) << 32
}

fn generation(word: u64) -> Generation {
    Generation::from_bits((word >> 32) as u32)
}

/// The free buffers of one shard: a stack linked through the buffers.
///
/// Its shard pushes and pops; any thread takes everything. Between a shard's look at the top and its exchange, only a
/// taker can have come, which leaves it empty, so a top that is unchanged is the top of an unchanged stack. The count
/// of pushes in the upper bits keeps that true for a host that lets two threads use one shard.
#[derive(Debug, Default)]
pub(super) struct Cache {
    top: AtomicU64,
    lowest: CachePadded<LowWaterMark>,
}

/// A link: a buffer's index plus 1; 0 for none. Above it 8 bits of depth and 24 bits that count pushes.
const LINK: u64 = 0xffff_ffff;
const DEPTH_SHIFT: u32 = 32;
const DEPTH_MAX: u64 = 0xff;
const PUSHES_SHIFT: u32 = 40;

impl Cache {
    /// Puts a buffer on top; returns how many there are now, if they are fewer than 256. It sees all that was done
    /// before an earlier [`Cache::take`], and a later one sees all that was done before it: the exchange acquires and
    /// releases.
    pub(super) fn push(&self, buffers: &[BufferState], index: u32) -> u32 {
        let mut top = self.top.load(Ordering::Relaxed);
        loop {
            buffers[index as usize].below.store((top & LINK) as u32, Ordering::Relaxed);
            let depth = (depth(top) + 1).min(DEPTH_MAX);
            let pushes = (top >> PUSHES_SHIFT).wrapping_add(1);
            let next = pushes << PUSHES_SHIFT | depth << DEPTH_SHIFT | (u64::from(index) + 1);
            match self.top.compare_exchange(top, next, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return depth as u32,
                Err(seen) => top = seen,
            }
        }
    }

    /// Takes the buffer on top: the one used last, whose memory is the most likely to be near.
    pub(super) fn pop(&self, buffers: &[BufferState]) -> Option<u32> {
        let mut top = self.top.load(Ordering::Acquire);
        loop {
            let index = ((top & LINK) as u32).checked_sub(1)?;
            let below = buffers[index as usize].below.load(Ordering::Relaxed);
            let depth = depth(top).saturating_sub(1);
            // Before the buffer is held: a thread that sees it held sees this.
            self.lowest.0.reach(depth as u32);
            let next = top & !(LINK | DEPTH_MAX << DEPTH_SHIFT) | depth << DEPTH_SHIFT | u64::from(below);
            match self.top.compare_exchange(top, next, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Some(index),
                Err(seen) => top = seen,
            }
        }
    }

    /// Takes everything.
    pub(super) fn take(&self, buffers: &[BufferState]) -> impl Iterator<Item = u32> {
        let top = self.top.fetch_and(!(LINK | DEPTH_MAX << DEPTH_SHIFT), Ordering::AcqRel);
        self.lowest.0.reach(0);
        walk(buffers, top)
    }

    /// The fewest buffers that lay here at once, since the last [`Cache::forget_lowest`].
    pub(super) fn lowest(&self) -> u32 {
        self.lowest.0.get()
    }

    /// Counts from what lies here now. For the shard itself, while no thread takes.
    pub(super) fn forget_lowest(&self) {
        self.lowest.0.set(self.len());
    }

    pub(super) fn len(&self) -> u32 {
        depth(self.top.load(Ordering::Relaxed)) as u32
    }

    /// What lies here; only while no thread uses it.
    pub(super) fn iter(&self, buffers: &[BufferState]) -> impl Iterator<Item = u32> {
        walk(buffers, self.top.load(Ordering::Acquire))
    }
}

fn depth(top: u64) -> u64 {
    top >> DEPTH_SHIFT & DEPTH_MAX
}

fn walk(buffers: &[BufferState], top: u64) -> impl Iterator<Item = u32> {
    let mut link = (top & LINK) as u32;
    core::iter::from_fn(move || {
        let index = link.checked_sub(1)?;
        link = buffers[index as usize].below.load(Ordering::Relaxed);
        Some(index)
    })
}

// Loom's structures may only be made inside a model.
#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// A thread that looked at the top sees by it that buffers were pushed meanwhile, also where the same buffer lies
    /// on top at the same depth.
    #[test]
    fn push_changes_the_top_of_an_equal_stack() {
        let (cache, buffers) = (Cache::default(), [(); 2].map(|()| BufferState::new(0)));
        let mut tops = [(); 300].map(|()| {
            cache.push(&buffers, 0);
            let top = cache.top.load(Ordering::Relaxed);
            assert_eq!(cache.pop(&buffers), Some(0));
            top
        });
        tops.sort_unstable();
        assert!(tops.windows(2).all(|pair| pair[0] < pair[1]), "two tops are the same");
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use loom::thread;
    use std::sync::Arc;

    /// What [`SchedulerShard`](super::super::SchedulerShard) rules out, unless a layer above lets two threads use one.
    #[test]
    fn two_threads_that_pop_and_push_share_no_buffer() {
        loom::model(|| {
            let shared = Arc::new((Cache::default(), [(); 4].map(|()| BufferState::new(0))));
            for index in 0..3 {
                shared.0.push(&shared.1, index);
            }
            let other = Arc::clone(&shared);
            // The top comes back at the same depth with another below it, while the first thread may be about to
            // exchange it.
            let second = thread::spawn(move || {
                let (cache, buffers) = &*other;
                let (top, cached_since) = (cache.pop(buffers), cache.pop(buffers));
                cache.push(buffers, 3);
                if let Some(top) = top {
                    cache.push(buffers, top);
                }
                cached_since
            });
            let (cache, buffers) = &*shared;
            let mut all = vec![cache.pop(buffers)];
            all.push(second.join().unwrap());
            let mut all: Vec<u32> = all.into_iter().flatten().chain(cache.take(buffers)).collect();
            all.sort_unstable();
            assert_eq!(all, [0, 1, 2, 3]);
        });
    }
}
