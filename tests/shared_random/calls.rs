//! What is done at random.

use super::{BUFFER_BYTES, CONNECTIONS, Client, HEADER_BYTES, STEP_NS, Threads, WAITS, length, whole_frames};
use demuxbuf::connection::{Action, Event, Mode, Policy};
use demuxbuf::pool::{AttachOptions, LeasedContent, Pool, PoolConfig, PoolError};
use demuxbuf::scheduler::{Outcome, Request, SchedulerError, TenantConfig, TenantId};
use demuxbuf::shared::{PoolShard, SharedPool};
use demuxbuf_testkit::{EventLoop, Rng, Socket};

fn frame(rng: &mut Rng) -> Vec<u8> {
    let largest = BUFFER_BYTES as usize - HEADER_BYTES;
    let bytes = [rng.usize(0..30), rng.usize(0..=largest), largest][rng.usize(0..3)];
    (bytes as u16).to_be_bytes().into_iter().chain((0..bytes).map(|_| rng.u8(..))).collect()
}

impl Threads {
    pub(super) fn new(mode: Mode, seed: u64) -> Threads {
        let mut rng = Rng::with_seed(seed);
        let shards = rng.usize(2..5);
        let buffers = shards as u64 * 8 + rng.u64(0..12);
        let mut config = PoolConfig {
            buffer_bytes: BUFFER_BYTES,
            policy: Policy { mode, ..Policy::default() },
            classes: 2,
            waiters_max: 6,
            wipe: rng.u8(0..4) == 0,
            ..PoolConfig::new(buffers * u64::from(BUFFER_BYTES), CONNECTIONS as u32 + 4)
        };
        config.reserves[1] = rng.u32(0..3);
        if rng.u8(0..4) == 0 {
            config.class_caps[1] = buffers as u32 - rng.u32(0..2);
        }
        config.tenants_max = if rng.u8(0..3) == 0 { 0 } else { rng.u32(1..5) };
        let shared_pool = SharedPool::new(&config, shards as u32).expect("the configuration is allowed");
        let pools = (0..shards).map(|shard| shared_pool.shard(shard as u32).expect("it is free")).collect();
        let mut threads = Threads {
            shared_pool,
            config,
            pools,
            mode,
            rng,
            clients: Vec::new(),
            here: 0,
            is_named: vec![false; shards],
            tenants: Vec::new(),
            caps: Vec::new(),
            leases: Vec::new(),
            waits: Vec::new(),
            now_ns: vec![0; shards],
            tokens: WAITS,
            shed: [0; 2],
            moved: 0,
            ended: [0; 4],
            is_ending: false,
        };
        for _ in 0..config.tenants_max {
            threads.exchange_tenants();
        }
        for at in 0..CONNECTIONS {
            let client = threads.connect(at);
            threads.clients.push(client);
            threads.run(at);
        }
        threads
    }

    /// A new connection of the thread that runs now.
    pub(super) fn connect(&mut self, at: usize) -> Client {
        let is_honest = at % 3 == 0;
        let tenant = self.any_tenant();
        let options = AttachOptions { tenant, ..AttachOptions::new(self.rng.u8(0..2), at as u64) };
        let id = self.pools[self.here].attach(&options).expect("there is room");
        // What is short is the peer's fault, not the transport's.
        let socket = match is_honest {
            true => Socket::new(self.mode, &[]),
            false => Socket::random(self.mode, &[], self.rng.fork()),
        };
        let (rest, is_blocked) = (Vec::new(), false);
        Client { shard: self.here, id, socket, is_honest, rest, is_blocked, was_blocked: false, tenant }
    }

    /// One of the tenants, or the default one.
    pub(super) fn any_tenant(&mut self) -> Option<TenantId> {
        let at = self.rng.usize(..=self.tenants.len());
        self.tenants.get(at).copied()
    }

    /// A tenant is created on the thread that runs now, or removed there if there are as many as can be.
    pub(super) fn exchange_tenants(&mut self) {
        let buffers = self.pools[0].memory().split().buffers;
        let cap = if self.rng.bool() { u32::MAX } else { self.rng.u32(1..buffers) };
        let guaranteed = if self.rng.bool() { 0 } else { self.rng.u32(0..=3).min(cap) };
        let tenant_config = TenantConfig { weight: self.rng.u32(1..4), guaranteed, cap };
        match self.pools[self.here].create_tenant(&tenant_config) {
            Ok(tenant) => {
                self.tenants.push(tenant);
                self.caps.push((tenant, cap));
            }
            // Also if some that were removed are in use still.
            Err(PoolError::Scheduler(SchedulerError::TenantsFull { .. })) if !self.tenants.is_empty() => {
                let removed = self.tenants.swap_remove(self.rng.usize(..self.tenants.len()));
                self.pools[self.here].remove_tenant(removed).expect("it is known");
                let again = self.pools[self.here].remove_tenant(removed);
                assert_eq!(again, Err(SchedulerError::StaleTenant.into()));
            }
            Err(PoolError::Scheduler(SchedulerError::TenantsFull { .. })) => {}
            Err(error) => panic!("{error}"),
        }
    }

    /// A receiver changes its tenant; if what it keeps would bring that above its cap, it does not.
    pub(super) fn set_tenant(&mut self, at: usize) {
        let (id, tenant) = (self.clients[at].id, self.any_tenant());
        let is_capped = |(of, cap): &(TenantId, u32)| Some(*of) == tenant && *cap != u32::MAX;
        if self.clients[at].socket.buffered().is_empty() || !self.caps.iter().any(is_capped) {
            self.pool(at).set_tenant(id, tenant).expect("it is attached");
            self.clients[at].tenant = tenant;
            self.here = self.clients[at].shard;
        }
    }

    /// Whether a tenant may have no more, or hardly more.
    pub(super) fn is_capped(&self, tenant: Option<TenantId>) -> bool {
        tenant.is_some_and(|tenant| {
            let cap = self.caps.iter().find(|(of, _)| *of == tenant).expect("it was created").1;
            self.pools[0].describe_tenant(tenant).is_ok_and(|info| info.outstanding_units >= cap)
        })
    }

    pub(super) fn pool(&mut self, at: usize) -> &mut Pool<PoolShard> {
        &mut self.pools[self.clients[at].shard]
    }

    /// The connection ends, and another one begins on its thread.
    pub(super) fn replace(&mut self, at: usize) {
        let id = self.clients[at].id;
        assert!(self.pool(at).handle(id, Event::Close).expect("it is attached").has(Action::Finished));
        self.here = self.clients[at].shard;
        self.clients[at] = self.connect(at);
    }

    pub(super) fn send(&mut self, at: usize) {
        let (client, rng) = (&mut self.clients[at], &mut self.rng);
        if client.rest.is_empty() {
            client.rest = frame(rng);
        }
        let bytes = if client.is_honest { client.rest.len() } else { rng.usize(1..=client.rest.len()) };
        client.socket.send(&client.rest[..bytes]);
        client.rest.drain(..bytes);
    }

    pub(super) fn ask(&mut self) {
        self.tokens += 1;
        let (here, class, tenant) = (self.here, self.rng.u8(0..2), self.any_tenant());
        match self.pools[here].request_for(&Request { tenant, ..Request::new(class, self.tokens) }) {
            Ok(Outcome::Granted(lease)) => self.leases.push((here, lease)),
            Ok(Outcome::Queued(wait)) => self.waits.push((here, wait, self.tokens)),
            Err(error) => assert!(error.to_string().contains("wait"), "{error}"),
        }
    }

    pub(super) fn release(&mut self) {
        if self.leases.is_empty() {
            return;
        }
        let at = self.rng.usize(..self.leases.len());
        let (shard, lease) = self.leases.swap_remove(at);
        self.pools[shard].buffer(lease).expect("it is the host's").fill(0xee);
        self.pools[shard].release(lease).expect("it is the host's");
        self.here = shard;
    }

    pub(super) fn cancel(&mut self) {
        if !self.waits.is_empty() {
            let at = self.rng.usize(..self.waits.len());
            let (shard, wait, _) = self.waits.swap_remove(at);
            self.pools[shard].cancel(wait).expect("it waits, or its grant was not picked up");
            self.here = shard;
        }
    }

    pub(super) fn migrate(&mut self, at: usize) {
        let id = self.clients[at].id;
        let mut exported = match self.pool(at).export(id) {
            Ok(exported) => exported,
            Err(PoolError::NotMovable | PoolError::NoBufferFree) => return,
            Err(error) => panic!("{error}"),
        };
        let (from, to) = (self.clients[at].shard, self.rng.usize(..self.pools.len()));
        let id = match self.pools[to].import(&mut exported) {
            Ok(id) => {
                self.clients[at].shard = to;
                id
            }
            Err(PoolError::NoBufferFree) => match self.pools[from].import(&mut exported) {
                Ok(id) => id,
                Err(error) => panic!("{error}, and nowhere else either"),
            },
            Err(error) => panic!("{error}"),
        };
        self.clients[at].id = id;
        self.moved += 1;
        self.settle(from);
        self.here = self.clients[at].shard;
        self.run(at);
    }

    /// The host takes what is undecoded, and attaches another connection with it, on the same thread.
    pub(super) fn take(&mut self, at: usize) {
        let id = self.clients[at].id;
        let content = match self.pool(at).take(id) {
            Ok(content) => content,
            Err(PoolError::NoBuffer | PoolError::NoBufferFree) => return,
            Err(error) => panic!("{error}"),
        };
        let LeasedContent { lease, offset, buffered_bytes } = content;
        let range = offset as usize..(offset + buffered_bytes) as usize;
        let bytes = self.pool(at).buffer(lease).expect("it is the host's")[range].to_vec();
        assert_eq!(bytes, self.clients[at].socket.buffered());
        self.check();
        self.here = self.clients[at].shard;
        assert!(self.pool(at).handle(id, Event::Close).expect("it is attached").has(Action::Finished));
        // A tenant that was removed goes on only with those that are in it.
        let tenant = self.clients[at].tenant.filter(|tenant| self.tenants.contains(tenant));
        let options = AttachOptions { tenant, ..AttachOptions::new(0, at as u64) };
        let id = self.pools[self.here].adopt(&options, content).expect("there is room");
        let client = &mut self.clients[at];
        // What was sent and not received is lost with the first connection.
        client.socket = Socket::random(self.mode, &bytes, self.rng.fork());
        client.rest = match &bytes[whole_frames(&bytes)..] {
            [] => Vec::new(),
            // The length is a multiple of 256.
            &[high] => vec![0; 1 + 256 * usize::from(high)],
            rest => vec![7; length(rest) - rest.len()],
        };
        (client.id, client.is_blocked, client.tenant) = (id, false, tenant);
        client.is_honest = false;
        self.run(at);
    }

    pub(super) fn block(&mut self, at: usize) {
        let client = &mut self.clients[at];
        client.is_blocked = !client.is_blocked;
        client.was_blocked = true;
        self.here = client.shard;
        let event = if client.is_blocked { Event::Block { reasons: 1 } } else { Event::Unblock { reasons: 1 } };
        self.report_and_run(at, event);
    }

    /// A thread's loop iteration begins.
    pub(super) fn tick(&mut self, shard: usize) {
        self.here = shard;
        self.now_ns[shard] += STEP_NS * self.rng.u64(1..6);
        self.pools[shard].handle_timeout(self.now_ns[shard]);
    }

    /// The pool of a thread ends with all its connections, and is made anew.
    pub(super) fn restart(&mut self, shard: usize) {
        self.here = shard;
        self.count_ended(shard);
        self.waits.retain(|&(of, ..)| of != shard);
        let mut ended = self.pools.remove(shard);
        // Leases of the host's own stay, for any thread.
        let left = self.leases.iter_mut().filter(|(of, _)| *of == shard);
        let other = (shard + 1) % (self.pools.len() + 1);
        left.for_each(|(of, _)| *of = other);
        while let Some(named) = ended.poll_wake() {
            self.is_named[named as usize] = true;
        }
        drop(ended);
        while let Some(named) = self.shared_pool.poll_wake() {
            self.is_named[named as usize] = true;
        }
        // Nothing of it is left: not even a wait, or what its receivers kept in the name of a tenant.
        self.check();
        self.pools.insert(shard, self.shared_pool.shard(shard as u32).expect("it has none"));
        self.now_ns[shard] = 0;
        for at in 0..self.clients.len() {
            if self.clients[at].shard == shard {
                self.clients[at] = self.connect(at);
                self.run(at);
            }
        }
    }

    fn count_ended(&mut self, shard: usize) {
        let pool = &self.pools[shard];
        let is_waiting = |client: &Client| {
            client.shard == shard && pool.connection(client.id).is_ok_and(|connection| connection.is_waiting())
        };
        let had = [
            self.leases.iter().any(|&(of, _)| of == shard),
            self.waits.iter().any(|&(of, ..)| of == shard),
            self.is_named[shard],
            self.clients.iter().any(is_waiting),
        ];
        self.ended.iter_mut().zip(had).for_each(|(pools, had)| *pools += u64::from(had));
    }

    pub(super) fn step(&mut self) {
        let (at, shard) = (self.rng.usize(..self.clients.len()), self.rng.usize(..self.pools.len()));
        self.here = shard;
        match self.rng.u32(0..1000) {
            0..350 => {
                self.send(at);
                self.here = self.clients[at].shard;
                self.serve_socket(at);
            }
            350..550 => {
                self.here = self.clients[at].shard;
                self.serve_socket(at);
            }
            550..680 => self.ask(),
            680..760 => self.release(),
            760..790 => self.cancel(),
            790..850 => self.migrate(at),
            850..870 => self.take(at),
            870..880 if self.rng.bool() => self.set_tenant(at),
            870..900 if !self.clients[at].is_honest => self.block(at),
            900..910 => {
                self.here = self.clients[at].shard;
                self.replace(at);
                self.run(at);
            }
            910..994 => {
                self.tick(shard);
                // What an honest client sent is reported in each loop iteration.
                for at in 0..self.clients.len() {
                    if self.clients[at].is_honest && self.clients[at].shard == shard {
                        self.serve_socket(at);
                    }
                }
            }
            994..998 => self.restart(shard),
            998 => self.exchange_tenants(),
            _ => self.rest(),
        }
        self.settle(self.here);
        self.check();
    }
}
