//! Claims: which receivers wait, in which order they are served, and what happens at their deadline.

use super::borrow::Purpose;
use super::buffers::{Buffers, LoadOrder, Wanted};
use super::heap::Entry;
use super::keeper::Queue;
use super::keeper::Standing;
use super::sizes::Size;
use super::types::Notice;
use super::{NIL, Receiving, ReceivingConfig};
use crate::config_error::ConfigError;

/// What has its trial at its deadline.
const TRIED: [Queue; 3] = [Queue::CreditedClaims, Queue::Claims, Queue::Marks];

/// The claim that is next.
struct FirstClaim {
    keeper: u32,
    /// That of the cell that it needs.
    size: Size,
    is_in_credit: bool,
}

impl<B: Buffers> Receiving<B> {
    /// A receiver waits for room from now on, if it does not already.
    pub(super) fn claim(&mut self, keeper: u32, is_reported: bool) {
        self.end_mark(keeper);
        let now_ns = self.clock.now_ns();
        let state = &mut self.keepers[keeper];
        if state.standing != Standing::Resting {
            return;
        }
        state.start_ns.get_or_insert(now_ns);
        state.standing = Standing::Claiming { since_ns: now_ns };
        state.is_guess = !is_reported && state.kept_bytes == 0;
        self.totals.claims += 1;
        self.dequeue(keeper);
        self.enqueue_claim(keeper);
    }

    /// There is something to be received after all: what was a guess begins now.
    pub(super) fn end_guess(&mut self, keeper: u32) {
        let now_ns = self.clock.now_ns();
        let state = &mut self.keepers[keeper];
        if !core::mem::take(&mut state.is_guess) {
            return;
        }
        state.start_ns = Some(now_ns);
        if let Standing::Claiming { since_ns } = &mut state.standing {
            *since_ns = now_ns;
            if state.borrow == NIL {
                self.dequeue(keeper);
                self.enqueue_claim(keeper);
            }
        }
    }

    /// A receiver that rests waits for room from now on, whether there is any or not.
    pub(crate) fn claim_anew(&mut self, receiver: u32) {
        let keeper = self.keeper(receiver);
        self.claim(keeper, true);
    }

    pub(super) fn enqueue_claim(&mut self, keeper: u32) {
        let length_bytes = self.length_bytes(keeper);
        let is_in_credit = self.has_credit_for(keeper, self.cells.sizes.fitting_above_header(length_bytes));
        let queue = if is_in_credit { Queue::CreditedClaims } else { Queue::Claims };
        let deadline_ns = self.deadline_of(keeper, length_bytes);
        self.enqueue(queue, keeper, deadline_ns);
    }

    /// The claim is over, whatever came of it, if there is one.
    #[inline(always)]
    pub(super) fn end_claim(&mut self, keeper: u32) {
        if self.keepers[keeper].claim_since_ns().is_some() {
            self.end_claim_at(keeper);
        }
    }

    fn end_claim_at(&mut self, keeper: u32) {
        if let Some(since_ns) = self.keepers[keeper].claim_since_ns() {
            self.flights.claims -= u32::from(self.is_in_flight(keeper));
            self.dequeue(keeper);
            self.keepers[keeper].standing = Standing::Resting;
            let lasted_ns = self.clock.now_ns() - since_ns;
            self.totals.longest_claim_ns = self.totals.longest_claim_ns.max(lasted_ns);
        }
    }

    /// Every deadline, and the most that an advance of the clock counts for, follow from these times from now on. It
    /// looks at each receiver that is not idle.
    pub(crate) fn set_times(&mut self, frame_grace_ns: u64, blocked_ns: u64) -> Result<(), ConfigError> {
        let config = ReceivingConfig { frame_grace_ns, blocked_ns, ..self.config };
        config.check_times()?;
        self.config = config;
        self.clock.set_lease_ns(frame_grace_ns);
        for keeper in 0..self.keepers.len() {
            if let Some((queue, _)) = self.keepers[keeper].queued {
                let due_ns = self.due_ns(queue, keeper);
                self.dequeue(keeper);
                self.enqueue(queue, keeper, due_ns);
            }
        }
        Ok(())
    }

    /// What was kept after its trial receives nothing until shortage ends.
    pub(super) fn turn_off(&mut self, keeper: u32) {
        if !self.keepers[keeper].is_off() {
            self.keepers[keeper].standing = Standing::Off;
            let tenant = self.tenant(self.keepers[keeper].receiver);
            self.keepers.push(self.tenants.off_mut(tenant), keeper);
            self.off += 1;
            self.note_off(tenant);
        }
    }

    /// It does not wait for the end of shortage any more, if it did.
    #[inline]
    pub(super) fn end_off(&mut self, keeper: u32) {
        if self.keepers[keeper].is_off() {
            let tenant = self.tenant(self.keepers[keeper].receiver);
            self.keepers.unlink(self.tenants.off_mut(tenant), keeper);
            self.off -= 1;
            self.note_off(tenant);
            self.keepers[keeper].standing = Standing::Resting;
        }
    }

    /// Takes a keeper out of the list that it is in, if it is in one.
    pub(super) fn unlist(&mut self, keeper: u32) {
        self.end_off(keeper);
        self.keepers.unlist_shed(keeper, &mut self.shed);
    }

    /// What a receiver is to learn that did not ask. Poll until there is nothing, after the events of a loop iteration.
    pub fn poll(&mut self) -> Option<Notice> {
        let mut notice = self.poll_once();
        if notice.is_none() && self.buffers.return_spares() {
            notice = self.poll_once();
        }
        if notice.is_none() && self.settle() { self.poll_once() } else { notice }
    }

    fn poll_once(&mut self) -> Option<Notice> {
        self.poll_shed()
            .or_else(|| self.poll_claims())
            .or_else(|| self.poll_off())
            .or_else(|| self.poll_in_flight())
            .or_else(|| self.poll_shed())
    }

    /// Nothing is left to poll: a receiver that waits for memory waits where memory comes from.
    #[inline]
    fn settle(&mut self) -> bool {
        let claim = self.first_claim();
        let first = claim.as_ref().map(|claim| claim.is_in_credit);
        let first = first.or_else(|| self.next_off().map(|keeper| self.is_in_credit(keeper)));
        let wanted = first.map(|is_in_credit| if is_in_credit { Wanted::Any } else { Wanted::BesideReserve });
        // What comes while a receiver borrows serves none: two threads would pass it to each other without end.
        let has_come = self.buffers.settle(wanted, self.open_borrows == 0);
        if self.tenants.is_used() && self.open_borrows == 0 {
            let asked = claim.filter(|claim| !self.may_not_submit(claim.keeper));
            self.buffers.ask(asked.and_then(|claim| self.asked_for(&claim)));
        }
        has_come
    }

    /// The tenant of a claim, and by how many bytes the cell that it needs is larger than its own.
    fn asked_for(&self, &FirstClaim { keeper, size, .. }: &FirstClaim) -> Option<(u32, u32)> {
        let size = if self.submits(keeper) { self.cells.sizes.whole() } else { size };
        let more_bytes = self.cells.sizes.bytes(size).checked_sub(self.counted_bytes(keeper))?;
        (more_bytes > 0).then(|| (self.tenant(self.keepers[keeper].receiver), more_bytes))
    }

    /// Whether there is nothing that `poll` could report, as far as a short look shows, and no receiver waits.
    #[inline(always)]
    pub(crate) fn nothing_to_poll(&self) -> bool {
        let nobody_claims = self.heaps.is_empty(Queue::CreditedClaims) && self.heaps.is_empty(Queue::Claims);
        let none_in_flight = self.open_borrows as usize == self.borrows.len();
        nobody_claims && self.heaps.is_empty(Queue::Marks) && none_in_flight && self.shed.is_empty() && self.off == 0
    }

    fn poll_shed(&mut self) -> Option<Notice> {
        let keeper = self.shed.first()?;
        self.keepers.unlink(&mut self.shed, keeper);
        let state = &self.keepers[keeper];
        state.shed_reason().map(|reason| Notice::Shed { receiver: state.receiver, reason })
    }

    fn poll_claims(&mut self) -> Option<Notice> {
        while self.buffers.is_wanted() && (self.evict() || self.evict_for_others()) {}
        if self.open_borrows > 0 {
            return None;
        }
        // Those that borrow have receives in flight.
        if self.off > 0 || self.first_tried().is_some() || !self.borrows.is_empty() {
            self.make_ready();
        }
        if let Some(keeper) = self.first_due().filter(|&keeper| self.trials_left > 0 && self.may_borrow(keeper)) {
            self.trials_left -= 1;
            self.totals.trials += 1;
            let (receiver, max_bytes) = self.serve(keeper, Purpose::Trial);
            return Some(Notice::Trial { receiver, max_bytes });
        }
        let FirstClaim { keeper, size, is_in_credit } = self.first_claim()?;
        if self.may_not_submit(keeper) {
            return None;
        }
        let floor = self.floor(is_in_credit);
        let size = if self.submits(keeper) { self.cells.sizes.whole() } else { size };
        while !self.has_room(size, floor) || !self.may_borrow(keeper) {
            if !self.evict() && !self.evict_for(keeper, size) {
                return None;
            }
        }
        self.totals.grants += 1;
        let (receiver, max_bytes) = self.serve(keeper, Purpose::Grant);
        Some(Notice::Granted { receiver, max_bytes })
    }

    /// The receiver borrows for the rest of its frame. A grant ends the claim, a trial does with its outcome.
    fn serve(&mut self, keeper: u32, purpose: Purpose) -> (u32, u32) {
        if purpose == Purpose::Grant {
            self.end_claim(keeper);
        }
        let has_none = self.keepers[keeper].kept_bytes == 0;
        let max_bytes = match purpose {
            Purpose::Grant if has_none => self.config.buffer_bytes,
            _ => self.exact_bytes(keeper),
        };
        self.borrow(keeper, purpose, max_bytes);
        (self.keepers[keeper].receiver, max_bytes)
    }

    /// Whether there is a buffer to borrow: not if a receive is in flight in the receive buffer, and nothing is free.
    fn may_borrow(&self, keeper: u32) -> bool {
        !self.flights.has_receive_buffer || self.free_while_borrowing(keeper).is_some()
    }

    /// The cell that a claim is for: one that fits its frame, or a buffer to submit a receive into.
    fn claimed_size(&self, keeper: u32) -> u8 {
        match self.submits(keeper) {
            true => self.cells.sizes.whole(),
            false => self.cells.sizes.fitting_above_header(self.length_bytes(keeper)),
        }
    }

    fn has_room(&self, size: u8, floor: u32) -> bool {
        let has_hole = size != self.cells.sizes.whole() && self.cells.has_hole(size, false);
        has_hole || self.free_buffers() > floor
    }

    /// The claim, or the wait under a mark, with the earliest deadline.
    fn first_tried(&self) -> Option<Entry> {
        let first = |queue| self.heaps.first(queue).unwrap_or(Entry::LAST);
        TRIED.map(first).into_iter().min().filter(|&first| first != Entry::LAST)
    }

    /// The one whose deadline passed first.
    #[inline]
    fn first_due(&self) -> Option<u32> {
        let now_ns = self.clock.now_ns();
        let is_due = |queue| self.heaps.first_deadline_ns(queue) <= now_ns;
        if TRIED.into_iter().any(is_due) { self.first_tried().map(|first| first.keeper()) } else { None }
    }

    /// The claim that is next: of the tenant that comes first, in credit first, then the earliest deadline.
    fn first_claim(&mut self) -> Option<FirstClaim> {
        let tenant = self.next_tenant(LoadOrder::Claiming)?;
        // While it waits, its credit only falls.
        while let Some(first) = self.first_claim_of(tenant, true) {
            let claim = self.look_at_claim(first.keeper());
            if claim.is_in_credit {
                return Some(claim);
            }
            self.dequeue(first.keeper());
            self.enqueue(Queue::Claims, first.keeper(), first.deadline_ns());
        }
        self.first_claim_of(tenant, false).map(|first| self.look_at_claim(first.keeper()))
    }

    #[inline]
    fn look_at_claim(&self, keeper: u32) -> FirstClaim {
        let size = self.cells.sizes.fitting_above_header(self.length_bytes(keeper));
        FirstClaim { keeper, size, is_in_credit: self.has_credit_for(keeper, size) }
    }

    /// Receivers that claim.
    pub(crate) fn claims(&self) -> u32 {
        self.heaps.len(Queue::CreditedClaims) + self.heaps.len(Queue::Claims)
    }

    /// The receiver that `poll` would try, grant or resume, as far as a look shows that changes nothing.
    pub(crate) fn next_served(&self) -> Option<u32> {
        if self.open_borrows > 0 {
            return None;
        }
        let due = self.first_due().filter(|&keeper| self.trials_left > 0 && self.may_borrow(keeper));
        let claim = self
            .first_tenant(LoadOrder::Claiming)
            .and_then(|tenant| self.first_claim_of(tenant, true).or_else(|| self.first_claim_of(tenant, false)));
        let granted = claim.map(|first| first.keeper()).filter(|&keeper| {
            let has_room = self.has_room(self.claimed_size(keeper), self.floor(self.is_in_credit(keeper)));
            has_room && !self.may_not_submit(keeper) && self.may_borrow(keeper)
        });
        let resumed = self.next_off().filter(|&keeper| self.may_resume(keeper));
        let keeper = due.or(granted).or(resumed)?;
        Some(self.keepers[keeper].receiver)
    }

    /// The receiver that is off and resumes first.
    fn next_off(&self) -> Option<u32> {
        self.first_tenant(LoadOrder::Off).and_then(|tenant| self.tenants.first_off(tenant))
    }

    /// Whether a receiver that is off could receive now.
    fn may_resume(&self, keeper: u32) -> bool {
        !self.is_in_shortage(keeper, self.free_buffers()) && self.may_borrow(keeper)
    }

    fn poll_off(&mut self) -> Option<Notice> {
        if self.off == 0 || self.open_borrows > 0 {
            return None;
        }
        let tenant = self.next_tenant(LoadOrder::Off)?;
        let first = self.tenants.first_off(tenant);
        let keeper = first.filter(|&keeper| self.may_resume(keeper))?;
        self.end_off(keeper);
        Some(Notice::Resume { receiver: self.keepers[keeper].receiver })
    }

    /// When to advance the clock and poll at the latest, in the host's time; `None` if there is nothing to wait for.
    pub fn poll_timeout(&self) -> Option<u64> {
        let flights_due_ns = self.flights_due_ns();
        let is_trial_due = self.first_due().is_some_and(|keeper| self.may_borrow(keeper));
        let is_due = !self.shed.is_empty() || is_trial_due || flights_due_ns == Some(0);
        if is_due || self.buffers.awaits_advance() {
            return self.clock.host_ns(0);
        }
        let first = self.first_tried().map(|first| first.deadline_ns());
        // One that is due waits for the receive buffer.
        let first = first.map(|deadline_ns| if deadline_ns > self.clock.now_ns() { deadline_ns } else { u64::MAX });
        let may_evict = self.free_buffers() <= self.split.reserve && !self.heaps.is_empty(Queue::Evictable);
        let has_to_look = may_evict || self.tenants.is_used() && self.buffers.waits_for_cap();
        let due_ns = first.or(flights_due_ns).or(has_to_look.then_some(u64::MAX))?;
        self.clock.host_ns(due_ns)
    }
}
