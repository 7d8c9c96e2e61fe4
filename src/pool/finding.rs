//! What an audit finds, and the line that names it.

use super::ReceiverId;
use crate::connection::{Action, Actions};
use core::fmt;

/// A mistake of the host, as [`Pool::poll_audit`](super::Pool::poll_audit) sees it. `Display` writes one line that
/// has what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// Which mistake.
    pub kind: FindingKind,
    /// The receiver; `None` if it is about the pool.
    pub receiver: Option<ReceiverId>,
    /// What the host gave at `attach`; 0 if it is about the pool.
    pub token: u64,
    /// The actions that are undone.
    pub actions: Actions,
    /// The time of the first audit in a row that saw it, in the host's nanoseconds.
    pub since_ns: u64,
    /// How long that was ago, in nanoseconds. 0: it began in this iteration. With `Overslept`: how long the host slept
    /// beyond `poll_timeout`.
    pub age_ns: u64,
    /// With `ReceiveIdle`: requests that wait. With `Spinning`: iterations in a row. Else 0.
    pub count: u32,
}

/// The kinds of mistakes; the numbers are part of the C ABI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
#[non_exhaustive]
pub enum FindingKind {
    /// An action is pending.
    ActionUndone = 1,
    /// `Recv` or `Decode` was pending at an earlier audit, and nothing happened to the receiver since. With
    /// level-triggered read interest that is armed, `Recv` alone may stay pending, and is named only while requests
    /// wait.
    AreaOutlived = 2,
    /// `Reschedule` was reported done in an earlier iteration, and `Wake` did not follow.
    NotWoken = 3,
    /// `CannotFit` was reported done in an earlier iteration, and nothing followed.
    MisfitLeft = 4,
    /// A receive in flight was to be cancelled a second ago or more, and its outcome was not reported.
    OutcomeMissing = 5,
    /// A receive in flight has brought nothing for a second or more, and holds a buffer that requests wait for.
    ReceiveIdle = 6,
    /// A receiver was reported in each of many iterations, and received nothing.
    Spinning = 7,
    /// A notice was not picked up with `poll_notice`.
    NoticeLeft = 8,
    /// The clock was not advanced in this iteration.
    ClockStopped = 9,
    /// The host slept beyond `poll_timeout`, by more than an eighth of `frame_grace_ns`.
    Overslept = 10,
    /// Delivered bytes are in place, and are not to be decoded now: the host blocked before it reported on them. No
    /// other receiver is granted meanwhile.
    InPlaceLeft = 11,
    /// `CannotFit` is pending, and nothing of the frame was received that a report without a need could be about.
    MisfitUnread = 12,
}

impl FindingKind {
    /// Every kind, in the order of the numbers.
    pub const ALL: [FindingKind; 12] = [
        FindingKind::ActionUndone,
        FindingKind::AreaOutlived,
        FindingKind::NotWoken,
        FindingKind::MisfitLeft,
        FindingKind::OutcomeMissing,
        FindingKind::ReceiveIdle,
        FindingKind::Spinning,
        FindingKind::NoticeLeft,
        FindingKind::ClockStopped,
        FindingKind::Overslept,
        FindingKind::InPlaceLeft,
        FindingKind::MisfitUnread,
    ];
}

/// What to do about an action that is undone, the most urgent one first.
const ADVICE: [(Action, &str); 10] = [
    (Action::End, "the peer ended: finish, then report it done or close"),
    (Action::Shed, "close the connection: requests wait for its memory"),
    (Action::CannotFit, "fail or close: the frame is larger than the buffer, see buffer_bytes"),
    (Action::Discard, "receive what was decoded when it was looked at, and drop it, then report how much that was"),
    (Action::Recv, "receive, then report the outcome, would_block if there was nothing"),
    (Action::Peek, "look at what is in the kernel, then report what the frame needs, would_block if there was nothing"),
    (Action::Decode, "decode, then report what was consumed, and why bytes are left"),
    (Action::Reschedule, "report it done, then wake in the next iteration, and do not sleep before that"),
    (Action::WantRecv, "arm read interest (completion: submit a poll), then report it done"),
    (Action::StopRecv, "turn read interest off (completion: cancel the receive), then report it done"),
];

fn advice(actions: Actions) -> &'static str {
    ADVICE.iter().find(|(action, _)| actions.has(*action)).map_or("do it, then report it", |(_, advice)| advice)
}

/// A length of time, for a reader.
struct Time(u64);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            ns @ 0..1_000 => write!(f, "{ns} ns"),
            ns @ 1_000..1_000_000 => write!(f, "{} us", ns / 1_000),
            ns => write!(f, "{} ms", ns / 1_000_000),
        }
    }
}

impl Finding {
    /// A finding of this kind, with nothing else yet.
    #[doc(hidden)]
    pub const fn new(kind: FindingKind, receiver: Option<ReceiverId>, token: u64) -> Finding {
        Finding { kind, receiver, token, actions: Actions::NONE, since_ns: 0, age_ns: 0, count: 0 }
    }

    /// Writes the line; `actions` are its actions in words.
    #[doc(hidden)]
    pub fn write_line(&self, f: &mut dyn fmt::Write, actions: &dyn fmt::Display) -> fmt::Result {
        match self.receiver {
            Some(receiver) => write!(f, "receiver {receiver} (token {}): ", self.token)?,
            None => f.write_str("pool: ")?,
        }
        let (age, count, advice) = (Time(self.age_ns), self.count, advice(self.actions));
        match self.kind {
            FindingKind::ActionUndone if self.age_ns == 0 => write!(f, "{actions} is undone: {advice}"),
            FindingKind::ActionUndone => write!(f, "{actions} is undone for {age}: {advice}"),
            FindingKind::AreaOutlived => write!(f, "{actions} is undone for {age} and keeps its memory: {advice}"),
            FindingKind::NotWoken => {
                write!(f, "rescheduled {age} ago and never woken: report wake in the next iteration, before you sleep")
            }
            FindingKind::MisfitLeft => write!(
                f,
                "a frame is larger than the buffer for {age}, and reading stays off: fail or close, and set \
                 buffer_bytes to the largest frame with its header"
            ),
            FindingKind::OutcomeMissing => write!(
                f,
                "a receive was to be cancelled {age} ago and has no outcome: cancel it, then report what it brought, \
                 would_block if nothing"
            ),
            FindingKind::ReceiveIdle => write!(
                f,
                "a receive has brought nothing for {age} and holds a buffer that requests ({count}) wait for: drain \
                 poll_notice in each iteration, which asks for it back, and submit a poll before a receive"
            ),
            FindingKind::Spinning => write!(
                f,
                "reported in {count} iterations in a row, {age}, without a byte: remove a socket from the poller on \
                 STOP_RECV, as a hang-up cannot be masked; pause_recv while a receive has to write first"
            ),
            FindingKind::NoticeLeft => {
                f.write_str("a notice is not picked up: drain poll_notice in each iteration, before you sleep")
            }
            FindingKind::ClockStopped => write!(
                f,
                "the clock was not advanced for {age}: call handle_timeout in each iteration, before the events"
            ),
            FindingKind::InPlaceLeft => write!(
                f,
                "delivered bytes are in place for {age} and not to be decoded: report them as delivered, with 0 \
                 consumed if need be, before you sleep"
            ),
            FindingKind::MisfitUnread => write!(
                f,
                "a frame is larger than the buffer, and nothing of it was received: fail or close; to pass it on in \
                 pieces, report what its next piece needs, which is its header if that was looked at"
            ),
            FindingKind::Overslept => {
                write!(f, "slept {age} too long: sleep at most until poll_timeout, or no deadline is noticed")
            }
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_line(f, &self.actions)
    }
}
