//! Numbers about one receiver: its length, deadline and credit, and whether it is in shortage.

use super::buffers::Buffers;
use super::config::{HEADER_BYTES, NS_PER_S, rate_ns};
use super::keeper::{Keeper, Place, Queue, Row, Standing};
use super::sizes::{HEADER, Size, Sizes};
use super::{NIL, Receiving, ReceivingConfig, ReceivingError};

/// The most credit, and the most debt, in bytes.
pub(super) const CREDIT_MAX: i32 = 65_536;

/// What is left of a credit after a cell was held for this time.
#[inline]
pub(super) fn charged(credit_bytes: i32, cell_bytes: u32, held_ns: u64) -> i32 {
    if held_ns == 0 {
        return credit_bytes;
    }
    // What does not fit into 64 bits is more than the most credit, and the most debt.
    let byte_ns = u64::from(cell_bytes).saturating_mul(held_ns);
    let charge = (byte_ns / NS_PER_S as u64).min(4 * CREDIT_MAX as u64) as i32;
    (credit_bytes - charge).max(-CREDIT_MAX)
}

/// Whether a credit is enough for a cell of this size.
#[inline]
pub(super) fn is_credit_for(credit_bytes: i32, cell_bytes: u32) -> bool {
    credit_bytes >= cell_bytes.saturating_mul(2).min(CREDIT_MAX as u32) as i32
}

/// What a receiver may come to keep.
pub(super) struct Frame {
    pub(super) length_bytes: u32,
    /// That of its cell.
    pub(super) size: Size,
    /// Its receiver has the credit for it.
    pub(super) is_in_credit: bool,
}

impl Frame {
    /// That of a receiver that keeps bytes, or of an idle one.
    #[inline(always)]
    pub(super) fn of(row: &Row, state: Option<&Keeper>, sizes: &Sizes, buffer_bytes: u32, now_ns: u64) -> Frame {
        let (length_bytes, credit_bytes) = match state {
            None => (buffer_bytes, row.credit_bytes),
            Some(state) => {
                let cell_bytes = match state.place {
                    Place::Nowhere => 0,
                    Place::Cell { size, .. } => sizes.bytes(size),
                    Place::Whole { .. } => buffer_bytes,
                };
                (state.length_bytes(row, buffer_bytes), state.credit_bytes(row, cell_bytes, now_ns))
            }
        };
        let size = sizes.fitting_above_header(length_bytes);
        Frame { length_bytes, size, is_in_credit: is_credit_for(credit_bytes, sizes.bytes(size)) }
    }
}

impl ReceivingConfig {
    /// When the claim is tried, or from when on the content may be evicted, of a receiver with this start and length,
    /// in pool time.
    #[inline]
    pub(super) fn deadline_ns(&self, start_ns: u64, length_bytes: u32) -> u64 {
        start_ns.saturating_add(self.frame_grace_ns).saturating_add(rate_ns(length_bytes))
    }
}

impl Keeper {
    /// What is left of its credit, with a cell of this size.
    #[inline(always)]
    fn credit_bytes(&self, row: &Row, cell_bytes: u32, now_ns: u64) -> i32 {
        let held_ns = if cell_bytes > HEADER_BYTES { now_ns - self.charged_ns } else { 0 };
        charged(row.credit_bytes, cell_bytes, held_ns)
    }

    /// Takes what its cell, of this size, has cost since from its credit.
    #[inline(always)]
    pub(super) fn settle(&mut self, row: &mut Row, cell_bytes: u32, now_ns: u64) {
        row.credit_bytes = self.credit_bytes(row, cell_bytes, now_ns);
        self.charged_ns = now_ns;
    }

    /// From when on its content may be evicted, while it is at rest.
    #[inline(always)]
    pub(super) fn evictable_ns(&self, row: &Row, config: &ReceivingConfig, now_ns: u64) -> u64 {
        self.deadline_ns(config, || self.length_bytes(row, config.buffer_bytes), now_ns).max(self.spared_ns)
    }

    /// When its claim is tried, or from when on its content may be evicted if it is not spared, with this length.
    #[inline(always)]
    fn deadline_ns(&self, config: &ReceivingConfig, length_bytes: impl FnOnce() -> u32, now_ns: u64) -> u64 {
        match self.standing {
            Standing::Held { since_ns } => since_ns.saturating_add(config.blocked_ns),
            _ => config.deadline_ns(self.start_ns.unwrap_or(now_ns), length_bytes()),
        }
    }

    /// The bytes that its receiver may come to keep, if that waits under no mark.
    #[inline]
    pub(super) fn length_bytes(&self, row: &Row, buffer_bytes: u32) -> u32 {
        row.length_bytes(self.kept_bytes, self.needed_bytes, buffer_bytes)
    }

    /// The most that a receive may bring without going past the frame, at least 1.
    #[inline]
    pub(super) fn exact_bytes(&self, row: &Row, buffer_bytes: u32) -> u32 {
        let room = buffer_bytes - self.kept_bytes;
        if row.unknown_length { room } else { self.usable_bytes.max(1).min(room) }
    }
}

impl Row {
    /// The bytes that it may come to keep, if it keeps and needs as many.
    #[inline]
    pub(super) fn length_bytes(&self, kept_bytes: u32, needed_bytes: u32, buffer_bytes: u32) -> u32 {
        if kept_bytes == 0 || self.unknown_length {
            return buffer_bytes;
        }
        kept_bytes.saturating_add(needed_bytes.max(1)).min(buffer_bytes)
    }

    /// Bytes were decoded, of which a buffer has at most 16 MiB.
    #[inline(always)]
    pub(super) fn add_credit(&mut self, bytes: u32) {
        self.credit_bytes = (self.credit_bytes + bytes as i32).min(CREDIT_MAX);
    }
}

impl<B: Buffers> Receiving<B> {
    /// The bytes that a receiver may come to keep.
    pub(super) fn length_bytes(&self, keeper: u32) -> u32 {
        let state = &self.keepers[keeper];
        if state.standing == Standing::Marked && state.kept_bytes == 0 {
            return state.looked_bytes.clamp(1, self.config.buffer_bytes);
        }
        state.length_bytes(&self.rows[state.receiver as usize], self.config.buffer_bytes)
    }

    /// The most that a receive may bring without going past the frame, at least 1.
    pub(super) fn exact_bytes(&self, keeper: u32) -> u32 {
        let state = &self.keepers[keeper];
        state.exact_bytes(&self.rows[state.receiver as usize], self.config.buffer_bytes)
    }

    /// The decoder of a receiver that keeps nothing can use this number of bytes at once, 1 if it reported nothing.
    ///
    /// # Errors
    ///
    /// There is no such receiver, it was shed, or bytes are left, which a report is about.
    pub fn set_usable(&mut self, receiver: u32, bytes: u32) -> Result<(), ReceivingError> {
        if self.row(receiver)?.keeper == NIL && bytes <= 1 {
            return Ok(());
        }
        let keeper = self.keeper(receiver);
        let state = &mut self.keepers[keeper];
        if state.is_shed() {
            return Err(ReceivingError::Shed);
        }
        if state.kept_bytes > 0 {
            return Err(ReceivingError::WrongRest);
        }
        state.usable_bytes = bytes;
        self.forget_if_idle(keeper);
        Ok(())
    }

    /// When its claim is tried, or from when on its content may be evicted, in pool time.
    pub(super) fn deadline_ns(&self, keeper: u32) -> u64 {
        self.deadline_of(keeper, self.length_bytes(keeper))
    }

    /// Its time in the order of this queue: its deadline, but content that is spared may be evicted later.
    pub(super) fn due_ns(&self, queue: Queue, keeper: u32) -> u64 {
        let spared_ns = if queue == Queue::Evictable { self.keepers[keeper].spared_ns } else { 0 };
        self.deadline_ns(keeper).max(spared_ns)
    }

    /// As `deadline_ns`, of a receiver of this length.
    #[inline]
    pub(super) fn deadline_of(&self, keeper: u32, length_bytes: u32) -> u64 {
        self.keepers[keeper].deadline_ns(&self.config, || length_bytes, self.clock.now_ns())
    }

    pub(super) fn size_of(&self, place: Place) -> Option<Size> {
        match place {
            Place::Nowhere => None,
            Place::Cell { size, .. } => Some(size),
            Place::Whole { .. } => Some(self.cells.sizes.whole()),
        }
    }

    /// Size of a cell in bytes, 0 for none.
    pub(super) fn cell_bytes(&self, place: Place) -> u32 {
        self.size_of(place).map_or(0, |size| self.cells.sizes.bytes(size))
    }

    /// Its credit now.
    pub(super) fn credit_bytes(&self, keeper: u32) -> i32 {
        let state = &self.keepers[keeper];
        // A receive in flight counts as a whole buffer.
        let is_in_flight = state.borrow != NIL && self.is_in_flight(keeper);
        let cell_bytes = if is_in_flight { self.config.buffer_bytes } else { self.cell_bytes(state.place) };
        state.credit_bytes(&self.rows[state.receiver as usize], cell_bytes, self.clock.now_ns())
    }

    /// Takes what its cell has cost since from its credit; before its cell changes.
    #[inline]
    pub(super) fn settle_charge(&mut self, keeper: u32) {
        let now_ns = self.clock.now_ns();
        let state = &mut self.keepers[keeper];
        let is_free = matches!(state.place, Place::Nowhere | Place::Cell { size: HEADER, .. });
        if is_free && state.borrow == NIL {
            state.charged_ns = now_ns;
            return;
        }
        let credit_bytes = self.credit_bytes(keeper);
        let state = &mut self.keepers[keeper];
        state.charged_ns = now_ns;
        self.rows[state.receiver as usize].credit_bytes = credit_bytes;
    }

    /// Bytes were decoded.
    pub(super) fn add_credit(&mut self, keeper: u32, bytes: u32) {
        self.settle_charge(keeper);
        self.rows[self.keepers[keeper].receiver as usize].add_credit(bytes);
    }

    pub(super) fn is_in_credit(&self, keeper: u32) -> bool {
        self.has_credit_for(keeper, self.cells.sizes.fitting_above_header(self.length_bytes(keeper)))
    }

    /// Whether its credit is enough for a cell of this size.
    #[inline]
    pub(super) fn has_credit_for(&self, keeper: u32, size: Size) -> bool {
        is_credit_for(self.credit_bytes(keeper), self.cells.sizes.bytes(size))
    }

    /// A receive might leave bytes for which there is no room, while this number of buffers is free; or it would be one
    /// too many in flight.
    pub(super) fn is_in_shortage(&self, keeper: u32, free: u32) -> bool {
        free == 0
            || (free <= self.split.reserve && !self.is_in_credit(keeper))
            || self.may_not_submit(keeper)
            || self.is_capped(self.keepers[keeper].receiver)
    }

    /// Free buffers that are not for a receiver, which is in credit or not.
    pub(super) fn floor(&self, is_in_credit: bool) -> u32 {
        if is_in_credit { 0 } else { self.split.reserve }
    }

    /// Before a borrow: what it may take, and what the receive buffer may leave, is ready if it is free.
    #[inline(always)]
    pub(crate) fn make_ready(&mut self) {
        self.buffers.make_ready(1 + u32::from(self.is_receive_buffer_lent));
    }

    /// How many buffers are free while it borrows; `None` if there is none that it may borrow. What the receive buffer
    /// has may need a place, so a second borrow leaves one.
    pub(super) fn free_while_borrowing(&self, keeper: u32) -> Option<u32> {
        let owns_buffer = matches!(self.keepers[keeper].place, Place::Whole { .. });
        let free = self.free_buffers();
        if owns_buffer || !self.is_receive_buffer_lent {
            return Some(free);
        }
        free.checked_sub(1).filter(|&left| left > 0)
    }

    /// The keeper of a receiver, made if it is idle.
    pub(super) fn keeper(&mut self, receiver: u32) -> u32 {
        let row = &mut self.rows[receiver as usize];
        if row.keeper == NIL {
            row.keeper = self.keepers.insert(receiver);
        }
        row.keeper
    }
}
