//! What is asked of a pool, and what it answers.

use super::{LeaseId, LeaseInfo, TenantId, WaitId};

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Comes back with the grant.
    pub token: u64,
    /// The tenant that the request belongs to; `None` for the default tenant.
    pub tenant: Option<TenantId>,
    /// How critical it is; 0 is the most.
    pub class: u8,
    /// Which of the pool's sizes; 0 is the default.
    pub size_index: u8,
    /// The lease has a deadline: its holder reports progress, and may be asked to release the buffer.
    pub has_deadline: bool,
}

impl Request {
    /// A buffer of the default size, for the default tenant, without a deadline.
    pub const fn new(class: u8, token: u64) -> Request {
        Request { token, tenant: None, class, size_index: 0, has_deadline: false }
    }
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A buffer is held.
    Granted(LeaseId),
    /// The request waits; [`Scheduler::poll_grant`](super::Scheduler::poll_grant) returns its grant later.
    Queued(WaitId),
}

/// A hand-off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Grant {
    /// The wait that ended; stale now.
    pub wait: WaitId,
    /// What was given with the request.
    pub token: u64,
    /// Class of the request.
    pub class: u8,
    /// The buffer, held now.
    pub lease: LeaseId,
    /// Whether the lease has a deadline.
    pub has_deadline: bool,
}

/// What a holder should do for the waiters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReclaimKind {
    /// Park, if it can.
    Park,
    /// Close.
    Shed,
}

/// A holder that should release its buffer, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reclaim {
    /// The buffer.
    pub lease: LeaseId,
    /// What was given with the request.
    pub token: u64,
    /// What it should do.
    pub kind: ReclaimKind,
    /// The reason.
    pub lease_info: LeaseInfo,
}

/// How a wait stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WaitInfo {
    /// What was given with the request.
    pub token: u64,
    /// Class of the request.
    pub class: u8,
    /// How long it has waited, in nanoseconds.
    pub age_ns: u64,
    /// Grants that bypassed it which it could have had.
    pub bypasses: u64,
    /// Whether the lease will have a deadline.
    pub has_deadline: bool,
    /// A buffer is assigned to it already.
    pub is_assigned: bool,
}
