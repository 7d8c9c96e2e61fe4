//! Why a call was refused.

use crate::connection::EventError;
use crate::scheduler::SchedulerError;
use core::fmt;

/// Why a call was refused. Nothing is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolError {
    /// The handle is stale, foreign, or of something that belongs to somebody else.
    Stale,
    /// The class does not exist.
    UnknownClass,
    /// The size does not exist.
    UnknownSize,
    /// A request that could never be granted: a reserve or a cap leaves less.
    TooLarge,
    /// The buffer held is as large already.
    NotLarger,
    /// A field of a tenant's share is out of range.
    TenantConfig(SchedulerError),
    /// A buffer is waited for already.
    AlreadyWaiting,
    /// The table of receivers, of waits or of tenants is full.
    TableFull,
    /// No buffer is free, and this call does not queue.
    NoBufferFree,
    /// No buffer is held.
    NoBuffer,
    /// More bytes than fit.
    TooManyBytes,
    /// An event that the receiver reports by itself.
    InternalEvent,
    /// The pool is shared and closed: it takes nobody in.
    PoolClosed,
    /// The receivers are bound to another thread.
    WrongThread,
    /// The pool is not shared, so that there is no thread to move to.
    NotShared,
    /// The event makes no sense in the connection's state.
    Event(EventError),
}

impl fmt::Display for PoolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PoolError::Stale => f.write_str("the handle is stale or foreign"),
            PoolError::UnknownClass => f.write_str("the class does not exist"),
            PoolError::UnknownSize => f.write_str("the size does not exist"),
            PoolError::TooLarge => f.write_str("it could never be granted: a reserve or a cap leaves less"),
            PoolError::NotLarger => f.write_str("the buffer held is as large already"),
            PoolError::TenantConfig(error) => error.fmt(f),
            PoolError::AlreadyWaiting => f.write_str("a buffer is waited for already"),
            PoolError::TableFull => f.write_str("the table is full"),
            PoolError::NoBufferFree => f.write_str("no buffer is free"),
            PoolError::NoBuffer => f.write_str("no buffer is held"),
            PoolError::TooManyBytes => f.write_str("more bytes than fit"),
            PoolError::InternalEvent => f.write_str("the receiver drives this by itself"),
            PoolError::PoolClosed => f.write_str("the shared pool is closed"),
            PoolError::WrongThread => f.write_str("this is another thread's"),
            PoolError::NotShared => f.write_str("the pool is not shared by threads"),
            PoolError::Event(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for PoolError {}

impl From<EventError> for PoolError {
    fn from(error: EventError) -> PoolError {
        PoolError::Event(error)
    }
}

impl From<SchedulerError> for PoolError {
    fn from(error: SchedulerError) -> PoolError {
        match error {
            SchedulerError::UnknownClass { .. } => PoolError::UnknownClass,
            SchedulerError::UnknownSize { .. } => PoolError::UnknownSize,
            SchedulerError::TooLarge { .. } => PoolError::TooLarge,
            SchedulerError::WaitersFull { .. } | SchedulerError::TenantsFull { .. } => PoolError::TableFull,
            SchedulerError::StaleLease | SchedulerError::StaleWait | SchedulerError::StaleTenant => PoolError::Stale,
            SchedulerError::TenantConfig { .. } => PoolError::TenantConfig(error),
        }
    }
}
