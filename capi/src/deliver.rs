//! Deliveries, for hosts whose system chooses the buffers that it receives into.

use super::any_pool::AnyPool;
use super::guard::{InPool, bytes_at, demuxbuf_pool};
use super::out::Out;
use super::status::*;
use super::step::demuxbuf_step;
use core::ptr::NonNull;
use demuxbuf::connection::Actions;
use demuxbuf::pool::{Delivery, ReceiverId};

/// The step of a receiver, whose bytes in place, if it has some, begin here.
fn step_at(pool: &AnyPool, index: u32, actions: Actions, data: *const u8) -> demuxbuf_step {
    let in_place_bytes = pool.in_place_bytes(index);
    let place = match NonNull::new(data.cast_mut()) {
        Some(data) if in_place_bytes > 0 => (Some(data), in_place_bytes),
        _ => pool.place(index, actions),
    };
    demuxbuf_step::at(place, actions)
}

/// `length` bytes came for a receiver, and are at `bytes`, in memory of the host: the system chose a buffer, of a ring
/// for instance. It is as if they were received now, as many as may be. What completes kept bytes is copied. Where
/// nothing is kept, they are decoded in place: `data` of the step is `bytes` then.
///
/// `*accepted` is how many of them, from the front, are the receiver's now. The others are still the host's, with the
/// buffer that they are in. Do the actions, and report what the decoder did with `demuxbuf_receiver_delivered`. Each
/// time that `DEMUXBUF_RECV` is pending, in whichever step, deliver what is left; if nothing is, receive, or report
/// `would_block`. The buffer is free as soon as all is accepted and `DEMUXBUF_DECODE` is not pending any more.
///
/// Needs no `readable`: a delivery is one. Nothing is accepted while the receiver waits for memory, decodes what it
/// has, is blocked or paused.
/// Returns what is to be done now and writes `*accepted`, or with `DEMUXBUF_ERROR` set a status, and nothing is
/// changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_STALE`, `DEMUXBUF_ERR_CLOSED`,
/// `DEMUXBUF_ERR_IN_FLIGHT`, `DEMUXBUF_ERR_CANNOT_COUNT` (the receiver counts), `DEMUXBUF_ERR_ZERO_BYTES`,
/// `DEMUXBUF_ERR_TOO_MANY_BYTES` (more than `buffer_bytes`), `DEMUXBUF_ERR_AFTER_END`, `DEMUXBUF_ERR_IN_PLACE` (of this
/// or of another receiver of the pool).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_receiver_deliver(
    pool: *mut demuxbuf_pool,
    receiver: u64,
    bytes: *const u8,
    length: u32,
    accepted: *mut u32,
) -> demuxbuf_step {
    // SAFETY: as the module asks.
    let pool = unsafe { InPool::new(pool) };
    // SAFETY: as the module asks.
    let Some(accepted) = (unsafe { Out::new(accepted) }) else {
        return demuxbuf_step::status(DEMUXBUF_ERR_NULL);
    };
    let id = ReceiverId::from_bits(receiver);
    let delivered = pool.with(|pool| {
        // SAFETY: as the module asks.
        let bytes = unsafe { bytes_at(bytes, length as usize) }?;
        // The handle does not end with the call.
        let index = pool.find(id).map_err(status_of)?;
        let Delivery { accepted_bytes, actions, .. } = pool.deliver(id, bytes).map_err(status_of)?;
        Ok((accepted_bytes, step_at(pool, index, actions, bytes.as_ptr())))
    });
    match delivered {
        Ok((accepted_bytes, step)) => {
            accepted.write(accepted_bytes);
            step
        }
        Err(status) => demuxbuf_step::status(status),
    }
}

/// As `demuxbuf_receiver_decoded`, of a receiver that bytes are delivered to; `data` is that of the step before, or
/// where the bytes behind those that were consumed since lie. What is left of bytes in place is copied, unless it can
/// be decoded at once: then `data` of the new step is where they still are. For a receiver that has no bytes in place,
/// `data` makes no difference.
///
/// Bytes in place stay so until this report. A call such as `demuxbuf_receiver_block` does not copy them: report 0
/// consumed bytes behind it.
/// Returns what is to be done now, or with `DEMUXBUF_ERROR` set
/// a status, and nothing is changed: `DEMUXBUF_ERR_NULL` (also for `data`, if bytes are in place) and the others of
/// `demuxbuf_receiver_decoded`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_receiver_delivered(
    pool: *mut demuxbuf_pool,
    receiver: u64,
    data: *const u8,
    consumed: u32,
    need_more: u32,
) -> demuxbuf_step {
    // SAFETY: as the module asks.
    let pool = unsafe { InPool::new(pool) };
    let id = ReceiverId::from_bits(receiver);
    let reported = pool.with(|pool| {
        let index = pool.find(id).map_err(status_of)?;
        // SAFETY: as the module asks: bytes in place are where the host delivered them.
        let in_place = unsafe { bytes_at(data, pool.in_place_bytes(index) as usize) }?;
        let actions = pool.delivered(id, in_place, consumed, need_more).map_err(status_of)?;
        let rest = in_place.get(consumed as usize..).unwrap_or_default();
        Ok(step_at(pool, index, actions, rest.as_ptr()))
    });
    reported.unwrap_or_else(demuxbuf_step::status)
}
