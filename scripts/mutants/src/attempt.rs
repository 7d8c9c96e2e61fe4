//! A whole run: the copy, the builds, the tests on each mutant, and the results, which are kept.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::cargo::{self, Built};
use crate::find::{Found, Mutant, find};
use crate::list::List;
use crate::results::{Outcome, Results};
use crate::run::{Ended, Limit, REACHED, Test};
use crate::switch::{self, Place};
use crate::tree;

/// Tests of something else than the library's behaviour.
const OTHERS: [&str; 3] = ["header", "loom", "scenarios_doc"];

/// The package with those of the core's tests that need the kit or C.
const KIT: &str = "demuxbuf-testkit";

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

/// A program that takes more processor time belongs to the second round.
const QUICK: Duration = Duration::from_secs(4);

/// A test that uses `PATIENCE` times its processor time without a mutant, and at least `PATIENCE_MIN`, counts as one
/// that does not end; so does one that waits for `IDLE_MAX`.
const PATIENCE: u32 = 3;
const PATIENCE_MIN: Duration = Duration::from_secs(2);
const IDLE_MAX: Duration = Duration::from_secs(30);

/// The same for tests of the second round, which wait for compilers.
const SLOW_IDLE_MAX: Duration = Duration::from_secs(600);

/// The limit of a test without a mutant.
const BASELINE_LIMIT: Limit = Limit { processor: Duration::from_secs(1200), idle: SLOW_IDLE_MAX };

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
    results: Results,
    list: &'a List,
    files: Vec<File>,
    /// The top of the library and its package.
    library: (&'static str, &'static str),
    /// The text of that file, which gets a module more.
    top: String,
    /// Each nth mutant is tried.
    step: usize,
    quick: Vec<Test>,
    own_slow: Vec<Test>,
    /// The program of the library's unit tests.
    unit_tests: PathBuf,
    slow: Option<Vec<Test>>,
}

/// The top of the library whose files are changed, and its package. Files of the C API are a library of their own.
const CORE: (&str, &str) = ("src/lib.rs", "demuxbuf");
const CAPI: (&str, &str) = ("capi/src/lib.rs", "demuxbuf-capi");

/// The module of a file that is named after it, or that it is inside of.
fn module_of(file: &str) -> &str {
    let inside = file.trim_start_matches("capi/").trim_start_matches("src/").trim_end_matches(".rs");
    inside.split('/').next().unwrap_or(inside)
}

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
        if first > switch::MUTANTS_MAX {
            return Err(format!("{} mutants are more than one run can try: give it fewer files", first - 1));
        }
        let but = names.iter().map(|name| (*name).to_owned()).chain([library.0.to_owned()]).collect();
        let tree = folder.join("tree");
        std::fs::create_dir_all(&tree).map_err(|error| format!("{}: {error}", tree.display()))?;
        let digests = tree::copy(root, &tree, &but)?;
        let results = Results::read(folder.join("results"), digests)?;
        let step = sample.map_or(1, |sample| (first as usize / sample.max(1)).max(1));
        let target = folder.join("build");
        let top = crate::read(root, library.0)?;
        Ok(Attempt {
            tree,
            target,
            results,
            list,
            files,
            library,
            top,
            step,
            quick: Vec::new(),
            own_slow: Vec::new(),
            unit_tests: PathBuf::new(),
            slow: None,
        })
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

    /// The packages with the library's own tests. They are built together, since that decides over features, and so
    /// over the names of programs.
    fn packages(&self) -> Vec<&'static str> {
        if self.library == CORE { vec!["-p", CORE.1, "-p", KIT] } else { vec!["-p", self.library.1] }
    }

    /// What builds the library's own tests.
    fn own_tests(&self) -> Vec<&'static str> {
        [self.packages(), vec!["--lib", "--tests"]].concat()
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
            let is_fixed = |(_, mutant): &(usize, &Mutant)| !mutant.is_switchable || self.results.is_alone(&mutant.key);
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
            let built = self.build(&self.own_tests())?;
            if built.is_done {
                self.keep_alone()?;
                return self.measure_own(built.programs);
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

    /// Notes the mutants with which the switched library does not build, so that the next run does not have to find
    /// out.
    fn keep_alone(&self) -> Result<(), String> {
        let broken = self.files.iter().flat_map(|file| file.broken.iter().map(|&index| &file.found.mutants[index]));
        let mut new = broken.filter(|mutant| mutant.is_switchable && !self.results.is_alone(&mutant.key));
        new.try_for_each(|mutant| self.results.keep_alone(&mutant.key))
    }

    /// Runs a test without a mutant, to see that it passes, how long it takes, and what it reaches. `None` if it takes
    /// longer than the limit.
    fn measure(&self, mut test: Test, limit: Limit) -> Result<Option<Test>, String> {
        let reached = self.target.join(REACHED);
        let explain = |error: std::io::Error| format!("{}: {error}", reached.display());
        std::fs::write(&reached, b"").map_err(explain)?;
        let (ended, took) = test.run(&self.tree, &self.target, switch::RECORD, limit)?;
        (test.took, test.reaches) = (took, switch::reached(&std::fs::read(&reached).map_err(explain)?));
        match ended {
            Ended::Passed => Ok(Some(test)),
            Ended::TimedOut if limit.processor <= QUICK => Ok(None),
            _ => Err(format!("without a mutant, {} has {ended:?}: {}", test.name, test.program.display())),
        }
    }

    /// Sorts the library's own programs into quick and slow ones; the latter are measured if they are needed.
    fn measure_own(&mut self, programs: Vec<(String, PathBuf)>) -> Result<(), String> {
        let unit_tests = programs.iter().find(|(name, _)| *name == self.library.1.replace('-', "_"));
        self.unit_tests = unit_tests.ok_or("the library has no unit tests")?.1.clone();
        let whole = programs.into_iter().filter(|(name, _)| !OTHERS.contains(&name.as_str()));
        let whole = whole.map(|(name, program)| Test::new(&name, program, vec!["--quiet".into()]));
        let modules = self.files.iter().map(|file| module_of(&file.name)).collect::<BTreeSet<_>>();
        let modules = modules.into_iter().map(|module| {
            let arguments = vec!["--quiet".into(), format!("{module}::")];
            Test::new(&format!("unit tests of {module}"), self.unit_tests.clone(), arguments)
        });
        for test in whole.chain(modules).collect::<Vec<_>>() {
            match self.measure(test.clone(), Limit { processor: QUICK, ..BASELINE_LIMIT })? {
                Some(measured) => self.quick.push(measured),
                None => self.own_slow.push(test),
            }
        }
        Ok(())
    }

    /// The tests of the second round.
    fn slow(&mut self) -> Result<Vec<Test>, String> {
        if self.slow.is_none() {
            // What `compile-once.sh` kept in an earlier run.
            let kept = self.target.join("c/once");
            if kept.exists() {
                std::fs::remove_dir_all(&kept).map_err(|error| format!("{}: {error}", kept.display()))?;
            }
            let built = self.build(&SLOW)?;
            if !built.is_done {
                return Err(format!("the tests of the second round do not build:\n{}", built.output));
            }
            let others = built.programs.into_iter();
            let others = others.map(|(name, program)| Test::new(&name, program, vec!["--quiet".into()]));
            let all = self.own_slow.iter().cloned().chain(others);
            let measured = all.map(|test| self.measure(test, BASELINE_LIMIT)).collect::<Result<Vec<_>, _>>()?;
            self.slow = Some(measured.into_iter().flatten().collect());
        }
        Ok(self.slow.clone().unwrap_or_default())
    }

    fn try_switched(&mut self) -> Result<(), String> {
        let mut work: Vec<(String, u32)> = Vec::new();
        for file in &self.files {
            for (index, mutant) in file.found.mutants.iter().enumerate() {
                let is_done = self.results.get(&mutant.key).is_some() || file.broken.contains(&index);
                if self.is_wanted(file, index) && !is_done {
                    work.push((mutant.key.clone(), file.first + index as u32));
                }
            }
        }
        let quick = Round::new(self.quick.clone(), IDLE_MAX, &self.results);
        let (missed, new): (Vec<_>, Vec<_>) = work.into_iter().partition(|(key, _)| self.results.is_missed(key));
        let missed = [missed, self.try_all(&new, &quick, false)?].concat();
        if missed.is_empty() {
            return Ok(());
        }
        println!("{} for the second round", missed.len());
        let slow = Round::new(self.slow()?, SLOW_IDLE_MAX, &self.results);
        self.try_all(&missed, &slow, true).map(drop)
    }

    /// Tries mutants, several at a time; returns those that no test noticed, if these are not the last tests and they
    /// are not listed.
    fn try_all(&self, work: &[(String, u32)], round: &Round, is_last: bool) -> Result<Vec<(String, u32)>, String> {
        let (next, missed, failure) = (AtomicUsize::new(0), Mutex::new(Vec::new()), Mutex::new(None));
        let jobs = std::thread::available_parallelism().map_or(1, usize::from);
        let try_next = |(key, number): &(String, u32)| match try_one(&self.tree, &self.target, *number, round)? {
            (Outcome::Survived, _) if !is_last && !self.list.survives(key) => {
                missed.lock().expect("no thread panics").push((key.clone(), *number));
                self.results.keep_missed(key)
            }
            (outcome, by) => self.results.keep(key, outcome, &by),
        };
        std::thread::scope(|scope| {
            for _ in 0..jobs {
                scope.spawn(|| {
                    while let Some(one) = work.get(next.fetch_add(1, Ordering::Relaxed)) {
                        if let Err(error) = try_next(one) {
                            *failure.lock().expect("no thread panics") = Some(error);
                        }
                    }
                });
            }
        });
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
                if self.is_wanted(file, index) && self.results.get(&mutant.key).is_none() {
                    work.push((at, mutant.clone()));
                }
            }
        }
        // From here on nothing is switched.
        for file in &self.files {
            self.write(&file.name, &file.text)?;
        }
        let quick = Round::new(self.quick.clone(), IDLE_MAX, &self.results);
        let mut missed = Vec::new();
        for (at, mutant) in work {
            let does_not_build = mutant.is_switchable && mutant.is_same_when_switched;
            if does_not_build {
                self.results.keep(&mutant.key, Outcome::DoesNotBuild, "")?;
                continue;
            }
            self.write(&self.files[at].name, &switch::alone(&self.files[at].text, &mutant))?;
            match self.try_build(&quick)? {
                None => self.results.keep(&mutant.key, Outcome::DoesNotBuild, "")?,
                Some((Outcome::Survived, _)) if !self.list.survives(&mutant.key) => missed.push((at, mutant)),
                Some((outcome, by)) => self.results.keep(&mutant.key, outcome, &by)?,
            }
            self.write(&self.files[at].name, &self.files[at].text)?;
        }
        if missed.is_empty() {
            return Ok(());
        }
        let slow = Round::new(self.slow()?, SLOW_IDLE_MAX, &self.results);
        for (at, mutant) in missed {
            self.write(&self.files[at].name, &switch::alone(&self.files[at].text, &mutant))?;
            let is_done = self.build(&self.own_tests())?.is_done && self.build(&SLOW)?.is_done;
            let tried = if is_done { Some(try_one(&self.tree, &self.target, 0, &slow)?) } else { None };
            let (outcome, by) = tried.unwrap_or((Outcome::Caught, "a build".into()));
            self.results.keep(&mutant.key, outcome, &by)?;
            self.write(&self.files[at].name, &self.files[at].text)?;
        }
        Ok(())
    }

    /// Builds and runs one of the library's own programs after the other, since the first ones notice most mutants;
    /// their names are as before. `None` if the library does not build.
    fn try_build(&self, round: &Round) -> Result<Option<(Outcome, String)>, String> {
        let packages = self.packages();
        if !self.build(&[&packages[..], &["--lib"]].concat())?.is_done {
            return Ok(None);
        }
        let mut timed_out = None;
        for (test, _) in round.of(0) {
            let is_unit = test.program == self.unit_tests;
            let target = if is_unit { vec!["--lib"] } else { vec!["--test", &test.name] };
            if !self.build(&[&packages[..], &target[..]].concat())?.is_done {
                return Ok(Some((Outcome::Caught, "a build".into())));
            }
            match run_one(test, &self.tree, &self.target, 0, round.idle_max)? {
                Ended::Failed => return Ok(Some((Outcome::Caught, test.name.clone()))),
                Ended::TimedOut if timed_out.is_some() => break,
                Ended::TimedOut => timed_out = Some(test.name.clone()),
                Ended::Passed => {}
            }
        }
        Ok(Some(timed_out.map_or((Outcome::Survived, String::new()), |by| (Outcome::TimedOut, by))))
    }

    /// The outcome of each mutant that was tried, and the test that noticed it.
    pub fn outcomes(&self) -> impl Iterator<Item = (&str, Outcome, String)> {
        let all = self.files.iter().flat_map(|file| &file.found.mutants);
        all.filter_map(|mutant| self.results.get(&mutant.key).map(|(outcome, by)| (mutant.key.as_str(), outcome, by)))
    }

    /// How many of each kind, by file.
    pub fn table(&self) -> String {
        let mut lines = vec!["| file | mutants | caught | by time | do not build | survived |".to_owned()];
        lines.push("|---|--:|--:|--:|--:|--:|".into());
        for file in &self.files {
            let outcomes = file.found.mutants.iter().filter_map(|mutant| self.results.get(&mutant.key));
            let outcomes: Vec<Outcome> = outcomes.map(|(outcome, _)| outcome).collect();
            let count = |wanted| outcomes.iter().filter(|&&outcome| outcome == wanted).count().to_string();
            let counts = Outcome::ALL.map(|(outcome, _)| count(outcome)).join(" | ");
            lines.push(format!("| `{}` | {} | {counts} |", file.name, outcomes.len()));
        }
        lines.join("\n")
    }
}

/// Tests, of which those that notice much for their time come first.
struct Round {
    tests: Vec<Test>,
    /// How many mutants each of them has noticed.
    noticed: Vec<AtomicUsize>,
    idle_max: Duration,
}

impl Round {
    fn new(tests: Vec<Test>, idle_max: Duration, results: &Results) -> Round {
        let noticed = tests.iter().map(|test| AtomicUsize::new(results.noticed_by(&test.name))).collect();
        Round { tests, noticed, idle_max }
    }

    /// The tests that can notice a mutant: where nothing is switched (0) that is not known.
    fn of(&self, number: u32) -> Vec<(&Test, &AtomicUsize)> {
        let mut all: Vec<_> = self.tests.iter().zip(&self.noticed).collect();
        all.retain(|(test, _)| number == 0 || test.reaches.contains(&number));
        all.sort_by_cached_key(|(test, noticed)| test.took / (1 + noticed.load(Ordering::Relaxed) as u32));
        all
    }
}

fn run_one(test: &Test, tree: &Path, target: &Path, number: u32, idle: Duration) -> Result<Ended, String> {
    let processor = (test.took * PATIENCE).max(PATIENCE_MIN);
    test.run(tree, target, number, Limit { processor, idle }).map(|(ended, _)| ended)
}

fn try_one(tree: &Path, target: &Path, number: u32, round: &Round) -> Result<(Outcome, String), String> {
    let mut timed_out = None;
    for (test, noticed) in round.of(number) {
        match run_one(test, tree, target, number, round.idle_max)? {
            Ended::Failed => {
                noticed.fetch_add(1, Ordering::Relaxed);
                return Ok((Outcome::Caught, test.name.clone()));
            }
            // One more test may have more to report.
            Ended::TimedOut if timed_out.is_some() => break,
            Ended::TimedOut => timed_out = Some(test.name.clone()),
            Ended::Passed => {}
        }
    }
    Ok(timed_out.map_or((Outcome::Survived, String::new()), |by| (Outcome::TimedOut, by)))
}
