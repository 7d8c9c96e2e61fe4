//! What a thread of a shared pool holds and sees: its spare, what it releases, and what reserves leave beside it.

mod common;

use common::{COMMON, attach, check, config, config_of, granted, two};
use demuxbuf::connection::{Action, Event, Policy};
use demuxbuf::pool::{AttachOptions, LeasedContent, PoolConfig, PoolError};
use demuxbuf::scheduler::{Request, SchedulerError};
use demuxbuf::shared::SharedPool;

/// The number of a lease ends when a receiver has its buffer, also if the buffer is the host's once more.
#[test]
fn number_of_an_adopted_lease_ends() {
    let (_shared_pool, mut a, b) = two(&config());
    let lease = granted(&mut a, 1);
    let id = a.adopt(&AttachOptions::new(0, 1), LeasedContent { lease, offset: 0, buffered_bytes: 100 }).unwrap();
    let taken = a.take(id).unwrap().lease;
    assert_eq!(taken.index(), lease.index(), "the content leaves with the buffer that it is in");
    assert_eq!(a.release(lease), Err(SchedulerError::StaleLease.into()));
    a.release(taken).unwrap();
    check(&a, &b);
}

/// A buffer that is adopted counts in the class of receivers, on whichever thread: that of the request has room for
/// another one, and the cap of the receivers' class holds.
#[test]
fn adopted_buffer_is_of_the_class_of_receivers() {
    let mut config = PoolConfig { classes: 2, ..config() };
    (config.class_caps[0], config.class_caps[1]) = (1, COMMON);
    let (shared_pool, mut a, mut b) = two(&config);
    let usable = AttachOptions::new(0, 1);
    let outstanding = || shared_pool.stats().scheduler.outstanding_by_class;
    let [before, of_receivers] = [outstanding()[0], outstanding()[1]];
    assert_eq!(before, 0);
    let mut adopted = 0;
    let refused = loop {
        let request = Request { class: 0, ..Request::new(0, adopted.into()) };
        let pool = if adopted % 2 == 0 { &mut a } else { &mut b };
        let Some(lease) = pool.try_request(&request).unwrap() else { panic!("class 0 has room for one: {adopted}") };
        match pool.adopt(&usable, LeasedContent { lease, offset: 0, buffered_bytes: 200 }) {
            Ok(id) => assert!(pool.handle(id, Event::Block { reasons: 1 }).is_ok()),
            Err(error) => break (error, pool.release(lease)),
        }
        adopted += 1;
        assert_eq!(outstanding()[..2], [0, of_receivers + adopted]);
    };
    assert_eq!(refused, (PoolError::NoBufferFree, Ok(())), "the cap of the receivers' class, after {adopted}");
    assert!(adopted > 1 && adopted <= COMMON);
    check(&a, &b);
}

/// While nothing is used but what each thread holds, each class can be granted a buffer.
#[test]
fn reserve_leaves_a_buffer_beside_the_spares() {
    let mut config = PoolConfig { classes: 2, ..config() };
    config.reserves[0] = COMMON;
    let error = SharedPool::new(&config, 2).expect_err("a request would wait forever");
    assert_eq!(error.to_string(), format!("reserves[0] is 10; allowed is 0 to {}", COMMON - 1));
    config.reserves[0] = COMMON - 1;
    let (_shared_pool, mut a, b) = two(&config);
    granted(&mut a, 1);
    check(&a, &b);
}

/// While nothing is used, a receiver without credit is not in shortage, however many threads hold a spare.
#[test]
fn nothing_is_short_beside_the_spares() {
    let mut config = PoolConfig { buffer_bytes: 128, ..PoolConfig::new(96 * 128, 12) };
    config.reserves[0] = 79;
    let (_shared_pool, mut a, _b) = two(&config);
    let id = attach(&mut a, 1);
    assert!(a.handle(id, Event::Readable).unwrap().has(Action::Recv));
    assert_eq!(a.receive_area(id).map(|area| area.len()), Ok(128));
}

/// A thread that has nothing left to poll releases what it holds beyond its spare, and sees that it is free. While a
/// receiver borrows, a poll takes nothing.
#[test]
fn poll_shows_what_it_released() {
    let shared_pool = SharedPool::new(&config_of(8), 1).unwrap();
    let mut pool = shared_pool.shard(0).unwrap();
    let [first, last] = [1, 3].map(|token| attach(&mut pool, token));
    let policy = Some(Policy { reads_ahead: true, ..Policy::default() });
    let claims = pool.attach(&AttachOptions { policy, ..AttachOptions::new(0, 2) }).unwrap();
    assert!(pool.handle(first, Event::Readable).unwrap().has(Action::Recv));
    // The spare is left, and one more.
    (0..4).for_each(|token| _ = granted(&mut pool, token));
    assert!(!pool.handle(claims, Event::Readable).unwrap().has(Action::Recv), "both are held, and it reads ahead");
    assert_eq!((pool.poll_notice(), pool.stats().scheduler.free), (None, 1));
    let granted_at_once = pool.stats().scheduler.granted_at_once;
    assert_eq!((pool.poll_notice(), pool.stats().scheduler.granted_at_once), (None, granted_at_once));
    pool.handle(claims, Event::Close).unwrap();
    pool.handle(first, Event::WouldBlock).unwrap();
    // More than the reserve is free.
    assert!(pool.handle(last, Event::Readable).unwrap().has(Action::Recv));
    assert_eq!(pool.receive_area(last).map(|area| area.len()), Ok(256));
}
