//! Content that comes and goes with its buffer, or from outside.

use super::borrow::{Lender, Purpose};
use super::buffers::Buffers;
#[cfg(feature = "std")]
use super::credit::CREDIT_MAX;
use super::keeper::Place;
#[cfg(feature = "std")]
use super::keeper::{Keeper, Standing};
use super::{NIL, Receiving};
#[cfg(feature = "std")]
use crate::memory::Address;

/// Content in a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Content {
    /// The buffer.
    pub(crate) buffer: u32,
    /// Where the content begins in it.
    pub(crate) start: u32,
    /// Its length in bytes.
    pub(crate) bytes: u32,
}

/// What is known of a receiver beside its content, as it goes to another thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// How long ago its frame, or its wait, began, in nanoseconds of pool time.
    pub age_ns: Option<u64>,
    /// Nothing was reported to be there that it waits for.
    pub is_guess: bool,
    /// The mark under which it waits with nothing kept; 0 if it does not.
    pub mark_bytes: u32,
    /// Its credit.
    pub credit_bytes: i32,
    /// Its decoder only reports that it needs more.
    pub unknown_length: bool,
}

impl<B: Buffers> Receiving<B> {
    /// What a receiver takes with it to another thread.
    #[cfg(feature = "std")]
    #[inline(always)]
    pub(crate) fn moved(&self, receiver: u32) -> Moved {
        let row = &self.rows[receiver as usize];
        let known = |keeper: &Keeper| {
            let waits_with_nothing = keeper.standing == Standing::Marked && keeper.kept_bytes == 0;
            (keeper.start_ns, keeper.is_guess, if waits_with_nothing { keeper.looked_bytes } else { 0 })
        };
        let (start_ns, is_guess, mark_bytes) = self.known(receiver).map_or((None, false, 0), known);
        let credit_bytes = if row.keeper == NIL { row.credit_bytes } else { self.credit_bytes(row.keeper) };
        let age_ns = start_ns.map(|start_ns| self.clock.now_ns().saturating_sub(start_ns));
        Moved { age_ns, is_guess, mark_bytes, credit_bytes, unknown_length: row.unknown_length }
    }

    /// A receiver came from another thread with this.
    #[cfg(feature = "std")]
    #[inline(always)]
    pub(crate) fn set_moved(&mut self, receiver: u32, moved: Moved) {
        let now_ns = self.clock.now_ns();
        let start_ns = moved.age_ns.map(|age_ns| now_ns.saturating_sub(age_ns));
        let row = &mut self.rows[receiver as usize];
        row.credit_bytes = moved.credit_bytes.clamp(-CREDIT_MAX, CREDIT_MAX);
        if row.keeper != NIL {
            let state = &mut self.keepers[row.keeper];
            state.start_ns = start_ns;
            // On this thread, its host could not report anything yet.
            state.spare(now_ns);
        }
    }

    /// A receiver came from another thread, where it waited for room with nothing kept: it waits on. `false` if it did
    /// not wait, or begins with a look.
    #[cfg(feature = "std")]
    pub(crate) fn wait_on(&mut self, receiver: u32, moved: Moved) -> bool {
        let Some(age_ns) = moved.age_ns else { return false };
        let keeper = self.keeper(receiver);
        if self.counts_now(keeper) {
            self.forget_if_idle(keeper);
            return false;
        }
        self.keepers[keeper].start_ns = Some(self.clock.now_ns().saturating_sub(age_ns));
        self.claim(keeper, !moved.is_guess);
        true
    }

    /// A receiver came from another thread, where it waited under this mark with nothing kept: so it does here.
    #[cfg(feature = "std")]
    pub(crate) fn wait_on_under_mark(&mut self, receiver: u32, moved: Moved) {
        let keeper = self.keeper(receiver);
        let age_ns = moved.age_ns.unwrap_or(0);
        let state = &mut self.keepers[keeper];
        state.start_ns = Some(self.clock.now_ns().saturating_sub(age_ns));
        (state.looked_bytes, state.standing) = (moved.mark_bytes, Standing::Marked);
        self.rest(keeper);
    }

    /// A receiver that was just attached gets bytes that came before it, as if it had received them. `false`, and
    /// nothing is changed, if there is no buffer to borrow, or no room for what its decoder may leave.
    pub(crate) fn receive_earlier(&mut self, receiver: u32, bytes: &[u8]) -> bool {
        let keeper = self.keeper(receiver);
        self.make_ready();
        let (smallest, whole) = (self.cells.sizes.fitting(bytes.len() as u32), self.cells.sizes.whole());
        let has_hole = || (smallest..whole).any(|size| self.cells.has_hole(size, false));
        let has_room = self.free_while_borrowing(keeper).is_some_and(|free| free > 0 || has_hole());
        if has_room {
            self.borrow(keeper, Purpose::Decode, 0);
            let buffer = self.borrows[self.keepers[keeper].borrow as usize].buffer;
            self.arena.buffer_mut(buffer)[..bytes.len()].copy_from_slice(bytes);
            self.begin_content(keeper, bytes.len() as u32);
        } else {
            self.forget_if_idle(keeper);
        }
        has_room
    }

    /// A receiver that was just attached gets a buffer with its content, and borrows it. With no content the buffer is
    /// free.
    pub(crate) fn adopt(&mut self, receiver: u32, content: Content) {
        let Content { buffer, start, bytes } = content;
        if bytes == 0 {
            return self.give(buffer);
        }
        let keeper = self.keeper(receiver);
        self.settle_charge(keeper);
        self.keepers[keeper].place = Place::Whole { buffer, start };
        self.recount(keeper, 0);
        self.begin_content(keeper, bytes);
        self.borrow(keeper, Purpose::Decode, 0);
    }

    /// As `adopt`, of content of which nothing is written down but that the receiver keeps it. Returns where it is.
    #[cfg(feature = "std")]
    #[inline(always)]
    pub(crate) fn adopt_unlisted(&mut self, receiver: u32, content: Content) -> Address {
        let Content { buffer, start, bytes } = content;
        let (now_ns, place) = (self.clock.now_ns(), Place::Whole { buffer, start });
        let of = Keeper::of(receiver);
        let keeper = Keeper { kept_bytes: bytes, place, start_ns: Some(now_ns), charged_ns: now_ns, ..of };
        self.rows[receiver as usize].keeper = self.keepers.add(keeper);
        Address::new(self.arena.address(buffer)).behind(start)
    }

    /// The receive buffer leaves with its content, and a free one takes its place. `None`, and nothing is changed but
    /// that buffers may be ready, if none is free.
    #[cfg(feature = "std")]
    #[inline(always)]
    pub(crate) fn take_receive_buffer(&mut self) -> Option<u32> {
        self.buffers.make_ready(2); // It counts as lent.
        let next = self.buffers.take()?;
        Some(core::mem::replace(&mut self.receive_buffer, next))
    }

    fn begin_content(&mut self, keeper: u32, bytes: u32) {
        let now_ns = self.clock.now_ns();
        let state = &mut self.keepers[keeper];
        state.kept_bytes = bytes;
        state.start_ns = Some(now_ns);
    }

    /// The content of a receiver leaves with a buffer, which counts for its tenant. `None` if it has none, or if there
    /// is no buffer for it, or its tenant may have none.
    pub(crate) fn take(&mut self, receiver: u32) -> Option<Content> {
        let keeper = self.with_content(receiver)?;
        let (tenant, counted_bytes) = (self.tenant(receiver), self.counted_bytes(keeper));
        if !self.tenants.is_used() {
            return self.take_out(keeper);
        }
        if !self.buffers.begin_exchange(tenant, counted_bytes) {
            return None;
        }
        let taken = self.choose_buffer(keeper);
        self.buffers.end_exchange(tenant, taken.map(|(buffer, _)| buffer));
        taken.map(|taken| self.leave_with(keeper, taken))
    }

    /// As `take`, for a receiver that moves to another thread: its tenant holds the buffer meanwhile, and has to have
    /// room only where the place of the content grows.
    #[cfg(feature = "std")]
    pub(crate) fn take_to_move(&mut self, receiver: u32) -> Option<Content> {
        let keeper = self.with_content(receiver)?;
        if !self.tenants.is_used() {
            return self.take_out(keeper);
        }
        let (tenant, counted_bytes) = (self.tenant(receiver), self.counted_bytes(keeper));
        let grows = counted_bytes < self.config.buffer_bytes;
        if grows && !self.buffers.begin_exchange(tenant, counted_bytes) {
            return None;
        }
        // First, so that no request of the tenant takes the place.
        self.buffers.hold_moving(tenant, true);
        let taken = self.take_out(keeper);
        if taken.is_none() {
            self.buffers.hold_moving(tenant, false);
        }
        if grows {
            self.buffers.end_exchange(tenant, None);
        }
        taken
    }

    /// What is known of a receiver that keeps something.
    fn with_content(&self, receiver: u32) -> Option<u32> {
        let keeper = self.row(receiver).ok()?.keeper;
        (keeper != NIL && self.keepers[keeper].kept_bytes > 0).then_some(keeper)
    }

    fn take_out(&mut self, keeper: u32) -> Option<Content> {
        let taken = self.choose_buffer(keeper)?;
        Some(self.leave_with(keeper, taken))
    }

    /// The buffer that content leaves with, and where in it the content begins.
    fn choose_buffer(&mut self, keeper: u32) -> Option<(u32, u32)> {
        self.make_ready();
        self.secure_borrow();
        let lender = self.borrows.get(self.keepers[keeper].borrow as usize).map(|borrow| borrow.lender);
        let is_whole = matches!(self.keepers[keeper].place, Place::Whole { .. });
        if lender.is_none() && !is_whole {
            return Some((self.copy_out(keeper)?, 0));
        }
        let (buffer, start) = self.where_is(keeper);
        if lender == Some(Lender::Thread) {
            self.receive_buffer = self.take_free()?;
            self.is_receive_buffer_lent = false;
        }
        Some((buffer, start as u32))
    }

    /// A receiver has nothing any more: its content left with this buffer.
    fn leave_with(&mut self, keeper: u32, (buffer, start): (u32, u32)) -> Content {
        let (bytes, counted_bytes) = (self.keepers[keeper].kept_bytes, self.counted_bytes(keeper));
        self.settle_charge(keeper);
        // The buffer is not the receiver's any more.
        if self.keepers[keeper].borrow != NIL {
            self.close_borrow(keeper);
        }
        if matches!(self.keepers[keeper].place, Place::Whole { .. }) {
            self.keepers[keeper].place = Place::Nowhere;
            self.recount(keeper, counted_bytes);
        }
        self.drop_all(keeper);
        self.forget_if_idle(keeper);
        Content { buffer, start, bytes }
    }

    /// Copies what is in a cell to the front of a free buffer. `None` if none is free.
    fn copy_out(&mut self, keeper: u32) -> Option<u32> {
        // It may not be evicted to make room for itself.
        self.dequeue(keeper);
        let Some(buffer) = self.take_free() else {
            self.rest(keeper);
            return None;
        };
        // What was evicted may have moved it.
        let from = self.where_is(keeper);
        self.move_bytes(from, self.keepers[keeper].kept_bytes, (buffer, 0));
        Some(buffer)
    }

    /// A free buffer; content that may be evicted makes room for it.
    fn take_free(&mut self) -> Option<u32> {
        while self.buffers.free() == 0 && self.evict() {}
        self.buffers.take()
    }

    /// Whether a buffer of the host's own can become one of a receiver, beside the one that `secure_borrow` takes.
    pub(crate) fn may_adopt(&self, buffer: u32) -> bool {
        self.buffers.may_adopt(buffer, self.secures_borrow().into())
    }

    /// Whether `secure_borrow` does anything.
    pub(crate) fn secures_borrow(&self) -> bool {
        self.is_receive_buffer_lent && self.buffers.free() == 1
    }

    /// What the receive buffer has may need a place: if one buffer is free, it becomes the receive buffer, so that no
    /// request of the host's own takes that place.
    pub(crate) fn secure_borrow(&mut self) {
        if self.secures_borrow() {
            let borrow = self.borrows.iter_mut().find(|borrow| borrow.lender == Lender::Thread);
            borrow.expect("a receiver borrows it").lender = Lender::Pool;
            self.flights.has_receive_buffer = false;
            self.receive_buffer = self.buffers.take().expect("one is free");
            self.is_receive_buffer_lent = false;
        }
    }
}
