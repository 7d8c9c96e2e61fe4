//! Cycles with kept bytes, as far as these are in a cell of the size that fits, and no tenant counts them. All else is
//! for `light.rs`.

use super::buffers::Buffers;
use super::cells::Cells;
use super::credit::charged;
use super::heap::Heaps;
use super::keeper::{Keeper, Keepers, Place, Queue, Row, Standing};
use super::sizes::{HEADER, Size};
use super::types::Totals;
use super::{NIL, Receiving, ReceivingConfig, Rest, Split};
use crate::memory::{Arena, poison};
use crate::scheduler::Clock;
use alloc::vec::Vec;
use core::ptr::NonNull;

/// The memory of a pool, for bytes in cells.
pub(crate) struct InCells<'a, B> {
    rows: &'a mut Vec<Row>,
    config: &'a ReceivingConfig,
    arena: &'a mut Arena,
    cells: &'a mut Cells,
    keepers: &'a mut Keepers,
    heaps: &'a mut Heaps,
    totals: &'a mut Totals,
    clock: &'a Clock,
    split: &'a Split,
    buffers: &'a mut B,
    receive_buffer: u32,
    /// No tenant counts what is kept, and nothing is done with what is not needed any more.
    is_common: bool,
    /// Buffers were taken or given here.
    has_moved_buffers: bool,
}

/// Bytes in a cell: a buffer, where they begin in it, and how many.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeptInCell {
    pub(super) at: (u32, usize),
    pub(super) bytes: u32,
}

impl KeptInCell {
    #[inline(always)]
    pub(crate) fn bytes(self) -> u32 {
        self.bytes
    }
}

impl<B: Buffers> Receiving<B> {
    /// For bytes in cells.
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
            receive_buffer: self.receive_buffer,
            is_common: !poison::IS_ON && !self.wipes && !self.tenants.is_used(),
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

    /// What a receiver keeps in a cell, held or not, and may be lent the receive buffer with, if it has no cap.
    #[inline(always)]
    pub(crate) fn kept(&self, receiver: u32, is_held: bool) -> Option<KeptInCell> {
        let row = self.rows.get(receiver as usize)?;
        if row.keeper == NIL || row.submits {
            return None;
        }
        let state = self.keepers.get(row.keeper)?;
        let Place::Cell { size, index } = state.place else {
            return None;
        };
        let stands = match state.standing {
            Standing::Held { .. } => is_held,
            Standing::Resting => !is_held,
            _ => false,
        };
        if !stands || state.borrow != NIL {
            return None;
        }
        Some(KeptInCell { at: self.cells.locate(size, index), bytes: state.kept_bytes })
    }

    /// That is copied to the front of the receive buffer, as if that was borrowed to decode it, or to receive behind
    /// it. Nothing of the borrow is written down. Returns how many bytes.
    #[inline(always)]
    pub(crate) fn lend(&mut self, kept: KeptInCell) -> u32 {
        self.copy(kept.at, kept.bytes, (self.receive_buffer, 0));
        kept.bytes
    }

    /// Where that is.
    #[inline(always)]
    pub(crate) fn address(&self, kept: KeptInCell) -> Option<NonNull<u8>> {
        self.arena.address_of(kept.at)
    }

    /// Whether a buffer was taken or given: a shard looks at what is free then.
    #[inline(always)]
    pub(crate) fn has_moved_buffers(&self) -> bool {
        self.has_moved_buffers
    }

    /// Whether an idle receiver would be lent all of the receive buffer, which none has borrowed.
    #[inline(always)]
    pub(crate) fn is_plentiful(&self) -> bool {
        self.buffers.free() > self.split.reserve
    }

    /// As `Receiving::report_unlisted`, of a report that leaves this much, of a receiver with a cell of the size that
    /// fits, or with none, or with one of the smallest. `None`, and nothing is changed, if that is not so, or there is
    /// no room; else where what is left is then.
    #[inline(always)]
    pub(crate) fn try_keep(
        &mut self,
        receiver: u32,
        (received_bytes, consumed_bytes): (u32, u32),
        left_bytes: u32,
        rest: Rest,
    ) -> Option<NonNull<u8>> {
        let row = self.rows.get(receiver as usize).filter(|_| self.is_common)?;
        let size = self.cells.sizes.fitting(left_bytes);
        if row.keeper == NIL {
            return self.try_begin(receiver, consumed_bytes, left_bytes, size, rest);
        }
        let (keeper, state) = (row.keeper, self.keepers.get(row.keeper)?);
        let Place::Cell { size: own, index: own_index } = state.place else {
            return None;
        };
        let (index, to) = match own {
            own if own == size => (own_index, self.cells.locate(own, own_index)),
            HEADER => self.enter(size, keeper)?,
            _ => return None,
        };
        if self.keepers[keeper].queued.is_some() {
            self.heaps.remove(keeper, self.keepers);
        }
        if consumed_bytes > 0 {
            self.add_credit(keeper, receiver, own, consumed_bytes);
        }
        let now_ns = self.clock.now_ns();
        let state = &mut self.keepers[keeper];
        state.end_hold(now_ns);
        state.note_receive(received_bytes, consumed_bytes, now_ns);
        state.kept_bytes = left_bytes;
        state.note_rest(rest, consumed_bytes > 0, now_ns);
        if own != size {
            // A cell of the smallest size costs nothing.
            (state.charged_ns, state.place) = (now_ns, Place::Cell { size, index });
            self.leave(own, own_index);
        }
        self.make_evictable(keeper, receiver, size);
        self.copy((self.receive_buffer, consumed_bytes as usize), left_bytes, to)
    }

    /// Of an idle receiver, which has received this and what was consumed.
    #[inline(always)]
    fn try_begin(
        &mut self,
        receiver: u32,
        consumed_bytes: u32,
        left_bytes: u32,
        size: Size,
        rest: Rest,
    ) -> Option<NonNull<u8>> {
        let keeper = self.keepers.next();
        let (index, to) = self.enter(size, keeper)?;
        let now_ns = self.clock.now_ns();
        let keeper = self.keepers.add(Keeper {
            kept_bytes: left_bytes,
            place: Place::Cell { size, index },
            start_ns: Some(now_ns),
            charged_ns: now_ns,
            ..Keeper::of(receiver)
        });
        self.keepers[keeper].note_rest(rest, consumed_bytes > 0, now_ns);
        let row = &mut self.rows[receiver as usize];
        row.keeper = keeper;
        row.add_credit(consumed_bytes);
        self.make_evictable(keeper, receiver, size);
        self.copy((self.receive_buffer, consumed_bytes as usize), left_bytes, to)
    }

    /// A cell of this size for a keeper, and where it is. `None` if there is no room, or a whole buffer is meant.
    #[inline(always)]
    fn enter(&mut self, size: Size, keeper: u32) -> Option<(u32, (u32, usize))> {
        if size >= self.cells.sizes.whole() {
            return None;
        }
        if !self.cells.has_hole(size, false) {
            if size == HEADER || self.buffers.free() == 0 {
                return None;
            }
            let buffer = self.buffers.take()?;
            self.has_moved_buffers = true;
            self.cells.cut(size, buffer);
        }
        let index = self.cells.fill_hole(size, keeper);
        Some((index, self.cells.locate(size, index)))
    }

    /// As `Receiving::report_unlisted`, of a report that leaves nothing, where the receiver is idle then. `false`, and
    /// nothing is changed, if that is not so.
    #[inline(always)]
    pub(crate) fn try_end(&mut self, receiver: u32, consumed_bytes: u32) -> bool {
        let Some(row) = self.rows.get(receiver as usize).filter(|_| self.is_common) else { return false };
        let keeper = row.keeper;
        let Some(state) = self.keepers.get(keeper) else { return false };
        let Place::Cell { size, index } = state.place else { return false };
        if state.mark_bytes != 1 {
            return false;
        }
        if state.queued.is_some() {
            self.heaps.remove(keeper, self.keepers);
        }
        self.add_credit(keeper, receiver, size, consumed_bytes);
        self.leave(size, index);
        self.keepers.remove(keeper);
        self.rows[receiver as usize].keeper = NIL;
        true
    }

    /// Frees a cell. The last one of its size takes its place.
    #[inline(always)]
    fn leave(&mut self, size: Size, index: u32) {
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
        if let Some(buffer) = self.cells.free_last(size) {
            self.buffers.give(buffer);
            self.has_moved_buffers = true;
        }
    }

    #[inline(always)]
    fn add_credit(&mut self, keeper: u32, receiver: u32, size: Size, bytes: u32) {
        let now_ns = self.clock.now_ns();
        let (row, state) = (&mut self.rows[receiver as usize], &mut self.keepers[keeper]);
        if size != HEADER {
            let cell_bytes = self.cells.sizes.bytes(size);
            row.credit_bytes = charged(row.credit_bytes, cell_bytes, now_ns - state.charged_ns);
        }
        state.charged_ns = now_ns;
        row.add_credit(bytes);
    }

    #[inline(always)]
    fn make_evictable(&mut self, keeper: u32, receiver: u32, size: Size) {
        if size == HEADER {
            return;
        }
        let (row, state) = (&self.rows[receiver as usize], &self.keepers[keeper]);
        let deadline_ns = match state.standing {
            Standing::Held { since_ns } => since_ns.saturating_add(self.config.blocked_ns),
            _ => {
                let length_bytes = state.length_bytes(row, self.config.buffer_bytes);
                self.config.deadline_ns(state.start_ns.unwrap_or(self.clock.now_ns()), length_bytes)
            }
        };
        self.heaps.insert(Queue::Evictable, keeper, deadline_ns, self.keepers);
    }

    /// Copies bytes to another place, and returns where they are then.
    #[inline(always)]
    fn copy(&mut self, from: (u32, usize), bytes: u32, to: (u32, usize)) -> Option<NonNull<u8>> {
        self.totals.copied_bytes += u64::from(bytes);
        let at = self.arena.try_copy(from, bytes as usize, to);
        if at.is_some() { at } else { move_bytes(self.arena, from, bytes, to) }
    }
}

#[inline(never)]
fn move_bytes(arena: &mut Arena, from: (u32, usize), bytes: u32, to: (u32, usize)) -> Option<NonNull<u8>> {
    arena.move_bytes(from, bytes as usize, to);
    arena.address_of(to)
}
