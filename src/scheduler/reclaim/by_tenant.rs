//! Which holders could help waiters that only the cap of their tenant blocks?
//!
//! Only the tenant's own holders: no other buffer is of use to it. So of each tenant those holders that may be asked
//! for something stand in lists of their own, *idle* and *expired*, and the *cap-blocked* tenants
//! that have such holders stand in two rings. The next to park is found in O(1), the next to shed by a look at those of
//! one tenant whose deadline passed.

use crate::alloc_util::reserve;
use crate::scheduler::list::{Linked, Links, List};
use crate::scheduler::{ConfigError, SchedulerConfig, ensure};
use alloc::vec::Vec;

/// In which list of its tenant a lease stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TenantList {
    /// Without progress for so long that it may be asked to park.
    Idle,
    /// Its deadline passed.
    Expired,
}

/// The tenant of a timed lease; by index of its buffer.
#[derive(Clone, Copy, Debug)]
struct Member {
    tenant: u32,
    links: Links,
}

const _: () = assert!(size_of::<Member>() <= 12);

impl Linked for Member {
    fn links(&self) -> &Links {
        &self.links
    }

    fn links_mut(&mut self) -> &mut Links {
        &mut self.links
    }
}

/// The holders of one tenant that may be asked.
#[derive(Clone, Copy, Debug)]
struct Group {
    idle: List,
    expired: List,
    is_cap_blocked: bool,
    to_park: Links,
    to_shed: Links,
    in_to_park: bool,
    in_to_shed: bool,
}

impl Group {
    const EMPTY: Group = Group {
        idle: List::EMPTY,
        expired: List::EMPTY,
        is_cap_blocked: false,
        to_park: Links::NONE,
        to_shed: Links::NONE,
        in_to_park: false,
        in_to_shed: false,
    };
}

const TO_PARK: usize = 1;
const TO_SHED: usize = 2;

impl Linked<TO_PARK> for Group {
    fn links(&self) -> &Links {
        &self.to_park
    }

    fn links_mut(&mut self) -> &mut Links {
        &mut self.to_park
    }
}

impl Linked<TO_SHED> for Group {
    fn links(&self) -> &Links {
        &self.to_shed
    }

    fn links_mut(&mut self) -> &mut Links {
        &mut self.to_shed
    }
}

/// The timed leases of a pool by tenant; empty where there are no tenants or no deadlines.
#[cfg_attr(feature = "model-check", derive(Clone))]
#[derive(Debug)]
pub(super) struct TenantReclaim {
    members: Vec<Member>,
    groups: Vec<Group>,
    to_park: List<TO_PARK>,
    to_shed: List<TO_SHED>,
    /// Cap-blocked tenants.
    cap_blocked: u32,
}

impl TenantReclaim {
    /// Where no tenant has a cap.
    pub(super) const NONE: TenantReclaim = TenantReclaim {
        members: Vec::new(),
        groups: Vec::new(),
        to_park: List::EMPTY,
        to_shed: List::EMPTY,
        cap_blocked: 0,
    };

    /// For this number of timed leases.
    pub(super) fn new(config: &SchedulerConfig, leases: u32) -> Result<TenantReclaim, ConfigError> {
        if config.tenants_max == 0 || leases == 0 {
            return Ok(TenantReclaim::NONE);
        }
        let mut members = reserve("buffers", leases)?;
        members.resize(leases as usize, Member { tenant: 0, links: Links::NONE });
        Ok(TenantReclaim { members, groups: reserve("tenants_max", config.tenants_max + 1)?, ..TenantReclaim::NONE })
    }

    /// Whether no tenant has a cap.
    pub(super) fn is_unused(&self) -> bool {
        self.members.is_empty()
    }

    /// A lease of this tenant begins.
    #[inline]
    pub(super) fn start(&mut self, index: u32, tenant: u32) {
        if let Some(member) = self.members.get_mut(index as usize) {
            member.tenant = tenant;
        }
    }

    /// A lease comes to stand in a list of its tenant.
    pub(super) fn enter(&mut self, index: u32, tenant_list: TenantList) {
        let Some(&Member { tenant, .. }) = self.members.get(index as usize) else {
            return;
        };
        self.reach(tenant);
        self.groups[tenant as usize].list(tenant_list).push_back(&mut self.members, index);
        self.place(tenant);
    }

    /// It leaves that list.
    pub(super) fn unlink(&mut self, index: u32, tenant_list: TenantList) {
        let Some(&Member { tenant, .. }) = self.members.get(index as usize) else {
            return;
        };
        self.groups[tenant as usize].list(tenant_list).unlink(&mut self.members, index);
        self.place(tenant);
    }

    /// Sets whether the cap of a tenant blocks a waiter. Not where this is unused.
    pub(super) fn set_cap_blocked(&mut self, tenant: u32, is_cap_blocked: bool) {
        self.reach(tenant);
        let was_cap_blocked = core::mem::replace(&mut self.groups[tenant as usize].is_cap_blocked, is_cap_blocked);
        self.cap_blocked = self.cap_blocked + u32::from(is_cap_blocked) - u32::from(was_cap_blocked);
        self.place(tenant);
    }

    /// Whether any tenant is cap-blocked.
    pub(super) fn has_cap_blocked(&self) -> bool {
        self.cap_blocked > 0
    }

    /// Whether this lease's tenant is cap-blocked.
    pub(super) fn is_of_cap_blocked(&self, index: u32) -> bool {
        let member = self.members.get(index as usize);
        member.and_then(|member| self.groups.get(member.tenant as usize)).is_some_and(|group| group.is_cap_blocked)
    }

    /// Of the cap-blocked tenants: the next holder that is to park.
    pub(super) fn next_idle(&self) -> Option<u32> {
        self.groups.get(self.to_park.head as usize).map(|group| group.idle.head)
    }

    /// Whether there is one that is to be shed.
    pub(super) fn has_expired(&self) -> bool {
        !self.to_shed.is_empty()
    }

    /// The next that is to be shed: the costliest of the tenant whose turn it is, which is over then.
    /// Cost: O(holders of that tenant whose deadline passed).
    pub(super) fn take_expired(&mut self, cost: impl Fn(u32) -> u8) -> Option<u32> {
        let tenant = self.to_shed.head;
        let expired = self.groups.get(tenant as usize)?.expired;
        self.to_shed.unlink(&mut self.groups, tenant);
        self.to_shed.push_back(&mut self.groups, tenant);
        // Of equals the first.
        expired.iter(&self.members).reduce(|most, next| if cost(next) > cost(most) { next } else { most })
    }

    /// Has an entry for this tenant. Inside what was reserved: as many as there are tenants, touched when they are
    /// needed.
    fn reach(&mut self, tenant: u32) {
        if self.groups.len() <= tenant as usize {
            self.groups.resize(tenant as usize + 1, Group::EMPTY);
        }
    }

    /// Puts a tenant into the rings it belongs to.
    fn place(&mut self, tenant: u32) {
        let group = &mut self.groups[tenant as usize];
        let (parks, sheds) = (group.belongs_to_park(), group.belongs_to_shed());
        let was_parks = core::mem::replace(&mut group.in_to_park, parks);
        let was_sheds = core::mem::replace(&mut group.in_to_shed, sheds);
        match (was_parks, parks) {
            (false, true) => self.to_park.push_back(&mut self.groups, tenant),
            (true, false) => self.to_park.unlink(&mut self.groups, tenant),
            _ => {}
        }
        match (was_sheds, sheds) {
            (false, true) => self.to_shed.push_back(&mut self.groups, tenant),
            (true, false) => self.to_shed.unlink(&mut self.groups, tenant),
            _ => {}
        }
    }

    /// Walks everything; for tests. `tenant_list` is the list that a lease belongs to, `is_cap_blocked` whether the
    /// cap of a tenant blocks a waiter.
    pub(super) fn check(
        &self,
        tenant_list: impl Fn(u32) -> Option<TenantList>,
        is_cap_blocked: impl Fn(u32) -> bool,
    ) -> Result<(), &'static str> {
        let mut listed = 0;
        for (tenant, group) in (0..).zip(&self.groups) {
            let stands = |index, member: &Member, wanted| member.tenant == tenant && tenant_list(index) == Some(wanted);
            let sound = group.idle.is_sound(&self.members, |index, member| stands(index, member, TenantList::Idle))
                && group.expired.is_sound(&self.members, |index, member| stands(index, member, TenantList::Expired));
            ensure(sound, "the idle holders of a tenant are listed")?;
            listed += (group.idle.len + group.expired.len) as usize;
            ensure(group.is_cap_blocked == is_cap_blocked(tenant), "it is known which tenants are cap-blocked")?;
            let placed = group.in_to_park == group.belongs_to_park() && group.in_to_shed == group.belongs_to_shed();
            ensure(placed, "a tenant stands in the rings it belongs to")?;
        }
        let expected = (0..self.members.len() as u32).filter(|&index| tenant_list(index).is_some()).count();
        ensure(listed == expected, "every idle holder is listed with its tenant")?;
        let sound = self.to_park.is_sound(&self.groups, |_, group: &Group| group.in_to_park)
            && self.to_shed.is_sound(&self.groups, |_, group: &Group| group.in_to_shed);
        ensure(sound, "the rings of holders that are to be asked are sound")
    }
}

impl Group {
    fn list(&mut self, tenant_list: TenantList) -> &mut List {
        match tenant_list {
            TenantList::Idle => &mut self.idle,
            TenantList::Expired => &mut self.expired,
        }
    }

    fn belongs_to_park(&self) -> bool {
        self.is_cap_blocked && !self.idle.is_empty()
    }

    fn belongs_to_shed(&self) -> bool {
        self.is_cap_blocked && !self.expired.is_empty()
    }
}

/// For model checkers: the order of turns.
#[cfg(feature = "model-check")]
impl TenantReclaim {
    pub(super) fn state_key(&self, state: &mut Vec<u64>) {
        state.extend(self.to_park.iter(&self.groups).map(u64::from));
        state.push(u64::MAX);
        state.extend(self.to_shed.iter(&self.groups).map(u64::from));
        state.push(u64::MAX);
    }

    /// Where a lease stands in a list of its tenant, from 1; 0 where this is unused.
    pub(super) fn place_of(&self, index: u32, tenant_list: TenantList) -> u64 {
        let Some(&Member { tenant, .. }) = self.members.get(index as usize) else {
            return 0;
        };
        let group = &self.groups[tenant as usize];
        let list = if tenant_list == TenantList::Idle { group.idle } else { group.expired };
        list.place_of(&self.members, index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Leases 0 and 1 are of tenant 0, 2 to 5 of tenant 1, 6 and 7 of tenant 2; those with even numbers are idle, the
    /// others expired. Tenants 1 and 2 are cap-blocked.
    fn three_tenants() -> TenantReclaim {
        let config = SchedulerConfig { tenants_max: 3, ..SchedulerConfig::new(8, 0) };
        let mut tenant_reclaim = TenantReclaim::new(&config, 8).expect("there is memory");
        for index in 0..8 {
            tenant_reclaim.start(index, [0, 0, 1, 1, 1, 1, 2, 2][index as usize]);
            tenant_reclaim.enter(index, tenant_list(index).expect("it stands somewhere"));
        }
        tenant_reclaim.set_cap_blocked(1, true);
        tenant_reclaim.set_cap_blocked(2, true);
        tenant_reclaim
    }

    fn tenant_list(index: u32) -> Option<TenantList> {
        let tenant_list = if index % 2 == 0 { TenantList::Idle } else { TenantList::Expired };
        (index < 8).then_some(tenant_list)
    }

    #[test]
    fn cap_blocked_tenants_take_turns() {
        let mut tenant_reclaim = three_tenants();
        assert_eq!(
            (
                tenant_reclaim.has_cap_blocked(),
                tenant_reclaim.is_of_cap_blocked(1),
                tenant_reclaim.is_of_cap_blocked(2)
            ),
            (true, false, true)
        );
        let parks = core::iter::from_fn(|| {
            let index = tenant_reclaim.next_idle()?;
            tenant_reclaim.unlink(index, TenantList::Idle);
            Some(index)
        });
        assert!(parks.eq([2, 4, 6]));
        let sheds = core::array::from_fn(|_| tenant_reclaim.take_expired(|index| if index == 5 { 9 } else { 3 }));
        assert_eq!(sheds, [5, 7, 5, 7].map(Some));
        assert_eq!(tenant_reclaim.take_expired(|_| 3), Some(3), "of equals the first");
        tenant_reclaim.set_cap_blocked(1, false);
        tenant_reclaim.set_cap_blocked(2, false);
        assert_eq!(
            (tenant_reclaim.take_expired(|_| 3), tenant_reclaim.has_expired(), tenant_reclaim.has_cap_blocked()),
            (None, false, false)
        );
    }

    #[cfg(feature = "model-check")]
    #[test]
    fn each_lease_has_its_place_in_its_list_of_its_tenant() {
        let tenant_reclaim = three_tenants();
        let places = [0, 1, 2, 3, 4, 5, 6, 7]
            .map(|index| tenant_reclaim.place_of(index, tenant_list(index).expect("it stands")));
        assert_eq!(places, [1, 1, 1, 1, 2, 2, 1, 1]);
    }

    #[test]
    fn check_finds_a_lease_in_a_wrong_list() {
        let check =
            |tenant_reclaim: &TenantReclaim| tenant_reclaim.check(tenant_list, |tenant| tenant > 0 && tenant < 3);
        assert_eq!(check(&three_tenants()), Ok(()));
        let broken: [fn(&mut TenantReclaim); 11] = [
            |tenant_reclaim| tenant_reclaim.unlink(3, TenantList::Expired),
            |tenant_reclaim| tenant_reclaim.members[4].tenant = 0,
            |tenant_reclaim| tenant_reclaim.groups[1].idle.len += 1,
            |tenant_reclaim| tenant_reclaim.groups[0].expired.len += 1,
            |tenant_reclaim| tenant_reclaim.set_cap_blocked(0, true),
            |tenant_reclaim| tenant_reclaim.groups[2].is_cap_blocked = false,
            |tenant_reclaim| tenant_reclaim.groups[1].in_to_park = false,
            |tenant_reclaim| tenant_reclaim.groups[1].in_to_shed = false,
            |tenant_reclaim| tenant_reclaim.to_shed.len += 1,
            |tenant_reclaim| {
                // It stands in no ring, and belongs into one.
                tenant_reclaim.to_park.unlink(&mut tenant_reclaim.groups, 1);
                tenant_reclaim.groups[1].in_to_park = false;
            },
            |tenant_reclaim| {
                tenant_reclaim.to_shed.unlink(&mut tenant_reclaim.groups, 1);
                tenant_reclaim.groups[1].in_to_shed = false;
            },
        ];
        for (case, breaks) in broken.into_iter().enumerate() {
            let mut tenant_reclaim = three_tenants();
            breaks(&mut tenant_reclaim);
            assert!(check(&tenant_reclaim).is_err(), "case {case}");
        }
    }
}
