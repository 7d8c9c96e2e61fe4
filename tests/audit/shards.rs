//! Pools that threads share: each thread audits its own receivers.

use super::*;
use demuxbuf::shared::{PoolShard, SharedPool};

/// A pool that two threads share.
fn shards() -> (SharedPool, [Host<PoolShard>; 2]) {
    let config = PoolConfig { memory_bytes: 16 * 1024, ..config(Mode::Level) };
    let shared_pool = SharedPool::new(&config, 2).expect("the configuration is allowed");
    let hosts = [0, 1].map(|shard| Host::new(shared_pool.shard(shard).expect("it is free")));
    (shared_pool, hosts)
}

/// A grant that another thread has made possible just now is no mistake.
#[test]
fn shards_audit_their_own_receivers() {
    let (_shared_pool, [mut here, mut there]) = shards();
    let waiter = there.attach(8);
    let mut leases = Vec::new();
    assert_eq!(here.iterate(|pool| leases = lease_all(pool)), []);
    let findings = there.iterate(|pool| {
        receive_part(pool, waiter, 64);
        report(pool, waiter, Event::Readable);
        assert!(pool.connection(waiter).expect("it is attached").is_waiting());
    });
    assert_eq!(findings, []);
    let idle = there.pool.attach(&AttachOptions::new(0, 9)).expect("there is room");
    assert_eq!(here.iterate(|_| {}), [], "it is another thread's");
    assert_eq!(only(Some(idle), &there.audit()).split(':').next(), Some("WantRecv is undone"));
    close(&mut there.pool, idle);
    leases.into_iter().for_each(|lease| here.pool.release(lease).expect("it is the host's"));
    there.drains_notices = false;
    assert_eq!(there.iterate(|_| {}), [], "it came just now");
    let findings = there.iterate(|_| {});
    assert_eq!(
        only(Some(waiter), &findings),
        "a grant is not picked up: drain poll_notice in each iteration, before you sleep"
    );
    there.drains_notices = true;
    let findings = there.iterate(|_| {});
    assert!(findings[0].actions.has(Action::Recv), "it is picked up, and its step is ignored: {findings:?}");
}

/// A receiver that moves does not take over what the audit remembers of its row there.
#[test]
fn imported_receiver_is_new_to_the_audit() {
    let (_shared_pool, [mut here, mut there]) = shards();
    let [moves, before] = [(&mut here, 7), (&mut there, 8)].map(|(host, token)| {
        let id = host.pool.attach(&AttachOptions::new(0, token)).expect("there is room");
        assert_eq!(host.iterate(|_| {}).len(), 1, "its read interest is to be armed");
        id
    });
    close(&mut there.pool, before);
    let mut exported = here.pool.export(moves).expect("it may move");
    let id = there.pool.import(&mut exported).expect("there is room");
    let findings = there.iterate(|_| {});
    assert_eq!((findings[0].receiver, findings[0].age_ns), (Some(id), 0));
}
