//! The cost of decoding frames: with this library, in Rust and through C, beside others that get the same bytes, a
//! buffer at a time. What each takes from them is counted and compared. `http2.rs` and `fastcgi.rs` have the frames and
//! the decoders.
//!
//! Of frames that are taken in pieces a decoder reads headers only, whatever the payload. So bytes per second of large
//! frames show how rarely there is a header, and that nothing is copied, but not what a proxy can do with them.
//! *Copying alone* shows the cost of a read that copies.

mod fastcgi;
mod http2;
#[path = "../support/mod.rs"]
mod support;

use demuxbuf_ffi_tests::{Linking, Program, run};
use rustix::time::{ClockId, clock_gettime};
use serde_json::json;
use std::hint::black_box;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;
use support::{Options, Report, Samples, child, folder, has_valgrind, instructions, ratio, rotated};

type Error = Box<dyn std::error::Error>;

/// The most bytes that one receive brings, the same as in `baseline/framing/host.h`.
const PIECE_BYTES: usize = 16384;

const TINY: u32 = 4096;
const LARGE: u32 = 64;

/// A protocol: frames of it, and what decodes them.
struct Protocol {
    cases: Vec<Case>,
    ways: Vec<Way>,
}

/// Frames that are all alike, behind those that must come first.
struct Case {
    title: &'static str,
    /// Name of the file with its bytes.
    file: String,
    prologue: Vec<u8>,
    frame: Vec<u8>,
    /// What is taken from one frame.
    each: Counts,
    /// In one time.
    frames: u32,
    times: u32,
}

/// What was taken from frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    frames: u64,
    payload_bytes: u64,
    /// The sum of what only the payloads have.
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
    fn new(title: &'static str, file: String, prologue: Vec<u8>, frame: Vec<u8>, each: Counts) -> Case {
        let (frames, times) = if frame.len() < 1024 { (TINY, 50) } else { (LARGE, 200) };
        Case { title, file, prologue, frame, each, frames, times }
    }

    fn counts(&self, times: u32) -> Counts {
        let frames = u64::from(self.frames) * u64::from(times);
        let Counts { payload_bytes, content, .. } = self.each;
        Counts { frames, payload_bytes: frames * payload_bytes, content: frames.wrapping_mul(content) }
    }

    /// Writes the prologue and the frames; returns what a decoder has to know about them.
    fn write(&self) -> Result<[String; 2], Error> {
        let file = folder().join(&self.file);
        std::fs::write(&file, [self.prologue.clone(), self.frame.repeat(self.frames as usize)].concat())?;
        Ok([file.to_str().ok_or("the path is text")?.into(), self.prologue.len().to_string()])
    }
}

/// A way to decode, and what runs it.
struct Way {
    title: &'static str,
    command: Command,
}

impl Way {
    fn rust(title: &'static str, name: &str) -> Way {
        Way { title, command: child(name, &[]) }
    }

    /// A source of `baseline/framing`.
    fn c(title: &'static str, source: &str, libraries: &[&str]) -> Way {
        let flags = ["-D_GNU_SOURCE"].iter().chain(libraries).map(ToString::to_string).collect();
        let sources = vec![PathBuf::from(format!("benches/baseline/framing/{source}.c"))];
        let program = Program { name: format!("framing-{source}"), sources, linking: Linking::Static, flags };
        Way { title, command: Command::new(program.build()) }
    }
}

const COPYING: &str = "(e) copying alone";

fn main() -> Result<(), Error> {
    let options = Options::read();
    if let [name, file, prologue, times] = options.child.as_slice() {
        return decode(name, &std::fs::read(file)?, prologue.parse()?, times.parse()?);
    }
    let columns = ["frame", "decoded by", "instructions", "to (a)", "ns", "ns to (a)", "frames/s, millions", "MB/s"];
    let mut report = Report::new("framing", &columns, &options);
    let protocols = [http2::protocol(&mut report)?, fastcgi::protocol()];
    report.fact("rounds", options.pick(1, 25, 250));
    for Protocol { cases, ways } in &protocols {
        for case in cases {
            compare(case, ways, &options, &mut report)?;
        }
    }
    report.finish();
    Ok(())
}

/// Adds a row for each way to decode these frames.
fn compare(case: &Case, ways: &[Way], options: &Options, report: &mut Report) -> Result<(), Error> {
    let files = case.write()?;
    let is_counted = !options.smoke && has_valgrind();
    let counts: Vec<Option<f64>> =
        ways.iter().map(|way| is_counted.then(|| count(way, case, &files)).transpose()).collect::<Result<_, _>>()?;
    let times = options.pick(1, case.times, case.times);
    let mut samples: Vec<(Samples, Samples)> = ways.iter().map(|_| (Samples::new(), Samples::new())).collect();
    for round in 0..options.pick(1, 25, 250) {
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
        let (ns, bytes) = (times.median(), case.frame.len() as f64);
        let mut cells = vec![json!(case.title), json!(way.title), json!(count), ratio(*count, counts[0])];
        cells.extend([ns, ratios.median(), 1e3 / ns, 1e3 * bytes / ns].map(|figure| json!(figure)));
        report.row(cells);
    }
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
        let bytes = expected.frames * case.frame.len() as u64;
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
        "demuxbuf-http2" => receive_all(http2::Host::new(), prologue, frames, times)?,
        "demuxbuf-fastcgi" => receive_all(fastcgi::Host::new(), prologue, frames, times)?,
        "h2" => http2::with_h2(prologue, frames, times)?,
        "copying" => copying(frames, times),
        other => return Err(format!("no such decoder: {other}").into()),
    };
    println!("{} {} {} {}", counts.frames, counts.payload_bytes, counts.content, spent.as_nanos());
    Ok(())
}

/// A host that decodes with this library.
trait Decode {
    /// Returns how many bytes it took; the remaining ones come again, in front of the next.
    fn decode(&mut self, data: &[u8]) -> Result<usize, Error>;

    fn counts(&mut self) -> &mut Counts;
}

/// The same loop as in `baseline/framing/host.h`.
fn receive_all(mut host: impl Decode, prologue: &[u8], frames: &[u8], times: u32) -> Result<(Counts, Duration), Error> {
    receive(&mut host, prologue)?;
    *host.counts() = Counts::default();
    let begin = processor_time();
    for _ in 0..times {
        receive(&mut host, black_box(frames))?;
    }
    Ok((*host.counts(), processor_time() - begin))
}

fn receive(host: &mut impl Decode, bytes: &[u8]) -> Result<(), Error> {
    let (mut taken, mut received) = (0, 0);
    while received < bytes.len() {
        received = bytes.len().min(received + PIECE_BYTES);
        taken += host.decode(&bytes[taken..received])?;
    }
    if taken == bytes.len() { Ok(()) } else { Err("a part of a frame is left".into()) }
}

/// The cost of a read that copies: all of it as payload, in no frames.
fn copying(frames: &[u8], times: u32) -> (Counts, Duration) {
    let (mut buffer, mut counts) = (vec![1; PIECE_BYTES], Counts::default());
    let begin = processor_time();
    for _ in 0..times {
        for piece in frames.chunks(PIECE_BYTES) {
            buffer[..piece.len()].copy_from_slice(piece);
            black_box(&mut buffer);
            counts.payload_bytes += piece.len() as u64;
        }
    }
    (counts, processor_time() - begin)
}

/// Time of the processor that this process has used: it does not matter how often another one has its turn.
fn processor_time() -> Duration {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}
