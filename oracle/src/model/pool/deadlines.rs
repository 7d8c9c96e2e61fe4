//! Who is asked to give back: the rules of the section on deadlines in the docs of `demuxbuf::pool`.

use super::{Lease, ModelPool};
use crate::subject::Demand;
use demuxbuf::pool::{Idleness, ReclaimKind};

/// What became of a holder that makes no progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stand {
    /// Nobody asked it for anything since it last made progress.
    Active,
    /// It was asked to park.
    Asked,
    /// Its deadline passed, at this cost as a power of two.
    Expired { cost: u32 },
}

/// How the holder of a timed lease gets on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timed {
    granted_ns: u64,
    progress_ns: u64,
    progress_bytes: u64,
    pub(super) stand: Stand,
    /// Among those that stand alike the smallest is first.
    place: u64,
}

impl Timed {
    pub(super) fn idleness(&self, now_ns: u64) -> Idleness {
        Idleness {
            held_ns: now_ns - self.granted_ns,
            idle_ns: now_ns - self.progress_ns,
            progress_bytes: self.progress_bytes,
        }
    }
}

impl ModelPool {
    /// A lease that begins now; nothing if leases have no deadline here.
    pub(super) fn timed(&mut self) -> Option<Timed> {
        let (granted_ns, progress_ns) = (self.now_ns, self.now_ns);
        let place = self.new_id();
        let timed = Timed { granted_ns, progress_ns, progress_bytes: 0, stand: Stand::Active, place };
        (self.config.lease_ns != u64::MAX).then_some(timed)
    }

    fn lease_mut(&mut self, lease: u64) -> Option<&mut Lease> {
        let assigned = self.assigned.iter_mut().map(|(_, lease)| lease);
        self.held.iter_mut().chain(assigned).find(|held| held.id == lease)
    }

    pub(super) fn progressed(&mut self, lease: u64, bytes: u64) {
        let (now_ns, place) = (self.now_ns, self.new_id());
        let Some(timed) = self.lease_mut(lease).and_then(|lease| lease.timed.as_mut()) else {
            return;
        };
        timed.progress_bytes = timed.progress_bytes.saturating_add(bytes);
        (timed.progress_ns, timed.stand, timed.place) = (now_ns, Stand::Active, place);
        self.shedding = self.shedding.filter(|&(shed, _)| shed != lease);
    }

    pub(in crate::model) fn start_timing(&mut self, lease: u64) {
        let timed = self.timed();
        let lease = self.lease_mut(lease).expect("a lease in force");
        lease.timed = lease.timed.or(timed);
    }

    pub(in crate::model) fn stop_timing(&mut self, lease: u64) {
        self.lease_mut(lease).expect("a lease in force").timed = None;
        self.shedding = self.shedding.filter(|&(shed, _)| shed != lease);
    }

    fn stand(&mut self, lease: u64, stand: Stand) {
        let place = self.new_id();
        let timed = self.lease_mut(lease).and_then(|lease| lease.timed.as_mut()).expect("it has a deadline");
        (timed.stand, timed.place) = (stand, place);
    }

    /// Those that stand so, the first first.
    fn standing(&self, stand: impl Fn(Stand) -> bool) -> Vec<(u64, Timed)> {
        let mut all: Vec<(u64, Timed)> = self
            .leases()
            .filter_map(|lease| Some((lease.id, lease.timed?)))
            .filter(|(_, timed)| stand(timed.stand))
            .collect();
        all.sort_by_key(|(_, timed)| timed.place);
        all
    }

    /// Whether somebody waits whom no cap of his own keeps back.
    fn is_short(&self) -> bool {
        (0..self.classes()).any(|class| self.next_of(class).is_some())
    }

    fn park_ns(&self) -> u64 {
        self.config.park_ns.min(self.config.lease_ns)
    }

    fn is_shedding(&self) -> bool {
        self.shedding.is_some_and(|(_, since_ns)| self.now_ns - since_ns < self.config.lease_ns)
    }

    /// The next holder that should give back. First those who could park, the one idle for longest first; then, one at
    /// a time, the costliest of those whose deadline passed.
    pub(super) fn demand(&mut self) -> Option<Demand> {
        if !self.is_short() {
            return None;
        }
        let idle_for = |timed: &Timed, ns: u64| self.now_ns - timed.progress_ns >= ns;
        let active = self.standing(|stand| stand == Stand::Active);
        if let Some(&(lease, _)) = active.iter().find(|(_, timed)| idle_for(timed, self.park_ns())) {
            self.stand(lease, Stand::Asked);
            self.stats.pool.parks_asked += 1;
            return Some(self.ask(lease, ReclaimKind::Park));
        }
        let asked = self.standing(|stand| stand == Stand::Asked);
        let expired: Vec<u64> =
            asked.iter().filter(|(_, timed)| idle_for(timed, self.config.lease_ns)).map(|&(lease, _)| lease).collect();
        for lease in expired {
            let cost = self.cost(lease);
            self.stand(lease, Stand::Expired { cost });
        }
        if self.is_shedding() {
            return None;
        }
        let cost = |timed: &Timed| if let Stand::Expired { cost } = timed.stand { cost } else { 0 };
        let expired = self.standing(|stand| matches!(stand, Stand::Expired { .. }));
        let most = expired.iter().map(|(_, timed)| cost(timed)).max()?;
        let &(lease, _) = expired.iter().find(|(_, timed)| cost(timed) == most)?;
        // Should its host not act on it, others are asked before it is again.
        self.stand(lease, Stand::Expired { cost: 0 });
        self.shedding = Some((lease, self.now_ns));
        self.stats.pool.sheds_asked += 1;
        Some(self.ask(lease, ReclaimKind::Shed))
    }

    fn ask(&self, id: u64, kind: ReclaimKind) -> Demand {
        let lease = self.leases().find(|lease| lease.id == id).expect("it stands there");
        let timed = lease.timed.expect("it has a deadline");
        Demand { lease: id, token: lease.token, kind, idleness: timed.idleness(self.now_ns) }
    }

    /// Units held times time held by bytes consumed, as a power of two.
    fn cost(&self, id: u64) -> u32 {
        let lease = self.leases().find(|lease| lease.id == id).expect("it stands there");
        let Idleness { held_ns, progress_bytes, .. } = lease.timed.expect("it has a deadline").idleness(self.now_ns);
        let cost = u128::from(lease.units) * u128::from(held_ns) / (u128::from(progress_bytes) + 1);
        u64::try_from(cost).unwrap_or(u64::MAX).checked_ilog2().unwrap_or(0)
    }

    /// When the next one is asked, if nothing happens until then; in the past if one is to be asked now.
    pub(super) fn next_demand_ns(&self) -> u64 {
        if !self.is_short() {
            return u64::MAX;
        }
        let due = |stand: Stand, ns: u64| {
            let first = self.standing(|other| other == stand).first().map(|(_, timed)| timed.progress_ns);
            first.map_or(u64::MAX, |progress_ns| progress_ns.saturating_add(ns))
        };
        let has_expired = !self.standing(|stand| matches!(stand, Stand::Expired { .. })).is_empty();
        let shed = match self.shedding {
            _ if !has_expired => u64::MAX,
            None => 0,
            Some((_, since_ns)) => since_ns.saturating_add(self.config.lease_ns),
        };
        due(Stand::Active, self.park_ns()).min(due(Stand::Asked, self.config.lease_ns)).min(shed)
    }
}
