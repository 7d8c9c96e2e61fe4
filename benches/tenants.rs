//! The cost of an operation on a pool by how many tenants take turns in it: each time a buffer is released, handed over
//! to the tenant with the turn, and waited for again by that tenant. All numbers are there at once and take turns.
//!
//! Instructions are what the pool does; time has in it that the entries of many tenants are in no cache.

#![allow(clippy::disallowed_methods, reason = "a benchmark measures time")]

mod support;

use demuxbuf::scheduler::{LeaseId, Outcome, Request, Scheduler, SchedulerConfig, TenantConfig, TenantId};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::time::Instant;
use support::{Options, Report, Samples, child, has_valgrind, instructions, rotated};

type Error = Box<dyn std::error::Error>;

const TENANTS: [u32; 3] = [10, 1_000, 100_000];
const BUFFERS: u32 = 8;
/// Hand-offs of one round.
const TURNS: u32 = 100_000;

fn main() -> Result<(), Error> {
    let options = Options::read();
    if let [name, tenants, turns] = options.child.as_slice() {
        assert_eq!(name, "turns");
        let (mut crowd, turns) = (Crowd::new(tenants.parse()?)?, turns.parse()?);
        crowd.play(turns)?;
        crowd.check(turns.into());
        return Ok(());
    }
    let (turns, rounds) = (options.pick(100, TURNS, TURNS), options.pick(1, 20, 100));
    let mut crowds = TENANTS.into_iter().map(Crowd::new).collect::<Result<Vec<_>, _>>()?;
    let mut samples = TENANTS.map(|_| Samples::new());
    for round in 0..=rounds {
        for number in rotated(round, crowds.len()) {
            let begin = Instant::now();
            crowds[number].play(turns)?;
            // The first finds nothing in any cache.
            if round > 0 {
                samples[number].record(begin.elapsed().as_nanos() as f64 / f64::from(turns));
            }
        }
    }
    crowds.iter().for_each(|crowd| crowd.check(u64::from(turns) * u64::from(rounds + 1)));
    let is_counted = !options.smoke && has_valgrind();
    let columns = ["tenants", "ns each turn", "to fewest", "instructions", "to fewest, instructions"];
    let mut report = Report::new("tenants", &columns, &options);
    report.fact("turns", turns * rounds);
    let mut fewest = None;
    for (at, tenants) in TENANTS.into_iter().enumerate() {
        let time = samples[at].median();
        let mut cells = vec![json!(tenants), json!(time), json!(time / samples[0].median())];
        if is_counted {
            let count = counted(tenants)?;
            cells.extend([json!(count), json!(count / *fewest.get_or_insert(count))]);
        } else {
            cells.extend([Value::Null, Value::Null]);
        }
        report.row(cells);
    }
    report.finish();
    Ok(())
}

/// Instructions of a turn: what more turns cost, so that getting ready is not in it.
fn counted(tenants: u32) -> Result<f64, Error> {
    let count = |turns: u32| instructions(&child("turns", &[tenants.to_string(), turns.to_string()]));
    let (few, many) = (1_000, TURNS);
    Ok((count(many) as f64 - count(few) as f64) / f64::from(many - few))
}

/// Tenants that always wait.
struct Crowd {
    scheduler: Scheduler,
    tenants: Vec<TenantId>,
    held: VecDeque<LeaseId>,
}

impl Crowd {
    fn new(tenants: u32) -> Result<Crowd, Error> {
        let config = SchedulerConfig { tenants_max: tenants, ..SchedulerConfig::new(BUFFERS, tenants) };
        let mut scheduler = Scheduler::new(&config)?;
        let tenants: Vec<TenantId> =
            (0..tenants).map(|_| scheduler.create_tenant(&TenantConfig::default())).collect::<Result<_, _>>()?;
        let mut crowd = Crowd { scheduler, tenants, held: VecDeque::new() };
        for _ in 0..BUFFERS {
            let Outcome::Granted(lease) = crowd.scheduler.request(0, 0)? else {
                return Err("a buffer is free".into());
            };
            crowd.held.push_back(lease);
        }
        (0..crowd.tenants.len()).try_for_each(|token| crowd.wait(token))?;
        Ok(crowd)
    }

    fn wait(&mut self, token: usize) -> Result<(), Error> {
        let request = Request { tenant: Some(self.tenants[token]), ..Request::new(0, token as u64) };
        match self.scheduler.request_for(&request)? {
            Outcome::Queued(_) => Ok(()),
            Outcome::Granted(_) => Err("nothing is free while a request waits".into()),
        }
    }

    fn play(&mut self, turns: u32) -> Result<(), Error> {
        for _ in 0..turns {
            let lease = self.held.pop_front().ok_or("a buffer is held")?;
            self.scheduler.release(lease)?;
            let grant = self.scheduler.poll_grant().ok_or("a request waits")?;
            self.held.push_back(grant.lease);
            self.wait(grant.token as usize)?;
        }
        Ok(())
    }

    /// Ends the program unless there were this many hand-offs, the tenants took turns, and all wait again.
    fn check(&self, turns: u64) {
        let stats = self.scheduler.stats();
        let (counts, all) =
            ([stats.granted_by_handoff, stats.released, stats.waiting.into()], self.tenants.len() as u64);
        assert_eq!(counts, [turns, turns, all], "each turn is a hand-off");
        let granted = |&tenant| self.scheduler.describe_tenant(tenant).expect("it is not removed").granted;
        let granted: Vec<u64> = self.tenants.iter().map(granted).collect();
        assert_eq!(granted.iter().sum::<u64>(), turns, "each grant is in the name of a tenant");
        assert!(granted.iter().all(|&count| count.abs_diff(turns / all) <= 1), "all had as many turns");
    }
}
