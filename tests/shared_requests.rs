//! What the receivers and the host of one thread ask a shared pool for: waits that change their class, deadlines that are
//! deferred, and leases that are not the host's any more.

mod common;

use common::{check, config, granted_to, holding, receive, two, waiting};
use demuxbuf::connection::{Action, Event, Mode, Policy};
use demuxbuf::pool::{AttachOptions, Notice, PoolConfig, PoolError};
use demuxbuf::scheduler::{Outcome, Request, SchedulerError};

/// A wait whose frame begins asks in the class of partial frames, and comes before those of new work.
#[test]
fn s57_begun_frame_is_served_before_new_work() {
    let mut config = PoolConfig { continuation_class: Some(0), ..config(1) };
    config.scheduler.classes = 2;
    let (shared_pool, mut a, mut b) = two(&config);
    let holder = holding(&mut a, 1, &[1; 100]);
    let wait = |b: &mut demuxbuf::pool::Pool<_>, token| {
        let id = b.attach(&AttachOptions::new(1, token)).unwrap();
        b.handle(id, Event::Readable).unwrap();
        id
    };
    wait(&mut b, 2);
    let begun = wait(&mut b, 3);
    receive(&mut b, begun, &[3; 64]);
    b.decoded(begun, 0, 100).unwrap();
    assert_eq!(shared_pool.stats().scheduler.waiting_by_class[..2], [1, 1]);
    a.handle(holder, Event::Close).unwrap();
    assert_eq!(granted_to(&mut b), Some(3));
    check(&a, &b);
    // The class of its lease counts, too.
    let stats = shared_pool.stats().scheduler;
    assert_eq!((&stats.outstanding_by_class[..2], stats.waiting), (&[1, 0][..], 1));
}

/// A buffer that no thread has picked up yet is neither free nor leased.
#[test]
fn assigned_buffers_are_counted() {
    let (shared_pool, mut a, mut b) = two(&config(1));
    let holder = holding(&mut a, 1, &[1; 200]);
    waiting(&mut b, 2);
    a.handle(holder, Event::Close).unwrap();
    let stats = shared_pool.stats().scheduler;
    assert_eq!((stats.free, stats.leased, stats.assigned, stats.waiting), (0, 0, 1, 0));
    assert_eq!(granted_to(&mut b), Some(2));
    let stats = shared_pool.stats().scheduler;
    assert_eq!((stats.free, stats.leased, stats.assigned), (0, 1, 0));
}

/// Content that the host blocks has two leases, and counts as asked to leave once.
#[test]
fn s61_blocked_content_is_shed_after_a_second_lease() {
    let mut config = PoolConfig { lifeline: false, ..config(1) };
    (config.scheduler.park_ns, config.scheduler.lease_ns) = (Some(100), Some(1_000));
    let (_shared_pool, mut a, mut b) = two(&config);
    a.handle_timeout(0);
    let id = holding(&mut a, 1, &[1; 200]);
    a.handle(id, Event::Block { reasons: 1 }).unwrap();
    waiting(&mut b, 2);
    let shed_ns = (0..5_000).step_by(100).find(|&now_ns| {
        a.handle_timeout(now_ns);
        let mut notices = std::iter::from_fn(|| a.poll_notice());
        notices.any(|notice| matches!(notice, Notice::Receiver { actions, .. } if actions.has(Action::Shed)))
    });
    assert_eq!((shed_ns, a.stats().shed, a.stats().reclaim.sheds_asked), (Some(2_000), 1, 1));
    check(&a, &b);
}

/// A request that never queues is granted or not, on whichever thread, and goes before no request that waits.
#[test]
fn try_request_is_granted_at_once_or_not_at_all() {
    let mut config = config(2);
    (config.scheduler.classes, config.scheduler.reserves[1]) = (2, 1);
    let (shared_pool, mut a, mut b) = two(&config);
    let ask = |class| Request::new(class, 7);
    let lease = a.try_request(&ask(0)).unwrap().expect("a buffer is free");
    assert_eq!(b.try_request(&ask(1)), Ok(None), "the reserve blocks its class");
    let Ok(Outcome::Queued(_)) = b.request(1, 8) else { panic!("the reserve blocks its class") };
    let other = b.try_request(&ask(0)).unwrap().expect("the reserve is for class 0");
    assert_eq!((a.try_request(&ask(0)), b.try_request(&ask(0))), (Ok(None), Ok(None)));
    let waiting = waiting(&mut a, 9);
    assert_eq!(shared_pool.stats().scheduler.waiting, 2, "of requests that queue alone");
    b.release(lease).expect_err("it is of the other thread");
    a.release(lease).unwrap();
    b.release(other).unwrap();
    // One buffer is assigned to class 0; the other one is free, and the reserve blocks the waiter of class 1.
    assert_eq!((a.try_request(&ask(1)), b.try_request(&ask(1))), (Ok(None), Ok(None)));
    assert_eq!((granted_to(&mut a), granted_to(&mut b)), (Some(9), None));
    let unknown = SchedulerError::UnknownClass { class: 2, classes: 2 };
    assert_eq!(a.try_request(&ask(2)), Err(unknown.into()));
    a.handle(waiting, Event::Close).unwrap();
    drop(shared_pool);
    assert_eq!(a.try_request(&ask(0)), Err(PoolError::PoolClosed));
    check(&a, &b);
}

/// The memory of a lease that ended, or that is a receiver's, is not shown, from wherever it may be reached.
#[test]
fn buffer_area_of_a_foreign_lease_is_refused() {
    let (_shared_pool, mut a, mut b) = two(&config(2));
    let Ok(Outcome::Granted(lease)) = a.request(0, 1) else { panic!("a buffer is free") };
    assert!(a.buffer_area(lease).is_ok() && b.buffer_area(lease).is_ok());
    a.release(lease).unwrap();
    holding(&mut a, 2, &[2; 100]);
    holding(&mut b, 3, &[3; 100]);
    let stale = PoolError::Scheduler(SchedulerError::StaleLease);
    assert_eq!((a.buffer_area(lease).err(), b.buffer_area(lease).err()), (Some(stale), Some(stale)));
}

/// An address leads to the lease of its buffer on every thread, as long as the lease is the host's own.
#[test]
fn lease_of_address_is_found_on_every_thread() {
    let (_shared_pool, mut a, mut b) = two(&config(2));
    let Ok(Outcome::Granted(lease)) = a.request(0, 1) else { panic!("a buffer is free") };
    let address = a.buffer(lease).unwrap()[255..].as_ptr();
    assert_eq!((a.lease_of_address(address), b.lease_of_address(address)), (Ok(lease), Ok(lease)));
    let stale = Err(PoolError::Scheduler(SchedulerError::StaleLease));
    a.release(lease).unwrap();
    assert_eq!((a.lease_of_address(address), b.lease_of_address(address)), (stale, stale));
    let id = holding(&mut b, 2, &[2; 100]);
    let of_receiver = b.data(id).unwrap().as_ptr();
    assert_eq!((a.lease_of_address(of_receiver), b.lease_of_address(of_receiver)), (stale, stale));
    let elsewhere = [1; 256];
    let unknown = Err(PoolError::UnknownAddress);
    assert_eq!((a.lease_of_address(elsewhere.as_ptr()), b.lease_of_address(elsewhere.as_ptr())), (unknown, unknown));
}

/// A receiver takes its policy along to another thread, whose pool has another one.
#[test]
fn import_keeps_the_policy_of_the_receiver() {
    let (_shared_pool, mut a, mut b) = two(&config(2));
    let policy = Policy { mode: Mode::Edge, park_bytes: 9, ..Policy::default() };
    let id = a.attach(&AttachOptions { policy: Some(policy), ..AttachOptions::new(0, 7) }).unwrap();
    let mut exported = a.export(id).unwrap();
    let id = b.import(&mut exported).unwrap();
    assert_eq!(b.connection(id).unwrap().policy(), policy);
    check(&a, &b);
}

/// Of a receiver whose connection was exchanged for one that has ended, nothing is imported.
#[test]
fn s86_import_refuses_an_ended_connection() {
    let (_shared_pool, mut a, mut b) = two(&config(1));
    let id = a.attach(&AttachOptions::new(0, 1)).unwrap();
    let mut exported = a.export(id).unwrap();
    let own = exported.connection.clone();
    exported.connection.handle(Event::Close).unwrap();
    assert_eq!(b.import(&mut exported), Err(PoolError::Stale));
    exported.connection = own;
    b.import(&mut exported).unwrap();
    check(&a, &b);
}
