//! Whether broken tables are noticed.

use super::super::{Outcome, Pool, PoolConfig, Request};
use super::*;

/// A pool of 4 buffers, all held in nobody's name. The first tenant, below its guaranteed share, waits in both classes,
/// the second in the more critical one, and the third is gone.
fn pool() -> Pool {
    let mut pool = Pool::new(&PoolConfig { classes: 2, tenants_max: 3, ..PoolConfig::new(4, 4) })
        .expect("the configuration is allowed");
    for _ in 0..4 {
        assert!(matches!(pool.request(0, 0), Ok(Outcome::Granted(_))));
    }
    let [first, second, third] = [2, 0, 0].map(|guaranteed| {
        pool.create_tenant(&TenantConfig { guaranteed, ..TenantConfig::default() }).expect("there is room")
    });
    for (tenant, class) in [(first, 0), (first, 1), (second, 0)] {
        let request = Request { tenant: Some(tenant), ..Request::new(class, 0) };
        assert!(matches!(pool.request_for(&request), Ok(Outcome::Queued(_))));
    }
    pool.remove_tenant(third).expect("it is live");
    assert_eq!(pool.check_tenants(), Ok(()));
    pool
}

fn assert_named(rule: &str, broken: &[fn(&mut Pool)]) {
    for (case, breaks) in broken.iter().enumerate() {
        let mut pool = pool();
        breaks(&mut pool);
        assert_eq!(pool.check_tenants(), Err(rule), "case {case}");
    }
}

#[test]
fn a_tenant_s_counts_are_compared_with_what_there_is() {
    assert_named("I1: a tenant has out what is counted", &[|pool| pool.tenants.tenants[1].out += 1]);
    assert_named("I2: a tenant waits for what is counted", &[|pool| pool.tenants.tenants[1].waiting += 1]);
    assert_named(
        "a tenant never has more out than its cap",
        &[|pool| {
            pool.buffers.lease_mut(0).tenant = 1;
            (pool.tenants.tenants[1].out, pool.tenants.tenants[1].cap) = (1, 0);
        }],
    );
    assert_named(
        "what the tenants have out and wait for is all",
        &[|pool| pool.buffers.lease_mut(0).tenant = 1, |pool| pool.tenants.tenants[1].waiting = 0],
    );
}

#[test]
fn a_tenant_is_not_gone_while_it_holds_or_waits_or_is_pinned() {
    assert_named(
        "I2: a tenant in use is not gone",
        &[
            |pool| pool.tenants.tenants[0].life = Life::Free,
            |pool| pool.tenants.tenants[1].life = Life::Free,
            |pool| pool.tenants.tenants[3].pinned = 1,
        ],
    );
}

#[test]
fn a_wait_stands_in_the_queue_of_its_flow() {
    assert_named(
        "I2: a queue is sound",
        &[
            |pool| {
                // Served, and not taken out of its queue.
                pool.waits.table_mut()[0].state = WaitState::Assigned;
                pool.tenants.tenants[1].waiting -= 1;
                pool.stats.waiting -= 1;
            },
            |pool| pool.waits.table_mut()[2].class = 1,
        ],
    );
}

#[test]
fn a_flow_stands_in_the_rings_of_its_class() {
    assert_named(
        "a flow stands in the rings it belongs to",
        &[
            |pool| pool.tenants.flows[2].in_open = false,
            |pool| pool.tenants.flows[2].in_entitled = false,
            |pool| pool.tenants.flows[4].in_entitled = true,
        ],
    );
    assert_named(
        "I2: a ring is sound",
        &[
            |pool| pool.tenants.rings[0].open.len += 1,
            |pool| pool.tenants.rings[0].entitled.len += 1,
            |pool| {
                let [one, other, ..] = &mut pool.tenants.rings;
                core::mem::swap(&mut one.open, &mut other.open);
            },
            |pool| {
                let [one, other, ..] = &mut pool.tenants.rings;
                core::mem::swap(&mut one.entitled, &mut other.entitled);
            },
        ],
    );
}
