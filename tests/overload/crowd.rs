//! The crowds, and how their peers behave.

use crate::simulation::{FRAME_BYTES_MAX, MS};

/// How a peer behaves. Times are spans to choose from, at random.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Habit {
    /// Size of each frame, with its header.
    pub(crate) frame_bytes: (u32, u32),
    /// How much of a frame it sends before it falls silent.
    pub(crate) sends_bytes: u32,
    /// Size of each piece that it sends, and the time between two.
    pub(crate) piece_bytes: (u32, u32),
    pub(crate) pause_ns: (u64, u64),
    /// How long the host has to keep a frame before it is served: what a slow reader of its answer makes long. 0: it is
    /// served as soon as it is whole.
    pub(crate) service_ns: u64,
    /// From one frame that was served to the next that it sends.
    pub(crate) think_ns: (u64, u64),
    /// After how long it leaves by itself, and after how long it comes back, by itself or shed.
    pub(crate) stays_ns: u64,
    pub(crate) returns_ns: (u64, u64),
}

/// Peers of one habit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Crowd {
    pub(crate) name: &'static str,
    pub(crate) habit: Habit,
    pub(crate) peers: u32,
    /// Tenants that its peers are spread over; 0 for the default tenant.
    pub(crate) tenants: u32,
    /// When the first of them connects, for how long more follow, and when all leave for good.
    pub(crate) from_ns: u64,
    pub(crate) gather_ns: u64,
    pub(crate) until_ns: u64,
}

impl Crowd {
    /// This many peers, each a tenant, connected from the start to the end.
    pub(crate) fn new(name: &'static str, habit: Habit, peers: u32) -> Crowd {
        Crowd { name, habit, peers, tenants: peers, from_ns: 0, gather_ns: 100 * MS, until_ns: u64::MAX }
    }
}

/// Sends requests of up to 12 KB in pieces, each served when it is whole, thinks, and stays.
pub(crate) const HONEST: Habit = Habit {
    frame_bytes: (100, 12_000),
    sends_bytes: u32::MAX,
    piece_bytes: (1_000, 6_000),
    pause_ns: (0, 5 * MS),
    service_ns: 0,
    think_ns: (50 * MS, 150 * MS),
    stays_ns: u64::MAX,
    returns_ns: (MS, MS),
};

/// The largest frame, a few bytes at a time, without end.
pub(crate) const DRIP: Habit = Habit {
    frame_bytes: (FRAME_BYTES_MAX, FRAME_BYTES_MAX),
    piece_bytes: (1, 8),
    pause_ns: (10 * MS, 50 * MS),
    returns_ns: (500 * MS, 1_000 * MS),
    ..HONEST
};

/// This many bytes of the largest frame, and then nothing.
pub(crate) const fn partial(bytes: u32) -> Habit {
    Habit { sends_bytes: bytes, piece_bytes: (bytes, bytes), ..DRIP }
}

/// Requests whose responses it does not read.
pub(crate) const SLOW_READER: Habit =
    Habit { frame_bytes: (8_000, 8_000), service_ns: 60_000 * MS, returns_ns: (500 * MS, 1_000 * MS), ..HONEST };

/// Whole requests, one after the other, as fast as they are served.
pub(crate) const FLOOD: Habit =
    Habit { frame_bytes: (12_000, 12_000), piece_bytes: (12_000, 12_000), service_ns: MS, think_ns: (0, 0), ..HONEST };

/// Comes, sends part of a frame, and leaves.
pub(crate) const LEAVER: Habit = Habit { stays_ns: 30 * MS, returns_ns: (0, 20 * MS), ..partial(3_000) };
