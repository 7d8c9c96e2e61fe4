//! The figures of both runs side by side, for a terminal.

use std::fmt::Write;

use demuxbuf_demo::requests::Requests;
use demuxbuf_demo::text::{counted, thousands};

use crate::report::{Report, RunReport};

const LABEL_COLUMNS: usize = 48;
const VALUE_COLUMNS: usize = 18;

/// The table; its last line has no line end.
pub(crate) fn table(report: &Report) -> String {
    let shared = match report.threads {
        1 => String::new(),
        threads => format!(", shared by {threads} threads"),
    };
    let mut table = format!(
        "{} that send part of a frame and stay; {} honest clients; {} of {} bytes{shared}\n\n",
        counted(report.connections, "connection"),
        report.honest_clients,
        counted(report.buffers, "receive buffer"),
        thousands(report.buffer_bytes)
    );
    let mut row = |label: &str, value: &dyn Fn(&RunReport) -> String| {
        let [off, on] = report.runs.each_ref().map(value);
        let _ = writeln!(table, "{label:<LABEL_COLUMNS$}{off:>VALUE_COLUMNS$}{on:>VALUE_COLUMNS$}");
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
    row("attackers still connected", &|run| thousands(run.attackers_connected as u64));
    row("buffers held by the attackers", &|run| of(run.relay.client_buffers_held, report.buffers as u64));
    row("buffers free, some kept for the server's side", &|run| of(run.relay.free, report.buffers as u64));
    row("parking slots in use", &|run| thousands(run.relay.slots_in_use));
    row("waiting for a buffer **", &|run| thousands(run.relay.waiting));
    row("relay's resident memory (kernel)", &|run| bytes(run.resident_bytes as f64));
    row("                        per connection", &|run| {
        bytes(run.resident_bytes as f64 / run.relay.connections.max(1) as f64)
    });
    row("receive memory reserved by the library", &|run| bytes(run.relay.memory_bytes as f64));
    let _ = write!(
        table,
        "\n * a request that was not served counts as its time limit, {:.1} s\n** a connection can wait in both directions",
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
