//! What the demo and the attack have in common: a server, the relay in front of it, honest clients that check every
//! answer, the descriptors that so many connections take, and how it is told what happened.

pub mod descriptors;
pub mod honest;
pub mod output;
pub mod progress;
pub mod relay;
pub mod server;
pub mod text;
