//! Receives of a whole from a look, as the machine sees them: what is decoded while it stays in the kernel.

use super::{BufferSource, Pool, PoolError};
use crate::connection::{EventError, Mode};
use crate::receiving::Rest;

impl<S: BufferSource> Pool<S> {
    /// The decoder's report on what was looked at, and why it left bytes.
    pub(super) fn report_look(&mut self, index: u32, usable_bytes: u32) {
        let rest = self.rest(index, usable_bytes);
        let after = self.memory.decoded(index, 0, rest).expect("it looked");
        self.follow_left(index, rest == Rest::Held);
        self.follow(index, after);
    }

    /// What was looked at, if anything was, is not decoded any more.
    pub(super) fn end_look(&mut self, index: u32) {
        if self.memory.is_looked_at(index) {
            let after = self.memory.decoded(index, 0, Rest::Held).expect("it looked");
            self.follow_left(index, true);
            self.follow(index, after);
        }
    }

    /// What was looked at, and is content no more, is in the kernel still, also for the machine.
    pub(super) fn follow_left(&mut self, index: u32, waits_for_host: bool) {
        let kept_bytes = self.memory.facts(index).expect("it is attached").kept_bytes;
        let connection = self.table.connection_mut(index);
        let left_bytes = connection.buffered_bytes() - kept_bytes;
        if left_bytes == 0 {
            return;
        }
        let needed_bytes = match connection.needed_bytes() {
            0 => 0,
            needed_bytes => needed_bytes.saturating_add(left_bytes),
        };
        connection.leave_in_kernel(left_bytes, needed_bytes, waits_for_host);
        if self.is_misfit(index) {
            self.show_misfit(index);
        }
    }

    /// The host has received bytes that were decoded when they were looked at.
    pub(super) fn receive_away(&mut self, index: u32, bytes: u32) -> Result<(), PoolError> {
        if bytes == 0 {
            return Err(EventError::ZeroBytes.into());
        }
        let after = self.memory.received_away(index, bytes).map_err(|_| PoolError::TooManyBytes)?;
        self.follow_receive(index);
        self.follow(index, after);
        Ok(())
    }

    /// The decoder has consumed bytes, which counts as their receive if they were only looked at.
    pub(super) fn consume_in_memory(&mut self, index: u32, bytes: u32) {
        let seen_bytes = self.memory.seen_bytes(index);
        self.memory.consume(index, bytes).expect("the machine has as many");
        self.counts.received_bytes += u64::from(seen_bytes - self.memory.seen_bytes(index));
    }

    /// Refuses what needs bytes that were looked at to be reported on.
    pub(super) fn check_not_looked_at(&self, index: u32) -> Result<(), PoolError> {
        if self.memory.is_looked_at(index) { Err(PoolError::LookedAt) } else { Ok(()) }
    }

    /// Refuses what needs bytes that are owed to be received away.
    pub(super) fn check_nothing_owed(&self, index: u32) -> Result<(), PoolError> {
        if self.memory.owed_bytes(index) > 0 { Err(PoolError::LookedAt) } else { Ok(()) }
    }

    /// Refuses a call about the content, or another way to receive, from a look to the receive that follows it.
    pub(crate) fn check_no_look(&self, index: u32) -> Result<(), PoolError> {
        self.check_not_looked_at(index)?;
        self.check_nothing_owed(index)
    }

    /// Bytes were received from the kernel.
    pub(super) fn follow_receive(&mut self, index: u32) {
        if self.table.connection(index).has_mode(Mode::Edge) {
            // Only setting it makes the kernel look again.
            self.memory.expire_mark(index).expect("it is attached");
        }
    }
}
