//! Connections that send a correct beginning, then part of a frame, and stay. An attacker that is closed comes again.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use demuxbuf::framing::h2::{FrameHeader, PREFACE, flags, kind};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// A connection that cannot be opened in this time means that the relay accepts no more.
const CONNECT_LIMIT: Duration = Duration::from_secs(60);

/// All attackers together connect this often in a second: the processor is not the target.
const CONNECTS_PER_SECOND: usize = 1000;

/// A request without a body.
const HEADERS: FrameHeader =
    FrameHeader { length: 40, stream_id: 1, kind: kind::HEADERS, flags: flags::END_HEADERS | END_STREAM };
const END_STREAM: u8 = 0x1;

const SETTINGS: FrameHeader = FrameHeader { length: 0, stream_id: 0, kind: kind::SETTINGS, flags: 0 };

/// Frames that a relay keeps whole before it passes them on, and how many bytes of each are sent, heads included, so
/// that they stop inside the payload. All of them fit a cell of 64 bytes.
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

/// The attackers. They leave when this is dropped.
#[derive(Debug)]
pub(crate) struct Attackers {
    count: usize,
    arrivals: Arc<Arrivals>,
    _tasks: JoinSet<()>,
}

#[derive(Debug, Default)]
struct Arrivals {
    /// Attackers that have had a connection.
    count: AtomicUsize,
    /// Why the first that could not connect could not.
    first_failure: OnceLock<String>,
}

impl Attackers {
    /// They come one after the other; each sends the part of a frame that its number selects.
    pub(crate) fn start(relay: SocketAddr, count: usize) -> Attackers {
        let (arrivals, mut tasks) = (Arc::<Arrivals>::default(), JoinSet::new());
        for number in 0..count {
            tasks.spawn(attack(relay, number, count, arrivals.clone()));
        }
        Attackers { count, arrivals, _tasks: tasks }
    }

    /// Whether each has had a connection.
    ///
    /// # Errors
    ///
    /// Why one could not connect.
    pub(crate) fn have_arrived(&self) -> Result<bool, String> {
        match self.arrivals.first_failure.get() {
            Some(failure) => Err(failure.clone()),
            None => Ok(self.arrivals.count.load(Relaxed) == self.count),
        }
    }
}

/// One attacker of `count`, without end.
async fn attack(relay: SocketAddr, number: usize, count: usize, arrivals: Arc<Arrivals>) {
    sleep(Duration::from_secs_f64(number as f64 / CONNECTS_PER_SECOND as f64)).await;
    for visit in 0.. {
        match timeout(CONNECT_LIMIT, TcpStream::connect(relay))
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
        {
            Ok(stream) => {
                if visit == 0 {
                    arrivals.count.fetch_add(1, Relaxed);
                }
                // However it ends, the relay has closed it.
                let _ = send_and_stay(stream, &beginning(number)).await;
            }
            Err(error) => {
                let failure = || format!("attacker {} cannot connect to the relay: {error}", number + 1);
                arrivals.first_failure.get_or_init(failure);
            }
        }
        sleep(Duration::from_secs_f64(count as f64 / CONNECTS_PER_SECOND as f64)).await;
    }
}

/// Reads all that arrives, since the end of a stream shows only behind it.
async fn send_and_stay(mut stream: TcpStream, bytes: &[u8]) -> io::Result<()> {
    stream.write_all(bytes).await?;
    let mut arrived = [0; 512];
    while stream.read(&mut arrived).await? > 0 {}
    Ok(())
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
    fn attacker_stops_inside_a_frame_of_64_bytes() {
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
