//! The waits in the common queue that stand for those that a shard queues itself, and what shards see of that queue
//! without the lock of all.

use super::EXCHANGES_MAX;
use super::stats::Counter;
use super::sync::{AtomicU64, CachePadded, Ordering};
use crate::alloc_util::reserve;
use crate::scheduler::{CLASSES_MAX, ConfigError, Scheduler, WaitId};
use alloc::vec::Vec;

/// The bound *W*, from that of the common queue: a burst of exchanges for each of its grants, and one more for each
/// shard.
pub(super) fn bypass_bound(of_queue: u64, shards: u32) -> u64 {
    let grants = of_queue.saturating_add(1);
    let exchanges = u64::from(EXCHANGES_MAX).saturating_mul(grants.saturating_add(shards.into()));
    of_queue.saturating_add(exchanges)
}

/// One of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Placeholder {
    pub(super) wait: WaitId,
    /// Hand-offs that waits of its class could have had, before it was queued.
    pub(super) grants: u64,
}

#[derive(Debug)]
pub(super) struct Placeholders {
    /// By shard, then class.
    table: Vec<Option<Placeholder>>,
    classes: u32,
    pub(super) by_class: [u32; CLASSES_MAX],
}

impl Placeholders {
    pub(super) fn new(shards: u32, classes: u8) -> Result<Placeholders, ConfigError> {
        let count = shards * u32::from(classes);
        let mut table = reserve("shards", count)?;
        table.resize(count as usize, None);
        Ok(Placeholders { table, classes: classes.into(), by_class: [0; CLASSES_MAX] })
    }

    fn at(&self, shard: u32, class: u8) -> usize {
        (shard * self.classes + u32::from(class)) as usize
    }

    pub(super) fn get(&self, shard: u32, class: u8) -> Option<&Placeholder> {
        self.table[self.at(shard, class)].as_ref()
    }

    pub(super) fn set(&mut self, shard: u32, class: u8, placeholder: Placeholder) {
        let at = self.at(shard, class);
        self.table[at] = Some(placeholder);
        self.by_class[usize::from(class)] += 1;
    }

    pub(super) fn take(&mut self, shard: u32, class: u8) -> Option<Placeholder> {
        let at = self.at(shard, class);
        let placeholder = self.table[at].take();
        self.by_class[usize::from(class)] -= u32::from(placeholder.is_some());
        placeholder
    }
}

/// What waits in the common queue, in one word that is written when it changes.
#[derive(Debug, Default)]
pub(super) struct CommonQueue {
    word: CachePadded<AtomicU64>,
    /// Goes up with each call that takes the lock. Written under it, read at any time.
    pub(super) stamp: CachePadded<Counter>,
    /// By class: hand-offs that waits of it could have had, exchanges included. Written as `stamp`.
    pub(super) grants: CachePadded<[Counter; CLASSES_MAX]>,
}

/// A tenant waits, or a buffer is to be withheld.
const STRICT: u64 = 1 << 32;
/// A buffer is to be withheld.
const SHORT: u64 = 1 << 33;
const CLASSES_SHIFT: u32 = 40;

/// The word, as it was read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen(u64);

impl CommonQueue {
    pub(super) fn publish(&self, scheduler: &Scheduler, exchanged: &[u64; CLASSES_MAX]) {
        let waiting: u32 = scheduler.waiting().sum();
        let is_strict = scheduler.named_waits() > 0 || scheduler.to_withhold() > 0;
        let strict = if is_strict { STRICT } else { 0 };
        let short = if scheduler.to_withhold() > 0 { SHORT } else { 0 };
        let word = u64::from(scheduler.wanted_classes()) << CLASSES_SHIFT | short | strict | u64::from(waiting);
        if word != self.word.0.load(Ordering::Relaxed) {
            self.word.0.store(word, Ordering::Relaxed);
        }
        for ((class, shown), exchanged) in (0..scheduler.classes()).zip(&self.grants.0).zip(exchanged) {
            let grants = scheduler.grants_of(class) + exchanged;
            if shown.get() != grants {
                shown.set(grants);
            }
        }
    }

    /// A thread that has heard of a change, by whatever way, sees it.
    pub(super) fn see(&self) -> Seen {
        Seen(self.word.0.load(Ordering::Relaxed))
    }
}

impl Seen {
    /// Whether another wait than the placeholder of the class that the caller has one in is there.
    pub(super) fn has_others(self) -> bool {
        self.0 as u32 != 1
    }

    /// Whether a buffer would serve a wait or be withheld: not if the caps of classes and tenants block all waits.
    pub(super) fn wants_buffers(self) -> bool {
        self.0 & SHORT != 0 || self.0 >> CLASSES_SHIFT != 0
    }

    /// Whether a wait of this class may go before all in the common queue, now and then: no tenant's share, no more
    /// critical class and no limit of memory is passed.
    pub(super) fn lets_pass(self, class: u8) -> bool {
        self.0 & STRICT == 0 && (self.0 >> CLASSES_SHIFT) & ((1 << class) - 1) == 0
    }
}

// Loom's structures may only be made inside a model, and this test has one thread.
#[cfg(all(test, not(loom)))]
mod tests {
    use super::super::own_waits::STAMPS;
    use super::super::{SchedulerShard, SharedScheduler};
    use super::*;
    use crate::scheduler::{LeaseId, Outcome, SchedulerConfig, WaitId};

    /// A buffer that is to be withheld is not exchanged; the next one is.
    #[test]
    fn limit_of_memory_goes_before_waits_of_a_shard() {
        let (shards, [shard, _]) = two(&SchedulerConfig::new(2, 16));
        let leases = [(); 2].map(|()| granted(&shard));
        for token in 0..3 {
            queued(&shard, 0, token);
        }
        shard.set_withheld(1, 0, 0);
        shard.release(leases[0]).expect("it is held");
        assert_eq!((shards.stats().scheduler.withheld, shard.poll_grant()), (1, None));
        assert_eq!(shards.check_invariants(), Ok(()));
        let before = shards.stats().locked;
        shard.release(leases[1]).expect("it is held");
        assert_eq!((shards.stats().locked, shard.poll_grant().map(|grant| grant.token)), (before, Some(0)));
        assert_eq!(shards.check_invariants(), Ok(()));
    }

    /// The reserve gets smaller with the limit: what becomes eligible by that waits until the limit is met.
    #[test]
    fn limit_of_memory_goes_before_its_reserve() {
        let (shards, [shard, _]) = two(&with_reserve(SchedulerConfig::new(4, 16), 2));
        let leases = [(); 2].map(|()| granted(&shard));
        queued(&shard, 1, 5);
        shard.set_withheld(2, 1, 0);
        let stats = shards.stats().scheduler;
        assert_eq!((stats.withheld, stats.to_withhold, shard.poll_grant()), (2, 0, None));
        shard.release(leases[0]).expect("it is held");
        assert_eq!(shard.poll_grant().map(|grant| grant.token), Some(5));
        assert_eq!(shards.check_invariants(), Ok(()));
    }

    /// An exchange counts for a wait that the reserve of its class kept from the buffer before the limit, and not now.
    #[test]
    fn exchange_counts_by_the_reserve_of_the_limit() {
        let (shards, [here, there]) = two(&with_reserve(SchedulerConfig::new(2, 16), 1));
        let leases = [(); 2].map(|()| granted(&here));
        let other = queued(&there, 1, 9);
        for token in 0..3 {
            queued(&here, 0, token);
        }
        let bypasses = |lease| {
            here.release(lease).expect("it is held");
            here.describe_wait(other).map(|info| info.bypasses)
        };
        assert_eq!(bypasses(leases[0]), Ok(0));
        here.set_withheld(0, 1, 0);
        assert_eq!(bypasses(leases[1]), Ok(1));
        assert_eq!(shards.check_invariants(), Ok(()));
    }

    /// Those of two shards are served in turn by the releases of a third one.
    #[test]
    fn waits_keep_their_order_where_stamps_begin_anew() {
        for calls_before in 0..12 {
            let shards = SharedScheduler::new(&SchedulerConfig::new(1, 8), 3).expect("the configuration is allowed");
            let [a, b, c] = [0, 1, 2].map(|index| shards.shard(index).expect("it is free"));
            c.shared.lock().stamp = (STAMPS * calls_before).wrapping_neg();
            let mut lease = granted(&c);
            for token in 0..4 {
                let wait = queued(if token % 2 == 0 { &a } else { &b }, 0, token);
                // It takes the lock, so the next wait is of another call.
                c.describe_wait(wait).expect("it waits");
            }
            let served = [(); 4].map(|()| {
                c.release(lease).expect("it is held");
                let grant = a.poll_grant().or_else(|| b.poll_grant()).expect("a wait is served");
                lease = grant.lease;
                grant.token
            });
            assert_eq!(served, [0, 1, 2, 3], "{calls_before} calls before stamps begin anew");
            assert_eq!(shards.check_invariants(), Ok(()));
        }
    }

    /// Waits that a shard queues itself have stamps of their own, however many there are.
    #[test]
    fn shard_takes_the_lock_when_its_stamps_are_used_up() {
        let (shards, [shard, _]) = two(&SchedulerConfig::new(1, 4));
        let mut lease = granted(&shard);
        for token in 0..2 {
            queued(&shard, 0, token);
        }
        let locked = shards.stats().locked;
        for token in 0..2 * STAMPS {
            shard.release(lease).expect("it is held");
            lease = shard.poll_grant().expect("the first wait is served").lease;
            queued(&shard, 0, token);
        }
        assert_eq!(shards.stats().locked - locked, 2, "but seldom");
        let stamps: Vec<u64> = shard.shared.own_waits(0).with(|own| own.iter().map(|wait| wait.stamp).collect());
        assert!(matches!(stamps[..], [one, other] if one != other), "{stamps:?}");
    }

    fn two(config: &SchedulerConfig) -> (SharedScheduler, [SchedulerShard; 2]) {
        let shards = SharedScheduler::new(config, 2).expect("the configuration is allowed");
        let both = [0, 1].map(|index| shards.shard(index).expect("it is free"));
        (shards, both)
    }

    /// With a second class that leaves this many buffers.
    fn with_reserve(mut config: SchedulerConfig, reserve: u32) -> SchedulerConfig {
        (config.classes, config.reserves[1]) = (2, reserve);
        config
    }

    fn granted(shard: &SchedulerShard) -> LeaseId {
        match shard.request(0, 0) {
            Ok(Outcome::Granted(lease)) => lease,
            other => panic!("a buffer is free: {other:?}"),
        }
    }

    fn queued(shard: &SchedulerShard, class: u8, token: u64) -> WaitId {
        match shard.request(class, token) {
            Ok(Outcome::Queued(wait)) => wait,
            other => panic!("no buffer is free: {other:?}"),
        }
    }
}
