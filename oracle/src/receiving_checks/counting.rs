//! What must hold of receivers that count, and of every trial.

use super::{Checked, ensure};
use crate::receiving_ops::{Answer, ReceivingOp};
use crate::receiving_system::{After, Begin, Facts, Notice, ReceivingSystem};

/// What is known of a receiver's bytes in the kernel.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counting {
    counts: bool,
    peer_closed: bool,
    is_looking: bool,
    /// A receive of this whole is allowed now.
    asked: u32,
}

impl<S: ReceivingSystem> Checked<S> {
    /// Keeps the list.
    pub(super) fn note_counting(&mut self, op: ReceivingOp, answer: Answer) {
        let Some(held) = op.receiver().and_then(|receiver| self.held.get_mut(&receiver)) else {
            // Borrows that an advance ended.
            for (receiver, held) in &mut self.held {
                let facts = self.system.facts(*receiver);
                if !facts.borrowed {
                    (held.counting.is_looking, held.counting.asked) = (false, 0);
                }
            }
            return;
        };
        let counting = &mut held.counting;
        counting.peer_closed |= matches!(op, ReceivingOp::PeerClosed { .. });
        match op {
            ReceivingOp::SetCounts { counts, .. } => counting.counts = counts,
            ReceivingOp::Begin { .. }
            | ReceivingOp::BeginUnreported { .. }
            | ReceivingOp::Received { .. }
            | ReceivingOp::Dry { .. }
            | ReceivingOp::Decoded { .. }
            | ReceivingOp::KernelFull { .. }
            | ReceivingOp::PeerClosed { .. }
            | ReceivingOp::Looked { .. }
            | ReceivingOp::End { .. } => {
                counting.is_looking = matches!(answer, Answer::Begin(Begin::Look { .. }));
                counting.asked = match answer {
                    Answer::Begin(Begin::Whole { bytes }) | Answer::After(After::Whole { bytes }) => bytes,
                    _ => 0,
                };
            }
            _ => {}
        }
    }

    /// A receiver waits under a mark instead of a claim, and has a time for that.
    pub(super) fn check_mark(&self, facts: &Facts) -> Result<(), String> {
        if facts.mark == 0 {
            return Ok(());
        }
        let waits_otherwise = facts.claim_since.is_some() || facts.held_since.is_some() || facts.off;
        ensure(!waits_otherwise && !facts.kept_for_good && !facts.borrowed, "a mark, and waits for something else")?;
        ensure(facts.kept + facts.mark <= self.limits.config.buffer_bytes, "a mark that fits into no buffer")?;
        ensure(facts.start.is_some(), "a mark without a time")?;
        let latest = self.now_ns.unwrap_or(0) + self.limits.config.frame_grace_ns / 8;
        let timeout = self.system.poll_timeout();
        ensure(timeout.is_some_and(|at| at <= latest), &format!("a mark, and the clock is advanced at {timeout:?}"))
    }

    /// What became of the receivers in a call, from what was known before it.
    pub(super) fn check_counting(
        &self,
        before: &[(u32, Facts)],
        op: ReceivingOp,
        answer: Answer,
    ) -> Result<(), String> {
        let find = |receiver| before.iter().find(|(other, _)| *other == receiver).map(|(_, facts)| facts);
        if let Some((receiver, facts)) = op.receiver().and_then(|receiver| Some((receiver, find(receiver)?))) {
            self.check_access(receiver, facts, op, answer)?;
        }
        if let Answer::Notice(Some(Notice::Trial { receiver, .. })) = answer {
            let facts = find(receiver).ok_or("a trial of a receiver that is gone")?;
            ensure(facts.claim_since.is_some() || facts.mark > 0, "a trial of a receiver that does not wait")?;
            let deadline = self.deadline(receiver, facts);
            ensure(deadline <= Some(self.pool_ns), &format!("I11: a trial before its deadline: {facts:?}"))?;
        }
        // What another tenant evicts is past no deadline.
        let has_tenants = self.limits.config.tenants.is_some();
        for (receiver, facts) in
            before.iter().filter(|(receiver, facts)| !facts.shed && self.held.contains_key(receiver))
        {
            if self.system.facts(*receiver).shed && !facts.borrowed && !has_tenants {
                let is_evictable = self.may_be_evicted(*receiver, facts);
                ensure(
                    is_evictable,
                    &format!("I11: {receiver} was evicted before its deadline or its trial: {facts:?}"),
                )?;
            }
        }
        Ok(())
    }

    /// In shortage, a receiver that counts looks, and receives whole frames; others do not.
    fn check_access(&self, receiver: u32, before: &Facts, op: ReceivingOp, answer: Answer) -> Result<(), String> {
        let Some(held) = self.held.get(&receiver) else {
            return Ok(());
        };
        let Counting { counts, peer_closed, is_looking, asked } = held.counting;
        let counts_now = counts && !peer_closed && !before.full;
        let facts = self.system.facts(receiver);
        match (op, answer) {
            (_, Answer::Begin(begin)) => self.check_begin(receiver, before, counts_now, begin),
            (ReceivingOp::Looked { needed, .. }, _) => {
                let is_whole = answer == Answer::After(After::Whole { bytes: needed }) && facts.start.is_some();
                let is_misfit = needed > self.limits.config.buffer_bytes && !facts.borrowed && facts.start.is_none();
                ensure(is_looking && (is_whole || is_misfit), "a look without a receive of what it reported")
            }
            (ReceivingOp::Dry { .. }, Answer::After(After::Ended)) => {
                ensure(facts.mark == asked, "no mark of what is not whole, or another mark")
            }
            (ReceivingOp::Decoded { .. }, Answer::After(After::Whole { bytes })) => {
                ensure(counts_now && bytes == facts.needed && facts.borrowed, "no receive of the rest")
            }
            (ReceivingOp::Decoded { consumed, .. }, _) if consumed > 0 => ensure(!facts.full, "full of another frame"),
            (ReceivingOp::KernelFull { .. }, Answer::After(After::Ended)) => {
                ensure(facts.full && !facts.borrowed, "a full kernel, and the receiver leaves a part there")
            }
            _ => Ok(()),
        }
    }

    fn check_begin(&self, receiver: u32, before: &Facts, counts_now: bool, begin: Begin) -> Result<(), String> {
        let (facts, totals) = (self.system.facts(receiver), self.system.totals());
        let takes_wholes = counts_now && !before.kept_for_good;
        let borrows_alone = facts.borrowed && facts.claim_since.is_none();
        match begin {
            Begin::Look { max } => {
                ensure(takes_wholes && borrows_alone && before.kept == 0 && max == 64, "a look that is none")
            }
            Begin::Whole { bytes } => {
                let is_rest = before.kept == 0 || bytes == before.needed;
                let fits = (1..=self.limits.config.buffer_bytes - before.kept).contains(&bytes);
                ensure(takes_wholes && borrows_alone && is_rest && fits, "a receive of a whole that is none")
            }
            Begin::Receive { .. } if takes_wholes => {
                let is_short = totals.free <= self.floor(receiver, before) || self.is_capped(&totals, receiver);
                ensure(!is_short, "a receiver that counts receives a part in shortage")
            }
            Begin::Claimed | Begin::Off => ensure(!takes_wholes, "a receiver that counts claims"),
            Begin::Receive { .. } | Begin::Later => Ok(()),
        }
    }
}
