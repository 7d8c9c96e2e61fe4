//! Runs the tests on one mutant after the other.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A program with tests, and which of them.
#[derive(Clone, Debug)]
pub struct Test {
    pub name: String,
    pub program: PathBuf,
    pub arguments: Vec<String>,
    /// Without a mutant.
    pub took: Duration,
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

impl Test {
    /// Runs it with a mutant switched on; 0 is none.
    ///
    /// # Errors
    ///
    /// It cannot be started.
    pub fn run(&self, tree: &Path, target: &Path, mutant: u32, limit: Duration) -> Result<Ended, String> {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).current_dir(tree).env("CARGO_TARGET_DIR", target);
        command.env("DEMUXBUF_MUTANT", mutant.to_string()).env("CARGO_MANIFEST_DIR", tree).env("RUST_BACKTRACE", "0");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        // What it starts ends with it.
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child = command.spawn().map_err(|error| format!("{}: {error}", self.program.display()))?;
        let (since, mut look) = (Instant::now(), LOOK_MIN);
        let ended = loop {
            match child.try_wait().map_err(|error| format!("{}: {error}", self.name))? {
                Some(status) if status.success() => break Ended::Passed,
                Some(_) => break Ended::Failed,
                None if since.elapsed() >= limit => break Ended::TimedOut,
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
        Ok(ended)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Test {
        let arguments = vec!["-c".into(), script.into()];
        Test { name: "shell".into(), program: "/bin/sh".into(), arguments, took: Duration::ZERO }
    }

    #[test]
    fn test_run_passes_fails_or_times_out() {
        let here = Path::new(".");
        let run = |script, limit| shell(script).run(here, here, 7, limit).expect("there is a shell");
        let long = Duration::from_secs(60);
        assert_eq!(run("test $DEMUXBUF_MUTANT = 7", long), Ended::Passed);
        assert_eq!(run("exit 3", long), Ended::Failed);
        assert_eq!(run("sleep 1000 & wait", Duration::from_millis(100)), Ended::TimedOut);
    }
}
