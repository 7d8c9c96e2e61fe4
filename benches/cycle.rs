//! The cost of one receive cycle, uncontended: readable, a buffer, bytes, all of them decoded, the buffer released. In
//! Rust and through both kinds of C library, beside what proxies write by hand in C (`baseline/cycle`).
//!
//! Instructions are counted by callgrind: the difference of two runs, so that start and end are left out. Time is taken
//! in rounds in which every program has its turn, so that a busy moment of the machine hits all alike; a harness that
//! measures one function after the other could not do that, nor measure what is linked in three ways. Ratios of times
//! are the median of the rounds' ratios; the program that begins changes from round to round.
//!
//! Read interest stays armed, as with a level-triggered poller; *one-shot* it is off after its first report and armed
//! anew in each cycle. Ratios are to those with the same kind of read interest.
//!
//! The transport and the decoder are empty. In the columns with a size, each cycle receives that many bytes by
//! `recv(2)` from a socket of `socketpair(2)`, the cheapest one there is: with one connection busy, with a buffer that
//! stays in the processor's cache in every way to manage buffers; and with 64 busy in turn.

#![allow(clippy::disallowed_methods, reason = "a benchmark measures time")]

mod support;

use demuxbuf::connection::Mode;
use demuxbuf_ffi_tests::{Linking, Program, run};
use serde_json::json;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};
use support::host::{self, CONNECTIONS, Host, RECEIVED_BYTES};
use support::{Error, Options, Report, Samples, has_valgrind, instructions_of_each, ratio, rotated};

/// Receives from sockets: bytes, and how many connections are busy. The larger receive leaves a byte of the buffer
/// free, so that one receive runs dry.
const RECEIVES: [(u32, u32); 4] = [(1024, 1), (1024, 64), (16383, 1), (16383, 64)];

/// A way to manage receive buffers.
struct Way {
    title: &'static str,
    /// Calls of the library.
    calls: Option<u32>,
    /// Whether read interest is off after its first report.
    is_one_shot: bool,
    code: Code,
}

enum Code {
    /// This program.
    Rust,
    C {
        source: &'static str,
        linking: Linking,
    },
}

const fn by_hand(title: &'static str, source: &'static str) -> Way {
    Way { title, calls: None, is_one_shot: false, code: Code::C { source, linking: Linking::Static } }
}

const fn through_c(title: &'static str, calls: u32, source: &'static str, linking: Linking) -> Way {
    Way { title, calls: Some(calls), is_one_shot: false, code: Code::C { source, linking } }
}

const fn one_shot(way: Way) -> Way {
    Way { is_one_shot: true, ..way }
}

const WAYS: [Way; 13] = [
    by_hand("(a) C, list and queues of each thread", "per_thread"),
    by_hand("(b) C, one lock", "one_lock"),
    by_hand("(c) C, malloc and free", "malloc"),
    by_hand("(d) C, a buffer for each connection", "own"),
    Way { calls: Some(3), ..by_hand("(e) C, as (d), behind calls that check", "border") },
    Way { title: "receivers, Rust", calls: Some(3), is_one_shot: false, code: Code::Rust },
    through_c("receivers, C, static library", 3, "receiver", Linking::Static),
    through_c("receivers, C, shared library", 3, "receiver", Linking::Shared),
    one_shot(by_hand("(a) one-shot", "per_thread")),
    one_shot(by_hand("(d) one-shot", "own")),
    one_shot(through_c("receivers, C, static library, one-shot", 4, "receiver", Linking::Static)),
    one_shot(through_c("state machine alone, C, static library, one-shot", 2, "machine", Linking::Static)),
    one_shot(through_c("state machine alone, C, shared library, one-shot", 2, "machine", Linking::Shared)),
];

/// That of the source by which others are measured: the one with the same kind of read interest.
fn reference(way: usize, to: &str) -> usize {
    let is_it = |other: &Way| {
        other.is_one_shot == WAYS[way].is_one_shot && matches!(other.code, Code::C { source, .. } if source == to)
    };
    WAYS.iter().position(is_it).expect("each kind of read interest has its own")
}

const PER_THREAD: &str = "per_thread";
const OWN: &str = "own";

fn main() -> Result<(), Error> {
    let options = Options::read();
    if let [name, cycles, bytes, busy] = options.child.as_slice() {
        assert_eq!(name, "receivers");
        return receivers(cycles.parse()?, bytes.parse()?, busy.parse()?);
    }
    let programs: Vec<Programs> = WAYS.iter().map(Programs::build).collect();
    let counts: Vec<Option<f64>> = if options.smoke {
        // One is enough to see that it works.
        let last = programs.len() - 1;
        (0..=last).map(|way| (way == last && has_valgrind()).then(|| count(&programs[way]))).collect()
    } else if has_valgrind() {
        programs.iter().map(|programs| Some(count(programs))).collect()
    } else {
        vec![None; programs.len()]
    };

    let rounds = options.pick(1, 25, 250);
    let cycles = options.pick(640, 640_000, 640_000);
    let empty = measure(rounds, PER_THREAD, &programs, |programs| programs.run(cycles, 0, 64));
    let cycles = options.pick(640, 12_800, 12_800);
    let received =
        RECEIVES.map(|(bytes, busy)| measure(rounds, OWN, &programs, |programs| programs.run(cycles, bytes, busy)));

    let columns = [
        "one cycle",
        "calls",
        "instructions",
        "to (a)",
        "ns",
        "ns to (a)",
        "1 KiB, 1 busy",
        "to (d)",
        "1 KiB, 64 busy",
        "to (d) ",
        "16 KiB, 1 busy",
        " to (d)",
        "16 KiB, 64 busy",
        " to (d) ",
    ];
    let mut report = Report::new("cycle", &columns, &options);
    report.fact("rounds", rounds);
    for (way, of) in WAYS.iter().enumerate() {
        let mut cells = vec![json!(of.title), json!(of.calls), json!(counts[way].map(|count| count.round() as u64))];
        cells.push(ratio(counts[way], counts[reference(way, PER_THREAD)]));
        for (time, ratio) in std::iter::once(&empty).chain(&received).map(|all| &all[way]) {
            cells.extend([json!(time.median()), json!(ratio.median())]);
        }
        report.row(cells);
    }
    report.finish();
    Ok(())
}

/// What a way is built to: without a system call, and with.
#[derive(Debug)]
struct Programs {
    empty: Command,
    receiving: Command,
}

impl Programs {
    fn build(way: &Way) -> Programs {
        let Code::C { source, linking } = way.code else {
            let this = || support::child("receivers", &[]);
            return Programs { empty: this(), receiving: this() };
        };
        let program = |defines: &[&str]| {
            let read_interest = way.is_one_shot.then_some("ONE_SHOT");
            let defines: Vec<&str> = ["_GNU_SOURCE"].iter().chain(defines).copied().chain(read_interest).collect();
            let flags = defines.iter().map(|define| format!("-D{define}")).collect();
            let sources = vec![PathBuf::from(format!("benches/baseline/cycle/{source}.c"))];
            let name = format!("cycle-{source}-{linking:?}-{}", defines[1..].join("-")).to_lowercase();
            Command::new(Program { name, sources, linking, flags }.build())
        };
        Programs { empty: program(&[]), receiving: program(&["RECV"]) }
    }

    /// Nanoseconds of one cycle; with 0 bytes none are received from a socket.
    fn run(&self, cycles: u32, bytes: u32, busy: u32) -> f64 {
        let printed = run(&mut self.command(cycles, bytes, busy));
        let numbers: Vec<u64> = printed.split_whitespace().map(|number| number.parse().expect("a number")).collect();
        let [spent, received, decoded] = numbers[..] else { panic!("it prints three numbers: {printed}") };
        let all = u64::from(cycles / busy * busy) * u64::from(if bytes == 0 { RECEIVED_BYTES } else { bytes });
        assert_eq!((received, decoded), (all, all), "every way does the same work: {self:?}");
        spent as f64 / f64::from(cycles / busy * busy)
    }

    fn command(&self, cycles: u32, bytes: u32, busy: u32) -> Command {
        let of = if bytes == 0 { &self.empty } else { &self.receiving };
        let mut command = Command::new(of.get_program());
        command.args(of.get_args()).args([cycles, bytes, busy].map(|number| number.to_string()));
        command
    }
}

fn count(programs: &Programs) -> f64 {
    instructions_of_each(6_400, 25_600, |cycles| programs.command(cycles, 0, 64))
}

/// Of each program the times, and their ratios to those of its reference in the same round.
fn measure(rounds: u32, to: &str, programs: &[Programs], time: impl Fn(&Programs) -> f64) -> Vec<(Samples, Samples)> {
    let mut samples: Vec<_> = programs.iter().map(|_| (Samples::new(), Samples::new())).collect();
    for round in 0..rounds {
        let mut times = vec![0.0; programs.len()];
        for way in rotated(round, programs.len()) {
            times[way] = time(&programs[way]);
        }
        for (way, (all, ratios)) in samples.iter_mut().enumerate() {
            all.record(times[way]);
            ratios.record(times[way] / times[reference(way, to)]);
        }
    }
    samples
}

/// The same loop as `baseline/cycle/receiver.c`; prints the same.
fn receivers(cycles: u64, bytes: usize, busy: usize) -> Result<(), Error> {
    let mut host = Host::<{ Mode::Level as u8 }>::new()?;
    let iterations = cycles / busy as u64;
    let spent = if bytes == 0 {
        let begin = Instant::now();
        for _ in 0..iterations {
            host.iterate(CONNECTIONS, host::receive)?;
        }
        begin.elapsed()
    } else {
        let content = vec![0; bytes];
        let mut sockets = open_sockets()?;
        let mut spent = Duration::ZERO;
        for _ in 0..iterations {
            for (_, peer) in &mut sockets[..busy] {
                peer.write_all(&content)?;
            }
            let begin = Instant::now();
            host.iterate(busy, |index, area| Ok(sockets[index].0.read(area)? as u32))?;
            spent += begin.elapsed();
        }
        spent
    };
    host.finish(host.work.received_bytes)?;
    println!("{} {} {}", spent.as_nanos(), host.work.received_bytes, host.work.decoded_bytes);
    Ok(())
}

fn open_sockets() -> Result<Vec<(UnixStream, UnixStream)>, Error> {
    let open = |_| {
        let pair = UnixStream::pair()?;
        pair.0.set_nonblocking(true)?;
        Ok(pair)
    };
    (0..CONNECTIONS).map(open).collect()
}
