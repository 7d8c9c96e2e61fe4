//! The models: plain queues, explicit states, the bytes themselves.

mod connection;
mod pool;
mod receivers;

pub use connection::ModelConnection;
pub use pool::ModelPool;
pub use receivers::ModelReceivers;
