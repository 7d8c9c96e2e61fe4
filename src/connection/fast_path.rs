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
/// Set in the modes that go on receiving until there is nothing, under a layer that reads ahead, and if the peer closed.
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
        if !self.has_only_common_flags() || (self.needed_bytes != 0 && self.is_misfit()) {
            return None;
        }
        self.set_ready();
        Some(self.pending_if_eligible())
    }

    /// `Sync` of a common connection, with a host that holds nothing and that nothing stops; `None`, and nothing
    /// is changed, for another.
    #[inline(always)]
    pub(super) fn try_fast_sync(&mut self, armed: bool) -> Option<Actions> {
        if !self.has_only_common_flags() {
            return None;
        }
        (self.buffered_bytes, self.needed_bytes, self.capacity) = (0, 0, 0);
        self.clear(flag::HELD | flag::ARMED);
        if armed {
            self.set(flag::ARMED);
            if self.is_single_report() {
                self.clear(flag::READY);
            }
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

    /// Whether it is one that `try_fast_begin` is for: holding nothing, and needing no more than will fit.
    #[inline(always)]
    pub(crate) fn may_begin_fast(&self, capacity: u32) -> bool {
        self.flags & (flag::ATTACHED | flag::HELD | !flag::COMMON_FLAGS) == flag::ATTACHED
            && self.blocked == 0
            && self.needed_bytes <= capacity
    }

    /// `Readable`, and `BufferGranted` at once. Nothing is left to be done about buffers.
    #[inline(always)]
    pub(crate) fn try_fast_begin(&mut self, capacity: u32) -> Actions {
        self.set_ready();
        self.set(flag::BUFFER);
        self.capacity = capacity;
        self.with_interest(Action::Recv.into())
    }

    /// `Received` for a common connection that has room left afterwards and then enough to decode; `None`, and
    /// nothing is changed, for another. All that is left to do is to decode, whatever is left of its budget.
    #[inline(always)]
    pub(crate) fn try_fast_receive(&mut self, bytes: u32) -> Option<Actions> {
        let wanted = flag::ATTACHED | flag::BUFFER;
        let has_only_common_flags = self.flags & (wanted | !flag::COMMON_FLAGS) == wanted && self.blocked == 0;
        let buffered_bytes = u64::from(self.buffered_bytes) + u64::from(bytes);
        let fits = bytes > 0 && self.needed_bytes <= bytes && buffered_bytes < u64::from(self.capacity);
        if !has_only_common_flags || !fits {
            return None;
        }
        (self.buffered_bytes, self.needed_bytes) = (buffered_bytes as u32, 0);
        self.reads += u8::from(self.reads < u8::MAX);
        self.clear(flag::READY);
        if self.asks_again() {
            self.set(flag::READY);
        }
        Some(self.with_interest(Action::Decode.into()))
    }

    /// Whether it is one that `try_fast_finish` is for: this is all it holds, in a buffer, and nothing is left to be
    /// received.
    #[inline(always)]
    pub(crate) fn may_finish_fast(&self, bytes: u32) -> bool {
        let wanted = flag::ATTACHED | flag::BUFFER;
        bytes > 0
            && bytes == self.buffered_bytes
            && self.flags & (wanted | flag::READY | !flag::COMMON_FLAGS) == wanted
            && self.blocked == 0
    }

    /// `Consumed` of all that is buffered, and `BufferReleased` at once. Nothing is left to be done about buffers.
    #[inline(always)]
    pub(crate) fn try_fast_finish(&mut self) -> Actions {
        (self.buffered_bytes, self.needed_bytes, self.capacity) = (0, 0, 0);
        self.clear(flag::HELD);
        self.with_interest(Actions::NONE)
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
        // Ready or not, armed or not, pausing when blocked or not; reading ahead, counting or neither; holding nothing, a slot,
        // a buffer, or both.
        assert_eq!(count, 5 * 3 * 24 * ((CAPACITY + 2) + in_slot + 2 * in_buffer));
    }

    #[test]
    #[cfg_attr(miri, ignore)]
    fn their_actions_are_those_of_the_table() {
        for_each_eligible(|fast| assert_eq!(fast.pending_if_eligible(), fast.pending_in_any_state(), "{fast:?}"));
    }

    const ABOUT_BUFFERS: [Action; 4] =
        [Action::RequestBuffer, Action::CancelRequest, Action::ReleaseBuffer, Action::Park];

    #[test]
    #[cfg_attr(miri, ignore)]
    fn their_events_have_the_effects_of_the_table() {
        let by_table = |connection: &Connection, events: &[Event]| {
            let mut connection = connection.clone();
            events.iter().for_each(|&event| connection.apply_event(event).expect("the event makes sense"));
            (connection.pending_in_any_state(), connection)
        };
        let mut taken = [0; 6];
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
                    taken[5] += 1;
                }
            }
            for capacity in 1..=CAPACITY {
                if before.may_begin_fast(capacity) {
                    let (asked, _) = by_table(before, &[Event::Readable]);
                    assert!(asked.has(Action::RequestBuffer), "{before:?}");
                    let mut connection = before.clone();
                    let actions = connection.try_fast_begin(capacity);
                    let events = [Event::Readable, Event::BufferGranted { capacity }];
                    assert_eq!((actions, connection), by_table(before, &events), "{before:?} {capacity}");
                    assert!(!ABOUT_BUFFERS.iter().any(|&action| actions.has(action)), "{before:?} {capacity}");
                    taken[2] += 1;
                }
            }
            for bytes in 0..=CAPACITY + 1 {
                let mut connection = before.clone();
                match connection.try_fast_receive(bytes) {
                    None => assert_eq!(&connection, before),
                    Some(actions) => {
                        let events = [Event::Received { bytes }];
                        assert_eq!((actions, connection), by_table(before, &events), "{before:?} {bytes}");
                        assert!(!ABOUT_BUFFERS.iter().any(|&action| actions.has(action)), "{before:?} {bytes}");
                        taken[3] += 1;
                    }
                }
                if before.may_finish_fast(bytes) {
                    let (asked, _) = by_table(before, &[Event::Consumed { bytes }]);
                    assert!(asked.has(Action::ReleaseBuffer), "{before:?}");
                    let mut connection = before.clone();
                    let actions = connection.try_fast_finish();
                    let events = [Event::Consumed { bytes }, Event::BufferReleased];
                    assert_eq!((actions, connection), by_table(before, &events), "{before:?}");
                    assert!(!ABOUT_BUFFERS.iter().any(|&action| actions.has(action)), "{before:?}");
                    taken[4] += 1;
                }
            }
        });
        // Of each mode, number of reads, and read interest, pausing when blocked or not, reading ahead, counting or neither, and
        // readiness.
        let (all, reads) = (CAPACITY + 2, READS.len() as u32);
        let of_each = 5 * reads * 24;
        let shorts = |buffered_bytes| CAPACITY - buffered_bytes + 1;
        let fitting = (0..CAPACITY).map(shorts).sum::<u32>();
        assert_eq!(taken[0], of_each * (all + CAPACITY * all + 2 * fitting));
        assert_eq!(taken[1], of_each * (all + 3 * CAPACITY * all) * 2);
        assert_eq!(taken[2], of_each * (1..=CAPACITY).map(|capacity| capacity + 1).sum::<u32>());
        // With a slot beside the buffer or not; needing no more than came.
        let rooms = (0..CAPACITY).map(|buffered_bytes| 1..CAPACITY - buffered_bytes);
        assert_eq!(taken[3], of_each * 2 * rooms.flatten().map(|bytes| bytes + 1).sum::<u32>());
        // Not ready, and full of anything but nothing.
        assert_eq!(taken[4], of_each / 2 * 2 * (CAPACITY - 1) * all);
        // Neither ready nor armed.
        assert_eq!(taken[5], of_each / 4 * all);
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
            let mut holder =
                Connection { flags: flags | flag::BUFFER, buffered_bytes: 1, capacity: CAPACITY, ..idle.clone() };
            assert!(!idle.may_begin_fast(CAPACITY) && idle.try_fast_arm().is_none(), "{idle:?}");
            assert!(holder.try_fast_receive(1).is_none() && !holder.may_finish_fast(1), "{holder:?}");
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
