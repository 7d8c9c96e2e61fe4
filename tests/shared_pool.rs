//! Receivers of several threads on one pool: what each call does, on one thread; then threads against each other.
#![allow(clippy::disallowed_methods, reason = "a test may start threads")]

mod common;

use common::{check, config, granted_to, holding, receive, two, waiting};
use demuxbuf::connection::{Action, Event, EventError, Mode, Policy};
use demuxbuf::pool::{AttachOptions, LeasedContent, Notice, Pool, PoolConfig, PoolError, ReceiverId};
use demuxbuf::scheduler::{LeaseId, Outcome, Request, SchedulerError, TenantConfig, TenantId, WaitId};
use demuxbuf::shared::{EXPORTS_MAX, ExportedReceiver, PoolShard, SharedPool, SharedPoolError, SharedSchedulerError};
use demuxbuf_testkit::{Rng, Socket, numbered};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

fn moves(from: &mut Pool<PoolShard>, id: ReceiverId, to: &mut Pool<PoolShard>) -> ReceiverId {
    let mut exported = from.export(id).unwrap();
    assert_eq!(from.handle(id, Event::Wake), Err(PoolError::Stale), "the handle has ended");
    to.import(&mut exported).unwrap()
}

#[test]
fn resident_bytes_are_bounded_across_threads() {
    let page_bytes = 65_536;
    let (shared_pool, mut a, mut b) = two(&PoolConfig { buffer_bytes: page_bytes, ..config(2) });
    assert_eq!(a.bypass_bound(), b.bypass_bound());
    assert!(
        a.bypass_bound() >= 2 * u64::from(config(2).scheduler.waiters_max) - 1,
        "all receivers of both threads may wait"
    );
    assert_eq!(b.trim(), 0, "nothing was used");
    let held = holding(&mut a, 1, b"x");
    let other = holding(&mut b, 2, b"y");
    b.handle(other, Event::Close).unwrap();
    // Its cached buffers are free for all threads then.
    drop(b);
    let mut b = shared_pool.shard(1).unwrap();
    // Miri knows no madvise(2).
    let page_bytes = if cfg!(all(target_os = "linux", not(miri))) { page_bytes as usize } else { 0 };
    assert_eq!((b.trim(), b.trim()), (page_bytes, 0), "the page that was used, once");
    assert_eq!(a.data(held).unwrap(), b"x");
    check(&a, &b);
}

/// Bytes that are there at `attach_with` get a free buffer, whichever thread caches it.
#[test]
fn adopt_finds_a_buffer_cached_by_another_thread() {
    let (shared_pool, mut a, mut b) = two(&config(2));
    let bytes = |byte| [byte; 100];
    let first = a.attach_with(&AttachOptions::new(0, 1), &bytes(1)).unwrap();
    // The cached buffers of thread 0 are called in.
    let second = b.attach_with(&AttachOptions::new(0, 2), &bytes(2)).unwrap();
    check(&a, &b);
    assert_eq!((a.data(first).unwrap(), b.data(second).unwrap()), (&bytes(1)[..], &bytes(2)[..]));
    // The call does not wait: no request is queued, and no receiver is attached.
    for pool in [&mut a, &mut b] {
        assert_eq!(pool.attach_with(&AttachOptions::new(0, 3), &bytes(3)), Err(PoolError::NoBufferFree));
        assert_eq!((pool.stats().receivers, pool.stats().scheduler.waiting), (1, 0));
    }
    check(&a, &b);
    a.handle(first, Event::Close).unwrap();
    let third = b.attach_with(&AttachOptions::new(0, 3), &bytes(3)).unwrap();
    assert_eq!(b.data(third).unwrap(), bytes(3));
    check(&a, &b);
    // A thread takes a buffer that it cached itself without the lock.
    b.handle(third, Event::Close).unwrap();
    let locked = shared_pool.stats().locked;
    b.attach_with(&AttachOptions::new(0, 4), &bytes(4)).unwrap();
    assert_eq!(shared_pool.stats().locked, locked);
    check(&a, &b);
}

#[test]
fn adopt_respects_the_cap_of_its_class() {
    let mut config = config(3);
    config.scheduler.class_caps[0] = 2;
    let (_shared_pool, mut a, mut b) = two(&config);
    a.attach_with(&AttachOptions::new(0, 1), &[1; 100]).unwrap();
    let second = b.attach_with(&AttachOptions::new(0, 2), &[2; 100]).unwrap();
    assert_eq!(a.attach_with(&AttachOptions::new(0, 3), &[3; 100]), Err(PoolError::NoBufferFree));
    assert_eq!(
        a.attach_with(&AttachOptions::new(1, 3), &[3; 100]),
        Err(SchedulerError::UnknownClass { class: 1, classes: 1 }.into())
    );
    assert_eq!(a.stats().scheduler.free, 1);
    b.handle(second, Event::Close).unwrap();
    a.attach_with(&AttachOptions::new(0, 3), &[3; 100]).unwrap();
    check(&a, &b);
}

/// The receiver gets the buffer with what it received into its slot.
#[test]
fn s10_release_reaches_the_receiver_of_another_thread() {
    let (_shared_pool, mut a, mut b) = two(&PoolConfig { lifeline: false, ..config(1) });
    let holder = holding(&mut a, 1, &[1; 200]);
    let waiter = waiting(&mut b, 2);
    assert_eq!((a.poll_wake(), b.poll_notice()), (None, None));
    a.handle(holder, Event::Consumed { bytes: 200 }).unwrap();
    assert_eq!((a.poll_wake(), a.poll_wake()), (Some(1), None), "the other thread is named once");
    assert_eq!(granted_to(&mut b), Some(2));
    receive(&mut b, waiter, &[2; 256]);
    assert_eq!(b.data(waiter).unwrap(), [2; 256]);
    check(&a, &b);
}

#[test]
fn hard_cap_and_statistics_cover_all_threads() {
    let (shared_pool, mut a, mut b) = two(&config(4));
    for token in 0..2 {
        holding(&mut a, token, &[1; 100]);
        holding(&mut b, token, &[2; 100]);
    }
    waiting(&mut a, 3);
    let stats = shared_pool.stats().scheduler;
    assert_eq!((stats.capacity, stats.leased, stats.free, stats.waiting), (4, 4, 0, 1));
    assert_eq!((stats.waiting_peak, stats.waiting_by_class[0], stats.outstanding_by_class[0]), (1, 1, 4));
    assert_eq!([a.stats().scheduler, b.stats().scheduler], [stats; 2], "the counts are of all threads");
    assert_eq!((a.stats().receivers, b.stats().receivers), (3, 2), "these are of one thread");
    check(&a, &b);
}

#[test]
fn shard_refuses_handles_of_another_thread() {
    let (_shared_pool, mut a, mut b) = two(&config(3));
    let id = holding(&mut a, 1, &[1; 100]);
    let Ok(Outcome::Granted(lease)) = a.request(0, 7) else { panic!("a buffer is free") };
    a.buffer(lease).unwrap()[0] = 1;
    assert_eq!(b.buffer(lease).unwrap_err(), PoolError::Scheduler(SchedulerError::StaleLease));
    assert_eq!(b.release(lease), Err(SchedulerError::StaleLease.into()));
    assert_eq!(b.data(id).unwrap_err(), PoolError::Stale, "a handle of another thread is foreign");
    holding(&mut b, 2, &[2; 100]);
    let Ok(Outcome::Queued(wait)) = b.request(0, 8) else { panic!("no buffer is free") };
    assert_eq!(a.cancel(wait), Err(SchedulerError::StaleWait.into()));
    assert_eq!(a.describe_wait(wait).unwrap_err(), PoolError::Scheduler(SchedulerError::StaleWait));
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
    let (_shared_pool, mut a, mut b) = two(&config(1));
    // Idle, then parked.
    let idle = a.attach(&AttachOptions::new(0, 1)).unwrap();
    let id = moves(&mut a, idle, &mut b);
    b.handle(id, Event::Readable).unwrap();
    receive(&mut b, id, b"partial data");
    b.decoded(id, 0, 100).unwrap();
    assert_eq!((b.stats().parked, b.stats().scheduler.leased), (1, 0));
    let id = moves(&mut b, id, &mut a);
    assert_eq!(a.data(id).unwrap(), b"partial data");
    assert_eq!((a.stats().slots_in_use, b.stats().slots_in_use), (1, 0));
    check(&a, &b);
    // With a buffer, its content not at the front.
    a.handle(id, Event::Readable).unwrap();
    receive(&mut a, id, &[7; 100]);
    a.handle(id, Event::Consumed { bytes: 12 }).unwrap();
    let id = moves(&mut a, id, &mut b);
    assert_eq!(b.data(id).unwrap(), [7; 100]);
    check(&a, &b);
    // Waiting, with a lifeline that holds something, then served during the export.
    let other = waiting(&mut a, 2);
    receive(&mut a, other, &[9; 64]);
    let mut exported = a.export(other).unwrap();
    b.handle(id, Event::Consumed { bytes: 100 }).unwrap();
    assert_eq!((a.poll_wake(), b.poll_wake(), a.poll_notice()), (None, None, None), "no thread has it yet");
    let other = b.import(&mut exported).unwrap();
    assert_eq!((granted_to(&mut b), b.data(other).unwrap()), (Some(2), &[9; 64][..]));
    // Served, and moved before its notice.
    let third = waiting(&mut a, 3);
    b.handle(other, Event::Close).unwrap();
    let third = moves(&mut a, third, &mut b);
    assert_eq!((granted_to(&mut a), granted_to(&mut b)), (None, Some(3)));
    assert!(b.pending(third).unwrap().has(Action::Recv));
    check(&a, &b);
}

#[test]
fn export_refusal_names_its_cause_and_changes_nothing() {
    let policy = Policy { mode: Mode::Completion, ..Policy::default() };
    let (_shared_pool, mut a, mut b) = two(&PoolConfig { policy, ..config(1) });
    let id = a.attach(&AttachOptions::new(0, 1)).unwrap();
    assert!(a.pending(id).unwrap().has(Action::Recv));
    a.receive_area(id).unwrap()[..100].fill(1);
    a.handle(id, Event::done(Action::Recv)).unwrap();
    assert_eq!(a.export(id).unwrap_err(), PoolError::Event(EventError::InFlight));
    a.handle(id, Event::Received { bytes: 100 }).unwrap();
    let id = moves(&mut a, id, &mut b);
    assert_eq!(b.data(id).unwrap(), [1; 100]);
    let policy = Policy { reclaim_bytes: 256, park_bytes: 64, ..Policy::default() };
    let (_shared_pool, mut a, mut b) = two(&PoolConfig { policy, large_slots: [4, 0, 0], ..config(1) });
    let id = holding(&mut a, 1, &[1; 100]);
    a.decoded(id, 0, 100).unwrap();
    a.handle(id, Event::ReclaimRequested).unwrap();
    assert_eq!((a.stats().slots_in_use_by_size, a.stats().scheduler.leased), ([0, 1, 0, 0], 0));
    assert_eq!(a.export(id).unwrap_err(), PoolError::NotMovable);
    assert_eq!(a.connection(id).unwrap().buffered_bytes(), 100);
    let mut alone = Pool::new(&config(1)).unwrap();
    assert_eq!(alone.poll_wake(), None);
    // An import that is refused can be tried again; one that was done cannot.
    let id = b.attach(&AttachOptions::new(0, 2)).unwrap();
    let mut exported = b.export(id).unwrap();
    assert_eq!(b.export(id).unwrap_err(), PoolError::Stale);
    while a.attach(&AttachOptions::new(0, 0)).is_ok() {}
    assert_eq!(a.import(&mut exported).unwrap_err(), PoolError::ReceiversFull { receivers_max: 8 });
    b.import(&mut exported).unwrap();
    assert_eq!(b.import(&mut exported).unwrap_err(), PoolError::Stale);
    check(&a, &b);
}

/// A receiver that is closed while a receive is in flight can neither move nor decode.
#[test]
fn export_refuses_a_closed_receiver_in_flight() {
    let policy = Policy { mode: Mode::Completion, ..Policy::default() };
    let (_shared_pool, mut a, b) = two(&PoolConfig { policy, ..config(1) });
    let id = a.attach(&AttachOptions::new(0, 1)).unwrap();
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
    assert_eq!((a.stats().dropped_bytes, a.stats().scheduler.leased), (100 + 9, 0));
    check(&a, &b);
}

#[test]
#[cfg_attr(miri, ignore)] // hundreds of receivers, on one thread
fn export_of_waiting_receivers_is_limited() {
    let many = EXPORTS_MAX + 2;
    let config = PoolConfig { lifeline: false, buffer_bytes: 256, ..PoolConfig::new(1, many + 1) };
    let (_shared_pool, mut a, mut b) = two(&config);
    let holder = holding(&mut a, u64::MAX, &[1; 100]);
    let waiters: Vec<_> = (0..many).map(|token| waiting(&mut a, token.into())).collect();
    let mut exported: Vec<_> = waiters[2..].iter().map(|&id| a.export(id).unwrap()).collect();
    assert_eq!(a.export(waiters[0]).unwrap_err(), PoolError::ExportsFull);
    assert!(a.connection(waiters[0]).unwrap().is_waiting(), "it stays, and waits");
    b.import(&mut exported[0]).unwrap();
    let mut first = a.export(waiters[0]).unwrap();
    b.import(&mut first).unwrap();
    check(&a, &b);
    a.handle(holder, Event::Close).unwrap();
    assert_eq!(granted_to(&mut b), Some(0), "its place in the queue was kept");
}

/// Also where the host has no waits left, so that the request can only be granted at once.
#[test]
fn shared_pool_has_one_size() {
    for waiters_max in [4, 5] {
        let mut config = config(1);
        (config.receivers_max, config.scheduler.waiters_max) = (4, waiters_max);
        let (_shared_pool, mut a, b) = two(&config);
        for size_index in [1, 3, u8::MAX] {
            let refused = a.request_for(&Request { size_index, ..Request::new(0, 7) });
            assert_eq!(refused, Err(SchedulerError::UnknownSize { size_index }.into()));
        }
        assert!(matches!(a.request_for(&Request::new(0, 7)), Ok(Outcome::Granted(_))), "the buffer is free, as before");
        check(&a, &b);
    }
}

#[test]
fn shared_pool_has_no_tenants() {
    let (_shared_pool, mut a, b) = two(&config(1));
    let tenant = TenantId::from_bits(1);
    assert_eq!(a.create_tenant(&TenantConfig::default()), Err(PoolError::TenantsUnsupported));
    assert_eq!(a.remove_tenant(tenant), Err(PoolError::TenantsUnsupported));
    assert_eq!(a.describe_tenant(tenant).unwrap_err(), PoolError::TenantsUnsupported);
    let id = a.attach(&AttachOptions::new(0, 1)).unwrap();
    assert_eq!(a.set_tenant(id, Some(tenant)), Err(PoolError::TenantsUnsupported));
    a.set_tenant(id, None).unwrap();
    assert!(a.handle(id, Event::Readable).unwrap().has(Action::Recv), "the buffer is free, as before");
    check(&a, &b);
}

#[test]
fn import_of_a_parked_receiver_needs_a_slot() {
    let (_shared_pool, mut a, mut b) = two(&PoolConfig { slots: 1, ..config(4) });
    let park = |pool: &mut Pool<PoolShard>, bytes: &[u8]| {
        let id = holding(pool, 0, bytes);
        pool.decoded(id, 0, 100).unwrap();
        id
    };
    let (first, second) = (park(&mut a, b"first"), park(&mut b, b"second"));
    let mut exported = a.export(first).unwrap();
    assert_eq!(b.import(&mut exported).unwrap_err(), PoolError::NoSlotFree);
    b.handle(second, Event::Close).unwrap();
    let first = b.import(&mut exported).unwrap();
    assert_eq!(b.data(first).unwrap(), b"first");
    check(&a, &b);
}

/// Advances the clock of one thread by steps that count.
fn advance(pool: &mut Pool<PoolShard>, from_ns: u64, to_ns: u64) {
    (from_ns..to_ns).step_by(1_000).chain([to_ns]).for_each(|now_ns| pool.handle_timeout(now_ns));
}

#[test]
fn s53_pause_and_origin_count_on_each_thread_alone() {
    let mut config = PoolConfig { lifeline: false, ..config(2) };
    (config.scheduler.park_ns, config.scheduler.lease_ns) = (Some(1_000), Some(10_000));
    let (_shared_pool, mut a, mut b) = two(&config);
    let [first, second] = [(&mut a, 1), (&mut b, 2)].map(|(thread, token)| holding(thread, token, &[1; 200]));
    waiting(&mut a, 3);
    // Ten days after the start of the machine, then a pause of eight hours; the other thread comes later still.
    const ORIGIN_NS: u64 = 864_000_000_000_000;
    const PAUSE_NS: u64 = 28_800_000_000_000;
    a.handle_timeout(ORIGIN_NS);
    assert_eq!((a.poll_timeout(), a.poll_notice()), (Some(ORIGIN_NS + 1_000), None));
    a.handle_timeout(ORIGIN_NS + PAUSE_NS);
    b.handle_timeout(ORIGIN_NS + 2 * PAUSE_NS);
    let idle_ns =
        |thread: &Pool<PoolShard>, id| thread.describe(id).unwrap().lease_info.map(|lease_info| lease_info.idle_ns);
    assert_eq!((idle_ns(&a, first), idle_ns(&b, second)), (Some(1_250), Some(0)));
    assert_eq!((a.poll_notice(), b.poll_notice()), (None, None), "no holder is shed");
    assert_eq!((a.stats().reclaim.clock_skipped_ns, b.stats().reclaim.clock_skipped_ns), (PAUSE_NS - 1_250, 0));
    assert_eq!(a.poll_timeout(), Some(ORIGIN_NS + PAUSE_NS + 1_250), "the thread is asked for the next step");
    check(&a, &b);
}

/// One waiter on any thread makes the deadlines of holders on every thread count.
#[test]
fn s44_one_waiter_starts_deadlines_on_all_threads() {
    let policy = Policy { park_bytes: 64, reclaim_bytes: 256, ..Policy::default() };
    let mut config = PoolConfig { lifeline: false, policy, large_slots: [1, 0, 0], ..config(2) };
    (config.scheduler.park_ns, config.scheduler.lease_ns) = (Some(1_000), Some(10_000));
    let (_shared_pool, mut a, mut b) = two(&config);
    let partial = holding(&mut a, 1, &[1; 100]);
    a.decoded(partial, 0, 100).unwrap();
    let idle = holding(&mut a, 2, &[2; 200]);
    advance(&mut a, 0, 50_000);
    assert_eq!((a.poll_timeout(), a.poll_notice()), (None, None), "no request waits, so no holder is asked");
    waiting(&mut b, 3);
    waiting(&mut b, 4);
    assert_eq!((b.poll_wake(), b.poll_wake()), (Some(0), None), "the other thread is named once");
    assert!(a.poll_timeout().is_some_and(|due_ns| due_ns <= 50_000));
    let Some(Notice::Receiver { id, actions, .. }) = a.poll_notice() else { panic!("a holder is over its lease") };
    assert!(id == idle && actions.has(Action::Shed));
    assert_eq!((a.stats().parked_on_demand, a.stats().shed), (1, 1), "the holder that can park is parked");
    // Both holders were asked to park, and one of them could not.
    assert_eq!((a.stats().reclaim.parks_asked, a.stats().reclaim.sheds_asked), (2, 1));
    assert_eq!(granted_to(&mut b), Some(3));
    a.handle(idle, Event::Close).unwrap();
    assert_eq!((a.poll_wake(), granted_to(&mut b)), (Some(1), Some(4)));
    assert_eq!((a.poll_timeout(), a.poll_notice()), (None, None));
    check(&a, &b);
}

/// A waiter that only the cap of its class blocks makes deadlines count, too.
#[test]
fn s44_cap_blocked_waiter_starts_deadlines() {
    let mut config = PoolConfig { lifeline: false, ..config(4) };
    (config.scheduler.park_ns, config.scheduler.lease_ns, config.scheduler.class_caps[0]) =
        (Some(1_000), Some(10_000), 1);
    let (_shared_pool, mut a, mut b) = two(&config);
    let idle = holding(&mut a, 1, &[1; 200]);
    waiting(&mut b, 2);
    assert_eq!((b.stats().scheduler.free, b.poll_wake()), (3, Some(0)), "buffers are free, and not for this class");
    advance(&mut a, 0, 50_000);
    assert!(matches!(a.poll_notice(), Some(Notice::Receiver { id, .. }) if id == idle));
    a.handle(idle, Event::Close).unwrap();
    assert_eq!((a.poll_wake(), granted_to(&mut b)), (Some(1), Some(2)));
    check(&a, &b);
}

/// A holder that makes progress, or has a new lease, is not asked to leave.
#[test]
fn s44_progress_and_new_holders_are_not_shed() {
    let mut config = PoolConfig { lifeline: false, ..config(1) };
    (config.scheduler.park_ns, config.scheduler.lease_ns) = (Some(1_000), Some(10_000));
    let (_shared_pool, mut a, mut b) = two(&config);
    let id = holding(&mut a, 1, &[1; 200]);
    waiting(&mut b, 2);
    advance(&mut a, 0, 9_000);
    a.handle(id, Event::Consumed { bytes: 1 }).unwrap();
    advance(&mut a, 9_000, 18_999);
    assert_eq!(a.poll_notice(), None);
    assert_eq!(a.describe(id).unwrap().lease_info.map(|lease_info| lease_info.idle_ns), Some(9_999));
    b.handle_timeout(50_000);
    let id = moves(&mut a, id, &mut b);
    advance(&mut b, 50_000, 59_999);
    assert_eq!(b.poll_notice(), None);
    b.handle_timeout(60_000);
    assert!(matches!(b.poll_notice(), Some(Notice::Receiver { id: shed, .. }) if shed == id));
    check(&a, &b);
}

/// The host's own leases have no deadline, as in a pool that is not shared.
#[test]
fn deadline_belongs_to_a_receivers_buffer_only() {
    let mut config = config(1);
    (config.scheduler.park_ns, config.scheduler.lease_ns) = (Some(1_000), Some(10_000));
    let (_shared_pool, mut a, mut b) = two(&config);
    let Ok(Outcome::Granted(lease)) = a.request(0, 1) else { panic!("a buffer is free") };
    waiting(&mut b, 2);
    a.handle_timeout(50);
    assert_eq!(a.poll_timeout(), None);
    let id = a.adopt(&AttachOptions::new(0, 1), LeasedContent { lease, offset: 0, buffered_bytes: 200 }).unwrap();
    a.handle_timeout(57);
    let held_ns = |a: &Pool<PoolShard>| a.describe(id).unwrap().lease_info.map(|lease_info| lease_info.held_ns);
    assert_eq!((held_ns(&a), a.poll_timeout()), (Some(7), Some(1_050)));
    let content = a.take(id).unwrap();
    assert_eq!((held_ns(&a), a.poll_timeout()), (None, None));
    a.release(content.lease).unwrap();
    assert_eq!(granted_to(&mut b), Some(2));
    check(&a, &b);
}

/// A reserve that is not whole asks no holder for anything while no request waits.
#[test]
fn broken_reserve_reclaims_nothing_without_waiters() {
    let mut config = config(2);
    (config.scheduler.classes, config.scheduler.reserves[1]) = (2, 1);
    (config.scheduler.park_ns, config.scheduler.lease_ns) = (Some(1_000), Some(10_000));
    let (_shared_pool, mut a, mut b) = two(&config);
    holding(&mut a, 1, &[1; 200]);
    holding(&mut b, 1, &[1; 200]);
    advance(&mut a, 0, 50_000);
    assert_eq!((a.poll_notice(), a.poll_timeout(), a.poll_wake()), (None, None, None));
    check(&a, &b);
}

/// Buffers that a dropped shard held or waited for go to other threads.
#[test]
fn dropped_shard_returns_its_buffers_and_waits() {
    let (shared_pool, mut a, mut b) = two(&config(3));
    holding(&mut a, 1, &[1; 100]);
    let Ok(Outcome::Granted(own)) = a.request(0, 2) else { panic!("a buffer is free") };
    let kept = holding(&mut b, 3, &[3; 100]);
    waiting(&mut a, 4);
    waiting(&mut b, 5);
    assert_eq!(
        shared_pool.shard(0).unwrap_err(),
        SharedPoolError::Shard(SharedSchedulerError::ShardInUse { index: 0 })
    );
    drop(a);
    assert_eq!((shared_pool.poll_wake(), shared_pool.poll_wake()), (Some(1), None), "the other thread is named once");
    assert_eq!((granted_to(&mut b), granted_to(&mut b)), (Some(5), None));
    assert_eq!(
        (shared_pool.stats().scheduler.free, shared_pool.stats().scheduler.waiting),
        (0, 0),
        "a lease of the host's own stays"
    );
    assert_eq!((b.release(own), shared_pool.stats().scheduler.free), (Ok(()), 1));
    assert_eq!(b.data(kept).unwrap(), [3; 100]);
    // The shard can be made again, and is another one.
    let mut a = shared_pool.shard(0).unwrap();
    holding(&mut a, 6, &[6; 100]);
    check(&a, &b);
    assert_eq!(
        shared_pool.shard(2).unwrap_err(),
        SharedPoolError::Shard(SharedSchedulerError::UnknownShard { index: 2, shards: 2 })
    );
}

#[test]
fn closed_pool_refuses_attach_and_serves_the_rest() {
    let (shared_pool, mut a, mut b) = two(&config(1));
    let first = holding(&mut a, 1, &[1; 100]);
    let second = waiting(&mut b, 2);
    let third = b.attach(&AttachOptions::new(0, 3)).unwrap();
    drop(shared_pool);
    assert_eq!(a.attach(&AttachOptions::new(0, 4)), Err(PoolError::PoolClosed));
    assert_eq!(a.attach_with(&AttachOptions::new(0, 4), b"hello"), Err(PoolError::PoolClosed));
    assert_eq!(a.attach_with(&AttachOptions::new(0, 4), &[4; 100]), Err(PoolError::PoolClosed));
    assert_eq!(a.request(0, 4), Err(PoolError::PoolClosed));
    let content = a.take(first).unwrap();
    assert_eq!(a.adopt(&AttachOptions::new(0, 4), content), Err(PoolError::PoolClosed));
    a.release(content.lease).unwrap();
    assert_eq!(granted_to(&mut b), Some(2));
    receive(&mut b, second, &[2; 100]);
    b.handle(second, Event::Consumed { bytes: 100 }).unwrap();
    assert!(b.handle(third, Event::Readable).unwrap().has(Action::Recv));
    let third = moves(&mut b, third, &mut a);
    receive(&mut a, third, b"bye");
    check(&a, &b);
    drop(a);
    assert_eq!(b.stats().scheduler.free, 1);
}

#[test]
fn shared_pool_config_is_checked() {
    let mut config = config(4);
    config.scheduler.tenants_max = 1;
    assert!(SharedPool::new(&config, 2).unwrap_err().to_string().starts_with("tenants_max is 1;"));
    config.scheduler.tenants_max = 0;
    config.set_buffer_sizes(&[256, 512]).unwrap();
    assert!(SharedPool::new(&config, 2).unwrap_err().to_string().starts_with("sizes[1] is 2;"));
    config.set_buffer_sizes(&[256]).unwrap();
    for shards in [0, demuxbuf::shared::SHARDS_MAX + 1] {
        let refused = SharedPool::new(&config, shards).unwrap_err();
        assert_eq!(refused.to_string(), format!("shards is {shards}; allowed is 1 to 1024"));
    }
}

#[test]
fn wrong_thread_is_refused() {
    let (_shared_pool, a, b) = two(&config(1));
    assert_eq!((a.check_thread(), b.check_thread()), (Ok(()), Ok(())));
    let refused = std::thread::scope(|scope| scope.spawn(move || a.check_thread()).join().unwrap());
    assert_eq!(refused, Err(PoolError::WrongThread));
}

/// What the threads of the last test share.
struct Exchange {
    inboxes: [Mutex<Vec<(ExportedReceiver, Socket)>>; 3],
    signals: [AtomicU64; 3],
    finished: AtomicU64,
}

/// Miri, which looks for races too, takes thousands of times as long.
const CONNECTIONS: u64 = if cfg!(miri) { 6 } else { 60 };
const BYTES: u64 = if cfg!(miri) { 300 } else { 3_000 };
/// So few that some request has to wait.
const BUFFERS: u32 = if cfg!(miri) { 1 } else { 3 };

/// One thread of it.
struct Worker<'a> {
    exchange: &'a Exchange,
    pool: Pool<PoolShard>,
    index: usize,
    random: Rng,
}

/// A worker that panics ends all workers, which would wait for its connections.
impl Drop for Worker<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.exchange.finished.store(CONNECTIONS, Ordering::Relaxed);
        }
    }
}

impl Worker<'_> {
    fn run(&mut self, mine: &mut Vec<(ReceiverId, Socket)>) {
        while self.exchange.finished.load(Ordering::Relaxed) < CONNECTIONS {
            for (mut exported, socket) in std::mem::take(&mut *self.exchange.inboxes[self.index].lock().unwrap()) {
                mine.push((self.pool.import(&mut exported).expect("there is room for all"), socket));
            }
            while let Some(granted) = self.pool.poll_notice() {
                assert!(matches!(granted, Notice::Receiver { .. }));
            }
            for _ in 0..mine.len().min(4) {
                let at = self.random.usize(..mine.len());
                if self.random.u8(..) < 40 {
                    let (id, socket) = mine.swap_remove(at);
                    let to = (self.index + self.random.usize(1..3)) % 3;
                    let exported = self.pool.export(id).expect("it can move in every state that it comes to here");
                    self.exchange.inboxes[to].lock().unwrap().push((exported, socket));
                    self.exchange.signals[to].fetch_add(1, Ordering::Relaxed);
                } else if self.step(&mut mine[at]) {
                    mine.swap_remove(at);
                }
            }
            while let Some(thread) = self.pool.poll_wake() {
                self.exchange.signals[thread as usize].fetch_add(1, Ordering::Relaxed);
            }
            std::thread::yield_now();
        }
    }

    /// Goes on with one connection; returns whether it has ended.
    fn step(&mut self, (id, socket): &mut (ReceiverId, Socket)) -> bool {
        let id = *id;
        let mut actions = self.pool.handle(id, Event::Readable).unwrap();
        if actions.has(Action::Recv) {
            let area = self.pool.receive_area(id).unwrap();
            let count = area.len().min(1 + self.random.usize(..150));
            let event = socket.receive(&mut area[..count]);
            if event != Event::WouldBlock {
                actions = self.pool.handle(id, event).unwrap();
            }
        }
        if actions.has(Action::Decode) {
            let data = self.pool.data(id).unwrap();
            assert_eq!(data, socket.buffered(), "I5: order and content never change");
            let all = data.len() as u32;
            let left = socket.unread() as u32;
            // The undecoded bytes are often too long to be parked, so that other connections have to wait.
            let consumed = if left == 0 { all } else { all - all % 128 };
            let need_more = if consumed < all { left.min(128 - all % 128) } else { 0 };
            self.pool.decoded(id, consumed, need_more).unwrap();
            socket.consume(consumed as usize);
        }
        if socket.undecoded() > 0 {
            return false;
        }
        assert!(self.pool.handle(id, Event::Close).unwrap().has(Action::Finished));
        self.exchange.finished.fetch_add(1, Ordering::Relaxed);
        true
    }
}

#[test]
fn s13_connections_that_move_lose_no_byte() {
    let config = PoolConfig { receivers_max: CONNECTIONS as u32, slots: CONNECTIONS as u32, ..config(BUFFERS) };
    let config = PoolConfig {
        scheduler: demuxbuf::scheduler::SchedulerConfig { waiters_max: CONNECTIONS as u32, ..config.scheduler },
        ..config
    };
    let shared_pool = SharedPool::new(&config, 3).unwrap();
    let exchange = Exchange { inboxes: Default::default(), signals: Default::default(), finished: AtomicU64::new(0) };
    std::thread::scope(|scope| {
        for index in 0..3 {
            let (exchange, shared_pool) = (&exchange, &shared_pool);
            scope.spawn(move || {
                let mut pool = shared_pool.shard(index).unwrap();
                let mut mine = Vec::new();
                for connection in (u64::from(index)..CONNECTIONS).step_by(3) {
                    let mut socket = Socket::new(Mode::Level, &[]);
                    socket.send(&numbered(connection, 0..BYTES));
                    mine.push((pool.attach(&AttachOptions::new(0, connection)).unwrap(), socket));
                }
                let random = Rng::with_seed(index.into());
                let index = index as usize;
                Worker { exchange, pool, index, random }.run(&mut mine);
                assert!(mine.is_empty());
            });
        }
    });
    let stats = shared_pool.stats();
    assert_eq!((stats.scheduler.free, stats.scheduler.waiting, stats.scheduler.leased), (BUFFERS, 0, 0));
    assert!(stats.scheduler.queued > 0 && stats.scheduler.granted_by_handoff > 0, "no request ever waited: {stats:?}");
    shared_pool.check_invariants().unwrap();
}
