//! Numbers for all that the future of a pool depends on, for model checkers: two pools with the same numbers answer
//! alike, whatever is asked of them.

use super::buffers::{Lease, LeaseState};
use super::waits::Wait;
use super::{LeaseId, Scheduler, WaitId};
use alloc::vec::Vec;

impl Scheduler {
    /// Writes all waits and leases with their states, in order; times as ages. `wait` and `lease` return the caller's
    /// number of a handle; handles that the caller does not distinguish have the same number. State that only describes
    /// the past is left out: counts, ages of waits, and how often an entry of a table was used.
    pub fn state_key(&self, state: &mut Vec<u64>, wait: &dyn Fn(WaitId) -> u64, lease: &dyn Fn(LeaseId) -> u64) {
        state.push(self.clock.has_begun().into());
        state.extend([self.buffers.withheld(), self.to_withhold].map(u64::from));
        state.extend(self.classes[..self.classes_used.into()].iter().map(|class| class.bypassed));
        let write_wait = |state: &mut Vec<u64>, index: u32| {
            let Wait { class, size_index, tenant, has_deadline, .. } = self.waits.table()[index as usize];
            state.extend([class.into(), size_index.into(), tenant, has_deadline.into()].map(u64::from));
            state.extend([wait(self.wait_at(index)), self.bypasses(&self.waits.table()[index as usize])]);
        };
        for index in self.assigned.iter(self.waits.table()) {
            write_wait(state, index);
            state.extend(self.deadlines.describe_fully(self.waits.table()[index as usize].buffer, self.clock.now_ns()));
        }
        state.push(u64::MAX);
        self.deadlines.state_key(state);
        self.tenants.state_key(state, self.waits.table(), &write_wait);
        let leased = (0..).zip(self.buffers.table()).filter(|(_, entry)| entry.state == LeaseState::Leased);
        let written = leased.map(|(buffer, &Lease { class, size_index, tenant, has_deadline, .. })| {
            let name = lease(self.lease_at(buffer));
            let age = self.deadlines.describe_fully(buffer, self.clock.now_ns());
            (name, [class.into(), size_index.into(), tenant, has_deadline.into()], age)
        });
        let mut leased: Vec<_> = written.collect();
        leased.sort_unstable();
        for (name, kind, age) in leased {
            state.push(name);
            state.extend(kind.map(u64::from));
            state.extend(age);
        }
    }
}
