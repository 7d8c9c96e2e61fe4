//! The models: plain queues, explicit states, the bytes themselves.

mod connection;
mod pool;
mod receiving;
mod scheduler;
mod shards;

pub use connection::ModelConnection;
pub use pool::{ModelExported, ModelPool};
pub use receiving::{Legal, ModelReceiving};
pub use scheduler::ModelScheduler;
pub use shards::ModelSharedPool;
