//! All that the future of the model depends on, as numbers: see the pool's.

use super::{ModelPool, Receiver};
use crate::model::scheduler::Names;

impl ModelPool {
    /// Writes down the state of each receiver and of the pool; receivers by the caller's numbers for them, all
    /// different and below `u64::MAX`. Returns the numbers of waits and leases here.
    pub(crate) fn state_key(&self, state: &mut Vec<u64>, receiver: &dyn Fn(u64) -> u64) -> Names {
        const HOST: u64 = u64::MAX;
        let ModelPool {
            config: _,
            scheduler,
            receivers,
            memory: _,   // values of bytes
            arriving: _, // likewise
            next_receiver: _,
            is_attach_awaited,
            counts: _,
        } = self;
        let owner = |handle: u64| {
            let has = |(_, of): &(&u64, &Receiver)| [of.lease, of.wait, of.granted].contains(&Some(handle));
            receivers.iter().find(has).map_or(HOST, |(&id, _)| receiver(id))
        };
        let names = scheduler.state_key(state, &owner);
        state.push((*is_attach_awaited).into());
        let mut all: Vec<_> = receivers.iter().map(|(&id, of)| (receiver(id), of)).collect();
        all.sort_unstable_by_key(|&(name, _)| name);
        for (name, of) in all {
            let Receiver { connection, start, lease, slot, wait, granted, in_flight: _, token: _, class, tenant } = of;
            let place = |handle: Option<u64>| handle.map_or(u64::MAX, |handle| names[&handle]);
            let slot = slot.map_or(u64::MAX, |size_index| size_index as u64);
            state.extend([name, (*start).into(), place(*lease), slot, place(*wait), place(*granted)]);
            state.extend([(*class).into(), scheduler.age_of(*tenant)]);
            connection.state_key(state);
        }
        names
    }
}
