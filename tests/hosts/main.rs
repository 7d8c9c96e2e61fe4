//! Correct hosts of every mode, over the receivers and over the machine alone, on random transports of the test kit.
//! Whatever the order of events: every byte is decoded once and in order, every end is reported once, memory in flight
//! is the system's, no loop iteration is without end, and nothing is held when all is over.

mod bare;
mod sides;

use bare::Bare;
use demuxbuf::connection::{Action, Actions, EndKind, Event, Mode, Policy};
use demuxbuf_testkit::{EventLoop, Rng, Socket, check_in_flight, in_modes};
use sides::{Pooled, Side};
use std::collections::BTreeMap;

const CONNECTIONS: usize = 4;
const BUFFER_BYTES: u32 = 128;
/// Far more than any of these schedules needs: a host that takes longer makes no progress.
const ROUNDS_MAX: u32 = 10_000;
/// Miri is some hundred times slower.
const SEEDS: u64 = if cfg!(miri) { 1 } else { 200 };

/// One chance in this many.
fn one_in(rng: &mut Rng, chances: u32) -> bool {
    rng.u32(..chances) == 0
}

#[derive(Clone, Copy, Debug)]
struct Settings {
    seed: u64,
    policy: Policy,
    buffers: u32,
    slots: u32,
}

impl Settings {
    fn draw(seed: u64, mode: Mode) -> Settings {
        let mut rng = Rng::with_seed(seed);
        let policy = Policy {
            mode,
            reads_per_wake: rng.u8(..4),
            park_bytes: [0, 16, 64][rng.usize(..3)],
            reclaim_bytes: 0,
            resume_free_bytes: [0, 40, 1000][rng.usize(..3)],
            pause_when_blocked: rng.bool(),
            reads_ahead: rng.bool(),
            counting: false,
        };
        let (buffers, slots) = (rng.u32(1..4), rng.u32(..=CONNECTIONS as u32));
        Settings { seed, policy, buffers, slots }
    }
}

/// One peer, its socket here, and what the host knows of it.
struct Stream {
    socket: Socket,
    /// All the peer sends, and where each of its frames ends; the last may be cut short.
    script: Vec<u8>,
    ends: Vec<usize>,
    sent: usize,
    /// How the peer ends; an error loses what was not received.
    end: EndKind,
    is_failed: bool,
    /// Its end was reported, or it was closed; a receive may still be in flight.
    is_ending: bool,
    is_closed: bool,
    is_paused: bool,
    /// The receive in flight is to be cancelled.
    is_cancelled: bool,
    blocked: u32,
    reads_in_iteration: u32,
}

impl Stream {
    fn draw(rng: &mut Rng, policy: &Policy) -> Stream {
        let mut ends = Vec::new();
        for _ in 0..rng.usize(..12) {
            let largest = if one_in(rng, 20) { BUFFER_BYTES * 2 } else { BUFFER_BYTES };
            let bytes = if rng.bool() { rng.usize(1..12) } else { rng.usize(1..=largest as usize) };
            ends.push(ends.last().copied().unwrap_or(0) + bytes);
        }
        let all = ends.last().copied().unwrap_or(0);
        let mut script = vec![0; all];
        rng.fill(&mut script);
        if all > 0 && one_in(rng, 3) {
            script.truncate(all - rng.usize(..all.min(20)));
        }
        let socket = Socket::random(policy.mode, &[], rng.fork());
        Stream {
            socket: if policy.reads_ahead { socket.behind_a_layer(100) } else { socket },
            script,
            ends,
            sent: 0,
            end: if one_in(rng, 6) { EndKind::Error } else { EndKind::Stream },
            is_failed: false,
            is_ending: false,
            is_closed: false,
            is_paused: false,
            is_cancelled: false,
            blocked: 0,
            reads_in_iteration: 0,
        }
    }

    fn received(&self) -> usize {
        self.sent - self.socket.unread()
    }

    fn decoded(&self) -> usize {
        self.sent - self.socket.undecoded()
    }

    /// Where the frame ends that the next byte belongs to.
    fn next_end(&self) -> usize {
        *self.ends.iter().find(|&&end| end > self.decoded()).expect("bytes are left, so their frame is")
    }

    /// The last boundary of frames at or before the end of the script.
    fn last_boundary(&self) -> usize {
        self.ends.iter().copied().filter(|&end| end <= self.script.len()).max().unwrap_or(0)
    }

    /// Nothing more comes from outside, and nothing is in flight.
    fn is_quiet(&self) -> bool {
        let waits_for_host = self.is_paused || self.blocked != 0;
        self.is_closed || (self.socket.end().is_some() && !self.socket.is_due() && !waits_for_host)
    }
}

/// What the schedules reach while a receive is in flight, and the least number of times that all of them together do.
/// "Cancelled late": the receive brought bytes or the end all the same. "Emptied": all that was buffered was decoded.
const REACHED_MIN: [(&str, u32); 8] = [
    ("submitted", 1_000),
    ("cancelled", 300),
    ("cancelled late", 100),
    ("granted", 5),
    ("failed", 10),
    ("closed", 10),
    ("decoded", 50),
    ("emptied", 10),
];
/// Over a pool: a borrow ends with what could be decoded later, so that no receive is in flight behind that.
const REACHED_MIN_POOLED: usize = 6;

type Reached = BTreeMap<&'static str, u32>;

struct RandomHost<S> {
    side: S,
    streams: Vec<Stream>,
    rng: Rng,
    settings: Settings,
    reached: Reached,
}

impl<S: Side> RandomHost<S> {
    fn run_all(settings: Settings, side: S) -> Reached {
        let mut rng = Rng::with_seed(settings.seed ^ 0x5eed);
        let streams = (0..CONNECTIONS).map(|_| Stream::draw(&mut rng, &settings.policy)).collect();
        let mut host = RandomHost { side, streams, rng, settings, reached: Reached::new() };
        for at in 0..CONNECTIONS {
            host.run(at);
        }
        for round in 1..=ROUNDS_MAX {
            if host.streams.iter().all(|stream| stream.is_closed) {
                assert_eq!(host.side.held(), 0, "nothing is held when all are closed");
                return host.reached;
            }
            let is_moving = host.iterate();
            let named = host.side.audit(u64::from(round) * 1_000_000);
            assert!(named.is_empty(), "{named:?}: {}", host.describe());
            assert!(is_moving || !host.streams.iter().all(Stream::is_quiet), "stuck: {}", host.describe());
        }
        panic!("no end: {}", host.describe());
    }

    /// One loop iteration, in which events come in any order; returns whether anything happened.
    fn iterate(&mut self) -> bool {
        self.streams.iter_mut().for_each(|stream| stream.reads_in_iteration = 0);
        let mut is_moving = self.let_peers_send();
        let mut order: Vec<usize> = (0..CONNECTIONS).collect();
        self.rng.shuffle(&mut order);
        for at in order {
            is_moving |= self.disturb(at);
            is_moving |= self.serve_socket(at) > 0;
            if one_in(&mut self.rng, 4) {
                is_moving |= self.drain_notices() > 0;
            }
        }
        is_moving |= self.drain_notices() > 0;
        is_moving
    }

    fn describe(&self) -> String {
        let open = (0..CONNECTIONS).filter(|&at| !self.streams[at].is_closed);
        let lines = open.map(|at| {
            let stream = &self.streams[at];
            let (received, decoded) = (stream.received(), stream.decoded());
            format!(
                "\n  {at}: received {received}, decoded {decoded}, {:?}, {:?}, {:?}",
                self.side.connection(at),
                self.side.pending(at),
                stream.socket
            )
        });
        lines.collect()
    }

    /// What must hold after every event.
    fn check(&self) {
        self.side.check();
        let open = |at: &usize| !self.streams[*at].is_closed;
        check_in_flight((0..CONNECTIONS).filter(open).map(|at| &self.streams[at].socket));
        for at in (0..CONNECTIONS).filter(open) {
            let (stream, connection) = (&self.streams[at], self.side.connection(at));
            assert_eq!(connection.is_in_flight(), stream.socket.is_submitted(), "the machine knows what is in flight");
            assert_eq!(connection.is_armed(), stream.socket.is_armed(), "read interest is as the machine believes");
            if !stream.is_failed && !stream.is_ending {
                assert_eq!(self.side.data(at), stream.socket.buffered(), "the bytes are those that were sent");
            }
        }
    }

    fn let_peers_send(&mut self) -> bool {
        let mut is_moving = false;
        for stream in &mut self.streams {
            if stream.socket.end().is_some() || !one_in(&mut self.rng, 3) {
                continue;
            }
            let left = stream.script.len() - stream.sent;
            if left > 0 {
                let bytes = self.rng.usize(1..=left.min(200));
                stream.socket.send(&stream.script[stream.sent..][..bytes]);
                stream.sent += bytes;
            }
            if stream.sent == stream.script.len() && self.rng.bool() {
                stream.socket.finish(stream.end);
            }
            is_moving = true;
        }
        is_moving
    }

    /// What a host does for reasons of its own, and the pool when it is exhausted.
    fn disturb(&mut self, at: usize) -> bool {
        let (draw, mode) = (self.rng.u32(..24), self.settings.policy.mode);
        let stream = &mut self.streams[at];
        if stream.is_closed {
            return false;
        }
        let event = match draw {
            0 if !stream.is_failed => Event::PauseRecv,
            1..4 if stream.is_paused => Event::ResumeRecv,
            4..6 if stream.blocked != 0 => Event::Unblock { reasons: 1 << stream.blocked.trailing_zeros() },
            6..8 if stream.blocked != 0 => Event::SetBlocked { reasons: stream.blocked & (stream.blocked - 1) },
            8 => Event::ReclaimRequested,
            9 => Event::LeaseExpired,
            10 => Event::Wake,
            // A hang-up is seen without a receive, also while waiting or parked. It is the outcome of one in flight.
            11 if stream.socket.end().is_some() && stream.socket.unread() == 0 => stream.socket.hang_up(stream.end),
            12 if !stream.is_ending && one_in(&mut self.rng, 8) => Event::Fail,
            13 if !stream.is_failed && !stream.is_ending => {
                let is_taken = self.take(at);
                self.run(at);
                return is_taken;
            }
            // Read interest reports the transport. A report too many is harmless, but not from one-shot interest that
            // is off.
            14 if matches!(mode, Mode::Level | Mode::Edge) => Event::Readable,
            15 if one_in(&mut self.rng, 8) => Event::Close,
            _ => return false,
        };
        match event {
            Event::PauseRecv => stream.is_paused = true,
            Event::ResumeRecv => stream.is_paused = false,
            Event::Unblock { reasons } => stream.blocked &= !reasons,
            Event::SetBlocked { reasons } => stream.blocked = reasons,
            Event::Fail => (stream.is_failed, stream.blocked) = (true, 0),
            // The host has no reasons of its own any more.
            Event::Close => (stream.is_ending, stream.is_paused, stream.blocked) = (true, false, 0),
            _ => {}
        }
        self.report_and_run(at, event);
        let stream = &self.streams[at];
        assert!(
            event != Event::Close || stream.is_closed || stream.socket.is_due(),
            "closing cancels what is in flight"
        );
        true
    }

    /// Takes down what is reported of a connection while a receive of it is in flight.
    fn count(&mut self, at: usize, event: Event) {
        let stream = &mut self.streams[at];
        let (is_in_flight, was_cancelled) = (stream.socket.is_submitted(), stream.is_cancelled);
        stream.is_cancelled &= is_in_flight;
        let reached = match event {
            Event::Received { .. } | Event::EndOfStream | Event::TransportError if was_cancelled => "cancelled late",
            Event::Done(actions) if actions.has(Action::Recv) => "submitted",
            _ if !is_in_flight => return,
            Event::Done(actions) if actions.has(Action::StopRecv) => {
                stream.is_cancelled = true;
                "cancelled"
            }
            Event::Consumed { bytes: 0 } => return,
            Event::Consumed { bytes } if bytes < self.side.connection(at).buffered_bytes() => "decoded",
            Event::Consumed { .. } => "emptied",
            Event::Fail => "failed",
            Event::Close => "closed",
            _ => return,
        };
        self.reach(reached);
    }

    fn reach(&mut self, what: &'static str) {
        *self.reached.entry(what).or_default() += 1;
    }

    /// Passes a whole buffer on.
    fn take(&mut self, at: usize) -> bool {
        let Some(bytes) = self.side.take(at) else {
            return false;
        };
        let socket = &mut self.streams[at].socket;
        assert_eq!(bytes, socket.buffered());
        socket.consume(bytes.len());
        self.check();
        true
    }
}

impl<S: Side> EventLoop for RandomHost<S> {
    fn connections(&self) -> usize {
        CONNECTIONS
    }

    fn socket(&mut self, at: usize) -> Option<&mut Socket> {
        let stream = &mut self.streams[at];
        (!stream.is_closed).then_some(&mut stream.socket)
    }

    fn socket_and_area(&mut self, at: usize) -> (&mut Socket, &mut [u8]) {
        (&mut self.streams[at].socket, self.side.receive_area(at))
    }

    fn pending(&self, at: usize) -> Actions {
        self.side.pending(at)
    }

    fn report(&mut self, at: usize, event: Event) -> Actions {
        self.count(at, event);
        let stream = &mut self.streams[at];
        stream.socket.follow(event);
        if matches!(event, Event::Wake | Event::Readable) {
            stream.reads_in_iteration = 0;
        }
        let actions = self.side.handle(at, event);
        stream.is_closed = actions.has(Action::Finished);
        assert!(!stream.is_closed || stream.is_ending, "no connection finishes by itself");
        assert!(
            !stream.is_closed || !stream.socket.is_submitted(),
            "no connection finishes while a receive is in flight"
        );
        self.check();
        actions
    }

    fn report_due(&mut self, at: usize, event: Event) {
        let before = self.side.connection(at).clone();
        let actions = self.report(at, event);
        let is_repeated = event == Event::Readable && self.settings.policy.mode == Mode::Level;
        assert!(
            !is_repeated || !actions.is_empty() || before != self.side.connection(at),
            "a repeated report without a cause: {}",
            self.describe()
        );
    }

    fn acknowledge(&mut self, at: usize, actions: Actions) {
        let stream = &mut self.streams[at];
        stream.socket.acknowledge(actions);
        if actions.has(Action::End) {
            let truncated = self.side.connection(at).truncated_bytes() as usize;
            assert_eq!(stream.blocked, 0, "no end while decoding is blocked");
            if !stream.is_failed {
                let breaks = stream.end == EndKind::Error;
                assert_eq!(stream.received() - stream.decoded(), truncated);
                assert!(breaks || stream.received() == stream.script.len(), "bytes were lost");
                assert!(breaks || stream.decoded() >= stream.last_boundary(), "frames were lost");
            }
            stream.is_ending = true;
        }
        self.report(at, Event::done(actions));
        if actions.has(Action::CannotFit) {
            let stream = &mut self.streams[at];
            assert!(stream.next_end() - stream.decoded() > BUFFER_BYTES as usize, "this frame fits");
            (stream.is_failed, stream.blocked) = (true, 0);
            self.report(at, Event::Fail);
        }
        if actions.has(Action::End) {
            assert!(!self.side.pending(at).has(Action::End), "an end is reported once");
            self.report(at, Event::Close);
            assert!(self.streams[at].is_closed, "nothing is in flight after an end, so closing ends everything");
        }
    }

    /// A completion host submits a receive, or tries at once and asks for a poll.
    fn submits(&mut self, _at: usize) -> bool {
        self.settings.policy.mode == Mode::Completion && self.rng.bool()
    }

    fn before_receive(&mut self, at: usize) {
        let allowed = match self.settings.policy.reads_per_wake {
            0 => Policy::READS_PER_WAKE_DEFAULT,
            allowed => allowed,
        };
        let stream = &mut self.streams[at];
        stream.reads_in_iteration += 1;
        assert!(stream.reads_in_iteration <= u32::from(allowed) + 1, "more receives than the iteration allows");
    }

    fn decode(&mut self, at: usize) {
        if one_in(&mut self.rng, 8) && self.take(at) {
            return;
        }
        let stream = &self.streams[at];
        let there = self.side.data(at).len();
        let left = stream.next_end() - stream.decoded();
        // Some frames are decoded as they arrive, others when they are whole.
        let some = if self.rng.bool() { there } else { self.rng.usize(..=there) };
        let bytes = if left <= there { left } else { some };
        self.report(at, Event::Consumed { bytes: bytes as u32 });
        if left > there {
            // If a decoder asked for more than is left of the frame, it would wait for what never comes.
            self.report(at, Event::NeedMore { bytes: (left - there) as u32 });
        }
        match self.rng.u32(..12) {
            0..3 => {
                let reasons = 1 << self.rng.u32(..3);
                self.streams[at].blocked |= reasons;
                self.report(at, Event::Block { reasons });
            }
            3 | 4 => {
                self.report(at, Event::Yield);
            }
            _ => {}
        }
    }

    fn poll_notice(&mut self) -> Option<usize> {
        let at = self.side.next_grant()?;
        if self.streams[at].socket.is_submitted() {
            self.reach("granted");
        }
        self.check();
        self.streams[at].reads_in_iteration = 0;
        Some(at)
    }
}

fn try_and_reach(least: usize, run: fn(Settings) -> Reached) {
    in_modes(&Mode::ALL, |mode| {
        let mut all = Reached::new();
        for seed in 0..SEEDS {
            let settings = Settings::draw(seed, mode);
            let Ok(reached) = std::panic::catch_unwind(|| run(settings)) else { panic!("{settings:?}") };
            reached.into_iter().for_each(|(what, times)| *all.entry(what).or_default() += times);
        }
        println!("{all:?}");
        if cfg!(miri) {
            return;
        }
        let is_enough = |(what, times): &&(&'static str, u32)| all.get(what) >= Some(times);
        let enough = REACHED_MIN[..least].iter().filter(is_enough).count();
        assert_eq!(enough, if mode == Mode::Completion { least } else { 0 }, "{all:?}");
    });
}

#[test]
fn host_with_its_own_buffers_finishes_in_every_mode() {
    try_and_reach(REACHED_MIN.len(), |settings| RandomHost::run_all(settings, Bare::new(&settings)));
}

#[test]
fn host_over_a_pool_finishes_in_every_mode() {
    try_and_reach(REACHED_MIN_POOLED, |settings| RandomHost::run_all(settings, Pooled::new(&settings)));
}
