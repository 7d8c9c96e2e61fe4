//! The memory model under attack, played on its model and on the core: the same cases, side by side.
//!
//! `cargo run --release -p demuxbuf-oracle --example policy -- --cases few --system core`

use clap::{Parser, ValueEnum};
use demuxbuf_oracle::policy::{Case, KINDS, MS, Outcome, S, Settings, Simulation, Summary, all_cases, few_cases};
use demuxbuf_oracle::receiving_system::{ReceivingConfig, ReceivingSystem, TenantShare};
use demuxbuf_oracle::{CoreReceiving, ModelReceiving};

/// Honest clients of thirteen kinds and attackers on one event loop. Prints how many requests of each kind were
/// answered, relative to a run without attackers, and the longest wait; then the same over all cases.
#[derive(Parser)]
struct Arguments {
    /// Systems attacks: `few` (18), `all` (72), or names, as `static,mixed`.
    #[arg(long, default_value = "few")]
    cases: String,
    /// What is played on.
    #[arg(long, value_enum, default_value_t = Systems::Both)]
    system: Systems,
    /// Attackers.
    #[arg(long, default_value_t = 2_000)]
    attackers: u32,
    /// Virtual time under attack.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Runs of each case.
    #[arg(long, default_value_t = 1)]
    seeds: u64,
    /// Honest clients of each kind.
    #[arg(long, default_value_t = 2)]
    honest_each: u32,
    /// All memory for received bytes.
    #[arg(long, default_value_t = 1_024)]
    memory_kib: u64,
    /// How long the host may hold content in shortage.
    #[arg(long, default_value_t = 2_000)]
    blocked_ms: u64,
    /// The host receives for two receivers at once, and leases buffers.
    #[arg(long)]
    nesting: bool,
    /// Attackers are of a tenant of their own.
    #[arg(long)]
    apart: bool,
    /// The most buffers that tenant may keep.
    #[arg(long)]
    cap: Option<u32>,
    /// Clients leave partial frames in the kernel.
    #[arg(long)]
    counting: bool,
    /// The most that the kernel holds for a connection.
    #[arg(long, default_value_t = 65_536)]
    kernel_bytes: u32,
    /// A line for each run.
    #[arg(long)]
    detail: bool,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Systems {
    Model,
    Core,
    Both,
}

fn main() -> Result<(), String> {
    let arguments = Arguments::parse();
    let cases = chosen_cases(&arguments.cases)?;
    let mut summaries = Vec::new();
    if arguments.system != Systems::Core {
        summaries.push(("model", play_all(&arguments, &cases, "model", ModelReceiving::new)?));
    }
    if arguments.system != Systems::Model {
        summaries.push(("core", play_all(&arguments, &cases, "core", CoreReceiving::new)?));
    }
    print(&arguments, &summaries);
    Ok(())
}

fn chosen_cases(names: &str) -> Result<Vec<Case>, String> {
    let cases = match names {
        "all" => all_cases(),
        "few" => few_cases(),
        names => all_cases().into_iter().filter(|case| names.split(',').any(|name| name == case.name)).collect(),
    };
    if cases.is_empty() {
        Err(format!("--cases is {names}; few, all or names of attacks are allowed"))
    } else {
        Ok(cases)
    }
}

fn play_all<S: ReceivingSystem>(
    arguments: &Arguments,
    cases: &[Case],
    name: &str,
    new: impl Fn(ReceivingConfig) -> Result<S, String>,
) -> Result<Summary, String> {
    let without_attack = play(arguments, cases[0], 0, 1, &new)?;
    let mut outcomes = Vec::new();
    for &case in cases {
        for seed in 1..=arguments.seeds {
            let outcome = play(arguments, case, arguments.attackers, seed, &new)?;
            if arguments.detail {
                print_run(name, case, seed, &outcome, &without_attack);
            }
            outcomes.push(outcome);
        }
    }
    Ok(Summary::new(&outcomes, &without_attack))
}

fn play<S: ReceivingSystem>(
    arguments: &Arguments,
    case: Case,
    attackers: u32,
    seed: u64,
    new: &impl Fn(ReceivingConfig) -> Result<S, String>,
) -> Result<Outcome, String> {
    let &Arguments { seconds, honest_each, nesting: is_nesting, apart: are_apart, cap, .. } = arguments;
    let &Arguments { counting: are_counting, kernel_bytes: kernel_bytes_max, .. } = arguments;
    let settings =
        Settings { honest_each, attackers, case, seconds, seed, is_nesting, are_apart, are_counting, kernel_bytes_max };
    let share = TenantShare { cap, ..TenantShare::DEFAULT };
    let config = ReceivingConfig {
        blocked_ns: arguments.blocked_ms * MS,
        tenants: are_apart.then_some([share, TenantShare::DEFAULT]),
        // The same split with and without attackers.
        ..ReceivingConfig::new(
            1_024 * arguments.memory_kib,
            Simulation::<S>::receivers(&Settings { attackers: arguments.attackers, ..settings }),
        )
    };
    Ok(Simulation::new(new(config)?, config, settings).run())
}

fn time(ns: u64) -> String {
    if ns >= S { format!("{:.2} s", ns as f64 / S as f64) } else { format!("{} ms", ns / MS) }
}

fn print_run(name: &str, case: Case, seed: u64, outcome: &Outcome, without_attack: &Outcome) {
    let summary = Summary::new(std::slice::from_ref(outcome), without_attack);
    let kind = |kind: usize| format!("{:.0}/{}", summary.mean_percent[kind], time(summary.longest_ns[kind]));
    let kinds: Vec<String> = (0..KINDS.len()).map(kind).collect();
    println!(
        "{name} {} {} seed {seed}: {}; honest shed {}, in time {:?}, claim {}, trials {}, grants {}, evictions {}, attackers shed {}",
        case.name,
        case.first_bytes,
        kinds.join(" "),
        outcome.honest_shed,
        outcome.shed_in_time,
        time(outcome.longest_claim_ns),
        outcome.totals.trials,
        outcome.totals.grants,
        outcome.totals.evictions,
        outcome.attackers_shed
    );
}

fn print(arguments: &Arguments, summaries: &[(&str, Summary)]) {
    let Arguments { attackers, seconds, seeds, memory_kib, blocked_ms, .. } = arguments;
    println!("{attackers} attackers, {seconds} s, {seeds} seeds, {memory_kib} KiB, blocked_ns {blocked_ms} ms");
    print!("{:<18}", "");
    summaries.iter().for_each(|(name, _)| print!("  {name}: mean %  least %  longest"));
    println!();
    for (kind, (title, _, _)) in KINDS.iter().enumerate() {
        print!("{title:<18}");
        for (name, summary) in summaries {
            let space = name.len();
            let (mean, least) = (summary.mean_percent[kind], summary.least_percent[kind]);
            print!("  {:space$}  {mean:>6.1}  {least:>7.1}  {:>7}", "", time(summary.longest_ns[kind]));
        }
        println!();
    }
    for (name, summary) in summaries {
        let in_time: Vec<String> = summary
            .shed_in_time
            .iter()
            .map(|((kind, reason), count)| format!("{count} {} ({reason:?})", KINDS[*kind].0))
            .collect();
        println!(
            "{name}: longest claim {}, honest shed {}, in time: [{}], all kinds at least 99 % in {} of {}",
            time(summary.longest_claim_ns),
            summary.honest_shed,
            in_time.join(", "),
            summary.undisturbed.0,
            summary.undisturbed.1
        );
    }
}
