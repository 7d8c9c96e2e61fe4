//! Numbers for all that the future depends on, for model checkers: two pools with the same numbers answer alike, whatever
//! is asked of them.

use super::buffers::Buffers;
use super::config::HEADER_BYTES;
use super::keeper::{Keeper, Place, Standing};
use super::{NIL, Receiving, ReceivingPool};
use crate::pool::ReceiverId;
use crate::scheduler::{LeaseId, WaitId};
use alloc::vec::Vec;

impl ReceivingPool {
    /// Writes down how each receiver and the pool stand (see
    /// [`Scheduler::state_key`](crate::scheduler::Scheduler::state_key)). Receivers are named by the numbers that
    /// the caller has for them, all different, and in their order; waits and leases of the host's own by the numbers
    /// that it has for these. Rows are part of it, since the lowest goes first where nothing else decides. The values of
    /// bytes are left out.
    pub fn state_key(
        &self,
        state: &mut Vec<u64>,
        receiver: &dyn Fn(ReceiverId) -> u64,
        wait: &dyn Fn(WaitId) -> u64,
        lease: &dyn Fn(LeaseId) -> u64,
    ) {
        let mut all: Vec<(u64, u32)> = self.table.iter().map(|index| (receiver(self.table.id(index)), index)).collect();
        all.sort_unstable();
        for (name, index) in all {
            let is_scheduled = self.scheduled.get(index).into();
            state.extend([name, index.into(), self.table.class(index).into(), is_scheduled]);
            self.table.connection(index).state_key(state);
            self.memory.receiver_key(state, index);
        }
        state.extend([u64::MAX, self.is_attach_awaited.into()]);
        state.extend(self.table.free_rows().map(u64::from));
        self.memory.state_key(state);
        // Which of the buffers a receiver uses makes no difference.
        let leases = |of: LeaseId| if self.host_leases.get(of.index()) { lease(of) } else { u64::MAX };
        self.memory.buffers().scheduler.state_key(state, wait, &leases);
    }
}

impl<B: Buffers> Receiving<B> {
    /// How a receiver stands.
    fn receiver_key(&self, state: &mut Vec<u64>, receiver: u32) {
        let row = self.rows[receiver as usize];
        // Numbers that may be below 0 are as good as any.
        state.push(row.credit_bytes as u64);
        let is_light = self.borrows_lightly(receiver);
        state.extend([row.unknown_length, row.submits, row.reads_ahead, is_light].map(u64::from));
        state.push(self.tenants.of(receiver).into());
        if row.keeper == NIL {
            state.push(u64::MAX);
            return;
        }
        let keeper = &self.keepers[row.keeper];
        let &Keeper { kept_bytes, needed_bytes, usable_bytes, start_ns, is_kept_for_good, is_guess, .. } = keeper;
        state.extend([kept_bytes, needed_bytes, usable_bytes].map(u64::from));
        state.extend([is_kept_for_good, is_guess].map(u64::from));
        state.extend(self.place_key(keeper));
        state.extend(self.standing_key(row.keeper));
        state.push(start_ns.map_or(u64::MAX, |start_ns| self.age_ns(start_ns)));
        let deadline_ns = self.heaps.deadline_ns(row.keeper, &self.keepers);
        let queued = keeper.queued.map(|(queue, _)| [queue as u64, self.age_ns(deadline_ns)]);
        state.extend(queued.unwrap_or([u64::MAX; 2]));
        match self.borrows.get(keeper.borrow as usize) {
            Some(borrow) => {
                borrow.state_key(state);
                state.extend(self.flights.flight_key(borrow.flight));
                state.push(self.keepers.place_in(self.flights.untouched, row.keeper));
            }
            None => state.push(u64::MAX),
        }
    }

    /// Size of a cell, where the content begins in a whole buffer, and since when it is to be paid for.
    fn place_key(&self, keeper: &Keeper) -> [u64; 3] {
        let cell_bytes = self.cell_bytes(keeper.place);
        let start = if let Place::Whole { start, .. } = keeper.place { start } else { 0 };
        let unpaid_ns = if cell_bytes > HEADER_BYTES { self.age_ns(keeper.charged_ns) } else { 0 };
        [cell_bytes.into(), start.into(), unpaid_ns]
    }

    /// What it waits for, and since when, or in which order.
    fn standing_key(&self, at: u32) -> [u64; 2] {
        match self.keepers[at].standing {
            Standing::Resting => [0, 0],
            Standing::Claiming { since_ns } => [1, self.age_ns(since_ns)],
            Standing::Off => {
                let off = self.tenants.off_of(self.tenants.of(self.keepers[at].receiver));
                [2, self.keepers.place_in(off, at)]
            }
            Standing::Held { since_ns } => [3, self.age_ns(since_ns)],
            Standing::Shed { reason } => [4 + reason as u64, self.keepers.place_in(self.shed, at)],
        }
    }

    /// What is of no single receiver.
    fn state_key(&self, state: &mut Vec<u64>) {
        state.extend([self.clock.has_begun().into(), self.age_ns(self.before_ns)]);
        state.extend([self.trials_left, self.evictions_left].map(u64::from));
    }

    /// How long ago this was; a number near the largest if it is to come.
    fn age_ns(&self, at_ns: u64) -> u64 {
        self.clock.now_ns().wrapping_sub(at_ns)
    }
}
