//! The order of service: whether a new request is granted at once, and which waiter gets a buffer that became free.

use super::buffers::{Lease, LeaseState};
use super::id::{Generation, LeaseId, WaitId};
use super::list::{Links, NIL};
use super::tenants::Turn;
use super::waits::{Wait, WaitState};
use super::{Class, Request, Scheduler, SchedulerError, WaiterScope};

/// Whether a class is eligible for a number of units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Fits,
    /// Some units are free for it, but not enough for this size.
    TooLargeNow,
    /// Its reserve or its cap blocks it.
    Blocked,
}

/// The waiter that is served next.
struct Served {
    class: usize,
    turn: Turn,
    /// A bit for each class that was eligible, the chosen class included.
    eligible: u8,
}

impl Scheduler {
    /// Refuses a request that names what is not there, or could never be granted.
    pub(super) fn admit(&self, request: &Request, tenant: u32) -> Result<(), SchedulerError> {
        let Request { class, size_index, .. } = *request;
        if class >= self.classes_used {
            return Err(SchedulerError::UnknownClass { class, classes: self.classes_used });
        }
        let units = self.buffers.units_of(size_index);
        if units == 0 {
            return Err(SchedulerError::UnknownSize { size_index });
        }
        let Class { reserve, cap, .. } = self.classes[usize::from(class)];
        let possible = units <= self.buffers.units() - reserve && units <= cap;
        if !possible || !self.tenants.could_take(tenant, units) {
            return Err(SchedulerError::TooLarge { units });
        }
        Ok(())
    }

    /// Whether a new request is granted at once: its class and size exist, it is eligible for a free buffer, and no
    /// waiter goes before it.
    #[inline(always)]
    pub(super) fn may_have_now(&self, request: &Request, tenant: u32) -> bool {
        let (class, units) = (usize::from(request.class), self.buffers.units_of(request.size_index));
        request.class < self.classes_used
            && units > 0
            && self.verdict(class, units) == Verdict::Fits
            && self.tenants.may_take(tenant, units)
            && (self.stats.waiting == 0 || !self.is_behind(class, tenant))
    }

    /// As `may_have_now`, of a request that is admitted, after a buffer more was taken in this class, for the default
    /// tenant.
    pub(super) fn may_have_after(&self, request: &Request, tenant: u32, taken_class: u8) -> bool {
        let (units, taken_units) = (self.buffers.units_of(request.size_index), self.buffers.units_of(0));
        let Class { reserve, cap, outstanding, .. } = self.classes[usize::from(request.class)];
        let of_class = if request.class == taken_class { taken_units } else { 0 };
        self.buffers.free_units() >= reserve.saturating_add(taken_units + units)
            && outstanding + of_class + units <= cap
            && self.tenants.may_take(tenant, units)
            && (self.stats.waiting == 0 || !self.is_behind(usize::from(request.class), tenant))
    }

    /// Whether a new request has to queue behind a waiter.
    #[cold]
    #[inline(never)]
    fn is_behind(&self, class: usize, tenant: u32) -> bool {
        self.tenants.is_ready(class) || self.tenants.is_waiting(class, tenant) || self.is_behind_larger(class)
    }

    #[inline(always)]
    pub(super) fn verdict(&self, class: usize, units: u32) -> Verdict {
        let class = &self.classes[class];
        let free = self.buffers.free_units().saturating_sub(class.reserve);
        if free == 0 || units > class.cap - class.outstanding {
            Verdict::Blocked
        } else if free < units {
            Verdict::TooLargeNow
        } else {
            Verdict::Fits
        }
    }

    /// The turn that is next in a class, and the units that it takes. `None` if every waiter of this class is blocked
    /// by the cap of its own tenant.
    #[inline]
    pub(super) fn next_of(&self, class: usize) -> Option<(Turn, u32)> {
        let turn = self.tenants.next(self.waits.table(), class)?;
        Some((turn, self.buffers.units_of(self.waits.table()[turn.wait as usize].size_index)))
    }

    /// Whether a more critical class keeps its turn for a buffer that is larger than what is free.
    pub(super) fn is_behind_larger(&self, class: usize) -> bool {
        (0..class).any(|other| {
            self.next_of(other).is_some_and(|(_, units)| self.verdict(other, units) == Verdict::TooLargeNow)
        })
    }

    /// The holders that could help a waiter by releasing their buffers; `None` if no holder could.
    pub(super) fn waiter_scope(&self) -> Option<WaiterScope> {
        if self.stats.waiting == 0 {
            None
        } else if (0..usize::from(self.classes_used)).any(|class| self.tenants.is_ready(class)) {
            Some(WaiterScope::Any)
        } else {
            self.deadlines.has_cap_blocked().then_some(WaiterScope::CappedTenant)
        }
    }

    /// Notes whether a tenant's cap blocks a waiter, after the tenant's leases or waits have changed.
    pub(super) fn note_cap_blocked(&mut self, tenant: u32) {
        if self.deadlines.knows_tenants() {
            self.deadlines.set_cap_blocked(tenant, self.tenants.is_cap_blocked(tenant));
        }
    }

    /// Withholds what is to be withheld, then assigns free buffers until no eligible waiter is left.
    #[inline]
    pub(super) fn serve_waiters(&mut self) {
        if self.stats.waiting | self.to_withhold > 0 {
            self.serve_each_waiter();
        }
    }

    #[cold]
    #[inline(never)]
    fn serve_each_waiter(&mut self) {
        while self.to_withhold > 0 && self.buffers.withhold() {
            self.to_withhold -= 1;
        }
        while self.stats.waiting > 0 && self.buffers.free_units() > 0 {
            let Some(next) = self.next_served() else {
                return;
            };
            self.hand_over(next);
        }
    }

    /// Of the classes with waiters that are eligible: the one passed most often, if that is too often; else the first.
    fn next_served(&self) -> Option<Served> {
        let (mut next, mut eligible, mut too_often) = (None, 0, u64::from(self.class_burst));
        for class in 0..usize::from(self.classes_used) {
            let Some((turn, units)) = self.next_of(class) else {
                continue;
            };
            match self.verdict(class, units) {
                Verdict::Blocked => continue,
                Verdict::TooLargeNow => break,
                Verdict::Fits => eligible |= 1 << class,
            }
            let bypassed = self.classes[class].bypassed;
            if next.is_none() || bypassed >= too_often {
                too_often = too_often.max(bypassed + 1);
                next = Some((class, turn));
            }
        }
        next.map(|(class, turn)| Served { class, turn, eligible })
    }

    fn hand_over(&mut self, next: Served) {
        let Served { class: chosen, turn, eligible } = next;
        for class in (0..usize::from(self.classes_used)).filter(|class| eligible >> class & 1 == 1) {
            self.tenants.count_grant(class);
            self.classes[class].bypassed += 1;
        }
        self.classes[chosen].bypassed = 0;
        // Its own grant is among those counted.
        let bypasses = self.tenants.bypasses(&self.waits.table()[turn.wait as usize]) - 1;
        self.tenants.serve(self.waits.table_mut(), chosen, turn);
        self.leave_class(chosen);
        let Wait { token, tenant, class, size_index, has_deadline, .. } = self.waits.table()[turn.wait as usize];
        let request = Request { token, tenant: None, class, size_index, has_deadline };
        let lease = self.take_buffer(&request, tenant, LeaseState::Assigned);
        let wait = &mut self.waits.table_mut()[turn.wait as usize];
        (wait.bypasses, wait.state, wait.buffer) = (bypasses, WaitState::Assigned, lease.index());
        self.assigned.push_back(self.waits.table_mut(), turn.wait);
        self.stats.granted_by_handoff += 1;
        self.stats.bypass_peak = self.stats.bypass_peak.max(bypasses);
    }

    pub(super) fn enqueue(&mut self, request: &Request, tenant: u32) -> WaitId {
        let index = self.add_wait(request, tenant);
        self.enter_queue(index);
        self.stats.queued += 1;
        self.stats.waiting_peak = self.stats.waiting_peak.max(self.stats.waiting);
        self.waits.table()[index as usize].id(index)
    }

    /// A wait that is in no queue yet.
    pub(super) fn add_wait(&mut self, request: &Request, tenant: u32) -> u32 {
        let Request { token, class, size_index, has_deadline, .. } = *request;
        self.waits.add(Wait {
            token,
            since_ns: self.clock.now_ns(),
            bypasses: 0,
            links: Links::NONE,
            tenant,
            buffer: NIL,
            generation: Generation::first(0),
            class,
            size_index,
            has_deadline,
            state: WaitState::Queued,
        })
    }

    /// A wait is the last of its tenant's in its class.
    pub(super) fn enter_queue(&mut self, index: u32) {
        let Wait { class, tenant, .. } = self.waits.table()[index as usize];
        self.waits.table_mut()[index as usize].bypasses = self.tenants.grants(class.into());
        self.tenants.push(self.waits.table_mut(), index);
        self.note_cap_blocked(tenant);
        self.classes[usize::from(class)].waiting += 1;
        self.stats.waiting += 1;
    }

    /// A wait leaves its queue unserved.
    pub(super) fn leave_queue(&mut self, index: u32) {
        let Wait { class, tenant, .. } = self.waits.table()[index as usize];
        self.tenants.unlink(self.waits.table_mut(), index);
        self.note_cap_blocked(tenant);
        self.leave_class(class.into());
        if !self.tenants.is_ready(class.into()) {
            self.classes[usize::from(class)].bypassed = 0;
        }
    }

    /// One waits less in a class.
    pub(super) fn leave_class(&mut self, class: usize) {
        self.classes[class].waiting -= 1;
        self.stats.waiting -= 1;
    }

    #[inline(always)]
    pub(super) fn take_buffer(&mut self, request: &Request, tenant: u32, state: LeaseState) -> LeaseId {
        let lease = self.lend(request, tenant, state);
        self.limit(tenant);
        lease
    }

    #[inline(always)]
    pub(super) fn put_buffer(&mut self, index: u32) {
        self.deadlines.stop(index);
        let tenant = self.take_back(index);
        self.limit(tenant);
    }

    /// A tenant has more or less outstanding.
    #[inline(always)]
    pub(super) fn limit(&mut self, tenant: u32) {
        if self.stats.waiting > 0 {
            self.limit_waiters(tenant);
        }
    }

    #[cold]
    #[inline(never)]
    fn limit_waiters(&mut self, tenant: u32) {
        if self.tenants.limit(self.waits.table(), tenant) {
            self.note_cap_blocked(tenant);
        }
    }

    /// A buffer is outstanding. Whether that limits the waiters is for the caller to see to.
    #[inline(always)]
    pub(super) fn lend(&mut self, request: &Request, tenant: u32, state: LeaseState) -> LeaseId {
        let (lease, units) = self.buffers.take(request, tenant, state);
        self.classes[usize::from(request.class)].outstanding += units;
        self.tenants.took(tenant, units);
        if request.has_deadline {
            self.deadlines.start(lease.index(), tenant, units, self.clock.now_ns());
        }
        self.stats.took();
        lease
    }

    /// A buffer is back, and its deadline over; returns whose it was. As with `lend`.
    #[inline(always)]
    pub(super) fn take_back(&mut self, index: u32) -> u32 {
        let (units, Lease { tenant, class, .. }) = self.buffers.put(index);
        self.classes[usize::from(class)].outstanding -= units;
        self.tenants.gave(tenant, units);
        self.stats.gave();
        tenant
    }

    pub(super) fn bypasses(&self, wait: &Wait) -> u64 {
        match wait.state {
            WaitState::Queued => self.tenants.bypasses(wait),
            _ => wait.bypasses,
        }
    }

    pub(super) fn refuse<T>(&mut self, error: SchedulerError) -> Result<T, SchedulerError> {
        self.stats.refused += 1;
        Err(error)
    }
}
