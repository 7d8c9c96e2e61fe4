//! The network, and the host's event loop: it advances the clock, reports what is readable in a random order, and then
//! drains the notices.

mod host;

use super::cases::{Case, FIRST_BYTES};
use super::clients::{Behaviour, Client, FRAME_BYTES_MAX, KERNEL_BYTES_MAX, KINDS, UPLOAD_FRAMES};
use super::{MS, Outcome, Random, S};
use crate::receiving_system::{RATE_MIN, Reason, ReceivingConfig, ReceivingSystem};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

const ROUND_TRIP_NS: u64 = MS;
/// From the first arrival to the iteration that reports it, and between two iterations.
const ITERATION_NS: u64 = 200_000;
const ITERATION_NS_MIN: u64 = 50_000;
/// Receives of one receiver in one iteration.
const RECEIVES_MAX: u32 = 64;

/// A run.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Honest clients of each kind.
    pub honest_each: u32,
    /// Attackers, and what they do.
    pub attackers: u32,
    /// What they do.
    pub case: Case,
    /// How long after the first second, in which attackers come.
    pub seconds: u64,
    /// Chooses the run.
    pub seed: u64,
    /// The host receives for three receivers before it decodes for the first, and leases buffers for itself.
    pub is_nesting: bool,
    /// Attackers are of tenant 1, honest clients of tenant 2; else all are of the default one.
    pub are_apart: bool,
    /// All clients leave partial frames in the kernel.
    pub are_counting: bool,
    /// The most that the kernel holds for a connection.
    pub kernel_bytes_max: u32,
}

impl Settings {
    /// One honest client of each kind, and no attackers.
    pub fn new(case: Case) -> Settings {
        Settings {
            honest_each: 1,
            attackers: 0,
            case,
            seconds: 3,
            seed: 1,
            is_nesting: false,
            are_apart: false,
            are_counting: false,
            kernel_bytes_max: KERNEL_BYTES_MAX,
        }
    }
}

/// Something that happens to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Happening {
    Segment(u32),
    More,
    Request,
    Refill,
    Unblock,
}

/// When, in which order among equals, to which client in which of its lives, and what.
type Planned = (u64, u64, usize, u32, Happening);

/// The clients, and the host that serves them.
pub struct Simulation<S> {
    /// What receives are played on.
    pub system: S,
    config: ReceivingConfig,
    settings: Settings,
    clients: Vec<Client>,
    agenda: BinaryHeap<Reverse<Planned>>,
    planned: u64,
    now: u64,
    /// Host time of the last advance, and pool time.
    advanced_at: u64,
    pool_ns: u64,
    ready: Vec<usize>,
    /// Clients for which there was nothing to borrow: they come first in the next iteration.
    delayed: Vec<usize>,
    /// Held content that the host may decode.
    unblocked: Vec<usize>,
    iteration: Option<u64>,
    leases: u32,
    random: Random,
    answered: [u64; KINDS.len()],
    longest: [u64; KINDS.len()],
    honest_shed: u64,
    shed_in_time: BTreeMap<(usize, Reason), u64>,
    attackers_shed: u64,
    calls: u64,
    zeros: Vec<u8>,
}

impl<S: ReceivingSystem> Simulation<S> {
    /// Honest clients, which come in the first 20 ms after the first second, and attackers, which come in the 100 ms
    /// after its half. The configuration has room for that number of receivers.
    pub fn new(system: S, config: ReceivingConfig, settings: Settings) -> Simulation<S> {
        let mut simulation = Simulation {
            system,
            config,
            settings,
            clients: Vec::new(),
            agenda: BinaryHeap::new(),
            planned: 0,
            now: 0,
            advanced_at: 0,
            pool_ns: 0,
            ready: Vec::new(),
            delayed: Vec::new(),
            unblocked: Vec::new(),
            iteration: None,
            leases: 0,
            random: Random::new(settings.seed),
            answered: [0; KINDS.len()],
            longest: [0; KINDS.len()],
            honest_shed: 0,
            shed_in_time: BTreeMap::new(),
            attackers_shed: 0,
            calls: 0,
            zeros: vec![0; config.buffer_bytes as usize],
        };
        simulation.system.advance(0);
        simulation.add_clients();
        simulation
    }

    /// Receivers that the configuration of such a run needs.
    pub fn receivers(settings: &Settings) -> u32 {
        settings.honest_each * KINDS.len() as u32 + settings.attackers
    }

    fn add_clients(&mut self) {
        let Settings { honest_each, attackers, case, .. } = self.settings;
        for number in 0..honest_each as usize * KINDS.len() {
            let kind = number % KINDS.len();
            let (_, behaviour, bytes) = KINDS[kind];
            self.clients.push(Client::new(behaviour, Some(kind), bytes, true));
            let after = self.random.below(20 * MS);
            self.plan(S + after, number, Happening::Request);
        }
        let behaviours = [
            Behaviour::Static,
            Behaviour::Drip,
            Behaviour::BackToBack,
            Behaviour::OneByte,
            Behaviour::Complete,
            Behaviour::Fast,
            Behaviour::Blocked,
        ];
        for _ in 0..attackers {
            let (mut behaviour, mut bytes) = (case.behaviour, case.first_bytes);
            if case.is_mixed {
                behaviour = behaviours[self.random.below(behaviours.len() as u64) as usize];
                bytes = FIRST_BYTES[self.random.below(FIRST_BYTES.len() as u64) as usize];
            }
            let number = self.clients.len();
            self.clients.push(Client::new(behaviour, None, bytes, case.reconnects));
            let after = self.random.below(100 * MS);
            self.plan(S / 2 + after, number, Happening::Request);
        }
    }

    fn plan(&mut self, after: u64, client: usize, happening: Happening) {
        self.planned += 1;
        let life = self.clients[client].life;
        self.agenda.push(Reverse((self.now + after, self.planned, client, life, happening)));
    }

    fn schedule(&mut self, at: u64) {
        self.iteration = Some(self.iteration.map_or(at, |known| known.min(at)));
    }

    /// Runs to the end, and returns what became of the clients.
    pub fn run(mut self) -> Outcome {
        let end = (1 + self.settings.seconds) * S;
        loop {
            let happens = self.agenda.peek().map_or(u64::MAX, |Reverse(planned)| planned.0);
            let iterates = self.iteration.unwrap_or(u64::MAX);
            if happens.min(iterates) > end {
                break;
            }
            self.now = happens.min(iterates);
            if iterates <= happens {
                self.iterate();
            } else if let Some(Reverse((_, _, client, life, happening))) = self.agenda.pop() {
                if life == self.clients[client].life {
                    self.happen(client, happening);
                }
            }
        }
        self.now = end;
        self.outcome()
    }

    fn outcome(mut self) -> Outcome {
        let mut totals = self.system.totals();
        let claims = (0..self.clients.len()).filter(|&client| self.clients[client].is_attached);
        let since = claims.filter_map(|client| self.system.facts(client as u32).claim_since).min();
        totals.longest_claim_ns = totals.longest_claim_ns.max(since.map_or(0, |since| self.pool_ns - since));
        for client in &self.clients {
            if let (Some(kind), Some(request)) = (client.kind, client.request) {
                self.longest[kind] = self.longest[kind].max(self.now - request);
            }
        }
        Outcome {
            answered: self.answered,
            longest_ns: self.longest,
            honest_shed: self.honest_shed,
            shed_in_time: self.shed_in_time,
            attackers_shed: self.attackers_shed,
            longest_claim_ns: totals.longest_claim_ns,
            calls: self.calls,
            totals,
        }
    }
}

/// The network.
impl<S: ReceivingSystem> Simulation<S> {
    fn happen(&mut self, client: usize, happening: Happening) {
        match happening {
            Happening::Segment(bytes) => self.segment(client, bytes),
            Happening::More => self.more(client),
            Happening::Request => self.request(client),
            Happening::Refill => self.refill(client),
            Happening::Unblock => {
                self.unblocked.push(client);
                self.schedule(self.now + ITERATION_NS);
            }
        }
    }

    /// Something reaches the server's kernel, as far as that has room.
    fn segment(&mut self, client: usize, bytes: u32) {
        self.clients[client].pending += bytes;
        self.refill(client);
    }

    fn refill(&mut self, client: usize) {
        let state = &mut self.clients[client];
        let bytes = state.pending.min(self.settings.kernel_bytes_max - state.kernel);
        state.pending -= bytes;
        state.arrive(bytes, self.now);
        if bytes > 0 {
            self.report(client);
        }
    }

    /// The kernel holds no more.
    fn is_full(&self, client: usize) -> bool {
        self.clients[client].kernel == self.settings.kernel_bytes_max
    }

    /// The kernel reports what it has, if that reaches the mark.
    fn report(&mut self, client: usize) {
        if self.clients[client].kernel >= self.clients[client].mark || self.is_full(client) {
            self.note_ready(client);
        }
    }

    /// The host sets the mark that is wanted, if that is another one; the kernel reports anew then.
    fn set_mark(&mut self, client: usize) {
        if !self.settings.are_counting || !self.clients[client].is_attached {
            return;
        }
        let mark = self.system.facts(client as u32).mark.max(1);
        if mark != std::mem::replace(&mut self.clients[client].mark, mark) {
            self.calls += 1;
            self.report(client);
        }
    }

    fn note_ready(&mut self, client: usize) {
        if !std::mem::replace(&mut self.clients[client].is_ready, true) {
            self.ready.push(client);
            self.schedule(self.now + ITERATION_NS);
        }
    }

    /// A client begins a request, or an attacker its attack, perhaps with another connection.
    fn request(&mut self, client: usize) {
        if !self.clients[client].is_attached {
            self.clients[client].is_attached = true;
            self.system.attach(client as u32, false);
            if self.settings.are_counting {
                self.system.set_counts(client as u32, true);
            }
            if self.settings.are_apart {
                let is_honest = self.clients[client].kind.is_some();
                self.system.set_tenant(client as u32, if is_honest { 2 } else { 1 });
            }
        }
        let now = self.now;
        let state = &mut self.clients[client];
        if state.kind.is_some() {
            state.request.get_or_insert(now);
        }
        state.next_frame();
        let (behaviour, bytes) = (state.behaviour, state.bytes);
        state.frames_left = 1;
        let half_trip = ROUND_TRIP_NS / 2;
        match behaviour {
            Behaviour::Whole | Behaviour::Growing | Behaviour::HeldBriefly => {
                self.plan(half_trip, client, Happening::Segment(bytes));
            }
            Behaviour::Halves => {
                self.plan(half_trip, client, Happening::Segment(bytes / 2));
                self.plan(half_trip + 20 * MS, client, Happening::Segment(bytes - bytes / 2));
            }
            Behaviour::Edge => {
                let allowance = self.config.frame_grace_ns + u64::from(bytes) * S / RATE_MIN;
                self.plan(half_trip, client, Happening::Segment(bytes - 1));
                self.plan(half_trip + allowance - 2 * MS, client, Happening::Segment(1));
            }
            Behaviour::Slow => {
                for (number, from) in (0..bytes).step_by(1_000).enumerate() {
                    let piece = (bytes - from).min(1_000);
                    self.plan(half_trip + number as u64 * 100 * MS, client, Happening::Segment(piece));
                }
            }
            Behaviour::Upload | Behaviour::UploadInPieces => {
                let state = &mut self.clients[client];
                (state.frames_left, state.unsent) = (UPLOAD_FRAMES, UPLOAD_FRAMES * FRAME_BYTES_MAX);
                self.plan(half_trip, client, Happening::More);
            }
            _ => self.attack(client),
        }
    }

    fn attack(&mut self, client: usize) {
        let (behaviour, bytes) = (self.clients[client].behaviour, self.clients[client].bytes);
        let random = self.random.below(100) * MS;
        if behaviour == Behaviour::Fast {
            return self.plan(random, client, Happening::More);
        }
        let first = if behaviour == Behaviour::Blocked { FRAME_BYTES_MAX } else { bytes };
        self.plan(ROUND_TRIP_NS / 2, client, Happening::Segment(first));
        match behaviour {
            Behaviour::OneByte => self.plan(1_900 * MS, client, Happening::More),
            Behaviour::Complete => self.plan(1_900 * MS - random, client, Happening::More),
            Behaviour::Drip | Behaviour::BackToBack => self.plan(100 * MS + random, client, Happening::More),
            _ => {}
        }
    }

    fn more(&mut self, client: usize) {
        let state = &mut self.clients[client];
        let (bytes, pause) = match state.behaviour {
            Behaviour::OneByte => (1, 1_900 * MS),
            Behaviour::Drip | Behaviour::BackToBack => (25, 100 * MS),
            Behaviour::Complete => ((state.bytes + 100).min(FRAME_BYTES_MAX), 1_900 * MS),
            Behaviour::Fast => (1_000, 100 * MS),
            _ if state.unsent == 0 => return,
            _ if state.pending > 0 => (0, ROUND_TRIP_NS),
            _ => {
                let bytes = state.unsent.min(8_192);
                state.unsent -= bytes;
                (bytes, 100_000)
            }
        };
        // The network of an attacker holds at most 1 MiB.
        let bytes = if state.kind.is_none() { bytes.min((1 << 20) - state.pending) } else { bytes };
        self.plan(pause, client, Happening::More);
        self.segment(client, bytes);
    }
}
