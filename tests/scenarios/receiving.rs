//! Scenarios of receiving and decoding.

use crate::c;
use crate::host::{Host, STREAM_FULL, config, config_of, data_frame, frame, window_update};
use crate::machine::{Machine, in_all_modes, in_modes};
use demuxbuf::connection::{Action, Event, EventError, Mode, Policy};
use demuxbuf::framing::h2::kind;
use demuxbuf::pool::{LeasedContent, PoolError};
use demuxbuf::scheduler::Outcome;
use demuxbuf_capi::*;

fn policy(mode: Mode) -> Policy {
    Policy { mode, ..Policy::default() }
}

#[test]
fn s21_decoding_resumes_at_once_after_a_block() {
    // Small enough to be parked while it is blocked, and too large for that.
    for size in [20, 300] {
        in_all_modes(|mode| {
            let mut host = Host::new(&config(mode, 2));
            let peer = host.attach();
            host.block(peer);
            host.send(peer, &data_frame(size));
            host.settle();
            assert!(host.peers[peer].frames.is_empty());
            assert_eq!(host.iterate(), 0, "the socket has no more");
            assert!(host.unblock(peer).has(Action::Decode), "and no event is needed");
            host.resume(peer);
            assert_eq!(host.peers[peer].frames.len(), 1);
            host.settle();
        });
    }
}

#[test]
fn s22_needed_bytes_sleep_until_bytes_arrive() {
    for (first, size) in [(20, 60), (200, 300)] {
        in_all_modes(|mode| {
            let mut host = Host::new(&config(mode, 2));
            let peer = host.attach();
            host.send(peer, &data_frame(size)[..first]);
            host.settle();
            let decodes = host.peers[peer].decodes;
            assert!(decodes > 0);
            for event in [Event::Wake, Event::Block { reasons: 1 }, Event::Unblock { reasons: 1 }] {
                assert!(!host.report(peer, event).has(Action::Decode), "there is nothing to try again");
                host.resume(peer);
                assert_eq!(host.iterate(), 0, "it does not wake itself");
            }
            host.send(peer, &data_frame(size)[first..]);
            host.settle();
            assert_eq!((host.peers[peer].frames.len(), host.peers[peer].decodes - decodes), (1, 1));
        });
    }
}

#[test]
fn s23_needs_bytes_and_blocked_are_two_states() {
    in_all_modes(|mode| {
        let mut host = Host::new(&config(mode, 2));
        let peer = host.attach();
        for round in 0..10 {
            // Blocked with a whole frame: goes on without an event.
            host.block(peer);
            host.send(peer, &data_frame(200));
            host.settle();
            assert!(host.unblock(peer).has(Action::Decode));
            host.resume(peer);
            assert_eq!(host.peers[peer].frames.len(), 2 * round + 1);
            // Bytes of a frame are missing: the end of a block changes nothing, the rest of the frame does.
            host.send(peer, &data_frame(200)[..150]);
            host.settle();
            host.report(peer, Event::Block { reasons: STREAM_FULL });
            assert!(!host.unblock(peer).has(Action::Decode), "it still needs bytes");
            host.resume(peer);
            assert_eq!(host.iterate(), 0);
            host.send(peer, &data_frame(200)[150..]);
            host.settle();
            assert_eq!(host.peers[peer].frames.len(), 2 * round + 2);
        }
    });

    in_all_modes(|mode| {
        let mut machine = Machine::reading(policy(mode), 1024);
        machine.on(Event::Received { bytes: 100 });
        machine.on(Event::NeedMore { bytes: 50 });
        machine.on(Event::Block { reasons: 1 });
        // The bytes come while it is blocked: the end of the block is what it waits for now.
        assert!(!machine.on(Event::Received { bytes: 50 }).has(Action::Decode));
        assert!(machine.on(Event::Unblock { reasons: 1 }).has(Action::Decode));
    });
}

#[test]
fn s24_full_receive_is_not_the_last() {
    in_all_modes(|mode| {
        // Exactly one buffer, with more behind it that arrived at the same time.
        for behind in [0, 13, 1024, 3000] {
            let mut host = Host::new(&config(mode, 1));
            let peer = host.attach();
            host.peers[peer].passes_data = true;
            host.send(peer, &data_frame(1024 + behind));
            host.send(peer, &window_update());
            host.settle();
            assert_eq!(host.peers[peer].frames.len(), 2);
            assert_eq!(host.peers[peer].undecoded(), 0, "nothing is left in the socket");
        }
    });

    let mut edge = Machine::reading(policy(Mode::Edge), 1024);
    edge.on(Event::Received { bytes: 1024 });
    assert!(edge.on(Event::Consumed { bytes: 1024 }).has(Action::Recv), "edge: it goes on without an event");
    let mut buffered_bytes = Machine::reading(policy(Mode::Level), 1024);
    buffered_bytes.on(Event::Received { bytes: 1024 });
    buffered_bytes.follow_interest();
    buffered_bytes.on(Event::Consumed { bytes: 1024 });
    buffered_bytes.follow_interest();
    assert!(buffered_bytes.connection.is_armed(), "level: it stays armed");
}

#[test]
fn s25_frame_that_can_never_fit_is_reported_once() {
    in_all_modes(|mode| {
        let mut host = Host::new(&config(mode, 1));
        let peer = host.attach();
        host.send(peer, &data_frame(1025)[..1024]);
        host.settle();
        assert_eq!(host.peers[peer].misfits, 1, "reported once, without a spin");
        for event in [Event::Readable, Event::Wake, Event::WouldBlock] {
            host.on(peer, event);
            host.settle();
        }
        assert_eq!(host.peers[peer].misfits, 1);

        let mut host = Host::new(&config(mode, 1));
        let peer = host.attach();
        host.send(peer, &data_frame(1024)[..1023]);
        host.settle();
        assert_eq!((host.peers[peer].misfits, host.buffered_bytes(peer)), (0, 1023), "with one byte less it waits");
        host.send(peer, &data_frame(1024)[1023..]);
        host.settle();
        assert_eq!((host.peers[peer].misfits, host.peers[peer].frames.len()), (0, 1));

        // A larger buffer is the host's way out.
        let mut machine = Machine::reading(policy(mode), 64);
        machine.on(Event::Received { bytes: 64 });
        assert!(machine.on(Event::NeedMore { bytes: 36 }).has(Action::CannotFit));
        machine.on(Event::BufferGranted { capacity: 128 });
        assert!(!machine.wants(Action::CannotFit) && machine.connection.is_accepting());
    });
}

#[test]
fn s26_only_bytes_that_arrived_are_skipped() {
    let long = data_frame(5000);
    in_all_modes(|mode| {
        // The announced 5,000 bytes arrive in pieces; what follows them must still be found.
        for piece in [1, 9, 10, 700, 1024, 4999] {
            let mut host = Host::new(&config(mode, 1));
            let peer = host.attach();
            host.peers[peer].passes_data = true;
            let stream = [long.as_slice(), &frame(kind::PING, 0, 0, &[7; 8])].concat();
            for bytes in stream.chunks(piece.max(stream.len() / 40)) {
                host.send(peer, bytes);
                host.settle();
            }
            let kinds: Vec<u8> = host.peers[peer].frames.iter().map(|head| head.kind).collect();
            assert_eq!(kinds, [kind::DATA, kind::PING], "the stream is in step");
        }

        let mut machine = Machine::reading(policy(mode), 1024);
        machine.on(Event::Received { bytes: 200 });
        assert_eq!(machine.refuses(Event::Consumed { bytes: 5000 }), EventError::TooManyBytes);
        assert_eq!(machine.refuses(Event::Consumed { bytes: 201 }), EventError::TooManyBytes);
        machine.on(Event::Consumed { bytes: 200 });
        assert_eq!(machine.connection.buffered_bytes(), 0);
    });
}

#[test]
fn s27_decoding_resumes_when_the_last_reason_is_gone() {
    in_all_modes(|mode| {
        let mut host = Host::new(&config(mode, 2));
        let peer = host.attach();
        for reasons in [0b01, 0b10] {
            host.report(peer, Event::Block { reasons });
        }
        host.send(peer, &data_frame(200));
        host.settle();
        assert!(!host.report(peer, Event::Unblock { reasons: 0b01 }).has(Action::Decode), "one reason is left");
        host.settle();
        assert!(host.peers[peer].frames.is_empty(), "it is buffered");
        assert!(host.report(peer, Event::Unblock { reasons: 0b10 }).has(Action::Decode), "none is left");
        host.resume(peer);
        assert_eq!(host.peers[peer].frames.len(), 1);

        let mut machine = Machine::reading(policy(mode), 1024);
        machine.on(Event::Received { bytes: 100 });
        machine.on(Event::Block { reasons: 0b01 });
        machine.on(Event::Block { reasons: 0b10 });
        assert!(!machine.on(Event::Unblock { reasons: 0b01 }).has(Action::Decode), "one reason is left");
        assert!(machine.on(Event::Unblock { reasons: 0b10 }).has(Action::Decode), "none is left");

        machine.on(Event::Block { reasons: 0b01 });
        machine.on(Event::Block { reasons: 0b01 });
        assert!(machine.on(Event::Unblock { reasons: 0b01 }).has(Action::Decode), "a reason is there or not");

        machine.on(Event::Block { reasons: 0b100 });
        assert!(
            !machine.on(Event::Unblock { reasons: 0b011 }).has(Action::Decode),
            "the end of another reason ends nothing"
        );
        assert_eq!(machine.refuses(Event::Unblock { reasons: 0 }), EventError::NoReasons);
        assert_eq!(machine.refuses(Event::Block { reasons: 0 }), EventError::NoReasons);
        assert!(machine.on(Event::Unblock { reasons: u32::MAX }).has(Action::Decode));

        // A host that keeps the mask itself reports all of it, whatever changed.
        for (reasons, may_decode) in [(0b01, false), (0b10, false), (0b10, false), (0, true), (0, true)] {
            assert_eq!(machine.on(Event::SetBlocked { reasons }).has(Action::Decode), may_decode, "{reasons}");
            assert_eq!(machine.connection.blocked(), reasons);
        }
    });
}

#[test]
fn s28_flags_follow_dropped_content() {
    in_all_modes(|mode| {
        let mut host = Host::new(&config(mode, 2));
        let peer = host.attach();
        host.block(peer);
        host.send(peer, &data_frame(2000));
        host.settle();
        assert_eq!(host.buffered_bytes(peer), 1024, "full and blocked");
        host.on(peer, Event::Fail);
        host.settle();
        assert_eq!(host.buffered_bytes(peer), 0);
        host.send(peer, &data_frame(3000));
        host.settle();
        assert_eq!(host.pool.stats().dropped_bytes, 5000, "what arrives is dropped, so that receiving goes on");
        assert_eq!(host.held(), (0, 0, 0));

        // Nothing of "full", "blocked", "short" or "yielded" is left.
        let mut machine = Machine::reading(policy(mode), 64);
        machine.on(Event::Received { bytes: 64 });
        machine.follow_interest();
        machine.on(Event::NeedMore { bytes: 8 });
        machine.on(Event::Block { reasons: 1 });
        assert!(machine.on(Event::Fail).has(Action::Discard));
        let actions = machine.on(Event::Consumed { bytes: 64 });
        assert!(!actions.has(Action::Discard) && !actions.has(Action::Decode));
        assert!(machine.connection.is_accepting());
        assert_eq!((machine.connection.blocked(), machine.connection.needed_bytes()), (0, 0));
    });

    // The same, where the host's own buffer is the truth.
    in_all_modes(|mode| {
        let mut machine = Machine::reading(policy(mode), 64);
        machine.on(Event::Received { bytes: 64 });
        machine.follow_interest();
        machine.on(Event::Block { reasons: 1 });
        let armed = machine.connection.is_armed();
        machine.on(Event::Sync { buffered_bytes: 0, capacity: 64, blocked: 0, needed_bytes: false, armed });
        assert!(machine.connection.is_accepting(), "one place changes content and flags");
    });
}

#[test]
fn s29_full_buffer_restarts_when_transmit_drains() {
    in_all_modes(|mode| {
        let mut host = Host::new(&config(mode, 1));
        let peer = host.attach();
        host.peers[peer].passes_data = true;
        host.block(peer);
        host.send(peer, &data_frame(4000));
        host.settle();
        assert_eq!(host.buffered_bytes(peer), 1024);
        assert!(host.unblock(peer).has(Action::Decode), "at once");
        host.resume(peer);
        host.settle();
        assert_eq!(host.peers[peer].undecoded(), 0, "and reading goes on");
    });

    in_modes(&[Mode::Level, Mode::OneShot, Mode::Optimistic], |mode| {
        let mut machine = Machine::reading(policy(mode), 64);
        machine.on(Event::Received { bytes: 64 });
        machine.follow_interest();
        machine.on(Event::Block { reasons: 1 });
        assert!(!machine.connection.is_armed() && !machine.wants(Action::WantRecv), "full: reading stopped");
        let actions = machine.on(Event::Unblock { reasons: 1 });
        assert!(actions.has(Action::Decode) && !actions.has(Action::WantRecv), "first room, then reading");
        let actions = machine.on(Event::Consumed { bytes: 10 });
        assert!(!actions.has(Action::WantRecv) || !actions.has(Action::Recv));
        machine.on(Event::NeedMore { bytes: 1 });
        let goes_on = |machine: &Machine| machine.wants(Action::Recv) || machine.wants(Action::WantRecv);
        assert!(goes_on(&machine), "room: reading goes on");
    });
}

#[test]
fn s30_room_test_and_offer_are_one_number() {
    for resume_free_bytes in [0, 1, 300, 512, 1024, u32::MAX] {
        in_all_modes(|mode| {
            let mut machine = Machine::reading(Policy { resume_free_bytes, ..policy(mode) }, 1024);
            machine.on(Event::Received { bytes: 1024 });
            machine.on(Event::Block { reasons: 1 });
            machine.follow_interest();
            let enough = resume_free_bytes.clamp(1, 1024);
            for consumed in 1..=1024 {
                machine.on(Event::Consumed { bytes: 1 });
                machine.follow_interest();
                let accepts = machine.connection.is_accepting();
                assert_eq!(accepts, consumed >= enough, "{consumed} of {enough} free");
                machine.on(Event::Readable);
                let offered = if accepts { consumed } else { 0 };
                // `Machine` checks besides that `Recv` is pending exactly when something is offered.
                assert_eq!(machine.connection.recv_max(), offered, "all the room there is, or none");
                machine.follow_interest();
            }
        });
    }

    // Content that is not at the front leaves less room behind it than there is in all. A report of bytes that
    // were received elsewhere is refused, and nothing is lost.
    let mut host = Host::new(&config(Mode::Level, 1));
    let peer = host.attach();
    host.block(peer);
    host.send(peer, &data_frame(1024));
    host.settle();
    host.report(peer, Event::Consumed { bytes: 9 });
    let id = host.peers[peer].id;
    let before = host.pool.describe(id);
    let refused = host.pool.handle(id, Event::Received { bytes: 9 });
    assert_eq!(refused, Err(PoolError::TooManyBytes));
    assert_eq!(host.pool.describe(id), before);
    host.check();
    let pool = c::CPool::new(1, |config| config.buffer_bytes = 128);
    let receiver = pool.attach(1, &data_frame(128));
    pool.decoded(receiver, 9, 0).expect("9 bytes are there");
    assert_eq!(pool.received(receiver, 9), Err(DEMUXBUF_ERR_TOO_MANY_BYTES));
    assert!(pool.decoded(receiver, 119, 0).is_ok(), "the pool is as it was");

    // Receiving and decoding do not alternate byte by byte.
    in_all_modes(|mode| {
        let mut settings = config(mode, 1);
        settings.policy.resume_free_bytes = 512;
        let mut host = Host::new(&settings);
        let peer = host.attach();
        for _ in 0..100 {
            host.send(peer, &data_frame(100));
        }
        host.settle();
        assert_eq!(host.peers[peer].frames.len(), 100);
        assert!(host.peers[peer].receives <= 2 * 10_000 / 512, "{} receives", host.peers[peer].receives);
    });
}

#[test]
fn s31_tiny_frames_do_not_delay_other_connections() {
    in_all_modes(|mode| {
        let mut settings = config_of(mode, 8, 16_384, 2);
        settings.policy.reads_per_wake = 3;
        let mut host = Host::new(&settings);
        let (flood, neighbour) = (host.attach(), host.attach());
        host.peers[flood].frames_per_run = 32;
        for _ in 0..4000 {
            host.send(flood, &frame(kind::DATA, 0, 1, &[]));
        }
        host.send(neighbour, &data_frame(100));
        let (mut iterations, mut done) = (0, 0);
        while host.iterate() > 0 {
            iterations += 1;
            assert!(host.peers[flood].frames.len() - done <= 32 * 4, "bounded work in one iteration");
            done = host.peers[flood].frames.len();
            assert!(host.peers[neighbour].frames.len() == 1 || iterations < 2, "the neighbour was served");
        }
        assert_eq!(host.peers[flood].frames.len(), 4000, "and all was served");
        assert!(iterations >= 4000 / (32 * 4));
        host.settle();
    });

    // A transport that is never empty gets this many receives in each loop iteration.
    in_all_modes(|mode| {
        let mut settings = config(mode, 1);
        settings.policy.reads_per_wake = 3;
        let mut host = Host::new(&settings);
        let peer = host.attach();
        host.peers[peer].passes_data = true;
        for _ in 0..10 {
            host.send(peer, &data_frame(10_000));
        }
        let mut receives = host.peers[peer].receives;
        while host.iterate() > 0 {
            // An iteration may begin twice here: by the schedule, and by a report of the transport.
            assert!(host.peers[peer].receives - receives <= 2 * 3 + 1, "bounded receives in one iteration");
            receives = host.peers[peer].receives;
        }
        assert_eq!(host.peers[peer].undecoded(), 0);
    });
}

#[test]
fn s32_reading_resumes_after_a_full_buffer_is_taken() {
    in_all_modes(|mode| {
        let mut host = Host::new(&config(mode, 1));
        let peer = host.attach();
        host.peers[peer].passes_data = true;
        host.block(peer);
        host.send(peer, &data_frame(3000));
        host.settle();
        assert_eq!(host.buffered_bytes(peer), 1024);
        // The stream takes the DATA frame's header and first bytes with the buffer.
        let (content, bytes) = host.take(peer);
        assert_eq!(host.pool.buffer(content.lease).map(|buffer| buffer.to_vec()), Ok(bytes.clone()));
        assert_eq!(bytes, data_frame(3000)[..1024]);
        host.peers[peer].is_blocked = false;
        host.report(peer, Event::Unblock { reasons: STREAM_FULL });
        host.peers[peer].skip_data(3000 - 1024);
        host.resume(peer);
        host.settle();
        assert_eq!(host.peers[peer].undecoded(), 0, "reading went on into another buffer");
        host.release(content.lease);
        assert_eq!(host.held(), (0, 0, 0));
    });

    // Reading had stopped: the bare machine asks for it again in the step of `take`.
    in_modes(&[Mode::Level, Mode::OneShot, Mode::Optimistic], |mode| {
        let mut machine = Machine::reading(policy(mode), 64);
        machine.on(Event::Received { bytes: 64 });
        machine.on(Event::Block { reasons: 1 });
        machine.on(Event::WouldBlock);
        machine.follow_interest();
        let actions = machine.on(Event::BufferReleased);
        assert!(machine.connection.is_armed() || actions.has(Action::WantRecv));
    });
}

#[test]
fn s33_bytes_at_attach_are_decoded_at_once() {
    for size in [20, 300] {
        in_all_modes(|mode| {
            let mut host = Host::new(&config(mode, 2));
            let peer = host.attach_with(&data_frame(size));
            assert!(host.pool.pending(host.peers[peer].id).is_ok_and(|actions| actions.has(Action::Decode)));
            host.resume(peer);
            assert_eq!(host.peers[peer].frames.len(), 1, "without an event");

            // In a buffer of the host's, not at its front.
            let Outcome::Granted(lease) = host.request(0, 9) else { panic!("a buffer is free") };
            let bytes = data_frame(size);
            host.pool.buffer(lease).expect("the lease is the host's")[7..7 + size].copy_from_slice(&bytes);
            let adopted = host.adopt(LeasedContent { lease, offset: 7, buffered_bytes: size as u32 });
            assert!(host.pool.pending(host.peers[adopted].id).is_ok_and(|actions| actions.has(Action::Decode)));
            host.resume(adopted);
            assert_eq!(host.peers[adopted].frames.len(), 1);
            host.settle();
        });
    }

    // A partial frame is adopted; the rest of the frame arrives later.
    in_all_modes(|mode| {
        let mut host = Host::new(&config(mode, 2));
        let peer = host.attach_with(&data_frame(200)[..150]);
        host.resume(peer);
        host.settle();
        host.send(peer, &data_frame(200)[150..]);
        host.settle();
        assert_eq!(host.peers[peer].frames.len(), 1);
    });

    // Few bytes need no buffer.
    in_all_modes(|mode| {
        let mut host = Host::new(&config(mode, 1));
        host.take_all_buffers(0);
        let peer = host.attach_with(&window_update());
        host.resume(peer);
        assert_eq!(host.peers[peer].frames.len(), 1);
    });

    // A buffer of any size, in the bare machine.
    for mode in Mode::ALL {
        let mut connection = demuxbuf::connection::Connection::new(policy(mode));
        let actions = connection.handle(Event::Attach { buffered_bytes: 3, capacity: 5 });
        assert!(actions.is_ok_and(|actions| actions.has(Action::Decode)));
    }
    let (_, mask) = c::Connection::attached(3, 5);
    assert_ne!(mask & DEMUXBUF_DECODE, 0);
    let pool = c::CPool::new(1, |_| {});
    let receiver = pool.attach(1, &window_update());
    let mask = pool.step(demuxbuf_receiver_pending, receiver);
    assert!(mask.is_ok_and(|mask| mask & DEMUXBUF_DECODE != 0));
}
