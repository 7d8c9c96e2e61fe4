//! How one connection's host receives.

use core::fmt;

/// How the host learns that it may receive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
#[repr(u8)]
#[non_exhaustive]
pub enum Mode {
    /// Level-triggered read interest (`poll`, `epoll` without flags): reports again while there is something to
    /// receive. A receive that brings less than the room is taken to have emptied the transport, here and in `OneShot`,
    /// unless a layer [reads ahead](Policy::reads_ahead).
    #[default]
    Level = 0,
    /// Edge-triggered read interest (`EPOLLET`), registered once: reports once for each change, so the machine
    /// remembers readiness until a receive finds nothing.
    Edge = 1,
    /// Read interest that ends with its first report (`EPOLLONESHOT`, or a lower layer that wakes once). Arming it
    /// again checks for readiness again.
    OneShot = 2,
    /// As `OneShot`, but receives before it arms the read interest: `WantRecv` comes only after `WouldBlock`.
    Optimistic = 3,
    /// Receives and polls are submitted and complete later. `Recv`: submit a receive and report `Done(Recv)`, then its
    /// outcome. `WantRecv`, after a receive that brought nothing: submit a poll, report `Done(WantRecv)`, and
    /// `Readable` when it completes. `StopRecv`: cancel what is submitted, and report `Done(StopRecv)`; then the
    /// outcome of the receive, `WouldBlock` if it brought nothing. A poll that was cancelled has no outcome to report.
    ///
    /// A receive in flight holds a buffer, a poll does not. Where most connections are idle, answer `Recv` with
    /// `WouldBlock` instead of submitting a receive for which nothing is to be expected, such as the one after
    /// `Attach`.
    Completion = 4,
}

impl Mode {
    /// Every mode, in the order of the numbers.
    pub const ALL: [Mode; 5] = [Mode::Level, Mode::Edge, Mode::OneShot, Mode::Optimistic, Mode::Completion];
}

impl TryFrom<u8> for Mode {
    type Error = UnknownMode;

    #[inline]
    fn try_from(number: u8) -> Result<Mode, UnknownMode> {
        // Not an index of `ALL`: the numbers are those of the variants, so that this is a comparison without a load.
        Ok(match number {
            0 => Mode::Level,
            1 => Mode::Edge,
            2 => Mode::OneShot,
            3 => Mode::Optimistic,
            4 => Mode::Completion,
            _ => return Err(UnknownMode(number)),
        })
    }
}

/// A number that no mode has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnknownMode(pub u8);

impl fmt::Display for UnknownMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "mode is {}; allowed is 0 to {}", self.0, Mode::ALL.len() - 1)
    }
}

impl core::error::Error for UnknownMode {}

/// The settings of one connection; all-zero is the default of each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub struct Policy {
    /// How the host learns that it may receive.
    pub mode: Mode,
    /// Receives in one loop iteration before the machine yields; 0 for [`Policy::READS_PER_WAKE_DEFAULT`].
    pub reads_per_wake: u8,
    /// Largest number of undecoded bytes that is parked as soon as a receive runs dry; 0 for never.
    pub park_bytes: u16,
    /// Largest number of undecoded bytes that is parked when the pool asks for the buffer; `park_bytes` if that is
    /// larger.
    pub reclaim_bytes: u16,
    /// Free bytes at which a full buffer receives again (a smaller buffer: when it is empty); 0 for any room.
    pub resume_free_bytes: u32,
    /// Stop receiving while decoding is blocked, instead of when the buffer is full.
    pub pause_when_blocked: bool,
    /// A layer between transport and host, such as a TLS library, may hold more bytes than it handed on; or the
    /// transport is TCP with urgent data, at which a receive stops short. Only `WouldBlock` means that there is nothing
    /// to receive, in level-triggered and one-shot mode too. `Reschedule` appears in level-triggered mode when the
    /// budget of receives is used up. A waiting connection receives nothing, not even into a slot, because the layer
    /// would take a whole record from the transport for it.
    pub reads_ahead: bool,
    /// The host knows how many bytes wait in the kernel, and can leave a partial frame there until it is whole (TCP
    /// with `SO_RCVLOWAT`). The machine alone does not use it; a pool does while memory is short, and refuses it in the
    /// mode `Optimistic`, under a layer that reads ahead, and for a decoder of unknown length. A policy that sets it
    /// later leaves a claim that waits, and what is granted to it, as they are.
    pub counting: bool,
}

impl Policy {
    /// Receives in one loop iteration if the policy sets no number: enough for one large record and its end.
    pub const READS_PER_WAKE_DEFAULT: u8 = 4;
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn mode_has_the_number_of_its_place() {
        for (number, mode) in (0..).zip(Mode::ALL) {
            assert_eq!((mode as u8, Mode::try_from(number)), (number, Ok(mode)));
        }
        assert_eq!(Mode::try_from(5), Err(UnknownMode(5)));
        assert_eq!(UnknownMode(5).to_string(), "mode is 5; allowed is 0 to 4");
    }
}
