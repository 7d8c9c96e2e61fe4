//! The waits of a shared scheduler, on one thread: how they are named, counted and ordered while they come, move and
//! end.

mod common;

use common::shards::{granted, queued, two};
use demuxbuf::scheduler::{LeaseId, SchedulerConfig, SchedulerError};
use demuxbuf::shared::{EXPORTS_MAX, SchedulerShard, SharedScheduler, SharedSchedulerError};

const STALE: Result<(), SharedSchedulerError> = Err(SharedSchedulerError::Scheduler(SchedulerError::StaleWait));

/// Two shards of a scheduler with this number of buffers and waits, and the leases of all buffers.
fn exhausted(buffers: u32, waiters_max: u32) -> (SharedScheduler, SchedulerShard, SchedulerShard, Vec<LeaseId>) {
    let (shards, a, b) = two(&SchedulerConfig::new(buffers, waiters_max));
    let leases = (0..buffers).map(|_| granted(&a, 0)).collect();
    (shards, a, b, leases)
}

/// A number that a host kept too long names no other wait, whichever way the first one ended.
#[test]
fn ended_wait_is_stale_when_its_row_is_used_again() {
    let (shards, a, b, leases) = exhausted(1, 1);
    let cancelled = queued(&b, 0, 1);
    b.cancel(cancelled).unwrap();
    let served = queued(&b, 0, 2);
    assert_eq!((b.cancel(cancelled), b.export_wait(cancelled)), (STALE, STALE));
    a.release(leases[0]).unwrap();
    assert_eq!(b.poll_grant().map(|grant| (grant.token, grant.wait)), Some((2, served)));
    let last = queued(&b, 0, 3);
    for stale in [cancelled, served] {
        assert_eq!((b.cancel(stale), b.describe_wait(stale).map(|_| ())), (STALE, STALE));
    }
    assert_eq!(b.describe_wait(last).map(|info| info.token), Ok(3));
    shards.check_invariants().unwrap();
}

/// A wait that has a buffer counts until it is picked up.
#[test]
fn assigned_wait_counts_among_the_waits() {
    let (shards, a, b, leases) = exhausted(1, 2);
    queued(&b, 0, 1);
    queued(&b, 0, 2);
    a.release(leases[0]).unwrap();
    let full = SharedSchedulerError::Scheduler(SchedulerError::WaitersFull { waiters_max: 2 });
    assert_eq!((shards.stats().scheduler.waiting, b.request(0, 3)), (1, Err(full)));
    b.poll_grant().unwrap();
    queued(&b, 0, 3);
    shards.check_invariants().unwrap();
}

/// However often waits were exported before: an export ends with the import or the wait.
#[test]
fn exports_are_counted_until_they_end() {
    let (shards, a, b, _leases) = exhausted(1, EXPORTS_MAX);
    let mut wait = queued(&a, 0, 0);
    for token in 0..u64::from(EXPORTS_MAX) {
        a.export_wait(wait).unwrap();
        a.import_wait(wait, token).unwrap();
    }
    for token in 0..=u64::from(EXPORTS_MAX) {
        a.export_wait(wait).unwrap();
        b.cancel(wait).unwrap();
        wait = queued(&a, 0, token);
    }
    shards.check_invariants().unwrap();
}

/// Grants that are cancelled, at the front, in the middle and at the end, leave the others in order.
#[test]
fn cancelled_grants_leave_the_others_in_order() {
    let (shards, a, b, mut leases) = exhausted(7, 8);
    for _ in 0..2 {
        let waits: Vec<_> = (0..7).map(|token| queued(&b, 0, token)).collect();
        leases.drain(..).for_each(|lease| a.release(lease).unwrap());
        for at in [0, 3, 4, 6] {
            b.cancel(waits[at]).unwrap();
            shards.check_invariants().unwrap();
        }
        let grants: Vec<_> = std::iter::from_fn(|| b.poll_grant()).collect();
        assert_eq!(grants.iter().map(|grant| grant.token).collect::<Vec<_>>(), [1, 2, 5]);
        leases.extend(grants.into_iter().map(|grant| grant.lease));
        leases.extend((0..4).map(|_| granted(&a, 0)));
        shards.check_invariants().unwrap();
    }
}
