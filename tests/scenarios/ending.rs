//! Scenarios of the end of a connection.

use crate::c;
use crate::host::{FREE, Host, MS, STREAM_FULL, config, data_frame, frame, in_polled_modes, window_update};
use crate::host_pool::{HAS_SPARE, kept_in_spare};
use crate::machine::{Machine, in_all_modes};
use demuxbuf::connection::{Action, Actions, Connection, EndKind, Event, EventError, Hold, Mode, Policy};
use demuxbuf::framing::h2::{Decoder, PREFACE, Side, flags, kind};
use demuxbuf::pool::PoolError;
use demuxbuf::receiving::Facts;
use demuxbuf::scheduler::LeaseId;
use demuxbuf_capi::*;
use demuxbuf_testkit::EventLoop;
use std::collections::HashSet;

const ENDS: [EndKind; 2] = [EndKind::Stream, EndKind::Error];

fn event_of(end: EndKind) -> Event {
    match end {
        EndKind::Stream => Event::EndOfStream,
        EndKind::Error => Event::TransportError,
    }
}

/// What a client may send from its first byte on, with the length of each frame.
fn client_stream() -> (Vec<u8>, Vec<usize>) {
    let frames = [
        PREFACE.to_vec(),
        frame(kind::SETTINGS, 0, 0, &[0, 4, 0, 0, 255, 255]),
        frame(kind::HEADERS, flags::PADDED, 1, &[2, 0x82, 0x86, 0, 0]),
        frame(kind::CONTINUATION, flags::END_HEADERS, 1, &[0x84; 40]),
        frame(kind::DATA, flags::PADDED, 1, &[[3].as_slice(), &[1; 90], &[0; 3]].concat()),
        window_update(),
    ];
    let lengths = frames.iter().map(Vec::len).collect();
    (frames.concat(), lengths)
}

#[test]
fn s34_whole_frames_are_decoded_before_the_end() {
    for end in ENDS {
        in_all_modes(|mode| {
            let mut host = Host::new(&config(mode, 2));
            let peer = host.attach();
            // More than one buffer, in one go with the end behind it.
            for _ in 0..30 {
                host.send(peer, &data_frame(100));
            }
            host.finish(peer, end);
            host.settle();
            assert_eq!(host.peers[peer].frames.len(), 30, "nothing is cut off");
            assert_eq!(host.peers[peer].ends, [(end, 0)], "then the end, once");
            host.on(peer, Event::Readable);
            host.on(peer, event_of(end));
            host.settle();
            assert_eq!(host.peers[peer].ends.len(), 1);
            assert_eq!(host.held(), (0, 0, 0));
        });
    }

    in_all_modes(|mode| {
        let mut machine = Machine::reading(Policy { mode, ..Policy::default() }, 1024);
        machine.on(Event::Received { bytes: 200 });
        let actions = machine.on(Event::EndOfStream);
        assert!(actions.has(Action::Decode) && !actions.has(Action::End) && !actions.has(Action::Recv));
        let actions = machine.on(Event::Consumed { bytes: 100 });
        assert!(actions.has(Action::Decode) && !actions.has(Action::End));
        assert!(machine.on(Event::Consumed { bytes: 100 }).has(Action::End));
        assert_eq!(machine.refuses(Event::Received { bytes: 1 }), EventError::AfterEnd);
        assert!(!machine.on(Event::done(Action::End)).has(Action::End));
    });
}

#[test]
fn s35_end_inside_a_frame_reports_truncated_bytes() {
    let (stream, lengths) = client_stream();
    for end in ENDS {
        in_all_modes(|mode| {
            // Cut everywhere: in the preface, in headers, before and after a pad length, in payloads, between the
            // pieces of a header block.
            for cut in 0..=stream.len() {
                let mut host = Host::new(&config(mode, 1));
                let peer = host.attach();
                host.peers[peer].decoder = Decoder::new(Side::Client);
                host.send(peer, &stream[..cut]);
                host.settle();
                host.finish(peer, end);
                host.settle();
                let mut whole = 0;
                for length in &lengths {
                    whole += if whole + length <= cut { *length } else { break };
                }
                assert_eq!(host.peers[peer].ends, [(end, (cut - whole) as u32)], "cut at {cut}");
                assert_eq!(host.pool.stats().dropped_bytes, (cut - whole) as u64, "dropped once it was seen");
                assert_eq!(host.held(), (0, 0, 0));
            }
        });
    }
}

#[test]
fn s36_end_that_comes_with_data_is_seen() {
    for end in ENDS {
        in_all_modes(|mode| {
            // On a frame boundary, with the last free byte of the buffer, and around it; whole and broken off.
            for (sent, whole) in [(13, 13), (1024, 1024), (1023, 1023), (1024, 1025), (1023, 1024), (700, 900)] {
                for together in [true, false] {
                    let mut host = Host::new(&config(mode, 1));
                    let peer = host.attach();
                    host.send(peer, &data_frame(whole)[..sent]);
                    if !together {
                        host.settle();
                    }
                    host.finish(peer, end);
                    host.settle();
                    if whole > 1024 {
                        // It can never fit, so nothing more is read: the host's answer is to fail or to close.
                        assert_eq!((host.peers[peer].misfits, host.buffered_bytes(peer)), (1, 1024));
                        host.on(peer, Event::Fail);
                        host.settle();
                    }
                    let truncated = if sent == whole || whole > 1024 { 0 } else { sent as u32 };
                    assert_eq!(host.peers[peer].ends, [(end, truncated)]);
                }
            }
        });
    }
}

#[test]
fn s37_end_is_seen_without_a_buffer() {
    for end in ENDS {
        // The end comes by an event of its own while the peer waits.
        in_polled_modes(|mode| {
            let mut host = Host::new(&config(mode, 2));
            let leases = host.take_all_buffers(0);
            let peer = host.attach();
            host.send(peer, &data_frame(500));
            host.settle();
            host.on(peer, Event::Readable);
            host.settle();
            assert!(host.is_waiting(peer));
            let actions = host.hang_up(peer, end);
            assert!(!host.is_waiting(peer), "it waits no more at once");
            assert!(actions.has(Action::End), "and the end is seen at once");
            host.resume(peer);
            assert_eq!(host.peers[peer].ends.len(), 1);
            leases.into_iter().for_each(|lease| host.release(lease));
            assert_eq!((host.pool.poll_notice(), host.held()), (None, (0, 0, 0)), "it is granted nothing");
        });

        // The end comes by a receive into one of the smallest cells, which is all that some loops have.
        in_polled_modes(|mode| {
            let mut host = Host::new(&config(mode, 2));
            host.take_all_buffers(0);
            let peer = host.attach();
            host.send(peer, &window_update());
            host.finish(peer, end);
            host.settle();
            assert_eq!((host.peers[peer].frames.len(), host.peers[peer].ends.as_slice()), (1, [(end, 0)].as_slice()));
            assert_eq!(host.held(), (FREE, 0, 0));
        });

        // While a partial frame is kept, with no buffer free any more.
        in_polled_modes(|mode| {
            let mut host = Host::new(&config(mode, 2));
            let peer = host.attach();
            host.send(peer, &data_frame(100)[..40]);
            host.settle();
            assert_eq!(host.held(), (0, 0, 1));
            host.take_all_buffers(0);
            host.finish(peer, end);
            host.settle();
            assert_eq!(host.peers[peer].ends, [(end, 40)]);
            assert_eq!(
                host.held(),
                (FREE, 0, 0),
                "it waits for nothing, and the partial frame is gone once it was seen"
            );
        });
    }
}

#[test]
fn s38_error_is_final_after_decodable_frames() {
    in_all_modes(|mode| {
        let mut host = Host::new(&config(mode, 2));
        let peer = host.attach();
        host.block(peer);
        host.send(peer, &data_frame(100));
        host.send(peer, &data_frame(300)[..200]);
        host.settle();
        host.hang_up(peer, EndKind::Error);
        host.resume(peer);
        assert!(host.peers[peer].ends.is_empty(), "decodable bytes first");
        host.unblock(peer);
        host.resume(peer);
        assert_eq!(
            (host.peers[peer].frames.len(), host.peers[peer].ends.as_slice()),
            (1, [(EndKind::Error, 200)].as_slice())
        );
        let decodes = host.peers[peer].decodes;
        for event in [Event::Wake, Event::Readable, Event::TransportError, Event::EndOfStream] {
            host.on(peer, event);
            host.settle();
        }
        assert_eq!((host.peers[peer].decodes, host.peers[peer].ends.len()), (decodes, 1), "final: no loop");
    });

    // An error outweighs an end that the host has not seen, and comes too late after one that it has seen.
    in_all_modes(|mode| {
        let mut machine = Machine::attached(mode);
        machine.on(Event::EndOfStream);
        machine.on(Event::TransportError);
        assert_eq!(machine.connection.end(), Some(EndKind::Error));
        let mut machine = Machine::attached(mode);
        machine.on(Event::EndOfStream);
        machine.on(Event::done(Action::End));
        assert!(!machine.on(Event::TransportError).has(Action::End));
        assert_eq!(machine.connection.end(), Some(EndKind::Stream));
    });
}

#[test]
fn s39_end_during_a_block_waits_for_the_frames() {
    for end in ENDS {
        // Whole frames only, or with a part behind them; small enough to be parked, and not.
        for (frames, part) in [(1, 0), (3, 0), (8, 0), (1, 5), (8, 150)] {
            in_all_modes(|mode| {
                let mut host = Host::new(&config(mode, 2));
                let peer = host.attach();
                host.block(peer);
                for _ in 0..frames {
                    host.send(peer, &window_update());
                }
                host.send(peer, &data_frame(200)[..part]);
                host.settle();
                host.finish(peer, end);
                host.settle();
                assert!(host.peers[peer].ends.is_empty(), "not early");
                assert!(host.unblock(peer).has(Action::Decode));
                host.resume(peer);
                host.settle();
                assert_eq!(host.peers[peer].frames.len(), frames, "not lost");
                assert_eq!(host.peers[peer].ends, [(end, part as u32)]);
            });
        }
    }

    // Needs bytes and is blocked, with an end: it waits for the last reason.
    in_all_modes(|mode| {
        let mut machine = Machine::reading(Policy { mode, ..Policy::default() }, 1024);
        machine.on(Event::Received { bytes: 20 });
        machine.on(Event::NeedMore { bytes: 7 });
        machine.on(Event::Block { reasons: 3 });
        assert!(!machine.on(Event::EndOfStream).has(Action::End));
        assert!(!machine.on(Event::Unblock { reasons: 1 }).has(Action::End));
        assert!(machine.on(Event::Unblock { reasons: 2 }).has(Action::End));
        assert_eq!(machine.connection.truncated_bytes(), 20);
    });
}

/// Every event with small numbers, to wander through the states.
fn some_events() -> Vec<Event> {
    let mut events = vec![
        Event::Readable,
        Event::BufferGranted { capacity: 8 },
        Event::BufferDenied,
        Event::BufferParked { capacity: 4 },
        Event::BufferReleased,
        Event::WouldBlock,
        Event::EndOfStream,
        Event::TransportError,
        Event::Yield,
        Event::Wake,
        Event::PauseRecv,
        Event::ResumeRecv,
        Event::Fail,
        Event::ReclaimRequested,
        Event::LeaseExpired,
        Event::Sync { buffered_bytes: 2, capacity: 8, blocked: 0, needed_bytes: true, armed: true },
    ];
    for bytes in [1, 4] {
        events.extend([Event::Received { bytes }, Event::Consumed { bytes }, Event::NeedMore { bytes }]);
        events.extend([Event::Block { reasons: bytes }, Event::Unblock { reasons: bytes }]);
    }
    events.extend(Actions::ACKNOWLEDGED.iter().map(Event::done));
    events
}

/// Closes a connection in this state and does what is left: only the hold and the wait, and then nothing ever again.
fn close_and_finish(state: &Connection, events: &[Event]) {
    let mut machine = Machine { connection: state.clone() };
    let (holds, waits) = (state.hold() != Hold::None, state.is_waiting());
    let actions = machine.on(Event::Close);
    assert_eq!(actions.has(Action::ReleaseBuffer), holds);
    assert_eq!(actions.has(Action::CancelRequest), waits);
    assert_eq!(actions.has(Action::Finished), !holds && !waits);
    let allowed = (Action::ReleaseBuffer | Action::CancelRequest) | Action::Finished;
    assert!(allowed.contains(actions), "no other action after the close: {actions:?}");
    if waits {
        machine.on(Event::done(Action::CancelRequest));
    }
    if holds {
        machine.on(Event::BufferReleased);
    }
    assert_eq!(machine.pending(), Action::Finished.into());
    for &event in events {
        let mut late = machine.connection.clone();
        let late = late.handle(event).unwrap_or(Action::Finished.into());
        assert_eq!(late, Action::Finished.into(), "{event:?} brings nothing back");
    }
}

#[test]
fn s40_close_in_every_state_finishes() {
    let events = some_events();
    for mode in Mode::ALL {
        let mut seen = HashSet::new();
        let policy = Policy { mode, park_bytes: 4, reads_per_wake: 2, ..Policy::default() };
        let mut edge = vec![Machine::with_policy(policy).connection];
        for _ in 0..6 {
            let mut next = Vec::new();
            for state in &edge {
                for &event in &events {
                    let mut successor = state.clone();
                    if successor.handle(event).is_ok() && seen.insert(successor.clone()) {
                        close_and_finish(&successor, &events);
                        next.push(successor);
                    }
                }
            }
            edge = next;
        }
        assert!(seen.len() > 10_000, "{} states are not many", seen.len());
    }
    every_combination_through_the_receivers();
    every_combination_through_c();
}

/// The state of a receiver when it is closed.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Situation {
    Idle,
    /// With undecoded bytes in the buffer that it borrows.
    Borrowing,
    /// With a partial frame in a cell of 64 bytes, or in a buffer of its own.
    KeepingLittle,
    KeepingMuch,
    /// For room.
    Waiting,
    /// It borrows to receive what it waited for.
    Granted,
    /// Its content was evicted, and its notice was not polled.
    Evicted,
}

const SITUATIONS: [Situation; 7] = [
    Situation::Idle,
    Situation::Borrowing,
    Situation::KeepingLittle,
    Situation::KeepingMuch,
    Situation::Waiting,
    Situation::Granted,
    Situation::Evicted,
];

fn every_combination_through_the_receivers() {
    let twists = [
        Event::Block { reasons: STREAM_FULL },
        Event::PauseRecv,
        Event::Fail,
        Event::EndOfStream,
        Event::TransportError,
        Event::Wake,
    ];
    in_polled_modes(|mode| {
        for situation in SITUATIONS {
            for first in twists {
                for second in twists {
                    let (mut host, peer, leases) = host_in(mode, situation);
                    for event in [first, second] {
                        match event {
                            Event::EndOfStream => host.hang_up(peer, EndKind::Stream),
                            Event::TransportError => host.hang_up(peer, EndKind::Error),
                            _ => host.report(peer, event),
                        };
                    }
                    let id = host.peers[peer].id;
                    host.close(peer);
                    assert_eq!(host.pool.handle(id, Event::Close), Err(PoolError::Stale));
                    assert_eq!(host.pool.poll_notice(), None, "{situation:?}: no notice of the dead");
                    assert_eq!(host.held(), (leases.len() as u32, 0, 0), "{situation:?}: nothing leaks");
                    let stats = host.pool.stats();
                    let left = (stats.receivers, stats.received_bytes - stats.dropped_bytes);
                    assert_eq!(left, kept_in_spare(&host.pool), "every byte is accounted for");
                }
            }
        }
    });
}

/// A host with one peer in this state, and what buffers the host has.
fn host_in(mode: Mode, situation: Situation) -> (Host, usize, Vec<LeaseId>) {
    let mut host = Host::new(&config(mode, 2));
    let peer = host.attach();
    let mut leases = match situation {
        Situation::Waiting | Situation::Granted => host.take_all_buffers(0),
        _ => Vec::new(),
    };
    let bytes = match situation {
        Situation::Idle => 0,
        Situation::KeepingLittle => 30,
        Situation::Waiting | Situation::Granted => 300,
        Situation::Borrowing | Situation::KeepingMuch | Situation::Evicted => 600,
    };
    host.send(peer, &data_frame(800)[..bytes]);
    if situation == Situation::Borrowing {
        host.receive_only(peer);
        return (host, peer, leases);
    }
    host.settle();
    match situation {
        Situation::Granted => {
            host.make_room(&mut leases);
            assert_eq!(host.first_grant(), Some(peer));
        }
        Situation::Evicted => {
            // What is left is the reserve, with the spare of a thread.
            leases = host.take_buffers(0, host.pool.memory().split().reserve - u32::from(HAS_SPARE));
            host.pass(2_000 * MS);
            // Another one waits, and makes room for itself.
            let other = host.attach();
            host.send(other, &data_frame(300));
            host.serve_socket(other);
            host.serve_socket(other);
            assert!(host.is_waiting(other), "given: there is no room");
            assert_eq!(host.first_grant(), Some(other));
            host.close(other);
        }
        _ => {}
    }
    let facts = host.pool.memory().facts(0).expect("it is attached");
    let is_so = match situation {
        Situation::Idle => facts == Facts::default(),
        Situation::Borrowing | Situation::Granted => facts.is_borrowing,
        Situation::KeepingLittle => facts.cell_bytes == 64,
        Situation::KeepingMuch => facts.cell_bytes == 1024,
        Situation::Waiting => facts.claim_since_ns.is_some(),
        Situation::Evicted => facts.is_shed,
    };
    assert!(is_so, "{situation:?}: {facts:?}");
    (host, peer, leases)
}

fn every_combination_through_c() {
    for situation in
        [Situation::Idle, Situation::KeepingLittle, Situation::KeepingMuch, Situation::Waiting, Situation::Granted]
    {
        for blocked in [false, true] {
            let pool = c::CPool::new(1, |_| {});
            let receiver = pool.attach(1, &[]);
            let waits = matches!(situation, Situation::Waiting | Situation::Granted);
            let mut leases = if waits { pool.take_all_buffers() } else { Vec::new() };
            if waits {
                pool.wait(receiver);
            } else if situation != Situation::Idle {
                pool.step(demuxbuf_receiver_readable, receiver).expect("the handle is live");
                let bytes = if situation == Situation::KeepingMuch { 600 } else { 30 };
                pool.receive(receiver, &data_frame(800)[..bytes]).expect("there is room");
                pool.decoded(receiver, 0, 800 - bytes as u32).expect("the frame is not whole");
            }
            if situation == Situation::Granted {
                leases.drain(..2).for_each(|lease| assert_eq!(pool.release(lease), DEMUXBUF_OK));
                assert!(pool.poll_notice().is_some_and(|notice| notice.step.actions & DEMUXBUF_RECV != 0));
            }
            if blocked {
                pool.block(receiver, 1).expect("the handle is live");
            }
            assert_eq!(pool.step(demuxbuf_receiver_close, receiver), Ok(DEMUXBUF_FINISHED), "{situation:?}");
            assert_eq!(pool.step(demuxbuf_receiver_close, receiver), Err(DEMUXBUF_ERR_STALE));
            assert!(pool.poll_notice().is_none());
            let stats = pool.stats();
            let receivers = u32::from(HAS_SPARE && waits);
            let spare = u32::from(HAS_SPARE && situation == Situation::Granted);
            let free = FREE - leases.len() as u32 - spare;
            assert_eq!((stats.free, stats.receivers), (free, receivers), "{situation:?}");
        }
    }

    // The bare machine: close, release, finished; then it may be attached again.
    let (mut connection, _) = c::Connection::attached(3, 5);
    let mask = connection.call(demuxbuf_connection_close);
    assert_eq!(mask, Ok(DEMUXBUF_RELEASE_BUFFER));
    assert_eq!(connection.call_with(demuxbuf_connection_received, 1), Err(DEMUXBUF_ERR_CLOSED));
    assert_eq!(connection.call(demuxbuf_connection_buffer_released), Ok(DEMUXBUF_FINISHED));
    assert_eq!(connection.call(demuxbuf_connection_readable), Ok(DEMUXBUF_FINISHED));
}
