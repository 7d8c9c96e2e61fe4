//! Receivers of several threads at random, interleaved on one thread: what must always hold, wake-ups that are not lost, and what
//! becomes of it all.

use demuxbuf::connection::{Action, Actions, Event, Mode, Policy};
use demuxbuf::pool::{AttachOptions, LeasedContent, Notice, Pool, PoolConfig, PoolError, ReceiverId};
use demuxbuf::receiving::ShedReason;
use demuxbuf::scheduler::{LeaseId, Outcome, Request, SchedulerError, TenantConfig, TenantId, WaitId};
use demuxbuf::shared::{PoolShard, SharedPool};
use demuxbuf_testkit::{EventLoop, Rng, Socket, in_modes};

const MODES: [Mode; 4] = [Mode::Level, Mode::OneShot, Mode::Edge, Mode::Optimistic];
const MS: u64 = 1_000_000;
const STEP_NS: u64 = 20 * MS;
const BUFFER_BYTES: u32 = 512;
const HEADER_BYTES: usize = 2;
const CONNECTIONS: usize = 48;
const SEEDS: u64 = if cfg!(miri) { 1 } else { 12 };
const STEPS: u32 = if cfg!(miri) { 100 } else { 1_500 };
/// Tokens of waits begin here.
const WAITS: u64 = 1 << 32;

struct Client {
    shard: usize,
    id: ReceiverId,
    socket: Socket,
    /// It sends whole frames.
    is_honest: bool,
    /// What is missing of its last frame.
    rest: Vec<u8>,
    is_blocked: bool,
    was_blocked: bool,
    tenant: Option<TenantId>,
}

struct Threads {
    shared_pool: SharedPool,
    config: PoolConfig,
    pools: Vec<Pool<PoolShard>>,
    mode: Mode,
    rng: Rng,
    clients: Vec<Client>,
    /// The thread that runs now.
    here: usize,
    is_named: Vec<bool>,
    /// Those that were not removed.
    tenants: Vec<TenantId>,
    /// All that there were, with their caps.
    caps: Vec<(TenantId, u32)>,
    leases: Vec<(usize, LeaseId)>,
    waits: Vec<(usize, WaitId, u64)>,
    now_ns: Vec<u64>,
    tokens: u64,
    shed: [u64; 2],
    moved: u64,
    /// It all comes to an end: nothing new is begun.
    is_ending: bool,
}

fn frame(rng: &mut Rng) -> Vec<u8> {
    let largest = BUFFER_BYTES as usize - HEADER_BYTES;
    let bytes = [rng.usize(0..30), rng.usize(0..=largest), largest][rng.usize(0..3)];
    (bytes as u16).to_be_bytes().into_iter().chain((0..bytes).map(|_| rng.u8(..))).collect()
}

impl Threads {
    fn new(mode: Mode, seed: u64) -> Threads {
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
    fn connect(&mut self, at: usize) -> Client {
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
    fn any_tenant(&mut self) -> Option<TenantId> {
        let at = self.rng.usize(..=self.tenants.len());
        self.tenants.get(at).copied()
    }

    /// A tenant is created on the thread that runs now, or removed there if there are as many as can be.
    fn exchange_tenants(&mut self) {
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
    fn set_tenant(&mut self, at: usize) {
        let (id, tenant) = (self.clients[at].id, self.any_tenant());
        let is_capped = |(of, cap): &(TenantId, u32)| Some(*of) == tenant && *cap != u32::MAX;
        if self.clients[at].socket.buffered().is_empty() || !self.caps.iter().any(is_capped) {
            self.pool(at).set_tenant(id, tenant).expect("it is attached");
            self.clients[at].tenant = tenant;
            self.here = self.clients[at].shard;
        }
    }

    /// Whether a tenant may have no more, or hardly more.
    fn is_capped(&self, tenant: Option<TenantId>) -> bool {
        tenant.is_some_and(|tenant| {
            let cap = self.caps.iter().find(|(of, _)| *of == tenant).expect("it was created").1;
            self.pools[0].describe_tenant(tenant).is_ok_and(|info| info.outstanding_units >= cap)
        })
    }

    fn pool(&mut self, at: usize) -> &mut Pool<PoolShard> {
        &mut self.pools[self.clients[at].shard]
    }

    /// The connection ends, and another one begins on its thread.
    fn replace(&mut self, at: usize) {
        let id = self.clients[at].id;
        assert!(self.pool(at).handle(id, Event::Close).expect("it is attached").has(Action::Finished));
        self.here = self.clients[at].shard;
        self.clients[at] = self.connect(at);
    }

    fn send(&mut self, at: usize) {
        let (client, rng) = (&mut self.clients[at], &mut self.rng);
        if client.rest.is_empty() {
            client.rest = frame(rng);
        }
        let bytes = if client.is_honest { client.rest.len() } else { rng.usize(1..=client.rest.len()) };
        client.socket.send(&client.rest[..bytes]);
        client.rest.drain(..bytes);
    }

    fn ask(&mut self) {
        self.tokens += 1;
        let (here, class, tenant) = (self.here, self.rng.u8(0..2), self.any_tenant());
        match self.pools[here].request_for(&Request { tenant, ..Request::new(class, self.tokens) }) {
            Ok(Outcome::Granted(lease)) => self.leases.push((here, lease)),
            Ok(Outcome::Queued(wait)) => self.waits.push((here, wait, self.tokens)),
            Err(error) => assert!(error.to_string().contains("wait"), "{error}"),
        }
    }

    fn release(&mut self) {
        if self.leases.is_empty() {
            return;
        }
        let at = self.rng.usize(..self.leases.len());
        let (shard, lease) = self.leases.swap_remove(at);
        self.pools[shard].buffer(lease).expect("it is the host's").fill(0xee);
        self.pools[shard].release(lease).expect("it is the host's");
        self.here = shard;
    }

    fn cancel(&mut self) {
        if !self.waits.is_empty() {
            let at = self.rng.usize(..self.waits.len());
            let (shard, wait, _) = self.waits.swap_remove(at);
            self.pools[shard].cancel(wait).expect("it waits, or its grant was not picked up");
            self.here = shard;
        }
    }

    fn migrate(&mut self, at: usize) {
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
    fn take(&mut self, at: usize) {
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

    fn block(&mut self, at: usize) {
        let client = &mut self.clients[at];
        client.is_blocked = !client.is_blocked;
        client.was_blocked = true;
        self.here = client.shard;
        let event = if client.is_blocked { Event::Block { reasons: 1 } } else { Event::Unblock { reasons: 1 } };
        self.report_and_run(at, event);
    }

    /// A thread's loop iteration begins.
    fn tick(&mut self, shard: usize) {
        self.here = shard;
        self.now_ns[shard] += STEP_NS * self.rng.u64(1..6);
        self.pools[shard].handle_timeout(self.now_ns[shard]);
    }

    /// The pool of a thread ends with all its connections, and is made anew.
    fn restart(&mut self, shard: usize) {
        self.here = shard;
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
        self.pools.insert(shard, self.shared_pool.shard(shard as u32).expect("it has none"));
        self.now_ns[shard] = 0;
        for at in 0..self.clients.len() {
            if self.clients[at].shard == shard {
                self.clients[at] = self.connect(at);
                self.run(at);
            }
        }
    }

    fn step(&mut self) {
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
            910..997 => {
                self.tick(shard);
                // What an honest client sent is reported in each loop iteration.
                for at in 0..self.clients.len() {
                    if self.clients[at].is_honest && self.clients[at].shard == shard {
                        self.serve_socket(at);
                    }
                }
            }
            997 => self.restart(shard),
            998 => self.exchange_tenants(),
            _ => self.rest(),
        }
        self.settle(self.here);
        self.check();
    }

    /// Before a thread sleeps, it picks up what there is, and signals others.
    fn settle(&mut self, shard: usize) {
        self.here = shard;
        self.drain_notices();
        while let Some(named) = self.pools[shard].poll_wake() {
            self.is_named[named as usize] = true;
        }
    }

    fn check(&self) {
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
    fn progress(&self) -> (u64, u64) {
        let totals = self.pools.iter().map(Pool::totals);
        let of_receivers = totals.map(|totals| totals.grants + totals.trials + totals.evicted).sum();
        (of_receivers, self.shared_pool.stats().scheduler.granted_by_handoff)
    }

    /// All threads that were signalled look. Then no thread has anything to pick up, and no buffer is free that some receiver waits
    /// for.
    fn rest(&mut self) {
        while let Some(shard) = self.is_named.iter().position(|&is_named| is_named) {
            self.is_named[shard] = false;
            self.settle(shard);
            self.check();
        }
        // What other threads changed of tenants, be it in this loop, each sees when its clock advances, and is not signalled.
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
    fn end(&mut self) {
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

impl EventLoop for Threads {
    fn connections(&self) -> usize {
        self.clients.len()
    }

    fn socket(&mut self, at: usize) -> Option<&mut Socket> {
        Some(&mut self.clients[at].socket)
    }

    fn socket_and_area(&mut self, at: usize) -> (&mut Socket, &mut [u8]) {
        let Client { shard, id, socket, .. } = &mut self.clients[at];
        (socket, self.pools[*shard].receive_area(*id).expect("it is attached"))
    }

    fn pending(&self, at: usize) -> Actions {
        let Client { shard, id, .. } = self.clients[at];
        self.pools[shard].pending(id).expect("it is attached")
    }

    fn report(&mut self, at: usize, event: Event) -> Actions {
        self.clients[at].socket.follow(event);
        let id = self.clients[at].id;
        let actions = self.pool(at).handle(id, event).unwrap_or_else(|error| panic!("{event:?}: {error}"));
        self.check();
        actions
    }

    fn acknowledge(&mut self, at: usize, actions: Actions) {
        if actions.has(Action::Shed) {
            let Client { is_honest, was_blocked, .. } = self.clients[at];
            let id = self.clients[at].id;
            let is_of_a_tenant = self.config.tenants_max > 0
                && self.pool(at).describe(id).is_ok_and(|info| info.shed_reason == Some(ShedReason::Evicted));
            let may_be_shed = !is_honest || was_blocked || is_of_a_tenant;
            assert!(may_be_shed, "an honest client is shed: {:?}", self.pool(at).totals());
            self.shed[usize::from(is_honest)] += 1;
            return self.replace(at);
        }
        self.clients[at].socket.acknowledge(actions);
        self.report(at, Event::done(actions));
    }

    fn decode(&mut self, at: usize) {
        let id = self.clients[at].id;
        let data = self.pool(at).data(id).expect("it is attached").to_vec();
        assert_eq!(data, self.clients[at].socket.buffered(), "the bytes are those that were sent");
        if self.rng.u8(0..4) == 0 && !self.is_ending {
            // Another connection of the thread is served in the middle.
            let other = self.rng.usize(..self.clients.len());
            let (here, shard) = (self.here, self.clients[at].shard);
            if other != at && self.clients[other].shard == shard && self.rng.bool() {
                match self.rng.u8(0..3) {
                    0 => self.take(other),
                    1 => self.ask(),
                    _ => drop(self.serve_socket(other)),
                }
            }
            self.here = here;
            let now = self.pool(at).data(id).expect("it is attached").to_vec();
            assert_eq!(now, data, "what is borrowed stays");
        }
        let whole = whole_frames(&data);
        let rest = &data[whole..];
        let needed = if rest.is_empty() { 0 } else { length(rest).saturating_sub(rest.len()) };
        self.clients[at].socket.consume(whole);
        match self.pool(at).decoded(id, whole as u32, needed as u32) {
            Ok(_) => {}
            Err(error) => panic!("{error}"),
        }
        self.check();
    }

    fn poll_notice(&mut self) -> Option<usize> {
        loop {
            match self.pools[self.here].poll_notice()? {
                Notice::Receiver { token, .. } => return Some(token as usize),
                Notice::Lease { wait, token, lease } => {
                    let at = self
                        .waits
                        .iter()
                        .position(|&(shard, of, number)| (shard, of, number) == (self.here, wait, token));
                    self.waits.swap_remove(at.expect("it waited here"));
                    self.leases.push((self.here, lease));
                }
                notice => unreachable!("{notice:?}"),
            }
            self.check();
        }
    }
}

/// Length of the frame whose first bytes these are, as far as they say.
fn length(data: &[u8]) -> usize {
    match data {
        [high, low, ..] => HEADER_BYTES + usize::from(u16::from_be_bytes([*high, *low])),
        _ => HEADER_BYTES,
    }
}

/// Length of the whole frames at the front.
fn whole_frames(data: &[u8]) -> usize {
    let mut end = 0;
    while data.len() - end >= HEADER_BYTES && data.len() - end >= length(&data[end..]) {
        end += length(&data[end..]);
    }
    end
}

#[test]
fn receivers_of_several_threads_at_random() {
    in_modes(&MODES, |mode| {
        let (mut moved, mut shed, mut claims) = (0, 0, 0);
        for seed in 0..SEEDS {
            println!("{mode:?}, seed {seed}");
            let mut threads = Threads::new(mode, seed);
            for _ in 0..STEPS {
                threads.step();
            }
            claims += threads.pools.iter().map(|pool| pool.totals().claims).sum::<u64>();
            threads.end();
            (moved, shed) = (moved + threads.moved, shed + threads.shed[0]);
        }
        println!("{mode:?}: {claims} claims, {moved} moves, {shed} shed");
        assert!(
            cfg!(miri) || (claims > 100 && moved > 100 && shed > 10),
            "{claims} claims, {moved} moves, {shed} shed"
        );
    });
}
