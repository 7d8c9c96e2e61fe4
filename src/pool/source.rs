//! What a pool needs of the place where its buffers come from, beside what its receivers need.

use super::PoolError;
use crate::config_error::ConfigError;
use crate::memory::{Arena, Reach};
use crate::receiving::Buffers;
use crate::scheduler::{
    Grant, LeaseId, Outcome, Request, SchedulerStats, TenantConfig, TenantId, TenantInfo, WaitId, WaitInfo,
};

/// Where a [`Pool`](super::Pool) gets its buffers: from a budget of its own, or from a shard of a shared pool. It
/// is for signatures that are generic over both kinds of pools; no other type implements it.
pub trait BufferSource: Source {}

impl<S: Source> BufferSource for S {}

/// The calls of a pool to its source. It keeps the books, and holds no memory.
#[rustfmt::skip] // one line for each call
pub trait Source: Buffers {
    // Requests of the host's own.
    /// How many classes there are; receivers have the last.
    fn classes(&self) -> u8;
    fn request_for(&mut self, request: &Request) -> Result<Outcome, PoolError>;
    /// As `request_for`; `None` if the request would have to wait.
    fn try_request(&mut self, request: &Request) -> Result<Option<LeaseId>, PoolError>;
    /// Refuses what `request_for` would refuse after one buffer more was taken for receivers. A shard, from which no
    /// request takes what receivers have, is not asked.
    fn check_request(&mut self, _request: &Request) -> Result<(), PoolError> { Ok(()) }
    /// As `check_request`, for `try_request`.
    fn check_try_request(&mut self, _request: &Request) -> Result<(), PoolError> { Ok(()) }
    /// Whether a request of the host's own waits, or a lease of its own ends with the source.
    fn is_used_by_host(&self) -> bool;
    /// Whether leases of the host's own may have deadlines.
    fn has_deadlines(&self) -> bool;
    /// The deadline of a lease begins anew.
    fn renew(&mut self, lease: LeaseId) -> Result<(), PoolError>;
    /// The next lease whose deadline passed, and the token of its request, while a request waits or `receivers_wait`.
    fn poll_overdue(&mut self, receivers_wait: bool) -> Option<(LeaseId, u64)>;
    /// Whether `poll_overdue` would bring one, as far as a look shows.
    fn has_overdue(&self, receivers_wait: bool) -> bool;
    fn cancel(&mut self, wait: WaitId) -> Result<(), PoolError>;
    fn describe_wait(&self, wait: WaitId) -> Result<WaitInfo, PoolError>;
    /// The next of them that waited and was granted.
    fn poll_grant(&mut self) -> Option<Grant>;
    /// The wait whose grant that is. Of a shard, another thread may have assigned it just now.
    fn next_grant(&self) -> Option<WaitId>;
    /// There is something for `poll_grant`, be it nothing of the host's own.
    fn has_grants(&self) -> bool;
    const IS_SHARED: bool;

    // Leases of the host's own. `check` refuses one that is out of reach; the other calls get one that was checked, and
    // refuse it if another thread ended or adopted it since.
    fn check_host_lease(&self, lease: LeaseId, reach: Reach) -> Result<(), PoolError>;
    fn claim_host_lease(&self, _lease: LeaseId) -> Result<(), PoolError> { Ok(()) }
    /// `retire` is for its buffer, before others have it.
    fn release_host_lease(
        &mut self,
        lease: LeaseId,
        reach: Reach,
        retire: Option<&mut dyn FnMut(u32)>,
    ) -> Result<(), PoolError>;
    /// Makes it a buffer of a receiver.
    fn adopt_host_lease(&mut self, lease: LeaseId, reach: Reach) -> Result<(), PoolError>;
    /// Makes a buffer of a receiver a lease of the host's own.
    fn hand_over(&mut self, buffer: u32) -> LeaseId;
    fn lease_at(&self, buffer: u32) -> LeaseId;

    // What the host polls for.
    fn nothing_to_poll(&self) -> bool;
    fn handle_timeout(&mut self, now_ns: u64);
    fn poll_timeout(&self, receivers_wait: bool) -> Option<u64>;
    fn poll_wake(&mut self) -> Option<u32> { None }

    // Tenants.
    fn create_tenant(&mut self, config: &TenantConfig) -> Result<TenantId, PoolError>;
    fn remove_tenant(&mut self, tenant: TenantId) -> Result<(), PoolError>;
    fn describe_tenant(&self, tenant: TenantId) -> Result<TenantInfo, PoolError>;
    /// Keeps a tenant while a receiver is in its name; returns its index.
    fn pin_tenant(&mut self, tenant: Option<TenantId>) -> Result<u32, PoolError>;
    fn unpin_tenant(&mut self, index: u32);

    // Threads: refuses newcomers once the pool is closed, and calls from a thread that the source is not bound to.
    fn check_open(&self) -> Result<(), PoolError> { Ok(()) }
    fn check_thread(&self) -> Result<(), PoolError> { Ok(()) }
    /// The pool ends, and each buffer of its receivers is passed to `retire` before other threads have it.
    fn leave(&mut self, _retire: &mut dyn FnMut(u32)) {}

    // Memory and counts.
    /// All memory, of all threads, is limited to this, from the next advance of the clock on or before.
    fn set_limit(&mut self, bytes: u64) -> Result<(), ConfigError>;
    fn trim(&mut self, arena: &mut Arena) -> usize;
    fn stats(&self) -> SchedulerStats;
    fn bypass_bound(&self) -> u64;
    fn check_invariants(&self) -> Result<(), &'static str>;
}
