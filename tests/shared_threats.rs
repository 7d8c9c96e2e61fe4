//! The open threats of docs/threats.md to shared pools, as the code is today: each test shows what an attacker achieves. A test here that
//! fails is good news: the weakness is gone, or smaller. Then change the page with the code, and turn the test into one of
//! the scenario that the page names.

use demuxbuf::connection::{Action, Actions, Event};
use demuxbuf::pool::{AttachOptions, Notice, Pool, PoolConfig, PoolError, ReceiverId};
use demuxbuf::shared::{PoolShard, SharedPool};

const BUFFERS: u32 = 8;
const RECEIVERS_MAX: u32 = 200;
const LEASE_NS: u64 = 1_000_000_000;
/// One call advances the clock by at most this much.
const STEP_NS: u64 = LEASE_NS / 8;
/// More than the largest parking slot.
const UNPARKABLE_BYTES: u32 = 4_097;

/// The settings of `examples/embed`: a slot of each size for each buffer, parking at once, a deadline.
fn hardened() -> PoolConfig {
    let mut config = PoolConfig::new(BUFFERS, RECEIVERS_MAX);
    (config.scheduler.park_ns, config.scheduler.lease_ns) = (Some(0), Some(LEASE_NS));
    config.large_slots = [BUFFERS; 3];
    config.policy.reclaim_bytes = 4_096;
    config
}

/// A pool, its attackers and one honest client.
struct Siege {
    pool: Pool<PoolShard>,
    _shared_pool: SharedPool,
    now_ns: u64,
    /// Tokens of receivers that were shed.
    shed: Vec<u64>,
    is_honest_served: bool,
}

impl Siege {
    fn new(config: &PoolConfig) -> Siege {
        let shared_pool = SharedPool::new(config, 1).expect("the configuration is allowed");
        let mut pool = shared_pool.shard(0).expect("it has none");
        pool.handle_timeout(0);
        Siege { pool, _shared_pool: shared_pool, now_ns: 0, shed: Vec::new(), is_honest_served: false }
    }

    fn report(&mut self, id: ReceiverId, event: Event) -> Actions {
        let actions = self.pool.handle(id, event).unwrap_or_else(|error| panic!("{event:?}: {error}"));
        self.pool.check_invariants().expect("the invariants hold");
        actions
    }

    fn attach(&mut self, token: u64) -> ReceiverId {
        let id = self.pool.attach(&AttachOptions::new(0, token)).expect("there is room");
        self.report(id, Event::done(Action::WantRecv));
        id
    }

    /// A part of a frame arrives, and is received as far as there is room. Whether there was room for all of it.
    fn receive(&mut self, id: ReceiverId, bytes: u32) -> bool {
        if !self.report(id, Event::Readable).has(Action::Recv) {
            return false;
        }
        self.receive_now(id, bytes)
    }

    fn receive_now(&mut self, id: ReceiverId, bytes: u32) -> bool {
        let room = self.pool.receive_area(id).expect("the handle is live").len() as u32;
        self.report(id, Event::Received { bytes: bytes.min(room) });
        self.pool.decoded(id, 0, 100).expect("more is missing");
        bytes <= room
    }

    /// As many receivers as there are buffers hold one each, with this many bytes of a frame.
    fn hold_all(&mut self, bytes: u32) -> Vec<ReceiverId> {
        let all: Vec<ReceiverId> = (0..BUFFERS.into()).map(|token| self.attach(token)).collect();
        assert!(all.iter().all(|&id| self.receive(id, bytes)), "a buffer is free for each");
        all
    }

    /// Advances the clock in steps that count. A receiver that is to be shed is closed. One that was granted a buffer is
    /// the honest one, or receives a part of a frame that no slot can hold.
    fn pass(&mut self, time_ns: u64) {
        let until_ns = self.now_ns + time_ns;
        while self.now_ns < until_ns {
            self.now_ns += STEP_NS.min(until_ns - self.now_ns);
            self.pool.handle_timeout(self.now_ns);
            while let Some(notice) = self.pool.poll_notice() {
                let Notice::Receiver { id, token, actions } = notice else { panic!("{notice:?}") };
                if actions.has(Action::Shed) {
                    self.shed.push(token);
                    self.report(id, Event::Close);
                } else if token == HONEST {
                    self.is_honest_served = true;
                } else if actions.has(Action::Recv) {
                    self.receive_now(id, UNPARKABLE_BYTES);
                }
            }
        }
    }
}

/// The token of an honest client in all tests.
const HONEST: u64 = 1_000;

/// S59: with the defaults, a part of a frame that no slot can hold keeps its buffer for good.
#[test]
fn open_defaults_let_partial_frames_hold_all_buffers() {
    let mut siege = Siege::new(&PoolConfig::new(BUFFERS, RECEIVERS_MAX));
    siege.hold_all(65);
    let honest = siege.attach(HONEST);
    assert!(!siege.receive(honest, 200), "no more than a slot is free");
    siege.pass(3_600 * LEASE_NS);
    assert_eq!((siege.is_honest_served, siege.shed.len()), (false, 0), "after an hour");
    assert_eq!(siege.pool.poll_timeout(), None, "no deadline runs");
}

/// S51: each holder completes one frame in each lease and begins the next in the same receive.
#[test]
fn open_frames_back_to_back_renew_a_lease_without_end() {
    let mut siege = Siege::new(&hardened());
    let holders = siege.hold_all(UNPARKABLE_BYTES);
    let honest = siege.attach(HONEST);
    assert!(!siege.receive(honest, 200));
    for _ in 0..100 {
        siege.pass(LEASE_NS * 7 / 8);
        for &id in &holders {
            assert!(siege.receive(id, 1_000));
            // The frame was 1,000 bytes long. What follows is a part of the next one.
            siege.pool.decoded(id, 1_000, 100).expect("they are buffered");
        }
    }
    assert_eq!((siege.is_honest_served, siege.shed.len()), (false, 0), "after 87 leases");
}

/// S52: one byte is decoded of a full buffer shortly before each deadline.
#[test]
fn open_one_byte_in_each_lease_keeps_a_buffer() {
    let mut siege = Siege::new(&hardened());
    let holders = siege.hold_all(16_448);
    let honest = siege.attach(HONEST);
    assert!(!siege.receive(honest, 200));
    for _ in 0..100 {
        siege.pass(LEASE_NS * 7 / 8);
        for &id in &holders {
            siege.report(id, Event::Consumed { bytes: 1 });
            siege.report(id, Event::Block { reasons: 1 });
        }
    }
    assert_eq!((siege.is_honest_served, siege.shed.len()), (false, 0), "after 87 leases");
}

/// S63: partial frames above the largest slot cost others a lease for each round of all buffers.
#[test]
fn open_large_partial_frames_cost_others_rounds() {
    let mut siege = Siege::new(&hardened());
    siege.hold_all(UNPARKABLE_BYTES);
    // Ten rounds of attackers queue in front of the honest client; each holds a buffer as soon as it is granted one.
    for token in 0..u64::from(10 * BUFFERS) {
        let id = siege.attach(100 + token);
        siege.receive(id, UNPARKABLE_BYTES);
    }
    let honest = siege.attach(HONEST);
    siege.receive(honest, 200);
    let leases = (1..100).find(|_| {
        siege.pass(LEASE_NS);
        siege.is_honest_served
    });
    assert!(leases.expect("it is served in the end") >= 9, "{leases:?} leases");
}

/// S64: the host stopped receiving, and the frame of its client is judged as if the client had stopped.
#[test]
fn open_client_that_the_host_pauses_is_shed() {
    let mut siege = Siege::new(&hardened());
    let holders = siege.hold_all(UNPARKABLE_BYTES);
    holders.iter().for_each(|&id| _ = siege.report(id, Event::PauseRecv));
    let honest = siege.attach(HONEST);
    siege.receive(honest, 200);
    siege.pass(2 * LEASE_NS);
    assert!(siege.shed.iter().any(|&token| token < u64::from(BUFFERS)), "none was shed");
}

/// S60: bytes that arrived before the connection was attached are refused while no buffer is free, beside free slots
/// that could hold them.
#[test]
fn open_bytes_at_attach_are_refused_beside_free_slots() {
    let mut siege = Siege::new(&hardened());
    siege.hold_all(UNPARKABLE_BYTES);
    let stats = siege.pool.stats();
    assert_eq!(stats.slots_in_use, 0, "all slots are free");
    let refused = siege.pool.attach_with(&AttachOptions::new(0, HONEST), &[7; 200]).expect_err("no buffer is free");
    assert!(matches!(refused, PoolError::NoBufferFree), "{refused}");
}

/// The room to receive into has bytes of an earlier connection in it. The length of a receive keeps them from a decoder.
#[test]
fn open_buffers_are_not_wiped() {
    let mut siege = Siege::new(&PoolConfig::new(1, RECEIVERS_MAX));
    let first = siege.attach(0);
    siege.report(first, Event::Readable);
    siege.pool.receive_area(first).expect("the handle is live")[..6].copy_from_slice(b"secret");
    siege.report(first, Event::Received { bytes: 6 });
    siege.report(first, Event::Consumed { bytes: 6 });
    siege.report(first, Event::Close);
    let second = siege.attach(1);
    siege.report(second, Event::Readable);
    assert_eq!(&siege.pool.receive_area(second).expect("the handle is live")[..6], b"secret");
    assert_eq!(siege.pool.data(second), Ok(&[][..]), "none of it is data");
}
