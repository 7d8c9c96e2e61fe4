//! What can be seen of a connection from outside, and what must always hold of it.

use demuxbuf::connection::{Action, Actions, Connection, EndKind, Event, Mode};
use demuxbuf_capi::{demuxbuf_connection_info, demuxbuf_receiver_info};

/// What `describe` reports of a connection, in Rust and in C.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of `demuxbuf_connection_info`")]
pub struct Facts {
    pub buffered_bytes: u32,
    pub capacity: u32,
    pub needed_bytes: u32,
    pub blocked: u32,
    pub pending: u32,
    pub truncated_bytes: u32,
    pub hold: u8,
    pub end: u8,
    pub waiting: bool,
    pub armed: bool,
    pub ready: bool,
    pub failed: bool,
    pub open: bool,
    pub mode: u8,
    pub paused: bool,
    pub full: bool,
    pub yielded: bool,
    pub in_flight: bool,
    pub peer_closed: bool,
}

impl From<&Connection> for Facts {
    fn from(connection: &Connection) -> Facts {
        Facts {
            buffered_bytes: connection.buffered_bytes(),
            capacity: connection.capacity(),
            needed_bytes: connection.needed_bytes(),
            blocked: connection.blocked(),
            pending: connection.pending().bits(),
            truncated_bytes: connection.truncated_bytes(),
            hold: connection.hold() as u8,
            end: match connection.end() {
                None => 0,
                Some(EndKind::Stream) => 1,
                Some(EndKind::Error) => 2,
            },
            waiting: connection.is_waiting(),
            armed: connection.is_armed(),
            ready: connection.is_ready(),
            failed: connection.is_failed(),
            open: connection.is_open(),
            mode: connection.policy().mode as u8,
            paused: connection.is_paused(),
            full: connection.is_full(),
            yielded: connection.has_yielded(),
            in_flight: connection.is_in_flight(),
            peer_closed: connection.has_peer_closed(),
        }
    }
}

/// The two C structs have these fields alike.
macro_rules! from_c {
    ($info:ident) => {
        impl From<&$info> for Facts {
            fn from(info: &$info) -> Facts {
                Facts {
                    buffered_bytes: info.buffered_bytes,
                    capacity: info.capacity,
                    needed_bytes: info.needed_bytes,
                    blocked: info.blocked,
                    pending: info.pending,
                    truncated_bytes: info.truncated_bytes,
                    hold: info.hold,
                    end: info.end,
                    waiting: info.waiting != 0,
                    armed: info.armed != 0,
                    ready: info.ready != 0,
                    failed: info.failed != 0,
                    open: info.open != 0,
                    mode: info.mode,
                    paused: info.paused != 0,
                    full: info.full != 0,
                    yielded: info.yielded != 0,
                    in_flight: info.in_flight != 0,
                    peer_closed: info.peer_closed != 0,
                }
            }
        }
    };
}

from_c!(demuxbuf_connection_info);
from_c!(demuxbuf_receiver_info);

/// Checks what must hold of every connection after every event, by what can be seen of it alone.
///
/// # Errors
///
/// Names the rule that is broken.
pub fn check_facts(facts: &Facts) -> Result<(), String> {
    let has = |action: Action| facts.pending & action as u32 != 0;
    let excluded = |a: Action, b: Action| !(has(a) && has(b));
    let rules = [
        ("I2: what is held has a capacity, and nothing held has none", (facts.hold == 0) == (facts.capacity == 0)),
        (
            "I2: a holder of a buffer does not go on waiting",
            !(facts.hold == 2 && facts.waiting) || has(Action::CancelRequest),
        ),
        ("I2: no request while one is queued", !(has(Action::RequestBuffer) && facts.waiting)),
        ("I2: no request while a buffer is held", !(has(Action::RequestBuffer) && facts.hold == 2)),
        ("I4: read interest is armed only while it is off", !(has(Action::WantRecv) && facts.armed)),
        (
            "I4: only armed read interest, or a receive in flight, is stopped",
            !has(Action::StopRecv) || facts.armed || facts.in_flight,
        ),
        ("memory in flight stays where it is", !facts.in_flight || (facts.hold != 0 && facts.pending & MOVES == 0)),
        ("I4: nothing is received after the end", !(has(Action::Recv) && facts.end != 0)),
        ("I4: a receive has room", !has(Action::Recv) || facts.buffered_bytes < facts.capacity),
        ("I5: what is buffered lies inside what is held", facts.buffered_bytes <= facts.capacity),
        (
            "I5: only content is decoded or discarded, or what is received for that",
            facts.buffered_bytes > 0 || !has(Action::Decode) && (!has(Action::Discard) || has(Action::RecvWhole)),
        ),
        ("what is decoded is not discarded", excluded(Action::Decode, Action::Discard)),
        ("what can be decoded is decoded before more is received", excluded(Action::Decode, Action::Recv)),
        ("what is received into is not released", excluded(Action::Recv, Action::ReleaseBuffer)),
        (
            "a decoder that is blocked or needs bytes is not run",
            !has(Action::Decode) || (facts.blocked == 0 && facts.needed_bytes == 0),
        ),
        ("the end is not reported while blocked", !has(Action::End) || facts.failed || facts.blocked == 0),
        ("I8: an empty hold is released, received into, or too small", holds_for_a_reason(facts)),
        ("I7: only releases are left after `Close`", is_quiet_when_closed(facts)),
    ];
    match rules.iter().find(|(_, holds)| !holds) {
        Some((rule, _)) => Err(format!("{rule}: {facts:?}")),
        None => Ok(()),
    }
}

/// Actions that would release, move or lend the memory that a receive goes to.
const MOVES: u32 = Action::ReleaseBuffer as u32 | Action::Park as u32 | Action::Recv as u32 | Action::Finished as u32;

fn holds_for_a_reason(facts: &Facts) -> bool {
    let released_or_used = Action::ReleaseBuffer as u32 | Action::Recv as u32 | Action::Peek as u32;
    let lifeline = facts.hold == 1 && facts.waiting;
    let too_small = facts.hold == 2 && facts.needed_bytes > facts.capacity;
    !facts.open
        || facts.hold == 0
        || facts.buffered_bytes > 0
        || lifeline
        || too_small
        || facts.in_flight
        || facts.pending & released_or_used != 0
}

fn is_quiet_when_closed(facts: &Facts) -> bool {
    let leave = if facts.waiting { Action::CancelRequest as u32 } else { 0 };
    let release = match (facts.hold, facts.in_flight) {
        (0, _) if facts.waiting => 0,
        (0, _) => Action::Finished as u32,
        (_, false) => Action::ReleaseBuffer as u32,
        // The host is asked once to cancel the receive.
        (_, true) => facts.pending & Action::StopRecv as u32,
    };
    facts.open || facts.pending == leave | release || facts.pending == 0
}

impl Facts {
    /// How one of the pending actions may come out; `None` if nothing is pending.
    pub fn outcome(&self, choice: u8, amount: u32) -> Option<Event> {
        let pending: Vec<Action> = Actions::from_bits(self.pending)?.iter().collect();
        if self.in_flight && amount % 3 == 0 {
            return Some(self.outcome_of_flight(amount / 3));
        }
        let action = *pending.get(usize::from(choice).checked_rem(pending.len())?)?;
        let room = self.capacity.saturating_sub(self.buffered_bytes).max(1);
        Some(match (action, amount % 4) {
            (Action::RequestBuffer, 0 | 1) => Event::BufferDenied,
            (Action::RequestBuffer, _) => Event::BufferGranted { capacity: 64.max(self.buffered_bytes) },
            (Action::ReleaseBuffer, _) => Event::BufferReleased,
            (Action::Recv, _) if self.mode == Mode::Completion as u8 && amount % 8 > 2 => Event::done(Action::Recv),
            (Action::Recv, 0) => Event::WouldBlock,
            (Action::Recv, 1) => Event::Received { bytes: room },
            (Action::Recv, _) => Event::Received { bytes: 1 + amount / 4 % room },
            (Action::Peek, 0) => Event::WouldBlock,
            (Action::Peek, _) => Event::NeedMore { bytes: 1 + amount / 4 % 300 },
            (Action::RecvWhole, 0) => Event::KernelFull,
            (Action::RecvWhole, 1) => Event::WouldBlock,
            (Action::RecvWhole, _) => Event::Received { bytes: room },
            (Action::Decode, 0) => Event::NeedMore { bytes: 1 + amount / 4 % 70 },
            (Action::Decode, 1) => Event::Block { reasons: 1 },
            (Action::Decode, 2) => Event::Consumed { bytes: self.buffered_bytes },
            (Action::Decode, _) => Event::Consumed { bytes: 1 + amount / 4 % self.buffered_bytes.max(1) },
            (Action::Discard, _) if pending.contains(&Action::RecvWhole) => Event::Received { bytes: room },
            (Action::Discard, _) => Event::Consumed { bytes: self.buffered_bytes },
            (Action::Park, _) => Event::BufferParked { capacity: 64.max(self.buffered_bytes) },
            (Action::Shed, 0) => Event::Close,
            (Action::Finished, _) => Event::Attach { buffered_bytes: 0, capacity: 0 },
            (acknowledged, _) => Event::done(acknowledged),
        })
    }

    fn outcome_of_flight(&self, amount: u32) -> Event {
        let room = self.capacity.saturating_sub(self.buffered_bytes).max(1);
        match amount % 8 {
            0 | 1 => Event::WouldBlock,
            2 => Event::EndOfStream,
            3 => Event::Received { bytes: room },
            _ => Event::Received { bytes: 1 + amount / 8 % room },
        }
    }

    /// Whether nothing would ever wake a connection that could go on: it could accept bytes, read interest is off,
    /// nothing is to be done, and neither the pool nor the host's decoder owes it anything.
    pub fn is_lost(&self, accepting: bool) -> bool {
        let is_reported = self.armed || self.in_flight;
        self.open && accepting && !is_reported && self.pending == 0 && !self.waiting
    }
}
