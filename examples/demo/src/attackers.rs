//! Connections that send a correct beginning, then part of a frame, and stay.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use demuxbuf::framing::h2::{FrameHeader, PREFACE, flags, kind};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// A connection that cannot be opened in this time means that the relay accepts no more.
const CONNECT_LIMIT: Duration = Duration::from_secs(60);

/// A request without a body.
const HEADERS: FrameHeader =
    FrameHeader { length: 40, stream_id: 1, kind: kind::HEADERS, flags: flags::END_HEADERS | END_STREAM };
const END_STREAM: u8 = 0x1;

const SETTINGS: FrameHeader = FrameHeader { length: 0, stream_id: 0, kind: kind::SETTINGS, flags: 0 };

/// Frames that a relay keeps whole before it passes them on, and how many bytes of each are sent, heads included, so
/// that they stop inside the payload. All of them fit a parking slot of 64 bytes.
const HALVES: [(FrameHeader, usize); 7] = [
    (HEADERS, 29),
    (FrameHeader { length: 55, ..HEADERS }, 63),
    (FrameHeader { length: 5, stream_id: 1, kind: kind::PRIORITY, flags: 0 }, 13),
    (FrameHeader { length: 36, ..SETTINGS }, 39),
    (FrameHeader { length: 8, stream_id: 0, kind: kind::PING, flags: 0 }, 12),
    (FrameHeader { length: 24, stream_id: 0, kind: kind::GOAWAY, flags: 0 }, 20),
    (FrameHeader { length: 4, stream_id: 0, kind: kind::WINDOW_UPDATE, flags: 0 }, 11),
];

/// Ways to stop in the middle of a frame header.
const HEADER_CUTS: usize = 8;

/// The connections, held open until this is dropped.
#[derive(Debug, Default)]
pub(crate) struct Attackers {
    streams: Vec<TcpStream>,
}

impl Attackers {
    /// Adds one connection, which sends the part of a frame that its number selects.
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
    let way = number % (HEADER_CUTS + HALVES.len());
    let (head, sent_bytes) = way.checked_sub(HEADER_CUTS).map_or((HEADERS, way + 1), |half| HALVES[half]);
    let mut half = head.encode().to_vec();
    half.resize(head.frame_bytes() as usize, 0);
    half.truncate(sent_bytes);
    [&PREFACE[..], &SETTINGS.encode(), &half].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use demuxbuf::framing::h2::HEAD_BYTES;

    #[test]
    fn attacker_stops_inside_a_frame_that_fits_a_slot() {
        let correct = PREFACE.len() + SETTINGS.frame_bytes() as usize;
        let ways = HEADER_CUTS + HALVES.len();
        for number in 0..ways {
            let sent = beginning(number).len() - correct;
            let whole =
                if number < HEADER_CUTS { HEAD_BYTES } else { HALVES[number - HEADER_CUTS].0.frame_bytes() } as usize;
            assert!(0 < sent && sent < whole && whole <= 64, "attacker {number} sends {sent} of {whole} bytes");
        }
        assert_eq!(beginning(0), beginning(ways), "the ways repeat");
    }
}
