//! Bytes of peers stay where they are needed: what is released is wiped, and nothing is in a core dump, if the
//! configuration asks for it.

use demuxbuf::connection::{Action, Event, Mode};
use demuxbuf::pool::{AttachOptions, BufferSource, Pool, PoolConfig, ReceiverId};
use demuxbuf::scheduler::{LeaseId, Outcome};

const BUFFER_BYTES: u32 = 256;
const SECRET: u8 = 0x5e;

fn config(wipe: bool, buffers: u32) -> PoolConfig {
    let mut config = PoolConfig::new(buffers, 8);
    (config.buffer_bytes, config.wipe) = (BUFFER_BYTES, wipe);
    config
}

fn pool(config: &PoolConfig) -> Pool {
    Pool::new(config).expect("the configuration is allowed")
}

fn attach<S: BufferSource>(pool: &mut Pool<S>) -> ReceiverId {
    pool.attach(&AttachOptions::new(0, 0)).expect("there is room")
}

fn report<S: BufferSource>(pool: &mut Pool<S>, id: ReceiverId, event: Event) {
    pool.handle(id, event).unwrap_or_else(|error| panic!("{event:?}: {error}"));
}

/// Fills all the room that there is, and receives this much of it.
fn receive<S: BufferSource>(pool: &mut Pool<S>, id: ReceiverId, bytes: u32) {
    report(pool, id, Event::Readable);
    let area = pool.receive_area(id).expect("it is attached");
    assert!(area.len() >= bytes as usize, "{} bytes of room", area.len());
    area.fill(SECRET);
    report(pool, id, Event::Received { bytes });
}

fn request<S: BufferSource>(pool: &mut Pool<S>) -> LeaseId {
    match pool.request(0, 0) {
        Ok(Outcome::Granted(lease)) => lease,
        other => panic!("a buffer is free: {other:?}"),
    }
}

/// Whether any free buffer has a byte of what was received.
fn has_secrets<S: BufferSource>(pool: &mut Pool<S>) -> bool {
    let free = pool.stats().scheduler.free;
    let leases: Vec<LeaseId> = (0..free).map(|_| request(pool)).collect();
    let found = leases.iter().any(|&lease| pool.buffer(lease).expect("it is the host's").contains(&SECRET));
    leases.into_iter().for_each(|lease| pool.release(lease).expect("it is the host's"));
    found
}

/// Each way in which a buffer is released.
#[test]
fn released_buffers_are_wiped() {
    type Way = fn(&mut Pool);
    let ways: [(&str, Way); 7] = [
        ("decoded", |pool| {
            let id = attach(pool);
            receive(pool, id, 100);
            report(pool, id, Event::Consumed { bytes: 100 });
        }),
        ("nothing received", |pool| {
            let id = attach(pool);
            report(pool, id, Event::Readable);
            pool.receive_area(id).expect("it is attached").fill(SECRET);
            report(pool, id, Event::WouldBlock);
        }),
        ("closed", |pool| {
            let id = attach(pool);
            receive(pool, id, 100);
            report(pool, id, Event::Close);
        }),
        ("failed", |pool| {
            let id = attach(pool);
            receive(pool, id, 100);
            report(pool, id, Event::Fail);
        }),
        ("parked", |pool| {
            let id = attach(pool);
            receive(pool, id, 20);
            report(pool, id, Event::NeedMore { bytes: 1 });
            assert_eq!(pool.stats().slots_in_use, 1);
        }),
        ("taken and released", |pool| {
            let id = attach(pool);
            receive(pool, id, 100);
            let lease = pool.take(id).expect("it holds a buffer").lease;
            pool.release(lease).expect("it is the host's");
        }),
        ("of the host's own", |pool| {
            let lease = request(pool);
            pool.buffer(lease).expect("it is the host's").fill(SECRET);
            pool.release(lease).expect("it is the host's");
        }),
    ];
    for wipe in [true, false] {
        for (name, way) in ways {
            let mut pool = pool(&config(wipe, 2));
            way(&mut pool);
            assert_eq!(has_secrets(&mut pool), !wipe, "{name}, wiped: {wipe}");
            assert_eq!(pool.check_invariants(), Ok(()));
        }
    }
}

/// The content of a slot moves into a buffer; the next receiver that waits is lent the slot.
#[test]
fn released_slots_are_wiped() {
    for wipe in [true, false] {
        let config = PoolConfig { slots: 1, ..config(wipe, 1) };
        let mut pool = pool(&config);
        let lease = request(&mut pool);
        let [first, second] = [(); 2].map(|()| attach(&mut pool));
        receive(&mut pool, first, 64);
        report(&mut pool, first, Event::NeedMore { bytes: 1 });
        pool.release(lease).expect("it is the host's");
        pool.poll_notice().expect("the first is granted the buffer");
        report(&mut pool, second, Event::Readable);
        let slot = pool.receive_area(second).expect("it is attached");
        assert_eq!((slot.len(), slot.contains(&SECRET)), (64, !wipe));
        assert!(pool.data(first).expect("it is attached").contains(&SECRET), "what is held is not wiped");
    }
}

/// The buffers of a thread's receivers return to other threads when its pool is dropped.
#[test]
#[cfg(not(loom))]
fn buffers_of_a_dropped_shard_are_wiped() {
    for wipe in [true, false] {
        let shared_pool = demuxbuf::SharedPool::new(&config(wipe, 2), 2).expect("the configuration is allowed");
        let [mut here, mut there] = [0, 1].map(|shard| shared_pool.shard(shard).expect("it is free"));
        let id = attach(&mut here);
        receive(&mut here, id, 100);
        drop(here);
        assert_eq!(there.stats().scheduler.free, 2);
        assert_eq!(has_secrets(&mut there), !wipe);
    }
}

/// Events of a wiping pool take the slow path, which must come to the same.
#[test]
fn wiping_pool_answers_as_another_one() {
    for mode in Mode::ALL {
        let mut pools = [true, false].map(|wipe| {
            let mut config = config(wipe, 2);
            config.policy.mode = mode;
            pool(&config)
        });
        let ids = pools.each_mut().map(attach);
        let mut random = fastrand::Rng::with_seed(mode as u64);
        for _ in 0..2_000 {
            let event = match random.u8(0..6) {
                0 => Event::done(Action::WantRecv),
                1 => Event::Received { bytes: random.u32(1..100) },
                2 => Event::Consumed { bytes: random.u32(0..100) },
                3 => Event::WouldBlock,
                4 => Event::NeedMore { bytes: random.u32(1..100) },
                _ => Event::Readable,
            };
            let [wiping, other] = [0, 1].map(|at| pools[at].handle(ids[at], event));
            assert_eq!(wiping, other, "{mode:?}: {event:?}");
            let [wiping, other] = [0, 1].map(|at| pools[at].stats());
            assert_eq!(wiping, other, "{mode:?}: {event:?}");
        }
    }
}

#[cfg(all(target_os = "linux", not(miri)))]
mod dumps {
    use super::*;
    use std::fs::read_to_string;

    /// Whether the mapping of this address is left out of core dumps: the system says `dd` of it.
    fn is_left_out(address: *const u8) -> bool {
        let maps = read_to_string("/proc/self/smaps").expect("Linux has it");
        let address = address.addr();
        let mut lines = maps.lines().skip_while(|line| {
            let range = line.split_whitespace().next().and_then(|range| range.split_once('-'));
            let [start, end] =
                range.map_or([None; 2], |(start, end)| [start, end].map(|at| usize::from_str_radix(at, 16).ok()));
            !start.zip(end).is_some_and(|(start, end)| (start..end).contains(&address))
        });
        let flags = lines.find_map(|line| line.strip_prefix("VmFlags:")).expect("it is in a mapping");
        flags.split_whitespace().any(|flag| flag == "dd")
    }

    /// A few bytes are in a mapping of their own, too.
    #[test]
    fn buffers_and_slots_are_left_out_of_dumps() {
        for no_dump in [true, false] {
            for buffers in [1, 1_000] {
                let config = PoolConfig { no_dump, ..config(false, buffers) };
                let mut pool = pool(&config);
                let leases: Vec<LeaseId> = (0..buffers).map(|_| request(&mut pool)).collect();
                for lease in [leases[0], leases[buffers as usize - 1]] {
                    let buffer = pool.buffer(lease).expect("it is the host's").as_ptr_range();
                    assert_eq!([buffer.start, buffer.end.wrapping_sub(1)].map(is_left_out), [no_dump; 2]);
                }
                let id = attach(&mut pool);
                report(&mut pool, id, Event::Readable);
                let slot = pool.receive_area(id).expect("it is attached");
                assert_eq!((slot.len(), is_left_out(slot.as_ptr())), (64, no_dump));
            }
        }
    }

    #[test]
    fn buffers_and_slots_of_shards_are_left_out_of_dumps() {
        let config = PoolConfig { no_dump: true, ..config(false, 1) };
        let shared_pool = demuxbuf::SharedPool::new(&config, 1).expect("the configuration is allowed");
        let mut pool = shared_pool.shard(0).expect("it is free");
        let lease = request(&mut pool);
        assert!(is_left_out(pool.buffer(lease).expect("it is the host's").as_ptr()));
        let id = attach(&mut pool);
        report(&mut pool, id, Event::Readable);
        assert!(is_left_out(pool.receive_area(id).expect("it is attached").as_ptr()));
    }
}
