//! The cost of an exhausted pool, by how many wait: a request that is queued, a wait that is cancelled, a buffer that is
//! handed over (given back by one, picked up by the next in the queue).
//!
//! All pools are there at once and take turns, so that a busy moment of the machine hits all alike. Who cancels is drawn
//! by lot, so with many waiters it is found nowhere in a cache. What that costs in any queue shows in *list alone*: the same
//! ones leave a bare doubly linked list of entries as large. Instructions are counted by callgrind, which shows what is work
//! and what is waiting for memory.

#![allow(clippy::disallowed_methods, reason = "a benchmark measures time")]

mod support;

use demuxbuf::pool::{LeaseId, Outcome, Pool, PoolConfig, WaitId};
use serde_json::json;
use std::time::{Duration, Instant};
use support::{Options, Report, Samples, child, has_valgrind, instructions, ratio, rotated};

const WAITERS: [u32; 4] = [10, 1_000, 100_000, 1_000_000];
/// Operations that are timed together: so many of the fewest waiters can be cancelled and queue again.
const TOGETHER: usize = 10;
const OPERATIONS: [&str; 4] = ["queued", "cancelled", LIST_ALONE, "handed over"];
const LIST_ALONE: &str = "cancelled, list alone";

fn main() {
    let options = Options::read();
    if let [name, waiters, rounds] = options.child.as_slice() {
        return count(name, waiters.parse().expect("a number"), rounds.parse().expect("a number"));
    }
    let rounds = options.pick(10, 20_000, 200_000);
    let mut queues = WAITERS.map(Queue::new);
    let mut samples = WAITERS.map(|_| OPERATIONS.map(|_| Samples::new()));
    for round in 0..rounds {
        for size in rotated(round, queues.len()) {
            for (samples, time) in samples[size].iter_mut().zip(queues[size].play()) {
                samples.record(time.as_nanos() as f64 / TOGETHER as f64);
            }
        }
    }
    for queue in &queues {
        queue.pool.check_invariants().expect("a pool that was only used keeps its rules");
    }

    let is_counted = !options.smoke && has_valgrind();
    let columns = ["operation", "waiters", "ns", "ns to 10 waiters", "instructions", "to 10 waiters"];
    let mut report = Report::new("exhausted", &columns, &options);
    report.fact("rounds", rounds);
    for (operation, name) in OPERATIONS.iter().enumerate() {
        let mut fewest = None;
        for (size, waiters) in WAITERS.into_iter().enumerate() {
            let time = samples[size][operation].median();
            let counted = (is_counted && *name != LIST_ALONE).then(|| instructions_of(name, waiters));
            let (first_time, first_counted) = *fewest.get_or_insert((time, counted));
            let time_ratio = json!(time / first_time);
            let counted_ratio = ratio(counted, first_counted);
            let counted = json!(counted.map(|count| count.round() as u64));
            report.row(vec![json!(name), json!(waiters), json!(time), time_ratio, counted, counted_ratio]);
        }
    }
    report.finish();
}

/// A pool of one buffer, and a queue for it.
struct Queue {
    pool: Pool,
    held: LeaseId,
    /// By token.
    waits: Vec<WaitId>,
    list: List,
    random: fastrand::Rng,
}

/// What every queue that can be left from the middle comes down to.
struct List {
    entries: Vec<Entry>,
    /// The entry before the first and behind the last.
    end: u32,
}

#[derive(Clone)]
struct Entry {
    next: u32,
    previous: u32,
    /// As large as an entry of the pool's.
    _rest: [u64; 5],
}

impl List {
    fn new(waiters: u32) -> List {
        let entries = vec![Entry { next: waiters, previous: waiters, _rest: [1; 5] }; waiters as usize + 1];
        let mut list = List { entries, end: waiters };
        (0..waiters).for_each(|entry| list.append(entry));
        list
    }

    fn append(&mut self, entry: u32) {
        let last = self.entries[self.end as usize].previous;
        self.entries[last as usize].next = entry;
        self.entries[self.end as usize].previous = entry;
        self.entries[entry as usize] = Entry { next: self.end, previous: last, _rest: [1; 5] };
    }

    fn unlink(&mut self, entry: u32) {
        let Entry { next, previous, .. } = self.entries[entry as usize];
        self.entries[previous as usize].next = next;
        self.entries[next as usize].previous = previous;
    }
}

impl Queue {
    fn new(waiters: u32) -> Queue {
        let mut pool = Pool::new(&PoolConfig::new(1, waiters)).expect("the configuration is allowed");
        let Ok(Outcome::Granted(held)) = pool.request(0, 0) else { panic!("the buffer is free") };
        let mut queue =
            Queue { pool, held, waits: Vec::new(), list: List::new(waiters), random: fastrand::Rng::with_seed(1) };
        queue.waits = (0..waiters).map(|token| queue.request(token.into())).collect();
        queue
    }

    fn request(&mut self, token: u64) -> WaitId {
        match self.pool.request(0, token) {
            Ok(Outcome::Queued(wait)) => wait,
            other => panic!("it is exhausted: {other:?}"),
        }
    }

    /// Cancels some, lets them queue again, and serves some, who queue again. The order is that of `OPERATIONS`.
    fn play(&mut self) -> [Duration; 4] {
        let mut chosen = [0; TOGETHER];
        self.choose(&mut chosen);
        let leaving = chosen.map(|token| self.waits[token]);
        let cancelled = timed(|| {
            for wait in leaving {
                self.pool.cancel(wait).expect("it waits");
            }
        });
        let unlinked = timed(|| {
            for &token in &chosen {
                self.list.unlink(token as u32);
            }
        });
        for &token in &chosen {
            self.list.append(token as u32);
        }
        let queued = timed(|| {
            for &token in &chosen {
                self.waits[token] = self.request(token as u64);
            }
        });
        let handed_over = timed(|| {
            for token in &mut chosen {
                *token = self.hand_over();
            }
        });
        for token in chosen {
            self.waits[token] = self.request(token as u64);
        }
        [queued, cancelled, unlinked, handed_over]
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

    /// Returns the token of who has it now.
    fn hand_over(&mut self) -> usize {
        self.pool.release(self.held).expect("it is held");
        let grant = self.pool.poll_grant().expect("somebody waits");
        self.held = grant.lease;
        grant.token as usize
    }
}

fn timed(work: impl FnOnce()) -> Duration {
    let begin = Instant::now();
    work();
    begin.elapsed()
}

/// The difference of two runs that differ in nothing else.
fn instructions_of(operation: &str, waiters: u32) -> f64 {
    let run = |name: &str, times: u32| instructions(&child(name, &[waiters.to_string(), times.to_string()])) as f64;
    let times = TOGETHER as u32;
    (run(operation, times) - run(operation, 0)) / f64::from(times)
}

/// Does one operation so many times, at most as many as the fewest waiters.
fn count(operation: &str, waiters: u32, times: u32) {
    // Room for those that are queued beside the others.
    let mut pool = Pool::new(&PoolConfig::new(1, waiters + TOGETHER as u32)).expect("the configuration is allowed");
    let Ok(Outcome::Granted(mut held)) = pool.request(0, 0) else { panic!("the buffer is free") };
    let mut waits = Vec::with_capacity(waiters as usize);
    for token in 0..waiters {
        match pool.request(0, token.into()) {
            Ok(Outcome::Queued(wait)) => waits.push(wait),
            other => panic!("it is exhausted: {other:?}"),
        }
    }
    for turn in 0..times {
        match operation {
            "queued" => assert!(matches!(pool.request(0, 0), Ok(Outcome::Queued(_)))),
            "cancelled" => pool.cancel(waits[(waiters / 10 * turn) as usize]).expect("it waits"),
            "handed over" => {
                pool.release(held).expect("it is held");
                held = pool.poll_grant().expect("somebody waits").lease;
            }
            other => panic!("no such operation: {other}"),
        }
    }
}
