//! Random calls on the memory model.

use demuxbuf_oracle::receiving_system::{Notice, ReceivingConfig, TenantShare};
use demuxbuf_oracle::{Answer, Drawn, DrawnKind, ModelReceiving, ReceivingOp};
use proptest::prelude::*;

/// Few receivers, in little memory, so that shortage is common.
pub fn receiving_config() -> impl Strategy<Value = ReceivingConfig> {
    let buffer_bytes = prop_oneof![3 => Just(128), 1 => Just(192), 2 => Just(256), 2 => Just(576), 1 => Just(2_112), 1 => Just(16_448)];
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

/// What comes before the random calls: time begins, all receivers are attached, and the host leases all but this number
/// of buffers.
pub fn prelude(config: ReceivingConfig, free: u32) -> Vec<ReceivingOp> {
    let buffers = ModelReceiving::new(config).expect("it is allowed").usable_buffers();
    let attach = |receiver| ReceivingOp::Attach { receiver, unknown_length: receiver % 8 == 7 };
    let attached = (0..config.receivers_max).map(attach);
    let tenant = |receiver| ReceivingOp::SetTenant { receiver, tenant: receiver % 3 };
    let tenants = (0..config.receivers_max).filter(|_| config.tenants.is_some()).map(tenant);
    let leased = (free..buffers).map(|_| ReceivingOp::Lease);
    let submits = (0..config.receivers_max).filter(|receiver| receiver % 4 >= 2);
    let submits = submits.map(|receiver| ReceivingOp::SetSubmits { receiver, submits: true });
    let counts = (0..config.receivers_max).filter(|receiver| receiver % 8 < 7 && receiver % 3 != 1);
    let counts = counts.map(|receiver| ReceivingOp::SetCounts { receiver, counts: true });
    let first = [ReceivingOp::Advance { now_ns: 0 }].into_iter().chain(attached);
    first.chain(tenants).chain(submits).chain(counts).chain(leased).collect()
}

/// What comes after them: the host releases all, and serves what is noticed until there is nothing. Peers send nothing.
pub fn wind_up(
    leases: u32,
    now_ns: u64,
    mut play: impl FnMut(ReceivingOp) -> Result<Answer, String>,
) -> Result<(), String> {
    play(ReceivingOp::Advance { now_ns })?;
    for _ in 0..leases {
        play(ReceivingOp::Release)?;
    }
    loop {
        match play(ReceivingOp::Poll)? {
            Answer::Notice(Some(Notice::Shed { receiver, .. })) => play(ReceivingOp::Close { receiver })?,
            Answer::Notice(Some(
                Notice::Trial { receiver, .. } | Notice::Granted { receiver, .. } | Notice::TakeBack { receiver },
            )) => play(ReceivingOp::Dry { receiver })?,
            Answer::Notice(Some(Notice::Resume { .. })) => Answer::Nothing,
            _ => return Ok(()),
        };
    }
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
