//! Bytes that the host has received already, into memory that the system chose: kept frames are completed with them, the others
//! are decoded where they are, and what is left has a place in the pool.

use crate::{MODES, MS, pool_of_eight, pool_of_eight_in, receive};
use demuxbuf::connection::{Action, Actions, Event, EventError, Mode, Policy};
use demuxbuf::pool::{AttachOptions, Delivery, Notice, Pool, PoolConfig, PoolError, ReceiverId};
use demuxbuf::scheduler::{LeaseId, Request};
use demuxbuf_testkit::numbered;

const BUFFER_BYTES: usize = 256;
/// A receive of any size may end anywhere in a frame of this size with its header.
const FRAME_MAX: usize = 250;

fn attach(pool: &mut Pool, token: u64) -> ReceiverId {
    let id = pool.attach(&AttachOptions::new(0, token)).expect("there is room");
    pool.handle(id, Event::WouldBlock).expect("it is attached");
    id
}

fn deliver(pool: &mut Pool, id: ReceiverId, bytes: &[u8]) -> Delivery {
    let delivery = pool.deliver(id, bytes).expect("it may be delivered");
    assert_eq!(pool.check_invariants(), Ok(()));
    delivery
}

fn delivered(pool: &mut Pool, id: ReceiverId, data: &[u8], consumed: u32, needed: u32) -> Actions {
    let actions = pool.delivered(id, data, consumed, needed).expect("it is in place");
    assert_eq!(pool.check_invariants(), Ok(()));
    actions
}

/// Taken in place, and decoded next.
fn in_place(pool: &mut Pool, id: ReceiverId, bytes: &[u8]) {
    let Delivery { accepted_bytes, in_place_bytes, actions } = deliver(pool, id, bytes);
    assert_eq!((accepted_bytes as usize, in_place_bytes as usize), (bytes.len(), bytes.len()));
    assert!(actions.has(Action::Decode) && !actions.has(Action::Recv));
    assert_eq!(pool.data(id), Ok(&[][..]), "only the host has them");
    assert_eq!(pool.data_mut(id), Ok(&mut [][..]));
}

fn lease_all(pool: &mut Pool) -> Vec<LeaseId> {
    std::iter::from_fn(|| pool.try_request(&Request::new(0, 0)).expect("the class exists")).collect()
}

/// What is delivered, and not taken.
fn refused(pool: &mut Pool, id: ReceiverId, bytes: &[u8]) -> Actions {
    let before = pool.counts();
    let Delivery { accepted_bytes, in_place_bytes, actions } = deliver(pool, id, bytes);
    assert_eq!((accepted_bytes, in_place_bytes, pool.counts()), (0, 0, before), "nothing is accepted");
    actions
}

#[test]
fn delivery_in_place_leaves_nothing_of_whole_frames() {
    for mode in MODES {
        let mut pool = pool_of_eight_in(mode, 4);
        let (id, free) = (attach(&mut pool, 1), pool.memory().free_buffers());
        for round in 1..20 {
            in_place(&mut pool, id, b"onetwo");
            assert!(delivered(&mut pool, id, b"onetwo", 3, 0).has(Action::Decode), "the rest is still in place");
            let actions = match round % 3 {
                // A report without the bytes needs none.
                0 => pool.decoded(id, 3, 0).expect("all of it is decoded"),
                1 => pool.handle(id, Event::Consumed { bytes: 3 }).expect("all of it is decoded"),
                _ => delivered(&mut pool, id, b"two", 3, 0),
            };
            assert!(!actions.has(Action::Decode));
            assert_eq!((pool.memory().free_buffers(), pool.totals().copied_bytes), (free, 0));
            assert_eq!((pool.counts().received_bytes, pool.counts().consumed_bytes), (6 * round, 6 * round));
            if actions.has(Action::Recv) {
                pool.handle(id, Event::WouldBlock).expect("nothing is left to deliver");
            }
        }
    }
}

/// The rows of the table of section 16 that leave bytes: they are the pool's when the report returns.
#[test]
fn delivery_copies_what_cannot_be_decoded() {
    type Report = fn(&mut Pool, ReceiverId, &[u8]) -> Actions;
    let rows: [(&str, Report); 6] = [
        ("short", |pool, id, data| delivered(pool, id, data, 3, 9)),
        ("short, without progress", |pool, id, data| delivered(pool, id, data, 0, 9)),
        ("blocked", |pool, id, data| {
            pool.handle(id, Event::Block { reasons: 1 }).expect("it is attached");
            delivered(pool, id, data, 3, 0)
        }),
        ("blocked afterwards", |pool, id, data| {
            assert!(delivered(pool, id, data, 3, 0).has(Action::Decode));
            let actions = pool.handle(id, Event::Block { reasons: 1 }).expect("it is attached");
            assert!(!actions.has(Action::Decode) && !actions.has(Action::Recv), "{actions}");
            delivered(pool, id, &data[3..], 0, 0)
        }),
        ("yielded", |pool, id, data| {
            pool.handle(id, Event::Yield).expect("it is attached");
            delivered(pool, id, data, 3, 0)
        }),
        ("paused, and short", |pool, id, data| {
            pool.handle(id, Event::PauseRecv).expect("it is attached");
            delivered(pool, id, data, 3, 9)
        }),
    ];
    for mode in MODES {
        for (name, report) in rows {
            let mut pool = pool_of_eight_in(mode, 4);
            let id = attach(&mut pool, 1);
            let mut memory = *b"onetwothree";
            in_place(&mut pool, id, &memory);
            let actions = report(&mut pool, id, &memory);
            assert!(!actions.has(Action::Decode), "{name}: {actions}");
            pool.handle(id, Event::WouldBlock).expect("it is attached");
            memory.fill(0xff);
            let left: &[u8] = if name.contains("without") { b"onetwothree" } else { b"twothree" };
            assert_eq!(pool.data(id), Ok(left), "{mode:?}, {name}");
            assert!(pool.totals().copied_bytes >= left.len() as u64, "{name}");
            assert!(!pool.memory().facts(0).expect("it is attached").is_borrowing, "{name}");
        }
    }
}

#[test]
fn delivery_completes_a_kept_frame_with_what_it_needs() {
    for mode in MODES {
        let mut pool = pool_of_eight_in(mode, 4);
        let id = attach(&mut pool, 1);
        receive(&mut pool, id, b"hel", 2);
        pool.handle(id, Event::WouldBlock).expect("it is attached");
        let copied = pool.totals().copied_bytes;
        let Delivery { accepted_bytes, in_place_bytes, actions } = deliver(&mut pool, id, b"lonext");
        assert_eq!((accepted_bytes, in_place_bytes), (2, 0), "{mode:?}");
        assert!(actions.has(Action::Decode));
        assert_eq!(pool.data(id), Ok(&b"hello"[..]));
        assert_eq!(pool.totals().copied_bytes, copied + 3 + 2, "what was kept, and what completes it");
        let actions = delivered(&mut pool, id, b"", 5, 0);
        assert!(actions.has(Action::Recv), "{mode:?}: the others can be delivered: {actions}");
        in_place(&mut pool, id, b"next");
        delivered(&mut pool, id, b"next", 4, 0);
        assert_eq!(pool.totals().copied_bytes, copied + 5, "in place nothing is copied");
    }
}

/// Fewer bytes than are needed are kept with the others; a decoder that does not know its need gets all that there are.
#[test]
fn delivery_behind_kept_bytes_accepts_what_helps() {
    let mut pool = pool_of_eight(4);
    let id = attach(&mut pool, 1);
    receive(&mut pool, id, b"hel", 200);
    let Delivery { accepted_bytes, actions, .. } = deliver(&mut pool, id, b"lo");
    assert!(accepted_bytes == 2 && !actions.has(Action::Decode), "{actions}");
    assert_eq!(pool.data(id), Ok(&b"hello"[..]));
    assert_eq!(pool.memory().facts(0).expect("it is attached").needed_bytes, 198);

    let options = AttachOptions { unknown_length: true, ..AttachOptions::new(0, 2) };
    let unknown = pool.attach(&options).expect("there is room");
    receive(&mut pool, unknown, b"hel", 1);
    let delivery = deliver(&mut pool, unknown, &[7; 254]);
    assert_eq!((delivery.accepted_bytes, pool.data(unknown).map(<[u8]>::len)), (253, Ok(256)));
}

/// As `received` after a report that nothing is left, but more is needed.
#[test]
fn delivery_that_is_too_short_is_copied_at_once() {
    let mut pool = pool_of_eight(4);
    let id = attach(&mut pool, 1);
    receive(&mut pool, id, b"hello", 1);
    let actions = pool.decoded(id, 5, 10).expect("it is buffered");
    assert!(!actions.has(Action::Decode));
    let Delivery { accepted_bytes, in_place_bytes, actions } = deliver(&mut pool, id, b"short");
    assert!((accepted_bytes, in_place_bytes) == (5, 0) && !actions.has(Action::Decode), "{actions}");
    assert_eq!(pool.data(id), Ok(&b"short"[..]));
}

#[test]
fn delivery_is_refused_and_changes_nothing() {
    let mut pool = pool_of_eight(4);
    let [id, other] = [1, 2].map(|token| attach(&mut pool, token));
    let refuse = |pool: &mut Pool, id, bytes: &[u8], error: PoolError| {
        let before = (pool.counts(), pool.pending(id));
        assert_eq!(pool.deliver(id, bytes), Err(error));
        assert_eq!(((pool.counts(), pool.pending(id)), pool.check_invariants()), (before, Ok(())));
    };
    let counting = |counting| Policy { counting, ..Policy::default() };
    pool.set_policy(id, &counting(true)).expect("it is open");
    refuse(&mut pool, id, b"hello", PoolError::CannotCount { with: "deliveries" });
    pool.set_policy(id, &counting(false)).expect("it is open");
    refuse(&mut pool, id, b"", EventError::ZeroBytes.into());
    refuse(&mut pool, id, &[0; 257], PoolError::TooManyBytes);
    in_place(&mut pool, id, b"hello");
    for receiver in [id, other] {
        refuse(&mut pool, receiver, b"x", PoolError::InPlace);
    }
    assert_eq!(pool.take(id), Err(PoolError::InPlace));
    for event in [Event::EndOfStream, Event::TransportError, Event::NeedMore { bytes: 5 }] {
        assert_eq!(pool.handle(id, event), Err(PoolError::InPlace), "{event:?}");
    }
    assert_eq!(pool.decoded(id, 2, 5), Err(PoolError::InPlace), "the bytes that it leaves are missing");
    assert_eq!(pool.delivered(id, b"hell", 2, 5), Err(PoolError::InPlace), "one of them is missing");
    assert_eq!(pool.delivered(id, b"hello", 6, 0), Err(EventError::TooManyBytes.into()));
    assert_eq!(pool.delivered(id, b"hello", 0, u32::MAX), Err(EventError::TooManyBytes.into()));
    assert_eq!(pool.handle(id, Event::Received { bytes: 1 }), Err(PoolError::TooManyBytes));
    assert!(delivered(&mut pool, id, b"hello", 0, 5).has(Action::WantRecv), "nothing was changed");
    assert_eq!(pool.data(id), Ok(&b"hello"[..]));
    pool.handle(id, Event::EndOfStream).expect("it is attached");
    refuse(&mut pool, id, b"x", EventError::AfterEnd.into());

    pool.set_policy(other, &Policy { mode: Mode::Completion, ..Policy::default() }).expect("it is open");
    pool.handle(other, Event::Readable).expect("it is attached");
    pool.handle(other, Event::done(Action::Recv)).expect("a receive is pending");
    refuse(&mut pool, other, b"x", EventError::InFlight.into());
    pool.handle(other, Event::Close).expect("it is attached");
    refuse(&mut pool, other, b"x", EventError::Closed.into());
    pool.handle(id, Event::Close).expect("it is attached");
    refuse(&mut pool, id, b"x", PoolError::Stale);
}

/// Each state in which a receiver takes nothing; when that is over, the next step asks for what the host still has.
#[test]
fn held_receiver_accepts_no_delivery() {
    for mode in MODES {
        let mut pool = pool_of_eight_in(mode, 4);
        let id = attach(&mut pool, 1);
        // It decodes.
        receive(&mut pool, id, b"abc", 1);
        deliver(&mut pool, id, b"d");
        assert!(refused(&mut pool, id, b"efg").has(Action::Decode), "{mode:?}");
        // Blocked.
        pool.handle(id, Event::Block { reasons: 1 }).expect("it is attached");
        pool.decoded(id, 0, 0).expect("it is attached");
        assert!(!refused(&mut pool, id, b"efg").has(Action::Recv));
        assert!(pool.handle(id, Event::Unblock { reasons: 1 }).expect("it is attached").has(Action::Decode));
        let actions = pool.decoded(id, 4, 0).expect("it is buffered");
        assert!(actions.has(Action::Recv), "{mode:?}: the host has more: {actions}");
        pool.handle(id, Event::WouldBlock).expect("it is attached");
        // Paused.
        pool.handle(id, Event::PauseRecv).expect("it is attached");
        assert!(!refused(&mut pool, id, b"efg").has(Action::Recv));
        assert!(pool.handle(id, Event::ResumeRecv).expect("it is attached").has(Action::Recv), "{mode:?}");
        in_place(&mut pool, id, b"efg");
        delivered(&mut pool, id, b"efg", 3, 0);
    }
}

/// A second borrow needs two free buffers: one to complete what is kept, and one for what the first leaves.
#[test]
fn delivery_waits_for_a_buffer_to_complete_a_frame_in() {
    let mut pool = pool_of_eight(4);
    let [first, second] = [1, 2].map(|token| attach(&mut pool, token));
    receive(&mut pool, second, &[7; 50], 10);
    let mut leases = lease_all(&mut pool);
    pool.release(leases.pop().expect("one is leased")).expect("it is leased");
    assert!(pool.handle(first, Event::Readable).expect("it is attached").has(Action::Recv));
    let actions = refused(&mut pool, second, b"completed.");
    assert!(actions.has(Action::Reschedule), "{actions}");
    pool.handle(second, Event::done(Action::Reschedule)).expect("it is pending");
    pool.handle(first, Event::WouldBlock).expect("it is attached");
    let actions = pool.handle(second, Event::Wake).expect("it is attached");
    assert!(actions.has(Action::Recv), "the host has more: {actions}");
    assert_eq!(deliver(&mut pool, second, b"completed.").accepted_bytes, 10);
}

/// In shortage, a receiver takes what any receive may bring, and claims. What it does not take is the host's, and is asked for.
#[test]
fn delivery_claims_in_shortage_and_is_asked_for() {
    for mode in MODES {
        let mut pool = pool_of_eight_in(mode, 4);
        pool.handle_timeout(0);
        let id = attach(&mut pool, 1);
        let mut leases = lease_all(&mut pool);
        let frame = numbered(1, 0..200);
        let Delivery { accepted_bytes, in_place_bytes, .. } = deliver(&mut pool, id, &frame);
        assert_eq!((accepted_bytes, in_place_bytes), (64, 64), "{mode:?}");
        assert!(!delivered(&mut pool, id, &frame[..64], 0, 136).has(Action::Decode));
        assert!(!refused(&mut pool, id, &frame[64..]).has(Action::Recv), "{mode:?}");
        assert!(pool.connection(id).expect("it is attached").is_waiting());
        assert_eq!(pool.poll_notice(), None);
        pool.release(leases.pop().expect("one is leased")).expect("it is leased");
        pool.release(leases.pop().expect("one is leased")).expect("it is leased");
        let notice = pool.poll_notice();
        assert!(
            matches!(notice, Some(Notice::Receiver { id: of, actions, .. }) if of == id && actions.has(Action::Recv)),
            "{mode:?}: {notice:?}"
        );
        assert_eq!(deliver(&mut pool, id, &frame[64..]).accepted_bytes, 136);
        assert_eq!(pool.data(id), Ok(&frame[..]));
        pool.decoded(id, 200, 0).expect("it is buffered");
        assert_eq!(pool.totals().longest_claim_ns, 0, "no time has passed");
    }
}

/// A receiver that keeps nothing claims for what the host has, since no poller reports that: also one that a pause took out of the
/// queue, until the host reports that there is nothing.
#[test]
fn undelivered_bytes_keep_a_claim_alive() {
    let policy = Policy { mode: Mode::Level, ..Policy::default() };
    for forgets in [false, true] {
        let mut pool = crate::pool_of_eight_with(policy, 4);
        pool.handle_timeout(0);
        let ids: Vec<ReceiverId> = (0..8).map(|token| attach(&mut pool, token)).collect();
        let (&id, others) = ids.split_first().expect("there are eight");
        lease_all(&mut pool);
        for (at, &other) in others.iter().enumerate() {
            let bytes = deliver(&mut pool, other, &[at as u8; 64]).in_place_bytes;
            if bytes > 0 {
                delivered(&mut pool, other, &[at as u8; 64][..bytes as usize], 0, 100);
            }
        }
        assert_eq!(pool.memory().cells().next(), Some((64, 4)), "all small cells are in use");
        let waits = |pool: &Pool| pool.connection(id).expect("it is attached").is_waiting();
        refused(&mut pool, id, &[9; 100]);
        assert!(waits(&pool));
        pool.handle(id, Event::PauseRecv).expect("it is attached");
        assert!(!waits(&pool));
        if forgets {
            pool.handle(id, Event::WouldBlock).expect("it is attached");
        }
        pool.handle(id, Event::ResumeRecv).expect("it is attached");
        assert_eq!(waits(&pool), !forgets);
    }
}

/// Only the host has bytes in place: an advance of the clock leaves them, and the report comes later.
#[test]
fn clock_leaves_bytes_in_place() {
    let mut pool = pool_of_eight(4);
    pool.handle_timeout(0);
    let [id, other] = [1, 2].map(|token| attach(&mut pool, token));
    in_place(&mut pool, id, b"hello");
    assert!(pool.handle(other, Event::Readable).expect("it is attached").has(Action::Recv));
    for step in 1..20 {
        pool.handle_timeout(step * 125 * MS);
        assert_eq!((pool.poll_notice(), pool.check_invariants()), (None, Ok(())));
        assert!(pool.pending(id).expect("it is attached").has(Action::Decode));
    }
    assert!(!pool.memory().facts(1).expect("it is attached").is_borrowing, "that of another has ended");
    delivered(&mut pool, id, b"hello", 1, 5);
    assert_eq!(pool.data(id), Ok(&b"ello"[..]));
}

#[test]
fn failed_or_closed_receiver_drops_what_is_in_place() {
    for event in [Event::Fail, Event::Close] {
        let mut pool = pool_of_eight(4);
        let (id, free) = (attach(&mut pool, 1), pool.memory().free_buffers());
        in_place(&mut pool, id, b"hello");
        delivered(&mut pool, id, b"hello", 2, 0);
        pool.handle(id, event).expect("it is attached");
        let counts = pool.counts();
        assert_eq!((counts.received_bytes, counts.consumed_bytes, counts.dropped_bytes), (5, 2, 3), "{event:?}");
        assert_eq!((pool.memory().free_buffers(), pool.check_invariants()), (free, Ok(())));
        let other = attach(&mut pool, 2);
        in_place(&mut pool, other, b"next");
        delivered(&mut pool, other, b"next", 4, 0);
    }
}

/// What a failed connection is delivered is dropped at once.
#[test]
fn failed_receiver_drops_deliveries() {
    let mut pool = pool_of_eight(4);
    let id = attach(&mut pool, 1);
    pool.handle(id, Event::Fail).expect("it is attached");
    let Delivery { accepted_bytes, in_place_bytes, actions } = deliver(&mut pool, id, b"hello");
    assert_eq!((accepted_bytes, in_place_bytes), (5, 0));
    assert!(!actions.has(Action::Decode));
    assert_eq!((pool.counts().dropped_bytes, pool.check_invariants()), (5, Ok(())));
}

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

/// Random deliveries of random sizes, in ample and in scarce memory. After each step nothing depends on the host's memory, no
/// byte is lost, and no receiver is forgotten.
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
