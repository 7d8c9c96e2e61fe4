//! What a pool is made with, and what is refused.

use super::CLASSES_MAX;
use core::fmt;

/// The settings of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub struct PoolConfig {
    /// Buffers: the hard cap. At least 1.
    pub buffers: u32,
    /// The most waits at once. With 0, what is not granted at once is refused.
    pub waiters_max: u32,
    /// Classes in use, 1 to 8. Class 0 is the most critical.
    pub classes: u8,
    /// Class *c* may take a buffer only while more than `reserves[c]` are free.
    pub reserves: [u32; CLASSES_MAX],
    /// The most buffers a class may have out; `u32::MAX` for no cap.
    pub class_caps: [u32; CLASSES_MAX],
    /// Hand-overs to other classes that a waiting class, which could have had them, lets pass before it goes first.
    pub class_burst: u32,
    /// Mixed into the handles, so that those of a pool with another tag are refused.
    pub tag: u8,
}

impl PoolConfig {
    /// One class, no reserve, no cap.
    pub fn new(buffers: u32, waiters_max: u32) -> PoolConfig {
        PoolConfig {
            buffers,
            waiters_max,
            classes: 1,
            reserves: [0; CLASSES_MAX],
            class_caps: [u32::MAX; CLASSES_MAX],
            class_burst: 4,
            tag: 0,
        }
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let classes = usize::from(self.classes);
        in_range("buffers", None, self.buffers, 1, super::INDEX_MAX)?;
        in_range("waiters_max", None, self.waiters_max, 0, super::INDEX_MAX)?;
        in_range("classes", None, self.classes.into(), 1, CLASSES_MAX as u32)?;
        in_range("class_burst", None, self.class_burst, 1, u32::MAX)?;
        for class in 0..CLASSES_MAX {
            // A reserve of all buffers would lock the class out for ever; one of a class not in use means nothing.
            let reserve_max = if class < classes { self.buffers - 1 } else { 0 };
            in_range("reserves", Some(class), self.reserves[class], 0, reserve_max)?;
            in_range("class_caps", Some(class), self.class_caps[class], 1, u32::MAX)?;
        }
        Ok(())
    }
}

/// Why a configuration was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigError {
    /// A field is out of range.
    OutOfRange {
        /// Name of the field.
        field: &'static str,
        /// Class, for a field with a value for each.
        class: Option<usize>,
        /// Its value.
        value: u32,
        /// The least that is allowed.
        min: u32,
        /// The most that is allowed.
        max: u32,
    },
    /// A table could not be reserved; what had been is given back.
    AllocationFailed {
        /// The field that sets its size.
        field: &'static str,
        /// Entries wanted.
        entries: u32,
    },
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConfigError::OutOfRange { field, class: None, value, min, max } => {
                write!(f, "{field} is {value}; allowed is {min} to {max}")
            }
            ConfigError::OutOfRange { field, class: Some(class), value, min, max } => {
                write!(f, "{field}[{class}] is {value}; allowed is {min} to {max}")
            }
            ConfigError::AllocationFailed { field, entries } => {
                write!(f, "{field}: no memory for a table of {entries} entries")
            }
        }
    }
}

impl core::error::Error for ConfigError {}

fn in_range(field: &'static str, class: Option<usize>, value: u32, min: u32, max: u32) -> Result<(), ConfigError> {
    if (min..=max).contains(&value) { Ok(()) } else { Err(ConfigError::OutOfRange { field, class, value, min, max }) }
}
