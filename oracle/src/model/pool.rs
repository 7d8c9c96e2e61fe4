//! The pool, as the docs of `demuxbuf::pool` have it.

use crate::subject::{Asked, Counts, Granted, Subject};
use demuxbuf::ffi::{DEMUXBUF_ERR_CLASS, DEMUXBUF_ERR_STALE, DEMUXBUF_ERR_TABLE_FULL};
use demuxbuf::pool::PoolConfig;
use std::collections::VecDeque;
use std::hash::{Hash, Hasher};

/// A request that waits, or that was served and does not know yet.
#[derive(Clone, Debug)]
struct Wait {
    id: u64,
    token: u64,
    class: usize,
    since_ns: u64,
    /// Grants that passed it which it could have had.
    passed: u64,
}

/// A buffer that is out.
#[derive(Clone, Copy, Debug)]
struct Lease {
    id: u64,
    class: usize,
}

/// Who holds and who waits, in the order of events.
#[derive(Clone, Debug)]
pub struct ModelPool {
    config: PoolConfig,
    held: Vec<Lease>,
    /// Handed over and not picked up, oldest first.
    assigned: VecDeque<(Wait, Lease)>,
    /// By class, oldest first.
    queues: Vec<VecDeque<Wait>>,
    /// By class: hand-overs to others while it waited and was eligible, since it was served or began to wait.
    bypassed: Vec<u64>,
    now_ns: u64,
    next_id: u64,
    leased_peak: usize,
    waiting_peak: usize,
    granted_at_once: u64,
    granted_by_hand_over: u64,
    queued: u64,
    cancelled: u64,
    released: u64,
    refused: u64,
    clock_backwards: u64,
}

impl ModelPool {
    /// A pool with this configuration.
    pub fn new(config: &PoolConfig) -> ModelPool {
        let classes = usize::from(config.classes);
        ModelPool {
            config: *config,
            held: Vec::new(),
            assigned: VecDeque::new(),
            queues: vec![VecDeque::new(); classes],
            bypassed: vec![0; classes],
            now_ns: 0,
            next_id: 1,
            leased_peak: 0,
            waiting_peak: 0,
            granted_at_once: 0,
            granted_by_hand_over: 0,
            queued: 0,
            cancelled: 0,
            released: 0,
            refused: 0,
            clock_backwards: 0,
        }
    }

    /// A buffer, if one may be had without waiting.
    pub(super) fn request_now(&mut self, class: u8) -> Result<Option<u64>, i32> {
        let class = usize::from(class);
        if class >= self.queues.len() {
            self.refused += 1;
            return Err(DEMUXBUF_ERR_CLASS);
        }
        if !self.queues[class].is_empty() || !self.is_eligible(class) {
            return Ok(None);
        }
        let lease = self.lease(class);
        self.held.push(lease);
        self.note_peak();
        self.granted_at_once += 1;
        Ok(Some(lease.id))
    }

    pub(super) fn holds(&self, lease: u64) -> bool {
        self.held.iter().any(|held| held.id == lease)
    }

    pub(super) fn classes(&self) -> usize {
        self.queues.len()
    }

    /// Waits that are not over: queued, or assigned and not picked up.
    pub(super) fn waits(&self) -> usize {
        self.waiting() + self.assigned.len()
    }

    /// Age in nanoseconds, grants that passed, and whether a buffer is assigned to it.
    pub(super) fn wait(&self, wait: u64) -> Option<(u64, u64, bool)> {
        let queued = self.queues.iter().flatten().map(|entry| (entry, false));
        let mut all = queued.chain(self.assigned.iter().map(|(entry, _)| (entry, true)));
        let (entry, is_assigned) = all.find(|(entry, _)| entry.id == wait)?;
        Some((self.now_ns - entry.since_ns, entry.passed, is_assigned))
    }

    /// Where a wait stands: its class (or the number of classes, once a buffer is assigned) and its place there.
    pub(super) fn place(&self, wait: u64) -> Option<(usize, usize)> {
        let find = |queue: &VecDeque<Wait>| queue.iter().position(|entry| entry.id == wait);
        let queued = self.queues.iter().enumerate().find_map(|(class, queue)| Some((class, find(queue)?)));
        let position = || self.assigned.iter().position(|(entry, _)| entry.id == wait);
        queued.or_else(|| Some((self.queues.len(), position()?)))
    }

    pub(super) fn class_of(&self, lease: u64) -> Option<usize> {
        self.held.iter().find(|held| held.id == lease).map(|held| held.class)
    }

    /// Feeds a hasher with what the future depends on, but for who holds and who waits.
    pub(super) fn hash_shape(&self, hasher: &mut impl Hasher) {
        self.bypassed.hash(hasher);
        for queue in &self.queues {
            queue.iter().map(|wait| wait.passed).collect::<Vec<_>>().hash(hasher);
        }
        self.assigned.iter().map(|(_, lease)| lease.class).collect::<Vec<_>>().hash(hasher);
    }

    fn free(&self) -> usize {
        self.config.buffers as usize - self.out()
    }

    fn out(&self) -> usize {
        self.held.len() + self.assigned.len()
    }

    fn out_of(&self, class: usize) -> usize {
        let all = self.held.iter().chain(self.assigned.iter().map(|(_, lease)| lease));
        all.filter(|lease| lease.class == class).count()
    }

    fn waiting(&self) -> usize {
        self.queues.iter().map(VecDeque::len).sum()
    }

    fn is_eligible(&self, class: usize) -> bool {
        let (reserve, cap) = (self.config.reserves[class] as usize, self.config.class_caps[class] as usize);
        self.free() > reserve && self.out_of(class) < cap
    }

    fn note_peak(&mut self) {
        self.leased_peak = self.leased_peak.max(self.out());
    }

    fn new_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    fn lease(&mut self, class: usize) -> Lease {
        Lease { id: self.new_id(), class }
    }

    /// Hands free buffers over for as long as somebody waits who may take one.
    fn hand_over(&mut self) {
        loop {
            let could: Vec<usize> = (0..self.classes())
                .filter(|&class| !self.queues[class].is_empty() && self.is_eligible(class))
                .collect();
            let overdue = could.iter().filter(|&&class| self.bypassed[class] >= self.config.class_burst.into());
            // The one passed most often; of equals the most critical.
            let overdue = overdue.max_by_key(|&&class| (self.bypassed[class], std::cmp::Reverse(class)));
            let Some(&winner) = overdue.or(could.first()) else {
                return;
            };
            let lease = self.lease(winner);
            let wait = self.queues[winner].pop_front().expect("the winner waits");
            for &class in &could {
                self.bypassed[class] = if class == winner { 0 } else { self.bypassed[class] + 1 };
                self.queues[class].iter_mut().for_each(|passed_by| passed_by.passed += 1);
            }
            self.assigned.push_back((wait, lease));
            self.note_peak();
            self.granted_by_hand_over += 1;
        }
    }

    /// The published bound, from the formula in the docs.
    fn bound(&self) -> u64 {
        let (waiters, classes) = (u64::from(self.config.waiters_max), self.classes() as u64);
        let passes = if classes == 1 { 1 } else { u64::from(self.config.class_burst) + classes };
        (waiters * passes).saturating_sub(1)
    }
}

impl Subject for ModelPool {
    fn request(&mut self, class: u8, token: u64) -> Result<Asked, i32> {
        if let Some(lease) = self.request_now(class)? {
            return Ok(Asked::Lease(lease));
        }
        if self.waits() == self.config.waiters_max as usize {
            self.refused += 1;
            return Err(DEMUXBUF_ERR_TABLE_FULL);
        }
        let class = usize::from(class);
        let wait = Wait { id: self.new_id(), token, class, since_ns: self.now_ns, passed: 0 };
        let id = wait.id;
        self.queues[class].push_back(wait);
        self.queued += 1;
        self.waiting_peak = self.waiting_peak.max(self.waiting());
        Ok(Asked::Wait(id))
    }

    fn release(&mut self, lease: u64) -> Result<(), i32> {
        let Some(at) = self.held.iter().position(|held| held.id == lease) else {
            self.refused += 1;
            return Err(DEMUXBUF_ERR_STALE);
        };
        self.held.remove(at);
        self.released += 1;
        self.hand_over();
        Ok(())
    }

    fn cancel(&mut self, wait: u64) -> Result<(), i32> {
        let Some((place, at)) = self.place(wait) else {
            self.refused += 1;
            return Err(DEMUXBUF_ERR_STALE);
        };
        self.cancelled += 1;
        if place == self.queues.len() {
            self.assigned.remove(at);
            self.hand_over();
        } else {
            self.queues[place].remove(at);
            if self.queues[place].is_empty() {
                self.bypassed[place] = 0;
            }
        }
        Ok(())
    }

    fn poll_grant(&mut self) -> Option<Granted> {
        let (wait, lease) = self.assigned.pop_front()?;
        self.held.push(lease);
        Some(Granted::Lease { wait: wait.id, token: wait.token, lease: lease.id })
    }

    fn tick(&mut self, now_ns: u64) {
        self.clock_backwards += u64::from(now_ns < self.now_ns);
        self.now_ns = self.now_ns.max(now_ns);
    }

    fn describe_wait(&self, wait: u64) -> Option<Result<(u64, u64, bool), i32>> {
        Some(self.wait(wait).ok_or(DEMUXBUF_ERR_STALE))
    }

    fn passed_max(&mut self, class: u8) -> Result<u64, i32> {
        if usize::from(class) < self.classes() { Ok(self.bound()) } else { Err(DEMUXBUF_ERR_CLASS) }
    }

    fn counts(&mut self) -> Counts {
        let mut counts = Counts::from([
            ("buffers", self.config.buffers.into()),
            ("free", self.free() as u64),
            ("leased", self.held.len() as u64),
            ("assigned", self.assigned.len() as u64),
            ("waiting", self.waiting() as u64),
            ("leased_peak", self.leased_peak as u64),
            ("waiting_peak", self.waiting_peak as u64),
            ("granted_at_once", self.granted_at_once),
            ("granted_by_hand_over", self.granted_by_hand_over),
            ("queued", self.queued),
            ("cancelled", self.cancelled),
            ("released", self.released),
            ("refused", self.refused),
            ("clock_backwards", self.clock_backwards),
        ]);
        for class in 0..self.classes() {
            counts.insert(super::WAITING_BY_CLASS[class], self.queues[class].len() as u64);
            counts.insert(super::OUT_BY_CLASS[class], self.out_of(class) as u64);
        }
        counts
    }

    fn check_invariants(&mut self) -> Result<(), String> {
        let mut ids: Vec<u64> =
            self.held.iter().chain(self.assigned.iter().map(|(_, lease)| lease)).map(|lease| lease.id).collect();
        let waits = self.queues.iter().flatten().chain(self.assigned.iter().map(|(wait, _)| wait));
        ids.extend(waits.clone().map(|wait| wait.id));
        let count = ids.len();
        ids.sort_unstable();
        ids.dedup();
        let within_cap = |class: usize| self.out_of(class) <= self.config.class_caps[class] as usize;
        let served = |class: usize| self.queues[class].is_empty() || !self.is_eligible(class);
        let in_order = |queue: &VecDeque<Wait>| {
            queue.iter().zip(queue.iter().skip(1)).all(|(a, b)| a.id < b.id && a.passed >= b.passed)
        };
        let in_its_class = |(class, queue): (usize, &VecDeque<Wait>)| queue.iter().all(|wait| wait.class == class);
        let rules = [
            ("I1: no more buffers are out than there are", self.out() <= self.config.buffers as usize),
            ("I1: no class has more out than its cap", (0..self.classes()).all(within_cap)),
            ("I2: everybody is in one place", ids.len() == count),
            ("I2: everybody waits in his class", self.queues.iter().enumerate().all(in_its_class)),
            ("I3: no buffer is free that a waiter may take", (0..self.classes()).all(served)),
            ("I6: first in, first out", self.queues.iter().all(in_order)),
            ("I6: at most W grants pass a waiter", waits.clone().all(|wait| wait.passed <= self.bound())),
        ];
        match rules.iter().find(|(_, holds)| !holds) {
            Some((rule, _)) => Err(format!("{rule}: {self:?}")),
            None => Ok(()),
        }
    }
}
