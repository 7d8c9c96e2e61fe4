//! The invariants of the memory model.

use super::borrow::Lender;
use super::buffers::Buffers;
use super::config::HEADER_BYTES;
use super::keeper::{Keeper, Place, Queue, Row, Standing};
use super::{NIL, Receiving};

impl<B: Buffers> Receiving<B> {
    /// Walks all tables and names the first broken rule. For tests; cost: all receivers and buffers.
    ///
    /// # Errors
    ///
    /// A rule is broken: a bug of this library.
    pub fn check_invariants(&self) -> Result<(), &'static str> {
        self.check_invariants_beside(None)
    }

    /// As `check_invariants`, while this receiver has the use of a buffer, of which nothing is written down.
    pub(crate) fn check_invariants_beside(&self, unlisted: Option<u32>) -> Result<(), &'static str> {
        self.check_buffers()?;
        if !self.heaps.is_consistent(&self.keepers) {
            return Err("I2: every entry of a heap is where its keeper says, behind its parent");
        }
        self.check_lists()?;
        self.check_flights()?;
        self.check_in_place()?;
        self.check_looks()?;
        self.check_tenants()?;
        let mut keepers = self.keepers.iter();
        keepers.try_for_each(|(at, keeper)| self.check_keeper(at, unlisted == Some(keeper.receiver)))
    }

    fn check_lists(&self) -> Result<(), &'static str> {
        let is_sound = self.tenants.off().all(|off| self.keepers.is_sound(off, Keeper::is_off))
            && self.keepers.is_sound(&self.shed, Keeper::is_shed);
        let off = self.keepers.iter().filter(|(_, keeper)| keeper.is_off()).count();
        let listed = self.tenants.off().map(|off| off.len).sum::<u32>();
        if !is_sound || off != self.off as usize || listed != self.off {
            return Err("I2: those that are off are listed, and those that were shed until their notice");
        }
        Ok(())
    }

    fn check_buffers(&self) -> Result<(), &'static str> {
        let whole = self.keepers.iter().filter(|(_, keeper)| matches!(keeper.place, Place::Whole { .. })).count();
        let lent = self.borrows.iter().filter(|borrow| borrow.lender == Lender::Pool).count();
        let parts = [whole, lent, self.leased as usize, self.cells.cut_buffers() as usize];
        let fixed = (1 + self.split.header_buffers) as usize;
        if parts.into_iter().sum::<usize>() + fixed != self.buffers.taken() as usize {
            return Err("I1: leased, lent, cut, header and receive buffers are all that were taken");
        }
        if !self.cells.is_packed() {
            return Err("I1: the cells of each size are packed");
        }
        let is_lent = self.borrows.iter().any(|borrow| borrow.lender == Lender::Thread);
        if is_lent != self.is_receive_buffer_lent {
            return Err("I2: the receive buffer is lent exactly if a receiver borrows it");
        }
        Ok(())
    }

    fn check_keeper(&self, at: u32, is_unlisted: bool) -> Result<(), &'static str> {
        let state = &self.keepers[at];
        let has_row =
            |row: &Row| row.keeper == at && (row.is_attached || (self.is_in_flight(at) && state.kept_bytes == 0));
        if !self.rows.get(state.receiver as usize).is_some_and(has_row) {
            return Err("I2: a keeper belongs to the receiver that has it");
        }
        if let Place::Cell { size, index } = state.place {
            if self.cells.owner(size, index) != at {
                return Err("I1: every cell is owned by one receiver");
            }
        }
        let is_borrowing = state.borrow != NIL;
        if is_borrowing && self.borrows.get(state.borrow as usize).is_none_or(|borrow| borrow.keeper != at) {
            return Err("I2: a borrow belongs to the receiver that has it");
        }
        let cell_bytes = self.cell_bytes(state.place);
        if !is_borrowing && (state.kept_bytes > cell_bytes || (state.kept_bytes == 0 && cell_bytes > 0)) {
            return Err("I8: what is held depends on bytes received");
        }
        let expected = match state.standing {
            _ if is_borrowing || is_unlisted => None,
            Standing::Claiming { .. } => Some(Queue::Claims),
            Standing::Marked => Some(Queue::Marks),
            Standing::Shed { .. } => None,
            _ => (cell_bytes > HEADER_BYTES).then_some(Queue::Evictable),
        };
        let queued = state.queued.map(|(queue, _)| if queue == Queue::CreditedClaims { Queue::Claims } else { queue });
        if queued != expected {
            return Err("I2: a claim or a mark is queued, and content at rest may be evicted, and nothing else");
        }
        if state.is_shed() && (state.kept_bytes > 0 || state.place != Place::Nowhere) {
            return Err("I7: a receiver that was shed holds nothing");
        }
        Ok(())
    }
}
