//! What the servers of this folder and their tests have in common: the framed echo protocol, and a load for it.
//!
//! A frame is four bytes of length, big-endian, and a payload of that length. A server echoes each frame. It closes a
//! connection at its end of stream, or when a frame does not fit into a buffer.

pub mod counting;
pub mod frames;
pub mod load;
mod peer;
pub mod server;
pub mod stream;
pub mod tasks;
pub mod tls;
