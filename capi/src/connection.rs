//! The state machine alone, for hosts with their own buffers.

use super::status::*;
use super::{guarded, guarded_or};
use demuxbuf::connection::{Actions, Connection, Event, EventError, Mode, Policy};

/// Level-triggered watch: told again for as long as there is something. As in one-shot mode, a receive that brings less than
/// the room is taken to have emptied the transport: a layer that reads ahead, such as a TLS library, needs edge or
/// optimistic mode.
pub const DEMUXBUF_MODE_LEVEL: u8 = 0;
/// Edge-triggered watch, registered once.
pub const DEMUXBUF_MODE_EDGE: u8 = 1;
/// A subscription that is over with its first report.
pub const DEMUXBUF_MODE_ONE_SHOT: u8 = 2;
/// As one-shot, but receives before it subscribes.
pub const DEMUXBUF_MODE_OPTIMISTIC: u8 = 3;
/// Receives (RECV) and polls (WANT_RECV) are submitted and complete later; STOP_RECV cancels what is submitted.
pub const DEMUXBUF_MODE_COMPLETION: u8 = 4;

/// Start watching the transport (completion: submit a poll); then report it with `demuxbuf_connection_done`.
pub const DEMUXBUF_WANT_RECV: u32 = 1;
/// Stop watching the transport (completion: cancel the receive or poll that is submitted); then report it done. A host
/// that cannot ignores it.
pub const DEMUXBUF_STOP_RECV: u32 = 2;
/// Ask for a buffer; report granted or denied.
pub const DEMUXBUF_REQUEST_BUFFER: u32 = 4;
/// Leave the queue; then report it done.
pub const DEMUXBUF_CANCEL_REQUEST: u32 = 8;
/// Give the buffer back; report released.
pub const DEMUXBUF_RELEASE_BUFFER: u32 = 16;
/// Receive now; report received, would_block, end_of_stream or transport_error. Completion: submit a receive and report it
/// done, then its outcome; would_block if it was cancelled and brought nothing.
pub const DEMUXBUF_RECV: u32 = 32;
/// Run the decoder; report consumed and, if bytes are left, why: need_more, block or yield.
pub const DEMUXBUF_DECODE: u32 = 64;
/// Throw away what is buffered; report it consumed.
pub const DEMUXBUF_DISCARD: u32 = 128;
/// Move the residue to a small slot, give the buffer back; report buffer_parked.
pub const DEMUXBUF_PARK: u32 = 256;
/// Close this connection: it holds memory that others wait for and makes no progress.
pub const DEMUXBUF_SHED: u32 = 512;
/// The peer ended and nothing more can be decoded; then report it done.
pub const DEMUXBUF_END: u32 = 1024;
/// Closed, and nothing is held or waited for.
pub const DEMUXBUF_FINISHED: u32 = 2048;
/// The element at the front can never fit; then report it done, and fail, close or grow.
pub const DEMUXBUF_CANNOT_FIT: u32 = 4096;
/// Work is left for the next turn: schedule it, report it done, and report wake in that turn.
pub const DEMUXBUF_RESCHEDULE: u32 = 8192;
/// Set in a mask of actions that is an error instead: cast it to `int32_t` for the status. No action is set beside it.
pub const DEMUXBUF_ERROR: u32 = 0x8000_0000;

/// One connection's receive state: a plain value that the host embeds in its own struct. All-zero is not attached. It
/// may be moved with memcpy while it is not queued, and needs no destructor unless it holds or waits for something.
/// The fields are private to the library; the header's inline tests read them.
#[allow(non_camel_case_types)]
#[derive(Debug, Default)]
#[repr(C)]
pub struct demuxbuf_connection {
    capacity: u32,
    buffered_bytes: u32,
    state: [u32; 6],
}

const _: () = assert!(size_of::<demuxbuf_connection>() == size_of::<Connection>());
const _: () = assert!(align_of::<demuxbuf_connection>() == align_of::<Connection>());

/// The connection behind the host's pointer, if it is not NULL.
pub(super) fn connection_mut<'a>(connection: *mut demuxbuf_connection) -> Option<&'a mut Connection> {
    // SAFETY: NULL or valid and not shared, as the module asks. The two types have one size and alignment, and every
    // bit pattern is a `Connection`, since its fields are integers.
    unsafe { connection.cast::<Connection>().as_mut() }
}

/// As `connection_mut`, for reading.
pub(super) fn connection_ref<'a>(connection: *const demuxbuf_connection) -> Option<&'a Connection> {
    // SAFETY: as in `connection_mut`.
    unsafe { connection.cast::<Connection>().as_ref() }
}

/// The settings of one connection. All-zero is the default of each, but for `struct_size`.
#[allow(non_camel_case_types)]
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct demuxbuf_policy {
    /// `sizeof(demuxbuf_policy)`.
    pub struct_size: u32,
    /// A full buffer receives again once so many bytes are free; 0 for any room.
    pub resume_free_bytes: u32,
    /// Residues of at most so many bytes are parked as soon as their receive ran dry; 0 for never.
    pub park_bytes: u16,
    /// Residues of at most so many bytes are parked when the pool asks; below `park_bytes` it means that.
    pub reclaim_bytes: u16,
    /// One of `DEMUXBUF_MODE_*`.
    pub mode: u8,
    /// Receives in one turn before the machine yields; 0 for 4.
    pub reads_per_wake: u8,
    /// Not 0: stop receiving while decoding is blocked, instead of when the buffer is full.
    pub pause_when_blocked: u8,
}

/// Everything there is to print about a connection.
#[allow(non_camel_case_types)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct demuxbuf_connection_info {
    /// Bytes buffered.
    pub buffered_bytes: u32,
    /// Size of what is held, in bytes.
    pub capacity: u32,
    /// Bytes that must arrive before the decoder can go on.
    pub needed_bytes: u32,
    /// The host's reasons why decoding cannot go on.
    pub blocked: u32,
    /// What is to be done now: a mask of `DEMUXBUF_*` actions.
    pub pending: u32,
    /// Bytes that can never be decoded, once the stream ended.
    pub truncated_bytes: u32,
    /// 0 nothing held, 1 a parking slot, 2 a buffer.
    pub hold: u8,
    /// 0 open, 1 ended, 2 broken.
    pub end: u8,
    /// Not 0: queued for a buffer.
    pub waiting: u8,
    /// Not 0: the host's watch is on, as far as it was reported.
    pub armed: u8,
    /// Not 0: the transport is believed to have something.
    pub ready: u8,
    /// Not 0: the decoder failed; what arrives is discarded.
    pub failed: u8,
    /// Not 0: attached and not closed.
    pub open: u8,
    /// One of `DEMUXBUF_MODE_*`.
    pub mode: u8,
    /// Not 0: the host wants no reading.
    pub paused: u8,
    /// Not 0: what is held was filled, and not enough of it is free again.
    pub full: u8,
    /// Not 0: the host stopped decoding until its next turn.
    pub yielded: u8,
    /// Not 0: a receive was submitted and is not complete.
    pub in_flight: u8,
}

impl demuxbuf_connection_info {
    pub(super) fn of(connection: &Connection) -> demuxbuf_connection_info {
        demuxbuf_connection_info {
            buffered_bytes: connection.buffered_bytes(),
            capacity: connection.capacity(),
            needed_bytes: connection.needed_bytes(),
            blocked: connection.blocked(),
            pending: connection.pending().bits(),
            truncated_bytes: connection.truncated_bytes(),
            hold: connection.hold() as u8,
            end: connection.end().map_or(0, |end| 1 + end as u8),
            waiting: connection.is_waiting().into(),
            armed: connection.is_armed().into(),
            ready: connection.is_ready().into(),
            failed: connection.is_failed().into(),
            open: connection.is_open().into(),
            mode: connection.policy().mode as u8,
            paused: connection.is_paused().into(),
            full: connection.is_full().into(),
            yielded: connection.has_yielded().into(),
            in_flight: connection.is_in_flight().into(),
        }
    }
}

/// A status as it appears in place of a mask of actions.
pub(super) const fn mask_error(status: i32) -> u32 {
    status as u32
}

/// For all events but those of every receive, which have code of their own.
fn handle(connection: *mut demuxbuf_connection, event: Event) -> u32 {
    step(connection, |connection| connection.handle(event))
}

#[inline(always)]
fn step(
    connection: *mut demuxbuf_connection,
    body: impl FnOnce(&mut Connection) -> Result<Actions, EventError>,
) -> u32 {
    let Some(connection) = connection_mut(connection) else {
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

/// Prepares a connection with a policy. An all-zero connection has the default policy already.
///
/// The connection must not be attached: this call writes over what is there. `policy` may be NULL for the default.
/// Thread rule: one thread at a time per connection.
/// Returns `DEMUXBUF_OK`; `DEMUXBUF_ERR_NULL`; `DEMUXBUF_ERR_CONFIG` for a wrong `struct_size` or `mode`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_connection_init(
    connection: *mut demuxbuf_connection,
    policy: *const demuxbuf_policy,
) -> i32 {
    guarded_or(DEMUXBUF_ERR_POISONED, || {
        // SAFETY: NULL or valid, as the module asks.
        let (Some(connection), policy) = (connection_mut(connection), unsafe { policy.as_ref() }) else {
            return DEMUXBUF_ERR_NULL;
        };
        let Some(policy) = policy.map_or(Some(Policy::default()), |policy| policy.to_policy()) else {
            return DEMUXBUF_ERR_CONFIG;
        };
        *connection = Connection::new(policy);
        DEMUXBUF_OK
    })
}

impl demuxbuf_policy {
    pub(super) fn from_policy(policy: Policy) -> demuxbuf_policy {
        demuxbuf_policy {
            struct_size: size_of::<demuxbuf_policy>() as u32,
            resume_free_bytes: policy.resume_free_bytes,
            park_bytes: policy.park_bytes,
            reclaim_bytes: policy.reclaim_bytes,
            mode: policy.mode as u8,
            reads_per_wake: policy.reads_per_wake,
            pause_when_blocked: policy.pause_when_blocked.into(),
        }
    }

    pub(super) fn to_policy(self) -> Option<Policy> {
        if self.struct_size as usize != size_of::<demuxbuf_policy>() {
            return None;
        }
        Some(Policy {
            mode: Mode::try_from(self.mode).ok()?,
            reads_per_wake: self.reads_per_wake,
            park_bytes: self.park_bytes,
            reclaim_bytes: self.reclaim_bytes,
            resume_free_bytes: self.resume_free_bytes,
            pause_when_blocked: self.pause_when_blocked != 0,
        })
    }
}

/// The connection starts: with `capacity` 0 for no buffer, else with a buffer of any size that already holds
/// `buffered_bytes` bytes.
///
/// Thread rule: one thread at a time per connection. Returns the mask of actions to do now, or with `DEMUXBUF_ERROR`
/// set a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_POISONED`, `DEMUXBUF_ERR_ALREADY_ATTACHED`,
/// `DEMUXBUF_ERR_CAPACITY_TOO_SMALL`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_connection_attach(
    connection: *mut demuxbuf_connection,
    buffered_bytes: u32,
    capacity: u32,
) -> u32 {
    handle(connection, Event::Attach { buffered_bytes, capacity })
}

/// The transport has bytes, an end of stream or an error to report. Begins a new turn. Repeats are harmless.
///
/// Thread rule: one thread at a time per connection. Returns the mask of actions to do now, or with `DEMUXBUF_ERROR`
/// set a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_NOT_ATTACHED`, `DEMUXBUF_ERR_POISONED`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_connection_readable(connection: *mut demuxbuf_connection) -> u32 {
    step(connection, |connection| connection.handle_inline(Event::Readable))
}

/// The host has a buffer of `capacity` bytes for this connection; or a larger one, which now holds what was buffered.
///
/// Thread rule: one thread at a time per connection. Returns the mask of actions to do now, or with `DEMUXBUF_ERROR`
/// set a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_NOT_ATTACHED`, `DEMUXBUF_ERR_POISONED`,
/// `DEMUXBUF_ERR_CAPACITY_TOO_SMALL`, `DEMUXBUF_ERR_ALREADY_HELD`, `DEMUXBUF_ERR_CLOSED`,
/// `DEMUXBUF_ERR_IN_FLIGHT`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_connection_buffer_granted(
    connection: *mut demuxbuf_connection,
    capacity: u32,
) -> u32 {
    step(connection, |connection| connection.handle_inline(Event::BufferGranted { capacity }))
}

/// No buffer could be had; the host has queued the connection. It must not be moved until granted or cancelled.
///
/// Thread rule: one thread at a time per connection. Returns the mask of actions to do now, or with `DEMUXBUF_ERROR`
/// set a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_NOT_ATTACHED`, `DEMUXBUF_ERR_POISONED`,
/// `DEMUXBUF_ERR_ALREADY_WAITING`, `DEMUXBUF_ERR_ALREADY_HELD`, `DEMUXBUF_ERR_CLOSED`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_connection_buffer_denied(connection: *mut demuxbuf_connection) -> u32 {
    handle(connection, Event::BufferDenied)
}

/// What was buffered is now in a slot of `capacity` bytes and the buffer was given back; or a slot was lent while
/// waiting.
///
/// Thread rule: one thread at a time per connection. Returns the mask of actions to do now, or with `DEMUXBUF_ERROR`
/// set a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_NOT_ATTACHED`, `DEMUXBUF_ERR_POISONED`,
/// `DEMUXBUF_ERR_CAPACITY_TOO_SMALL`, `DEMUXBUF_ERR_CLOSED`,
/// `DEMUXBUF_ERR_IN_FLIGHT`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_connection_buffer_parked(connection: *mut demuxbuf_connection, capacity: u32) -> u32 {
    handle(connection, Event::BufferParked { capacity })
}

/// The buffer is no longer held: given back, or handed to somebody else with what was in it.
///
/// Thread rule: one thread at a time per connection. Returns the mask of actions to do now, or with `DEMUXBUF_ERROR`
/// set a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_NOT_ATTACHED`, `DEMUXBUF_ERR_POISONED`,
/// `DEMUXBUF_ERR_NO_BUFFER`,
/// `DEMUXBUF_ERR_IN_FLIGHT`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_connection_buffer_released(connection: *mut demuxbuf_connection) -> u32 {
    step(connection, |connection| connection.handle_inline(Event::BufferReleased))
}

/// One receive brought `bytes` bytes, at most `demuxbuf_connection_recv_max`.
///
/// Level-triggered and one-shot, a receive that brought less than that is taken to have run dry. A host that offered less,
/// such as a ring up to its wrap, reports it with `demuxbuf_connection_sync`, and `would_block` when it did run dry.
///
/// Thread rule: one thread at a time per connection. Returns the mask of actions to do now, or with `DEMUXBUF_ERROR`
/// set a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_NOT_ATTACHED`, `DEMUXBUF_ERR_POISONED`,
/// `DEMUXBUF_ERR_ZERO_BYTES` (report the end of the stream instead), `DEMUXBUF_ERR_TOO_MANY_BYTES`,
/// `DEMUXBUF_ERR_NO_BUFFER`, `DEMUXBUF_ERR_AFTER_END`, `DEMUXBUF_ERR_CLOSED`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_connection_received(connection: *mut demuxbuf_connection, bytes: u32) -> u32 {
    step(connection, |connection| connection.handle_inline(Event::Received { bytes }))
}

/// One receive found nothing.
///
/// Thread rule: one thread at a time per connection. Returns the mask of actions to do now, or with `DEMUXBUF_ERROR`
/// set a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_NOT_ATTACHED`, `DEMUXBUF_ERR_POISONED`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_connection_would_block(connection: *mut demuxbuf_connection) -> u32 {
    handle(connection, Event::WouldBlock)
}

/// The peer will send no more. In any state, with or without a receive.
///
/// Thread rule: one thread at a time per connection. Returns the mask of actions to do now, or with `DEMUXBUF_ERROR`
/// set a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_NOT_ATTACHED`, `DEMUXBUF_ERR_POISONED`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_connection_end_of_stream(connection: *mut demuxbuf_connection) -> u32 {
    handle(connection, Event::EndOfStream)
}

/// The transport failed. In any state, with or without a receive.
///
/// Thread rule: one thread at a time per connection. Returns the mask of actions to do now, or with `DEMUXBUF_ERROR`
/// set a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_NOT_ATTACHED`, `DEMUXBUF_ERR_POISONED`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_connection_transport_error(connection: *mut demuxbuf_connection) -> u32 {
    handle(connection, Event::TransportError)
}

/// The decoder took `bytes` bytes from the front; 0 is harmless.
///
/// Thread rule: one thread at a time per connection. Returns the mask of actions to do now, or with `DEMUXBUF_ERROR`
/// set a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_NOT_ATTACHED`, `DEMUXBUF_ERR_POISONED`,
/// `DEMUXBUF_ERR_TOO_MANY_BYTES`,
/// `DEMUXBUF_ERR_IN_FLIGHT` (from a slot).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_connection_consumed(connection: *mut demuxbuf_connection, bytes: u32) -> u32 {
    step(connection, |connection| connection.handle_inline(Event::Consumed { bytes }))
}

/// The decoder cannot go on until at least `bytes` more bytes have arrived. `DEMUXBUF_CANNOT_FIT` if there is no room
/// for them.
///
/// Thread rule: one thread at a time per connection. Returns the mask of actions to do now, or with `DEMUXBUF_ERROR`
/// set a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_NOT_ATTACHED`, `DEMUXBUF_ERR_POISONED`,
/// `DEMUXBUF_ERR_ZERO_BYTES`, `DEMUXBUF_ERR_TOO_MANY_BYTES`, `DEMUXBUF_ERR_CLOSED`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_connection_need_more(connection: *mut demuxbuf_connection, bytes: u32) -> u32 {
    handle(connection, Event::NeedMore { bytes })
}

/// Decoding cannot go on for these reasons of the host's. They add up.
///
/// Thread rule: one thread at a time per connection. Returns the mask of actions to do now, or with `DEMUXBUF_ERROR`
/// set a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_NOT_ATTACHED`, `DEMUXBUF_ERR_POISONED`,
/// `DEMUXBUF_ERR_NO_REASONS`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_connection_block(connection: *mut demuxbuf_connection, reasons: u32) -> u32 {
    handle(connection, Event::Block { reasons })
}

/// These reasons are gone; decoding resumes when none is left.
///
/// Thread rule: one thread at a time per connection. Returns the mask of actions to do now, or with `DEMUXBUF_ERROR`
/// set a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_NOT_ATTACHED`, `DEMUXBUF_ERR_POISONED`,
/// `DEMUXBUF_ERR_NO_REASONS`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_connection_unblock(connection: *mut demuxbuf_connection, reasons: u32) -> u32 {
    handle(connection, Event::Unblock { reasons })
}

/// The host stopped decoding for its own budget; bytes are left and nothing is wrong.
///
/// Thread rule: one thread at a time per connection. Returns the mask of actions to do now, or with `DEMUXBUF_ERROR`
/// set a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_NOT_ATTACHED`, `DEMUXBUF_ERR_POISONED`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_connection_yield(connection: *mut demuxbuf_connection) -> u32 {
    handle(connection, Event::Yield)
}

/// A new turn of the host's loop begins for this connection.
///
/// Thread rule: one thread at a time per connection. Returns the mask of actions to do now, or with `DEMUXBUF_ERROR`
/// set a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_NOT_ATTACHED`, `DEMUXBUF_ERR_POISONED`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_connection_wake(connection: *mut demuxbuf_connection) -> u32 {
    handle(connection, Event::Wake)
}

/// The host wants no reading for reasons of its own.
///
/// Thread rule: one thread at a time per connection. Returns the mask of actions to do now, or with `DEMUXBUF_ERROR`
/// set a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_NOT_ATTACHED`, `DEMUXBUF_ERR_POISONED`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_connection_pause_recv(connection: *mut demuxbuf_connection) -> u32 {
    handle(connection, Event::PauseRecv)
}

/// The host's reasons for pausing are gone.
///
/// Thread rule: one thread at a time per connection. Returns the mask of actions to do now, or with `DEMUXBUF_ERROR`
/// set a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_NOT_ATTACHED`, `DEMUXBUF_ERR_POISONED`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_connection_resume_recv(connection: *mut demuxbuf_connection) -> u32 {
    handle(connection, Event::ResumeRecv)
}

/// The decoder found a fatal error: from now on what arrives is discarded.
///
/// Thread rule: one thread at a time per connection. Returns the mask of actions to do now, or with `DEMUXBUF_ERROR`
/// set a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_NOT_ATTACHED`, `DEMUXBUF_ERR_POISONED`,
/// `DEMUXBUF_ERR_CLOSED`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_connection_fail(connection: *mut demuxbuf_connection) -> u32 {
    handle(connection, Event::Fail)
}

/// The host's allocator is short: park as soon as possible.
///
/// Thread rule: one thread at a time per connection. Returns the mask of actions to do now, or with `DEMUXBUF_ERROR`
/// set a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_NOT_ATTACHED`, `DEMUXBUF_ERR_POISONED`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_connection_reclaim_requested(connection: *mut demuxbuf_connection) -> u32 {
    handle(connection, Event::ReclaimRequested)
}

/// The deadline of the buffer passed without progress: park, or else shed.
///
/// Thread rule: one thread at a time per connection. Returns the mask of actions to do now, or with `DEMUXBUF_ERROR`
/// set a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_NOT_ATTACHED`, `DEMUXBUF_ERR_POISONED`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_connection_lease_expired(connection: *mut demuxbuf_connection) -> u32 {
    handle(connection, Event::LeaseExpired)
}

/// These pending actions are done: any of want_recv, stop_recv, cancel_request, shed, end, cannot_fit, reschedule; of a
/// completion host also recv, when the receive is submitted: until its outcome is reported, the buffer stays as it is.
///
/// Thread rule: one thread at a time per connection. Returns the mask of actions to do now, or with `DEMUXBUF_ERROR`
/// set a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_NOT_ATTACHED`, `DEMUXBUF_ERR_POISONED`,
/// `DEMUXBUF_ERR_NOT_PENDING`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_connection_done(connection: *mut demuxbuf_connection, actions: u32) -> u32 {
    handle(connection, done(actions))
}

/// `Done` for a mask of actions. A mask with a bit of no action becomes one that is never pending, so that the connection
/// refuses it, after whatever else is wrong.
pub(super) fn done(actions: u32) -> Event {
    Event::Done(Actions::from_bits(actions).unwrap_or(Actions::ALL))
}

/// The connection is going away, in whatever state it is. Repeats are harmless.
///
/// Thread rule: one thread at a time per connection. Returns the mask of actions to do now, or with `DEMUXBUF_ERROR`
/// set a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_NOT_ATTACHED`, `DEMUXBUF_ERR_POISONED`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_connection_close(connection: *mut demuxbuf_connection) -> u32 {
    handle(connection, Event::Close)
}

/// The host's own buffer and flags are the truth: one call beside the decoder replaces counting at every site.
///
/// `buffered_bytes` and `capacity` describe the buffer (capacity 0: none), or the slot as long as its content is
/// parked; `blocked` is the whole mask of reasons; `needed_bytes` not 0: the decoder cannot go on before more bytes
/// arrive, so 0 after a receive; `armed` not 0: the subscription is on, or its report is on its way. One-shot, that
/// replaces `would_block` and the report of `DEMUXBUF_WANT_RECV`. Call it after each receive and after each run of the
/// decoder: a receive whose bytes are decoded before the machine is told is not counted against the turn.
/// Thread rule: one thread at a time per connection. Returns the mask of actions to do now, or with `DEMUXBUF_ERROR`
/// set a status, and nothing is changed: `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_NOT_ATTACHED`, `DEMUXBUF_ERR_POISONED`,
/// `DEMUXBUF_ERR_CAPACITY_TOO_SMALL` (level above capacity), `DEMUXBUF_ERR_CLOSED`,
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
    let event = Event::Sync { buffered_bytes, capacity, blocked, needed_bytes: needed_bytes != 0, armed: armed != 0 };
    step(connection, |connection| connection.handle_inline(event))
}

/// What is to be done now, without reporting anything.
///
/// Thread rule: one thread at a time per connection. Returns the mask of actions, 0 for a connection that is not
/// attached, or with `DEMUXBUF_ERROR` set `DEMUXBUF_ERR_NULL` or `DEMUXBUF_ERR_POISONED`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_connection_pending(connection: *const demuxbuf_connection) -> u32 {
    guarded_or(mask_error(DEMUXBUF_ERR_POISONED), || match connection_ref(connection) {
        None => mask_error(DEMUXBUF_ERR_NULL),
        Some(connection) if connection.is_poisoned() => mask_error(DEMUXBUF_ERR_POISONED),
        Some(connection) => connection.pending().bits(),
    })
}

/// The most bytes one receive may bring now; 0 unless `DEMUXBUF_RECV` is pending, and for NULL.
///
/// Thread rule: one thread at a time per connection.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_connection_recv_max(connection: *const demuxbuf_connection) -> u32 {
    guarded_or(0, || connection_ref(connection).map_or(0, Connection::recv_max))
}

/// Bytes buffered; 0 for NULL. Twin of the header's `demuxbuf_connection_buffered_bytes_inline`.
///
/// Thread rule: one thread at a time per connection.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_connection_buffered_bytes(connection: *const demuxbuf_connection) -> u32 {
    guarded_or(0, || connection_ref(connection).map_or(0, Connection::buffered_bytes))
}

/// Size of what is held, in bytes; 0 if nothing is, and for NULL. Twin of the header's
/// `demuxbuf_connection_capacity_inline`.
///
/// Thread rule: one thread at a time per connection.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_connection_capacity(connection: *const demuxbuf_connection) -> u32 {
    guarded_or(0, || connection_ref(connection).map_or(0, Connection::capacity))
}

/// The status inside what an event function returned: `DEMUXBUF_OK` for a mask of actions. Twin of the header's
/// `demuxbuf_actions_status_inline`. Thread rule: any thread, any time.
#[unsafe(no_mangle)]
pub extern "C" fn demuxbuf_actions_status(actions: u32) -> i32 {
    guarded_or(DEMUXBUF_ERR_POISONED, || if actions & DEMUXBUF_ERROR != 0 { actions as i32 } else { DEMUXBUF_OK })
}

/// Writes everything there is to print about a connection.
///
/// Thread rule: one thread at a time per connection.
/// Returns `DEMUXBUF_OK`; `DEMUXBUF_ERR_NULL`, `DEMUXBUF_ERR_POISONED`, and nothing is written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn demuxbuf_connection_describe(
    connection: *const demuxbuf_connection,
    info: *mut demuxbuf_connection_info,
) -> i32 {
    guarded_or(DEMUXBUF_ERR_POISONED, || {
        // SAFETY: NULL or valid, as the module asks.
        let (Some(connection), Some(info)) = (connection_ref(connection), unsafe { info.as_mut() }) else {
            return DEMUXBUF_ERR_NULL;
        };
        if connection.is_poisoned() {
            return DEMUXBUF_ERR_POISONED;
        }
        *info = demuxbuf_connection_info::of(connection);
        DEMUXBUF_OK
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use demuxbuf::connection::{Action, Actions};

    #[test]
    fn the_masks_of_c_are_the_actions_of_rust() {
        let in_c = [
            DEMUXBUF_WANT_RECV,
            DEMUXBUF_STOP_RECV,
            DEMUXBUF_REQUEST_BUFFER,
            DEMUXBUF_CANCEL_REQUEST,
            DEMUXBUF_RELEASE_BUFFER,
            DEMUXBUF_RECV,
            DEMUXBUF_DECODE,
            DEMUXBUF_DISCARD,
            DEMUXBUF_PARK,
            DEMUXBUF_SHED,
            DEMUXBUF_END,
            DEMUXBUF_FINISHED,
            DEMUXBUF_CANNOT_FIT,
            DEMUXBUF_RESCHEDULE,
        ];
        for (action, bits) in Action::ALL.into_iter().zip(in_c) {
            assert_eq!(Actions::from(action).bits(), bits);
        }
    }

    #[test]
    fn a_poisoned_connection_refuses_everything() {
        let mut connection = demuxbuf_connection::default();
        *connection_mut(&mut connection).expect("not NULL") = Connection::poisoned();
        // SAFETY: the pointers are to a local.
        unsafe {
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
