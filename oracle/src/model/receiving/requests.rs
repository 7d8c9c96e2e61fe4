//! Buffers of receivers out of the budget that the host's own requests have as well: receivers take each as a request of the
//! last class.

use crate::model::ModelScheduler;
use crate::system::{Ask, System};

/// The scheduler of a pool, and the buffers that receivers have.
#[derive(Clone, Debug)]
pub(in crate::model) struct Requests {
    pub(in crate::model) scheduler: ModelScheduler,
    class: u8,
    /// The receive buffer, and the header buffers.
    fixed: u32,
    taken: Vec<u64>,
}

impl Requests {
    /// Of a scheduler that was not used yet.
    pub(in crate::model) fn new(scheduler: ModelScheduler, fixed: u32) -> Requests {
        let class = scheduler.classes() as u8 - 1;
        let mut requests = Requests { scheduler, class, fixed, taken: Vec::new() };
        requests.settle(0);
        requests
    }

    /// Those that receivers have.
    pub(super) fn taken(&self) -> u32 {
        self.taken.len() as u32
    }

    /// Those that receivers have, and those that they could take.
    pub(super) fn reachable(&self) -> u32 {
        self.taken.len() as u32 - self.fixed + self.scheduler.could_take(self.class)
    }

    /// Receivers have this many, beside those that they always have.
    pub(super) fn settle(&mut self, taken: u32) {
        let taken = (taken + self.fixed) as usize;
        while self.taken.len() > taken {
            let lease = self.taken.pop().expect("there are more");
            self.scheduler.release(lease).expect("a lease in force");
        }
        while self.taken.len() < taken {
            let lease = self.scheduler.try_request_timed(Ask::new(self.class, 0), false);
            self.taken.push(lease.expect("it is allowed").expect("one is free"));
        }
    }

    /// A buffer of the receivers' is the host's from now on.
    pub(super) fn give_away(&mut self) -> u64 {
        self.taken.pop().expect("receivers have it")
    }

    /// A buffer of the host's is the receivers' from now on; false if the cap of their class does not allow it.
    pub(super) fn adopt(&mut self, lease: u64) -> bool {
        let adopted = self.scheduler.reassign(lease, self.class);
        self.taken.extend(adopted);
        adopted.is_some()
    }
}
