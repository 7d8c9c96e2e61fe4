//! The configuration of the pool.

use super::MS;
use crate::targets::ops::allow_counting;
use crate::targets::text::lines;
use demuxbuf::connection::Mode;
use demuxbuf::pool::PoolConfig;

/// An allowed configuration, small enough that a few lines exhaust it.
pub(super) fn config(text: &[u8]) -> PoolConfig {
    let mut buffers = 8;
    let (buffer_bytes, frame_grace_ns, blocked_ns, waiters_max) = (256, 80 * MS, 80 * MS, 2);
    let mut config = PoolConfig { buffer_bytes, frame_grace_ns, blocked_ns, waiters_max, ..PoolConfig::new(0, 4) };
    for line in lines(text) {
        let (number, class) = (line.short(0), line.short(0) as usize % 4);
        match line.word {
            "buffers" => buffers = 8 + u64::from(number % 16),
            "bytes" => config.buffer_bytes = 128 + number / 64 % 20 * 64,
            "receivers" => config.receivers_max = 1 + number.wrapping_sub(1) % 12,
            "mode" => config.policy.mode = Mode::try_from((number % 5) as u8).unwrap_or_default(),
            "in-flight" => config.in_flight_max = number % 4,
            "reads" => config.policy.reads_per_wake = number as u8 % 4,
            "resume" => config.policy.resume_free_bytes = number,
            "pause-when-blocked" => config.policy.pause_when_blocked = true,
            "counting" => config.policy.counting = true,
            "grace-ms" => config.frame_grace_ns = (line.number(0) * MS).max(8),
            "blocked-ms" => config.blocked_ns = (line.number(0) * MS).max(8),
            "waits" => config.waiters_max = number % 4,
            "tenants" => config.tenants_max = number % 4,
            "classes" => config.classes = 1 + number.wrapping_sub(1) as u8 % 4,
            "reserve" => config.reserves[class] = line.short(1) % 8,
            "cap" => config.class_caps[class] = line.short(1).max(1),
            _ => {}
        }
    }
    for class in usize::from(config.classes)..config.reserves.len() {
        config.reserves[class] = 0;
    }
    allow_counting(&mut config.policy);
    config.memory_bytes = buffers * u64::from(config.buffer_bytes);
    // Receivers have the last class, and need the header buffers and three more.
    let split = config.split().expect("memory can be split");
    let (last, least) = (usize::from(config.classes) - 1, split.header_buffers + 3);
    for (class, reserve) in config.reserves.iter_mut().enumerate() {
        // Another class needs one beside those that receivers always have.
        *reserve = (*reserve).min(split.buffers - if class == last { least } else { least - 1 });
    }
    config.class_caps[last] = config.class_caps[last].max(least);
    config
}
