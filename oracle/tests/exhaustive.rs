//! Every order of events, in a small scope: three connections, two buffers, two classes, one parking slot. Each state
//! that is reached is compared with the model, and from each everybody who waits is served in the end.
//!
//! States that differ only in who is who and in the values of bytes count as one. `ORACLE_DEPTH` sets another depth.

use demuxbuf::connection::{Action, Actions, Event, Mode, Policy};
use demuxbuf::pool::PoolConfig;
use demuxbuf::receiver::ReceiversConfig;
use demuxbuf_oracle::{Duel, ModelReceivers, Op, RustReceivers, Subject, Which};
use std::collections::HashSet;

const CONNECTIONS: usize = 3;

type Pair = Duel<ModelReceivers, RustReceivers>;

fn scope(mode: Mode) -> ReceiversConfig {
    let mut pool = PoolConfig { classes: 2, class_burst: 1, ..PoolConfig::new(2, 5) };
    // Class 1 leaves the last buffer to class 0.
    pool.reserves[1] = 1;
    let policy = Policy { mode, reads_per_wake: 2, park_bytes: 64, ..Policy::default() };
    let new = ReceiversConfig::new(2, CONNECTIONS as u32);
    ReceiversConfig { pool, buffer_bytes: 64, slots: 1, lifeline: true, policy, ..new }
}

/// The state that a path leads to.
fn replay(config: &ReceiversConfig, path: &[Op]) -> Pair {
    let mut pair = Duel::new(ModelReceivers::new(config), RustReceivers::new(config));
    pair.answers_only = true;
    for &op in path {
        pair.play(op).unwrap_or_else(|difference| panic!("{path:?}: {difference}"));
    }
    pair.answers_only = false;
    pair
}

/// A number for a state, with all that the subject's connections know.
fn shape(pair: &Pair) -> u64 {
    let (model, subject) = (pair.model.receivers(), pair.subject.receivers());
    pair.model.subject.shape(|id| {
        let at =
            model.iter().position(|&known| known == id).expect("the model's receivers are those that were attached");
        pair.subject.subject.fingerprint(subject[at])
    })
}

/// Everything that may happen in a state.
fn alphabet(pair: &mut Pair) -> Vec<Op> {
    let live = |at| Which::Live(at);
    let mut ops = vec![
        Op::PollGrant,
        Op::Request { class: 0 },
        Op::Request { class: 1 },
        Op::Release { lease: live(0) },
        Op::Release { lease: live(1) },
        Op::Cancel { wait: live(0) },
        Op::Cancel { wait: live(1) },
        Op::Adopt { class: 1, lease: live(0), offset: 1, level: 2 },
        Op::Attach { class: 0, bytes: 0 },
        Op::Attach { class: 1, bytes: 3 },
    ];
    let receivers = pair.model.receivers();
    for (at, id) in receivers.into_iter().enumerate() {
        let facts = pair.model.subject.describe(id).expect("a receiver in force").facts;
        let acknowledged = facts.pending & Actions::ACKNOWLEDGED.bits() & !(Action::CancelRequest as u32);
        let events = [
            Event::Readable,
            Event::Received { bytes: 1 },
            Event::Received { bytes: facts.capacity - facts.level },
            Event::WouldBlock,
            Event::EndOfStream,
            Event::Consumed { bytes: 1 },
            Event::Consumed { bytes: facts.level },
            Event::NeedMore { bytes: 1 },
            Event::Block { reasons: 1 },
            Event::Unblock { reasons: 1 },
            Event::Yield,
            Event::Wake,
            Event::Fail,
            Event::ReclaimRequested,
            Event::LeaseExpired,
            Event::Done { actions: acknowledged },
            Event::Close,
        ];
        ops.extend(events.map(|event| Op::report(at, event)));
        ops.push(Op::Take { receiver: live(at as u8) });
    }
    ops
}

/// Where the exploration starts: at rest, and with no buffer left while everybody waits for one.
fn starts() -> Vec<Vec<Op>> {
    let rest = [0, 1, 1].map(|class| Op::Attach { class, bytes: 0 }).to_vec();
    let taken = [Op::Request { class: 0 }; 2];
    let readable = [0, 1, 2].map(|at| Op::report(at, Event::Readable));
    let exhausted = [rest.as_slice(), &taken, &readable].concat();
    vec![rest, exhausted]
}

/// Visits every state that `depth` events lead to; returns how many there are.
fn explore(mode: Mode, depth: usize) -> usize {
    let config = scope(mode);
    let mut frontier = starts();
    let mut visited: HashSet<u64> = frontier.iter().map(|path| shape(&replay(&config, path))).collect();
    for _ in 0..depth {
        let mut next = Vec::new();
        for path in frontier {
            let mut pair = replay(&config, &path);
            let here = shape(&pair);
            for op in alphabet(&mut pair) {
                pair.play(op).unwrap_or_else(|difference| panic!("{path:?}: {difference}"));
                let there = shape(&pair);
                if there == here {
                    continue;
                }
                if visited.insert(there) {
                    next.push([path.as_slice(), &[op]].concat());
                    pair.answers_only = true;
                    pair.drain().unwrap_or_else(|stuck| panic!("{path:?}, then {op:?}: {stuck}"));
                }
                pair = replay(&config, &path);
            }
        }
        frontier = next;
    }
    visited.len()
}

fn run(mode: Mode, debug: usize, release: usize) {
    let default = if cfg!(debug_assertions) { debug } else { release };
    let depth = std::env::var("ORACLE_DEPTH").map_or(default, |depth| depth.parse().expect("ORACLE_DEPTH is a number"));
    let states = explore(mode, depth);
    println!("{mode:?}: {states} states in all orders of {depth} events");
    assert!(states > 10usize.pow(depth as u32 / 2), "the scope has become too small to tell anything: {states} states");
}

#[test]
fn level_triggered() {
    run(Mode::Level, 3, 5);
}

#[test]
fn edge_triggered() {
    run(Mode::Edge, 3, 5);
}

#[test]
fn one_shot() {
    run(Mode::OneShot, 3, 5);
}
