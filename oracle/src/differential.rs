//! Plays the same operations on the model and on a system, and compares.

use crate::driver::{Driver, Reply, Response};
use crate::model::{ModelPool, ModelScheduler};
use crate::system::{RustPool, RustScheduler, System};
use crate::{Facts, HandleRef, Op, check_facts};
use demuxbuf::connection::{Action, Actions, Event};
use demuxbuf::pool::PoolStats;

/// A model and a system that get the same operations.
#[derive(Clone, Debug)]
pub struct Differential<M, S> {
    /// The model.
    pub model: Driver<M>,
    /// The system.
    pub system: Driver<S>,
    /// Compare the answers alone, for a state that was compared in full before or is at its end.
    pub answers_only: bool,
}

impl<M: System, S: System> Differential<M, S> {
    /// Compares two systems that were not used yet.
    pub fn new(model: M, system: S) -> Differential<M, S> {
        Differential { model: Driver::new(model), system: Driver::new(system), answers_only: false }
    }

    /// Plays one operation on both; compares the answers, then everything that can be seen, and checks the invariants.
    ///
    /// # Errors
    ///
    /// The two differ, or a rule is broken.
    pub fn play(&mut self, op: Op) -> Result<Reply, String> {
        let before = self.system.system.stats();
        let expected = self.model.play(op);
        let seen = self.system.play(op);
        if !expected.agrees_with(&seen) {
            return Err(format!("{op:?}: the model answers {expected:?}, the system {seen:?}"));
        }
        if self.answers_only {
            return Ok(expected);
        }
        self.compare().map_err(|difference| format!("after {op:?}: {difference}"))?;
        if let Response::Refused(_) = seen.response {
            check_refusal(before, self.system.system.stats()).map_err(|change| format!("{op:?}: {change}"))?;
        }
        Ok(expected)
    }

    /// Compares everything that can be seen, and checks the invariants of both.
    ///
    /// # Errors
    ///
    /// The two differ, or a rule is broken.
    pub fn compare(&mut self) -> Result<(), String> {
        self.compare_receivers()?;
        self.compare_handles()?;
        let (mut expected, seen) = (self.model.system.stats(), self.system.system.stats());
        if !S::COUNTS_REFUSALS {
            expected.scheduler.refused = seen.scheduler.refused;
        }
        ensure_equal("statistics", &expected, &seen)?;
        let (expected, seen) = (self.model.system.poll_timeout(), self.system.system.poll_timeout());
        ensure_equal("when to advance the clock", &expected, &seen)?;
        self.model.system.check_invariants().map_err(|rule| format!("the model breaks {rule}"))?;
        self.system.system.check_invariants().map_err(|rule| format!("the system breaks {rule}"))
    }

    /// What is described of waits, leases and tenants.
    fn compare_handles(&mut self) -> Result<(), String> {
        for (model, system) in self.model.waits().into_iter().zip(self.system.waits()) {
            if let Some(seen) = self.system.system.describe_wait(system) {
                ensure_equal("a wait", &self.model.system.describe_wait(model), &Some(seen))?;
            }
        }
        for (model, system) in self.model.leases().into_iter().zip(self.system.leases()) {
            if let Some(seen) = self.system.system.describe_lease(system) {
                ensure_equal("a lease", &self.model.system.describe_lease(model), &Some(seen))?;
            }
            let (Ok(expected), Ok(seen)) = (self.model.system.content(model), self.system.system.content(system))
            else {
                continue;
            };
            let differs = expected.iter().zip(&seen).any(|(known, seen)| known.is_some() && known != seen);
            if differs || expected.len() != seen.len() {
                return Err(format!("a buffer of the host's: the model has {expected:?}, the system {seen:?}"));
            }
        }
        for (model, system) in self.model.tenants().into_iter().zip(self.system.tenants()) {
            let (expected, seen) =
                (self.model.system.describe_tenant(model), self.system.system.describe_tenant(system));
            ensure_equal("a tenant", &expected, &seen)?;
        }
        Ok(())
    }

    fn compare_receivers(&mut self) -> Result<(), String> {
        let pairs: Vec<_> = self.model.receivers().into_iter().zip(self.system.receivers()).collect();
        for (model, system) in pairs {
            let expected = self.model.system.describe(model);
            let seen = self.system.system.describe(system);
            ensure_equal("a receiver", &expected, &seen)?;
            if let Ok(seen) = seen {
                check_facts(&seen.facts)?;
                let bound = self.system.system.bypass_bound();
                ensure_equal("the bound", &self.model.system.bypass_bound(), &bound)?;
                if seen.bypasses > bound {
                    return Err(format!("I6: {} bypasses of a waiter; the bound is {bound}", seen.bypasses));
                }
            }
            // A query changes nothing, and answers the same again.
            let expected = self.model.system.pending(model).map(Reply::from);
            for _ in 0..2 {
                let seen = self.system.system.pending(system).map(Reply::from);
                match (&expected, &seen) {
                    (Ok(expected), Ok(seen)) if expected.agrees_with(seen) => {}
                    _ => return Err(format!("what is pending: expected {expected:?}, seen {seen:?}")),
                }
            }
        }
        Ok(())
    }
}

impl<S: System> Differential<ModelPool, S> {
    /// Plays hosts and peers that behave from now on: blocks end, missing bytes arrive, receivers with a frame that can
    /// never be decoded are closed, and the host releases its buffers. Then every waiter must be served: a receiver
    /// that waits for its first buffer gets it, or leaves because its peer ended, it is to be shed, or its frame cannot
    /// fit. Then all that can be seen is compared.
    ///
    /// # Errors
    ///
    /// As [`play`](Differential::play), or a waiter is never served.
    pub fn drain(&mut self) -> Result<(), String> {
        // Each round serves at least the one at the head of each queue, or ends a receiver.
        let rounds = 8 + 2 * (self.model.waits().len() + self.model.receivers().len());
        for _ in 0..rounds {
            while self.play_fairly(Op::PollNotice)?.response != Response::Nothing {}
            while !self.model.leases().is_empty() {
                self.play_fairly(Op::Release { lease: HandleRef::Live(0) })?;
            }
            let mut at = 0;
            while at < self.model.receivers().len() {
                at += usize::from(self.behave(at)?);
            }
            let scheduler = self.system.system.stats().scheduler;
            if scheduler.leased + scheduler.assigned + scheduler.waiting == 0 {
                return self.compare();
            }
        }
        Err(format!("I6: not every waiter was served after {rounds} rounds: {:?}", self.system.system.stats()))
    }

    /// As `play`; after it no waiter has lost its place in a queue.
    fn play_fairly(&mut self, op: Op) -> Result<Reply, String> {
        let mut waiting = self.model.receivers();
        waiting.retain(|&id| self.model.system.waits_for_first(id));
        let reply = self.play(op)?;
        let is_fair = |id: &u64| self.model.system.waits_for_first(*id) || self.model.system.is_gone_or_served(*id);
        match waiting.iter().all(is_fair) {
            true => Ok(reply),
            false => Err(format!("I6: after {op:?} a waiter left the queue without a buffer: {:?}", self.model.system)),
        }
    }

    /// One iteration of a receiver; returns whether it is still there. While it waits for its first buffer it receives
    /// nothing through its lifeline, which could end its wait.
    fn behave(&mut self, at: usize) -> Result<bool, String> {
        let facts = self.facts(at)?;
        if facts.blocked != 0 {
            self.play_fairly(Op::report(at, Event::Unblock { reasons: u32::MAX }))?;
        }
        self.play_fairly(Op::report(at, Event::ResumeRecv))?;
        self.play_fairly(Op::report(at, Event::Wake))?;
        let mut reported = false;
        for _ in 0..32 {
            let facts = self.facts(at)?;
            let pending = Actions::from_bits(facts.pending).unwrap_or_default();
            let over = [Action::End, Action::Shed].into_iter().any(|action| pending.has(action));
            let too_small = facts.hold == 2 && facts.needed_bytes > facts.capacity - facts.buffered_bytes;
            let receives = !self.model.system.waits_for_first(self.model.receivers()[at]);
            let event = if facts.in_flight && receives && (!facts.open || pending.is_empty()) {
                Event::WouldBlock
            } else if over || too_small {
                Event::Close
            } else if pending.has(Action::Decode) {
                Event::Consumed { bytes: facts.buffered_bytes }
            } else if pending.has(Action::Recv) && receives && facts.needed_bytes > 0 {
                Event::Received { bytes: facts.needed_bytes.min(facts.capacity - facts.buffered_bytes) }
            } else if pending.has(Action::Recv) && receives {
                Event::WouldBlock
            } else if pending.has(Action::Reschedule) {
                Event::Wake
            } else if pending.has(Action::WantRecv) {
                Event::done(Action::WantRecv)
            } else if pending.has(Action::StopRecv) {
                Event::done(Action::StopRecv)
            } else if facts.needed_bytes > 0 && !facts.waiting && !reported {
                reported = true;
                Event::Readable
            } else {
                return Ok(true);
            };
            let left = self.model.receivers().len();
            self.play_fairly(Op::report(at, event))?;
            if self.model.receivers().len() < left {
                return Ok(false);
            }
        }
        Err(format!("a receiver is never done: {:?}", self.facts(at)?))
    }

    fn facts(&mut self, at: usize) -> Result<Facts, String> {
        let id = self.model.receivers()[at];
        self.model.system.describe(id).map(|info| info.facts).map_err(|status| format!("described with {status}"))
    }
}

/// For the search: all that the future of both depends on. A handle has the same number in the model and in the system,
/// so that two states count as one only if model and system correspond in the same way.
impl<M: System, S: System> Differential<M, S> {
    /// The number for a handle of the system's, by that for the model's.
    fn name_twin(&self, system: u64, name: impl Fn(u64) -> Option<u64>) -> u64 {
        let waits = || self.system.waits().into_iter().zip(self.model.waits());
        let leases = || self.system.leases().into_iter().zip(self.model.leases());
        let twin = waits().chain(leases()).find(|&(known, _)| known == system);
        // A number that the system was never given is a defect, which its other answers show.
        twin.and_then(|(_, model)| name(model)).unwrap_or(u64::MAX)
    }
}

impl Differential<ModelScheduler, RustScheduler> {
    /// Writes down the state of the model, then that of the system.
    pub fn state_key(&self, state: &mut Vec<u64>) {
        let names = self.model.system.state_key(state, &|_| 0);
        let name = |handle: u64| self.name_twin(handle, |model| names.get(&model).copied());
        self.system.system.state_key(state, &name);
    }
}

impl Differential<ModelPool, RustPool> {
    /// Writes down the state of the model, then that of the system. `receiver` has numbers below 2^32 for the receivers
    /// in force, by their places, the oldest first.
    pub fn state_key(&self, state: &mut Vec<u64>, receiver: &dyn Fn(usize) -> u64) {
        const HOST: u64 = 1 << 32;
        let place = |of: &[u64], handle: u64| of.iter().position(|&known| known == handle);
        let (models, subjects) = (self.model.receivers(), self.system.receivers());
        let names = self.model.system.state_key(state, &|id| place(&models, id).map_or(u64::MAX, receiver));
        let of_host = |model: u64| names.get(&model).map(|name| name + HOST);
        let name = |handle: u64| match place(&subjects, handle) {
            Some(at) => receiver(at),
            None => self.name_twin(handle, of_host),
        };
        self.system.system.state_key(state, &name);
    }
}

/// Checks that a refused call changed nothing but the count of refusals.
///
/// # Errors
///
/// The error has what changed.
pub fn check_refusal(mut before: PoolStats, after: PoolStats) -> Result<(), String> {
    before.scheduler.refused = after.scheduler.refused;
    ensure_equal("I9: statistics before and after a refusal", &before, &after)
}

fn ensure_equal<T: PartialEq + std::fmt::Debug>(what: &str, expected: &T, seen: &T) -> Result<(), String> {
    if expected == seen { Ok(()) } else { Err(format!("{what}: expected {expected:?}, seen {seen:?}")) }
}
