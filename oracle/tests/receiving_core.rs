//! The core of the memory model against its model, call by call and byte by byte.

mod common;

use common::cases;
use common::receiving::{drawn, receiving_config};
use demuxbuf_oracle::{CoreReceiving, ReceivingDifferential, opening, wind_up};
use proptest::prelude::*;

proptest! {
    #![proptest_config(cases(2_000, 50_000))]

    #[test]
    fn core_receives_like_its_model(
        config in receiving_config(),
        free in 0..5u32,
        all in prop::collection::vec(drawn(), 1..500),
    ) {
        let system = CoreReceiving::new(config).map_err(TestCaseError::fail)?;
        let mut pair = ReceivingDifferential::new(system, config).map_err(TestCaseError::fail)?;
        for op in opening(config, free) {
            pair.play(op).map_err(TestCaseError::fail)?;
        }
        for drawn in all {
            pair.play_drawn(drawn).map_err(TestCaseError::fail)?;
        }
        wind_up(pair.model.system.leases(), pair.now_ns(), |op| pair.play(op)).map_err(TestCaseError::fail)?;
    }
}
