//! What the simulated hosts of the tests have in common.
//!
//! A test describes a host by implementing [`EventLoop`]: what it decodes, and what it does about the end of a
//! connection. The kit has the rest: [`Socket`], a transport in memory that reports readiness, and the outcomes of
//! submitted receives, exactly as a real one does in each mode; the loop that serves it; frames and bytes that show
//! when they are misplaced; and a seeded source of random numbers, [`Rng`].
//!
//! Sockets and loop refuse to spin and never report once more than needed. A lost wake-up is therefore lost in a test
//! too, and an unneeded one shows as a host that does not come to rest.

mod event_loop;
mod frames;
mod in_flight;
mod modes;
mod socket;

pub use event_loop::EventLoop;
pub use fastrand::Rng;
pub use frames::{data_frame, frame, numbered, window_update};
pub use modes::{in_all_modes, in_modes};
pub use socket::{Socket, check_in_flight};
