//! Fast path of the common cycle: nothing is scarce, and the decoder consumes everything. Where it does not apply, nothing is changed
//! and `None` is returned.

use super::{BufferSource, Pool, ReceiverId};
use crate::connection::{Action, Actions, Event};

impl<S: BufferSource> Pool<S> {
    /// A connection that holds nothing is readable, and borrows the receive buffer.
    #[inline(always)]
    pub(super) fn try_fast_begin(&mut self, id: ReceiverId) -> Option<Actions> {
        let capacity = self.memory.config().buffer_bytes;
        let (index, connection) = self.table.find_fast(id)?;
        if self.scheduled.has_any() || !connection.may_begin_fast(capacity) || !self.memory.try_lend_lightly(index) {
            return None;
        }
        Some(connection.try_fast_begin(capacity))
    }

    /// It has received what its decoder can go on with, and there is room left.
    #[inline(always)]
    pub(super) fn try_fast_receive(&mut self, id: ReceiverId, bytes: u32) -> Option<Actions> {
        let (index, connection) = self.table.find_fast(id)?;
        if !self.memory.borrows_lightly(index) || connection.buffered_bytes() > 0 {
            return None;
        }
        let actions = connection.try_fast_receive(bytes)?;
        self.counts.received_bytes += u64::from(bytes);
        Some(actions)
    }

    /// All of it is decoded.
    #[inline(always)]
    pub(super) fn try_fast_finish(&mut self, id: ReceiverId, bytes: u32) -> Option<Actions> {
        let (index, connection) = self.table.find_fast(id)?;
        if !self.memory.borrows_lightly(index) {
            return None;
        }
        if !connection.may_finish_fast(bytes) {
            let is_all = bytes > 0 && bytes == connection.buffered_bytes();
            return if is_all { self.renew(index, Event::Consumed { bytes }) } else { None };
        }
        let actions = connection.try_fast_finish();
        self.memory.end_light_borrow(bytes);
        self.counts.consumed_bytes += u64::from(bytes);
        Some(actions)
    }

    /// A receive found nothing (`event`), and nothing is left of those before.
    #[inline(always)]
    pub(super) fn try_fast_dry(&mut self, id: ReceiverId, event: Event) -> Option<Actions> {
        let (index, connection) = self.table.find_fast(id)?;
        let has_nothing = self.memory.borrows_lightly(index) && connection.buffered_bytes() == 0;
        if has_nothing && !self.undelivered.has_any() { self.renew(index, event) } else { None }
    }

    /// After this event, nothing is left of what was borrowed lightly. If there may be more to be received, the connection
    /// borrows lightly again.
    #[cold] // The common cycle ends before.
    fn renew(&mut self, index: u32, event: Event) -> Option<Actions> {
        let buffered_bytes = self.table.connection(index).buffered_bytes();
        self.apply(index, event).ok()?;
        self.memory.end_light_borrow(buffered_bytes);
        self.counts.consumed_bytes += u64::from(buffered_bytes);
        self.feed(index, Event::BufferReleased);
        if self.table.connection(index).pending().has(Action::RequestBuffer) {
            if !self.memory.try_lend_lightly(index) {
                return Some(self.reconcile(index));
            }
            self.feed(index, Event::BufferGranted { capacity: self.memory.config().buffer_bytes });
        }
        Some(self.pending_at(index))
    }

    /// Read interest of a connection that holds nothing is armed again.
    #[inline(always)]
    pub(super) fn try_fast_arm(&mut self, id: ReceiverId) -> Option<Actions> {
        let (index, connection) = self.table.find_fast(id)?;
        if connection.is_counting() && !self.memory.is_idle(index) {
            return None; // It may be about the mark.
        }
        connection.try_fast_arm()
    }

    /// Before anything but the common cycle: a light borrow is a full one from now on.
    #[inline(always)]
    pub(crate) fn leave_fast_path(&mut self) {
        if let Some(index) = self.memory.light_borrower() {
            self.memory.make_full_borrow(self.table.connection(index).buffered_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::{Mode, Policy};
    use crate::pool::PoolConfig;
    use crate::pool::{AttachOptions, PoolError};
    use alloc::vec::Vec;
    use core::ptr::NonNull;

    const RECEIVERS: u32 = 6;
    const MODES: [Mode; 4] = [Mode::Level, Mode::OneShot, Mode::Edge, Mode::Optimistic];
    /// Reading ahead, counting, or neither.
    const RULES: [(bool, bool); 3] = [(false, false), (true, false), (false, true)];

    fn pool(policy: Policy) -> Pool {
        Pool::new(&PoolConfig { buffer_bytes: 256, policy, ..PoolConfig::new(8 * 256, RECEIVERS) })
            .expect("the configuration is allowed")
    }

    /// A random event: one that the pending actions ask for, or any, also one that is refused.
    fn draw(random: &mut fastrand::Rng, pool: &Pool, id: ReceiverId) -> Event {
        let buffered_bytes = pool.connection(id).expect("it is attached").buffered_bytes();
        if random.u8(0..8) > 0 {
            let actions = pool.pending(id).expect("it is attached");
            return match random.u8(0..4) {
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
            6 => Event::PeerClosed,
            7 => Event::KernelFull,
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
        pool.handle_row(index, event)
    }

    /// How often each of the fast paths applied.
    fn compare(policy: Policy, changes_mode: bool, random: &mut fastrand::Rng) -> [u32; 5] {
        let mut taken = [0; 5];
        for _ in 0..40 {
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
                let light = fast.memory.light_borrower();
                let by_fast_path = fast.handle(id, event);
                let way = match event {
                    Event::Readable if fast.memory.light_borrower() != light => Some(0),
                    Event::Received { .. } if light.is_some() && fast.memory.light_borrower() == light => Some(1),
                    Event::Consumed { .. } if light.is_some() && fast.memory.light_borrower().is_none() => Some(2),
                    Event::Done(_) if by_fast_path == Ok(Actions::NONE) => Some(3),
                    Event::Consumed { .. } if light.is_some() && fast.memory.light_borrower() == light => Some(4),
                    _ => None,
                };
                way.into_iter().for_each(|way| taken[way] += 1);
                assert_eq!(by_fast_path, handle_slowly(&mut slow, id, event), "{event:?}");
                if changes_mode && random.u8(0..10) == 0 {
                    let (mode, reads_ahead) = (MODES[random.usize(0..4)], random.u8(0..8) == 0);
                    let policy = Policy { mode, reads_ahead, counting: random.bool(), ..Policy::default() };
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
                assert_eq!((fast.check_invariants(), slow.check_invariants()), (Ok(()), Ok(())), "{event:?}");
                assert_eq!((fast.counts(), fast.totals()), (slow.counts(), slow.totals()));
                for &id in &ids {
                    assert_eq!(fast.connection(id), slow.connection(id), "{event:?}");
                    assert_eq!(
                        (fast.pending(id), fast.data(id).map(<[u8]>::len)),
                        (slow.pending(id), slow.data(id).map(<[u8]>::len))
                    );
                    let index = fast.table.find(id).expect("it is attached");
                    for pool in [&mut fast, &mut slow] {
                        let place = |bytes: &[u8]| (!bytes.is_empty()).then_some((bytes.as_ptr(), bytes.len() as u32));
                        let of = |area: Option<(NonNull<u8>, u32)>| {
                            area.map(|(at, bytes)| (at.as_ptr().cast_const(), bytes))
                        };
                        assert_eq!(of(pool.area(index, false)), pool.data(id).map(place).expect("it is attached"));
                        let area = of(pool.area(index, true));
                        assert_eq!(area, pool.receive_area(id).map(|area| place(area)).expect("it is attached"));
                        let receives = pool.pending(id).expect("it is attached").has(Action::Recv);
                        assert!(!receives || area.is_some(), "{event:?}");
                    }
                    let credit = |pool: &Pool| pool.memory.facts(index).map(|facts| facts.credit_bytes);
                    assert_eq!(credit(&fast), credit(&slow));
                }
            }
        }
        taken
    }

    #[test]
    #[cfg_attr(miri, ignore)] // it takes minutes
    fn fast_path_equals_slow_path() {
        let mut random = fastrand::Rng::with_seed(1);
        for (mode, (reads_ahead, counting)) in MODES.into_iter().flat_map(|mode| RULES.map(|rules| (mode, rules))) {
            if counting && mode == Mode::Optimistic {
                continue; // That is refused.
            }
            let policy = Policy { mode, reads_ahead, counting, ..Policy::default() };
            let taken = compare(policy, false, &mut random);
            // An edge-triggered host looks for more after what it has decoded.
            let looks = reads_ahead || matches!(mode, Mode::Edge | Mode::Optimistic);
            let expected = if looks { [0, 1, 3, 4] } else { [0, 1, 2, 3] };
            let is_enough = expected.iter().all(|&way| taken[way] > 20);
            assert!(is_enough, "{policy:?}: {taken:?}");
        }
    }

    #[test]
    #[cfg_attr(miri, ignore)] // it takes minutes
    fn fast_path_equals_slow_path_when_the_mode_changes() {
        let mut random = fastrand::Rng::with_seed(2);
        let taken = compare(Policy::default(), true, &mut random);
        assert!(taken.iter().all(|&taken| taken > 10), "{taken:?}");
    }
}
