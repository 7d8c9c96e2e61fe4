//! What a shared scheduler counts and caches, on one thread.

mod common;

use common::shards::{granted, two};
use demuxbuf::connection::{Action, Event};
use demuxbuf::pool::{AttachOptions, Pool, PoolConfig};
use demuxbuf::scheduler::{Outcome, Request, SchedulerConfig};
use demuxbuf::shared::{SchedulerShard, SharedPool, SharedScheduler};

#[test]
fn stats_are_right_before_the_first_call() {
    let (shards, _a, _b) = two(&SchedulerConfig::new(64, 8));
    let stats = shards.stats();
    assert_eq!(
        (
            stats.scheduler.capacity,
            stats.scheduler.free,
            stats.cached,
            stats.scheduler.leased,
            stats.scheduler.leased_peak
        ),
        (64, 64, 0, 0, 0)
    );
}

/// Cached buffers that a close takes back stay free.
#[test]
fn stats_are_right_after_a_close() {
    let (shards, a, _b) = two(&SchedulerConfig::new(64, 8));
    let lease = granted(&a, 0);
    a.release(lease).unwrap();
    assert!(shards.stats().cached > 0);
    shards.close();
    assert_eq!((shards.stats().scheduler.free, shards.stats().cached), (64, 0));
    shards.check_invariants().unwrap();
}

/// A time that is reported twice is not before itself.
#[test]
fn same_time_is_not_backwards() {
    let (shards, a, _b) = two(&SchedulerConfig::new(1, 8));
    for now_ns in [1_000, 1_000, 1_001, 1_000] {
        a.handle_timeout(now_ns);
    }
    assert_eq!(shards.stats().scheduler.clock_backwards, 1);
}

/// The peak outlasts the leases, also of a class whose buffers are not cached.
#[test]
fn lease_peak_remains_after_the_release() {
    let mut config = SchedulerConfig::new(8, 8);
    config.class_caps[0] = 4;
    let (shards, a, _b) = two(&config);
    let leases = [granted(&a, 0), granted(&a, 0), granted(&a, 0)];
    leases.into_iter().for_each(|lease| a.release(lease).unwrap());
    assert_eq!((shards.stats().scheduler.leased_peak, shards.stats().scheduler.leased), (3, 0));
}

/// Each class without a cap uses the cache of its shard.
#[test]
fn every_uncapped_class_takes_cached_buffers() {
    let mut config = SchedulerConfig { classes: 8, ..SchedulerConfig::new(64, 8) };
    config.class_caps[3] = 5;
    let (shards, a, _b) = two(&config);
    let warm = granted(&a, 0);
    a.release(warm).unwrap();
    for class in 0..8 {
        let before = shards.stats().locked;
        let lease = granted(&a, class);
        a.release(lease).unwrap();
        assert_eq!(shards.stats().locked - before, if class == 3 { 2 } else { 0 }, "class {class}");
    }
    shards.check_invariants().unwrap();
}

/// Once a reserve is not whole, no shard has cached buffers that a less critical class could take.
#[test]
fn broken_reserve_takes_cached_buffers_back() {
    let mut config = SchedulerConfig { classes: 2, ..SchedulerConfig::new(16, 8) };
    config.reserves[1] = 4;
    let (shards, a, b) = two(&config);
    let mut leases = vec![granted(&a, 0)];
    while shards.stats().cached > 3 {
        leases.push(granted(&a, 0));
    }
    assert_eq!(shards.stats().cached, 3, "given: a shard has some, fewer than the reserve");
    while shards.stats().scheduler.free > 4 {
        leases.push(granted(&b, 0));
        shards.check_invariants().unwrap();
    }
    assert!(matches!(a.request(1, 0), Ok(Outcome::Queued(_))), "what is free is the reserve");
    assert_eq!((shards.stats().scheduler.free, shards.stats().cached), (4, 0));
    b.release(leases.remove(0)).unwrap();
    assert!(a.poll_grant().is_some());
    shards.check_invariants().unwrap();
}

/// A dropped shard ends its waits wherever they are in the table, and looks no further than they are.
#[test]
fn s80_dropped_shard_ends_waits_behind_others() {
    let (shards, a, b) = two(&SchedulerConfig::new(1, 3_000));
    let _lease = granted(&b, 0);
    let queue = |shard: &SchedulerShard, count| {
        for token in 0..count {
            assert!(matches!(shard.request(0, token), Ok(Outcome::Queued(_))), "no buffer is free");
        }
    };
    queue(&b, 2_100);
    queue(&a, 10);
    queue(&b, 500);
    drop(a);
    assert_eq!((shards.stats().scheduler.waiting, shards.stats().scheduler.cancelled), (2_600, 10));
    shards.check_invariants().unwrap();
    let a = shards.shard(0).unwrap();
    let before = shards.stats().locked;
    drop(a);
    assert_eq!(shards.stats().locked - before, 1, "it has no waits to look for");
}

/// A thread whose receivers do not wait any more takes its wait back.
#[test]
fn closed_waiter_counts_as_cancelled() {
    let config = PoolConfig { buffer_bytes: 256, ..PoolConfig::new(8 * 256, 1) };
    let shared_pool = SharedPool::new(&config, 1).unwrap();
    let mut pool = shared_pool.shard(0).unwrap();
    while pool.try_request(&Request::new(0, 0)).unwrap().is_some() {}
    pool.handle_timeout(0);
    let id = pool.attach(&AttachOptions { unknown_length: true, ..AttachOptions::new(0, 0) }).unwrap();
    assert!(pool.handle(id, Event::Readable).unwrap().has(Action::Recv));
    pool.handle(id, Event::Received { bytes: 64 }).unwrap();
    pool.decoded(id, 0, 100).unwrap();
    pool.handle(id, Event::Readable).unwrap();
    assert_eq!(pool.poll_notice(), None);
    assert_eq!((shared_pool.stats().scheduler.waiting, shared_pool.stats().scheduler.cancelled), (1, 0));
    pool.handle(id, Event::Close).unwrap();
    assert_eq!(pool.poll_notice(), None);
    assert_eq!((shared_pool.stats().scheduler.waiting, shared_pool.stats().scheduler.cancelled), (0, 1));
}

#[test]
fn peaks_of_waits_remain() {
    let (shards, a, b) = two(&SchedulerConfig::new(1, 8));
    let lease = granted(&a, 0);
    for token in 0..2 {
        assert!(matches!(b.request(0, token), Ok(Outcome::Queued(_))), "no buffer is free");
    }
    a.release(lease).unwrap();
    for _ in 0..2 {
        let grant = b.poll_grant().unwrap();
        b.release(grant.lease).unwrap();
    }
    let stats = shards.stats();
    assert_eq!((stats.scheduler.waiting, stats.scheduler.waiting_peak, stats.scheduler.bypass_peak), (0, 2, 1));
}

/// What a pool of one thread refuses, a shared pool refuses with the same words.
#[test]
fn shared_pool_config_is_checked_as_of_one_thread() {
    let good = PoolConfig { buffer_bytes: 256, ..PoolConfig::new(16 * 256, 8) };
    let bad = [
        PoolConfig { receivers_max: 0, ..good },
        PoolConfig { buffer_bytes: 100, ..good },
        PoolConfig { frame_grace_ns: 7, ..good },
        PoolConfig { blocked_ns: 7, ..good },
        PoolConfig { in_flight_max: 17, ..good },
        PoolConfig { class_burst: 0, ..good },
    ];
    for config in bad {
        let refused = SharedPool::new(&config, 2).map(|_| ()).unwrap_err();
        assert_eq!(refused, Pool::new(&config).map(|_| ()).unwrap_err());
    }
}

/// An eighth of all buffers, divided by the threads, at least 1; what is set is for each thread.
#[test]
fn in_flight_max_of_a_thread_is_its_share() {
    for (buffers, threads, in_flight_max, expected) in
        [(64, 1, 0, 8), (64, 2, 0, 4), (64, 3, 0, 2), (32, 4, 0, 1), (64, 8, 0, 1), (64, 4, 5, 5)]
    {
        let config = PoolConfig { buffer_bytes: 256, in_flight_max, ..PoolConfig::new(buffers * 256, 8) };
        let shared = SharedPool::new(&config, threads).expect("the configuration is allowed");
        for index in 0..threads {
            let split = shared.shard(index).expect("it is free").memory().split();
            assert_eq!(split.in_flight_max, expected, "{buffers} buffers, {threads} threads");
        }
    }
}

/// Deadlines are checked as those of one thread are.
#[test]
fn config_of_deadlines_is_checked() {
    for (park_ns, lease_ns, text) in
        [(0, 0, "lease_ns is 0; allowed is 1 or more"), (11, 10, "park_ns is 11; allowed is 0 to lease_ns, 10")]
    {
        let (park_ns, lease_ns) = (Some(park_ns), Some(lease_ns));
        let config = SchedulerConfig { park_ns, lease_ns, ..SchedulerConfig::new(1, 1) };
        assert_eq!(SharedScheduler::new(&config, 1).unwrap_err().to_string(), text);
    }
}
