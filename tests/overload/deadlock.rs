//! Buffers that are needed to get buffers back: every order of events, with the reserve rule and without it.

use crate::support::{check, new_scheduler};
use demuxbuf::connection::{Action, Event};
use demuxbuf::pool::{AttachOptions, Notice, Pool, PoolConfig, ReceiverId};
use demuxbuf::scheduler::{LeaseId, Outcome, Request, Scheduler, SchedulerConfig};

/// How a job gets its buffers: a buffer of the least critical class first, then one of each more critical class.
#[derive(Clone, Copy)]
enum Order {
    /// All are held to the end, then released together.
    HoldAll,
    /// The last one, for the answer, is released first, and only then the buffers of the request.
    AnswerFirst,
}

/// What happens next: a new job begins, or a job takes its next step.
#[derive(Clone, Copy, Debug)]
enum Step {
    Begin,
    Ask(usize),
    Answer(usize),
    Finish(usize),
}

/// A pool and the jobs that use it.
struct Jobs {
    scheduler: Scheduler,
    classes: u8,
    order: Order,
    jobs: Vec<Job>,
    finished: usize,
}

#[derive(Default)]
struct Job {
    held: Vec<LeaseId>,
    waits: bool,
    is_answered: bool,
    is_finished: bool,
}

impl Jobs {
    fn new(buffers: u32, reserves: &[u32], order: Order) -> Jobs {
        let classes = reserves.len() as u8;
        let mut config = SchedulerConfig { classes, ..SchedulerConfig::new(buffers, 16) };
        config.reserves[..reserves.len()].copy_from_slice(reserves);
        Jobs { scheduler: new_scheduler(&config), classes, order, jobs: Vec::new(), finished: 0 }
    }

    /// The steps that may happen now. The grant of a job's buffer is no step, because it follows at once.
    fn steps(&self, jobs_max: usize) -> Vec<Step> {
        let mut steps = Vec::new();
        // Jobs are all alike, so it does not matter which one begins.
        if self.jobs.len() < jobs_max {
            steps.push(Step::Begin);
        }
        for (at, job) in self.jobs.iter().enumerate().filter(|(_, job)| !job.waits && !job.is_finished) {
            steps.push(match (job.held.len() < self.classes.into(), self.order) {
                (true, _) if !job.is_answered => Step::Ask(at),
                (false, Order::AnswerFirst) => Step::Answer(at),
                _ => Step::Finish(at),
            });
        }
        steps
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Begin => {
                self.jobs.push(Job::default());
                self.ask(self.jobs.len() - 1);
            }
            Step::Ask(at) => self.ask(at),
            Step::Answer(at) => {
                self.jobs[at].is_answered = true;
                let answer = self.jobs[at].held.pop().expect("it holds one of each class");
                self.scheduler.release(answer).expect("the lease is held");
            }
            Step::Finish(at) => {
                self.jobs[at].is_finished = true;
                self.finished += 1;
                for lease in std::mem::take(&mut self.jobs[at].held) {
                    self.scheduler.release(lease).expect("the lease is held");
                }
            }
        }
        check(&self.scheduler);
        while let Some(grant) = self.scheduler.poll_grant() {
            let job = &mut self.jobs[grant.token as usize];
            job.held.push(grant.lease);
            job.waits = false;
        }
    }

    fn ask(&mut self, at: usize) {
        let class = self.classes - 1 - self.jobs[at].held.len() as u8;
        match self.scheduler.request_for(&Request::new(class, at as u64)).expect("waits are free") {
            Outcome::Granted(lease) => self.jobs[at].held.push(lease),
            Outcome::Queued(_) => self.jobs[at].waits = true,
        }
    }
}

/// Plays every order of all steps; returns how many orders there are, and how many of them end in a deadlock.
fn explore(jobs_max: usize, new: &dyn Fn() -> Jobs) -> (u64, u64) {
    let (mut orders, mut deadlocks) = (0, 0);
    let mut path: Vec<usize> = Vec::new();
    loop {
        let mut jobs = new();
        let mut choices = Vec::new();
        for depth in 0.. {
            let steps = jobs.steps(jobs_max);
            if steps.is_empty() {
                break;
            }
            let choice = path.get(depth).copied().unwrap_or(0);
            choices.push((choice, steps.len()));
            jobs.take(steps[choice]);
        }
        orders += 1;
        deadlocks += u64::from(jobs.finished < jobs_max);
        // The next order: the last choice that has another one.
        while choices.last().is_some_and(|(choice, of)| choice + 1 == *of) {
            choices.pop();
        }
        let Some((choice, _)) = choices.last_mut() else {
            return (orders, deadlocks);
        };
        *choice += 1;
        path = choices.into_iter().map(|(choice, _)| choice).collect();
    }
}

/// Jobs that need a second buffer finish in every order of their steps if the second one has a reserve.
#[test]
fn s14_jobs_with_two_buffers_finish_in_every_order() {
    for (jobs, buffers) in [(2, 2), (3, 2), (4, 2), (4, 3)] {
        let (orders, deadlocks) = explore(jobs, &|| Jobs::new(buffers, &[0, 1], Order::HoldAll));
        assert_eq!(deadlocks, 0, "{jobs} jobs, {buffers} buffers, {orders} orders");
        let (orders, deadlocks) = explore(jobs, &|| Jobs::new(buffers, &[0, 0], Order::HoldAll));
        assert!(deadlocks > 0, "without the reserve the same {orders} orders have a deadlock");
        println!("{jobs} jobs, {buffers} buffers: {deadlocks} of {orders} orders without a reserve are deadlocks");
    }
    // Three buffers each: each class needs one more in reserve than the next more critical one.
    for (reserves, is_enough) in [([0, 1, 2], true), ([0, 1, 1], false), ([0, 0, 1], false), ([0, 0, 2], true)] {
        let (orders, deadlocks) = explore(3, &|| Jobs::new(3, &reserves, Order::HoldAll));
        println!("reserves {reserves:?}: {deadlocks} of {orders} orders are deadlocks");
        assert_eq!(deadlocks == 0, is_enough, "{reserves:?}");
    }
}

/// Requests that wait for their response do not freeze the proxy in any order of their steps.
#[test]
fn s15_responses_find_a_buffer_in_every_order() {
    for (jobs, buffers) in [(2, 2), (3, 2), (3, 3)] {
        let (_, deadlocks) = explore(jobs, &|| Jobs::new(buffers, &[0, 1], Order::AnswerFirst));
        assert_eq!(deadlocks, 0, "{jobs} jobs, {buffers} buffers");
        let (orders, deadlocks) = explore(jobs, &|| Jobs::new(buffers, &[0, 0], Order::AnswerFirst));
        println!("{jobs} requests, {buffers} buffers: {deadlocks} of {orders} orders without a reserve freeze");
        assert!(deadlocks > 0);
    }
}

/// Receivers of requests, each blocked for want of transmit memory, and one backend with the window updates that free
/// it.
struct Windows {
    pool: Pool,
    ids: Vec<ReceiverId>,
    /// Credit for answers; each takes one, a window update brings one.
    credit: u32,
    served: Vec<bool>,
    /// Bytes on the wire.
    unread: Vec<u32>,
    /// Requests that waited for memory.
    waited: u32,
}

const REQUEST_BYTES: u32 = 500;
const UPDATE_BYTES: u32 = 13;

impl Windows {
    /// The host leaves this many buffers to the receivers.
    fn new(free: u32, requests: usize) -> Windows {
        let config = PoolConfig { buffer_bytes: 512, ..PoolConfig::new(8 * 512, requests as u32 + 1) };
        let mut pool = Pool::new(&config).expect("the configuration is allowed");
        pool.handle_timeout(0);
        while pool.memory().free_buffers() > free {
            assert!(matches!(pool.request(0, 0), Ok(Outcome::Granted(_))));
        }
        let attach = |at| pool.attach(&AttachOptions::new(0, at as u64)).expect("the table has room");
        let ids = (0..=requests).map(attach).collect();
        Windows { pool, ids, credit: 0, served: vec![false; requests + 1], unread: vec![0; requests + 1], waited: 0 }
    }

    /// All bytes of one receiver arrive.
    fn arrive(&mut self, at: usize) {
        self.unread[at] = if at == 0 { UPDATE_BYTES * (self.ids.len() as u32 - 1) } else { REQUEST_BYTES };
        self.settle();
        self.waited += u32::from(self.pool.connection(self.ids[at]).expect("the handle is live").is_waiting());
    }

    fn report(&mut self, at: usize, event: Event) {
        self.pool.handle(self.ids[at], event).expect("it makes sense");
        self.pool.check_invariants().expect("the invariants hold");
    }

    fn has(&self, at: usize, action: Action) -> bool {
        self.pool.pending(self.ids[at]).expect("the handle is live").has(action)
    }

    fn settle(&mut self) {
        loop {
            let before = (self.credit, self.served.clone(), self.unread.clone());
            for at in 0..self.ids.len() {
                if self.unread[at] > 0 {
                    self.report(at, Event::Readable);
                }
                self.act(at);
            }
            while let Some(notice) = self.pool.poll_notice() {
                let Notice::Receiver { token, actions, .. } = notice else { panic!("{notice:?}") };
                assert!(actions.has(Action::Recv), "none is shed: {actions:?}");
                self.act(token as usize);
            }
            if before == (self.credit, self.served.clone(), self.unread.clone()) {
                return;
            }
        }
    }

    /// Whether all requests are served when this many steps of the clock have passed.
    fn is_served_at(&mut self, step: u64) -> bool {
        if step > 0 {
            self.pool.handle_timeout(step * 125_000_000);
            self.settle();
        }
        !self.served[1..].contains(&false)
    }

    fn act(&mut self, at: usize) {
        if self.credit > 0 && at > 0 && !self.served[at] {
            self.report(at, Event::Unblock { reasons: 1 });
        }
        loop {
            if self.has(at, Action::Decode) {
                self.decode(at);
            } else if self.has(at, Action::Recv) && self.unread[at] == 0 {
                self.report(at, Event::WouldBlock);
            } else if self.has(at, Action::Recv) {
                let room = self.pool.receive_area(self.ids[at]).expect("the handle is live").len() as u32;
                let bytes = room.min(self.unread[at]);
                self.unread[at] -= bytes;
                self.report(at, Event::Received { bytes });
            } else {
                return;
            }
        }
    }

    fn decode(&mut self, at: usize) {
        let buffered_bytes = self.pool.data(self.ids[at]).expect("the handle is live").len() as u32;
        let frame = if at == 0 { UPDATE_BYTES } else { REQUEST_BYTES };
        if buffered_bytes < frame {
            self.report(at, Event::NeedMore { bytes: frame - buffered_bytes });
        } else if at == 0 {
            self.credit += 1;
            self.report(at, Event::Consumed { bytes: frame });
        } else if self.credit == 0 {
            self.report(at, Event::Block { reasons: 1 });
        } else {
            self.credit -= 1;
            self.served[at] = true;
            self.report(at, Event::Consumed { bytes: frame });
        }
    }
}

fn permute(items: &mut Vec<usize>, from: usize, see: &mut impl FnMut(&[usize])) {
    if from == items.len() {
        return see(items);
    }
    for at in from..items.len() {
        items.swap(from, at);
        permute(items, from + 1, see);
        items.swap(from, at);
    }
}

/// The frames that free transmit memory are received in every order of arrival, however much blocked requests keep.
#[test]
fn s47_control_frames_get_through_in_every_order() {
    for (free, requests) in [(0, 2), (1, 2), (2, 2), (2, 4), (3, 4), (3, 5)] {
        let (mut orders, mut waited) = (0, 0);
        permute(&mut (0..=requests).collect(), 0, &mut |order| {
            let mut windows = Windows::new(free, requests);
            order.iter().for_each(|&at| windows.arrive(at));
            (orders, waited) = (orders + 1, waited + windows.waited);
            assert_eq!(windows.unread[0], 0, "{order:?}: the updates are received");
            // The last buffer is the reserve; without another one requests are served at their deadlines.
            let steps = (0..20).find(|&step| windows.is_served_at(step));
            assert_eq!(steps.map(|steps| steps > 0), Some(free < 2), "{order:?}: {free} buffers, {requests} requests");
        });
        println!("{free} buffers, {requests} requests: {orders} orders, in which {waited} requests waited");
        assert!(waited > 0, "memory is short");
    }
}
