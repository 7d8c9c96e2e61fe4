//! Every order of a few events on two threads with little memory: partial frames, the rest of them, blocks, loop
//! iterations, leases and requests of the host's own, and a receiver that moves. After each of them no thread that has
//! something to do sleeps, and no memory is free that a receiver waits for; from each state all frames are served in
//! the end, and nothing is left.

use super::MS;
use super::common::{ShardPool, config};
use demuxbuf::connection::{Action, Actions, Event};
use demuxbuf::pool::{AttachOptions, Notice, PoolConfig, ReceiverId};
use demuxbuf::receiving::Facts;
use demuxbuf::scheduler::{LeaseId, Outcome, Request, WaitId};
use demuxbuf::shared::SharedPool;
use std::collections::HashSet;

/// Of a frame, with half of a buffer more.
const FRAME_BYTES: u32 = 200;
const PART_BYTES: u32 = 100;
const GRACE_NS: u64 = 160 * MS;
/// Buffers beside what each thread keeps, and receivers: two of the first thread, one of the second.
const BUFFERS: usize = 2;
const HOMES: [usize; 3] = [0, 1, 0];
const STATES_MAX: usize = if cfg!(miri) { 20 } else { 1_000 };

#[derive(Clone, Copy, Debug, PartialEq)]
enum Step {
    Send(usize),
    Block(usize),
    Iterate(usize),
    Release,
    Ask,
    Move,
}

const STEPS: [Step; 10] = [
    Step::Send(0),
    Step::Send(1),
    Step::Send(2),
    Step::Block(0),
    Step::Block(1),
    Step::Iterate(0),
    Step::Iterate(1),
    Step::Release,
    Step::Ask,
    Step::Move,
];

struct Peer {
    shard: usize,
    id: ReceiverId,
    /// Of its frame: sent, and received.
    sent: u32,
    kept: u32,
    is_blocked: bool,
    /// It asked to be woken in the next iteration.
    is_scheduled: bool,
}

struct Instance {
    shared_pool: SharedPool,
    pools: [ShardPool; 2],
    peers: Vec<Peer>,
    leases: Vec<LeaseId>,
    waits: Vec<WaitId>,
    named: [bool; 2],
    now_ns: u64,
}

impl Instance {
    fn new() -> Instance {
        let config = PoolConfig { frame_grace_ns: GRACE_NS, blocked_ns: GRACE_NS, waiters_max: 1, ..config() };
        let shared_pool = SharedPool::new(&config, 2).unwrap();
        let pools = [0, 1].map(|index| shared_pool.shard(index).unwrap());
        let mut instance = Instance {
            shared_pool,
            pools,
            peers: Vec::new(),
            leases: Vec::new(),
            waits: Vec::new(),
            named: [false; 2],
            now_ns: 0,
        };
        // The first thread's host has all but a few.
        while instance.shared_pool.stats().scheduler.free > BUFFERS as u32 {
            instance.leases.extend(instance.pools[0].try_request(&Request::new(0, 0)).unwrap());
        }
        for (token, shard) in HOMES.into_iter().enumerate() {
            let id = instance.attach(token, shard);
            let (sent, kept, is_blocked, is_scheduled) = (0, 0, false, false);
            instance.peers.push(Peer { shard, id, sent, kept, is_blocked, is_scheduled });
            instance.serve(token);
        }
        (0..2).for_each(|shard| instance.iterate(shard));
        instance
    }

    fn attach(&mut self, token: usize, shard: usize) -> ReceiverId {
        self.pools[shard].attach(&AttachOptions::new(0, token as u64)).unwrap()
    }

    fn report(&mut self, at: usize, event: Event) {
        let Peer { shard, id, .. } = self.peers[at];
        self.pools[shard].handle(id, event).unwrap_or_else(|error| panic!("{event:?}: {error}"));
    }

    /// Does what is pending.
    fn serve(&mut self, at: usize) {
        for _ in 0..64 {
            let Peer { shard, id, sent, kept, .. } = self.peers[at];
            let actions = self.pools[shard].pending(id).unwrap();
            let notices = actions.intersection(Actions::ACKNOWLEDGED);
            if actions.has(Action::Shed) {
                self.report(at, Event::Close);
                let id = self.attach(at, shard);
                self.peers[at] = Peer { shard, id, sent: 0, kept: 0, is_blocked: false, is_scheduled: false };
            } else if !notices.is_empty() {
                self.peers[at].is_scheduled |= notices.has(Action::Reschedule);
                self.report(at, Event::Done(notices));
            } else if actions.has(Action::Decode) {
                let consumed = if kept == FRAME_BYTES { kept } else { 0 };
                (self.peers[at].sent, self.peers[at].kept) = (sent - consumed, kept - consumed);
                let needed = if consumed == 0 { FRAME_BYTES - kept } else { 0 };
                self.pools[shard].decoded(id, consumed, needed).unwrap();
            } else if actions.has(Action::Recv) {
                let bytes = (self.pools[shard].receive_area(id).unwrap().len() as u32).min(sent - kept);
                self.peers[at].kept += bytes;
                self.report(at, if bytes > 0 { Event::Received { bytes } } else { Event::WouldBlock });
            } else {
                return;
            }
        }
        panic!("receiver {at} does not come to rest");
    }

    /// A thread picks up what there is, and names others.
    fn settle(&mut self, shard: usize) {
        self.named[shard] = false;
        while let Some(notice) = self.pools[shard].poll_notice() {
            match notice {
                Notice::Receiver { token, .. } => self.serve(token as usize),
                Notice::Lease { wait, lease, .. } => {
                    self.waits.retain(|&of| of != wait);
                    // It is done with it at once.
                    self.pools[shard].release(lease).unwrap();
                }
                notice => panic!("{notice:?}"),
            }
        }
        while let Some(named) = self.pools[shard].poll_wake() {
            self.named[named as usize] = true;
        }
    }

    fn iterate(&mut self, shard: usize) {
        self.pools[shard].handle_timeout(self.now_ns);
        for at in 0..self.peers.len() {
            let Peer { shard: home, id, sent, kept, is_scheduled, .. } = self.peers[at];
            if home != shard {
                continue;
            }
            if is_scheduled {
                self.peers[at].is_scheduled = false;
                self.report(at, Event::Wake);
            }
            if sent > kept && self.pools[shard].connection(id).unwrap().is_armed() {
                self.report(at, Event::Readable);
            }
            self.serve(at);
        }
        self.settle(shard);
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Send(at) => {
                let peer = &mut self.peers[at];
                peer.sent = (peer.sent + PART_BYTES).min(FRAME_BYTES);
            }
            Step::Block(at) => {
                let peer = &mut self.peers[at];
                peer.is_blocked = !peer.is_blocked;
                let event = if peer.is_blocked { Event::Block { reasons: 1 } } else { Event::Unblock { reasons: 1 } };
                self.report(at, event);
                self.serve(at);
                self.settle(self.peers[at].shard);
            }
            Step::Iterate(shard) => {
                self.now_ns += GRACE_NS / 8;
                self.iterate(shard);
            }
            Step::Release => {
                if let Some(lease) = self.leases.pop() {
                    self.pools[0].release(lease).unwrap();
                    self.settle(0);
                }
            }
            Step::Ask => {
                if self.waits.is_empty() {
                    match self.pools[1].request(0, 9).unwrap() {
                        Outcome::Queued(wait) => self.waits.push(wait),
                        Outcome::Granted(lease) => self.pools[1].release(lease).unwrap(),
                    }
                    self.settle(1);
                }
            }
            Step::Move => self.migrate(2),
        }
        self.rest();
    }

    fn migrate(&mut self, at: usize) {
        let Peer { shard, id, .. } = self.peers[at];
        let Ok(mut exported) = self.pools[shard].export(id) else { return };
        let there = 1 - shard;
        self.peers[at].id = self.pools[there].import(&mut exported).unwrap();
        self.peers[at].shard = there;
        self.settle(shard);
        self.serve(at);
        self.settle(there);
    }

    /// Threads that were named look. Then no other one has anything to pick up, and no receiver waits beside free
    /// memory.
    fn rest(&mut self) {
        for _ in 0..16 {
            let Some(shard) = self.named.iter().position(|&is_named| is_named) else { break };
            // A thread that is signalled advances its clock first.
            self.iterate(shard);
        }
        assert_eq!(self.named, [false; 2], "threads signal each other without end");
        let free = self.shared_pool.stats().scheduler.free;
        for (shard, pool) in self.pools.iter_mut().enumerate() {
            assert_eq!(pool.poll_notice(), None, "thread {shard} was not signalled");
            pool.check_invariants().unwrap();
            let longest_ns = pool.totals().longest_claim_ns;
            assert!(longest_ns <= pool.memory().config().wait_ns_max(), "a claim of {longest_ns} ns");
            let waits = |peer: &&Peer| peer.shard == shard && pool.connection(peer.id).unwrap().is_waiting();
            let waiting = self.peers.iter().filter(waits).count();
            assert!(waiting == 0 || free <= pool.memory().split().reserve, "{waiting} wait, and {free} are free");
        }
    }

    /// All that can be seen, with times from now on.
    fn key(&self) -> String {
        let ago = |at_ns: Option<u64>| at_ns.map(|at_ns| self.now_ns.saturating_sub(at_ns));
        let timeless = |facts: Facts| {
            let Facts { start_ns, claim_since_ns, held_since_ns, .. } = facts;
            let [start_ns, claim_since_ns, held_since_ns] = [start_ns, claim_since_ns, held_since_ns].map(ago);
            Facts { start_ns, claim_since_ns, held_since_ns, ..facts }
        };
        let peer = |peer: &Peer| {
            let Peer { shard, sent, kept, is_blocked, is_scheduled, .. } = *peer;
            let connection = self.pools[shard].connection(peer.id).unwrap();
            format!("{shard} {sent} {kept} {is_blocked} {is_scheduled} {connection:?}")
        };
        let pool = |pool: &ShardPool| {
            let memory = pool.memory();
            let rows: Vec<_> = (0..HOMES.len() as u32).map_while(|row| memory.facts(row).ok().map(timeless)).collect();
            format!("{rows:?} {}", memory.free_buffers())
        };
        let (peers, pools): (Vec<_>, _) = (self.peers.iter().map(peer).collect(), self.pools.each_ref().map(pool));
        format!("{peers:?} {pools:?} {} {}", self.leases.len(), self.waits.len())
    }

    /// All peers send the rest, no decoder is blocked, and no buffer is the host's any more.
    fn end(&mut self) {
        self.leases.drain(..).for_each(|lease| self.pools[0].release(lease).unwrap());
        self.settle(0);
        for _ in 0..40 {
            self.now_ns += GRACE_NS / 8;
            for at in 0..self.peers.len() {
                if self.peers[at].is_blocked {
                    self.step(Step::Block(at));
                }
                if self.peers[at].sent > 0 {
                    self.peers[at].sent = FRAME_BYTES;
                }
            }
            (0..2).for_each(|shard| self.iterate(shard));
            self.rest();
        }
        assert!(self.peers.iter().all(|peer| peer.sent == 0), "a frame is left");
        assert!(self.waits.is_empty(), "a request is left");
        let stats = self.shared_pool.stats().scheduler;
        let split = self.pools[0].memory().split();
        assert!(stats.leased <= 2 * (2 + split.header_buffers) && stats.waiting == 0, "{stats:?}");
    }
}

fn replay(steps: &[Step]) -> Instance {
    let mut instance = Instance::new();
    steps.iter().for_each(|&step| instance.step(step));
    instance
}

#[test]
fn every_order_on_two_threads_ends_well() {
    let mut seen = HashSet::from([Instance::new().key()]);
    let mut edge: Vec<Vec<Step>> = vec![Vec::new()];
    let mut depth = 0;
    while seen.len() < STATES_MAX && !edge.is_empty() {
        let mut next = Vec::new();
        for steps in &edge {
            for step in STEPS {
                let steps: Vec<Step> = steps.iter().copied().chain([step]).collect();
                let outcome = std::panic::catch_unwind(|| {
                    let mut instance = replay(&steps);
                    let key = instance.key();
                    instance.end();
                    key
                });
                let key = outcome.unwrap_or_else(|_| panic!("after {steps:?}"));
                if seen.insert(key) {
                    next.push(steps);
                }
            }
        }
        (edge, depth) = (next, depth + 1);
    }
    println!("{} states, {depth} steps", seen.len());
    assert!(cfg!(miri) || seen.len() >= STATES_MAX, "{} states", seen.len());
}
