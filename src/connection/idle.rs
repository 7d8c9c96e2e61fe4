//! Events of an *idle* connection: it is open, holds nothing and waits for nothing, is in no rare state but an end or a
//! pause, and neither receives nor asks for a buffer. What the tables come to for it is written out here; the test
//! compares the two.

use super::{Action, Actions, Connection, Event, Mode, flag};

/// What an idle connection can be.
const IDLE_FLAGS: u32 =
    flag::ATTACHED | flag::READY | flag::ARMED | flag::PAUSED | flag::OVER | flag::END_SEEN | flag::SETTINGS;

impl Connection {
    /// What is pending, if it is idle.
    #[inline(always)]
    pub(crate) fn pending_if_idle(&self) -> Option<Actions> {
        if self.blocked | self.buffered_bytes == 0 { pending(self.flags) } else { None }
    }

    /// The event, of a connection that is idle before and after it. `None`, and nothing is changed, for another, and
    /// where it is refused.
    #[inline]
    pub(crate) fn try_idle_event(&mut self, event: Event) -> Option<Actions> {
        let before = self.pending_if_idle()?;
        let end = |kind| (self.flags | if self.has(flag::END_SEEN) { 0 } else { kind }) & !flag::READY;
        let flags = match event {
            Event::EndOfStream => end(flag::ENDED),
            Event::TransportError => end(flag::BROKEN),
            Event::PauseRecv => self.flags | flag::PAUSED,
            Event::ResumeRecv => self.flags & !flag::PAUSED,
            Event::Done(actions) if before.contains(actions) => self.flags_when_done(actions),
            _ => return None,
        };
        let actions = pending(flags)?;
        self.flags = flags;
        Some(actions)
    }

    /// The flags after actions that can be pending while it is idle.
    #[inline(always)]
    fn flags_when_done(&self, actions: Actions) -> u32 {
        let mut flags = self.flags;
        if actions.has(Action::WantRecv) {
            flags |= flag::ARMED;
        }
        if actions.has(Action::StopRecv) {
            flags &= !flag::ARMED;
        }
        if actions.has(Action::End) {
            flags |= flag::END_SEEN;
        }
        flags
    }

    /// Its cycle ends with the end of the stream, after that number of receives that found something; `None`, and
    /// nothing is changed, for another event.
    #[inline(always)]
    pub(crate) fn try_end_cycle(&mut self, reads: u8, event: Event) -> Option<Actions> {
        let actions = self.try_idle_event(event)?;
        self.reads = reads;
        Some(actions)
    }
}

/// What is pending of a connection with these flags that has no bytes and is not blocked, if it is idle.
#[inline(always)]
fn pending(flags: u32) -> Option<Actions> {
    if flags & !flag::SETTINGS == flag::ATTACHED | flag::ARMED {
        return Some(Actions::NONE); // As nearly all are.
    }
    let has = |any_of| flags & any_of != 0;
    let (is_over, is_armed) = (has(flag::OVER), has(flag::ARMED));
    let may_read = !is_over && !has(flag::PAUSED);
    if flags & (flag::ATTACHED | !IDLE_FLAGS) != flag::ATTACHED || (may_read && has(flag::READY)) {
        return None;
    }
    let is_edge = flags & flag::MODE == (Mode::Edge as u32) << flag::MODE_SHIFT;
    let is_wanted = if is_edge { !is_over } else { may_read };
    let mut actions = Actions::NONE;
    actions.set_if(is_wanted && !is_armed, Action::WantRecv);
    actions.set_if(!is_wanted && is_armed, Action::StopRecv);
    actions.set_if(is_over && !has(flag::END_SEEN), Action::End);
    Some(actions)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All flag words that may be idle, also those that no events lead to, and some that are not.
    fn connections() -> impl Iterator<Item = Connection> {
        let bits = [
            flag::READY,
            flag::ARMED,
            flag::PAUSED,
            flag::ENDED,
            flag::BROKEN,
            flag::END_SEEN,
            flag::PAUSE_WHEN_BLOCKED,
            flag::READS_AHEAD,
            flag::COUNTING,
            flag::OWN_READS,
            flag::CLOSED,
            flag::YIELDED,
            flag::PEER_CLOSED,
        ];
        Mode::ALL.into_iter().flat_map(move |mode| {
            (0..1u32 << bits.len()).map(move |word| {
                let chosen = (0..bits.len()).filter(|at| word >> at & 1 == 1).fold(0, |flags, at| flags | bits[at]);
                let flags = flag::ATTACHED | chosen | (mode as u32) << flag::MODE_SHIFT;
                Connection { flags, ..Connection::default() }
            })
        })
    }

    #[test]
    #[cfg_attr(miri, ignore)] // too many
    fn their_events_have_the_effects_of_the_table() {
        let masks = (0..1 << 4).map(|word: u32| Event::Done(Actions::from_known_bits(word & 3 | (word >> 2) << 10)));
        let others = [Event::EndOfStream, Event::TransportError, Event::PauseRecv, Event::ResumeRecv, Event::Wake];
        let events: alloc::vec::Vec<Event> = masks.chain(others).collect();
        let (mut taken, mut idle) = (0, 0);
        for (at, connection) in connections().enumerate() {
            let (reads, needed_bytes) = ((at % 5) as u8, (at % 3) as u32);
            let before = Connection { reads, needed_bytes, ..connection };
            if let Some(actions) = before.pending_if_idle() {
                assert_eq!(actions, before.pending_in_any_state(), "{before:?}");
                idle += 1;
            }
            let blocked = Connection { blocked: 1, ..before.clone() };
            assert_eq!(blocked.pending_if_idle(), None);
            for &event in &events {
                let (mut fast, mut table) = (before.clone(), before.clone());
                let Some(actions) = fast.try_idle_event(event) else {
                    assert_eq!(fast, before);
                    continue;
                };
                table.apply_event(event).expect("the event makes sense");
                assert_eq!((actions, &fast), (table.pending_in_any_state(), &table), "{before:?} {event:?}");
                taken += 1;
            }
        }
        assert!(idle > 4_000 && taken > 20_000, "{idle} {taken}");
    }
}
