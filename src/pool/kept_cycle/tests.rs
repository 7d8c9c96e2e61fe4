//! Steps against rounds: each event by both, of two pools that are made alike.

use super::*;
use crate::connection::{Connection, Event, Mode, Policy};
use crate::memory::poison;
use crate::pool::twins::{TwinLeases, rounds};
use crate::pool::{AttachOptions, Budget, GrantStep, Notice, PoolConfig, PoolError, ReceiverId};
use crate::scheduler::{TenantConfig, TenantId};
#[cfg(all(feature = "std", not(loom)))]
use crate::shared::{PoolShard, SharedPool};
use alloc::vec::Vec;

const RECEIVERS: u32 = 8;
const BUFFER_BYTES: u32 = 1_024;

/// Two pools with the same receivers: one takes each step that there is, the other none.
struct Twins<S: BufferSource> {
    fast: Pool<S>,
    slow: Pool<S>,
    ids: Vec<ReceiverId>,
    leases: TwinLeases,
    /// One that the first receivers belong to, in both.
    tenant: Option<[TenantId; 2]>,
    now_ns: u64,
    is_scarce: bool,
    /// How often a step applied, by what it was about.
    taken: [u32; WAYS],
}

const BEHIND: usize = 0;
const WHOLE: usize = 1;
const UNBLOCKED: usize = 2;
const REPORTED: usize = 3;
const BLOCKED: usize = 4;
const ON_PATH: usize = 5;
/// In a buffer of its own.
const OWN: usize = 6;
/// Where memory is short.
const FIRST: usize = 7;
const LIMITED: usize = 8;
const CLAIMED: usize = 9;
const STOPPED: usize = 10;
const GRANTED: usize = 11;
const KEPT_GRANTED: usize = 12;
const WAYS: usize = 13;

/// What two pools have in common.
#[derive(Clone, Copy, Debug)]
struct Game {
    policy: Policy,
    tenants_max: u32,
    /// Memory is short most of the time.
    is_scarce: bool,
}

impl Game {
    fn config(self) -> PoolConfig {
        let Game { policy, tenants_max, is_scarce } = self;
        let memory_bytes = if is_scarce { 10 } else { 20 } * u64::from(BUFFER_BYTES);
        PoolConfig { buffer_bytes: BUFFER_BYTES, policy, tenants_max, ..PoolConfig::new(memory_bytes, RECEIVERS) }
    }
}

impl<S: BufferSource> Twins<S> {
    fn new(fast: Pool<S>, slow: Pool<S>, is_scarce: bool) -> Twins<S> {
        let (ids, leases, tenant) = (Vec::new(), TwinLeases::default(), None);
        let mut twins = Twins { fast, slow, ids, leases, tenant, now_ns: 0, is_scarce, taken: [0; WAYS] };
        if twins.fast.memory.has_caps() {
            let share = TenantConfig { weight: 1, guaranteed: 0, cap: 2 };
            let pools = [&mut twins.fast, &mut twins.slow];
            twins.tenant = Some(pools.map(|pool| pool.create_tenant(&share).expect("there is room")));
        }
        twins.ids = (0..RECEIVERS).map(|token| twins.attach(token)).collect();
        twins
    }

    fn attach(&mut self, token: u32) -> ReceiverId {
        let options = AttachOptions { unknown_length: token == 7, ..AttachOptions::new(0, token.into()) };
        let [id, other] = [&mut self.fast, &mut self.slow].map(|pool| pool.attach(&options).expect("there is room"));
        assert_eq!(id, other);
        if let Some([fast, slow]) = self.tenant.filter(|_| token < 4) {
            assert_eq!((self.fast.set_tenant(id, Some(fast)), self.slow.set_tenant(id, Some(slow))), (Ok(()), Ok(())));
        }
        id
    }

    fn connection(&self, index: u32) -> &Connection {
        self.slow.table.connection(index)
    }

    /// What is likely to come next for a receiver, or anything.
    fn draw(&self, random: &mut fastrand::Rng, index: u32) -> Event {
        let (pending, connection) = (self.slow.pending_at(index), self.connection(index));
        let buffered_bytes = connection.buffered_bytes();
        let sizes = [1, 4, 60, 64, 65, 200, 256, 300, 511, 1_023, 1_024];
        let size = sizes[random.usize(..sizes.len())].min(random.u32(1..=BUFFER_BYTES));
        if self.fast.kept_cycle.is_of(index) && self.granted().is_some() && random.u8(0..8) > 0 {
            return match () {
                () if pending.has(Action::WantRecv) && random.bool() => Event::done(Action::WantRecv),
                () if pending.has(Action::Recv) => Event::Received { bytes: connection.needed_bytes() },
                () if random.bool() => Event::Block { reasons: 1 },
                () => Event::NeedMore { bytes: size },
            };
        }
        match random.u8(0..32) {
            0 => Event::Readable,
            1 => Event::WouldBlock,
            2 => Event::Wake,
            3 => Event::Yield,
            4 => Event::SetBlocked { reasons: random.u32(0..2) },
            5 => Event::Received { bytes: size },
            6 => Event::Consumed { bytes: random.u32(0..=buffered_bytes + 1) },
            7 => Event::NeedMore { bytes: size },
            8 => Event::PauseRecv,
            9 => Event::done([Action::StopRecv, Action::WantRecv, Action::Reschedule][random.usize(..3)]),
            10 => Event::Block { reasons: random.u32(0..4) },
            11 => Event::Unblock { reasons: random.u32(0..4) },
            _ if connection.is_paused() => Event::ResumeRecv,
            _ if pending.has(Action::StopRecv) => Event::done(Action::StopRecv),
            _ if pending.has(Action::Reschedule) => Event::done(Action::Reschedule),
            12..18 if pending.has(Action::Decode) => Event::Consumed { bytes: buffered_bytes },
            18..22 if pending.has(Action::Decode) => Event::Block { reasons: random.u32(1..4) },
            22..28 if self.is_scarce && pending.has(Action::Decode) => Event::NeedMore { bytes: size },
            _ if pending.has(Action::Decode) => Event::NeedMore { bytes: random.u32(1..100).min(size) },
            12..16 if pending.has(Action::Recv) => Event::Received { bytes: size },
            16..18 if pending.has(Action::Recv) => {
                Event::Received { bytes: random.u32(BUFFER_BYTES / 2..BUFFER_BYTES) }
            }
            16..26 if self.is_scarce && pending.has(Action::Recv) && connection.needed_bytes() > 0 => {
                Event::Received { bytes: connection.needed_bytes() }
            }
            _ if self.is_scarce && pending.has(Action::Recv) => Event::Received { bytes: size.min(64) },
            _ if pending.has(Action::Recv) => Event::Received { bytes: size.min(connection.needed_bytes().max(4)) },
            _ if pending.has(Action::WantRecv) => Event::done(Action::WantRecv),
            _ if connection.blocked() != 0 => Event::Unblock { reasons: 3 },
            _ => Event::Readable,
        }
    }

    /// Both pools learn the same; bytes are received where they belong.
    fn report(&mut self, random: &mut fastrand::Rng, at: usize) {
        let id = self.ids[at];
        let index = self.fast.table.find(id).expect("it is attached");
        if self.slow.pending_at(index).has(Action::Shed) {
            assert_eq!(self.fast.handle(id, Event::Close), self.slow.handle(id, Event::Close));
            self.ids[at] = self.attach(at as u32);
            return;
        }
        self.fill(random.u8(..), id);
        if random.u8(0..4) == 0 {
            self.change_content(random.u8(..), id);
        }
        let event = self.draw(random, index);
        let was_granted = self.granted() == Some(at);
        let was_open = self.fast.kept_cycle.is_of(index) || self.fast.has_open_cycle(index);
        match event {
            Event::NeedMore { bytes } if random.u8(0..4) > 0 => {
                let consumed_bytes = random.u32(0..=self.connection(index).buffered_bytes());
                let by_steps = self.fast.decoded_usable(id, consumed_bytes, bytes, 7);
                assert_eq!(by_steps, self.slow.consume_slowly(index, consumed_bytes, bytes, 7), "{event:?}");
            }
            Event::Received { bytes } if random.u8(0..10) == 0 => {
                let by_steps = self.fast.received_and_decoded(id, bytes);
                assert_eq!(by_steps, self.slow.receive_and_decode_row(index, bytes), "{bytes}");
            }
            event => {
                let by_steps = self.step_or_handle(random, id, index, event);
                assert_eq!(by_steps, self.slow.handle_slowly(index, event), "{event:?}");
            }
        }
        let way = match (event, was_open, self.fast.kept_cycle.is_open()) {
            (Event::Readable, _, true) => BEHIND,
            (Event::Received { .. }, _, true) => WHOLE,
            (Event::Unblock { .. }, _, true) => UNBLOCKED,
            (Event::Block { .. } | Event::NeedMore { .. }, true, false) if was_granted => KEPT_GRANTED,
            (Event::Consumed { .. } | Event::NeedMore { .. }, true, false) => REPORTED,
            (Event::Block { .. }, true, false) => BLOCKED,
            _ => return,
        };
        self.taken[way] += 1;
    }

    /// A step has the place of the content, as it is for C, which tries the narrow path before the wide one.
    fn step_or_handle(
        &mut self,
        random: &mut fastrand::Rng,
        id: ReceiverId,
        index: u32,
        event: Event,
    ) -> Result<Actions, PoolError> {
        let narrow = if random.bool() { self.fast.kept_path::<false>().step(id, event) } else { None };
        let Some(step) = narrow.or_else(|| self.fast.kept_path::<true>().step(id, event)) else {
            return self.fast.handle(id, event);
        };
        self.taken[ON_PATH] += 1;
        assert_eq!((step.data, step.bytes()), self.fast.place(index, step.actions()), "{event:?}");
        let cycle = &self.fast.kept_cycle;
        let is_waiting = self.fast.table.connection(index).is_waiting();
        let way = match event {
            Event::Readable if is_waiting => CLAIMED,
            Event::Readable if cycle.is_scarce && cycle.kept_bytes == 0 => FIRST,
            Event::Readable if cycle.is_scarce => LIMITED,
            Event::Done(_) if is_waiting => STOPPED,
            Event::Readable | Event::Unblock { .. } if cycle.is_whole => OWN,
            _ => return Ok(step.actions()),
        };
        self.taken[way] += 1;
        Ok(step.actions())
    }

    /// Notices are polled. Most receivers are served before the next one.
    fn poll(&mut self, random: &mut fastrand::Rng) {
        loop {
            let notice = if self.fast.nothing_to_poll() { None } else { self.poll_once() };
            assert_eq!(notice, self.slow.poll_lease_or_receiver());
            if notice.is_none() || (self.granted().is_some() && random.u8(0..4) > 0) {
                break;
            }
        }
    }

    fn poll_once(&mut self) -> Option<Notice> {
        let Some(GrantStep { id, token, step }) = self.fast.kept_path::<true>().poll() else {
            return self.fast.poll_notice();
        };
        self.taken[GRANTED] += 1;
        let index = self.fast.table.find(id).expect("it is attached");
        assert_eq!((step.data, step.bytes()), self.fast.place(index, step.actions()));
        Some(Notice::Receiver { id, token, actions: step.actions() })
    }

    /// A decoder writes to what it is to decode.
    fn change_content(&mut self, byte: u8, id: ReceiverId) {
        for pool in [&mut self.fast, &mut self.slow] {
            if pool.pending(id).is_ok_and(|actions| actions.has(Action::Decode)) {
                pool.data_mut(id).expect("it is attached").fill(byte);
            }
        }
    }

    /// Writes to where the next receive goes.
    fn fill(&mut self, byte: u8, id: ReceiverId) {
        let areas = [&mut self.fast, &mut self.slow].map(|pool| pool.receive_area(id).expect("it is attached"));
        assert_eq!(areas[0].len(), areas[1].len());
        areas.into_iter().for_each(|area| area.fill(byte));
    }

    /// Memory becomes short, or is not any more; time passes; notices are polled.
    fn change(&mut self, random: &mut fastrand::Rng) {
        match random.u8(0..40) {
            0..2 => {
                self.leases.take([&mut self.fast, &mut self.slow]);
            }
            2..6 if !self.leases.are_none() => self.leases.release(random, [&mut self.fast, &mut self.slow]),
            6 => {
                self.now_ns += random.u64(0..400_000_000);
                self.fast.handle_timeout(self.now_ns);
                self.slow.handle_timeout(self.now_ns);
            }
            7 => self.poll(random),
            8..12 if self.is_scarce => while self.leases.take([&mut self.fast, &mut self.slow]) {},
            12..20 if self.is_scarce => self.poll(random),
            _ => {}
        }
    }

    /// Whatever a host can see of the two is the same.
    fn assert_same(&self) {
        let (fast, slow) = (&self.fast, &self.slow);
        assert_eq!((fast.check_invariants(), slow.check_invariants()), (Ok(()), Ok(())));
        assert_eq!((fast.counts(), fast.totals(), fast.stats()), (slow.counts(), slow.totals(), slow.stats()));
        assert_eq!(fast.poll_timeout(), slow.poll_timeout());
        for &id in &self.ids {
            assert_eq!((fast.describe(id), fast.data(id)), (slow.describe(id), slow.data(id)));
            let index = fast.table.find(id).expect("it is attached");
            let pending = fast.pending_at(index);
            let bytes = |pool: &Pool<S>| pool.place(index, pending).1;
            assert_eq!(bytes(fast), bytes(slow));
            let credit = |pool: &Pool<S>| pool.memory.facts(index).map(|facts| facts.credit_bytes);
            assert_eq!(credit(fast), credit(slow));
            let cell = |pool: &Pool<S>| pool.memory.facts(index).map(|facts| (facts.cell_bytes, facts.start_ns));
            if !fast.kept_cycle.is_of(index) && !fast.has_open_cycle(index) {
                assert_eq!(cell(fast), cell(slow));
            }
        }
    }

    /// The receiver whose cycle is open since it was granted what it claimed.
    fn granted(&self) -> Option<usize> {
        let cycle = self.fast.kept_cycle;
        let is_granted = cycle.is_open() && cycle.purpose == Purpose::Grant;
        is_granted.then(|| self.ids.iter().position(|&id| self.fast.table.row(id) == cycle.index))?
    }

    fn play(&mut self, random: &mut fastrand::Rng) {
        let mut at = 0;
        for _ in 0..400 {
            // Most receives are decoded before another receiver has its turn.
            let is_busy = !self.slow.pending(self.ids[at]).expect("it is attached").is_empty();
            if random.u8(0..if is_busy { 20 } else { 3 }) == 0 {
                at = random.usize(..self.ids.len());
            }
            let granted = self.granted().filter(|_| random.u8(0..8) > 0);
            at = granted.unwrap_or(at);
            self.report(random, at);
            if granted.is_none() {
                self.change(random);
            }
            self.assert_same();
        }
    }
}

fn compare<S: BufferSource, R>(make: impl Fn(&PoolConfig) -> (Pool<S>, R)) {
    let mut random = fastrand::Rng::with_seed(1);
    let mut taken_in_all = [0; WAYS];
    for mode in [Mode::Level, Mode::OneShot, Mode::Edge, Mode::Optimistic] {
        let plain = Policy { mode, ..Policy::default() };
        let blocks = Policy { pause_when_blocked: true, reads_per_wake: 1, resume_free_bytes: 300, ..plain };
        let reads_ahead = Policy { reads_ahead: true, ..plain };
        for (policy, tenants_max, is_scarce) in [
            (plain, 0, false),
            (plain, 0, true),
            (blocks, 0, false),
            (blocks, 0, true),
            (reads_ahead, 0, false),
            (plain, 2, false),
        ] {
            let game = Game { policy, tenants_max, is_scarce };
            let has_steps = matches!(mode, Mode::Level | Mode::OneShot) && !policy.reads_ahead;
            if is_scarce && !has_steps {
                continue;
            }
            let mut taken = [0; WAYS];
            for _ in 0..if is_scarce { 2 * rounds(10) } else { rounds(10) } {
                let [(fast, _one), (slow, _other)] = [(); 2].map(|()| make(&game.config()));
                let mut twins = Twins::new(fast, slow, is_scarce);
                twins.play(&mut random);
                (0..WAYS).for_each(|way| taken[way] += twins.taken[way]);
            }
            // Where there are tenants, each step is the pool's.
            let is_on_path = has_steps && tenants_max == 0 && !poison::IS_ON;
            let ways = if is_on_path { ON_PATH + 1 } else { ON_PATH };
            assert!(!has_steps || is_scarce || taken[..ways].iter().all(|&taken| taken >= 5), "{game:?}: {taken:?}");
            (0..WAYS).for_each(|way| taken_in_all[way] += if is_on_path { taken[way] } else { 0 });
        }
    }
    assert!(poison::IS_ON || taken_in_all.iter().all(|&taken| taken >= 2), "{taken_in_all:?}");
}

#[test]
#[cfg_attr(miri, ignore)] // it takes minutes
fn steps_equal_the_rounds() {
    compare::<Budget, _>(|config| (Pool::new(config).expect("the configuration is allowed"), ()));
}

#[test]
#[cfg(all(feature = "std", not(loom)))]
#[cfg_attr(miri, ignore)] // it takes minutes
fn steps_of_a_shard_equal_the_rounds() {
    compare::<PoolShard, _>(|config| {
        // As few as there may be.
        let memory_bytes = config.memory_bytes.max(16 * u64::from(BUFFER_BYTES));
        let shared = SharedPool::new(&PoolConfig { memory_bytes, ..*config }, 2).expect("the configuration is allowed");
        (shared.shard(0).expect("it is free"), shared)
    });
}
