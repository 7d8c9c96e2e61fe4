//! What became of the clients.

use super::clients::KINDS;
use crate::receiving_system::{Reason, Totals};
use std::collections::BTreeMap;

/// The results of one run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// By kind: how many requests were answered.
    pub answered: [u64; KINDS.len()],
    /// By kind: the longest wait for an answer, those that were still waited for too.
    pub longest_ns: [u64; KINDS.len()],
    /// Honest clients that were shed.
    pub honest_shed: u64,
    /// Those whose frame had kept its time, by kind and reason.
    pub shed_in_time: BTreeMap<(usize, Reason), u64>,
    /// Attackers that were shed.
    pub attackers_shed: u64,
    /// The longest claim, in pool time, those that still wait too.
    pub longest_claim_ns: u64,
    /// Receives that brought nothing, and reports, and what else was called.
    pub calls: u64,
    /// At the end.
    pub totals: Totals,
}

/// The results of many cases, relative to a run without attackers.
#[derive(Clone, Debug)]
pub struct Summary {
    /// By kind: answered requests in percent, the mean over all cases.
    pub mean_percent: [f64; KINDS.len()],
    /// By kind: the same, in the worst case.
    pub least_percent: [f64; KINDS.len()],
    /// By kind: the longest wait of all cases.
    pub longest_ns: [u64; KINDS.len()],
    /// Sum of all cases.
    pub honest_shed: u64,
    /// Sum of all cases.
    pub shed_in_time: BTreeMap<(usize, Reason), u64>,
    /// The longest of all cases.
    pub longest_claim_ns: u64,
    /// Cases in which each kind got at least 99 %, and all cases.
    pub undisturbed: (usize, usize),
}

impl Summary {
    /// The summary of these outcomes, which are not none.
    pub fn new(outcomes: &[Outcome], without_attack: &Outcome) -> Summary {
        let percent = |outcome: &Outcome, kind: usize| {
            100.0 * outcome.answered[kind] as f64 / without_attack.answered[kind].max(1) as f64
        };
        let mean = |kind| outcomes.iter().map(|outcome| percent(outcome, kind)).sum::<f64>() / outcomes.len() as f64;
        let least = |kind| outcomes.iter().map(|outcome| percent(outcome, kind)).fold(f64::INFINITY, f64::min);
        let longest = |kind: usize| outcomes.iter().map(|outcome| outcome.longest_ns[kind]).max().unwrap_or(0);
        let gets_nearly_all = |outcome: &&Outcome| (0..KINDS.len()).all(|kind| percent(outcome, kind) >= 99.0);
        let mut shed_in_time = BTreeMap::new();
        for (&key, count) in outcomes.iter().flat_map(|outcome| &outcome.shed_in_time) {
            *shed_in_time.entry(key).or_insert(0) += count;
        }
        Summary {
            mean_percent: std::array::from_fn(mean),
            least_percent: std::array::from_fn(least),
            longest_ns: std::array::from_fn(longest),
            honest_shed: outcomes.iter().map(|outcome| outcome.honest_shed).sum(),
            shed_in_time,
            longest_claim_ns: outcomes.iter().map(|outcome| outcome.longest_claim_ns).max().unwrap_or(0),
            undisturbed: (outcomes.iter().filter(gets_nearly_all).count(), outcomes.len()),
        }
    }
}
