//! Fast path of the common cycle: nothing is scarce, and the decoder consumes everything. Where it does not apply, nothing is changed
//! and `None` is returned.
//!
//! While none but these calls are made, nothing becomes scarce. So that is looked at once, before the first cycle; any other
//! call leaves the fast path.

use super::open_cycle::{OpenCycle, Phase, Progress, RawStep};
use super::table::Table;
use super::{BufferSource, Pool, ReceiverId};
use crate::connection::{Action, Actions};
use crate::receiving::Unlisted;

/// What a common cycle needs of a pool, whatever kind that is.
#[doc(hidden)]
pub struct FastPath<'a> {
    cycle: &'a mut OpenCycle,
    table: &'a mut Table,
    memory: Unlisted<'a>,
}

impl<S: BufferSource> Pool<S> {
    /// For C, which hands out addresses.
    #[doc(hidden)]
    #[inline(always)]
    pub fn fast_path(&mut self) -> FastPath<'_> {
        FastPath { cycle: &mut self.cycle, table: &mut self.table, memory: self.memory.unlisted() }
    }
}

impl FastPath<'_> {
    /// A receiver that holds nothing is readable.
    #[inline(always)]
    pub fn begin(&mut self, id: ReceiverId) -> Option<RawStep> {
        let cycle = &mut *self.cycle;
        if cycle.progress.phase != Phase::Ready {
            return None;
        }
        let (index, connection) = self.table.find_fast(id)?;
        let memory = &self.memory;
        if !connection.try_begin_cycle(&mut cycle.plan, || memory.is_idle(index)) {
            return None;
        }
        debug_assert!(self.memory.is_idle(index), "one that is idle for its machine is idle");
        cycle.progress = Progress { phase: Phase::Receiving, reads: 0 };
        cycle.id = id;
        self.memory.lend(cycle.buffer_bytes);
        Some(cycle.step_to_receive())
    }

    /// It has received, and there is room left.
    #[inline(always)]
    pub fn receive(&mut self, id: ReceiverId, bytes: u32) -> Option<RawStep> {
        if !self.cycle.may_receive(id, bytes) {
            return None;
        }
        (self.cycle.progress.phase, self.cycle.received_bytes) = (Phase::Decoding, bytes);
        self.memory.lend(bytes);
        Some(self.cycle.step_to_decode(bytes))
    }

    /// All of it is decoded.
    #[inline(always)]
    pub fn decode(&mut self, id: ReceiverId, bytes: u32) -> Option<RawStep> {
        if self.cycle.may_decode(id, bytes) { self.pass(bytes) } else { None }
    }

    /// It has received, there is room left, and all of it is decoded.
    #[inline(always)]
    pub fn receive_and_decode(&mut self, id: ReceiverId, bytes: u32) -> Option<RawStep> {
        if self.cycle.may_receive(id, bytes) { self.pass(bytes) } else { None }
    }

    /// What it received last is decoded. It receives again where only a receive that finds nothing ends the cycle.
    #[inline(always)]
    fn pass(&mut self, bytes: u32) -> Option<RawStep> {
        let cycle = &mut *self.cycle;
        if cycle.plan.leaves_nothing {
            cycle.progress.phase = Phase::Ready;
            cycle.passed_bytes += u64::from(bytes);
            self.memory.note_decoded(self.table.row(cycle.id), bytes);
            self.memory.lend(0);
            return Some(OpenCycle::step_at_rest(Actions::NONE));
        }
        if cycle.plan.decoded.actions().has(Action::Recv) {
            let reads = cycle.progress.reads + 1; // At most as many as are allowed.
            if reads >= cycle.plan.reads_max {
                return None;
            }
            cycle.progress = Progress { phase: Phase::Receiving, reads };
            cycle.passed_bytes += u64::from(bytes);
            self.memory.note_decoded(self.table.row(cycle.id), bytes);
            self.memory.lend(cycle.buffer_bytes);
            return Some(cycle.step_to_receive());
        }
        cycle.progress.phase = Phase::Ready;
        cycle.passed_bytes += u64::from(bytes);
        self.memory.note_decoded(self.table.row(cycle.id), bytes);
        self.memory.lend(0);
        Some(OpenCycle::step_at_rest(cycle.plan.decoded))
    }

    /// A receive found nothing, and nothing is left of those before; perhaps the read interest is armed.
    #[inline(always)]
    pub fn dry(&mut self, id: ReceiverId, armed: bool) -> Option<RawStep> {
        let cycle = &mut *self.cycle;
        if cycle.progress.phase != Phase::Receiving || cycle.id != id {
            return None;
        }
        let connection = self.table.row_mut(self.table.row(id))?;
        connection.end_cycle_dry(cycle.progress.reads, armed);
        cycle.progress.phase = Phase::Ready;
        self.memory.lend(0);
        Some(OpenCycle::step_at_rest(if armed { Actions::NONE.into() } else { cycle.plan.dry }))
    }

    /// Read interest of a connection that holds nothing is armed again.
    #[inline(always)]
    pub fn arm(&mut self, id: ReceiverId) -> Option<RawStep> {
        if self.cycle.progress.phase != Phase::Ready {
            return None;
        }
        let (index, connection) = self.table.find_fast(id)?;
        if connection.is_counting() && !self.memory.is_idle(index) {
            return None; // It may be about the mark.
        }
        Some(OpenCycle::step_at_rest(connection.try_fast_arm()?))
    }

    /// After a defect nothing can be trusted.
    pub fn close(&mut self) {
        self.cycle.progress.phase = Phase::Closed;
    }
}

impl<S: BufferSource> Pool<S> {
    /// As `FastPath::begin`, where it has to be seen whether anything is scarce.
    pub(super) fn look_and_begin(&mut self, index: u32) -> Option<RawStep> {
        let is_used = self.kept_cycle.is_open() || !self.memory.would_lend_all();
        let is_rare = self.scheduled.has_any() || self.undelivered.has_any() || is_used;
        let has_caps = self.memory.has_caps();
        // A cap is looked at each time.
        let is_looked_at = self.cycle.progress.phase == Phase::Closed || (has_caps && !self.cycle.is_open());
        if !is_looked_at || is_rare || (has_caps && !self.memory.may_borrow_unlisted(index)) {
            return None;
        }
        self.cycle.buffer = self.memory.receive_buffer_address();
        self.cycle.progress.phase = Phase::Ready;
        self.cycle.plan.is_fixed = false;
        let id = self.table.id(index);
        let step = self.fast_path().begin(id);
        self.cycle.plan.is_fixed = has_caps;
        if has_caps {
            self.cycle.plan.forget();
        }
        step
    }

    /// As `FastPath::arm`, which is the same while anything is scarce.
    pub(super) fn look_and_arm(&mut self, index: u32) -> Option<RawStep> {
        let connection = self.table.row_mut(index)?;
        if self.cycle.is_open() || (connection.is_counting() && !self.memory.is_idle(index)) {
            return None;
        }
        Some(OpenCycle::step_at_rest(connection.try_fast_arm()?))
    }

    /// Whether the cycle of the receiver in this row is open.
    #[inline(always)]
    pub(super) fn has_open_cycle(&self, index: u32) -> bool {
        self.cycle.is_open() && self.table.row(self.cycle.id) == index
    }

    /// Before anything but the common cycle: of one that is open, all is done that was left out.
    #[inline(always)]
    pub(crate) fn leave_fast_path(&mut self) {
        if self.cycle.is_open() {
            self.leave_cycle();
        }
        if self.kept_cycle.is_open() {
            self.leave_kept_cycle();
        }
        self.cycle.progress.phase = Phase::Closed;
    }

    fn leave_cycle(&mut self) {
        let cycle = self.cycle;
        let index = self.table.row(cycle.id);
        let connection = self.table.connection_mut(index);
        *connection = cycle.view(connection);
        self.counts.received_bytes += u64::from(cycle.buffered_bytes());
        self.memory.list_unlisted(index, cycle.buffered_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::{Actions, Event, Mode, Policy};
    #[cfg(feature = "model-check")]
    use crate::pool::Counts;
    use crate::pool::PoolConfig;
    use crate::pool::{AttachOptions, PoolError};
    use alloc::vec::Vec;
    use core::ptr::NonNull;

    const RECEIVERS: u32 = 6;
    const MODES: [Mode; 4] = [Mode::Level, Mode::OneShot, Mode::Edge, Mode::Optimistic];

    fn pool(policy: Policy) -> Pool {
        Pool::new(&PoolConfig { buffer_bytes: 256, policy, ..PoolConfig::new(8 * 256, RECEIVERS) })
            .expect("the configuration is allowed")
    }

    /// A random event: one that the pending actions ask for, or any, also one that is refused.
    fn draw(random: &mut fastrand::Rng, pool: &Pool, id: ReceiverId) -> Event {
        let buffered_bytes = pool.connection(id).expect("it is attached").buffered_bytes();
        if random.u8(0..8) > 0 {
            let actions = pool.pending(id).expect("it is attached");
            let whole_bytes = pool.recv_min(id).expect("it is attached");
            return match random.u8(0..4) {
                0 | 1 if whole_bytes > 0 => Event::Received { bytes: whole_bytes },
                0 | 1 if actions.has(Action::Peek) => Event::NeedMore { bytes: random.u32(1..100) },
                2 if actions.has(Action::Peek) => Event::WouldBlock,
                0 | 1 if actions.has(Action::Decode) => Event::Consumed { bytes: buffered_bytes },
                2 if actions.has(Action::Decode) => Event::NeedMore { bytes: random.u32(1..100) },
                0..3 if actions.has(Action::Recv) => Event::Received { bytes: random.u32(1..100) },
                3 if actions.has(Action::Recv) => Event::WouldBlock,
                _ if actions.has(Action::WantRecv) => Event::done(Action::WantRecv),
                _ => Event::Readable,
            };
        }
        match random.u8(0..8) {
            6 => Event::KernelFull,
            7 if random.u8(0..20) == 0 => Event::PeerClosed,
            0 => Event::Received { bytes: [0, 1, 100, 256, 257][random.usize(0..5)] },
            1 => Event::Consumed { bytes: [0, buffered_bytes / 2, buffered_bytes + 1][random.usize(0..3)] },
            2 => Event::done([Action::WantRecv, Action::StopRecv, Action::Reschedule][random.usize(0..3)]),
            3 => Event::Block { reasons: 1 },
            4 => Event::Unblock { reasons: 1 },
            _ => Event::WouldBlock,
        }
    }

    /// The event by the slow path alone.
    fn handle_slowly(pool: &mut Pool, id: ReceiverId, event: Event) -> Result<Actions, PoolError> {
        let index = pool.table.find(id)?;
        pool.handle_slowly(index, event)
    }

    /// The event by one of the calls that there are for it; `None` if what it returns is not where the pool has it.
    fn handle(pool: &mut Pool, id: ReceiverId, event: Event, by_step: bool) -> Option<Result<Actions, PoolError>> {
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

    /// The slow path of `received_and_decoded`.
    fn receive_and_decode_slowly(pool: &mut Pool, id: ReceiverId, bytes: u32) -> Result<Actions, PoolError> {
        let index = pool.table.find(id)?;
        #[cfg(feature = "model-check")]
        let halves = pool.clone();
        let fused = pool.receive_and_decode_row(index, bytes);
        #[cfg(feature = "model-check")]
        compare_with_halves(halves, id, bytes, (fused, pool.counts()));
        fused
    }

    /// It is as both halves, but that nothing is kept between them.
    #[cfg(feature = "model-check")]
    fn compare_with_halves(mut halves: Pool, id: ReceiverId, bytes: u32, fused: (Result<Actions, PoolError>, Counts)) {
        let received = handle_slowly(&mut halves, id, Event::Received { bytes });
        if received.is_err() {
            assert_eq!(fused.0, received);
            return;
        }
        let index = halves.table.find(id).expect("it was found");
        // What would be kept between them may find no buffer to be decoded in.
        let buffered_bytes = halves.table.connection(index).buffered_bytes();
        let decoded = halves.consume_slowly(index, buffered_bytes, 0, 0);
        if decoded != Err(PoolError::NoBufferFree) {
            assert_eq!(fused, (decoded, halves.counts()));
        }
    }

    const BEGUN: usize = 0;
    const RECEIVED: usize = 1;
    const DECODED: usize = 2;
    const WENT_ON: usize = 3;
    const DRY: usize = 4;
    const ARMED: usize = 5;

    /// Plays random events, each by the fast path where it applies and by the slow one; returns how often each part of the fast path
    /// applied.
    fn compare(policy: Policy, changes_mode: bool, random: &mut fastrand::Rng, rounds: u32) -> [u32; 6] {
        let mut taken = [0; 6];
        for _ in 0..rounds {
            let (mut fast, mut slow) = (pool(policy), pool(policy));
            let ids: Vec<ReceiverId> = (0..RECEIVERS.into())
                .map(|token| {
                    let options = AttachOptions {
                        unknown_length: token == 5 && !policy.counting,
                        ..AttachOptions::new(0, token)
                    };
                    let id = fast.attach(&options).expect("there is room");
                    assert_eq!(slow.attach(&options), Ok(id));
                    id
                })
                .collect();
            let (mut now_ns, mut id) = (0, ids[0]);
            for _ in 0..400 {
                if random.u8(0..4) == 0 {
                    id = ids[random.usize(0..ids.len())];
                }
                let event = draw(random, &slow, id);
                let decodes = slow.pending(id).is_ok_and(|actions| actions.has(Action::Decode));
                match event {
                    Event::NeedMore { bytes: needed_bytes } if decodes && random.bool() => {
                        let index = slow.table.find(id).expect("it is attached");
                        let consumed_bytes = random.u32(0..=slow.table.connection(index).buffered_bytes() + 1);
                        let by_fast_path = fast.decoded_usable(id, consumed_bytes, needed_bytes, 7);
                        assert_eq!(by_fast_path, slow.consume_slowly(index, consumed_bytes, needed_bytes, 7));
                    }
                    Event::Received { bytes } if random.u8(0..4) == 0 => {
                        let by_fast_path = fast.received_and_decoded(id, bytes);
                        assert_eq!(by_fast_path, receive_and_decode_slowly(&mut slow, id, bytes), "{bytes}");
                    }
                    event => {
                        let by_fast_path = handle(&mut fast, id, event, random.bool()).expect("the place is right");
                        assert_eq!(by_fast_path, handle_slowly(&mut slow, id, event), "{event:?}");
                    }
                }
                let way = match (event, fast.cycle.progress.phase) {
                    (_, Phase::Closed) => None,
                    (Event::Readable, _) => Some(BEGUN),
                    (Event::Received { .. }, Phase::Decoding) => Some(RECEIVED),
                    (Event::Received { .. } | Event::Consumed { .. }, Phase::Receiving) => Some(WENT_ON),
                    (Event::Received { .. } | Event::Consumed { .. }, _) => Some(DECODED),
                    (Event::WouldBlock | Event::WouldBlockArmed, _) => Some(DRY),
                    _ => Some(ARMED),
                };
                way.into_iter().for_each(|way| taken[way] += 1);
                if changes_mode && random.u8(0..10) == 0 {
                    let (mode, reads_ahead) = (MODES[random.usize(0..4)], random.u8(0..8) == 0);
                    let counting = random.u8(0..3) == 0;
                    let policy =
                        Policy { mode, reads_ahead, counting, reads_per_wake: random.u8(0..4), ..Policy::default() };
                    assert_eq!(fast.set_policy(id, &policy), slow.set_policy(id, &policy), "{policy:?}");
                }
                if random.u8(0..20) == 0 {
                    now_ns += random.u64(0..400_000_000);
                    fast.handle_timeout(now_ns);
                    slow.handle_timeout(now_ns);
                    loop {
                        let notice = fast.poll_notice();
                        assert_eq!(notice, slow.poll_notice());
                        if notice.is_none() {
                            break;
                        }
                    }
                    assert_eq!(fast.poll_timeout(), slow.poll_timeout());
                }
                assert_same(&mut fast, &mut slow, &ids);
            }
        }
        taken
    }

    /// Whatever a host can see of two pools is the same.
    fn assert_same(fast: &mut Pool, slow: &mut Pool, ids: &[ReceiverId]) {
        assert_eq!((fast.check_invariants(), slow.check_invariants()), (Ok(()), Ok(())));
        assert_eq!((fast.counts(), fast.totals()), (slow.counts(), slow.totals()));
        assert_eq!(fast.stats(), slow.stats());
        for &id in ids {
            assert_eq!(fast.connection(id), slow.connection(id));
            assert_eq!((fast.describe(id), fast.pending(id)), (slow.describe(id), slow.pending(id)));
            assert_eq!(fast.data(id).map(<[u8]>::len), slow.data(id).map(<[u8]>::len));
            let index = fast.table.find(id).expect("it is attached");
            for pool in [&mut *fast, &mut *slow] {
                let place = |bytes: &[u8]| (!bytes.is_empty()).then_some((bytes.as_ptr(), bytes.len() as u32));
                let of = |area: Option<(NonNull<u8>, u32)>| area.map(|(at, bytes)| (at.as_ptr().cast_const(), bytes));
                assert_eq!(of(pool.area(index, false)), pool.data(id).map(place).expect("it is attached"));
                let area = of(pool.area(index, true));
                assert_eq!(area, pool.receive_area(id).map(|area| place(area)).expect("it is attached"));
                assert!(!pool.pending(id).expect("it is attached").has(Action::Recv) || area.is_some());
            }
            let credit = |pool: &Pool| pool.memory.facts(index).map(|facts| facts.credit_bytes);
            assert_eq!(credit(fast), credit(slow));
        }
    }

    /// Rounds of 400 events. For long runs: `DEMUXBUF_ROUNDS=10000`.
    fn rounds() -> u32 {
        std::env::var("DEMUXBUF_ROUNDS").map_or(20, |rounds| rounds.parse().expect("it is a number"))
    }

    #[test]
    #[cfg_attr(miri, ignore)] // it takes minutes
    fn fast_path_equals_slow_path() {
        let mut random = fastrand::Rng::with_seed(1);
        for mode in MODES {
            let plain = Policy { mode, ..Policy::default() };
            let reads_ahead = Policy { reads_ahead: true, ..plain };
            // An optimistic host cannot count.
            let counting = (mode != Mode::Optimistic).then_some(Policy { counting: true, ..plain });
            for policy in [plain, reads_ahead].into_iter().chain(counting) {
                let taken = compare(policy, false, &mut random, rounds());
                // An edge-triggered host looks for more after what it has decoded.
                let looks = policy.reads_ahead || matches!(mode, Mode::Edge | Mode::Optimistic);
                let last = if looks { WENT_ON } else { DECODED };
                let is_enough = [BEGUN, RECEIVED, last, DRY].iter().all(|&way| taken[way] > 5);
                let arms = matches!(mode, Mode::Level | Mode::Edge) || taken[ARMED] > 5;
                // The mark of one-shot read interest is part of the step.
                let is_slow = policy.counting && mode == Mode::OneShot;
                assert!((is_enough && arms) || is_slow, "{policy:?}: {taken:?}");
            }
        }
    }

    #[test]
    #[cfg_attr(miri, ignore)] // it takes minutes
    fn fast_path_equals_slow_path_when_the_mode_changes() {
        let mut random = fastrand::Rng::with_seed(2);
        let taken = compare(Policy::default(), true, &mut random, rounds());
        assert!(taken.iter().all(|&taken| taken > 5), "{taken:?}");
    }
}
