//! The steps of cycles with kept bytes where no tenant counts these, and while memory is short, of cycles with a
//! limited receive or a grant, and of claims: next after the fast path. Where a step does not apply, nothing is changed
//! and `None` is returned; `kept_cycle.rs` and `scarce.rs` have others.

use super::bits::Bits;
use super::kept_cycle::{KeptCycle, Phase};
use super::open_cycle::{OpenCycle, Phase as CommonPhase, RawStep};
use super::table::Table;
use super::{BufferSource, Counts, Pool, ReceiverId};
use crate::connection::{Action, Actions, Connection, Event, Extent};
use crate::memory::Address;
use crate::receiving::{Grantable, InCells, Limited, Purpose, Rest, Stance};
use core::ptr::NonNull;

/// What such a step needs of a pool. Each path has the same steps: those of the narrow one apply where nothing is
/// scarce and what is kept is in a cell; those of the wide one anywhere.
#[doc(hidden)]
pub struct KeptPath<'a, S, const IS_WIDE: bool> {
    cycle: &'a mut OpenCycle,
    kept_cycle: &'a mut KeptCycle,
    counts: &'a mut Counts,
    table: &'a mut Table,
    memory: InCells<'a, S>,
    scheduled: &'a mut Bits,
}

/// What a step of `poll` brings: the receiver, its token, and what it is to do.
#[doc(hidden)]
pub struct GrantStep {
    pub id: ReceiverId,
    pub token: u64,
    pub step: RawStep,
}

impl<S: BufferSource> Pool<S> {
    /// For C, which hands out addresses.
    #[doc(hidden)]
    #[inline(always)]
    pub fn kept_path<const IS_WIDE: bool>(&mut self) -> KeptPath<'_, S, IS_WIDE> {
        KeptPath {
            cycle: &mut self.cycle,
            kept_cycle: &mut self.kept_cycle,
            counts: &mut self.counts,
            table: &mut self.table,
            memory: self.memory.in_cells(),
            scheduled: &mut self.scheduled,
        }
    }

    /// Whether an event may be a step of a cycle with kept bytes, as far as a short look shows.
    #[inline(always)]
    pub(super) fn is_about_kept(&mut self, id: ReceiverId, event: Event) -> bool {
        match event {
            Event::Received { .. } | Event::Consumed { .. } => self.kept_cycle.is_open(),
            Event::NeedMore { .. } | Event::Block { .. } => self.has_any_cycle(),
            Event::Readable => true,
            Event::Unblock { .. } => self.fast_path().keeps(id),
            Event::Done(actions) => actions.bits() == Action::StopRecv as u32 && self.fast_path().keeps(id),
            _ => false,
        }
    }
}

impl<S: BufferSource, const IS_WIDE: bool> KeptPath<'_, S, IS_WIDE> {
    /// Any event.
    pub(super) fn step(&mut self, id: ReceiverId, event: Event) -> Option<RawStep> {
        match event {
            Event::Readable => self.begin(id),
            Event::Received { bytes } => self.receive(id, bytes).or_else(|| self.receive_short(id, bytes)),
            Event::Consumed { bytes } => self.pass(id, bytes),
            Event::NeedMore { bytes } => self.keep(id, 0, bytes, 0),
            Event::Block { reasons } => self.block(id, reasons),
            Event::Unblock { reasons } => self.unblock(id, reasons),
            Event::Done(actions) if actions.bits() == Action::StopRecv as u32 => {
                let (index, _) = self.table.find_fast(id)?;
                self.stop(index)
            }
            _ => None,
        }
    }

    /// One that keeps bytes, of which its decoder needs more, is readable; or any, while memory is short.
    #[inline(always)]
    pub fn begin(&mut self, id: ReceiverId) -> Option<RawStep> {
        if self.cycle.progress.phase != CommonPhase::Ready {
            return if IS_WIDE { self.begin_limited(id) } else { None };
        }
        if !self.memory.is_common() {
            return None;
        }
        let buffer_bytes = self.cycle.buffer_bytes;
        let (index, connection) = self.table.find_fast(id)?;
        let kept = self.memory.kept::<IS_WIDE>(index, Stance::Resting)?;
        if !connection.try_receive_behind_kept(buffer_bytes) {
            return None;
        }
        let at = Address::new(self.memory.lend(kept, true));
        let (kept_bytes, is_whole) = (kept.bytes(), kept.is_whole());
        self.open(KeptCycle { is_whole, ..KeptCycle::to_receive(index, kept_bytes, buffer_bytes - kept_bytes, at) });
        Some(self.to_receive())
    }

    /// It may receive few bytes, or claims.
    #[inline(always)]
    fn begin_limited(&mut self, id: ReceiverId) -> Option<RawStep> {
        let free = self.memory.buffers().free();
        if self.has_cycle() || self.memory.is_plenty(free) {
            return None;
        }
        let buffer_bytes = self.cycle.buffer_bytes;
        let (index, connection) = self.table.find_fast(id)?;
        if !connection.asks_if_readable(buffer_bytes) {
            return None;
        }
        let limited = self.memory.begin_limited(index, free)?;
        self.scheduled.clear(index);
        let (at, kept_bytes, is_whole, max_bytes) = match limited {
            Limited::First(max_bytes) => (self.memory.receive_buffer_address(), 0, false, max_bytes),
            Limited::Behind(kept, max_bytes) => {
                (self.memory.lend(kept, true), kept.bytes(), kept.is_whole(), max_bytes)
            }
            Limited::Claims(kept) => {
                let pending = connection.wait_if_readable();
                self.memory.claim(index, kept);
                return Some(step(self.memory.address(kept), kept.bytes(), pending));
            }
        };
        connection.receive_if_readable(connection.capacity_to_receive(buffer_bytes, max_bytes));
        let cycle = KeptCycle::to_receive(index, kept_bytes, max_bytes, Address::new(at));
        self.open(KeptCycle { is_whole, is_scarce: true, ..cycle });
        Some(self.to_receive())
    }

    /// It has received, there is room left, and its decoder needs no more.
    #[inline(always)]
    pub fn receive(&mut self, id: ReceiverId, bytes: u32) -> Option<RawStep> {
        let (index, connection) = self.table.find_fast(id)?;
        if !self.kept_cycle.is_to_receive(index) || !self.memory.is_common() {
            return None;
        }
        if !connection.leaves_room(bytes, self.kept_cycle.max_bytes) || connection.needed_bytes() > bytes {
            return None;
        }
        let pending = connection.receive_behind_kept(bytes);
        (self.kept_cycle.phase, self.kept_cycle.received_bytes) = (Phase::Decoding, bytes);
        Some(step(Some(self.kept_cycle.at.get()), self.kept_cycle.kept_bytes + bytes, pending))
    }

    /// It has received, there is room left, and its decoder needs more: all of it is kept.
    #[inline(always)]
    pub fn receive_short(&mut self, id: ReceiverId, bytes: u32) -> Option<RawStep> {
        let KeptCycle { purpose, kept_bytes, max_bytes, .. } = *self.kept_cycle;
        let (index, connection) = self.table.find_fast(id)?;
        if !self.kept_cycle.is_to_receive(index)
            || !connection.leaves_room(bytes, max_bytes)
            || connection.needed_bytes() <= bytes
        {
            return None;
        }
        let (left_bytes, needed_bytes) = (kept_bytes + bytes, connection.needed_bytes() - bytes);
        let rest = Rest::Short { needed_bytes, usable_bytes: 0 };
        let at = self.memory.try_keep::<IS_WIDE>(index, purpose, (bytes, 0), left_bytes, rest)?;
        connection.receive_behind_kept(bytes);
        let pending = connection.keep_rest(self.cycle.buffer_bytes, left_bytes, needed_bytes);
        self.end((bytes, 0));
        Some(step(Some(at), left_bytes, pending))
    }

    /// It has received, there is room left, and all of that and of what it kept is decoded.
    #[inline(always)]
    pub fn receive_and_pass(&mut self, id: ReceiverId, bytes: u32) -> Option<RawStep> {
        let KeptCycle { phase, index, kept_bytes, max_bytes, .. } = *self.kept_cycle;
        let (row, connection) = self.table.find_fast(id)?;
        let is_to_receive = phase == Phase::Receiving && row == index;
        if !is_to_receive || !connection.leaves_room(bytes, max_bytes) {
            return None;
        }
        if !self.memory.try_end(index, kept_bytes + bytes) {
            return None;
        }
        connection.receive_behind_kept(bytes);
        let pending = connection.end_kept_cycle();
        self.end((bytes, kept_bytes + bytes));
        Some(OpenCycle::step_at_rest(pending))
    }

    /// All is decoded of a receiver that kept bytes.
    #[inline(always)]
    pub fn pass(&mut self, id: ReceiverId, bytes: u32) -> Option<RawStep> {
        let (index, connection) = self.table.find_fast(id)?;
        let received_bytes = self.kept_cycle.received_bytes;
        let is_to_decode = self.kept_cycle.is_of(index) && self.kept_cycle.phase != Phase::Receiving;
        if !is_to_decode || bytes != self.kept_cycle.buffered_bytes() || !self.memory.try_end(index, bytes) {
            return None;
        }
        let pending = connection.end_kept_cycle();
        self.end((received_bytes, bytes));
        Some(OpenCycle::step_at_rest(pending))
    }

    /// What a receiver is to do that is to decode what it keeps, and what it received.
    #[cfg(feature = "std")]
    #[inline(always)]
    pub fn pending(&mut self, id: ReceiverId) -> Option<RawStep> {
        let (index, connection) = self.table.find_fast(id)?;
        let KeptCycle { phase, at, .. } = *self.kept_cycle;
        if !self.kept_cycle.is_of(index) || phase == Phase::Receiving || !self.memory.is_common() {
            return None;
        }
        Some(step(Some(at.get()), self.kept_cycle.buffered_bytes(), connection.pending_if_decoding()?))
    }

    /// The decoder has taken this number of bytes, and needs more.
    #[inline(always)]
    pub fn keep(
        &mut self,
        id: ReceiverId,
        consumed_bytes: u32,
        needed_bytes: u32,
        usable_bytes: u32,
    ) -> Option<RawStep> {
        let Decodable { index, connection, purpose, received_bytes, buffered_bytes } =
            decodable(self.cycle, self.kept_cycle, self.table, id)?;
        let buffer_bytes = self.cycle.buffer_bytes;
        let left_bytes = buffered_bytes.checked_sub(consumed_bytes).filter(|&left_bytes| left_bytes > 0)?;
        if needed_bytes == 0 || needed_bytes > buffer_bytes - left_bytes {
            return None;
        }
        let rest = Rest::Short { needed_bytes, usable_bytes };
        let at = self.memory.try_keep::<IS_WIDE>(index, purpose, (received_bytes, consumed_bytes), left_bytes, rest)?;
        let pending = connection.keep_rest(buffer_bytes, left_bytes, needed_bytes);
        self.end((received_bytes, consumed_bytes));
        Some(step(Some(at), left_bytes, pending))
    }

    /// The decoder of a receiver that is to decode is blocked: what is there is kept.
    #[inline(always)]
    pub fn block(&mut self, id: ReceiverId, reasons: u32) -> Option<RawStep> {
        let Decodable { index, connection, purpose, received_bytes, buffered_bytes } =
            decodable(self.cycle, self.kept_cycle, self.table, id).filter(|_| reasons != 0)?;
        if buffered_bytes >= self.cycle.buffer_bytes {
            return None;
        }
        let at = self.memory.try_keep::<IS_WIDE>(index, purpose, (received_bytes, 0), buffered_bytes, Rest::Held)?;
        let pending = connection.keep_blocked(self.cycle.buffer_bytes, buffered_bytes, reasons);
        self.end((received_bytes, 0));
        Some(step(Some(at), buffered_bytes, pending))
    }

    /// The decoder is blocked no more.
    #[inline(always)]
    pub fn unblock(&mut self, id: ReceiverId, reasons: u32) -> Option<RawStep> {
        let is_scarce = self.cycle.progress.phase != CommonPhase::Ready;
        let may_lend = !is_scarce || (IS_WIDE && !self.has_cycle() && !self.memory.is_receive_buffer_lent());
        if !may_lend || !self.memory.is_common() {
            return None;
        }
        let (index, connection) = self.table.find_fast(id)?;
        let kept = self.memory.kept::<IS_WIDE>(index, Stance::Held)?;
        let pending = connection.try_decode_kept(reasons)?;
        if is_scarce {
            self.memory.make_ready();
        }
        let (at, is_whole) = (self.memory.lend(kept, false), kept.is_whole());
        let cycle = KeptCycle::to_decode(index, kept.bytes(), Address::new(at));
        self.open(KeptCycle { is_whole, is_scarce, ..cycle });
        Some(step(Some(at), kept.bytes(), pending))
    }

    /// Read interest of the receiver in this row, which is blocked or waits, is off, as was wanted.
    #[inline(always)]
    pub fn stop(&mut self, index: u32) -> Option<RawStep> {
        if !self.memory.is_common() {
            return None;
        }
        let connection = self.table.row_mut(index)?;
        let kept = match connection.is_waiting() {
            true => self.memory.kept::<true>(index, Stance::Claiming).filter(|_| connection.try_stop_waiting())?,
            false => self.memory.kept::<true>(index, Stance::Held).filter(|_| connection.try_stop_blocked())?,
        };
        Some(step(self.memory.address(kept), kept.bytes(), Actions::NONE))
    }

    /// Read interest is armed, of a receiver that is to receive, or holds nothing.
    #[inline(always)]
    pub fn arm(&mut self, id: ReceiverId) -> Option<RawStep> {
        let (index, connection) = self.table.find_fast(id)?;
        if self.kept_cycle.is_of(index) {
            return connection.try_arm_to_receive().map(|_| self.to_receive());
        }
        if self.cycle.is_open() || connection.is_counting() {
            return None;
        }
        Some(OpenCycle::step_at_rest(connection.try_fast_arm()?))
    }

    /// The claim that is first is granted, if nothing else is to be polled before.
    #[inline(always)]
    pub fn poll(&mut self) -> Option<GrantStep> {
        if self.has_cycle() || !self.memory.buffers().nothing_to_poll() {
            return None;
        }
        let grantable = self.memory.next_grant()?;
        let Grantable { receiver: index, max_bytes, .. } = grantable;
        let connection = self.table.row_mut(index)?;
        let capacity = connection.capacity_to_receive(self.cycle.buffer_bytes, max_bytes);
        let pending = connection.try_end_wait(capacity)?;
        let (kept, at) = self.memory.grant(grantable);
        let cycle = KeptCycle::to_receive(index, kept.bytes(), max_bytes, Address::new(at));
        let (is_whole, is_scarce, purpose) = (kept.is_whole(), true, Purpose::Grant);
        self.open(KeptCycle { is_whole, is_scarce, purpose, ..cycle });
        let RawStep { data, .. } = self.to_receive();
        Some(GrantStep {
            id: self.table.id(index),
            token: self.table.token(index),
            step: step(data, max_bytes, pending),
        })
    }

    #[inline(always)]
    fn has_cycle(&self) -> bool {
        self.cycle.is_open() || self.kept_cycle.is_open()
    }

    #[inline(always)]
    fn open(&mut self, cycle: KeptCycle) {
        self.cycle.progress.phase = CommonPhase::Closed;
        *self.kept_cycle = cycle;
    }

    /// What the receiver is to do whose cycle has begun.
    #[inline(always)]
    fn to_receive(&self) -> RawStep {
        let KeptCycle { at, kept_bytes, max_bytes, .. } = *self.kept_cycle;
        let at = NonNull::new(at.get().as_ptr().wrapping_add(kept_bytes as usize));
        step(at, max_bytes, Action::Recv.into())
    }

    /// The cycle that is open has ended, in which this was received and consumed. The next one may begin, if nothing is
    /// scarce now.
    #[inline(always)]
    fn end(&mut self, (received_bytes, consumed_bytes): (u32, u32)) {
        let was_scarce = core::mem::take(&mut self.kept_cycle.is_scarce);
        (self.kept_cycle.phase, self.kept_cycle.received_bytes) = (Phase::Closed, 0);
        let has_moved_buffers = self.memory.has_moved_buffers();
        let is_plentiful = !was_scarce && (!has_moved_buffers || self.memory.has_plenty());
        if IS_WIDE && is_plentiful && has_moved_buffers {
            self.cycle.buffer = Address::new(self.memory.receive_buffer_address());
        }
        self.cycle.progress.phase = if is_plentiful { CommonPhase::Ready } else { CommonPhase::Closed };
        self.counts.received_bytes += u64::from(received_bytes);
        self.counts.consumed_bytes += u64::from(consumed_bytes);
    }
}

/// A receiver that is to decode, and what it does not decode is kept at once.
struct Decodable<'a> {
    index: u32,
    connection: &'a mut Connection,
    purpose: Purpose,
    /// What it received in the cycle that is open.
    received_bytes: u32,
    /// With what it kept.
    buffered_bytes: u32,
}

#[inline(always)]
fn decodable<'a>(
    cycle: &OpenCycle,
    kept_cycle: &KeptCycle,
    table: &'a mut Table,
    id: ReceiverId,
) -> Option<Decodable<'a>> {
    let (index, connection) = table.find_fast(id)?;
    if kept_cycle.is_of(index) {
        let (received_bytes, buffered_bytes) = (kept_cycle.received_bytes, kept_cycle.buffered_bytes());
        let is_to_decode = kept_cycle.phase != Phase::Receiving;
        let purpose = kept_cycle.purpose;
        return is_to_decode.then_some(Decodable { index, connection, purpose, received_bytes, buffered_bytes });
    }
    let goes_on = cycle.plan.decoded.actions().has(Action::Recv);
    if cycle.progress.phase != CommonPhase::Decoding || cycle.id != id || goes_on || connection.is_counting() {
        return None;
    }
    let (received_bytes, purpose) = (cycle.received_bytes, Purpose::Receive);
    Some(Decodable { index, connection, purpose, received_bytes, buffered_bytes: received_bytes })
}

#[inline(always)]
fn step(data: Option<NonNull<u8>>, bytes: u32, actions: Actions) -> RawStep {
    RawStep { data, extent: Extent::new(bytes, actions) }
}
