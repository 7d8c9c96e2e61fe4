//! What the pool promises while there is too little for all: deadlines, fair shares, sizes out of one budget, and that
//! nobody waits for ever.

mod attack;
mod bound;
mod classes;
#[path = "../../examples/simulation/crowd.rs"]
mod crowd;
mod deadlines;
mod deadlock;
mod need;
mod sizes;
mod slots;
mod support;
mod tenants;
#[path = "../../examples/simulation/world.rs"]
mod world;
