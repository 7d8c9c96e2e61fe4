//! Bytes of peers stay where they are needed: a pool that wipes answers as any other, and nothing is in a core dump.

use crate::MODES;
use demuxbuf::connection::{Event, Mode};
use demuxbuf::pool::AttachOptions;
use demuxbuf::receiving::{PoolConfig, ReceivingPool};

fn pool(mode: Mode, wipe: bool, no_dump: bool) -> ReceivingPool {
    let mut config = PoolConfig { buffer_bytes: 256, wipe, no_dump, ..PoolConfig::new(8 * 256, 8) };
    config.policy.mode = mode;
    ReceivingPool::new(&config).expect("the configuration is allowed")
}

/// Events of a wiping pool take the slow path, which must come to the same.
#[test]
fn wiping_pool_answers_as_another_one() {
    for mode in MODES {
        let mut pools = [true, false].map(|wipe| pool(mode, wipe, false));
        let ids = pools.each_mut().map(|pool| pool.attach(&AttachOptions::new(0, 0)).expect("there is room"));
        let mut random = fastrand::Rng::with_seed(mode as u64);
        for _ in 0..2_000 {
            let event = match random.u8(0..6) {
                0 => Event::done(demuxbuf::connection::Action::WantRecv),
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
            let mut pool = pool(Mode::Level, false, no_dump);
            let id = pool.attach(&AttachOptions::new(0, 0)).expect("there is room");
            pool.handle(id, Event::Readable).expect("it is attached");
            let area = pool.receive_area(id).expect("it is attached").as_ptr_range();
            assert_eq!([area.start, area.end.wrapping_sub(1)].map(is_left_out), [no_dump; 2]);
        }
    }
}
