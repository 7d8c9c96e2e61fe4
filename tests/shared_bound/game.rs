//! The threads and their clients.

use super::strategy::Strategy;
use super::{BUFFER_BYTES, GRACE_NS, MS, STEPS};
use demuxbuf::connection::{Action, Actions, Event, Mode, Policy};
use demuxbuf::pool::{AttachOptions, Notice, Pool, PoolConfig, PoolError, ReceiverId};
use demuxbuf::scheduler::{LeaseId, Outcome, Request};
use demuxbuf::shared::{PoolShard, SharedPool};
use demuxbuf_testkit::{EventLoop, Rng, Socket};

const STEP_NS: u64 = 10 * MS;
const HEADER_BYTES: usize = 2;
/// Of each thread.
const HONEST: usize = 3;
const ATTACKERS: usize = 20;

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// Sends whole frames, one after the other, at once or in two pieces, and thinks between them.
    Honest,
    Attacker,
}

struct Client {
    shard: usize,
    id: ReceiverId,
    socket: Socket,
    kind: Kind,
    /// What is missing of its last frame.
    rest: Vec<u8>,
    is_blocked: bool,
    /// Of an honest client: when its frame was whole, in the time of its thread.
    whole_at_ns: Option<u64>,
    /// The step in which it sends again.
    next_step: u64,
}

struct Thread {
    pool: Pool<PoolShard>,
    advance_ns: Option<u64>,
    /// Its own time: what its clock was advanced by.
    time_ns: u64,
    is_signalled: bool,
    leases: Vec<(u64, LeaseId)>,
}

pub(crate) struct Game {
    /// Owns the memory.
    _shared_pool: SharedPool,
    threads: Vec<Thread>,
    strategy: Strategy,
    mode: Mode,
    rng: Rng,
    clients: Vec<Client>,
    here: usize,
    step: u64,
    bound_ns: u64,
    served: u64,
    longest_wait_ns: u64,
}

fn frame(length: usize) -> Vec<u8> {
    let payload = (length - HEADER_BYTES) as u16;
    payload.to_be_bytes().into_iter().chain((0..payload).map(|at| at as u8)).collect()
}

/// Length of the frame whose first bytes these are, as far as they say.
fn length(data: &[u8]) -> usize {
    match data {
        [high, low, ..] => HEADER_BYTES + usize::from(u16::from_be_bytes([*high, *low])),
        _ => HEADER_BYTES,
    }
}

impl Game {
    pub(crate) fn new(threads: usize, mode: Mode, strategy: Strategy) -> Game {
        let config = PoolConfig {
            buffer_bytes: BUFFER_BYTES,
            frame_grace_ns: GRACE_NS,
            blocked_ns: 2 * GRACE_NS,
            policy: Policy { mode, ..Policy::default() },
            waiters_max: 4,
            ..PoolConfig::new(threads as u64 * 8 * u64::from(BUFFER_BYTES), (threads * (HONEST + ATTACKERS)) as u32)
        };
        let shared_pool = SharedPool::new(&config, threads as u32).expect("the configuration is allowed");
        let thread = |index| Thread {
            pool: shared_pool.shard(index).expect("it is free"),
            advance_ns: None,
            time_ns: 0,
            is_signalled: false,
            leases: Vec::new(),
        };
        let made = (0..threads as u32).map(thread).collect();
        let mut game = Game {
            threads: made,
            _shared_pool: shared_pool,
            rng: Rng::with_seed(strategy.seed),
            strategy,
            mode,
            clients: Vec::new(),
            here: 0,
            step: 0,
            bound_ns: config.wait_ns_max(),
            served: 0,
            longest_wait_ns: 0,
        };
        for at in 0..threads * (HONEST + ATTACKERS) {
            let kind = if at < threads * HONEST { Kind::Honest } else { Kind::Attacker };
            let client = game.connect(at, at % threads, kind);
            game.clients.push(client);
            game.run(at);
        }
        game
    }

    fn connect(&mut self, at: usize, shard: usize, kind: Kind) -> Client {
        self.here = shard;
        let id = self.threads[shard].pool.attach(&AttachOptions::new(0, at as u64)).expect("there is room");
        let (socket, next_step) = (Socket::new(self.mode, &[]), self.step + self.rng.u64(0..10));
        Client { shard, id, socket, kind, rest: Vec::new(), is_blocked: false, whole_at_ns: None, next_step }
    }

    fn chance(&mut self, of_sixteen: u8) -> bool {
        self.rng.u8(0..16) < of_sixteen
    }

    /// The connection ends, and another one begins on the same thread.
    fn replace(&mut self, at: usize) {
        let Client { shard, id, kind, .. } = self.clients[at];
        self.threads[shard].pool.handle(id, Event::Close).expect("it is attached");
        self.clients[at] = self.connect(at, shard, kind);
        self.run(at);
    }

    /// What arrives before the threads look.
    fn send(&mut self, at: usize) {
        if self.clients[at].kind == Kind::Honest {
            return self.send_honestly(at);
        }
        let variant = self.rng.usize(0..4);
        let (completes, drips) = (self.chance(self.strategy.completes), self.chance(self.strategy.drips));
        let client = &mut self.clients[at];
        if client.rest.is_empty() {
            client.rest = frame(self.strategy.lengths[variant]);
            let bytes = self.strategy.first_bytes[variant].min(client.rest.len());
            client.socket.send(&client.rest[..bytes]);
            client.rest.drain(..bytes);
        } else if completes || drips {
            let bytes = if completes { usize::MAX } else { self.strategy.drip_bytes };
            let bytes = bytes.min(client.rest.len());
            client.socket.send(&client.rest[..bytes]);
            client.rest.drain(..bytes);
        }
    }

    /// The second piece comes within the grace after the first, which is less than the time that a frame has.
    fn send_honestly(&mut self, at: usize) {
        let (largest, in_pieces) = (BUFFER_BYTES as usize, self.rng.bool());
        let (length, pause) = (self.rng.usize(HEADER_BYTES + 1..=largest), self.rng.u64(1..GRACE_NS / STEP_NS));
        let (step, client) = (self.step, &mut self.clients[at]);
        if client.next_step > step || client.whole_at_ns.is_some() {
            return;
        }
        if client.rest.is_empty() {
            client.rest = frame(length);
            if in_pieces {
                let bytes = length / 2;
                client.socket.send(&client.rest[..bytes]);
                client.rest.drain(..bytes);
                client.next_step = step + pause;
                return;
            }
        }
        client.socket.send(&std::mem::take(&mut client.rest));
        client.whole_at_ns = Some(self.threads[client.shard].time_ns);
    }

    fn block(&mut self, at: usize) {
        let client = &mut self.clients[at];
        client.is_blocked = !client.is_blocked;
        let event = if client.is_blocked { Event::Block { reasons: 1 } } else { Event::Unblock { reasons: 1 } };
        self.report_and_run(at, event);
    }

    /// An attacker moves to another thread, if it can.
    fn migrate(&mut self, at: usize) {
        let (Client { shard: from, id, .. }, to) = (&self.clients[at], self.rng.usize(..self.threads.len()));
        let from = *from;
        let Ok(mut exported) = self.threads[from].pool.export(*id) else { return };
        let shard = match self.threads[to].pool.import(&mut exported) {
            Ok(id) => (to, id),
            Err(PoolError::NoBufferFree) => {
                (from, self.threads[from].pool.import(&mut exported).expect("it was there before"))
            }
            Err(error) => panic!("{error}"),
        };
        (self.clients[at].shard, self.clients[at].id) = shard;
        self.here = shard.0;
        self.run(at);
    }

    /// The thread's host asks for buffers of its own, and holds them for some steps.
    fn ask(&mut self) {
        let until = self.step + self.rng.u64(1..40);
        let thread = &mut self.threads[self.here];
        if let Ok(Outcome::Granted(lease)) = thread.pool.request_for(&Request::new(0, until)) {
            thread.leases.push((until, lease));
        }
    }

    /// One loop iteration of a thread.
    fn iterate(&mut self, shard: usize) {
        self.here = shard;
        let (now_ns, step) = (self.step * STEP_NS, self.step);
        let thread = &mut self.threads[shard];
        thread.time_ns += thread.advance_ns.map_or(0, |advance_ns| (now_ns - advance_ns).min(GRACE_NS / 8));
        (thread.advance_ns, thread.is_signalled) = (Some(now_ns), false);
        thread.pool.handle_timeout(now_ns);
        while let Some(at) = thread.leases.iter().position(|&(until, _)| until <= step) {
            let (_, lease) = thread.leases.swap_remove(at);
            thread.pool.release(lease).expect("it is the host's");
        }
        for at in 0..self.clients.len() {
            if self.clients[at].shard != shard {
                continue;
            }
            self.serve_socket(at);
            if self.clients[at].kind == Kind::Honest {
                continue;
            }
            if self.chance(self.strategy.reconnects) {
                self.replace(at);
            } else if self.chance(self.strategy.blocks) {
                self.block(at);
            } else if self.chance(self.strategy.moves) {
                self.migrate(at);
                self.here = shard;
            }
        }
        if self.chance(self.strategy.requests) {
            self.ask();
        }
        self.settle(shard);
        self.check();
    }

    /// It picks up what there is, and signals others.
    fn settle(&mut self, shard: usize) {
        self.here = shard;
        self.drain_notices();
        while let Some(named) = self.threads[shard].pool.poll_wake() {
            self.threads[named as usize].is_signalled = true;
        }
    }

    fn check(&self) {
        for Thread { pool, time_ns, .. } in &self.threads {
            pool.check_invariants().expect("the invariants hold");
            let longest_ns = pool.totals().longest_claim_ns;
            assert!(longest_ns <= self.bound_ns, "a claim of {longest_ns} ns: {:?}", self.strategy);
            assert!(longest_ns <= *time_ns, "by the time of the thread");
        }
        for Client { shard, whole_at_ns, .. } in &self.clients {
            // What arrived while the thread slept, it sees in the next iteration; an edge that begins a claim may be
            // late by one.
            let since_ns = whole_at_ns.map_or(0, |whole_ns| self.threads[*shard].time_ns - whole_ns);
            let edges = if self.mode == Mode::Edge { 2 } else { 1 };
            let allowed_ns = edges * self.bound_ns + 2 * GRACE_NS / 8;
            assert!(since_ns <= allowed_ns, "a whole frame waits for {since_ns} ns: {:?}", self.strategy);
        }
    }

    /// Whether a thread looks in this step: it has to if it was signalled or its time has come, unless it hangs.
    fn is_awake(&mut self, shard: usize) -> bool {
        let (hanging, from, steps) = self.strategy.hangs;
        if hanging == shard && (from..from + steps).contains(&self.step) {
            return false;
        }
        let now_ns = self.step * STEP_NS;
        let is_due = self.threads[shard].pool.poll_timeout().is_some_and(|due_ns| due_ns <= now_ns);
        // A host whose sockets are readable wakes up, too, but not one that has other things to do.
        is_due || self.threads[shard].is_signalled || !self.chance(self.strategy.sleeps[shard])
    }

    /// The longest claim of all threads.
    pub(crate) fn play(mut self) -> Outcomes {
        for step in 0..STEPS {
            self.step = step;
            (0..self.clients.len()).for_each(|at| self.send(at));
            for shard in 0..self.threads.len() {
                if self.is_awake(shard) {
                    self.iterate(shard);
                }
            }
            // Threads that were signalled by those that looked later.
            for shard in 0..self.threads.len() {
                if self.threads[shard].is_signalled && self.is_awake(shard) {
                    self.iterate(shard);
                }
            }
        }
        let totals: Vec<_> = self.threads.iter().map(|thread| thread.pool.totals()).collect();
        Outcomes {
            longest_claim_ns: totals.iter().map(|totals| totals.longest_claim_ns).max().unwrap_or(0),
            trials: totals.iter().map(|totals| totals.trials).sum(),
            evicted: totals.iter().map(|totals| totals.evicted).sum(),
            served: self.served,
            longest_wait_ns: self.longest_wait_ns,
        }
    }
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Outcomes {
    pub(crate) longest_claim_ns: u64,
    pub(crate) trials: u64,
    pub(crate) evicted: u64,
    /// Frames of honest clients, and the longest time that one took.
    pub(crate) served: u64,
    pub(crate) longest_wait_ns: u64,
}

impl EventLoop for Game {
    fn connections(&self) -> usize {
        self.clients.len()
    }

    fn socket(&mut self, at: usize) -> Option<&mut Socket> {
        Some(&mut self.clients[at].socket)
    }

    fn socket_and_area(&mut self, at: usize) -> (&mut Socket, &mut [u8]) {
        let Client { shard, id, socket, .. } = &mut self.clients[at];
        (socket, self.threads[*shard].pool.receive_area(*id).expect("it is attached"))
    }

    fn pending(&self, at: usize) -> Actions {
        let Client { shard, id, .. } = self.clients[at];
        self.threads[shard].pool.pending(id).expect("it is attached")
    }

    fn report(&mut self, at: usize, event: Event) -> Actions {
        let Client { shard, id, socket, .. } = &mut self.clients[at];
        socket.follow(event);
        self.threads[*shard].pool.handle(*id, event).unwrap_or_else(|error| panic!("{event:?}: {error}"))
    }

    fn acknowledge(&mut self, at: usize, actions: Actions) {
        let Client { shard, id, kind, .. } = self.clients[at];
        if actions.has(Action::Shed) {
            let info = self.threads[shard].pool.describe(id);
            assert!(kind == Kind::Attacker, "an honest client is shed: {info:?}, {:?}", self.strategy);
            return self.replace(at);
        }
        self.clients[at].socket.acknowledge(actions);
        self.report(at, Event::done(actions));
    }

    fn decode(&mut self, at: usize) {
        let Client { shard, id, .. } = self.clients[at];
        let data = self.threads[shard].pool.data(id).expect("it is attached").to_vec();
        assert_eq!(data, self.clients[at].socket.buffered(), "the bytes are those that were sent");
        let mut whole = 0;
        while data.len() - whole >= HEADER_BYTES && data.len() - whole >= length(&data[whole..]) {
            whole += length(&data[whole..]);
        }
        let rest = &data[whole..];
        let needed = if rest.is_empty() { 0 } else { length(rest) - rest.len() };
        let client = &mut self.clients[at];
        client.socket.consume(whole);
        if let Some(whole_at_ns) = client.whole_at_ns.take_if(|_| whole > 0) {
            self.longest_wait_ns = self.longest_wait_ns.max(self.threads[shard].time_ns - whole_at_ns);
            self.served += 1;
            client.next_step = self.step + self.rng.u64(1..10);
        }
        self.threads[shard].pool.decoded(id, whole as u32, needed as u32).expect("it is attached");
    }

    fn poll_notice(&mut self) -> Option<usize> {
        loop {
            match self.threads[self.here].pool.poll_notice()? {
                Notice::Receiver { token, .. } => return Some(token as usize),
                Notice::Lease { token, lease, .. } => self.threads[self.here].leases.push((token, lease)),
                notice => unreachable!("{notice:?}"),
            }
        }
    }
}
