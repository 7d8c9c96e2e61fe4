//! Clients of every kind for one server. The honest ones compare each byte that comes back.

use crate::frames::{HEADER_BYTES, PAYLOAD_BYTES_MAX, any_frame, frame, many_frames, small_frames};
use crate::stream::{Endpoint, Stream};
use std::fmt;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// What a client sends again and again until the sockets are full.
const FLOOD_BYTES: usize = 300_000;
/// The sockets on loopback hold less than so often that.
const FLOODS_MAX: usize = 200;
/// Clients that flood have small sockets, so that those of the server fill up.
const SMALL_SOCKET_BYTES: u32 = 65_536;
/// The sockets are full if nothing was written for so long.
const STUCK: Duration = Duration::from_millis(400);
/// Bytes of partial frames. Up to 4,096 they can be parked, above that they keep a buffer.
const PARTIAL_BYTES: [usize; 12] = [1, 3, 4, 5, 64, 65, 256, 257, 1_000, 4_096, 4_097, 12_000];

/// How many clients of each kind there are.
#[derive(clap::Args, Clone, Debug)]
pub struct Load {
    /// Clients that send whole frames and compare each byte of the echo.
    #[arg(long, default_value_t = 200)]
    pub honest: usize,
    /// Clients that send a part of a frame and stay.
    #[arg(long, default_value_t = 0)]
    pub partial: usize,
    /// Clients that reset their connections, most of them inside of a frame.
    #[arg(long, default_value_t = 40)]
    pub resets: usize,
    /// Clients of which a frame is larger than a buffer.
    #[arg(long, default_value_t = 10)]
    pub oversized: usize,
    /// No honest client stops inside of a frame or reads late. With scarce memory a server closes clients that do, and
    /// a busy machine makes any pause a long one.
    #[arg(long)]
    pub steady: bool,
    /// Seed of all random numbers.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Seconds after which the run has failed.
    #[arg(long, default_value_t = 300)]
    pub patience_s: u64,
    /// Certificate of a server that speaks TLS, in PEM form.
    #[arg(long)]
    pub certificate: Option<PathBuf>,
}

/// What the honest clients compared, and the partial frames that are still connected.
#[derive(Debug)]
pub struct Outcome {
    /// Bytes that came back to honest clients, each of them as it was sent.
    pub compared_bytes: u64,
    /// Connections with a part of a frame. They stay until this is dropped.
    pub partial: Vec<Stream>,
}

/// How an honest client behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Habit {
    /// Waits for the echo before it sends more.
    Steady,
    /// Sends all frames at once.
    Burst,
    /// Sends a few bytes at a time.
    Trickle,
    /// Stops for a moment inside of each frame.
    Pause,
    /// Reads nothing before the server cannot send any more, so that it must stop receiving.
    LateReader,
}

impl Habit {
    /// Every twentieth client is a late reader, since each of them moves megabytes.
    fn of(client: usize) -> Habit {
        match client % 20 {
            0..5 => Habit::Steady,
            5..10 => Habit::Burst,
            10..15 => Habit::Trickle,
            15..19 => Habit::Pause,
            _ => Habit::LateReader,
        }
    }
}

/// What went wrong, and for which client.
#[derive(Debug)]
pub struct Failure(String);

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Failure {}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure(error.to_string())
    }
}

type Compared = Result<u64, Failure>;

/// Puts all clients on the server at this address, partial frames first, and waits until the others are done.
///
/// # Errors
///
/// A byte that came back differs, an echo ended early or did not come in time, or the server refused a connection.
pub async fn run(address: SocketAddr, load: &Load) -> Result<Outcome, Failure> {
    let patience = Duration::from_secs(load.patience_s);
    let endpoint = Endpoint::new(address, load.certificate.as_deref())?;
    let all = async {
        let mut partial = Vec::new();
        for client in 0..load.partial {
            partial.push(send_partial(&endpoint, PARTIAL_BYTES[client % PARTIAL_BYTES.len()]).await?);
        }
        let mut clients = JoinSet::new();
        for client in 0..load.honest.max(load.resets).max(load.oversized) {
            let mut random = fastrand::Rng::with_seed(load.seed.wrapping_add(client as u64));
            if client < load.honest {
                let habit = if load.steady { Habit::Steady } else { Habit::of(client) };
                clients.spawn(honest(endpoint.clone(), client, habit, random.fork()));
            }
            if client < load.resets {
                clients.spawn(reset(endpoint.clone(), client, random.fork()));
            }
            if client < load.oversized {
                clients.spawn(oversized(endpoint.clone(), random.fork()));
            }
        }
        let mut compared_bytes = 0;
        while let Some(client) = clients.join_next().await {
            compared_bytes += client.map_err(|error| Failure(error.to_string()))??;
        }
        Ok(Outcome { compared_bytes, partial })
    };
    let late = Err(Failure(format!("clients are not done after {} s", patience.as_secs())));
    timeout(patience, all).await.unwrap_or(late)
}

/// Sends a part of a frame and leaves the connection open.
///
/// # Errors
///
/// The server refuses the connection.
pub async fn send_partial(endpoint: &Endpoint, bytes: usize) -> Result<Stream, Failure> {
    let mut stream = endpoint.connect(None).await?;
    stream.write_all(&frame(&mut fastrand::Rng::with_seed(bytes as u64), PAYLOAD_BYTES_MAX)[..bytes]).await?;
    stream.flush().await?;
    Ok(stream)
}

/// Connects, sends, compares, ends with a half-close, every second time inside of a frame, and reads to the end.
async fn honest(endpoint: Endpoint, client: usize, habit: Habit, mut random: fastrand::Rng) -> Compared {
    let frames: Vec<Vec<u8>> = match habit {
        // Hundreds of frames in one buffer, all of which must come back although nothing follows them.
        Habit::Steady if client % 2 == 0 => (0..3).map(|_| small_frames(&mut random)).collect(),
        Habit::Steady => (0..20).map(|_| any_frame(&mut random)).collect(),
        Habit::Burst => vec![many_frames(&mut random, 400_000)],
        Habit::Trickle => [30; 10].into_iter().chain([1500]).map(|bytes| frame(&mut random, bytes)).collect(),
        Habit::Pause => (0..5).map(|_| any_frame(&mut random)).collect(),
        Habit::LateReader => vec![many_frames(&mut random, FLOOD_BYTES)],
    };
    let tail = if client % 2 == 1 { frame(&mut random, 300)[..200].to_vec() } else { Vec::new() };
    let at = |error: Failure| Failure(format!("honest client {client} ({habit:?}): {error}"));
    echo(&endpoint, habit, &frames, &tail).await.map_err(at)
}

async fn echo(endpoint: &Endpoint, habit: Habit, frames: &[Vec<u8>], tail: &[u8]) -> Compared {
    let socket_bytes = (habit == Habit::LateReader).then_some(SMALL_SOCKET_BYTES);
    let (mut reader, mut writer) = split(endpoint.connect(socket_bytes).await?);
    let mut compared_bytes = 0;
    if habit == Habit::LateReader {
        let flooded_bytes = flood(&mut writer, &frames[0]).await?;
        let rest = &frames[0][flooded_bytes % frames[0].len()..];
        let send = async {
            writer.write_all(rest).await?;
            finish(&mut writer, tail).await
        };
        let receive = async {
            for _ in 0..(flooded_bytes + rest.len()) / frames[0].len() {
                compared_bytes += compare(&mut reader, &frames[0]).await?;
            }
            compare_to_end(&mut reader, &[]).await
        };
        let (sent, compared) = tokio::join!(send, receive);
        sent?;
        return Ok(compared? + compared_bytes);
    }
    if habit == Habit::Steady {
        for frame in frames {
            write_all(&mut writer, frame).await?;
            compared_bytes += compare(&mut reader, frame).await?;
        }
        finish(&mut writer, tail).await?;
        return Ok(compared_bytes + compare_to_end(&mut reader, &[]).await?);
    }
    let all = frames.concat();
    let send = async {
        send(&mut writer, habit, frames).await?;
        finish(&mut writer, tail).await
    };
    let (sent, compared) = tokio::join!(send, compare_to_end(&mut reader, &all));
    sent?;
    compared
}

/// Writes all, also what TLS has kept.
async fn write_all(writer: &mut WriteHalf<Stream>, bytes: &[u8]) -> io::Result<()> {
    writer.write_all(bytes).await?;
    writer.flush().await
}

/// Sends the same frames again and again without reading, until the sockets are full and the server stops receiving.
/// Returns how many bytes were sent.
async fn flood(writer: &mut WriteHalf<Stream>, frames: &[u8]) -> io::Result<usize> {
    let mut sent = 0;
    while sent < FLOODS_MAX * frames.len() {
        match timeout(STUCK, writer.write(&frames[sent % frames.len()..])).await {
            Ok(bytes) => sent += bytes?,
            Err(_) => return Ok(sent),
        }
    }
    Err(io::Error::other(format!("the server takes in {sent} bytes of which it can send nothing")))
}

async fn send(writer: &mut WriteHalf<Stream>, habit: Habit, frames: &[Vec<u8>]) -> Result<(), Failure> {
    for frame in frames {
        match habit {
            Habit::Trickle => {
                for piece in frame.chunks(if frame.len() > 100 { 100 } else { 7 }) {
                    write_all(writer, piece).await?;
                    sleep(Duration::from_millis(2)).await;
                }
            }
            Habit::Pause => {
                let (first, second) = frame.split_at(frame.len() / 2);
                write_all(writer, first).await?;
                sleep(Duration::from_millis(50)).await;
                write_all(writer, second).await?;
            }
            _ => write_all(writer, frame).await?,
        }
    }
    Ok(())
}

async fn finish(writer: &mut WriteHalf<Stream>, tail: &[u8]) -> Result<(), Failure> {
    write_all(writer, tail).await?;
    Ok(writer.shutdown().await?)
}

/// Reads as many bytes as were sent and compares each.
async fn compare(reader: &mut ReadHalf<Stream>, sent: &[u8]) -> Compared {
    let mut at = 0;
    let mut seen = vec![0; 65_536];
    while at < sent.len() {
        let room = seen.len().min(sent.len() - at);
        let bytes = reader.read(&mut seen[..room]).await.map_err(|error| Failure(format!("byte {at}: {error}")))?;
        if bytes == 0 {
            return Err(Failure(format!("the echo ended after {at} of {} bytes", sent.len())));
        }
        let differing = seen[..bytes].iter().zip(&sent[at..]).position(|(seen, sent)| seen != sent);
        if let Some(differing) = differing {
            let (seen, at) = (seen[differing], at + differing);
            return Err(Failure(format!("byte {at} of {} came back as {seen}, not {}", sent.len(), sent[at])));
        }
        at += bytes;
    }
    Ok(at as u64)
}

/// The same, and nothing follows but the end of the stream.
async fn compare_to_end(reader: &mut ReadHalf<Stream>, sent: &[u8]) -> Compared {
    let compared_bytes = compare(reader, sent).await?;
    match reader.read(&mut [0]).await {
        Ok(0) => Ok(compared_bytes),
        Ok(_) => Err(Failure(format!("more than {} bytes came back", sent.len()))),
        Err(error) => Err(Failure(format!("at the end: {error}"))),
    }
}

/// Ends with a reset: at once, with an unread echo inside of a frame, while the server cannot send, or after an end of
/// stream. The server may close the connection first.
async fn reset(endpoint: Endpoint, client: usize, mut random: fastrand::Rng) -> Compared {
    let mut stream = endpoint.connect(Some(SMALL_SOCKET_BYTES)).await?;
    let (whole, part) = (any_frame(&mut random), frame(&mut random, 5000));
    match client % 4 {
        0 => {}
        1 => {
            stream.write_all(&[&whole, &part[..1000]].concat()).await?;
            stream.flush().await?;
            stream.tcp().readable().await?;
        }
        2 => {
            let (reader, mut writer) = split(stream);
            match flood(&mut writer, &many_frames(&mut random, FLOOD_BYTES)).await {
                // While its memory is short, the server closes first: it cannot keep what it cannot send.
                Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => {
                    return Ok(0);
                }
                flooded => _ = flooded?,
            }
            stream = reader.unsplit(writer);
        }
        _ => {
            stream.write_all(&[&whole, &part[..1000]].concat()).await?;
            stream.shutdown().await?;
        }
    }
    let linger = Some(Duration::ZERO);
    rustix::net::sockopt::set_socket_linger(stream.tcp(), linger).map_err(io::Error::from)?;
    Ok(0)
}

/// A frame that no buffer can hold follows one that fits: that one comes back, and the server closes.
async fn oversized(endpoint: Endpoint, mut random: fastrand::Rng) -> Compared {
    let fits = frame(&mut random, PAYLOAD_BYTES_MAX);
    for length in [PAYLOAD_BYTES_MAX as u32 + 1, u32::MAX] {
        let (mut reader, mut writer) = split(endpoint.connect(None).await?);
        write_all(&mut writer, &fits).await?;
        compare(&mut reader, &fits).await?;
        write_all(&mut writer, &[&length.to_be_bytes()[..], &fits[HEADER_BYTES..100]].concat()).await?;
        // It may close before it has received all, which is a reset.
        match reader.read(&mut [0]).await {
            Ok(0) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
            other => return Err(Failure(format!("after a length of {length}: {other:?}"))),
        }
    }
    Ok(2 * fits.len() as u64)
}
