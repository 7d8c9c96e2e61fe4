//! What a pool is made with, and what is refused.

use crate::config_error::{Allowed, ConfigError, in_range};
use crate::connection::Policy;
use crate::memory::{
    BUFFER_BYTES_DEFAULT, BUFFER_BYTES_MAX, BUFFER_SIZES_MAX, MemoryConfig, Protection, SLOT_BYTES, SLOT_SIZES,
};
use crate::scheduler;

/// The settings of a pool, its scheduler and its memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolConfig {
    /// The scheduler's: buffers, classes, reserves. `waiters_max` counts the receivers and the host's own waits.
    pub scheduler: scheduler::SchedulerConfig,
    /// Size of a buffer of the default size, in bytes: the largest frame that the decoder needs whole, with its header,
    /// rounded up to a multiple of 64. The other sizes follow from `scheduler.sizes`, see
    /// [`set_buffer_sizes`](PoolConfig::set_buffer_sizes).
    pub buffer_bytes: u32,
    /// Which of the sizes a receiver asks for first; it may [`grow`](super::Pool::grow).
    pub first_size_index: u8,
    /// The most receivers at once.
    pub receivers_max: u32,
    /// Parking slots of 64 bytes. With fewer than `receivers_max`, parking may have to wait.
    pub slots: u32,
    /// Parking slots of 256, 1024 and 4096 bytes, for what is parked only when the pool asks. None may be larger than the
    /// first buffer, into which what was parked has to come back.
    pub large_slots: [u32; 3],
    /// Class of requests for the missing bytes of a partial frame, if it is more critical than the receiver's
    /// own; `None` for always the receiver's own. A request that waits when the frame begins changes to it, and is the
    /// last there.
    pub continuation_class: Option<u8>,
    /// A receiver that waits for a buffer is lent a slot to receive into meanwhile.
    pub lifeline: bool,
    /// How each receiver's host receives, and what is parked.
    pub policy: Policy,
    /// [`poll_audit`](super::Pool::poll_audit) may be called: 24 bytes for each receiver.
    pub audit: bool,
    /// Buffers and slots are overwritten with zeros when they are released, and every event takes the slow path.
    pub wipe: bool,
    /// Buffers and slots are left out of core dumps. Linux only; elsewhere it is refused.
    pub no_dump: bool,
}

impl PoolConfig {
    /// Buffers of 16448 bytes, one class, a slot for each receiver, up to 64 undecoded bytes parked, lifeline on,
    /// level-triggered, no audit; as many waits for the host as for receivers.
    pub fn new(buffers: u32, receivers_max: u32) -> PoolConfig {
        PoolConfig {
            scheduler: scheduler::SchedulerConfig::new(buffers, receivers_max.saturating_mul(2)),
            buffer_bytes: BUFFER_BYTES_DEFAULT,
            first_size_index: 0,
            receivers_max,
            slots: receivers_max,
            large_slots: [0; 3],
            continuation_class: None,
            lifeline: true,
            policy: Policy { park_bytes: SLOT_BYTES as u16, ..Policy::default() },
            audit: false,
            wipe: false,
            no_dump: false,
        }
    }

    /// Whether jobs that ask for a buffer of the host's own while they hold one can wait for each other without end
    /// ([`SchedulerConfig::check_nested_requests`](scheduler::SchedulerConfig::check_nested_requests)).
    ///
    /// # Errors
    ///
    /// The configuration is not allowed; a class does not exist; or [`ConfigError::Deadlock`], with the first pair that can be
    /// part of a deadlock.
    pub fn check_nested_requests(&self, nested: &[scheduler::NestedRequest]) -> Result<(), ConfigError> {
        self.check()?;
        self.scheduler.check_nested_requests(nested)
    }

    /// Sets the sizes of buffers, in bytes: the default, the one that `scheduler.buffers` counts, then up to three others, 0
    /// for none.
    ///
    /// # Errors
    ///
    /// No default size, or more than four; nothing is changed. Other limits are checked by
    /// [`Pool::new`](super::Pool::new).
    pub fn set_buffer_sizes(&mut self, sizes_bytes: &[u32]) -> Result<(), ConfigError> {
        in_range("buffer sizes", sizes_bytes.len() as u64, 1, BUFFER_SIZES_MAX as u64)?;
        in_range("buffer_bytes", sizes_bytes[0].into(), 1, u32::MAX.into())?;
        let unit = sizes_bytes.iter().copied().fold(0, greatest_common_divisor);
        self.buffer_bytes = sizes_bytes[0];
        self.scheduler.sizes = [0; BUFFER_SIZES_MAX];
        for (units, bytes) in self.scheduler.sizes.iter_mut().zip(sizes_bytes) {
            *units = bytes / unit;
        }
        Ok(())
    }

    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        self.scheduler.check()?;
        let waiters = u64::from(self.scheduler.waiters_max);
        let receivers = u64::from(self.receivers_max);
        let classes = u64::from(self.scheduler.classes);
        in_range("receivers_max", receivers, 1, u64::from(RECEIVERS_MAX))?;
        // The scheduler has checked that there are not too many.
        in_range("scheduler.waiters_max", waiters, receivers, u64::from(RECEIVERS_MAX))?;
        for (field, value, max) in policy_limits(&self.policy) {
            in_range(field, value.into(), 0, max.into())?;
        }
        in_range("continuation_class", self.continuation_class.unwrap_or(0).into(), 0, classes - 1)?;
        // A receiver whose request could never be granted would wait without end.
        let units = self.scheduler.sizes.get(usize::from(self.first_size_index)).copied().unwrap_or(0);
        in_range("first_size_index", self.first_size_index.into(), 0, BUFFER_SIZES_MAX as u64 - 1)?;
        let default = self.scheduler.sizes[0];
        in_range("buffer_bytes", self.buffer_bytes.into(), default.into(), BUFFER_BYTES_MAX.into())?;
        if self.buffer_bytes % default != 0 {
            let allowed = Allowed::MultipleOf { field: "scheduler.sizes[0]", value: default.into() };
            return Err(ConfigError::refused("buffer_bytes", self.buffer_bytes.into(), allowed));
        }
        self.check_first_request(units)?;
        self.check_slots(units * (self.buffer_bytes / default))
    }

    /// Whether what fits into a slot fits into a first buffer: a slot may be full when the buffer is granted.
    fn check_slots(&self, first_bytes: u32) -> Result<(), ConfigError> {
        let used = self.large_slots.iter().zip(&SLOT_SIZES[1..]).filter(|(count, _)| **count > 0);
        match used.map(|(_, &bytes)| bytes as u32).max() {
            Some(slot_bytes) if slot_bytes > first_bytes => {
                let field = "the bytes of a buffer of first_size_index";
                let allowed = Allowed::AtMost { field, value: first_bytes.into() };
                Err(ConfigError::refused("slot size in large_slots", slot_bytes.into(), allowed))
            }
            _ => Ok(()),
        }
    }

    /// Whether every class can ever be granted a first buffer.
    fn check_first_request(&self, units: u32) -> Result<(), ConfigError> {
        let all = u64::from(self.scheduler.buffers) * u64::from(self.scheduler.sizes[0]);
        for class in 0..usize::from(self.scheduler.classes) {
            let reserve = u64::from(self.scheduler.reserves[class]) * u64::from(self.scheduler.sizes[0]);
            let cap = u64::from(self.scheduler.class_caps[class]).saturating_mul(u64::from(self.scheduler.sizes[0]));
            in_range("scheduler.sizes[first_size_index]", units.into(), 1, (all - reserve).min(cap))?;
        }
        Ok(())
    }

    pub(crate) fn memory(&self) -> MemoryConfig {
        let unit = self.buffer_bytes / self.scheduler.sizes[0];
        let [a, b, c] = self.large_slots;
        MemoryConfig {
            buffers: self.scheduler.buffers,
            buffer_bytes: self.scheduler.sizes.map(|units| units.saturating_mul(unit)),
            slots: [self.slots, a, b, c],
            protection: Protection { wipe: self.wipe, no_dump: self.no_dump },
        }
    }
}

/// The most receivers: the number above and its high bit mean something else in the table.
const RECEIVERS_MAX: u32 = scheduler::INDEX_MAX;

/// The fields of a receiver's policy that the parking slots limit: name, value and the most that is allowed.
pub(super) fn policy_limits(policy: &Policy) -> [(&'static str, u32, u32); 2] {
    [
        ("policy.park_bytes", policy.park_bytes.into(), SLOT_BYTES as u32),
        ("policy.reclaim_bytes", policy.reclaim_bytes.into(), SLOT_SIZES[3] as u32),
    ]
}

fn greatest_common_divisor(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}
