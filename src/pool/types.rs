//! What a pool reports to its host.

use super::ReceiverId;
use crate::connection::{Actions, Connection};
use crate::memory::SLOT_SIZES;
use crate::receiving::ShedReason;
use crate::scheduler::{LeaseId, LeaseInfo, ReclaimStats, SchedulerStats, WaitId};

/// A notification that does not answer one of your own calls: a queued request was granted, a receiver is to be shed, or the
/// table of receivers is not full any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Notice {
    /// A receiver got its buffer, or is to be shed; these actions are to be done.
    Receiver {
        /// The receiver.
        id: ReceiverId,
        /// What the host gave at `attach`.
        token: u64,
        /// What is to be done now.
        actions: Actions,
    },
    /// A connection can be attached: the table of receivers was full, is not any more, and an attach had asked for this
    /// notice ([`notify_if_full`](super::AttachOptions::notify_if_full)). It comes once, however many were refused.
    Attachable,
    /// A request of the host's own was served.
    Lease {
        /// The wait that ended; stale now.
        wait: WaitId,
        /// What the host gave at `request`.
        token: u64,
        /// The buffer.
        lease: LeaseId,
    },
}

/// A buffer that left a receiver with what was in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeasedContent {
    /// The buffer, held by the host now.
    pub lease: LeaseId,
    /// Where the content starts, in bytes.
    pub offset: u32,
    /// Length of the content, in bytes.
    pub buffered_bytes: u32,
}

/// Counts of the receive side, and of what is below it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolStats {
    /// The scheduler's; of a shared pool, of all threads.
    pub scheduler: SchedulerStats,
    /// Of the deadlines of this pool's receivers, and of its clock.
    pub reclaim: ReclaimStats,
    /// Receivers attached.
    pub receivers: u32,
    /// The most receivers that can be attached at once.
    pub receivers_max: u32,
    /// Parking slots in all.
    pub slots: u32,
    /// Parking slots that hold undecoded bytes or lend a lifeline.
    pub slots_in_use: u32,
    /// The same by size: 64, 256, 1024 and 4096 bytes.
    pub slots_in_use_by_size: [u32; SLOT_SIZES.len()],
    /// The most slots that were in use at once.
    pub slots_in_use_peak: u32,
    /// Times undecoded bytes were moved from a buffer to a slot.
    pub parked: u64,
    /// Those of them that were moved because the pool asked.
    pub parked_on_demand: u64,
    /// Receivers that were asked to shed.
    pub shed: u64,
    /// Contents moved to a larger buffer.
    pub grown: u64,
    /// Times undecoded bytes were moved from a slot to a buffer.
    pub unparked: u64,
    /// Slots lent to receive without a buffer.
    pub lifelines: u64,
    /// Times undecoded bytes could not be parked because no slot was free.
    pub park_refused: u64,
    /// Times a content was moved to the front of its buffer to make room.
    pub compactions: u64,
    /// Bytes moved by compactions.
    pub compacted_bytes: u64,
    /// Bytes that came in: received, there at `attach_with` or `adopt`, or with a receiver from another thread.
    pub received_bytes: u64,
    /// Bytes the decoders took.
    pub consumed_bytes: u64,
    /// Bytes thrown away: after `Fail`, after the end, at `Close`.
    pub dropped_bytes: u64,
    /// Bytes that left with a buffer taken by the host, or with a receiver that went to another thread. What is buffered
    /// is what came in, less this and the two before.
    pub taken_bytes: u64,
    /// The most bytes of buffers and slots that can be resident, but for rounding up to pages.
    pub memory_bytes: u64,
    /// Of a pool on the memory model.
    pub memory_model: MemoryModelStats,
}

/// What a pool on the memory model ([`receiving`](crate::receiving)) counts beside; zeros for other pools.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemoryModelStats {
    /// Claims that began: receivers that had to wait for room.
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
    /// The longest claim that ended, in nanoseconds of pool time.
    pub longest_claim_ns: u64,
    /// The longest that a claim lasts, in nanoseconds of pool time, whatever other receivers do.
    pub wait_ns_max: u64,
    /// Bytes copied between cells and buffers.
    pub copied_bytes: u64,
}

/// Everything there is to print about a receiver.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReceiverInfo {
    /// The connection's state.
    pub connection: Connection,
    /// What the host is to do now.
    pub pending: Actions,
    /// What the host gave at `attach`.
    pub token: u64,
    /// Class of its requests.
    pub class: u8,
    /// How long it has been queued, in nanoseconds of the pool's clock; 0 if it is not.
    pub wait_age_ns: u64,
    /// Grants that bypassed it while it is queued; 0 if it is not.
    pub bypasses: u64,
    /// How it gets on with the buffer it holds; `None` if it holds none or leases have no deadline.
    pub lease_info: Option<LeaseInfo>,
    /// Why it was shed, in a pool on the memory model.
    pub shed_reason: Option<ShedReason>,
}
