//! How a client sends its requests: the size of a header block, and the pieces in which it arrives.

use std::io;
use std::pin::Pin;
use std::sync::Mutex;
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep};

/// Time between the two pieces of a request, as between two segments of a fast line.
const SEGMENT_PAUSE: Duration = Duration::from_millis(5);

/// A slow line: a header block takes 0.2 s, well within the allowance of a frame.
const SLOW_PIECES: usize = 6;
const SLOW_PAUSE: Duration = Duration::from_millis(40);

/// The frames of a large body, of the size that HTTP/2 has without being asked.
const FRAME_BYTES: usize = 1 << 14;

/// Settings, their acknowledgement and windows, in both directions of a new connection.
const OPENING_FRAMES: usize = 6;

/// The shape of a client's requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Its name in reports.
    pub name: &'static str,
    /// The size of the header block in bytes, about.
    pub block_bytes: usize,
    /// The header block is sent in this many pieces.
    pub pieces: usize,
    /// The time between two pieces.
    pub pause: Duration,
    /// A body that is sent, and comes back; 0 for none.
    pub body_bytes: usize,
}

const fn block(name: &'static str, block_bytes: usize, pieces: usize) -> Shape {
    Shape { name, block_bytes, pieces, pause: SEGMENT_PAUSE, body_bytes: 0 }
}

/// The shapes of honest clients: header blocks of three sizes in one and two segments, an upload, and a slow line.
pub const SHAPES: [Shape; 8] = [
    block("35 bytes", 35, 1),
    block("35 bytes in two", 35, 2),
    block("700 bytes", 700, 1),
    block("700 bytes in two", 700, 2),
    block("6,000 bytes", 6000, 1),
    block("6,000 bytes in two", 6000, 2),
    Shape { body_bytes: 200_000, ..block("upload", 35, 1) },
    Shape { pieces: SLOW_PIECES, pause: SLOW_PAUSE, ..block("700 bytes slowly", 700, 1) },
];

impl Shape {
    /// The most frames of which a request, its answer and the opening of a connection for it consist.
    pub fn frames(&self) -> usize {
        let each_way = 1 + self.body_bytes.div_ceil(FRAME_BYTES).max(1);
        OPENING_FRAMES + 2 * each_way
    }
}

/// What the sender of a request and its stream know of each other.
#[derive(Debug, Default)]
struct Cut {
    /// The pieces that the next writes are to be made of; none and one are the same.
    pieces: usize,
    pause: Duration,
    /// Time that passed in pauses.
    paused: Duration,
}

/// Makes a stream send what comes next in pieces.
#[derive(Clone, Debug, Default)]
pub struct Cutter {
    cut: Arc<Mutex<Cut>>,
}

impl Cutter {
    /// The next write is sent in pieces of about the same size.
    pub fn cut_next(&self, pieces: usize, pause: Duration) {
        let mut cut = self.lock();
        *cut = Cut { pieces, pause, ..*cut };
    }

    /// The time that passed in pauses since the last call.
    pub fn take_paused(&self) -> Duration {
        std::mem::take(&mut self.lock().paused)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Cut> {
        self.cut.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A stream that sends in pieces when its cutter asks for it.
#[derive(Debug)]
pub struct Pieced {
    stream: TcpStream,
    cutter: Cutter,
    /// Since when it pauses, and the end of the pause.
    pause: Option<(Instant, Pin<Box<Sleep>>)>,
}

impl Pieced {
    /// A stream that is cut by this cutter.
    pub fn new(stream: TcpStream, cutter: Cutter) -> Pieced {
        Pieced { stream, cutter, pause: None }
    }
}

impl AsyncRead for Pieced {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl AsyncWrite for Pieced {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if let Some((since, pause)) = &mut self.pause {
            ready!(pause.as_mut().poll(context));
            let paused = since.elapsed();
            self.pause = None;
            self.cutter.lock().paused += paused;
        }
        let (pieces, length) = {
            let cut = self.cutter.lock();
            (cut.pieces.max(1), cut.pause)
        };
        let written = ready!(Pin::new(&mut self.stream).poll_write(context, &bytes[..bytes.len().div_ceil(pieces)]))?;
        if pieces > 1 {
            self.cutter.lock().pieces = pieces - 1;
            self.pause = Some((Instant::now(), Box::pin(sleep(length))));
        }
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    #[test]
    fn frames_of_a_request_are_counted() {
        assert_eq!(SHAPES.map(|shape| shape.frames()), [10, 10, 10, 10, 10, 10, 34, 10]);
    }

    #[tokio::test]
    async fn write_is_cut_into_pieces_with_pauses() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let stream = TcpStream::connect(listener.local_addr().expect("it has one")).await.expect("it listens");
        let (mut peer, _) = listener.accept().await.expect("there is one");
        let cutter = Cutter::default();
        let mut pieced = Pieced::new(stream, cutter.clone());
        let pause = Duration::from_millis(20);
        cutter.cut_next(3, pause);
        let began = Instant::now();
        pieced.write_all(&[7; 90]).await.expect("there is room");
        let lasted = began.elapsed();
        let paused = cutter.take_paused();
        assert!(2 * pause <= paused && paused <= lasted, "{paused:?} of {lasted:?}");
        let mut bytes = [0; 90];
        peer.read_exact(&mut bytes).await.expect("all of it arrives");
        assert_eq!(bytes, [7; 90]);
        assert_eq!(cutter.take_paused(), Duration::ZERO);
        // Nothing is cut that was not to be.
        pieced.write_all(&[8; 90]).await.expect("there is room");
        assert_eq!(cutter.take_paused(), Duration::ZERO);
    }
}
