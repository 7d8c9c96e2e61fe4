//! The settings, and how memory is split.

use crate::config_error::{Allowed, ConfigError, in_range};
use crate::memory::{Arena, BUFFER_BYTES_DEFAULT, BUFFER_BYTES_MAX};
use crate::scheduler::INDEX_MAX;

/// Size of the smallest cells, in bytes.
pub(crate) const HEADER_BYTES: u32 = 64;
/// The smallest buffer that can be cut.
const BUFFER_BYTES_MIN: u32 = 2 * HEADER_BYTES;
/// A pool has at least this number of buffers.
const BUFFERS_MIN: u32 = 8;
/// Grace and limit of blocked content are at least this, so that an eighth is not 0.
const NS_MIN: u64 = 8;

/// The rate at which a frame has to arrive in shortage, in bytes per second.
const RATE_MIN: u64 = 8192;
pub(super) const NS_PER_S: u128 = 1_000_000_000;

/// The time that this number of bytes may take, in nanoseconds.
pub(super) const fn rate_ns(bytes: u32) -> u64 {
    (bytes as u128 * NS_PER_S / RATE_MIN as u128) as u64
}

/// The settings of a pool's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceivingConfig {
    /// All of the receive memory, in bytes; rounded down to whole buffers.
    pub memory_bytes: u64,
    /// The most receivers at once.
    pub receivers_max: u32,
    /// Size of a buffer, in bytes: the largest frame with its header, rounded up to a multiple of 64.
    pub buffer_bytes: u32,
    /// How long a frame may take to arrive in shortage, beside the time that its length allows, in nanoseconds.
    pub frame_grace_ns: u64,
    /// How long the host may hold content in shortage, in nanoseconds.
    pub blocked_ns: u64,
    /// The most receives that are in flight at once, of receivers of one thread that submit them; 0 for an eighth of
    /// the buffers, divided by the threads, and at least 1.
    pub in_flight_max: u32,
}

/// How memory is split, in buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Split {
    /// All.
    pub buffers: u32,
    /// Those cut into cells of 64 bytes from the beginning.
    pub header_buffers: u32,
    /// Cells of 64 bytes.
    pub header_cells: u32,
    /// Buffers that receivers always have: of each thread the receive buffer, and header buffers.
    pub always: u32,
    /// Buffers that threads hold beside, which no request gets: of a pool that threads share, one for each.
    pub spares: u32,
    /// Buffers that receivers need: those that they always have, one more for each thread, and another one.
    pub in_use: u32,
    /// At most this number is free while a receiver without credit is in shortage.
    pub reserve: u32,
    /// Receivers at most.
    pub receivers_max: u32,
    /// Receives in flight at most, at least 1.
    pub in_flight_max: u32,
    /// Size of a buffer, in bytes.
    pub buffer_bytes: u32,
}

/// The fewest buffers that memory may be limited to where it is split so.
pub(crate) fn threads_least(split: &Split, threads: u32) -> u32 {
    split.in_use.max(threads.saturating_mul(BUFFERS_MIN))
}

impl ReceivingConfig {
    /// Buffers of 16,448 bytes; a grace of 1 s; content held for at most 2 s in shortage.
    pub fn new(memory_bytes: u64, receivers_max: u32) -> ReceivingConfig {
        ReceivingConfig {
            memory_bytes,
            receivers_max,
            buffer_bytes: BUFFER_BYTES_DEFAULT,
            frame_grace_ns: 1_000_000_000,
            blocked_ns: 2_000_000_000,
            in_flight_max: 0,
        }
    }

    /// How memory is split.
    ///
    /// # Errors
    ///
    /// A setting is out of range, or memory is too small.
    pub fn split(&self) -> Result<Split, ConfigError> {
        Ok(Split { spares: 0, ..self.split_for(1)? })
    }

    /// As `split`, of a pool that this many threads share, each with receivers, header buffers and a spare of its own.
    pub(crate) fn split_for(&self, threads: u32) -> Result<Split, ConfigError> {
        let ReceivingConfig { memory_bytes, receivers_max, buffer_bytes, .. } = *self;
        in_range("receivers_max", receivers_max.into(), 1, INDEX_MAX.into())?;
        self.check_times()?;
        if !(BUFFER_BYTES_MIN..=BUFFER_BYTES_MAX).contains(&buffer_bytes) || buffer_bytes % HEADER_BYTES != 0 {
            let allowed = Allowed::BufferBytes { min: BUFFER_BYTES_MIN, max: BUFFER_BYTES_MAX };
            return Err(ConfigError::refused("buffer_bytes", buffer_bytes.into(), allowed));
        }
        let buffers = memory_bytes / u64::from(buffer_bytes);
        let header_cells_max = buffers * u64::from(buffer_bytes) / (8 * u64::from(HEADER_BYTES));
        let header_cells = (header_cells_max / u64::from(threads)).min(receivers_max.into());
        let header_buffers = header_cells.div_ceil(u64::from(buffer_bytes / HEADER_BYTES));
        let threads = u64::from(threads);
        let always = threads * (1 + header_buffers);
        let in_use = always + threads + 1;
        let least = in_use.max(threads * u64::from(BUFFERS_MIN));
        if buffers < least {
            let allowed = Allowed::AtLeast(least * u64::from(buffer_bytes));
            return Err(ConfigError::refused("memory_bytes", memory_bytes, allowed));
        }
        let most = u64::from(INDEX_MAX) * u64::from(buffer_bytes);
        in_range("memory_bytes", memory_bytes, 0, most)?;
        in_range("in_flight_max", self.in_flight_max.into(), 0, buffers)?;
        let in_flight_max = (buffers / 8 / threads) as u32;
        Ok(Split {
            buffers: buffers as u32,
            header_buffers: header_buffers as u32,
            header_cells: header_cells as u32,
            always: always as u32,
            spares: threads as u32,
            in_use: in_use as u32,
            reserve: buffers as u32 / 8,
            receivers_max,
            in_flight_max: if self.in_flight_max > 0 { self.in_flight_max } else { in_flight_max.max(1) },
            buffer_bytes,
        })
    }

    /// Whether the times are in range.
    pub(super) fn check_times(&self) -> Result<(), ConfigError> {
        in_range("frame_grace_ns", self.frame_grace_ns, NS_MIN, u64::MAX / 4)?;
        in_range("blocked_ns", self.blocked_ns, NS_MIN, u64::MAX / 4)
    }

    /// The memory of as many buffers as it is split into.
    pub(crate) fn arena(&self, split: &Split) -> Result<Arena, ConfigError> {
        Arena::new(split.buffers, &[self.buffer_bytes, 0, 0, 0])
    }

    /// The longest that a claim lasts, in nanoseconds of pool time, whatever other receivers do.
    pub fn wait_ns_max(&self) -> u64 {
        let step_ns = self.frame_grace_ns / 8;
        self.frame_grace_ns.saturating_add(rate_ns(self.buffer_bytes)).saturating_add(step_ns)
    }
}
