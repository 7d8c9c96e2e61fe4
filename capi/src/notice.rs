//! Notices: what does not answer a call of the host's.

use super::any_pool::{AnyPool, each};
use super::guard::{InPool, demuxbuf_pool};
use super::out::{StructOut, growable, has_allowed_size};
use super::status::*;
use super::step::demuxbuf_step;
use demuxbuf::pool::{GrantStep, Notice, ReceiverId};

/// The receiver `receiver` may receive, for which it had waited, or is to be shed; `step` has what it is to do now.
pub const DEMUXBUF_NOTICE_RECEIVER: u32 = 1;
/// The host's own request `wait` was granted: `lease`.
pub const DEMUXBUF_NOTICE_LEASE: u32 = 2;
/// A connection can be attached: the table of receivers was full, is not any more, and an attach had asked for this
/// notice (`notify_if_full`).
pub const DEMUXBUF_NOTICE_ATTACHABLE: u32 = 3;
/// The host's own `lease` is held for `lease_ns` since it began or was renewed, and a request or a receiver waits for
/// memory, or a limit of it is not met: release it if you can. It comes once, until `demuxbuf_pool_renew_lease`.
pub const DEMUXBUF_NOTICE_OVERDUE: u32 = 4;
/// The pool takes no new receivers since `demuxbuf_pool_drain`, and nothing is left. It comes once.
pub const DEMUXBUF_NOTICE_DRAINED: u32 = 5;

/// A notification that does not answer one of your own calls: a queued request was granted, a receiver may receive or
/// is to be shed, a lease of your own is overdue, the table of receivers is not full any more, or the pool is drained.
#[allow(non_camel_case_types)]
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct demuxbuf_notice {
    /// `sizeof(demuxbuf_notice)`, set before the call; then how many bytes were written.
    pub struct_size: u32,
    /// `DEMUXBUF_NOTICE_*`.
    pub kind: u32,
    /// What the host gave at attach or at request; 0 for `DEMUXBUF_NOTICE_ATTACHABLE` and `_DRAINED`.
    pub token: u64,
    /// The receiver that may receive, or is to be shed (`DEMUXBUF_SHED` in `step`); 0 for other kinds.
    pub receiver: u64,
    /// The host's own buffer; 0 for other kinds.
    pub lease: u64,
    /// The host's own wait that ended; 0 for other kinds.
    pub wait: u64,
    /// What the receiver is to do now; no actions for other kinds.
    pub step: demuxbuf_step,
}

growable!(demuxbuf_notice, 56);

impl demuxbuf_notice {
    #[inline]
    fn of_receiver(id: ReceiverId, token: u64, step: demuxbuf_step) -> demuxbuf_notice {
        let receiver = id.to_bits();
        demuxbuf_notice { kind: DEMUXBUF_NOTICE_RECEIVER, token, receiver, step, ..demuxbuf_notice::default() }
    }
}

/// The next of what happened without an event: a request of the host's own was granted; a receiver may receive, or is
/// to be shed; then, leases of the host's own that are overdue; then, that the table of receivers is not full any more.
/// Call it in each loop iteration until it returns `DEMUXBUF_STATUS_NONE`.
///
/// Do what `notice->step` asks for before the next call. `data` of an earlier step stays valid as `demuxbuf_step` has
/// it: where neither `DEMUXBUF_RECV` nor `DEMUXBUF_DECODE` is pending, this call may move it.
///
/// On a shared pool, a thread that does not call it within `frame_grace_ns` after a buffer was assigned to it loses
/// that buffer to others that wait. Its requests queue again.
///
/// Returns `DEMUXBUF_OK` and writes `*notice`; `DEMUXBUF_STATUS_NONE`; `DEMUXBUF_ERR_NULL`,
/// `DEMUXBUF_ERR_STRUCT_SIZE`, `DEMUXBUF_ERR_POISONED`, and nothing is written or taken from the queue of notices.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_pool_poll_notice(pool: *mut demuxbuf_pool, notice: *mut demuxbuf_notice) -> i32 {
    // SAFETY: as the module asks.
    let in_pool = unsafe { InPool::new(pool) };
    let is_quiet = in_pool.with_sound(|pool| match pool {
        AnyPool::Own(pool) => Some(pool.nothing_to_poll()),
        AnyPool::Shard(_) => None,
    });
    match is_quiet {
        // SAFETY: as the module asks.
        Ok(Some(true)) if unsafe { has_allowed_size(notice) } => DEMUXBUF_STATUS_NONE,
        // SAFETY: as the module asks.
        Ok(Some(_)) => unsafe { poll_grant(pool, notice) },
        // SAFETY: as the module asks.
        _ => unsafe { poll_in_shard(pool, notice) },
    }
}

/// The call of a shard; a function of its own, so that pools of one thread save no registers for it.
///
/// # Safety
///
/// As for `InPool::new` and `StructOut::new`.
#[inline(never)]
unsafe extern "C" fn poll_in_shard(pool: *mut demuxbuf_pool, notice: *mut demuxbuf_notice) -> i32 {
    // SAFETY: as this function asks.
    let in_pool = unsafe { InPool::new(pool) };
    let nothing_to_poll = in_pool.with_sound(|pool| pool.nothing_to_poll().then_some(()));
    // SAFETY: as this function asks.
    if nothing_to_poll == Ok(Some(())) && unsafe { has_allowed_size(notice) } {
        return DEMUXBUF_STATUS_NONE;
    }
    // SAFETY: as this function asks.
    unsafe { poll_grant(pool, notice) }
}

/// The call where a claim is granted, and nothing else is to be polled before.
///
/// # Safety
///
/// As for `InPool::new` and `StructOut::new`.
#[inline(never)]
unsafe extern "C" fn poll_grant(pool: *mut demuxbuf_pool, notice: *mut demuxbuf_notice) -> i32 {
    // SAFETY: as this function asks.
    let Some(out) = (unsafe { StructOut::whole(notice) }) else {
        // SAFETY: as this function asks.
        return unsafe { poll_otherwise(pool, notice) };
    };
    // SAFETY: as this function asks.
    let in_pool = unsafe { InPool::new(pool) };
    let granted = in_pool.with_sound(|pool| each!(pool, pool => pool.kept_path::<true>().poll()));
    let Ok(Some(GrantStep { id, token, step })) = granted else {
        // SAFETY: as this function asks.
        return unsafe { poll_otherwise(pool, notice) };
    };
    out.write(demuxbuf_notice::of_receiver(id, token, demuxbuf_step::raw(step)));
    DEMUXBUF_OK
}

/// The call where nothing of it is known.
///
/// # Safety
///
/// As for `InPool::new` and `StructOut::new`.
#[inline(never)]
unsafe extern "C" fn poll_otherwise(pool: *mut demuxbuf_pool, notice: *mut demuxbuf_notice) -> i32 {
    // SAFETY: as this function asks.
    let pool = unsafe { InPool::new(pool) };
    // SAFETY: as this function asks.
    let notice = match unsafe { StructOut::new(notice) } {
        Ok(notice) => notice,
        Err(status) => return status,
    };
    let polled = pool.with(|pool| {
        let Some(granted) = pool.poll_notice() else {
            return Ok(None);
        };
        let none = demuxbuf_notice { step: demuxbuf_step::status(DEMUXBUF_OK), ..demuxbuf_notice::default() };
        Ok(Some(match granted {
            Notice::Receiver { id, token, actions } => {
                let index = pool.find(id).expect("a receiver that was granted something is attached");
                demuxbuf_notice::of_receiver(id, token, demuxbuf_step::at(pool.place(index, actions), actions))
            }
            Notice::Lease { wait, token, lease } => {
                let (wait, lease) = (pool.salted(wait.to_bits()), pool.salted(lease.to_bits()));
                demuxbuf_notice { kind: DEMUXBUF_NOTICE_LEASE, token, lease, wait, ..none }
            }
            Notice::Overdue { token, lease } => {
                demuxbuf_notice { kind: DEMUXBUF_NOTICE_OVERDUE, token, lease: pool.salted(lease.to_bits()), ..none }
            }
            Notice::Drained => demuxbuf_notice { kind: DEMUXBUF_NOTICE_DRAINED, ..none },
            Notice::Attachable => demuxbuf_notice { kind: DEMUXBUF_NOTICE_ATTACHABLE, ..none },
            notice => unreachable!("the C API has no form of {notice:?}"),
        }))
    });
    match polled {
        Ok(Some(granted)) => {
            notice.write(granted);
            DEMUXBUF_OK
        }
        Ok(None) => DEMUXBUF_STATUS_NONE,
        Err(status) => status,
    }
}
