//! What the pools of several threads have in common: the section on threads. One thread plays all of them, so nothing
//! is cached: what a shard releases is free for all at once.

use super::{ModelPool, ModelScheduler};
use crate::system::{Ask, Asked, System};
use demuxbuf::pool::PoolConfig;
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

    pub(super) fn with_scheduler(scheduler: ModelScheduler, threads: u32) -> ModelSharedPool {
        let books = vec![Book::default(); threads as usize];
        let (homes, noted) = (BTreeMap::new(), BTreeSet::new());
        let common = Common { scheduler, homes, books, noted, has_waiters: false, exports: 0 };
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

    /// Whether a request or a shard waits.
    pub fn has_waiters(&self) -> bool {
        self.0.borrow().has_waiters
    }

    /// Whether a thread has something to pick up, or to look at.
    pub fn is_called(&self, thread: usize) -> bool {
        self.0.borrow().books[thread].is_called
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

    /// Receivers that no thread has.
    pub(super) fn exports(&self) -> u32 {
        self.common.borrow().exports
    }

    pub(super) fn set_exports(&self, exports: u32) {
        self.common.borrow_mut().exports = exports;
    }

    /// Before each grant of the queue, and once more for each shard, waits may be passed over by a run of exchanges.
    pub(super) fn bypass_bound(&self, of_queue: u64) -> u64 {
        let shards = self.common.borrow().books.len() as u64;
        of_queue + u64::from(EXCHANGES_MAX) * (of_queue + 1 + shards)
    }

    /// Waits of this shard, assigned ones too, but for this one.
    pub(super) fn waits_beside(&self, own: Option<u64>) -> u32 {
        let homes = &self.common.borrow().homes;
        homes.iter().filter(|&(&wait, &home)| home == self.here && Some(wait) != own).count() as u32
    }

    /// For the search: whether the shard is called, what it gave, and what all know.
    pub(super) fn state_key(&self) -> [u64; 5] {
        let common = self.common.borrow();
        let Book { is_called, is_named, exchanges } = common.books[self.here];
        [is_called.into(), is_named.into(), exchanges.into(), common.has_waiters.into(), common.exports.into()]
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
                self.call(self.homes[&wait], here);
            }
        }
        let has_waiters = self.scheduler.has_waiters();
        if has_waiters && !self.has_waiters {
            (0..self.books.len()).filter(|&at| at != here).for_each(|at| self.call(at, here));
        }
        self.has_waiters = has_waiters;
    }

    fn call(&mut self, home: usize, here: usize) {
        let book = &mut self.books[home];
        if !book.is_called {
            (book.is_called, book.is_named) = (true, home != here);
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
        if let Some(wait) = self.next_exchange(here) {
            self.pass_on_place(wait);
            self.scheduler.hand_to(lease, wait);
        } else {
            self.scheduler.release(lease).expect("a lease in force");
        }
        self.follow(here);
    }

    /// The wait of this shard that has what it releases, before all others.
    fn next_exchange(&mut self, here: usize) -> Option<u64> {
        let queued = self.scheduler.queued_waits();
        let own: Vec<_> = queued.iter().filter(|(wait, _)| self.homes[wait] == here).collect();
        if own.len() < 2 {
            return None;
        }
        let &&(_, class) = own.iter().min_by_key(|(_, class)| class)?;
        let mut alike = own.iter().filter(|&&&(_, other)| other == class).map(|&&(wait, _)| wait);
        let (first, second) = (alike.next(), alike.next());
        let is_first = queued.iter().all(|&(_, other)| other >= class);
        let may = second.is_some() && is_first && !self.scheduler.is_short_for(class);
        let has_others = queued.iter().any(|(wait, other)| (self.homes[wait], *other) != (here, class));
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
        let Some(&(_, class)) = queued.iter().find(|&&(other, _)| other == wait) else { return };
        let home = self.homes[&wait];
        let mut alike = queued.iter().filter(|&&(other, of)| of == class && self.homes[&other] == home);
        let is_first = alike.next().is_some_and(|&(first, _)| first == wait);
        if let Some(&(next, _)) = alike.next().filter(|_| is_first) {
            self.scheduler.move_behind(next, wait);
        }
    }

    fn cancel(&mut self, here: usize, wait: u64) {
        self.pass_on_place(wait);
        self.scheduler.cancel(wait).expect("it waits");
        self.homes.remove(&wait);
        self.follow(here);
    }

    fn pick_up(&mut self, here: usize) -> Option<PickedUp> {
        if !self.books[here].is_called {
            return None;
        }
        let mut own = self.scheduler.assigned_waits();
        own.retain(|wait| self.homes[wait] == here);
        if own.len() <= 1 {
            (self.books[here].is_called, self.books[here].is_named) = (false, false);
        }
        let &wait = own.first()?;
        self.homes.remove(&wait);
        let (token, lease, has_deadline) = self.scheduler.pick_up(wait);
        Some(PickedUp { wait, token, lease, has_deadline })
    }
}
