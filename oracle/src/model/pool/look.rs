//! Section 15, as a connection sees it: receives of a whole from a look.

use super::ModelPool;
use crate::receiving_system::{ReceivingSystem, Rest};
use demuxbuf::connection::{Action, Actions};
use demuxbuf_capi::*;

impl ModelPool {
    pub(super) fn owes(&self, id: u64) -> u32 {
        self.memory.facts(self.row(id)).owed
    }

    /// What the connection asks for waits until nothing is owed.
    pub(super) fn with_owed(&self, id: u64, actions: Actions) -> Option<Actions> {
        let away = Actions::from(Action::Recv) | Action::RecvWhole | Action::Discard;
        let stop = if actions.has(Action::StopRecv) { Action::StopRecv.into() } else { Actions::NONE };
        (self.owes(id) > 0).then_some(away | stop)
    }

    /// The decoder has reported on what was looked at, or will not.
    pub(super) fn report_look(&mut self, id: u64, rest: Rest) {
        let after = self.memory.decoded(self.row(id), 0, rest);
        self.show_left(id, rest == Rest::Held);
        self.follow(id, after);
    }

    /// The decoder will not go on with what was looked at, if anything was.
    pub(super) fn give_up_look(&mut self, id: u64) {
        if self.is_looked_at(id) {
            self.report_look(id, Rest::Held);
        }
    }

    /// What the memory has no more, and was not dropped, is in the kernel.
    pub(super) fn show_left(&mut self, id: u64, waits_for_host: bool) {
        let left = self.connection(id).buffered_bytes() - self.memory.facts(self.row(id)).kept;
        if left > 0 {
            self.at(id).connection.leave_in_kernel(left, waits_for_host);
            if self.is_misfit(id) {
                self.show_misfit(id);
            }
        }
    }

    pub(super) fn receive_away(&mut self, id: u64, bytes: u32) -> Result<(), i32> {
        if bytes == 0 {
            return Err(DEMUXBUF_ERR_ZERO_BYTES);
        }
        if bytes > self.owes(id) {
            return Err(DEMUXBUF_ERR_TOO_MANY_BYTES);
        }
        let after = self.memory.received_away(self.row(id), bytes);
        self.expire_mark(id);
        self.follow(id, after);
        Ok(())
    }

    pub(super) fn is_looked_at(&self, id: u64) -> bool {
        self.memory.is_looked_at(self.row(id))
    }

    pub(super) fn check_not_looked_at(&self, id: u64) -> Result<(), i32> {
        if self.is_looked_at(id) { Err(DEMUXBUF_ERR_LOOKED_AT) } else { Ok(()) }
    }

    pub(super) fn check_nothing_owed(&self, id: u64) -> Result<(), i32> {
        if self.owes(id) > 0 { Err(DEMUXBUF_ERR_LOOKED_AT) } else { Ok(()) }
    }
}
