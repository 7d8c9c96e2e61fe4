//! Receivers that count: section 15, as a connection sees it.

use super::{ModelPool, Standing};
use crate::receiving_system::{After, ReceivingSystem};
use demuxbuf::connection::{Action, Actions, Event, Mode, Policy};
use demuxbuf_capi::{DEMUXBUF_ERR_CANNOT_COUNT, DEMUXBUF_ERR_NOT_PENDING};

/// What a step is about, if one of these is asked for.
const ABOUT_CONTENT: [Action; 6] =
    [Action::Recv, Action::Peek, Action::Decode, Action::End, Action::CannotFit, Action::Shed];
/// What comes before the mark is set.
const BEFORE_MARK: [Action; 5] = [Action::Recv, Action::Peek, Action::Decode, Action::StopRecv, Action::Reschedule];

/// A receiver that counts leaves a known number of bytes in the kernel.
pub(super) fn check_counting(policy: &Policy, unknown_length: bool) -> Result<(), i32> {
    let cannot = policy.mode == Mode::Optimistic || policy.reads_ahead || unknown_length;
    if policy.counting && cannot { Err(DEMUXBUF_ERR_CANNOT_COUNT) } else { Ok(()) }
}

fn has_any(actions: Actions, some: &[Action]) -> bool {
    some.iter().any(|&action| actions.has(action))
}

impl ModelPool {
    /// What a connection asks for to receive is to look, or to receive a whole; and the mark may be another one.
    pub(super) fn with_counting(&self, id: u64, mut actions: Actions) -> Actions {
        if let Some(owed) = self.with_owed(id, actions) {
            return owed;
        }
        let legal = self.memory.legal(self.row(id));
        if actions.has(Action::Recv) && legal.whole_look {
            actions = actions.without(Action::Recv.into()) | Action::Peek | Action::RecvWhole;
        } else if actions.has(Action::Recv) && legal.looked {
            actions = actions.without(Action::Recv.into()) | Actions::from(Action::Peek);
        } else if actions.has(Action::Recv) && legal.whole {
            actions |= Actions::from(Action::RecvWhole);
        }
        if self.is_mark_due(id, actions) { actions | Actions::from(Action::WantRecv) } else { actions }
    }

    fn is_mark_due(&self, id: u64, actions: Actions) -> bool {
        let connection = self.connection(id);
        let may_set = connection.is_open() && connection.is_accepting() && !connection.in_flight();
        let is_alone = !has_any(actions, &BEFORE_MARK) && self.standing(id) != Standing::Shed;
        self.mark_in_force(id) != self.wanted_mark(id) && may_set && is_alone
    }

    fn mark_in_force(&self, id: u64) -> u32 {
        self.receivers[&id].mark
    }

    /// The mark that the host is to set.
    fn wanted_mark(&self, id: u64) -> u32 {
        self.awaited_bytes(id).max(1)
    }

    pub(super) fn awaited_bytes(&self, id: u64) -> u32 {
        self.memory.facts(self.row(id)).mark
    }

    /// The mark that a step shows; 0 if it is about something else.
    pub(super) fn shown_mark(&self, id: u64, actions: Actions) -> u32 {
        let is_about_mark = actions.has(Action::WantRecv) && !has_any(actions, &ABOUT_CONTENT);
        if !is_about_mark || !self.receivers.contains_key(&id) {
            return 0;
        }
        let has_marks = self.connection(id).counts() || self.mark_in_force(id) != self.wanted_mark(id);
        if has_marks { self.wanted_mark(id) } else { 0 }
    }

    /// The host can only report a mark that a step had.
    pub(super) fn knows_mark(&self, id: u64) -> bool {
        self.mark_in_force(id) == self.wanted_mark(id) || !has_any(self.host_actions(id), &ABOUT_CONTENT)
    }

    /// Which of these the connection did not ask for, because they are about the mark. What is done at once is not
    /// submitted.
    pub(super) fn check_done(&self, id: u64, actions: Actions) -> Result<Actions, i32> {
        let may_submit = self.host_actions(id).has(Action::Recv) && !self.leaves_partial(id) && self.owes(id) == 0;
        if actions.has(Action::Recv) && !may_submit {
            return Err(DEMUXBUF_ERR_NOT_PENDING);
        }
        let is_own = !self.connection(id).pending().has(Action::WantRecv);
        let is_due = actions.has(Action::WantRecv) && self.host_actions(id).has(Action::WantRecv);
        Ok(if is_own && is_due { Action::WantRecv.into() } else { Actions::NONE })
    }

    /// The host has set the mark that is wanted.
    pub(super) fn set_mark(&mut self, id: u64) {
        self.at(id).mark = self.wanted_mark(id);
    }

    /// After an edge the kernel looks again only if the mark is set again.
    pub(super) fn expire_mark(&mut self, id: u64) {
        if self.connection(id).mode() == Mode::Edge && self.mark_in_force(id) > 1 {
            self.at(id).mark = 0;
        }
    }

    /// It looks, or receives a whole.
    fn leaves_partial(&self, id: u64) -> bool {
        let legal = self.memory.legal(self.row(id));
        legal.looked || legal.whole || legal.whole_look
    }

    /// The decoder needs this much, of what the host looked at.
    pub(super) fn follow_look(&mut self, id: u64, needed: u32) {
        let row = self.row(id);
        if needed == 0 || !self.memory.legal(row).looked || self.connection(id).facts().failed {
            return;
        }
        match self.memory.looked(row, needed) {
            After::Whole { bytes } | After::WholeLook { bytes } => {
                if self.connection(id).facts().capacity < bytes {
                    self.grant(id, bytes);
                }
            }
            _ => drop(self.show_misfit(id)),
        }
    }

    /// The kernel holds no more.
    pub(super) fn kernel_full(&mut self, id: u64) -> Actions {
        let row = self.row(id);
        if !self.memory.legal(row).kernel_full {
            return self.readable(id);
        }
        let after = self.memory.kernel_full(row);
        self.follow(id, after);
        self.settle_as(id, 0, true)
    }

    /// The peer sends no more.
    pub(super) fn peer_closed(&mut self, id: u64) -> Actions {
        let leaves_some = self.leaves_partial(id) || self.awaited_bytes(id) > 0;
        let after = self.memory.peer_closed(self.row(id));
        self.follow(id, after);
        if leaves_some { self.settle_as(id, 0, true) } else { self.readable(id) }
    }

    /// Nothing is left in the kernel any more.
    pub(super) fn stop_counting(&mut self, id: u64) {
        let row = self.row(id);
        self.give_up_look(id);
        if self.leaves_partial(id) {
            let after = self.memory.dry(row);
            self.follow(id, after);
        }
        if self.standing(id) != Standing::Shed {
            self.memory.set_counts(row, false);
        }
    }

    /// What a policy has about counting, which was checked, holds from now on.
    pub(super) fn follow_counting(&mut self, id: u64, is_to_count: bool) {
        let is_shed = self.standing(id) == Standing::Shed;
        if is_to_count && !self.memory.counts(self.row(id)) && !is_shed {
            self.memory.set_counts(self.row(id), true);
        }
    }

    /// What waited under a mark has its trial: the connection sees a report first.
    pub(super) fn show_trial(&mut self, id: u64) {
        if !self.connection(id).facts().ready {
            self.feed(id, Event::Readable);
        }
    }
}
