//! What the machine asks of its host.

use core::fmt;
use core::ops::{BitOr, BitOrAssign};

/// One thing the host is to do. Each is one bit of [`Actions`]; the numbers are part of the C ABI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Action {
    /// Start watching the transport for readability (completion: submit a poll); report
    /// [`Event::Done`](super::Event::Done).
    WantRecv = 1 << 0,
    /// Stop watching the transport (completion: cancel the receive or the poll that is submitted); report
    /// [`Event::Done`](super::Event::Done). A host that cannot ignores it.
    StopRecv = 1 << 1,
    /// Ask for a buffer; report `BufferGranted` or `BufferDenied`.
    RequestBuffer = 1 << 2,
    /// Leave the queue; report [`Event::Done`](super::Event::Done).
    CancelRequest = 1 << 3,
    /// Give the buffer back; report `BufferReleased`.
    ReleaseBuffer = 1 << 4,
    /// Receive now, at most `recv_max()` bytes; report `Received`, `WouldBlock`, `EndOfStream` or `TransportError`.
    Recv = 1 << 5,
    /// Run the decoder; report `Consumed`, and if bytes are left why: `NeedMore`, `Block` or `Yield`.
    Decode = 1 << 6,
    /// Throw away what is buffered; report `Consumed` with the whole level.
    Discard = 1 << 7,
    /// Move the residue to a small slot and give the buffer back; report `BufferParked`.
    Park = 1 << 8,
    /// Close this connection: it holds memory that others wait for and makes no progress.
    Shed = 1 << 9,
    /// The peer ended and nothing more can be decoded; `residue()` bytes are left. Report `Done`.
    End = 1 << 10,
    /// The connection is closed and holds and waits for nothing.
    Finished = 1 << 11,
    /// The element at the front can never fit into this buffer. Report `Done`, then fail, close or grow.
    CannotFit = 1 << 12,
    /// Work is left for the next turn of the loop: schedule it, report `Done`, then report `Wake`.
    Reschedule = 1 << 13,
}

impl Action {
    /// Every action, in bit order.
    pub const ALL: [Action; 14] = [
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
    ];
}

/// A set of [`Action`]s.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct Actions(u32);

impl Actions {
    /// Nothing is to be done.
    pub const NONE: Actions = Actions(0);

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
    pub fn from_bits(bits: u32) -> Option<Actions> {
        let known = Action::ALL.iter().fold(0, |mask, &action| mask | action as u32);
        (bits & !known == 0).then_some(Actions(bits))
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
    pub fn iter(self) -> impl Iterator<Item = Action> {
        Action::ALL.into_iter().filter(move |&action| self.has(action))
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

impl fmt::Debug for Actions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_action_is_one_bit_of_its_own() {
        let mut seen = 0;
        for action in Action::ALL {
            assert_eq!((action as u32).count_ones(), 1);
            assert_eq!(seen & action as u32, 0);
            seen |= action as u32;
        }
        assert_eq!(Actions::from_bits(seen).map(Actions::bits), Some(seen));
        assert_eq!(Actions::from_bits(seen + 1), None);
    }
}
