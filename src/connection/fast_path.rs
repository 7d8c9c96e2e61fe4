//! The fast path through the tables for a *common* connection, which is in none of the rare states. A common
//! connection waits for nothing, is not asked to park, and is not to be shed. It is neither ended, blocked nor full. It
//! may hold a buffer or a slot, be ready, and need bytes. An *eligible* connection is common, has room for the bytes
//! that it needs, and has not used up its budget.
//!
//! Nearly every receive begins and ends so. What the tables of events and actions come to for it is written out here;
//! the tests compare the two for all common connections.

use super::{Action, Actions, Connection, Mode, flag};

/// One of these is set in the modes whose read interest is off after its first report.
const SINGLE_REPORT: u32 =
    (Mode::OneShot as u32 & Mode::Optimistic as u32 | Mode::Completion as u32) << flag::MODE_SHIFT;
/// Set in the modes that go on receiving until there is nothing, under a layer that reads ahead, and if the peer
/// closed.
const ASKS_AGAIN: u32 =
    (Mode::Edge as u32 | Mode::Completion as u32) << flag::MODE_SHIFT | flag::READS_AHEAD | flag::PEER_CLOSED;

const _: () = assert!(ASKS_AGAIN & (Mode::Optimistic as u32) << flag::MODE_SHIFT != 0);
const _: () = assert!(ASKS_AGAIN & (Mode::OneShot as u32) << flag::MODE_SHIFT == 0);
const _: () = assert!(SINGLE_REPORT >> flag::MODE_SHIFT & (Mode::Level as u32 | Mode::Edge as u32) == 0);

impl Connection {
    /// Whether read interest is off after its first report.
    #[inline(always)]
    pub(super) const fn is_single_report(&self) -> bool {
        self.has(SINGLE_REPORT)
    }

    /// Whether only `WouldBlock` ends readiness.
    #[inline(always)]
    pub(super) const fn asks_again(&self) -> bool {
        self.has(ASKS_AGAIN)
    }

    /// Whether it is eligible.
    #[inline(always)]
    pub(super) fn is_fast_path_eligible(&self) -> bool {
        self.has_only_common_flags() && (self.needed_bytes == 0 || !self.is_misfit()) && self.is_within_budget()
    }

    /// Whether it is common.
    #[inline(always)]
    fn has_only_common_flags(&self) -> bool {
        self.flags & (flag::ATTACHED | !flag::COMMON_FLAGS) == flag::ATTACHED && self.blocked == 0
    }

    /// The table of actions, for an eligible connection.
    #[inline(always)]
    pub(super) fn pending_if_eligible(&self) -> Actions {
        let (holds_buffer, empty) = (self.has(flag::BUFFER), self.buffered_bytes == 0);
        let action = if !empty && self.needed_bytes == 0 {
            Action::Decode.into()
        } else if self.has(flag::READY) {
            match (holds_buffer, empty && self.has(flag::SLOT)) {
                (true, _) => Action::Recv.into(),
                (false, true) => Action::RequestBuffer | Action::ReleaseBuffer,
                (false, false) => Action::RequestBuffer.into(),
            }
        } else if empty && self.has(flag::HELD) {
            Action::ReleaseBuffer.into()
        } else if !empty && holds_buffer && self.buffered_bytes <= u32::from(self.park_bytes) {
            Action::Park.into()
        } else {
            Actions::NONE
        };
        self.with_interest(action)
    }

    /// With what the read interest of a common connection needs.
    #[inline(always)]
    fn with_interest(&self, actions: Actions) -> Actions {
        if self.flags & (flag::ARMED | SINGLE_REPORT) == flag::ARMED {
            return actions; // It is on and stays on.
        }
        let is_wanted = !self.is_single_report() || !self.has(flag::READY);
        match (is_wanted, self.has(flag::ARMED)) {
            (true, false) => actions | Action::WantRecv,
            (false, true) => actions | Action::StopRecv,
            _ => actions,
        }
    }

    /// A new loop iteration begins with something to receive.
    #[inline(always)]
    fn set_ready(&mut self) {
        self.set(flag::READY);
        if self.is_single_report() {
            self.clear(flag::ARMED);
        }
        self.reads = 0;
    }

    /// `Readable` for a connection that is eligible in a new loop iteration; for another, `None` and no change.
    #[inline(always)]
    pub(super) fn try_fast_become_ready(&mut self) -> Option<Actions> {
        if self.flags & !flag::SETTINGS == flag::ATTACHED | flag::ARMED && self.blocked == 0 {
            // It holds nothing, and its read interest is as is wanted.
            self.set_ready();
            return Some(Action::RequestBuffer.into());
        }
        if !self.has_only_common_flags() || (self.needed_bytes != 0 && self.is_misfit()) {
            return None;
        }
        self.set_ready();
        Some(self.pending_if_eligible())
    }

    /// `Sync` of a common connection, with a host that holds nothing and that nothing stops; `None`, and nothing
    /// is changed, for another.
    #[doc(hidden)]
    #[inline(always)]
    pub fn try_fast_sync(&mut self, armed: bool) -> Option<Actions> {
        if !self.has_only_common_flags() {
            return None;
        }
        (self.buffered_bytes, self.needed_bytes, self.capacity) = (0, 0, 0);
        if armed && self.is_single_report() {
            // It reports what there is to receive.
            self.flags = self.flags & (flag::ATTACHED | flag::SETTINGS) | flag::ARMED;
            return Some(Actions::NONE);
        }
        self.clear(flag::HELD | flag::ARMED);
        if armed {
            self.set(flag::ARMED);
        }
        if !self.has(flag::READY) {
            Some(self.with_interest(Actions::NONE))
        } else if self.is_within_budget() {
            Some(self.with_interest(Action::RequestBuffer.into()))
        } else {
            Some(self.pending_in_any_state())
        }
    }

    /// `Sync` of a common connection without a slot, with content in a buffer that has room left, and nothing that
    /// stops it; `None`, and nothing is changed, for another.
    #[doc(hidden)]
    #[inline(always)]
    pub fn try_fast_sync_content(
        &mut self,
        buffered_bytes: u32,
        capacity: u32,
        needs_more: bool,
        armed: bool,
    ) -> Option<Actions> {
        let reads = self.reads.saturating_add(u8::from(buffered_bytes > self.buffered_bytes));
        let has_room = buffered_bytes > 0 && buffered_bytes < capacity;
        let is_common = self.has_only_common_flags() && !self.has(flag::SLOT);
        if !(has_room && is_common && reads < self.allowed_reads()) {
            return None;
        }
        (self.buffered_bytes, self.capacity, self.reads) = (buffered_bytes, capacity, reads);
        self.needed_bytes = needs_more.into();
        self.clear(flag::ARMED);
        self.set(flag::BUFFER);
        if armed {
            self.set(flag::ARMED);
            // It reports what there is to receive.
            self.clear(if self.is_single_report() { flag::READY } else { 0 });
        }
        Some(self.pending_if_eligible())
    }

    /// `Done(WantRecv)` for a common connection that holds nothing and has nothing to receive, and nothing is left to
    /// do; `None`, and nothing is changed, for another.
    #[inline(always)]
    pub(crate) fn try_fast_arm(&mut self) -> Option<Actions> {
        let others = flag::HELD | flag::READY | flag::ARMED | !flag::COMMON_FLAGS;
        if self.flags & (flag::ATTACHED | others) != flag::ATTACHED || self.blocked != 0 {
            return None;
        }
        self.set(flag::ARMED);
        Some(Actions::NONE)
    }

    /// It holds nothing, needs nothing and has nothing to receive, its read interest is armed, and it is readable: if
    /// so, it becomes at once what it will be when it has received once and everything is decoded. `false`, and nothing
    /// is changed, for another. Until then [`Connection::in_cycle`] is how it stands. `plan` is that of the cycle
    /// before, and becomes that of this one. One that counts has to be idle for its memory.
    #[inline(always)]
    pub(crate) fn try_begin_cycle(&mut self, plan: &mut CyclePlan, is_idle: impl FnOnce() -> bool) -> bool {
        let is_known = self.flags == plan.flags;
        if self.blocked | self.needed_bytes != 0 || (!is_known && !self.try_plan_cycle(plan, is_idle)) {
            return false;
        }
        self.begin_cycle(plan);
        true
    }

    /// As `try_begin_cycle`, of one whose flags are those of the cycle before.
    #[inline(always)]
    pub(crate) fn try_begin_same_cycle(&mut self, plan: &CyclePlan) -> bool {
        if self.flags != plan.flags || self.blocked | self.needed_bytes != 0 {
            return false;
        }
        self.begin_cycle(plan);
        true
    }

    #[inline(always)]
    fn begin_cycle(&mut self, plan: &CyclePlan) {
        self.reads = 1;
        if plan.disarms {
            self.flags = plan.disarmed_flags;
        }
    }

    /// The plan of its cycle, if one may begin.
    #[inline(always)]
    fn try_plan_cycle(&self, plan: &mut CyclePlan, is_idle: impl FnOnce() -> bool) -> bool {
        let any = flag::PAUSE_WHEN_BLOCKED | flag::READS_AHEAD | flag::COUNTING | flag::OWN_READS | CYCLE_MODES;
        let submits = self.has_mode(Mode::Completion) && plan.may_submit && !self.is_counting();
        let any = if submits { any | flag::MODE } else { any };
        if self.flags & !any != flag::ATTACHED | flag::ARMED || plan.is_fixed {
            return false;
        }
        if self.is_counting() && (self.is_single_report() || !is_idle()) {
            return false; // The mark is of importance.
        }
        let is_alike = !self.has(flag::COUNTING | flag::OWN_READS);
        plan.flags = if is_alike { self.flags } else { CyclePlan::UNKNOWN };
        plan.reads_max = self.allowed_reads();
        let (disarms, asks_again) = (self.is_single_report(), self.asks_again());
        (plan.submits, plan.disarmed_flags) = (submits, self.flags & !flag::ARMED);
        (plan.disarms, plan.leaves_nothing) = (disarms, !disarms && !asks_again);
        let mut dry = Actions::NONE;
        dry.set_if(disarms, Action::WantRecv);
        let decoded = if asks_again { Action::Recv.into() } else { dry };
        plan.received = decoded.without(Action::Recv.into()) | Action::Decode;
        (plan.decoded, plan.dry) = (decoded.into(), dry.into());
        true
    }

    /// How it stands while its cycle is open: it has a buffer of this capacity, has received so often, and these bytes
    /// are to be decoded; or, if there are none, it is to receive.
    pub(crate) fn in_cycle(&self, capacity: u32, buffered_bytes: u32, reads: u8) -> Connection {
        let mut connection = Connection { capacity, buffered_bytes, reads, ..self.clone() };
        connection.set(flag::BUFFER);
        if buffered_bytes == 0 || self.asks_again() {
            connection.set(flag::READY);
        }
        connection
    }

    /// Its cycle ends with a receive that found nothing, after that number of receives that found something; perhaps
    /// read interest is armed.
    #[inline(always)]
    pub(crate) fn end_cycle_dry(&mut self, reads: u8, armed: bool) {
        self.reads = reads;
        if armed {
            self.set(flag::ARMED);
        }
    }
}

/// The modes in which a cycle begins with a report of the poller, and receives are done at once.
const CYCLE_MODES: u32 = (Mode::Edge as u32 | Mode::OneShot as u32) << flag::MODE_SHIFT;

/// How a cycle goes, by the connection's policy, and those that begin alike: most connections of a pool have the same
/// policy.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CyclePlan {
    /// The flags of the connections for which this is known.
    flags: u32,
    /// The same, with read interest that is off.
    disarmed_flags: u32,
    /// What is pending when something was received.
    pub(crate) received: Actions,
    /// What is pending when all of it is decoded: `Recv` if only a receive that finds nothing ends the cycle.
    pub(crate) decoded: Extent,
    /// What is pending after such a receive, if read interest is not armed with it.
    pub(crate) dry: Extent,
    /// The cycle is one receive, and nothing is pending when all is decoded.
    pub(crate) leaves_nothing: bool,
    /// Read interest is off from its beginning on.
    disarms: bool,
    /// No other cycle may begin than one that is planned.
    pub(crate) is_fixed: bool,
    /// Its receives may be submitted.
    pub(crate) submits: bool,
    /// One more receive may be in flight.
    may_submit: bool,
    /// How many receives are allowed, where more than one may be.
    pub(crate) reads_max: u8,
}

/// A number of bytes and what is to be done: one word, as C returns both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent(u64);

impl Extent {
    pub(crate) const NOTHING: Extent = Extent(0);

    #[inline(always)]
    pub(crate) fn new(bytes: u32, actions: Actions) -> Extent {
        Extent(u64::from(actions.bits()) << 32 | u64::from(bytes))
    }

    #[inline(always)]
    pub(crate) fn bytes(self) -> u32 {
        self.0 as u32
    }

    #[inline(always)]
    pub(crate) fn actions(self) -> Actions {
        Actions::from_known_bits((self.0 >> 32) as u32)
    }
}

impl From<Actions> for Extent {
    #[inline(always)]
    fn from(actions: Actions) -> Extent {
        Extent::new(0, actions)
    }
}

impl CyclePlan {
    /// No flags of a connection.
    const UNKNOWN: u32 = u32::MAX;
    pub(crate) const NONE: CyclePlan = CyclePlan {
        flags: CyclePlan::UNKNOWN,
        disarmed_flags: 0,
        received: Actions::NONE,
        decoded: Extent::NOTHING,
        dry: Extent::NOTHING,
        leaves_nothing: false,
        disarms: false,
        is_fixed: false,
        submits: false,
        may_submit: false,
        reads_max: 0,
    };

    /// Whether one more receive may be in flight.
    #[inline(always)]
    pub(crate) fn set_may_submit(&mut self, may_submit: bool) {
        if self.submits && !may_submit {
            self.forget();
        }
        self.may_submit = may_submit;
    }

    /// From now on each connection is looked at.
    pub(crate) fn forget(&mut self) {
        self.flags = CyclePlan::UNKNOWN;
    }
}

#[cfg(test)]
mod tests;
