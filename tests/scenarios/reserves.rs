//! Scenarios of the wait queue in which buffers are needed to get buffers back.

use crate::host::{Host, config, data_frame};
use crate::host_pool::{HostScheduler, new_scheduler};
use crate::machine::in_all_modes;
use demuxbuf::connection::{Action, Event, Mode};
use demuxbuf::pool::PoolConfig;
use demuxbuf::scheduler::{LeaseId, Outcome, SchedulerConfig};

/// Class of requests that finish work that was begun.
const CRITICAL: u8 = 0;
/// Class of new work.
const NEW: u8 = 1;

fn two_classes(buffers: u32, waiters: u32, reserve: u32) -> SchedulerConfig {
    let mut config = SchedulerConfig::new(buffers, waiters);
    config.classes = 2;
    config.reserves[usize::from(NEW)] = reserve;
    config
}

/// A pool whose receivers and new work leave one buffer to critical work.
fn with_reserve(mode: Mode, peers: u32) -> PoolConfig {
    let mut config = PoolConfig { classes: 2, ..config(mode, peers) };
    config.reserves[usize::from(NEW)] = 1;
    config
}

fn checked(scheduler: &HostScheduler) {
    scheduler.check_invariants().expect("the invariants hold");
}

/// Jobs that each need one buffer to begin and a second one to finish; returns how many finish.
fn finished_jobs(jobs: u64, buffers: u32, reserve: u32) -> u64 {
    let mut scheduler = new_scheduler(&two_classes(buffers, 64, reserve));
    let mut first: Vec<Option<LeaseId>> = vec![None; jobs as usize];
    let mut finished = 0;
    // What each job owns or asks for next: the first buffer, then the second, then it is done.
    let mut served: Vec<(u64, u8, LeaseId)> = Vec::new();
    let ask = |scheduler: &mut HostScheduler, class: u8, job: u64| match scheduler
        .request(class, job)
        .expect("waits are free")
    {
        Outcome::Granted(lease) => Some((job, class, lease)),
        Outcome::Queued(_) => None,
    };
    for job in 0..jobs {
        served.extend(ask(&mut scheduler, NEW, job));
    }
    while let Some((job, class, lease)) = served.pop() {
        if class == NEW {
            first[job as usize] = Some(lease);
            served.extend(ask(&mut scheduler, CRITICAL, job));
        } else {
            let begun = first[job as usize].take().expect("the second buffer comes after the first");
            for lease in [lease, begun] {
                scheduler.release(lease).expect("the job holds both");
                checked(&scheduler);
            }
            finished += 1;
        }
        while let Some(grant) = scheduler.poll_grant() {
            served.push((grant.token, grant.class, grant.lease));
        }
        checked(&scheduler);
    }
    finished
}

#[test]
fn s14_jobs_that_need_a_second_buffer_all_finish() {
    for (jobs, buffers) in [(4, 4), (20, 4), (3, 2), (40, 9)] {
        assert_eq!(finished_jobs(jobs, buffers, 1), jobs, "the reserve lets one finish, and then the next");
        // Without a reserve this very schedule is the deadlock, so the test can fail.
        assert_eq!(finished_jobs(jobs.max(u64::from(buffers)), buffers, 0), 0);
    }
}

#[test]
fn s15_transmit_side_always_finds_a_buffer() {
    in_all_modes(|mode| {
        let mut host = Host::new(&with_reserve(mode, 16));
        for _ in 0..16 {
            let peer = host.attach_as(NEW);
            // Each request waits for something only a response can free.
            host.block(peer);
            host.send(peer, &data_frame(500));
        }
        host.settle();
        while let Outcome::Granted(_) = host.request(NEW, 0) {}
        assert_eq!(host.pool.stats().scheduler.free, 1, "all but the reserve are held");

        for peer in 0..16 {
            let Outcome::Granted(response) = host.request(CRITICAL, 0) else {
                panic!("transmit always finds a buffer");
            };
            host.release(response);
            assert!(host.unblock(peer).has(Action::Decode) || host.buffered_bytes(peer) < 500);
            host.resume(peer);
            host.settle();
        }
        assert!(host.peers.iter().all(|peer| peer.frames.len() == 1), "all requests were served");
        assert_eq!((host.held().1, host.held().2), (0, 0));
    });
}

#[test]
fn s16_reserve_buffer_in_long_use_blocks_no_request() {
    let mut scheduler = new_scheduler(&two_classes(4, 8, 1));
    let take = |scheduler: &mut HostScheduler, class| match scheduler.request(class, 0).expect("waits are free") {
        Outcome::Granted(lease) => Some(lease),
        Outcome::Queued(_) => None,
    };
    let held: Vec<LeaseId> = (0..3).map(|_| take(&mut scheduler, NEW).expect("above the reserve")).collect();
    let slow = take(&mut scheduler, CRITICAL).expect("the reserve is for this class");
    for lease in held {
        scheduler.release(lease).expect("the lease is held");
    }
    // The slow peer keeps the buffer that came out of the reserve; the memory of other peers is free.
    for minute in 1..=10 {
        scheduler.handle_timeout(minute * 60_000_000_000);
        let (first, second) = (take(&mut scheduler, NEW), take(&mut scheduler, NEW));
        assert!(first.is_some() && second.is_some(), "the free count decides");
        let Outcome::Queued(wait) = scheduler.request(NEW, 0).expect("waits are free") else {
            panic!("the last free buffer is the reserve");
        };
        scheduler.cancel(wait).expect("the wait is live");
        for lease in [first, second].into_iter().flatten() {
            scheduler.release(lease).expect("the lease is held");
        }
        checked(&scheduler);
    }
    scheduler.release(slow).expect("the slow peer held it all the time");
    assert_eq!(scheduler.stats().free, 4);

    in_all_modes(|mode| {
        let mut host = Host::new(&with_reserve(mode, 3));
        let mut leases = host.take_all_buffers(NEW);
        let Outcome::Granted(slow) = host.request(CRITICAL, 0) else { panic!("the reserve is for this class") };
        let peer = host.attach_as(NEW);
        host.send(peer, &data_frame(500));
        host.settle();
        // One that stays free: the reserve of the other class. Receivers may have too few for a reserve of their own.
        host.release(leases.remove(0));
        host.settle();
        assert!(host.peers[peer].frames.is_empty());
        host.make_room(&mut leases);
        host.settle();
        assert_eq!(host.peers[peer].frames.len(), 1, "although the slow peer has the reserve");
        host.on(peer, Event::Wake);
        host.release(slow);
    });
}
