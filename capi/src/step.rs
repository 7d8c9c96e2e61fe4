//! What a call for a receiver returns.

use super::actions::{DEMUXBUF_ERROR, mask_error};
use super::guard::guarded_or;
use super::status::{DEMUXBUF_ERR_POISONED, DEMUXBUF_OK};
use core::ptr::NonNull;
use demuxbuf::connection::Actions;
use demuxbuf::pool::RawStep;

/// What is to be done now, and where. Returned by value.
#[allow(non_camel_case_types)]
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct demuxbuf_step {
    /// With `DEMUXBUF_RECV`, which is never pending together with `DEMUXBUF_DECODE`: where to receive to; with
    /// `DEMUXBUF_PEEK` where to look to, under the same rules. Else, of a receiver that counts, NULL with
    /// `DEMUXBUF_WANT_RECV`. Else what is buffered: one contiguous piece, for `DEMUXBUF_DECODE` and for `DEMUXBUF_END`
    /// the bytes that can never be decoded; NULL if nothing is.
    ///
    /// Where `DEMUXBUF_RECV` or `DEMUXBUF_DECODE` is pending, it is valid until the next event for this receiver, and
    /// no longer than the next `demuxbuf_pool_handle_timeout`, which keeps what was not decoded yet. Else it is valid
    /// until the next call for the pool, of whichever receiver, that is not `demuxbuf_receiver_pending` or one that
    /// only reads. `demuxbuf_receiver_pending` has the new place. While `DEMUXBUF_DECODE` is pending, pause_recv,
    /// resume_recv and unblock do not end it. Where a submitted receive goes stays until its outcome, whatever the loop
    /// iteration (completion).
    ///
    /// While `DEMUXBUF_DECODE` is pending the host may write to it, to decode or to change frames in place. To take a
    /// hole out, move the bytes before the hole up to its end, and report the bytes of the hole as consumed: they are
    /// at the front then. The same cuts bytes off at the end. Not so the host of a receiver that counts, which may
    /// change only what it consumes: the rest may be looked at again as it came.
    pub data: *mut u8,
    /// Bytes at `data`: the room to receive into, or what is buffered. With `DEMUXBUF_RECV_WHOLE` the least to receive
    /// or to look at, too. Of a receiver that counts, with `DEMUXBUF_WANT_RECV` and none of RECV, PEEK, DECODE, END,
    /// CANNOT_FIT and SHED: the mark, which is the number of bytes in the kernel at which the poller is to report
    /// (`SO_RCVLOWAT`).
    pub bytes: u32,
    /// Mask of `DEMUXBUF_*` actions: WANT_RECV, STOP_RECV, RECV, DECODE, SHED, END, FINISHED, CANNOT_FIT, RESCHEDULE,
    /// PEEK, RECV_WHOLE, and DISCARD with these.
    /// With `DEMUXBUF_ERROR` set it is a status instead (`demuxbuf_actions_status_inline`), and nothing is changed.
    pub actions: u32,
}

const _: () = assert!(size_of::<*mut u8>() != 8 || size_of::<demuxbuf_step>() == 16);

impl demuxbuf_step {
    #[inline(always)]
    pub(super) fn at((data, bytes): (Option<NonNull<u8>>, u32), actions: Actions) -> demuxbuf_step {
        let data = data.map_or(core::ptr::null_mut(), NonNull::as_ptr);
        demuxbuf_step { data, bytes, actions: actions.bits() }
    }

    #[inline(always)]
    pub(super) fn raw(step: RawStep) -> demuxbuf_step {
        let data = step.data.map_or(core::ptr::null_mut(), NonNull::as_ptr);
        demuxbuf_step { data, bytes: step.bytes(), actions: step.actions().bits() }
    }

    pub(super) const fn status(status: i32) -> demuxbuf_step {
        demuxbuf_step { data: core::ptr::null_mut(), bytes: 0, actions: mask_error(status) }
    }
}

/// The status of a step: `DEMUXBUF_OK` if it has actions to do, or none. Twin of the header's
/// `demuxbuf_step_status_inline`. Thread rule: any thread, any time.
#[unsafe(no_mangle)]
pub extern "C" fn demuxbuf_step_status(step: demuxbuf_step) -> i32 {
    guarded_or(DEMUXBUF_ERR_POISONED, || {
        if step.actions & DEMUXBUF_ERROR != 0 { step.actions as i32 } else { DEMUXBUF_OK }
    })
}

/// 1 if the step asks for any of these actions, else 0; 0 for a step that is an error, whatever is asked for. Twin of
/// the header's `demuxbuf_step_has_inline`. Thread rule: any thread, any time.
#[unsafe(no_mangle)]
pub extern "C" fn demuxbuf_step_has(step: demuxbuf_step, actions: u32) -> u8 {
    guarded_or(0, || (step.actions & DEMUXBUF_ERROR == 0 && step.actions & actions != 0).into())
}
