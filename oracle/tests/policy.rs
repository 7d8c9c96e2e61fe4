//! The memory model under attack: whole hosts and clients in virtual time, on the model, which is checked after each
//! call, and on the core. The example `policy` runs the same cases at length.

mod common;

use common::cases;
use demuxbuf_oracle::policy::{
    Behaviour, Case, KINDS, MS, Outcome, Settings, Simulation, Summary, all_cases, few_cases,
};
use demuxbuf_oracle::receiving_system::{Reason, ReceivingConfig, ReceivingSystem, TenantShare};
use demuxbuf_oracle::{Checked, CoreReceiving, ModelReceiving};
use proptest::prelude::*;

fn config(buffers: u64, settings: &Settings) -> ReceivingConfig {
    let receivers = Simulation::<CoreReceiving>::receivers(settings);
    let tenants = settings.are_apart.then_some([TenantShare::DEFAULT; 2]);
    ReceivingConfig { tenants, ..ReceivingConfig::new(buffers * 16_448, receivers) }
}

fn play<S: ReceivingSystem>(system: S, config: ReceivingConfig, settings: Settings) -> Outcome {
    Simulation::new(system, config, settings).run()
}

/// Every claim is settled in its time, and no honest client is shed in its time, unless the host itself held what it
/// had and could not leave it in the kernel.
fn check(outcome: &Outcome, config: &ReceivingConfig, settings: &Settings) -> Result<(), String> {
    // Claims that are due at once take 64 in an iteration, and iterations some time.
    let bound = config.wait_ns_max() + 10 * MS;
    if outcome.longest_claim_ns > bound {
        return Err(format!("a claim lasts {} ns; {bound} are the bound", outcome.longest_claim_ns));
    }
    let is_the_hosts = |kind: usize| KINDS[kind].1 == Behaviour::HeldBriefly && !settings.are_counting;
    match outcome.shed_in_time.iter().find(|((kind, _), _)| !is_the_hosts(*kind)) {
        Some(((kind, reason), count)) => Err(format!("{count} of {} were shed in time: {reason:?}", KINDS[*kind].0)),
        None => Ok(()),
    }
}

/// The attacks in small: 9 buffers, 150 attackers, in one tenant with the honest clients or in one of their own. Model
/// and core make the same of them, to the last request.
#[test]
fn policy_holds_under_each_attack_in_small() {
    for (number, case) in few_cases().into_iter().step_by(3).enumerate() {
        play_on_both(Settings { attackers: 150, are_apart: number % 2 == 0, ..Settings::new(case) });
    }
}

fn play_on_both(settings: Settings) -> Outcome {
    let (case, config) = (settings.case, config(9, &settings));
    let seen = play(CoreReceiving::new(config).expect("it is allowed"), config, settings);
    check(&seen, &config, &settings).unwrap_or_else(|broken| panic!("{case:?}: {broken}"));
    let expected = play(ModelReceiving::new(config).expect("it is allowed"), config, settings);
    assert_eq!(seen, expected, "{case:?}");
    seen
}

/// Where partial frames stay in the kernel, no claim is needed under attack, unless the kernel cannot hold a frame.
#[test]
fn policy_holds_under_each_attack_in_small_counting() {
    for (number, case) in few_cases().into_iter().skip(1).step_by(3).enumerate() {
        let settings = Settings { attackers: 150, are_counting: true, ..Settings::new(case) };
        let kernel_bytes_max = if number % 2 == 0 { settings.kernel_bytes_max } else { 8_192 };
        let outcome = play_on_both(Settings { kernel_bytes_max, ..settings });
        let is_held = kernel_bytes_max > 16_393;
        assert_eq!(outcome.totals.claims == 0, is_held, "{case:?}: {outcome:?}");
    }
}

/// Attackers that have a tenant of their own make no honest client wait longer, where that tenant has a cap.
#[test]
fn policy_holds_off_attackers_in_a_capped_tenant() {
    for case in few_cases() {
        let quiet = Settings { are_apart: true, ..Settings::new(case) };
        let settings = Settings { attackers: 600, ..quiet };
        let capped = TenantShare { cap: Some(20), ..TenantShare::DEFAULT };
        let config = ReceivingConfig { tenants: Some([capped, TenantShare::DEFAULT]), ..config(63, &settings) };
        let outcome = |settings| play(CoreReceiving::new(config).expect("it is allowed"), config, settings);
        let summary = Summary::new(&[outcome(settings)], &outcome(quiet));
        assert_eq!((summary.undisturbed, summary.honest_shed), ((1, 1), 0), "{case:?}: {summary:?}");
    }
}

/// Content in time goes for another tenant's claim only if its own has more than its share (which the model asserts),
/// and no guarantee.
#[test]
fn policy_takes_from_unguaranteed_tenants() {
    let case = all_cases().into_iter().find(|case| case.name == "static" && case.first_bytes == 1);
    let case = Case { is_mixed: true, ..case.expect("it is one of them") };
    let settings = Settings { attackers: 12, seed: 948, are_apart: true, ..Settings::new(case) };
    let is_shed = [0, 8].map(|guaranteed| {
        let tenants = Some([TenantShare::DEFAULT, TenantShare { guaranteed, ..TenantShare::DEFAULT }]);
        let config = ReceivingConfig { tenants, ..config(8, &settings) };
        let outcome = play(ModelReceiving::new(config).expect("it is allowed"), config, settings);
        assert!(outcome.shed_in_time.keys().all(|&(_, reason)| reason == Reason::Evicted), "{outcome:?}");
        !outcome.shed_in_time.is_empty()
    });
    assert_eq!(is_shed, [true, false]);
}

fn any_settings() -> impl Strategy<Value = (u64, Settings)> {
    let case = prop::sample::select(all_cases());
    (8..14u64, 1..3u32, 0..24u32, case, 0..1_000u64, any::<[bool; 2]>()).prop_map(
        |(buffers, honest_each, attackers, case, seed, [is_nesting, are_counting])| {
            let case = Case { is_mixed: case.is_mixed || seed % 2 == 0, ..case };
            (
                buffers,
                Settings {
                    honest_each,
                    attackers,
                    seed,
                    is_nesting,
                    are_counting,
                    are_apart: seed % 3 == 0,
                    ..Settings::new(case)
                },
            )
        },
    )
}

proptest! {
    #![proptest_config(cases(6, 400))]

    /// In little memory, with hosts that receive for several at once and lease buffers, every rule holds after each
    /// call.
    #[test]
    fn policy_holds_in_any_small_memory((buffers, settings) in any_settings()) {
        let mut config = config(buffers, &settings);
        // Without a guarantee, content goes before its deadline if its tenant has more than its share.
        for tenant in config.tenants.iter_mut().flatten().skip(1) {
            tenant.guaranteed = buffers as u32;
        }
        let model = ModelReceiving::new(config).map_err(TestCaseError::fail)?;
        let checked = Checked::new(model, config).map_err(TestCaseError::fail)?;
        check(&play(checked, config, settings), &config, &settings).map_err(TestCaseError::fail)?;
    }
}
