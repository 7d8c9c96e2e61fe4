//! The bound in time with several threads: an adversary that has the clients of all threads but some, and decides when
//! threads look, plays for the longest claim. Each claim is settled within `wait_ns_max` of the time of its thread, and
//! no client is shed if its frames arrive in time. Beside it, every order of a few events, and single cases.

#[path = "../common/mod.rs"]
mod common;
mod game;
mod orders;
mod strategy;
mod threads;

use demuxbuf::connection::Mode;
use demuxbuf_testkit::Rng;
use game::{Game, Outcomes};
use strategy::Strategy;

const MODES: [Mode; 4] = [Mode::Level, Mode::OneShot, Mode::Edge, Mode::Optimistic];
const MS: u64 = 1_000_000;
const STEPS: u64 = if cfg!(miri) { 20 } else { 300 };
const GRACE_NS: u64 = 160 * MS;
const BUFFER_BYTES: u32 = 512;
/// Strategies that are played with each number of threads.
const ROUNDS: u64 = if cfg!(miri) { 2 } else { 40 };

/// The adversary keeps the strategy with the longest claim, and changes it.
fn play_for_the_longest_claim(threads: usize) {
    let (mut rng, mut best) = (Rng::with_seed(threads as u64), None::<(Strategy, Outcomes)>);
    let mut all = Outcomes::default();
    for round in 0..ROUNDS {
        let mode = MODES[round as usize % MODES.len()];
        let strategy = match &best {
            Some((best, _)) if round % 3 > 0 => best.changed(&mut rng),
            _ => Strategy::random(&mut rng),
        };
        println!("{threads} threads, {mode:?}: {strategy:?}");
        let outcomes = Game::new(threads, mode, strategy.clone()).play();
        println!("    {outcomes:?}");
        if best.as_ref().is_none_or(|(_, before)| before.longest_claim_ns < outcomes.longest_claim_ns) {
            best = Some((strategy, outcomes));
        }
        all.trials += outcomes.trials;
        all.evicted += outcomes.evicted;
        all.served += outcomes.served;
        all.longest_claim_ns = all.longest_claim_ns.max(outcomes.longest_claim_ns);
        all.longest_wait_ns = all.longest_wait_ns.max(outcomes.longest_wait_ns);
    }
    println!("{threads} threads: {all:?}");
    // It comes close to the bound: to the deadline of a whole buffer.
    let is_hard = all.longest_claim_ns > GRACE_NS && all.trials > 100 && all.evicted > 100 && all.served > 1_000;
    assert!(cfg!(miri) || is_hard, "given: {all:?}");
}

#[test]
fn claims_of_two_threads_are_settled_in_time() {
    play_for_the_longest_claim(2);
}

#[test]
fn claims_of_three_threads_are_settled_in_time() {
    play_for_the_longest_claim(3);
}
