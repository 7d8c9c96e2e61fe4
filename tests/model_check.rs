//! What model checkers read: numbers that differ between two states if their futures differ, and independent copies.

use demuxbuf::connection::Event;
use demuxbuf::pool::{AttachOptions, Pool, PoolConfig, ReceiverId};
use demuxbuf::scheduler::{
    LeaseId, Outcome, Reclaim, ReclaimKind, Request, Scheduler, SchedulerConfig, TenantConfig, TenantId, WaitId,
};

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

fn numbers(pool: &Pool, all: &[ReceiverId]) -> Vec<u64> {
    let mut state = Vec::new();
    let number = |id| all.iter().position(|&known| known == id).expect("it is known") as u64;
    pool.state_key(&mut state, &number, &|wait| 100 + wait.to_bits(), &|lease| 100 + lease.to_bits());
    state
}

/// The first receiver holds the only buffer. The others wait in this order, and two of the three can have a slot.
fn pool(order: [usize; 2]) -> (Pool, [ReceiverId; 3]) {
    let config = PoolConfig { slots: 2, ..PoolConfig::new(1, 3) };
    let mut pool = Pool::new(&config).expect("the configuration is allowed");
    let all = [(); 3].map(|()| pool.attach(&AttachOptions::new(0, 0)).expect("there is room"));
    for at in [[0].as_slice(), &order].concat() {
        pool.handle(all[at], Event::Readable).expect("it is attached");
    }
    (pool, all)
}

/// Receives into a buffer or a slot.
fn receive(pool: &mut Pool, id: ReceiverId, bytes: &[u8]) {
    pool.receive_area(id).expect("it is to receive")[..bytes.len()].copy_from_slice(bytes);
    pool.handle(id, Event::Received { bytes: bytes.len() as u32 }).expect("there is room");
}

#[test]
fn state_key_differs_by_receiver_queue_and_content() {
    let (first, all) = pool([1, 2]);
    let (second, _) = pool([2, 1]);
    assert_eq!(numbers(&first, &all), numbers(&pool([1, 2]).0, &all));
    assert_ne!(numbers(&first, &all), numbers(&second, &all));

    let mut blocked = first.clone();
    blocked.handle(all[0], Event::Block { reasons: 1 }).expect("it is attached");
    assert_ne!(numbers(&first, &all), numbers(&blocked, &all));
}

#[test]
fn clone_answers_alike_and_is_independent() {
    let (mut origin, all) = pool([1, 2]);
    receive(&mut origin, all[0], b"in a buffer");
    origin.handle(all[0], Event::WouldBlock).expect("it is attached");
    receive(&mut origin, all[1], b"in a slot");
    let mut fork = origin.clone();
    let before = numbers(&origin, &all);
    assert_eq!(numbers(&fork, &all), before);

    let play = |pool: &mut Pool| {
        let read = all.map(|id| pool.data(id).map(<[u8]>::to_vec));
        pool.data_mut(all[1]).expect("it holds a slot").fill(b'x');
        let decoded = pool.decoded(all[0], 11, 0);
        (read, decoded, pool.poll_notice(), numbers(pool, &all), pool.check_invariants())
    };
    let answers = play(&mut fork);
    assert!(answers.2.is_some(), "a receiver is granted a buffer");
    assert_ne!(answers.3, before);
    assert_eq!(numbers(&origin, &all), before, "the origin is unchanged");
    assert_eq!(play(&mut origin), answers);
}
