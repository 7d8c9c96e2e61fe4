//! Bytes of peers stay where they are needed: what is not needed any more is wiped, and nothing is in a core dump, if
//! the configuration asks for it.

use demuxbuf::connection::{Action, Event, Mode, Policy};
use demuxbuf::pool::{AttachOptions, BufferSource, Pool, PoolConfig, ReceiverId};
use demuxbuf::scheduler::{LeaseId, Request};

const BUFFER_BYTES: u32 = 256;
const SECRET: u8 = 0x5e;

fn config(wipe: bool) -> PoolConfig {
    PoolConfig { buffer_bytes: BUFFER_BYTES, wipe, ..PoolConfig::new(16 * u64::from(BUFFER_BYTES), 8) }
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

/// The host does what is asked about read interest.
fn arm<S: BufferSource>(pool: &mut Pool<S>, id: ReceiverId) {
    let interest = Action::WantRecv | Action::StopRecv;
    let asked = pool.pending(id).expect("it is attached").intersection(interest);
    if !asked.is_empty() {
        report(pool, id, Event::Done(asked));
    }
}

/// The decoder needs more than these bytes.
fn keep<S: BufferSource>(pool: &mut Pool<S>, bytes: u32) -> ReceiverId {
    let id = attach(pool);
    receive(pool, id, bytes);
    report(pool, id, Event::NeedMore { bytes: BUFFER_BYTES - bytes });
    id
}

fn request<S: BufferSource>(pool: &mut Pool<S>) -> Option<LeaseId> {
    pool.try_request(&Request::new(0, 0)).expect("it could be granted")
}

/// Whether the receive buffer or any free buffer has a byte of what was received.
fn has_secrets<S: BufferSource>(pool: &mut Pool<S>) -> bool {
    let id = attach(pool);
    report(pool, id, Event::Readable);
    let area = pool.receive_area(id).expect("it is attached");
    assert_eq!(area.len(), BUFFER_BYTES as usize);
    let is_received_into = area.contains(&SECRET);
    report(pool, id, Event::Close);
    let leases: Vec<LeaseId> = std::iter::from_fn(|| request(pool)).collect();
    let is_leased = leases.iter().any(|&lease| pool.buffer(lease).expect("it is the host's").contains(&SECRET));
    leases.into_iter().for_each(|lease| pool.release(lease).expect("it is the host's"));
    is_received_into || is_leased
}

/// Each way in which memory is not needed any more.
#[test]
fn released_memory_is_wiped() {
    type Way = fn(&mut Pool);
    let ways: [(&str, Way); 12] = [
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
        ("kept in a small cell", |pool| {
            keep(pool, 20);
        }),
        ("kept in the receive buffer, then closed", |pool| {
            let id = keep(pool, 200);
            report(pool, id, Event::Close);
        }),
        ("kept in half a buffer, then failed", |pool| {
            let id = keep(pool, 100);
            report(pool, id, Event::Fail);
        }),
        ("kept, then decoded with the rest", |pool| {
            let id = keep(pool, 20);
            arm(pool, id);
            receive(pool, id, 100);
            report(pool, id, Event::Consumed { bytes: 120 });
        }),
        ("kept, then decoded but for a part", |pool| {
            let id = keep(pool, 20);
            arm(pool, id);
            receive(pool, id, 100);
            report(pool, id, Event::Consumed { bytes: 110 });
            report(pool, id, Event::NeedMore { bytes: 100 });
        }),
        ("blocked, then decoded", |pool| {
            let id = attach(pool);
            arm(pool, id);
            receive(pool, id, 100);
            report(pool, id, Event::Block { reasons: 1 });
            arm(pool, id);
            report(pool, id, Event::Unblock { reasons: 1 });
            report(pool, id, Event::Consumed { bytes: 100 });
        }),
        ("taken and released", |pool| {
            let id = keep(pool, 100);
            let lease = pool.take(id).expect("a buffer is free").lease;
            pool.release(lease).expect("it is the host's");
        }),
        ("of the host's own", |pool| {
            let lease = request(pool).expect("a buffer is free");
            pool.buffer(lease).expect("it is the host's").fill(SECRET);
            pool.release(lease).expect("it is the host's");
        }),
    ];
    for wipe in [true, false] {
        for (name, way) in ways {
            let mut pool = pool(&config(wipe));
            way(&mut pool);
            assert_eq!(has_secrets(&mut pool), !wipe, "{name}, wiped: {wipe}");
            assert_eq!(pool.check_invariants(), Ok(()));
        }
    }
}

/// What is kept stays as it is when others are wiped.
#[test]
fn kept_bytes_are_not_wiped() {
    let mut pool = pool(&config(true));
    let ids = [20, 100, 200].map(|bytes| (keep(&mut pool, bytes), bytes));
    let beside = keep(&mut pool, 100);
    report(&mut pool, beside, Event::Close);
    assert!(!has_secrets(&mut pool));
    for (id, bytes) in ids {
        assert_eq!(pool.data(id), Ok(&[SECRET; BUFFER_BYTES as usize][..bytes as usize]));
    }
}

/// The buffers of a thread's receivers return to other threads when its pool is dropped, a few to its next pool.
#[test]
#[cfg(not(loom))]
fn buffers_of_a_dropped_shard_are_wiped() {
    for wipe in [true, false] {
        let shared_pool = demuxbuf::SharedPool::new(&config(wipe), 2).expect("the configuration is allowed");
        let [mut here, mut there] = [0, 1].map(|shard| shared_pool.shard(shard).expect("it is free"));
        for bytes in [100, 200, 200, 200, 200] {
            keep(&mut here, bytes);
        }
        drop(here);
        let mut next = shared_pool.shard(0).expect("it is free again");
        assert_eq!([&mut there, &mut next].map(has_secrets), [!wipe; 2]);
        assert_eq!((there.check_invariants(), next.check_invariants()), (Ok(()), Ok(())));
    }
}

/// Events of a wiping pool take the slow path, which must come to the same.
#[test]
fn wiping_pool_answers_as_another_one() {
    for mode in Mode::ALL {
        let mut pools = [true, false]
            .map(|wipe| pool(&PoolConfig { policy: Policy { mode, ..Policy::default() }, ..config(wipe) }));
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

    #[test]
    fn memory_is_left_out_of_dumps() {
        for no_dump in [true, false] {
            let mut pool = pool(&PoolConfig { no_dump, ..config(false) });
            is_all_left_out(&mut pool, no_dump);
        }
    }

    #[test]
    fn memory_of_shards_is_left_out_of_dumps() {
        for no_dump in [true, false] {
            let config = PoolConfig { no_dump, ..config(false) };
            let shared_pool = demuxbuf::SharedPool::new(&config, 1).expect("the configuration is allowed");
            is_all_left_out(&mut shared_pool.shard(0).expect("it is free"), no_dump);
        }
    }

    /// The receive buffer and those of the host.
    fn is_all_left_out<S: BufferSource>(pool: &mut Pool<S>, no_dump: bool) {
        let id = attach(pool);
        report(pool, id, Event::Readable);
        let area = pool.receive_area(id).expect("it is attached").as_ptr_range();
        let lease = request(pool).expect("a buffer is free");
        let buffer = pool.buffer(lease).expect("it is the host's").as_ptr_range();
        for range in [area, buffer] {
            assert_eq!([range.start, range.end.wrapping_sub(1)].map(is_left_out), [no_dump; 2]);
        }
    }
}
