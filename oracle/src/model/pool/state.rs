//! All that the future of the model depends on, as numbers: see the pool's.

use super::{ModelPool, Receiver};
use crate::model::ModelReceiving;
use crate::model::scheduler::Names;

impl ModelPool {
    /// As `state_key`, of the pool of a thread; what shards have in common is written down for each. That a lease or a
    /// wait is this thread's is named with it.
    pub(crate) fn thread_key(&self, state: &mut Vec<u64>) {
        self.key_by(state, &|memory, handle| memory.shard().map_or(0, |shard| shard.owner(handle)));
        self.memory.shard().expect("it has one").state_key(state);
    }

    /// Writes down the state of each receiver and of the pool; returns the numbers of the host's waits and leases here.
    pub(crate) fn state_key(&self, state: &mut Vec<u64>) -> Names {
        self.key_by(state, &|_, _| 0)
    }

    fn key_by(&self, state: &mut Vec<u64>, owner: &dyn Fn(&ModelReceiving, u64) -> u64) -> Names {
        let ModelPool {
            config: _,
            memory,
            threads: _,
            deadlines: _, // the search of threads has none
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
        let owner = |handle: u64| if buffers.contains_key(&handle) { 1 } else { owner(memory, handle) };
        memory.look_at_scheduler(|scheduler| scheduler.state_key(state, &owner))
    }
}
