//! Scenarios of what a host does with bytes while it decodes, and of connections that move.

use crate::c::CPool;
use crate::host::{FREE, Host, config, data_frame, frame, in_polled_modes};
use demuxbuf::connection::{Action, Event, Mode};
use demuxbuf::framing::h2::{Decoder, FrameHeader, Next, Side, flags, kind};
use demuxbuf::pool::{AttachOptions, Pool, PoolConfig, PoolError, ReceiverId};
use demuxbuf::scheduler::Request;
use demuxbuf_capi::*;
use std::sync::mpsc;

#[test]
fn s74_pause_while_decoding_leaves_the_bytes() {
    in_polled_modes(|mode| {
        // In the receive buffer, with and without kept bytes in front, and in a buffer of its own.
        for kept in [0, 40, 600] {
            let mut host = Host::new(&config(mode, 1));
            let peer = host.attach();
            host.send(peer, &data_frame(900)[..kept]);
            host.settle();
            host.send(peer, &data_frame(900)[kept..]);
            let id = host.peers[peer].id;
            host.receive_only(peer);
            let before = host.pool.data(id).map(|data| (data.as_ptr(), data.to_vec()));
            assert!(before.as_ref().is_ok_and(|(_, data)| data.len() == 900));
            for event in [Event::PauseRecv, Event::ResumeRecv, Event::Unblock { reasons: 1 }, Event::PauseRecv] {
                assert!(host.report(peer, event).has(Action::Decode), "{event:?}: the decoder goes on");
                assert_eq!(host.pool.data(id).map(|data| (data.as_ptr(), data.to_vec())), before, "{event:?}");
            }
            host.resume(peer);
            assert_eq!(host.peers[peer].frames.len(), 1);
            host.send(peer, &data_frame(900));
            host.settle();
            assert_eq!(host.peers[peer].frames.len(), 1, "it is paused");
            host.on(peer, Event::ResumeRecv);
            host.settle();
            assert_eq!(host.peers[peer].frames.len(), 2);
        }
    });

    let pool = CPool::new(1, |_| {});
    let receiver = pool.attach(1, &[]);
    pool.step(demuxbuf_receiver_readable, receiver).expect("the handle is live");
    pool.receive(receiver, &data_frame(900)).expect("there is room");
    let before = pool.data(receiver);
    for call in [demuxbuf_receiver_pause_recv, demuxbuf_receiver_resume_recv, demuxbuf_receiver_pause_recv] {
        assert!(pool.step(call, receiver).is_ok_and(|actions| actions & DEMUXBUF_DECODE != 0));
        assert_eq!(pool.data(receiver), before, "address and length");
    }
    assert_eq!(pool.content(receiver), data_frame(900));
}

/// A header block in three frames, and what stands behind it.
fn split_block() -> (Vec<u8>, Vec<u8>) {
    let pieces = [
        frame(kind::HEADERS, 0, 1, &[0x82; 30]),
        frame(kind::CONTINUATION, 0, 1, &[0x84; 20]),
        frame(kind::CONTINUATION, flags::END_HEADERS, 1, &[0x86; 10]),
    ];
    (pieces.concat(), frame(kind::PING, 0, 0, &[7; 8]))
}

/// Joins the first frame with the one behind it, whose header is a hole then, and reports that.
fn join(data: &mut [u8]) -> u32 {
    let mut heads = Decoder::new(Side::Server);
    heads.accept(&Next::Frame(FrameHeader { kind: kind::SETTINGS, flags: flags::ACK, ..FrameHeader::default() }));
    let Ok(Next::Frame(first)) = heads.peek(data) else { panic!("a whole frame") };
    heads.accept(&Next::Frame(first));
    let at = first.frame_bytes() as usize;
    let Ok(Next::Frame(second)) = heads.peek(&data[at..]) else { panic!("a whole frame") };
    let joined = FrameHeader { length: first.length + second.length, flags: second.flags, ..first };
    data.copy_within(..at, 9);
    data[9..18].copy_from_slice(&joined.encode());
    9
}

#[test]
fn s75_frames_are_joined_in_place() {
    let (pieces, behind) = split_block();
    let joined =
        frame(kind::HEADERS, flags::END_HEADERS, 1, &[[0x82; 30].as_slice(), &[0x84; 20], &[0x86; 10]].concat());
    for mode in [Mode::Level, Mode::Edge] {
        // With kept bytes in a small cell, in one of half a buffer, and all at once; with a second receive behind the
        // hole.
        for kept in [0, 20, 75] {
            let mut pool = Pool::new(&config(mode, 2)).expect("the configuration is allowed");
            let id = pool.attach(&AttachOptions::new(0, 1)).expect("there is room");
            let stream = [pieces.as_slice(), &behind].concat();
            for part in [&stream[..kept], &stream[kept..]].into_iter().filter(|part| !part.is_empty()) {
                receive(&mut pool, id, part);
                if part.len() == kept {
                    pool.decoded(id, 0, (pieces.len() - kept) as u32).expect("it is buffered");
                }
            }
            for _ in 0..2 {
                let hole_bytes = join(pool.data_mut(id).expect("it is attached"));
                pool.decoded(id, hole_bytes, 0).expect("it is at the front");
                pool.check_invariants().expect("the invariants hold");
            }
            assert_eq!(pool.data(id), Ok(&[joined.as_slice(), &behind].concat()[..]));
            // The PING is cut off at the end: all before it moves up by its length.
            let data = pool.data_mut(id).expect("it is attached");
            data.copy_within(..joined.len(), behind.len());
            pool.decoded(id, behind.len() as u32, 0).expect("it is at the front");
            assert_eq!(pool.data(id), Ok(&joined[..]));
            // What is left may be kept as it is now.
            pool.handle(id, Event::Block { reasons: 1 }).expect("it is attached");
            assert_eq!((pool.data(id), pool.check_invariants()), (Ok(&joined[..]), Ok(())));
        }
    }

    let pool = CPool::new(1, |_| {});
    let receiver = pool.attach(1, &[]);
    pool.step(demuxbuf_receiver_readable, receiver).expect("the handle is live");
    pool.receive(receiver, &[pieces.as_slice(), &behind].concat()).expect("there is room");
    for _ in 0..2 {
        let hole_bytes = pool.change(receiver, join);
        pool.decoded(receiver, hole_bytes, 0).expect("it is at the front");
    }
    assert_eq!(pool.content(receiver), [joined.as_slice(), &behind].concat());
}

fn receive(pool: &mut Pool, id: ReceiverId, bytes: &[u8]) {
    assert!(pool.handle(id, Event::Readable).expect("it is attached").has(Action::Recv));
    pool.receive_area(id).expect("it is attached")[..bytes.len()].copy_from_slice(bytes);
    pool.handle(id, Event::Received { bytes: bytes.len() as u32 }).expect("there is room");
}

/// A connection that leaves its thread: what was received and not decoded, and how many bytes the decoder needs.
struct Moving {
    content: Vec<u8>,
    needed_bytes: u32,
}

/// Gives a receiver up. Nothing of it is left.
fn give_up(pool: &mut Pool, id: ReceiverId) -> Moving {
    let content = pool.data(id).expect("it is attached").to_vec();
    let needed_bytes = pool.connection(id).expect("it is attached").needed_bytes();
    assert!(pool.handle(id, Event::Close).expect("it is attached").has(Action::Finished));
    pool.check_invariants().expect("the invariants hold");
    Moving { content, needed_bytes }
}

/// The thread that takes connections over, each with what is still in its socket.
fn take_over(settings: &PoolConfig, moving: mpsc::Receiver<(Moving, Vec<u8>)>) {
    let mut pool = Pool::new(settings).expect("the configuration is allowed");
    for (Moving { content, needed_bytes }, unread) in moving {
        let attach = |pool: &mut Pool| pool.attach_with(&AttachOptions::new(0, 1), &content);
        if content.len() > 64 {
            // The thief is short of memory: it has the bytes all the same, and tries again.
            let leases: Vec<_> = (0..FREE).map(|at| pool.try_request(&Request::new(0, at.into()))).collect();
            assert_eq!(attach(&mut pool), Err(PoolError::NoBufferFree));
            for lease in leases {
                pool.release(lease.expect("it is allowed").expect("one is free")).expect("it is the host's");
            }
        }
        let id = attach(&mut pool).expect("there is room");
        if !content.is_empty() {
            assert!(pool.pending(id).is_ok_and(|actions| actions.has(Action::Decode)), "at once");
            pool.decoded(id, 0, needed_bytes).expect("it is buffered");
        }
        if !unread.is_empty() {
            receive(&mut pool, id, &unread);
        }
        assert_eq!(pool.data(id), Ok(&data_frame(900)[..]));
        pool.decoded(id, 900, 0).expect("the frame is whole");
        give_up(&mut pool, id);
    }
}

#[test]
fn s76_moved_connection_loses_nothing() {
    in_polled_modes(|mode| {
        std::thread::scope(|scope| {
            let settings = PoolConfig { tag: 1, ..config(mode, 4) };
            let (to_thief, moving) = mpsc::channel();
            scope.spawn(move || take_over(&settings, moving));
            for (received, claims) in [(0, false), (40, false), (64, true), (200, false), (600, false), (900, false)] {
                let mut pool = Pool::new(&config(mode, 4)).expect("the configuration is allowed");
                let leases: Vec<_> = (0..if claims { FREE } else { 0 }).map(|at| pool.request(0, at.into())).collect();
                assert!(leases.iter().all(Result::is_ok));
                let id = pool.attach(&AttachOptions::new(0, 1)).expect("there is room");
                if received > 0 {
                    receive(&mut pool, id, &data_frame(900)[..received]);
                    if received < 900 {
                        pool.decoded(id, 0, 900 - received as u32).expect("it is buffered");
                    }
                }
                if claims {
                    pool.handle(id, Event::Readable).expect("it is attached");
                    assert!(pool.connection(id).is_ok_and(|connection| connection.is_waiting()));
                }
                let moving = give_up(&mut pool, id);
                assert_eq!(pool.data(id), Err(PoolError::Stale), "its handle is dead here");
                assert_eq!(pool.poll_notice(), None, "and nothing is granted to it");
                to_thief.send((moving, data_frame(900)[received..].to_vec())).expect("the thread lives");
            }
        });
    });
}
