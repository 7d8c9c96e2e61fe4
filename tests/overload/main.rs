//! What the pool promises while there is too little for all: deadlines, fair shares, sizes out of one budget, and that
//! nobody waits for ever.

mod bound;
mod deadlines;
mod sizes;
mod support;
mod tenants;
