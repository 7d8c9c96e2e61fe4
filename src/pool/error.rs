//! Why a call was refused.

use crate::connection::EventError;
use crate::scheduler::SchedulerError;
use core::error::Error;
use core::fmt;

/// Why a call was refused. Nothing is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PoolError {
    /// The handle of a receiver is stale or foreign, or an exported receiver was imported already or changed.
    Stale,
    /// The scheduler refused the call: a class, a size, a lease, a wait, a tenant, or a full table of waits or tenants.
    Scheduler(SchedulerError),
    /// The event makes no sense in the state of the connection.
    Event(EventError),
    /// The table of receivers is full.
    ReceiversFull {
        /// Rows of the table.
        receivers_max: u32,
    },
    /// No buffer is free, and this call does not queue.
    NoBufferFree,
    /// No buffer is held.
    NoBuffer,
    /// The address lies in no buffer of the pool.
    UnknownAddress,
    /// More bytes than fit.
    TooManyBytes,
    /// Bytes that were delivered are in the host's memory, and are to be reported on first; or the report is not about
    /// as many.
    InPlace,
    /// Bytes were looked at in the kernel, and are to be decoded, all of them, and reported on first; or what was
    /// decoded of them is to be received away first.
    LookedAt,
    /// An event that the receiver reports itself.
    InternalEvent,
    /// The shared pool is closed: it accepts no new receivers, requests or leases.
    PoolClosed,
    /// The pool is bound to another thread.
    WrongThread,
    /// The pool is not shared, so there is no thread to move a receiver to.
    NotShared,
    /// The receiver is to be shed, so it cannot move.
    NotMovable,
    /// As many receivers are exported and not imported yet as can be: `receivers_max` for each thread.
    ExportsFull,
    /// The receiver cannot leave partial frames in the kernel.
    CannotCount {
        /// What does not go with counting.
        with: &'static str,
    },
    /// The pool drains: it takes no new receivers.
    Draining,
    /// The configuration did not ask for an audit.
    AuditOff,
    /// The configuration has no `lease_ns`, so no lease has a deadline.
    DeadlinesOff,
    /// The lease has no deadline in this pool.
    NoDeadline,
}

impl fmt::Display for PoolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PoolError::Scheduler(error) => return error.fmt(f),
            PoolError::Event(error) => return error.fmt(f),
            PoolError::ReceiversFull { receivers_max } => return write!(f, "all {receivers_max} receivers are in use"),
            PoolError::CannotCount { with } => return write!(f, "counting is not possible with {with}"),
            PoolError::Stale => "the handle is stale or foreign",
            PoolError::NoBufferFree => "no buffer is free",
            PoolError::NoBuffer => "no buffer is held",
            PoolError::UnknownAddress => "the address lies in no buffer of the pool",
            PoolError::TooManyBytes => "more bytes than fit",
            PoolError::InPlace => "delivered bytes are in place: report on them first",
            PoolError::LookedAt => "bytes are looked at: report on all of them, and receive away what was decoded",
            PoolError::InternalEvent => "the receiver reports this event itself",
            PoolError::PoolClosed => "the shared pool is closed",
            PoolError::WrongThread => "the pool is bound to another thread",
            PoolError::NotShared => "the pool is not shared by threads",
            PoolError::NotMovable => "the receiver is to be shed",
            PoolError::ExportsFull => "as many receivers are being exported as can be",
            PoolError::Draining => "the pool drains: it takes no new receivers",
            PoolError::AuditOff => "the configuration did not ask for an audit",
            PoolError::DeadlinesOff => "the configuration has no lease_ns, so no lease has a deadline",
            PoolError::NoDeadline => "the lease has no deadline in this pool",
        })
    }
}

impl Error for PoolError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            PoolError::Scheduler(error) => Some(error),
            PoolError::Event(error) => Some(error),
            _ => None,
        }
    }
}

impl From<EventError> for PoolError {
    fn from(error: EventError) -> PoolError {
        PoolError::Event(error)
    }
}

impl From<SchedulerError> for PoolError {
    fn from(error: SchedulerError) -> PoolError {
        PoolError::Scheduler(error)
    }
}
