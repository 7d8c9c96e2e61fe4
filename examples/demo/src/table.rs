//! The figures of all runs side by side, for a terminal.

use std::fmt::Write;

use demuxbuf_demo::requests::Requests;
use demuxbuf_demo::text::{counted, thousands};

use crate::report::{Report, RunReport};

const LABEL_COLUMNS: usize = 48;
const VALUE_COLUMNS: usize = 18;

/// The table; its last line has no line end.
pub(crate) fn table(report: &Report) -> String {
    let mut table = format!(
        "{} that send part of a frame and stay; {} honest clients; {} KiB of receive memory\n\n",
        counted(report.connections, "connection"),
        report.honest_clients,
        thousands(report.memory_kib)
    );
    let mut row = |label: &str, value: &dyn Fn(&RunReport) -> String| {
        let values = report.runs.each_ref().map(value).map(|value| format!("{value:>VALUE_COLUMNS$}")).concat();
        let _ = writeln!(table, "{label:<LABEL_COLUMNS$}{values}");
    };
    row("", &|run| run.name.into());
    row("", &|_| "-".repeat(VALUE_COLUMNS - 2));
    row("honest requests served, before the attack", &|run| of(run.before_attack.served, run.before_attack.sent));
    row("                        while attackers come", &|run| {
        of(run.attackers_coming.served, run.attackers_coming.sent)
    });
    row("                        under attack", &|run| of(run.under_attack.served, run.under_attack.sent));
    row("latency under attack *, median", &|run| latency(&run.under_attack, run.under_attack.p50_ms, report));
    row("                        99th percentile", &|run| latency(&run.under_attack, run.under_attack.p99_ms, report));
    row("                        slowest", &|run| latency(&run.under_attack, run.under_attack.max_ms, report));
    row("attackers connected at the end", &|run| of(run.relay.connections, report.connections as u64));
    row("connections refused **", &|run| thousands(run.relay.refused));
    row("bytes of partial frames at the end", &|run| thousands(run.relay.receive_bytes_used));
    row("buffers for them, and to receive into", &|run| of(run.relay.in_use(), run.relay.buffers));
    row("relay's resident memory (kernel)", &|run| bytes(run.resident_bytes as f64));
    row("                        per connection", &|run| {
        bytes(run.resident_bytes as f64 / run.relay.connections.max(1) as f64)
    });
    row("receive memory reserved", &|run| bytes(run.relay.memory_bytes as f64));
    let _ = write!(
        table,
        "\n * a request that was not served counts as its time limit, {:.1} s\n\
         ** for lack of memory; those that are refused come again",
        report.request_time_limit_ms / 1e3
    );
    table
}

fn of(part: u64, whole: u64) -> String {
    format!("{} of {}", thousands(part), thousands(whole))
}

fn latency(requests: &Requests, milliseconds: Option<f64>, report: &Report) -> String {
    match milliseconds {
        None => "-".into(),
        Some(value) if requests.served < requests.sent && value >= 0.99 * report.request_time_limit_ms => {
            "not served".into()
        }
        Some(value) => format!("{value:.1} ms"),
    }
}

fn bytes(count: f64) -> String {
    match count {
        count if count >= 1e6 => format!("{:.1} MB", count / 1e6),
        count => format!("{:.1} kB", count / 1e3),
    }
}
