//! Buffers of several sizes out of one budget of bytes: the cap, the turn of one that needs much, growing, and what is
//! really there of the memory.

use crate::support::{check, new_scheduler, queue, release, take};
use demuxbuf::connection::{Action, Actions, Event, Hold};
use demuxbuf::memory::{Arena, BUFFER_SIZES_MAX};
use demuxbuf::pool::{AttachOptions, Notice, Pool, PoolConfig, PoolError, ReceiverId};
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

/// Receivers that ask for small buffers first, out of a budget of `buffers` of 16 KiB.
fn pool(buffers: u32) -> Pool {
    let mut config = PoolConfig::new(buffers, 10);
    config.set_buffer_sizes(&BYTES.map(|bytes| bytes as u32)).expect("three sizes");
    config.first_size_index = SMALL;
    config.lifeline = false;
    config.large_slots = [10, 0, 0];
    config.policy.reclaim_bytes = 256;
    (config.scheduler.park_ns, config.scheduler.lease_ns) = (Some(1), Some(1_000));
    Pool::new(&config).expect("the configuration is allowed")
}

fn report(pool: &mut Pool, id: ReceiverId, event: Event) -> Actions {
    let actions = pool.handle(id, event).unwrap_or_else(|error| panic!("{event:?}: {error}"));
    pool.check_invariants().expect("the invariants hold");
    actions
}

/// The bytes of a stream by position; no two neighbours are alike.
fn stream(from: usize, count: usize) -> Vec<u8> {
    (from..from + count).map(|at| (at * 7 + at / 251) as u8).collect()
}

/// A receiver that got the first bytes of its stream and cannot decode them before more have come.
fn receive(pool: &mut Pool, id: ReceiverId, from: usize, count: usize, need_more: u32) {
    assert!(report(pool, id, Event::Readable).has(Action::Recv));
    pool.receive_area(id).expect("the handle is live")[..count].copy_from_slice(&stream(from, count));
    report(pool, id, Event::Received { bytes: count as u32 });
    report(pool, id, Event::NeedMore { bytes: need_more });
}

/// A receiver that received this many bytes into a small buffer and needs a large one.
fn misfit(pool: &mut Pool, bytes: usize) -> ReceiverId {
    let id = pool.attach(&AttachOptions::new(0, 1)).expect("the table has room");
    receive(pool, id, 0, bytes, 20_000);
    assert!(pool.pending(id).expect("the handle is live").has(Action::CannotFit));
    id
}

fn host_buffer(pool: &mut Pool, size_index: u8) -> LeaseId {
    match pool.request_for(&sized(size_index, 0)).expect("the request is allowed") {
        Outcome::Granted(lease) => lease,
        Outcome::Queued(_) => panic!("a buffer is free"),
    }
}

#[test]
fn growth_keeps_every_byte() {
    let mut pool = pool(8);
    let id = misfit(&mut pool, 700);
    // Some is decoded first, so that the content does not start at the front.
    report(&mut pool, id, Event::Consumed { bytes: 100 });
    report(&mut pool, id, Event::NeedMore { bytes: 40_000 });
    let actions = pool.grow(id, LARGE).expect("it is free");
    pool.check_invariants().expect("the invariants hold");
    assert!(!actions.has(Action::CannotFit), "{actions:?}");
    assert_eq!(pool.data(id).expect("the handle is live"), stream(100, 600));
    assert_eq!(pool.connection(id).expect("the handle is live").capacity(), 65_536);
    assert_eq!(pool.stats().scheduler.free, 8 * 16 - 64, "the small buffer is free again");

    receive(&mut pool, id, 700, 40_000, 1);
    assert_eq!(pool.data(id).expect("the handle is live"), stream(100, 40_600));
    report(&mut pool, id, Event::Consumed { bytes: 40_600 });
    assert_eq!((pool.stats().scheduler.leased, pool.stats().grown), (0, 1));
    // The next is of the usual size again.
    receive(&mut pool, id, 0, 10, 1);
    let connection = pool.connection(id).expect("the handle is live");
    assert!(connection.hold() == Hold::Slot || connection.capacity() == 1_024);
}

#[test]
fn queued_growth_goes_on_with_the_held_buffer() {
    let mut pool = pool(8);
    let id = misfit(&mut pool, 700);
    let held = [LARGE, SMALL].map(|size_index| host_buffer(&mut pool, size_index));
    pool.grow(id, LARGE).expect("it is queued");
    pool.check_invariants().expect("the invariants hold");
    assert_eq!(pool.stats().scheduler.waiting, 1);
    assert_eq!(pool.grow(id, LARGE), Err(PoolError::AlreadyWaiting));
    // The held bytes are decoded meanwhile, as far as that goes.
    assert_eq!(pool.data(id).expect("the handle is live"), stream(0, 700));
    pool.decoded(id, 300, 30_000).expect("they are buffered");
    assert_eq!(pool.poll_notice(), None);
    pool.release(held[0]).expect("the lease is the host's");
    let Some(Notice::Receiver { id: granted, actions, .. }) = pool.poll_notice() else {
        panic!("the large buffer is free");
    };
    assert!(granted == id && !actions.has(Action::CannotFit), "{actions:?}");
    pool.check_invariants().expect("the invariants hold");
    assert_eq!(pool.data(id).expect("the handle is live"), stream(300, 400));
    receive(&mut pool, id, 700, 30_000, 1);
    assert_eq!(pool.data(id).expect("the handle is live"), stream(300, 30_400));
    pool.release(held[1]).expect("the lease is the host's");
}

/// A receiver that releases its small buffer no longer waits for the large one.
#[test]
fn growth_ends_when_the_small_buffer_is_released() {
    type End = fn(&mut Pool, ReceiverId);
    let ends: [(&str, End); 4] = [
        ("release", |pool, id| {
            report(pool, id, Event::Fail);
        }),
        ("close", |pool, id| {
            report(pool, id, Event::Close);
        }),
        ("take", |pool, id| {
            let content = pool.take(id).expect("a buffer is held");
            assert_eq!(pool.buffer(content.lease).expect("it is the host's")[..200], stream(0, 200));
            pool.release(content.lease).expect("it is the host's");
        }),
        ("park", |pool, id| {
            // It fits after all, and is parked when the buffer is asked for.
            report(pool, id, Event::NeedMore { bytes: 10 });
            assert_eq!(pool.stats().scheduler.waiting, 0);
            report(pool, id, Event::ReclaimRequested);
            assert_eq!(pool.stats().parked, 1);
            assert_eq!(pool.data(id).expect("the handle is live"), stream(0, 200));
        }),
    ];
    for (name, end) in ends {
        let mut pool = pool(8);
        let id = misfit(&mut pool, 200);
        let held = [LARGE, SMALL].map(|size_index| host_buffer(&mut pool, size_index));
        pool.grow(id, LARGE).expect("it is queued");
        assert_eq!(pool.stats().scheduler.waiting, 1, "{name}");
        end(&mut pool, id);
        pool.check_invariants().expect("the invariants hold");
        let stats = pool.stats().scheduler;
        assert_eq!((stats.waiting, stats.assigned, stats.leased), (0, 0, 2), "{name}");
        for lease in held {
            pool.release(lease).expect("the lease is the host's");
        }
        assert_eq!(pool.poll_notice(), None, "{name}: nothing comes later");
        assert_eq!(pool.stats().scheduler.free, 8 * 16, "{name}");
    }
}

#[test]
fn growth_ends_after_its_assignment() {
    // The large buffer is assigned and not picked up yet.
    let mut pool = pool(8);
    let id = misfit(&mut pool, 200);
    let held = [LARGE, SMALL].map(|size_index| host_buffer(&mut pool, size_index));
    pool.grow(id, LARGE).expect("it is queued");
    pool.release(held[0]).expect("the lease is the host's");
    assert_eq!(pool.stats().scheduler.assigned, 1);
    report(&mut pool, id, Event::Fail);
    assert_eq!((pool.stats().scheduler.assigned, pool.poll_notice()), (0, None));
    pool.release(held[1]).expect("the lease is the host's");
    assert_eq!(pool.stats().scheduler.free, 8 * 16);
}

#[test]
fn refused_growth_changes_nothing() {
    let mut pool = pool(3);
    let id = misfit(&mut pool, 200);
    let before = pool.describe(id);
    assert_eq!(pool.grow(id, LARGE), Err(SchedulerError::TooLarge { units: 64 }.into()), "more than the budget");
    assert_eq!(pool.grow(id, SMALL), Err(PoolError::NotLarger));
    assert_eq!(pool.grow(id, 3), Err(SchedulerError::UnknownSize { size_index: 3 }.into()));
    let other = pool.attach(&AttachOptions::new(0, 2)).expect("the table has room");
    assert_eq!(pool.grow(other, MEDIUM), Err(PoolError::NoBuffer));
    report(&mut pool, other, Event::Close);
    assert_eq!(pool.grow(other, MEDIUM), Err(PoolError::Stale));
    assert_eq!(pool.describe(id), before);
    pool.grow(id, MEDIUM).expect("it is free");
    assert_eq!(pool.data(id).expect("the handle is live"), stream(0, 200));
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

/// Each grant returns as many bytes of other sizes to the system, and they read as zero from then on.
#[test]
#[cfg(target_os = "linux")]
fn grant_trims_free_buffers_of_other_sizes() {
    const BUFFERS: u32 = 16;
    let mut config = PoolConfig::new(BUFFERS, BUFFERS);
    config.set_buffer_sizes(&[16_384, 65_536]).expect("there is a default size");
    let mut pool = Pool::new(&config).expect("the configuration is allowed");
    // The host writes all that there can be of one size.
    let write_all = |pool: &mut Pool, size_index: u8| {
        let leases: Vec<LeaseId> = std::iter::from_fn(|| {
            let is_free = pool.stats().scheduler.free > 0;
            match is_free.then(|| pool.request_for(&sized(size_index, 0)).expect("it is free"))? {
                Outcome::Granted(lease) => Some(lease),
                Outcome::Queued(wait) => panic!("{wait:?}"),
            }
        })
        .collect();
        for &lease in &leases {
            let buffer = pool.buffer(lease).expect("it is the host's");
            assert!(buffer.iter().all(|&byte| byte == 0), "its pages were returned, or never written");
            buffer.fill(1);
        }
        leases.into_iter().for_each(|lease| pool.release(lease).expect("it is the host's"));
    };
    write_all(&mut pool, 0);
    write_all(&mut pool, 1);
    let ids: Vec<ReceiverId> = (0..BUFFERS.into())
        .map(|token| {
            let id = pool.attach(&AttachOptions::new(0, token)).expect("the table has room");
            pool.handle(id, Event::Readable).expect("it is attached");
            let area = pool.receive_area(id).expect("it has a buffer");
            assert!(area.len() == 16_384 && area.iter().all(|&byte| byte == 0));
            area.fill(2);
            id
        })
        .collect();
    for id in ids {
        pool.handle(id, Event::Close).expect("close is always allowed");
    }
    write_all(&mut pool, 1);
}
