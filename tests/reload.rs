//! What changes in a pool that lives: its times, and that it takes no new receivers.

mod common;

use common::{ShardPool, attach, check, config, config_of, exhaust, granted, granted_to, keeping, two, waiting};
use demuxbuf::ConfigError;
use demuxbuf::connection::{Action, Event, Mode, Policy};
use demuxbuf::pool::{AttachOptions, LeasedContent, Notice, Pool, PoolConfig, PoolError};
use demuxbuf::scheduler::{Outcome, Request, SchedulerStats};

const MS: u64 = 1_000_000;

fn pool() -> Pool {
    Pool::new(&PoolConfig { buffer_bytes: 256, ..PoolConfig::new(8 * 256, 2) }).expect("it is allowed")
}

/// Nothing new begins, what is there goes on to its end, and the host learns once that nothing is left.
#[test]
fn drained_pool_is_reported_once() {
    let mut pool = pool();
    let usual = AttachOptions::new(0, 1);
    let ids = [1, 2].map(|_| pool.attach(&usual).expect("there is room"));
    let Ok(Outcome::Granted(lease)) = pool.request(0, 3) else { panic!("a buffer is free") };
    assert!(pool.attach(&AttachOptions { notify_if_full: true, ..usual }).is_err());
    pool.drain();
    for _ in 0..2 {
        assert_eq!(pool.attach(&AttachOptions { notify_if_full: true, ..usual }), Err(PoolError::Draining));
        assert_eq!(pool.attach_with(&usual, b"bytes"), Err(PoolError::Draining));
        let content = LeasedContent { lease, offset: 0, buffered_bytes: 5 };
        assert_eq!(pool.adopt(&usual, content), Err(PoolError::Draining));
        pool.handle(ids[0], Event::Close).unwrap_or_default();
        assert_eq!(pool.poll_notice(), None, "one is left, and the lease");
    }
    // The other one receives, and the host requests.
    assert!(pool.handle(ids[1], Event::Readable).expect("it is attached").has(Action::Recv));
    pool.receive_area(ids[1]).expect("it is attached")[..5].copy_from_slice(b"bytes");
    pool.handle(ids[1], Event::Received { bytes: 5 }).expect("there is room");
    pool.decoded(ids[1], 5, 0).expect("it is attached");
    let mut leases = vec![lease];
    while let Some(lease) = pool.try_request(&Request::new(0, 4)).expect("it is allowed") {
        leases.push(lease);
    }
    let Ok(Outcome::Queued(wait)) = pool.request(0, 5) else { panic!("no buffer is free") };
    pool.handle(ids[1], Event::Close).expect("it is attached");
    assert_eq!(pool.poll_notice(), None, "a request waits");
    pool.release(leases.pop().expect("there are some")).expect("it is the host's");
    assert!(matches!(pool.poll_notice(), Some(Notice::Lease { wait: ended, lease, .. }) if ended == wait && {
        leases.push(lease);
        true
    }));
    while let Some(lease) = leases.pop() {
        assert_eq!(pool.poll_notice(), None, "{} leases are left", leases.len() + 1);
        pool.release(lease).expect("it is the host's");
    }
    assert!(!pool.nothing_to_poll());
    assert_eq!((pool.poll_notice(), pool.poll_notice()), (Some(Notice::Drained), None));
    pool.drain();
    assert_eq!((pool.poll_notice(), pool.check_invariants()), (None, Ok(())));
    assert_eq!(pool.attach(&usual), Err(PoolError::Draining));
}

/// A buffer that a receive is in flight into is in use, though its receiver was closed.
#[test]
fn receive_in_flight_is_left_of_a_drained_pool() {
    let policy = Policy { mode: Mode::Completion, ..Policy::default() };
    let config = PoolConfig { buffer_bytes: 256, policy, ..PoolConfig::new(8 * 256, 2) };
    let mut pool = Pool::new(&config).expect("it is allowed");
    let id = pool.attach(&AttachOptions::new(0, 1)).expect("there is room");
    pool.handle(id, Event::Readable).expect("it is attached");
    pool.handle(id, Event::done(Action::Recv)).expect("it is to receive");
    pool.drain();
    pool.handle(id, Event::Close).expect("it is attached");
    assert_eq!(pool.poll_notice(), None, "the system may still write");
    assert!(pool.handle(id, Event::WouldBlock).expect("it is in flight").has(Action::Finished));
    assert_eq!((pool.poll_notice(), pool.poll_notice()), (Some(Notice::Drained), None));
}

/// A thread of a shared pool drains by itself; what others export to it comes in, and leases outlive it.
#[test]
fn thread_of_a_shared_pool_drains() {
    let (_shared_pool, mut a, mut b) = two(&config());
    let moved = keeping(&mut a, 1, b"part");
    granted(&mut b, 2);
    b.drain();
    assert_eq!(b.attach(&AttachOptions::new(0, 3)), Err(PoolError::Draining));
    assert!(a.attach(&AttachOptions::new(0, 3)).is_ok());
    let mut exported = a.export(moved).unwrap();
    let moved = b.import(&mut exported).unwrap();
    let drained = |pool: &mut ShardPool| pool.poll_notice() == Some(Notice::Drained);
    assert!(!drained(&mut b) && b.data(moved).unwrap() == b"part");
    exhaust(&mut b, &mut a);
    let Ok(Outcome::Queued(wait)) = b.request(0, 4) else { panic!("no buffer is free") };
    b.handle(moved, Event::Close).unwrap();
    assert!(!drained(&mut b));
    match b.poll_notice() {
        Some(Notice::Lease { .. }) => {}
        _ => b.cancel(wait).unwrap(),
    }
    assert!(drained(&mut b) && !drained(&mut b));
    check(&a, &b);
}

/// Two receivers of which one waits for room, since the host has the rest.
fn crowded(pool: &mut Pool) {
    pool.handle_timeout(0);
    let ids = [1, 2].map(|token| pool.attach(&AttachOptions::new(0, token)).expect("there is room"));
    let fill = |pool: &mut Pool, id, bytes: usize| {
        assert!(pool.handle(id, Event::Readable).expect("it is attached").has(Action::Recv));
        pool.receive_area(id).expect("it is attached")[..bytes].fill(1);
        pool.handle(id, Event::Received { bytes: bytes as u32 }).expect("there is room");
        pool.decoded(id, 0, 250 - bytes as u32).expect("it is attached");
    };
    fill(pool, ids[0], 200);
    while pool.try_request(&Request::new(0, 0)).expect("it is allowed").is_some() {}
    fill(pool, ids[1], 64);
    pool.handle(ids[1], Event::Readable).expect("it is attached");
    assert!(pool.connection(ids[1]).expect("it is attached").is_waiting());
}

/// When something happens to the receiver that waits, in steps of 10 ms, after the times were set to these at 40 ms.
fn settled_ms(times: Option<(u64, u64)>) -> u64 {
    let config = PoolConfig { buffer_bytes: 256, frame_grace_ns: 160 * MS, ..PoolConfig::new(8 * 256, 2) };
    let mut pool = Pool::new(&config).expect("it is allowed");
    crowded(&mut pool);
    for now_ms in (10..2_000).step_by(10) {
        pool.handle_timeout(now_ms * MS);
        if now_ms == 40 {
            if let Some((frame_grace_ns, blocked_ns)) = times {
                pool.set_times(frame_grace_ns, blocked_ns).expect("they are allowed");
            }
            assert_eq!(pool.check_invariants(), Ok(()));
        }
        if pool.poll_notice().is_some() {
            return now_ms;
        }
    }
    panic!("the claim is never settled");
}

/// A claim is settled at the deadline that the times in force give it, be they longer or shorter than those at its
/// beginning.
#[test]
fn deadlines_follow_the_times_in_force() {
    // A frame of 250 bytes may take 30.5 ms beside the grace.
    assert_eq!(settled_ms(None), 200);
    assert_eq!(settled_ms(Some((400 * MS, 400 * MS))), 440);
    assert_eq!(settled_ms(Some((80 * MS, 80 * MS))), 120);
    assert_eq!(settled_ms(Some((8, 8))), 40, "at once, by the clock so far");
}

/// When something happens to the receiver of each of two threads that waits, in steps of 10 ms, after the times of the
/// first thread were set to these at 30 ms.
fn settled_ms_of_threads(times: (u64, u64)) -> [u64; 2] {
    let (_shared_pool, mut a, mut b) = two(&PoolConfig { frame_grace_ns: 160 * MS, ..config() });
    exhaust(&mut a, &mut b);
    let mut pools = [a, b];
    for pool in &mut pools {
        waiting(pool, 2);
    }
    let bounds_ns = pools.each_ref().map(|pool| pool.stats().memory_model.wait_ns_max);
    let mut settled_ms = [None; 2];
    for now_ms in (10..2_000).step_by(10) {
        for (pool, settled_ms) in pools.iter_mut().zip(&mut settled_ms) {
            pool.handle_timeout(now_ms * MS);
            if settled_ms.is_none() && granted_to(pool) == Some(2) {
                *settled_ms = Some(now_ms);
            }
        }
        if now_ms == 30 {
            pools[0].set_times(times.0, times.1).expect("they are allowed");
            let bounds_now_ns = pools.each_ref().map(|pool| pool.stats().memory_model.wait_ns_max);
            assert_eq!(bounds_now_ns[0] + 180 * MS, bounds_ns[0] + times.0 + times.0 / 8);
            assert_eq!(bounds_now_ns[1], bounds_ns[1], "the other thread has its own");
        }
        check(&pools[0], &pools[1]);
    }
    settled_ms.map(|settled_ms| settled_ms.expect("each claim is settled"))
}

/// On a shared pool the times are for one thread.
#[test]
fn times_of_a_thread_are_its_own() {
    assert_eq!(settled_ms_of_threads((160 * MS, 2_000 * MS)), [200, 200]);
    assert_eq!(settled_ms_of_threads((400 * MS, 2_000 * MS)), [440, 200]);
    assert_eq!(settled_ms_of_threads((80 * MS, 2_000 * MS)), [120, 200]);
}

/// A grant that a thread does not pick up goes on after the grace that the shared pool was made with, whatever each
/// thread has now.
#[test]
fn grant_goes_on_after_the_first_grace() {
    for grace_ms in [20, 5_000] {
        let (_shared_pool, mut a, mut b) = two(&PoolConfig { frame_grace_ns: 160 * MS, ..config() });
        let mut leases = exhaust(&mut b, &mut a);
        for (token, pool) in [&mut a, &mut b].into_iter().enumerate() {
            assert!(matches!(pool.request(0, token as u64), Ok(Outcome::Queued(_))));
            pool.set_times(grace_ms * MS, 2_000 * MS).expect("they are allowed");
        }
        b.release(leases.pop().expect("there are some")).expect("it is the host's");
        assert_eq!(
            (b.poll_wake(), b.poll_notice()),
            (Some(0), None),
            "given: it is assigned to the thread that sleeps"
        );
        let picked_up = |now_ms: &u64| {
            b.handle_timeout(now_ms * MS);
            granted_to(&mut b) == Some(1)
        };
        assert_eq!((10..6_000).step_by(10).find(picked_up), Some(160), "grace of {grace_ms} ms");
    }
}

/// Times that are out of range are refused, with the sentence of the configuration, and change nothing.
#[test]
fn times_out_of_range_are_refused() {
    let mut pool = pool();
    let (bound_ns, allowed) = (pool.stats().memory_model.wait_ns_max, u64::MAX / 4);
    for (frame_grace_ns, blocked_ns, field, value) in
        [(7, 8, "frame_grace_ns", 7), (8, 7, "blocked_ns", 7), (allowed + 1, 8, "frame_grace_ns", allowed + 1)]
    {
        let refused: Result<(), ConfigError> = pool.set_times(frame_grace_ns, blocked_ns);
        let sentence = format!("{field} is {value}; allowed is 8 to {allowed}");
        assert_eq!(refused.map_err(|error| error.to_string()), Err(sentence));
        assert_eq!(pool.stats().memory_model.wait_ns_max, bound_ns);
    }
    pool.set_times(500 * MS, allowed).expect("they are allowed");
    assert_eq!(pool.stats().memory_model.wait_ns_max, bound_ns - 500 * MS - 500 * MS / 8);
    // A pause counts for an eighth of the grace in force.
    pool.set_times(80 * MS, 80 * MS).expect("they are allowed");
    [0, 1_000].into_iter().for_each(|now_ms| pool.handle_timeout(now_ms * MS));
    assert_eq!(pool.stats().clock_skipped_ns, 990 * MS);
}

fn sizes(stats: SchedulerStats) -> [u32; 3] {
    [stats.free, stats.leased, stats.withheld]
}

/// A limit takes what is free with the next advance of the clock, and the rest as it comes back, before any request. A
/// higher one makes it free again.
#[test]
fn limit_is_met_as_memory_comes_back() {
    let mut pool = Pool::new(&PoolConfig { buffer_bytes: 256, ..PoolConfig::new(20 * 256, 2) }).expect("it is allowed");
    let leases: Vec<_> = (0..16).map(|_| pool.request(0, 0).expect("a buffer is free")).collect();
    // One to receive into, one of cells of 64 bytes.
    assert_eq!(sizes(pool.stats().scheduler), [2, 18, 0]);
    pool.set_memory_limit(10 * 256 + 255).expect("it is allowed");
    assert_eq!(sizes(pool.stats().scheduler), [2, 18, 0], "what is borrowed may need a place");
    assert_eq!(pool.stats().scheduler.to_withhold, 10);
    assert_eq!(pool.poll_timeout(), Some(0), "an advance is asked for at once");
    pool.handle_timeout(1);
    pool.set_memory_limit(10 * 256).expect("it is allowed");
    assert_eq!(pool.poll_timeout(), None, "it is in force already");
    assert_eq!((sizes(pool.stats().scheduler), pool.check_invariants()), ([0, 18, 2], Ok(())));
    assert_eq!(pool.stats().scheduler.to_withhold, 8);
    let Ok(Outcome::Queued(wait)) = pool.request(0, 1) else { panic!("nothing is free") };
    for (at, &lease) in leases.iter().enumerate() {
        let Outcome::Granted(lease) = lease else { panic!("a buffer was free") };
        assert_eq!(pool.poll_notice(), None, "{at} were released");
        pool.release(lease).expect("it is the host's");
        if at == 8 {
            break;
        }
    }
    assert!(matches!(pool.poll_notice(), Some(Notice::Lease { wait: ended, .. }) if ended == wait));
    assert_eq!((sizes(pool.stats().scheduler), pool.check_invariants()), ([0, 10, 10], Ok(())));
    pool.set_memory_limit(20 * 256).expect("it is allowed");
    pool.handle_timeout(2);
    assert_eq!((sizes(pool.stats().scheduler), pool.check_invariants()), ([10, 10, 0], Ok(())));
    assert!(pool.nothing_to_poll() && pool.stats().scheduler.to_withhold == 0);
}

/// Content past its deadline goes, in the order of deadlines, though nothing waits for memory; what is in time stays.
#[test]
fn limit_evicts_what_is_past_its_deadline() {
    let mut pool =
        Pool::new(&PoolConfig { buffer_bytes: 256, ..PoolConfig::new(20 * 256, 18) }).expect("it is allowed");
    pool.handle_timeout(0);
    for token in 0..14 {
        let id = pool.attach(&AttachOptions::new(0, token)).expect("there is room");
        assert!(pool.handle(id, Event::Readable).expect("it is attached").has(Action::Recv));
        pool.handle(id, Event::Received { bytes: 200 }).expect("there is room");
        pool.decoded(id, 0, 50).expect("it is attached");
    }
    pool.set_memory_limit(10 * 256).expect("it is allowed");
    let (mut now_ns, mut shed) = (0, Vec::new());
    while pool.stats().scheduler.withheld < 10 {
        assert!(now_ns < 1_500 * MS, "{:?}", pool.stats());
        now_ns = pool.poll_timeout().expect("the limit is not met").max(now_ns + 1);
        pool.handle_timeout(now_ns);
        while let Some(notice) = pool.poll_notice() {
            let Notice::Receiver { token, actions, .. } = notice else { panic!("{notice:?}") };
            assert!(actions.has(Action::Shed) && now_ns > 1_000 * MS, "after {now_ns} ns: {notice:?}");
            shed.push(token);
        }
        assert_eq!(pool.check_invariants(), Ok(()));
    }
    // 18 buffers were in use, of which 10 may stay.
    assert_eq!(shed, (0..8).collect::<Vec<u64>>());
}

/// A limit below what receivers and the host's classes need, or above what there is, is refused with what is allowed.
#[test]
fn limits_out_of_range_are_refused() {
    let mut config = PoolConfig { buffer_bytes: 256, classes: 2, ..PoolConfig::new(40 * 256, 2) };
    (config.reserves[0], config.reserves[1]) = (0, 12);
    let mut pool = Pool::new(&config).expect("it is allowed");
    // Beside the reserve: one to receive into, one of cells of 64 bytes, and two more.
    let (least, most) = (16 * 256, 40 * 256);
    for refused in [0, least - 1, most + 256, u64::MAX] {
        let sentence = format!("limit_bytes is {refused}; allowed is {least} to {most}");
        assert_eq!(pool.set_memory_limit(refused).map_err(|error| error.to_string()), Err(sentence));
        pool.handle_timeout(1);
        assert_eq!(pool.stats().scheduler.withheld, 0);
    }
    pool.set_memory_limit(least).expect("it is allowed");
    pool.handle_timeout(2);
    assert_eq!(pool.stats().scheduler.withheld, 24);
    // In each class there is a buffer to be had.
    assert!([1, 0].into_iter().all(|class| matches!(pool.request(class, 0), Ok(Outcome::Granted(_)))));
    let plain = PoolConfig { buffer_bytes: 256, ..PoolConfig::new(40 * 256, 2) };
    let (_shared_pool, mut a, b) = two(&plain);
    let refused = a.set_memory_limit(16 * 256 - 1).map_err(|error| error.to_string());
    assert_eq!(refused, Err("limit_bytes is 4095; allowed is 4096 to 10240".to_owned()), "8 for each thread");
    a.set_memory_limit(16 * 256).expect("it is allowed");
    check(&a, &b);
}

/// On a shared pool one thread sets the limit for all: what others cache is withheld at once, and what they release.
#[test]
fn limit_of_a_shared_pool_is_for_all_threads() {
    let (shared_pool, mut a, mut b) = two(&config_of(40));
    let mut leases: Vec<_> = (0..20).map(|token| granted(&mut b, token)).collect();
    b.release(leases.pop().expect("there are 20")).expect("it is the host's");
    a.set_memory_limit(18 * 256).expect("it is allowed");
    check(&a, &b);
    let before = shared_pool.stats().scheduler;
    // Each thread has one to receive into, two of cells of 64 bytes, and a spare.
    assert_eq!((before.free, before.withheld, before.to_withhold), (0, 40 - 19 - 2 * 4, 9));
    let Ok(Outcome::Queued(wait)) = a.request(0, 7) else { panic!("nothing is free") };
    for left in (0..9).rev() {
        assert_eq!(granted_to(&mut a), None, "{left} are to be withheld");
        b.release(leases.pop().expect("there are some")).expect("it is the host's");
    }
    assert_eq!((shared_pool.stats().scheduler.withheld, granted_to(&mut a)), (22, None));
    b.release(leases.pop().expect("there are some")).expect("it is the host's");
    assert_eq!(granted_to(&mut a), Some(7));
    assert!(a.cancel(wait).is_err());
    b.set_memory_limit(40 * 256).expect("it is allowed");
    assert_eq!(shared_pool.stats().scheduler.withheld, 0);
    assert!(a.try_request(&Request::new(0, 0)).expect("it is allowed").is_some());
    check(&a, &b);
}

/// The reserve is an eighth of the limit, too: a receiver without credit has what is free beside it.
#[test]
fn reserve_follows_the_limit() {
    let room = |free: u32, limit: u64| {
        let mut pool =
            Pool::new(&PoolConfig { buffer_bytes: 256, ..PoolConfig::new(64 * 256, 2) }).expect("it is allowed");
        pool.set_memory_limit(limit * 256).expect("it is allowed");
        pool.handle_timeout(1);
        while pool.stats().scheduler.free > free {
            pool.request(0, 0).expect("a buffer is free");
        }
        let id = pool.attach(&AttachOptions::new(0, 1)).expect("there is room");
        pool.handle(id, Event::Readable).expect("it is attached");
        pool.receive_area(id).expect("it is to receive").len()
    };
    assert_eq!([room(9, 64), room(8, 64), room(8, 32), room(5, 32), room(4, 32)], [256, 64, 256, 256, 64]);

    // On a shared pool, what waits without credit is granted what is free beside it.
    for (limit, is_granted) in [(64, false), (32, true)] {
        let (_shared_pool, mut a, mut b) = two(&config_of(64));
        a.set_memory_limit(limit * 256).expect("it is allowed");
        [&mut a, &mut b].into_iter().for_each(|pool| pool.handle_timeout(0));
        let mut leases = exhaust(&mut b, &mut a);
        let id = waiting(&mut a, 1);
        assert_eq!(granted_to(&mut a), None);
        leases.drain(..6).for_each(|lease| b.release(lease).expect("it is the host's"));
        assert_eq!(granted_to(&mut a) == Some(1), is_granted, "{limit}");
        assert_eq!(a.pending(id).expect("it is attached").has(Action::Recv), is_granted);
        // Out of shortage is what has more than the reserve, as its thread sees it.
        let fresh = attach(&mut b, 2);
        b.handle_timeout(1);
        b.handle(fresh, Event::Readable).expect("it is attached");
        assert_eq!(b.receive_area(fresh).expect("it is to receive").len() == 256, is_granted, "{limit}");
        check(&a, &b);
    }
}

/// What is withheld leaves the process with the next trim.
#[test]
fn withheld_memory_is_not_resident() {
    let page_bytes = 65_536;
    let config = PoolConfig { buffer_bytes: page_bytes, ..PoolConfig::new(16 * u64::from(page_bytes), 2) };
    let mut pool = Pool::new(&config).expect("it is allowed");
    let leases: Vec<_> = std::iter::from_fn(|| pool.try_request(&Request::new(0, 0)).expect("it is allowed")).collect();
    leases.iter().for_each(|&lease| pool.buffer(lease).expect("it is the host's")[0] = 1);
    pool.set_memory_limit(8 * u64::from(page_bytes)).expect("it is allowed");
    pool.handle_timeout(1);
    leases[..8].iter().for_each(|&lease| pool.release(lease).expect("it is the host's"));
    assert_eq!(pool.stats().scheduler.withheld, 8);
    // Miri knows no madvise(2).
    if cfg!(all(target_os = "linux", not(miri))) {
        assert_eq!(pool.trim(), 8 * page_bytes as usize);
    }
}

/// An exported receiver has its buffer until it is imported, and no thread may evict it meanwhile: the limit is met
/// after that. What moves has the age that it had.
#[test]
fn limit_is_met_once_exported_receivers_are_imported() {
    let (shared_pool, mut a, mut b) = two(&PoolConfig { receivers_max: 12, ..config_of(40) });
    [&mut a, &mut b].into_iter().for_each(|pool| pool.handle_timeout(0));
    let ids: Vec<_> = (0..7).map(|token| keeping(&mut a, token, &[token as u8; 200])).collect();
    let small = keeping(&mut a, 7, &[7; 100]);
    let mut now_ns = 0;
    let mut pass = |a: &mut ShardPool, b: &mut ShardPool, ms: u64| {
        (0..ms / 125).for_each(|_| {
            now_ns += 125 * MS;
            [&mut *a, &mut *b].into_iter().for_each(|pool| pool.handle_timeout(now_ns));
        });
    };
    pass(&mut a, &mut b, 500);
    let mut exported: Vec<_> = ids.into_iter().map(|id| a.export(id).expect("it can move")).collect();
    a.set_memory_limit(16 * 256).expect("it is the least that is allowed");
    // Each thread has one to receive into, three of cells of 64 bytes, and a spare; one has the small content.
    let to_withhold = || shared_pool.stats().scheduler.to_withhold;
    assert_eq!(to_withhold(), 2 * 5 + 7 + 1 - 16);
    pass(&mut a, &mut b, 1_500);
    assert_eq!((granted_to(&mut b), granted_to(&mut a)), (None, Some(7)), "it is past its deadline, and evicted");
    a.handle(small, Event::Close).expect("it is attached");
    assert_eq!((granted_to(&mut a), to_withhold()), (None, 1), "the others are out of reach");
    check(&a, &b);

    let import = |exported| b.import(exported).expect("it has its buffer");
    let ids: Vec<_> = exported.iter_mut().map(import).collect();
    for (token, &id) in ids.iter().enumerate() {
        assert_eq!(b.data(id).expect("it is attached"), [token as u8; 200]);
        b.decoded(id, 0, 50).expect("it is attached");
    }
    check(&a, &b);
    // A frame of 250 bytes may take 30.5 ms beside the grace of 1 s; half of that was over.
    pass(&mut a, &mut b, 500);
    assert_eq!((granted_to(&mut b), to_withhold()), (None, 1), "each is in time");
    pass(&mut a, &mut b, 250);
    assert_eq!((granted_to(&mut b), granted_to(&mut b)), (Some(0), None), "one is enough");
    assert_eq!((to_withhold(), b.data(ids[1]).expect("it is attached")), (0, &[1; 200][..]));
    check(&a, &b);
}

/// Threads take and release while each of them changes the limit; what is left is what the last one said.
#[test]
fn limit_changes_while_threads_work() {
    let rounds = if cfg!(miri) { 50 } else { 5_000 };
    let config = config_of(40);
    let (shared_pool, a, b) = two(&config);
    let work = |mut pool: ShardPool, seed: u64| {
        let mut random = fastrand::Rng::with_seed(seed);
        let (mut leases, mut waits) = (Vec::new(), 0);
        for round in 1..=rounds {
            pool.handle_timeout(round * MS);
            if random.u8(..16) == 0 {
                pool.set_memory_limit(random.u64(16..=40) * 256).expect("it is allowed");
            }
            match pool.request(0, round) {
                Ok(Outcome::Granted(lease)) => leases.push(lease),
                Ok(Outcome::Queued(_)) => waits += 1,
                Err(_) => assert_eq!(waits, 8, "as many wait as may"),
            }
            while !leases.is_empty() && (leases.len() > 12 || random.bool()) {
                let lease = leases.swap_remove(random.usize(..leases.len()));
                pool.release(lease).expect("it is the host's");
            }
            while let Some(notice) = pool.poll_notice() {
                let Notice::Lease { lease, .. } = notice else { panic!("{notice:?}") };
                (waits, _) = (waits - 1, leases.push(lease));
            }
        }
        leases.drain(..).for_each(|lease| pool.release(lease).expect("it is the host's"));
        (pool, waits)
    };
    let [(mut a, waits_of_a), (mut b, waits_of_b)] = std::thread::scope(|scope| {
        let threads = [(a, 1), (b, 2)].map(|(pool, seed)| scope.spawn(move || work(pool, seed)));
        threads.map(|thread| thread.join().expect("it does not panic"))
    });
    check(&a, &b);
    a.set_memory_limit(40 * 256).expect("it is allowed");
    for (pool, waits) in [(&mut a, waits_of_a), (&mut b, waits_of_b)] {
        for _ in 0..waits {
            let Some(Notice::Lease { lease, .. }) = pool.poll_notice() else { panic!("all are free") };
            pool.release(lease).expect("it is the host's");
        }
    }
    check(&a, &b);
    a.set_memory_limit(16 * 256).expect("it is allowed");
    let stats = shared_pool.stats().scheduler;
    assert_eq!((stats.withheld, stats.to_withhold), (24, 0));
    check(&a, &b);
}
