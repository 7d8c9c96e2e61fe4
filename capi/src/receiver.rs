//! One connection bound to a pool: the convenient way in for C.

use super::actions::DEMUXBUF_WANT_RECV;
use super::any_pool::AnyPool;
use super::event::{done, event_of};
use super::guard::{InPool, demuxbuf_pool};
use super::info::demuxbuf_receiver_info;
use super::out::{Out, StructOut};
use super::pool::{status, tenant_of};
use super::row_call::{Decoded, DecodedUsable, Grow, Pending, Refuse, Report, RowCall};
use super::status::*;
use super::step::demuxbuf_step;
use demuxbuf::connection::Event;
use demuxbuf::pool::{BufferSource, LeasedContent, Pool, ReceiverId, Step};
use demuxbuf::shared::PoolShard;

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

/// # Safety
///
/// As for `InPool::new`.
#[inline(always)]
unsafe fn step(pool: *mut demuxbuf_pool, receiver: u64, call: impl RowCall) -> demuxbuf_step {
    let id = ReceiverId::from_bits(receiver);
    // SAFETY: as this function asks.
    let result = unsafe { InPool::new(pool) }.with(|pool| pool.step(id, call));
    result.unwrap_or_else(demuxbuf_step::status)
}

/// The fast path, if the pool is of this kind, for the events of every receive and a `DEMUXBUF_WANT_RECV` that is done.
/// Where it does not apply, `otherwise` goes on: for a pool of one thread that is the fast path of a shard, in a call
/// of its own with the convention of C, which leaves the arguments where they are and costs the other kind no register.
/// After that the slow path, which has that of a pool on the memory model, reports what is wrong, if anything is.
///
/// # Safety
///
/// As for `InPool::new`.
#[inline(always)]
unsafe fn step_fast<S: BufferSource>(
    pool: *mut demuxbuf_pool,
    receiver: u64,
    of_kind: impl FnOnce(&mut AnyPool) -> Option<&mut Pool<S>>,
    fast: impl FnOnce(&mut Pool<S>, ReceiverId) -> Option<Step>,
    otherwise: impl FnOnce() -> demuxbuf_step,
) -> demuxbuf_step {
    // SAFETY: as this function asks.
    let taken = unsafe { InPool::new(pool) }.with_sound(|pool| {
        let pool = of_kind(pool)?;
        let step = fast(pool, ReceiverId::from_bits(receiver))?;
        Some(demuxbuf_step::at(pool.step_memory(&step), step.actions))
    });
    match taken {
        Ok(Some(step)) => step,
        Ok(None) => otherwise(),
        Err(status) => demuxbuf_step::status(status),
    }
}

/// # Safety
///
/// As for `InPool::new`.
#[inline(never)]
unsafe fn report(pool: *mut demuxbuf_pool, receiver: u64, event: Event) -> demuxbuf_step {
    // SAFETY: as this function asks.
    unsafe { step(pool, receiver, Report(event)) }
}

/// # Safety
///
/// As for `InPool::new`.
#[inline(never)]
unsafe fn report_decoded(pool: *mut demuxbuf_pool, receiver: u64, consumed: u32, need_more: u32) -> demuxbuf_step {
    // SAFETY: as this function asks.
    unsafe { step(pool, receiver, Decoded { consumed, need_more }) }
}

/// # Safety
///
/// As for `InPool::new`.
#[inline(never)]
unsafe extern "C" fn shard_readable(pool: *mut demuxbuf_pool, receiver: u64) -> demuxbuf_step {
    // SAFETY: as this function asks.
    let slow = || unsafe { report(pool, receiver, Event::Readable) };
    // SAFETY: as this function asks.
    unsafe { step_fast(pool, receiver, AnyPool::shard, Pool::try_fast_begin, slow) }
}

/// # Safety
///
/// As for `InPool::new`.
#[inline(never)]
unsafe extern "C" fn shard_received(pool: *mut demuxbuf_pool, receiver: u64, bytes: u32) -> demuxbuf_step {
    let receive = |pool: &mut Pool<PoolShard>, id| pool.try_fast_receive(id, bytes);
    // SAFETY: as this function asks.
    let slow = || unsafe { report(pool, receiver, Event::Received { bytes }) };
    // SAFETY: as this function asks.
    unsafe { step_fast(pool, receiver, AnyPool::shard, receive, slow) }
}

/// # Safety
///
/// As for `InPool::new`.
#[inline(never)]
unsafe extern "C" fn shard_decoded(
    pool: *mut demuxbuf_pool,
    receiver: u64,
    consumed: u32,
    need_more: u32,
) -> demuxbuf_step {
    let finish = |pool: &mut Pool<PoolShard>, id| match need_more {
        0 => pool.try_fast_finish(id, consumed),
        _ => None,
    };
    // SAFETY: as this function asks.
    let slow = || unsafe { report_decoded(pool, receiver, consumed, need_more) };
    // SAFETY: as this function asks.
    unsafe { step_fast(pool, receiver, AnyPool::shard, finish, slow) }
}

/// # Safety
///
/// As for `InPool::new`.
#[inline(never)]
unsafe extern "C" fn shard_done(pool: *mut demuxbuf_pool, receiver: u64, actions: u32) -> demuxbuf_step {
    let arm = |pool: &mut Pool<PoolShard>, id| match actions {
        DEMUXBUF_WANT_RECV => pool.try_fast_arm(id),
        _ => None,
    };
    // SAFETY: as this function asks.
    let slow = || unsafe { report(pool, receiver, done(actions)) };
    // SAFETY: as this function asks.
    unsafe { step_fast(pool, receiver, AnyPool::shard, arm, slow) }
}

/// Moves what a receiver holds to a buffer of a larger size, because one frame needs it (`DEMUXBUF_CANNOT_FIT`). If
/// none is free it waits for it and goes on with what it holds. The next buffer is of the usual size again. The wait
/// ends with its need: when the frame fits after all or a part of it is decoded, when it is blocked, and with the end
/// of the stream, an error, a failure or close. A frame that still does not fit once it is unblocked is reported again
/// (`DEMUXBUF_CANNOT_FIT`).
///
/// Cost: O(1), and a copy of what is buffered. Returns what is to be done now,
/// or with `DEMUXBUF_ERROR` set a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_POISONED`,
/// `DEMUXBUF_ERR_STALE`, `DEMUXBUF_ERR_NO_BUFFER`, `DEMUXBUF_ERR_SIZE`, `DEMUXBUF_ERR_NOT_LARGER`,
/// `DEMUXBUF_ERR_TOO_LARGE` (it could never be granted beside what is held), `DEMUXBUF_ERR_ALREADY_WAITING`,
/// `DEMUXBUF_ERR_TABLE_FULL`, `DEMUXBUF_ERR_IN_FLIGHT`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_receiver_grow(
    pool: *mut demuxbuf_pool,
    receiver: u64,
    size_index: u32,
) -> demuxbuf_step {
    // SAFETY: as the module asks.
    unsafe { step(pool, receiver, Grow { size_index }) }
}

/// Requests in the name of `tenant` from now on, or with 0 for no tenant. What is held or waited for stays as it is; on the
/// memory model it counts for the new tenant.
///
/// Returns `DEMUXBUF_OK`; `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_STALE` (receiver or tenant),
/// `DEMUXBUF_ERR_TENANTS_UNSUPPORTED` (a tenant of a shared pool),
/// `DEMUXBUF_ERR_TOO_LARGE` (the tenant's cap is below a receiver's first buffer); nothing is changed then.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_receiver_set_tenant(pool: *mut demuxbuf_pool, receiver: u64, tenant: u64) -> i32 {
    // SAFETY: as the module asks.
    let pool = unsafe { InPool::new(pool) };
    let id = ReceiverId::from_bits(receiver);
    status(pool.with(|pool| pool.set_tenant(id, tenant_of(pool, tenant)).map_err(status_of)))
}

/// Takes the buffer and its content away from a receiver: the lease is the host's, reading goes on into another.
///
/// Call `demuxbuf_receiver_pending` next.
/// Returns `DEMUXBUF_OK` and writes `*content`; `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_STALE`,
/// `DEMUXBUF_ERR_NO_BUFFER` (nothing is held, or only a parking slot),
/// `DEMUXBUF_ERR_NO_BUFFER_FREE` (on the memory model: none that the content could leave with), `DEMUXBUF_ERR_IN_FLIGHT`.
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
/// Returns what is to be done now, or with `DEMUXBUF_ERROR` set
/// a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_STALE`,
/// `DEMUXBUF_ERR_TOO_MANY_BYTES`, `DEMUXBUF_ERR_NO_BUFFER_FREE` (on the memory model: `DEMUXBUF_DECODE` is not pending, and
/// no buffer is free to decode in),
/// `DEMUXBUF_ERR_IN_FLIGHT` (from a parking slot), `DEMUXBUF_ERR_CLOSED`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_receiver_decoded(
    pool: *mut demuxbuf_pool,
    receiver: u64,
    consumed: u32,
    need_more: u32,
) -> demuxbuf_step {
    let finish = |pool: &mut Pool, id| match need_more {
        0 => pool.try_fast_finish(id, consumed),
        _ => None,
    };
    // SAFETY: as the module asks.
    unsafe { step_fast(pool, receiver, AnyPool::own, finish, || shard_decoded(pool, receiver, consumed, need_more)) }
}

/// As `demuxbuf_receiver_decoded`, of a decoder that can use up to `usable` bytes at once, though `need_more` help: payload
/// that is passed on in pieces needs 1, and can use all of it. On the memory model the next receive takes as many while
/// memory is short; elsewhere it makes no difference. 0 for the same as `need_more`.
///
/// Returns what is to be done now, or with `DEMUXBUF_ERROR` set a status, and nothing is changed: `DEMUXBUF_ERR_NULL` and the
/// others of `demuxbuf_receiver_decoded`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_receiver_decoded_usable(
    pool: *mut demuxbuf_pool,
    receiver: u64,
    consumed: u32,
    need_more: u32,
    usable: u32,
) -> demuxbuf_step {
    // SAFETY: as the module asks.
    unsafe { step(pool, receiver, DecodedUsable { consumed, need_more, usable }) }
}

/// A hint that events of this receiver follow soon: the processor fetches its row from memory meanwhile. With more
/// connections than the caches hold, nearly every event waits for its row otherwise.
///
/// When the poller returns a batch, call this for all of its events first, and handle the events then; take batches of at
/// most about 100 events, since what is fetched has to stay in the first cache until it is used. Fetch your own state of
/// the connection in the same pass.
/// Any handle is harmless, a stale one too; so are NULL and a poisoned pool. Nothing is changed.
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
    // SAFETY: as the module asks.
    unsafe { step(pool, receiver, Pending) }
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
    // SAFETY: as the module asks.
    unsafe { step_fast(pool, receiver, AnyPool::own, Pool::try_fast_begin, || shard_readable(pool, receiver)) }
}

/// One receive brought `bytes` bytes, at most `bytes` of the step that asked for it.
///
/// Returns what is to be done now, or with `DEMUXBUF_ERROR` set
/// a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_STALE`,
/// `DEMUXBUF_ERR_ZERO_BYTES` (report the end of the stream instead), `DEMUXBUF_ERR_TOO_MANY_BYTES`,
/// `DEMUXBUF_ERR_NO_BUFFER`, `DEMUXBUF_ERR_AFTER_END`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_receiver_received(
    pool: *mut demuxbuf_pool,
    receiver: u64,
    bytes: u32,
) -> demuxbuf_step {
    let receive = |pool: &mut Pool, id| pool.try_fast_receive(id, bytes);
    // SAFETY: as the module asks.
    unsafe { step_fast(pool, receiver, AnyPool::own, receive, || shard_received(pool, receiver, bytes)) }
}

/// One receive found nothing.
///
/// Returns what is to be done now, or with `DEMUXBUF_ERROR` set
/// a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_STALE`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_receiver_would_block(pool: *mut demuxbuf_pool, receiver: u64) -> demuxbuf_step {
    // SAFETY: as the module asks.
    unsafe { report(pool, receiver, Event::WouldBlock) }
}

/// One receive found nothing, and the host has armed read interest, or its report is to come: `would_block` and the report
/// of `DEMUXBUF_WANT_RECV` in one call, for hosts that arm it as soon as they find nothing (one-shot, optimistic;
/// completion: that have submitted a poll). `DEMUXBUF_STOP_RECV` is pending then if read interest is not wanted.
///
/// Returns what is to be done now, or with `DEMUXBUF_ERROR` set
/// a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_STALE`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_receiver_would_block_armed(pool: *mut demuxbuf_pool, receiver: u64) -> demuxbuf_step {
    // SAFETY: as the module asks.
    unsafe { report(pool, receiver, Event::WouldBlockArmed) }
}

/// The peer will send no more. In any state, with or without a receive.
///
/// Returns what is to be done now, or with `DEMUXBUF_ERROR` set
/// a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_STALE`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_receiver_end_of_stream(pool: *mut demuxbuf_pool, receiver: u64) -> demuxbuf_step {
    // SAFETY: as the module asks.
    unsafe { report(pool, receiver, Event::EndOfStream) }
}

/// The transport failed. In any state, with or without a receive.
///
/// Returns what is to be done now, or with `DEMUXBUF_ERROR` set
/// a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_STALE`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_receiver_transport_error(pool: *mut demuxbuf_pool, receiver: u64) -> demuxbuf_step {
    // SAFETY: as the module asks.
    unsafe { report(pool, receiver, Event::TransportError) }
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
    unsafe { report(pool, receiver, Event::Block { reasons }) }
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
    unsafe { report(pool, receiver, Event::Unblock { reasons }) }
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

/// The host wants no reading for reasons of its own.
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
    let arm = |pool: &mut Pool, id| match actions {
        DEMUXBUF_WANT_RECV => pool.try_fast_arm(id),
        _ => None,
    };
    // SAFETY: as the module asks.
    unsafe { step_fast(pool, receiver, AnyPool::own, arm, || shard_done(pool, receiver, actions)) }
}

/// Reports any event by its number: `DEMUXBUF_EVENT_*`. The calls above are the same for one event each.
///
/// `value` is what the event counts: bytes, reasons or actions; 0 for an event that counts nothing.
/// Returns what is to be done now, or with `DEMUXBUF_ERROR` set
/// a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_EVENT`, `DEMUXBUF_ERR_RANGE` (a value for an
/// event that counts nothing), `DEMUXBUF_ERR_INTERNAL_EVENT` (a buffer event: the pool drives these); or, as the
/// event has it: `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_STALE`, `DEMUXBUF_ERR_CLOSED`, `DEMUXBUF_ERR_NO_BUFFER`,
/// `DEMUXBUF_ERR_TOO_MANY_BYTES`, `DEMUXBUF_ERR_ZERO_BYTES`, `DEMUXBUF_ERR_NO_REASONS`, `DEMUXBUF_ERR_AFTER_END`,
/// `DEMUXBUF_ERR_NOT_PENDING`, `DEMUXBUF_ERR_NO_BUFFER_FREE`, `DEMUXBUF_ERR_IN_FLIGHT`.
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
    unsafe { report(pool, receiver, Event::Close) }
}
