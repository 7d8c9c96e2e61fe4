//! Deadlines that are never, and the longest that are not.

use crate::support::{check, new_scheduler, queue, take};
use demuxbuf::scheduler::{LeaseId, ReclaimKind, Request, Scheduler, SchedulerConfig};
use demuxbuf::{Allowed, ConfigError};

const LONGEST_NS: u64 = u64::MAX;

fn config(park_ns: Option<u64>, lease_ns: Option<u64>) -> SchedulerConfig {
    SchedulerConfig { park_ns, lease_ns, ..SchedulerConfig::new(1, 4) }
}

/// A holder and a waiter, at the origin of time.
fn holder_and_waiter(park_ns: Option<u64>, lease_ns: Option<u64>) -> (Scheduler, LeaseId) {
    let mut scheduler = new_scheduler(&config(park_ns, lease_ns));
    scheduler.handle_timeout(0);
    let lease = take(&mut scheduler, &Request { has_deadline: true, ..Request::new(0, 0) });
    queue(&mut scheduler, &Request::new(0, 1));
    (scheduler, lease)
}

/// What is asked at this time, and when the clock is to be advanced next.
fn asked_at(scheduler: &mut Scheduler, now_ns: u64) -> (Vec<ReclaimKind>, Option<u64>) {
    scheduler.handle_timeout(now_ns);
    let asked = std::iter::from_fn(|| scheduler.poll_reclaim()).map(|reclaim| reclaim.kind).collect();
    check(scheduler);
    (asked, scheduler.poll_timeout())
}

/// `park_ns` is above `lease_ns` only if both are times; no number is an exception.
#[test]
fn park_ns_above_lease_ns_is_refused() {
    for (park_ns, lease_ns) in [
        (None, None),
        (None, Some(1)),
        (None, Some(LONGEST_NS)),
        (Some(0), Some(1)),
        (Some(5), Some(5)),
        (Some(LONGEST_NS), Some(LONGEST_NS)),
    ] {
        let made = Scheduler::new(&config(park_ns, lease_ns)).map(|_| ());
        assert_eq!(made, Ok(()), "{park_ns:?}, {lease_ns:?}");
    }
    for (park_ns, lease_ns) in [(6, 5), (LONGEST_NS, 5), (LONGEST_NS, LONGEST_NS - 1)] {
        let allowed = Allowed::AtMost { field: "lease_ns", value: lease_ns };
        let refused = ConfigError::Refused { field: "park_ns", index: None, value: park_ns, allowed };
        assert_eq!(Scheduler::new(&config(Some(park_ns), Some(lease_ns))).map(|_| ()), Err(refused));
    }
    for park_ns in [None, Some(0), Some(5)] {
        let refused = ConfigError::Refused { field: "lease_ns", index: None, value: 0, allowed: Allowed::AtLeast(1) };
        assert_eq!(Scheduler::new(&config(park_ns, Some(0))).map(|_| ()), Err(refused));
    }
}

/// Without `lease_ns` no holder is ever asked, so a time for it would have no effect.
#[test]
fn park_ns_without_lease_ns_is_refused() {
    for park_ns in [0, 5, LONGEST_NS] {
        let allowed = Allowed::OnlyWith { field: "lease_ns" };
        let refused = ConfigError::Refused { field: "park_ns", index: None, value: park_ns, allowed };
        assert_eq!(Scheduler::new(&config(Some(park_ns), None)).map(|_| ()), Err(refused));
        assert_eq!(refused.to_string(), format!("park_ns is {park_ns}; allowed is never, as lease_ns is"));
    }
}

/// Without `lease_ns` no lease has a deadline, no time is too long for a step of the clock, and nothing is ever due.
#[test]
fn no_holder_is_asked_without_lease_ns() {
    let (mut scheduler, lease) = holder_and_waiter(None, None);
    for now_ns in [1, 1 << 62, LONGEST_NS] {
        assert_eq!(asked_at(&mut scheduler, now_ns), (vec![], None), "{now_ns}");
    }
    assert_eq!(scheduler.describe_lease(lease), Ok(None));
    assert_eq!(scheduler.reclaim_stats().clock_skipped_ns, 0);
}

/// Without `park_ns` a holder is asked to park when its lease expires.
#[test]
fn holder_is_asked_at_lease_ns_without_park_ns() {
    let (mut scheduler, _) = holder_and_waiter(None, Some(80));
    for now_ns in (10..80).step_by(10) {
        assert_eq!(asked_at(&mut scheduler, now_ns), (vec![], Some(now_ns + 10)));
    }
    assert_eq!(asked_at(&mut scheduler, 80).0, [ReclaimKind::Park, ReclaimKind::Shed]);
}

/// The longest lease is a lease: it has a deadline, and a holder is asked to park after `park_ns`. The holder is shed
/// at the end of time, and no host is asked to come back after it.
#[test]
fn longest_lease_is_a_time() {
    const STEP_NS: u64 = LONGEST_NS / 8;
    let (mut scheduler, lease) = holder_and_waiter(Some(10), Some(LONGEST_NS));
    assert_eq!(asked_at(&mut scheduler, 9), (vec![], Some(10)));
    assert_eq!(asked_at(&mut scheduler, 10), (vec![ReclaimKind::Park], Some(10 + STEP_NS)));
    let lease_info = scheduler.describe_lease(lease).expect("the lease is held").expect("it has a deadline");
    assert_eq!(lease_info.idle_ns, 10);
    let mut now_ns = 10;
    while let Some(due_ns) = scheduler.poll_timeout().filter(|&due_ns| due_ns > now_ns && due_ns < LONGEST_NS) {
        now_ns = due_ns;
        assert_eq!(asked_at(&mut scheduler, now_ns).0, []);
    }
    assert_eq!(scheduler.poll_timeout(), Some(LONGEST_NS));
    assert_eq!(asked_at(&mut scheduler, LONGEST_NS), (vec![ReclaimKind::Shed], None));
    assert_eq!(scheduler.reclaim_stats().clock_skipped_ns, 0);
}

/// A lease that outlasts time is never due: a host that sleeps until then would spin.
#[test]
fn lease_that_outlasts_time_is_never_due() {
    let mut scheduler = new_scheduler(&config(None, Some(LONGEST_NS)));
    scheduler.handle_timeout(0);
    scheduler.handle_timeout(1);
    take(&mut scheduler, &Request { has_deadline: true, ..Request::new(0, 0) });
    queue(&mut scheduler, &Request::new(0, 1));
    assert_eq!(asked_at(&mut scheduler, 1), (vec![], None));
}
