//! A relay that leaves partial frames in the kernel while its memory is short.

use super::crowd::{PART_BYTES, check_asleep, large, serve_once};
use super::frames::*;
use super::harness::*;
use std::io::Write;
use std::net::TcpStream;

/// No deadline comes in a test.
const COUNTING: [&str; 3] = ["--counting", "--grace-ms", "3600000"];

/// Clients that send a part of a large frame and wait, more than there is memory for.
fn hold(bench: &Bench) -> Vec<(TcpStream, TcpStream)> {
    let mut holders: Vec<_> = (0..40).map(|_| bench.open_pair()).collect();
    for (client, _) in &mut holders {
        client.write_all(&large()[..PART_BYTES as usize]).expect("the kernel takes it");
    }
    holders
}

#[test]
fn counting_leaves_partial_frames_in_the_kernel() {
    for mode in POOLS {
        let bench = Bench::start(&[&with_little(mode)[..], &COUNTING].concat());
        let mut holders = hold(&bench);
        // Frames of every size are served beside them, small ones and those of a buffer.
        let (mut client, mut backend) = bench.open_pair();
        for stream in 0..10 {
            pass(&mut client, &mut backend, &large());
            pass(&mut backend, &mut client, &frame(DATA, 0, 1, &[3; 16_000]));
            serve_once(
                &mut (client.try_clone().expect("a handle"), backend.try_clone().expect("a handle")),
                2 * stream + 3,
            );
        }
        let stats = bench.relay.stats();
        assert_eq!(["claims", "waiting", "shed"].map(|key| stats.get(key)), [0; 3], "{stats:?}");
        assert!(stats.get("receive_bytes_used") < 40 * PART_BYTES, "{stats:?}");
        check_asleep(&bench);
        // What was left there is found as it is.
        for (client, backend) in &mut holders {
            client.write_all(&large()[PART_BYTES as usize..]).expect("the relay reads");
            expect(backend, &large());
        }
        bench.relay.stop();
    }
}

/// DATA passes frame by frame, and in pieces of a buffer if a frame is larger than one.
#[test]
fn counting_passes_data_of_any_length() {
    for mode in POOLS {
        let bench = Bench::start(&[&with_little(mode)[..], &COUNTING].concat());
        let _holders = hold(&bench);
        let (mut client, mut backend) = bench.open_pair();
        pass(&mut backend, &mut client, &max_frame_size(1 << 20));
        for bytes in [0, 1, 55, 56, 1000, 16_384, 16_440, 100_000] {
            pass(&mut client, &mut backend, &frame(DATA, 0, 1, &vec![5; bytes]));
        }
        bench.relay.stop();
    }
}

/// As [`hold`], of clients that passed enough before for their parts to have the last buffer as well.
fn hold_all(bench: &Bench) -> Vec<(TcpStream, TcpStream)> {
    let mut holders: Vec<_> = (0..40).map(|_| bench.open_pair()).collect();
    for (client, backend) in &mut holders {
        (0..4).for_each(|_| pass(client, backend, &frame(DATA, 0, 1, &[2; 16_384])));
    }
    for (client, _) in &mut holders {
        client.write_all(&large()[..PART_BYTES as usize]).expect("the kernel takes it");
    }
    bench.relay.wait_for("no free buffer", |stats| stats.get("free") == 0);
    holders
}

/// A frame that is longer than a buffer, and no DATA, passes in pieces. Where not even a part of it has a place, that
/// is found when its header was only looked at.
#[test]
fn counting_passes_frames_of_any_length_in_pieces() {
    for mode in POOLS {
        for hold in [hold, hold_all] {
            let bench = Bench::start(&[&with_little(mode)[..], &COUNTING].concat());
            let _holders = hold(&bench);
            // Threads serve some of them each.
            let mut others: Vec<_> = (0..4).map(|_| bench.open_pair()).collect();
            let (mut client, mut backend) = bench.open_pair();
            pass(&mut backend, &mut client, &max_frame_size(1 << 20));
            for (stream, bytes) in (1..).step_by(4).zip([16_440, 20_000, 100_000]) {
                let (short, long) = (request(stream), frame(HEADERS, END_HEADERS, stream + 2, &vec![5; bytes]));
                client.write_all(&[&short, &long[..1000]].concat()).expect("the kernel takes it");
                expect(&mut backend, &[&short, &long[..9]].concat());
                // The rest is yet to come; what fits into a buffer is served meanwhile.
                others.iter_mut().for_each(|other| _ = serve_once(other, stream));
                client.write_all(&long[1000..]).expect("the relay reads");
                expect(&mut backend, &long[9..]);
            }
            pass(&mut client, &mut backend, &request(13));
            let stats = bench.relay.stats();
            let figures = ["oversized_headers", "claims", "shed"].map(|key| stats.get(key));
            assert_eq!(figures, [3, 0, 0], "{stats:?}");
            bench.relay.stop();
        }
    }
}

/// Of a frame of 16 MiB the head alone is in the kernel, where it is looked at: it is passed on, once, and then
/// whatever comes.
#[test]
fn counting_passes_the_head_of_a_frame_to_come() {
    for mode in POOLS {
        for hold in [hold, hold_all] {
            let bench = Bench::start(&[&with_little(mode)[..], &COUNTING].concat());
            let _holders = hold(&bench);
            let (mut client, mut backend) = bench.open_pair();
            pass(&mut backend, &mut client, &max_frame_size((1 << 24) - 1));
            let long = frame(HEADERS, END_HEADERS, 1, &vec![5; (1 << 24) - 1]);
            pass(&mut client, &mut backend, &long[..9]);
            check_asleep(&bench);
            // Pieces of a buffer: what is less stays in the kernel until it is one.
            pass(&mut client, &mut backend, &long[9..][..6 * 16_448]);
            let stats = bench.relay.stats();
            let figures = ["oversized_headers", "claims", "shed"].map(|key| stats.get(key));
            assert_eq!(figures, [1, 0, 0], "{stats:?}");
            bench.relay.stop();
        }
    }
}

/// A peer that ends behind a part of a frame is noticed, however large the mark is that its socket waits under.
#[test]
fn counting_sees_the_end_behind_a_part() {
    for mode in POOLS {
        let bench = Bench::start(&[&with_little(mode)[..], &COUNTING].concat());
        let holders = hold(&bench);
        serve_once(&mut bench.open_pair(), 1);
        // Behind its end a part is received, and what has no room for that waits until others have left.
        let mut ended = Vec::new();
        for (position, (client, backend)) in holders.into_iter().enumerate() {
            if position % 2 == 0 {
                finish(&client);
                ended.push((client, backend));
            } else {
                reset(client);
            }
        }
        for (_, backend) in &mut ended {
            expect_end(backend);
        }
        drop(ended);
        bench.relay.wait_for("the end of all", |stats| stats.get("connections") == 0);
        bench.relay.stop();
    }
}
