//! Shards that are called and look, or do not: wake-ups, and grants of a shared scheduler that lapse; on one thread.

mod common;

use common::shards::{granted, queued, timed};
use demuxbuf::scheduler::{Outcome, SchedulerConfig, WaitId};
use demuxbuf::shared::{SchedulerShard, SharedScheduler};

/// Advances the clock in steps that count; the shard does not look.
fn advance(shard: &SchedulerShard, from_ns: u64, to_ns: u64) {
    for now_ns in (from_ns..to_ns).step_by(125).chain([to_ns]) {
        shard.handle_timeout(now_ns);
        // Each call that takes the lock passes the time on.
        let _ = shard.describe_wait(WaitId::from_bits(0));
    }
}

/// The clock goes as far as each of these steps, and the shard looks each time.
fn look(shard: &SchedulerShard, from_ns: u64, to_ns: u64) -> Vec<u64> {
    let mut tokens = Vec::new();
    for now_ns in (from_ns..to_ns).step_by(125).chain([to_ns]) {
        advance(shard, now_ns, now_ns);
        tokens.extend(std::iter::from_fn(|| shard.poll_grant()).map(|grant| grant.token));
    }
    tokens
}

/// A loop iteration of this shard in each eighth of a lease, up to this time.
fn look_until(shard: &SchedulerShard, until_ns: u64) {
    for now_ns in (10..until_ns).step_by(125) {
        shard.handle_timeout(now_ns);
        assert_eq!(shard.poll_grant(), None, "at {now_ns} ns");
    }
    shard.handle_timeout(until_ns);
}

/// A buffer that is assigned to a shard that does not poll goes to the next waiter after `lease_ns`.
#[test]
fn s58_grant_passes_on_when_a_shard_does_not_poll() {
    let (shards, a, b) = timed(&SchedulerConfig::new(1, 8));
    let lease = granted(&a, 0);
    let of_b = queued(&b, 0, 1);
    queued(&a, 0, 2);
    a.release(lease).unwrap();
    assert_eq!((a.poll_wake(), a.poll_grant()), (Some(1), None));
    look_until(&a, 1009);
    assert_eq!(a.poll_grant(), None);
    a.handle_timeout(1010);
    let grant = a.poll_grant().unwrap();
    assert_eq!((grant.token, a.poll_grant()), (2, None));
    shards.check_invariants().unwrap();
    // The wait queues again, and is served when the shard is back.
    let info = b.describe_wait(of_b).unwrap();
    assert_eq!((info.token, info.is_assigned, b.poll_grant()), (1, false, None));
    a.release(grant.lease).unwrap();
    let late = b.poll_grant().unwrap();
    assert_eq!((late.wait, late.token), (of_b, 1));
    b.release(late.lease).unwrap();
    assert_eq!(
        (shards.stats().scheduler.free, shards.stats().scheduler.queued, shards.stats().scheduler.granted_by_handoff),
        (1, 2, 2)
    );
    shards.check_invariants().unwrap();
}

/// A pause of the whole process takes nothing from a shard that had no chance to poll.
#[test]
fn s58_s53_pause_of_the_process_moves_no_grant() {
    let (shards, a, b) = timed(&SchedulerConfig::new(1, 8));
    let lease = granted(&a, 0);
    queued(&b, 0, 1);
    queued(&a, 0, 2);
    a.release(lease).unwrap();
    for shard in [&a, &b] {
        shard.handle_timeout(60_000_000_000);
    }
    assert_eq!((a.poll_grant(), b.poll_grant().map(|grant| grant.token)), (None, Some(1)));
    shards.check_invariants().unwrap();
}

/// The grant is passed on, however many waits of that shard come first; they keep their order.
#[test]
fn s58_waits_of_an_idle_shard_keep_their_order() {
    let (shards, a, b) = timed(&SchedulerConfig::new(3, 512));
    let leases = [granted(&a, 0), granted(&a, 0), granted(&a, 0)];
    for token in 0..300 {
        queued(&b, 0, token);
    }
    queued(&a, 0, 1000);
    for lease in leases {
        a.release(lease).unwrap();
    }
    look_until(&a, 1010);
    let grant = a.poll_grant().unwrap();
    assert_eq!((grant.token, a.poll_grant()), (1000, None));
    shards.check_invariants().unwrap();
    a.release(grant.lease).unwrap();
    b.handle_timeout(1010);
    let mut tokens = Vec::new();
    while let Some(grant) = b.poll_grant() {
        tokens.push(grant.token);
        b.release(grant.lease).unwrap();
    }
    tokens.sort_unstable();
    assert_eq!(tokens, (0..300).collect::<Vec<_>>());
    shards.check_invariants().unwrap();
}

/// A shard that polls within `lease_ns` loses nothing. Nor does a shard with grants for which no other waiter is
/// eligible.
#[test]
fn s58_grant_stays_with_a_shard_that_polls() {
    let (shards, a, b) = timed(&SchedulerConfig::new(2, 8));
    let leases = [granted(&a, 0), granted(&a, 0)];
    for token in 0..3 {
        queued(&b, 0, token);
    }
    queued(&a, 0, 9);
    for lease in leases {
        a.release(lease).unwrap();
    }
    for shard in [&a, &b] {
        shard.handle_timeout(900);
    }
    let first = b.poll_grant().unwrap();
    a.handle_timeout(1800);
    assert_eq!((first.token, a.poll_grant()), (0, None), "the other shard polled at 900");
    assert_eq!(b.poll_grant().unwrap().token, 1);

    // Requests wait, but behind the cap of their class.
    let config = SchedulerConfig { classes: 2, class_caps: [8, 1, 8, 8, 8, 8, 8, 8], ..SchedulerConfig::new(2, 8) };
    let (capped, a, b) = timed(&config);
    let Ok(Outcome::Granted(held)) = a.request(1, 0) else { panic!("a buffer is free") };
    let lease = granted(&a, 0);
    queued(&b, 0, 1);
    assert!(matches!(a.request(1, 2), Ok(Outcome::Queued(_))));
    a.release(lease).unwrap();
    look_until(&a, 1010);
    assert_eq!(a.poll_grant(), None);
    let locked = capped.stats().locked;
    assert_eq!((a.poll_grant(), capped.stats().locked - locked), (None, 0), "it is asked again after a lease");
    capped.check_invariants().unwrap();
    assert_eq!(b.poll_grant().unwrap().token, 1);
    a.release(held).unwrap();
    assert_eq!(a.poll_grant().unwrap().token, 2);

    // No other waits.
    let (alone, a, b) = timed(&SchedulerConfig::new(1, 8));
    let lease = granted(&a, 0);
    let waits = [queued(&b, 0, 1), queued(&b, 0, 2)];
    a.release(lease).unwrap();
    a.handle_timeout(5000);
    assert_eq!((a.poll_grant(), b.describe_wait(waits[0]).unwrap().is_assigned), (None, true));
    for scheduler in [&shards, &alone] {
        scheduler.check_invariants().unwrap();
    }
}

/// The lease of a grant runs from when its shard was called, or looked last, not from when it was called before.
#[test]
fn s58_lease_of_a_grant_begins_with_its_call() {
    let (shards, a, b) = timed(&SchedulerConfig::new(2, 8));
    let leases = [granted(&a, 0), granted(&a, 0)];
    advance(&a, 10, 5_010);
    queued(&b, 0, 1);
    queued(&b, 0, 2);
    queued(&a, 0, 3);
    leases.into_iter().for_each(|lease| a.release(lease).unwrap());
    assert_eq!(look(&a, 5_010, 5_910), [0; 0], "it was called at 5,010");
    b.handle_timeout(5_910);
    assert_eq!(b.poll_grant().map(|grant| grant.token), Some(1));
    assert_eq!(look(&a, 5_910, 6_909), [0; 0], "it looked at 5,910");
    assert_eq!(look(&a, 6_909, 6_910), [3]);
    shards.check_invariants().unwrap();
}

/// Taking grants from a shard that does not look is a few calls' work, and is not done again before another lease.
#[test]
fn s58_taking_overdue_grants_takes_the_lock_seldom() {
    let (shards, a, b) = timed(&SchedulerConfig::new(1, 8));
    let lease = granted(&a, 0);
    queued(&b, 0, 1);
    queued(&a, 0, 2);
    a.release(lease).unwrap();
    assert_eq!(look(&a, 10, 1_009), [0; 0]);
    a.handle_timeout(1_010);
    let before = shards.stats().locked;
    assert_eq!(a.poll_grant().map(|grant| grant.token), Some(2));
    let calls = shards.stats().locked - before;
    assert!(calls <= 3, "{calls} calls took the lock");
    shards.check_invariants().unwrap();
}

/// What no wait of a shard that looks could have is not taken: nothing changes, and few calls take the lock.
#[test]
fn s58_grant_of_no_use_to_others_stays() {
    let mut config = SchedulerConfig { classes: 3, ..SchedulerConfig::new(4, 16) };
    (config.class_caps[1], config.reserves[2]) = (1, 2);
    let (shards, a, b) = timed(&config);
    granted(&a, 1);
    let leases = [(); 3].map(|()| granted(&a, 0));
    let waits: Vec<WaitId> = (0..5).map(|token| queued(&b, 0, token)).collect();
    for class in [1, 2] {
        queued(&a, class, 10 + u64::from(class));
    }
    leases.into_iter().for_each(|lease| a.release(lease).unwrap());
    look_until(&a, 1_010);
    let before = shards.stats().locked;
    assert_eq!(a.poll_grant(), None, "its waits are behind a cap and a reserve");
    let calls = shards.stats().locked - before;
    assert!(calls <= 3, "{calls} calls took the lock");
    let infos: Vec<_> = waits.iter().map(|&wait| b.describe_wait(wait).unwrap()).collect();
    assert_eq!(infos.iter().map(|info| info.is_assigned).collect::<Vec<_>>(), [true, true, true, false, false]);
    assert!(infos.iter().all(|info| info.age_ns == 1_000), "{infos:?}");
    shards.check_invariants().unwrap();
}

/// However many grants are of no use to others, one that is of use is passed on.
#[test]
fn s58_grant_passes_on_beside_many_of_no_use() {
    let mut config = SchedulerConfig { classes: 2, ..SchedulerConfig::new(101, 256) };
    config.class_caps[1] = 1;
    let (shards, a, b) = timed(&config);
    let leases: Vec<_> = (0..100).map(|_| granted(&a, 0)).chain([granted(&a, 1)]).collect();
    for token in 0..100 {
        queued(&b, 0, token);
    }
    queued(&b, 1, 100);
    queued(&a, 1, 101);
    leases.into_iter().for_each(|lease| a.release(lease).unwrap());
    look_until(&a, 1_010);
    assert_eq!(a.poll_grant().map(|grant| grant.token), Some(101));
    shards.check_invariants().unwrap();
}

/// Of three shards two do not look, and only these wait: each keeps its grants.
#[test]
fn s58_grant_goes_to_no_shard_that_does_not_look() {
    let config = SchedulerConfig { lease_ns: Some(1_000), ..SchedulerConfig::new(1, 16) };
    let shards = SharedScheduler::new(&config, 3).unwrap();
    let [a, b, c] = [0, 1, 2].map(|index| shards.shard(index).unwrap());
    [&a, &b, &c].into_iter().for_each(|shard| shard.handle_timeout(10));
    let lease = granted(&a, 0);
    let waits = [(&b, 0), (&c, 1), (&b, 2), (&c, 3)].map(|(shard, token)| queued(shard, 0, token));
    a.release(lease).unwrap();
    look_until(&a, 1_010);
    let before = shards.stats().locked;
    assert_eq!(a.poll_grant(), None);
    assert!(shards.stats().locked - before <= 3);
    assert_eq!(waits.map(|wait| a.describe_wait(wait).unwrap().is_assigned), [true, false, false, false]);
    // The second one looks again, and has it a lease later.
    assert_eq!(look(&c, 1_010, 2_009), [0; 0]);
    assert_eq!(look(&c, 2_009, 2_010), [1]);
    shards.check_invariants().unwrap();
}

/// A shard whose waits are the only ones keeps its grants and their order, and other shards do not ask again and again.
#[test]
fn s58_grant_stays_while_no_other_shard_waits() {
    let (shards, a, b) = timed(&SchedulerConfig::new(1, 8));
    let lease = granted(&a, 0);
    let waits = [queued(&b, 0, 1), queued(&b, 0, 2)];
    a.release(lease).unwrap();
    let before = shards.stats().locked;
    assert_eq!(look(&a, 10, 5_010), [0; 0]);
    assert!(shards.stats().locked - before < 200, "a few calls for each step of the clock");
    assert_eq!(waits.map(|wait| b.describe_wait(wait).unwrap().is_assigned), [true, false]);
    assert_eq!(b.poll_grant().map(|grant| grant.token), Some(1));
    shards.check_invariants().unwrap();
}

/// The wait that loses its buffer is more critical than the one that gets it, and another buffer is free, which only
/// the first one may take: each has a buffer of its own.
#[test]
fn s58_wait_that_loses_its_buffer_may_have_another() {
    let mut config = SchedulerConfig { classes: 2, ..SchedulerConfig::new(2, 8) };
    config.reserves[1] = 1;
    let (shards, a, b) = timed(&config);
    let leases = [granted(&a, 0), granted(&a, 0)];
    queued(&b, 0, 1);
    assert!(matches!(a.request(1, 2), Ok(Outcome::Queued(_))), "no buffer is free");
    leases.into_iter().for_each(|lease| a.release(lease).unwrap());
    assert_eq!(look(&a, 10, 1_009), [0; 0], "the last buffer is the reserve");
    a.handle_timeout(1_010);
    let theirs = a.poll_grant().unwrap();
    assert_eq!(theirs.token, 2);
    shards.check_invariants().unwrap();
    let own = b.poll_grant().unwrap();
    assert_eq!(own.token, 1);
    assert_ne!(own.lease.index(), theirs.lease.index());
    for lease in [own.lease, theirs.lease] {
        b.release(lease).unwrap();
    }
    assert_eq!((shards.stats().scheduler.free, shards.stats().scheduler.leased), (2, 0));
    shards.check_invariants().unwrap();
}

/// A wait that has moved loses its buffer: it is behind those that another shard queued before, one after the other.
#[test]
fn s58_moved_wait_that_loses_its_buffer_is_last() {
    let (shards, a, b) = timed(&SchedulerConfig::new(1, 8));
    let lease = granted(&a, 0);
    let moves = queued(&a, 0, 0);
    a.export_wait(moves).unwrap();
    b.import_wait(moves, 1).unwrap();
    for token in [2, 3] {
        queued(&a, 0, token);
    }
    b.release(lease).unwrap();
    look_until(&a, 1_010);
    for token in [2, 3] {
        let grant = a.poll_grant().unwrap();
        assert_eq!((grant.token, b.poll_grant()), (token, None));
        a.release(grant.lease).unwrap();
        shards.check_invariants().unwrap();
    }
    assert_eq!(b.poll_grant().map(|grant| (grant.wait, grant.token)), Some((moves, 1)));
}

/// How long a wait has waited, queued or assigned, if it began after the first advance of the clock.
#[test]
fn age_of_a_wait_counts_from_its_request() {
    let (_shards, a, b) = timed(&SchedulerConfig::new(1, 8));
    let lease = granted(&a, 0);
    advance(&a, 10, 1_010);
    let wait = queued(&b, 0, 1);
    advance(&a, 1_010, 1_110);
    assert_eq!(b.describe_wait(wait).unwrap().age_ns, 100);
    a.release(lease).unwrap();
    advance(&a, 1_110, 1_210);
    let info = b.describe_wait(wait).unwrap();
    assert_eq!((info.age_ns, info.is_assigned), (200, true));
}

/// When the queue ceases to be empty each other shard is named once, to poll its deadlines; requests that queue behind
/// others name none.
#[test]
fn first_wait_names_each_other_shard_once() {
    let (shards, a, b) = timed(&SchedulerConfig::new(1, 8));
    let lease = granted(&a, 0);
    let waits = [queued(&b, 0, 1), queued(&b, 0, 2)];
    assert_eq!((b.poll_wake(), b.poll_wake(), a.poll_grant()), (Some(0), None, None));
    queued(&b, 0, 3);
    b.cancel(waits[1]).unwrap();
    assert_eq!((b.poll_wake(), shards.stats().wakes), (None, 1));
    b.cancel(waits[0]).unwrap();
    a.release(lease).unwrap();
    let lease = b.poll_grant().unwrap().lease;
    queued(&a, 0, 4);
    assert_eq!((a.poll_wake(), b.poll_wake(), shards.stats().wakes), (Some(1), None, 3));
    b.release(lease).unwrap();
    shards.check_invariants().unwrap();
}

/// With more shards than a word of wake-ups has bits. A shard that asks is not named, and is named to others.
#[test]
fn poll_wake_names_any_of_many_shards() {
    let shards = SharedScheduler::new(&SchedulerConfig::new(1, 8), 200).unwrap();
    let all: Vec<_> = (0..200).map(|index| shards.shard(index).unwrap()).collect();
    for (at, other) in [(3, 70), (70, 3), (70, 71), (130, 199), (199, 64), (64, 63)] {
        let (shard, other) = (&all[at], &all[other]);
        let lease = granted(other, 0);
        queued(shard, 0, 1);
        other.release(lease).unwrap();
        assert_eq!((shard.poll_wake(), other.poll_wake(), other.poll_wake()), (None, Some(at as u32), None));
        let grant = shard.poll_grant().unwrap();
        shard.release(grant.lease).unwrap();
    }
    // Those of several words are named one after the other.
    let lease = granted(&all[0], 0);
    let named = [5, 6, 63, 64, 130, 199];
    let waits = named.map(|at| queued(&all[at], 0, at as u64));
    all[0].release(lease).unwrap();
    for (at, wait) in named.into_iter().zip(waits) {
        assert!(shards.poll_wake() == Some(at as u32) && shards.poll_wake().is_none());
        all[at].cancel(wait).unwrap();
    }
    shards.check_invariants().unwrap();
}
