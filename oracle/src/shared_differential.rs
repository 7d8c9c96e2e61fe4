//! Plays the same operations on the model and on the pools of several threads, of Rust or of C, and compares. One
//! thread has all of them, so each call is over before the next begins.

use crate::driver::{Reply, Response};
use crate::model::{ModelExported, ModelPool, ModelSharedPool};
use crate::system::{RustPool, Stats, System, ThreadSystem};
use crate::{Differential, Driver, HandleRef, Op};
use demuxbuf::connection::Event;
use demuxbuf::pool::PoolConfig;
use demuxbuf::shared::PoolShard;
use std::collections::BTreeMap;

/// The model and the pools of all threads, which get the same operations.
#[derive(Debug)]
pub struct SharedDifferential<S: ThreadSystem = RustPool<PoolShard>> {
    model: ModelSharedPool,
    shared: S::Shared,
    config: PoolConfig,
    /// By thread.
    pools: Vec<Differential<ModelPool, S>>,
    /// Receivers that no thread has.
    exported: Vec<(ModelExported, S::Exported)>,
    /// The last of the host's classes.
    receivers_class: usize,
}

impl<S: ThreadSystem> SharedDifferential<S> {
    /// Compares pools that were not used yet.
    pub fn new(config: &PoolConfig, threads: u32) -> SharedDifferential<S> {
        let (shared, systems) = S::of_threads(config, threads);
        let (model, models) = ModelSharedPool::new(config, threads);
        // What is shared is compared here.
        let pair = |(model, system)| Differential { answers_only: true, ..Differential::new(model, system) };
        let pools = models.into_iter().zip(systems).map(pair).collect();
        let receivers_class = usize::from(config.classes) - 1;
        let (config, exported) = (*config, Vec::new());
        SharedDifferential { model, shared, config, pools, exported, receivers_class }
    }

    /// How many threads there are.
    pub fn threads(&self) -> usize {
        self.pools.len()
    }

    /// Plays an operation on both sides of a thread; compares the answers, then all that can be seen on all threads.
    ///
    /// # Errors
    ///
    /// The two differ, or a rule is broken.
    pub fn play(&mut self, thread: usize, op: Op) -> Result<Reply, String> {
        let reply = self.pools[thread].play(op)?;
        pass_on(&mut self.pools[thread]);
        if matches!(op, Op::CreateTenant { .. } | Op::RemoveTenant { .. }) {
            self.share_tenants(thread);
        }
        self.compare().map_err(|difference| format!("after {op:?}: {difference}"))?;
        Ok(reply)
    }

    /// As `play`, for what was played and compared before.
    pub fn replay(&mut self, thread: usize, op: Op) {
        self.pools[thread].play(op).expect("it was played before");
        pass_on(&mut self.pools[thread]);
    }

    /// A thread with its model.
    pub(crate) fn of_thread(&mut self, thread: usize) -> &mut Differential<ModelPool, S> {
        &mut self.pools[thread]
    }

    /// The model of a thread.
    pub fn model(&mut self, thread: usize) -> &mut Driver<ModelPool> {
        &mut self.pools[thread].model
    }

    /// Writes down all that the future of the model depends on.
    pub fn state_key(&self, state: &mut Vec<u64>) {
        self.pools.iter().for_each(|pool| pool.model.system.thread_key(state));
    }

    /// Polls until there is nothing.
    ///
    /// # Errors
    ///
    /// As [`play`](SharedDifferential::play), or the notices have no end.
    pub fn poll_all(&mut self, thread: usize) -> Result<(), String> {
        let Differential { model, .. } = &self.pools[thread];
        for _ in 0..4 * (model.receivers().len() + model.waits().len()) + 64 {
            if self.play(thread, Op::PollNotice)?.response == Response::Nothing {
                return Ok(());
            }
        }
        Err("the notices have no end".into())
    }

    /// A thread asks which others are to be signalled.
    ///
    /// # Errors
    ///
    /// The two differ.
    pub fn signal(&mut self, thread: usize) -> Result<(), String> {
        let expected: Vec<usize> = std::iter::from_fn(|| self.model.poll_wake(thread)).collect();
        let seen: Vec<usize> = std::iter::from_fn(|| self.pools[thread].system.system.poll_wake()).collect();
        ensure_named(&expected, &seen)
    }

    /// The same is asked by no thread.
    ///
    /// # Errors
    ///
    /// The two differ.
    pub fn signal_any(&mut self) -> Result<(), String> {
        let expected: Vec<usize> = std::iter::from_fn(|| self.model.poll_wake(self.threads())).collect();
        let seen: Vec<usize> = std::iter::from_fn(|| S::poll_wake_of_any(&self.shared)).collect();
        ensure_named(&expected, &seen)
    }

    /// The receiver at this place leaves a thread.
    ///
    /// # Errors
    ///
    /// The two differ, or a rule is broken.
    pub fn export(&mut self, thread: usize, at: usize) -> Result<(), String> {
        let Differential { model, system, .. } = &mut self.pools[thread];
        let Some(at) = at.checked_rem(model.receivers().len()) else { return Ok(()) };
        let (in_model, in_system) = (model.receivers()[at], system.receivers()[at]);
        match (model.system.export(in_model), system.system.export(in_system)) {
            (Ok(expected), Ok(seen)) => {
                model.moved_away(in_model);
                system.moved_away(in_system);
                self.exported.push((expected, seen));
            }
            (Err(expected), Err(seen)) if expected == seen => {}
            (expected, seen) => {
                let [expected, seen] = [expected.map(drop), seen.map(drop)];
                return Err(format!("an export: expected {expected:?}, seen {seen:?}"));
            }
        }
        self.compare()
    }

    /// A receiver that no thread has comes to this one.
    ///
    /// # Errors
    ///
    /// The two differ, or a rule is broken.
    pub fn import(&mut self, thread: usize, at: usize) -> Result<(), String> {
        let Some(at) = at.checked_rem(self.exported.len()) else { return Ok(()) };
        let Differential { model, system, .. } = &mut self.pools[thread];
        let (in_model, in_system) = &mut self.exported[at];
        match (model.system.import(in_model), system.system.import(in_system)) {
            (Ok(expected), Ok(seen)) => {
                let [expected, seen] = [model.moved_here(expected), system.moved_here(seen)];
                let agree =
                    expected.as_ref().is_ok_and(|expected| seen.as_ref().is_ok_and(|seen| expected.agrees_with(seen)));
                if !agree {
                    return Err(format!("an import: expected {expected:?}, seen {seen:?}"));
                }
                _ = self.exported.remove(at);
            }
            (Err(expected), Err(seen)) if expected == seen => {}
            (expected, seen) => return Err(format!("an import: expected {expected:?}, seen {seen:?}")),
        }
        self.compare()
    }

    /// The pool of a thread ends, once its host waits for nothing, and begins anew. Another one has what its host's own
    /// buffers were.
    ///
    /// # Errors
    ///
    /// The two differ, or a rule is broken.
    pub fn restart(&mut self, thread: usize, heir: usize) -> Result<(), String> {
        let (config, threads) = (self.config, self.threads());
        if self.model.is_closed() {
            return Ok(());
        }
        while !self.pools[thread].model.waits().is_empty() {
            self.play(thread, Op::Cancel { wait: HandleRef::Live(0) })?;
        }
        let Differential { model, system, answers_only } = self.pools.remove(thread);
        let (leases, of_system) = (model.leases(), system.leases());
        let mut left = BTreeMap::new();
        let model = model.restart(|pool| {
            left = pool.end();
            self.model.pool(&config, threads as u32, thread)
        });
        let system = system.restart(|pool| {
            drop(pool);
            S::of_thread(&self.shared, thread)
        });
        self.pools.insert(thread, Differential { model, system, answers_only });
        let Differential { model, system, .. } = &mut self.pools[heir % threads];
        for (lease, of_system) in leases.into_iter().zip(of_system) {
            model.system.take_left(lease, left.remove(&lease).expect("it is the host's own"));
            model.take_left(lease);
            system.take_left(of_system);
        }
        self.compare()
    }

    /// Newcomers are refused from now on.
    ///
    /// # Errors
    ///
    /// The two differ, or a rule is broken.
    pub fn close(&mut self) -> Result<(), String> {
        if S::close(&self.shared) {
            self.model.close();
        }
        self.compare()
    }

    /// Tenants are of all threads.
    fn share_tenants(&mut self, thread: usize) {
        let (before, from) = self.pools.split_at_mut(thread);
        let (from, behind) = from.split_first_mut().expect("the thread is one of them");
        for pool in before.iter_mut().chain(behind) {
            pool.model.share_tenants(&from.model);
            pool.system.share_tenants(&from.system);
        }
    }

    /// Compares all that can be seen, and checks the invariants of both.
    fn compare(&mut self) -> Result<(), String> {
        for (thread, pool) in self.pools.iter_mut().enumerate() {
            compare_pool(pool, self.receivers_class).map_err(|difference| format!("thread {thread}: {difference}"))?;
        }
        S::check_shared(&self.shared).map_err(|rule| format!("the system breaks {rule}"))
    }

    /// As [`Differential::drain`], on all threads. Where each has all the receivers that it may have, some are closed
    /// for those that no thread has.
    ///
    /// # Errors
    ///
    /// As [`play`](SharedDifferential::play), or a waiter is never served.
    pub fn drain(&mut self) -> Result<(), String> {
        let waits = |pool: &Differential<ModelPool, _>| pool.model.waits().len() + pool.model.receivers().len();
        let steps = self.pools.iter().map(|pool| pool.model.system.steps_max() as usize).max().unwrap_or(0);
        let rounds = self.pools.iter().map(waits).sum::<usize>() + self.exported.len() + 2 * steps;
        for _ in 0..rounds + 2 {
            for thread in 0..self.threads() {
                for at in (0..self.exported.len()).rev() {
                    self.import(thread, at)?;
                }
            }
            for pool in &mut self.pools {
                while pool.play_fairly(Op::PollNotice)?.response != Response::Nothing {
                    pool.serve_all()?;
                }
                while !pool.model.leases().is_empty() {
                    pool.play_fairly(Op::Release { lease: HandleRef::Live(0) })?;
                }
                pool.serve_all()?;
                pass_on(pool);
            }
            if !self.exported.is_empty() && self.pools.iter().all(|pool| pool.model.system.is_full()) {
                self.pools[0].play_fairly(Op::report(0, Event::Close))?;
            }
            self.compare()?;
            if self.exported.is_empty() && self.pools.iter_mut().all(Differential::is_drained) {
                return Ok(());
            }
            for thread in 0..self.threads() {
                let ns = self.pools[thread].model.system.step_ns();
                self.play(thread, Op::Later { ns })?;
            }
        }
        Err(format!("I6: not every waiter was served: {:?}", self.model))
    }
}

/// A thread passes its time on, and what it gave to waits of its own, with its next call that asks all threads. Here
/// that comes at once: to describe a tenant that there is not.
fn pass_on<S: System>(pool: &mut Differential<ModelPool, S>) {
    let described = pool.system.system.describe_tenant(u64::MAX);
    assert!(described.is_err(), "there is no such tenant");
}

fn ensure_named(expected: &[usize], seen: &[usize]) -> Result<(), String> {
    if expected == seen { Ok(()) } else { Err(format!("threads to be signalled: {expected:?}, seen {seen:?}")) }
}

fn compare_pool<S: ThreadSystem>(pool: &mut Differential<ModelPool, S>, receivers_class: usize) -> Result<(), String> {
    pool.compare_receivers()?;
    pool.compare_contents()?;
    compare_waits(pool)?;
    compare_tenants(pool)?;
    let (expected, seen) = (pool.model.system.stats(), pool.system.system.stats());
    compare_stats(expected, seen, receivers_class)?;
    let (expected, seen) = (pool.model.system.poll_timeout(), pool.system.system.poll_timeout());
    if expected != seen {
        return Err(format!("when to advance the clock: expected {expected:?}, seen {seen:?}"));
    }
    pool.model.system.check_invariants().map_err(|rule| format!("the model breaks {rule}"))?;
    pool.system.system.check_invariants().map_err(|rule| format!("the system breaks {rule}"))
}

fn compare_waits<S: System>(pool: &Differential<ModelPool, S>) -> Result<(), String> {
    for (model, system) in pool.model.waits().into_iter().zip(pool.system.waits()) {
        let (expected, seen) = (pool.model.system.describe_wait(model), pool.system.system.describe_wait(system));
        if seen.is_some() && expected != seen {
            return Err(format!("a wait: expected {expected:?}, seen {seen:?}"));
        }
    }
    Ok(())
}

fn compare_tenants<S: System>(pool: &mut Differential<ModelPool, S>) -> Result<(), String> {
    for (model, system) in pool.model.tenants().into_iter().zip(pool.system.tenants()) {
        let expected = pool.model.system.describe_tenant(model);
        let seen = pool.system.system.describe_tenant(system);
        if expected != seen {
            return Err(format!("a tenant: expected {expected:?}, seen {seen:?}"));
        }
    }
    Ok(())
}

/// Where the buffers of receivers go is specified, but not by which ways. So of the most that were leased only bounds
/// are known.
fn compare_stats(expected: Stats, seen: Stats, receivers_class: usize) -> Result<(), String> {
    let known = |stats: &Stats| {
        let scheduler = &stats.scheduler;
        let net = scheduler.granted_at_once.wrapping_sub(scheduler.released);
        let counts = [scheduler.queued, scheduler.cancelled, scheduler.granted_by_handoff, net, scheduler.bypass_peak];
        let buffers = [
            scheduler.capacity,
            scheduler.free,
            scheduler.leased,
            scheduler.assigned,
            scheduler.waiting,
            scheduler.withheld,
            scheduler.to_withhold,
            scheduler.waiting_peak,
        ];
        // A shard of receivers asks in their class, which is the last of the host's, or in the one behind.
        let (of_host, of_receivers) = scheduler.outstanding_by_class.split_at(receivers_class);
        (counts, buffers, scheduler.waiting_by_class, of_host.to_vec(), of_receivers.iter().sum::<u32>())
    };
    let leased = seen.scheduler.leased + seen.scheduler.assigned;
    let is_bounded = (leased..=seen.scheduler.capacity).contains(&seen.scheduler.leased_peak);
    if !is_bounded || known(&expected) != known(&seen) {
        return Err(format!("statistics of the budget: expected {expected:?}, seen {seen:?}"));
    }
    let mut expected = expected;
    expected.scheduler = seen.scheduler;
    expected.memory_model.copied_bytes = seen.memory_model.copied_bytes;
    if expected == seen { Ok(()) } else { Err(format!("statistics: expected {expected:?}, seen {seen:?}")) }
}
