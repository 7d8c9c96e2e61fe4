//! Correct hosts of every mode, over the receivers and over the machine alone, on a transport that behaves as `epoll`
//! does. Whatever the order of events: every byte is decoded once and in order, every end is reported once, no turn is
//! without end, and nothing is held when all is over.

mod sides;

use demuxbuf::connection::{Action, Actions, EndKind, Event, Mode, Policy};
use demuxbuf_testkit::{EventLoop, MODES, Rng, Socket, numbered};
use sides::{Convenient, Plain, Side};

const CONNECTIONS: usize = 4;
const BUFFER_BYTES: u32 = 128;
/// Far more than any of these schedules needs; what takes longer makes no progress.
const ROUNDS_MAX: u32 = 10_000;
const STEPS_PER_TURN_MAX: u32 = 1_000;

fn one_in(rng: &mut Rng, chances: u32) -> bool {
    rng.u32(..chances) == 0
}

#[derive(Clone, Copy, Debug)]
struct Settings {
    seed: u64,
    policy: Policy,
    buffers: u32,
    slots: u32,
    lifeline: bool,
}

impl Settings {
    fn draw(seed: u64, mode: Mode) -> Settings {
        let mut rng = Rng::with_seed(seed);
        let policy = Policy {
            mode,
            reads_per_wake: rng.u8(0..4),
            park_bytes: [0, 16, 64][rng.usize(0..3)],
            reclaim_bytes: 0,
            resume_at: [0, 40, 1000][rng.usize(0..3)],
            pause_when_blocked: one_in(&mut rng, 2),
        };
        let (buffers, slots) = (rng.u32(1..4), rng.u32(0..=CONNECTIONS as u32));
        Settings { seed, policy, buffers, slots, lifeline: one_in(&mut rng, 2) }
    }
}

/// One peer, its socket here, and how far its bytes were decoded.
struct Stream {
    socket: Socket,
    /// All the peer sends, and where each of its elements ends; the last may be cut short.
    script: Vec<u8>,
    ends: Vec<usize>,
    /// How much of it has been sent and decoded.
    sent: usize,
    decoded: usize,
    /// How the stream will end; an error loses what was not received.
    end: EndKind,
    failed: bool,
    closed: bool,
    paused: bool,
    blocked: u32,
    reads_in_turn: u32,
}

impl Stream {
    fn draw(rng: &mut Rng, mode: Mode, at: usize) -> Stream {
        let end = if one_in(rng, 6) { EndKind::Error } else { EndKind::Stream };
        let mut ends: Vec<usize> = Vec::new();
        for _ in 0..rng.u32(0..12) {
            let largest = if one_in(rng, 20) { BUFFER_BYTES * 2 } else { BUFFER_BYTES };
            let bytes = if one_in(rng, 2) { rng.u32(1..12) } else { rng.u32(1..=largest) };
            ends.push(ends.last().copied().unwrap_or(0) + bytes as usize);
        }
        let all = ends.last().copied().unwrap_or(0);
        let cut = if all > 0 && one_in(rng, 3) { rng.usize(0..all.min(20)) } else { 0 };
        Stream {
            socket: Socket::new(mode, &[]),
            script: numbered(at as u64, 0..(all - cut) as u64),
            ends,
            sent: 0,
            decoded: 0,
            end,
            failed: false,
            closed: false,
            paused: false,
            blocked: 0,
            reads_in_turn: 0,
        }
    }

    fn fails(&self) -> bool {
        self.end == EndKind::Error
    }

    /// Where the element ends that the next byte belongs to.
    fn next_end(&self) -> usize {
        *self.ends.iter().find(|&&end| end > self.decoded).expect("bytes are left, so their element is")
    }

    /// The last boundary of elements at or before the end of the script.
    fn last_boundary(&self) -> usize {
        self.ends.iter().copied().filter(|&end| end <= self.script.len()).max().unwrap_or(0)
    }
}

struct World<S> {
    side: S,
    streams: Vec<Stream>,
    rng: Rng,
    settings: Settings,
}

impl<S: Side> World<S> {
    fn run_to_end(settings: Settings, side: S) {
        let mut rng = Rng::with_seed(settings.seed ^ 0x5eed);
        let streams = (0..CONNECTIONS).map(|at| Stream::draw(&mut rng, settings.policy.mode, at)).collect();
        let mut world = World { side, streams, rng, settings };
        (0..CONNECTIONS).for_each(|at| world.run(at));
        for _ in 0..ROUNDS_MAX {
            world.streams.iter_mut().for_each(|stream| stream.reads_in_turn = 0);
            if world.streams.iter().all(|stream| stream.closed) {
                assert_eq!(world.side.held(), 0, "nothing is held when all are closed");
                return;
            }
            let moved = world.let_peers_send() | world.disturb();
            let reports = world.serve_sockets() + world.drain_notices();
            if !moved && reports == 0 && world.is_quiet() {
                panic!("stuck: {}", world.describe());
            }
        }
        panic!("no end: {}", world.describe());
    }

    fn describe(&self) -> String {
        let open = (0..CONNECTIONS).filter(|&at| !self.streams[at].closed);
        let lines = open.map(|at| {
            let stream = &self.streams[at];
            let (sent, unread, decoded) = (stream.sent, stream.socket.unread(), stream.decoded);
            let connection = self.side.connection(at);
            format!(
                "\n  {at}: sent {sent}, unread {unread}, decoded {decoded}, {connection:?}, {:?}",
                self.side.pending(at)
            )
        });
        lines.collect()
    }

    /// Nothing more comes from outside.
    fn is_quiet(&self) -> bool {
        self.streams
            .iter()
            .all(|stream| stream.closed || (stream.socket.end().is_some() && !stream.paused && stream.blocked == 0))
    }

    fn let_peers_send(&mut self) -> bool {
        let mut moved = false;
        for at in 0..CONNECTIONS {
            let stream = &mut self.streams[at];
            if stream.socket.end().is_some() || !one_in(&mut self.rng, 3) {
                continue;
            }
            let unsent = &stream.script[stream.sent..];
            if !unsent.is_empty() {
                let bytes = self.rng.usize(1..=unsent.len().min(200));
                stream.socket.send(&unsent[..bytes]);
                stream.sent += bytes;
            }
            if stream.sent == stream.script.len() && one_in(&mut self.rng, 2) {
                stream.socket.finish(stream.end);
            }
            moved = true;
        }
        moved
    }

    /// What a host does for reasons of its own, and the pool when it is short.
    fn disturb(&mut self) -> bool {
        let at = self.rng.usize(0..CONNECTIONS);
        if self.streams[at].closed {
            return false;
        }
        let stream = &mut self.streams[at];
        let end_seen = stream.socket.end_event().filter(|_| stream.socket.unread() == 0);
        let event = match self.rng.u32(0..24) {
            0 if !stream.failed => Event::PauseRecv,
            1..4 if stream.paused => Event::ResumeRecv,
            4..8 if stream.blocked != 0 => Event::Unblock { reasons: 1 << stream.blocked.trailing_zeros() },
            8 => Event::ReclaimRequested,
            9 => Event::LeaseExpired,
            10 => Event::Wake,
            // A hang-up is seen without a receive, also while waiting or parked.
            11 => match end_seen {
                Some(end) => end,
                None => return false,
            },
            12 if one_in(&mut self.rng, 8) => Event::Fail,
            13 if !stream.failed => {
                let taken = self.take(at);
                self.run(at);
                return taken;
            }
            // One word too many about the transport is harmless, but not from a spent watch.
            14 if !matches!(self.settings.policy.mode, Mode::OneShot | Mode::Optimistic) => Event::Readable,
            _ => return false,
        };
        match event {
            Event::PauseRecv => stream.paused = true,
            Event::ResumeRecv => stream.paused = false,
            Event::Unblock { reasons } => stream.blocked &= !reasons,
            Event::Fail => (stream.failed, stream.blocked) = (true, 0),
            _ => {}
        }
        self.tell(at, event);
        self.run(at);
        true
    }

    fn tell(&mut self, at: usize, event: Event) -> Actions {
        let stream = &mut self.streams[at];
        stream.socket.follow(event);
        if matches!(event, Event::Wake | Event::Readable) {
            stream.reads_in_turn = 0;
        }
        let actions = self.side.handle(at, event);
        self.side.check();
        actions
    }

    /// Hands a whole buffer on.
    fn take(&mut self, at: usize) -> bool {
        let Some(bytes) = self.side.take(at) else {
            return false;
        };
        let stream = &mut self.streams[at];
        assert_eq!(bytes, stream.socket.buffered());
        stream.decoded += bytes.len();
        stream.socket.follow(Event::Consumed { bytes: bytes.len() as u32 });
        true
    }
}

impl<S: Side> EventLoop for World<S> {
    fn connections(&self) -> usize {
        CONNECTIONS
    }

    fn socket(&mut self, at: usize) -> Option<&mut Socket> {
        let stream = &mut self.streams[at];
        (!stream.closed).then_some(&mut stream.socket)
    }

    fn socket_and_area(&mut self, at: usize) -> (&mut Socket, &mut [u8]) {
        (&mut self.streams[at].socket, self.side.receive_area(at))
    }

    fn pending(&self, at: usize) -> Actions {
        self.side.pending(at)
    }

    fn report(&mut self, at: usize, event: Event) -> Actions {
        let before = self.side.connection(at).clone();
        let actions = self.tell(at, event);
        let is_idle = actions.is_empty() && before == *self.side.connection(at);
        let is_again = self.settings.policy.mode == Mode::Level && event == Event::Readable;
        assert!(!(is_again && is_idle), "told again for nothing: {}", self.describe());
        actions
    }

    fn poll_notice(&mut self) -> Option<usize> {
        let at = self.side.next_grant()?;
        self.side.check();
        // The memory of a submitted receive is gone.
        self.streams[at].socket.follow(Event::BufferReleased);
        self.streams[at].reads_in_turn = 0;
        Some(at)
    }

    fn acknowledge(&mut self, at: usize, reports: Actions) {
        let stream = &mut self.streams[at];
        stream.socket.acknowledge(reports);
        if reports.has(Action::End) {
            let residue = self.side.connection(at).residue() as usize;
            let stream = &self.streams[at];
            assert_eq!(stream.blocked, 0, "no end while decoding is blocked");
            if !stream.failed {
                assert_eq!(stream.socket.buffered().len(), residue);
                assert!(stream.fails() || stream.decoded + residue == stream.script.len(), "bytes were lost");
                assert!(stream.fails() || stream.decoded >= stream.last_boundary(), "elements were lost");
            }
        }
        self.report(at, Event::done(reports));
        if reports.has(Action::CannotFit) {
            let stream = &mut self.streams[at];
            assert!(stream.next_end() - stream.decoded > BUFFER_BYTES as usize, "this element fits");
            (stream.failed, stream.blocked) = (true, 0);
            self.report(at, Event::Fail);
        }
        if reports.has(Action::End) {
            assert!(!self.side.pending(at).has(Action::End), "an end is reported once");
            self.side.close(at);
            self.streams[at].closed = true;
        }
    }

    fn receive(&mut self, at: usize) {
        let stream = &mut self.streams[at];
        stream.reads_in_turn += 1;
        let allowed = match self.settings.policy.reads_per_wake {
            0 => Policy::READS_PER_WAKE_DEFAULT,
            allowed => allowed,
        };
        assert!(stream.reads_in_turn <= u32::from(allowed) + 1, "more receives than the turn allows");
        if stream.socket.end() == Some(EndKind::Error) && stream.socket.unread() > 0 && one_in(&mut self.rng, 4) {
            self.report(at, Event::TransportError);
            return;
        }
        let area = self.side.receive_area(at);
        assert!(!area.is_empty(), "a receive of nothing");
        let room = if one_in(&mut self.rng, 4) { self.rng.usize(1..=area.len()) } else { area.len() };
        let event = stream.socket.receive(&mut area[..room]);
        self.report(at, event);
    }

    fn decode(&mut self, at: usize) {
        if one_in(&mut self.rng, 8) && self.take(at) {
            return;
        }
        let data = self.side.data(at);
        let stream = &mut self.streams[at];
        assert_eq!(data, stream.socket.buffered(), "the bytes are those that were sent");
        let end = stream.next_end();
        // Some elements are decoded as they arrive, others when they are whole.
        let whole = end - stream.decoded <= data.len();
        let bytes = if whole { end - stream.decoded } else { self.rng.usize(0..=data.len()) };
        stream.decoded += bytes;
        let left = data.len() - bytes;
        self.report(at, Event::Consumed { bytes: bytes as u32 });
        if !whole {
            // Asked for more than is left of the element, a decoder would wait for what never comes.
            let bytes = (end - self.streams[at].decoded - left) as u32;
            self.report(at, Event::NeedMore { bytes });
        }
        match self.rng.u32(0..12) {
            0 => {
                let reasons = 1 << self.rng.u32(0..3);
                self.streams[at].blocked |= reasons;
                self.report(at, Event::Block { reasons });
            }
            1 | 2 => {
                self.report(at, Event::Yield);
            }
            _ => {}
        }
    }
}

fn try_all(run: fn(Settings)) {
    for mode in MODES {
        for seed in 0..200 {
            let settings = Settings::draw(seed, mode);
            let outcome = std::panic::catch_unwind(|| run(settings));
            assert!(outcome.is_ok(), "{settings:?}");
        }
    }
}

#[test]
fn every_host_over_receivers_comes_to_its_end() {
    try_all(|settings| World::run_to_end(settings, Convenient::new(&settings)));
}

#[test]
fn every_host_with_its_own_buffers_comes_to_its_end() {
    try_all(|settings| World::run_to_end(settings, Plain::new(&settings)));
}
