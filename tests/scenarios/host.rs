//! A small proxy over simulated transports: it does what the machine says and nothing else.
//!
//! The transports report exactly what a real one would in each style of loop, and never once more: a wake-up that the
//! machine loses is lost, and one that it provokes without need shows as a host that does not come to rest.

use crate::machine::MODES;
use demuxbuf::connection::{Action, Actions, EndKind, Event, Hold, Mode};
use demuxbuf::framing::h2::{Decoder, Head, Next, Side, flags, kind};
use demuxbuf::pool::{LeaseId, Outcome};
use demuxbuf::receiver::{Granted, Handover, ReceiverId, Receivers, ReceiversConfig};

/// Why the test's decoder is blocked.
pub(crate) const STREAM_FULL: u32 = 1;

/// Far more than any scenario needs: beyond this the host spins.
const STEPS_MAX: usize = 2_000;

/// A frame with this payload.
pub(crate) fn frame(kind: u8, flags: u8, stream_id: u32, payload: &[u8]) -> Vec<u8> {
    let head = Head { length: payload.len() as u32, stream_id, kind, flags };
    [head.encode().as_slice(), payload].concat()
}

/// A DATA frame of so many bytes with its header; no two neighbouring bytes of the payload are alike.
pub(crate) fn data_frame(frame_bytes: usize) -> Vec<u8> {
    let payload: Vec<u8> = (9..frame_bytes).map(|at| (at * 31 + frame_bytes) as u8).collect();
    frame(kind::DATA, 0, 1, &payload)
}

/// A small control frame: 13 bytes.
pub(crate) fn window_update() -> Vec<u8> {
    frame(kind::WINDOW_UPDATE, 0, 0, &[0, 0, 1, 0])
}

/// Settings for so many buffers and peers in this mode; buffers of 1024 bytes.
pub(crate) fn config(mode: Mode, buffers: u32, peers: u32) -> ReceiversConfig {
    let mut config = ReceiversConfig::new(buffers, peers);
    config.buffer_bytes = 1024;
    config.policy.mode = mode;
    config
}

/// As [`config`], where nothing is parked and nobody receives without a buffer.
pub(crate) fn bare_config(mode: Mode, buffers: u32, peers: u32) -> ReceiversConfig {
    let mut config = config(mode, buffers, peers);
    config.policy.park_bytes = 0;
    config.lifeline = false;
    config.slots = 0;
    config
}

/// One peer, its transport and its decoder.
pub(crate) struct Peer {
    pub(crate) id: ReceiverId,
    /// All that it ever sent.
    sent: Vec<u8>,
    received: usize,
    consumed: usize,
    end: Option<EndKind>,
    is_end_told: bool,
    is_watched: bool,
    /// Something arrived since an edge was last reported.
    has_changed: bool,
    /// A receive was submitted, into memory that starts here.
    in_flight: Option<*const u8>,
    is_scheduled: bool,
    is_closed: bool,
    is_failed: bool,
    pub(crate) decoder: Decoder,
    /// DATA is passed on as it arrives instead of frame by frame.
    pub(crate) passes_data: bool,
    /// What is left of a DATA frame that is being passed on.
    data_left: u32,
    /// Frames decoded before the decoder yields.
    pub(crate) frames_per_run: usize,
    /// The decoder is blocked before each frame while this is set.
    pub(crate) is_blocked: bool,
    pub(crate) frames: Vec<Head>,
    pub(crate) ends: Vec<(EndKind, u32)>,
    pub(crate) misfits: usize,
    pub(crate) decodes: usize,
    pub(crate) receives: usize,
}

/// The proxy.
pub(crate) struct Host {
    pub(crate) receivers: Receivers,
    pub(crate) peers: Vec<Peer>,
    /// Buffers of the host's own that it waited for: token and lease.
    pub(crate) leases: Vec<(u64, LeaseId)>,
    mode: Mode,
}

impl Host {
    pub(crate) fn new(config: &ReceiversConfig) -> Host {
        assert!(MODES.contains(&config.policy.mode));
        let receivers = Receivers::new(config).expect("the configuration is allowed");
        Host { receivers, peers: Vec::new(), leases: Vec::new(), mode: config.policy.mode }
    }

    /// A new peer of class 0 whose first SETTINGS came before.
    pub(crate) fn attach(&mut self) -> usize {
        self.attach_as(0)
    }

    /// As [`attach`](Host::attach), of this class.
    pub(crate) fn attach_as(&mut self, class: u8) -> usize {
        let at = self.peers.len();
        let id = self.receivers.attach(class, at as u64).expect("the table has room");
        self.meet(id)
    }

    /// As [`attach`](Host::attach), with bytes that are there already. Nothing is done yet.
    pub(crate) fn attach_with(&mut self, bytes: &[u8]) -> usize {
        let at = self.peers.len();
        let id = self.receivers.attach_with(0, at as u64, bytes).expect("the table has room");
        let at = self.push(id, bytes);
        self.check();
        at
    }

    /// As [`attach_with`](Host::attach_with), in a buffer of the host's own.
    pub(crate) fn adopt(&mut self, content: Handover) -> usize {
        let at = self.peers.len();
        let id = self.receivers.adopt(0, at as u64, content).expect("the lease is the host's");
        let bytes = self.receivers.data(id).expect("the handle is fresh").to_vec();
        let at = self.push(id, &bytes);
        self.check();
        at
    }

    fn meet(&mut self, id: ReceiverId) -> usize {
        let at = self.push(id, &[]);
        self.resume(at);
        at
    }

    fn push(&mut self, id: ReceiverId, bytes: &[u8]) -> usize {
        let mut decoder = Decoder::new(Side::Server);
        decoder.accept(&Next::Frame(Head { kind: kind::SETTINGS, flags: flags::ACK, ..Head::default() }));
        self.peers.push(Peer {
            id,
            sent: bytes.to_vec(),
            received: bytes.len(),
            consumed: 0,
            end: None,
            is_end_told: false,
            is_watched: false,
            has_changed: false,
            in_flight: None,
            is_scheduled: false,
            is_closed: false,
            is_failed: false,
            decoder,
            passes_data: false,
            data_left: 0,
            frames_per_run: usize::MAX,
            is_blocked: false,
            frames: Vec::new(),
            ends: Vec::new(),
            misfits: 0,
            decodes: 0,
            receives: 0,
        });
        self.peers.len() - 1
    }

    /// The peer sends; nothing is reported before the next turn.
    pub(crate) fn send(&mut self, at: usize, bytes: &[u8]) {
        self.peers[at].sent.extend_from_slice(bytes);
        self.peers[at].has_changed = true;
    }

    /// The peer ends the stream, or its transport breaks, behind what it sent.
    pub(crate) fn finish(&mut self, at: usize, end: EndKind) {
        self.peers[at].end = Some(end);
        self.peers[at].has_changed = true;
    }

    /// The transport reports the end by an event of its own, ahead of what it may still hold.
    pub(crate) fn hang_up(&mut self, at: usize, end: EndKind) -> Actions {
        self.peers[at].is_end_told = true;
        self.report(at, end_event(end))
    }

    /// Blocks the decoder before the next frame.
    pub(crate) fn block(&mut self, at: usize) {
        self.peers[at].is_blocked = true;
    }

    /// Ends the block; returns what is to be done now, and does not do it.
    pub(crate) fn unblock(&mut self, at: usize) -> Actions {
        self.peers[at].is_blocked = false;
        self.report(at, Event::Unblock { reasons: STREAM_FULL })
    }

    /// Takes the buffer away with what is in it, as for a zero-copy hand-over.
    pub(crate) fn take(&mut self, at: usize) -> (Handover, Vec<u8>) {
        let content = self.receivers.take(self.peers[at].id).expect("a buffer is held");
        let peer = &mut self.peers[at];
        let bytes = peer.sent[peer.consumed..peer.received].to_vec();
        peer.consumed = peer.received;
        peer.in_flight = None;
        self.check();
        (content, bytes)
    }

    /// Closes a connection and checks that nothing is left to do.
    pub(crate) fn close(&mut self, at: usize) {
        let actions = self.receivers.handle(self.peers[at].id, Event::Close);
        assert_eq!(actions, Ok(Action::Finished.into()), "closing ends everything");
        self.peers[at].is_closed = true;
        self.check();
    }

    /// Asks for a buffer of the host's own.
    pub(crate) fn request(&mut self, class: u8, token: u64) -> Outcome {
        let outcome = self.receivers.request(class, token).expect("the class exists and waits are free");
        self.check();
        outcome
    }

    /// Takes all buffers that this class can have; they are the host's.
    pub(crate) fn take_all_buffers(&mut self, class: u8) -> Vec<LeaseId> {
        let mut leases = Vec::new();
        while let Outcome::Granted(lease) = self.request(class, u64::MAX) {
            leases.push(lease);
            let stats = self.receivers.stats().pool;
            if stats.free == 0 {
                return leases;
            }
        }
        panic!("the class can take every buffer");
    }

    /// As [`take_all_buffers`](Host::take_all_buffers), with submitted receives taken back before.
    pub(crate) fn take_after_idling(&mut self) -> Vec<LeaseId> {
        self.cancel_idle_receives();
        self.take_all_buffers(0)
    }

    pub(crate) fn release(&mut self, lease: LeaseId) {
        self.receivers.release(lease).expect("the lease is the host's");
        self.check();
    }

    /// Reports an event; returns what is to be done now, and does not do it. A submitted receive is taken back first:
    /// where it receives to is promised only until the next call for this receiver.
    pub(crate) fn report(&mut self, at: usize, event: Event) -> Actions {
        let peer = &mut self.peers[at];
        peer.in_flight = None;
        peer.is_failed |= event == Event::Fail;
        if let Event::Consumed { bytes } = event {
            peer.consumed += bytes as usize;
        }
        let id = peer.id;
        let actions = self.receivers.handle(id, event).unwrap_or_else(|error| panic!("{event:?} is refused: {error}"));
        assert_eq!(self.receivers.pending(id), Ok(actions), "actions are levels");
        self.check();
        actions
    }

    /// Reports an event and does what follows.
    pub(crate) fn tell(&mut self, at: usize, event: Event) {
        let actions = self.report(at, event);
        self.act(at, actions);
    }

    /// Does what is pending.
    pub(crate) fn resume(&mut self, at: usize) {
        let actions = self.receivers.pending(self.peers[at].id).expect("the handle is live");
        self.act(at, actions);
    }

    /// Turns of the loop until nothing happens.
    pub(crate) fn settle(&mut self) {
        for _ in 0..STEPS_MAX {
            if self.turn() == 0 {
                return self.check_rest();
            }
        }
        panic!("the host does not come to rest");
    }

    /// One turn of the loop; returns how much was reported.
    pub(crate) fn turn(&mut self) -> usize {
        let mut reports = 0;
        for at in 0..self.peers.len() {
            if self.peers[at].is_closed {
                continue;
            }
            if std::mem::take(&mut self.peers[at].is_scheduled) {
                reports += 1;
                self.tell(at, Event::Wake);
            }
            reports += usize::from(self.poll(at));
        }
        if self.receivers.stats().pool.waiting > 0 {
            reports += self.cancel_idle_receives();
        }
        reports + self.drain_grants()
    }

    /// Picks up what was handed over.
    pub(crate) fn drain_grants(&mut self) -> usize {
        let mut grants = 0;
        while let Some(granted) = self.receivers.poll_grant() {
            grants += 1;
            self.check();
            match granted {
                Granted::Lease { token, lease, .. } => self.leases.push((token, lease)),
                Granted::Receiver { id, token, actions } => {
                    let at = token as usize;
                    assert_eq!(self.peers[at].id, id, "a grant names a live receiver");
                    assert_eq!(self.peers[at].in_flight, None, "receives are taken back before grants are picked up");
                    self.act(at, actions);
                }
            }
        }
        grants
    }

    /// Picks up one grant and does nothing with it; returns whose it is.
    pub(crate) fn first_grant(&mut self) -> Option<usize> {
        match self.receivers.poll_grant()? {
            Granted::Receiver { token, .. } => Some(token as usize),
            Granted::Lease { .. } => None,
        }
    }

    /// A host that submits receives takes back those that found nothing, as it does when buffers are short.
    pub(crate) fn cancel_idle_receives(&mut self) -> usize {
        let mut cancelled = 0;
        for at in 0..self.peers.len() {
            let peer = &mut self.peers[at];
            if !peer.is_closed && !peer.is_readable() && peer.in_flight.take().is_some() {
                cancelled += 1;
                self.tell(at, Event::WouldBlock);
            }
        }
        cancelled
    }

    /// Reports what the transport would report now; says whether it did.
    fn poll(&mut self, at: usize) -> bool {
        let peer = &mut self.peers[at];
        let readable = peer.is_readable();
        match self.mode {
            Mode::Level if peer.is_watched && readable => {}
            Mode::Edge if peer.is_watched && peer.has_changed => peer.has_changed = false,
            Mode::Completion if peer.in_flight.is_some() && readable => {
                let actions = self.receive(at);
                self.act(at, actions);
                return true;
            }
            Mode::OneShot | Mode::Optimistic | Mode::Completion if peer.is_watched && readable => {
                peer.is_watched = false
            }
            _ => return false,
        }
        self.tell(at, Event::Readable);
        true
    }

    /// Does what is to be done, and what follows from it.
    fn act(&mut self, at: usize, mut actions: Actions) {
        for _ in 0..STEPS_MAX {
            let acknowledged = actions.intersection(Actions::ACKNOWLEDGED);
            actions = if !acknowledged.is_empty() {
                self.acknowledge(at, acknowledged)
            } else if actions.has(Action::Demux) {
                self.decode(at)
            } else if actions.has(Action::Recv) && self.may_receive_now(at) {
                self.receive(at)
            } else {
                return;
            }
        }
        panic!("one connection does not come to rest");
    }

    fn acknowledge(&mut self, at: usize, actions: Actions) -> Actions {
        let peer = &mut self.peers[at];
        for action in actions.iter() {
            match action {
                Action::WantRecv => {
                    peer.is_watched = true;
                    // An edge watch reports what is there when it is registered.
                    peer.has_changed |= peer.is_readable();
                }
                Action::StopRecv => peer.is_watched = false,
                Action::CannotFit => peer.misfits += 1,
                Action::Reschedule => peer.is_scheduled = true,
                Action::End => {
                    let connection = self.receivers.connection(peer.id).expect("the handle is live");
                    peer.ends.push((connection.end().expect("the stream ended"), connection.residue()));
                    let residue = self.receivers.data(peer.id).expect("the handle is live");
                    let is_there = residue == &peer.sent[peer.consumed..peer.received];
                    assert!(is_there || peer.is_failed, "the residue can be looked at");
                }
                other => panic!("nobody asked for {other:?}"),
            }
        }
        self.report(at, Event::done(actions))
    }

    /// A submitted receive waits for the transport.
    fn may_receive_now(&mut self, at: usize) -> bool {
        let peer = &mut self.peers[at];
        if self.mode != Mode::Completion || (peer.is_readable() && peer.in_flight.is_none()) {
            return true;
        }
        let area = self.receivers.receive_area(peer.id).expect("the handle is live").as_ptr();
        peer.in_flight.get_or_insert(area);
        false
    }

    fn receive(&mut self, at: usize) -> Actions {
        let peer = &mut self.peers[at];
        let area = self.receivers.receive_area(peer.id).expect("the handle is live");
        assert!(!area.is_empty(), "`Recv` offers room");
        if let Some(submitted) = peer.in_flight.take() {
            assert_eq!(submitted, area.as_ptr(), "what a receive was submitted for stays where it is");
        }
        let bytes = area.len().min(peer.sent.len() - peer.received);
        area[..bytes].copy_from_slice(&peer.sent[peer.received..][..bytes]);
        peer.received += bytes;
        peer.receives += 1;
        let event = match peer.end {
            _ if bytes > 0 => Event::Received { bytes: bytes as u32 },
            Some(end) => {
                peer.is_end_told = true;
                end_event(end)
            }
            None => Event::WouldBlock,
        };
        self.report(at, event)
    }

    /// Decodes what is whole, and says why bytes are left.
    fn decode(&mut self, at: usize) -> Actions {
        let peer = &mut self.peers[at];
        peer.decodes += 1;
        let data = self.receivers.data(peer.id).expect("the handle is live");
        let (mut taken, mut need_more, mut decoded) = (0, 0, 0);
        while taken < data.len() && decoded < peer.frames_per_run && !peer.is_blocked {
            match peer.decode_next(&data[taken..]) {
                Ok(bytes) => taken += bytes,
                Err(missing) => {
                    need_more = missing;
                    break;
                }
            }
            decoded += 1;
        }
        let (is_blocked, is_done) = (peer.is_blocked, taken == data.len() || need_more > 0);
        peer.consumed += taken;
        peer.in_flight = None;
        let id = peer.id;
        let actions = self.receivers.decoded(id, taken as u32, need_more).expect("no more than is there");
        self.check();
        match (is_blocked, is_done) {
            (true, _) => self.report(at, Event::Block { reasons: STREAM_FULL }),
            (false, false) => self.report(at, Event::Yield),
            (false, true) => actions,
        }
    }

    /// What must hold after every step.
    pub(crate) fn check(&self) {
        self.receivers.check_invariants().expect("the invariants hold");
        for peer in self.peers.iter().filter(|peer| !peer.is_closed) {
            let connection = self.receivers.connection(peer.id).expect("the handle is live");
            assert_eq!(connection.is_armed(), peer.is_watched, "the watch is as the machine believes");
            if !peer.is_failed && peer.ends.is_empty() {
                let data = self.receivers.data(peer.id).expect("the handle is live");
                assert!(data == &peer.sent[peer.consumed..peer.received], "I5: order and content never change");
            }
        }
    }

    /// What must hold when nothing happens any more.
    fn check_rest(&self) {
        for peer in self.peers.iter().filter(|peer| !peer.is_closed) {
            let connection = self.receivers.connection(peer.id).expect("the handle is live");
            let submitted = if peer.in_flight.is_some() { Action::Recv.into() } else { Actions::NONE };
            assert_eq!(self.receivers.pending(peer.id), Ok(submitted), "at rest nothing is left to do");
            if self.mode == Mode::Level {
                assert_eq!(peer.is_watched, connection.is_accepting(), "I4: armed exactly when bytes could be taken");
            }
            let is_empty_handed = connection.hold() == Hold::None && !connection.is_waiting();
            assert!(!(is_empty_handed && peer.is_readable() && connection.is_accepting()), "nobody is forgotten");
        }
    }

    /// What is held and waited for: leased buffers, waits, slots in use.
    pub(crate) fn held(&self) -> (u32, u32, u32) {
        let stats = self.receivers.stats();
        (stats.pool.leased + stats.pool.assigned, stats.pool.waiting, stats.slots_in_use)
    }

    pub(crate) fn is_waiting(&self, at: usize) -> bool {
        self.receivers.connection(self.peers[at].id).expect("the handle is live").is_waiting()
    }

    pub(crate) fn level(&self, at: usize) -> u32 {
        self.receivers.connection(self.peers[at].id).expect("the handle is live").level()
    }
}

impl Peer {
    fn is_readable(&self) -> bool {
        self.received < self.sent.len() || (self.end.is_some() && !self.is_end_told)
    }

    /// Bytes the peer sent that were not decoded.
    pub(crate) fn undecoded(&self) -> usize {
        self.sent.len() - self.consumed
    }

    /// The head of a DATA frame left with a buffer that was taken: so much of its payload is still to come.
    pub(crate) fn skip_data(&mut self, bytes: u32) {
        self.data_left = bytes;
    }

    /// Bytes taken from the front, or how many more are needed.
    fn decode_next(&mut self, data: &[u8]) -> Result<usize, u32> {
        if self.data_left > 0 {
            let bytes = data.len().min(self.data_left as usize);
            self.data_left -= bytes as u32;
            return Ok(bytes);
        }
        let next = self.decoder.peek(data).expect("the peer keeps the rules");
        let bytes = match &next {
            Next::NeedMore(missing) => return Err(*missing),
            Next::Preface => 24,
            Next::Frame(head) if self.passes_data && head.kind == kind::DATA => {
                self.data_left = head.length;
                9
            }
            Next::Frame(head) => {
                let missing = (head.frame_bytes() as usize).saturating_sub(data.len());
                if missing > 0 {
                    return Err(missing as u32);
                }
                head.frame_bytes() as usize
            }
        };
        self.decoder.accept(&next);
        if let Next::Frame(head) = next {
            self.frames.push(head);
        }
        Ok(bytes)
    }
}

fn end_event(end: EndKind) -> Event {
    match end {
        EndKind::Stream => Event::EndOfStream,
        EndKind::Error => Event::TransportError,
    }
}
