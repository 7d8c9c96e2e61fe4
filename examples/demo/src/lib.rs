//! The common parts of the demo and the attack: a server, the relay in front of it, honest clients that check every
//! response, the limit of descriptors, and progress and results on the terminal.

pub mod descriptors;
pub mod drawing;
pub mod honest;
pub mod interruptible;
pub mod output;
pub mod progress;
pub mod relay;
pub mod requests;
pub mod server;
pub mod shape;
pub mod text;
