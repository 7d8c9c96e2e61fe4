//! One bare connection, with its rules checked after each event.

use crate::host_pool::wherever_released;
use demuxbuf::connection::{Action, Actions, Connection, Event, EventError, Mode, Policy};

/// Runs a scenario once for each of these modes, and for each thread that may release what the host has.
pub(crate) fn in_modes(modes: &[Mode], scenario: impl Fn(Mode)) {
    wherever_released(|| demuxbuf_testkit::in_modes(modes, &scenario));
}

/// Runs a scenario once for each mode.
pub(crate) fn in_all_modes(scenario: impl Fn(Mode)) {
    in_modes(&Mode::ALL, scenario);
}

/// A connection; every step of it is checked.
pub(crate) struct Machine {
    pub(crate) connection: Connection,
}

impl Machine {
    /// Attached, with nothing buffered.
    pub(crate) fn attached(mode: Mode) -> Machine {
        Machine::with_policy(Policy { mode, ..Policy::default() })
    }

    /// As [`attached`](Machine::attached), with these settings.
    pub(crate) fn with_policy(policy: Policy) -> Machine {
        let mut machine = Machine { connection: Connection::new(policy) };
        machine.on(Event::Attach { buffered_bytes: 0, capacity: 0 });
        machine
    }

    /// With read interest armed, readable, holding a buffer of this capacity.
    pub(crate) fn reading(policy: Policy, capacity: u32) -> Machine {
        let mut machine = Machine::with_policy(policy);
        machine.follow_interest();
        machine.on(Event::Readable);
        machine.on(Event::BufferGranted { capacity });
        machine
    }

    /// Reports an event that makes sense; returns what is to be done now.
    pub(crate) fn on(&mut self, event: Event) -> Actions {
        let actions = self.connection.handle(event).unwrap_or_else(|error| panic!("{event:?} is refused: {error}"));
        assert_eq!(actions, self.connection.pending(), "actions are levels");
        self.check();
        actions
    }

    /// Reports an event that makes no sense: it must change nothing.
    pub(crate) fn refuses(&mut self, event: Event) -> EventError {
        let before = self.connection.clone();
        let error = self.connection.handle(event).expect_err("the event makes no sense");
        assert_eq!(self.connection, before, "a refused event changes nothing");
        error
    }

    /// Does what is pending about read interest, as a poller would.
    pub(crate) fn follow_interest(&mut self) {
        for action in [Action::WantRecv, Action::StopRecv] {
            if self.pending().has(action) {
                self.on(Event::done(action));
            }
        }
    }

    pub(crate) fn pending(&self) -> Actions {
        self.connection.pending()
    }

    pub(crate) fn wants(&self, action: Action) -> bool {
        self.pending().has(action)
    }

    fn check(&self) {
        let (actions, connection) = (self.pending(), &self.connection);
        let both = |a, b| actions.has(a) && actions.has(b);
        assert!(!both(Action::WantRecv, Action::StopRecv), "read interest is wanted or not");
        assert!(!both(Action::RequestBuffer, Action::CancelRequest), "a buffer is wanted or not");
        assert!(!both(Action::Decode, Action::Recv), "content is decoded first");
        assert_eq!(connection.recv_max() > 0, actions.has(Action::Recv), "the room test and the offer are one number");
        assert!(connection.buffered_bytes() <= connection.capacity(), "content lies inside what is held");
        assert!(
            connection.recv_max() <= connection.capacity() - connection.buffered_bytes(),
            "no more is offered than fits"
        );
    }
}
