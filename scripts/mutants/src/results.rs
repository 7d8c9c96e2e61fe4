//! What is known about mutants, which is kept between runs for as long as it holds.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use crate::tree::Digests;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Caught,
    TimedOut,
    DoesNotBuild,
    Survived,
}

impl Outcome {
    pub const ALL: [(Outcome, &str); 4] = [
        (Outcome::Caught, "caught"),
        (Outcome::TimedOut, "by time"),
        (Outcome::DoesNotBuild, "does not build"),
        (Outcome::Survived, "survived"),
    ];

    fn name(self) -> &'static str {
        Outcome::ALL.iter().find(|(outcome, _)| *outcome == self).expect("all are there").1
    }
}

/// In place of an outcome: the switched library does not build with it.
const ALONE: &str = "alone";

/// In place of an outcome: the quick tests do not notice it.
const MISSED: &str = "missed";

#[derive(Debug)]
pub struct Results {
    path: PathBuf,
    digests: Digests,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    /// Each outcome, with the test that noticed.
    done: BTreeMap<String, (Outcome, String)>,
    alone: BTreeSet<String>,
    missed: BTreeSet<String>,
}

impl Kept {
    fn add(&mut self, name: &str, by: &str, key: &str) {
        let key = key.to_owned();
        if let Some((outcome, _)) = Outcome::ALL.iter().find(|(_, text)| *text == name) {
            self.done.insert(key, (*outcome, by.to_owned()));
        } else if name == ALONE {
            self.alone.insert(key);
        } else {
            self.missed.insert(key);
        }
    }
}

impl Results {
    /// Reads those of earlier runs that still hold: with the same code, a test that did not change notices what it
    /// noticed before, and what no test noticed may be noticed by one that did.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub fn read(path: PathBuf, digests: Digests) -> Result<Results, String> {
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let (mut kept, mut lines) = (Kept::default(), String::new());
        for line in text.lines() {
            let parts: Vec<&str> = line.splitn(4, '\t').collect();
            let [digest, name, by, key] = parts[..] else { continue };
            if digest == digest_of(&digests, name, by) {
                kept.add(name, by, key);
                lines += &format!("{line}\n");
            }
        }
        std::fs::write(&path, lines).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Results { path, digests, kept: Mutex::new(kept) })
    }

    fn keep_line(&self, name: &str, by: &str, key: &str) -> Result<(), String> {
        let mut kept = self.kept.lock().expect("no thread panics");
        kept.add(name, by, key);
        let line = format!("{}\t{name}\t{by}\t{key}\n", digest_of(&self.digests, name, by));
        append(&self.path, &line).map_err(|error| format!("{}: {error}", self.path.display()))
    }

    /// Keeps an outcome, and the test that noticed.
    ///
    /// # Errors
    ///
    /// The file cannot be written; so for the other calls.
    pub fn keep(&self, key: &str, outcome: Outcome, by: &str) -> Result<(), String> {
        self.keep_line(outcome.name(), by, key)
    }

    /// The switched library does not build with this mutant.
    pub fn keep_alone(&self, key: &str) -> Result<(), String> {
        self.keep_line(ALONE, "", key)
    }

    /// The quick tests do not notice this mutant.
    pub fn keep_missed(&self, key: &str) -> Result<(), String> {
        self.keep_line(MISSED, "", key)
    }

    pub fn is_alone(&self, key: &str) -> bool {
        self.kept.lock().expect("no thread panics").alone.contains(key)
    }

    pub fn is_missed(&self, key: &str) -> bool {
        self.kept.lock().expect("no thread panics").missed.contains(key)
    }

    /// How many mutants a test has noticed.
    pub fn noticed_by(&self, test: &str) -> usize {
        let kept = self.kept.lock().expect("no thread panics");
        kept.done.values().filter(|(outcome, by)| *outcome == Outcome::Caught && by == test).count()
    }

    pub fn get(&self, key: &str) -> Option<(Outcome, String)> {
        self.kept.lock().expect("no thread panics").done.get(key).cloned()
    }
}

/// Of everything that a line depends on.
fn digest_of(digests: &Digests, name: &str, by: &str) -> String {
    let tests = match name {
        "caught" => digests.of_test(by),
        "does not build" | ALONE => 0,
        _ => digests.of_all_tests(),
    };
    format!("{:016x}", digests.code ^ tests.rotate_left(1))
}

fn append(path: &Path, line: &str) -> std::io::Result<()> {
    std::fs::OpenOptions::new().append(true).open(path)?.write_all(line.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_hold_until_what_they_depend_on_changes() {
        let folder = std::env::temp_dir().join(format!("mutants-results-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("there is room");
        let digests = |code, a, b| {
            let tests = BTreeMap::from([("tests/a.rs".to_owned(), a), ("tests/b/main.rs".to_owned(), b)]);
            Digests { code, tests }
        };
        let read = |digests| Results::read(folder.join("results"), digests).expect("there is room");
        let results = read(digests(1, 2, 3));
        results.keep("by a", Outcome::Caught, "a").expect("there is room");
        results.keep("by b", Outcome::Caught, "b").expect("there is room");
        results.keep("by none", Outcome::Survived, "").expect("there is room");
        results.keep("no build", Outcome::DoesNotBuild, "").expect("there is room");
        results.keep_missed("missed").expect("there is room");
        results.keep_alone("alone").expect("there is room");
        let known = |results: &Results| {
            let mut known: Vec<_> =
                ["by a", "by b", "by none", "no build"].map(|key| results.get(key).is_some()).into();
            known.extend([results.is_missed("missed"), results.is_alone("alone")]);
            known
        };
        assert_eq!(known(&read(digests(1, 2, 3))), [true; 6]);
        assert_eq!(known(&read(digests(1, 2, 4))), [true, false, false, true, false, true]);
        assert_eq!(known(&read(digests(5, 2, 4))), [false; 6]);
        std::fs::remove_dir_all(&folder).expect("it is there");
    }
}
