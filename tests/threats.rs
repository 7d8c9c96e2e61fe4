//! The threats of docs/threats.md, to a pool of one thread and to one of a pool that threads share: attackers hold,
//! trickle, come back and lie, and honest clients are served within the published bound all the same. Those that are
//! open have a test that shows what an attacker achieves today: one that fails is good news. Then change the page with
//! the code.

use demuxbuf::connection::{Action, Actions, Event};
use demuxbuf::pool::{AttachOptions, BufferSource, Notice, Pool, PoolConfig, PoolError, ReceiverId};
use demuxbuf::scheduler::Outcome;
use demuxbuf::shared::{PoolShard, SharedPool};

const ATTACKERS: u64 = 24;
/// One call advances the clock by at most this much.
const STEP_NS: u64 = 125_000_000;
/// The frames of the honest client.
const HONEST_BYTES: u32 = 200;

/// Eight buffers, three times as many attackers, and the defaults.
fn config(buffer_bytes: u32) -> PoolConfig {
    PoolConfig { buffer_bytes, ..PoolConfig::new(8 * u64::from(buffer_bytes), 200) }
}

fn pool(config: &PoolConfig) -> Pool {
    Pool::new(config).expect("the configuration is allowed")
}

/// The pool of a thread, of a shared pool that stays open.
fn shard(config: &PoolConfig) -> (SharedPool, Pool<PoolShard>) {
    let shared_pool = SharedPool::new(config, 1).expect("the configuration is allowed");
    let pool = shared_pool.shard(0).expect("it is free");
    (shared_pool, pool)
}

/// What an attacker does.
#[derive(Clone, Copy, Debug)]
enum Attack {
    /// It sends this much of a frame, and stops.
    Stop { bytes: u32 },
    /// It sends a byte of a large frame now and then.
    Trickle,
    /// It completes a frame with each piece that it sends, and sends half of the next one.
    BackToBack { frame_bytes: u32 },
    /// It fills what it is lent, and the host decodes one byte of that in each step.
    ByteByByte,
}

struct Attacker {
    id: ReceiverId,
    sent_bytes: u32,
}

/// A pool, its attackers and one honest client.
struct Siege<S: BufferSource> {
    pool: Pool<S>,
    buffer_bytes: u32,
    attack: Attack,
    attackers: Vec<Attacker>,
    honest: ReceiverId,
    /// Bytes of the honest client's frame that its socket has, and since when.
    waits: Option<(u32, u64)>,
    now_ns: u64,
    /// The longest that the honest client waited, and how often it was served.
    longest_ns: u64,
    served: u32,
    /// Attackers that were shed; each comes back at once.
    shed: u32,
    /// Limits of memory, in buffers, one after the other.
    limits: &'static [u32],
}

/// How long each limit is in force.
const LIMIT_NS: u64 = 5_000_000_000;

impl<S: BufferSource> Siege<S> {
    fn new(mut pool: Pool<S>, attack: Attack, buffer_bytes: u32) -> Siege<S> {
        pool.handle_timeout(0);
        let attackers = (0..ATTACKERS).map(|token| {
            let id = pool.attach(&AttachOptions::new(0, token)).expect("there is room");
            Attacker { id, sent_bytes: 0 }
        });
        let attackers = attackers.collect();
        let honest = pool.attach(&AttachOptions::new(0, ATTACKERS)).expect("there is room");
        Siege {
            pool,
            buffer_bytes,
            attack,
            attackers,
            honest,
            waits: None,
            now_ns: 0,
            longest_ns: 0,
            served: 0,
            shed: 0,
            limits: &[],
        }
    }

    fn report(&mut self, id: ReceiverId, event: Event) -> Actions {
        self.pool.handle(id, event).unwrap_or_else(|error| panic!("{event:?}: {error}"))
    }

    /// Receives as much as there is room for, at most this number of bytes; returns how many.
    fn receive(&mut self, id: ReceiverId, bytes: u32) -> u32 {
        let room = self.pool.receive_area(id).expect("the handle is live").len() as u32;
        let bytes = bytes.min(room);
        if room > 0 {
            self.report(id, if bytes > 0 { Event::Received { bytes } } else { Event::WouldBlock });
        }
        bytes
    }

    /// One attacker sends what it sends; the host receives it, as far as it may, and decodes.
    fn strike(&mut self, at: usize, is_reported: bool) {
        let Attacker { id, sent_bytes } = self.attackers[at];
        let mut bytes = match self.attack {
            Attack::Stop { bytes } => bytes - sent_bytes,
            Attack::Trickle => u32::from((self.now_ns / STEP_NS + at as u64) % 5 == 0),
            Attack::BackToBack { frame_bytes } if sent_bytes == 0 => frame_bytes / 2,
            Attack::BackToBack { frame_bytes } => frame_bytes,
            Attack::ByteByByte => self.buffer_bytes,
        };
        if is_reported && bytes > 0 {
            self.report(id, Event::Readable);
        }
        loop {
            let received_bytes = self.receive(id, bytes);
            self.attackers[at].sent_bytes += received_bytes;
            bytes -= received_bytes;
            self.decode(id);
            if received_bytes == 0 || !self.pool.pending(id).expect("the handle is live").has(Action::Recv) {
                return;
            }
        }
    }

    fn decode(&mut self, id: ReceiverId) {
        let buffered_bytes = self.pool.data(id).expect("the handle is live").len() as u32;
        let decoded = match self.attack {
            _ if buffered_bytes == 0 => return,
            Attack::Stop { .. } | Attack::Trickle => self.pool.decoded(id, 0, self.buffer_bytes - buffered_bytes),
            // What is left is a part of the next one.
            Attack::BackToBack { frame_bytes } => {
                let left_bytes = buffered_bytes % frame_bytes;
                self.pool.decoded(id, buffered_bytes - left_bytes, frame_bytes - left_bytes)
            }
            Attack::ByteByByte => {
                self.report(id, Event::Unblock { reasons: 1 });
                let consumed = self.pool.handle(id, Event::Consumed { bytes: 1 });
                self.report(id, Event::Block { reasons: 1 });
                consumed
            }
        };
        assert!(matches!(decoded, Ok(_) | Err(PoolError::NoBufferFree)), "{decoded:?}");
    }

    /// The honest client's frame is received as far as it may be.
    fn serve(&mut self, is_reported: bool) {
        if is_reported {
            self.report(self.honest, Event::Readable);
        }
        while let Some((left_bytes, since_ns)) = self.waits {
            let bytes = self.receive(self.honest, left_bytes);
            if bytes == 0 {
                return;
            }
            let (left_bytes, buffered_bytes) = (left_bytes - bytes, self.pool.data(self.honest).map(<[u8]>::len));
            assert_eq!(buffered_bytes, Ok((HONEST_BYTES - left_bytes) as usize));
            if left_bytes > 0 {
                self.pool.decoded(self.honest, 0, left_bytes).expect("it is partial");
                self.waits = Some((left_bytes, since_ns));
                continue;
            }
            self.pool.decoded(self.honest, HONEST_BYTES, 0).expect("it is whole");
            self.longest_ns = self.longest_ns.max(self.now_ns - since_ns);
            (self.waits, self.served) = (None, self.served + 1);
        }
    }

    fn poll(&mut self) {
        while let Some(notice) = self.pool.poll_notice() {
            let Notice::Receiver { token, actions, id } = notice else { panic!("{notice:?}") };
            if token == ATTACKERS {
                assert!(!actions.has(Action::Shed), "the honest client is shed");
                self.serve(false);
            } else if actions.has(Action::Shed) {
                self.replace(token as usize, id);
            } else {
                self.strike(token as usize, false);
                if self.pool.pending(id).expect("the handle is live").has(Action::Shed) {
                    self.replace(token as usize, id);
                }
            }
        }
    }

    /// An attacker that was shed comes back.
    fn replace(&mut self, at: usize, id: ReceiverId) {
        self.report(id, Event::Close);
        let id = self.pool.attach(&AttachOptions::new(0, at as u64)).expect("its row is free");
        self.attackers[at] = Attacker { id, sent_bytes: 0 };
        self.shed += 1;
    }

    /// Loop iterations of a host, an eighth of a second each. The honest client sends a frame as soon as the last one
    /// is served, and is the last that the host looks at.
    fn pass(&mut self, time_ns: u64) {
        let until_ns = self.now_ns + time_ns;
        while self.now_ns < until_ns {
            self.now_ns += STEP_NS;
            self.limit();
            self.pool.handle_timeout(self.now_ns);
            for at in 0..self.attackers.len() {
                let id = self.attackers[at].id;
                if self.pool.pending(id).expect("the handle is live").has(Action::Shed) {
                    self.replace(at, id);
                }
                self.strike(at, true);
            }
            self.waits.get_or_insert((HONEST_BYTES, self.now_ns));
            self.serve(true);
            self.poll();
            self.pool.check_invariants().expect("the invariants hold");
        }
    }

    /// The next limit, some time after the last one, which is met by then.
    fn limit(&mut self) {
        let (before, since_ns) = ((self.now_ns / LIMIT_NS) as usize, self.now_ns % LIMIT_NS);
        if self.limits.is_empty() || since_ns != 0 {
            return;
        }
        let of_pool = self.pool.stats().scheduler;
        let withheld = if before > 1 { of_pool.capacity - self.limits[(before - 1) % self.limits.len()] } else { 0 };
        assert_eq!(of_pool.withheld, withheld, "{:?} after {} s", self.attack, self.now_ns / 1_000_000_000);
        let limit = u64::from(self.limits[before % self.limits.len()]);
        self.pool.set_memory_limit(limit * u64::from(self.buffer_bytes)).expect("it is allowed");
    }

    /// A minute of it. Memory is short, and the honest client is served over and over, each time within the bound.
    fn withstand(mut self) -> u32 {
        const MINUTE_NS: u64 = 60_000_000_000;
        self.pass(MINUTE_NS);
        let bound_ns = config(self.buffer_bytes).wait_ns_max() + STEP_NS;
        let (attack, longest_ns, claims) = (self.attack, self.longest_ns, self.pool.totals().claims);
        assert!(claims > 2, "{attack:?}: memory is not short");
        assert!(longest_ns <= bound_ns, "{attack:?}: a wait of {longest_ns} ns; the bound is {bound_ns}");
        assert!(u64::from(self.served) >= MINUTE_NS / bound_ns, "{attack:?}: served {} times", self.served);
        self.shed
    }
}

/// The number of attackers that were shed by a pool of one thread, and by one of a shared pool.
fn withstand(attack: Attack, buffer_bytes: u32) -> [u32; 2] {
    let (_shared_pool, shard) = shard(&config(buffer_bytes));
    let alone = Siege::new(pool(&config(buffer_bytes)), attack, buffer_bytes).withstand();
    [alone, Siege::new(shard, attack, buffer_bytes).withstand()]
}

#[test]
fn s51_frames_back_to_back_renew_no_place() {
    withstand(Attack::BackToBack { frame_bytes: 12_000 }, 16_448);
    withstand(Attack::BackToBack { frame_bytes: 240 }, 256);
}

/// The attackers keep what they have; a claim ends all the same.
#[test]
fn s52_byte_in_each_step_delays_no_claim() {
    withstand(Attack::ByteByByte, 16_448);
    withstand(Attack::ByteByByte, 256);
}

/// With the defaults: each attacker has its place for the time that a frame may take, and no longer.
#[test]
fn s59_partial_frames_hold_memory_for_a_time() {
    let shed = withstand(Attack::Stop { bytes: 65 }, 256);
    assert!(shed.iter().all(|&shed| shed > 100), "{shed:?} were shed");
}

/// While memory is limited to less and less, and to more again, the honest client is served within the same bound, and
/// only what attackers keep past its deadline goes.
#[test]
fn limit_that_changes_under_attack_keeps_the_bound() {
    for (attack, buffer_bytes) in [
        (Attack::Stop { bytes: 65 }, 256),
        (Attack::Stop { bytes: 255 }, 256),
        (Attack::Stop { bytes: 16_447 }, 16_448),
        (Attack::Trickle, 256),
    ] {
        let config = PoolConfig { memory_bytes: 20 * u64::from(buffer_bytes), ..config(buffer_bytes) };
        let limits = &[20, 10, 20, 15, 10, 9, 12];
        Siege { limits, ..Siege::new(pool(&config), attack, buffer_bytes) }.withstand();
        let (_shared_pool, shard) = shard(&config);
        Siege { limits, ..Siege::new(shard, attack, buffer_bytes) }.withstand();
    }
}

/// What is above the smallest cells cannot be kept beside the frames of all attackers.
#[test]
fn s63_partial_frames_of_every_size_cost_one_bound() {
    for (bytes, buffer_bytes) in [(65, 256), (129, 256), (255, 256), (1_025, 16_448), (4_096, 16_448), (16_447, 16_448)]
    {
        withstand(Attack::Stop { bytes }, buffer_bytes);
    }
    withstand(Attack::Trickle, 256);
}

/// Bytes of a protocol upgrade are taken as long as there is a cell for them.
#[test]
fn s60_upgrade_is_taken_beside_free_cells() {
    let mut pool = pool(&config(256));
    while pool.memory().free_buffers() > 0 {
        pool.request(0, 0).expect("a buffer is free");
    }
    let options = AttachOptions::new(0, 0);
    assert_eq!(pool.attach_with(&options, &[7; 65]), Err(PoolError::NoBufferFree), "no cell is larger");
    for _ in 0..4 {
        let id = pool.attach_with(&options, &[7; 64]).expect("a cell is free");
        assert_eq!(pool.attach_with(&options, &[7]), Err(PoolError::NoBufferFree), "the receive buffer is lent");
        pool.decoded(id, 0, 100).expect("it is partial");
        assert_eq!((pool.data(id), pool.check_invariants()), (Ok(&[7; 64][..]), Ok(())));
    }
    assert_eq!(pool.attach_with(&options, &[7]), Err(PoolError::NoBufferFree), "all cells are full");
}

/// What one pool holds has room in an empty one with the same configuration, whatever it is.
#[test]
fn s60_content_of_a_pool_fits_into_another() {
    let mut random = fastrand::Rng::with_seed(1);
    for round in 0..200 {
        let [mut from, mut to] = [(); 2].map(|()| pool(&config(256)));
        for token in 0..40 {
            let id = from.attach(&AttachOptions::new(0, token)).expect("there is room");
            from.handle(id, Event::Readable).expect("it is attached");
            let room = from.receive_area(id).expect("it is attached").len() as u32;
            if room == 0 {
                from.handle(id, Event::Close).expect("it is attached");
                continue;
            }
            let bytes = random.u32(1..=room);
            from.receive_area(id).expect("it is attached")[..bytes as usize].fill(token as u8);
            from.handle(id, Event::Received { bytes }).expect("there is room");
            from.decoded(id, 0, 256 - bytes.min(255)).expect("it is partial");
            let content = from.data(id).expect("it is attached").to_vec();
            let id = to.attach_with(&AttachOptions::new(0, token), &content);
            let id = id.unwrap_or_else(|error| panic!("round {round}, {bytes} bytes: {error}"));
            to.decoded(id, 0, 256 - bytes.min(255)).expect("it is partial");
            assert_eq!(to.data(id), Ok(content.as_slice()));
            assert_eq!((from.check_invariants(), to.check_invariants()), (Ok(()), Ok(())));
        }
    }
}

/// S64: the host stopped receiving, and the frame of its client is judged as if the client had stopped.
#[test]
fn open_client_that_the_host_pauses_is_shed() {
    host_pauses_a_client(pool(&config(256)));
    let (_shared_pool, pool) = shard(&config(256));
    host_pauses_a_client(pool);
}

fn host_pauses_a_client<S: BufferSource>(mut pool: Pool<S>) {
    pool.handle_timeout(0);
    let id = pool.attach(&AttachOptions::new(0, 1)).expect("there is room");
    pool.handle(id, Event::Readable).expect("it is attached");
    pool.handle(id, Event::Received { bytes: 200 }).expect("there is room");
    pool.decoded(id, 0, 56).expect("it is partial");
    pool.handle(id, Event::PauseRecv).expect("it is attached");
    pool.handle_timeout(1);
    while let Ok(Outcome::Granted(_)) = pool.request(0, 0) {}
    let shed = (1..100).find(|step| {
        pool.handle_timeout(step * STEP_NS);
        let mut notices = std::iter::from_fn(|| pool.poll_notice());
        notices.any(|notice| matches!(notice, Notice::Receiver { actions, .. } if actions.has(Action::Shed)))
    });
    assert!(shed.is_some(), "it is not");
}

/// The room to receive into has bytes of an earlier connection in it. The length of a receive keeps them from a
/// decoder.
#[test]
fn open_buffers_are_not_wiped() {
    bytes_of_an_earlier_connection(pool(&config(256)));
    let (_shared_pool, pool) = shard(&config(256));
    bytes_of_an_earlier_connection(pool);
}

fn bytes_of_an_earlier_connection<S: BufferSource>(mut pool: Pool<S>) {
    let [first, second] = [1, 2].map(|token| pool.attach(&AttachOptions::new(0, token)).expect("there is room"));
    pool.handle(first, Event::Readable).expect("it is attached");
    pool.receive_area(first).expect("the handle is live")[..6].copy_from_slice(b"secret");
    pool.handle(first, Event::Received { bytes: 6 }).expect("there is room");
    pool.decoded(first, 6, 0).expect("they are there");
    pool.handle(first, Event::Close).expect("it is attached");
    pool.handle(second, Event::Readable).expect("it is attached");
    assert_eq!(&pool.receive_area(second).expect("the handle is live")[..6], b"secret");
    assert_eq!(pool.data(second), Ok(&[][..]), "none of it is data");
}
