//! One connection three times, and what must hold of it whatever comes next.

use demuxbuf::connection::{Action, Actions, Connection, Event, Mode, Policy};
use demuxbuf_oracle::{CConnection, Facts, ModelConnection, Op, check_facts};

/// One connection three times.
#[derive(Clone)]
pub struct Trio {
    pub model: ModelConnection,
    pub rust: Connection,
    pub c: CConnection,
    /// The host acknowledged that it will report `Wake`.
    pub owes_wake: bool,
}

impl Trio {
    pub fn new(policy: Policy) -> Trio {
        Trio {
            model: ModelConnection::new(policy),
            rust: Connection::new(policy),
            c: CConnection::new(policy),
            owes_wake: false,
        }
    }

    pub fn event(&self, op: Op) -> Option<Event> {
        match op {
            Op::Report { event, .. } => Some(event),
            Op::Obey { choice, amount, .. } => self.model.facts().outcome(choice, amount),
            _ => None,
        }
    }

    pub fn report(&mut self, event: Event) {
        let before = (self.rust.clone(), self.c.image());
        // The values of the bytes make no difference to a connection, which has no memory.
        let expected = self.model.handle(event, &[]).map(Actions::bits).map_err(|refusal| refusal.code());
        let seen = self.rust.handle(event).map(Actions::bits).map_err(|refusal| refusal.code());
        assert_eq!(seen, expected, "{event:?} in {before:?}");
        assert_eq!(self.c.handle(event), seen, "I10: {event:?} in C");
        if seen.is_err() {
            assert_eq!((self.rust.clone(), self.c.image()), before, "I9: {event:?} was refused");
        } else if let Event::Done(actions) = event {
            self.owes_wake |= actions.has(Action::Reschedule);
        } else if matches!(event, Event::Wake | Event::Attach { .. }) {
            self.owes_wake = false;
        }
        self.compare();
    }

    pub fn set_policy(&mut self, policy: Policy) {
        let before = (self.rust.clone(), self.c.image());
        let expected = self.model.set_policy(policy).map(Actions::bits).map_err(|refusal| refusal.code());
        let seen = self.rust.set_policy(&policy).map(Actions::bits).map_err(|refusal| refusal.code());
        assert_eq!(seen, expected, "{policy:?} in {before:?}");
        assert_eq!(self.c.set_policy(policy), seen, "I10: {policy:?} in C");
        if seen.is_err() {
            assert_eq!((self.rust.clone(), self.c.image()), before, "I9: {policy:?} was refused");
        } else {
            assert_eq!(self.rust.policy(), policy);
        }
        self.compare();
    }

    pub fn compare(&self) {
        let facts = self.model.facts();
        assert_eq!(Facts::from(&self.rust), facts, "{:?}", self.rust);
        assert_eq!(self.c.facts(), facts, "I10: {:?}", self.rust);
        assert_eq!(self.rust.recv_max(), self.model.recv_max(), "{:?}", self.rust);
        assert_eq!(self.c.recv_max(), self.model.recv_max(), "I10: {:?}", self.rust);
        assert_eq!(self.rust.is_accepting(), self.model.is_accepting(), "{:?}", self.rust);
        assert_eq!(self.rust.pending(), self.rust.pending(), "asked twice");
        assert_eq!(self.c.pending(), facts.pending, "asked again in C");
        assert_eq!(check_facts(&facts), Ok(()));
    }
}

/// Does what is to be done, as a host does for which nothing arrives and which decodes nothing, until nothing is left
/// to do; then read interest is what the mode promises, and no connection is lost (I4).
pub fn check_rest(mut connection: Connection, owes_wake: bool) {
    if owes_wake {
        connection.handle(Event::Wake).expect("`Wake` is never refused while attached");
    }
    for _ in 0..64 {
        let facts = Facts::from(&connection);
        let pending = connection.pending();
        let first = |wanted: &[Action]| wanted.iter().copied().find(|&action| pending.has(action));
        let event = if let Some(action) = first(&[Action::WantRecv, Action::StopRecv, Action::CancelRequest]) {
            Event::done(action)
        } else if let Some(action) = first(&[Action::Shed, Action::End]) {
            Event::done(action)
        } else if pending.has(Action::CannotFit) {
            Event::Fail
        } else if pending.has(Action::Reschedule) {
            Event::Wake
        } else if pending.has(Action::Discard) || pending.has(Action::Decode) {
            Event::Consumed { bytes: facts.buffered_bytes }
        } else if pending.has(Action::ReleaseBuffer) {
            Event::BufferReleased
        } else if pending.has(Action::Park) {
            Event::BufferParked { capacity: facts.buffered_bytes }
        } else if pending.has(Action::RequestBuffer) {
            Event::BufferGranted { capacity: facts.buffered_bytes + 64 }
        } else if pending.has(Action::Recv) || connection.is_in_flight() {
            Event::WouldBlock
        } else {
            assert!(!facts.is_lost(connection.is_accepting()), "I4: nothing would ever wake {connection:?}");
            if facts.open && matches!(connection.policy().mode, Mode::Level) {
                assert_eq!(facts.armed, connection.is_accepting(), "I4: {connection:?}");
            }
            return;
        };
        connection.handle(event).unwrap_or_else(|refusal| panic!("{event:?} is pending: {refusal} in {connection:?}"));
    }
    panic!("there is always something more to do: {connection:?}");
}

/// After `Close` and what it asks for nothing is left (I7).
pub fn check_close(mut connection: Connection) {
    if !connection.is_open() {
        return;
    }
    let mut actions = connection.handle(Event::Close).expect("`Close` is never refused while open");
    while !actions.has(Action::Finished) {
        let event = match () {
            () if actions.has(Action::CancelRequest) => Event::done(Action::CancelRequest),
            () if actions.has(Action::ReleaseBuffer) => Event::BufferReleased,
            () if actions.has(Action::StopRecv) => Event::done(Action::StopRecv),
            () => Event::WouldBlock,
        };
        actions = connection.handle(event).expect("what is pending is taken");
    }
    assert_eq!((connection.buffered_bytes(), connection.capacity(), connection.is_waiting()), (0, 0, false), "I7");
    for noise in [Event::Readable, Event::WouldBlock, Event::Wake, Event::Unblock { reasons: 1 }, Event::Close] {
        assert_eq!(connection.handle(noise), Ok(Action::Finished.into()), "I7: {noise:?}");
    }
}
