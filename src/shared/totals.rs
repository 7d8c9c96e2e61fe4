//! What each tenant holds over all shards, in numbers that no lock guards.

use super::sync::{AtomicBool, AtomicU64, Ordering, fence};
use crate::alloc_util::reserve;
use crate::scheduler::{ConfigError, Load};
use alloc::boxed::Box;
use core::sync::atomic::AtomicU32;

/// One tenant, on a cache line of its own. Written where a cell above 64 bytes or a lease in its name comes or goes.
#[repr(align(64))]
#[derive(Debug)]
pub(super) struct Total {
    kept_bytes: AtomicU64,
    pub(super) is_tracked: AtomicBool,
    /// As the scheduler has it. These decide nothing that has to be in step with other threads.
    pub(super) leased: AtomicU32,
    pub(super) weight: AtomicU32,
    pub(super) guaranteed: AtomicU32,
    pub(super) cap: AtomicU32,
}

impl Total {
    fn new() -> Total {
        Total {
            kept_bytes: AtomicU64::new(0),
            is_tracked: AtomicBool::new(false),
            leased: AtomicU32::new(0),
            weight: AtomicU32::new(1),
            guaranteed: AtomicU32::new(0),
            cap: AtomicU32::new(u32::MAX),
        }
    }
}

/// What each tenant holds, the default one first. Empty where receivers have no tenants.
#[derive(Debug)]
pub(super) struct Totals {
    pub(super) totals: Box<[Total]>,
    /// Bytes of a buffer.
    pub(super) unit_bytes: u32,
}

impl Totals {
    /// For as many tenants beside the default one; `unit_bytes` is 0 where no receivers are.
    pub(super) fn new(tenants_max: u32, unit_bytes: u32) -> Result<Totals, ConfigError> {
        let count = if unit_bytes > 0 && tenants_max > 0 { tenants_max + 1 } else { 0 };
        let mut totals = reserve("tenants_max", count)?;
        totals.extend((0..count).map(|_| Total::new()));
        Ok(Totals { totals: totals.into_boxed_slice(), unit_bytes })
    }

    /// Whether there may be receivers with tenants.
    pub(super) fn are_used(&self) -> bool {
        !self.totals.is_empty()
    }

    pub(super) fn kept_bytes(&self, tenant: u32) -> u64 {
        self.totals[tenant as usize].kept_bytes.load(Ordering::Relaxed)
    }

    /// What a tenant holds and may hold, now or a moment ago.
    pub(super) fn load(&self, tenant: u32) -> Load {
        let Total { kept_bytes, leased, weight, guaranteed, cap, .. } = &self.totals[tenant as usize];
        let leased_bytes = u64::from(leased.load(Ordering::Relaxed)) * u64::from(self.unit_bytes);
        Load {
            held_bytes: kept_bytes.load(Ordering::Relaxed) + leased_bytes,
            weight: weight.load(Ordering::Relaxed),
            guaranteed: guaranteed.load(Ordering::Relaxed),
            cap: cap.load(Ordering::Relaxed),
        }
    }

    /// Receivers keep this much less, and this much more. Whether the scheduler has to know at once.
    pub(super) fn keep(&self, tenant: u32, less_bytes: u64, more_bytes: u64) -> bool {
        let Total { kept_bytes, is_tracked, .. } = &self.totals[tenant as usize];
        kept_bytes.fetch_add(more_bytes.wrapping_sub(less_bytes), Ordering::Relaxed);
        fence(Ordering::SeqCst);
        is_tracked.load(Ordering::Relaxed)
    }

    pub(super) fn track(&self, tenant: u32, is_tracked: bool) {
        self.totals[tenant as usize].is_tracked.store(is_tracked, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }
}
