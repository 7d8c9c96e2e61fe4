//! Receivers with their pool and memory: the model against Rust, and the model against C, call by call and byte by byte.

mod common;

use common::{cases, receivers_config, receivers_op};
use demuxbuf_oracle::{CReceivers, Duel, ModelReceivers, Op, RustReceivers, Subject};
use proptest::prelude::*;

fn fight<S: Subject>(mut duel: Duel<ModelReceivers, S>, ops: &[Op]) -> Result<(), TestCaseError> {
    for &op in ops {
        duel.play(op).map_err(TestCaseError::fail)?;
    }
    duel.drain().map_err(TestCaseError::fail)
}

proptest! {
    #![proptest_config(cases(200, 5_000))]

    #[test]
    fn receivers_are_what_their_docs_say(
        config in receivers_config(),
        ops in prop::collection::vec(receivers_op(), 1..150),
    ) {
        fight(Duel::new(ModelReceivers::new(&config), RustReceivers::new(&config)), &ops)?;
    }

    #[test]
    fn c_answers_as_rust_does(config in receivers_config(), ops in prop::collection::vec(receivers_op(), 1..150)) {
        fight(Duel::new(ModelReceivers::new(&config), CReceivers::new(&config)), &ops)?;
    }
}
