//! Connections alone: the model, Rust and C, event by event.

mod common;

use common::trio::{Trio, check_close, check_rest};
use common::{cases, connection_op, policy};
use demuxbuf::connection::Event;
use demuxbuf_oracle::Op;
use proptest::prelude::*;

proptest! {
    #![proptest_config(cases(1_500, 20_000))]

    #[test]
    fn connection_follows_its_table(policy in policy(), ops in prop::collection::vec(connection_op(), 1..80)) {
        let mut trio = Trio::new(policy);
        trio.compare();
        trio.report(Event::Attach { buffered_bytes: 0, capacity: 0 });
        for op in ops {
            if let Op::SetPolicy { policy, .. } = op {
                trio.set_policy(policy);
            } else if let Some(event) = trio.event(op) {
                trio.report(event);
            } else {
                continue;
            }
            check_rest(trio.rust.clone(), trio.owes_wake);
            check_close(trio.rust.clone());
        }
    }
}
