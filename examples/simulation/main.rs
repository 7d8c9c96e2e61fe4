//! Thousands of connections on the pure core, honest and hostile, in virtual time.
//!
//! `cargo run --release --example simulation -- --seed 1 --connections 10000` prints what became of each crowd. The
//! same seed gives the same run, to the last event: the trace that is printed is the hash of all of them.

mod crowd;
mod simulation;

use clap::Parser;
use crowd::{Crowd, DRIP, FLOOD, HONEST, LEAVER, SLOW_READER, partial};
use demuxbuf::pool::PoolConfig;
use demuxbuf::scheduler::TenantConfig;
use simulation::{MS, Report, Simulation};

/// Half of the connections are honest, the others attack in all ways at once from the first second to the eighth.
#[derive(Parser)]
struct Arguments {
    /// Chooses the run.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Peers in all.
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(16..=1_000_000))]
    connections: u32,
    /// Buffers of 16 KiB; by default one for each 20 connections.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    buffers: Option<u32>,
    /// Virtual time, in seconds.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Every peer is of the default tenant, so that no peer has a share of its own.
    #[arg(long)]
    one_tenant: bool,
}

fn main() {
    let arguments = Arguments::parse();
    let Arguments { seed, connections, seconds, .. } = arguments;
    let buffers = arguments.buffers.unwrap_or((connections / 20).max(1));
    let mut crowds = all_at_once(connections);
    if arguments.one_tenant {
        crowds.iter_mut().for_each(|crowd| crowd.tenants = 0);
    }
    let mut simulation = Simulation::new(&config(buffers, &crowds), &TenantConfig::default(), crowds, seed);
    simulation.run_until(seconds * 1_000 * MS);
    println!("seed {seed}, {connections} connections, {buffers} buffers, {seconds} s of virtual time");
    print(&simulation.report());
}

/// Half of them honest; each other crowd a sixteenth of them, the flood one tenant.
fn all_at_once(connections: u32) -> Vec<Crowd> {
    let attacks = [
        ("drip", DRIP),
        ("100 bytes", partial(100)),
        ("257 bytes", partial(257)),
        ("1025 bytes", partial(1_025)),
        ("4097 bytes", partial(4_097)),
        ("slow reader", SLOW_READER),
        ("flood", FLOOD),
        ("leaver", LEAVER),
    ];
    let attack = |(name, habit)| {
        let peers = connections / 16;
        let tenants = if name == "flood" { 1 } else { peers };
        Crowd { tenants, from_ns: 1_000 * MS, until_ns: 8_000 * MS, ..Crowd::new(name, habit, peers) }
    };
    let honest = Crowd::new("honest", HONEST, connections - connections / 16 * attacks.len() as u32);
    [honest].into_iter().chain(attacks.map(attack)).collect()
}

/// Room for every peer, parking slots for a few.
fn config(buffers: u32, crowds: &[Crowd]) -> PoolConfig {
    let peers = crowds.iter().map(|crowd| crowd.peers).sum();
    let mut config = PoolConfig::new(buffers, peers);
    config.scheduler.tenants_max = crowds.iter().map(|crowd| crowd.tenants).sum();
    (config.scheduler.park_ns, config.scheduler.lease_ns) = (Some(20 * MS), Some(100 * MS));
    config.policy.reclaim_bytes = 4_096;
    config.large_slots = [peers / 4, peers / 16, peers / 64];
    config
}

fn print(report: &Report) {
    println!("{:12} {:>7} {:>9} {:>7} {:>9} {:>9} {:>9}", "", "peers", "served", "shed", "p50 us", "p99 us", "max us");
    for crowd in &report.crowds {
        let latency = &crowd.latency_us;
        let [half, most] = [0.5, 0.99].map(|part| latency.value_at_quantile(part));
        println!(
            "{:12} {:>7} {:>9} {:>7} {half:>9} {most:>9} {:>9}",
            crowd.name,
            crowd.peers,
            crowd.served,
            crowd.shed,
            latency.max()
        );
    }
    let stats = &report.stats;
    let (parked, asked) = (stats.parked, stats.parked_on_demand);
    println!("parked {parked}, on demand {asked}, slots at once {}", stats.slots_in_use_peak);
    println!("bypasses of one waiter: at most {}, W = {}", stats.scheduler.bypass_peak, report.bypass_bound);
    if let Some(recovery_ns) = report.recovery_ns {
        println!("the last waiter was served {} us after the attackers had left", recovery_ns / 1_000);
    }
    println!("{} events, {} frames unserved at the end, trace {:016x}", report.steps, report.unserved, report.trace);
}
