//! The command line.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Parser;
use clap::builder::RangedU64ValueParser;

/// Honest HTTP/2 clients beside connections that send part of a frame and stay, through `h2relay`: first with parking
/// off, then on
#[derive(Clone, Debug, Parser)]
#[command(name = "cargo demo", bin_name = "cargo demo", version)]
pub(crate) struct Options {
    /// Connections that each send part of a frame and stay
    #[arg(long, value_name = "N", default_value_t = 2000, value_parser = count(100_000))]
    pub(crate) connections: usize,
    /// Receive buffers in the relay's pool
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = count(65_536))]
    pub(crate) buffers: usize,
    /// The relay's event-loop threads, which share the pool
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = count(256))]
    pub(crate) threads: usize,
    /// Length of each of the two runs; the honest clients are alone for the first fifth of it
    #[arg(long, value_name = "SECONDS", default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Where the report goes; the picture lies beside it and ends in .svg [default: target/demo/report.json]
    #[arg(long, value_name = "FILE", value_parser = report_path)]
    json: Option<PathBuf>,
}

impl Options {
    /// For how long honest clients begin requests in each run.
    pub(crate) fn length(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }

    /// For how long the honest clients are alone, so that both runs show what the relay does undisturbed.
    pub(crate) fn calm(&self) -> Duration {
        self.length() / 5
    }

    pub(crate) fn report(&self) -> PathBuf {
        self.json.clone().unwrap_or_else(|| demuxbuf_ffi_tests::target().join("demo").join("report.json"))
    }

    pub(crate) fn picture(&self) -> PathBuf {
        self.report().with_extension("svg")
    }
}

fn count(largest: u64) -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(1..=largest)
}

/// The picture is named after the report, so a report that ends in `.svg` would be overwritten by it.
fn report_path(text: &str) -> Result<PathBuf, String> {
    let path = Path::new(text);
    if path.file_name().is_none() {
        return Err("it must name a file".into());
    }
    if path.extension().is_some_and(|ending| ending == "svg") {
        return Err("it must not end in .svg: the picture is written beside it under that name".into());
    }
    Ok(path.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Options::command().debug_assert();
    }

    #[test]
    fn bad_values_are_refused_with_the_option_and_what_is_allowed() {
        for (option, value, allowed) in [
            ("--connections", "0", "1..=100000"),
            ("--buffers", "65537", "1..=65536"),
            ("--threads", "0", "1..=256"),
            ("--seconds", "0", "1..=600"),
            ("--json", "report.svg", "must not end in .svg"),
            ("--json", "..", "must name a file"),
        ] {
            let error = Options::try_parse_from(["demo", option, value]).expect_err(value).to_string();
            assert!(error.contains(option) && error.contains(value) && error.contains(allowed), "{error}");
        }
    }
}
