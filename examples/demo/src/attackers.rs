//! Connections that send a correct beginning, then part of a frame, and stay.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// A connection that cannot be made in this time says that the relay accepts no more.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const EMPTY_SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];

/// What a connection leaves unfinished: a frame with this payload, of which only so many bytes are sent.
#[derive(Clone, Copy, Debug)]
struct Half {
    kind: u8,
    flags: u8,
    stream: u8,
    payload_bytes: u8,
    sent_bytes: usize,
}

/// Frames that a relay keeps whole before it passes them on, cut inside their payload. All of them fit a parking slot
/// of 64 bytes.
const HALVES: [Half; 7] = [
    Half { kind: 0x1, flags: 0x5, stream: 1, payload_bytes: 40, sent_bytes: 29 }, // HEADERS that would open a stream
    Half { kind: 0x1, flags: 0x5, stream: 1, payload_bytes: 55, sent_bytes: 63 }, // HEADERS less one byte
    Half { kind: 0x2, flags: 0x0, stream: 1, payload_bytes: 5, sent_bytes: 13 },  // PRIORITY
    Half { kind: 0x4, flags: 0x0, stream: 0, payload_bytes: 36, sent_bytes: 39 }, // SETTINGS with six entries
    Half { kind: 0x6, flags: 0x0, stream: 0, payload_bytes: 8, sent_bytes: 12 },  // PING
    Half { kind: 0x7, flags: 0x0, stream: 0, payload_bytes: 24, sent_bytes: 20 }, // GOAWAY with a reason
    Half { kind: 0x8, flags: 0x0, stream: 0, payload_bytes: 4, sent_bytes: 11 },  // WINDOW_UPDATE
];

/// Ways to stop in the middle of a frame header.
const HEADER_CUTS: usize = 8;

/// The connections, held open until this is dropped.
#[derive(Debug, Default)]
pub(crate) struct Attackers {
    streams: Vec<TcpStream>,
}

impl Attackers {
    /// Adds one connection that sends what its number says.
    pub(crate) async fn add(&mut self, relay: SocketAddr) -> io::Result<()> {
        let number = self.streams.len();
        let bytes = beginning(number);
        let connect = async {
            let mut stream = TcpStream::connect(relay).await?;
            stream.write_all(&bytes).await?;
            Ok(stream)
        };
        let stream = timeout(CONNECT_LIMIT, connect).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        self.streams.push(stream.map_err(|error: io::Error| {
            io::Error::new(error.kind(), format!("attacker {} cannot connect to the relay: {error}", number + 1))
        })?);
        Ok(())
    }

    /// How many of them the relay has not closed.
    pub(crate) fn still_connected(&self) -> usize {
        self.streams.iter().filter(|stream| is_open(stream)).count()
    }
}

/// Reads all that has arrived, since the end of a stream shows only behind it.
fn is_open(stream: &TcpStream) -> bool {
    let mut arrived = [0; 4096];
    loop {
        match stream.try_read(&mut arrived) {
            Ok(0) => return false,
            Ok(_) => {}
            Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
        }
    }
}

/// The correct beginning, then 1 to 8 bytes of a frame header or part of a small frame, by the attacker's number.
fn beginning(number: usize) -> Vec<u8> {
    let mut bytes = [PREFACE, &EMPTY_SETTINGS].concat();
    let way = number % (HEADER_CUTS + HALVES.len());
    match way.checked_sub(HEADER_CUTS) {
        None => bytes.extend_from_slice(&frame(&HALVES[0])[..way + 1]),
        Some(half) => bytes.extend_from_slice(&frame(&HALVES[half])[..HALVES[half].sent_bytes]),
    }
    bytes
}

fn frame(half: &Half) -> Vec<u8> {
    let mut bytes = vec![0, 0, half.payload_bytes, half.kind, half.flags, 0, 0, 0, half.stream];
    bytes.resize(bytes.len() + usize::from(half.payload_bytes), 0);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_attacker_stops_inside_a_frame_that_fits_a_slot() {
        let correct = PREFACE.len() + EMPTY_SETTINGS.len();
        let ways = HEADER_CUTS + HALVES.len();
        for number in 0..ways {
            let sent = beginning(number).len() - correct;
            let whole = if number < HEADER_CUTS { 9 } else { frame(&HALVES[number - HEADER_CUTS]).len() };
            assert!(0 < sent && sent < whole && whole <= 64, "attacker {number} sends {sent} of {whole} bytes");
        }
        assert_eq!(beginning(0), beginning(ways), "the ways repeat");
    }
}
