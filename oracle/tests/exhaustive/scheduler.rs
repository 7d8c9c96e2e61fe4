//! A scheduler alone: three clients that request, wait, hold and go away at any time.

use crate::{close, hash_of};
use demuxbuf::scheduler::{ReclaimKind, SchedulerConfig};
use demuxbuf_oracle::{Differential, HandleRef, Instance, ModelScheduler, Op, Response, RustScheduler, System};

/// What may be asked for: class, size and tenant.
type Kind = (u8, u8, Option<u8>);

#[derive(Clone)]
struct Crowd {
    pair: Differential<ModelScheduler, RustScheduler>,
    kinds: &'static [Kind],
    /// The most that wait or hold at once.
    clients: usize,
    /// No lease is held for longer; 0 where time does not pass.
    held_max_ns: u64,
    answer: Option<Response>,
}

impl Crowd {
    fn new(config: &SchedulerConfig, shares: &[(u32, u32, u32)], kinds: &'static [Kind], held_max_ns: u64) -> Crowd {
        let pair = Differential::new(ModelScheduler::new(config), RustScheduler::new(config));
        let clients = config.waiters_max as usize;
        let mut crowd = Crowd { pair, kinds, clients, held_max_ns, answer: None };
        for &(weight, guaranteed, cap) in shares {
            crowd.play(Op::CreateTenant { weight, guaranteed, cap }).expect("an allowed share");
        }
        crowd
    }

    fn perform(&mut self, op: Op) -> Result<Response, String> {
        Ok(self.pair.play(op)?.response)
    }

    /// What the holder of a lease has consumed.
    fn progress_bytes(&self, at: usize) -> u64 {
        let lease = self.pair.model.leases()[at];
        let described = self.pair.model.system.describe_lease(lease).and_then(Result::ok).flatten();
        described.map_or(0, |lease_info| lease_info.progress_bytes)
    }

    /// Time passes without progress; hosts close the holders that are shed. When no deadline is left, no request waits.
    fn outlast(&mut self) -> Result<(), String> {
        let holders = self.pair.model.leases().len() + self.pair.model.waits().len();
        // Each holder is shed in its turn, after one park and at most two leases' time.
        for _ in 0..=4 * holders {
            while self.perform(Op::PollNotice)? != Response::Nothing {}
            loop {
                match self.perform(Op::PollReclaim)? {
                    Response::Demand { lease: Some(serial), kind: ReclaimKind::Shed, .. } => {
                        let number = self.pair.model.lease_number(serial);
                        let at = self.pair.model.leases().iter().position(|&lease| lease == number);
                        let at = at.ok_or("the lease that is shed is not held")?;
                        self.perform(Op::Release { lease: HandleRef::Live(at as u8) })?;
                    }
                    Response::Nothing => break,
                    _ => {}
                }
            }
            match self.pair.model.system.poll_timeout() {
                None if self.pair.system.system.stats().scheduler.waiting == 0 => return self.pair.compare(),
                None => return Err("I6: no deadline is left, and a request waits".into()),
                Some(now_ns) => self.perform(Op::Tick { now_ns })?,
            };
        }
        Err(format!("I6: a request still waits: {:?}", self.pair.model.system))
    }

    /// Every holder releases.
    fn drain(&mut self) -> Result<(), String> {
        for _ in 0..=self.pair.model.leases().len() + self.pair.model.waits().len() {
            while self.perform(Op::PollNotice)? != Response::Nothing {}
            while !self.pair.model.leases().is_empty() {
                self.perform(Op::Release { lease: HandleRef::Live(0) })?;
            }
        }
        let left = self.pair.system.system.stats().scheduler;
        if left.free == left.capacity && left.waiting == 0 {
            self.pair.compare()
        } else {
            Err(format!("I6: not all waiters are served: {left:?}"))
        }
    }
}

impl Instance for Crowd {
    type Op = Op;

    fn ops(&mut self) -> Vec<Op> {
        let (waits, leases) = (self.pair.model.waits().len(), self.pair.model.leases().len());
        let live = |at: usize| HandleRef::Live(at as u8);
        let mut ops = vec![Op::PollNotice];
        if waits + leases < self.clients {
            ops.extend(self.kinds.iter().map(|&(class, size_index, tenant)| {
                let tenant = tenant.map(HandleRef::Live);
                Op::Request { class, size_index, tenant, has_deadline: false }
            }));
        }
        ops.extend((0..waits).map(|at| Op::Cancel { wait: live(at) }));
        ops.extend((0..leases).map(|at| Op::Release { lease: live(at) }));
        if self.held_max_ns > 0 {
            ops.push(Op::PollReclaim);
            ops.extend((0..leases).map(|at| {
                let more = self.progress_bytes(at) < PROGRESS_MAX;
                Op::Progress { lease: live(at), bytes: more.into() }
            }));
            if self.pair.model.system.oldest_ns() < self.held_max_ns {
                ops.push(Op::Later { ns: 1 });
            }
        }
        ops
    }

    fn play(&mut self, op: Op) -> Result<(), String> {
        let answer = self.pair.play(op)?.response;
        if let Response::Refused(status) = answer {
            return Err(format!("an allowed operation is refused with {status}"));
        }
        self.answer = Some(answer);
        Ok(())
    }

    fn replay(&mut self, op: Op) {
        self.pair.answers_only = true;
        self.pair.play(op).expect("it was played before");
        self.pair.answers_only = false;
    }

    fn key(&self) -> u128 {
        let mut state = Vec::with_capacity(256);
        self.pair.state_key(&mut state);
        hash_of(&state)
    }

    fn sights(&mut self, see: &mut dyn FnMut(&'static str)) {
        let name = match self.answer {
            Some(Response::Lease(_)) => "granted at once",
            Some(Response::Wait(_)) => "queued",
            Some(Response::GrantedLease { .. }) => "granted by hand-off",
            Some(Response::Demand { kind: ReclaimKind::Park, .. }) => "asked to park",
            Some(Response::Demand { kind: ReclaimKind::Shed, .. }) => "to be shed",
            _ => "done",
        };
        see(name);
        let scheduler = self.pair.system.system.stats().scheduler;
        let states = [
            ("all is free", scheduler.free == scheduler.capacity),
            ("all is leased", scheduler.free == 0),
            ("one waits", scheduler.waiting > 0),
            ("one waits for what a reserve or a cap blocks", scheduler.waiting > 0 && scheduler.free > 0),
            ("a buffer is assigned", scheduler.assigned > 0),
            ("a waiter was bypassed", scheduler.bypass_peak > 0),
        ];
        states.into_iter().filter(|(_, holds)| *holds).for_each(|(name, _)| see(name));
    }

    fn finish(mut self) -> Result<(), String> {
        self.pair.answers_only = true;
        if self.held_max_ns > 0 {
            self.clone().outlast()?;
        }
        self.drain()
    }
}

/// The most bytes that are consumed from one lease; after that, progress of no bytes is still possible.
const PROGRESS_MAX: u64 = 2;

const SOMETIMES: [&str; 10] = [
    "granted at once",
    "queued",
    "granted by hand-off",
    "done",
    "all is free",
    "all is leased",
    "one waits",
    "one waits for what a reserve or a cap blocks",
    "a buffer is assigned",
    "a waiter was bypassed",
];
const DEADLINES: [&str; 2] = ["asked to park", "to be shed"];

/// Two classes; the less critical one leaves the last buffer to the other.
fn config(buffers: u32, clients: u32) -> SchedulerConfig {
    let mut config =
        SchedulerConfig { classes: 2, class_burst: 1, tenants_max: 2, ..SchedulerConfig::new(buffers, clients) };
    config.reserves[1] = 1;
    config
}

/// One tenant has twice the weight and a guarantee, the other a cap.
const SHARES: [(u32, u32, u32); 2] = [(2, 1, u32::MAX), (1, 0, 1)];

/// The number of clients: fewer where the library is not optimised.
const CLIENTS: u32 = if cfg!(debug_assertions) { 3 } else { 4 };

#[test]
fn turns() {
    const KINDS: [Kind; 5] = [(0, 0, Some(0)), (0, 0, Some(1)), (1, 0, Some(0)), (1, 0, Some(1)), (1, 0, None)];
    let crowd = Crowd::new(&config(2, CLIENTS), &SHARES, &KINDS, 0);
    close(&format!("{CLIENTS} clients of a pool of two buffers, two classes and two tenants"), &crowd, &SOMETIMES);
}

#[test]
fn sizes() {
    const KINDS: [Kind; 4] = [(0, 0, Some(0)), (0, 1, Some(1)), (1, 0, Some(1)), (1, 1, None)];
    let sizes = [2, 1, 0, 0];
    let crowd = Crowd::new(&SchedulerConfig { sizes, ..config(2, CLIENTS) }, &SHARES, &KINDS, 0);
    close(&format!("{CLIENTS} clients of a pool of two sizes"), &crowd, &SOMETIMES);
}

#[test]
fn deadlines() {
    const KINDS: [Kind; 4] = [(0, 0, Some(0)), (1, 0, None), (0, 0, Some(1)), (1, 0, Some(1))];
    let kinds = if cfg!(debug_assertions) { &KINDS[..2] } else { &KINDS };
    let (park_ns, lease_ns) = (Some(1), Some(2));
    let crowd = Crowd::new(&SchedulerConfig { park_ns, lease_ns, ..config(2, 3) }, &SHARES, kinds, 2);
    let sometimes = [SOMETIMES.as_slice(), &DEADLINES].concat();
    close("three clients of a pool of two buffers, two classes and two tenants, in time", &crowd, &sometimes);
}
