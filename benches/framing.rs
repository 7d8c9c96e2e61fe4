//! The cost of decoding HTTP/2 frames: with this library, in Rust and through C, beside libnghttp2 and the `h2` crate,
//! which all get the same bytes, a buffer at a time. What each takes from them is counted and compared.
//!
//! The other decoders do more than frames and cannot leave it out. libnghttp2 has no decoder apart from its session
//! (`baseline/framing/nghttp2.c` lists what is turned off): it looks up streams, keeps account of windows and decodes
//! header blocks. `h2::Codec`, public with a feature that it calls unstable, decodes header blocks and reads by itself,
//! which copies; *copying alone* shows how much that is. So the frames are those that ask least of them: PING
//! acknowledgements and WINDOW_UPDATE of the connection, and DATA on a stream that is open. HEADERS are the exception,
//! where the other decoders do what this library leaves to its host.
//!
//! For DATA a decoder reads frame headers only, whatever the payload. So bytes per second of large frames show how
//! rarely there is a header, and that nothing is copied, but not what a proxy can do with them.

#![allow(clippy::disallowed_methods, reason = "a benchmark measures time")]

mod support;

use demuxbuf::framing::h2::{Decoder, FrameHeader, HEAD_BYTES, Next, PREFACE, Side, flags, kind};
use demuxbuf_ffi_tests::{Linking, Program, run, try_run};
use futures_core::Stream;
use h2::frame::Frame;
use serde_json::json;
use std::hint::black_box;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::process::Command;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};
use support::{Options, Report, Samples, child, folder, has_valgrind, instructions, ratio, rotated};
use tokio::io::{AsyncRead, ReadBuf};

type Error = Box<dyn std::error::Error>;

/// The most bytes that one receive brings, the same as in `baseline/framing/host.h`.
const PIECE_BYTES: usize = 16384;

/// The client's settings, and the headers of a request on stream 1.
const PROLOGUE_FRAMES: u64 = 2;

/// Frames that are all alike.
struct Case {
    title: &'static str,
    head: FrameHeader,
    payload: fn(usize) -> u8,
    /// In one time.
    frames: u32,
    times: u32,
}

const TINY: u32 = 4096;
const LARGE: u32 = 64;

/// `:method: GET`, `:scheme: http`, `:path: /` and `accept-encoding: gzip, deflate`, a byte for each.
const BLOCK: [u8; 4] = [0x82, 0x86, 0x84, 0x90];

const fn case(title: &'static str, kind: u8, length: u32, payload: fn(usize) -> u8) -> Case {
    let (flags, stream_id) = match kind {
        kind::PING => (flags::ACK, 0),
        kind::HEADERS => (flags::END_HEADERS, 1),
        kind::DATA => (0, 1),
        _ => (0, 0),
    };
    let (frames, times) = if length < 1024 { (TINY, 50) } else { (LARGE, 200) };
    Case { title, head: FrameHeader { length, stream_id, kind, flags }, payload, frames, times }
}

const CASES: [Case; 6] = [
    case("WINDOW_UPDATE, 9 + 4", kind::WINDOW_UPDATE, 4, |at| (at == 3) as u8),
    case("PING, 9 + 8", kind::PING, 8, |at| at as u8),
    case("DATA, 9 + 0", kind::DATA, 0, |_| 0),
    case("DATA, 9 + 64", kind::DATA, 64, |at| at as u8),
    case("HEADERS, 9 + 4", kind::HEADERS, 4, |at| BLOCK[at]),
    case("DATA, 9 + 16,384", kind::DATA, 16384, |at| at as u8),
];

/// What was taken from frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    frames: u64,
    payload_bytes: u64,
    /// The sum of increments and of the content of PING.
    content: u64,
}

impl Counts {
    fn count(&mut self, payload_bytes: usize, content: u64) {
        self.frames += 1;
        self.payload_bytes += payload_bytes as u64;
        self.content = self.content.wrapping_add(content);
    }
}

impl Case {
    fn payload(&self) -> Vec<u8> {
        (0..self.head.length as usize).map(self.payload).collect()
    }

    fn counts(&self, times: u32) -> Counts {
        let payload = self.payload();
        let content = match self.head.kind {
            kind::PING => u64::from_ne_bytes(payload.try_into().expect("a PING has 8 bytes")),
            kind::WINDOW_UPDATE => u32::from_be_bytes(payload.try_into().expect("an increment has 4 bytes")).into(),
            _ => 0,
        };
        let frames = u64::from(self.frames) * u64::from(times);
        Counts { frames, payload_bytes: frames * u64::from(self.head.length), content: frames.wrapping_mul(content) }
    }

    /// Writes the prologue and the frames; returns what a decoder has to know about them.
    fn write(&self) -> Result<[String; 2], Error> {
        let mut bytes = PREFACE.to_vec();
        bytes.extend(FrameHeader { kind: kind::SETTINGS, ..FrameHeader::default() }.encode());
        let (length, kind, flags) = (BLOCK.len() as u32, kind::HEADERS, flags::END_HEADERS);
        bytes.extend(FrameHeader { length, kind, flags, stream_id: 1 }.encode());
        bytes.extend(BLOCK);
        let prologue = bytes.len();
        let payload = self.payload();
        for _ in 0..self.frames {
            bytes.extend(self.head.encode());
            bytes.extend(&payload);
        }
        let file = folder().join(format!("frames-{}-{}", self.head.kind, self.head.length));
        std::fs::write(&file, bytes)?;
        Ok([file.to_str().ok_or("the path is text")?.into(), prologue.to_string()])
    }
}

/// A way to decode, and what runs it.
struct Way {
    title: &'static str,
    command: Command,
}

const COPYING: &str = "(e) copying alone";

fn ways(report: &mut Report) -> Vec<Way> {
    let rust = |title, name: &str| Way { title, command: child(name, &[]) };
    let c = |title, source: &str, libraries: &[&str]| {
        let flags = ["-D_GNU_SOURCE"].iter().chain(libraries).map(ToString::to_string).collect();
        let sources = vec![PathBuf::from(format!("benches/baseline/framing/{source}.c"))];
        let program = Program { name: format!("framing-{source}"), sources, linking: Linking::Static, flags };
        Way { title, command: Command::new(program.build()) }
    };
    let mut ways = vec![rust("(a) this library, Rust", "demuxbuf"), c("(b) this library, C", "demuxbuf", &[])];
    match try_run(Command::new("pkg-config").args(["--modversion", "libnghttp2"])) {
        Ok(version) => {
            report.fact("libnghttp2", version.trim());
            ways.push(c("(c) libnghttp2", "nghttp2", &["-Wl,--no-as-needed", "-lnghttp2"]));
        }
        Err(_) => println!("skipped: what libnghttp2 costs, libnghttp2-dev or pkg-config is not installed"),
    }
    ways.extend([rust("(d) h2", "h2"), rust(COPYING, "copying")]);
    ways
}

fn main() -> Result<(), Error> {
    let options = Options::read();
    if let [name, file, prologue, times] = options.child.as_slice() {
        return decode(name, &std::fs::read(file)?, prologue.parse()?, times.parse()?);
    }
    let columns = ["frame", "decoded by", "instructions", "to (a)", "ns", "ns to (a)", "frames/s, millions", "MB/s"];
    let mut report = Report::new("framing", &columns, &options);
    let ways = ways(&mut report);
    let rounds = options.pick(1, 25, 250);
    report.fact("rounds", rounds);
    let is_counted = !options.smoke && has_valgrind();
    for case in &CASES {
        let files = case.write()?;
        let counts: Vec<Option<f64>> = ways
            .iter()
            .map(|way| is_counted.then(|| count(way, case, &files)).transpose())
            .collect::<Result<_, _>>()?;
        let times = options.pick(1, case.times, case.times);
        let mut samples: Vec<(Samples, Samples)> = ways.iter().map(|_| (Samples::new(), Samples::new())).collect();
        for round in 0..rounds {
            let mut spent = vec![0.0; ways.len()];
            for way in rotated(round, ways.len()) {
                spent[way] = time(&ways[way], case, &files, times)?;
            }
            for ((all, ratios), &one) in samples.iter_mut().zip(&spent) {
                all.record(one);
                ratios.record(one / spent[0]);
            }
        }
        for ((way, count), (times, ratios)) in ways.iter().zip(&counts).zip(&samples) {
            let (ns, bytes) = (times.median(), f64::from(case.head.frame_bytes()));
            let mut cells = vec![json!(case.title), json!(way.title), json!(count), ratio(*count, counts[0])];
            cells.extend([ns, ratios.median(), 1e3 / ns, 1e3 * bytes / ns].map(|figure| json!(figure)));
            report.row(cells);
        }
    }
    report.finish();
    Ok(())
}

/// Instructions of one frame: what more of them cost, so that start and end are left out.
fn count(way: &Way, case: &Case, files: &[String; 2]) -> Result<f64, Error> {
    let few = if case.frames == TINY { 1 } else { 20 };
    let [few_counted, many_counted] = [few, 3 * few].map(|times| instructions(&command(way, files, times)));
    Ok((many_counted as f64 - few_counted as f64) / f64::from(2 * few * case.frames))
}

/// Nanoseconds of one frame.
fn time(way: &Way, case: &Case, files: &[String; 2], times: u32) -> Result<f64, Error> {
    let printed = run(&mut command(way, files, times));
    let numbers: Vec<u64> = printed.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
    let [frames, payload_bytes, content, spent] = numbers[..] else {
        return Err(format!("{} does not print four numbers: {printed}", way.title).into());
    };
    let expected = case.counts(times);
    if way.title == COPYING {
        let bytes = expected.payload_bytes + expected.frames * u64::from(HEAD_BYTES);
        assert_eq!(payload_bytes, bytes, "{}: {}", case.title, way.title);
    } else {
        assert_eq!(Counts { frames, payload_bytes, content }, expected, "{}: {}", case.title, way.title);
    }
    Ok(spent as f64 / expected.frames as f64)
}

fn command(way: &Way, files: &[String; 2], times: u32) -> Command {
    let mut command = Command::new(way.command.get_program());
    command.args(way.command.get_args()).args(files).arg(times.to_string());
    command
}

/// Decodes in this process; prints what `baseline/framing/host.h` does.
fn decode(name: &str, bytes: &[u8], prologue: usize, times: u32) -> Result<(), Error> {
    let (prologue, frames) = bytes.split_at(prologue);
    let (counts, spent) = match name {
        "demuxbuf" => with_library(prologue, frames, times)?,
        "h2" => with_h2(prologue, frames, times)?,
        "copying" => copying(frames, times),
        other => return Err(format!("no such decoder: {other}").into()),
    };
    println!("{} {} {} {}", counts.frames, counts.payload_bytes, counts.content, spent.as_nanos());
    Ok(())
}

/// The same loop as in `baseline/framing/demuxbuf.c`.
fn with_library(prologue: &[u8], frames: &[u8], times: u32) -> Result<(Counts, Duration), Error> {
    let mut decoder =
        LibraryDecoder { decoder: Decoder::new(Side::Client), payload_left: 0, counts: Counts::default() };
    decoder.receive(prologue)?;
    decoder.counts = Counts::default();
    let begin = Instant::now();
    for _ in 0..times {
        decoder.receive(black_box(frames))?;
    }
    Ok((decoder.counts, begin.elapsed()))
}

struct LibraryDecoder {
    decoder: Decoder,
    /// Of a frame of DATA that has begun.
    payload_left: usize,
    counts: Counts,
}

impl LibraryDecoder {
    fn receive(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let (mut taken, mut received) = (0, 0);
        while received < bytes.len() {
            received = bytes.len().min(received + PIECE_BYTES);
            taken += self.decode(&bytes[taken..received])?;
        }
        if taken == bytes.len() { Ok(()) } else { Err("a part of a frame is left".into()) }
    }

    /// Returns how many bytes it took; the remaining ones come again, in front of the next.
    fn decode(&mut self, data: &[u8]) -> Result<usize, Error> {
        let mut taken = 0;
        loop {
            let part = self.payload_left.min(data.len() - taken);
            self.payload_left -= part;
            taken += part;
            if self.payload_left > 0 {
                return Ok(taken);
            }
            let head = match self.decoder.advance(&data[taken..])? {
                Next::NeedMore(_) => return Ok(taken),
                Next::Preface => {
                    taken += PREFACE.len();
                    continue;
                }
                Next::Frame(head) => head,
            };
            let (payload, length) = (taken + HEAD_BYTES as usize, head.length as usize);
            if head.kind == kind::DATA {
                self.payload_left = length;
                self.counts.count(length, 0);
                taken = payload;
            } else {
                // DATA goes on as it comes, any other frame when it is whole.
                self.counts.count(length, content(head.kind, &data[payload..payload + length]));
                taken = payload + length;
            }
        }
    }
}

/// What only the payload has.
fn content(kind: u8, payload: &[u8]) -> u64 {
    match kind {
        kind::PING => u64::from_ne_bytes(*payload.first_chunk().expect("a PING has 8 bytes")),
        kind::WINDOW_UPDATE => u32::from_be_bytes(*payload.first_chunk().expect("an increment has 4 bytes")).into(),
        _ => 0,
    }
}

fn with_h2(prologue: &[u8], frames: &[u8], times: u32) -> Result<(Counts, Duration), Error> {
    // Its handshake reads the preface, not the codec.
    let pieces = Pieces { first: &prologue[PREFACE.len()..], frames, left: frames, times };
    let mut codec = h2::Codec::<_, &[u8]>::new(tokio::io::join(pieces, tokio::io::sink()));
    let mut next = || match Pin::new(&mut codec).poll_next(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(frame) => frame.transpose().map_err(|error| Error::from(format!("h2: {error:?}"))),
        Poll::Pending => Err("there is always something to read".into()),
    };
    for _ in 0..PROLOGUE_FRAMES {
        next()?.ok_or("the prologue has more frames")?;
    }
    let mut counts = Counts::default();
    let begin = Instant::now();
    while let Some(frame) = next()? {
        match frame {
            Frame::Data(data) => counts.count(data.payload().len(), 0),
            Frame::Ping(ping) => counts.count(ping.payload().len(), u64::from_ne_bytes(*ping.payload())),
            Frame::WindowUpdate(update) => counts.count(4, update.size_increment().into()),
            // It keeps no length of the block.
            Frame::Headers(_) => counts.count(BLOCK.len(), 0),
            other => return Err(format!("there is no such frame: {other:?}").into()),
        }
    }
    Ok((counts, begin.elapsed()))
}

/// The prologue, and then the frames, this many times.
struct Pieces<'a> {
    first: &'a [u8],
    frames: &'a [u8],
    left: &'a [u8],
    times: u32,
}

impl AsyncRead for Pieces<'_> {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.first.is_empty() {
            buffer.put_slice(std::mem::take(&mut self.first));
            return Poll::Ready(Ok(()));
        }
        if self.left.is_empty() && self.times > 1 {
            (self.left, self.times) = (self.frames, self.times - 1);
        }
        let (piece, left) = self.left.split_at(self.left.len().min(buffer.remaining()).min(PIECE_BYTES));
        buffer.put_slice(piece);
        self.left = left;
        Poll::Ready(Ok(()))
    }
}

/// The cost of a read that copies: all of it as payload, in no frames.
fn copying(frames: &[u8], times: u32) -> (Counts, Duration) {
    let (mut buffer, mut counts) = (vec![1; PIECE_BYTES], Counts::default());
    let begin = Instant::now();
    for _ in 0..times {
        for piece in frames.chunks(PIECE_BYTES) {
            buffer[..piece.len()].copy_from_slice(piece);
            black_box(&mut buffer);
            counts.payload_bytes += piece.len() as u64;
        }
    }
    (counts, begin.elapsed())
}
