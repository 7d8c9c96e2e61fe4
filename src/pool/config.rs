//! The settings of a pool: those of its memory, of the host's own requests, and how its receivers receive.

use super::budget::check_receivers;
use super::counting::check_config;
use super::limit::receivers_reserve;
use crate::config_error::ConfigError;
use crate::connection::Policy;
use crate::memory::{Arena, Protection};
use crate::receiving::{ReceivingConfig, Split};
use crate::scheduler::{NestedRequest, SchedulerConfig};

// The lengths of arrays are numbers: rustc 1.95 fails on a closure that captures a field whose length is a constant.
/// The settings of a pool. Memory and the number of receivers are enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolConfig {
    /// All memory for received bytes and for buffers of the host's own, in bytes: the hard cap. Rounded down to whole
    /// buffers, of which there must be 8, and 3 beside those that are cut for partial frames of up to 64 bytes.
    pub memory_bytes: u64,
    /// The most receivers at once.
    pub receivers_max: u32,
    /// Size of a buffer, in bytes: the largest frame that the decoder needs whole, with its header, rounded up to a
    /// multiple of 64.
    pub buffer_bytes: u32,
    /// While memory is short, how long a frame may take to arrive, in nanoseconds, beside the time that its length
    /// allows (8,192 bytes in a second); at least 8. An eighth of it is the most that one advance of the clock counts
    /// for.
    pub frame_grace_ns: u64,
    /// While memory is short, how long the host may hold bytes that it does not decode, in nanoseconds; at least 8.
    pub blocked_ns: u64,
    /// While others wait for memory, how long a lease of the host's own that was requested with a deadline may be held
    /// before a notice names it, in nanoseconds; at least 1. An eighth of it is the most that one advance of the clock
    /// counts for. `None`: leases have no deadlines.
    pub lease_ns: Option<u64>,
    /// The most receives that are in flight at once, of receivers of one thread whose mode is completion; 0 for an
    /// eighth of the buffers, divided by the threads, and at least 1.
    pub in_flight_max: u32,
    /// The most waits of the host's own requests at once; with 0, what is not granted at once is refused. Receivers
    /// need none.
    pub waiters_max: u32,
    /// Classes of the host's requests, 1 to 8. Class 0 is the most critical; receivers use memory in the last.
    pub classes: u8,
    /// As [`SchedulerConfig::reserves`]. Each has to leave one buffer beside those that receivers always have: the one
    /// to receive into, and those for the smallest cells. That of the last class has to leave two. In a pool
    /// that threads share, each has to leave one beside those of all threads and a spare for each.
    pub reserves: [u32; 8],
    /// As [`SchedulerConfig::class_caps`]. That of the last class is at least what its reserve has to leave.
    pub class_caps: [u32; 8],
    /// As [`SchedulerConfig::class_burst`].
    pub class_burst: u32,
    /// The most tenants at once, beside the one of those that name none.
    pub tenants_max: u32,
    /// As [`SchedulerConfig::tag`].
    pub tag: u8,
    /// How each receiver's host receives, unless its attach says otherwise.
    pub policy: Policy,
    /// [`poll_audit`](super::Pool::poll_audit) may be called: 24 bytes for each receiver.
    pub audit: bool,
    /// What receivers and the host have no use for any more is overwritten with zeros: buffers, cells, and the receive
    /// buffer after each use. Every event takes the slow path.
    pub wipe: bool,
    /// The memory is left out of core dumps. Linux only; elsewhere it is refused.
    pub no_dump: bool,
}

impl PoolConfig {
    /// Buffers of 16,448 bytes; a grace of 1 s; content held for at most 2 s in shortage; one class without reserve or
    /// cap, as many waits as receivers, no tenants; level-triggered, no audit.
    pub fn new(memory_bytes: u64, receivers_max: u32) -> PoolConfig {
        let memory = ReceivingConfig::new(memory_bytes, receivers_max);
        let requests = SchedulerConfig::new(1, receivers_max);
        PoolConfig {
            memory_bytes,
            receivers_max,
            buffer_bytes: memory.buffer_bytes,
            frame_grace_ns: memory.frame_grace_ns,
            blocked_ns: memory.blocked_ns,
            lease_ns: requests.lease_ns,
            in_flight_max: memory.in_flight_max,
            waiters_max: requests.waiters_max,
            classes: requests.classes,
            reserves: requests.reserves,
            class_caps: requests.class_caps,
            class_burst: requests.class_burst,
            tenants_max: requests.tenants_max,
            tag: requests.tag,
            policy: Policy::default(),
            audit: false,
            wipe: false,
            no_dump: false,
        }
    }

    /// How memory is split.
    ///
    /// # Errors
    ///
    /// A setting of the memory is out of range, memory is too small, or the policy of receivers does not go with
    /// counting.
    pub fn split(&self) -> Result<Split, ConfigError> {
        Ok(Split { spares: 0, ..self.split_for(1)? })
    }

    /// As `split`, of a pool that this many threads share, each with receivers, header buffers and a spare of its own.
    pub(crate) fn split_for(&self, threads: u32) -> Result<Split, ConfigError> {
        let split = self.memory().split_for(threads)?;
        check_config(&self.policy)?;
        Ok(Split { reserve: self.reserve(&split), ..split })
    }

    fn reserve(&self, split: &Split) -> u32 {
        // Classes that are not allowed are refused with the other settings of requests.
        let last = usize::from(self.classes).saturating_sub(1);
        let (Some(reserve), Some(&cap)) = (self.reserves.get(last), self.class_caps.get(last)) else {
            return split.reserve;
        };
        receivers_reserve(split, *reserve, cap)
    }

    /// The longest that a receiver waits for memory, in nanoseconds of pool time, whatever others do.
    pub fn wait_ns_max(&self) -> u64 {
        self.memory().wait_ns_max()
    }

    /// Whether jobs that ask for a buffer of the host's own while they hold one can wait for each other without end
    /// ([`SchedulerConfig::check_nested_requests`]). What receivers always have is left out; all else is evicted for a
    /// request in time. Of a pool that threads share, see `SharedPool::check_nested_requests`.
    ///
    /// # Errors
    ///
    /// The configuration is not allowed; a class does not exist; or [`ConfigError::Deadlock`], with the first pair that
    /// can be part of a deadlock.
    pub fn check_nested_requests(&self, nested: &[NestedRequest]) -> Result<(), ConfigError> {
        let split = self.split()?;
        self.check_nested_beside(&split, split.always, nested)
    }

    /// As `check_nested_requests`, where this number of buffers, of those that are split so, never serves a request.
    pub(crate) fn check_nested_beside(
        &self,
        split: &Split,
        never: u32,
        nested: &[NestedRequest],
    ) -> Result<(), ConfigError> {
        let mut requests = self.requests(split.buffers);
        check_receivers(&requests, split)?;
        requests.buffers -= never;
        let cap = &mut requests.class_caps[usize::from(self.classes) - 1];
        *cap = cap.saturating_sub(never);
        requests.check_nested_requests(nested)
    }

    /// Those of the memory.
    pub(crate) fn memory(&self) -> ReceivingConfig {
        let PoolConfig { memory_bytes, receivers_max, buffer_bytes, frame_grace_ns, blocked_ns, in_flight_max, .. } =
            *self;
        ReceivingConfig { memory_bytes, receivers_max, buffer_bytes, frame_grace_ns, blocked_ns, in_flight_max }
    }

    /// The memory of as many buffers as it is split into.
    pub(crate) fn arena(&self, split: &Split) -> Result<Arena, ConfigError> {
        let protection = Protection { wipe: self.wipe, no_dump: self.no_dump };
        Arena::protected(split.buffers, &[self.buffer_bytes, 0, 0, 0], protection)
    }

    /// Those of the scheduler, which decides on this number of buffers.
    pub(crate) fn requests(&self, buffers: u32) -> SchedulerConfig {
        let PoolConfig { classes, reserves, class_caps, class_burst, tenants_max, lease_ns, tag, .. } = *self;
        SchedulerConfig {
            classes,
            reserves,
            class_caps,
            class_burst,
            tenants_max,
            lease_ns,
            tag,
            ..SchedulerConfig::new(buffers, self.waiters_max)
        }
    }
}
