//! Receivers with their pool, their memory and time: hosts that do what they are asked, in any order, and peers that do
//! anything.

use crate::{close, hash_of};
use demuxbuf::connection::{Action, Actions, Event, Policy};
use demuxbuf::pool::PoolConfig;
use demuxbuf::receiver::ReceiversConfig;
use demuxbuf_oracle::{Duel, Facts, Info, ModelReceivers, Op, RustReceivers, Subject, What, Which, World};

/// How a receiver asks: its class and its tenant.
type Role = (u8, Option<u8>);

#[derive(Clone)]
struct House {
    pair: Duel<ModelReceivers, RustReceivers>,
    /// Of the receivers in the order of their attachment; those of one role are alike.
    roles: Vec<Role>,
    /// Which of them are still there.
    alive: Vec<usize>,
    held_max_ns: u64,
    /// Hosts acknowledge at once, receives bring one byte, decoders take all or ask for one byte more, and peers do not end.
    is_calm: bool,
    answer: Option<What>,
}

impl House {
    fn new(config: &ReceiversConfig, roles: &[Role], held_max_ns: u64, is_calm: bool) -> House {
        let mut pair = Duel::new(ModelReceivers::new(config), RustReceivers::new(config));
        let mut setup = |op| pair.play(op).map(drop).expect("it is allowed");
        for (weight, guaranteed, cap) in [(2, 1, u32::MAX), (1, 0, 1)] {
            setup(Op::CreateTenant { weight, guaranteed, cap });
        }
        for (at, &(class, tenant)) in roles.iter().enumerate() {
            setup(Op::Attach { class, bytes: 0 });
            setup(Op::SetTenant { receiver: Which::Live(at as u8), tenant: tenant.map(Which::Live) });
            setup(Op::report(at, Event::done(Action::WantRecv)));
        }
        let alive = (0..roles.len()).collect();
        House { pair, roles: roles.to_vec(), alive, held_max_ns, is_calm, answer: None }
    }

    fn info(&mut self, at: usize) -> Info {
        let id = self.pair.model.receivers()[at];
        self.pair.model.subject.describe(id).expect("a receiver in force")
    }

    fn facts(&mut self, at: usize) -> Facts {
        self.info(at).facts
    }

    /// All that the host of a receiver or its peer may do now.
    fn events(&self, info: &Info) -> Vec<Event> {
        let facts = &info.facts;
        let pending = Actions::from_bits(facts.pending).expect("every bit is an action's");
        let mut events = vec![Event::Close];
        events.extend(pending.intersection(Actions::ACKNOWLEDGED).iter().map(Event::done));
        if pending.has(Action::Recv) {
            events.extend([Event::Received { bytes: 1 }, Event::WouldBlock]);
            if !self.is_calm {
                events.push(Event::Received { bytes: facts.capacity - facts.level });
            }
        }
        if pending.has(Action::Demux) {
            events.extend([Event::Consumed { bytes: facts.level }, Event::NeedMore { bytes: 1 }]);
            if !self.is_calm {
                events.push(Event::Fail);
            }
        }
        if facts.armed && !facts.ready {
            events.push(Event::Readable);
        }
        if facts.end == 0 && !self.is_calm {
            events.push(Event::EndOfStream);
        }
        // Few enough different levels for the world to be small: none, one, two, and all.
        let is_worn = info.idleness.progress_bytes >= CONSUMED_MAX;
        events.retain(|event| match event {
            Event::Received { bytes } => !is_worn && (*bytes > 1 || facts.level < 2),
            _ => true,
        });
        events
    }

    /// What calm hosts acknowledge at once; that somebody is to be shed they think about.
    fn acknowledge(&mut self) -> Result<(), String> {
        for at in 0..self.alive.len() {
            let pending = Actions::from_bits(self.facts(at).pending).expect("every bit is an action's");
            let acknowledged = pending.intersection(Actions::ACKNOWLEDGED).without(Action::Shed.into());
            if !acknowledged.is_empty() {
                self.pair.play(Op::report(at, Event::done(acknowledged)))?;
            }
        }
        Ok(())
    }

    fn tell(&mut self, op: Op) -> Result<What, String> {
        let before = self.pair.model.receivers();
        let what = self.pair.play(op)?.what;
        let after = self.pair.model.receivers();
        if after.len() < before.len() {
            let gone = before.iter().position(|id| !after.contains(id)).expect("one is missing");
            self.alive.remove(gone);
        }
        if self.is_calm {
            self.acknowledge()?;
        }
        Ok(what)
    }

    /// Time passes, nothing arrives and no decoder makes progress; hosts close whom they are told to. Then only those wait
    /// whom the cap of their own tenant keeps back.
    fn outlast(&mut self) -> Result<(), String> {
        // Each receiver is asked to park, and in its turn to leave.
        for _ in 0..=6 * self.alive.len() {
            while self.tell(Op::PollGrant)? != What::Nothing {}
            let mut at = 0;
            while at < self.alive.len() {
                let pending = self.facts(at).pending;
                if pending & Action::Shed as u32 != 0 {
                    self.tell(Op::report(at, Event::Close))?;
                } else if pending & Action::Recv as u32 != 0 {
                    self.tell(Op::report(at, Event::WouldBlock))?;
                } else {
                    at += 1;
                }
            }
            while self.tell(Op::PollGrant)? != What::Nothing {}
            match self.pair.model.subject.poll_timeout() {
                u64::MAX => return Ok(()),
                now_ns => self.tell(Op::Tick { now_ns })?,
            };
        }
        Err(format!("I6: somebody still waits: {:?}", self.pair.model.subject))
    }
}

impl World for House {
    type Op = Op;

    fn ops(&mut self) -> Vec<Op> {
        let mut ops = vec![Op::PollGrant];
        if self.pair.model.subject.oldest_ns() < self.held_max_ns {
            ops.push(Op::Later { ns: 1 });
        }
        for at in 0..self.alive.len() {
            let info = self.info(at);
            ops.extend(self.events(&info).into_iter().map(|event| Op::report(at, event)));
        }
        ops
    }

    fn play(&mut self, op: Op) -> Result<(), String> {
        self.answer = Some(self.tell(op)?);
        Ok(())
    }

    fn replay(&mut self, op: Op) {
        self.pair.answers_only = true;
        self.tell(op).expect("it was played before");
        self.pair.answers_only = false;
    }

    fn key(&self) -> u128 {
        // Two of one role change places: the smaller of the two numbers stands for both.
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
            self.pair.write_state(&mut state, &|at| names[self.alive[at]] as u64);
            hash_of(&state)
        };
        swapped.map(|names| hash(&names)).fold(hash(&straight), u128::min)
    }

    fn sights(&mut self, see: &mut dyn FnMut(&'static str)) {
        for at in 0..self.alive.len() {
            let facts = self.facts(at);
            let pending = Actions::from_bits(facts.pending).expect("every bit is an action's");
            let states = [
                ("one holds a buffer", facts.hold == 2),
                ("one holds a slot with a residue", facts.hold == 1 && facts.level > 0),
                ("one waits", facts.waiting),
                ("one waits with a lifeline", facts.waiting && facts.hold == 1 && facts.level == 0),
                ("one waits with nothing", facts.waiting && facts.hold == 0),
                ("one receives through the lifeline", facts.hold == 1 && pending.has(Action::Recv)),
                ("one is short and keeps its buffer", facts.hold == 2 && facts.short > 0),
                ("one is to be shed", pending.has(Action::Shed)),
                ("one is at its end", pending.has(Action::End)),
                ("one cannot fit", pending.has(Action::CannotFit)),
                ("one has failed", facts.failed),
            ];
            states.into_iter().filter(|(_, holds)| *holds).for_each(|(name, _)| see(name));
        }
        if matches!(self.answer, Some(What::GrantedReceiver { .. })) {
            see("one is told of its grant");
        }
        let stats = self.pair.subject.subject.stats();
        let states = [
            ("all are gone", self.alive.is_empty()),
            ("a buffer is assigned", stats.pool.assigned > 0),
            ("all is out and one waits", stats.pool.free == 0 && stats.pool.waiting > 0),
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

/// Nothing is received into a buffer out of which so many bytes were consumed.
const CONSUMED_MAX: u64 = 3;

const SOMETIMES: [&str; 10] = [
    "one holds a buffer",
    "one holds a slot with a residue",
    "one waits",
    "one waits with a lifeline",
    "one waits with nothing",
    "one receives through the lifeline",
    "one is short and keeps its buffer",
    "one is told of its grant",
    "all are gone",
    "a buffer is assigned",
];
/// Only where time passes.
const DEADLINES: [&str; 3] = ["one is to be shed", "one was parked on demand", "one found no slot to park in"];

/// Two classes, of which the less critical leaves the last of several buffers to the other; two tenants; one slot.
fn config(buffers: u32, receivers: u32) -> ReceiversConfig {
    let mut pool = PoolConfig { classes: 2, class_burst: 1, tenants_max: 2, ..PoolConfig::new(buffers, receivers) };
    pool.reserves[1] = buffers - 1;
    (pool.park_ns, pool.lease_ns) = (1, 2);
    let policy = Policy { reads_per_wake: 1, park_bytes: 0, reclaim_bytes: 64, ..Policy::default() };
    ReceiversConfig { pool, buffer_bytes: 64, slots: 1, policy, ..ReceiversConfig::new(buffers, receivers) }
}

#[test]
fn two_and_one_buffer() {
    let (roles, sometimes) = ([(1, None); 2], [SOMETIMES.as_slice(), &DEADLINES].concat());
    if cfg!(debug_assertions) {
        close("two calm receivers, one buffer, in time", &House::new(&config(1, 2), &roles, 2, true), &sometimes);
    } else {
        let sometimes = [sometimes.as_slice(), &["one is at its end", "one cannot fit", "one has failed"]].concat();
        close("two receivers, one buffer, in time", &House::new(&config(1, 2), &roles, 2, false), &sometimes);
    }
}

/// Time does not pass, or there would be too many states.
#[test]
fn three_and_two_buffers() {
    let mut config = config(2, 3);
    config.policy.park_bytes = 1;
    let house = House::new(&config, &[(0, Some(0)), (1, Some(1)), (1, Some(1))], 0, true);
    close("three calm receivers, two buffers, two classes and two tenants", &house, &SOMETIMES);
}
