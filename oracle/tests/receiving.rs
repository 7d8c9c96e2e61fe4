//! The model of the memory model, alone: what its page promises, whatever is called in whatever order.

mod common;

use common::cases;
use common::receiving::{drawn, receiving_config};
use demuxbuf_oracle::receiving_system::{After, Begin, Notice, ReceivingConfig, ReceivingSystem};
use demuxbuf_oracle::{Answer, Checked, Drawn, ModelReceiving, ReceivingOp, opening, wind_up};
use proptest::prelude::*;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use std::collections::BTreeMap;

/// What is seen of a call: the system after it, the receivers that waited under a mark before it, and it.
type Observe<'a> = &'a mut dyn FnMut(&Checked<ModelReceiving>, &[u32], ReceivingOp, Answer);

fn play_all(
    config: ReceivingConfig,
    free: u32,
    all: &[Drawn],
    observe: Observe<'_>,
) -> Result<Checked<ModelReceiving>, String> {
    let mut checked = Checked::new(ModelReceiving::new(config)?, config)?;
    for op in opening(config, free) {
        checked.play(op)?;
    }
    let mut now_ns = 0;
    for drawn in all {
        if let Some(op) = drawn.resolve(&checked.system, now_ns) {
            let marked = marked(&checked);
            let answer = checked.play(op)?;
            observe(&checked, &marked, op, answer);
            if let ReceivingOp::Advance { now_ns: advanced } = op {
                now_ns = now_ns.max(advanced);
            }
        }
    }
    wind_up(checked.system.leases(), now_ns, |op| {
        let marked = marked(&checked);
        let answer = checked.play(op)?;
        observe(&checked, &marked, op, answer);
        Ok(answer)
    })?;
    Ok(checked)
}

fn marked(checked: &Checked<ModelReceiving>) -> Vec<u32> {
    let all = checked.system.attached();
    all.into_iter().filter(|&receiver| checked.facts(receiver).mark > 0).collect()
}

/// What random calls came to.
#[derive(Default)]
struct Reached(BTreeMap<&'static str, u32>);

impl Reached {
    fn note(&mut self, what: &'static str, count: u64) {
        *self.0.entry(what).or_default() += u32::from(count > 0);
    }

    fn note_all(&mut self, checked: &Checked<ModelReceiving>, marked: &[u32], op: ReceivingOp, answer: Answer) {
        let claims = |receiver: u32| checked.facts(receiver).claim_since.is_some();
        match (op, answer) {
            (ReceivingOp::KernelFull { .. }, Answer::After(After::Ended)) => self.note("full", 1),
            (ReceivingOp::Looked { .. }, _) => self.note("a look", 1),
            (ReceivingOp::ReceivedAway { .. }, Answer::After(After::WholeLook { .. })) => {
                self.note("a look after another", 1)
            }
            (_, Answer::After(After::WholeLook { .. })) => self.note("a look again", 1),
            (_, Answer::After(After::Away { .. })) => self.note("owed", 1),
            (_, Answer::Begin(Begin::WholeLook { .. })) => self.note("a look at a whole", 1),
            (ReceivingOp::Decoded { .. }, Answer::After(After::Whole { .. })) => self.note("a whole again", 1),
            (ReceivingOp::Dry { receiver }, Answer::After(After::Ended)) if checked.facts(receiver).mark > 0 => {
                self.note("a mark", 1);
            }
            (ReceivingOp::PeerClosed { .. }, _) => self.note("a peer that closes", 1),
            (_, Answer::Notice(Some(Notice::Trial { receiver, .. }))) if marked.contains(&receiver) => {
                self.note("a trial under a mark", 1);
            }
            (_, Answer::Begin(Begin::Later)) => self.note("later", 1),
            (_, Answer::Begin(Begin::Off)) => self.note("off", 1),
            (_, Answer::Begin(Begin::Claimed)) if checked.totals().free > checked.system.reserve() => {
                self.note("a claim of a capped tenant", 1);
            }
            (_, Answer::Begin(Begin::Claimed)) => self.note("a claim", 1),
            (_, Answer::Notice(Some(Notice::Resume { .. }))) => self.note("a resume", 1),
            (_, Answer::After(After::Receive { .. })) => self.note("a trial that receives again", 1),
            (ReceivingOp::Submit { receiver }, _) if claims(receiver) => self.note("a claim in flight", 1),
            (ReceivingOp::Submit { .. }, _) => self.note("in flight", 1),
            (ReceivingOp::Consume { .. }, _) => self.note("consumed in flight", 1),
            (ReceivingOp::Complete { .. }, _) => self.note("an outcome after the close", 1),
            (_, Answer::Notice(Some(Notice::TakeBack { .. }))) => self.note("taken back", 1),
            (ReceivingOp::Lease, Answer::Done(false)) => self.note("no lease", 1),
            (ReceivingOp::Decode { .. }, Answer::Done(false)) => self.note("no decode", 1),
            (ReceivingOp::Decoded { receiver, .. }, Answer::After(After::Ended)) if claims(receiver) => {
                self.note("a claim that goes on", 1);
            }
            (ReceivingOp::Decoded { receiver, .. }, _) if checked.facts(receiver).kept_for_good => {
                self.note("kept for good", 1);
            }
            _ => {}
        }
    }
}

/// The random calls below come to every rule.
#[test]
fn random_calls_reach_every_rule() {
    let mut runner = TestRunner::deterministic();
    let strategy = (receiving_config(), 0..5u32, prop::collection::vec(drawn(), 400));
    let mut reached = Reached::default();
    for _ in 0..1_500 {
        let (config, free, all) = strategy.new_tree(&mut runner).expect("nothing is filtered").current();
        let checked = play_all(config, free, &all, &mut |checked, marked, op, answer| {
            reached.note_all(checked, marked, op, answer);
        });
        let checked = checked.expect("no rule is broken");
        let totals = checked.totals();
        let [memory, deadline, evicted] = totals.shed;
        for (what, count) in [
            ("shed for memory", memory),
            ("shed at the deadline", deadline),
            ("evicted", evicted),
            ("evicted for another tenant", checked.system.evictions_for_tenants()),
            ("a trial", totals.trials),
            ("a grant", totals.grants),
        ] {
            reached.note(what, count);
        }
    }
    println!("{:?}", reached.0);
    let names = ["later", "off", "a claim", "a resume", "a trial that receives again", "no lease", "no decode"];
    let outcomes = ["a claim that goes on", "kept for good", "shed for memory", "shed at the deadline", "evicted"];
    let in_flight =
        ["in flight", "a claim in flight", "consumed in flight", "an outcome after the close", "taken back"];
    let tenants = ["a claim of a capped tenant", "evicted for another tenant"];
    let counting = ["a look", "a mark", "a whole again", "full", "a peer that closes", "a trial under a mark"];
    let looks = ["a look at a whole", "a look again", "a look after another", "owed"];
    for name in names
        .into_iter()
        .chain(counting)
        .chain(looks)
        .chain(outcomes)
        .chain(in_flight)
        .chain(tenants)
        .chain(["a trial", "a grant"])
    {
        assert!(reached.0.get(name).is_some_and(|&count| count > 0), "{name}: {:?}", reached.0);
    }
}

proptest! {
    #![proptest_config(cases(2_000, 50_000))]

    /// Bytes keep their order, memory its budget, and polls leave nothing undone, in any order of legal calls.
    #[test]
    fn receiving_rules_hold_in_any_order(
        config in receiving_config(),
        free in 0..5u32,
        all in prop::collection::vec(drawn(), 1..500),
    ) {
        play_all(config, free, &all, &mut |_, _, _, _| {}).map_err(TestCaseError::fail)?;
    }
}
