//! Memory that is not lent is poisoned: each mistake of `ffi-tests/c/poison.c` is found by AddressSanitizer and by
//! Valgrind, and a host that makes none is left alone.

use demuxbuf_ffi_tests::{Program, poisoning_library, run, skip};
use std::path::Path;
use std::process::Command;

fn build(name: &str, flags: &[&str]) -> Result<std::path::PathBuf, String> {
    let flags = flags.iter().map(|&flag| flag.to_owned()).collect();
    Program { flags, ..Program::new(name, &["ffi-tests/c/poison.c"]) }.try_build_with(&poisoning_library()?)
}

/// Runs the program with each mistake; the tool's report of it has these words.
fn each_mistake_is_reported(program: &Path, tool: &[&str], report: &str) {
    let command = |mistake: &str| {
        let mut words = tool.iter().copied().chain(program.to_str()).chain([mistake]);
        let mut command = Command::new(words.next().expect("the program's path is text"));
        command.args(words);
        command
    };
    let printed = run(&mut command("none"));
    assert!(printed.trim().ends_with(" checks passed"), "{printed}");
    let names = run(&mut Command::new(program));
    let mistakes: Vec<&str> = names.lines().filter(|&name| name != "none").collect();
    assert!(mistakes.len() >= 8, "{names}");
    for mistake in mistakes {
        let output = command(mistake).output().expect("it starts");
        let printed = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && printed.contains(report), "{mistake}: {printed}");
    }
}

#[test]
fn s87_asan_reports_memory_that_is_not_lent() {
    let runs = |path: &Path| Command::new(path).output().is_ok_and(|output| output.status.success());
    match build("poison_asan", &["-fsanitize=address"]) {
        Ok(program) if runs(&program) => each_mistake_is_reported(&program, &[], "use-after-poison"),
        Ok(_) => skip("AddressSanitizer: its programs do not run"),
        Err(error) if error.contains("asan") => skip("AddressSanitizer, which the compiler has not"),
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn s87_valgrind_reports_memory_that_is_not_lent() {
    if Command::new("valgrind").arg("--version").output().is_err() {
        return skip("Valgrind, which is not installed");
    }
    if std::env::var_os("CFLAGS").is_some() {
        return skip("Valgrind: a sanitizer is in use");
    }
    let program = build("poison_valgrind", &[]).unwrap_or_else(|error| panic!("{error}"));
    each_mistake_is_reported(&program, &["valgrind", "--quiet", "--error-exitcode=99"], "Invalid ");
}
