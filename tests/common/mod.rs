//! A shared pool of two threads, and receivers that hold a buffer or wait for one.

use demuxbuf::connection::{Action, Actions, Event};
use demuxbuf::pool::{AttachOptions, Notice, Pool, PoolConfig, ReceiverId};
use demuxbuf::shared::{PoolShard, SharedPool};

pub(crate) fn config(buffers: u32) -> PoolConfig {
    let mut config = PoolConfig { buffer_bytes: 256, ..PoolConfig::new(buffers, 8) };
    config.scheduler.tag = 5;
    config
}

pub(crate) fn two(config: &PoolConfig) -> (SharedPool, Pool<PoolShard>, Pool<PoolShard>) {
    let shared_pool = SharedPool::new(config, 2).unwrap();
    let (a, b) = (shared_pool.shard(0).unwrap(), shared_pool.shard(1).unwrap());
    (shared_pool, a, b)
}

/// Everything must hold on both threads.
pub(crate) fn check(a: &Pool<PoolShard>, b: &Pool<PoolShard>) {
    a.check_invariants().unwrap();
    b.check_invariants().unwrap();
}

/// Attaches a receiver that holds a buffer with these bytes in it.
pub(crate) fn holding(pool: &mut Pool<PoolShard>, token: u64, bytes: &[u8]) -> ReceiverId {
    let id = pool.attach(&AttachOptions::new(0, token)).unwrap();
    assert!(pool.handle(id, Event::Readable).unwrap().has(Action::Recv));
    receive(pool, id, bytes);
    id
}

pub(crate) fn receive(pool: &mut Pool<PoolShard>, id: ReceiverId, bytes: &[u8]) -> Actions {
    pool.receive_area(id).unwrap()[..bytes.len()].copy_from_slice(bytes);
    pool.handle(id, Event::Received { bytes: bytes.len() as u32 }).unwrap()
}

/// Attaches a receiver that waits.
pub(crate) fn waiting(pool: &mut Pool<PoolShard>, token: u64) -> ReceiverId {
    let id = pool.attach(&AttachOptions::new(0, token)).unwrap();
    pool.handle(id, Event::Readable).unwrap();
    assert!(pool.connection(id).unwrap().is_waiting());
    id
}

pub(crate) fn granted_to(pool: &mut Pool<PoolShard>) -> Option<u64> {
    match pool.poll_notice()? {
        Notice::Receiver { token, .. } | Notice::Lease { token, .. } => Some(token),
        notice => unreachable!("{notice:?}"),
    }
}
