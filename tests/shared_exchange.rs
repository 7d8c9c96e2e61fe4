//! Waits that a shard queues itself, on one thread: which buffers go to them without the lock, and how often they pass
//! others.

mod common;

use common::shards::{granted, queued, timed, two};
use demuxbuf::scheduler::{LeaseId, Outcome, Request, SchedulerConfig, SchedulerError, TenantConfig, WaitId};
use demuxbuf::shared::{EXCHANGES_MAX, SchedulerShard, SharedScheduler, SharedSchedulerError};
use fastrand::Rng;
use std::collections::BTreeMap;

/// Releases, and whether it took the lock.
fn release(shards: &SharedScheduler, shard: &SchedulerShard, lease: LeaseId) -> bool {
    let before = shards.stats().locked;
    shard.release(lease).unwrap();
    let is_locked = shards.stats().locked > before;
    shards.check_invariants().unwrap();
    is_locked
}

fn polled(shard: &SchedulerShard) -> Option<u64> {
    shard.poll_grant().map(|grant| grant.token)
}

/// A shard whose waits are the only ones hands its buffers over among them, first in, first out, without the lock.
#[test]
fn shard_alone_takes_no_lock() {
    let (shards, a, _b) = two(&SchedulerConfig::new(1, 64));
    let mut lease = granted(&a, 0);
    for token in 0..3 {
        queued(&a, 0, token);
    }
    let before = shards.stats().locked;
    for token in 0..100 {
        a.release(lease).unwrap();
        let grant = a.poll_grant().unwrap();
        assert_eq!((grant.token, a.poll_grant(), a.poll_wake()), (token, None, None));
        lease = grant.lease;
        queued(&a, 0, token + 3);
        shards.check_invariants().unwrap();
    }
    let stats = shards.stats();
    // The rights to begin waits are taken several at a time.
    assert!(stats.locked - before < 8, "{stats:?}");
    let scheduler = stats.scheduler;
    assert_eq!((scheduler.waiting, scheduler.granted_by_handoff, scheduler.queued), (3, 100, 103));
    assert_eq!(scheduler.waiting_peak, 3);
}

/// While another shard waits, it gets a buffer after [`EXCHANGES_MAX`] exchanges, and again after as many.
#[test]
fn other_shard_is_served_after_a_burst() {
    let (shards, a, b) = two(&SchedulerConfig::new(1, 256));
    let lease = granted(&a, 0);
    for token in 0..100 {
        queued(&a, 0, token);
    }
    // Behind all of them.
    queued(&b, 0, 1000);
    queued(&b, 0, 1001);
    let (mut lease, mut order) = (Some(lease), Vec::new());
    while let Some(held) = lease.take() {
        let is_locked = release(&shards, &a, held);
        let of_a = a.poll_grant();
        let grant = of_a.or_else(|| b.poll_grant()).unwrap();
        order.push((grant.token, is_locked));
        lease = (order.len() < 120).then_some(grant.lease).filter(|_| shards.stats().scheduler.waiting > 0);
    }
    let locked: Vec<_> = (0..).zip(&order).filter(|(_, (_, is_locked))| *is_locked).map(|(at, _)| at).collect();
    let step = EXCHANGES_MAX as usize + 1;
    assert_eq!(locked[..3], [step - 1, 2 * step - 1, 3 * step - 1], "{order:?}");
    // The common queue goes by age: those of the first shard were there before.
    assert_eq!(
        order.iter().map(|(token, _)| *token).collect::<Vec<_>>(),
        (0..100).chain([1000, 1001]).collect::<Vec<_>>()
    );
}

/// Requests that came behind those of another shard pass them [`EXCHANGES_MAX`] times in a row, not more.
#[test]
fn newcomers_pass_another_shard_in_bursts() {
    let (shards, a, b) = two(&SchedulerConfig::new(1, 64));
    let mut lease = granted(&a, 0);
    let first = queued(&b, 0, 1000);
    for token in 0..2 {
        queued(&a, 0, token);
    }
    for token in 0..u64::from(EXCHANGES_MAX) {
        assert!(!release(&shards, &a, lease), "{token}");
        assert_eq!(b.describe_wait(first).unwrap().bypasses, 0, "as far as the common queue knows");
        let grant = a.poll_grant().unwrap();
        assert_eq!(grant.token, token);
        lease = grant.lease;
        queued(&a, 0, token + 2);
    }
    assert!(release(&shards, &a, lease));
    assert_eq!((polled(&a), b.poll_grant().map(|grant| grant.wait)), (None, Some(first)));
    assert_eq!(shards.stats().scheduler.bypass_peak, u64::from(EXCHANGES_MAX), "it was counted");
}

/// A buffer goes to the common queue while a more critical class or a tenant waits there, and while a reserve is not
/// whole.
#[test]
fn exchange_passes_no_class_no_tenant_and_no_reserve() {
    let mut config = SchedulerConfig { classes: 3, tenants_max: 1, ..SchedulerConfig::new(4, 64) };
    config.reserves[2] = 1;
    config.class_caps[1] = 1;
    let (shards, a, b) = two(&config);
    let mut leases: Vec<_> = (0..4).map(|_| granted(&a, 0)).collect();
    for token in 0..8 {
        queued(&a, 0, token);
    }
    assert!(!release(&shards, &a, leases.pop().unwrap()), "given: it is exchanged");
    assert_eq!(polled(&a), Some(0));

    // A tenant.
    let tenant = b.create_tenant(&TenantConfig::default()).unwrap();
    let of_tenant = Request { tenant: Some(tenant), ..Request::new(0, 500) };
    let Ok(Outcome::Queued(wait)) = b.request_for(&of_tenant) else { panic!("none is free") };
    assert!(release(&shards, &a, leases.pop().unwrap()), "the tenants take turns");
    b.cancel(wait).unwrap();
    while a.poll_grant().is_some() || b.poll_grant().is_some() {}

    // A class with a reserve has what is beyond it.
    let (shards, a, _b) = two(&config);
    let mut leases: Vec<_> = (0..4).map(|_| granted(&a, 0)).collect();
    for token in 0..3 {
        queued(&a, 2, token);
    }
    assert!(release(&shards, &a, leases.pop().unwrap()), "the first is the reserve");
    assert_eq!((shards.stats().scheduler.free, polled(&a)), (1, None));
    assert!(!release(&shards, &a, leases.pop().unwrap()), "the reserve is whole");
    assert_eq!((shards.stats().scheduler.free, polled(&a)), (1, Some(0)));

    // A more critical class of another shard.
    let config = SchedulerConfig { classes: 2, ..SchedulerConfig::new(2, 64) };
    let (shards, a, b) = two(&config);
    let leases: Vec<_> = (0..2).map(|_| granted(&a, 0)).collect();
    for token in 0..3 {
        queued(&a, 1, token);
    }
    queued(&b, 0, 7);
    assert!(release(&shards, &a, leases[0]));
    assert_eq!((polled(&a), polled(&b)), (None, Some(7)));
    assert!(!release(&shards, &a, leases[1]), "it waits no more");
    assert_eq!(polled(&a), Some(0));
}

/// Waits of a class with a cap stay in the common queue, and a buffer of that class returns there.
#[test]
fn capped_class_is_counted_in_one_place() {
    let mut config = SchedulerConfig { classes: 2, ..SchedulerConfig::new(4, 64) };
    config.class_caps[1] = 2;
    let (shards, a, _b) = two(&config);
    let capped = [granted(&a, 1), granted(&a, 1)];
    let free = [granted(&a, 0), granted(&a, 0)];
    for token in 0..3 {
        queued(&a, 0, token);
        queued(&a, 1, 10 + token);
    }
    assert!(release(&shards, &a, capped[0]), "it is counted");
    assert_eq!(polled(&a), Some(0), "the more critical class goes first");
    assert_eq!(shards.stats().scheduler.outstanding_by_class[..2], [3, 1]);
    assert!(!release(&shards, &a, free[0]));
    assert_eq!(polled(&a), Some(1));
}

/// Any shard ends and describes the waits of another; the last one takes its placeholder along.
#[test]
fn other_shards_cancel_and_describe_own_waits() {
    let (shards, a, b) = two(&SchedulerConfig::new(2, 64));
    let leases = [granted(&a, 0), granted(&a, 0)];
    a.handle_timeout(100);
    let waits: Vec<_> = (0..4).map(|token| queued(&a, 0, token)).collect();
    a.handle_timeout(150);
    assert!(!release(&shards, &a, leases[0]));
    let infos: Vec<_> = waits.iter().map(|&wait| b.describe_wait(wait).unwrap()).collect();
    assert_eq!(
        infos.iter().map(|info| (info.token, info.is_assigned)).collect::<Vec<_>>(),
        [(0, true), (1, false), (2, false), (3, false)]
    );
    assert_eq!(infos.iter().map(|info| info.bypasses).collect::<Vec<_>>(), [0, 1, 1, 1]);
    b.cancel(waits[1]).unwrap();
    // It had a buffer, which the next one has.
    b.cancel(waits[0]).unwrap();
    shards.check_invariants().unwrap();
    assert_eq!(polled(&a), Some(2));
    b.cancel(waits[3]).unwrap();
    let stale = Err(SharedSchedulerError::Scheduler(SchedulerError::StaleWait));
    for &wait in &waits {
        assert_eq!((b.cancel(wait), b.describe_wait(wait).map(|_| ())), (stale, stale));
    }
    let stats = shards.stats();
    assert_eq!((stats.scheduler.waiting, stats.scheduler.cancelled, stats.scheduler.leased), (0, 3, 2));
    a.release(leases[1]).unwrap();
    assert_eq!(shards.stats().scheduler.free, 1);
    shards.check_invariants().unwrap();
}

/// A wait that moves keeps its number and its place by age, and is served where it is.
#[test]
fn own_wait_that_moves_keeps_its_place() {
    let (shards, a, b) = two(&SchedulerConfig::new(1, 64));
    let lease = granted(&b, 0);
    let waits: Vec<_> = (0..3).map(|token| queued(&a, 0, token)).collect();
    queued(&b, 0, 10);
    for at in [1, 0] {
        a.export_wait(waits[at]).unwrap();
        shards.check_invariants().unwrap();
        b.import_wait(waits[at], 20 + at as u64).unwrap();
    }
    let mut order = Vec::new();
    let mut lease = Some(lease);
    while let Some(held) = lease.take() {
        b.release(held).unwrap();
        shards.check_invariants().unwrap();
        let grant = a.poll_grant().or_else(|| b.poll_grant());
        order.extend(grant.map(|grant| (grant.token, waits.iter().position(|&wait| wait == grant.wait))));
        lease = grant.map(|grant| grant.lease);
    }
    assert_eq!(order, [(20, Some(0)), (21, Some(1)), (2, Some(2)), (10, None)]);
    assert_eq!(b.describe_wait(waits[0]).map(|_| ()), Err(SharedSchedulerError::Scheduler(SchedulerError::StaleWait)));
    // Assigned, and then moved.
    let lease = granted(&a, 0);
    let moves = queued(&a, 0, 30);
    queued(&a, 0, 31);
    assert!(!release(&shards, &a, lease));
    a.export_wait(moves).unwrap();
    assert_eq!((polled(&a), shards.check_invariants()), (None, Ok(())));
    b.import_wait(moves, 40).unwrap();
    assert_eq!(b.poll_grant().map(|grant| (grant.token, grant.wait)), Some((40, moves)));
    shards.check_invariants().unwrap();
}

/// All waits of the configuration can be had, whichever shards had some before.
#[test]
fn unused_waits_of_one_shard_are_had_by_others() {
    let (shards, a, b) = two(&SchedulerConfig::new(1, 40));
    let lease = granted(&a, 0);
    let of_a: Vec<_> = (0..20).map(|token| queued(&a, 0, token)).collect();
    of_a.into_iter().for_each(|wait| b.cancel(wait).unwrap());
    for token in 0..40 {
        queued(&b, 0, token);
        shards.check_invariants().unwrap();
    }
    let full = Err(SharedSchedulerError::Scheduler(SchedulerError::WaitersFull { waiters_max: 40 }));
    assert_eq!((a.request(0, 1), b.request(0, 1)), (full, full));
    a.release(lease).unwrap();
    let grant = b.poll_grant().unwrap();
    queued(&a, 0, 50);
    assert_eq!(b.request(0, 1), full);
    drop(b);
    assert_eq!((shards.stats().scheduler.waiting, shards.stats().scheduler.cancelled), (1, 20 + 39));
    for token in 51..90 {
        queued(&a, 0, token);
    }
    assert_eq!(a.request(0, 1), full);
    a.release(grant.lease).unwrap();
    shards.check_invariants().unwrap();
}

/// A shard that does not look loses buffers that it exchanged before, as any other grant.
#[test]
fn s58_exchanged_grant_passes_on_after_a_lease() {
    let (shards, a, b) = timed(&SchedulerConfig::new(1, 64));
    let lease = granted(&a, 0);
    let waits: Vec<_> = (0..3).map(|token| queued(&a, 0, token)).collect();
    queued(&b, 0, 9);
    assert!(!release(&shards, &a, lease));
    for now_ns in (10..1_010).step_by(125) {
        b.handle_timeout(now_ns);
        assert_eq!(polled(&b), None, "at {now_ns} ns");
    }
    b.handle_timeout(1_010);
    let grant = b.poll_grant().expect("the other one did not look");
    shards.check_invariants().unwrap();
    assert_eq!((grant.token, waits.iter().filter(|&&wait| b.describe_wait(wait).unwrap().is_assigned).count()), (9, 0));
    b.release(grant.lease).unwrap();
    assert!(a.poll_grant().is_some());
    shards.check_invariants().unwrap();
}

/// The only wait of a shard that does not look loses its buffer too, and has one when it is its turn again.
#[test]
fn lapsed_grant_of_an_only_wait_comes_back() {
    let (shards, a, b) = timed(&SchedulerConfig::new(1, 64));
    let lease = granted(&a, 0);
    queued(&a, 0, 0);
    queued(&b, 0, 9);
    a.release(lease).unwrap();
    let mut ticks = (10..4_010).step_by(125).map(|now_ns| b.handle_timeout(now_ns));
    let grant = ticks.find_map(|()| b.poll_grant()).expect("the other one did not look");
    assert_eq!((grant.token, shards.stats().scheduler.waiting), (9, 1));
    b.release(grant.lease).unwrap();
    shards.check_invariants().unwrap();
    assert_eq!(polled(&a), Some(0));
}

/// A wait that is served by an exchange was passed by grants of the common queue before.
#[test]
fn exchange_counts_how_often_its_wait_was_passed() {
    let (shards, a, b) = two(&SchedulerConfig { classes: 2, ..SchedulerConfig::new(2, 64) });
    let [of_a, of_b] = [&a, &b].map(|shard| granted(shard, 0));
    (0..2).for_each(|token| _ = queued(&a, 1, token));
    queued(&b, 0, 9);
    b.release(of_b).unwrap();
    assert_eq!((polled(&b), shards.stats().scheduler.bypass_peak), (Some(9), 0));
    assert!(!release(&shards, &a, of_a), "given: it is exchanged");
    assert_eq!((polled(&a), shards.stats().scheduler.bypass_peak), (Some(0), 1));
}

/// A shard has a grant of a wait that it queued itself and one of the common queue: it picks up both, and then takes no
/// lock to look for others.
#[test]
fn own_grants_and_others_are_picked_up() {
    let mut config = SchedulerConfig { classes: 2, ..SchedulerConfig::new(2, 64) };
    config.class_caps[1] = 1;
    let (shards, a, b) = two(&config);
    let leases = [granted(&a, 0), granted(&a, 1)];
    [0, 1].into_iter().for_each(|class| _ = queued(&a, class, class.into()));
    leases.into_iter().for_each(|lease| b.release(lease).unwrap());
    let grants: Vec<_> = std::iter::from_fn(|| a.poll_grant()).collect();
    assert_eq!(grants.iter().map(|grant| grant.token).collect::<Vec<_>>(), [0, 1]);
    (2..5).for_each(|token| _ = queued(&a, 0, token));
    let before = shards.stats().locked;
    assert!(!release(&shards, &a, grants[0].lease));
    assert_eq!((polled(&a), polled(&a), shards.stats().locked), (Some(2), None, before));
}

/// Once no shard is made any more, requests behind others of their shard are refused too; those are served.
#[test]
fn closed_pool_refuses_requests_behind_others() {
    let (shards, a, _b) = two(&SchedulerConfig::new(1, 64));
    let lease = granted(&a, 0);
    (0..2).for_each(|token| _ = queued(&a, 0, token));
    drop(shards);
    assert_eq!(a.request(0, 2), Err(SharedSchedulerError::Closed));
    a.release(lease).unwrap();
    assert_eq!(polled(&a), Some(0));
}

/// A wait of the test's own count: how many grants of others it could have had.
struct Waiter {
    class: u8,
    bypasses: u64,
}

/// Whatever shards release, request, cancel and poll, no waiter is bypassed more often than *W*.
fn bypasses_at_most(config: &SchedulerConfig, count: u32, seed: u64, steps: u32) -> u64 {
    let shards = SharedScheduler::new(config, count).unwrap();
    let handles: Vec<_> = (0..count).map(|index| shards.shard(index).unwrap()).collect();
    let (mut rng, bound) = (Rng::with_seed(seed), shards.bypass_bound());
    let (mut waiters, mut held, mut peak) = (BTreeMap::<WaitId, Waiter>::new(), Vec::new(), 0);
    for step in 0..steps {
        // The first shard has most of the work, and the last one never releases.
        let at = if rng.bool() { 0 } else { rng.usize(..handles.len()) };
        for _ in 0..2 {
            let class = rng.u8(..config.classes);
            match handles[at].request(class, step.into()) {
                Ok(Outcome::Granted(lease)) => held.push(lease),
                Ok(Outcome::Queued(wait)) => drop(waiters.insert(wait, Waiter { class, bypasses: 0 })),
                Err(error) => assert_eq!(error.to_string(), format!("all {} waits are in use", config.waiters_max)),
            }
        }
        if rng.u32(..16) == 0 {
            let nth = rng.usize(..waiters.len().max(1));
            if let Some(wait) = waiters.keys().nth(nth).copied() {
                handles[at].cancel(wait).unwrap();
                waiters.remove(&wait);
            }
        }
        if !held.is_empty() {
            let at = at.min(handles.len() - 2);
            handles[at].release(held.swap_remove(rng.usize(..held.len()))).unwrap();
        }
        for shard in &handles {
            while let Some(grant) = shard.poll_grant() {
                waiters.remove(&grant.wait).expect("it waited");
                held.push(grant.lease);
                let free = shards.stats().scheduler.free;
                for waiter in waiters.values_mut().filter(|waiter| free >= config.reserves[usize::from(waiter.class)]) {
                    waiter.bypasses += 1;
                    peak = peak.max(waiter.bypasses);
                }
            }
        }
        assert!(peak <= bound, "seed {seed}, step {step}: {peak} grants bypass a waiter; W is {bound}");
        if step % 64 == 0 {
            shards.check_invariants().unwrap();
        }
    }
    peak
}

#[test]
fn bypass_bound_holds_across_shards() {
    let mut classes = SchedulerConfig { classes: 3, class_burst: 2, ..SchedulerConfig::new(3, 12) };
    classes.reserves[2] = 1;
    for config in [SchedulerConfig::new(2, 8), SchedulerConfig::new(5, 40), classes] {
        for seed in 0..8 {
            let peak = bypasses_at_most(&config, 2 + seed as u32 % 3, seed, 3_000);
            assert!(peak > u64::from(EXCHANGES_MAX), "given: shards exchange past waiters: {peak}");
        }
    }
}
