//! What the pool promises under overload: deadlines, fair shares, sizes out of one budget, and that no request waits
//! without end.

mod attack;
mod bound;
mod classes;
#[path = "../../examples/simulation/crowd.rs"]
mod crowd;
mod deadlines;
mod deadlock;
mod need;
mod never;
#[path = "../../examples/simulation/simulation.rs"]
mod simulation;
mod sizes;
mod slots;
mod support;
mod tenants;
