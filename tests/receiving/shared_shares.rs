//! Tenants of threads that share a pool, at random: once all threads have looked, no claim waits for what a tenant
//! above its share keeps, on whichever thread.

use crate::MS;
use crate::tenants::{BUFFER, attach, drain, flood, tenant};
use demuxbuf::connection::Event;
use demuxbuf::pool::{Pool, PoolConfig, ReceiverId};
use demuxbuf::scheduler::{Request, TenantConfig, TenantId};
use demuxbuf::shared::{PoolShard, SharedPool};

/// How often threads look in turn before all is settled.
const ROUNDS_MAX: u32 = 100;

struct Receiver {
    thread: usize,
    id: ReceiverId,
    /// By its number; the default one is 0.
    tenant: usize,
}

struct Threads {
    pools: Vec<Pool<PoolShard>>,
    shared_pool: SharedPool,
    tenants: Vec<(Option<TenantId>, TenantConfig)>,
    receivers: Vec<Receiver>,
    now_ns: u64,
    random: fastrand::Rng,
    /// What went on another thread than that of the claim.
    asked: u32,
}

impl Threads {
    fn new(seed: u64) -> Threads {
        let mut random = fastrand::Rng::with_seed(seed);
        let threads = random.u32(2..=3);
        let buffers = 8 * threads + random.u32(0..8);
        let config = PoolConfig {
            buffer_bytes: BUFFER,
            tenants_max: 3,
            ..PoolConfig::new(u64::from(buffers) * u64::from(BUFFER), 64)
        };
        let shared_pool = SharedPool::new(&config, threads).expect("the configuration is allowed");
        let mut pools: Vec<_> = (0..threads).map(|at| shared_pool.shard(at).expect("it is free")).collect();
        let mut tenants = vec![(None, TenantConfig::default())];
        for _ in 0..3 {
            let cap = if random.u8(0..4) == 0 { random.u32(1..4) } else { u32::MAX };
            let tenant_config = TenantConfig { weight: random.u32(1..4), guaranteed: random.u32(0..cap.min(3)), cap };
            tenants.push((Some(tenant(&mut pools[0], tenant_config)), tenant_config));
        }
        let mut threads = Threads { pools, shared_pool, tenants, receivers: Vec::new(), now_ns: 0, random, asked: 0 };
        threads.advance(0);
        threads
    }

    fn advance(&mut self, ns: u64) {
        self.now_ns += ns;
        self.pools.iter_mut().for_each(|pool| pool.handle_timeout(self.now_ns));
    }

    fn step(&mut self) {
        match self.random.u8(0..10) {
            0..4 => self.come(),
            4..6 if !self.receivers.is_empty() => {
                let at = self.random.usize(..self.receivers.len());
                let Receiver { thread, id, .. } = self.receivers[at];
                flood(&mut self.pools[thread], id);
            }
            6 if !self.receivers.is_empty() => {
                let at = self.random.usize(..self.receivers.len());
                let Receiver { thread, id, .. } = self.receivers.swap_remove(at);
                self.pools[thread].handle(id, Event::Close).expect("it is attached");
            }
            7 => {
                let thread = self.random.usize(..self.pools.len());
                self.look(thread);
            }
            8 => {
                let thread = self.random.usize(..self.pools.len());
                if let Ok(Some(lease)) = self.pools[thread].try_request(&Request::new(0, 0)) {
                    self.pools[thread].release(lease).expect("it is the host's");
                }
            }
            _ => {
                self.advance(MS);
                self.settle();
            }
        }
    }

    /// Most are of one tenant and on one thread.
    fn come(&mut self) {
        let is_usual = self.random.bool();
        let thread = if is_usual { 0 } else { self.random.usize(..self.pools.len()) };
        let tenant = if is_usual { 1 } else { self.random.usize(..self.tenants.len()) };
        if self.receivers.iter().filter(|receiver| receiver.thread == thread).count() < 64 {
            let id = attach(&mut self.pools[thread], self.tenants[tenant].0);
            flood(&mut self.pools[thread], id);
            self.receivers.push(Receiver { thread, id, tenant });
        }
    }

    /// A thread looks; whether there was anything.
    fn look(&mut self, thread: usize) -> bool {
        let claims = |threads: &Threads| threads.waiting(thread).count();
        let before = claims(self);
        let (granted, shed) = drain(&mut self.pools[thread]);
        self.asked += u32::from(!shed.is_empty() && before == 0);
        self.receivers.retain(|receiver| receiver.thread != thread || !shed.contains(&receiver.id));
        !granted.is_empty() || !shed.is_empty()
    }

    /// Threads look for as long as one has a reason to.
    fn settle(&mut self) {
        let mut awake: Vec<bool> = self.pools.iter().map(|_| true).collect();
        for _ in 0..ROUNDS_MAX {
            let Some(thread) = awake.iter().position(|&is_awake| is_awake) else {
                return self.check();
            };
            awake[thread] = self.look(thread);
            while let Some(woken) = self.pools[thread].poll_wake() {
                awake[woken as usize] = true;
            }
        }
        panic!("threads wake each other without end");
    }

    fn held_bytes(&self, tenant: usize) -> u64 {
        self.pools.iter().map(|pool| pool.memory().kept_bytes(tenant as u32)).sum()
    }

    fn waiting(&self, thread: usize) -> impl Iterator<Item = &Receiver> {
        self.receivers.iter().filter(move |receiver| {
            let pool = &self.pools[thread];
            receiver.thread == thread && pool.connection(receiver.id).expect("it is attached").is_waiting()
        })
    }

    /// Loads are compared as fractions.
    fn load(&self, tenant: usize) -> (u64, u64) {
        (self.held_bytes(tenant), u64::from(self.tenants[tenant].1.weight))
    }

    fn is_less(&self, one: usize, other: usize) -> bool {
        let ((held, weight), (other_held, other_weight)) = (self.load(one), self.load(other));
        held * other_weight < other_held * weight
    }

    fn is_capped(&self, tenant: usize) -> bool {
        self.held_bytes(tenant) >= u64::from(self.tenants[tenant].1.cap) * u64::from(BUFFER)
    }

    /// The tenant whose claim is first on a thread.
    fn first(&self, thread: usize) -> Option<usize> {
        let claims = self.waiting(thread).map(|receiver| receiver.tenant).filter(|&tenant| !self.is_capped(tenant));
        claims.reduce(|first, next| {
            let is_before = self.is_less(next, first) || (!self.is_less(first, next) && next < first);
            if is_before { next } else { first }
        })
    }

    /// The tenant whose content goes first on a thread.
    fn greatest(&self, thread: usize) -> Option<usize> {
        let keeps = (0..self.tenants.len()).filter(|&tenant| {
            let spared = u64::from(self.tenants[tenant].1.guaranteed.max(1)) * u64::from(BUFFER);
            self.pools[thread].memory().kept_bytes(tenant as u32) > 0 && self.held_bytes(tenant) > spared
        });
        keeps.reduce(|greatest, next| if self.is_less(greatest, next) { next } else { greatest })
    }

    /// The cell that a claim needs has at most the bytes of a buffer.
    fn check(&self) {
        let kept_bytes = |tenant| self.held_bytes(tenant as usize);
        self.shared_pool.check_tenants(kept_bytes).expect("the counts add up");
        for thread in 0..self.pools.len() {
            let Some(claimant) = self.first(thread) else { continue };
            for other in 0..self.pools.len() {
                let Some(greatest) = self.greatest(other).filter(|&greatest| greatest != claimant) else { continue };
                let ((held, weight), (own, own_weight)) = (self.load(greatest), self.load(claimant));
                let is_fair = held * own_weight <= 2 * (own + u64::from(BUFFER)) * weight;
                assert!(
                    is_fair,
                    "a claim of tenant {claimant} waits on thread {thread}, and tenant {greatest} keeps on {other}"
                );
            }
        }
    }
}

#[test]
fn no_claim_waits_beside_a_tenant_above_its_share() {
    let mut asked = 0;
    for seed in 0..300 {
        let mut threads = Threads::new(seed);
        for _ in 0..200 {
            threads.step();
        }
        threads.advance(MS);
        threads.settle();
        asked += threads.asked;
    }
    assert!(asked > 20, "content went for claims of other threads {asked} times");
}
