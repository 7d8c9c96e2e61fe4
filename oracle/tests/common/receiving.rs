//! Random calls on the memory model.

use demuxbuf_oracle::receiving_system::{ReceivingConfig, TenantShare};
use demuxbuf_oracle::{Drawn, DrawnKind};
use proptest::prelude::*;

/// Few receivers, in little memory, so that shortage is common.
pub fn receiving_config() -> impl Strategy<Value = ReceivingConfig> {
    let buffer_bytes = prop_oneof![
        3 => Just(128), 1 => Just(192), 2 => Just(256), 2 => Just(576), 1 => Just(2_112), 1 => Just(16_448)
    ];
    let ns = || prop_oneof![1 => Just(8), 1 => Just(1_000_000), 4 => Just(1_000_000_000)];
    (buffer_bytes, 8..13u64, 1..16u32, ns(), ns(), 0..4u32, tenants()).prop_map(
        |(buffer_bytes, buffers, receivers_max, frame_grace_ns, blocked_ns, in_flight_max, tenants)| ReceivingConfig {
            memory_bytes: buffers * u64::from(buffer_bytes) + 63,
            buffer_bytes,
            receivers_max,
            frame_grace_ns,
            blocked_ns,
            in_flight_max,
            tenants,
        },
    )
}

/// None, or two.
fn tenants() -> impl Strategy<Value = Option<[TenantShare; 2]>> {
    let cap = prop_oneof![3 => Just(None), 2 => (1..6u32).prop_map(Some)];
    let share = || {
        let cap = cap.clone();
        (1..4u32, 0..3u32, cap).prop_map(|(weight, guaranteed, cap)| TenantShare {
            weight,
            guaranteed: cap.map_or(guaranteed, |cap| guaranteed.min(cap)),
            cap,
        })
    };
    prop_oneof![1 => Just(None), 2 => [share(), share()].prop_map(Some)]
}

/// One call.
pub fn drawn() -> impl Strategy<Value = Drawn> {
    let kind = prop_oneof![
        4 => Just(DrawnKind::Attach),
        2 => Just(DrawnKind::ReadAhead),
        2 => Just(DrawnKind::Count),
        3 => Just(DrawnKind::Kernel),
        3 => Just(DrawnKind::Tenant),
        1 => Just(DrawnKind::Close),
        60 => Just(DrawnKind::Obey),
        20 => Just(DrawnKind::Deliver),
        2 => Just(DrawnKind::Guess),
        4 => Just(DrawnKind::Dry),
        16 => Just(DrawnKind::Submit),
        6 => Just(DrawnKind::Use),
        1 => Just(DrawnKind::End),
        16 => Just(DrawnKind::Advance),
        18 => Just(DrawnKind::Poll),
        2 => Just(DrawnKind::Lease),
    ];
    (kind, any::<u8>(), any::<u16>(), any::<u16>()).prop_map(|(kind, receiver, amount, rest)| Drawn {
        kind,
        receiver,
        amount,
        rest,
    })
}
