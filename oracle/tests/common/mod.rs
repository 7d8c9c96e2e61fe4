//! What the tests draw from.
#![allow(dead_code, unreachable_pub, reason = "each test uses a part")]

use demuxbuf::connection::{Action, Event, Mode, Policy};
use demuxbuf::pool::PoolConfig;
use demuxbuf::receiver::ReceiversConfig;
use demuxbuf_oracle::{Op, Which};
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

/// Cases of each property; failures are printed with the shrunk operations and not written to files.
pub fn cases(debug: u32, release: u32) -> ProptestConfig {
    ProptestConfig {
        cases: if cfg!(debug_assertions) { debug } else { release },
        failure_persistence: Some(Box::new(FileFailurePersistence::Off)),
        max_shrink_iters: 1_500,
        ..ProptestConfig::default()
    }
}

pub fn policy() -> impl Strategy<Value = Policy> {
    let mode = prop::sample::select(vec![Mode::Level, Mode::Edge, Mode::OneShot, Mode::Optimistic, Mode::Completion]);
    let park_bytes = prop::sample::select(vec![0, 1, 8, 63, 64]);
    let resume_at = prop::sample::select(vec![0, 1, 10, 64, 1000]);
    let reclaim_bytes = prop::sample::select(vec![0, 5, 64]);
    (mode, 0..4u8, park_bytes, reclaim_bytes, resume_at, any::<bool>()).prop_map(
        |(mode, reads_per_wake, park_bytes, reclaim_bytes, resume_at, pause_when_blocked)| Policy {
            mode,
            reads_per_wake,
            park_bytes,
            reclaim_bytes,
            resume_at,
            pause_when_blocked,
        },
    )
}

fn small() -> impl Strategy<Value = u32> {
    prop_oneof![6 => 0..4u32, 3 => 0..70u32, 2 => Just(64), 1 => Just(128), 1 => Just(u32::MAX), 1 => any::<u32>()]
}

/// The model keeps every byte, so what can be held is small; what is refused may be of any size.
fn capacity() -> impl Strategy<Value = u32> {
    prop_oneof![3 => 0..70u32, 3 => Just(64), 1 => Just(128)]
}

pub fn event() -> impl Strategy<Value = Event> {
    let done = prop::sample::select(Action::ALL.to_vec()).prop_map(Event::done);
    let reasons = || prop_oneof![1 => Just(0), 8 => 1..4u32];
    prop_oneof![
        6 => Just(Event::Readable),
        6 => small().prop_map(|bytes| Event::Received { bytes }),
        3 => Just(Event::WouldBlock),
        1 => Just(Event::EndOfStream),
        1 => Just(Event::TransportError),
        4 => small().prop_map(|bytes| Event::Consumed { bytes }),
        4 => small().prop_map(|bytes| Event::NeedMore { bytes }),
        3 => reasons().prop_map(|reasons| Event::Block { reasons }),
        3 => reasons().prop_map(|reasons| Event::Unblock { reasons }),
        2 => Just(Event::Yield),
        3 => Just(Event::Wake),
        1 => Just(Event::PauseRecv),
        2 => Just(Event::ResumeRecv),
        1 => Just(Event::Fail),
        2 => Just(Event::ReclaimRequested),
        2 => Just(Event::LeaseExpired),
        4 => done,
        1 => any::<u32>().prop_map(|actions| Event::Done { actions }),
        1 => Just(Event::Close),
    ]
}

/// What only a connection alone is told.
pub fn any_event() -> impl Strategy<Value = Event> {
    let sync = (small(), capacity(), 0..4u32, any::<bool>(), any::<bool>())
        .prop_map(|(level, capacity, blocked, short, armed)| Event::Sync { level, capacity, blocked, short, armed });
    prop_oneof![
        20 => event(),
        3 => capacity().prop_map(|capacity| Event::BufferGranted { capacity }),
        3 => Just(Event::BufferDenied),
        3 => capacity().prop_map(|capacity| Event::BufferParked { capacity }),
        2 => Just(Event::BufferReleased),
        2 => sync,
        2 => (small(), capacity()).prop_map(|(level, capacity)| Event::Attach { level, capacity }),
    ]
}

fn which() -> impl Strategy<Value = Which> {
    prop_oneof![
        20 => any::<u8>().prop_map(Which::Live),
        2 => any::<u8>().prop_map(Which::Dead),
        1 => Just(Which::Nobody),
    ]
}

fn class() -> impl Strategy<Value = u8> {
    prop_oneof![20 => 0..3u8, 1 => 0..10u8]
}

/// What a pool alone is asked.
pub fn pool_op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => class().prop_map(|class| Op::Request { class }),
        6 => which().prop_map(|lease| Op::Release { lease }),
        3 => which().prop_map(|wait| Op::Cancel { wait }),
        6 => Just(Op::PollGrant),
        1 => (0..100u64).prop_map(|now_ns| Op::Tick { now_ns }),
    ]
}

fn obey() -> impl Strategy<Value = Op> {
    (which(), any::<u8>(), any::<u32>()).prop_map(|(receiver, choice, amount)| Op::Obey { receiver, choice, amount })
}

/// What a connection alone is told.
pub fn connection_op() -> impl Strategy<Value = Op> {
    prop_oneof![any_event().prop_map(|event| Op::Report { receiver: Which::Live(0), event }), obey()]
}

/// What receivers and their pool are asked.
pub fn receivers_op() -> impl Strategy<Value = Op> {
    let attached = prop_oneof![4 => Just(0), 2 => 1..70u16, 1 => 60..200u16];
    let content = (class(), which(), 0..70u32, small());
    prop_oneof![
        6 => (class(), attached).prop_map(|(class, bytes)| Op::Attach { class, bytes }),
        2 => content.prop_map(|(class, lease, offset, level)| Op::Adopt { class, lease, offset, level }),
        20 => (which(), event()).prop_map(|(receiver, event)| Op::Report { receiver, event }),
        1 => (which(), any_event()).prop_map(|(receiver, event)| Op::Report { receiver, event }),
        4 => (which(), small(), small())
            .prop_map(|(receiver, consumed, need_more)| Op::Decoded { receiver, consumed, need_more }),
        20 => obey(),
        2 => which().prop_map(|receiver| Op::Take { receiver }),
        1 => Just(Op::GiveBackPages),
        12 => pool_op(),
    ]
}

pub fn pool_config() -> impl Strategy<Value = PoolConfig> {
    let class = (0..3u32, prop_oneof![2 => Just(u32::MAX), 1 => 1..3u32]);
    let (classes, table) = (prop_oneof![8 => 1..4u8, 1 => Just(8u8)], prop::array::uniform8(class));
    (1..5u32, 0..8u32, classes, table, 1..4u32).prop_map(|(buffers, waiters_max, classes, table, class_burst)| {
        let mut config = PoolConfig { classes, class_burst, ..PoolConfig::new(buffers, waiters_max) };
        for (class, (reserve, cap)) in table.into_iter().take(classes.into()).enumerate() {
            config.reserves[class] = reserve.min(buffers - 1);
            config.class_caps[class] = cap;
        }
        config
    })
}

pub fn receivers_config() -> impl Strategy<Value = ReceiversConfig> {
    let buffer_bytes = prop::sample::select(vec![64, 128, 192]);
    (pool_config(), buffer_bytes, 1..5u32, 0..5u32, any::<bool>(), policy()).prop_map(
        |(mut pool, buffer_bytes, receivers_max, slots, lifeline, policy)| {
            pool.waiters_max += receivers_max;
            {
                let new = ReceiversConfig::new(pool.buffers, receivers_max);
                ReceiversConfig { pool, buffer_bytes, slots, lifeline, policy, ..new }
            }
        },
    )
}
