//! A small proxy over the sockets of the test kit: it does the actions of the machine and nothing else.

use crate::host_pool::{HAS_SPARE, HostPool, free_buffers, new_pool, take_buffer, take_spare};
use crate::machine::in_modes;
use crate::peer::Peer;
use demuxbuf::connection::{Action, Actions, Connection, EndKind, Event, Hold, Mode, Policy};
use demuxbuf::pool::{AttachOptions, FindingKind, LeasedContent, Notice, PoolConfig, ReceiverId};
use demuxbuf::scheduler::{LeaseId, Outcome};
use demuxbuf_testkit::{EventLoop, Socket, check_in_flight};
pub(crate) use demuxbuf_testkit::{data_frame, frame, window_update};

/// Why the test's decoder is blocked.
pub(crate) const STREAM_FULL: u32 = 1;

/// Buffers of a small pool. One is the receive buffer, one has the cells of 64 bytes; one is the reserve.
pub(crate) const BUFFERS: u32 = 8;
/// Those of a small pool that are for whatever comes.
pub(crate) const FREE: u32 = BUFFERS - 2 - HAS_SPARE as u32;
pub(crate) const MS: u64 = 1_000_000;
/// The most that one advance of the clock counts for, with the default grace.
const STEP_NS: u64 = 125 * MS;

/// Runs a scenario once for each mode in which a receive has its outcome at once, so that the smallest cells may take
/// it in shortage.
pub(crate) fn in_polled_modes(scenario: impl Fn(Mode)) {
    in_modes(&[Mode::Level, Mode::Edge, Mode::OneShot, Mode::Optimistic], scenario);
}

/// Modes in which receivers may count.
pub(crate) const COUNTING_MODES: [Mode; 4] = [Mode::Level, Mode::OneShot, Mode::Edge, Mode::Completion];

/// Settings for this many peers in this mode, with eight buffers of 1024 bytes.
pub(crate) fn config(mode: Mode, peers: u32) -> PoolConfig {
    config_of(mode, BUFFERS, 1024, peers)
}

/// Settings for this many buffers, of this size.
pub(crate) fn config_of(mode: Mode, buffers: u32, buffer_bytes: u32, peers: u32) -> PoolConfig {
    let policy = Policy { mode, ..Policy::default() };
    let memory_bytes = u64::from(buffers) * u64::from(buffer_bytes);
    PoolConfig { buffer_bytes, policy, audit: true, ..PoolConfig::new(memory_bytes, peers) }
}

/// The proxy.
pub(crate) struct Host {
    pub(crate) pool: HostPool,
    pub(crate) peers: Vec<Peer>,
    /// Buffers of the host's own that it waited for: token and lease.
    pub(crate) leases: Vec<(u64, LeaseId)>,
    mode: Mode,
    /// What the kernel holds of a peer at most, if receivers count.
    kernel_bytes: Option<usize>,
    /// Buffers that were free at first.
    free: u32,
    pub(crate) now_ns: u64,
    iterations: u64,
}

impl Host {
    pub(crate) fn new(config: &PoolConfig) -> Host {
        let pool = new_pool(config);
        let (free, mode) = (free_buffers(&pool), config.policy.mode);
        let (peers, leases, kernel_bytes) = (Vec::new(), Vec::new(), None);
        Host { pool, peers, leases, mode, kernel_bytes, free, now_ns: 0, iterations: 0 }
    }

    /// As [`new`](Host::new), with receivers that count, on sockets whose kernel holds at most this number of bytes.
    pub(crate) fn counting(config: &PoolConfig, kernel_bytes: usize) -> Host {
        let policy = Policy { counting: true, ..config.policy };
        Host { kernel_bytes: Some(kernel_bytes), ..Host::new(&PoolConfig { policy, ..*config }) }
    }

    /// A new peer of class 0; its first SETTINGS came before.
    pub(crate) fn attach(&mut self) -> usize {
        self.attach_as(0)
    }

    /// As [`attach`](Host::attach), of this class.
    pub(crate) fn attach_as(&mut self, class: u8) -> usize {
        let at = self.peers.len();
        let id = self.pool.attach(&AttachOptions::new(class, at as u64)).expect("the table has room");
        self.meet(id)
    }

    /// As [`attach`](Host::attach), with bytes that are there already. Nothing is done yet.
    pub(crate) fn attach_with(&mut self, bytes: &[u8]) -> usize {
        let at = self.peers.len();
        let id = self.pool.attach_with(&AttachOptions::new(0, at as u64), bytes).expect("the table has room");
        let at = self.push(id, bytes);
        self.check();
        at
    }

    /// As [`attach_with`](Host::attach_with), in a buffer of the host's own.
    pub(crate) fn adopt(&mut self, content: LeasedContent) -> usize {
        let at = self.peers.len();
        let id = self.pool.adopt(&AttachOptions::new(0, at as u64), content).expect("the lease is the host's");
        let bytes = self.pool.data(id).expect("the handle is fresh").to_vec();
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
        let socket = Socket::new(self.mode, bytes);
        let socket = match self.kernel_bytes {
            Some(kernel_bytes) => socket.counting(kernel_bytes),
            None => socket,
        };
        self.peers.push(Peer::new(id, socket));
        self.peers.len() - 1
    }

    /// Puts a layer that reads ahead between the transport of a new peer and this host, which hands on at most this
    /// many bytes at a time.
    pub(crate) fn put_layer(&mut self, at: usize, piece_bytes: usize) {
        let peer = &mut self.peers[at];
        let socket = std::mem::replace(&mut peer.socket, Socket::new(self.mode, &[]));
        peer.socket = socket.behind_a_layer(piece_bytes);
    }

    /// The peer sends; the host reports nothing before its next loop iteration.
    pub(crate) fn send(&mut self, at: usize, bytes: &[u8]) {
        self.peers[at].socket.send(bytes);
    }

    /// The peer ends the stream, or its transport breaks, behind what it sent.
    pub(crate) fn finish(&mut self, at: usize, end: EndKind) {
        self.peers[at].socket.finish(end);
    }

    /// The transport reports the end by an event of its own, ahead of what it may still hold.
    pub(crate) fn hang_up(&mut self, at: usize, end: EndKind) -> Actions {
        let event = self.peers[at].socket.hang_up(end);
        self.report(at, event)
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

    /// Takes the buffer with its content, as for a zero-copy hand-off.
    pub(crate) fn take(&mut self, at: usize) -> (LeasedContent, Vec<u8>) {
        let content = self.pool.take(self.peers[at].id).expect("a buffer is held");
        let socket = &mut self.peers[at].socket;
        let bytes = socket.buffered().to_vec();
        socket.follow(Event::Consumed { bytes: bytes.len() as u32 });
        self.check();
        (content, bytes)
    }

    /// Closes a connection and checks that nothing is left to do. A receive in flight is cancelled, and keeps its
    /// memory until its outcome.
    pub(crate) fn close(&mut self, at: usize) {
        self.peers[at].is_closing = true;
        let mut actions = self.report(at, Event::Close);
        if self.peers[at].socket.is_submitted() {
            assert_eq!(actions, Action::StopRecv.into(), "its memory is in use");
            self.acknowledge(at, actions);
            let outcome = self.peers[at].socket.poll().expect("the receive is cancelled");
            actions = self.report(at, outcome);
        }
        assert_eq!(actions, Action::Finished.into(), "closing ends everything");
    }

    /// Asks for a buffer of the host's own.
    pub(crate) fn request(&mut self, class: u8, token: u64) -> Outcome {
        let outcome = self.pool.request(class, token).expect("the class exists and waits are free");
        self.check();
        outcome
    }

    /// Takes all buffers that this class can have; they are the host's. Receivers have none left.
    pub(crate) fn take_all_buffers(&mut self, class: u8) -> Vec<LeaseId> {
        let leases = self.take_buffers(class, 0);
        take_spare(&mut self.pool);
        self.check();
        leases
    }

    /// Takes buffers for the host until this number is left to receivers.
    pub(crate) fn take_buffers(&mut self, class: u8, left: u32) -> Vec<LeaseId> {
        let mut leases = Vec::new();
        while free_buffers(&self.pool) > left {
            leases.push(take_buffer(&mut self.pool, class));
            self.check();
        }
        leases
    }

    /// Releases as many of these buffers as make room for a receiver without credit: the reserve, and one.
    pub(crate) fn make_room(&mut self, leases: &mut Vec<LeaseId>) {
        let buffers = self.pool.memory().split().reserve + 1;
        leases.drain(..buffers as usize).for_each(|lease| self.release(lease));
    }

    pub(crate) fn release(&mut self, lease: LeaseId) {
        self.pool.release(lease).expect("the lease is the host's");
        self.check();
    }

    /// Reports an event; returns what is to be done now, and does not do it.
    pub(crate) fn report(&mut self, at: usize, event: Event) -> Actions {
        let peer = &mut self.peers[at];
        peer.socket.follow(event);
        peer.is_failed |= event == Event::Fail;
        let id = peer.id;
        let actions = self.pool.handle(id, event).unwrap_or_else(|error| panic!("{event:?} is refused: {error}"));
        if actions.has(Action::Finished) {
            self.peers[at].is_closed = true;
        } else {
            assert_eq!(self.pool.pending(id), Ok(actions), "actions are levels");
        }
        self.check();
        actions
    }

    /// Reports an event and does what follows.
    pub(crate) fn on(&mut self, at: usize, event: Event) {
        self.report_and_run(at, event);
    }

    /// Receives what the peer has sent, and does nothing with it.
    pub(crate) fn receive_only(&mut self, at: usize) {
        let event = self.peers[at].socket.poll().expect("it is readable");
        self.report(at, event);
        self.receive(at);
    }

    /// Does what is pending, and what is complete at once.
    pub(crate) fn resume(&mut self, at: usize) {
        self.run(at);
        self.serve_receives();
    }

    /// Loop iterations until nothing happens.
    pub(crate) fn settle(&mut self) {
        self.run_to_rest(|host| {
            let reports = host.iterate();
            host.audit();
            reports
        });
        self.check_rest();
    }

    /// This much time passes, in iterations that are as far apart as the clock counts.
    pub(crate) fn pass(&mut self, mut ns: u64) {
        while ns > 0 {
            let step_ns = ns.min(STEP_NS);
            self.now_ns += step_ns;
            ns -= step_ns;
            self.iterate();
        }
    }

    /// One loop iteration; returns how much was reported.
    pub(crate) fn iterate(&mut self) -> usize {
        self.pool.handle_timeout(self.now_ns);
        self.check();
        let mut reports = self.serve_sockets() + self.serve_receives();
        // What is complete may have made room, which is a notice of another peer.
        loop {
            let more = self.drain_notices() + self.serve_receives();
            reports += more;
            if more == 0 {
                return reports;
            }
        }
    }

    /// Nothing of an honest host is named, but that the clock of this one stands still or leaps as the test likes, and
    /// that it leaves a frame that can never fit to the test.
    fn audit(&mut self) {
        self.iterations += 1;
        while let Some(finding) = self.pool.poll_audit(self.iterations).expect("the audit is on") {
            let is_expected = match finding.kind {
                FindingKind::ClockStopped | FindingKind::Overslept => true,
                FindingKind::MisfitLeft => self.peers[finding.token as usize].misfits > 0,
                _ => false,
            };
            assert!(is_expected, "{finding}");
        }
    }

    /// Reports the outcomes of receives that were submitted in this iteration and are complete already.
    fn serve_receives(&mut self) -> usize {
        let submitted = |host: &mut Host, at: &usize| host.socket(*at).is_some_and(|socket| socket.is_submitted());
        let submitted: Vec<usize> = (0..self.peers.len()).filter(|at| submitted(self, at)).collect();
        submitted.into_iter().map(|at| self.serve_socket(at)).sum()
    }

    /// Picks up one grant and does nothing with it; returns its peer.
    pub(crate) fn first_grant(&mut self) -> Option<usize> {
        match self.pool.poll_notice()? {
            Notice::Receiver { token, .. } => Some(token as usize),
            _ => None,
        }
    }

    /// What must hold after every step.
    pub(crate) fn check(&self) {
        self.pool.check_invariants().expect("the invariants hold");
        let open = || self.peers.iter().filter(|peer| !peer.is_closed);
        check_in_flight(open().map(|peer| &peer.socket));
        for peer in open() {
            let connection = self.pool.connection(peer.id).expect("the handle is live");
            // The trial of a frame under a mark is seen as a report, after which these modes arm anew.
            let may_be_armed = self.kernel_bytes.is_some() && matches!(self.mode, Mode::OneShot | Mode::Completion);
            let is_armed = peer.socket.is_armed() && (connection.is_armed() || !may_be_armed);
            assert_eq!(connection.is_armed(), is_armed, "read interest is as the machine believes");
            assert_eq!(connection.is_in_flight(), peer.socket.is_submitted(), "the machine knows what is in flight");
            let is_shed = self.pool.pending(peer.id).expect("the handle is live").has(Action::Shed);
            if !peer.is_failed && !peer.is_closing && !is_shed && peer.ends.is_empty() {
                let data = self.pool.data(peer.id).expect("the handle is live");
                let received = peer.socket.buffered().len();
                assert!(data.len() == received || self.kernel_bytes.is_some(), "what was received, or is looked at");
                assert!(data == peer.socket.front(data.len()), "I5: order and content never change");
            }
        }
    }

    /// What must hold when nothing happens any more.
    fn check_rest(&self) {
        for peer in self.peers.iter().filter(|peer| !peer.is_closed) {
            let connection = self.pool.connection(peer.id).expect("the handle is live");
            assert_eq!(self.pool.pending(peer.id), Ok(Actions::NONE), "at rest nothing is left to do");
            if self.mode == Mode::Level {
                assert_eq!(
                    peer.socket.is_armed(),
                    connection.is_accepting(),
                    "I4: armed exactly when bytes could be taken"
                );
            }
            let is_empty_handed = connection.hold() == Hold::None && !connection.is_waiting();
            let mark = self.pool.low_water_mark(peer.id).expect("the handle is live");
            let is_reached = peer.socket.end().is_some() || peer.socket.in_kernel() >= mark as usize;
            assert!(!(is_empty_handed && is_reached && connection.is_accepting()), "no peer is forgotten");
            let is_covered = peer.socket.is_armed() || peer.socket.is_submitted() || connection.is_waiting();
            assert!(is_covered || !connection.is_accepting(), "read interest or a wait covers each peer that may send");
        }
    }

    /// What is held and waited for: buffers that are not free, peers that wait for room, peers that keep bytes.
    pub(crate) fn held(&self) -> (u32, u32, u32) {
        let count = |holds: fn(&Connection) -> bool| {
            let open = self.peers.iter().filter(|peer| !peer.is_closed);
            let connections = open.map(|peer| self.pool.connection(peer.id).expect("the handle is live"));
            connections.filter(holds).count() as u32
        };
        let buffers = self.free - free_buffers(&self.pool);
        (buffers, count(Connection::is_waiting), count(|connection| connection.buffered_bytes() > 0))
    }

    pub(crate) fn is_waiting(&self, at: usize) -> bool {
        self.pool.connection(self.peers[at].id).expect("the handle is live").is_waiting()
    }

    pub(crate) fn buffered_bytes(&self, at: usize) -> u32 {
        self.pool.connection(self.peers[at].id).expect("the handle is live").buffered_bytes()
    }

    /// Peers whose frames stay in the kernel until they are whole there.
    pub(crate) fn under_marks(&self) -> usize {
        let open = self.peers.iter().filter(|peer| !peer.is_closed);
        let marks = open.map(|peer| self.pool.low_water_mark(peer.id).expect("the handle is live"));
        marks.filter(|&mark| mark > 1).count()
    }
}

impl EventLoop for Host {
    fn connections(&self) -> usize {
        self.peers.len()
    }

    fn socket(&mut self, at: usize) -> Option<&mut Socket> {
        let peer = &mut self.peers[at];
        (!peer.is_closed).then_some(&mut peer.socket)
    }

    fn socket_and_area(&mut self, at: usize) -> (&mut Socket, &mut [u8]) {
        let peer = &mut self.peers[at];
        (&mut peer.socket, self.pool.receive_area(peer.id).expect("the handle is live"))
    }

    fn pending(&self, at: usize) -> Actions {
        self.pool.pending(self.peers[at].id).expect("the handle is live")
    }

    fn report(&mut self, at: usize, event: Event) -> Actions {
        Host::report(self, at, event)
    }

    fn acknowledge(&mut self, at: usize, actions: Actions) {
        if actions.has(Action::Shed) {
            self.peers[at].is_shed = true;
            return self.close(at);
        }
        let peer = &mut self.peers[at];
        if actions.has(Action::WantRecv) {
            peer.socket.set_mark(self.pool.low_water_mark(peer.id).expect("the handle is live") as usize);
        }
        peer.socket.acknowledge(actions);
        for action in actions.iter() {
            match action {
                Action::WantRecv | Action::StopRecv | Action::Reschedule => {}
                Action::CannotFit => peer.misfits += 1,
                Action::End => {
                    let connection = self.pool.connection(peer.id).expect("the handle is live");
                    peer.ends.push((connection.end().expect("the stream ended"), connection.truncated_bytes()));
                    let content = self.pool.data(peer.id).expect("the handle is live");
                    assert!(content == peer.socket.buffered() || peer.is_failed, "the partial frame can be read");
                }
                other => panic!("unexpected action {other:?}"),
            }
        }
        self.report(at, Event::done(actions));
    }

    /// Decodes what is whole, and reports why bytes are left.
    fn decode(&mut self, at: usize) {
        let peer = &mut self.peers[at];
        peer.decodes += 1;
        let data = self.pool.data(peer.id).expect("the handle is live");
        let (mut taken, mut need_more, mut decoded) = (0, 0, 0);
        while taken < data.len() && decoded < peer.frames_per_run && !peer.is_blocked && !peer.takes_bytes {
            match peer.decode_next(&data[taken..]) {
                Ok(bytes) => taken += bytes,
                Err(missing) => {
                    need_more = missing;
                    break;
                }
            }
            decoded += 1;
        }
        if peer.takes_bytes && !peer.is_blocked {
            (taken, need_more) = (1, 1);
        }
        let (is_blocked, is_done) = (peer.is_blocked, taken == data.len() || need_more > 0);
        peer.socket.follow(Event::Consumed { bytes: taken as u32 });
        let actions = self.pool.decoded(peer.id, taken as u32, need_more);
        assert_eq!(self.pool.pending(peer.id), actions, "no more than the content is taken, and actions are levels");
        self.check();
        if is_blocked {
            self.report(at, Event::Block { reasons: STREAM_FULL });
        } else if !is_done {
            self.report(at, Event::Yield);
        }
    }

    fn poll_notice(&mut self) -> Option<usize> {
        loop {
            let granted = self.pool.poll_notice()?;
            self.check();
            match granted {
                Notice::Lease { token, lease, .. } => self.leases.push((token, lease)),
                Notice::Receiver { id, token, actions } => {
                    let peer = &self.peers[token as usize];
                    assert_eq!(peer.id, id, "a grant names a live receiver");
                    assert_eq!(self.pool.pending(id), Ok(actions), "actions are levels");
                    return Some(token as usize);
                }
                notice => unreachable!("{notice:?}"),
            }
        }
    }

    fn before_receive(&mut self, at: usize) {
        self.peers[at].receives += 1;
    }

    fn length_seen(&mut self, at: usize, seen: &[u8]) -> u32 {
        self.peers[at].length_seen(seen)
    }

    /// Where nothing is there, a poll is submitted instead, which needs no buffer.
    fn submits(&mut self, at: usize) -> bool {
        self.mode == Mode::Completion && self.peers[at].socket.is_readable()
    }
}
