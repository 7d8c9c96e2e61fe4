//! Messages of errors: each is a sentence of its own, with the values that are wrong and those that are allowed.

use demuxbuf::connection::{Action, Actions, Connection, Event, EventError, Policy};
use demuxbuf::memory::{Arena, BUFFER_SIZES_MAX};
use demuxbuf::pool::{Pool, PoolConfig, PoolError};
use demuxbuf::scheduler::{
    LeaseId, Outcome, Request, Scheduler, SchedulerConfig, SchedulerError, TenantConfig, TenantId, WaitId,
};
use demuxbuf::shared::{SharedPool, SharedPoolError, SharedScheduler, SharedSchedulerError};
use demuxbuf::{Allowed, ConfigError};
use std::collections::HashSet;
use std::error::Error;
use std::fmt::Display;

/// All messages are different, and none is empty.
fn differ(errors: &[&dyn Display]) {
    let messages: HashSet<String> = errors.iter().map(|error| error.to_string()).collect();
    assert_eq!(messages.len(), errors.len(), "{messages:?}");
    assert!(messages.iter().all(|sentence| sentence.contains(' ')), "{messages:?}");
}

/// The message of a refused configuration has the field, its value and what is allowed.
#[test]
fn config_error_names_field_value_and_limit() {
    let refused = |change: fn(&mut SchedulerConfig)| {
        let mut config = SchedulerConfig::new(2, 2);
        change(&mut config);
        Scheduler::new(&config).unwrap_err().to_string()
    };
    assert_eq!(refused(|config| config.lease_ns = Some(0)), "lease_ns is 0; allowed is 1 or more");
    let text = refused(|config| (config.park_ns, config.lease_ns) = (Some(9), Some(5)));
    assert_eq!(text, "park_ns is 9; allowed is 0 to lease_ns, 5");
    let text = refused(|config| (config.buffers, config.sizes[0]) = (1 << 22, 1 << 12));
    assert_eq!(text, "buffers is 4194304 of sizes[0] = 4096 units; allowed is what 32 bits can count, of all sizes");
    let mut sizes = [0; BUFFER_SIZES_MAX];
    sizes[0] = 4096;
    assert_eq!(Arena::new(0, &sizes).unwrap_err().to_string(), "buffers is 0; allowed is 1 or more");
    let too_large = ConfigError::Refused { field: "buffers", index: None, value: 7, allowed: Allowed::Addressable };
    assert_eq!(
        too_large.to_string(),
        format!("buffers is 7; allowed is what fits into {} bytes, all sizes together", isize::MAX)
    );
}

/// The same of a pool: what is too little or too much, and how much it has to be.
#[test]
fn pool_config_error_names_field_value_and_limit() {
    let refused = |change: fn(&mut PoolConfig)| {
        let mut config = PoolConfig { buffer_bytes: 256, ..PoolConfig::new(8 * 256, 4) };
        change(&mut config);
        Pool::new(&config).unwrap_err().to_string()
    };
    assert_eq!(refused(|config| config.memory_bytes -= 1), "memory_bytes is 2047; allowed is 2048 or more");
    // Cells of 64 bytes for an eighth of memory are set aside, and three buffers beside them.
    let with_many = refused(|config| (config.memory_bytes, config.receivers_max) = (7 * 256, 1_000_000));
    assert_eq!(with_many, "memory_bytes is 1792; allowed is 2048 or more");
    let buffer_bytes = "allowed is a multiple of 64 from 128 to 16777216";
    assert_eq!(refused(|config| config.buffer_bytes = 64), format!("buffer_bytes is 64; {buffer_bytes}"));
    assert_eq!(refused(|config| config.buffer_bytes = 300), format!("buffer_bytes is 300; {buffer_bytes}"));
    assert_eq!(refused(|config| config.receivers_max = 0), "receivers_max is 0; allowed is 1 to 536870911");
    let grace_ns = refused(|config| config.frame_grace_ns = 7);
    assert_eq!(grace_ns, format!("frame_grace_ns is 7; allowed is 8 to {}", u64::MAX / 4));
}

#[test]
fn scheduler_error_names_its_cause() {
    let mut scheduler = Scheduler::new(&SchedulerConfig { tenants_max: 1, ..SchedulerConfig::new(1, 1) }).unwrap();
    let of_size = scheduler.request_for(&Request { size_index: 2, ..Request::new(0, 0) }).unwrap_err();
    let of_class = scheduler.request(3, 0).unwrap_err();
    let Ok(Outcome::Granted(_)) = scheduler.request(0, 0) else { panic!("a buffer is free") };
    let Ok(Outcome::Queued(_)) = scheduler.request(0, 1) else { panic!("none is free") };
    let full = scheduler.request(0, 2).unwrap_err();
    scheduler.create_tenant(&TenantConfig::default()).unwrap();
    let tenants = scheduler.create_tenant(&TenantConfig::default()).unwrap_err();
    assert_eq!(of_size.to_string(), "size_index is 2; the pool has no buffers of that");
    assert_eq!(of_class.to_string(), "class is 3; allowed is 0 to 0");
    assert_eq!(full.to_string(), "all 1 waits are in use");
    assert_eq!(tenants.to_string(), "all 1 tenants are in use");
    let stale = scheduler.release(LeaseId::from_bits(1)).unwrap_err();
    let wait = scheduler.cancel(WaitId::from_bits(1)).unwrap_err();
    let tenant = scheduler.remove_tenant(TenantId::from_bits(1)).unwrap_err();
    let tenant_config = SchedulerError::TenantConfig { field: "weight", value: 0, min: 1, max: 5 };
    assert_eq!(tenant_config.to_string(), "weight is 0; allowed is 1 to 5");
    let large = SchedulerError::TooLarge { units: 4 };
    assert_eq!(large.to_string(), "4 units can never be granted: reserve and caps leave less");
    differ(&[&of_size, &of_class, &full, &tenants, &stale, &wait, &tenant, &tenant_config, &large]);
}

#[test]
fn shared_scheduler_error_names_its_cause() {
    let shards = SharedScheduler::new(&SchedulerConfig::new(1, 1), 2).unwrap();
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
    let others = [SharedSchedulerError::ExportsFull, SharedSchedulerError::WrongThread, SharedSchedulerError::Closed];
    differ(&[&unknown, &in_use, &elsewhere, &not_exported, &of_pool, &others[0], &others[1], &others[2]]);

    let config = demuxbuf::pool::PoolConfig::new(1 << 20, 1);
    let shared_pool = SharedPool::new(&config, 1).unwrap();
    shared_pool.close();
    let closed = shared_pool.shard(0).unwrap_err();
    assert_eq!(closed.to_string(), SharedSchedulerError::Closed.to_string());
    assert_eq!(closed, SharedPoolError::Shard(SharedSchedulerError::Closed));
    let of_memory = ConfigError::OutOfMemory { field: "buffers", bytes: 48 };
    let of_memory = SharedPoolError::Memory(of_memory);
    assert_eq!(of_memory.to_string(), "buffers: no memory for 48 bytes");
    let of_scheduler = SharedSchedulerError::Scheduler(SchedulerError::StaleLease);
    let source = std::error::Error::source(&of_scheduler).expect("it is about another error");
    assert_eq!(source.to_string(), of_scheduler.to_string());
    for error in [of_memory, closed] {
        let source = std::error::Error::source(&error).expect("it is about another error");
        assert_eq!(source.to_string(), error.to_string());
    }
}

#[test]
fn pool_error_names_its_cause() {
    let tenant_config = SchedulerError::TenantConfig { field: "weight", value: 0, min: 1, max: 5 };
    let event = EventError::NoBuffer;
    let errors = [
        PoolError::Stale,
        PoolError::Scheduler(tenant_config),
        PoolError::ReceiversFull { receivers_max: 3 },
        PoolError::NoBufferFree,
        PoolError::NoBuffer,
        PoolError::TooManyBytes,
        PoolError::InternalEvent,
        PoolError::PoolClosed,
        PoolError::WrongThread,
        PoolError::NotShared,
        PoolError::NotMovable,
        PoolError::ExportsFull,
        PoolError::UnknownAddress,
        PoolError::AuditOff,
        PoolError::Event(EventError::AfterEnd),
    ];
    differ(&errors.iter().map(|error| error as &dyn Display).collect::<Vec<_>>());
    assert_eq!(PoolError::Scheduler(tenant_config).to_string(), tenant_config.to_string());
    let full = PoolError::ReceiversFull { receivers_max: 3 };
    assert_eq!(full.to_string(), "all 3 receivers are in use");
    let mut connection = Connection::new(Policy::default());
    connection.handle(Event::Attach { buffered_bytes: 0, capacity: 0 }).unwrap();
    assert_eq!(connection.handle(Event::Received { bytes: 1 }), Err(event));
    assert_eq!(PoolError::Event(event).to_string(), event.message());
}

/// An error that another one caused has it as its source, with its values; nothing is flattened.
#[test]
fn error_source_is_the_cause() {
    let cause = SchedulerError::TenantConfig { field: "weight", value: 0, min: 1, max: 5 };
    let shard = SharedSchedulerError::UnknownShard { index: 7, shards: 2 };
    let memory = ConfigError::OutOfMemory { field: "buffers", bytes: 48 };
    assert_eq!(source(&PoolError::from(cause)), Some(&cause));
    assert_eq!(source(&PoolError::from(EventError::AfterEnd)), Some(&EventError::AfterEnd));
    assert_eq!(source(&SharedSchedulerError::from(cause)), Some(&cause));
    assert_eq!(source(&PoolError::from(SharedSchedulerError::from(cause))), Some(&cause), "through a shard");
    assert_eq!(source(&SharedPoolError::Shard(shard)), Some(&shard));
    assert_eq!(source(&SharedPoolError::from(memory)), Some(&memory));
    let causeless: [&dyn Error; 2] = [&PoolError::Stale, &SharedSchedulerError::Closed];
    assert!(causeless.iter().all(|error| error.source().is_none()));
}

/// The source, if it is of this type.
fn source<E: Error + 'static>(error: &dyn Error) -> Option<&E> {
    error.source()?.downcast_ref()
}

#[test]
fn actions_debug_shows_their_names() {
    let mut actions = Actions::from(Action::Recv);
    actions |= Action::Decode;
    assert_eq!(format!("{actions:?}"), "{Recv, Decode}");
}
