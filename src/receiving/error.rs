//! Why a call was refused.

use core::fmt;

/// Why a call was refused. Nothing is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReceivingError {
    /// There is no such receiver.
    UnknownReceiver,
    /// The row is in use.
    Attached,
    /// The receiver was shed: only `close` is left.
    Shed,
    /// The receiver borrows: report first.
    Borrowing,
    /// The receiver does not borrow.
    NotBorrowing,
    /// Its content waits for the host: decode first.
    Held,
    /// It keeps as many bytes as a buffer has.
    Full,
    /// No receive is allowed now: decode and report first.
    NotReceiving,
    /// It does not look at what is in the kernel.
    NotLooking,
    /// Its length is unknown, or a layer reads ahead: nothing can be left in the kernel.
    CannotCount,
    /// A receive is in flight: its outcome comes first.
    InFlight,
    /// Bytes are in the host's memory, and are to be reported on first.
    InPlace,
    /// Bytes that were looked at are to be reported on first, or to be received away.
    LookedAt,
    /// Nothing was received that was not reported on.
    NothingToDecode,
    /// More bytes than were allowed, or none; of a look that is decoded, another number.
    WrongLength {
        /// The bytes reported.
        bytes: u32,
        /// The most that was allowed.
        max_bytes: u32,
    },
    /// Bytes are left, and the report gives no reason; or it needs 0 bytes.
    WrongRest,
}

impl fmt::Display for ReceivingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            ReceivingError::UnknownReceiver => f.write_str("there is no such receiver"),
            ReceivingError::Attached => f.write_str("the row is in use"),
            ReceivingError::Shed => f.write_str("the receiver was shed: close it"),
            ReceivingError::Borrowing => f.write_str("the receiver borrows: report what it received or decoded first"),
            ReceivingError::NotBorrowing => f.write_str("the receiver does not borrow"),
            ReceivingError::Held => f.write_str("the receiver has content that waits for the host: decode it first"),
            ReceivingError::Full => f.write_str("the receiver keeps as many bytes as a buffer has"),
            ReceivingError::NotReceiving => f.write_str("no receive is allowed now: report what the decoder did first"),
            ReceivingError::NotLooking => f.write_str("the receiver does not look at what is in the kernel"),
            ReceivingError::CannotCount => f.write_str("a receiver of unknown length or under a layer cannot count"),
            ReceivingError::InFlight => f.write_str("a receive is in flight: report its outcome first"),
            ReceivingError::InPlace => f.write_str("bytes are in the host's memory: report on them first"),
            ReceivingError::LookedAt => {
                f.write_str("bytes were looked at: report on them first, and receive them away")
            }
            ReceivingError::NothingToDecode => f.write_str("the decoder has reported on all that was received"),
            ReceivingError::WrongLength { bytes, max_bytes } => {
                write!(f, "{bytes} bytes reported, allowed are 1 to {max_bytes}")
            }
            ReceivingError::WrongRest => f.write_str("the report does not fit the bytes that are left"),
        }
    }
}

impl core::error::Error for ReceivingError {}
