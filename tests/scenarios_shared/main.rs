//! Scenarios of receiving once more, on the pool of a thread of a shared pool.
//!
//! Such a pool has a spare, with which a receiver is served after the host has taken all buffers. Scenarios in which that must
//! not be return at once; `shared_pool.rs` and `shared_waits.rs` play them with several threads.

#![allow(dead_code, reason = "not all that the host can do is asked for here")]

#[path = "../scenarios/c.rs"]
mod c;
#[path = "../scenarios/ending.rs"]
mod ending;
#[path = "../scenarios/host.rs"]
mod host;
mod host_pool;
#[path = "../scenarios/layers.rs"]
mod layers;
#[path = "../scenarios/machine.rs"]
mod machine;
#[path = "../scenarios/overload.rs"]
mod overload;
#[path = "../scenarios/receiving.rs"]
mod receiving;
