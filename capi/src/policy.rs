//! How a connection receives, and what the state machine parks.

use super::out::{StructError, growable, read_struct};
use super::refusal::Refusal;
use core::mem::offset_of;
use demuxbuf::connection::{Mode, Policy};
use demuxbuf::pool::ConfigError;

/// Level-triggered: reported again for as long as there is something. As in one-shot mode, a receive that brings less
/// than the room is taken to have emptied the transport, unless the policy has `reads_ahead`.
pub const DEMUXBUF_MODE_LEVEL: u8 = 0;
/// Edge-triggered, registered once.
pub const DEMUXBUF_MODE_EDGE: u8 = 1;
/// Read interest is off again with its first report.
pub const DEMUXBUF_MODE_ONE_SHOT: u8 = 2;
/// As one-shot, but receives before it arms read interest.
pub const DEMUXBUF_MODE_OPTIMISTIC: u8 = 3;
/// Receives (RECV) and polls (WANT_RECV) are submitted and complete later; STOP_RECV cancels what is submitted.
pub const DEMUXBUF_MODE_COMPLETION: u8 = 4;

/// The settings of one connection. Zero selects the default of every field except `struct_size`.
#[allow(non_camel_case_types)]
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct demuxbuf_policy {
    /// `sizeof(demuxbuf_policy)`.
    pub struct_size: u32,
    /// A full buffer receives again once this many bytes are free; 0 for any room.
    pub resume_free_bytes: u32,
    /// Of `demuxbuf_connection` alone: partial frames of at most this many bytes are parked as soon as their transport
    /// has no more; 0 for never. It makes no difference for a receiver, of which nothing is parked.
    pub park_bytes: u16,
    /// Of `demuxbuf_connection` alone: partial frames of at most this many bytes are parked when the host's allocator
    /// asks; below `park_bytes` it means that.
    pub reclaim_bytes: u16,
    /// One of `DEMUXBUF_MODE_*`.
    pub mode: u8,
    /// Receives in one loop iteration before the machine yields; 0 for 4.
    pub reads_per_wake: u8,
    /// Not 0: stop receiving while decoding is blocked, instead of when the buffer is full.
    pub pause_when_blocked: u8,
    /// Not 0: a layer between transport and host, such as a TLS library, may hold more bytes than it handed on; or the
    /// transport is TCP with urgent data, at which a receive stops short. Only `would_block` means that there is
    /// nothing to receive, in every mode. `RESCHEDULE` appears in level-triggered mode when the budget of receives is
    /// used up. A waiting connection receives nothing.
    pub reads_ahead: u8,
    /// Of a receiver, not 0: it counts. Its host knows how many bytes wait in the kernel, and can leave a partial frame
    /// there until it is whole (TCP with `SO_RCVLOWAT`). While memory is short, `PEEK`, `RECV_WHOLE`, `DISCARD` and the
    /// mark with `WANT_RECV` ask for that. It does not go with `DEMUXBUF_MODE_OPTIMISTIC`, `reads_ahead` and
    /// `unknown_length`. A policy that sets it later leaves a claim that waits, and what is granted to it, as they are.
    pub counting: u8,
    /// Must be 0.
    pub reserved: [u8; 3],
}

growable!(demuxbuf_policy, 20);

/// A mode as C passes it.
pub(super) fn mode_of(mode: u8) -> Result<Mode, ConfigError> {
    let last = Mode::ALL.len() as u64 - 1;
    Mode::try_from(mode).map_err(|_| ConfigError::out_of_range("mode", mode.into(), 0, last))
}

/// The policy that the host's struct describes.
///
/// # Safety
///
/// `policy` is NULL, or valid for reads of as many bytes as its `struct_size` has.
pub(super) unsafe fn read_policy(policy: *const demuxbuf_policy) -> Result<Policy, Refusal> {
    // SAFETY: as this function asks.
    let policy = unsafe { read_struct(policy, demuxbuf_policy::default())? };
    for (at, value) in (offset_of!(demuxbuf_policy, reserved)..).zip(policy.reserved) {
        if value != 0 {
            return Err(StructError::Unknown { at, value: value.into() }.into());
        }
    }
    Ok(Policy {
        mode: mode_of(policy.mode)?,
        reads_per_wake: policy.reads_per_wake,
        park_bytes: policy.park_bytes,
        reclaim_bytes: policy.reclaim_bytes,
        resume_free_bytes: policy.resume_free_bytes,
        pause_when_blocked: policy.pause_when_blocked != 0,
        reads_ahead: policy.reads_ahead != 0,
        counting: policy.counting != 0,
    })
}
