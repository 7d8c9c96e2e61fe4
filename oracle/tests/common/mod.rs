//! The inputs that the tests draw from.
#![allow(dead_code, unreachable_pub, reason = "each test uses a part")]

pub mod receiving;
pub mod trio;

use demuxbuf::connection::{Action, Actions, Event, Mode, Policy};
use demuxbuf::pool::PoolConfig;
use demuxbuf::scheduler::SchedulerConfig;
use demuxbuf_oracle::targets::allow_requests;
use demuxbuf_oracle::{HandleRef, Op};
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
    let mode = prop::sample::select(Mode::ALL.to_vec());
    let park_bytes = prop::sample::select(vec![0, 1, 8, 63, 64]);
    let resume_free_bytes = prop::sample::select(vec![0, 1, 10, 64, 1000]);
    let reclaim_bytes = prop::sample::select(vec![0, 5, 64, 200]);
    let flags = (any::<bool>(), any::<bool>(), any::<bool>());
    (mode, 0..4u8, park_bytes, reclaim_bytes, resume_free_bytes, flags).prop_map(
        |(mode, reads_per_wake, park_bytes, reclaim_bytes, resume_free_bytes, flags)| {
            let (pause_when_blocked, reads_ahead, counting) = flags;
            Policy {
                mode,
                reads_per_wake,
                park_bytes,
                reclaim_bytes,
                resume_free_bytes,
                pause_when_blocked,
                reads_ahead,
                counting,
            }
        },
    )
}

fn small() -> impl Strategy<Value = u32> {
    prop_oneof![6 => 0..4u32, 3 => 0..70u32, 2 => Just(64), 1 => Just(128), 1 => Just(u32::MAX), 1 => any::<u32>()]
}

/// The model keeps every byte, so what can be held is small; what is refused may be of any size.
fn capacity() -> impl Strategy<Value = u32> {
    prop_oneof![3 => 0..70u32, 3 => Just(64), 1 => Just(128), 1 => Just(256)]
}

pub fn event() -> impl Strategy<Value = Event> {
    let done = prop::sample::select(Action::ALL.to_vec()).prop_map(Event::done);
    let reasons = || prop_oneof![1 => Just(0), 8 => 1..4u32];
    prop_oneof![
        6 => Just(Event::Readable),
        1 => Just(Event::PeerClosed),
        1 => Just(Event::KernelFull),
        6 => small().prop_map(|bytes| Event::Received { bytes }),
        3 => Just(Event::WouldBlock),
        2 => Just(Event::WouldBlockArmed),
        1 => Just(Event::EndOfStream),
        1 => Just(Event::TransportError),
        4 => small().prop_map(|bytes| Event::Consumed { bytes }),
        4 => small().prop_map(|bytes| Event::NeedMore { bytes }),
        3 => reasons().prop_map(|reasons| Event::Block { reasons }),
        3 => reasons().prop_map(|reasons| Event::Unblock { reasons }),
        2 => reasons().prop_map(|reasons| Event::SetBlocked { reasons }),
        2 => Just(Event::Yield),
        3 => Just(Event::Wake),
        1 => Just(Event::PauseRecv),
        2 => Just(Event::ResumeRecv),
        1 => Just(Event::Fail),
        2 => Just(Event::ReclaimRequested),
        2 => Just(Event::LeaseExpired),
        4 => done,
        1 => any::<u32>()
            .prop_map(|bits| Event::Done(Actions::from_bits(bits & Actions::ALL.bits()).unwrap_or_default())),
        1 => Just(Event::Close),
    ]
}

/// Events that only a connection alone gets.
pub fn any_event() -> impl Strategy<Value = Event> {
    let sync = (small(), capacity(), 0..4u32, any::<bool>(), any::<bool>()).prop_map(
        |(buffered_bytes, capacity, blocked, needed_bytes, armed)| Event::Sync {
            buffered_bytes,
            capacity,
            blocked,
            needed_bytes,
            armed,
        },
    );
    prop_oneof![
        20 => event(),
        3 => capacity().prop_map(|capacity| Event::BufferGranted { capacity }),
        3 => Just(Event::BufferDenied),
        3 => capacity().prop_map(|capacity| Event::BufferParked { capacity }),
        2 => Just(Event::BufferReleased),
        2 => sync,
        2 => (small(), capacity()).prop_map(|(buffered_bytes, capacity)| Event::Attach { buffered_bytes, capacity }),
    ]
}

fn which() -> impl Strategy<Value = HandleRef> {
    prop_oneof![
        20 => any::<u8>().prop_map(HandleRef::Live),
        2 => any::<u8>().prop_map(HandleRef::Dead),
        1 => Just(HandleRef::Unknown),
    ]
}

fn class() -> impl Strategy<Value = u8> {
    prop_oneof![20 => 0..3u8, 1 => 0..10u8]
}

fn size_index() -> impl Strategy<Value = u8> {
    prop_oneof![6 => Just(0), 2 => Just(1), 2 => Just(2), 1 => 0..6u8]
}

fn tenant() -> impl Strategy<Value = Option<HandleRef>> {
    prop_oneof![2 => Just(None), 3 => which().prop_map(Some)]
}

fn share() -> impl Strategy<Value = Op> {
    let weight = prop_oneof![8 => 1..4u32, 1 => Just(0), 1 => Just(1001)];
    let cap = prop_oneof![4 => Just(u32::MAX), 4 => 1..4u32, 1 => Just(0)];
    (weight, 0..3u32, cap).prop_map(|(weight, guaranteed, cap)| Op::CreateTenant { weight, guaranteed, cap })
}

/// Operations of the host of a pool, with or without receivers.
fn host_op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => (class(), size_index(), tenant(), any::<bool>())
            .prop_map(|(class, size_index, tenant, has_deadline)| {
                Op::Request { class, size_index, tenant, has_deadline }
            }),
        2 => (class(), size_index(), tenant(), any::<bool>())
            .prop_map(|(class, size_index, tenant, has_deadline)| {
                Op::TryRequest { class, size_index, tenant, has_deadline }
            }),
        6 => which().prop_map(|lease| Op::Release { lease }),
        3 => which().prop_map(|wait| Op::Cancel { wait }),
        6 => Just(Op::PollNotice),
        2 => share(),
        1 => which().prop_map(|tenant| Op::RemoveTenant { tenant }),
        1 => (0..100u64).prop_map(|now_ns| Op::Tick { now_ns }),
        // Of each at most an eighth of a lease counts, so a lease takes several.
        10 => (0..12u64).prop_map(|ns| Op::Later { ns }),
    ]
}

/// Operations on a scheduler alone.
pub fn pool_op() -> impl Strategy<Value = Op> {
    prop_oneof![
        25 => host_op(),
        4 => Just(Op::PollReclaim),
        3 => (which(), 0..100u64).prop_map(|(lease, bytes)| Op::Progress { lease, bytes }),
    ]
}

fn obey() -> impl Strategy<Value = Op> {
    (which(), any::<u8>(), any::<u32>()).prop_map(|(receiver, choice, amount)| Op::Obey { receiver, choice, amount })
}

/// Events that a connection alone gets.
pub fn connection_op() -> impl Strategy<Value = Op> {
    let receiver = HandleRef::Live(0);
    prop_oneof![
        9 => any_event().prop_map(move |event| Op::Report { receiver, event }),
        9 => obey(),
        1 => policy().prop_map(move |policy| Op::SetPolicy { receiver, policy }),
    ]
}

/// Bytes and lengths about the sizes of cells and buffers.
fn length() -> impl Strategy<Value = u32> {
    let edges = prop::sample::select(vec![0, 1, 64, 65, 128, 256, 257]);
    prop_oneof![3 => 0..70u32, 4 => 0..300u32, 2 => edges, 1 => small()]
}

fn pool_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        12 => event(),
        3 => length().prop_map(|bytes| Event::Received { bytes }),
        2 => length().prop_map(|bytes| Event::Consumed { bytes }),
        2 => length().prop_map(|bytes| Event::NeedMore { bytes }),
        1 => any_event(),
    ]
}

/// Steps of the clock, of which an eighth of the grace counts at most.
fn later() -> impl Strategy<Value = Op> {
    prop_oneof![2 => 0..10 * MS, 5 => Just(10 * MS), 1 => 0..500 * MS].prop_map(|ns| Op::Later { ns })
}

const MS: u64 = 1_000_000;

fn attach_op() -> impl Strategy<Value = Op> {
    let bytes = prop_oneof![4 => Just(0), 3 => 1..300u16];
    let tenant = prop_oneof![9 => Just(None), 1 => Just(Some(HandleRef::Unknown))];
    let policy = prop_oneof![3 => Just(None), 1 => policy().prop_map(Some)];
    let unknown_length = prop_oneof![4 => Just(false), 1 => Just(true)];
    (class(), bytes, tenant, policy, any::<bool>(), unknown_length).prop_map(
        |(class, bytes, tenant, policy, notify_if_full, unknown_length)| Op::Attach {
            class,
            bytes,
            tenant,
            policy,
            notify_if_full,
            unknown_length,
        },
    )
}

/// Operations on receivers and their pool.
pub fn receivers_op() -> impl Strategy<Value = Op> {
    let content = (class(), which(), 0..70u32, length());
    prop_oneof![
        6 => attach_op(),
        1 => (which(), class()).prop_map(|(receiver, class)| Op::SetClass { receiver, class }),
        1 => (which(), policy()).prop_map(|(receiver, policy)| Op::SetPolicy { receiver, policy }),
        2 => content
            .prop_map(|(class, lease, offset, buffered_bytes)| Op::Adopt { class, lease, offset, buffered_bytes }),
        20 => (which(), pool_event()).prop_map(|(receiver, event)| Op::Report { receiver, event }),
        8 => (which(), length(), length(), prop_oneof![3 => Just(0), 1 => length()])
            .prop_map(|(receiver, consumed, need_more, usable)| Op::Decoded { receiver, consumed, need_more, usable }),
        8 => (which(), prop_oneof![1 => Just(0), 12 => 1..300u16, 2 => any::<u16>()])
            .prop_map(|(receiver, bytes)| Op::Deliver { receiver, bytes }),
        10 => (which(), length(), prop_oneof![1 => Just(0), 1 => length()])
            .prop_map(|(receiver, consumed, need_more)| Op::Delivered { receiver, consumed, need_more }),
        50 => obey(),
        2 => which().prop_map(|receiver| Op::Take { receiver }),
        1 => (which(), any::<bool>()).prop_map(|(receiver, is_default)| Op::SetTenant {
            receiver,
            tenant: (!is_default).then_some(HandleRef::Unknown),
        }),
        1 => Just(Op::GiveBackPages),
        1 => prop_oneof![9 => set_times(), 1 => Just(Op::Drain)],
        2 => (7..13u8).prop_map(|buffers| Op::SetLimit { buffers }),
        12 => later(),
        12 => host_op(),
        2 => which().prop_map(|lease| Op::Progress { lease, bytes: 0 }),
        10 => Just(Op::PollNotice),
    ]
}

fn set_times() -> impl Strategy<Value = Op> {
    let ns = || prop_oneof![1 => 0..10u64, 9 => (8..200u64).prop_map(|ms| ms * MS)];
    (ns(), ns()).prop_map(|(frame_grace_ns, blocked_ns)| Op::SetTimes { frame_grace_ns, blocked_ns })
}

/// What comes before random operations: receivers are attached, and the host leases all but a few buffers.
pub fn crowd() -> impl Strategy<Value = Vec<Op>> {
    (0..6usize, 0..7usize).prop_map(|(receivers, leases)| {
        let attached = std::iter::repeat_n(Op::attach(0), receivers);
        [Op::Tick { now_ns: 0 }]
            .into_iter()
            .chain(attached)
            .chain(std::iter::repeat_n(Op::request(0), leases))
            .collect()
    })
}

/// Deadlines, as `park_ns` and `lease_ns`.
fn deadlines() -> impl Strategy<Value = (Option<u64>, Option<u64>)> {
    let park_ns = prop_oneof![1 => Just(None), 3 => (0..10u64).prop_map(Some)];
    prop_oneof![
        1 => Just((None, None)),
        4 => (park_ns, 1..20u64)
            .prop_map(|(park_ns, lease_ns)| (park_ns.filter(|&park_ns| park_ns <= lease_ns), Some(lease_ns))),
    ]
}

/// Sizes in units, the default first.
fn sizes() -> impl Strategy<Value = [u32; 4]> {
    let any = (1..4u32, 0..5u32, 0..5u32).prop_map(|(a, b, c)| [a, b, c, 0]);
    prop_oneof![2 => Just([1, 0, 0, 0]), 3 => any, 1 => Just([4, 1, 0, 0])]
}

pub fn scheduler_config() -> impl Strategy<Value = SchedulerConfig> {
    let class = (0..3u32, prop_oneof![2 => Just(u32::MAX), 1 => 1..3u32]);
    let (classes, table) = (prop_oneof![8 => 1..4u8, 1 => Just(8u8)], prop::array::uniform8(class));
    let counts = (1..5u32, 0..8u32, 1..4u32, 0..4u32);
    (counts, classes, table, sizes(), deadlines()).prop_map(|(counts, classes, table, sizes, (park_ns, lease_ns))| {
        let (buffers, waiters_max, class_burst, tenants_max) = counts;
        let new = SchedulerConfig::new(buffers, waiters_max);
        let mut config = SchedulerConfig { classes, class_burst, sizes, tenants_max, park_ns, lease_ns, ..new };
        for (class, (reserve, cap)) in table.into_iter().take(classes.into()).enumerate() {
            config.reserves[class] = reserve.min(buffers - 1);
            config.class_caps[class] = cap;
        }
        config
    })
}

/// Few receivers, in little memory, so that shortage is common.
pub fn pool_config() -> impl Strategy<Value = PoolConfig> {
    let buffer_bytes = prop_oneof![3 => Just(128), 1 => Just(192), 4 => Just(256), 2 => Just(576), 1 => Just(2_112)];
    let ns = || prop_oneof![1 => Just(8 * MS), 4 => Just(80 * MS)];
    let class = (0..4u32, prop_oneof![3 => Just(u32::MAX), 1 => 1..8u32]);
    let (classes, table) = (prop_oneof![8 => 1..4u8, 1 => Just(8u8)], prop::array::uniform8(class));
    let in_flight_max = prop_oneof![2 => Just(0), 1 => 1..4u32];
    let lease_ns =
        prop_oneof![1 => Just(None), 2 => (1..40u64).prop_map(|ms| Some(ms * MS)), 1 => (1..20u64).prop_map(Some)];
    let requests = (in_flight_max, 0..4u32, 1..4u32, prop_oneof![2 => Just(0), 1 => 1..4u32], classes, table, lease_ns);
    (buffer_bytes, 8..12u64, 1..8u32, (ns(), ns(), any::<bool>()), requests, policy()).prop_map(
        |(buffer_bytes, buffers, receivers_max, (frame_grace_ns, blocked_ns, wipe), requests, policy)| {
            let (in_flight_max, waiters_max, class_burst, tenants_max, classes, table, lease_ns) = requests;
            let counting = policy.counting && policy.mode != Mode::Optimistic;
            let reads_ahead = policy.reads_ahead && !counting;
            let policy = Policy { park_bytes: 0, reclaim_bytes: 0, counting, reads_ahead, ..policy };
            let memory_bytes = buffers * u64::from(buffer_bytes) + 63;
            let mut config = PoolConfig {
                buffer_bytes,
                frame_grace_ns,
                blocked_ns,
                lease_ns,
                in_flight_max,
                wipe,
                waiters_max,
                classes,
                class_burst,
                tenants_max,
                policy,
                ..PoolConfig::new(memory_bytes, receivers_max)
            };
            for (class, (reserve, cap)) in table.into_iter().enumerate() {
                (config.reserves[class], config.class_caps[class]) = (reserve, cap);
            }
            allow_requests(&mut config);
            config
        },
    )
}
