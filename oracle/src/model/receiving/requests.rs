//! Buffers of receivers out of the budget that the host's own requests have as well: receivers take each as a request
//! of the last class.

use super::shard::Shard;
use crate::model::ModelScheduler;
use crate::system::{Ask, System};

/// Where buffers come from, and those that receivers have.
#[derive(Clone, Debug)]
pub(in crate::model) struct Requests {
    pub(super) source: Source,
    class: u8,
    /// The receive buffer, and the header buffers.
    fixed: u32,
    taken: Vec<u64>,
}

#[derive(Clone, Debug)]
pub(super) enum Source {
    /// A scheduler of the pool's own.
    Own(Box<ModelScheduler>),
    /// The shard of a thread.
    Shard(Shard),
}

impl Requests {
    /// Of a scheduler that was not used yet.
    pub(super) fn new(scheduler: ModelScheduler, fixed: u32) -> Requests {
        let class = scheduler.classes() as u8 - 1;
        let mut requests = Requests { source: Source::Own(Box::new(scheduler)), class, fixed, taken: Vec::new() };
        requests.settle(0);
        requests
    }

    /// Of a shard that has what its receivers have in any case.
    pub(super) fn of_shard(shard: Shard, class: u8, fixed: u32) -> Requests {
        let mut requests = Requests { source: Source::Shard(shard), class, fixed, taken: Vec::new() };
        requests.settle(0);
        requests
    }

    /// Calls the scheduler that decides.
    pub(super) fn call<R>(&mut self, act: impl FnOnce(&mut ModelScheduler) -> R) -> R {
        match &mut self.source {
            Source::Own(scheduler) => act(scheduler),
            Source::Shard(shard) => shard.desk.call(act),
        }
    }

    /// Looks at it.
    pub(super) fn look<R>(&self, look: impl FnOnce(&ModelScheduler) -> R) -> R {
        match &self.source {
            Source::Own(scheduler) => look(scheduler),
            Source::Shard(shard) => look(&shard.desk.scheduler()),
        }
    }

    /// Those that receivers have, and that a shard has for them.
    pub(super) fn taken(&self) -> u32 {
        self.taken.len() as u32 + self.shard().map_or(0, Shard::held)
    }

    /// Those that receivers have, and those that they could take.
    pub(super) fn reachable(&self) -> u32 {
        let free = match &self.source {
            Source::Own(scheduler) => scheduler.could_take(self.class),
            Source::Shard(shard) => shard.free(),
        };
        self.taken.len() as u32 - self.fixed + free
    }

    /// Receivers have this many, beside those that they always have.
    pub(super) fn settle(&mut self, taken: u32) {
        let taken = (taken + self.fixed) as usize;
        while self.taken.len() > taken {
            let lease = self.taken.pop().expect("there are more");
            match &mut self.source {
                Source::Own(scheduler) => scheduler.release(lease).expect("a lease in force"),
                Source::Shard(shard) => shard.give(lease),
            }
        }
        while self.taken.len() < taken {
            let lease = match &mut self.source {
                Source::Own(scheduler) => {
                    let lease = scheduler.try_request_timed(Ask::new(self.class, 0), false);
                    lease.expect("it is allowed").expect("one is free")
                }
                Source::Shard(shard) => shard.take(),
            };
            self.taken.push(lease);
        }
    }

    /// A buffer of the receivers' is the host's from now on.
    pub(super) fn give_away(&mut self) -> u64 {
        self.taken.pop().expect("receivers have it")
    }

    /// A buffer of the host's is the receivers' from now on; false if the cap of their class does not allow it.
    pub(super) fn adopt(&mut self, lease: u64) -> bool {
        let adopted = match &mut self.source {
            Source::Own(scheduler) => scheduler.reassign(lease, self.class),
            Source::Shard(shard) => shard.desk.call(|scheduler| scheduler.reassign(lease, self.class)),
        };
        self.taken.extend(adopted);
        adopted.is_some()
    }

    /// A buffer of another thread's receivers is this one's.
    pub(super) fn import(&mut self, lease: u64) {
        self.taken.push(lease);
    }

    /// Receivers have none any more: those that they had.
    pub(super) fn end(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.taken)
    }

    pub(super) fn shard(&self) -> Option<&Shard> {
        match &self.source {
            Source::Own(_) => None,
            Source::Shard(shard) => Some(shard),
        }
    }

    pub(super) fn shard_mut(&mut self) -> Option<&mut Shard> {
        match &mut self.source {
            Source::Own(_) => None,
            Source::Shard(shard) => Some(shard),
        }
    }
}
