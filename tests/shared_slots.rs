//! What pools that threads share have and those of one thread have not: parking slots, classes and deadlines of
//! receivers. On one thread.

use demuxbuf::connection::{Action, Actions, Event, EventError, Mode, Policy};
use demuxbuf::memory::BUFFER_BYTES_DEFAULT;
use demuxbuf::pool::{AttachOptions, LeasedContent, Notice, Pool, PoolConfig, PoolError, ReceiverId};
use demuxbuf::scheduler::{LeaseId, Outcome, SchedulerError, WaitId};
use demuxbuf::shared::{PoolShard, SharedPool};

/// A shared pool of one shard.
fn shard(config: &PoolConfig) -> (SharedPool, Pool<PoolShard>) {
    let shared_pool = SharedPool::new(config, 1).expect("the configuration is allowed");
    let pool = shared_pool.shard(0).expect("it has none");
    (shared_pool, pool)
}

/// One buffer, three classes, and nowhere to park.
fn without_slots(receivers_max: u32) -> PoolConfig {
    let mut config = PoolConfig { lifeline: false, slots: 0, ..PoolConfig::new(1, receivers_max) };
    config.scheduler.classes = 3;
    config
}

fn of_mode(mode: Mode) -> Option<Policy> {
    Some(Policy { mode, ..Policy::default() })
}

fn report(pool: &mut Pool<PoolShard>, id: ReceiverId, event: Event) -> Actions {
    pool.handle(id, event).unwrap_or_else(|error| panic!("{event:?}: {error}"))
}

fn lease(pool: &mut Pool<PoolShard>) -> LeaseId {
    match pool.request(0, 0) {
        Ok(Outcome::Granted(lease)) => lease,
        other => panic!("a buffer is free: {other:?}"),
    }
}

fn granted_to(pool: &mut Pool<PoolShard>) -> Option<u64> {
    match pool.poll_notice()? {
        Notice::Receiver { token, .. } => Some(token),
        notice => panic!("{notice:?}"),
    }
}

/// A lease has a deadline while it is a receiver's, and none while it is the host's.
#[test]
fn deadline_belongs_to_a_receivers_buffer_only() {
    let mut config = PoolConfig::new(1, 4);
    (config.scheduler.park_ns, config.scheduler.lease_ns) = (Some(10), Some(20));
    let (_shared_pool, mut pool) = shard(&config);
    let Ok(Outcome::Granted(lease)) = pool.request(0, 0) else { panic!("a buffer is free") };
    pool.handle_timeout(5);
    let id = pool
        .adopt(&AttachOptions::new(0, 0), LeasedContent { lease, offset: 0, buffered_bytes: 200 })
        .expect("the lease is the host's");
    (6..=12).for_each(|now_ns| pool.handle_timeout(now_ns));
    let lease_info = |pool: &Pool<PoolShard>| pool.describe(id).expect("it is attached").lease_info;
    let adopted = lease_info(&pool).expect("it has a deadline");
    assert_eq!((adopted.held_ns, adopted.idle_ns, adopted.progress_bytes), (7, 7, 0));
    pool.decoded(id, 0, 9).expect("that many bytes are missing");
    assert_eq!(lease_info(&pool), Some(adopted), "needing bytes is no progress");
    pool.decoded(id, 3, 0).expect("that many bytes are buffered");
    let progressed = lease_info(&pool).expect("it has a deadline");
    assert_eq!((progressed.held_ns, progressed.idle_ns, progressed.progress_bytes), (7, 0, 3));

    // A request waits from here on; the host's own lease is never asked for.
    let waiting = pool.attach(&AttachOptions::new(0, 1)).expect("there is room");
    pool.handle(waiting, Event::Readable).expect("it is attached");
    assert!(pool.poll_timeout().is_some());
    pool.take(id).expect("it holds a buffer");
    assert_eq!((lease_info(&pool), pool.poll_timeout()), (None, None));
}

/// A holder that keeps an empty buffer for a frame that can never fit is shed for the benefit of waiters.
#[test]
fn holder_of_an_oversized_frame_is_shed() {
    let mut config = PoolConfig::new(1, 2);
    config.buffer_bytes = 64;
    (config.scheduler.park_ns, config.scheduler.lease_ns) = (Some(10), Some(20));
    let (_shared_pool, mut pool) = shard(&config);
    let [holder, other] = [7, 8].map(|token| pool.attach(&AttachOptions::new(0, token)).expect("there is room"));
    pool.handle(holder, Event::Readable).expect("a buffer is free");
    pool.handle(holder, Event::Received { bytes: 9 }).expect("they fit");
    let actions = pool.decoded(holder, 9, 65).expect("they are there");
    assert!(actions.has(Action::CannotFit), "{actions:?}");
    pool.handle(other, Event::Readable).expect("it is attached");
    // The holder has nothing to park, and its host does not act.
    (0..=30).for_each(|now_ns| pool.handle_timeout(now_ns));
    let mut asked = std::iter::from_fn(|| pool.poll_notice());
    let is_shed =
        |granted| matches!(granted, Notice::Receiver { id, actions, .. } if id == holder && actions.has(Action::Shed));
    assert!(asked.any(is_shed));
    pool.handle(holder, Event::Close).expect("it is attached");
    assert!(matches!(pool.poll_notice(), Some(Notice::Receiver { id, .. }) if id == other));
}

/// A receiver that parks, and at once needs a buffer again, is not asked for that one in the same call, which would not
/// end.
#[test]
fn fresh_grant_is_not_reclaimed_at_once() {
    let mut config = PoolConfig::new(3, 3);
    (config.scheduler.classes, config.scheduler.class_caps[1], config.policy.mode) = (2, 1, Mode::Edge);
    (config.scheduler.park_ns, config.scheduler.lease_ns) = (Some(0), Some(10));
    let (_shared_pool, mut pool) = shard(&config);
    let [holder, other] =
        [0, 1].map(|class| pool.attach(&AttachOptions::new(class, class.into())).expect("there is room"));
    pool.handle(holder, Event::Readable).expect("a buffer is free");
    pool.handle(holder, Event::Received { bytes: 9 }).expect("they fit");
    assert!(pool.decoded(holder, 0, 9).expect("that many bytes are missing").has(Action::Recv));
    // Its class is at its cap, whatever other classes release.
    pool.request(1, 0).expect("a buffer is free");
    pool.handle(other, Event::Readable).expect("it is attached");
    assert_eq!((pool.poll_notice(), pool.stats().parked_on_demand), (None, 0));
    assert_eq!(pool.poll_timeout(), Some(1));
    (0..=1).for_each(|now_ns| pool.handle_timeout(now_ns));
    assert_eq!((pool.poll_notice(), pool.stats().parked_on_demand), (None, 1));
}

#[test]
fn cancel_refuses_the_wait_of_a_receiver() {
    let (_shared_pool, mut pool) = shard(&PoolConfig::new(1, 4));
    let Ok(Outcome::Granted(lease)) = pool.request(0, 0) else { panic!("a buffer is free") };
    let Ok(Outcome::Queued(own)) = pool.request(0, 1) else { panic!("none is free") };
    pool.cancel(own).expect("it is the host's");
    let id = pool.attach(&AttachOptions::new(0, 2)).expect("there is room");
    pool.handle(id, Event::Readable).expect("it is attached");
    // The receiver's wait has the row of the host's wait, so its handle can be guessed.
    let guesses = (1..9).map(|later| WaitId::from_bits(own.to_bits() + (later << 32)));
    let guess = guesses.into_iter().find(|&wait| pool.describe_wait(wait).is_ok()).expect("one is right");
    assert_eq!(pool.cancel(guess), Err(SchedulerError::StaleWait.into()));
    pool.check_invariants().expect("nothing is changed");
    pool.release(lease).expect("it is the host's");
    assert!(matches!(pool.poll_notice(), Some(Notice::Receiver { token: 2, .. })), "the receiver waited on");
}

/// One more than the limit, and the limit, of each field that is checked here; the scheduler checks the other fields.
#[test]
fn config_is_refused_just_outside_its_range() {
    type Set = fn(&mut PoolConfig, u32);
    let fields: [(&str, u32, u32, Set); 5] = [
        ("receivers_max", 1, i32::MAX as u32 - 1, |config, value| config.receivers_max = value),
        ("waiters_max", 4, i32::MAX as u32 - 1, |config, value| config.scheduler.waiters_max = value),
        ("policy.park_bytes", 0, 64, |config, value| config.policy.park_bytes = value as u16),
        ("policy.reclaim_bytes", 0, 4096, |config, value| config.policy.reclaim_bytes = value as u16),
        ("continuation_class", 0, 2, |config, value| config.continuation_class = Some(value as u8)),
    ];
    for (name, least, most, set) in fields {
        for (value, is_allowed) in [(least.wrapping_sub(1), least == 0), (least, true), (most, true), (most + 1, false)]
        {
            let mut config = PoolConfig::new(4, 4);
            config.scheduler.classes = 3;
            set(&mut config, value);
            // Not every allowed pool is made: the largest table of receivers may not fit into memory.
            if !is_allowed {
                let refused = SharedPool::new(&config, 1).expect_err("out of range");
                let words = format!("{name} is {value}; allowed is ");
                assert!(refused.to_string().contains(&words), "{name} = {value}: {refused}");
            } else if value < 10_000 {
                SharedPool::new(&config, 1).unwrap_or_else(|error| panic!("{name} = {value}: {error}"));
            }
        }
    }
}

/// Received bytes are refused with the state machine's error while what came before is not decoded.
#[test]
fn received_is_refused_while_decoding_is_due() {
    let (_shared_pool, mut pool) = shard(&PoolConfig::new(1, 4));
    let id = pool.attach(&AttachOptions::new(0, 0)).expect("there is room");
    let received = |pool: &mut Pool<PoolShard>, bytes| pool.handle(id, Event::Received { bytes });
    assert_eq!(received(&mut pool, 1), Err(EventError::NoBuffer.into()));
    pool.handle(id, Event::Readable).expect("it is open");
    assert_eq!(received(&mut pool, BUFFER_BYTES_DEFAULT + 1), Err(EventError::TooManyBytes.into()));
    received(&mut pool, 100).expect("there is room");
    pool.decoded(id, 40, 0).expect("that many bytes are buffered");
    // The host did not ask where to receive since then, so what is left was not moved to the front.
    assert_eq!(received(&mut pool, BUFFER_BYTES_DEFAULT - 99), Err(PoolError::TooManyBytes));
    received(&mut pool, BUFFER_BYTES_DEFAULT - 100).expect("there is room behind it");
}

#[test]
fn compacted_bytes_are_counted() {
    let (_shared_pool, mut pool) = shard(&PoolConfig::new(1, 4));
    let id = pool.attach(&AttachOptions::new(0, 0)).expect("there is room");
    for (moved, consumed) in [(0, 80), (120, 100), (340, 420)] {
        pool.handle(id, Event::Readable).expect("it is open");
        // The second time the content is at the front already.
        for _ in 0..2 {
            pool.receive_area(id).expect("it has a buffer");
            assert_eq!(pool.stats().compacted_bytes, moved);
        }
        pool.handle(id, Event::Received { bytes: 200 }).expect("there is room");
        pool.decoded(id, consumed, 1).expect("that many bytes are buffered");
    }
    assert_eq!(pool.stats().compactions, 2);
}

#[test]
fn reserve_for_partial_frames_serves_only_those() {
    let mut config = PoolConfig { continuation_class: Some(0), ..PoolConfig::new(2, 4) };
    (config.scheduler.classes, config.scheduler.reserves[1]) = (2, 1);
    let (_shared_pool, mut pool) = shard(&config);
    let [begun, new] = [7, 8].map(|token| pool.attach(&AttachOptions::new(1, token)).expect("there is room"));
    for event in [Event::Readable, Event::Received { bytes: 9 }, Event::NeedMore { bytes: 100 }] {
        pool.handle(begun, event).expect("it is open");
    }
    assert!(matches!(pool.request(0, 0), Ok(Outcome::Granted(_))), "the rest of it is parked");
    pool.handle(new, Event::Readable).expect("it is open");
    assert!(pool.connection(new).expect("it is attached").is_waiting());
    pool.handle(begun, Event::Readable).expect("it is open");
    assert!(!pool.connection(begun).expect("it is attached").is_waiting());
}

#[test]
fn decoder_may_change_buffered_bytes_in_place() {
    let (_shared_pool, mut pool) = shard(&PoolConfig::new(1, 4));
    let id = pool.attach(&AttachOptions::new(0, 0)).expect("there is room");
    assert_eq!(pool.data_mut(id), Ok(&mut [][..]), "nothing is held");
    pool.handle(id, Event::Readable).expect("it is attached");
    pool.receive_area(id).expect("it has a buffer")[..3].copy_from_slice(&[1, 2, 3]);
    pool.handle(id, Event::Received { bytes: 3 }).expect("there is room");
    pool.data_mut(id).expect("it is attached")[1] = 9;
    assert_eq!(pool.data(id), Ok(&[1, 9, 3][..]));
    // A hole: what lies before it moves up to its end, and its bytes are consumed at the front.
    pool.data_mut(id).expect("it is attached").copy_within(0..1, 1);
    pool.decoded(id, 1, 0).expect("it is buffered");
    assert_eq!(pool.data(id), Ok(&[1, 3][..]));
    assert_eq!((pool.stats().received_bytes, pool.stats().consumed_bytes, pool.check_invariants()), (3, 1, Ok(())));
}

/// A receive in flight is known by the mode of its receiver, and a grant that came meanwhile is used afterwards.
#[test]
fn completion_in_a_level_pool_uses_a_deferred_grant() {
    let config = PoolConfig::new(1, 4);
    let (_shared_pool, mut pool) = shard(&config);
    let held = lease(&mut pool);
    let options = AttachOptions { policy: of_mode(Mode::Completion), ..AttachOptions::new(0, 9) };
    let id = pool.attach(&options).expect("there is room");
    assert!(pool.pending(id).expect("it is attached").has(Action::Recv), "into a slot that is lent");
    report(&mut pool, id, Event::done(Action::Recv));
    pool.release(held).expect("it is the host's");
    while pool.poll_notice().is_some() {}
    assert_eq!(pool.connection(id).expect("it is attached").capacity(), 64, "the receive goes to the slot");
    report(&mut pool, id, Event::Received { bytes: 3 });
    let capacity = pool.connection(id).expect("it is attached").capacity();
    assert_eq!((capacity, pool.check_invariants()), (config.buffer_bytes, Ok(())));
}

/// What is out of range of a policy names its field, and nothing is attached or changed.
#[test]
fn policy_out_of_range_is_refused() {
    let (_shared_pool, mut pool) = shard(&without_slots(1));
    let park = Policy { park_bytes: 65, ..Policy::default() };
    let reclaim = Policy { reclaim_bytes: 4097, ..Policy::default() };
    let refused = [("policy.park_bytes", 65, 64, park), ("policy.reclaim_bytes", 4097, 4096, reclaim)];
    for (field, value, max, policy) in refused {
        let options = AttachOptions { policy: Some(policy), ..AttachOptions::new(0, 0) };
        assert_eq!(pool.attach(&options), Err(PoolError::Policy { field, value, max }));
        assert_eq!(pool.attach_with(&options, &[1]), Err(PoolError::Policy { field, value, max }));
    }
    let id = pool.attach(&AttachOptions::new(0, 0)).expect("nothing was attached");
    for (field, value, max, policy) in refused {
        assert_eq!(pool.set_policy(id, &policy), Err(PoolError::Policy { field, value, max }));
    }
    assert_eq!(pool.connection(id).expect("it is attached").policy().park_bytes, 64, "that of the pool");
    let text = PoolError::Policy { field: "policy.park_bytes", value: 65, max: 64 }.to_string();
    assert_eq!(text, "policy.park_bytes is 65; allowed is 0 to 64");
}

#[test]
fn set_policy_keeps_the_mode_during_a_receive() {
    let (_shared_pool, mut pool) = shard(&without_slots(1));
    let options = AttachOptions { policy: of_mode(Mode::Completion), ..AttachOptions::new(0, 0) };
    let id = pool.attach(&options).expect("there is room");
    report(&mut pool, id, Event::done(Action::Recv));
    let before = pool.connection(id).expect("it is attached").clone();
    let refused = pool.set_policy(id, &Policy::default());
    assert_eq!(refused, Err(PoolError::Event(EventError::InFlight)));
    assert_eq!(pool.connection(id), Ok(&before));
    let same_mode = Policy { mode: Mode::Completion, park_bytes: 9, ..Policy::default() };
    pool.set_policy(id, &same_mode).expect("the mode stays");
    report(&mut pool, id, Event::WouldBlock);
    pool.set_policy(id, &Policy::default()).expect("nothing is in flight");
}

/// A connection that becomes more critical while it waits goes before those that waited longer in the class it left.
#[test]
fn set_class_moves_a_queued_wait() {
    let (_shared_pool, mut pool) = shard(&without_slots(4));
    let held = lease(&mut pool);
    let [first, second, third] = [1, 2, 3].map(|token| {
        let id = pool.attach(&AttachOptions::new(2, token)).expect("there is room");
        report(&mut pool, id, Event::Readable);
        id
    });
    pool.set_class(third, 0).expect("the class exists");
    pool.set_class(second, 1).expect("the class exists");
    assert_eq!(pool.describe(third).expect("it is attached").class, 0);
    pool.release(held).expect("it is the host's");
    for (token, id) in [(3, third), (2, second), (1, first)] {
        assert_eq!(granted_to(&mut pool), Some(token));
        report(&mut pool, id, Event::WouldBlock);
    }
    let unknown = SchedulerError::UnknownClass { class: 3, classes: 3 };
    assert_eq!(pool.set_class(first, 3), Err(unknown.into()));
    report(&mut pool, first, Event::Close);
    assert_eq!(pool.set_class(first, 0), Err(PoolError::Stale));
    assert_eq!(pool.check_invariants(), Ok(()));
}

#[test]
fn host_waits_leave_one_for_each_receiver() {
    let (_shared_pool, mut pool) = shard(&PoolConfig::new(1, 3));
    assert!(matches!(pool.request(0, 0), Ok(Outcome::Granted(_))));
    let mut waits = Vec::new();
    while let Ok(Outcome::Queued(wait)) = pool.request(0, 0) {
        waits.push(wait);
    }
    assert_eq!((waits.len(), pool.request(0, 0)), (3, Err(SchedulerError::WaitersFull { waiters_max: 3 }.into())));
    for token in 0..3 {
        let id = pool.attach(&AttachOptions::new(0, token)).expect("the table has room");
        pool.handle(id, Event::Readable).expect("attached");
        assert!(pool.connection(id).expect("attached").is_waiting());
    }
    pool.cancel(waits[0]).expect("the wait is the host's");
    assert!(matches!(pool.request(0, 0), Ok(Outcome::Queued(_))));
    assert_eq!(pool.check_invariants(), Ok(()));
}

#[test]
fn adopt_of_few_bytes_needs_no_buffer() {
    let (_shared_pool, mut pool) = shard(&PoolConfig::new(1, 2));
    assert!(matches!(pool.request(0, 0), Ok(Outcome::Granted(_))));
    let id = pool.attach_with(&AttachOptions::new(0, 0), b"hello").expect("a slot is free");
    assert!(pool.pending(id).expect("attached").has(Action::Decode));
    assert_eq!(pool.data(id), Ok(b"hello".as_slice()));
    assert_eq!(pool.attach_with(&AttachOptions::new(0, 0), &[0; 65]), Err(PoolError::NoBufferFree));
    assert_eq!(
        pool.attach_with(&AttachOptions::new(1, 0), b"hello"),
        Err(SchedulerError::UnknownClass { class: 1, classes: 1 }.into())
    );
    assert_eq!(pool.check_invariants(), Ok(()));
    pool.handle(id, Event::Consumed { bytes: 5 }).expect("as many are buffered");
    assert_eq!(pool.stats().slots_in_use, 0);
}

/// A larger threshold or a smaller one counts at once for a buffer that is full.
#[test]
fn set_policy_resumes_a_full_buffer() {
    let (_shared_pool, mut pool) = shard(&without_slots(1));
    let policy = Policy { resume_free_bytes: 5_000, ..Policy::default() };
    let id = pool.attach(&AttachOptions { policy: Some(policy), ..AttachOptions::new(0, 0) }).expect("there is room");
    report(&mut pool, id, Event::Readable);
    let room = pool.receive_area(id).expect("it is attached").len() as u32;
    report(&mut pool, id, Event::Received { bytes: room });
    report(&mut pool, id, Event::Consumed { bytes: 100 });
    assert!(!report(&mut pool, id, Event::Block { reasons: 1 }).has(Action::Recv), "too little is free");
    let policy = Policy { resume_free_bytes: 100, ..Policy::default() };
    assert!(pool.set_policy(id, &policy).expect("it is open").has(Action::Recv));
}

#[test]
fn undecoded_bytes_that_cannot_park_receive_on() {
    for mode in [Mode::Level, Mode::Edge] {
        let mut config = PoolConfig { slots: 0, ..PoolConfig::new(1, 1) };
        config.policy.mode = mode;
        let (_shared_pool, mut pool) = shard(&config);
        let id = pool.attach(&AttachOptions::new(0, 0)).expect("the table has room");
        pool.handle(id, Event::Readable).expect("attached");
        pool.handle(id, Event::Received { bytes: 9 }).expect("there is room");
        pool.decoded(id, 0, 100).expect("it fits");
        pool.handle(id, Event::ReclaimRequested).expect("attached");
        let actions = pool.handle(id, Event::Readable).expect("attached");
        assert!(actions.has(Action::Recv), "{mode:?}: {actions:?}");
        assert_eq!(pool.receive_area(id).map(|area| area.len()), Ok(BUFFER_BYTES_DEFAULT as usize - 9));
    }
}

#[test]
fn config_error_names_slots_and_sizes() {
    let slots = |slots, large_slots| {
        let config = PoolConfig { slots, large_slots, ..PoolConfig::new(2, 2) };
        let shared_pool = SharedPool::new(&config, 1).expect("each shard has slots of its own");
        shared_pool.shard(0).unwrap_err().to_string()
    };
    assert_eq!(slots(1 << 28, [0; 3]), "slots is 268435456; allowed is 0 to 268435455");
    assert_eq!(slots(0, [0, 1 << 28, 0]), "large_slots[1] is 268435456; allowed is 0 to 268435455");
    let mut config = PoolConfig::new(2, 2);
    config.scheduler.sizes[0] = 3;
    let refused = SharedPool::new(&config, 1).unwrap_err().to_string();
    assert_eq!(refused, "buffer_bytes is 16448; allowed is a multiple of scheduler.sizes[0], 3");
}
