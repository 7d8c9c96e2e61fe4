//! The figures of all attacks, for a terminal.

use std::fmt::Write;

use demuxbuf_demo::text::{counted, thousands};

use crate::report::{Attack, Latency, Report};

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
        let (kib, threads) = (thousands(report.memory_kib), counted(report.threads as usize, "thread"));
        let counting = if report.counting { "counting" } else { "not counting" };
        let _ = writeln!(
            table,
            "{kib} KiB of receive memory, {threads}, {counting}; a receiver waits for room for {most_ms:.0} ms at most"
        );
    } else {
        table.push_str(
            "its buffers and waits are unknown; a connection is shed if it got a GOAWAY with ENHANCE_YOUR_CALM\n",
        );
    }
    table.push_str(
        "
                        | latency of honest requests, ms                        | p99 around    | honest requests  |            | attackers shed              |         |                  | attackers, ms
                        | without attack            | under attack              | relay         | under attack     | honest     | at their        for | closed| longest | clock     longest| all    all had  their
                        |    p50     p99      max   |    p50     p99      max   | before  under | served of sent   | shed  lost | deadline evicted memory | else  | wait    | gap     iteration| came   struck   rate
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
    let tenths = |time: Option<f64>| time.map_or("-".into(), |time| format!("{time:.1}"));
    let latency = |latency: &Latency| {
        let [p50, p99, max] = [latency.p50_ms, latency.p99_ms, latency.max_ms].map(tenths);
        format!("{p50:>6}  {p99:>6}  {max:>7}")
    };
    let [quiet_beside, beside] = [&attack.quiet_beside, &attack.beside].map(|latency| tenths(latency.p99_ms));
    let shed = match &attack.relay {
        Some(relay) => [relay.shed_at_deadline, relay.evicted, relay.shed_for_memory].map(thousands),
        None => [thousands(attack.attackers_shed), "-".into(), "-".into()],
    };
    let milliseconds = |ns: Option<u64>| ns.map_or("-".into(), |ns| format!("{:.0} ms", ns as f64 / 1e6));
    let [wait, gap] = [
        milliseconds(attack.relay.map(|relay| relay.longest_claim_ns)),
        milliseconds(attack.relay.map(|relay| relay.clock_gap_max_ns)),
    ];
    let iteration = tenths(attack.relay.map(|relay| relay.iteration_max_ns as f64 / 1e6));
    let whole = |ms: f64| if attack.attackers > 0 { format!("{ms:.0}") } else { "-".into() };
    let [came, struck] = [attack.strength.came_within_ms, attack.strength.struck_within_ms].map(whole);
    let rate = attack.strength.share_of_rate().map_or("-".into(), |share| format!("{:.0} %", 100.0 * share));
    format!(
        "{:<14} {:>6}   | {}   | {}   | {quiet_beside:>6} {beside:>6} | {:>6} of {:<6} | \
         {:>4} {:>5} | {:>8} {:>7} {:>6} | {:>5} | {wait:>7} | \
         {gap:>6} {iteration:>6} ms | {came:>6} {struck:>7} {rate:>6}",
        attack.name,
        thousands(attack.attackers),
        latency(&attack.quiet_latency),
        latency(&attack.latency),
        thousands(attack.during.served),
        thousands(attack.during.sent),
        attack.honest_shed(),
        attack.honest_lost(),
        shed[0],
        shed[1],
        shed[2],
        thousands(attack.attackers_closed),
    )
}
