//! The short way through the tables for a *plain* connection: one in none of the states that few ever are in. It waits
//! for nothing, nobody asks it for anything, nothing ended, and neither bytes, room nor budget are short.
//!
//! Nearly every receive begins and ends plain. What the tables of events and actions come to for it is written out here;
//! the tests compare the two for all plain connections.

use super::{Action, Actions, Connection, Mode, flag};

impl Connection {
    #[inline]
    pub(crate) fn is_plain(&self) -> bool {
        self.flags & (flag::ATTACHED | !flag::PLAIN) == flag::ATTACHED
            && self.short | self.blocked == 0
            && self.is_within_budget()
    }

    /// The table of actions, for a plain connection.
    #[inline(always)]
    pub(super) fn pending_if_plain(&self) -> Actions {
        self.with_watch(match (self.level, self.has(flag::READY), self.has(flag::BUFFER)) {
            (1.., _, _) => Action::Demux.into(),
            (0, true, true) => Action::Recv.into(),
            (0, true, false) => Action::RequestBuffer.into(),
            (0, false, true) => Action::ReleaseBuffer.into(),
            (0, false, false) => Actions::NONE,
        })
    }

    /// With what the watch of a plain connection needs.
    #[inline(always)]
    fn with_watch(&self, actions: Actions) -> Actions {
        let watch = match self.mode() {
            Mode::Level | Mode::Edge => true,
            Mode::OneShot | Mode::Optimistic => !self.has(flag::READY),
            Mode::Completion => false,
        };
        match (watch, self.has(flag::ARMED)) {
            (true, false) => actions | Action::WantRecv,
            (false, true) => actions | Action::StopRecv,
            _ => actions,
        }
    }

    /// `Readable`, and `BufferGranted` at once, for a plain connection that holds nothing.
    #[inline(always)]
    pub(crate) fn begin_plainly(&mut self, capacity: u32) -> Actions {
        self.set(flag::READY | flag::BUFFER);
        if matches!(self.mode(), Mode::OneShot | Mode::Optimistic) {
            self.clear(flag::ARMED);
        }
        self.reads = 0;
        self.capacity = capacity;
        self.with_watch(Action::Recv.into())
    }

    /// `Received` for a plain connection that has room left afterwards; `None`, and nothing is changed, for another.
    #[inline(always)]
    pub(crate) fn receive_plainly(&mut self, bytes: u32) -> Option<Actions> {
        let fits = 0 < bytes && bytes < self.room() && self.has(flag::BUFFER);
        if !fits || !self.is_plain() {
            return None;
        }
        self.level += bytes;
        self.reads += 1;
        match self.mode() {
            Mode::Level | Mode::OneShot => self.clear(flag::READY),
            Mode::Edge | Mode::Optimistic | Mode::Completion => self.set(flag::READY),
        }
        // Only its budget can have made it another than a plain one.
        Some(if self.is_within_budget() { self.with_watch(Action::Demux.into()) } else { self.pending_in_any_state() })
    }

    /// `Consumed` of all that is buffered, and `BufferReleased` at once, for a plain connection to which nothing is left
    /// to be received; `None`, and nothing is changed, for another.
    #[inline(always)]
    pub(crate) fn finish_plainly(&mut self, bytes: u32) -> Option<Actions> {
        let finishes = bytes == self.level && bytes > 0 && !self.has(flag::READY) && self.has(flag::BUFFER);
        if !finishes || !self.is_plain() {
            return None;
        }
        self.level = 0;
        self.capacity = 0;
        self.clear(flag::BUFFER);
        Some(self.with_watch(Actions::NONE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::{Event, Policy};

    const CAPACITY: u32 = 9;

    /// Calls `look` with every plain connection: all flag words, also those that no events lead to. Too many for Miri.
    fn for_each_plain(mut look: impl FnMut(&Connection)) {
        for mode in [Mode::Level, Mode::Edge, Mode::OneShot, Mode::Optimistic, Mode::Completion] {
            for word in 0..1 << 22 {
                let flags = word | (mode as u32) << flag::MODE_SHIFT;
                let empty = Connection { flags, ..Connection::default() };
                if !empty.is_plain() {
                    continue;
                }
                for reads in [0, 1, Policy::READS_PER_WAKE_DEFAULT - 1] {
                    let levels = if empty.has(flag::BUFFER) { 0..CAPACITY } else { 0..1 };
                    let capacity = levels.end - u32::from(!empty.has(flag::BUFFER));
                    levels.for_each(|level| look(&Connection { level, capacity, reads, ..empty.clone() }));
                }
            }
        }
    }

    #[test]
    #[cfg_attr(miri, ignore)]
    fn plain_connections_are_in_no_rare_state() {
        let mut count = 0;
        for_each_plain(|plain| {
            count += 1;
            for (short, blocked, reads) in [(1, 0, 0), (0, 1, 0), (0, 0, Policy::READS_PER_WAKE_DEFAULT)] {
                assert!(!Connection { short, blocked, reads, ..plain.clone() }.is_plain(), "{plain:?}");
            }
        });
        // Ready or not, armed or not, pausing when blocked or not; holding nothing, or a buffer with 0 to 8 bytes in it.
        assert_eq!(count, 5 * 3 * 8 * (1 + 9));
    }

    #[test]
    #[cfg_attr(miri, ignore)]
    fn their_actions_are_those_of_the_table() {
        for_each_plain(|plain| assert_eq!(plain.pending_if_plain(), plain.pending_in_any_state(), "{plain:?}"));
    }

    #[test]
    #[cfg_attr(miri, ignore)]
    fn their_events_have_the_effects_of_the_table() {
        let by_table = |connection: &Connection, events: &[Event]| {
            let mut connection = connection.clone();
            events.iter().for_each(|&event| connection.take_in(event).expect("the event makes sense"));
            (connection.pending_in_any_state(), connection)
        };
        let mut taken = [0; 3];
        for_each_plain(|plain| {
            if plain.capacity == 0 {
                let mut connection = plain.clone();
                let actions = connection.begin_plainly(CAPACITY);
                let events = [Event::Readable, Event::BufferGranted { capacity: CAPACITY }];
                assert_eq!((actions, connection), by_table(plain, &events), "{plain:?}");
                taken[0] += 1;
            }
            for bytes in 0..=CAPACITY + 1 {
                let mut connection = plain.clone();
                match connection.receive_plainly(bytes) {
                    None => assert_eq!(&connection, plain),
                    Some(actions) => {
                        let events = [Event::Received { bytes }];
                        assert_eq!((actions, connection), by_table(plain, &events), "{plain:?} {bytes}");
                        taken[1] += 1;
                    }
                }
                let mut connection = plain.clone();
                match connection.finish_plainly(bytes) {
                    None => assert_eq!(&connection, plain),
                    Some(actions) => {
                        let (asked, _) = by_table(plain, &[Event::Consumed { bytes }]);
                        assert!(asked.has(Action::ReleaseBuffer), "{plain:?}");
                        let events = [Event::Consumed { bytes }, Event::BufferReleased];
                        assert_eq!((actions, connection), by_table(plain, &events), "{plain:?}");
                        taken[2] += 1;
                    }
                }
            }
        });
        // Of each mode, number of reads, and watch (and readiness): all that hold nothing; for each level what leaves
        // room; each level above 0.
        assert_eq!(taken, [5 * 3 * 8, 5 * 3 * 8 * (8 + 7 + 6 + 5 + 4 + 3 + 2 + 1), 5 * 3 * 4 * 8]);
    }

    #[test]
    fn others_are_left_to_the_table() {
        for rare in [flag::CLOSED, flag::WAITING, flag::PAUSED, flag::ENDED, flag::IN_FLIGHT, flag::POISONED] {
            let flags = flag::ATTACHED | flag::BUFFER | rare;
            let mut connection = Connection { flags, level: 1, capacity: CAPACITY, ..Connection::default() };
            assert_eq!((connection.receive_plainly(1), connection.finish_plainly(1)), (None, None));
        }
    }
}
