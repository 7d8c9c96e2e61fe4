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
    /// The table of receivers or of waits is full.
    TableFull,
    /// No buffer is free, and this call does not queue.
    NoBufferFree,
    /// No buffer is held.
    NoBuffer,
    /// More bytes than fit.
    TooManyBytes,
    /// An event that the receiver reports by itself.
    InternalEvent,
    /// The event makes no sense in the connection's state.
    Event(EventError),
}

impl fmt::Display for ReceiverError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReceiverError::Stale => f.write_str("the handle is stale or foreign"),
            ReceiverError::UnknownClass => f.write_str("the class does not exist"),
            ReceiverError::TableFull => f.write_str("the table is full"),
            ReceiverError::NoBufferFree => f.write_str("no buffer is free"),
            ReceiverError::NoBuffer => f.write_str("no buffer is held"),
            ReceiverError::TooManyBytes => f.write_str("more bytes than fit"),
            ReceiverError::InternalEvent => f.write_str("the receiver drives this by itself"),
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
            PoolError::WaitersFull { .. } => ReceiverError::TableFull,
            PoolError::StaleLease | PoolError::StaleWait => ReceiverError::Stale,
        }
    }
}
