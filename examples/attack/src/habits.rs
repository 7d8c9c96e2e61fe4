//! The attackers of each habit, on one connection until it ends.

#[cfg(test)]
mod tests;

use std::future::pending;
use std::io;
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::time::{Instant, sleep};

use crate::attackers::{Aim, Arrival, Common, Tally};
use crate::backend::LARGEST_FRAME;
use crate::plan::{Habit, LARGE_FRAME, PARTIAL_BYTES, REQUEST_LASTS};
use crate::wire::{Answers, begun, ignored, opening, request};

/// A leaver stays for at most this time, after it has sent this much of a frame.
const STAY_MAX: Duration = Duration::from_millis(100);
const LEAVER_BYTES: usize = 3000;

/// More frames at once than a socket of the usual size holds on a loopback interface, and what follows them.
const BURST_FRAMES: usize = 13;
const BURST_REST_BYTES: usize = 10_186;

/// A request's field of no meaning, and how much of the request comes first: what is kept takes half a buffer.
const FILL_BYTES: usize = 5000;
const FIRST_PIECE_BYTES: usize = 4500;

/// How often a slow reader asks, and how often it looks whether it was closed.
const SLOW_REQUESTS: u32 = 2;
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The peer sent GOAWAY with ENHANCE_YOUR_CALM.
    Shed,
    /// The other side ended it otherwise.
    Closed,
    /// The attacker did.
    Left,
}

/// Any time up to this one.
pub(crate) fn up_to(longest: Duration) -> Duration {
    longest.mul_f64(fastrand::f64())
}

/// A size up to this one, of which each power of two is as likely as any other.
fn any_size(largest: u32) -> usize {
    2f64.powf(fastrand::f64() * f64::from(largest).log2()).round() as usize
}

/// Attacks until the connection ends. Only the other side can give a reason for an error.
pub(crate) async fn attack(mut stream: TcpStream, habit: Habit, common: &Common, arrival: &Arrival<'_>) -> Ended {
    // If it cannot be sent, that is seen when it is read.
    if habit == Habit::Urgent && send_urgent(&mut stream).await.is_ok() {
        arrival.strike();
    }
    let (from, mut to) = stream.split();
    let (mut answers, Common { aim, tally, .. }) = (Answers::of(arrival), common);
    let part = |bytes| [opening(), begun(bytes, LARGE_FRAME)].concat();
    let done = match habit {
        Habit::Partial { bytes } => {
            let bytes = bytes.map_or_else(|| any_size(LARGE_FRAME), usize::from);
            read_while(from, &mut answers, send_and_stay(&mut to, &part(bytes), arrival)).await
        }
        Habit::AtOnce => read_while(from, &mut answers, send_at_once(&mut to, common, arrival)).await,
        Habit::Urgent => read_while(from, &mut answers, pending()).await,
        Habit::Burst => {
            let frames = [ignored(LARGE_FRAME).repeat(BURST_FRAMES), begun(BURST_REST_BYTES, LARGE_FRAME)].concat();
            read_while(from, &mut answers, send_and_stay(&mut to, &[opening(), frames].concat(), arrival)).await
        }
        Habit::BackToBack { pause } => read_while(from, &mut answers, back_to_back(&mut to, pause, arrival)).await,
        Habit::Announce { bytes } => announce(from, &mut to, &mut answers, bytes, arrival).await,
        Habit::Leaver { .. } => {
            read_while(from, &mut answers, send_and_leave(&mut to, &part(LEAVER_BYTES), arrival)).await
        }
        Habit::Drip { pause } | Habit::Tiny { pause } => {
            read_while(from, &mut answers, drip(&mut to, pause, arrival)).await
        }
        Habit::Requests { pause_max } => ask(from, &mut to, &mut answers, pause_max, (aim, tally, arrival)).await,
        Habit::SlowReader => {
            // It reads no answer.
            arrival.count();
            ask_only(from, &mut to, aim, arrival).await
        }
    };
    if let Ok(ended) = done {
        return ended;
    }
    // A failed send may follow a GOAWAY that was not read yet.
    let mut rest = [0; 512];
    while let Ok(count @ 1..) = stream.try_read(&mut rest) {
        answers.read(&rest[..count]);
    }
    if answers.is_shed { Ended::Shed } else { Ended::Closed }
}

/// Reads to the end, or to that of what is done meanwhile.
async fn read_while(
    mut from: ReadHalf<'_>,
    answers: &mut Answers<'_>,
    meanwhile: impl Future<Output = io::Result<Ended>>,
) -> io::Result<Ended> {
    let read = async {
        let mut bytes = [0; 512];
        loop {
            read_some(&mut from, answers, &mut bytes).await?;
        }
    };
    tokio::select! {
        // A GOAWAY that has arrived is a better reason than an error in sending.
        biased;
        ended = read => ended,
        ended = meanwhile => ended,
    }
}

async fn read_some(from: &mut ReadHalf<'_>, answers: &mut Answers<'_>, bytes: &mut [u8]) -> io::Result<()> {
    let count = from.read(bytes).await?;
    answers.read(&bytes[..count]);
    if count == 0 || answers.is_shed {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(())
}

async fn send_and_stay(to: &mut WriteHalf<'_>, bytes: &[u8], arrival: &Arrival<'_>) -> io::Result<Ended> {
    // Why it cannot be sent is read.
    if to.write_all(bytes).await.is_ok() {
        arrival.strike();
    }
    pending().await
}

async fn send_at_once(to: &mut WriteHalf<'_>, common: &Common, arrival: &Arrival<'_>) -> io::Result<Ended> {
    to.write_all(&opening()).await?;
    common.begin().await;
    send_and_stay(to, &begun(PARTIAL_BYTES, LARGE_FRAME), arrival).await
}

/// Half of what the attacker sends, then a byte that is urgent, then the other half.
async fn send_urgent(stream: &mut TcpStream) -> io::Result<()> {
    let begun = begun(PARTIAL_BYTES, LARGE_FRAME);
    let (first, second) = begun.split_at(PARTIAL_BYTES / 2);
    stream.write_all(&[&opening(), first].concat()).await?;
    SockRef::from(&*stream).send_out_of_band(&[0])?;
    stream.write_all(second).await
}

async fn back_to_back(to: &mut WriteHalf<'_>, pause: Duration, arrival: &Arrival<'_>) -> io::Result<Ended> {
    let frame = ignored(LARGE_FRAME);
    let (begin, end) = frame.split_at(frame.len() / 2);
    to.write_all(&[&opening(), begin].concat()).await?;
    sleep(up_to(pause)).await;
    loop {
        to.write_all(&[end, begin].concat()).await?;
        arrival.act();
        sleep(pause).await;
    }
}

/// A frame this large is allowed only after the peer's settings were read.
async fn announce(
    mut from: ReadHalf<'_>,
    to: &mut WriteHalf<'_>,
    answers: &mut Answers<'_>,
    sent_bytes: usize,
    arrival: &Arrival<'_>,
) -> io::Result<Ended> {
    to.write_all(&opening()).await?;
    let mut bytes = [0; 512];
    while !answers.has_settings {
        read_some(&mut from, answers, &mut bytes).await?;
    }
    read_while(from, answers, send_and_stay(to, &begun(sent_bytes, LARGEST_FRAME), arrival)).await
}

async fn send_and_leave(to: &mut WriteHalf<'_>, bytes: &[u8], arrival: &Arrival<'_>) -> io::Result<Ended> {
    to.write_all(bytes).await?;
    arrival.act();
    sleep(up_to(STAY_MAX)).await;
    Ok(Ended::Left)
}

async fn drip(to: &mut WriteHalf<'_>, pause: Duration, arrival: &Arrival<'_>) -> io::Result<Ended> {
    to.write_all(&opening()).await?;
    let frame = begun(LARGE_FRAME as usize, LARGE_FRAME);
    let mut rest = frame.as_slice();
    // In step, all would send in the same millisecond.
    sleep(up_to(pause)).await;
    while !rest.is_empty() {
        let (byte, after) = rest.split_at(1);
        to.write_all(byte).await?;
        arrival.act();
        rest = after;
        sleep(pause).await;
    }
    pending().await
}

/// Requests, each in two pieces, each after the answer to the one before.
async fn ask(
    mut from: ReadHalf<'_>,
    to: &mut WriteHalf<'_>,
    answers: &mut Answers<'_>,
    pause_max: Duration,
    (aim, tally, arrival): (&Aim, &Tally, &Arrival<'_>),
) -> io::Result<Ended> {
    let mut bytes = [0; 4096];
    to.write_all(&opening()).await?;
    for number in 0.. {
        sleep(up_to(pause_max)).await;
        let request = request(2 * number + 1, &aim.small, FILL_BYTES);
        let (first, second) = request.split_at(FIRST_PIECE_BYTES);
        to.write_all(first).await?;
        arrival.strike();
        let sent = Instant::now();
        sleep(REQUEST_LASTS).await;
        to.write_all(second).await?;
        while answers.ended <= u64::from(number) {
            read_some(&mut from, answers, &mut bytes).await?;
        }
        tally.count_served(sent.elapsed());
    }
    Ok(Ended::Left)
}

/// Requests whose responses stay unread.
async fn ask_only(from: ReadHalf<'_>, to: &mut WriteHalf<'_>, aim: &Aim, arrival: &Arrival<'_>) -> io::Result<Ended> {
    to.write_all(&opening()).await?;
    for number in 0..SLOW_REQUESTS {
        to.write_all(&request(2 * number + 1, &aim.large, 0)).await?;
    }
    arrival.strike();
    // A GOAWAY at the end lies behind all unread bytes.
    while !from.ready(Interest::READABLE).await?.is_read_closed() {
        sleep(LOOK_EVERY).await;
    }
    Ok(Ended::Closed)
}
