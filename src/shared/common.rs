//! What the pools of all threads have in common.

use super::cache::Holder;
use super::exports::Exports;
use super::{SchedulerShard, SharedScheduler};
use crate::alloc_util::reserve;
use crate::config_error::ConfigError;
use crate::memory::Arena;
use crate::pool::{Limits, PoolConfig};
use crate::receiving::Split;
use crate::scheduler::{LeaseId, Request};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::sync::atomic::AtomicU32;
use std::sync::Mutex;

/// Alive as long as the shared pool or the pool of any thread: so are the buffers.
#[derive(Debug)]
pub(super) struct Common {
    pub(super) scheduler: SharedScheduler,
    pub(super) exports: Exports,
    pub(super) arena: Arena,
    pub(super) config: PoolConfig,
    /// How memory is split, with the header buffers of one thread.
    pub(super) split: Split,
    pub(super) shards: u32,
    limits: Limits,
    /// How often the pool of a thread was made.
    pub(super) made: AtomicU32,
    /// Of each thread that has no pool: the leases that wait for one.
    seeds: Box<[Mutex<Vec<LeaseId>>]>,
}

impl Common {
    /// Takes the buffers that each thread has in any case. None is in use yet.
    pub(super) fn new(
        scheduler: SharedScheduler,
        exports: Exports,
        arena: Arena,
        config: &PoolConfig,
        split: Split,
        shards: u32,
    ) -> Result<Common, ConfigError> {
        let mut seeds = reserve("shards", shards)?;
        let request = Request::new(config.classes - 1, 0);
        for index in 0..shards {
            let shard = scheduler.shard(index).expect("no shard is in use yet");
            let count = seeds_max(&split);
            let mut leases = reserve("shards", count)?;
            for _ in 0..count {
                let lease = shard
                    .try_request(&request, Holder::Receivers)
                    .ok()
                    .flatten()
                    .expect("memory is enough for all threads");
                shard.export_lease(lease);
                leases.push(lease);
            }
            seeds.push(Mutex::new(leases));
        }
        let limits = Limits::new(&config.requests(split.buffers), &split, shards);
        let (config, made, seeds) = (*config, AtomicU32::new(0), seeds.into_boxed_slice());
        Ok(Common { scheduler, exports, arena, config, split, shards, limits, made, seeds })
    }

    /// All memory is limited to this many bytes; the caller has a shard.
    pub(super) fn set_limit(&self, shard: &SchedulerShard, bytes: u64) -> Result<(), ConfigError> {
        let limit = self.limits.check(bytes)?;
        let reserve = self.receivers_reserve() + limit.reserve;
        shard.set_withheld(limit.withheld, self.receivers_class() + 1, reserve);
        Ok(())
    }

    /// The buffers that wait for the pool of a thread.
    pub(super) fn take_seeds(&self, index: u32, mut take: impl FnMut(LeaseId)) {
        let mut seeds = self.seeds[index as usize].lock().expect("no thread panics while it has them");
        seeds.drain(..).for_each(&mut take);
    }

    /// The pool of a thread ends, and leaves this for the next, unless that has what it needs. Whether it does.
    pub(super) fn keep_seed(&self, index: u32, lease: LeaseId) -> bool {
        let mut seeds = self.seeds[index as usize].lock().expect("no thread panics while it has them");
        let is_needed = (seeds.len() as u32) < self.seeds_max();
        if is_needed {
            // Inside what was reserved.
            seeds.push(lease);
        }
        is_needed
    }

    /// The receive buffer, the spare, and those of the smallest cells.
    pub(super) fn seeds_max(&self) -> u32 {
        seeds_max(&self.split)
    }

    /// The class of receivers. Above it is that of waits of those without credit.
    pub(super) fn receivers_class(&self) -> u8 {
        self.config.classes - 1
    }

    /// Buffers that receivers may not have.
    pub(super) fn receivers_reserve(&self) -> u32 {
        self.config.reserves[usize::from(self.receivers_class())]
    }

    pub(super) fn are_receivers_capped(&self) -> bool {
        self.config.class_caps[usize::from(self.receivers_class())] <= self.split.buffers
    }
}

fn seeds_max(split: &Split) -> u32 {
    2 + split.header_buffers
}
