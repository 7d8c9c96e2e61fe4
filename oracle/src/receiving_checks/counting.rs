//! What must hold of receivers that count, and of every trial.

use super::{Checked, Held, ensure};
use crate::receiving_ops::{Answer, ReceivingOp};
use crate::receiving_system::{After, Begin, Facts, Notice, Reason, ReceivingSystem};

/// What is known of a receiver's bytes in the kernel.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counting {
    counts: bool,
    peer_closed: bool,
    is_looking: bool,
    /// A receive of this whole is allowed now, perhaps from a look.
    asked: u32,
    is_from_look: bool,
    /// Its borrow is the last one of its claim.
    is_tried: bool,
    /// It borrows, or claims, since before it counted.
    is_from_before: bool,
    /// Undecoded bytes that are in the kernel, and consumed ones that are.
    pub(super) seen: u32,
    pub(super) owed: u32,
}

impl Held {
    /// A receive brings bytes, or shows them.
    pub(super) fn note_seen(&mut self, bytes: u32) {
        self.counting.seen = if self.counting.is_from_look { bytes } else { 0 };
    }

    /// Bytes at the front are consumed.
    pub(super) fn note_consumed(&mut self, bytes: u32) {
        self.bytes.drain(..bytes as usize);
        let seen = self.counting.seen.min(self.bytes.len() as u32);
        self.counting.owed += self.counting.seen - seen;
        self.counting.seen = seen;
    }

    /// What is left of a look is not received.
    pub(super) fn note_left(&mut self) {
        let seen = std::mem::take(&mut self.counting.seen);
        self.bytes.truncate(self.bytes.len() - seen as usize);
        self.received -= u64::from(seen);
    }
}

impl<S: ReceivingSystem> Checked<S> {
    /// Keeps the list.
    pub(super) fn note_counting(&mut self, op: ReceivingOp, answer: Answer) {
        for (receiver, held) in &mut self.held {
            let facts = self.system.facts(*receiver);
            held.counting.is_from_before &= facts.borrowed || facts.claim_since.is_some();
        }
        let Some(held) = op.receiver().and_then(|receiver| self.held.get_mut(&receiver)) else {
            if let Answer::Notice(Some(Notice::Trial { receiver, .. })) = answer {
                self.held.get_mut(&receiver).expect("it is attached").counting.is_tried = true;
            }
            // Borrows that an advance ended.
            for (receiver, held) in &mut self.held {
                let facts = self.system.facts(*receiver);
                if !facts.borrowed {
                    (held.counting.is_looking, held.counting.asked) = (false, 0);
                    held.counting.is_tried = false;
                }
            }
            return;
        };
        let counting = &mut held.counting;
        let facts = self.system.facts(op.receiver().expect("it is named"));
        counting.is_tried &= facts.borrowed;
        counting.peer_closed |= matches!(op, ReceivingOp::PeerClosed { .. });
        match op {
            ReceivingOp::SetCounts { counts, .. } => {
                counting.is_from_before |=
                    counts && !counting.counts && (facts.borrowed || facts.claim_since.is_some());
                counting.counts = counts;
            }
            ReceivingOp::Begin { .. }
            | ReceivingOp::BeginUnreported { .. }
            | ReceivingOp::Received { .. }
            | ReceivingOp::Dry { .. }
            | ReceivingOp::Decoded { .. }
            | ReceivingOp::KernelFull { .. }
            | ReceivingOp::PeerClosed { .. }
            | ReceivingOp::Looked { .. }
            | ReceivingOp::ReceivedAway { .. }
            | ReceivingOp::End { .. } => {
                counting.is_looking = matches!(answer, Answer::Begin(Begin::Look { .. }));
                counting.asked = match answer {
                    Answer::Begin(Begin::Whole { bytes } | Begin::WholeLook { bytes })
                    | Answer::After(After::Whole { bytes } | After::WholeLook { bytes }) => bytes,
                    _ => 0,
                };
                let begun = matches!(answer, Answer::Begin(Begin::WholeLook { .. }));
                counting.is_from_look = begun || matches!(answer, Answer::After(After::WholeLook { .. }));
                if let ReceivingOp::End { .. } = op {
                    counting.owed = 0;
                }
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
            match answer {
                Answer::Begin(Begin::Whole { bytes }) | Answer::After(After::Whole { bytes }) => {
                    self.check_place(receiver, bytes, false)?;
                }
                Answer::Begin(Begin::WholeLook { bytes }) | Answer::After(After::WholeLook { bytes }) => {
                    self.check_place(receiver, bytes, true)?;
                }
                _ => {}
            }
            self.check_access(receiver, facts, op, answer)?;
        }
        self.check_shed_for_memory(before, op, answer)?;
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

    /// What a receiver that counts leaves has a place, unless it was late, or began to receive before it counted.
    fn check_shed_for_memory(&self, before: &[(u32, Facts)], op: ReceivingOp, answer: Answer) -> Result<(), String> {
        let is_advance = matches!(op, ReceivingOp::Advance { .. });
        let is_shed = matches!(answer, Answer::After(After::Shed { reason: Reason::Memory }));
        let candidates = before.iter().filter(|(receiver, facts)| {
            let shed_here = facts.borrowed && !facts.shed && self.held.contains_key(receiver);
            let is_named = op.receiver() == Some(*receiver) && is_shed;
            shed_here && (is_named || (is_advance && self.system.facts(*receiver).shed))
        });
        for (receiver, facts) in candidates {
            let Counting { counts, peer_closed, is_tried, is_from_before, .. } = self.held[receiver].counting;
            let may_be_shed = !counts || peer_closed || facts.full || is_tried || is_from_before;
            ensure(may_be_shed, &format!("{receiver} counts, and was shed for memory: {facts:?}"))?;
        }
        Ok(())
    }

    /// A whole stays in the kernel exactly if what the decoder may leave has no place.
    fn check_place(&self, receiver: u32, bytes: u32, is_look: bool) -> Result<(), String> {
        let (facts, totals) = (self.system.facts(receiver), self.system.totals());
        let has_place = totals.free > 0 || facts.cell_bytes >= facts.kept + bytes;
        // A free buffer that it borrows is a place.
        let may_have_place = has_place || self.borrowed_buffers(&totals) > Some(0);
        let is_right = if is_look { !has_place } else { may_have_place };
        ensure(is_right, &format!("a look: {is_look}, {facts:?}"))
    }

    /// In shortage, a receiver that counts looks, and receives whole frames; others do not.
    fn check_access(&self, receiver: u32, before: &Facts, op: ReceivingOp, answer: Answer) -> Result<(), String> {
        let Some(held) = self.held.get(&receiver) else {
            return Ok(());
        };
        let Counting { counts, peer_closed, is_looking, asked, owed, .. } = held.counting;
        let counts_now = counts && !peer_closed && !before.full;
        let facts = self.system.facts(receiver);
        match (op, answer) {
            (_, Answer::Begin(begin)) => self.check_begin(receiver, before, counts_now, begin),
            (ReceivingOp::Looked { needed, .. }, _) => {
                let wholes = [After::Whole { bytes: needed }, After::WholeLook { bytes: needed }].map(Answer::After);
                let is_whole = wholes.contains(&answer) && facts.start.is_some();
                let is_misfit = needed > self.limits.config.buffer_bytes && !facts.borrowed && facts.start.is_none();
                ensure(is_looking && (is_whole || is_misfit), "a look without a receive of what it reported")
            }
            (ReceivingOp::Dry { .. }, Answer::After(After::Ended)) => {
                ensure(facts.mark == asked, "no mark of what is not whole, or another mark")
            }
            (_, Answer::After(After::Away { bytes })) => {
                ensure(bytes == owed && facts.owed == owed && facts.kept == 0, "other bytes are owed")
            }
            (ReceivingOp::Decoded { .. }, Answer::After(After::Whole { bytes })) if before.seen == 0 => {
                ensure(counts_now && bytes == facts.needed && facts.borrowed, "no receive of the rest")
            }
            (ReceivingOp::Decoded { .. }, Answer::After(After::Whole { .. } | After::WholeLook { .. })) => {
                ensure(counts_now && owed == 0 && facts.borrowed, "no receive of the rest")
            }
            (ReceivingOp::ReceivedAway { .. }, Answer::After(After::Whole { .. } | After::WholeLook { .. })) => {
                ensure(counts && !peer_closed && owed == 0 && facts.borrowed, "no receive of the rest")
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
            Begin::Whole { bytes } | Begin::WholeLook { bytes } => {
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
