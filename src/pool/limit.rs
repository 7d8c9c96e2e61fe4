//! A limit of memory below the most that a pool has, which can change while the pool lives.

use crate::config_error::{Allowed, ConfigError};
use crate::receiving::{Split, threads_least};
use crate::scheduler::SchedulerConfig;

/// What a limit may be, and what follows from it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    split: Split,
    /// The fewest buffers.
    least: u32,
    /// Of the class of receivers.
    reserve: u32,
    cap: u32,
}

/// A limit that is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limit {
    /// Buffers that are out of use.
    pub(crate) withheld: u32,
    /// At most this number is free while a receiver without credit is in shortage.
    pub(crate) reserve: u32,
}

impl Limits {
    /// Of a pool with these requests of the host's own, which were checked, and as many threads.
    pub(crate) fn new(requests: &SchedulerConfig, split: &Split, threads: u32) -> Limits {
        let last = usize::from(requests.classes) - 1;
        let needs = (0..=last).map(|at| requests.reserves[at] + needed_beside(split, at == last));
        let least = needs.fold(threads_least(split, threads), u32::max);
        Limits { split: *split, least, reserve: requests.reserves[last], cap: requests.class_caps[last] }
    }

    /// What a limit of this many bytes means.
    pub(crate) fn check(&self, bytes: u64) -> Result<Limit, ConfigError> {
        let Split { buffers, buffer_bytes, .. } = self.split;
        let in_bytes = |buffers: u32| u64::from(buffers) * u64::from(buffer_bytes);
        let (min, max) = (in_bytes(self.least), in_bytes(buffers));
        // One that is not a whole number of buffers is rounded down, as `memory_bytes` is.
        if bytes < min || bytes >= max + u64::from(buffer_bytes) {
            return Err(ConfigError::refused("limit_bytes", bytes, Allowed::Range { min, max }));
        }
        let limited = (bytes / u64::from(buffer_bytes)) as u32;
        let split = Split { buffers: limited, reserve: limited / 8, ..self.split };
        Ok(Limit { withheld: buffers - limited, reserve: receivers_reserve(&split, self.reserve, self.cap) })
    }
}

/// Buffers that a class leaves beside its reserve: those that receivers always have or hold, and one; that of receivers
/// of one thread two.
pub(super) fn needed_beside(split: &Split, is_of_receivers: bool) -> u32 {
    if is_of_receivers { split.in_use } else { split.always + split.spares + 1 }
}

/// The reserve of receivers that have this part of the buffers: a class of their own with this reserve and cap.
/// Something more is free for each thread while nothing is used, or what is off would be so forever.
pub(super) fn receivers_reserve(split: &Split, reserve: u32, cap: u32) -> u32 {
    let reachable = split.buffers.saturating_sub(reserve).min(cap);
    (reachable / 8).min(reachable.saturating_sub(split.always + split.spares.max(1)))
}
