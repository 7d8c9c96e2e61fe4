//! Fast path of the common cycle: a buffer is free, no request waits, and the decoder consumes everything.
//!
//! What `own_actions` does in several rounds is done here in one. Where a rule of the common cycle does not hold, nothing is
//! changed and `None` is returned: the slow path handles the event.

use super::{BufferSource, Pool, ReceiverId};
use crate::connection::Actions;
use crate::scheduler::Request;
use core::ptr::NonNull;

/// The result of the fast path.
pub struct Step {
    /// What the host does now.
    pub actions: Actions,
    /// The memory that the actions apply to, if there is any.
    area: Option<StepRange>,
}

/// The first bytes of a buffer, at least one.
struct StepRange {
    buffer: u32,
    bytes: u32,
}

impl<S: BufferSource> Pool<S> {
    /// A connection that holds nothing is readable and gets a buffer.
    #[doc(hidden)]
    #[inline(always)]
    pub fn try_fast_begin(&mut self, id: ReceiverId) -> Option<Step> {
        let idle = self.table.find_idle(id)?;
        let (class, size_index) = (idle.class(), self.config.first_size_index);
        let bytes = self.memory.arena().buffer_bytes(size_index);
        if !idle.connection().may_begin_fast(bytes) {
            return None;
        }
        let request = Request { token: idle.index().into(), tenant: None, class, size_index, has_deadline: true };
        let buffer = self.source.try_fast_grant(self.memory.arena(), &request, idle.tenant())?;
        let actions = idle.hold(buffer).try_fast_begin(bytes);
        Some(Step { actions, area: Some(StepRange { buffer, bytes }) })
    }

    /// A connection that holds a buffer has received what its decoder can go on with, and there is room left.
    #[doc(hidden)]
    #[inline(always)]
    pub fn try_fast_receive(&mut self, id: ReceiverId, bytes: u32) -> Option<Step> {
        let mut holder = self.table.find_holder(id)?;
        // Else the connection does not know how much room is behind the content.
        if holder.start() > 0 {
            return None;
        }
        let (buffer, connection) = (holder.buffer(), holder.connection());
        let actions = connection.try_fast_receive(bytes)?;
        self.counts.received_bytes += u64::from(bytes);
        Some(Step { actions, area: Some(StepRange { buffer, bytes: connection.buffered_bytes() }) })
    }

    /// All that a connection holds is decoded, nothing more is there to be received, and its buffer is released.
    #[doc(hidden)]
    #[inline(always)]
    pub fn try_fast_finish(&mut self, id: ReceiverId, bytes: u32) -> Option<Step> {
        let mut holder = self.table.find_holder(id)?;
        if !holder.connection().may_finish_fast(bytes) {
            return None;
        }
        self.memory.arena().lend(holder.buffer(), 0..0);
        if !self.source.try_fast_release(holder.buffer()) {
            return None;
        }
        let actions = holder.connection().try_fast_finish();
        holder.drop_buffer();
        self.counts.consumed_bytes += u64::from(bytes);
        Some(Step { actions, area: None })
    }

    /// Read interest of a connection that holds nothing is armed again.
    #[doc(hidden)]
    #[inline(always)]
    pub fn try_fast_arm(&mut self, id: ReceiverId) -> Option<Step> {
        let actions = self.table.find_idle(id)?.connection_mut().try_fast_arm()?;
        Some(Step { actions, area: None })
    }

    /// Where the host goes on, for C: an address and a length, as [`area`](Pool::area).
    #[doc(hidden)]
    #[inline(always)]
    pub fn step_memory(&self, step: &Step) -> Option<(NonNull<u8>, u32)> {
        let StepRange { buffer, bytes } = *step.area.as_ref()?;
        self.memory.arena().lend(buffer, 0..bytes);
        Some((self.memory.arena().address(buffer), bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::{Action, Event, Mode};
    use crate::pool::{AttachOptions, PoolConfig, PoolError};
    use crate::scheduler::{Scheduler, TenantConfig};
    use alloc::boxed::Box;
    use alloc::vec;
    use alloc::vec::Vec;
    use core::any::Any;

    /// The pool of one thread, or those of several, and their receivers: which pool each is of, and its handle.
    struct Side<S> {
        pools: Vec<Pool<S>>,
        receivers: Vec<(usize, ReceiverId)>,
        /// What is dropped after them.
        _keep: Box<dyn Any>,
    }

    const RECEIVERS: u32 = 3;

    /// Two buffers of 4096 bytes or four of 2048, of which receivers ask for the smaller ones first; with deadlines.
    fn config(mode: Mode, sizes: &[u32], reads_ahead: bool) -> PoolConfig {
        let mut config = PoolConfig::new(2, RECEIVERS);
        config.set_buffer_sizes(sizes).expect("the sizes are allowed");
        config.first_size_index = sizes.len() as u8 - 1;
        (config.scheduler.park_ns, config.scheduler.lease_ns) = (Some(10), Some(20));
        (config.policy.mode, config.policy.reads_ahead) = (mode, reads_ahead);
        config
    }

    fn attach<S: BufferSource>(pools: Vec<Pool<S>>, homes: &[usize]) -> Side<S> {
        let mut side = Side { pools, receivers: Vec::new(), _keep: Box::new(()) };
        for (token, &home) in (0..).zip(homes) {
            side.receivers.push((home, side.pools[home].attach(&AttachOptions::new(0, token)).expect("there is room")));
        }
        side
    }

    /// A pool of one thread. The first receiver requests in the name of a tenant.
    fn own(mode: Mode, sizes: &[u32], reads_ahead: bool) -> Side<Scheduler> {
        let mut config = config(mode, sizes, reads_ahead);
        config.scheduler.tenants_max = 1;
        let mut side = attach(vec![Pool::new(&config).expect("the configuration is allowed")], &[0; 3]);
        let tenant_config = TenantConfig { cap: 1, ..TenantConfig::default() };
        let tenant = side.pools[0].create_tenant(&tenant_config).expect("there is room");
        side.pools[0].set_tenant(side.receivers[0].1, Some(tenant)).expect("its cap allows a buffer");
        side
    }

    /// The pools of two threads, of which the second has one receiver.
    #[cfg(feature = "std")]
    #[cfg(not(loom))]
    fn shared(mode: Mode) -> Side<crate::shared::PoolShard> {
        let config = config(mode, &[4096], false);
        let shared_pool = crate::shared::SharedPool::new(&config, 2).expect("the configuration is allowed");
        let pools = [0, 1].map(|shard| shared_pool.shard(shard).expect("it is free"));
        Side { _keep: Box::new(shared_pool), ..attach(pools.into(), &[0, 0, 1]) }
    }

    /// A random event: one that the pending actions ask for, or any, also one that is refused.
    fn draw<S: BufferSource>(random: &mut fastrand::Rng, pool: &Pool<S>, id: ReceiverId) -> Event {
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
            _ => {
                [Event::WouldBlock, Event::WouldBlockArmed, Event::Block { reasons: 1 }, Event::Unblock { reasons: 1 }]
                    [random.usize(0..4)]
            }
        }
    }

    /// The fast path where it applies; counts each.
    fn handle<S: BufferSource>(
        pool: &mut Pool<S>,
        id: ReceiverId,
        event: Event,
        taken: &mut [u32; 4],
    ) -> Result<Actions, PoolError> {
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
        let area = pool.step_memory(&step);
        assert_eq!(area, pool.area(pool.table.row(id), step.actions.has(Action::Recv)), "{event:?}");
        Ok(step.actions)
    }

    /// Plays the same random events through the fast path and through the slow path, and compares all that can be seen.
    /// Returns how often each of the fast paths applied.
    fn compare<S: BufferSource>(random: &mut fastrand::Rng, rounds: u32, make: impl Fn() -> Side<S>) -> [u32; 4] {
        let mut taken = [0; 4];
        for _ in 0..rounds {
            let (mut fast, mut slow) = (make(), make());
            assert_eq!(fast.receivers, slow.receivers);
            for now_ns in 0..500 {
                let (home, id) = fast.receivers[random.usize(0..fast.receivers.len())];
                let event = draw(random, &slow.pools[home], id);
                let row = slow.pools[home].table.row(id);
                let by_slow_path = slow.pools[home].handle_row(row, event);
                assert_eq!(handle(&mut fast.pools[home], id, event, &mut taken), by_slow_path, "{event:?}");
                let is_poll = random.u8(0..4) == 0;
                for (fast, slow) in fast.pools.iter_mut().zip(&mut slow.pools) {
                    if is_poll {
                        poll(fast, slow, now_ns);
                    }
                    assert_eq!(fast.stats(), slow.stats(), "{event:?}");
                    assert_eq!(fast.memory.arena().touched_bytes(), slow.memory.arena().touched_bytes());
                    assert_eq!((fast.check_invariants(), slow.check_invariants()), (Ok(()), Ok(())), "{event:?}");
                }
                for &(home, id) in &fast.receivers {
                    assert_eq!(fast.pools[home].describe(id), slow.pools[home].describe(id), "{event:?}");
                }
            }
        }
        taken
    }

    fn poll<S: BufferSource>(fast: &mut Pool<S>, slow: &mut Pool<S>, now_ns: u64) {
        fast.handle_timeout(now_ns);
        slow.handle_timeout(now_ns);
        loop {
            let (notice, by_slow_path) = (fast.poll_notice(), slow.poll_grant_or_reclaim());
            assert_eq!(notice, by_slow_path);
            if notice.is_none() {
                break;
            }
        }
        assert_eq!(fast.poll_wake(), slow.poll_wake());
        assert_eq!(fast.poll_timeout(), slow.source.poll_timeout());
    }

    #[test]
    #[cfg_attr(miri, ignore)] // it takes minutes
    fn fast_path_equals_slow_path() {
        let mut random = fastrand::Rng::with_seed(1);
        let sizes: [&[u32]; 2] = [&[4096], &[4096, 2048]];
        for (mode, sizes) in Mode::ALL.into_iter().flat_map(|mode| sizes.map(|sizes| (mode, sizes))) {
            for reads_ahead in [false, true] {
                // Then a receiver that holds something is seldom without more to receive.
                let rounds = if reads_ahead { 60 } else { 20 };
                let taken = compare(&mut random, rounds, || own(mode, sizes, reads_ahead));
                assert!(taken.iter().all(|&taken| taken > 0), "{mode:?} {sizes:?} {reads_ahead}: {taken:?}");
            }
        }
    }

    #[test]
    #[cfg(feature = "std")]
    #[cfg(not(loom))]
    #[cfg_attr(miri, ignore)] // it takes minutes
    fn fast_path_equals_slow_path_on_shared_pools() {
        let mut random = fastrand::Rng::with_seed(1);
        for mode in Mode::ALL {
            let taken = compare(&mut random, 8, || shared(mode));
            assert!(taken.iter().all(|&taken| taken > 0), "{mode:?}: {taken:?}");
        }
    }

    #[test]
    fn fast_path_leaves_a_holder_that_was_asked() {
        let mut config = PoolConfig::new(1, 2);
        (config.scheduler.park_ns, config.scheduler.lease_ns) = (Some(10), Some(20));
        let mut pool = Pool::new(&config).expect("the configuration is allowed");
        let [holder, other] = [7, 8].map(|token| pool.attach(&AttachOptions::new(0, token)).expect("there is room"));
        for id in [holder, other] {
            pool.handle(id, Event::Readable).expect("it is attached");
        }
        (0..=10).for_each(|now_ns| pool.handle_timeout(now_ns));
        assert_eq!(pool.poll_notice(), None, "it holds nothing that could be parked");
        assert_eq!(pool.stats().reclaim.parks_asked, 1);
        pool.handle(other, Event::Close).expect("it is attached");
        pool.handle(holder, Event::Received { bytes: 5 }).expect("there is room");
        assert!(pool.try_fast_finish(holder, 5).is_none(), "its deadline knows that it was asked");
        pool.handle(holder, Event::Consumed { bytes: 5 }).expect("they are buffered");
        assert_eq!((pool.check_invariants(), pool.stats().scheduler.leased), (Ok(()), 0));
    }

    #[test]
    fn fast_path_leaves_a_grant_that_limits_waiters() {
        let mut config = PoolConfig::new(2, 2);
        (config.scheduler.classes, config.scheduler.reserves[1], config.scheduler.tenants_max) = (2, 1, 1);
        let mut pool = Pool::new(&config).expect("the configuration is allowed");
        let tenant_config = TenantConfig { cap: 1, ..TenantConfig::default() };
        let tenant = pool.create_tenant(&tenant_config).expect("there is room");
        pool.request(0, 0).expect("a buffer is free");
        let [critical, other] = [0, 1].map(|class| pool.attach(&AttachOptions::new(class, 0)).expect("there is room"));
        for id in [other, critical] {
            pool.set_tenant(id, Some(tenant)).expect("its cap allows a buffer");
            assert!(pool.try_fast_begin(id).is_none(), "its reserve blocks it, or a request waits");
            pool.handle(id, Event::Readable).expect("it is attached");
        }
        let stats = pool.stats().scheduler;
        assert_eq!((pool.check_invariants(), stats.leased, stats.waiting), (Ok(()), 2, 1));
    }
}
