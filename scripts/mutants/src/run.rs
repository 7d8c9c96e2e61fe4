//! Runs the tests on one mutant after the other.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A program with tests, and which of them.
#[derive(Clone, Debug)]
pub struct Test {
    pub name: String,
    pub program: PathBuf,
    pub arguments: Vec<String>,
    /// The processor time without a mutant.
    pub took: Duration,
    /// The mutants whose places it reaches without a mutant.
    pub reaches: BTreeSet<u32>,
}

/// When a run is ended. A busy machine makes it slow, but does not make it use more of the processor.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    /// It used as much processor time.
    pub processor: Duration,
    /// It used none for so long: it waits.
    pub idle: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    Passed,
    Failed,
    TimedOut,
}

/// How often an end is looked for, at first.
const LOOK_MIN: Duration = Duration::from_millis(1);
const LOOK_MAX: Duration = Duration::from_millis(50);

/// The processor time of a process, with its threads and the ended processes that it waited for, as Linux counts it in
/// hundredths of a second. Not known elsewhere.
fn processor_time(process: u32) -> Option<Duration> {
    let line = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The program's name is in brackets, and may have some.
    let (_, fields) = line.rsplit_once(')')?;
    let ticks = fields.split_whitespace().skip(11).take(4).map(|field| field.parse::<u64>().ok());
    Some(Duration::from_millis(10 * ticks.sum::<Option<u64>>()?))
}

/// Whether a thread of the process would run if the machine had time for it.
fn is_runnable(process: u32) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    let stats = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("stat")).ok());
    let mut states =
        stats.filter_map(|line| line.rsplit_once(')').and_then(|(_, fields)| fields.trim().chars().next()));
    states.any(|state| matches!(state, 'R' | 'D'))
}

/// Where the library writes which mutants were reached, inside of the folder that it is built in.
pub const REACHED: &str = "reached";

impl Test {
    /// A test about which nothing is known yet.
    pub fn new(name: &str, program: PathBuf, arguments: Vec<String>) -> Test {
        Test { name: name.into(), program, arguments, took: Duration::ZERO, reaches: BTreeSet::new() }
    }

    /// Runs it with a mutant switched on; 0 is none. Returns how it ended, and the processor time until shortly before.
    ///
    /// # Errors
    ///
    /// It cannot be started.
    pub fn run(&self, tree: &Path, target: &Path, mutant: u32, limit: Limit) -> Result<(Ended, Duration), String> {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).current_dir(tree).env("CARGO_TARGET_DIR", target);
        command.env("DEMUXBUF_MUTANT", mutant.to_string()).env("CARGO_MANIFEST_DIR", tree).env("RUST_BACKTRACE", "0");
        let compiler = tree.join("scripts/mutants/compile-once.sh");
        command.env("DEMUXBUF_REACHED", target.join(REACHED)).env("CC", &compiler).env("CXX", &compiler);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        // What it starts ends with it.
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child = command.spawn().map_err(|error| format!("{}: {error}", self.program.display()))?;
        let (since, mut look) = (Instant::now(), LOOK_MIN);
        let (mut used, mut idle_since) = (Duration::ZERO, since);
        let ended = loop {
            let before = std::mem::replace(&mut used, processor_time(child.id()).unwrap_or_else(|| since.elapsed()));
            if used > before || (idle_since.elapsed() >= limit.idle && is_runnable(child.id())) {
                idle_since = Instant::now();
            }
            match child.try_wait().map_err(|error| format!("{}: {error}", self.name))? {
                Some(status) if status.success() => break Ended::Passed,
                Some(_) => break Ended::Failed,
                None if used >= limit.processor || idle_since.elapsed() >= limit.idle => break Ended::TimedOut,
                None => std::thread::sleep(look),
            }
            look = (look * 2).min(LOOK_MAX);
        };
        if ended == Ended::TimedOut {
            // The group that was made above: the test, and what it has started.
            let kill = format!("kill -KILL -{}", child.id());
            let killed = Command::new("sh").args(["-c", &kill]).status().is_ok_and(|status| status.success());
            if !killed {
                return Err(format!("{} cannot be ended: process {}", self.name, child.id()));
            }
            child.wait().map_err(|error| format!("{}: {error}", self.name))?;
        }
        Ok((ended, used))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Test {
        let arguments = vec!["-c".into(), script.into()];
        Test::new("shell", "/bin/sh".into(), arguments)
    }

    #[test]
    fn test_run_passes_fails_or_times_out() {
        let here = Path::new(".");
        let run = |script, processor, idle| {
            shell(script).run(here, here, 7, Limit { processor, idle }).expect("there is a shell").0
        };
        let (long, short) = (Duration::from_secs(60), Duration::from_millis(100));
        assert_eq!(run("test $DEMUXBUF_MUTANT = 7", long, long), Ended::Passed);
        assert_eq!(run("exit 3", long, long), Ended::Failed);
        assert_eq!(run("sleep 1000 & wait", long, short), Ended::TimedOut);
        assert_eq!(run("while :; do :; done", short, long), Ended::TimedOut);
    }
}
