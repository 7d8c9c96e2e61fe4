//! A thread that keeps what another one waits for: it hangs, or looks.

use super::MS;
use super::common::{ShardPool, attach, check, config, granted_to, receive, two, waiting};
use demuxbuf::connection::{Action, Event};
use demuxbuf::pool::PoolConfig;

/// More receivers than there are buffers.
fn roomy_config() -> PoolConfig {
    PoolConfig { receivers_max: 20, ..config() }
}

/// Receivers that keep 200 bytes of frames of 250, until no buffer is left but those of the reserve.
fn keep_all(pool: &mut ShardPool) -> u32 {
    for kept in 0.. {
        let id = attach(pool, u64::from(kept));
        assert!(pool.handle(id, Event::Readable).unwrap().has(Action::Recv));
        if pool.receive_area(id).unwrap().len() < 200 {
            pool.handle(id, Event::Close).unwrap();
            return kept;
        }
        receive(pool, id, &[1; 200]);
        pool.decoded(id, 0, 50).unwrap();
    }
    unreachable!("memory ends")
}

/// The claim of a whole frame is granted or tried: what the time is then, in steps of an eighth of the grace.
fn settled_at_ns(pool: &mut ShardPool, mut others: impl FnMut(u64), from_ns: u64) -> u64 {
    let id = waiting(pool, 99);
    let step_ns = pool.memory().config().frame_grace_ns / 8;
    for step in 1..100 {
        let now_ns = from_ns + step * step_ns;
        pool.handle_timeout(now_ns);
        others(now_ns);
        if granted_to(pool) == Some(99) {
            assert_eq!(pool.receive_area(id).map(|area| area.len()), Ok(250 - 64), "the rest of the frame");
            receive(pool, id, &[2; 250 - 64]);
            pool.decoded(id, 250, 0).unwrap();
            return now_ns;
        }
    }
    panic!("it is never settled");
}

/// A thread that keeps all memory, and never advances its clock, keeps no claim of another one waiting beyond the
/// bound.
#[test]
fn thread_that_hangs_delays_no_claim() {
    let (_shared_pool, mut a, mut b) = two(&roomy_config());
    a.handle_timeout(0);
    b.handle_timeout(0);
    assert!(keep_all(&mut b) > 6, "given: it keeps what there is");
    // The other thread looks.
    a.handle_timeout(1);
    let settled_ns = settled_at_ns(&mut a, |_| {}, 0);
    assert_eq!((a.totals().trials, a.totals().grants, b.totals().evicted), (1, 0, 0));
    assert!(settled_ns <= a.memory().config().wait_ns_max(), "{settled_ns} ns");
    check(&a, &b);
}

/// A thread without claims evicts what is late for the claim of another thread, which is granted before its trial.
#[test]
fn claim_evicts_what_is_late_on_another_thread() {
    let (_shared_pool, mut a, mut b) = two(&roomy_config());
    a.handle_timeout(0);
    b.handle_timeout(0);
    keep_all(&mut b);
    for step in 1..=4 {
        a.handle_timeout(step * 125 * MS);
        b.handle_timeout(step * 125 * MS);
    }
    let mut woken = false;
    let others = |now_ns| {
        b.handle_timeout(now_ns);
        while b.poll_notice().is_some() {}
        woken |= b.poll_wake() == Some(0);
    };
    let settled_ns = settled_at_ns(&mut a, others, 500 * MS);
    assert_eq!((a.totals().trials, a.totals().grants, b.totals().claims), (0, 1, 0));
    // The frames of the other thread are late after 1.03 s, which it may report in its next iteration.
    assert_eq!(settled_ns, 1_250 * MS);
    assert!(b.totals().evicted > 0 && woken, "the thread that waits is signalled");
    check(&a, &b);
}
