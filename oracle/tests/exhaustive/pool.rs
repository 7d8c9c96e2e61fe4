//! Receivers with their pool, their memory and time: hosts that do what they are asked, in any order, and peers that do
//! anything.

use crate::{close, hash_of};
use demuxbuf::connection::{Action, Actions, Event, Mode, Policy};
use demuxbuf::pool::PoolConfig;
use demuxbuf::scheduler::SchedulerConfig;
use demuxbuf_oracle::{Differential, HandleRef, Info, Instance, ModelPool, Op, Response, RustPool, System};

/// How a receiver asks: its class and its tenant.
type Role = (u8, Option<u8>);

/// What may happen in an instance besides receiving.
#[derive(Clone, Copy)]
struct Scope {
    /// No lease is held for longer; 0 where time does not pass.
    held_max_ns: u64,
    /// Hosts acknowledge at once, receives bring one byte, decoders take all or ask for one byte more, and peers do not
    /// end.
    is_restricted: bool,
    /// The host has a buffer or a wait of its own, takes buffers from receivers and gives them to others, blocks
    /// decoders and lets them yield; a receiver that is gone is attached again.
    has_host: bool,
}

#[derive(Clone)]
struct House {
    pair: Differential<ModelPool, RustPool>,
    scope: Scope,
    is_completion: bool,
    /// Receivers of one role are alike.
    roles: Vec<Role>,
    /// The roles of the receivers that are there, in the order of their attachment.
    alive: Vec<usize>,
    /// By role: the host acknowledged that it will report `Wake`.
    owes_wake: Vec<bool>,
    answer: Option<Response>,
}

impl House {
    fn new(config: &PoolConfig, roles: &[Role], scope: Scope) -> House {
        let mut house = House {
            pair: Differential::new(ModelPool::new(config), RustPool::new(config)),
            scope,
            is_completion: config.policy.mode == Mode::Completion,
            roles: roles.to_vec(),
            alive: Vec::new(),
            owes_wake: vec![false; roles.len()],
            answer: None,
        };
        for (weight, guaranteed, cap) in [(2, 1, u32::MAX), (1, 0, 1)] {
            house.pair.play(Op::CreateTenant { weight, guaranteed, cap }).expect("it is allowed");
        }
        for &(class, _) in roles {
            house.perform(Op::attach(class)).expect("it is allowed");
        }
        house
    }

    fn info(&mut self, at: usize) -> Info {
        let id = self.pair.model.receivers()[at];
        self.pair.model.system.describe(id).expect("a receiver in force")
    }

    fn pending(&mut self, at: usize) -> Actions {
        Actions::from_bits(self.info(at).facts.pending).expect("every bit is an action's")
    }

    /// All that the host of a receiver or its peer may do now.
    fn events(&mut self, at: usize) -> Vec<Event> {
        let (pending, Info { facts, lease_info, .. }) = (self.pending(at), self.info(at));
        let Scope { is_restricted, has_host, .. } = self.scope;
        let mut events = vec![Event::Close];
        events.extend(pending.intersection(Actions::ACKNOWLEDGED).iter().map(Event::done));
        if self.owes_wake[self.alive[at]] {
            events.push(Event::Wake);
        }
        if pending.has(Action::Recv) && self.is_completion {
            events.push(Event::done(Action::Recv));
        }
        // Few enough different levels for the instance to be small: none, one, two, and all.
        let receives = facts.in_flight || (pending.has(Action::Recv) && !self.is_completion);
        if receives {
            events.push(Event::WouldBlock);
        }
        if receives
            && facts.end == 0
            && facts.buffered_bytes < facts.capacity
            && lease_info.progress_bytes < CONSUMED_MAX
        {
            events.extend((facts.buffered_bytes < 2).then_some(Event::Received { bytes: 1 }));
            events.extend((!is_restricted).then_some(Event::Received { bytes: facts.capacity - facts.buffered_bytes }));
        }
        if pending.has(Action::Decode) {
            events.extend([Event::Consumed { bytes: facts.buffered_bytes }, Event::NeedMore { bytes: 1 }]);
            events.extend((!is_restricted).then_some(Event::Fail));
            if has_host {
                events.extend([Event::Block { reasons: 1 }, Event::Yield]);
            }
        }
        if facts.blocked != 0 {
            events.push(Event::Unblock { reasons: 1 });
        }
        // Edge-triggered read interest reports each change, also those that the host has not come to yet.
        if facts.armed && (!facts.ready || facts.mode == Mode::Edge as u8) {
            events.push(Event::Readable);
        }
        if facts.end == 0 && !is_restricted {
            events.push(Event::EndOfStream);
        }
        events
    }

    /// What the host does with buffers of its own, of which it has one or waits for one; and which receiver is attached
    /// again.
    fn host_ops(&mut self) -> Vec<Op> {
        let (waits, leases) = (self.pair.model.waits().len(), self.pair.model.leases().len());
        let first = HandleRef::Live(0);
        let mut ops = Vec::new();
        for at in 0..self.alive.len() {
            // The decoder takes the header of a frame that can never fit.
            let (pending, Info { facts, .. }) = (self.pending(at), self.info(at));
            let receiver = HandleRef::Live(at as u8);
            let (consumed, need_more) = (facts.buffered_bytes, facts.capacity + 1);
            ops.extend(pending.has(Action::Decode).then_some(Op::Decoded { receiver, consumed, need_more }));
        }
        if waits + leases == 0 {
            ops.extend([0, 1].map(Op::request));
            for at in 0..self.alive.len() {
                let facts = self.info(at).facts;
                ops.extend(
                    (facts.hold == 2 && !facts.in_flight).then_some(Op::Take { receiver: HandleRef::Live(at as u8) }),
                );
            }
        }
        ops.extend((waits > 0).then_some(Op::Cancel { wait: first }));
        ops.extend((leases > 0).then_some(Op::Release { lease: first }));
        if let Some(role) = self.next_role() {
            let (class, _) = self.roles[role];
            ops.push(Op::attach(class));
            if leases > 0 {
                ops.extend([0, 1].map(|offset| Op::Adopt { class, lease: first, offset, buffered_bytes: 1 }));
            }
        }
        ops
    }

    /// The role of the next receiver: the first that no receiver has.
    fn next_role(&self) -> Option<usize> {
        (0..self.roles.len()).find(|role| !self.alive.contains(role))
    }

    /// The actions that restricted hosts acknowledge at once: all but `Shed`.
    fn acknowledge(&mut self) -> Result<(), String> {
        for at in 0..self.alive.len() {
            let acknowledged = self.pending(at).intersection(Actions::ACKNOWLEDGED).without(Action::Shed.into());
            if !acknowledged.is_empty() {
                self.play_one(Op::report(at, Event::done(acknowledged)))?;
            }
        }
        Ok(())
    }

    fn perform(&mut self, op: Op) -> Result<Response, String> {
        let response = self.play_one(op)?;
        if self.scope.is_restricted {
            self.acknowledge()?;
        }
        Ok(response)
    }

    /// Keeps the books about the receivers that are there and the wakes that the host owes.
    fn play_one(&mut self, op: Op) -> Result<Response, String> {
        let before = self.pair.model.receivers();
        let response = self.pair.play(op)?.response;
        if let Response::Refused(status) = response {
            return Err(format!("{op:?}, which is allowed, is refused with {status}"));
        }
        if let Op::Report { receiver: HandleRef::Live(at), event } = op {
            let owes = &mut self.owes_wake[self.alive[usize::from(at)]];
            match event {
                Event::Done(actions) => *owes |= actions.has(Action::Reschedule),
                Event::Wake | Event::Close => *owes = false,
                _ => {}
            }
        }
        let after = self.pair.model.receivers();
        self.alive =
            before.iter().zip(&self.alive).filter(|(id, _)| after.contains(id)).map(|(_, &role)| role).collect();
        if let Response::Attached { .. } = response {
            self.enter()?;
        }
        Ok(response)
    }

    /// The receiver that was attached last takes its role.
    fn enter(&mut self) -> Result<(), String> {
        let (at, role) = (self.alive.len(), self.next_role().expect("there is one for each"));
        self.alive.push(role);
        let tenant = self.roles[role].1.map(HandleRef::Live);
        self.pair.play(Op::SetTenant { receiver: HandleRef::Live(at as u8), tenant })?;
        // In most modes read interest is armed before anything else happens.
        if self.pending(at).has(Action::WantRecv) {
            self.pair.play(Op::report(at, Event::done(Action::WantRecv)))?;
        }
        Ok(())
    }

    /// Every grant is picked up, and the host wants none for itself.
    fn hand_out(&mut self) -> Result<(), String> {
        loop {
            while self.perform(Op::PollNotice)? != Response::Nothing {}
            if self.pair.model.leases().is_empty() {
                return Ok(());
            }
            self.perform(Op::Release { lease: HandleRef::Live(0) })?;
        }
    }

    /// Time passes, nothing arrives and no decoder makes progress; the host releases its own buffers, cancels receives
    /// if it is asked to, and closes the receivers that are shed. When no deadline is left, no request waits.
    fn outlast(&mut self) -> Result<(), String> {
        // Each receiver is asked to park, and in its turn to leave.
        for _ in 0..=6 * self.alive.len() + 1 {
            self.hand_out()?;
            let mut at = 0;
            while at < self.alive.len() {
                let (pending, facts) = (self.pending(at), self.info(at).facts);
                let event = if pending.has(Action::Shed) {
                    Event::Close
                } else if pending.has(Action::StopRecv) {
                    Event::done(Action::StopRecv)
                } else if facts.in_flight && self.pair.model.system.is_taken_back(at) {
                    Event::WouldBlock
                } else if pending.has(Action::Recv) && facts.hold == 2 {
                    // With a lifeline it would end its wait.
                    if self.is_completion { Event::done(Action::Recv) } else { Event::WouldBlock }
                } else {
                    at += 1;
                    continue;
                };
                self.perform(Op::report(at, event))?;
            }
            self.hand_out()?;
            match self.pair.model.system.poll_timeout() {
                None if self.pair.system.system.stats().scheduler.waiting == 0 => return self.pair.compare(),
                None => return Err("I6: no deadline is left, and a request waits".into()),
                Some(now_ns) => self.perform(Op::Tick { now_ns })?,
            };
        }
        Err(format!("I6: a request still waits: {:?}", self.pair.model.system))
    }
}

impl Instance for House {
    type Op = Op;

    fn ops(&mut self) -> Vec<Op> {
        let mut ops = vec![Op::PollNotice];
        if self.pair.model.system.oldest_ns() < self.scope.held_max_ns {
            ops.push(Op::Later { ns: 1 });
        }
        for at in 0..self.alive.len() {
            ops.extend(self.events(at).into_iter().map(|event| Op::report(at, event)));
        }
        if self.scope.has_host {
            ops.extend(self.host_ops());
        }
        ops
    }

    fn play(&mut self, op: Op) -> Result<(), String> {
        self.answer = Some(self.perform(op)?);
        Ok(())
    }

    fn replay(&mut self, op: Op) {
        self.pair.answers_only = true;
        self.perform(op).expect("it was played before");
        self.pair.answers_only = false;
    }

    fn key(&self) -> u128 {
        // Two receivers of one role may change places: the smallest of the numbers stands for all.
        let twins = |at: usize, other: usize| at < other && self.roles[at] == self.roles[other];
        let pairs = (0..self.roles.len()).flat_map(|at| (0..self.roles.len()).map(move |other| (at, other)));
        let straight: Vec<usize> = (0..self.roles.len()).collect();
        let swapped = pairs.filter(|&(at, other)| twins(at, other)).map(|(at, other)| {
            let mut names = straight.clone();
            names.swap(at, other);
            names
        });
        let hash = |names: &[usize]| {
            let mut state = Vec::with_capacity(512);
            let owing = (0..names.len()).filter(|&role| self.owes_wake[role]);
            state.push(owing.fold(0, |all, role| all | 1 << names[role]));
            self.pair.state_key(&mut state, &|at| names[self.alive[at]] as u64);
            hash_of(&state)
        };
        swapped.map(|names| hash(&names)).fold(hash(&straight), u128::min)
    }

    fn sights(&mut self, see: &mut dyn FnMut(&'static str)) {
        for at in 0..self.alive.len() {
            let (pending, facts) = (self.pending(at), self.info(at).facts);
            let states = [
                ("one holds a buffer", facts.hold == 2),
                ("one holds a slot with content", facts.hold == 1 && facts.buffered_bytes > 0),
                ("one waits", facts.waiting),
                ("one waits with a lifeline", facts.waiting && facts.hold == 1 && facts.buffered_bytes == 0),
                ("one waits with nothing", facts.waiting && facts.hold == 0),
                ("one receives through the lifeline", facts.hold == 1 && pending.has(Action::Recv)),
                ("one needs bytes and keeps its buffer", facts.hold == 2 && facts.needed_bytes > 0),
                ("one is to be shed", pending.has(Action::Shed)),
                ("one is at its end", pending.has(Action::End)),
                ("one cannot fit", pending.has(Action::CannotFit)),
                ("one has failed", facts.failed),
                ("one is in flight", facts.in_flight),
                ("a receive is cancelled", facts.in_flight && self.pair.model.system.is_taken_back(at)),
                ("one is blocked", facts.blocked != 0),
                ("one has yielded", facts.yielded),
            ];
            states.into_iter().filter(|(_, holds)| *holds).for_each(|(name, _)| see(name));
        }
        match self.answer {
            Some(Response::GrantedReceiver { .. }) => see("a receiver has a notice of its grant"),
            Some(Response::GrantedLease { .. }) => see("the host is granted a buffer"),
            Some(Response::Taken { .. }) => see("a buffer is taken from a receiver"),
            Some(Response::Attached { actions, .. }) if actions & Action::Decode as u32 != 0 => {
                see("a buffer is given to a new receiver")
            }
            _ => {}
        }
        let stats = self.pair.system.system.stats();
        let states = [
            ("all are gone", self.alive.is_empty()),
            ("the host waits", !self.pair.model.waits().is_empty()),
            ("a buffer is assigned", stats.scheduler.assigned > 0),
            ("all is leased and one waits", stats.scheduler.free == 0 && stats.scheduler.waiting > 0),
            ("one was parked on demand", stats.parked_on_demand > 0),
            ("one found no slot to park in", stats.park_refused > 0),
        ];
        states.into_iter().filter(|(_, holds)| *holds).for_each(|(name, _)| see(name));
    }

    fn finish(mut self) -> Result<(), String> {
        self.pair.answers_only = true;
        self.clone().outlast()?;
        self.pair.drain()
    }
}

/// Nothing is received into a buffer from which this many bytes were consumed.
const CONSUMED_MAX: u64 = if cfg!(debug_assertions) { 1 } else { 3 };

const SOMETIMES: [&str; 10] = [
    "one holds a buffer",
    "one holds a slot with content",
    "one waits",
    "one waits with a lifeline",
    "one waits with nothing",
    "one receives through the lifeline",
    "one needs bytes and keeps its buffer",
    "a receiver has a notice of its grant",
    "all are gone",
    "a buffer is assigned",
];
/// Only where time passes.
const DEADLINES: [&str; 3] = ["one is to be shed", "one was parked on demand", "one found no slot to park in"];

/// Two classes, the less critical one of which leaves the last of several buffers to the other; two tenants; one slot.
fn config(buffers: u32, receivers: u32) -> PoolConfig {
    let mut scheduler =
        SchedulerConfig { classes: 2, class_burst: 1, tenants_max: 2, ..SchedulerConfig::new(buffers, receivers) };
    scheduler.reserves[1] = buffers - 1;
    (scheduler.park_ns, scheduler.lease_ns) = (Some(1), Some(2));
    let policy = Policy { reads_per_wake: 1, park_bytes: 0, reclaim_bytes: 64, ..Policy::default() };
    PoolConfig { scheduler, buffer_bytes: 64, slots: 1, policy, ..PoolConfig::new(buffers, receivers) }
}

const CALM: Scope = Scope { held_max_ns: 0, is_restricted: true, has_host: false };
const IN_TIME: Scope = Scope { held_max_ns: 2, ..CALM };

/// Two receivers with one buffer, in time.
fn compete(mode: Mode, is_restricted: bool) {
    let mut config = config(1, 2);
    config.policy.mode = mode;
    let rare = ["one is at its end", "one cannot fit", "one has failed"].into_iter().filter(|_| !is_restricted);
    let flight = ["one is in flight", "a receive is cancelled"];
    let flight = flight.into_iter().filter(|_| mode == Mode::Completion);
    let sometimes: Vec<_> = SOMETIMES.into_iter().chain(DEADLINES).chain(rare).chain(flight).collect();
    let restricted = if is_restricted { "restricted " } else { "" };
    let house = House::new(&config, &[(1, None); 2], Scope { is_restricted, ..IN_TIME });
    close(&format!("two {restricted}receivers, one buffer, in time, {mode:?}"), &house, &sometimes);
}

#[test]
fn level_triggered() {
    compete(Mode::Level, cfg!(debug_assertions));
}

#[test]
fn edge_triggered() {
    compete(Mode::Edge, true);
}

#[test]
fn one_shot() {
    compete(Mode::OneShot, true);
}

#[test]
fn optimistic() {
    compete(Mode::Optimistic, true);
}

#[test]
fn completion() {
    compete(Mode::Completion, true);
}

/// The same in the other modes, with all that `Level` has.
#[test]
#[ignore = "takes many minutes"]
fn every_mode_at_length() {
    for mode in [Mode::Edge, Mode::OneShot, Mode::Optimistic, Mode::Completion] {
        compete(mode, false);
    }
}

/// Receivers with one buffer and a host that has business of its own, in time.
fn share_with_host(receivers: u32, is_restricted: bool, sometimes: &[&'static str]) {
    let mut config = config(1, receivers);
    config.scheduler.waiters_max += 1;
    let roles = vec![(1, None); receivers as usize];
    let house = House::new(&config, &roles, Scope { has_host: true, is_restricted, ..IN_TIME });
    let restricted = if is_restricted { "restricted " } else { "" };
    let sometimes = [sometimes, &HOST].concat();
    close(
        &format!("{restricted}receivers ({receivers}), one buffer, in time, and a host with its own"),
        &house,
        &sometimes,
    );
}

const HOST: [&str; 7] = [
    "one is blocked",
    "one has yielded",
    "a buffer is taken from a receiver",
    "a buffer is given to a new receiver",
    "the host waits",
    "the host is granted a buffer",
    "all is leased and one waits",
];

#[test]
fn one_and_a_host() {
    share_with_host(1, cfg!(debug_assertions), &["all are gone", "one waits", "one was parked on demand"]);
}

#[test]
#[ignore = "takes many minutes"]
fn two_and_a_host_at_length() {
    share_with_host(2, true, &SOMETIMES);
}

/// Three receivers with two buffers, two classes, two tenants and one slot.
fn crowd(scope: Scope, time: &str, sometimes: &[&'static str]) {
    let mut config = config(2, 3);
    config.policy.park_bytes = 1;
    let house = House::new(&config, &[(0, Some(0)), (1, Some(1)), (1, Some(1))], scope);
    close(&format!("three restricted receivers, two buffers, two classes and two tenants{time}"), &house, sometimes);
}

#[test]
fn three_and_two_buffers() {
    crowd(CALM, "", &SOMETIMES);
}

#[test]
#[ignore = "takes many minutes"]
fn three_and_two_buffers_in_time_at_length() {
    crowd(IN_TIME, ", in time", &[&SOMETIMES[..], &DEADLINES].concat());
}
