//! Cycles that begin or end with bytes that are kept, each event in one step: a partial frame is completed, or a
//! blocked decoder goes on. It is what the rounds of `reconcile` come to where nothing is scarce; where it does not
//! apply, nothing is changed and `None` is returned.
//!
//! The machine's part is done at once. That the receiver uses the receive buffer is written down only if the cycle is
//! left.

use super::open_cycle::Phase as CommonPhase;
use super::{BufferSource, Pool};
use crate::connection::{Action, Actions};
use crate::receiving::{After, Rest, Stance};
use core::ops::Range;

/// The cycle that is open, if one is, of a receiver whose bytes are in a cell: they are at the front of the receive
/// buffer, too.
#[derive(Clone, Copy, Debug)]
pub(super) struct KeptCycle {
    pub(super) phase: Phase,
    pub(super) index: u32,
    /// What was kept.
    pub(super) kept_bytes: u32,
    /// What was received behind it, and is not decoded yet.
    pub(super) received_bytes: u32,
    pub(super) buffer_bytes: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Closed,
    /// The receiver is to receive behind what it kept.
    Receiving,
    /// It is to decode both.
    Decoding,
    /// It is to decode what it kept: its decoder is blocked no more.
    Unblocked,
}

impl KeptCycle {
    pub(super) const NONE: KeptCycle =
        KeptCycle { phase: Phase::Closed, index: 0, kept_bytes: 0, received_bytes: 0, buffer_bytes: 0 };

    /// Whether one is open.
    #[inline(always)]
    pub(super) fn is_open(&self) -> bool {
        self.phase != Phase::Closed
    }

    /// Whether that of the receiver in this row is open.
    #[inline(always)]
    pub(super) fn is_of(&self, index: u32) -> bool {
        self.is_open() && self.index == index
    }

    /// How far the cycle of the receiver in this row is, for model checkers.
    #[cfg(feature = "model-check")]
    pub(super) fn key(&self, index: u32) -> u64 {
        if self.is_of(index) { self.phase as u64 } else { 0 }
    }

    /// How its receiver stands.
    pub(super) fn stance(&self) -> Stance {
        if self.phase == Phase::Receiving { Stance::MayReceive } else { Stance::Unreported }
    }

    /// What is undecoded.
    pub(super) fn buffered_bytes(&self) -> u32 {
        self.kept_bytes + self.received_bytes
    }

    /// What of the receive buffer is to be received into.
    pub(super) fn room(&self) -> Range<usize> {
        let start = self.kept_bytes as usize;
        if self.phase == Phase::Receiving { start..self.buffer_bytes as usize } else { start..start }
    }

    /// Where to receive (`is_receive`), or what is undecoded, in the receive buffer: where it begins, and how many
    /// bytes.
    pub(super) fn place(&self, is_receive: bool) -> (usize, u32) {
        let room = self.room();
        if is_receive { (room.start, room.len() as u32) } else { (0, self.buffered_bytes()) }
    }
}

impl<S: BufferSource> Pool<S> {
    /// One that keeps bytes, of which its decoder needs more, is readable.
    pub(super) fn try_receive_behind_kept(&mut self, index: u32) -> Option<Actions> {
        let buffer_bytes = self.cycle.buffer_bytes;
        let kept = self.memory.kept_in_cell(index, false)?;
        let mut receiving = self.table.connection(index).clone();
        if !receiving.try_receive_behind_kept(buffer_bytes) || !self.makes_ready() {
            return None;
        }
        *self.table.connection_mut(index) = receiving;
        let kept_bytes = self.memory.lend_with_kept(kept);
        self.open_kept_cycle(KeptCycle { phase: Phase::Receiving, index, kept_bytes, received_bytes: 0, buffer_bytes });
        self.memory.lend_receive_buffer(buffer_bytes);
        Some(Action::Recv.into())
    }

    /// It has received, and there is room left.
    pub(super) fn try_received_behind_kept(&mut self, index: u32, bytes: u32) -> Option<Actions> {
        let KeptCycle { phase, kept_bytes, .. } = self.kept_cycle;
        let room = self.cycle.buffer_bytes - kept_bytes;
        if phase != Phase::Receiving || self.kept_cycle.index != index || bytes == 0 || bytes >= room {
            return None;
        }
        let connection = self.table.connection_mut(index);
        let pending = connection.receive_behind_kept(bytes);
        let needed_bytes = connection.needed_bytes();
        self.kept_cycle.phase = Phase::Decoding;
        self.kept_cycle.received_bytes = bytes;
        if needed_bytes > 0 {
            return self.try_report(index, 0, needed_bytes, 0);
        }
        self.memory.lend_receive_buffer(kept_bytes + bytes);
        Some(pending)
    }

    /// The decoder is blocked no more: what it left is in a cell.
    pub(super) fn try_decode_kept(&mut self, index: u32, reasons: u32) -> Option<Actions> {
        let buffer_bytes = self.cycle.buffer_bytes;
        let kept = self.memory.kept_in_cell(index, true)?;
        let mut decoding = self.table.connection(index).clone();
        let actions = decoding.try_decode_kept(reasons)?;
        if !self.makes_ready() {
            return None;
        }
        *self.table.connection_mut(index) = decoding;
        let kept_bytes = self.memory.lend_with_kept(kept);
        self.open_kept_cycle(KeptCycle { phase: Phase::Unblocked, index, kept_bytes, received_bytes: 0, buffer_bytes });
        self.memory.lend_receive_buffer(kept_bytes);
        Some(actions)
    }

    /// The decoder has taken this number of bytes, and needs more if `needed_bytes` is not 0. Not where some are left
    /// that can be decoded.
    pub(super) fn try_report(
        &mut self,
        index: u32,
        consumed_bytes: u32,
        needed_bytes: u32,
        usable_bytes: u32,
    ) -> Option<Actions> {
        let (received_bytes, buffered_bytes) = self.decodable_bytes(index)?;
        let left_bytes = buffered_bytes.checked_sub(consumed_bytes)?;
        let (connection, buffer_bytes) = (self.table.connection_mut(index), self.cycle.buffer_bytes);
        let (pending, rest) = match (left_bytes, needed_bytes) {
            (0, 0) if self.kept_cycle.is_open() => (connection.end_kept_cycle(), Rest::Nothing),
            (1.., 1..) if needed_bytes <= buffer_bytes - left_bytes => {
                let pending = connection.keep_rest(buffer_bytes, left_bytes, needed_bytes);
                (pending, Rest::Short { needed_bytes, usable_bytes })
            }
            _ => return None,
        };
        Some(self.end_cycle_with(index, (received_bytes, consumed_bytes), rest, pending))
    }

    /// The decoder of a receiver that is to decode is blocked: what is there is kept.
    pub(super) fn try_keep_blocked(&mut self, index: u32, reasons: u32) -> Option<Actions> {
        let (received_bytes, buffered_bytes) = self.decodable_bytes(index).filter(|_| reasons != 0)?;
        let buffer_bytes = self.cycle.buffer_bytes;
        let actions = self.table.connection_mut(index).keep_blocked(buffer_bytes, buffered_bytes, reasons);
        Some(self.end_cycle_with(index, (received_bytes, 0), Rest::Held, actions))
    }

    /// Read interest that is not wanted is off, and nothing else is to be done for one that is blocked or waits.
    pub(super) fn try_stop(&mut self, index: u32) -> Option<Actions> {
        let connection = self.table.connection(index);
        let stays = match self.memory.stance(index) {
            Stance::Held => connection.blocked() != 0,
            Stance::Claiming => connection.is_waiting(),
            _ => false,
        };
        let pending = connection.pending();
        if !stays || connection.may_have_mark() || pending != Action::StopRecv.into() {
            return None;
        }
        let stopped = self.table.connection_mut(index).acknowledge(pending, pending);
        stopped.ok().map(|()| Actions::NONE)
    }

    /// What a receiver has received in the cycle that is open, and what it is to decode with what it kept; `None` if it
    /// is not to decode, or what it leaves is not kept at once.
    fn decodable_bytes(&self, index: u32) -> Option<(u32, u32)> {
        if self.kept_cycle.is_of(index) {
            let is_to_decode = self.kept_cycle.phase != Phase::Receiving;
            return is_to_decode.then_some((self.kept_cycle.received_bytes, self.kept_cycle.buffered_bytes()));
        }
        let goes_on = self.cycle.plan.decoded.actions().has(Action::Recv);
        if !self.has_open_cycle(index) || goes_on || self.table.connection(index).is_counting() {
            return None;
        }
        let received_bytes = self.cycle.buffered_bytes();
        (received_bytes > 0).then_some((received_bytes, received_bytes))
    }

    /// The cycle that is open ends with this report, which the machine has; these actions are pending then, unless the
    /// receiver is shed.
    fn end_cycle_with(
        &mut self,
        index: u32,
        (received_bytes, consumed_bytes): (u32, u32),
        rest: Rest,
        pending: Actions,
    ) -> Actions {
        self.cycle.progress.phase = CommonPhase::Closed;
        self.kept_cycle = KeptCycle::NONE;
        self.counts.received_bytes += u64::from(received_bytes);
        self.counts.consumed_bytes += u64::from(consumed_bytes);
        let taken = self.memory.buffers().taken();
        let after = self.memory.report_unlisted(index, received_bytes, consumed_bytes, rest);
        if after == After::Ended {
            self.reopen(taken);
            return pending;
        }
        self.follow(index, after);
        self.reconcile(index)
    }

    /// A cycle has ended that nothing was scarce for, when this number of buffers was taken: the next one begins
    /// without another look, if nothing is scarce now.
    fn reopen(&mut self, taken: u32) {
        let is_plenty = self.memory.buffers().taken() == taken || self.memory.would_lend_all();
        if is_plenty && !self.memory.has_caps() {
            self.cycle.buffer = self.memory.receive_buffer_address();
            self.cycle.progress.phase = CommonPhase::Ready;
        }
    }

    /// Whether a cycle may begin, of a receiver that asks for a buffer: as before any borrow, what that may take is made
    /// ready.
    fn makes_ready(&mut self) -> bool {
        if self.cycle.progress.phase == CommonPhase::Ready && !self.memory.has_caps() {
            return true;
        }
        if self.has_any_cycle() {
            return false;
        }
        self.memory.make_ready();
        if !self.is_plentiful() {
            return false;
        }
        self.cycle.buffer = self.memory.receive_buffer_address();
        self.cycle.plan.set_may_submit(self.memory.may_submit_more());
        true
    }

    fn open_kept_cycle(&mut self, cycle: KeptCycle) {
        self.cycle.progress.phase = CommonPhase::Closed;
        self.kept_cycle = cycle;
    }

    /// Writes down what the cycle stands for.
    pub(super) fn leave_kept_cycle(&mut self) {
        let KeptCycle { phase, index, received_bytes, .. } = core::mem::replace(&mut self.kept_cycle, KeptCycle::NONE);
        self.counts.received_bytes += u64::from(received_bytes);
        self.memory.list_with_kept(index, received_bytes, phase == Phase::Unblocked);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::{Connection, Event, Mode, Policy};
    use crate::memory::poison;
    use crate::pool::{AttachOptions, Budget, PoolConfig, PoolError, ReceiverId};
    use crate::scheduler::{LeaseId, Request, TenantConfig, TenantId};
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
        /// In both.
        leases: Vec<[LeaseId; 2]>,
        /// One that the first receivers belong to, in both.
        tenant: Option<[TenantId; 2]>,
        now_ns: u64,
        /// How often a step applied, by what it was about.
        taken: [u32; 6],
    }

    const BEHIND: usize = 0;
    const WHOLE: usize = 1;
    const UNBLOCKED: usize = 2;
    const REPORTED: usize = 3;
    const BLOCKED: usize = 4;
    const IN_CELLS: usize = 5;

    fn config(policy: Policy, tenants_max: u32) -> PoolConfig {
        let memory_bytes = 20 * u64::from(BUFFER_BYTES);
        PoolConfig { buffer_bytes: BUFFER_BYTES, policy, tenants_max, ..PoolConfig::new(memory_bytes, RECEIVERS) }
    }

    impl<S: BufferSource> Twins<S> {
        fn new(fast: Pool<S>, slow: Pool<S>) -> Twins<S> {
            let (ids, leases, tenant) = (Vec::new(), Vec::new(), None);
            let mut twins = Twins { fast, slow, ids, leases, tenant, now_ns: 0, taken: [0; 6] };
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
            let [id, other] =
                [&mut self.fast, &mut self.slow].map(|pool| pool.attach(&options).expect("there is room"));
            assert_eq!(id, other);
            if let Some([fast, slow]) = self.tenant.filter(|_| token < 4) {
                assert_eq!(
                    (self.fast.set_tenant(id, Some(fast)), self.slow.set_tenant(id, Some(slow))),
                    (Ok(()), Ok(()))
                );
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
                _ if pending.has(Action::Decode) => Event::NeedMore { bytes: random.u32(1..100).min(size) },
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
                    let by_steps = self.step_or_handle(id, index, event);
                    assert_eq!(by_steps, self.slow.handle_slowly(index, event), "{event:?}");
                }
            }
            let way = match (event, was_open, self.fast.kept_cycle.is_open()) {
                (Event::Readable, _, true) => BEHIND,
                (Event::Received { .. }, _, true) => WHOLE,
                (Event::Unblock { .. }, _, true) => UNBLOCKED,
                (Event::Consumed { .. } | Event::NeedMore { .. }, true, false) => REPORTED,
                (Event::Block { .. }, true, false) => BLOCKED,
                _ => return,
            };
            self.taken[way] += 1;
        }

        /// A step that needs no buffer has the place of the content, as it is for C.
        fn step_or_handle(&mut self, id: ReceiverId, index: u32, event: Event) -> Result<Actions, PoolError> {
            let Some(step) = self.fast.kept_path().step(id, event) else {
                return self.fast.handle(id, event);
            };
            self.taken[IN_CELLS] += 1;
            assert_eq!((step.data, step.bytes()), self.fast.place(index, step.actions()), "{event:?}");
            Ok(step.actions())
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
                    let leases = [&mut self.fast, &mut self.slow].map(|pool| pool.try_request(&Request::new(0, 0)));
                    let [fast, slow] = leases.map(|lease| lease.expect("it is allowed"));
                    assert_eq!(fast.is_some(), slow.is_some());
                    self.leases.extend(fast.zip(slow).map(|(fast, slow)| [fast, slow]));
                }
                2..6 if !self.leases.is_empty() => {
                    let [fast, slow] = self.leases.swap_remove(random.usize(..self.leases.len()));
                    assert_eq!((self.fast.release(fast), self.slow.release(slow)), (Ok(()), Ok(())));
                }
                6 => {
                    self.now_ns += random.u64(0..400_000_000);
                    self.fast.handle_timeout(self.now_ns);
                    self.slow.handle_timeout(self.now_ns);
                }
                7 => loop {
                    let notice = self.fast.poll_notice();
                    assert_eq!(notice, self.slow.poll_notice());
                    if notice.is_none() {
                        break;
                    }
                },
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

        fn play(&mut self, random: &mut fastrand::Rng) {
            let mut at = 0;
            for _ in 0..400 {
                // Most receives are decoded before another receiver has its turn.
                let is_busy = !self.slow.pending(self.ids[at]).expect("it is attached").is_empty();
                if random.u8(0..if is_busy { 20 } else { 3 }) == 0 {
                    at = random.usize(..self.ids.len());
                }
                self.report(random, at);
                self.change(random);
                self.assert_same();
            }
        }
    }

    /// Rounds of 400 events. For long runs: `DEMUXBUF_ROUNDS=10000`.
    fn rounds() -> u32 {
        std::env::var("DEMUXBUF_ROUNDS").map_or(10, |rounds| rounds.parse().expect("it is a number"))
    }

    fn compare<S: BufferSource, R>(make: impl Fn(&PoolConfig) -> (Pool<S>, R)) {
        let mut random = fastrand::Rng::with_seed(1);
        for mode in [Mode::Level, Mode::OneShot, Mode::Edge, Mode::Optimistic] {
            let plain = Policy { mode, ..Policy::default() };
            let blocks = Policy { pause_when_blocked: true, reads_per_wake: 1, resume_free_bytes: 300, ..plain };
            let reads_ahead = Policy { reads_ahead: true, ..plain };
            for (policy, tenants_max) in [(plain, 0), (blocks, 0), (reads_ahead, 0), (plain, 2)] {
                let mut taken = [0; 6];
                for _ in 0..rounds() {
                    let [(fast, _one), (slow, _other)] = [(); 2].map(|()| make(&config(policy, tenants_max)));
                    let mut twins = Twins::new(fast, slow);
                    twins.play(&mut random);
                    (0..6).for_each(|way| taken[way] += twins.taken[way]);
                }
                let has_steps = matches!(mode, Mode::Level | Mode::OneShot) && !policy.reads_ahead;
                // Where there are tenants, each step is the pool's.
                let ways = if tenants_max > 0 || poison::IS_ON { IN_CELLS } else { IN_CELLS + 1 };
                assert!(!has_steps || taken[..ways].iter().all(|&taken| taken >= 5), "{policy:?}: {taken:?}");
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
            let shared = SharedPool::new(config, 2).expect("the configuration is allowed");
            (shared.shard(0).expect("it is free"), shared)
        });
    }
}
