//! A transport in memory, with its poller.

use demuxbuf::connection::{Action, Actions, EndKind, Event, Mode};

/// The host's end of one connection: what the peer sent, how much of it was received and decoded, and what the poller
/// knows.
#[derive(Clone, Debug)]
pub struct Socket {
    mode: Mode,
    /// All that the peer sent and the host did not decode.
    stream: Vec<u8>,
    /// How much of it the host received.
    received: usize,
    end: Option<EndKind>,
    is_armed: bool,
    /// Something arrived since an edge was reported.
    has_changed: bool,
    /// A receive was submitted, into memory at this address.
    submitted: Option<usize>,
    is_scheduled: bool,
}

impl Socket {
    /// A socket with a silent peer. The bytes were received before the library saw the connection.
    pub fn new(mode: Mode, received: &[u8]) -> Socket {
        Socket {
            mode,
            stream: received.to_vec(),
            received: received.len(),
            end: None,
            is_armed: false,
            has_changed: false,
            submitted: None,
            is_scheduled: false,
        }
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

    /// How the stream ends, once the peer has finished.
    pub fn end(&self) -> Option<EndKind> {
        self.end
    }

    /// The event that reports the end, once the peer has finished.
    pub fn end_event(&self) -> Option<Event> {
        self.end.map(|end| match end {
            EndKind::Stream => Event::EndOfStream,
            EndKind::Error => Event::TransportError,
        })
    }

    /// A receive would return bytes or the end. As with `epoll`, an end stays readable.
    pub fn is_readable(&self) -> bool {
        self.unread() > 0 || self.end.is_some()
    }

    /// Bytes that were sent and not received.
    pub fn unread(&self) -> usize {
        self.stream.len() - self.received
    }

    /// Bytes that were sent and not decoded.
    pub fn undecoded(&self) -> usize {
        self.stream.len()
    }

    /// What was received and not decoded: what the library must show.
    pub fn buffered(&self) -> &[u8] {
        &self.stream[..self.received]
    }

    /// The read interest is armed.
    pub fn is_armed(&self) -> bool {
        self.is_armed
    }

    /// A receive is submitted and not complete.
    pub fn is_submitted(&self) -> bool {
        self.submitted.is_some()
    }

    /// Arms or disarms the read interest, and takes down that the host asked for a wake-up.
    pub fn acknowledge(&mut self, actions: Actions) {
        if actions.has(Action::WantRecv) {
            self.is_armed = true;
            // Registration at an edge-triggered poller reports what is there.
            self.has_changed |= self.is_readable();
        }
        if actions.has(Action::StopRecv) {
            self.is_armed = false;
        }
        self.is_scheduled |= actions.has(Action::Reschedule);
    }

    /// The wake-up that the host asked for, once.
    pub fn take_wake_up(&mut self) -> bool {
        std::mem::take(&mut self.is_scheduled)
    }

    /// The poller reports the socket: as readable, or that the submitted receive is complete.
    pub fn poll(&mut self) -> bool {
        if !self.is_readable() {
            return false;
        }
        match self.mode {
            Mode::Level if self.is_armed => {}
            Mode::Edge if self.is_armed && self.has_changed => self.has_changed = false,
            Mode::Completion if self.submitted.is_some() => {}
            Mode::OneShot | Mode::Optimistic | Mode::Completion if self.is_armed => self.is_armed = false,
            _ => return false,
        }
        true
    }

    /// Submits a receive into this memory unless it would be complete at once, and unless the mode knows no submission;
    /// returns whether the host is to wait.
    pub fn submits(&mut self, area: &[u8]) -> bool {
        if self.mode != Mode::Completion || (self.is_readable() && self.submitted.is_none()) {
            return false;
        }
        self.submitted.get_or_insert(area.as_ptr().addr());
        true
    }

    /// Cancels a submitted receive that found nothing; returns whether there was one.
    pub fn cancel(&mut self) -> bool {
        !self.is_readable() && self.submitted.take().is_some()
    }

    /// Receives into this memory.
    ///
    /// # Panics
    ///
    /// There is no room, or a receive was submitted for memory that starts elsewhere.
    pub fn receive(&mut self, area: &mut [u8]) -> Event {
        assert!(!area.is_empty(), "`Recv` offers room");
        if let Some(submitted) = self.submitted.take() {
            assert_eq!(submitted, area.as_ptr().addr(), "the memory of a submitted receive stays where it is");
        }
        let bytes = area.len().min(self.unread());
        area[..bytes].copy_from_slice(&self.stream[self.received..][..bytes]);
        self.received += bytes;
        match self.end_event() {
            _ if bytes > 0 => Event::Received { bytes: bytes as u32 },
            Some(end) => end,
            None => Event::WouldBlock,
        }
    }

    /// The host decoded this much.
    pub fn consume(&mut self, bytes: usize) {
        self.stream.drain(..bytes);
        self.received -= bytes;
    }

    /// The host reports an event. A submitted receive is over: its memory is promised only until the next call for the
    /// receiver.
    pub fn follow(&mut self, event: Event) {
        self.submitted = None;
        if let Event::Consumed { bytes } = event {
            self.consume(bytes as usize);
        }
    }
}
