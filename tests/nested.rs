//! Jobs that hold one buffer and ask for another one: the check of a configuration against every reachable state.

use demuxbuf::pool::{Pool, PoolConfig};
use demuxbuf::scheduler::{LeaseId, NestedRequest, Outcome, Request, Scheduler, SchedulerConfig};
use demuxbuf::{AttachOptions, ConfigError, Event, SharedPool};
use std::collections::BTreeSet;

fn pair(holds: u8, asks: u8) -> NestedRequest {
    NestedRequest { holds, asks }
}

fn config(buffers: u32, reserves: &[u32]) -> SchedulerConfig {
    let mut config = SchedulerConfig { classes: reserves.len() as u8, ..SchedulerConfig::new(buffers, 16) };
    config.reserves[..reserves.len()].copy_from_slice(reserves);
    config
}

/// The order of a two-sided proxy: new work is the least critical, what drains it comes first.
#[test]
fn order_of_a_proxy_has_no_deadlock() {
    let order = [pair(3, 2), pair(3, 1), pair(2, 1), pair(2, 0), pair(1, 0)];
    assert_eq!(config(16, &[0, 1, 2, 8]).check_nested_requests(&order), Ok(()));
    // Two classes with one reserve: each leaves the other one nothing.
    let refused = config(16, &[0, 1, 1, 8]).check_nested_requests(&order);
    let deadlock = ConfigError::Deadlock { holds: 2, asks: 1, free_units: 1, needed_units: 2 };
    assert_eq!(refused, Err(deadlock));
    let text = "jobs that hold class 2 and ask for class 1 can wait without end: they can leave 1 units free, and \
                class 1 needs 2";
    assert_eq!(deadlock.to_string(), text);
    // A class that is asked for while it is held.
    assert!(config(16, &[0, 1, 2, 8]).check_nested_requests(&[pair(1, 0), pair(3, 3)]).is_err());
}

/// What a cap keeps from holders is free for what they ask for, without any reserve.
#[test]
fn cap_of_holders_prevents_a_deadlock() {
    let mut config = config(4, &[0, 0]);
    assert!(config.check_nested_requests(&[pair(1, 0)]).is_err());
    config.class_caps[1] = 3;
    assert_eq!(config.check_nested_requests(&[pair(1, 0)]), Ok(()));
    assert!(config.check_nested_requests(&[pair(1, 0), pair(0, 0)]).is_err(), "others hold the rest");
}

#[test]
fn wrong_pairs_and_configurations_are_refused() {
    let pool = PoolConfig { buffer_bytes: 256, ..PoolConfig::new(8 * 256, 4) };
    let refused = PoolConfig { classes: 9, ..pool }.check_nested_requests(&[pair(9, 9)]);
    let refused = refused.expect_err("there are at most 8");
    assert!(refused.to_string().contains("classes is 9"), "{refused}");
    assert!(PoolConfig { memory_bytes: 1, ..pool }.check_nested_requests(&[]).is_err(), "it is too small");
    assert_eq!(pool.check_nested_requests(&[]), Ok(()));
    assert!(matches!(pool.check_nested_requests(&[pair(0, 0)]), Err(ConfigError::Deadlock { holds: 0, asks: 0, .. })));
    let texts = [pair(0, 1), pair(7, 0)].map(|wrong| pool.check_nested_requests(&[wrong]).unwrap_err().to_string());
    assert_eq!(texts, ["asks[0] is 1; allowed is 0 to 0", "holds[0] is 7; allowed is 0 to 0"]);
}

/// The receive buffer and one that is cut for the smallest cells are never free: no job holds them, and none is served
/// by them.
#[test]
fn buffers_of_receivers_serve_no_job() {
    let mut config = PoolConfig { buffer_bytes: 256, classes: 2, ..PoolConfig::new(8 * 256, 4) };
    let nested = [pair(1, 0)];
    // Six are left. A cap of the last class counts those two as well.
    for (cap, can_deadlock) in [(8, true), (7, false)] {
        config.class_caps[1] = cap;
        assert_eq!(config.check_nested_requests(&nested).is_err(), can_deadlock, "{cap}");
        let mut pool = Pool::new(&config).expect("the configuration is allowed");
        let mut jobs = 0;
        while pool.try_request(&Request::new(1, 0)).expect("the class exists").is_some() {
            jobs += 1;
        }
        let is_stuck = pool.try_request(&Request::new(0, 0)).expect("the class exists").is_none();
        assert_eq!((jobs, is_stuck), (cap - 2, can_deadlock));
    }
    (config.class_caps[1], config.reserves[1]) = (8, 1);
    assert_eq!(config.check_nested_requests(&nested), Ok(()));
    // A reserve that leaves nothing but these two would let its class wait without end.
    let reserve = |reserve| PoolConfig { reserves: [reserve, 0, 0, 0, 0, 0, 0, 0], ..config };
    let refused = Pool::new(&reserve(6)).expect_err("six are left");
    assert_eq!(reserve(6).check_nested_requests(&[]), Err(refused));
    assert_eq!(refused.to_string(), "reserves[0] is 6; allowed is 0 to 5");
    let mut pool = Pool::new(&reserve(5)).expect("the configuration is allowed");
    assert!(matches!(pool.request(0, 0), Ok(Outcome::Granted(_))));
}

/// Nor do those of each thread of a shared pool, and its spare: here 3 of 16 for each.
#[test]
fn buffers_of_threads_serve_no_job() {
    let mut config = PoolConfig { buffer_bytes: 256, classes: 3, ..PoolConfig::new(16 * 256, 4) };
    let nested = [pair(1, 0)];
    for (cap, can_deadlock) in [(10, true), (9, false)] {
        config.class_caps[1] = cap;
        assert_eq!(SharedPool::check_nested_requests(&config, 2, &nested).is_err(), can_deadlock, "{cap}");
        let shared = SharedPool::new(&config, 2).expect("the configuration is allowed");
        let mut pools = [0, 1].map(|index| shared.shard(index).expect("it is free"));
        for pool in &mut pools {
            // It takes its spare.
            pool.handle_timeout(1);
            let id = pool.attach(&AttachOptions::default()).expect("there is a row");
            pool.handle(id, Event::Readable).expect("it is attached");
            pool.handle(id, Event::WouldBlock).expect("it is attached");
        }
        let mut jobs = 0;
        while pools[0].try_request(&Request::new(1, 0)).expect("the class exists").is_some() {
            jobs += 1;
        }
        let is_stuck = pools[0].try_request(&Request::new(0, 0)).expect("the class exists").is_none();
        assert_eq!((jobs, is_stuck), (cap, can_deadlock));
    }
    assert!(SharedPool::check_nested_requests(&config, 3, &nested).is_err(), "it is too small");
    assert!(SharedPool::check_nested_requests(&config, 0, &nested).is_err());
    (config.class_caps[1], config.reserves[1]) = (16, 1);
    assert_eq!(SharedPool::check_nested_requests(&config, 2, &nested), Ok(()));
}

/// With several sizes, a more critical class that waits for a large buffer keeps others from what is free.
#[test]
fn larger_buffers_need_more_than_a_reserve_of_one() {
    let mut config = config(8, &[0, 1]);
    assert_eq!(config.check_nested_requests(&[pair(1, 0)]), Ok(()));
    config.sizes = [2, 6, 0, 0];
    let refused = config.check_nested_requests(&[pair(1, 0)]);
    assert_eq!(refused, Err(ConfigError::Deadlock { holds: 1, asks: 0, free_units: 2, needed_units: 6 }));
    config.reserves[1] = 3;
    assert_eq!(config.check_nested_requests(&[pair(1, 0)]), Ok(()));
    // A class that is more critical than the one that is asked for, and has a larger reserve, is waited for.
    (config.classes, config.reserves) = (3, [2, 0, 3, 0, 0, 0, 0, 0]);
    let refused = config.check_nested_requests(&[pair(2, 1)]);
    assert_eq!(refused, Err(ConfigError::Deadlock { holds: 2, asks: 1, free_units: 6, needed_units: 10 }));
}

/// A job: what it holds, one bit for each class, and what it waits for.
type Job = (u8, Option<u8>);

/// The rules of grants, for jobs that take buffers of one size.
struct Rules<'a> {
    config: &'a SchedulerConfig,
    nested: &'a [NestedRequest],
}

impl Rules<'_> {
    fn may_grant(&self, jobs: &[Job], class: u8) -> bool {
        let out = |class: u8| jobs.iter().filter(|(held, _)| held >> class & 1 == 1).count() as u32;
        let free = self.config.buffers - (0..self.config.classes).map(out).sum::<u32>();
        free > self.config.reserves[usize::from(class)] && out(class) < self.config.class_caps[usize::from(class)]
    }

    /// Whether a deadlock can be reached: every job waits and none may be granted what it waits for. A job begins with
    /// one class, and asks for what it may ask for while it holds each of those that it has; at any time it may end
    /// instead.
    fn can_deadlock(&self) -> bool {
        let (mut seen, mut open) = (BTreeSet::from([Vec::<Job>::new()]), vec![Vec::<Job>::new()]);
        while let Some(jobs) = open.pop() {
            if !jobs.is_empty()
                && jobs.iter().all(|&(_, waits)| waits.is_some_and(|class| !self.may_grant(&jobs, class)))
            {
                return true;
            }
            for mut next in self.successors(&jobs) {
                next.sort_unstable();
                if seen.insert(next.clone()) {
                    open.push(next);
                }
            }
        }
        false
    }

    fn successors(&self, jobs: &[Job]) -> Vec<Vec<Job>> {
        let mut all = Vec::new();
        for class in (0..self.config.classes).filter(|&class| self.may_grant(jobs, class)) {
            all.push([jobs, &[(1 << class, None)]].concat());
        }
        for (at, &(held, waits)) in jobs.iter().enumerate() {
            let with = |job: Option<Job>| {
                let mut next = jobs.to_vec();
                match job {
                    Some(job) => next[at] = job,
                    None => _ = next.remove(at),
                }
                next
            };
            match waits {
                Some(class) if self.may_grant(jobs, class) => all.push(with(Some((held | 1 << class, None)))),
                Some(_) => {}
                None => {
                    all.push(with(None));
                    let may_ask = |asks: &u8| {
                        let mut holds = (0..self.config.classes).filter(|class| held >> class & 1 == 1);
                        held >> asks & 1 == 0 && holds.all(|holds| self.nested.contains(&pair(holds, *asks)))
                    };
                    let asked = (0..self.config.classes).filter(may_ask);
                    all.extend(asked.map(|asks| with(Some((held, Some(asks))))));
                }
            }
        }
        all
    }
}

/// Jobs take the buffers that the check names, one after the other, and then all ask: none is served.
fn shows_deadlock(config: &SchedulerConfig, nested: &[NestedRequest], first: NestedRequest) -> bool {
    let mut scheduler = Scheduler::new(config).expect("the configuration is allowed");
    let mut holders: Vec<u8> = nested.iter().map(|pair| pair.holds).collect();
    holders.sort_unstable_by_key(|&class| std::cmp::Reverse((config.reserves[usize::from(class)], class)));
    holders.dedup();
    let mut held: Vec<(u8, LeaseId)> = Vec::new();
    for class in holders {
        while let Some(lease) = scheduler.try_request(&Request::new(class, 0)).expect("the class exists") {
            held.push((class, lease));
        }
    }
    // A job finishes if its request is granted, or if it asks for nothing.
    let mut waits = 0;
    for &(class, _) in &held {
        let asks = nested.iter().filter(|pair| pair.holds == class).map(|pair| pair.asks);
        let is_stuck = asks.clone().any(|asks| matches!(scheduler.request(asks, 0), Ok(Outcome::Queued(_))));
        waits += usize::from(is_stuck);
    }
    held.iter().any(|&(class, _)| class == first.holds) && waits == held.len() && scheduler.poll_grant().is_none()
}

/// Every small configuration with every set of pairs: the check finds a deadlock exactly where one can be reached.
#[test]
fn check_agrees_with_every_reachable_state() {
    // Jobs that hold two buffers of one class are left out; a class that may ask for itself is always refused.
    let pairs: Vec<NestedRequest> =
        (0..9u8).map(|code| pair(code / 3, code % 3)).filter(|pair| pair.holds != pair.asks).collect();
    let caps = [[u32::MAX; 3], [u32::MAX, u32::MAX, 1], [u32::MAX, 1, 1], [1, u32::MAX, 2]];
    let (mut with, mut without, mut shown) = (0, 0, 0);
    for (buffers, class_caps) in (1..=3u32).flat_map(|buffers| caps.map(|caps| (buffers, caps))) {
        for (code, set) in (0..buffers.pow(2)).flat_map(|code| (1..1 << pairs.len()).map(move |set| (code, set))) {
            let mut config = config(buffers, &[0, code % buffers, code / buffers]);
            config.class_caps[..3].copy_from_slice(&class_caps);
            let chosen = (0..pairs.len()).filter(|&at| set >> at & 1 == 1);
            let nested: Vec<NestedRequest> = chosen.map(|at| pairs[at]).collect();
            let reached = Rules { config: &config, nested: &nested }.can_deadlock();
            let checked = config.check_nested_requests(&nested);
            assert_eq!(checked.is_err(), reached, "{nested:?} {checked:?} {config:?}");
            (with, without) = (with + u32::from(reached), without + u32::from(!reached));
            if let Err(ConfigError::Deadlock { holds, asks, .. }) = checked {
                assert!(nested.contains(&pair(holds, asks)));
                shown += u32::from(shows_deadlock(&config, &nested, pair(holds, asks)));
            }
        }
    }
    println!("{with} with a deadlock, {without} without, {shown} shown by the scheduler");
    assert!(with > 1_000 && without > 200 && shown > 1_000, "{with} {without} {shown}");
}
