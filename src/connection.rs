//! What should this connection do now? A pure value: events in, actions out.
//!
//! [`Connection`] knows how much is buffered, whether more may come and whether it can be decoded; it owns no memory
//! and does no I/O. The host reports what happened with [`Connection::handle`] and carries out the returned
//! [`Actions`]. **The usage contract:** report each outcome, do each action, and if `Decode` leaves bytes undecoded,
//! report the reason (`NeedMore`, `Block` or `Yield`).
//!
//! Actions are levels: they are a function of the state alone ([`Connection::pending`]), so a lost or repeated call
//! never loses work. A refused event ([`EventError`]) changes nothing, and no sequence of events panics.
//!
//! # State
//!
//! | part | values | changed by |
//! |---|---|---|
//! | life | detached, open, failed, closing, finished | `Attach`, `Fail`, `Close` |
//! | hold | none, slot, buffer (with capacity and buffered bytes) | `BufferGranted`, `BufferParked`, `BufferReleased`, `Sync` |
//! | wait | no, queued | `BufferDenied`, `BufferGranted`, `Done(CancelRequest)` |
//! | readiness | unknown, ready | `Readable`, `PeerClosed`, `KernelFull`, `Received`, `WouldBlock`, `WouldBlockArmed`, `Sync` (one-shot) |
//! | receive | none, in flight, taken back (completion) | `Done(Recv)`, `Done(StopRecv)`, `Received`, `WouldBlock`, `WouldBlockArmed`, the end |
//! | read interest | off, armed (completion: a poll is submitted) | `Done(WantRecv)`, `Done(StopRecv)`, `Readable` (one-shot), `WouldBlockArmed`, `Sync` |
//! | peer | open, closed: it will send no more, and bytes may be unread | `PeerClosed` |
//! | end | open, ended, broken; then reported | `EndOfStream`, `TransportError`, `Done(End)` |
//! | decoder | free, needing n bytes, blocked by reasons, yielded | `NeedMore`, `Received`, `Block`, `Unblock`, `SetBlocked`, `Yield`, `Wake` |
//!
//! A completion host submits a receive and reports `Done(Recv)`. From then until the outcome of the receive, the
//! operating system uses the target memory: it is neither moved, parked nor released, whatever the connection's state.
//! `StopRecv` asks the host to cancel the receive. The host still reports the outcome, `WouldBlock` if the receive
//! brought nothing. Then the machine is not ready, so `WantRecv` is pending as soon as bytes could be accepted: submit
//! a poll. A poll holds no buffer. When the poll completes, report `Readable`, and `Recv` asks for the next receive.
//!
//! **Layers that read ahead.** A layer between transport and host, such as a TLS library, takes more from the transport
//! than it hands on, and the poller does not report the rest. With [`Policy::reads_ahead`] only `WouldBlock` ends
//! readiness, in every mode. Such a layer takes a whole record from the transport for whatever it is asked for, so
//! a waiting connection receives nothing: not into a slot either.
//!
//! # Events
//!
//! | event | refused when | effect |
//! |---|---|---|
//! | `Attach` | open, closing; more bytes than capacity | open; holds the buffer if capacity > 0 |
//! | `Readable`, `KernelFull` | detached | ready, new loop iteration; one-shot read interest (or a poll) is off; nothing after the end or `Close` |
//! | `PeerClosed` | detached | as `Readable`, and the peer is closed |
//! | `BufferGranted` | capacity 0 or below the buffered bytes; a buffer as large is held; closed and not queued; in flight | holds it, no longer queued; new loop iteration if it was |
//! | `BufferDenied` | queued; a buffer is held; closed | queued |
//! | `BufferParked` | capacity 0 or below the buffered bytes; closed; in flight | holds a slot |
//! | `BufferReleased` | nothing is held; in flight | holds nothing, buffers nothing |
//! | `Received` | 0; nothing held; more than the room; after the end; closed and not in flight | the bytes are buffered and no longer count as missing; level, one-shot: not ready if they are less than the room, unless the layer reads ahead or the peer is closed; after `Close` nothing |
//! | `WouldBlock`, `WouldBlockArmed` | detached | not ready; the second: and read interest is armed |
//! | `EndOfStream`, `TransportError` | detached | ended or broken (an error outweighs an end that is not reported yet) |
//! | `Consumed` | more than buffered; from a slot while in flight | buffered less; progress ends the need of bytes, and a request to park or shed |
//! | `NeedMore` | 0; more than can be counted; closed | needs the reported number of bytes |
//! | `Block`, `Unblock` | no reasons; detached | reasons added, removed |
//! | `SetBlocked` | detached | the reasons are those given |
//! | `Yield` | detached | no `Decode` or `Recv` before the next loop iteration |
//! | `Wake` | detached | new loop iteration |
//! | `PauseRecv`, `ResumeRecv` | detached | reading is (not) wanted by the host |
//! | `Fail` | closed | failed: no bytes are needed, nothing is blocked or yielded any more, all is discarded |
//! | `Sync` | more bytes than capacity; closed; another capacity while in flight | buffer (or slot, if its capacity is given), buffered bytes, reasons, need of bytes, read interest as given; one-shot read interest that is armed (or a poll) will report, so not ready |
//! | `ReclaimRequested` | detached | parks what can be parked, ready or not |
//! | `LeaseExpired` | detached | as `ReclaimRequested`; to be shed if that was asked before or cannot be |
//! | `Done` | not pending | read interest changed, wait ended, or notice seen |
//! | `Close` | detached | closing |
//!
//! [`Connection::set_policy`] changes the policy while the connection is open. With another mode read interest is off,
//! and in a mode that receives first (optimistic, completion) the connection is ready, unless it ended. It is refused
//! as `Fail` is, and while a receive is in flight if the mode changes.
//!
//! # Actions
//!
//! `may read` = open, not ended, not paused, what is buffered can fit, not (blocked, and the policy pauses then or
//! bytes are in a slot). `room` = a buffer that is not full, or a slot that is not full, or nothing held; the last two
//! only while a better buffer is not being waited for in vain (a slot with room is good enough, nothing is not; under a
//! layer that reads ahead, neither is).
//!
//! | action | pending while |
//! |---|---|
//! | `WantRecv`, `StopRecv` | the read interest differs from what the mode wants: level: may read and room; one-shot, optimistic, completion: that, and not ready; edge: until the end. Completion: `StopRecv` also while a receive in flight is no longer wanted, prevents the decoding of a slot, or uses a buffer that the pool asks for |
//! | `RequestBuffer` | may read, ready, within budget, no buffer held (a slot may be), none in flight, not queued |
//! | `CancelRequest` | queued and `RequestBuffer` would not be wanted |
//! | `Decode` | bytes are buffered and the decoder is free; not in a slot while in flight |
//! | `Discard` | bytes are buffered and failed, or the end is reported; not in a slot while in flight |
//! | `Recv` | may read, ready, within budget, a buffer with room (or a slot with room while queued, unless the layer reads ahead), nothing to decode first, none in flight |
//! | `CannotFit` | needs more than the buffer has room for; not blocked; until seen |
//! | `End` | ended; nothing is buffered, or more bytes are needed; not blocked; until seen |
//! | `ReleaseBuffer` | a buffer or slot is held, empty, not too small, nothing is to be received into it now or in flight |
//! | `Park` | a buffer holds bytes that cannot be decoded now, and no receive is in flight: at most `park_bytes` and the last receive ran dry, or at most `reclaim_bytes` and the pool asks |
//! | `Shed` | the lease expired with what cannot be parked; until progress or seen |
//! | `Reschedule` | the budget of the loop iteration is used up and there is work that no read interest would wake for (level: only under a layer that reads ahead); until seen |
//! | `Finished` | closed, nothing held, not queued |
//!
//! `Peek` and `RecvWhole` are asked for by pools alone, of receivers that [count](Policy::counting).

#![forbid(unsafe_code)]

mod action;
mod admit;
mod apply;
mod audit;
mod conditions;
mod event;
mod fast_path;
mod flight;
mod idle;
mod kept_cycle;
mod policy;
mod scarce;

pub use action::{Action, Actions, ActionsIter};
pub use event::{Event, EventError};
pub use policy::{Mode, Policy, UnknownMode};

pub(crate) use audit::SinceSeen;
use conditions::Conditions;
pub(crate) use fast_path::{CyclePlan, Extent};

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
    buffered_bytes: u32,
    /// Bytes that must arrive before the decoder can go on.
    needed_bytes: u32,
    /// The host's reasons why decoding cannot go on.
    blocked: u32,
    /// Free bytes at which a full buffer receives again; 0 for any.
    resume_free_bytes: u32,
    /// One bit for each fact of `flag`, and the mode.
    flags: u32,
    /// Largest number of undecoded bytes to park without a request of the pool.
    park_bytes: u16,
    /// Largest number of undecoded bytes to park when the pool asks for the buffer.
    reclaim_bytes: u16,
    /// Receives in this loop iteration.
    reads: u8,
    /// Receives allowed in one loop iteration; 0 for the default.
    reads_per_wake: u8,
    /// Always 0: hosts compare connections byte for byte.
    padding: [u8; 2],
}

const _: () = assert!(core::mem::size_of::<Connection>() <= 32);

/// The facts in `Connection::flags`. The header's inline tests know the place of that field, and the numbers of
/// `WAITING`, `ENDED` and `BROKEN`.
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
    /// Since the last audit no iteration began for it, no byte was received and none consumed.
    pub(super) const QUIET: u32 = 1 << 22;
    /// No event takes the fast path.
    pub(super) const SLOW: u32 = 1 << 23;
    pub(super) const MODE_SHIFT: u32 = 24;
    /// What waits for the host was left in the kernel.
    pub(super) const LEFT: u32 = 1 << 27;
    /// Only `WouldBlock` means that there is nothing to receive.
    pub(super) const READS_AHEAD: u32 = 1 << 28;
    /// The host can leave a partial frame in the kernel.
    pub(super) const COUNTING: u32 = 1 << 29;
    /// The peer will send no more.
    pub(super) const PEER_CLOSED: u32 = 1 << 30;
    /// The number of receives in one loop iteration is not the default.
    pub(super) const OWN_READS: u32 = 1 << 31;
    pub(super) const HELD: u32 = BUFFER | SLOT;
    pub(super) const ASKED: u32 = RECLAIM | EXPIRED;
    pub(super) const FLIGHT: u32 = IN_FLIGHT | TAKEN_BACK;
    pub(super) const OVER: u32 = ENDED | BROKEN;
    /// What a connection can be without being in any of the states that few ever are in.
    pub(super) const COMMON_FLAGS: u32 = ATTACHED | HELD | READY | ARMED | SETTINGS;
    pub(super) const MODE: u32 = 0x7 << MODE_SHIFT;
    /// What a connection is made with.
    pub(super) const MADE_WITH: u32 = SETTINGS | SLOW;
    /// What neither a blocked decoder, nor a full buffer, nor a wait for room brings about.
    pub(super) const SELDOM: u32 =
        CLOSED | FAILED | YIELDED | SCHEDULED | OVER | END_SEEN | MISFIT_SEEN | ASKED | POISONED | FLIGHT | LEFT;
    /// What the policy sets.
    pub(super) const SETTINGS: u32 = PAUSE_WHEN_BLOCKED | READS_AHEAD | COUNTING | OWN_READS | MODE;
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
        let reads_ahead = if policy.reads_ahead { flag::READS_AHEAD } else { 0 };
        let counting = if policy.counting { flag::COUNTING } else { 0 };
        let own_reads = if policy.reads_per_wake != 0 { flag::OWN_READS } else { 0 };
        Connection {
            capacity: 0,
            buffered_bytes: 0,
            needed_bytes: 0,
            blocked: 0,
            resume_free_bytes: policy.resume_free_bytes,
            flags: pause | reads_ahead | counting | own_reads | (policy.mode as u32) << flag::MODE_SHIFT,
            park_bytes: policy.park_bytes,
            reclaim_bytes: policy.reclaim_bytes,
            reads: 0,
            reads_per_wake: policy.reads_per_wake,
            padding: [0; 2],
        }
    }

    /// The same, for a pool that has more to do than the fast path knows.
    pub(crate) const fn on_slow_path(self) -> Connection {
        Connection { flags: self.flags | flag::SLOW, ..self }
    }

    /// What is left of a connection whose state cannot be trusted: it refuses every event.
    #[doc(hidden)]
    pub fn poisoned() -> Connection {
        Connection { flags: flag::POISONED, ..Connection::default() }
    }

    /// Whether a panic inside the library left the connection's state unknown.
    pub const fn is_poisoned(&self) -> bool {
        self.has(flag::POISONED)
    }

    /// Reports what happened; returns what is to be done now, as [`Connection::pending`] does.
    ///
    /// Cost: O(1), for most events some dozens of instructions, at most a few hundred; no memory but the connection's
    /// own.
    ///
    /// # Errors
    ///
    /// The event makes no sense in this state; nothing is changed.
    pub fn handle(&mut self, event: Event) -> Result<Actions, EventError> {
        self.handle_inline(event)
    }

    /// As `handle`, where the kind of the event is known: the code is for that kind alone.
    #[doc(hidden)]
    #[inline(always)]
    pub fn handle_inline(&mut self, event: Event) -> Result<Actions, EventError> {
        let fast_actions = match event {
            Event::Readable => self.try_fast_become_ready(),
            Event::Sync { buffered_bytes: 0, capacity: 0, blocked: 0, needed_bytes: false, armed } => {
                self.try_fast_sync(armed)
            }
            Event::Sync { buffered_bytes, capacity, blocked: 0, needed_bytes, armed } => {
                self.try_fast_sync_content(buffered_bytes, capacity, needed_bytes, armed)
            }
            Event::Done(actions) if actions.bits() == Action::WantRecv as u32 => self.try_fast_arm(),
            _ => None,
        };
        if let Some(actions) = fast_actions {
            return Ok(actions);
        }
        self.apply_event(event)?;
        Ok(self.pending())
    }

    /// Receives and parks by this policy from now on; returns what is to be done now.
    ///
    /// With another mode, read interest counts as off: `WantRecv` asks for it in the new mode, which you register with
    /// the poller instead of the old one. A mode that receives before it asks (optimistic, completion) does so first.
    ///
    /// # Errors
    ///
    /// The connection is not attached, or closed; the mode changes while a receive is in flight. Nothing is changed.
    pub fn set_policy(&mut self, policy: &Policy) -> Result<Actions, EventError> {
        self.admit_policy(policy)?;
        self.apply_policy(policy);
        Ok(self.pending())
    }

    /// As `handle`, for callers that do not need the pending actions.
    #[inline(always)] // see `handle_inline`
    pub(crate) fn apply_event(&mut self, event: Event) -> Result<(), EventError> {
        self.admit(event)?;
        if !self.has(flag::CLOSED) || matters_when_closed(event) {
            self.apply(event);
        } else if is_outcome(event) {
            // All that is left to know of a receive in flight is that it is over.
            self.clear(flag::FLIGHT);
        }
        Ok(())
    }

    /// As `apply_event`, of an event that this connection asked for, so that it is let through.
    #[inline(always)] // see `handle_inline`
    pub(crate) fn apply_asked(&mut self, event: Event) {
        debug_assert_eq!(self.admit(event), Ok(()), "{event:?} was asked for");
        if !self.has(flag::CLOSED) || matters_when_closed(event) {
            self.apply(event);
        }
    }

    /// As `apply_event` with `Done`, of a connection of which these actions are pending.
    pub(crate) fn acknowledge(&mut self, actions: Actions, pending: Actions) -> Result<(), EventError> {
        self.admit_acknowledged(actions, pending)?;
        self.apply(Event::Done(actions));
        Ok(())
    }

    /// What is to be done now.
    #[inline(always)] // so that the fast path is short
    pub fn pending(&self) -> Actions {
        if self.is_fast_path_eligible() {
            self.pending_if_eligible()
        } else if self.flags & flag::SELDOM == 0 {
            self.pending_if_stopped()
        } else {
            self.pending_in_any_state()
        }
    }

    /// The table of actions, for a connection in none of the states that few ever are in: the code knows that.
    #[inline(never)]
    fn pending_if_stopped(&self) -> Actions {
        if let Some(actions) = self.pending_if_nothing_is_accepted() {
            return actions;
        }
        Connection { flags: self.flags & !flag::SELDOM, ..self.clone() }.table_of_actions()
    }

    #[inline(never)]
    fn pending_in_any_state(&self) -> Actions {
        self.table_of_actions()
    }

    /// The table of actions.
    #[inline(always)]
    fn table_of_actions(&self) -> Actions {
        let mut actions = Actions::NONE;
        if !self.has(flag::ATTACHED) {
            return actions;
        }
        let now = Conditions::of(self);
        let (armed, waiting) = (self.has(flag::ARMED), self.has(flag::WAITING));
        if self.has(flag::CLOSED) {
            actions.set_if(waiting, Action::CancelRequest);
            actions.set_if(now.take_back, Action::StopRecv);
            actions.set_if(self.has(flag::HELD) && !self.is_in_flight(), Action::ReleaseBuffer);
            actions.set_if(!self.has(flag::WAITING | flag::HELD), Action::Finished);
            return actions;
        }
        actions.set_if(now.interest & !armed, Action::WantRecv);
        actions.set_if((!now.interest & armed) | now.take_back, Action::StopRecv);
        actions.set_if(now.buffer & !waiting, Action::RequestBuffer);
        actions.set_if(!now.buffer & waiting, Action::CancelRequest);
        actions.set_if(now.release, Action::ReleaseBuffer);
        actions.set_if(now.receive, Action::Recv);
        actions.set_if(now.decode, Action::Decode);
        actions.set_if(now.discard, Action::Discard);
        actions.set_if(now.park, Action::Park);
        actions.set_if(self.has(flag::EXPIRED), Action::Shed);
        actions.set_if(now.end, Action::End);
        actions.set_if(now.cannot_fit, Action::CannotFit);
        actions.set_if(now.next_iteration & !self.has(flag::SCHEDULED), Action::Reschedule);
        actions
    }

    /// The most bytes one receive may bring now: the room of what is held while `Recv` is pending, else 0.
    #[inline]
    pub fn recv_max(&self) -> u32 {
        if self.pending().has(Action::Recv) { self.room() } else { 0 }
    }

    /// Bytes buffered.
    pub const fn buffered_bytes(&self) -> u32 {
        self.buffered_bytes
    }

    /// Size of what is held, in bytes; 0 if nothing is.
    pub const fn capacity(&self) -> u32 {
        self.capacity
    }

    /// Bytes that must arrive before the decoder can go on; 0 if it needs none.
    pub const fn needed_bytes(&self) -> u32 {
        self.needed_bytes
    }

    /// The host's reasons why decoding cannot go on.
    pub const fn blocked(&self) -> u32 {
        self.blocked
    }

    /// Bytes that can never be decoded, once `End` is pending or was.
    pub const fn truncated_bytes(&self) -> u32 {
        if self.has(flag::OVER) { self.buffered_bytes } else { 0 }
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

    /// Whether the read interest is armed, as far as the host reported it.
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

    /// Whether the host stopped decoding to keep to its own budget; ends with the next loop iteration.
    pub const fn has_yielded(&self) -> bool {
        self.has(flag::YIELDED)
    }

    /// Whether this is its mode, and its number is one that there is.
    pub(crate) const fn has_mode(&self, mode: Mode) -> bool {
        (self.flags & flag::MODE) == (mode as u32) << flag::MODE_SHIFT
    }

    /// Whether the number of its mode is one that there is.
    #[cfg(feature = "std")]
    pub(crate) fn has_known_mode(&self) -> bool {
        Mode::try_from(((self.flags & flag::MODE) >> flag::MODE_SHIFT) as u8).is_ok()
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
            resume_free_bytes: self.resume_free_bytes,
            pause_when_blocked: self.has(flag::PAUSE_WHEN_BLOCKED),
            reads_ahead: self.reads_ahead(),
            counting: self.is_counting(),
        }
    }

    /// Whether a layer between transport and host may hold more bytes than it handed on.
    pub(crate) const fn reads_ahead(&self) -> bool {
        self.has(flag::READS_AHEAD)
    }

    /// Whether the host can leave a partial frame in the kernel.
    pub(crate) const fn is_counting(&self) -> bool {
        self.has(flag::COUNTING)
    }

    /// Whether it may be asked to set a mark: only one that counts is, or that did once.
    pub(crate) const fn may_have_mark(&self) -> bool {
        self.has(flag::COUNTING | flag::SLOW)
    }

    /// Whether the peer will send no more, as far as the host reported it.
    pub const fn has_peer_closed(&self) -> bool {
        self.has(flag::PEER_CLOSED)
    }

    /// Whether reading could be accepted now, were there something to read: what the read interest follows.
    pub fn is_accepting(&self) -> bool {
        Conditions::of(self).accepts
    }
}

/// For model checkers.
#[cfg(feature = "model-check")]
impl Connection {
    /// Writes down all of it.
    pub(crate) fn state_key(&self, state: &mut alloc::vec::Vec<u64>) {
        let Connection { capacity, buffered_bytes, needed_bytes, blocked, resume_free_bytes, flags, .. } = *self;
        let Connection { park_bytes, reclaim_bytes, reads, reads_per_wake, padding: [a, b], .. } = *self;
        state.extend([capacity, buffered_bytes, needed_bytes, blocked, resume_free_bytes, flags].map(u64::from));
        state.extend([park_bytes, reclaim_bytes].map(u64::from));
        state.extend([reads, reads_per_wake, a, b].map(u64::from));
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
            | Event::Done(_)
    )
}

/// Whether the event ends a receive.
fn is_outcome(event: Event) -> bool {
    let found_nothing = matches!(event, Event::WouldBlock | Event::WouldBlockArmed);
    found_nothing || matches!(event, Event::Received { .. } | Event::EndOfStream | Event::TransportError)
}
