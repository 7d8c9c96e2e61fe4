//! The state machine alone, for hosts with their own buffers.

use super::actions::mask_error;
use super::event::{done, event_of};
use super::guard::{guarded, guarded_or};
use super::info::demuxbuf_connection_info;
use super::out::{Out, StructOut};
use super::policy::{demuxbuf_policy, read_policy};
use super::refusal::Message;
use super::size_t;
use super::status::*;
use core::ffi::c_char;
use demuxbuf::connection::{Actions, Connection, EndKind, Event, EventError, Policy};

/// One connection's receive state: a plain value that the host embeds in its own struct. All-zero is not attached. It
/// may be moved with memcpy while it is not queued, and needs no destructor unless it holds or waits for something.
/// The fields are private to the library; the header's inline tests read them.
#[allow(non_camel_case_types)]
#[derive(Debug, Default)]
#[repr(C)]
pub struct demuxbuf_connection {
    capacity: u32,
    buffered_bytes: u32,
    /// Of these the inline tests know one.
    state: [u32; 6],
}

const _: () = assert!(size_of::<demuxbuf_connection>() == 32 && size_of::<Connection>() == 32);
const _: () = assert!(align_of::<demuxbuf_connection>() == align_of::<Connection>());

/// The byte stream goes on, as far as is known.
pub const DEMUXBUF_END_KIND_NONE: u32 = 0;
/// The peer will send no more.
pub const DEMUXBUF_END_KIND_STREAM: u32 = 1;
/// The transport failed.
pub const DEMUXBUF_END_KIND_ERROR: u32 = 2;

/// The connection behind the host's pointer, if it is not NULL.
///
/// # Safety
///
/// `connection` is NULL, or valid for reads and writes for `'a`, during which nothing else uses it.
unsafe fn connection_mut<'a>(connection: *mut demuxbuf_connection) -> Option<&'a mut Connection> {
    // SAFETY: as this function asks. The two types have one size and alignment, and every bit pattern is a
    // `Connection`, since its fields are integers.
    unsafe { connection.cast::<Connection>().as_mut() }
}

/// As `connection_mut`, for reading.
///
/// # Safety
///
/// `connection` is NULL, or valid for reads for `'a`, during which nothing writes it.
unsafe fn connection_ref<'a>(connection: *const demuxbuf_connection) -> Option<&'a Connection> {
    // SAFETY: as this function asks; the types as in `connection_mut`.
    unsafe { connection.cast::<Connection>().as_ref() }
}

/// For all events but those of every receive, which have code of their own.
///
/// # Safety
///
/// As for `connection_mut`, until the call returns.
unsafe fn handle(connection: *mut demuxbuf_connection, event: Event) -> u32 {
    // SAFETY: as this function asks.
    unsafe { step(connection, |connection| connection.handle(event)) }
}

/// # Safety
///
/// As for `connection_mut`, until the call returns.
#[inline(always)]
unsafe fn step(
    connection: *mut demuxbuf_connection,
    body: impl FnOnce(&mut Connection) -> Result<Actions, EventError>,
) -> u32 {
    // SAFETY: as this function asks.
    let Some(connection) = (unsafe { connection_mut(connection) }) else {
        return mask_error(DEMUXBUF_ERR_NULL);
    };
    match guarded(|| body(connection)) {
        Some(Ok(actions)) => actions.bits(),
        Some(Err(error)) => mask_error(error.code()),
        None => {
            *connection = Connection::poisoned();
            mask_error(DEMUXBUF_ERR_POISONED)
        }
    }
}

/// As `step`, of a step that can be taken at once; `None`, and nothing is changed, where it cannot.
///
/// # Safety
///
/// As for `connection_mut`, until the call returns.
#[inline(always)]
unsafe fn try_fast(
    connection: *mut demuxbuf_connection,
    body: impl FnOnce(&mut Connection) -> Option<Actions>,
) -> Option<u32> {
    // SAFETY: as this function asks.
    let connection = unsafe { connection_mut(connection) }?;
    match guarded(|| body(connection)) {
        Some(actions) => actions.map(Actions::bits),
        None => {
            *connection = Connection::poisoned();
            Some(mask_error(DEMUXBUF_ERR_POISONED))
        }
    }
}

/// Prepares a connection with a policy. An all-zero connection has the default policy already.
///
/// The connection must not be attached: this call writes over what is there. `policy` may be NULL for the default.
/// `message` and `message_bytes` are as for `demuxbuf_pool_new`.
/// Returns `DEMUXBUF_OK`; `DEMUXBUF_ERR_NULL`; `DEMUXBUF_ERR_STRUCT_SIZE`; `DEMUXBUF_ERR_UNKNOWN_FIELD`;
/// `DEMUXBUF_ERR_CONFIG` for a wrong `mode`; nothing is written then.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_connection_init(
    connection: *mut demuxbuf_connection,
    policy: *const demuxbuf_policy,
    message: *mut c_char,
    message_bytes: *mut size_t,
) -> i32 {
    guarded_or(DEMUXBUF_ERR_POISONED, || {
        // SAFETY: as the module asks. A `Connection` has the size and alignment of the host's.
        let connection = unsafe { Out::new(connection.cast::<Connection>()) };
        // SAFETY: as the module asks.
        let message = unsafe { Message::new(message, message_bytes) };
        let (Some(connection), Some(message)) = (connection, message) else {
            return DEMUXBUF_ERR_NULL;
        };
        let policy = match policy.is_null() {
            true => Policy::default(),
            // SAFETY: as the module asks.
            false => match unsafe { read_policy(policy) } {
                Ok(policy) => policy,
                Err(refusal) => return message.refuse(&refusal),
            },
        };
        connection.write(Connection::new(policy));
        DEMUXBUF_OK
    })
}

/// Receives and parks by this policy from now on, for example after a protocol upgrade. With another mode, read
/// interest counts as off: `DEMUXBUF_WANT_RECV` asks for it in the new mode, which you register with the poller instead
/// of the old one. A mode that receives before it asks (optimistic, completion) does so first.
///
/// `message` and `message_bytes` are as for `demuxbuf_pool_new`.
/// Returns the mask of actions to do now, or with `DEMUXBUF_ERROR`
/// set a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_STRUCT_SIZE`, `DEMUXBUF_ERR_UNKNOWN_FIELD`,
/// `DEMUXBUF_ERR_CONFIG` (a wrong `mode`), `DEMUXBUF_ERR_NOT_ATTACHED`, `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_CLOSED`,
/// `DEMUXBUF_ERR_IN_FLIGHT` (another mode while a receive is in flight).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_connection_set_policy(
    connection: *mut demuxbuf_connection,
    policy: *const demuxbuf_policy,
    message: *mut c_char,
    message_bytes: *mut size_t,
) -> u32 {
    guarded_or(mask_error(DEMUXBUF_ERR_POISONED), || {
        // SAFETY: as the module asks.
        let Some(message) = (unsafe { Message::new(message, message_bytes) }) else {
            return mask_error(DEMUXBUF_ERR_NULL);
        };
        // SAFETY: as the module asks.
        match unsafe { read_policy(policy) } {
            // SAFETY: as the module asks.
            Ok(policy) => unsafe { step(connection, |connection| connection.set_policy(&policy)) },
            Err(refusal) => mask_error(message.refuse(&refusal)),
        }
    })
}

/// The connection starts: with `capacity` 0 for no buffer, else with a buffer of any size that already holds
/// `buffered_bytes` bytes.
///
/// Returns the mask of actions to do now, or with `DEMUXBUF_ERROR`
/// set a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_ALREADY_ATTACHED`,
/// `DEMUXBUF_ERR_CAPACITY_TOO_SMALL`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_connection_attach(
    connection: *mut demuxbuf_connection,
    buffered_bytes: u32,
    capacity: u32,
) -> u32 {
    // SAFETY: as the module asks.
    unsafe { handle(connection, Event::Attach { buffered_bytes, capacity }) }
}

/// The transport has bytes, an end of stream or an error to report. Begins a new loop iteration. Repeats are harmless.
///
/// Returns the mask of actions to do now, or with `DEMUXBUF_ERROR`
/// set a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_NOT_ATTACHED`, `DEMUXBUF_ERR_POISONED`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_connection_readable(connection: *mut demuxbuf_connection) -> u32 {
    // SAFETY: as the module asks.
    unsafe { step(connection, |connection| connection.handle_inline(Event::Readable)) }
}

/// The host has a buffer of `capacity` bytes for this connection; or a larger one, which now holds what was buffered.
///
/// Returns the mask of actions to do now, or with `DEMUXBUF_ERROR`
/// set a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_NOT_ATTACHED`, `DEMUXBUF_ERR_POISONED`,
/// `DEMUXBUF_ERR_CAPACITY_TOO_SMALL`, `DEMUXBUF_ERR_ALREADY_HELD`, `DEMUXBUF_ERR_CLOSED`,
/// `DEMUXBUF_ERR_IN_FLIGHT`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_connection_buffer_granted(
    connection: *mut demuxbuf_connection,
    capacity: u32,
) -> u32 {
    // SAFETY: as the module asks.
    unsafe { step(connection, |connection| connection.handle_inline(Event::BufferGranted { capacity })) }
}

/// No buffer could be had; the host has queued the connection. It must not be moved until granted or cancelled.
///
/// Returns the mask of actions to do now, or with `DEMUXBUF_ERROR`
/// set a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_NOT_ATTACHED`, `DEMUXBUF_ERR_POISONED`,
/// `DEMUXBUF_ERR_ALREADY_WAITING`, `DEMUXBUF_ERR_ALREADY_HELD`, `DEMUXBUF_ERR_CLOSED`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_connection_buffer_denied(connection: *mut demuxbuf_connection) -> u32 {
    // SAFETY: as the module asks.
    unsafe { handle(connection, Event::BufferDenied) }
}

/// The buffer is no longer held: released, or handed to another owner with its content.
///
/// Returns the mask of actions to do now, or with `DEMUXBUF_ERROR`
/// set a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_NOT_ATTACHED`, `DEMUXBUF_ERR_POISONED`,
/// `DEMUXBUF_ERR_NO_BUFFER`,
/// `DEMUXBUF_ERR_IN_FLIGHT`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_connection_buffer_released(connection: *mut demuxbuf_connection) -> u32 {
    // SAFETY: as the module asks.
    unsafe { step(connection, |connection| connection.handle_inline(Event::BufferReleased)) }
}

/// One receive brought `bytes` bytes, at most `demuxbuf_connection_recv_max`.
///
/// Level-triggered and one-shot, a receive that brought less than that is taken to have run dry. A host that offered
/// less, such as a ring up to its wrap, reports it with `demuxbuf_connection_sync`, and `would_block` when it did run
/// dry.
///
/// Returns the mask of actions to do now, or with `DEMUXBUF_ERROR`
/// set a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_NOT_ATTACHED`, `DEMUXBUF_ERR_POISONED`,
/// `DEMUXBUF_ERR_ZERO_BYTES` (report the end of the stream instead), `DEMUXBUF_ERR_TOO_MANY_BYTES`,
/// `DEMUXBUF_ERR_NO_BUFFER`, `DEMUXBUF_ERR_AFTER_END`, `DEMUXBUF_ERR_CLOSED`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_connection_received(connection: *mut demuxbuf_connection, bytes: u32) -> u32 {
    // SAFETY: as the module asks.
    unsafe { step(connection, |connection| connection.handle_inline(Event::Received { bytes })) }
}

/// One receive found nothing. Repeat one that was interrupted (EINTR) instead.
///
/// Returns the mask of actions to do now, or with `DEMUXBUF_ERROR`
/// set a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_NOT_ATTACHED`, `DEMUXBUF_ERR_POISONED`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_connection_would_block(connection: *mut demuxbuf_connection) -> u32 {
    // SAFETY: as the module asks.
    unsafe { handle(connection, Event::WouldBlock) }
}

/// One receive found nothing, and the host has armed read interest, or its report is to come: `would_block` and the
/// report of `DEMUXBUF_WANT_RECV` in one call, for hosts that arm it as soon as they find nothing (one-shot,
/// optimistic; completion: that have submitted a poll). `DEMUXBUF_STOP_RECV` is pending then if read interest is not
/// wanted.
///
/// Returns the mask of actions to do now, or with `DEMUXBUF_ERROR`
/// set a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_NOT_ATTACHED`, `DEMUXBUF_ERR_POISONED`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_connection_would_block_armed(connection: *mut demuxbuf_connection) -> u32 {
    // SAFETY: as the module asks.
    unsafe { handle(connection, Event::WouldBlockArmed) }
}

/// The peer will send no more. In any state, with or without a receive. Whole frames that are buffered are still to be
/// decoded; `DEMUXBUF_END` follows.
///
/// Returns the mask of actions to do now, or with `DEMUXBUF_ERROR`
/// set a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_NOT_ATTACHED`, `DEMUXBUF_ERR_POISONED`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_connection_end_of_stream(connection: *mut demuxbuf_connection) -> u32 {
    // SAFETY: as the module asks.
    unsafe { handle(connection, Event::EndOfStream) }
}

/// The transport failed. In any state, with or without a receive. What is buffered is still to be decoded, then
/// `DEMUXBUF_END` follows. Where that is of no use any more, as after a failed send, report fail first, or close.
///
/// Returns the mask of actions to do now, or with `DEMUXBUF_ERROR`
/// set a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_NOT_ATTACHED`, `DEMUXBUF_ERR_POISONED`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_connection_transport_error(connection: *mut demuxbuf_connection) -> u32 {
    // SAFETY: as the module asks.
    unsafe { handle(connection, Event::TransportError) }
}

/// The decoder took `bytes` bytes from the front; 0 is harmless.
///
/// Returns the mask of actions to do now, or with `DEMUXBUF_ERROR`
/// set a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_NOT_ATTACHED`, `DEMUXBUF_ERR_POISONED`,
/// `DEMUXBUF_ERR_TOO_MANY_BYTES`,
/// `DEMUXBUF_ERR_IN_FLIGHT` (from a slot).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_connection_consumed(connection: *mut demuxbuf_connection, bytes: u32) -> u32 {
    // SAFETY: as the module asks.
    unsafe { step(connection, |connection| connection.handle_inline(Event::Consumed { bytes })) }
}

/// The decoder cannot go on until at least `bytes` more bytes have arrived. `DEMUXBUF_CANNOT_FIT` if there is no room
/// for them.
///
/// Returns the mask of actions to do now, or with `DEMUXBUF_ERROR`
/// set a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_NOT_ATTACHED`, `DEMUXBUF_ERR_POISONED`,
/// `DEMUXBUF_ERR_ZERO_BYTES`, `DEMUXBUF_ERR_TOO_MANY_BYTES`, `DEMUXBUF_ERR_CLOSED`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_connection_need_more(connection: *mut demuxbuf_connection, bytes: u32) -> u32 {
    // SAFETY: as the module asks.
    unsafe { handle(connection, Event::NeedMore { bytes }) }
}

/// Decoding cannot go on for these reasons of the host's. They add up.
///
/// Returns the mask of actions to do now, or with `DEMUXBUF_ERROR`
/// set a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_NOT_ATTACHED`, `DEMUXBUF_ERR_POISONED`,
/// `DEMUXBUF_ERR_NO_REASONS`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_connection_block(connection: *mut demuxbuf_connection, reasons: u32) -> u32 {
    // SAFETY: as the module asks.
    unsafe { handle(connection, Event::Block { reasons }) }
}

/// These reasons are gone; decoding resumes when none is left.
///
/// Returns the mask of actions to do now, or with `DEMUXBUF_ERROR`
/// set a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_NOT_ATTACHED`, `DEMUXBUF_ERR_POISONED`,
/// `DEMUXBUF_ERR_NO_REASONS`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_connection_unblock(connection: *mut demuxbuf_connection, reasons: u32) -> u32 {
    // SAFETY: as the module asks.
    unsafe { handle(connection, Event::Unblock { reasons }) }
}

/// These, and no others, are the host's reasons why decoding cannot go on; 0 for none. For a host that keeps the mask
/// itself: one call beside the decoder, instead of a report of each difference. The same mask again is harmless.
///
/// Returns the mask of actions to do now, or with `DEMUXBUF_ERROR`
/// set a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_NOT_ATTACHED`, `DEMUXBUF_ERR_POISONED`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_connection_set_blocked(connection: *mut demuxbuf_connection, reasons: u32) -> u32 {
    // SAFETY: as the module asks.
    unsafe { handle(connection, Event::SetBlocked { reasons }) }
}

/// A new loop iteration begins for this connection.
///
/// Returns the mask of actions to do now, or with `DEMUXBUF_ERROR`
/// set a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_NOT_ATTACHED`, `DEMUXBUF_ERR_POISONED`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_connection_wake(connection: *mut demuxbuf_connection) -> u32 {
    // SAFETY: as the module asks.
    unsafe { handle(connection, Event::Wake) }
}

/// The host wants no reading for reasons of its own. Repeats are harmless, and one resume ends them all.
///
/// Returns the mask of actions to do now, or with `DEMUXBUF_ERROR`
/// set a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_NOT_ATTACHED`, `DEMUXBUF_ERR_POISONED`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_connection_pause_recv(connection: *mut demuxbuf_connection) -> u32 {
    // SAFETY: as the module asks.
    unsafe { handle(connection, Event::PauseRecv) }
}

/// The host's reasons for pausing are gone.
///
/// Returns the mask of actions to do now, or with `DEMUXBUF_ERROR`
/// set a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_NOT_ATTACHED`, `DEMUXBUF_ERR_POISONED`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_connection_resume_recv(connection: *mut demuxbuf_connection) -> u32 {
    // SAFETY: as the module asks.
    unsafe { handle(connection, Event::ResumeRecv) }
}

/// The decoder found a fatal error: from now on what arrives is discarded.
///
/// Returns the mask of actions to do now, or with `DEMUXBUF_ERROR`
/// set a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_NOT_ATTACHED`, `DEMUXBUF_ERR_POISONED`,
/// `DEMUXBUF_ERR_CLOSED`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_connection_fail(connection: *mut demuxbuf_connection) -> u32 {
    // SAFETY: as the module asks.
    unsafe { handle(connection, Event::Fail) }
}

/// These pending actions are done: any of want_recv, stop_recv, cancel_request, shed, end, cannot_fit, reschedule; of a
/// completion host also recv, when the receive is submitted: until its outcome is reported, the buffer stays as it is.
///
/// Returns the mask of actions to do now, or with `DEMUXBUF_ERROR`
/// set a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_NOT_ATTACHED`, `DEMUXBUF_ERR_POISONED`,
/// `DEMUXBUF_ERR_NOT_PENDING`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_connection_done(connection: *mut demuxbuf_connection, actions: u32) -> u32 {
    // SAFETY: as the module asks.
    unsafe { handle(connection, done(actions)) }
}

/// Reports any event by its number: `DEMUXBUF_EVENT_*`. The calls above are the same for one event each.
///
/// `value` is what the event counts: bytes, reasons, actions, or a capacity; 0 for an event that counts nothing.
/// Returns the mask of actions to do now, or with `DEMUXBUF_ERROR`
/// set a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_EVENT`, `DEMUXBUF_ERR_RANGE` (a value for
/// an event that counts nothing); or, as the event has it: `DEMUXBUF_ERR_NOT_ATTACHED`, `DEMUXBUF_ERR_POISONED`,
/// `DEMUXBUF_ERR_CLOSED`, `DEMUXBUF_ERR_NO_BUFFER`, `DEMUXBUF_ERR_ALREADY_HELD`, `DEMUXBUF_ERR_ALREADY_WAITING`,
/// `DEMUXBUF_ERR_CAPACITY_TOO_SMALL`, `DEMUXBUF_ERR_TOO_MANY_BYTES`, `DEMUXBUF_ERR_ZERO_BYTES`,
/// `DEMUXBUF_ERR_NO_REASONS`, `DEMUXBUF_ERR_AFTER_END`, `DEMUXBUF_ERR_NOT_PENDING`, `DEMUXBUF_ERR_IN_FLIGHT`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_connection_report(
    connection: *mut demuxbuf_connection,
    event: u32,
    value: u32,
) -> u32 {
    match event_of(event, value) {
        // SAFETY: as the module asks.
        Ok(event) => unsafe { handle(connection, event) },
        Err(_) if connection.is_null() => mask_error(DEMUXBUF_ERR_NULL),
        Err(status) => mask_error(status),
    }
}

/// The connection is going away, in whatever state it is. Repeats are harmless.
///
/// Returns the mask of actions to do now, or with `DEMUXBUF_ERROR`
/// set a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_NOT_ATTACHED`, `DEMUXBUF_ERR_POISONED`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_connection_close(connection: *mut demuxbuf_connection) -> u32 {
    // SAFETY: as the module asks.
    unsafe { handle(connection, Event::Close) }
}

/// The host's own buffer and flags are the truth: one call beside the decoder replaces counting at every site.
///
/// `buffered_bytes` and `capacity` describe the buffer (capacity 0: none), or the slot as long as its content is
/// parked; `blocked` is the whole mask of reasons; `needed_bytes` not 0: the decoder cannot go on before more bytes
/// arrive, so 0 after a receive; `armed` not 0: read interest is armed, or its report is to come. One-shot, that
/// replaces `would_block` and the report of `DEMUXBUF_WANT_RECV`. Call it after each receive and after each run of the
/// decoder: a receive whose bytes are decoded before the machine has its report is not counted against the loop
/// iteration.
/// Returns the mask of actions to do now, or with `DEMUXBUF_ERROR`
/// set a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_NOT_ATTACHED`, `DEMUXBUF_ERR_POISONED`,
/// `DEMUXBUF_ERR_CAPACITY_TOO_SMALL` (more bytes than capacity), `DEMUXBUF_ERR_CLOSED`,
/// `DEMUXBUF_ERR_IN_FLIGHT`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_connection_sync(
    connection: *mut demuxbuf_connection,
    buffered_bytes: u32,
    capacity: u32,
    blocked: u32,
    needed_bytes: u8,
    armed: u8,
) -> u32 {
    let holds_nothing = buffered_bytes | capacity | blocked | u32::from(needed_bytes) == 0;
    let sync = |connection: &mut Connection| connection.try_fast_sync(armed != 0);
    // SAFETY: as the module asks.
    let fast_actions = if holds_nothing { unsafe { try_fast(connection, sync) } } else { None };
    // SAFETY: as the module asks.
    fast_actions
        .unwrap_or_else(|| unsafe { sync_content(connection, buffered_bytes, capacity, blocked, needed_bytes, armed) })
}

/// `demuxbuf_connection_sync` where it cannot be taken at once. The signature is the same, so that nothing is saved for
/// it.
///
/// # Safety
///
/// As for `connection_mut`, until the call returns.
#[inline(never)]
unsafe extern "C" fn sync_content(
    connection: *mut demuxbuf_connection,
    buffered_bytes: u32,
    capacity: u32,
    blocked: u32,
    needed_bytes: u8,
    armed: u8,
) -> u32 {
    let (needed_bytes, armed) = (needed_bytes != 0, armed != 0);
    let event = Event::Sync { buffered_bytes, capacity, blocked, needed_bytes, armed };
    // SAFETY: as this function asks.
    unsafe { step(connection, |connection| connection.handle_inline(event)) }
}

/// What is to be done now, without reporting anything.
///
/// Returns the mask of actions, 0 for a connection that is not
/// attached, or with `DEMUXBUF_ERROR` set `DEMUXBUF_ERR_NULL` or `DEMUXBUF_ERR_POISONED`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_connection_pending(connection: *const demuxbuf_connection) -> u32 {
    // SAFETY: as the module asks.
    guarded_or(mask_error(DEMUXBUF_ERR_POISONED), || match unsafe { connection_ref(connection) } {
        None => mask_error(DEMUXBUF_ERR_NULL),
        Some(connection) if connection.is_poisoned() => mask_error(DEMUXBUF_ERR_POISONED),
        Some(connection) => connection.pending().bits(),
    })
}

/// The most bytes one receive may bring now; 0 unless `DEMUXBUF_RECV` is pending, and for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_connection_recv_max(connection: *const demuxbuf_connection) -> u32 {
    // SAFETY: as the module asks.
    guarded_or(0, || unsafe { connection_ref(connection) }.map_or(0, Connection::recv_max))
}

/// Bytes buffered; 0 for NULL. Twin of the header's `demuxbuf_connection_buffered_bytes_inline`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_connection_buffered_bytes(connection: *const demuxbuf_connection) -> u32 {
    // SAFETY: as the module asks.
    guarded_or(0, || unsafe { connection_ref(connection) }.map_or(0, Connection::buffered_bytes))
}

/// Size of what is held, in bytes; 0 if nothing is, and for NULL. Twin of the header's
/// `demuxbuf_connection_capacity_inline`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_connection_capacity(connection: *const demuxbuf_connection) -> u32 {
    // SAFETY: as the module asks.
    guarded_or(0, || unsafe { connection_ref(connection) }.map_or(0, Connection::capacity))
}

/// Whether and how the byte stream ended, as soon as it is known: `DEMUXBUF_END_KIND_*`, `DEMUXBUF_END_KIND_NONE` for
/// NULL. Twin of the header's `demuxbuf_connection_end_kind_inline`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_connection_end_kind(connection: *const demuxbuf_connection) -> u32 {
    // SAFETY: as the module asks.
    guarded_or(DEMUXBUF_END_KIND_NONE, || match unsafe { connection_ref(connection) }.and_then(Connection::end) {
        None => DEMUXBUF_END_KIND_NONE,
        Some(EndKind::Stream) => DEMUXBUF_END_KIND_STREAM,
        Some(EndKind::Error) => DEMUXBUF_END_KIND_ERROR,
    })
}

/// 1 if the connection is queued for a buffer, else 0, and 0 for NULL. Twin of the header's
/// `demuxbuf_connection_is_waiting_inline`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_connection_is_waiting(connection: *const demuxbuf_connection) -> u8 {
    // SAFETY: as the module asks.
    guarded_or(0, || unsafe { connection_ref(connection) }.map_or(0, |connection| connection.is_waiting().into()))
}

/// Writes everything there is to print about a connection.
///
/// Returns `DEMUXBUF_OK`; `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_STRUCT_SIZE`, `DEMUXBUF_ERR_POISONED`, and nothing is
/// written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_connection_describe(
    connection: *const demuxbuf_connection,
    info: *mut demuxbuf_connection_info,
) -> i32 {
    guarded_or(DEMUXBUF_ERR_POISONED, || {
        // SAFETY: as the module asks.
        let Some(connection) = (unsafe { connection_ref(connection) }) else {
            return DEMUXBUF_ERR_NULL;
        };
        // SAFETY: as the module asks.
        let info = match unsafe { StructOut::new(info) } {
            Ok(info) => info,
            Err(status) => return status,
        };
        if connection.is_poisoned() {
            return DEMUXBUF_ERR_POISONED;
        }
        info.write(demuxbuf_connection_info::of(connection));
        DEMUXBUF_OK
    })
}

#[cfg(test)]
mod tests {
    use super::super::actions::*;
    use super::*;

    #[test]
    fn a_poisoned_connection_refuses_everything() {
        let mut connection = demuxbuf_connection::default();
        // SAFETY: the pointers are to a local.
        unsafe {
            *connection_mut(&mut connection).expect("not NULL") = Connection::poisoned();
            assert_eq!(demuxbuf_actions_status(demuxbuf_connection_readable(&mut connection)), DEMUXBUF_ERR_POISONED);
            assert_eq!(
                demuxbuf_actions_status(demuxbuf_connection_attach(&mut connection, 0, 0)),
                DEMUXBUF_ERR_POISONED
            );
            assert_eq!(demuxbuf_actions_status(demuxbuf_connection_pending(&connection)), DEMUXBUF_ERR_POISONED);
        }
    }

    #[test]
    fn a_panic_inside_is_caught() {
        assert_eq!(guarded(|| 1), Some(1));
        assert_eq!(guarded(|| -> u32 { panic!("caught by the guard") }), None);
    }
}
