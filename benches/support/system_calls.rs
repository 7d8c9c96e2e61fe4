//! System calls counted by strace.

use super::{Error, folder};
use demuxbuf_ffi_tests::try_run;
use std::path::PathBuf;
use std::process::Command;

/// Whether strace is there and may trace; prints a line if not.
pub(crate) fn has_strace() -> bool {
    let is_there = try_run(&mut under_strace(&Command::new("true"))).is_ok();
    if !is_there {
        println!("skipped: counting system calls, strace is not installed or may not trace");
    }
    is_there
}

fn file() -> PathBuf {
    folder().join("system-calls.txt")
}

/// The same command under strace, with all its threads and children; after its end, [`count_of`] has the count.
pub(crate) fn under_strace(command: &Command) -> Command {
    let mut strace = Command::new("strace");
    strace.args(["--follow-forks", "--summary-only", "--summary-columns=calls,name", "--output"]).arg(file());
    strace.arg(command.get_program()).args(command.get_args());
    strace
}

/// All system calls of the last command.
pub(crate) fn count_of() -> Result<u64, Error> {
    let table = std::fs::read_to_string(file())?;
    let total = table.lines().find_map(|line| line.trim().strip_suffix(" total"));
    Ok(total.ok_or_else(|| format!("strace prints a total: {table}"))?.trim().parse()?)
}
