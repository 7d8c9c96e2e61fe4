//! Cycles that begin or end with bytes that are kept, each event in one step: a partial frame is completed, or a
//! blocked decoder goes on. It is what the rounds of `reconcile` come to where nothing is scarce; where it does not
//! apply, nothing is changed and `None` is returned.
//!
//! The machine's part is done at once. That the receiver uses the receive buffer is written down only if the cycle is
//! left. `try_stop` is about no cycle: it is the same while memory is short.

use super::open_cycle::Phase as CommonPhase;
use super::{BufferSource, Pool};
use crate::connection::{Action, Actions};
use crate::memory::Address;
use crate::receiving::{After, Purpose, Rest, Stance};

/// The cycle that is open, if one is, of a receiver that keeps bytes, or may receive few: its bytes are at the front of
/// the receive buffer, too, or in a buffer of its own.
#[derive(Clone, Copy, Debug)]
pub(super) struct KeptCycle {
    pub(super) phase: Phase,
    /// It began while memory was short.
    pub(super) is_scarce: bool,
    /// Its bytes are in a buffer of its own.
    pub(super) is_whole: bool,
    pub(super) purpose: Purpose,
    pub(super) index: u32,
    /// What was kept.
    pub(super) kept_bytes: u32,
    /// What was received behind it, and is not decoded yet.
    pub(super) received_bytes: u32,
    /// The most that it may receive, of what there is room for.
    pub(super) max_bytes: u32,
    /// Where its content is.
    pub(super) at: Address,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Closed,
    /// The receiver is to receive behind what it kept.
    Receiving,
    /// It is to decode both.
    Decoding,
    /// It is to decode what it kept: its decoder is blocked no more.
    Unblocked,
}

impl KeptCycle {
    pub(super) const NONE: KeptCycle = KeptCycle {
        phase: Phase::Closed,
        is_scarce: false,
        is_whole: false,
        purpose: Purpose::Receive,
        index: 0,
        kept_bytes: 0,
        received_bytes: 0,
        max_bytes: 0,
        at: Address::NOWHERE,
    };

    /// One that begins where nothing is scarce, to receive at most this many bytes behind what is kept in a cell.
    pub(super) fn to_receive(index: u32, kept_bytes: u32, max_bytes: u32, at: Address) -> KeptCycle {
        KeptCycle { phase: Phase::Receiving, index, kept_bytes, max_bytes, at, ..KeptCycle::NONE }
    }

    /// The same, to decode what is kept.
    pub(super) fn to_decode(index: u32, kept_bytes: u32, at: Address) -> KeptCycle {
        let (phase, purpose) = (Phase::Unblocked, Purpose::Decode);
        KeptCycle { phase, purpose, index, kept_bytes, at, ..KeptCycle::NONE }
    }

    /// Whether one is open.
    #[inline(always)]
    pub(super) fn is_open(&self) -> bool {
        self.phase != Phase::Closed
    }

    /// Whether that of the receiver in this row is open.
    #[inline(always)]
    pub(super) fn is_of(&self, index: u32) -> bool {
        self.is_open() && self.index == index
    }

    /// Whether the receiver in this row is to receive.
    #[inline(always)]
    pub(super) fn is_to_receive(&self, index: u32) -> bool {
        self.phase == Phase::Receiving && self.index == index
    }

    /// How far the cycle of the receiver in this row is, for model checkers.
    #[cfg(feature = "model-check")]
    pub(super) fn key(&self, index: u32) -> u64 {
        let facts = self.phase as u64 | (self.purpose as u64) << 8 | u64::from(self.max_bytes) << 16;
        if self.is_of(index) { facts } else { 0 }
    }

    /// How its receiver stands.
    pub(super) fn stance(&self) -> Stance {
        if self.phase == Phase::Receiving { Stance::MayReceive } else { Stance::Unreported }
    }

    /// What is undecoded.
    pub(super) fn buffered_bytes(&self) -> u32 {
        self.kept_bytes + self.received_bytes
    }

    /// Where to receive (`is_receive`), or what is undecoded: where it begins, and how many bytes.
    pub(super) fn place(&self, is_receive: bool) -> (Address, u32) {
        match is_receive {
            true if self.phase == Phase::Receiving => (self.behind_kept(), self.max_bytes),
            true => (self.behind_kept(), 0),
            false => (self.at, self.buffered_bytes()),
        }
    }

    /// Where the receive goes to.
    #[inline(always)]
    pub(super) fn behind_kept(&self) -> Address {
        self.at.behind(self.kept_bytes)
    }
}

impl<S: BufferSource> Pool<S> {
    /// One that keeps bytes, of which its decoder needs more, is readable.
    pub(super) fn try_receive_behind_kept(&mut self, index: u32) -> Option<Actions> {
        let buffer_bytes = self.cycle.buffer_bytes;
        let kept = self.memory.kept_in_cell(index, Stance::Resting)?;
        let mut receiving = self.table.connection(index).clone();
        if !receiving.try_receive_behind_kept(buffer_bytes) || !self.makes_ready() {
            return None;
        }
        *self.table.connection_mut(index) = receiving;
        let (at, kept_bytes) = (self.memory.lend_with_kept(kept), kept.bytes());
        self.open_kept_cycle(KeptCycle::to_receive(index, kept_bytes, buffer_bytes - kept_bytes, at));
        self.memory.lend_receive_buffer(buffer_bytes);
        Some(Action::Recv.into())
    }

    /// It has received, and there is room left.
    pub(super) fn try_received_behind_kept(&mut self, index: u32, bytes: u32) -> Option<Actions> {
        let KeptCycle { phase, kept_bytes, max_bytes, .. } = self.kept_cycle;
        let is_to_receive = phase == Phase::Receiving && self.kept_cycle.index == index && self.has_common_kept_cycle();
        if !is_to_receive || bytes == 0 || bytes >= max_bytes {
            return None;
        }
        let connection = self.table.connection_mut(index);
        let pending = connection.receive_behind_kept(bytes);
        let needed_bytes = connection.needed_bytes();
        self.kept_cycle.phase = Phase::Decoding;
        self.kept_cycle.received_bytes = bytes;
        if needed_bytes > 0 {
            return self.try_report(index, 0, needed_bytes, 0);
        }
        self.memory.lend_receive_buffer(kept_bytes + bytes);
        Some(pending)
    }

    /// The decoder is blocked no more: what it left is in a cell.
    pub(super) fn try_decode_kept(&mut self, index: u32, reasons: u32) -> Option<Actions> {
        let kept = self.memory.kept_in_cell(index, Stance::Held)?;
        let mut decoding = self.table.connection(index).clone();
        let actions = decoding.try_decode_kept(reasons)?;
        if !self.makes_ready() {
            return None;
        }
        *self.table.connection_mut(index) = decoding;
        let at = self.memory.lend_with_kept(kept);
        self.open_kept_cycle(KeptCycle::to_decode(index, kept.bytes(), at));
        self.memory.lend_receive_buffer(kept.bytes());
        Some(actions)
    }

    /// The decoder has taken this number of bytes, and needs more if `needed_bytes` is not 0. Not where some are left
    /// that can be decoded.
    pub(super) fn try_report(
        &mut self,
        index: u32,
        consumed_bytes: u32,
        needed_bytes: u32,
        usable_bytes: u32,
    ) -> Option<Actions> {
        let (received_bytes, buffered_bytes) = self.decodable_bytes(index)?;
        let left_bytes = buffered_bytes.checked_sub(consumed_bytes)?;
        let (connection, buffer_bytes) = (self.table.connection_mut(index), self.cycle.buffer_bytes);
        let (pending, rest) = match (left_bytes, needed_bytes) {
            (0, 0) if self.kept_cycle.is_open() => (connection.end_kept_cycle(), Rest::Nothing),
            (1.., 1..) if needed_bytes <= buffer_bytes - left_bytes => {
                let pending = connection.keep_rest(buffer_bytes, left_bytes, needed_bytes);
                (pending, Rest::Short { needed_bytes, usable_bytes })
            }
            _ => return None,
        };
        Some(self.end_cycle_with(index, (received_bytes, consumed_bytes), rest, pending))
    }

    /// The decoder of a receiver that is to decode is blocked: what is there is kept.
    pub(super) fn try_keep_blocked(&mut self, index: u32, reasons: u32) -> Option<Actions> {
        let (received_bytes, buffered_bytes) = self.decodable_bytes(index).filter(|_| reasons != 0)?;
        let buffer_bytes = self.cycle.buffer_bytes;
        let actions = self.table.connection_mut(index).keep_blocked(buffer_bytes, buffered_bytes, reasons);
        Some(self.end_cycle_with(index, (received_bytes, 0), Rest::Held, actions))
    }

    /// Read interest that is not wanted is off, and nothing else is to be done for one that is blocked or waits.
    pub(super) fn try_stop(&mut self, index: u32) -> Option<Actions> {
        let connection = self.table.connection(index);
        let stays = match self.memory.stance(index) {
            Stance::Held => connection.blocked() != 0,
            Stance::Claiming => connection.is_waiting(),
            _ => false,
        };
        let pending = connection.pending();
        if !stays || connection.may_have_mark() || pending != Action::StopRecv.into() {
            return None;
        }
        let stopped = self.table.connection_mut(index).acknowledge(pending, pending);
        stopped.ok().map(|()| Actions::NONE)
    }

    /// What a receiver has received in the cycle that is open, and what it is to decode with what it kept; `None` if it
    /// is not to decode, or what it leaves is not kept at once.
    fn decodable_bytes(&self, index: u32) -> Option<(u32, u32)> {
        if self.kept_cycle.is_of(index) {
            let is_to_decode = self.kept_cycle.phase != Phase::Receiving && self.has_common_kept_cycle();
            return is_to_decode.then_some((self.kept_cycle.received_bytes, self.kept_cycle.buffered_bytes()));
        }
        let goes_on = self.cycle.plan.decoded.actions().has(Action::Recv);
        if !self.has_open_cycle(index) || goes_on || self.table.connection(index).is_counting() {
            return None;
        }
        let received_bytes = self.cycle.buffered_bytes();
        (received_bytes > 0).then_some((received_bytes, received_bytes))
    }

    /// Whether the cycle that is open is of bytes in the receive buffer, and began where nothing is scarce.
    fn has_common_kept_cycle(&self) -> bool {
        !self.kept_cycle.is_scarce && !self.kept_cycle.is_whole
    }

    /// The cycle that is open ends with this report, which the machine has; these actions are pending then, unless the
    /// receiver is shed.
    fn end_cycle_with(
        &mut self,
        index: u32,
        (received_bytes, consumed_bytes): (u32, u32),
        rest: Rest,
        pending: Actions,
    ) -> Actions {
        self.cycle.progress.phase = CommonPhase::Closed;
        self.kept_cycle = KeptCycle::NONE;
        self.counts.received_bytes += u64::from(received_bytes);
        self.counts.consumed_bytes += u64::from(consumed_bytes);
        let taken = self.memory.buffers().taken();
        let after = self.memory.report_unlisted(index, received_bytes, consumed_bytes, rest);
        if after == After::Ended {
            self.reopen(taken);
            return pending;
        }
        self.follow(index, after);
        self.reconcile(index)
    }

    /// A cycle has ended that nothing was scarce for, when this number of buffers was taken: the next one begins
    /// without another look, if nothing is scarce now.
    fn reopen(&mut self, taken: u32) {
        let is_plenty = self.memory.buffers().taken() == taken || self.memory.would_lend_all();
        if is_plenty && !self.memory.has_caps() {
            self.cycle.buffer = self.memory.receive_buffer_address();
            self.cycle.progress.phase = CommonPhase::Ready;
        }
    }

    /// Whether a cycle may begin, of a receiver that asks for a buffer: as before any borrow, what that may take is
    /// made ready.
    fn makes_ready(&mut self) -> bool {
        if self.cycle.progress.phase == CommonPhase::Ready && !self.memory.has_caps() {
            return true;
        }
        if self.has_any_cycle() {
            return false;
        }
        self.memory.make_ready();
        if !self.is_plentiful() {
            return false;
        }
        self.cycle.buffer = self.memory.receive_buffer_address();
        self.cycle.plan.set_may_submit(self.memory.may_submit_more());
        true
    }

    #[inline]
    pub(super) fn open_kept_cycle(&mut self, cycle: KeptCycle) {
        self.cycle.progress.phase = CommonPhase::Closed;
        self.kept_cycle = cycle;
    }

    /// Writes down what the cycle stands for.
    pub(super) fn leave_kept_cycle(&mut self) {
        let cycle = core::mem::replace(&mut self.kept_cycle, KeptCycle::NONE);
        self.counts.received_bytes += u64::from(cycle.received_bytes);
        self.memory.list_with_kept(cycle.index, cycle.purpose, cycle.max_bytes, cycle.received_bytes);
    }
}

#[cfg(test)]
mod tests;
