//! Correct hosts of every mode, over the receivers and over the machine alone, on a transport that behaves as `epoll`
//! does. Whatever the order of events: every byte is decoded once and in order, every end is reported once, no turn is
//! without end, and nothing is held when all is over.

mod sides;

use demuxbuf::connection::{Action, Actions, Event, Mode, Policy};
use sides::{Bare, Convenient, Side};
use std::ops::Range;

const CONNECTIONS: usize = 4;
const BUFFER_BYTES: u32 = 128;
/// Far more than any of these schedules needs: a host that takes longer makes no progress.
const ROUNDS_MAX: u32 = 10_000;
const STEPS_PER_TURN_MAX: u32 = 1_000;

/// Pseudo-random numbers (SplitMix64): the same for the same seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    fn within(&mut self, range: Range<usize>) -> usize {
        range.start + (self.roll() % range.len() as u64) as usize
    }

    fn one_in(&mut self, chances: u64) -> bool {
        self.roll() % chances == 0
    }
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
        let mut dice = Dice(seed);
        let policy = Policy {
            mode,
            reads_per_wake: dice.within(0..4) as u8,
            park_bytes: [0, 16, 64][dice.within(0..3)],
            reclaim_bytes: 0,
            resume_free_bytes: [0, 40, 1000][dice.within(0..3)],
            pause_when_blocked: dice.one_in(2),
        };
        let (buffers, slots) = (dice.within(1..4) as u32, dice.within(0..CONNECTIONS + 1) as u32);
        Settings { seed, policy, buffers, slots, lifeline: dice.one_in(2) }
    }
}

/// One peer, its socket here, and how far its bytes were decoded.
#[derive(Default)]
struct Stream {
    /// All the peer sends, and where each of its frames ends; the last may be cut short.
    script: Vec<u8>,
    ends: Vec<usize>,
    /// How much of it has been sent, received and decoded.
    sent: usize,
    received: usize,
    decoded: usize,
    /// The peer is done, and how; an error loses what was not received.
    peer_ended: bool,
    peer_fails: bool,
    /// The poller: read interest is armed; edge-triggered: something changed since it was reported.
    armed: bool,
    changed: bool,
    /// Completion: a receive is submitted; and it is being cancelled.
    submitted: bool,
    cancelled: bool,
    /// The host's own state.
    scheduled: bool,
    failed: bool,
    closed: bool,
    paused: bool,
    blocked: u32,
    reads_in_turn: u32,
}

impl Stream {
    fn draw(dice: &mut Dice) -> Stream {
        let mut stream = Stream { peer_fails: dice.one_in(6), ..Stream::default() };
        for _ in 0..dice.within(0..12) {
            let largest = if dice.one_in(20) { BUFFER_BYTES * 2 } else { BUFFER_BYTES };
            let bytes = if dice.one_in(2) { dice.within(1..12) } else { dice.within(1..largest as usize + 1) };
            stream.ends.push(stream.ends.last().copied().unwrap_or(0) + bytes);
        }
        let all = stream.ends.last().copied().unwrap_or(0);
        stream.script = (0..all).map(|_| dice.roll() as u8).collect();
        if all > 0 && dice.one_in(3) {
            stream.script.truncate(all - dice.within(0..all.min(20)));
        }
        stream
    }

    fn has_something(&self) -> bool {
        self.received < self.sent || self.peer_ended
    }

    /// Where the frame ends that the next byte belongs to.
    fn next_end(&self) -> usize {
        *self.ends.iter().find(|&&end| end > self.decoded).expect("bytes are left, so their frame is")
    }

    /// The last boundary of frames at or before the end of the script.
    fn last_boundary(&self) -> usize {
        self.ends.iter().copied().filter(|&end| end <= self.script.len()).max().unwrap_or(0)
    }
}

struct World<S> {
    side: S,
    streams: Vec<Stream>,
    dice: Dice,
    settings: Settings,
}

impl<S: Side> World<S> {
    fn run(settings: Settings, side: S) {
        let mut dice = Dice(settings.seed ^ 0x5eed);
        let streams = (0..CONNECTIONS).map(|_| Stream::draw(&mut dice)).collect();
        let mut world = World { side, streams, dice, settings };
        for at in 0..CONNECTIONS {
            world.work(at);
        }
        for _ in 0..ROUNDS_MAX {
            world.streams.iter_mut().for_each(|stream| stream.reads_in_turn = 0);
            if world.streams.iter().all(|stream| stream.closed) {
                assert_eq!(world.side.held(), 0, "nothing is held when all are closed");
                return;
            }
            let moved = world.let_peers_send() | world.disturb();
            let moved = world.wake_scheduled() | world.poll() | moved;
            let moved = world.drain_grants() | moved;
            world.side.check();
            if !moved && world.is_quiet() {
                panic!("stuck: {}", world.describe());
            }
        }
        panic!("no end: {}", world.describe());
    }

    fn describe(&self) -> String {
        let open = (0..CONNECTIONS).filter(|&at| !self.streams[at].closed);
        let lines = open.map(|at| {
            let stream = &self.streams[at];
            let (sent, received, decoded) = (stream.sent, stream.received, stream.decoded);
            let connection = self.side.connection(at);
            format!(
                "\n  {at}: sent {sent}, received {received}, decoded {decoded}, {connection:?}, {:?}",
                self.side.pending(at)
            )
        });
        lines.collect()
    }

    /// Nothing more comes from outside.
    fn is_quiet(&self) -> bool {
        self.streams.iter().all(|stream| stream.closed || (stream.peer_ended && !stream.paused && stream.blocked == 0))
    }

    fn let_peers_send(&mut self) -> bool {
        let mut moved = false;
        for at in 0..CONNECTIONS {
            let stream = &mut self.streams[at];
            if stream.peer_ended || !self.dice.one_in(3) {
                continue;
            }
            let left = stream.script.len() - stream.sent;
            if left > 0 {
                stream.sent += self.dice.within(1..left.min(200) + 1);
            }
            stream.peer_ended = stream.sent == stream.script.len() && self.dice.one_in(2);
            stream.changed = true;
            moved = true;
        }
        moved
    }

    /// What a host does for reasons of its own, and the pool when it is exhausted.
    fn disturb(&mut self) -> bool {
        let at = self.dice.within(0..CONNECTIONS);
        if self.streams[at].closed {
            return false;
        }
        let stream = &mut self.streams[at];
        let event = match self.dice.within(0..24) {
            0 if !stream.failed => Event::PauseRecv,
            1..4 if stream.paused => Event::ResumeRecv,
            4..8 if stream.blocked != 0 => Event::Unblock { reasons: 1 << stream.blocked.trailing_zeros() },
            8 => Event::ReclaimRequested,
            9 => Event::LeaseExpired,
            10 => Event::Wake,
            // A hang-up is seen without a receive, also while waiting or parked.
            11 if stream.peer_ended && stream.received == stream.sent && stream.peer_fails => Event::TransportError,
            11 if stream.peer_ended && stream.received == stream.sent => Event::EndOfStream,
            12 if self.dice.one_in(8) => Event::Fail,
            13 if !stream.failed => {
                let taken = self.take(at);
                self.work(at);
                return taken;
            }
            14 => Event::Readable,
            _ => return false,
        };
        match event {
            Event::PauseRecv => stream.paused = true,
            Event::ResumeRecv => stream.paused = false,
            Event::Unblock { reasons } => stream.blocked &= !reasons,
            Event::Fail => (stream.failed, stream.blocked) = (true, 0),
            // The outcome of a receive in flight.
            Event::EndOfStream | Event::TransportError => (stream.submitted, stream.cancelled) = (false, false),
            // Read interest reports the transport. A report too many is harmless, but not from one-shot interest that
            // is off.
            Event::Readable if !matches!(self.settings.policy.mode, Mode::Level | Mode::Edge) => return false,
            _ => {}
        }
        if matches!(event, Event::Wake | Event::Readable) {
            stream.reads_in_turn = 0;
        }
        self.side.handle(at, event);
        self.work(at);
        true
    }

    /// Passes a whole buffer on.
    fn take(&mut self, at: usize) -> bool {
        let Some(bytes) = self.side.take(at) else {
            return false;
        };
        let stream = &mut self.streams[at];
        assert_eq!(bytes, stream.script[stream.decoded..stream.received]);
        stream.decoded = stream.received;
        true
    }

    fn wake_scheduled(&mut self) -> bool {
        let mut moved = false;
        for at in 0..CONNECTIONS {
            if std::mem::take(&mut self.streams[at].scheduled) && !self.streams[at].closed {
                self.streams[at].reads_in_turn = 0;
                self.side.handle(at, Event::Wake);
                self.work(at);
                moved = true;
            }
        }
        moved
    }

    fn drain_grants(&mut self) -> bool {
        let mut moved = false;
        while let Some(at) = self.side.next_grant() {
            self.streams[at].reads_in_turn = 0;
            self.work(at);
            moved = true;
        }
        moved
    }

    fn poll(&mut self) -> bool {
        let mut moved = false;
        for at in 0..CONNECTIONS {
            let stream = &mut self.streams[at];
            if stream.closed {
                continue;
            }
            let reported = match self.settings.policy.mode {
                Mode::Level => stream.armed && stream.has_something(),
                Mode::Edge => stream.armed && stream.has_something() && std::mem::take(&mut stream.changed),
                Mode::Completion if stream.submitted => {
                    moved |= self.complete(at);
                    continue;
                }
                Mode::OneShot | Mode::Optimistic | Mode::Completion => {
                    let reported = stream.armed && stream.has_something();
                    stream.armed &= !reported;
                    reported
                }
                mode => unreachable!("no host was written for {mode:?}"),
            };
            if !reported {
                continue;
            }
            stream.reads_in_turn = 0;
            let before = self.side.connection(at).clone();
            let actions = self.side.handle(at, Event::Readable);
            let idle = actions.is_empty() && before == *self.side.connection(at);
            assert!(
                self.settings.policy.mode != Mode::Level || !idle,
                "a repeated report without a cause: {}",
                self.describe()
            );
            self.work(at);
            moved = true;
        }
        moved
    }

    /// Does what is pending until nothing is.
    fn work(&mut self, at: usize) {
        for _ in 0..STEPS_PER_TURN_MAX {
            let actions = self.side.pending(at);
            let reports = actions.intersection(Actions::ACKNOWLEDGED);
            if !reports.is_empty() {
                self.acknowledge(at, reports);
            } else if actions.has(Action::Decode) {
                self.decode(at);
            } else if actions.has(Action::Recv) && self.submits(at) {
                self.side.submit(at);
                self.streams[at].submitted = true;
            } else if actions.has(Action::Recv) {
                self.receive(at);
            } else {
                return;
            }
            self.side.check();
            if self.streams[at].closed {
                return;
            }
        }
        panic!("an iteration without end: {}", self.describe());
    }

    /// A completion host submits a receive, or tries at once and asks for a poll.
    fn submits(&mut self, at: usize) -> bool {
        assert!(!self.streams[at].submitted, "one receive at a time");
        self.settings.policy.mode == Mode::Completion && self.dice.one_in(2)
    }

    /// Completes a submitted receive, if something came or it was cancelled; returns whether it did.
    fn complete(&mut self, at: usize) -> bool {
        let stream = &mut self.streams[at];
        let has_something = stream.has_something();
        if !has_something && !stream.cancelled {
            return false;
        }
        // A receive that is cancelled may have been complete already.
        let in_time = has_something && (!stream.cancelled || self.dice.one_in(2));
        (stream.submitted, stream.cancelled) = (false, false);
        let there = stream.sent - stream.received;
        if !in_time {
            self.side.handle(at, Event::WouldBlock);
        } else if there > 0 {
            let bytes = self.side.submitted_bytes(at).min(there);
            let bytes = if self.dice.one_in(4) { self.dice.within(1..bytes + 1) } else { bytes };
            let range = stream.received..stream.received + bytes;
            stream.received = range.end;
            self.side.complete(at, &stream.script[range]);
        } else {
            let event = if stream.peer_fails { Event::TransportError } else { Event::EndOfStream };
            self.side.handle(at, event);
        }
        self.work(at);
        true
    }

    fn acknowledge(&mut self, at: usize, reports: Actions) {
        let stream = &mut self.streams[at];
        if reports.has(Action::WantRecv) {
            stream.armed = true;
            stream.changed = true;
        }
        if reports.has(Action::StopRecv) {
            assert!(stream.armed || stream.submitted || stream.cancelled, "nothing is there to stop");
            (stream.armed, stream.cancelled) = (false, stream.submitted);
        }
        stream.scheduled |= reports.has(Action::Reschedule);
        if reports.has(Action::End) {
            let truncated = self.side.connection(at).truncated_bytes() as usize;
            let stream = &self.streams[at];
            assert_eq!(stream.blocked, 0, "no end while decoding is blocked");
            if !stream.failed {
                assert_eq!(stream.received - stream.decoded, truncated);
                assert!(stream.peer_fails || stream.received == stream.script.len(), "bytes were lost");
                assert!(stream.peer_fails || stream.decoded >= stream.last_boundary(), "frames were lost");
            }
        }
        self.side.handle(at, Event::Done(reports));
        if reports.has(Action::CannotFit) {
            let stream = &mut self.streams[at];
            assert!(stream.next_end() - stream.decoded > BUFFER_BYTES as usize, "this frame fits");
            (stream.failed, stream.blocked) = (true, 0);
            self.side.handle(at, Event::Fail);
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
        let area = self.side.receive_area(at);
        assert!(!area.is_empty(), "a receive of nothing");
        let there = stream.sent - stream.received;
        if stream.peer_ended && stream.peer_fails && there > 0 && self.dice.one_in(4) {
            self.side.handle(at, Event::TransportError);
        } else if there > 0 {
            let bytes = if self.dice.one_in(4) { self.dice.within(1..area.len() + 1) } else { area.len() }.min(there);
            area[..bytes].copy_from_slice(&stream.script[stream.received..stream.received + bytes]);
            stream.received += bytes;
            self.side.handle(at, Event::Received { bytes: bytes as u32 });
        } else if stream.peer_ended {
            let event = if stream.peer_fails { Event::TransportError } else { Event::EndOfStream };
            self.side.handle(at, event);
        } else {
            self.side.handle(at, Event::WouldBlock);
        }
    }

    fn decode(&mut self, at: usize) {
        if self.dice.one_in(8) && self.take(at) {
            return;
        }
        let data = self.side.data(at);
        let stream = &mut self.streams[at];
        assert_eq!(data, stream.script[stream.decoded..stream.received], "the bytes are those that were sent");
        let end = stream.next_end();
        // Some frames are decoded as they arrive, others when they are whole.
        let whole = end - stream.decoded <= data.len();
        let bytes = if whole { end - stream.decoded } else { self.dice.within(0..data.len() + 1) };
        stream.decoded += bytes;
        let left = data.len() - bytes;
        self.side.handle(at, Event::Consumed { bytes: bytes as u32 });
        let stream = &mut self.streams[at];
        if !whole {
            // If a decoder asked for more than is left of the frame, it would wait for what never comes.
            self.side.handle(at, Event::NeedMore { bytes: (end - stream.decoded - left) as u32 });
        }
        match self.dice.within(0..12) {
            0 => {
                let reasons = 1 << self.dice.within(0..3);
                stream.blocked |= reasons;
                self.side.handle(at, Event::Block { reasons });
            }
            1 | 2 => {
                self.side.handle(at, Event::Yield);
            }
            _ => {}
        }
    }
}

fn try_all(run: fn(Settings)) {
    for mode in Mode::ALL {
        for seed in 0..200 {
            let settings = Settings::draw(seed, mode);
            let outcome = std::panic::catch_unwind(|| run(settings));
            assert!(outcome.is_ok(), "{settings:?}");
        }
    }
}

#[test]
fn host_over_a_pool_finishes_in_every_mode() {
    try_all(|settings| World::run(settings, Convenient::new(&settings)));
}

#[test]
fn host_with_its_own_buffers_finishes_in_every_mode() {
    try_all(|settings| World::run(settings, Bare::new(&settings)));
}
