//! Calls for one receiver: the fast path, cycles with kept bytes, and all else. Each of the first two ends with a call
//! of the same signature, so that it saves no registers for it.
//!
//! Callers of `extern "C"` functions guarantee what the module `receiver` asks.

use super::actions::DEMUXBUF_STOP_RECV;
use super::any_pool::{AnyPool, each};
use super::guard::{InPool, demuxbuf_pool};
use super::row_call::{Decoded, Done, Pending, Received, ReceivedAndDecoded, Report, RowCall};
use super::step::demuxbuf_step;
use demuxbuf::connection::Event;
use demuxbuf::pool::{FastPath, RawStep, ReceiverId};

/// The call where nothing of it is known.
///
/// # Safety
///
/// As for `InPool::new`.
#[inline(always)]
pub(super) unsafe fn step(pool: *mut demuxbuf_pool, receiver: u64, call: impl RowCall) -> demuxbuf_step {
    let id = ReceiverId::from_bits(receiver);
    // SAFETY: as this function asks.
    let result = unsafe { InPool::new(pool) }.with(|pool| pool.step(id, call));
    result.unwrap_or_else(demuxbuf_step::status)
}

/// # Safety
///
/// As for `InPool::new`.
#[inline(never)]
pub(super) unsafe fn report(pool: *mut demuxbuf_pool, receiver: u64, event: Event) -> demuxbuf_step {
    // SAFETY: as this function asks.
    unsafe { step(pool, receiver, Report(event)) }
}

/// # Safety
///
/// As for `InPool::new`.
#[inline(always)]
pub(super) unsafe fn fast(
    pool: *mut demuxbuf_pool,
    receiver: u64,
    call: impl FnOnce(FastPath<'_>, ReceiverId) -> Option<RawStep>,
) -> Option<demuxbuf_step> {
    // SAFETY: as this function asks.
    let step = unsafe { InPool::new(pool) }.fast(|pool| call(pool, ReceiverId::from_bits(receiver)))?;
    Some(demuxbuf_step::raw(step))
}

/// The call where it is a step of a cycle with kept bytes; a macro, since each kind of pool has a path of its own.
macro_rules! kept {
    ($pool:ident, $receiver:ident, $path:ident, $call:ident($($argument:expr),*)) => {
        kept!($pool, $path, $call(ReceiverId::from_bits($receiver), $($argument),*))
    };
    ($pool:ident, $path:ident, $call:ident($($argument:expr),* $(,)?)) => {{
        // SAFETY: as each of these calls asks.
        let pool = unsafe { InPool::new($pool) };
        let step = pool.with_sound(|pool| each!(pool, pool => pool.kept_path::<$path>().$call($($argument),*)));
        step.ok().flatten().map(demuxbuf_step::raw)
    }};
}

pub(super) use kept;

/// Of bytes in cells, where nothing is scarce.
pub(super) const NARROW: bool = false;
/// Of bytes anywhere.
const WIDE: bool = true;

/// Whether a receiver that keeps bytes is to receive or to decode.
///
/// # Safety
///
/// As for `InPool::new`.
#[inline(always)]
pub(super) unsafe fn has_kept_cycle(pool: *mut demuxbuf_pool) -> bool {
    // SAFETY: as this function asks.
    unsafe { InPool::new(pool) }.fast(|pool| pool.has_kept_cycle().then_some(())).is_some()
}

/// Whether cycles may begin without a look at memory, as far as it is known.
///
/// # Safety
///
/// As for `InPool::new`.
#[inline(always)]
pub(super) unsafe fn is_ready(pool: *mut demuxbuf_pool) -> bool {
    // SAFETY: as this function asks.
    unsafe { InPool::new(pool) }.fast(|pool| pool.is_ready().then_some(())).is_some()
}

/// Whether a receiver is to receive or to decode in a cycle that began while memory was short.
///
/// # Safety
///
/// As for `InPool::new`.
#[inline(always)]
pub(super) unsafe fn has_scarce_cycle(pool: *mut demuxbuf_pool) -> bool {
    // SAFETY: as this function asks.
    unsafe { InPool::new(pool) }.fast(|pool| pool.has_scarce_cycle().then_some(())).is_some()
}

/// The row of a receiver that keeps bytes.
///
/// # Safety
///
/// As for `InPool::new`.
#[inline(always)]
unsafe fn row_of_kept(pool: *mut demuxbuf_pool, receiver: u64) -> Option<u32> {
    // SAFETY: as this function asks.
    unsafe { InPool::new(pool) }.fast(|mut pool| pool.row_of_kept(ReceiverId::from_bits(receiver)))
}

#[inline(never)]
pub(super) unsafe extern "C" fn decoded_kept(
    pool: *mut demuxbuf_pool,
    receiver: u64,
    consumed: u32,
    need_more: u32,
) -> demuxbuf_step {
    let step = kept!(pool, receiver, NARROW, pass(consumed));
    // SAFETY: as the module asks.
    step.unwrap_or_else(|| unsafe { decoded_otherwise(pool, receiver, consumed, need_more) })
}

#[inline(never)]
pub(super) unsafe extern "C" fn decoded_short(
    pool: *mut demuxbuf_pool,
    receiver: u64,
    consumed: u32,
    need_more: u32,
) -> demuxbuf_step {
    let step = kept!(pool, receiver, NARROW, keep(consumed, need_more, 0));
    // SAFETY: as the module asks.
    step.unwrap_or_else(|| unsafe { decoded_short_anywhere(pool, receiver, consumed, need_more) })
}

#[inline(never)]
unsafe extern "C" fn decoded_short_anywhere(
    pool: *mut demuxbuf_pool,
    receiver: u64,
    consumed: u32,
    need_more: u32,
) -> demuxbuf_step {
    let step = kept!(pool, receiver, WIDE, keep(consumed, need_more, 0));
    // SAFETY: as the module asks.
    step.unwrap_or_else(|| unsafe { decoded_otherwise(pool, receiver, consumed, need_more) })
}

#[inline(never)]
pub(super) unsafe extern "C" fn decoded_otherwise(
    pool: *mut demuxbuf_pool,
    receiver: u64,
    consumed: u32,
    need_more: u32,
) -> demuxbuf_step {
    // SAFETY: as the module asks.
    unsafe { step(pool, receiver, Decoded { consumed, need_more, usable: 0 }) }
}

#[inline(never)]
pub(super) unsafe extern "C" fn received_and_decoded_slowly(
    pool: *mut demuxbuf_pool,
    receiver: u64,
    bytes: u32,
) -> demuxbuf_step {
    let step = kept!(pool, receiver, NARROW, receive_and_pass(bytes));
    // SAFETY: as the module asks.
    step.unwrap_or_else(|| unsafe { received_and_decoded_otherwise(pool, receiver, bytes) })
}

#[inline(never)]
unsafe extern "C" fn received_and_decoded_otherwise(
    pool: *mut demuxbuf_pool,
    receiver: u64,
    bytes: u32,
) -> demuxbuf_step {
    // SAFETY: as the module asks.
    unsafe { step(pool, receiver, ReceivedAndDecoded(bytes)) }
}

#[inline(never)]
pub(super) unsafe extern "C" fn readable_slowly(pool: *mut demuxbuf_pool, receiver: u64) -> demuxbuf_step {
    let step = kept!(pool, receiver, NARROW, begin());
    // SAFETY: as the module asks.
    step.unwrap_or_else(|| unsafe { readable_anywhere(pool, receiver) })
}

#[inline(never)]
pub(super) unsafe extern "C" fn readable_anywhere(pool: *mut demuxbuf_pool, receiver: u64) -> demuxbuf_step {
    let step = kept!(pool, receiver, WIDE, begin());
    // SAFETY: as the module asks.
    step.unwrap_or_else(|| unsafe { readable_otherwise(pool, receiver) })
}

#[inline(never)]
unsafe extern "C" fn readable_otherwise(pool: *mut demuxbuf_pool, receiver: u64) -> demuxbuf_step {
    // SAFETY: as the module asks.
    unsafe { step(pool, receiver, Report(Event::Readable)) }
}

#[inline(never)]
pub(super) unsafe extern "C" fn received_kept(pool: *mut demuxbuf_pool, receiver: u64, bytes: u32) -> demuxbuf_step {
    let step = kept!(pool, receiver, NARROW, receive(bytes));
    // SAFETY: as the module asks.
    step.unwrap_or_else(|| unsafe { received_short(pool, receiver, bytes) })
}

#[inline(never)]
unsafe extern "C" fn received_short(pool: *mut demuxbuf_pool, receiver: u64, bytes: u32) -> demuxbuf_step {
    let step = kept!(pool, receiver, NARROW, receive_short(bytes));
    // SAFETY: as the module asks.
    step.unwrap_or_else(|| unsafe { received_otherwise(pool, receiver, bytes) })
}

#[inline(never)]
pub(super) unsafe extern "C" fn received_otherwise(
    pool: *mut demuxbuf_pool,
    receiver: u64,
    bytes: u32,
) -> demuxbuf_step {
    // SAFETY: as the module asks.
    unsafe { step(pool, receiver, Received(bytes)) }
}

#[inline(never)]
pub(super) unsafe extern "C" fn pending_kept(pool: *mut demuxbuf_pool, receiver: u64) -> demuxbuf_step {
    let step = kept!(pool, receiver, NARROW, pending());
    // SAFETY: as the module asks.
    step.unwrap_or_else(|| unsafe { pending_slowly(pool, receiver) })
}

#[inline(never)]
pub(super) unsafe extern "C" fn pending_slowly(pool: *mut demuxbuf_pool, receiver: u64) -> demuxbuf_step {
    // SAFETY: as the module asks.
    unsafe { step(pool, receiver, Pending) }
}

#[inline(never)]
pub(super) unsafe extern "C" fn would_block_slowly(pool: *mut demuxbuf_pool, receiver: u64) -> demuxbuf_step {
    // SAFETY: as the module asks.
    unsafe { step(pool, receiver, Report(Event::WouldBlock)) }
}

#[inline(never)]
pub(super) unsafe extern "C" fn would_block_armed_slowly(pool: *mut demuxbuf_pool, receiver: u64) -> demuxbuf_step {
    // SAFETY: as the module asks.
    unsafe { step(pool, receiver, Report(Event::WouldBlockArmed)) }
}

#[inline(never)]
pub(super) unsafe extern "C" fn end_of_stream_slowly(pool: *mut demuxbuf_pool, receiver: u64) -> demuxbuf_step {
    // SAFETY: as the module asks.
    unsafe { step(pool, receiver, Report(Event::EndOfStream)) }
}

#[inline(never)]
pub(super) unsafe extern "C" fn transport_error_slowly(pool: *mut demuxbuf_pool, receiver: u64) -> demuxbuf_step {
    // SAFETY: as the module asks.
    unsafe { step(pool, receiver, Report(Event::TransportError)) }
}

#[inline(never)]
pub(super) unsafe extern "C" fn block_anywhere(pool: *mut demuxbuf_pool, receiver: u64, reasons: u32) -> demuxbuf_step {
    let step = kept!(pool, receiver, WIDE, block(reasons));
    // SAFETY: as the module asks.
    step.unwrap_or_else(|| unsafe { block_otherwise(pool, receiver, reasons) })
}

#[inline(never)]
unsafe extern "C" fn block_otherwise(pool: *mut demuxbuf_pool, receiver: u64, reasons: u32) -> demuxbuf_step {
    // SAFETY: as the module asks.
    unsafe { step(pool, receiver, Report(Event::Block { reasons })) }
}

#[inline(never)]
pub(super) unsafe extern "C" fn unblock_anywhere(
    pool: *mut demuxbuf_pool,
    receiver: u64,
    reasons: u32,
) -> demuxbuf_step {
    let step = kept!(pool, receiver, WIDE, unblock(reasons));
    // SAFETY: as the module asks.
    step.unwrap_or_else(|| unsafe { unblock_otherwise(pool, receiver, reasons) })
}

#[inline(never)]
unsafe extern "C" fn unblock_otherwise(pool: *mut demuxbuf_pool, receiver: u64, reasons: u32) -> demuxbuf_step {
    // SAFETY: as the module asks.
    unsafe { step(pool, receiver, Report(Event::Unblock { reasons })) }
}

#[inline(never)]
pub(super) unsafe extern "C" fn done_slowly(pool: *mut demuxbuf_pool, receiver: u64, actions: u32) -> demuxbuf_step {
    // SAFETY: as the module asks.
    unsafe {
        let row = if actions == DEMUXBUF_STOP_RECV { row_of_kept(pool, receiver) } else { None };
        match row {
            Some(row) => stopped(pool, receiver, actions, row),
            None => done_otherwise(pool, receiver, actions),
        }
    }
}

#[inline(never)]
pub(super) unsafe extern "C" fn armed(pool: *mut demuxbuf_pool, receiver: u64, actions: u32) -> demuxbuf_step {
    let step = kept!(pool, receiver, WIDE, arm());
    // SAFETY: as the module asks.
    step.unwrap_or_else(|| unsafe { done_otherwise(pool, receiver, actions) })
}

#[inline(never)]
unsafe extern "C" fn stopped(pool: *mut demuxbuf_pool, receiver: u64, actions: u32, row: u32) -> demuxbuf_step {
    let step = kept!(pool, WIDE, stop(row));
    // SAFETY: as the module asks.
    step.unwrap_or_else(|| unsafe { done_otherwise(pool, receiver, actions) })
}

#[inline(never)]
unsafe extern "C" fn done_otherwise(pool: *mut demuxbuf_pool, receiver: u64, actions: u32) -> demuxbuf_step {
    // SAFETY: as the module asks.
    unsafe { step(pool, receiver, Done(actions)) }
}
