//! Tenants of a shared pool while threads run and their pools come and go: each keeps, requests, moves and closes in
//! the name of tenants that all of them create and remove.
#![allow(clippy::disallowed_methods, reason = "a test may start threads")]

use demuxbuf::connection::{Action, Event};
use demuxbuf::pool::{AttachOptions, Notice, Pool, PoolConfig, PoolError, ReceiverId};
use demuxbuf::scheduler::{LeaseId, Outcome, Request, SchedulerError, TenantConfig, TenantId};
use demuxbuf::shared::{ExportedReceiver, PoolShard, SharedPool};
use fastrand::Rng;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

const THREADS: u32 = 3;
const BUFFER: u32 = 256;
const CAP: u32 = 5;
const MS: u64 = 1_000_000;
/// Pools that a thread has, one after the other, and what it does with each.
const POOLS: u32 = if cfg!(miri) { 2 } else { 20 };
const STEPS: u32 = if cfg!(miri) { 30 } else { 1_000 };

/// What the threads share.
#[derive(Default)]
struct Common {
    /// Tenants that were not removed, by one list, so that each is removed once.
    tenants: Mutex<Vec<TenantId>>,
    moving: Mutex<Vec<ExportedReceiver>>,
}

struct One<'a> {
    common: &'a Common,
    pool: Pool<PoolShard>,
    /// Has a cap, and is never removed.
    capped: TenantId,
    rng: Rng,
    receivers: Vec<ReceiverId>,
    leases: Vec<LeaseId>,
    now_ns: u64,
    /// How often a call met a tenant that another thread had removed.
    stale: u32,
    /// The most that the tenant with a cap was seen to hold.
    held_peak: u32,
}

impl One<'_> {
    fn any_tenant(&mut self) -> Option<TenantId> {
        let tenants = self.common.tenants.lock().expect("no thread panics");
        match self.rng.u8(0..4) {
            0 => None,
            1 if !tenants.is_empty() => Some(tenants[self.rng.usize(..tenants.len())]),
            _ => Some(self.capped),
        }
    }

    fn is_stale<T>(&mut self, outcome: &Result<T, PoolError>) -> bool {
        let is_stale = matches!(outcome, Err(PoolError::Scheduler(SchedulerError::StaleTenant)));
        self.stale += u32::from(is_stale);
        is_stale
    }

    /// A receiver keeps a part of a frame, of which the rest never comes.
    fn keep(&mut self) {
        let tenant = self.any_tenant();
        let attached = self.pool.attach(&AttachOptions { tenant, ..AttachOptions::new(0, 0) });
        match attached {
            Ok(id) => {
                self.receivers.push(id);
                let bytes = self.rng.u32(1..BUFFER);
                self.receive(id, bytes);
            }
            Err(PoolError::ReceiversFull { .. }) => self.close(),
            other => assert!(self.is_stale(&other), "{other:?}"),
        }
    }

    fn receive(&mut self, id: ReceiverId, bytes: u32) {
        let actions = self.pool.handle(id, Event::Readable).expect("it is attached");
        if actions.has(Action::Recv) {
            let area = self.pool.receive_area(id).expect("it is attached");
            let bytes = bytes.min(area.len() as u32);
            area[..bytes as usize].fill(7);
            self.pool.handle(id, Event::Received { bytes }).expect("there is room");
            let needed = BUFFER - self.pool.connection(id).expect("it is attached").buffered_bytes();
            self.pool.decoded(id, 0, needed.max(1)).expect("it is attached");
        }
    }

    fn close(&mut self) {
        if !self.receivers.is_empty() {
            let id = self.receivers.swap_remove(self.rng.usize(..self.receivers.len()));
            self.pool.handle(id, Event::Close).expect("it is attached");
        }
    }

    fn request(&mut self) {
        let tenant = self.any_tenant();
        match self.pool.request_for(&Request { tenant, ..Request::new(0, 1) }) {
            Ok(Outcome::Granted(lease)) => self.leases.push(lease),
            Ok(Outcome::Queued(_)) | Err(PoolError::Scheduler(SchedulerError::WaitersFull { .. })) => {}
            other => assert!(self.is_stale(&other), "{other:?}"),
        }
    }

    fn release(&mut self) {
        if !self.leases.is_empty() {
            let lease = self.leases.swap_remove(self.rng.usize(..self.leases.len()));
            self.pool.release(lease).expect("it is the host's");
        }
    }

    /// The content of a receiver leaves with a buffer in the name of its tenant.
    fn take(&mut self) {
        if !self.receivers.is_empty() {
            let id = self.receivers[self.rng.usize(..self.receivers.len())];
            match self.pool.take(id) {
                Ok(content) => self.leases.push(content.lease),
                Err(error) => assert!(matches!(error, PoolError::NoBuffer | PoolError::NoBufferFree), "{error}"),
            }
        }
    }

    fn exchange_tenants(&mut self) {
        let removed = {
            let mut tenants = self.common.tenants.lock().expect("no thread panics");
            if tenants.len() >= 3 { Some(tenants.swap_remove(0)) } else { None }
        };
        if let Some(tenant) = removed {
            self.pool.remove_tenant(tenant).expect("only this thread removes it");
            assert_eq!(self.pool.remove_tenant(tenant), Err(SchedulerError::StaleTenant.into()));
        }
        let guaranteed = self.rng.u32(0..2);
        match self.pool.create_tenant(&TenantConfig { guaranteed, ..TenantConfig::default() }) {
            Ok(tenant) => self.common.tenants.lock().expect("no thread panics").push(tenant),
            Err(PoolError::Scheduler(SchedulerError::TenantsFull { .. })) => {}
            Err(error) => panic!("{error}"),
        }
    }

    fn migrate(&mut self) {
        if self.receivers.is_empty() {
            return;
        }
        let at = self.rng.usize(..self.receivers.len());
        match self.pool.export(self.receivers[at]) {
            Ok(exported) => {
                self.receivers.swap_remove(at);
                self.common.moving.lock().expect("no thread panics").push(exported);
            }
            Err(PoolError::NotMovable | PoolError::NoBufferFree | PoolError::ExportsFull) => {}
            Err(error) => panic!("{error}"),
        }
    }

    fn import(&mut self) {
        let Some(mut exported) = self.common.moving.lock().expect("no thread panics").pop() else {
            return;
        };
        match self.pool.import(&mut exported) {
            Ok(id) => {
                self.receivers.push(id);
                let needed = BUFFER - self.pool.connection(id).expect("it is attached").buffered_bytes();
                if needed < BUFFER {
                    self.pool.decoded(id, 0, needed.max(1)).expect("it is attached");
                }
            }
            Err(error) => {
                let may_be = matches!(error, PoolError::NoBufferFree | PoolError::ReceiversFull { .. });
                assert!(may_be, "{error}");
                self.common.moving.lock().expect("no thread panics").push(exported);
            }
        }
    }

    fn tick(&mut self) {
        self.now_ns += 20 * MS;
        self.pool.handle_timeout(self.now_ns);
        while let Some(notice) = self.pool.poll_notice() {
            match notice {
                Notice::Lease { lease, .. } => self.leases.push(lease),
                Notice::Receiver { id, actions, .. } if actions.has(Action::Shed) => {
                    self.receivers.retain(|&of| of != id);
                    self.pool.handle(id, Event::Close).expect("it is attached");
                }
                Notice::Receiver { id, .. } => {
                    self.pool.handle(id, Event::WouldBlock).expect("it may receive");
                }
                notice => panic!("{notice:?}"),
            }
        }
        // A report may have shed it, and its notice is the answer.
        self.receivers.retain(|&id| {
            let is_shed = self.pool.pending(id).expect("it is attached").has(Action::Shed);
            if is_shed {
                self.pool.handle(id, Event::Close).expect("it is attached");
            }
            !is_shed
        });
        while self.pool.poll_wake().is_some() {}
        let held = self.pool.describe_tenant(self.capped).expect("it is there").outstanding_units;
        // What each thread borrows may end above the cap, and the count is rounded up.
        assert!(held <= CAP + THREADS, "{held} held, and the cap is {CAP}");
        self.held_peak = self.held_peak.max(held);
    }

    fn step(&mut self) {
        match self.rng.u8(0..20) {
            0..6 => self.keep(),
            6..9 => self.close(),
            9..11 => self.request(),
            11..14 => self.release(),
            14 => self.take(),
            15 => self.exchange_tenants(),
            16 => self.migrate(),
            17 | 18 => self.import(),
            _ => self.tick(),
        }
    }
}

#[test]
fn tenants_of_threads_add_up() {
    let config = PoolConfig { buffer_bytes: BUFFER, tenants_max: 8, waiters_max: 4, ..PoolConfig::new(40 * 256, 24) };
    let shared_pool = SharedPool::new(&config, THREADS).expect("the configuration is allowed");
    let capped =
        shared_pool.shard(0).expect("it is free").create_tenant(&TenantConfig { cap: CAP, ..TenantConfig::default() });
    let (capped, common) = (capped.expect("there is room"), Common::default());
    let mut all: Vec<One> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|index| {
                let (shared_pool, common) = (&shared_pool, &common);
                scope.spawn(move || {
                    let pool = || shared_pool.shard(index).expect("it is free");
                    let rng = Rng::with_seed(index.into());
                    let (receivers, leases) = (Vec::new(), Vec::new());
                    let mut one =
                        One { common, pool: pool(), capped, rng, receivers, leases, now_ns: 0, stale: 0, held_peak: 0 };
                    (0..STEPS).for_each(|_| one.step());
                    for _ in 1..POOLS {
                        // Its receivers end with the pool. Leases in the names of tenants are left to the next.
                        let One { common, pool: ended, rng, leases, now_ns, stale, held_peak, .. } = one;
                        drop(ended);
                        let receivers = Vec::new();
                        one = One { common, pool: pool(), capped, rng, receivers, leases, now_ns, stale, held_peak };
                        (0..STEPS).for_each(|_| one.step());
                    }
                    one
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("it ends")).collect()
    });
    let held_peak = all.iter().map(|one| one.held_peak).max();
    assert!(cfg!(miri) || held_peak >= Some(CAP), "the cap was never reached: {held_peak:?}");
    // What moves is no thread's.
    while !common.moving.lock().expect("no thread panics").is_empty() {
        all.iter_mut().for_each(One::import);
        all.iter_mut().for_each(One::tick);
        all.iter_mut().for_each(One::close);
    }
    let kept_bytes = |tenant| all.iter().map(|one| one.pool.memory().kept_bytes(tenant)).sum();
    shared_pool.check_tenants(kept_bytes).expect("the counts of all threads add up");
    all.iter().for_each(|one| one.pool.check_invariants().expect("its own part is in order"));
    for tenant in std::mem::take(&mut *common.tenants.lock().expect("no thread panics")) {
        all[0].pool.remove_tenant(tenant).expect("it is known");
    }
    let has_any = |one: &One| !(one.receivers.is_empty() && one.leases.is_empty());
    let wait = || shared_pool.stats().scheduler.waiting + shared_pool.stats().scheduler.assigned;
    while all.iter().any(has_any) || wait() > 0 {
        for one in &mut all {
            one.tick();
            for id in std::mem::take(&mut one.receivers) {
                one.pool.handle(id, Event::Close).expect("it is attached");
            }
            one.leases.drain(..).for_each(|lease| one.pool.release(lease).expect("it is the host's"));
            one.tick();
            one.import();
        }
    }
    shared_pool.check_tenants(|_| 0).expect("nothing is kept");
    let info = all[1].pool.describe_tenant(capped).expect("it was not removed");
    assert_eq!((info.outstanding_units, info.waiting), (0, 0));
    all[2].pool.remove_tenant(capped).expect("it is known");
    // All places are free again.
    let fresh: Vec<_> = (0..8).map(|_| all[0].pool.create_tenant(&TenantConfig::default())).collect();
    assert!(fresh.iter().all(Result::is_ok), "{fresh:?}");
    println!("{} calls met a tenant that another thread had removed", all.iter().map(|one| one.stale).sum::<u32>());
}

/// Whether a tenant may have a buffer is looked at once: what another thread keeps meanwhile makes no difference any
/// more.
#[test]
fn try_request_is_decided_by_one_look() {
    const TRIES: u32 = if cfg!(miri) { 20 } else { 100_000 };
    let memory_bytes = u64::from(16 * BUFFER);
    let config = PoolConfig { buffer_bytes: BUFFER, tenants_max: 1, ..PoolConfig::new(memory_bytes, 2) };
    let shared_pool = SharedPool::new(&config, 2).expect("the configuration is allowed");
    let mut pool = shared_pool.shard(0).expect("it is free");
    let tenant = pool.create_tenant(&TenantConfig { cap: 1, ..TenantConfig::default() }).expect("there is room");
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut pool = shared_pool.shard(1).expect("it is free");
            let options = AttachOptions { tenant: Some(tenant), ..AttachOptions::new(0, 0) };
            let id = pool.attach(&options).expect("there is room");
            while !is_over.load(Ordering::Relaxed) {
                pool.handle(id, Event::Readable).expect("it is attached");
                let room = pool.receive_area(id).expect("it is attached").len() as u32;
                if room == 0 {
                    pool.handle_timeout(0);
                    continue;
                }
                // A part of a frame, in a cell above 64 bytes where its tenant may have one; or the rest of it.
                let buffered_bytes = pool.connection(id).expect("it is attached").buffered_bytes();
                let bytes = if buffered_bytes < 200 { room.min(200 - buffered_bytes) } else { room.min(BUFFER - 200) };
                pool.handle(id, Event::Received { bytes }).expect("there is room");
                let bytes = buffered_bytes + bytes;
                let (consumed, needed) = if bytes > 200 { (bytes, 0) } else { (0, BUFFER - bytes) };
                pool.decoded(id, consumed, needed).expect("it is attached");
            }
        });
        let request = Request { tenant: Some(tenant), ..Request::new(0, 1) };
        for _ in 0..TRIES {
            if let Some(lease) = pool.try_request(&request).expect("the tenant may have one") {
                pool.release(lease).expect("it is the host's");
            }
        }
        is_over.store(true, Ordering::Relaxed);
    });
}
