//! Who is served: whether a newcomer may have a buffer at once, and to whom one that became free goes.

use super::buffers::{Lease, LeaseState};
use super::id::{Generation, LeaseId, WaitId};
use super::list::{Links, NIL};
use super::tenants::Turn;
use super::waits::{Wait, WaitState};
use super::{Class, Pool, PoolError, Request, Shortage};

/// Whether a class may take so many units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Fits,
    /// Some units are free for it, but not enough for this size.
    Short,
    /// Its reserve or its cap keeps it back.
    Kept,
}

/// Who is served next.
struct Served {
    class: usize,
    turn: Turn,
    /// A bit for each class that could have been.
    eligible: u8,
}

impl Pool {
    /// Refuses a request that names what is not there, or could never be granted.
    pub(super) fn admit(&self, request: &Request, tenant: u32) -> Result<(), PoolError> {
        let Request { class, size, .. } = *request;
        if class >= self.classes_used {
            return Err(PoolError::UnknownClass { class, classes: self.classes_used });
        }
        let units = self.buffers.units_of(size);
        if units == 0 {
            return Err(PoolError::UnknownSize { size });
        }
        let Class { reserve, cap, .. } = self.classes[usize::from(class)];
        let possible = units <= self.buffers.units() - reserve && units <= cap;
        if !possible || !self.tenants.could_take(tenant, units) {
            return Err(PoolError::TooLarge { units });
        }
        Ok(())
    }

    /// Whether a newcomer is granted at once: what it names exists, it may take what is free, and nobody waits before
    /// it.
    #[inline(always)] // see `Pool::grant_plainly`
    pub(super) fn may_have_now(&self, request: &Request, tenant: u32) -> bool {
        let (class, units) = (usize::from(request.class), self.buffers.units_of(request.size));
        request.class < self.classes_used
            && units > 0
            && self.verdict(class, units) == Verdict::Fits
            && self.tenants.may_take(tenant, units)
            && (self.stats.waiting == 0 || !self.is_behind(class, tenant))
    }

    /// Whether a newcomer has to stand behind somebody who waits.
    fn is_behind(&self, class: usize, tenant: u32) -> bool {
        self.tenants.is_ready(class) || self.tenants.is_waiting(class, tenant) || self.is_behind_larger(class)
    }

    #[inline(always)]
    pub(super) fn verdict(&self, class: usize, units: u32) -> Verdict {
        let class = &self.classes[class];
        let free = self.buffers.free_units().saturating_sub(class.reserve);
        if free == 0 || units > class.cap - class.out {
            Verdict::Kept
        } else if free < units {
            Verdict::Short
        } else {
            Verdict::Fits
        }
    }

    /// Whose turn it is in a class, and how many units that takes; `None` if nobody waits whom no cap of his own keeps
    /// back.
    #[inline]
    pub(super) fn next_of(&self, class: usize) -> Option<(Turn, u32)> {
        let turn = self.tenants.next(self.waits.table(), class)?;
        Some((turn, self.buffers.units_of(self.waits.table()[turn.wait as usize].size)))
    }

    /// Whether a more critical class keeps its turn for a buffer that is larger than what is free.
    pub(super) fn is_behind_larger(&self, class: usize) -> bool {
        (0..class)
            .any(|other| self.next_of(other).is_some_and(|(_, units)| self.verdict(other, units) == Verdict::Short))
    }

    /// Whose buffers would help those who wait; `None` if nobody's.
    pub(super) fn shortage(&self) -> Option<Shortage> {
        if self.stats.waiting == 0 {
            None
        } else if (0..usize::from(self.classes_used)).any(|class| self.tenants.is_ready(class)) {
            Some(Shortage::Common)
        } else {
            self.deadlines.keeps_any().then_some(Shortage::Capped)
        }
    }

    /// What a tenant has out or waits for has changed: whether its cap keeps somebody back may have, too.
    pub(super) fn note_kept(&mut self, tenant: u32) {
        if self.deadlines.knows_tenants() {
            self.deadlines.set_kept(tenant, self.tenants.is_kept(tenant));
        }
    }

    /// Assigns free buffers for as long as somebody waits who may take one.
    #[inline]
    pub(super) fn settle(&mut self) {
        if self.stats.waiting > 0 {
            self.serve_waiters();
        }
    }

    fn serve_waiters(&mut self) {
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
                Verdict::Kept => continue,
                Verdict::Short => break,
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
        let passed = self.tenants.passed(&self.waits.table()[turn.wait as usize]) - 1;
        self.tenants.serve(self.waits.table_mut(), chosen, turn);
        self.leave_class(chosen);
        let Wait { token, tenant, class, size, is_timed, .. } = self.waits.table()[turn.wait as usize];
        let request = Request { token, tenant: None, class, size, is_timed };
        let lease = self.take_buffer(&request, tenant, LeaseState::Assigned);
        let wait = &mut self.waits.table_mut()[turn.wait as usize];
        (wait.passed, wait.state, wait.buffer) = (passed, WaitState::Assigned, lease.index());
        self.assigned.push_back(self.waits.table_mut(), turn.wait);
        self.stats.granted_by_hand_over += 1;
        self.stats.passed_peak = self.stats.passed_peak.max(passed);
    }

    pub(super) fn enqueue(&mut self, request: &Request, tenant: u32) -> WaitId {
        let Request { token, class, size, is_timed, .. } = *request;
        let index = self.waits.add(Wait {
            token,
            since_ns: self.clock.now_ns(),
            passed: 0,
            links: Links::NONE,
            tenant,
            buffer: NIL,
            generation: Generation::first(0),
            class,
            size,
            is_timed,
            state: WaitState::Queued,
        });
        self.enter_queue(index);
        self.stats.queued += 1;
        self.stats.waiting_peak = self.stats.waiting_peak.max(self.stats.waiting);
        self.waits.table()[index as usize].id(index)
    }

    /// A wait is the last of its tenant's in its class.
    pub(super) fn enter_queue(&mut self, index: u32) {
        let Wait { class, tenant, .. } = self.waits.table()[index as usize];
        self.waits.table_mut()[index as usize].passed = self.tenants.grants(class.into());
        self.tenants.push(self.waits.table_mut(), index);
        self.note_kept(tenant);
        self.classes[usize::from(class)].waiting += 1;
        self.stats.waiting += 1;
    }

    /// A wait leaves its queue unserved.
    pub(super) fn leave_queue(&mut self, index: u32) {
        let Wait { class, tenant, .. } = self.waits.table()[index as usize];
        self.tenants.unlink(self.waits.table_mut(), index);
        self.note_kept(tenant);
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

    #[inline]
    pub(super) fn take_buffer(&mut self, request: &Request, tenant: u32, state: LeaseState) -> LeaseId {
        let lease = self.lend(request, tenant, state);
        self.limit(tenant);
        lease
    }

    #[inline]
    pub(super) fn put_buffer(&mut self, index: u32) {
        self.deadlines.stop(index);
        let tenant = self.take_back(index);
        self.limit(tenant);
    }

    /// A tenant has more or less out.
    #[inline]
    fn limit(&mut self, tenant: u32) {
        if self.stats.waiting > 0 && self.tenants.limit(self.waits.table(), tenant) {
            self.note_kept(tenant);
        }
    }

    /// A buffer is out. Whether that limits those who wait is for the caller to see to.
    #[inline(always)]
    pub(super) fn lend(&mut self, request: &Request, tenant: u32, state: LeaseState) -> LeaseId {
        let (lease, units) = self.buffers.take(request, tenant, state);
        self.classes[usize::from(request.class)].out += units;
        self.tenants.took(tenant, units);
        if request.is_timed {
            self.deadlines.start(lease.index(), tenant, units, self.clock.now_ns());
        }
        self.stats.took();
        lease
    }

    /// A buffer is back, and its deadline over; returns whose it was. As with `lend`.
    #[inline(always)]
    pub(super) fn take_back(&mut self, index: u32) -> u32 {
        let (units, Lease { tenant, class, .. }) = self.buffers.put(index);
        self.classes[usize::from(class)].out -= units;
        self.tenants.gave(tenant, units);
        self.stats.gave();
        tenant
    }

    pub(super) fn passed(&self, wait: &Wait) -> u64 {
        match wait.state {
            WaitState::Queued => self.tenants.passed(wait),
            WaitState::Assigned | WaitState::Free => wait.passed,
        }
    }

    pub(super) fn refuse<T>(&mut self, error: PoolError) -> Result<T, PoolError> {
        self.stats.refused += 1;
        Err(error)
    }
}
