//! Whether broken tables are noticed.

use super::super::waits::WaitState;
use super::super::{Outcome, Request, Scheduler, SchedulerConfig};
use super::*;

/// A pool of 4 buffers, all held by the default tenant. The first tenant, below its guaranteed share, waits in both
/// classes, the second in the more critical one, and the third is gone.
fn scheduler() -> Scheduler {
    let mut scheduler = Scheduler::new(&SchedulerConfig { classes: 2, tenants_max: 3, ..SchedulerConfig::new(4, 4) })
        .expect("the configuration is allowed");
    for _ in 0..4 {
        assert!(matches!(scheduler.request(0, 0), Ok(Outcome::Granted(_))));
    }
    let [first, second, third] = [2, 0, 0].map(|guaranteed| {
        scheduler.create_tenant(&TenantConfig { guaranteed, ..TenantConfig::default() }).expect("there is room")
    });
    for (tenant, class) in [(first, 0), (first, 1), (second, 0)] {
        let request = Request { tenant: Some(tenant), ..Request::new(class, 0) };
        assert!(matches!(scheduler.request_for(&request), Ok(Outcome::Queued(_))));
    }
    scheduler.remove_tenant(third).expect("it is live");
    assert_eq!(scheduler.check_tenants(), Ok(()));
    scheduler
}

fn assert_named(rule: &str, broken: &[fn(&mut Scheduler)]) {
    for (case, breaks) in broken.iter().enumerate() {
        let mut scheduler = scheduler();
        breaks(&mut scheduler);
        assert_eq!(scheduler.check_tenants(), Err(rule), "case {case}");
    }
}

#[test]
fn a_tenant_s_counts_are_compared_with_what_there_is() {
    assert_named(
        "I1: a tenant has outstanding what is counted",
        &[|scheduler| scheduler.tenants.tenants[1].outstanding += 1],
    );
    assert_named("I2: a tenant waits for what is counted", &[|scheduler| scheduler.tenants.tenants[1].waiting += 1]);
    assert_named(
        "a tenant never has more outstanding than its cap",
        &[|scheduler| {
            scheduler.buffers.lease_mut(0).tenant = 1;
            (scheduler.tenants.tenants[1].outstanding, scheduler.tenants.tenants[1].cap) = (1, 0);
        }],
    );
    assert_named(
        "what the tenants have outstanding and wait for is all",
        &[|scheduler| scheduler.buffers.lease_mut(0).tenant = 1, |scheduler| scheduler.tenants.tenants[1].waiting = 0],
    );
}

#[test]
fn tenant_stays_while_it_holds_waits_or_is_pinned() {
    assert_named(
        "I2: a tenant in use is not gone",
        &[
            |scheduler| scheduler.tenants.tenants[0].life = Life::Free,
            |scheduler| scheduler.tenants.tenants[1].life = Life::Free,
            |scheduler| scheduler.tenants.tenants[3].pinned = 1,
        ],
    );
}

#[test]
fn a_wait_stands_in_the_queue_of_its_flow() {
    assert_named(
        "I2: a queue is sound",
        &[
            |scheduler| {
                // Served, and not taken out of its queue.
                scheduler.waits.table_mut()[0].state = WaitState::Assigned;
                scheduler.tenants.tenants[1].waiting -= 1;
                scheduler.stats.waiting -= 1;
            },
            |scheduler| scheduler.waits.table_mut()[2].class = 1,
        ],
    );
}

#[test]
fn a_flow_stands_in_the_rings_of_its_class() {
    assert_named(
        "a flow stands in the rings it belongs to",
        &[
            |scheduler| scheduler.tenants.flows[2].in_open = false,
            |scheduler| scheduler.tenants.flows[2].in_entitled = false,
            |scheduler| scheduler.tenants.flows[4].in_entitled = true,
        ],
    );
    assert_named(
        "I2: a ring is sound",
        &[
            |scheduler| scheduler.tenants.rings[0].open.len += 1,
            |scheduler| scheduler.tenants.rings[0].entitled.len += 1,
            |scheduler| {
                let [one, other, ..] = &mut scheduler.tenants.rings;
                core::mem::swap(&mut one.open, &mut other.open);
            },
            |scheduler| {
                let [one, other, ..] = &mut scheduler.tenants.rings;
                core::mem::swap(&mut one.entitled, &mut other.entitled);
            },
        ],
    );
}

/// The first two tenants have receivers that keep something, claim and are off; a buffer has 100 bytes.
fn loaded() -> Scheduler {
    let mut scheduler = scheduler();
    scheduler.count_kept(100).expect("there is memory");
    for (tenant, kept_bytes) in [(0, 150), (1, 250), (2, 300)] {
        scheduler.keep(tenant, 0, kept_bytes);
        for order in [LoadOrder::Claiming, LoadOrder::Off, LoadOrder::Evictable] {
            scheduler.set_wants(tenant, order, true);
        }
    }
    assert_eq!(scheduler.check_tenants(), Ok(()));
    scheduler
}

#[test]
fn tenants_are_ordered_by_load() {
    let mut scheduler = loaded();
    let firsts = |scheduler: &Scheduler| {
        [LoadOrder::Claiming, LoadOrder::Off, LoadOrder::Evictable].map(|order| scheduler.first_in(order))
    };
    assert_eq!(firsts(&scheduler), [Some(0), Some(0), Some(2)]);
    // At the same load the lowest number is first.
    scheduler.keep(1, 0, 50);
    assert_eq!(firsts(&scheduler), [Some(0), Some(0), Some(1)]);
    scheduler.keep(0, 0, 150);
    assert_eq!(firsts(&scheduler), [Some(0), Some(0), Some(0)]);
    scheduler.keep(0, 0, 1);
    assert_eq!(firsts(&scheduler), [Some(1), Some(1), Some(0)]);
    // At its cap it is not served.
    scheduler.tenants.tenants[1].cap = 3;
    scheduler.keep(1, 0, 0);
    assert_eq!(firsts(&scheduler), [Some(2), Some(2), Some(0)]);
    scheduler.set_wants(2, LoadOrder::Claiming, false);
    assert_eq!(firsts(&scheduler), [Some(0), Some(2), Some(0)]);
    // Content of one that holds no more than a buffer, or its guarantee of two, stays.
    for (tenant, kept_bytes, others) in [(0, 100, Some(1)), (1, 200, Some(2)), (2, 100, None)] {
        let less_bytes = scheduler.kept_bytes(tenant) as u32 - kept_bytes;
        scheduler.keep(tenant, less_bytes, 0);
        assert_eq!(scheduler.first_in(LoadOrder::Evictable), others);
    }
    assert_eq!(scheduler.check_tenants(), Ok(()));
}

#[test]
fn content_goes_for_a_tenant_that_holds_less() {
    let mut scheduler = loaded();
    // The claimant holds 150 bytes, and the one that holds most 300.
    assert_eq!(scheduler.next_to_evict(0, 100, 99), Some(2));
    assert_eq!(scheduler.next_to_evict(0, 100, 100), None);
    assert_eq!(scheduler.next_to_evict(2, 300, 0), None, "it is its own");
    scheduler.tenants.tenants[2].weight = 2;
    assert_eq!(scheduler.next_to_evict(0, 100, 24), Some(2));
    assert_eq!(scheduler.next_to_evict(0, 100, 25), None);
}

#[test]
fn wrong_orders_by_load_are_named() {
    let named = |rule: &str, breaks: fn(&mut Scheduler)| {
        let mut scheduler = loaded();
        breaks(&mut scheduler);
        assert_eq!(scheduler.check_tenants(), Err(rule));
    };
    named("what receivers keep counts in whole buffers", |scheduler| scheduler.tenants.tenants[1].kept += 1);
    named("the order of tenants by load is sound", |scheduler| scheduler.tenants.loads.entries[0].load.weight = 0);
    named("each tenant is in the orders by load that it belongs to", |scheduler| {
        scheduler.tenants.loads.entries[0].load.cap = 1;
    });
    named("the orders by load are of what tenants hold now", |scheduler| scheduler.tenants.tenants[0].cap = 10);
}
