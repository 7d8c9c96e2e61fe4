//! Copies, and numbers for all that the future depends on, for model checkers.

use super::source::Source;
use super::table::Place;
use super::{Pool, ReceiverId};
use crate::scheduler::{LeaseId, WaitId};
use core::marker::PhantomData;

impl Pool {
    /// The same once more, with memory of its own, in which the same handles name the same; `None` for a pool that is
    /// shared with other threads.
    pub fn try_clone(&self) -> Option<Pool> {
        let scheduler = match &self.scheduler {
            Source::Scheduler(scheduler) => Source::Scheduler(scheduler.clone()),
            Source::Shard(_) => return None,
        };
        let (memory, table, config) = (self.memory.clone(), self.table.clone(), self.config);
        let (host_waits, counts, is_not_sync) = (self.host_waits, self.counts, PhantomData);
        Some(Pool { scheduler, memory, table, host_waits, config, counts, is_not_sync })
    }

    /// Writes down how each receiver and the pool stand (see
    /// [`Scheduler::state_key`](crate::scheduler::Scheduler::state_key)). Receivers are told by the numbers that
    /// the caller has for them, all different, and in their order; waits and leases of the host's own by the numbers
    /// that it has for these, different from those of receivers. The values of bytes are left out. Nothing is written
    /// for a pool that is shared with other threads.
    pub fn state_key(
        &self,
        state: &mut Vec<u64>,
        receiver: &dyn Fn(ReceiverId) -> u64,
        wait: &dyn Fn(WaitId) -> u64,
        lease: &dyn Fn(LeaseId) -> u64,
    ) {
        let Source::Scheduler(scheduler) = &self.scheduler else {
            return;
        };
        let name = |index: u32| receiver(self.table.id(index));
        let mut all: Vec<(u64, u32)> = self.table.iter().map(|index| (name(index), index)).collect();
        all.sort_unstable();
        for &(name, index) in &all {
            let place = match self.table.place(index) {
                Place::Nowhere => 0,
                Place::Slot(slot) => 1 + self.memory.slots().bytes_of(slot) as u64,
                Place::Buffer(_) => 1,
            };
            let (class, tenant) = (self.table.class(index).into(), self.table.tenant(index).into());
            let granted = self.table.deferred_grant(index).is_some();
            state.extend([name, place, self.table.start(index).into(), class, tenant, granted.into()]);
            self.table.connection(index).state_key(state);
        }
        state.extend([u64::MAX, self.host_waits.into()]);
        let waits = |of: WaitId| {
            let waits = |&&(_, index): &&(u64, u32)| self.table.wait(index) == Some(of.index());
            all.iter().find(waits).map_or_else(|| wait(of), |&(name, _)| name)
        };
        let leases = |of: LeaseId| self.table.holder(of.index()).map_or_else(|| lease(of), name);
        scheduler.state_key(state, &waits, &leases);
    }
}
