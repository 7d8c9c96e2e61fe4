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
#[derive(Clone, Copy, Debug)]
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
mod tests {
    use super::*;
    use crate::connection::{Event, EventError, Policy};

    const CAPACITY: u32 = 9;

    /// Calls `look` with every common connection of small numbers: all flag words, also those that no events lead to.
    /// Too many for Miri.
    fn for_each_common(mut look: impl FnMut(&Connection)) {
        for mode in Mode::ALL {
            let words = (0..1 << 22).flat_map(|word| [0, flag::READS_AHEAD, flag::COUNTING].map(|rule| word | rule));
            for word in words {
                let flags = word | (mode as u32) << flag::MODE_SHIFT;
                let empty = Connection { flags, park_bytes: 3, reclaim_bytes: 5, ..Connection::default() };
                if !empty.has_only_common_flags() {
                    continue;
                }
                let (capacity, counts) = if empty.has(flag::HELD) { (CAPACITY, 0..CAPACITY) } else { (0, 0..1) };
                for reads in READS {
                    for (buffered_bytes, needed_bytes) in
                        counts.clone().flat_map(|buffered_bytes| (0..CAPACITY + 2).map(move |n| (buffered_bytes, n)))
                    {
                        look(&Connection { buffered_bytes, capacity, needed_bytes, reads, ..empty.clone() });
                    }
                }
            }
        }
    }

    /// Of which the last two leave nothing of the budget.
    const READS: [u8; 5] = [0, 1, Policy::READS_PER_WAKE_DEFAULT - 1, Policy::READS_PER_WAKE_DEFAULT, u8::MAX];

    /// Those of them that are eligible.
    fn for_each_eligible(mut look: impl FnMut(&Connection)) {
        for_each_common(|connection| {
            if connection.is_fast_path_eligible() {
                look(connection);
            } else {
                assert!(connection.is_misfit() || !connection.is_within_budget(), "{connection:?}");
            }
        });
    }

    #[test]
    #[cfg_attr(miri, ignore)]
    fn eligible_connections_are_in_no_rare_state() {
        let mut count = 0;
        for_each_eligible(|fast| {
            count += 1;
            for (blocked, reads) in [(1, 0), (0, Policy::READS_PER_WAKE_DEFAULT)] {
                assert!(!Connection { blocked, reads, ..fast.clone() }.is_fast_path_eligible(), "{fast:?}");
            }
        });
        // Bytes that it may need: any number without a buffer, else what there is room for.
        let (in_buffer, in_slot) =
            ((0..CAPACITY).map(|buffered_bytes| CAPACITY - buffered_bytes + 1).sum::<u32>(), CAPACITY * (CAPACITY + 2));
        // Ready or not, armed or not, pausing when blocked or not; reading ahead, counting or neither; holding nothing,
        // a slot, a buffer, or both.
        assert_eq!(count, 5 * 3 * 24 * ((CAPACITY + 2) + in_slot + 2 * in_buffer));
    }

    #[test]
    #[cfg_attr(miri, ignore)]
    fn their_actions_are_those_of_the_table() {
        for_each_eligible(|fast| assert_eq!(fast.pending_if_eligible(), fast.pending_in_any_state(), "{fast:?}"));
    }

    /// Whatever a connection is, its actions are those of the table.
    #[test]
    #[cfg_attr(miri, ignore)]
    fn actions_of_all_are_those_of_the_table() {
        let mut random = fastrand::Rng::with_seed(1);
        for _ in 0..1_000_000 {
            let rare = if random.bool() { random.u32(..) } else { 0 };
            let word = random.u32(..) & (!flag::SELDOM | rare) & !flag::MODE | flag::ATTACHED;
            let flags = word | (random.choice(Mode::ALL).expect("there are modes") as u32) << flag::MODE_SHIFT;
            let [capacity, buffered_bytes, needed_bytes] = [0; 3].map(|_| random.u32(0..4));
            let (blocked, reads) = (random.u32(0..2), random.u8(0..6));
            let connection = Connection { flags, capacity, needed_bytes, blocked, reads, ..Connection::default() };
            let connection = Connection { buffered_bytes: buffered_bytes.min(capacity), ..connection };
            assert_eq!(connection.pending(), connection.pending_in_any_state(), "{connection:?}");
        }
    }

    #[test]
    #[cfg_attr(miri, ignore)]
    fn their_events_have_the_effects_of_the_table() {
        let by_table = |connection: &Connection, events: &[Event]| {
            let mut connection = connection.clone();
            events.iter().for_each(|&event| connection.apply_event(event).expect("the event makes sense"));
            (connection.pending_in_any_state(), connection)
        };
        let mut taken = [0; 4];
        for_each_common(|before| {
            let mut connection = before.clone();
            match connection.try_fast_become_ready() {
                None => assert!(connection == *before && before.is_misfit(), "{before:?}"),
                Some(actions) => {
                    assert_eq!((actions, connection), by_table(before, &[Event::Readable]), "{before:?}");
                    taken[0] += 1;
                }
            }
            for armed in [false, true] {
                let mut connection = before.clone();
                let actions = connection.try_fast_sync(armed).expect("it is common");
                let event = Event::Sync { buffered_bytes: 0, capacity: 0, blocked: 0, needed_bytes: false, armed };
                assert_eq!((actions, connection), by_table(before, &[event]), "{before:?}");
                taken[1] += 1;
            }
            let mut connection = before.clone();
            match connection.try_fast_arm() {
                None => assert_eq!(&connection, before),
                Some(actions) => {
                    let (asked, _) = by_table(before, &[]);
                    assert_eq!(asked, Action::WantRecv.into(), "{before:?}");
                    let event = Event::done(Action::WantRecv);
                    assert_eq!((actions, connection), by_table(before, &[event]), "{before:?}");
                    taken[3] += 1;
                }
            }
            taken[2] += u32::from(compare_cycle(before, by_table));
        });
        // Of each mode, number of reads, and read interest, pausing when blocked or not, reading ahead, counting or
        // neither, and readiness.
        let (all, reads) = (CAPACITY + 2, READS.len() as u32);
        let of_each = 5 * reads * 24;
        let fitting = (0..CAPACITY).map(|buffered_bytes| CAPACITY - buffered_bytes + 1).sum::<u32>();
        assert_eq!(taken[0], of_each * (all + CAPACITY * all + 2 * fitting));
        assert_eq!(taken[1], of_each * (all + 3 * CAPACITY * all) * 2);
        // Armed and not ready, needing nothing: in five modes, or counting in two.
        assert_eq!(taken[2], reads * 2 * (5 * 2 + 2));
        // Neither ready nor armed.
        assert_eq!(taken[3], of_each / 4 * all);
    }

    /// Whether a cycle of this connection begins; if so, in each phase it is as the table has it.
    fn compare_cycle(before: &Connection, by_table: impl Fn(&Connection, &[Event]) -> (Actions, Connection)) -> bool {
        let (mut row, mut plan) = (before.clone(), CyclePlan { may_submit: true, ..CyclePlan::NONE });
        if !row.try_begin_cycle(&mut plan, || true) {
            assert_eq!(&row, before);
            return false;
        }
        let mut alike = before.clone();
        assert!(alike.try_begin_cycle(&mut plan, || true) && alike == row, "{before:?}");
        let mut same = before.clone();
        let is_same = same.try_begin_same_cycle(&plan);
        assert_eq!((is_same, &same), (before.flags == plan.flags, if is_same { &row } else { before }));
        let rare = Connection { blocked: 1, ..before.clone() };
        assert!(!rare.clone().try_begin_same_cycle(&plan), "{rare:?}");
        let begun = [Event::Readable, Event::BufferGranted { capacity: CAPACITY }];
        assert_eq!(by_table(before, &begun[..1]).0, Action::RequestBuffer.into(), "{before:?}");
        assert_eq!((Action::Recv.into(), row.in_cycle(CAPACITY, 0, 0)), by_table(before, &begun), "{before:?}");
        let goes_on = plan.decoded.actions().has(Action::Recv);
        for bytes in 1..CAPACITY {
            let received = [begun[0], begun[1], Event::Received { bytes }];
            let expected = by_table(before, &received);
            assert_eq!((plan.received, row.in_cycle(CAPACITY, bytes, 1)), expected, "{before:?}");
            let decoded = [&received[..], &[Event::Consumed { bytes }]].concat();
            let (pending, connection) = by_table(before, &decoded);
            if goes_on {
                let expected = (plan.decoded.actions(), row.in_cycle(CAPACITY, 0, 1));
                assert_eq!(expected, (pending, connection), "{before:?}");
                assert!(1 < plan.reads_max, "{before:?}");
            } else {
                assert!(pending.has(Action::ReleaseBuffer), "{before:?}");
                let expected = by_table(before, &[&decoded[..], &[Event::BufferReleased]].concat());
                assert_eq!((plan.decoded.actions(), row.clone()), expected, "{before:?}");
            }
        }
        let received = [begun[0], begun[1], Event::Received { bytes: 1 }, Event::Consumed { bytes: 1 }];
        if plan.submits {
            compare_flight(&row, &begun, before, &by_table);
        }
        let lasts = if goes_on { &[&begun[..], &received[..]][..] } else { &[&begun[..]] };
        for (reads, events) in (0..).zip(lasts) {
            for (event, armed) in [(Event::WouldBlock, false), (Event::WouldBlockArmed, true)] {
                let expected = by_table(before, &[events, &[event, Event::BufferReleased][..]].concat());
                let mut ended = row.clone();
                ended.end_cycle_dry(reads, armed);
                let actions = if armed { Actions::NONE } else { plan.dry.actions() };
                assert_eq!((actions, ended), expected, "{before:?} {reads}");
            }
        }
        true
    }

    /// As `compare_cycle`, if the receive is submitted.
    fn compare_flight(
        row: &Connection,
        begun: &[Event],
        before: &Connection,
        by_table: &impl Fn(&Connection, &[Event]) -> (Actions, Connection),
    ) {
        let mut row = row.clone();
        row.submit_in_cycle(CAPACITY, 0);
        let submitted = [begun, &[Event::done(Action::Recv)]].concat();
        assert_eq!((Actions::NONE, row.clone()), by_table(before, &submitted), "{before:?}");
        assert!(![0, CAPACITY, CAPACITY + 1].iter().any(|&bytes| row.may_land(bytes)), "{row:?}");
        for bytes in 1..CAPACITY {
            let mut row = row.clone();
            assert!(row.may_land(bytes) && !row.has_landed(bytes));
            row.land(bytes);
            let landed = [&submitted[..], &[Event::Received { bytes }]].concat();
            assert_eq!((Action::Decode.into(), row.clone()), by_table(before, &landed), "{before:?}");
            assert!(row.has_landed(bytes) && !row.has_landed(bytes - 1) && !row.may_land(bytes));
            row.release_landed();
            let released = [&landed[..], &[Event::Consumed { bytes }, Event::BufferReleased]].concat();
            let (actions, expected) = by_table(before, &released);
            assert_eq!(row, expected, "{before:?}");
            let mut plan = CyclePlan { may_submit: true, ..CyclePlan::NONE };
            let reads = row.try_go_on_in_cycle(&mut plan);
            assert_eq!(reads, actions.has(Action::RequestBuffer).then_some(1), "{before:?}");
            let Some(reads) = reads else { continue };
            let going_on = [&released[..], &[Event::BufferGranted { capacity: CAPACITY }]].concat();
            assert_eq!((Action::Recv.into(), row.in_cycle(CAPACITY, 0, reads)), by_table(before, &going_on));
        }
    }

    #[test]
    fn others_are_left_to_the_table() {
        let rare = [
            flag::PEER_CLOSED,
            flag::CLOSED,
            flag::WAITING,
            flag::PAUSED,
            flag::ENDED,
            flag::IN_FLIGHT,
            flag::POISONED,
        ];
        for (rare, blocked) in rare.map(|rare| (rare, 0)).into_iter().chain([(0, 1)]) {
            let flags = flag::ATTACHED | rare;
            let mut idle = Connection { flags, blocked, ..Connection::default() };
            let holder =
                Connection { flags: flags | flag::BUFFER, buffered_bytes: 1, capacity: CAPACITY, ..idle.clone() };
            assert!(idle.try_fast_arm().is_none(), "{idle:?}");
            idle.set(flag::ARMED);
            assert!(!idle.try_begin_cycle(&mut CyclePlan::NONE.clone(), || true), "{idle:?}");
            for mut connection in [idle, holder] {
                assert_eq!((connection.try_fast_become_ready(), connection.try_fast_sync(true)), (None, None));
            }
        }
        let mut idle = Connection { flags: flag::ATTACHED, ..Connection::default() };
        assert_eq!(idle.pending(), Action::WantRecv.into());
        assert_eq!(idle.handle(Event::done(Action::StopRecv)), Err(EventError::NotPending));
        assert_eq!((idle.handle(Event::done(Action::WantRecv)), idle.is_armed()), (Ok(Actions::NONE), true));
    }
}
