//! The pool alone: the model and Rust, call by call.

mod common;

use common::{cases, pool_config, pool_op};
use demuxbuf_oracle::{Duel, ModelPool, Op, RustPool, What, Which};
use proptest::prelude::*;

proptest! {
    #![proptest_config(cases(300, 20_000))]

    #[test]
    fn a_pool_is_what_its_docs_say(config in pool_config(), ops in prop::collection::vec(pool_op(), 1..150)) {
        let mut duel = Duel::new(ModelPool::new(&config), RustPool::new(&config));
        for op in ops {
            duel.play(op).map_err(TestCaseError::fail)?;
        }
        // Hosts that give back everything serve everybody (I6), and everything is there again (I1).
        while !duel.model.waits().is_empty() || !duel.model.leases().is_empty() {
            while duel.play(Op::PollGrant).map_err(TestCaseError::fail)?.what != What::Nothing {}
            let released = duel.play(Op::Release { lease: Which::Live(0) }).map_err(TestCaseError::fail)?;
            prop_assert_eq!(released.what, What::Done, "I6: who waits is served in the end");
        }
    }
}
