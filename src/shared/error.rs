//! Why a call was refused.

use crate::scheduler::SchedulerError;
use core::fmt;

/// Why a call on a shard was refused. Nothing is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SharedSchedulerError {
    /// The pool refused it.
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
    /// The wait is of another shard, or on its way to one.
    WaitElsewhere,
    /// The wait was not exported, so it cannot be imported.
    WaitNotExported,
    /// As many waits as may be are on their way from one shard to another.
    TooManyOnTheWay,
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
            SharedSchedulerError::TooManyOnTheWay => f.write_str("too many waits are on their way between shards"),
            SharedSchedulerError::WrongThread => f.write_str("the shard is bound to another thread"),
            SharedSchedulerError::Closed => f.write_str("the pool is closed"),
        }
    }
}

impl core::error::Error for SharedSchedulerError {}

impl From<SchedulerError> for SharedSchedulerError {
    fn from(error: SchedulerError) -> SharedSchedulerError {
        SharedSchedulerError::Scheduler(error)
    }
}
