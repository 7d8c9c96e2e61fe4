//! What a pool counts.

use super::any_pool::AnyPool;
use super::guard::{InPool, demuxbuf_pool};
use super::memory_config::DEMUXBUF_CLASSES_MAX;
use super::out::{StructOut, growable};
use super::pool::status;

/// What a pool counts. Sizes in bytes, times in nanoseconds.
#[allow(non_camel_case_types)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct demuxbuf_pool_stats {
    /// `sizeof(demuxbuf_pool_stats)`, set before the call; then how many bytes were written.
    pub struct_size: u32,
    /// The budget, in units: buffers, if there is one size.
    pub buffers: u32,
    /// Units that are free.
    pub free: u32,
    /// Buffers held.
    pub leased: u32,
    /// Buffers handed over and not picked up yet.
    pub assigned: u32,
    /// Waits queued.
    pub waiting: u32,
    /// The most buffers that were out at once; of a shared pool a number that is never too low.
    pub leased_peak: u32,
    /// The most waits that were queued at once.
    pub waiting_peak: u32,
    /// Receivers attached.
    pub receivers: u32,
    /// The most receivers that can be attached at once.
    pub receivers_max: u32,
    /// Parking slots.
    pub slots: u32,
    /// Parking slots in use.
    pub slots_in_use: u32,
    /// The most parking slots that were in use at once.
    pub slots_in_use_peak: u32,
    /// Waits queued, by class.
    pub waiting_by_class: [u32; DEMUXBUF_CLASSES_MAX],
    /// Units held or assigned, by class; of a shared pool only the held ones.
    pub outstanding_by_class: [u32; DEMUXBUF_CLASSES_MAX],
    /// Parking slots in use, by size: 64, 256, 1024 and 4096 bytes.
    pub slots_in_use_by_size: [u32; 4],
    /// Always 0.
    pub reserved: u32,
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
    /// Times a receiver was asked to park; of a shared pool, a receiver of this thread.
    pub parks_asked: u64,
    /// Times a receiver was asked to close; of a shared pool, a receiver of this thread.
    pub sheds_asked: u64,
    /// Times a clock went backwards.
    pub clock_backwards: u64,
    /// Time that did not count, in nanoseconds: of each step of the clock what was more than an eighth of `lease_ns`.
    /// In a shared pool, of this thread's clock. 0 on the memory model, whose steps are those of `frame_grace_ns`.
    pub clock_skipped_ns: u64,
    /// Partial frames moved from a buffer to a slot.
    pub parked: u64,
    /// Of `parked`, those that were moved because requests waited.
    pub parked_on_demand: u64,
    /// Receivers that were asked to shed.
    pub shed: u64,
    /// Contents moved to a larger buffer.
    pub grown: u64,
    /// Partial frames moved from a slot to a buffer.
    pub unparked: u64,
    /// Slots lent to receive without a buffer.
    pub lifelines: u64,
    /// Partial frames that could not be parked because no slot was free.
    pub park_refused: u64,
    /// Times a content was moved to the front of its buffer.
    pub compactions: u64,
    /// Bytes moved by that.
    pub compacted_bytes: u64,
    /// Bytes that came in: received, there at attach or adopt, or with a receiver from another thread.
    pub received_bytes: u64,
    /// Bytes the decoders took; buffered is what came in, less these three.
    pub consumed_bytes: u64,
    /// Bytes thrown away after a failure, after the end, or at close.
    pub dropped_bytes: u64,
    /// Bytes that left with a buffer the host took, or with a receiver that went to another thread.
    pub taken_bytes: u64,
    /// The most bytes of buffers and slots that can be resident, but for rounding up to pages: the budget, and once
    /// more for each further size of which a buffer is not a whole number of pages.
    pub memory_bytes: u64,
    /// Of a pool on the memory model, as all fields from here on: claims that began, of receivers that had to wait for
    /// room. 0 for other pools.
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
}

growable!(demuxbuf_pool_stats, 400);

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
            reserved: 0,
            buffers: stats.scheduler.capacity,
            free: stats.scheduler.free,
            leased: stats.scheduler.leased,
            assigned: stats.scheduler.assigned,
            waiting: stats.scheduler.waiting,
            leased_peak: stats.scheduler.leased_peak,
            waiting_peak: stats.scheduler.waiting_peak,
            receivers: stats.receivers,
            receivers_max: stats.receivers_max,
            slots: stats.slots,
            slots_in_use: stats.slots_in_use,
            slots_in_use_peak: stats.slots_in_use_peak,
            waiting_by_class: stats.scheduler.waiting_by_class,
            outstanding_by_class: stats.scheduler.outstanding_by_class,
            slots_in_use_by_size: stats.slots_in_use_by_size,
            granted_at_once: stats.scheduler.granted_at_once,
            granted_by_handoff: stats.scheduler.granted_by_handoff,
            queued: stats.scheduler.queued,
            cancelled: stats.scheduler.cancelled,
            released: stats.scheduler.released,
            bypass_peak: stats.scheduler.bypass_peak,
            parks_asked: stats.reclaim.parks_asked,
            sheds_asked: stats.reclaim.sheds_asked,
            clock_backwards: stats.scheduler.clock_backwards,
            clock_skipped_ns: stats.reclaim.clock_skipped_ns,
            parked: stats.parked,
            parked_on_demand: stats.parked_on_demand,
            shed: stats.shed,
            grown: stats.grown,
            unparked: stats.unparked,
            lifelines: stats.lifelines,
            park_refused: stats.park_refused,
            compactions: stats.compactions,
            compacted_bytes: stats.compacted_bytes,
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
        }
    }
}
