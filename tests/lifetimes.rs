//! Lifetimes in a shared pool: leases, waits and grants, while shards and the shared pool end.
#![allow(clippy::disallowed_methods, reason = "a test may start threads")]

mod common;

use common::{check, config, granted_to, holding, receive, two, waiting};
use demuxbuf::connection::{Action, Event};
use demuxbuf::pool::{AttachOptions, LeasedContent, Notice, Pool, PoolConfig, PoolError};
use demuxbuf::scheduler::{LeaseId, Outcome, SchedulerConfig, SchedulerError, WaitId};
use demuxbuf::shared::{PoolShard, SharedPool};
use fastrand::Rng;
use std::sync::Mutex;

/// While a request of a thread waits, its `poll_timeout` ends when a grant that another thread does not pick up lapses.
#[test]
fn s58_poll_timeout_ends_when_a_grant_is_overdue() {
    let mut config = config(1);
    (config.scheduler.park_ns, config.scheduler.lease_ns) = (Some(1_000), Some(10_000));
    let (_shared_pool, mut a, mut b) = two(&config);
    for pool in [&mut a, &mut b] {
        pool.handle_timeout(500);
    }
    let Ok(Outcome::Granted(lease)) = a.request(0, 0) else { panic!("a buffer is free") };
    waiting(&mut b, 1);
    waiting(&mut a, 2);
    assert_eq!(a.poll_timeout(), None);
    a.release(lease).unwrap();
    // The clock goes on in steps of an eighth of a lease, as it is asked for.
    for now_ns in (1_750..=10_500).step_by(1_250) {
        assert_eq!((granted_to(&mut a), a.poll_timeout()), (None, Some(now_ns)));
        a.handle_timeout(now_ns);
    }
    assert_eq!((granted_to(&mut a), granted_to(&mut b)), (Some(2), None));
    check(&a, &b);
}

/// Without `lease_ns` a grant stays with its thread, however long that does not pick it up: no thread is asked to come
/// back for it.
#[test]
fn poll_timeout_is_never_without_lease_ns() {
    let (_shared_pool, mut a, mut b) = two(&config(1));
    let Ok(Outcome::Granted(lease)) = a.request(0, 0) else { panic!("a buffer is free") };
    waiting(&mut b, 1);
    waiting(&mut a, 2);
    assert_eq!(a.poll_timeout(), None);
    for pool in [&mut a, &mut b] {
        pool.handle_timeout(0);
    }
    a.release(lease).unwrap();
    for now_ns in [1, u64::MAX - 1, u64::MAX] {
        assert_eq!((granted_to(&mut a), a.poll_timeout()), (None, None));
        a.handle_timeout(now_ns);
    }
    assert_eq!((granted_to(&mut a), granted_to(&mut b)), (None, Some(1)));
    check(&a, &b);
}

/// A thread that looks after a lease keeps its own grants: only those of threads that do not look go to others.
#[test]
fn s58_thread_that_looks_late_keeps_its_grants() {
    let mut config = config(2);
    (config.scheduler.park_ns, config.scheduler.lease_ns) = (Some(1_000), Some(10_000));
    let (_shared_pool, mut a, mut b) = two(&config);
    let leases = [0, 1].map(|token| match a.request(0, token) {
        Ok(Outcome::Granted(lease)) => lease,
        other => panic!("a buffer is free: {other:?}"),
    });
    waiting(&mut a, 1);
    waiting(&mut b, 2);
    waiting(&mut a, 3);
    for pool in [&mut a, &mut b] {
        pool.handle_timeout(500);
    }
    leases.into_iter().for_each(|lease| a.release(lease).unwrap());
    for now_ns in (1_750..=10_500).step_by(1_250) {
        a.handle_timeout(now_ns);
        // It takes the lock, so that the clock goes on, and does not look.
        assert!(a.cancel(WaitId::from_bits(0)).is_err());
    }
    assert_eq!((granted_to(&mut a), granted_to(&mut a)), (Some(1), Some(3)));
    assert_eq!((granted_to(&mut a), granted_to(&mut b)), (None, None));
    check(&a, &b);
}

/// Other threads get at the pool after each 16 buffers, or each mebibyte of them.
#[test]
fn s80_trim_returns_pages_in_pieces() {
    for (buffers, buffer_bytes, least) in [(100, 4096, 7), (10, 1 << 20, 10), (10, 16 << 20, 10), (20, 256 << 10, 5)] {
        let (shared_pool, mut a, b) = two(&PoolConfig { buffer_bytes, ..PoolConfig::new(buffers, 8) });
        let held = a.attach(&AttachOptions::new(0, 0)).unwrap();
        a.handle(held, Event::Readable).unwrap();
        let locked = shared_pool.stats().locked;
        a.trim();
        assert_eq!(shared_pool.stats().locked - locked, least, "{buffers} buffers of {buffer_bytes} bytes");
        check(&a, &b);
    }
}

/// Receivers and requests of one thread that come and go at random until the thread ends, whatever it holds.
fn live(mut pool: Pool<PoolShard>, mut rng: Rng, left: &Mutex<Vec<LeaseId>>) {
    let (mut ids, mut own, mut now_ns) = (Vec::new(), Vec::new(), 0);
    for _ in 0..rng.u32(200..400) {
        now_ns += rng.u64(..1_024);
        pool.handle_timeout(now_ns);
        match rng.u32(..8) {
            0 => ids.extend(pool.attach(&AttachOptions::new(0, 0))),
            1..=3 if !ids.is_empty() => {
                let id = ids[rng.usize(..ids.len())];
                if pool.handle(id, Event::Readable).unwrap().has(Action::Recv) {
                    let bytes = pool.receive_area(id).unwrap().len() as u32;
                    pool.handle(id, Event::Received { bytes }).unwrap();
                }
            }
            4 if !ids.is_empty() => {
                let id = ids.swap_remove(rng.usize(..ids.len()));
                pool.handle(id, Event::Close).unwrap();
            }
            5 => match pool.request(0, 0) {
                Ok(Outcome::Granted(lease)) => own.push(lease),
                Ok(Outcome::Queued(_))
                | Err(PoolError::Scheduler(SchedulerError::WaitersFull { .. }) | PoolError::PoolClosed) => {}
                Err(error) => panic!("{error}"),
            },
            6 if !own.is_empty() => pool.release(own.swap_remove(0)).unwrap(),
            _ => {
                // A lease that another thread left, or has just taken.
                let lease = left.lock().unwrap().pop();
                if let Some(lease) = lease.filter(|&lease| pool.release(lease).is_err()) {
                    left.lock().unwrap().push(lease);
                }
            }
        }
        while let Some(granted) = pool.poll_notice() {
            if let Notice::Lease { lease, .. } = granted {
                own.push(lease);
            }
        }
        while pool.poll_wake().is_some() {}
    }
    left.lock().unwrap().append(&mut own);
}

/// The threads of a pool and the pool itself end in any order, with receivers, waits and leases of the host's own,
/// while others release leases that they left: no buffer is lost, and each lease is released once.
#[test]
fn s81_pools_end_in_any_order() {
    for round in 0..60 {
        let mut config = config(5);
        (config.scheduler.park_ns, config.scheduler.lease_ns, config.scheduler.waiters_max) =
            (Some(1_000), Some(4_000), 12);
        let shared_pool = SharedPool::new(&config, 4).unwrap();
        let mut last = shared_pool.shard(3).unwrap();
        let left = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for index in 0..3 {
                let (pool, left) = (shared_pool.shard(index).unwrap(), &left);
                scope.spawn(move || live(pool, Rng::with_seed(round * 3 + u64::from(index)), left));
            }
            if round % 2 == 0 {
                drop(shared_pool);
            }
        });
        for lease in left.into_inner().unwrap() {
            last.release(lease).unwrap();
        }
        let stats = last.stats().scheduler;
        assert_eq!((stats.free, stats.leased, stats.assigned, stats.waiting), (5, 0, 0, 0), "round {round}");
        last.check_invariants().unwrap();
    }
}

/// A lease of the host's own and the content of its buffer outlive the receivers of the thread that took it. Then any
/// one thread may use it, and the first one that touches the buffer has it.
#[test]
fn s82_host_lease_outlives_its_thread() {
    let (shared_pool, mut a, mut b) = two(&config(1));
    let Ok(Outcome::Granted(lease)) = a.request(0, 2) else { panic!("a buffer is free") };
    a.buffer(lease).unwrap().fill(7);
    let content = LeasedContent { lease, offset: 0, buffered_bytes: 10 };
    assert_eq!(
        (b.release(lease), b.adopt(&AttachOptions::new(0, 1), content)),
        (Err(SchedulerError::StaleLease.into()), Err(SchedulerError::StaleLease.into()))
    );
    assert!(b.buffer(lease).is_err(), "another thread may have borrowed it");
    drop(a);
    let waiter = waiting(&mut b, 5);
    let mut a = shared_pool.shard(0).unwrap();
    assert_eq!(
        b.adopt(&AttachOptions::new(0, 1), LeasedContent { offset: u32::MAX, ..content }),
        Err(PoolError::TooManyBytes)
    );
    assert!(a.buffer(lease).unwrap().iter().all(|&byte| byte == 7));
    assert_eq!((b.release(lease), granted_to(&mut b)), (Err(SchedulerError::StaleLease.into()), None));
    drop(a);
    drop(shared_pool);
    assert!(b.buffer(lease).unwrap().iter().all(|&byte| byte == 7));
    assert_eq!((b.release(lease), b.release(lease)), (Ok(()), Err(SchedulerError::StaleLease.into())));
    assert_eq!(granted_to(&mut b), Some(5));
    receive(&mut b, waiter, &[5; 100]);
    assert_eq!(b.check_invariants(), Ok(()));
}

/// After the shared pool is dropped no thread caches a buffer, so that all waiters are served, by whichever
/// thread buffers come back.
#[test]
fn s83_closed_pool_serves_all_waiters() {
    let config = PoolConfig { slots: 0, ..PoolConfig { buffer_bytes: 256, ..PoolConfig::new(64, 128) } };
    let (shared_pool, mut a, mut b) = two(&config);
    let held: Vec<_> = (0..2).map(|token| a.attach(&AttachOptions::new(0, token)).unwrap()).collect();
    let of_b: Vec<_> = (0..128).map(|token| b.attach(&AttachOptions::new(0, token)).unwrap()).collect();
    drop(shared_pool);
    for &id in &held {
        assert!(a.handle(id, Event::Readable).unwrap().has(Action::Recv));
    }
    let at_once = of_b.iter().filter(|&&id| b.handle(id, Event::Readable).unwrap().has(Action::Recv)).count();
    check(&a, &b);
    assert_eq!((at_once, b.stats().scheduler.free, b.stats().scheduler.waiting), (62, 0, 66));
    let mut served = at_once;
    for id in held {
        a.handle(id, Event::Close).unwrap();
        assert_eq!(a.poll_wake(), Some(1));
        served += usize::from(granted_to(&mut b).is_some());
        check(&a, &b);
    }
    // Each waiter that is served leaves its buffer to the next.
    for &id in of_b.iter().take(64) {
        b.handle(id, Event::Close).unwrap();
        served += usize::from(granted_to(&mut b).is_some());
        check(&a, &b);
    }
    assert_eq!((served, b.stats().scheduler.waiting, granted_to(&mut b)), (128, 0, None));
}

/// Whatever is free or cached, and whether a request could wait or not.
#[test]
fn s83_requests_after_close_are_refused() {
    for waiters_max in [8, 9] {
        let mut config = config(64);
        config.scheduler.waiters_max = waiters_max;
        let (shared_pool, mut a, b) = two(&config);
        let id = a.attach(&AttachOptions::new(0, 1)).unwrap();
        drop(shared_pool);
        for _ in 0..3 {
            assert!(a.handle(id, Event::Readable).unwrap().has(Action::Recv));
            assert_eq!(a.request(0, 99), Err(PoolError::PoolClosed));
            a.handle(id, Event::WouldBlock).unwrap();
            assert_eq!(a.request(0, 99), Err(PoolError::PoolClosed));
        }
        check(&a, &b);
        // None is free.
        let (shared_pool, mut a, b) =
            two(&PoolConfig { scheduler: SchedulerConfig { buffers: 1, ..config.scheduler }, ..config });
        let holder = holding(&mut a, 1, &[1; 100]);
        drop(shared_pool);
        assert_eq!(a.request(0, 99), Err(PoolError::PoolClosed));
        a.handle(holder, Event::Close).unwrap();
        check(&a, &b);
    }
}

/// A call that is refused leaves the lease where it was.
#[test]
fn s85_refused_adopt_moves_nothing() {
    let config = PoolConfig { receivers_max: 1, ..config(2) };
    let (shared_pool, mut a, mut b) = two(&config);
    let Ok(Outcome::Granted(lease)) = a.request(0, 2) else { panic!("a buffer is free") };
    let content = LeasedContent { lease, offset: 0, buffered_bytes: 10 };
    assert_eq!(
        a.adopt(&AttachOptions::new(9, 1), content),
        Err(SchedulerError::UnknownClass { class: 9, classes: 1 }.into())
    );
    assert_eq!(
        a.adopt(&AttachOptions::new(0, 1), LeasedContent { buffered_bytes: u32::MAX, ..content }),
        Err(PoolError::TooManyBytes)
    );
    drop(a);
    let other = b.attach(&AttachOptions::new(0, 1)).unwrap();
    assert_eq!(b.adopt(&AttachOptions::new(0, 1), content), Err(PoolError::ReceiversFull { receivers_max: 1 }));
    let mut a = shared_pool.shard(0).unwrap();
    b.handle(other, Event::Close).unwrap();
    let id = a.adopt(&AttachOptions::new(0, 1), content).unwrap();
    assert_eq!(
        (b.adopt(&AttachOptions::new(0, 1), content), a.release(lease)),
        (Err(SchedulerError::StaleLease.into()), Err(SchedulerError::StaleLease.into()))
    );
    assert_eq!(a.data(id).unwrap().len(), 10);
    check(&a, &b);
}
