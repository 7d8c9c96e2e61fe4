//! A connection alone: every event in every state, also those that make no sense there; the model, Rust and C.

use crate::common::trio::{Trio, check_close, check_rest};
use crate::{close, hash_of};
use demuxbuf::connection::{Action, Actions, Event, Mode, Policy};
use demuxbuf_oracle::{CConnection, Instance};
use std::panic::{AssertUnwindSafe, catch_unwind};

const SLOT: u32 = 2;
const BUFFER: u32 = 3;
/// Offset of `reads` in the bytes of a connection.
const READS: usize = 28;

#[derive(Clone)]
struct Alone {
    trio: Trio,
    policy: Policy,
}

impl Alone {
    fn new(policy: Policy) -> Alone {
        Alone { trio: Trio::new(policy), policy }
    }

    /// What is wrong is printed where it is found.
    fn checked(&mut self, act: impl FnOnce(&mut Alone)) -> Result<(), String> {
        let before = self.trio.rust.clone();
        catch_unwind(AssertUnwindSafe(|| act(self))).map_err(|_| format!("wrong, see above: {before:?}"))
    }
}

impl Instance for Alone {
    type Op = Event;

    fn ops(&mut self) -> Vec<Event> {
        let acknowledged = Actions::ACKNOWLEDGED | Action::Recv;
        let done = Action::ALL.into_iter().filter(|&action| acknowledged.has(action)).map(Event::done);
        let sync = |buffered_bytes, capacity, blocked, needed_bytes, armed| Event::Sync {
            buffered_bytes,
            capacity,
            blocked,
            needed_bytes,
            armed,
        };
        let events = [
            Event::Attach { buffered_bytes: 0, capacity: 0 },
            Event::Attach { buffered_bytes: 1, capacity: BUFFER },
            Event::Readable,
            Event::PeerClosed,
            Event::KernelFull,
            Event::BufferGranted { capacity: BUFFER },
            Event::BufferDenied,
            Event::BufferParked { capacity: SLOT },
            Event::BufferReleased,
            Event::Received { bytes: 1 },
            Event::Received { bytes: 2 },
            Event::WouldBlock,
            Event::WouldBlockArmed,
            Event::EndOfStream,
            Event::TransportError,
            Event::Consumed { bytes: 1 },
            Event::Consumed { bytes: 2 },
            Event::NeedMore { bytes: 1 },
            Event::NeedMore { bytes: BUFFER },
            Event::Block { reasons: 1 },
            Event::Unblock { reasons: 1 },
            Event::SetBlocked { reasons: 0 },
            Event::SetBlocked { reasons: 1 },
            Event::Yield,
            Event::Wake,
            Event::PauseRecv,
            Event::ResumeRecv,
            Event::Fail,
            sync(0, 0, 0, false, false),
            sync(1, SLOT, 0, true, false),
            sync(2, BUFFER, 1, false, true),
            Event::ReclaimRequested,
            Event::LeaseExpired,
            Event::Close,
        ];
        // Where the library is not optimised the instance is smaller.
        let is_rare = |event: &Event| {
            let are_blocked = matches!(event, Event::Block { .. } | Event::Unblock { .. } | Event::SetBlocked { .. });
            are_blocked
                || matches!(
                    event,
                    Event::WouldBlockArmed | Event::PauseRecv | Event::TransportError | Event::Sync { .. }
                )
        };
        events.into_iter().filter(|event| !cfg!(debug_assertions) || !is_rare(event)).chain(done).collect()
    }

    fn play(&mut self, event: Event) -> Result<(), String> {
        self.checked(|alone| alone.trio.report(event))
    }

    fn replay(&mut self, event: Event) {
        self.trio.report(event);
    }

    fn key(&self) -> u128 {
        let mut image = self.trio.c.image();
        // Reads above what is allowed in an iteration are alike.
        image[READS] = image[READS].min(self.policy.reads_per_wake);
        let mut model = Vec::with_capacity(4);
        self.trio.model.state_key(&mut model);
        hash_of(&(image, model, self.trio.owes_wake))
    }

    fn sights(&mut self, see: &mut dyn FnMut(&'static str)) {
        let facts = self.trio.model.facts();
        let pending = self.trio.rust.pending();
        pending.iter().for_each(|action| see(name(action)));
        let states = [
            ("holds nothing", facts.hold == 0),
            ("holds a slot", facts.hold == 1),
            ("holds a buffer", facts.hold == 2),
            ("waits", facts.waiting),
            ("needs bytes", facts.needed_bytes > 0),
            ("is blocked", facts.blocked != 0),
            ("is full", facts.full),
            ("is paused", facts.paused),
            ("has yielded", facts.yielded),
            ("has failed", facts.failed),
            ("ended", facts.end == 1),
            ("is broken", facts.end == 2),
            ("is in flight", facts.in_flight),
            ("peer closed", facts.peer_closed),
            ("is closed", !facts.open && pending.has(Action::Finished)),
        ];
        states.into_iter().filter(|(_, holds)| *holds).for_each(|(name, _)| see(name));
    }

    /// Hosts that do what they are asked come to rest with the right read interest, and to an end with nothing held.
    fn finish(mut self) -> Result<(), String> {
        self.checked(|alone| {
            check_rest(alone.trio.rust.clone(), alone.trio.owes_wake);
            check_close(alone.trio.rust.clone());
        })
    }
}

fn name(action: Action) -> &'static str {
    match action {
        Action::WantRecv => "WantRecv",
        Action::StopRecv => "StopRecv",
        Action::RequestBuffer => "RequestBuffer",
        Action::CancelRequest => "CancelRequest",
        Action::ReleaseBuffer => "ReleaseBuffer",
        Action::Recv => "Recv",
        Action::Decode => "Decode",
        Action::Discard => "Discard",
        Action::Park => "Park",
        Action::Shed => "Shed",
        Action::End => "End",
        Action::Finished => "Finished",
        Action::CannotFit => "CannotFit",
        Action::Reschedule => "Reschedule",
        Action::Peek => "Peek",
        Action::RecvWhole => "RecvWhole",
    }
}

const RARE_STATES: [&str; 3] = ["is paused", "is blocked", "is broken"];
const STATES: [&str; 11] = [
    "peer closed",
    "holds nothing",
    "holds a slot",
    "holds a buffer",
    "waits",
    "needs bytes",
    "has yielded",
    "is full",
    "has failed",
    "ended",
    "is closed",
];

fn run(mode: Mode, reads_ahead: bool) {
    let policy = Policy {
        mode,
        reads_per_wake: 1,
        park_bytes: 1,
        reclaim_bytes: 2,
        resume_free_bytes: 2,
        pause_when_blocked: false,
        reads_ahead,
        counting: false,
    };
    let flight = (mode == Mode::Completion).then_some("is in flight");
    let rare = RARE_STATES.into_iter().filter(|_| !cfg!(debug_assertions));
    // Pools alone ask for these.
    let of_pools = [Action::Peek, Action::RecvWhole];
    let actions = Action::ALL.into_iter().filter(|action| !of_pools.contains(action));
    let sometimes: Vec<_> = actions.map(name).chain(STATES).chain(rare).chain(flight).collect();
    let layer = if reads_ahead { " under a layer that reads ahead" } else { "" };
    close(&format!("a connection alone, {mode:?}{layer}"), &Alone::new(policy), &sometimes);
}

/// If they were counted elsewhere, states that differ would count as one, and the search would shrink unnoticed.
#[test]
fn state_key_counts_every_read() {
    let mut connection = CConnection::new(Policy::default());
    let mut report = |event| {
        connection.handle(event).expect("it makes sense");
        connection.image()
    };
    report(Event::Attach { buffered_bytes: 0, capacity: 100 });
    assert_eq!(report(Event::Readable)[READS], 0);
    assert_eq!(report(Event::Received { bytes: 7 })[READS], 1);
    let before = report(Event::Received { bytes: 9 });
    assert_eq!(before[READS], 2);
    let after = report(Event::Wake);
    let differs: Vec<usize> = (0..after.len()).filter(|&at| before[at] != after[at]).collect();
    assert_eq!(
        (differs, after[READS]),
        (vec![READS], 0),
        "a new iteration changes the count of reads and nothing else here"
    );
}

#[test]
fn level_triggered() {
    run(Mode::Level, false);
}

#[test]
fn edge_triggered() {
    run(Mode::Edge, false);
}

#[test]
fn one_shot() {
    run(Mode::OneShot, false);
}

#[test]
fn optimistic() {
    run(Mode::Optimistic, false);
}

#[test]
fn completion() {
    run(Mode::Completion, false);
}

/// In the modes in which it makes a difference to readiness; the others are searched in release builds.
#[test]
fn level_triggered_reading_ahead() {
    run(Mode::Level, true);
}

#[test]
fn one_shot_reading_ahead() {
    run(Mode::OneShot, true);
}

#[test]
#[cfg(not(debug_assertions))]
fn edge_triggered_reading_ahead() {
    run(Mode::Edge, true);
}

#[test]
#[cfg(not(debug_assertions))]
fn completion_reading_ahead() {
    run(Mode::Completion, true);
}
