//! The round robin: which flow of a class has its turn?
//!
//! A *flow* is what one tenant waits for in one class, first in, first out. The flows of a class that may be served are
//! in its *open* ring, where deficit round robin (Shreedhar and Varghese, SIGCOMM 1995) serves `weight` buffers of the
//! largest size a turn. A flow whose tenant is below its guaranteed share is in the *entitled* ring as well, which goes
//! first; after `burst` entitled grants one goes to the open ring, so that no flow waits forever. A flow keeps its
//! place in the open ring whatever becomes of its entitlement. A flow whose tenant is at its cap is in no ring.

#[cfg(feature = "std")]
use super::DEFAULT_TENANT;
use super::Tenants;
use crate::scheduler::ensure;
use crate::scheduler::list::{Linked, Links, List, NIL};
use crate::scheduler::waits::{Wait, WaitState};
#[cfg(feature = "model-check")]
use alloc::vec::Vec;

/// What one tenant waits for in one class.
#[derive(Clone, Copy, Debug)]
pub(in crate::scheduler) struct Flow {
    pub(super) queue: List,
    open: Links,
    entitled: Links,
    deficit: u32,
    in_turn: bool,
    pub(super) in_open: bool,
    pub(super) in_entitled: bool,
    /// The class's count of grants when the tenant's cap last ceased to block this flow.
    free_since: u64,
}

const OPEN: usize = 1;
const ENTITLED: usize = 2;

impl Linked<OPEN> for Flow {
    fn links(&self) -> &Links {
        &self.open
    }

    fn links_mut(&mut self) -> &mut Links {
        &mut self.open
    }
}

impl Linked<ENTITLED> for Flow {
    fn links(&self) -> &Links {
        &self.entitled
    }

    fn links_mut(&mut self) -> &mut Links {
        &mut self.entitled
    }
}

/// The turn of a flow.
#[derive(Clone, Copy)]
pub(in crate::scheduler) struct Turn {
    flow: u32,
    is_entitled: bool,
    /// The wait at the front of the flow.
    pub(in crate::scheduler) wait: u32,
}

/// The rings of one class.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rings {
    pub(super) open: List<OPEN>,
    pub(super) entitled: List<ENTITLED>,
    /// Entitled grants since the last open one, while an open flow waited.
    entitled_run: u32,
    /// Grants of this class that its flows could have had.
    grants: u64,
}

impl Flow {
    pub(super) const EMPTY: Flow = Flow {
        queue: List::EMPTY,
        open: Links::NONE,
        entitled: Links::NONE,
        deficit: 0,
        in_turn: false,
        in_open: false,
        in_entitled: false,
        free_since: 0,
    };
}

impl Rings {
    pub(super) const EMPTY: Rings = Rings { open: List::EMPTY, entitled: List::EMPTY, entitled_run: 0, grants: 0 };
}

impl Tenants {
    /// The most grants of a class between two of the same flow that it could have had, and one more: the rounds of
    /// the bound *W*. In a turn each other flow of the open ring gets `weight` times the largest size, and each open
    /// grant lets `burst` entitled ones pass.
    pub(in crate::scheduler) fn rounds_max(&self, waiters_max: u32) -> u64 {
        let others = u64::from(self.max.min(waiters_max.saturating_sub(1)));
        if others == 0 {
            return 1;
        }
        let smallest = self.sizes.iter().copied().filter(|&units| units > 0).min().unwrap_or(1);
        // With several sizes, what a turn left over because the next one was large may go to small ones later.
        let left_over = u64::from(self.quantum() > smallest);
        let a_turn = (u64::from(self.weight_peak) + left_over) * u64::from(self.quantum().div_ceil(smallest));
        let open = others.saturating_mul(a_turn).saturating_add(1);
        open.saturating_mul(u64::from(self.burst) + 1)
    }

    /// Whether its cap blocks a waiter of it. Cost: O(classes).
    pub(in crate::scheduler) fn is_cap_blocked(&self, tenant: u32) -> bool {
        let Some(entry) = self.tenants.get(tenant as usize).filter(|entry| entry.waiting > 0) else {
            return false;
        };
        let flows = self.flow(0, tenant)..self.flow(0, tenant + 1);
        entry.cap != u32::MAX && self.flows[flows].iter().any(|flow| !flow.queue.is_empty() && !flow.in_open)
    }

    /// Whether it waits for something in this class already.
    pub(in crate::scheduler) fn is_waiting(&self, class: usize, tenant: u32) -> bool {
        !self.flows[self.flow(class, tenant)].queue.is_empty()
    }

    /// Whether a request waits in this class that its tenant's cap does not block.
    pub(in crate::scheduler) fn is_ready(&self, class: usize) -> bool {
        !self.rings[class].open.is_empty()
    }

    /// Whether a request of this tenant that waits in this class would not be blocked by its cap, if this number of
    /// units came back that it has leased.
    #[cfg(feature = "std")]
    pub(in crate::scheduler) fn would_be_ready(&self, class: usize, tenant: u32, units: u32) -> bool {
        let entry = &self.tenants[tenant as usize];
        self.is_waiting(class, tenant)
            && (tenant == DEFAULT_TENANT || units <= entry.cap.saturating_sub(entry.used() - units))
    }

    /// Grants of this class that the waiters in it could have had.
    pub(in crate::scheduler) fn grants(&self, class: usize) -> u64 {
        self.rings[class].grants
    }

    /// One more of them.
    pub(in crate::scheduler) fn count_grant(&mut self, class: usize) {
        self.rings[class].grants += 1;
    }

    /// Grants that bypassed a queued wait which it could have had, since its tenant's cap last blocked it.
    pub(in crate::scheduler) fn bypasses(&self, wait: &Wait) -> u64 {
        let class = usize::from(wait.class);
        let flow = &self.flows[self.flow(class, wait.tenant)];
        if flow.in_open { self.rings[class].grants - wait.bypasses.max(flow.free_since) } else { 0 }
    }

    /// Queues a wait.
    pub(in crate::scheduler) fn push(&mut self, waits: &mut [Wait], index: u32) {
        let Wait { class, tenant, .. } = waits[index as usize];
        let flow = self.flow(class.into(), tenant);
        self.flows[flow].queue.push_back(waits, index);
        self.tenants[tenant as usize].waiting += 1;
        self.place(waits, flow);
    }

    /// Queues a wait of the default tenant in front of the first of its class that does not go before it.
    #[cfg(feature = "std")]
    pub(in crate::scheduler) fn push_in_order(
        &mut self,
        waits: &mut [Wait],
        index: u32,
        goes_before: impl Fn(u32) -> bool,
    ) {
        let flow = self.flow(waits[index as usize].class.into(), DEFAULT_TENANT);
        let queue = &mut self.flows[flow].queue;
        let behind = queue.iter(waits).find(|&other| !goes_before(other));
        match behind {
            Some(next) => queue.insert_before(waits, index, next),
            None => queue.push_back(waits, index),
        }
        self.tenants[DEFAULT_TENANT as usize].waiting += 1;
        self.place(waits, flow);
    }

    /// Requests that wait in the name of any tenant but the default one.
    #[cfg(feature = "std")]
    pub(in crate::scheduler) fn named_waits(&self, waiting: u32) -> u32 {
        waiting - self.tenants[DEFAULT_TENANT as usize].waiting
    }

    /// Takes a wait out of its queue, because it is cancelled.
    pub(in crate::scheduler) fn unlink(&mut self, waits: &mut [Wait], index: u32) {
        let tenant = waits[index as usize].tenant;
        self.leave_queue(waits, index);
        self.free_if_done(tenant);
    }

    /// The turn that comes next in this class.
    #[inline]
    pub(in crate::scheduler) fn next(&self, waits: &[Wait], class: usize) -> Option<Turn> {
        let (flow, is_entitled) = self.choose(waits, class)?;
        Some(Turn { flow, is_entitled, wait: self.flows[flow as usize].queue.head })
    }

    /// Takes the wait that `next` named out of its queue and moves the rings on. Its tenant `took` a buffer next.
    pub(in crate::scheduler) fn serve(&mut self, waits: &mut [Wait], class: usize, turn: Turn) {
        if turn.is_entitled {
            let rings = &mut self.rings[class];
            rings.entitled_run += 1;
            rings.entitled.unlink(&mut self.flows, turn.flow);
            rings.entitled.push_back(&mut self.flows, turn.flow);
        } else {
            self.rings[class].entitled_run = 0;
            self.move_on(waits, class, turn.flow);
        }
        self.leave_queue(waits, turn.wait);
    }

    /// What a tenant has outstanding has changed. Returns whether that may change what its limits mean for its waiters.
    pub(in crate::scheduler) fn limit(&mut self, waits: &[Wait], tenant: u32) -> bool {
        let entry = &self.tenants[tenant as usize];
        let matters = entry.waiting > 0 && entry.is_limited();
        if matters {
            self.place_all(waits, tenant);
        }
        matters
    }

    fn leave_queue(&mut self, waits: &mut [Wait], index: u32) {
        let Wait { class, tenant, .. } = waits[index as usize];
        let flow = self.flow(class.into(), tenant);
        self.flows[flow].queue.unlink(waits, index);
        self.tenants[tenant as usize].waiting -= 1;
        self.place(waits, flow);
    }

    fn flow(&self, class: usize, tenant: u32) -> usize {
        tenant as usize * self.classes + class
    }

    /// Units a flow of weight 1 may take in one turn: those of the largest size, so that each turn serves a waiter.
    fn quantum(&self) -> u32 {
        self.sizes.iter().copied().max().unwrap_or(1)
    }

    fn need(&self, waits: &[Wait], flow: u32) -> u32 {
        let head = self.flows[flow as usize].queue.head;
        self.sizes[usize::from(waits[head as usize].size_index)]
    }

    /// The flow that has its turn, and whether by entitlement.
    fn choose(&self, waits: &[Wait], class: usize) -> Option<(u32, bool)> {
        let rings = &self.rings[class];
        if !rings.entitled.is_empty() && rings.entitled_run < self.burst {
            return Some((rings.entitled.head, true));
        }
        if rings.open.is_empty() {
            return None;
        }
        let head = rings.open.head;
        let flow = &self.flows[head as usize];
        let turn_is_over = flow.in_turn && flow.deficit < self.need(waits, head);
        let next = if turn_is_over && flow.open.next != NIL { flow.open.next } else { head };
        Some((next, false))
    }

    /// The chosen flow of the open ring pays for its head.
    fn move_on(&mut self, waits: &[Wait], class: usize, chosen: u32) {
        let rings = &mut self.rings[class];
        let head = rings.open.head;
        if head != chosen {
            self.flows[head as usize].in_turn = false;
            rings.open.unlink(&mut self.flows, head);
            rings.open.push_back(&mut self.flows, head);
        }
        let need = self.need(waits, chosen);
        let turn = self.quantum() * self.tenants[chosen as usize / self.classes].weight;
        let flow = &mut self.flows[chosen as usize];
        if !flow.in_turn || flow.deficit < need {
            flow.deficit += turn;
            flow.in_turn = true;
        }
        flow.deficit -= need;
    }

    pub(super) fn place_all(&mut self, waits: &[Wait], tenant: u32) {
        for class in 0..self.classes {
            self.place(waits, self.flow(class, tenant));
        }
    }

    /// In which rings a flow belongs: open, entitled.
    fn ring_membership(&self, waits: &[Wait], flow: usize) -> (bool, bool) {
        if self.flows[flow].queue.is_empty() {
            return (false, false);
        }
        let tenant = &self.tenants[flow / self.classes];
        if !tenant.is_limited() {
            return (true, false);
        }
        let open = self.need(waits, flow as u32) <= tenant.cap.saturating_sub(tenant.used());
        (open, open && tenant.used() < tenant.guaranteed)
    }

    /// Puts a flow into the rings it belongs to.
    fn place(&mut self, waits: &[Wait], index: usize) {
        let (open, entitled) = self.ring_membership(waits, index);
        let rings = &mut self.rings[index % self.classes];
        let flow = &mut self.flows[index];
        let (was_open, was_entitled) = (flow.in_open, flow.in_entitled);
        if (open, entitled) == (was_open, was_entitled) {
            return;
        }
        (flow.in_open, flow.in_entitled) = (open, entitled);
        if open != was_open {
            (flow.deficit, flow.in_turn, flow.free_since) = (0, false, rings.grants);
        }
        match (was_open, open) {
            (false, true) => rings.open.push_back(&mut self.flows, index as u32),
            (true, false) => rings.open.unlink(&mut self.flows, index as u32),
            _ => {}
        }
        match (was_entitled, entitled) {
            (false, true) => rings.entitled.push_back(&mut self.flows, index as u32),
            (true, false) => rings.entitled.unlink(&mut self.flows, index as u32),
            _ => {}
        }
    }

    /// The part of `check` about flows and rings.
    pub(super) fn check_flows(&self, waits: &[Wait]) -> Result<(), &'static str> {
        for (index, flow) in (0..).zip(&self.flows) {
            let here = |_, wait: &Wait| {
                wait.state == WaitState::Queued && self.flow(wait.class.into(), wait.tenant) == index as usize
            };
            ensure(flow.queue.is_sound(waits, here), "I2: a queue is sound")?;
            let (open, entitled) = self.ring_membership(waits, index as usize);
            ensure((flow.in_open, flow.in_entitled) == (open, entitled), "a flow stands in the rings it belongs to")?;
        }
        for (class, rings) in self.rings.iter().enumerate() {
            let of_class = |flow: u32| flow as usize % self.classes == class;
            let open = rings.open.is_sound(&self.flows, |index, flow: &Flow| of_class(index) && flow.in_open);
            let entitled =
                rings.entitled.is_sound(&self.flows, |index, flow: &Flow| of_class(index) && flow.in_entitled);
            ensure(open && entitled, "I2: a ring is sound")?;
        }
        Ok(())
    }

    /// The order of turns, for model checkers.
    #[cfg(feature = "model-check")]
    pub(super) fn write_flows(&self, state: &mut Vec<u64>, waits: &[Wait], write_wait: &dyn Fn(&mut Vec<u64>, u32)) {
        for (class, rings) in self.rings.iter().enumerate().take(self.classes) {
            state.extend([class as u64, rings.entitled_run.into()]);
            state.extend(rings.open.iter(&self.flows).map(u64::from));
            state.push(u64::MAX);
            state.extend(rings.entitled.iter(&self.flows).map(u64::from));
            state.push(u64::MAX);
        }
        for flow in &self.flows {
            state.extend([flow.deficit, flow.in_turn.into()].map(u64::from));
            flow.queue.iter(waits).for_each(|wait| write_wait(state, wait));
            state.push(u64::MAX);
        }
    }
}
