//! The settings of pools whose receivers hold buffers and parking slots, such as those that threads share.

use super::guard::guarded_or;
use super::memory_config::DEMUXBUF_CLASSES_MAX;
use super::never;
use super::out::{StructError, StructOut, growable, read_struct};
use super::policy::mode_of;
use super::refusal::Refusal;
use super::status::*;
use core::mem::offset_of;
use demuxbuf::connection::Policy;
use demuxbuf::pool::{ConfigError, PoolConfig};
use demuxbuf::scheduler::{CLASSES_MAX, SIZES_MAX, SchedulerConfig};

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
    /// Size of each, in bytes: the largest frame that the decoder needs whole, with its header, rounded up to a
    /// multiple of 64; from 64 to 16777216. This is size 0, the default. For HTTP/2 frames of the size that every
    /// peer may send, 16384 and 9, it is 16448.
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
    /// Parking slots of 256, 1024 and 4096 bytes, for what is parked only while others wait. None may be larger than
    /// the first buffer, into which what was parked has to come back.
    pub large_slots: [u32; 3],
    /// The most tenants at once.
    pub tenants_max: u32,
    /// Class of requests for the missing bytes of a partial frame, if it is more critical than the receiver's
    /// own; `DEMUXBUF_NO_CLASS` for always the receiver's own. A request that waits when the frame begins changes to
    /// it, and is the last there.
    pub continuation_class: u32,
    /// Classes in use, from 1 to 8; class 0 is the most critical.
    pub classes: u32,
    /// Grants of other classes that a class lets pass before it goes first; at least 1.
    pub class_burst: u32,
    /// A class is eligible only while more buffers than its reserve are free.
    pub reserves: [u32; DEMUXBUF_CLASSES_MAX],
    /// The most buffers a class may hold; UINT32_MAX for no cap.
    pub class_caps: [u32; DEMUXBUF_CLASSES_MAX],
    /// Not 0: a receiver that waits is lent a parking slot to receive into meanwhile.
    pub lifeline: u32,
    /// Idle time in nanoseconds after which a holder is parked while others wait; at most `lease_ns`. 0 is treated as
    /// 1; UINT64_MAX: not before `lease_ns`, and the only value allowed if that is UINT64_MAX.
    pub park_ns: u64,
    /// Idle time in nanoseconds after which a holder is to be shed while others wait: at least 1; UINT64_MAX: never.
    /// What the host itself blocks has twice as long, and begins anew when it is unblocked. An eighth of it is the
    /// most that one advance of the clock counts for.
    pub lease_ns: u64,
    /// As in `demuxbuf_policy`, of the receivers.
    pub resume_free_bytes: u32,
    /// As in `demuxbuf_policy`; at most 64.
    pub park_bytes: u16,
    /// As in `demuxbuf_policy`; at most 4096.
    pub reclaim_bytes: u16,
    /// One of `DEMUXBUF_MODE_*`.
    pub mode: u8,
    /// As in `demuxbuf_policy`.
    pub reads_per_wake: u8,
    /// As in `demuxbuf_policy`.
    pub pause_when_blocked: u8,
    /// As in `demuxbuf_policy`.
    pub reads_ahead: u8,
    /// Not 0: `demuxbuf_pool_poll_audit` may be called; 24 bytes for each of `receivers_max`.
    pub audit: u8,
    /// Not 0: buffers and slots are overwritten with zeros when they are released. Costs the size of each, and every event
    /// takes the slow path.
    pub wipe: u8,
    /// Not 0: buffers and slots are left out of core dumps (madvise(2), `MADV_DONTDUMP`). Linux only; refused elsewhere.
    pub no_dump: u8,
    /// Must be 0.
    pub reserved: u8,
}

growable!(demuxbuf_pool_config, 168);

impl demuxbuf_pool_config {
    /// The configuration that the core takes for these counts.
    fn new(buffers: u32, receivers_max: u32) -> demuxbuf_pool_config {
        let default = PoolConfig::new(buffers, receivers_max);
        demuxbuf_pool_config {
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
            park_ns: never::to_c(default.scheduler.park_ns),
            lease_ns: never::to_c(default.scheduler.lease_ns),
            resume_free_bytes: default.policy.resume_free_bytes,
            park_bytes: default.policy.park_bytes,
            reclaim_bytes: default.policy.reclaim_bytes,
            mode: default.policy.mode as u8,
            reads_per_wake: default.policy.reads_per_wake,
            pause_when_blocked: default.policy.pause_when_blocked.into(),
            reads_ahead: default.policy.reads_ahead.into(),
            audit: default.audit.into(),
            wipe: default.wipe.into(),
            no_dump: default.no_dump.into(),
            reserved: 0,
        }
    }
}

/// Fills a configuration: `buffers` of 16448 bytes, `receivers_max` receivers with a parking slot each and as many
/// waits again for the host, one class, partial frames of up to 64 bytes parked, lifeline on, level-triggered. Set
/// `struct_size` before the call.
///
/// Thread rule: any thread. Returns `DEMUXBUF_OK`; `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_STRUCT_SIZE`, and nothing is
/// written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_pool_config_init(
    config: *mut demuxbuf_pool_config,
    buffers: u32,
    receivers_max: u32,
) -> i32 {
    guarded_or(DEMUXBUF_ERR_POISONED, || {
        // SAFETY: as the module asks.
        match unsafe { StructOut::new(config) } {
            Ok(config) => {
                config.write(demuxbuf_pool_config::new(buffers, receivers_max));
                DEMUXBUF_OK
            }
            Err(status) => status,
        }
    })
}

/// The host's configuration as the core has it, for a pool with this tag.
///
/// # Safety
///
/// `config` is NULL, or valid for reads of as many bytes as its `struct_size` has.
pub(super) unsafe fn read(config: *const demuxbuf_pool_config, tag: u8) -> Result<PoolConfig, Refusal> {
    // What a short configuration lacks has the defaults for its own counts, which every version has.
    // SAFETY: as this function asks.
    let counts = unsafe { read_struct(config, demuxbuf_pool_config::default())? };
    let default = demuxbuf_pool_config::new(counts.buffers, counts.receivers_max);
    // SAFETY: as this function asks.
    let config = unsafe { read_struct(config, default)? };
    if config.reserved != 0 {
        let at = offset_of!(demuxbuf_pool_config, reserved);
        return Err(StructError::Unknown { at, value: config.reserved.into() }.into());
    }
    Ok(to_rust(&config, tag)?)
}

/// The configuration as the core has it, for a pool with this tag.
fn to_rust(config: &demuxbuf_pool_config, tag: u8) -> Result<PoolConfig, ConfigError> {
    let wrong = |field, value: u32, min: u64, max: u64| ConfigError::out_of_range(field, value.into(), min, max);
    let policy = Policy {
        mode: mode_of(config.mode)?,
        reads_per_wake: config.reads_per_wake,
        park_bytes: config.park_bytes,
        reclaim_bytes: config.reclaim_bytes,
        resume_free_bytes: config.resume_free_bytes,
        pause_when_blocked: config.pause_when_blocked != 0,
        reads_ahead: config.reads_ahead != 0,
    };
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
            park_ns: never::from_c(config.park_ns),
            lease_ns: never::from_c(config.lease_ns),
            tag,
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
        audit: config.audit != 0,
        wipe: config.wipe != 0,
        no_dump: config.no_dump != 0,
    };
    if config.other_buffer_bytes.iter().any(|&bytes| bytes != 0) {
        // A size of 0 in the middle keeps the numbers of those behind it.
        let [a, b, c] = config.other_buffer_bytes;
        pool.set_buffer_sizes(&[config.buffer_bytes, a, b, c])?;
    }
    Ok(pool)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The core has `None` for the largest number, and for no other.
    #[test]
    fn uint64_max_is_never_in_both_directions() {
        let mut config = demuxbuf_pool_config::new(2, 2);
        assert_eq!([config.park_ns, config.lease_ns], [u64::MAX; 2]);
        let times = |config: &demuxbuf_pool_config| {
            let scheduler = to_rust(config, 0).expect("it can be told apart").scheduler;
            (scheduler.park_ns, scheduler.lease_ns)
        };
        assert_eq!(times(&config), (None, None));
        config.lease_ns = u64::MAX - 1;
        assert_eq!(times(&config), (None, Some(u64::MAX - 1)));
        (config.park_ns, config.lease_ns) = (0, 7);
        assert_eq!(times(&config), (Some(0), Some(7)));
    }
}
