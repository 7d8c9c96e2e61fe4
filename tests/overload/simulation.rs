//! A proxy on the pure core, its peers and their transports, in virtual time: no sockets, no threads, no real clock.
//!
//! One seed is one run. The host does each action and nothing else, level-triggered. Each decoded byte is compared with
//! the sent one, and the invariants are checked meanwhile.

use crate::crowd::{Crowd, Habit};
use demuxbuf::connection::{Action, Actions, Event, Mode};
use demuxbuf::framing::h2::{FrameHeader, kind};
use demuxbuf::pool::{AttachOptions, Notice, Pool, PoolConfig, ReceiverId};
use demuxbuf::receiving::Totals;
use demuxbuf::scheduler::{TenantConfig, TenantId};
use demuxbuf_testkit::{EventLoop, Rng, Socket, frame, numbered};
use hdrhistogram::Histogram;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};

/// A millisecond.
pub(crate) const MS: u64 = 1_000_000;
/// The largest frame that fits into a buffer.
pub(crate) const FRAME_BYTES_MAX: u32 = 16_384;

const HEAD_BYTES: usize = 9;
/// Why the decoder of a peer is blocked: its frame is being worked on.
const IN_SERVICE: u32 = 1;
/// Far more than one event can cause: beyond this the host spins.
const STEPS_PER_EVENT_MAX: u64 = 10_000_000;

/// Something that happens at a time to a peer in its life of this number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Happening {
    Connect,
    Send,
    Served,
    Leave,
}

/// When something happens, in which order among equals, to which peer in which of its lives, and what.
type Planned = (u64, u64, usize, u32, Happening);

/// One peer and its transport.
struct Peer {
    crowd: usize,
    /// How often it connected: what was meant for an earlier life is void.
    life: u32,
    id: Option<ReceiverId>,
    tenant: Option<TenantId>,
    socket: Socket,
    /// The rest of the frame that it is sending, and how much of that it will ever send.
    unsent: Vec<u8>,
    sends: u32,
    /// When the first bytes of a frame that is not served were sent.
    began_ns: Option<u64>,
    /// When the last byte of each frame that is complete was sent.
    complete_ns: VecDeque<u64>,
    is_served: bool,
    is_queued: bool,
}

/// The results of one crowd.
pub(crate) struct CrowdReport {
    pub(crate) name: &'static str,
    pub(crate) peers: u32,
    /// Frames that were served.
    pub(crate) served: u64,
    /// Peers that were shed.
    pub(crate) shed: u64,
    /// From the arrival of the last byte of a frame until it was served, in microseconds.
    pub(crate) latency_us: Histogram<u64>,
}

/// The results of a run.
pub(crate) struct Report {
    pub(crate) crowds: Vec<CrowdReport>,
    pub(crate) totals: Totals,
    /// Events that were reported to the core.
    pub(crate) steps: u64,
    /// Hash of all events and answers, in order.
    pub(crate) trace: u64,
    /// From the moment at which a crowd left for good until nothing was waited for.
    pub(crate) recovery_ns: Option<u64>,
    /// Frames that were sent completely and are not served yet, at the end.
    pub(crate) unserved: u64,
}

/// The proxy and all peers that it serves.
pub(crate) struct Simulation {
    pool: Pool,
    grace_ns: u64,
    peers: Vec<Peer>,
    crowds: Vec<Crowd>,
    reports: Vec<CrowdReport>,
    agenda: BinaryHeap<Reverse<Planned>>,
    planned: u64,
    ready: VecDeque<usize>,
    now_ns: u64,
    /// Steps from one check of the invariants to the next.
    check_steps: u64,
    steps: u64,
    trace: DefaultHasher,
    rng: Rng,
    left_ns: Option<u64>,
    recovery_ns: Option<u64>,
}

impl Simulation {
    /// All peers of all crowds; each connects at some time in the first `gather_ns` of its crowd's stay.
    pub(crate) fn new(config: &PoolConfig, tenant_config: &TenantConfig, crowds: Vec<Crowd>, seed: u64) -> Simulation {
        let mut simulation = Simulation {
            pool: Pool::new(config).expect("the configuration is allowed"),
            grace_ns: config.frame_grace_ns,
            peers: Vec::new(),
            reports: crowds.iter().map(report_on).collect(),
            crowds,
            agenda: BinaryHeap::new(),
            planned: 0,
            ready: VecDeque::new(),
            now_ns: 0,
            // Each walks everything.
            check_steps: if config.receivers_max <= 300 { 1 } else { 20 * u64::from(config.receivers_max) },
            steps: 0,
            trace: DefaultHasher::new(),
            rng: Rng::with_seed(seed),
            left_ns: None,
            recovery_ns: None,
        };
        for crowd in 0..simulation.crowds.len() {
            let Crowd { peers, tenants, from_ns, gather_ns, .. } = simulation.crowds[crowd];
            let create = |_| simulation.pool.create_tenant(tenant_config).expect("there is room for each tenant");
            let tenants: Vec<TenantId> = (0..tenants).map(create).collect();
            for at in 0..peers as usize {
                let tenant = (!tenants.is_empty()).then(|| tenants[at % tenants.len()]);
                simulation.peers.push(Peer::new(crowd, tenant));
                let connects_ns = from_ns + simulation.rng.u64(0..=gather_ns);
                simulation.plan(simulation.peers.len() - 1, connects_ns, Happening::Connect);
            }
        }
        simulation
    }

    /// Lets time pass until then.
    pub(crate) fn run_until(&mut self, end_ns: u64) {
        loop {
            let planned_ns = self.agenda.peek().map(|Reverse(next)| next.0);
            let next_ns = [self.pool.poll_timeout(), planned_ns].into_iter().flatten().min();
            let Some(next_ns) = next_ns.filter(|&next_ns| next_ns <= end_ns) else { break };
            self.now_ns = self.now_ns.max(next_ns);
            self.pool.handle_timeout(self.now_ns);
            if planned_ns.is_some_and(|planned_ns| planned_ns <= self.now_ns) {
                let Reverse((_, _, at, life, happening)) = self.agenda.pop().expect("it was seen");
                self.happen(at, life, happening);
            }
            self.iterate();
            let is_later = |due_ns| due_ns > self.now_ns;
            assert!(self.pool.poll_timeout().is_none_or(is_later), "what was due is done: the host does not spin");
        }
        self.now_ns = end_ns;
        self.check();
    }

    /// How it went until now.
    pub(crate) fn report(self) -> Report {
        Report {
            totals: self.pool.totals(),
            crowds: self.reports,
            steps: self.steps,
            trace: self.trace.finish(),
            recovery_ns: self.recovery_ns,
            unserved: self.peers.iter().map(|peer| peer.complete_ns.len() as u64).sum(),
        }
    }

    fn plan(&mut self, at: usize, time_ns: u64, happening: Happening) {
        // The order of planning decides between equals.
        self.planned += 1;
        self.agenda.push(Reverse((time_ns, self.planned, at, self.peers[at].life, happening)));
    }

    fn plan_in(&mut self, at: usize, range_ns: (u64, u64), happening: Happening) {
        let after_ns = self.rng.u64(range_ns.0..=range_ns.1);
        self.plan(at, self.now_ns.saturating_add(after_ns), happening);
    }

    fn habit(&self, at: usize) -> Habit {
        self.crowds[self.peers[at].crowd].habit
    }

    fn happen(&mut self, at: usize, life: u32, happening: Happening) {
        if life != self.peers[at].life {
            return;
        }
        match happening {
            Happening::Connect => self.connect(at),
            Happening::Send => self.send(at),
            Happening::Served => {
                self.peers[at].is_served = true;
                self.report(at, Event::Unblock { reasons: IN_SERVICE });
                self.act(at);
            }
            Happening::Leave => self.leave(at),
        }
    }

    fn connect(&mut self, at: usize) {
        if self.now_ns >= self.crowds[self.peers[at].crowd].until_ns {
            return;
        }
        let id = self.pool.attach(&AttachOptions::new(0, at as u64)).expect("the table has room for every peer");
        self.pool.set_tenant(id, self.peers[at].tenant).expect("tenants stay");
        self.peers[at].id = Some(id);
        let Habit { stays_ns, think_ns, .. } = self.habit(at);
        let crowd = &self.crowds[self.peers[at].crowd];
        self.plan(at, (self.now_ns.saturating_add(stays_ns)).min(crowd.until_ns), Happening::Leave);
        self.plan_in(at, (0, think_ns.1), Happening::Send);
        self.act(at);
    }

    /// Sends the next piece of a frame.
    fn send(&mut self, at: usize) {
        let habit = self.habit(at);
        if self.peers[at].unsent.is_empty() {
            let frame_bytes = self.rng.u32(habit.frame_bytes.0..=habit.frame_bytes.1);
            let payload = numbered(self.rng.u8(..).into(), HEAD_BYTES as u64..frame_bytes.into());
            self.peers[at].unsent = frame(kind::DATA, 0, 1, &payload);
            self.peers[at].sends = habit.sends_bytes.min(frame_bytes);
        }
        let piece_bytes = self.rng.u32(habit.piece_bytes.0..=habit.piece_bytes.1);
        let peer = &mut self.peers[at];
        let piece_bytes = piece_bytes.min(peer.sends);
        peer.sends -= piece_bytes;
        peer.began_ns.get_or_insert(self.now_ns);
        peer.socket.send(&peer.unsent[..piece_bytes as usize]);
        peer.unsent.drain(..piece_bytes as usize);
        let (is_complete, goes_on) = (peer.unsent.is_empty(), peer.sends > 0);
        if is_complete {
            peer.complete_ns.push_back(self.now_ns);
        }
        if goes_on {
            self.plan_in(at, habit.pause_ns, Happening::Send);
        }
        self.look(at);
    }

    /// The peer goes: its connection is closed with whatever it holds.
    fn leave(&mut self, at: usize) {
        let Habit { returns_ns, .. } = self.habit(at);
        let Crowd { until_ns, .. } = self.crowds[self.peers[at].crowd];
        let peer = &mut self.peers[at];
        let (crowd, tenant, is_queued) = (peer.crowd, peer.tenant, peer.is_queued);
        let life = peer.life + 1;
        let id = peer.id.take().expect("a peer that leaves is connected");
        *peer = Peer { life, is_queued, ..Peer::new(crowd, tenant) };
        let actions = self.pool.handle(id, Event::Close);
        assert_eq!(actions, Ok(Action::Finished.into()), "closing ends everything");
        self.count_step(at, Event::Close, Actions::NONE);
        if self.now_ns.saturating_add(returns_ns.0) < until_ns {
            self.plan_in(at, returns_ns, Happening::Connect);
        } else {
            self.left_ns = Some(self.now_ns);
            self.recovery_ns = None;
        }
    }

    /// All that can be done now.
    fn iterate(&mut self) {
        let first_step = self.steps;
        loop {
            if let Some(at) = self.ready.pop_front() {
                self.peers[at].is_queued = false;
                if let Some(event) = self.socket(at).and_then(Socket::poll) {
                    self.report(at, event);
                    self.act(at);
                }
            } else if let Some(at) = self.poll_notice() {
                self.act(at);
            } else {
                break;
            }
            assert!(self.steps - first_step < STEPS_PER_EVENT_MAX, "the host comes to rest");
        }
        if self.left_ns.is_some() && self.recovery_ns.is_none() && !self.is_waited_for() {
            self.recovery_ns = self.left_ns.map(|left_ns| self.now_ns - left_ns);
        }
    }

    /// Whether a connection waits for memory.
    fn is_waited_for(&self) -> bool {
        let mut ids = self.peers.iter().filter_map(|peer| peer.id);
        ids.any(|id| self.pool.connection(id).expect("the handle is live").is_waiting())
    }

    /// Level-triggered read interest: reported for as long as bytes are there.
    fn look(&mut self, at: usize) {
        let peer = &mut self.peers[at];
        if !peer.is_queued && peer.socket.is_due() {
            peer.is_queued = true;
            self.ready.push_back(at);
        }
    }

    /// Does what is to be done for one peer.
    fn act(&mut self, at: usize) {
        self.run(at);
        self.look(at);
    }

    /// The pool asks to close this one; never one whose frame began less than a grace ago, unless its tenant may have
    /// more than others.
    fn shed(&mut self, at: usize) {
        let id = self.peers[at].id.expect("it is connected");
        assert!(self.pool.describe(id).expect("the handle is live").shed_reason.is_some());
        let since_ns = self.peers[at].began_ns.expect("it holds or waits for something");
        let is_in_time = self.now_ns - since_ns < self.grace_ns;
        assert!(!is_in_time || self.peers[at].tenant.is_some(), "{} ns are no grace", self.now_ns - since_ns);
        self.reports[self.peers[at].crowd].shed += 1;
        self.leave(at);
    }

    fn count_step(&mut self, at: usize, event: Event, actions: Actions) {
        self.steps += 1;
        (self.now_ns, at, event, actions).hash(&mut self.trace);
        if self.steps % self.check_steps == 0 {
            self.check();
        }
    }

    fn check(&self) {
        self.pool.check_invariants().expect("the invariants hold");
    }
}

impl EventLoop for Simulation {
    fn connections(&self) -> usize {
        self.peers.len()
    }

    fn socket(&mut self, at: usize) -> Option<&mut Socket> {
        let peer = &mut self.peers[at];
        peer.id.is_some().then_some(&mut peer.socket)
    }

    fn socket_and_area(&mut self, at: usize) -> (&mut Socket, &mut [u8]) {
        let peer = &mut self.peers[at];
        let id = peer.id.expect("it is connected");
        (&mut peer.socket, self.pool.receive_area(id).expect("the handle is live"))
    }

    fn pending(&self, at: usize) -> Actions {
        self.pool.pending(self.peers[at].id.expect("it is connected")).expect("the handle is live")
    }

    fn report(&mut self, at: usize, event: Event) -> Actions {
        let peer = &mut self.peers[at];
        peer.socket.follow(event);
        let answer = self.pool.handle(peer.id.expect("it is connected"), event);
        let actions = answer.unwrap_or_else(|error| panic!("{event:?} is refused: {error}"));
        self.count_step(at, event, actions);
        actions
    }

    fn acknowledge(&mut self, at: usize, actions: Actions) {
        assert!(!actions.has(Action::CannotFit), "each frame fits");
        if actions.has(Action::Shed) {
            return self.shed(at);
        }
        self.peers[at].socket.acknowledge(actions);
        self.report(at, Event::done(actions));
    }

    /// Decodes one frame, if it is there and was worked on.
    fn decode(&mut self, at: usize) {
        let peer = &mut self.peers[at];
        let data = self.pool.data(peer.id.expect("it is connected")).expect("the handle is live");
        assert!(data == peer.socket.buffered(), "order and content");
        let frame_bytes = match data.first_chunk() {
            Some(head) => FrameHeader::decode(head).frame_bytes() as usize,
            None => HEAD_BYTES,
        };
        if data.len() < frame_bytes {
            let bytes = (frame_bytes - data.len()) as u32;
            self.report(at, Event::NeedMore { bytes });
            return;
        }
        let service_ns = self.crowds[peer.crowd].habit.service_ns;
        if !peer.is_served && service_ns > 0 {
            self.report(at, Event::Block { reasons: IN_SERVICE });
            return self.plan(at, self.now_ns + service_ns, Happening::Served);
        }
        peer.is_served = false;
        peer.began_ns = None;
        let complete_ns = peer.complete_ns.pop_front().expect("the frame is complete");
        let report = &mut self.reports[peer.crowd];
        report.served += 1;
        report.latency_us.record((self.now_ns - complete_ns) / 1_000).expect("it grows with what is recorded");
        self.report(at, Event::Consumed { bytes: frame_bytes as u32 });
        let think_ns = self.habit(at).think_ns;
        self.plan_in(at, think_ns, Happening::Send);
    }

    fn poll_notice(&mut self) -> Option<usize> {
        let Notice::Receiver { id, token, .. } = self.pool.poll_notice()? else {
            panic!("the host asks for no buffers of its own");
        };
        assert_eq!(self.peers[token as usize].id, Some(id), "a grant names a live receiver");
        Some(token as usize)
    }
}

impl Peer {
    fn new(crowd: usize, tenant: Option<TenantId>) -> Peer {
        Peer {
            crowd,
            life: 0,
            id: None,
            tenant,
            socket: Socket::new(Mode::Level, &[]),
            unsent: Vec::new(),
            sends: 0,
            began_ns: None,
            complete_ns: VecDeque::new(),
            is_served: false,
            is_queued: false,
        }
    }
}

fn report_on(crowd: &Crowd) -> CrowdReport {
    let latency_us = Histogram::new(3).expect("three digits are allowed");
    CrowdReport { name: crowd.name, peers: crowd.peers, served: 0, shed: 0, latency_us }
}
