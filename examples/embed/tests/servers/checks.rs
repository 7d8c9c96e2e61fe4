//! What every server must do.

use crate::client::Client;
use crate::process::{PATIENCE, Running, Server};
use demuxbuf_embed::frames::{HEADER_BYTES, frame, many_frames};
use demuxbuf_embed::load::{self, Load};
use rustix::net::sockopt::set_socket_linger;
use rustix::net::{SendFlags, send};
use std::io::{Read, Write};
use std::net::Shutdown;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// A buffer for each connection, so that a server closes none of them.
const AMPLE_KIB: u64 = 8192;
/// Less than 200 partial frames need.
const SCARCE_KIB: u64 = 512;

fn run_load(running: &Running, load: Load) -> load::Outcome {
    let load = Load { certificate: running.certificate.clone(), ..load };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(load::run(running.address, &load)).unwrap_or_else(|error| panic!("{error}"))
}

/// The wake-ups for deadlines since then: while memory is short, each thread advances the clock eight times a second. A
/// server that spins has tens of thousands more.
pub(crate) fn timed_wakeups(began: Instant) -> u64 {
    50 * (began.elapsed().as_secs() + 1)
}

fn load() -> Load {
    let patience_s = PATIENCE.as_secs();
    Load { honest: 200, partial: 0, resets: 40, oversized: 10, steady: false, seed: 1, patience_s, certificate: None }
}

/// 200 honest clients, resets and frames that do not fit: all bytes come back.
pub(crate) fn serves_a_crowd(server: &Server) {
    let began = Instant::now();
    let Some(running) = server.start(AMPLE_KIB) else { return };
    let outcome = run_load(&running, load());
    let statistics = running.stop();
    println!("{} bytes compared, {statistics:?}", outcome.compared_bytes);
    assert_eq!(statistics.get("shed"), 0, "memory was scarce: {statistics:?}");
    assert!(statistics.get("consumed_bytes") >= outcome.compared_bytes, "{statistics:?}");
    // 2,000 to 15,000 are normal.
    assert!(statistics.get("wakeups") < 50_000 + timed_wakeups(began), "it spins: {statistics:?}");
}

/// 200 partial frames take all memory and stay; honest clients are served all the same. The end comes while partial
/// frames are held.
pub(crate) fn outlives_partial_frames(server: &Server) {
    let Some(running) = server.start(SCARCE_KIB) else { return };
    let outcome = run_load(&running, Load { honest: 60, partial: 200, resets: 20, steady: true, ..load() });
    assert_eq!(outcome.partial.len(), 200);
    let statistics = running.stop();
    println!("{} bytes compared, {statistics:?}", outcome.compared_bytes);
    let is_short = statistics.get("queued") > 0 && statistics.get("shed") > 0;
    assert!(is_short || server.counts, "no shortage: {statistics:?}");
}

/// Sends a frame, so that the server knows this client, and waits for the echo; without TLS, but for its last byte.
fn greet(client: &mut Client) {
    let greeting = frame(&mut fastrand::Rng::with_seed(1), 20);
    client.write_all(&greeting).expect("the server reads");
    client.read_exact(&mut vec![0; greeting.len() - 1]).expect("the echo");
    if let Client::Plain(socket) = client {
        socket.peek(&mut [0]).expect("its last byte");
    }
}

/// Each client sends these bytes in 50 pieces, unless the server closes it before.
fn grow(clients: &mut [Client], bytes: &[u8]) {
    for client in &mut *clients {
        client.socket().set_nodelay(true).expect("an option of TCP");
    }
    for piece in bytes.chunks(bytes.len() / 50) {
        for client in &mut *clients {
            let _ = client.write_all(piece);
            sleep(Duration::from_micros(300));
        }
    }
}

/// Silent peers, peers that hold all memory with partial frames, that wait for memory, and that hang up or send an
/// urgent byte meanwhile: the server sleeps but for its deadlines. One that counts is not woken by frames that grow.
pub(crate) fn sleeps_beside_peers_that_wait(server: &Server) {
    let began = Instant::now();
    let Some(running) = server.start(server.least_kib) else { return };
    let partial = frame(&mut fastrand::Rng::with_seed(2), 9000);
    // Two halves of each buffer, at most.
    let holders_max = 2 * server.least_kib as usize * 1024 / 16_448;
    let mut clients: Vec<Client> = (0..holders_max + 8).map(|_| Client::connect(&running)).collect();
    clients.iter_mut().for_each(greet);
    // The first hold, the others wait.
    let (waiting, holding) = clients.split_at_mut(8);
    for clients in [&mut *holding, &mut *waiting] {
        for client in clients {
            client.write_all(&partial[..5000]).expect("the server reads");
        }
        running.rest();
    }
    for (at, client) in waiting.iter().enumerate() {
        match at % 3 {
            0 => client.socket().shutdown(Shutdown::Write).expect("it is open"),
            1 => set_socket_linger(client.socket(), Some(Duration::ZERO)).expect("an option of TCP"),
            _ => _ = send(client.socket(), b"!", SendFlags::OOB).expect("there is room for a byte"),
        }
    }
    for client in &mut *holding {
        send(client.socket(), b"!", SendFlags::OOB).expect("there is room for a byte");
    }
    if server.counts {
        grow(holding, &partial[5000..8000]);
    }
    // Accepted, greeted, a partial frame and what it did then: four events of each client, at most.
    let events_max = 4 * clients.len() as u64;
    let stay = clients.into_iter().enumerate().filter(|(at, _)| *at >= 8 || at % 3 != 1).collect::<Vec<_>>();
    sleep(Duration::from_millis(1000));
    let statistics = running.stop();
    println!("{} stayed, {statistics:?}", stay.len());
    // With counting, only those wait for memory that hung up.
    assert_eq!(statistics.get("queued") >= 8, !server.counts, "{statistics:?}");
    let wakeups = statistics.get("wakeups");
    assert!(wakeups < events_max + 100 + timed_wakeups(began), "{wakeups} wake-ups: {statistics:?}");
}

/// Partial frames keep all buffers that the kernel chooses from. The first eight peers send a frame then, and are
/// served.
fn keep_all_buffers(running: &Running, buffers: usize) -> Vec<Client> {
    let partial = frame(&mut fastrand::Rng::with_seed(2), 9000);
    let mut clients: Vec<Client> = (0..2 * buffers).map(|_| Client::connect(running)).collect();
    clients.iter_mut().for_each(greet);
    let (served, keeping) = clients.split_at_mut(8);
    for client in keeping {
        client.write_all(&partial[..5000]).expect("the server reads");
    }
    running.rest();
    served.iter_mut().for_each(greet);
    running.rest();
    clients
}

/// While there are no buffers to choose from, the server sleeps until there is more of a peer.
pub(crate) fn sleeps_without_buffers(server: &Server, buffers: usize) {
    let began = Instant::now();
    let Some(running) = server.start(server.least_kib) else { return };
    let clients = keep_all_buffers(&running, buffers);
    stops_without_spinning(running, clients.len(), began);
}

fn stops_without_spinning(running: Running, clients: usize, began: Instant) {
    // Accepted, greeted once or twice, a partial frame, and its end.
    let events_max = 8 * clients as u64;
    let statistics = running.stop();
    println!("{statistics:?}");
    assert!(statistics.get("queued") > 0, "{statistics:?}");
    let wakeups = statistics.get("wakeups");
    assert!(wakeups < events_max + timed_wakeups(began), "{wakeups} wake-ups: {statistics:?}");
}

/// Peers that end their streams and peers that reset meanwhile are closed, each at once.
pub(crate) fn closes_peers_without_buffers(server: &Server, buffers: usize) {
    let began = Instant::now();
    let Some(running) = server.start(server.least_kib) else { return };
    let mut clients = keep_all_buffers(&running, buffers);
    let sockets = running.sockets();
    let mut ended: Vec<Client> = clients.drain(..4).collect();
    for client in clients.drain(..4) {
        set_socket_linger(client.socket(), Some(Duration::ZERO)).expect("an option of TCP");
    }
    for client in &mut ended {
        client.socket().shutdown(Shutdown::Write).expect("it is open");
        // The last byte of each echo, and the end.
        assert_eq!(client.read_to_end(&mut Vec::new()).expect("it closes"), 2);
    }
    while running.sockets() > sockets - 8 {
        assert!(began.elapsed() < PATIENCE, "it does not close them");
        sleep(Duration::from_millis(10));
    }
    stops_without_spinning(running, clients.len() + 8, began);
}

/// The peers behind those that hold the least memory wait. When they reset they leave the queue at once: nothing waits
/// any more, so that no holder is shed.
pub(crate) fn forgets_waiting_peers_that_reset(server: &Server, holders: usize) {
    let Some(running) = server.start(server.least_kib) else { return };
    let partial = frame(&mut fastrand::Rng::with_seed(2), 9000);
    let mut clients: Vec<Client> = (0..holders + 8).map(|_| Client::connect(&running)).collect();
    clients.iter_mut().for_each(greet);
    let send = |clients: &mut [Client]| {
        // None of their time passes until all of them have sent.
        running.while_stopped(|| {
            for client in clients {
                client.write_all(&partial[..5000]).expect("the kernel takes it");
            }
        });
        running.rest();
    };
    let (holding, waiting) = clients.split_at_mut(holders);
    send(holding);
    send(waiting);
    for client in clients.drain(holders..) {
        set_socket_linger(client.socket(), Some(Duration::ZERO)).expect("an option of TCP");
    }
    sleep(Duration::from_millis(2500));
    let statistics = running.stop();
    println!("{} stayed, {statistics:?}", clients.len());
    assert!(statistics.get("queued") >= 8, "none waited: {statistics:?}");
    assert_eq!(statistics.get("shed"), 0, "{statistics:?}");
}

/// Sends the same frames again and again without reading, until nothing can be written though the server sleeps.
/// Returns how many bytes were sent.
fn flood(running: &Running, client: &mut Client, frames: &[u8]) -> usize {
    client.socket().set_write_timeout(Some(Duration::from_millis(200))).expect("a time limit");
    let (mut sent, mut has_rested) = (0, false);
    while sent < 200 * frames.len() {
        match client.write(&frames[sent % frames.len()..]) {
            Ok(bytes) => (sent, has_rested) = (sent + bytes, false),
            Err(_) if has_rested => return sent,
            Err(_) => (_, has_rested) = (running.rest(), true),
        }
    }
    panic!("the server takes in {sent} bytes of which it can send nothing")
}

/// Peers that do not read. Then one ends its stream and reads slowly, one hangs up, one goes on not reading, and one
/// reads all and sends more: the server sleeps until it can send, does not ask for that when it has nothing, and still
/// receives.
pub(crate) fn sleeps_beside_peers_that_do_not_read(server: &Server) {
    let began = Instant::now();
    let Some(running) = server.start(AMPLE_KIB) else { return };
    let frames = many_frames(&mut fastrand::Rng::with_seed(3), 300_000);
    let mut clients: Vec<Client> = (0..4).map(|_| Client::connect(&running)).collect();
    let sent: Vec<usize> = clients.iter_mut().map(|client| flood(&running, client, &frames)).collect();
    if let Client::Plain(socket) = &clients[0] {
        socket.shutdown(Shutdown::Write).expect("it is open");
    }
    let mut seen = vec![0; frames.len()];
    for client in [0, 3] {
        for _ in 0..sent[client] / frames.len() {
            clients[client].read_exact(&mut seen).expect("the echo");
            assert!(seen == frames, "another byte came back");
            // Slowly where the stream has ended: the end is there while the server waits for room again and again.
            sleep(Duration::from_millis(if client == 0 { 30 } else { 0 }));
        }
    }
    // Where the server waited for room and for bytes at the same time, it must not forget the bytes.
    clients[3].write_all(&frames[sent[3] % frames.len()..]).expect("the server reads");
    clients[3].read_exact(&mut seen).expect("the echo");
    assert!(seen == frames, "another byte came back");
    set_socket_linger(clients[1].socket(), Some(Duration::ZERO)).expect("an option of TCP");
    clients.remove(1);
    sleep(Duration::from_millis(1000));
    let statistics = running.stop();
    println!("{statistics:?}");
    assert!(statistics.get("blocked") >= 4, "it received what it could not send: {statistics:?}");
    let (wakeups, least) = (statistics.get("wakeups"), statistics.get("received_bytes") / 16_448);
    assert!(wakeups < 2 * least + 250 + timed_wakeups(began), "{wakeups} wake-ups: {statistics:?}");
}

/// Clients send bursts of small frames, cut anywhere: fewer and larger ones come back, with the same payload in the
/// same order. What is folded may lie behind kept bytes.
pub(crate) fn folds_frames_in_place(server: &Server) {
    let began = Instant::now();
    let Some(running) = server.start(server.least_kib) else { return };
    let mut random = fastrand::Rng::with_seed(4);
    let mut clients: Vec<Client> = (0..40).map(|_| Client::connect(&running)).collect();
    let (mut sent, mut folded) = (0, 0);
    for _ in 0..20 {
        let bursts: Vec<Vec<Vec<u8>>> = clients.iter().map(|_| burst(&mut random)).collect();
        let cuts: Vec<usize> = bursts.iter().map(|burst| random.usize(..burst.concat().len())).collect();
        for part in [0, 1] {
            for ((client, burst), cut) in clients.iter_mut().zip(&bursts).zip(&cuts) {
                let bytes = burst.concat();
                let (first, second) = bytes.split_at(*cut);
                client.write_all([first, second][part]).expect("the server reads");
            }
        }
        for (client, burst) in clients.iter_mut().zip(&bursts) {
            sent += burst.len();
            folded += compare_folded(client, burst);
        }
    }
    drop(clients);
    let statistics = running.stop();
    println!("{sent} frames came back as {folded}, {statistics:?}");
    assert!(folded < sent / 2, "{folded} of {sent} frames came back");
    assert_eq!((statistics.get("shed"), statistics.get("dropped_bytes")), (0, 0), "{statistics:?}");
    let wakeups = statistics.get("wakeups");
    assert!(wakeups < 20 * 4 * 40 + timed_wakeups(began), "{wakeups} wake-ups: {statistics:?}");
}

/// Small frames, some without payload.
fn burst(random: &mut fastrand::Rng) -> Vec<Vec<u8>> {
    let small_frame = |_| {
        let payload_bytes = random.usize(..120);
        frame(random, payload_bytes)
    };
    (0..25).map(small_frame).collect()
}

/// Reads as many payload bytes as these frames have, and compares each; how many frames they came in.
fn compare_folded(client: &mut Client, frames: &[Vec<u8>]) -> usize {
    let payload = |frame: &Vec<u8>| frame[HEADER_BYTES..].to_vec();
    let sent: Vec<u8> = frames.iter().flat_map(payload).collect();
    let (mut seen, mut count) = (Vec::new(), 0);
    // An empty frame behind all payload is not waited for: the next burst begins with it.
    while seen.len() < sent.len() {
        let mut header = [0; HEADER_BYTES];
        client.read_exact(&mut header).expect("the echo");
        let at = seen.len();
        seen.resize(at + u32::from_be_bytes(header) as usize, 0);
        client.read_exact(&mut seen[at..]).expect("the echo");
        count += 1;
    }
    assert!(seen == sent, "another payload came back");
    count
}

/// A wrong option ends the server with status 2 and what is allowed.
pub(crate) fn refuses_wrong_options(server: &Server, own: &[(&[&str], &str)]) {
    let common: [(&[&str], &str); 7] = [
        (&["--port", "65536"], "65535"),
        (&["--port=-1"], "65535"),
        (&["--port"], ""),
        (&["--memory-kib", "159"], "160"),
        (&["--memory-kib", "1048577"], "1048576"),
        (&["--memory-kib", "many"], "many"),
        (&["--bogus", "1"], "bogus"),
    ];
    let server = Server { options: &[], ..server.clone() };
    for (options, allowed) in common.iter().chain(own) {
        let output = server.command(options).output().expect("it starts");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{options:?}: {errors}");
        assert!(!errors.is_empty() && errors.contains(allowed), "{options:?}: {errors}");
    }
}
