//! Receivers of several threads at random, interleaved on one thread: what must always hold, wake-ups that are not
//! lost, and what becomes of it all.

mod calls;
mod rest;

use demuxbuf::connection::{Action, Actions, Event, Mode};
use demuxbuf::pool::{Notice, Pool, PoolConfig, ReceiverId};
use demuxbuf::receiving::ShedReason;
use demuxbuf::scheduler::{LeaseId, TenantId, WaitId};
use demuxbuf::shared::{PoolShard, SharedPool};
use demuxbuf_testkit::{EventLoop, Rng, Socket, in_modes};
use std::array;

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
    /// Of the pools that ended: how many had leases, requests that waited, something to pick up, and receivers that
    /// waited.
    ended: [u64; 4],
    /// It all comes to an end: nothing new is begun.
    is_ending: bool,
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
        let (mut moved, mut shed, mut claims, mut ended) = (0, 0, 0, [0; 4]);
        for seed in 0..SEEDS {
            println!("{mode:?}, seed {seed}");
            let mut threads = Threads::new(mode, seed);
            for _ in 0..STEPS {
                threads.step();
            }
            claims += threads.pools.iter().map(|pool| pool.totals().claims).sum::<u64>();
            threads.end();
            (moved, shed) = (moved + threads.moved, shed + threads.shed[0]);
            ended = array::from_fn(|at| ended[at] + threads.ended[at]);
        }
        println!("{mode:?}: {claims} claims, {moved} moves, {shed} shed, ended with {ended:?}");
        assert!(
            cfg!(miri) || (claims > 100 && moved > 100 && shed > 10),
            "{claims} claims, {moved} moves, {shed} shed"
        );
        assert!(cfg!(miri) || ended.iter().all(|&pools| pools >= 5), "pools ended with {ended:?}");
    });
}
