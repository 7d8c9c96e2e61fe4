//! A host whose system chooses the buffers that it receives into: random deliveries, in ample and in scarce memory.

use crate::delivery::{attach, lease_all};
use crate::{MODES, MS, pool_of_eight_in};
use demuxbuf::connection::{Action, Actions, Event, Mode, Policy};
use demuxbuf::pool::{Delivery, Notice, Pool, PoolConfig, ReceiverId};
use demuxbuf_testkit::numbered;

const BUFFER_BYTES: usize = 256;
/// A receive of any size may end anywhere in a frame of this size with its header.
const FRAME_MAX: usize = 250;

/// A peer whose bytes the host receives into a buffer of its own.
struct Peer {
    id: ReceiverId,
    stream: Vec<u8>,
    /// How much of the stream the host has received, and its decoder has consumed.
    arrived: usize,
    decoded: usize,
    /// What the host could not deliver yet.
    held: Vec<u8>,
    is_open: bool,
    is_blocked: bool,
    is_scheduled: bool,
}

struct Host {
    pool: Pool,
    random: fastrand::Rng,
    peers: Vec<Peer>,
}

/// Frames of two bytes of length and a payload.
fn stream(random: &mut fastrand::Rng, number: u64) -> Vec<u8> {
    let mut stream = Vec::new();
    while stream.len() < 3000 {
        let payload = if random.bool() { random.usize(0..20) } else { random.usize(0..FRAME_MAX - 1) };
        stream.extend_from_slice(&(payload as u16).to_be_bytes());
        stream.extend(numbered(number, stream.len() as u64..(stream.len() + payload) as u64));
    }
    stream
}

/// Length of the frame at the front, as far as it is known.
fn frame_bytes(data: &[u8]) -> usize {
    if data.len() < 2 { 2 } else { 2 + usize::from(u16::from_be_bytes([data[0], data[1]])) }
}

impl Host {
    fn new(pool: Pool, seed: u64) -> Host {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut pool = pool;
        pool.handle_timeout(0);
        let peer = |number: u64| Peer {
            id: attach(&mut pool, number),
            stream: stream(&mut random, number),
            arrived: 0,
            decoded: 0,
            held: Vec::new(),
            is_open: true,
            is_blocked: false,
            is_scheduled: false,
        };
        let peers = (0..6).map(peer).collect();
        Host { pool, random, peers }
    }

    /// More of the stream arrives, in a buffer that the system chose, if the host has nothing left of the last one.
    fn arrive(&mut self, at: usize) {
        let peer = &mut self.peers[at];
        if peer.held.is_empty() {
            let bytes = self.random.usize(1..=BUFFER_BYTES).min(peer.stream.len() - peer.arrived);
            peer.held = peer.stream[peer.arrived..peer.arrived + bytes].to_vec();
            peer.arrived += bytes;
        }
        if peer.is_open && !peer.held.is_empty() {
            self.deliver_held(at);
        }
    }

    fn deliver_held(&mut self, at: usize) {
        let peer = &mut self.peers[at];
        let mut memory = std::mem::take(&mut peer.held);
        let Delivery { accepted_bytes, in_place_bytes, mut actions } =
            self.pool.deliver(peer.id, &memory).expect("the host may deliver");
        peer.held = memory.split_off(accepted_bytes as usize);
        assert!(in_place_bytes == 0 || in_place_bytes == accepted_bytes);
        let mut from = if in_place_bytes > 0 { 0 } else { memory.len() };
        while actions.has(Action::Decode) {
            let is_in_place = from < memory.len();
            let data =
                if is_in_place { memory[from..].to_vec() } else { self.pool.data(self.peers[at].id).unwrap().to_vec() };
            let consumed;
            (actions, consumed) = self.decode(at, &data);
            from += if is_in_place { consumed } else { 0 };
        }
        // The buffer is the system's again: nothing may depend on what is in it.
        memory.fill(0xff);
        self.run(at, actions);
    }

    /// One report, with the same call wherever the bytes are. Returns how many were consumed.
    fn decode(&mut self, at: usize, data: &[u8]) -> (Actions, usize) {
        let peer = &mut self.peers[at];
        assert!(peer.stream[peer.decoded..].starts_with(data), "another byte came");
        let (mut consumed, whole) = (0, frame_bytes(data));
        let mut needed = whole.saturating_sub(data.len());
        match self.random.u8(0..8) {
            0 if needed == 0 => {
                peer.is_blocked = true;
                self.pool.handle(peer.id, Event::Block { reasons: 1 }).expect("it is attached");
            }
            1 if needed == 0 => _ = self.pool.handle(peer.id, Event::Yield).expect("it is attached"),
            // All the frames that are whole, in one report.
            2..5 => {
                while data.len() >= consumed + frame_bytes(&data[consumed..]) {
                    consumed += frame_bytes(&data[consumed..]);
                }
                let left = &data[consumed..];
                needed = if left.is_empty() { 0 } else { frame_bytes(left) - left.len() };
            }
            _ if needed == 0 => consumed = whole,
            _ => {}
        }
        peer.decoded += consumed;
        let actions = self.pool.delivered(peer.id, data, consumed as u32, needed as u32).expect("the report is right");
        assert_eq!(self.pool.check_invariants(), Ok(()));
        (actions, consumed)
    }

    fn run(&mut self, at: usize, mut actions: Actions) {
        const NOTICES: [Action; 3] = [Action::WantRecv, Action::StopRecv, Action::Reschedule];
        loop {
            let id = self.peers[at].id;
            let notices: Actions = NOTICES.into_iter().filter(|&action| actions.has(action)).collect();
            if actions.has(Action::Shed) {
                self.pool.handle(id, Event::Close).expect("it is attached");
                self.peers[at].is_open = false;
                return;
            } else if actions.has(Action::Recv) && !self.peers[at].held.is_empty() {
                return self.deliver_held(at);
            } else if actions.has(Action::Recv) {
                actions = self.pool.handle(id, Event::WouldBlock).expect("it is attached");
            } else if actions.has(Action::Decode) {
                let data = self.pool.data(id).expect("it is attached").to_vec();
                (actions, _) = self.decode(at, &data);
            } else if !notices.is_empty() {
                self.peers[at].is_scheduled |= notices.has(Action::Reschedule);
                actions = self.pool.handle(id, Event::done(notices)).expect("they are pending");
            } else {
                return;
            }
        }
    }

    /// Serves what is noticed, what was put off, and what was blocked.
    fn iterate(&mut self, now_ns: u64) {
        self.pool.handle_timeout(now_ns);
        for at in 0..self.peers.len() {
            let peer = &mut self.peers[at];
            if peer.is_open && std::mem::take(&mut peer.is_scheduled) {
                let actions = self.pool.handle(peer.id, Event::Wake).expect("it is attached");
                self.run(at, actions);
            }
            let peer = &mut self.peers[at];
            if peer.is_open && std::mem::take(&mut peer.is_blocked) {
                let actions = self.pool.handle(peer.id, Event::Unblock { reasons: 1 }).expect("it is attached");
                self.run(at, actions);
            }
        }
        while let Some(notice) = self.pool.poll_notice() {
            if let Notice::Receiver { id, actions, .. } = notice {
                let at = self.peers.iter().position(|peer| peer.id == id).expect("it is one of these");
                self.run(at, actions);
            }
        }
    }

    fn is_done(&self) -> bool {
        self.peers.iter().all(|peer| !peer.is_open || peer.decoded == peer.stream.len())
    }
}

fn ample_pool(mode: Mode) -> Pool {
    let policy = Policy { mode, ..Policy::default() };
    let config = PoolConfig { buffer_bytes: 256, policy, ..PoolConfig::new(64 * 256, 8) };
    Pool::new(&config).expect("the configuration is allowed")
}

/// Random deliveries of random sizes, in ample and in scarce memory. After each step nothing depends on the host's
/// memory, no byte is lost, and no receiver is forgotten.
#[test]
fn random_deliveries_are_decoded_to_the_last_byte() {
    let (mut waited, mut shed) = (0, 0);
    for mode in MODES {
        for seed in 0..30 {
            let is_ample = seed % 3 == 0;
            let mut host = Host::new(if is_ample { ample_pool(mode) } else { pool_of_eight_in(mode, 4) }, seed);
            let leases = if is_ample { Vec::new() } else { lease_all(&mut host.pool) };
            let (mut now_ns, mut iterations) = (0, 0);
            while !host.is_done() {
                iterations += 1;
                assert!(iterations < 3_000, "{mode:?}, seed {seed}: a receiver is forgotten");
                for _ in 0..host.random.usize(0..4) {
                    let at = host.random.usize(0..host.peers.len());
                    host.arrive(at);
                }
                now_ns += host.random.u64(0..125 * MS);
                host.iterate(now_ns);
                if iterations == 200 {
                    leases.iter().for_each(|&lease| host.pool.release(lease).expect("it is leased"));
                }
            }
            let (totals, counts) = (host.pool.totals(), host.pool.counts());
            let shed_here = totals.shed_at_deadline + totals.evicted + totals.shed_for_memory;
            assert!(shed_here + totals.claims == 0 || !is_ample, "{mode:?}, seed {seed}: {totals:?}");
            assert!(totals.longest_claim_ns <= host.pool.memory().config().wait_ns_max());
            let closed = |peer: &&Peer| !peer.is_open;
            let lost = host.peers.iter().filter(closed).count();
            assert_eq!(lost as u64, shed_here);
            let decoded = host.peers.iter().map(|peer| peer.decoded as u64).sum::<u64>();
            assert_eq!((counts.consumed_bytes, counts.received_bytes), (decoded, decoded + counts.dropped_bytes));
            (waited, shed) = (waited + totals.claims, shed + shed_here);
        }
    }
    assert!(waited > 500 && shed > 20, "{waited} waited, {shed} were shed");
}
