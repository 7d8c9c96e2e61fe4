//! Shards of a shared scheduler, and requests of which the caller knows the outcome.

use demuxbuf::scheduler::{LeaseId, Outcome, SchedulerConfig, WaitId};
use demuxbuf::shared::{SchedulerShard, SharedScheduler};

pub(crate) fn two(config: &SchedulerConfig) -> (SharedScheduler, SchedulerShard, SchedulerShard) {
    let shards = SharedScheduler::new(config, 2).unwrap();
    let (a, b) = (shards.shard(0).unwrap(), shards.shard(1).unwrap());
    (shards, a, b)
}

/// Two shards with deadlines, a lease of 1,000 ns and any number of classes, at time 10.
pub(crate) fn timed(config: &SchedulerConfig) -> (SharedScheduler, SchedulerShard, SchedulerShard) {
    let (shards, a, b) = two(&SchedulerConfig { park_ns: Some(250), lease_ns: Some(1000), ..*config });
    for shard in [&a, &b] {
        shard.handle_timeout(10);
    }
    (shards, a, b)
}

pub(crate) fn granted(shard: &SchedulerShard, class: u8) -> LeaseId {
    match shard.request(class, 0) {
        Ok(Outcome::Granted(lease)) => lease,
        other => panic!("a buffer is free: {other:?}"),
    }
}

pub(crate) fn queued(shard: &SchedulerShard, class: u8, token: u64) -> WaitId {
    match shard.request(class, token) {
        Ok(Outcome::Queued(wait)) => wait,
        other => panic!("no buffer is free: {other:?}"),
    }
}
