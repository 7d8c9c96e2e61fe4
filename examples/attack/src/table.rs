//! The figures of all attacks, for a terminal.

use std::fmt::Write;

use demuxbuf_demo::requests::Requests;
use demuxbuf_demo::text::{counted, thousands};

use crate::report::{Attack, Report};

/// The table; its last line has no line end.
pub(crate) fn table(report: &Report) -> String {
    let mut table = format!(
        "{} from {} against {}; {}\n",
        counted(report.connections, "hostile connection"),
        counted(report.networks, "network"),
        report.target,
        counted(report.honest_clients, "honest client")
    );
    let relay = report.attacks.iter().find_map(|attack| attack.relay.as_ref());
    if let Some(relay) = relay {
        let [_, most_ms] = relay.waits_ms();
        let kib = thousands(report.memory_kib);
        let _ = writeln!(table, "{kib} KiB of receive memory; a receiver waits for room for {most_ms:.0} ms at most");
    } else {
        table.push_str(
            "its buffers and waits are unknown; a connection is shed if it got a GOAWAY with ENHANCE_YOUR_CALM\n",
        );
    }
    table.push_str(
        "
                                                | honest requests under attack, latency in ms    | honest     | attackers    | full    | longest
                        | served of sent       p50     p99         max   | shed  lost | shed  closed | service | wait
",
    );
    for attack in &report.attacks {
        let _ = writeln!(table, "{}", line(attack));
    }
    for attack in &report.attacks {
        for load in &attack.loads {
            let _ = write!(
                table,
                "\noverload x {:3.1}: {:>4} clients, {:>6.0} requests a second, the slowest {:>6.1} ms",
                load.factor, load.clients, load.served_per_second, load.slowest_ms
            );
        }
    }
    // Without an overload the last line is that of an attack.
    table.truncate(table.trim_end().len());
    table
}

fn line(attack: &Attack) -> String {
    let Requests { served, sent, p50_ms, p99_ms, max_ms, .. } = attack.during;
    let [p50, p99, max] = [p50_ms, p99_ms, max_ms].map(|time| time.map_or("-".into(), |time| format!("{time:.1}")));
    let after = attack.full_service_after_ms.map_or("never".into(), |after| format!("{after:.0} ms"));
    let longest = attack.relay.as_ref().map_or("-".into(), |relay| format!("{:.0} ms", relay.waits_ms()[0]));
    format!(
        "{:<12} {:>6}      | {:>6} of {:<6}  {p50:>8} {p99:>8} {max:>8}   | {:>4} {:>5} | {:>6} {:>5} | {after:>7} | {longest:>7}",
        attack.name,
        thousands(attack.attackers),
        thousands(served),
        thousands(sent),
        attack.honest_shed(),
        attack.honest_lost(),
        thousands(attack.attackers_shed),
        thousands(attack.attackers_closed),
    )
}
