//! Section 16: bytes that the host has received already.

use super::ModelPool;
use crate::receiving_system::{Delivered, ReceivingSystem};
use crate::system::{Cell, Step};
use demuxbuf::connection::{Action, Actions, Event};
use demuxbuf_capi::*;

impl ModelPool {
    pub(super) fn check_deliverable(&self, id: u64, length: usize) -> Result<(), i32> {
        let connection = &self.find(id)?.connection;
        let refusals = [
            (!connection.is_open(), DEMUXBUF_ERR_CLOSED),
            (connection.in_flight(), DEMUXBUF_ERR_IN_FLIGHT),
            (connection.counts(), DEMUXBUF_ERR_CANNOT_COUNT),
            (self.is_looked_at(id) || self.owes(id) > 0, DEMUXBUF_ERR_LOOKED_AT),
            (length == 0, DEMUXBUF_ERR_ZERO_BYTES),
            (length > self.config.buffer_bytes as usize, DEMUXBUF_ERR_TOO_MANY_BYTES),
            (connection.facts().end != 0, DEMUXBUF_ERR_AFTER_END),
            (self.memory.has_in_place(), DEMUXBUF_ERR_IN_PLACE),
        ];
        refusals.into_iter().find(|(applies, _)| *applies).map_or(Ok(()), |(_, status)| Err(status))
    }

    /// What is accepted of the bytes, and what the host is to do.
    pub(super) fn deliver_to(&mut self, id: u64, bytes: &[Cell]) -> (u32, Actions) {
        let mut actions = self.host_actions(id);
        if !actions.has(Action::Recv) {
            self.at(id).is_undelivered = true;
            self.feed(id, Event::Readable);
            self.at(id).is_scheduled = false;
            actions = self.readable(id);
        }
        let mut accepted = 0;
        if actions.has(Action::Recv) {
            let Delivered { accepted: received, .. } = self.memory.deliver(self.row(id), &vec![0; bytes.len()]);
            accepted = received;
            let event = Event::Received { bytes: accepted };
            self.at(id).connection.handle(event, &bytes[..accepted as usize]).expect("it may receive");
            self.counts.received_bytes += u64::from(accepted);
        }
        let has_more = (accepted as usize) < bytes.len();
        self.at(id).is_undelivered = has_more;
        if accepted > 0 {
            if has_more {
                self.feed(id, Event::Readable);
            }
            self.copy_undecodable(id);
            actions = self.settle(id);
        }
        (accepted, actions)
    }

    /// The decoder's report, with what is left in place.
    pub(super) fn decode_delivered(&mut self, id: u64, consumed: u32, need_more: u32) -> Result<Actions, i32> {
        self.consume(id, consumed, need_more, true)?;
        let leaves_nothing = self.connection(id).buffered_bytes() == 0;
        self.copy_undecodable(id);
        let actions = self.settle(id);
        if leaves_nothing && need_more > 0 {
            self.note_usable(id, 0);
        }
        Ok(actions)
    }

    /// What is not decoded next does not stay in place.
    fn copy_undecodable(&mut self, id: u64) {
        let stays = [Action::Decode, Action::Discard].iter().any(|&action| self.pending_of(id).has(action));
        if self.is_in_place(id) && !stays {
            self.memory.end_in_place(self.row(id));
        }
    }

    /// Whether it has bytes in the host's memory.
    pub fn is_in_place(&self, id: u64) -> bool {
        self.memory.is_in_place(self.row(id))
    }

    pub(super) fn check_not_in_place(&self, id: u64) -> Result<(), i32> {
        if self.is_in_place(id) { Err(DEMUXBUF_ERR_IN_PLACE) } else { Ok(()) }
    }

    /// As other steps, and what is in place, which only a call that names it shows.
    pub(super) fn show_delivered(&self, id: u64, actions: Actions) -> Step {
        let step = self.show(id, actions);
        if self.is_in_place(id) { Step { data: self.connection(id).content(), ..step } } else { step }
    }
}
