//! What a pool is made with, and what is refused.

use super::sizes;
use crate::config_error::{Allowed, ConfigError, in_range};

/// The most classes there can be.
pub const CLASSES_MAX: usize = 8;
/// The most sizes of buffers there can be.
pub const SIZES_MAX: usize = 4;

/// The most entries of a table. Tables above this one use the high bit of an index, and handles the bits of [`SALT`].
pub(crate) const INDEX_MAX: u32 = (1 << 29) - 1;
/// The bits of a handle that identify neither the entry nor the shard.
pub const SALT: u32 = 3 << 30;
/// The most units a buffer may have, so that no sum of turns overflows.
const SIZE_UNITS_MAX: u32 = 1 << 18;

/// The settings of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub struct SchedulerConfig {
    /// Buffers: the hard cap. At least 1.
    pub buffers: u32,
    /// The most waits at once. With 0, what is not granted at once is refused.
    pub waiters_max: u32,
    /// Classes in use, 1 to 8. Class 0 is the most critical.
    pub classes: u8,
    /// Class *c* is eligible only while more than `reserves[c]` buffers are free, counted in buffers of the default
    /// size.
    pub reserves: [u32; CLASSES_MAX],
    /// The most buffers of the default size a class may have outstanding; `u32::MAX` for no cap.
    pub class_caps: [u32; CLASSES_MAX],
    /// The limit of two counts. A class with an eligible waiter goes first after this many hand-offs to other classes.
    /// Inside a class, one grant goes to the other tenants after this many grants to tenants below their guarantee.
    pub class_burst: u32,
    /// How much a buffer of each size takes of the budget, in units of their greatest common size; 0 for no such size.
    /// Size 0 is the default, the one that `buffers` counts. One size alone is `[1, 0, 0, 0]`.
    pub sizes: [u32; SIZES_MAX],
    /// The most tenants at once, beside the one of requests that name none.
    pub tenants_max: u32,
    /// Time without progress after which a holder is asked to park while others wait, in nanoseconds; at most
    /// `lease_ns`, and `None` without it. 0 is treated as 1, because no holder is asked at the time of its grant.
    /// `None`: not before `lease_ns`.
    pub park_ns: Option<u64>,
    /// Time without progress after which a holder is to be shed while others wait, in nanoseconds: at least 1. `None`:
    /// never, and leases have no deadlines. No number means never: `Some(u64::MAX)` is a lease of 584 years. A holder
    /// that the host itself blocks has twice this time. One advance of the clock counts for at most an eighth of it.
    pub lease_ns: Option<u64>,
    /// Mixed into the handles, so that those of a pool with another tag are refused. Give pools that exist at the same
    /// time different tags: two with the same take each other's handles for their own. (The pools of the C API get tags
    /// that differ by themselves.)
    pub tag: u8,
}

impl SchedulerConfig {
    /// One class, one size, no reserve, no cap, no tenants, no deadlines.
    pub fn new(buffers: u32, waiters_max: u32) -> SchedulerConfig {
        SchedulerConfig {
            buffers,
            waiters_max,
            classes: 1,
            reserves: [0; CLASSES_MAX],
            class_caps: [u32::MAX; CLASSES_MAX],
            class_burst: 4,
            sizes: [1, 0, 0, 0],
            tenants_max: 0,
            park_ns: None,
            lease_ns: None,
            tag: 0,
        }
    }

    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let classes = usize::from(self.classes);
        in_range("buffers", self.buffers.into(), 1, INDEX_MAX.into())?;
        in_range("waiters_max", self.waiters_max.into(), 0, INDEX_MAX.into())?;
        in_range("classes", self.classes.into(), 1, CLASSES_MAX as u64)?;
        in_range("class_burst", self.class_burst.into(), 1, u32::MAX.into())?;
        for class in 0..CLASSES_MAX {
            // A reserve of all buffers would lock the class out for good. A class that is not in use has no reserve.
            let reserve_max = if class < classes { self.buffers - 1 } else { 0 };
            in_range_at("reserves", class, self.reserves[class], 0, reserve_max)?;
            in_range_at("class_caps", class, self.class_caps[class], 1, u32::MAX)?;
        }
        for size in 0..SIZES_MAX {
            in_range_at("sizes", size, self.sizes[size], u32::from(size == 0), SIZE_UNITS_MAX)?;
        }
        let allowed = Allowed::CountableUnits { units: self.sizes[0] };
        let too_many = ConfigError::refused("buffers", self.buffers.into(), allowed);
        let units = self.buffers.checked_mul(self.sizes[0]).ok_or(too_many)?;
        sizes::entries(units, &self.sizes).filter(|&entries| entries <= INDEX_MAX).ok_or(too_many)?;
        // Each tenant has a flow for each class.
        in_range("tenants_max", self.tenants_max.into(), 0, u64::from(INDEX_MAX) / CLASSES_MAX as u64 - 1)?;
        self.check_deadlines()
    }

    fn check_deadlines(&self) -> Result<(), ConfigError> {
        match (self.park_ns, self.lease_ns) {
            (_, Some(0)) => Err(ConfigError::refused("lease_ns", 0, Allowed::AtLeast(1))),
            (Some(park_ns), Some(lease_ns)) if park_ns > lease_ns => {
                let allowed = Allowed::AtMost { field: "lease_ns", value: lease_ns };
                Err(ConfigError::refused("park_ns", park_ns, allowed))
            }
            // Leases have no deadlines then, so no holder would be asked.
            (Some(park_ns), None) => {
                Err(ConfigError::refused("park_ns", park_ns, Allowed::OnlyWith { field: "lease_ns" }))
            }
            (None, _) | (Some(_), Some(_)) => Ok(()),
        }
    }

    /// The budget, in units.
    pub(super) fn units(&self) -> u32 {
        self.buffers * self.sizes[0]
    }

    /// A count of buffers of the default size, in units; a count above all is no limit.
    pub(super) fn in_units(&self, buffers: u32) -> u32 {
        buffers.saturating_mul(self.sizes[0])
    }
}

/// Refuses an element of an array outside of this range.
fn in_range_at(field: &'static str, index: usize, value: u32, min: u32, max: u32) -> Result<(), ConfigError> {
    let allowed = Allowed::Range { min: min.into(), max: max.into() };
    let refused = ConfigError::Refused { field, index: Some(index), value: value.into(), allowed };
    if (min..=max).contains(&value) { Ok(()) } else { Err(refused) }
}
