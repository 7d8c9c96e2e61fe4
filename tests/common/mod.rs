//! A shared pool of two threads, and receivers that keep or wait; in `shards`, a shared scheduler.

#![allow(dead_code, reason = "each test that uses this module uses a part of it")]

use demuxbuf::connection::{Action, Actions, Event};
use demuxbuf::pool::{AttachOptions, Notice, Pool, PoolConfig, ReceiverId};
use demuxbuf::scheduler::{LeaseId, Outcome, Request};
use demuxbuf::shared::{PoolShard, SharedPool};

pub(crate) mod shards;

pub(crate) type ShardPool = Pool<PoolShard>;

/// The fewest buffers for two threads, of which each has three: the receive buffer, one cut into cells of 64 bytes, and
/// its spare.
pub(crate) const BUFFERS: u32 = 16;
/// What is left for the host's own requests, and for what receivers keep beside the spares.
pub(crate) const COMMON: u32 = BUFFERS - 2 * 3;

pub(crate) fn config() -> PoolConfig {
    config_of(BUFFERS)
}

pub(crate) fn config_of(buffers: u32) -> PoolConfig {
    PoolConfig { buffer_bytes: 256, tag: 5, ..PoolConfig::new(u64::from(buffers) * 256, 8) }
}

pub(crate) fn two(config: &PoolConfig) -> (SharedPool, ShardPool, ShardPool) {
    let shared_pool = SharedPool::new(config, 2).unwrap();
    let (a, b) = (shared_pool.shard(0).unwrap(), shared_pool.shard(1).unwrap());
    (shared_pool, a, b)
}

/// Everything must hold on both threads.
pub(crate) fn check(a: &ShardPool, b: &ShardPool) {
    a.check_invariants().unwrap();
    b.check_invariants().unwrap();
}

pub(crate) fn attach(pool: &mut ShardPool, token: u64) -> ReceiverId {
    pool.attach(&AttachOptions::new(0, token)).unwrap()
}

/// Attaches a receiver that keeps these bytes of a frame of 250 bytes.
pub(crate) fn keeping(pool: &mut ShardPool, token: u64, bytes: &[u8]) -> ReceiverId {
    let id = attach(pool, token);
    assert!(pool.handle(id, Event::Readable).unwrap().has(Action::Recv));
    receive(pool, id, bytes);
    pool.decoded(id, 0, 250 - bytes.len() as u32).unwrap();
    assert_eq!(pool.data(id).unwrap(), bytes);
    id
}

pub(crate) fn receive(pool: &mut ShardPool, id: ReceiverId, bytes: &[u8]) -> Actions {
    pool.receive_area(id).unwrap()[..bytes.len()].copy_from_slice(bytes);
    pool.handle(id, Event::Received { bytes: bytes.len() as u32 }).unwrap()
}

/// A buffer of the host's own, that is free.
pub(crate) fn granted(pool: &mut ShardPool, token: u64) -> LeaseId {
    match pool.request(0, token) {
        Ok(Outcome::Granted(lease)) => lease,
        other => panic!("a buffer is free: {other:?}"),
    }
}

/// Takes all buffers that the host may have; both threads look then.
pub(crate) fn exhaust(pool: &mut ShardPool, other: &mut ShardPool) -> Vec<LeaseId> {
    let leases = std::iter::from_fn(|| pool.try_request(&Request::new(0, 0)).unwrap()).collect();
    pool.handle_timeout(0);
    other.handle_timeout(0);
    leases
}

/// Attaches a receiver that keeps 64 bytes and waits for room for the rest. The pool is exhausted, and it takes the
/// spare of its thread if that is there.
pub(crate) fn waiting(pool: &mut ShardPool, token: u64) -> ReceiverId {
    let id = attach(pool, token);
    let actions = pool.handle(id, Event::Readable).unwrap();
    assert!(actions.has(Action::Recv));
    let room = pool.receive_area(id).unwrap().len();
    receive(pool, id, &vec![token as u8; room.min(64)]);
    pool.decoded(id, 0, 250 - 64).unwrap();
    pool.handle(id, Event::Readable).unwrap();
    assert!(pool.connection(id).unwrap().is_waiting(), "{:?}", pool.pending(id));
    id
}

/// Two threads of 24 buffers, of which receivers may have ten: what those of the first thread keep is as much.
pub(crate) fn at_cap() -> (SharedPool, ShardPool, ShardPool, Vec<ReceiverId>) {
    let mut config = PoolConfig { classes: 2, ..config_of(24) };
    config.class_caps[1] = 10;
    let (shared_pool, mut a, b) = two(&config);
    let mut kept = Vec::new();
    while shared_pool.stats().scheduler.outstanding_by_class[1] < 10 {
        kept.push(keeping(&mut a, 1, &[1; 200]));
        check(&a, &b);
    }
    (shared_pool, a, b, kept)
}

/// The token of the next notice.
pub(crate) fn granted_to(pool: &mut ShardPool) -> Option<u64> {
    match pool.poll_notice()? {
        Notice::Receiver { token, .. } | Notice::Lease { token, .. } => Some(token),
        notice => unreachable!("{notice:?}"),
    }
}
