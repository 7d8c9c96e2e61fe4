//! Why a call was refused.

use crate::scheduler::SchedulerError;
use core::error::Error;
use core::fmt;

/// Why a call on a shard was refused. Nothing is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SharedSchedulerError {
    /// The scheduler refused the call.
    Scheduler(SchedulerError),
    /// There is no such shard.
    UnknownShard {
        /// The index that was named.
        index: u32,
        /// Shards there are.
        shards: u32,
    },
    /// The handle of this shard is in use.
    ShardInUse {
        /// Which shard.
        index: u32,
    },
    /// The wait is of another shard, or exported.
    WaitElsewhere,
    /// The wait was not exported, so it cannot be imported.
    WaitNotExported,
    /// As many waits are exported and not imported yet as can be.
    ExportsFull,
    /// The shard is bound to another thread.
    WrongThread,
    /// The pool is closed.
    Closed,
}

impl fmt::Display for SharedSchedulerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SharedSchedulerError::Scheduler(error) => error.fmt(f),
            SharedSchedulerError::UnknownShard { index, shards } => {
                write!(f, "shard is {index}; allowed is 0 to {}", shards - 1)
            }
            SharedSchedulerError::ShardInUse { index } => write!(f, "the handle of shard {index} is in use"),
            SharedSchedulerError::WaitElsewhere => f.write_str("the wait is of another shard"),
            SharedSchedulerError::WaitNotExported => f.write_str("the wait was not exported by its shard"),
            SharedSchedulerError::ExportsFull => f.write_str("as many waits are being exported as can be"),
            SharedSchedulerError::WrongThread => f.write_str("the shard is bound to another thread"),
            SharedSchedulerError::Closed => f.write_str("the pool is closed"),
        }
    }
}

impl Error for SharedSchedulerError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            SharedSchedulerError::Scheduler(error) => Some(error),
            _ => None,
        }
    }
}

impl From<SchedulerError> for SharedSchedulerError {
    fn from(error: SchedulerError) -> SharedSchedulerError {
        SharedSchedulerError::Scheduler(error)
    }
}
