//! What an event of the host leads to, once the machine has taken it.

use super::{BufferSource, Pool, PoolError};
use crate::connection::{Action, Actions, Event};
use crate::receiving::Stance;

impl<S: BufferSource> Pool<S> {
    /// What an event that the machine has taken leads to.
    pub(super) fn follow_event(&mut self, index: u32, event: Event) -> Actions {
        match event {
            Event::Readable | Event::Wake | Event::PeerClosed | Event::KernelFull => self.scheduled.clear(index),
            Event::WouldBlock | Event::WouldBlockArmed => self.undelivered.clear(index),
            Event::EndOfStream | Event::TransportError => {
                self.undelivered.clear(index);
                if !self.memory.is_shed(index) {
                    self.memory.end(index).expect("it is attached");
                }
            }
            // There is no decoder to look any more.
            Event::Fail => self.stop_counting(index),
            _ => {}
        }
        match event {
            Event::Readable => self.reconcile_readable(index),
            Event::PeerClosed => self.peer_closed(index),
            Event::KernelFull => self.kernel_full(index),
            _ => self.reconcile(index),
        }
    }

    /// The host has done these actions.
    pub(super) fn acknowledge(&mut self, index: u32, actions: Actions) -> Result<(), PoolError> {
        // A receiver is to be shed until it is closed.
        let stance = self.memory.stance(index);
        let mut own = if stance == Stance::Shed { Action::Shed.into() } else { Actions::NONE };
        let pending = self.table.connection(index).pending();
        let is_scheduled = actions.has(Action::Reschedule) && Self::is_late(pending, stance);
        if is_scheduled {
            own |= Action::Reschedule;
        }
        own |= self.done_for_mark(index, actions, pending, stance);
        let sets_mark = actions.has(Action::WantRecv) && self.sets_mark(index, pending, stance);
        if actions.has(Action::Recv) {
            self.check_may_submit(index)?;
        }
        self.table.connection_mut(index).acknowledge(actions.without(own), pending)?;
        if is_scheduled {
            self.scheduled.set(index, true);
        }
        if actions.has(Action::Recv) {
            self.submit(index);
        }
        if sets_mark {
            self.memory.set_mark(index).expect("it is attached");
        }
        Ok(())
    }
}
