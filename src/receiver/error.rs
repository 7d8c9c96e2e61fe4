//! Why a call was refused.

use crate::connection::EventError;
use crate::pool::PoolError;
use core::fmt;

/// Why a call was refused. Nothing is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReceiverError {
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
    Share(PoolError),
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

impl fmt::Display for ReceiverError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReceiverError::Stale => f.write_str("the handle is stale or foreign"),
            ReceiverError::UnknownClass => f.write_str("the class does not exist"),
            ReceiverError::UnknownSize => f.write_str("the size does not exist"),
            ReceiverError::TooLarge => f.write_str("it could never be granted: a reserve or a cap leaves less"),
            ReceiverError::NotLarger => f.write_str("the buffer held is as large already"),
            ReceiverError::Share(error) => error.fmt(f),
            ReceiverError::AlreadyWaiting => f.write_str("a buffer is waited for already"),
            ReceiverError::TableFull => f.write_str("the table is full"),
            ReceiverError::NoBufferFree => f.write_str("no buffer is free"),
            ReceiverError::NoBuffer => f.write_str("no buffer is held"),
            ReceiverError::TooManyBytes => f.write_str("more bytes than fit"),
            ReceiverError::InternalEvent => f.write_str("the receiver drives this by itself"),
            ReceiverError::PoolClosed => f.write_str("the shared pool is closed"),
            ReceiverError::WrongThread => f.write_str("this is another thread's"),
            ReceiverError::NotShared => f.write_str("the pool is not shared by threads"),
            ReceiverError::Event(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for ReceiverError {}

impl From<EventError> for ReceiverError {
    fn from(error: EventError) -> ReceiverError {
        ReceiverError::Event(error)
    }
}

impl From<PoolError> for ReceiverError {
    fn from(error: PoolError) -> ReceiverError {
        match error {
            PoolError::UnknownClass { .. } => ReceiverError::UnknownClass,
            PoolError::UnknownSize { .. } => ReceiverError::UnknownSize,
            PoolError::TooLarge { .. } => ReceiverError::TooLarge,
            PoolError::WaitersFull { .. } | PoolError::TenantsFull { .. } => ReceiverError::TableFull,
            PoolError::StaleLease | PoolError::StaleWait | PoolError::StaleTenant => ReceiverError::Stale,
            PoolError::Share { .. } => ReceiverError::Share(error),
        }
    }
}
