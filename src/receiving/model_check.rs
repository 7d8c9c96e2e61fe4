//! Numbers for all that the future depends on, for model checkers: two pools with the same numbers answer alike,
//! whatever is asked of them.

use super::buffers::Buffers;
use super::config::HEADER_BYTES;
use super::keeper::{Keeper, Place, Standing};
use super::{NIL, Receiving};
use alloc::vec::Vec;

impl<B: Buffers> Receiving<B> {
    /// How a receiver stands.
    pub(crate) fn receiver_key(&self, state: &mut Vec<u64>, age_ns_max: Option<u64>, receiver: u32) {
        let row = self.rows[receiver as usize];
        if age_ns_max.is_none() {
            // Numbers that may be below 0 are as good as any.
            state.push(row.credit_bytes as u64);
        }
        state.extend([row.unknown_length, row.submits, self.is_in_place(receiver)].map(u64::from));
        state.push(row.transport.bits());
        state.push(self.tenants.of(receiver).into());
        if row.keeper == NIL {
            state.push(u64::MAX);
            return;
        }
        let keeper = &self.keepers[row.keeper];
        let &Keeper { kept_bytes, needed_bytes, usable_bytes, start_ns, is_kept_for_good, is_guess, .. } = keeper;
        let &Keeper { looked_bytes, mark_bytes, is_full, .. } = keeper;
        state.extend([kept_bytes, needed_bytes, usable_bytes, looked_bytes, mark_bytes].map(u64::from));
        state.extend([is_kept_for_good, is_guess, is_full].map(u64::from));
        let age_ns = |at_ns| self.age_ns(at_ns).min(age_ns_max.unwrap_or(u64::MAX));
        let [cell_bytes, start, unpaid_ns] = self.place_key(keeper);
        let owed = if age_ns_max.is_some() { self.is_in_credit(row.keeper).into() } else { unpaid_ns };
        state.extend([cell_bytes, start, owed]);
        state.extend(self.standing_key(row.keeper, age_ns));
        state.push(start_ns.map_or(u64::MAX, age_ns));
        let is_spared = keeper.spared_ns > self.before_ns;
        state.push(if is_spared { self.age_ns(keeper.spared_ns) } else { 0 });
        // What is yet to come is not cut.
        let deadline_ns = self.heaps.deadline_ns(row.keeper, &self.keepers);
        let overdue_ns = if deadline_ns > self.clock.now_ns() { self.age_ns(deadline_ns) } else { age_ns(deadline_ns) };
        let queued = keeper.queued.map(|(queue, _)| [queue as u64, overdue_ns]);
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
    fn standing_key(&self, at: u32, age_ns: impl Fn(u64) -> u64) -> [u64; 2] {
        match self.keepers[at].standing {
            Standing::Resting => [0, 0],
            Standing::Claiming { since_ns } => [1, age_ns(since_ns)],
            Standing::Off => {
                let off = self.tenants.off_of(self.tenants.of(self.keepers[at].receiver));
                [2, self.keepers.place_in(off, at)]
            }
            Standing::Held { since_ns } => [3, age_ns(since_ns)],
            Standing::Marked => [4, 0],
            Standing::Shed { reason } => [5 + reason as u64, self.keepers.place_in(self.shed, at)],
        }
    }

    /// What is of no single receiver.
    pub(crate) fn state_key(&self, state: &mut Vec<u64>) {
        state.extend([self.clock.has_begun().into(), self.age_ns(self.before_ns)]);
        state.extend([self.trials_left, self.evictions_left].map(u64::from));
    }

    /// How long ago this was; a number near the largest if it is to come.
    fn age_ns(&self, at_ns: u64) -> u64 {
        self.clock.now_ns().wrapping_sub(at_ns)
    }
}
