//! Every interleaving of small models of the shards, on the structures that ship:
//! `RUSTFLAGS="--cfg loom" cargo test --release -p demuxbuf --features loom --test loom`. One more model is beside the code that
//! it is of, and runs with `--lib`.
#![cfg(loom)]

use demuxbuf::scheduler::{Grant, LeaseId, Outcome, SchedulerConfig};
use demuxbuf::shared::{SchedulerShard, SharedScheduler, SharedSchedulerError};
use loom::thread;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The owner of each buffer, kept beside the shards: not loom's, so that it adds no interleavings and no
/// synchronisation.
#[derive(Clone)]
struct Owners(Arc<[AtomicBool]>);

impl Owners {
    fn new(buffers: usize) -> Owners {
        Owners((0..buffers).map(|_| AtomicBool::new(false)).collect())
    }

    fn take(&self, lease: LeaseId) {
        let was = self.0[lease.index() as usize].swap(true, Ordering::Relaxed);
        assert!(!was, "buffer {} was granted twice", lease.index());
    }

    fn give(&self, shard: &SchedulerShard, lease: LeaseId) {
        self.0[lease.index() as usize].store(false, Ordering::Relaxed);
        shard.release(lease).unwrap();
    }
}

fn shards(buffers: u32, count: u32) -> (SharedScheduler, Vec<SchedulerShard>) {
    let shards = SharedScheduler::new(&SchedulerConfig::new(buffers, 4), count).unwrap();
    let handles = (0..count).map(|index| shards.shard(index).unwrap()).collect();
    (shards, handles)
}

fn granted(shard: &SchedulerShard) -> LeaseId {
    match shard.request(0, 0).unwrap() {
        Outcome::Granted(lease) => lease,
        Outcome::Queued(_) => panic!("a buffer is free"),
    }
}

fn queue(shard: &SchedulerShard, token: u64) -> demuxbuf::scheduler::WaitId {
    match shard.request(0, token).unwrap() {
        Outcome::Queued(wait) => wait,
        Outcome::Granted(_) => panic!("no buffer is free"),
    }
}

fn drain(shard: &SchedulerShard) -> Vec<Grant> {
    std::iter::from_fn(|| shard.poll_grant()).collect()
}

#[test]
fn s10_release_reaches_a_waiter_of_another_thread() {
    loom::model(|| {
        let (shards, mut handles) = shards(1, 2);
        let (b, a) = (handles.pop().unwrap(), handles.pop().unwrap());
        let lease = granted(&a);
        let releaser = thread::spawn(move || {
            a.release(lease).unwrap();
            a.poll_wake()
        });
        let outcome = b.request(0, 7).unwrap();
        let named = releaser.join().unwrap();
        shards.check_invariants().unwrap();
        match outcome {
            Outcome::Granted(_) => assert_eq!(named, None),
            Outcome::Queued(wait) => {
                assert_eq!(named, Some(1), "the shard of a queued waiter is named");
                assert_eq!(drain(&b).first().map(|grant| (grant.wait, grant.token)), Some((wait, 7)));
            }
        }
        assert_eq!(shards.stats().scheduler.leased, 1);
    });
}

/// A buffer that one shard caches is taken by another, and never granted twice.
#[test]
fn cached_buffer_is_granted_to_one_shard_only() {
    loom::model(|| {
        let (shards, mut handles) = shards(2, 2);
        let (b, a) = (handles.pop().unwrap(), handles.pop().unwrap());
        // The first shard caches both.
        let leases = [granted(&a), granted(&a)];
        for lease in leases {
            a.release(lease).unwrap();
        }
        assert_eq!(shards.stats().cached, 2);
        let owners = Owners::new(2);
        let other = owners.clone();
        let first = thread::spawn(move || {
            let lease = granted(&a);
            other.take(lease);
            other.give(&a, lease);
            a
        });
        let lease = granted(&b);
        owners.take(lease);
        owners.give(&b, lease);
        let _a = first.join().unwrap();
        shards.check_invariants().unwrap();
        assert_eq!(shards.stats().scheduler.free, 2);
    });
}

#[test]
fn release_by_two_threads_at_once_counts_once() {
    loom::model(|| {
        let (shards, mut handles) = shards(1, 2);
        let (b, a) = (handles.pop().unwrap(), handles.pop().unwrap());
        let lease = granted(&a);
        let first = thread::spawn(move || (a.release(lease).is_ok(), a));
        let by_b = b.release(lease).is_ok();
        let (by_a, _a) = first.join().unwrap();
        assert!(by_a != by_b, "exactly one thread released it");
        assert_eq!(
            (shards.stats().scheduler.free, shards.stats().scheduler.released, shards.stats().scheduler.refused),
            (1, 1, 1)
        );
        shards.check_invariants().unwrap();
    });
}

/// Their shard is named once.
#[test]
fn s13_two_releases_serve_two_of_three_waiters() {
    loom::model(|| {
        let (shards, mut handles) = shards(2, 3);
        let (c, b, a) = (handles.pop().unwrap(), handles.pop().unwrap(), handles.pop().unwrap());
        let (of_a, of_b) = (granted(&a), granted(&b));
        for token in 0..3 {
            queue(&c, token);
        }
        let release = |shard: SchedulerShard, lease| {
            move || {
                shard.release(lease).unwrap();
                (std::iter::from_fn(|| shard.poll_wake()).count(), shard)
            }
        };
        let first = thread::spawn(release(a, of_a));
        let (by_b, _b) = release(b, of_b)();
        let (by_a, _a) = first.join().unwrap();
        assert_eq!(by_a + by_b, 1, "the shard is named once until it polls");
        assert_eq!(drain(&c).iter().map(|grant| grant.token).collect::<Vec<_>>(), [0, 1]);
        assert_eq!(shards.stats().scheduler.waiting, 1);
        shards.check_invariants().unwrap();
    });
}

/// A grant that comes while its shard polls is seen by the poll, or the shard is named.
#[test]
fn grant_during_a_poll_is_seen_or_signalled() {
    loom::model(|| {
        let (shards, mut handles) = shards(2, 2);
        let (b, a) = (handles.pop().unwrap(), handles.pop().unwrap());
        let (first, second) = (granted(&a), granted(&a));
        queue(&b, 0);
        queue(&b, 1);
        a.release(first).unwrap();
        assert_eq!(a.poll_wake(), Some(1));
        let releaser = thread::spawn(move || {
            a.release(second).unwrap();
            (a.poll_wake(), a)
        });
        let seen = drain(&b).len();
        let (named, a) = releaser.join().unwrap();
        shards.check_invariants().unwrap();
        if seen == 1 {
            assert_eq!(named, Some(1), "the grant came after the poll, so the shard is named");
        }
        assert_eq!(seen + drain(&b).len(), 2);
        assert_eq!(a.poll_wake(), None);
    });
}

/// A wait that is cancelled while it is served leaves the buffer to the next one.
#[test]
fn cancel_during_a_grant_serves_the_next_waiter() {
    loom::model(|| {
        let (shards, mut handles) = shards(1, 2);
        let (b, a) = (handles.pop().unwrap(), handles.pop().unwrap());
        let lease = granted(&a);
        let dies = queue(&b, 0);
        let lives = queue(&b, 1);
        let releaser = thread::spawn(move || {
            a.release(lease).unwrap();
            (a.poll_wake(), a)
        });
        b.cancel(dies).unwrap();
        let (_, _a) = releaser.join().unwrap();
        shards.check_invariants().unwrap();
        assert_eq!(drain(&b).iter().map(|grant| grant.wait).collect::<Vec<_>>(), [lives]);
    });
}

#[test]
fn s11_wait_that_moves_is_granted_on_one_shard() {
    loom::model(|| {
        let (shards, mut handles) = shards(1, 3);
        let (c, b, a) = (handles.pop().unwrap(), handles.pop().unwrap(), handles.pop().unwrap());
        let lease = granted(&a);
        let wait = queue(&b, 5);
        let releaser = thread::spawn(move || {
            a.release(lease).unwrap();
            (a.poll_wake(), a)
        });
        b.export_wait(wait).unwrap();
        assert_eq!(drain(&b), []);
        c.import_wait(wait, 0).unwrap();
        let seen = drain(&c).len();
        let (named, _a) = releaser.join().unwrap();
        shards.check_invariants().unwrap();
        if seen == 0 {
            assert_eq!(named, Some(2), "the grant came after the move, so the new shard is named");
        }
        assert_eq!(seen + drain(&c).len(), 1);
    });
}

/// A pool that is dropped between calls loses no buffer and grants nothing afterwards.
#[test]
fn pool_drop_between_calls_loses_no_buffer() {
    loom::model(|| {
        let (shards, mut handles) = shards(2, 1);
        let a = handles.pop().unwrap();
        let lease = granted(&a);
        a.release(lease).unwrap();
        let user = thread::spawn(move || {
            if let Ok(Outcome::Granted(lease)) = a.request(0, 0) {
                a.release(lease).unwrap();
            }
            a
        });
        drop(shards);
        let a = user.join().unwrap();
        a.check_invariants().unwrap();
        assert_eq!(a.request(0, 0), Err(SharedSchedulerError::Closed));
        assert_eq!((a.stats().scheduler.free, a.stats().cached), (2, 0));
    });
}

/// A shard that is dropped while its waiter is served leaves the buffer to other shards.
#[test]
fn shard_drop_during_a_grant_serves_other_shards() {
    loom::model(|| {
        let (shards, mut handles) = shards(1, 2);
        let (b, a) = (handles.pop().unwrap(), handles.pop().unwrap());
        let lease = granted(&a);
        queue(&b, 0);
        let leaver = thread::spawn(move || drop(b));
        a.release(lease).unwrap();
        leaver.join().unwrap();
        shards.check_invariants().unwrap();
        assert_eq!(shards.stats().scheduler.free, 1);
        granted(&a);
    });
}

/// A release beside the end of the pool leaves nothing where a later request would find it.
#[test]
fn s83_closed_pool_caches_nothing() {
    loom::model(|| {
        let (shards, mut handles) = shards(2, 1);
        let a = handles.pop().unwrap();
        let lease = granted(&a);
        let releaser = thread::spawn(move || {
            a.release(lease).unwrap();
            a
        });
        shards.close();
        let a = releaser.join().unwrap();
        assert_eq!((shards.stats().cached, shards.stats().scheduler.free), (0, 2));
        assert_eq!(a.request(0, 1), Err(SharedSchedulerError::Closed));
        shards.check_invariants().unwrap();
    });
}
