//! What there is to print about a connection or a receiver.

use super::out::growable;
use demuxbuf::connection::Connection;
use demuxbuf::pool::ReceiverInfo;
use demuxbuf::receiving::ShedReason;

/// One of the two structs: the fields of a connection that both have, and those that only this one has.
macro_rules! info {
    ($name:ident, $connection:expr $(, $field:ident: $value:expr)* $(,)?) => {{
        let connection: &Connection = $connection;
        $name {
            struct_size: size_of::<$name>() as u32,
            buffered_bytes: connection.buffered_bytes(),
            capacity: connection.capacity(),
            needed_bytes: connection.needed_bytes(),
            blocked: connection.blocked(),
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
            peer_closed: connection.has_peer_closed().into(),
            $($field: $value,)*
        }
    }};
}

/// Everything there is to print about a connection.
#[allow(non_camel_case_types)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct demuxbuf_connection_info {
    /// `sizeof(demuxbuf_connection_info)`, set before the call; then how many bytes were written.
    pub struct_size: u32,
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
    /// `DEMUXBUF_END_KIND_*`: 0 open, 1 ended, 2 broken.
    pub end: u8,
    /// Not 0: queued for a buffer.
    pub waiting: u8,
    /// Not 0: read interest is armed, as far as it was reported.
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
    /// Not 0: the host stopped decoding until its next loop iteration.
    pub yielded: u8,
    /// Not 0: a receive was submitted and is not complete.
    pub in_flight: u8,
    /// Not 0: the peer will send no more, as far as it was reported; bytes may still be unread.
    pub peer_closed: u8,
    /// Always 0.
    pub reserved: [u8; 3],
}

impl demuxbuf_connection_info {
    pub(super) fn of(connection: &Connection) -> demuxbuf_connection_info {
        info!(demuxbuf_connection_info, connection, pending: connection.pending().bits(), reserved: [0; 3])
    }
}

growable!(demuxbuf_connection_info, 40);

/// Everything there is to print about a receiver, and about its connection.
#[allow(non_camel_case_types)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct demuxbuf_receiver_info {
    /// `sizeof(demuxbuf_receiver_info)`, set before the call; then how many bytes were written.
    pub struct_size: u32,
    /// Its class, as the host gave it.
    pub class_index: u32,
    /// What the host gave at attach.
    pub token: u64,
    /// For how long it has waited for room, in nanoseconds of the pool's clock; 0 if it does not.
    pub wait_age_ns: u64,
    /// Bytes buffered.
    pub buffered_bytes: u32,
    /// Size of what is held, in bytes: of what is kept, or of what may be borrowed.
    pub capacity: u32,
    /// Bytes that must arrive before the decoder can go on.
    pub needed_bytes: u32,
    /// The host's reasons why decoding cannot go on.
    pub blocked: u32,
    /// What is to be done now: a mask of `DEMUXBUF_*` actions.
    pub pending: u32,
    /// Bytes that can never be decoded, once the stream ended.
    pub truncated_bytes: u32,
    /// 0 nothing held, 1 a partial frame is kept, 2 a buffer is borrowed.
    pub hold: u8,
    /// `DEMUXBUF_END_KIND_*`: 0 open, 1 ended, 2 broken.
    pub end: u8,
    /// Not 0: it waits for room.
    pub waiting: u8,
    /// Not 0: read interest is armed, as far as it was reported.
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
    /// Not 0: the host stopped decoding until its next loop iteration.
    pub yielded: u8,
    /// Not 0: a receive was submitted and is not complete.
    pub in_flight: u8,
    /// `DEMUXBUF_SHED_REASON_*`: why it was shed; 0 if it was not.
    pub shed_reason: u8,
    /// Not 0: the peer will send no more, as far as it was reported; bytes may still be unread.
    pub peer_closed: u8,
    /// Always 0.
    pub reserved: [u8; 2],
    /// How many bytes have to be in the kernel before it receives: it waits under that mark. 0 if it does not.
    pub awaited_bytes: u32,
    /// Always 0.
    pub reserved_word: u32,
}

impl demuxbuf_receiver_info {
    pub(super) fn of(receiver: &ReceiverInfo) -> demuxbuf_receiver_info {
        info!(
            demuxbuf_receiver_info,
            &receiver.connection,
            pending: receiver.pending.bits(),
            class_index: receiver.class.into(),
            token: receiver.token,
            wait_age_ns: receiver.wait_age_ns,
            shed_reason: receiver.shed_reason.map_or(0, shed_reason),
            reserved: [0; 2],
            awaited_bytes: receiver.awaited_bytes,
            reserved_word: 0,
        )
    }
}

growable!(demuxbuf_receiver_info, 64);

/// Its frame was not whole at its deadline, and there was no place for it.
pub const DEMUXBUF_SHED_REASON_DEADLINE: u8 = 1;
/// Its deadline had passed, or its tenant held more than its share, and another receiver or a request of the host's own
/// needed the place.
pub const DEMUXBUF_SHED_REASON_EVICTED: u8 = 2;
/// Its decoder left bytes for which there was no place.
pub const DEMUXBUF_SHED_REASON_MEMORY: u8 = 3;

fn shed_reason(reason: ShedReason) -> u8 {
    match reason {
        ShedReason::Deadline => DEMUXBUF_SHED_REASON_DEADLINE,
        ShedReason::Evicted => DEMUXBUF_SHED_REASON_EVICTED,
        ShedReason::Memory => DEMUXBUF_SHED_REASON_MEMORY,
    }
}
