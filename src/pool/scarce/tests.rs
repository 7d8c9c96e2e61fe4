//! Steps against rounds: each event by both, of two pools that are made alike, mostly while memory is short.

use super::*;
use crate::connection::{Mode, Policy};
use crate::pool::twins::{TwinLeases, rounds};
use crate::pool::{AttachOptions, Budget, Notice, PoolConfig, ReceiverId};
#[cfg(all(feature = "std", not(loom)))]
use crate::shared::{PoolShard, SharedPool};
use alloc::vec::Vec;

const RECEIVERS: u32 = 6;
const BUFFER_BYTES: u32 = 512;
/// Mostly those that have steps.
const MODES: [Mode; 5] = [Mode::Level, Mode::Level, Mode::OneShot, Mode::Optimistic, Mode::Completion];

struct Twins<S: BufferSource> {
    steps: Pool<S>,
    rounds: Pool<S>,
    ids: Vec<ReceiverId>,
    leases: TwinLeases,
    now_ns: u64,
    /// How often a step applied, by its event.
    taken: [u32; WAYS],
}

const LIMITED: usize = 0;
const CLAIMED: usize = 1;
const RECEIVED: usize = 2;
const BLOCKED: usize = 3;
const UNBLOCKED: usize = 4;
const PASSED: usize = 5;
const NEEDED: usize = 6;
const ARMED: usize = 7;
const GRANTED: usize = 8;
const WAYS: usize = 9;

impl<S: BufferSource> Twins<S> {
    fn attach(&mut self, token: u32) -> ReceiverId {
        let options = AttachOptions { unknown_length: token == 5, ..AttachOptions::new(0, token.into()) };
        let [id, other] = [&mut self.steps, &mut self.rounds].map(|pool| pool.attach(&options).expect("there is room"));
        assert_eq!(id, other);
        id
    }

    /// What is likely to come next for a receiver, or anything.
    fn draw(&self, random: &mut fastrand::Rng, index: u32) -> Event {
        let (pending, connection) = (self.rounds.pending_at(index), self.rounds.table.connection(index));
        let (buffered_bytes, needed_bytes) = (connection.buffered_bytes(), connection.needed_bytes());
        let size = [1, 4, 64, 65, 200, 256, 300, 512][random.usize(..8)];
        match random.u8(0..40) {
            0 => Event::Readable,
            1 => Event::WouldBlock,
            2 => [Event::Wake, Event::Yield, Event::PauseRecv][random.usize(..3)],
            3 => Event::SetBlocked { reasons: random.u32(0..2) },
            4 => Event::Received { bytes: size },
            5 => Event::Consumed { bytes: random.u32(0..=buffered_bytes + 1) },
            6 => Event::NeedMore { bytes: size },
            7 => Event::done([Action::StopRecv, Action::WantRecv, Action::Reschedule, Action::Recv][random.usize(..4)]),
            8 => Event::Block { reasons: random.u32(0..4) },
            9 => Event::Unblock { reasons: random.u32(0..4) },
            _ if connection.is_in_flight() => {
                [Event::Received { bytes: size.min(64) }, Event::WouldBlock][random.usize(..2)]
            }
            _ if connection.is_paused() => Event::ResumeRecv,
            _ if pending.has(Action::StopRecv) => Event::done(Action::StopRecv),
            10..30 if pending.has(Action::WantRecv) => Event::done(Action::WantRecv),
            _ if pending.has(Action::Reschedule) => Event::done(Action::Reschedule),
            10..20 if pending.has(Action::Decode) => Event::Consumed { bytes: buffered_bytes },
            20..25 if pending.has(Action::Decode) => Event::Block { reasons: random.u32(1..4) },
            _ if pending.has(Action::Decode) => Event::NeedMore { bytes: size },
            10..30 if pending.has(Action::Recv) && needed_bytes > 0 => Event::Received { bytes: needed_bytes },
            _ if pending.has(Action::Recv) => Event::Received { bytes: size.min(64) },
            _ if connection.blocked() != 0 => Event::Unblock { reasons: 3 },
            _ => Event::Readable,
        }
    }

    /// Both pools learn the same; bytes are received where they belong.
    fn report(&mut self, random: &mut fastrand::Rng, at: usize) {
        let id = self.ids[at];
        let index = self.rounds.table.find(id).expect("it is attached");
        let is_in_flight = self.rounds.table.connection(index).is_in_flight();
        if self.rounds.pending_at(index).has(Action::Shed) && !is_in_flight && random.u8(..4) > 0 {
            assert_eq!(self.steps.handle(id, Event::Close), self.rounds.handle(id, Event::Close));
            self.ids[at] = self.attach(at as u32);
            return;
        }
        let byte = random.u8(..);
        for pool in [&mut self.steps, &mut self.rounds] {
            pool.receive_area(id).expect("it is attached").fill(byte);
        }
        let event = self.draw(random, index);
        let claims = self.steps.totals().claims;
        let (by_step, by_rounds) = match event {
            Event::NeedMore { bytes } if random.bool() => {
                let consumed_bytes = random.u32(0..=self.rounds.table.connection(index).buffered_bytes());
                let by_step = self.steps.try_report_listed(index, consumed_bytes, bytes, 7).map(Ok);
                let by_step = by_step.unwrap_or_else(|| self.steps.consume_slowly(index, consumed_bytes, bytes, 7));
                (by_step, self.rounds.consume_slowly(index, consumed_bytes, bytes, 7))
            }
            event => {
                let by_step = self.steps.try_scarce_step(index, event);
                if by_step.is_some() {
                    self.taken[way(event, self.steps.totals().claims > claims)] += 1;
                }
                let by_step = by_step.map(Ok).unwrap_or_else(|| self.steps.handle_slowly(index, event));
                (by_step, self.rounds.handle_slowly(index, event))
            }
        };
        assert_eq!(by_step, by_rounds, "{event:?}");
    }

    /// What is granted leaves nothing to be done by rounds.
    fn poll(&mut self) {
        loop {
            let grants = self.steps.totals().grants;
            let notice = self.steps.poll_notice();
            assert_eq!(notice, self.rounds.poll_lease_or_receiver());
            // Steps of these kinds begin with what is written down.
            self.steps.leave_fast_path();
            let Some(Notice::Receiver { id, actions, .. }) = notice else { return };
            self.taken[GRANTED] += (self.steps.totals().grants - grants) as u32;
            let index = self.rounds.table.find(id).expect("it is attached");
            let before = self.rounds.table.connection(index).clone();
            assert_eq!((self.rounds.reconcile(index), self.rounds.table.connection(index)), (actions, &before));
        }
    }

    /// Memory becomes short, or is not any more; time passes; notices are polled.
    fn change(&mut self, random: &mut fastrand::Rng) {
        match random.u8(0..30) {
            0 => while self.leases.take([&mut self.steps, &mut self.rounds]) {},
            1..4 if !self.leases.are_none() => self.leases.release(random, [&mut self.steps, &mut self.rounds]),
            4..7 => {
                self.now_ns += random.u64(0..400_000_000);
                self.steps.handle_timeout(self.now_ns);
                self.rounds.handle_timeout(self.now_ns);
            }
            7..13 => self.poll(),
            13 => self.change_policy(random),
            _ => {}
        }
    }

    /// One receiver has another mode: so there are guesses and receives in flight in modes that have none.
    fn change_policy(&mut self, random: &mut fastrand::Rng) {
        let policy = Policy { mode: MODES[random.usize(..MODES.len())], ..Policy::default() };
        let id = self.ids[random.usize(..self.ids.len())];
        assert_eq!(self.steps.set_policy(id, &policy), self.rounds.set_policy(id, &policy));
    }

    /// Whatever a host can see of the two is the same.
    fn assert_same(&self) {
        let (steps, rounds) = (&self.steps, &self.rounds);
        assert_eq!((steps.check_invariants(), rounds.check_invariants()), (Ok(()), Ok(())));
        assert_eq!((steps.totals(), steps.stats()), (rounds.totals(), rounds.stats()));
        assert_eq!(steps.poll_timeout(), rounds.poll_timeout());
        for &id in &self.ids {
            assert_eq!((steps.describe(id), steps.data(id)), (rounds.describe(id), rounds.data(id)));
            let index = steps.table.find(id).expect("it is attached");
            assert_eq!(steps.pending_at(index), rounds.pending_at(index));
            assert_eq!(steps.table.connection(index), rounds.table.connection(index));
            assert_eq!(steps.memory.facts(index), rounds.memory.facts(index));
            assert_eq!(steps.memory.borrowed(index), rounds.memory.borrowed(index));
        }
    }
}

/// The way of a step.
fn way(event: Event, is_claimed: bool) -> usize {
    match event {
        Event::Readable if is_claimed => CLAIMED,
        Event::Readable => LIMITED,
        Event::Received { .. } => RECEIVED,
        Event::Block { .. } => BLOCKED,
        Event::Unblock { .. } => UNBLOCKED,
        Event::Consumed { .. } => PASSED,
        Event::NeedMore { .. } => NEEDED,
        _ => ARMED,
    }
}

fn compare<S: BufferSource, R>(make: impl Fn(&PoolConfig) -> (Pool<S>, R)) {
    let mut random = fastrand::Rng::with_seed(1);
    for mode in [Mode::Level, Mode::OneShot, Mode::Edge] {
        let plain = Policy { mode, ..Policy::default() };
        let blocks = Policy { pause_when_blocked: true, reads_per_wake: 1, resume_free_bytes: 300, ..plain };
        let reads_ahead = Policy { reads_ahead: true, ..plain };
        for policy in [plain, blocks, reads_ahead] {
            let mut taken = [0; WAYS];
            for _ in 0..rounds(20) {
                let memory_bytes = 10 * u64::from(BUFFER_BYTES);
                let config =
                    PoolConfig { buffer_bytes: BUFFER_BYTES, policy, ..PoolConfig::new(memory_bytes, RECEIVERS) };
                let [(steps, _one), (rounds, _other)] = [(); 2].map(|()| make(&config));
                let (ids, leases) = (Vec::new(), TwinLeases::default());
                let mut twins = Twins { steps, rounds, ids, leases, now_ns: 0, taken };
                twins.ids = (0..RECEIVERS).map(|token| twins.attach(token)).collect();
                for _ in 0..400 {
                    let at = random.usize(..twins.ids.len());
                    twins.report(&mut random, at);
                    twins.change(&mut random);
                    twins.assert_same();
                }
                taken = twins.taken;
            }
            let is_level = mode == Mode::Level && !policy.reads_ahead;
            assert!(!is_level || taken.iter().all(|&taken| taken >= 2), "{policy:?}: {taken:?}");
        }
    }
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
        let shared = SharedPool::new(&PoolConfig { memory_bytes: 2 * config.memory_bytes, ..*config }, 2)
            .expect("the configuration is allowed");
        (shared.shard(0).expect("it is free"), shared)
    });
}
