//! The settings of a pool.

use super::guard::guarded_or;
use super::out::{StructError, StructOut, growable, read_struct};
use super::policy::mode_of;
use super::refusal::Refusal;
use super::status::*;
use core::mem::offset_of;
use demuxbuf::connection::Policy;
use demuxbuf::pool::{ConfigError, PoolConfig};
use demuxbuf::scheduler::CLASSES_MAX;

/// Classes of requests there can be.
pub const DEMUXBUF_CLASSES_MAX: usize = 8;
const _: () = assert!(DEMUXBUF_CLASSES_MAX == CLASSES_MAX);

/// The settings of a pool. Fill it with `demuxbuf_pool_config_init`, then change what you want
/// otherwise.
#[allow(non_camel_case_types)]
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct demuxbuf_pool_config {
    /// `sizeof(demuxbuf_pool_config)`.
    pub struct_size: u32,
    /// The most receivers at once.
    pub receivers_max: u32,
    /// All memory for received bytes and for buffers of the host's own: the hard cap. Rounded down to whole buffers, of
    /// which there must be 8, and 3 beside those that are cut for partial frames of up to 64 bytes.
    pub memory_bytes: u64,
    /// While memory is short, how long a frame may take to arrive, in nanoseconds, beside the time that its length
    /// allows (8192 bytes in a second); at least 8. An eighth of it is the most that one advance of the clock counts
    /// for.
    pub frame_grace_ns: u64,
    /// While memory is short, how long the host may hold bytes that it does not decode, in nanoseconds; at least 8.
    pub blocked_ns: u64,
    /// Size of a buffer, in bytes: the largest frame that the decoder needs whole, with its header, rounded up to a
    /// multiple of 64; from 128 to 16777216.
    pub buffer_bytes: u32,
    /// The most waits of the host's own requests at once. Receivers need none.
    pub waiters_max: u32,
    /// Classes of the host's requests, from 1 to 8, of a shared pool to 7; class 0 is the most critical. Receivers use
    /// memory in the last.
    pub classes: u32,
    /// Grants of other classes that a class lets pass before it goes first; at least 1.
    pub class_burst: u32,
    /// A class is eligible only while more buffers than its reserve are free. That of the last class has to leave
    /// receivers the buffer to receive into, those for the smallest cells and two more. Of a shared pool, each class
    /// has to leave the first two and one more for each thread, and another one.
    pub reserves: [u32; DEMUXBUF_CLASSES_MAX],
    /// The most buffers a class may hold; UINT32_MAX for no cap. That of the last class is at least what its reserve
    /// has to leave.
    pub class_caps: [u32; DEMUXBUF_CLASSES_MAX],
    /// The most tenants at once, beside the one of those that name none; of a shared pool for all threads together.
    pub tenants_max: u32,
    /// As in `demuxbuf_policy`, of the receivers.
    pub resume_free_bytes: u32,
    /// One of `DEMUXBUF_MODE_*`.
    pub mode: u8,
    /// As in `demuxbuf_policy`.
    pub reads_per_wake: u8,
    /// As in `demuxbuf_policy`.
    pub pause_when_blocked: u8,
    /// As in `demuxbuf_policy`.
    pub reads_ahead: u8,
    /// Not 0: `demuxbuf_pool_poll_audit` may be called.
    pub audit: u8,
    /// Not 0: what is not needed any more is overwritten with zeros: buffers, the pieces of them that hold partial
    /// frames, and the receive buffer after each use. Every event takes the slow path.
    pub wipe: u8,
    /// Not 0: the memory is left out of core dumps. Linux only.
    pub no_dump: u8,
    /// As in `demuxbuf_policy`.
    pub counting: u8,
    /// The most receives in flight at once, of receivers of one thread in completion mode, at most as many as there are
    /// buffers; 0 for an eighth of the buffers, divided by the threads, and at least 1. Each has a whole buffer. A
    /// receiver whose wait for memory comes to its end has one more if need be.
    pub in_flight_max: u32,
    /// Must be 0.
    pub reserved_word: u32,
    /// While others wait for memory, how long a lease of the host's own that was requested with `has_deadline` may be
    /// held before a notice names it, in nanoseconds. An eighth of it is the most that one advance of the clock counts
    /// for. 0: leases have no deadlines.
    pub lease_ns: u64,
}

growable!(demuxbuf_pool_config, 144);

impl demuxbuf_pool_config {
    /// The settings that the core takes for these numbers.
    fn new(memory_bytes: u64, receivers_max: u32) -> demuxbuf_pool_config {
        let default = PoolConfig::new(memory_bytes, receivers_max);
        let policy = default.policy;
        demuxbuf_pool_config {
            struct_size: size_of::<demuxbuf_pool_config>() as u32,
            receivers_max,
            memory_bytes,
            frame_grace_ns: default.frame_grace_ns,
            blocked_ns: default.blocked_ns,
            buffer_bytes: default.buffer_bytes,
            waiters_max: default.waiters_max,
            classes: default.classes.into(),
            class_burst: default.class_burst,
            reserves: default.reserves,
            class_caps: default.class_caps,
            tenants_max: default.tenants_max,
            resume_free_bytes: policy.resume_free_bytes,
            mode: policy.mode as u8,
            reads_per_wake: policy.reads_per_wake,
            pause_when_blocked: policy.pause_when_blocked.into(),
            reads_ahead: policy.reads_ahead.into(),
            audit: default.audit.into(),
            wipe: default.wipe.into(),
            no_dump: default.no_dump.into(),
            counting: policy.counting.into(),
            in_flight_max: 0,
            reserved_word: 0,
            lease_ns: 0,
        }
    }
}

/// Fills the settings: buffers of 16448 bytes, a grace of 1 s for frames, 2 s for what the host blocks, one class,
/// `receivers_max` waits for the host's own requests, no tenants, level-triggered. Set `struct_size` before the call.
///
/// Thread rule: any thread. Returns `DEMUXBUF_OK`; `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_STRUCT_SIZE`, and nothing is
/// written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_pool_config_init(
    config: *mut demuxbuf_pool_config,
    memory_bytes: u64,
    receivers_max: u32,
) -> i32 {
    guarded_or(DEMUXBUF_ERR_POISONED, || {
        // SAFETY: as the module asks.
        match unsafe { StructOut::new(config) } {
            Ok(config) => {
                config.write(demuxbuf_pool_config::new(memory_bytes, receivers_max));
                DEMUXBUF_OK
            }
            Err(status) => status,
        }
    })
}

/// The host's settings as the core has them, for a pool with this tag.
///
/// # Safety
///
/// `config` is NULL, or valid for reads of as many bytes as its `struct_size` has.
pub(super) unsafe fn read(config: *const demuxbuf_pool_config, tag: u8) -> Result<PoolConfig, Refusal> {
    // What short settings lack has the defaults for their own numbers, which every version has.
    // SAFETY: as this function asks.
    let numbers = unsafe { read_struct(config, demuxbuf_pool_config::default())? };
    let default = demuxbuf_pool_config::new(numbers.memory_bytes, numbers.receivers_max);
    // SAFETY: as this function asks.
    let config = unsafe { read_struct(config, default)? };
    let value = config.reserved_word;
    if value != 0 {
        return Err(StructError::Unknown { at: offset_of!(demuxbuf_pool_config, reserved_word), value }.into());
    }
    Ok(to_rust(&config, tag)?)
}

/// The settings as the core has them, for a pool with this tag.
fn to_rust(config: &demuxbuf_pool_config, tag: u8) -> Result<PoolConfig, ConfigError> {
    let policy = Policy {
        mode: mode_of(config.mode)?,
        reads_per_wake: config.reads_per_wake,
        resume_free_bytes: config.resume_free_bytes,
        pause_when_blocked: config.pause_when_blocked != 0,
        reads_ahead: config.reads_ahead != 0,
        counting: config.counting != 0,
        ..Policy::default()
    };
    let classes = u8::try_from(config.classes)
        .map_err(|_| ConfigError::out_of_range("classes", config.classes.into(), 1, DEMUXBUF_CLASSES_MAX as u64))?;
    Ok(PoolConfig {
        buffer_bytes: config.buffer_bytes,
        frame_grace_ns: config.frame_grace_ns,
        blocked_ns: config.blocked_ns,
        lease_ns: (config.lease_ns > 0).then_some(config.lease_ns),
        in_flight_max: config.in_flight_max,
        waiters_max: config.waiters_max,
        classes,
        reserves: config.reserves,
        class_caps: config.class_caps,
        class_burst: config.class_burst,
        tenants_max: config.tenants_max,
        tag,
        policy,
        audit: config.audit != 0,
        wipe: config.wipe != 0,
        no_dump: config.no_dump != 0,
        ..PoolConfig::new(config.memory_bytes, config.receivers_max)
    })
}
