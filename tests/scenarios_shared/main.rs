//! Scenarios once more, on the pool of a thread of a shared pool: what the host releases is released by that thread,
//! and by another one, which signals it.

#![allow(dead_code, reason = "not all that the host can do is asked for here")]

#[path = "../scenarios/buffers.rs"]
mod buffers;
#[path = "../scenarios/c.rs"]
mod c;
#[path = "../scenarios/ending.rs"]
mod ending;
#[path = "../scenarios/fairness.rs"]
mod fairness;
#[path = "../scenarios/host.rs"]
mod host;
mod host_pool;
#[path = "../scenarios/layers.rs"]
mod layers;
#[path = "../scenarios/machine.rs"]
mod machine;
#[path = "../scenarios/overload.rs"]
mod overload;
#[path = "../scenarios/peer.rs"]
mod peer;
#[path = "../scenarios/receiving.rs"]
mod receiving;
#[path = "../scenarios/reserves.rs"]
mod reserves;
#[path = "../scenarios/wait_queue.rs"]
mod wait_queue;
