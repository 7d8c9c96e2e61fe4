//! Scenarios of attack and overload.

use crate::c;
use crate::host::{Host, bare_config, config, data_frame, frame, window_update};
use crate::machine::in_all_modes;
use demuxbuf::connection::{Event, Hold, Mode};
use demuxbuf::framing::h2::{FrameHeader, MAX_FRAME_SIZE_MAX, flags, kind};
use demuxbuf::pool::PoolConfig;
use demuxbuf_capi::*;

const CAP: u32 = 4;
const ATTACKERS: u32 = 10 * CAP;
const HONEST: u32 = CAP;

/// Every frame fits, also the largest, with its header.
fn roomy_config(mode: Mode) -> PoolConfig {
    let mut settings = config(mode, CAP, ATTACKERS + HONEST);
    settings.buffer_bytes = 16_448;
    settings
}

/// Attackers that each send the bytes of `bytes_of` and stay.
fn attack(settings: &PoolConfig, bytes_of: impl Fn(u32) -> Vec<u8>) -> Host {
    let mut host = Host::new(settings);
    for attacker in 0..ATTACKERS {
        let peer = host.attach();
        host.send(peer, &bytes_of(attacker));
        host.iterate();
    }
    host.settle();
    host
}

/// The beginning of a frame that announces the largest payload there may be without an agreement.
fn beginning(bytes: usize) -> Vec<u8> {
    let head = FrameHeader { length: 16_384, stream_id: 1, kind: kind::HEADERS, flags: flags::END_HEADERS };
    [head.encode().as_slice(), &[0x40; 100]].concat()[..bytes].to_vec()
}

/// Honest clients with a large request each: all must be served in few iterations, while the attackers stay.
fn honest_are_served(host: &mut Host) {
    for round in 1..=3 {
        for honest in 0..HONEST as usize {
            let peer = ATTACKERS as usize + honest;
            if peer == host.peers.len() {
                host.attach();
            }
            host.send(peer, &data_frame(9_000));
            let mut iterations = 0;
            while host.peers[peer].frames.len() < round {
                assert!(iterations < 4, "served at once");
                host.iterate();
                iterations += 1;
            }
        }
    }
    host.settle();
    assert!(host.peers.iter().filter(|peer| peer.frames.is_empty()).count() == ATTACKERS as usize);
}

#[test]
fn s41_partial_frame_headers_hold_no_buffer() {
    in_all_modes(|mode| {
        let mut host = attack(&roomy_config(mode), |attacker| beginning(1 + attacker as usize % 8));
        host.cancel_idle_receives();
        assert_eq!(host.held(), (0, 0, ATTACKERS), "a small slot each, and no buffer");
        assert_eq!(host.pool.stats().scheduler.free, CAP);
        honest_are_served(&mut host);

        // They go on byte by byte: still nothing.
        for _ in 0..40 {
            for attacker in 0..ATTACKERS as usize {
                let sent = host.buffered_bytes(attacker) as usize;
                host.send(attacker, &beginning(sent + 1)[sent..]);
            }
            host.settle();
        }
        host.cancel_idle_receives();
        assert_eq!(host.held(), (0, 0, ATTACKERS));
        honest_are_still_served(&mut host);
    });

    // Without parking the test sees the stall.
    let mut settings = bare_config(Mode::Level, CAP, ATTACKERS + HONEST);
    settings.buffer_bytes = 16_448;
    let mut host = attack(&settings, |attacker| beginning(1 + attacker as usize % 8));
    assert_eq!(host.held(), (CAP, ATTACKERS - CAP, 0));
    let honest = host.attach();
    host.send(honest, &data_frame(100));
    host.settle();
    assert!(host.peers[honest].frames.is_empty());
}

fn honest_are_still_served(host: &mut Host) {
    for honest in 0..HONEST as usize {
        let peer = ATTACKERS as usize + honest;
        let before = host.peers[peer].frames.len();
        host.send(peer, &data_frame(9_000));
        host.settle();
        assert_eq!(host.peers[peer].frames.len(), before + 1);
    }
}

/// The first half of S42: what fits into a slot. Longer partial frames need leases with deadlines.
#[test]
fn s42_start_of_the_largest_frame_holds_no_buffer() {
    in_all_modes(|mode| {
        for bytes in [9, 10, 63, 64] {
            let mut host = attack(&roomy_config(mode), |_| beginning(bytes));
            host.cancel_idle_receives();
            assert_eq!(host.held(), (0, 0, ATTACKERS), "{bytes} bytes are parked");
            honest_are_served(&mut host);
        }
        // One byte more cannot be parked, and is not: it is in a buffer, or waits for one with a full slot.
        let mut host = attack(&roomy_config(mode), |_| beginning(65));
        host.cancel_idle_receives();
        assert_eq!(host.held(), (CAP, ATTACKERS - CAP, ATTACKERS - CAP));
    });
}

#[test]
fn s44_service_recovers_when_attackers_leave() {
    in_all_modes(|mode| {
        // Parked by the library; and in the worst case they hold every buffer and the rest is queued.
        let mut bare = bare_config(mode, CAP, ATTACKERS + HONEST);
        bare.buffer_bytes = 16_448;
        for settings in [roomy_config(mode), bare] {
            for bytes in [5, 64] {
                let mut host = attack(&settings, |_| beginning(bytes));
                let honest: Vec<usize> = (0..HONEST).map(|_| host.attach()).collect();
                for &peer in &honest {
                    host.send(peer, &data_frame(9_000));
                    host.settle();
                }
                for attacker in 0..ATTACKERS as usize {
                    host.close(attacker);
                }
                // Each peer that still waited owns a buffer now, before a single loop iteration.
                let stats = host.pool.stats();
                assert_eq!((stats.scheduler.waiting, stats.slots_in_use), (0, 0));
                host.iterate();
                assert!(honest.iter().all(|&peer| host.peers[peer].frames.len() == 1), "full service at once");
                host.settle();
                host.cancel_idle_receives();
                assert_eq!((host.held(), host.pool.stats().scheduler.free), ((0, 0, 0), CAP));
            }
        }
    });
}

#[test]
fn s47_small_control_frames_need_no_buffer() {
    let control = [
        window_update(),
        frame(kind::RST_STREAM, 0, 1, &[0, 0, 0, 8]),
        frame(kind::SETTINGS, flags::ACK, 0, &[]),
        frame(kind::PING, 0, 0, &[1; 8]),
    ];
    in_all_modes(|mode| {
        let mut host = Host::new(&config(mode, 2, 1));
        let peer = host.attach();
        let leases = host.take_after_idling();
        // One by one, many at once (more than a slot), and byte by byte.
        let mut expected = 0;
        for frame in &control {
            host.send(peer, frame);
            host.settle();
            expected += 1;
            assert_eq!(host.peers[peer].frames.len(), expected);
        }
        host.send(peer, &control.concat().repeat(5));
        host.settle();
        expected += 5 * control.len();
        assert_eq!(host.peers[peer].frames.len(), expected);
        for byte in control.concat() {
            host.send(peer, &[byte]);
            host.settle();
        }
        expected += control.len();
        assert_eq!(host.peers[peer].frames.len(), expected);
        assert_eq!(host.pool.stats().scheduler.granted_by_handoff, 0, "without a pool buffer");

        // Then a large frame needs the buffer that they free.
        host.send(peer, &window_update());
        host.send(peer, &data_frame(900));
        host.settle();
        assert_eq!(host.peers[peer].frames.len(), expected + 1, "the window update is through");
        for lease in leases {
            host.release(lease);
        }
        host.settle();
        assert_eq!(host.peers[peer].frames.len(), expected + 2);
        host.cancel_idle_receives();
        assert_eq!(host.held(), (0, 0, 0));
    });

    // The other direction of the deadlock: every buffer is blocked for want of exactly these frames.
    in_all_modes(|mode| {
        let mut host = Host::new(&config(mode, CAP, CAP + 1));
        for _ in 0..CAP {
            let peer = host.attach();
            host.block(peer);
            host.send(peer, &data_frame(500));
        }
        host.settle();
        assert_eq!(host.held().0, CAP);
        let backend = host.attach();
        host.send(backend, &window_update());
        host.settle();
        assert_eq!(host.peers[backend].frames.len(), 1);
        for peer in 0..CAP as usize {
            host.unblock(peer);
            host.resume(peer);
        }
        host.settle();
        assert!(host.peers.iter().all(|peer| peer.frames.len() == 1));
    });
}

#[test]
fn s48_statistics_are_answered_without_a_buffer() {
    let mut host = Host::new(&bare_config(Mode::Level, 2, 3));
    let leases = host.take_all_buffers(0);
    let peer = host.attach();
    host.send(peer, &data_frame(100));
    host.settle();
    let stats = host.pool.stats();
    assert_eq!(
        (stats.scheduler.capacity, stats.scheduler.free, stats.scheduler.leased, stats.scheduler.waiting),
        (2, 0, 2, 1)
    );
    assert_eq!(stats.memory_bytes, 2 * 1024);
    let info = host.pool.describe(host.peers[peer].id).expect("the handle is live");
    assert!(info.connection.is_waiting());
    assert_eq!(host.pool.stats(), stats, "asking changes nothing");
    host.release(leases[0]);
    host.settle();
    assert_eq!(host.peers[peer].frames.len(), 1);

    let pool = c::CPool::new(1, 1, |config| config.lifeline = 0);
    let (status, lease) = pool.request(0, 1);
    assert_eq!(status, DEMUXBUF_OK);
    let receiver = pool.attach(2, &[]);
    pool.step(demuxbuf_receiver_readable, receiver).expect("the handle is live");
    let stats = pool.stats();
    assert_eq!((stats.buffers, stats.free, stats.leased, stats.waiting, stats.receivers), (1, 0, 1, 1, 1));
    assert_eq!(pool.stats(), stats, "asking changes nothing");
    assert_eq!(pool.release(lease), DEMUXBUF_OK);
    assert_eq!(pool.stats().assigned, 1);
}

#[test]
fn s49_announcement_changes_nothing_that_is_held() {
    let head = FrameHeader { length: MAX_FRAME_SIZE_MAX, stream_id: 1, kind: kind::DATA, flags: 0 };
    in_all_modes(|mode| {
        let mut host = Host::new(&config(mode, 2, 2));
        let reserved = host.pool.stats().memory_bytes;
        // Waited for as a whole, it can never fit, which is reported at once.
        let waits = host.attach();
        host.peers[waits].decoder.set_max_frame_size(MAX_FRAME_SIZE_MAX).expect("it may be announced");
        host.send(waits, &head.encode());
        host.settle();
        assert_eq!((host.peers[waits].misfits, host.buffered_bytes(waits)), (1, 9), "9 bytes came, 9 are held");
        let connection = host.pool.connection(host.peers[waits].id).expect("the handle is live");
        assert_eq!((connection.hold(), connection.capacity()), (Hold::Buffer, 1024));
        host.on(waits, Event::Fail);
        host.settle();

        // Passed on in pieces: one buffer at most, whatever was announced.
        let passes = host.attach();
        host.peers[passes].decoder.set_max_frame_size(MAX_FRAME_SIZE_MAX).expect("it may be announced");
        host.peers[passes].passes_data = true;
        host.send(passes, &head.encode());
        host.settle();
        host.send(passes, &[5; 100_000]);
        while host.iterate() > 0 {
            let connection = host.pool.connection(host.peers[passes].id).expect("the handle is live");
            assert!(connection.capacity() <= 1024);
        }
        assert_eq!(host.peers[passes].undecoded(), 0);
        host.cancel_idle_receives();
        assert_eq!(host.held(), (0, 0, 0), "nothing is kept for the 16 megabytes to come");
        assert_eq!(host.pool.stats().memory_bytes, reserved);
    });
}
