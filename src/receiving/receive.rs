//! From `begin` to the decoder's report.

use super::borrow::{Borrow, Lender, Purpose};
use super::buffers::Buffers;
use super::config::HEADER_BYTES;
use super::keeper::{Place, Standing, Transport};
use super::types::{After, Begin, Rest, ShedReason};
use super::{NIL, Receiving, ReceivingError};

/// The most receives of one trial.
pub(super) const RECEIVES_MAX: u8 = 8;

impl<B: Buffers> Receiving<B> {
    /// A receiver is readable: whether it may receive, and how much.
    ///
    /// # Errors
    ///
    /// There is no such receiver, it was shed, borrows, has held content, or keeps a whole buffer of bytes.
    pub fn begin(&mut self, receiver: u32) -> Result<Begin, ReceivingError> {
        self.begin_if(receiver, true)
    }

    /// As `begin`, of a receiver that may be readable: its last receive was filled, and no report would come of what
    /// that left.
    ///
    /// # Errors
    ///
    /// As [`begin`](Receiving::begin).
    pub fn begin_unreported(&mut self, receiver: u32) -> Result<Begin, ReceivingError> {
        self.begin_if(receiver, false)
    }

    fn begin_if(&mut self, receiver: u32, is_reported: bool) -> Result<Begin, ReceivingError> {
        self.check_may_begin(receiver)?;
        let keeper = self.keeper(receiver);
        if is_reported {
            self.end_guess(keeper);
        }
        self.make_ready();
        let answer = self.begin_at(keeper, is_reported);
        self.forget_if_idle(keeper);
        Ok(answer)
    }

    fn check_may_begin(&self, receiver: u32) -> Result<(), ReceivingError> {
        let keeper = self.row(receiver)?.keeper;
        if keeper == NIL {
            return Ok(());
        }
        let state = &self.keepers[keeper];
        match state.standing {
            Standing::Shed { .. } => Err(ReceivingError::Shed),
            _ if state.borrow != NIL => Err(ReceivingError::Borrowing),
            Standing::Held { .. } => Err(ReceivingError::Held),
            _ if state.kept_bytes >= self.config.buffer_bytes => Err(ReceivingError::Full),
            _ => Ok(()),
        }
    }

    fn begin_at(&mut self, keeper: u32, is_reported: bool) -> Begin {
        let Some(mut free) = self.free_while_borrowing(keeper) else {
            return Begin::Later;
        };
        if free == 0 && self.may_evict() {
            self.evict_for_receive(keeper);
            free = self.free_buffers();
        }
        let is_kept_for_good = self.keepers[keeper].is_kept_for_good;
        if !is_kept_for_good && self.counts_now(keeper) && self.is_in_shortage(keeper, free) {
            return self.begin_counting(keeper);
        }
        if let Some(max_bytes) = self.allowed_bytes(keeper, free) {
            if !self.is_in_shortage(keeper, free) {
                self.end_claim(keeper);
            }
            self.borrow(keeper, Purpose::Receive, max_bytes);
            return Begin::Receive { max_bytes };
        }
        if is_kept_for_good {
            self.turn_off(keeper);
            return Begin::Off;
        }
        self.claim(keeper, is_reported);
        Begin::Claimed
    }

    /// The most that a receive may bring now, `None` if it may not receive.
    fn allowed_bytes(&self, keeper: u32, free: u32) -> Option<u32> {
        let state = &self.keepers[keeper];
        let kept_bytes = state.kept_bytes;
        if !self.is_in_shortage(keeper, free) {
            let has_plenty = free > self.split.reserve || kept_bytes == 0;
            return Some(if has_plenty { self.config.buffer_bytes - kept_bytes } else { self.exact_bytes(keeper) });
        }
        let owns_buffer = matches!(state.place, Place::Whole { .. });
        if self.may_not_submit(keeper) || (self.submits(keeper) && !owns_buffer) {
            return None;
        }
        let reads_ahead = self.rows[state.receiver as usize].transport.has(Transport::READS_AHEAD);
        let room = match state.place {
            Place::Nowhere if self.cells.has_header_cell() && !reads_ahead => return Some(HEADER_BYTES),
            place if reads_ahead && self.cell_bytes(place) < self.length_bytes(keeper) => 0,
            place => self.cell_bytes(place) - kept_bytes,
        };
        (room > 0).then(|| room.min(self.exact_bytes(keeper)))
    }

    /// The receiver uses a buffer from now on, to receive with its content at the front.
    pub(super) fn borrow(&mut self, keeper: u32, purpose: Purpose, max_bytes: u32) {
        self.end_rest(keeper);
        let kept_bytes = self.keepers[keeper].kept_bytes;
        let (from, from_start) = if kept_bytes > 0 { self.where_is(keeper) } else { (NIL, 0) };
        let (buffer, lender) = match self.keepers[keeper].place {
            Place::Whole { buffer, .. } => (buffer, Lender::Receiver),
            _ if self.is_receive_buffer_lent => (self.buffers.take().expect("one is free"), Lender::Pool),
            _ => (self.receive_buffer, Lender::Thread),
        };
        self.is_receive_buffer_lent |= lender == Lender::Thread;
        // In front of what is received there is nothing else. What is only decoded stays where it is in a buffer of its
        // own.
        let start = if lender == Lender::Receiver && purpose == Purpose::Decode { from_start } else { 0 };
        self.move_bytes((from, from_start), kept_bytes, (buffer, start));
        let is_counted = !matches!(purpose, Purpose::Decode | Purpose::Look) && self.submits(keeper);
        let borrow = Borrow::new(buffer, start as u32, lender, purpose, kept_bytes);
        self.list_borrow(Borrow { keeper, max_bytes, is_counted, ..borrow });
    }

    /// A receiver is about to borrow: it is in no order any more.
    pub(super) fn end_rest(&mut self, keeper: u32) {
        self.dequeue(keeper);
        if matches!(self.keepers[keeper].standing, Standing::Off | Standing::Marked) {
            self.end_off(keeper);
            self.end_mark(keeper);
        }
    }

    /// Copies content to another place, if it is not there.
    pub(super) fn move_bytes(&mut self, from: (u32, usize), bytes: u32, to: (u32, usize)) {
        if bytes > 0 && from != to {
            self.totals.copied_bytes += u64::from(bytes);
            self.arena.move_bytes(from, bytes as usize, to);
            self.take_back(from.0);
            self.take_back(to.0);
        }
    }

    /// A receive brought bytes; what was there before is in front of them.
    ///
    /// # Errors
    ///
    /// The receiver may not receive, or not as many bytes; or it looked at others than all that it is to decode.
    pub fn received(&mut self, receiver: u32, bytes: u32) -> Result<(), ReceivingError> {
        let keeper = self.borrower(receiver)?;
        let Borrow { max_bytes, purpose, .. } = self.borrows[self.keepers[keeper].borrow as usize];
        if purpose == Purpose::Look {
            return Err(ReceivingError::NotReceiving);
        }
        let is_look = purpose == Purpose::WholeLook && max_bytes > 0;
        if bytes == 0 || bytes > max_bytes || (is_look && bytes < max_bytes) {
            return Err(ReceivingError::WrongLength { bytes, max_bytes });
        }
        self.land(keeper);
        let cell_bytes = self.cell_bytes(self.keepers[keeper].place);
        let state = &mut self.keepers[keeper];
        let borrow = &mut self.borrows[state.borrow as usize];
        borrow.is_filled = bytes == borrow.max_bytes;
        borrow.before_bytes = state.kept_bytes;
        borrow.max_bytes = 0;
        borrow.is_unreported = true;
        borrow.receives += 1;
        borrow.seen_bytes = if is_look { bytes } else { 0 };
        state.note_bytes(bytes, cell_bytes, self.clock.now_ns());
        state.kept_bytes += bytes;
        state.looked_bytes = 0;
        self.end_guess(keeper);
        Ok(())
    }

    /// The receive that was allowed brought nothing.
    ///
    /// # Errors
    ///
    /// The receiver may not receive.
    pub fn dry(&mut self, receiver: u32) -> Result<After, ReceivingError> {
        let keeper = self.borrower(receiver)?;
        if self.borrows[self.keepers[keeper].borrow as usize].max_bytes == 0 {
            return Err(ReceivingError::NotReceiving);
        }
        self.land(keeper);
        let borrow = &mut self.borrows[self.keepers[keeper].borrow as usize];
        borrow.is_filled = false;
        let purpose = borrow.purpose;
        let after = match purpose {
            Purpose::Whole | Purpose::WholeLook if self.counts_now(keeper) => self.wait_for_whole(keeper),
            _ => self.review(keeper, false),
        };
        Ok(self.acknowledge_shed(keeper, after))
    }

    /// What is kept can be decoded again. `false` if there is no buffer to borrow now; in the next loop iteration there
    /// may be.
    ///
    /// # Errors
    ///
    /// The receiver keeps nothing, or borrows.
    pub fn decode(&mut self, receiver: u32) -> Result<bool, ReceivingError> {
        let keeper = self.row(receiver)?.keeper;
        if keeper == NIL || self.keepers[keeper].kept_bytes == 0 {
            return Err(ReceivingError::NothingToDecode);
        }
        if self.keepers[keeper].borrow != NIL {
            return Err(ReceivingError::Borrowing);
        }
        self.make_ready();
        if self.free_while_borrowing(keeper).is_none() {
            return Ok(false);
        }
        self.end_hold(keeper);
        self.borrow(keeper, Purpose::Decode, 0);
        Ok(true)
    }

    /// The host decodes what it held.
    pub(super) fn end_hold(&mut self, keeper: u32) {
        self.keepers[keeper].end_hold(self.clock.now_ns());
    }

    /// What is kept, and not borrowed, waits for the host from now on (`true`), or for its peer.
    ///
    /// # Errors
    ///
    /// There is no such receiver, it was shed, or it borrows.
    pub fn hold(&mut self, receiver: u32, is_held: bool) -> Result<(), ReceivingError> {
        let keeper = self.row(receiver)?.keeper;
        if keeper == NIL {
            return Ok(());
        }
        let state = &self.keepers[keeper];
        if state.is_shed() {
            return Err(ReceivingError::Shed);
        }
        if state.borrow != NIL {
            return Err(ReceivingError::Borrowing);
        }
        if is_held {
            self.set_held(keeper);
        } else {
            self.dequeue(keeper);
            self.end_hold(keeper);
        }
        self.rest(keeper);
        Ok(())
    }

    /// What is kept waits for the host; if there is nothing, so does nothing.
    fn set_held(&mut self, keeper: u32) {
        self.dequeue(keeper);
        self.end_claim(keeper);
        self.end_mark(keeper);
        self.unlist(keeper);
        let now_ns = self.clock.now_ns();
        let state = &mut self.keepers[keeper];
        (state.is_kept_for_good, state.is_full) = (false, false);
        state.standing = match state.standing {
            held @ Standing::Held { .. } => held,
            _ if state.kept_bytes > 0 => Standing::Held { since_ns: now_ns },
            _ => Standing::Resting,
        };
    }

    /// The receiver does not want to receive after all: a claim ends, or its wait under a mark.
    ///
    /// # Errors
    ///
    /// There is no such receiver.
    pub fn cancel(&mut self, receiver: u32) -> Result<(), ReceivingError> {
        let keeper = self.row(receiver)?.keeper;
        if keeper == NIL || self.keepers[keeper].borrow != NIL {
            return Ok(());
        }
        self.end_claim(keeper);
        self.end_off(keeper);
        self.end_mark(keeper);
        let state = &mut self.keepers[keeper];
        if state.kept_bytes == 0 {
            (state.start_ns, state.is_guess) = (None, false);
        }
        self.rest(keeper);
        Ok(())
    }

    /// Drops what is undecoded, and ends what the receiver waits for, but for a receive in flight. Returns how many
    /// bytes were dropped.
    ///
    /// # Errors
    ///
    /// There is no such receiver, or what it looked at is not reported on, or not received away.
    pub fn discard(&mut self, receiver: u32) -> Result<u32, ReceivingError> {
        let keeper = self.row(receiver)?.keeper;
        if keeper == NIL || self.keepers[keeper].is_shed() {
            return Ok(0);
        }
        if self.is_in_flight(keeper) {
            let dropped_bytes = self.keepers[keeper].kept_bytes;
            self.consume_in_flight(keeper, dropped_bytes);
            return Ok(dropped_bytes);
        }
        self.check_not_looked_at(receiver)?;
        if self.owed_bytes(receiver) > 0 {
            return Err(ReceivingError::LookedAt);
        }
        let dropped_bytes = self.drop_all(keeper);
        self.forget_if_idle(keeper);
        Ok(dropped_bytes)
    }

    /// The decoder consumed this number of bytes from the front of what is borrowed, and goes on; a receive that was
    /// allowed is not any more, unless it is in flight.
    ///
    /// # Errors
    ///
    /// The receiver does not borrow, or more was consumed than is there; or bytes are to be received away.
    pub fn consume(&mut self, receiver: u32, bytes: u32) -> Result<(), ReceivingError> {
        let keeper = self.borrower(receiver)?;
        let max_bytes = self.keepers[keeper].kept_bytes;
        if bytes > max_bytes {
            return Err(ReceivingError::WrongLength { bytes, max_bytes });
        }
        if self.is_in_flight(keeper) {
            self.consume_in_flight(keeper, bytes);
            return Ok(());
        }
        let borrow = &mut self.borrows[self.keepers[keeper].borrow as usize];
        if borrow.owes() {
            return Err(ReceivingError::LookedAt);
        }
        borrow.is_unreported = true;
        borrow.max_bytes = 0;
        self.consume_at(keeper, bytes);
        self.end_in_place_if_empty(keeper);
        Ok(())
    }

    /// The keeper of a receiver whose decoder has not reported.
    fn decoder(&self, receiver: u32) -> Result<u32, ReceivingError> {
        let keeper = self.borrower(receiver)?;
        let is_unreported = self.borrows[self.keepers[keeper].borrow as usize].is_unreported;
        if is_unreported { Ok(keeper) } else { Err(ReceivingError::NothingToDecode) }
    }

    fn consume_at(&mut self, keeper: u32, bytes: u32) {
        if bytes > 0 {
            self.add_credit(keeper, bytes);
            let state = &mut self.keepers[keeper];
            let borrow = &mut self.borrows[state.borrow as usize];
            borrow.start += bytes;
            borrow.consumed_bytes += bytes;
            // What is kept is in front of what was looked at.
            let owed_bytes = bytes.saturating_sub(state.kept_bytes - borrow.seen_bytes);
            borrow.seen_bytes -= owed_bytes;
            borrow.owed_bytes += owed_bytes;
            state.kept_bytes -= bytes;
        }
    }

    /// The decoder consumed this number of bytes from the front; `rest` is why it left others.
    ///
    /// # Errors
    ///
    /// Nothing was received or is to be decoded, more was consumed than is there, the rest is not as the report says,
    /// or it is in the host's memory.
    pub fn decoded(&mut self, receiver: u32, consumed_bytes: u32, rest: Rest) -> Result<After, ReceivingError> {
        let keeper = self.decoder(receiver)?;
        let max_bytes = self.keepers[keeper].kept_bytes;
        if consumed_bytes > max_bytes {
            return Err(ReceivingError::WrongLength { bytes: consumed_bytes, max_bytes });
        }
        let left_bytes = max_bytes - consumed_bytes;
        if left_bytes > 0 && matches!(rest, Rest::Nothing | Rest::Short { needed_bytes: 0, .. }) {
            return Err(ReceivingError::WrongRest);
        }
        if left_bytes > 0 && self.is_in_place(receiver) {
            return Err(ReceivingError::InPlace);
        }
        let after = self.report(keeper, consumed_bytes, rest);
        Ok(self.acknowledge_shed(keeper, after))
    }

    /// A receiver that is shed by its own report needs no notice.
    pub(super) fn acknowledge_shed(&mut self, keeper: u32, after: After) -> After {
        if let After::Shed { .. } = after {
            self.keepers.unlink(&mut self.shed, keeper);
        }
        after
    }

    pub(super) fn report(&mut self, keeper: u32, consumed_bytes: u32, rest: Rest) -> After {
        self.consume_at(keeper, consumed_bytes);
        let left_bytes = self.leave_in_kernel(keeper);
        let now_ns = self.clock.now_ns();
        let state = &mut self.keepers[keeper];
        let borrow = &mut self.borrows[state.borrow as usize];
        borrow.is_unreported = false;
        let has_consumed = borrow.consumed_bytes > 0;
        if has_consumed && (borrow.receives == 0 || borrow.consumed_bytes >= borrow.before_bytes) {
            state.start_ns = Some(now_ns);
        }
        let rest = rest.behind(left_bytes);
        self.note_rest(keeper, rest, has_consumed);
        if self.borrows[self.keepers[keeper].borrow as usize].purpose == Purpose::WholeLook {
            return self.review_look(keeper, left_bytes, rest);
        }
        self.review(keeper, has_consumed)
    }

    /// A decoder reported why it left what is kept.
    pub(super) fn note_rest(&mut self, keeper: u32, rest: Rest, has_consumed: bool) {
        if has_consumed || (rest == Rest::Held && self.keepers[keeper].kept_bytes > 0) {
            self.end_claim(keeper);
        }
        self.keepers[keeper].note_rest(rest, has_consumed, self.clock.now_ns());
    }

    /// What follows a report, or a receive that brought nothing.
    pub(super) fn review(&mut self, keeper: u32, has_consumed: bool) -> After {
        let state = &self.keepers[keeper];
        let borrow = self.borrows[state.borrow as usize];
        let is_over = state.kept_bytes == 0 || state.held_since_ns().is_some();
        let has_room = state.kept_bytes < self.config.buffer_bytes;
        let length_bytes = self.length_bytes(keeper);
        let after = match borrow.purpose {
            Purpose::Grant if !is_over && self.keep(keeper, length_bytes) => After::Ended,
            Purpose::Trial if !is_over && !has_consumed => {
                if borrow.is_filled && has_room && borrow.receives < RECEIVES_MAX {
                    let max_bytes = self.exact_bytes(keeper);
                    self.borrows[self.keepers[keeper].borrow as usize].max_bytes = max_bytes;
                    return After::Receive { max_bytes };
                }
                self.end_trial(keeper)
            }
            Purpose::Whole
                if !is_over
                    && borrow.is_filled
                    && has_room
                    && borrow.receives < RECEIVES_MAX
                    && self.counts_now(keeper) =>
            {
                return self.receive_whole_again(keeper);
            }
            _ => self.keep_leftovers(keeper),
        };
        self.rest(keeper);
        after
    }

    /// The last word of a trial that was not served.
    fn end_trial(&mut self, keeper: u32) -> After {
        // A frame that turned out to be longer has more time.
        let is_longer = self.deadline_ns(keeper) > self.clock.now_ns();
        if is_longer && self.keep(keeper, 0) {
            return After::Ended;
        }
        if self.keep(keeper, self.length_bytes(keeper)) {
            self.end_claim(keeper);
            self.keepers[keeper].is_kept_for_good = true;
            return After::Ended;
        }
        self.shed_receiver(keeper, ShedReason::Deadline);
        After::Shed { reason: ShedReason::Deadline }
    }

    /// The stream has ended, or the decoder failed: what is undecoded waits for the host.
    ///
    /// # Errors
    ///
    /// There is no such receiver, it was shed, or it has bytes in the host's memory; or it looked at what is being
    /// decoded.
    pub fn end(&mut self, receiver: u32) -> Result<(), ReceivingError> {
        let keeper = self.row(receiver)?.keeper;
        if keeper == NIL {
            return Ok(());
        }
        if self.keepers[keeper].is_shed() {
            return Err(ReceivingError::Shed);
        }
        if self.is_in_place(receiver) {
            return Err(ReceivingError::InPlace);
        }
        self.check_not_looked_at(receiver)?;
        self.land(keeper);
        self.set_held(keeper);
        let state = &mut self.keepers[keeper];
        (state.start_ns, state.usable_bytes) = (None, 0);
        if self.keepers[keeper].borrow != NIL {
            self.keep_leftovers(keeper);
        }
        self.rest(keeper);
        Ok(())
    }

    /// Ends all borrows but those in flight, with bytes in the host's memory or with bytes to receive away, as they
    /// are, and moves the clock.
    pub fn advance(&mut self, now_ns: u64) {
        while self.end_first_borrow().is_some() {}
        self.begin_iteration();
        self.before_ns = self.clock.now_ns();
        self.clock.advance(now_ns);
        self.buffers.look();
        self.split.reserve = self.buffers.reserve(self.split.reserve);
        (self.trials_left, self.evictions_left) = (super::PER_ITERATION, super::PER_ITERATION);
    }

    /// Ends the borrow of the receiver with the lowest row, as `advance` does. `None` if there is none.
    pub fn end_first_borrow(&mut self) -> Option<u32> {
        let &Borrow { keeper, is_unreported, .. } = self.first_borrow()?;
        let receiver = self.keepers[keeper].receiver;
        if is_unreported {
            self.report(keeper, 0, Rest::Held);
        } else {
            self.borrows[self.keepers[keeper].borrow as usize].is_filled = false;
            self.review(keeper, false);
        }
        Some(receiver)
    }

    fn first_borrow(&self) -> Option<&Borrow> {
        let receiver = |borrow: &Borrow| self.keepers[borrow.keeper].receiver;
        let open = self.borrows[..self.open_borrows as usize].iter();
        open.filter(|borrow| !self.is_in_place(receiver(borrow)) && !borrow.owes())
            .min_by_key(|borrow| receiver(borrow))
    }

    /// The keeper of a receiver that borrows.
    pub(super) fn borrower(&self, receiver: u32) -> Result<u32, ReceivingError> {
        let keeper = self.row(receiver)?.keeper;
        if keeper == NIL || self.keepers[keeper].borrow == NIL {
            return Err(ReceivingError::NotBorrowing);
        }
        Ok(keeper)
    }
}
