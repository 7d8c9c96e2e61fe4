//! The command line.

use std::time::Duration;

use clap::Parser;
use clap::builder::RangedU64ValueParser;
use demuxbuf_demo::output::Output;

use crate::run::{CLIENTS, PLACE_BYTES};

/// Honest HTTP/2 clients beside connections that send part of a frame and stay, through `h2relay`: first with a buffer
/// for each connection and direction, then on the memory model, then with partial frames left in the kernel, too
#[derive(Clone, Debug, Parser)]
#[command(name = "cargo demo", bin_name = "cargo demo", version)]
pub(crate) struct Options {
    /// Connections that each send part of a frame and stay
    #[arg(long, value_name = "N", default_value_t = 2000, value_parser = count(100_000))]
    pub(crate) connections: usize,
    /// Receive memory of the relay. With a buffer each, it takes as many connections as that is enough for
    #[arg(long, value_name = "KIB", default_value_t = 1024, value_parser = memory_kib())]
    pub(crate) memory_kib: u64,
    /// Threads of the relay, which share its memory
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=4))]
    pub(crate) threads: u64,
    /// Length of each of the three runs; the honest clients are alone for the first fifth of it. On a slow machine they
    /// go on until each honest client has asked for something
    #[arg(long, value_name = "SECONDS", default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// After this many seconds an honest client gives a request up
    #[arg(long, value_name = "SECONDS", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=600))]
    patience: u64,
    /// Where the report goes; the picture lies beside it and ends in .svg [default: target/demo/report.json]
    #[arg(long, value_name = "FILE", value_parser = Output::parse)]
    json: Option<Output>,
}

impl Options {
    /// For how long honest clients begin requests in each run.
    pub(crate) fn length(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }

    /// For how long the honest clients are alone, so that all runs show what the relay does undisturbed.
    pub(crate) fn calm(&self) -> Duration {
        self.length() / 5
    }

    /// After this time an honest client gives a request up.
    pub(crate) fn patience(&self) -> Duration {
        Duration::from_secs(self.patience)
    }

    pub(crate) fn output(&self) -> Output {
        self.json.clone().unwrap_or_else(|| Output::usual("demo"))
    }
}

/// With a buffer each, there is a place for each honest client, and one more.
fn memory_kib() -> RangedU64ValueParser<u64> {
    let least = (CLIENTS as u64 + 1) * PLACE_BYTES / 1024 + 1;
    RangedU64ValueParser::new().range(least..=1 << 20)
}

fn count(largest: u64) -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(1..=largest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_line_is_consistent() {
        use clap::CommandFactory;
        Options::command().debug_assert();
    }

    #[test]
    fn bad_option_value_names_option_and_range() {
        for (option, value, allowed) in [
            ("--connections", "0", "1..=100000"),
            ("--memory-kib", "546", "547..=1048576"),
            ("--threads", "5", "1..=4"),
            ("--seconds", "0", "1..=600"),
            ("--patience", "0", "1..=600"),
            ("--json", "report.svg", "must not end in .svg"),
            ("--json", "..", "must name a file"),
        ] {
            let error = Options::try_parse_from(["demo", option, value]).expect_err(value).to_string();
            assert!(error.contains(option) && error.contains(value) && error.contains(allowed), "{error}");
        }
    }
}
