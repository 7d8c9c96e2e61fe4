//! Shards of a shared scheduler that come and go, their caches, and waits that are served while they move; on one
//! thread.

mod common;

use common::shards::{granted, queued, two};
use demuxbuf::scheduler::{Outcome, Request, SchedulerConfig, TenantConfig};
use demuxbuf::shared::CACHE_MAX;

#[test]
fn shard_knows_its_index() {
    let (_shards, a, b) = two(&SchedulerConfig::new(1, 1));
    assert_eq!((a.index(), b.index()), (0, 1));
}

/// A shard that releases only keeps [`CACHE_MAX`] buffers; the next one takes all of them back.
#[test]
fn cache_is_emptied_by_the_release_after_the_last() {
    let (shards, a, b) = two(&SchedulerConfig::new(300, 8));
    let leases: Vec<_> = (0..300).map(|_| granted(&a, 0)).collect();
    assert_eq!(shards.stats().cached, 0);
    let mut cached = Vec::new();
    for lease in leases.into_iter().take(2 * (CACHE_MAX as usize + 1)) {
        b.release(lease).unwrap();
        cached.push(shards.stats().cached);
    }
    let once = (1..=CACHE_MAX).chain([0]);
    assert_eq!(cached, once.clone().chain(once).collect::<Vec<_>>());
}

/// They take nothing out of a cache: a shard that grants them adds no more to what it has.
#[test]
fn cache_does_not_grow_with_requests_of_tenants() {
    let (shards, a, _b) = two(&SchedulerConfig { tenants_max: 1, ..SchedulerConfig::new(1_000, 8) });
    let tenant = Some(a.create_tenant(&TenantConfig::default()).unwrap());
    for token in 0..10 {
        let outcome = a.request_for(&Request { tenant, ..Request::new(0, token) });
        assert!(matches!(outcome, Ok(Outcome::Granted(_))), "buffers are free");
        assert!((1..=CACHE_MAX).contains(&shards.stats().cached), "{:?}", shards.stats());
    }
    shards.check_invariants().unwrap();
}

#[test]
fn dropped_shard_leaves_its_cache_to_all() {
    let (shards, a, b) = two(&SchedulerConfig::new(64, 8));
    let lease = granted(&a, 0);
    a.release(lease).unwrap();
    assert!(shards.stats().cached > 0, "given: it has cached buffers");
    drop(a);
    assert_eq!((shards.stats().cached, shards.stats().scheduler.free), (0, 64));
    let _all: Vec<_> = (0..64).map(|_| granted(&b, 0)).collect();
    shards.check_invariants().unwrap();
}

/// Buffers that one shard takes out of the cache of another count among those that are held at once.
#[test]
fn lease_peak_counts_buffers_from_another_cache() {
    let (shards, a, b) = two(&SchedulerConfig::new(20, 8));
    let lease = granted(&a, 0);
    a.release(lease).unwrap();
    let cached = shards.stats().cached;
    assert!(cached >= 5, "given: a shard has cached {cached}");
    let leases: Vec<_> = (0..18).map(|_| granted(&b, 0)).collect();
    leases.into_iter().for_each(|lease| b.release(lease).unwrap());
    let stats = shards.stats();
    assert!(stats.scheduler.leased == 0 && stats.scheduler.leased_peak >= 18, "{stats:?}");
    shards.check_invariants().unwrap();
}

/// A wait that was served during its export: the shard that imports it has a lease's time to look, and loses the grant
/// if it does not.
#[test]
fn s58_imported_grant_passes_on_after_a_lease() {
    let config = SchedulerConfig { park_ns: Some(250), lease_ns: Some(1000), ..SchedulerConfig::new(1, 8) };
    let (shards, a, b) = two(&config);
    let at = |now_ns: u64| {
        a.handle_timeout(now_ns);
        a.poll_grant().map(|grant| grant.token)
    };
    assert_eq!(at(10), None);
    let lease = granted(&a, 0);
    let moves = queued(&a, 0, 1);
    queued(&a, 0, 2);
    a.export_wait(moves).unwrap();
    a.release(lease).unwrap();
    for now_ns in (10..5_010).step_by(125) {
        assert_eq!(at(now_ns), None, "no shard has the grant at {now_ns} ns");
        assert!(a.describe_wait(moves).unwrap().is_assigned);
    }
    assert_eq!(at(5_010), None);
    b.handle_timeout(5_010);
    b.import_wait(moves, 3).unwrap();
    for now_ns in (5_010..6_010).step_by(125) {
        assert_eq!(at(now_ns), None, "the shard may look at {now_ns} ns");
    }
    assert_eq!(at(6_010), Some(2), "it did not look");
    shards.check_invariants().unwrap();
}
