//! The configuration of a pool, and what is said of a wrong one.

use super::connection::demuxbuf_policy;
use super::guarded_or;
use super::status::*;
use super::tag::Tag;
use core::ffi::c_char;
use core::fmt::Write;
use demuxbuf::connection::Policy;
use demuxbuf::pool::{ConfigError, PoolConfig};
use demuxbuf::scheduler::{CLASSES_MAX, SIZES_MAX, SchedulerConfig};

/// Classes of requests there can be.
pub const DEMUXBUF_CLASSES_MAX: usize = 8;
const _: () = assert!(DEMUXBUF_CLASSES_MAX == CLASSES_MAX);

/// Sizes of buffers there can be beside the default.
pub const DEMUXBUF_OTHER_SIZES_MAX: usize = 3;
const _: () = assert!(DEMUXBUF_OTHER_SIZES_MAX == SIZES_MAX - 1);
/// In place of a class: none.
pub const DEMUXBUF_NO_CLASS: u32 = u32::MAX;

/// The settings of a pool. Fill it with `demuxbuf_pool_config_init`, then change what you want otherwise.
#[allow(non_camel_case_types)]
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct demuxbuf_pool_config {
    /// `sizeof(demuxbuf_pool_config)`.
    pub struct_size: u32,
    /// Buffers in the pool: the hard cap.
    pub buffers: u32,
    /// Size of each, in bytes: the largest frame that the decoder needs whole, with its header, rounded up to a multiple of
    /// 64; from 64 to 16777216. This is size 0, the default. For HTTP/2 frames of the size that every peer may send, 16384
    /// and 9, it is 16448.
    pub buffer_bytes: u32,
    /// Sizes 1 to 3: further sizes of buffers out of the same budget of bytes; 0 for no such size.
    pub other_buffer_bytes: [u32; DEMUXBUF_OTHER_SIZES_MAX],
    /// Which size a receiver asks for first.
    pub first_size_index: u32,
    /// The most receivers at once.
    pub receivers_max: u32,
    /// The most waits at once: one for each of `receivers_max`, and what is above is for the host's own requests.
    pub waiters_max: u32,
    /// Parking slots of 64 bytes.
    pub slots: u32,
    /// Parking slots of 256, 1024 and 4096 bytes, for what is parked only while others wait. None may be larger than the
    /// first buffer, into which what was parked has to come back.
    pub large_slots: [u32; 3],
    /// The most tenants at once.
    pub tenants_max: u32,
    /// Class of requests for the rest of a frame that has begun to arrive, if it is more critical than the receiver's
    /// own; `DEMUXBUF_NO_CLASS` for always the receiver's own. A request that waits when the frame begins changes to it,
    /// and is the last there.
    pub continuation_class: u32,
    /// Classes in use, from 1 to 8; class 0 is the most critical.
    pub classes: u32,
    /// Grants of other classes that a class lets pass before it goes first; at least 1.
    pub class_burst: u32,
    /// A class may take a buffer only while more than its reserve are free.
    pub reserves: [u32; DEMUXBUF_CLASSES_MAX],
    /// The most buffers a class may hold; UINT32_MAX for no cap.
    pub class_caps: [u32; DEMUXBUF_CLASSES_MAX],
    /// Not 0: a receiver that waits is lent a parking slot to receive into meanwhile.
    pub lifeline: u32,
    /// While somebody waits, a receiver without progress for so long is parked if it can be, in nanoseconds: 0 means the
    /// same as 1; UINT64_MAX for not before `lease_ns`.
    pub park_ns: u64,
    /// While somebody waits, a receiver without progress for so long is to be shed, in nanoseconds: at least 1; UINT64_MAX: never.
    /// What the host itself blocks has twice as long, and begins anew when it is unblocked. An eighth of it is the most
    /// that one advance of the clock counts for.
    pub lease_ns: u64,
    /// How receivers receive and what is parked (at most 64 bytes unasked, 4096 when asked).
    pub policy: demuxbuf_policy,
}

/// Fills a configuration: `buffers` of 16448 bytes, `receivers_max` receivers with a parking slot each and as many
/// waits again for the host, one class, residues of up to 64 bytes parked, lifeline on, level-triggered.
///
/// Thread rule: any thread. Returns `DEMUXBUF_OK`; `DEMUXBUF_ERR_NULL`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_pool_config_init(
    config: *mut demuxbuf_pool_config,
    buffers: u32,
    receivers_max: u32,
) -> i32 {
    guarded_or(DEMUXBUF_ERR_POISONED, || {
        // SAFETY: NULL or valid, as the module asks.
        let Some(config) = (unsafe { config.as_mut() }) else {
            return DEMUXBUF_ERR_NULL;
        };
        let default = PoolConfig::new(buffers, receivers_max);
        *config = demuxbuf_pool_config {
            struct_size: size_of::<demuxbuf_pool_config>() as u32,
            buffers,
            buffer_bytes: default.buffer_bytes,
            other_buffer_bytes: [0; DEMUXBUF_OTHER_SIZES_MAX],
            first_size_index: default.first_size_index.into(),
            receivers_max,
            waiters_max: default.scheduler.waiters_max,
            slots: default.slots,
            large_slots: default.large_slots,
            tenants_max: default.scheduler.tenants_max,
            continuation_class: DEMUXBUF_NO_CLASS,
            classes: default.scheduler.classes.into(),
            class_burst: default.scheduler.class_burst,
            reserves: default.scheduler.reserves,
            class_caps: default.scheduler.class_caps,
            lifeline: default.lifeline.into(),
            park_ns: default.scheduler.park_ns,
            lease_ns: default.scheduler.lease_ns,
            policy: demuxbuf_policy::from_policy(default.policy),
        };
        DEMUXBUF_OK
    })
}

/// The configuration as the core has it, for a pool with this tag.
pub(super) fn to_rust(config: &demuxbuf_pool_config, tag: &Tag) -> Result<PoolConfig, ConfigError> {
    let wrong = |field, value: u32, min: u64, max: u64| ConfigError::out_of_range(field, value.into(), min, max);
    let size = size_of::<demuxbuf_pool_config>() as u64;
    if u64::from(config.struct_size) != size {
        return Err(wrong("struct_size", config.struct_size, size, size));
    }
    let size = size_of::<demuxbuf_policy>() as u64;
    if u64::from(config.policy.struct_size) != size {
        return Err(wrong("policy.struct_size", config.policy.struct_size, size, size));
    }
    let policy: Policy =
        config.policy.to_policy().ok_or_else(|| wrong("policy.mode", config.policy.mode.into(), 0, 4))?;
    let classes = u8::try_from(config.classes).map_err(|_| wrong("classes", config.classes, 1, 8))?;
    let last = |count: usize| count as u64 - 1;
    let first_size_index = u8::try_from(config.first_size_index)
        .map_err(|_| wrong("first_size_index", config.first_size_index, 0, last(SIZES_MAX)))?;
    let continuation_class = match config.continuation_class {
        DEMUXBUF_NO_CLASS => None,
        class => {
            let allowed = u8::try_from(class);
            Some(allowed.map_err(|_| wrong("continuation_class", class, 0, last(CLASSES_MAX)))?)
        }
    };
    let mut pool = PoolConfig {
        scheduler: SchedulerConfig {
            classes,
            reserves: config.reserves,
            class_caps: config.class_caps,
            class_burst: config.class_burst,
            tenants_max: config.tenants_max,
            park_ns: config.park_ns,
            lease_ns: config.lease_ns,
            tag: tag.low(),
            ..SchedulerConfig::new(config.buffers, config.waiters_max)
        },
        buffer_bytes: config.buffer_bytes,
        first_size_index,
        receivers_max: config.receivers_max,
        slots: config.slots,
        large_slots: config.large_slots,
        continuation_class,
        lifeline: config.lifeline != 0,
        policy,
    };
    if config.other_buffer_bytes.iter().any(|&bytes| bytes != 0) {
        // A size of 0 in the middle keeps the numbers of those behind it.
        let [a, b, c] = config.other_buffer_bytes;
        pool.set_buffer_sizes(&[config.buffer_bytes, a, b, c])?;
    }
    Ok(pool)
}

/// The sentence of a refused configuration, cut at the end of the host's array.
pub(super) struct Message {
    at: *mut u8,
    left: usize,
}

impl Message {
    /// For the host's array of so many bytes; NULL for a host that does not want to know.
    pub(super) fn new(at: *mut c_char, bytes: usize) -> Message {
        Message { at: at.cast(), left: if at.is_null() { 0 } else { bytes } }
    }
}

impl Write for Message {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        let count = text.len().min(self.left.saturating_sub(1));
        if self.left == 0 {
            return Ok(());
        }
        // SAFETY: `left` bytes at `at` are the host's array, and `count + 1` is at most that.
        unsafe {
            core::ptr::copy_nonoverlapping(text.as_ptr(), self.at, count);
            self.at = self.at.add(count);
            self.at.write(0);
        }
        self.left -= count;
        Ok(())
    }
}
