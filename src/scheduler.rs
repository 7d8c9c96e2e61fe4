//! Which waiter is granted a buffer next? Leases, waits, classes, tenants and deadlines; ids only, no memory.
//!
//! A released buffer is **handed over**: inside [`Scheduler::release`] it is assigned to the next waiter, before any
//! newcomer can see it. The waiter learns of it from [`Scheduler::poll_grant`], and owns the buffer by then. A waiter
//! that dies in between passes it on in the same step ([`Scheduler::cancel`]).
//!
//! The methods sort into inputs ([`request`](Scheduler::request), [`release`](Scheduler::release),
//! [`cancel`](Scheduler::cancel), [`progress`](Scheduler::progress), [`handle_timeout`](Scheduler::handle_timeout), the
//! tenants'), outputs ([`poll_grant`](Scheduler::poll_grant), [`poll_reclaim`](Scheduler::poll_reclaim),
//! [`poll_timeout`](Scheduler::poll_timeout)) and queries.
//!
//! # Order of service
//!
//! Class *c* is *eligible* while more than `reserves[c]` buffers are free and it has fewer than `class_caps[c]`
//! outstanding. Inside a class the tenants take turns (see [`TenantConfig`]); what one tenant waits for in one class is
//! served first in, first out, and a newcomer never overtakes. Among classes with waiters that are eligible the most
//! critical goes first, but none is passed forever: a class counts the hand-offs to others that it was eligible for,
//! and from `class_burst` on the class with the largest count goes first; its count then starts again.
//!
//! Buffers of several sizes come out of one budget. Where the next of a class needs more than is free, it keeps its
//! turn: its class and the less critical ones wait until enough came back. The more critical ones go on.
//!
//! # The bound
//!
//! *W* is the most grants that bypass a waiter which it could have had, [`Scheduler::bypass_bound`]. A wait with *q*
//! ahead of it in its flow is served in its flow's turn number *q + 1*, at the latest. In between, each of the *T*
//! other tenants has at most one turn of *w* buffers, *w* its weight (if there are several sizes one more, for what a
//! turn left over, times the ratio of the largest size to the smallest), and each grant of a turn lets `class_burst`
//! pass to tenants below their guaranteed share. So with `K = (q + 1) (T w + 1) (class_burst + 1)`, and `K = q + 1`
//! without other tenants, it is served by the *K*-th grant of its class. With *C* classes each of these has the class
//! passed `class_burst` times until it is overdue, then at most once by each of the *C - 1* others (the one that goes
//! first starts to count from 0, behind it): `K (class_burst + C) - 1` in all; `K - 1` with one class. *q* is at most
//! `waiters_max - 1`. Buffers that a reserve or a cap keeps a waiter from are not its own and are not counted; when its
//! tenant's cap has blocked it, counting starts again, as it does for a receiver's wait that changes its class because
//! a frame has begun to arrive.
//!
//! # Deadlines
//!
//! Times are those of the pool's clock, which [`Scheduler::handle_timeout`] advances by at most G, an eighth of
//! `lease_ns`: a pause of the process makes no holder older than that. It follows real time while the host calls it as
//! often as [`Scheduler::poll_timeout`] asks.
//!
//! While a request waits, [`Scheduler::poll_reclaim`] names the holders that should release their buffers. A holder
//! without progress for `park_ns` is asked to park. If that was not enough, a holder without progress for `lease_ns` is
//! to be shed: one at a time, the costliest first. Its cost = units held × time held ÷ (bytes consumed + 1), rounded
//! down to a power of two, and fixed when the expiry is first seen.
//!
//! No holder that made progress within `lease_ns` is ever shed, and while no request waits no holder is asked. The time
//! in which the host itself blocks a receiver does not count against its peer: the lease begins anew when it is
//! unblocked, and content that stays blocked is shed only once two leases have passed without progress.
//!
//! While all waiters are cap-blocked by their tenants, only holders of the same tenants are asked, since other buffers
//! would not help. Such tenants take turns: in each, the costliest holder of the tenant is shed. A holder that is asked
//! late, because no waiter could have used its buffer before, gets the same time to park as any other.
//!
//! Between calls no buffer is free while an eligible waiter is queued. Every operation costs O(classes), at most 8,
//! however many buffers, waiters and tenants there are, and allocates nothing.

#![forbid(unsafe_code)]

mod buffers;
mod check;
mod clock;
mod config;
mod error;
#[cfg(feature = "std")]
mod homes;
mod id;
mod kept;
pub(crate) mod list;
#[cfg(feature = "model-check")]
mod model_check;
mod nested;
mod pool_api;
mod queries;
mod reclaim;
mod schedule;
#[cfg(feature = "std")]
mod shard_api;
mod sizes;
mod stats;
mod tenants;
mod types;
mod waits;
mod withhold;

pub(crate) use config::INDEX_MAX;
#[doc(hidden)]
pub use config::SALT;
pub use config::{CLASSES_MAX, SIZES_MAX, SchedulerConfig};

pub use crate::config_error::ConfigError;
pub use error::SchedulerError;
pub use id::{LeaseId, TenantId, WaitId};
pub use nested::NestedRequest;
pub use reclaim::LeaseInfo;
pub use stats::{ReclaimStats, SchedulerStats};
#[doc(hidden)]
pub use tenants::LoadOrder;
#[cfg(feature = "std")]
pub(crate) use tenants::{Load, Loads};
pub use tenants::{TenantConfig, TenantInfo, WEIGHT_MAX};
pub use types::{Grant, Outcome, Reclaim, ReclaimKind, Request, WaitInfo};

pub(crate) use clock::Clock;
#[cfg(feature = "std")]
pub(crate) use id::Generation;
pub(crate) use reclaim::{Deadlines, Demand, WaiterScope};

use crate::alloc_util::reserve;
use buffers::{Buffers, Lease, LeaseState};
use list::List;
use tenants::Tenants;
use waits::{Wait, WaitState, Waits};

/// What is known of one class. Counts are units.
#[derive(Clone, Copy, Debug)]
struct Class {
    waiting: u32,
    reserve: u32,
    cap: u32,
    outstanding: u32,
    /// Hand-offs to other classes since its last grant, while it had an eligible waiter.
    bypassed: u64,
}

/// Buffers, by id, and the requests that wait for one. For one thread at a time.
#[cfg_attr(feature = "model-check", derive(Clone))]
#[derive(Debug)]
pub struct Scheduler {
    buffers: Buffers,
    waits: Waits,
    tenants: Tenants,
    deadlines: Deadlines,
    classes: [Class; CLASSES_MAX],
    classes_used: u8,
    class_burst: u32,
    /// Buffers that are to be withheld once they are free.
    to_withhold: u32,
    assigned: List,
    clock: Clock,
    stats: SchedulerStats,
    reclaim: ReclaimStats,
}

impl Scheduler {
    /// Reserves all tables. Nothing is allocated afterwards.
    ///
    /// # Errors
    ///
    /// A field is out of range, or a table could not be reserved; what had been is freed.
    pub fn new(config: &SchedulerConfig) -> Result<Scheduler, ConfigError> {
        config.check()?;
        let units = config.units();
        let buffers = sizes::entries(units, &config.sizes).expect("`check` counted them");
        let tenants = config.tenants_max + 1;
        let class = |class: usize| Class {
            waiting: 0,
            reserve: config.in_units(config.reserves[class]),
            cap: config.in_units(config.class_caps[class]),
            outstanding: 0,
            bypassed: 0,
        };
        Ok(Scheduler {
            buffers: Buffers::new(
                reserve("buffers", buffers)?,
                reserve("buffers", buffers)?,
                units,
                &config.sizes,
                config.tag,
            ),
            waits: Waits::new(reserve("waiters_max", config.waiters_max)?, config.waiters_max, config.tag),
            tenants: Tenants::new(
                config,
                reserve("tenants_max", tenants)?,
                reserve("tenants_max", tenants * u32::from(config.classes))?,
            ),
            deadlines: Deadlines::new(config, buffers)?,
            classes: core::array::from_fn(class),
            classes_used: config.classes,
            class_burst: config.class_burst,
            to_withhold: 0,
            assigned: List::EMPTY,
            clock: Clock::new(config.lease_ns),
            stats: SchedulerStats::default(),
            reclaim: ReclaimStats::default(),
        })
    }

    /// Asks for a buffer of the default size and tenant: granted at once, or queued. `token` comes back with the
    /// grant.
    ///
    /// # Errors
    ///
    /// As [`request_for`](Scheduler::request_for).
    pub fn request(&mut self, class: u8, token: u64) -> Result<Outcome, SchedulerError> {
        self.request_for(&Request::new(class, token))
    }

    /// Asks for a buffer: granted at once, or queued.
    ///
    /// # Errors
    ///
    /// The class, the size or the tenant does not exist; it could never be granted; it would have to wait and all waits
    /// are in use.
    pub fn request_for(&mut self, request: &Request) -> Result<Outcome, SchedulerError> {
        match request.tenant.map_or(Some(0), |tenant| self.tenants.find(tenant)) {
            Some(tenant) => self.request_in(request, tenant),
            None => self.refuse(SchedulerError::StaleTenant),
        }
    }

    /// Asks for a buffer that is granted at once or not at all: `None` if the request would have to wait. It is never
    /// queued, and it goes before no request that is.
    ///
    /// # Errors
    ///
    /// The class, the size or the tenant does not exist; it could never be granted.
    pub fn try_request(&mut self, request: &Request) -> Result<Option<LeaseId>, SchedulerError> {
        let Some(tenant) = request.tenant.map_or(Some(0), |tenant| self.tenants.find(tenant)) else {
            return self.refuse(SchedulerError::StaleTenant);
        };
        if let Some(lease) = self.grant_at_once(request, tenant) {
            return Ok(Some(lease));
        }
        match self.admit(request, tenant) {
            Ok(()) => Ok(None),
            Err(error) => self.refuse(error),
        }
    }

    /// As `request_for`, in the name of the tenant at this index of the table.
    pub(crate) fn request_in(&mut self, request: &Request, tenant: u32) -> Result<Outcome, SchedulerError> {
        match self.grant_at_once(request, tenant) {
            Some(lease) => Ok(Outcome::Granted(lease)),
            None => self.queue(request, tenant),
        }
    }

    /// As `request_in`, if the buffer may be had now; else nothing is changed.
    #[inline(always)] // else `request_in` and `try_take` have a call more
    fn grant_at_once(&mut self, request: &Request, tenant: u32) -> Option<LeaseId> {
        if !self.may_have_now(request, tenant) {
            return None;
        }
        self.stats.granted_at_once += 1;
        let lease = self.take_buffer(request, tenant, LeaseState::Leased);
        // Where one that needs much keeps others from what is free, it may have just reached its tenant's cap.
        self.serve_waiters();
        Some(lease)
    }

    /// Whether no request is queued or assigned, and no buffer is to be withheld: there is nothing to poll then.
    #[inline(always)]
    pub(crate) fn nothing_to_poll(&self) -> bool {
        self.stats.waiting | self.to_withhold == 0 && self.assigned.is_empty()
    }

    /// Queues a request that may not be had now.
    fn queue(&mut self, request: &Request, tenant: u32) -> Result<Outcome, SchedulerError> {
        if let Err(error) = self.admit(request, tenant) {
            return self.refuse(error);
        }
        if !self.waits.has_room() {
            return self.refuse(SchedulerError::WaitersFull { waiters_max: self.waits.max() });
        }
        let wait = self.enqueue(request, tenant);
        // Below its guaranteed share it goes before one that needs more than is free.
        self.serve_waiters();
        Ok(Outcome::Queued(wait))
    }

    /// Releases a buffer. It is assigned to the next eligible waiter in this step.
    ///
    /// # Errors
    ///
    /// The lease is stale or foreign.
    pub fn release(&mut self, lease: LeaseId) -> Result<(), SchedulerError> {
        if let Err(error) = self.check_lease(lease) {
            return self.refuse(error);
        }
        self.release_at(lease.index());
        Ok(())
    }

    /// Ends a wait. If a buffer was assigned to it, the next waiter has it in this step.
    ///
    /// # Errors
    ///
    /// The wait is stale or foreign.
    pub fn cancel(&mut self, wait: WaitId) -> Result<(), SchedulerError> {
        let Some(&Wait { state, buffer, .. }) = self.waits.find(wait) else {
            return self.refuse(SchedulerError::StaleWait);
        };
        self.stats.cancelled += 1;
        if state == WaitState::Assigned {
            self.assigned.unlink(self.waits.table_mut(), wait.index());
            self.waits.remove(wait.index());
            self.put_buffer(buffer);
        } else {
            self.leave_queue(wait.index());
            self.waits.remove(wait.index());
        }
        // One that needed much may have kept others from what is free.
        self.serve_waiters();
        Ok(())
    }

    /// The holder of a timed lease consumed bytes: its deadline starts again. Cost: O(1).
    ///
    /// # Errors
    ///
    /// The lease is stale or foreign.
    pub fn progress(&mut self, lease: LeaseId, bytes: u64) -> Result<(), SchedulerError> {
        self.check_lease(lease)?;
        self.deadlines.progress(lease.index(), bytes, self.clock.now_ns());
        Ok(())
    }

    /// The next waiter that has a buffer, in the order in which they were assigned. Call it until `None`.
    pub fn poll_grant(&mut self) -> Option<Grant> {
        let mut grants = self.assigned;
        let grant = self.pick_up(&mut grants);
        self.assigned = grants;
        grant
    }

    /// Ends the first wait in a list of grants.
    pub(crate) fn pick_up(&mut self, grants: &mut List) -> Option<Grant> {
        let index = grants.first()?;
        grants.unlink(self.waits.table_mut(), index);
        let wait = self.waits.table()[index as usize];
        self.waits.remove(index);
        let lease = self.buffers.lease_mut(wait.buffer);
        lease.state = LeaseState::Leased;
        let lease = LeaseId::new(wait.buffer, lease.generation);
        Some(Grant {
            wait: wait.id(index),
            token: wait.token,
            class: wait.class,
            lease,
            has_deadline: wait.has_deadline,
        })
    }

    /// The next holder that should release its buffer; `None` while that could help no waiter. Call it, after the
    /// grants, until `None` in each loop iteration.
    pub fn poll_reclaim(&mut self) -> Option<Reclaim> {
        let (index, kind) = match self.deadlines.poll(self.waiter_scope()?, self.clock.now_ns())? {
            Demand::Park(index) => (index, ReclaimKind::Park),
            Demand::Shed(index) => (index, ReclaimKind::Shed),
        };
        self.reclaim.ask(kind);
        let Lease { generation, token, .. } = self.buffers.table()[index as usize];
        let lease_info =
            self.deadlines.describe(index, self.clock.now_ns()).expect("the deadlines name timed leases only");
        Some(Reclaim { lease: LeaseId::new(index, generation), token, kind, lease_info })
    }

    /// Advances the clock to this time, in monotonic nanoseconds: by at most an eighth of `lease_ns` (and at least by
    /// 1), if leases have deadlines; the rest of a longer step does not count and is added to
    /// [`ReclaimStats::clock_skipped_ns`]. The first call is the origin: what began before it has its time counted from
    /// there. A time before the last one is counted and not taken.
    pub fn handle_timeout(&mut self, now_ns: u64) {
        self.clock.advance(now_ns);
    }

    /// When to call `handle_timeout` and then `poll_reclaim`, in nanoseconds: `None` for never, a time not after the
    /// last `handle_timeout` for at once. While a deadline runs it is at most an eighth of `lease_ns` after that, so
    /// that the clock follows real time.
    pub fn poll_timeout(&self) -> Option<u64> {
        self.clock.host_ns(self.deadlines.next_ns(self.waiter_scope()?)?)
    }

    /// Takes a tenant in. Cost: O(1).
    ///
    /// # Errors
    ///
    /// A field is out of range; the guarantees would be more than the pool; the table is full.
    pub fn create_tenant(&mut self, tenant_config: &TenantConfig) -> Result<TenantId, SchedulerError> {
        let default = self.buffers.units_of(0);
        let left = (self.buffers.units() - self.tenants.guaranteed()) / default;
        let created = in_range("weight", tenant_config.weight, 1, WEIGHT_MAX)
            .and_then(|()| in_range("cap", tenant_config.cap, 1, u32::MAX))
            .and_then(|()| in_range("guaranteed", tenant_config.guaranteed, 0, left.min(tenant_config.cap)));
        if let Err(error) = created {
            return self.refuse(error);
        }
        let in_units = |buffers: u32| buffers.saturating_mul(default);
        let tenant_config = TenantConfig {
            guaranteed: in_units(tenant_config.guaranteed),
            cap: in_units(tenant_config.cap),
            weight: tenant_config.weight,
        };
        match self.tenants.create(tenant_config) {
            Some(tenant) => Ok(tenant),
            None => self.refuse(SchedulerError::TenantsFull { tenants_max: self.tenants.max() }),
        }
    }

    /// Removes a tenant: it takes no more requests and goes away with its last lease and wait. Cost: O(1).
    ///
    /// # Errors
    ///
    /// The tenant is stale or foreign.
    pub fn remove_tenant(&mut self, tenant: TenantId) -> Result<(), SchedulerError> {
        let Some(index) = self.tenants.find(tenant) else {
            return self.refuse(SchedulerError::StaleTenant);
        };
        self.tenants.remove(self.waits.table(), index);
        self.note_cap_blocked(index);
        // One that needed much, and was below its guaranteed share, may have kept others from what is free.
        self.serve_waiters();
        Ok(())
    }
}

fn in_range(field: &'static str, value: u32, min: u32, max: u32) -> Result<(), SchedulerError> {
    if (min..=max).contains(&value) { Ok(()) } else { Err(SchedulerError::TenantConfig { field, value, min, max }) }
}

fn ensure(holds: bool, rule: &'static str) -> Result<(), &'static str> {
    if holds { Ok(()) } else { Err(rule) }
}
