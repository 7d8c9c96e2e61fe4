//! Which events are let through: the column "refused when" of the table of events.

use super::{Action, Actions, Connection, Event, EventError, Mode, Policy, flag};

impl Connection {
    /// Refuses what makes no sense. Looks only, so that a refused event changes nothing.
    #[inline(always)] // see `handle_inline`
    pub(super) fn admit(&self, event: Event) -> Result<(), EventError> {
        refuse_if(self.is_poisoned(), EventError::Poisoned)?;
        if let Event::Attach { buffered_bytes, capacity } = event {
            return self.admit_attach(buffered_bytes, capacity);
        }
        if !self.has(flag::ATTACHED) {
            return Err(EventError::NotAttached);
        }
        match event {
            Event::BufferGranted { capacity } => self.admit_grant(capacity),
            Event::BufferParked { capacity } => {
                self.admit_open()?;
                self.admit_capacity(capacity)?;
                refuse_if(self.is_in_flight(), EventError::InFlight)
            }
            Event::BufferDenied => {
                self.admit_open()?;
                refuse_if(self.has(flag::WAITING), EventError::AlreadyWaiting)?;
                refuse_if(self.has(flag::BUFFER), EventError::AlreadyHeld)
            }
            Event::BufferReleased => {
                refuse_if(!self.has(flag::HELD), EventError::NoBuffer)?;
                refuse_if(self.is_in_flight(), EventError::InFlight)
            }
            Event::Received { bytes } => self.admit_received(bytes),
            Event::Consumed { bytes } => {
                refuse_if(bytes > self.buffered_bytes, EventError::TooManyBytes)?;
                refuse_if(bytes > 0 && self.is_pinned(), EventError::InFlight)
            }
            Event::NeedMore { bytes } => {
                self.admit_open()?;
                refuse_if(bytes == 0, EventError::ZeroBytes)?;
                refuse_if(self.buffered_bytes.checked_add(bytes).is_none(), EventError::TooManyBytes)
            }
            Event::Block { reasons } | Event::Unblock { reasons } => refuse_if(reasons == 0, EventError::NoReasons),
            Event::Fail => self.admit_open(),
            Event::Sync { buffered_bytes, capacity, .. } => {
                self.admit_open()?;
                refuse_if(buffered_bytes > capacity, EventError::CapacityTooSmall)?;
                refuse_if(self.is_in_flight() && capacity != self.capacity, EventError::InFlight)
            }
            Event::Done(actions) => self.admit_done(actions),
            _ => Ok(()),
        }
    }

    pub(super) fn admit_policy(&self, policy: &Policy) -> Result<(), EventError> {
        refuse_if(self.is_poisoned(), EventError::Poisoned)?;
        refuse_if(!self.has(flag::ATTACHED), EventError::NotAttached)?;
        self.admit_open()?;
        refuse_if(self.is_in_flight() && !self.has_mode(policy.mode), EventError::InFlight)
    }

    fn admit_attach(&self, buffered_bytes: u32, capacity: u32) -> Result<(), EventError> {
        let finished = self.has(flag::CLOSED) && !self.has(flag::HELD | flag::WAITING);
        refuse_if(self.has(flag::ATTACHED) && !finished, EventError::AlreadyAttached)?;
        refuse_if(buffered_bytes > capacity, EventError::CapacityTooSmall)
    }

    fn admit_open(&self) -> Result<(), EventError> {
        refuse_if(self.has(flag::CLOSED), EventError::Closed)
    }

    fn admit_capacity(&self, capacity: u32) -> Result<(), EventError> {
        refuse_if(capacity == 0 || capacity < self.buffered_bytes, EventError::CapacityTooSmall)
    }

    /// Refuses a grant after `Close`, unless the request is still queued: then the grant and the `Close` crossed.
    #[inline]
    fn admit_grant(&self, capacity: u32) -> Result<(), EventError> {
        refuse_if(self.has(flag::CLOSED) && !self.has(flag::WAITING), EventError::Closed)?;
        self.admit_capacity(capacity)?;
        refuse_if(self.has(flag::BUFFER) && capacity <= self.capacity, EventError::AlreadyHeld)?;
        refuse_if(self.is_in_flight(), EventError::InFlight)
    }

    #[inline]
    fn admit_received(&self, bytes: u32) -> Result<(), EventError> {
        refuse_if(self.has(flag::CLOSED) && !self.is_in_flight(), EventError::Closed)?;
        refuse_if(bytes == 0, EventError::ZeroBytes)?;
        refuse_if(self.has(flag::OVER), EventError::AfterEnd)?;
        refuse_if(!self.has(flag::HELD), EventError::NoBuffer)?;
        refuse_if(bytes > self.room(), EventError::TooManyBytes)
    }

    fn admit_done(&self, actions: Actions) -> Result<(), EventError> {
        self.admit_acknowledged(actions, self.pending())
    }

    /// As `admit` with `Done`, where these actions are pending.
    pub(super) fn admit_acknowledged(&self, actions: Actions, pending: Actions) -> Result<(), EventError> {
        refuse_if(self.is_poisoned(), EventError::Poisoned)?;
        refuse_if(!self.has(flag::ATTACHED), EventError::NotAttached)?;
        let submits = if self.mode() == Mode::Completion { Action::Recv.into() } else { Actions::NONE };
        let allowed = pending.intersection(Actions::ACKNOWLEDGED | submits);
        refuse_if(!allowed.contains(actions), EventError::NotPending)
    }
}

fn refuse_if(condition: bool, error: EventError) -> Result<(), EventError> {
    if condition { Err(error) } else { Ok(()) }
}
