//! The configuration of the pools, and how many there are.

use super::MS;
use crate::targets::ops::allow_counting;
use crate::targets::text::lines;
use demuxbuf::connection::Mode;
use demuxbuf::pool::PoolConfig;

/// An allowed configuration, small enough that a few lines exhaust it, and how many threads.
pub(super) fn config(text: &[u8]) -> (PoolConfig, u32) {
    let (mut shards, mut spare) = (2, 0);
    let (buffer_bytes, frame_grace_ns, blocked_ns, waiters_max) = (256, 80 * MS, 80 * MS, 2);
    let mut config = PoolConfig { buffer_bytes, frame_grace_ns, blocked_ns, waiters_max, ..PoolConfig::new(0, 4) };
    for line in lines(text) {
        let (number, class) = (line.short(0), line.short(0) as usize % 4);
        match line.word {
            "shards" => shards = 1 + number.wrapping_sub(1) % 4,
            "spare" => spare = u64::from(number % 16),
            "bytes" => config.buffer_bytes = 128 + number / 64 % 20 * 64,
            "receivers" => config.receivers_max = 1 + number.wrapping_sub(1) % 12,
            "mode" => config.policy.mode = Mode::try_from((number % 5) as u8).unwrap_or_default(),
            "counting" => config.policy.counting = true,
            "reads-ahead" => config.policy.reads_ahead = true,
            "in-flight" => config.in_flight_max = number % 9,
            "reads" => config.policy.reads_per_wake = number as u8 % 4,
            "grace-ms" => config.frame_grace_ns = (line.number(0) * MS).max(8),
            "blocked-ms" => config.blocked_ns = (line.number(0) * MS).max(8),
            "lease-ms" => config.lease_ns = Some((line.number(0).min(1 << 40) * MS).max(1)),
            "waits" => config.waiters_max = number % 4,
            "classes" => config.classes = 1 + number.wrapping_sub(1) as u8 % 4,
            "reserve" => config.reserves[class] = line.short(1) % 4,
            "cap" => config.class_caps[class] = line.short(1).max(1),
            _ => {}
        }
    }
    for class in usize::from(config.classes)..config.reserves.len() {
        config.reserves[class] = 0;
    }
    let buffers = 8 * u64::from(shards) + spare;
    config.memory_bytes = buffers * u64::from(config.buffer_bytes);
    let last = usize::from(config.classes) - 1;
    config.class_caps[last] = u32::MAX;
    allow_counting(&mut config.policy);
    (config, shards)
}

/// The most receives that a thread may have in flight.
pub(super) fn in_flight_max(config: &PoolConfig, shards: u32) -> u32 {
    let buffers = config.memory_bytes / u64::from(config.buffer_bytes);
    if config.in_flight_max > 0 { config.in_flight_max } else { (buffers as u32 / 8 / shards).max(1) }
}
