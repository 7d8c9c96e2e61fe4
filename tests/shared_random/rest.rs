//! What must hold, when the threads come to rest, and in the end.

use super::{Client, Threads};
use demuxbuf::connection::Event;
use demuxbuf::pool::Pool;
use demuxbuf::scheduler::SchedulerError;
use demuxbuf_testkit::EventLoop;

impl Threads {
    /// Before a thread sleeps, it picks up what there is, and signals others.
    pub(super) fn settle(&mut self, shard: usize) {
        self.here = shard;
        self.drain_notices();
        while let Some(named) = self.pools[shard].poll_wake() {
            self.is_named[named as usize] = true;
        }
    }

    pub(super) fn check(&self) {
        let kept_bytes = |tenant| self.pools.iter().map(|pool| pool.memory().kept_bytes(tenant)).sum();
        self.shared_pool.check_tenants(kept_bytes).expect("the shared pool is in order");
        for (tenant, cap) in self.caps.iter().filter(|(_, cap)| *cap != u32::MAX) {
            // It is unknown once it is gone.
            let held = self.pools[0].describe_tenant(*tenant).map_or(0, |info| info.outstanding_units);
            let borrows_max = 2 * self.pools.len() as u32;
            assert!(held <= cap + borrows_max, "{held} held, and the cap is {cap}");
        }
        for pool in &self.pools {
            pool.check_invariants().expect("the pool of a thread is in order");
            let (totals, bound_ns) = (pool.totals(), self.config.wait_ns_max());
            assert!(totals.longest_claim_ns <= bound_ns, "{} ns", totals.longest_claim_ns);
        }
    }

    /// What was granted, tried and evicted on all threads.
    pub(super) fn progress(&self) -> (u64, u64) {
        let totals = self.pools.iter().map(Pool::totals);
        let of_receivers = totals.map(|totals| totals.grants + totals.trials + totals.evicted).sum();
        (of_receivers, self.shared_pool.stats().scheduler.granted_by_handoff)
    }

    /// All threads that were signalled look. Then no thread has anything to pick up, and no buffer is free that some
    /// receiver waits for.
    pub(super) fn rest(&mut self) {
        while let Some(shard) = self.is_named.iter().position(|&is_named| is_named) {
            self.is_named[shard] = false;
            self.settle(shard);
            self.check();
        }
        // What other threads changed of tenants, be it in this loop, each sees when its clock advances, and is not
        // signalled.
        let mut before = None;
        while self.config.tenants_max > 0 && before != Some(self.progress()) {
            before = Some(self.progress());
            for shard in 0..self.pools.len() {
                self.pools[shard].handle_timeout(self.now_ns[shard]);
                self.settle(shard);
            }
        }
        let free = self.shared_pool.stats().scheduler.free;
        for shard in 0..self.pools.len() {
            let pool = &self.pools[shard];
            let split = pool.memory().split();
            let is_waiting = |client: &&Client| {
                client.shard == shard && pool.connection(client.id).is_ok_and(|connection| connection.is_waiting())
            };
            let waits = self.clients.iter().filter(is_waiting).filter(|client| !self.is_capped(client.tenant)).count();
            let reserve = self.config.reserves[1] + split.reserve;
            let is_capped = self.config.class_caps[1] <= split.buffers;
            assert!(is_capped || waits == 0 || free <= reserve, "{free} free, and {waits} wait on thread {shard}");
            let notice = self.pools[shard].poll_notice();
            assert_eq!(notice, None, "thread {shard} was not signalled");
            assert_eq!(self.pools[shard].poll_wake(), None);
        }
    }

    /// All peers send the rest of their frames, and all are served.
    pub(super) fn end(&mut self) {
        self.is_ending = true;
        self.leases.drain(..).for_each(|(shard, lease)| self.pools[shard].release(lease).expect("it is the host's"));
        for at in 0..self.clients.len() {
            if self.clients[at].is_blocked {
                self.block(at);
            }
            let client = &mut self.clients[at];
            let rest = std::mem::take(&mut client.rest);
            client.socket.send(&rest);
        }
        for _ in 0..1_000 {
            for shard in 0..self.pools.len() {
                self.tick(shard);
                for at in 0..self.clients.len() {
                    if self.clients[at].shard == shard {
                        self.here = shard;
                        self.serve_socket(at);
                    }
                }
                self.settle(shard);
                while !self.leases.is_empty() {
                    self.release();
                }
            }
            self.check();
        }
        let left: Vec<_> = self.clients.iter().map(|client| client.socket.undecoded()).collect();
        let stuck = left.iter().position(|&bytes| bytes > 0);
        if let Some(at) = stuck {
            let (id, socket) = (self.clients[at].id, format!("{:?}", self.clients[at].socket));
            let pool = self.pool(at);
            panic!("{left:?} are left: {at}, {:?}, {:?}, {socket}", pool.pending(id), pool.describe(id));
        }
        assert!(self.waits.is_empty(), "{} requests still wait", self.waits.len());
        self.rest();
        let stats = self.shared_pool.stats();
        let (shards, header_buffers) = (self.pools.len() as u32, self.pools[0].memory().split().header_buffers);
        assert!(stats.scheduler.leased <= shards * (2 + header_buffers), "no thread has more than it needs: {stats:?}");
        assert_eq!(stats.scheduler.waiting, 0);
        for tenant in std::mem::take(&mut self.tenants) {
            self.pools[0].remove_tenant(tenant).expect("it is known");
        }
        for at in 0..self.clients.len() {
            let id = self.clients[at].id;
            self.pool(at).handle(id, Event::Close).expect("it is attached");
        }
        for &(tenant, _) in &self.caps {
            let gone = Err(SchedulerError::StaleTenant.into());
            assert_eq!(self.pools[0].describe_tenant(tenant), gone, "a tenant is left without anything in it");
        }
        self.check();
    }
}
