//! One connection bound to a pool: the convenient way in for C.

use super::actions::DEMUXBUF_WANT_RECV;
use super::any_pool::{AnyPool, each};
use super::event::event_of;
use super::guard::{InPool, demuxbuf_pool};
use super::info::demuxbuf_receiver_info;
use super::out::{Out, StructOut};
use super::pool::{status, tenant_of};
use super::row_call::{Close, Decoded, Refuse};
use super::row_steps::*;
use super::status::*;
use super::step::demuxbuf_step;
use demuxbuf::connection::Event;
use demuxbuf::pool::{FastPath, LeasedContent, ReceiverId};

/// A buffer that leaves or enters a receiver with its content.
#[allow(non_camel_case_types)]
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct demuxbuf_leased_content {
    /// The buffer; release it with `demuxbuf_pool_release`.
    pub lease: u64,
    /// Where the content starts in the buffer, in bytes.
    pub offset: u32,
    /// Length of the content, in bytes.
    pub buffered_bytes: u32,
}

const _: () = assert!(size_of::<demuxbuf_leased_content>() == 16 && align_of::<demuxbuf_leased_content>() == 8);

/// Uses memory in the name of `tenant` from now on, or with 0 for no tenant. What is kept, borrowed or waited for
/// counts for the new tenant.
///
/// Returns `DEMUXBUF_OK`; `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_STALE` (receiver or tenant);
/// nothing is changed then.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_receiver_set_tenant(pool: *mut demuxbuf_pool, receiver: u64, tenant: u64) -> i32 {
    // SAFETY: as the module asks.
    let pool = unsafe { InPool::new(pool) };
    let id = ReceiverId::from_bits(receiver);
    status(pool.with(|pool| pool.set_tenant(id, tenant_of(pool, tenant)).map_err(status_of)))
}

/// Takes what is undecoded away from a receiver, with a buffer: the lease is the host's, and reading goes on.
///
/// Call `demuxbuf_receiver_pending` next.
/// Returns `DEMUXBUF_OK` and writes `*content`; `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_STALE`,
/// `DEMUXBUF_ERR_NO_BUFFER` (nothing is undecoded), `DEMUXBUF_ERR_NO_BUFFER_FREE` (none that the content could leave
/// with, though what others kept past their deadline was evicted), `DEMUXBUF_ERR_IN_FLIGHT`, `DEMUXBUF_ERR_IN_PLACE`,
/// `DEMUXBUF_ERR_LOOKED_AT`. Nothing of the receiver is changed then.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_receiver_take(
    pool: *mut demuxbuf_pool,
    receiver: u64,
    content: *mut demuxbuf_leased_content,
) -> i32 {
    // SAFETY: as the module asks.
    let pool = unsafe { InPool::new(pool) };
    // SAFETY: as the module asks.
    let Some(content) = (unsafe { Out::new(content) }) else {
        return DEMUXBUF_ERR_NULL;
    };
    let taken = pool.with(|pool| {
        let LeasedContent { lease, offset, buffered_bytes } =
            pool.take(ReceiverId::from_bits(receiver)).map_err(status_of)?;
        Ok(demuxbuf_leased_content { lease: pool.salted(lease.to_bits()), offset, buffered_bytes })
    });
    match taken {
        Ok(taken) => {
            content.write(taken);
            DEMUXBUF_OK
        }
        Err(status) => status,
    }
}

/// The decoder took `consumed` bytes from the front and, if `need_more` is not 0, cannot go on before that many more
/// have arrived. `consumed` and `need_more` in one call, so that a receive cycle is three calls.
///
/// Returns what is to be done now, or with `DEMUXBUF_ERROR` set a status, and nothing is changed: `DEMUXBUF_ERR_NULL`,
/// `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_STALE`, `DEMUXBUF_ERR_TOO_MANY_BYTES` (as many are not there; or `need_more`
/// is above `buffer_bytes` at the look that followed an answer to `DEMUXBUF_CANNOT_FIT` with 0 bytes: report what the
/// next piece needs), `DEMUXBUF_ERR_NO_BUFFER_FREE` (`DEMUXBUF_DECODE` is not pending, and no buffer is free to decode
/// in), `DEMUXBUF_ERR_CLOSED`, `DEMUXBUF_ERR_IN_PLACE` (delivered bytes would be left), `DEMUXBUF_ERR_ZERO_BYTES` (both
/// are 0 in answer to `DEMUXBUF_CANNOT_FIT` with 0 bytes).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_receiver_decoded(
    pool: *mut demuxbuf_pool,
    receiver: u64,
    consumed: u32,
    need_more: u32,
) -> demuxbuf_step {
    let decode = |mut pool: FastPath<'_>, id| if need_more == 0 { pool.decode(id, consumed) } else { None };
    let otherwise = || match need_more {
        // SAFETY: as the module asks.
        0 if unsafe { has_kept_cycle(pool) } => unsafe { decoded_kept(pool, receiver, consumed, need_more) },
        // SAFETY: as the module asks.
        0 => unsafe { decoded_otherwise(pool, receiver, consumed, need_more) },
        // SAFETY: as the module asks.
        _ => unsafe { decoded_short(pool, receiver, consumed, need_more) },
    };
    // SAFETY: as the module asks.
    unsafe { fast(pool, receiver, decode).unwrap_or_else(otherwise) }
}

/// One receive brought `bytes` bytes, and the decoder took all that is there: `demuxbuf_receiver_received` and
/// `demuxbuf_receiver_decoded` in one call, for a host that decodes where it has received, before it reports. If
/// something was undecoded before the receive, that lies in front of what was received, and was taken as well.
///
/// Returns what is to be done now, or with `DEMUXBUF_ERROR` set a status, and nothing is changed: `DEMUXBUF_ERR_NULL`,
/// `DEMUXBUF_ERR_CLOSED`, and the others of `demuxbuf_receiver_received`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_receiver_received_and_decoded(
    pool: *mut demuxbuf_pool,
    receiver: u64,
    bytes: u32,
) -> demuxbuf_step {
    let receive = |mut pool: FastPath<'_>, id| pool.receive_and_decode(id, bytes);
    // SAFETY: as the module asks.
    unsafe { fast(pool, receiver, receive).unwrap_or_else(|| received_and_decoded_slowly(pool, receiver, bytes)) }
}

/// As `demuxbuf_receiver_decoded`, of a decoder that can use up to `usable` bytes at once, though `need_more` help:
/// payload that is passed on in pieces needs 1, and can use what is left of it, or as much as can be passed on now.
/// While memory is short, a receive that waited for its turn takes as many, also where all was consumed; one byte if no
/// need was reported then. What the decoder leaves of them may have no place. 0 for the same as `need_more`, without
/// which it has no effect.
///
/// Returns what is to be done now, or with `DEMUXBUF_ERROR` set a status, and nothing is changed: `DEMUXBUF_ERR_NULL`
/// and the others of `demuxbuf_receiver_decoded`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_receiver_decoded_usable(
    pool: *mut demuxbuf_pool,
    receiver: u64,
    consumed: u32,
    need_more: u32,
    usable: u32,
) -> demuxbuf_step {
    if usable == 0 {
        // Hosts that always make this call have the fast path as well.
        // SAFETY: as the module asks.
        return unsafe { demuxbuf_receiver_decoded(pool, receiver, consumed, need_more) };
    }
    // SAFETY: as the module asks.
    unsafe { step(pool, receiver, Decoded { consumed, need_more, usable }) }
}

/// A hint that events of this receiver follow soon: the processor fetches its rows from memory meanwhile. With more
/// connections than the caches hold, nearly every event waits for them otherwise.
///
/// When the poller returns a batch, call this for all of its events first, and handle the events then; take batches of
/// at most about 100 events, since what is fetched has to stay in the first cache until it is used. Fetch your own
/// state of the connection in the same pass. Any handle is harmless, a stale one too; so are NULL and a poisoned pool.
/// Nothing is changed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_receiver_prefetch(pool: *const demuxbuf_pool, receiver: u64) {
    // SAFETY: as the module asks.
    let pool = unsafe { InPool::new(pool) };
    // Without an answer there is nothing to refuse.
    let _ = pool.with_sound(|pool| {
        pool.prefetch(ReceiverId::from_bits(receiver));
        Some(())
    });
}

/// What is to be done now, without reporting anything.
///
/// Returns what is to be done now, or with `DEMUXBUF_ERROR` set a status:
/// `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_STALE`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_receiver_pending(pool: *mut demuxbuf_pool, receiver: u64) -> demuxbuf_step {
    let pending = |mut pool: FastPath<'_>, id| pool.pending(id);
    // SAFETY: as the module asks.
    let otherwise = || match unsafe { has_kept_cycle(pool) } {
        // SAFETY: as the module asks.
        true => unsafe { pending_kept(pool, receiver) },
        // SAFETY: as the module asks.
        false => unsafe { pending_slowly(pool, receiver) },
    };
    // SAFETY: as the module asks.
    unsafe { fast(pool, receiver, pending).unwrap_or_else(otherwise) }
}

/// Writes everything there is to print about a receiver.
///
/// Returns `DEMUXBUF_OK`; `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_STRUCT_SIZE`, `DEMUXBUF_ERR_POISONED`,
/// `DEMUXBUF_ERR_STALE`, and nothing is written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_receiver_describe(
    pool: *const demuxbuf_pool,
    receiver: u64,
    info: *mut demuxbuf_receiver_info,
) -> i32 {
    // SAFETY: as the module asks.
    let pool = unsafe { InPool::new(pool) };
    // SAFETY: as the module asks.
    let info = match unsafe { StructOut::new(info) } {
        Ok(info) => info,
        Err(status) => return status,
    };
    match pool.look(|pool| pool.describe(ReceiverId::from_bits(receiver)).map_err(status_of)) {
        Ok(found) => {
            info.write(demuxbuf_receiver_info::of(&found));
            DEMUXBUF_OK
        }
        Err(status) => status,
    }
}

/// The transport has bytes, an end of stream or an error to report. Begins a new loop iteration. Repeats are harmless.
///
/// Returns what is to be done now, or with `DEMUXBUF_ERROR` set
/// a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_STALE`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_receiver_readable(pool: *mut demuxbuf_pool, receiver: u64) -> demuxbuf_step {
    let begin = |mut pool: FastPath<'_>, id| pool.begin(id);
    // SAFETY: as the module asks.
    let otherwise = || match unsafe { is_ready(pool) } {
        // SAFETY: as the module asks.
        true => unsafe { readable_slowly(pool, receiver) },
        // SAFETY: as the module asks.
        false => unsafe { readable_anywhere(pool, receiver) },
    };
    // SAFETY: as the module asks.
    unsafe { fast(pool, receiver, begin).unwrap_or_else(otherwise) }
}

/// One receive brought `bytes` bytes, at most `bytes` of the step that asked for it.
///
/// Returns what is to be done now, or with `DEMUXBUF_ERROR` set
/// a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_STALE`,
/// `DEMUXBUF_ERR_ZERO_BYTES` (report the end of the stream instead), `DEMUXBUF_ERR_TOO_MANY_BYTES`,
/// `DEMUXBUF_ERR_NO_BUFFER`, `DEMUXBUF_ERR_AFTER_END`, `DEMUXBUF_ERR_LOOKED_AT` (fewer than a look is for).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_receiver_received(
    pool: *mut demuxbuf_pool,
    receiver: u64,
    bytes: u32,
) -> demuxbuf_step {
    let receive = |mut pool: FastPath<'_>, id| pool.receive(id, bytes);
    // SAFETY: as the module asks.
    let otherwise = || match unsafe { has_kept_cycle(pool) } {
        // SAFETY: as the module asks.
        true => unsafe { received_kept(pool, receiver, bytes) },
        // SAFETY: as the module asks.
        false => unsafe { received_otherwise(pool, receiver, bytes) },
    };
    // SAFETY: as the module asks.
    unsafe { fast(pool, receiver, receive).unwrap_or_else(otherwise) }
}

/// One receive found nothing. Repeat one that was interrupted (EINTR) instead.
///
/// Returns what is to be done now, or with `DEMUXBUF_ERROR` set
/// a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_STALE`,
/// `DEMUXBUF_ERR_LOOKED_AT` (what was decoded when it was looked at is not received away).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_receiver_would_block(pool: *mut demuxbuf_pool, receiver: u64) -> demuxbuf_step {
    let dry = |mut pool: FastPath<'_>, id| pool.dry(id, false);
    // SAFETY: as the module asks.
    unsafe { fast(pool, receiver, dry).unwrap_or_else(|| would_block_slowly(pool, receiver)) }
}

/// One receive found nothing, and the host has armed read interest, or its report is to come: `would_block` and the
/// report of `DEMUXBUF_WANT_RECV` in one call, for hosts that arm it as soon as they find nothing (one-shot,
/// optimistic; completion: that have submitted a poll). `DEMUXBUF_STOP_RECV` is pending then if read interest is not
/// wanted.
///
/// Returns what is to be done now, or with `DEMUXBUF_ERROR` set
/// a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_STALE`,
/// `DEMUXBUF_ERR_LOOKED_AT` (what was decoded when it was looked at is not received away).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_receiver_would_block_armed(pool: *mut demuxbuf_pool, receiver: u64) -> demuxbuf_step {
    let dry = |mut pool: FastPath<'_>, id| pool.dry(id, true);
    // SAFETY: as the module asks.
    unsafe { fast(pool, receiver, dry).unwrap_or_else(|| would_block_armed_slowly(pool, receiver)) }
}

/// The peer will send no more. In any state, with or without a receive. Whole frames that are buffered are still to be
/// decoded; `DEMUXBUF_END` follows.
///
/// Returns what is to be done now, or with `DEMUXBUF_ERROR` set
/// a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_STALE`,
/// `DEMUXBUF_ERR_IN_PLACE`, `DEMUXBUF_ERR_LOOKED_AT` (what is looked at is to be reported on first).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_receiver_end_of_stream(pool: *mut demuxbuf_pool, receiver: u64) -> demuxbuf_step {
    let end = |mut pool: FastPath<'_>, id| pool.end(id, Event::EndOfStream);
    // SAFETY: as the module asks.
    unsafe { fast(pool, receiver, end).unwrap_or_else(|| end_of_stream_slowly(pool, receiver)) }
}

/// The transport failed. In any state, with or without a receive. What is buffered is still to be decoded, then
/// `DEMUXBUF_END` follows. Where that is of no use any more, as after a failed send, report fail first, or close.
///
/// Returns what is to be done now, or with `DEMUXBUF_ERROR` set
/// a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_STALE`,
/// `DEMUXBUF_ERR_IN_PLACE`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_receiver_transport_error(pool: *mut demuxbuf_pool, receiver: u64) -> demuxbuf_step {
    let end = |mut pool: FastPath<'_>, id| pool.end(id, Event::TransportError);
    // SAFETY: as the module asks.
    unsafe { fast(pool, receiver, end).unwrap_or_else(|| transport_error_slowly(pool, receiver)) }
}

/// Decoding cannot go on for these reasons of the host's. They add up.
///
/// Returns what is to be done now, or with `DEMUXBUF_ERROR` set
/// a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_STALE`,
/// `DEMUXBUF_ERR_NO_REASONS`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_receiver_block(
    pool: *mut demuxbuf_pool,
    receiver: u64,
    reasons: u32,
) -> demuxbuf_step {
    // SAFETY: as the module asks.
    if unsafe { has_scarce_cycle(pool) } {
        // SAFETY: as the module asks.
        return unsafe { block_anywhere(pool, receiver, reasons) };
    }
    let step = kept!(pool, receiver, NARROW, block(reasons));
    // SAFETY: as the module asks.
    step.unwrap_or_else(|| unsafe { block_anywhere(pool, receiver, reasons) })
}

/// These reasons are gone; decoding resumes when none is left.
///
/// Returns what is to be done now, or with `DEMUXBUF_ERROR` set
/// a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_STALE`,
/// `DEMUXBUF_ERR_NO_REASONS`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_receiver_unblock(
    pool: *mut demuxbuf_pool,
    receiver: u64,
    reasons: u32,
) -> demuxbuf_step {
    // SAFETY: as the module asks.
    if !unsafe { is_ready(pool) } {
        // SAFETY: as the module asks.
        return unsafe { unblock_anywhere(pool, receiver, reasons) };
    }
    let step = kept!(pool, receiver, NARROW, unblock(reasons));
    // SAFETY: as the module asks.
    step.unwrap_or_else(|| unsafe { unblock_anywhere(pool, receiver, reasons) })
}

/// These, and no others, are the host's reasons why decoding cannot go on; 0 for none. For a host that keeps the mask
/// itself: one call beside the decoder, instead of a report of each difference. The same mask again is harmless.
///
/// Returns what is to be done now, or with `DEMUXBUF_ERROR` set
/// a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_STALE`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_receiver_set_blocked(
    pool: *mut demuxbuf_pool,
    receiver: u64,
    reasons: u32,
) -> demuxbuf_step {
    // SAFETY: as the module asks.
    unsafe { report(pool, receiver, Event::SetBlocked { reasons }) }
}

/// A new loop iteration begins for this connection.
///
/// Returns what is to be done now, or with `DEMUXBUF_ERROR` set
/// a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_STALE`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_receiver_wake(pool: *mut demuxbuf_pool, receiver: u64) -> demuxbuf_step {
    // SAFETY: as the module asks.
    unsafe { report(pool, receiver, Event::Wake) }
}

/// The host wants no reading for reasons of its own. Repeats are harmless, and one resume ends them all.
///
/// Returns what is to be done now, or with `DEMUXBUF_ERROR` set
/// a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_STALE`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_receiver_pause_recv(pool: *mut demuxbuf_pool, receiver: u64) -> demuxbuf_step {
    // SAFETY: as the module asks.
    unsafe { report(pool, receiver, Event::PauseRecv) }
}

/// The host's reasons for pausing are gone.
///
/// Returns what is to be done now, or with `DEMUXBUF_ERROR` set
/// a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_STALE`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_receiver_resume_recv(pool: *mut demuxbuf_pool, receiver: u64) -> demuxbuf_step {
    // SAFETY: as the module asks.
    unsafe { report(pool, receiver, Event::ResumeRecv) }
}

/// The decoder found a fatal error: from now on what arrives is discarded, by the receiver itself.
///
/// Returns what is to be done now, or with `DEMUXBUF_ERROR` set
/// a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_STALE`,
/// `DEMUXBUF_ERR_CLOSED`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_receiver_fail(pool: *mut demuxbuf_pool, receiver: u64) -> demuxbuf_step {
    // SAFETY: as the module asks.
    unsafe { report(pool, receiver, Event::Fail) }
}

/// These pending actions are done: any of want_recv, stop_recv, shed, end, cannot_fit, reschedule; of a completion host
/// also recv, when the receive is submitted: until its outcome is reported, what it goes to stays where it is.
///
/// Returns what is to be done now, or with `DEMUXBUF_ERROR` set
/// a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_STALE`,
/// `DEMUXBUF_ERR_NOT_PENDING`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_receiver_done(
    pool: *mut demuxbuf_pool,
    receiver: u64,
    actions: u32,
) -> demuxbuf_step {
    if actions != DEMUXBUF_WANT_RECV {
        // SAFETY: as the module asks.
        return unsafe { done_slowly(pool, receiver, actions) };
    }
    let arm = |mut pool: FastPath<'_>, id| pool.arm(id);
    // SAFETY: as the module asks.
    unsafe { fast(pool, receiver, arm).unwrap_or_else(|| armed(pool, receiver, actions)) }
}

/// Reports any event by its number: `DEMUXBUF_EVENT_*`. The calls above are the same for one event each.
///
/// `value` is what the event counts: bytes, reasons or actions; 0 for an event that counts nothing.
/// Returns what is to be done now, or with `DEMUXBUF_ERROR` set
/// a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_EVENT`, `DEMUXBUF_ERR_RANGE` (a value for an
/// event that counts nothing), `DEMUXBUF_ERR_INTERNAL_EVENT` (a buffer event: the pool drives these); or, as the
/// event has it: `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_STALE`, `DEMUXBUF_ERR_CLOSED`, `DEMUXBUF_ERR_NO_BUFFER`,
/// `DEMUXBUF_ERR_TOO_MANY_BYTES`, `DEMUXBUF_ERR_ZERO_BYTES`, `DEMUXBUF_ERR_NO_REASONS`, `DEMUXBUF_ERR_AFTER_END`,
/// `DEMUXBUF_ERR_NOT_PENDING`, `DEMUXBUF_ERR_NO_BUFFER_FREE`, `DEMUXBUF_ERR_IN_PLACE`, `DEMUXBUF_ERR_LOOKED_AT`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_receiver_report(
    pool: *mut demuxbuf_pool,
    receiver: u64,
    event: u32,
    value: u32,
) -> demuxbuf_step {
    match event_of(event, value) {
        // SAFETY: as the module asks.
        Ok(event) => unsafe { report(pool, receiver, event) },
        // SAFETY: as the module asks.
        Err(status) => unsafe { step(pool, receiver, Refuse(status)) },
    }
}

/// The connection is going away, in whatever state it is: what it holds or waits for is released in this step, what
/// was buffered is counted as dropped, and the handle ends with `DEMUXBUF_FINISHED`: at once, or if a receive is in
/// flight (completion), with its outcome.
///
/// Returns what is to be done now, or with `DEMUXBUF_ERROR` set
/// a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_STALE`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_receiver_close(pool: *mut demuxbuf_pool, receiver: u64) -> demuxbuf_step {
    // SAFETY: as the module asks.
    unsafe { step(pool, receiver, Close) }
}
