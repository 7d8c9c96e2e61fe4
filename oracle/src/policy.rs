//! The policy of the memory model under attack: honest clients and attackers on one event loop, in virtual time.
//!
//! | file | what it is |
//! |---|---|
//! | `clients.rs` | what clients send, and what their decoders can use |
//! | `cases.rs` | the attacks |
//! | `simulation.rs` | the network, and the host's event loop on any [`ReceivingSystem`](crate::receiving_system::ReceivingSystem) |
//! | `report.rs` | what became of the clients |

mod cases;
mod clients;
mod report;
mod simulation;

pub use cases::{Case, all_cases, few_cases};
pub use clients::{Behaviour, KINDS, Kind};
pub use report::{Outcome, Summary};
pub use simulation::{Settings, Simulation};

/// A millisecond.
pub const MS: u64 = 1_000_000;
/// A second.
pub const S: u64 = 1_000 * MS;

/// Seeded numbers.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random(88_172_645_463_325_252 ^ seed.wrapping_mul(0x9E37_79B9_7F4A_7C15))
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}
