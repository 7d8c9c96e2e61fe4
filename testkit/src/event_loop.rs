//! The event loop of a host.

use crate::Socket;
use demuxbuf::connection::{Action, Actions, Event};

/// Far more than any test needs: a loop that goes on beyond this spins.
const STEPS_MAX: usize = 2_000;

/// A host that does what is pending and nothing else. Connections are counted from 0.
pub trait EventLoop {
    /// Connections there ever were.
    fn connections(&self) -> usize;

    /// The socket of a connection; `None` once it is closed.
    fn socket(&mut self, at: usize) -> Option<&mut Socket>;

    /// The socket of an open connection, and the memory that it may receive into.
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

    /// Receives once.
    fn receive(&mut self, at: usize) {
        let (socket, area) = self.socket_and_area(at);
        let event = socket.receive(area);
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
            } else if pending.has(Action::Recv) && !self.submits(at) {
                self.receive(at);
            } else {
                return;
            }
        }
        panic!("connection {at} does not come to rest: {:?}", self.pending(at));
    }

    /// Whether a receive waits for the transport.
    fn submits(&mut self, at: usize) -> bool {
        let (socket, area) = self.socket_and_area(at);
        socket.submits(area)
    }

    /// Reports an event and does what follows.
    fn report_and_run(&mut self, at: usize, event: Event) {
        self.report(at, event);
        self.run(at);
    }

    /// Wakes the connections that asked for it and reports what the poller reports; returns how often it did either.
    fn serve_sockets(&mut self) -> usize {
        let mut reports = 0;
        for at in 0..self.connections() {
            if self.socket(at).is_some_and(Socket::take_wake_up) {
                reports += 1;
                self.report_and_run(at, Event::Wake);
            }
            if !self.socket(at).is_some_and(Socket::poll) {
                continue;
            }
            if !self.socket(at).is_some_and(|socket| socket.is_submitted()) {
                self.report(at, Event::Readable);
            } else if self.pending(at).has(Action::Recv) {
                self.receive(at);
            } else {
                // A buffer was assigned meanwhile, and the receive goes on with its notice.
                continue;
            }
            reports += 1;
            self.run(at);
        }
        reports
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
