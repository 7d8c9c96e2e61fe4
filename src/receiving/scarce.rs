//! Steps while memory is short: a borrow that is written down, where nothing rarer follows.

use super::Receiving;
use super::borrow::{Borrow, Flight, Lender, Purpose};
use super::buffers::Buffers;
use super::keeper::{Keeper, Standing};
use super::types::{After, Rest};

impl<B: Buffers> Receiving<B> {
    /// What is known of a receiver that borrows.
    fn borrowing(&self, receiver: u32) -> Option<(&Keeper, &Borrow)> {
        let state = self.known(receiver)?;
        Some((state, self.borrows.get(state.borrow as usize)?))
    }

    /// Whether a receiver borrows, may receive this many bytes, and is not asked to look, to receive a whole, or to
    /// submit.
    pub(crate) fn may_receive_listed(&self, receiver: u32, bytes: u32) -> bool {
        self.borrowing(receiver).is_some_and(|(_, borrow)| {
            let is_common = matches!(borrow.purpose, Purpose::Receive | Purpose::Grant | Purpose::Trial);
            is_common && borrow.flight == Flight::No && bytes <= borrow.max_bytes
        })
    }

    /// As `received`, of a receiver that may receive as many.
    pub(crate) fn receive_listed(&mut self, receiver: u32, bytes: u32) {
        let keeper = self.rows[receiver as usize].keeper;
        let (cell_bytes, now_ns) = (self.cell_bytes(self.keepers[keeper].place), self.clock.now_ns());
        let state = &mut self.keepers[keeper];
        let borrow = &mut self.borrows[state.borrow as usize];
        borrow.is_filled = bytes == borrow.max_bytes;
        (borrow.before_bytes, borrow.max_bytes) = (state.kept_bytes, 0);
        borrow.is_unreported = true;
        borrow.receives += 1;
        state.note_bytes(bytes, cell_bytes, now_ns);
        state.kept_bytes += bytes;
        state.looked_bytes = 0;
        if state.is_guess {
            self.end_guess(keeper);
        }
    }

    /// Whether a receiver borrows, is to report on what is there, all of which is in its buffer, and waits for nothing.
    pub(crate) fn may_report_listed(&self, receiver: u32) -> bool {
        self.borrowing(receiver).is_some_and(|(state, borrow)| {
            let is_common = matches!(borrow.purpose, Purpose::Receive | Purpose::Grant | Purpose::Decode);
            let is_whole = borrow.seen_bytes | borrow.owed_bytes == 0 && !self.is_in_place(receiver);
            is_common
                && is_whole
                && borrow.is_unreported
                && borrow.flight == Flight::No
                && state.standing == Standing::Resting
        })
    }

    /// As `decoded`, of a receiver that may report so: the borrow is over.
    pub(crate) fn report_listed(&mut self, receiver: u32, consumed_bytes: u32, rest: Rest) -> After {
        let keeper = self.rows[receiver as usize].keeper;
        if consumed_bytes > 0 {
            self.add_credit(keeper, consumed_bytes);
        }
        let now_ns = self.clock.now_ns();
        let state = &mut self.keepers[keeper];
        let borrow = &mut self.borrows[state.borrow as usize];
        borrow.start += consumed_bytes;
        borrow.consumed_bytes += consumed_bytes;
        borrow.is_unreported = false;
        state.kept_bytes -= consumed_bytes;
        let has_consumed = borrow.consumed_bytes > 0;
        if has_consumed && (borrow.receives == 0 || borrow.consumed_bytes >= borrow.before_bytes) {
            state.start_ns = Some(now_ns);
        }
        let Borrow { buffer, start, lender, purpose, is_counted, .. } = *borrow;
        if state.kept_bytes == 0 {
            self.close_listed(keeper, lender, is_counted);
            self.end_use(buffer, lender);
            self.end_listed(keeper);
            return After::Ended;
        }
        self.note_rest(keeper, rest, has_consumed);
        let has_grant = purpose == Purpose::Grant && rest != Rest::Held;
        let longest = if has_grant { self.choose_size(keeper, self.length_bytes(keeper), lender) } else { None };
        let Some(size) = longest.or_else(|| self.choose_size(keeper, 0, lender)) else {
            let after = self.keep_leftovers(keeper);
            self.rest(keeper);
            return self.acknowledge_shed(keeper, after);
        };
        self.close_listed(keeper, lender, is_counted);
        self.put(keeper, size, (buffer, start), lender);
        self.make_evictable(keeper);
        After::Ended
    }

    fn close_listed(&mut self, keeper: u32, lender: Lender, is_counted: bool) {
        self.drop_borrow(keeper, is_counted);
        self.keepers[keeper].looked_bytes = 0;
        self.is_receive_buffer_lent &= lender != Lender::Thread;
    }

    /// All is decoded that a receiver had, and its borrow is over.
    fn end_listed(&mut self, keeper: u32) {
        self.settle_charge(keeper);
        self.free_place(keeper);
        let state = &mut self.keepers[keeper];
        (state.needed_bytes, state.usable_bytes) = (0, 0);
        (state.is_kept_for_good, state.is_full) = (false, false);
        (state.start_ns, state.is_guess) = (None, false);
        self.forget_if_idle(keeper);
    }
}
