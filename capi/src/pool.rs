//! The pool with its memory, for hosts that have no allocator of their own.

use super::any_pool::AnyPool;
use super::config::{self, demuxbuf_pool_config};
use super::guard::{InPool, demuxbuf_pool, guarded_or};
use super::make::{new_object, new_tag};
use super::never;
use super::out::Out;
use super::refusal::Message;
use super::size_t;
use super::status::*;
use core::ffi::c_char;
use demuxbuf::pool::Pool;
use demuxbuf::scheduler::TenantId;

/// A class as C passes it, or the error for one that cannot exist.
pub(super) fn class_of(class: u32) -> Result<u8, i32> {
    u8::try_from(class).map_err(|_| DEMUXBUF_ERR_CLASS)
}

/// A class as C passes it. A number that is too large for the core is no class of any pool, and neither is the largest
/// that the core has.
pub(super) fn narrowed(number: u32) -> u8 {
    u8::try_from(number).unwrap_or(u8::MAX)
}

/// A tenant as C passes it: 0 for none.
pub(super) fn tenant_of(pool: &AnyPool, tenant: u64) -> Option<TenantId> {
    (tenant != 0).then_some(TenantId::from_bits(pool.salted(tenant)))
}

pub(super) fn status(result: Result<(), i32>) -> i32 {
    result.err().unwrap_or(DEMUXBUF_OK)
}

/// Makes a pool and reserves everything it will ever need. The host owns it and frees it with `demuxbuf_pool_free`.
///
/// Receivers borrow a buffer to receive and decode, keep only what is left of a partial frame, and wait for room no
/// longer than `wait_ns_max` of `demuxbuf_pool_stats`. While others wait, `demuxbuf_pool_poll_notice` brings
/// `DEMUXBUF_STOP_RECV` for receives in flight (completion) that found nothing in the iteration in which they were
/// submitted.
///
/// A call that reads a struct of settings writes to `message` why it refuses them: a sentence that names the field, its
/// value and what is allowed. `*message_bytes` is the room there, and is then set to the room that the whole sentence
/// needs. Both count the closing 0. The sentence is cut at the end of the room. Both pointers may be NULL, and
/// `message` alone. A call that succeeds writes to neither. Thread rule: any thread; the pool is then for one thread at
/// a time.
/// Returns `DEMUXBUF_OK`; `DEMUXBUF_ERR_NULL`; `DEMUXBUF_ERR_STRUCT_SIZE`; `DEMUXBUF_ERR_UNKNOWN_FIELD`;
/// `DEMUXBUF_ERR_CONFIG`; `DEMUXBUF_ERR_NO_MEMORY`; `DEMUXBUF_ERR_TOO_MANY_POOLS` (1023 are alive in the process);
/// `DEMUXBUF_ERR_POISONED` (a defect of the library); nothing stays reserved then and `*pool` is not written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_pool_new(
    config: *const demuxbuf_pool_config,
    pool: *mut *mut demuxbuf_pool,
    message: *mut c_char,
    message_bytes: *mut size_t,
) -> i32 {
    // SAFETY: as the module asks.
    let (Some(pool), Some(message)) = (unsafe { Out::new(pool) }, unsafe { Message::new(message, message_bytes) })
    else {
        return DEMUXBUF_ERR_NULL;
    };
    let make = || {
        let tag = new_tag()?;
        // SAFETY: as the module asks.
        let config = unsafe { config::read(config, tag.low())? };
        Ok(demuxbuf_pool::new(AnyPool::Own(Pool::new(&config)?), tag))
    };
    new_object(make, pool, message)
}

/// Frees a pool, its memory and everything attached to it. NULL is harmless. Every handle and pointer of it is dead.
///
/// Of a pool of `demuxbuf_shared_pool_shard`, the buffers of the receivers go to the other threads: call
/// `demuxbuf_shared_pool_poll_wake` next. Leases of the host's own stay as they are, with their content and their
/// pointers: any thread releases or adopts them through the pool of its own. If the shared pool and the pools of all
/// other threads are freed already, the memory goes with this one, and such leases with it.
///
/// Thread rule: no other call on this pool at the same time or after; any thread. Other threads may use their own pools
/// meanwhile, and release leases that came from this one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_pool_free(pool: *mut demuxbuf_pool) {
    guarded_or((), || {
        if !pool.is_null() {
            // SAFETY: made from a `Box`, and not freed before, as the module asks.
            drop(unsafe { Box::from_raw(pool) });
        }
    })
}

/// Advances the pool's clock to this time, in monotonic nanoseconds; once in each loop iteration, before the events.
/// The first call is the origin: what began before it has its time counted from there. One call is worth at most an
/// eighth of `frame_grace_ns`, the rest does not count (`clock_skipped_ns`): a pause of the process makes no receiver
/// look idle. A time before the last one is counted and not taken. Early and repeated calls are harmless.
///
/// It ends all borrows but those of receives in flight: what was not decoded is kept, and `data` of earlier steps is
/// not valid any more.
///
/// Returns `DEMUXBUF_OK`; `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_WRONG_THREAD`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_pool_handle_timeout(pool: *mut demuxbuf_pool, now_ns: u64) -> i32 {
    // SAFETY: as the module asks.
    let pool = unsafe { InPool::new(pool) };
    status(pool.with_own(|pool| {
        pool.handle_timeout(now_ns);
        Ok(())
    }))
}

/// When `demuxbuf_pool_handle_timeout` is to be called at the latest, in nanoseconds; UINT64_MAX for never, and for
/// NULL or a poisoned pool. While a deadline runs it is at most an eighth of `frame_grace_ns` after the last call, so
/// that the clock follows real time; a time that is not after the last call is for at once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_pool_poll_timeout(pool: *const demuxbuf_pool) -> u64 {
    // SAFETY: as the module asks.
    let pool = unsafe { InPool::new(pool) };
    never::to_c(pool.look(|pool| Ok(pool.poll_timeout())).unwrap_or_default())
}

/// The published bound: the most grants that bypass a request of the host's own that waits.
///
/// Returns `DEMUXBUF_OK`; `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_POISONED`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_pool_bypass_bound(pool: *const demuxbuf_pool, grants: *mut u64) -> i32 {
    // SAFETY: as the module asks.
    let pool = unsafe { InPool::new(pool) };
    // SAFETY: as the module asks.
    let Some(grants) = (unsafe { Out::new(grants) }) else {
        return DEMUXBUF_ERR_NULL;
    };
    status(pool.look(|pool| {
        grants.write(pool.bypass_bound());
        Ok(())
    }))
}

/// Gives the pages of free buffers that were used since the last call back to the operating system and writes how many
/// bytes. A page of which a buffer in use has a part stays. For quiet times: it looks at each buffer, and costs a
/// system call for each piece of such pages. Other threads of a shared pool wait for the pages of at most 16 buffers,
/// and of at most 1 MiB if that is more than one buffer.
///
/// Returns `DEMUXBUF_OK`; `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_POISONED`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_pool_trim(pool: *mut demuxbuf_pool, bytes: *mut u64) -> i32 {
    // SAFETY: as the module asks.
    let pool = unsafe { InPool::new(pool) };
    // SAFETY: as the module asks.
    let Some(bytes) = (unsafe { Out::new(bytes) }) else {
        return DEMUXBUF_ERR_NULL;
    };
    status(pool.with(|pool| {
        bytes.write(pool.trim() as u64);
        Ok(())
    }))
}

/// Takes no new receivers from now on: attaching is `DEMUXBUF_ERR_DRAINING`. All else works as before, so that those
/// that are there end in order. `DEMUXBUF_NOTICE_DRAINED` follows, once, when nothing is left: no receiver, not even
/// one with a receive in flight; no request of the host's own that waits; and no lease, but on a shared pool, which
/// outlives them. There is no way back. On a shared pool it is for this thread, and what other threads export comes in.
///
/// Returns `DEMUXBUF_OK`, also if it drains already; `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_POISONED`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_pool_drain(pool: *mut demuxbuf_pool) -> i32 {
    // SAFETY: as the module asks.
    let pool = unsafe { InPool::new(pool) };
    status(pool.with(|pool| {
        pool.drain();
        Ok(())
    }))
}

/// Other values of `frame_grace_ns` and `blocked_ns` of the configuration, from now on: every deadline follows from
/// them, also of what is there; so do `wait_ns_max`, and the most that an advance of the clock counts for. On a shared
/// pool it is for this thread; the time after which a grant that is not picked up goes on stays.
///
/// `message` and `message_bytes` are as for `demuxbuf_pool_new`. Cost: O(receivers that are not idle).
/// Returns `DEMUXBUF_OK`; `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_CONFIG` (a value is out of
/// range), and nothing is changed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_pool_set_times(
    pool: *mut demuxbuf_pool,
    frame_grace_ns: u64,
    blocked_ns: u64,
    message: *mut c_char,
    message_bytes: *mut size_t,
) -> i32 {
    // SAFETY: as the module asks.
    let pool = unsafe { InPool::new(pool) };
    // SAFETY: as the module asks.
    let Some(message) = (unsafe { Message::new(message, message_bytes) }) else {
        return DEMUXBUF_ERR_NULL;
    };
    let set = |pool: &mut AnyPool| pool.set_times(frame_grace_ns, blocked_ns);
    status(pool.with(|pool| set(pool).map_err(|error| message.refuse(&error.into()))))
}

/// From the next advance of the clock on, the pool uses at most `limit_bytes`, rounded down to whole buffers: from the
/// least that `memory_bytes` of the configuration may be, with the reserves of the classes, up to `memory_bytes`
/// itself, which is no limit. A pool begins without one. What a pool reserves is not resident before it is used: so
/// reserve the most that is ever to be used, and limit it.
///
/// Buffers that are free beyond the limit are withheld at once, others as they are released, before any request that
/// waits. Until then memory counts as short, and what receivers keep past its deadline is evicted, as for a request of
/// the host's own: no receiver is shed that is in time. Leases of the host's own stay, those past their deadline are
/// named by `DEMUXBUF_NOTICE_OVERDUE`; receives in flight are taken back; receivers that are exported have their
/// buffers until they are imported. `to_withhold` of `demuxbuf_pool_stats` is 0 once the limit is met;
/// `demuxbuf_pool_trim` returns what is withheld to the operating system. With a higher limit buffers are free again.
///
/// On a shared pool it is for all threads, from this call on; `demuxbuf_pool_poll_wake` names threads to signal.
/// `message` and `message_bytes` are as for `demuxbuf_pool_new`. Cost: O(buffers that are withheld, or free again).
/// Returns `DEMUXBUF_OK`; `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_CONFIG` (`limit_bytes` is out of
/// range), and nothing is changed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_pool_set_memory_limit(
    pool: *mut demuxbuf_pool,
    limit_bytes: u64,
    message: *mut c_char,
    message_bytes: *mut size_t,
) -> i32 {
    // SAFETY: as the module asks.
    let pool = unsafe { InPool::new(pool) };
    // SAFETY: as the module asks.
    let Some(message) = (unsafe { Message::new(message, message_bytes) }) else {
        return DEMUXBUF_ERR_NULL;
    };
    let set = |pool: &mut AnyPool| pool.set_memory_limit(limit_bytes);
    status(pool.with(|pool| set(pool).map_err(|error| message.refuse(&error.into()))))
}

/// Checks everything that must always hold, walking all tables: for tests, not for the receive path. On a shared pool,
/// no other thread may be inside a call for any of its pools meanwhile: the check reads what they change, and would
/// report a defect where there is none.
///
/// Returns `DEMUXBUF_OK`; `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_POISONED`,
/// `DEMUXBUF_ERR_INVARIANT` (a defect of the library, or another thread was inside a call).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_pool_check_invariants(pool: *const demuxbuf_pool) -> i32 {
    // SAFETY: as the module asks.
    let pool = unsafe { InPool::new(pool) };
    status(pool.look(|pool| pool.check_invariants().map_err(|_| DEMUXBUF_ERR_INVARIANT)))
}

#[cfg(test)]
mod tests {
    use super::super::guard::{InPool, demuxbuf_pool};
    use super::super::notice::demuxbuf_pool_poll_notice;
    use super::super::receiver::demuxbuf_receiver_readable;
    use super::*;
    use demuxbuf::pool::PoolConfig;

    #[test]
    fn panic_poisons_the_pool_and_it_can_still_be_freed() {
        let pool = Pool::new(&PoolConfig::new(1 << 20, 1)).expect("the defaults are allowed");
        let tag = new_tag().ok().expect("there is a tag");
        let pool = Box::into_raw(Box::new(demuxbuf_pool::new(AnyPool::Own(pool), tag)));
        // SAFETY: the pointer is the pool made above, until the end of this function.
        let guard = unsafe { InPool::new(pool) };
        assert_eq!(guard.with_sound(|_| -> Option<()> { panic!("caught by the guard") }), Err(DEMUXBUF_ERR_POISONED));
        assert_eq!(guard.with_sound(|_| Some(())), Ok(None), "the slow path reports the cause");
        assert_eq!(guard.with(|_| Ok(())), Err(DEMUXBUF_ERR_POISONED));
        // SAFETY: the pointer is the pool made above.
        unsafe {
            assert_eq!(demuxbuf_pool_handle_timeout(pool, 1), DEMUXBUF_ERR_POISONED);
            // These look for a fast path first.
            assert_eq!(demuxbuf_pool_poll_notice(pool, &mut Default::default()), DEMUXBUF_ERR_POISONED);
            let step = demuxbuf_receiver_readable(pool, 0);
            assert_eq!((step.actions, step.bytes, step.data.is_null()), (DEMUXBUF_ERR_POISONED as u32, 0, true));
            demuxbuf_pool_free(pool);
        }
    }
}
