//! A receive where nothing stands in the way: a buffer is free, all that came is decoded, nobody minds. Nearly all are.
//!
//! What `step` does for these in several rounds is done here in one; whatever is not that simple is left to it, unchanged.

use super::{ReceiverId, Receivers};
use crate::connection::Actions;
use crate::pool::Request;
#[cfg(feature = "ffi")]
use core::ptr::NonNull;

/// What came of the short way.
pub(crate) struct Plain {
    pub(crate) actions: Actions,
    /// Where the host goes on.
    #[cfg_attr(not(feature = "ffi"), allow(dead_code, reason = "only C is told where"))]
    area: Area,
}

/// Where a buffer starts and so many bytes; nowhere, if there are none.
#[cfg_attr(not(feature = "ffi"), allow(dead_code, reason = "only C is told where"))]
struct Area {
    buffer: u32,
    bytes: u32,
}

impl Area {
    const NONE: Area = Area { buffer: 0, bytes: 0 };
}

impl Receivers {
    /// A connection that holds nothing is readable and gets a buffer.
    #[inline(always)]
    pub(crate) fn begin_plainly(&mut self, id: ReceiverId) -> Option<Plain> {
        let pool = self.pool.own()?;
        let idle = self.table.find_idle(id)?;
        let (class, size) = (idle.class(), self.config.first_size);
        let bytes = self.memory.arena().buffer_bytes(size);
        if !idle.connection().may_begin_plainly(bytes) {
            return None;
        }
        let request = Request { token: id.index().into(), tenant: None, class, size, is_timed: true };
        if !self.memory.arena().is_there(pool.next_buffer(size)?) {
            return None;
        }
        let buffer = pool.grant_plainly(&request, idle.tenant())?;
        let actions = idle.hold(buffer).begin_plainly(bytes);
        Some(Plain { actions, area: Area { buffer, bytes } })
    }

    /// A connection that holds a buffer has received what its decoder can go on with, and there is room left.
    #[inline(always)]
    pub(crate) fn receive_plainly(&mut self, id: ReceiverId, bytes: u32) -> Option<Plain> {
        let mut holder = self.table.find_holder(id)?;
        // Else the machine knows not how much room is behind the content.
        if holder.start() > 0 {
            return None;
        }
        let (buffer, connection) = (holder.buffer(), holder.connection());
        let actions = connection.receive_plainly(bytes)?;
        self.counts.received_bytes += u64::from(bytes);
        Some(Plain { actions, area: Area { buffer, bytes: connection.level() } })
    }

    /// All that a connection holds is decoded, nothing more is there to be received, and it gives its buffer back.
    #[inline(always)]
    pub(crate) fn finish_plainly(&mut self, id: ReceiverId, bytes: u32) -> Option<Plain> {
        let pool = self.pool.own()?;
        let mut holder = self.table.find_holder(id)?;
        if !holder.connection().may_finish_plainly(bytes) || !pool.release_plainly(holder.buffer()) {
            return None;
        }
        let actions = holder.connection().finish_plainly();
        holder.drop_buffer();
        self.counts.consumed_bytes += u64::from(bytes);
        Some(Plain { actions, area: Area::NONE })
    }

    /// A connection that holds nothing is watched again.
    #[inline(always)]
    pub(crate) fn arm_plainly(&mut self, id: ReceiverId) -> Option<Plain> {
        let actions = self.table.find_idle(id)?.connection_mut().arm_plainly()?;
        Some(Plain { actions, area: Area::NONE })
    }

    /// Where the host goes on, for C: an address and a length, as [`area`](Receivers::area).
    #[cfg(feature = "ffi")]
    #[inline(always)]
    pub(crate) fn area_of(&self, plain: &Plain) -> Option<(NonNull<u8>, u32)> {
        let Area { buffer, bytes } = plain.area;
        (bytes > 0).then(|| (self.memory.arena().address(buffer), bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::{Action, Event, Mode};
    use crate::pool::TenantConfig;
    use crate::receiver::{ReceiverError, ReceiversConfig};

    const RECEIVERS: usize = 3;

    /// Two buffers of 4096 bytes or four of 2048, of which receivers ask for the smaller ones first; with deadlines. The
    /// first receiver requests in the name of a tenant.
    fn receivers(mode: Mode, sizes: &[u32]) -> (Receivers, [ReceiverId; RECEIVERS]) {
        let mut config = ReceiversConfig::new(2, RECEIVERS as u32);
        config.set_buffer_sizes(sizes).expect("the sizes are allowed");
        config.first_size = sizes.len() as u8 - 1;
        (config.pool.park_ns, config.pool.lease_ns, config.pool.tenants_max) = (10, 20, 1);
        config.policy.mode = mode;
        let mut receivers = Receivers::new(&config).expect("the configuration is allowed");
        let share = TenantConfig { cap: 1, ..TenantConfig::default() };
        let tenant = receivers.create_tenant(&share).expect("there is room");
        let ids = core::array::from_fn(|token| receivers.attach(0, token as u64).expect("there is room"));
        receivers.set_tenant(ids[0], Some(tenant)).expect("its cap allows a buffer");
        (receivers, ids)
    }

    /// What happens to a receiver, by lot: what it is to do, or anything, also what cannot be.
    fn draw(random: &mut fastrand::Rng, receivers: &Receivers, id: ReceiverId) -> Event {
        let level = receivers.connection(id).expect("it is attached").level();
        if random.bool() {
            let actions = receivers.pending(id).expect("it is attached");
            return match random.bool() {
                true if actions.has(Action::WantRecv) => Event::done(Action::WantRecv),
                _ if actions.has(Action::Demux) => Event::Consumed { bytes: level },
                true if actions.has(Action::Recv) => Event::Received { bytes: 100 },
                false if actions.has(Action::Recv) => Event::WouldBlock,
                _ => Event::Readable,
            };
        }
        match random.u8(0..10) {
            0..3 => Event::Readable,
            3..5 => Event::Received { bytes: [0, 1, 100, 2047, 2048, 4096][random.usize(0..6)] },
            5..7 => Event::Consumed { bytes: [level, level, level, level / 2, level + 1, 0][random.usize(0..6)] },
            7 => Event::NeedMore { bytes: random.u32(1..3000) },
            8 => Event::done([Action::WantRecv, Action::StopRecv, Action::Recv][random.usize(0..3)]),
            _ => [Event::WouldBlock, Event::Block { reasons: 1 }, Event::Unblock { reasons: 1 }][random.usize(0..3)],
        }
    }

    /// The short way where there is one; counts which.
    fn handle(
        receivers: &mut Receivers,
        id: ReceiverId,
        event: Event,
        taken: &mut [u32; 4],
    ) -> Result<Actions, ReceiverError> {
        let (way, plain) = match event {
            Event::Readable => (0, receivers.begin_plainly(id)),
            Event::Received { bytes } => (1, receivers.receive_plainly(id, bytes)),
            Event::Consumed { bytes } => (2, receivers.finish_plainly(id, bytes)),
            Event::Done { actions } if actions == Action::WantRecv as u32 => (3, receivers.arm_plainly(id)),
            _ => (0, None),
        };
        let Some(plain) = plain else {
            return receivers.handle(id, event);
        };
        taken[way] += 1;
        #[cfg(feature = "ffi")]
        {
            let area = receivers.area_of(&plain);
            assert_eq!(area, receivers.area(id.index(), plain.actions.has(Action::Recv)), "{event:?}");
        }
        Ok(plain.actions)
    }

    #[test]
    #[cfg_attr(miri, ignore)] // it takes minutes
    fn the_short_way_leads_to_where_the_long_way_does() {
        let modes = [Mode::Level, Mode::Edge, Mode::OneShot, Mode::Optimistic, Mode::Completion];
        let sizes: [&[u32]; 2] = [&[4096], &[4096, 2048]];
        let mut random = fastrand::Rng::with_seed(1);
        for (mode, sizes) in modes.into_iter().flat_map(|mode| sizes.map(|sizes| (mode, sizes))) {
            let mut taken = [0; 4];
            for _ in 0..20 {
                let [(mut short, ids), (mut long, same_ids)] = [(); 2].map(|()| receivers(mode, sizes));
                assert_eq!(ids, same_ids);
                for now_ns in 0..500 {
                    let id = ids[random.usize(0..RECEIVERS)];
                    let event = draw(&mut random, &long, id);
                    let by_table = long.handle_at(id.index(), event);
                    assert_eq!(handle(&mut short, id, event, &mut taken), by_table, "{event:?}");
                    if random.u8(0..4) == 0 {
                        [&mut short, &mut long].into_iter().for_each(|receivers| receivers.handle_timeout(now_ns));
                        let granted = core::iter::from_fn(|| Some((short.poll_grant(), long.poll_grant_or_reclaim())));
                        for (granted, by_table) in granted.take_while(|polled| *polled != (None, None)) {
                            assert_eq!(granted, by_table);
                        }
                        assert_eq!(short.poll_timeout(), long.pool.poll_timeout());
                    }
                    assert_eq!(short.stats(), long.stats(), "{event:?}");
                    assert_eq!(short.memory.arena().touched_bytes(), long.memory.arena().touched_bytes());
                    assert_eq!(ids.map(|id| short.describe(id)), ids.map(|id| long.describe(id)), "{event:?}");
                    assert_eq!((short.check_invariants(), long.check_invariants()), (Ok(()), Ok(())), "{event:?}");
                }
            }
            assert!(taken.iter().all(|&taken| taken > 0), "{mode:?} {sizes:?}: {taken:?}");
        }
    }

    #[test]
    fn who_was_asked_for_an_empty_buffer_gives_it_back_the_long_way() {
        let mut config = ReceiversConfig::new(1, 2);
        (config.pool.park_ns, config.pool.lease_ns) = (10, 20);
        let mut receivers = Receivers::new(&config).expect("the configuration is allowed");
        let [holder, other] = [7, 8].map(|token| receivers.attach(0, token).expect("there is room"));
        for id in [holder, other] {
            receivers.handle(id, Event::Readable).expect("it is attached");
        }
        receivers.handle_timeout(10);
        assert_eq!(receivers.poll_grant(), None, "it holds nothing that could be parked");
        assert_eq!(receivers.stats().pool.parks_asked, 1);
        receivers.handle(other, Event::Close).expect("it is attached");
        receivers.handle(holder, Event::Received { bytes: 5 }).expect("there is room");
        assert!(receivers.finish_plainly(holder, 5).is_none(), "its deadline knows that it was asked");
        receivers.handle(holder, Event::Consumed { bytes: 5 }).expect("they are buffered");
        assert_eq!((receivers.check_invariants(), receivers.stats().pool.leased), (Ok(()), 0));
    }

    #[test]
    fn a_buffer_that_limits_who_waits_is_granted_the_long_way() {
        let mut config = ReceiversConfig::new(2, 2);
        (config.pool.classes, config.pool.reserves[1], config.pool.tenants_max) = (2, 1, 1);
        let mut receivers = Receivers::new(&config).expect("the configuration is allowed");
        let share = TenantConfig { cap: 1, ..TenantConfig::default() };
        let tenant = receivers.create_tenant(&share).expect("there is room");
        receivers.request(0, 0).expect("a buffer is free");
        let [critical, other] = [0, 1].map(|class| receivers.attach(class, 0).expect("there is room"));
        for id in [other, critical] {
            receivers.set_tenant(id, Some(tenant)).expect("its cap allows a buffer");
            assert!(receivers.begin_plainly(id).is_none(), "its reserve keeps it back, or somebody waits");
            receivers.handle(id, Event::Readable).expect("it is attached");
        }
        let stats = receivers.stats().pool;
        assert_eq!((receivers.check_invariants(), stats.leased, stats.waiting), (Ok(()), 2, 1));
    }
}
