//! Parking slots of four sizes, each with its own budget.

use demuxbuf::connection::{Action, Event};
use demuxbuf::memory::{SLOT_SIZES, Slots};
use demuxbuf::pool::{AttachOptions, Pool, PoolConfig, ReceiverId};

/// Each slot size has a budget of its own; when it is used up, a slot of the next larger size is taken.
#[test]
fn slot_sizes_fall_back_to_the_next_larger_one() {
    let counts = [3, 2, 2, 1];
    for (size, &bytes) in SLOT_SIZES.iter().enumerate() {
        let mut slots = Slots::new(counts).expect("there is memory");
        let smaller = if size == 0 { 1 } else { SLOT_SIZES[size - 1] + 1 };
        for content in [smaller, bytes] {
            let mut taken = Vec::new();
            while let Some(slot) = slots.take(content) {
                taken.push(slot);
            }
            // A slot of its own size first, then one of the next larger size; never a smaller one.
            let lengths: Vec<usize> = taken.iter().map(|&slot| slots.slot(slot).len()).collect();
            let expected = (size..4).flat_map(|larger| vec![SLOT_SIZES[larger]; counts[larger] as usize]);
            assert_eq!(lengths, expected.collect::<Vec<_>>(), "{content} bytes");
            let mut used = counts;
            used[..size].fill(0);
            assert_eq!(slots.in_use_by_size(), used);
            taken.into_iter().for_each(|slot| slots.give(slot).expect("it is taken"));
            assert_eq!(slots.in_use(), 0);
        }
        assert_eq!(slots.take(4_097), None);
    }
}

/// Receivers that are asked to park after 1 ns, with this many slots of each size.
fn pool(slots: [u32; 4]) -> Pool {
    let mut config = PoolConfig::new(4, 7);
    config.slots = slots[0];
    config.large_slots = [slots[1], slots[2], slots[3]];
    config.lifeline = false;
    config.policy.reclaim_bytes = 4_096;
    (config.scheduler.park_ns, config.scheduler.lease_ns) = (Some(1), Some(1_000));
    Pool::new(&config).expect("the configuration is allowed")
}

/// Four receivers that hold this many bytes each, and this many that wait.
fn pressed(pool: &mut Pool, bytes: [usize; 4], waiters: u32) -> Vec<ReceiverId> {
    let attach = |token| pool.attach(&AttachOptions::new(0, token)).expect("the table has room");
    let ids: Vec<ReceiverId> = (0..4 + u64::from(waiters)).map(attach).collect();
    for (&id, bytes) in ids.iter().zip(bytes) {
        pool.handle(id, Event::Readable).expect("the handle is live");
        pool.receive_area(id).expect("the handle is live")[..bytes].fill(bytes as u8);
        pool.handle(id, Event::Received { bytes: bytes as u32 }).expect("there is room");
        pool.handle(id, Event::NeedMore { bytes: 10_000 }).expect("it needs bytes");
    }
    for &id in &ids[4..] {
        pool.handle(id, Event::Readable).expect("the handle is live");
    }
    assert_eq!(pool.stats().scheduler.waiting, waiters);
    (0..=1).for_each(|now_ns| pool.handle_timeout(now_ns));
    ids
}

#[test]
fn reclaim_parks_in_the_smallest_fitting_slot() {
    for (at, bytes) in [65, 256, 257, 1_024, 1_025, 4_096].into_iter().enumerate() {
        let mut pool = pool([9, 1, 1, 1]);
        let ids = pressed(&mut pool, [bytes, 5_000, 5_000, 5_000], 1);
        pool.poll_notice().expect("the waiter has the buffer");
        pool.check_invariants().expect("the invariants hold");
        let mut expected = [0; 4];
        expected[1 + at / 2] = 1;
        assert_eq!(pool.stats().slots_in_use_by_size, expected, "{bytes} bytes");
        assert!(pool.data(ids[0]).expect("the handle is live").iter().all(|&byte| byte == bytes as u8));
        assert_eq!(pool.data(ids[0]).expect("the handle is live").len(), bytes);
    }
}

/// A holder that finds no slot keeps its buffer, and is shed when its lease expires.
#[test]
fn holder_without_a_slot_is_shed_at_its_expiry() {
    // One receiver of 200 bytes has a slot of its size, one that of the next size. The third would need one of 4096,
    // and there is none.
    let mut pool = pool([9, 1, 1, 0]);
    let ids = pressed(&mut pool, [200, 200, 200, 5_000], 3);
    let granted: Vec<_> = std::iter::from_fn(|| pool.poll_notice()).collect();
    pool.check_invariants().expect("the invariants hold");
    let stats = pool.stats();
    assert_eq!((granted.len(), stats.parked, stats.slots_in_use_by_size), (2, 2, [0, 1, 1, 0]));
    assert_eq!((stats.park_refused, stats.shed, stats.scheduler.waiting), (1, 0, 1));
    assert_eq!(pool.data(ids[2]).expect("the handle is live"), [200; 200]);

    (2..=1_001).for_each(|now_ns| pool.handle_timeout(now_ns));
    while pool.poll_notice().is_some() {}
    pool.check_invariants().expect("the invariants hold");
    let shed = |&&id: &&ReceiverId| pool.pending(id).expect("the handle is live").has(Action::Shed);
    assert_eq!((ids.iter().filter(shed).count(), pool.stats().shed), (1, 1), "one at a time");
}

/// A slot is received into while a buffer is waited for, so it may be full when the buffer is granted.
#[test]
fn slot_larger_than_the_buffer_is_refused() {
    let mut config = PoolConfig::new(4, 4);
    config.buffer_bytes = 192;
    config.large_slots = [1, 0, 0];
    let refused = Pool::new(&config).expect_err("256 bytes do not fit into 192");
    assert_eq!(
        refused.to_string(),
        "slot size in large_slots is 256; allowed is 0 to the bytes of a buffer of first_size_index, 192"
    );
    // Content is grown before it is parked: it is the first size that counts, not the largest.
    config.set_buffer_sizes(&[4_096, 1_024]).expect("two sizes");
    (config.first_size_index, config.large_slots) = (1, [0, 0, 1]);
    Pool::new(&config).expect_err("4096 bytes do not fit into 1024");
    config.large_slots = [1, 1, 0];
    Pool::new(&config).expect("1024 bytes fit into 1024");
}
