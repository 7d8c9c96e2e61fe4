//! Receivers with their pool and memory: the model against Rust, and the model against C, call by call and byte by
//! byte.

mod common;

use common::{cases, crowd, pool_config, receivers_op};
use demuxbuf::connection::{Event, Mode, Policy};
use demuxbuf::pool::PoolConfig;
use demuxbuf_oracle::{CPool, Differential, HandleRef, ModelPool, Op, RustPool, System};
use proptest::prelude::*;

fn fight<S: System>(
    mut differential: Differential<ModelPool, S>,
    before: &[Op],
    ops: &[Op],
) -> Result<(), TestCaseError> {
    for &op in before.iter().chain(ops) {
        differential.play(op).map_err(TestCaseError::fail)?;
    }
    differential.drain().map_err(TestCaseError::fail)
}

proptest! {
    #![proptest_config(cases(200, 5_000))]

    #[test]
    fn receivers_follow_their_documentation(
        config in pool_config(),
        before in crowd(),
        ops in prop::collection::vec(receivers_op(), 1..300),
    ) {
        fight(Differential::new(ModelPool::new(&config), RustPool::new(&config)), &before, &ops)?;
    }

    #[test]
    fn c_api_answers_like_rust(
        config in pool_config(),
        before in crowd(),
        ops in prop::collection::vec(receivers_op(), 1..300),
    ) {
        fight(Differential::new(ModelPool::new(&config), CPool::new(&config)), &before, &ops)?;
    }
}

/// With nothing in place, `delivered` is a report as any: also that a frame that fits no buffer passes in pieces.
#[test]
fn frame_passes_in_pieces_by_delivered() {
    let policy = Policy { mode: Mode::Edge, counting: true, ..Policy::default() };
    let config = PoolConfig { buffer_bytes: 128, waiters_max: 1, policy, ..PoolConfig::new(8 * 128, 1) };
    let mut pair = Differential::new(ModelPool::new(&config), RustPool::new(&config));
    let request = Op::Request { class: 0, size_index: 0, tenant: None, has_deadline: false };
    let receiver = HandleRef::Live(0);
    let report = |event| Op::Report { receiver, event };
    let look = |need_more| Op::Decoded { receiver, consumed: 0, need_more, usable: 0 };
    let attach =
        Op::Attach { class: 0, bytes: 0, tenant: None, policy: None, notify_if_full: false, unknown_length: false };
    let ops = [Op::Tick { now_ns: 0 }, attach].into_iter().chain([request; 5]).chain([
        report(Event::Readable),
        look(129),
        Op::Delivered { receiver, consumed: 0, need_more: 1 },
        look(129),
        look(1),
    ]);
    for op in ops {
        pair.play(op).expect("the pool does as its model");
    }
    pair.drain().expect("the pool does as its model");
}
