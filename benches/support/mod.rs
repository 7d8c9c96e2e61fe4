//! What the benchmarks share: their options, the table and the JSON of results, distributions of what is measured, C
//! programs, and instructions counted by callgrind.

#![allow(dead_code, reason = "no benchmark uses all of it")]

pub(crate) mod host;
pub(crate) mod system_calls;

use clap::Parser;
use demuxbuf_ffi_tests::{root, target, try_run};
use hdrhistogram::Histogram;
use rustix::mm::{Advice, madvise};
use serde_json::{Map, Value, json};
use std::path::PathBuf;
use std::process::Command;

pub(crate) type Error = Box<dyn std::error::Error>;

/// From here on the library asks for large pages for a table, and how large these are.
const LARGE_TABLE_BYTES: usize = 32 << 20;
const LARGE_PAGE_BYTES: usize = 2 << 20;

/// How long to measure. `cargo test --benches` only tries whether everything runs, as `--smoke` does.
#[derive(Clone, Debug, Parser)]
pub(crate) struct Options {
    /// Try in a moment whether everything runs; the figures mean nothing.
    #[arg(long)]
    pub(crate) smoke: bool,
    /// Measure for several times as long.
    #[arg(long, conflicts_with = "smoke")]
    pub(crate) long: bool,
    /// What `cargo bench` passes.
    #[arg(long, hide = true)]
    bench: bool,
    /// A part that runs in a process of its own: its name and arguments.
    #[arg(long, hide = true, num_args = 1..)]
    pub(crate) child: Vec<String>,
}

impl Options {
    pub(crate) fn read() -> Options {
        let options = Options::parse();
        Options { smoke: options.smoke || !options.bench, ..options }
    }

    /// One of three, by how long to measure.
    pub(crate) fn pick<T>(&self, smoke: T, usual: T, long: T) -> T {
        match (self.smoke, self.long) {
            (true, _) => smoke,
            (false, false) => usual,
            (false, true) => long,
        }
    }
}

/// This program again, for a part in a process of its own.
pub(crate) fn child(name: &str, arguments: &[String]) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("a program has a path"));
    command.arg("--child").arg(name).args(arguments);
    command
}

/// The results of one benchmark: a table, and the same as JSON.
pub(crate) struct Report {
    name: &'static str,
    columns: Vec<&'static str>,
    rows: Vec<Vec<Value>>,
    facts: Map<String, Value>,
}

impl Report {
    pub(crate) fn new(name: &'static str, columns: &[&'static str], options: &Options) -> Report {
        let mut report = Report { name, columns: columns.to_vec(), rows: Vec::new(), facts: Map::new() };
        report.fact("machine", machine());
        report.fact("commit", commit());
        report.fact("effort", options.pick("smoke", "usual", "long"));
        report
    }

    /// Something that concerns all of it.
    pub(crate) fn fact(&mut self, name: &str, value: impl Into<Value>) {
        self.facts.insert(name.into(), value.into());
    }

    /// One cell for each column; null where there is no value.
    pub(crate) fn row(&mut self, cells: Vec<Value>) {
        assert_eq!(cells.len(), self.columns.len(), "a row has a cell for each column");
        self.rows.push(cells);
    }

    /// Prints the table and writes `target/bench/NAME.json`.
    pub(crate) fn finish(self) {
        let head = self.columns.iter().map(|&column| column.to_string()).collect();
        let table: Vec<Vec<String>> =
            std::iter::once(head).chain(self.rows.iter().map(|row| row.iter().map(show).collect())).collect();
        let width = |column: usize| table.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        println!();
        for row in &table {
            let cell = |(column, text): (usize, &String)| {
                let is_text = column == 0 || self.rows.iter().all(|row| row[column].is_string());
                if is_text { format!("{text:<0$}", widths[column]) } else { format!("{text:>0$}", widths[column]) }
            };
            println!("{}", row.iter().enumerate().map(cell).collect::<Vec<_>>().join("  ").trim_end());
        }
        for (name, value) in &self.facts {
            println!("{name}: {}", show(value));
        }
        let keyed = |row: &Vec<Value>| -> Value {
            self.columns.iter().map(|&column| column.to_string()).zip(row.iter().cloned()).collect::<Map<_, _>>().into()
        };
        let mut all = self.facts.clone();
        all.insert("rows".into(), self.rows.iter().map(keyed).collect());
        let file = folder().join(format!("{}.json", self.name));
        std::fs::write(&file, format!("{:#}\n", Value::Object(all))).expect("target/ is writable");
        println!("{}", file.display());
    }
}

/// Three digits are more than a shared machine can resolve.
fn show(value: &Value) -> String {
    match value {
        Value::Null => "-".into(),
        Value::String(text) => text.clone(),
        Value::Number(number) if number.is_f64() => {
            let number = number.as_f64().expect("it is one");
            let digits = [100.0, 10.0].iter().filter(|&&limit| number.abs() < limit).count();
            format!("{number:.digits$}")
        }
        other => other.to_string(),
    }
}

/// The order in which those that are compared have their turn in a round: each is the first equally often.
pub(crate) fn rotated(round: u32, count: usize) -> impl Iterator<Item = usize> {
    (0..count).map(move |at| (at + round as usize) % count)
}

/// Where results and what is measured are.
pub(crate) fn folder() -> PathBuf {
    let folder = target().join("bench");
    std::fs::create_dir_all(&folder).expect("target/ is writable");
    folder
}

fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let all = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = all.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("unknown");
    format!("{cores} cores, {}", model.trim_start_matches([' ', '\t', ':']))
}

fn commit() -> String {
    let git = |arguments: &[&str]| try_run(Command::new("git").args(arguments).current_dir(root()));
    let Ok(commit) = git(&["rev-parse", "--short", "HEAD"]) else { return "unknown".into() };
    let changed = git(&["status", "--porcelain", "--untracked-files=no"]).is_ok_and(|changes| !changes.is_empty());
    format!("{}{}", commit.trim(), if changed { ", changed" } else { "" })
}

/// A table of this many entries, on large pages where the library's own tables would be.
pub(crate) fn filled<T: Clone>(entries: usize, entry: T) -> Vec<T> {
    let mut table = Vec::with_capacity(entries);
    let room = table.spare_capacity_mut();
    let (start, bytes) = (room.as_mut_ptr().cast::<u8>(), size_of_val(room));
    if bytes >= LARGE_TABLE_BYTES {
        let before = start.align_offset(LARGE_PAGE_BYTES);
        let inside = (bytes - before) / LARGE_PAGE_BYTES * LARGE_PAGE_BYTES;
        // SAFETY: inside the table's room, of which no content is changed. Refused, it stays on small pages.
        let _ = unsafe { madvise(start.add(before).cast(), inside, Advice::LinuxHugepage) };
    }
    table.resize(entries, entry);
    table
}

/// What was measured several times: three significant digits, from a thousandth on.
pub(crate) struct Samples(Histogram<u64>);

impl Samples {
    pub(crate) fn new() -> Samples {
        Samples(Histogram::new(3).expect("three digits are allowed"))
    }

    pub(crate) fn record(&mut self, value: f64) {
        self.0.record((value * 1000.0).round() as u64).expect("it grows by itself");
    }

    pub(crate) fn median(&self) -> f64 {
        self.at(0.5)
    }

    pub(crate) fn at(&self, quantile: f64) -> f64 {
        self.0.value_at_quantile(quantile) as f64 / 1000.0
    }
}

/// Whether valgrind is there; prints a line if it is not.
pub(crate) fn has_valgrind() -> bool {
    let is_there = try_run(Command::new("valgrind").arg("--version")).is_ok();
    if !is_there {
        println!("skipped: counting instructions, valgrind is not installed");
    }
    is_there
}

/// What callgrind counted of a whole run of a program.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counted {
    pub(crate) instructions: u64,
    /// Misses of the first cache for data, and of the last; 0 unless caches were simulated.
    pub(crate) first_misses: u64,
    pub(crate) last_misses: u64,
}

/// The same command under callgrind, with these options of its; what it prints at its end goes to [`Counted::read`].
pub(crate) fn under_callgrind(command: &Command, options: &[&str]) -> Command {
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).args(options);
    valgrind.arg(command.get_program()).args(command.get_args());
    valgrind
}

impl Counted {
    /// Of a run to its end; with what it printed.
    pub(crate) fn of(command: &Command, options: &[&str]) -> (Counted, String) {
        let mut valgrind = under_callgrind(command, options);
        let output = valgrind.output().unwrap_or_else(|error| panic!("{valgrind:?}: {error}"));
        let notes = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{valgrind:?}: {}\n{notes}", output.status);
        (Counted::read(&notes), String::from_utf8_lossy(&output.stdout).into())
    }

    /// From the output of callgrind. The line has instructions, reads and writes; then the misses of each of the three,
    /// of the first cache and of the last. It ends with the last that is not zero.
    pub(crate) fn read(notes: &str) -> Counted {
        let line =
            notes.lines().find_map(|line| line.split_once("Collected :")).expect("callgrind prints what it counted").1;
        let mut counts = [0; 9];
        for (at, count) in line.split_whitespace().enumerate() {
            counts[at] = count.parse().expect("callgrind prints numbers");
        }
        let [instructions, _, _, _, first_reads, first_writes, _, last_reads, last_writes] = counts;
        assert!(instructions > 0, "callgrind counts what it is to count");
        Counted { instructions, first_misses: first_reads + first_writes, last_misses: last_reads + last_writes }
    }
}

/// Instructions of a whole run of a command.
pub(crate) fn instructions(command: &Command) -> u64 {
    Counted::of(command, &[]).0.instructions
}

/// Instructions of one cycle of a command that plays a given number of them: the difference of two runs, so that start
/// and end are left out.
pub(crate) fn instructions_of_each(few: u32, many: u32, command: impl Fn(u32) -> Command) -> f64 {
    let [few_counted, many_counted] = [few, many].map(|cycles| instructions(&command(cycles)));
    (many_counted - few_counted) as f64 / f64::from(many - few)
}

/// The cell of a ratio, if both are known.
pub(crate) fn ratio(of: Option<f64>, to: Option<f64>) -> Value {
    of.zip(to).map_or(Value::Null, |(of, to)| json!(of / to))
}
