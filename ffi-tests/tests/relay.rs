//! The relay of `examples/c/h2relay` over real sockets: a test plays the clients and the backend.

#![allow(clippy::disallowed_methods, reason = "sockets take their time; the core has none")]

#[path = "relay/counting.rs"]
mod counting;
#[path = "relay/crowd.rs"]
mod crowd;
#[path = "relay/frames.rs"]
mod frames;
#[path = "relay/harness.rs"]
mod harness;
#[path = "relay/overload.rs"]
mod overload;
#[path = "relay/threads.rs"]
mod threads;

use frames::*;
use harness::*;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Output;
use std::time::Duration;

#[test]
fn frames_pass_unchanged_in_any_split() {
    let (from_client, from_backend) = ([PREFACE, &one_of_each()].concat(), one_of_each());
    for mode in MODES {
        let bench = Bench::start(mode);
        let mut pairs: Vec<_> = (1..from_client.len()).map(|split| (split, bench.pair())).collect();
        for (split, (client, backend)) in &mut pairs {
            client.write_all(&from_client[..*split]).expect("the relay reads");
            backend.write_all(&from_backend[..(*split).min(from_backend.len())]).expect("the relay reads");
        }
        let first_halves: u64 = pairs.iter().map(|(split, _)| (split + from_backend.len().min(*split)) as u64).sum();
        bench.relay.wait_for("the first halves", |stats| stats.get("received_bytes") == first_halves);
        for (split, (client, backend)) in &mut pairs {
            client.write_all(&from_client[*split..]).expect("the relay reads");
            backend.write_all(&from_backend[(*split).min(from_backend.len())..]).expect("the relay reads");
        }
        for (_, (client, backend)) in &mut pairs {
            expect(backend, &from_client);
            expect(client, &from_backend);
        }
        let count = pairs.len() as u64;
        drop(pairs);
        let stats = bench.relay.stop();
        assert_eq!(stats.get("relayed_bytes"), count * (from_client.len() + from_backend.len()) as u64);
        for (kind, each) in [("settings", 2), ("headers", 2), ("continuation", 2), ("data", 3), ("priority", 1)] {
            assert_eq!(stats.get(&format!("frames_client_{kind}")), count * each, "{kind}");
            assert_eq!(stats.get(&format!("frames_backend_{kind}")), count * each, "{kind}");
        }
        for kind in ["ping", "window_update", "other", "rst_stream", "goaway"] {
            assert_eq!(stats.get(&format!("frames_client_{kind}")), count, "{kind}");
        }
        assert_eq!(stats.get("requests"), count * 2);
        assert_eq!(stats.get("responses_ended"), count * 2);
        assert_eq!(stats.get("protocol_errors"), 0);
    }
}

#[test]
fn frames_pass_one_byte_at_a_time() {
    let bytes = [PREFACE, &one_of_each()].concat();
    for mode in MODES {
        let bench = Bench::start(mode);
        let (mut client, mut backend) = bench.pair();
        for byte in &bytes {
            client.write_all(std::slice::from_ref(byte)).expect("the relay reads");
            std::thread::sleep(Duration::from_micros(200));
        }
        expect(&mut backend, &bytes);
        bench.relay.stop();
    }
}

/// DATA frames of many sizes, also the largest, and a small frame between them.
fn large_body(seed: u64, bytes: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut body = Vec::new();
    while body.len() < bytes {
        let length = [random.usize(0..200), random.usize(0..16384), 16384][random.usize(0..3)];
        let payload: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(length).collect();
        body.extend(frame(DATA, 0, 1, &payload));
        body.extend(frame(PING, 0, 0, b"8 bytes."));
    }
    body
}

#[test]
fn large_bodies_pass_in_both_directions() {
    let (up, down) = (large_body(1, 6_000_000), large_body(2, 6_000_000));
    let more: [&[&str]; 4] = [
        LITTLE,
        &["--memory-kib", "129", "--edge-triggered"],
        &["--memory-kib", "257", "--threads", "2"],
        &["--memory-kib", "2", "--buffer-size", "192"],
    ];
    for mode in MODES.into_iter().chain(more) {
        let bench = Bench::start(mode);
        let (client, backend) = bench.open_pair();
        std::thread::scope(|scope| {
            scope.spawn(|| (&client).write_all(&up).expect("the relay reads"));
            scope.spawn(|| (&backend).write_all(&down).expect("the relay reads"));
            scope.spawn(|| expect(&mut client.try_clone().expect("a descriptor"), &down));
            // The sockets between fill up while the peer does not read.
            std::thread::sleep(Duration::from_millis(50));
            expect(&mut backend.try_clone().expect("a descriptor"), &up);
        });
        let stats = bench.relay.stop();
        assert_eq!(stats.get("dropped_bytes"), 0);
        assert_eq!(stats.get("protocol_errors"), 0);
        assert!(stats.get("epoll_ctl_calls") <= stats.get("recv_calls") + stats.get("send_calls") + 16, "{stats:?}");
    }
}

#[test]
fn half_close_leaves_the_other_direction_open() {
    for mode in MODES {
        let bench = Bench::start(mode);
        let (mut client, mut backend) = bench.open_pair();
        let (up, down) = (large_body(3, 400_000), large_body(4, 400_000));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                (&client).write_all(&up).expect("the relay reads");
                finish(&client);
            });
            assert!(read_all(&mut backend.try_clone().expect("a descriptor")) == up);
        });
        bench.relay.wait_for("the pair that goes on", |stats| stats.get("connections") == 1);
        pass(&mut backend, &mut client, &down);
        finish(&backend);
        expect_end(&mut client);
        bench.relay.wait_for("the end of the pair", |stats| stats.get("connections") == 0);

        let (mut client, mut backend) = bench.open_pair();
        finish(&backend);
        expect_end(&mut client);
        pass(&mut client, &mut backend, &request(1));
        drop(client);
        expect_end(&mut backend);
        bench.relay.wait_for("the end of the pair", |stats| stats.get("connections") == 0);
        assert_eq!(bench.relay.stop().get("goaway_sent"), 0);
    }
}

#[test]
fn truncated_frame_is_not_passed_on() {
    for mode in MODES {
        let bench = Bench::start(mode);
        let (mut client, mut backend) = bench.open_pair();
        let cut = frame(HEADERS, END_HEADERS, 1, &[1; 100]);
        client.write_all(&[frame(PING, 0, 0, b"8 bytes."), cut[..50].to_vec()].concat()).expect("the relay reads");
        finish(&client);
        assert_eq!(read_all(&mut backend), frame(PING, 0, 0, b"8 bytes."));
        finish(&backend);
        expect_end(&mut client);
        let stats = bench.relay.stop();
        assert_eq!((stats.get("truncated_frames"), stats.get("dropped_bytes")), (1, 50));
    }
}

/// Reads the answer to an offender; returns the GOAWAY's last stream and code.
fn read_farewell(from: &mut TcpStream) -> (u32, u32) {
    let farewell = std::iter::from_fn(|| Frame::read(from)).find_map(|frame| frame.goaway());
    let farewell = farewell.expect("a GOAWAY before the end");
    expect_end(from);
    farewell
}

const PROTOCOL_ERROR: u32 = 1;
const INTERNAL_ERROR: u32 = 2;
const FRAME_SIZE_ERROR: u32 = 6;

/// Bytes that neither side may send once the connection is open, and the code of the GOAWAY.
fn offences() -> Vec<(&'static str, Vec<u8>, u32)> {
    vec![
        ("DATA on stream 0", frame(DATA, 0, 0, b"x"), PROTOCOL_ERROR),
        ("a frame above the limit", frame(DATA, 0, 1, &[0; 16385]), FRAME_SIZE_ERROR),
        ("a short PING", frame(PING, 0, 0, &[0; 7]), FRAME_SIZE_ERROR),
        ("PING on a stream", frame(PING, 0, 1, &[0; 8]), PROTOCOL_ERROR),
        ("a crooked SETTINGS", frame(SETTINGS, 0, 0, &[0; 5]), FRAME_SIZE_ERROR),
        ("a limit that is not allowed", max_frame_size(16383), PROTOCOL_ERROR),
        ("a short WINDOW_UPDATE", frame(WINDOW_UPDATE, 0, 1, &[0; 3]), FRAME_SIZE_ERROR),
        ("a stray CONTINUATION", frame(CONTINUATION, END_HEADERS, 1, &[]), PROTOCOL_ERROR),
        ("a broken header block", [frame(HEADERS, 0, 3, b"x"), frame(PING, 0, 0, &[0; 8])].concat(), PROTOCOL_ERROR),
    ]
}

#[test]
fn client_protocol_error_gets_goaway() {
    for mode in MODES {
        let bench = Bench::start(mode);
        let mut goaways = 0;
        for (what, bytes, code) in offences() {
            let (mut client, mut backend) = bench.open_pair();
            pass(&mut client, &mut backend, &request(1));
            // Bytes behind an offence are read and thrown away, so that the GOAWAY survives.
            client.write_all(&[bytes.clone(), vec![0xff; 70_000]].concat()).expect("the relay reads");
            let (last_stream, goaway_code) = read_farewell(&mut client);
            assert_eq!(goaway_code, code, "{what}");
            let passed = read_all(&mut backend);
            assert!(bytes.starts_with(&passed) && passed.len() < bytes.len(), "{what}");
            assert_eq!(last_stream, if passed.is_empty() { 1 } else { 3 }, "{what}");
            goaways += 1;
        }
        for opening in [b"GET / HTTP/1.1\r\n\r\n".to_vec(), [PREFACE, &request(1)].concat(), b"P!".to_vec()] {
            let mut client = bench.client();
            client.write_all(&opening).expect("the relay reads");
            assert_eq!(read_farewell(&mut client), (0, PROTOCOL_ERROR));
            goaways += 1;
            bench.accept();
        }
        let stats = bench.relay.stop();
        assert_eq!((stats.get("protocol_errors"), stats.get("goaway_sent")), (goaways, goaways));
    }
}

#[test]
fn backend_protocol_error_gets_goaway() {
    for mode in MODES {
        let bench = Bench::start(mode);
        for (what, bytes, code) in offences() {
            let (mut client, mut backend) = bench.open_pair();
            backend.write_all(&bytes).expect("the relay reads");
            assert_eq!(read_farewell(&mut backend).1, code, "{what}");
            let passed = read_all(&mut client);
            assert!(bytes.starts_with(&passed) && passed.len() < bytes.len(), "{what}");
        }
        // Before the client has sent anything, the relay sends its SETTINGS.
        let (mut client, mut backend) = bench.pair();
        backend.write_all(&request(1)).expect("the relay reads");
        expect(&mut backend, PREFACE);
        assert_eq!(Frame::read(&mut backend).map(|frame| frame.kind), Some(SETTINGS));
        assert_eq!(read_farewell(&mut backend), (0, PROTOCOL_ERROR));
        expect_end(&mut client);
        bench.relay.stop();
    }
}

#[test]
fn goaway_is_never_inside_a_frame() {
    for mode in MODES {
        let bench = Bench::start(mode);
        let (mut client, mut backend) = bench.open_pair();
        let half = &frame(DATA, 0, 1, &[5; 1000])[..500];
        pass(&mut backend, &mut client, half);
        client.write_all(&frame(PING, 0, 0, &[0; 7])).expect("the relay reads");
        expect_end(&mut client);
        let stats = bench.relay.stop();
        assert_eq!((stats.get("protocol_errors"), stats.get("goaway_sent")), (1, 0));
    }
}

#[test]
fn frame_limit_is_what_the_peer_announced() {
    let long = frame(DATA, 0, 1, &[7; 20_000]);
    let ack = frame(SETTINGS, ACK, 0, &[]);
    for mode in MODES {
        let bench = Bench::start(mode);
        let (mut client, mut backend) = bench.open_pair();
        pass(&mut client, &mut backend, &ack);
        pass(&mut backend, &mut client, &max_frame_size(20_000));
        pass(&mut client, &mut backend, &long);
        // A lower limit holds once it is acknowledged, and not before.
        pass(&mut backend, &mut client, &max_frame_size(16_384));
        pass(&mut client, &mut backend, &[long.clone(), ack.clone()].concat());
        pass(&mut client, &mut backend, &[long.clone(), ack.clone()].concat());
        client.write_all(&long).expect("the relay reads");
        assert_eq!(read_farewell(&mut client).1, FRAME_SIZE_ERROR);

        let (mut client, mut backend) = bench.open_pair();
        pass(&mut client, &mut backend, &max_frame_size(20_000));
        pass(&mut backend, &mut client, &long);
        client.write_all(&long).expect("the relay reads");
        assert_eq!(read_farewell(&mut client).1, FRAME_SIZE_ERROR);
        bench.relay.stop();
    }
}

#[test]
fn oversized_headers_pass_in_pieces() {
    let largest = frame(HEADERS, 0, 1, &[3; 16384]);
    let rest = frame(CONTINUATION, END_HEADERS, 1, &[4; 16384]);
    let fits = frame(HEADERS, END_HEADERS, 3, &[5; 16384 - 9]);
    let bytes = [largest, rest, fits, frame(PING, 0, 0, b"8 bytes.")].concat();
    for mode in MODES {
        let bench = Bench::start(&[mode, &["--buffer-size", "16384"]].concat());
        let (mut client, mut backend) = bench.open_pair();
        pass(&mut client, &mut backend, &bytes);
        // Also when the other side stops reading in between, and when it arrives in small pieces.
        std::thread::scope(|scope| {
            scope.spawn(|| bytes.chunks(1009).for_each(|piece| (&backend).write_all(piece).expect("the relay reads")));
            expect(&mut client.try_clone().expect("a descriptor"), &bytes);
        });
        let stats = bench.relay.stop();
        assert_eq!(stats.get("oversized_headers"), 4);
        assert_eq!((stats.get("protocol_errors"), stats.get("dropped_bytes")), (0, 0));

        let bench = Bench::start(&[mode, &["--buffer-size", "128"]].concat());
        let (mut client, mut backend) = bench.open_pair();
        let many = [one_of_each(), bytes.clone(), frame(SETTINGS, 0, 0, &[0; 600])].concat();
        pass(&mut client, &mut backend, &many);
        // The other side may use limits of settings that the relay has not read.
        pass(&mut backend, &mut client, &frame(DATA, 0, 1, &[1; 100_000]));
        assert_eq!(bench.relay.stop().get("oversized_headers"), 4);
    }
}

#[test]
fn oversized_header_waits_for_a_slow_reader() {
    let header = [frame(HEADERS, 0, 1, &[3; 16384]), frame(CONTINUATION, END_HEADERS, 1, &[4; 16384])].concat();
    let bytes = header.repeat(400);
    for mode in MODES {
        let bench = Bench::start(&[mode, &["--buffer-size", "16384"]].concat());
        let (client, mut backend) = bench.open_pair();
        std::thread::scope(|scope| {
            scope.spawn(|| (&client).write_all(&bytes).expect("the relay reads"));
            // Slowly, so that the sockets are found full at many different places.
            for piece in bytes.chunks(100_000) {
                std::thread::sleep(Duration::from_millis(1));
                expect(&mut backend, piece);
            }
        });
        let stats = bench.relay.stop();
        assert_eq!(stats.get("oversized_headers"), 800);
        // Each receive is worth one send, and at most one that finds the socket full.
        assert!(stats.get("send_calls") <= 2 * stats.get("recv_calls") + 16, "{stats:?}");
    }
}

#[test]
fn backend_failure_is_reported_to_the_client() {
    for mode in MODES {
        let (_port, unused) = without_listener();
        let relay = Relay::start(unused, mode);
        let mut client = TcpStream::connect(relay.address()).expect("the relay listens");
        client.write_all(&[client_opening(), request(1)].concat()).expect("the relay reads");
        assert_eq!(Frame::read(&mut client).map(|frame| frame.kind), Some(SETTINGS), "a server sends it first");
        // The request went nowhere, and the client may know that.
        assert_eq!(read_farewell(&mut client), (0, INTERNAL_ERROR));
        drop(client);
        assert_eq!(relay.stop().get("backends_lost"), 1);

        let bench = Bench::start(mode);
        let (mut client, mut backend) = bench.open_pair();
        pass(&mut client, &mut backend, &request(1));
        pass(&mut backend, &mut client, &frame(DATA, 0, 1, &[5; 1000]));
        reset(backend);
        assert_eq!(read_farewell(&mut client), (1, INTERNAL_ERROR));

        let (mut client, mut backend) = bench.open_pair();
        pass(&mut backend, &mut client, &frame(DATA, 0, 1, &[5; 1000])[..500]);
        reset(backend);
        // No GOAWAY may be sent inside a frame.
        expect_end(&mut client);
        let stats = bench.relay.stop();
        assert_eq!((stats.get("backends_lost"), stats.get("goaway_sent")), (2, 1));
    }
}

#[test]
fn client_reset_closes_the_backend_connection() {
    for mode in MODES {
        let bench = Bench::start(mode);
        let (mut client, mut backend) = bench.open_pair();
        client.write_all(&frame(HEADERS, 0, 1, &[1; 500])[..300]).expect("the relay reads");
        bench.relay.wait_for("a partial frame", |stats| stats.get("receive_bytes_used") == 300);
        reset(client);
        expect_end(&mut backend);
        bench.relay.wait_for("the end of the pair", |stats| stats.get("connections") == 0);
        bench.relay.stop();
    }
}

#[test]
fn clients_above_the_limit_are_refused() {
    for mode in POOLS {
        let bench = Bench::start(&[mode, &["--connections", "2"]].concat());
        let (mut first, mut first_backend) = bench.open_pair();
        let second = bench.open_pair();
        expect_end(&mut bench.client());
        pass(&mut first, &mut first_backend, &request(1));
        drop(second);
        bench.relay.wait_for("one place", |stats| stats.get("connections") == 1);
        bench.open_pair();
        let stats = bench.relay.stop();
        assert_eq!((stats.get("refused"), stats.get("connections_peak"), stats.get("connections_total")), (1, 2, 3));
    }
}

#[test]
fn relay_listens_at_each_address() {
    let mut bench = Bench::start(&["--listen", "127.0.0.1:0", "--listen", "127.0.0.1:0"]);
    let _first = bench.open_pair();
    bench.relay.turn_to_next_address();
    let _second = bench.open_pair();
    assert_eq!(bench.relay.stats().get("connections"), 2);
    bench.relay.stop();
}

#[test]
fn clients_without_descriptors_are_refused() {
    let mut few = std::process::Command::new("sh");
    few.args(["-c", "ulimit -n 24; exec \"$0\" \"$@\""]).arg(program());
    let bench = Bench::start_as(few, &[]);
    let (mut first, mut first_backend) = bench.open_pair();
    let crowd: Vec<_> = (0..40).map(|_| bench.client()).collect();
    let taken = |stats: &Stats| stats.get("refused") + stats.get("connections_total") == 41;
    let stats = bench.relay.wait_for("all of them", taken);
    assert!(stats.get("refused") > 0, "descriptors never ran out");
    pass(&mut first, &mut first_backend, &request(1));
    drop(crowd);
    for _ in 1..stats.get("connections_total") {
        bench.accept();
    }
    bench.relay.wait_for("room", |stats| stats.get("connections") == 1);
    bench.open_pair();
    bench.relay.stop();
}

#[test]
fn statistics_always_have_every_key() {
    let keys = "uptime_ns connections connections_peak connections_total refused receivers buffers buffer_bytes free \
        leased assigned leased_peak waiting keeping grace_ms granted_by_handoff received_bytes dropped_bytes \
        memory_bytes receive_bytes_used client_buffers_held backend_buffers_held shed claims grants trials \
        shed_at_deadline evicted shed_for_memory longest_claim_ns wait_ns_max tenants goaway_sent protocol_errors \
        oversized_headers requests responses_ended frames_client_data frames_client_headers frames_client_priority \
        frames_client_rst_stream frames_client_settings frames_client_push_promise frames_client_ping \
        frames_client_goaway frames_client_window_update frames_client_continuation frames_client_other \
        frames_backend_data frames_backend_headers frames_backend_priority frames_backend_rst_stream \
        frames_backend_settings frames_backend_push_promise frames_backend_ping frames_backend_goaway \
        frames_backend_window_update frames_backend_continuation frames_backend_other threads wakes iterations \
        epoll_ctl_calls recv_calls send_calls rss_bytes";
    for mode in MODES {
        let bench = Bench::start(mode);
        let (mut client, _backend) = bench.open_pair();
        client.write_all(&frame(HEADERS, 0, 1, &[1; 500])[..300]).expect("the relay reads");
        let stats = bench.relay.wait_for("a partial frame", |stats| stats.get("receive_bytes_used") == 300);
        for key in keys.split_whitespace() {
            stats.get(key);
        }
        let is_static = mode.contains(&"--static-buffers");
        // Of a pool, a cell keeps it.
        let held = ["keeping", "client_buffers_held", "backend_buffers_held"].map(|key| stats.get(key));
        assert_eq!(held, if is_static { [0, 1, 1] } else { [1, 0, 0] }, "{mode:?}");
        assert_eq!(stats.get("wait_ns_max") > 0, !is_static);
        assert_eq!(stats.get("memory_bytes"), stats.get("buffers") * stats.get("buffer_bytes"));
        assert!(stats.get("rss_bytes") > 0 && stats.get("uptime_ns") > 0);
        // An end in the middle of everything is orderly too.
        assert_eq!(bench.relay.stop().get("dropped_bytes"), 300);
    }
}

#[test]
fn statistics_text_equals_json() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("stats.json");
    let mut child = command()
        .args(["--backend", "127.0.0.1:1", "--json"])
        .arg(&path)
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("the relay starts");
    let mut line = [0; 10];
    child.stdout.as_mut().expect("stdout is a pipe").read_exact(&mut line).expect("it listens");
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::INT)
        .expect("it runs");
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success());
    let json = std::fs::read_to_string(&path).expect("statistics at exit");
    let json: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&json).expect("JSON");
    let text = String::from_utf8(output.stderr).expect("text");
    for (key, value) in json {
        let is_there = |line: &str| line.split_whitespace().eq([key.as_str(), value.to_string().as_str()]);
        assert!(text.lines().any(is_there), "{key} {value} is not in:\n{text}");
    }
}

/// The buffers that a relay with these options has reserved, and all of its memory.
fn reserved(options: &[&str]) -> (u64, u64) {
    let stats = Relay::start("127.0.0.1:1".parse().expect("an address"), options).stop();
    (stats.get("buffers"), stats.get("memory_bytes"))
}

#[test]
fn memory_is_that_of_the_options() {
    assert_eq!(reserved(&[]), (63, 63 * 16448));
    assert_eq!(reserved(&["--memory-kib", "200"]), (12, 12 * 16448));
    assert_eq!(reserved(&["--memory-kib", "200", "--buffer-size", "512"]), (400, 400 * 512));
    // Threads share it.
    assert_eq!(reserved(&["--threads", "2"]), (127, 127 * 16448));
    assert_eq!(reserved(&["--memory-kib", "300", "--threads", "2"]), (18, 18 * 16448));
    let backend = ["--backend", "127.0.0.1:1"];
    let message = refused_with(&[&backend[..], &["--counting", "--static-buffers"]].concat());
    assert!(message.contains("--counting is given; it goes without --static-buffers"), "{message}");
    let message = refused_with(&[&backend[..], &["--memory-kib", "64", "--static-buffers"]].concat());
    assert!(message.contains("--memory-kib is \"64\"; allowed is none with --static-buffers"), "{message}");
    // Too little is refused by the library.
    for (options, sentence) in [
        (&["--memory-kib", "128"][..], "memory_bytes is 131072; allowed is"),
        (&["--memory-kib", "256", "--threads", "2"], "memory_bytes is 262144; allowed is"),
    ] {
        let output = command().args(backend).args(options).output().expect("the relay starts");
        let message = String::from_utf8(output.stderr).expect("text");
        assert!(output.status.code() == Some(1) && message.contains(sentence), "{message}");
    }
}

fn refused_with(arguments: &[&str]) -> String {
    let Output { status, stderr, .. } = command().args(arguments).output().expect("the relay starts");
    assert_eq!(status.code(), Some(2), "{arguments:?}");
    String::from_utf8(stderr).expect("text")
}

#[test]
fn bad_command_line_names_what_is_allowed() {
    let backend = ["--backend", "127.0.0.1:1"];
    for (option, value, allowed) in [
        ("--buffer-size", "100", "a multiple of 64 from 128 to 16777216"),
        ("--memory-kib", "0", "from 1 to 4294967295"),
        ("--memory-kib", "-1", "from 1 to 4294967295"),
        ("--memory-kib", "many", "from 1 to 4294967295"),
        ("--tenant", "port", "none, listener or address"),
        ("--tenants", "0", "from 1 to 1000000"),
        ("--grace-ms", "3600001", "from 1 to 3600000"),
        ("--connections", "99999999999999999999", "from 1 to 1000000"),
        ("--threads", "257", "from 1 to 256"),
        ("--listen", "nowhere", "HOST:PORT"),
        ("--backend", "127.0.0.1:65536", "from 0 to 65535"),
    ] {
        let message = refused_with(&[&backend[..], &[option, value]].concat());
        let named = value.rsplit(':').next().expect("at least one part");
        assert!([option, named, allowed].iter().all(|part| message.contains(part)), "{option} {value}: {message}");
    }
    assert!(refused_with(&[]).contains("--backend"));
    assert!(refused_with(&["--what"]).contains("--what"));
    assert!(refused_with(&[&backend[..], &["what"]].concat()).contains("what"));
    let help = command().arg("--help").output().expect("the relay starts");
    assert!(help.status.success() && String::from_utf8_lossy(&help.stdout).contains("--static-buffers"));
}
