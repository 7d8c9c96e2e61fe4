//! What a pool reports to its host.

use super::ReceiverId;
use crate::connection::{Actions, Connection};
use crate::receiving::ShedReason;
use crate::scheduler::{LeaseId, SchedulerStats, WaitId};

/// A notification that does not answer one of your own calls: a receiver may receive, or is to cancel its receive or to
/// be shed; a request of your own was granted; a lease of your own is overdue; the table of receivers is not full any
/// more; or the pool is drained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Notice {
    /// These actions are to be done for a receiver.
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
    /// A lease of the host's own, requested with a deadline, is held for `lease_ns` since it began or was renewed, and
    /// a request or a receiver waits for memory, or a limit of it is not met. Release it if you can. It comes once,
    /// until the lease is renewed ([`renew_lease`](super::Pool::renew_lease)).
    Overdue {
        /// What the host gave at `request`.
        token: u64,
        /// The buffer, still the host's.
        lease: LeaseId,
    },
    /// The pool takes no new receivers ([`drain`](super::Pool::drain)), and nothing is left: no receiver, not even
    /// one with a receive in flight; no request of the host's own that waits; and no lease, but on a shared pool, which
    /// outlives them. It comes once.
    Drained,
}

/// What is to be done now, and where.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Step<'a> {
    /// What is to be done.
    pub actions: Actions,
    /// With `Recv`: where to receive, exactly as many bytes as may come. Else what is undecoded.
    pub data: &'a mut [u8],
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
    /// Time of the host that the clock of receivers did not count, in nanoseconds.
    pub clock_skipped_ns: u64,
    /// Receivers attached.
    pub receivers: u32,
    /// The most receivers that can be attached at once.
    pub receivers_max: u32,
    /// Receivers that were asked to shed.
    pub shed: u64,
    /// Bytes that came in: received, there at `attach_with` or `adopt`, or with a receiver from another thread.
    pub received_bytes: u64,
    /// Bytes the decoders took.
    pub consumed_bytes: u64,
    /// Bytes thrown away: after `Fail`, after the end, at `Close`.
    pub dropped_bytes: u64,
    /// Bytes that left with a buffer taken by the host, or with a receiver that went to another thread. What is
    /// buffered is what came in, less this and the two before.
    pub taken_bytes: u64,
    /// The most bytes of buffers that can be resident, but for rounding up to pages.
    pub memory_bytes: u64,
    /// What the memory model counts.
    pub memory_model: MemoryModelStats,
}

/// What the memory model ([`receiving`](crate::receiving)) counts.
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
    /// Frames of receivers that count of which the kernel would hold no more, so that they were received as those of
    /// others.
    pub full_kernels: u64,
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
    /// Its class, as the host gave it.
    pub class: u8,
    /// For how long it has waited for room, in nanoseconds of the pool's clock; 0 if it does not.
    pub wait_age_ns: u64,
    /// How many bytes have to be in the kernel before it receives: it waits under that mark. 0 if it does not.
    pub awaited_bytes: u32,
    /// Why it was shed, if it was.
    pub shed_reason: Option<ShedReason>,
}

/// Bytes that came and went. What is buffered is what was received, less the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Bytes received.
    pub received_bytes: u64,
    /// Bytes that decoders consumed.
    pub consumed_bytes: u64,
    /// Bytes thrown away.
    pub dropped_bytes: u64,
    /// Bytes that left with a buffer that the host took.
    pub taken_bytes: u64,
}
