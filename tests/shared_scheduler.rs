//! The shards: what each call does, on one thread; then threads against each other.
#![allow(clippy::disallowed_methods, reason = "a test may start threads")]

mod common;

use common::shards::{granted, queued};
use demuxbuf::scheduler::{Grant, LeaseId, Scheduler, SchedulerConfig, SchedulerError, TenantConfig};
use demuxbuf::shared::SchedulerShard;
use demuxbuf::shared::{CACHE_MAX, EXCHANGES_MAX, EXPORTS_MAX, SharedScheduler, SharedSchedulerError};

/// Shards of a pool of this many buffers, and two of their handles.
fn two(buffers: u32) -> (SharedScheduler, SchedulerShard, SchedulerShard) {
    common::shards::two(&SchedulerConfig { tag: 3, ..SchedulerConfig::new(buffers, 8) })
}

#[test]
fn stale_foreign_or_forged_lease_is_refused() {
    let (shards, a, b) = two(2);
    let (_other, c, _d) = {
        let other = SharedScheduler::new(&SchedulerConfig { tag: 4, ..SchedulerConfig::new(2, 8) }, 2).unwrap();
        let (c, d) = (other.shard(0).unwrap(), other.shard(1).unwrap());
        (other, c, d)
    };
    let (mine, foreign) = (granted(&a, 0), granted(&c, 0));
    let stale = SharedSchedulerError::Scheduler(SchedulerError::StaleLease);
    assert_eq!(a.release(foreign), Err(stale));
    assert_eq!(a.release(LeaseId::from_bits(u64::MAX)), Err(stale));
    assert_eq!(b.release(mine), Ok(()));
    for shard in [&a, &b] {
        assert_eq!(shard.release(mine), Err(stale));
        assert_eq!(shard.check_lease(mine), Err(stale));
    }
    let again = granted(&a, 0);
    assert_eq!(a.check_lease(again), Ok(()));
    assert_eq!((a.stats().scheduler.leased, a.stats().scheduler.free, a.stats().scheduler.refused), (1, 1, 4));
    shards.check_invariants().unwrap();
}

/// The hard cap holds across all shards, and a request finds a buffer that another shard caches.
#[test]
fn hard_cap_holds_and_cached_buffers_are_found() {
    let (shards, a, b) = two(8);
    let all: Vec<_> = (0..8).map(|_| granted(&a, 0)).collect();
    queued(&b, 0, 1);
    for &lease in &all {
        a.release(lease).unwrap();
    }
    assert_eq!(b.poll_grant().unwrap().token, 1);
    let leases: Vec<_> = (0..7).map(|_| granted(&b, 0)).collect();
    assert_eq!(leases.len(), 7);
    assert_eq!(shards.stats().scheduler.free, 0);
    queued(&b, 0, 2);
    shards.check_invariants().unwrap();
}

#[test]
fn common_path_takes_no_lock() {
    let (shards, a, b) = two(64);
    for shard in [&a, &b] {
        let lease = granted(shard, 0);
        shard.release(lease).unwrap();
    }
    let locked = shards.stats().locked;
    for _ in 0..100 {
        let leases: Vec<_> = (0..10).map(|_| (granted(&a, 0), granted(&b, 0))).collect();
        for (of_a, of_b) in leases {
            b.release(of_b).unwrap();
            a.release(of_a).unwrap();
        }
        assert_eq!((a.poll_grant(), a.poll_wake()), (None, None));
    }
    assert_eq!(shards.stats().locked, locked);
    assert_eq!(shards.stats().scheduler.granted_at_once, 2 + 2000);
    shards.check_invariants().unwrap();
}

/// The peak of leases is exact for one shard and for an exhausted pool, and never too low.
#[test]
fn lease_peak_is_never_too_low() {
    let shards = SharedScheduler::new(&SchedulerConfig::new(64, 8), 1).unwrap();
    let a = shards.shard(0).unwrap();
    for (count, peak) in [(3, 3), (2, 3), (40, 40), (39, 40)] {
        let leases: Vec<_> = (0..count).map(|_| granted(&a, 0)).collect();
        assert_eq!(shards.stats().scheduler.leased_peak, peak);
        leases.into_iter().for_each(|lease| a.release(lease).unwrap());
    }
    // Both cache some, and the order in which they take them is not defined.
    let (shards, a, b) = two(64);
    for shard in [&a, &b] {
        let leases: Vec<_> = (0..10).map(|_| granted(shard, 0)).collect();
        leases.into_iter().for_each(|lease| shard.release(lease).unwrap());
    }
    assert_eq!((shards.stats().scheduler.leased_peak, shards.stats().scheduler.leased), (20, 0));
    let (shards, a, b) = two(8);
    let held: Vec<_> = (0..7).map(|_| granted(&a, 0)).collect();
    a.release(held[0]).unwrap();
    b.release(held[1]).unwrap();
    assert_eq!(shards.stats().scheduler.leased_peak, 7);
    for _ in 0..3 {
        granted(&b, 0);
    }
    queued(&b, 0, 1);
    assert_eq!(shards.stats().scheduler.leased_peak, 8);
}

#[test]
fn cache_of_a_releasing_shard_is_bounded() {
    let (shards, a, b) = two(300);
    let leases: Vec<_> = (0..300).map(|_| granted(&a, 0)).collect();
    for lease in leases {
        b.release(lease).unwrap();
        assert!(shards.stats().cached <= CACHE_MAX);
    }
    assert_eq!(shards.stats().scheduler.free, 300);
    shards.check_invariants().unwrap();
}

#[test]
fn reserve_holds_across_all_shards() {
    let mut config = SchedulerConfig { classes: 2, ..SchedulerConfig::new(4, 8) };
    config.reserves[1] = 2;
    let shards = SharedScheduler::new(&config, 2).unwrap();
    let (a, b) = (shards.shard(0).unwrap(), shards.shard(1).unwrap());
    let (first, _second) = (granted(&a, 1), granted(&b, 1));
    let wait = queued(&b, 1, 9);
    shards.check_invariants().unwrap();
    // A release by another holder reaches the waiter although it leaves no more than the reserve.
    a.release(first).unwrap();
    assert_eq!(b.poll_grant().map(|grant| grant.wait), Some(wait));
    let critical = [granted(&a, 0), granted(&b, 0)];
    queued(&a, 1, 10);
    // A release makes the reserve whole before it serves the class.
    for lease in critical {
        a.release(lease).unwrap();
        assert_eq!(a.poll_grant(), None);
    }
    shards.check_invariants().unwrap();
}

#[test]
fn capped_class_does_not_slow_other_classes() {
    let mut config = SchedulerConfig { classes: 2, ..SchedulerConfig::new(16, 8) };
    config.class_caps[1] = 2;
    let shards = SharedScheduler::new(&config, 2).unwrap();
    let (a, b) = (shards.shard(0).unwrap(), shards.shard(1).unwrap());
    let (first, _second) = (granted(&a, 1), granted(&b, 1));
    let wait = queued(&b, 1, 9);
    let warm = granted(&a, 0);
    a.release(warm).unwrap();
    let locked = shards.stats().locked;
    for _ in 0..10 {
        let lease = granted(&a, 0);
        a.release(lease).unwrap();
    }
    assert_eq!(
        shards.stats().locked,
        locked,
        "a waiter that no free buffer would help makes no other shard take the lock"
    );
    shards.check_invariants().unwrap();
    a.release(first).unwrap();
    assert_eq!(b.poll_grant().map(|grant| grant.wait), Some(wait));
    assert_eq!(shards.stats().scheduler.outstanding_by_class[..2], [0, 2]);
    shards.check_invariants().unwrap();
}

#[test]
fn class_cap_of_all_buffers_blocks_no_waiter() {
    let mut config = SchedulerConfig::new(1, 8);
    config.class_caps[0] = 1;
    let shards = SharedScheduler::new(&config, 2).unwrap();
    let (a, b) = (shards.shard(0).unwrap(), shards.shard(1).unwrap());
    let lease = granted(&a, 0);
    queued(&b, 0, 9);
    a.release(lease).unwrap();
    assert_eq!(b.poll_grant().map(|grant| grant.token), Some(9));
    shards.check_invariants().unwrap();
}

#[test]
fn poll_wake_names_a_shard_once_until_it_polls() {
    let (shards, a, b) = two(3);
    let leases: Vec<_> = (0..3).map(|_| granted(&a, 0)).collect();
    for token in 0..3 {
        queued(&b, 0, token);
    }
    a.release(leases[0]).unwrap();
    a.release(leases[1]).unwrap();
    assert_eq!((a.poll_wake(), a.poll_wake()), (Some(1), None));
    a.release(leases[2]).unwrap();
    assert_eq!(a.poll_wake(), None, "it was named and has not polled");
    let grants: Vec<_> = std::iter::from_fn(|| b.poll_grant()).map(|grant| grant.token).collect();
    assert_eq!(grants, [0, 1, 2]);
    let stats = shards.stats();
    assert_eq!((stats.wakes, stats.scheduler.granted_by_handoff, stats.scheduler.leased), (1, 3, 3));
    shards.check_invariants().unwrap();
}

#[test]
fn poll_wake_skips_a_shard_that_polled() {
    let (shards, a, b) = two(1);
    let lease = granted(&a, 0);
    queued(&b, 0, 1);
    a.release(lease).unwrap();
    let Grant { lease, .. } = b.poll_grant().unwrap();
    assert_eq!(b.poll_grant(), None);
    assert_eq!(a.poll_wake(), None);
    // A grant to the releasing shard itself names no shard.
    queued(&b, 0, 2);
    b.release(lease).unwrap();
    assert_eq!((a.poll_wake(), b.poll_wake(), shards.poll_wake()), (None, None, None));
    assert_eq!(b.poll_grant().unwrap().token, 2);
}

#[test]
fn s06_dead_waiter_passes_its_buffer_across_shards() {
    let (shards, a, b) = two(1);
    let lease = granted(&a, 0);
    let dies = queued(&b, 0, 1);
    queued(&a, 0, 2);
    a.release(lease).unwrap();
    assert!(b.describe_wait(dies).unwrap().is_assigned);
    b.cancel(dies).unwrap();
    assert_eq!(b.cancel(dies), Err(SharedSchedulerError::Scheduler(SchedulerError::StaleWait)));
    assert_eq!(b.poll_wake(), Some(0));
    assert_eq!(a.poll_grant().unwrap().token, 2);
    assert_eq!(b.poll_grant(), None);
    shards.check_invariants().unwrap();
}

/// A lease needs no move: any shard may release it.
#[test]
fn s11_wait_moves_queued_or_assigned() {
    let (shards, a, b) = two(1);
    let lease = granted(&a, 0);
    let wait = queued(&a, 0, 7);
    assert_eq!(b.export_wait(wait), Err(SharedSchedulerError::WaitElsewhere));
    assert_eq!(b.import_wait(wait, 0), Err(SharedSchedulerError::WaitNotExported));
    // Moved while queued.
    a.export_wait(wait).unwrap();
    assert_eq!(a.export_wait(wait), Err(SharedSchedulerError::WaitElsewhere));
    b.import_wait(wait, 0).unwrap();
    assert_eq!(b.import_wait(wait, 0), Err(SharedSchedulerError::WaitNotExported));
    b.release(lease).unwrap();
    // Moved back while assigned.
    b.export_wait(wait).unwrap();
    assert_eq!((a.poll_grant(), b.poll_grant()), (None, None));
    shards.check_invariants().unwrap();
    a.import_wait(wait, 17).unwrap();
    let grant = a.poll_grant().unwrap();
    assert_eq!((grant.token, grant.wait), (17, wait), "the grant has the token of its last shard");
    assert_eq!(
        a.export_wait(wait),
        Err(SharedSchedulerError::Scheduler(SchedulerError::StaleWait)),
        "it was picked up"
    );
    // Served during the export.
    let wait = queued(&a, 0, 8);
    a.export_wait(wait).unwrap();
    a.release(grant.lease).unwrap();
    assert_eq!((a.poll_wake(), a.poll_grant()), (None, None));
    b.import_wait(wait, 18).unwrap();
    assert_eq!(b.poll_grant().unwrap().token, 18);
    // Cancelled during the export.
    let wait = queued(&a, 0, 9);
    a.export_wait(wait).unwrap();
    b.cancel(wait).unwrap();
    assert_eq!(b.import_wait(wait, 0), Err(SharedSchedulerError::Scheduler(SchedulerError::StaleWait)));
    shards.check_invariants().unwrap();
}

#[test]
fn shard_index_unknown_or_in_use_is_refused() {
    let (shards, a, _b) = two(2);
    assert_eq!(shards.shard(2).err(), Some(SharedSchedulerError::UnknownShard { index: 2, shards: 2 }));
    assert_eq!(shards.shard(0).err(), Some(SharedSchedulerError::ShardInUse { index: 0 }));
    drop(a);
    assert_eq!(shards.shard(0).map(|shard| shard.index()), Ok(0));
    for count in [0, 1025] {
        let error = SharedScheduler::new(&SchedulerConfig::new(1, 1), count).unwrap_err();
        assert_eq!(error.to_string(), format!("shards is {count}; allowed is 1 to 1024"));
    }
}

#[test]
fn refused_request_changes_nothing() {
    let (shards, a, b) = two(2);
    let locked_buffers = shards.stats().cached;
    let unknown = SchedulerError::UnknownClass { class: 9, classes: 1 };
    assert_eq!(a.request(9, 0), Err(SharedSchedulerError::Scheduler(unknown)));
    assert_eq!(shards.stats().cached, locked_buffers);
    let _leases = [granted(&a, 0), granted(&b, 0)];
    let waits: Vec<_> = (0..8).map(|token| queued(&a, 0, token)).collect();
    assert_eq!(b.request(0, 8), Err(SharedSchedulerError::Scheduler(SchedulerError::WaitersFull { waiters_max: 8 })));
    assert_eq!(shards.stats().scheduler.waiting, 8);
    for wait in waits {
        b.cancel(wait).unwrap();
    }
    assert_eq!(
        (shards.stats().scheduler.waiting, shards.stats().scheduler.cancelled, shards.stats().scheduler.refused),
        (0, 8, 2)
    );
    shards.check_invariants().unwrap();
}

#[test]
fn wait_info_lasts_until_the_pick_up() {
    let (_shards, a, b) = two(1);
    a.handle_timeout(1_000);
    let lease = granted(&a, 0);
    let first = queued(&b, 0, 1);
    let second = queued(&b, 0, 2);
    a.handle_timeout(5_000);
    a.handle_timeout(4_000);
    a.release(lease).unwrap();
    let info = a.describe_wait(first).unwrap();
    assert_eq!((info.token, info.age_ns, info.bypasses, info.is_assigned), (1, 4_000, 0, true));
    let info = a.describe_wait(second).unwrap();
    assert_eq!((info.token, info.age_ns, info.bypasses, info.is_assigned), (2, 4_000, 1, false));
    b.poll_grant().unwrap();
    assert_eq!(b.describe_wait(first), Err(SharedSchedulerError::Scheduler(SchedulerError::StaleWait)));
    assert_eq!(a.stats().scheduler.clock_backwards, 1);
}

#[test]
fn dropped_shard_leaves_nothing_behind() {
    let (shards, a, b) = two(4);
    let held: Vec<_> = (0..4).map(|_| granted(&a, 0)).collect();
    let gone = queued(&a, 0, 1);
    queued(&b, 0, 2);
    let also_gone = queued(&a, 0, 3);
    b.release(held[0]).unwrap();
    drop(a);
    assert_eq!(shards.poll_wake(), Some(1), "the buffer of the dropped shard goes to the next waiter");
    assert_eq!(b.poll_grant().unwrap().token, 2);
    for wait in [gone, also_gone] {
        assert_eq!(b.describe_wait(wait), Err(SharedSchedulerError::Scheduler(SchedulerError::StaleWait)));
    }
    let again = shards.shard(0).unwrap();
    assert_eq!(again.poll_grant(), None);
    for &lease in &held[1..] {
        again.release(lease).unwrap();
    }
    assert_eq!(shards.stats().scheduler.free, 3);
    shards.check_invariants().unwrap();
}

/// A shard that is dropped ends its waits in pieces, between which other threads get at the pool. It looks for waits
/// only while it has some, however large the table is.
#[test]
fn s80_dropped_shard_ends_waits_in_pieces() {
    const WAITS: u64 = 500;
    let shards = SharedScheduler::new(&SchedulerConfig::new(1, 100_000), 2).unwrap();
    let (a, b) = (shards.shard(0).unwrap(), shards.shard(1).unwrap());
    let lease = granted(&b, 0);
    let of_b = queued(&b, 0, 7);
    for token in 0..WAITS {
        queued(&a, 0, token);
    }
    b.cancel(of_b).unwrap();
    queued(&b, 0, 8);
    // Assigned to the first wait of the shard that is dropped.
    b.release(lease).unwrap();
    let before = shards.stats();
    drop(a);
    let after = shards.stats();
    let pieces = after.locked - before.locked;
    assert!((WAITS / 64..WAITS).contains(&pieces), "{pieces} pieces for {WAITS} waits");
    assert_eq!((after.scheduler.cancelled - before.scheduler.cancelled, after.scheduler.waiting), (WAITS, 0));
    assert_eq!((shards.poll_wake(), b.poll_grant().unwrap().token), (Some(1), 8));
    shards.check_invariants().unwrap();

    let a = shards.shard(0).unwrap();
    let before = shards.stats().locked;
    drop(a);
    assert_eq!(shards.stats().locked - before, 1);
}

/// After the pool is dropped, calls return an error, and what is held can still be released.
#[test]
fn dropped_pool_refuses_calls_and_takes_releases() {
    let (shards, a, b) = two(4);
    let held: Vec<_> = (0..4).map(|_| granted(&a, 0)).collect();
    queued(&b, 0, 2);
    let dies = queued(&b, 0, 3);
    drop(shards);
    assert_eq!(a.request(0, 0), Err(SharedSchedulerError::Closed));
    a.release(held[0]).unwrap();
    assert_eq!(a.release(held[0]), Err(SharedSchedulerError::Scheduler(SchedulerError::StaleLease)));
    assert_eq!((a.poll_wake(), b.poll_grant().map(|grant| grant.token)), (Some(1), Some(2)));
    b.cancel(dies).unwrap();
    for &lease in &held[1..] {
        a.release(lease).unwrap();
        assert_eq!(a.request(0, 0), Err(SharedSchedulerError::Closed), "not even what was just released is granted");
    }
    drop(a);
    b.check_invariants().unwrap();
    assert_eq!(b.stats().scheduler.free, 3);
}

#[test]
fn wrong_thread_is_refused_by_a_bound_shard() {
    let (_shards, a, b) = two(1);
    a.bind_thread();
    assert_eq!(a.check_thread(), Ok(()));
    std::thread::spawn(move || {
        assert_eq!(a.check_thread(), Err(SharedSchedulerError::WrongThread));
        assert_eq!(b.check_thread(), Ok(()), "it is bound to no thread");
        a.bind_thread();
        assert_eq!(a.check_thread(), Ok(()));
    })
    .join()
    .unwrap();
}

#[test]
fn config_error_names_single_thread_fields() {
    let config = SchedulerConfig { sizes: [2, 0, 1, 0], ..SchedulerConfig::new(4, 8) };
    let refused = SharedScheduler::new(&config, 2).map(|_| ()).unwrap_err();
    assert_eq!(refused.to_string(), "sizes[2] is 1; allowed is 0 to 0");
}

#[test]
fn export_of_waits_is_limited() {
    let shards = SharedScheduler::new(&SchedulerConfig::new(1, EXPORTS_MAX + 1), 2).unwrap();
    let (a, b) = (shards.shard(0).unwrap(), shards.shard(1).unwrap());
    let lease = granted(&a, 0);
    let waits: Vec<_> = (0..=EXPORTS_MAX).map(|token| queued(&a, 0, token.into())).collect();
    let (last, others) = waits.split_last().unwrap();
    for &wait in others {
        a.export_wait(wait).unwrap();
    }
    assert_eq!(a.export_wait(*last), Err(SharedSchedulerError::ExportsFull));
    b.import_wait(others[0], 0).unwrap();
    a.export_wait(*last).unwrap();
    assert_eq!(a.export_wait(*last), Err(SharedSchedulerError::WaitElsewhere));
    // A wait that is cancelled during its export is gone.
    b.cancel(*last).unwrap();
    b.export_wait(others[0]).unwrap();
    b.release(lease).unwrap();
    shards.check_invariants().unwrap();
}

/// One scheduler decides for all shards. For each of its grants there may be a burst of exchanges, and one more for
/// each shard.
#[test]
fn bypass_bound_is_of_one_scheduler_and_bursts() {
    for (count, waiters_max) in [(1, 6), (2, 6), (7, 0)] {
        let config = SchedulerConfig { classes: 3, ..SchedulerConfig::new(2, waiters_max) };
        let shards = SharedScheduler::new(&config, count).unwrap();
        let of_one = Scheduler::new(&config).unwrap().bypass_bound();
        let bound = of_one + u64::from(EXCHANGES_MAX) * (of_one + 1 + u64::from(count));
        assert_eq!((shards.bypass_bound(), shards.shard(0).unwrap().bypass_bound()), (bound, bound));
    }
}

/// It grows with the weight of a tenant, as that of one scheduler does.
#[test]
fn bypass_bound_grows_with_a_tenant() {
    let config = SchedulerConfig { tenants_max: 2, ..SchedulerConfig::new(2, 6) };
    let shards = SharedScheduler::new(&config, 2).unwrap();
    let before = shards.bypass_bound();
    shards.shard(0).unwrap().create_tenant(&TenantConfig { weight: 9, ..TenantConfig::default() }).unwrap();
    assert!(shards.bypass_bound() > before);
}
