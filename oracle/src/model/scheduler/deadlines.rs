//! Which holders are asked to return their buffer: the rules of the section on deadlines in the docs of
//! `demuxbuf::scheduler`.

use super::{Lease, ModelScheduler};
use crate::system::Demand;
use demuxbuf::scheduler::{LeaseInfo, ReclaimKind};
use demuxbuf_capi::DEMUXBUF_ERR_NO_DEADLINE;

/// The phase of a holder that makes no progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LeasePhase {
    /// It was not asked for anything since it last made progress.
    Active,
    /// It could have been asked to park, but no waiter was queued that this would have helped.
    Idle,
    /// It was asked to park.
    Asked,
    /// Its deadline passed, at this cost as a power of two.
    Expired { cost: u32 },
}

/// The progress of the holder of a lease with a deadline.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timed {
    granted_ns: u64,
    progress_ns: u64,
    progress_bytes: u64,
    pub(super) phase: LeasePhase,
    /// Among equal holders the smallest is first.
    place: u64,
}

impl Timed {
    pub(super) fn lease_info(&self, now_ns: u64) -> LeaseInfo {
        filled!(LeaseInfo::default();
            held_ns: now_ns - self.granted_ns,
            idle_ns: now_ns - self.progress_ns,
            progress_bytes: self.progress_bytes,
        )
    }
}

/// Tenants that block a waiter by their cap and have holders that could be asked, the next first.
#[derive(Clone, Debug, Default)]
pub(super) struct Turns {
    pub(super) to_park: Vec<u64>,
    pub(super) to_shed: Vec<u64>,
}

impl ModelScheduler {
    /// A lease that begins now; nothing if leases have no deadline here.
    pub(super) fn timed(&mut self) -> Option<Timed> {
        let (granted_ns, progress_ns) = (self.now_ns, self.now_ns);
        let place = self.new_id();
        let timed = Timed { granted_ns, progress_ns, progress_bytes: 0, phase: LeasePhase::Active, place };
        self.config.lease_ns.map(|_| timed)
    }

    fn lease_mut(&mut self, lease: u64) -> Option<&mut Lease> {
        let assigned = self.assigned.iter_mut().map(|(_, lease)| lease);
        self.held.iter_mut().chain(assigned).find(|held| held.id == lease)
    }

    pub(in crate::model) fn progressed(&mut self, lease: u64, bytes: u64) {
        let (now_ns, place) = (self.now_ns, self.new_id());
        let Some(timed) = self.lease_mut(lease).and_then(|lease| lease.timed.as_mut()) else {
            return;
        };
        timed.progress_bytes = timed.progress_bytes.saturating_add(bytes);
        (timed.progress_ns, timed.phase, timed.place) = (now_ns, LeasePhase::Active, place);
        self.shedding = self.shedding.filter(|&(shed, _)| shed != lease);
        self.take_turns();
    }

    fn move_to(&mut self, lease: u64, phase: LeasePhase) {
        let place = self.new_id();
        let timed = self.lease_mut(lease).and_then(|lease| lease.timed.as_mut()).expect("it has a deadline");
        (timed.phase, timed.place) = (phase, place);
        self.take_turns();
    }

    /// Whether a tenant's cap blocks a waiter.
    fn is_cap_blocked(&self, tenant: u64) -> bool {
        (0..self.classes()).any(|class| {
            let need = self.flow(class, tenant).next().map(|wait| self.units_of(wait.size_index));
            need.is_some_and(|need| need > self.left_of(tenant))
        })
    }

    fn is_of_cap_blocked(&self, lease: u64) -> bool {
        self.leases().any(|held| held.id == lease && self.is_cap_blocked(held.tenant))
    }

    /// Gives a turn, the last, to tenants that have something to ask for now, and takes it from those that no longer
    /// do.
    pub(super) fn take_turns(&mut self) {
        let tenants: Vec<u64> = self.tenants.keys().copied().collect();
        let Turns { mut to_park, mut to_shed } = std::mem::take(&mut self.turns);
        let has = |tenant: u64, is: fn(LeasePhase) -> bool| {
            let mut timed = self.leases().filter(|lease| lease.tenant == tenant).filter_map(|lease| lease.timed);
            self.tenants.contains_key(&tenant) && self.is_cap_blocked(tenant) && timed.any(|timed| is(timed.phase))
        };
        let renew = |turns: &mut Vec<u64>, is: fn(LeasePhase) -> bool| {
            turns.retain(|&tenant| has(tenant, is));
            let new = tenants.iter().copied().filter(|&tenant| has(tenant, is));
            let new: Vec<u64> = new.filter(|tenant| !turns.contains(tenant)).collect();
            turns.extend(new);
        };
        renew(&mut to_park, |phase| phase == LeasePhase::Idle);
        renew(&mut to_shed, |phase| matches!(phase, LeasePhase::Expired { .. }));
        self.turns = Turns { to_park, to_shed };
    }

    /// The holders in this phase, the first first.
    pub(super) fn in_phase(&self, phase: impl Fn(LeasePhase) -> bool) -> Vec<(u64, Timed)> {
        let mut all: Vec<(u64, Timed)> = self
            .leases()
            .filter_map(|lease| Some((lease.id, lease.timed?)))
            .filter(|(_, timed)| phase(timed.phase))
            .collect();
        all.sort_by_key(|(_, timed)| timed.place);
        all
    }

    /// Whether a waiter is queued that its tenant's cap does not block.
    fn is_exhausted(&self) -> bool {
        (0..self.classes()).any(|class| self.next_of(class).is_some())
    }

    /// The lease of a holder that has a deadline.
    fn lease_ns(&self) -> u64 {
        self.config.lease_ns.expect("only then a lease is timed")
    }

    fn park_ns(&self) -> u64 {
        self.config.park_ns.unwrap_or(self.lease_ns()).max(1)
    }

    fn is_shedding(&self) -> bool {
        self.shedding.is_some_and(|(_, since_ns)| self.now_ns - since_ns < self.lease_ns())
    }

    /// The next holder that should return its buffer. Holders that could park come first, the one idle for longest
    /// before all; then, one at a time, the costliest holder with an expired lease. No holder is asked in vain: if
    /// their tenants' caps block all waiters, only holders of those tenants are asked.
    pub(super) fn demand(&mut self) -> Option<Demand> {
        let is_exhausted = self.is_exhausted();
        if !is_exhausted && !self.tenants.keys().any(|&tenant| self.is_cap_blocked(tenant)) {
            return None;
        }
        if let Some(lease) = self.next_to_park(is_exhausted) {
            self.move_to(lease, LeasePhase::Asked);
            self.stats.reclaim.parks_asked += 1;
            return Some(self.ask(lease, ReclaimKind::Park));
        }
        // A holder that was asked later has no less time than those before it.
        let asked = self.in_phase(|phase| phase == LeasePhase::Asked);
        let due = |timed: &Timed| self.now_ns - timed.progress_ns >= self.lease_ns();
        let expired: Vec<u64> = asked.iter().take_while(|(_, timed)| due(timed)).map(|&(lease, _)| lease).collect();
        for lease in expired {
            let cost = self.cost(lease);
            self.move_to(lease, LeasePhase::Expired { cost });
        }
        if self.is_shedding() {
            return None;
        }
        let lease = self.next_to_shed(is_exhausted)?;
        // If its host does not act on it, other holders are asked before it is asked again.
        self.move_to(lease, LeasePhase::Expired { cost: 0 });
        self.shedding = Some((lease, self.now_ns));
        self.stats.reclaim.sheds_asked += 1;
        Some(self.ask(lease, ReclaimKind::Shed))
    }

    /// Of a pool: the next lease of the host's own that is held for `lease_ns` since it began or was renewed, and its
    /// token, while a request or a receiver waits, or a limit is not met. Each comes once until it is renewed.
    pub(in crate::model) fn overdue(&mut self, receivers_wait: bool) -> Option<(u64, u64)> {
        let helps_any = receivers_wait || self.to_withhold > 0 || self.is_exhausted();
        if !helps_any && !self.tenants.keys().any(|&tenant| self.is_cap_blocked(tenant)) {
            return None;
        }
        self.config.lease_ns?;
        let lease = self.next_to_park(helps_any)?;
        self.move_to(lease, LeasePhase::Asked);
        let token = self.leases().find(|held| held.id == lease).expect("it is in the list").token;
        Some((lease, token))
    }

    /// When `overdue` names the next one, in the host's time.
    pub(in crate::model) fn next_overdue_ns(&self, receivers_wait: bool) -> Option<u64> {
        self.config.lease_ns?;
        let helps_any = receivers_wait || self.to_withhold > 0 || self.is_exhausted();
        if !helps_any && !self.tenants.keys().any(|&tenant| self.is_cap_blocked(tenant)) {
            return None;
        }
        self.host_ns(self.next_idle_ns(helps_any)?)
    }

    /// The deadline of a lease begins anew, if it has one.
    pub(in crate::model) fn renew(&mut self, lease: u64) -> Result<(), i32> {
        let has_deadline = self.leases().any(|held| held.id == lease && held.timed.is_some());
        if !has_deadline {
            return Err(DEMUXBUF_ERR_NO_DEADLINE);
        }
        self.progressed(lease, 0);
        Ok(())
    }

    fn next_to_park(&mut self, is_exhausted: bool) -> Option<u64> {
        let idle = self.in_phase(|phase| phase == LeasePhase::Idle);
        let tenant_of = |id: u64| self.leases().find(|lease| lease.id == id).map(|lease| lease.tenant);
        let mut is_next = idle.iter().map(|&(lease, _)| lease);
        let next = match self.turns.to_park.first() {
            _ if is_exhausted => is_next.next(),
            Some(&turn) => is_next.find(|&lease| tenant_of(lease) == Some(turn)),
            None => None,
        };
        if next.is_some() {
            return next;
        }
        for (lease, timed) in self.in_phase(|phase| phase == LeasePhase::Active) {
            if self.now_ns - timed.progress_ns < self.park_ns() {
                return None;
            }
            if is_exhausted || self.is_of_cap_blocked(lease) {
                return Some(lease);
            }
            self.move_to(lease, LeasePhase::Idle);
        }
        None
    }

    /// The costliest, of equals the first; of the tenant with the turn if no other holder could help.
    fn next_to_shed(&mut self, is_exhausted: bool) -> Option<u64> {
        let turn = self.turns.to_shed.first().copied();
        let helps = |id: u64| {
            is_exhausted
                || self.leases().any(|lease| lease.id == id && Some(lease.tenant) == turn && self.is_of_cap_blocked(id))
        };
        let cost = |timed: &Timed| if let LeasePhase::Expired { cost } = timed.phase { cost } else { 0 };
        let expired = self.in_phase(|phase| matches!(phase, LeasePhase::Expired { .. }));
        let expired: Vec<_> = expired.into_iter().filter(|&(lease, _)| helps(lease)).collect();
        let most = expired.iter().map(|(_, timed)| cost(timed)).max()?;
        let &(lease, _) = expired.iter().find(|(_, timed)| cost(timed) == most)?;
        if !is_exhausted {
            self.turns.to_shed.rotate_left(1);
        }
        Some(lease)
    }

    fn ask(&self, id: u64, kind: ReclaimKind) -> Demand {
        let lease = self.leases().find(|lease| lease.id == id).expect("it is in the list");
        let timed = lease.timed.expect("it has a deadline");
        Demand { lease: id, token: lease.token, kind, lease_info: timed.lease_info(self.now_ns) }
    }

    /// Units held times time held by bytes consumed, as a power of two.
    fn cost(&self, id: u64) -> u32 {
        let lease = self.leases().find(|lease| lease.id == id).expect("it is in the list");
        let LeaseInfo { held_ns, progress_bytes, .. } = lease.timed.expect("it has a deadline").lease_info(self.now_ns);
        let cost = u128::from(lease.units) * u128::from(held_ns) / (u128::from(progress_bytes) + 1);
        u64::try_from(cost).unwrap_or(u64::MAX).checked_ilog2().unwrap_or(0)
    }

    /// When the next one is asked, if nothing happens until then; in the past if one is to be asked now.
    pub(super) fn next_demand_ns(&self) -> Option<u64> {
        let is_exhausted = self.is_exhausted();
        if !is_exhausted && !self.tenants.keys().any(|&tenant| self.is_cap_blocked(tenant)) {
            return None;
        }
        let has_expired = match is_exhausted {
            true => !self.in_phase(|phase| matches!(phase, LeasePhase::Expired { .. })).is_empty(),
            false => !self.turns.to_shed.is_empty(),
        };
        let shed = match self.shedding {
            _ if !has_expired => None,
            None => Some(0),
            Some((_, since_ns)) => since_ns.checked_add(self.lease_ns()),
        };
        let expires = self.first_passes_ns(LeasePhase::Asked, ModelScheduler::lease_ns);
        [self.next_idle_ns(is_exhausted), expires, shed].into_iter().flatten().min()
    }

    /// When the next holder could be asked to park.
    fn next_idle_ns(&self, is_exhausted: bool) -> Option<u64> {
        let has_idle = match is_exhausted {
            true => !self.in_phase(|phase| phase == LeasePhase::Idle).is_empty(),
            false => !self.turns.to_park.is_empty(),
        };
        if has_idle { Some(0) } else { self.first_passes_ns(LeasePhase::Active, ModelScheduler::park_ns) }
    }

    /// When the first in a phase has made no progress for this long.
    fn first_passes_ns(&self, phase: LeasePhase, ns: fn(&ModelScheduler) -> u64) -> Option<u64> {
        let progress_ns = self.in_phase(|other| other == phase).first().map(|(_, timed)| timed.progress_ns);
        progress_ns?.checked_add(ns(self))
    }
}
