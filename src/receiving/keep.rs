//! What happens to undecoded bytes when a borrow ends.

use super::borrow::{Borrow, Lender};
use super::buffers::Buffers;
use super::cells::Move;
use super::config::HEADER_BYTES;
use super::keeper::{Place, Standing};
use super::sizes::{HEADER, Size};
use super::types::{After, ShedReason};
use super::{NIL, Receiving};

impl<B: Buffers> Receiving<B> {
    /// Keeps what is left, somewhere; else the receiver is shed.
    pub(super) fn keep_leftovers(&mut self, keeper: u32) -> After {
        if self.keepers[keeper].kept_bytes == 0 {
            self.end_borrow(keeper);
            self.settle_charge(keeper);
            self.free_place(keeper);
            self.end_claim(keeper);
            let state = &mut self.keepers[keeper];
            (state.start_ns, state.is_guess) = (None, false);
            return After::Ended;
        }
        while !self.keep(keeper, 0) {
            if !self.evict() {
                self.shed_receiver(keeper, ShedReason::Memory);
                return After::Shed { reason: ShedReason::Memory };
            }
        }
        After::Ended
    }

    /// Moves what a receiver has borrowed to a cell that fits it, and as much as `want`. `false`, and nothing is
    /// changed, if there is no room for one.
    pub(super) fn keep(&mut self, keeper: u32, want_bytes: u32) -> bool {
        let lender = self.borrows[self.keepers[keeper].borrow as usize].lender;
        let Some(size) = self.choose_size(keeper, want_bytes, lender) else {
            return false;
        };
        let Borrow { buffer, start, .. } = self.close_borrow(keeper);
        self.put(keeper, size, (buffer, start), lender);
        true
    }

    /// Moves what is in a buffer that was lent, from here on, to a cell of this size; its own if it has one of that.
    pub(super) fn put(&mut self, keeper: u32, size: Size, from: (u32, u32), lender: Lender) {
        let state = &mut self.keepers[keeper];
        match &mut state.place {
            Place::Whole { start, .. } if size == self.cells.sizes.whole() => {
                *start = from.1;
                self.end_use(from.0, lender);
            }
            &mut Place::Cell { size: own, index } if size == own => {
                let (kept_bytes, to) = (state.kept_bytes, self.cells.locate(size, index));
                self.retire_cell(size, to);
                self.move_bytes((from.0, from.1 as usize), kept_bytes, to);
                self.end_use(from.0, lender);
            }
            _ => {
                self.settle_charge(keeper);
                let counted_bytes = self.counted_by_tenant(keeper);
                let emptied = self.leave_place(keeper, lender);
                self.enter(keeper, size, from, lender, emptied);
                self.recount(keeper, counted_bytes);
            }
        }
    }

    /// The size of the cell for what is in a buffer of this lender, in which its own cell counts as free, and so does a
    /// buffer that it borrows of the pool.
    pub(super) fn choose_size(&self, keeper: u32, want_bytes: u32, lender: Lender) -> Option<Size> {
        let state = &self.keepers[keeper];
        let fit_bytes = state.kept_bytes.max(want_bytes);
        if fit_bytes <= HEADER_BYTES && want_bytes == 0 {
            match state.place {
                Place::Cell { size: HEADER, .. } => return Some(HEADER),
                Place::Nowhere if self.cells.has_header_cell() => return Some(HEADER),
                _ => {}
            }
        }
        let smallest = self.cells.sizes.fitting(fit_bytes);
        let own = self.size_of(state.place);
        let own_fits = own.filter(|&own| self.cells.sizes.bytes(own) >= fit_bytes);
        let free = self.free_buffers() + u32::from(lender == Lender::Pool);
        if let Some(own) = own_fits.filter(|&own| own == smallest || free <= self.split.reserve) {
            return Some(own);
        }
        if want_bytes > 0 && self.is_capped(state.receiver) {
            return own_fits;
        }
        let whole = self.cells.sizes.whole();
        let own_empties = own.is_some_and(|own| own == whole || self.cells.empties_with_one_less(own));
        let free = free + u32::from(own_empties);
        let has_room = |&size: &Size| match size {
            _ if size == whole => free > 0,
            HEADER => self.cells.has_hole(HEADER, own == Some(HEADER)),
            _ => free > 0 || self.cells.has_hole(size, own == Some(size)),
        };
        (smallest..=whole).find(has_room).or(own_fits)
    }

    /// Frees the place of a receiver whose content is in a borrowed buffer. Returns a buffer that is emptied by that,
    /// and not in the free list yet.
    fn leave_place(&mut self, keeper: u32, lender: Lender) -> Option<u32> {
        match core::mem::replace(&mut self.keepers[keeper].place, Place::Nowhere) {
            Place::Nowhere => None,
            Place::Cell { size, index } => self.free_cell(size, index),
            // The content is in it.
            Place::Whole { .. } => {
                debug_assert!(lender == Lender::Receiver);
                None
            }
        }
    }

    /// Moves the content of a borrow that is closed into a new place; whatever buffer is left over is free.
    fn enter(&mut self, keeper: u32, size: Size, (buffer, start): (u32, u32), lender: Lender, emptied: Option<u32>) {
        let kept_bytes = self.keepers[keeper].kept_bytes;
        let mut spare = emptied;
        // The thread keeps its own; any other buffer is left over, unless it becomes the place.
        let mut left_over = (lender != Lender::Thread).then_some(buffer);
        if size == self.cells.sizes.whole() {
            if left_over.take().is_none() {
                self.receive_buffer = spare.take().or_else(|| self.buffers.take()).expect("there is room");
            }
            self.keepers[keeper].place = Place::Whole { buffer, start };
        } else {
            let buffers = &mut self.buffers;
            let next = || spare.take().or_else(|| left_over.take()).or_else(|| buffers.take()).expect("there is room");
            let index = self.cells.take(size, keeper, next);
            let to = self.cells.locate(size, index);
            self.move_bytes((buffer, start as usize), kept_bytes, to);
            self.keepers[keeper].place = Place::Cell { size, index };
            if lender == Lender::Thread {
                self.retire(buffer);
            } else if to.0 == buffer {
                self.wipe_around(to, kept_bytes);
            }
        }
        spare.into_iter().chain(left_over).for_each(|buffer| self.give(buffer));
    }

    /// Frees a cell; returns the buffer that is emptied by that.
    fn free_cell(&mut self, size: Size, index: u32) -> Option<u32> {
        let retired = self.must_retire().then(|| self.cells.locate(size, index));
        let freed = self.cells.free(size, index);
        if let Some(place) = retired {
            self.retire_cell(size, place);
        }
        if let Some(Move { owner, from, to }) = freed.moved {
            self.keepers[owner].place = Place::Cell { size, index };
            // What its owner has borrowed is elsewhere now.
            if self.keepers[owner].borrow == NIL {
                self.move_bytes(from, self.keepers[owner].kept_bytes, to);
            }
            self.retire_cell(size, from);
        }
        freed.emptied
    }

    /// Frees the place of a receiver, whatever is in it; its charge was settled.
    pub(super) fn free_place(&mut self, keeper: u32) {
        let counted_bytes = self.counted_by_tenant(keeper);
        let freed = match core::mem::replace(&mut self.keepers[keeper].place, Place::Nowhere) {
            Place::Nowhere => None,
            Place::Cell { size, index } => self.free_cell(size, index),
            Place::Whole { buffer, .. } => Some(buffer),
        };
        if let Some(buffer) = freed {
            self.give(buffer);
        }
        self.recount(keeper, counted_bytes);
    }

    /// Ends a borrow, if there is one; what was in it is lost.
    pub(super) fn end_borrow(&mut self, keeper: u32) {
        if self.keepers[keeper].borrow != NIL {
            let borrow = self.close_borrow(keeper);
            self.end_use(borrow.buffer, borrow.lender);
        }
    }

    /// Ends a borrow; what to do with its buffer is for the caller.
    pub(super) fn close_borrow(&mut self, keeper: u32) -> Borrow {
        let borrow = self.unlist_borrow(keeper);
        self.keepers[keeper].looked_bytes = 0;
        if borrow.lender == Lender::Thread {
            self.is_receive_buffer_lent = false;
        }
        if self.is_in_place(self.keepers[keeper].receiver) {
            self.in_place = NIL;
        }
        borrow
    }

    /// A borrow is over: the receiver stands where it belongs, or is idle.
    pub(super) fn rest(&mut self, keeper: u32) {
        let state = &self.keepers[keeper];
        match state.standing {
            Standing::Claiming { .. } => self.enqueue_claim(keeper),
            Standing::Marked => self.enqueue_mark(keeper),
            Standing::Resting | Standing::Held { .. } | Standing::Off => self.make_evictable(keeper),
            Standing::Shed { .. } => {}
        }
        self.forget_if_idle(keeper);
    }

    /// An idle receiver has a row only.
    pub(super) fn forget_if_idle(&mut self, keeper: u32) {
        let state = &self.keepers[keeper];
        if state.is_idle() {
            self.rows[state.receiver as usize].keeper = NIL;
            self.keepers.remove(keeper);
        }
    }
}
