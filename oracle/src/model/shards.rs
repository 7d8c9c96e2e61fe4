//! What the pools of several threads have in common: the section on threads. One thread plays all of them, so nothing
//! is cached: what a shard releases is free for all at once.

mod lapse;

use super::scheduler::Queued;
use super::{ModelPool, ModelScheduler};
use crate::system::{Ask, Asked, System};
use demuxbuf::pool::PoolConfig;
use demuxbuf::scheduler::SchedulerStats;
use lapse::Clock;
use std::cell::{Ref, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// Buffers that a shard gives to waits of its own in a row, while others wait.
const EXCHANGES_MAX: u32 = 15;

/// A pool that threads share, each through a [`ModelPool`].
#[derive(Debug)]
pub struct ModelSharedPool(Rc<RefCell<Common>>);

impl ModelSharedPool {
    /// For this number of threads, which the configuration allows; and the pools of all.
    pub fn new(config: &PoolConfig, threads: u32) -> (ModelSharedPool, Vec<ModelPool>) {
        ModelPool::of_threads(config, threads)
    }

    /// By thread: the buffers that it has in any case. What is assigned lapses after this time.
    pub(super) fn with_scheduler(scheduler: ModelScheduler, always: Vec<Vec<u64>>, lapse_ns: u64) -> ModelSharedPool {
        let books = always.into_iter().map(|always| Book { always, ..Book::default() }).collect();
        let (homes, noted) = (BTreeMap::new(), BTreeSet::new());
        let clock = Clock::new(lapse_ns);
        let common = Common {
            scheduler,
            homes,
            books,
            noted,
            has_waiters: false,
            exports: 0,
            picked_up: 0,
            others_peak: 0,
            clock,
            is_closed: false,
        };
        ModelSharedPool(Rc::new(RefCell::new(common)))
    }

    pub(super) fn common(&self) -> Rc<RefCell<Common>> {
        Rc::clone(&self.0)
    }

    /// A thread that is to be signalled, named to the one that asks.
    pub fn poll_wake(&self, here: usize) -> Option<usize> {
        let mut common = self.0.borrow_mut();
        let named = (0..common.books.len()).find(|&at| at != here && common.books[at].is_named)?;
        common.books[named].is_named = false;
        Some(named)
    }

    /// The pool of a thread, after another one of it ended.
    pub fn pool(&self, config: &PoolConfig, threads: u32, thread: usize) -> ModelPool {
        ModelPool::of_thread(self, config, threads, thread)
    }

    /// No receiver is attached any more, and no request of the host's own is taken.
    pub fn close(&self) {
        self.0.borrow_mut().is_closed = true;
    }

    /// Whether it was closed.
    pub fn is_closed(&self) -> bool {
        self.0.borrow().is_closed
    }
}

/// One budget, and the waits of all shards.
#[derive(Debug)]
pub(super) struct Common {
    pub(super) scheduler: ModelScheduler,
    /// The shard of each wait.
    homes: BTreeMap<u64, usize>,
    books: Vec<Book>,
    /// Waits with a buffer for which their shard was called.
    noted: BTreeSet<u64>,
    /// A request waits, on whichever shard, or a buffer is to be withheld.
    has_waiters: bool,
    /// Receivers that no thread has.
    exports: u32,
    /// Grants that were picked up.
    picked_up: u64,
    /// The most waits that were queued in no queue of a shard.
    others_peak: u32,
    clock: Clock,
    /// No newcomers are taken.
    is_closed: bool,
}

/// What is known of one shard.
#[derive(Clone, Debug, Default)]
struct Book {
    /// Something was assigned to one of its waits, or is to be looked at, and it has not looked since.
    is_called: bool,
    /// Its thread is to be signalled.
    is_named: bool,
    /// Buffers that it gave to waits of its own since it last gave one to all.
    exchanges: u32,
    /// Since something was assigned to a wait of it that is in no queue of its own, it has not found all of these over.
    has_others: bool,
    /// The most waits that it had in its own queues.
    waiting_peak: u32,
    /// By the clock of all: when it was called, or looked last.
    called_at: u64,
    /// By the host's time.
    advanced_at: Option<u64>,
    /// By how many bytes a cell of its first claim would be larger, for which it asks others.
    asked: Option<u32>,
    /// While it has none: the buffers that it has in any case.
    always: Vec<u64>,
}

/// A wait that was served.
pub(super) struct PickedUp {
    pub(super) wait: u64,
    pub(super) token: u64,
    pub(super) lease: u64,
    pub(super) has_deadline: bool,
}

/// The budget, as one shard calls it.
#[derive(Clone, Debug)]
pub(super) struct Desk {
    common: Rc<RefCell<Common>>,
    here: usize,
}

impl Desk {
    pub(super) fn new(common: Rc<RefCell<Common>>, here: usize) -> Desk {
        Desk { common, here }
    }

    pub(super) fn scheduler(&self) -> Ref<'_, ModelScheduler> {
        Ref::map(self.common.borrow(), |common| &common.scheduler)
    }

    /// A call of this shard; then shards learn of what was assigned to them.
    pub(super) fn call<R>(&self, act: impl FnOnce(&mut ModelScheduler) -> R) -> R {
        let mut common = self.common.borrow_mut();
        let result = act(&mut common.scheduler);
        common.follow(self.here);
        result
    }

    pub(super) fn request(&self, ask: Ask) -> Result<Asked, i32> {
        self.common.borrow_mut().request(self.here, ask)
    }

    /// Ends a lease of this shard's; one of its own waits may have the buffer before those of others.
    pub(super) fn release(&self, lease: u64) {
        self.common.borrow_mut().release(self.here, lease);
    }

    /// Ends a wait of this shard, if it is one.
    pub(super) fn cancel(&self, wait: u64) -> bool {
        let is_own = self.common.borrow().homes.get(&wait) == Some(&self.here);
        if is_own {
            self.common.borrow_mut().cancel(self.here, wait);
        }
        is_own
    }

    /// The first wait of this shard that has a buffer: it ends.
    pub(super) fn pick_up(&self) -> Option<PickedUp> {
        self.common.borrow_mut().pick_up(self.here)
    }

    pub(super) fn is_called(&self) -> bool {
        self.common.borrow().books[self.here].is_called
    }

    pub(super) fn is_closed(&self) -> bool {
        self.common.borrow().is_closed
    }

    /// The pool of this thread begins, with the buffers that it has in any case.
    pub(super) fn begin(&self) -> Vec<u64> {
        std::mem::take(&mut self.common.borrow_mut().books[self.here].always)
    }

    /// It ends. Its receivers had these buffers, of which the next pool has as many as it had; all its waits end.
    pub(super) fn end(&self, mut held: Vec<u64>, always: usize) {
        let released = held.split_off(always.min(held.len()));
        released.into_iter().for_each(|lease| self.release(lease));
        self.common.borrow_mut().end_shard(self.here, held);
    }

    pub(super) fn has_tenants(&self) -> bool {
        self.scheduler().has_tenants()
    }

    /// What the shard asks of others from now on: they are called if that is new. Receivers are the default tenant's.
    pub(super) fn ask(&self, asked: Option<u32>) {
        let mut common = self.common.borrow_mut();
        let before = std::mem::replace(&mut common.books[self.here].asked, asked);
        if asked.is_some() && asked != before {
            common.call_others(self.here);
        }
    }

    /// Receivers that no thread has.
    pub(super) fn exports(&self) -> u32 {
        self.common.borrow().exports
    }

    pub(super) fn set_exports(&self, exports: u32) {
        self.common.borrow_mut().exports = exports;
    }

    /// What is counted otherwise than of one thread: what is assigned is neither held nor granted before it is picked
    /// up.
    pub(super) fn count_shards(&self, stats: &mut SchedulerStats) {
        let common = self.common.borrow();
        stats.outstanding_by_class = common.scheduler.held_by_class();
        stats.granted_by_handoff = common.picked_up;
        let own: u32 = common.books.iter().map(|book| book.waiting_peak).sum();
        stats.waiting_peak = own + common.others_peak;
    }

    /// Before each grant of the queue, and once more for each shard, waits may be passed over by a run of exchanges.
    pub(super) fn bypass_bound(&self, of_queue: u64) -> u64 {
        let shards = self.common.borrow().books.len() as u64;
        let exchanges = u64::from(EXCHANGES_MAX).saturating_mul(of_queue.saturating_add(1).saturating_add(shards));
        of_queue.saturating_add(exchanges)
    }

    /// Waits of this shard, assigned ones too, but for this one.
    pub(super) fn waits_beside(&self, own: Option<u64>) -> u32 {
        let homes = &self.common.borrow().homes;
        homes.iter().filter(|&(&wait, &home)| home == self.here && Some(wait) != own).count() as u32
    }

    /// For the search: whether the shard is called, what it gave, and what all know.
    pub(super) fn state_key(&self) -> [u64; 7] {
        let common = self.common.borrow();
        let Book { is_called, is_named, exchanges, has_others, asked, .. } = common.books[self.here];
        let asked = asked.unwrap_or(0).into();
        let flags = [is_called, is_named, has_others, common.has_waiters].map(u64::from);
        [flags[0], flags[1], flags[2], flags[3], exchanges.into(), common.exports.into(), asked]
    }

    pub(super) fn is_home_of(&self, wait: u64) -> bool {
        self.common.borrow().homes.get(&wait) == Some(&self.here)
    }
}

impl Common {
    /// Shards are called: those to which a buffer was assigned, and all others once the first begins to wait.
    fn follow(&mut self, here: usize) {
        for wait in self.scheduler.assigned_waits() {
            if self.noted.insert(wait) {
                let home = self.homes[&wait];
                self.books[home].asked = None;
                self.books[home].has_others |= !self.scheduler.is_of_shard(wait);
                self.call(home, here);
                self.clock.expect_look(self.books[home].called_at);
            }
        }
        self.note_peaks();
        let has_waiters = self.scheduler.has_waiters();
        if has_waiters && !self.has_waiters {
            self.call_others(here);
        }
        self.has_waiters = has_waiters;
    }

    fn call_others(&mut self, here: usize) {
        (0..self.books.len()).filter(|&at| at != here).for_each(|at| self.call(at, here));
    }

    /// The most waits: of each shard in its own queues, and of all others.
    fn note_peaks(&mut self) {
        let (own, others): (Vec<Queued>, Vec<Queued>) =
            self.scheduler.queued_waits().into_iter().partition(|queued| queued.is_own);
        self.others_peak = self.others_peak.max(others.len() as u32);
        for (home, book) in self.books.iter_mut().enumerate() {
            let waiting = own.iter().filter(|queued| self.homes[&queued.wait] == home).count() as u32;
            book.waiting_peak = book.waiting_peak.max(waiting);
        }
    }

    fn call(&mut self, home: usize, here: usize) {
        let book = &mut self.books[home];
        if !book.is_called {
            (book.is_called, book.is_named, book.called_at) = (true, home != here, self.clock.now());
        }
    }

    fn request(&mut self, here: usize, ask: Ask) -> Result<Asked, i32> {
        let asked = self.scheduler.request_timed(ask, ask.has_deadline)?;
        if let Asked::Wait(wait) = asked {
            self.homes.insert(wait, here);
        }
        self.follow(here);
        Ok(asked)
    }

    fn release(&mut self, here: usize, lease: u64) {
        let exchange = if self.scheduler.is_counted(lease) { None } else { self.next_exchange(here) };
        if let Some(wait) = exchange {
            self.pass_on_place(wait);
            self.scheduler.hand_to(lease, wait);
            // What the shard asks goes on, as far as it is not for this wait.
            let asked = self.books[here].asked;
            self.follow(here);
            self.books[here].asked = asked;
        } else {
            self.scheduler.release(lease).expect("a lease in force");
        }
        self.follow(here);
    }

    /// The wait of this shard that has what it releases, before all others.
    fn next_exchange(&mut self, here: usize) -> Option<u64> {
        let queued = self.scheduler.queued_waits();
        let is_here = |queued: &&Queued| queued.is_own && self.homes[&queued.wait] == here;
        let class = queued.iter().filter(is_here).map(|own| own.class).min()?;
        if queued.iter().filter(is_here).count() < 2 {
            return None;
        }
        let (alike, others): (Vec<&Queued>, Vec<&Queued>) =
            queued.iter().partition(|other| is_here(other) && other.class == class);
        let has_others = !others.is_empty();
        let first = alike.first().map(|first| first.wait);
        let may = alike.len() > 1 && self.scheduler.lets_pass(class) && !self.scheduler.is_short_for(class);
        let book = &mut self.books[here];
        book.exchanges = if may { book.exchanges + u32::from(has_others) } else { 0 };
        if may && book.exchanges <= EXCHANGES_MAX {
            return first;
        }
        book.exchanges = 0;
        None
    }

    /// The first wait of a shard in its class leaves its place to the next.
    fn pass_on_place(&mut self, wait: u64) {
        let queued = self.scheduler.queued_waits();
        let Some(&left) = queued.iter().find(|queued| queued.wait == wait && queued.is_own) else { return };
        let home = self.homes[&wait];
        let is_alike = |other: &&Queued| other.is_own && other.class == left.class && self.homes[&other.wait] == home;
        let mut alike = queued.iter().filter(is_alike);
        let is_first = alike.next().is_some_and(|first| first.wait == wait);
        if let Some(next) = alike.next().filter(|_| is_first) {
            self.scheduler.move_behind(next.wait, wait);
        }
    }

    fn cancel(&mut self, here: usize, wait: u64) {
        self.pass_on_place(wait);
        self.scheduler.cancel(wait).expect("it waits");
        self.homes.remove(&wait);
        self.follow(here);
    }

    fn end_shard(&mut self, here: usize, always: Vec<u64>) {
        // Those that have a buffer are first.
        let mut waits = self.assigned_to(here);
        let mut queued = self.scheduler.queued_waits();
        queued.sort_by_key(|queued| (!queued.is_own, queued.class));
        waits.extend(queued.iter().map(|queued| queued.wait).filter(|wait| self.homes[wait] == here));
        for wait in waits {
            self.scheduler.cancel(wait).expect("it waits");
            self.homes.remove(&wait);
        }
        self.follow(here);
        let book = &mut self.books[here];
        (book.is_called, book.is_named, book.has_others, book.asked) = (false, false, false, None);
        book.always = always;
    }

    fn pick_up(&mut self, here: usize) -> Option<PickedUp> {
        self.take_lapsed(here);
        if !self.books[here].is_called {
            return None;
        }
        let assigned = self.assigned_to(here);
        // Those in queues of its own are first.
        let own = assigned.iter().filter(|&&wait| self.scheduler.is_of_shard(wait)).count();
        let book = &mut self.books[here];
        book.called_at = self.clock.now();
        book.has_others &= own > 0 || assigned.len() > 1;
        if own <= 1 && !book.has_others {
            (book.is_called, book.is_named) = (false, false);
        }
        let &wait = assigned.first()?;
        self.homes.remove(&wait);
        self.picked_up += 1;
        let (token, lease, has_deadline) = self.scheduler.pick_up(wait);
        Some(PickedUp { wait, token, lease, has_deadline })
    }
}
