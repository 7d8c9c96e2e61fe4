//! What a host reports to the machine, and what is refused.

use super::Actions;
use core::fmt;

/// Something that happened. All sizes are bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub enum Event {
    /// The connection starts, with `capacity` 0 for no buffer, else with a buffer that already holds `buffered_bytes`
    /// bytes.
    Attach {
        /// Bytes in the buffer.
        buffered_bytes: u32,
        /// Size of the buffer; 0 for none.
        capacity: u32,
    },
    /// The transport has bytes, an end of stream or an error to report. Begins a new loop iteration, as `Wake`
    /// does.
    Readable,
    /// The peer will send no more, and bytes may still be unread (`EPOLLRDHUP`, `EV_EOF`, a hang-up). As `Readable`;
    /// and from then on only `WouldBlock` or an end means that there is nothing to receive, in every mode.
    PeerClosed,
    /// Of a receiver that [counts](super::Policy::counting): the kernel reported it though its mark is not reached and
    /// its peer has not closed, so it will hold no more of this frame. The machine takes it for `Readable`.
    KernelFull,
    /// A buffer was handed over; or, if one of a smaller capacity was held, its content is now in this one.
    BufferGranted {
        /// Size of the buffer.
        capacity: u32,
    },
    /// No buffer could be had: the request is queued.
    BufferDenied,
    /// What is buffered is now in a slot of this capacity, and the buffer was released; or, while waiting with
    /// nothing held, a slot was lent so that little may be received (the lifeline).
    BufferParked {
        /// Size of the slot.
        capacity: u32,
    },
    /// The buffer is no longer held: it was released, or it went to another owner together with its content.
    BufferReleased,
    /// One receive brought this number of bytes.
    Received {
        /// Bytes received, at least 1.
        bytes: u32,
    },
    /// One receive found nothing, or was taken back.
    WouldBlock,
    /// As `WouldBlock`, and read interest is armed, or its report is to come: one event instead of two for hosts that
    /// arm it as soon as they find nothing (one-shot, optimistic; completion: that have submitted a poll).
    WouldBlockArmed,
    /// The peer will send no more, and nothing that it sent is left to receive: a receive brought 0 bytes, or a hang-up
    /// was reported and nothing is unread. With a receive in flight, this is its outcome.
    EndOfStream,
    /// The transport failed: a receive did, or a reset was reported. With a receive in flight, this is its outcome.
    TransportError,
    /// The decoder took this number of bytes from the front; 0 is harmless. If the decoder cannot go
    /// on now, report `NeedMore` afterwards.
    Consumed {
        /// Bytes consumed.
        bytes: u32,
    },
    /// The decoder cannot go on until at least this number of further bytes has arrived.
    NeedMore {
        /// Bytes still missing, at least 1.
        bytes: u32,
    },
    /// Decoding cannot go on for these reasons of the host's; they add up.
    Block {
        /// Mask of reasons, not 0.
        reasons: u32,
    },
    /// These reasons are gone. Ending a reason that was not set is harmless.
    Unblock {
        /// Mask of reasons, not 0.
        reasons: u32,
    },
    /// These, and no others, are the host's reasons why decoding cannot go on: for a host that keeps the mask itself.
    /// It replaces `Block` and `Unblock`, and the same mask again is harmless.
    SetBlocked {
        /// Mask of reasons; 0 for none.
        reasons: u32,
    },
    /// The host stopped decoding for its own budget; bytes are left and nothing is wrong.
    Yield,
    /// A new loop iteration begins for this connection: its budgets start again.
    Wake,
    /// The host wants no reading for reasons of its own.
    PauseRecv,
    /// The host's reasons for `PauseRecv` are gone.
    ResumeRecv,
    /// The decoder found a fatal error: from now on what arrives is discarded.
    Fail,
    /// The host's own buffer and flags are the truth, after each receive and after each run of the decoder.
    Sync {
        /// Bytes in the host's buffer, or parked in its slot.
        buffered_bytes: u32,
        /// Size of the host's buffer; 0 for none. The capacity of the slot as long as the content is parked.
        capacity: u32,
        /// All reasons why decoding cannot go on.
        blocked: u32,
        /// The decoder cannot go on before more bytes arrive; so not after a receive.
        needed_bytes: bool,
        /// The host's read interest is armed, or its report is to come.
        armed: bool,
    },
    /// The pool is exhausted: park as soon as possible.
    ReclaimRequested,
    /// The lease's deadline passed without progress.
    LeaseExpired,
    /// These pending actions are done. Only those of [`Actions::ACKNOWLEDGED`] are reported this way; and by completion
    /// hosts `Recv`, when the receive is submitted, and `StopRecv`, when it is being taken back.
    Done(Actions),
    /// The connection is going away.
    Close,
}

impl Event {
    /// `Done` for a set of actions.
    pub fn done(actions: impl Into<Actions>) -> Event {
        Event::Done(actions.into())
    }
}

/// Why an event was refused. The connection is as it was before. The numbers are part of the C ABI.
/// None has a bit of an [`Action`](super::Action): they are multiples of 65536.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i32)]
#[non_exhaustive]
pub enum EventError {
    /// The connection was never attached.
    NotAttached = -65536,
    /// `Attach` for a connection that is attached or not finished yet.
    AlreadyAttached = -2 * 65536,
    /// The connection was closed; this event would have needed it open.
    Closed = -3 * 65536,
    /// The event speaks of a buffer and none is held.
    NoBuffer = -4 * 65536,
    /// A buffer is held already.
    AlreadyHeld = -5 * 65536,
    /// The connection is queued already.
    AlreadyWaiting = -6 * 65536,
    /// A capacity of 0, or less than what is buffered.
    CapacityTooSmall = -7 * 65536,
    /// More bytes than there was room for, or than were buffered.
    TooManyBytes = -8 * 65536,
    /// 0 bytes where at least 1 is needed.
    ZeroBytes = -9 * 65536,
    /// An empty mask of reasons.
    NoReasons = -10 * 65536,
    /// Bytes after the end of the stream.
    AfterEnd = -11 * 65536,
    /// `Done` for an action that is not pending or is not reported this way.
    NotPending = -12 * 65536,
    /// A receive is in flight: what it goes to can be neither released nor replaced before its outcome.
    InFlight = -13 * 65536,
    /// A panic inside the library left the connection's state unknown.
    Poisoned = -35 * 65536,
}

impl EventError {
    /// The number C sees; below 0.
    pub const fn code(self) -> i32 {
        self as i32
    }

    /// What is wrong, in words.
    pub const fn message(self) -> &'static str {
        match self {
            EventError::NotAttached => "the connection was never attached",
            EventError::AlreadyAttached => "the connection is attached already",
            EventError::Closed => "the connection is closed",
            EventError::NoBuffer => "no buffer is held",
            EventError::AlreadyHeld => "a buffer is held already",
            EventError::AlreadyWaiting => "the connection is queued already",
            EventError::CapacityTooSmall => "the capacity is 0 or below what is buffered",
            EventError::TooManyBytes => "more bytes than there was room for, or than were buffered",
            EventError::ZeroBytes => "0 bytes where at least 1 is needed",
            EventError::NoReasons => "the mask of reasons is empty",
            EventError::AfterEnd => "bytes after the end of the stream",
            EventError::Poisoned => "the object is poisoned by an earlier panic",
            EventError::NotPending => "an action was reported done that is not pending",
            EventError::InFlight => "a receive is in flight into what is held",
        }
    }
}

impl fmt::Display for EventError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message())
    }
}

impl core::error::Error for EventError {}
