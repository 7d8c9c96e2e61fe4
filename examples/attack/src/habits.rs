//! The attackers of each habit, on one connection until it ends.

use std::future::pending;
use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::time::{Instant, sleep};

use crate::attackers::{Aim, Tally};
use crate::backend::LARGEST_FRAME;
use crate::plan::{Habit, LARGE_FRAME, REQUEST_LASTS};
use crate::wire::{Answers, begun, opening, request};

/// A leaver stays for at most this time, after it has sent this much of a frame.
const STAY_MAX: Duration = Duration::from_millis(100);
const LEAVER_BYTES: usize = 3000;

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

/// Attacks until the connection ends. Only the other side can give a reason for an error.
pub(crate) async fn attack(mut stream: TcpStream, habit: Habit, aim: &Aim, tally: &Tally) -> Ended {
    let (from, mut to) = stream.split();
    let mut answers = Answers::default();
    let done = match habit {
        Habit::Partial { bytes } => {
            let first = [opening(), begun(bytes, LARGE_FRAME)].concat();
            read_while(from, &mut answers, send_and_stay(&mut to, &first)).await
        }
        Habit::Announce { bytes } => announce(from, &mut to, &mut answers, bytes).await,
        Habit::Leaver { .. } => {
            let first = [opening(), begun(LEAVER_BYTES, LARGE_FRAME)].concat();
            read_while(from, &mut answers, send_and_leave(&mut to, &first)).await
        }
        Habit::Drip { pause } => read_while(from, &mut answers, drip(&mut to, pause)).await,
        Habit::Requests { pause_max } => ask(from, &mut to, &mut answers, pause_max, aim, tally).await,
        Habit::SlowReader => ask_only(from, &mut to, aim).await,
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
    answers: &mut Answers,
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

async fn read_some(from: &mut ReadHalf<'_>, answers: &mut Answers, bytes: &mut [u8]) -> io::Result<()> {
    let count = from.read(bytes).await?;
    answers.read(&bytes[..count]);
    if count == 0 || answers.is_shed {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(())
}

async fn send_and_stay(to: &mut WriteHalf<'_>, bytes: &[u8]) -> io::Result<Ended> {
    // Why it cannot be sent is read.
    let _ = to.write_all(bytes).await;
    pending().await
}

/// A frame this large is allowed only after the peer's settings were read.
async fn announce(
    mut from: ReadHalf<'_>,
    to: &mut WriteHalf<'_>,
    answers: &mut Answers,
    sent_bytes: usize,
) -> io::Result<Ended> {
    to.write_all(&opening()).await?;
    let mut bytes = [0; 512];
    while !answers.has_settings {
        read_some(&mut from, answers, &mut bytes).await?;
    }
    read_while(from, answers, send_and_stay(to, &begun(sent_bytes, LARGEST_FRAME))).await
}

async fn send_and_leave(to: &mut WriteHalf<'_>, bytes: &[u8]) -> io::Result<Ended> {
    to.write_all(bytes).await?;
    sleep(up_to(STAY_MAX)).await;
    Ok(Ended::Left)
}

async fn drip(to: &mut WriteHalf<'_>, pause: Duration) -> io::Result<Ended> {
    to.write_all(&opening()).await?;
    let frame = begun(LARGE_FRAME as usize, LARGE_FRAME);
    let mut rest = frame.as_slice();
    while !rest.is_empty() {
        let (drop, after) = rest.split_at(fastrand::usize(1..=8).min(rest.len()));
        to.write_all(drop).await?;
        rest = after;
        sleep(pause).await;
    }
    pending().await
}

/// Requests, each in two pieces, each after the answer to the one before.
async fn ask(
    mut from: ReadHalf<'_>,
    to: &mut WriteHalf<'_>,
    answers: &mut Answers,
    pause_max: Duration,
    aim: &Aim,
    tally: &Tally,
) -> io::Result<Ended> {
    let mut bytes = [0; 4096];
    to.write_all(&opening()).await?;
    for number in 0.. {
        sleep(up_to(pause_max)).await;
        let request = request(2 * number + 1, &aim.small, FILL_BYTES);
        let (first, second) = request.split_at(FIRST_PIECE_BYTES);
        to.write_all(first).await?;
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
async fn ask_only(from: ReadHalf<'_>, to: &mut WriteHalf<'_>, aim: &Aim) -> io::Result<Ended> {
    to.write_all(&opening()).await?;
    for number in 0..SLOW_REQUESTS {
        to.write_all(&request(2 * number + 1, &aim.large, 0)).await?;
    }
    // A GOAWAY at the end lies behind all unread bytes.
    while !from.ready(Interest::READABLE).await?.is_read_closed() {
        sleep(LOOK_EVERY).await;
    }
    Ok(Ended::Closed)
}
