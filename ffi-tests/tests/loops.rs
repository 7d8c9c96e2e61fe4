//! The loops that the documentation prints, with real sockets: every byte comes back, none stalls, none spins.
#![allow(clippy::disallowed_methods, reason = "clients wait for the server")]

use demuxbuf_ffi_tests::Program;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread::{scope, sleep};
use std::time::Duration;

const MODES: [&str; 4] = ["level", "edge", "one-shot", "optimistic"];
/// The limit of every wait: what takes longer never comes.
const PATIENCE: Duration = Duration::from_secs(60);

/// The echo server that docs/c-api.md prints.
struct Server {
    child: Child,
    printed: BufReader<ChildStdout>,
    port: u16,
}

impl Server {
    fn start(program: &Path, mode: &str, connections: usize) -> Server {
        let mut child = Command::new(program)
            .args([mode, &connections.to_string()])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program that was just built starts");
        let mut printed = BufReader::new(child.stdout.take().expect("it is a pipe"));
        let mut line = String::new();
        printed.read_line(&mut line).expect("it prints its port");
        let port = line.strip_prefix("port ").expect("it prints its port").trim().parse().expect("a number");
        Server { child, printed, port }
    }

    fn connect(&self) -> TcpStream {
        let client = TcpStream::connect(("127.0.0.1", self.port)).expect("it listens");
        client.set_read_timeout(Some(PATIENCE)).expect("a time limit");
        client.set_nodelay(true).expect("an option of TCP");
        client
    }

    /// Waits until it ends by itself; returns how often its loop went round.
    fn end(mut self, connections: usize) -> u64 {
        let mut line = String::new();
        self.printed.read_line(&mut line).expect("it prints its summary");
        assert!(self.child.wait().expect("it ends").success());
        let mut named = String::new();
        self.child.stderr.take().expect("it is a pipe").read_to_string(&mut named).expect("it is text");
        // On a busy machine it gets no processor in time; that it wakes up at deadlines shows in what it does.
        let is_late = |line: &&str| line.starts_with("pool: slept ") && line.contains(" ms too long: ");
        let mistakes: Vec<_> = named.lines().filter(|line| !is_late(line)).collect();
        assert!(mistakes.is_empty(), "the audit names {mistakes:?}");
        let iterations = line.strip_prefix(&format!("{connections} connections, ")).expect("its summary");
        iterations.trim().strip_suffix(" iterations").expect("its summary").parse().expect("a number")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It ended, or the test failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn frame(payload_bytes: usize, seed: usize) -> Vec<u8> {
    let length = u16::try_from(payload_bytes).expect("two bytes of length").to_be_bytes();
    length.into_iter().chain((0..payload_bytes).map(|at| (at * 7 + seed) as u8)).collect()
}

/// Sends in pieces and compares what comes back with all of it.
fn echo(server: &Server, sent: &[u8], piece_bytes: usize, pause: Duration) {
    let mut client = server.connect();
    let mut writer = client.try_clone().expect("a descriptor");
    scope(|scope| {
        scope.spawn(move || {
            for piece in sent.chunks(piece_bytes) {
                writer.write_all(piece).expect("the server reads");
                sleep(pause);
            }
        });
        let mut seen = vec![0; sent.len()];
        client.read_exact(&mut seen).expect("all comes back in time");
        assert!(seen == sent, "another byte came back");
    });
    client.shutdown(Shutdown::Write).expect("it is open");
    assert_eq!(client.read(&mut [0]).expect("the server closes"), 0);
}

/// Waits until this many bytes have arrived, and leaves them unread.
fn wait_for(client: &TcpStream, bytes: usize) {
    while client.peek(&mut vec![0; bytes]).expect("they come in time") < bytes {
        sleep(Duration::from_millis(1));
    }
}

/// Frames of all sizes, trickled and at once; more connections than buffers; ends and resets inside frames.
fn s67_echo(mode: &str) {
    const CONNECTIONS: usize = 3 + 8 + 8 + 8;
    let program = Program::new(&format!("epoll_loop_{mode}"), &["examples/c/epoll_loop.c"]).build();
    let server = Server::start(&program, mode, CONNECTIONS);
    let many: Vec<u8> = (0..300).flat_map(|at| frame(at * 53 % 16_000, at)).collect();
    let small: Vec<u8> = (0..2000).flat_map(|at| frame(at % 5, at)).collect();
    let few: Vec<u8> = (0..5).flat_map(|at| frame(at * 9, at)).collect();
    scope(|scope| {
        scope.spawn(|| echo(&server, &many, 64_000, Duration::ZERO));
        scope.spawn(|| echo(&server, &small, 1013, Duration::ZERO));
        scope.spawn(|| echo(&server, &few, 1, Duration::from_millis(1)));
        for at in 0..8 {
            let (server, few) = (&server, &few);
            scope.spawn(move || {
                echo(server, &[few.as_slice(), &frame(9000, at)].concat(), 700, Duration::from_millis(2))
            });
            scope.spawn(move || {
                // A partial frame, then the end: the whole frames come back.
                let mut client = server.connect();
                client.write_all(&[few.as_slice(), &frame(50, at)[..20]].concat()).expect("the server reads");
                client.shutdown(Shutdown::Write).expect("it is open");
                let mut seen = Vec::new();
                client.read_to_end(&mut seen).expect("the server closes");
                assert!(seen == *few, "another byte came back");
            });
            scope.spawn(move || {
                // The echo is not read: closing resets the connection, in the middle of a frame.
                let mut client = server.connect();
                client.write_all(&[few.as_slice(), &frame(5000, at)[..1000]].concat()).expect("the server reads");
                wait_for(&client, few.len());
            });
        }
    });
    let iterations = server.end(CONNECTIONS);
    let pieces = (many.len() + small.len()) / 1000 + few.len() * 20 + 8 * 20;
    println!("{mode}: {iterations} iterations, {pieces} pieces");
    assert!(iterations < 2 * pieces as u64, "{mode}: {iterations} iterations for {pieces} pieces");
}

#[test]
fn s67_epoll_loop_level() {
    s67_echo(MODES[0]);
}

#[test]
fn s67_epoll_loop_edge() {
    s67_echo(MODES[1]);
}

#[test]
fn s67_epoll_loop_one_shot() {
    s67_echo(MODES[2]);
}

#[test]
fn s67_epoll_loop_optimistic() {
    s67_echo(MODES[3]);
}

/// Peers hold all memory with a part of a frame; four others wait, and reset. Until the holders leave, the loop has
/// nothing to do but to advance the clock.
#[test]
fn s72_hang_up_of_a_waiting_peer_does_not_spin() {
    // Two halves of each of the six buffers that others leave.
    const HOLDERS: usize = 12;
    let program = Program::new("epoll_loop_hang_up", &["examples/c/epoll_loop.c"]).build();
    for mode in MODES {
        let server = Server::start(&program, mode, HOLDERS + 4);
        let waiters: Vec<TcpStream> = (0..4).map(|_| server.connect()).collect();
        for mut client in &waiters {
            client.write_all(&frame(10, 0)).expect("the server reads");
            wait_for(client, 12);
        }
        let holders: Vec<TcpStream> = (0..HOLDERS).map(|_| server.connect()).collect();
        for mut client in &holders {
            client.write_all(&frame(9000, 0)[..5000]).expect("the server reads");
        }
        sleep(Duration::from_millis(100));
        for mut client in &waiters {
            client.write_all(&frame(9000, 0)[..200]).expect("the server reads");
        }
        sleep(Duration::from_millis(100));
        drop(waiters); // with 12 bytes unread: they are reset
        sleep(Duration::from_millis(300));
        drop(holders);
        let iterations = server.end(HOLDERS + 4);
        println!("{mode}: {iterations} iterations");
        assert!(iterations < 200, "{mode}: {iterations} iterations");
    }
}
