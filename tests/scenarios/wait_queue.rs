//! Scenarios of the wait queue.

use crate::buffers::{Buffers, tokens};
use crate::c;
use crate::host::{FREE, Host, MS, config, data_frame, in_polled_modes, window_update};
use crate::host_pool::HAS_SPARE;
use crate::machine::{Machine, in_all_modes};
use demuxbuf::connection::{Action, EndKind, Event, EventError, Mode};
use demuxbuf::pool::{PoolConfig, PoolError};
use demuxbuf::scheduler::{LeaseId, Outcome, SchedulerConfig, SchedulerError, WaitId};
use demuxbuf_capi::*;
use demuxbuf_testkit::{EventLoop, Rng};

/// The host has every buffer that it can have. These peers wait, behind what fits into the smallest cells, each with a
/// whole frame to receive.
fn waiting(mode: Mode, waiters: usize) -> (Host, Vec<LeaseId>) {
    let mut host = Host::new(&config(mode, waiters as u32 + 2));
    let leases = host.take_all_buffers(0);
    for _ in 0..waiters {
        let waiter = host.attach();
        host.send(waiter, &data_frame(100));
        host.settle();
        assert!(host.is_waiting(waiter));
    }
    // What is submitted does not go to a small cell.
    let keeping = if mode == Mode::Completion { 0 } else { waiters as u32 };
    assert_eq!(host.held(), (FREE, waiters as u32, keeping));
    (host, leases)
}

/// How many frames each peer has sent.
fn frames(host: &Host) -> Vec<usize> {
    host.peers.iter().map(|peer| peer.frames.len()).collect()
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
        let (mut host, mut leases) = waiting(mode, 1);
        host.make_room(&mut leases);
        assert_eq!(host.first_grant(), Some(0), "before a loop iteration");
        host.resume(0);
        assert_eq!(frames(&host), [1]);
        host.settle();
        assert_eq!(host.held(), (leases.len() as u32, 0, 0));
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
        let (mut host, mut leases) = waiting(mode, 3);
        host.make_room(&mut leases);
        for waiter in 0..3 {
            assert_eq!(host.first_grant(), Some(waiter), "no waiter hides another");
            host.resume(waiter);
        }
        assert_eq!(frames(&host), [1, 1, 1]);
        host.settle();
        assert_eq!(host.held(), (leases.len() as u32, 0, 0));
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

    in_polled_modes(|mode| {
        let (mut host, mut leases) = waiting(mode, 1);
        let newcomer = host.attach();
        host.make_room(&mut leases);
        // The newcomer comes before the waiter has learned that there is room, and leaves as much.
        host.send(newcomer, &window_update());
        host.serve_sockets();
        assert_eq!(frames(&host), [0, 1]);
        assert_eq!(host.first_grant(), Some(0), "the waiter has not lost its turn");
        let actions = host.pool.pending(host.peers[0].id);
        assert!(actions.is_ok_and(|actions| actions.has(Action::Recv)), "and borrows a buffer already");
        host.resume(0);
        assert_eq!((frames(&host), host.pool.poll_notice()), (vec![1, 1], None));
    });

    // Newcomers that come earlier in each iteration and take the room that there is: not without end.
    in_polled_modes(|mode| {
        let (mut host, mut leases) = waiting(mode, 1);
        let wait_ns_max = host.pool.memory().config().wait_ns_max();
        host.make_room(&mut leases);
        let since_ns = host.now_ns;
        while host.peers[0].frames.is_empty() {
            let newcomer = host.attach();
            host.send(newcomer, &data_frame(800)[..600]);
            host.serve_socket(newcomer);
            host.now_ns += 100 * MS;
            host.iterate();
            assert!(host.now_ns - since_ns <= wait_ns_max, "overtaken without end");
            host.close(newcomer);
        }
        // To a thread that waits, what is released is assigned at once.
        assert_eq!(host.pool.totals().trials, u64::from(!HAS_SPARE), "given: there was no room");
    });
}

#[test]
fn s04_connection_with_two_needs_is_served_twice() {
    in_all_modes(|mode| {
        let mut host = Host::new(&PoolConfig { classes: 2, ..config(mode, 2) });
        let mut held = host.take_all_buffers(0);
        let peer = host.attach_as(1);
        host.send(peer, &data_frame(100));
        host.settle();
        let waiting = host.pool.stats().scheduler.waiting;
        let Outcome::Queued(_) = host.request(0, 77) else { panic!("no buffer is free") };
        assert!(host.is_waiting(peer), "one need");
        assert_eq!(host.pool.stats().scheduler.waiting, waiting + 1, "and a wait for the other one");

        host.release(held.remove(0));
        host.settle();
        assert_eq!(host.leases.iter().map(|&(token, _)| token).collect::<Vec<_>>(), [77]);
        assert!(host.peers[peer].frames.is_empty(), "the more critical need first");

        host.make_room(&mut held);
        host.settle();
        assert_eq!(host.peers[peer].frames.len(), 1, "the second need is not forgotten");
        assert_eq!((host.pool.stats().scheduler.waiting, host.held().1), (0, 0));
    });
}

#[test]
fn s05_wait_for_another_buffer_keeps_reading() {
    in_polled_modes(|mode| {
        let mut host = Host::new(&PoolConfig { classes: 2, ..config(mode, 1) });
        let peer = host.attach_as(1);
        host.send(peer, &data_frame(250)[..200]);
        host.settle();
        let mut leases = host.take_all_buffers(0);
        let Outcome::Queued(_) = host.request(0, 5) else { panic!("the peer has the last one") };
        host.send(peer, &data_frame(250)[200..]);
        host.iterate();
        assert_eq!(host.peers[peer].frames.len(), 1, "it goes on with what it has");
        host.settle();
        if HAS_SPARE {
            // What the peer had is the spare of its thread.
            host.release(leases.remove(0));
            host.settle();
        }
        assert_eq!(host.leases.len(), 1, "then the other kind is served");
        let Outcome::Queued(_) = host.request(0, 6) else { panic!("nothing is free") };
        for round in 2..=4 {
            host.send(peer, &data_frame(60)[..40]);
            host.settle();
            host.send(peer, &data_frame(60)[40..]);
            host.settle();
            assert_eq!(host.peers[peer].frames.len(), round, "and what fits into the smallest cells always can");
        }
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
        // It dies after room was made, and after it was chosen.
        for is_chosen in [false, true] {
            let (mut host, mut leases) = waiting(mode, 2);
            host.make_room(&mut leases);
            if is_chosen {
                assert_eq!(host.first_grant(), Some(0));
            }
            host.close(0);
            assert_eq!(host.first_grant(), Some(1), "the next has it in the same step");
            host.resume(1);
            assert_eq!(host.peers[1].frames.len(), 1);
        }
    });
}

#[test]
fn s07_destroyed_waiter_leaves_nothing_behind() {
    in_all_modes(|mode| {
        // While it waits, after room was made, and while its notice is handled.
        for moment in 0..3 {
            let (mut host, mut leases) = waiting(mode, 2);
            let id = host.peers[0].id;
            if moment > 0 {
                host.make_room(&mut leases);
            }
            if moment > 1 {
                assert_eq!(host.first_grant(), Some(0));
            }
            host.close(0);
            for event in [Event::Readable, Event::Wake, Event::Close, Event::EndOfStream] {
                assert_eq!(host.pool.handle(id, event), Err(PoolError::Stale), "its handle is dead");
            }
            assert_eq!(host.pool.take(id), Err(PoolError::Stale));
            // The next receiver in its row of the table is another one.
            let heir = host.attach();
            assert_ne!(host.peers[heir].id, id);
            assert_eq!(host.pool.handle(id, Event::Close), Err(PoolError::Stale));
            if moment == 0 {
                host.make_room(&mut leases);
            }
            host.settle();
            assert_eq!(frames(&host), [0, 1, 0], "the next waiter is served, and no closed receiver");
        }
    });

    in_all_modes(|mode| {
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

    let pool = c::CPool::new(2, |_| {});
    let leases = pool.take_all_buffers();
    let dying = pool.attach(2, &[]);
    pool.wait(dying);
    assert_eq!(pool.step(demuxbuf_receiver_close, dying), Ok(DEMUXBUF_FINISHED));
    assert_eq!(pool.step(demuxbuf_receiver_close, dying), Err(DEMUXBUF_ERR_STALE));
    assert_eq!(pool.step(demuxbuf_receiver_readable, dying), Err(DEMUXBUF_ERR_STALE));
    leases.into_iter().for_each(|lease| assert_eq!(pool.release(lease), DEMUXBUF_OK));
    assert!(pool.poll_notice().is_none());
    assert_eq!(pool.stats().free, FREE);
}

#[test]
fn s08_buffer_without_a_need_is_passed_on() {
    in_all_modes(|mode| {
        // The need goes away while it waits, and after room was made: the peer ended, or the host wants no reading.
        for event in [Event::EndOfStream, Event::TransportError, Event::PauseRecv] {
            for is_late in [false, true] {
                let (mut host, mut leases) = waiting(mode, 2);
                if is_late {
                    host.make_room(&mut leases);
                }
                host.report(0, event);
                if !is_late {
                    host.make_room(&mut leases);
                }
                assert_eq!(host.first_grant(), Some(1), "passed on in the same step");
                host.resume(1);
                assert_eq!(frames(&host), [0, 1]);
            }
        }
    });

    // It picks its turn up and finds nothing to receive.
    in_all_modes(|mode| {
        let (mut host, mut leases) = waiting(mode, 2);
        host.make_room(&mut leases);
        assert_eq!(host.first_grant(), Some(0));
        host.report(0, Event::WouldBlock);
        assert_eq!(host.first_grant(), Some(1), "its turn is over");
        host.resume(1);
        assert_eq!(frames(&host), [0, 1]);
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
    });

    in_polled_modes(|mode| {
        let (mut host, mut leases) = waiting(mode, 2);
        for event in [Event::Readable, Event::Wake, Event::Readable, Event::PauseRecv, Event::ResumeRecv] {
            host.on(0, event);
            assert!(host.held().1 <= 2, "one place for one waiter");
        }
        host.make_room(&mut leases);
        host.settle();
        assert_eq!((host.pool.totals().grants, frames(&host)), (2, vec![1, 1]), "one grant for each waiter");
        assert_eq!(host.held(), (leases.len() as u32, 0, 0));
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
        let (mut host, mut leases) = waiting(mode, 2);
        host.pass(500 * MS);
        assert_eq!(host.pool.describe(host.peers[0].id).map(|info| info.wait_age_ns), Ok(500 * MS));
        host.close(0);
        assert_eq!((host.held().0, host.held().1), (FREE, 1), "it has left, once");
        host.make_room(&mut leases);
        host.settle();
        assert_eq!(frames(&host), [0, 1]);
    });

    in_all_modes(|mode| {
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
    in_polled_modes(|mode| {
        let (mut host, mut leases) = waiting(mode, 3);
        for _ in 0..5 {
            host.now_ns += 100 * MS;
            host.pool.handle_timeout(host.now_ns);
            host.on(0, Event::Readable);
            host.on(0, Event::Wake);
            host.iterate();
        }
        assert_eq!(host.pool.totals().claims, 3, "no wait has ended");
        host.make_room(&mut leases);
        assert_eq!(host.first_grant(), Some(0), "first come, first served");
    });

    // Receiving a little first is no reason to go to the tail either: the frame that began first is first.
    in_polled_modes(|mode| {
        let mut host = Host::new(&config(mode, 3));
        let mut leases = host.take_all_buffers(0);
        let (second, first) = (host.attach(), host.attach());
        host.send(first, &data_frame(100)[..20]);
        host.settle();
        host.pass(100 * MS);
        host.send(second, &data_frame(100));
        host.settle();
        host.pass(100 * MS);
        host.send(first, &data_frame(100)[20..]);
        host.settle();
        assert_eq!((host.held(), host.buffered_bytes(first)), ((FREE, 2, 2), 64));
        host.make_room(&mut leases);
        assert_eq!(host.first_grant(), Some(first));
        host.resume(first);
        host.settle();
        assert_eq!(frames(&host), [1, 1]);
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

    // What receivers keep is not the host's to release, whatever number it guesses.
    let mut host = Host::new(&config(Mode::Level, 1));
    let peer = host.attach();
    host.send(peer, &data_frame(800)[..600]);
    host.settle();
    let before = host.held();
    assert_eq!(before, (1, 0, 1));
    for guess in (0..=3).flat_map(|generation| (0..8).map(move |index| generation << 32 | index)) {
        assert_eq!(host.pool.release(LeaseId::from_bits(guess)), Err(SchedulerError::StaleLease.into()));
        assert_eq!(host.pool.cancel(WaitId::from_bits(guess)), Err(SchedulerError::StaleWait.into()));
        host.check();
    }
    assert_eq!(host.held(), before);

    let (mine, theirs) = (c::CPool::new(2, |_| {}), c::CPool::new(2, |_| {}));
    let ((_, lease), (_, foreign)) = (mine.request(0, 1), theirs.request(0, 1));
    assert_eq!(mine.release(foreign), DEMUXBUF_ERR_STALE);
    assert_eq!(mine.release(lease), DEMUXBUF_OK);
    for stale in [lease, foreign, 0, u64::MAX] {
        assert_eq!(mine.release(stale), DEMUXBUF_ERR_STALE);
        assert_eq!(mine.cancel(stale), DEMUXBUF_ERR_STALE);
    }
    assert_eq!((mine.stats().free, theirs.stats().free), (FREE, FREE - 1));
}

#[test]
fn s20_idle_system_holds_nothing() {
    in_all_modes(|mode| {
        let mut host = Host::new(&config(mode, 12));
        // Three buffers are left.
        let leases = host.take_buffers(0, 3);
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
        assert!(host.peers.iter().all(|peer| peer.undecoded() == 0), "all was served");
        assert!(host.peers.iter().map(|peer| peer.frames.len()).sum::<usize>() > 200, "there was traffic");
        assert_eq!(host.held(), (leases.len() as u32, 0, 0), "and nothing is held");
    });
}
