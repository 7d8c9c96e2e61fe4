//! A host in shortage: honest clients among clients that stop inside of frames, drip or come back, on the memory model.
//!
//! Whatever the others do: every byte of an honest client is decoded once and in order, none of them is shed, each of its frames
//! is decoded in the time that the pool promises, and no loop iteration is without end.

use demuxbuf::connection::{Action, Actions, Connection, Event, Mode, Policy};
use demuxbuf::pool::{AttachOptions, LeasedContent, Notice, PoolError, ReceiverId};
use demuxbuf::receiving::{ReceivingConfig, ReceivingPool};
use demuxbuf::scheduler::{Outcome, Request, SchedulerConfig, SchedulerError, TenantConfig};
use demuxbuf_testkit::{EventLoop, Rng, Socket, in_modes};

const MODES: [Mode; 4] = [Mode::Level, Mode::OneShot, Mode::Edge, Mode::Optimistic];
const MS: u64 = 1_000_000;
/// One loop iteration.
const STEP_NS: u64 = 20 * MS;
const BUFFER_BYTES: u32 = 1024;
const BUFFERS: u64 = 12;
const HEADER_BYTES: usize = 2;
const HONEST: usize = 20;
const OTHERS: usize = 60;
/// The first is a plain host; the others have manners of their own.
const SEEDS: u64 = if cfg!(miri) { 2 } else { 12 };
const SECONDS: u64 = if cfg!(miri) { 1 } else { 30 };

/// How a client sends.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Habit {
    /// A frame at a time, each in pieces, within the time that its length allows.
    Honest,
    /// Part of a frame, and then nothing.
    Stops,
    /// A byte or a few at a time.
    Drips,
    /// Part of a frame on each of many connections.
    Returns,
}

/// How a host goes about it.
#[derive(Clone, Copy, Debug, Default)]
struct Manners {
    /// A decoder that takes what is there, in pieces of any length.
    decodes_pieces: bool,
    /// A decoder that reports one byte, however many it needs.
    needs_one: bool,
    /// Other connections are served in the middle of decoding.
    nests: bool,
    yields: bool,
    /// Decoding is blocked for some iterations.
    blocks: bool,
    /// Notices are polled for before the sockets, or in some iterations only.
    polls_first: bool,
    polls_each: u64,
    /// The clock is advanced in some iterations only.
    advances_each: u64,
}

impl Manners {
    fn draw(seed: u64) -> Manners {
        let mut rng = Rng::with_seed(seed);
        if seed == 0 {
            return Manners { polls_each: 1, advances_each: 1, ..Manners::default() };
        }
        Manners {
            decodes_pieces: rng.u8(0..4) == 0,
            needs_one: rng.bool(),
            nests: rng.bool(),
            yields: rng.bool(),
            blocks: rng.bool(),
            polls_first: rng.bool(),
            polls_each: rng.u64(1..4),
            advances_each: rng.u64(1..4),
        }
    }

    /// The most that what happened is late for the pool.
    fn delay_ns(&self) -> u64 {
        (self.polls_each + self.advances_each) * STEP_NS
    }
}

struct Client {
    habit: Habit,
    /// What was decoded of a frame, in pieces.
    decoded: Vec<u8>,
    /// Until when decoding is blocked.
    blocked_until_ns: u64,
    id: Option<ReceiverId>,
    socket: Socket,
    /// What is sent of the current frame, and how much of it was sent.
    frame: Vec<u8>,
    sent: usize,
    /// When its first byte was sent, and when the next piece is due.
    began_ns: u64,
    next_ns: u64,
    /// Frames that were sent, in order, and when the last byte of each was.
    whole: std::collections::VecDeque<(Vec<u8>, u64)>,
    /// When the last frame was decoded.
    decoded_ns: u64,
    frames: u64,
    shed: u32,
}

struct Host {
    pool: ReceivingPool,
    mode: Mode,
    manners: Manners,
    iterations: u64,
    /// Connections that are decoded now, each in the middle of the one before it.
    decoding: Vec<usize>,
    rng: Rng,
    clients: Vec<Client>,
    now_ns: u64,
    longest_ns: u64,
    bound_ns: u64,
}

impl Host {
    fn new(mode: Mode, seed: u64) -> Host {
        let manners = Manners::draw(seed);
        let receivers_max = (HONEST + OTHERS) as u32;
        let config = ReceivingConfig {
            buffer_bytes: BUFFER_BYTES,
            ..ReceivingConfig::new(BUFFERS * u64::from(BUFFER_BYTES), receivers_max)
        };
        let policy = Policy { mode, ..Policy::default() };
        let mut host = Host {
            pool: ReceivingPool::new(&config, policy).expect("the configuration is allowed"),
            mode,
            manners,
            iterations: 0,
            decoding: Vec::new(),
            rng: Rng::with_seed(seed),
            clients: Vec::new(),
            now_ns: 0,
            longest_ns: 0,
            // The kernel has the bytes; then it takes a loop iteration to see them, and one more to settle. What an edge is not
            // reported for is claimed on suspicion, and the time begins anew with the next report.
            bound_ns: config.wait_ns_max() * if mode == Mode::Edge { 2 } else { 1 } + STEP_NS + 2 * manners.delay_ns(),
        };
        for at in 0..HONEST + OTHERS {
            let habits = [Habit::Stops, Habit::Drips, Habit::Returns];
            let habit = if at < HONEST { Habit::Honest } else { habits[at % 3] };
            host.clients.push(Client {
                habit,
                decoded: Vec::new(),
                blocked_until_ns: 0,
                id: None,
                socket: Socket::new(mode, &[]),
                frame: Vec::new(),
                sent: 0,
                began_ns: 0,
                next_ns: 0,
                whole: Default::default(),
                decoded_ns: 0,
                frames: 0,
                shed: 0,
            });
        }
        host
    }

    fn id(&self, at: usize) -> ReceiverId {
        self.clients[at].id.expect("it is attached")
    }

    fn connect(&mut self, at: usize) {
        let id = self
            .pool
            .attach(&AttachOptions { unknown_length: self.manners.needs_one, ..AttachOptions::new(0, at as u64) })
            .expect("the table has room");
        let client = &mut self.clients[at];
        client.id = Some(id);
        client.socket = Socket::new(self.mode, &[]);
        client.whole.clear();
        (client.frame, client.sent, client.blocked_until_ns) = (Vec::new(), 0, 0);
        client.decoded.clear();
        client.next_ns = self.now_ns + self.rng.u64(0..10) * STEP_NS;
        self.run(at);
    }

    /// The peers send what is due.
    fn send(&mut self) {
        for at in 0..self.clients.len() {
            let (now_ns, manners, rng) = (self.now_ns, self.manners, &mut self.rng);
            let client = &mut self.clients[at];
            if client.id.is_none() || client.next_ns > now_ns {
                continue;
            }
            if client.sent == client.frame.len() {
                let largest = BUFFER_BYTES as usize - HEADER_BYTES;
                let bytes = [rng.usize(0..30), rng.usize(0..=largest), largest][rng.usize(0..3)];
                let payload = (0..bytes).map(|_| rng.u8(..));
                client.frame = (bytes as u16).to_be_bytes().into_iter().chain(payload).collect();
                (client.sent, client.began_ns) = (0, now_ns);
            }
            let left = client.frame.len() - client.sent;
            // The pool knows of a length what the decoder reports.
            let length = if manners.needs_one { 1 } else { client.frame.len() as u64 };
            let allowed_ns = 1_000 * MS + length * 1_000 * MS / 8192;
            let (piece, pause_ns) = match client.habit {
                Habit::Honest => {
                    // All of it goes in time, the last piece with little to spare now and then.
                    let left_ns = (client.began_ns + allowed_ns).saturating_sub(now_ns + manners.delay_ns());
                    // Nothing is known of a length before the header is there.
                    let least = if client.sent == 0 { HEADER_BYTES } else { 1 };
                    let piece = if left_ns < 2 * STEP_NS || rng.bool() { left } else { rng.usize(least..=left) };
                    let pause_ns = if piece == left { rng.u64(0..200) * MS } else { rng.u64(0..=left_ns) };
                    (piece, pause_ns.min(if piece == left { u64::MAX } else { left_ns }))
                }
                Habit::Stops | Habit::Returns => (rng.usize(1..=left.max(2) - 1).min(left), 1 << 60),
                Habit::Drips => (rng.usize(1..=3).min(left), rng.u64(1..40) * STEP_NS),
            };
            let range = client.sent..client.sent + piece;
            client.socket.send(&client.frame[range]);
            client.sent += piece;
            if client.sent == client.frame.len() {
                client.whole.push_back((client.frame.clone(), now_ns));
            }
            client.next_ns = now_ns + pause_ns;
        }
    }

    fn iterate(&mut self) {
        self.now_ns += STEP_NS;
        self.iterations += 1;
        if self.iterations % self.manners.advances_each == 0 {
            self.pool.handle_timeout(self.now_ns);
        }
        for at in 0..self.clients.len() {
            if self.clients[at].id.is_none() && self.clients[at].habit != Habit::Stops {
                self.connect(at);
            }
            let client = &mut self.clients[at];
            if client.blocked_until_ns > 0 && client.blocked_until_ns <= self.now_ns {
                (client.blocked_until_ns, client.decoded_ns) = (0, self.now_ns);
                self.report_and_run(at, Event::Unblock { reasons: 1 });
            }
        }
        self.send();
        let polls = self.iterations % self.manners.polls_each == 0;
        if polls && self.manners.polls_first {
            self.drain_notices();
        }
        self.serve_sockets();
        if polls && !self.manners.polls_first {
            self.drain_notices();
        }
        self.pool.check_invariants().expect("the invariants hold");
        for client in &self.clients[..HONEST] {
            // A frame is waited for once the one before it is decoded.
            let front = client.whole.front().filter(|_| client.blocked_until_ns == 0);
            let since_ns = front.map(|&(_, sent_ns)| sent_ns.max(client.decoded_ns));
            let waited_ns = since_ns.map_or(0, |since_ns| self.now_ns - since_ns);
            self.longest_ns = self.longest_ns.max(waited_ns);
            let frame_bytes = client.whole.front().map_or(0, |(frame, _)| frame.len());
            assert!(
                waited_ns <= self.bound_ns,
                "{frame_bytes} bytes wait for {} ms: {:?}, {:?}",
                waited_ns / MS,
                client.id.map(|id| self.pool.connection(id)),
                self.pool.totals()
            );
        }
    }
}

impl EventLoop for Host {
    fn connections(&self) -> usize {
        self.clients.len()
    }

    fn socket(&mut self, at: usize) -> Option<&mut Socket> {
        let client = &mut self.clients[at];
        client.id.is_some().then_some(&mut client.socket)
    }

    fn socket_and_area(&mut self, at: usize) -> (&mut Socket, &mut [u8]) {
        let id = self.id(at);
        (&mut self.clients[at].socket, self.pool.receive_area(id).expect("it is attached"))
    }

    fn pending(&self, at: usize) -> Actions {
        self.pool.pending(self.id(at)).expect("it is attached")
    }

    fn report(&mut self, at: usize, event: Event) -> Actions {
        self.clients[at].socket.follow(event);
        self.pool.handle(self.id(at), event).unwrap_or_else(|error| panic!("{event:?}: {error}"))
    }

    fn acknowledge(&mut self, at: usize, actions: Actions) {
        if actions.has(Action::Shed) {
            let client = &self.clients[at];
            // What is held where memory is exhausted, and what has no known length, may have no place.
            let may_be_shed = self.manners.needs_one
                || (self.manners.blocks || self.manners.yields) && self.pool.totals().shed_for_memory > 0;
            assert!(
                client.habit != Habit::Honest || may_be_shed,
                "an honest client is shed: {} unread, sent {} of {} since {} ms, {:?}, {:?}",
                client.socket.unread(),
                client.sent,
                client.frame.len(),
                (self.now_ns - client.began_ns) / MS,
                self.manners,
                self.pool.totals()
            );
            let id = self.id(at);
            assert!(self.pool.handle(id, Event::Close).expect("it is attached").has(Action::Finished));
            self.clients[at].id = None;
            self.clients[at].shed += 1;
            return;
        }
        self.clients[at].socket.acknowledge(actions);
        self.report(at, Event::done(actions));
    }

    fn decode(&mut self, at: usize) {
        let id = self.id(at);
        let data = self.pool.data(id).expect("it is attached").to_vec();
        assert_eq!(data, self.clients[at].socket.buffered(), "the bytes are those that were sent");
        self.decoding.push(at);
        let other = self.rng.usize(..self.clients.len());
        if self.manners.nests && self.decoding.len() < 4 && !self.decoding.contains(&other) {
            self.serve_socket(other);
            assert_eq!(self.pool.data(id), Ok(&data[..]), "what is borrowed stays");
        }
        self.decoding.pop();
        let (consumed, needed) = if self.manners.decodes_pieces {
            (self.rng.usize(1..=data.len()), 0)
        } else {
            let whole = whole_frames(&data, if self.manners.yields { 1 } else { usize::MAX });
            let rest = &data[whole..];
            let needed = if rest.is_empty() { 0 } else { length(rest).saturating_sub(rest.len()) };
            (whole, if self.manners.needs_one { needed.min(1) } else { needed })
        };
        let client = &mut self.clients[at];
        client.decoded.extend(&data[..consumed]);
        let end = whole_frames(&client.decoded, usize::MAX);
        let mut frames = client.decoded.drain(..end);
        while frames.len() > 0 {
            let (frame, _) = client.whole.pop_front().expect("it was sent");
            assert!(frames.by_ref().take(frame.len()).eq(frame), "frames come in order");
            client.frames += 1;
            client.decoded_ns = self.now_ns;
        }
        drop(frames);
        client.socket.consume(consumed);
        self.pool.decoded(id, consumed as u32, needed as u32, 0).expect("it is as the pool has it");
        if needed > 0 || consumed == data.len() {
            return;
        }
        if self.manners.blocks && self.rng.u8(0..8) == 0 {
            self.clients[at].blocked_until_ns = self.now_ns + self.rng.u64(1..20) * STEP_NS;
            self.report(at, Event::Block { reasons: 1 });
        } else if self.manners.yields {
            self.report(at, Event::Yield);
        }
    }

    fn poll_notice(&mut self) -> Option<usize> {
        match self.pool.poll_notice()? {
            Notice::Receiver { token, .. } => Some(token as usize),
            notice => unreachable!("this host requests nothing for itself: {notice:?}"),
        }
    }
}

/// Length of the frame whose first bytes these are, as far as they say.
fn length(data: &[u8]) -> usize {
    match data {
        [high, low, ..] => HEADER_BYTES + usize::from(u16::from_be_bytes([*high, *low])),
        _ => HEADER_BYTES,
    }
}

/// Length of the whole frames at the front, at most this many.
fn whole_frames(data: &[u8], frames: usize) -> usize {
    let mut end = 0;
    for _ in 0..frames {
        let rest = &data[end..];
        if rest.len() < HEADER_BYTES || rest.len() < length(rest) {
            break;
        }
        end += length(rest);
    }
    end
}

#[test]
fn honest_clients_are_served_in_time_among_others() {
    in_modes(&MODES, |mode| {
        for seed in 0..SEEDS {
            let mut host = Host::new(mode, seed);
            for _ in 0..SECONDS * 1_000 * MS / STEP_NS {
                host.iterate();
            }
            let totals = host.pool.totals();
            let frames: u64 = host.clients[..HONEST].iter().map(|client| client.frames).sum();
            let shed: u32 = host.clients.iter().map(|client| client.shed).sum();
            println!("{:?}", host.manners);
            println!("frames {frames}, shed {shed}, longest {} ms, {totals:?}", host.longest_ns / MS);
            assert!(totals.longest_claim_ns <= host.pool.memory().config().wait_ns_max());
            // The test is about shortage.
            let is_scarce =
                [totals.claims, totals.grants, totals.trials, totals.evicted].iter().all(|&count| count > 20);
            assert!(cfg!(miri) || is_scarce || host.manners.decodes_pieces, "{totals:?}");
        }
    });
}

#[test]
fn plain_connections_keep_nothing() {
    let config = ReceivingConfig::new(1 << 20, 1000);
    let mut pool = ReceivingPool::new(&config, Policy::default()).expect("the configuration is allowed");
    let free = pool.memory().free_buffers();
    let ids: Vec<ReceiverId> =
        (0..1000).map(|token| pool.attach(&AttachOptions::new(0, token)).expect("there is room")).collect();
    for &id in &ids {
        let actions = pool.handle(id, Event::Readable).expect("it is attached");
        assert!(actions.has(Action::Recv));
        let area = pool.receive_area(id).expect("it is attached");
        assert_eq!(area.len(), 16_448);
        area[..5].copy_from_slice(b"hello");
        assert!(pool.handle(id, Event::Received { bytes: 5 }).expect("there is room").has(Action::Decode));
        assert_eq!(pool.data(id), Ok(&b"hello"[..]));
        pool.decoded(id, 5, 0, 0).expect("it is attached");
        assert_eq!((pool.memory().free_buffers(), pool.check_invariants()), (free, Ok(())));
    }
    assert_eq!(pool.totals().copied_bytes, 0);
    assert_eq!(pool.connection(ids[0]).map(Connection::buffered_bytes), Ok(0));
}

/// A pool of eight buffers, of which a host can have those that receivers do not need.
fn pool_of_eight(waiters_max: u32) -> ReceivingPool {
    pool_of_eight_in(Mode::default(), waiters_max)
}

fn pool_of_eight_in(mode: Mode, waiters_max: u32) -> ReceivingPool {
    let config = ReceivingConfig { buffer_bytes: 256, ..ReceivingConfig::new(8 * 256, 8) };
    let requests = SchedulerConfig::new(1, waiters_max);
    ReceivingPool::with_requests(&config, Policy { mode, ..Policy::default() }, &requests)
        .expect("the configuration is allowed")
}

/// The receiver receives these bytes, and its decoder needs more.
fn receive(pool: &mut ReceivingPool, id: ReceiverId, bytes: &[u8], needed: u32) -> Actions {
    assert!(pool.handle(id, Event::Readable).expect("it is attached").has(Action::Recv));
    pool.receive_area(id).expect("it is attached")[..bytes.len()].copy_from_slice(bytes);
    pool.handle(id, Event::Received { bytes: bytes.len() as u32 }).expect("there is room");
    pool.decoded(id, 0, needed, 0).expect("it is attached")
}

#[test]
fn content_leaves_with_a_buffer_and_comes_back() {
    let mut pool = pool_of_eight(1);
    let free = pool.memory().free_buffers();
    for bytes in [[7; 20].as_slice(), &[8; 200]] {
        let id = pool.attach(&AttachOptions::new(0, 1)).expect("there is room");
        assert_eq!(pool.take(id), Err(PoolError::NoBuffer));
        receive(&mut pool, id, bytes, 10);
        let content = pool.take(id).expect("a buffer is free");
        let LeasedContent { lease, offset, buffered_bytes } = content;
        assert_eq!(&pool.buffer(lease).expect("it is the host's")[offset as usize..][..buffered_bytes as usize], bytes);
        assert_eq!((pool.data(id), pool.check_invariants()), (Ok(&[][..]), Ok(())));
        let too_long = LeasedContent { buffered_bytes: 257 - offset, ..content };
        assert_eq!(pool.adopt(&AttachOptions::new(0, 2), too_long), Err(PoolError::TooManyBytes));
        let other = pool.adopt(&AttachOptions::new(0, 2), content).expect("the lease is the host's");
        assert_eq!(pool.adopt(&AttachOptions::new(0, 3), content), Err(SchedulerError::StaleLease.into()));
        assert_eq!(pool.release(lease), Err(SchedulerError::StaleLease.into()), "it is the receiver's");
        assert!(pool.pending(other).expect("it is attached").has(Action::Decode));
        assert_eq!((pool.data(other), pool.check_invariants()), (Ok(bytes), Ok(())));
        for id in [id, other] {
            assert!(pool.handle(id, Event::Close).expect("it is attached").has(Action::Finished));
        }
        assert_eq!((pool.memory().free_buffers(), pool.check_invariants()), (free, Ok(())));
    }
}

#[test]
fn bytes_from_before_are_decoded_first() {
    let mut pool = pool_of_eight(1);
    let id = pool.attach_with(&AttachOptions::new(0, 1), b"upgraded").expect("there is room");
    assert!(pool.pending(id).expect("it is attached").has(Action::Decode));
    assert_eq!(pool.data(id), Ok(&b"upgraded"[..]));
    // What is borrowed when the clock is advanced is kept, and can be decoded in the next loop iteration.
    pool.handle_timeout(1);
    assert_eq!((pool.data(id), pool.check_invariants()), (Ok(&b"upgraded"[..]), Ok(())));
    pool.handle(id, Event::Wake).expect("it is attached");
    assert!(pool.pending(id).expect("it is attached").has(Action::Decode));
    pool.decoded(id, 8, 0, 0).expect("they are buffered");
    assert_eq!(pool.attach_with(&AttachOptions::new(0, 2), &[0; 257]), Err(PoolError::TooManyBytes));
    // Nothing is free that a decoder could leave bytes in.
    let leases: Vec<_> = std::iter::from_fn(|| match pool.request(0, 0) {
        Ok(Outcome::Granted(lease)) => Some(lease),
        _ => None,
    })
    .collect();
    assert_eq!(pool.attach_with(&AttachOptions::new(0, 2), b"more"), Err(PoolError::NoBufferFree));
    assert_eq!(pool.check_invariants(), Ok(()));
    for lease in leases {
        pool.release(lease).expect("it is the host's");
    }
    pool.attach_with(&AttachOptions::new(0, 2), b"more").expect("there is room again");
}

#[test]
fn request_of_the_host_evicts_what_is_kept_too_long() {
    let mut pool = pool_of_eight(2);
    let [slow, other] = [1, 2].map(|token| pool.attach(&AttachOptions::new(0, token)).expect("there is room"));
    pool.handle_timeout(0);
    receive(&mut pool, slow, &[1; 200], 56);
    while let Ok(Outcome::Granted(_)) = pool.request(0, 0) {}
    // The request that waits may not take the place of what is borrowed now.
    let mut now_ns = 0;
    for _ in 0..7 {
        now_ns += 125 * MS;
        pool.handle_timeout(now_ns);
        assert_eq!(pool.poll_notice(), None, "it has not passed its deadline");
    }
    for _ in 0..4 {
        now_ns += 125 * MS;
        pool.handle_timeout(now_ns);
    }
    let notices: Vec<_> = std::iter::from_fn(|| pool.poll_notice()).collect();
    let is_shed = |notice: &Notice| matches!(notice, Notice::Receiver { id, actions, .. } if *id == slow && actions.has(Action::Shed));
    let is_lease = |notice: &Notice| matches!(notice, Notice::Lease { .. });
    assert!(notices.iter().any(is_shed) && notices.iter().any(is_lease), "{notices:?}");
    assert_eq!(pool.check_invariants(), Ok(()));
    // The header cells and the receive buffer are the receivers' own.
    assert!(pool.handle(other, Event::Readable).expect("it is attached").has(Action::Recv));
    assert_eq!(pool.receive_area(other).expect("it is attached").len(), 64);
}

#[test]
fn request_for_a_size_that_is_not_there_is_refused() {
    let mut pool = pool_of_eight(1);
    let free = pool.memory().free_buffers();
    for size_index in [1, 3, u8::MAX] {
        let refused = pool.request_for(&Request { size_index, ..Request::new(0, 0) });
        assert_eq!(refused, Err(SchedulerError::UnknownSize { size_index }.into()));
    }
    assert_eq!((pool.memory().free_buffers(), pool.check_invariants()), (free, Ok(())));
}

#[test]
fn borrow_has_a_place_whatever_the_host_requests() {
    let mut pool = pool_of_eight(1);
    let id = pool.attach(&AttachOptions::new(0, 1)).expect("there is room");
    assert!(pool.handle(id, Event::Readable).expect("it is attached").has(Action::Recv));
    assert_eq!(pool.receive_area(id).expect("it is attached").len(), 256);
    while let Ok(Outcome::Granted(_)) = pool.request(0, 0) {}
    pool.receive_area(id).expect("it is attached")[..200].fill(9);
    pool.handle(id, Event::Received { bytes: 200 }).expect("there is room");
    let actions = pool.decoded(id, 0, 56, 0).expect("it is attached");
    assert!(!actions.has(Action::Shed));
    assert_eq!((pool.data(id), pool.check_invariants()), (Ok(&[9; 200][..]), Ok(())));
}

#[test]
fn requests_of_the_host_leave_enough_to_receivers() {
    // One header buffer and three more.
    let config = ReceivingConfig { buffer_bytes: 256, ..ReceivingConfig::new(8 * 256, 4) };
    let refused = |change: fn(&mut SchedulerConfig)| {
        let mut requests = SchedulerConfig::new(2, 1);
        requests.classes = 2;
        change(&mut requests);
        ReceivingPool::with_requests(&config, Policy::default(), &requests)
            .map(|_| ())
            .map_err(|error| error.to_string())
    };
    assert_eq!(refused(|requests| requests.reserves[1] = 4), Ok(()));
    assert_eq!(refused(|requests| requests.reserves[1] = 5), Err("reserves[1] is 5; allowed is 0 to 4".into()));
    assert_eq!(refused(|requests| requests.class_caps = [1, 4, 1, 1, 1, 1, 1, 1]), Ok(()));
    assert_eq!(refused(|requests| requests.class_caps[1] = 3), Err("class_caps[1] is 3; allowed is 4 or more".into()));
    for (classes, message) in [(0, "classes is 0; allowed is 1 to 8"), (9, "classes is 9; allowed is 1 to 8")] {
        let requests = SchedulerConfig { classes, ..SchedulerConfig::new(2, 1) };
        let error =
            ReceivingPool::with_requests(&config, Policy::default(), &requests).expect_err("there are 8 at most");
        assert_eq!(error.to_string(), message);
    }
}

/// Receivers may have no more than their cap, however much is free.
#[test]
fn cap_of_receivers_is_kept() {
    let config = ReceivingConfig { buffer_bytes: 256, ..ReceivingConfig::new(12 * 256, 8) };
    let mut requests = SchedulerConfig::new(2, 1);
    (requests.classes, requests.class_caps[1]) = (2, 5);
    let mut pool = ReceivingPool::with_requests(&config, Policy::default(), &requests).expect("it is allowed");
    // The receive buffer and two header buffers are among the five.
    assert_eq!(pool.memory().free_buffers(), 2);
    for token in 0..3 {
        let id = pool.attach(&AttachOptions::new(0, token)).expect("there is room");
        pool.handle(id, Event::Readable).expect("it is attached");
        let room = pool.receive_area(id).expect("it is attached").len() as u32;
        if room > 0 {
            pool.handle(id, Event::Received { bytes: room }).expect("there is room");
            pool.handle(id, Event::Block { reasons: 1 }).expect("it is attached");
        }
        assert_eq!(pool.check_invariants(), Ok(()));
    }
    assert_eq!(pool.memory().free_buffers(), 1);
}

/// What the first edge was reported for may have been received before the report was looked at.
#[test]
fn time_of_a_frame_does_not_run_from_a_late_edge() {
    let config = ReceivingConfig { buffer_bytes: 256, ..ReceivingConfig::new(8 * 256, 8) };
    let policy = Policy { mode: Mode::Edge, ..Policy::default() };
    let mut pool = ReceivingPool::new(&config, policy).expect("the configuration is allowed");
    while let Ok(Outcome::Granted(_)) = pool.request(0, 0) {}
    pool.handle_timeout(0);
    let ids: Vec<ReceiverId> =
        (0..5).map(|token| pool.attach(&AttachOptions::new(0, token)).expect("there is room")).collect();
    let (&client, others) = ids.split_last().expect("there are five");
    // Nothing is free but four small cells, and these are filled.
    for &other in others {
        receive(&mut pool, other, &[1; 64], 1);
    }
    assert!(!pool.handle(client, Event::Readable).expect("it is attached").has(Action::Recv));
    let mut tried = Vec::new();
    for step in 1..=20 {
        pool.handle_timeout(step * 100 * MS);
        if step == 9 {
            pool.handle(client, Event::Readable).expect("it is attached");
        }
        while let Some(notice) = pool.poll_notice() {
            tried.extend(matches!(notice, Notice::Receiver { id, .. } if id == client).then_some(step));
        }
    }
    assert_eq!(tried, [20], "its frame began with the second edge, and has 1 s and 31 ms");
}

/// Content that is past its deadline may be evicted, but not for a host that takes it: what the host gets is what was sent.
#[test]
fn take_evicts_others_and_not_what_is_taken() {
    let mut pool = pool_of_eight(0);
    pool.handle_timeout(0);
    let [taken, beside, whole] =
        [1, 2, 3].map(|token| pool.attach(&AttachOptions::new(0, token)).expect("there is room"));
    // Two share a buffer that is cut in halves, the third has one for itself.
    for (id, fill, bytes) in [(taken, 1, 100), (beside, 2, 100), (whole, 3, 200)] {
        receive(&mut pool, id, &vec![fill; bytes], 10);
    }
    while let Ok(Outcome::Granted(_)) = pool.request(0, 0) {}
    for step in 1..=12 {
        pool.handle_timeout(step * 125 * MS);
    }
    let LeasedContent { lease, offset, buffered_bytes } = pool.take(taken).expect("others make room for it");
    let buffer = pool.buffer(lease).expect("it is the host's");
    assert_eq!(buffer[offset as usize..][..buffered_bytes as usize], [1; 100]);
    let is_shed = [taken, beside, whole].map(|id| pool.pending(id).expect("it is attached").has(Action::Shed));
    assert_eq!((is_shed, pool.check_invariants()), ([false, true, true], Ok(())));
}

#[test]
fn borrow_has_a_place_whatever_the_host_takes() {
    let mut pool = pool_of_eight(0);
    let [kept, id] = [1, 2].map(|token| pool.attach(&AttachOptions::new(0, token)).expect("there is room"));
    receive(&mut pool, kept, &[1; 20], 10);
    assert!(pool.handle(id, Event::Readable).expect("it is attached").has(Action::Recv));
    while pool.memory().free_buffers() > 1 {
        pool.request(0, 0).expect("a buffer is free");
    }
    assert_eq!(pool.take(kept), Err(PoolError::NoBufferFree), "the last one is for what is borrowed");
    pool.receive_area(id).expect("it is attached")[..200].fill(9);
    pool.handle(id, Event::Received { bytes: 200 }).expect("there is room");
    assert!(!pool.decoded(id, 0, 56, 0).expect("it is attached").has(Action::Shed));
    assert_eq!((pool.data(id), pool.check_invariants()), (Ok(&[9; 200][..]), Ok(())));
}

/// A decoder may need bytes of which none is there yet. The receive of a trial begins with one byte then, and goes on.
#[test]
fn trial_goes_on_when_nothing_was_kept() {
    in_modes(&MODES, |mode| {
        let mut pool = pool_of_eight_in(mode, 0);
        pool.handle_timeout(0);
        let id = pool.attach(&AttachOptions::new(0, 0)).expect("there is room");
        assert!(pool.handle(id, Event::Readable).expect("it is attached").has(Action::Recv));
        pool.handle(id, Event::Received { bytes: 5 }).expect("there is room");
        pool.decoded(id, 5, 141, 0).expect("they are buffered");
        pool.handle(id, Event::WouldBlock).expect("it is attached");
        // No cell of 64 bytes is left, and no buffer.
        for token in 1..5 {
            let other = pool.attach(&AttachOptions::new(0, token)).expect("there is room");
            receive(&mut pool, other, &[1; 20], 10);
            pool.handle(other, Event::WouldBlock).expect("it is attached");
        }
        while let Ok(Outcome::Granted(_)) = pool.request(0, 0) {}
        pool.handle_timeout(1);
        assert!(!pool.handle(id, Event::Readable).expect("it is attached").has(Action::Recv), "it claims");
        for step in 1..=26 {
            pool.handle_timeout(1 + step * 125 * MS);
        }
        let is_trial =
            |notice: &Notice| matches!(notice, Notice::Receiver { token: 0, actions, .. } if actions.has(Action::Recv));
        assert!(std::iter::from_fn(|| pool.poll_notice()).any(|notice| is_trial(&notice)), "its deadline has come");
        for (bytes, needed) in [(1, 140), (140, 0)] {
            assert_eq!(pool.receive_area(id).expect("it is attached").len(), bytes as usize);
            pool.handle(id, Event::Received { bytes }).expect("there is room");
            let actions = pool.decoded(id, 141 * u32::from(needed == 0), needed, 0).expect("they are buffered");
            assert_eq!((actions.has(Action::Recv), pool.check_invariants()), (needed > 0, Ok(())));
        }
    });
}

/// What a receiver claims ends with what is taken; what is there to be received is claimed anew.
#[test]
fn take_leaves_a_receiver_that_claims_on_its_way() {
    in_modes(&MODES, |mode| {
        let mut pool = pool_of_eight_in(mode, 0);
        let id = pool.attach(&AttachOptions::new(0, 0)).expect("there is room");
        let mut leases = Vec::new();
        while pool.memory().free_buffers() > 1 {
            let outcome = pool.request(0, 0).expect("a buffer is free");
            leases.extend(if let Outcome::Granted(lease) = outcome { Some(lease) } else { None });
        }
        receive(&mut pool, id, &[1; 64], 100);
        pool.handle(id, Event::Readable).expect("it is attached");
        assert!(pool.memory().facts(0).expect("it is attached").claim_since_ns.is_some(), "its cell is full");
        leases.push(pool.take(id).expect("a buffer is free").lease);
        assert_eq!(pool.check_invariants(), Ok(()));
        let mut goes_on = pool.pending(id).expect("it is attached").has(Action::Recv);
        leases.into_iter().for_each(|lease| pool.release(lease).expect("it is the host's"));
        goes_on |= pool.poll_notice().is_some();
        assert!(goes_on, "{:?}", pool.connection(id));
    });
}

#[test]
fn host_learns_what_this_pool_has_not() {
    let config = ReceivingConfig { buffer_bytes: 256, ..ReceivingConfig::new(8 * 256, 2) };
    let requests = SchedulerConfig { classes: 2, tenants_max: 1, ..SchedulerConfig::new(1, 1) };
    let mut pool = ReceivingPool::with_requests(&config, Policy::default(), &requests).expect("it is allowed");
    let tenant = pool.create_tenant(&TenantConfig { cap: 1, ..TenantConfig::default() }).expect("there is room");
    let usual = AttachOptions::new(0, 1);
    let completion = Policy { mode: Mode::Completion, ..Policy::default() };
    let policy_error = PoolError::Policy { field: "policy.mode", value: 4, max: 3 };
    for (options, error) in [
        (AttachOptions { tenant: Some(tenant), ..usual }, PoolError::TenantsUnsupported),
        (AttachOptions { policy: Some(completion), ..usual }, policy_error),
        (AttachOptions { class: 2, ..usual }, SchedulerError::UnknownClass { class: 2, classes: 2 }.into()),
    ] {
        assert_eq!(pool.attach(&options), Err(error));
        assert_eq!(pool.stats().receivers, 0);
    }
    let id = pool.attach(&AttachOptions { class: 1, ..usual }).expect("there is room");
    assert_eq!(pool.describe(id).map(|info| (info.class, info.token, info.shed_reason)), Ok((1, 1, None)));
    assert_eq!(pool.set_class(id, 0), Ok(()));
    assert_eq!(pool.set_class(id, 2), Err(SchedulerError::UnknownClass { class: 2, classes: 2 }.into()));
    assert_eq!(pool.describe(id).map(|info| info.class), Ok(0));
    assert_eq!(
        (pool.set_tenant(id, None), pool.set_tenant(id, Some(tenant))),
        (Ok(()), Err(PoolError::TenantsUnsupported))
    );
    assert_eq!(pool.set_policy(id, &completion), Err(policy_error));
    // The table is full once: a notice follows.
    pool.attach(&usual).expect("there is room");
    let full = PoolError::ReceiversFull { receivers_max: 2 };
    assert_eq!(pool.attach(&AttachOptions { notify_if_full: true, ..usual }), Err(full));
    assert_eq!(pool.poll_notice(), None);
    pool.handle(id, Event::Close).expect("it is attached");
    assert_eq!((pool.poll_notice(), pool.poll_notice()), (Some(Notice::Attachable), None));
    // Of its own the host has tenants, and one size.
    let asked = Request { tenant: Some(tenant), ..Request::new(0, 5) };
    let larger = Request { size_index: 1, ..asked };
    assert_eq!(pool.request_for(&larger), Err(SchedulerError::UnknownSize { size_index: 1 }.into()));
    let lease = pool.try_request(&asked).expect("it is allowed").expect("one is free");
    assert_eq!(
        (pool.try_request(&asked), pool.describe_tenant(tenant).map(|info| info.outstanding_units)),
        (Ok(None), Ok(1))
    );
    let (at, bytes) = pool.buffer_area(lease).expect("it is the host's");
    assert_eq!((bytes, pool.buffer(lease).map(|buffer| buffer.as_mut_ptr())), (256, Ok(at.as_ptr())));
    let last = at.as_ptr().wrapping_add(255);
    assert_eq!(pool.lease_of_address(last), Ok(lease));
    assert_eq!(pool.lease_of_address(&raw const bytes as *const u8), Err(PoolError::UnknownAddress));
    let of_receivers = SchedulerError::StaleLease.into();
    assert_eq!(pool.lease_of_address(last.wrapping_add(1)), Err(of_receivers));
    pool.release(lease).expect("it is the host's");
    assert_eq!((pool.lease_of_address(last), pool.check_invariants()), (Err(of_receivers), Ok(())));
}

#[test]
fn statistics_have_the_counts_of_the_memory_model() {
    let mut pool = pool_of_eight(0);
    let id = pool.attach(&AttachOptions::new(0, 1)).expect("there is room");
    receive(&mut pool, id, &[1; 200], 56);
    let stats = pool.stats();
    assert_eq!((stats.scheduler.capacity, stats.scheduler.free), (8, pool.memory().free_buffers()));
    assert_eq!((stats.received_bytes, stats.receivers, stats.receivers_max, stats.memory_bytes), (200, 1, 8, 2048));
    assert_eq!(stats.memory_model.copied_bytes, pool.totals().copied_bytes);
    assert_eq!(stats.memory_model.wait_ns_max, pool.memory().config().wait_ns_max());
    assert_eq!((stats.shed, stats.memory_model.claims), (0, 0));
}

/// Content is evicted for the sake of another receiver; the host may call for the one that lost it before it has polled the
/// notice.
#[test]
fn evicted_receiver_takes_calls_before_its_notice() {
    for case in 0..4 {
        let mut pool = pool_of_eight(1);
        let [first, second, third] =
            [0, 1, 2].map(|token| pool.attach(&AttachOptions::new(0, token)).expect("there is room"));
        pool.handle_timeout(0);
        receive(&mut pool, first, &[1; 200], 56);
        receive(&mut pool, second, &[2; 200], 56);
        while pool.try_request(&Request::new(0, 0)).expect("the class exists").is_some() {}
        for step in 1..12 {
            pool.handle_timeout(step * 125 * MS);
        }
        receive(&mut pool, third, &[3; 64], 100);
        assert!(!pool.handle(third, Event::Readable).expect("it is attached").has(Action::Recv));
        let notice = pool.poll_notice().expect("there is room for the third");
        assert!(matches!(notice, Notice::Receiver { id, actions, .. } if id == third && actions.has(Action::Recv)));
        assert_eq!((pool.totals().evicted, pool.check_invariants()), (2, Ok(())));
        match case {
            0 => assert!(pool.handle(first, Event::Close).expect("it is attached").has(Action::Finished)),
            1 => assert!(pool.decoded(first, 200, 0, 0).is_err(), "there is nothing left"),
            2 => assert_eq!(pool.take(first), Err(PoolError::NoBuffer)),
            _ => assert!(pool.set_policy(first, &Policy::default()).expect("it is allowed").has(Action::Shed)),
        }
        assert_eq!((pool.check_invariants(), pool.counts().dropped_bytes), (Ok(()), 200), "case {case}");
        if case > 0 {
            assert!(pool.pending(first).expect("it is attached").has(Action::Shed));
        }
        while pool.poll_notice().is_some() {}
        assert_eq!((pool.check_invariants(), pool.counts().dropped_bytes), (Ok(()), 400), "case {case}");
    }
}
