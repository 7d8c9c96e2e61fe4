//! What one shard has.

use super::own_waits::OwnWaits;
use super::stats::{Counter, Counts, ShownCache, ShownWaits};
use super::sync::{AtomicBool, AtomicU64, CachePadded, ShortLock};

/// Other threads write here only while something waits.
#[derive(Debug)]
pub(super) struct ShardState {
    pub(super) cached: ShownCache,
    /// There is a grant to pick up, or deadlines are to be polled from now on; or there was, and a thread cancelled or
    /// exported it since.
    pub(super) is_called: AtomicBool,
    pub(super) is_in_use: AtomicBool,
    /// What it asks of other shards, as [`asks`](super::asks) writes it; 0 for nothing.
    pub(super) asked: AtomicU64,
    /// The host's time at the shard's last advance and 1; 0 before the first.
    time: Counter,
    /// When `is_called` was set, or the shard looked last without picking all up.
    pub(super) called_ns: Counter,
    pub(super) counts: Counts,
    pub(super) shown: ShownWaits,
    /// 1 after an exchange that the common queue does not know of. The shard's thread alone uses it.
    pub(super) has_exchanged: Counter,
    pub(super) own_waits: CachePadded<ShortLock<OwnWaits>>,
}

impl ShardState {
    pub(super) fn new(own_waits: OwnWaits) -> ShardState {
        ShardState {
            cached: ShownCache::default(),
            is_called: AtomicBool::new(false),
            is_in_use: AtomicBool::new(false),
            asked: AtomicU64::new(0),
            time: Counter::default(),
            called_ns: Counter::default(),
            counts: Counts::default(),
            shown: ShownWaits::default(),
            has_exchanged: Counter::default(),
            own_waits: CachePadded(ShortLock::new(own_waits)),
        }
    }

    pub(super) fn last_ns(&self) -> Option<u64> {
        self.time.get().checked_sub(1)
    }

    /// Notes the host's time; returns whether it is before that of the last advance, which then stays.
    pub(super) fn note_time(&self, now_ns: u64) -> bool {
        let time = now_ns.saturating_add(1);
        let is_backwards = time < self.time.get();
        if !is_backwards {
            self.time.set(time);
        }
        is_backwards
    }
}
