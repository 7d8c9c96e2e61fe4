//! Plays the same operations on the model and on a system, and compares.

use crate::driver::{Driver, Reply, Response};
use crate::model::{ModelPool, ModelScheduler};
use crate::system::{RustPool, RustScheduler, Stats, System};
use crate::{Facts, HandleRef, Op, check_facts};
use demuxbuf::connection::{Action, Actions, Event};

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
        let op = match op {
            Op::Decoded { receiver, consumed, need_more, .. } if !S::REPORTS_USABLE => {
                Op::Decoded { receiver, consumed, need_more, usable: 0 }
            }
            Op::Request { class, tenant, has_deadline, .. } if !S::NAMES_SIZES => {
                Op::Request { class, size_index: 0, tenant, has_deadline }
            }
            Op::TryRequest { class, tenant, has_deadline, .. } if !S::NAMES_SIZES => {
                Op::TryRequest { class, size_index: 0, tenant, has_deadline }
            }
            op => op,
        };
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
            let mut after = self.system.system.stats();
            // Before it is known whether there is a buffer, what is received now is given a place, and content may be
            // evicted.
            if matches!(op, Op::Take { .. }) {
                let refused = after.scheduler.refused;
                (after.scheduler, after.memory_model, after.shed) =
                    (before.scheduler, before.memory_model, before.shed);
                after.scheduler.refused = refused;
            }
            check_refusal(before, after).map_err(|change| format!("{op:?}: {change}"))?;
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
        self.ignore_ways(&mut expected, &seen)?;
        ensure_equal("statistics", &expected, &seen)?;
        let (expected, seen) = (self.model.system.poll_timeout(), self.system.system.poll_timeout());
        ensure_equal("when to advance the clock", &expected, &seen)?;
        self.model.system.check_invariants().map_err(|rule| format!("the model breaks {rule}"))?;
        self.system.system.check_invariants().map_err(|rule| format!("the system breaks {rule}"))
    }

    /// Where the bytes and buffers of receivers go is specified, but not by which ways: how often one buffer is taken
    /// for another, and content moves to a cell that fills a gap.
    fn ignore_ways(&self, expected: &mut Stats, seen: &Stats) -> Result<(), String> {
        let net = |stats: &Stats| stats.scheduler.granted_at_once.wrapping_sub(stats.scheduler.released);
        if net(expected) != net(seen) {
            return Err(format!("granted at once and not released: expected {expected:?}, seen {seen:?}"));
        }
        let out = seen.scheduler.leased + seen.scheduler.assigned;
        if !(out..=seen.scheduler.capacity).contains(&seen.scheduler.leased_peak) && S::HAS_RECEIVERS {
            return Err(format!("leased at most: {seen:?}"));
        }
        if S::HAS_RECEIVERS {
            expected.scheduler.granted_at_once = seen.scheduler.granted_at_once;
            expected.scheduler.released = seen.scheduler.released;
            expected.scheduler.leased_peak = seen.scheduler.leased_peak;
            expected.memory_model.copied_bytes = seen.memory_model.copied_bytes;
        }
        Ok(())
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
        }
        for (model, system) in self.model.tenants().into_iter().zip(self.system.tenants()) {
            let (expected, seen) =
                (self.model.system.describe_tenant(model), self.system.system.describe_tenant(system));
            ensure_equal("a tenant", &expected, &seen)?;
        }
        self.compare_contents()
    }

    /// What the host's own buffers have.
    pub(crate) fn compare_contents(&mut self) -> Result<(), String> {
        for (model, system) in self.model.leases().into_iter().zip(self.system.leases()) {
            let (Ok(expected), Ok(seen)) = (self.model.system.content(model), self.system.system.content(system))
            else {
                continue;
            };
            let differs = expected.iter().zip(&seen).any(|(known, seen)| known.is_some() && known != seen);
            if differs || expected.len() != seen.len() {
                return Err(format!("a buffer of the host's: the model has {expected:?}, the system {seen:?}"));
            }
        }
        Ok(())
    }

    pub(crate) fn compare_receivers(&mut self) -> Result<(), String> {
        ensure_equal("the bound", &self.model.system.bypass_bound(), &self.system.system.bypass_bound())?;
        let pairs: Vec<_> = self.model.receivers().into_iter().zip(self.system.receivers()).collect();
        for (model, system) in pairs {
            let expected = self.model.system.describe(model);
            let seen = self.system.system.describe(system);
            ensure_equal("a receiver", &expected, &seen)?;
            if let Ok(seen) = seen {
                // A mark is set while read interest is armed.
                let own = if seen.facts.armed { Action::WantRecv as u32 } else { 0 };
                check_facts(&Facts { pending: seen.facts.pending & !own, ..seen.facts })?;
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
    /// Plays hosts and peers that behave from now on: blocks end, missing bytes arrive, receivers whose frame can never
    /// be decoded are closed, and the host releases its buffers. Then every wait ends, of receivers and of the host's
    /// own, and no receiver has any memory. Then all that can be seen is compared.
    ///
    /// # Errors
    ///
    /// As [`play`](Differential::play), or a waiter is never served.
    pub fn drain(&mut self) -> Result<(), String> {
        // A round serves the one at the head of each queue, or brings time nearer to the trial of each claim.
        let rounds = self.model.waits().len() + self.model.receivers().len();
        let steps = self.model.system.steps_max() as usize;
        for _ in 0..rounds + 2 * steps {
            while self.play_fairly(Op::PollNotice)?.response != Response::Nothing {
                self.serve_all()?;
            }
            while !self.model.leases().is_empty() {
                self.play_fairly(Op::Release { lease: HandleRef::Live(0) })?;
            }
            self.serve_all()?;
            if self.is_drained() {
                return self.compare();
            }
            self.play_fairly(Op::Later { ns: self.model.system.step_ns() })?;
        }
        Err(format!("I6: not every waiter was served: {:?}", self.model.system))
    }

    /// Nothing waits, and nothing is kept.
    pub(crate) fn is_drained(&mut self) -> bool {
        let receivers = self.model.receivers();
        let model = &self.model.system;
        let rests =
            |&id: &u64| !model.waits(id) && model.memory_facts(id).kept == 0 && !model.memory_facts(id).borrowed;
        receivers.iter().all(rests) && self.system.system.stats().scheduler.waiting == 0
    }

    pub(crate) fn serve_all(&mut self) -> Result<(), String> {
        let mut at = 0;
        while at < self.model.receivers().len() {
            at += usize::from(self.behave(at)?);
        }
        Ok(())
    }

    /// As `play`; after it no receiver has lost its wait.
    pub(crate) fn play_fairly(&mut self, op: Op) -> Result<Reply, String> {
        let mut waiting = self.model.receivers();
        waiting.retain(|&id| self.model.system.waits(id));
        let reply = self.play(op)?;
        let is_fair = |id: &u64| self.model.system.waits(*id) || self.model.system.is_gone_or_served(*id);
        match waiting.iter().all(is_fair) {
            true => Ok(reply),
            false => {
                Err(format!("I6: after {op:?} a receiver waits no more, and was not served: {:?}", self.model.system))
            }
        }
    }

    /// One iteration of a receiver; returns whether it is still there.
    fn behave(&mut self, at: usize) -> Result<bool, String> {
        let id = self.model.receivers()[at];
        if self.facts(id)?.blocked != 0 {
            self.play_fairly(Op::report(at, Event::Unblock { reasons: u32::MAX }))?;
        }
        self.play_fairly(Op::report(at, Event::ResumeRecv))?;
        self.play_fairly(Op::report(at, Event::Wake))?;
        let mut reported = false;
        for _ in 0..64 {
            let facts = self.facts(id)?;
            let step = self.model.system.pending(id).map_err(|status| format!("pending with {status}"))?;
            let pending = Actions::from_bits(step.actions).unwrap_or_default();
            let over = [Action::End, Action::Shed, Action::CannotFit].into_iter().any(|action| pending.has(action));
            let kept = self.model.system.memory_facts(id).kept;
            let event = if facts.in_flight {
                Event::WouldBlock
            } else if over || facts.failed || facts.end != 0 {
                Event::Close
            } else if pending.has(Action::Decode) {
                Event::Consumed { bytes: facts.buffered_bytes }
            } else if pending.has(Action::Discard) && pending.has(Action::RecvWhole) {
                Event::Received { bytes: step.area }
            } else if pending.has(Action::Peek) {
                Event::WouldBlock
            } else if pending.has(Action::Recv) && facts.needed_bytes > 0 {
                Event::Received { bytes: facts.needed_bytes.min(step.area) }
            } else if pending.has(Action::Recv) {
                Event::WouldBlock
            } else if pending.has(Action::Reschedule) {
                // The next round is the next loop iteration.
                return Ok(true);
            } else if pending.has(Action::WantRecv) {
                Event::done(Action::WantRecv)
            } else if pending.has(Action::StopRecv) {
                Event::done(Action::StopRecv)
            } else if kept > 0 && !facts.waiting && !reported {
                reported = true;
                Event::Readable
            } else if kept.saturating_add(facts.needed_bytes) > self.model.system.buffer_bytes()
                || (kept == self.model.system.buffer_bytes() && !facts.waiting)
            {
                // Its frame fits into no buffer.
                Event::Close
            } else {
                return Ok(true);
            };
            self.play_fairly(Op::report(at, event))?;
            if !self.model.receivers().contains(&id) {
                return Ok(false);
            }
        }
        Err(format!("a receiver is never done: {:?}", self.facts(id)?))
    }

    fn facts(&mut self, id: u64) -> Result<Facts, String> {
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
    /// Writes down the state of the model, then that of the system.
    pub fn state_key(&self, state: &mut Vec<u64>) {
        let names = self.model.system.state_key(state);
        let name = |handle: u64| self.name_twin(handle, |model| names.get(&model).copied());
        let receivers = self.system.receivers();
        self.system.system.state_key(state, self.model.system.wait_ns_max(), &receivers, &name);
    }
}

/// Checks that a refused call changed nothing but the count of refusals.
///
/// # Errors
///
/// The error has what changed.
pub fn check_refusal(mut before: Stats, after: Stats) -> Result<(), String> {
    before.scheduler.refused = after.scheduler.refused;
    // A call for a receiver that was evicted notices that its bytes are gone.
    before.dropped_bytes = after.dropped_bytes;
    ensure_equal("I9: statistics before and after a refusal", &before, &after)
}

fn ensure_equal<T: PartialEq + std::fmt::Debug>(what: &str, expected: &T, seen: &T) -> Result<(), String> {
    if expected == seen { Ok(()) } else { Err(format!("{what}: expected {expected:?}, seen {seen:?}")) }
}
