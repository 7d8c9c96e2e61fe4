//! Who gets a buffer next? Leases, waits and classes; ids only, no memory.
//!
//! A released buffer is **handed over**: inside [`Pool::release`] it is assigned to the next waiter, before any newcomer
//! can see it. The waiter learns of it from [`Pool::poll_grant`], and owns the buffer by then. A waiter that dies in
//! between passes it on in the same step ([`Pool::cancel`]).
//!
//! # Who is next
//!
//! Class *c* is *eligible* while more than `reserves[c]` buffers are free and it has fewer than `class_caps[c]` out.
//! Within a class it is first in, first out, and a newcomer never overtakes. Among classes with waiters that are
//! eligible the most critical goes first, but none is passed for ever: a class counts the hand-overs to others that it
//! was eligible for, and from `class_burst` on the class with the largest count goes first; its count then starts again.
//!
//! # The bound
//!
//! *W* is the most grants that pass a waiter which it could have had, [`Pool::passed_max`]. With one class it is
//! `waiters_max - 1`: those ahead of it. With *C* classes the head of a class is passed `class_burst` times until it is
//! overdue, then at most once by each of the *C - 1* others (whoever goes first starts to count from 0, behind it), then
//! it is served; so a waiter with *q* ahead is passed by `(q + 1) (class_burst + C - 1) + q`, and with `q` at most
//! `waiters_max - 1` this is `waiters_max (class_burst + C) - 1`. Buffers that its reserve or its cap keeps it from are
//! not its own and are not counted.
//!
//! At rest no buffer is free that some waiter may take. Every operation costs O(classes), at most 8, and allocates
//! nothing.

#![forbid(unsafe_code)]

mod config;
mod id;
mod queue;
mod stats;

pub use config::{ConfigError, PoolConfig};
pub use id::{LeaseId, WaitId};
pub use stats::PoolStats;

use alloc::vec::Vec;
use core::fmt;
use id::Generation;
use queue::{NIL, Queue, Wait, WaitState};

/// The most classes there can be.
pub const CLASSES_MAX: usize = 8;

/// The most entries of a table; the number above means none.
const INDEX_MAX: u32 = u32::MAX - 1;

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A buffer is held.
    Granted(LeaseId),
    /// The request waits; [`Pool::poll_grant`] tells when it is served.
    Queued(WaitId),
}

/// A hand-over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The wait that ended; stale now.
    pub wait: WaitId,
    /// What was given with the request.
    pub token: u64,
    /// Class of the request.
    pub class: u8,
    /// The buffer, held now.
    pub lease: LeaseId,
}

/// Why a call was refused. Nothing is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolError {
    /// The class does not exist.
    UnknownClass {
        /// The class that was named.
        class: u8,
        /// Classes in use.
        classes: u8,
    },
    /// The request would have to wait, and the table of waits is full.
    WaitersFull {
        /// Entries of the table.
        waiters_max: u32,
    },
    /// The lease was released already, was never granted, or belongs to another pool.
    StaleLease,
    /// The wait was served or cancelled already, never was, or belongs to another pool.
    StaleWait,
}

impl fmt::Display for PoolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PoolError::UnknownClass { class, classes } => {
                write!(f, "class is {class}; allowed is 0 to {}", classes - 1)
            }
            PoolError::WaitersFull { waiters_max } => write!(f, "all {waiters_max} waits are in use"),
            PoolError::StaleLease => f.write_str("the lease is stale or foreign"),
            PoolError::StaleWait => f.write_str("the wait is stale or foreign"),
        }
    }
}

impl core::error::Error for PoolError {}

/// How a wait stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitInfo {
    /// What was given with the request.
    pub token: u64,
    /// Class of the request.
    pub class: u8,
    /// How long it has waited, in nanoseconds.
    pub age_ns: u64,
    /// Grants that passed it which it could have had.
    pub grants_passed: u64,
    /// A buffer is assigned to it already.
    pub is_assigned: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LeaseState {
    Free,
    Leased,
    Assigned,
}

/// One buffer, or a link of the free list.
#[derive(Clone, Copy, Debug)]
struct Lease {
    generation: Generation,
    next: u32,
    class: u8,
    state: LeaseState,
}

const _: () = assert!(size_of::<Lease>() <= 12);
const _: () = assert!(size_of::<Wait>() <= 48);

/// What is known of one class.
#[derive(Clone, Copy, Debug)]
struct Class {
    queue: Queue,
    reserve: u32,
    cap: u32,
    /// Buffers out: leased or assigned.
    out: u32,
    /// Hand-overs to other classes since this one was served, that it waited for and was eligible for.
    bypassed: u64,
    /// Hand-overs that this class waited for and was eligible for, in all.
    eligible_grants: u64,
}

/// Buffers, by id, and those who wait for one. For one thread at a time.
#[derive(Debug)]
pub struct Pool {
    leases: Vec<Lease>,
    waits: Vec<Wait>,
    free_lease: u32,
    free_wait: u32,
    free: u32,
    classes: [Class; CLASSES_MAX],
    classes_used: u8,
    class_burst: u32,
    assigned: Queue,
    now_ns: u64,
    stats: PoolStats,
}

impl Pool {
    /// Reserves all tables. Nothing is allocated afterwards.
    ///
    /// # Errors
    ///
    /// A field is out of range, or a table could not be reserved; what had been is given back.
    pub fn new(config: &PoolConfig) -> Result<Pool, ConfigError> {
        config.check()?;
        let link = |index: u32, count: u32| if index + 1 < count { index + 1 } else { NIL };
        let mut leases = Vec::new();
        reserve(&mut leases, "buffers", config.buffers)?;
        leases.extend((0..config.buffers).map(|index| Lease {
            generation: Generation::first(config.tag),
            next: link(index, config.buffers),
            class: 0,
            state: LeaseState::Free,
        }));
        let mut waits = Vec::new();
        reserve(&mut waits, "waiters_max", config.waiters_max)?;
        waits.extend((0..config.waiters_max).map(|index| Wait::unused(link(index, config.waiters_max), config.tag)));
        let class = |class: usize| Class {
            queue: Queue::EMPTY,
            reserve: config.reserves[class],
            cap: config.class_caps[class],
            out: 0,
            bypassed: 0,
            eligible_grants: 0,
        };
        Ok(Pool {
            leases,
            waits,
            free_lease: 0,
            free_wait: if config.waiters_max > 0 { 0 } else { NIL },
            free: config.buffers,
            classes: core::array::from_fn(class),
            classes_used: config.classes,
            class_burst: config.class_burst,
            assigned: Queue::EMPTY,
            now_ns: 0,
            stats: PoolStats::default(),
        })
    }

    /// Asks for a buffer: granted at once, or queued. `token` comes back with the grant.
    ///
    /// # Errors
    ///
    /// The class does not exist; it would have to wait and all waits are in use.
    pub fn request(&mut self, class: u8, token: u64) -> Result<Outcome, PoolError> {
        if class >= self.classes_used {
            return self.refuse(PoolError::UnknownClass { class, classes: self.classes_used });
        }
        if self.would_grant(class) {
            let lease = self.take_buffer(class, LeaseState::Leased);
            self.stats.granted_at_once += 1;
            return Ok(Outcome::Granted(lease));
        }
        if self.free_wait == NIL {
            let waiters_max = self.waits.len() as u32;
            return self.refuse(PoolError::WaitersFull { waiters_max });
        }
        Ok(Outcome::Queued(self.enqueue(class, token)))
    }

    /// Whether a request of this class would be granted at once; never for a class that does not exist.
    pub fn would_grant(&self, class: u8) -> bool {
        let class = usize::from(class);
        class < usize::from(self.classes_used) && self.classes[class].queue.is_empty() && self.is_eligible(class)
    }

    /// Gives a buffer back. If somebody waits who may take it, it is assigned to him in this step.
    ///
    /// # Errors
    ///
    /// The lease is stale or foreign.
    pub fn release(&mut self, lease: LeaseId) -> Result<(), PoolError> {
        if let Err(error) = self.check_lease(lease) {
            return self.refuse(error);
        }
        self.stats.released += 1;
        self.put_buffer(lease.index());
        self.settle();
        Ok(())
    }

    /// Ends a wait. If a buffer was assigned to it, the next waiter has it in this step.
    ///
    /// # Errors
    ///
    /// The wait is stale or foreign.
    pub fn cancel(&mut self, wait: WaitId) -> Result<(), PoolError> {
        let Some(&Wait { class, state, buffer, .. }) = self.find_wait(wait) else {
            return self.refuse(PoolError::StaleWait);
        };
        self.stats.cancelled += 1;
        if state == WaitState::Assigned {
            self.assigned.unlink(&mut self.waits, wait.index());
            self.free_wait_entry(wait.index());
            self.put_buffer(buffer);
            self.settle();
        } else {
            let class = &mut self.classes[usize::from(class)];
            class.queue.unlink(&mut self.waits, wait.index());
            if class.queue.is_empty() {
                class.bypassed = 0;
            }
            self.stats.waiting -= 1;
            self.free_wait_entry(wait.index());
        }
        Ok(())
    }

    /// The next waiter that has a buffer, in the order in which they were assigned. Call it until `None`.
    pub fn poll_grant(&mut self) -> Option<Grant> {
        let index = self.assigned.head;
        if index == NIL {
            return None;
        }
        self.assigned.unlink(&mut self.waits, index);
        let wait = self.waits[index as usize];
        self.free_wait_entry(index);
        let lease = &mut self.leases[wait.buffer as usize];
        lease.state = LeaseState::Leased;
        let lease = LeaseId::new(wait.buffer, lease.generation);
        Some(Grant { wait: wait.id(index), token: wait.token, class: wait.class, lease })
    }

    /// Tells the time, in monotonic nanoseconds; it dates waits. A time before the last one is counted and not taken.
    pub fn handle_timeout(&mut self, now_ns: u64) {
        self.stats.clock_backwards += u64::from(now_ns < self.now_ns);
        self.now_ns = self.now_ns.max(now_ns);
    }

    /// When `handle_timeout` is to be called at the latest, in nanoseconds: never (`u64::MAX`), nothing is timed.
    pub fn poll_timeout(&self) -> u64 {
        u64::MAX
    }

    /// How a wait stands.
    ///
    /// # Errors
    ///
    /// The wait is stale or foreign.
    pub fn describe_wait(&self, wait: WaitId) -> Result<WaitInfo, PoolError> {
        let entry = self.find_wait(wait).ok_or(PoolError::StaleWait)?;
        Ok(WaitInfo {
            token: entry.token,
            class: entry.class,
            age_ns: self.now_ns - entry.since_ns,
            grants_passed: self.passed(entry),
            is_assigned: entry.state == WaitState::Assigned,
        })
    }

    /// Whether a lease is held.
    ///
    /// # Errors
    ///
    /// The lease is stale or foreign.
    pub fn check_lease(&self, lease: LeaseId) -> Result<(), PoolError> {
        match self.leases.get(lease.index() as usize) {
            Some(entry) if entry.generation == lease.generation() && entry.state == LeaseState::Leased => Ok(()),
            _ => Err(PoolError::StaleLease),
        }
    }

    /// The published bound *W* (see the module's docs): the most grants that pass a waiter of this class which it could
    /// have had. It is the same for all classes.
    pub fn passed_max(&self, _class: u8) -> u64 {
        let others = u64::from(self.classes_used) - 1;
        let for_others = if others == 0 { 0 } else { u64::from(self.class_burst) + others };
        ((self.waits.len() as u64) * (1 + for_others)).saturating_sub(1)
    }

    /// Counts. Costs a copy.
    pub fn stats(&self) -> PoolStats {
        PoolStats {
            capacity: self.leases.len() as u32,
            free: self.free,
            leased: self.stats.out() - self.assigned.len,
            assigned: self.assigned.len,
            waiting_by_class: self.classes.map(|class| class.queue.len),
            out_by_class: self.classes.map(|class| class.out),
            ..self.stats
        }
    }

    /// The buffers that nobody holds, in no order.
    pub fn free_indexes(&self) -> impl Iterator<Item = u32> {
        let link = |index: u32| (index != NIL).then_some(index);
        core::iter::successors(link(self.free_lease), move |&index| link(self.leases[index as usize].next))
    }

    /// Checks what must always hold, walking everything: for tests.
    ///
    /// # Errors
    ///
    /// Names the rule that is broken.
    pub fn check_invariants(&self) -> Result<(), &'static str> {
        let count = |state| self.leases.iter().filter(|lease| lease.state == state).count() as u32;
        let (free, assigned) = (count(LeaseState::Free), count(LeaseState::Assigned));
        ensure(free == self.free, "I1: as many buffers are free as are counted")?;
        ensure(self.free_indexes().count() as u32 == self.free, "I1: every free buffer is in the free list")?;
        ensure(assigned == self.assigned.len, "I1: every assigned buffer has a waiter")?;
        ensure(self.assigned.is_sound(&self.waits, WaitState::Assigned), "I2: the list of grants is sound")?;
        let mut waiting = 0;
        for (index, class) in self.classes.iter().enumerate() {
            let out = |lease: &&Lease| lease.state != LeaseState::Free && usize::from(lease.class) == index;
            ensure(self.leases.iter().filter(out).count() as u32 == class.out, "I1: a class has out what is counted")?;
            ensure(class.out <= class.cap, "a class never has more out than its cap")?;
            ensure(class.queue.is_sound(&self.waits, WaitState::Queued), "I2: a queue is sound")?;
            ensure(class.queue.is_empty() || !self.is_eligible(index), "I3: no buffer is free that a waiter may take")?;
            waiting += class.queue.len;
        }
        ensure(waiting == self.stats.waiting, "I2: as many wait as are counted")?;
        for wait in self.waits.iter().filter(|wait| wait.state != WaitState::Free) {
            ensure(self.passed(wait) <= self.passed_max(wait.class), "I6: at most W grants pass a waiter")?;
        }
        Ok(())
    }
}

impl Pool {
    fn is_eligible(&self, class: usize) -> bool {
        let class = &self.classes[class];
        self.free > class.reserve && class.out < class.cap
    }

    /// Assigns free buffers for as long as somebody waits who may take one.
    fn settle(&mut self) {
        while let Some(class) = self.next_class() {
            self.hand_over(class);
        }
    }

    /// Of the classes with waiters that are eligible: the one passed most often, if that is too often; else the first.
    fn next_class(&self) -> Option<usize> {
        let mut first = None;
        let mut overdue = None;
        for class in 0..usize::from(self.classes_used) {
            if self.classes[class].queue.is_empty() || !self.is_eligible(class) {
                continue;
            }
            first = first.or(Some(class));
            let bypassed = self.classes[class].bypassed;
            let most = overdue.map_or(0, |most: usize| self.classes[most].bypassed + 1);
            if bypassed >= u64::from(self.class_burst).max(most) {
                overdue = Some(class);
            }
        }
        overdue.or(first)
    }

    fn hand_over(&mut self, chosen: usize) {
        for class in 0..usize::from(self.classes_used) {
            if !self.classes[class].queue.is_empty() && self.is_eligible(class) {
                self.classes[class].eligible_grants += 1;
                self.classes[class].bypassed += 1;
            }
        }
        self.classes[chosen].bypassed = 0;
        let index = self.classes[chosen].queue.head;
        self.classes[chosen].queue.unlink(&mut self.waits, index);
        let lease = self.take_buffer(chosen as u8, LeaseState::Assigned);
        // Its own grant is among those counted.
        let passed = self.passed(&self.waits[index as usize]) - 1;
        let wait = &mut self.waits[index as usize];
        wait.passed = passed;
        wait.state = WaitState::Assigned;
        wait.buffer = lease.index();
        self.assigned.push_back(&mut self.waits, index);
        self.stats.waiting -= 1;
        self.stats.granted_by_hand_over += 1;
    }

    fn enqueue(&mut self, class: u8, token: u64) -> WaitId {
        let index = self.free_wait;
        let passed = self.classes[usize::from(class)].eligible_grants;
        let wait = &mut self.waits[index as usize];
        self.free_wait = wait.next;
        wait.token = token;
        wait.since_ns = self.now_ns;
        wait.passed = passed;
        wait.class = class;
        wait.state = WaitState::Queued;
        let id = wait.id(index);
        self.classes[usize::from(class)].queue.push_back(&mut self.waits, index);
        self.stats.queued += 1;
        self.stats.waiting += 1;
        self.stats.waiting_peak = self.stats.waiting_peak.max(self.stats.waiting);
        id
    }

    fn free_wait_entry(&mut self, index: u32) {
        let wait = &mut self.waits[index as usize];
        wait.state = WaitState::Free;
        wait.generation = wait.generation.next();
        wait.next = self.free_wait;
        self.free_wait = index;
    }

    /// The buffer used last: its memory is the most likely to be in a cache.
    fn take_buffer(&mut self, class: u8, state: LeaseState) -> LeaseId {
        let index = self.free_lease;
        let lease = &mut self.leases[index as usize];
        self.free_lease = lease.next;
        lease.state = state;
        lease.class = class;
        let id = LeaseId::new(index, lease.generation);
        self.free -= 1;
        self.classes[usize::from(class)].out += 1;
        self.stats.took();
        id
    }

    fn put_buffer(&mut self, index: u32) {
        let lease = &mut self.leases[index as usize];
        lease.state = LeaseState::Free;
        lease.generation = lease.generation.next();
        lease.next = self.free_lease;
        self.classes[usize::from(lease.class)].out -= 1;
        self.free_lease = index;
        self.free += 1;
        self.stats.gave();
    }

    fn find_wait(&self, wait: WaitId) -> Option<&Wait> {
        let entry = self.waits.get(wait.index() as usize)?;
        (entry.generation == wait.generation() && entry.state != WaitState::Free).then_some(entry)
    }

    fn passed(&self, wait: &Wait) -> u64 {
        match wait.state {
            WaitState::Queued => self.classes[usize::from(wait.class)].eligible_grants - wait.passed,
            WaitState::Assigned | WaitState::Free => wait.passed,
        }
    }

    fn refuse<T>(&mut self, error: PoolError) -> Result<T, PoolError> {
        self.stats.refused += 1;
        Err(error)
    }
}

fn reserve<T>(table: &mut Vec<T>, field: &'static str, entries: u32) -> Result<(), ConfigError> {
    table.try_reserve_exact(entries as usize).map_err(|_| ConfigError::AllocationFailed { field, entries })
}

fn ensure(holds: bool, rule: &'static str) -> Result<(), &'static str> {
    if holds { Ok(()) } else { Err(rule) }
}
