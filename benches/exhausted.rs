//! The cost of an exhausted pool, by how many wait: a request that is queued, a wait that is cancelled, a buffer that
//! is handed over (released by one holder, picked up by the next waiter in the queue).
//!
//! All pools are there at once and take turns, so that a busy moment of the machine hits all alike. The waiters that
//! cancel are random, and before anything is timed all have queued anew in a random order, as after long use: with many
//! waiters nothing that is touched is found in a cache. What that costs in any queue shows beside: the same ones join
//! and leave a bare doubly linked list of entries as large, one after the other. *The rest* is what the pool takes
//! longer than the list, of the same round. Instructions are counted by callgrind.

#![allow(clippy::disallowed_methods, reason = "a benchmark measures time")]

mod support;

use demuxbuf::scheduler::{LeaseId, Outcome, Scheduler, SchedulerConfig, WaitId};
use serde_json::json;
use std::sync::atomic::{Ordering, fence};
use std::time::{Duration, Instant};
use support::{Options, Report, Samples, child, filled, has_valgrind, instructions, ratio, rotated};

const WAITERS: [u32; 4] = [10, 1_000, 100_000, 1_000_000];
/// Operations that are timed together: of the fewest waiters, this many can be cancelled and queue again.
const TOGETHER: usize = 10;
const OPERATIONS: [&str; 3] = ["queued", "cancelled", "handed over"];

fn main() {
    let options = Options::read();
    if let [name, waiters, rounds] = options.child.as_slice() {
        return count(name, waiters.parse().expect("a number"), rounds.parse().expect("a number"));
    }
    let rounds = options.pick(10, 20_000, 200_000);
    let mut queues = WAITERS.map(Queue::new);
    let mut samples = WAITERS.map(|_| OPERATIONS.map(|_| [(); 3].map(|()| Samples::new())));
    for round in 0..rounds {
        for size in rotated(round, queues.len()) {
            for (samples, [scheduler, list]) in samples[size].iter_mut().zip(queues[size].play()) {
                for (samples, time) in samples.iter_mut().zip([scheduler, list, scheduler.saturating_sub(list)]) {
                    samples.record(time.as_nanos() as f64 / TOGETHER as f64);
                }
            }
        }
    }
    for queue in &queues {
        queue.scheduler.check_invariants().expect("a pool that was only used keeps its rules");
    }

    let is_counted = !options.smoke && has_valgrind();
    let columns = [
        "operation",
        "waiters",
        "ns",
        "ns to 10 waiters",
        "bare list: ns",
        "list to 10 waiters",
        "the rest: ns",
        "rest to 10 waiters",
        "instructions",
        "to 10 waiters",
    ];
    let mut report = Report::new("exhausted", &columns, &options);
    report.fact("rounds", rounds);
    for (operation, name) in OPERATIONS.iter().enumerate() {
        let mut fewest = None;
        for (size, waiters) in WAITERS.into_iter().enumerate() {
            let times = [0, 1, 2].map(|what| samples[size][operation][what].median());
            let counted = is_counted.then(|| instructions_of(name, waiters));
            let (first_times, first_counted) = *fewest.get_or_insert((times, counted));
            let mut cells = vec![json!(name), json!(waiters)];
            cells.extend(
                times.into_iter().zip(first_times).flat_map(|(time, first)| [json!(time), json!(time / first)]),
            );
            cells.extend([json!(counted.map(|count| count.round() as u64)), ratio(counted, first_counted)]);
            report.row(cells);
        }
    }
    report.finish();
}

/// A pool of one buffer, a queue for it, and a list of the same ones in the same order.
struct Queue {
    scheduler: Scheduler,
    held: LeaseId,
    /// By token.
    waits: Vec<WaitId>,
    list: List,
    random: fastrand::Rng,
}

/// The least that a queue does that can be left from the middle. Each operation waits for the entry of the one before.
struct List {
    /// By token; behind them what is before the first and behind the last.
    entries: Vec<Entry>,
    always_0: u32,
}

/// As large as an entry of the pool's, with the links where that has them.
#[derive(Clone, Default)]
#[repr(C)]
struct Entry {
    before: [u32; 8],
    next: u32,
    previous: u32,
    behind: [u32; 2],
}

impl List {
    fn new(waiters: u32) -> List {
        let mut entries = filled(waiters as usize + 1, Entry::default());
        (entries[waiters as usize].next, entries[waiters as usize].previous) = (waiters, waiters);
        List { entries, always_0: 0 }
    }

    fn end(&self) -> u32 {
        self.entries.len() as u32 - 1
    }

    fn append(&mut self, token: u32) {
        let (token, end) = (token + self.always_0, self.end());
        let last = self.entries[end as usize].previous;
        self.entries[last as usize].next = token;
        self.entries[end as usize].previous = token;
        let entry = &mut self.entries[token as usize];
        self.always_0 = entry.before[0];
        *entry = Entry { next: end, previous: last, ..Entry::default() };
    }

    fn unlink(&mut self, token: u32) {
        let Entry { before, next, previous, .. } = self.entries[(token + self.always_0) as usize];
        self.entries[previous as usize].next = next;
        self.entries[next as usize].previous = previous;
        self.always_0 = before[0];
    }

    /// Unlinks the first.
    fn shift(&mut self) -> u32 {
        let first = self.entries[self.end() as usize].next;
        self.unlink(first);
        first
    }
}

impl Queue {
    fn new(waiters: u32) -> Queue {
        let mut scheduler = Scheduler::new(&SchedulerConfig::new(1, waiters)).expect("the configuration is allowed");
        let Ok(Outcome::Granted(held)) = scheduler.request(0, 0) else { panic!("the buffer is free") };
        let mut queue =
            Queue { scheduler, held, waits: Vec::new(), list: List::new(waiters), random: fastrand::Rng::with_seed(1) };
        queue.waits = (0..waiters).map(|token| queue.request(token.into())).collect();
        let mut order: Vec<usize> = (0..waiters as usize).collect();
        queue.random.shuffle(&mut order);
        for &token in &order {
            queue.scheduler.cancel(queue.waits[token]).expect("it waits");
        }
        queue.random.shuffle(&mut order);
        for token in order {
            queue.waits[token] = queue.request(token as u64);
            queue.list.append(token as u32);
        }
        queue
    }

    fn request(&mut self, token: u64) -> WaitId {
        match self.scheduler.request(0, token) {
            Ok(Outcome::Queued(wait)) => wait,
            other => panic!("it is exhausted: {other:?}"),
        }
    }

    /// Cancels some waiters, lets them queue again, and serves some, which queue again. Of each of the `OPERATIONS`,
    /// the time of the pool and of the list.
    fn play(&mut self) -> [[Duration; 2]; OPERATIONS.len()] {
        let mut chosen = [0; TOGETHER];
        self.choose(&mut chosen);
        let leaving = chosen.map(|token| self.waits[token]);
        let cancelled = timed(|| leaving.into_iter().for_each(|wait| self.scheduler.cancel(wait).expect("it waits")));
        let unlinked = timed(|| chosen.into_iter().for_each(|token| self.list.unlink(token as u32)));
        let mut joining = leaving;
        let queued = timed(|| {
            for (wait, token) in joining.iter_mut().zip(chosen) {
                *wait = self.request(token as u64);
            }
        });
        let appended = timed(|| chosen.into_iter().for_each(|token| self.list.append(token as u32)));
        chosen.into_iter().zip(joining).for_each(|(token, wait)| self.waits[token] = wait);
        let mut served = [[0; TOGETHER]; 2];
        let handed_over = timed(|| served[0].iter_mut().for_each(|token| *token = self.hand_over() as u32));
        let shifted = timed(|| served[1].iter_mut().for_each(|token| *token = self.list.shift()));
        assert_eq!(served[0], served[1], "both have the same order");
        for token in served[0] {
            self.waits[token as usize] = self.request(token.into());
            self.list.append(token);
        }
        [[queued, appended], [cancelled, unlinked], [handed_over, shifted]]
    }

    /// Different ones.
    fn choose(&mut self, chosen: &mut [usize; TOGETHER]) {
        for at in 0..TOGETHER {
            chosen[at] = loop {
                let token = self.random.usize(..self.waits.len());
                if !chosen[..at].contains(&token) {
                    break token;
                }
            };
        }
    }

    /// Returns the token of the waiter that has it now.
    fn hand_over(&mut self) -> u64 {
        self.scheduler.release(self.held).expect("it is held");
        let grant = self.scheduler.poll_grant().expect("a request waits");
        self.held = grant.lease;
        grant.token
    }
}

/// Until all that it wrote is in the cache, and not what was written before.
fn timed(work: impl FnOnce()) -> Duration {
    fence(Ordering::SeqCst);
    let begin = Instant::now();
    work();
    fence(Ordering::SeqCst);
    begin.elapsed()
}

/// The difference of two runs that differ in nothing else.
fn instructions_of(operation: &str, waiters: u32) -> f64 {
    let run = |name: &str, times: u32| instructions(&child(name, &[waiters.to_string(), times.to_string()])) as f64;
    let times = TOGETHER as u32;
    (run(operation, times) - run(operation, 0)) / f64::from(times)
}

/// Does one operation this many times, at most as many as the fewest waiters.
fn count(operation: &str, waiters: u32, times: u32) {
    // Room for the waiters that are queued besides.
    let mut scheduler =
        Scheduler::new(&SchedulerConfig::new(1, waiters + TOGETHER as u32)).expect("the configuration is allowed");
    let Ok(Outcome::Granted(mut held)) = scheduler.request(0, 0) else { panic!("the buffer is free") };
    let mut waits = Vec::with_capacity(waiters as usize);
    for token in 0..waiters {
        match scheduler.request(0, token.into()) {
            Ok(Outcome::Queued(wait)) => waits.push(wait),
            other => panic!("it is exhausted: {other:?}"),
        }
    }
    for turn in 0..times {
        match operation {
            "queued" => assert!(matches!(scheduler.request(0, 0), Ok(Outcome::Queued(_)))),
            "cancelled" => scheduler.cancel(waits[(waiters / 10 * turn) as usize]).expect("it waits"),
            "handed over" => {
                scheduler.release(held).expect("it is held");
                held = scheduler.poll_grant().expect("a request waits").lease;
            }
            other => panic!("no such operation: {other}"),
        }
    }
}
