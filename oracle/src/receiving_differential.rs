//! Plays the same receives on the model and on a system, and compares.

use crate::model::ModelReceiving;
use crate::receiving_checks::Checked;
use crate::receiving_ops::{Answer, Drawn, ReceivingOp};
use crate::receiving_system::{ReceivingConfig, ReceivingSystem};
use std::fmt::Debug;

/// The model and a system that get the same calls.
#[derive(Clone, Debug)]
pub struct ReceivingDifferential<S> {
    /// The model, and what must hold of it.
    pub model: Checked<ModelReceiving>,
    /// The system.
    pub system: S,
    now_ns: u64,
    /// What was played.
    played: Vec<ReceivingOp>,
}

impl<S: ReceivingSystem> ReceivingDifferential<S> {
    /// Compares a system that was not used yet, made of this configuration.
    ///
    /// # Errors
    ///
    /// The configuration is not allowed.
    pub fn new(system: S, config: ReceivingConfig) -> Result<ReceivingDifferential<S>, String> {
        let model = Checked::new(ModelReceiving::new(config)?, config)?;
        Ok(ReceivingDifferential { model, system, now_ns: 0, played: Vec::new() })
    }

    /// Host time.
    pub fn now_ns(&self) -> u64 {
        self.now_ns
    }

    /// Plays what was drawn, if there is such a legal call now.
    ///
    /// # Errors
    ///
    /// The two differ, or the model breaks a rule.
    pub fn play_drawn(&mut self, drawn: Drawn) -> Result<(), String> {
        match drawn.resolve(&self.model.system, self.now_ns) {
            Some(op) => self.play(op).map(drop),
            None => Ok(()),
        }
    }

    /// Plays one legal call on both, and compares everything that can be seen.
    ///
    /// # Errors
    ///
    /// The two differ, or the model breaks a rule.
    pub fn play(&mut self, op: ReceivingOp) -> Result<Answer, String> {
        let bytes = op.brings().map(|(receiver, bytes)| self.model.next_bytes(receiver, bytes)).unwrap_or_default();
        if let ReceivingOp::Advance { now_ns } = op {
            self.now_ns = self.now_ns.max(now_ns);
        }
        self.played.push(op);
        let expected = self.model.play(op)?;
        let seen = op.play(&mut self.system, &bytes);
        let compared = equal("the answer", &expected, &seen).and_then(|()| self.compare());
        compared.map_err(|difference| self.describe(&difference))?;
        Ok(expected)
    }

    /// The difference, what led to it, and the state of the model.
    fn describe(&self, difference: &str) -> String {
        let model = &self.model.system;
        let facts = model.attached().into_iter().map(|receiver| format!("  {receiver}: {:?}", model.facts(receiver)));
        let facts: Vec<String> = facts.collect();
        let (pool_ns, played) = (self.model.pool_ns(), &self.played);
        format!("{difference}\nin pool time {pool_ns}, {:?}\n{}\nafter {played:?}", model.totals(), facts.join("\n"))
    }

    fn compare(&self) -> Result<(), String> {
        let model = &self.model.system;
        for receiver in model.attached() {
            let what = format!("receiver {receiver}");
            equal(&what, &model.facts(receiver), &self.system.facts(receiver))?;
            equal(&what, &model.data(receiver), &self.system.data(receiver))?;
        }
        equal("totals", &model.totals(), &self.system.totals())?;
        self.system.check_invariants()?;
        equal("when to advance the clock", &model.poll_timeout(), &self.system.poll_timeout())
    }
}

fn equal<T: PartialEq + Debug>(what: &str, expected: &T, seen: &T) -> Result<(), String> {
    match expected == seen {
        true => Ok(()),
        false => Err(format!("{what}: the model has {expected:?}, the system {seen:?}")),
    }
}
