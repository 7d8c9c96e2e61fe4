//! The memory model with a few receivers in the least memory: every order of what peers, decoders and the host may do
//! between two advances, and every time at which they do it.

use crate::{close, hash_of};
use demuxbuf_oracle::receiving_system::{
    After, Begin, Facts, Notice, ReceivingConfig, ReceivingSystem, Rest, TenantShare,
};
use demuxbuf_oracle::{Answer, Checked, Instance, ModelReceiving, ReceivingOp};

/// The length of each frame: more than a cell of 64 bytes.
const FRAME_BYTES: u32 = 100;
/// Its peer may send this much of it.
const PART_BYTES: u32 = 40;
/// The time that a frame's length takes is about one step of the clock.
const GRACE_NS: u64 = 100_000_000;

#[derive(Clone, Copy)]
struct Scope {
    receivers: u32,
    /// Buffers that the host has, and whether it leases and releases one more.
    leases: u32,
    is_leasing: bool,
    /// Decoders may hold whole frames.
    is_holding: bool,
    /// The first receiver submits its receives.
    is_submitting: bool,
    /// The receivers of even numbers count.
    is_counting: bool,
    /// Steps of the clock in *G*.
    steps: u64,
    /// The receivers of odd numbers are of a tenant of their own.
    tenants: Option<[TenantShare; 2]>,
}

/// Two receivers that only receive, and decoders that take whole frames.
const SMALL: Scope = Scope {
    receivers: 2,
    leases: 5,
    is_leasing: false,
    is_holding: false,
    is_submitting: false,
    is_counting: false,
    steps: 1,
    tenants: None,
};

/// What a receive brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Arrived {
    Nothing,
    Part,
    Rest,
}

#[derive(Clone, Copy, Debug)]
enum Op {
    /// The receiver is readable, and the decoder of a whole frame consumes or holds it.
    Serve {
        receiver: u32,
        arrived: Arrived,
        holds: bool,
    },
    /// The next notice; a receive that it allows brings this.
    Poll {
        arrived: Arrived,
    },
    /// The kernel holds no more for a receiver under a mark.
    Fill {
        receiver: u32,
    },
    /// The outcome of a receive in flight.
    Land {
        receiver: u32,
        arrived: Arrived,
    },
    /// What was decoded when it was looked at is received away.
    Away {
        receiver: u32,
    },
    /// Held content is decoded.
    Unblock {
        receiver: u32,
    },
    Advance,
    Lease,
    Release,
}

#[derive(Clone)]
struct House {
    checked: Checked<ModelReceiving>,
    config: ReceivingConfig,
    scope: Scope,
    now_ns: u64,
    seen: Vec<&'static str>,
}

impl House {
    fn new(scope: Scope) -> House {
        let config = ReceivingConfig {
            memory_bytes: 8 * 128,
            buffer_bytes: 128,
            receivers_max: scope.receivers,
            frame_grace_ns: GRACE_NS,
            blocked_ns: GRACE_NS / 4,
            in_flight_max: 0,
            tenants: scope.tenants,
        };
        let model = ModelReceiving::new(config).expect("it is allowed");
        let checked = Checked::new(model, config).expect("it is allowed");
        let mut house = House { checked, config, scope, now_ns: 0, seen: Vec::new() };
        house.perform(ReceivingOp::Advance { now_ns: 0 }).expect("a rule is broken");
        for receiver in 0..scope.receivers {
            house.attach(receiver).expect("a rule is broken");
        }
        if scope.is_submitting {
            house.submit_from_now_on(0).expect("a rule is broken");
        }
        for _ in 0..scope.leases {
            house.perform(ReceivingOp::Lease).expect("a rule is broken");
        }
        house
    }

    fn perform(&mut self, op: ReceivingOp) -> Result<Answer, String> {
        self.checked.play(op)
    }

    fn kept(&self, receiver: u32) -> u32 {
        self.checked.facts(receiver).kept
    }

    fn submit_from_now_on(&mut self, receiver: u32) -> Result<(), String> {
        self.perform(ReceivingOp::SetSubmits { receiver, submits: true }).map(drop)
    }

    /// Receives and reports until the borrow is over, or submits.
    fn receive(&mut self, receiver: u32, max: u32, arrived: Arrived, holds: bool) -> Result<(), String> {
        if self.scope.is_submitting && receiver == 0 {
            self.seen.push("in flight");
            return self.perform(ReceivingOp::Submit { receiver }).map(drop);
        }
        self.complete(receiver, max, arrived, holds)
    }

    /// Nothing, or all that was asked for, perhaps as it is in the kernel; a part is not there whole.
    fn receive_whole(&mut self, receiver: u32, bytes: u32, arrived: Arrived, holds: bool) -> Result<(), String> {
        let is_there = arrived == Arrived::Rest || (arrived == Arrived::Part && bytes <= PART_BYTES);
        if !is_there {
            self.seen.push("a mark");
            return self.perform(ReceivingOp::Dry { receiver }).map(drop);
        }
        self.perform(ReceivingOp::Received { receiver, bytes })?;
        let is_look = self.checked.facts(receiver).seen > 0;
        let answer = self.report(receiver, holds)?;
        if is_look && holds && self.kept(receiver) == 0 {
            self.seen.push("held in the kernel");
        }
        self.follow(receiver, answer, arrived)
    }

    fn begin(&mut self, receiver: u32, arrived: Arrived, holds: bool) -> Result<(), String> {
        match self.perform(ReceivingOp::Begin { receiver })? {
            Answer::Begin(Begin::Receive { max }) => self.receive(receiver, max, arrived, holds),
            Answer::Begin(Begin::Whole { bytes }) => self.receive_whole(receiver, bytes, arrived, holds),
            Answer::Begin(Begin::WholeLook { bytes }) => {
                self.seen.push("a look at a whole");
                self.receive_whole(receiver, bytes, arrived, holds)
            }
            Answer::Begin(Begin::Look { .. }) => {
                self.seen.push("a look");
                let needed = FRAME_BYTES;
                self.perform(ReceivingOp::Looked { receiver, needed })?;
                self.receive_whole(receiver, needed, arrived, holds)
            }
            Answer::Begin(Begin::Off) => {
                self.seen.push("off");
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn complete(&mut self, receiver: u32, max: u32, arrived: Arrived, holds: bool) -> Result<(), String> {
        let rest = FRAME_BYTES - self.kept(receiver);
        let bytes = match arrived {
            Arrived::Nothing => 0,
            Arrived::Part => rest.min(PART_BYTES).min(max),
            Arrived::Rest => rest.min(max),
        };
        let answer = if bytes == 0 {
            self.perform(ReceivingOp::Dry { receiver })?
        } else {
            self.perform(ReceivingOp::Received { receiver, bytes })?;
            self.report(receiver, holds)?
        };
        self.follow(receiver, answer, arrived)
    }

    fn follow(&mut self, receiver: u32, answer: Answer, arrived: Arrived) -> Result<(), String> {
        // What was there is received; a whole frame arrives in as many receives as it takes.
        let arrived = if arrived == Arrived::Rest { arrived } else { Arrived::Nothing };
        match answer {
            Answer::After(After::Receive { max }) => {
                self.seen.push("a trial receives again");
                self.receive(receiver, max, arrived, false)
            }
            Answer::After(After::Whole { bytes }) => self.receive_whole(receiver, bytes, arrived, false),
            Answer::After(After::WholeLook { bytes }) => {
                self.seen.push("a look at a whole");
                self.receive_whole(receiver, bytes, arrived, false)
            }
            Answer::After(After::Shed { .. }) => self.replace(receiver),
            _ => Ok(()),
        }
    }

    fn report(&mut self, receiver: u32, holds: bool) -> Result<Answer, String> {
        let kept = self.kept(receiver);
        let (consumed, rest) = match kept {
            FRAME_BYTES if holds => (0, Rest::Held),
            FRAME_BYTES => (FRAME_BYTES, Rest::Nothing),
            kept => (0, Rest::Short { needed: FRAME_BYTES - kept, usable: FRAME_BYTES - kept }),
        };
        self.perform(ReceivingOp::Decoded { receiver, consumed, rest })
    }

    /// Another peer comes for one that was shed.
    fn replace(&mut self, receiver: u32) -> Result<(), String> {
        self.perform(ReceivingOp::Close { receiver })?;
        self.attach(receiver)?;
        if self.scope.is_submitting && receiver == 0 { self.submit_from_now_on(0) } else { Ok(()) }
    }

    fn attach(&mut self, receiver: u32) -> Result<(), String> {
        self.perform(ReceivingOp::Attach { receiver, unknown_length: false })?;
        if self.scope.is_counting && receiver % 2 == 0 {
            self.perform(ReceivingOp::SetCounts { receiver, counts: true })?;
        }
        let tenant = if self.scope.tenants.is_some() { receiver % 2 } else { 0 };
        self.perform(ReceivingOp::SetTenant { receiver, tenant }).map(drop)
    }

    fn step(&mut self, op: Op) -> Result<(), String> {
        self.seen.clear();
        let before = self.checked.system.evictions_for_tenants();
        let stepped = self.step_at(op);
        if self.checked.system.evictions_for_tenants() > before {
            self.seen.push("evicted for another tenant");
        }
        stepped
    }

    fn step_at(&mut self, op: Op) -> Result<(), String> {
        match op {
            Op::Serve { receiver, arrived, holds } => self.begin(receiver, arrived, holds),
            Op::Fill { receiver } => {
                self.seen.push("a full kernel");
                match self.perform(ReceivingOp::KernelFull { receiver })? {
                    Answer::After(After::Ended) => self.begin(receiver, Arrived::Part, false),
                    _ => self.replace(receiver),
                }
            }
            Op::Poll { arrived } => self.poll(arrived).map(drop),
            Op::Land { receiver, arrived } => {
                let max = self.checked.system.legal(receiver).receive_max;
                self.complete(receiver, max, arrived, false)
            }
            Op::Away { receiver } => {
                self.seen.push("a receive of what was decoded");
                let bytes = self.checked.facts(receiver).owed;
                let answer = self.perform(ReceivingOp::ReceivedAway { receiver, bytes })?;
                self.follow(receiver, answer, Arrived::Nothing)
            }
            Op::Unblock { receiver } => {
                self.perform(ReceivingOp::Decode { receiver })?;
                self.report(receiver, false).map(drop)
            }
            Op::Advance => {
                self.now_ns += GRACE_NS / 8 / self.scope.steps;
                self.perform(ReceivingOp::Advance { now_ns: self.now_ns }).map(drop)
            }
            Op::Lease => self.perform(ReceivingOp::Lease).map(drop),
            Op::Release => self.perform(ReceivingOp::Release).map(drop),
        }
    }

    /// Whether there was a notice.
    fn poll(&mut self, arrived: Arrived) -> Result<bool, String> {
        let marked = (0..self.scope.receivers).filter(|&receiver| self.checked.facts(receiver).mark > 0);
        let marked: Vec<u32> = marked.collect();
        let answer = self.perform(ReceivingOp::Poll)?;
        let Answer::Notice(Some(notice)) = answer else {
            return Ok(false);
        };
        match notice {
            Notice::Shed { receiver, .. } => {
                self.seen.push("evicted");
                self.replace(receiver)?;
            }
            Notice::Trial { receiver, max } => {
                let is_marked = marked.contains(&receiver);
                self.seen.push(if is_marked { "a trial under a mark" } else { "a trial" });
                self.receive(receiver, max, arrived, false)?;
                let facts = self.checked.facts(receiver);
                if facts.kept_for_good {
                    self.seen.push("kept for good");
                }
            }
            Notice::Granted { receiver, max } => {
                self.seen.push("a grant");
                self.receive(receiver, max, arrived, false)?;
            }
            Notice::Resume { .. } => self.seen.push("a resume"),
            Notice::TakeBack { .. } => self.seen.push("a receive taken back"),
        }
        Ok(true)
    }

    /// Receivers that claim, or wait under a mark.
    fn waits(&self) -> usize {
        let waits = |facts: Facts| facts.claim_since.is_some() || facts.mark > 0;
        (0..self.scope.receivers).filter(|&receiver| waits(self.checked.facts(receiver))).count()
    }
}

impl Instance for House {
    type Op = Op;

    fn ops(&mut self) -> Vec<Op> {
        let mut ops = vec![Op::Advance];
        for receiver in 0..self.scope.receivers {
            let legal = self.checked.system.legal(receiver);
            if self.checked.facts(receiver).in_flight {
                let outcomes = [Arrived::Nothing, Arrived::Part, Arrived::Rest];
                ops.extend(outcomes.map(|arrived| Op::Land { receiver, arrived }));
            }
            if legal.begin && self.checked.facts(receiver).claim_since.is_none() {
                ops.push(Op::Serve { receiver, arrived: Arrived::Part, holds: false });
                ops.push(Op::Serve { receiver, arrived: Arrived::Rest, holds: false });
                if self.scope.is_holding {
                    ops.push(Op::Serve { receiver, arrived: Arrived::Rest, holds: true });
                }
            }
            if legal.kernel_full {
                ops.push(Op::Fill { receiver });
            }
            if legal.away_max > 0 {
                ops.push(Op::Away { receiver });
            }
            if legal.decode {
                ops.push(Op::Unblock { receiver });
            }
        }
        ops.extend([Arrived::Nothing, Arrived::Part, Arrived::Rest].map(|arrived| Op::Poll { arrived }));
        if self.scope.is_leasing {
            let has_more = self.checked.system.leases() > self.scope.leases;
            ops.push(if has_more { Op::Release } else { Op::Lease });
        }
        ops
    }

    fn play(&mut self, op: Op) -> Result<(), String> {
        self.step(op)
    }

    fn replay(&mut self, op: Op) {
        self.step(op).expect("it was checked before");
    }

    fn key(&self) -> u128 {
        let mut state = Vec::new();
        self.checked.system.state_key(&mut state);
        hash_of(&state)
    }

    fn sights(&mut self, see: &mut dyn FnMut(&'static str)) {
        self.seen.drain(..).for_each(&mut *see);
        let mut all = (0..self.scope.receivers).map(|receiver| self.checked.facts(receiver));
        if all.any(|facts| facts.claim_since.is_some()) {
            see("a claim");
        }
    }

    /// Peers send nothing more: each claim is settled within its time, and so is each mark.
    fn finish(mut self) -> Result<(), String> {
        let step_ns = GRACE_NS / 8 / self.scope.steps;
        for receiver in 0..self.scope.receivers {
            if self.checked.facts(receiver).owed > 0 {
                self.step(Op::Away { receiver })?;
            }
        }
        // The outcome of a trial in flight is one step later.
        for _ in 0..=self.config.wait_ns_max() / step_ns + u64::from(self.scope.is_submitting) {
            while self.poll(Arrived::Nothing)? {}
            self.step(Op::Advance)?;
            if self.checked.facts(0).in_flight {
                self.step(Op::Land { receiver: 0, arrived: Arrived::Nothing })?;
            }
        }
        while self.poll(Arrived::Nothing)? {}
        match self.waits() {
            0 => Ok(()),
            waits => Err(format!("I6: {waits} claims or marks are never settled")),
        }
    }
}

const EVERYTHING: [&str; 5] = ["a claim", "a grant", "a trial", "evicted", "kept for good"];

/// Without credit, a buffer that only receivers in credit may use: each claim that is not served in a cell comes to its
/// trial.
#[test]
fn receiving_closes_with_three_receivers() {
    let scope = Scope { receivers: 3, leases: 5, ..SMALL };
    close("three receivers, one buffer free", &House::new(scope), &["a claim", "a trial", "evicted", "kept for good"]);
}

#[test]
fn receiving_closes_with_a_host_that_leases() {
    let scope = Scope { receivers: 2, leases: 4, is_leasing: true, is_holding: true, steps: 2, ..SMALL };
    close("two receivers, and a host", &House::new(scope), &EVERYTHING);
}

/// A receive in flight is taken back for the sake of the other receiver, a trial in flight has the receive buffer, and
/// nothing is lost.
#[test]
fn receiving_closes_with_receives_in_flight() {
    let scope = Scope { receivers: 2, leases: 5, is_leasing: true, is_submitting: true, ..SMALL };
    close("two receivers, one of which submits", &House::new(scope), &["in flight", "a receive taken back", "a trial"]);
}

/// One of two receivers leaves partial frames in the kernel, and has its trial at the deadline, or claims once the
/// kernel is full; the other does not count.
#[test]
fn receiving_closes_with_a_receiver_that_counts() {
    let scope = Scope { receivers: 2, leases: 4, is_leasing: true, is_counting: true, ..SMALL };
    let counting = ["a look", "a mark", "a full kernel", "a trial under a mark", "a look at a whole"];
    close("two receivers, one of which counts", &House::new(scope), &[&counting[..], &EVERYTHING].concat());
}

/// No buffer is free but one that the other receiver may have: what the decoder of the one that counts holds stays in
/// the kernel, and neither is shed.
#[test]
fn receiving_closes_with_a_receiver_that_looks() {
    let scope = Scope { receivers: 2, leases: 5, is_counting: true, is_holding: true, ..SMALL };
    let looks = ["a look at a whole", "a receive of what was decoded", "held in the kernel", "a mark"];
    close("two receivers, one of which looks", &House::new(scope), &looks);
}

/// The default tenant, of two receivers, loses what it holds to the other before its deadline.
#[test]
#[cfg(not(debug_assertions))]
fn receiving_closes_with_two_tenants() {
    let heavy = TenantShare { weight: 2, guaranteed: 0, cap: Some(1) };
    let scope = Scope { receivers: 3, leases: 4, tenants: Some([heavy, TenantShare::DEFAULT]), ..SMALL };
    close("three receivers of two tenants", &House::new(scope), &["a claim", "a grant", "evicted for another tenant"]);
}
