//! The connection machine, as the tables in the docs of `demuxbuf::connection` have it.

mod actions;

use crate::system::Cell;
use demuxbuf::connection::{Action, Actions, EndKind, Event, EventError, Hold, Mode, Policy};
use std::collections::VecDeque;

/// Where a connection is in its life. Finished is `Closed` with nothing held and nothing waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Life {
    Detached,
    Open,
    Closed,
}

/// The state of a submitted receive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Flight {
    None,
    Under,
    TakenBack,
}

/// One connection, with the bytes that it buffers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelConnection {
    policy: Policy,
    life: Life,
    failed: bool,
    hold: Hold,
    capacity: u32,
    content: VecDeque<Cell>,
    /// The held buffer was filled, and not enough of it is free again.
    full: bool,
    waiting: bool,
    ready: bool,
    armed: bool,
    paused: bool,
    flight: Flight,
    /// The peer will send no more.
    peer_closed: bool,
    end: Option<EndKind>,
    end_seen: bool,
    needed_bytes: u32,
    blocked: u32,
    yielded: bool,
    /// Receives in this loop iteration.
    reads: u32,
    reschedule_seen: bool,
    misfit_seen: bool,
    /// The pool asked to park.
    reclaim: bool,
    /// The lease expired with more than can be parked.
    expired: bool,
    /// What waits for the host was left in the kernel.
    left: bool,
}

impl ModelConnection {
    /// A connection with this policy, not attached yet.
    pub fn new(policy: Policy) -> ModelConnection {
        ModelConnection {
            policy,
            life: Life::Detached,
            failed: false,
            hold: Hold::None,
            capacity: 0,
            content: VecDeque::new(),
            full: false,
            waiting: false,
            ready: false,
            armed: false,
            paused: false,
            flight: Flight::None,
            peer_closed: false,
            end: None,
            end_seen: false,
            needed_bytes: 0,
            blocked: 0,
            yielded: false,
            reads: 0,
            reschedule_seen: false,
            misfit_seen: false,
            reclaim: false,
            expired: false,
            left: false,
        }
    }

    /// Takes an event. `arrived` are the bytes of `Attach`, `Received` and `Sync`, as far as they are known.
    ///
    /// # Errors
    ///
    /// The table of events refuses it; nothing is changed.
    pub fn handle(&mut self, event: Event, arrived: &[Cell]) -> Result<Actions, EventError> {
        if let Some(refusal) = self.refusal(event) {
            return Err(refusal);
        }
        self.change(event, arrived);
        Ok(self.pending())
    }

    /// Changes the policy.
    ///
    /// # Errors
    ///
    /// The docs refuse it; nothing is changed.
    pub fn set_policy(&mut self, policy: Policy) -> Result<Actions, EventError> {
        let is_same_mode = policy.mode == self.policy.mode;
        match self.life {
            Life::Detached => return Err(EventError::NotAttached),
            Life::Closed => return Err(EventError::Closed),
            Life::Open if self.in_flight() && !is_same_mode => return Err(EventError::InFlight),
            Life::Open => self.policy = policy,
        }
        if !is_same_mode {
            self.armed = false;
            self.ready |= self.end.is_none() && matches!(policy.mode, Mode::Optimistic | Mode::Completion);
        }
        self.refill();
        Ok(self.pending())
    }

    fn refusal(&self, event: Event) -> Option<EventError> {
        use EventError::*;
        let (buffered_bytes, closed) = (self.buffered_bytes(), self.life == Life::Closed);
        let first_of = |reasons: &[(bool, EventError)]| reasons.iter().find(|reason| reason.0).map(|reason| reason.1);
        if let Event::Attach { buffered_bytes, capacity } = event {
            let finished = closed && self.hold == Hold::None && !self.waiting;
            let in_use = self.life != Life::Detached && !finished;
            return first_of(&[(in_use, AlreadyAttached), (buffered_bytes > capacity, CapacityTooSmall)]);
        }
        if self.life == Life::Detached {
            return Some(NotAttached);
        }
        match event {
            Event::BufferGranted { capacity } => first_of(&[
                (closed && !self.waiting, Closed),
                (capacity == 0 || capacity < buffered_bytes, CapacityTooSmall),
                (self.hold == Hold::Buffer && self.capacity >= capacity, AlreadyHeld),
                (self.in_flight(), InFlight),
            ]),
            Event::BufferDenied => {
                first_of(&[(closed, Closed), (self.waiting, AlreadyWaiting), (self.hold == Hold::Buffer, AlreadyHeld)])
            }
            Event::BufferParked { capacity } => first_of(&[
                (closed, Closed),
                (capacity == 0 || capacity < buffered_bytes, CapacityTooSmall),
                (self.in_flight(), InFlight),
            ]),
            Event::BufferReleased => first_of(&[(self.hold == Hold::None, NoBuffer), (self.in_flight(), InFlight)]),
            Event::Received { bytes } => first_of(&[
                (closed && !self.in_flight(), Closed),
                (bytes == 0, ZeroBytes),
                (self.end.is_some(), AfterEnd),
                (self.hold == Hold::None, NoBuffer),
                (bytes > self.room(), TooManyBytes),
            ]),
            Event::Consumed { bytes } => {
                first_of(&[(bytes > buffered_bytes, TooManyBytes), (bytes > 0 && self.slot_in_flight(), InFlight)])
            }
            Event::NeedMore { bytes } => {
                let uncountable = u64::from(buffered_bytes) + u64::from(bytes) > u64::from(u32::MAX);
                first_of(&[(closed, Closed), (bytes == 0, ZeroBytes), (uncountable, TooManyBytes)])
            }
            Event::Block { reasons } | Event::Unblock { reasons } => first_of(&[(reasons == 0, NoReasons)]),
            Event::Fail => first_of(&[(closed, Closed)]),
            Event::Sync { buffered_bytes, capacity, .. } => first_of(&[
                (closed, Closed),
                (buffered_bytes > capacity, CapacityTooSmall),
                (self.in_flight() && capacity != self.capacity, InFlight),
            ]),
            Event::Done(actions) => {
                let submits = if self.policy.mode == Mode::Completion { Action::Recv as u32 } else { 0 };
                let acknowledged = self.pending().bits() & (Actions::ACKNOWLEDGED.bits() | submits);
                first_of(&[(actions.bits() | acknowledged != acknowledged, NotPending)])
            }
            _ => None,
        }
    }

    fn change(&mut self, event: Event, arrived: &[Cell]) {
        let noise_when_closed = !matches!(
            event,
            Event::Attach { .. }
                | Event::BufferGranted { .. }
                | Event::BufferReleased
                | Event::Consumed { .. }
                | Event::Done(_)
        );
        let found_nothing = matches!(event, Event::WouldBlock | Event::WouldBlockArmed);
        if found_nothing || matches!(event, Event::Received { .. } | Event::EndOfStream | Event::TransportError) {
            self.flight = Flight::None;
        }
        if self.life == Life::Closed && noise_when_closed {
            return;
        }
        match event {
            Event::Attach { buffered_bytes, capacity } => {
                *self = ModelConnection { life: Life::Open, ..ModelConnection::new(self.policy) };
                self.ready = matches!(self.policy.mode, Mode::Optimistic | Mode::Completion);
                self.arrive(buffered_bytes, arrived);
                if capacity > 0 {
                    self.hold_anew(Hold::Buffer, capacity);
                }
            }
            Event::Readable | Event::KernelFull => self.become_ready(),
            Event::PeerClosed => {
                self.peer_closed = true;
                self.become_ready();
            }
            Event::BufferGranted { capacity } => {
                if self.waiting {
                    self.begin_iteration();
                }
                self.waiting = false;
                self.hold_anew(Hold::Buffer, capacity);
            }
            Event::BufferDenied => self.waiting = true,
            Event::BufferParked { capacity } => self.hold_anew(Hold::Slot, capacity),
            Event::BufferReleased => self.lose_hold(),
            Event::Received { bytes } => self.receive(bytes, arrived),
            Event::WouldBlock => self.ready = false,
            Event::WouldBlockArmed => (self.ready, self.armed) = (false, true),
            Event::EndOfStream => self.finish(EndKind::Stream),
            Event::TransportError => self.finish(EndKind::Error),
            Event::Consumed { bytes } => self.consume(bytes),
            Event::NeedMore { .. } if self.failed => {}
            Event::NeedMore { bytes } => {
                self.needed_bytes = bytes;
                (self.yielded, self.misfit_seen) = (false, false);
                self.refill();
            }
            Event::Block { reasons } => self.blocked |= reasons,
            Event::Unblock { reasons } => self.blocked &= !reasons,
            Event::SetBlocked { reasons } => self.blocked = reasons,
            Event::Yield => self.yielded |= !self.content.is_empty() && !self.failed,
            Event::Wake => self.begin_iteration(),
            Event::PauseRecv => self.paused = true,
            Event::ResumeRecv => self.paused = false,
            Event::Fail => {
                self.failed = true;
                (self.needed_bytes, self.blocked, self.yielded) = (0, 0, false);
                (self.reclaim, self.expired) = (false, false);
            }
            Event::Sync { buffered_bytes, capacity, blocked, needed_bytes, armed } => {
                self.blocked = blocked;
                self.needed_bytes = u32::from(needed_bytes && !self.failed);
                self.armed = armed;
                self.take_over(buffered_bytes, capacity, arrived);
            }
            Event::ReclaimRequested => self.ask_to_park(),
            Event::LeaseExpired => self.expire(),
            Event::Done(actions) => self.acknowledge(actions),
            Event::Close => self.life = Life::Closed,
        }
    }

    /// Something is there, unless all of it was seen.
    fn become_ready(&mut self) {
        if self.end.is_none() {
            self.ready = true;
            self.armed &= !self.is_single_report();
            self.begin_iteration();
        }
    }

    fn receive(&mut self, bytes: u32, arrived: &[Cell]) {
        self.left = false;
        let filled = bytes == self.room();
        self.arrive(bytes, arrived);
        self.needed_bytes = self.needed_bytes.saturating_sub(bytes);
        self.reads += 1;
        // Level-triggered and renewed one-shot interest report again by themselves; other modes receive until
        // `WouldBlock`, and so do all under a layer that holds what no poller reports, and behind a peer that closed.
        let stops_when_short = matches!(self.policy.mode, Mode::Level | Mode::OneShot) && !self.policy.reads_ahead;
        self.ready = filled || self.peer_closed || !stops_when_short;
        self.refill();
    }

    fn consume(&mut self, bytes: u32) {
        if bytes > 0 {
            self.content.drain(..bytes as usize);
            self.needed_bytes = 0;
            (self.reclaim, self.expired) = (false, false);
            self.yielded &= !self.content.is_empty();
            self.refill();
        }
    }

    /// Takes over the state of the host's own buffer.
    fn take_over(&mut self, buffered_bytes: u32, capacity: u32, arrived: &[Cell]) {
        let before = self.buffered_bytes();
        if buffered_bytes > before {
            self.reads += 1;
            self.arrive(buffered_bytes - before, arrived);
        } else {
            self.content.drain(..(before - buffered_bytes) as usize);
        }
        if buffered_bytes < before || capacity == 0 || self.hold != Hold::Buffer {
            (self.reclaim, self.expired) = (false, false);
        }
        let same_size = capacity == self.capacity;
        self.full &= same_size;
        self.hold = match self.hold {
            _ if capacity == 0 => Hold::None,
            Hold::Slot if same_size => Hold::Slot,
            _ => Hold::Buffer,
        };
        self.capacity = capacity;
        self.yielded &= buffered_bytes > 0;
        self.refill();
        // Read interest that is armed will report what there is, unless the connection waits without room to receive
        // into.
        let reports = self.armed && self.is_single_report();
        self.ready &= !(reports && (self.has_room() || !self.waiting));
    }

    fn lose_hold(&mut self) {
        if !self.content.is_empty() {
            self.needed_bytes = 0;
        }
        self.content.clear();
        (self.hold, self.capacity) = (Hold::None, 0);
        (self.reclaim, self.expired) = (false, false);
        self.yielded &= self.left;
        self.refill();
    }

    /// The last bytes were only looked at, and leave the connection for as long as they are in the kernel.
    pub(super) fn leave_in_kernel(&mut self, bytes: u32, waits_for_host: bool) {
        self.content.truncate((self.buffered_bytes() - bytes) as usize);
        self.needed_bytes += if self.needed_bytes > 0 { bytes } else { 0 };
        self.ready = true;
        self.left |= waits_for_host;
        self.refill();
    }

    fn finish(&mut self, kind: EndKind) {
        if !self.end_seen && self.end != Some(EndKind::Error) {
            self.end = Some(kind);
        }
        self.ready = false;
    }

    /// An empty buffer is held for a receive in flight, and a slot may have to make way for a buffer.
    fn ask_to_park(&mut self) {
        self.reclaim |= self.in_flight() || (self.hold == Hold::Buffer && !self.content.is_empty());
    }

    fn expire(&mut self) {
        let keeps_empty = self.content.is_empty() && self.is_misfit();
        if self.content.is_empty() && !keeps_empty {
            self.ask_to_park();
        } else if self.hold == Hold::Buffer {
            // A connection that was asked to park before and still holds its buffer could not; nor can one that
            // keeps an empty buffer.
            let parkable = self.buffered_bytes() <= self.asked_limit() && !self.reclaim && !keeps_empty;
            (self.reclaim, self.expired) = (self.reclaim || parkable, self.expired || !parkable);
        }
    }

    fn acknowledge(&mut self, actions: Actions) {
        let is_done = |action: Action| actions.has(action);
        self.armed |= is_done(Action::WantRecv);
        // A completion host stops the poll or the receive, whichever it has submitted.
        self.armed &= !is_done(Action::StopRecv);
        match self.flight {
            Flight::None if is_done(Action::Recv) => self.flight = Flight::Under,
            Flight::Under if is_done(Action::StopRecv) => self.flight = Flight::TakenBack,
            _ => {}
        }
        self.waiting &= !is_done(Action::CancelRequest);
        self.end_seen |= is_done(Action::End);
        self.misfit_seen |= is_done(Action::CannotFit);
        self.expired &= !is_done(Action::Shed);
        self.reschedule_seen |= is_done(Action::Reschedule);
    }

    fn begin_iteration(&mut self) {
        (self.reads, self.yielded, self.reschedule_seen) = (0, false, false);
    }

    fn hold_anew(&mut self, hold: Hold, capacity: u32) {
        // A place of another size was never full itself.
        self.full &= capacity == self.capacity;
        (self.hold, self.capacity) = (hold, capacity);
        (self.reclaim, self.expired) = (false, false);
        self.refill();
    }

    fn arrive(&mut self, bytes: u32, arrived: &[Cell]) {
        let known = arrived.iter().copied().chain(std::iter::repeat(None));
        self.content.extend(known.take(bytes as usize));
    }

    /// Full from the last free byte on, until `resume_free_bytes` bytes are free; any room will do for a decoder that
    /// cannot free more before it is given more.
    fn refill(&mut self) {
        let resume = if self.needed_bytes > 0 { 1 } else { self.policy.resume_free_bytes.max(1) }.min(self.capacity);
        self.full = self.hold != Hold::None && (self.room() == 0 || (self.full && self.room() < resume));
        self.misfit_seen &= self.is_misfit();
    }
}

/// For the search.
impl ModelConnection {
    /// Writes down all that the future depends on, but for the values of bytes. Reads above what is allowed in an
    /// iteration are alike.
    pub fn state_key(&self, state: &mut Vec<u64>) {
        // Without `..`, so that what is added here is not forgotten there.
        let ModelConnection {
            policy: _,
            life,
            failed,
            hold,
            capacity,
            content,
            full,
            waiting,
            ready,
            armed,
            paused,
            flight,
            peer_closed,
            end,
            end_seen,
            needed_bytes,
            blocked,
            yielded,
            reads,
            reschedule_seen,
            misfit_seen,
            reclaim,
            expired,
            left,
        } = self;
        let end = end.map_or(0, |end| 1 + end as u64);
        let values =
            [*life as u64, *hold as u64, *flight as u64, end].into_iter().fold(0, |word, value| word << 2 | value);
        let read_interest = [failed, full, waiting, ready, armed, paused];
        let facts = [peer_closed, end_seen, yielded, reschedule_seen, misfit_seen, reclaim, expired, left];
        let word = read_interest.into_iter().chain(facts).fold(values, |word, &fact| word << 1 | u64::from(fact));
        let pair = |a: u32, b: u32| u64::from(a) << 32 | u64::from(b);
        let reads = (*reads).min(self.reads_max());
        state.extend([word, pair(*capacity, content.len() as u32), pair(*needed_bytes, *blocked), reads.into()]);
    }
}
