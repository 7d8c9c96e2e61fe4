//! Lifetimes in a shared pool: leases, waits and grants, while shards and the shared pool end.
#![allow(clippy::disallowed_methods, reason = "a test may start threads")]

mod common;

use common::{
    ShardPool, attach, check, config, config_of, exhaust, granted, granted_to, keeping, receive, two, waiting,
};
use demuxbuf::connection::{Action, Event};
use demuxbuf::pool::{AttachOptions, LeasedContent, Notice, PoolConfig, PoolError};
use demuxbuf::scheduler::{LeaseId, Outcome, SchedulerError};
use demuxbuf::shared::SharedPool;
use fastrand::Rng;
use std::sync::Mutex;

/// Buffers are trimmed a few at a time, and the lock is free in between.
#[test]
fn s80_trim_returns_pages_in_pieces() {
    for (buffer_bytes, buffers, least) in [(4096, 64, 4), (1 << 20, 16, 16)] {
        let config = PoolConfig { buffer_bytes, ..PoolConfig::new(buffers * u64::from(buffer_bytes), 8) };
        let (shared_pool, mut a, b) = two(&config);
        let locked = shared_pool.stats().locked;
        a.trim();
        assert_eq!(shared_pool.stats().locked - locked, least, "{buffers} buffers of {buffer_bytes} bytes");
        check(&a, &b);
    }
}

/// A thread with receivers, leases and waits, some of which it leaves to others; then its pool ends.
fn live(mut pool: ShardPool, mut rng: Rng, left: &Mutex<Vec<LeaseId>>) {
    let mut leases = Vec::new();
    for token in 0..if cfg!(miri) { 20 } else { 300 } {
        match rng.u8(0..6) {
            0 => match pool.request(0, token) {
                Ok(Outcome::Granted(lease)) => leases.push(lease),
                Ok(Outcome::Queued(_)) => {}
                Err(error) => assert!(matches!(error, PoolError::PoolClosed | PoolError::Scheduler(_)), "{error}"),
            },
            1 if !leases.is_empty() => left.lock().unwrap().push(leases.swap_remove(rng.usize(..leases.len()))),
            2 => {
                let other = left.lock().unwrap().pop();
                // It is within reach once the pool of its thread has ended.
                if let Some(lease) = other.filter(|&lease| pool.release(lease).is_err()) {
                    left.lock().unwrap().push(lease);
                }
            }
            3 => {
                if let Ok(id) = pool.attach(&AttachOptions::new(0, token)) {
                    if pool.handle(id, Event::Readable).unwrap().has(Action::Recv) {
                        let bytes = rng.u32(1..=pool.receive_area(id).unwrap().len() as u32);
                        pool.handle(id, Event::Received { bytes }).unwrap();
                        pool.handle(id, Event::NeedMore { bytes: 1 }).unwrap();
                    }
                }
            }
            4 => leases.drain(..leases.len() / 2).for_each(|lease| pool.release(lease).unwrap()),
            _ => {
                while let Some(notice) = pool.poll_notice() {
                    if let Notice::Lease { lease, .. } = notice {
                        leases.push(lease);
                    }
                }
                while pool.poll_wake().is_some() {}
            }
        }
    }
    left.lock().unwrap().extend(leases);
}

/// Whichever of them ends first, and whatever is in use then, every buffer is free again in the end.
#[test]
fn s81_pools_end_in_any_order() {
    for seed in 0..if cfg!(miri) { 2 } else { 40 } {
        let left = Mutex::new(Vec::new());
        let shared_pool = SharedPool::new(&config_of(36), 4).unwrap();
        let fixed = shared_pool.stats().scheduler.leased;
        let mut last = shared_pool.shard(3).unwrap();
        std::thread::scope(|scope| {
            for index in 0..3 {
                let (pool, left) = (shared_pool.shard(index).unwrap(), &left);
                let rng = Rng::with_seed(seed * 3 + u64::from(index));
                // A pool is bound to no thread unless that is checked.
                scope.spawn(move || live(pool, rng, left));
            }
            if seed % 2 == 0 {
                drop(shared_pool);
            }
        });
        for lease in left.into_inner().unwrap() {
            last.release(lease).unwrap();
        }
        last.check_invariants().unwrap();
        let stats = last.stats().scheduler;
        assert_eq!((stats.leased, stats.waiting, stats.assigned), (fixed, 0, 0));
    }
}

/// A lease of the host's own lives until it is released, whatever pool ends before.
#[test]
fn s82_host_lease_outlives_its_thread() {
    let (shared_pool, mut a, mut b) = two(&config());
    let lease = granted(&mut a, 1);
    a.buffer(lease).unwrap().fill(7);
    assert_eq!(b.buffer(lease).unwrap_err(), PoolError::Scheduler(SchedulerError::StaleLease));
    drop(a);
    assert_eq!(b.buffer(lease).unwrap(), [7; 256]);
    // The first thread that uses it has it.
    let mut a = shared_pool.shard(0).unwrap();
    assert_eq!(a.release(lease), Err(SchedulerError::StaleLease.into()));
    drop(shared_pool);
    drop(a);
    assert_eq!(b.buffer(lease).unwrap(), [7; 256]);
    b.release(lease).unwrap();
    assert_eq!(b.release(lease), Err(SchedulerError::StaleLease.into()));
    b.check_invariants().unwrap();
}

/// After the shared pool is dropped no thread caches a buffer, so that all that wait are served, by whichever thread
/// releases.
#[test]
fn s83_closed_pool_serves_all_waiters() {
    let (shared_pool, mut a, mut b) = two(&config());
    let leases = exhaust(&mut a, &mut b);
    let id = waiting(&mut b, 1);
    assert_eq!(b.poll_notice(), None);
    assert!(matches!(a.request(0, 2), Ok(Outcome::Queued(_))));
    drop(shared_pool);
    leases.into_iter().for_each(|lease| a.release(lease).unwrap());
    assert_eq!((granted_to(&mut a), a.poll_wake(), granted_to(&mut b)), (Some(2), Some(1), Some(1)));
    receive(&mut b, id, &[1; 250 - 64]);
    b.decoded(id, 250, 0).unwrap();
    check(&a, &b);
    assert_eq!(a.stats().scheduler.waiting, 0);
}

/// An adopt that is refused moves nothing: the lease is as it was.
#[test]
fn s85_refused_adopt_moves_nothing() {
    let (_shared_pool, mut a, mut b) = two(&config());
    let lease = granted(&mut a, 1);
    let content = |buffered_bytes| LeasedContent { lease, offset: 0, buffered_bytes };
    let options = AttachOptions::new(0, 1);
    assert_eq!(b.adopt(&options, content(9)), Err(SchedulerError::StaleLease.into()), "it is of thread 0");
    assert_eq!(a.adopt(&options, content(257)), Err(PoolError::TooManyBytes));
    for token in 0..8 {
        attach(&mut a, token);
    }
    assert_eq!(a.adopt(&options, content(9)), Err(PoolError::ReceiversFull { receivers_max: 8 }));
    a.buffer(lease).unwrap()[..9].copy_from_slice(b"unchanged");
    drop(a);
    let id = b.adopt(&options, content(9)).unwrap();
    assert_eq!(b.data(id).unwrap(), b"unchanged");
    assert_eq!(b.release(lease), Err(SchedulerError::StaleLease.into()), "it is the receiver's");
    b.decoded(id, 9, 0).unwrap();
    let kept = keeping(&mut b, 2, &[1; 100]);
    assert_eq!((b.data(kept).unwrap(), b.check_invariants()), (&[1; 100][..], Ok(())));
}
