//! What must always hold of a set of receivers.

use super::Receivers;
use super::entry::Place;
use super::step::host_actions;
use crate::connection::{Action, Actions, Hold};

impl Receivers {
    /// Checks what must always hold, walking everything: for tests.
    ///
    /// # Errors
    ///
    /// Names the rule that is broken.
    pub fn check_invariants(&self) -> Result<(), &'static str> {
        self.pool.check_invariants()?;
        self.memory.slots().check()?;
        let (mut waiting, mut in_buffers, mut in_slots, mut buffered_bytes) = (0, 0, 0, 0);
        for index in self.table.iter() {
            let (connection, place) = (self.table.connection(index), self.table.place(index));
            let granted = self.table.granted(index);
            let waits = self.table.wait(index).is_some() || granted.is_some();
            waiting += u32::from(waits && granted.is_none());
            in_buffers += u32::from(granted.is_some());
            if granted.is_some_and(|buffer| self.table.holder(buffer) != Some(index) || !connection.is_in_flight()) {
                return Err("I2: a grant is kept back only while a receive is in flight");
            }
            // One that holds a buffer and waits is waiting for a larger one.
            let grows = waits && matches!(place, Place::Buffer(_));
            if connection.is_waiting() != (waits && !grows) {
                return Err("I2: a receiver waits exactly when its connection does");
            }
            let agrees = match place {
                Place::Nowhere => connection.hold() == Hold::None,
                Place::Slot(slot) => connection.hold() == Hold::Slot && self.memory.slots().is_taken(slot),
                Place::Buffer(buffer) => connection.hold() == Hold::Buffer && self.table.holder(buffer) == Some(index),
            };
            if !agrees {
                return Err("I2: a receiver holds exactly what its connection does");
            }
            in_slots += u32::from(matches!(place, Place::Slot(_)));
            in_buffers += u32::from(matches!(place, Place::Buffer(_)));
            if self.table.start(index) + connection.level() > connection.capacity() {
                return Err("I5: the content lies inside what is held");
            }
            // What was buffered went with `Close`, though a receive in flight may go on into its memory.
            buffered_bytes += if connection.is_open() { u64::from(connection.level()) } else { 0 };
            let undone = connection.pending().without(host_actions(connection.pending()));
            if !undone.is_empty() && undone != Actions::from(Action::Park) {
                return Err("I4: what the receiver does by itself is done");
            }
        }
        let stats = self.stats();
        if in_slots != stats.slots_in_use || in_buffers > stats.pool.leased {
            return Err("I1: every slot and every buffer in use has a holder");
        }
        let gone_bytes = stats.consumed_bytes + stats.dropped_bytes + stats.handed_over_bytes;
        if stats.received_bytes != gone_bytes + buffered_bytes {
            return Err("I5: every byte that came in is buffered or was counted");
        }
        if waiting + self.host_waits != self.pool.waits() {
            return Err("I2: every waiting receiver is in the pool's queue");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::ReceiversConfig;
    use super::*;
    use crate::connection::{Event, Mode};
    use crate::pool::{LeaseId, Outcome};

    /// Row 0 receives into a slot and was granted a buffer meanwhile, row 1 has 5 bytes in a buffer, row 2 waits with a
    /// slot lent to it.
    fn receivers() -> Receivers {
        let mut config = ReceiversConfig::new(2, 4);
        config.policy.mode = Mode::Completion;
        let mut receivers = Receivers::new(&config).expect("the configuration is allowed");
        let leases: [LeaseId; 2] = core::array::from_fn(|_| match receivers.request(0, 9) {
            Ok(Outcome::Granted(lease)) => lease,
            other => panic!("a buffer is free: {other:?}"),
        });
        for (row, lease) in (0..).zip(leases) {
            let id = receivers.attach(0, 0).expect("there is room");
            receivers.handle(id, Event::done(Action::Recv)).expect("it may receive into its slot");
            receivers.release(lease).expect("it is the host's");
            receivers.poll_grant().expect("it was handed over");
            if row == 1 {
                receivers.handle(id, Event::Received { bytes: 5 }).expect("there is room");
            }
        }
        receivers.attach(0, 0).expect("there is room");
        assert_eq!(receivers.check_invariants(), Ok(()));
        receivers
    }

    /// The buffer that row 1 holds.
    fn buffer(receivers: &Receivers) -> u32 {
        match receivers.table.place(1) {
            Place::Buffer(buffer) => buffer,
            other => panic!("it is in a buffer: {other:?}"),
        }
    }

    fn tell(receivers: &mut Receivers, row: u32, event: Event) {
        receivers.table.connection_mut(row).take_in(event).expect("the event makes sense");
    }

    fn assert_named(rule: &str, broken: &[fn(&mut Receivers)]) {
        for (case, breaks) in broken.iter().enumerate() {
            let mut receivers = receivers();
            breaks(&mut receivers);
            assert_eq!(receivers.check_invariants(), Err(rule), "case {case}");
        }
    }

    #[test]
    fn a_row_that_does_not_agree_with_its_connection_is_named() {
        assert_named(
            "I2: a grant is kept back only while a receive is in flight",
            &[
                |receivers| tell(receivers, 0, Event::WouldBlock),
                |receivers| {
                    let granted = receivers.table.granted(0).expect("it was granted one");
                    receivers.table.set_place(2, Place::Buffer(granted));
                },
            ],
        );
        assert_named(
            "I2: a receiver waits exactly when its connection does",
            &[
                |receivers| receivers.table.set_wait(2, None),
                |receivers| receivers.table.set_granted(0, None),
                |receivers| tell(receivers, 2, Event::BufferGranted { capacity: 64 }),
            ],
        );
        assert_named(
            "I2: a receiver holds exactly what its connection does",
            &[
                |receivers| _ = receivers.table.set_place(0, Place::Nowhere),
                |receivers| _ = receivers.table.set_place(1, Place::Nowhere),
                |receivers| _ = receivers.table.set_place(1, receivers.table.place(2)),
                |receivers| _ = receivers.table.set_place(2, Place::Buffer(buffer(receivers))),
                |receivers| match receivers.table.place(2) {
                    Place::Slot(slot) => receivers.memory.slots_mut().give(slot).expect("it is taken"),
                    other => panic!("it has a slot: {other:?}"),
                },
            ],
        );
    }

    #[test]
    fn content_that_does_not_lie_in_what_is_held_is_named() {
        let mut receivers = receivers();
        let room = receivers.table.connection(1).capacity() - 5;
        receivers.table.set_start(buffer(&receivers), room);
        assert_eq!(receivers.check_invariants(), Ok(()));
        receivers.table.set_start(buffer(&receivers), room + 1);
        assert_eq!(receivers.check_invariants(), Err("I5: the content lies inside what is held"));
    }

    #[test]
    fn what_is_not_done_or_has_no_holder_is_named() {
        assert_named(
            "I4: what the receiver does by itself is done",
            &[|receivers| {
                tell(receivers, 1, Event::PauseRecv);
                tell(receivers, 1, Event::Consumed { bytes: 5 });
            }],
        );
        assert_named(
            "I1: every slot and every buffer in use has a holder",
            &[
                |receivers| _ = receivers.memory.slots_mut().take_smallest(),
                |receivers| {
                    let buffer = buffer(receivers);
                    receivers.pool.release_at(buffer);
                },
            ],
        );
        assert_named(
            "I5: every byte that came in is buffered or was counted",
            &[
                |receivers| receivers.counts.received_bytes += 1,
                |receivers| receivers.counts.dropped_bytes += 1,
                |receivers| tell(receivers, 1, Event::Consumed { bytes: 1 }),
            ],
        );
        assert_named("I2: every waiting receiver is in the pool's queue", &[|receivers| receivers.host_waits += 1]);
    }
}
