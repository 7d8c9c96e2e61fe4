//! All that the future of the model depends on, as numbers: see the pool's.

use super::{ModelPool, Receiver};
use crate::model::scheduler::Names;

impl ModelPool {
    /// Writes down the state of each receiver and of the pool; returns the numbers of the host's waits and leases here.
    pub(crate) fn state_key(&self, state: &mut Vec<u64>) -> Names {
        let ModelPool {
            config: _,
            memory,
            threads: _,
            deadlines: _, // of threads alone
            receivers,
            free_rows: _, // another order makes no difference but that of numbers
            rows: _,
            buffers,
            arriving: _, // values of bytes
            next_receiver: _,
            is_attach_awaited,
            is_draining,
            is_drain_awaited,
            counts: _,
        } = self;
        for Receiver { connection, row, token: _, class, is_scheduled, is_undelivered, mark } in receivers.values() {
            let flags = [*is_scheduled, *is_undelivered].map(u64::from);
            state.extend([u64::from(*row), u64::from(*class), flags[0], flags[1], u64::from(*mark)]);
            connection.state_key(state);
        }
        state.extend([u64::MAX, (*is_attach_awaited).into(), (*is_draining).into(), (*is_drain_awaited).into()]);
        memory.state_key(state);
        memory.look_at_scheduler(|scheduler| scheduler.state_key(state, &|handle| buffers.contains_key(&handle).into()))
    }
}
