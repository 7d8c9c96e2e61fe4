//! Pools that threads share: each thread audits its own receivers.

use super::*;
use demuxbuf::pool::Notice;
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
        "a notice is not picked up: drain poll_notice in each iteration, before you sleep"
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

/// A lease of the host's own that is overdue, since another thread waits, is named by the thread that has it.
#[test]
fn overdue_lease_that_is_left_is_named() {
    let config = PoolConfig { memory_bytes: 16 * 1024, lease_ns: Some(20 * MS), waiters_max: 1, ..config(Mode::Level) };
    let shared_pool = SharedPool::new(&config, 2).expect("the configuration is allowed");
    let [mut here, mut there] = [0, 1].map(|shard| Host::new(shared_pool.shard(shard).expect("it is free")));
    let request = Request { has_deadline: true, ..Request::new(0, 3) };
    here.pool.try_request(&request).expect("the class exists").expect("a buffer is free");
    here.drains_notices = false;
    for _ in 0..30 {
        assert_eq!(here.iterate(|_| {}), [], "no request waits");
    }
    lease_all(&mut there.pool);
    assert!(matches!(there.pool.request(0, 4), Ok(Outcome::Queued(_))));
    assert_eq!(here.iterate(|_| {}), [], "the request may have come just now");
    let line = "a notice is not picked up: drain poll_notice in each iteration, before you sleep";
    assert_eq!(only(None, &here.iterate(|_| {})), line);
    assert!(matches!(here.pool.poll_notice(), Some(Notice::Overdue { token: 3, .. })));
    assert_eq!(here.iterate(|_| {}), []);
}
