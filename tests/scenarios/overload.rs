//! Scenarios of attack and overload.

use crate::c;
use crate::host::{BUFFERS, COUNTING_MODES, FREE, Host, config, config_of, data_frame, frame};
use crate::host::{in_polled_modes, window_update};
use crate::host_pool::HAS_SPARE;
use crate::machine::{in_all_modes, in_modes};
use demuxbuf::connection::{Event, Mode};
use demuxbuf::framing::h2::{FrameHeader, MAX_FRAME_SIZE_MAX, flags, kind};
use demuxbuf::pool::PoolConfig;
use demuxbuf_capi::*;

const ATTACKERS: u32 = 10 * BUFFERS;
const HONEST: u32 = BUFFERS;

/// Every frame fits, also the largest, with its header.
fn roomy_config(mode: Mode) -> PoolConfig {
    config_of(mode, BUFFERS, 16_448, ATTACKERS + HONEST)
}

/// Attackers that each send the bytes of `bytes_of` and stay.
fn attack(settings: &PoolConfig, bytes_of: impl Fn(u32) -> Vec<u8>) -> Host {
    attack_host(Host::new(settings), bytes_of)
}

fn attack_host(mut host: Host, bytes_of: impl Fn(u32) -> Vec<u8>) -> Host {
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
        assert_eq!(host.held(), (0, 0, ATTACKERS), "a small cell each, and no buffer");
        honest_are_served(&mut host);

        // They go on byte by byte: still nothing.
        for _ in 0..40 {
            for attacker in 0..ATTACKERS as usize {
                let sent = host.buffered_bytes(attacker) as usize;
                host.send(attacker, &beginning(sent + 1)[sent..]);
            }
            host.settle();
        }
        assert_eq!(host.held(), (0, 0, ATTACKERS));
        honest_are_still_served(&mut host);
    });
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

#[test]
fn s42_start_of_the_largest_frame_holds_no_buffer() {
    in_all_modes(|mode| {
        // One byte more than a cell of 64 bytes has lies in one of 256: 64 of them are one buffer.
        for (bytes, buffers) in [(9, 0), (10, 0), (63, 0), (64, 0), (65, 2), (100, 2)] {
            let mut host = attack(&roomy_config(mode), |_| beginning(bytes));
            assert_eq!(host.held(), (buffers, 0, ATTACKERS), "{bytes} bytes are in small cells");
            honest_are_served(&mut host);
        }
    });
}

/// Where attackers fill memory, others are served in time.
#[test]
fn s43_more_than_each_size_of_cell_is_served_around() {
    in_all_modes(|mode| {
        for cell_bytes in [64, 256, 1024, 4096, 8192] {
            let mut host = attack(&roomy_config(mode), |_| data_frame(16_000)[..=cell_bytes].to_vec());
            let honest = host.attach();
            host.send(honest, &data_frame(9_000));
            if cell_bytes > 64 {
                host.settle();
                assert!(host.peers[honest].frames.is_empty(), "given: memory is short");
                host.pass(host.pool.memory().config().wait_ns_max());
            }
            host.settle();
            assert_eq!(host.peers[honest].frames.len(), 1, "{cell_bytes}");
        }
    });
}

/// While receivers count, what attackers send fills no memory that others need.
#[test]
fn s43_more_than_each_size_of_cell_is_counted() {
    in_modes(&COUNTING_MODES, |mode| {
        for cell_bytes in [64, 256, 1024, 4096, 8192] {
            let host = Host::counting(&roomy_config(mode), usize::MAX);
            let mut host = attack_host(host, |_| data_frame(16_000)[..=cell_bytes].to_vec());
            assert!(cell_bytes == 64 || host.under_marks() > 0, "given: {cell_bytes} bytes each are too many");
            for _ in 0..HONEST {
                let honest = host.attach();
                host.send(honest, &data_frame(9_000));
                host.iterate();
                assert_eq!(host.peers[honest].frames.len(), 1, "{mode:?}, {cell_bytes}: served at once");
            }
            host.settle();
            assert_eq!(host.pool.totals().claims, 0);
        }
    });
}

#[test]
fn s44_service_recovers_when_attackers_leave() {
    in_all_modes(|mode| {
        // In the smallest cells; and in the worst case they fill all buffers, and the rest of them waits.
        for bytes in [5, 64, 4097, 16_000] {
            let mut host = attack(&roomy_config(mode), |_| data_frame(16_100)[..bytes].to_vec());
            assert!(bytes <= 64 || (host.held().0 >= FREE - 1 && host.held().1 > 0), "{:?}", host.held());
            let honest: Vec<usize> = (0..HONEST).map(|_| host.attach()).collect();
            for &peer in &honest {
                host.send(peer, &data_frame(9_000));
                host.settle();
            }
            for attacker in 0..ATTACKERS as usize {
                host.close(attacker);
            }
            // One may be assigned to a thread that waits.
            assert!(host.held().0 <= u32::from(HAS_SPARE), "all is free in the step of the last one");
            host.iterate();
            assert!(honest.iter().all(|&peer| host.peers[peer].frames.len() == 1), "full service at once");
            host.settle();
            assert_eq!(host.held(), (0, 0, 0));
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
    in_polled_modes(|mode| {
        let mut host = Host::new(&config(mode, 1));
        let peer = host.attach();
        let leases = host.take_all_buffers(0);
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
        assert_eq!(host.pool.totals().claims, 0, "without a buffer of its own");

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
        assert_eq!(host.held(), (0, 0, 0));
    });

    // The other direction of the deadlock: every buffer is blocked for want of exactly these frames.
    in_polled_modes(|mode| {
        const REQUESTS: u32 = 2 * FREE;
        let mut host = Host::new(&config(mode, REQUESTS + 1));
        for _ in 0..REQUESTS {
            let peer = host.attach();
            host.block(peer);
            host.send(peer, &data_frame(700));
        }
        host.settle();
        assert!(host.held().0 >= FREE - 1, "given: memory is short");
        let backend = host.attach();
        host.send(backend, &window_update());
        host.settle();
        assert_eq!(host.peers[backend].frames.len(), 1);
        for peer in 0..REQUESTS as usize {
            host.unblock(peer);
            host.resume(peer);
        }
        host.settle();
        assert!(host.peers.iter().all(|peer| peer.frames.len() == 1));
    });
}

#[test]
fn s48_statistics_are_answered_without_a_buffer() {
    let mut host = Host::new(&config(Mode::Level, 3));
    let mut leases = host.take_all_buffers(0);
    let peer = host.attach();
    host.send(peer, &data_frame(100));
    host.settle();
    let stats = host.pool.stats();
    assert_eq!((stats.scheduler.capacity, stats.scheduler.free, stats.scheduler.leased), (BUFFERS, 0, BUFFERS));
    assert_eq!((stats.memory_bytes, stats.memory_model.claims), (u64::from(BUFFERS) * 1024, 1));
    let info = host.pool.describe(host.peers[peer].id).expect("the handle is live");
    assert!(info.connection.is_waiting());
    assert_eq!(host.pool.stats(), stats, "asking changes nothing");
    host.make_room(&mut leases);
    host.settle();
    assert_eq!(host.peers[peer].frames.len(), 1);

    let pool = c::CPool::new(1, |_| {});
    let leases = pool.take_all_buffers();
    let receiver = pool.attach(2, &[]);
    pool.wait(receiver);
    let stats = pool.stats();
    assert_eq!(
        (stats.buffers, stats.free, stats.leased, stats.receivers),
        (BUFFERS, 0, BUFFERS, 1 + u32::from(HAS_SPARE))
    );
    assert_eq!(pool.stats(), stats, "asking changes nothing");
    leases[..2].iter().for_each(|&lease| assert_eq!(pool.release(lease), DEMUXBUF_OK));
    assert!(pool.poll_notice().is_some_and(|notice| notice.step.actions & DEMUXBUF_RECV != 0));
}

#[test]
fn s49_announcement_changes_nothing_that_is_held() {
    let head = FrameHeader { length: MAX_FRAME_SIZE_MAX, stream_id: 1, kind: kind::DATA, flags: 0 };
    in_all_modes(|mode| {
        let mut host = Host::new(&config(mode, 2));
        let reserved = host.pool.stats().memory_bytes;
        // Waited for as a whole, it can never fit, which is reported at once.
        let waits = host.attach();
        host.peers[waits].decoder.set_max_frame_size(MAX_FRAME_SIZE_MAX).expect("it may be announced");
        host.send(waits, &head.encode());
        host.settle();
        assert_eq!((host.peers[waits].misfits, host.buffered_bytes(waits)), (1, 9), "9 bytes came, 9 are held");
        assert_eq!(host.held(), (0, 0, 1), "in one of the smallest cells");
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
        assert_eq!(host.held(), (0, 0, 0), "nothing is kept for the 16 megabytes to come");
        assert_eq!(host.pool.stats().memory_bytes, reserved);
    });
}
