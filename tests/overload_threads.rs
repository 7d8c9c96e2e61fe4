//! S45 with several threads: more connections than memory has room for, some of which stop inside of frames.
#![allow(clippy::disallowed_methods, reason = "event loops are threads")]

use demuxbuf::connection::{Action, Event};
use demuxbuf::pool::{AttachOptions, Notice, Pool, PoolConfig, ReceiverId};
use demuxbuf::shared::{PoolShard, SharedPool};
use std::collections::HashMap;

const THREADS: u32 = 4;
const MS: u64 = 1_000_000;
const FRAME_BYTES: u32 = 250;
const HONEST: u64 = 10;
/// More than all memory has room for, also while no other thread has anything.
const STOPPING: u64 = 80;
const ITERATIONS: u64 = if cfg!(miri) { 20 } else { 1_000 };

struct Client {
    is_honest: bool,
    /// What is there to be received, and what was received of the frame.
    sent: u32,
    received: u32,
    frames: u64,
}

/// An event loop, and its connections.
struct Loop {
    pool: Pool<PoolShard>,
    clients: HashMap<ReceiverId, Client>,
    now_ns: u64,
    shed: u64,
}

impl Loop {
    fn new(pool: Pool<PoolShard>) -> Loop {
        let mut this = Loop { pool, clients: HashMap::new(), now_ns: 0, shed: 0 };
        (0..HONEST + STOPPING).for_each(|token| this.connect(token, token < HONEST));
        this
    }

    fn connect(&mut self, token: u64, is_honest: bool) {
        let id = self.pool.attach(&AttachOptions::new(0, token)).expect("there is room");
        let sent = if is_honest { FRAME_BYTES } else { 100 };
        self.clients.insert(id, Client { is_honest, sent, received: 0, frames: 0 });
    }

    fn iterate(&mut self) {
        self.now_ns += 20 * MS;
        self.pool.handle_timeout(self.now_ns);
        let ids: Vec<_> = self.clients.keys().copied().collect();
        for id in ids {
            if self.clients[&id].sent > 0 {
                self.pool.handle(id, Event::Readable).expect("it is attached");
                self.serve(id);
            }
        }
        while let Some(notice) = self.pool.poll_notice() {
            let Notice::Receiver { id, .. } = notice else { panic!("only receivers wait: {notice:?}") };
            self.serve(id);
        }
        while self.pool.poll_wake().is_some() {}
    }

    fn serve(&mut self, id: ReceiverId) {
        loop {
            let (actions, client) =
                (self.pool.pending(id).expect("it is attached"), self.clients.get_mut(&id).expect("it is one of them"));
            if actions.has(Action::Shed) {
                assert!(!client.is_honest, "it delivers in time: {:?}", self.pool.totals());
                self.pool.handle(id, Event::Close).expect("it is attached");
                self.clients.remove(&id);
                self.shed += 1;
                return self.connect(HONEST, false);
            }
            if actions.has(Action::Decode) {
                let is_whole = client.received == FRAME_BYTES;
                let (consumed, needed) = if is_whole { (FRAME_BYTES, 0) } else { (0, FRAME_BYTES - client.received) };
                self.pool.decoded(id, consumed, needed).expect("it is buffered");
                if is_whole {
                    (client.received, client.sent, client.frames) = (0, FRAME_BYTES, client.frames + 1);
                    return;
                }
            } else if actions.has(Action::Recv) {
                let bytes = client.sent.min(self.pool.receive_area(id).expect("it is attached").len() as u32);
                (client.sent, client.received) = (client.sent - bytes, client.received + bytes);
                let event = if bytes > 0 { Event::Received { bytes } } else { Event::WouldBlock };
                self.pool.handle(id, event).expect("there is room");
            } else {
                return;
            }
        }
    }
}

/// Every honest client is served in the time that the pool promises, on each thread.
#[test]
fn s45_all_threads_serve_honest_clients_in_time() {
    let config = PoolConfig { buffer_bytes: 256, ..PoolConfig::new(40 * 256, 100) };
    let shared_pool = SharedPool::new(&config, THREADS).expect("the configuration is allowed");
    let pools: Vec<_> = std::thread::scope(|scope| {
        let spawn = |index| {
            let shared_pool = &shared_pool;
            scope.spawn(move || {
                let mut one = Loop::new(shared_pool.shard(index).expect("it is free"));
                (0..ITERATIONS).for_each(|_| one.iterate());
                let totals = one.pool.totals();
                assert!(totals.longest_claim_ns <= config.wait_ns_max(), "{totals:?}");
                let waits_max = ITERATIONS * 20 * MS / config.wait_ns_max();
                let frames = one.clients.values().filter(|client| client.is_honest).map(|client| client.frames);
                assert!(frames.min() >= Some(waits_max), "a frame in each longest wait: {totals:?}");
                assert!(cfg!(miri) || (totals.claims > 20 && one.shed > 20), "memory is scarce: {totals:?}");
                one.pool
            })
        };
        let threads: Vec<_> = (0..THREADS).map(spawn).collect();
        threads.into_iter().map(|thread| thread.join().expect("it does not panic")).collect()
    });
    // While no other thread is inside a call.
    for pool in &pools {
        pool.check_invariants().expect("its own part is in order");
    }
    drop(pools);
    shared_pool.check_invariants().expect("all is in order");
    assert_eq!(shared_pool.stats().scheduler.waiting, 0);
}
