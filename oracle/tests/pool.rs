//! Receivers with their pool and memory: the model against Rust, and the model against C, call by call and byte by
//! byte.

mod common;

use common::{cases, crowd, pool_config, receivers_op};
use demuxbuf_oracle::{CPool, Differential, ModelPool, Op, RustPool, System};
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
