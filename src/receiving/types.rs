//! What goes in and comes out.

/// The answer to a receiver that wants to receive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// It borrows: receive at most this number of bytes, and report.
    Receive {
        /// At least 1.
        max_bytes: u32,
    },
    /// It borrows: look at what is in the kernel, and report.
    Look {
        /// The most bytes to look at.
        max_bytes: u32,
    },
    /// It borrows: receive this number of bytes, all or none of them, and report.
    Whole {
        /// At least 1.
        bytes: u32,
    },
    /// It borrows: look at this number of bytes, all or none of them, report that as received, and decode.
    WholeLook {
        /// At least 1.
        bytes: u32,
    },
    /// There is no buffer to borrow now; in the next loop iteration there may be.
    Later,
    /// What it keeps was kept after its trial, and shortage goes on: a notice comes when to begin again.
    Off,
    /// It waits: a notice grants, tries or sheds it.
    Claimed,
}

/// Why content is not decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// There is none left.
    Nothing,
    /// The frame is partial.
    Short {
        /// Bytes that must arrive before the decoder can go on, at least 1.
        needed_bytes: u32,
        /// The most bytes the decoder could use at once; 0 for the same.
        usable_bytes: u32,
    },
    /// The host does not decode it now.
    Held,
}

impl Rest {
    /// The same, counted from where these bytes begin, which are in the kernel still.
    pub(super) fn behind(self, left_bytes: u32) -> Rest {
        match self {
            Rest::Short { needed_bytes, usable_bytes } if left_bytes > 0 => Rest::Short {
                needed_bytes: needed_bytes.saturating_add(left_bytes),
                usable_bytes: usable_bytes.max(needed_bytes).saturating_add(left_bytes),
            },
            rest => rest,
        }
    }
}

/// What follows a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// The borrow is over.
    Ended,
    /// The trial goes on: receive at most this number of bytes, and report. Or a receive of a whole does: all or none
    /// of them, perhaps from a look.
    Receive {
        /// At least 1.
        max_bytes: u32,
    },
    /// The decoder consumed what was only looked at: receive this number of bytes, drop them, and report that.
    ReceiveAway {
        /// At least 1.
        bytes: u32,
    },
    /// The receiver lost its place: close it. There is no notice of it.
    Shed {
        /// Why.
        reason: ShedReason,
    },
}

/// Why a receiver was shed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShedReason {
    /// Its frame was not whole at its deadline, and there was no place for it.
    Deadline,
    /// Its deadline had passed, or its tenant holds more than its share, and another receiver needed the place.
    Evicted,
    /// Its decoder left bytes for which there was no place.
    Memory,
}

/// Something that a receiver learns without having asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// It lost its place: close it.
    Shed {
        /// Its row.
        receiver: u32,
        /// Why.
        reason: ShedReason,
    },
    /// Its deadline has come. It borrows: receive at most this number of bytes, and report.
    Trial {
        /// Its row.
        receiver: u32,
        /// At least 1.
        max_bytes: u32,
    },
    /// Its claim is granted. It borrows: receive at most this number of bytes, and report.
    Granted {
        /// Its row.
        receiver: u32,
        /// At least 1.
        max_bytes: u32,
    },
    /// It is no longer off: begin again when it is readable.
    Resume {
        /// Its row.
        receiver: u32,
    },
    /// Others wait for the buffer of its receive in flight: cancel that, and report its outcome.
    TakeBack {
        /// Its row.
        receiver: u32,
    },
}

/// How a receiver stands, in one look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stance {
    /// It borrows, keeps and waits for nothing.
    Idle,
    /// It borrows, and may receive.
    MayReceive,
    /// It borrows, and its decoder has not reported on what is there.
    Unreported,
    /// It borrows, for a receive in flight.
    InFlight,
    /// It borrows, and is to receive away what was decoded.
    Owing,
    /// It waits for its peer.
    Resting,
    /// It waits for room.
    Claiming,
    /// It waits for the end of shortage.
    Off,
    /// It waits until a frame is whole in the kernel.
    Marked,
    /// What it keeps waits for the host.
    Held,
    /// It lost its place.
    Shed,
}

impl Stance {
    /// Whether it borrows.
    #[inline(always)]
    pub(crate) fn borrows(self) -> bool {
        matches!(self, Stance::MayReceive | Stance::Unreported | Stance::InFlight | Stance::Owing)
    }
}

/// What is left to be reported of a borrow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Borrowed {
    /// The most that a receive may bring now; 0 if none may.
    pub max_bytes: u32,
    /// The decoder has not reported on what is there.
    pub is_unreported: bool,
    /// Its receive is in flight.
    pub is_in_flight: bool,
    /// It is to look at what is in the kernel, not to receive.
    pub is_look: bool,
    /// It is to receive all that is allowed, or nothing. With `is_look` it is to look at all of it, and to decode it.
    pub is_whole: bool,
    /// The decoder has reported, and this number of bytes is to be received away.
    pub owed_bytes: u32,
}

impl Borrowed {
    /// It is to look at the beginning of a frame, or has done so.
    pub(crate) fn is_header_look(&self) -> bool {
        self.is_look && !self.is_whole
    }

    /// It is to receive a whole from a look, or has looked.
    pub(crate) fn is_whole_look(&self) -> bool {
        self.is_look && self.is_whole
    }

    /// Whether it is to look, or to receive a whole, so that a partial frame stays in the kernel.
    pub(crate) fn leaves_partial(&self) -> bool {
        self.max_bytes > 0 && (self.is_look || self.is_whole)
    }
}

/// What is known of one receiver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Undecoded bytes.
    pub kept_bytes: u32,
    /// Bytes that must arrive before the decoder can go on; 0 if it reported nothing.
    pub needed_bytes: u32,
    /// The most that the decoder could use at once, also of one that keeps nothing; 0 if it reported nothing.
    pub usable_bytes: u32,
    /// Size of its cell, 0 for none.
    pub cell_bytes: u32,
    /// When its frame began, in pool time.
    pub start_ns: Option<u64>,
    /// Its credit now.
    pub credit_bytes: i32,
    /// Since when it claims.
    pub claim_since_ns: Option<u64>,
    /// Since when the host does not decode its content.
    pub held_since_ns: Option<u64>,
    /// Whether it borrows.
    pub is_borrowing: bool,
    /// Whether it waits for the end of shortage.
    pub is_off: bool,
    /// Whether it was kept after its trial.
    pub is_kept_for_good: bool,
    /// Whether it was shed.
    pub is_shed: bool,
    /// Whether its receive is in flight.
    pub is_in_flight: bool,
    /// How many bytes it waits for under a mark; 0 if it does not.
    pub awaited_bytes: u32,
    /// Whether the kernel will hold no more of its frame.
    pub is_full: bool,
    /// Undecoded bytes, the last ones, that were only looked at.
    pub seen_bytes: u32,
    /// Bytes that are to be received away.
    pub owed_bytes: u32,
}

/// Counts since the beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Claims that began.
    pub claims: u64,
    /// Claims that were granted.
    pub grants: u64,
    /// Claims, and waits under a mark, that came to their deadline.
    pub trials: u64,
    /// Receivers that were shed at the deadline of their claim.
    pub shed_at_deadline: u64,
    /// Receivers whose content was evicted.
    pub evicted: u64,
    /// Receivers whose decoder left bytes for which there was no place.
    pub shed_for_memory: u64,
    /// The longest claim that ended, in nanoseconds of pool time.
    pub longest_claim_ns: u64,
    /// Bytes copied between cells and buffers, and from the host's memory.
    pub copied_bytes: u64,
    /// Frames of receivers that count of which the kernel would hold no more.
    pub full_kernels: u64,
}
