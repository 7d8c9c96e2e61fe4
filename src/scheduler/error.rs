//! Why the pool refuses a call.

use core::fmt;

/// Why a call was refused. Nothing is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SchedulerError {
    /// The class does not exist.
    UnknownClass {
        /// The class that was named.
        class: u8,
        /// Classes in use.
        classes: u8,
    },
    /// The size does not exist.
    UnknownSize {
        /// The size that was named.
        size_index: u8,
    },
    /// The request could never be granted: its reserve, its class's cap or its tenant's cap leave less than it needs.
    TooLarge {
        /// Units needed.
        units: u32,
    },
    /// The request would have to wait, and the table of waits is full.
    WaitersFull {
        /// Entries of the table.
        waiters_max: u32,
    },
    /// The lease was released already, was never granted, or belongs to another pool.
    StaleLease,
    /// The wait was served or cancelled already, never was, or belongs to another pool.
    StaleWait,
    /// The tenant was removed, never was, or belongs to another pool.
    StaleTenant,
    /// The table of tenants is full.
    TenantsFull {
        /// Entries of the table.
        tenants_max: u32,
    },
    /// A field of a tenant's share is out of range.
    TenantConfig {
        /// Name of the field.
        field: &'static str,
        /// Its value.
        value: u32,
        /// The least that is allowed.
        min: u32,
        /// The most that is allowed now.
        max: u32,
    },
}

impl fmt::Display for SchedulerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SchedulerError::UnknownClass { class, classes } => {
                write!(f, "class is {class}; allowed is 0 to {}", classes - 1)
            }
            SchedulerError::UnknownSize { size_index } => {
                write!(f, "size_index is {size_index}; the pool has no buffers of that")
            }
            SchedulerError::TooLarge { units } => {
                write!(f, "{units} units can never be granted: reserve and caps leave less")
            }
            SchedulerError::WaitersFull { waiters_max } => write!(f, "all {waiters_max} waits are in use"),
            SchedulerError::StaleLease => f.write_str("the lease is stale or foreign"),
            SchedulerError::StaleWait => f.write_str("the wait is stale or foreign"),
            SchedulerError::StaleTenant => f.write_str("the tenant is stale or foreign"),
            SchedulerError::TenantsFull { tenants_max } => write!(f, "all {tenants_max} tenants are in use"),
            SchedulerError::TenantConfig { field, value, min, max } => {
                write!(f, "{field} is {value}; allowed is {min} to {max}")
            }
        }
    }
}

impl core::error::Error for SchedulerError {}
