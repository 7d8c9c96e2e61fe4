//! A receive where nothing stands in the way: a buffer is free, all that came is decoded, nobody minds. Nearly all are.
//!
//! What `step` does for these in several rounds is done here in one; whatever is not that simple is left to it, unchanged.

use super::{Pool, ReceiverId};
use crate::connection::Actions;
use crate::scheduler::Request;
use core::ptr::NonNull;

/// What came of the fast path.
pub struct Step {
    /// What is to be done now.
    pub actions: Actions,
    /// Where the host goes on.
    area: StepRange,
}

/// Where a buffer starts and so many bytes; nowhere, if there are none.
struct StepRange {
    buffer: u32,
    bytes: u32,
}

impl StepRange {
    const NONE: StepRange = StepRange { buffer: 0, bytes: 0 };
}

impl Pool {
    /// A connection that holds nothing is readable and gets a buffer.
    #[doc(hidden)]
    #[inline(always)]
    pub fn try_fast_begin(&mut self, id: ReceiverId) -> Option<Step> {
        let scheduler = self.scheduler.own()?;
        let idle = self.table.find_idle(id)?;
        let (class, size_index) = (idle.class(), self.config.first_size_index);
        let bytes = self.memory.arena().buffer_bytes(size_index);
        if !idle.connection().may_begin_fast(bytes) {
            return None;
        }
        let request = Request { token: idle.index().into(), tenant: None, class, size_index, has_deadline: true };
        if !self.memory.arena().is_there(scheduler.next_buffer(size_index)?) {
            return None;
        }
        let buffer = scheduler.try_fast_grant(&request, idle.tenant())?;
        let actions = idle.hold(buffer).try_fast_begin(bytes);
        Some(Step { actions, area: StepRange { buffer, bytes } })
    }

    /// A connection that holds a buffer has received what its decoder can go on with, and there is room left.
    #[doc(hidden)]
    #[inline(always)]
    pub fn try_fast_receive(&mut self, id: ReceiverId, bytes: u32) -> Option<Step> {
        let mut holder = self.table.find_holder(id)?;
        // Else the machine knows not how much room is behind the content.
        if holder.start() > 0 {
            return None;
        }
        let (buffer, connection) = (holder.buffer(), holder.connection());
        let actions = connection.try_fast_receive(bytes)?;
        self.counts.received_bytes += u64::from(bytes);
        Some(Step { actions, area: StepRange { buffer, bytes: connection.buffered_bytes() } })
    }

    /// All that a connection holds is decoded, nothing more is there to be received, and it gives its buffer back.
    #[doc(hidden)]
    #[inline(always)]
    pub fn try_fast_finish(&mut self, id: ReceiverId, bytes: u32) -> Option<Step> {
        let scheduler = self.scheduler.own()?;
        let mut holder = self.table.find_holder(id)?;
        if !holder.connection().may_finish_fast(bytes) || !scheduler.try_fast_release(holder.buffer()) {
            return None;
        }
        let actions = holder.connection().try_fast_finish();
        holder.drop_buffer();
        self.counts.consumed_bytes += u64::from(bytes);
        Some(Step { actions, area: StepRange::NONE })
    }

    /// A connection that holds nothing is watched again.
    #[doc(hidden)]
    #[inline(always)]
    pub fn try_fast_arm(&mut self, id: ReceiverId) -> Option<Step> {
        let actions = self.table.find_idle(id)?.connection_mut().try_fast_arm()?;
        Some(Step { actions, area: StepRange::NONE })
    }

    /// Where the host goes on, for C: an address and a length, as [`area`](Pool::area).
    #[doc(hidden)]
    #[inline(always)]
    pub fn step_memory(&self, step: &Step) -> Option<(NonNull<u8>, u32)> {
        let StepRange { buffer, bytes } = step.area;
        (bytes > 0).then(|| (self.memory.arena().address(buffer), bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::{Action, Event, Mode};
    use crate::pool::{PoolConfig, PoolError};
    use crate::scheduler::TenantConfig;

    const RECEIVERS: usize = 3;

    /// Two buffers of 4096 bytes or four of 2048, of which receivers ask for the smaller ones first; with deadlines. The
    /// first receiver requests in the name of a tenant.
    fn pool(mode: Mode, sizes: &[u32]) -> (Pool, [ReceiverId; RECEIVERS]) {
        let mut config = PoolConfig::new(2, RECEIVERS as u32);
        config.set_buffer_sizes(sizes).expect("the sizes are allowed");
        config.first_size_index = sizes.len() as u8 - 1;
        (config.scheduler.park_ns, config.scheduler.lease_ns, config.scheduler.tenants_max) = (10, 20, 1);
        config.policy.mode = mode;
        let mut pool = Pool::new(&config).expect("the configuration is allowed");
        let tenant_config = TenantConfig { cap: 1, ..TenantConfig::default() };
        let tenant = pool.create_tenant(&tenant_config).expect("there is room");
        let ids = core::array::from_fn(|token| pool.attach(0, token as u64).expect("there is room"));
        pool.set_tenant(ids[0], Some(tenant)).expect("its cap allows a buffer");
        (pool, ids)
    }

    /// What happens to a receiver, by lot: what it is to do, or anything, also what cannot be.
    fn draw(random: &mut fastrand::Rng, pool: &Pool, id: ReceiverId) -> Event {
        let buffered_bytes = pool.connection(id).expect("it is attached").buffered_bytes();
        if random.bool() {
            let actions = pool.pending(id).expect("it is attached");
            return match random.bool() {
                true if actions.has(Action::WantRecv) => Event::done(Action::WantRecv),
                _ if actions.has(Action::Decode) => Event::Consumed { bytes: buffered_bytes },
                true if actions.has(Action::Recv) => Event::Received { bytes: 100 },
                false if actions.has(Action::Recv) => Event::WouldBlock,
                _ => Event::Readable,
            };
        }
        match random.u8(0..10) {
            0..3 => Event::Readable,
            3..5 => Event::Received { bytes: [0, 1, 100, 2047, 2048, 4096][random.usize(0..6)] },
            5..7 => Event::Consumed {
                bytes: [buffered_bytes, buffered_bytes, buffered_bytes, buffered_bytes / 2, buffered_bytes + 1, 0]
                    [random.usize(0..6)],
            },
            7 => Event::NeedMore { bytes: random.u32(1..3000) },
            8 => Event::done([Action::WantRecv, Action::StopRecv, Action::Recv][random.usize(0..3)]),
            _ => [Event::WouldBlock, Event::Block { reasons: 1 }, Event::Unblock { reasons: 1 }][random.usize(0..3)],
        }
    }

    /// The fast path where there is one; counts which.
    fn handle(pool: &mut Pool, id: ReceiverId, event: Event, taken: &mut [u32; 4]) -> Result<Actions, PoolError> {
        let (way, step) = match event {
            Event::Readable => (0, pool.try_fast_begin(id)),
            Event::Received { bytes } => (1, pool.try_fast_receive(id, bytes)),
            Event::Consumed { bytes } => (2, pool.try_fast_finish(id, bytes)),
            Event::Done(actions) if actions.bits() == Action::WantRecv as u32 => (3, pool.try_fast_arm(id)),
            _ => (0, None),
        };
        let Some(step) = step else {
            return pool.handle(id, event);
        };
        taken[way] += 1;
        {
            let area = pool.step_memory(&step);
            assert_eq!(area, pool.area(pool.table.row(id), step.actions.has(Action::Recv)), "{event:?}");
        }
        Ok(step.actions)
    }

    #[test]
    #[cfg_attr(miri, ignore)] // it takes minutes
    fn the_short_way_leads_to_where_the_long_way_does() {
        let modes = Mode::ALL;
        let sizes: [&[u32]; 2] = [&[4096], &[4096, 2048]];
        let mut random = fastrand::Rng::with_seed(1);
        for (mode, sizes) in modes.into_iter().flat_map(|mode| sizes.map(|sizes| (mode, sizes))) {
            let mut taken = [0; 4];
            for _ in 0..20 {
                let [(mut fast, ids), (mut slow, same_ids)] = [(); 2].map(|()| pool(mode, sizes));
                assert_eq!(ids, same_ids);
                for now_ns in 0..500 {
                    let id = ids[random.usize(0..RECEIVERS)];
                    let event = draw(&mut random, &slow, id);
                    let by_table = slow.handle_row(slow.table.row(id), event);
                    assert_eq!(handle(&mut fast, id, event, &mut taken), by_table, "{event:?}");
                    if random.u8(0..4) == 0 {
                        [&mut fast, &mut slow].into_iter().for_each(|pool| pool.handle_timeout(now_ns));
                        let granted = core::iter::from_fn(|| Some((fast.poll_notice(), slow.poll_grant_or_reclaim())));
                        for (granted, by_table) in granted.take_while(|polled| *polled != (None, None)) {
                            assert_eq!(granted, by_table);
                        }
                        assert_eq!(fast.poll_timeout(), slow.scheduler.poll_timeout());
                    }
                    assert_eq!(fast.stats(), slow.stats(), "{event:?}");
                    assert_eq!(fast.memory.arena().touched_bytes(), slow.memory.arena().touched_bytes());
                    assert_eq!(ids.map(|id| fast.describe(id)), ids.map(|id| slow.describe(id)), "{event:?}");
                    assert_eq!((fast.check_invariants(), slow.check_invariants()), (Ok(()), Ok(())), "{event:?}");
                }
            }
            assert!(taken.iter().all(|&taken| taken > 0), "{mode:?} {sizes:?}: {taken:?}");
        }
    }

    #[test]
    fn who_was_asked_for_an_empty_buffer_gives_it_back_the_long_way() {
        let mut config = PoolConfig::new(1, 2);
        (config.scheduler.park_ns, config.scheduler.lease_ns) = (10, 20);
        let mut pool = Pool::new(&config).expect("the configuration is allowed");
        let [holder, other] = [7, 8].map(|token| pool.attach(0, token).expect("there is room"));
        for id in [holder, other] {
            pool.handle(id, Event::Readable).expect("it is attached");
        }
        (0..=10).for_each(|now_ns| pool.handle_timeout(now_ns));
        assert_eq!(pool.poll_notice(), None, "it holds nothing that could be parked");
        assert_eq!(pool.stats().scheduler.parks_asked, 1);
        pool.handle(other, Event::Close).expect("it is attached");
        pool.handle(holder, Event::Received { bytes: 5 }).expect("there is room");
        assert!(pool.try_fast_finish(holder, 5).is_none(), "its deadline knows that it was asked");
        pool.handle(holder, Event::Consumed { bytes: 5 }).expect("they are buffered");
        assert_eq!((pool.check_invariants(), pool.stats().scheduler.leased), (Ok(()), 0));
    }

    #[test]
    fn a_buffer_that_limits_who_waits_is_granted_the_long_way() {
        let mut config = PoolConfig::new(2, 2);
        (config.scheduler.classes, config.scheduler.reserves[1], config.scheduler.tenants_max) = (2, 1, 1);
        let mut pool = Pool::new(&config).expect("the configuration is allowed");
        let tenant_config = TenantConfig { cap: 1, ..TenantConfig::default() };
        let tenant = pool.create_tenant(&tenant_config).expect("there is room");
        pool.request(0, 0).expect("a buffer is free");
        let [critical, other] = [0, 1].map(|class| pool.attach(class, 0).expect("there is room"));
        for id in [other, critical] {
            pool.set_tenant(id, Some(tenant)).expect("its cap allows a buffer");
            assert!(pool.try_fast_begin(id).is_none(), "its reserve keeps it back, or somebody waits");
            pool.handle(id, Event::Readable).expect("it is attached");
        }
        let stats = pool.stats().scheduler;
        assert_eq!((pool.check_invariants(), stats.leased, stats.waiting), (Ok(()), 2, 1));
    }
}
