//! Changes the library's code in small ways, one at a time, and checks whether a test notices: in the ways of
//! cargo-mutants, and by leaving out statements. `scripts/mutants.sh` starts it.

#![allow(clippy::disallowed_methods, reason = "tests take their time; the library has none")]

mod attempt;
mod cargo;
mod find;
mod list;
mod results;
mod run;
mod switch;
mod tree;
mod values;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use attempt::Attempt;
use list::List;
use results::Outcome;

const USAGE: &str = "usage: scripts/mutants.sh [--sample N] FILE...   tries them
       scripts/mutants.sh --list FILE...           prints them: place, what is changed, and key
       scripts/mutants.sh --check                  looks whether all that docs/mutants.toml lists is there";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match start(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("mutants: {error}");
            ExitCode::from(2)
        }
    }
}

fn start(arguments: &[String]) -> Result<bool, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("it is in scripts/mutants").to_owned();
    let list = || List::read(&root.join("docs/mutants.toml"));
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--check"] => check(&root, &list()?, None),
        ["--list", ref files @ ..] if !files.is_empty() => print(&root, files),
        ["--sample", count, ref files @ ..] if !files.is_empty() => {
            let count = count.parse().map_err(|_| format!("--sample: {count} is not a number"))?;
            attempt(&root, files, &list()?, Some(count))
        }
        ref files if !files.is_empty() && files.iter().all(|file| !file.starts_with('-')) => {
            attempt(&root, files, &list()?, None)
        }
        _ => Err(USAGE.into()),
    }
}

fn read(root: &Path, file: &str) -> Result<String, String> {
    std::fs::read_to_string(root.join(file)).map_err(|error| format!("{file}: {error}"))
}

fn print(root: &Path, files: &[&str]) -> Result<bool, String> {
    for file in files {
        for mutant in find::find(file, &read(root, file)?)?.mutants {
            let (line, column) = mutant.place;
            println!("{file}:{line}:{column}: {}\t{}", mutant.what, mutant.key);
        }
    }
    Ok(true)
}

/// Names what is listed and not there, in these files or in all.
fn check(root: &Path, list: &List, files: Option<&[&str]>) -> Result<bool, String> {
    let mut missing = 0;
    for (file, keys) in list.by_file() {
        if files.is_some_and(|files| !files.contains(&file)) {
            continue;
        }
        let found = match read(root, file) {
            Ok(text) => find::find(file, &text)?.mutants,
            Err(_) => Vec::new(),
        };
        for key in keys {
            if !found.iter().any(|mutant| mutant.key == key) {
                println!("listed, but not there: {key}");
                missing += 1;
            }
        }
    }
    Ok(missing == 0)
}

fn attempt(root: &Path, files: &[&str], list: &List, sample: Option<usize>) -> Result<bool, String> {
    let target: PathBuf = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |at| root.join(at));
    let is_complete = check(root, list, Some(files))?;
    let mut attempt = Attempt::prepare(root, &target.join("mutants"), files, list, sample)?;
    attempt.run()?;
    println!("{}", attempt.table());
    let mut survivors = 0;
    for (key, outcome, by) in attempt.outcomes() {
        match outcome {
            Outcome::Survived if !list.survives(key) => {
                println!("survived, and not listed: {key}");
                survivors += 1;
            }
            Outcome::Caught if list.survives(key) => println!("listed, but {by} notices: {key}"),
            Outcome::TimedOut if !list.is_by_time(key) => println!("noticed by time alone, in {by}: {key}"),
            _ => {}
        }
    }
    Ok(is_complete && survivors == 0)
}
