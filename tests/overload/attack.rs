//! The hostile populations of the simulation against the honest ones, small: what is promised to the honest.

use crate::crowd::{Crowd, DRIP, FLOOD, HONEST, Habit, LEAVER, SLOW_READER, partial};
use crate::simulation::{CrowdReport, MS, Report, Simulation};
use demuxbuf::pool::PoolConfig;
use demuxbuf::scheduler::TenantConfig;

/// The least that a pool has, beside what it needs for the starts of frames.
const BUFFERS: u32 = 8;
const GRACE_NS: u64 = 100 * MS;
const BLOCKED_NS: u64 = 200 * MS;

/// Short times, and a tenant for each peer.
fn config(crowds: &[Crowd]) -> PoolConfig {
    let peers = crowds.iter().map(|crowd| crowd.peers).sum();
    PoolConfig {
        frame_grace_ns: GRACE_NS,
        blocked_ns: BLOCKED_NS,
        tenants_max: crowds.iter().map(|crowd| crowd.tenants).sum(),
        ..PoolConfig::new(u64::from(BUFFERS) * 16_448, peers)
    }
}

fn run(crowds: &[Crowd], seconds: u64, seed: u64) -> Report {
    let mut simulation = Simulation::new(&config(crowds), &TenantConfig::default(), crowds.to_vec(), seed);
    simulation.run_until(seconds * 1_000 * MS);
    simulation.report()
}

fn max_us(crowd: &CrowdReport) -> u64 {
    crowd.latency_us.max()
}

/// Ten attackers for each buffer.
const ATTACKERS: u32 = 10 * BUFFERS;

/// Honest clients, and attackers from this many addresses that come a second later and leave after four.
fn against(habit: Habit, tenants: u32, seed: u64) -> Report {
    let attackers = Crowd {
        tenants,
        from_ns: 1_000 * MS,
        until_ns: 4_000 * MS,
        gather_ns: 10 * MS,
        ..Crowd::new("attackers", habit, ATTACKERS)
    };
    run(&[Crowd::new("honest", HONEST, 8), attackers], 5, seed)
}

/// The longest that a wait lasts.
fn bound_ns() -> u64 {
    config(&[]).wait_ns_max()
}

/// The promise to honest clients, whatever the attackers do: none is shed, and each is served in time.
fn honest_are_served(report: &Report, within_ns: u64) {
    let honest = &report.crowds[0];
    assert_eq!(honest.shed, 0);
    assert!(honest.served > 15 * u64::from(honest.peers), "{} in five seconds", honest.served);
    assert!(max_us(honest) * 1_000 <= within_ns, "{} us", max_us(honest));
    assert!(report.unserved <= 8, "all but what has just come is served");
    assert!(report.totals.longest_claim_ns <= bound_ns());
}

#[test]
fn s41_header_fragment_holds_no_buffer() {
    let report = against(Habit { piece_bytes: (1, 8), sends_bytes: 8, ..partial(8) }, ATTACKERS, 1);
    honest_are_served(&report, 5 * MS);
    assert_eq!((report.crowds[1].shed, report.totals.claims), (0, 0), "attackers hold no buffer that is needed");
}

#[test]
fn s42_start_of_the_largest_frame_holds_a_cell() {
    for (tenants, seed) in [(1, 1), (ATTACKERS, 2)] {
        let report = against(partial(100), tenants, seed);
        honest_are_served(&report, 5 * MS);
        assert_eq!((report.crowds[1].shed, report.totals.claims), (0, 0), "cells are enough");
    }
}

#[test]
fn s43_more_than_there_is_room_for_is_shed() {
    for habit in [partial(4_097), SLOW_READER] {
        let report = against(habit, 1, 1);
        honest_are_served(&report, 5 * MS);
        assert!(report.crowds[1].shed > u64::from(ATTACKERS), "they are shed again whenever they are back");
        // Attackers with an address each are like honest clients until their frames are due.
        let report = against(habit, ATTACKERS, 1);
        honest_are_served(&report, bound_ns());
        assert!(report.crowds[1].shed > u64::from(ATTACKERS) / 2, "{} were shed", report.crowds[1].shed);
    }
}

/// One byte more than each size of cells, at once and byte by byte.
#[test]
fn s43_trickle_above_each_cell_size_is_shed() {
    for habit in [partial(65), partial(257), partial(1_025), DRIP, LEAVER] {
        honest_are_served(&against(habit, 1, 1), 5 * MS);
        honest_are_served(&against(habit, ATTACKERS, 1), bound_ns());
    }
}

#[test]
fn s44_service_recovers_after_the_attack() {
    for habit in [partial(100), partial(4_097), DRIP, SLOW_READER] {
        let report = against(habit, ATTACKERS, 2);
        // The step of the release serves the waiters; the others wait as long as honest clients use their buffers.
        assert!(report.recovery_ns.is_some_and(|recovery_ns| recovery_ns <= 20 * MS), "{:?}", report.recovery_ns);
    }
}

#[test]
fn s45_throughput_holds_under_overload() {
    // Whole requests without a pause: one buffer serves a request each millisecond.
    let busy = Habit { think_ns: (0, 2 * MS), ..FLOOD };
    let served = |peers| {
        let report = run(&[Crowd { gather_ns: 0, ..Crowd::new("honest", busy, peers) }], 1, 1);
        let honest = &report.crowds[0];
        assert_eq!(honest.shed, 0);
        assert!(max_us(honest) * 1_000 <= bound_ns(), "{peers}: {}", max_us(honest));
        honest.served
    };
    // With a time to think of one service on average, twice as many peers as buffers are enough for all of them.
    let enough = served(2 * BUFFERS);
    for peers in [12 * BUFFERS / 5, 4 * BUFFERS, 10 * BUFFERS] {
        let loaded = served(peers);
        assert!(loaded >= enough, "{peers} peers: {loaded}, {enough} before");
    }
}

#[test]
fn s46_flood_of_one_tenant_leaves_other_shares() {
    let honest = Crowd::new("honest", Habit { think_ns: (20 * MS, 60 * MS), ..HONEST }, 10);
    let flood = |tenants| Crowd { tenants, ..Crowd::new("flood", FLOOD, 30) };
    let alone = run(&[honest], 2, 1);
    let beside = run(&[honest, flood(1)], 2, 1);
    let drowned = run(&[Crowd { tenants: 0, ..honest }, flood(0)], 2, 1);
    let served = [&alone, &beside, &drowned].map(|report| report.crowds[0].served);
    assert_eq!([&alone, &beside].map(|report| report.crowds[0].shed), [0; 2]);
    assert!(10 * served[1] >= 9 * served[0], "they keep nearly all that they had alone: {served:?}");
    assert!(max_us(&beside.crowds[0]) <= 5_000, "the flood waits behind them: {} us", max_us(&beside.crowds[0]));
    assert!(2 * served[2] < served[1], "without tenants they wait behind the flood: {served:?}");
}

/// The outcome of each crowd.
fn outcomes(report: &Report) -> Vec<(&'static str, u64, u64)> {
    report.crowds.iter().map(|crowd| (crowd.name, crowd.served, crowd.shed)).collect()
}

#[test]
fn run_is_determined_by_its_seed() {
    let crowds = [Crowd::new("honest", HONEST, 8), Crowd::new("drip", DRIP, 8), Crowd::new("slow", SLOW_READER, 8)];
    let runs = [1, 2, 1].map(|seed| {
        let report = run(&crowds, 2, seed);
        (report.steps, report.trace, outcomes(&report))
    });
    assert_eq!(runs[0], runs[2]);
    assert_ne!(runs[0].1, runs[1].1);
}
