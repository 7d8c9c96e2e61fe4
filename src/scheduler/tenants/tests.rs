//! Whether broken tables are noticed.

use super::super::waits::WaitState;
use super::super::{Outcome, Request, Scheduler, SchedulerConfig};
use super::*;

/// A pool of 4 buffers, all held by the default tenant. The first tenant, below its guaranteed share, waits in both classes,
/// the second in the more critical one, and the third is gone.
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
