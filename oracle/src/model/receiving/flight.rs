//! Section 11: receives in flight.

use super::{ModelReceiving, Place, Purpose, Receiver};
use crate::receiving_system::Notice;

/// A receive that the system has and did not complete.
#[derive(Clone, Copy, Debug, Hash)]
pub(super) struct Flight {
    /// Its place in the order of submission, and in which iteration that was.
    place: u64,
    iteration: u64,
    taken_back: bool,
}

impl Receiver {
    pub(super) fn flight(&self) -> Option<Flight> {
        self.borrow.and_then(|borrow| borrow.flight)
    }

    pub(super) fn is_in_flight(&self) -> bool {
        self.flight().is_some()
    }

    /// It borrows, and the borrow ends with the next advance at the latest.
    pub(super) fn borrows_openly(&self) -> bool {
        self.borrow.is_some() && !self.is_in_flight()
    }
}

impl ModelReceiving {
    /// Counted borrows are as many as there may be, which a receiver that submits has to heed.
    pub(super) fn is_at_limit(&self, id: u32) -> bool {
        let counted = self.receivers.values().filter(|other| other.borrow.is_some_and(|borrow| borrow.counted)).count();
        self.receiver(id).submits && counted as u32 >= self.in_flight_max
    }

    fn new_flight(&mut self) -> Flight {
        Flight { place: self.take_place(), iteration: self.iteration, taken_back: false }
    }

    pub(super) fn begin_flight(&mut self, id: u32) {
        self.settle_charge(id);
        let flight = self.new_flight();
        let receiver = self.receiver_mut(id);
        receiver.start = receiver.start.filter(|_| !receiver.bytes.is_empty() || receiver.claim_since.is_some());
        let borrow = receiver.borrow.as_mut().expect("a receive was allowed");
        borrow.flight = Some(flight);
        // That of another waits for the next advance.
        if borrow.place == Place::ReceiveBuffer {
            self.free_receive_buffer();
        }
    }

    /// A free buffer takes the place of a receive buffer that is in flight.
    pub(super) fn free_receive_buffer(&mut self) {
        let is_free = self.free() > 0;
        let place = self.receivers.values_mut().filter_map(|receiver| receiver.borrow.as_mut());
        let mut in_flight = place.filter(|borrow| borrow.flight.is_some() && borrow.place == Place::ReceiveBuffer);
        if let Some(borrow) = in_flight.next().filter(|_| is_free) {
            borrow.place = Place::FreeBuffer;
        }
        self.settle_buffers();
    }

    /// The outcome of a receive, if it was in flight.
    pub(super) fn end_flight(&mut self, id: u32) {
        if self.receiver(id).is_in_flight() {
            self.settle_charge(id);
            self.receiver_mut(id).borrow.as_mut().expect("it is in flight").flight = None;
        }
    }

    pub(super) fn consume_before(&mut self, id: u32, bytes: u32) {
        self.settle_charge(id);
        self.end_wait(id);
        let (now, flight) = (self.now, self.new_flight());
        let receiver = self.receiver_mut(id);
        receiver.credit = (receiver.credit + i64::from(bytes)).min(super::CREDIT_MAX);
        receiver.bytes.drain(..bytes as usize);
        receiver.offset += bytes;
        receiver.start = Some(now).filter(|_| !receiver.bytes.is_empty());
        (receiver.needed, receiver.usable) = (1, 1);
        let borrow = receiver.borrow.as_mut().expect("it is in flight");
        borrow.flight = Some(flight);
        if borrow.purpose == Purpose::Trial {
            borrow.purpose = Purpose::Plain;
        }
    }

    pub(super) fn close_in_flight(&mut self, id: u32) {
        let receiver = self.receiver_mut(id);
        let mut borrow = receiver.borrow.expect("it is in flight");
        if borrow.place == Place::OwnCell {
            borrow.place = Place::FreeBuffer;
        }
        *receiver = Receiver { borrow: Some(borrow), closed: true, ..Receiver::new(false, 0) };
        self.settle_buffers();
    }

    /// A buffer in flight could help something.
    fn something_waits(&self) -> bool {
        self.has_waiting_receivers() || self.is_receive_buffer_in_flight() || self.is_wanted()
    }

    /// A receiver claims or is off.
    pub(in crate::model) fn has_waiting_receivers(&self) -> bool {
        self.live().any(|(_, receiver)| {
            let is_claim = receiver.claim_since.is_some() && !receiver.borrows_openly();
            is_claim || receiver.off.is_some()
        })
    }

    pub(super) fn is_receive_buffer_in_flight(&self) -> bool {
        let borrows = self.receivers.values().filter_map(|receiver| receiver.borrow);
        borrows.into_iter().any(|borrow| borrow.flight.is_some() && borrow.place == Place::ReceiveBuffer)
    }

    /// Receives that could be taken back, in the order of submission: when, and of which receiver.
    fn untouched(&self) -> Vec<(u64, u64, u32)> {
        let flights = self.live().filter(|(_, receiver)| !receiver.closed);
        let flights = flights.filter_map(|(id, receiver)| receiver.flight().map(|flight| (flight, id)));
        let mut untouched: Vec<_> = flights
            .filter(|(flight, _)| !flight.taken_back)
            .map(|(flight, id)| (flight.place, flight.iteration, id))
            .collect();
        untouched.sort_unstable();
        untouched
    }

    fn next_to_take_back(&self) -> Option<u32> {
        let first = self.untouched().into_iter().find(|&(_, iteration, _)| iteration < self.iteration);
        first.map(|(_, _, id)| id).filter(|_| self.something_waits())
    }

    pub(super) fn next_take_back(&mut self) -> Option<Notice> {
        if self.is_borrowed() {
            return None;
        }
        let receiver = self.next_to_take_back()?;
        let borrow = self.receiver_mut(receiver).borrow.as_mut().expect("it is in flight");
        borrow.flight.as_mut().expect("it is in flight").taken_back = true;
        Some(Notice::TakeBack { receiver })
    }

    /// Whether a poll is wanted for the sake of receives in flight, and whether at once.
    pub(super) fn wants_take_back(&self) -> Option<bool> {
        let is_wanted = self.something_waits() && !self.untouched().is_empty();
        is_wanted.then(|| self.next_to_take_back().is_some())
    }

    /// For the search: what is known of a receive in flight.
    pub(super) fn flight_key(&self, id: u32, state: &mut Vec<u64>) {
        let receiver = self.receiver(id);
        let order = self.untouched().iter().position(|&(_, _, other)| other == id);
        state.extend([u64::from(receiver.submits), u64::from(receiver.closed), order.map_or(u64::MAX, |at| at as u64)]);
        let Some((borrow, flight)) = receiver.borrow.zip(receiver.flight()) else {
            return state.push(u64::MAX);
        };
        let is_old = flight.iteration < self.iteration;
        state.extend([borrow.place as u64, borrow.purpose as u64, u64::from(borrow.max), u64::from(borrow.asked)]);
        state.extend([u64::from(borrow.receives), u64::from(is_old), u64::from(borrow.counted)]);
    }
}
