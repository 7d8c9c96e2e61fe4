//! The memory model: how much each receiver may receive, and where undecoded bytes lie.
//!
//! `docs/memory-model.md` is the specification; the terms and the order of rules here are those of that page. In one
//! sentence: a receive borrows a buffer, only a partial frame keeps memory, and every wait ends at a known time.
//!
//! | file | what it is |
//! |---|---|
//! | `config.rs` | the settings, and how memory is split |
//! | `sizes.rs`, `cells.rs` | sizes of cells, and the cells, packed densely |
//! | `keeper.rs` | what is known of a receiver that borrows, keeps or waits; idle ones have a row only |
//! | `heap.rs` | claims and kept content, ordered by deadline |
//! | `buffers.rs` | what is needed of the place where buffers come from, and a list of its own |
//! | `borrow.rs` | what is known of a borrow |
//! | `receive.rs` | from `begin` to the decoder's report |
//! | `counting.rs` | receivers whose partial frames stay in the kernel |
//! | `look.rs` | frames that are decoded while they stay in the kernel |
//! | `keep.rs` | what happens to undecoded bytes when a borrow ends |
//! | `claims.rs` | grants, trials, notices |
//! | `deliver.rs` | receives whose bytes are in the host's memory |
//! | `flight.rs` | receives that are submitted, and complete later |
//! | `tenants.rs` | what each tenant's receivers keep and wait for |
//! | `eviction.rs` | content that goes for the sake of a claim |
//! | `light.rs`, `in_cells.rs` | the common cycle, and those with kept bytes |
//! | `scarce.rs` | what steps do while memory is short |
//! | `protection.rs` | what is not needed any more is wiped, and taken back from memory checkers |
//! | `transfer.rs` | content that comes and goes with its buffer |
//! | `credit.rs` | credit, deadlines, shortage: numbers about one receiver |
//! | `types.rs`, `error.rs` | what goes in and comes out; why a call is refused |
//! | `check.rs` | the invariants |
//! | `model_check.rs` | numbers for all that the future depends on |
//!
//! It decides by bytes and numbers alone: what a connection does with an answer is for its state machine.

#![forbid(unsafe_code)]

mod borrow;
mod buffers;
mod cells;
mod check;
mod claims;
mod config;
mod counting;
mod credit;
mod deliver;
mod error;
mod eviction;
mod flight;
mod heap;
mod in_cells;
mod keep;
mod keeper;
mod light;
mod look;
#[cfg(feature = "model-check")]
mod model_check;
mod protection;
mod receive;
mod scarce;
mod sizes;
mod tenants;
#[cfg(test)]
mod tests;
mod transfer;
mod types;

pub(crate) use borrow::Purpose;
pub use buffers::Buffers;
#[cfg(feature = "std")]
pub(crate) use buffers::Wanted;
#[cfg(feature = "std")]
pub(crate) use config::HEADER_BYTES;
pub(crate) use config::threads_least;
pub use config::{ReceivingConfig, Split};
pub use deliver::Delivered;
pub use error::ReceivingError;
pub(crate) use in_cells::{Grantable, InCells, Limited};
pub(crate) use light::Unlisted;
pub(crate) use transfer::Content;
pub use transfer::Moved;
pub(crate) use types::Stance;
pub use types::{After, Begin, Borrowed, Facts, Notice, Rest, ShedReason, Totals};

use crate::alloc_util::reserve;
use crate::config_error::ConfigError;
use crate::memory::{Arena, poison};
use crate::scheduler::Clock;
use crate::scheduler::list::List;
use alloc::vec::Vec;
use borrow::{Borrow, Flight};
use buffers::FreeList;
use cells::Cells;
use core::ptr::NonNull;
use flight::Flights;
use heap::Heaps;
use keeper::{Keeper, Keepers, Place, Row, Standing, Transport};
use tenants::Tenants;

/// Numbers of receivers, keepers and buffers are below it.
const NIL: u32 = u32::MAX;

/// The receivers of one thread, and the memory that they share.
///
/// A receiver is named by its row, below `receivers_max`; the caller chooses rows and makes handles of them.
#[cfg_attr(feature = "model-check", derive(Clone))]
#[derive(Debug)]
#[repr(C)] // see `Pool`
pub struct Receiving<B = FreeList> {
    rows: Vec<Row>,
    config: ReceivingConfig,
    split: Split,
    arena: Arena,
    /// What is not needed any more is overwritten.
    wipes: bool,
    /// No tenant counts what is kept, and nothing is done with what is not needed any more.
    is_common: bool,
    /// What the host leased by `lease`.
    leased: u32,
    receive_buffer: u32,
    is_receive_buffer_lent: bool,
    /// The receiver whose bytes are in the host's memory, `NIL` for none.
    in_place: u32,
    cells: Cells,
    keepers: Keepers,
    heaps: Heaps,
    /// The first are open, the others in flight.
    borrows: Vec<Borrow>,
    open_borrows: u32,
    flights: Flights,
    /// What waits by tenant, and receivers that are off.
    tenants: Tenants,
    /// How many are off.
    off: u32,
    /// Receivers that were shed, of which no notice came yet.
    shed: List,
    clock: Clock,
    /// Pool time before the latest advance.
    before_ns: u64,
    trials_left: u32,
    evictions_left: u32,
    totals: Totals,
    buffers: B,
}

/// The most trials, and the most evictions, between two advances of the clock.
const PER_ITERATION: u32 = 64;

impl Receiving {
    /// Reserves everything. Nothing is allocated afterwards, and nothing is resident before it is used.
    ///
    /// # Errors
    ///
    /// A setting is out of range, memory is too small to be split, or the allocator has no such memory.
    pub fn new(config: &ReceivingConfig) -> Result<Receiving, ConfigError> {
        let split = config.split()?;
        Receiving::with_buffers(config, split, FreeList::new(&split)?, config.arena(&split)?, false)
    }
}

impl<B: Buffers> Receiving<B> {
    /// As `new`, with buffers from elsewhere, whose memory is the arena's, and is overwritten once it is not needed any
    /// more if it `wipes`: at least those of the headers, and one more, are free.
    pub(crate) fn with_buffers(
        config: &ReceivingConfig,
        split: Split,
        mut buffers: B,
        arena: Arena,
        wipes: bool,
    ) -> Result<Receiving<B>, ConfigError> {
        let rows = reserve("receivers_max", config.receivers_max)?;
        let keepers = Keepers::new(config.receivers_max)?;
        let mut take = || buffers.take().expect("as many are free");
        let receive_buffer = take();
        let cells = Cells::new(config.buffer_bytes, &split, take)?;
        let is_common = !poison::IS_ON && !wipes && buffers.tenants_max() == 0;
        Ok(Receiving {
            config: *config,
            arena,
            wipes,
            is_common,
            leased: 0,
            receive_buffer,
            is_receive_buffer_lent: false,
            in_place: NIL,
            cells,
            rows,
            keepers,
            heaps: Heaps::new(config.receivers_max)?,
            borrows: reserve("memory_bytes", split.buffers)?,
            open_borrows: 0,
            flights: Flights::NONE,
            tenants: Tenants::new(config.receivers_max, buffers.tenants_max())?,
            off: 0,
            shed: List::EMPTY,
            clock: Clock::new(Some(config.frame_grace_ns)),
            before_ns: 0,
            trials_left: PER_ITERATION,
            evictions_left: PER_ITERATION,
            totals: Totals::default(),
            split,
            buffers,
        })
    }

    /// A receiver begins in this row. One of unknown length has a decoder that only reports that it needs more.
    ///
    /// # Errors
    ///
    /// There is no such row, or it is in use.
    pub fn attach(&mut self, receiver: u32, unknown_length: bool) -> Result<(), ReceivingError> {
        self.attach_as(receiver, unknown_length, false, false)?;
        self.set_tenant(receiver, 0);
        Ok(())
    }

    /// As `attach`, of one that submits its receives, or reads ahead; its tenant is still to be set.
    #[inline(always)]
    pub(crate) fn attach_as(
        &mut self,
        receiver: u32,
        unknown_length: bool,
        submits: bool,
        reads_ahead: bool,
    ) -> Result<(), ReceivingError> {
        if receiver >= self.config.receivers_max {
            return Err(ReceivingError::UnknownReceiver);
        }
        if self.rows.len() <= receiver as usize {
            // Inside what was reserved.
            self.rows.resize(receiver as usize + 1, Row::default());
        }
        let row = &mut self.rows[receiver as usize];
        // The receive of the one before may be in flight.
        if row.is_attached || row.keeper != NIL {
            return Err(ReceivingError::Attached);
        }
        *row = Row { is_attached: true, unknown_length, submits, ..Row::default() };
        row.transport.set(Transport::READS_AHEAD, reads_ahead);
        Ok(())
    }

    /// Whether a layer between the receiver and its transport takes whole records, from now on.
    ///
    /// # Errors
    ///
    /// There is no such receiver, or it counts.
    pub fn set_reads_ahead(&mut self, receiver: u32, reads_ahead: bool) -> Result<(), ReceivingError> {
        if reads_ahead && self.row(receiver)?.transport.has(Transport::COUNTS) {
            return Err(ReceivingError::CannotCount);
        }
        self.row(receiver)?;
        self.rows[receiver as usize].transport.set(Transport::READS_AHEAD, reads_ahead);
        Ok(())
    }

    /// The receiver is gone; what it borrowed, kept and claimed ends. Returns how many undecoded bytes were dropped. If
    /// its receive is in flight, the buffer of that and the row are in use until [`complete`](Receiving::complete).
    ///
    /// # Errors
    ///
    /// There is no such receiver.
    #[inline]
    pub fn close(&mut self, receiver: u32) -> Result<u32, ReceivingError> {
        let keeper = self.row(receiver)?.keeper;
        self.rows[receiver as usize] = Row::default();
        Ok(if keeper == NIL { 0 } else { self.close_keeper(receiver, keeper) })
    }

    #[inline(never)]
    fn close_keeper(&mut self, receiver: u32, keeper: u32) -> u32 {
        if self.is_in_flight(keeper) {
            self.rows[receiver as usize].keeper = keeper;
            return self.close_in_flight(keeper);
        }
        if self.keepers[keeper].borrow != NIL {
            self.leave_in_kernel(keeper);
        }
        let dropped_bytes = self.drop_all(keeper);
        self.keepers.remove(keeper);
        dropped_bytes
    }

    /// A buffer for the host's own use; content that may be evicted makes room for it. `None` if there is none.
    pub fn lease(&mut self) -> Option<u32> {
        // What the receive buffer has may need a place.
        let left = u32::from(self.is_receive_buffer_lent);
        while self.buffers.free() <= left && self.evict() {}
        let buffer = if self.buffers.free() > left { self.buffers.take() } else { None };
        self.leased += u32::from(buffer.is_some());
        buffer
    }

    /// A buffer that the host leased is free again.
    pub fn release(&mut self, buffer: u32) {
        self.leased -= 1;
        self.give(buffer);
    }

    /// What is undecoded, wherever it is, but in the host's memory. What a receiver keeps may move with each call that
    /// is not about reading.
    ///
    /// # Errors
    ///
    /// There is no such receiver.
    pub fn content(&self, receiver: u32) -> Result<&[u8], ReceivingError> {
        let keeper = self.row(receiver)?.keeper;
        if keeper == NIL || self.is_in_place(receiver) {
            return Ok(&[]);
        }
        let kept_bytes = self.keepers[keeper].kept_bytes as usize;
        let (buffer, start) = self.where_is(keeper);
        Ok(if kept_bytes == 0 { &[] } else { &self.arena.buffer(buffer)[start..start + kept_bytes] })
    }

    /// As [`content`](Receiving::content), for decoders that work in place.
    ///
    /// # Errors
    ///
    /// There is no such receiver.
    pub fn content_mut(&mut self, receiver: u32) -> Result<&mut [u8], ReceivingError> {
        let keeper = self.row(receiver)?.keeper;
        if keeper == NIL || self.is_in_place(receiver) {
            return Ok(&mut []);
        }
        let kept_bytes = self.keepers[keeper].kept_bytes as usize;
        let (buffer, start) = self.where_is(keeper);
        Ok(if kept_bytes == 0 { &mut [] } else { &mut self.arena.buffer_mut(buffer)[start..start + kept_bytes] })
    }

    /// Where to receive: as many bytes as were allowed; none if the receiver may not receive now.
    ///
    /// # Errors
    ///
    /// There is no such receiver.
    pub fn receive_area(&mut self, receiver: u32) -> Result<&mut [u8], ReceivingError> {
        let keeper = self.row(receiver)?.keeper;
        if keeper == NIL {
            return Ok(&mut []);
        }
        let state = &self.keepers[keeper];
        let Some(borrow) = self.borrows.get(state.borrow as usize) else {
            return Ok(&mut []);
        };
        let start = (borrow.start + state.kept_bytes) as usize;
        Ok(&mut self.arena.buffer_mut(borrow.buffer)[start..start + borrow.area_bytes() as usize])
    }

    /// Where a receiver may receive (`is_receive`), or what is undecoded, without a borrow: an address and a length,
    /// `None` if that is 0.
    pub(super) fn area(&self, receiver: u32, is_receive: bool) -> Option<(NonNull<u8>, u32)> {
        let row = self.rows.get(receiver as usize).filter(|row| row.is_attached && row.keeper != NIL)?;
        let keeper = row.keeper;
        if self.is_in_place(receiver) {
            return None;
        }
        let state = &self.keepers[keeper];
        if is_receive {
            let borrow = self.borrows.get(state.borrow as usize)?;
            let (start, max_bytes) = (borrow.start + state.kept_bytes, borrow.area_bytes());
            let area = self.area_in(borrow.buffer, start as usize, max_bytes);
            // What was there before lies in front of it, for a host that decodes before it reports.
            self.arena.lend(borrow.buffer, borrow.start..start + max_bytes);
            return area;
        }
        if state.borrow == NIL && state.kept_bytes == 0 {
            return None; // The buffer that it would borrow may be lent to another.
        }
        let borrow = self.borrows.get(state.borrow as usize);
        let (buffer, start) =
            borrow.map_or_else(|| self.where_is(keeper), |borrow| (borrow.buffer, borrow.start as usize));
        // What a receive in flight writes to stays lent.
        let is_in_flight = poison::IS_ON && self.is_in_flight(keeper);
        let in_flight_bytes = if is_in_flight { self.borrows[state.borrow as usize].max_bytes } else { 0 };
        let (at, _) = self.area_in(buffer, start, state.kept_bytes + in_flight_bytes)?;
        (state.kept_bytes > 0).then_some((at, state.kept_bytes))
    }

    /// A part of a buffer, which the host is lent, `None` if it is empty.
    #[inline(always)]
    pub(super) fn area_in(&self, buffer: u32, start: usize, bytes: u32) -> Option<(NonNull<u8>, u32)> {
        let at = NonNull::new(self.arena.address(buffer).as_ptr().wrapping_add(start))?;
        self.arena.lend(buffer, start as u32..start as u32 + bytes);
        (bytes > 0).then_some((at, bytes))
    }

    /// What is known of a receiver.
    ///
    /// # Errors
    ///
    /// There is no such receiver.
    pub fn facts(&self, receiver: u32) -> Result<Facts, ReceivingError> {
        let row = self.row(receiver)?;
        if row.keeper == NIL {
            return Ok(Facts { credit_bytes: row.credit_bytes, ..Facts::default() });
        }
        let keeper = &self.keepers[row.keeper];
        Ok(Facts {
            kept_bytes: keeper.kept_bytes,
            needed_bytes: keeper.needed_bytes,
            usable_bytes: keeper.usable_bytes,
            cell_bytes: self.cell_bytes(keeper.place),
            start_ns: keeper.start_ns,
            credit_bytes: self.credit_bytes(row.keeper),
            claim_since_ns: keeper.claim_since_ns(),
            held_since_ns: keeper.held_since_ns(),
            is_borrowing: keeper.borrow != NIL,
            is_off: keeper.is_off(),
            is_kept_for_good: keeper.is_kept_for_good,
            is_shed: keeper.is_shed(),
            is_in_flight: self.is_in_flight(row.keeper),
            awaited_bytes: self.awaited_bytes(receiver),
            is_full: keeper.is_full,
            seen_bytes: self.seen_bytes(receiver),
            owed_bytes: self.owed_bytes(receiver),
        })
    }

    /// What is left to be reported of a borrow, if the receiver borrows.
    #[inline]
    pub fn borrowed(&self, receiver: u32) -> Option<Borrowed> {
        self.borrows.get(self.known(receiver)?.borrow as usize).map(Borrow::describe)
    }

    /// How it stands.
    #[inline]
    pub(crate) fn stance(&self, receiver: u32) -> Stance {
        let Some(keeper) = self.known(receiver) else {
            return Stance::Idle;
        };
        match self.borrows.get(keeper.borrow as usize) {
            Some(borrow) if borrow.flight != Flight::No => Stance::InFlight,
            Some(borrow) if borrow.is_unreported => Stance::Unreported,
            Some(borrow) if borrow.owes() => Stance::Owing,
            Some(_) => Stance::MayReceive,
            None => keeper.stance(),
        }
    }

    pub(crate) fn buffers(&self) -> &B {
        &self.buffers
    }

    pub(crate) fn buffers_mut(&mut self) -> &mut B {
        &mut self.buffers
    }

    pub(crate) fn arena(&self) -> &Arena {
        &self.arena
    }

    pub(super) fn arena_mut(&mut self) -> &mut Arena {
        &mut self.arena
    }

    /// Does something with the memory, and the place where buffers come from.
    pub(crate) fn with_arena<R>(&mut self, act: impl FnOnce(&mut B, &mut Arena) -> R) -> R {
        act(&mut self.buffers, &mut self.arena)
    }

    /// The settings.
    pub fn config(&self) -> &ReceivingConfig {
        &self.config
    }

    /// Whether it borrows, keeps and waits for nothing.
    #[inline]
    pub(super) fn is_idle(&self, receiver: u32) -> bool {
        self.rows[receiver as usize].keeper == NIL
    }

    /// Whether its decoder only reports that it needs more.
    pub(super) fn has_unknown_length(&self, receiver: u32) -> bool {
        self.rows[receiver as usize].unknown_length
    }

    /// Whether it was shed.
    pub(crate) fn is_shed(&self, receiver: u32) -> bool {
        self.known(receiver).is_some_and(Keeper::is_shed)
    }

    /// What is known of a receiver that is not idle.
    #[inline]
    fn known(&self, receiver: u32) -> Option<&Keeper> {
        let keeper = self.rows.get(receiver as usize)?.keeper;
        (keeper != NIL).then(|| &self.keepers[keeper])
    }

    /// Why it was shed, if it was.
    pub(super) fn shed_reason(&self, receiver: u32) -> Option<ShedReason> {
        self.known(receiver)?.shed_reason()
    }

    /// For how long it has claimed, in nanoseconds of pool time.
    pub(super) fn claim_age_ns(&self, receiver: u32) -> Option<u64> {
        Some(self.clock.now_ns() - self.known(receiver)?.claim_since_ns()?)
    }

    /// Time that did not count, because one advance of the clock was worth less, in nanoseconds.
    pub(super) fn clock_skipped_ns(&self) -> u64 {
        self.clock.skipped_ns()
    }

    /// Counts of all receivers since the beginning.
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// The host's time at the last advance of the clock.
    pub(super) fn last_advance_ns(&self) -> Option<u64> {
        self.clock.last_advance_ns()
    }

    /// Free buffers.
    pub fn free_buffers(&self) -> u32 {
        self.buffers.free()
    }

    /// How memory is split.
    pub fn split(&self) -> Split {
        self.split
    }

    /// Cells in use of each size, with the size in bytes, smallest first.
    pub fn cells(&self) -> impl Iterator<Item = (u32, u32)> {
        self.cells.counts()
    }

    fn row(&self, receiver: u32) -> Result<&Row, ReceivingError> {
        self.rows.get(receiver as usize).filter(|row| row.is_attached).ok_or(ReceivingError::UnknownReceiver)
    }

    /// Where the content of a receiver is: a buffer, and where in it the content begins.
    fn where_is(&self, keeper: u32) -> (u32, usize) {
        let state = &self.keepers[keeper];
        if let Some(borrow) = self.borrows.get(state.borrow as usize) {
            return (borrow.buffer, borrow.start as usize);
        }
        match state.place {
            Place::Nowhere => (self.receive_buffer, 0),
            Place::Cell { size, index } => self.cells.locate(size, index),
            Place::Whole { buffer, start } => (buffer, start as usize),
        }
    }

    /// Takes everything from a receiver but its row: what it borrows, keeps and waits for. Returns how many undecoded
    /// bytes were dropped.
    fn drop_all(&mut self, keeper: u32) -> u32 {
        self.end_claim(keeper);
        self.end_mark(keeper);
        self.unlist(keeper);
        self.dequeue(keeper);
        self.end_borrow(keeper);
        self.settle_charge(keeper);
        self.free_place(keeper);
        let state = &mut self.keepers[keeper];
        state.standing = Standing::Resting;
        (state.is_kept_for_good, state.is_full) = (false, false);
        state.start_ns = None;
        (state.needed_bytes, state.usable_bytes) = (0, 0);
        core::mem::take(&mut state.kept_bytes)
    }
}
