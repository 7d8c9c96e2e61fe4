//! What the shards need of a pool beside its calls: when its free buffers may be kept elsewhere, and deadlines of
//! their own.

use super::list::NIL;
use super::{Class, ConfigError, Deadlines, Pool, PoolConfig, WaitId, reserve};

impl Pool {
    /// Whether every free buffer belongs here: more of them would serve a waiter, or a reserve is not whole. It may say
    /// yes needlessly, never no: while it says no, no number of free buffers would change what anybody gets.
    pub(crate) fn needs_all(&self) -> bool {
        let is_wanted = |class: &Class| class.waiting > 0 && class.out < class.cap;
        let anyone = self.stats.waiting > 0 && self.classes.iter().any(is_wanted);
        anyone || self.buffers.free_units() < self.reserve_max()
    }

    /// Free buffers of the default size that no reserve holds back and nobody waits for: a request of any class without
    /// a cap would be granted as many, one after the other.
    pub(crate) fn surplus(&self) -> u32 {
        if self.needs_all() { 0 } else { (self.buffers.free_units() - self.reserve_max()) / self.buffers.units_of(0) }
    }

    /// Free buffers of the default size.
    pub(crate) fn free_buffers(&self) -> u32 {
        self.buffers.free_units() / self.buffers.units_of(0)
    }

    /// Waits queued, by class.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = u32> {
        self.classes.iter().map(|class| class.waiting)
    }

    /// The most waits that were queued at once.
    pub(crate) fn waiting_peak(&self) -> u32 {
        self.stats.waiting_peak
    }

    /// The most grants that passed a waiter.
    pub(crate) fn passed_peak(&self) -> u64 {
        self.stats.passed_peak
    }

    /// The wait that the next `poll_grant` ends.
    pub(crate) fn next_grant(&self) -> Option<WaitId> {
        let index = self.assigned.head;
        (index != NIL).then(|| self.wait_at(index))
    }

    fn reserve_max(&self) -> u32 {
        self.classes.iter().map(|class| class.reserve).max().expect("there are classes")
    }
}

/// The deadlines of those leases of a pool that one shard watches.
pub(crate) fn deadlines(config: &PoolConfig) -> Result<Deadlines, ConfigError> {
    let timed = if config.lease_ns == u64::MAX { 0 } else { config.buffers };
    Ok(Deadlines::new(reserve("buffers", timed)?, timed, config.park_ns, config.lease_ns))
}
