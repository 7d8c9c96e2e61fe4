//! One pool for several threads, and receivers that move between them.

use super::any_pool::AnyPool;
use super::config::{self, demuxbuf_pool_config};
use super::guard::{InPool, demuxbuf_pool, guarded, guarded_or};
use super::make::{new_object, new_tag};
use super::never;
use super::out::Out;
use super::pool::status;
use super::refusal::{Message, Refusal};
use super::size_t;
use super::status::*;
use super::tag::Tag;
use core::ffi::c_char;
use demuxbuf::alloc_util::{TryArc, try_box};
use demuxbuf::connection::Connection;
use demuxbuf::pool::ReceiverId;
use demuxbuf::receiving::Moved;
use demuxbuf::scheduler::LeaseId;
use demuxbuf::shared::{Arriving, ExportedReceiver, SharedPool, SharedPoolError, SharedSchedulerError, Ticket};

/// A pool that several threads share. Made by `demuxbuf_shared_pool_new`; each thread uses it through a `demuxbuf_pool`
/// of its own.
#[allow(non_camel_case_types)]
pub struct demuxbuf_shared_pool {
    inner: SharedPool,
    /// That of the pools of its threads, too: freed with the last of all.
    tag: TryArc<Tag>,
}

/// Several threads have references to one at a time.
const _: () = {
    const fn is_both<T: Send + Sync>() {}
    is_both::<demuxbuf_shared_pool>();
};

/// Bytes that a receiver keeps without a buffer when it moves, at most.
pub const DEMUXBUF_EXPORT_BYTES_MAX: usize = 64;

/// A receiver between its export and its import, with what it keeps: a plain value that the host passes on as it likes;
/// of its copies one is taken in. The fields are private to the library. All-zero is no receiver.
#[allow(non_camel_case_types)]
#[derive(Debug)]
#[repr(C)]
pub struct demuxbuf_exported_receiver {
    connection: [u32; 8],
    token: u64,
    lease: u64,
    pool: u64,
    age_ns: u64,
    entry: u32,
    uses: u32,
    offset: u32,
    class_index: u32,
    credit_bytes: i32,
    unknown_length: u32,
    kept: [u8; DEMUXBUF_EXPORT_BYTES_MAX],
    is_guess: u32,
    mark_bytes: u32,
}

const _: () = assert!(size_of::<demuxbuf_exported_receiver>() == 160 && align_of::<demuxbuf_exported_receiver>() == 8);

impl demuxbuf_exported_receiver {
    #[inline(always)]
    fn from_rust(exported: ExportedReceiver) -> demuxbuf_exported_receiver {
        demuxbuf_exported_receiver {
            // SAFETY: both are 32 bytes, and a `Connection` is integers without padding.
            connection: unsafe { core::mem::transmute::<Connection, [u32; 8]>(exported.connection) },
            token: exported.token,
            lease: exported.lease.map_or(0, LeaseId::to_bits),
            pool: exported.ticket.pool,
            age_ns: never::to_c(exported.moved.age_ns),
            entry: exported.ticket.entry,
            uses: exported.ticket.uses,
            offset: exported.offset,
            class_index: exported.class.into(),
            credit_bytes: exported.moved.credit_bytes,
            unknown_length: exported.moved.unknown_length.into(),
            kept: exported.kept,
            is_guess: exported.moved.is_guess.into(),
            mark_bytes: exported.moved.mark_bytes,
        }
    }

    /// What there is of it but for the bytes that it keeps.
    #[inline(always)]
    fn arriving(&self) -> Result<Arriving<'_>, i32> {
        Ok(Arriving {
            // SAFETY: both are 32 bytes, aligned to 4, and every bit pattern is a `Connection`, since its fields are
            // integers.
            connection: unsafe { &*(&raw const self.connection).cast::<Connection>() },
            token: self.token,
            class: u8::try_from(self.class_index).map_err(|_| DEMUXBUF_ERR_STALE)?,
            lease: (self.lease != 0).then_some(LeaseId::from_bits(self.lease)),
            offset: self.offset,
            moved: Moved {
                age_ns: never::from_c(self.age_ns),
                is_guess: self.is_guess != 0,
                mark_bytes: self.mark_bytes,
                credit_bytes: self.credit_bytes,
                unknown_length: self.unknown_length != 0,
            },
            ticket: Ticket { pool: self.pool, entry: self.entry, uses: self.uses },
        })
    }
}

/// The place of one has the other.
const _: () =
    assert!(size_of::<Connection>() == size_of::<[u32; 8]>() && align_of::<Connection>() == align_of::<[u32; 8]>());

/// Makes a pool that `shards` threads share, 1 to 1024. The host owns it and frees it with `demuxbuf_shared_pool_free`.
///
/// `config` is as for `demuxbuf_pool_new`. These are for all threads together: `memory_bytes`, of at least 8 buffers
/// for each thread; reserves, caps and tenants. These are for each thread: `receivers_max`, `waiters_max` and
/// `in_flight_max`. `classes` is at most 7, since the library needs one more. The memory of the buffers is reserved
/// here, what is a thread's own by `demuxbuf_shared_pool_shard`. `frame_grace_ns` is also the time in which a thread
/// has to pick its grants up (`demuxbuf_pool_poll_notice`). `message` and `message_bytes` are as for
/// `demuxbuf_pool_new`. Thread rule: any thread.
/// Returns `DEMUXBUF_OK`; `DEMUXBUF_ERR_NULL`; `DEMUXBUF_ERR_STRUCT_SIZE`; `DEMUXBUF_ERR_UNKNOWN_FIELD`;
/// `DEMUXBUF_ERR_CONFIG`; `DEMUXBUF_ERR_NO_MEMORY`; `DEMUXBUF_ERR_TOO_MANY_POOLS` (1023 are alive in the process);
/// `DEMUXBUF_ERR_POISONED` (a defect of the library); nothing stays reserved then and `*shared_pool` is not written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_shared_pool_new(
    config: *const demuxbuf_pool_config,
    shards: u32,
    shared_pool: *mut *mut demuxbuf_shared_pool,
    message: *mut c_char,
    message_bytes: *mut size_t,
) -> i32 {
    // SAFETY: as the module asks.
    let (Some(shared_pool), Some(message)) =
        (unsafe { Out::new(shared_pool) }, unsafe { Message::new(message, message_bytes) })
    else {
        return DEMUXBUF_ERR_NULL;
    };
    let make = || {
        let tag = new_tag()?;
        // SAFETY: as the module asks.
        let config = unsafe { config::read(config, tag.low())? };
        let inner = SharedPool::new(&config, shards)?;
        Ok::<_, Refusal>(demuxbuf_shared_pool { inner, tag })
    };
    new_object(make, shared_pool, message)
}

/// Makes the pool of one thread: a handle for all `demuxbuf_pool_*` and `demuxbuf_receiver_*` functions, for this
/// thread alone. `index` is which of the threads, from 0. The host owns it and frees it with `demuxbuf_pool_free`; then
/// this can be called for `index` again. A receiver's handle is for the pool that attached or imported it.
///
/// Thread rule: the thread that will use the pool; others may call it for their own at the same time.
/// Returns `DEMUXBUF_OK`; `DEMUXBUF_ERR_NULL`; `DEMUXBUF_ERR_RANGE` (no such thread), `DEMUXBUF_ERR_IN_USE` (it has its
/// pool), `DEMUXBUF_ERR_NO_MEMORY`, `DEMUXBUF_ERR_POISONED` (a defect of the library); `*pool` is not written then.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_shared_pool_shard(
    shared_pool: *const demuxbuf_shared_pool,
    index: u32,
    pool: *mut *mut demuxbuf_pool,
) -> i32 {
    // SAFETY: as the module asks; of a `demuxbuf_shared_pool`, which is `Sync`, nothing is changed but what threads may
    // share.
    let (Some(shared_pool), Some(pool)) = (unsafe { shared_pool.as_ref() }, unsafe { Out::new(pool) }) else {
        return DEMUXBUF_ERR_NULL;
    };
    let made = guarded(|| {
        let pool = AnyPool::Shard(shared_pool.inner.shard(index)?);
        Ok(try_box(demuxbuf_pool::new(pool, shared_pool.tag.clone()).bound_to_this_thread()).map(Box::into_raw))
    });
    match made {
        Some(Ok(Some(made))) => {
            pool.write(made);
            DEMUXBUF_OK
        }
        Some(Ok(None)) => DEMUXBUF_ERR_NO_MEMORY,
        Some(Err(SharedPoolError::Shard(SharedSchedulerError::UnknownShard { .. }))) => DEMUXBUF_ERR_RANGE,
        Some(Err(SharedPoolError::Shard(SharedSchedulerError::Closed))) => DEMUXBUF_ERR_POOL_CLOSED,
        Some(Err(SharedPoolError::Shard(_))) => DEMUXBUF_ERR_IN_USE,
        Some(Err(SharedPoolError::Memory(_))) => DEMUXBUF_ERR_NO_MEMORY,
        // A cause without a status is a defect of the library.
        Some(Err(_)) => DEMUXBUF_ERR_INVARIANT,
        None => DEMUXBUF_ERR_POISONED,
    }
}

/// As `demuxbuf_pool_poll_wake`, for a thread without a pool: call it after `demuxbuf_pool_free`, which may have handed
/// what the pool held to other threads.
///
/// Thread rule: any thread, any time before `demuxbuf_shared_pool_free`. Cost: O(threads / 64), no lock.
/// Returns `DEMUXBUF_OK` and writes `*index`; `DEMUXBUF_STATUS_NONE`; `DEMUXBUF_ERR_NULL`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_shared_pool_poll_wake(
    shared_pool: *const demuxbuf_shared_pool,
    index: *mut u32,
) -> i32 {
    // SAFETY: as the module asks.
    let (Some(shared_pool), Some(index)) = (unsafe { shared_pool.as_ref() }, unsafe { Out::new(index) }) else {
        return DEMUXBUF_ERR_NULL;
    };
    match guarded(|| shared_pool.inner.poll_wake()) {
        Some(Some(thread)) => {
            index.write(thread);
            DEMUXBUF_OK
        }
        Some(None) => DEMUXBUF_STATUS_NONE,
        None => DEMUXBUF_ERR_POISONED,
    }
}

/// Frees a shared pool, before the pools of its threads or after them; its memory goes with the last of them, so
/// release all leases of the host's own before that. NULL is harmless. In pools that are still there, attaching,
/// adopting and requests of the host's own are `DEMUXBUF_ERR_POOL_CLOSED` from now on. The receivers and requests that
/// are there are served to their end.
///
/// Thread rule: no other call with this pointer at the same time or after; the threads may use their pools meanwhile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_shared_pool_free(shared_pool: *mut demuxbuf_shared_pool) {
    guarded_or((), || {
        if !shared_pool.is_null() {
            // SAFETY: made from a `Box`, and not freed before, as the module asks.
            drop(unsafe { Box::from_raw(shared_pool) });
        }
    })
}

/// A thread that has something to pick up, or deadlines to observe, and sleeps for all that is known. Call it until it
/// returns `DEMUXBUF_STATUS_NONE`, before this thread sleeps, and signal each thread that it names, by an eventfd or
/// the like; that thread then drains `demuxbuf_pool_poll_notice`. Each is named once until it has looked.
///
/// Thread rule: the pool's thread; another is refused. Cost: O(threads / 64), no lock.
/// Returns `DEMUXBUF_OK` and writes `*index`; `DEMUXBUF_STATUS_NONE`, always so for a pool of one thread;
/// `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_WRONG_THREAD`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_pool_poll_wake(pool: *mut demuxbuf_pool, index: *mut u32) -> i32 {
    // SAFETY: as the module asks.
    let pool = unsafe { InPool::new(pool) };
    // SAFETY: as the module asks.
    let Some(index) = (unsafe { Out::new(index) }) else {
        return DEMUXBUF_ERR_NULL;
    };
    match pool.with_own(|pool| Ok(pool.poll_wake())) {
        Ok(Some(thread)) => {
            index.write(thread);
            DEMUXBUF_OK
        }
        Ok(None) => DEMUXBUF_STATUS_NONE,
        Err(status) => status,
    }
}

/// Takes a receiver off this thread, in whatever state: idle, waiting, keeping bytes, decoding. Its handle ends;
/// `*exported` is what to give to `demuxbuf_receiver_import` on another thread, or on this one again. More than 64
/// bytes that it keeps leave with a buffer. If you drop an exported receiver, that buffer leaks until the shared pool
/// is freed. To discard one, import it and close it.
///
/// Thread rule: the pool's thread; another is refused. Cost: O(1), a copy of what it keeps, and the lock of the
/// exports.
/// Returns `DEMUXBUF_OK` and writes `*exported`; `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_STALE`,
/// `DEMUXBUF_ERR_WRONG_THREAD`, `DEMUXBUF_ERR_NOT_SHARED` (a pool of one thread), `DEMUXBUF_ERR_CLOSED`,
/// `DEMUXBUF_ERR_IN_FLIGHT` (a receive), `DEMUXBUF_ERR_IN_PLACE`, `DEMUXBUF_ERR_LOOKED_AT`, `DEMUXBUF_ERR_NOT_MOVABLE`
/// (it is to be shed), `DEMUXBUF_ERR_NO_BUFFER_FREE` (it keeps more than 64 bytes, and no buffer is free to move them
/// in, or its tenant may have none), `DEMUXBUF_ERR_EXPORTS_FULL` (`receivers_max` for each thread are exported and not
/// imported yet); nothing is changed then.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_receiver_export(
    pool: *mut demuxbuf_pool,
    receiver: u64,
    exported: *mut demuxbuf_exported_receiver,
) -> i32 {
    // SAFETY: as the module asks.
    let pool = unsafe { InPool::new(pool) };
    // SAFETY: as the module asks.
    let Some(exported) = (unsafe { Out::new(exported) }) else {
        return DEMUXBUF_ERR_NULL;
    };
    status(pool.with_own(|pool| {
        let write = |leaving| exported.write(demuxbuf_exported_receiver::from_rust(leaving));
        pool.export_to(ReceiverId::from_bits(receiver), write).map_err(status_of)
    }))
}

/// Takes in a receiver that was exported, with its token. `*exported` is all-zero then, and `*receiver` its handle
/// here; call `demuxbuf_receiver_pending` next. Pass the struct on as it is: its ticket and its limits are checked, so
/// no memory is touched that is not the receiver's, but most other changes of its bytes are not noticed, and give the
/// receiver a wrong state. If it waited for room, it waits again here, and the time of its frame goes on from where it
/// was.
///
/// Thread rule: the pool's thread; another is refused. Cost: O(1), a copy of what it keeps, and the lock of the
/// exports.
/// Returns `DEMUXBUF_OK`; `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_WRONG_THREAD`,
/// `DEMUXBUF_ERR_NOT_SHARED` (a pool of one thread), `DEMUXBUF_ERR_STALE` (imported already, also by way of a copy, of
/// another pool, or with another ticket), `DEMUXBUF_ERR_CLASS`, `DEMUXBUF_ERR_TABLE_FULL` (of receivers),
/// `DEMUXBUF_ERR_NO_BUFFER_FREE` (it keeps bytes, and there is no buffer to decode them in now); nothing is changed
/// then, and it can be tried again, here or elsewhere.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_receiver_import(
    pool: *mut demuxbuf_pool,
    exported: *mut demuxbuf_exported_receiver,
    receiver: *mut u64,
) -> i32 {
    // SAFETY: as the module asks.
    let pool = unsafe { InPool::new(pool) };
    // SAFETY: as the module asks.
    let (Some(exported), Some(receiver)) = (unsafe { exported.as_mut() }, unsafe { Out::new(receiver) }) else {
        return DEMUXBUF_ERR_NULL;
    };
    status(pool.with_own(|pool| {
        let whole = || Ok(exported.arriving()?.with_kept(exported.kept));
        let imported = pool.import(exported.arriving()?, whole)?;
        *exported = demuxbuf_exported_receiver {
            connection: [0; 8],
            token: 0,
            lease: 0,
            pool: 0,
            age_ns: 0,
            entry: 0,
            uses: 0,
            offset: 0,
            class_index: 0,
            credit_bytes: 0,
            unknown_length: 0,
            kept: [0; DEMUXBUF_EXPORT_BYTES_MAX],
            is_guess: 0,
            mark_bytes: 0,
        };
        receiver.write(imported.to_bits());
        Ok(())
    }))
}

/// In release builds the calls of the common path do not look.
#[cfg(all(test, debug_assertions))]
mod tests {
    use super::super::*;

    #[test]
    #[allow(clippy::disallowed_methods, reason = "a test may start threads")]
    fn debug_build_refuses_calls_of_other_threads() {
        let mut config = demuxbuf_pool_config::default();
        let (mut shared_pool, mut pool, mut receiver) = (core::ptr::null_mut(), core::ptr::null_mut(), 0);
        // SAFETY: all pointers are valid, and one thread at a time uses the pool.
        unsafe {
            assert_eq!(demuxbuf_pool_config_init(&mut config, 1 << 20, 2), DEMUXBUF_OK);
            let made = demuxbuf_shared_pool_new(
                &config,
                1,
                &raw mut shared_pool,
                core::ptr::null_mut(),
                core::ptr::null_mut(),
            );
            assert_eq!(made, DEMUXBUF_OK);
            assert_eq!(demuxbuf_shared_pool_shard(shared_pool, 0, &raw mut pool), DEMUXBUF_OK);
            assert_eq!(
                demuxbuf_receiver_attach(
                    pool,
                    core::ptr::null(),
                    &raw mut receiver,
                    core::ptr::null_mut(),
                    core::ptr::null_mut()
                ),
                DEMUXBUF_OK
            );
            let address = pool as usize;
            std::thread::spawn(move || {
                let pool = address as *mut demuxbuf_pool;
                let step = demuxbuf_receiver_readable(pool, receiver);
                assert_eq!(demuxbuf_actions_status(step.actions), DEMUXBUF_ERR_WRONG_THREAD);
                assert_eq!(demuxbuf_pool_release(pool, 0), DEMUXBUF_ERR_WRONG_THREAD);
                assert_eq!(demuxbuf_pool_poll_timeout(pool), u64::MAX);
                assert_eq!(demuxbuf_pool_check_invariants(pool), DEMUXBUF_ERR_WRONG_THREAD);
            })
            .join()
            .expect("the other thread ends");
            assert_eq!(demuxbuf_receiver_readable(pool, receiver).actions & DEMUXBUF_RECV, DEMUXBUF_RECV);
            demuxbuf_shared_pool_free(shared_pool);
            demuxbuf_pool_free(pool);
        }
    }
}
