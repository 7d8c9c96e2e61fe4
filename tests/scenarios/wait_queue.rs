//! Scenarios of the wait queue.

use crate::c;
use crate::host::{Host, bare_config, config, data_frame, window_update};
use crate::machine::{Machine, in_all_modes};
use demuxbuf::connection::{Action, EndKind, Event, EventError, Mode};
use demuxbuf::pool::PoolError;
use demuxbuf::scheduler::{LeaseId, Outcome, Scheduler, SchedulerConfig, SchedulerError, WaitId};
use demuxbuf_capi::*;
use demuxbuf_testkit::Rng;

/// A pool; every step of it is checked.
struct Buffers(Scheduler);

impl Buffers {
    fn new(config: &SchedulerConfig) -> Buffers {
        Buffers(Scheduler::new(config).expect("the configuration is allowed"))
    }

    fn request(&mut self, class: u8, token: u64) -> Outcome {
        let outcome = self.0.request(class, token).expect("the class exists and waits are free");
        self.check();
        outcome
    }

    fn granted(&mut self, class: u8, token: u64) -> LeaseId {
        match self.request(class, token) {
            Outcome::Granted(lease) => lease,
            Outcome::Queued(_) => panic!("a buffer is free"),
        }
    }

    fn queued(&mut self, class: u8, token: u64) -> WaitId {
        match self.request(class, token) {
            Outcome::Granted(_) => panic!("no buffer is free for {token}"),
            Outcome::Queued(wait) => wait,
        }
    }

    fn release(&mut self, lease: LeaseId) {
        self.0.release(lease).expect("the lease is held");
        self.check();
    }

    fn cancel(&mut self, wait: WaitId) {
        self.0.cancel(wait).expect("the wait is live");
        self.check();
    }

    /// The waiters that were served, in order, with their leases.
    fn grants(&mut self) -> Vec<(u64, LeaseId)> {
        let mut grants = Vec::new();
        while let Some(grant) = self.0.poll_grant() {
            self.check();
            grants.push((grant.token, grant.lease));
        }
        grants
    }

    fn is_assigned(&self, wait: WaitId) -> bool {
        self.0.describe_wait(wait).expect("the wait is live").is_assigned
    }

    fn check(&self) {
        self.0.check_invariants().expect("the invariants hold");
    }
}

fn tokens(grants: &[(u64, LeaseId)]) -> Vec<u64> {
    grants.iter().map(|&(token, _)| token).collect()
}

/// One buffer, held by peer 0 with a partial frame; `waiters` peers behind it that have a whole frame to receive.
fn one_holder(mode: Mode, waiters: usize) -> Host {
    let mut host = Host::new(&bare_config(mode, 1, waiters as u32 + 2));
    let holder = host.attach();
    host.send(holder, &data_frame(300)[..200]);
    host.settle();
    for _ in 0..waiters {
        let waiter = host.attach();
        host.send(waiter, &data_frame(100));
        host.settle();
        assert!(host.is_waiting(waiter));
    }
    assert_eq!(host.held(), (1, waiters as u32, 0));
    host
}

/// Peer 0 gets the rest of its frame; what follows is reported and not done.
fn finish_holder(host: &mut Host) {
    host.send(0, &data_frame(300)[200..]);
}

#[test]
fn s01_release_serves_the_waiter_in_the_same_step() {
    let mut pool = Buffers::new(&SchedulerConfig::new(1, 2));
    let held = pool.granted(0, 1);
    let wait = pool.queued(0, 2);
    assert!(!pool.is_assigned(wait));
    pool.release(held);
    assert!(pool.is_assigned(wait), "before anything else is called");
    assert_eq!((pool.0.stats().free, pool.0.stats().assigned), (0, 1));
    assert_eq!(tokens(&pool.grants()), [2]);

    in_all_modes(|mode| {
        let mut host = one_holder(mode, 1);
        finish_holder(&mut host);
        host.iterate();
        assert_eq!(host.peers[1].frames.len(), 1, "served in the iteration of the release");
        host.settle();
        assert_eq!(host.held().1, 0);
    });
}

#[test]
fn s02_single_releases_serve_all_waiters_in_order() {
    let mut pool = Buffers::new(&SchedulerConfig::new(1, 3));
    let mut held = pool.granted(0, 0);
    for token in 1..=3 {
        pool.queued(0, token);
    }
    for token in 1..=3 {
        pool.release(held);
        let grants = pool.grants();
        assert_eq!(tokens(&grants), [token]);
        held = grants[0].1;
    }
    pool.release(held);
    assert_eq!((pool.grants().len(), pool.0.stats().free), (0, 1));

    in_all_modes(|mode| {
        let mut host = one_holder(mode, 3);
        finish_holder(&mut host);
        host.settle();
        host.cancel_idle_receives();
        host.settle();
        assert!(host.peers[1..].iter().all(|peer| peer.frames.len() == 1), "no waiter hides another");
        assert_eq!(host.held(), (0, 0, 0));
    });
}

#[test]
fn s03_newcomers_do_not_overtake_a_woken_waiter() {
    let mut pool = Buffers::new(&SchedulerConfig::new(1, 4));
    let held = pool.granted(0, 1);
    pool.queued(0, 2);
    pool.release(held);
    pool.queued(0, 3);
    pool.queued(0, 4);
    let grants = pool.grants();
    assert_eq!(tokens(&grants), [2], "assigned before any other request sees it");
    pool.queued(0, 5);
    pool.release(grants[0].1);
    let grants = pool.grants();
    assert_eq!(tokens(&grants), [3]);

    in_all_modes(|mode| {
        let mut host = one_holder(mode, 1);
        let newcomer = host.attach();
        // The holder is done, and the newcomer comes before the waiter has picked up its buffer.
        let id = host.peers[0].id;
        host.pool.handle(id, Event::Close).expect("the handle is live");
        assert_eq!(host.pool.stats().scheduler.assigned, 1);
        let newcomer_id = host.peers[newcomer].id;
        let actions = host.pool.handle(newcomer_id, Event::Readable).expect("the handle is live");
        assert!(!actions.has(Action::Recv), "no buffer for the newcomer");
        host.pool.check_invariants().expect("the invariants hold");
        assert_eq!(host.first_grant(), Some(1), "the waiter is served first");
        let actions = host.pool.pending(host.peers[1].id);
        assert!(actions.is_ok_and(|actions| actions.has(Action::Recv)), "and owns the buffer already");
        assert_eq!(host.pool.poll_notice(), None);
    });
}

#[test]
fn s04_connection_with_two_needs_is_served_twice() {
    in_all_modes(|mode| {
        let mut settings = bare_config(mode, 2, 2);
        settings.scheduler.classes = 2;
        let mut host = Host::new(&settings);
        let held = host.take_all_buffers(0);
        let peer = host.attach_as(1);
        host.send(peer, &data_frame(100));
        host.settle();
        let Outcome::Queued(_) = host.request(0, 77) else { panic!("no buffer is free") };
        assert_eq!(host.pool.stats().scheduler.waiting, 2, "one wait for each need");

        host.release(held[0]);
        host.settle();
        assert_eq!(host.leases.iter().map(|&(token, _)| token).collect::<Vec<_>>(), [77]);
        assert!(host.peers[peer].frames.is_empty(), "the more critical need first");

        host.release(held[1]);
        host.settle();
        assert_eq!(host.peers[peer].frames.len(), 1, "the second need is not forgotten");
        assert_eq!(host.pool.stats().scheduler.waiting, 0);
    });
}

#[test]
fn s05_wait_for_another_buffer_keeps_reading() {
    in_all_modes(|mode| {
        let mut settings = bare_config(mode, 1, 1);
        settings.scheduler.classes = 2;
        let mut host = Host::new(&settings);
        let peer = host.attach_as(1);
        host.send(peer, &data_frame(300)[..200]);
        host.settle();
        let Outcome::Queued(_) = host.request(0, 5) else { panic!("the peer holds the only buffer") };
        for round in 1..=3 {
            host.send(peer, &data_frame(300)[200..]);
            host.send(peer, &data_frame(300)[..200]);
            // Enough iterations to receive; the receive that a submitting host cancels would end the lease.
            host.iterate();
            host.iterate();
            assert_eq!(host.peers[peer].frames.len(), round, "it goes on with what it owns");
            assert_eq!(host.buffered_bytes(peer), 200);
        }
        host.send(peer, &data_frame(300)[200..]);
        host.settle();
        assert_eq!(host.leases.len(), 1, "then the other kind is served");
    });
}

#[test]
fn s06_buffer_of_a_dead_waiter_goes_to_the_next() {
    let mut pool = Buffers::new(&SchedulerConfig::new(1, 3));
    let held = pool.granted(0, 1);
    let dying = pool.queued(0, 2);
    let next = pool.queued(0, 3);
    pool.release(held);
    assert!(pool.is_assigned(dying));
    pool.cancel(dying);
    assert!(pool.is_assigned(next), "in the same step");
    assert_eq!(tokens(&pool.grants()), [3]);

    in_all_modes(|mode| {
        let mut host = one_holder(mode, 2);
        host.close(0);
        host.close(1);
        assert_eq!(host.pool.stats().scheduler.assigned, 1, "assigned to the next in the same step");
        host.iterate();
        assert_eq!(host.peers[2].frames.len(), 1);
    });
}

#[test]
fn s07_destroyed_waiter_leaves_nothing_behind() {
    in_all_modes(|mode| {
        // While queued, after it was chosen, and while its notice is handled.
        for moment in 0..3 {
            let mut host = one_holder(mode, 2);
            let id = host.peers[1].id;
            match moment {
                0 => host.close(1),
                1 => {
                    host.close(0);
                    host.close(1);
                }
                _ => {
                    host.close(0);
                    assert_eq!(host.first_grant(), Some(1));
                    host.close(1);
                }
            }
            for event in [Event::Readable, Event::Wake, Event::Close, Event::EndOfStream] {
                assert_eq!(host.pool.handle(id, event), Err(PoolError::Stale), "its handle is dead");
            }
            assert_eq!(host.pool.take(id), Err(PoolError::Stale));
            // The next receiver in its row of the table is another one.
            let heir = host.attach();
            assert_ne!(host.peers[heir].id, id);
            assert_eq!(host.pool.handle(id, Event::Close), Err(PoolError::Stale));
            if moment == 0 {
                host.close(0);
            }
            host.settle();
            assert_eq!(host.peers[2].frames.len(), 1, "the next waiter is served");
            assert!(
                host.peers[1].frames.is_empty() && host.peers[heir].frames.is_empty(),
                "no grant to a closed receiver"
            );
        }

        // It asks again while it is destroyed.
        let mut machine = Machine::attached(mode);
        machine.follow_interest();
        machine.on(Event::Readable);
        machine.on(Event::BufferDenied);
        assert_eq!(machine.on(Event::Close), Action::CancelRequest.into());
        assert_eq!(machine.on(Event::Readable), Action::CancelRequest.into());
        assert_eq!(machine.refuses(Event::BufferDenied), EventError::Closed);
        assert_eq!(machine.on(Event::done(Action::CancelRequest)), Action::Finished.into());
        assert_eq!(machine.refuses(Event::BufferGranted { capacity: 64 }), EventError::Closed);
        assert_eq!(machine.refuses(Event::BufferDenied), EventError::Closed);
    });

    let pool = c::CPool::new(1, 2, |config| config.slots = 0);
    let (status, held) = pool.request(0, 1);
    assert_eq!(status, DEMUXBUF_OK);
    let dying = pool.attach(2, &[]);
    pool.step(demuxbuf_receiver_readable, dying).expect("the handle is live");
    assert_eq!(pool.stats().waiting, 1);
    assert_eq!(pool.step(demuxbuf_receiver_close, dying), Ok(DEMUXBUF_FINISHED));
    assert_eq!(pool.step(demuxbuf_receiver_close, dying), Err(DEMUXBUF_ERR_STALE));
    assert_eq!(pool.step(demuxbuf_receiver_readable, dying), Err(DEMUXBUF_ERR_STALE));
    assert_eq!(pool.release(held), DEMUXBUF_OK);
    assert!(pool.poll_notice().is_none());
    assert_eq!((pool.stats().waiting, pool.stats().free), (0, 1));
}

#[test]
fn s08_buffer_without_a_need_is_passed_on() {
    in_all_modes(|mode| {
        // The need goes away while it waits, and after it was chosen: the peer ended, or the host wants no reading.
        for event in [Event::EndOfStream, Event::TransportError, Event::PauseRecv] {
            for chosen in [false, true] {
                let mut host = one_holder(mode, 2);
                if chosen {
                    host.close(0);
                }
                host.report(1, event);
                if !chosen {
                    host.close(0);
                }
                assert_eq!(host.pool.stats().scheduler.assigned, 1, "passed on in the same step");
                host.iterate();
                assert_eq!(host.peers[2].frames.len(), 1);
                assert!(host.peers[1].frames.is_empty());
            }
        }
    });

    // It picks the buffer up and finds nothing to receive.
    in_all_modes(|mode| {
        let mut host = one_holder(mode, 2);
        host.close(0);
        assert_eq!(host.first_grant(), Some(1));
        host.report(1, Event::WouldBlock);
        assert_eq!(host.pool.stats().scheduler.assigned, 1, "not kept empty");
        host.iterate();
        assert_eq!(host.peers[2].frames.len(), 1);
    });
}

#[test]
fn s09_refusal_and_queueing_are_one_step() {
    // One atomic step: there are only these two orders of a request and a release, and both serve.
    let mut pool = Buffers::new(&SchedulerConfig::new(1, 1));
    let held = pool.granted(0, 1);
    pool.release(held);
    pool.granted(0, 2);

    let mut pool = Buffers::new(&SchedulerConfig::new(1, 1));
    let held = pool.granted(0, 1);
    pool.queued(0, 2);
    pool.release(held);
    assert_eq!(tokens(&pool.grants()), [2]);

    // A host with its own allocator may report the release first: the late denial takes nothing away.
    in_all_modes(|mode| {
        let mut machine = Machine::attached(mode);
        machine.follow_interest();
        assert!(machine.on(Event::Readable).has(Action::RequestBuffer));
        assert!(machine.on(Event::BufferGranted { capacity: 64 }).has(Action::Recv));
        assert_eq!(machine.refuses(Event::BufferDenied), EventError::AlreadyHeld);
        assert!(machine.wants(Action::Recv));
    });
}

#[test]
fn s12_waiter_cannot_be_queued_twice() {
    in_all_modes(|mode| {
        let mut machine = Machine::attached(mode);
        machine.follow_interest();
        machine.on(Event::Readable);
        machine.on(Event::BufferDenied);
        assert!(!machine.wants(Action::RequestBuffer));
        assert_eq!(machine.refuses(Event::BufferDenied), EventError::AlreadyWaiting);

        let mut host = one_holder(mode, 2);
        for event in [Event::Readable, Event::Wake, Event::Readable, Event::PauseRecv, Event::ResumeRecv] {
            host.on(1, event);
            assert!(host.pool.stats().scheduler.waiting <= 2, "one place for one waiter");
        }
        let granted = host.pool.stats().scheduler.granted_by_handoff;
        finish_holder(&mut host);
        host.settle();
        host.cancel_idle_receives();
        host.settle();
        assert_eq!(host.pool.stats().scheduler.granted_by_handoff - granted, 2, "one grant for each waiter");
        assert_eq!((host.peers[1].frames.len(), host.peers[2].frames.len()), (1, 1));
        assert_eq!(host.held(), (0, 0, 0));
    });

    let (mut connection, _) = c::Connection::attached(0, 0);
    connection.call(demuxbuf_connection_readable).expect("an attached connection may be readable");
    connection.call(demuxbuf_connection_buffer_denied).expect("it is not queued yet");
    let before = connection.describe();
    assert_eq!(connection.call(demuxbuf_connection_buffer_denied), Err(DEMUXBUF_ERR_ALREADY_WAITING));
    assert_eq!(connection.describe(), before);
}

#[test]
fn s13_one_grant_per_release() {
    for (released, waiters) in [(1, 50), (3, 50), (7, 8), (5, 2)] {
        let mut pool = Buffers::new(&SchedulerConfig::new(8, 64));
        let held: Vec<LeaseId> = (0..8).map(|token| pool.granted(0, token)).collect();
        for token in 0..waiters {
            pool.queued(0, 100 + token);
        }
        for &lease in &held[..released] {
            pool.release(lease);
        }
        let served = (released as u64).min(waiters);
        let in_order: Vec<u64> = (100..100 + served).collect();
        assert_eq!(tokens(&pool.grants()), in_order, "exactly as many, the first ones");
        assert_eq!(u64::from(pool.0.stats().waiting), waiters - served);
    }
}

#[test]
fn s17_waiter_that_gives_up_needs_no_buffer() {
    in_all_modes(|mode| {
        let mut host = one_holder(mode, 2);
        [0, 60_000_000_000].into_iter().for_each(|now_ns| host.pool.handle_timeout(now_ns));
        assert_eq!(host.pool.describe(host.peers[1].id).map(|info| info.wait_age_ns), Ok(60_000_000_000));
        // Its lease cannot expire, since it has none; the host's own timer closes it.
        let before = host.pool.pending(host.peers[1].id);
        host.report(1, Event::LeaseExpired);
        assert_eq!(host.pool.pending(host.peers[1].id), before);
        host.close(1);
        assert_eq!((host.held(), host.pool.stats().scheduler.cancelled), ((1, 1, 0), 1), "left the queue, once");
        host.settle();
        finish_holder(&mut host);
        host.settle();
        assert_eq!((host.peers[1].frames.len(), host.peers[2].frames.len()), (0, 1));

        // The lifeline that it received through is no lease either.
        let mut settings = config(mode, 1, 1);
        settings.policy.park_bytes = 0;
        let mut host = Host::new(&settings);
        host.take_all_buffers(0);
        let peer = host.attach();
        host.send(peer, &data_frame(500));
        host.settle();
        assert_eq!((host.buffered_bytes(peer), host.is_waiting(peer)), (64, true));
        let before = host.pool.pending(host.peers[peer].id);
        assert_eq!(
            Ok(host.report(peer, Event::LeaseExpired)),
            before,
            "no receiver is shed for a buffer that it does not have"
        );

        let mut machine = Machine::attached(mode);
        machine.follow_interest();
        machine.on(Event::Readable);
        machine.on(Event::BufferDenied);
        assert_eq!(machine.on(Event::Close), Action::CancelRequest.into(), "no buffer is asked for");
        assert_eq!(machine.on(Event::done(Action::CancelRequest)), Action::Finished.into());
        assert_eq!(machine.refuses(Event::done(Action::CancelRequest)), EventError::NotPending);
    });
}

#[test]
fn s18_waiter_that_tries_again_keeps_its_place() {
    in_all_modes(|mode| {
        let mut host = one_holder(mode, 3);
        for _ in 0..5 {
            host.on(1, Event::Readable);
            host.on(1, Event::Wake);
            host.iterate();
        }
        assert_eq!(host.pool.stats().scheduler.cancelled, 0, "no wait left the queue");
        host.close(0);
        host.iterate();
        assert_eq!(host.peers[1].frames.len(), 1, "first come, first served");
    });

    // Receiving a little through the lifeline is no reason to go to the tail either.
    in_all_modes(|mode| {
        let mut host = Host::new(&config(mode, 1, 3));
        let held = host.take_all_buffers(0);
        let (first, second) = (host.attach(), host.attach());
        for peer in [first, second] {
            host.send(peer, &data_frame(500));
            host.settle();
        }
        let cancelled = host.pool.stats().scheduler.cancelled;
        host.on(first, Event::Readable);
        host.settle();
        assert_eq!((host.held(), host.buffered_bytes(first)), ((1, 2, 2), 64));
        assert_eq!(host.pool.stats().scheduler.cancelled, cancelled, "no wait left the queue");
        host.release(held[0]);
        assert_eq!(host.first_grant(), Some(first), "first come, first served");
        host.resume(first);
        host.settle();
        assert_eq!((host.peers[first].frames.len(), host.peers[second].frames.len()), (1, 1));
    });
}

#[test]
fn s19_release_without_a_lease_changes_nothing() {
    let mut other = SchedulerConfig::new(2, 2);
    other.tag = 1;
    let mut other = Buffers::new(&other);
    let foreign = other.granted(0, 0);
    other.granted(0, 0);
    let foreign_wait = other.queued(0, 0);
    let mut pool = Buffers::new(&SchedulerConfig::new(2, 2));
    let (first, second) = (pool.granted(0, 1), pool.granted(0, 2));
    let wait = pool.queued(0, 3);
    pool.release(first);
    let unchanged = (pool.0.stats().leased, pool.0.stats().assigned, pool.0.stats().free);
    let never = LeaseId::from_bits(u64::MAX);
    for lease in [first, foreign, never, LeaseId::from_bits(0), LeaseId::from_bits(second.to_bits() ^ 1 << 32)] {
        assert_eq!(pool.0.release(lease), Err(SchedulerError::StaleLease));
        pool.check();
        assert_eq!((pool.0.stats().leased, pool.0.stats().assigned, pool.0.stats().free), unchanged);
    }
    assert!(pool.is_assigned(wait) && other.0.describe_wait(foreign_wait).is_ok());
    assert_eq!(pool.0.cancel(foreign_wait), Err(SchedulerError::StaleWait));
    assert_eq!(tokens(&pool.grants()), [3]);
    assert_eq!(pool.0.cancel(wait), Err(SchedulerError::StaleWait));

    // What a receiver holds or waits for is not the host's to release, whatever number it guesses.
    let mut host = one_holder(Mode::Level, 1);
    let before = host.held();
    for guess in (0..=3).flat_map(|generation| (0..2).map(move |index| generation << 32 | index)) {
        assert_eq!(host.pool.release(LeaseId::from_bits(guess)), Err(SchedulerError::StaleLease.into()));
        assert_eq!(host.pool.cancel(WaitId::from_bits(guess)), Err(SchedulerError::StaleWait.into()));
        host.check();
    }
    assert_eq!(host.held(), before);

    let (mine, theirs) = (c::CPool::new(2, 2, |_| {}), c::CPool::new(2, 2, |_| {}));
    let ((_, lease), (_, foreign)) = (mine.request(0, 1), theirs.request(0, 1));
    assert_eq!(mine.release(foreign), DEMUXBUF_ERR_STALE);
    assert_eq!(mine.release(lease), DEMUXBUF_OK);
    for stale in [lease, foreign, 0, u64::MAX] {
        assert_eq!(mine.release(stale), DEMUXBUF_ERR_STALE);
        assert_eq!(mine.cancel(stale), DEMUXBUF_ERR_STALE);
    }
    assert_eq!((mine.stats().free, theirs.stats().free), (2, 1));
}

#[test]
fn s20_idle_system_holds_nothing() {
    in_all_modes(|mode| {
        let mut host = Host::new(&config(mode, 3, 12));
        for _ in 0..12 {
            host.attach();
        }
        // Frames of all sizes, in pieces that fall anywhere, blocks that come and go, and an end now and then.
        let mut rng = Rng::with_seed(1);
        for _ in 0..60 {
            for peer in 0..12 {
                match rng.u32(..4) {
                    0 => host.send(peer, &data_frame(rng.usize(9..909))),
                    1 => host.send(peer, &window_update()),
                    2 if !host.peers[peer].is_blocked => host.block(peer),
                    _ => {
                        host.unblock(peer);
                        host.resume(peer);
                    }
                }
            }
            host.iterate();
        }
        for peer in 0..12 {
            host.unblock(peer);
            host.resume(peer);
        }
        host.finish(0, EndKind::Stream);
        host.settle();
        host.cancel_idle_receives();
        host.settle();
        assert!(host.peers.iter().all(|peer| peer.undecoded() == 0), "all was served");
        assert!(host.peers.iter().map(|peer| peer.frames.len()).sum::<usize>() > 200, "there was traffic");
        assert_eq!(host.held(), (0, 0, 0), "and nothing is held");
        assert_eq!(host.pool.stats().scheduler.free, 3);
    });
}
