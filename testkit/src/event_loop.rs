//! The event loop of a host.

use crate::Socket;
use demuxbuf::connection::{Action, Actions, Event, Mode};

/// Far more than any test needs: a loop that goes on beyond this spins.
const STEPS_MAX: usize = 1_000;

/// A host that does what is pending and nothing else. Connections are counted from 0.
pub trait EventLoop {
    /// Connections there ever were.
    fn connections(&self) -> usize;

    /// The socket of a connection; `None` once it is closed and has finished.
    fn socket(&mut self, at: usize) -> Option<&mut Socket>;

    /// The socket of an open connection, and the memory that it may receive into. That memory is allocated for as long
    /// as the socket is used, and nothing else uses it while a receive into it is in flight.
    fn socket_and_area(&mut self, at: usize) -> (&mut Socket, &mut [u8]);

    /// What is to be done for an open connection.
    fn pending(&self, at: usize) -> Actions;

    /// Reports an event, and checks what must hold afterwards; returns what is to be done now.
    fn report(&mut self, at: usize, event: Event) -> Actions;

    /// Acknowledges actions that have no other outcome: errors and ends are looked at here, before anything else.
    fn acknowledge(&mut self, at: usize, actions: Actions);

    /// Decodes what is buffered.
    fn decode(&mut self, at: usize);

    /// The next connection that a notice names, with that notice handled.
    fn poll_notice(&mut self) -> Option<usize>;

    /// What a host does before it receives; nothing, by default.
    fn before_receive(&mut self, _at: usize) {}

    /// How many bytes the frame has of which these are the first, as far as they show, for a host that counts.
    ///
    /// # Panics
    ///
    /// The host does not count.
    fn length_seen(&mut self, at: usize, seen: &[u8]) -> u32 {
        panic!("connection {at} is asked to look at {} bytes", seen.len())
    }

    /// Looks at what is in the kernel.
    fn look(&mut self, at: usize) {
        let (socket, area) = self.socket_and_area(at);
        let event = match socket.peek(area) {
            Event::Received { bytes } => {
                let seen = area[..bytes as usize].to_vec();
                Event::NeedMore { bytes: self.length_seen(at, &seen) }
            }
            event => event,
        };
        self.report(at, event);
    }

    /// Receives all or nothing.
    fn receive_whole(&mut self, at: usize) {
        self.before_receive(at);
        let (socket, area) = self.socket_and_area(at);
        let event = socket.receive_whole(area);
        self.report(at, event);
    }

    /// Looks at all or nothing, and decodes it as if it were received.
    fn look_at_whole(&mut self, at: usize) {
        self.before_receive(at);
        let (socket, area) = self.socket_and_area(at);
        let event = socket.peek_whole(area);
        self.report(at, event);
    }

    /// Receives what was decoded when it was looked at.
    fn receive_away(&mut self, at: usize) {
        let (socket, area) = self.socket_and_area(at);
        let event = socket.receive_away(area.len());
        self.report(at, event);
    }

    /// Whether this receive is submitted, instead of tried at once.
    fn submits(&mut self, at: usize) -> bool {
        self.socket(at).is_some_and(|socket| socket.mode() == Mode::Completion)
    }

    /// Receives once, or submits a receive.
    fn receive(&mut self, at: usize) {
        self.before_receive(at);
        let submits = self.submits(at);
        let (socket, area) = self.socket_and_area(at);
        let event = if submits {
            // SAFETY: `socket_and_area` promises it. Whether the library keeps that promise is what the tests are for.
            unsafe { socket.submit(area) }
        } else {
            socket.receive(area)
        };
        self.report(at, event);
    }

    /// Does what is pending for one connection until nothing is: errors and read interest first, then decoding, then
    /// receives.
    fn run(&mut self, at: usize) {
        for _ in 0..STEPS_MAX {
            if self.socket(at).is_none() {
                return;
            }
            let pending = self.pending(at);
            let outcomes = pending.intersection(Actions::ACKNOWLEDGED);
            if !outcomes.is_empty() {
                self.acknowledge(at, outcomes);
            } else if pending.has(Action::Decode) {
                self.decode(at);
            } else if pending.has(Action::Discard) && pending.has(Action::RecvWhole) {
                self.receive_away(at);
            } else if pending.has(Action::Peek) && pending.has(Action::RecvWhole) {
                self.look_at_whole(at);
            } else if pending.has(Action::Peek) {
                self.look(at);
            } else if pending.has(Action::RecvWhole) {
                self.receive_whole(at);
            } else if pending.has(Action::Recv) {
                self.receive(at);
            } else {
                return;
            }
        }
        panic!("connection {at} does not come to rest: {:?}", self.pending(at));
    }

    /// Reports an event and does what follows.
    fn report_and_run(&mut self, at: usize, event: Event) {
        self.report(at, event);
        self.run(at);
    }

    /// Reports what the poller or the system reported.
    fn report_due(&mut self, at: usize, event: Event) {
        self.report(at, event);
    }

    /// Wakes a connection if it asked for that, and reports what its poller reports; returns how often it did either.
    fn serve_socket(&mut self, at: usize) -> usize {
        let mut reports = 0;
        if self.socket(at).is_some_and(Socket::take_wake_up) {
            reports += 1;
            self.report_and_run(at, Event::Wake);
        }
        if let Some(event) = self.socket(at).and_then(Socket::poll) {
            reports += 1;
            self.report_due(at, event);
            self.run(at);
        }
        reports
    }

    /// As [`serve_socket`](EventLoop::serve_socket), of each connection.
    fn serve_sockets(&mut self) -> usize {
        (0..self.connections()).map(|at| self.serve_socket(at)).sum()
    }

    /// Handles the notices, and does what follows; returns how many there were.
    fn drain_notices(&mut self) -> usize {
        let mut notices = 0;
        while let Some(at) = self.poll_notice() {
            notices += 1;
            self.run(at);
        }
        notices
    }

    /// Runs this until it reports that nothing happened.
    ///
    /// # Panics
    ///
    /// It never does.
    fn run_to_rest(&mut self, iteration: impl Fn(&mut Self) -> usize) {
        assert!((0..STEPS_MAX).any(|_| iteration(self) == 0), "the host does not come to rest");
    }
}
