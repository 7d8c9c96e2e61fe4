//! The pool of the host: that of a thread, of a shared pool. What the host takes beside its receivers is taken, and
//! released, by the same thread or by another.

use demuxbuf::connection::{Action, Event};
use demuxbuf::pool::{AttachOptions, Finding, Notice, Pool, PoolConfig, PoolError};
use demuxbuf::scheduler::{Grant, LeaseId, Outcome, Request, SchedulerConfig, SchedulerError, SchedulerStats};
use demuxbuf::scheduler::{WaitId, WaitInfo};
use demuxbuf::shared::{PoolShard, SchedulerShard, SharedPool, SharedScheduler, SharedSchedulerError};
use demuxbuf_capi::*;
use std::cell::Cell;
use std::collections::BTreeSet;
use std::ops::{Deref, DerefMut};
use std::thread;

/// What its receive leaves has a place there, whatever others take.
pub(crate) const HAS_SPARE: bool = true;

/// Buffers more where there is another thread.
const BUFFERS_OF_ANOTHER: u64 = 8;

thread_local! {
    /// Whether the pools of this test have another thread, which takes what the host takes.
    static HAS_ANOTHER: Cell<bool> = const { Cell::new(false) };
}

/// Runs a scenario once for each thread that may release what the host has.
pub(crate) fn wherever_released(scenario: impl Fn()) {
    for has_another in [false, true] {
        HAS_ANOTHER.set(has_another);
        println!("released {}", if has_another { "by another thread" } else { "here" });
        scenario();
    }
    HAS_ANOTHER.set(false);
}

/// The pool of a thread, and what it is of: attaching ends with that.
pub(crate) struct HostPool {
    pool: Pool<PoolShard>,
    another: Option<Another>,
    shared_pool: SharedPool,
    /// What the last class of requests has to leave free.
    reserve: u32,
    has_spare: bool,
    /// The thread was signalled, or made a call since it found nothing to pick up.
    has_reason: bool,
}

/// Another thread, which sleeps but to take and to release buffers.
struct Another {
    pool: Pool<PoolShard>,
    leases: BTreeSet<LeaseId>,
}

pub(crate) fn new_pool(config: &PoolConfig) -> HostPool {
    // One more, which may have the spare.
    let config = PoolConfig { receivers_max: config.receivers_max + 1, ..*config };
    let alone = HostPool::new(&config, 1);
    if !HAS_ANOTHER.get() {
        return alone;
    }
    let memory_bytes = config.memory_bytes + BUFFERS_OF_ANOTHER * u64::from(config.buffer_bytes);
    let mut pool = HostPool::new(&PoolConfig { memory_bytes, ..config }, 2);
    let another = pool.shared_pool.shard(1).expect("it is free");
    pool.another = Some(Another { pool: another, leases: BTreeSet::new() });
    while free_buffers(&pool) > free_buffers(&alone) {
        take_buffer(&mut pool, 0);
    }
    pool
}

impl HostPool {
    fn new(config: &PoolConfig, shards: u32) -> HostPool {
        let shared_pool = SharedPool::new(config, shards).expect("the configuration is allowed");
        let pool = shared_pool.shard(0).expect("it is free");
        let reserve = config.reserves[usize::from(config.classes) - 1];
        HostPool { pool, another: None, shared_pool, reserve, has_spare: true, has_reason: true }
    }

    /// Does something on the other thread, which signals this one, if need be, and sleeps.
    fn elsewhere<T: Send>(&mut self, call: impl FnOnce(&mut Another) -> T + Send) -> T {
        let another = self.another.as_mut().expect("it has its leases");
        let work = || {
            let done = call(another);
            (done, std::iter::from_fn(|| another.pool.poll_wake()).any(|named| named == 0))
        };
        let (done, is_named) = thread::scope(|scope| scope.spawn(work).join()).expect("it does not panic");
        self.has_reason |= is_named;
        done
    }

    pub(crate) fn release(&mut self, lease: LeaseId) -> Result<(), PoolError> {
        match self.another.as_mut().is_some_and(|another| another.leases.remove(&lease)) {
            true => self.elsewhere(|another| another.pool.release(lease)),
            false => DerefMut::deref_mut(self).release(lease),
        }
    }

    /// As of any thread: it looks if it has a reason to.
    pub(crate) fn poll_notice(&mut self) -> Option<Notice> {
        let notice = self.pool.poll_notice();
        assert!(notice.is_none() || self.has_reason, "it has something to pick up, and was not signalled");
        self.has_reason &= notice.is_some();
        notice
    }

    /// After which it sleeps.
    pub(crate) fn poll_audit(&mut self, now_ns: u64) -> Result<Option<Finding>, PoolError> {
        self.pool.poll_audit(now_ns)
    }

    pub(crate) fn check_invariants(&self) -> Result<(), &'static str> {
        self.pool.check_invariants()?;
        self.another.as_ref().map_or(Ok(()), |another| another.pool.check_invariants())?;
        self.shared_pool.check_invariants()
    }
}

impl Deref for HostPool {
    type Target = Pool<PoolShard>;

    fn deref(&self) -> &Pool<PoolShard> {
        &self.pool
    }
}

impl DerefMut for HostPool {
    fn deref_mut(&mut self) -> &mut Pool<PoolShard> {
        self.has_reason = true;
        &mut self.pool
    }
}

/// Buffers that the host can have in any class: all that are free, but for one for each thread that has its spare
/// still.
pub(crate) fn free_buffers(pool: &HostPool) -> u32 {
    let ready = |pool: &Pool<PoolShard>| u32::from(pool.memory().free_buffers() > 0);
    let another = pool.another.as_ref().map_or(0, |another| ready(&another.pool));
    let free = pool.shared_pool.stats().scheduler.free + ready(&pool.pool) + another;
    free.saturating_sub(u32::from(pool.has_spare) + u32::from(pool.another.is_some()) + pool.reserve)
}

/// The host takes a buffer, on the other thread if there is one.
pub(crate) fn take_buffer(pool: &mut HostPool, class: u8) -> LeaseId {
    let request = Request::new(class, u64::MAX);
    let lease = if pool.another.is_some() {
        pool.elsewhere(|another| {
            let lease = another.pool.try_request(&request);
            another.leases.extend(lease.iter().flatten());
            lease
        })
    } else {
        pool.try_request(&request)
    };
    lease.expect("the class exists").expect("the class can take every buffer")
}

/// Takes what receivers have left once the host has all that it can have: one that the host blocks keeps the spare.
pub(crate) fn take_spare(pool: &mut HostPool) {
    if !std::mem::take(&mut pool.has_spare) {
        return;
    }
    let bytes = vec![0; spare_bytes(pool)];
    let id = pool.attach_with(&AttachOptions::new(0, u64::MAX), &bytes).expect("the spare is there");
    pool.handle(id, Event::Block { reasons: 1 }).expect("it is attached");
    let actions = pool.handle(id, Event::PauseRecv).expect("it is attached");
    let notices = actions.intersection(Action::WantRecv | Action::StopRecv);
    assert_eq!(actions, notices, "it is at rest then");
    if !notices.is_empty() {
        pool.handle(id, Event::Done(notices)).expect("they are pending");
    }
}

/// Receivers that keep bytes in it, and how many.
pub(crate) fn kept_in_spare(pool: &HostPool) -> (u32, u64) {
    if pool.has_spare { (0, 0) } else { (1, spare_bytes(pool) as u64) }
}

/// As many as nothing less than a whole buffer holds.
fn spare_bytes(pool: &HostPool) -> usize {
    pool.memory().split().buffer_bytes as usize * 3 / 4
}

/// A scheduler of two threads: requests are one thread's, and the other one releases.
pub(crate) struct HostScheduler {
    here: SchedulerShard,
    there: SchedulerShard,
    shared: SharedScheduler,
    has_reason: bool,
}

pub(crate) fn new_scheduler(config: &SchedulerConfig) -> HostScheduler {
    let shared = SharedScheduler::new(config, 2).expect("the configuration is allowed");
    let [here, there] = [0, 1].map(|index| shared.shard(index).expect("it is free"));
    HostScheduler { here, there, shared, has_reason: true }
}

impl HostScheduler {
    pub(crate) fn request(&mut self, class: u8, token: u64) -> Result<Outcome, SchedulerError> {
        self.has_reason = true;
        self.here.request(class, token).map_err(cause)
    }

    pub(crate) fn release(&mut self, lease: LeaseId) -> Result<(), SchedulerError> {
        let there = &mut self.there;
        let work = move || (there.release(lease), std::iter::from_fn(|| there.poll_wake()).any(|named| named == 0));
        let (outcome, is_named) = thread::scope(|scope| scope.spawn(work).join()).expect("it does not panic");
        self.has_reason |= is_named;
        outcome.map_err(cause)
    }

    pub(crate) fn cancel(&mut self, wait: WaitId) -> Result<(), SchedulerError> {
        self.has_reason = true;
        self.here.cancel(wait).map_err(cause)
    }

    pub(crate) fn poll_grant(&mut self) -> Option<Grant> {
        let grant = self.here.poll_grant();
        assert!(grant.is_none() || self.has_reason, "it has something to pick up, and was not signalled");
        self.has_reason &= grant.is_some();
        grant
    }

    pub(crate) fn describe_wait(&self, wait: WaitId) -> Result<WaitInfo, SchedulerError> {
        self.here.describe_wait(wait).map_err(cause)
    }

    pub(crate) fn handle_timeout(&mut self, now_ns: u64) {
        self.here.handle_timeout(now_ns);
    }

    pub(crate) fn stats(&self) -> SchedulerStats {
        self.shared.stats().scheduler
    }

    pub(crate) fn check_invariants(&self) -> Result<(), &'static str> {
        self.shared.check_invariants()
    }
}

fn cause(error: SharedSchedulerError) -> SchedulerError {
    match error {
        SharedSchedulerError::Scheduler(error) => error,
        other => panic!("{other}"),
    }
}

/// What a pool of C belongs to.
pub(crate) struct CParent(*mut demuxbuf_shared_pool);

#[allow(unsafe_code, reason = "the C functions are unsafe to call")]
pub(crate) fn new_c_pool(config: &demuxbuf_pool_config) -> (*mut demuxbuf_pool, CParent) {
    let (mut shared_pool, mut pool) = (std::ptr::null_mut(), std::ptr::null_mut());
    // SAFETY: the configuration is a live struct that says its size, and the outputs are live locals.
    unsafe {
        let no_text = (std::ptr::null_mut(), std::ptr::null_mut());
        assert_eq!(demuxbuf_shared_pool_new(config, 1, &mut shared_pool, no_text.0, no_text.1), DEMUXBUF_OK);
        assert_eq!(demuxbuf_shared_pool_shard(shared_pool, 0, &mut pool), DEMUXBUF_OK);
    }
    (pool, CParent(shared_pool))
}

impl Drop for CParent {
    #[allow(unsafe_code, reason = "the C functions are unsafe to call")]
    fn drop(&mut self) {
        // SAFETY: made in `new_c_pool`, and freed once.
        unsafe { demuxbuf_shared_pool_free(self.0) };
    }
}
