//! Section 16: receives whose bytes are in the host's memory.

use super::{ModelReceiving, Purpose};
use crate::receiving_system::{Delivered, ReceivingSystem};

impl ModelReceiving {
    pub(super) fn deliver_to(&mut self, id: u32, bytes: &[u8]) -> Delivered {
        let receiver = self.receiver(id);
        let borrow = receiver.borrow.expect("a receive was allowed");
        let in_place = receiver.bytes.is_empty();
        let at_most = match in_place || borrow.purpose == Purpose::Trial || receiver.unknown_length {
            true => borrow.max,
            false => borrow.max.min(receiver.needed),
        };
        let accepted = at_most.min(bytes.len() as u32);
        self.received(id, &bytes[..accepted as usize]);
        self.receiver_mut(id).borrow.as_mut().expect("it borrows").in_place = in_place;
        Delivered { accepted, in_place }
    }

    /// What is left was copied, or there is nothing.
    pub(in crate::model) fn end_in_place(&mut self, id: u32) {
        self.receiver_mut(id).borrow.iter_mut().for_each(|borrow| borrow.in_place = false);
    }

    /// Whether the bytes of this receiver are in the host's memory.
    pub fn is_in_place(&self, id: u32) -> bool {
        self.receiver(id).borrow.is_some_and(|borrow| borrow.in_place)
    }

    /// Whether those of any are.
    pub fn has_in_place(&self) -> bool {
        self.receivers.keys().any(|&id| self.is_in_place(id))
    }
}
