//! Receives in flight: from their submission to their outcome, the system may write to their buffers.

use super::borrow::{Borrow, Flight, Lender, Purpose};
use super::buffers::Buffers;
use super::keeper::{Place, Standing};
use super::types::Notice;
use super::{NIL, Receiving, ReceivingError};
use crate::scheduler::list::List;
use core::ptr::NonNull;

/// What is known of all receives in flight.
#[cfg_attr(feature = "model-check", derive(Clone))]
#[derive(Debug)]
pub(super) struct Flights {
    /// Borrows that count against the most there may be.
    pub(super) counted: u32,
    /// Those of receivers that claim.
    pub(crate) claims: u32,
    /// One is in the receive buffer.
    pub(super) has_receive_buffer: bool,
    /// Keepers of those that are not taken back, in the order of submission.
    pub(super) untouched: List,
    /// Advances of the clock.
    iteration: u64,
}

impl Flights {
    pub(super) const NONE: Flights =
        Flights { counted: 0, claims: 0, has_receive_buffer: false, untouched: List::EMPTY, iteration: 0 };

    /// Whether a receive is in flight, and was in the last iteration, for model checkers.
    #[cfg(feature = "model-check")]
    pub(super) fn flight_key(&self, flight: Flight) -> [u64; 2] {
        match flight {
            Flight::No => [0, 0],
            Flight::Since(iteration) => [1, u64::from(iteration < self.iteration)],
            Flight::TakenBack => [2, 0],
        }
    }
}

impl<B: Buffers> Receiving<B> {
    /// The receives of this receiver are submitted, and complete later, or are not any more.
    ///
    /// # Errors
    ///
    /// There is no such receiver, or a receive is allowed to it.
    pub fn set_submits(&mut self, receiver: u32, submits: bool) -> Result<(), ReceivingError> {
        self.row(receiver)?;
        if self.borrowed(receiver).is_some_and(|borrowed| borrowed.max_bytes > 0) {
            return Err(ReceivingError::Borrowing);
        }
        self.rows[receiver as usize].submits = submits;
        Ok(())
    }

    /// The receive that was allowed is submitted: from now on to its outcome (`received`, `dry`, `end`), its buffer is
    /// not used for anything else, whatever happens to the receiver.
    ///
    /// # Errors
    ///
    /// The receiver may not receive, or looks or receives a whole, which it does at once; or its receive is in flight
    /// already.
    pub fn submit(&mut self, receiver: u32) -> Result<(), ReceivingError> {
        let keeper = self.borrower(receiver)?;
        if self.is_in_flight(keeper) {
            return Err(ReceivingError::InFlight);
        }
        let is_now = matches!(self.borrow_of(keeper).purpose, Purpose::Look | Purpose::Whole | Purpose::WholeLook);
        if self.borrow_of(keeper).max_bytes == 0 || is_now {
            return Err(ReceivingError::NotReceiving);
        }
        self.settle_charge(keeper);
        let state = &mut self.keepers[keeper];
        let is_claiming = state.claim_since_ns().is_some();
        if state.kept_bytes == 0 && !is_claiming {
            state.start_ns = None;
        }
        self.flights.claims += u32::from(is_claiming);
        self.borrow_mut(keeper).flight = Flight::Since(self.flights.iteration);
        self.open_borrows -= 1;
        self.swap_borrows(self.keepers[keeper].borrow, self.open_borrows);
        self.keepers.push(&mut self.flights.untouched, keeper);
        if self.borrow_of(keeper).lender == Lender::Thread {
            self.flights.has_receive_buffer = true;
            self.replace_receive_buffer();
        }
        Ok(())
    }

    /// As `submit`, of an idle receiver that may receive into all of the receive buffer, of which nothing is written
    /// down.
    pub(crate) fn submit_unlisted(&mut self, receiver: u32) {
        let keeper = self.keepers.insert(receiver);
        self.rows[receiver as usize].keeper = keeper;
        let state = &mut self.keepers[keeper];
        (state.borrow, state.charged_ns) = (self.borrows.len() as u32, self.clock.now_ns());
        let taken = self.buffers.take();
        let buffer = self.receive_buffer;
        let lender = if taken.is_some() { Lender::Pool } else { Lender::Thread };
        self.receive_buffer = taken.unwrap_or(buffer);
        (self.is_receive_buffer_lent, self.flights.has_receive_buffer) = (taken.is_none(), taken.is_none());
        let (max_bytes, flight) = (self.config.buffer_bytes, Flight::Since(self.flights.iteration));
        let borrow = Borrow::new(buffer, 0, lender, Purpose::Receive, 0);
        self.borrows.push(Borrow { keeper, max_bytes, flight, is_counted: true, ..borrow });
        self.flights.counted += 1;
        self.keepers.push(&mut self.flights.untouched, keeper);
    }

    /// As `received`, of a receive in flight that had nothing before it, which leaves room: where the bytes are.
    /// `None`, and nothing is changed, if that is not so.
    pub(crate) fn try_land_alone(&mut self, receiver: u32, bytes: u32) -> Option<NonNull<u8>> {
        let keeper = self.rows[receiver as usize].keeper;
        if keeper == NIL {
            return None;
        }
        let state = &self.keepers[keeper];
        let (at, is_known) = (state.borrow, state.standing != Standing::Resting || state.kept_bytes > 0);
        let borrow = self.borrows.get(at as usize)?;
        if is_known || borrow.flight == Flight::No || borrow.purpose != Purpose::Receive || bytes >= borrow.max_bytes {
            return None;
        }
        let Borrow { buffer, start, .. } = *borrow;
        let now_ns = self.clock.now_ns();
        if state.charged_ns != now_ns {
            self.settle_charge(keeper);
        }
        self.set_taken_back(keeper);
        let state = &mut self.keepers[keeper];
        (state.kept_bytes, state.looked_bytes) = (bytes, 0);
        state.start_ns.get_or_insert(now_ns);
        let borrow = &mut self.borrows[at as usize];
        self.flights.has_receive_buffer &= borrow.lender != Lender::Thread;
        (borrow.flight, borrow.max_bytes, borrow.before_bytes) = (Flight::No, 0, 0);
        (borrow.is_unreported, borrow.is_filled) = (true, false);
        borrow.receives += 1;
        if at != self.open_borrows {
            self.swap_borrows(at, self.open_borrows);
        }
        self.open_borrows += 1;
        self.area_in(buffer, start as usize, bytes).map(|(at, _)| at)
    }

    /// All that a receive in flight has brought is decoded, and nothing else is known of the receiver: it is idle
    /// again. `false`, and nothing is changed, if that is not so.
    pub(crate) fn try_release_landed(&mut self, receiver: u32, bytes: u32) -> bool {
        let keeper = self.rows[receiver as usize].keeper;
        if keeper == NIL || self.is_in_place(receiver) {
            return false;
        }
        let state = &self.keepers[keeper];
        let Some(borrow) = self.borrows.get(state.borrow as usize) else { return false };
        let is_alone = state.kept_bytes == bytes
            && (state.place, state.standing) == (Place::Nowhere, Standing::Resting)
            && (borrow.lender, borrow.purpose) == (Lender::Pool, Purpose::Receive)
            && borrow.flight == Flight::No
            && !state.is_full
            && state.mark_bytes == 1;
        if !is_alone {
            return false;
        }
        let buffer = borrow.buffer;
        self.unlist_borrow(keeper);
        self.rows[receiver as usize].add_credit(bytes);
        self.rows[receiver as usize].keeper = NIL;
        self.keepers.remove(keeper);
        self.give(buffer);
        true
    }

    /// If a receive is in flight in the receive buffer, a free buffer takes its place.
    fn replace_receive_buffer(&mut self) {
        if !self.flights.has_receive_buffer {
            return;
        }
        if let Some(buffer) = self.buffers.take() {
            let borrow = self.borrows.iter_mut().find(|borrow| borrow.lender == Lender::Thread);
            borrow.expect("it is in flight").lender = Lender::Pool;
            self.receive_buffer = buffer;
            (self.is_receive_buffer_lent, self.flights.has_receive_buffer) = (false, false);
        }
    }

    /// An iteration of the host's loop begins.
    pub(super) fn begin_iteration(&mut self) {
        self.replace_receive_buffer();
        self.flights.iteration += 1;
    }

    /// A receive has its outcome, if it was in flight: the borrow is like any other.
    pub(super) fn land(&mut self, keeper: u32) {
        if !self.is_in_flight(keeper) {
            return;
        }
        self.settle_charge(keeper);
        let is_claiming = self.keepers[keeper].claim_since_ns().is_some();
        self.flights.claims -= u32::from(is_claiming);
        self.set_taken_back(keeper);
        let borrow = self.borrow_mut(keeper);
        borrow.flight = Flight::No;
        if borrow.lender == Lender::Thread {
            self.flights.has_receive_buffer = false;
        }
        self.swap_borrows(self.keepers[keeper].borrow, self.open_borrows);
        self.open_borrows += 1;
    }

    /// The host cancels a receive in flight, or need not any more.
    fn set_taken_back(&mut self, keeper: u32) {
        if self.borrow_of(keeper).flight != Flight::TakenBack {
            self.keepers.unlink(&mut self.flights.untouched, keeper);
            self.borrow_mut(keeper).flight = Flight::TakenBack;
        }
    }

    /// What was there before a receive in flight is consumed, or a part of it.
    pub(super) fn consume_in_flight(&mut self, keeper: u32, bytes: u32) {
        if bytes == 0 {
            return;
        }
        self.add_credit(keeper, bytes);
        self.end_claim(keeper);
        self.set_taken_back(keeper);
        self.keepers.push(&mut self.flights.untouched, keeper);
        let (now_ns, iteration) = (self.clock.now_ns(), self.flights.iteration);
        let state = &mut self.keepers[keeper];
        let borrow = &mut self.borrows[state.borrow as usize];
        borrow.flight = Flight::Since(iteration);
        borrow.start += bytes;
        if borrow.purpose == Purpose::Trial {
            borrow.purpose = Purpose::Receive;
        }
        state.kept_bytes -= bytes;
        state.start_ns = (state.kept_bytes > 0).then_some(now_ns);
        (state.needed_bytes, state.usable_bytes) = (0, 0);
        (state.is_kept_for_good, state.is_full) = (false, false);
    }

    /// A receiver is closed: it has nothing any more but the buffer of its receive in flight. Returns how many bytes
    /// were dropped.
    pub(super) fn close_in_flight(&mut self, keeper: u32) -> u32 {
        self.end_claim(keeper);
        self.set_taken_back(keeper);
        let borrow = self.borrow_mut(keeper);
        if borrow.lender == Lender::Receiver {
            borrow.lender = Lender::Pool;
            let counted_bytes = self.counted_bytes(keeper);
            self.keepers[keeper].place = Place::Nowhere;
            self.recount(keeper, counted_bytes);
        }
        self.free_place(keeper);
        let state = &mut self.keepers[keeper];
        state.start_ns = None;
        core::mem::take(&mut state.kept_bytes)
    }

    /// The outcome of a receive that outlived its receiver, whatever it was: the buffer and the row are free again.
    ///
    /// # Errors
    ///
    /// There is no receiver in this row that was closed with a receive in flight.
    pub fn complete(&mut self, receiver: u32) -> Result<(), ReceivingError> {
        let row = self.rows.get(receiver as usize).filter(|row| !row.is_attached && row.keeper != NIL);
        let keeper = row.ok_or(ReceivingError::UnknownReceiver)?.keeper;
        self.land(keeper);
        self.end_borrow(keeper);
        self.keepers.remove(keeper);
        self.rows[receiver as usize].keeper = NIL;
        Ok(())
    }

    /// Whether the receive of this receiver is in flight.
    pub(crate) fn has_in_flight(&self, receiver: u32) -> bool {
        self.rows.get(receiver as usize).is_some_and(|row| row.keeper != NIL && self.is_in_flight(row.keeper))
    }

    /// Whether the receives of this receiver are submitted.
    pub(crate) fn submits_at(&self, receiver: u32) -> bool {
        self.rows[receiver as usize].submits
    }

    /// Whether its receive is in flight.
    pub(super) fn is_in_flight(&self, keeper: u32) -> bool {
        let borrow = self.borrows.get(self.keepers[keeper].borrow as usize);
        borrow.is_some_and(|borrow| borrow.flight != Flight::No)
    }

    /// Whether as many receives are in flight as may be, for a receiver that submits.
    pub(super) fn may_not_submit(&self, keeper: u32) -> bool {
        self.submits(keeper) && self.flights.counted >= self.split.in_flight_max
    }

    pub(super) fn submits(&self, keeper: u32) -> bool {
        self.rows[self.keepers[keeper].receiver as usize].submits
    }

    /// Whether something waits that a buffer in flight could help.
    fn is_waited_for(&self) -> bool {
        self.has_waiting_receivers() || self.flights.has_receive_buffer || self.buffers.is_wanted()
    }

    /// Whether a receiver waits for memory: it claims, or is off.
    pub(crate) fn has_waiting_receivers(&self) -> bool {
        self.claims() > 0 || self.flights.claims > 0 || self.off > 0
    }

    /// The next receive that the host is to cancel for the sake of others.
    fn first_to_take_back(&self) -> Option<u32> {
        let keeper = self.flights.untouched.first().filter(|_| self.is_waited_for())?;
        matches!(self.borrow_of(keeper).flight, Flight::Since(then) if then < self.flights.iteration).then_some(keeper)
    }

    pub(super) fn poll_in_flight(&mut self) -> Option<Notice> {
        let keeper = self.first_to_take_back().filter(|_| self.open_borrows == 0)?;
        self.set_taken_back(keeper);
        Some(Notice::TakeBack { receiver: self.keepers[keeper].receiver })
    }

    /// When the host is to poll for the sake of receives in flight: now, or after the next advance, if at all.
    pub(super) fn flights_due_ns(&self) -> Option<u64> {
        let is_waited_for = !self.flights.untouched.is_empty() && self.is_waited_for();
        let due_ns = if self.first_to_take_back().is_some() { 0 } else { u64::MAX };
        is_waited_for.then_some(due_ns)
    }

    /// Lists a new borrow, which is open.
    #[inline]
    pub(super) fn list_borrow(&mut self, borrow: Borrow) {
        let at = self.borrows.len() as u32;
        self.flights.counted += u32::from(borrow.is_counted);
        self.keepers[borrow.keeper].borrow = at;
        self.borrows.push(borrow);
        if at != self.open_borrows {
            self.swap_borrows(at, self.open_borrows);
        }
        self.open_borrows += 1;
    }

    /// Removes a borrow that is open.
    #[inline]
    pub(super) fn unlist_borrow(&mut self, keeper: u32) -> Borrow {
        let borrow = *self.borrow_of(keeper);
        self.drop_borrow(keeper, borrow.is_counted);
        borrow
    }

    /// As `unlist_borrow`, of one that is known to count as one of the receives in flight, or not to.
    #[inline]
    pub(super) fn drop_borrow(&mut self, keeper: u32, is_counted: bool) {
        debug_assert!(!self.is_in_flight(keeper));
        self.flights.counted -= u32::from(is_counted);
        self.open_borrows -= 1;
        let at = core::mem::replace(&mut self.keepers[keeper].borrow, NIL);
        if at as usize + 1 == self.borrows.len() {
            self.borrows.truncate(at as usize);
        } else {
            self.fill_borrow(at);
        }
    }

    /// A borrow that was open is over, and not the last: the last one that is open takes its place, and the last of all
    /// that of this one.
    fn fill_borrow(&mut self, at: u32) {
        let last_open = self.open_borrows as usize;
        self.borrows.swap(at as usize, last_open);
        self.borrows.swap_remove(last_open);
        for filled in [at, self.open_borrows] {
            if let Some(moved) = self.borrows.get(filled as usize) {
                self.keepers[moved.keeper].borrow = filled;
            }
        }
    }

    fn swap_borrows(&mut self, one: u32, other: u32) {
        self.borrows.swap(one as usize, other as usize);
        for at in [one, other] {
            self.keepers[self.borrows[at as usize].keeper].borrow = at;
        }
    }

    fn borrow_of(&self, keeper: u32) -> &Borrow {
        &self.borrows[self.keepers[keeper].borrow as usize]
    }

    fn borrow_mut(&mut self, keeper: u32) -> &mut Borrow {
        &mut self.borrows[self.keepers[keeper].borrow as usize]
    }

    /// The part of `check_invariants` about receives in flight.
    pub(super) fn check_flights(&self) -> Result<(), &'static str> {
        let (open, in_flight) = self.borrows.split_at(self.open_borrows as usize);
        let counted = self.borrows.iter().filter(|borrow| borrow.is_counted).count();
        let is_known = open.iter().all(|borrow| borrow.flight == Flight::No)
            && in_flight.iter().all(|borrow| borrow.flight != Flight::No && borrow.max_bytes > 0)
            && counted == self.flights.counted as usize;
        if !is_known {
            return Err("I2: borrows are open or in flight, and counted");
        }
        let has_receive_buffer = in_flight.iter().any(|borrow| borrow.lender == Lender::Thread);
        let claims = |borrow: &&Borrow| matches!(self.keepers[borrow.keeper].standing, Standing::Claiming { .. });
        if has_receive_buffer != self.flights.has_receive_buffer
            || in_flight.iter().filter(claims).count() != self.flights.claims as usize
        {
            return Err("I6: a receive in flight that others wait for is known");
        }
        let untouched = in_flight.iter().filter(|borrow| borrow.flight != Flight::TakenBack).count();
        let is_untouched =
            |borrow: &Borrow| matches!(borrow.flight, Flight::Since(then) if then <= self.flights.iteration);
        let belongs = |keeper: &super::Keeper| self.borrows.get(keeper.borrow as usize).is_some_and(is_untouched);
        if !self.keepers.is_sound(&self.flights.untouched, belongs) || untouched != self.flights.untouched.len as usize
        {
            return Err("I2: receives in flight that are not taken back are listed");
        }
        Ok(())
    }
}
