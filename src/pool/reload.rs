//! What changes in a pool that lives: its times, how much memory it uses, and that it takes no new receivers.

use super::{Awaited, BufferSource, ConfigError, Notice, Pool};

impl<S: BufferSource> Pool<S> {
    /// Takes no new receivers from now on: attaching is refused. All else works as before, so that those that are there
    /// end in order. [`Notice::Drained`] follows once nothing is left. There is no way back. On a shared pool it is for
    /// this thread; what other threads export comes in.
    pub fn drain(&mut self) {
        if !self.is_draining {
            (self.is_draining, self.awaited) = (true, Awaited::Drained);
        }
    }

    /// From now on, other values of [`frame_grace_ns`](super::PoolConfig::frame_grace_ns) and
    /// [`blocked_ns`](super::PoolConfig::blocked_ns): every deadline follows from them, also of what is there; so do
    /// `wait_ns_max`, and the most that an advance of the clock counts for. On a shared pool it is for this thread; the
    /// time after which a grant that is not picked up goes on stays. Cost: O(receivers that are not idle).
    ///
    /// # Errors
    ///
    /// A value is out of range. Nothing is changed.
    pub fn set_times(&mut self, frame_grace_ns: u64, blocked_ns: u64) -> Result<(), ConfigError> {
        self.memory.set_times(frame_grace_ns, blocked_ns)
    }

    /// From the next advance of the clock on, the pool uses at most this many bytes, rounded down to whole buffers:
    /// from the least that `memory_bytes` may be, with the reserves of the host's classes, up to
    /// [`memory_bytes`](super::PoolConfig::memory_bytes) itself, which is no limit. A pool begins without one. What a
    /// pool reserves is not resident before it is used: so reserve the most that is ever to be used, and limit it.
    ///
    /// Buffers that are free beyond the limit are *withheld* at once, others as they are released, before any request
    /// that waits. Until then memory counts as short, and what receivers keep past its deadline is evicted, as for a
    /// request of the host's own. So no receiver is shed that is in time, and the limit is met once every deadline has
    /// passed, unless leases of the host's own hold more, receivers that were exported and not imported, or receives in
    /// flight that the host does not cancel: meanwhile `poll_notice` asks it to, and names the leases that are past
    /// their deadline. `to_withhold` of the statistics is what is missing. What is withheld leaves the process with
    /// [`trim`](Pool::trim). With a higher limit, buffers are free again at once.
    ///
    /// On a shared pool it is for all threads, from this call on. Cost: O(buffers that are withheld or come back).
    ///
    /// # Errors
    ///
    /// The limit is out of range. Nothing is changed.
    pub fn set_memory_limit(&mut self, limit_bytes: u64) -> Result<(), ConfigError> {
        self.memory.buffers_mut().set_limit(limit_bytes)
    }

    /// What the host waits for, once: an attach that was refused because the table was full can be repeated, or nothing
    /// is left.
    pub(super) fn poll_awaited(&mut self) -> Option<Notice> {
        let notice = self.next_awaited()?;
        self.awaited = Awaited::Nothing;
        Some(notice)
    }

    /// As `poll_awaited`, but it stays.
    pub(super) fn next_awaited(&self) -> Option<Notice> {
        match self.awaited {
            Awaited::Attachable if self.table.check_free().is_ok() => Some(Notice::Attachable),
            Awaited::Drained if self.table.len() == 0 && !self.memory.buffers().is_used_by_host() => {
                Some(Notice::Drained)
            }
            _ => None,
        }
    }
}
