//! What an event of the host leads to, once the machine has taken it.

use super::{BufferSource, Pool, PoolError, RawStep};
use crate::connection::{Action, Actions, Event, Hold};
use crate::receiving::Stance;

impl<S: BufferSource> Pool<S> {
    /// The event in one step, where there is one, and it is not about a receive in flight; `None`, and nothing is
    /// changed, where not.
    #[inline(always)] // C has a call for each event
    pub(super) fn try_step(&mut self, index: u32, event: Event) -> Option<Actions> {
        match event {
            Event::Readable if self.table.connection(index).hold() == Hold::None => {
                self.look_and_begin(index).map(RawStep::actions)
            }
            Event::Readable => self.try_receive_behind_kept(index),
            Event::Received { bytes } => self.try_received_behind_kept(index, bytes),
            Event::Consumed { bytes } => self.try_report(index, bytes, 0, 0),
            Event::NeedMore { bytes } if bytes > 0 => self.try_report(index, 0, bytes, 0),
            Event::Block { reasons } => self.try_keep_blocked(index, reasons),
            Event::Unblock { reasons } => self.try_decode_kept(index, reasons),
            Event::Done(actions) => self.try_done(index, actions),
            event => self.try_idle_event(index, event),
        }
    }

    #[inline(always)]
    fn try_done(&mut self, index: u32, actions: Actions) -> Option<Actions> {
        const WANT_RECV: u32 = Action::WantRecv as u32;
        const STOP_RECV: u32 = Action::StopRecv as u32;
        match actions.bits() {
            WANT_RECV => self.look_and_arm(index).map(RawStep::actions),
            STOP_RECV => self.try_idle_event(index, Event::Done(actions)).or_else(|| self.try_stop(index)),
            _ => self.try_idle_event(index, Event::Done(actions)),
        }
    }

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
