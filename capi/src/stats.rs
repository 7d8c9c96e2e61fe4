//! What a pool counts.

use super::any_pool::AnyPool;
use super::config::DEMUXBUF_CLASSES_MAX;
use super::guard::{InPool, demuxbuf_pool};
use super::out::{StructOut, growable};
use super::pool::status;

/// What a pool counts. Sizes in bytes, times in nanoseconds.
#[allow(non_camel_case_types)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct demuxbuf_pool_stats {
    /// `sizeof(demuxbuf_pool_stats)`, set before the call; then how many bytes were written.
    pub struct_size: u32,
    /// The budget, in buffers; of a shared pool that of all threads, as all counts of buffers and requests here.
    pub buffers: u32,
    /// Buffers that are free.
    pub free: u32,
    /// Buffers in use: leases of the host's own, and what receivers use, be it to receive or cut into cells.
    pub leased: u32,
    /// Buffers assigned to requests of the host's own, and not picked up yet.
    pub assigned: u32,
    /// Requests of the host's own that wait; of a shared pool also one of each thread whose receivers wait.
    pub waiting: u32,
    /// The most buffers that were in use at once; of a shared pool a number that is never too low.
    pub leased_peak: u32,
    /// The most waits that were queued at once.
    pub waiting_peak: u32,
    /// Receivers attached.
    pub receivers: u32,
    /// The most receivers that can be attached at once.
    pub receivers_max: u32,
    /// Waits queued, by class.
    pub waiting_by_class: [u32; DEMUXBUF_CLASSES_MAX],
    /// Buffers in use or assigned, by class; of a shared pool only those in use.
    pub outstanding_by_class: [u32; DEMUXBUF_CLASSES_MAX],
    /// Requests granted at once.
    pub granted_at_once: u64,
    /// Requests granted by hand-off.
    pub granted_by_handoff: u64,
    /// Requests that had to wait.
    pub queued: u64,
    /// Waits that were cancelled.
    pub cancelled: u64,
    /// Buffers released.
    pub released: u64,
    /// The most bypasses of a waiter until it was served; `demuxbuf_pool_bypass_bound` is the bound.
    pub bypass_peak: u64,
    /// Times a clock went backwards.
    pub clock_backwards: u64,
    /// Time that did not count, in nanoseconds: of each step of the clock what was more than an eighth of
    /// `frame_grace_ns`. In a shared pool, of this thread's clock.
    pub clock_skipped_ns: u64,
    /// Receivers that were shed, for whatever reason.
    pub shed: u64,
    /// Bytes that came in: received, there at attach or adopt, or with a receiver from another thread.
    pub received_bytes: u64,
    /// Bytes the decoders took; buffered is what came in, less these three.
    pub consumed_bytes: u64,
    /// Bytes thrown away after a failure, after the end, or at close.
    pub dropped_bytes: u64,
    /// Bytes that left with a buffer the host took, or with a receiver that went to another thread.
    pub taken_bytes: u64,
    /// The most bytes of buffers that can be resident, but for rounding up to pages; of a shared pool, of all threads.
    pub memory_bytes: u64,
    /// Claims that began: receivers that had to wait for room. Of a shared pool, this and all below are this thread's.
    pub claims: u64,
    /// Claims that were granted.
    pub grants: u64,
    /// Claims that came to their deadline.
    pub trials: u64,
    /// Receivers that were shed at the deadline of their claim.
    pub shed_at_deadline: u64,
    /// Receivers whose content was evicted.
    pub evicted: u64,
    /// Receivers whose decoder left bytes for which there was no place.
    pub shed_for_memory: u64,
    /// The longest claim that ended, in nanoseconds of the pool's clock.
    pub longest_claim_ns: u64,
    /// The longest that a claim lasts, in nanoseconds of the pool's clock, whatever other receivers do.
    pub wait_ns_max: u64,
    /// Bytes copied between cells and buffers.
    pub copied_bytes: u64,
    /// Buffers that a limit keeps out of use (`demuxbuf_pool_set_memory_limit`); of a shared pool, of all threads.
    pub withheld: u32,
    /// Buffers that are still to be withheld for that; 0 if the limit is met.
    pub to_withhold: u32,
    /// Frames of receivers that count of which the kernel would hold no more (`DEMUXBUF_EVENT_KERNEL_FULL`), so that
    /// they were received as those of receivers that do not count.
    pub full_kernels: u64,
}

growable!(demuxbuf_pool_stats, 288);

/// Writes everything there is to print about a pool. Needs no buffer, lock or allocation.
///
/// Returns `DEMUXBUF_OK`; `DEMUXBUF_ERR_NULL`,
/// `DEMUXBUF_ERR_STRUCT_SIZE`, `DEMUXBUF_ERR_POISONED`, and nothing is written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_pool_get_stats(pool: *const demuxbuf_pool, stats: *mut demuxbuf_pool_stats) -> i32 {
    // SAFETY: as the module asks.
    let pool = unsafe { InPool::new(pool) };
    // SAFETY: as the module asks.
    let stats = match unsafe { StructOut::new(stats) } {
        Ok(stats) => stats,
        Err(status) => return status,
    };
    status(pool.look(|pool| {
        stats.write(demuxbuf_pool_stats::of(pool));
        Ok(())
    }))
}

impl demuxbuf_pool_stats {
    fn of(pool: &AnyPool) -> demuxbuf_pool_stats {
        let stats = pool.stats();
        demuxbuf_pool_stats {
            struct_size: size_of::<demuxbuf_pool_stats>() as u32,
            buffers: stats.scheduler.capacity,
            free: stats.scheduler.free,
            leased: stats.scheduler.leased,
            assigned: stats.scheduler.assigned,
            waiting: stats.scheduler.waiting,
            leased_peak: stats.scheduler.leased_peak,
            waiting_peak: stats.scheduler.waiting_peak,
            receivers: stats.receivers,
            receivers_max: stats.receivers_max,
            waiting_by_class: stats.scheduler.waiting_by_class,
            outstanding_by_class: stats.scheduler.outstanding_by_class,
            granted_at_once: stats.scheduler.granted_at_once,
            granted_by_handoff: stats.scheduler.granted_by_handoff,
            queued: stats.scheduler.queued,
            cancelled: stats.scheduler.cancelled,
            released: stats.scheduler.released,
            bypass_peak: stats.scheduler.bypass_peak,
            clock_backwards: stats.scheduler.clock_backwards,
            clock_skipped_ns: stats.clock_skipped_ns,
            shed: stats.shed,
            received_bytes: stats.received_bytes,
            consumed_bytes: stats.consumed_bytes,
            dropped_bytes: stats.dropped_bytes,
            taken_bytes: stats.taken_bytes,
            memory_bytes: stats.memory_bytes,
            claims: stats.memory_model.claims,
            grants: stats.memory_model.grants,
            trials: stats.memory_model.trials,
            shed_at_deadline: stats.memory_model.shed_at_deadline,
            evicted: stats.memory_model.evicted,
            shed_for_memory: stats.memory_model.shed_for_memory,
            longest_claim_ns: stats.memory_model.longest_claim_ns,
            wait_ns_max: stats.memory_model.wait_ns_max,
            copied_bytes: stats.memory_model.copied_bytes,
            full_kernels: stats.memory_model.full_kernels,
            withheld: stats.scheduler.withheld,
            to_withhold: stats.scheduler.to_withhold,
        }
    }
}
