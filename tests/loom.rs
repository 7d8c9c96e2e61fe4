//! Every interleaving of small models of the shards, and many of models of two pools, on the structures that ship:
//! `RUSTFLAGS="--cfg loom" cargo test --release -p demuxbuf --features loom --test loom`. More models are beside the
//! code that they are of, and run with `--lib`.
#![cfg(loom)]

use demuxbuf::connection::{Action, Event};
use demuxbuf::pool::{AttachOptions, Notice, Pool, PoolConfig, ReceiverId};
use demuxbuf::scheduler::{Grant, LeaseId, Outcome, Request, SchedulerConfig};
use demuxbuf::shared::{PoolShard, SchedulerShard, SharedPool, SharedScheduler, SharedSchedulerError};
use loom::thread;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

type ShardPool = Pool<PoolShard>;

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

#[test]
fn release_of_the_lease_of_a_third_shard_counts_once() {
    loom::model(|| {
        let (shards, mut handles) = shards(1, 3);
        let (c, b, a) = (handles.pop().unwrap(), handles.pop().unwrap(), handles.pop().unwrap());
        let lease = granted(&c);
        let first = thread::spawn(move || (a.release(lease).is_ok(), a));
        let by_b = b.release(lease).is_ok();
        let (by_a, _a) = first.join().unwrap();
        assert!(by_a != by_b, "exactly one thread released it");
        assert_eq!((shards.stats().scheduler.free, shards.stats().scheduler.released), (1, 1));
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

/// A grant that its shard does not pick up goes to another that waits: one of both has it.
#[test]
fn grant_that_is_not_picked_up_goes_on() {
    loom::model(|| {
        let config = SchedulerConfig { lease_ns: Some(1), ..SchedulerConfig::new(1, 4) };
        let shards = SharedScheduler::new(&config, 3).unwrap();
        let [a, b, c] = [0, 1, 2].map(|index| shards.shard(index).unwrap());
        c.handle_timeout(0);
        let lease = granted(&a);
        let waits = [queue(&b, 0), queue(&c, 1)];
        a.release(lease).unwrap();
        let other = thread::spawn(move || (drain(&b), b));
        c.handle_timeout(10);
        let mut all = drain(&c);
        let (mut seen, b) = other.join().unwrap();
        all.append(&mut seen);
        shards.check_invariants().unwrap();
        let [grant] = all[..] else { panic!("one of both has the buffer: {all:?}") };
        b.release(grant.lease).unwrap();
        let left = if grant.wait == waits[0] { &c } else { &b };
        assert_eq!(drain(left).len(), 1, "the other one is served next");
    });
}

/// A thread with room on its stack for pools, of which loom's threads have little.
fn spawn<T: Send + 'static>(run: impl FnOnce() -> T + Send + 'static) -> thread::JoinHandle<T> {
    thread::Builder::new().stack_size(1 << 16).spawn(run).unwrap()
}

/// Models of pools are large: only as many switches are tried in each that are not needed.
fn model_pools(model: fn()) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(4);
    builder.max_branches = 20_000;
    builder.check(move || spawn(model).join().unwrap());
}

const BUFFER_BYTES: u32 = 128;

/// The least memory for two threads: each has a receive buffer, one of header cells, and its spare.
fn two_pools() -> (SharedPool, ShardPool, ShardPool) {
    let config = PoolConfig { buffer_bytes: BUFFER_BYTES, ..PoolConfig::new(16 * u64::from(BUFFER_BYTES), 3) };
    let shared_pool = SharedPool::new(&config, 2).unwrap();
    let [a, b] = [0, 1].map(|index| shared_pool.shard(index).unwrap());
    (shared_pool, a, b)
}

fn attach(pool: &mut ShardPool) -> ReceiverId {
    pool.attach(&AttachOptions::new(0, 0)).unwrap()
}

/// The receiver receives what it may of a frame of a whole buffer; returns what it has then.
fn receive(pool: &mut ShardPool, id: ReceiverId) -> u32 {
    if pool.handle(id, Event::Readable).unwrap().has(Action::Recv) {
        let bytes = pool.receive_area(id).unwrap().len() as u32;
        let bytes = bytes.min(BUFFER_BYTES - 1);
        pool.handle(id, Event::Received { bytes }).unwrap();
        pool.decoded(id, 0, 1).unwrap();
    }
    pool.connection(id).unwrap().buffered_bytes()
}

fn take_all(pool: &mut ShardPool) -> Vec<LeaseId> {
    std::iter::from_fn(|| pool.try_request(&Request::new(0, 0)).unwrap()).collect()
}

/// What a receive leaves has the spare, though another thread takes all that was seen free.
#[test]
fn spare_is_there_for_what_a_receive_leaves() {
    model_pools(|| {
        let (shared_pool, mut a, mut b) = two_pools();
        let ids = [attach(&mut a), attach(&mut a)];
        // The first thread has seen that buffers are free.
        let mut taken = take_all(&mut b);
        b.release(taken.pop().unwrap()).unwrap();
        let takes = spawn(move || {
            taken.append(&mut take_all(&mut b));
            (taken, b)
        });
        assert_eq!(receive(&mut a, ids[0]), BUFFER_BYTES - 1);
        // The spare is used, and there may be another one.
        let received = receive(&mut a, ids[1]);
        assert!([64, BUFFER_BYTES - 1].contains(&received), "{received}");
        let (taken, b) = takes.join().unwrap();
        for id in ids {
            assert!(!a.pending(id).unwrap().has(Action::Shed), "what it left has a place");
        }
        a.check_invariants().unwrap();
        b.check_invariants().unwrap();
        assert!(taken.len() >= 9, "all but what the receivers took: {}", taken.len());
        shared_pool.check_invariants().unwrap();
    });
}

/// Two pools: the first keeps something in two buffers, the host of the second has all others, and another receiver of
/// the first claims.
fn claiming() -> (SharedPool, ShardPool, ShardPool, Vec<LeaseId>, ReceiverId) {
    let (shared_pool, mut a, mut b) = two_pools();
    for _ in 0..2 {
        let keeping = attach(&mut a);
        assert_eq!(receive(&mut a, keeping), BUFFER_BYTES - 1);
    }
    let taken = take_all(&mut b);
    a.handle_timeout(0);
    let claims = attach(&mut a);
    assert_eq!(receive(&mut a, claims), 64);
    a.handle(claims, Event::Readable).unwrap();
    assert!(a.connection(claims).unwrap().is_waiting());
    (shared_pool, a, b, taken, claims)
}

/// One wait stands for the claims of a thread: what another thread releases is seen by its poll, or it is signalled.
#[test]
fn release_reaches_the_claim_of_another_pool() {
    model_pools(|| {
        let (shared_pool, mut a, mut b, mut taken, claims) = claiming();
        // The first is its spare.
        b.release(taken.pop().unwrap()).unwrap();
        assert_eq!(a.poll_notice(), None);
        while a.poll_wake().is_some() {}
        // With one more, more than the reserve is free.
        while shared_pool.stats().scheduler.free < 2 {
            b.release(taken.pop().unwrap()).unwrap();
        }
        let last = taken.pop().unwrap();
        let releases = spawn(move || {
            b.release(last).unwrap();
            (b.poll_wake(), b)
        });
        let seen = a.poll_notice();
        let (named, _b) = releases.join().unwrap();
        let notice = if seen.is_some() {
            seen
        } else {
            assert_eq!(named, Some(0), "it would sleep while memory is there");
            a.poll_notice()
        };
        let is_granted = matches!(notice, Some(Notice::Receiver { id, .. }) if id == claims);
        assert!(is_granted, "{notice:?}");
        a.check_invariants().unwrap();
        shared_pool.check_invariants().unwrap();
    });
}

/// A request of one thread asks the other for what is late there: that is seen by its poll, or it is signalled.
#[test]
fn request_evicts_what_is_late_in_another_pool() {
    model_pools(|| {
        let (shared_pool, mut a, mut b, _taken, claims) = claiming();
        a.handle(claims, Event::Close).unwrap();
        for step in 1..=20 {
            a.handle_timeout(step * 125_000_000);
        }
        assert_eq!((a.poll_notice(), a.poll_wake()), (None, None));
        let asks = spawn(move || {
            let outcome = b.request(0, 9).unwrap();
            assert!(matches!(outcome, Outcome::Queued(_)), "{outcome:?}");
            (b.poll_wake(), b)
        });
        let seen = a.poll_notice();
        let (named, mut b) = asks.join().unwrap();
        let notice = if seen.is_some() {
            seen
        } else {
            assert_eq!(named, Some(0), "it would sleep on what is late");
            a.poll_notice()
        };
        let is_shed = matches!(notice, Some(Notice::Receiver { actions, .. }) if actions.has(Action::Shed));
        assert!(is_shed, "{notice:?}");
        while a.poll_notice().is_some() {}
        assert!(matches!(b.poll_notice(), Some(Notice::Lease { token: 9, .. })), "its buffer is there now");
        shared_pool.check_invariants().unwrap();
    });
}

/// A pool ends, with what its receivers keep and its wait, while another thread requests.
#[test]
fn buffers_of_a_pool_that_ends_reach_a_request() {
    model_pools(|| {
        let (shared_pool, mut a, mut b, _taken, _) = claiming();
        // The wait of the thread ends with it.
        assert_eq!(a.poll_notice(), None);
        let ends = spawn(move || drop(a));
        let outcome = b.request(0, 9).unwrap();
        ends.join().unwrap();
        if matches!(outcome, Outcome::Queued(_)) {
            assert!(matches!(b.poll_notice(), Some(Notice::Lease { token: 9, .. })), "what it kept is free");
        }
        shared_pool.check_invariants().unwrap();
        let stats = shared_pool.stats().scheduler;
        assert_eq!((stats.waiting, stats.assigned), (0, 0));
        shared_pool.shard(0).unwrap().check_invariants().unwrap();
    });
}
