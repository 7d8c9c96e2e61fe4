//! What errors say: each a sentence of its own, with the values that are wrong and those that are allowed.

use demuxbuf::connection::{Action, Actions, Connection, Event, EventError, Policy};
use demuxbuf::memory::{Arena, BUFFER_SIZES_MAX, MemoryError};
use demuxbuf::pool::{self, LeaseId, Outcome, Pool, PoolConfig, PoolError, Request, TenantConfig, TenantId, WaitId};
use demuxbuf::receiver::{ReceiverError, ReceiverThreads, Receivers, ReceiversConfig, ThreadError};
use demuxbuf::shards::{ShardError, Shards};
use std::collections::HashSet;
use std::fmt::Display;

/// No two of them say the same, and none says nothing.
fn differ(errors: &[&dyn Display]) {
    let said: HashSet<String> = errors.iter().map(|error| error.to_string()).collect();
    assert_eq!(said.len(), errors.len(), "{said:?}");
    assert!(said.iter().all(|sentence| sentence.contains(' ')), "{said:?}");
}

#[test]
fn a_refused_configuration_says_which_field_is_what_and_what_is_allowed() {
    let refused = |change: fn(&mut PoolConfig)| {
        let mut config = PoolConfig::new(2, 2);
        change(&mut config);
        Pool::new(&config).unwrap_err().to_string()
    };
    assert_eq!(refused(|config| config.lease_ns = 0), "lease_ns is 0; allowed is 1 or more");
    let text = refused(|config| (config.park_ns, config.lease_ns) = (9, 5));
    assert_eq!(text, "park_ns is 9; allowed is 0 to lease_ns, 5");
    let text = refused(|config| (config.buffers, config.sizes[0]) = (1 << 22, 1 << 12));
    assert_eq!(text, "buffers is 4194304 of sizes[0] = 4096 units; allowed is what 32 bits can count, of all sizes");
    let mut config = ReceiversConfig::new(2, 2);
    config.pool.sizes[0] = 3;
    assert_eq!(
        Receivers::new(&config).unwrap_err().to_string(),
        "buffer_bytes is 16448; allowed is a multiple of pool.sizes[0], 3"
    );
    let mut sizes = [0; BUFFER_SIZES_MAX];
    sizes[0] = 4096;
    assert_eq!(Arena::new(0, &sizes).unwrap_err().to_string(), "buffers is 0; allowed is 1 or more");
    let too_large = MemoryError::TooLarge { field: "buffers", count: 7 };
    assert_eq!(too_large.to_string(), "buffers is 7; the bytes of so many cannot be counted on this machine");
}

#[test]
fn a_pool_says_why_it_refuses() {
    let mut pool = Pool::new(&PoolConfig { tenants_max: 1, ..PoolConfig::new(1, 1) }).unwrap();
    let of_size = pool.request_for(&Request { size: 2, ..Request::new(0, 0) }).unwrap_err();
    let of_class = pool.request(3, 0).unwrap_err();
    let Ok(Outcome::Granted(_)) = pool.request(0, 0) else { panic!("a buffer is free") };
    let Ok(Outcome::Queued(_)) = pool.request(0, 1) else { panic!("none is free") };
    let full = pool.request(0, 2).unwrap_err();
    pool.create_tenant(&TenantConfig::default()).unwrap();
    let tenants = pool.create_tenant(&TenantConfig::default()).unwrap_err();
    assert_eq!(of_size.to_string(), "size is 2; the pool has no buffers of that");
    assert_eq!(of_class.to_string(), "class is 3; allowed is 0 to 0");
    assert_eq!(full.to_string(), "all 1 waits are in use");
    assert_eq!(tenants.to_string(), "all 1 tenants are in use");
    let stale = pool.release(LeaseId::from_bits(1)).unwrap_err();
    let wait = pool.cancel(WaitId::from_bits(1)).unwrap_err();
    let tenant = pool.remove_tenant(TenantId::from_bits(1)).unwrap_err();
    let share = PoolError::Share { field: "weight", value: 0, min: 1, max: 5 };
    assert_eq!(share.to_string(), "weight is 0; allowed is 1 to 5");
    let large = PoolError::TooLarge { units: 4 };
    assert_eq!(large.to_string(), "4 units can never be granted: reserve and caps leave less");
    differ(&[&of_size, &of_class, &full, &tenants, &stale, &wait, &tenant, &share, &large]);
}

#[test]
fn shards_and_threads_say_why_they_refuse() {
    let shards = Shards::new(&PoolConfig::new(1, 1), 2).unwrap();
    let (here, there) = (shards.shard(0).unwrap(), shards.shard(1).unwrap());
    let Ok(Outcome::Granted(_)) = here.request(0, 0) else { panic!("a buffer is free") };
    let Ok(Outcome::Queued(wait)) = here.request(0, 1) else { panic!("none is free") };
    let unknown = shards.shard(7).unwrap_err();
    let in_use = shards.shard(1).unwrap_err();
    let elsewhere = there.export_wait(wait).unwrap_err();
    let not_exported = there.import_wait(wait, 0).unwrap_err();
    let of_pool = there.request(9, 0).unwrap_err();
    assert_eq!(unknown.to_string(), "shard is 7; allowed is 0 to 1");
    assert_eq!(in_use.to_string(), "the handle of shard 1 is in use");
    assert_eq!(of_pool.to_string(), "class is 9; allowed is 0 to 0");
    let others = [ShardError::TooManyOnTheWay, ShardError::WrongThread, ShardError::Closed];
    differ(&[&unknown, &in_use, &elsewhere, &not_exported, &of_pool, &others[0], &others[1], &others[2]]);

    let threads = ReceiverThreads::new(&ReceiversConfig::new(1, 1), 1).unwrap();
    threads.close();
    let closed = threads.receivers(0).unwrap_err();
    assert_eq!(closed.to_string(), ShardError::Closed.to_string());
    assert_eq!(closed, ThreadError::Shard(ShardError::Closed));
    let of_memory = pool::ConfigError::AllocationFailed { field: "buffers", entries: 3 };
    assert_eq!(ThreadError::Memory(of_memory.into()).to_string(), "buffers: no memory for a table of 3 entries");
}

#[test]
fn receivers_say_why_they_refuse() {
    let share = PoolError::Share { field: "weight", value: 0, min: 1, max: 5 };
    let event = EventError::NoBuffer;
    let errors = [
        ReceiverError::Stale,
        ReceiverError::UnknownClass,
        ReceiverError::UnknownSize,
        ReceiverError::TooLarge,
        ReceiverError::NotLarger,
        ReceiverError::Share(share),
        ReceiverError::AlreadyWaiting,
        ReceiverError::TableFull,
        ReceiverError::NoBufferFree,
        ReceiverError::NoBuffer,
        ReceiverError::TooManyBytes,
        ReceiverError::InternalEvent,
        ReceiverError::PoolClosed,
        ReceiverError::WrongThread,
        ReceiverError::NotShared,
        ReceiverError::Event(EventError::AfterEnd),
    ];
    differ(&errors.iter().map(|error| error as &dyn Display).collect::<Vec<_>>());
    assert_eq!(ReceiverError::Share(share).to_string(), share.to_string());
    let mut connection = Connection::new(Policy::default());
    connection.handle(Event::Attach { level: 0, capacity: 0 }).unwrap();
    assert_eq!(connection.handle(Event::Received { bytes: 1 }), Err(event));
    assert_eq!(ReceiverError::Event(event).to_string(), event.message());
}

#[test]
fn a_set_of_actions_is_shown_by_their_names() {
    let mut actions = Actions::from(Action::Recv);
    actions |= Action::Demux;
    assert_eq!(format!("{actions:?}"), "{Recv, Demux}");
}
