//! Bytes that the host has received already, into memory that the system chose: what its host and peer may do beside
//! what they may do without.

use super::{FRAME_BYTES, House};
use demuxbuf::connection::{Action, Actions, Event};
use demuxbuf_oracle::{HandleRef, Info, Op, Response};

impl House {
    /// What became of a delivery: what is not accepted, the host still has.
    pub(super) fn follow_delivery(&mut self, op: Op, response: &Response) {
        match (op, response) {
            (Op::Deliver { receiver: HandleRef::Live(at), bytes }, Response::Delivered { accepted, .. }) => {
                self.held_bytes[usize::from(at)] = u32::from(bytes) - accepted;
            }
            // There is nothing, or an end, and nothing that was before it.
            (Op::Report { receiver: HandleRef::Live(at), event: Event::WouldBlock | Event::EndOfStream }, _) => {
                self.held_bytes[usize::from(at)] = 0;
            }
            _ => {}
        }
    }

    /// The bytes of this receiver are in the host's memory.
    pub(super) fn has_in_place(&self, at: usize) -> bool {
        self.pair.model.system.is_in_place(self.id(at))
    }

    /// What may happen beside: the decoder reports with what is in place; the system has chosen a buffer for what the
    /// peer sends, or the host delivers what was not accepted; the peer ends; the host has nothing, or nothing any
    /// more.
    pub(super) fn deliveries(&self, at: usize, pending: Actions, info: &Info) -> Vec<Op> {
        let mut ops = self.reports(at, pending, info.facts.buffered_bytes);
        if self.has_in_place(at) || info.facts.in_flight || info.facts.end != 0 {
            return ops;
        }
        let held_bytes = self.held_bytes[at];
        let (kept_bytes, part_bytes) = (info.facts.buffered_bytes % FRAME_BYTES, self.scope.part_bytes());
        let rest = FRAME_BYTES - kept_bytes;
        let arriving = match (held_bytes, kept_bytes) {
            (0, 0) => vec![part_bytes, rest, rest + part_bytes],
            (0, _) => vec![rest, rest + part_bytes],
            _ => vec![held_bytes],
        };
        let receiver = HandleRef::Live(at as u8);
        let deliver = |bytes: u32| Op::Deliver { receiver, bytes: bytes as u16 };
        ops.extend(arriving.into_iter().map(deliver));
        ops.push(Op::report(at, Event::EndOfStream));
        if held_bytes > 0 || pending.has(Action::Recv) {
            ops.push(Op::report(at, Event::WouldBlock));
        }
        ops
    }

    /// What a decoder reports that bytes are delivered to: one frame, and then or at once what it lacks of the next.
    pub(super) fn reports(&self, at: usize, pending: Actions, there: u32) -> Vec<Op> {
        let receiver = HandleRef::Live(at as u8);
        let delivered = |consumed, need_more| Op::Delivered { receiver, consumed, need_more };
        match there.checked_sub(FRAME_BYTES) {
            _ if !self.scope.delivers => Vec::new(),
            // It was blocked before it reported.
            _ if !pending.has(Action::Decode) && self.has_in_place(at) => vec![delivered(0, 0)],
            _ if !pending.has(Action::Decode) => Vec::new(),
            None => vec![delivered(0, FRAME_BYTES - there)],
            Some(0) => vec![delivered(FRAME_BYTES, 0)],
            Some(left) => vec![delivered(FRAME_BYTES, 0), delivered(FRAME_BYTES, FRAME_BYTES - left)],
        }
    }

    pub(super) fn see_deliveries(&self, at: usize, see: &mut dyn FnMut(&'static str)) {
        let (is_claiming, held_bytes) = (self.memory(at).claim_since.is_some(), self.held_bytes[at]);
        let accepted = match self.answer {
            Some(Response::Delivered { accepted, .. }) => Some(accepted),
            _ => None,
        };
        let states = [
            ("bytes are in place", self.has_in_place(at)),
            ("one claims for what the host has", is_claiming && held_bytes > 0),
            ("a delivery is accepted whole", accepted.is_some_and(|accepted| accepted > 0) && held_bytes == 0),
            ("a delivery is accepted in part", accepted.is_some_and(|accepted| accepted > 0) && held_bytes > 0),
            ("a delivery is not accepted", accepted == Some(0)),
        ];
        states.into_iter().filter(|(_, holds)| *holds).for_each(|(name, _)| see(name));
    }
}

pub(super) const DELIVERIES: [&str; 4] = [
    "bytes are in place",
    "a delivery is accepted whole",
    "a delivery is accepted in part",
    "a delivery is not accepted",
];
