//! Failures that real proxies had, each shown to be impossible here.
//!
//! Every test is named after the scenario's number. `host` is a small proxy over simulated transports, in every style
//! of loop; it checks the invariants after each step and refuses to spin. `machine` drives one bare connection,
//! `buffers` has the host's own requests alone, and `c` speaks to the library as a C host does.

mod buffers;
mod c;
mod ending;
mod fairness;
mod handling;
mod host;
mod host_pool;
mod layers;
mod machine;
mod overload;
mod peer;
mod receiving;
mod reserves;
mod wait_queue;
