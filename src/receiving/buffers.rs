//! Where the buffers of receivers come from.

use super::Split;
use crate::alloc_util::reserve;
use crate::config_error::ConfigError;
use alloc::vec::Vec;

pub(super) use crate::scheduler::LoadOrder;

/// The buffers that receivers may use. Their numbers are those of the arena.
pub trait Buffers {
    /// How many may be taken now, one after the other. Of a shard, the first of them is ready, and the others are what
    /// was free when it looked last: one call takes no more than was made ready.
    fn free(&self) -> u32;

    /// Before a call that may take as many: those that are free are made ready to be taken.
    #[inline(always)]
    fn make_ready(&mut self, _buffers: u32) {}

    /// As `make_ready` of one buffer, after this number was free: how many are now.
    #[inline(always)]
    fn free_once_ready(&mut self, before: u32) -> u32 {
        before
    }

    /// The clock was advanced: the view of what is free is renewed.
    #[inline(always)]
    fn look(&mut self) {}

    /// Another limit of memory is set, which the next advance of the clock brings into force.
    fn awaits_advance(&self) -> bool {
        false
    }

    /// At most this number is free while a receiver without credit is in shortage. It is `before` unless a limit of
    /// memory changes it.
    fn reserve(&self, before: u32) -> u32 {
        before
    }

    /// Nothing is left to poll: what is free beyond the spare of a shard is returned. `true` if more is free than
    /// before then, for others returned some, too.
    #[inline(always)]
    fn return_spares(&mut self) -> bool {
        false
    }

    /// What waits for memory now that nothing is left to poll, and whether it may begin to ask for it now. `true` if a
    /// buffer came at once.
    #[inline(always)]
    fn settle(&mut self, _wanted: Option<Wanted>, _may_ask: bool) -> bool {
        false
    }

    /// Takes a buffer, if one is free.
    fn take(&mut self) -> Option<u32>;

    /// Returns a buffer. A request of the host's own that waits may have it at once.
    fn give(&mut self, buffer: u32);

    /// How many are taken, by receivers or otherwise by way of `take`.
    fn taken(&self) -> u32;

    /// Whether a buffer of the host's own can become one of a receiver, after this many were taken.
    fn may_adopt(&self, _buffer: u32, _taken_before: u32) -> bool {
        true
    }

    /// Whether a request of the host's own waits that content may be evicted for.
    fn is_wanted(&self) -> bool;

    /// Whether requests of the host's own wait.
    fn has_waiters(&self) -> bool {
        false
    }

    /// The most tenants beside the default one. Where it is 0, none of the calls below is made.
    fn tenants_max(&self) -> u32 {
        0
    }

    /// A cell of a receiver of this tenant had `less_bytes`, and has `more_bytes`.
    fn keep(&mut self, _tenant: u32, _less_bytes: u32, _more_bytes: u32) {}

    /// What is counted by `keep`.
    fn kept_bytes(&self, _tenant: u32) -> u64 {
        0
    }

    /// Whether a tenant belongs into an order, as far as what it holds allows.
    fn set_wants(&mut self, _tenant: u32, _order: LoadOrder, _wants: bool) {}

    /// The first tenant in an order.
    fn first_in(&self, _order: LoadOrder) -> Option<u32> {
        None
    }

    /// The tenant whose content may go before its deadline, so that a cell of the claimant has another size.
    fn next_to_evict(&self, _claimant: u32, _less_bytes: u32, _more_bytes: u32) -> Option<u32> {
        None
    }

    /// What the first claim asks of other threads, while the shard waits for it and has no content that may go: its
    /// tenant, and by how many bytes the cell that it needs is larger than its own. `None`: nothing.
    fn ask(&mut self, _claim: Option<(u32, u32)>) {}

    /// As `next_to_evict`, for what other threads ask.
    fn next_to_evict_for_others(&mut self) -> Option<u32> {
        None
    }

    /// Whether a tenant holds as much as it may.
    fn is_capped(&self, _tenant: u32) -> bool {
        false
    }

    /// The tenant that is first in an order is looked at again, until it is first by what it holds now. Of a shard:
    /// other threads change what tenants hold.
    #[inline(always)]
    fn look_at_first(&mut self, _order: LoadOrder) {}

    /// Whether a tenant is left out of an order for its cap, and may come below it by what other threads do.
    fn waits_for_cap(&self) -> bool {
        false
    }

    /// Content of this size is to leave with a buffer that counts as a lease of the tenant. `false` if its cap does not
    /// allow that; else `end_exchange` follows.
    fn begin_exchange(&mut self, _tenant: u32, _less_bytes: u32) -> bool {
        true
    }

    /// A tenant holds a buffer that moves to another thread, or does so no more.
    #[cfg(feature = "std")]
    fn hold_moving(&mut self, _tenant: u32, _holds: bool) {}

    /// The content leaves with this buffer, which was taken; or it stays. What the default tenant has leased is not
    /// counted.
    fn end_exchange(&mut self, _tenant: u32, _buffer: Option<u32>) {}
}

/// What the first receiver that waits for memory needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// It is in credit: any buffer.
    Any,
    /// It is without credit: one beside the reserve.
    BesideReserve,
}

/// Buffers that only receivers use.
#[derive(Debug)]
pub struct FreeList {
    free: Vec<u32>,
    all: u32,
}

impl FreeList {
    /// All buffers of a pool.
    pub(super) fn new(split: &Split) -> Result<FreeList, ConfigError> {
        let mut free = reserve("memory_bytes", split.buffers)?;
        free.extend((0..split.buffers).rev());
        Ok(FreeList { free, all: split.buffers })
    }
}

impl Buffers for FreeList {
    fn free(&self) -> u32 {
        self.free.len() as u32
    }

    fn taken(&self) -> u32 {
        self.all - self.free()
    }

    fn take(&mut self) -> Option<u32> {
        self.free.pop()
    }

    fn give(&mut self, buffer: u32) {
        self.free.push(buffer);
    }

    fn is_wanted(&self) -> bool {
        false
    }
}
