//! The fast path against the slow one: each event by both, of two pools that are made alike.

use super::*;
#[cfg(feature = "model-check")]
use crate::connection::EventError;
use crate::connection::{Mode, Policy};
use crate::pool::twins::rounds;
use crate::pool::{AttachOptions, Budget, PoolConfig, PoolError};
use crate::scheduler::{TenantConfig, TenantId};
use alloc::vec::Vec;
use core::ptr::NonNull;

const RECEIVERS: u32 = 6;
const MODES: [Mode; 5] = [Mode::Level, Mode::OneShot, Mode::Edge, Mode::Optimistic, Mode::Completion];

/// Two pools that are made alike, and their receivers.
struct Pair<S: BufferSource> {
    fast: Pool<S>,
    slow: Pool<S>,
    /// Some of the receivers are in this tenant.
    tenant: Option<TenantId>,
    ids: Vec<ReceiverId>,
    now_ns: u64,
    taken: [u32; WAYS],
}

/// Parts of the fast path.
const BEGUN: usize = 0;
const RECEIVED: usize = 1;
const DECODED: usize = 2;
const WENT_ON: usize = 3;
const DRY: usize = 4;
const ARMED: usize = 5;
const ENDED: usize = 6;
/// Events of a receiver that is idle before them.
const IDLE: usize = 7;
const CLOSED: usize = 8;
/// A receive of a cycle is submitted, has its outcome, and what it brought is decoded.
const SUBMITTED: usize = 9;
const LANDED: usize = 10;
const RELEASED: usize = 11;
const WAYS: usize = 12;

/// The slow path of `received_and_decoded`.
type Fused<S> = fn(&mut Pool<S>, ReceiverId, u32) -> Result<Actions, PoolError>;

fn config(policy: Policy, buffers: u64) -> PoolConfig {
    PoolConfig { buffer_bytes: 256, policy, ..PoolConfig::new(buffers * 256, RECEIVERS) }
}

fn own_pools(config: &PoolConfig) -> ([Pair<Budget>; 1], ()) {
    let pool = || Pool::new(config).expect("the configuration is allowed");
    ([Pair::new(pool(), pool(), config)], ())
}

/// A random event: one that the pending actions ask for, or any, also one that is refused.
fn draw<S: BufferSource>(random: &mut fastrand::Rng, pool: &Pool<S>, id: ReceiverId) -> Event {
    let connection = pool.connection(id).expect("it is attached");
    let buffered_bytes = connection.buffered_bytes();
    if connection.is_in_flight() && random.bool() {
        return [Event::Received { bytes: random.u32(1..100) }, Event::WouldBlock][random.usize(0..2)];
    }
    if connection.end().is_some() && random.u8(0..4) == 0 {
        return Event::Close;
    }
    if random.u8(0..8) > 0 {
        let actions = pool.pending(id).expect("it is attached");
        let submits = connection.policy().mode == Mode::Completion && random.u8(0..4) > 0;
        let whole_bytes = pool.recv_min(id).expect("it is attached");
        return match random.u8(0..4) {
            0 | 1 if whole_bytes > 0 => Event::Received { bytes: whole_bytes },
            0 | 1 if actions.has(Action::Peek) => Event::NeedMore { bytes: random.u32(1..100) },
            2 if actions.has(Action::Peek) => Event::WouldBlock,
            0 | 1 if actions.has(Action::Decode) => Event::Consumed { bytes: buffered_bytes },
            2 if actions.has(Action::Decode) => Event::NeedMore { bytes: random.u32(1..100) },
            0..3 if actions.has(Action::Recv) && submits => Event::done(Action::Recv),
            0..3 if actions.has(Action::Recv) => Event::Received { bytes: random.u32(1..100) },
            3 if actions.has(Action::Recv) && random.u8(0..3) == 0 => Event::EndOfStream,
            3 if actions.has(Action::Recv) => Event::WouldBlock,
            0 | 1 if actions.has(Action::StopRecv) => Event::done(Action::StopRecv),
            2 if actions.has(Action::End) => Event::done(Action::End),
            _ if actions.has(Action::WantRecv) => Event::done(Action::WantRecv),
            _ => Event::Readable,
        };
    }
    match random.u8(0..12) {
        6 => Event::KernelFull,
        7 if random.u8(0..20) == 0 => Event::PeerClosed,
        0 => Event::Received { bytes: [0, 1, 100, 256, 257][random.usize(0..5)] },
        1 => Event::Consumed { bytes: [0, buffered_bytes / 2, buffered_bytes + 1][random.usize(0..3)] },
        2 => {
            const ANY: [Action; 5] =
                [Action::WantRecv, Action::StopRecv, Action::Reschedule, Action::End, Action::Recv];
            Event::done(ANY[random.usize(0..ANY.len())])
        }
        3 => Event::Block { reasons: 1 },
        4 => Event::Unblock { reasons: 1 },
        8 => [Event::EndOfStream, Event::TransportError][random.usize(0..2)],
        9 => Event::PauseRecv,
        10 => Event::ResumeRecv,
        11 => Event::Close,
        _ => Event::WouldBlock,
    }
}

/// The event by the slow path alone.
fn handle_slowly<S: BufferSource>(pool: &mut Pool<S>, id: ReceiverId, event: Event) -> Result<Actions, PoolError> {
    let index = pool.table.find(id)?;
    pool.handle_slowly(index, event)
}

/// `attach` by the slow path alone.
fn attach_slowly<S: BufferSource>(pool: &mut Pool<S>, options: &AttachOptions) -> Result<ReceiverId, PoolError> {
    let index = pool.insert(options)?;
    pool.leave_fast_path();
    let policy = pool.table.connection(index).policy();
    pool.follow_policy(index, &policy);
    Ok(pool.begin_attached(index, 0))
}

/// The event by one of the calls that there are for it; `None` if what it returns is not where the pool has it.
fn handle<S: BufferSource>(
    pool: &mut Pool<S>,
    id: ReceiverId,
    event: Event,
    by_step: bool,
) -> Option<Result<Actions, PoolError>> {
    let step = match event {
        Event::Readable if by_step => pool.readable(id),
        Event::Received { bytes } if by_step => pool.received(id, bytes),
        event => return Some(pool.handle(id, event)),
    };
    let step = step.map(|step| (step.actions, step.data.as_ptr_range()));
    let Ok((actions, data)) = step else { return Some(step.map(|(actions, _)| actions)) };
    let expected = if actions.has(Action::Recv) {
        pool.receive_area(id).map(|area| area.as_ptr_range())
    } else {
        pool.data(id).map(<[u8]>::as_ptr_range)
    };
    let is_same = Ok(&data) == expected.as_ref() || data.is_empty();
    is_same.then_some(Ok(actions))
}

fn fused<S: BufferSource>(pool: &mut Pool<S>, id: ReceiverId, bytes: u32) -> Result<Actions, PoolError> {
    let index = pool.table.find(id)?;
    pool.receive_and_decode_row(index, bytes)
}

/// As `fused`, of pools that can be copied.
fn fused_as_halves(pool: &mut Pool, id: ReceiverId, bytes: u32) -> Result<Actions, PoolError> {
    #[cfg(feature = "model-check")]
    let halves = pool.clone();
    let fused = fused(pool, id, bytes);
    #[cfg(feature = "model-check")]
    compare_with_halves(halves, id, bytes, pool, fused);
    fused
}

/// It is as both halves, but that nothing is kept between them.
#[cfg(feature = "model-check")]
fn compare_with_halves(mut halves: Pool, id: ReceiverId, bytes: u32, pool: &Pool, fused: Result<Actions, PoolError>) {
    let index = pool.table.row(id);
    if !halves.table.connection(index).is_open() {
        // Nothing is decoded any more, also not what a receive in flight brings.
        assert_eq!(fused, Err(PoolError::Event(EventError::Closed)));
        return;
    }
    let received = handle_slowly(&mut halves, id, Event::Received { bytes });
    let Ok(actions) = received else {
        assert_eq!(fused, received);
        return;
    };
    // What there is no room for is shed, if the rest of its frame is not decoded at once.
    if actions.has(Action::Shed) {
        return;
    }
    // What would be kept between them may find no buffer to be decoded in.
    let buffered_bytes = halves.table.connection(index).buffered_bytes();
    let decoded = halves.consume_slowly(index, buffered_bytes, 0, 0);
    if decoded != Err(PoolError::NoBufferFree) {
        let seen = |pool: &Pool| (pool.counts(), pool.memory.facts(index));
        assert_eq!((fused, seen(pool)), (decoded, seen(&halves)), "{actions:?}");
    }
}

impl<S: BufferSource> Pair<S> {
    fn new(mut fast: Pool<S>, mut slow: Pool<S>, config: &PoolConfig) -> Pair<S> {
        let tenant = (config.tenants_max > 0).then(|| {
            let tenant_config = TenantConfig { cap: 1, ..TenantConfig::default() };
            let tenant = fast.create_tenant(&tenant_config).expect("there is room");
            assert_eq!(slow.create_tenant(&tenant_config), Ok(tenant));
            tenant
        });
        let mut pair = Pair { fast, slow, tenant, ids: Vec::new(), now_ns: 0, taken: [0; WAYS] };
        pair.ids = (0..RECEIVERS.into()).map(|token| pair.attach(token)).collect();
        pair
    }

    fn attach(&mut self, token: u64) -> ReceiverId {
        let unknown_length = token == 5 && !self.fast.policy.counting;
        let tenant = self.tenant.filter(|_| token % 2 == 1);
        let options = AttachOptions { unknown_length, tenant, ..AttachOptions::new(0, token) };
        let id = self.fast.attach(&options).expect("there is room");
        assert_eq!(attach_slowly(&mut self.slow, &options), Ok(id));
        id
    }

    /// One event of a receiver; a receiver that is closed is attached anew.
    fn play(&mut self, random: &mut fastrand::Rng, at: usize, fused: Fused<S>) {
        let Pair { fast, slow, .. } = self;
        let id = self.ids[at];
        let event = draw(random, slow, id);
        let index = slow.table.find(id).expect("it is attached");
        let was_open = fast.cycle.is_open();
        let was_idle = !was_open && fast.memory.is_idle(index);
        let connection = fast.table.connection(index);
        let (may_land, has_landed) = match event {
            Event::Received { bytes } => (!was_open && connection.may_land(bytes), false),
            Event::Consumed { bytes } => (false, !was_open && connection.has_landed(bytes)),
            _ => (false, false),
        };
        let decodes = slow.pending(id).is_ok_and(|actions| actions.has(Action::Decode));
        let result = match event {
            Event::NeedMore { bytes: needed_bytes } if decodes && random.bool() => {
                let consumed_bytes = random.u32(0..=slow.table.connection(index).buffered_bytes() + 1);
                let result = fast.decoded_usable(id, consumed_bytes, needed_bytes, 7);
                assert_eq!(result, slow.consume_slowly(index, consumed_bytes, needed_bytes, 7));
                result
            }
            Event::Received { bytes } if random.u8(0..4) == 0 => {
                let result = fast.received_and_decoded(id, bytes);
                assert_eq!(result, fused(slow, id, bytes), "{bytes}");
                result
            }
            event => {
                let result = handle(fast, id, event, random.bool()).expect("the place is right");
                assert_eq!(result, handle_slowly(slow, id, event), "{event:?}");
                result
            }
        };
        let way = match (event, fast.cycle.progress.phase) {
            (Event::Close, _) => (was_idle && result == Ok(Action::Finished.into())).then_some(CLOSED),
            (Event::EndOfStream | Event::TransportError, Phase::Ready) if was_open => Some(ENDED),
            (Event::EndOfStream | Event::PauseRecv | Event::ResumeRecv, _) if was_idle => Some(IDLE),
            (Event::Done(actions), _) if actions.has(Action::Recv) => (was_open && result.is_ok()).then_some(SUBMITTED),
            (Event::Received { .. }, _) if may_land => Some(LANDED),
            (Event::Consumed { .. }, Phase::Receiving) if has_landed => Some(RELEASED),
            (_, Phase::Closed) => None,
            (Event::Readable, _) => Some(BEGUN),
            (Event::Received { .. }, Phase::Decoding) => Some(RECEIVED),
            (Event::Received { .. } | Event::Consumed { .. }, Phase::Receiving) => Some(WENT_ON),
            (Event::Received { .. } | Event::Consumed { .. }, _) => Some(DECODED),
            (Event::WouldBlock | Event::WouldBlockArmed, _) => Some(DRY),
            (Event::Done(actions), _) if actions.has(Action::WantRecv) => Some(ARMED),
            _ => None,
        };
        way.into_iter().for_each(|way| self.taken[way] += 1);
        if result.is_ok_and(|actions| actions.has(Action::Finished)) {
            self.ids[at] = self.attach(at as u64);
        }
    }

    /// A receiver has another policy from now on.
    fn change_policy(&mut self, random: &mut fastrand::Rng, id: ReceiverId) {
        let (mode, reads_ahead) = (MODES[random.usize(0..MODES.len())], random.u8(0..8) == 0);
        let counting = random.u8(0..3) == 0;
        let policy = Policy { mode, reads_ahead, counting, reads_per_wake: random.u8(0..4), ..Policy::default() };
        assert_eq!(self.fast.set_policy(id, &policy), self.slow.set_policy(id, &policy), "{policy:?}");
    }

    /// An iteration of the host's loop ends.
    fn end_iteration(&mut self, random: &mut fastrand::Rng) {
        self.now_ns += random.u64(0..400_000_000);
        self.fast.handle_timeout(self.now_ns);
        self.slow.handle_timeout(self.now_ns);
        loop {
            let notice = self.fast.poll_notice();
            assert_eq!(notice, self.slow.poll_notice());
            if notice.is_none() {
                break;
            }
        }
        assert_eq!(self.fast.poll_timeout(), self.slow.poll_timeout());
        assert_eq!(self.fast.poll_wake(), self.slow.poll_wake());
    }

    /// Whatever a host can see of the two is the same.
    fn assert_same(&mut self) {
        let Pair { fast, slow, .. } = self;
        assert_eq!((fast.check_invariants(), slow.check_invariants()), (Ok(()), Ok(())));
        assert_eq!((fast.counts(), fast.totals()), (slow.counts(), slow.totals()));
        assert_eq!(fast.stats(), slow.stats());
        for &id in &self.ids {
            assert_eq!(fast.connection(id), slow.connection(id));
            assert_eq!((fast.describe(id), fast.pending(id)), (slow.describe(id), slow.pending(id)));
            assert_eq!(fast.data(id).map(<[u8]>::len), slow.data(id).map(<[u8]>::len));
            let index = fast.table.find(id).expect("it is attached");
            for pool in [&mut *fast, &mut *slow] {
                let place = |bytes: &[u8]| (!bytes.is_empty()).then_some((bytes.as_ptr(), bytes.len() as u32));
                let of = |area: Option<(NonNull<u8>, u32)>| area.map(|(at, bytes)| (at.as_ptr().cast_const(), bytes));
                assert_eq!(of(pool.area(index, false)), pool.data(id).map(place).expect("it is attached"));
                let area = of(pool.area(index, true));
                let is_receive = pool.pending(id).expect("it is attached").has(Action::Recv);
                if !pool.has_in_flight(index) {
                    assert_eq!(area, pool.receive_area(id).map(|area| place(area)).expect("it is attached"));
                }
                assert!(!is_receive || area.is_some());
            }
            let credit = |pool: &Pool<S>| pool.memory.facts(index).map(|facts| facts.credit_bytes);
            assert_eq!(credit(fast), credit(slow));
        }
    }
}

impl<S: BufferSource> Pool<S> {
    fn has_in_flight(&self, index: u32) -> bool {
        self.memory.has_in_flight(index)
    }
}

/// Plays random events, each by the fast path where it applies and by the slow one; returns how often each part of the
/// fast path applied.
fn compare<S: BufferSource, Rest, const N: usize>(
    random: &mut fastrand::Rng,
    changes_policies: bool,
    pools: impl Fn() -> ([Pair<S>; N], Rest),
    fused: Fused<S>,
) -> [u32; WAYS] {
    let mut taken = [0; WAYS];
    for _ in 0..rounds(20) {
        let (mut pairs, _rest) = pools();
        let mut at = 0;
        for _ in 0..400 {
            if random.u8(0..4) == 0 {
                at = random.usize(0..RECEIVERS as usize);
            }
            let pair = &mut pairs[random.usize(0..N)];
            pair.play(random, at, fused);
            if changes_policies && random.u8(0..10) == 0 {
                pair.change_policy(random, pair.ids[at]);
            }
            if random.u8(0..20) == 0 {
                pair.end_iteration(random);
            }
            pair.assert_same();
        }
        for pair in &pairs {
            taken.iter_mut().zip(pair.taken).for_each(|(taken, more)| *taken += more);
        }
    }
    taken
}

/// Whether each part of the fast path was taken that a policy allows.
fn assert_taken(policy: &Policy, taken: [u32; WAYS]) {
    let enough = |ways: &[usize]| ways.iter().all(|&way| taken[way] > 5);
    // An edge-triggered host looks for more after what it has decoded.
    let looks = policy.reads_ahead || matches!(policy.mode, Mode::Edge | Mode::Optimistic);
    let last = if looks { WENT_ON } else { DECODED };
    let arms = matches!(policy.mode, Mode::Level | Mode::Edge) || taken[ARMED] > 5;
    // The mark of one-shot read interest is part of the step, and few receives of completion mode are not submitted.
    let is_slow = (policy.counting && policy.mode == Mode::OneShot) || policy.mode == Mode::Completion;
    assert!((enough(&[BEGUN, RECEIVED, last, DRY, ENDED]) && arms) || is_slow, "{policy:?}: {taken:?}");
    assert!(enough(&[IDLE, CLOSED]), "{policy:?}: {taken:?}");
    let submits = policy.mode == Mode::Completion && !policy.counting;
    assert!(enough(&[SUBMITTED, LANDED, RELEASED]) || !submits, "{policy:?}: {taken:?}");
}

/// The policies of each mode.
fn policies() -> impl Iterator<Item = Policy> {
    MODES.into_iter().flat_map(|mode| {
        let policy = Policy { mode, ..Policy::default() };
        // An optimistic host cannot count.
        let counting = (mode != Mode::Optimistic).then_some(Policy { counting: true, ..policy });
        [policy, Policy { reads_ahead: true, ..policy }].into_iter().chain(counting)
    })
}

#[test]
#[cfg_attr(miri, ignore)] // it takes minutes
fn fast_path_equals_slow_path() {
    let mut random = fastrand::Rng::with_seed(1);
    for policy in policies() {
        let pools = || own_pools(&config(policy, 8));
        assert_taken(&policy, compare(&mut random, false, pools, fused_as_halves));
    }
}

#[test]
#[cfg_attr(miri, ignore)] // it takes minutes
fn fast_path_equals_slow_path_when_the_mode_changes() {
    let mut random = fastrand::Rng::with_seed(2);
    let pools = || own_pools(&config(Policy::default(), 8));
    let taken = compare(&mut random, true, pools, fused_as_halves);
    assert!(taken[..=CLOSED].iter().all(|&taken| taken > 5), "{taken:?}");
}

#[test]
#[cfg_attr(miri, ignore)] // it takes minutes
fn fast_path_equals_slow_path_where_tenants_have_caps() {
    let mut random = fastrand::Rng::with_seed(3);
    for changes_policies in [false, true] {
        let with_tenants = PoolConfig { tenants_max: 2, ..config(Policy::default(), 12) };
        let taken = compare(&mut random, changes_policies, || own_pools(&with_tenants), fused_as_halves);
        assert!([BEGUN, RECEIVED, DECODED, DRY, ENDED].iter().all(|&way| taken[way] > 5), "{taken:?}");
    }
}

/// What was still to be done for a receiver that is closed keeps no other from the fast path.
#[test]
fn closed_receiver_leaves_nothing_to_be_done() {
    for (is_slow, is_scheduled) in [(false, false), (false, true), (true, false), (true, true)] {
        let mut pool = Pool::new(&config(Policy::default(), 8)).expect("the configuration is allowed");
        let [id, other] = [0, 1].map(|token| pool.attach(&AttachOptions::new(0, token)).expect("there is room"));
        pool.handle(other, Event::done(Action::WantRecv)).expect("it is pending");
        if is_scheduled {
            pool.scheduled.set(pool.table.row(id), true); // As after `Reschedule` that no `Wake` followed.
        } else {
            pool.handle(id, Event::PauseRecv).expect("it is attached");
            assert_eq!(pool.deliver(id, b"abc").map(|delivery| delivery.accepted_bytes), Ok(0));
        }
        assert!(!pool.is_plentiful());
        let closed = if is_slow { handle_slowly(&mut pool, id, Event::Close) } else { pool.handle(id, Event::Close) };
        assert_eq!(closed, Ok(Action::Finished.into()));
        pool.handle(other, Event::Readable).expect("it is attached");
        assert!(pool.has_any_cycle(), "{is_slow} {is_scheduled}");
    }
}

/// Two shards of one pool against two of another.
#[test]
#[cfg(all(feature = "std", not(loom)))]
#[cfg_attr(miri, ignore)] // it takes minutes
fn fast_path_equals_slow_path_in_shards() {
    use crate::shared::{PoolShard, SharedPool};
    let mut random = fastrand::Rng::with_seed(4);
    let pools = |policy: Policy| -> ([Pair<PoolShard>; 2], [SharedPool; 2]) {
        let config = config(policy, 20);
        let [fast, slow] = [0; 2].map(|_| SharedPool::new(&config, 2).expect("the configuration is allowed"));
        let shard = |pool: &SharedPool, at| pool.shard(at).expect("it is free");
        ([0, 1].map(|at| Pair::new(shard(&fast, at), shard(&slow, at), &config)), [fast, slow])
    };
    for policy in policies() {
        assert_taken(&policy, compare(&mut random, false, || pools(policy), fused));
    }
    let taken = compare(&mut random, true, || pools(Policy::default()), fused);
    assert!(taken[..=CLOSED].iter().all(|&taken| taken > 0), "{taken:?}");
}
