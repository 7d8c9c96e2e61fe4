//! What the pool promises under overload: deadlines, fair shares, sizes out of one budget, and that no request waits
//! without end.

mod attack;
mod bound;
mod classes;
mod crowd;
mod deadlines;
mod deadlock;
mod never;
mod simulation;
mod sizes;
mod support;
mod tenants;
