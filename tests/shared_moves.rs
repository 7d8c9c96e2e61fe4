//! Threads against each other, whose connections move between them.
#![allow(clippy::disallowed_methods, reason = "a test may start threads")]

mod common;

use common::{ShardPool, config_of, granted};
use demuxbuf::connection::{Action, Event, Mode};
use demuxbuf::pool::{AttachOptions, Notice, PoolConfig, PoolError, ReceiverId};
use demuxbuf::shared::{ExportedReceiver, SharedPool};
use demuxbuf_testkit::{Rng, Socket, numbered};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

const MS: u64 = 1_000_000;

/// How a connection comes to another thread.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    /// Its thread exports the receiver.
    Export,
    /// Its thread gives the receiver up, since another one took the connection over: that attaches it with what was
    /// undecoded.
    GiveUp,
}

/// A connection between two threads.
enum Moving {
    Exported(ExportedReceiver),
    GivenUp(Vec<u8>),
}

/// What the threads share.
struct Exchange {
    way: Way,
    inboxes: [Mutex<Vec<(Moving, Socket)>>; 3],
    signals: [AtomicU64; 3],
    finished: AtomicU64,
}

/// Miri, which looks for races too, takes thousands of times as long.
const CONNECTIONS: u64 = if cfg!(miri) { 6 } else { 60 };
const BYTES: u64 = if cfg!(miri) { 300 } else { 3_000 };
/// So few that some request has to wait.
const BUFFERS: u32 = 24;

/// One thread of it.
struct Worker<'a> {
    exchange: &'a Exchange,
    pool: ShardPool,
    index: usize,
    random: Rng,
    now_ns: u64,
}

/// A worker that panics ends all workers, which would wait for its connections.
impl Drop for Worker<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.exchange.finished.store(CONNECTIONS, Ordering::Relaxed);
        }
    }
}

impl Worker<'_> {
    fn run(&mut self, mine: &mut Vec<(ReceiverId, Socket)>) {
        while self.exchange.finished.load(Ordering::Relaxed) < CONNECTIONS {
            let arrived = std::mem::take(&mut *self.exchange.inboxes[self.index].lock().unwrap());
            for (mut moving, socket) in arrived {
                let id = match &mut moving {
                    Moving::Exported(exported) => self.pool.import(exported),
                    Moving::GivenUp(bytes) => self.pool.attach_with(&AttachOptions::new(0, 0), bytes),
                };
                match id {
                    Ok(id) => mine.push((id, socket)),
                    // Later, when there is a place for what it keeps.
                    Err(PoolError::NoBufferFree) => {
                        self.exchange.inboxes[self.index].lock().unwrap().push((moving, socket));
                    }
                    Err(error) => panic!("{error}"),
                }
            }
            while let Some(notice) = self.pool.poll_notice() {
                let Notice::Receiver { id, .. } = notice else { panic!("only receivers wait: {notice:?}") };
                let at = mine.iter().position(|&(mine, _)| mine == id).expect("it is one of them");
                if self.step(&mut mine[at]) {
                    mine.swap_remove(at);
                }
            }
            // What cannot go on otherwise is tried at its deadline.
            self.now_ns += MS;
            self.pool.handle_timeout(self.now_ns);
            for _ in 0..mine.len().min(4) {
                let at = self.random.usize(..mine.len());
                if self.random.u8(..) < 20 {
                    let (id, socket) = mine.swap_remove(at);
                    let to = (self.index + self.random.usize(1..3)) % 3;
                    let Some(moving) = self.leave(id) else {
                        mine.push((id, socket));
                        continue;
                    };
                    self.exchange.inboxes[to].lock().unwrap().push((moving, socket));
                    self.exchange.signals[to].fetch_add(1, Ordering::Relaxed);
                } else if self.step(&mut mine[at]) {
                    mine.swap_remove(at);
                }
            }
            while let Some(thread) = self.pool.poll_wake() {
                self.exchange.signals[thread as usize].fetch_add(1, Ordering::Relaxed);
            }
            std::thread::yield_now();
        }
    }

    /// Nothing of a receiver is left here, or no buffer is there that what it keeps could leave in.
    fn leave(&mut self, id: ReceiverId) -> Option<Moving> {
        if self.exchange.way == Way::GiveUp {
            let bytes = self.pool.data(id).unwrap().to_vec();
            assert!(self.pool.handle(id, Event::Close).unwrap().has(Action::Finished));
            assert_eq!(self.pool.data(id), Err(PoolError::Stale));
            return Some(Moving::GivenUp(bytes));
        }
        match self.pool.export(id) {
            Ok(exported) => Some(Moving::Exported(exported)),
            Err(PoolError::NoBufferFree) => None,
            Err(error) => panic!("{error}"),
        }
    }

    /// Goes on with one connection; returns whether it has ended.
    fn step(&mut self, (id, socket): &mut (ReceiverId, Socket)) -> bool {
        let id = *id;
        let mut actions = self.pool.handle(id, Event::Readable).unwrap();
        if actions.has(Action::Recv) {
            let area = self.pool.receive_area(id).unwrap();
            let event = socket.receive(area);
            if event != Event::WouldBlock {
                actions = self.pool.handle(id, event).unwrap();
            }
        }
        assert!(!actions.has(Action::Shed), "its peer has sent it all");
        if actions.has(Action::Decode) {
            let data = self.pool.data(id).unwrap();
            assert_eq!(data, socket.buffered(), "I5: order and content never change");
            let all = data.len() as u32;
            let left = socket.unread() as u32;
            // The undecoded bytes are often too long to be parked, so that other connections have to wait.
            let consumed = if left == 0 { all } else { all - all % 128 };
            let need_more = if consumed < all { left.min(128 - all % 128) } else { 0 };
            self.pool.decoded(id, consumed, need_more).unwrap();
            socket.consume(consumed as usize);
        }
        if socket.undecoded() > 0 {
            return false;
        }
        assert!(self.pool.handle(id, Event::Close).unwrap().has(Action::Finished));
        self.exchange.finished.fetch_add(1, Ordering::Relaxed);
        true
    }
}

#[test]
fn s13_connections_that_move_lose_no_byte() {
    exchange(Way::Export);
}

#[test]
fn s76_connections_that_are_given_up_lose_no_byte() {
    exchange(Way::GiveUp);
}

fn exchange(way: Way) {
    let config = PoolConfig { receivers_max: CONNECTIONS as u32, ..config_of(BUFFERS) };
    let shared_pool = SharedPool::new(&config, 3).unwrap();
    // The host has what receivers do not need, so that some have to wait.
    let mut host = shared_pool.shard(0).unwrap();
    let taken: Vec<_> = (0..10).map(|token| granted(&mut host, token)).collect();
    drop(host);
    let fixed = shared_pool.stats().scheduler.leased;
    let exchange =
        Exchange { way, inboxes: Default::default(), signals: Default::default(), finished: AtomicU64::new(0) };
    std::thread::scope(|scope| {
        for index in 0..3 {
            let (exchange, shared_pool) = (&exchange, &shared_pool);
            scope.spawn(move || {
                let mut pool = shared_pool.shard(index).unwrap();
                let mut mine = Vec::new();
                for connection in (u64::from(index)..CONNECTIONS).step_by(3) {
                    let mut socket = Socket::new(Mode::Level, &[]);
                    socket.send(&numbered(connection, 0..BYTES));
                    mine.push((pool.attach(&AttachOptions::new(0, connection)).unwrap(), socket));
                }
                let random = Rng::with_seed(index.into());
                let index = index as usize;
                Worker { exchange, pool, index, random, now_ns: 0 }.run(&mut mine);
                assert!(mine.is_empty());
            });
        }
    });
    let stats = shared_pool.stats();
    assert_eq!((stats.scheduler.waiting, stats.scheduler.leased), (0, fixed));
    assert!(stats.scheduler.queued > 0, "no receiver ever waited: {way:?}, {stats:?}");
    let mut host = shared_pool.shard(0).unwrap();
    taken.into_iter().for_each(|lease| host.release(lease).unwrap());
    shared_pool.check_invariants().unwrap();
}
