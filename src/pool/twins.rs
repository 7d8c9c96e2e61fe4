//! What tests have in common that play the same on two pools that are made alike.

use super::{BufferSource, Pool};
use crate::scheduler::{LeaseId, Request};
use alloc::vec::Vec;

/// The buffers that the host has taken, in both pools.
#[derive(Default)]
pub(super) struct TwinLeases(Vec<[LeaseId; 2]>);

impl TwinLeases {
    /// The host takes a buffer; whether there is one.
    pub(super) fn take<S: BufferSource>(&mut self, pools: [&mut Pool<S>; 2]) -> bool {
        let leases = pools.map(|pool| pool.try_request(&Request::new(0, 0)));
        let [one, other] = leases.map(|lease| lease.expect("it is allowed"));
        assert_eq!(one.is_some(), other.is_some());
        self.0.extend(one.zip(other).map(|(one, other)| [one, other]));
        one.is_some()
    }

    pub(super) fn are_none(&self) -> bool {
        self.0.is_empty()
    }

    /// It returns one of them.
    pub(super) fn release<S: BufferSource>(&mut self, random: &mut fastrand::Rng, [one, other]: [&mut Pool<S>; 2]) {
        let leases = self.0.swap_remove(random.usize(..self.0.len()));
        assert_eq!((one.release(leases[0]), other.release(leases[1])), (Ok(()), Ok(())));
    }
}

/// How many rounds of 400 events are played. For long runs: `DEMUXBUF_ROUNDS=10000`.
pub(super) fn rounds(default: u32) -> u32 {
    std::env::var("DEMUXBUF_ROUNDS").map_or(default, |rounds| rounds.parse().expect("it is a number"))
}
