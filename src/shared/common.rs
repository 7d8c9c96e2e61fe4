//! What the pools of all threads have in common.

use super::SharedScheduler;
use super::exports::Exports;
use crate::memory::Arena;
use crate::pool::PoolConfig;
use core::sync::atomic::AtomicU32;

/// Alive as long as the shared pool or the pool of any thread: so are the buffers.
#[derive(Debug)]
pub(super) struct Common {
    pub(super) scheduler: SharedScheduler,
    pub(super) exports: Exports,
    pub(super) arena: Arena,
    pub(super) config: PoolConfig,
    pub(super) shards: u32,
    /// How often the pool of a thread was made.
    pub(super) made: AtomicU32,
}
