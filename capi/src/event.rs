//! Events by number, for the calls that take any of them.

use super::status::*;
use demuxbuf::connection::{Actions, Event};

/// The transport has bytes, an end of stream or an error to report.
pub const DEMUXBUF_EVENT_READABLE: u32 = 1;
/// One receive brought `value` bytes.
pub const DEMUXBUF_EVENT_RECEIVED: u32 = 2;
/// One receive found nothing.
pub const DEMUXBUF_EVENT_WOULD_BLOCK: u32 = 3;
/// The peer will send no more.
pub const DEMUXBUF_EVENT_END_OF_STREAM: u32 = 4;
/// The transport failed.
pub const DEMUXBUF_EVENT_TRANSPORT_ERROR: u32 = 5;
/// The decoder took `value` bytes from the front.
pub const DEMUXBUF_EVENT_CONSUMED: u32 = 6;
/// The decoder needs at least `value` more bytes.
pub const DEMUXBUF_EVENT_NEED_MORE: u32 = 7;
/// Decoding cannot go on for the reasons in the mask `value`.
pub const DEMUXBUF_EVENT_BLOCK: u32 = 8;
/// The reasons in the mask `value` are gone.
pub const DEMUXBUF_EVENT_UNBLOCK: u32 = 9;
/// The host stopped decoding for its own budget. Bytes are left, and nothing is wrong.
pub const DEMUXBUF_EVENT_YIELD: u32 = 10;
/// A new loop iteration begins for this connection.
pub const DEMUXBUF_EVENT_WAKE: u32 = 11;
/// The host pauses reading.
pub const DEMUXBUF_EVENT_PAUSE_RECV: u32 = 12;
/// The host resumes reading.
pub const DEMUXBUF_EVENT_RESUME_RECV: u32 = 13;
/// The decoder found a fatal error.
pub const DEMUXBUF_EVENT_FAIL: u32 = 14;
/// The pending actions in the mask `value` are done.
pub const DEMUXBUF_EVENT_DONE: u32 = 15;
/// The connection is going away.
pub const DEMUXBUF_EVENT_CLOSE: u32 = 16;
/// Connections only: a buffer of `value` bytes is there; or a larger one, which now holds what was buffered.
pub const DEMUXBUF_EVENT_BUFFER_GRANTED: u32 = 17;
/// Connections only: no buffer could be had, and the host has queued the connection.
pub const DEMUXBUF_EVENT_BUFFER_DENIED: u32 = 18;
/// Connections only: what was buffered is in a slot of `value` bytes now; or a slot was lent while waiting.
pub const DEMUXBUF_EVENT_BUFFER_PARKED: u32 = 19;
/// Connections only: the buffer is no longer held.
pub const DEMUXBUF_EVENT_BUFFER_RELEASED: u32 = 20;
/// Connections only: the allocator of the host that lends the buffers is exhausted: park as soon as possible.
pub const DEMUXBUF_EVENT_RECLAIM_REQUESTED: u32 = 21;
/// Connections only: the buffer is held for too long without progress: park, or else shed.
pub const DEMUXBUF_EVENT_LEASE_EXPIRED: u32 = 22;
/// The reasons in the mask `value`, and no others, are why decoding cannot go on; 0 for none.
pub const DEMUXBUF_EVENT_SET_BLOCKED: u32 = 23;
/// One receive found nothing, and read interest is armed.
pub const DEMUXBUF_EVENT_WOULD_BLOCK_ARMED: u32 = 24;
/// The peer will send no more, and bytes may still be unread (`EPOLLRDHUP`, a hang-up). As readable; and from then on
/// only would_block or an end means that there is nothing to receive, in every mode.
pub const DEMUXBUF_EVENT_PEER_CLOSED: u32 = 25;
/// Of a receiver that counts: the kernel reported it though its mark is not reached and its peer has not closed, so it
/// will hold no more of this frame. Else as readable.
pub const DEMUXBUF_EVENT_KERNEL_FULL: u32 = 26;

/// `Done` for a mask of actions. A mask with a bit of no action becomes one that is never pending, so that the
/// connection refuses it, after whatever else is wrong.
pub(super) fn done(actions: u32) -> Event {
    Event::Done(Actions::from_bits(actions).unwrap_or(Actions::ALL))
}

/// The event with this number, or the status of the refusal.
pub(super) fn event_of(number: u32, value: u32) -> Result<Event, i32> {
    let event = match number {
        DEMUXBUF_EVENT_RECEIVED => return Ok(Event::Received { bytes: value }),
        DEMUXBUF_EVENT_CONSUMED => return Ok(Event::Consumed { bytes: value }),
        DEMUXBUF_EVENT_NEED_MORE => return Ok(Event::NeedMore { bytes: value }),
        DEMUXBUF_EVENT_BLOCK => return Ok(Event::Block { reasons: value }),
        DEMUXBUF_EVENT_UNBLOCK => return Ok(Event::Unblock { reasons: value }),
        DEMUXBUF_EVENT_SET_BLOCKED => return Ok(Event::SetBlocked { reasons: value }),
        DEMUXBUF_EVENT_DONE => return Ok(done(value)),
        DEMUXBUF_EVENT_BUFFER_GRANTED => return Ok(Event::BufferGranted { capacity: value }),
        DEMUXBUF_EVENT_BUFFER_PARKED => return Ok(Event::BufferParked { capacity: value }),
        DEMUXBUF_EVENT_READABLE => Event::Readable,
        DEMUXBUF_EVENT_PEER_CLOSED => Event::PeerClosed,
        DEMUXBUF_EVENT_KERNEL_FULL => Event::KernelFull,
        DEMUXBUF_EVENT_WOULD_BLOCK => Event::WouldBlock,
        DEMUXBUF_EVENT_WOULD_BLOCK_ARMED => Event::WouldBlockArmed,
        DEMUXBUF_EVENT_END_OF_STREAM => Event::EndOfStream,
        DEMUXBUF_EVENT_TRANSPORT_ERROR => Event::TransportError,
        DEMUXBUF_EVENT_YIELD => Event::Yield,
        DEMUXBUF_EVENT_WAKE => Event::Wake,
        DEMUXBUF_EVENT_PAUSE_RECV => Event::PauseRecv,
        DEMUXBUF_EVENT_RESUME_RECV => Event::ResumeRecv,
        DEMUXBUF_EVENT_FAIL => Event::Fail,
        DEMUXBUF_EVENT_CLOSE => Event::Close,
        DEMUXBUF_EVENT_BUFFER_DENIED => Event::BufferDenied,
        DEMUXBUF_EVENT_BUFFER_RELEASED => Event::BufferReleased,
        DEMUXBUF_EVENT_RECLAIM_REQUESTED => Event::ReclaimRequested,
        DEMUXBUF_EVENT_LEASE_EXPIRED => Event::LeaseExpired,
        _ => return Err(DEMUXBUF_ERR_EVENT),
    };
    if value == 0 { Ok(event) } else { Err(DEMUXBUF_ERR_RANGE) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The numbers that programs were compiled with.
    #[test]
    fn event_numbers_stay_and_others_are_refused() {
        let plain = [
            (1, Event::Readable),
            (3, Event::WouldBlock),
            (4, Event::EndOfStream),
            (5, Event::TransportError),
            (10, Event::Yield),
            (11, Event::Wake),
            (12, Event::PauseRecv),
            (13, Event::ResumeRecv),
            (14, Event::Fail),
            (16, Event::Close),
            (18, Event::BufferDenied),
            (20, Event::BufferReleased),
            (21, Event::ReclaimRequested),
            (22, Event::LeaseExpired),
            (24, Event::WouldBlockArmed),
            (25, Event::PeerClosed),
            (26, Event::KernelFull),
        ];
        let counting = [
            (2, Event::Received { bytes: 9 }),
            (6, Event::Consumed { bytes: 9 }),
            (7, Event::NeedMore { bytes: 9 }),
            (8, Event::Block { reasons: 9 }),
            (9, Event::Unblock { reasons: 9 }),
            (15, Event::Done(Actions::from_bits(9).expect("they are actions"))),
            (17, Event::BufferGranted { capacity: 9 }),
            (19, Event::BufferParked { capacity: 9 }),
            (23, Event::SetBlocked { reasons: 9 }),
        ];
        for (number, event) in plain {
            assert_eq!(event_of(number, 0), Ok(event));
            assert_eq!(event_of(number, 9), Err(DEMUXBUF_ERR_RANGE));
        }
        for (number, event) in counting {
            assert_eq!(event_of(number, 9), Ok(event));
        }
        assert_eq!(plain.len() + counting.len(), 26);
        // Refused by the connection, since no state has all actions pending.
        assert_eq!(event_of(15, 1 << 31), Ok(Event::Done(Actions::ALL)));
        for number in [0, 27, u32::MAX] {
            assert_eq!(event_of(number, 0), Err(DEMUXBUF_ERR_EVENT));
        }
    }
}
