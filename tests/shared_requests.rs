//! What the receivers and the host of one thread ask a shared pool for: requests that never queue, and leases that are
//! not the host's any more.

mod common;

use common::{ShardPool, at_cap, attach, check, config, exhaust, granted, granted_to, keeping, two, waiting};
use demuxbuf::connection::{Event, Mode, Policy};
use demuxbuf::pool::{AttachOptions, PoolConfig, PoolError};
use demuxbuf::scheduler::{Outcome, Request, SchedulerError};

/// A buffer that no thread has picked up yet is neither free nor leased.
#[test]
fn assigned_buffers_are_counted() {
    let (shared_pool, mut a, mut b) = two(&config());
    let lease = exhaust(&mut a, &mut b)[0];
    assert!(matches!(b.request(0, 2), Ok(Outcome::Queued(_))));
    a.release(lease).unwrap();
    let stats = shared_pool.stats().scheduler;
    assert_eq!((stats.free, stats.leased, stats.assigned, stats.waiting), (0, 15, 1, 0));
    assert_eq!(granted_to(&mut b), Some(2));
    let stats = shared_pool.stats().scheduler;
    assert_eq!((stats.free, stats.leased, stats.assigned), (0, 16, 0));
    check(&a, &b);
}

/// A request that never queues is granted or not, on whichever thread, and goes before no request that waits.
#[test]
fn try_request_is_granted_at_once_or_not_at_all() {
    let mut config = PoolConfig { classes: 2, ..config() };
    config.reserves[1] = 1;
    let (shared_pool, mut a, mut b) = two(&config);
    let ask = |class| Request::new(class, 7);
    let mut leases: Vec<_> = std::iter::from_fn(|| a.try_request(&ask(1)).unwrap()).collect();
    assert_eq!(b.try_request(&ask(1)), Ok(None), "the reserve blocks its class");
    let Ok(Outcome::Queued(_)) = b.request(1, 8) else { panic!("the reserve blocks its class") };
    let other = b.try_request(&ask(0)).unwrap().expect("the reserve is for class 0");
    assert_eq!((a.try_request(&ask(0)), b.try_request(&ask(0))), (Ok(None), Ok(None)));
    let Ok(Outcome::Queued(_)) = a.request(0, 9) else { panic!("no buffer is free") };
    assert_eq!(shared_pool.stats().scheduler.waiting, 2, "of requests that queue alone");
    let lease = leases.pop().unwrap();
    b.release(lease).expect_err("it is of the other thread");
    a.release(lease).unwrap();
    b.release(other).unwrap();
    // One buffer is assigned to class 0; the other one is free, and the reserve blocks the waiter of class 1.
    assert_eq!((a.try_request(&ask(1)), b.try_request(&ask(1))), (Ok(None), Ok(None)));
    assert_eq!((granted_to(&mut a), granted_to(&mut b)), (Some(9), None));
    let unknown = SchedulerError::UnknownClass { class: 2, classes: 2 };
    assert_eq!(a.try_request(&ask(2)), Err(unknown.into()), "that of waits of receivers is no class of the host's");
    drop(shared_pool);
    assert_eq!(a.try_request(&ask(0)), Err(PoolError::PoolClosed));
    check(&a, &b);
}

/// The memory of a lease that ended, or that is a receiver's, is not shown, from wherever it may be reached.
#[test]
fn buffer_area_of_a_foreign_lease_is_refused() {
    let (_shared_pool, mut a, b) = two(&config());
    let lease = granted(&mut a, 1);
    assert!(a.buffer_area(lease).is_ok() && b.buffer_area(lease).is_ok());
    a.release(lease).unwrap();
    let stale = PoolError::Scheduler(SchedulerError::StaleLease);
    assert_eq!((a.buffer_area(lease).err(), b.buffer_area(lease).err()), (Some(stale), Some(stale)));
    check(&a, &b);
}

/// An address leads to the lease of its buffer on every thread, as long as the lease is the host's own.
#[test]
fn lease_of_address_is_found_on_every_thread() {
    let (_shared_pool, mut a, mut b) = two(&config());
    let lease = granted(&mut a, 1);
    let address = a.buffer(lease).unwrap()[255..].as_ptr();
    assert_eq!((a.lease_of_address(address), b.lease_of_address(address)), (Ok(lease), Ok(lease)));
    let stale = Err(PoolError::Scheduler(SchedulerError::StaleLease));
    a.release(lease).unwrap();
    assert_eq!((a.lease_of_address(address), b.lease_of_address(address)), (stale, stale));
    let id = keeping(&mut b, 2, &[2; 100]);
    let of_receiver = b.data(id).unwrap().as_ptr();
    assert_eq!((a.lease_of_address(of_receiver), b.lease_of_address(of_receiver)), (stale, stale));
    let elsewhere = [1; 256];
    let unknown = Err(PoolError::UnknownAddress);
    assert_eq!((a.lease_of_address(elsewhere.as_ptr()), b.lease_of_address(elsewhere.as_ptr())), (unknown, unknown));
}

/// A receiver takes its policy along to another thread, whose pool has another one.
#[test]
fn import_keeps_the_policy_of_the_receiver() {
    let (_shared_pool, mut a, mut b) = two(&config());
    let policy = Policy { mode: Mode::Edge, ..Policy::default() };
    let id = a.attach(&AttachOptions { policy: Some(policy), ..AttachOptions::new(0, 7) }).unwrap();
    let mut exported = a.export(id).unwrap();
    let id = b.import(&mut exported).unwrap();
    assert_eq!(b.connection(id).unwrap().policy(), policy);
    check(&a, &b);
}

/// Of a receiver whose connection was exchanged for one that has ended, nothing is imported.
#[test]
fn s86_import_refuses_an_ended_connection() {
    let (_shared_pool, mut a, mut b) = two(&config());
    let id = attach(&mut a, 1);
    let mut exported = a.export(id).unwrap();
    let own = exported.connection.clone();
    exported.connection.handle(Event::Close).unwrap();
    assert_eq!(b.import(&mut exported), Err(PoolError::Stale));
    exported.connection = own;
    b.import(&mut exported).unwrap();
    check(&a, &b);
}

/// Both threads wait for the one buffer that their receivers may still have: it serves the first, and goes to and fro
/// no more.
#[test]
fn s10_last_buffer_below_the_cap_serves_one() {
    let (_shared_pool, mut a, mut b, kept) = at_cap();
    let waits_at_cap = |pool: &mut ShardPool, token| {
        pool.handle_timeout(0);
        keeping(pool, 1, &[1; 200]);
        waiting(pool, token);
        assert_eq!(pool.poll_notice(), None, "its spare is used, and receivers are at their cap");
    };
    waits_at_cap(&mut b, 2);
    // A spare of its own, and one for thread 1.
    kept[..2].iter().for_each(|&id| _ = a.handle(id, Event::Close).unwrap());
    waits_at_cap(&mut a, 3);
    assert_eq!((a.poll_wake(), granted_to(&mut b)), (Some(1), Some(2)));
    for _ in 0..2 {
        assert_eq!([&mut a, &mut b].map(|pool| (granted_to(pool), pool.poll_wake())), [(None, None); 2]);
    }
    check(&a, &b);
}
