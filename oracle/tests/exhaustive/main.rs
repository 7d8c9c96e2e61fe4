//! Every order of events, in bounded instances, until no new state appears. Each instance is played on the model and on
//! the real thing at once, compared in everything that can be seen after each step; from each state every waiter is
//! served. Those of the memory model are played on the model alone, which is checked from what can be seen.
//!
//! States differ by all that the real thing knows and its future depends on, and by all that the model does: if two
//! ways lead the real thing to the same state, one of them may be wrong, and the model shows which. Left out are
//! counts, the values of bytes, the ages of waits, and the identity of receivers that are alike. The pools of threads
//! are played for a few calls alone, and their states differ by what the model knows.

#[path = "../common/mod.rs"]
mod common;
mod connection;
mod pool;
mod receiving;
mod scheduler;
mod shared;

use demuxbuf_oracle::{Instance, explore};
use std::hash::{DefaultHasher, Hash, Hasher};

/// 128 bits of hash.
fn hash_of(state: &impl Hash) -> u128 {
    let half = |salt: u64| {
        let mut hasher = DefaultHasher::new();
        (salt, state).hash(&mut hasher);
        u128::from(hasher.finish())
    };
    half(1) << 64 | half(2)
}

/// Explores an instance to its end, prints what it was, and demands that all of these were seen.
fn close<W: Instance>(title: &str, start: &W, sometimes: &[&'static str]) {
    let explored = explore(start, 5_000_000).unwrap_or_else(|broken| panic!("{title}: {broken}"));
    println!("{title}: {explored}");
    explored.has_seen(sometimes).unwrap_or_else(|missing| panic!("{title}: {missing}"));
}
