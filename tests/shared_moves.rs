//! Threads against each other, whose connections move between them.
#![allow(clippy::disallowed_methods, reason = "a test may start threads")]

mod common;

use common::{ShardPool, config_of, granted};
use demuxbuf::connection::{Action, Event, Mode};
use demuxbuf::pool::{AttachOptions, Notice, PoolConfig, PoolError, ReceiverId};
use demuxbuf::scheduler::LeaseId;
use demuxbuf::shared::{ExportedReceiver, SharedPool};
use demuxbuf_testkit::{Rng, Socket, numbered};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

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
    signals: [AtomicU64; 4],
    /// How many receivers moved while they waited.
    moved_waiting: AtomicU64,
    /// Until then the host has all that receivers share, and the clocks of the workers stand still.
    is_released: AtomicBool,
    finished: AtomicU64,
}

/// Miri, which looks for races too, takes thousands of times as long.
const CONNECTIONS: u64 = if cfg!(miri) { 6 } else { 60 };
const BYTES: u64 = if cfg!(miri) { 400 } else { 3_000 };
/// What is decoded at once. Less than a buffer, so that a receive leaves bytes where memory is left for them.
const FRAME: u32 = 200;
/// The most in one trial.
const TRIAL_RECEIVES: u32 = 8;
/// The fewest for four threads.
const BUFFERS: u32 = 32;
/// Buffers that receivers share in the end.
const RELEASED: usize = 12;
/// The thread of the host, which has no connections.
const HOST: u32 = 3;

/// A thread that panics ends all workers, which would wait for its connections, or for its memory.
struct EndsAll<'a>(&'a Exchange);

impl Drop for EndsAll<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.finished.store(CONNECTIONS, Ordering::Relaxed);
        }
    }
}

/// One thread of it.
struct Worker<'a> {
    exchange: &'a Exchange,
    pool: ShardPool,
    index: usize,
    random: Rng,
    now_ns: u64,
}

impl Worker<'_> {
    fn run(&mut self, mine: &mut Vec<(ReceiverId, Socket)>) {
        while self.exchange.finished.load(Ordering::Relaxed) < CONNECTIONS {
            // What cannot go on otherwise is tried at its deadline.
            if self.exchange.is_released.load(Ordering::Relaxed) {
                self.now_ns += 10 * MS;
            }
            self.pool.handle_timeout(self.now_ns);
            let arrived = std::mem::take(&mut *self.exchange.inboxes[self.index].lock().unwrap());
            for (mut moving, socket) in arrived {
                let id = match &mut moving {
                    Moving::Exported(exported) => self.pool.import(exported),
                    Moving::GivenUp(bytes) => self.pool.attach_with(&AttachOptions::new(0, 0), bytes),
                };
                match id {
                    Ok(id) => self.begin(mine, (id, socket)),
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
                let connection = mine.swap_remove(at);
                self.go_on(mine, connection);
            }
            for connection in std::mem::take(mine) {
                if self.random.u8(..) < 3 {
                    self.send_away(mine, connection);
                } else {
                    self.report(mine, connection);
                }
            }
            while let Some(thread) = self.pool.poll_wake() {
                self.exchange.signals[thread as usize].fetch_add(1, Ordering::Relaxed);
            }
            std::thread::yield_now();
        }
    }

    /// Another thread goes on with it, if it can leave.
    fn send_away(&mut self, mine: &mut Vec<(ReceiverId, Socket)>, (id, socket): (ReceiverId, Socket)) {
        let to = (self.index + self.random.usize(1..3)) % 3;
        match self.leave(id) {
            Some(moving) => {
                self.exchange.inboxes[to].lock().unwrap().push((moving, socket));
                self.exchange.signals[to].fetch_add(1, Ordering::Relaxed);
            }
            None => mine.push((id, socket)),
        }
    }

    /// Nothing of a receiver is left here, or no buffer is there that what it keeps could leave in.
    fn leave(&mut self, id: ReceiverId) -> Option<Moving> {
        let is_waiting = self.pool.connection(id).unwrap().is_waiting();
        let moving = self.take_out(id);
        self.exchange.moved_waiting.fetch_add(u64::from(is_waiting && moving.is_some()), Ordering::Relaxed);
        moving
    }

    fn take_out(&mut self, id: ReceiverId) -> Option<Moving> {
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

    /// Receives the frame of which a connection brought a part, or waits: it may be late here, and could be evicted if
    /// it did neither.
    fn begin(&mut self, mine: &mut Vec<(ReceiverId, Socket)>, mut connection: (ReceiverId, Socket)) {
        let undecoded = connection.1.undecoded();
        while connection.1.undecoded() == undecoded && !self.pool.connection(connection.0).unwrap().is_waiting() {
            if self.step(&mut connection) {
                return;
            }
        }
        // Others that came can borrow now.
        if self.pool.pending(connection.0).unwrap().has(Action::Recv) {
            self.pool.handle(connection.0, Event::WouldBlock).unwrap();
        }
        mine.push(connection);
    }

    /// Receives once.
    fn report(&mut self, mine: &mut Vec<(ReceiverId, Socket)>, mut connection: (ReceiverId, Socket)) {
        if !self.step(&mut connection) {
            mine.push(connection);
        }
    }

    /// Receives for as long as the pool lets a connection, as in a trial.
    fn go_on(&mut self, mine: &mut Vec<(ReceiverId, Socket)>, mut connection: (ReceiverId, Socket)) {
        for _ in 0..TRIAL_RECEIVES {
            if self.step(&mut connection) {
                return;
            }
            if !self.pool.pending(connection.0).unwrap().has(Action::Recv) {
                break;
            }
        }
        mine.push(connection);
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
        assert!(!actions.has(Action::Shed), "its peer has sent it all: {:?}", self.pool.totals());
        if actions.has(Action::Decode) {
            let data = self.pool.data(id).unwrap();
            assert_eq!(data, socket.buffered(), "I5: order and content never change");
            let all = data.len() as u32;
            let left = socket.unread() as u32;
            let consumed = if left == 0 { all } else { all - all % FRAME };
            let need_more = if consumed < all { left.min(FRAME - all % FRAME) } else { 0 };
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

/// The host has all that receivers share until one of them has waited, and one has moved while it waited. Before, none
/// can receive a whole frame where it is; so this comes about however the threads are scheduled.
fn release_late(exchange: &Exchange, host: &mut ShardPool, leases: Vec<LeaseId>) {
    while host.stats().scheduler.queued == 0 || exchange.moved_waiting.load(Ordering::Relaxed) == 0 {
        let is_over = exchange.finished.load(Ordering::Relaxed) == CONNECTIONS;
        assert!(!is_over, "no receiver ever waited: {:?}, {:?}", exchange.way, host.stats());
        std::thread::yield_now();
    }
    leases.into_iter().for_each(|lease| host.release(lease).unwrap());
    while let Some(thread) = host.poll_wake() {
        exchange.signals[thread as usize].fetch_add(1, Ordering::Relaxed);
    }
    exchange.is_released.store(true, Ordering::Relaxed);
}

fn exchange(way: Way) {
    let config = PoolConfig { receivers_max: CONNECTIONS as u32, ..config_of(BUFFERS) };
    let shared_pool = SharedPool::new(&config, 4).unwrap();
    let mut host = shared_pool.shard(HOST).unwrap();
    let fixed = shared_pool.stats().scheduler.leased;
    let mut kept: Vec<_> = (fixed..BUFFERS).map(|token| granted(&mut host, token.into())).collect();
    let released = kept.split_off(kept.len() - RELEASED);
    let exchange = Exchange {
        way,
        inboxes: Default::default(),
        signals: Default::default(),
        moved_waiting: AtomicU64::new(0),
        is_released: AtomicBool::new(false),
        finished: AtomicU64::new(0),
    };
    std::thread::scope(|scope| {
        for index in 0..3 {
            let (exchange, shared_pool) = (&exchange, &shared_pool);
            scope.spawn(move || {
                let _ends_all = EndsAll(exchange);
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
        let _ends_all = EndsAll(&exchange);
        release_late(&exchange, &mut host, released);
    });
    let stats = shared_pool.stats();
    assert_eq!((stats.scheduler.waiting, stats.scheduler.leased), (0, fixed + kept.len() as u32));
    kept.into_iter().for_each(|lease| host.release(lease).unwrap());
    shared_pool.check_invariants().unwrap();
}
