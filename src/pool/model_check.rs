//! Copies, and numbers for all that the future depends on, for model checkers.

use super::table::Place;
use super::{Pool, ReceiverId};
use crate::scheduler::{LeaseId, Scheduler, WaitId};
use core::marker::PhantomData;

impl Clone for Pool<Scheduler> {
    /// The same once more, with memory of its own, in which the same handles name the same.
    fn clone(&self) -> Pool {
        Pool {
            source: self.source.clone(),
            memory: self.memory.clone(),
            table: self.table.clone(),
            host_waits: self.host_waits,
            is_attach_awaited: self.is_attach_awaited,
            config: self.config,
            counts: self.counts,
            audit: self.audit.clone(),
            is_not_sync: PhantomData,
        }
    }
}

impl Pool<Scheduler> {
    /// Writes down how each receiver and the pool stand (see
    /// [`Scheduler::state_key`](crate::scheduler::Scheduler::state_key)). Receivers are named by the numbers that
    /// the caller has for them, all different, and in their order; waits and leases of the host's own by the numbers
    /// that it has for these, different from those of receivers. The values of bytes are left out.
    pub fn state_key(
        &self,
        state: &mut Vec<u64>,
        receiver: &dyn Fn(ReceiverId) -> u64,
        wait: &dyn Fn(WaitId) -> u64,
        lease: &dyn Fn(LeaseId) -> u64,
    ) {
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
        state.extend([u64::MAX, self.host_waits.into(), self.is_attach_awaited.into()]);
        let waits = |of: WaitId| {
            let waits = |&&(_, index): &&(u64, u32)| self.table.wait(index) == Some(of.index());
            all.iter().find(waits).map_or_else(|| wait(of), |&(name, _)| name)
        };
        let leases = |of: LeaseId| self.table.holder(of.index()).map_or_else(|| lease(of), name);
        self.source.state_key(state, &waits, &leases);
    }
}
