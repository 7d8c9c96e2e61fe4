//! Pools whose memory is nearly used up: connections, cells, claims, deadlines, trials and evictions, with hosts that
//! do what they are asked, in any order, and peers that send nothing, a part of a frame, or the rest of it.

mod delivery;

use crate::{close, hash_of};
use delivery::DELIVERIES;
use demuxbuf::connection::{Action, Actions, Event, Mode, Policy};
use demuxbuf::pool::PoolConfig;
use demuxbuf_oracle::receiving_system::{Facts as MemoryFacts, Reason, Totals};
use demuxbuf_oracle::{Differential, HandleRef, Info, Instance, ModelPool, Op, Response, RustPool, System};

/// The length of each frame: more than a cell of 64 bytes.
const FRAME_BYTES: u32 = 100;
/// Its peer may send this much of it.
const PART_BYTES: u32 = 40;
const GRACE_NS: u64 = 800_000_000;
/// More steps of the clock than any deadline takes.
const STEPS: u32 = 12;

#[derive(Clone, Copy)]
struct Scope {
    mode: Mode,
    receivers: usize,
    /// Buffers that the host has, and whether it asks for one more, or waits for it, or takes one from a receiver.
    leases: usize,
    has_host: bool,
    /// Decoders may be blocked.
    has_blocks: bool,
    /// Partial frames stay in the kernel.
    counting: bool,
    /// Bytes come in memory that the system chose, or, where it had none, as they are received elsewhere.
    delivers: bool,
}

/// One receiver and a free buffer.
const ONE: Scope = Scope {
    mode: Mode::Level,
    receivers: 1,
    leases: 5,
    has_host: false,
    has_blocks: true,
    counting: false,
    delivers: false,
};

impl Scope {
    /// How much of a frame may come alone. Where bytes are delivered, it may also come behind another frame, and both
    /// fill a buffer.
    fn part_bytes(self) -> u32 {
        if self.delivers { 128 - FRAME_BYTES } else { PART_BYTES }
    }
}

#[derive(Clone, Copy, Debug)]
enum Act {
    /// One operation of a host that does what it is asked.
    One(Op),
    /// As many steps of the clock as make every deadline pass, without a poll.
    Pass,
    /// A receiver that was shed makes room for another.
    Replace(usize),
}

#[derive(Clone)]
struct House {
    pair: Differential<ModelPool, RustPool>,
    scope: Scope,
    /// By place of the receiver: its host will report `Wake`.
    owes_wake: Vec<bool>,
    /// By place of the receiver: bytes that were delivered, and are still the host's.
    held_bytes: Vec<u32>,
    answer: Option<Response>,
    before: Totals,
}

impl House {
    fn new(scope: Scope) -> House {
        let Scope { mode, counting, .. } = scope;
        let policy = Policy { mode, counting, reads_per_wake: 1, ..Policy::default() };
        let config = PoolConfig {
            buffer_bytes: 128,
            frame_grace_ns: GRACE_NS,
            blocked_ns: GRACE_NS / 2,
            waiters_max: 1,
            policy,
            ..PoolConfig::new(8 * 128, scope.receivers as u32)
        };
        let pair = Differential::new(ModelPool::new(&config), RustPool::new(&config));
        let before = pair.model.system.totals();
        let mut house = House { pair, scope, owes_wake: Vec::new(), held_bytes: Vec::new(), answer: None, before };
        house.perform(Op::Tick { now_ns: 0 }).expect("it is allowed");
        for _ in 0..scope.receivers {
            house.attach().expect("it is allowed");
        }
        for _ in 0..scope.leases {
            house.perform(Op::request(0)).expect("it is allowed");
        }
        house
    }

    fn attach(&mut self) -> Result<(), String> {
        self.owes_wake.push(false);
        self.held_bytes.push(0);
        self.perform(Op::attach(0)).map(drop)
    }

    fn id(&self, at: usize) -> u64 {
        self.pair.model.receivers()[at]
    }

    fn info(&mut self, at: usize) -> Info {
        let id = self.id(at);
        self.pair.model.system.describe(id).expect("a receiver in force")
    }

    fn memory(&self, at: usize) -> MemoryFacts {
        self.pair.model.system.memory_facts(self.id(at))
    }

    /// What the host is to do, and how much it may receive.
    fn step(&mut self, at: usize) -> (Actions, u32) {
        let id = self.id(at);
        let step = self.pair.model.system.pending(id).expect("a receiver in force");
        (Actions::from_bits(step.actions).expect("every bit is an action's"), step.area)
    }

    fn perform(&mut self, op: Op) -> Result<Response, String> {
        let response = self.pair.play(op)?.response;
        if let Response::Refused(status) = response {
            return Err(format!("{op:?}, which is allowed, is refused with {status}"));
        }
        self.follow_delivery(op, &response);
        if let Op::Report { receiver: HandleRef::Live(at), event } = op {
            match event {
                Event::Done(actions) => self.owes_wake[usize::from(at)] |= actions.has(Action::Reschedule),
                Event::Wake => self.owes_wake[usize::from(at)] = false,
                Event::Close => {
                    self.owes_wake.remove(at.into());
                    self.held_bytes.remove(at.into());
                }
                _ => {}
            }
        }
        self.acknowledge()?;
        Ok(response)
    }

    /// Hosts acknowledge at once what needs no other answer, but for what they close a receiver for.
    fn acknowledge(&mut self) -> Result<(), String> {
        for at in 0..self.pair.model.receivers().len() {
            let (pending, _) = self.step(at);
            let done = pending.intersection(Actions::ACKNOWLEDGED).without(Action::Shed | Action::End);
            if !done.is_empty() {
                self.owes_wake[at] |= done.has(Action::Reschedule);
                self.pair.play(Op::report(at, Event::Done(done)))?;
            }
        }
        Ok(())
    }

    /// All that the host of a receiver or its peer may do now.
    fn acts(&mut self, at: usize) -> Vec<Act> {
        let ((pending, area), info) = (self.step(at), self.info(at));
        if pending.has(Action::Shed) || pending.has(Action::End) {
            return vec![Act::Replace(at)];
        }
        let facts = info.facts;
        let mut events = Vec::new();
        let there = facts.buffered_bytes;
        if facts.in_flight {
            events.push(Event::WouldBlock);
            let rest = (FRAME_BYTES - there.min(FRAME_BYTES)).min(facts.capacity - there);
            events.extend(Some(Event::Received { bytes: rest }).filter(|_| rest > 0));
        } else if pending.has(Action::Discard) {
            events.push(Event::Received { bytes: area });
        } else if pending.has(Action::Peek) && !pending.has(Action::RecvWhole) {
            events.extend([Event::WouldBlock, Event::KernelFull, Event::NeedMore { bytes: FRAME_BYTES }]);
        } else if pending.has(Action::RecvWhole) {
            events.extend([Event::WouldBlock, Event::KernelFull, Event::Received { bytes: area }]);
        } else if pending.has(Action::Recv) && self.held_bytes[at] > 0 {
            // What is left of a delivery comes first.
        } else if pending.has(Action::Recv) && self.scope.mode == Mode::Completion {
            events.push(Event::done(Action::Recv));
        } else if pending.has(Action::Recv) {
            let rest = (FRAME_BYTES - there.min(FRAME_BYTES)).min(area);
            events.push(Event::WouldBlock);
            // A part only at first, so that the instance is small.
            let part = self.scope.part_bytes().min(if there == 0 { rest } else { 0 });
            events.extend([part, rest].into_iter().filter(|&bytes| bytes > 0).map(|bytes| Event::Received { bytes }));
        }
        let mut acts: Vec<Act> = Vec::new();
        if self.scope.delivers {
            acts.extend(self.deliveries(at, pending, &info).into_iter().map(Act::One));
        } else if pending.has(Action::Decode) {
            events.push(report_on(there));
        }
        if pending.has(Action::Decode) && there >= FRAME_BYTES {
            events.extend(self.scope.has_blocks.then_some(Event::Block { reasons: 1 }));
        }
        events.extend((self.memory(at).mark > 0).then_some(Event::KernelFull));
        events.extend((facts.blocked != 0).then_some(Event::Unblock { reasons: 1 }));
        events.extend(self.owes_wake[at].then_some(Event::Wake));
        // Edge-triggered read interest reports each change, also those that the host has not come to yet.
        let may_report = facts.armed && (!facts.ready || facts.mode == Mode::Edge as u8);
        events.extend(may_report.then_some(Event::Readable));
        events.dedup();
        acts.extend(events.into_iter().map(|event| Act::One(Op::report(at, event))));
        if self.scope.has_host && there > 0 && !facts.in_flight && self.may_take(at) {
            acts.push(Act::One(Op::Take { receiver: HandleRef::Live(at as u8) }));
        }
        acts
    }

    /// Whether the host has no more than it has always, and there is a buffer that content could leave with, all of it.
    fn may_take(&self, at: usize) -> bool {
        let has_buffer = self.pair.model.system.totals().free > 0 || self.memory(at).cell_bytes == 128;
        let has_all = !self.has_in_place(at) && self.held_bytes[at] == 0;
        let is_idle = self.pair.model.leases().len() == self.scope.leases && self.pair.model.waits().is_empty();
        has_buffer && has_all && is_idle
    }

    /// Nothing arrives any more, and time passes.
    fn outlast(&mut self) -> Result<(), String> {
        // What is left of a delivery may have to wait once more.
        for _ in 0..if self.scope.delivers { 2 * STEPS } else { STEPS } {
            while self.perform(Op::PollNotice)? != Response::Nothing {
                self.serve_all()?;
            }
            self.serve_all()?;
            self.perform(Op::Later { ns: GRACE_NS / 8 })?;
        }
        let all = 0..self.pair.model.receivers().len();
        let waits = |at: &usize| self.memory(*at).claim_since.is_some() || self.memory(*at).mark > 0;
        match all.filter(waits).count() {
            0 => self.pair.compare(),
            waits => Err(format!("I6: {waits} claims or marks are never settled: {:?}", self.pair.model.system)),
        }
    }

    fn serve_all(&mut self) -> Result<(), String> {
        for at in 0..self.pair.model.receivers().len() {
            if self.owes_wake[at] {
                self.perform(Op::report(at, Event::Wake))?;
            }
        }
        let mut at = 0;
        while at < self.pair.model.receivers().len() {
            let (pending, area) = self.step(at);
            let there = self.info(at).facts.buffered_bytes;
            let op = if pending.has(Action::Shed) || pending.has(Action::End) {
                Op::report(at, Event::Close)
            } else if pending.has(Action::Discard) {
                Op::report(at, Event::Received { bytes: area })
            } else if pending.has(Action::Recv) && self.held_bytes[at] > 0 {
                Op::Deliver { receiver: HandleRef::Live(at as u8), bytes: self.held_bytes[at] as u16 }
            } else if pending.has(Action::Recv) || pending.has(Action::Peek) || self.info(at).facts.in_flight {
                Op::report(at, Event::WouldBlock)
            } else if let Some(&delivered) = self.reports(at, pending, there).last() {
                delivered
            } else if pending.has(Action::Decode) {
                Op::report(at, report_on(there))
            } else {
                at += 1;
                continue;
            };
            self.perform(op)?;
        }
        Ok(())
    }

    fn act(&mut self, act: Act) -> Result<Option<Response>, String> {
        match act {
            Act::One(op) => self.perform(op).map(Some),
            Act::Pass => {
                (0..STEPS).try_for_each(|_| self.perform(Op::Later { ns: GRACE_NS / 8 }).map(drop)).map(|()| None)
            }
            Act::Replace(at) => {
                self.perform(Op::report(at, Event::Close))?;
                self.attach().map(|()| None)
            }
        }
    }
}

/// What a decoder reports that has this number of bytes, in memory of the pool.
fn report_on(there: u32) -> Event {
    match FRAME_BYTES.saturating_sub(there) {
        0 => Event::Consumed { bytes: FRAME_BYTES },
        bytes => Event::NeedMore { bytes },
    }
}

impl Instance for House {
    type Op = Act;

    fn ops(&mut self) -> Vec<Act> {
        let mut acts = vec![Act::One(Op::PollNotice), Act::One(Op::Later { ns: 0 }), Act::Pass];
        for at in 0..self.pair.model.receivers().len() {
            acts.extend(self.acts(at));
        }
        if self.scope.has_host {
            let (waits, leases) = (self.pair.model.waits().len(), self.pair.model.leases().len());
            let own = match (waits, leases > self.scope.leases) {
                (0, false) => Op::request(0),
                (0, true) => Op::Release { lease: HandleRef::Live(leases as u8 - 1) },
                _ => Op::Cancel { wait: HandleRef::Live(0) },
            };
            acts.push(Act::One(own));
        }
        acts
    }

    fn play(&mut self, act: Act) -> Result<(), String> {
        self.before = self.pair.model.system.totals();
        self.answer = self.act(act)?;
        Ok(())
    }

    fn replay(&mut self, act: Act) {
        self.pair.answers_only = true;
        self.act(act).expect("it was played before");
        self.pair.answers_only = false;
    }

    fn key(&self) -> u128 {
        let mut state = Vec::with_capacity(512);
        state.extend(self.owes_wake.iter().map(|&owes| u64::from(owes)));
        state.extend(self.held_bytes.iter().map(|&bytes| u64::from(bytes)));
        self.pair.state_key(&mut state);
        hash_of(&state)
    }

    fn sights(&mut self, see: &mut dyn FnMut(&'static str)) {
        for at in 0..self.pair.model.receivers().len() {
            self.see_deliveries(at, see);
            let (info, memory, (pending, _)) = (self.info(at), self.memory(at), self.step(at));
            let states = [
                ("one borrows", memory.borrowed),
                ("one keeps a part in a small cell", memory.cell_bytes == 64),
                ("one keeps a part in a larger cell", memory.cell_bytes > 64),
                ("one claims", memory.claim_since.is_some()),
                ("one looks", pending.has(Action::Peek)),
                ("one receives a whole", pending.has(Action::RecvWhole)),
                ("one looks at a whole", pending.has(Action::RecvWhole) && pending.has(Action::Peek)),
                ("one receives what was decoded", pending.has(Action::Discard)),
                ("one waits under a mark", memory.mark > 0),
                ("the kernel is full", memory.full),
                ("one is kept for good", memory.kept_for_good),
                ("one is off", memory.off),
                ("one is blocked", info.facts.blocked != 0),
                ("one has ended", info.facts.end != 0),
                ("one waits for the next loop iteration", pending.has(Action::Reschedule) || self.owes_wake[at]),
                ("one was shed at its deadline", info.shed_reason == Some(Reason::Deadline)),
                ("one was evicted", info.shed_reason == Some(Reason::Evicted)),
                ("one was shed for memory", info.shed_reason == Some(Reason::Memory)),
            ];
            states.into_iter().filter(|(_, holds)| *holds).for_each(|(name, _)| see(name));
        }
        let totals = self.pair.model.system.totals();
        let events = [
            ("a grant", totals.grants > self.before.grants),
            ("a trial", totals.trials > self.before.trials),
            ("the host is granted a buffer", matches!(self.answer, Some(Response::GrantedLease { .. }))),
            ("the host waits", !self.pair.model.waits().is_empty()),
            ("content is taken", matches!(self.answer, Some(Response::Taken { .. }))),
        ];
        events.into_iter().filter(|(_, holds)| *holds).for_each(|(name, _)| see(name));
    }

    /// Peers send nothing more, and every claim is settled; or hosts and peers behave, and every wait ends.
    fn finish(mut self) -> Result<(), String> {
        self.pair.answers_only = true;
        self.clone().outlast()?;
        self.pair.drain()
    }
}

const CLAIMS: [&str; 4] = ["one borrows", "one keeps a part in a small cell", "one claims", "a trial"];
/// The host has all buffers but one.
const ONE_FREE: [&str; 2] = ["one keeps a part in a larger cell", "one is kept for good"];
/// The host has all.
const NONE_FREE: [&str; 1] = ["one was shed at its deadline"];
/// Of several receivers one makes room for another.
const RIVALS: [&str; 1] = ["one was evicted"];
const HOST: [&str; 4] = ["one is blocked", "the host waits", "the host is granted a buffer", "content is taken"];

const COUNTING: [&str; 6] =
    ["one looks", "one receives a whole", "one waits under a mark", "the kernel is full", "one claims", "a trial"];

/// Receivers with this many free buffers, in time.
fn share(mode: Mode, receivers: usize, free: usize, sometimes: &[&[&'static str]]) {
    let scope = Scope { mode, receivers, leases: 6 - free, ..ONE };
    let title = format!("receivers ({receivers}), free buffers ({free}), {mode:?}");
    close(&title, &House::new(scope), &sometimes.concat());
}

/// A receiver that submits its receives has no use for a small cell.
fn claims(mode: Mode) -> &'static [&'static str] {
    if mode == Mode::Completion { &["one borrows", "one claims", "a trial"] } else { &CLAIMS }
}

fn compete(mode: Mode) {
    share(mode, 1, 1, &[claims(mode), &ONE_FREE]);
    share(mode, 1, 0, &[claims(mode), &NONE_FREE]);
}

#[test]
fn level_triggered() {
    compete(Mode::Level);
}

#[test]
fn edge_triggered() {
    compete(Mode::Edge);
}

#[test]
fn one_shot() {
    compete(Mode::OneShot);
}

#[test]
fn optimistic() {
    compete(Mode::Optimistic);
}

#[test]
fn completion() {
    compete(Mode::Completion);
}

/// A receiver leaves partial frames in the kernel while the host has all buffers, or all but one: at its deadline, or
/// once the kernel is full, it is as any other.
fn count(mode: Mode) {
    for leases in [5, 6] {
        let scope = Scope { mode, leases, counting: true, ..ONE };
        let title = format!("a receiver that counts, free buffers ({}), {mode:?}", 6 - leases);
        let looks: &[&str] = if leases == 6 { &["one looks at a whole", "one receives what was decoded"] } else { &[] };
        close(&title, &House::new(scope), &[&COUNTING[..], looks].concat());
    }
}

/// Bytes come in memory that the system chose, while the host has all buffers, or all but one.
fn deliver_to_one(mode: Mode) {
    for leases in [5, 6] {
        let scope = Scope { mode, leases, delivers: true, ..ONE };
        let title = format!("a receiver that bytes are delivered to, free buffers ({}), {mode:?}", 6 - leases);
        close(&title, &House::new(scope), &[&DELIVERIES[..], &["one has ended", "a trial"]].concat());
    }
}

#[test]
fn one_that_submits_is_delivered_to() {
    deliver_to_one(Mode::Completion);
}

#[test]
#[cfg(not(debug_assertions))]
fn one_is_delivered_to() {
    [Mode::Level, Mode::Edge, Mode::OneShot, Mode::Optimistic].into_iter().for_each(deliver_to_one);
}

#[test]
fn one_counts() {
    [Mode::Level, Mode::Edge, Mode::OneShot, Mode::Completion].into_iter().for_each(count);
}

/// The host has all buffers but one, and business of its own.
#[test]
fn one_and_a_host() {
    let scope = Scope { has_host: true, ..ONE };
    close("a receiver, a free buffer, and a host with its own", &House::new(scope), &HOST);
}

#[test]
#[cfg(not(debug_assertions))]
fn one_is_delivered_to_beside_a_host() {
    for mode in [Mode::Level, Mode::Completion] {
        let scope = Scope { mode, has_host: true, delivers: true, ..ONE };
        let title = format!("a receiver that bytes are delivered to, a free buffer, and a host with its own, {mode:?}");
        close(&title, &House::new(scope), &[&HOST[..], &DELIVERIES, &["one has ended", "a trial"]].concat());
    }
}

#[test]
#[ignore = "takes many minutes"]
fn two_share_a_buffer_at_length() {
    for mode in [Mode::Level, Mode::Edge, Mode::OneShot, Mode::Optimistic, Mode::Completion] {
        share(mode, 2, 1, &[claims(mode), &ONE_FREE, &RIVALS]);
    }
}
