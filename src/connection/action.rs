//! What the machine asks of its host.

use core::fmt;
use core::ops::{BitAnd, BitOr, BitOrAssign, Not};

/// One thing the host is to do. Each is one bit of [`Actions`]; the numbers are part of the C ABI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Action {
    /// Arm read interest (completion: submit a poll); report
    /// [`Event::Done`](super::Event::Done).
    WantRecv = 1 << 0,
    /// Turn read interest off (completion: cancel the receive or the poll that is submitted); report
    /// [`Event::Done`](super::Event::Done). A host that cannot ignores it.
    StopRecv = 1 << 1,
    /// Ask for a buffer; report `BufferGranted` or `BufferDenied`.
    RequestBuffer = 1 << 2,
    /// Leave the queue; report [`Event::Done`](super::Event::Done).
    CancelRequest = 1 << 3,
    /// Release the buffer; report `BufferReleased`.
    ReleaseBuffer = 1 << 4,
    /// Receive now, at most `recv_max()` bytes; report `Received`, `WouldBlock` (or `WouldBlockArmed`), `EndOfStream`
    /// or `TransportError`.
    Recv = 1 << 5,
    /// Run the decoder; report `Consumed`, and if bytes are left why: `NeedMore`, `Block` or `Yield`.
    Decode = 1 << 6,
    /// Throw away what is buffered; report `Consumed` with all buffered bytes.
    Discard = 1 << 7,
    /// Move the undecoded bytes to a small slot and release the buffer; report `BufferParked`.
    Park = 1 << 8,
    /// Close this connection: it holds memory that others wait for and makes no progress.
    Shed = 1 << 9,
    /// The peer ended and nothing more can be decoded; the end cut off a frame if `truncated_bytes()` is not 0. Report
    /// `Done`.
    End = 1 << 10,
    /// The connection is closed and holds and waits for nothing.
    Finished = 1 << 11,
    /// The frame at the front can never fit into this buffer. Report `Done`, then fail, close or grow.
    CannotFit = 1 << 12,
    /// Work is left for the next loop iteration: schedule it, report `Done`, then report `Wake`.
    Reschedule = 1 << 13,
    /// Of pools alone: look at what is in the kernel, at most as many bytes as the receive area has (`MSG_PEEK`);
    /// report `NeedMore` with the bytes that the frame has from the first one in the kernel on, or `WouldBlock`. With
    /// `RecvWhole`: look only if all of the receive area can be filled, report that as `Received`, and decode it.
    Peek = 1 << 14,
    /// Of pools alone, beside `Recv` or `Peek`: only if all of the receive area can be filled; else report
    /// `WouldBlock`. With `Recv` and `Discard`: receive what was decoded when it was looked at, drop it, and report it
    /// as `Received`.
    RecvWhole = 1 << 15,
}

impl Action {
    /// Every action, in bit order.
    pub const ALL: [Action; 16] = [
        Action::WantRecv,
        Action::StopRecv,
        Action::RequestBuffer,
        Action::CancelRequest,
        Action::ReleaseBuffer,
        Action::Recv,
        Action::Decode,
        Action::Discard,
        Action::Park,
        Action::Shed,
        Action::End,
        Action::Finished,
        Action::CannotFit,
        Action::Reschedule,
        Action::Peek,
        Action::RecvWhole,
    ];
}

/// A set of [`Action`]s.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct Actions(u32);

impl Actions {
    /// Nothing is to be done.
    pub const NONE: Actions = Actions(0);

    /// Every action. A connection never asks for all of them at once.
    pub const ALL: Actions = Actions::of(&Action::ALL);

    /// The actions that are reported done with `Event::Done`, because they have no outcome but that.
    pub const ACKNOWLEDGED: Actions = Actions(
        Action::WantRecv as u32
            | Action::StopRecv as u32
            | Action::CancelRequest as u32
            | Action::Shed as u32
            | Action::End as u32
            | Action::CannotFit as u32
            | Action::Reschedule as u32,
    );

    /// The set whose bits are given; `None` if a bit names no action.
    pub const fn from_bits(bits: u32) -> Option<Actions> {
        if bits & !Actions::ALL.0 == 0 { Some(Actions(bits)) } else { None }
    }

    /// The set whose bits these are.
    #[inline(always)]
    pub(crate) const fn from_known_bits(bits: u32) -> Actions {
        debug_assert!(bits & !Actions::ALL.0 == 0);
        Actions(bits)
    }

    /// The set of these actions.
    pub(crate) const fn of(actions: &[Action]) -> Actions {
        let (mut bits, mut at) = (0, 0);
        while at < actions.len() {
            bits |= actions[at] as u32;
            at += 1;
        }
        Actions(bits)
    }

    /// The bits, as C sees them.
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Whether nothing is to be done.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether the action is in the set.
    pub const fn has(self, action: Action) -> bool {
        self.0 & action as u32 != 0
    }

    /// Whether every action of `other` is in the set.
    pub const fn contains(self, other: Actions) -> bool {
        other.0 & !self.0 == 0
    }

    /// The set without the actions of `other`.
    #[must_use]
    pub const fn without(self, other: Actions) -> Actions {
        Actions(self.0 & !other.0)
    }

    /// The actions that are in both sets.
    #[must_use]
    pub const fn intersection(self, other: Actions) -> Actions {
        Actions(self.0 & other.0)
    }

    /// The actions of the set, in bit order.
    pub fn iter(self) -> ActionsIter {
        ActionsIter(self)
    }

    /// Adds the action if the condition holds.
    pub(crate) fn set_if(&mut self, condition: bool, action: Action) {
        self.0 |= if condition { action as u32 } else { 0 };
    }
}

impl From<Action> for Actions {
    fn from(action: Action) -> Actions {
        Actions(action as u32)
    }
}

impl BitOr for Actions {
    type Output = Actions;

    fn bitor(self, other: Actions) -> Actions {
        Actions(self.0 | other.0)
    }
}

impl BitOr<Action> for Actions {
    type Output = Actions;

    fn bitor(self, other: Action) -> Actions {
        Actions(self.0 | other as u32)
    }
}

impl BitOrAssign<Action> for Actions {
    fn bitor_assign(&mut self, other: Action) {
        self.0 |= other as u32;
    }
}

impl BitOr for Action {
    type Output = Actions;

    fn bitor(self, other: Action) -> Actions {
        Actions(self as u32 | other as u32)
    }
}

impl BitOrAssign for Actions {
    fn bitor_assign(&mut self, other: Actions) {
        self.0 |= other.0;
    }
}

impl BitAnd for Actions {
    type Output = Actions;

    fn bitand(self, other: Actions) -> Actions {
        self.intersection(other)
    }
}

/// The actions that are not in the set.
impl Not for Actions {
    type Output = Actions;

    fn not(self) -> Actions {
        Actions::ALL.without(self)
    }
}

impl FromIterator<Action> for Actions {
    fn from_iter<T: IntoIterator<Item = Action>>(actions: T) -> Actions {
        actions.into_iter().fold(Actions::NONE, |set, action| set | action)
    }
}

impl IntoIterator for Actions {
    type Item = Action;
    type IntoIter = ActionsIter;

    fn into_iter(self) -> ActionsIter {
        self.iter()
    }
}

/// The actions of a set, in bit order.
#[derive(Clone, Debug)]
pub struct ActionsIter(Actions);

impl Iterator for ActionsIter {
    type Item = Action;

    fn next(&mut self) -> Option<Action> {
        // The bits of the actions are consecutive from 0.
        let action = *Action::ALL.get(self.0.0.trailing_zeros() as usize)?;
        self.0 = self.0.without(action.into());
        Some(action)
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// The names of the actions with `|` between them; `none` for the empty set.
impl fmt::Display for Actions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("none");
        }
        for (at, action) in self.iter().enumerate() {
            write!(f, "{}{action}", if at == 0 { "" } else { "|" })?;
        }
        Ok(())
    }
}

#[cfg(feature = "arbitrary")]
impl<'a> arbitrary::Arbitrary<'a> for Actions {
    fn arbitrary(source: &mut arbitrary::Unstructured<'a>) -> arbitrary::Result<Actions> {
        Ok(Actions(source.arbitrary::<u32>()? & Actions::ALL.0))
    }

    fn size_hint(depth: usize) -> (usize, Option<usize>) {
        <u32 as arbitrary::Arbitrary>::size_hint(depth)
    }
}

impl fmt::Debug for Actions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn every_action_is_one_bit_of_its_own() {
        let mut seen = 0;
        for (at, action) in Action::ALL.into_iter().enumerate() {
            assert_eq!(action as u32, 1 << at, "the iterator counts on it");
            assert_eq!(seen & action as u32, 0);
            seen |= action as u32;
        }
        assert_eq!(Actions::from_bits(seen).map(Actions::bits), Some(seen));
        assert_eq!(Actions::from_bits(seen + 1), None);
        assert_eq!(Actions::ALL.bits(), seen);
    }

    #[test]
    fn actions_are_a_set() {
        let ends = Action::Recv | Action::Finished;
        assert_eq!([Action::Finished, Action::Recv, Action::Recv].into_iter().collect::<Actions>(), ends);
        assert!(ends.into_iter().eq([Action::Recv, Action::Finished]));
        assert!(Actions::ALL.iter().eq(Action::ALL) && Actions::NONE.iter().next().is_none());
        let mut set = ends;
        set |= Actions::from(Action::Park);
        assert_eq!((set & ends, set & !ends), (ends, Action::Park.into()));
        assert_eq!((!Actions::NONE, !Actions::ALL), (Actions::ALL, Actions::NONE));
        assert_eq!(
            (Action::Recv.to_string(), ends.to_string(), Actions::NONE.to_string()),
            ("Recv".into(), "Recv|Finished".into(), "none".into())
        );
    }
}
