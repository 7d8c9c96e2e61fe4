//! Receives that are submitted and complete later: until then what they go to is in use, and others may ask for it.

use crate::{MS, receive};
use demuxbuf::connection::{Action, Actions, EndKind, Event, EventError, Mode, Policy};
use demuxbuf::pool::{AttachOptions, BufferSource, Notice, Pool, PoolConfig, PoolError, ReceiverId};
use demuxbuf::scheduler::{LeaseId, Request};
use demuxbuf::shared::SharedPool;
use demuxbuf_testkit::{Socket, check_in_flight};
use std::collections::VecDeque;

fn config(in_flight_max: u32) -> PoolConfig {
    let policy = Policy { mode: Mode::Completion, ..Policy::default() };
    PoolConfig { buffer_bytes: 256, in_flight_max, policy, ..PoolConfig::new(8 * 256, 8) }
}

/// Eight buffers, of which one is cut for small cells and one is the receive buffer.
fn pool(in_flight_max: u32) -> Pool {
    let mut pool = Pool::new(&config(in_flight_max)).expect("the configuration is allowed");
    pool.handle_timeout(0);
    pool
}

fn attach<S: BufferSource>(pool: &mut Pool<S>, token: u64) -> ReceiverId {
    pool.attach(&AttachOptions::new(0, token)).expect("there is room")
}

/// The host polls before it receives.
fn attach_idle<S: BufferSource>(pool: &mut Pool<S>, token: u64) -> ReceiverId {
    let id = attach(pool, token);
    if pool.pending(id).expect("it is attached").has(Action::Recv) {
        pool.handle(id, Event::WouldBlock).expect("it is attached");
    }
    assert_eq!(pool.pending(id), Ok(Action::WantRecv.into()), "submit a poll");
    pool.handle(id, Event::done(Action::WantRecv)).expect("it is pending");
    id
}

fn socket() -> Socket {
    Socket::new(Mode::Completion, &[])
}

/// Submits the receive that is pending.
fn submit<S: BufferSource>(pool: &mut Pool<S>, id: ReceiverId, socket: &mut Socket) {
    // SAFETY: the pool outlives the receive, and only what it promises to leave alone is in it.
    #[allow(unsafe_code, reason = "the test writes as the system would")]
    let event = unsafe { socket.submit(pool.receive_area(id).expect("it is attached")) };
    let actions = pool.handle(id, event).expect("a receive is pending");
    assert!(!actions.has(Action::Recv), "one at a time");
    assert!(pool.receive_area(id).expect("it is attached").is_empty(), "nothing more is offered");
    check(pool, &[socket]);
}

/// The outcome of the receive.
fn complete<S: BufferSource>(pool: &mut Pool<S>, id: ReceiverId, socket: &mut Socket) -> Actions {
    let event = socket.poll().expect("it is readable or cancelled");
    pool.handle(id, event).expect("it is the outcome")
}

/// The host cancels the receive, and it brings nothing.
fn cancel<S: BufferSource>(pool: &mut Pool<S>, id: ReceiverId, socket: &mut Socket) -> Actions {
    assert!(pool.pending(id).expect("it is attached").has(Action::StopRecv));
    assert!(socket.cancel(), "it found nothing");
    let actions = pool.handle(id, Event::done(Action::StopRecv)).expect("it is pending");
    assert!(!actions.has(Action::StopRecv), "it is asked for once");
    complete(pool, id, socket)
}

fn check<S: BufferSource>(pool: &Pool<S>, sockets: &[&Socket]) {
    pool.check_invariants().expect("the invariants hold");
    check_in_flight(sockets.iter().copied());
}

fn lease_all<S: BufferSource>(pool: &mut Pool<S>) -> Vec<LeaseId> {
    std::iter::from_fn(|| pool.try_request(&Request::new(0, 0)).expect("the class exists")).collect()
}

fn notices<S: BufferSource>(pool: &mut Pool<S>) -> Vec<(ReceiverId, Actions)> {
    let notices: Vec<Notice> = std::iter::from_fn(|| pool.poll_notice()).collect();
    let of_receiver = |notice| match notice {
        Notice::Receiver { id, actions, .. } => (id, actions),
        notice => panic!("{notice:?}"),
    };
    notices.into_iter().map(of_receiver).collect()
}

fn free<S: BufferSource>(pool: &Pool<S>) -> u32 {
    pool.memory().free_buffers()
}

#[test]
fn in_flight_memory_is_not_used_for_anything_else() {
    let (mut pool, mut socket) = (pool(0), socket());
    let (id, before) = (attach(&mut pool, 1), free(&pool));
    submit(&mut pool, id, &mut socket);
    assert_eq!(free(&pool), before - 1, "it counts as a whole buffer");
    let other = attach_idle(&mut pool, 2);
    pool.set_policy(other, &Policy::default()).expect("it is open");
    for step in 1..40 {
        pool.handle_timeout(step * 125 * MS);
        // The receive buffer is another one, and so are cells.
        receive(&mut pool, other, &[step as u8; 50], 100);
        pool.decoded(other, 50, 0).expect("they are buffered");
        check(&pool, &[&socket]);
        assert_eq!((notices(&mut pool), free(&pool)), (vec![], before - 1), "nothing waits");
    }
    for event in [Event::PauseRecv, Event::Fail, Event::Wake, Event::Readable] {
        let actions = pool.handle(id, event).expect("the event is allowed");
        assert!(!actions.has(Action::Recv), "{event:?}");
        check(&pool, &[&socket]);
    }
    assert_eq!(pool.take(id), Err(EventError::InFlight.into()));
    let level = Policy::default();
    assert_eq!(pool.set_policy(id, &level), Err(EventError::InFlight.into()));
    cancel(&mut pool, id, &mut socket);
    assert_eq!((free(&pool), pool.check_invariants()), (before, Ok(())), "the buffer is free");
}

#[test]
fn closed_connection_keeps_its_buffer_in_flight() {
    for outcome in 0..4 {
        let (mut pool, mut socket) = (pool(1), socket());
        let (id, before) = (attach(&mut pool, 1), free(&pool));
        submit(&mut pool, id, &mut socket);
        let other = attach_idle(&mut pool, 2);
        assert_eq!(pool.handle(id, Event::Close), Ok(Action::StopRecv.into()), "the host cancels it");
        pool.handle(other, Event::Readable).expect("its poll is complete");
        pool.handle_timeout(1);
        assert_eq!((notices(&mut pool), free(&pool)), (vec![], before - 1), "it is in use, and one is the most");
        check(&pool, &[&socket]);
        for event in [Event::Readable, Event::Wake, Event::PauseRecv, Event::Close] {
            let actions = pool.handle(id, event).expect("nothing comes of it");
            assert!(!actions.has(Action::Finished), "{event:?}");
        }
        assert_eq!(pool.decoded(id, 0, 0), Err(EventError::Closed.into()));
        assert_eq!(pool.take(id), Err(EventError::InFlight.into()));
        assert_eq!(pool.data(id), Ok(&[][..]));
        assert_eq!(pool.handle(id, Event::Received { bytes: 257 }), Err(PoolError::TooManyBytes));
        match outcome {
            0 => socket.send(b"too late"),
            1 => assert!(socket.cancel()),
            end => socket.finish(if end == 2 { EndKind::Stream } else { EndKind::Error }),
        }
        let actions = complete(&mut pool, id, &mut socket);
        assert_eq!(actions, Action::Finished.into(), "outcome {outcome}");
        assert_eq!((pool.pending(id), free(&pool)), (Err(PoolError::Stale), before));
        let counts = pool.counts();
        assert_eq!((counts.received_bytes, counts.dropped_bytes), if outcome == 0 { (8, 8) } else { (0, 0) });
        let [(granted, actions)] = notices(&mut pool)[..] else { panic!("one is granted") };
        assert!(granted == other && actions.has(Action::Recv), "the next one has its turn");
        check(&pool, &[]);
    }
}

/// Bytes land behind the content that was there when the receive was submitted, even if that content was decoded since.
#[test]
fn receive_in_flight_appends_at_its_submitted_place() {
    for outcome in [true, false] {
        let (mut pool, mut socket) = (pool(0), socket());
        let id = attach(&mut pool, 1);
        receive(&mut pool, id, &[b'a'; 100], 50);
        submit(&mut pool, id, &mut socket);
        pool.handle_timeout(1);
        assert_eq!(pool.data(id), Ok(&[b'a'; 100][..]), "it is lent meanwhile");
        pool.decoded(id, 60, 0).expect("100 are there");
        check(&pool, &[&socket]);
        if outcome {
            pool.decoded(id, 40, 0).expect("40 are there");
        } else {
            pool.handle(id, Event::Fail).expect("it is open");
        }
        assert_eq!((pool.data(id), pool.counts().dropped_bytes), (Ok(&[][..]), 40 * u64::from(!outcome)));
        check(&pool, &[&socket]);
        socket.send(b"later");
        complete(&mut pool, id, &mut socket);
        assert_eq!(pool.data(id), Ok(if outcome { &b"later"[..] } else { &[] }));
        check(&pool, &[]);
    }
}

/// What a receive leaves is kept as usual: in a cell, and the buffer is free.
#[test]
fn partial_frame_is_kept_in_a_cell_after_the_outcome() {
    let (mut pool, mut socket) = (pool(0), socket());
    let (id, before) = (attach(&mut pool, 1), free(&pool));
    submit(&mut pool, id, &mut socket);
    pool.handle_timeout(1);
    socket.send(&[7; 40]);
    assert!(complete(&mut pool, id, &mut socket).has(Action::Decode));
    let actions = pool.decoded(id, 0, 100).expect("they are buffered");
    assert!(actions.has(Action::Recv), "out of shortage it goes on at once");
    assert_eq!(pool.handle(id, Event::WouldBlock), Ok(Action::WantRecv.into()), "there was nothing: submit a poll");
    assert_eq!((pool.data(id), free(&pool)), (Ok(&[7; 40][..]), before), "a cell of 64 bytes");
    check(&pool, &[]);
}

/// With one receive in flight at most: while others wait, a receive that found nothing is taken back, and all are
/// served.
#[test]
fn s68_idle_receivers_poll_and_all_are_served() {
    idle_receivers_poll(&mut pool(1));
    let shared_pool = SharedPool::new(&config(1), 1).expect("the configuration is allowed");
    let mut pool = shared_pool.shard(0).expect("it is free");
    pool.handle_timeout(0);
    idle_receivers_poll(&mut pool);
}

fn idle_receivers_poll<S: BufferSource>(pool: &mut Pool<S>) {
    let ids: Vec<ReceiverId> = (0..4).map(|token| attach_idle(pool, token)).collect();
    let (before, mut now_ns) = (free(pool), 0);
    for _ in 0..3 {
        for &id in &ids {
            let mut socket = socket();
            assert!(pool.handle(id, Event::Readable).expect("its poll is complete").has(Action::Recv));
            submit(pool, id, &mut socket);
            let other = ids.iter().copied().find(|&other| other != id).expect("there are four");
            let actions = pool.handle(other, Event::Readable).expect("its poll is complete");
            assert_eq!(actions, Actions::NONE, "it waits");
            assert_eq!(notices(pool), [], "the outcome may come in this iteration");
            let due_ns = pool.poll_timeout().expect("a receiver waits");
            assert!(due_ns > now_ns && due_ns <= now_ns + 125 * MS);
            now_ns = due_ns;
            pool.handle_timeout(now_ns);
            assert_eq!(pool.poll_timeout(), Some(now_ns), "it is to be taken back now");
            assert_eq!(notices(pool), [(id, Action::StopRecv.into())]);
            assert!(pool.poll_timeout() > Some(now_ns), "the outcome is awaited, not spun for");
            let actions = cancel(pool, id, &mut socket);
            assert_eq!(actions, Action::WantRecv.into(), "submit a poll");
            pool.handle(id, Event::done(Action::WantRecv)).expect("it is pending");
            let [(granted, actions)] = notices(pool)[..] else { panic!("one is granted") };
            assert!(granted == other && actions.has(Action::Recv));
            let actions = pool.handle(other, Event::WouldBlock).expect("there was nothing");
            assert_eq!(actions, Action::WantRecv.into());
            pool.handle(other, Event::done(Action::WantRecv)).expect("it is pending");
            // A thread looks at what is free when it advances the clock.
            pool.handle_timeout(now_ns);
            assert_eq!((free(pool), pool.check_invariants()), (before, Ok(())));
        }
    }
}

/// A request of the host's own that waits is served like a receiver.
#[test]
fn idle_receive_is_taken_back_for_the_host() {
    let (mut pool, mut socket) = (pool(0), socket());
    let id = attach(&mut pool, 1);
    submit(&mut pool, id, &mut socket);
    let leases = lease_all(&mut pool);
    pool.request(0, 7).expect("it waits");
    assert_eq!(notices(&mut pool), []);
    pool.handle_timeout(1);
    assert_eq!(notices(&mut pool), [(id, Action::StopRecv.into())]);
    cancel(&mut pool, id, &mut socket);
    assert!(matches!(pool.poll_notice(), Some(Notice::Lease { token: 7, .. })));
    assert_eq!((leases.len(), pool.check_invariants()), (5, Ok(())));
}

/// What a thread asks to be cancelled for a receiver of its own, or for a request of another thread, reports nothing: a
/// poll is pending, and the other thread is signalled.
#[test]
fn s68_idle_receive_is_taken_back_for_another_thread() {
    let config = PoolConfig { memory_bytes: 16 * 256, ..config(0) };
    let shared_pool = SharedPool::new(&config, 2).expect("the configuration is allowed");
    let [mut here, mut there] = [0, 1].map(|index| shared_pool.shard(index).expect("it is free"));
    let (mut now_ns, mut socket) = (0, socket());
    here.handle_timeout(now_ns);
    let id = attach(&mut here, 1);
    submit(&mut here, id, &mut socket);
    assert_eq!(notices(&mut here), [], "it keeps a spare, and no more");
    let leases = lease_all(&mut there);
    assert!(!leases.is_empty());
    there.request(0, 7).expect("it waits");
    let mut is_asked = false;
    while !is_asked && now_ns < here.memory().config().wait_ns_max() {
        now_ns += 125 * MS;
        here.handle_timeout(now_ns);
        is_asked = notices(&mut here).contains(&(id, Action::StopRecv.into()));
    }
    assert!(is_asked, "the request of another thread waits for its buffer");
    assert_eq!(cancel(&mut here, id, &mut socket), Action::WantRecv.into(), "submit a poll");
    here.handle(id, Event::done(Action::WantRecv)).expect("it is pending");
    assert_eq!(notices(&mut here), [], "nothing of its own");
    assert_eq!(here.poll_wake(), Some(1), "the other thread has something to pick up");
    let Some(Notice::Lease { token: 7, lease, .. }) = there.poll_notice() else { panic!("it has the buffer") };
    check(&here, &[]);
    // It goes on, once there is memory: the poll completes, and the next receive has its outcome.
    leases.into_iter().chain([lease]).for_each(|lease| there.release(lease).expect("it is the host's"));
    here.handle_timeout(now_ns);
    assert!(here.handle(id, Event::Readable).expect("its poll is complete").has(Action::Recv));
    submit(&mut here, id, &mut socket);
    socket.send(b"again");
    complete(&mut here, id, &mut socket);
    assert_eq!(here.data(id), Ok(&b"again"[..]));
}

/// A cancelled receive may bring bytes all the same.
#[test]
fn bytes_of_a_cancelled_receive_are_decoded() {
    let (mut pool, mut socket) = (pool(1), socket());
    let id = attach(&mut pool, 1);
    submit(&mut pool, id, &mut socket);
    let other = attach_idle(&mut pool, 2);
    pool.handle(other, Event::Readable).expect("its poll is complete");
    pool.handle_timeout(1);
    assert_eq!(notices(&mut pool), [(id, Action::StopRecv.into())]);
    pool.handle(id, Event::done(Action::StopRecv)).expect("it is pending");
    socket.send(b"after all");
    assert!(complete(&mut pool, id, &mut socket).has(Action::Decode));
    assert_eq!(pool.data(id), Ok(&b"after all"[..]));
    pool.decoded(id, 9, 0).expect("they are buffered");
    assert_eq!(pool.handle(id, Event::WouldBlock), Ok(Action::WantRecv.into()), "nothing more");
    check(&pool, &[]);
    assert!(notices(&mut pool).iter().any(|&(granted, _)| granted == other));
}

/// With no buffer free, a trial has the receive buffer, also in flight: other receivers wait until it is taken back, or
/// until a buffer is free that takes its place.
#[test]
fn trial_in_flight_gives_the_receive_buffer_back() {
    for is_released in [false, true] {
        let (mut pool, mut socket) = (pool(0), socket());
        let level = AttachOptions { policy: Some(Policy::default()), ..AttachOptions::new(0, 2) };
        let (id, other) = (attach_idle(&mut pool, 1), pool.attach(&level).expect("there is room"));
        let mut leases = lease_all(&mut pool);
        assert_eq!(pool.handle(id, Event::Readable), Ok(Actions::NONE), "it claims");
        let mut now_ns = 0;
        let granted = loop {
            now_ns = pool.poll_timeout().expect("a receiver waits").max(now_ns + 1);
            pool.handle_timeout(now_ns);
            if let Some(&notice) = notices(&mut pool).first() {
                break notice;
            }
        };
        assert!(granted.0 == id && granted.1.has(Action::Recv) && pool.totals().trials == 1);
        assert!(now_ns <= pool.memory().config().wait_ns_max());
        submit(&mut pool, id, &mut socket);
        let is_later =
            |pool: &mut Pool| !pool.handle(other, Event::Readable).expect("it is attached").has(Action::Recv);
        assert!(is_later(&mut pool) && pool.pending(other).expect("it is attached").has(Action::Reschedule));
        if is_released {
            pool.release(leases.pop().expect("there are some")).expect("it is the host's");
        }
        pool.handle_timeout(now_ns + 1);
        assert_eq!(is_later(&mut pool), !is_released);
        check(&pool, &[&socket]);
        if is_released {
            pool.handle(other, Event::WouldBlock).expect("it is attached");
        }
        assert!(notices(&mut pool).contains(&(id, Action::StopRecv.into())));
        cancel(&mut pool, id, &mut socket);
        assert_eq!((pool.totals().shed_at_deadline, pool.check_invariants()), (0, Ok(())), "it kept nothing");
        assert!(!is_later(&mut pool), "the receive buffer is back");
    }
}

/// `in_flight_max` does not follow a limit of memory. So receives in flight may have more than it allows: they are
/// taken back, no more of them than that, and what waits later is served from the others.
#[test]
fn receives_in_flight_are_taken_back_for_a_limit() {
    let config = PoolConfig { memory_bytes: 80 * 256, receivers_max: 16, ..config(0) };
    limit_is_met(&mut Pool::new(&config).expect("the configuration is allowed"));
    let shared_pool = SharedPool::new(&config, 1).expect("the configuration is allowed");
    limit_is_met(&mut shared_pool.shard(0).expect("it is free"));
}

/// The fewest buffers that the pool may be limited to.
const LEAST: u32 = 8;

fn limit_is_met<S: BufferSource>(pool: &mut Pool<S>) {
    pool.handle_timeout(0);
    let mut in_flight: VecDeque<(ReceiverId, Socket)> = (0..10).map(|token| (attach(pool, token), socket())).collect();
    in_flight.iter_mut().for_each(|(id, socket)| submit(pool, *id, socket));
    let other = attach_idle(pool, 10);
    pool.set_memory_limit(u64::from(LEAST) * 256).expect("it is allowed");
    assert_eq!((notices(pool), pool.memory().split().in_flight_max), (vec![], 10), "given: the limit changes neither");
    let beyond = used(pool) - LEAST;
    assert!(beyond > 5, "given: most of them are to be taken back");
    // The first advance withholds what is free, and what was submitted before it is late from then on.
    for left in (0..beyond).rev() {
        pool.handle_timeout(u64::from(beyond - left));
        let first = in_flight[0].0;
        assert_eq!(follow_notice(pool, &mut in_flight), Some(first), "in the order of submission");
        assert_eq!((used(pool), pool.stats().scheduler.to_withhold), (LEAST + left, left));
    }
    assert_eq!((notices(pool), pool.poll_timeout()), (vec![], None), "it is met, and nothing waits");
    assert!(!in_flight.is_empty(), "given: some are in flight still");

    assert_eq!(pool.handle(other, Event::Readable), Ok(Actions::NONE), "it waits");
    let (mut now_ns, mut named) = (0, None);
    while named != Some(other) {
        // It has no credit, so one more than the reserve is to be free.
        now_ns += 125 * MS;
        assert!(now_ns <= pool.memory().config().wait_ns_max(), "it waits for too long");
        pool.handle_timeout(now_ns);
        named = follow_notice(pool, &mut in_flight);
    }
    assert!(pool.pending(other).expect("it is attached").has(Action::Recv) && used(pool) <= LEAST);
    let mut socket = socket();
    submit(pool, other, &mut socket);
    socket.send(b"served");
    complete(pool, other, &mut socket);
    assert!(pool.data(other) == Ok(&b"served"[..]) && used(pool) <= LEAST);
}

/// Buffers that are in use.
fn used<S: BufferSource>(pool: &Pool<S>) -> u32 {
    let stats = pool.stats().scheduler;
    stats.capacity - stats.free - stats.withheld
}

/// Follows the next notice, if there is one. If it takes a receive back, that finds nothing, and the host polls.
fn follow_notice<S: BufferSource>(
    pool: &mut Pool<S>,
    in_flight: &mut VecDeque<(ReceiverId, Socket)>,
) -> Option<ReceiverId> {
    let Notice::Receiver { id: named, .. } = pool.poll_notice()? else { panic!("it is a receiver's") };
    if in_flight.front().is_some_and(|(id, _)| *id == named) {
        let (id, mut socket) = in_flight.pop_front().expect("there is one");
        assert_eq!(cancel(pool, id, &mut socket), Action::WantRecv.into(), "submit a poll");
        pool.handle(id, Event::done(Action::WantRecv)).expect("it is pending");
    }
    check(pool, &in_flight.iter().map(|(_, socket)| socket).collect::<Vec<_>>());
    Some(named)
}

/// No memory is promised by the rules of one mode and used by those of another.
#[test]
fn allowed_receive_ends_when_the_mode_changes() {
    let mut pool = pool(0);
    let id = attach(&mut pool, 1);
    assert!(pool.pending(id).expect("it is attached").has(Action::Recv));
    let mut modes = [Mode::Level, Mode::Completion, Mode::Edge].into_iter();
    let mut follow = |pool: &mut Pool| {
        let policy = Policy { mode: modes.next().expect("there are three"), ..Policy::default() };
        let actions = pool.set_policy(id, &policy).expect("nothing is in flight");
        check(pool, &[]);
        actions
    };
    assert!(follow(&mut pool).has(Action::WantRecv));
    assert_eq!(pool.handle(id, Event::done(Action::Recv)), Err(EventError::NotPending.into()));
    let actions = follow(&mut pool);
    assert!(actions.has(Action::Recv), "{actions:?}");
    let mut socket = socket();
    submit(&mut pool, id, &mut socket);
    socket.send(b"x");
    complete(&mut pool, id, &mut socket);
    pool.decoded(id, 1, 0).expect("it is buffered");
    assert!(follow(&mut pool).has(Action::WantRecv));
}

#[test]
fn in_flight_max_is_checked() {
    let config = |in_flight_max| PoolConfig { buffer_bytes: 256, in_flight_max, ..PoolConfig::new(24 * 256, 8) };
    let allowed = |in_flight_max| config(in_flight_max).split().map(|split| split.in_flight_max);
    assert_eq!([0, 1, 24].map(allowed), [Ok(3), Ok(1), Ok(24)]);
    let refusal = allowed(25).expect_err("there are 24 buffers").to_string();
    assert!(refusal.contains("in_flight_max") && refusal.contains("25") && refusal.contains("24"), "{refusal}");
}
