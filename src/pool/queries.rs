//! Counts, descriptions and places.

use super::{BufferSource, MemoryModelStats, Pool, PoolError, PoolStats, ReceiverId, ReceiverInfo};
use crate::receiving::Totals;
use crate::scheduler::{TenantId, TenantInfo, WaitId, WaitInfo};
use core::ptr::NonNull;

impl<S: BufferSource> Pool<S> {
    /// Gives all handles these bits, of [`SALT`](crate::scheduler::SALT), before there are any.
    #[doc(hidden)]
    pub fn salt(&mut self, salt: u32) {
        self.table.salt(salt);
    }

    /// The number of a lease, wait or tenant as C has it; and of C's, the number here. Those of receivers are the same.
    #[doc(hidden)]
    #[inline]
    pub fn salted(&self, bits: u64) -> u64 {
        bits ^ self.table.salted()
    }

    /// The row of a receiver, for the calls that take it.
    #[doc(hidden)]
    #[inline]
    pub fn find(&self, id: ReceiverId) -> Result<u32, PoolError> {
        self.table.find(id)
    }

    /// A hint that events of this receiver follow soon: the processor fetches its rows from memory meanwhile. With more
    /// connections than the caches hold, nearly every event waits for them otherwise. Call it for all events of a
    /// batch, of at most about 100, before you handle the first. Any handle is harmless, a stale one too.
    #[inline]
    pub fn prefetch(&self, id: ReceiverId) {
        let index = self.table.row(id);
        self.table.prefetch(index);
        self.memory.prefetch(index);
    }

    /// Where the next receive goes, if `Recv` is pending, or else what is undecoded, for C: an address and a length,
    /// without a borrow.
    #[doc(hidden)]
    #[inline]
    pub fn area(&self, index: u32, is_receive: bool) -> Option<(NonNull<u8>, u32)> {
        if !self.has_open_cycle(index) {
            if !self.kept_cycle.is_of(index) {
                return self.memory.area(index, is_receive);
            }
            let (at, bytes) = self.kept_cycle.place(is_receive);
            return (bytes > 0).then(|| (at.get(), bytes));
        }
        let step = match self.cycle.buffered_bytes() {
            0 if is_receive => self.cycle.step_to_receive(),
            bytes if bytes > 0 && !is_receive => self.cycle.step_to_decode(bytes),
            _ => return None,
        };
        step.data.map(|data| (data, step.bytes()))
    }

    /// Counts. Needs no buffer or allocation. Those of the scheduler are of all buffers, and one that receivers use, be
    /// it to receive or cut into cells, counts as leased.
    pub fn stats(&self) -> PoolStats {
        let buffers = self.memory.buffers();
        let counts = self.counts();
        let Totals { shed_at_deadline, evicted, shed_for_memory, .. } = self.memory.totals();
        PoolStats {
            scheduler: buffers.stats(),
            clock_skipped_ns: self.memory.clock_skipped_ns(),
            receivers: self.table.len(),
            receivers_max: self.memory.config().receivers_max,
            shed: shed_at_deadline + evicted + shed_for_memory,
            received_bytes: counts.received_bytes,
            consumed_bytes: counts.consumed_bytes,
            dropped_bytes: counts.dropped_bytes,
            taken_bytes: counts.taken_bytes,
            memory_bytes: self.memory.arena().resident_bytes_max() as u64,
            memory_model: self.model_stats(),
        }
    }

    fn model_stats(&self) -> MemoryModelStats {
        let totals = self.memory.totals();
        MemoryModelStats {
            claims: totals.claims,
            grants: totals.grants,
            trials: totals.trials,
            shed_at_deadline: totals.shed_at_deadline,
            evicted: totals.evicted,
            shed_for_memory: totals.shed_for_memory,
            longest_claim_ns: totals.longest_claim_ns,
            wait_ns_max: self.memory.config().wait_ns_max(),
            copied_bytes: totals.copied_bytes,
            full_kernels: totals.full_kernels,
        }
    }

    /// Everything there is to print about a receiver. One that claims waits.
    ///
    /// # Errors
    ///
    /// The handle is stale or foreign.
    pub fn describe(&self, id: ReceiverId) -> Result<ReceiverInfo, PoolError> {
        let index = self.table.find(id)?;
        Ok(ReceiverInfo {
            pending: self.pending_at(index),
            connection: self.connection_at(index),
            token: self.table.token(index),
            class: self.table.class(index),
            wait_age_ns: self.memory.claim_age_ns(index).unwrap_or(0),
            awaited_bytes: self.memory.awaited_bytes(index),
            shed_reason: self.memory.shed_reason(index),
        })
    }

    /// How a wait of the host's own stands.
    ///
    /// # Errors
    ///
    /// The wait is stale, foreign, or of another thread.
    pub fn describe_wait(&self, wait: WaitId) -> Result<WaitInfo, PoolError> {
        self.memory.buffers().describe_wait(wait)
    }

    /// How a tenant stands, also while it is going away.
    ///
    /// # Errors
    ///
    /// The tenant is stale or foreign.
    pub fn describe_tenant(&self, tenant: TenantId) -> Result<TenantInfo, PoolError> {
        self.memory.buffers().describe_tenant(tenant)
    }

    /// The most grants to other requests that one of the host's own could have had before it.
    pub fn bypass_bound(&self) -> u64 {
        self.memory.buffers().bypass_bound()
    }

    /// The next thread of a shared pool that has notices and may sleep: its index. Signal it, so that it calls
    /// `poll_notice`. Call this until `None` before you sleep. It takes no lock. A pool of its own has no other
    /// threads: `None`.
    pub fn poll_wake(&mut self) -> Option<u32> {
        self.memory.buffers_mut().poll_wake()
    }

    /// Whether the thread that calls may use the pool. Costs a load and a comparison.
    ///
    /// # Errors
    ///
    /// It is the pool of another thread.
    #[inline]
    pub fn check_thread(&self) -> Result<(), PoolError> {
        self.memory.buffers().check_thread()
    }

    /// Returns the pages of free buffers that were used since the last call to the operating system, and reports how
    /// many bytes. A page of which a buffer in use has a part stays. For quiet times: it looks at each buffer, and
    /// costs a system call for each piece of such pages. Other threads of a shared pool wait for the pages of at most
    /// 16 buffers, and of at most 1 MiB if that is more than one buffer.
    pub fn trim(&mut self) -> usize {
        self.memory.with_arena(|source, arena| source.trim(arena))
    }
}
