//! All that the future of the model depends on, as numbers, for the search: two with the same numbers answer alike,
//! whatever is asked of them. What only records the past is left out: counts, tokens, ages of waits.

use super::deadlines::{LeasePhase, Turns};
use super::turns::{Class, Turn};
use super::{Lease, ModelScheduler, Tenant, Wait};
use std::collections::BTreeMap;

/// The numbers of handles in the state that was written down: the same for all leases that are alike.
pub(crate) type Names = BTreeMap<u64, u64>;

impl ModelScheduler {
    /// Writes down waits and leases, in which order, and their state; times as ages, tenants by their age.
    /// `owner` names the owner of a wait or a lease. Returns the numbers of waits and leases here, by their handles.
    ///
    /// No pattern here has `..`, so that nothing is added to the model and forgotten here.
    pub(crate) fn state_key(&self, state: &mut Vec<u64>, owner: &dyn Fn(u64) -> u64) -> Names {
        let ModelScheduler {
            config: _,
            held,
            assigned,
            queued,
            classes,
            tenants,
            weight_peak,
            shedding: _, // with the lease
            turns,
            now_ns: _, // with each age
            advanced_ns,
            next_id: _,
            withheld,
            to_withhold,
            stats: _,
        } = self;
        state.extend([advanced_ns.is_some().into(), u64::from(*withheld), u64::from(*to_withhold)]);
        let mut names = Names::new();
        let mut described: Vec<_> = held.iter().map(|lease| (self.describe_fully(lease, owner), lease.id)).collect();
        described.sort_unstable();
        let mut distinct: Vec<_> = described.iter().map(|&(lease, _)| lease).collect();
        distinct.dedup();
        for (lease, id) in described {
            let name = distinct.iter().position(|&other| other == lease).expect("it is one of them");
            state.push(name as u64);
            state.extend(lease);
            names.insert(id, name as u64);
        }
        state.push(u64::MAX);
        let mut write_wait = |state: &mut Vec<u64>, wait: &Wait| {
            let Wait { id, token: _, class, tenant, size_index, has_deadline, since_ns: _, place: _, bypasses } = *wait;
            let name = names.len() as u64;
            state.extend([
                owner(id),
                class as u64,
                self.age_of(tenant),
                size_index.into(),
                has_deadline.into(),
                bypasses,
            ]);
            names.insert(id, name);
        };
        for (wait, lease) in assigned {
            write_wait(state, wait);
            state.extend(self.describe_fully(lease, owner));
        }
        state.push(u64::MAX);
        // The order of waits in different classes or for different tenants makes no difference.
        let mut queued: Vec<&Wait> = queued.iter().collect();
        queued.sort_by_key(|wait| (wait.class, wait.tenant));
        queued.into_iter().for_each(|wait| write_wait(state, wait));
        state.extend([u64::MAX, (*weight_peak).into()]);
        for tenant in tenants.values() {
            let Tenant { weight, guaranteed, cap, granted: _, is_retiring } = *tenant;
            state.extend([weight, guaranteed, cap, is_retiring.into()].map(u64::from));
        }
        classes.iter().for_each(|class| self.write_class(state, class));
        let Turns { to_park, to_shed } = turns;
        for round in [to_park, to_shed] {
            state.extend(round.iter().map(|&tenant| self.age_of(tenant)));
            state.push(u64::MAX);
        }
        names
    }

    fn write_class(&self, state: &mut Vec<u64>, class: &Class) {
        let Class { bypassed, round, entitled, entitled_run } = class;
        state.extend([*bypassed, (*entitled_run).into(), u64::MAX]);
        for &Turn { tenant, deficit, is_on } in round {
            state.extend([self.age_of(tenant), deficit.into(), is_on.into()]);
        }
        state.push(u64::MAX);
        state.extend(entitled.iter().map(|&tenant| self.age_of(tenant)));
        state.push(u64::MAX);
    }

    /// A tenant's place among all, the oldest first.
    pub(in crate::model) fn age_of(&self, tenant: u64) -> u64 {
        self.tenants.range(..tenant).count() as u64
    }

    /// The owner of a lease, its purpose, the progress of its holder, its place among equals, and for how long it has
    /// been shed.
    fn describe_fully(&self, lease: &Lease, owner: &dyn Fn(u64) -> u64) -> [u64; 11] {
        let Lease { id, token: _, class, tenant, units, timed } = *lease;
        let known = [owner(id), class as u64, self.age_of(tenant), units.into()];
        let timed = timed.map_or([0; 7], |timed| {
            let phase = timed.phase;
            let place = self.in_phase(|other| other == phase).iter().position(|&(other, _)| other == id);
            let phase = match phase {
                LeasePhase::Active => 1,
                LeasePhase::Idle => 2,
                LeasePhase::Asked => 3,
                LeasePhase::Expired { cost } => 4 + u64::from(cost),
            };
            let shed = self.shedding.filter(|&(shed, _)| shed == id);
            let idle = timed.lease_info(self.now_ns);
            let place = place.expect("it is in the list") as u64;
            let shed_ns = shed.map_or(0, |(_, since_ns)| self.now_ns - since_ns + 1);
            [1, phase, place, idle.held_ns, idle.idle_ns, idle.progress_bytes, shed_ns]
        });
        let [a, b, c, d] = known;
        let [e, f, g, h, i, j, k] = timed;
        [a, b, c, d, e, f, g, h, i, j, k]
    }
}
