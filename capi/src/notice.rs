//! Notices: what does not answer a call of the host's.

use super::guard::{InPool, demuxbuf_pool};
use super::out::{StructOut, growable, has_allowed_size};
use super::status::*;
use super::step::demuxbuf_step;
use demuxbuf::connection::Action;
use demuxbuf::pool::Notice;

/// A notification that does not answer one of your own calls: a queued request was granted, or a receiver is to be
/// shed.
#[allow(non_camel_case_types)]
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct demuxbuf_notice {
    /// `sizeof(demuxbuf_notice)`, set before the call; then how many bytes were written.
    pub struct_size: u32,
    /// Always 0.
    pub reserved: u32,
    /// What the host gave at attach or at request.
    pub token: u64,
    /// The receiver that got it, or is to be shed (`DEMUXBUF_SHED` in `step`); 0 if a request of the host's own was
    /// served.
    pub receiver: u64,
    /// The host's own buffer; 0 if a receiver got it.
    pub lease: u64,
    /// The host's own wait that ended; 0 if a receiver got it.
    pub wait: u64,
    /// What the receiver is to do now.
    pub step: demuxbuf_step,
}

growable!(demuxbuf_notice, 56);

/// The next queued request that was granted; then the next receiver that is to be shed, so that a waiter can have its
/// buffer. Call it in each loop iteration until it returns `DEMUXBUF_STATUS_NONE`.
///
/// It may move what any receiver of the pool has buffered, also of one that it does not name. So do what
/// `notice->step` asks for before the next call, or ask for it again later with `demuxbuf_receiver_pending`, and keep
/// no `data` of an earlier step (`demuxbuf_step`).
///
/// On a shared pool, a thread that does not call it within `lease_ns` after a buffer was assigned to one of its
/// requests loses that buffer to others that wait. Its requests queue again.
///
/// Returns `DEMUXBUF_OK` and writes `*notice`; `DEMUXBUF_STATUS_NONE`; `DEMUXBUF_ERR_NULL`,
/// `DEMUXBUF_ERR_STRUCT_SIZE`, `DEMUXBUF_ERR_POISONED`, and nothing is written or taken from the queue of notices.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_pool_poll_notice(pool: *mut demuxbuf_pool, notice: *mut demuxbuf_notice) -> i32 {
    // SAFETY: as the module asks.
    let pool = unsafe { InPool::new(pool) };
    let nothing_to_poll = pool.with_sound(|pool| pool.nothing_to_poll().then_some(()));
    // SAFETY: as the module asks.
    if nothing_to_poll == Ok(Some(())) && unsafe { has_allowed_size(notice) } {
        return DEMUXBUF_STATUS_NONE;
    }
    // SAFETY: as the module asks.
    unsafe { poll_notice(pool, notice) }
}

/// # Safety
///
/// As for `StructOut::new`.
#[inline(never)]
unsafe fn poll_notice(pool: InPool, notice: *mut demuxbuf_notice) -> i32 {
    // SAFETY: as this function asks.
    let notice = match unsafe { StructOut::new(notice) } {
        Ok(notice) => notice,
        Err(status) => return status,
    };
    let polled = pool.with(|pool| {
        let Some(granted) = pool.poll_notice() else {
            return Ok(None);
        };
        Ok(Some(match granted {
            Notice::Receiver { id, token, actions } => {
                let index = pool.find(id).expect("a receiver that was granted something is attached");
                demuxbuf_notice {
                    struct_size: size_of::<demuxbuf_notice>() as u32,
                    reserved: 0,
                    token,
                    receiver: id.to_bits(),
                    lease: 0,
                    wait: 0,
                    step: demuxbuf_step::at(pool.area(index, actions.has(Action::Recv)), actions),
                }
            }
            Notice::Lease { wait, token, lease } => demuxbuf_notice {
                struct_size: size_of::<demuxbuf_notice>() as u32,
                reserved: 0,
                token,
                receiver: 0,
                lease: pool.salted(lease.to_bits()),
                wait: pool.salted(wait.to_bits()),
                step: demuxbuf_step::status(DEMUXBUF_OK),
            },
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
