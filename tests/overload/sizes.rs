//! Buffers of several sizes out of one budget of bytes: the cap, the turn of one that needs much, growing, and what is
//! really there of the memory.

use crate::support::{check, new_scheduler, queue, release, take};
use demuxbuf::memory::{Arena, BUFFER_SIZES_MAX};
use demuxbuf::scheduler::{LeaseId, Outcome, Request, SchedulerConfig, SchedulerError, TenantConfig};

const MEDIUM: u8 = 0;
const SMALL: u8 = 1;
const LARGE: u8 = 2;
const UNITS: [u32; 3] = [16, 1, 64];
const BYTES: [usize; 3] = [16_384, 1_024, 65_536];

fn config(buffers: u32, waiters: u32) -> SchedulerConfig {
    SchedulerConfig { sizes: [UNITS[0], UNITS[1], UNITS[2], 0], ..SchedulerConfig::new(buffers, waiters) }
}

fn sized(size_index: u8, token: u64) -> Request {
    Request { size_index, ..Request::new(0, token) }
}

#[test]
fn budget_of_bytes_is_one_for_all_sizes() {
    for (size_index, count) in [(SMALL, 128), (MEDIUM, 8), (LARGE, 2)] {
        let mut scheduler = new_scheduler(&config(8, 1));
        let leases: Vec<LeaseId> = (0..count).map(|token| take(&mut scheduler, &sized(size_index, token))).collect();
        assert_eq!(scheduler.stats().free, 0, "each size can have the whole budget");
        queue(&mut scheduler, &sized(SMALL, 0));
        assert!(leases.iter().all(|&lease| scheduler.size_of(lease) == Ok(size_index)));
        check(&scheduler);
    }
    let mut scheduler = new_scheduler(&config(3, 1));
    assert_eq!(scheduler.request_for(&sized(LARGE, 0)), Err(SchedulerError::TooLarge { units: 64 }));
    assert_eq!(scheduler.request_for(&sized(3, 0)), Err(SchedulerError::UnknownSize { size_index: 3 }));
    assert_eq!(scheduler.request_for(&sized(u8::MAX, 0)), Err(SchedulerError::UnknownSize { size_index: u8::MAX }));
}

/// A reserve or a cap that excludes a buffer size for all requests of a class is refused.
#[test]
fn size_that_can_never_be_granted_is_refused() {
    let mut config = SchedulerConfig { classes: 2, tenants_max: 1, sizes: [1, 4, 0, 0], ..SchedulerConfig::new(5, 10) };
    config.reserves[1] = 2;
    let mut scheduler = new_scheduler(&config);
    let large = |class| Request { size_index: 1, ..Request::new(class, 0) };
    let too_large = Err(SchedulerError::TooLarge { units: 4 });
    assert_eq!(scheduler.request_for(&large(1)), too_large, "3 units are left beside the reserve");
    let tenant_config = TenantConfig { cap: 3, ..TenantConfig::default() };
    let tenant = Some(scheduler.create_tenant(&tenant_config).expect("there is room"));
    assert_eq!(scheduler.request_for(&Request { tenant, ..large(0) }), too_large, "its cap is 3");
    take(&mut scheduler, &large(0));
}

/// A request queues behind a waiter of its class that only their common cap blocks.
#[test]
fn newcomer_queues_behind_a_cap_blocked_waiter() {
    let mut scheduler =
        new_scheduler(&SchedulerConfig { tenants_max: 1, sizes: [1, 4, 0, 0], ..SchedulerConfig::new(10, 10) });
    let tenant_config = TenantConfig { cap: 5, ..TenantConfig::default() };
    let tenant = Some(scheduler.create_tenant(&tenant_config).expect("there is room"));
    let request = |size_index, token| Request { tenant, size_index, ..Request::new(0, token) };
    let held = [take(&mut scheduler, &request(0, 0)), take(&mut scheduler, &request(0, 1))];
    queue(&mut scheduler, &request(1, 2));
    queue(&mut scheduler, &request(0, 3));
    let granted: Vec<u64> = release(&mut scheduler, held[0]).iter().map(|grant| grant.token).collect();
    assert_eq!(granted, [2], "first in, first out, and the cap is reached");
}

#[test]
fn class_cap_in_bytes_is_never_exceeded() {
    for seed in 0..20 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut scheduler = new_scheduler(&SchedulerConfig { classes: 2, ..config(12, 50) });
        let mut held: Vec<LeaseId> = Vec::new();
        for _ in 0..2_000 {
            if rng.bool() && scheduler.stats().waiting < 50 {
                let request = Request { class: rng.u8(..2), ..sized(rng.u8(..3), 0) };
                match scheduler.request_for(&request).expect("waits are free") {
                    Outcome::Granted(lease) => held.push(lease),
                    Outcome::Queued(_) => {}
                }
            } else if !held.is_empty() {
                scheduler.release(held.swap_remove(rng.usize(..held.len()))).expect("the lease is held");
            }
            held.extend(std::iter::from_fn(|| scheduler.poll_grant()).map(|grant| grant.lease));
            let sizes = held.iter().map(|&lease| scheduler.size_of(lease).expect("the lease is held"));
            let units: u32 = sizes.map(|size_index| UNITS[usize::from(size_index)]).sum();
            assert!(units <= 12 * 16);
            assert_eq!(scheduler.stats().free, 12 * 16 - units);
            check(&scheduler);
        }
    }
}

#[test]
fn large_request_keeps_its_turn() {
    let mut scheduler = new_scheduler(&config(4, 1_000));
    let mut held: Vec<LeaseId> = (0..64).map(|token| take(&mut scheduler, &sized(SMALL, token))).collect();
    let large = queue(&mut scheduler, &sized(LARGE, 99));
    // Small requests come all the time, and none of them is served before it, however much is free meanwhile.
    for token in 0..63 {
        queue(&mut scheduler, &sized(SMALL, token));
        assert_eq!(release(&mut scheduler, held.pop().expect("64 are held")), []);
    }
    let granted = release(&mut scheduler, held.pop().expect("64 are held"));
    assert_eq!((granted.len(), granted[0].wait), (1, large));
    assert_eq!(scheduler.stats().bypass_peak, 0);
    let granted = release(&mut scheduler, granted[0].lease);
    assert_eq!(granted.iter().map(|grant| grant.token).collect::<Vec<_>>(), (0..63).collect::<Vec<_>>());
}

/// Requests of less critical classes wait behind it; more critical ones are granted.
#[test]
fn large_request_blocks_less_critical_classes_only() {
    let mut scheduler = new_scheduler(&SchedulerConfig { classes: 3, ..config(4, 10) });
    let held: Vec<LeaseId> = (0..4).map(|token| take(&mut scheduler, &sized(MEDIUM, token))).collect();
    let large = queue(&mut scheduler, &Request { class: 1, ..sized(LARGE, 1) });
    assert_eq!(release(&mut scheduler, held[0]), []);
    let behind = queue(&mut scheduler, &Request { class: 2, ..sized(SMALL, 2) });
    let before = take(&mut scheduler, &Request { class: 0, ..sized(SMALL, 0) });
    for lease in [held[1], held[2], held[3]] {
        assert_eq!(release(&mut scheduler, lease), []);
    }
    let granted = release(&mut scheduler, before);
    assert_eq!((granted.len(), granted[0].wait), (1, large));
    let granted = release(&mut scheduler, granted[0].lease);
    assert_eq!((granted.len(), granted[0].wait), (1, behind));

    // If it is cancelled, they get what is free in the same step.
    let mut scheduler = new_scheduler(&SchedulerConfig { classes: 2, ..config(4, 10) });
    let held: Vec<LeaseId> = (0..4).map(|token| take(&mut scheduler, &sized(MEDIUM, token))).collect();
    let large = queue(&mut scheduler, &sized(LARGE, 1));
    let behind =
        [queue(&mut scheduler, &sized(MEDIUM, 2)), queue(&mut scheduler, &Request { class: 1, ..sized(MEDIUM, 3) })];
    for lease in [held[0], held[1]] {
        assert_eq!(release(&mut scheduler, lease), []);
    }
    scheduler.cancel(large).expect("the wait is live");
    check(&scheduler);
    assert_eq!(
        [scheduler.poll_grant(), scheduler.poll_grant()].map(|grant| grant.map(|grant| grant.wait)),
        behind.map(Some)
    );
}

#[test]
fn request_serves_waiters_that_it_makes_eligible() {
    // A tenant below its guarantee goes before one that waits for more than is free.
    let mut scheduler = new_scheduler(&SchedulerConfig { tenants_max: 2, ..config(4, 10) });
    let tenant_config = TenantConfig { guaranteed: 1, ..TenantConfig::default() };
    let owner = Some(scheduler.create_tenant(&tenant_config).expect("the share is allowed"));
    let held: Vec<LeaseId> = (0..4).map(|token| take(&mut scheduler, &sized(MEDIUM, token))).collect();
    queue(&mut scheduler, &sized(LARGE, 1));
    assert_eq!(release(&mut scheduler, held[0]), []);
    let wait = queue(&mut scheduler, &Request { tenant: owner, ..sized(MEDIUM, 2) });
    check(&scheduler);
    assert_eq!(scheduler.poll_grant().map(|grant| grant.wait), Some(wait));

    // A large request whose class reaches its cap by another request blocks no other waiter.
    let mut scheduler = new_scheduler(&SchedulerConfig { tenants_max: 1, classes: 2, ..config(8, 10) });
    let tenant_config = TenantConfig { cap: 4, ..TenantConfig::default() };
    let tenant = Some(scheduler.create_tenant(&tenant_config).expect("the share is allowed"));
    let held: Vec<LeaseId> = (0..8).map(|token| take(&mut scheduler, &sized(MEDIUM, token))).collect();
    queue(&mut scheduler, &Request { tenant, class: 1, ..sized(LARGE, 1) });
    for &lease in &held[..2] {
        assert_eq!(release(&mut scheduler, lease), []);
    }
    let wait = queue(&mut scheduler, &Request { class: 1, ..sized(SMALL, 2) });
    take(&mut scheduler, &Request { tenant, class: 0, ..sized(MEDIUM, 3) });
    check(&scheduler);
    assert_eq!(scheduler.poll_grant().map(|grant| grant.wait), Some(wait));

    // A request that loses its guarantee with its tenant waits like any other.
    let mut scheduler = new_scheduler(&SchedulerConfig { tenants_max: 1, ..config(4, 10) });
    let tenant_config = TenantConfig { guaranteed: 4, ..TenantConfig::default() };
    let owner = scheduler.create_tenant(&tenant_config).expect("the share is allowed");
    let held: Vec<LeaseId> = (0..4).map(|token| take(&mut scheduler, &sized(MEDIUM, token))).collect();
    let wait = queue(&mut scheduler, &sized(MEDIUM, 1));
    queue(&mut scheduler, &Request { tenant: Some(owner), ..sized(LARGE, 2) });
    assert_eq!(release(&mut scheduler, held[0]), []);
    scheduler.remove_tenant(owner).expect("it is known");
    check(&scheduler);
    assert_eq!(scheduler.poll_grant().map(|grant| grant.wait), Some(wait));
}

/// Bytes of these buffers that are in memory, asked page by page: the system may count neighbouring mappings as one, so
/// its figure for a mapping may include those of other tests.
#[cfg(all(target_os = "linux", target_endian = "little"))]
fn resident_bytes(arena: &Arena, buffers: u32) -> usize {
    use std::os::unix::fs::FileExt;
    const PAGE: usize = 4096;
    let pages = std::fs::File::open("/proc/self/pagemap").expect("Linux has it");
    let resident = |buffer: &[u8]| {
        let mut entries = vec![0; buffer.len() / PAGE * 8];
        let first = buffer.as_ptr() as usize / PAGE;
        pages.read_exact_at(&mut entries, first as u64 * 8).expect("all of it is mapped");
        // The high bits of the last of eight bytes show whether the page is in memory or swapped out.
        entries.iter().skip(7).step_by(8).filter(|&&high| high >> 6 != 0).count() * PAGE
    };
    (0..buffers).map(|index| resident(arena.buffer(index))).sum()
}

#[test]
fn resident_memory_stays_within_the_budget() {
    const BUFFERS: u32 = 512;
    let budget = BUFFERS as usize * BYTES[0];
    let mut sizes = [0; BUFFER_SIZES_MAX];
    sizes[..3].copy_from_slice(&[BYTES[0] as u32, 4096, BYTES[2] as u32]);
    let mut arena = Arena::new(BUFFERS, &sizes).expect("there is memory");
    let mut scheduler = new_scheduler(&SchedulerConfig { sizes: [4, 1, 16, 0], ..SchedulerConfig::new(BUFFERS, 0) });
    let buffers = (0..3).map(|size_index| scheduler.free_indexes(size_index).count() as u32).sum();
    assert_eq!(buffers, BUFFERS + 4 * BUFFERS + BUFFERS / 4);
    // All of one size, then all of another, and then mixed: each written from end to end.
    for (round, mix) in [[0, 0, 0], [1, 1, 1], [2, 2, 2], [0, 1, 2], [1, 0, 0], [2, 1, 1]].into_iter().enumerate() {
        let mut held = Vec::new();
        for at in 0.. {
            let Ok(Outcome::Granted(lease)) = scheduler.request_for(&sized(mix[at % 3], 0)) else {
                break;
            };
            arena.touch(lease.index(), |size_index| scheduler.free_indexes(size_index));
            arena.buffer_mut(lease.index()).fill(round as u8 + 1);
            held.push(lease);
            assert!(arena.touched_bytes() <= budget, "round {round}");
        }
        assert!(scheduler.stats().free < 16, "all is in use");
        #[cfg(all(target_os = "linux", target_endian = "little"))]
        {
            let resident = resident_bytes(&arena, buffers);
            assert!(resident <= budget + 64 * 1024, "round {round}: {resident} of {budget}");
            assert!(resident >= budget - 16 * 4096, "all was written: {resident} of {budget}");
        }
        for lease in held {
            assert!(
                arena.buffer(lease.index()).iter().all(|&byte| byte == round as u8 + 1),
                "no other holder wrote to it"
            );
            scheduler.release(lease).expect("the lease is held");
        }
    }
}

#[test]
fn buffers_below_a_page_stay_resident() {
    // As documented, buffers of other sizes return their pages, so the resident bytes are at most the budget and what
    // the small buffers ever touched.
    const BUFFERS: u32 = 64;
    let budget = BUFFERS as usize * BYTES[0];
    let sizes = [BYTES[0] as u32, BYTES[1] as u32, BYTES[2] as u32, 0];
    for small in [0, 1, 100, 1_024] {
        let mut arena = Arena::new(BUFFERS, &sizes).expect("there is memory");
        let mut scheduler = new_scheduler(&config(BUFFERS, 0));
        for size_index in [SMALL, MEDIUM, LARGE, SMALL, MEDIUM] {
            let mut held = Vec::new();
            while let Ok(Outcome::Granted(lease)) = scheduler.request_for(&sized(size_index, 0)) {
                arena.touch(lease.index(), |size_index| scheduler.free_indexes(size_index));
                held.push(lease);
                if size_index == SMALL && held.len() >= small {
                    break;
                }
            }
            let kept = small.max(1) * BYTES[usize::from(SMALL)];
            assert!(arena.touched_bytes() <= budget + kept, "{size_index}: {} of {budget}", arena.touched_bytes());
            for lease in held {
                scheduler.release(lease).expect("the lease is held");
            }
        }
    }
}
