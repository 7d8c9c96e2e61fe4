//! A host in shortage: honest clients among clients that stop inside of frames, drip or come back, on the memory model.
//!
//! Whatever the others do: every byte of an honest client is decoded once and in order, none of them is shed, each of
//! its frames is decoded in the time that the pool promises, and no loop iteration is without end.

use crate::{MODES, MS};
use demuxbuf::connection::{Action, Actions, Event, Mode, Policy};
use demuxbuf::pool::{AttachOptions, Notice, Pool, PoolConfig, ReceiverId};
use demuxbuf_testkit::{EventLoop, Rng, Socket, in_modes};

/// One loop iteration.
const STEP_NS: u64 = 20 * MS;
const BUFFER_BYTES: u32 = 1024;
const BUFFERS: u64 = 12;
const HEADER_BYTES: usize = 2;
const HONEST: usize = 20;
const OTHERS: usize = 60;
/// The most that a kernel holds of one connection: all, a frame, or part of one.
const KERNELS: [usize; 4] = [usize::MAX, 2 * BUFFER_BYTES as usize, 600, 100];
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
    /// The host counts, and its kernel holds this number of bytes.
    counts: Option<usize>,
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
    fn draw(mode: Mode, seed: u64) -> Manners {
        let mut rng = Rng::with_seed(seed);
        if seed == 0 {
            return Manners { polls_each: 1, advances_each: 1, ..Manners::default() };
        }
        let needs_one = rng.bool();
        // A decoder that reports one byte has no whole to wait for.
        let counts = Some(KERNELS[rng.usize(0..4)]).filter(|_| !needs_one && mode != Mode::Optimistic);
        Manners {
            decodes_pieces: rng.u8(0..4) == 0,
            needs_one,
            counts,
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
    pool: Pool,
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
        Host::with(mode, seed, Manners::draw(mode, seed), OTHERS)
    }

    fn with(mode: Mode, seed: u64, manners: Manners, others: usize) -> Host {
        let receivers_max = (HONEST + others) as u32;
        let config = PoolConfig {
            buffer_bytes: BUFFER_BYTES,
            policy: Policy { mode, counting: manners.counts.is_some(), ..Policy::default() },
            audit: seed == 0,
            ..PoolConfig::new(BUFFERS * u64::from(BUFFER_BYTES), receivers_max)
        };
        let mut host = Host {
            pool: Pool::new(&config).expect("the configuration is allowed"),
            mode,
            manners,
            iterations: 0,
            decoding: Vec::new(),
            rng: Rng::with_seed(seed),
            clients: Vec::new(),
            now_ns: 0,
            longest_ns: 0,
            // The kernel has the bytes; then it takes a loop iteration to see them, and one more to settle. What an
            // edge is not reported for is claimed on suspicion, and the time begins anew with the next report.
            bound_ns: config.wait_ns_max() * if mode == Mode::Edge { 2 } else { 1 } + STEP_NS + 2 * manners.delay_ns(),
        };
        for at in 0..HONEST + others {
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
        if let Some(room) = self.manners.counts {
            client.socket = Socket::new(self.mode, &[]).counting(room);
        }
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
        // The plain host leaves nothing undone.
        let named: Vec<_> =
            core::iter::from_fn(|| self.pool.poll_audit(self.now_ns).ok().flatten()).map(|it| it.to_string()).collect();
        assert_eq!(named, [""; 0], "named by the audit");
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
            // What is held where memory is exhausted, and what has no known length, may have no place; a trial gets of
            // a frame what the kernel holds.
            let may_be_shed = self.manners.needs_one
                || self.manners.counts.is_some_and(|room| room < BUFFER_BYTES as usize)
                || self.manners.counts.is_none()
                    && (self.manners.blocks || self.manners.yields)
                    && self.pool.totals().shed_for_memory > 0;
            assert!(
                client.habit != Habit::Honest || may_be_shed,
                "an honest client is shed ({:?}): {} unread, sent {} of {} since {} ms, {:?}, {:?}",
                self.pool.describe(self.id(at)).map(|info| info.shed_reason),
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
        if actions.has(Action::WantRecv) {
            let mark = self.pool.low_water_mark(self.id(at)).expect("it is attached");
            self.clients[at].socket.set_mark(mark as usize);
        }
        self.clients[at].socket.acknowledge(actions);
        self.report(at, Event::done(actions));
    }

    fn decode(&mut self, at: usize) {
        let id = self.id(at);
        let data = self.pool.data(id).expect("it is attached").to_vec();
        let socket = &self.clients[at].socket;
        assert_eq!(data, socket.front(data.len()), "the bytes are those that were sent");
        assert!(data.len() == socket.buffered().len() || self.manners.counts.is_some(), "all that was received");
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
        self.pool.decoded(id, consumed as u32, needed as u32).expect("it is as the pool has it");
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

    fn length_seen(&mut self, _at: usize, seen: &[u8]) -> u32 {
        length(seen) as u32
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
            let counts = [totals.trials, totals.evicted, totals.claims, totals.grants];
            // A host that counts claims only what its kernel holds no more of.
            let expected = if host.manners.counts.is_some() { &counts[..2] } else { &counts };
            let is_scarce = expected.iter().all(|&count| count > 20);
            assert!(cfg!(miri) || is_scarce || host.manners.decodes_pieces, "{totals:?}");
        }
    });
}

/// A partial frame costs no memory where the kernel can hold it, so that whole ones are decoded at once, whatever the
/// others do.
#[test]
fn s63_clients_of_a_host_that_counts_do_not_wait() {
    const OTHERS: usize = if cfg!(miri) { 20 } else { 300 };
    in_modes(&[Mode::Level, Mode::OneShot, Mode::Edge], |mode| {
        let [counting, plain] = [Some(usize::MAX), None].map(|counts| {
            let manners = Manners { counts, polls_each: 1, advances_each: 1, ..Manners::default() };
            let mut host = Host::with(mode, 1, manners, OTHERS);
            for _ in 0..SECONDS * 200 * MS / STEP_NS {
                host.iterate();
            }
            let honest = &host.clients[..HONEST];
            let frames: u64 = honest.iter().map(|client| client.frames).sum();
            println!("{counts:?}: frames {frames}, longest {} ms, {:?}", host.longest_ns / MS, host.pool.totals());
            assert!(cfg!(miri) || frames > 100);
            (host.longest_ns, host.pool.totals())
        });
        assert!(cfg!(miri) || (plain.0 > 500 * MS && plain.1.claims > 100), "given: memory is short: {plain:?}");
        let (longest_ns, totals) = counting;
        assert_eq!((longest_ns, totals.claims), (0, 0), "{totals:?}");
        assert!(cfg!(miri) || totals.trials > 20, "the others are tried: {totals:?}");
    });
}
