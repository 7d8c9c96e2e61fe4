//! Events while memory is short, each in one step: a receive that is limited, or what a claim was granted, its report,
//! and the beginning of a claim. It is what the rounds of `reconcile` come to where nothing rarer follows; where it
//! does not apply, nothing is changed and `None` is returned.
//!
//! Unlike the steps of `kept_path.rs`, which come first, each writes its borrow down, as the rounds do: for tenants,
//! for borrows that were written down, and while others are.

use super::{BufferSource, Pool};
use crate::connection::{Action, Actions, Event};
use crate::receiving::{After, Begin, Rest, Stance};

impl<S: BufferSource> Pool<S> {
    /// An event of the receiver in this row, while no cycle is open.
    pub(super) fn try_scarce_step(&mut self, index: u32, event: Event) -> Option<Actions> {
        match event {
            Event::Readable => self.try_begin_scarce(index),
            Event::Received { bytes } => self.try_received_listed(index, bytes),
            Event::Block { reasons } => self.try_block_listed(index, reasons),
            Event::Unblock { reasons } => self.try_decode_held(index, reasons),
            Event::Consumed { bytes } => self.try_report_listed(index, bytes, 0, 0),
            Event::NeedMore { bytes } if bytes > 0 => self.try_report_listed(index, 0, bytes, 0),
            Event::Done(actions) if actions.bits() == Action::WantRecv as u32 => self.try_arm_listed(index),
            _ => None,
        }
    }

    /// One that keeps nothing, or bytes of which its decoder needs more, is readable: it may receive, or claims.
    fn try_begin_scarce(&mut self, index: u32) -> Option<Actions> {
        let asks = self.table.connection(index).asks_if_readable(self.cycle.buffer_bytes);
        if !asks || !matches!(self.memory.stance(index), Stance::Idle | Stance::Resting) {
            return None;
        }
        let begin = self.memory.begin(index).expect("the machine asks for a buffer");
        if begin == Begin::Later {
            return None; // Nothing is changed that the rounds would not change.
        }
        self.scheduled.clear(index);
        match begin {
            Begin::Receive { max_bytes } => {
                let capacity = self.capacity_for(index, max_bytes);
                Some(self.table.connection_mut(index).receive_if_readable(capacity))
            }
            Begin::Claimed | Begin::Off => Some(self.table.connection_mut(index).wait_if_readable()),
            Begin::Look { .. } | Begin::Whole { .. } | Begin::WholeLook { .. } | Begin::Later => {
                unreachable!("it does not count")
            }
        }
    }

    /// It has received, and there is room left. If its decoder needs more than that, it has reported.
    fn try_received_listed(&mut self, index: u32, bytes: u32) -> Option<Actions> {
        if !self.memory.may_receive_listed(index, bytes) || !self.table.connection_mut(index).try_receive(bytes) {
            return None;
        }
        self.memory.receive_listed(index, bytes);
        self.counts.received_bytes += u64::from(bytes);
        let connection = self.table.connection(index);
        if connection.needed_bytes() == 0 { Some(connection.pending_to_decode()) } else { Some(self.reconcile(index)) }
    }

    /// As `try_report`, of a borrow that is written down.
    pub(super) fn try_report_listed(
        &mut self,
        index: u32,
        consumed_bytes: u32,
        needed_bytes: u32,
        usable_bytes: u32,
    ) -> Option<Actions> {
        let buffer_bytes = self.cycle.buffer_bytes;
        let buffered_bytes = self.table.connection(index).to_decode_in_buffer(buffer_bytes)?;
        let left_bytes = buffered_bytes.checked_sub(consumed_bytes)?;
        let is_kept = match (left_bytes, needed_bytes) {
            (0, 0) => false,
            (1.., 1..) if needed_bytes <= buffer_bytes - left_bytes => true,
            _ => return None,
        };
        if !self.memory.may_report_listed(index) {
            return None;
        }
        let connection = self.table.connection_mut(index);
        let (pending, rest) = if is_kept {
            let pending = connection.keep_rest(buffer_bytes, left_bytes, needed_bytes);
            (pending, Rest::Short { needed_bytes, usable_bytes })
        } else {
            (connection.end_kept_cycle(), Rest::Nothing)
        };
        self.counts.consumed_bytes += u64::from(consumed_bytes);
        Some(self.end_borrow_with(index, consumed_bytes, rest, pending))
    }

    /// The decoder is blocked: what is there is kept.
    fn try_block_listed(&mut self, index: u32, reasons: u32) -> Option<Actions> {
        let buffer_bytes = self.cycle.buffer_bytes;
        let buffered_bytes = self.table.connection(index).to_decode_in_buffer(buffer_bytes)?;
        if reasons == 0 || !self.memory.may_report_listed(index) {
            return None;
        }
        let pending = self.table.connection_mut(index).keep_blocked(buffer_bytes, buffered_bytes, reasons);
        Some(self.end_borrow_with(index, 0, Rest::Held, pending))
    }

    /// A report ends the borrow, which the machine has; these actions are pending then, unless the receiver is shed.
    fn end_borrow_with(&mut self, index: u32, consumed_bytes: u32, rest: Rest, pending: Actions) -> Actions {
        let after = self.memory.report_listed(index, consumed_bytes, rest);
        if after == After::Ended {
            return pending;
        }
        self.follow(index, after);
        self.reconcile(index)
    }

    /// The decoder is blocked no more: what it left is decoded.
    fn try_decode_held(&mut self, index: u32, reasons: u32) -> Option<Actions> {
        if self.memory.stance(index) != Stance::Held {
            return None;
        }
        let mut connection = self.table.connection(index).clone();
        let actions = connection.try_decode_kept(reasons)?;
        let is_borrowed = self.memory.decode(index).expect("it keeps something");
        if !is_borrowed {
            return None;
        }
        *self.table.connection_mut(index) = connection;
        Some(actions)
    }

    /// Read interest is armed while it is to receive.
    fn try_arm_listed(&mut self, index: u32) -> Option<Actions> {
        if self.memory.stance(index) != Stance::MayReceive || self.in_place_bytes(index) > 0 {
            return None;
        }
        self.table.connection_mut(index).try_arm_to_receive()
    }

    /// As `grant`, of a receiver that waited; what is pending then. `None`, and nothing is changed, where that is not
    /// all.
    pub(super) fn try_grant(&mut self, index: u32, max_bytes: u32) -> Option<Actions> {
        let capacity = self.capacity_for(index, max_bytes);
        self.table.connection_mut(index).try_end_wait(capacity)
    }
}

#[cfg(test)]
mod tests;
