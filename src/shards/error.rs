//! Why a call was refused.

use crate::pool::PoolError;
use core::fmt;

/// Why a call on a shard was refused. Nothing is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShardError {
    /// The pool refused it.
    Pool(PoolError),
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

impl fmt::Display for ShardError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ShardError::Pool(error) => error.fmt(f),
            ShardError::UnknownShard { index, shards } => {
                write!(f, "shard is {index}; allowed is 0 to {}", shards - 1)
            }
            ShardError::ShardInUse { index } => write!(f, "the handle of shard {index} is in use"),
            ShardError::WaitElsewhere => f.write_str("the wait is of another shard"),
            ShardError::WaitNotExported => f.write_str("the wait was not exported by its shard"),
            ShardError::TooManyOnTheWay => f.write_str("too many waits are on their way between shards"),
            ShardError::WrongThread => f.write_str("the shard is bound to another thread"),
            ShardError::Closed => f.write_str("the pool is closed"),
        }
    }
}

impl core::error::Error for ShardError {}

impl From<PoolError> for ShardError {
    fn from(error: PoolError) -> ShardError {
        ShardError::Pool(error)
    }
}
