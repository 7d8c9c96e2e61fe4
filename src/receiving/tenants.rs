//! Receivers by tenant: which tenant each has, and what waits and what may go in order of time, for each tenant.
//!
//! The claims and the content of one tenant are in skew heaps (Sleator and Tarjan, 1986) through one table of nodes,
//! which needs no memory for each tenant beforehand. Where a pool has no tenants, all is empty and nothing is done.

use super::buffers::{Buffers, LoadOrder};
use super::heap::Entry;
use super::keeper::Queue;
use super::{NIL, Receiving};
use crate::alloc_util::reserve;
use crate::config_error::ConfigError;
use crate::scheduler::list::List;
use alloc::vec::Vec;

/// What is known of receivers by tenant.
#[derive(Debug)]
#[cfg_attr(feature = "model-check", derive(Clone))]
pub(super) struct Tenants {
    /// The tenant of each row. Rows above have the default one.
    of_rows: Vec<u32>,
    /// By keeper: those that claim, and those with content that may go for a claim of another tenant.
    claims: Nodes,
    content: Nodes,
    /// By tenant. The default tenant has one, also where there are no others.
    groups: Vec<Group>,
    is_used: bool,
}

/// The receivers of one tenant. Of heaps the first.
#[derive(Clone, Copy, Debug)]
struct Group {
    credited_claims: u32,
    claims: u32,
    content: u32,
    /// Receivers that are off.
    off: List,
}

const EMPTY: Group = Group { credited_claims: NIL, claims: NIL, content: NIL, off: List::EMPTY };

/// Heaps through one table. Numbers above it are no node.
#[derive(Debug)]
#[cfg_attr(feature = "model-check", derive(Clone))]
struct Nodes(Vec<Node>);

#[derive(Clone, Copy, Debug)]
struct Node {
    entry: Entry,
    parent: u32,
    children: [u32; 2],
    is_in: bool,
}

impl Tenants {
    pub(super) fn new(receivers_max: u32, tenants_max: u32) -> Result<Tenants, ConfigError> {
        let rows = if tenants_max > 0 { receivers_max } else { 0 };
        let mut groups = reserve("tenants_max", tenants_max + 1)?;
        groups.push(EMPTY);
        Ok(Tenants {
            of_rows: reserve("receivers_max", rows)?,
            claims: Nodes(reserve("receivers_max", rows)?),
            content: Nodes(reserve("receivers_max", rows)?),
            groups,
            is_used: tenants_max > 0,
        })
    }

    /// Whether there may be tenants beside the default one.
    #[inline(always)]
    pub(super) fn is_used(&self) -> bool {
        self.is_used
    }

    /// The tenant of a receiver.
    #[inline]
    pub(super) fn of(&self, receiver: u32) -> u32 {
        self.of_rows.get(receiver as usize).copied().unwrap_or(0)
    }

    fn set(&mut self, receiver: u32, tenant: u32) {
        // Inside what was reserved, touched when they are needed.
        if self.of_rows.len() <= receiver as usize {
            self.of_rows.resize(receiver as usize + 1, 0);
        }
        if self.groups.len() <= tenant as usize {
            self.groups.resize(tenant as usize + 1, EMPTY);
        }
        self.of_rows[receiver as usize] = tenant;
    }

    /// Receivers of a tenant that are off.
    pub(super) fn off_mut(&mut self, tenant: u32) -> &mut List {
        &mut self.groups[tenant as usize].off
    }

    /// The first receiver of a tenant that is off.
    pub(super) fn first_off(&self, tenant: u32) -> Option<u32> {
        self.groups[tenant as usize].off.first()
    }

    /// Receivers of a tenant that are off.
    #[cfg(feature = "model-check")]
    pub(super) fn off_of(&self, tenant: u32) -> List {
        self.groups[tenant as usize].off
    }

    /// All lists of receivers that are off.
    pub(super) fn off(&self) -> impl Iterator<Item = &List> {
        self.groups.iter().map(|group| &group.off)
    }

    /// The first claim of a tenant, of those that were in credit when they were last looked at, or of the others.
    pub(super) fn first_claim(&self, tenant: u32, is_credited: bool) -> Option<Entry> {
        let Group { credited_claims, claims, .. } = self.groups[tenant as usize];
        self.claims.entry(if is_credited { credited_claims } else { claims })
    }

    /// The content of a tenant that goes first.
    pub(super) fn first_content(&self, tenant: u32) -> Option<Entry> {
        self.content.entry(self.groups[tenant as usize].content)
    }

    fn insert(&mut self, tenant: u32, queue: Queue, entry: Entry, has_content: bool) {
        let Group { credited_claims, claims, content, .. } = &mut self.groups[tenant as usize];
        match queue {
            Queue::CreditedClaims => self.claims.insert(credited_claims, entry),
            Queue::Claims => self.claims.insert(claims, entry),
            Queue::Evictable | Queue::Marks => {}
        }
        if has_content {
            self.content.insert(content, entry);
        }
    }

    fn remove(&mut self, tenant: u32, queue: Queue, keeper: u32) {
        let Group { credited_claims, claims, content, .. } = &mut self.groups[tenant as usize];
        match queue {
            Queue::CreditedClaims => self.claims.remove(credited_claims, keeper),
            Queue::Claims => self.claims.remove(claims, keeper),
            Queue::Evictable | Queue::Marks => {}
        }
        self.content.remove(content, keeper);
    }

    /// Whether each node is behind its parent, and the heaps of a tenant have these numbers of nodes: credited claims,
    /// other claims, content.
    pub(super) fn is_sound(&self, counts: impl Fn(u32) -> [usize; 3]) -> bool {
        (0..).zip(&self.groups).all(|(tenant, group)| {
            let claims = [group.credited_claims, group.claims].map(|root| self.claims.count_behind(root));
            [claims[0], claims[1], self.content.count_behind(group.content)] == counts(tenant).map(Some)
        })
    }
}

impl Nodes {
    fn entry(&self, at: u32) -> Option<Entry> {
        self.0.get(at as usize).map(|node| node.entry)
    }

    fn insert(&mut self, root: &mut u32, entry: Entry) {
        let node = Node { entry, parent: NIL, children: [NIL; 2], is_in: true };
        let at = entry.keeper() as usize;
        if self.0.len() <= at {
            // Inside what was reserved: a receiver has at most one keeper.
            self.0.resize(at + 1, Node { is_in: false, ..node });
        }
        self.0[at] = node;
        *root = self.merge(*root, entry.keeper());
    }

    /// Removes a node from the heap that it is in, if it is in one.
    fn remove(&mut self, root: &mut u32, at: u32) {
        let Some(&Node { parent, children: [one, other], is_in: true, .. }) = self.0.get(at as usize) else {
            return;
        };
        self.0[at as usize].is_in = false;
        let merged = self.merge(one, other);
        self.adopt(parent, merged, |child| child == at);
        if parent == NIL {
            *root = merged;
        }
    }

    /// Puts a node in the place of a child of this parent, `NIL` for none.
    fn adopt(&mut self, parent: u32, node: u32, is_place: impl Fn(u32) -> bool) {
        if let Some(node) = self.0.get_mut(node as usize) {
            node.parent = parent;
        }
        if let Some(parent) = self.0.get_mut(parent as usize) {
            let [first, second] = &mut parent.children;
            *if is_place(*first) { first } else { second } = node;
        }
    }

    /// Merges two heaps along their right edges, and swaps the children of each node there: a long edge becomes short.
    fn merge(&mut self, mut one: u32, mut other: u32) -> u32 {
        let (mut root, mut last) = (NIL, NIL);
        loop {
            if one == NIL || (other != NIL && self.0[other as usize].entry < self.0[one as usize].entry) {
                core::mem::swap(&mut one, &mut other);
            }
            // The first child is the place of what is merged further.
            self.adopt(last, one, |_| true);
            if last == NIL {
                root = one;
            }
            if one == NIL || other == NIL {
                return root;
            }
            let [left, right] = self.0[one as usize].children;
            self.0[one as usize].children = [NIL, left];
            (last, one) = (one, right);
        }
    }

    /// Nodes of a heap, `None` if one is not behind its parent. Walks along the links, since checks do not allocate
    /// either.
    fn count_behind(&self, root: u32) -> Option<usize> {
        let (mut count, mut from, mut at) = (0, NIL, root);
        if self.0.get(root as usize).is_some_and(|node| node.parent != NIL) {
            return None;
        }
        while at != NIL {
            let Node { parent, children: [one, other], .. } = self.0[at as usize];
            let next = if from == parent {
                if !self.are_behind(at) || count == self.0.len() {
                    return None;
                }
                count += 1;
                [one, other, parent].into_iter().find(|&next| next != NIL).unwrap_or(NIL)
            } else if from == one && other != NIL {
                other
            } else {
                parent
            };
            (from, at) = (at, next);
        }
        Some(count)
    }

    fn are_behind(&self, at: u32) -> bool {
        let Node { entry, children, .. } = self.0[at as usize];
        children.into_iter().filter(|&child| child != NIL).all(|child| {
            let child = &self.0[child as usize];
            child.is_in && child.parent == at && entry < child.entry
        })
    }
}

impl<B: Buffers> Receiving<B> {
    /// The tenant of a receiver.
    pub(crate) fn tenant(&self, receiver: u32) -> u32 {
        self.tenants.of(receiver)
    }

    /// The attached receiver belongs to this tenant from now on, with what it keeps. Returns the one before.
    #[doc(hidden)]
    #[inline]
    pub fn set_tenant(&mut self, receiver: u32, tenant: u32) -> u32 {
        let before = self.tenants.of(receiver);
        if tenant != before {
            self.change_tenant(receiver, before, tenant);
        }
        before
    }

    #[inline(never)]
    fn change_tenant(&mut self, receiver: u32, before: u32, tenant: u32) {
        let keeper = self.rows[receiver as usize].keeper;
        if keeper == NIL {
            self.tenants.set(receiver, tenant);
            return;
        }
        let queued =
            self.keepers[keeper].queued.map(|(queue, _)| (queue, self.heaps.deadline_ns(keeper, &self.keepers)));
        self.dequeue(keeper);
        let is_off = self.keepers[keeper].is_off();
        self.end_off(keeper);
        let cell_bytes = self.counted_bytes(keeper);
        self.tenants.set(receiver, tenant);
        self.secure_from_waiters();
        self.buffers.keep(tenant, 0, cell_bytes);
        self.buffers.keep(before, cell_bytes, 0);
        if let Some((queue, deadline_ns)) = queued {
            self.enqueue(queue, keeper, deadline_ns);
        }
        if is_off {
            self.turn_off(keeper);
        }
    }

    /// What the receivers of a tenant keep, in bytes.
    #[doc(hidden)]
    pub fn kept_bytes(&self, tenant: u32) -> u64 {
        self.buffers.kept_bytes(tenant)
    }

    /// Whether the tenant of a receiver holds as much as it may.
    #[inline(always)]
    pub(super) fn is_capped(&self, receiver: u32) -> bool {
        self.tenants.is_used() && self.buffers.is_capped(self.tenants.of(receiver))
    }

    /// What a receiver keeps, as its tenant holds it.
    pub(super) fn counted_bytes(&self, keeper: u32) -> u32 {
        let cell_bytes = self.cell_bytes(self.keepers[keeper].place);
        if cell_bytes > super::config::HEADER_BYTES { cell_bytes } else { 0 }
    }

    /// What a receiver's tenant is to count no more if its cell changes; 0 where there are no tenants.
    #[inline(always)]
    pub(super) fn counted_by_tenant(&self, keeper: u32) -> u32 {
        if self.tenants.is_used() { self.counted_bytes(keeper) } else { 0 }
    }

    /// The cell of a receiver has changed; what it counted before is `less_bytes`.
    #[inline(always)]
    pub(super) fn recount(&mut self, keeper: u32, less_bytes: u32) {
        if self.tenants.is_used() {
            let (tenant, more_bytes) = (self.tenants.of(self.keepers[keeper].receiver), self.counted_bytes(keeper));
            if less_bytes != more_bytes {
                // The default tenant has no cap.
                if less_bytes > more_bytes && tenant > 0 {
                    self.secure_from_waiters();
                }
                self.buffers.keep(tenant, less_bytes, more_bytes);
            }
        }
    }

    /// A tenant holds less next, so that a request which its cap blocked may be served: not with the place of what is
    /// borrowed.
    fn secure_from_waiters(&mut self) {
        if self.buffers.has_waiters() {
            self.secure_borrow();
        }
    }

    /// Puts a keeper that is in no queue into one.
    pub(super) fn enqueue(&mut self, queue: Queue, keeper: u32, deadline_ns: u64) {
        let entry = self.heaps.insert(queue, keeper, deadline_ns, self.keepers.table_mut());
        if self.tenants.is_used() {
            let tenant = self.tenants.of(entry.receiver());
            let has_content = self.counted_bytes(keeper) > 0;
            self.tenants.insert(tenant, queue, entry, has_content);
            self.note_wants(tenant);
        }
    }

    /// Takes a keeper out of the queue that it is in, if it is in one.
    #[inline]
    pub(super) fn dequeue(&mut self, keeper: u32) {
        if self.keepers[keeper].queued.is_some() {
            self.dequeue_at(keeper);
        }
    }

    fn dequeue_at(&mut self, keeper: u32) {
        let Some(queue) = self.heaps.remove(keeper, self.keepers.table_mut()) else {
            return;
        };
        if self.tenants.is_used() {
            let tenant = self.tenants.of(self.keepers[keeper].receiver);
            self.tenants.remove(tenant, queue, keeper);
            self.note_wants(tenant);
        }
    }

    fn note_wants(&mut self, tenant: u32) {
        let claims =
            [true, false].into_iter().any(|is_credited| self.tenants.first_claim(tenant, is_credited).is_some());
        self.buffers.set_wants(tenant, LoadOrder::Claiming, claims);
        self.buffers.set_wants(tenant, LoadOrder::Evictable, self.tenants.first_content(tenant).is_some());
    }

    /// Whether a tenant has receivers that are off has changed.
    pub(super) fn note_off(&mut self, tenant: u32) {
        if self.tenants.is_used() {
            let is_off = !self.tenants.off_mut(tenant).is_empty();
            self.buffers.set_wants(tenant, LoadOrder::Off, is_off);
        }
    }

    /// As `first_tenant`, by what it holds now.
    pub(super) fn next_tenant(&mut self, order: LoadOrder) -> Option<u32> {
        if self.tenants.is_used() {
            self.buffers.look_at_first(order);
        }
        self.first_tenant(order)
    }

    /// The tenant that comes first in an order; where there are no others, the default one.
    pub(super) fn first_tenant(&self, order: LoadOrder) -> Option<u32> {
        if self.tenants.is_used() { self.buffers.first_in(order) } else { Some(0) }
    }

    /// The first claim of a tenant, of those that were in credit when they were last looked at, or of the others.
    pub(super) fn first_claim_of(&self, tenant: u32, is_credited: bool) -> Option<Entry> {
        if self.tenants.is_used() {
            return self.tenants.first_claim(tenant, is_credited);
        }
        self.heaps.first(if is_credited { Queue::CreditedClaims } else { Queue::Claims })
    }

    /// Invariants of what is known by tenant.
    pub(super) fn check_tenants(&self) -> Result<(), &'static str> {
        if !self.tenants.is_used() {
            return Ok(());
        }
        let of =
            |tenant: u32| self.keepers.iter().filter(move |(_, keeper)| self.tenants.of(keeper.receiver) == tenant);
        let counts = |tenant| {
            let queued =
                |queue| of(tenant).filter(move |(_, keeper)| keeper.queued.is_some_and(|(own, _)| own == queue));
            let claims = [Queue::CreditedClaims, Queue::Claims].map(|queue| queued(queue).count());
            let content = of(tenant).filter(|(at, keeper)| keeper.queued.is_some() && self.counted_bytes(*at) > 0);
            [claims[0], claims[1], content.count()]
        };
        if !self.tenants.is_sound(counts) {
            return Err("I2: what is queued is queued with its tenant, behind its parent");
        }
        for tenant in 0..self.tenants.groups.len() as u32 {
            let kept_bytes = of(tenant).map(|(at, _)| u64::from(self.counted_bytes(at))).sum::<u64>();
            if kept_bytes != self.buffers.kept_bytes(tenant) {
                return Err("I1: a tenant holds what its receivers keep");
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(keeper: u32, deadline_ns: u64) -> Entry {
        Entry::new(deadline_ns, keeper, keeper)
    }

    #[test]
    fn skew_heap_keeps_its_order_after_removals() {
        let mut random = fastrand::Rng::with_seed(1);
        let (mut nodes, mut root, mut all) = (Nodes(Vec::new()), NIL, Vec::new());
        for keeper in 0..200 {
            let entry = entry(keeper, random.u64(0..40));
            nodes.insert(&mut root, entry);
            all.push(entry);
        }
        random.shuffle(&mut all);
        for entry in all.drain(..90) {
            nodes.remove(&mut root, entry.keeper());
            nodes.remove(&mut root, entry.keeper());
        }
        assert_eq!(nodes.count_behind(root), Some(110));
        all.sort_unstable();
        for entry in all {
            assert_eq!(nodes.entry(root), Some(entry));
            nodes.remove(&mut root, entry.keeper());
        }
        assert_eq!((root, nodes.count_behind(root)), (NIL, Some(0)));
    }

    #[test]
    fn check_finds_a_broken_heap() {
        let broken: [fn(&mut Nodes); 4] = [
            |nodes| nodes.0[0].parent = 1,
            |nodes| nodes.0[2].parent = 1,
            |nodes| nodes.0[1].is_in = false,
            |nodes| nodes.0[2].entry = entry(2, 0),
        ];
        for (case, breaks) in broken.into_iter().enumerate() {
            let (mut nodes, mut root) = (Nodes(Vec::new()), NIL);
            (0..3).for_each(|keeper| nodes.insert(&mut root, entry(keeper, 1 + u64::from(keeper))));
            assert_eq!((root, nodes.count_behind(root)), (0, Some(3)));
            breaks(&mut nodes);
            assert_eq!(nodes.count_behind(root), None, "case {case}");
        }
    }
}
