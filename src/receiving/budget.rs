//! Buffers out of the budget that the host's own requests have as well: a scheduler decides between them.

use super::buffers::Buffers;
use crate::config_error::ConfigError;
use crate::scheduler::{Request, Scheduler, SchedulerConfig};

/// One budget for receivers and for requests of the host's own. Receivers use it as requests of the least critical class.
#[derive(Debug)]
pub(super) struct Budget {
    pub(super) scheduler: Scheduler,
    /// The class of receivers, and its reserve.
    class: u8,
    reserve: u32,
    taken: u32,
}

impl Budget {
    pub(super) fn new(config: &SchedulerConfig) -> Result<Budget, ConfigError> {
        let class = config.classes - 1;
        let reserve = config.reserves[usize::from(class)];
        Ok(Budget { scheduler: Scheduler::new(config)?, class, reserve, taken: 0 })
    }

    /// A buffer that a receiver had is the host's own lease from now on.
    pub(super) fn give_away(&mut self) {
        self.taken -= 1;
    }

    /// A buffer that was a lease of the host's own is a receiver's from now on.
    pub(super) fn adopt_buffer(&mut self) {
        self.taken += 1;
    }
}

impl Buffers for Budget {
    fn free(&self) -> u32 {
        let is_free = self.scheduler.would_grant(self.class);
        if is_free { self.scheduler.free_buffers() - self.reserve } else { 0 }
    }

    fn taken(&self) -> u32 {
        self.taken
    }

    fn take(&mut self) -> Option<u32> {
        let request = Request { has_deadline: false, ..Request::new(self.class, 0) };
        let lease = self.scheduler.try_request(&request).ok()??;
        self.taken += 1;
        Some(lease.index())
    }

    fn give(&mut self, buffer: u32) {
        self.taken -= 1;
        self.scheduler.release_at(buffer);
    }

    fn is_wanted(&self) -> bool {
        self.scheduler.is_wanted()
    }
}
