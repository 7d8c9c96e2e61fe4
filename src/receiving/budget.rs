//! Buffers out of the budget that the host's own requests have as well: a scheduler decides between them.

use super::buffers::Buffers;
use super::config::OTHERS_MIN;
use super::{Receiving, Split};
use crate::config_error::{Allowed, ConfigError};
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
    /// A budget of as many buffers as memory is split into.
    pub(super) fn new(requests: &SchedulerConfig, split: &Split) -> Result<Budget, ConfigError> {
        let scheduler = Scheduler::new(requests)?;
        let class = requests.classes - 1;
        let at = usize::from(class);
        let (reserve, cap) = (requests.reserves[at], requests.class_caps[at]);
        let least = split.header_buffers + OTHERS_MIN;
        let refused =
            |field, value: u32, allowed| ConfigError::Refused { field, index: Some(at), value: value.into(), allowed };
        if reserve > split.buffers - least {
            let allowed = Allowed::Range { min: 0, max: (split.buffers - least).into() };
            return Err(refused("reserves", reserve, allowed));
        }
        if cap < least {
            return Err(refused("class_caps", cap, Allowed::AtLeast(least.into())));
        }
        Ok(Budget { scheduler, class, reserve, taken: 0 })
    }

    /// Classes of requests; receivers have the last.
    pub(super) fn classes(&self) -> u8 {
        self.class + 1
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
        if !self.scheduler.would_grant(self.class) {
            return 0;
        }
        // There is one size, so a unit is a buffer.
        (self.scheduler.free_units() - self.reserve).min(self.scheduler.left_of_cap(self.class))
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

impl Receiving<Budget> {
    /// Returns the pages of free buffers to the operating system, and reports how many bytes.
    pub(super) fn trim(&mut self) -> usize {
        let rows = 0..self.buffers.scheduler.buffers_max();
        self.arena.trim(self.buffers.scheduler.free_to_trim(rows))
    }
}
