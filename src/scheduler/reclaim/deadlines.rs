//! Which holders make no progress, and for how long?
//!
//! A lease that is timed stands in one list at a time, ordered by its last progress, so that the one that is idle for
//! longest is always at the front: *active*; then, if it could park and no waiter could use its buffer, *idle*; once it
//! was asked to park, *asked*; then, once its deadline passed, *expired*, by what it costs. Progress moves it back to
//! the end of *active*. Each step is O(1), nothing is allocated.

use super::by_tenant::{TenantList, TenantReclaim};
use crate::alloc_util::reserve;
use crate::scheduler::list::{Linked, Links, List, NIL};
use crate::scheduler::{ConfigError, SchedulerConfig, ensure};
use alloc::vec::Vec;

/// Expired leases are told apart by the power of two of their cost.
const COSTS: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LeasePhase {
    Out,
    Active,
    Idle,
    Asked,
    Expired { cost: u8 },
}

impl LeasePhase {
    /// In which list of its tenant a lease stands beside.
    fn tenant_list(self) -> Option<TenantList> {
        match self {
            LeasePhase::Out | LeasePhase::Active | LeasePhase::Asked => None,
            LeasePhase::Idle => Some(TenantList::Idle),
            LeasePhase::Expired { .. } => Some(TenantList::Expired),
        }
    }
}

/// The waiters that a released buffer would help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WaiterScope {
    /// A request waits for any buffer that becomes free.
    Any,
    /// All waiters are cap-blocked by their tenants: only holders of the same tenants could help them.
    CappedTenant,
}

/// How long one lease is held and how it gets on; by index of its buffer.
#[derive(Clone, Copy, Debug)]
pub(in crate::scheduler) struct Timed {
    granted_ns: u64,
    progress_ns: u64,
    progress_bytes: u64,
    links: Links,
    units: u32,
    phase: LeasePhase,
    /// Leases that began anew since the last progress because its host had blocked it.
    deferred: u8,
}

const _: () = assert!(size_of::<Timed>() <= 40);

impl Linked for Timed {
    fn links(&self) -> &Links {
        &self.links
    }

    fn links_mut(&mut self) -> &mut Links {
        &mut self.links
    }
}

/// Why a holder is asked to release its buffer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LeaseInfo {
    /// For how long it has held the buffer, in nanoseconds.
    pub held_ns: u64,
    /// For how long it has made no progress, in nanoseconds.
    pub idle_ns: u64,
    /// Bytes it has consumed from this buffer.
    pub progress_bytes: u64,
}

/// What a holder is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Demand {
    Park(u32),
    Shed(u32),
}

/// The timed leases of a pool.
#[cfg_attr(feature = "model-check", derive(Clone))]
#[derive(Debug)]
pub(crate) struct Deadlines {
    /// By buffer index, touched in the order of first use.
    table: Vec<Timed>,
    /// The most entries of the table: none if leases are not timed.
    entries: u32,
    park_ns: u64,
    lease_ns: u64,
    /// But for `newest`.
    active: List,
    /// The last of those that are active, not linked yet: most are over before another one follows.
    newest: u32,
    idle: List,
    asked: List,
    expired: [List; COSTS],
    /// One bit for each list of `expired` that is not empty.
    costs: u64,
    /// The lease that is to be shed, and since when: one at a time.
    shedding: Option<(u32, u64)>,
    tenant_reclaim: TenantReclaim,
}

impl Deadlines {
    /// Reserves the tables for this number of buffers; none are needed if leases are not timed. No buffer is held yet.
    pub(crate) fn new(config: &SchedulerConfig, buffers: u32) -> Result<Deadlines, ConfigError> {
        let entries = if config.lease_ns.is_some() { buffers } else { 0 };
        // Without deadlines the table stays empty, and no time is compared with these.
        let lease_ns = config.lease_ns.unwrap_or(u64::MAX);
        Ok(Deadlines {
            table: reserve("buffers", entries)?,
            entries,
            // A holder that parks and at once takes a buffer again must not be asked for it in the same call, without
            // end.
            park_ns: config.park_ns.unwrap_or(lease_ns).max(1),
            lease_ns,
            active: List::EMPTY,
            newest: NIL,
            idle: List::EMPTY,
            asked: List::EMPTY,
            expired: [List::EMPTY; COSTS],
            costs: 0,
            shedding: None,
            tenant_reclaim: TenantReclaim::new(config, entries)?,
        })
    }

    /// A lease of a tenant begins.
    #[inline(always)]
    pub(crate) fn start(&mut self, index: u32, tenant: u32, units: u32, now_ns: u64) {
        if index as usize >= self.table.len() {
            if index >= self.entries {
                return;
            }
            self.add_entries(index);
        }
        let entry = &mut self.table[index as usize];
        (entry.granted_ns, entry.progress_ns, entry.progress_bytes, entry.units) = (now_ns, now_ns, 0, units);
        (entry.phase, entry.deferred) = (LeasePhase::Active, 0);
        self.tenant_reclaim.start(index, tenant);
        self.push_active(index);
    }

    /// Inside what was reserved at start.
    #[cold]
    fn add_entries(&mut self, last: u32) {
        let unused = Timed {
            granted_ns: 0,
            progress_ns: 0,
            progress_bytes: 0,
            links: Links::NONE,
            units: 0,
            phase: LeasePhase::Out,
            deferred: 0,
        };
        self.table.resize(last as usize + 1, unused);
    }

    /// Its holder consumed bytes.
    #[inline]
    pub(crate) fn progress(&mut self, index: u32, bytes: u64, now_ns: u64) {
        let Some(entry) = self.table.get_mut(index as usize).filter(|entry| entry.phase != LeasePhase::Out) else {
            return;
        };
        entry.progress_bytes = entry.progress_bytes.saturating_add(bytes);
        entry.progress_ns = now_ns;
        if bytes > 0 {
            entry.deferred = 0;
        }
        self.unlink(index);
        self.move_to(index, LeasePhase::Active);
    }

    /// A lease ends.
    #[inline]
    pub(crate) fn stop(&mut self, index: u32) {
        if self.table.get(index as usize).is_some_and(|entry| entry.phase != LeasePhase::Out) {
            self.unlink(index);
        }
    }

    /// Whether leases may have deadlines.
    pub(in crate::scheduler) fn is_used(&self) -> bool {
        self.entries > 0
    }

    /// Whether cap-blocked waiters are tracked by tenant.
    pub(in crate::scheduler) fn knows_tenants(&self) -> bool {
        !self.tenant_reclaim.is_unused()
    }

    /// Sets whether the cap of a tenant blocks a waiter.
    pub(in crate::scheduler) fn set_cap_blocked(&mut self, tenant: u32, is_cap_blocked: bool) {
        self.tenant_reclaim.set_cap_blocked(tenant, is_cap_blocked);
    }

    /// Whether there may be holders that help a waiter which only its tenant's cap blocks.
    pub(in crate::scheduler) fn has_cap_blocked(&self) -> bool {
        self.tenant_reclaim.has_cap_blocked()
    }

    /// The next holder to be asked, while a request waits. First each that could park; then, one at a time, the
    /// costliest holder whose deadline passed.
    pub(crate) fn poll(&mut self, waiter_scope: WaiterScope, now_ns: u64) -> Option<Demand> {
        if let Some(index) = self.poll_idle(waiter_scope, now_ns) {
            return Some(Demand::Park(index));
        }
        while let Some(index) = self.due(self.asked.head, self.lease_ns, now_ns) {
            let cost = self.cost(index, now_ns);
            self.unlink(index);
            self.move_to(index, LeasePhase::Expired { cost });
        }
        if self.shedding.is_some_and(|(_, since_ns)| now_ns - since_ns < self.lease_ns) {
            return None;
        }
        let index = match waiter_scope {
            WaiterScope::Any => self.expired[self.costs.checked_ilog2()? as usize].head,
            WaiterScope::CappedTenant => self.next_to_shed_of_cap_blocked()?,
        };
        // Should its host not act on it, others are asked before it is again.
        self.unlink(index);
        self.move_to(index, LeasePhase::Expired { cost: 0 });
        self.shedding = Some((index, now_ns));
        Some(Demand::Shed(index))
    }

    /// The next holder without progress for `park_ns`, the one idle for longest first; each once until it makes
    /// progress.
    pub(crate) fn poll_idle(&mut self, waiter_scope: WaiterScope, now_ns: u64) -> Option<u32> {
        let index = self.next_to_park(waiter_scope, now_ns)?;
        self.unlink(index);
        self.move_to(index, LeasePhase::Asked);
        Some(index)
    }

    /// Whether `poll_idle` would bring one; of a capped tenant only one that was seen to be idle.
    pub(crate) fn has_idle(&self, waiter_scope: WaiterScope, now_ns: u64) -> bool {
        match waiter_scope {
            WaiterScope::Any => self.next_idle_ns(waiter_scope).is_some_and(|due_ns| due_ns <= now_ns),
            WaiterScope::CappedTenant => self.tenant_reclaim.next_idle().is_some(),
        }
    }

    fn next_to_park(&mut self, waiter_scope: WaiterScope, now_ns: u64) -> Option<u32> {
        if waiter_scope == WaiterScope::Any {
            // Those that no waiter needed until now are idle for longest.
            return self.idle.iter(&self.table).next().or_else(|| self.due(self.first_active(), self.park_ns, now_ns));
        }
        if let Some(index) = self.tenant_reclaim.next_idle() {
            return Some(index);
        }
        while let Some(index) = self.due(self.first_active(), self.park_ns, now_ns) {
            if self.tenant_reclaim.is_of_cap_blocked(index) {
                return Some(index);
            }
            self.unlink(index);
            self.move_to(index, LeasePhase::Idle);
        }
        None
    }

    fn next_to_shed_of_cap_blocked(&mut self) -> Option<u32> {
        let (table, tenant_reclaim) = (&self.table, &mut self.tenant_reclaim);
        tenant_reclaim.take_expired(|index| match table[index as usize].phase {
            LeasePhase::Expired { cost } => cost,
            _ => unreachable!("it is in the list of expired leases"),
        })
    }

    /// When `poll` asks a holder, if nothing happens until then; in the past if it does now. `None` for never: no
    /// holder has a deadline, or time ends before.
    pub(crate) fn next_ns(&self, waiter_scope: WaiterScope) -> Option<u64> {
        let is_expired = match waiter_scope {
            WaiterScope::Any => self.costs != 0,
            WaiterScope::CappedTenant => self.tenant_reclaim.has_expired(),
        };
        let expires = self.passes_ns(self.asked.head, self.lease_ns);
        let shed = match self.shedding {
            _ if !is_expired => None,
            None => Some(0),
            Some((_, since_ns)) => since_ns.checked_add(self.lease_ns),
        };
        [self.next_idle_ns(waiter_scope), expires, shed].into_iter().flatten().min()
    }

    /// As `next_ns`, of `poll_idle`.
    pub(crate) fn next_idle_ns(&self, waiter_scope: WaiterScope) -> Option<u64> {
        let is_idle = match waiter_scope {
            WaiterScope::Any => !self.idle.is_empty(),
            WaiterScope::CappedTenant => self.tenant_reclaim.next_idle().is_some(),
        };
        if is_idle { Some(0) } else { self.passes_ns(self.first_active(), self.park_ns) }
    }

    /// When the last progress of this lease, if it is one, is that long ago.
    fn passes_ns(&self, first: u32, after_ns: u64) -> Option<u64> {
        self.table.get(first as usize)?.progress_ns.checked_add(after_ns)
    }

    /// How a lease gets on; `None` if it is not timed.
    pub(crate) fn describe(&self, index: u32, now_ns: u64) -> Option<LeaseInfo> {
        let entry = self.table.get(index as usize).filter(|entry| entry.phase != LeasePhase::Out)?;
        Some(LeaseInfo {
            held_ns: now_ns - entry.granted_ns,
            idle_ns: now_ns - entry.progress_ns,
            progress_bytes: entry.progress_bytes,
        })
    }

    /// Walks everything; for tests. `has_deadline` is whether a timed lease holds a buffer, `is_cap_blocked` whether
    /// the cap of a tenant blocks a waiter.
    pub(crate) fn check(
        &self,
        has_deadline: impl Fn(u32) -> bool,
        is_cap_blocked: impl Fn(u32) -> bool,
    ) -> Result<(), &'static str> {
        let stands = |phase| move |_, entry: &Timed| entry.phase == phase;
        let expired = (0..).zip(&self.expired).all(|(cost, list)| {
            list.is_sound(&self.table, stands(LeasePhase::Expired { cost }))
                && list.is_empty() == (self.costs >> cost & 1 == 0)
        });
        let newest = self.table.get(self.newest as usize);
        let active = self.table.iter().filter(|entry| entry.phase == LeasePhase::Active).count();
        let lists = newest.is_none_or(|entry| entry.phase == LeasePhase::Active)
            && active == self.active.len as usize + newest.iter().len()
            && self
                .active
                .is_sound(&self.table, |index, entry| index != self.newest && entry.phase == LeasePhase::Active)
            && self.idle.is_sound(&self.table, stands(LeasePhase::Idle))
            && self.asked.is_sound(&self.table, stands(LeasePhase::Asked));
        ensure(expired && lists, "the lists of timed leases are sound")?;
        let ages = |list: List| list.iter(&self.table).map(|index| self.table[index as usize].progress_ns);
        let is_ordered = |list: List| ages(list).is_sorted();
        let is_active_ordered = ages(self.active).chain(newest.map(|entry| entry.progress_ns)).is_sorted();
        // Where there are tenants, one that no waiter needed before may be asked after others that are idle for less
        // long.
        let asked = self.knows_tenants() || is_ordered(self.asked);
        ensure(is_active_ordered && is_ordered(self.idle) && asked, "the holder that is idle for longest is first")?;
        let phase = |index: u32| self.table.get(index as usize).map_or(LeasePhase::Out, |entry| entry.phase);
        let timed = (0..self.entries).all(|index| (phase(index) != LeasePhase::Out) == has_deadline(index));
        ensure(timed, "every timed lease has its deadline")?;
        self.tenant_reclaim.check(|index| phase(index).tenant_list(), is_cap_blocked)
    }
}

impl Deadlines {
    /// The first of a list, if its last progress is that long ago.
    fn due(&self, first: u32, after_ns: u64, now_ns: u64) -> Option<u32> {
        let entry = self.table.get(first as usize)?;
        (now_ns - entry.progress_ns >= after_ns).then_some(first)
    }

    #[inline(always)]
    fn push_active(&mut self, index: u32) {
        let second = core::mem::replace(&mut self.newest, index);
        if second != NIL {
            self.active.push_back(&mut self.table, second);
        }
    }

    #[inline(always)]
    fn unlink_active(&mut self, index: u32) {
        if index == self.newest {
            self.newest = NIL;
        } else {
            self.active.unlink(&mut self.table, index);
        }
    }

    /// Of those that are active the one that is idle for longest, or `NIL`.
    fn first_active(&self) -> u32 {
        if self.active.is_empty() { self.newest } else { self.active.head }
    }

    /// Held units times time, by progress: the larger, the more the others lose by this lease. As a power of two.
    fn cost(&self, index: u32, now_ns: u64) -> u8 {
        let entry = &self.table[index as usize];
        let held = u128::from(entry.units) * u128::from(now_ns - entry.granted_ns);
        let cost = u64::try_from(held / (u128::from(entry.progress_bytes) + 1)).unwrap_or(u64::MAX);
        cost.checked_ilog2().unwrap_or(0) as u8
    }

    fn move_to(&mut self, index: u32, phase: LeasePhase) {
        self.table[index as usize].phase = phase;
        match phase {
            LeasePhase::Out => {}
            LeasePhase::Active => self.push_active(index),
            LeasePhase::Idle => self.idle.push_back(&mut self.table, index),
            LeasePhase::Asked => self.asked.push_back(&mut self.table, index),
            LeasePhase::Expired { cost } => {
                self.expired[usize::from(cost)].push_back(&mut self.table, index);
                self.costs |= 1 << cost;
            }
        }
        if let Some(tenant_list) = phase.tenant_list() {
            self.tenant_reclaim.enter(index, tenant_list);
        }
    }

    fn unlink(&mut self, index: u32) {
        if self.shedding.is_some_and(|(shed, _)| shed == index) {
            self.shedding = None;
        }
        let phase = self.table[index as usize].phase;
        match phase {
            LeasePhase::Out => {}
            LeasePhase::Active => self.unlink_active(index),
            LeasePhase::Idle => self.idle.unlink(&mut self.table, index),
            LeasePhase::Asked => self.asked.unlink(&mut self.table, index),
            LeasePhase::Expired { cost } => {
                let list = &mut self.expired[usize::from(cost)];
                list.unlink(&mut self.table, index);
                if list.is_empty() {
                    self.costs &= !(1 << cost);
                }
            }
        }
        if let Some(tenant_list) = phase.tenant_list() {
            self.tenant_reclaim.unlink(index, tenant_list);
        }
        self.table[index as usize].phase = LeasePhase::Out;
    }
}

/// For model checkers: where a lease stands, and its ages.
#[cfg(feature = "model-check")]
impl Deadlines {
    pub(in crate::scheduler) fn state_key(&self, state: &mut Vec<u64>) {
        self.tenant_reclaim.state_key(state);
    }

    /// In which list it stands and at which place, and at which of its tenant's, its ages, what it consumed, and for
    /// how long it has been shed, and how often it was deferred.
    pub(in crate::scheduler) fn describe_fully(&self, index: u32, now_ns: u64) -> [u64; 8] {
        let Some(idle) = self.describe(index, now_ns) else {
            return [0; 8];
        };
        let phase = self.table[index as usize].phase;
        let (list, of) = match phase {
            LeasePhase::Out => unreachable!("one that is described stands somewhere"),
            LeasePhase::Active => (self.active, 0),
            LeasePhase::Idle => (self.idle, 1),
            LeasePhase::Asked => (self.asked, 2),
            LeasePhase::Expired { cost } => (self.expired[usize::from(cost)], 3 + u64::from(cost)),
        };
        let shed = self.shedding.filter(|&(shed, _)| shed == index);
        let shed_ns = shed.map_or(0, |(_, since_ns)| now_ns - since_ns + 1);
        let place = match index == self.newest {
            true => u64::from(list.len) + 1,
            false => list.place_of(&self.table, index),
        };
        let place_of_tenant =
            phase.tenant_list().map_or(0, |tenant_list| self.tenant_reclaim.place_of(index, tenant_list));
        let deferred = self.table[index as usize].deferred.into();
        [of, place, place_of_tenant, idle.held_ns, idle.idle_ns, idle.progress_bytes, shed_ns, deferred]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Leases 0 and 1 expired, 2 and 3 are asked, 4 and 5 are active, 6 is not held.
    fn one_pair_of_each() -> Deadlines {
        let config = SchedulerConfig { park_ns: Some(10), lease_ns: Some(20), ..SchedulerConfig::new(7, 0) };
        let mut deadlines = Deadlines::new(&config, 7).expect("there is memory");
        for (pair, now_ns) in [([0, 1], 0), ([2, 3], 10), ([4, 5], 20)] {
            pair.iter().for_each(|&index| deadlines.start(index, 0, 1, now_ns));
            while deadlines.poll(WaiterScope::Any, now_ns).is_some() {}
        }
        deadlines
    }

    #[test]
    #[cfg(feature = "model-check")]
    fn lease_is_described_by_its_list_and_place() {
        let deadlines = one_pair_of_each();
        let places = [0, 1, 2, 3, 4, 5, 6].map(|index| {
            let [list, place, ..] = deadlines.describe_fully(index, 20);
            (list, place)
        });
        assert_eq!(places, [(3, 1), (7, 1), (2, 1), (2, 2), (0, 1), (0, 2), (0, 0)]);
    }

    #[test]
    fn lease_is_in_one_list_by_age() {
        let is_sound = |deadlines: &Deadlines| deadlines.check(|index| index < 6, |_| false).is_ok();
        let stands = one_pair_of_each().table.into_iter().map(|entry| entry.phase);
        let expired = |cost| LeasePhase::Expired { cost };
        assert!(stands.eq([
            expired(0),
            expired(4),
            LeasePhase::Asked,
            LeasePhase::Asked,
            LeasePhase::Active,
            LeasePhase::Active,
        ]));
        assert!(is_sound(&one_pair_of_each()));
        let broken: [fn(&mut Deadlines); 14] = [
            |deadlines| deadlines.newest = NIL,
            |deadlines| deadlines.newest = 4,
            |deadlines| deadlines.newest = 3,
            |deadlines| deadlines.unlink(3),
            |deadlines| deadlines.start(6, 0, 1, 20),
            |deadlines| deadlines.table[4].progress_ns += 1,
            |deadlines| deadlines.table[2].progress_ns += 1,
            |deadlines| deadlines.active.len += 1,
            |deadlines| deadlines.asked.len += 1,
            |deadlines| deadlines.expired[4].len += 1,
            |deadlines| deadlines.costs &= !(1 << 4),
            |deadlines| deadlines.costs |= 1 << 5,
            |deadlines| deadlines.table[5].phase = LeasePhase::Asked,
            |deadlines| deadlines.table[1].phase = LeasePhase::Expired { cost: 5 },
        ];
        for (case, breaks) in broken.into_iter().enumerate() {
            let mut deadlines = one_pair_of_each();
            breaks(&mut deadlines);
            assert!(!is_sound(&deadlines), "case {case}");
        }
    }
}
