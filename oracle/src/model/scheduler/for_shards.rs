//! What shards ask beside the calls of a scheduler: which wait has what, and in which order.

use super::{DEFAULT_TENANT, Lease, ModelScheduler, Wait};
use demuxbuf::scheduler::CLASSES_MAX;

/// A wait that is queued, as shards know it.
#[derive(Clone, Copy, Debug)]
pub(in crate::model) struct Queued {
    pub(in crate::model) wait: u64,
    pub(in crate::model) class: u8,
    /// Its shard has it in a queue of its own: it counts for no cap of a class and for no tenant.
    pub(in crate::model) is_own: bool,
}

impl ModelScheduler {
    /// Buffers that are free, of the one size.
    pub(in crate::model) fn free_buffers(&self) -> u32 {
        self.free() / self.config.sizes[0]
    }

    /// The buffers that a class leaves to others.
    pub(in crate::model) fn reserve(&self, class: u8) -> u32 {
        self.config.reserves[usize::from(class)]
    }

    /// A class leaves this many to others from now on.
    pub(in crate::model) fn set_reserve(&mut self, class: u8, reserve: u32) {
        self.config.reserves[usize::from(class)] = reserve;
    }

    /// A request waits, or a buffer is to be withheld.
    pub(in crate::model) fn has_waiters(&self) -> bool {
        !self.queued.is_empty() || self.to_withhold > 0
    }

    /// Waits that have a buffer and were not picked up, the first first.
    pub(in crate::model) fn assigned_waits(&self) -> Vec<u64> {
        self.assigned.iter().map(|(wait, _)| wait.id).collect()
    }

    /// Waits that are queued, in the order in which each tenant of each class is served.
    pub(in crate::model) fn queued_waits(&self) -> Vec<Queued> {
        let queued = |wait: &Wait| {
            let class = wait.class as u8;
            Queued { wait: wait.id, class, is_own: wait.tenant == DEFAULT_TENANT && !self.has_cap(class) }
        };
        self.queued.iter().map(queued).collect()
    }

    /// Whether an assigned wait is in a queue of its shard's own.
    pub(in crate::model) fn is_of_shard(&self, wait: u64) -> bool {
        let (assigned, _) = self.assigned.iter().find(|(assigned, _)| assigned.id == wait).expect("it has a buffer");
        assigned.tenant == DEFAULT_TENANT && !self.has_cap(assigned.class as u8)
    }

    /// Whether a class has a cap. That of all buffers is one.
    pub(in crate::model) fn has_cap(&self, class: u8) -> bool {
        self.config.class_caps[usize::from(class)] <= self.config.buffers
    }

    /// Whether there may be tenants beside the default one.
    pub(in crate::model) fn has_tenants(&self) -> bool {
        self.config.tenants_max > 0
    }

    /// Whether a lease counts for the cap of its class, or for a tenant.
    pub(in crate::model) fn is_counted(&self, lease: u64) -> bool {
        let held = self.held.iter().find(|held| held.id == lease).expect("a lease in force");
        held.tenant != DEFAULT_TENANT || self.has_cap(held.class as u8)
    }

    /// Whether a wait of this class may be served out of turn: none waits in the name of a tenant, nor in a more
    /// critical class for a buffer, and no buffer is to be withheld.
    pub(in crate::model) fn lets_pass(&self, class: u8) -> bool {
        let is_wanted = |class: usize| self.next_of(class).is_some() && self.left_of_class(class) > 0;
        let is_named = self.queued.iter().any(|wait| wait.tenant != DEFAULT_TENANT);
        self.to_withhold == 0 && !is_named && !(0..usize::from(class)).any(is_wanted)
    }

    /// Whether a buffer is to be withheld, or fewer are free than a class leaves to others.
    pub(in crate::model) fn is_short_for(&self, class: u8) -> bool {
        self.to_withhold > 0 || self.free() < self.reserve_of(class.into())
    }

    /// A lease ends, and a wait has its buffer in the same step.
    pub(in crate::model) fn hand_to(&mut self, lease: u64, wait: u64) {
        let held = self.held.iter().position(|held| held.id == lease).expect("a lease in force");
        let Lease { tenant, units, .. } = self.held.remove(held);
        let at = self.queued.iter().position(|queued| queued.id == wait).expect("the wait is queued");
        let wait = self.queued.remove(at);
        self.pass_own(wait.class);
        self.stats.scheduler.bypass_peak = self.stats.scheduler.bypass_peak.max(wait.bypasses);
        let lease = self.lease(wait.token, wait.class, tenant, units, wait.has_deadline);
        self.assigned.push_back((wait, lease));
        self.stats.scheduler.released += 1;
    }

    /// What is given out of turn to a wait of this class bypasses waits in queues of shards that could have had it.
    fn pass_own(&mut self, class: usize) {
        // The buffer is free until it is given.
        let whole: Vec<bool> = (0..self.classes()).map(|other| self.free() > self.reserve_of(other)).collect();
        let uncapped: Vec<bool> = (0..self.classes()).map(|other| !self.has_cap(other as u8)).collect();
        let is_bypassed = |wait: &&mut Wait| {
            wait.tenant == DEFAULT_TENANT && wait.class >= class && uncapped[wait.class] && whole[wait.class]
        };
        self.queued.iter_mut().filter(is_bypassed).for_each(|wait| wait.bypasses += 1);
    }

    /// A wait takes the place behind another one, which is about to leave it.
    pub(in crate::model) fn move_behind(&mut self, wait: u64, other: u64) {
        let from = self.queued.iter().position(|queued| queued.id == wait).expect("the wait is queued");
        let moved = self.queued.remove(from);
        let to = self.queued.iter().position(|queued| queued.id == other).expect("the wait is queued");
        self.queued.insert(to + 1, moved);
    }

    /// An assigned wait ends: its token, the lease, which is held from now on, and whether that was to have a deadline.
    pub(in crate::model) fn pick_up(&mut self, wait: u64) -> (u64, u64, bool) {
        let at = self.assigned.iter().position(|(assigned, _)| assigned.id == wait).expect("it has a buffer");
        let (wait, lease) = self.assigned.remove(at).expect("it was found");
        self.held.push(lease);
        (wait.token, lease.id, wait.has_deadline)
    }

    /// The clock of all threads has this time.
    pub(in crate::model) fn set_now(&mut self, now_ns: u64) {
        self.now_ns = now_ns;
    }

    /// Whether a wait of one of these classes would be eligible with the buffer of this assigned wait; or the buffer be
    /// withheld.
    pub(in crate::model) fn would_serve(&self, wait: u64, classes: &[u8]) -> bool {
        let (_, lease) = self.assigned.iter().find(|(assigned, _)| assigned.id == wait).expect("it has a buffer");
        let is_eligible = |class: usize| {
            let of_class = if lease.class == class { lease.units } else { 0 };
            let cap = self.tenants[&lease.tenant].cap;
            let left = cap.saturating_sub(self.out_of(|other| other.tenant == lease.tenant) - lease.units);
            let may_go_on = self.flow(class, lease.tenant).next().is_some() && left >= lease.units;
            let is_blocked = self.next_of(class).is_none() && !may_go_on;
            let free = self.free() + lease.units;
            !is_blocked
                && free >= self.reserve_of(class).saturating_add(lease.units)
                && self.left_of_class(class).saturating_add(of_class) >= lease.units
        };
        self.to_withhold > 0 || classes.iter().any(|&class| is_eligible(class.into()))
    }

    /// An assigned wait loses its buffer to the next, and waits anew behind all others of its class and tenant. If no
    /// other may have it, one that is in no queue of its shard keeps its place among the grants.
    pub(in crate::model) fn queue_again(&mut self, wait: u64) {
        let at = self.assigned.iter().position(|(assigned, _)| assigned.id == wait).expect("it has a buffer");
        let is_of_shard = self.is_of_shard(wait);
        let (lapsed, Lease { tenant, class, units, .. }) = self.assigned.remove(at).expect("it was found");
        self.place(tenant);
        self.hand_over();
        if !is_of_shard && self.may_have_now(class, tenant, units) {
            let lease = self.lease(lapsed.token, class, tenant, units, lapsed.has_deadline);
            self.assigned.insert(at, (lapsed, lease));
            self.take(tenant);
            return;
        }
        let place = self.new_id();
        self.queued.push(Wait { since_ns: self.now_ns, place, bypasses: 0, ..lapsed });
        self.place(tenant);
        self.hand_over();
    }

    /// Buffers of each class that are held, without those that are assigned.
    pub(in crate::model) fn held_by_class(&self) -> [u32; CLASSES_MAX] {
        let of_class = |class: usize| self.held.iter().filter(|held| held.class == class).count() as u32;
        std::array::from_fn(of_class)
    }
}
