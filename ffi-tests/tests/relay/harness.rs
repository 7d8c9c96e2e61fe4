//! A relay that runs, and a backend that a test plays itself.

use demuxbuf_ffi_tests::Program;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, getsockname, socket_with, sockopt};
use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// A pool level-triggered and edge-triggered, and one that threads share.
pub(crate) const POOLS: [&[&str]; 3] = [&[], &["--edge-triggered"], &["--threads", "2"]];

/// The same, and buffers without a pool.
pub(crate) const MODES: [&[&str]; 5] =
    [POOLS[0], POOLS[1], POOLS[2], &["--static-buffers"], &["--static-buffers", "--edge-triggered"]];

/// The least memory that a pool of one thread takes, for 8 buffers.
pub(crate) const LITTLE: &[&str] = &["--memory-kib", "129"];

/// The same for the two threads of [`POOLS`].
pub(crate) const LITTLE_FOR_TWO: &[&str] = &["--memory-kib", "257"];

/// This mode with little memory. Static buffers have no limit.
pub(crate) fn with_little(mode: &[&'static str]) -> Vec<&'static str> {
    let is_static = mode.contains(&"--static-buffers");
    let little = if mode.contains(&"--threads") { LITTLE_FOR_TWO } else { LITTLE };
    if is_static { mode.to_vec() } else { [mode, little].concat() }
}

/// Nothing in these tests takes that long, however busy the machine is; what does is stuck.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The relay's statistics.
#[derive(Debug)]
pub(crate) struct Stats(serde_json::Map<String, serde_json::Value>);

impl Stats {
    /// A number, by its key.
    pub(crate) fn get(&self, key: &str) -> u64 {
        let value = self.0.get(key).unwrap_or_else(|| panic!("statistics have no {key}"));
        value.as_u64().unwrap_or_else(|| panic!("{key} is {value}"))
    }

    /// The statistics of a relay without connections.
    fn check_rest(&self) {
        // Of a pool, some buffers are always in use: each thread has one to receive into, and some for the smallest
        // cells. Threads that share one have a spare one each.
        let in_use = if self.get("wait_ns_max") > 0 { self.get("leased") } else { 0 };
        let threads = self.get("threads");
        let spare = if threads > 1 { threads } else { 0 };
        assert!(in_use <= 2 * threads + spare + self.get("buffers") / 8, "{self:?}");
        let at_rest = ["connections", "receivers", "assigned", "waiting", "keeping"];
        let at_rest = at_rest.into_iter().chain(["receive_bytes_used", "client_buffers_held", "backend_buffers_held"]);
        for key in at_rest.chain(["misuses"]) {
            assert_eq!(self.get(key), 0, "{key} at rest: {self:?}");
        }
        assert_eq!(self.get("received_bytes"), self.get("relayed_bytes") + self.get("dropped_bytes"), "{self:?}");
        assert_eq!(self.get("leased"), in_use, "{self:?}");
        assert_eq!(self.get("free") + in_use, self.get("buffers"), "{self:?}");
    }
}

/// A relay in a process of its own.
pub(crate) struct Relay {
    child: Child,
    stdout: BufReader<ChildStdout>,
    address: SocketAddr,
    folder: tempfile::TempDir,
}

/// The relay's program, built once.
pub(crate) fn program() -> &'static PathBuf {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| Program { name: "h2relay_counted".into(), ..Program::h2relay() }.counted().build())
}

/// The command that starts the relay, under the words of `RUNNER` (valgrind) if it is set.
pub(crate) fn command() -> Command {
    let runner = std::env::var("RUNNER").unwrap_or_default();
    let mut words = runner.split_whitespace();
    match words.next() {
        None => Command::new(program()),
        Some(first) => {
            let mut command = Command::new(first);
            command.args(words).arg(program());
            command
        }
    }
}

impl Relay {
    /// Starts a relay before this backend.
    pub(crate) fn start(backend: SocketAddr, options: &[&str]) -> Relay {
        Relay::start_as(command(), backend, options)
    }

    pub(crate) fn start_as(mut command: Command, backend: SocketAddr, options: &[&str]) -> Relay {
        let folder = tempfile::tempdir().expect("a temporary folder");
        command.args(["--quiet", "--backend", &backend.to_string(), "--json"]).arg(folder.path().join("stats.json"));
        // On a busy machine a client may pause for long; it is shed only where a test's options set a grace.
        command.args(["--grace-ms", "3600000"]);
        let mut child = command.args(options).stdout(Stdio::piped()).spawn().expect("the relay starts");
        let mut stdout = BufReader::new(child.stdout.take().expect("stdout is a pipe"));
        let address = next_address(&mut stdout);
        Relay { child, stdout, address, folder }
    }

    /// Goes on with the next address that it listens to.
    pub(crate) fn turn_to_next_address(&mut self) {
        self.address = next_address(&mut self.stdout);
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The file descriptors that it has open.
    pub(crate) fn descriptors(&self) -> BTreeSet<usize> {
        let entries = std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).expect("the relay runs");
        let names = entries.map(|entry| entry.expect("the relay runs").file_name());
        names.map(|name| name.to_str().and_then(|name| name.parse().ok()).expect("a number")).collect()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).expect("the relay runs");
    }

    /// Statistics as of now.
    pub(crate) fn stats(&self) -> Stats {
        let path = self.folder.path().join("stats.json");
        // A file can only be new if the old one is gone.
        let _ = std::fs::remove_file(&path);
        self.signal(Signal::USR1);
        let start = Instant::now();
        loop {
            if let Ok(text) = std::fs::read_to_string(&path) {
                return Stats(serde_json::from_str(&text).expect("the file is whole"));
            }
            assert!(start.elapsed() < PATIENCE, "no statistics");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Waits until the statistics are as wanted; returns them.
    pub(crate) fn wait_for(&self, what: &str, is_there: impl Fn(&Stats) -> bool) -> Stats {
        let start = Instant::now();
        loop {
            let stats = self.stats();
            if is_there(&stats) {
                return stats;
            }
            assert!(start.elapsed() < PATIENCE, "never saw {what}: {stats:?}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Lets `time` pass while the relay is woken often. Of one long sleep, only an eighth of the grace would count.
    pub(crate) fn pass_time(&self, time: Duration) {
        let start = Instant::now();
        while start.elapsed() < time {
            self.stats();
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Ends the relay; checks that it ended in order and held nothing. Returns its last statistics.
    pub(crate) fn stop(mut self) -> Stats {
        let path = self.folder.path().join("stats.json");
        let _ = std::fs::remove_file(&path);
        self.signal(Signal::TERM);
        let status = self.child.wait().expect("the relay is a child");
        assert_eq!(status.code(), Some(0), "exit status");
        let text = std::fs::read_to_string(&path).expect("statistics at exit");
        let stats = Stats(serde_json::from_str(&text).expect("the file is whole"));
        stats.check_rest();
        stats
    }
}

fn next_address(stdout: &mut impl BufRead) -> SocketAddr {
    let mut line = String::new();
    stdout.read_line(&mut line).expect("the relay prints where it listens");
    let address = line.trim_end().strip_prefix("h2relay: listening on ").expect("the line is as documented");
    address.parse().expect("an address")
}

impl Drop for Relay {
    fn drop(&mut self) {
        // Only a test that failed leaves one behind.
        if self.child.try_wait().is_ok_and(|status| status.is_none()) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// A relay, and the backend that the test plays.
pub(crate) struct Bench {
    pub(crate) relay: Relay,
    backend: TcpListener,
}

impl Bench {
    pub(crate) fn start(options: &[&str]) -> Bench {
        Bench::start_as(command(), options)
    }

    pub(crate) fn start_as(command: Command, options: &[&str]) -> Bench {
        let backend = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let relay = Relay::start_as(command, backend.local_addr().expect("it is bound"), options);
        Bench { relay, backend }
    }

    /// A client's socket.
    pub(crate) fn client(&self) -> TcpStream {
        patient(TcpStream::connect(self.relay.address()).expect("the relay listens"))
    }

    /// As [`Bench::pair`], for a client with this address.
    pub(crate) fn pair_from(&self, source: [u8; 4]) -> (TcpStream, TcpStream) {
        // Not for relays that are started meanwhile.
        let flags = SocketFlags::CLOEXEC;
        let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None).expect("a descriptor");
        bind(&socket, &SocketAddr::from((source, 0))).expect("all of 127.0.0.0/8 is ours");
        connect(&socket, &self.relay.address()).expect("the relay listens");
        (patient(TcpStream::from(socket)), self.accept())
    }

    /// The backend's socket of the client that connected first and has none yet.
    pub(crate) fn accept(&self) -> TcpStream {
        patient(self.backend.accept().expect("the relay connects").0)
    }

    /// A client's socket and the backend's.
    pub(crate) fn pair(&self) -> (TcpStream, TcpStream) {
        let client = self.client();
        (client, self.accept())
    }

    /// A pair that has exchanged its first frames.
    pub(crate) fn open_pair(&self) -> (TcpStream, TcpStream) {
        let (mut client, mut backend) = self.pair();
        let (hello, answer) = (super::frames::client_opening(), super::frames::settings());
        pass(&mut client, &mut backend, &hello);
        pass(&mut backend, &mut client, &answer);
        (client, backend)
    }
}

/// An address that refuses connections, and that no other socket gets for as long as this one lives.
pub(crate) fn without_listener() -> (OwnedFd, SocketAddr) {
    let flags = SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None).expect("a descriptor");
    bind(&socket, &SocketAddr::from(([127, 0, 0, 1], 0))).expect("a free port");
    let address = getsockname(&socket).expect("it is bound").try_into().expect("an address with a port");
    (socket, address)
}

fn patient(socket: TcpStream) -> TcpStream {
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout above 0");
    socket.set_write_timeout(Some(PATIENCE)).expect("a timeout above 0");
    socket.set_nodelay(true).expect("a TCP socket");
    socket
}

/// Sends bytes and sees them come out at the other side, unchanged.
pub(crate) fn pass(from: &mut TcpStream, to: &mut TcpStream, bytes: &[u8]) {
    from.write_all(bytes).expect("the relay reads");
    expect(to, bytes);
}

/// Whether bytes, or the end, have arrived. Does not wait.
pub(crate) fn has_arrived(at: &TcpStream) -> bool {
    at.set_nonblocking(true).expect("a socket");
    let peeked = at.peek(&mut [0]);
    at.set_nonblocking(false).expect("a socket");
    !peeked.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
}

/// Sees exactly these bytes come next.
pub(crate) fn expect(from: &mut TcpStream, bytes: &[u8]) {
    let mut seen = vec![0; bytes.len()];
    from.read_exact(&mut seen).expect("the bytes come");
    assert!(seen == bytes, "bytes changed between the sockets");
}

/// Everything until the end.
pub(crate) fn read_all(from: &mut TcpStream) -> Vec<u8> {
    let mut seen = Vec::new();
    from.read_to_end(&mut seen).expect("it ends without an error");
    seen
}

/// Sees the end come next.
pub(crate) fn expect_end(from: &mut TcpStream) {
    let seen = read_all(from);
    assert!(seen.is_empty(), "{} bytes before the end: {:?}", seen.len(), &seen[..seen.len().min(64)]);
}

/// Ends the stream of a side.
pub(crate) fn finish(socket: &TcpStream) {
    socket.shutdown(Shutdown::Write).expect("the socket is connected");
}

/// Closes with a reset instead of an orderly end.
pub(crate) fn reset(socket: TcpStream) {
    sockopt::set_socket_linger(&socket, Some(Duration::ZERO)).expect("a TCP socket");
}
