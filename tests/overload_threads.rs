//! S45 with several threads: more connections than buffers, then twice the number.
#![allow(clippy::disallowed_methods, reason = "event loops are threads, and a test that waits needs a clock")]

use demuxbuf::connection::{Action, Event};
use demuxbuf::pool::{AttachOptions, Notice, Pool, PoolConfig, ReceiverId};
use demuxbuf::shared::{PoolShard, SharedPool};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Barrier, OnceLock};
use std::thread::Thread;
use std::time::{Duration, Instant};

const THREADS: usize = 4;
const BUFFERS: u32 = 20;
/// Connections of each thread: 1.0, 1.2, 2 and 5 times the buffers there are, then 1.0 again.
const PHASES: [u64; 5] = [5, 6, 10, 25, 5];
/// Far longer than any of this takes: a thread that sleeps for this long was not signalled. No thread wakes before by
/// itself, or it would find what it was not signalled for.
const PATIENCE: Duration = Duration::from_secs(60);
/// More than can be parked, so that each request needs a buffer.
const REQUEST_BYTES: u32 = 200;

fn shared_pool() -> SharedPool {
    let config = PoolConfig { buffer_bytes: 256, lifeline: false, ..PoolConfig::new(BUFFERS, 25) };
    SharedPool::new(&config, THREADS as u32).unwrap()
}

/// An event loop with connections that each always have a request to be read.
struct Loop {
    pool: Pool<PoolShard>,
    /// Requests that each connection still makes.
    left: HashMap<ReceiverId, u64>,
    holding: Vec<ReceiverId>,
    served: u64,
}

impl Loop {
    fn new(pool: Pool<PoolShard>, connections: u64, requests: u64) -> Loop {
        let mut this = Loop { pool, left: HashMap::new(), holding: Vec::new(), served: 0 };
        for token in 0..connections {
            let id = this.pool.attach(&AttachOptions::new(0, token)).unwrap();
            this.left.insert(id, requests);
        }
        this
    }

    fn start(&mut self) {
        for id in self.left.keys().copied().collect::<Vec<_>>() {
            self.read(id);
        }
    }

    /// Reads a request, if there is a buffer for it.
    fn read(&mut self, id: ReceiverId) {
        if self.pool.handle(id, Event::Readable).unwrap().has(Action::Recv) {
            self.fill(id);
        }
    }

    fn fill(&mut self, id: ReceiverId) {
        self.pool.receive_area(id).unwrap()[..REQUEST_BYTES as usize].fill(1);
        self.pool.handle(id, Event::Received { bytes: REQUEST_BYTES }).unwrap();
        self.holding.push(id);
    }

    /// Serves each connection that holds a buffer; returns how many.
    fn iterate(&mut self) -> u64 {
        self.pick_up();
        let serve = std::mem::take(&mut self.holding);
        let count = serve.len() as u64;
        for id in serve {
            self.pool.handle(id, Event::Consumed { bytes: REQUEST_BYTES }).unwrap();
            let left = self.left.get_mut(&id).expect("it is one of them");
            *left -= 1;
            if *left > 0 {
                self.read(id);
            } else {
                self.left.remove(&id);
                assert!(self.pool.handle(id, Event::Close).unwrap().has(Action::Finished));
            }
        }
        self.served += count;
        // What came back in this iteration may be its own, and a loop that is awake is not named.
        self.pick_up();
        count
    }

    fn pick_up(&mut self) {
        while let Some(granted) = self.pool.poll_notice() {
            let Notice::Receiver { id, actions, .. } = granted else { panic!("only receivers ask") };
            assert!(actions.has(Action::Recv), "a notice comes with a buffer");
            self.fill(id);
        }
    }
}

/// Loops iterate one after another on one thread; a loop iterates only if it holds a buffer or was named.
#[test]
fn s45_no_buffer_idles_and_no_loop_starves() {
    let shared_pool = shared_pool();
    for connections in PHASES {
        let pool = (0..THREADS).map(|index| shared_pool.shard(index as u32).unwrap());
        let mut loops: Vec<_> = pool.map(|pool| Loop::new(pool, connections, u64::MAX)).collect();
        let mut is_named = [true; THREADS];
        loops.iter_mut().for_each(Loop::start);
        for sweep in 0..300 {
            let mut served = 0;
            for index in 0..THREADS {
                if !std::mem::take(&mut is_named[index]) && loops[index].holding.is_empty() {
                    continue;
                }
                served += loops[index].iterate();
                while let Some(named) = loops[index].pool.poll_wake() {
                    is_named[named as usize] = true;
                }
            }
            assert!(served >= u64::from(BUFFERS), "sweep {sweep}: {served} served by {BUFFERS} buffers");
            shared_pool.check_invariants().unwrap();
        }
        let served: u64 = loops.iter().map(|one| one.served).sum();
        let least = loops.iter().flat_map(|one| one.left.values()).map(|left| u64::MAX - left).min();
        let share = served / (connections * THREADS as u64);
        assert!(least.is_some_and(|least| least * 2 >= share), "{least:?} for the least, {share} for each on average");
        drop(loops);
        assert_eq!(
            (shared_pool.stats().scheduler.free, shared_pool.stats().scheduler.waiting),
            (BUFFERS, 0),
            "nothing is left of it"
        );
    }
}

#[test]
fn s45_signalled_threads_serve_every_request() {
    const REQUESTS: u64 = 200;
    let shared_pool = shared_pool();
    for connections in PHASES {
        let all = connections * THREADS as u64 * REQUESTS;
        let (served, start) = (AtomicU64::new(0), Barrier::new(THREADS));
        let threads: [OnceLock<Thread>; THREADS] = Default::default();
        let before = shared_pool.stats();
        std::thread::scope(|scope| {
            for index in 0..THREADS {
                let (shared_pool, served, start, threads) = (&shared_pool, &served, &start, &threads);
                scope.spawn(move || {
                    let mut one = Loop::new(shared_pool.shard(index as u32).unwrap(), connections, REQUESTS);
                    threads[index].get_or_init(std::thread::current);
                    start.wait();
                    one.start();
                    while served.load(Ordering::Relaxed) < all {
                        let done = one.iterate();
                        served.fetch_add(done, Ordering::Relaxed);
                        while let Some(named) = one.pool.poll_wake() {
                            threads[named as usize].get().expect("all have started").unpark();
                        }
                        if done == 0 && one.holding.is_empty() {
                            let since = Instant::now();
                            std::thread::park_timeout(PATIENCE);
                            assert!(since.elapsed() < PATIENCE, "{index} was not signalled: {:?}", one.pool.stats());
                        }
                    }
                    threads.iter().for_each(|thread| thread.get().expect("all have started").unpark());
                    // No thread drops its receivers while another thread may still name it.
                    start.wait();
                    assert!(one.left.is_empty() && one.holding.is_empty());
                });
            }
        });
        let stats = shared_pool.stats();
        let granted = |stats: &demuxbuf::shared::SharedSchedulerStats| {
            stats.scheduler.granted_at_once + stats.scheduler.granted_by_handoff
        };
        assert_eq!(granted(&stats) - granted(&before), all, "one grant for each request, none in vain");
        assert_eq!((stats.scheduler.free, stats.scheduler.leased, stats.scheduler.waiting), (BUFFERS, 0, 0));
        assert!(stats.wakes - before.wakes <= stats.scheduler.granted_by_handoff - before.scheduler.granted_by_handoff);
        shared_pool.check_invariants().unwrap();
    }
}
