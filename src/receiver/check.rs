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
        let (mut waiting, mut in_buffers, mut in_slots) = (0, 0, 0);
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
                Place::Slot(_) => connection.hold() == Hold::Slot,
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
            let undone = connection.pending().without(host_actions(connection.pending()));
            if !undone.is_empty() && undone != Actions::from(Action::Park) {
                return Err("I4: what the receiver does by itself is done");
            }
        }
        let stats = self.stats();
        if in_slots != stats.slots_in_use || in_buffers > stats.pool.leased {
            return Err("I1: every slot and every buffer in use has a holder");
        }
        if waiting + self.host_waits != self.pool.waits() {
            return Err("I2: every waiting receiver is in the pool's queue");
        }
        Ok(())
    }
}
