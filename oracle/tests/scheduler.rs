//! The scheduler alone: the model and Rust, call by call.

mod common;

use common::{cases, pool_op, scheduler_config};
use demuxbuf_oracle::{Differential, HandleRef, ModelScheduler, Op, Response, RustScheduler};
use proptest::prelude::*;

proptest! {
    #![proptest_config(cases(300, 20_000))]

    #[test]
    fn scheduler_follows_its_documentation(
        config in scheduler_config(), ops in prop::collection::vec(pool_op(), 1..150)
    ) {
        let mut differential = Differential::new(ModelScheduler::new(&config), RustScheduler::new(&config));
        for op in ops {
            differential.play(op).map_err(TestCaseError::fail)?;
        }
        // Hosts that release everything serve every waiter (I6), and everything is there again (I1).
        while !differential.model.waits().is_empty() || !differential.model.leases().is_empty() {
            while differential.play(Op::PollNotice).map_err(TestCaseError::fail)?.response != Response::Nothing {}
            let released = differential.play(Op::Release { lease: HandleRef::Live(0) }).map_err(TestCaseError::fail)?;
            prop_assert_eq!(released.response, Response::Done, "I6: every waiter is served in the end");
        }
    }
}
