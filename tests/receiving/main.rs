//! Pools on the memory model: a whole host in shortage, and single cases.

mod completion;
mod counting;
mod counting_policies;
mod delivery;
mod layers;
mod leases;
mod looks;
mod marks;
mod receivers;
mod ring;
mod shared_shares;
mod shared_tenants;
mod shortage;
mod spared;
mod tenants;

use demuxbuf::connection::{Action, Actions, Event, Mode, Policy};
use demuxbuf::pool::{BufferSource, Pool, PoolConfig, ReceiverId};

const MODES: [Mode; 4] = [Mode::Level, Mode::OneShot, Mode::Edge, Mode::Optimistic];
const MS: u64 = 1_000_000;

/// A pool of eight buffers, of which a host can have those that receivers do not need.
fn pool_of_eight(waiters_max: u32) -> Pool {
    pool_of_eight_in(Mode::default(), waiters_max)
}

fn pool_of_eight_in(mode: Mode, waiters_max: u32) -> Pool {
    pool_of_eight_with(Policy { mode, ..Policy::default() }, waiters_max)
}

fn pool_of_eight_with(policy: Policy, waiters_max: u32) -> Pool {
    let config = PoolConfig { buffer_bytes: 256, waiters_max, policy, ..PoolConfig::new(8 * 256, 8) };
    Pool::new(&config).expect("the configuration is allowed")
}

/// The receiver receives these bytes, and its decoder needs more.
fn receive<S: BufferSource>(pool: &mut Pool<S>, id: ReceiverId, bytes: &[u8], needed: u32) -> Actions {
    assert!(pool.handle(id, Event::Readable).expect("it is attached").has(Action::Recv));
    pool.receive_area(id).expect("it is attached")[..bytes.len()].copy_from_slice(bytes);
    pool.handle(id, Event::Received { bytes: bytes.len() as u32 }).expect("there is room");
    pool.decoded(id, 0, needed).expect("it is attached")
}
