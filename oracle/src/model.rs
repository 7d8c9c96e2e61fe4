//! The models: plain queues, explicit states, the bytes themselves.

mod connection;
mod pool;
mod receiving;
mod scheduler;

pub use connection::ModelConnection;
pub use pool::ModelPool;
pub use receiving::{Legal, ModelReceiving};
pub use scheduler::ModelScheduler;
