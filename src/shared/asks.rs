//! What a shard asks of the others: content that goes for a claim of its own, of a tenant that holds much more.

use super::SchedulerShard;
use super::shard_state::ShardState;
use super::state::Shared;
use super::sync::Ordering;

/// A claim for which a shard has no content that may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    /// The tenant of the claim.
    pub(super) claimant: u32,
    /// By how much the cell that it needs is larger than the one that it has: at least 1.
    pub(super) more_bytes: u32,
}

impl Asked {
    fn to_word(self) -> u64 {
        u64::from(self.claimant) << u32::BITS | u64::from(self.more_bytes)
    }

    fn from_word(word: u64) -> Option<Asked> {
        (word != 0).then_some(Asked { claimant: (word >> u32::BITS) as u32, more_bytes: word as u32 })
    }
}

impl ShardState {
    /// Whether it asks others for something.
    pub(super) fn asks(&self) -> bool {
        self.asked.load(Ordering::Relaxed) != 0
    }
}

impl Shared {
    /// Whether a shard asks something that it did not ask before.
    fn set_asked(&self, shard: u32, asked: Option<Asked>) -> bool {
        let shown = &self.shard_states[shard as usize].0.asked;
        let word = asked.map_or(0, Asked::to_word);
        if shown.load(Ordering::Relaxed) == word {
            return false;
        }
        // The thread that serves it may end it at the same time.
        let before = shown.swap(word, Ordering::Relaxed);
        match (before, word) {
            (0, 0) => {}
            (0, _) => drop(self.asking.0.fetch_add(1, Ordering::Relaxed)),
            (_, 0) => drop(self.asking.0.fetch_sub(1, Ordering::Relaxed)),
            _ => {}
        }
        word != 0 && word != before
    }

    /// A shard has a buffer to pick up: until it looked, it needs no other.
    pub(super) fn end_asked(&self, shard: u32) {
        self.set_asked(shard, None);
    }
}

impl SchedulerShard {
    /// What this shard asks from now on. The others are called if that is new.
    pub(super) fn ask(&self, asked: Option<Asked>) {
        if self.shared.set_asked(self.index, asked) {
            let calls = self.locked(|state| self.shared.call_others(state, Some(self.index)));
            self.shard_state().counts.wakes.add(calls);
        }
    }

    /// What the other shards ask.
    pub(super) fn asked_by_others(&self) -> impl Iterator<Item = Asked> {
        let is_asked = self.shared.asking.0.load(Ordering::Relaxed) != 0;
        let all = (0..).zip(&self.shared.shard_states).take_while(move |_| is_asked);
        let others = all.filter(|&(shard, _)| shard != self.index);
        others.filter_map(|(_, of)| Asked::from_word(of.0.asked.load(Ordering::Relaxed)))
    }
}

#[cfg(all(test, loom))]
mod tests {
    use super::super::SharedScheduler;
    use super::*;
    use crate::scheduler::{Outcome, SchedulerConfig};
    use loom::thread;

    const ASKED: Asked = Asked { claimant: 1, more_bytes: 100 };

    fn two() -> (SharedScheduler, SchedulerShard, SchedulerShard) {
        let config = SchedulerConfig { tenants_max: 1, ..SchedulerConfig::new(1, 4) };
        let shards = SharedScheduler::with_receivers(&config, 2, 100).unwrap();
        let (a, b) = (shards.shard(0).unwrap(), shards.shard(1).unwrap());
        (shards, a, b)
    }

    /// The one that polls at the same time sees it, or is called.
    #[test]
    fn shard_that_polls_meanwhile_sees_what_is_asked() {
        loom::model(|| {
            let (shards, a, b) = two();
            let asks = thread::spawn(move || {
                a.ask(Some(ASKED));
                a
            });
            assert_eq!(b.poll_grant(), None);
            let seen = b.asked_by_others().next();
            let a = asks.join().unwrap();
            assert!(seen.is_some() || a.poll_wake() == Some(1));
            assert_eq!(b.poll_grant(), None);
            assert_eq!(b.asked_by_others().next(), Some(ASKED));
            shards.check_invariants().unwrap();
        });
    }

    /// A buffer that another thread releases serves the wait for which a shard asks, at the same time.
    #[test]
    fn shard_that_is_served_asks_no_more() {
        loom::model(|| {
            let (shards, a, b) = two();
            let Ok(Outcome::Granted(lease)) = b.request(0, 7) else { panic!("it is free") };
            let Ok(Outcome::Queued(_)) = a.request(0, 8) else { panic!("none is free") };
            a.ask(Some(ASKED));
            let serves = thread::spawn(move || {
                b.release(lease).unwrap();
                let asked = b.asked_by_others().next();
                (asked, b)
            });
            a.ask(Some(Asked { claimant: 0, ..ASKED }));
            let (asked, b) = serves.join().unwrap();
            // Asked after it was served, for more.
            assert!(asked.is_none() || b.asked_by_others().next() == asked);
            shards.check_invariants().unwrap();
            assert!(a.poll_grant().is_some());
            a.ask(None);
            assert_eq!(b.asked_by_others().next(), None);
            shards.check_invariants().unwrap();
        });
    }
}
