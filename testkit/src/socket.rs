//! A transport in memory, with its poller.

use crate::Rng;
use crate::in_flight::InFlight;
use demuxbuf::connection::{Action, Actions, EndKind, Event, Mode};
use std::ops::Range;

/// The host's end of one connection: what the peer sent, how much of it was received and decoded, what the poller
/// knows, and the receive that is submitted.
#[derive(Debug)]
pub struct Socket {
    mode: Mode,
    /// All that the peer sent and the host did not decode.
    stream: Vec<u8>,
    /// How much of it the host received.
    received: usize,
    /// How much of what it did not receive it has decoded, where it was shown it.
    owed: usize,
    /// A layer between transport and host, if there is one.
    layer: Option<Layer>,
    end: Option<EndKind>,
    /// The read interest is armed; completion: a poll is submitted.
    is_armed: bool,
    /// Something arrived since an edge was reported.
    has_changed: bool,
    in_flight: Option<InFlight>,
    is_scheduled: bool,
    /// Its host counts, and the kernel has a mark.
    kernel: Option<Kernel>,
    rng: Option<Rng>,
}

/// What is between the peer and a host that counts.
#[derive(Debug)]
struct Kernel {
    /// The most bytes that it holds; what the peer sent beyond that comes once there is room.
    room: usize,
    /// The number of bytes at which the poller reports.
    mark: usize,
}

/// A layer that takes all that the transport has, and hands it on in pieces, such as a TLS library.
#[derive(Debug)]
struct Layer {
    /// How much of the stream it took, which the poller does not report any more.
    taken: usize,
    /// The most that it hands on at a time.
    piece_bytes: usize,
}

impl Socket {
    /// A socket with a silent peer, on a transport that does everything as early as it can. The bytes were received
    /// before the library saw the connection.
    pub fn new(mode: Mode, received: &[u8]) -> Socket {
        Socket {
            mode,
            stream: received.to_vec(),
            received: received.len(),
            owed: 0,
            layer: None,
            end: None,
            is_armed: false,
            has_changed: false,
            in_flight: None,
            is_scheduled: false,
            kernel: None,
            rng: None,
        }
    }

    /// As [`new`](Socket::new), on a transport that draws what a real one leaves open: receives are short, a reset
    /// outruns bytes, reports and outcomes are late, and a cancelled receive may bring bytes all the same.
    pub fn random(mode: Mode, received: &[u8], rng: Rng) -> Socket {
        Socket { rng: Some(rng), ..Socket::new(mode, received) }
    }

    /// The same behind a layer that reads ahead: a receive brings at most this many bytes, and the first of them takes
    /// all from the transport.
    #[must_use]
    pub fn behind_a_layer(mut self, piece_bytes: usize) -> Socket {
        self.layer = Some(Layer { taken: self.received, piece_bytes });
        self
    }

    /// The same with a host that counts, and a kernel that holds at most this number of bytes.
    #[must_use]
    pub fn counting(mut self, room: usize) -> Socket {
        self.kernel = Some(Kernel { room, mark: 1 });
        self
    }

    /// The host sets the mark: the number of bytes at which the poller reports.
    pub fn set_mark(&mut self, mark: usize) {
        self.kernel.iter_mut().for_each(|kernel| kernel.mark = mark);
        // Setting it makes the kernel look.
        self.has_changed |= self.is_reported();
    }

    /// How many bytes a receive could bring.
    pub fn in_kernel(&self) -> usize {
        self.kernel.as_ref().map_or(self.unread(), |kernel| self.unread().min(kernel.room))
    }

    /// Shows what a receive could bring, as much as there is room for, and leaves it; the event is that of a receive.
    pub fn peek(&self, area: &mut [u8]) -> Event {
        let bytes = self.in_kernel().min(area.len());
        area[..bytes].copy_from_slice(&self.stream[self.received..][..bytes]);
        match self.end {
            _ if bytes > 0 => Event::Received { bytes: bytes as u32 },
            Some(end) => event_of(end),
            None => Event::WouldBlock,
        }
    }

    /// Receives as many bytes as there is room for, or none.
    pub fn receive_whole(&mut self, area: &mut [u8]) -> Event {
        let event = self.peek_whole(area);
        if let Event::Received { .. } = event {
            self.take(area.len());
        }
        event
    }

    /// Shows as many bytes as there is room for, or none, and leaves them.
    ///
    /// # Panics
    ///
    /// Some of them were decoded before.
    pub fn peek_whole(&self, area: &mut [u8]) -> Event {
        assert_eq!(self.owed, 0, "what was decoded is received away first");
        if self.in_kernel() < area.len() {
            return if self.end.is_some() { Event::PeerClosed } else { Event::WouldBlock };
        }
        area.copy_from_slice(&self.stream[self.received..][..area.len()]);
        Event::Received { bytes: area.len() as u32 }
    }

    /// Receives bytes that were decoded when the host was shown them, and drops them.
    ///
    /// # Panics
    ///
    /// They are others.
    pub fn receive_away(&mut self, bytes: usize) -> Event {
        assert!((1..=self.owed).contains(&bytes) && self.received == 0, "{bytes} of {} that were decoded", self.owed);
        self.has_changed |= self.in_kernel() < self.unread();
        self.owed -= bytes;
        self.stream.drain(..bytes);
        Event::Received { bytes: bytes as u32 }
    }

    /// The host received this much, and as much of what the peer sent has room in the kernel.
    fn take(&mut self, bytes: usize) {
        self.has_changed |= self.in_kernel() < self.unread() && bytes > 0;
        self.received += bytes;
    }

    /// What the poller reports, as a host sees it that counts.
    fn report(&self) -> Event {
        match &self.kernel {
            Some(_) if self.end.is_some() => Event::PeerClosed,
            Some(kernel) if self.in_kernel() < kernel.mark => Event::KernelFull,
            _ => Event::Readable,
        }
    }

    /// How the host receives.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// The peer sends.
    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.extend_from_slice(bytes);
        self.has_changed = true;
    }

    /// The peer closes its direction, or the connection breaks, after all that was sent.
    pub fn finish(&mut self, end: EndKind) {
        self.end = Some(end);
        self.has_changed = true;
    }

    /// The transport reports the end by an event of its own, ahead of what it may still hold. If a receive is
    /// submitted, this is its outcome.
    ///
    /// # Panics
    ///
    /// A submitted receive would bring the last bytes before the end of the stream.
    pub fn hang_up(&mut self, end: EndKind) -> Event {
        self.finish(end);
        if let Some(in_flight) = self.in_flight.take() {
            assert!(self.unread() == 0 || end == EndKind::Error, "a submitted receive brings bytes before the end");
            in_flight.complete(&[]);
        }
        event_of(end)
    }

    /// How the stream ends, once the peer has finished.
    pub fn end(&self) -> Option<EndKind> {
        self.end
    }

    /// A receive would return bytes or the end. As with `epoll`, an end stays readable.
    pub fn is_readable(&self) -> bool {
        self.unread() > 0 || self.end.is_some()
    }

    /// The poller knows of something: what a layer took from the transport is hidden from it.
    fn is_reported(&self) -> bool {
        let seen = self.layer.as_ref().map_or(self.received, |layer| layer.taken);
        // A kernel that holds no more reports in spite of its mark.
        let is_marked = |kernel: &Kernel| self.unread() < kernel.mark.min(kernel.room);
        (self.stream.len() > seen && !self.kernel.as_ref().is_some_and(is_marked)) || self.end.is_some()
    }

    /// Bytes that were sent and not received.
    pub fn unread(&self) -> usize {
        self.stream.len() - self.received
    }

    /// Bytes that were sent and not decoded.
    pub fn undecoded(&self) -> usize {
        self.stream.len() - self.owed
    }

    /// What was received and not decoded: what the library must show.
    pub fn buffered(&self) -> &[u8] {
        &self.stream[..self.received]
    }

    /// The read interest is armed; completion: a poll is submitted.
    pub fn is_armed(&self) -> bool {
        self.is_armed
    }

    /// A receive is submitted and its outcome is not reported.
    pub fn is_submitted(&self) -> bool {
        self.in_flight.is_some()
    }

    /// Arms or disarms the read interest, submits a poll, cancels a poll or a receive, and takes down that the host
    /// asked for a wake-up.
    ///
    /// # Panics
    ///
    /// There is nothing to stop, or what is to be armed is armed or in flight.
    pub fn acknowledge(&mut self, actions: Actions) {
        if actions.has(Action::WantRecv) {
            let is_about_mark = self.kernel.is_some() && self.in_flight.is_none();
            let is_idle = !self.is_armed && self.in_flight.is_none();
            assert!(is_idle || is_about_mark, "one poll or receive at a time");
            self.is_armed = true;
            // Registration at an edge-triggered poller reports what is there.
            self.has_changed |= self.is_reported();
        }
        if actions.has(Action::StopRecv) {
            let is_in_flight = self.in_flight.as_ref().is_some_and(|in_flight| !in_flight.is_cancelled);
            assert!(self.is_armed || is_in_flight, "there is something to stop");
            self.is_armed = false;
            self.in_flight.iter_mut().for_each(|in_flight| in_flight.is_cancelled = true);
        }
        self.is_scheduled |= actions.has(Action::Reschedule);
    }

    /// The wake-up that the host asked for, once.
    pub fn take_wake_up(&mut self) -> bool {
        std::mem::take(&mut self.is_scheduled)
    }

    /// Whether [`poll`](Socket::poll) has something to report, now or later.
    pub fn is_due(&self) -> bool {
        match &self.in_flight {
            Some(in_flight) => in_flight.is_cancelled || self.is_readable(),
            None => self.is_armed && self.is_reported() && (self.mode != Mode::Edge || self.has_changed),
        }
    }

    /// What the poller or the system reports: that the socket is readable, that a poll is complete, or the outcome of
    /// the submitted receive. Only then are its bytes in its memory.
    pub fn poll(&mut self) -> Option<Event> {
        if !self.is_due() || self.draws(2) {
            return None;
        }
        if let Some(in_flight) = self.in_flight.take() {
            return Some(self.complete(in_flight));
        }
        match self.mode {
            Mode::Level => {}
            Mode::Edge => self.has_changed = false,
            _ => self.is_armed = false,
        }
        Some(self.report())
    }

    /// Receives into this memory at once.
    ///
    /// # Panics
    ///
    /// There is no room, or a receive is submitted.
    pub fn receive(&mut self, area: &mut [u8]) -> Event {
        assert!(!area.is_empty(), "`Recv` offers room");
        assert!(self.in_flight.is_none(), "one receive at a time");
        let (event, bytes) = self.outcome(area.len());
        area[..bytes.len()].copy_from_slice(&self.stream[bytes]);
        event
    }

    /// Submits a receive into this memory; returns the event that reports that.
    ///
    /// # Panics
    ///
    /// There is no room, or a receive is submitted already.
    ///
    /// # Safety
    ///
    /// Until [`poll`](Socket::poll) or [`hang_up`](Socket::hang_up) returns the outcome, the memory is allocated, and
    /// nothing borrows it, whenever a function of the socket or [`check_in_flight`] is called.
    pub unsafe fn submit(&mut self, area: &mut [u8]) -> Event {
        assert!(!area.is_empty(), "`Recv` offers room");
        assert!(self.in_flight.is_none(), "one receive at a time");
        // SAFETY: as demanded here.
        self.in_flight = Some(unsafe { InFlight::new(area) });
        Event::done(Action::Recv)
    }

    /// Cancels a submitted receive that found nothing, whose outcome [`poll`](Socket::poll) returns; returns whether
    /// there was one.
    pub fn cancel(&mut self) -> bool {
        let is_idle = !self.is_readable();
        let idle = self.in_flight.as_mut().filter(|_| is_idle);
        idle.map(|in_flight| in_flight.is_cancelled = true).is_some()
    }

    /// The first bytes that the host did not decode, be they received or not.
    pub fn front(&self, bytes: usize) -> &[u8] {
        &self.stream[self.owed..][..bytes]
    }

    /// The host decoded this much.
    pub fn consume(&mut self, bytes: usize) {
        // The others it was only shown.
        let received = bytes.min(self.received);
        self.owed += bytes - received;
        let bytes = received;
        self.stream.drain(..bytes);
        self.received -= bytes;
        self.layer.iter_mut().for_each(|layer| layer.taken -= bytes);
    }

    /// The host reports an event.
    ///
    /// # Panics
    ///
    /// It is the outcome of a receive, but the submitted receive is in flight.
    pub fn follow(&mut self, event: Event) {
        match event {
            Event::Consumed { bytes } => self.consume(bytes as usize),
            Event::Received { .. } | Event::WouldBlock | Event::EndOfStream | Event::TransportError => {
                assert!(self.in_flight.is_none(), "{event:?} is not the outcome of the submitted receive");
            }
            _ => {}
        }
    }

    /// The outcome of this receive, which was submitted.
    fn complete(&mut self, in_flight: InFlight) -> Event {
        // A receive that is cancelled may have been complete already.
        if !self.is_readable() || (in_flight.is_cancelled && self.draws(2)) {
            in_flight.complete(&[]);
            return Event::WouldBlock;
        }
        let (event, bytes) = self.outcome(in_flight.room());
        in_flight.complete(&self.stream[bytes]);
        event
    }

    /// The outcome of a receive with this much room, and which bytes of the stream it brings.
    fn outcome(&mut self, room: usize) -> (Event, Range<usize>) {
        let mut bytes = room.min(self.in_kernel());
        if let Some(layer) = &mut self.layer {
            layer.taken = if layer.taken == self.received { self.stream.len() } else { layer.taken };
            bytes = bytes.min(layer.piece_bytes).min(layer.taken - self.received);
        }
        if self.end == Some(EndKind::Error) && self.draws(4) {
            bytes = 0;
        } else if bytes > 0 && self.draws(4) {
            bytes = self.rng.as_mut().map_or(bytes, |rng| rng.usize(1..=bytes));
        }
        let start = self.received;
        self.take(bytes);
        let event = match self.end {
            _ if bytes > 0 => Event::Received { bytes: bytes as u32 },
            Some(end) => event_of(end),
            None => Event::WouldBlock,
        };
        (event, start..self.received)
    }

    /// One chance in this many, if the transport is a random one.
    fn draws(&mut self, chances: u32) -> bool {
        self.rng.as_mut().is_some_and(|rng| rng.u32(..chances) == 0)
    }
}

/// Checks that the memory of each submitted receive is its own, and that nothing else writes to it.
///
/// # Panics
///
/// Two receives in flight share memory, or the memory of one was written to.
pub fn check_in_flight<'a>(sockets: impl Iterator<Item = &'a Socket>) {
    let mut all: Vec<_> = sockets.filter_map(|socket| socket.in_flight.as_ref()).map(InFlight::addresses).collect();
    all.sort_unstable_by_key(|addresses| addresses.start);
    assert!(all.windows(2).all(|pair| pair[0].end <= pair[1].start), "two receives in flight share memory: {all:x?}");
}

fn event_of(end: EndKind) -> Event {
    match end {
        EndKind::Stream => Event::EndOfStream,
        EndKind::Error => Event::TransportError,
    }
}
