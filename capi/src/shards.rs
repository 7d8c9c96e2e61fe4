//! One pool for several threads, and receivers that move between them.

use super::config::{Message, demuxbuf_pool_config, to_rust};
use super::connection::{connection_mut, connection_ref, demuxbuf_connection};
use super::pool::{Refusal, demuxbuf_pool, new_object, new_tag, status, status_of, with_own_pool};
use super::status::*;
use super::tag::Tag;
use super::{guarded, guarded_or};
use core::ffi::c_char;
use demuxbuf::memory::{Counted, SLOT_BYTES, try_box};
use demuxbuf::pool::{LeaseId, WaitId};
use demuxbuf::receiver::{Moving, ReceiverId, ReceiverThreads, ThreadError, Ticket};
use demuxbuf::shards::ShardError;

/// A pool that several threads share. Made by `demuxbuf_shards_new`; each thread uses it through a `demuxbuf_pool` of its
/// own.
#[allow(non_camel_case_types)]
pub struct demuxbuf_shards {
    threads: ReceiverThreads,
    /// That of the pools of its threads, too: freed with the last of all.
    tag: Counted<Tag>,
}

/// Bytes that a receiver may have parked when it moves.
pub const DEMUXBUF_MOVING_BYTES: usize = 64;
const _: () = assert!(DEMUXBUF_MOVING_BYTES == SLOT_BYTES);

/// A receiver on its way from one thread to another, with all that it holds and waits for: a plain value that the host
/// hands over as it likes; of its copies one is taken in. The fields are private to the library. All-zero is no receiver.
#[allow(non_camel_case_types)]
#[derive(Debug)]
#[repr(C)]
pub struct demuxbuf_moving {
    connection: demuxbuf_connection,
    token: u64,
    lease: u64,
    wait: u64,
    pool: u64,
    entry: u32,
    uses: u32,
    offset: u32,
    class_index: u32,
    residue: [u8; DEMUXBUF_MOVING_BYTES],
}

impl demuxbuf_moving {
    fn from_rust(moving: Moving) -> demuxbuf_moving {
        let mut connection = demuxbuf_connection::default();
        if let Some(place) = connection_mut(&raw mut connection) {
            *place = moving.connection;
        }
        demuxbuf_moving {
            connection,
            token: moving.token,
            lease: moving.lease.map_or(0, LeaseId::to_bits),
            wait: moving.wait.map_or(0, WaitId::to_bits),
            pool: moving.ticket.pool,
            entry: moving.ticket.entry,
            uses: moving.ticket.uses,
            offset: moving.offset,
            class_index: moving.class.into(),
            residue: moving.residue,
        }
    }

    fn to_rust(&self) -> Result<Moving, i32> {
        Ok(Moving {
            connection: connection_ref(&raw const self.connection).ok_or(DEMUXBUF_ERR_NULL)?.clone(),
            token: self.token,
            class: u8::try_from(self.class_index).map_err(|_| DEMUXBUF_ERR_STALE)?,
            lease: (self.lease != 0).then_some(LeaseId::from_bits(self.lease)),
            offset: self.offset,
            wait: (self.wait != 0).then_some(WaitId::from_bits(self.wait)),
            residue: self.residue,
            ticket: Ticket { pool: self.pool, entry: self.entry, uses: self.uses },
        })
    }
}

/// Makes a pool that `threads` threads share, 1 to 1024. The host owns it and frees it with `demuxbuf_shards_free`.
///
/// `config` is as for `demuxbuf_pool_new`: `buffers`, reserves and caps are for all threads together; `receivers_max`,
/// `waiters_max` and the parking slots are for each. There can be no other sizes than the default and no tenants. The
/// buffers are reserved here, what is a thread's own by `demuxbuf_shards_pool`.
/// If `message` is not NULL, a refused configuration writes a sentence there that names the field, its value and what
/// is allowed: at most `message_bytes` bytes with the closing 0.
/// Thread rule: any thread.
/// Returns `DEMUXBUF_OK`; `DEMUXBUF_ERR_NULL`; `DEMUXBUF_ERR_CONFIG`; `DEMUXBUF_ERR_NO_MEMORY`; `DEMUXBUF_ERR_TOO_MANY_POOLS`
/// (1023 are alive in the process); `DEMUXBUF_ERR_POISONED` (a defect of the library); everything is given back then and
/// `*shards` is not written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_shards_new(
    config: *const demuxbuf_pool_config,
    threads: u32,
    shards: *mut *mut demuxbuf_shards,
    message: *mut c_char,
    message_bytes: size_t,
) -> i32 {
    // SAFETY: NULL or valid, as the module asks.
    let (Some(config), Some(shards)) = (unsafe { config.as_ref() }, unsafe { shards.as_mut() }) else {
        return DEMUXBUF_ERR_NULL;
    };
    let text = Message::new(message, message_bytes);
    let make = || {
        let tag = new_tag()?;
        let threads = ReceiverThreads::new(&to_rust(config, &tag)?, threads)?;
        Ok::<_, Refusal>(demuxbuf_shards { threads, tag })
    };
    new_object(make, shards, text)
}

#[allow(non_camel_case_types)]
type size_t = usize;

/// Makes the pool of one thread: a handle for all `demuxbuf_pool_*` and `demuxbuf_receiver_*` functions, for this thread
/// alone. `index` is which of the threads, from 0. The host owns it and frees it with `demuxbuf_pool_free`; then this
/// can be called for `index` again. A receiver's handle is for the pool that attached or imported it.
///
/// Thread rule: the thread that will use the pool; others may call it for their own at the same time.
/// Returns `DEMUXBUF_OK`; `DEMUXBUF_ERR_NULL`; `DEMUXBUF_ERR_RANGE` (no such thread), `DEMUXBUF_ERR_IN_USE` (it has its
/// pool), `DEMUXBUF_ERR_NO_MEMORY`, `DEMUXBUF_ERR_POISONED` (a defect of the library); `*pool` is not written then.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_shards_pool(
    shards: *const demuxbuf_shards,
    index: u32,
    pool: *mut *mut demuxbuf_pool,
) -> i32 {
    // SAFETY: NULL or valid, as the module asks; of `demuxbuf_shards` nothing is changed but what threads may share.
    let (Some(shards), Some(pool)) = (unsafe { shards.as_ref() }, unsafe { pool.as_mut() }) else {
        return DEMUXBUF_ERR_NULL;
    };
    let made = guarded(|| {
        let receivers = shards.threads.receivers(index)?;
        Ok(try_box(demuxbuf_pool::new(receivers, shards.tag.clone())).map(Box::into_raw))
    });
    match made {
        Some(Ok(Some(made))) => {
            *pool = made;
            DEMUXBUF_OK
        }
        Some(Ok(None)) => DEMUXBUF_ERR_NO_MEMORY,
        Some(Err(ThreadError::Shard(ShardError::UnknownShard { .. }))) => DEMUXBUF_ERR_RANGE,
        Some(Err(ThreadError::Shard(ShardError::Closed))) => DEMUXBUF_ERR_POOL_CLOSED,
        Some(Err(ThreadError::Shard(_))) => DEMUXBUF_ERR_IN_USE,
        Some(Err(ThreadError::Memory(_))) => DEMUXBUF_ERR_NO_MEMORY,
        None => DEMUXBUF_ERR_POISONED,
    }
}

/// As `demuxbuf_pool_poll_wake`, for a thread without a pool: call it after `demuxbuf_pool_free`, which may have handed what
/// the pool held to other threads.
///
/// Thread rule: any thread, any time before `demuxbuf_shards_free`. Cost: O(threads / 64), no lock.
/// Returns `DEMUXBUF_OK` and writes `*index`; `DEMUXBUF_NONE`; `DEMUXBUF_ERR_NULL`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_shards_poll_wake(shards: *const demuxbuf_shards, index: *mut u32) -> i32 {
    // SAFETY: NULL or valid, as the module asks.
    let (Some(shards), Some(index)) = (unsafe { shards.as_ref() }, unsafe { index.as_mut() }) else {
        return DEMUXBUF_ERR_NULL;
    };
    match guarded(|| shards.threads.poll_wake()) {
        Some(Some(thread)) => {
            *index = thread;
            DEMUXBUF_OK
        }
        Some(None) => DEMUXBUF_NONE,
        None => DEMUXBUF_ERR_POISONED,
    }
}

/// Frees a shared pool, before the pools of its threads or after them; its memory goes with the last of them, so release
/// all leases of the host's own before that. NULL is harmless. In pools that are still there, attaching, adopting and
/// requests of the host's own are `DEMUXBUF_ERR_POOL_CLOSED` from now on. The receivers and requests that are there are
/// served to their end.
///
/// Thread rule: no other call with this pointer at the same time or after; the threads may use their pools meanwhile.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_shards_free(shards: *mut demuxbuf_shards) {
    guarded_or((), || {
        if !shards.is_null() {
            // SAFETY: made from a `Box`, and not freed before, as the module asks.
            drop(unsafe { Box::from_raw(shards) });
        }
    })
}

/// A thread that has something to pick up, or deadlines to watch, and sleeps for all that is known. Call it until it
/// returns `DEMUXBUF_NONE`, before this thread sleeps, and tell each thread that it names, by an eventfd or its like; that
/// one then drains `demuxbuf_pool_poll_grant`. Each is named once until it has looked.
///
/// Thread rule: the pool's thread; another is refused. Cost: O(threads / 64), no lock.
/// Returns `DEMUXBUF_OK` and writes `*index`; `DEMUXBUF_NONE`, always so for a pool of one thread; `DEMUXBUF_ERR_NULL`,
/// `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_WRONG_THREAD`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_pool_poll_wake(pool: *mut demuxbuf_pool, index: *mut u32) -> i32 {
    // SAFETY: NULL or valid, as the module asks.
    let Some(index) = (unsafe { index.as_mut() }) else {
        return DEMUXBUF_ERR_NULL;
    };
    match with_own_pool(pool, |receivers| Ok(receivers.poll_wake())) {
        Ok(Some(thread)) => {
            *index = thread;
            DEMUXBUF_OK
        }
        Ok(None) => DEMUXBUF_NONE,
        Err(status) => status,
    }
}

/// Takes a receiver off this thread, in whatever state: idle, waiting, served and not told yet, holding a buffer, parked.
/// Its handle ends; `*moving` is what to give to `demuxbuf_receiver_import` on another thread, or on this one again.
/// Meanwhile it keeps its place in the queue. Who forgets it loses its buffer until the pool is gone; who has no use for
/// it imports and closes it.
///
/// Thread rule: the pool's thread; another is refused. Cost: O(1), and the pool's lock if it waits.
/// Returns `DEMUXBUF_OK` and writes `*moving`; `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_STALE`,
/// `DEMUXBUF_ERR_WRONG_THREAD`, `DEMUXBUF_ERR_NOT_SHARED` (a pool of one thread), `DEMUXBUF_ERR_CLOSED`,
/// `DEMUXBUF_ERR_IN_FLIGHT` (a receive), `DEMUXBUF_ERR_TOO_MANY_BYTES` (it is parked in more than 64 bytes; it can move
/// once it holds a buffer), `DEMUXBUF_ERR_TABLE_FULL` (256 that wait are on their way, or of all
/// `receivers_max` for each thread); nothing is changed then.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_receiver_export(
    pool: *mut demuxbuf_pool,
    receiver: u64,
    moving: *mut demuxbuf_moving,
) -> i32 {
    // SAFETY: NULL or valid, as the module asks.
    let Some(moving) = (unsafe { moving.as_mut() }) else {
        return DEMUXBUF_ERR_NULL;
    };
    status(with_own_pool(pool, |receivers| {
        let exported = receivers.export(ReceiverId::from_bits(receiver)).map_err(status_of)?;
        *moving = demuxbuf_moving::from_rust(exported);
        Ok(())
    }))
}

/// Takes in a receiver that was exported, with its token. `*moving` is all-zero then, and `*receiver` its handle here; call
/// `demuxbuf_receiver_pending` next. If it was served on the way, `demuxbuf_pool_poll_grant` says so.
///
/// Thread rule: the pool's thread; another is refused. Cost: O(1), and the pool's lock if it waits.
/// Returns `DEMUXBUF_OK`; `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_WRONG_THREAD`,
/// `DEMUXBUF_ERR_NOT_SHARED` (a pool of one thread), `DEMUXBUF_ERR_STALE` (imported already, also by way of a copy, of another pool, or changed),
/// `DEMUXBUF_ERR_CLASS`, `DEMUXBUF_ERR_TABLE_FULL` (of receivers), `DEMUXBUF_ERR_NO_BUFFER_FREE` (it has a parking slot,
/// and none of 64 bytes is free here); nothing is changed then, and it can be tried again, here or elsewhere.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_receiver_import(
    pool: *mut demuxbuf_pool,
    moving: *mut demuxbuf_moving,
    receiver: *mut u64,
) -> i32 {
    // SAFETY: NULL or valid, as the module asks.
    let (Some(moving), Some(receiver)) = (unsafe { moving.as_mut() }, unsafe { receiver.as_mut() }) else {
        return DEMUXBUF_ERR_NULL;
    };
    status(with_own_pool(pool, |receivers| {
        let mut exported = moving.to_rust()?;
        *receiver = receivers.import(&mut exported).map_err(status_of)?.to_bits();
        *moving = demuxbuf_moving {
            connection: demuxbuf_connection::default(),
            token: 0,
            lease: 0,
            wait: 0,
            pool: 0,
            entry: 0,
            uses: 0,
            offset: 0,
            class_index: 0,
            residue: [0; DEMUXBUF_MOVING_BYTES],
        };
        Ok(())
    }))
}

/// In release builds the calls of the common path do not look.
#[cfg(all(test, debug_assertions))]
mod tests {
    use super::super::*;

    #[test]
    #[allow(clippy::disallowed_methods, reason = "a test may start threads")]
    fn in_debug_builds_every_call_from_another_thread_is_refused() {
        let mut config = core::mem::MaybeUninit::uninit();
        let (mut shards, mut pool, mut receiver) = (core::ptr::null_mut(), core::ptr::null_mut(), 0);
        // SAFETY: all pointers are valid, and one thread at a time uses the pool.
        unsafe {
            assert_eq!(demuxbuf_pool_config_init(config.as_mut_ptr(), 2, 2), DEMUXBUF_OK);
            let made = demuxbuf_shards_new(config.as_ptr(), 1, &raw mut shards, core::ptr::null_mut(), 0);
            assert_eq!(made, DEMUXBUF_OK);
            assert_eq!(demuxbuf_shards_pool(shards, 0, &raw mut pool), DEMUXBUF_OK);
            assert_eq!(demuxbuf_receiver_attach(pool, 0, 0, core::ptr::null(), 0, &raw mut receiver), DEMUXBUF_OK);
            let address = pool as usize;
            std::thread::spawn(move || {
                let pool = address as *mut demuxbuf_pool;
                let step = demuxbuf_receiver_readable(pool, receiver);
                assert_eq!(demuxbuf_actions_status(step.actions), DEMUXBUF_ERR_WRONG_THREAD);
                assert_eq!(demuxbuf_pool_release(pool, 0), DEMUXBUF_ERR_WRONG_THREAD);
                assert_eq!(demuxbuf_pool_poll_timeout(pool), u64::MAX);
                assert_eq!(demuxbuf_pool_check(pool), DEMUXBUF_ERR_WRONG_THREAD);
            })
            .join()
            .expect("the other thread ends");
            assert_eq!(demuxbuf_receiver_readable(pool, receiver).actions & DEMUXBUF_RECV, DEMUXBUF_RECV);
            demuxbuf_shards_free(shards);
            demuxbuf_pool_free(pool);
        }
    }
}
