//! Receivers of several threads on one pool: what each call does, on one thread.
#![allow(clippy::disallowed_methods, reason = "a test may start threads")]

mod common;

use common::{
    COMMON, ShardPool, at_cap, attach, check, config, config_of, exhaust, granted, granted_to, keeping, receive, two,
    waiting,
};
use demuxbuf::connection::{Action, Event, EventError, Mode, Policy};
use demuxbuf::pool::{AttachOptions, LeasedContent, Notice, Pool, PoolConfig, PoolError, ReceiverId};
use demuxbuf::scheduler::{LeaseId, Outcome, Request, SchedulerError, WaitId};
use demuxbuf::shared::{SharedPool, SharedPoolError, SharedSchedulerError};

const MS: u64 = 1_000_000;

fn moves(from: &mut ShardPool, id: ReceiverId, to: &mut ShardPool) -> ReceiverId {
    let mut exported = from.export(id).unwrap();
    assert_eq!(from.handle(id, Event::Wake), Err(PoolError::Stale), "the handle has ended");
    to.import(&mut exported).unwrap()
}

#[test]
fn resident_bytes_are_bounded_across_threads() {
    let page_bytes = 65_536;
    let config = PoolConfig { buffer_bytes: page_bytes, ..PoolConfig::new(16 * u64::from(page_bytes), 8) };
    let (_shared_pool, mut a, mut b) = two(&config);
    assert_eq!(a.bypass_bound(), b.bypass_bound());
    let leases: Vec<_> = (0..3).map(|token| granted(&mut a, token)).collect();
    for &lease in &leases {
        a.buffer(lease).unwrap()[0] = 1;
    }
    let id = keeping(&mut b, 1, b"x");
    assert_eq!(b.trim(), 0, "nothing that was used is free");
    a.release(leases[0]).unwrap();
    // Its cached buffers are free for all threads then.
    drop(a);
    // Miri knows no madvise(2).
    let page_bytes = if cfg!(all(target_os = "linux", not(miri))) { page_bytes as usize } else { 0 };
    let trimmed = b.trim();
    assert!((page_bytes..=2 * page_bytes).contains(&trimmed) && b.trim() == 0, "what was used, once: {trimmed}");
    assert_eq!(b.data(id).unwrap(), b"x");
    b.check_invariants().unwrap();
}

/// A thread finds what is free, whichever thread caches it.
#[test]
fn thread_finds_buffers_cached_by_another_thread() {
    let (shared_pool, mut a, mut b) = two(&config());
    let lease = granted(&mut a, 1);
    a.release(lease).unwrap();
    assert!(shared_pool.stats().cached > 0, "given: thread 0 caches some");
    let leases = exhaust(&mut b, &mut a);
    assert_eq!((leases.len() as u32, shared_pool.stats().scheduler.free), (COMMON, 0));
    for lease in leases {
        b.release(lease).unwrap();
    }
    a.handle_timeout(1);
    // Content that is taken leaves with a buffer, wherever that is cached: the spare stays.
    let id = keeping(&mut a, 1, &[1; 100]);
    let content = a.take(id).unwrap();
    assert_eq!(&a.buffer(content.lease).unwrap()[..100], &[1; 100]);
    check(&a, &b);
}

/// What is taken in the middle of a decode leaves the place for what the decoder may leave.
#[test]
fn take_leaves_the_place_of_what_is_borrowed() {
    let (_shared_pool, mut a, b) = two(&config());
    let kept = keeping(&mut a, 1, &[1; 100]);
    let id = attach(&mut a, 2);
    a.handle(id, Event::Readable).unwrap();
    receive(&mut a, id, &[2; 200]);
    a.take(kept).unwrap();
    a.decoded(id, 0, 50).unwrap();
    assert_eq!((a.data(id).unwrap(), a.stats().shed), (&[2; 200][..], 0));
    check(&a, &b);
}

/// The receiver waits for room, and thread 1 sleeps; what the host of thread 0 releases wakes it.
#[test]
fn s10_release_reaches_the_receiver_of_another_thread() {
    let (_shared_pool, mut a, mut b) = two(&config());
    let mut leases = exhaust(&mut a, &mut b);
    let waiter = waiting(&mut b, 2);
    assert_eq!((b.poll_notice(), b.poll_wake()), (None, Some(0)), "thread 0 may evict for it");
    assert_eq!((a.poll_notice(), a.poll_wake()), (None, None));
    // A new receiver leaves the reserve, an eighth.
    let reserve = a.memory().split().reserve as usize;
    leases.drain(..reserve).for_each(|lease| a.release(lease).unwrap());
    assert_eq!((a.poll_wake(), b.poll_notice()), (None, None));
    a.release(leases.pop().unwrap()).unwrap();
    assert_eq!((a.poll_wake(), a.poll_wake()), (Some(1), None), "the other thread is named once");
    assert_eq!((granted_to(&mut b), granted_to(&mut b)), (Some(2), None));
    receive(&mut b, waiter, &[2; 250 - 64]);
    assert_eq!(b.data(waiter).unwrap(), [2; 250]);
    check(&a, &b);
}

/// One wait of the thread stands for all its receivers.
#[test]
fn s10_every_receiver_that_waits_is_served() {
    let (shared_pool, mut a, mut b) = two(&config());
    let leases = exhaust(&mut a, &mut b);
    let mut tokens: Vec<u64> = (1..5).collect();
    let ids: Vec<_> = tokens.iter().map(|&token| waiting(&mut b, token)).collect();
    assert_eq!((b.poll_notice(), shared_pool.stats().scheduler.waiting), (None, 1));
    for lease in leases {
        a.release(lease).unwrap();
        while a.poll_wake().is_some() {
            while let Some(token) = granted_to(&mut b) {
                tokens.retain(|&waiting| waiting != token);
                let id = ids[token as usize - 1];
                receive(&mut b, id, &[token as u8; 250 - 64]);
                b.decoded(id, 250, 0).unwrap();
            }
        }
        check(&a, &b);
    }
    assert_eq!((tokens, shared_pool.stats().scheduler.waiting), (vec![], 0));
    assert_eq!(shared_pool.stats().scheduler.free, COMMON, "each thread has its spare, and no more");
}

/// What thread 0 frees brings the receivers of all threads below their cap, and wakes thread 1.
#[test]
fn s10_cap_of_receivers_holds_and_ends_across_threads() {
    let (shared_pool, mut a, mut b, kept) = at_cap();
    b.handle_timeout(0);
    let spare = attach(&mut b, 7);
    b.handle(spare, Event::Readable).unwrap();
    receive(&mut b, spare, &[7; 200]);
    b.decoded(spare, 0, 50).unwrap();
    waiting(&mut b, 2);
    assert_eq!((b.poll_notice(), shared_pool.stats().scheduler.free), (None, 14), "it is the cap that holds it back");
    assert_eq!(shared_pool.stats().scheduler.waiting, 1, "and it waits for that");
    for id in kept {
        a.handle(id, Event::Close).unwrap();
    }
    assert_eq!((a.poll_notice(), a.poll_wake(), granted_to(&mut b)), (None, Some(1), Some(2)));
    check(&a, &b);
}

#[test]
fn hard_cap_and_statistics_cover_all_threads() {
    let (shared_pool, mut a, mut b) = two(&config());
    let fixed = shared_pool.stats().scheduler.leased;
    assert_eq!(fixed, 16 - COMMON, "what each thread has in any case");
    for token in 0..2 {
        granted(&mut a, token);
        granted(&mut b, token);
    }
    keeping(&mut a, 3, &[1; 100]);
    assert!(matches!(
        b.request(1, 3),
        Err(PoolError::Scheduler(SchedulerError::UnknownClass { class: 1, classes: 1 }))
    ));
    let stats = shared_pool.stats().scheduler;
    assert_eq!((stats.capacity, stats.leased, stats.free, stats.waiting), (16, fixed + 4, 16 - fixed - 4, 0));
    assert_eq!([a.stats().scheduler, b.stats().scheduler], [stats; 2], "the counts are of all threads");
    assert_eq!((a.stats().receivers, b.stats().receivers), (1, 0), "these are of one thread");
    exhaust(&mut a, &mut b);
    assert!(matches!(b.request(0, 4), Ok(Outcome::Queued(_))));
    let stats = shared_pool.stats().scheduler;
    assert_eq!((stats.leased, stats.free, stats.waiting, stats.leased_peak), (16, 0, 1, 16));
    check(&a, &b);
}

#[test]
fn shard_refuses_handles_of_another_thread() {
    let (_shared_pool, mut a, mut b) = two(&config());
    let id = keeping(&mut a, 1, &[1; 100]);
    let lease = granted(&mut a, 7);
    a.buffer(lease).unwrap()[0] = 1;
    assert_eq!(b.buffer(lease).unwrap_err(), PoolError::Scheduler(SchedulerError::StaleLease));
    assert_eq!(b.release(lease), Err(SchedulerError::StaleLease.into()));
    assert_eq!(b.data(id).unwrap_err(), PoolError::Stale, "a handle of another thread is foreign");
    exhaust(&mut b, &mut a);
    let Ok(Outcome::Queued(wait)) = b.request(0, 8) else { panic!("no buffer is free") };
    assert_eq!(a.cancel(wait), Err(SchedulerError::StaleWait.into()));
    assert_eq!(a.describe_wait(wait).unwrap_err(), PoolError::Scheduler(SchedulerError::StaleWait));
    assert_eq!(b.describe_wait(wait).unwrap().token, 8);
    b.cancel(wait).unwrap();
    a.release(lease).unwrap();
    for bits in [0, 1, u64::MAX] {
        assert_eq!(a.release(LeaseId::from_bits(bits)), Err(SchedulerError::StaleLease.into()));
        assert_eq!(a.cancel(WaitId::from_bits(bits)), Err(SchedulerError::StaleWait.into()));
    }
    check(&a, &b);
}

#[test]
fn s11_receiver_moves_in_any_state_with_its_content() {
    let (_shared_pool, mut a, mut b) = two(&config());
    // Idle, then with bytes in a small cell.
    let idle = attach(&mut a, 1);
    let id = moves(&mut a, idle, &mut b);
    b.handle(id, Event::Readable).unwrap();
    receive(&mut b, id, b"partial data");
    b.decoded(id, 0, 100).unwrap();
    let id = moves(&mut b, id, &mut a);
    assert_eq!(a.data(id).unwrap(), b"partial data");
    check(&a, &b);
    // With more than a small cell has, not at the front of its buffer, in the middle of a decode.
    a.handle(id, Event::Readable).unwrap();
    receive(&mut a, id, &[7; 100]);
    a.handle(id, Event::Consumed { bytes: 12 }).unwrap();
    let id = moves(&mut a, id, &mut b);
    assert_eq!(b.data(id).unwrap(), [7; 100]);
    b.decoded(id, 0, 100).unwrap();
    check(&a, &b);
    // In a larger cell.
    let id = moves(&mut b, id, &mut a);
    assert_eq!(a.data(id).unwrap(), [7; 100]);
    a.decoded(id, 100, 0).unwrap();
    assert!(a.handle(id, Event::Close).unwrap().has(Action::Finished));
    // Waiting, with what it keeps.
    let mut leases = exhaust(&mut a, &mut b);
    let other = waiting(&mut a, 2);
    assert_eq!(a.poll_notice(), None);
    let other = moves(&mut a, other, &mut b);
    assert_eq!(b.data(other).unwrap(), [2; 64]);
    b.handle(other, Event::Readable).unwrap();
    assert_eq!((a.poll_notice(), b.poll_notice()), (None, None));
    check(&a, &b);
    for lease in leases.drain(..3) {
        a.release(lease).unwrap();
    }
    assert_eq!((granted_to(&mut a), a.poll_wake(), granted_to(&mut b)), (None, Some(1), Some(2)));
    assert!(b.pending(other).unwrap().has(Action::Recv));
    check(&a, &b);
}

/// A receiver that waits without any byte asks again where it goes, also if nothing reports an edge again.
#[test]
fn s11_move_of_a_waiting_receiver_loses_no_edge() {
    let policy = Policy { mode: Mode::Edge, ..Policy::default() };
    let (_shared_pool, mut a, mut b) = two(&PoolConfig { policy, ..config() });
    let leases = exhaust(&mut a, &mut b);
    let cells: Vec<_> = (0..4).map(|token| waiting(&mut a, token)).collect();
    let id = attach(&mut a, 9);
    a.handle(id, Event::Readable).unwrap();
    assert!(a.connection(id).unwrap().is_waiting(), "no cell is left");
    let id = moves(&mut a, id, &mut b);
    assert!(b.pending(id).unwrap().has(Action::Recv) || b.connection(id).unwrap().is_waiting());
    leases.into_iter().for_each(|lease| a.release(lease).unwrap());
    drop(cells);
    let is_served = b.pending(id).unwrap().has(Action::Recv) || granted_to(&mut b) == Some(9);
    assert!(is_served && b.pending(id).unwrap().has(Action::Recv));
    check(&a, &b);
}

/// The time that a frame takes goes on where its receiver goes.
#[test]
fn s89_time_of_a_frame_moves_with_its_receiver() {
    let (_shared_pool, mut a, mut b) = two(&config());
    // Clocks begin at any time.
    a.handle_timeout(5_000 * MS);
    b.handle_timeout(77_000 * MS);
    let id = keeping(&mut a, 1, &[1; 100]);
    for step in 1..=4 {
        a.handle_timeout((5_000 + 100 * step) * MS);
    }
    let id = moves(&mut a, id, &mut b);
    let start_ns =
        |pool: &ShardPool| (0..8).find_map(|row| pool.memory().facts(row).ok().and_then(|facts| facts.start_ns));
    b.decoded(id, 0, 150).unwrap();
    // The pool time of thread 1 is 0 yet.
    assert_eq!(start_ns(&b), Some(0));
    for step in 1..=4 {
        b.handle_timeout((77_000 + 100 * step) * MS);
    }
    let id = moves(&mut b, id, &mut a);
    a.decoded(id, 0, 150).unwrap();
    assert_eq!(start_ns(&a), Some(0), "400 of 400 ms ago");
    check(&a, &b);
}

#[test]
fn export_refusal_names_its_cause_and_changes_nothing() {
    let policy = Policy { mode: Mode::Completion, ..Policy::default() };
    let (_shared_pool, mut a, mut b) = two(&PoolConfig { policy, ..config() });
    let id = attach(&mut a, 1);
    assert!(a.pending(id).unwrap().has(Action::Recv));
    a.receive_area(id).unwrap()[..100].fill(1);
    a.handle(id, Event::done(Action::Recv)).unwrap();
    assert_eq!(a.export(id).unwrap_err(), PoolError::Event(EventError::InFlight));
    a.handle(id, Event::Received { bytes: 100 }).unwrap();
    let id = moves(&mut a, id, &mut b);
    assert_eq!(b.data(id).unwrap(), [1; 100]);
    check(&a, &b);
    // More than a small cell has needs a buffer to move in.
    let (_shared_pool, mut a, mut b) = two(&config());
    let id = keeping(&mut a, 1, &[1; 100]);
    exhaust(&mut a, &mut b);
    waiting(&mut a, 2);
    keeping_all_spares(&mut a);
    assert_eq!(a.export(id).unwrap_err(), PoolError::NoBufferFree);
    assert_eq!((a.data(id).unwrap(), a.check_invariants()), (&[1; 100][..], Ok(())));
    let mut alone = Pool::new(&config()).unwrap();
    assert_eq!(alone.poll_wake(), None);
    // An import that is refused can be tried again; one that was done cannot.
    let id = attach(&mut b, 2);
    let mut exported = b.export(id).unwrap();
    assert_eq!(b.export(id).unwrap_err(), PoolError::Stale);
    while a.attach(&AttachOptions::new(0, 0)).is_ok() {}
    assert_eq!(a.import(&mut exported).unwrap_err(), PoolError::ReceiversFull { receivers_max: 8 });
    b.import(&mut exported).unwrap();
    assert_eq!(b.import(&mut exported).unwrap_err(), PoolError::Stale);
    check(&a, &b);
}

/// Receivers keep all that this thread has.
fn keeping_all_spares(pool: &mut ShardPool) {
    while pool.memory().free_buffers() > 0 {
        let content = [3; 100];
        let Ok(id) = pool.attach_with(&AttachOptions::new(0, 3), &content) else { break };
        pool.decoded(id, 0, 150).unwrap();
    }
}

/// A receiver that is closed while a receive is in flight can neither move nor decode.
#[test]
fn export_refuses_a_closed_receiver_in_flight() {
    let policy = Policy { mode: Mode::Completion, ..Policy::default() };
    let (_shared_pool, mut a, b) = two(&PoolConfig { policy, ..config() });
    let id = attach(&mut a, 1);
    a.handle(id, Event::done(Action::Recv)).unwrap();
    a.handle(id, Event::Received { bytes: 100 }).unwrap();
    assert!(a.decoded(id, 0, 100).unwrap().has(Action::Recv));
    a.handle(id, Event::done(Action::Recv)).unwrap();
    a.handle(id, Event::Close).unwrap();
    for again in 0..2 {
        let closed = PoolError::Event(EventError::Closed);
        assert_eq!(a.export(id).unwrap_err(), closed);
        assert_eq!(a.decoded(id, 0, 0).unwrap_err(), closed);
        assert!(!a.handle(id, Event::Close).unwrap().has(Action::Finished), "close {again} waits for the receive");
    }
    assert!(a.handle(id, Event::Received { bytes: 9 }).unwrap().has(Action::Finished));
    assert_eq!(a.stats().dropped_bytes, 100 + 9);
    check(&a, &b);
}

/// Also where the host has no waits left, so that the request can only be granted at once.
#[test]
fn shared_pool_has_one_size() {
    for waiters_max in [0, 5] {
        let (_shared_pool, mut a, b) = two(&PoolConfig { waiters_max, ..config() });
        for size_index in [1, 3, u8::MAX] {
            let refused = a.request_for(&Request { size_index, ..Request::new(0, 7) });
            assert_eq!(refused, Err(SchedulerError::UnknownSize { size_index }.into()));
        }
        assert!(matches!(a.request_for(&Request::new(0, 7)), Ok(Outcome::Granted(_))), "the buffer is free, as before");
        check(&a, &b);
    }
}

/// The host has as many waits on each thread as the configuration says, whatever its receivers wait for.
#[test]
fn waits_of_the_host_are_limited_on_each_thread() {
    let (_shared_pool, mut a, mut b) = two(&PoolConfig { waiters_max: 2, ..config() });
    let leases = exhaust(&mut a, &mut b);
    for pool in [&mut a, &mut b] {
        waiting(pool, 1);
        assert_eq!(pool.poll_notice(), None);
        let waits: Vec<_> = (0..2).map(|token| pool.request(0, token)).collect();
        assert!(waits.iter().all(|wait| matches!(wait, Ok(Outcome::Queued(_)))), "{waits:?}");
        assert_eq!(pool.request(0, 9), Err(SchedulerError::WaitersFull { waiters_max: 2 }.into()));
        let Ok(Outcome::Queued(wait)) = waits[0] else { unreachable!() };
        pool.cancel(wait).unwrap();
        assert!(matches!(pool.request(0, 9), Ok(Outcome::Queued(_))));
    }
    leases.into_iter().for_each(|lease| a.release(lease).unwrap());
    for pool in [&mut a, &mut b] {
        let mut tokens: Vec<_> = std::iter::from_fn(|| granted_to(pool)).collect();
        tokens.sort_unstable();
        assert_eq!(tokens, [1, 1, 9]);
    }
    check(&a, &b);
}

/// What receivers of thread 0 keep past its deadline makes room for a request on thread 1.
#[test]
fn s44_request_of_another_thread_evicts_what_is_late() {
    let (_shared_pool, mut a, mut b) = two(&config());
    let ids: Vec<_> = (0..6).map(|token| keeping(&mut a, token, &[1; 200])).collect();
    let leases = exhaust(&mut b, &mut a);
    let steps = |pool: &mut ShardPool, from: u64, to: u64| {
        (from..to).for_each(|step| pool.handle_timeout(step * 125 * MS));
    };
    steps(&mut a, 0, 30);
    steps(&mut b, 0, 30);
    assert_eq!(a.poll_notice(), None, "no request waits, so nothing is evicted");
    let Ok(Outcome::Queued(_)) = b.request(0, 9) else { panic!("no buffer is free") };
    assert_eq!((b.poll_wake(), b.poll_wake()), (Some(0), None), "the other thread is named once");
    let Some(Notice::Receiver { actions, id, .. }) = a.poll_notice() else { panic!("what it kept has gone") };
    assert!(actions.has(Action::Shed) && ids.contains(&id));
    while a.poll_notice().is_some() {}
    assert!(a.stats().shed < 6, "no more than make room: a buffer is free once its last cell is");
    assert_eq!((a.poll_wake(), granted_to(&mut b)), (Some(1), Some(9)));
    check(&a, &b);
    drop(leases);
}

/// A thread that hangs keeps a grant for as long as the grace of a frame; then another thread has it.
#[test]
fn s58_grant_leaves_a_thread_that_hangs() {
    let (_shared_pool, mut a, mut b) = two(&config());
    for step in 0..2 {
        a.handle_timeout(step);
        b.handle_timeout(step);
    }
    let lease = exhaust(&mut a, &mut b)[0];
    let Ok(Outcome::Queued(first)) = b.request(0, 1) else { panic!("no buffer is free") };
    let Ok(Outcome::Queued(_)) = a.request(0, 2) else { panic!("no buffer is free") };
    a.release(lease).unwrap();
    assert_eq!((a.poll_wake(), b.describe_wait(first).unwrap().is_assigned), (Some(1), true));
    let served = (1..20).find(|step| {
        a.handle_timeout(step * 125 * MS);
        granted_to(&mut a) == Some(2)
    });
    assert!(served.is_some_and(|step| (8..11).contains(&step)), "after a second: {served:?}");
    assert_eq!((b.describe_wait(first).unwrap().is_assigned, granted_to(&mut b)), (false, None));
    check(&a, &b);
}

/// While a receiver borrows, no other one is granted. Two threads at which one does so, and one waits, do not pass what
/// is free to each other, and wake each other, without end.
#[test]
fn threads_that_borrow_leave_what_is_free() {
    let (_shared_pool, a, b) = two(&config());
    let mut pools = [a, b];
    let [a, b] = &mut pools;
    let leases = exhaust(a, b);
    for pool in &mut pools {
        waiting(pool, 1);
        assert_eq!(pool.poll_notice(), None);
        let other = attach(pool, 2);
        assert!(pool.handle(other, Event::Readable).unwrap().has(Action::Recv), "given: it borrows");
    }
    // The reserve, and one beside it.
    let buffers = pools[0].memory().split().reserve as usize + 1;
    leases.into_iter().take(buffers).for_each(|lease| pools[0].release(lease).unwrap());
    let mut awake: Vec<usize> = vec![0, 1];
    for _ in 0..16 {
        let Some(at) = awake.pop() else { break };
        let pool: &mut ShardPool = &mut pools[at];
        assert_eq!(pool.poll_notice(), None);
        awake.extend(std::iter::from_fn(|| pool.poll_wake()).map(|named| named as usize));
    }
    assert_eq!(awake, [], "they come to rest");
    // The next loop iteration ends the borrow.
    pools[1].handle_timeout(1);
    assert_eq!(granted_to(&mut pools[1]), Some(1), "what is free is for the first that asks");
    check(&pools[0], &pools[1]);
}

/// Buffers that a dropped shard used or waited for go to other threads.
#[test]
fn dropped_shard_returns_its_buffers_and_waits() {
    let (shared_pool, mut a, mut b) = two(&config());
    let fixed = shared_pool.stats().scheduler.leased;
    for token in 0..3 {
        keeping(&mut a, token, &[1; 200]);
    }
    let own = granted(&mut a, 2);
    let kept = keeping(&mut b, 3, &[3; 100]);
    let leases = exhaust(&mut b, &mut a);
    waiting(&mut a, 4);
    assert_eq!(a.poll_notice(), None);
    assert!(matches!(a.request(0, 5), Ok(Outcome::Queued(_))));
    assert!(matches!(b.request(0, 6), Ok(Outcome::Queued(_))));
    assert_eq!(
        shared_pool.shard(0).unwrap_err(),
        SharedPoolError::Shard(SharedSchedulerError::ShardInUse { index: 0 })
    );
    drop(a);
    assert_eq!((shared_pool.poll_wake(), shared_pool.poll_wake()), (Some(1), None), "the other thread is named once");
    assert_eq!((granted_to(&mut b), granted_to(&mut b)), (Some(6), None));
    assert_eq!(shared_pool.stats().scheduler.waiting, 0);
    // A lease of the host's own stays.
    let free = shared_pool.stats().scheduler.free;
    assert_eq!((b.release(own), shared_pool.stats().scheduler.free), (Ok(()), free + 1));
    assert_eq!(b.data(kept).unwrap(), [3; 100]);
    // The shard can be made again, and is another one, with as much as the first time.
    for _ in 0..3 {
        let mut a = shared_pool.shard(0).unwrap();
        keeping(&mut a, 6, &[6; 100]);
        a.check_invariants().unwrap();
    }
    leases.into_iter().for_each(|lease| b.release(lease).unwrap());
    assert!(b.handle(kept, Event::Close).unwrap().has(Action::Finished));
    assert_eq!(b.poll_notice(), None);
    assert_eq!(shared_pool.stats().scheduler.leased, fixed + 1, "and the buffer that was granted");
    shared_pool.check_invariants().unwrap();
    assert_eq!(
        shared_pool.shard(2).unwrap_err(),
        SharedPoolError::Shard(SharedSchedulerError::UnknownShard { index: 2, shards: 2 })
    );
}

#[test]
fn closed_pool_refuses_attach_and_serves_the_rest() {
    let (shared_pool, mut a, mut b) = two(&config());
    let first = keeping(&mut a, 1, &[1; 100]);
    let mut leases = exhaust(&mut a, &mut b);
    let second = waiting(&mut b, 2);
    let third = attach(&mut b, 3);
    assert_eq!(b.poll_notice(), None);
    drop(shared_pool);
    assert_eq!(a.attach(&AttachOptions::new(0, 4)), Err(PoolError::PoolClosed));
    assert_eq!(a.attach_with(&AttachOptions::new(0, 4), b"hello"), Err(PoolError::PoolClosed));
    assert_eq!(
        (a.request(0, 4), a.try_request(&Request::new(0, 4))),
        (Err(PoolError::PoolClosed), Err(PoolError::PoolClosed))
    );
    let lease = leases.pop().unwrap();
    let content = LeasedContent { lease, offset: 0, buffered_bytes: 9 };
    assert_eq!(a.adopt(&AttachOptions::new(0, 4), content), Err(PoolError::PoolClosed));
    a.release(lease).unwrap();
    leases.into_iter().for_each(|lease| a.release(lease).unwrap());
    let content = a.take(first).unwrap();
    a.release(content.lease).unwrap();
    assert_eq!(granted_to(&mut b), Some(2));
    receive(&mut b, second, &[2; 100]);
    b.decoded(second, 164, 0).unwrap();
    assert!(b.handle(third, Event::Readable).unwrap().has(Action::Recv));
    let third = moves(&mut b, third, &mut a);
    assert!(a.handle(third, Event::Readable).unwrap().has(Action::Recv));
    receive(&mut a, third, b"bye");
    check(&a, &b);
    drop(a);
    b.check_invariants().unwrap();
}

#[test]
fn shared_pool_config_is_checked() {
    let refused = |config: &PoolConfig, shards| SharedPool::new(config, shards).map(|_| ()).unwrap_err().to_string();
    assert!(refused(&PoolConfig { classes: 8, ..config() }, 2).starts_with("classes is 8;"), "one is for waits");
    for shards in [0, demuxbuf::shared::SHARDS_MAX + 1] {
        assert_eq!(refused(&config(), shards), format!("shards is {shards}; allowed is 1 to 1024"));
    }
    // Eight buffers for each thread.
    assert!(SharedPool::new(&config_of(24), 3).is_ok());
    assert!(refused(&config_of(23), 3).starts_with("memory_bytes is 5888;"));
    // What the reserve leaves is enough for all threads.
    let mut config = config();
    config.reserves[0] = 10;
    assert!(refused(&config, 2).starts_with("reserves[0] is 10;"));
    config.reserves[0] = 9;
    SharedPool::new(&config, 2).unwrap();
}

#[test]
fn wrong_thread_is_refused() {
    let (_shared_pool, a, b) = two(&config());
    assert_eq!((a.check_thread(), b.check_thread()), (Ok(()), Ok(())));
    let refused = std::thread::scope(|scope| scope.spawn(move || a.check_thread()).join().unwrap());
    assert_eq!(refused, Err(PoolError::WrongThread));
}
