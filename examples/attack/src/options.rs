//! The command line.

use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

use clap::builder::RangedU64ValueParser;
use clap::{Parser, Subcommand};
use demuxbuf_demo::output::Output;

use crate::plan::{MEMORY_KIB_MAX, MEMORY_KIB_MIN, NETWORKS_MAX, Name};

/// Hostile connections of every kind against `h2relay` or another HTTP/2 server, and what honest clients get meanwhile.
/// Exits with status 0 only if honest clients were served
#[derive(Clone, Debug, Parser)]
#[command(name = "attack", version, args_conflicts_with_subcommands = true)]
pub(crate) struct Options {
    /// Hostile connections
    #[arg(long, value_name = "N", default_value_t = 2000, value_parser = count(100_000))]
    pub(crate) connections: usize,
    /// Networks (/24) that they come from; a flood comes from one
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = count(NETWORKS_MAX as u64))]
    pub(crate) networks: usize,
    /// Honest clients, each from a network of its own
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = count(250))]
    pub(crate) honest: usize,
    /// Receive memory of the relay; `overload` has up to ten clients for each buffer in it, also against another target
    #[arg(long, value_name = "KIB", default_value_t = 1024)]
    #[arg(value_parser = clap::value_parser!(u64).range(MEMORY_KIB_MIN..=MEMORY_KIB_MAX))]
    pub(crate) memory_kib: u64,
    /// Threads of the relay, which share its memory
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=4))]
    pub(crate) threads: u64,
    /// The relay leaves partial frames in the kernel while its memory is short
    #[arg(long, conflicts_with = "target")]
    pub(crate) counting: bool,
    /// For how long the honest clients are alone, and then each attack lasts once all attackers are there, and longer
    /// until each honest client has asked for something meanwhile
    #[arg(long, value_name = "SECONDS", default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// After this many seconds an honest client gives a request up; an upload may wait for 34 frames, longer than a
    /// hundred
    #[arg(long, value_name = "SECONDS", default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..=600))]
    patience: u64,
    /// Pairs of time without and with attackers; latencies are their medians [default: 3, with --no-latency 1]
    #[arg(long, value_name = "N", value_parser = count(99))]
    pairs: Option<usize>,
    /// Do not judge latencies, how long a receiver waited for room, how many requests an overload left, and how strong
    /// the attacks were: on a busy machine, other programs have a part in all of that. Attackers have the same priority
    /// as all
    #[arg(long)]
    pub(crate) no_latency: bool,
    /// Only this attack; may be given more than once: partial (frames cut anywhere), partial-N (after N bytes),
    /// at-once, drip, back-to-back, leave, tiny, burst, urgent, announce, slow-readers, flood, overload, mixed
    /// [default: each of them, and partial-N with N of 1, 257, 4097 and 16384]
    #[arg(long = "attack", value_name = "NAME", value_parser = Name::parse)]
    attacks: Vec<Name>,
    /// Another server to attack instead of the relay, which must speak HTTP/2 from the first byte, without TLS. All
    /// come from one address unless it is on this machine, at an address of IPv4
    #[arg(long, value_name = "HOST:PORT", value_parser = address)]
    pub(crate) target: Option<SocketAddr>,
    /// The path that honest clients, floods and slow readers request; any complete response counts as served
    #[arg(long, default_value = "/", requires = "target", value_parser = path)]
    pub(crate) path: String,
    /// Where the report goes; the picture lies beside it and ends in .svg [default: target/attack/report.json]
    #[arg(long, value_name = "FILE", value_parser = Output::parse)]
    json: Option<Output>,
    /// Further arguments for the relay
    #[arg(last = true, value_name = "RELAY ARGUMENT", conflicts_with = "target")]
    pub(crate) relay_arguments: Vec<String>,
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

/// The program's own subcommands.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Command {
    /// The server behind the relay: prints its address, and ends with its standard input
    #[command(hide = true)]
    Serve,
}

impl Options {
    pub(crate) fn length(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }

    /// After this time an honest client gives a request up.
    pub(crate) fn patience(&self) -> Duration {
        Duration::from_secs(self.patience)
    }

    pub(crate) fn attacks(&self) -> Vec<Name> {
        if self.attacks.is_empty() { Name::usual() } else { self.attacks.clone() }
    }

    pub(crate) fn pairs(&self) -> usize {
        self.pairs.unwrap_or(if self.no_latency { 1 } else { 3 })
    }

    pub(crate) fn output(&self) -> Output {
        self.json.clone().unwrap_or_else(|| Output::usual("attack"))
    }
}

fn count(largest: u64) -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(1..=largest)
}

fn address(text: &str) -> Result<SocketAddr, String> {
    let mut found = text.to_socket_addrs().map_err(|error| error.to_string())?;
    found.next().ok_or_else(|| "it has no address".into())
}

fn path(text: &str) -> Result<String, String> {
    let is_path = text.starts_with('/') && text.bytes().all(|byte| byte.is_ascii_graphic());
    if is_path { Ok(text.into()) } else { Err("it must begin with / and have no blanks".into()) }
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
            ("--connections", "100001", "1..=100000"),
            ("--memory-kib", "128", "129..=100000"),
            ("--memory-kib", "100001", "129..=100000"),
            ("--networks", "65025", "1..=65024"),
            ("--honest", "251", "1..=250"),
            ("--threads", "5", "1..=4"),
            ("--pairs", "0", "1..=99"),
            ("--attack", "bribery", "slow-readers"),
            ("--attack", "partial-16385", "from 1 to 16384"),
            ("--target", "nowhere", "socket address"),
            ("--path", "/", "--target"),
            ("--path", "index.html", "must begin with /"),
            ("--json", "report.svg", "must not end in .svg"),
        ] {
            let error = Options::try_parse_from(["attack", option, value]).expect_err(value).to_string();
            assert!(error.contains(option) && error.contains(allowed), "{error}");
        }
    }

    #[test]
    fn relay_options_are_refused_with_target() {
        let parse = |arguments: &[&str]| {
            Options::try_parse_from(["attack", "--target", "127.0.0.1:8080"].iter().chain(arguments))
        };
        let error = parse(&["--", "--quiet"]).expect_err("RELAY ARGUMENT").to_string();
        assert!(error.contains("--target") && error.contains("RELAY ARGUMENT"), "{error}");
        parse(&["--memory-kib", "200", "--networks", "4", "--path", "/index.html"]).expect("they are for any target");
    }
}
