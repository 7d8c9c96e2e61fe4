//! What must hold of the memory model after every call, from what can be seen.

mod counting;

use crate::model::ModelReceiving;
use crate::receiving_ops::{Answer, ReceivingOp};
use crate::receiving_system::{After, Begin, Delivered, Facts, Notice, ReceivingConfig, ReceivingSystem, Rest, Totals};
use counting::Counting;
use std::collections::BTreeMap;

/// Trials, and evictions, of one iteration.
const EACH_ITERATION_MAX: u64 = 64;
const CREDIT_MAX: i64 = 65_536;

/// A system with a list of what its receivers received and did not consume.
#[derive(Clone, Debug)]
pub struct Checked<S> {
    /// The system.
    pub system: S,
    /// What the memory is made of.
    limits: Limits,
    /// By receiver: what it holds, and how much it received in all.
    held: BTreeMap<u32, Held>,
    leases: u32,
    advances: u64,
    /// Host time of the last advance, and pool time, now and before that advance.
    now_ns: Option<u64>,
    pool_ns: u64,
    pool_ns_before: u64,
    /// Of this iteration: what was counted when it began.
    trials_before: u64,
    evictions_before: u64,
}

#[derive(Clone, Debug)]
struct Limits {
    config: ReceivingConfig,
    buffers: u32,
    reserve: u32,
    in_flight_max: u32,
    header_cells: u32,
    /// Sizes of cells, and how many of them a buffer has.
    sizes: Vec<(u32, u32)>,
}

#[derive(Clone, Debug, Default)]
struct Held {
    bytes: Vec<u8>,
    received: u64,
    tenant: usize,
    unknown_length: bool,
    is_shed: bool,
    submits: bool,
    counting: Counting,
    /// The first pool time after it filled its cell.
    spared_until: u64,
    /// The advance before its receive was submitted, of one that is in flight and not taken back.
    submitted: Option<u64>,
}

impl<S: ReceivingSystem> Checked<S> {
    /// A system that was not used yet, made of this configuration.
    ///
    /// # Errors
    ///
    /// The configuration is not allowed.
    pub fn new(system: S, config: ReceivingConfig) -> Result<Checked<S>, String> {
        let model = ModelReceiving::new(config)?;
        let limits = Limits {
            config,
            buffers: model.usable_buffers(),
            reserve: model.reserve(),
            in_flight_max: model.in_flight_max(),
            header_cells: model.header_cells(),
            sizes: model.sizes(),
        };
        Ok(Checked {
            system,
            limits,
            held: BTreeMap::new(),
            leases: 0,
            advances: 0,
            now_ns: None,
            pool_ns: 0,
            pool_ns_before: 0,
            trials_before: 0,
            evictions_before: 0,
        })
    }

    /// Pool time.
    pub fn pool_ns(&self) -> u64 {
        self.pool_ns
    }

    /// The next bytes of a receiver's stream: what a receive of this length brings.
    pub fn next_bytes(&self, receiver: u32, bytes: u32) -> Vec<u8> {
        let from = self.held[&receiver].received;
        (from..from + u64::from(bytes)).map(|at| byte_at(receiver, at)).collect()
    }

    /// Makes a legal call, and checks everything.
    ///
    /// # Errors
    ///
    /// A rule is broken.
    pub fn play(&mut self, op: ReceivingOp) -> Result<Answer, String> {
        let before = self.system.totals();
        let facts_before = self.all_facts();
        let bytes = op.brings().map(|(receiver, bytes)| self.next_bytes(receiver, bytes)).unwrap_or_default();
        let is_in_flight = op
            .receiver()
            .is_some_and(|receiver| self.held.contains_key(&receiver) && self.system.facts(receiver).in_flight);
        let answer = op.play(&mut self.system, &bytes);
        self.note(op, answer, &bytes, is_in_flight);
        let counting = self.check_counting(&facts_before, op, answer);
        self.note_counting(op, answer);
        counting
            .and_then(|()| self.check(&before, op, answer))
            .map_err(|rule| format!("after {op:?}, answered {answer:?}: {rule}"))?;
        Ok(answer)
    }

    fn demand(&mut self, op: ReceivingOp) -> Answer {
        self.play(op).unwrap_or_else(|broken| panic!("{broken}"))
    }

    fn demand_after(&mut self, op: ReceivingOp) -> After {
        match self.demand(op) {
            Answer::After(after) => after,
            answer => unreachable!("{answer:?}"),
        }
    }

    /// Keeps the list.
    fn note(&mut self, op: ReceivingOp, answer: Answer, bytes: &[u8], was_in_flight: bool) {
        match op {
            ReceivingOp::Attach { receiver, unknown_length } => {
                self.held.insert(receiver, Held { unknown_length, ..Held::default() });
            }
            ReceivingOp::SetTenant { receiver, tenant } => {
                self.held.get_mut(&receiver).expect("it is attached").tenant = tenant as usize;
            }
            ReceivingOp::Close { receiver } if was_in_flight => {
                let held = self.held.get_mut(&receiver).expect("it is attached");
                held.bytes.clear();
                held.submitted = None;
            }
            ReceivingOp::Close { receiver } | ReceivingOp::Complete { receiver } => {
                self.held.remove(&receiver);
            }
            ReceivingOp::SetSubmits { receiver, submits } => {
                self.held.get_mut(&receiver).expect("it is attached").submits = submits;
            }
            ReceivingOp::Received { receiver, .. } | ReceivingOp::Deliver { receiver, .. } => {
                let accepted = if let Answer::Delivered(Delivered { accepted, .. }) = answer {
                    accepted as usize
                } else {
                    bytes.len()
                };
                let cell_bytes = self.system.facts(receiver).cell_bytes;
                let held = self.held.get_mut(&receiver).expect("it is attached");
                let had_some = !held.bytes.is_empty();
                held.bytes.extend_from_slice(&bytes[..accepted]);
                if had_some && held.bytes.len() == cell_bytes as usize {
                    held.spared_until = self.pool_ns + 1;
                }
                held.received += accepted as u64;
                held.note_seen(accepted as u32);
            }
            ReceivingOp::Decoded { receiver, consumed, .. } | ReceivingOp::Consume { receiver, bytes: consumed } => {
                let held = self.held.get_mut(&receiver).expect("it is attached");
                held.note_consumed(consumed);
                if let ReceivingOp::Decoded { .. } = op {
                    held.note_left();
                }
            }
            ReceivingOp::ReceivedAway { receiver, bytes } => {
                self.held.get_mut(&receiver).expect("it is attached").counting.owed -= bytes;
            }
            ReceivingOp::Advance { now_ns } => {
                self.held.values_mut().for_each(Held::note_left);
                self.note_advance(now_ns);
            }
            ReceivingOp::Lease => self.leases += u32::from(answer == Answer::Done(true)),
            ReceivingOp::Release => self.leases -= 1,
            _ => {}
        }
        self.note_flight(op, answer, was_in_flight);
        for (&receiver, held) in &mut self.held {
            if !held.is_shed && self.system.facts(receiver).shed {
                held.is_shed = true;
                held.bytes.clear();
            }
        }
    }

    fn note_flight(&mut self, op: ReceivingOp, answer: Answer, was_in_flight: bool) {
        let submitted = match op {
            ReceivingOp::Submit { .. } | ReceivingOp::Consume { .. } => Some(self.advances),
            ReceivingOp::Received { .. } | ReceivingOp::Dry { .. } | ReceivingOp::End { .. } if was_in_flight => None,
            ReceivingOp::Poll => {
                if let Answer::Notice(Some(Notice::TakeBack { receiver })) = answer {
                    self.held.get_mut(&receiver).expect("it is attached").submitted = None;
                }
                return;
            }
            _ => return,
        };
        let held = op.receiver().and_then(|receiver| self.held.get_mut(&receiver));
        held.expect("it is attached").submitted = submitted;
    }

    fn note_advance(&mut self, now_ns: u64) {
        let step_ns_max = self.limits.config.frame_grace_ns / 8;
        self.advances += 1;
        self.pool_ns_before = self.pool_ns;
        self.pool_ns += self.now_ns.map_or(0, |last| now_ns.saturating_sub(last).min(step_ns_max));
        self.now_ns = self.now_ns.max(Some(now_ns));
        let totals = self.system.totals();
        (self.trials_before, self.evictions_before) = (totals.trials, totals.evictions);
    }

    fn all_facts(&self) -> Vec<(u32, Facts)> {
        self.held.keys().map(|&receiver| (receiver, self.system.facts(receiver))).collect()
    }

    fn check(&self, before: &Totals, op: ReceivingOp, answer: Answer) -> Result<(), String> {
        let totals = self.system.totals();
        let all = self.all_facts();
        for &(receiver, facts) in &all {
            // The bytes of those that the call does not name are compared once in an iteration.
            if op.receiver() == Some(receiver) || matches!(op, ReceivingOp::Advance { .. }) {
                ensure(self.system.data(receiver) == self.held[&receiver].bytes, "bytes were lost or changed")?;
            }
            self.check_receiver(receiver, &facts).map_err(|rule| format!("receiver {receiver}: {rule}, {facts:?}"))?;
        }
        self.check_memory(&totals, &all)?;
        let shed = |totals: &Totals| totals.shed.iter().sum::<u64>();
        let has_cap = self.limits.config.tenants.is_some_and(|tenants| tenants.iter().any(|share| share.cap.is_some()));
        if shed(&totals) > shed(before) && before.free > self.limits.reserve && !has_cap {
            return Err(format!("shed without shortage: {before:?}"));
        }
        let is_polled_out = op == ReceivingOp::Poll && answer == Answer::Notice(None);
        if is_polled_out {
            self.check_rest(&totals, &all)?;
        }
        self.check_answer(&totals, answer)
    }

    /// A receiver keeps only what it has a place for, and every wait has a time.
    fn check_receiver(&self, receiver: u32, facts: &Facts) -> Result<(), String> {
        let held = &self.held[&receiver];
        if facts.shed {
            return Ok(());
        }
        ensure(!facts.in_flight || facts.borrowed, "in flight without a borrow")?;
        ensure(!facts.in_flight || facts.held_since.is_none(), "held content has a receive in flight")?;
        ensure(facts.kept as usize == held.bytes.len(), "the number of bytes differs")?;
        ensure(facts.kept <= self.limits.config.buffer_bytes, "more than a buffer is kept")?;
        ensure(facts.borrowed || facts.cell_bytes >= facts.kept, "the cell is smaller than what is kept")?;
        ensure(facts.borrowed || facts.kept > 0 || facts.cell_bytes == 0, "a cell holds nothing")?;
        ensure(facts.claim_since.is_none() || facts.start.is_some(), "a claim has no start")?;
        ensure(
            facts.kept == 0 || facts.held_since.is_some() || facts.start.is_some() || facts.borrowed,
            "kept bytes have no time",
        )?;
        ensure(facts.start.is_none_or(|start| start <= self.pool_ns), "the start is later than now")?;
        ensure(facts.claim_since.is_none() || facts.held_since.is_none(), "held content claims")?;
        ensure(!facts.off || facts.kept_for_good, "off without being kept for good")?;
        ensure(
            !facts.kept_for_good || (facts.claim_since.is_none() && facts.held_since.is_none()),
            "kept for good, and claims or is held",
        )?;
        ensure(!facts.full || facts.held_since.is_none(), "the kernel is full of held content")?;
        ensure(facts.seen == held.counting.seen, "what was looked at differs")?;
        ensure(facts.seen > 0 || facts.owed == held.counting.owed, "what is owed differs")?;
        self.check_mark(facts)?;
        ensure(facts.credit.abs() <= CREDIT_MAX, "credit is out of its bounds")
    }

    /// Everything that is used is in the budget, and counted once.
    fn check_memory(&self, totals: &Totals, all: &[(u32, Facts)]) -> Result<(), String> {
        let whole = self.limits.config.buffer_bytes;
        let borrowing = all.iter().filter(|(_, facts)| facts.borrowed && facts.cell_bytes != whole).count() as u32;
        let borrowed = self.borrowed_buffers(totals).ok_or(format!("more than there is: {totals:?}"))?;
        for (&(size, count), &(expected, _)) in totals.cells.iter().zip(&self.limits.sizes) {
            let owned = all.iter().filter(|(_, facts)| facts.cell_bytes == size).count();
            ensure(size == expected && owned == count as usize, &format!("{owned} cells of {size} bytes: {totals:?}"))?;
        }
        ensure(totals.cells[0].1 <= self.limits.header_cells, "too many cells of 64 bytes")?;
        let is_counted = borrowed == borrowing || borrowed + 1 == borrowing;
        ensure(is_counted, &format!("{borrowed} buffers are borrowed, by {borrowing}: {totals:?}"))
    }

    /// Buffers that are neither free, leased nor cut: those that are borrowed, but for the receive buffer.
    fn borrowed_buffers(&self, totals: &Totals) -> Option<u32> {
        let sizes = totals.cells.iter().zip(&self.limits.sizes).filter(|((size, _), _)| *size > 64);
        let cut: u32 = sizes.map(|(&(_, count), &(_, of_buffer))| count.div_ceil(of_buffer)).sum();
        self.limits.buffers.checked_sub(self.leases + totals.free + cut)
    }

    /// As many receives are in flight as may be, and the receiver submits its own.
    fn is_at_limit(&self, receiver: u32, all: &[(u32, Facts)]) -> bool {
        let in_flight = all.iter().filter(|(_, facts)| facts.in_flight).count() as u32;
        self.held[&receiver].submits && in_flight >= self.limits.in_flight_max
    }

    /// What waits has a receive in flight taken back, unless it was submitted in this iteration.
    fn check_flights(&self, claims: bool, all: &[(u32, Facts)], is_first: bool) -> Result<(), String> {
        let waits = claims || is_first || all.iter().any(|(_, facts)| facts.off);
        let old = self.held.iter().find(|(_, held)| held.submitted.is_some_and(|advance| advance < self.advances));
        ensure(!waits || old.is_none(), &format!("a receive in flight could be taken back: {old:?}"))
    }

    /// A poll that brings nothing leaves nothing that could be done.
    fn check_rest(&self, totals: &Totals, all: &[(u32, Facts)]) -> Result<(), String> {
        if all.iter().any(|(_, facts)| facts.borrowed && !facts.in_flight) {
            return Ok(());
        }
        let mut off = all.iter().filter(|(_, facts)| facts.off).peekable();
        let none_is_off = off.peek().is_none();
        let one_is_short = off.any(|(receiver, facts)| {
            let is_low = totals.free <= self.floor(*receiver, facts);
            is_low || self.is_at_limit(*receiver, all) || self.is_capped(totals, *receiver)
        });
        ensure(none_is_off || one_is_short, &format!("a receiver is off, and there is room: {totals:?}"))?;
        let whole = self.limits.config.buffer_bytes;
        let borrowing = all.iter().filter(|(_, facts)| facts.borrowed && facts.cell_bytes != whole).count() as u32;
        let is_first = self.borrowed_buffers(totals) != Some(borrowing);
        let is_any_claim = all.iter().any(|(_, facts)| facts.claim_since.is_some());
        self.check_flights(is_any_claim, all, is_first)?;
        let claims: Vec<_> = all.iter().filter(|(_, facts)| facts.claim_since.is_some() && !facts.borrowed).collect();
        let mut marks = all.iter().filter(|(_, facts)| facts.mark > 0);
        if is_first && totals.free < 2 {
            // There is nothing to borrow.
            return Ok(());
        }
        if totals.trials - self.trials_before < EACH_ITERATION_MAX {
            let is_due = |(receiver, facts): &&(u32, Facts)| self.deadline(*receiver, facts) <= Some(self.pool_ns);
            let due = claims.iter().copied().find(is_due).or_else(|| marks.find(is_due));
            ensure(due.is_none(), &format!("a trial is due: {due:?}"))?;
        }
        let order = |(receiver, facts): &&&(u32, Facts)| {
            (!self.is_in_credit(*receiver, facts), self.deadline(*receiver, facts), *receiver)
        };
        let by_load = |one: &&&(u32, Facts), other: &&&(u32, Facts)| {
            let [one_load, other_load] = [one, other].map(|claim| self.load(totals, claim.0));
            one_load.partial_cmp(&other_load).expect("they are numbers")
        };
        let granted = claims.iter().filter(|(receiver, _)| !self.is_capped(totals, *receiver));
        let Some((receiver, facts)) =
            granted.min_by(|one, other| by_load(one, other).then_with(|| order(one).cmp(&order(other))))
        else {
            return Ok(());
        };
        if self.is_at_limit(*receiver, all) {
            return Ok(());
        }
        let length = if self.held[receiver].submits { whole } else { self.length(*receiver, facts) };
        let at = self.limits.sizes.iter().skip(1).position(|&(size, _)| size >= length).expect("a buffer fits") + 1;
        let has_hole = totals.cells[at].1 % self.limits.sizes[at].1 != 0;
        let has_room = has_hole || totals.free > self.floor(*receiver, facts);
        ensure(!has_room, &format!("the claim of {receiver} could be granted: {totals:?}"))?;
        let may_evict = totals.evictions - self.evictions_before < EACH_ITERATION_MAX;
        let victim = all.iter().find(|(receiver, facts)| may_evict && self.may_be_evicted(*receiver, facts));
        ensure(victim.is_none(), &format!("{victim:?} could be evicted for the claim of {receiver}"))
    }

    /// Whether the tenant of a receiver holds as much as it may.
    fn is_capped(&self, totals: &Totals, receiver: u32) -> bool {
        let tenant = self.held[&receiver].tenant;
        let cap = self.limits.config.share(tenant).cap;
        cap.is_some_and(|cap| totals.held[tenant] >= u64::from(cap) * u64::from(self.limits.config.buffer_bytes))
    }

    /// The load of the tenant of a receiver, with its number as a last digit.
    fn load(&self, totals: &Totals, receiver: u32) -> (f64, usize) {
        let tenant = self.held[&receiver].tenant;
        (totals.held[tenant] as f64 / f64::from(self.limits.config.share(tenant).weight), tenant)
    }

    fn deadline(&self, receiver: u32, facts: &Facts) -> Option<u64> {
        let config = &self.limits.config;
        let of_peer = facts.start.map(|start| start + config.allowance_ns(self.length(receiver, facts)));
        facts.held_since.map(|since| since + config.blocked_ns).or(of_peer)
    }

    fn may_be_evicted(&self, receiver: u32, facts: &Facts) -> bool {
        let is_past = self.deadline(receiver, facts).is_some_and(|deadline| deadline <= self.pool_ns_before);
        let is_past = is_past && self.held[&receiver].spared_until <= self.pool_ns_before;
        is_past && facts.claim_since.is_none() && facts.mark == 0 && !facts.borrowed && facts.cell_bytes > 64
    }

    fn length(&self, receiver: u32, facts: &Facts) -> u32 {
        let whole = self.limits.config.buffer_bytes;
        if facts.mark > 0 {
            return facts.kept + facts.mark;
        }
        let is_unknown = facts.kept == 0 || self.held[&receiver].unknown_length;
        if is_unknown { whole } else { facts.kept.saturating_add(facts.needed).min(whole) }
    }

    fn is_in_credit(&self, receiver: u32, facts: &Facts) -> bool {
        let length = self.length(receiver, facts);
        let smallest = self.limits.sizes[1..].iter().find(|&&(size, _)| size >= length);
        let &(cell_bytes, _) = smallest.expect("a buffer fits");
        facts.credit >= (2 * i64::from(cell_bytes)).min(CREDIT_MAX)
    }

    fn floor(&self, receiver: u32, facts: &Facts) -> u32 {
        if self.is_in_credit(receiver, facts) { 0 } else { self.limits.reserve }
    }

    fn check_answer(&self, totals: &Totals, answer: Answer) -> Result<(), String> {
        ensure(totals.free <= self.limits.buffers, "more buffers are free than there are")?;
        let borrower = match answer {
            Answer::Delivered(Delivered { accepted: 0, .. }) => return Err("nothing of a delivery was accepted".into()),
            Answer::Notice(Some(Notice::Trial { receiver, max } | Notice::Granted { receiver, max })) => {
                (receiver, max)
            }
            Answer::Notice(Some(Notice::Shed { receiver, reason })) => {
                let facts = self.system.facts(receiver);
                return ensure(facts.shed, &format!("a notice that {receiver} was shed for {reason:?}"));
            }
            _ => return Ok(()),
        };
        let facts = self.system.facts(borrower.0);
        let fits = (1..=self.limits.config.buffer_bytes - facts.kept).contains(&borrower.1);
        ensure(facts.borrowed && fits, "a notice that is no borrow to receive")
    }
}

/// A checked system behind the same calls.
///
/// # Panics
///
/// A rule is broken. A receive brings the next bytes of the receiver's stream, whatever its caller passes.
impl<S: ReceivingSystem> ReceivingSystem for Checked<S> {
    fn attach(&mut self, receiver: u32, unknown_length: bool) {
        self.demand(ReceivingOp::Attach { receiver, unknown_length });
    }

    fn set_reads_ahead(&mut self, receiver: u32, reads_ahead: bool) {
        self.demand(ReceivingOp::SetReadsAhead { receiver, reads_ahead });
    }

    fn set_counts(&mut self, receiver: u32, counts: bool) {
        self.demand(ReceivingOp::SetCounts { receiver, counts });
    }

    fn looked(&mut self, receiver: u32, needed: u32) -> After {
        self.demand_after(ReceivingOp::Looked { receiver, needed })
    }

    fn received_away(&mut self, receiver: u32, bytes: u32) -> After {
        self.demand_after(ReceivingOp::ReceivedAway { receiver, bytes })
    }

    fn kernel_full(&mut self, receiver: u32) -> After {
        self.demand_after(ReceivingOp::KernelFull { receiver })
    }

    fn peer_closed(&mut self, receiver: u32) -> After {
        self.demand_after(ReceivingOp::PeerClosed { receiver })
    }

    fn set_tenant(&mut self, receiver: u32, tenant: u32) {
        self.demand(ReceivingOp::SetTenant { receiver, tenant });
    }

    fn close(&mut self, receiver: u32) {
        self.demand(ReceivingOp::Close { receiver });
    }

    fn begin(&mut self, receiver: u32) -> Begin {
        match self.demand(ReceivingOp::Begin { receiver }) {
            Answer::Begin(begin) => begin,
            answer => unreachable!("{answer:?}"),
        }
    }

    fn begin_unreported(&mut self, receiver: u32) -> Begin {
        match self.demand(ReceivingOp::BeginUnreported { receiver }) {
            Answer::Begin(begin) => begin,
            answer => unreachable!("{answer:?}"),
        }
    }

    fn received(&mut self, receiver: u32, bytes: &[u8]) {
        self.demand(ReceivingOp::Received { receiver, bytes: bytes.len() as u32 });
    }

    fn deliver(&mut self, receiver: u32, bytes: &[u8]) -> Delivered {
        match self.demand(ReceivingOp::Deliver { receiver, bytes: bytes.len() as u32 }) {
            Answer::Delivered(delivered) => delivered,
            answer => unreachable!("{answer:?}"),
        }
    }

    fn dry(&mut self, receiver: u32) -> After {
        self.demand_after(ReceivingOp::Dry { receiver })
    }

    fn set_submits(&mut self, receiver: u32, submits: bool) {
        self.demand(ReceivingOp::SetSubmits { receiver, submits });
    }

    fn submit(&mut self, receiver: u32) {
        self.demand(ReceivingOp::Submit { receiver });
    }

    fn consume(&mut self, receiver: u32, bytes: u32) {
        self.demand(ReceivingOp::Consume { receiver, bytes });
    }

    fn complete(&mut self, receiver: u32) {
        self.demand(ReceivingOp::Complete { receiver });
    }

    fn decode(&mut self, receiver: u32) -> bool {
        self.demand(ReceivingOp::Decode { receiver }) == Answer::Done(true)
    }

    fn decoded(&mut self, receiver: u32, consumed: u32, rest: Rest) -> After {
        self.demand_after(ReceivingOp::Decoded { receiver, consumed, rest })
    }

    fn set_usable(&mut self, receiver: u32, usable: u32) {
        self.demand(ReceivingOp::SetUsable { receiver, usable });
    }

    fn end(&mut self, receiver: u32) {
        self.demand(ReceivingOp::End { receiver });
    }

    fn advance(&mut self, now_ns: u64) {
        self.demand(ReceivingOp::Advance { now_ns });
    }

    fn poll(&mut self) -> Option<Notice> {
        match self.demand(ReceivingOp::Poll) {
            Answer::Notice(notice) => notice,
            answer => unreachable!("{answer:?}"),
        }
    }

    fn poll_timeout(&self) -> Option<u64> {
        self.system.poll_timeout()
    }

    fn lease(&mut self) -> bool {
        self.demand(ReceivingOp::Lease) == Answer::Done(true)
    }

    fn release(&mut self) {
        self.demand(ReceivingOp::Release);
    }

    fn data(&self, receiver: u32) -> Vec<u8> {
        self.system.data(receiver)
    }

    fn facts(&self, receiver: u32) -> Facts {
        self.system.facts(receiver)
    }

    fn totals(&self) -> Totals {
        self.system.totals()
    }

    fn check_invariants(&self) -> Result<(), String> {
        self.system.check_invariants()
    }
}

/// The byte of a receiver's stream at this place.
fn byte_at(receiver: u32, at: u64) -> u8 {
    let mixed = (at + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ u64::from(receiver).wrapping_mul(0xD1B5_4A32_D192_ED03);
    (mixed >> 32) as u8
}

fn ensure(holds: bool, rule: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(rule.to_string()) }
}
