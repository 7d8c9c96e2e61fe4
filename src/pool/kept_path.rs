//! The steps of cycles with kept bytes, where these have a place in a cell and no tenant counts them: next after the
//! fast path. Where a step does not apply, nothing is changed and `None` is returned; `kept_cycle.rs` has the others.

use super::kept_cycle::{KeptCycle, Phase};
use super::open_cycle::{OpenCycle, Phase as CommonPhase, RawStep};
use super::table::Table;
use super::{BufferSource, Counts, Pool, ReceiverId};
use crate::connection::{Action, Actions, Connection, Event, Extent};
use crate::receiving::{InCells, Rest};
use core::ptr::NonNull;

/// What such a step needs of a pool.
#[doc(hidden)]
pub struct KeptPath<'a, S> {
    cycle: &'a mut OpenCycle,
    kept_cycle: &'a mut KeptCycle,
    counts: &'a mut Counts,
    table: &'a mut Table,
    memory: InCells<'a, S>,
}

impl<S: BufferSource> Pool<S> {
    /// For C, which hands out addresses.
    #[doc(hidden)]
    #[inline(always)]
    pub fn kept_path(&mut self) -> KeptPath<'_, S> {
        KeptPath {
            cycle: &mut self.cycle,
            kept_cycle: &mut self.kept_cycle,
            counts: &mut self.counts,
            table: &mut self.table,
            memory: self.memory.in_cells(),
        }
    }

    /// Whether an event may be a step of a cycle with kept bytes, as far as a short look shows.
    #[inline(always)]
    pub(super) fn is_about_kept(&mut self, id: ReceiverId, event: Event) -> bool {
        match event {
            Event::Received { .. } | Event::Consumed { .. } => self.kept_cycle.is_open(),
            Event::NeedMore { .. } | Event::Block { .. } => self.has_any_cycle(),
            Event::Readable | Event::Unblock { .. } => self.fast_path().keeps(id),
            Event::Done(actions) => actions.bits() == Action::StopRecv as u32 && self.fast_path().keeps(id),
            _ => false,
        }
    }
}

impl<S: BufferSource> KeptPath<'_, S> {
    /// Any event.
    pub(super) fn step(&mut self, id: ReceiverId, event: Event) -> Option<RawStep> {
        match event {
            Event::Readable => self.begin(id),
            Event::Received { bytes } => self.receive(id, bytes),
            Event::Consumed { bytes } => self.pass(id, bytes),
            Event::NeedMore { bytes } => self.keep(id, 0, bytes, 0),
            Event::Block { reasons } => self.block(id, reasons),
            Event::Unblock { reasons } => self.unblock(id, reasons),
            Event::Done(actions) if actions.bits() == Action::StopRecv as u32 => self.stop(id),
            _ => None,
        }
    }

    /// One that keeps bytes, of which its decoder needs more, is readable.
    #[inline(always)]
    pub fn begin(&mut self, id: ReceiverId) -> Option<RawStep> {
        if self.cycle.progress.phase != CommonPhase::Ready || !self.memory.is_common() {
            return None;
        }
        let buffer_bytes = self.cycle.buffer_bytes;
        let (index, connection) = self.table.find_fast(id)?;
        let kept = self.memory.kept(index, false)?;
        if !connection.try_receive_behind_kept(buffer_bytes) {
            return None;
        }
        let kept_bytes = self.memory.lend(kept);
        let cycle = KeptCycle { phase: Phase::Receiving, index, kept_bytes, received_bytes: 0, buffer_bytes };
        self.open(cycle);
        Some(step(self.behind(kept_bytes), buffer_bytes - kept_bytes, Action::Recv.into()))
    }

    /// It has received, and there is room left.
    #[inline(always)]
    pub fn receive(&mut self, id: ReceiverId, bytes: u32) -> Option<RawStep> {
        let KeptCycle { phase, kept_bytes, .. } = *self.kept_cycle;
        let is_known = phase == Phase::Receiving && self.memory.is_common();
        if !is_known || bytes == 0 || bytes >= self.cycle.buffer_bytes - kept_bytes {
            return None;
        }
        let (index, connection) = self.table.find_fast(id)?;
        if self.kept_cycle.index != index {
            return None;
        }
        let left_bytes = kept_bytes + bytes;
        let needed_bytes = connection.needed_bytes().saturating_sub(bytes);
        if needed_bytes == 0 {
            let pending = connection.receive_behind_kept(bytes);
            (self.kept_cycle.phase, self.kept_cycle.received_bytes) = (Phase::Decoding, bytes);
            return Some(step(Some(self.cycle.buffer.get()), left_bytes, pending));
        }
        let rest = Rest::Short { needed_bytes, usable_bytes: 0 };
        let at = self.memory.try_keep(index, (bytes, 0), left_bytes, rest)?;
        connection.receive_behind_kept(bytes);
        let pending = connection.keep_rest(self.cycle.buffer_bytes, left_bytes, needed_bytes);
        self.end((bytes, 0));
        Some(step(Some(at), left_bytes, pending))
    }

    /// It has received, there is room left, and all of that and of what it kept is decoded.
    #[inline(always)]
    pub fn receive_and_pass(&mut self, id: ReceiverId, bytes: u32) -> Option<RawStep> {
        let KeptCycle { phase, index, kept_bytes, .. } = *self.kept_cycle;
        let (row, connection) = self.table.find_fast(id)?;
        let is_to_receive = phase == Phase::Receiving && row == index;
        if !is_to_receive || bytes == 0 || bytes >= self.cycle.buffer_bytes - kept_bytes {
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

    /// The decoder has taken this number of bytes, and needs more.
    #[inline(always)]
    pub fn keep(
        &mut self,
        id: ReceiverId,
        consumed_bytes: u32,
        needed_bytes: u32,
        usable_bytes: u32,
    ) -> Option<RawStep> {
        let Decodable { index, connection, received_bytes, buffered_bytes } =
            decodable(self.cycle, self.kept_cycle, self.table, id)?;
        let buffer_bytes = self.cycle.buffer_bytes;
        let left_bytes = buffered_bytes.checked_sub(consumed_bytes).filter(|&left_bytes| left_bytes > 0)?;
        if needed_bytes == 0 || needed_bytes > buffer_bytes - left_bytes {
            return None;
        }
        let rest = Rest::Short { needed_bytes, usable_bytes };
        let at = self.memory.try_keep(index, (received_bytes, consumed_bytes), left_bytes, rest)?;
        let pending = connection.keep_rest(buffer_bytes, left_bytes, needed_bytes);
        self.end((received_bytes, consumed_bytes));
        Some(step(Some(at), left_bytes, pending))
    }

    /// The decoder of a receiver that is to decode is blocked: what is there is kept.
    #[inline(always)]
    pub fn block(&mut self, id: ReceiverId, reasons: u32) -> Option<RawStep> {
        let Decodable { index, connection, received_bytes, buffered_bytes } =
            decodable(self.cycle, self.kept_cycle, self.table, id).filter(|_| reasons != 0)?;
        let at = self.memory.try_keep(index, (received_bytes, 0), buffered_bytes, Rest::Held)?;
        let pending = connection.keep_blocked(self.cycle.buffer_bytes, buffered_bytes, reasons);
        self.end((received_bytes, 0));
        Some(step(Some(at), buffered_bytes, pending))
    }

    /// The decoder is blocked no more: what it left is in a cell.
    #[inline(always)]
    pub fn unblock(&mut self, id: ReceiverId, reasons: u32) -> Option<RawStep> {
        if self.cycle.progress.phase != CommonPhase::Ready || !self.memory.is_common() {
            return None;
        }
        let buffer_bytes = self.cycle.buffer_bytes;
        let (index, connection) = self.table.find_fast(id)?;
        let kept = self.memory.kept(index, true)?;
        let pending = connection.try_decode_kept(reasons)?;
        let kept_bytes = self.memory.lend(kept);
        self.open(KeptCycle { phase: Phase::Unblocked, index, kept_bytes, received_bytes: 0, buffer_bytes });
        Some(step(Some(self.cycle.buffer.get()), kept_bytes, pending))
    }

    /// Read interest of a blocked receiver is off, as was wanted.
    #[inline(always)]
    pub fn stop(&mut self, id: ReceiverId) -> Option<RawStep> {
        if !self.memory.is_common() {
            return None;
        }
        let (index, connection) = self.table.find_fast(id)?;
        let kept = self.memory.kept(index, true)?;
        let at = self.memory.address(kept)?;
        connection.try_stop_blocked().then(|| step(Some(at), kept.bytes(), Actions::NONE))
    }

    #[inline(always)]
    fn open(&mut self, cycle: KeptCycle) {
        self.cycle.progress.phase = CommonPhase::Closed;
        *self.kept_cycle = cycle;
    }

    /// The cycle that is open has ended, in which this was received and consumed. The next one may begin, if nothing is
    /// scarce now.
    #[inline(always)]
    fn end(&mut self, (received_bytes, consumed_bytes): (u32, u32)) {
        (self.kept_cycle.phase, self.kept_cycle.received_bytes) = (Phase::Closed, 0);
        let is_plentiful = !self.memory.has_moved_buffers() || self.memory.is_plentiful();
        self.cycle.progress.phase = if is_plentiful { CommonPhase::Ready } else { CommonPhase::Closed };
        self.counts.received_bytes += u64::from(received_bytes);
        self.counts.consumed_bytes += u64::from(consumed_bytes);
    }

    /// That many bytes behind the front of the receive buffer.
    #[inline(always)]
    fn behind(&self, bytes: u32) -> Option<NonNull<u8>> {
        NonNull::new(self.cycle.buffer.get().as_ptr().wrapping_add(bytes as usize))
    }
}

/// A receiver that is to decode, and what it does not decode is kept at once.
struct Decodable<'a> {
    index: u32,
    connection: &'a mut Connection,
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
        return is_to_decode.then_some(Decodable { index, connection, received_bytes, buffered_bytes });
    }
    let goes_on = cycle.plan.decoded.actions().has(Action::Recv);
    if cycle.progress.phase != CommonPhase::Decoding || cycle.id != id || goes_on || connection.is_counting() {
        return None;
    }
    let received_bytes = cycle.received_bytes;
    Some(Decodable { index, connection, received_bytes, buffered_bytes: received_bytes })
}

#[inline(always)]
fn step(data: Option<NonNull<u8>>, bytes: u32, actions: Actions) -> RawStep {
    RawStep { data, extent: Extent::new(bytes, actions) }
}
