//! How each buffer is held, and the cache of a shard.

use super::stats::ShownCache;
use super::sync::{AtomicU32, AtomicU64, Ordering};
use crate::scheduler::{Generation, LeaseId};

/// One buffer: how it is held, and its place in a cache. A cache line each, so that threads whose buffers are
/// neighbours do not disturb each other.
#[repr(align(64))]
#[derive(Debug)]
pub(super) struct BufferState {
    /// Generation in the upper half; [`HELD`], [`CAPPED`], [`RECEIVERS`], [`NAMED`], the shard and the class below.
    /// Only the owner of the buffer writes it; that of a lease that a shard has, only under its lock.
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

/// What becomes of a lease.
#[derive(Clone, Copy, Debug)]
pub(super) enum NextHold {
    Same(LeaseWord),
    /// It has another number from now on.
    Renewed(LeaseWord),
    Free,
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

    /// Ends a lease that a shard has, under its lock: the caller owns the buffer.
    #[inline(always)]
    pub(super) fn release(&self, lease: LeaseId) {
        self.hold.store(free(lease.generation().next()), Ordering::Relaxed);
    }

    /// How a lease is held, if it is.
    #[inline(always)]
    pub(super) fn held_as(&self, lease: LeaseId) -> Option<LeaseWord> {
        self.held(lease).map(LeaseWord::of)
    }

    /// Ends or changes a lease; `false` if it is not held so any more. One that a shard has: under its lock.
    pub(super) fn replace(&self, lease: LeaseId, hold: LeaseWord, next: NextHold) -> bool {
        let word = free(lease.generation()) | hold.bits();
        let next = match next {
            NextHold::Same(hold) => free(lease.generation()) | hold.bits(),
            NextHold::Renewed(hold) => free(lease.generation().next()) | hold.bits(),
            NextHold::Free => free(lease.generation().next()),
        };
        self.hold.compare_exchange(word, next, Ordering::AcqRel, Ordering::Relaxed).is_ok()
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

/// The free buffers of one shard: a stack linked through the buffers. Under the lock of the shard.
#[derive(Debug, Default)]
pub(super) struct Cache {
    top: Link,
    len: u32,
}

/// A buffer's index plus 1; 0 for none.
type Link = u32;

impl Cache {
    /// Puts a buffer on top; returns how many there are now.
    #[inline(always)]
    pub(super) fn push(&mut self, shown: &ShownCache, buffers: &[BufferState], index: u32) -> u32 {
        buffers[index as usize].below.store(self.top, Ordering::Relaxed);
        (self.top, self.len) = (index + 1, self.len + 1);
        shown.len.set(self.len.into());
        self.len
    }

    /// Takes the buffer on top: the one used last, whose memory is the most likely to be near.
    #[inline(always)]
    pub(super) fn pop(&mut self, shown: &ShownCache, buffers: &[BufferState]) -> Option<u32> {
        let index = self.top.checked_sub(1)?;
        (self.top, self.len) = (buffers[index as usize].below.load(Ordering::Relaxed), self.len - 1);
        shown.show_fewer(self.len);
        Some(index)
    }

    /// Takes everything.
    pub(super) fn take(&mut self, shown: &ShownCache) -> Cache {
        shown.show_fewer(0);
        core::mem::take(self)
    }

    /// Whether as many lie here as are counted and shown.
    pub(super) fn is_sound(&self, shown: &ShownCache, buffers: &[BufferState]) -> bool {
        self.iter(buffers).count() as u32 == self.len && shown.len() == self.len && shown.lowest() <= self.len
    }

    /// What lies here.
    pub(super) fn iter(&self, buffers: &[BufferState]) -> impl Iterator<Item = u32> {
        let mut link = self.top;
        core::iter::from_fn(move || {
            let index = link.checked_sub(1)?;
            link = buffers[index as usize].below.load(Ordering::Relaxed);
            Some(index)
        })
    }
}
