//! Handles, counters and what the host may do wrong with them: scenarios S84 to S89, as Rust sees them.

use demuxbuf::connection::{Connection, Event};
use demuxbuf::pool::{AttachOptions, Pool, PoolConfig, PoolError, ReceiverId};
use demuxbuf::scheduler::{Outcome, Request, SchedulerError, TenantConfig, TenantId};
use demuxbuf::shared::{PoolShard, SharedPool};

/// As few buffers as this number of threads has.
fn config(threads: u64, receivers_max: u32) -> PoolConfig {
    PoolConfig { buffer_bytes: 256, ..PoolConfig::new(threads * 8 * 256, receivers_max) }
}

/// Bytes that are buffered, according to the counters.
fn buffered(pool: &Pool<PoolShard>) -> u64 {
    pool.check_invariants().expect("nothing is broken");
    let stats = pool.stats();
    stats.received_bytes - stats.consumed_bytes - stats.dropped_bytes - stats.taken_bytes
}

fn receive(pool: &mut Pool<PoolShard>, id: ReceiverId, bytes: u32) {
    pool.handle(id, Event::Readable).expect("it is attached");
    pool.handle(id, Event::Received { bytes }).expect("there is room");
}

/// Each of 300 threads has a receiver in its first row; no thread takes the handle of another for its own.
#[test]
fn s84_each_of_300_threads_refuses_all_others() {
    let shared_pool = SharedPool::new(&config(300, 2), 300).expect("the configuration is allowed");
    let mut all: Vec<Pool<PoolShard>> = (0..300).map(|index| shared_pool.shard(index).expect("it has none")).collect();
    let ids: Vec<ReceiverId> =
        all.iter_mut().map(|pool| pool.attach(&AttachOptions::new(0, 0)).expect("there is room")).collect();
    for (index, pool) in all.iter_mut().enumerate() {
        for (other, &id) in ids.iter().enumerate() {
            let expected = if other == index { Ok(()) } else { Err(PoolError::Stale) };
            assert_eq!(pool.handle(id, Event::Wake).map(|_| ()), expected, "thread {index}, receiver of {other}");
        }
    }
}

/// A shard that is made again refuses the handles of the shard before it.
#[test]
fn s84_remade_shard_refuses_earlier_handles() {
    let shared_pool = SharedPool::new(&config(2, 2), 2).expect("the configuration is allowed");
    let mut before: Vec<ReceiverId> = Vec::new();
    for _ in 0..600 {
        let mut pool = shared_pool.shard(1).expect("it has none");
        let ids = [0, 1].map(|token| pool.attach(&AttachOptions::new(0, token)).expect("there is room"));
        for &id in &before {
            assert_eq!(pool.handle(id, Event::Wake), Err(PoolError::Stale));
        }
        pool.handle(ids[0], Event::Close).expect("it is attached");
        before.extend([ids[0], pool.attach(&AttachOptions::new(0, 2)).expect("there is room"), ids[1]]);
    }
}

/// A receiver of another shared pool is refused, also while one with the same numbers is being exported to it.
#[test]
fn s86_import_of_another_pools_receiver_is_stale() {
    let made = [(); 2].map(|()| SharedPool::new(&config(2, 2), 2).expect("the configuration is allowed"));
    let mut all = made.each_ref().map(|shared_pool| [0, 1].map(|index| shared_pool.shard(index).expect("it has none")));
    let mut moving = all.each_mut().map(|pool| {
        let id = pool[0].attach(&AttachOptions::new(0, 0)).expect("there is room");
        pool[0].export(id).expect("it can move")
    });
    for (at, moving) in moving.iter_mut().enumerate() {
        assert_eq!(all[1 - at][1].import(moving), Err(PoolError::Stale));
        assert_eq!(all[1 - at][1].stats().receivers, at as u32);
        all[at][1].import(moving).expect("it is its own");
        assert_eq!(all[at][1].import(moving), Err(PoolError::Stale), "it is empty");
    }
}

/// As many receivers may be exported at once as all threads can have; one more stays where it is.
#[test]
fn s86_export_is_refused_when_the_table_is_full() {
    let shared_pool = SharedPool::new(&config(2, 2), 2).expect("the configuration is allowed");
    let [mut from, mut to] = [0, 1].map(|index| shared_pool.shard(index).expect("it has none"));
    let export = |from: &mut Pool<PoolShard>| {
        let id = from.attach(&AttachOptions::new(0, 0)).expect("there is room");
        (id, from.export(id))
    };
    let mut moving: Vec<_> = (0..4).map(|_| export(&mut from).1.expect("it can move")).collect();
    let (id, refused) = export(&mut from);
    assert_eq!(refused.map(|_| ()), Err(PoolError::ExportsFull));
    from.handle(id, Event::Wake).expect("it is where it was");
    to.import(&mut moving[2]).expect("it was exported");
    let mut last = from.export(id).expect("one export has ended");
    to.import(&mut last).expect("it was exported");
}

/// An import that is refused for its class or for lack of room changes nothing; afterwards the value is empty.
#[test]
fn s86_import_that_is_refused_loses_nothing() {
    let shared_pool = SharedPool::new(&config(2, 2), 2).expect("the configuration is allowed");
    let [mut from, mut to] = [0, 1].map(|index| shared_pool.shard(index).expect("it has none"));
    let id = from.attach(&AttachOptions::new(0, 7)).expect("there is room");
    receive(&mut from, id, 100);
    let mut moving = from.export(id).expect("it can move");
    moving.class = 1;
    let refused = to.import(&mut moving);
    assert_eq!(refused, Err(SchedulerError::UnknownClass { class: 1, classes: 1 }.into()));
    moving.class = 0;
    let rows = [0, 1].map(|token| to.attach(&AttachOptions::new(0, token)).expect("there is room"));
    assert_eq!(to.import(&mut moving), Err(PoolError::ReceiversFull { receivers_max: 2 }));
    let lease = moving.lease;
    to.handle(rows[0], Event::Close).expect("it is attached");
    let id = to.import(&mut moving).expect("there is room now");
    assert_eq!((to.data(id).expect("it holds a buffer").len(), lease.is_some()), (100, true));
    assert_eq!((moving.lease, moving.ticket), (None, Default::default()));
    assert_eq!((moving.connection.is_open(), moving.connection.buffered_bytes()), (false, 0));
    to.check_invariants().expect("nothing is broken");
}

/// Of a value whose connection was exchanged for one that is closed or poisoned, nothing is imported.
#[test]
fn s86_import_refuses_a_closed_or_poisoned_connection() {
    let shared_pool = SharedPool::new(&config(2, 2), 2).expect("the configuration is allowed");
    let [mut from, mut to] = [0, 1].map(|index| shared_pool.shard(index).expect("it has none"));
    let id = from.attach(&AttachOptions::new(0, 7)).expect("there is room");
    let mut moving = from.export(id).expect("it can move");
    let own = moving.connection.clone();
    for other in [Connection::default(), Connection::poisoned()] {
        moving.connection = other;
        assert_eq!(to.import(&mut moving), Err(PoolError::Stale), "{:?}", moving.connection);
    }
    moving.connection = own;
    to.import(&mut moving).expect("it is as it was");
}

/// A request of a thread for a tenant that is not there is refused, whether it could wait or not, and changes nothing.
#[test]
fn request_for_a_stale_tenant_of_a_shard_is_refused() {
    for waiters_max in [0, 3] {
        let config = PoolConfig { waiters_max, tenants_max: 1, ..config(1, 2) };
        let shared_pool = SharedPool::new(&config, 1).expect("the configuration is allowed");
        let mut pool = shared_pool.shard(0).expect("it has none");
        let removed = pool.create_tenant(&TenantConfig::default()).expect("there is room");
        pool.remove_tenant(removed).expect("it is there");
        let leased = pool.stats().scheduler.leased;
        for tenant in [TenantId::from_bits(1), TenantId::from_bits(0), removed] {
            let request = Request { tenant: Some(tenant), ..Request::new(0, 0) };
            let stale = SchedulerError::StaleTenant;
            assert_eq!(pool.request_for(&request), Err(stale.into()));
            assert_eq!(pool.try_request(&request), Err(stale.into()));
            let options = AttachOptions { tenant: Some(tenant), ..AttachOptions::new(0, 0) };
            assert_eq!(pool.attach(&options).map(drop), Err(stale.into()));
            assert_eq!(pool.remove_tenant(tenant), Err(stale.into()));
            assert_eq!(pool.describe_tenant(tenant), Err(stale.into()));
        }
        assert_eq!((leased, pool.stats().receivers), (shared_pool.stats().scheduler.leased, 0));
        for _ in 0..30 {
            let unknown = SchedulerError::UnknownClass { class: 1, classes: 1 };
            assert_eq!(pool.request(1, 0), Err(unknown.into()));
            let _ = pool.request(0, 0);
        }
    }
}

/// A receiver that moves takes its bytes out of the counters of one thread and into those of the other.
#[test]
fn s88_counters_add_up_on_both_threads_of_a_move() {
    let shared_pool = SharedPool::new(&config(2, 4), 2).expect("the configuration is allowed");
    let [mut from, mut to] = [0, 1].map(|index| shared_pool.shard(index).expect("it has none"));
    for bytes in [200, 20, 0] {
        let id = from.attach(&AttachOptions::new(0, 0)).expect("there is room");
        if bytes > 0 {
            receive(&mut from, id, bytes);
        }
        let mut moving = from.export(id).expect("it can move");
        assert_eq!((buffered(&from), buffered(&to)), (0, 0));
        let id = to.import(&mut moving).expect("it was exported");
        assert_eq!((buffered(&from), buffered(&to)), (0, u64::from(bytes)));
        to.handle(id, Event::Close).expect("it is attached");
        assert_eq!(buffered(&to), 0);
    }
    assert_eq!((from.stats().taken_bytes, to.stats().received_bytes, to.stats().dropped_bytes), (220, 220, 220));
}

/// A buffer that the host takes from a receiver and returns is a receiver's as long as one has it.
#[test]
fn s89_buffer_is_taken_adopted_and_released() {
    let shared_pool = SharedPool::new(&config(2, 2), 2).expect("the configuration is allowed");
    let mut both = [0, 1].map(|index| shared_pool.shard(index).expect("it has none"));
    let leased = shared_pool.stats().scheduler.leased;
    for from in [0, 1, 0] {
        let pool = &mut both[from];
        let id = pool.attach(&AttachOptions::new(0, 1)).expect("there is room");
        receive(pool, id, 100);
        pool.decoded(id, 0, 100).expect("it is attached");
        let taken = pool.take(id).expect("there is a buffer for it");
        assert_eq!(buffered(pool), 0);
        pool.handle(id, Event::Close).expect("it is attached");
        let id = pool.adopt(&AttachOptions::new(0, 1), taken).expect("it is the host's");
        assert_eq!((pool.release(taken.lease), buffered(pool)), (Err(SchedulerError::StaleLease.into()), 100));
        pool.handle(id, Event::Close).expect("it is attached");
        assert_eq!((pool.poll_notice(), buffered(pool)), (None, 0));
        let Ok(Outcome::Granted(lease)) = pool.request(0, 0) else { panic!("it is free") };
        pool.release(lease).expect("it is the host's");
    }
    assert_eq!(shared_pool.stats().scheduler.leased, leased);
    shared_pool.check_invariants().expect("nothing is broken");
}
