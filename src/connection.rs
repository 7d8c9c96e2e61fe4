//! What should this connection do now? A pure value: events in, actions out.
//!
//! [`Connection`] knows how much is buffered, whether more may come and whether it can be decoded; it owns no memory
//! and does no I/O. The host reports what happened with [`Connection::handle`] and does what the returned [`Actions`]
//! say. **The law of use:** report each outcome, do each action, and after `Demux` say why bytes were left, if any were.
//!
//! Actions are levels: they are a function of the state alone ([`Connection::pending`]), so a lost or repeated call
//! never loses work. A refused event ([`EventError`]) changes nothing, and no sequence of events panics.
//!
//! # State
//!
//! | part | values | changed by |
//! |---|---|---|
//! | life | detached, open, failed, closing, finished | `Attach`, `Fail`, `Close` |
//! | hold | none, slot, buffer (with capacity and level) | `BufferGranted`, `BufferParked`, `BufferReleased`, `Sync` |
//! | wait | no, queued | `BufferDenied`, `BufferGranted`, `Done(CancelRequest)` |
//! | readiness | unknown, ready | `Readable`, `Received`, `WouldBlock`, `Sync` (one-shot) |
//! | receive | none, in flight, taken back (completion) | `Done(Recv)`, `Done(StopRecv)`, `Received`, `WouldBlock`, the end |
//! | watch | off, armed | `Done(WantRecv)`, `Done(StopRecv)`, `Readable` (one-shot), `Sync` |
//! | end | open, ended, broken; then reported | `EndOfStream`, `TransportError`, `Done(End)` |
//! | decoder | free, short of n bytes, blocked by reasons, yielded | `NeedMore`, `Received`, `Block`, `Unblock`, `Yield`, `Wake` |
//!
//! A completion host submits a receive and says so (`Done(Recv)`). From then until its outcome the memory it goes to is
//! in use by the system: it is neither moved, parked nor released, in whatever state the connection is. `StopRecv` asks
//! for the receive to be taken back; the outcome is reported all the same, `WouldBlock` if it brought nothing.
//!
//! # Events
//!
//! | event | refused when | effect |
//! |---|---|---|
//! | `Attach` | open, closing; level > capacity | open; holds the buffer if capacity > 0 |
//! | `Readable` | detached | ready, new turn; one-shot watches are off; nothing after the end or `Close` |
//! | `BufferGranted` | capacity 0 or < level; a buffer as large is held; closed and not queued; in flight | holds it, no longer queued; new turn if it was |
//! | `BufferDenied` | queued; a buffer is held; closed | queued |
//! | `BufferParked` | capacity 0 or < level; closed; in flight | holds a slot |
//! | `BufferReleased` | nothing is held; in flight | holds nothing, buffers nothing |
//! | `Received` | 0; nothing held; more than the room; after the end; closed and not in flight | buffered; short by so much less; after `Close` nothing |
//! | `WouldBlock` | detached | not ready |
//! | `EndOfStream`, `TransportError` | detached | ended or broken (an error outweighs an end that is not reported yet) |
//! | `Consumed` | more than buffered; from a slot while in flight | buffered less; progress ends what the decoder was short of, and a request to park or shed |
//! | `NeedMore` | 0; more than can be counted; closed | short of so many bytes |
//! | `Block`, `Unblock` | no reasons; detached | reasons added, removed |
//! | `Yield` | detached | no `Demux` or `Recv` before the next turn |
//! | `Wake` | detached | new turn |
//! | `PauseRecv`, `ResumeRecv` | detached | reading is (not) wanted by the host |
//! | `Fail` | closed | failed: nothing is short, blocked or yielded any more, all is discarded |
//! | `Sync` | level > capacity; closed; another capacity while in flight | buffer (or slot, if its capacity is given), level, reasons, shortness, watch as given; a one-shot watch that is on will report, so not ready |
//! | `ReclaimRequested` | detached | parks what can be parked, ready or not |
//! | `LeaseExpired` | detached | as `ReclaimRequested`; to be shed if that was asked before or cannot be |
//! | `Done` | not pending | watch changed, wait ended, or notice seen |
//! | `Close` | detached | closing |
//!
//! # Actions
//!
//! `may read` = open, not ended, not paused, what is buffered can fit, not (blocked and the policy pauses then).
//! `room` = a buffer that is not full, or a slot that is not full, or nothing held; the last two only while a
//! better buffer is not being waited for in vain (a slot with room is good enough, nothing is not).
//!
//! | action | pending while |
//! |---|---|
//! | `WantRecv`, `StopRecv` | the watch differs from what the mode wants: level: may read and room; one-shot, optimistic: that, and not ready; edge: until the end; completion: `WantRecv` never, `StopRecv` while a receive is in flight that should not be, that keeps a slot from being decoded, or whose buffer the pool asks for |
//! | `RequestBuffer` | may read, ready, within budget, no buffer held (a slot may be), none in flight, not queued |
//! | `CancelRequest` | queued and `RequestBuffer` would not be wanted |
//! | `Demux` | bytes are buffered and the decoder is free; not in a slot while in flight |
//! | `Discard` | bytes are buffered and failed, or the end is reported; not in a slot while in flight |
//! | `Recv` | may read, ready, within budget, a buffer with room (or a slot with room while queued), nothing to decode first, none in flight |
//! | `CannotFit` | short of more than the buffer has room for; not blocked; until seen |
//! | `End` | ended; nothing is buffered, or what is buffered is short; not blocked; until seen |
//! | `ReleaseBuffer` | a buffer or slot is held, empty, not too small, nothing is to be received into it now or in flight |
//! | `Park` | a residue in a buffer that cannot be decoded, none in flight: of at most `park_bytes` and its receive ran dry, or of at most `reclaim_bytes` and the pool asks |
//! | `Shed` | the lease expired with what cannot be parked; until progress or seen |
//! | `Reschedule` | the turn's budget is used up and there is work that no watch would wake for; until seen |
//! | `Finished` | closed, nothing held, not queued |

#![forbid(unsafe_code)]

mod action;
mod event;
mod policy;

pub use action::{Action, Actions};
pub use event::{Event, EventError};
pub use policy::{Mode, Policy};

/// One connection's receive state. All-zero ([`Connection::default`]) is not attached.
///
/// A plain value: it may be moved and copied as bytes while it is not queued, and needs no destructor unless it holds
/// or waits for something. The fields are laid out for C and private to this module.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct Connection {
    /// Size of what is held, in bytes; 0 if nothing is.
    capacity: u32,
    /// Bytes buffered.
    level: u32,
    /// Bytes that must arrive before the decoder can go on.
    short: u32,
    /// The host's reasons why decoding cannot go on.
    blocked: u32,
    /// Free bytes at which a full buffer receives again; 0 for any.
    resume_at: u32,
    /// One bit for each fact of `flag`, and the mode.
    flags: u32,
    /// Largest residue to park unasked, in bytes.
    park_bytes: u16,
    /// Largest residue to park when asked, in bytes.
    reclaim_bytes: u16,
    /// Receives in this turn.
    reads: u8,
    /// Receives allowed in one turn; 0 for the default.
    reads_per_wake: u8,
    /// Always 0: hosts compare connections byte for byte.
    padding: [u8; 2],
}

const _: () = assert!(core::mem::size_of::<Connection>() <= 32);

/// The facts in `Connection::flags`.
mod flag {
    pub(super) const ATTACHED: u32 = 1 << 0;
    pub(super) const CLOSED: u32 = 1 << 1;
    pub(super) const FAILED: u32 = 1 << 2;
    pub(super) const BUFFER: u32 = 1 << 3;
    pub(super) const SLOT: u32 = 1 << 4;
    pub(super) const WAITING: u32 = 1 << 5;
    pub(super) const READY: u32 = 1 << 6;
    pub(super) const ARMED: u32 = 1 << 7;
    pub(super) const PAUSED: u32 = 1 << 8;
    pub(super) const FULL: u32 = 1 << 9;
    pub(super) const YIELDED: u32 = 1 << 10;
    pub(super) const SCHEDULED: u32 = 1 << 11;
    pub(super) const ENDED: u32 = 1 << 12;
    pub(super) const BROKEN: u32 = 1 << 13;
    pub(super) const END_SEEN: u32 = 1 << 14;
    pub(super) const MISFIT_SEEN: u32 = 1 << 15;
    pub(super) const RECLAIM: u32 = 1 << 16;
    pub(super) const EXPIRED: u32 = 1 << 17;
    pub(super) const PAUSE_WHEN_BLOCKED: u32 = 1 << 18;
    pub(super) const POISONED: u32 = 1 << 19;
    /// A receive was submitted and is not complete.
    pub(super) const IN_FLIGHT: u32 = 1 << 20;
    /// The host was asked to take it back.
    pub(super) const TAKEN_BACK: u32 = 1 << 21;
    pub(super) const MODE_SHIFT: u32 = 24;
    pub(super) const HELD: u32 = BUFFER | SLOT;
    pub(super) const ASKED: u32 = RECLAIM | EXPIRED;
    pub(super) const FLIGHT: u32 = IN_FLIGHT | TAKEN_BACK;
    pub(super) const OVER: u32 = ENDED | BROKEN;
}

/// How the byte stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EndKind {
    /// The peer will send no more.
    Stream,
    /// The transport failed.
    Error,
}

/// What a connection holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Hold {
    /// Nothing.
    None = 0,
    /// A parking slot, with what is buffered in it.
    Slot = 1,
    /// A buffer.
    Buffer = 2,
}

impl Connection {
    /// A connection with this policy, not attached yet.
    pub const fn new(policy: Policy) -> Connection {
        let pause = if policy.pause_when_blocked { flag::PAUSE_WHEN_BLOCKED } else { 0 };
        Connection {
            capacity: 0,
            level: 0,
            short: 0,
            blocked: 0,
            resume_at: policy.resume_at,
            flags: pause | (policy.mode as u32) << flag::MODE_SHIFT,
            park_bytes: policy.park_bytes,
            reclaim_bytes: policy.reclaim_bytes,
            reads: 0,
            reads_per_wake: policy.reads_per_wake,
            padding: [0; 2],
        }
    }

    /// What is left of a connection whose state cannot be trusted: it refuses every event.
    #[cfg(feature = "ffi")]
    pub(crate) fn poisoned() -> Connection {
        Connection { flags: flag::POISONED, ..Connection::default() }
    }

    /// Whether a panic inside the library left the connection's state unknown.
    pub const fn is_poisoned(&self) -> bool {
        self.has(flag::POISONED)
    }

    /// Reports what happened; returns what is to be done now, as [`Connection::pending`] does.
    ///
    /// Cost: a few dozen instructions, no memory but the connection's own.
    ///
    /// # Errors
    ///
    /// The event makes no sense in this state; nothing is changed.
    pub fn handle(&mut self, event: Event) -> Result<Actions, EventError> {
        self.admit(event)?;
        if !self.has(flag::CLOSED) || matters_when_closed(event) {
            self.apply(event);
        } else if is_outcome(event) {
            // All that is left to know of a receive in flight is that it is over.
            self.clear(flag::FLIGHT);
        }
        Ok(self.pending())
    }

    /// What is to be done now.
    pub fn pending(&self) -> Actions {
        let mut actions = Actions::NONE;
        if !self.has(flag::ATTACHED) {
            return actions;
        }
        if self.has(flag::CLOSED) {
            actions.set_if(self.has(flag::WAITING), Action::CancelRequest);
            actions.set_if(self.should_take_back(), Action::StopRecv);
            actions.set_if(self.has(flag::HELD) && !self.is_in_flight(), Action::ReleaseBuffer);
            actions.set_if(!self.has(flag::WAITING | flag::HELD), Action::Finished);
            return actions;
        }
        let (wants_watch, armed) = (self.wants_watch(), self.has(flag::ARMED));
        actions.set_if(wants_watch && !armed, Action::WantRecv);
        actions.set_if((!wants_watch && armed) || self.should_take_back(), Action::StopRecv);
        let (wants_buffer, waiting) = (self.wants_buffer(), self.has(flag::WAITING));
        actions.set_if(wants_buffer && !waiting, Action::RequestBuffer);
        actions.set_if(!wants_buffer && waiting, Action::CancelRequest);
        let (park, receive, demux) = (self.should_park(), self.should_receive(), self.can_decode());
        actions.set_if(park, Action::Park);
        actions.set_if(receive, Action::Recv);
        actions.set_if(demux, Action::Demux);
        actions.set_if(self.must_discard(), Action::Discard);
        actions.set_if(self.end_is_due(), Action::End);
        let misfit_is_due = self.is_misfit() && !self.is_blocked() && !self.has(flag::MISFIT_SEEN);
        actions.set_if(misfit_is_due, Action::CannotFit);
        actions.set_if(self.has(flag::EXPIRED), Action::Shed);
        // An empty buffer that is too small stays until the host has seen to it: the next would be no larger.
        let empty = self.has(flag::HELD) && self.level == 0 && !self.is_misfit() && !self.is_in_flight();
        actions.set_if(empty && !receive && !self.keeps_lifeline(), Action::ReleaseBuffer);
        actions.set_if(!self.has(flag::SCHEDULED) && self.has_work_for_next_turn(), Action::Reschedule);
        actions
    }

    /// The most bytes one receive may bring now: the room of what is held while `Recv` is pending, else 0.
    pub fn recv_max(&self) -> u32 {
        if self.is_open() && self.should_receive() { self.room() } else { 0 }
    }

    /// Bytes buffered.
    pub const fn level(&self) -> u32 {
        self.level
    }

    /// Size of what is held, in bytes; 0 if nothing is.
    pub const fn capacity(&self) -> u32 {
        self.capacity
    }

    /// Bytes that must arrive before the decoder can go on; 0 if it is not short of data.
    pub const fn short(&self) -> u32 {
        self.short
    }

    /// The host's reasons why decoding cannot go on.
    pub const fn blocked(&self) -> u32 {
        self.blocked
    }

    /// Bytes that can never be decoded, once `End` is pending or was.
    pub const fn residue(&self) -> u32 {
        if self.has(flag::OVER) { self.level } else { 0 }
    }

    /// What the connection holds.
    pub const fn hold(&self) -> Hold {
        if self.has(flag::BUFFER) {
            Hold::Buffer
        } else if self.has(flag::SLOT) {
            Hold::Slot
        } else {
            Hold::None
        }
    }

    /// Whether the connection is queued for a buffer.
    pub const fn is_waiting(&self) -> bool {
        self.has(flag::WAITING)
    }

    /// Whether the host's watch is on, as far as it was reported.
    pub const fn is_armed(&self) -> bool {
        self.has(flag::ARMED)
    }

    /// Whether the transport is believed to have something.
    pub const fn is_ready(&self) -> bool {
        self.has(flag::READY)
    }

    /// Whether a receive was submitted and is not complete: what is held is in use by the system.
    pub const fn is_in_flight(&self) -> bool {
        self.has(flag::IN_FLIGHT)
    }

    /// Whether the host wants no reading for reasons of its own.
    pub const fn is_paused(&self) -> bool {
        self.has(flag::PAUSED)
    }

    /// Whether what is held was filled, and not enough of it is free again.
    pub const fn is_full(&self) -> bool {
        self.has(flag::FULL)
    }

    /// Whether the host stopped decoding for its own budget, until the next turn.
    pub const fn has_yielded(&self) -> bool {
        self.has(flag::YIELDED)
    }

    /// Whether the connection was attached; it stays so when it is closed.
    pub(crate) const fn is_attached(&self) -> bool {
        self.has(flag::ATTACHED)
    }

    /// Whether the connection is attached and not closed.
    pub const fn is_open(&self) -> bool {
        self.has(flag::ATTACHED) && !self.has(flag::CLOSED)
    }

    /// Whether the decoder failed.
    pub const fn is_failed(&self) -> bool {
        self.has(flag::FAILED)
    }

    /// Whether and how the byte stream ended, as soon as it is known.
    pub const fn end(&self) -> Option<EndKind> {
        if self.has(flag::BROKEN) {
            Some(EndKind::Error)
        } else if self.has(flag::ENDED) {
            Some(EndKind::Stream)
        } else {
            None
        }
    }

    /// The settings the connection was made with.
    pub fn policy(&self) -> Policy {
        Policy {
            mode: self.mode(),
            reads_per_wake: self.reads_per_wake,
            park_bytes: self.park_bytes,
            reclaim_bytes: self.reclaim_bytes,
            resume_at: self.resume_at,
            pause_when_blocked: self.has(flag::PAUSE_WHEN_BLOCKED),
        }
    }

    /// Whether reading could be accepted now, were there something to read: what the watch follows.
    pub fn is_accepting(&self) -> bool {
        self.may_read() && self.has_room()
    }
}

/// Which events are let through.
impl Connection {
    /// Refuses what makes no sense. Looks only, so that a refused event changes nothing.
    fn admit(&self, event: Event) -> Result<(), EventError> {
        refuse_if(self.is_poisoned(), EventError::Poisoned)?;
        if let Event::Attach { level, capacity } = event {
            return self.admit_attach(level, capacity);
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
                refuse_if(bytes > self.level, EventError::TooManyBytes)?;
                refuse_if(bytes > 0 && self.is_pinned(), EventError::InFlight)
            }
            Event::NeedMore { bytes } => {
                self.admit_open()?;
                refuse_if(bytes == 0, EventError::ZeroBytes)?;
                refuse_if(self.level.checked_add(bytes).is_none(), EventError::TooManyBytes)
            }
            Event::Block { reasons } | Event::Unblock { reasons } => refuse_if(reasons == 0, EventError::NoReasons),
            Event::Fail => self.admit_open(),
            Event::Sync { level, capacity, .. } => {
                self.admit_open()?;
                refuse_if(level > capacity, EventError::CapacityTooSmall)?;
                refuse_if(self.is_in_flight() && capacity != self.capacity, EventError::InFlight)
            }
            Event::Done { actions } => self.admit_done(actions),
            _ => Ok(()),
        }
    }

    fn admit_attach(&self, level: u32, capacity: u32) -> Result<(), EventError> {
        let finished = self.has(flag::CLOSED) && !self.has(flag::HELD | flag::WAITING);
        refuse_if(self.has(flag::ATTACHED) && !finished, EventError::AlreadyAttached)?;
        refuse_if(level > capacity, EventError::CapacityTooSmall)
    }

    fn admit_open(&self) -> Result<(), EventError> {
        refuse_if(self.has(flag::CLOSED), EventError::Closed)
    }

    fn admit_capacity(&self, capacity: u32) -> Result<(), EventError> {
        refuse_if(capacity == 0 || capacity < self.level, EventError::CapacityTooSmall)
    }

    /// A grant that crosses a `Close` is normal; one that nobody waited for after it is not.
    fn admit_grant(&self, capacity: u32) -> Result<(), EventError> {
        refuse_if(self.has(flag::CLOSED) && !self.has(flag::WAITING), EventError::Closed)?;
        self.admit_capacity(capacity)?;
        refuse_if(self.has(flag::BUFFER) && capacity <= self.capacity, EventError::AlreadyHeld)?;
        refuse_if(self.is_in_flight(), EventError::InFlight)
    }

    fn admit_received(&self, bytes: u32) -> Result<(), EventError> {
        refuse_if(self.has(flag::CLOSED) && !self.is_in_flight(), EventError::Closed)?;
        refuse_if(bytes == 0, EventError::ZeroBytes)?;
        refuse_if(self.has(flag::OVER), EventError::AfterEnd)?;
        refuse_if(!self.has(flag::HELD), EventError::NoBuffer)?;
        refuse_if(bytes > self.room(), EventError::TooManyBytes)
    }

    fn admit_done(&self, bits: u32) -> Result<(), EventError> {
        let actions = Actions::from_bits(bits).ok_or(EventError::NotPending)?;
        let submits = if self.mode() == Mode::Completion { Action::Recv.into() } else { Actions::NONE };
        let allowed = self.pending().intersection(Actions::ACKNOWLEDGED | submits);
        refuse_if(!allowed.contains(actions), EventError::NotPending)
    }
}

/// What an admitted event changes.
impl Connection {
    fn apply(&mut self, event: Event) {
        match event {
            Event::Attach { level, capacity } => self.attach(level, capacity),
            Event::Readable => self.readable(),
            Event::BufferGranted { capacity } => self.granted(capacity),
            Event::BufferDenied => self.set(flag::WAITING),
            Event::BufferParked { capacity } => self.hold_as(flag::SLOT, capacity),
            Event::BufferReleased => self.drop_hold(),
            Event::Received { bytes } => self.received(bytes),
            Event::WouldBlock => self.clear(flag::READY | flag::FLIGHT),
            Event::EndOfStream => self.end_with(flag::ENDED),
            Event::TransportError => self.end_with(flag::BROKEN),
            Event::Consumed { bytes } => self.consumed(bytes),
            Event::NeedMore { bytes } => self.need_more(bytes),
            Event::Block { reasons } => self.blocked |= reasons,
            Event::Unblock { reasons } => self.blocked &= !reasons,
            Event::Yield => self.yield_turn(),
            Event::Wake => self.begin_turn(),
            Event::PauseRecv => self.set(flag::PAUSED),
            Event::ResumeRecv => self.clear(flag::PAUSED),
            Event::Fail => self.fail(),
            Event::Sync { level, capacity, blocked, short, armed } => self.sync(level, capacity, blocked, short, armed),
            Event::ReclaimRequested => self.reclaim(),
            Event::LeaseExpired => self.expire(),
            Event::Done { actions } => self.done(Actions::from_bits(actions).unwrap_or_default()),
            Event::Close => self.set(flag::CLOSED),
        }
    }

    fn attach(&mut self, level: u32, capacity: u32) {
        *self = Connection::new(self.policy());
        self.set(flag::ATTACHED);
        // These hosts receive first and ask later.
        if matches!(self.mode(), Mode::Optimistic | Mode::Completion) {
            self.set(flag::READY);
        }
        self.level = level;
        if capacity > 0 {
            self.hold_as(flag::BUFFER, capacity);
        }
    }

    fn readable(&mut self) {
        if self.has(flag::OVER) {
            return;
        }
        self.set(flag::READY);
        if matches!(self.mode(), Mode::OneShot | Mode::Optimistic) {
            self.clear(flag::ARMED);
        }
        self.begin_turn();
    }

    fn granted(&mut self, capacity: u32) {
        // What is granted at once belongs to the turn that asked for it, or a host that hands each buffer on would
        // never come to the end of its budget.
        if self.has(flag::WAITING) {
            self.clear(flag::WAITING);
            self.begin_turn();
        }
        self.hold_as(flag::BUFFER, capacity);
    }

    /// The budgets of the turn start again.
    fn begin_turn(&mut self) {
        self.reads = 0;
        self.clear(flag::YIELDED | flag::SCHEDULED);
    }

    fn yield_turn(&mut self) {
        if self.level > 0 && !self.has(flag::FAILED) {
            self.set(flag::YIELDED);
        }
    }

    fn received(&mut self, bytes: u32) {
        self.clear(flag::FLIGHT);
        let filled = bytes == self.room();
        self.level += bytes;
        self.short = self.short.saturating_sub(bytes);
        self.reads = self.reads.saturating_add(1);
        match self.mode() {
            // A receive that filled what was offered may have left more behind. One that did not ran dry, and
            // these watches report again whatever came since.
            Mode::Level | Mode::OneShot if filled => self.set(flag::READY),
            Mode::Level | Mode::OneShot => self.clear(flag::READY),
            // These are told of a change only once, and an end that came with the bytes is one: ask again.
            Mode::Edge | Mode::Optimistic | Mode::Completion => self.set(flag::READY),
        }
        self.update_room();
    }

    fn end_with(&mut self, kind: u32) {
        if !self.has(flag::END_SEEN) {
            self.set(kind);
        }
        self.clear(flag::READY | flag::FLIGHT);
    }

    fn consumed(&mut self, bytes: u32) {
        if bytes == 0 {
            return;
        }
        self.level -= bytes;
        // The decoder went on, so what it was short of is behind it.
        self.short = 0;
        self.clear(flag::ASKED);
        if self.level == 0 {
            self.clear(flag::YIELDED);
        }
        self.update_room();
    }

    fn need_more(&mut self, bytes: u32) {
        if self.has(flag::FAILED) {
            return;
        }
        self.short = bytes;
        self.clear(flag::YIELDED | flag::MISFIT_SEEN);
        self.update_room();
    }

    fn fail(&mut self) {
        self.set(flag::FAILED);
        self.clear(flag::YIELDED | flag::ASKED);
        self.short = 0;
        self.blocked = 0;
    }

    fn sync(&mut self, level: u32, capacity: u32, blocked: u32, short: bool, armed: bool) {
        // As with `Consumed`, only progress or another buffer ends what the pool asked for.
        let same_buffer = self.has(flag::BUFFER) && capacity > 0;
        let asked = if same_buffer && level >= self.level { self.flags & flag::ASKED } else { 0 };
        if level > self.level {
            self.reads = self.reads.saturating_add(1);
        }
        self.level = level;
        self.blocked = blocked;
        // "Short" without a number is short of at least one byte.
        self.short = u32::from(short && !self.has(flag::FAILED));
        if level == 0 {
            self.clear(flag::YIELDED);
        }
        self.clear(flag::ARMED);
        if armed && self.mode() != Mode::Completion {
            self.set(flag::ARMED);
        }
        match capacity {
            0 => self.drop_hold_empty(),
            _ if self.has(flag::SLOT) && capacity == self.capacity => self.hold_as(flag::SLOT, capacity),
            _ => self.hold_as(flag::BUFFER, capacity),
        }
        self.set(asked);
        // A one-shot subscription that is on looks again, so there is nothing to receive before it reports. A place in
        // the queue, with no room to have received into, is not given up for that.
        let looks_again = armed && matches!(self.mode(), Mode::OneShot | Mode::Optimistic);
        if looks_again && (self.has_room() || !self.has(flag::WAITING)) {
            self.clear(flag::READY);
        }
    }

    fn reclaim(&mut self) {
        // What a receive is in flight into may be empty, or have to make way for something larger.
        if (self.has(flag::BUFFER) && self.level > 0) || self.is_in_flight() {
            self.set(flag::RECLAIM);
        }
    }

    fn expire(&mut self) {
        if self.level == 0 {
            self.reclaim();
        }
        if !self.has(flag::BUFFER) || self.level == 0 {
            return;
        }
        // Who was asked to park and still holds it could not.
        let could_park = self.level <= self.reclaim_max() && !self.has(flag::RECLAIM);
        self.set(if could_park { flag::RECLAIM } else { flag::EXPIRED });
    }

    fn done(&mut self, actions: Actions) {
        for action in actions.iter() {
            match action {
                Action::WantRecv => self.set(flag::ARMED),
                Action::StopRecv if self.is_in_flight() => self.set(flag::TAKEN_BACK),
                Action::StopRecv => self.clear(flag::ARMED),
                Action::Recv => self.set(flag::IN_FLIGHT),
                Action::CancelRequest => self.clear(flag::WAITING),
                Action::End => self.set(flag::END_SEEN),
                Action::CannotFit => self.set(flag::MISFIT_SEEN),
                Action::Shed => self.clear(flag::EXPIRED),
                Action::Reschedule => self.set(flag::SCHEDULED),
                // `admit_done` let none of the others through.
                _ => {}
            }
        }
    }

    /// What is held is now a buffer or slot of this capacity, with the same content.
    fn hold_as(&mut self, kind: u32, capacity: u32) {
        self.clear(flag::HELD | flag::ASKED);
        self.set(kind);
        if capacity != self.capacity {
            // Another place was never full itself, so it need not be drained first.
            self.clear(flag::FULL);
        }
        self.capacity = capacity;
        self.update_room();
    }

    fn drop_hold(&mut self) {
        if self.level > 0 {
            // What the decoder was short of left with the content.
            self.short = 0;
        }
        self.level = 0;
        self.drop_hold_empty();
    }

    fn drop_hold_empty(&mut self) {
        self.capacity = 0;
        self.clear(flag::HELD | flag::ASKED | flag::YIELDED);
        self.update_room();
    }

    /// The one place where level and capacity decide over full and misfit.
    fn update_room(&mut self) {
        let room = self.room();
        // A decoder that is short of data frees nothing before it has been given more.
        let resume_at = if self.short > 0 { 1 } else { self.resume_at.max(1) };
        let enough = resume_at.min(self.capacity);
        if self.has(flag::HELD) && room == 0 {
            self.set(flag::FULL);
        } else if room >= enough {
            self.clear(flag::FULL);
        }
        if !self.is_misfit() {
            self.clear(flag::MISFIT_SEEN);
        }
    }
}

/// The conditions the actions follow from.
impl Connection {
    const fn has(&self, any_of: u32) -> bool {
        self.flags & any_of != 0
    }

    fn set(&mut self, flags: u32) {
        self.flags |= flags;
    }

    fn clear(&mut self, flags: u32) {
        self.flags &= !flags;
    }

    fn mode(&self) -> Mode {
        Mode::from_number((self.flags >> flag::MODE_SHIFT) as u8).unwrap_or_default()
    }

    const fn room(&self) -> u32 {
        self.capacity.saturating_sub(self.level)
    }

    fn is_blocked(&self) -> bool {
        self.blocked != 0 && !self.has(flag::FAILED)
    }

    /// What the decoder is short of has no room in the buffer. A slot is only a stand-in for a buffer.
    fn is_misfit(&self) -> bool {
        self.has(flag::BUFFER) && self.short > self.room() && !self.has(flag::OVER | flag::FAILED)
    }

    fn may_read(&self) -> bool {
        let pauses = self.has(flag::PAUSE_WHEN_BLOCKED) && self.is_blocked();
        !self.has(flag::OVER | flag::PAUSED) && !self.is_misfit() && !pauses
    }

    fn has_room(&self) -> bool {
        match self.hold() {
            Hold::Buffer => !self.has(flag::FULL),
            Hold::Slot => !(self.has(flag::FULL) && self.has(flag::WAITING)),
            Hold::None => !self.has(flag::WAITING),
        }
    }

    fn wants_watch(&self) -> bool {
        match self.mode() {
            Mode::Level => self.is_accepting(),
            Mode::OneShot | Mode::Optimistic => self.is_accepting() && !self.has(flag::READY),
            Mode::Edge => !self.has(flag::OVER),
            Mode::Completion => false,
        }
    }

    /// A receive is in flight that should not be, or whose buffer others wait for.
    fn should_take_back(&self) -> bool {
        let in_the_way = self.is_pinned() && (self.is_decodable() || self.is_refuse());
        let unwanted = self.has(flag::CLOSED | flag::ASKED) || !self.may_read() || in_the_way;
        self.is_in_flight() && unwanted && !self.has(flag::TAKEN_BACK)
    }

    /// Neither the receives of this turn are used up, nor the host's own budget.
    fn is_within_budget(&self) -> bool {
        let allowed = match self.reads_per_wake {
            0 => Policy::READS_PER_WAKE_DEFAULT,
            allowed => allowed,
        };
        self.reads < allowed && !self.has(flag::YIELDED)
    }

    /// A place in the queue is kept across turns; a new request waits for the next turn's budget.
    fn wants_buffer(&self) -> bool {
        self.may_read()
            && self.has(flag::READY)
            && !self.has(flag::BUFFER)
            && (self.has(flag::WAITING) || self.may_request())
    }

    /// What a slot holds is decoded before a buffer is asked for.
    fn may_request(&self) -> bool {
        self.is_within_budget() && !self.can_decode() && !self.must_discard() && !self.is_in_flight()
    }

    fn can_decode(&self) -> bool {
        self.is_decodable() && !self.is_pinned()
    }

    fn must_discard(&self) -> bool {
        self.is_refuse() && !self.is_pinned()
    }

    fn is_decodable(&self) -> bool {
        self.level > 0
            && self.short == 0
            && self.blocked == 0
            && !self.has(flag::YIELDED | flag::FAILED | flag::END_SEEN)
    }

    fn is_refuse(&self) -> bool {
        self.level > 0 && self.has(flag::FAILED | flag::END_SEEN)
    }

    /// The content of a slot is moved to its front when bytes leave it, so none may while a receive goes to behind it.
    fn is_pinned(&self) -> bool {
        self.is_in_flight() && self.has(flag::SLOT)
    }

    /// Everything but the budget speaks for a receive.
    fn could_receive(&self) -> bool {
        let held = self.has(flag::BUFFER) || (self.has(flag::SLOT) && self.has(flag::WAITING));
        held && self.may_read()
            && !self.is_in_flight()
            && self.has(flag::READY)
            && !self.has(flag::FULL)
            && !self.can_decode()
            && !self.must_discard()
    }

    fn should_receive(&self) -> bool {
        self.could_receive() && self.is_within_budget()
    }

    fn end_is_due(&self) -> bool {
        self.has(flag::OVER)
            && !self.has(flag::END_SEEN)
            && !self.is_blocked()
            && (self.level == 0 || (self.short > 0 && !self.has(flag::FAILED)))
    }

    fn reclaim_max(&self) -> u32 {
        u32::from(self.park_bytes.max(self.reclaim_bytes))
    }

    fn should_park(&self) -> bool {
        let limit = if self.has(flag::RECLAIM) { self.reclaim_max() } else { u32::from(self.park_bytes) };
        let fits = 0 < self.level && self.level <= limit;
        let dry = !self.has(flag::READY) || !self.may_read();
        fits && self.has(flag::BUFFER)
            && !self.is_in_flight()
            && (dry || self.has(flag::RECLAIM))
            && (self.short > 0 || self.is_blocked())
            && !self.has(flag::FAILED | flag::END_SEEN)
            && !self.is_misfit()
            && !self.end_is_due()
    }

    /// An empty slot is worth keeping while a buffer is waited for: the next bytes go there.
    fn keeps_lifeline(&self) -> bool {
        self.has(flag::SLOT) && self.has(flag::WAITING) && self.wants_buffer()
    }

    fn has_work_for_next_turn(&self) -> bool {
        let decode = self.has(flag::YIELDED) && self.short == 0 && !self.is_blocked();
        // A level watch reports again by itself.
        let receive = self.mode() != Mode::Level && !self.is_within_budget() && self.has_unread();
        decode || receive
    }

    fn has_unread(&self) -> bool {
        let lacks_buffer = !self.has(flag::BUFFER | flag::WAITING) && self.may_read() && self.has(flag::READY);
        self.could_receive() || (lacks_buffer && !self.can_decode() && !self.must_discard())
    }
}

/// After `Close` only what ends a hold or a wait has an effect; the rest is normal noise.
fn matters_when_closed(event: Event) -> bool {
    matches!(
        event,
        Event::Attach { .. }
            | Event::BufferGranted { .. }
            | Event::BufferReleased
            | Event::Consumed { .. }
            | Event::Done { .. }
    )
}

/// Whether the event ends a receive.
fn is_outcome(event: Event) -> bool {
    matches!(event, Event::Received { .. } | Event::WouldBlock | Event::EndOfStream | Event::TransportError)
}

fn refuse_if(condition: bool, error: EventError) -> Result<(), EventError> {
    if condition { Err(error) } else { Ok(()) }
}
