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

/// A request without a body, in a frame as large as HTTP/2 allows without being asked.
const HEADERS: FrameHeader =
    FrameHeader { length: 1 << 14, stream_id: 1, kind: kind::HEADERS, flags: flags::END_HEADERS | END_STREAM };
const END_STREAM: u8 = 0x1;

const SETTINGS: FrameHeader = FrameHeader { length: 0, stream_id: 0, kind: kind::SETTINGS, flags: 0 };

/// An attacker sends 1, 2, 4 ... 16,384 bytes of the frame: as many of them stop inside of its header as fill a cell or
/// a buffer.
const SIZES: usize = 15;

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

/// The correct beginning, then part of a frame, by the attacker's number.
fn beginning(number: usize) -> Vec<u8> {
    let mut part = HEADERS.encode().to_vec();
    let bytes = 1 << (number % SIZES);
    part.resize(part.len().max(bytes), 0);
    part.truncate(bytes);
    [&PREFACE[..], &SETTINGS.encode(), &part].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attacker_stops_inside_of_a_frame() {
        let correct = PREFACE.len() + SETTINGS.frame_bytes() as usize;
        let sent: Vec<usize> = (0..SIZES).map(|number| beginning(number).len() - correct).collect();
        assert!(sent[0] == 1 && sent.windows(2).all(|pair| pair[1] == 2 * pair[0]), "{sent:?}");
        assert!(sent[SIZES - 1] < HEADERS.frame_bytes() as usize, "{sent:?}");
        assert_eq!(beginning(0), beginning(SIZES), "the sizes repeat");
    }
}
