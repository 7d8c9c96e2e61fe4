//! One line of progress: kept up to date on a terminal, printed once a second elsewhere.

use std::io::{IsTerminal, Write, stderr};
use std::time::Duration;

/// Where progress is shown; the line ends when this is dropped, so that what is printed next begins on a line of its
/// own.
#[derive(Debug)]
pub struct Progress {
    is_terminal: bool,
    last_second: Option<u64>,
}

impl Default for Progress {
    fn default() -> Progress {
        Progress { is_terminal: stderr().is_terminal(), last_second: None }
    }
}

impl Progress {
    /// Shows the line that is true `elapsed` after the run's begin.
    pub fn show(&mut self, elapsed: Duration, line: &str) {
        let second = Some(elapsed.as_secs());
        // A closed standard error does not stop the run.
        if self.is_terminal {
            let _ = write!(stderr(), "\r{line}\x1b[K");
        } else if second != self.last_second {
            let _ = writeln!(stderr(), "{line}");
        }
        self.last_second = second;
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.is_terminal && self.last_second.is_some() {
            let _ = writeln!(stderr());
        }
    }
}
