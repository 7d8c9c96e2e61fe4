//! Why a configuration was refused, at every layer.

use core::fmt;

/// Why a configuration was refused. What was reserved before is freed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigError {
    /// The value of a field is not allowed.
    Refused {
        /// Name of the field.
        field: &'static str,
        /// Which element, for a field with several.
        index: Option<usize>,
        /// Its value.
        value: u64,
        /// What is allowed instead.
        allowed: Allowed,
    },
    /// Jobs that hold a buffer and ask for another one can wait for each other without end.
    Deadlock {
        /// Class of what they hold.
        holds: u8,
        /// Class of what they ask for.
        asks: u8,
        /// Units that they leave free.
        free_units: u32,
        /// Units that have to be free for what they ask for.
        needed_units: u32,
    },
    /// The allocator has no such memory.
    OutOfMemory {
        /// The field that sets the size.
        field: &'static str,
        /// Bytes wanted.
        bytes: u64,
    },
}

/// What a field of a configuration may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Allowed {
    /// Any number in this range.
    Range {
        /// The least.
        min: u64,
        /// The most.
        max: u64,
    },
    /// At least this number.
    AtLeast(u64),
    /// At most what another field amounts to.
    AtMost {
        /// The other field.
        field: &'static str,
        /// What it amounts to.
        value: u64,
    },
    /// No value, while another field is not set: it is never, in C `UINT64_MAX`.
    OnlyWith {
        /// The other field.
        field: &'static str,
    },
    /// A multiple of another field.
    MultipleOf {
        /// The other field.
        field: &'static str,
        /// Its value.
        value: u64,
    },
    /// The size of a buffer: a multiple of 64 in this range.
    BufferBytes {
        /// The least.
        min: u32,
        /// The most.
        max: u32,
    },
    /// Buffers whose units, of all sizes, 32 bits can count.
    CountableUnits {
        /// Units of a buffer of the default size.
        units: u32,
    },
    /// What the machine can address, all sizes together.
    Addressable,
    /// Nothing but 0 with another setting.
    ZeroWith {
        /// The other setting.
        with: &'static str,
    },
    /// Nothing but 0: this system cannot do it.
    Unsupported,
}

impl ConfigError {
    /// Whether memory was missing, as opposed to a value that is never allowed.
    pub const fn is_out_of_memory(&self) -> bool {
        matches!(self, ConfigError::OutOfMemory { .. })
    }

    /// A value outside of its range.
    pub const fn out_of_range(field: &'static str, value: u64, min: u64, max: u64) -> ConfigError {
        ConfigError::refused(field, value, Allowed::Range { min, max })
    }

    pub(crate) const fn refused(field: &'static str, value: u64, allowed: Allowed) -> ConfigError {
        ConfigError::Refused { field, index: None, value, allowed }
    }

    /// No memory for this many rows of `T`.
    pub(crate) const fn out_of_memory<T>(field: &'static str, rows: usize) -> ConfigError {
        ConfigError::OutOfMemory { field, bytes: (rows as u64).saturating_mul(size_of::<T>() as u64) }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConfigError::Refused { field, index: None, value, allowed } => write!(f, "{field} is {value}{allowed}"),
            ConfigError::Refused { field, index: Some(index), value, allowed } => {
                write!(f, "{field}[{index}] is {value}{allowed}")
            }
            ConfigError::Deadlock { holds, asks, free_units, needed_units } => write!(
                f,
                "jobs that hold class {holds} and ask for class {asks} can wait without end: they can leave \
                 {free_units} units free, and class {asks} needs {needed_units}"
            ),
            ConfigError::OutOfMemory { field, bytes } => write!(f, "{field}: no memory for {bytes} bytes"),
        }
    }
}

/// The second half of the sentence, from behind the value.
impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Allowed::Range { min, max } => write!(f, "; allowed is {min} to {max}"),
            Allowed::AtLeast(least) => write!(f, "; allowed is {least} or more"),
            Allowed::AtMost { field, value } => write!(f, "; allowed is 0 to {field}, {value}"),
            Allowed::OnlyWith { field } => write!(f, "; allowed is never, as {field} is"),
            Allowed::MultipleOf { field, value } => write!(f, "; allowed is a multiple of {field}, {value}"),
            Allowed::BufferBytes { min, max } => write!(f, "; allowed is a multiple of 64 from {min} to {max}"),
            Allowed::CountableUnits { units } => {
                write!(f, " of sizes[0] = {units} units; allowed is what 32 bits can count, of all sizes")
            }
            Allowed::ZeroWith { with } => write!(f, "; allowed is 0 with {with}"),
            Allowed::Unsupported => f.write_str("; allowed is 0, since this system cannot do it"),
            Allowed::Addressable => {
                write!(f, "; allowed is what fits into {} bytes, all sizes together", isize::MAX)
            }
        }
    }
}

impl core::error::Error for ConfigError {}

/// Refuses a value outside of this range.
pub(crate) const fn in_range(field: &'static str, value: u64, min: u64, max: u64) -> Result<(), ConfigError> {
    if min <= value && value <= max { Ok(()) } else { Err(ConfigError::out_of_range(field, value, min, max)) }
}
