//! Steps while memory is short: what the tables of events and actions come to for a connection that is granted a
//! limited receive, or waits for room, in a mode in which a receive that leaves room ends readiness, where nothing else
//! is of importance.
//!
//! As in the fast path, the test compares each step with the tables.

use super::kept_cycle::ANY;
use super::{Action, Actions, Connection, Mode, flag};

/// What may be set beside the facts of a step that only level-triggered read interest has.
const ANY_LEVEL: u32 = flag::PAUSE_WHEN_BLOCKED | flag::OWN_READS;

const _: () = assert!(Mode::Level as u32 == 0);

impl Connection {
    /// Whether it asks for a buffer once it is readable, and for nothing else: it holds nothing, or keeps bytes of
    /// which its decoder needs more, as many as a buffer of this capacity has room for.
    #[inline]
    pub(crate) fn asks_if_readable(&self, capacity: u32) -> bool {
        const IDLE: u32 = flag::ATTACHED | flag::ARMED;
        const KEEPS: u32 = IDLE | flag::SLOT;
        let fits = match self.flags & !ANY {
            IDLE => self.buffered_bytes | self.needed_bytes == 0,
            KEEPS => self.lacks_bytes(capacity),
            _ => false,
        };
        fits && self.blocked == 0
    }

    /// The buffer that it sees if it may receive at most `max_bytes` into one of `buffer_bytes`: see
    /// `Pool::capacity_for`.
    #[inline]
    pub(crate) fn capacity_to_receive(&self, buffer_bytes: u32, max_bytes: u32) -> u32 {
        let reports_again = self.has_mode(Mode::Level) && !self.reads_ahead();
        let is_all = reports_again || self.needed_bytes > max_bytes;
        if is_all { buffer_bytes } else { self.buffered_bytes + max_bytes }
    }

    /// Its decoder needs more than is there, and a buffer of this capacity has room for it.
    #[inline]
    fn lacks_bytes(&self, capacity: u32) -> bool {
        let fits = self.needed_bytes <= capacity.saturating_sub(self.buffered_bytes);
        self.buffered_bytes > 0 && self.needed_bytes > 0 && fits
    }

    /// `Readable` and `BufferGranted` in one, of a connection that asks for a buffer then.
    #[inline]
    pub(crate) fn receive_if_readable(&mut self, capacity: u32) -> Actions {
        self.become_ready();
        self.clear(flag::SLOT);
        self.set(flag::BUFFER);
        self.capacity = capacity;
        Action::Recv.into()
    }

    /// `Readable` and `BufferDenied` in one, of a connection that asks for a buffer then; what it keeps has no room
    /// behind it any more.
    #[inline(always)]
    pub(crate) fn wait_if_readable(&mut self) -> Actions {
        self.become_ready();
        self.set(flag::WAITING);
        if self.has(flag::SLOT) {
            self.capacity = self.buffered_bytes;
            self.set(flag::FULL);
        }
        self.with_stopped_interest(Actions::NONE)
    }

    /// `Done(StopRecv)` of a connection that waits for room behind what it keeps, if nothing else is pending. `false`,
    /// and nothing is changed, for another.
    #[inline]
    pub(crate) fn try_stop_waiting(&mut self) -> bool {
        const WAITS: u32 = flag::ATTACHED | flag::ARMED | flag::WAITING | flag::READY | flag::SLOT | flag::FULL;
        let waits = self.flags & !ANY_LEVEL == WAITS && self.buffered_bytes > 0 && self.needed_bytes > 0;
        if !waits || self.blocked != 0 {
            return false;
        }
        self.clear(flag::ARMED);
        true
    }

    #[inline]
    fn become_ready(&mut self) {
        if self.is_single_report() {
            self.clear(flag::ARMED);
        }
        self.set(flag::READY);
        self.reads = 0;
    }

    /// Whether it is to receive into a buffer.
    #[inline]
    fn is_to_receive_only(&self) -> bool {
        let is_empty = self.buffered_bytes == 0 && self.needed_bytes == 0 && self.capacity > 0;
        let has_work = !is_empty && !self.lacks_bytes(self.capacity);
        self.flags & !(ANY | flag::ARMED) == flag::ATTACHED | flag::BUFFER | flag::READY
            && self.blocked == 0
            && !has_work
            && self.reads < self.allowed_reads()
    }

    /// Whether this may be what a receive brings that may bring at most `max_bytes`, and leaves room.
    #[inline(always)]
    pub(crate) fn leaves_room(&self, bytes: u32, max_bytes: u32) -> bool {
        bytes > 0 && bytes <= max_bytes && bytes < self.room()
    }

    /// `Received` of bytes that leave room. `false`, and nothing is changed, where that is not all.
    #[inline]
    pub(crate) fn try_receive(&mut self, bytes: u32) -> bool {
        if !self.is_to_receive_only() || bytes == 0 || bytes >= self.room() {
            return false;
        }
        self.buffered_bytes += bytes;
        self.needed_bytes = self.needed_bytes.saturating_sub(bytes);
        self.reads += 1;
        self.clear(flag::READY);
        true
    }

    /// What is pending then, if nothing more is needed.
    #[inline]
    pub(crate) fn pending_to_decode(&self) -> Actions {
        self.with_accepting_interest(Action::Decode.into())
    }

    /// `Done(WantRecv)` of a connection that is to receive; `None`, and nothing is changed, for another.
    #[inline]
    pub(crate) fn try_arm_to_receive(&mut self) -> Option<Actions> {
        if self.has(flag::ARMED) || self.is_single_report() || !self.is_to_receive_only() {
            return None;
        }
        self.set(flag::ARMED);
        Some(Action::Recv.into())
    }

    /// What it is to decode in a buffer, if it can be kept in a slot of this capacity.
    #[inline]
    pub(crate) fn to_decode_in_buffer(&self, capacity: u32) -> Option<u32> {
        let is_decoding = self.flags & !(ANY | flag::ARMED | flag::FULL) == flag::ATTACHED | flag::BUFFER
            && self.blocked | self.needed_bytes == 0
            && self.buffered_bytes > 0
            && self.buffered_bytes < capacity;
        // A place of another size was never full.
        let is_kept_free = !self.has(flag::FULL) || self.capacity != capacity;
        (is_decoding && is_kept_free).then_some(self.buffered_bytes)
    }

    /// `BufferGranted` of a connection that waits; `None`, and nothing is changed, where that is not all.
    #[inline(always)]
    pub(crate) fn try_end_wait(&mut self, capacity: u32) -> Option<Actions> {
        const WAITS: u32 = flag::ATTACHED | flag::WAITING | flag::READY;
        const KEEPS: u32 = WAITS | flag::SLOT | flag::FULL;
        let fits = match self.flags & !(ANY_LEVEL | flag::ARMED) {
            WAITS => self.buffered_bytes | self.needed_bytes == 0 && capacity > 0,
            KEEPS => self.lacks_bytes(capacity),
            _ => false,
        };
        if !fits || self.blocked != 0 {
            return None;
        }
        self.clear(KEEPS & !flag::ATTACHED & !flag::READY);
        self.set(flag::BUFFER);
        (self.capacity, self.reads) = (capacity, 0);
        Some(self.with_accepting_interest(Action::Recv.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::kept_cycle::tests::{CAPACITY, by_table, for_each};
    use super::*;
    use crate::connection::Event;

    /// A report of one that asks for a buffer, with both answers.
    fn compare_reports(before: &Connection) {
        assert_eq!(by_table(before, &[Event::Readable]).pending_in_any_state(), Action::RequestBuffer.into());
        let least = before.buffered_bytes + before.needed_bytes.max(1);
        for capacity in least..=CAPACITY {
            let mut receiving = before.clone();
            let actions = receiving.receive_if_readable(capacity);
            assert_eq!(receiving, by_table(before, &[Event::Readable, Event::BufferGranted { capacity }]));
            assert_eq!(actions, receiving.pending_in_any_state(), "{before:?}");
        }
        let mut waiting = before.clone();
        let actions = waiting.wait_if_readable();
        let mut events = [Event::Readable, Event::BufferDenied].to_vec();
        if before.buffered_bytes > 0 {
            events.insert(1, Event::BufferParked { capacity: before.buffered_bytes });
        }
        assert_eq!(waiting, by_table(before, &events), "{before:?}");
        assert_eq!(actions, waiting.pending_in_any_state(), "{before:?}");
    }

    /// Whether the read interest of one that waits is off in one step.
    fn compare_stop(before: &Connection) -> bool {
        let mut stopped = before.clone();
        if !stopped.try_stop_waiting() {
            assert_eq!(&stopped, before);
            return false;
        }
        assert_eq!(before.pending_in_any_state(), Action::StopRecv.into(), "{before:?}");
        assert_eq!(stopped, by_table(before, &[Event::done(Action::StopRecv)]), "{before:?}");
        assert_eq!(stopped.pending_in_any_state(), Actions::NONE, "{before:?}");
        true
    }

    /// With facts of which there are too many for `for_each` to try many numbers with them.
    #[test]
    fn stop_of_one_that_waits_is_that_of_the_table() {
        let facts = flag::ATTACHED | flag::ARMED | flag::WAITING | flag::READY | flag::SLOT | flag::FULL;
        let mut taken = 0;
        for other in [0, flag::PAUSE_WHEN_BLOCKED, flag::OWN_READS, flag::PAUSED, flag::COUNTING] {
            for at in 0..4 * CAPACITY * CAPACITY {
                let (buffered_bytes, needed_bytes) = (at % CAPACITY, at / CAPACITY % CAPACITY);
                let blocked = at / CAPACITY / CAPACITY;
                let capacity = buffered_bytes.max(1);
                let flags = facts | other;
                let before =
                    Connection { flags, buffered_bytes, needed_bytes, capacity, blocked, ..Connection::default() };
                taken += u32::from(compare_stop(&before));
            }
        }
        assert_eq!(taken, 3 * (CAPACITY - 1) * (CAPACITY - 1));
    }

    /// What is to be decoded is consumed, or kept.
    fn compare_ends(before: &Connection, buffered_bytes: u32) {
        assert!(before.pending_in_any_state().has(Action::Decode), "{before:?}");
        let parked = Event::BufferParked { capacity: CAPACITY };
        let mut ended = before.clone();
        let actions = ended.end_kept_cycle();
        let events = [Event::Consumed { bytes: buffered_bytes }, Event::BufferReleased];
        assert_eq!((&ended, actions), (&by_table(before, &events), ended.pending_in_any_state()), "{before:?}");
        let mut kept = before.clone();
        let actions = kept.keep_blocked(CAPACITY, buffered_bytes, 5);
        let events = [Event::Block { reasons: 5 }, parked];
        assert_eq!((&kept, actions), (&by_table(before, &events), kept.pending_in_any_state()), "{before:?}");
        for needed_bytes in 1..=CAPACITY - buffered_bytes {
            let mut kept = before.clone();
            let actions = kept.keep_rest(CAPACITY, buffered_bytes, needed_bytes);
            let events = [Event::NeedMore { bytes: needed_bytes }, parked];
            assert_eq!((&kept, actions), (&by_table(before, &events), kept.pending_in_any_state()), "{before:?}");
        }
    }

    #[test]
    #[cfg_attr(miri, ignore)] // there are too many
    fn steps_are_those_of_the_table() {
        let mut taken = [0; 5];
        for_each(|before| {
            if before.asks_if_readable(CAPACITY) {
                taken[0] += 1;
                compare_reports(before);
            }
            for bytes in 0..=before.room() {
                let mut received = before.clone();
                if !received.try_receive(bytes) {
                    assert_eq!(&received, before);
                    continue;
                }
                taken[1] += 1;
                assert!(before.pending_in_any_state().has(Action::Recv), "{before:?}");
                assert_eq!(received, by_table(before, &[Event::Received { bytes }]), "{before:?}");
                if received.needed_bytes == 0 {
                    assert_eq!(received.pending_to_decode(), received.pending_in_any_state(), "{before:?}");
                }
            }
            let mut armed = before.clone();
            match armed.try_arm_to_receive() {
                None => assert_eq!(&armed, before),
                Some(actions) => {
                    taken[2] += 1;
                    assert_eq!(armed, by_table(before, &[Event::done(Action::WantRecv)]), "{before:?}");
                    assert_eq!(actions, armed.pending_in_any_state(), "{before:?}");
                }
            }
            compare_stop(before);
            if let Some(bytes) = before.to_decode_in_buffer(CAPACITY) {
                taken[3] += 1;
                compare_ends(before, bytes);
            }
            for capacity in 0..=CAPACITY {
                let mut granted = before.clone();
                match granted.try_end_wait(capacity) {
                    None => assert_eq!(&granted, before),
                    Some(actions) => {
                        taken[4] += 1;
                        assert_eq!(granted, by_table(before, &[Event::BufferGranted { capacity }]), "{before:?}");
                        assert_eq!(actions, granted.pending_in_any_state(), "{before:?}");
                    }
                }
            }
        });
        assert!(taken.iter().all(|&taken| taken >= 20), "{taken:?}");
    }
}
