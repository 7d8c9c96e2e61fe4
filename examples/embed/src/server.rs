//! What the Rust servers have in common: options, the pool's settings, the signals that end them, the echo of a frame,
//! and the statistics at the end.

use crate::frames::HEADER_BYTES;
use clap::Parser;
use demuxbuf::connection::Mode;
use demuxbuf::pool::{PoolConfig, PoolStats};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Below 1,024, the usual limit of open descriptors.
pub const CONNECTIONS_MAX: usize = 1000;
/// The reason of `Block`: the peer does not read its echo.
pub const SOCKET_FULL: u32 = 1;
/// Of a buffer.
pub const BUFFER_BYTES: u32 = 16_448;

/// An echo server for frames of four bytes of length, big-endian, and a payload. It ends with SIGTERM or SIGINT.
#[derive(Clone, Debug, Parser)]
pub struct Options {
    /// Port on the loopback address; 0 for any, which is printed.
    #[arg(long, default_value_t = 0)]
    pub port: u16,
    /// The most memory to receive into.
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u64).range(160..=1_048_576))]
    pub memory_kib: u64,
}

/// Wake-ups of the loop, and how often a frame found the socket full.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Times the server was woken.
    pub wakeups: u64,
    /// Times decoding was blocked.
    pub blocked: u64,
}

/// The clock of a process.
#[derive(Clone, Copy, Debug)]
pub struct Clock(Instant);

impl Clock {
    /// Starts at 0.
    #[allow(clippy::disallowed_methods, reason = "the library has no clock, but its host does")]
    pub fn start() -> Clock {
        Clock(Instant::now())
    }

    /// Nanoseconds since the start.
    pub fn now_ns(&self) -> u64 {
        self.0.elapsed().as_nanos() as u64
    }

    /// The time that a pool means; `None` for never.
    pub fn at(&self, deadline_ns: u64) -> Option<Instant> {
        self.0.checked_add(Duration::from_nanos(deadline_ns))
    }
}

impl Options {
    /// The settings of a pool within `--memory-kib`.
    pub fn pool_config(&self, mode: Mode) -> PoolConfig {
        let mut config = PoolConfig::new(self.memory_kib * 1024, CONNECTIONS_MAX as u32);
        config.policy.mode = mode;
        config
    }

    /// Listens on the loopback address and prints the port.
    ///
    /// # Errors
    ///
    /// The port is taken.
    pub fn listen(&self) -> io::Result<TcpListener> {
        let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, self.port)))?;
        println!("port {}", listener.local_addr()?.port());
        listener.set_nonblocking(true)?;
        Ok(listener)
    }
}

/// A descriptor that is readable once the process is to end, for a loop that waits for descriptors.
///
/// # Errors
///
/// The system has no more descriptors.
pub fn signals() -> io::Result<UnixStream> {
    let (receiver, sender) = UnixStream::pair()?;
    signal_hook::low_level::pipe::register(signal_hook::consts::SIGINT, sender.try_clone()?)?;
    signal_hook::low_level::pipe::register(signal_hook::consts::SIGTERM, sender)?;
    receiver.set_nonblocking(true)?;
    Ok(receiver)
}

/// How far the frame at the front got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Echo {
    /// All of it is sent; its length.
    Sent(u32),
    /// Bytes that are missing of it, or of its header.
    Needs(u32),
    /// The socket has no room for the rest.
    Full,
    /// The peer is gone.
    Broken,
}

/// Length of the frame at the front with its header; of the header alone as long as that is not whole. What can never
/// fit is cut down to the smallest such length.
pub fn frame_bytes(data: &[u8]) -> u32 {
    let header = HEADER_BYTES as u32;
    data.first_chunk().map_or(header, |length| header + u32::from_be_bytes(*length).min(BUFFER_BYTES))
}

/// Sends the frame at the front from where it lies, until the socket is full. `sent` is how much of it is sent already.
pub fn echo(data: &[u8], sent: &mut usize, mut write: impl FnMut(&[u8]) -> io::Result<usize>) -> Echo {
    let frame_bytes = frame_bytes(data);
    let Some(frame) = data.get(..frame_bytes as usize) else { return Echo::Needs(frame_bytes - data.len() as u32) };
    while *sent < frame.len() {
        match write(&frame[*sent..]) {
            Ok(bytes) => *sent += bytes,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Echo::Full,
            Err(_) => return Echo::Broken,
        }
    }
    *sent = 0;
    Echo::Sent(frame_bytes)
}

/// The statistics at the end.
#[derive(Clone, Copy, Debug)]
pub struct Summary(PoolStats, Counts);

impl Summary {
    /// Of one pool, or of one thread's.
    pub fn new(stats: PoolStats, counts: Counts) -> Summary {
        Summary(stats, counts)
    }

    /// Of two threads, both of which are at their ends. Each counts memory, buffers and waits of all threads, and the
    /// rest of its own.
    pub fn and(self, other: Summary) -> Summary {
        let Summary(mut stats, mut counts) = other;
        stats.receivers += self.0.receivers;
        stats.shed += self.0.shed;
        stats.received_bytes += self.0.received_bytes;
        stats.consumed_bytes += self.0.consumed_bytes;
        stats.dropped_bytes += self.0.dropped_bytes;
        stats.memory_model.claims += self.0.memory_model.claims;
        counts.wakeups += self.1.wakeups;
        counts.blocked += self.1.blocked;
        Summary(stats, counts)
    }

    /// Prints all as `name number`. Status 0 if nothing was left behind, be it in one of the buffers that are leased
    /// beside those that receivers always have.
    pub fn finish(self, leased: u32) -> ExitCode {
        let Summary(stats, counts) = self;
        let left = [
            ("leased", leased),
            ("assigned", stats.scheduler.assigned),
            ("waiting", stats.scheduler.waiting),
            ("receivers", stats.receivers),
        ];
        let others = [
            ("memory_bytes", stats.memory_bytes),
            ("received_bytes", stats.received_bytes),
            ("consumed_bytes", stats.consumed_bytes),
            ("dropped_bytes", stats.dropped_bytes),
            ("queued", stats.memory_model.claims),
            ("shed", stats.shed),
            ("blocked", counts.blocked),
            ("wakeups", counts.wakeups),
        ];
        left.iter().for_each(|(name, number)| println!("{name} {number}"));
        others.iter().for_each(|(name, number)| println!("{name} {number}"));
        ExitCode::from(u8::from(left.iter().any(|(_, number)| *number != 0)))
    }
}
