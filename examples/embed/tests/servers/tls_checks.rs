//! What every server that speaks TLS must do.

use crate::checks::timed_wakeups;
use crate::client::{Client, TlsClient};
use crate::process::{PATIENCE, Running, Server};
use demuxbuf_embed::frames::{frame, many_frames};
use demuxbuf_ffi_tests::skip;
use socket2::{Domain, Socket, Type};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread::sleep;
use std::time::{Duration, Instant};

const AMPLE_KIB: u64 = 8192;
/// Payload of the largest record.
const RECORD_BYTES: usize = 16_384;

fn connect(server: &Running) -> Box<TlsClient> {
    let Client::Tls(client) = Client::connect(server) else { panic!("the server speaks TLS") };
    client
}

/// The records of these bytes, which are not sent.
fn seal(client: &mut TlsClient, bytes: &[u8]) -> Vec<u8> {
    let mut records = Vec::new();
    for piece in bytes.chunks(RECORD_BYTES) {
        client.tls.writer().write_all(piece).expect("there is room for a record");
        while client.tls.wants_write() {
            client.tls.write_tls(&mut records).expect("memory takes all");
        }
    }
    records
}

/// Sends bytes past the TLS library.
fn send_raw(client: &mut TlsClient, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        match client.socket.write(bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == ErrorKind::WouldBlock => sleep(Duration::from_millis(1)),
            Err(error) => panic!("{error}"),
        }
    }
}

/// Reads as many bytes as were sent, and compares each.
fn compare(client: Box<TlsClient>, sent: &[u8]) -> Box<TlsClient> {
    let mut client = Client::Tls(client);
    let mut seen = vec![0; sent.len()];
    client.read_exact(&mut seen).expect("the echo");
    assert!(seen == sent, "another byte came back");
    let Client::Tls(client) = client else { unreachable!("it spoke TLS") };
    client
}

/// Records that are larger than what is left of the buffer, many in one segment, and halves of records with pauses
/// between them. After each part the client waits for the echo, so that what TLS keeps back stays.
pub(crate) fn drains_records_of_every_size(server: &Server) {
    let began = Instant::now();
    let Some(running) = server.start(AMPLE_KIB) else { return };
    let mut random = fastrand::Rng::with_seed(5);
    let mut client = connect(&running);
    for _ in 0..6 {
        // Each record is full, and frames begin and end inside of it.
        let frames = many_frames(&mut random, 3 * RECORD_BYTES);
        let records = seal(&mut client, &frames);
        send_raw(&mut client, &records);
        client = compare(client, &frames);
        // Small ones, all in one segment, which a library that reads ahead takes at once.
        let small = [frame(&mut random, 1), frame(&mut random, 300), frame(&mut random, 0)].concat();
        let records: Vec<u8> = (0..20).flat_map(|_| seal(&mut client, &small)).collect();
        send_raw(&mut client, &records);
        client = compare(client, &small.repeat(20));
        // A half, a pause, the other half with the half of the next.
        let records = seal(&mut client, &frames);
        for piece in records.chunks(RECORD_BYTES / 2 + 300) {
            send_raw(&mut client, piece);
            sleep(Duration::from_millis(10));
        }
        client = compare(client, &frames);
    }
    drop(client);
    let statistics = running.stop();
    println!("{statistics:?}");
    let wakeups = statistics.get("wakeups");
    assert!(wakeups < 300 + timed_wakeups(began), "{wakeups} wake-ups: {statistics:?}");
}

/// A record that comes in 400 pieces. Where records are counted in the kernel, the poller sleeps until it is whole.
pub(crate) fn sleeps_beside_half_records(server: &Server, are_counted: bool) {
    let began = Instant::now();
    let Some(running) = server.start(AMPLE_KIB) else { return };
    let mut client = connect(&running);
    let large = frame(&mut fastrand::Rng::with_seed(6), RECORD_BYTES - 4);
    let records = seal(&mut client, &large);
    for piece in records.chunks(records.len() / 400) {
        if are_counted {
            send_raw(&mut client, piece);
            sleep(Duration::from_millis(2));
        } else {
            running.wakes_for(|| send_raw(&mut client, piece));
        }
    }
    drop(compare(client, &large));
    let statistics = running.stop();
    println!("{statistics:?}");
    let wakeups = statistics.get("wakeups");
    let allowed = if are_counted { 20 } else { 2 * 400 } + timed_wakeups(began);
    assert!(wakeups < allowed, "{wakeups} wake-ups: {statistics:?}");
    assert!(are_counted || wakeups > 200, "given: each piece wakes a server that does not count");
}

/// How much memory the halves of records of this many connections take, in bytes of each.
fn cost_of_half_records(server: &Server) -> Option<u64> {
    const CLIENTS: usize = 300;
    let running = server.start(AMPLE_KIB)?;
    let large = frame(&mut fastrand::Rng::with_seed(7), RECORD_BYTES - 4);
    let small = frame(&mut fastrand::Rng::with_seed(8), 100);
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let mut client = connect(&running);
        let records = seal(&mut client, &small);
        send_raw(&mut client, &records);
        clients.push(compare(client, &small));
    }
    let bytes_of_each = |before: u64| running.resident_kib().saturating_sub(before) * 1024 / CLIENTS as u64;
    // The answer to a key update costs something of its own.
    let before = running.resident_kib();
    for client in &mut clients {
        client.tls.refresh_traffic_keys().expect("TLS 1.3");
        client.write_out().expect("there is room");
    }
    running.rest();
    println!("{} bytes for each answer to a key update", bytes_of_each(before));
    // Again a key update, past which the library reads on, and a half.
    let before = running.resident_kib();
    let with_update = |client: &mut Box<TlsClient>| {
        client.tls.refresh_traffic_keys().expect("TLS 1.3");
        seal(client, &large)
    };
    let records: Vec<Vec<u8>> = clients.iter_mut().map(with_update).collect();
    for (client, records) in clients.iter_mut().zip(&records) {
        send_raw(client, &records[..RECORD_BYTES / 2]);
    }
    running.rest();
    let cost = bytes_of_each(before);
    for (mut client, records) in clients.into_iter().zip(&records) {
        send_raw(&mut client, &records[RECORD_BYTES / 2..]);
        drop(compare(client, &large));
    }
    let statistics = running.stop();
    println!("{cost} bytes for each half of a record, {statistics:?}");
    Some(cost)
}

/// The half of a record costs nothing where records are counted, and a read buffer of the TLS library where they are
/// not.
pub(crate) fn half_records_cost_no_read_buffer(counting: &Server, plain: &Server) {
    let Some((counted, uncounted)) = cost_of_half_records(counting).zip(cost_of_half_records(plain)) else { return };
    assert!(counted < 512, "{counted} bytes for the half of a record that is in the kernel");
    assert!(uncounted > 6_000, "given: {uncounted} bytes for the half of a record that was read");
}

/// Connections that wait for memory, each with a whole record in its socket: none of them is taken from there, whatever
/// the pool lends meanwhile. The few that come to their turn may have one.
pub(crate) fn waiting_connections_cost_no_record(server: &Server) {
    const WAITING: usize = 200;
    let Some(running) = server.start(server.least_kib) else { return };
    let large = frame(&mut fastrand::Rng::with_seed(11), 16_000);
    let small = frame(&mut fastrand::Rng::with_seed(12), 100);
    // Two halves of each buffer, at most; the others wait.
    let holding = 2 * server.least_kib as usize * 1024 / 16_448;
    let mut clients: Vec<_> = (0..holding + WAITING).map(|_| connect(&running)).collect();
    for client in &mut clients {
        let records = seal(client, &small);
        send_raw(client, &records);
    }
    let mut clients: Vec<_> = clients.into_iter().map(|client| compare(client, &small)).collect();
    for client in &mut clients[..holding] {
        let records = seal(client, &large[..5000]);
        send_raw(client, &records);
    }
    running.rest();
    let before = running.resident_kib();
    // Their time begins once all have sent, so that none comes to its deadline meanwhile.
    running.while_stopped(|| {
        for client in &mut clients[holding..] {
            let records = seal(client, &large[..12_000]);
            send_raw(client, &records);
        }
    });
    running.rest();
    let cost = running.resident_kib().saturating_sub(before) * 1024 / WAITING as u64;
    drop(clients);
    let statistics = running.stop();
    println!("{cost} bytes for each that waits, {statistics:?}");
    assert!(statistics.get("queued") >= WAITING as u64 / 2, "they do not wait: {statistics:?}");
    assert!(cost < 6_000, "{cost} bytes for each that waits");
}

/// A stream that ends with a close_notify is answered with one. A server knows when it is missing, between records and
/// inside of one, and does not answer.
pub(crate) fn truncation_is_no_end(server: &Server) {
    let Some(running) = server.start(AMPLE_KIB) else { return };
    let small = frame(&mut fastrand::Rng::with_seed(9), 100);
    for cut in [None, Some(0), Some(60), Some(3)] {
        let mut client = connect(&running);
        let records = seal(&mut client, &small);
        send_raw(&mut client, &records);
        client = compare(client, &small);
        if let Some(bytes) = cut {
            let records = seal(&mut client, &small);
            send_raw(&mut client, &records[..bytes]);
        } else {
            client.tls.send_close_notify();
            client.write_out().expect("there is room");
        }
        client.socket.shutdown(Shutdown::Write).expect("it is open");
        let end = Client::Tls(client).read(&mut [0]);
        match cut {
            None => assert!(matches!(end, Ok(0)), "not a close_notify: {end:?}"),
            Some(_) => assert!(end.is_err(), "the truncated stream is answered with {end:?}"),
        }
    }
    let statistics = running.stop();
    println!("{statistics:?}");
    assert_eq!(statistics.get("truncated"), 3, "{statistics:?}");
}

/// A client that has a receive buffer for hardly anything, and segments so small that the server's socket is full soon.
fn connect_small(server: &Running) -> Box<TlsClient> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.set_tcp_mss(536).expect("an option");
    socket.set_recv_buffer_size(4096).expect("an option");
    socket.connect(&server.address.into()).expect("it listens");
    Box::new(TlsClient::on(server, TcpStream::from(socket)))
}

/// Clients that send frames, then key updates, and read nothing. One after the other sends more frames before its key
/// updates, so that the socket of one of them is full just when the server has to answer a key update: the server
/// sleeps until it can write, and then all bytes come back.
pub(crate) fn sleeps_beside_key_updates_it_cannot_answer(server: &Server, must_write_first: bool) {
    /// In a row, of each client.
    const KEY_UPDATES: usize = 32;
    /// Of each the socket is full after about 100 frames. A frame is a quarter of the answers to that many key updates.
    const CLIENTS: usize = 250;
    /// The server has answered all that it can when the client begins to read: an echo that does not come by then is
    /// lost.
    const ECHO: Duration = Duration::from_secs(60);
    /// In each round an answer has to wait for several clients, for one, or for none: that depends on the kernel.
    const ROUNDS_MAX: u32 = 6;
    let small = frame(&mut fastrand::Rng::with_seed(10), 200);
    for _ in 0..ROUNDS_MAX {
        let began = Instant::now();
        let Some(running) = server.start(AMPLE_KIB) else { return };
        let mut clients = Vec::new();
        for before in 0..CLIENTS {
            let mut client = connect_small(&running);
            for _ in 0..before {
                client.tls.writer().write_all(&small).expect("there is room");
                let _ = client.write_out(); // what is left while the server's socket is full goes later
            }
            for _ in 0..KEY_UPDATES {
                client.tls.refresh_traffic_keys().expect("TLS 1.3");
            }
            client.tls.writer().write_all(&small).expect("there is room");
            let _ = client.write_out();
            clients.push((client, small.repeat(before + 1)));
        }
        running.rest(); // what can be written is written
        let before = running.cpu_ticks();
        sleep(Duration::from_millis(1500));
        let ticks = running.cpu_ticks() - before;
        assert!(ticks < 10, "it spins: {ticks} ticks of 10 ms");
        // All at once: a kernel whose window was closed looks again after longer and longer pauses.
        std::thread::scope(|scope| {
            for (mut client, sent) in clients {
                client.patience = ECHO;
                scope.spawn(move || drop(compare(client, &sent)));
            }
        });
        let statistics = running.stop();
        println!("{statistics:?}");
        let wakeups = statistics.get("wakeups");
        // Each frame may wake it, and each time that there is room.
        let records = (0..CLIENTS as u64).map(|before| before + 40).sum::<u64>();
        assert!(wakeups < records + timed_wakeups(began), "{wakeups} wake-ups: {statistics:?}");
        assert!(PATIENCE > began.elapsed(), "it took too long");
        if !must_write_first || statistics.get("wrote_first") > 0 {
            return;
        }
    }
    skip(&format!("a server that has to write first, no answer to a key update had to wait in {ROUNDS_MAX} rounds"));
}
