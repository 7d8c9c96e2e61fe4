//! Many clients at once, most of them up to no good.

use super::frames::*;
use super::harness::*;
use rustix::process::Signal;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

/// One request and its response; returns how many bytes both have.
pub(crate) fn serve_once((client, backend): &mut (TcpStream, TcpStream), stream: u32) -> u64 {
    let request = request(stream);
    let response = [frame(HEADERS, END_HEADERS, stream, b"fine"), frame(DATA, END_STREAM, stream, &[1; 3000])].concat();
    pass(client, backend, &request);
    pass(backend, client, &response);
    (request.len() + response.len()) as u64
}

/// Clients that each send part of a frame's header and stay.
pub(crate) fn hold_on(bench: &Bench, count: usize, bytes: usize) -> Vec<(TcpStream, TcpStream)> {
    let mut pairs: Vec<_> = (0..count).map(|_| bench.pair()).collect();
    let part = [client_opening(), frame(HEADERS, 0, 1, &[1; 500])[..bytes].to_vec()].concat();
    for (client, _) in &mut pairs {
        client.write_all(&part).expect("the relay, or the kernel, takes it");
    }
    pairs
}

/// Whether it ends, in order or with a reset.
pub(crate) fn read_to_any_end(from: &mut TcpStream) -> bool {
    let mut seen = Vec::new();
    from.read_to_end(&mut seen).map_or_else(|error| error.kind() == ErrorKind::ConnectionReset, |_| true)
}

#[test]
fn partial_frames_hold_no_buffer() {
    for mode in POOLS {
        // There is a cell of 64 bytes in each 512 bytes; threads have equal shares of them.
        let bench = Bench::start(&[mode, &["--memory-kib", "300"]].concat());
        let mut attackers = hold_on(&bench, 200, 8);
        bench.relay.wait_for("partial frames", |stats| stats.get("receive_bytes_used") == 200 * 8);
        let mut honest = bench.open_pair();
        for stream in 0..50 {
            serve_once(&mut honest, stream * 2 + 1);
        }
        let stats = bench.relay.stats();
        let figures = ["client_buffers_held", "waiting", "keeping", "connections"].map(|key| stats.get(key));
        assert_eq!(figures, [0, 0, 200, 201]);
        assert_eq!((stats.get("requests"), stats.get("responses_ended")), (50, 50));
        // Kept bytes are not lost: each frame goes on where it stopped.
        for (client, backend) in &mut attackers {
            expect(backend, &client_opening());
            client.write_all(&frame(HEADERS, 0, 1, &[1; 500])[8..]).expect("the relay reads");
            expect(backend, &frame(HEADERS, 0, 1, &[1; 500]));
        }
        bench.relay.stop();
    }
}

/// The part of a large frame that a client sends: no buffer has room for two.
pub(crate) const PART_BYTES: u64 = 9000;

/// A frame that nearly fills a buffer, of which clients send a part and stay.
pub(crate) fn large() -> Vec<u8> {
    frame(HEADERS, END_HEADERS, 1, &[1; 12_000])
}

/// Whether of each client the part is received, or its first 64 bytes, and the client waits.
pub(crate) fn are_settled(stats: &Stats, clients: u64) -> bool {
    let [waiting, used] = ["waiting", "receive_bytes_used"].map(|key| stats.get(key));
    waiting <= clients && used == PART_BYTES * (clients - waiting) + 64 * waiting
}

/// Clients whose partial frames fill a little memory, so that some wait.
fn fill(bench: &Bench) -> Vec<(TcpStream, TcpStream)> {
    let mut pairs: Vec<_> = (0..16).map(|_| bench.open_pair()).collect();
    for (client, _) in &mut pairs {
        client.write_all(&large()[..PART_BYTES as usize]).expect("the kernel takes it");
    }
    bench.relay.wait_for("waiters", |stats| stats.get("waiting") >= 4 && are_settled(stats, 16));
    pairs
}

#[test]
fn waiting_client_is_served_once_others_leave() {
    for mode in POOLS {
        let bench = Bench::start(&with_little(mode));
        let holders = fill(&bench);
        let (mut client, mut backend) = bench.open_pair();
        let waiting = bench.relay.stats().get("waiting");
        client.write_all(&large()).expect("the kernel takes it");
        bench.relay.wait_for("one more that waits", |stats| stats.get("waiting") == waiting + 1);
        assert!(!has_arrived(&backend), "nothing gets through");
        // What fits is served meanwhile.
        pass(&mut backend, &mut client, &settings());
        drop(holders);
        expect(&mut backend, &large());
        serve_once(&mut (client, backend), 3);
        bench.relay.stop();
    }
}

#[test]
fn waiting_client_leaves_without_a_buffer() {
    for mode in POOLS {
        let bench = Bench::start(&with_little(mode));
        let mut holders = fill(&bench);
        for (client, _) in holders.drain(4..) {
            reset(client);
        }
        bench.relay.wait_for("their end", |stats| stats.get("connections") == 4 && stats.get("waiting") == 0);
        drop(holders);
        bench.relay.stop();
    }
}

#[test]
fn slow_reader_does_not_delay_others() {
    let body = frame(DATA, 0, 1, &[6; 16384]).repeat(600);
    for mode in MODES {
        let bench = Bench::start(&with_little(mode));
        let (mut slow, backend) = bench.open_pair();
        let mut honest = bench.open_pair();
        std::thread::scope(|scope| {
            scope.spawn(|| (&backend).write_all(&body).expect("the relay reads"));
            // Once the sockets are full, nothing is relayed but what the honest client exchanges.
            let relayed = || bench.relay.stats().get("relayed_bytes");
            let (start, mut before, mut rounds_alone) = (Instant::now(), relayed(), 0);
            for stream in 0.. {
                let bytes = serve_once(&mut honest, stream * 2 + 1);
                let now = relayed();
                if now - before == bytes {
                    rounds_alone += 1;
                } else {
                    assert!(start.elapsed() < PATIENCE, "the relay does not wait for the slow client");
                    rounds_alone = 0;
                }
                before = now;
                if rounds_alone == 50 {
                    break;
                }
            }
            assert!(before < body.len() as u64, "the body was too short to fill the sockets");
            expect(&mut slow, &body);
        });
        bench.relay.stop();
    }
}

#[test]
fn idle_holders_are_shed_for_others() {
    for mode in POOLS {
        let options = ["--memory-kib", "16", "--buffer-size", "1024", "--grace-ms", "100"];
        let bench = Bench::start(&[mode, &options].concat());
        let mut attackers = hold_on(&bench, 3, 100);
        for (_, backend) in &mut attackers {
            expect(backend, &client_opening());
        }
        bench.relay.pass_time(Duration::from_millis(400));
        assert_eq!(bench.relay.stats().get("shed"), 0, "no other client waits");
        attackers.extend(hold_on(&bench, 80, 100));
        let mut honest = bench.open_pair();
        for stream in 0.. {
            serve_once(&mut honest, 2 * stream + 1);
            if bench.relay.stats().get("shed") >= 20 {
                break;
            }
        }
        let (start, mut closed) = (Instant::now(), 0);
        while closed < 20 {
            assert!(start.elapsed() < PATIENCE, "{closed} of 20 are closed");
            attackers.retain_mut(|(client, backend)| {
                let is_closed = has_arrived(client);
                let are_both = !is_closed || (read_to_any_end(client) && read_to_any_end(backend));
                assert!(are_both, "both sides of a shed pair are closed");
                closed += u64::from(is_closed);
                !is_closed
            });
        }
        drop((attackers, honest));
        let stats = bench.relay.stop();
        assert!(stats.get("longest_claim_ns") <= stats.get("wait_ns_max"), "{stats:?}");
    }
}

#[test]
fn slow_readers_are_shed_for_others() {
    let body = frame(DATA, 0, 1, &[6; 16384]).repeat(600);
    for mode in POOLS {
        let bench = Bench::start(&[&with_little(mode)[..], &["--grace-ms", "100"]].concat());
        let slow: Vec<_> = (0..10).map(|_| bench.open_pair()).collect();
        std::thread::scope(|scope| {
            for (_, backend) in &slow {
                let (mut backend, body) = (backend, &body);
                // Cut short if its client is shed before the sockets have taken everything.
                scope.spawn(move || backend.write_all(body).unwrap_or_default());
            }
            // What the sockets did not take is kept for as long as the room is not needed.
            let partial: Vec<_> = (0..12).map(|_| bench.open_pair()).collect();
            for (client, _) in &partial {
                (&*client).write_all(&large()[..PART_BYTES as usize]).expect("the kernel takes it");
            }
            bench.relay.wait_for("sheds", |stats| stats.get("shed") >= 2);
            let mut honest = bench.open_pair();
            for stream in 0..20 {
                serve_once(&mut honest, 2 * stream + 1);
            }
            // Ends the clients that still send; a shed one is not connected any more.
            for (client, backend) in &slow {
                client.shutdown(Shutdown::Both).unwrap_or_default();
                backend.shutdown(Shutdown::Both).unwrap_or_default();
            }
        });
        drop(slow);
        bench.relay.stop();
    }
}

/// Sees that the relay falls asleep, and stays so for three looks in a row. Asking it wakes each thread up, and the
/// first once more for the answers.
pub(crate) fn check_asleep(bench: &Bench) {
    let figures = || {
        let stats = bench.relay.stats();
        ["threads", "iterations", "recv_calls", "send_calls", "epoll_ctl_calls"].map(|key| stats.get(key))
    };
    let (start, mut before, mut looks_asleep) = (Instant::now(), figures(), 0);
    while looks_asleep < 3 {
        std::thread::sleep(Duration::from_millis(100));
        let now = figures();
        let ([threads, iterations, calls @ ..], [_, iterations_later, calls_later @ ..]) = (before, now);
        let is_asleep = calls_later == calls && iterations_later <= iterations + 2 * threads;
        assert!(is_asleep || start.elapsed() < PATIENCE, "it does not sleep: {before:?}, then {now:?}");
        looks_asleep = if is_asleep { looks_asleep + 1 } else { 0 };
        before = now;
    }
}

#[test]
fn idle_relay_sleeps() {
    for mode in MODES {
        let bench = Bench::start(&with_little(mode));
        let mut pairs: Vec<_> = (0..10).map(|_| bench.open_pair()).collect();
        // Some ended one way, some hold parts of frames, some wait.
        for (client, _) in &mut pairs[..4] {
            finish(client);
        }
        for (index, (client, _)) in pairs[4..].iter_mut().enumerate() {
            client.write_all(&frame(HEADERS, 0, 1, &[1; 500])[..20 * (index + 1)]).expect("the relay reads");
        }
        check_asleep(&bench);
        drop(pairs);
        bench.relay.stop();
    }
}

/// Payload is passed on as it comes, and nothing of it is kept.
#[test]
fn payload_passes_in_the_pieces_that_come() {
    for mode in POOLS {
        let bench = Bench::start(mode);
        let (mut client, mut backend) = bench.open_pair();
        let data = frame(DATA, 0, 1, &[7; 100]);
        let mut passed = 0;
        for to in [9, 10, 11, 80, 109] {
            client.write_all(&data[passed..to]).expect("the relay reads");
            expect(&mut backend, &data[passed..to]);
            passed = to;
        }
        bench.relay.wait_for("nothing is kept", |stats| stats.get("receive_bytes_used") == 0);
        bench.relay.stop();
    }
}

#[test]
fn clients_that_leave_together_are_all_let_go() {
    for mode in MODES {
        // More than one iteration of the loop looks at, and nothing wakes it up meanwhile.
        let bench = Bench::start(mode);
        let mut pairs: Vec<_> = (0..150).map(|_| bench.pair()).collect();
        pairs.iter().for_each(|(client, _)| finish(client));
        pairs.iter_mut().for_each(|(_, backend)| expect_end(backend));
        pairs.iter().for_each(|(_, backend)| finish(backend));
        pairs.iter_mut().for_each(|(client, _)| expect_end(client));
        bench.relay.wait_for("the end of all", |stats| stats.get("connections") == 0);
        bench.relay.stop();
    }
}

/// The iterations of its loop that the relay needs for what happens while it stands still, and its figures then.
fn iterations_for(bench: &Bench, happens: impl FnOnce(), is_done: impl Fn(&Stats) -> bool) -> (u64, Stats) {
    let before = bench.relay.stats().get("iterations");
    bench.relay.signal(Signal::STOP);
    happens();
    bench.relay.signal(Signal::CONT);
    let start = Instant::now();
    loop {
        // Each look is an iteration more.
        std::thread::sleep(Duration::from_millis(300));
        let stats = bench.relay.stats();
        if is_done(&stats) {
            return (stats.get("iterations") - before, stats);
        }
        assert!(start.elapsed() < PATIENCE, "it is not done: {stats:?}");
    }
}

/// In an iteration 4 clients are let in, 8 are shed, and 8 ends are looked at, so that others need not wait for all.
#[test]
fn crowds_are_let_in_shed_and_let_go_a_few_at_a_time() {
    // As many as may wait for a backend.
    const CROWD: u64 = 120;
    const SHED_CROWD: u64 = 800;
    for mode in POOLS {
        let bench = Bench::start(mode);
        let mut clients = Vec::new();
        let come = || clients.extend((0..CROWD).map(|_| bench.client()));
        let (iterations, _) = iterations_for(&bench, come, |stats| stats.get("connections") == CROWD);
        assert!(iterations >= CROWD / 4, "{mode:?}: all were let in within {iterations}");
        let pairs: Vec<_> = clients.into_iter().map(|client| (client, bench.accept())).collect();
        let (iterations, _) = iterations_for(&bench, || drop(pairs), |stats| stats.get("connections") == 0);
        assert!(iterations >= CROWD / 8, "{mode:?}: all were let go within {iterations}");
        bench.relay.stop();

        let bench = Bench::start(&[mode, &["--memory-kib", "300", "--grace-ms", "1000", "--counting"]].concat());
        let mut pairs: Vec<_> = (0..SHED_CROWD).map(|_| bench.pair()).collect();
        let part = [client_opening(), large()[..PART_BYTES as usize].to_vec()].concat();
        let send = || pairs.iter_mut().for_each(|(client, _)| client.write_all(&part).expect("the kernel takes it"));
        let are_shed = |stats: &Stats| stats.get("shed") >= SHED_CROWD / 2 && stats.get("waiting") == 0;
        let (iterations, stats) = iterations_for(&bench, send, are_shed);
        let shed = stats.get("shed");
        assert!(iterations >= shed / 8, "{mode:?}: {shed} were shed within {iterations}");
        bench.relay.stop();
    }
}

#[test]
fn hung_up_connection_does_not_spin() {
    let chunk = frame(DATA, 0, 1, &[6; 16384]).repeat(4);
    for mode in MODES {
        let bench = Bench::start(mode);
        let (mut client, mut backend) = bench.open_pair();
        finish(&backend);
        expect_end(&mut client);
        // More than the backend's sockets take, then the end: both directions of the client's socket are over then,
        // and its last bytes lie before the relay.
        let mut sent = 0;
        let passed = |stats: &Stats| stats.get("frames_client_data") * (16384 + 9);
        loop {
            client.write_all(&chunk).expect("the kernel takes it");
            sent += chunk.len() as u64;
            std::thread::sleep(Duration::from_millis(2));
            if passed(&bench.relay.stats()) < sent {
                check_asleep(&bench);
                if passed(&bench.relay.stats()) < sent {
                    break;
                }
            }
        }
        finish(&client);
        check_asleep(&bench);
        let seen = read_all(&mut backend);
        assert!(seen.len() as u64 == sent && seen.chunks(chunk.len()).all(|seen| seen == chunk));
        bench.relay.wait_for("the end of the pair", |stats| stats.get("connections") == 0);
        bench.relay.stop();
    }
}

/// One of many ways to misbehave; what is left of the socket goes away with it.
fn misbehave(random: &mut fastrand::Rng, mut socket: TcpStream, opening: &[u8]) -> Option<TcpStream> {
    let mut bytes = match random.u8(0..4) {
        0 => Vec::new(),
        1 => (0..random.usize(0..3000)).map(|_| random.u8(..)).collect(),
        _ => [opening, &one_of_each(), &large_of_any_kind(random)].concat(),
    };
    if !bytes.is_empty() && random.bool() {
        let at = random.usize(0..bytes.len());
        bytes[at] ^= 1 << random.u8(0..8);
    }
    bytes.truncate(random.usize(0..bytes.len() + 1));
    socket.set_write_timeout(Some(Duration::from_millis(20))).expect("a timeout above 0");
    // The other side may not be reading; that is part of the test.
    let _ = socket.write_all(&bytes);
    match random.u8(0..5) {
        0 => reset(socket),
        1 => {
            let _ = socket.shutdown(Shutdown::Write);
        }
        2 => {
            socket.set_read_timeout(Some(Duration::from_millis(1))).expect("a timeout above 0");
            let _ = socket.read(&mut [0; 100]);
            return Some(socket);
        }
        3 => return Some(socket),
        _ => {}
    }
    None
}

fn large_of_any_kind(random: &mut fastrand::Rng) -> Vec<u8> {
    let kind = [DATA, HEADERS, PUSH_PROMISE, 0x99][random.usize(0..4)];
    frame(kind, END_HEADERS, 5, &vec![1; random.usize(4..16385)])
}

#[test]
fn relay_survives_random_peers() {
    let more: [&[&str]; 4] = [
        LITTLE,
        &["--memory-kib", "4", "--buffer-size", "256", "--edge-triggered"],
        &["--memory-kib", "129", "--counting"],
        &["--memory-kib", "129", "--counting", "--edge-triggered"],
    ];
    for (seed, mode) in (1..).zip(MODES.into_iter().chain(more)) {
        let mut random = fastrand::Rng::with_seed(seed);
        let bench = Bench::start(mode);
        let mut left = Vec::new();
        for _ in 0..150 {
            let (client, backend) = bench.pair();
            left.extend(misbehave(&mut random, client, &client_opening()));
            left.extend(misbehave(&mut random, backend, &[]));
            if random.u8(0..4) == 0 && !left.is_empty() {
                left.swap_remove(random.usize(0..left.len()));
            }
        }
        drop(left);
        serve_once(&mut bench.open_pair(), 1);
        let stats = bench.relay.wait_for("the end of all", |stats| stats.get("connections") == 0);
        assert!(stats.get("protocol_errors") > 0, "{stats:?}");
        bench.relay.stop();
    }
}
