//! What all shards share: the state of each, and the pool behind the lock of all.

use super::SharedSchedulerStats;
use super::cache::BufferState;
use super::homes::{Homes, Kind, Resident};
use super::own_waits::{Numbers, OwnWaits, STAMPS};
use super::placeholders::{CommonQueue, Placeholders, bypass_bound};
use super::shard_state::ShardState;
use super::shown_clock::ShownClock;
use super::stats::{Counter, Earliest, PublishedStats};
use super::sync::{AtomicBool, AtomicU64, CachePadded, Lock, MutexGuard, Ordering};
use super::totals::Totals;
use crate::alloc_util::reserve;
use crate::config_error::Allowed;
use crate::scheduler::{CLASSES_MAX, Clock, ConfigError, SIZES_MAX, Scheduler, SchedulerConfig};
use alloc::boxed::Box;

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) buffers: Box<[BufferState]>,
    pub(super) shard_states: Box<[CachePadded<ShardState>]>,
    pub(super) classes: u8,
    /// A bit for each class that has no cap.
    uncapped: u8,
    /// Written under the lock, when the limit of memory changes; read at any time.
    reserves: [Counter; CLASSES_MAX],
    /// For the check of invariants, which does not ask the pool.
    pub(super) class_caps: [u32; CLASSES_MAX],
    /// A bit for each shard that is to be woken and was not named yet.
    wakes: Box<[AtomicU64]>,
    pub(super) is_exhausted: CachePadded<AtomicBool>,
    /// Whether a request waited when the lock was released last, or a buffer was to be withheld; also while the pool is
    /// not exhausted, behind a class's cap.
    pub(super) has_waiters: CachePadded<AtomicBool>,
    /// How many shards ask others for something.
    pub(super) asking: CachePadded<AtomicU64>,
    pub(super) is_closed: AtomicBool,
    /// How long a lease may be idle while others wait; also how long a grant stays with a shard that does not look. If
    /// there is such a time, each shard must hear of the first one that waits.
    lease_ns: Option<u64>,
    /// No shard that has grants to pick up was called before, and has not looked since.
    oldest_call_ns: CachePadded<Earliest>,
    pub(super) clock: CachePadded<ShownClock>,
    published: CachePadded<PublishedStats>,
    /// What tenants hold.
    pub(super) totals: Totals,
    pub(super) numbers: Numbers,
    pub(super) queue: CommonQueue,
    pub(super) state: CachePadded<Lock<Locked>>,
}

/// The most grants that are taken from shards that do not look, in one hold of the lock.
const TAKEN_AT_ONCE: u32 = 32;

#[derive(Debug)]
pub(super) struct Locked {
    pub(super) scheduler: Scheduler,
    pub(super) homes: Homes,
    pub(super) placeholders: Placeholders,
    /// By class: exchanges that waits of it could have had, as far as shards have reported them.
    pub(super) exchanged: [u64; CLASSES_MAX],
    /// Goes up with each call that takes the lock: a wait that begins later is behind in the common queue.
    pub(super) stamp: u64,
    clock: Clock,
}

impl Locked {
    /// The shards advance the clock one after the other, so only the latest counts.
    fn advance_clock(&mut self, last_ns: u64) {
        if self.clock.is_behind(last_ns) {
            self.clock.advance(last_ns);
            self.scheduler.handle_timeout(self.clock.now_ns());
        }
    }

    /// The time of the clock.
    pub(super) fn now_ns(&self) -> u64 {
        self.clock.now_ns()
    }

    /// For the scheduler, a buffer that is held or cached is leased. Returns the tenant that it was leased to.
    pub(super) fn take_back(&mut self, index: u32) -> u32 {
        let tenant = self.scheduler.tenant_at(index);
        self.scheduler.release(self.scheduler.lease_at(index)).expect("what is not free there is leased");
        tenant
    }
}

impl Shared {
    /// `unit_bytes` is the size of a buffer where receivers keep something in the name of tenants, else 0.
    pub(super) fn new(config: &SchedulerConfig, shards: u32, unit_bytes: u32) -> Result<Shared, ConfigError> {
        check(config)?;
        // A deadline is polled by the shard whose lease it is.
        let mut scheduler = Scheduler::new(&SchedulerConfig { park_ns: None, lease_ns: None, ..*config })?;
        let totals = Totals::new(config.tenants_max, unit_bytes)?;
        if totals.are_used() {
            scheduler.count_kept(unit_bytes)?;
        }
        let homes = Homes::new(config.waiters_max, shards)?;
        let mut buffers = reserve("buffers", config.buffers)?;
        buffers.extend((0..config.buffers).map(|_| BufferState::new(config.tag)));
        let mut shard_states = reserve("shards", shards)?;
        let numbers = Numbers::new(config.waiters_max, shards);
        for shard in 0..shards {
            shard_states.push(CachePadded(ShardState::new(OwnWaits::new(numbers, shard, config.tag)?)));
        }
        let placeholders = Placeholders::new(shards, config.classes)?;
        let mut wakes = reserve("shards", shards.div_ceil(u64::BITS))?;
        wakes.extend((0..shards.div_ceil(u64::BITS)).map(|_| AtomicU64::new(0)));
        // With all buffers outstanding, a class whose cap is all of them is at its cap: the pool would not be
        // exhausted, and what is released then would stay cached while a request waits.
        let is_uncapped = |class: &usize| config.class_caps[*class] > config.buffers;
        let uncapped = (0..usize::from(config.classes)).filter(is_uncapped).fold(0, |mask, class| mask | 1 << class);
        let shared = Shared {
            buffers: buffers.into_boxed_slice(),
            shard_states: shard_states.into_boxed_slice(),
            classes: config.classes,
            uncapped,
            reserves: config.reserves.map(Counter::new),
            class_caps: config.class_caps,
            wakes: wakes.into_boxed_slice(),
            is_exhausted: CachePadded(AtomicBool::new(false)),
            has_waiters: CachePadded(AtomicBool::new(false)),
            asking: CachePadded(AtomicU64::new(0)),
            is_closed: AtomicBool::new(false),
            lease_ns: config.lease_ns,
            oldest_call_ns: CachePadded::default(),
            clock: CachePadded::default(),
            published: CachePadded::default(),
            totals,
            numbers,
            queue: CommonQueue::default(),
            state: CachePadded(Lock::new(Locked {
                scheduler,
                homes,
                placeholders,
                exchanged: [0; CLASSES_MAX],
                stamp: 0,
                clock: Clock::new(config.lease_ns),
            })),
        };
        shared.publish(&mut shared.lock(), None);
        Ok(shared)
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Locked> {
        self.state.0.lock()
    }

    /// Whether the pool was left half changed by a panic. Then it is not put in order any more when it ends: a second
    /// panic would end the process.
    pub(super) fn is_broken(&self) -> bool {
        self.state.0.is_poisoned() || self.shard_states.iter().any(|of| of.0.own_waits.0.is_broken())
    }

    pub(super) fn is_uncapped(&self, class: u8) -> bool {
        self.uncapped.checked_shr(class.into()).is_some_and(|mask| mask & 1 != 0)
    }

    pub(super) fn take_cached(&self, state: &mut Locked, shard: u32) {
        let shown = &self.shard_states[shard as usize].0.cached;
        let taken = self.own_waits(shard).with(|own| own.cache.take(shown));
        for index in taken.iter(&self.buffers) {
            state.take_back(index);
        }
    }

    /// Sets `is_exhausted`, and drains the caches of all shards. Nothing stays in a cache afterwards.
    pub(super) fn collect(&self, state: &mut Locked) {
        if self.is_exhausted.0.load(Ordering::Relaxed) {
            return;
        }
        // The other side of `SchedulerShard::pass_on`: the lock of each shard publishes it.
        self.is_exhausted.0.store(true, Ordering::Relaxed);
        for shard in 0..self.shard_states.len() as u32 {
            self.take_cached(state, shard);
        }
    }

    /// Follows any change: drains the caches if the pool became exhausted, brings grants home to their shards, and
    /// publishes the counts. Returns how many shards are to be woken.
    pub(super) fn publish(&self, state: &mut Locked, here: Option<u32>) -> u64 {
        let mut calls = self.bring_home(state, here);
        loop {
            let is_exhausted = state.scheduler.needs_all();
            if is_exhausted == self.is_exhausted.0.load(Ordering::Relaxed) {
                break;
            }
            self.collect(state);
            if !self.is_closed() && !state.scheduler.needs_all() {
                self.is_exhausted.0.store(false, Ordering::Relaxed);
            }
            if state.scheduler.next_grant().is_none() {
                break;
            }
            calls += self.bring_home(state, here);
        }
        calls += self.call_all_to_poll_deadlines(state, here);
        self.published.0.publish(&state.scheduler, state.homes.assigned, &state.placeholders.by_class);
        self.queue.publish(&state.scheduler, &state.exchanged);
        calls
    }

    /// What was assigned goes home. Returns how many shards are to be woken.
    fn bring_home(&self, state: &mut Locked, here: Option<u32>) -> u64 {
        let mut calls = 0;
        while let Some(wait) = state.scheduler.next_grant() {
            let Resident { home, kind, .. } = *state.homes.at(wait.index());
            if let Kind::Placeholder = kind {
                calls += u64::from(self.deliver(state, home, here));
                continue;
            }
            self.note_load(state, state.scheduler.tenant_of_wait(wait.index()));
            state.bring_home(wait.index());
            if home != state.homes.away() {
                self.end_asked(home);
                self.own_waits(home).with(|own| own.has_common_grants = true);
                calls += u64::from(self.call(state.now_ns(), home, here));
                self.expect_pick_up(home);
            }
        }
        calls
    }

    /// Counts the most that can have been outstanding since this was called last. A shard takes from its cache without
    /// the lock of all, so what it took since it had that one last counts as outstanding.
    pub(super) fn note_peak(&self, state: &Locked) {
        let cached_since = if self.is_exhausted.0.load(Ordering::Relaxed) { 0 } else { self.cached_since() };
        let in_use = self.buffers.len() as u32 - state.scheduler.withheld();
        let leased = in_use - state.scheduler.free_buffers();
        self.published.0.note_outstanding(leased.saturating_sub(cached_since));
    }

    /// Buffers that were cached all the time since the shard took the lock last.
    fn cached_since(&self) -> u32 {
        self.shard_states.iter().map(|shard_state| shard_state.0.cached.lowest()).sum()
    }

    /// While no request waits no shard polls its deadlines; when one begins to wait, all others are woken.
    fn call_all_to_poll_deadlines(&self, state: &Locked, here: Option<u32>) -> u64 {
        let has_waiters = state.scheduler.to_withhold() > 0 || state.scheduler.waiting().any(|count| count > 0);
        if has_waiters == self.has_waiters.0.load(Ordering::Relaxed) {
            return 0;
        }
        self.has_waiters.0.store(has_waiters, Ordering::Relaxed);
        if self.lease_ns.is_some() && has_waiters { self.call_others(state, here) } else { 0 }
    }

    /// Each other shard is to look. Returns how many are to be woken.
    pub(super) fn call_others(&self, state: &Locked, here: Option<u32>) -> u64 {
        let others = (0..).zip(&self.shard_states).filter(|&(index, _)| Some(index) != here);
        let awake = others.filter(|(_, shard_state)| shard_state.0.is_in_use.load(Ordering::Relaxed));
        let call = |(index, _)| {
            // So that a shard which polls at this time either is called or sees what it is called for.
            u64::from(self.own_waits(index).with(|_| self.call(state.now_ns(), index, here)))
        };
        awake.map(call).sum()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Relaxed)
    }

    /// Notes that a shard has something to pick up; returns whether it is to be woken.
    pub(super) fn call(&self, now_ns: u64, home: u32, here: Option<u32>) -> bool {
        let ShardState { is_called, called_ns, .. } = &self.shard_states[home as usize].0;
        if is_called.load(Ordering::Relaxed) {
            return false;
        }
        called_ns.set(now_ns);
        is_called.store(true, Ordering::Release);
        if here == Some(home) {
            return false;
        }
        let (word, bit) = self.wake_bit(home);
        word.fetch_or(bit, Ordering::AcqRel);
        true
    }

    /// A shard has grants to pick up, and was called at `called_ns`.
    pub(super) fn expect_pick_up(&self, home: u32) {
        if self.has_deadlines() {
            self.oldest_call_ns.0.reach(self.shard_states[home as usize].0.called_ns.get());
        }
    }

    /// Whether a shard that does not look loses its grants.
    pub(super) fn has_deadlines(&self) -> bool {
        self.lease_ns.is_some()
    }

    /// The buffers that a class leaves to others.
    #[inline(always)]
    pub(super) fn reserve_of(&self, class: u8) -> u32 {
        self.reserves[usize::from(class)].get() as u32
    }

    /// This many buffers are withheld from now on, and a class has this reserve.
    pub(super) fn set_withheld(&self, state: &mut Locked, buffers: u32, class: u8, reserve: u32) {
        self.reserves[usize::from(class)].set(reserve.into());
        state.scheduler.set_reserve(class, reserve);
        state.scheduler.set_withheld(buffers);
    }

    /// Whether as many buffers are free as this class leaves to others: one more would be its.
    #[inline(always)]
    pub(super) fn is_reserve_whole(&self, class: u8) -> bool {
        let reserve = self.reserve_of(class);
        reserve == 0 || self.published.0.free() >= reserve
    }

    /// The published bound *W*.
    pub(super) fn bypass_bound(&self) -> u64 {
        bypass_bound(self.lock().scheduler.bypass_bound(), self.shard_states.len() as u32)
    }

    /// When to look whether grants go from a shard that does not look to others that wait, in the host's time: a lease
    /// after the call, and once in each step of the clock until then, so that it does not stand still. `None` if no
    /// grant is there to pick up, leases have no deadlines, or time ends before.
    pub(super) fn overdue_ns(&self) -> Option<u64> {
        self.clock.0.host_ns(self.oldest_call_ns.0.get()?.checked_add(self.lease_ns?)?)
    }

    /// The shards that were called a lease ago and have not looked since.
    fn overdue(&self, now_ns: u64) -> impl Iterator<Item = u32> {
        let is_overdue = move |CachePadded(of): &CachePadded<ShardState>| {
            let is_past = |lease_ns| now_ns.saturating_sub(of.called_ns.get()) >= lease_ns;
            self.lease_ns.is_some_and(is_past) && of.is_called.load(Ordering::Relaxed)
        };
        (0..).zip(&self.shard_states).filter(move |(_, of)| is_overdue(of)).map(|(home, _)| home)
    }

    /// A bit for each class in which a wait is queued that is not of one of those shards. All grants are at home.
    fn wanted_elsewhere(&self, state: &Locked, now_ns: u64) -> u8 {
        let mut waiting = [0; CLASSES_MAX];
        waiting.iter_mut().zip(state.scheduler.waiting()).for_each(|(waiting, all)| *waiting = all);
        for home in self.overdue(now_ns) {
            for (class, waiting) in (0..self.classes).zip(&mut waiting) {
                let has_placeholder = state.placeholders.get(home, class).is_some();
                *waiting -= u32::from(has_placeholder) + state.homes.queued_of(home, class);
            }
        }
        (0..).zip(waiting).filter(|&(_, waiting)| waiting > 0).fold(0, |mask, (class, _)| mask | 1 << class)
    }

    /// Advances the clock to the last time of a shard, if it has one.
    pub(super) fn advance_clock(&self, state: &mut Locked, shard_state: &ShardState) {
        let Some(last_ns) = shard_state.last_ns() else {
            return;
        };
        state.advance_clock(last_ns);
        self.clock.0.show(&state.clock);
    }

    /// Takes grants from shards that were called a lease ago and have not looked since, as long as waits of others
    /// could use them: their waits queue again, behind all others. A bounded piece of work. If there is nothing to
    /// take, these shards keep what they have for another lease. Returns how many shards are to be woken.
    pub(super) fn take_overdue(&self, state: &mut Locked, here: Option<u32>) -> u64 {
        let (now_ns, mut left, mut calls) = (state.clock.now_ns(), TAKEN_AT_ONCE, 0);
        let mut wanted = self.wanted_elsewhere(state, now_ns);
        for home in self.overdue(now_ns) {
            // Each goes on before the next is taken: of waits that a shard queues, one at a time is in the common
            // queue. And the next is behind it, whichever shard it is of.
            while left > 0 && (self.take_own_grant(state, home, wanted) || self.take_common_grant(state, home, wanted))
            {
                left -= 1;
                self.next_stamp(state);
                calls += self.bring_home(state, here);
                self.note_own_peak(home);
                self.published.0.reach_peak(&state.scheduler, &state.placeholders.by_class);
                wanted = self.wanted_elsewhere(state, now_ns);
            }
        }
        if left == TAKEN_AT_ONCE {
            self.forgive_overdue(state);
        } else {
            self.note_oldest_call(state);
        }
        calls
    }

    /// As `take_own_grant`, of waits that are in the common queue themselves.
    fn take_common_grant(&self, state: &mut Locked, home: u32, classes: u8) -> bool {
        let of_use = |&index: &u32| state.scheduler.would_serve(state.scheduler.buffer_of_wait(index), classes);
        let Some(index) = state.grants(home).find(of_use) else { return false };
        let tenant = state.scheduler.tenant_of_wait(index);
        self.track(state, tenant);
        state.queue_again(index);
        self.note_load(state, tenant);
        self.untrack(state, tenant);
        true
    }

    /// Shards that do not look keep their grants for another lease.
    pub(super) fn forgive_overdue(&self, state: &Locked) {
        let now_ns = state.clock.now_ns();
        for home in self.overdue(now_ns) {
            if self.has_grants(state, home) {
                self.shard_states[home as usize].0.called_ns.set(now_ns);
            }
        }
        self.note_oldest_call(state);
    }

    fn has_grants(&self, state: &Locked, home: u32) -> bool {
        self.first_own_grant(home).is_some() || state.homes.has_grants(home)
    }

    /// A wait that begins from now on is behind those that are there.
    pub(super) fn next_stamp(&self, state: &mut Locked) {
        state.stamp = state.stamp.wrapping_add(STAMPS);
        self.queue.stamp.0.set(state.stamp);
    }

    /// Looks which of the shards with grants to pick up was called first.
    fn note_oldest_call(&self, state: &Locked) {
        // First, for a shard may exchange meanwhile.
        self.oldest_call_ns.0.set(None);
        for home in 0..self.shard_states.len() as u32 {
            if self.has_grants(state, home) {
                self.expect_pick_up(home);
            }
        }
    }

    /// A shard has looked, and nothing is left.
    pub(super) fn forget_call(&self, home: u32) {
        self.shard_states[home as usize].0.is_called.store(false, Ordering::Relaxed);
        let (word, bit) = self.wake_bit(home);
        if word.load(Ordering::Relaxed) & bit != 0 {
            word.fetch_and(!bit, Ordering::AcqRel);
        }
    }

    fn wake_bit(&self, index: u32) -> (&AtomicU64, u64) {
        (&self.wakes[(index / u64::BITS) as usize], 1 << (index % u64::BITS))
    }

    /// The shard that asks is not named: it is awake.
    pub(super) fn poll_wake(&self, here: Option<u32>) -> Option<u32> {
        for (index, word) in (0..).zip(&self.wakes) {
            let own = here.filter(|here| here / u64::BITS == index).map_or(0, |here| 1 << (here % u64::BITS));
            loop {
                let bits = word.load(Ordering::Acquire) & !own;
                let bit = bits & bits.wrapping_neg();
                if bit == 0 {
                    break;
                }
                // Unless another thread was faster, and names it.
                if word.fetch_and(!bit, Ordering::AcqRel) & bit != 0 {
                    return Some(index * u64::BITS + bit.trailing_zeros());
                }
            }
        }
        None
    }

    /// From now on no request finds a cached buffer, so each sees that the pool is closed.
    pub(super) fn close(&self) {
        if self.is_broken() {
            return;
        }
        let mut state = self.lock();
        self.is_closed.store(true, Ordering::Relaxed);
        self.collect(&mut state);
        self.publish(&mut state, None);
    }

    /// Buffers that are free or cached, as of late.
    pub(super) fn free_buffers(&self) -> u32 {
        let cached: u32 = self.shard_states.iter().map(|shard_state| shard_state.0.cached.len()).sum();
        self.published.0.free() + cached
    }

    pub(super) fn stats(&self) -> SharedSchedulerStats {
        let mut stats = SharedSchedulerStats::default();
        stats.scheduler.capacity = self.buffers.len() as u32;
        for CachePadded(shard_state) in &self.shard_states {
            stats.cached += shard_state.cached.len();
            shard_state.counts.add_to(&mut stats);
        }
        stats.scheduler.free = stats.cached;
        self.published.0.add_to(&mut stats.scheduler, self.cached_since());
        for CachePadded(shard_state) in &self.shard_states {
            shard_state.shown.add_to(&mut stats.scheduler);
        }
        stats.finish();
        stats
    }
}

/// Refuses what only one thread can have: a cached buffer is of the default size.
fn check(config: &SchedulerConfig) -> Result<(), ConfigError> {
    config.check()?;
    let allowed = Allowed::Range { min: 0, max: 0 };
    let refuse = |field, index, value: u32| Err(ConfigError::Refused { field, index, value: value.into(), allowed });
    match (1..SIZES_MAX).find(|&size| config.sizes[size] != 0) {
        Some(other) => refuse("sizes", Some(other), config.sizes[other]),
        None => Ok(()),
    }
}
