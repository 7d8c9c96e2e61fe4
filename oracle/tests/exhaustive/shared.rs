//! Two threads that share nearly nothing, each with a receiver of frames that come whole or in two parts, and a host
//! that asks for a buffer and releases one: every order of a few calls.
//!
//! Pools of threads cannot be copied, so what led to a state is played again. States differ by what the model knows
//! alone.

use crate::{close, hash_of};
use demuxbuf::connection::{Action, Actions, Event};
use demuxbuf::pool::PoolConfig;
use demuxbuf_oracle::{HandleRef, Instance, Op, SharedDifferential, System};

const BUFFER_BYTES: u32 = 256;
/// The length of each frame, and how much of it may come first: more than a cell of 64 bytes.
const FRAME_BYTES: u32 = 250;
const PART_BYTES: u32 = 150;
const GRACE_NS: u64 = 800_000_000;
const THREADS: usize = 2;

/// Calls from the start on.
const CALLS: usize = if cfg!(debug_assertions) { 4 } else { 7 };

struct Pair {
    pools: SharedDifferential,
    /// The buffers that the host has first.
    leases: usize,
    played: Vec<(usize, Op)>,
}

impl Pair {
    fn new(leases: usize) -> Pair {
        let (buffer_bytes, waiters_max) = (BUFFER_BYTES, 1);
        let config = PoolConfig {
            buffer_bytes,
            waiters_max,
            frame_grace_ns: GRACE_NS,
            ..PoolConfig::new(16 * u64::from(BUFFER_BYTES), 2)
        };
        let mut pools = SharedDifferential::new(&config, THREADS as u32);
        for thread in 0..THREADS {
            pools.replay(thread, Op::Tick { now_ns: 0 });
            pools.replay(thread, Op::attach(0));
        }
        (0..leases).for_each(|_| pools.replay(0, Op::request(0)));
        Pair { pools, leases, played: Vec::new() }
    }

    /// What the host of a thread may do with its receiver, which does what it is asked.
    fn of_receiver(&mut self, thread: usize) -> Vec<Op> {
        let model = self.pools.model(thread);
        let Some(&id) = model.receivers().first() else { return Vec::new() };
        let step = model.system.pending(id).expect("it is attached");
        let pending = Actions::from_bits(step.actions).unwrap_or_default();
        let buffered = model.system.describe(id).expect("it is attached").facts.buffered_bytes;
        let report = |event| Op::report(0, event);
        if pending.has(Action::Shed) {
            vec![report(Event::Close)]
        } else if pending.has(Action::Recv) {
            let part = if buffered < PART_BYTES { PART_BYTES - buffered } else { FRAME_BYTES - buffered };
            vec![report(Event::Received { bytes: part.min(step.area) }), report(Event::WouldBlock)]
        } else if pending.has(Action::Decode) && buffered < FRAME_BYTES {
            vec![Op::Decoded {
                receiver: HandleRef::Live(0),
                consumed: 0,
                need_more: FRAME_BYTES - buffered,
                usable: 0,
            }]
        } else if pending.has(Action::Decode) {
            vec![report(Event::Consumed { bytes: buffered })]
        } else {
            vec![report(Event::Readable)]
        }
    }
}

impl Clone for Pair {
    fn clone(&self) -> Pair {
        let mut pair = Pair::new(self.leases);
        self.played.iter().for_each(|&played| pair.replay(played));
        pair
    }
}

impl Instance for Pair {
    type Op = (usize, Op);

    fn ops(&mut self) -> Vec<(usize, Op)> {
        if self.played.len() >= CALLS {
            return Vec::new();
        }
        let mut all = Vec::new();
        for thread in 0..THREADS {
            let mut ops = self.of_receiver(thread);
            let model = self.pools.model(thread);
            ops.extend([Op::PollNotice, Op::Later { ns: GRACE_NS / 8 }]);
            ops.push(if model.waits().is_empty() { Op::request(0) } else { Op::Cancel { wait: HandleRef::Live(0) } });
            if !model.leases().is_empty() {
                ops.push(Op::Release { lease: HandleRef::Live(0) });
            }
            all.extend(ops.into_iter().map(|op| (thread, op)));
        }
        all
    }

    fn play(&mut self, (thread, op): (usize, Op)) -> Result<(), String> {
        self.played.push((thread, op));
        self.pools.play(thread, op).map(drop)
    }

    fn replay(&mut self, (thread, op): (usize, Op)) {
        self.played.push((thread, op));
        self.pools.replay(thread, op);
    }

    fn key(&self) -> u128 {
        let mut state = Vec::new();
        self.pools.state_key(&mut state);
        hash_of(&state)
    }

    fn sights(&mut self, see: &mut dyn FnMut(&'static str)) {
        let waiting = self.pools.model(0).system.stats().scheduler.waiting as usize;
        let of_hosts: usize = (0..THREADS).map(|thread| self.pools.model(thread).waits().len()).sum();
        if waiting > of_hosts {
            see("a shard waits for its receiver");
        }
        if of_hosts > 0 {
            see("a request waits");
        }
        for thread in 0..THREADS {
            let claims = self.pools.model(thread).system.totals();
            if claims.grants > 0 {
                see("a claim is granted");
            }
        }
    }

    /// The threads are signalled as the model has it, and every wait ends.
    fn finish(mut self) -> Result<(), String> {
        (0..THREADS).try_for_each(|thread| self.pools.signal(thread))?;
        self.pools.drain()
    }
}

#[test]
fn threads_with_little_memory() {
    // Ten are free beside what the threads hold.
    for (leases, sometimes) in [(9, &[][..]), (10, &["a request waits"][..])] {
        close(&format!("two threads, and {leases} of ten buffers leased"), &Pair::new(leases), sometimes);
    }
}
