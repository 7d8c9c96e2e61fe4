//! The invariants of a pool.

use super::{BufferSource, Counts, Pool};
use crate::connection::{Action, Hold};

impl<S: BufferSource> Pool<S> {
    /// Checks what must always hold, walking everything: for tests.
    ///
    /// # Errors
    ///
    /// Names the rule that is broken.
    pub fn check_invariants(&self) -> Result<(), &'static str> {
        let unlisted = self.kept_cycle.is_open().then_some(self.kept_cycle.index);
        self.memory.check_invariants_beside(unlisted)?;
        let mut buffered_bytes = 0;
        for index in self.table.iter() {
            if self.check_in_flight(index)? {
                continue;
            }
            let (connection, facts) =
                (self.connection_at(index), self.memory.facts(index).map_err(|_| "I2: a row without memory")?);
            buffered_bytes += u64::from(connection.buffered_bytes() - self.memory.seen_bytes(index));
            if self.has_open_cycle(index) {
                if !self.memory.may_borrow_unlisted(index) {
                    return Err("I2: a receiver whose cycle is open borrows and keeps nothing beside");
                }
                continue;
            }
            if self.kept_cycle.is_of(index) {
                let unread_bytes = self.kept_cycle.buffered_bytes() - self.kept_cycle.received_bytes;
                if facts.is_borrowing || facts.kept_bytes != unread_bytes || connection.hold() != Hold::Buffer {
                    return Err("I2: a receiver whose cycle is open keeps what it kept");
                }
                continue;
            }
            if facts.is_shed {
                // The machine learns of it with the notice.
                continue;
            }
            if connection.buffered_bytes() != facts.kept_bytes {
                return Err("I5: the machine knows what is undecoded");
            }
            let hold = match (facts.is_borrowing, facts.kept_bytes) {
                (true, _) => Hold::Buffer,
                (false, 0) => Hold::None,
                (false, _) => Hold::Slot,
            };
            if connection.hold() != hold && !self.is_misfit_seen(index) {
                return Err("I2: the machine knows what is held");
            }
            let waits = facts.claim_since_ns.is_some() || facts.is_off;
            // A claim goes on while the host is to ask again in the next loop iteration.
            let asks = connection.pending().has(Action::RequestBuffer);
            let is_known = if connection.is_waiting() { waits } else { !waits || asks };
            if !is_known && !facts.is_borrowing {
                return Err("I2: the machine knows what is waited for");
            }
        }
        let Counts { received_bytes, consumed_bytes, dropped_bytes, taken_bytes } = self.counts();
        if received_bytes != consumed_bytes + dropped_bytes + taken_bytes + buffered_bytes {
            return Err("I5: the counters add up");
        }
        self.memory.buffers().check_invariants()
    }
}
