//! One connection bound to a pool: the convenient way in for C.

use super::any_pool::AnyPool;
use super::connection::{DEMUXBUF_WANT_RECV, demuxbuf_connection_info, done, mask_error};
use super::pool::{
    class_of, demuxbuf_pool, size_of_index, status_of, tenant_of, with_own_pool, with_pool, with_pool_ref,
    with_sound_pool,
};
use super::status::*;
use core::ptr::NonNull;
use demuxbuf::connection::{Action, Actions, Event};
use demuxbuf::pool::{BufferSource, LeasedContent, Pool, ReceiverId, Step};
use demuxbuf::scheduler::{LeaseId, Reach};
use demuxbuf::shared::PoolShard;

/// What is to be done now, and where. Returned by value.
#[allow(non_camel_case_types)]
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct demuxbuf_step {
    /// With `DEMUXBUF_RECV`: where to receive to. Else what is buffered: one contiguous piece, for `DEMUXBUF_DECODE`
    /// and as the residue of `DEMUXBUF_END`; NULL if nothing is.
    ///
    /// Valid until the next event for this receiver, and no longer than the next `demuxbuf_pool_poll_notice`: that call
    /// may move the bytes of any receiver of the pool, also of one that it does not name. `demuxbuf_receiver_pending`
    /// has the new place. These calls never move or free it: `demuxbuf_receiver_pending`, `demuxbuf_receiver_describe`,
    /// calls for another receiver, calls for the pool but `demuxbuf_pool_free`. While `DEMUXBUF_DECODE` is pending,
    /// pause_recv, resume_recv and yield do not either, nor does `demuxbuf_pool_poll_notice` unless it names the
    /// receiver. Where a submitted receive goes stays until its outcome.
    pub data: *mut u8,
    /// Bytes at `data`: the room to receive into, or what is buffered.
    pub bytes: u32,
    /// Mask of `DEMUXBUF_*` actions: WANT_RECV, STOP_RECV, RECV, DECODE, SHED, END, FINISHED, CANNOT_FIT, RESCHEDULE.
    /// With `DEMUXBUF_ERROR` set it is a status instead (`demuxbuf_actions_status_inline`), and nothing is changed.
    pub actions: u32,
}

impl demuxbuf_step {
    #[inline]
    pub(super) fn of(pool: &mut AnyPool, index: u32, actions: Actions) -> demuxbuf_step {
        demuxbuf_step::at(pool.area(index, actions.has(Action::Recv)), actions)
    }

    #[inline(always)]
    fn at(area: Option<(NonNull<u8>, u32)>, actions: Actions) -> demuxbuf_step {
        let (data, bytes) = area.map_or((core::ptr::null_mut(), 0), |(start, bytes)| (start.as_ptr(), bytes));
        demuxbuf_step { data, bytes, actions: actions.bits() }
    }

    pub(super) const fn status(status: i32) -> demuxbuf_step {
        demuxbuf_step { data: core::ptr::null_mut(), bytes: 0, actions: mask_error(status) }
    }
}

/// Everything there is to print about a receiver.
#[allow(non_camel_case_types)]
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct demuxbuf_receiver_info {
    /// What the host gave at attach.
    pub token: u64,
    /// How long it has been queued, in nanoseconds of the pool's clock; 0 if it is not.
    pub wait_age_ns: u64,
    /// Grants that passed it while it is queued; 0 if it is not.
    pub bypasses: u64,
    /// For how long it has held its buffer, in nanoseconds; 0 if it holds none or leases have no deadline.
    pub held_ns: u64,
    /// For how long it has made no progress with it, in nanoseconds.
    pub idle_ns: u64,
    /// Bytes it has consumed from it.
    pub progress_bytes: u64,
    /// Class of its requests.
    pub class_index: u32,
    /// The connection's state.
    pub connection: demuxbuf_connection_info,
}

/// A buffer that leaves or enters a receiver with what is in it.
#[allow(non_camel_case_types)]
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct demuxbuf_leased_content {
    /// The buffer; give it back with `demuxbuf_pool_release`.
    pub lease: u64,
    /// Where the content starts in the buffer, in bytes.
    pub offset: u32,
    /// Length of the content, in bytes.
    pub buffered_bytes: u32,
}

#[inline(always)]
fn step(
    pool: *mut demuxbuf_pool,
    receiver: u64,
    body: impl FnOnce(&mut AnyPool, u32) -> Result<Actions, i32>,
) -> demuxbuf_step {
    let result = with_pool(pool, |pool| {
        let index = pool.find(ReceiverId::from_bits(receiver)).map_err(status_of)?;
        let actions = body(pool, index)?;
        Ok(demuxbuf_step::of(pool, index, actions))
    });
    result.unwrap_or_else(demuxbuf_step::status)
}

/// The fast path, for the events of every receive and for read interest that is armed again, if the pool is of a kind.
/// Where it does not apply, `otherwise` goes on: for a pool of one thread that is the fast path of a shard, in a call of its
/// own with the convention of C, which leaves the arguments where they are and costs the other kind no register. After that
/// the slow path finds out what is wrong, if anything is.
#[inline(always)]
fn step_fast<S: BufferSource>(
    pool: *mut demuxbuf_pool,
    receiver: u64,
    of_kind: impl FnOnce(&mut AnyPool) -> Option<&mut Pool<S>>,
    fast: impl FnOnce(&mut Pool<S>, ReceiverId) -> Option<Step>,
    otherwise: impl FnOnce() -> demuxbuf_step,
) -> demuxbuf_step {
    let taken = with_sound_pool(pool, |pool| {
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

#[inline(never)]
fn report(pool: *mut demuxbuf_pool, receiver: u64, event: Event) -> demuxbuf_step {
    step(pool, receiver, |pool, index| pool.handle_row(index, event).map_err(status_of))
}

#[inline(never)]
fn report_decoded(pool: *mut demuxbuf_pool, receiver: u64, consumed: u32, need_more: u32) -> demuxbuf_step {
    step(pool, receiver, |pool, index| pool.consume(index, consumed, need_more).map_err(status_of))
}

#[inline(never)]
extern "C" fn shard_readable(pool: *mut demuxbuf_pool, receiver: u64) -> demuxbuf_step {
    step_fast(pool, receiver, AnyPool::shard, Pool::try_fast_begin, || report(pool, receiver, Event::Readable))
}

#[inline(never)]
extern "C" fn shard_received(pool: *mut demuxbuf_pool, receiver: u64, bytes: u32) -> demuxbuf_step {
    let receive = |pool: &mut Pool<PoolShard>, id| pool.try_fast_receive(id, bytes);
    step_fast(pool, receiver, AnyPool::shard, receive, || report(pool, receiver, Event::Received { bytes }))
}

#[inline(never)]
extern "C" fn shard_decoded(pool: *mut demuxbuf_pool, receiver: u64, consumed: u32, need_more: u32) -> demuxbuf_step {
    let finish = |pool: &mut Pool<PoolShard>, id| match need_more {
        0 => pool.try_fast_finish(id, consumed),
        _ => None,
    };
    step_fast(pool, receiver, AnyPool::shard, finish, || report_decoded(pool, receiver, consumed, need_more))
}

#[inline(never)]
extern "C" fn shard_done(pool: *mut demuxbuf_pool, receiver: u64, actions: u32) -> demuxbuf_step {
    let arm = |pool: &mut Pool<PoolShard>, id| match actions {
        DEMUXBUF_WANT_RECV => pool.try_fast_arm(id),
        _ => None,
    };
    step_fast(pool, receiver, AnyPool::shard, arm, || report(pool, receiver, done(actions)))
}

/// Attaches a connection: empty, or with `length` bytes at `bytes` that are there already (a protocol upgrade), which
/// are copied. `class_index` is that of its requests; `token` comes back with grants. `*receiver` is its handle until
/// `DEMUXBUF_FINISHED`; call `demuxbuf_receiver_pending` next.
///
/// Thread rule: one thread at a time per pool. Cost: O(1), and the copy.
/// Returns `DEMUXBUF_OK`; `DEMUXBUF_ERR_NULL` (also: `bytes` NULL and `length` not 0), `DEMUXBUF_ERR_POISONED`,
/// `DEMUXBUF_ERR_CLASS`, `DEMUXBUF_ERR_TABLE_FULL`, `DEMUXBUF_ERR_TOO_MANY_BYTES` (more than a buffer),
/// `DEMUXBUF_ERR_NO_BUFFER_FREE` (none for these bytes now); nothing is changed then.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_receiver_attach(
    pool: *mut demuxbuf_pool,
    class_index: u32,
    token: u64,
    bytes: *const u8,
    length: size_t,
    receiver: *mut u64,
) -> i32 {
    // SAFETY: NULL or valid, as the module asks.
    let Some(receiver) = (unsafe { receiver.as_mut() }) else {
        return DEMUXBUF_ERR_NULL;
    };
    if length > isize::MAX as usize {
        return DEMUXBUF_ERR_TOO_MANY_BYTES;
    }
    let bytes = match (bytes.is_null(), length) {
        (_, 0) => &[],
        (true, _) => return DEMUXBUF_ERR_NULL,
        // SAFETY: not NULL, so valid for `length` bytes, as the module asks; the length was checked above.
        (false, _) => unsafe { core::slice::from_raw_parts(bytes, length) },
    };
    let attached =
        with_own_pool(pool, |pool| pool.attach_with(class_of(class_index)?, token, bytes).map_err(status_of));
    match attached {
        Ok(id) => {
            *receiver = id.to_bits();
            DEMUXBUF_OK
        }
        Err(status) => status,
    }
}

#[allow(non_camel_case_types)]
type size_t = usize;

/// Attaches a connection to a buffer of the host's own and the content in it, without copying. The lease is the
/// receiver's then. `*receiver` is its handle; call `demuxbuf_receiver_pending` next. The lease may come from any pool of
/// the same `demuxbuf_shared_pool`, also from one that was freed.
///
/// Thread rule: one thread at a time per pool. Of several threads that release or adopt one lease at once, one succeeds.
/// Cost: O(1). Returns `DEMUXBUF_OK`; `DEMUXBUF_ERR_NULL`,
/// `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_CLASS`, `DEMUXBUF_ERR_TABLE_FULL`, `DEMUXBUF_ERR_STALE` (not a lease of the
/// host's), `DEMUXBUF_ERR_TOO_MANY_BYTES` (content outside the buffer); nothing is changed then and the lease stays the
/// host's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_receiver_adopt(
    pool: *mut demuxbuf_pool,
    class_index: u32,
    token: u64,
    content: *const demuxbuf_leased_content,
    receiver: *mut u64,
) -> i32 {
    // SAFETY: NULL or valid, as the module asks.
    let (Some(content), Some(receiver)) = (unsafe { content.as_ref() }, unsafe { receiver.as_mut() }) else {
        return DEMUXBUF_ERR_NULL;
    };
    let adopted = with_own_pool(pool, |pool| {
        let lease = LeaseId::from_bits(pool.salted(content.lease));
        let content = LeasedContent { lease, offset: content.offset, buffered_bytes: content.buffered_bytes };
        let class = class_of(class_index)?;
        pool.adopt_within(class, token, content, Reach::Anywhere).map_err(status_of)
    });
    match adopted {
        Ok(id) => {
            *receiver = id.to_bits();
            DEMUXBUF_OK
        }
        Err(status) => status,
    }
}

/// Moves what a receiver holds to a buffer of a larger size, because one frame needs it (`DEMUXBUF_CANNOT_FIT`). If none
/// is free it waits for it and goes on with what it holds. The next buffer is of the usual size again. The wait ends with
/// its need: when the frame fits after all or a part of it is decoded, when it is blocked, and with the end of the stream,
/// an error, a failure or close. A frame that still does not fit once it is unblocked is reported again
/// (`DEMUXBUF_CANNOT_FIT`).
///
/// Thread rule: one thread at a time per pool. Cost: O(1), and a copy of what is buffered. Returns what is to be done now,
/// or with `DEMUXBUF_ERROR` set a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_POISONED`,
/// `DEMUXBUF_ERR_STALE`, `DEMUXBUF_ERR_NO_BUFFER`, `DEMUXBUF_ERR_SIZE`, `DEMUXBUF_ERR_NOT_LARGER`,
/// `DEMUXBUF_ERR_TOO_LARGE` (it could never be granted beside what is held), `DEMUXBUF_ERR_ALREADY_WAITING`, `DEMUXBUF_ERR_TABLE_FULL`,
/// `DEMUXBUF_ERR_IN_FLIGHT`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_receiver_grow(
    pool: *mut demuxbuf_pool,
    receiver: u64,
    size_index: u32,
) -> demuxbuf_step {
    step(pool, receiver, |pool, index| pool.grow_at(index, size_of_index(size_index)?).map_err(status_of))
}

/// Requests in the name of `tenant` from now on, or with 0 in nobody's. What is held or waited for stays as it is.
///
/// Thread rule: one thread at a time per pool. Cost: O(1).
/// Returns `DEMUXBUF_OK`; `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_STALE` (receiver or tenant),
/// `DEMUXBUF_ERR_TENANTS_UNSUPPORTED` (a tenant of a shared pool),
/// `DEMUXBUF_ERR_TOO_LARGE` (the tenant's cap is below a receiver's first buffer); nothing is changed then.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_receiver_set_tenant(pool: *mut demuxbuf_pool, receiver: u64, tenant: u64) -> i32 {
    let id = ReceiverId::from_bits(receiver);
    let set = with_pool(pool, |pool| pool.set_tenant(id, tenant_of(pool, tenant)).map_err(status_of));
    set.err().unwrap_or(DEMUXBUF_OK)
}

/// Takes the buffer away from a receiver with what is in it: the lease is the host's, reading goes on into another.
///
/// Thread rule: one thread at a time per pool. Cost: O(1). Call `demuxbuf_receiver_pending` next.
/// Returns `DEMUXBUF_OK` and writes `*content`; `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_STALE`,
/// `DEMUXBUF_ERR_NO_BUFFER` (nothing is held, or only a parking slot),
/// `DEMUXBUF_ERR_IN_FLIGHT`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_receiver_take(
    pool: *mut demuxbuf_pool,
    receiver: u64,
    content: *mut demuxbuf_leased_content,
) -> i32 {
    // SAFETY: NULL or valid, as the module asks.
    let Some(content) = (unsafe { content.as_mut() }) else {
        return DEMUXBUF_ERR_NULL;
    };
    let taken = with_pool(pool, |pool| {
        let LeasedContent { lease, offset, buffered_bytes } =
            pool.take(ReceiverId::from_bits(receiver)).map_err(status_of)?;
        Ok(demuxbuf_leased_content { lease: pool.salted(lease.to_bits()), offset, buffered_bytes })
    });
    match taken {
        Ok(taken) => {
            *content = taken;
            DEMUXBUF_OK
        }
        Err(status) => status,
    }
}

/// The decoder took `consumed` bytes from the front and, if `need_more` is not 0, cannot go on before so many more
/// have arrived. `consumed` and `need_more` in one call, so that a receive cycle is three calls.
///
/// Thread rule: one thread at a time per pool. Cost: O(1). Returns what is to be done now, or with `DEMUXBUF_ERROR` set
/// a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_STALE`,
/// `DEMUXBUF_ERR_TOO_MANY_BYTES`,
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
    step_fast(pool, receiver, AnyPool::own, finish, || shard_decoded(pool, receiver, consumed, need_more))
}

/// What is to be done now, without reporting anything.
///
/// Thread rule: one thread at a time per pool. Returns what is to be done now, or with `DEMUXBUF_ERROR` set a status:
/// `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_STALE`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_receiver_pending(pool: *mut demuxbuf_pool, receiver: u64) -> demuxbuf_step {
    step(pool, receiver, |pool, index| Ok(pool.pending_at(index)))
}

/// Writes everything there is to print about a receiver.
///
/// Thread rule: one thread at a time per pool.
/// Returns `DEMUXBUF_OK`; `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_STALE`, and nothing is written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_receiver_describe(
    pool: *const demuxbuf_pool,
    receiver: u64,
    info: *mut demuxbuf_receiver_info,
) -> i32 {
    // SAFETY: NULL or valid, as the module asks.
    let Some(info) = (unsafe { info.as_mut() }) else {
        return DEMUXBUF_ERR_NULL;
    };
    match with_pool_ref(pool, |pool| pool.describe(ReceiverId::from_bits(receiver)).map_err(status_of)) {
        Ok(found) => {
            let lease_info = found.lease_info.unwrap_or_default();
            *info = demuxbuf_receiver_info {
                held_ns: lease_info.held_ns,
                idle_ns: lease_info.idle_ns,
                progress_bytes: lease_info.progress_bytes,
                token: found.token,
                wait_age_ns: found.wait_age_ns,
                bypasses: found.bypasses,
                class_index: found.class.into(),
                connection: demuxbuf_connection_info::of(&found.connection),
            };
            DEMUXBUF_OK
        }
        Err(status) => status,
    }
}

/// The transport has bytes, an end of stream or an error to report. Begins a new turn. Repeats are harmless.
///
/// Thread rule: one thread at a time per pool. Cost: O(1). Returns what is to be done now, or with `DEMUXBUF_ERROR` set
/// a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_STALE`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_receiver_readable(pool: *mut demuxbuf_pool, receiver: u64) -> demuxbuf_step {
    step_fast(pool, receiver, AnyPool::own, Pool::try_fast_begin, || shard_readable(pool, receiver))
}

/// One receive brought `bytes` bytes, at most `bytes` of the step that asked for it.
///
/// Thread rule: one thread at a time per pool. Cost: O(1). Returns what is to be done now, or with `DEMUXBUF_ERROR` set
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
    step_fast(pool, receiver, AnyPool::own, receive, || shard_received(pool, receiver, bytes))
}

/// One receive found nothing.
///
/// Thread rule: one thread at a time per pool. Cost: O(1). Returns what is to be done now, or with `DEMUXBUF_ERROR` set
/// a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_STALE`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_receiver_would_block(pool: *mut demuxbuf_pool, receiver: u64) -> demuxbuf_step {
    report(pool, receiver, Event::WouldBlock)
}

/// The peer will send no more. In any state, with or without a receive.
///
/// Thread rule: one thread at a time per pool. Cost: O(1). Returns what is to be done now, or with `DEMUXBUF_ERROR` set
/// a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_STALE`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_receiver_end_of_stream(pool: *mut demuxbuf_pool, receiver: u64) -> demuxbuf_step {
    report(pool, receiver, Event::EndOfStream)
}

/// The transport failed. In any state, with or without a receive.
///
/// Thread rule: one thread at a time per pool. Cost: O(1). Returns what is to be done now, or with `DEMUXBUF_ERROR` set
/// a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_STALE`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_receiver_transport_error(pool: *mut demuxbuf_pool, receiver: u64) -> demuxbuf_step {
    report(pool, receiver, Event::TransportError)
}

/// Decoding cannot go on for these reasons of the host's. They add up.
///
/// Thread rule: one thread at a time per pool. Cost: O(1). Returns what is to be done now, or with `DEMUXBUF_ERROR` set
/// a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_STALE`,
/// `DEMUXBUF_ERR_NO_REASONS`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_receiver_block(
    pool: *mut demuxbuf_pool,
    receiver: u64,
    reasons: u32,
) -> demuxbuf_step {
    report(pool, receiver, Event::Block { reasons })
}

/// These reasons are gone; decoding resumes when none is left.
///
/// Thread rule: one thread at a time per pool. Cost: O(1). Returns what is to be done now, or with `DEMUXBUF_ERROR` set
/// a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_STALE`,
/// `DEMUXBUF_ERR_NO_REASONS`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_receiver_unblock(
    pool: *mut demuxbuf_pool,
    receiver: u64,
    reasons: u32,
) -> demuxbuf_step {
    report(pool, receiver, Event::Unblock { reasons })
}

/// The host stopped decoding for its own budget; bytes are left and nothing is wrong.
///
/// Thread rule: one thread at a time per pool. Cost: O(1). Returns what is to be done now, or with `DEMUXBUF_ERROR` set
/// a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_STALE`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_receiver_yield(pool: *mut demuxbuf_pool, receiver: u64) -> demuxbuf_step {
    report(pool, receiver, Event::Yield)
}

/// A new turn of the host's loop begins for this connection.
///
/// Thread rule: one thread at a time per pool. Cost: O(1). Returns what is to be done now, or with `DEMUXBUF_ERROR` set
/// a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_STALE`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_receiver_wake(pool: *mut demuxbuf_pool, receiver: u64) -> demuxbuf_step {
    report(pool, receiver, Event::Wake)
}

/// The host wants no reading for reasons of its own.
///
/// Thread rule: one thread at a time per pool. Cost: O(1). Returns what is to be done now, or with `DEMUXBUF_ERROR` set
/// a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_STALE`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_receiver_pause_recv(pool: *mut demuxbuf_pool, receiver: u64) -> demuxbuf_step {
    report(pool, receiver, Event::PauseRecv)
}

/// The host's reasons for pausing are gone.
///
/// Thread rule: one thread at a time per pool. Cost: O(1). Returns what is to be done now, or with `DEMUXBUF_ERROR` set
/// a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_STALE`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_receiver_resume_recv(pool: *mut demuxbuf_pool, receiver: u64) -> demuxbuf_step {
    report(pool, receiver, Event::ResumeRecv)
}

/// The decoder found a fatal error: from now on what arrives is discarded, by the receiver itself.
///
/// Thread rule: one thread at a time per pool. Cost: O(1). Returns what is to be done now, or with `DEMUXBUF_ERROR` set
/// a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_STALE`,
/// `DEMUXBUF_ERR_CLOSED`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_receiver_fail(pool: *mut demuxbuf_pool, receiver: u64) -> demuxbuf_step {
    report(pool, receiver, Event::Fail)
}

/// Memory is short: park as soon as possible.
///
/// Thread rule: one thread at a time per pool. Cost: O(1). Returns what is to be done now, or with `DEMUXBUF_ERROR` set
/// a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_STALE`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_receiver_reclaim_requested(pool: *mut demuxbuf_pool, receiver: u64) -> demuxbuf_step {
    report(pool, receiver, Event::ReclaimRequested)
}

/// The buffer is held for too long without progress: park, or else shed.
///
/// Thread rule: one thread at a time per pool. Cost: O(1). Returns what is to be done now, or with `DEMUXBUF_ERROR` set
/// a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_STALE`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_receiver_lease_expired(pool: *mut demuxbuf_pool, receiver: u64) -> demuxbuf_step {
    report(pool, receiver, Event::LeaseExpired)
}

/// These pending actions are done: any of want_recv, stop_recv, shed, end, cannot_fit, reschedule; of a completion host
/// also recv, when the receive is submitted: until its outcome is reported, what it goes to stays where it is.
///
/// Thread rule: one thread at a time per pool. Cost: O(1). Returns what is to be done now, or with `DEMUXBUF_ERROR` set
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
    step_fast(pool, receiver, AnyPool::own, arm, || shard_done(pool, receiver, actions))
}

/// The connection is going away, in whatever state it is: what it holds or waits for is given back in this step, what
/// was buffered is counted as dropped, and the handle ends with `DEMUXBUF_FINISHED`: at once, or if a receive is in flight (completion), with its outcome.
///
/// Thread rule: one thread at a time per pool. Cost: O(1). Returns what is to be done now, or with `DEMUXBUF_ERROR` set
/// a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_STALE`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_receiver_close(pool: *mut demuxbuf_pool, receiver: u64) -> demuxbuf_step {
    report(pool, receiver, Event::Close)
}
