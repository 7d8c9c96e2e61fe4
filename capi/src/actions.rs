//! Actions: what a call asks the host to do.

use super::guard::guarded_or;
use super::out::Text;
use super::size_t;
use super::status::*;
use super::strerror::message;
use core::ffi::c_char;
use core::fmt::{self, Write};

/// Start to poll the transport (completion: submit a poll); then report it with `demuxbuf_connection_done`.
pub const DEMUXBUF_WANT_RECV: u32 = 1;
/// Stop polling the transport (completion: cancel the receive or poll that is submitted); then report it done. A host
/// that cannot ignores it.
pub const DEMUXBUF_STOP_RECV: u32 = 2;
/// Ask for a buffer; report granted or denied.
pub const DEMUXBUF_REQUEST_BUFFER: u32 = 4;
/// Leave the queue; then report it done.
pub const DEMUXBUF_CANCEL_REQUEST: u32 = 8;
/// Release the buffer; report released.
pub const DEMUXBUF_RELEASE_BUFFER: u32 = 16;
/// Receive now; report received, would_block, end_of_stream or transport_error. Completion: submit a receive and report
/// it done, then its outcome; would_block if it was cancelled and brought nothing.
pub const DEMUXBUF_RECV: u32 = 32;
/// Run the decoder; report consumed and, if bytes are left, why: need_more, block or yield.
pub const DEMUXBUF_DECODE: u32 = 64;
/// Connections: throw away what is buffered; report it consumed. Receivers that count, beside RECV and RECV_WHOLE:
/// receive what was decoded when it was looked at, drop it, and report it received.
pub const DEMUXBUF_DISCARD: u32 = 128;
/// Connections only: move the undecoded bytes to a parking slot, release the buffer; report buffer_parked.
pub const DEMUXBUF_PARK: u32 = 256;
/// Close this connection: it holds memory that others wait for and makes no progress.
pub const DEMUXBUF_SHED: u32 = 512;
/// The peer ended and nothing more can be decoded; then report it done.
pub const DEMUXBUF_END: u32 = 1024;
/// Closed, and nothing is held or waited for.
pub const DEMUXBUF_FINISHED: u32 = 2048;
/// The frame at the front can never fit; then report it done, and fail or close. Or decode what is there, and report
/// that and what the next piece needs. Connections also: or report a larger buffer as granted.
pub const DEMUXBUF_CANNOT_FIT: u32 = 4096;
/// Work is left for the next loop iteration: schedule it, report it done, and report wake in that iteration.
pub const DEMUXBUF_RESCHEDULE: u32 = 8192;
/// Receivers that count only: look at what is in the kernel (`MSG_PEEK`), at most `bytes` at `data`; report need_more
/// with the bytes that the frame has, from the first one in the kernel on, or would_block. With RECV_WHOLE: look if all
/// of `bytes` is there, report that received, and decode it.
pub const DEMUXBUF_PEEK: u32 = 16384;
/// Receivers that count only, beside RECV or PEEK: receive or look if all of `bytes` is there; else report would_block.
pub const DEMUXBUF_RECV_WHOLE: u32 = 32768;
/// Set in a mask of actions that is an error instead: cast it to `int32_t` for the status. No action is set beside it.
pub const DEMUXBUF_ERROR: u32 = 0x8000_0000;

/// A status as it appears in place of a mask of actions.
pub(super) const fn mask_error(status: i32) -> u32 {
    status as u32
}

/// The status inside what an event function returned: `DEMUXBUF_OK` for a mask of actions. Twin of the header's
/// `demuxbuf_actions_status_inline`. Thread rule: any thread, any time.
#[unsafe(no_mangle)]
pub extern "C" fn demuxbuf_actions_status(actions: u32) -> i32 {
    guarded_or(DEMUXBUF_ERR_POISONED, || if actions & DEMUXBUF_ERROR != 0 { actions as i32 } else { DEMUXBUF_OK })
}

/// Writes a mask of actions in words, for logs: the names without `DEMUXBUF_`, with `|` between them; `NONE` for none;
/// bits that are no action as one hexadecimal number. A mask with `DEMUXBUF_ERROR` is written as `demuxbuf_strerror`
/// has its status.
///
/// `bytes` is the room at `buffer`. The text is cut there, always with a closing 0. `buffer` may be NULL.
/// Thread rule: any thread, any time. Returns the room that the whole text needs, with its closing 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_actions_str(actions: u32, buffer: *mut c_char, bytes: size_t) -> size_t {
    guarded_or(0, || {
        // SAFETY: as the module asks.
        let mut text = unsafe { Text::new(buffer, bytes) };
        // Writing a text never fails.
        let _ = write!(text, "{}", ActionNames(actions));
        text.needed()
    })
}

/// A mask of actions in words.
pub(super) struct ActionNames(pub(super) u32);

impl fmt::Display for ActionNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let actions = self.0;
        if actions & DEMUXBUF_ERROR != 0 {
            return f.write_str(message(actions as i32).to_str().unwrap_or_default());
        }
        let (mut unknown, mut separator) = (actions, "");
        for (bit, name) in NAMES.into_iter().filter(|(bit, _)| actions & bit != 0) {
            write!(f, "{separator}{name}")?;
            (unknown, separator) = (unknown & !bit, "|");
        }
        match unknown {
            0 if actions == 0 => f.write_str("NONE"),
            0 => Ok(()),
            bits => write!(f, "{separator}{bits:#x}"),
        }
    }
}

const NAMES: [(u32, &str); 16] = [
    (DEMUXBUF_WANT_RECV, "WANT_RECV"),
    (DEMUXBUF_STOP_RECV, "STOP_RECV"),
    (DEMUXBUF_REQUEST_BUFFER, "REQUEST_BUFFER"),
    (DEMUXBUF_CANCEL_REQUEST, "CANCEL_REQUEST"),
    (DEMUXBUF_RELEASE_BUFFER, "RELEASE_BUFFER"),
    (DEMUXBUF_RECV, "RECV"),
    (DEMUXBUF_DECODE, "DECODE"),
    (DEMUXBUF_DISCARD, "DISCARD"),
    (DEMUXBUF_PARK, "PARK"),
    (DEMUXBUF_SHED, "SHED"),
    (DEMUXBUF_END, "END"),
    (DEMUXBUF_FINISHED, "FINISHED"),
    (DEMUXBUF_CANNOT_FIT, "CANNOT_FIT"),
    (DEMUXBUF_RESCHEDULE, "RESCHEDULE"),
    (DEMUXBUF_PEEK, "PEEK"),
    (DEMUXBUF_RECV_WHOLE, "RECV_WHOLE"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use demuxbuf::connection::{Action, Actions};

    #[test]
    fn masks_of_c_are_the_actions_of_rust() {
        for (action, (bits, _)) in Action::ALL.into_iter().zip(NAMES) {
            assert_eq!(Actions::from(action).bits(), bits);
        }
        assert_eq!(Action::ALL.len(), NAMES.len());
    }

    fn text_of(actions: u32) -> String {
        let mut buffer = [b'.'; 256];
        // SAFETY: a pointer to a local and its size.
        let needed = unsafe { demuxbuf_actions_str(actions, buffer.as_mut_ptr().cast(), buffer.len()) };
        assert_eq!(buffer[needed - 1], 0);
        assert_eq!(buffer[needed], b'.', "nothing is written behind the closing 0");
        // SAFETY: NULL is allowed.
        assert_eq!(unsafe { demuxbuf_actions_str(actions, core::ptr::null_mut(), 99) }, needed);
        String::from_utf8(buffer[..needed - 1].to_vec()).expect("names are text")
    }

    #[test]
    fn actions_str_names_actions_and_unknown_bits() {
        assert_eq!(text_of(0), "NONE");
        assert_eq!(text_of(DEMUXBUF_RECV), "RECV");
        assert_eq!(text_of(DEMUXBUF_WANT_RECV | DEMUXBUF_DECODE | DEMUXBUF_RESCHEDULE), "WANT_RECV|DECODE|RESCHEDULE");
        assert_eq!(text_of(DEMUXBUF_END | 0x30000), "END|0x30000");
        assert_eq!(text_of(0x10000), "0x10000");
        assert_eq!(text_of(DEMUXBUF_ERR_STALE as u32), "the handle is stale or foreign");
        let names: Vec<&str> = NAMES.iter().map(|(_, name)| *name).collect();
        assert_eq!(text_of(0xffff), names.join("|"), "the longest mask of actions fits 256 bytes");
    }
}
