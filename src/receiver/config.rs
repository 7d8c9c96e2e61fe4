//! What a set of receivers is made with, and what is refused.

use crate::connection::Policy;
use crate::memory::{BUFFER_BYTES_DEFAULT, MemoryConfig, MemoryError, SLOT_BYTES};
use crate::pool;
use core::fmt;

/// The settings of a set of receivers, its pool and its memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceiversConfig {
    /// The pool's: buffers, classes, reserves. `waiters_max` counts the receivers and the host's own waits.
    pub pool: pool::PoolConfig,
    /// Size of each buffer, in bytes.
    pub buffer_bytes: u32,
    /// The most receivers at once.
    pub receivers_max: u32,
    /// Parking slots of 64 bytes. With fewer than `receivers_max`, parking may have to wait.
    pub slots: u32,
    /// A receiver that waits for a buffer is lent a slot to receive into meanwhile.
    pub lifeline: bool,
    /// How each receiver's host receives, and what is parked.
    pub policy: Policy,
}

impl ReceiversConfig {
    /// Buffers of 16384 bytes, one class, a slot for each receiver, residues of up to 64 bytes parked, lifeline on,
    /// level-triggered; as many waits for the host as for receivers.
    pub fn new(buffers: u32, receivers_max: u32) -> ReceiversConfig {
        ReceiversConfig {
            pool: pool::PoolConfig::new(buffers, receivers_max.saturating_mul(2)),
            buffer_bytes: BUFFER_BYTES_DEFAULT,
            receivers_max,
            slots: receivers_max,
            lifeline: true,
            policy: Policy { park_bytes: SLOT_BYTES as u16, ..Policy::default() },
        }
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let waiters = u64::from(self.pool.waiters_max);
        let receivers = u64::from(self.receivers_max);
        in_range("receivers_max", receivers, 1, u64::from(u32::MAX - 1))?;
        in_range("pool.waiters_max", waiters, receivers, u64::from(u32::MAX - 1))?;
        in_range("policy.park_bytes", self.policy.park_bytes.into(), 0, SLOT_BYTES as u64)
    }

    pub(super) fn memory(&self) -> MemoryConfig {
        MemoryConfig { buffers: self.pool.buffers, buffer_bytes: self.buffer_bytes, slots: self.slots }
    }
}

/// Why a configuration was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigError {
    /// A field is out of range.
    OutOfRange {
        /// Name of the field.
        field: &'static str,
        /// Its value.
        value: u64,
        /// The least that is allowed.
        min: u64,
        /// The most that is allowed.
        max: u64,
    },
    /// A table could not be reserved.
    NoMemory {
        /// The field that sets its size.
        field: &'static str,
        /// Entries wanted.
        entries: u64,
    },
    /// The pool refused its part.
    Pool(pool::ConfigError),
    /// The memory refused its part.
    Memory(MemoryError),
}

impl ConfigError {
    /// Whether memory was missing, as opposed to a value that is never allowed.
    pub fn is_out_of_memory(&self) -> bool {
        match self {
            ConfigError::OutOfRange { .. } => false,
            ConfigError::NoMemory { .. } => true,
            ConfigError::Pool(error) => matches!(error, pool::ConfigError::AllocationFailed { .. }),
            ConfigError::Memory(error) => matches!(error, MemoryError::AllocationFailed { .. }),
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConfigError::OutOfRange { field, value, min, max } => {
                write!(f, "{field} is {value}; allowed is {min} to {max}")
            }
            ConfigError::NoMemory { field, entries } => {
                write!(f, "{field}: no memory for a table of {entries} entries")
            }
            ConfigError::Pool(error) => error.fmt(f),
            ConfigError::Memory(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for ConfigError {}

impl From<pool::ConfigError> for ConfigError {
    fn from(error: pool::ConfigError) -> ConfigError {
        ConfigError::Pool(error)
    }
}

impl From<MemoryError> for ConfigError {
    fn from(error: MemoryError) -> ConfigError {
        ConfigError::Memory(error)
    }
}

pub(super) fn no_memory(field: &'static str, entries: usize) -> ConfigError {
    ConfigError::NoMemory { field, entries: entries as u64 }
}

fn in_range(field: &'static str, value: u64, min: u64, max: u64) -> Result<(), ConfigError> {
    if (min..=max).contains(&value) { Ok(()) } else { Err(ConfigError::OutOfRange { field, value, min, max }) }
}
