//! What the adversary decides.

use super::{BUFFER_BYTES, STEPS};
use demuxbuf_testkit::Rng;

/// What the adversary does. Chances are out of 16.
#[derive(Clone, Debug)]
pub(crate) struct Strategy {
    /// Lengths of the frames of its clients, and how much of each is sent at first.
    pub(crate) lengths: [usize; 4],
    pub(crate) first_bytes: [usize; 4],
    /// Bytes that follow in a step, if any do.
    pub(crate) drip_bytes: usize,
    pub(crate) drips: u8,
    pub(crate) completes: u8,
    pub(crate) reconnects: u8,
    pub(crate) blocks: u8,
    pub(crate) moves: u8,
    /// Requests of the hosts' own, which are held for some steps.
    pub(crate) requests: u8,
    /// How likely each thread sleeps on, in a step in which it need not wake up.
    pub(crate) sleeps: [u8; 3],
    /// A thread that does not look at all for some steps, whatever it is signalled for: from, and for how long.
    pub(crate) hangs: (usize, u64, u64),
    pub(crate) seed: u64,
}

impl Strategy {
    pub(crate) fn random(rng: &mut Rng) -> Strategy {
        let largest = BUFFER_BYTES as usize;
        let lengths = [0; 4].map(|_| [rng.usize(3..=largest), largest][rng.usize(0..2)]);
        let mut strategy = Strategy {
            lengths,
            first_bytes: lengths.map(|length| rng.usize(1..length)),
            drip_bytes: rng.usize(1..80),
            drips: rng.u8(0..16),
            completes: rng.u8(0..8),
            reconnects: rng.u8(0..4),
            blocks: rng.u8(0..4),
            moves: rng.u8(0..3),
            requests: rng.u8(0..6),
            sleeps: [0; 3].map(|_| rng.u8(0..16)),
            hangs: (rng.usize(0..3), rng.u64(0..STEPS), rng.u64(0..100)),
            seed: rng.u64(..),
        };
        if rng.bool() {
            strategy.hangs.2 = 0;
        }
        strategy
    }

    /// As this, but for some of it.
    pub(crate) fn changed(&self, rng: &mut Rng) -> Strategy {
        let (other, mut changed) = (Strategy::random(rng), self.clone());
        for _ in 0..rng.usize(1..4) {
            match rng.u8(0..9) {
                0 => (changed.lengths, changed.first_bytes) = (other.lengths, other.first_bytes),
                1 => (changed.drip_bytes, changed.drips) = (other.drip_bytes, other.drips),
                2 => changed.completes = other.completes,
                3 => changed.reconnects = other.reconnects,
                4 => changed.blocks = other.blocks,
                5 => changed.requests = other.requests,
                6 => changed.sleeps = other.sleeps,
                7 => changed.hangs = other.hangs,
                _ => changed.seed = other.seed,
            }
        }
        changed
    }
}
