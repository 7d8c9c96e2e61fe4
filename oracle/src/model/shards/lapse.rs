//! Grants that their shard does not look at: they go to the waits of others.

use super::{Book, Common, Desk};

/// The most grants that are taken before a thread looks for its own. What is taken more often comes back every time.
const TAKEN_MAX: u32 = 1024 * 32;

/// The clock of all threads, of which each advances it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    /// A grant that is not looked at for as long lapses.
    lapse_ns: u64,
    now: u64,
    /// The host's time at the last advance.
    advanced_at: Option<u64>,
    /// No shard that was called for what it has not looked at was called before.
    oldest_call: Option<u64>,
}

impl Clock {
    pub(super) fn new(lapse_ns: u64) -> Clock {
        Clock { lapse_ns, now: 0, advanced_at: None, oldest_call: None }
    }

    pub(super) fn now(&self) -> u64 {
        self.now
    }

    fn advance(&mut self, now_ns: u64) {
        let last = *self.advanced_at.get_or_insert(now_ns);
        if now_ns > last {
            self.now += (now_ns - last).min((self.lapse_ns / 8).max(1));
            self.advanced_at = Some(now_ns);
        }
    }

    /// A shard that was called then has something to pick up.
    pub(super) fn expect_look(&mut self, called_at: u64) {
        self.oldest_call = Some(self.oldest_call.map_or(called_at, |oldest| oldest.min(called_at)));
    }

    /// When a thread has to look for what lapses: each advance adds no more than a step.
    fn next_look(&self) -> Option<u64> {
        let (last, lag) = (self.advanced_at.unwrap_or(0), self.advanced_at.unwrap_or(0) - self.now);
        let due = self.oldest_call?.checked_add(self.lapse_ns)?.checked_add(lag)?;
        let step = self.advanced_at.map_or(0, |_| (self.lapse_ns / 8).max(1));
        Some(due.min(last.saturating_add(step)))
    }

    fn has_lapsed(&self, called_at: u64) -> bool {
        self.now - called_at >= self.lapse_ns
    }

    /// Whether a thread, by its own last advance, has to look for what has lapsed.
    fn is_due_at(&self, advanced_at: u64) -> bool {
        self.next_look().is_some_and(|due| due <= advanced_at)
    }
}

impl Desk {
    /// When the shard has to look for what others do not pick up.
    pub(in crate::model) fn next_look(&self) -> Option<u64> {
        let common = self.common.borrow();
        common.clock.next_look().filter(|_| common.has_waiters)
    }

    /// The clock of this shard was advanced.
    pub(in crate::model) fn advance(&self, now_ns: u64) {
        let mut common = self.common.borrow_mut();
        let advanced_at = &mut common.books[self.here].advanced_at;
        *advanced_at = (*advanced_at).max(Some(now_ns));
        common.clock.advance(now_ns);
        let now = common.clock.now();
        common.scheduler.set_now(now);
    }
}

impl Common {
    /// Before a shard picks up its grants, those of shards that lag go to others. What is of no use to them stays for
    /// as long again.
    pub(super) fn take_lapsed(&mut self, here: usize) {
        let mut left = TAKEN_MAX;
        while self.looks_for_lapsed(here) {
            self.books[here].called_at = self.clock.now();
            let before = left;
            self.take_lapsed_once(here, &mut left);
            if left == before || left == 0 {
                self.leave_lapsed();
            }
            self.expect_looks();
        }
    }

    /// Shards that lag have what they have for as long again.
    fn leave_lapsed(&mut self) {
        for home in (0..self.books.len()).filter(|&home| !self.assigned_to(home).is_empty()).collect::<Vec<_>>() {
            if self.lags(home) {
                self.books[home].called_at = self.clock.now();
            }
        }
    }

    /// It was called, and has not looked since, for too long.
    fn lags(&self, home: usize) -> bool {
        let Book { is_called, called_at, .. } = self.books[home];
        is_called && self.clock.has_lapsed(called_at)
    }

    fn looks_for_lapsed(&self, here: usize) -> bool {
        self.has_waiters && self.books[here].advanced_at.is_some_and(|advanced_at| self.clock.is_due_at(advanced_at))
    }

    fn take_lapsed_once(&mut self, here: usize, left: &mut u32) {
        for home in 0..self.books.len() {
            if !self.lags(home) {
                continue;
            }
            while let Some(wait) = self.first_of_use(home).filter(|_| *left > 0) {
                *left -= 1;
                self.noted.remove(&wait);
                self.scheduler.queue_again(wait);
                self.follow(here);
            }
        }
    }

    /// The first grant of a shard that could serve a wait of one that does not lag.
    fn first_of_use(&self, home: usize) -> Option<u64> {
        let queued = self.scheduler.queued_waits();
        let mut classes: Vec<u8> =
            queued.iter().filter(|queued| !self.lags(self.homes[&queued.wait])).map(|queued| queued.class).collect();
        classes.sort_unstable();
        classes.dedup();
        self.assigned_to(home).into_iter().find(|&wait| self.scheduler.would_serve(wait, &classes))
    }

    /// What is assigned to the waits of a shard, as it picks it up.
    pub(super) fn assigned_to(&self, home: usize) -> Vec<u64> {
        let mut assigned = self.scheduler.assigned_waits();
        assigned.retain(|wait| self.homes[wait] == home);
        assigned.sort_by_key(|&wait| !self.scheduler.is_of_shard(wait));
        assigned
    }

    /// Which of the shards with grants was called first.
    fn expect_looks(&mut self) {
        self.clock.oldest_call = None;
        for home in 0..self.books.len() {
            if !self.assigned_to(home).is_empty() {
                self.clock.expect_look(self.books[home].called_at);
            }
        }
    }
}
