//! What is remembered of one cycle while it is open.

use super::ReceiverId;
use crate::connection::{Action, Actions, Connection, CyclePlan, Extent};
use crate::memory::Address;
use core::ptr::NonNull;

/// The cycle that is open, if one is: a receiver that held nothing is readable, and has the use of the receive buffer.
///
/// In the row of the receiver is what it will be when everything is decoded. Nothing else is written down before the
/// cycle ends: then nothing is left to be done. Or the cycle is left, and all that it stands for is done as if it had
/// been done from the beginning.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OpenCycle {
    pub(super) progress: Progress,
    pub(super) plan: CyclePlan,
    pub(super) id: ReceiverId,
    /// Bytes to decode in the phase of that name.
    pub(super) received_bytes: u32,
    pub(super) buffer_bytes: u32,
    /// What a step has in which all of the buffer is to be received into.
    room: Extent,
    /// The most that a receive brings and leaves room: one byte less.
    received_max: u32,
    /// The receive buffer.
    pub(super) buffer: Address,
    /// Bytes of all cycles that were received and decoded.
    pub(super) passed_bytes: u64,
}

/// How far the cycle is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Progress {
    pub(super) phase: Phase,
    /// Receives of which everything is decoded.
    pub(super) reads: u8,
}

/// How the cycle stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Phase {
    /// None is open, and none may begin before it is seen that nothing is scarce.
    Closed,
    /// None is open, and nothing is scarce: nothing has happened since that was seen but cycles that ended, and events
    /// that need no memory.
    Ready,
    /// The receiver is to receive.
    Receiving,
    /// It is to decode what it received.
    Decoding,
}

/// A step for C: an address without a borrow.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct RawStep {
    pub data: Option<NonNull<u8>>,
    pub(super) extent: Extent,
}

impl RawStep {
    #[inline(always)]
    pub fn bytes(self) -> u32 {
        self.extent.bytes()
    }

    #[inline(always)]
    pub fn actions(self) -> Actions {
        self.extent.actions()
    }
}

impl OpenCycle {
    /// None, of a pool with such buffers.
    pub(super) fn closed(buffer_bytes: u32) -> OpenCycle {
        OpenCycle {
            progress: Progress { phase: Phase::Closed, reads: 0 },
            plan: CyclePlan::NONE,
            id: ReceiverId::from_bits(0),
            received_bytes: 0,
            buffer_bytes,
            room: Extent::new(buffer_bytes, Action::Recv.into()),
            received_max: buffer_bytes - 1,
            buffer: Address::NOWHERE,
            passed_bytes: 0,
        }
    }

    /// Whether one is open.
    #[inline(always)]
    pub(super) fn is_open(&self) -> bool {
        matches!(self.progress.phase, Phase::Receiving | Phase::Decoding)
    }

    /// Whether that of the receiver with this handle is open. Then the handle is not stale: a receiver is not closed
    /// before its cycle is left.
    #[inline(always)]
    pub(super) fn is_open_of(&self, id: ReceiverId) -> bool {
        self.is_open() && self.id == id
    }

    /// As many bytes are to be received, at most.
    pub(super) fn room_bytes(&self) -> u32 {
        if self.progress.phase == Phase::Receiving { self.buffer_bytes } else { 0 }
    }

    /// What was received and is not decoded yet.
    pub(super) fn buffered_bytes(&self) -> u32 {
        if self.progress.phase == Phase::Decoding { self.received_bytes } else { 0 }
    }

    /// How the receiver stands whose row has this connection.
    pub(super) fn view(&self, connection: &Connection) -> Connection {
        let Progress { phase, reads } = self.progress;
        let reads = reads + u8::from(phase == Phase::Decoding);
        connection.in_cycle(self.buffer_bytes, self.buffered_bytes(), reads)
    }

    /// Whether the receiver with this handle is to receive, and this may be what came: it leaves room.
    #[inline(always)]
    pub(super) fn may_receive(&self, id: ReceiverId, bytes: u32) -> bool {
        self.progress.phase == Phase::Receiving && self.id == id && bytes.wrapping_sub(1) < self.received_max
    }

    /// Whether the receiver with this handle is to decode, and this is all that came.
    #[inline(always)]
    pub(super) fn may_decode(&self, id: ReceiverId, bytes: u32) -> bool {
        self.progress.phase == Phase::Decoding && self.id == id && bytes == self.received_bytes
    }

    /// What the receiver is to do now: receive.
    #[inline(always)]
    pub(super) fn step_to_receive(&self) -> RawStep {
        RawStep { data: Some(self.buffer.get()), extent: self.room }
    }

    /// What the receiver is to do now: decode.
    #[inline(always)]
    pub(super) fn step_to_decode(&self, bytes: u32) -> RawStep {
        RawStep { data: Some(self.buffer.get()), extent: Extent::new(bytes, self.plan.received) }
    }

    /// What the receiver is to do now, at the end of the cycle.
    #[inline(always)]
    pub(super) fn step_at_rest(actions: impl Into<Extent>) -> RawStep {
        RawStep { data: None, extent: actions.into() }
    }
}
