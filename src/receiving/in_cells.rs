//! Cycles with kept bytes, as far as these are in a cell of the size that fits or in a buffer of their own, and no
//! tenant counts them; while memory is short, also those that begin with a limited receive or a grant, and claims. All
//! else is for `light.rs`, or for borrows that are written down.

use super::borrow::Purpose;
use super::buffers::Buffers;
use super::cells::Cells;
use super::config::HEADER_BYTES;
use super::credit::Frame;
use super::heap::Heaps;
use super::keeper::{Keeper, Keepers, Place, Queue, Row, Standing};
use super::sizes::{HEADER, Size};
use super::types::{Stance, Totals};
use super::{NIL, Receiving, ReceivingConfig, Rest, Split};
use crate::memory::Arena;
use crate::scheduler::Clock;
use core::ptr::NonNull;

/// The memory of a pool, for kept bytes.
pub(crate) struct InCells<'a, B> {
    rows: &'a mut [Row],
    config: &'a ReceivingConfig,
    arena: &'a mut Arena,
    cells: &'a mut Cells,
    keepers: &'a mut Keepers,
    heaps: &'a mut Heaps,
    totals: &'a mut Totals,
    clock: &'a Clock,
    split: &'a Split,
    buffers: &'a mut B,
    receive_buffer: &'a mut u32,
    is_receive_buffer_lent: bool,
    /// None borrows, is off or was shed.
    is_quiet: bool,
    /// Content that was late then may be evicted.
    before_ns: u64,
    /// No tenant counts what is kept, and nothing is done with what is not needed any more.
    is_common: bool,
    /// Buffers were taken or given here.
    has_moved_buffers: bool,
}

/// What a receiver keeps: a buffer, where the bytes begin in it, and how many.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kept {
    pub(super) keeper: u32,
    pub(super) at: (u32, usize),
    pub(super) bytes: u32,
    /// They have a buffer of their own.
    pub(super) is_whole: bool,
}

impl Kept {
    #[inline(always)]
    pub(crate) fn bytes(self) -> u32 {
        self.bytes
    }

    /// Whether they have a buffer of their own.
    #[inline(always)]
    pub(crate) fn is_whole(self) -> bool {
        self.is_whole
    }
}

/// What a receiver that may receive, and has not, comes to while memory is short.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Limited {
    /// It keeps nothing, and may receive this many bytes.
    First(u32),
    /// It may receive this many behind what it keeps.
    Behind(Kept, u32),
    /// It has to wait for room.
    Claims(Kept),
}

/// A claim that can be granted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grantable {
    pub(crate) receiver: u32,
    pub(crate) max_bytes: u32,
    kept: Kept,
}

impl<B: Buffers> Receiving<B> {
    /// Whether no tenant counts what is kept, and nothing is done with what is not needed any more.
    #[cfg(feature = "std")]
    #[inline(always)]
    pub(crate) fn is_common(&self) -> bool {
        self.is_common
    }

    /// For kept bytes.
    #[inline(always)]
    pub(crate) fn in_cells(&mut self) -> InCells<'_, B> {
        InCells {
            rows: &mut self.rows,
            config: &self.config,
            arena: &mut self.arena,
            cells: &mut self.cells,
            keepers: &mut self.keepers,
            heaps: &mut self.heaps,
            totals: &mut self.totals,
            clock: &self.clock,
            split: &self.split,
            buffers: &mut self.buffers,
            receive_buffer: &mut self.receive_buffer,
            is_receive_buffer_lent: self.is_receive_buffer_lent,
            is_quiet: self.borrows.is_empty() && self.off == 0 && self.shed.is_empty(),
            before_ns: self.before_ns,
            is_common: self.is_common,
            has_moved_buffers: false,
        }
    }
}

impl<B: Buffers> InCells<'_, B> {
    /// Whether the calls below do all that is to be done.
    #[inline(always)]
    pub(crate) fn is_common(&self) -> bool {
        self.is_common
    }

    /// What a receiver keeps that stands so, in a cell or anywhere, and may be lent a buffer with, if it has no cap.
    #[inline(always)]
    pub(crate) fn kept<const IS_ANYWHERE: bool>(&self, receiver: u32, stance: Stance) -> Option<Kept> {
        let row = self.rows.get(receiver as usize)?;
        if row.keeper == NIL || row.submits {
            return None;
        }
        let state = self.keepers.get(row.keeper)?;
        let (at, is_whole) = match state.place {
            Place::Cell { size, index } => (self.cells.locate(size, index), false),
            Place::Whole { buffer, start } if IS_ANYWHERE => ((buffer, start as usize), true),
            _ => return None,
        };
        if state.stance() != stance || state.borrow != NIL {
            return None;
        }
        Some(Kept { keeper: row.keeper, at, bytes: state.kept_bytes, is_whole })
    }

    /// A receiver has the use of the receive buffer, to the front of which its bytes are copied, or of its own, as if
    /// it had borrowed it. Nothing of that is written down, but that its content is not to be evicted. Returns where it
    /// is.
    #[inline(always)]
    pub(crate) fn lend(&mut self, kept: Kept, is_to_receive: bool) -> NonNull<u8> {
        dequeue(kept.keeper, self.heaps, self.keepers.table_mut());
        self.lend_dequeued(kept, is_to_receive)
    }

    #[inline(always)]
    fn lend_dequeued(&mut self, kept: Kept, is_to_receive: bool) -> NonNull<u8> {
        match kept.is_whole {
            false => self.copy(kept.at, kept.bytes, (*self.receive_buffer, 0)),
            true => self.lend_whole(kept, is_to_receive),
        }
    }

    /// In front of what is received there is nothing else.
    #[inline(always)] // else what it takes is written to memory before
    fn lend_whole(&mut self, kept: Kept, is_to_receive: bool) -> NonNull<u8> {
        let (buffer, at) = kept.at;
        if let (true, 1.., Place::Whole { start, .. }) = (is_to_receive, at, &mut self.keepers[kept.keeper].place) {
            *start = 0;
            return self.copy(kept.at, kept.bytes, (buffer, 0));
        }
        address_of(self.arena, kept.at)
    }

    /// As before any borrow: what it may take is made ready.
    #[inline(always)]
    pub(crate) fn make_ready(&mut self) {
        self.buffers.make_ready(1);
    }

    #[inline(always)]
    pub(crate) fn buffers(&self) -> &B {
        self.buffers
    }

    #[inline(always)]
    pub(crate) fn is_receive_buffer_lent(&self) -> bool {
        self.is_receive_buffer_lent
    }

    /// Where that is.
    #[inline(always)]
    pub(crate) fn address(&self, kept: Kept) -> Option<NonNull<u8>> {
        self.arena.address_of(kept.at)
    }

    /// Whether a buffer was taken or given: a shard looks at what is free then.
    #[inline(always)]
    pub(crate) fn has_moved_buffers(&self) -> bool {
        self.has_moved_buffers
    }

    /// Where the receive buffer is.
    #[inline(always)]
    pub(crate) fn receive_buffer_address(&self) -> NonNull<u8> {
        address_of(self.arena, (*self.receive_buffer, 0))
    }

    /// Whether more is free than the reserve.
    #[inline(always)]
    pub(crate) fn has_plenty(&self) -> bool {
        self.is_plenty(self.buffers.free())
    }

    /// Whether this number of free buffers is more than the reserve.
    #[inline(always)]
    pub(crate) fn is_plenty(&self, free: u32) -> bool {
        free > self.split.reserve
    }

    /// As `Receiving::report_unlisted`, of a report that leaves this much, of a receiver with a place of the size that
    /// fits, or with none, or with a cell of the smallest; on the wide path, while memory is short, also with a larger
    /// place. `None`, and nothing is changed, if that is not so, or there is no room, or it is to be in a buffer of its
    /// own on the narrow path; else where what is left is then.
    #[inline(always)]
    pub(crate) fn try_keep<const IS_ANYWHERE: bool>(
        &mut self,
        receiver: u32,
        purpose: Purpose,
        (received_bytes, consumed_bytes): (u32, u32),
        left_bytes: u32,
        rest: Rest,
    ) -> Option<NonNull<u8>> {
        let row = self.rows.get(receiver as usize).filter(|_| self.is_common)?;
        if row.keeper == NIL {
            return self.try_begin::<IS_ANYWHERE>(receiver, consumed_bytes, left_bytes, rest);
        }
        let (keeper, own) = (row.keeper, self.keepers.get(row.keeper)?.place);
        let fit_bytes = match (rest, purpose) {
            // What was granted is room for all of the frame.
            (Rest::Short { needed_bytes, .. }, Purpose::Grant) if IS_ANYWHERE => {
                row.length_bytes(left_bytes, needed_bytes, self.config.buffer_bytes)
            }
            (_, Purpose::Grant) if !IS_ANYWHERE => return None,
            _ => left_bytes,
        };
        let size = self.cells.sizes.fitting(fit_bytes);
        let own_size = self.size_of(own)?;
        let stays = own_size == size || (IS_ANYWHERE && own_size > size && !self.has_plenty());
        let place = match own {
            Place::Cell { .. } if stays => own,
            Place::Cell { size: HEADER, .. } => self.enter::<IS_ANYWHERE>(size, keeper, consumed_bytes)?,
            Place::Whole { buffer, start } if IS_ANYWHERE && stays => {
                Place::Whole { buffer, start: start + consumed_bytes }
            }
            _ => return None,
        };
        let (cell_bytes, now_ns) = (self.cells.sizes.bytes(own_size), self.clock.now_ns());
        let (row, state) = (&mut self.rows[receiver as usize], &mut self.keepers[keeper]);
        if consumed_bytes > 0 {
            state.settle(row, cell_bytes, now_ns);
            row.add_credit(consumed_bytes);
        }
        state.end_hold(now_ns);
        state.note_receive(received_bytes, consumed_bytes, cell_bytes, now_ns);
        state.kept_bytes = left_bytes;
        state.note_rest(rest, consumed_bytes > 0, now_ns);
        state.place = place;
        let is_evictable = if stays { own_size != HEADER } else { size != HEADER };
        let deadline_ns = is_evictable.then(|| state.evictable_ns(row, self.config, now_ns));
        if !stays {
            // A cell of the smallest size costs nothing.
            state.charged_ns = now_ns;
            self.leave(own);
        }
        if let Some(deadline_ns) = deadline_ns {
            self.heaps.insert(Queue::Evictable, keeper, deadline_ns, self.keepers.table_mut());
        }
        Some(self.copy_to(place, consumed_bytes, left_bytes))
    }

    /// Of an idle receiver, which has received this and what was consumed.
    #[inline(always)]
    fn try_begin<const IS_ANYWHERE: bool>(
        &mut self,
        receiver: u32,
        consumed_bytes: u32,
        left_bytes: u32,
        rest: Rest,
    ) -> Option<NonNull<u8>> {
        let (size, keeper) = (self.cells.sizes.fitting(left_bytes), self.keepers.next());
        let place = self.enter::<IS_ANYWHERE>(size, keeper, consumed_bytes)?;
        let now_ns = self.clock.now_ns();
        let mut state = Keeper {
            kept_bytes: left_bytes,
            place,
            start_ns: Some(now_ns),
            charged_ns: now_ns,
            ..Keeper::of(receiver)
        };
        state.note_rest(rest, consumed_bytes > 0, now_ns);
        let keeper = self.keepers.add(state);
        let row = &mut self.rows[receiver as usize];
        row.keeper = keeper;
        row.add_credit(consumed_bytes);
        if size != HEADER {
            let keepers = self.keepers.table_mut();
            let state = &keepers[keeper as usize];
            let deadline_ns = state.evictable_ns(row, self.config, now_ns);
            self.heaps.insert(Queue::Evictable, keeper, deadline_ns, keepers);
        }
        Some(self.copy_to(place, consumed_bytes, left_bytes))
    }

    /// A place of this size for a keeper, for what is in the receive buffer from `start` on: a cell, or, on the wide
    /// path, that buffer. `None` if there is no room.
    #[inline(always)]
    fn enter<const IS_ANYWHERE: bool>(&mut self, size: Size, keeper: u32, start: u32) -> Option<Place> {
        if size >= self.cells.sizes.whole() {
            let next = if IS_ANYWHERE { self.take() } else { None };
            return Some(Place::Whole { buffer: core::mem::replace(self.receive_buffer, next?), start });
        }
        if !self.cells.has_hole(size, false) {
            let buffer = if size == HEADER { None } else { self.take() };
            self.cells.cut(size, buffer?);
        }
        Some(Place::Cell { size, index: self.cells.fill_hole(size, keeper) })
    }

    #[inline(always)]
    fn take(&mut self) -> Option<u32> {
        let buffer = self.buffers.take()?;
        self.has_moved_buffers = true;
        Some(buffer)
    }

    /// As `Receiving::report_unlisted`, of a report that leaves nothing, where the receiver is idle then. `false`, and
    /// nothing is changed, if that is not so.
    #[inline(always)]
    pub(crate) fn try_end(&mut self, receiver: u32, consumed_bytes: u32) -> bool {
        let Some(row) = self.rows.get_mut(receiver as usize).filter(|_| self.is_common) else { return false };
        let keeper = row.keeper;
        if keeper == NIL {
            row.add_credit(consumed_bytes);
            return true;
        }
        let Some(state) = self.keepers.table_mut().get_mut(keeper as usize) else { return false };
        let (place, is_marked) = (state.place, state.mark_bytes != 1);
        let cell_bytes = match place {
            Place::Cell { size, .. } if !is_marked => self.cells.sizes.bytes(size),
            Place::Whole { .. } if !is_marked => self.config.buffer_bytes,
            _ => return false,
        };
        state.settle(row, cell_bytes, self.clock.now_ns());
        row.add_credit(consumed_bytes);
        self.leave(place);
        self.keepers.remove(keeper);
        self.rows[receiver as usize].keeper = NIL;
        true
    }

    /// Frees a place. The last cell of its size takes that of a cell.
    #[inline(always)]
    fn leave(&mut self, place: Place) {
        let emptied = match place {
            Place::Nowhere => None,
            Place::Cell { size, index } => self.leave_cell(size, index),
            Place::Whole { buffer, .. } => Some(buffer),
        };
        if let Some(buffer) = emptied {
            self.buffers.give(buffer);
            self.has_moved_buffers = true;
        }
    }

    #[inline(always)]
    fn leave_cell(&mut self, size: Size, index: u32) -> Option<u32> {
        let last = self.cells.last(size);
        if index != last {
            let (from, to) = (self.cells.locate(size, last), self.cells.locate(size, index));
            let owner = self.cells.replace_owner(size, index);
            let moved = &mut self.keepers[owner];
            moved.place = Place::Cell { size, index };
            // What its owner has borrowed is elsewhere now.
            if moved.borrow == NIL {
                let bytes = moved.kept_bytes;
                self.copy(from, bytes, to);
            }
        }
        self.cells.free_last(size)
    }

    /// What a receiver that is idle, or rests and keeps something, comes to if memory is short for it, once it is
    /// readable and asks for a buffer. `None`, and nothing is changed but that a buffer may be ready, if that is not
    /// so, or something rarer. This number of buffers is free before.
    #[inline(always)]
    pub(crate) fn begin_limited(&mut self, receiver: u32, free_before: u32) -> Option<Limited> {
        if !self.is_common || self.is_receive_buffer_lent {
            return None;
        }
        let row = self.rows.get(receiver as usize).filter(|row| !row.submits)?;
        let is_idle = row.keeper == NIL;
        let kept = if is_idle { None } else { Some(self.kept::<true>(receiver, Stance::Resting)?) };
        let free = self.buffers.free_once_ready(free_before);
        let has_late = free == 0 && self.heaps.first_deadline_ns(Queue::Evictable) <= self.before_ns;
        if has_late
            || self.is_plenty(free)
            || (free > 0 && self.frame_of(row, self.keepers.get(row.keeper)).is_in_credit)
        {
            return None;
        }
        let Some(kept) = kept else {
            return self.cells.has_hole(HEADER, false).then_some(Limited::First(HEADER_BYTES));
        };
        let state = &self.keepers[kept.keeper];
        if state.is_kept_for_good {
            return None;
        }
        let own_size = self.size_of(state.place)?;
        Some(match self.cells.sizes.bytes(own_size) - kept.bytes {
            0 => Limited::Claims(kept),
            room => Limited::Behind(kept, room.min(self.exact_bytes(receiver, state))),
        })
    }

    #[inline(always)]
    fn frame_of(&self, row: &Row, state: Option<&Keeper>) -> Frame {
        Frame::of(row, state, &self.cells.sizes, self.config.buffer_bytes, self.clock.now_ns())
    }

    #[inline(always)]
    fn exact_bytes(&self, receiver: u32, state: &Keeper) -> u32 {
        state.exact_bytes(&self.rows[receiver as usize], self.config.buffer_bytes)
    }

    /// As `Receiving::claim`, of a receiver that rests and keeps this.
    #[inline(always)]
    pub(crate) fn claim(&mut self, receiver: u32, kept: Kept) {
        let keepers = self.keepers.table_mut();
        dequeue(kept.keeper, self.heaps, keepers);
        let now_ns = self.clock.now_ns();
        let (row, state) = (&self.rows[receiver as usize], &mut keepers[kept.keeper as usize]);
        let frame = Frame::of(row, Some(state), &self.cells.sizes, self.config.buffer_bytes, now_ns);
        let queue = if frame.is_in_credit { Queue::CreditedClaims } else { Queue::Claims };
        let start_ns = *state.start_ns.get_or_insert(now_ns);
        (state.standing, state.is_guess) = (Standing::Claiming { since_ns: now_ns }, false);
        self.totals.claims += 1;
        let deadline_ns = self.config.deadline_ns(start_ns, frame.length_bytes);
        self.heaps.insert(queue, kept.keeper, deadline_ns, keepers);
    }

    /// The claim that is granted now, of a receiver that keeps something. `None`, and nothing is changed but that a
    /// buffer may be ready, if there is none, or something rarer is first.
    #[inline(always)]
    pub(crate) fn next_grant(&mut self) -> Option<Grantable> {
        if !self.is_common || !self.is_quiet || self.buffers.is_wanted() {
            return None;
        }
        let credited = self.heaps.first(Queue::CreditedClaims);
        let first = credited.or_else(|| self.heaps.first(Queue::Claims))?;
        let now_ns = self.clock.now_ns();
        let is_due = |queue| self.heaps.first_deadline_ns(queue) <= now_ns;
        if first.deadline_ns() <= now_ns || is_due(Queue::Claims) || is_due(Queue::Marks) {
            return None;
        }
        let receiver = first.receiver();
        let kept = self.kept::<true>(receiver, Stance::Claiming)?;
        let state = self.keepers.get(kept.keeper)?;
        let Frame { size, is_in_credit, .. } = self.frame_of(&self.rows[receiver as usize], Some(state));
        if credited.is_some() && !is_in_credit {
            return None;
        }
        let max_bytes = self.exact_bytes(receiver, state);
        self.buffers.make_ready(1);
        let has_hole = size < self.cells.sizes.whole() && self.cells.has_hole(size, false);
        let floor = if is_in_credit { 0 } else { self.split.reserve };
        if !has_hole && self.buffers.free() <= floor {
            return None;
        }
        Some(Grantable { receiver, max_bytes, kept })
    }

    /// That claim ends, and the receiver has the use of a buffer, as `lend` has it.
    #[inline(always)]
    pub(crate) fn grant(&mut self, Grantable { kept, .. }: Grantable) -> (Kept, NonNull<u8>) {
        self.totals.grants += 1;
        let keepers = self.keepers.table_mut();
        let state = &mut keepers[kept.keeper as usize];
        if let Standing::Claiming { since_ns } = state.standing {
            let lasted_ns = self.clock.now_ns() - since_ns;
            self.totals.longest_claim_ns = self.totals.longest_claim_ns.max(lasted_ns);
        }
        state.standing = Standing::Resting;
        dequeue(kept.keeper, self.heaps, keepers);
        (kept, self.lend_dequeued(kept, true))
    }

    #[inline(always)]
    fn size_of(&self, place: Place) -> Option<Size> {
        match place {
            Place::Nowhere => None,
            Place::Cell { size, .. } => Some(size),
            Place::Whole { .. } => Some(self.cells.sizes.whole()),
        }
    }

    /// What is in the receive buffer from `start` on is in this place then: where that is.
    #[inline(always)]
    fn copy_to(&mut self, place: Place, start: u32, bytes: u32) -> NonNull<u8> {
        match place {
            Place::Cell { size, index } => {
                self.copy((*self.receive_buffer, start as usize), bytes, self.cells.locate(size, index))
            }
            Place::Whole { buffer, start } => address_of(self.arena, (buffer, start as usize)),
            Place::Nowhere => unreachable!("it has a place"),
        }
    }

    /// Copies bytes to another place, and returns where they are then.
    #[inline(always)]
    fn copy(&mut self, from: (u32, usize), bytes: u32, to: (u32, usize)) -> NonNull<u8> {
        self.totals.copied_bytes += u64::from(bytes);
        match self.arena.try_copy(from, bytes as usize, to) {
            Some(at) => at,
            None => move_bytes(self.arena, from, bytes, to),
        }
    }
}

#[inline(always)]
fn dequeue(keeper: u32, heaps: &mut Heaps, keepers: &mut [Keeper]) {
    if keepers[keeper as usize].queued.is_some() {
        heaps.take_out(keeper, keepers);
    }
}

#[inline(never)]
fn move_bytes(arena: &mut Arena, from: (u32, usize), bytes: u32, to: (u32, usize)) -> NonNull<u8> {
    arena.move_bytes(from, bytes as usize, to);
    address_of(arena, to)
}

#[inline(always)]
fn address_of(arena: &Arena, at: (u32, usize)) -> NonNull<u8> {
    arena.address_of(at).expect("receivers have buffers of the first size")
}
