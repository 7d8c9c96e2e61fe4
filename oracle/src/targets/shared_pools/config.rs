//! The configuration of the pools, and how many there are.

use crate::targets::ops::config as config_of_one;
use crate::targets::text::last_number;
use demuxbuf::pool::PoolConfig;
use demuxbuf::scheduler::CLASSES_MAX;

/// An allowed configuration, small enough that a few lines exhaust it, and how many threads.
pub(super) fn config(text: &[u8]) -> (PoolConfig, u32) {
    let mut config = config_of_one(text);
    let shards = 1 + last_number(text, "shards").map_or(1, |number| number.wrapping_sub(1) % 4);
    let spare = last_number(text, "spare").map_or(0, |number| number % 16);
    config.memory_bytes = u64::from(8 * shards + spare) * u64::from(config.buffer_bytes);
    config.classes = config.classes.min(CLASSES_MAX as u8 - 1);
    let last = usize::from(config.classes) - 1;
    config.reserves[..=last].iter_mut().for_each(|reserve| *reserve %= 4);
    config.reserves[last + 1..].fill(0);
    config.class_caps[last] = u32::MAX;
    (config, shards)
}

/// The most receives that a thread may have in flight.
pub(super) fn in_flight_max(config: &PoolConfig, shards: u32) -> u32 {
    let buffers = config.memory_bytes / u64::from(config.buffer_bytes);
    if config.in_flight_max > 0 { config.in_flight_max } else { (buffers as u32 / 8 / shards).max(1) }
}
