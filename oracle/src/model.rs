//! The models: plain queues, explicit states, the bytes themselves.

mod connection;
mod pool;
mod receivers;

pub use connection::ModelConnection;
pub use pool::ModelPool;
pub use receivers::ModelReceivers;

/// Names of the counts of each class.
pub(crate) const WAITING_BY_CLASS: [&str; 8] =
    ["waiting[0]", "waiting[1]", "waiting[2]", "waiting[3]", "waiting[4]", "waiting[5]", "waiting[6]", "waiting[7]"];
/// Names of the counts of each class.
pub(crate) const OUT_BY_CLASS: [&str; 8] =
    ["out[0]", "out[1]", "out[2]", "out[3]", "out[4]", "out[5]", "out[6]", "out[7]"];
