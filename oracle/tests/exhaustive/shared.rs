//! Two threads that share nearly nothing, each with a receiver of frames that come whole or in two parts, and a host
//! that asks for a buffer and releases one: every order of a few calls. Receivers count, submit their receives, or do
//! neither.
//!
//! Pools of threads cannot be copied, so what led to a state is played again. States differ by what the model knows
//! alone.

use crate::{close, hash_of};
use demuxbuf::connection::{Action, Actions, Event, Mode, Policy};
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

#[derive(Clone, Copy)]
struct Scope {
    /// The buffers that the host asks for first.
    asked: usize,
    policy: Policy,
    calls: usize,
}

struct Pair {
    pools: SharedDifferential,
    scope: Scope,
    played: Vec<(usize, Op)>,
}

impl Pair {
    fn new(scope: Scope) -> Pair {
        let (buffer_bytes, waiters_max, policy) = (BUFFER_BYTES, 1, scope.policy);
        let config = PoolConfig {
            buffer_bytes,
            waiters_max,
            policy,
            frame_grace_ns: GRACE_NS,
            ..PoolConfig::new(16 * u64::from(BUFFER_BYTES), 2)
        };
        let mut pools = SharedDifferential::new(&config, THREADS as u32);
        for thread in 0..THREADS {
            pools.replay(thread, Op::Tick { now_ns: 0 });
            pools.replay(thread, Op::attach(0));
        }
        (0..scope.asked).for_each(|_| pools.replay(0, Op::request(0)));
        Pair { pools, scope, played: Vec::new() }
    }

    /// What the host of a thread may do with its receiver, which does what it is asked.
    fn of_receiver(&mut self, thread: usize) -> Vec<Op> {
        let model = self.pools.model(thread);
        let Some(&id) = model.receivers().first() else { return Vec::new() };
        let step = model.system.pending(id).expect("it is attached");
        let pending = Actions::from_bits(step.actions).unwrap_or_default();
        let facts = model.system.describe(id).expect("it is attached").facts;
        let buffered = facts.buffered_bytes;
        let report = |event| Op::report(0, event);
        if pending.has(Action::Shed) {
            vec![report(Event::Close)]
        } else if pending.has(Action::StopRecv) {
            vec![report(Event::done(Action::StopRecv))]
        } else if pending.has(Action::Peek) && !pending.has(Action::RecvWhole) {
            vec![report(Event::NeedMore { bytes: FRAME_BYTES }), report(Event::WouldBlock)]
        } else if pending.has(Action::Discard) {
            vec![report(Event::Received { bytes: step.area })]
        } else if pending.has(Action::RecvWhole) {
            vec![report(Event::Received { bytes: step.area }), report(Event::WouldBlock), report(Event::KernelFull)]
        } else if pending.has(Action::Recv) && self.scope.policy.mode == Mode::Completion {
            vec![report(Event::done(Action::Recv))]
        } else if pending.has(Action::Recv) || facts.in_flight {
            let room = if facts.in_flight { facts.capacity - buffered } else { step.area };
            let part = if buffered < PART_BYTES { PART_BYTES - buffered } else { FRAME_BYTES - buffered };
            let mut all = vec![report(Event::Received { bytes: part.min(room) }), report(Event::WouldBlock)];
            if facts.in_flight && pending.is_empty() {
                all.push(report(Event::Close));
            }
            all
        } else if pending.has(Action::Decode) && buffered < FRAME_BYTES {
            vec![Op::Decoded {
                receiver: HandleRef::Live(0),
                consumed: 0,
                need_more: FRAME_BYTES - buffered,
                usable: 0,
            }]
        } else if pending.has(Action::Decode) {
            vec![report(Event::Consumed { bytes: buffered })]
        } else if model.system.memory_facts(id).mark > 0 {
            vec![report(Event::Readable), report(Event::KernelFull), report(Event::Close)]
        } else {
            vec![report(Event::Readable)]
        }
    }
}

impl Clone for Pair {
    fn clone(&self) -> Pair {
        let mut pair = Pair::new(self.scope);
        self.played.iter().for_each(|&played| pair.replay(played));
        pair
    }
}

impl Instance for Pair {
    type Op = (usize, Op);

    fn ops(&mut self) -> Vec<(usize, Op)> {
        if self.played.len() >= self.scope.calls {
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
            let Some(&id) = self.pools.model(thread).receivers().first() else { continue };
            let facts = self.pools.model(thread).system.memory_facts(id);
            let step = self.pools.model(thread).system.pending(id).expect("it is attached");
            let pending = Actions::from_bits(step.actions).unwrap_or_default();
            let states = [
                ("a receive is in flight", facts.in_flight),
                ("one is taken back", pending.has(Action::StopRecv)),
                ("one waits under a mark", facts.mark > 0),
                ("a kernel is full", claims.full_kernels > 0),
            ];
            states.into_iter().filter(|(_, holds)| *holds).for_each(|(name, _)| see(name));
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
        let scope = Scope { asked: leases, policy: Policy::default(), calls: CALLS };
        close(&format!("two threads, and {leases} of ten buffers leased"), &Pair::new(scope), sometimes);
    }
}

// Without `--release` there are too few calls for what must be seen.
#[test]
#[cfg(not(debug_assertions))]
fn threads_that_count_or_submit() {
    let counts = Policy { counting: true, ..Policy::default() };
    let submits = Policy { mode: Mode::Completion, ..Policy::default() };
    let (marked, full) = (&["one waits under a mark"][..], &["one waits under a mark", "a kernel is full"][..]);
    let submitted = &["a receive is in flight", "one is taken back"][..];
    for (what, policy, asked, seen) in
        [("count", counts, 10, marked), ("count", counts, 11, full), ("submit", submits, 10, submitted)]
    {
        // The eleventh request waits.
        let scope = Scope { asked, policy, calls: CALLS - 1 };
        close(&format!("two threads that {what}, and {asked} requests for ten buffers"), &Pair::new(scope), seen);
    }
}
