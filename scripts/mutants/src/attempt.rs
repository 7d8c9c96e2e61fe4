//! A whole run: the copy, the builds, the tests on each mutant, and the results, which are kept.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::cargo::{self, Built};
use crate::find::{Found, Mutant, find};
use crate::list::List;
use crate::run::{Ended, Test};
use crate::switch::{self, Place};
use crate::tree;

/// Tests of something else than the library's behaviour.
const OTHERS: [&str; 3] = ["header", "loom", "scenarios_doc"];

/// The tests of the second round, for mutants that the library's own quick tests do not notice.
const SLOW: [&str; 16] = [
    "-p",
    "demuxbuf-oracle",
    "-p",
    "demuxbuf-ffi-tests",
    "--test",
    "scheduler",
    "--test",
    "connection",
    "--test",
    "pool",
    "--test",
    "seeds",
    "--test",
    "c_api",
    "--test",
    "tasklet",
];

/// A program that takes longer belongs to the second round.
const QUICK: Duration = Duration::from_secs(4);

/// A test that runs for `PATIENCE` times its time without a mutant, and at least for `PATIENCE_MIN`, counts as one that
/// does not end.
const PATIENCE: u32 = 3;
const PATIENCE_MIN: Duration = Duration::from_secs(60);

/// The limit of a test without a mutant.
const BASELINE_LIMIT: Duration = Duration::from_secs(1200);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Caught,
    TimedOut,
    DoesNotBuild,
    Survived,
}

impl Outcome {
    const ALL: [(Outcome, &str); 4] = [
        (Outcome::Caught, "caught"),
        (Outcome::TimedOut, "by time"),
        (Outcome::DoesNotBuild, "does not build"),
        (Outcome::Survived, "survived"),
    ];

    fn name(self) -> &'static str {
        Outcome::ALL.iter().find(|(outcome, _)| *outcome == self).expect("all are there").1
    }
}

struct File {
    name: String,
    text: String,
    found: Found,
    /// The number of the file's first mutant.
    first: u32,
    /// Mutants with which the switched library does not build.
    broken: BTreeSet<usize>,
}

pub struct Attempt<'a> {
    tree: PathBuf,
    target: PathBuf,
    results: PathBuf,
    list: &'a List,
    files: Vec<File>,
    /// The top of the library and its package.
    library: (&'static str, &'static str),
    /// The text of that file, which gets a module more.
    top: String,
    /// Each nth mutant is tried.
    step: usize,
    done: BTreeMap<String, (Outcome, String)>,
    quick: Vec<Test>,
    slow: Option<Vec<Test>>,
}

/// The top of the library whose files are changed, and its package. Files of the C API are a library of their own.
const CORE: (&str, &str) = ("src/lib.rs", "demuxbuf");
const CAPI: (&str, &str) = ("capi/src/lib.rs", "demuxbuf-capi");

fn library_of(names: &[&str]) -> Result<(&'static str, &'static str), String> {
    match names.iter().filter(|name| name.starts_with("capi/")).count() {
        0 => Ok(CORE),
        count if count == names.len() => Ok(CAPI),
        _ => Err("files of the core and of the C API are tried in runs of their own".into()),
    }
}

impl<'a> Attempt<'a> {
    /// Finds the mutants and makes the copy.
    pub fn prepare(
        root: &Path,
        folder: &Path,
        names: &[&str],
        list: &'a List,
        sample: Option<usize>,
    ) -> Result<Attempt<'a>, String> {
        let library = library_of(names)?;
        let mut files = Vec::new();
        let mut first = 1;
        for name in names {
            let text = crate::read(root, name)?;
            let found = find(name, &text)?;
            let count = found.mutants.len() as u32;
            files.push(File { name: (*name).to_owned(), text, found, first, broken: BTreeSet::new() });
            first += count;
        }
        let but = names.iter().map(|name| (*name).to_owned()).chain([library.0.to_owned()]).collect();
        let tree = folder.join("tree");
        std::fs::create_dir_all(&tree).map_err(|error| format!("{}: {error}", tree.display()))?;
        let digest = tree::copy(root, &tree, &but)?;
        let results = folder.join("results");
        let done = read_results(&results, digest)?;
        let step = sample.map_or(1, |sample| (first as usize / sample.max(1)).max(1));
        let target = folder.join("build");
        let top = crate::read(root, library.0)?;
        Ok(Attempt { tree, target, results, list, files, library, top, step, done, quick: Vec::new(), slow: None })
    }

    /// Tries all mutants that are not done yet.
    pub fn run(&mut self) -> Result<(), String> {
        let began = Instant::now();
        self.build_switched()?;
        let count: usize = self.files.iter().map(|file| file.found.mutants.len()).sum();
        let broken: usize = self.files.iter().map(|file| file.broken.len()).sum();
        println!("{count} mutants, {} in one library, built in {} s", count - broken, began.elapsed().as_secs());
        let began = Instant::now();
        self.try_switched()?;
        println!("tried those in {} s", began.elapsed().as_secs());
        let began = Instant::now();
        self.try_alone()?;
        println!("tried the rest in {} s", began.elapsed().as_secs());
        Ok(())
    }

    fn is_wanted(&self, file: &File, index: usize) -> bool {
        (file.first as usize + index) % self.step == 0
    }

    fn build(&self, arguments: &[&str]) -> Result<Built, String> {
        cargo::build(&self.tree, &self.target, arguments)
    }

    /// Writes one of the files, or the top of the library with the module that switches.
    fn write(&self, name: &str, text: &str) -> Result<(), String> {
        let module = if name == self.library.0 { switch::MODULE } else { "" };
        tree::write(&self.tree.join(name), format!("{text}{module}").as_bytes())
    }

    /// The library with all mutants with which it builds.
    fn build_switched(&mut self) -> Result<(), String> {
        for file in &mut self.files {
            let is_fixed = |(_, mutant): &(usize, &Mutant)| !mutant.is_switchable;
            file.broken = file.found.mutants.iter().enumerate().filter(is_fixed).map(|(index, _)| index).collect();
        }
        self.write(self.library.0, &self.top)?;
        loop {
            let mut places = Vec::new();
            for file in &self.files {
                let number = |index: usize| (!file.broken.contains(&index)).then_some(file.first + index as u32);
                let switched = switch::switch(&file.text, &file.found, number);
                self.write(&file.name, &switched.text)?;
                places.push(switched.places);
            }
            let built = self.build(&["-p", self.library.1, "--lib", "--tests"])?;
            if built.is_done {
                self.quick = self.measure(built.programs, &OTHERS)?;
                return Ok(());
            }
            let mut more = 0;
            for error in &built.errors {
                let Some(at) = self.files.iter().position(|file| file.name == error.file) else { continue };
                let error = &error.bytes;
                let around = |(range, _): &&Place| range.start <= error.start && error.end <= range.end;
                let inside = |(range, _): &&Place| error.start <= range.start && range.end <= error.end;
                // The smallest that the error is in; else the last that is in it.
                let innermost = places[at].iter().filter(around).min_by_key(|(range, _)| range.len());
                let last = || places[at].iter().filter(inside).max_by_key(|(range, _)| range.end);
                if let Some((_, mutants)) = innermost.or_else(last) {
                    more += mutants.iter().filter(|&&mutant| self.files[at].broken.insert(mutant)).count();
                }
            }
            if more == 0 {
                return Err(format!("the library with the mutants does not build:\n{}", built.output));
            }
        }
    }

    /// Runs tests without a mutant, to see that they pass and how long they take; the quickest come first.
    fn measure(&self, programs: Vec<(String, PathBuf)>, but: &[&str]) -> Result<Vec<Test>, String> {
        let mut tests = Vec::new();
        for (name, program) in programs {
            if but.contains(&name.as_str()) {
                continue;
            }
            let mut test = Test { name, program, arguments: vec!["--quiet".into()], took: Duration::ZERO };
            let began = Instant::now();
            let ended = test.run(&self.tree, &self.target, 0, BASELINE_LIMIT)?;
            if ended != Ended::Passed {
                return Err(format!("without a mutant, {} has {ended:?}: {}", test.name, test.program.display()));
            }
            test.took = began.elapsed();
            tests.push(test);
        }
        tests.sort_by_key(|test| test.took);
        Ok(tests)
    }

    /// How many of the library's own tests are quick.
    fn quick_count(&self) -> usize {
        self.quick.iter().filter(|test| test.took <= QUICK).count()
    }

    fn slow(&mut self) -> Result<Vec<Test>, String> {
        if self.slow.is_none() {
            let built = self.build(&SLOW)?;
            if !built.is_done {
                return Err(format!("the tests of the second round do not build:\n{}", built.output));
            }
            self.slow = Some(self.measure(built.programs, &[])?);
        }
        let own = &self.quick[self.quick_count()..];
        Ok(own.iter().chain(self.slow.as_ref().expect("just made")).cloned().collect())
    }

    fn try_switched(&mut self) -> Result<(), String> {
        let mut work: Vec<(String, u32)> = Vec::new();
        for file in &self.files {
            for (index, mutant) in file.found.mutants.iter().enumerate() {
                let is_done = self.done.contains_key(&mutant.key) || file.broken.contains(&index);
                if self.is_wanted(file, index) && !is_done {
                    work.push((mutant.key.clone(), file.first + index as u32));
                }
            }
        }
        let quick = self.quick[..self.quick_count()].to_vec();
        let missed = self.try_all(&work, &quick, false)?;
        if missed.is_empty() {
            return Ok(());
        }
        println!("{} for the second round", missed.len());
        let slow = self.slow()?;
        self.try_all(&missed, &slow, true).map(drop)
    }

    /// Tries mutants, several at a time; returns those that no test noticed, if these are not the last tests and they
    /// are not listed.
    fn try_all(&mut self, work: &[(String, u32)], tests: &[Test], is_last: bool) -> Result<Vec<(String, u32)>, String> {
        let (next, missed, results) = (AtomicUsize::new(0), Mutex::new(Vec::new()), Mutex::new(Vec::new()));
        let jobs = std::thread::available_parallelism().map_or(1, usize::from);
        let mut log =
            std::fs::OpenOptions::new().append(true).open(&self.results).map_err(|error| error.to_string())?;
        let log = Mutex::new(&mut log);
        let failure = Mutex::new(None);
        std::thread::scope(|scope| {
            for _ in 0..jobs {
                scope.spawn(|| {
                    while let Some((key, number)) = work.get(next.fetch_add(1, Ordering::Relaxed)) {
                        match try_one(&self.tree, &self.target, *number, tests) {
                            Ok((Outcome::Survived, _)) if !is_last && !self.list.survives(key) => {
                                missed.lock().expect("no thread panics").push((key.clone(), *number));
                            }
                            Ok((outcome, by)) => {
                                let line = format!("{}\t{by}\t{key}\n", outcome.name());
                                let written = log.lock().expect("no thread panics").write_all(line.as_bytes());
                                if let Err(error) = written {
                                    *failure.lock().expect("no thread panics") = Some(error.to_string());
                                }
                                results.lock().expect("no thread panics").push((key.clone(), (outcome, by)));
                            }
                            Err(error) => *failure.lock().expect("no thread panics") = Some(error),
                        }
                    }
                });
            }
        });
        self.done.extend(results.into_inner().expect("no thread panics"));
        match failure.into_inner().expect("no thread panics") {
            Some(error) => Err(error),
            None => Ok(missed.into_inner().expect("no thread panics")),
        }
    }

    /// Tries the mutants that no variable can switch, each in a build of its own.
    fn try_alone(&mut self) -> Result<(), String> {
        let mut work = Vec::new();
        for (at, file) in self.files.iter().enumerate() {
            for &index in &file.broken {
                let mutant = &file.found.mutants[index];
                if self.is_wanted(file, index) && !self.done.contains_key(&mutant.key) {
                    work.push((at, mutant.clone()));
                }
            }
        }
        // From here on nothing is switched.
        for file in &self.files {
            self.write(&file.name, &file.text)?;
        }
        for (at, mutant) in work {
            let does_not_build = mutant.is_switchable && mutant.is_same_when_switched;
            if does_not_build {
                self.keep(&mutant.key, Outcome::DoesNotBuild, "")?;
                continue;
            }
            self.write(&self.files[at].name, &switch::alone(&self.files[at].text, &mutant))?;
            if self.build(&["-p", self.library.1, "--lib", "--tests"])?.is_done {
                self.try_build(&mutant)?;
            } else {
                self.keep(&mutant.key, Outcome::DoesNotBuild, "")?;
            }
            self.write(&self.files[at].name, &self.files[at].text)?;
        }
        Ok(())
    }

    /// The tests on the library as it is built now. Their programs have the same names as before.
    fn try_build(&mut self, mutant: &Mutant) -> Result<(), String> {
        let quick = self.quick[..self.quick_count()].to_vec();
        let (mut outcome, mut by) = try_one(&self.tree, &self.target, 0, &quick)?;
        if outcome == Outcome::Survived && !self.list.survives(&mutant.key) {
            if self.build(&SLOW)?.is_done {
                let slow = self.quick[self.quick_count()..].iter().chain(self.slow.iter().flatten()).cloned().collect();
                let slow: Vec<Test> = slow;
                (outcome, by) = try_one(&self.tree, &self.target, 0, &slow)?;
            } else {
                (outcome, by) = (Outcome::Caught, "a build".into());
            }
        }
        self.keep(&mutant.key, outcome, &by)
    }

    fn keep(&mut self, key: &str, outcome: Outcome, by: &str) -> Result<(), String> {
        let mut log =
            std::fs::OpenOptions::new().append(true).open(&self.results).map_err(|error| error.to_string())?;
        writeln!(log, "{}\t{by}\t{key}", outcome.name()).map_err(|error| error.to_string())?;
        self.done.insert(key.to_owned(), (outcome, by.to_owned()));
        Ok(())
    }

    /// The outcome of each mutant that was tried, and the test that noticed it.
    pub fn outcomes(&self) -> impl Iterator<Item = (&str, Outcome, &str)> {
        let all = self.files.iter().flat_map(|file| &file.found.mutants);
        all.filter_map(|mutant| {
            self.done.get(&mutant.key).map(|(outcome, by)| (mutant.key.as_str(), *outcome, by.as_str()))
        })
    }

    /// How many of each kind, by file.
    pub fn table(&self) -> String {
        let mut lines = vec!["| file | mutants | caught | by time | do not build | survived |".to_owned()];
        lines.push("|---|--:|--:|--:|--:|--:|".into());
        for file in &self.files {
            let outcomes = file.found.mutants.iter().filter_map(|mutant| self.done.get(&mutant.key));
            let outcomes: Vec<Outcome> = outcomes.map(|(outcome, _)| *outcome).collect();
            let count = |wanted| outcomes.iter().filter(|&&outcome| outcome == wanted).count().to_string();
            let counts = Outcome::ALL.map(|(outcome, _)| count(outcome)).join(" | ");
            lines.push(format!("| `{}` | {} | {counts} |", file.name, outcomes.len()));
        }
        lines.join("\n")
    }
}

fn try_one(tree: &Path, target: &Path, number: u32, tests: &[Test]) -> Result<(Outcome, String), String> {
    let mut timed_out = None;
    for test in tests {
        match test.run(tree, target, number, (test.took * PATIENCE).max(PATIENCE_MIN))? {
            Ended::Failed => return Ok((Outcome::Caught, test.name.clone())),
            // One more test may have more to report.
            Ended::TimedOut if timed_out.is_some() => break,
            Ended::TimedOut => timed_out = Some(test.name.clone()),
            Ended::Passed => {}
        }
    }
    Ok(timed_out.map_or((Outcome::Survived, String::new()), |by| (Outcome::TimedOut, by)))
}

/// The results of an earlier run on the same tree; those of another tree are dropped.
fn read_results(path: &Path, digest: u64) -> Result<BTreeMap<String, (Outcome, String)>, String> {
    let first = format!("{digest:016x}");
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let mut lines = text.lines();
    if lines.next() != Some(&first) {
        std::fs::write(path, format!("{first}\n")).map_err(|error| format!("{}: {error}", path.display()))?;
        return Ok(BTreeMap::new());
    }
    let mut done = BTreeMap::new();
    for line in lines {
        let parts: Vec<&str> = line.splitn(3, '\t').collect();
        let [name, by, key] = parts[..] else { continue };
        if let Some((outcome, _)) = Outcome::ALL.iter().find(|(_, text)| *text == name) {
            done.insert(key.to_owned(), (*outcome, by.to_owned()));
        }
    }
    Ok(done)
}
