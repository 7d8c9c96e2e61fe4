//! Cycles that begin or end with bytes that are kept: what the tables of events and actions come to for a connection
//! that keeps them in a slot, in a mode in which a receive that leaves room ends readiness, where nothing else is of
//! importance.
//!
//! As in the fast path, the tests compare each step with the tables.

use super::{Action, Actions, Connection, Mode, flag};

/// What may be set beside the facts of a step: the two modes are those that do not ask again.
pub(super) const ANY: u32 = flag::PAUSE_WHEN_BLOCKED | flag::OWN_READS | (Mode::OneShot as u32) << flag::MODE_SHIFT;

const _: () = assert!(Mode::Level as u32 == 0 && (Mode::OneShot as u32).is_power_of_two());

impl Connection {
    /// `Readable` and `BufferGranted` in one, of a connection whose decoder needs more than it keeps: it is to receive
    /// behind that. `false`, and nothing is changed, for one whose step it is not.
    #[inline]
    pub(crate) fn try_receive_behind_kept(&mut self, capacity: u32) -> bool {
        let (kept_bytes, needed_bytes) = (self.buffered_bytes, self.needed_bytes);
        let fits = kept_bytes > 0 && needed_bytes > 0 && needed_bytes <= capacity.saturating_sub(kept_bytes);
        if self.flags & !ANY != flag::ATTACHED | flag::SLOT | flag::ARMED || self.blocked != 0 || !fits {
            return false;
        }
        if self.is_single_report() {
            self.clear(flag::ARMED);
        }
        self.clear(flag::SLOT);
        self.set(flag::BUFFER | flag::READY);
        (self.capacity, self.reads) = (capacity, 0);
        true
    }

    /// `Received` after that, of bytes that leave room; what is pending then if these are all that the decoder needs.
    #[inline]
    pub(crate) fn receive_behind_kept(&mut self, bytes: u32) -> Actions {
        self.buffered_bytes += bytes;
        self.needed_bytes = self.needed_bytes.saturating_sub(bytes);
        self.reads = 1;
        self.clear(flag::READY);
        self.with_accepting_interest(Action::Decode.into())
    }

    /// `Unblock` and `BufferGranted` in one, of a connection that keeps what a blocked decoder left: it is to decode
    /// that. `None`, and nothing is changed, for one whose step it is not.
    #[inline]
    pub(crate) fn try_decode_kept(&mut self, reasons: u32) -> Option<Actions> {
        let goes_on = self.blocked != 0 && self.blocked & !reasons == 0 && self.needed_bytes == 0;
        if self.flags & !(ANY | flag::ARMED) != flag::ATTACHED | flag::SLOT || !goes_on || self.buffered_bytes == 0 {
            return None;
        }
        self.blocked = 0;
        self.clear(flag::SLOT);
        self.set(flag::BUFFER | flag::FULL);
        self.capacity = self.buffered_bytes;
        Some(self.with_stopped_interest(Action::Decode.into()))
    }

    /// What is pending of a connection that is to decode what leaves room in its buffer. `None` for one whose step it
    /// is not.
    #[cfg(feature = "std")]
    #[inline]
    pub(crate) fn pending_if_decoding(&self) -> Option<Actions> {
        let is_common = self.flags & !(ANY | flag::ARMED) == flag::ATTACHED | flag::BUFFER;
        let leaves_room = 0 < self.buffered_bytes && self.buffered_bytes < self.capacity;
        let decodes = is_common && leaves_room && self.blocked | self.needed_bytes == 0;
        decodes.then(|| self.with_accepting_interest(Action::Decode.into()))
    }

    /// All that it kept and received is decoded: it holds nothing.
    #[inline]
    pub(crate) fn end_kept_cycle(&mut self) -> Actions {
        (self.capacity, self.buffered_bytes, self.needed_bytes) = (0, 0, 0);
        self.clear(flag::BUFFER | flag::FULL);
        self.with_accepting_interest(Actions::NONE)
    }

    /// A cycle ends with these bytes, of which the decoder needs more, in a slot of this capacity.
    #[inline]
    pub(crate) fn keep_rest(&mut self, capacity: u32, buffered_bytes: u32, needed_bytes: u32) -> Actions {
        (self.capacity, self.buffered_bytes, self.needed_bytes) = (capacity, buffered_bytes, needed_bytes);
        self.clear(flag::BUFFER | flag::FULL);
        self.set(flag::SLOT);
        self.with_accepting_interest(Actions::NONE)
    }

    /// A cycle ends with these bytes, which the decoder does not go on with for these reasons, in a slot of this
    /// capacity.
    #[inline]
    pub(crate) fn keep_blocked(&mut self, capacity: u32, buffered_bytes: u32, reasons: u32) -> Actions {
        self.keep_rest(capacity, buffered_bytes, 0);
        self.blocked = reasons;
        self.with_stopped_interest(Actions::NONE)
    }

    /// `Done(StopRecv)` of a connection that keeps what a blocked decoder left, if nothing else is pending. `false`,
    /// and nothing is changed, for another.
    #[inline]
    pub(crate) fn try_stop_blocked(&mut self) -> bool {
        let is_parked = self.flags & !ANY == flag::ATTACHED | flag::SLOT | flag::ARMED;
        if !is_parked || self.blocked == 0 || self.buffered_bytes == 0 {
            return false;
        }
        self.clear(flag::ARMED);
        true
    }

    /// With what the read interest of a connection of these modes needs that could accept bytes, and has nothing to
    /// receive.
    #[inline]
    pub(super) fn with_accepting_interest(&self, actions: Actions) -> Actions {
        if self.has(flag::ARMED) { actions } else { actions | Action::WantRecv }
    }

    /// The table of actions, for a connection in none of the seldom states that could accept no bytes: what it keeps is
    /// blocked, it waits for room, or it is to decode what fills its buffer. `None` for another.
    #[inline]
    pub(super) fn pending_if_nothing_is_accepted(&self) -> Option<Actions> {
        const STOPS: u32 = flag::WAITING | flag::BUFFER | flag::SLOT | flag::READY | flag::FULL | flag::PAUSED;
        const WAITS: u32 = flag::WAITING | flag::READY;
        const WAITS_WITH_SLOT: u32 = WAITS | flag::SLOT | flag::FULL;
        let (is_empty, needs_more) = (self.buffered_bytes == 0, self.needed_bytes > 0);
        if self.blocked != 0 {
            let is_parked = self.flags & (flag::WAITING | flag::HELD) == flag::SLOT && !is_empty;
            return is_parked.then(|| self.with_stopped_interest(Actions::NONE));
        }
        let actions = match self.flags & STOPS {
            WAITS if is_empty || needs_more => Actions::NONE,
            WAITS_WITH_SLOT if !is_empty && needs_more => Actions::NONE,
            stops if stops & !flag::READY == flag::BUFFER | flag::FULL && !is_empty && !needs_more => {
                Action::Decode.into()
            }
            _ => return None,
        };
        Some(self.with_stopped_interest(actions))
    }

    /// With what the read interest of a connection needs that could accept nothing.
    pub(super) fn with_stopped_interest(&self, actions: Actions) -> Actions {
        match (self.has_mode(Mode::Edge), self.has(flag::ARMED)) {
            (false, true) => actions | Action::StopRecv,
            (true, false) => actions | Action::WantRecv,
            _ => actions,
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::connection::Event;

    pub(in crate::connection) const CAPACITY: u32 = 6;

    /// Calls `look` with connections of small numbers: with all flag words of facts that occur in pools.
    pub(in crate::connection) fn for_each(mut look: impl FnMut(&Connection)) {
        const FACTS: [u32; 17] = [
            flag::SLOT,
            flag::BUFFER,
            flag::READY,
            flag::ARMED,
            flag::WAITING,
            flag::FULL,
            flag::PAUSED,
            flag::YIELDED,
            flag::ENDED,
            flag::QUIET,
            flag::COUNTING,
            flag::READS_AHEAD,
            flag::PEER_CLOSED,
            flag::PAUSE_WHEN_BLOCKED,
            flag::SLOW,
            flag::FAILED,
            flag::OWN_READS,
        ];
        let mut random = fastrand::Rng::with_seed(1);
        for word in 0u32..1 << FACTS.len() {
            for mode in Mode::ALL {
                let facts = (0..FACTS.len()).filter(|at| word >> at & 1 == 1).map(|at| FACTS[at]);
                let flags = facts.fold(flag::ATTACHED, |flags, fact| flags | fact) | (mode as u32) << flag::MODE_SHIFT;
                let is_rare = word.count_ones() > 4;
                for _ in 0..if is_rare { 1 } else { 300 } {
                    let buffered_bytes = random.u32(0..=CAPACITY);
                    look(&Connection {
                        flags,
                        buffered_bytes,
                        needed_bytes: random.u32(0..=CAPACITY + 1),
                        capacity: random.u32(buffered_bytes.max(1)..=CAPACITY),
                        blocked: random.u32(0..4),
                        reads: random.u8(0..6),
                        reads_per_wake: random.u8(0..3),
                        resume_free_bytes: random.u32(0..3),
                        ..Connection::default()
                    });
                }
            }
        }
    }

    pub(in crate::connection) fn by_table(before: &Connection, events: &[Event]) -> Connection {
        let mut connection = before.clone();
        events.iter().for_each(|&event| connection.apply_event(event).expect("the event makes sense"));
        connection
    }

    /// Each way in which a cycle ends in which these bytes are there, of a connection that is to decode them.
    fn compare_ends(decoding: &Connection) {
        let buffered_bytes = decoding.buffered_bytes;
        let mut ended = decoding.clone();
        let actions = ended.end_kept_cycle();
        let events = [Event::Consumed { bytes: buffered_bytes }, Event::BufferReleased];
        assert_eq!(ended, by_table(decoding, &events), "{decoding:?}");
        assert_eq!(actions, ended.pending_in_any_state(), "{decoding:?}");
        for consumed_bytes in 0..buffered_bytes {
            let left_bytes = buffered_bytes - consumed_bytes;
            let consumed = Event::Consumed { bytes: consumed_bytes };
            let parked = Event::BufferParked { capacity: CAPACITY };
            for needed_bytes in 1..=CAPACITY - left_bytes {
                let mut kept = decoding.clone();
                let actions = kept.keep_rest(CAPACITY, left_bytes, needed_bytes);
                let events = [consumed, Event::NeedMore { bytes: needed_bytes }, parked];
                assert_eq!(kept, by_table(decoding, &events), "{decoding:?}");
                assert_eq!(actions, kept.pending_in_any_state(), "{decoding:?}");
            }
            if consumed_bytes == 0 {
                let mut kept = decoding.clone();
                let actions = kept.keep_blocked(CAPACITY, left_bytes, 5);
                assert_eq!(kept, by_table(decoding, &[Event::Block { reasons: 5 }, parked]), "{decoding:?}");
                assert_eq!(actions, kept.pending_in_any_state(), "{decoding:?}");
            }
        }
    }

    #[test]
    #[cfg_attr(miri, ignore)] // there are too many
    fn steps_are_those_of_the_table() {
        let mut taken = [0; 5];
        for_each(|before| {
            let mut begun = before.clone();
            if begun.try_receive_behind_kept(CAPACITY) {
                taken[0] += 1;
                assert_eq!(by_table(before, &[Event::Readable]).pending_in_any_state(), Action::RequestBuffer.into());
                let granted = [Event::Readable, Event::BufferGranted { capacity: CAPACITY }];
                assert_eq!(begun, by_table(before, &granted), "{before:?}");
                assert_eq!(begun.pending_in_any_state(), Action::Recv.into(), "{before:?}");
                for bytes in 1..begun.room() {
                    let mut received = begun.clone();
                    let actions = received.receive_behind_kept(bytes);
                    assert_eq!(received, by_table(&begun, &[Event::Received { bytes }]), "{before:?}");
                    if received.needed_bytes == 0 {
                        taken[1] += 1;
                        assert_eq!(actions, received.pending_in_any_state(), "{received:?}");
                        compare_ends(&received);
                    }
                }
            } else {
                assert_eq!(&begun, before);
            }
            if let Some(actions) = before.pending_if_decoding() {
                taken[4] += 1;
                assert_eq!(actions, before.pending_in_any_state(), "{before:?}");
                compare_ends(before);
            }
            let mut stopped = before.clone();
            if stopped.try_stop_blocked() {
                taken[3] += 1;
                assert_eq!(before.pending_in_any_state(), Action::StopRecv.into(), "{before:?}");
                assert_eq!(stopped, by_table(before, &[Event::done(Action::StopRecv)]), "{before:?}");
                assert_eq!(stopped.pending_in_any_state(), Actions::NONE, "{before:?}");
            } else {
                assert_eq!(&stopped, before);
            }
            let mut begun = before.clone();
            match begun.try_decode_kept(3) {
                None => assert_eq!(&begun, before),
                Some(actions) => {
                    taken[2] += 1;
                    let unblocked = by_table(before, &[Event::Unblock { reasons: 3 }]);
                    assert!(unblocked.pending_in_any_state().has(Action::Decode), "{before:?}");
                    let capacity = before.buffered_bytes;
                    assert_eq!(begun, by_table(&unblocked, &[Event::BufferGranted { capacity }]), "{before:?}");
                    assert_eq!(actions, begun.pending_in_any_state(), "{before:?}");
                    if capacity < CAPACITY {
                        compare_ends(&begun);
                    }
                }
            }
        });
        let least = [100, 100, 100, 100, 50];
        assert!(taken.iter().zip(least).all(|(&taken, least)| taken > least), "{taken:?}");
    }
}
