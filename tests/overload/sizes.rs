//! Buffers of several sizes out of one budget of bytes: the cap, the turn of one that needs much, growing, and what is
//! really there of the memory.

use crate::support::{check, new_pool, queue, release, take};
use demuxbuf::connection::{Action, Actions, Event, Hold};
use demuxbuf::memory::{Arena, BUFFER_SIZES_MAX};
use demuxbuf::pool::{LeaseId, Outcome, PoolConfig, PoolError, Request, TenantConfig};
use demuxbuf::receiver::{Granted, ReceiverError, ReceiverId, Receivers, ReceiversConfig};

const MEDIUM: u8 = 0;
const SMALL: u8 = 1;
const LARGE: u8 = 2;
const UNITS: [u32; 3] = [16, 1, 64];
const BYTES: [usize; 3] = [16_384, 1_024, 65_536];

fn config(buffers: u32, waiters: u32) -> PoolConfig {
    PoolConfig { sizes: [UNITS[0], UNITS[1], UNITS[2], 0], ..PoolConfig::new(buffers, waiters) }
}

fn sized(size: u8, token: u64) -> Request {
    Request { size, ..Request::new(0, token) }
}

#[test]
fn one_budget_of_bytes_for_all_sizes() {
    for (size, count) in [(SMALL, 128), (MEDIUM, 8), (LARGE, 2)] {
        let mut pool = new_pool(&config(8, 1));
        let leases: Vec<LeaseId> = (0..count).map(|token| take(&mut pool, &sized(size, token))).collect();
        assert_eq!(pool.stats().free, 0, "any of them can have it all");
        queue(&mut pool, &sized(SMALL, 0));
        assert!(leases.iter().all(|&lease| pool.size_of(lease) == Ok(size)));
        check(&pool);
    }
    let mut pool = new_pool(&config(3, 1));
    assert_eq!(pool.request_for(&sized(LARGE, 0)), Err(PoolError::TooLarge { units: 64 }));
    assert_eq!(pool.request_for(&sized(3, 0)), Err(PoolError::UnknownSize { size: 3 }));
    assert_eq!(pool.request_for(&sized(u8::MAX, 0)), Err(PoolError::UnknownSize { size: u8::MAX }));
}

#[test]
fn a_size_that_a_reserve_or_a_cap_keeps_out_for_ever_is_refused() {
    let mut config = PoolConfig { classes: 2, tenants_max: 1, sizes: [1, 4, 0, 0], ..PoolConfig::new(5, 10) };
    config.reserves[1] = 2;
    let mut pool = new_pool(&config);
    let large = |class| Request { size: 1, ..Request::new(class, 0) };
    let too_large = Err(PoolError::TooLarge { units: 4 });
    assert_eq!(pool.request_for(&large(1)), too_large, "3 are left beside the reserve");
    let share = TenantConfig { cap: 3, ..TenantConfig::default() };
    let tenant = Some(pool.create_tenant(&share).expect("there is room"));
    assert_eq!(pool.request_for(&Request { tenant, ..large(0) }), too_large, "its cap is 3");
    take(&mut pool, &large(0));
}

#[test]
fn a_newcomer_stands_behind_one_whom_only_the_cap_of_both_keeps_back() {
    let mut pool = new_pool(&PoolConfig { tenants_max: 1, sizes: [1, 4, 0, 0], ..PoolConfig::new(10, 10) });
    let share = TenantConfig { cap: 5, ..TenantConfig::default() };
    let tenant = Some(pool.create_tenant(&share).expect("there is room"));
    let request = |size, token| Request { tenant, size, ..Request::new(0, token) };
    let held = [take(&mut pool, &request(0, 0)), take(&mut pool, &request(0, 1))];
    queue(&mut pool, &request(1, 2));
    queue(&mut pool, &request(0, 3));
    let granted: Vec<u64> = release(&mut pool, held[0]).iter().map(|grant| grant.token).collect();
    assert_eq!(granted, [2], "first in, first out, and the cap is reached");
}

#[test]
fn the_cap_in_bytes_is_never_passed() {
    for seed in 0..20 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut pool = new_pool(&PoolConfig { classes: 2, ..config(12, 50) });
        let mut held: Vec<LeaseId> = Vec::new();
        for _ in 0..2_000 {
            if rng.bool() && pool.stats().waiting < 50 {
                let request = Request { class: rng.u8(..2), ..sized(rng.u8(..3), 0) };
                match pool.request_for(&request).expect("waits are free") {
                    Outcome::Granted(lease) => held.push(lease),
                    Outcome::Queued(_) => {}
                }
            } else if !held.is_empty() {
                pool.release(held.swap_remove(rng.usize(..held.len()))).expect("the lease is held");
            }
            held.extend(std::iter::from_fn(|| pool.poll_grant()).map(|grant| grant.lease));
            let sizes = held.iter().map(|&lease| pool.size_of(lease).expect("the lease is held"));
            let units: u32 = sizes.map(|size| UNITS[usize::from(size)]).sum();
            assert!(units <= 12 * 16);
            assert_eq!(pool.stats().free, 12 * 16 - units);
            check(&pool);
        }
    }
}

#[test]
fn one_that_needs_much_keeps_its_turn() {
    let mut pool = new_pool(&config(4, 1_000));
    let mut held: Vec<LeaseId> = (0..64).map(|token| take(&mut pool, &sized(SMALL, token))).collect();
    let large = queue(&mut pool, &sized(LARGE, 99));
    // Small ones come all the time, and none of them is served before it, however much is free meanwhile.
    for token in 0..63 {
        queue(&mut pool, &sized(SMALL, token));
        assert_eq!(release(&mut pool, held.pop().expect("64 are held")), []);
    }
    let granted = release(&mut pool, held.pop().expect("64 are held"));
    assert_eq!((granted.len(), granted[0].wait), (1, large));
    assert_eq!(pool.stats().passed_peak, 0);
    let granted = release(&mut pool, granted[0].lease);
    assert_eq!(granted.iter().map(|grant| grant.token).collect::<Vec<_>>(), (0..63).collect::<Vec<_>>());
}

#[test]
fn the_less_critical_wait_behind_it_and_the_more_critical_go_on() {
    let mut pool = new_pool(&PoolConfig { classes: 3, ..config(4, 10) });
    let held: Vec<LeaseId> = (0..4).map(|token| take(&mut pool, &sized(MEDIUM, token))).collect();
    let large = queue(&mut pool, &Request { class: 1, ..sized(LARGE, 1) });
    assert_eq!(release(&mut pool, held[0]), []);
    let behind = queue(&mut pool, &Request { class: 2, ..sized(SMALL, 2) });
    let before = take(&mut pool, &Request { class: 0, ..sized(SMALL, 0) });
    for lease in [held[1], held[2], held[3]] {
        assert_eq!(release(&mut pool, lease), []);
    }
    let granted = release(&mut pool, before);
    assert_eq!((granted.len(), granted[0].wait), (1, large));
    let granted = release(&mut pool, granted[0].lease);
    assert_eq!((granted.len(), granted[0].wait), (1, behind));

    // If it gives up, they have what is free in the same step.
    let mut pool = new_pool(&PoolConfig { classes: 2, ..config(4, 10) });
    let held: Vec<LeaseId> = (0..4).map(|token| take(&mut pool, &sized(MEDIUM, token))).collect();
    let large = queue(&mut pool, &sized(LARGE, 1));
    let behind = [queue(&mut pool, &sized(MEDIUM, 2)), queue(&mut pool, &Request { class: 1, ..sized(MEDIUM, 3) })];
    for lease in [held[0], held[1]] {
        assert_eq!(release(&mut pool, lease), []);
    }
    pool.cancel(large).expect("the wait is live");
    check(&pool);
    assert_eq!([pool.poll_grant(), pool.poll_grant()].map(|grant| grant.map(|grant| grant.wait)), behind.map(Some));
}

#[test]
fn what_a_newcomer_changes_lets_others_through_in_the_same_step() {
    // One below its guarantee goes before one that waits for more than is free.
    let mut pool = new_pool(&PoolConfig { tenants_max: 2, ..config(4, 10) });
    let share = TenantConfig { guaranteed: 1, ..TenantConfig::default() };
    let owner = Some(pool.create_tenant(&share).expect("the share is allowed"));
    let held: Vec<LeaseId> = (0..4).map(|token| take(&mut pool, &sized(MEDIUM, token))).collect();
    queue(&mut pool, &sized(LARGE, 1));
    assert_eq!(release(&mut pool, held[0]), []);
    let wait = queue(&mut pool, &Request { tenant: owner, ..sized(MEDIUM, 2) });
    check(&pool);
    assert_eq!(pool.poll_grant().map(|grant| grant.wait), Some(wait));

    // One that needs much and reaches its cap by another request keeps nobody back.
    let mut pool = new_pool(&PoolConfig { tenants_max: 1, classes: 2, ..config(8, 10) });
    let share = TenantConfig { cap: 4, ..TenantConfig::default() };
    let tenant = Some(pool.create_tenant(&share).expect("the share is allowed"));
    let held: Vec<LeaseId> = (0..8).map(|token| take(&mut pool, &sized(MEDIUM, token))).collect();
    queue(&mut pool, &Request { tenant, class: 1, ..sized(LARGE, 1) });
    for &lease in &held[..2] {
        assert_eq!(release(&mut pool, lease), []);
    }
    let wait = queue(&mut pool, &Request { class: 1, ..sized(SMALL, 2) });
    take(&mut pool, &Request { tenant, class: 0, ..sized(MEDIUM, 3) });
    check(&pool);
    assert_eq!(pool.poll_grant().map(|grant| grant.wait), Some(wait));

    // One that loses its guarantee with its tenant waits like all others.
    let mut pool = new_pool(&PoolConfig { tenants_max: 1, ..config(4, 10) });
    let share = TenantConfig { guaranteed: 4, ..TenantConfig::default() };
    let owner = pool.create_tenant(&share).expect("the share is allowed");
    let held: Vec<LeaseId> = (0..4).map(|token| take(&mut pool, &sized(MEDIUM, token))).collect();
    let wait = queue(&mut pool, &sized(MEDIUM, 1));
    queue(&mut pool, &Request { tenant: Some(owner), ..sized(LARGE, 2) });
    assert_eq!(release(&mut pool, held[0]), []);
    pool.remove_tenant(owner).expect("it is known");
    check(&pool);
    assert_eq!(pool.poll_grant().map(|grant| grant.wait), Some(wait));
}

/// Receivers that ask for small buffers first, out of a budget of so many of 16 KiB.
fn receivers(buffers: u32) -> Receivers {
    let mut config = ReceiversConfig::new(buffers, 10);
    config.set_buffer_sizes(&BYTES.map(|bytes| bytes as u32)).expect("three sizes");
    config.first_size = SMALL;
    config.lifeline = false;
    config.large_slots = [10, 0, 0];
    config.policy.reclaim_bytes = 256;
    (config.pool.park_ns, config.pool.lease_ns) = (1, 1_000);
    Receivers::new(&config).expect("the configuration is allowed")
}

fn tell(receivers: &mut Receivers, id: ReceiverId, event: Event) -> Actions {
    let actions = receivers.handle(id, event).unwrap_or_else(|error| panic!("{event:?}: {error}"));
    receivers.check_invariants().expect("the invariants hold");
    actions
}

/// The bytes of a stream by position; no two neighbours are alike.
fn stream(from: usize, count: usize) -> Vec<u8> {
    (from..from + count).map(|at| (at * 7 + at / 251) as u8).collect()
}

/// A receiver that got the first bytes of its stream and cannot decode them before more have come.
fn receive(receivers: &mut Receivers, id: ReceiverId, from: usize, count: usize, need_more: u32) {
    assert!(tell(receivers, id, Event::Readable).has(Action::Recv));
    receivers.receive_area(id).expect("the handle is live")[..count].copy_from_slice(&stream(from, count));
    tell(receivers, id, Event::Received { bytes: count as u32 });
    tell(receivers, id, Event::NeedMore { bytes: need_more });
}

/// One that received so many bytes into a small buffer and needs a large one.
fn misfit(receivers: &mut Receivers, bytes: usize) -> ReceiverId {
    let id = receivers.attach(0, 1).expect("the table has room");
    receive(receivers, id, 0, bytes, 20_000);
    assert!(receivers.pending(id).expect("the handle is live").has(Action::CannotFit));
    id
}

fn host_buffer(receivers: &mut Receivers, size: u8) -> LeaseId {
    match receivers.request_for(0, size, None, 0).expect("the request is allowed") {
        Outcome::Granted(lease) => lease,
        Outcome::Queued(_) => panic!("a buffer is free"),
    }
}

#[test]
fn growing_keeps_every_byte() {
    let mut receivers = receivers(8);
    let id = misfit(&mut receivers, 700);
    // Some is decoded first, so that the content does not start at the front.
    tell(&mut receivers, id, Event::Consumed { bytes: 100 });
    tell(&mut receivers, id, Event::NeedMore { bytes: 40_000 });
    let actions = receivers.grow(id, LARGE).expect("it is free");
    receivers.check_invariants().expect("the invariants hold");
    assert!(!actions.has(Action::CannotFit), "{actions:?}");
    assert_eq!(receivers.data(id).expect("the handle is live"), stream(100, 600));
    assert_eq!(receivers.connection(id).expect("the handle is live").capacity(), 65_536);
    assert_eq!(receivers.stats().pool.free, 8 * 16 - 64, "the small one is back");

    receive(&mut receivers, id, 700, 40_000, 1);
    assert_eq!(receivers.data(id).expect("the handle is live"), stream(100, 40_600));
    tell(&mut receivers, id, Event::Consumed { bytes: 40_600 });
    assert_eq!((receivers.stats().pool.leased, receivers.stats().grown), (0, 1));
    // The next is of the usual size again.
    receive(&mut receivers, id, 0, 10, 1);
    let connection = receivers.connection(id).expect("the handle is live");
    assert!(connection.hold() == Hold::Slot || connection.capacity() == 1_024);
}

#[test]
fn growing_that_waits_goes_on_with_what_is_held() {
    let mut receivers = receivers(8);
    let id = misfit(&mut receivers, 700);
    let held = [LARGE, SMALL].map(|size| host_buffer(&mut receivers, size));
    receivers.grow(id, LARGE).expect("it is queued");
    receivers.check_invariants().expect("the invariants hold");
    assert_eq!(receivers.stats().pool.waiting, 1);
    assert_eq!(receivers.grow(id, LARGE), Err(ReceiverError::AlreadyWaiting));
    // What is held is decoded meanwhile, as far as that goes.
    assert_eq!(receivers.data(id).expect("the handle is live"), stream(0, 700));
    receivers.decoded(id, 300, 30_000).expect("they are buffered");
    assert_eq!(receivers.poll_grant(), None);
    receivers.release(held[0]).expect("the lease is the host's");
    let Some(Granted::Receiver { id: granted, actions, .. }) = receivers.poll_grant() else {
        panic!("what it waited for is free");
    };
    assert!(granted == id && !actions.has(Action::CannotFit), "{actions:?}");
    receivers.check_invariants().expect("the invariants hold");
    assert_eq!(receivers.data(id).expect("the handle is live"), stream(300, 400));
    receive(&mut receivers, id, 700, 30_000, 1);
    assert_eq!(receivers.data(id).expect("the handle is live"), stream(300, 30_400));
    receivers.release(held[1]).expect("the lease is the host's");
}

#[test]
fn who_lets_go_of_the_small_one_waits_no_more_for_the_large_one() {
    type End = fn(&mut Receivers, ReceiverId);
    let ends: [(&str, End); 4] = [
        ("release", |receivers, id| {
            tell(receivers, id, Event::Fail);
        }),
        ("close", |receivers, id| {
            tell(receivers, id, Event::Close);
        }),
        ("take", |receivers, id| {
            let content = receivers.take(id).expect("a buffer is held");
            assert_eq!(receivers.buffer(content.lease).expect("it is the host's")[..200], stream(0, 200));
            receivers.release(content.lease).expect("it is the host's");
        }),
        ("park", |receivers, id| {
            // It fits after all, and is parked when the buffer is asked for.
            tell(receivers, id, Event::NeedMore { bytes: 10 });
            assert_eq!(receivers.stats().pool.waiting, 0);
            tell(receivers, id, Event::ReclaimRequested);
            assert_eq!(receivers.stats().parked, 1);
            assert_eq!(receivers.data(id).expect("the handle is live"), stream(0, 200));
        }),
    ];
    for (name, end) in ends {
        let mut receivers = receivers(8);
        let id = misfit(&mut receivers, 200);
        let held = [LARGE, SMALL].map(|size| host_buffer(&mut receivers, size));
        receivers.grow(id, LARGE).expect("it is queued");
        assert_eq!(receivers.stats().pool.waiting, 1, "{name}");
        end(&mut receivers, id);
        receivers.check_invariants().expect("the invariants hold");
        let stats = receivers.stats().pool;
        assert_eq!((stats.waiting, stats.assigned, stats.leased), (0, 0, 2), "{name}");
        for lease in held {
            receivers.release(lease).expect("the lease is the host's");
        }
        assert_eq!(receivers.poll_grant(), None, "{name}: nothing comes later");
        assert_eq!(receivers.stats().pool.free, 8 * 16, "{name}");
    }
}

#[test]
fn growing_ends_after_the_assignment_too() {
    // It owns the large one and has not picked it up yet.
    let mut receivers = receivers(8);
    let id = misfit(&mut receivers, 200);
    let held = [LARGE, SMALL].map(|size| host_buffer(&mut receivers, size));
    receivers.grow(id, LARGE).expect("it is queued");
    receivers.release(held[0]).expect("the lease is the host's");
    assert_eq!(receivers.stats().pool.assigned, 1);
    tell(&mut receivers, id, Event::Fail);
    assert_eq!((receivers.stats().pool.assigned, receivers.poll_grant()), (0, None));
    receivers.release(held[1]).expect("the lease is the host's");
    assert_eq!(receivers.stats().pool.free, 8 * 16);
}

#[test]
fn what_cannot_grow_is_refused_and_unchanged() {
    let mut receivers = receivers(3);
    let id = misfit(&mut receivers, 200);
    let before = receivers.describe(id);
    assert_eq!(receivers.grow(id, LARGE), Err(ReceiverError::TooLarge), "more than the budget");
    assert_eq!(receivers.grow(id, SMALL), Err(ReceiverError::NotLarger));
    assert_eq!(receivers.grow(id, 3), Err(ReceiverError::UnknownSize));
    let other = receivers.attach(0, 2).expect("the table has room");
    assert_eq!(receivers.grow(other, MEDIUM), Err(ReceiverError::NoBuffer));
    tell(&mut receivers, other, Event::Close);
    assert_eq!(receivers.grow(other, MEDIUM), Err(ReceiverError::Stale));
    assert_eq!(receivers.describe(id), before);
    receivers.grow(id, MEDIUM).expect("it is free");
    assert_eq!(receivers.data(id).expect("the handle is live"), stream(0, 200));
}

/// How much of these buffers is in memory. Asked page by page: the system may count neighbouring mappings as one, so what it
/// says of a mapping may be about those of other tests, too.
#[cfg(all(target_os = "linux", target_endian = "little"))]
fn resident_bytes(arena: &Arena, buffers: u32) -> usize {
    use std::os::unix::fs::FileExt;
    const PAGE: usize = 4096;
    let pages = std::fs::File::open("/proc/self/pagemap").expect("Linux has it");
    let resident = |buffer: &[u8]| {
        let mut entries = vec![0; buffer.len() / PAGE * 8];
        let first = buffer.as_ptr() as usize / PAGE;
        pages.read_exact_at(&mut entries, first as u64 * 8).expect("all of it is mapped");
        // The high bits of the last of eight bytes say whether the page is in memory or swapped out.
        entries.iter().skip(7).step_by(8).filter(|&&high| high >> 6 != 0).count() * PAGE
    };
    (0..buffers).map(|index| resident(arena.buffer(index))).sum()
}

#[test]
fn no_more_of_the_memory_is_there_than_the_budget() {
    const BUFFERS: u32 = 512;
    let budget = BUFFERS as usize * BYTES[0];
    let mut sizes = [0; BUFFER_SIZES_MAX];
    sizes[..3].copy_from_slice(&[BYTES[0] as u32, 4096, BYTES[2] as u32]);
    let mut arena = Arena::new(BUFFERS, &sizes).expect("there is memory");
    let mut pool = new_pool(&PoolConfig { sizes: [4, 1, 16, 0], ..PoolConfig::new(BUFFERS, 0) });
    let buffers = (0..3).map(|size| pool.free_indexes(size).count() as u32).sum();
    assert_eq!(buffers, BUFFERS + 4 * BUFFERS + BUFFERS / 4);
    // All of one size, then all of another, and then mixed: each written from end to end.
    for (round, mix) in [[0, 0, 0], [1, 1, 1], [2, 2, 2], [0, 1, 2], [1, 0, 0], [2, 1, 1]].into_iter().enumerate() {
        let mut held = Vec::new();
        for at in 0.. {
            let Ok(Outcome::Granted(lease)) = pool.request_for(&sized(mix[at % 3], 0)) else {
                break;
            };
            arena.touch(lease.index(), |size| pool.free_indexes(size));
            arena.buffer_mut(lease.index()).fill(round as u8 + 1);
            held.push(lease);
            assert!(arena.touched_bytes() <= budget, "round {round}");
        }
        assert!(pool.stats().free < 16, "all is in use");
        #[cfg(all(target_os = "linux", target_endian = "little"))]
        {
            let resident = resident_bytes(&arena, buffers);
            assert!(resident <= budget + 64 * 1024, "round {round}: {resident} of {budget}");
            assert!(resident >= budget - 16 * 4096, "all was written: {resident} of {budget}");
        }
        for lease in held {
            assert!(arena.buffer(lease.index()).iter().all(|&byte| byte == round as u8 + 1), "nobody else's");
            pool.release(lease).expect("the lease is held");
        }
    }
}

#[test]
fn buffers_smaller_than_a_page_keep_what_they_touched() {
    // What the docs say of them: the others give theirs back, so as much as the small ones ever touched may be there
    // beside the budget, and no more.
    const BUFFERS: u32 = 64;
    let budget = BUFFERS as usize * BYTES[0];
    let sizes = [BYTES[0] as u32, BYTES[1] as u32, BYTES[2] as u32, 0];
    for small in [0, 1, 100, 1_024] {
        let mut arena = Arena::new(BUFFERS, &sizes).expect("there is memory");
        let mut pool = new_pool(&config(BUFFERS, 0));
        for size in [SMALL, MEDIUM, LARGE, SMALL, MEDIUM] {
            let mut held = Vec::new();
            while let Ok(Outcome::Granted(lease)) = pool.request_for(&sized(size, 0)) {
                arena.touch(lease.index(), |size| pool.free_indexes(size));
                held.push(lease);
                if size == SMALL && held.len() >= small {
                    break;
                }
            }
            let kept = small.max(1) * BYTES[usize::from(SMALL)];
            assert!(arena.touched_bytes() <= budget + kept, "{size}: {} of {budget}", arena.touched_bytes());
            for lease in held {
                pool.release(lease).expect("the lease is held");
            }
        }
    }
}

/// Whoever gets a buffer, as much of those of other sizes goes back to the system, and reads as zero from then on.
#[test]
#[cfg(target_os = "linux")]
fn receivers_give_back_what_is_there_of_other_sizes() {
    const BUFFERS: u32 = 16;
    let mut config = ReceiversConfig::new(BUFFERS, BUFFERS);
    config.set_buffer_sizes(&[16_384, 65_536]).expect("there is a default size");
    let mut receivers = Receivers::new(&config).expect("the configuration is allowed");
    // The host writes all that there can be of one size.
    let write_all = |receivers: &mut Receivers, size: u8| {
        let leases: Vec<LeaseId> = std::iter::from_fn(|| {
            let is_free = receivers.stats().pool.free > 0;
            match is_free.then(|| receivers.request_for(0, size, None, 0).expect("it is free"))? {
                Outcome::Granted(lease) => Some(lease),
                Outcome::Queued(wait) => panic!("{wait:?}"),
            }
        })
        .collect();
        for &lease in &leases {
            let buffer = receivers.buffer(lease).expect("it is the host's");
            assert!(buffer.iter().all(|&byte| byte == 0), "it was given back, or never written");
            buffer.fill(1);
        }
        leases.into_iter().for_each(|lease| receivers.release(lease).expect("it is the host's"));
    };
    write_all(&mut receivers, 0);
    write_all(&mut receivers, 1);
    let ids: Vec<ReceiverId> = (0..BUFFERS.into())
        .map(|token| {
            let id = receivers.attach(0, token).expect("the table has room");
            receivers.handle(id, Event::Readable).expect("it is attached");
            let area = receivers.receive_area(id).expect("it has a buffer");
            assert!(area.len() == 16_384 && area.iter().all(|&byte| byte == 0));
            area.fill(2);
            id
        })
        .collect();
    for id in ids {
        receivers.handle(id, Event::Close).expect("close is always allowed");
    }
    write_all(&mut receivers, 1);
}
