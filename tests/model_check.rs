//! What model checkers read: numbers that differ between two states if their futures differ, and independent copies.

use demuxbuf::connection::Event;
use demuxbuf::pool::{AttachOptions, LeasedContent, Notice, Pool, PoolConfig, ReceiverId};
use demuxbuf::scheduler::{
    LeaseId, Outcome, Reclaim, ReclaimKind, Request, Scheduler, SchedulerConfig, TenantConfig, TenantId, WaitId,
};
use std::collections::HashMap;
use std::collections::hash_map::Entry;

const PARK_NS: u64 = 10;
const LEASE_NS: u64 = 20;

/// A pool and its leases, by the numbers that model checkers have for them.
struct Played {
    scheduler: Scheduler,
    leases: Vec<LeaseId>,
    now_ns: u64,
}

impl Played {
    fn new(config: SchedulerConfig, from_ns: u64) -> Played {
        let mut scheduler = Scheduler::new(&config).expect("the configuration is allowed");
        scheduler.handle_timeout(from_ns);
        Played { scheduler, leases: Vec::new(), now_ns: from_ns }
    }

    /// Advances the clock by steps that count.
    fn advance(&mut self, now_ns: u64) {
        (self.now_ns..=now_ns).for_each(|now_ns| self.scheduler.handle_timeout(now_ns));
        self.now_ns = now_ns;
    }

    fn timed(buffers: u32, tenants_max: u32, from_ns: u64) -> Played {
        let config = SchedulerConfig {
            park_ns: Some(PARK_NS),
            lease_ns: Some(LEASE_NS),
            tenants_max,
            ..SchedulerConfig::new(buffers, 4)
        };
        Played::new(config, from_ns)
    }

    fn request(&mut self, request: &Request) -> Outcome {
        let outcome = self.scheduler.request_for(request).expect("it may be asked for");
        if let Outcome::Granted(lease) = outcome {
            self.leases.push(lease);
        }
        outcome
    }

    /// Takes one more lease.
    fn take(&mut self, request: &Request) {
        assert!(matches!(self.request(request), Outcome::Granted(_)));
    }

    /// Queues one more request.
    fn wait(&mut self, request: &Request) {
        assert!(matches!(self.request(request), Outcome::Queued(_)));
    }

    fn asked(&mut self) -> Option<(usize, ReclaimKind)> {
        let Reclaim { lease, kind, .. } = self.scheduler.poll_reclaim()?;
        Some((self.number(lease) as usize, kind))
    }

    fn granted(&mut self) -> Option<u64> {
        let grant = self.scheduler.poll_grant()?;
        self.leases.push(grant.lease);
        Some(grant.token)
    }

    fn number(&self, lease: LeaseId) -> u64 {
        self.leases.iter().position(|&held| held == lease).expect("it is held") as u64
    }

    fn numbers(&self) -> Vec<u64> {
        let mut state = Vec::new();
        let wait = |wait: WaitId| self.scheduler.describe_wait(wait).expect("it waits").token;
        self.scheduler.state_key(&mut state, &wait, &|lease| self.number(lease));
        state
    }
}

fn plain(token: u64) -> Request {
    Request::new(0, token)
}

fn timed(token: u64) -> Request {
    Request { has_deadline: true, ..Request::new(0, token) }
}

fn of(tenant: TenantId, request: Request) -> Request {
    Request { tenant: Some(tenant), ..request }
}

#[test]
fn state_key_differs_by_order_of_waiters() {
    let waiting = |tokens: [u64; 2]| {
        let mut played = Played::new(SchedulerConfig::new(1, 4), 0);
        played.take(&plain(0));
        tokens.iter().for_each(|&token| played.wait(&plain(token)));
        played
    };
    let [mut first, mut second] = [waiting([1, 2]), waiting([2, 1])];
    assert_ne!(first.numbers(), second.numbers());
    for played in [&mut first, &mut second] {
        played.scheduler.release(played.leases[0]).expect("it is held");
    }
    assert_eq!((first.granted(), second.granted()), (Some(1), Some(2)));
    assert_eq!(waiting([1, 2]).numbers(), waiting([1, 2]).numbers());
}

#[test]
fn state_key_differs_between_assigned_and_leased() {
    let mut played = Played::new(SchedulerConfig::new(1, 4), 0);
    played.take(&plain(0));
    played.wait(&plain(1));
    let queued = played.numbers();
    played.scheduler.release(played.leases[0]).expect("it is held");
    let assigned = played.numbers();
    assert_eq!(played.granted(), Some(1));
    let held = played.numbers();
    assert!(queued != assigned && assigned != held && held != queued);
}

#[test]
fn state_key_differs_by_holder() {
    let holding = |class| {
        let mut played =
            Played::new(SchedulerConfig { classes: 2, class_caps: [1; 8], ..SchedulerConfig::new(3, 4) }, 0);
        played.take(&Request::new(class, 0));
        played
    };
    let [mut first, mut second] = [holding(0), holding(1)];
    assert_ne!(first.numbers(), second.numbers());
    let again = |played: &mut Played| matches!(played.request(&Request::new(0, 1)), Outcome::Granted(_));
    assert_eq!((again(&mut first), again(&mut second)), (false, true));
}

/// Three holders have leases of the same age. Only their order distinguishes the last two.
#[test]
fn state_key_differs_by_order_of_equal_holders() {
    let holding = |goes_back: bool| {
        let mut played = Played::timed(3, 0, 100);
        (0..3).for_each(|token| played.take(&timed(token)));
        if goes_back {
            played.scheduler.progress(played.leases[1], 0).expect("it is held");
        }
        played.wait(&plain(3));
        played
    };
    let [mut first, mut second] = [holding(false), holding(true)];
    assert_ne!(first.numbers(), second.numbers());
    let order = |played: &mut Played| {
        played.advance(100 + PARK_NS);
        [(); 3].map(|()| played.asked().expect("all are idle").0)
    };
    assert_eq!((order(&mut first), order(&mut second)), ([0, 1, 2], [0, 2, 1]));
}

/// The leases of two holders have expired. One holder was asked to leave and released its buffer; two requests wait
/// still. The other holder, which consumed enough to cost nothing, is asked at `asked_ns`.
fn one_is_to_be_shed(from_ns: u64, asked_ns: Option<u64>, now_ns: u64) -> Played {
    let mut played = Played::timed(2, 3, from_ns);
    (0..2).for_each(|token| played.take(&timed(token)));
    played.scheduler.progress(played.leases[1], 1000).expect("it is held");
    (2..5).for_each(|token| played.wait(&plain(token)));
    played.advance(from_ns + PARK_NS);
    while played.asked().is_some() {}
    played.advance(from_ns + LEASE_NS);
    assert_eq!(played.asked(), Some((0, ReclaimKind::Shed)));
    played.scheduler.release(played.leases[0]).expect("it is held");
    assert_eq!(played.granted(), Some(2));
    if let Some(asked_ns) = asked_ns {
        played.advance(from_ns + asked_ns);
        assert_eq!(played.asked(), Some((1, ReclaimKind::Shed)));
    }
    played.advance(from_ns + now_ns);
    played
}

/// The key differs by whether a holder was asked to leave, and by how long ago that was.
#[test]
fn state_key_differs_by_time_of_the_shed_request() {
    let [mut not, mut now] = [None, Some(LEASE_NS)].map(|asked_ns| one_is_to_be_shed(100, asked_ns, LEASE_NS));
    assert_ne!(not.numbers(), now.numbers());
    assert_eq!((not.asked(), now.asked()), (Some((1, ReclaimKind::Shed)), None));

    let [mut long, mut short] =
        [LEASE_NS, LEASE_NS + 2].map(|asked_ns| one_is_to_be_shed(100, Some(asked_ns), LEASE_NS + 3));
    assert_ne!(long.numbers(), short.numbers());
    for played in [&mut long, &mut short] {
        played.advance(100 + 2 * LEASE_NS);
    }
    assert_eq!((long.asked(), short.asked()), (Some((1, ReclaimKind::Shed)), None));
}

/// One holder was to be shed and released its buffer. The other made progress a lease ago and was polled `noticed`
/// times since.
fn one_is_late(bytes: u64, noticed: usize) -> Played {
    let mut played = Played::timed(2, 0, 0);
    (0..2).for_each(|token| played.take(&timed(token)));
    (2..4).for_each(|token| played.wait(&plain(token)));
    played.advance(PARK_NS);
    assert_eq!(played.asked(), Some((0, ReclaimKind::Park)));
    played.scheduler.progress(played.leases[1], bytes).expect("it is held");
    played.advance(2 * PARK_NS - 1);
    played.scheduler.progress(played.leases[1], 0).expect("it is held");
    played.advance(LEASE_NS);
    assert_eq!(played.asked(), Some((0, ReclaimKind::Shed)));
    played.advance(2 * LEASE_NS - 1);
    let asked = [Some((1, ReclaimKind::Park)), None];
    (0..noticed).for_each(|at| assert_eq!(played.asked(), asked[at]));
    played.scheduler.release(played.leases[0]).expect("it is held");
    assert_eq!(played.granted(), Some(2));
    played
}

/// A holder that was asked for nothing, one that was asked to park, and one that is to be shed, at the same ages.
#[test]
fn state_key_differs_by_reclaim_request() {
    // A holder that held a buffer for 39 ns and consumed this many bytes costs 1, 2, 5 or 39.
    for bytes in [38, 18, 6, 0] {
        let mut late = [0, 1, 2].map(|noticed| one_is_late(bytes, noticed));
        let [not, parks, sheds] = late.each_ref().map(Played::numbers);
        assert!(not != parks && parks != sheds && sheds != not, "{bytes} bytes");
        let asked = late.each_mut().map(|played| played.asked().map(|(_, kind)| kind));
        assert_eq!(asked, [ReclaimKind::Park, ReclaimKind::Shed, ReclaimKind::Shed].map(Some));
    }
}

#[test]
fn state_key_is_equal_at_another_time() {
    let numbers = |from_ns| one_is_to_be_shed(from_ns, Some(LEASE_NS), LEASE_NS + 3).numbers();
    assert_eq!(numbers(100), numbers(100_000));
}

/// Two tenants' caps began to block a waiter, in one or the other order, while no request needed their buffers.
#[test]
fn state_key_differs_by_turn_of_capped_tenants() {
    let blocked = |order: [usize; 2]| {
        let mut played = Played::timed(5, 3, 100);
        let tenant_config = TenantConfig { cap: 1, ..TenantConfig::default() };
        let tenants = [(); 3].map(|()| played.scheduler.create_tenant(&tenant_config).expect("there is room"));
        tenants.iter().for_each(|&tenant| played.take(&of(tenant, timed(0))));
        played.wait(&of(tenants[2], plain(9)));
        played.advance(100 + PARK_NS);
        assert_eq!(played.asked(), Some((2, ReclaimKind::Park)));
        assert_eq!(played.asked(), None);
        order.iter().for_each(|&at| played.wait(&of(tenants[at], plain(at as u64))));
        played
    };
    let [mut first, mut second] = [blocked([0, 1]), blocked([1, 0])];
    assert_ne!(first.numbers(), second.numbers());
    assert_eq!((first.asked(), second.asked()), (Some((0, ReclaimKind::Park)), Some((1, ReclaimKind::Park))));
}

/// Eight buffers of 256 bytes, of which one is cut into cells for partial frames of up to 64 bytes.
fn pool() -> Pool {
    Pool::new(&PoolConfig { buffer_bytes: 256, ..PoolConfig::new(8 * 256, 3) }).expect("the configuration is allowed")
}

const STEP_NS: u64 = 125_000_000;

/// A pool and what its host knows of it.
#[derive(Clone)]
struct Host {
    pool: Pool,
    /// By token.
    ids: [ReceiverId; 3],
    leases: Vec<LeaseId>,
    waits: Vec<WaitId>,
    now_ns: u64,
}

impl Host {
    fn new(now_ns: u64) -> Host {
        let mut pool = pool();
        pool.handle_timeout(now_ns);
        let ids = [0, 1, 2].map(|token| pool.attach(&AttachOptions::new(0, token)).expect("there is room"));
        Host { pool, ids, leases: Vec::new(), waits: Vec::new(), now_ns }
    }

    /// A host that leaves this number of free buffers to receivers.
    fn with_free(now_ns: u64, free: u32) -> Host {
        let mut host = Host::new(now_ns);
        while host.pool.memory().free_buffers() > free {
            host.request();
        }
        host
    }

    fn request(&mut self) -> bool {
        match self.pool.request(0, 0) {
            Ok(Outcome::Granted(lease)) => self.leases.push(lease),
            Ok(Outcome::Queued(wait)) => self.waits.push(wait),
            Err(_) => return false,
        }
        true
    }

    fn handle(&mut self, role: usize, event: Event) -> String {
        format!("{:?}", self.pool.handle(self.ids[role], event))
    }

    /// Receives at most as many bytes; the decoder consumes some of them and needs more.
    fn receive(&mut self, role: usize, bytes: u32, consumed: u32, needed: u32) -> String {
        let first = self.handle(role, Event::Readable);
        let room = self.pool.receive_area(self.ids[role]).expect("it is attached").len() as u32;
        let bytes = bytes.min(room);
        let second = if bytes > 0 { self.handle(role, Event::Received { bytes }) } else { String::new() };
        format!("{first} {room} {second} {:?}", self.pool.decoded(self.ids[role], consumed, needed))
    }

    fn advance(&mut self, step_ns: u64) {
        self.now_ns += step_ns;
        self.pool.handle_timeout(self.now_ns);
    }

    /// What is to be polled, with names instead of handles.
    fn poll(&mut self) -> String {
        let mut all = String::new();
        while let Some(notice) = self.pool.poll_notice() {
            all += &match notice {
                Notice::Receiver { token, actions, .. } => format!("{token} {actions:?} "),
                Notice::Lease { wait, lease, .. } => {
                    let at = self.waits.iter().position(|&known| known == wait).expect("it is the host's");
                    self.waits.remove(at);
                    self.leases.push(lease);
                    format!("wait {at} ")
                }
                notice => format!("{notice:?} "),
            };
        }
        all
    }

    /// A random call, and its answer.
    fn play(&mut self, random: &mut fastrand::Rng) -> String {
        let (role, kind, at) = (random.usize(0..3), random.u8(0..16), random.usize(0..8));
        let (bytes, needed) = (random.choice([20, 64, 200]), random.choice([1, 200]));
        let (bytes, needed) = (bytes.expect("there are three"), needed.expect("there are two"));
        let id = self.ids[role];
        match kind {
            0..=4 => self.receive(role, bytes, 0, needed),
            5 => self.receive(role, bytes, bytes, 0),
            6 => self.handle(role, Event::WouldBlock),
            7 => self.handle(role, Event::Block { reasons: 1 }) + &self.handle(role, Event::Unblock { reasons: 1 }),
            8 => self.handle(role, Event::Block { reasons: 1 }),
            9 => self.request().to_string(),
            10 if !self.leases.is_empty() => {
                let lease = self.leases.remove(at % self.leases.len());
                format!("{:?}", self.pool.release(lease))
            }
            11 => match self.pool.take(id) {
                Ok(LeasedContent { lease, offset, buffered_bytes }) => {
                    self.leases.push(lease);
                    format!("{offset} {buffered_bytes}")
                }
                Err(error) => error.to_string(),
            },
            12 => {
                let closed = self.handle(role, Event::Close);
                self.ids[role] = self.pool.attach(&AttachOptions::new(0, role as u64)).expect("its row is free");
                closed
            }
            13 => self.poll(),
            _ => {
                self.advance([STEP_NS, 8 * STEP_NS][at % 2]);
                self.poll()
            }
        }
    }

    /// What can be seen of it, with times as ages.
    fn look(&self) -> String {
        let receivers = self.ids.map(|id| {
            let pending = self.pool.pending(id).expect("it is attached");
            (pending, self.pool.data(id).map(<[u8]>::len), self.pool.describe(id).map(|info| info.shed_reason))
        });
        let timeout_ns = self.pool.poll_timeout().map(|at_ns| at_ns - self.now_ns);
        format!("{receivers:?} {timeout_ns:?} {}", self.pool.memory().free_buffers())
    }

    fn numbers(&self) -> Vec<u64> {
        let mut state = Vec::new();
        let receiver = |id| self.ids.iter().position(|&known| known == id).expect("it is known") as u64;
        let wait = |wait| self.waits.iter().position(|&known| known == wait).expect("it is known") as u64;
        let lease = |lease| self.leases.iter().position(|&known| known == lease).expect("it is known") as u64;
        self.pool.state_key(&mut state, None, &receiver, &wait, &lease);
        state
    }
}

/// Two receivers hold all cells, and one of 64 bytes is full: they claim in this order.
fn two_claim(order: [usize; 2]) -> Host {
    let mut host = Host::with_free(0, 0);
    for role in order {
        host.receive(role, 64, 0, 100);
        host.handle(role, Event::Readable);
        host.advance(STEP_NS);
    }
    host
}

#[test]
fn state_key_differs_by_receiver_queue_and_content() {
    let [mut first, mut second] = [two_claim([1, 2]), two_claim([2, 1])];
    assert_eq!(first.numbers(), two_claim([1, 2]).numbers());
    assert_ne!(first.numbers(), second.numbers());
    let granted = |host: &mut Host| {
        host.leases.iter().for_each(|&lease| host.pool.release(lease).expect("it is the host's"));
        host.pool.poll_notice().map(|notice| if let Notice::Receiver { token, .. } = notice { token } else { 9 })
    };
    assert_eq!((granted(&mut first.clone()), granted(&mut second)), (Some(1), Some(2)));

    let before = first.numbers();
    first.handle(0, Event::Block { reasons: 1 });
    assert_ne!(first.numbers(), before);
}

/// What decides between receivers that wait must be part of the key: pools that were led to the same key in different
/// ways answer alike from then on, whatever is asked of them.
#[test]
fn pools_with_the_same_state_key_answer_alike() {
    let mut random = fastrand::Rng::with_seed(1);
    // With how often each was compared.
    let mut seen: HashMap<Vec<u64>, (Host, u32)> = HashMap::new();
    let mut compared = 0;
    for round in 0..PLAYED {
        let mut host = Host::with_free(round, random.u32(0..3));
        for _ in 0..random.u32(1..12) {
            host.play(&mut random);
            let (other, times) = match seen.entry(host.numbers()) {
                Entry::Occupied(entry) => entry.into_mut(),
                Entry::Vacant(entry) => {
                    entry.insert((host.clone(), 0));
                    continue;
                }
            };
            *times += 1;
            if *times > 3 {
                continue;
            }
            compared += 1;
            let (mut host, mut other) = (host.clone(), other.clone());
            let mut calls = fastrand::Rng::with_seed(random.u64(..));
            for _ in 0..24 {
                assert_eq!(host.look(), other.look());
                let mut same_calls = calls.clone();
                assert_eq!(host.play(&mut calls), other.play(&mut same_calls));
                assert_eq!(host.numbers(), other.numbers());
            }
        }
    }
    assert!(compared > PLAYED / 4 && seen.len() as u64 > PLAYED, "{compared} of {}", seen.len());
}

const PLAYED: u64 = if cfg!(miri) { 20 } else { 3_000 };

#[test]
fn clone_answers_alike_and_is_independent() {
    let mut origin = two_claim([1, 2]);
    origin.receive(0, 30, 0, 100);
    let mut fork = origin.clone();
    let before = origin.numbers();
    assert_eq!(fork.numbers(), before);

    let play = |host: &mut Host| {
        let read = host.ids.map(|id| host.pool.data(id).map(<[u8]>::to_vec));
        for lease in host.leases.drain(..) {
            host.pool.buffer(lease).expect("it is the host's").fill(b'x');
            host.pool.release(lease).expect("it is the host's");
        }
        (read, host.poll(), host.look(), host.numbers(), host.pool.check_invariants())
    };
    let answers = play(&mut fork);
    assert!(!answers.1.is_empty(), "a receiver is granted room");
    assert_ne!(answers.3, before);
    assert_eq!(origin.numbers(), before, "the origin is unchanged");
    assert_eq!(play(&mut origin), answers);
}
