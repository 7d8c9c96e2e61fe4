//! Numbers for all that the future depends on, for model checkers: two pools with the same numbers answer alike,
//! whatever is asked of them.

use super::kept_cycle::KeptCycle;
use super::{BufferSource, Pool, ReceiverId};
use crate::scheduler::{LeaseId, WaitId};
use alloc::vec::Vec;
use core::marker::PhantomData;

impl<S: BufferSource + Clone> Clone for Pool<S> {
    fn clone(&self) -> Pool<S> {
        let memory = self.memory.clone();
        let mut cycle = self.cycle;
        cycle.buffer = memory.receive_buffer_address();
        Pool {
            cycle,
            kept_cycle: KeptCycle { at: memory.unlisted_address(self.kept_cycle.index), ..self.kept_cycle },
            table: self.table.clone(),
            counts: self.counts,
            memory,
            policy: self.policy,
            scheduled: self.scheduled.clone(),
            undelivered: self.undelivered.clone(),
            awaited: self.awaited,
            is_draining: self.is_draining,
            audit: self.audit.clone(),
            is_not_sync: PhantomData,
        }
    }
}

impl Pool {
    /// Writes down how each receiver and the pool stand (see
    /// [`Scheduler::state_key`](crate::scheduler::Scheduler::state_key)). Receivers are named by the numbers that the
    /// caller has for them, all different, and in their order; waits and leases of the host's own by the numbers that
    /// it has for these. Rows are part of it, since the lowest goes first where nothing else decides. The values of
    /// bytes are left out. With `age_ns_max`, ages count up to this, and of credit whether there is enough, so that
    /// there is an end to the states of a pool in time; the numbers of two pools may be alike then that differ later.
    pub fn state_key(
        &self,
        state: &mut Vec<u64>,
        age_ns_max: Option<u64>,
        receiver: &dyn Fn(ReceiverId) -> u64,
        wait: &dyn Fn(WaitId) -> u64,
        lease: &dyn Fn(LeaseId) -> u64,
    ) {
        let mut all: Vec<(u64, u32)> = self.table.iter().map(|index| (receiver(self.table.id(index)), index)).collect();
        all.sort_unstable();
        for (name, index) in all {
            let [is_scheduled, is_undelivered] =
                [&self.scheduled, &self.undelivered].map(|bits| bits.get(index).into());
            state.extend([name, index.into(), self.table.class(index).into(), is_scheduled, is_undelivered]);
            self.connection_at(index).state_key(state);
            state.push(self.has_open_cycle(index).into());
            state.push(self.kept_cycle.key(index));
            self.memory.receiver_key(state, age_ns_max, index);
        }
        state.extend([u64::MAX, self.awaited as u64]);
        state.extend(self.table.free_rows().map(u64::from));
        self.memory.state_key(state);
        self.memory.buffers().state_key(state, wait, lease);
    }
}
