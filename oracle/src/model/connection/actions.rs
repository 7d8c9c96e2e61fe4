//! What is pending, by the table of actions, and what a connection is seen to be.

use super::{Flight, Life, ModelConnection};
use crate::Facts;
use crate::system::Cell;
use demuxbuf::connection::{Action, Actions, EndKind, Hold, Mode};

/// The table of actions.
impl ModelConnection {
    /// What is to be done now.
    pub fn pending(&self) -> Actions {
        let wanted = match self.life {
            Life::Detached => vec![],
            Life::Closed => vec![
                (Action::CancelRequest, self.waiting),
                (Action::ReleaseBuffer, self.hold != Hold::None && !self.in_flight()),
                (Action::StopRecv, self.flight == Flight::Under),
                (Action::Finished, !self.waiting && self.hold == Hold::None),
            ],
            Life::Open => vec![
                (Action::WantRecv, !self.armed && self.wants_read_interest()),
                (Action::StopRecv, (self.armed && !self.wants_read_interest()) || self.takes_back()),
                (Action::RequestBuffer, !self.waiting && self.lacks_buffer() && self.may_ask()),
                (Action::CancelRequest, self.waiting && !self.lacks_buffer()),
                (Action::ReleaseBuffer, self.holds_empty() && !self.keeps_empty()),
                (Action::Recv, self.receives()),
                (Action::Decode, self.decodes()),
                (Action::Discard, self.discards()),
                (Action::Park, self.parks()),
                (Action::Shed, self.expired),
                (Action::End, self.end_due()),
                (Action::CannotFit, self.is_misfit() && !self.is_blocked() && !self.misfit_seen),
                (Action::Reschedule, !self.reschedule_seen && self.waits_for_iteration()),
            ],
        };
        let bits =
            wanted.into_iter().filter(|&(_, is_wanted)| is_wanted).fold(0, |bits, (action, _)| bits | action as u32);
        Actions::from_bits(bits).expect("every bit is an action's")
    }

    /// Bytes buffered.
    pub fn buffered_bytes(&self) -> u32 {
        self.content.len() as u32
    }

    /// The bytes buffered, as far as they are known.
    pub fn content(&self) -> Vec<Cell> {
        self.content.iter().copied().collect()
    }

    /// What is held.
    pub fn hold(&self) -> Hold {
        self.hold
    }

    /// The most bytes one receive may bring now.
    pub fn recv_max(&self) -> u32 {
        if self.life == Life::Open && self.receives() { self.room() } else { 0 }
    }

    /// Whether reading could be accepted now.
    pub fn is_accepting(&self) -> bool {
        self.may_read() && self.has_room()
    }

    /// Everything that can be seen from outside.
    pub fn facts(&self) -> Facts {
        Facts {
            buffered_bytes: self.buffered_bytes(),
            capacity: self.capacity,
            needed_bytes: self.needed_bytes,
            blocked: self.blocked,
            pending: self.pending().bits(),
            truncated_bytes: if self.end.is_some() { self.buffered_bytes() } else { 0 },
            hold: self.hold as u8,
            end: self.end.map_or(0, |end| if end == EndKind::Stream { 1 } else { 2 }),
            waiting: self.waiting,
            armed: self.armed,
            ready: self.ready,
            failed: self.failed,
            open: self.life == Life::Open,
            mode: self.policy.mode as u8,
            paused: self.paused,
            full: self.full,
            yielded: self.yielded,
            in_flight: self.in_flight(),
            peer_closed: self.peer_closed,
        }
    }

    /// Whether a receive was submitted and has no outcome yet.
    pub fn in_flight(&self) -> bool {
        self.flight != Flight::None
    }

    /// Whether the host was asked to cancel that receive, and knows it.
    pub fn is_taken_back(&self) -> bool {
        self.flight == Flight::TakenBack
    }

    /// Whether a layer between transport and host may hold more bytes than it handed on.
    pub fn reads_ahead(&self) -> bool {
        self.policy.reads_ahead
    }

    /// Whether the host can leave a partial frame in the kernel.
    pub fn counts(&self) -> bool {
        self.policy.counting
    }

    /// How its host learns that there is something.
    pub fn mode(&self) -> Mode {
        self.policy.mode
    }

    /// Whether the connection is attached and not closed.
    pub fn is_open(&self) -> bool {
        self.life == Life::Open
    }

    /// A slot's content moves when bytes leave it, so none may leave while a receive goes to behind it.
    pub(super) fn slot_in_flight(&self) -> bool {
        self.in_flight() && self.hold == Hold::Slot
    }

    pub(super) fn takes_back(&self) -> bool {
        let stuck = self.slot_in_flight() && (self.could_decode() || self.is_rubbish());
        self.flight == Flight::Under && (self.reclaim || self.expired || !self.may_read() || stuck)
    }

    pub(super) fn room(&self) -> u32 {
        self.capacity - self.buffered_bytes()
    }

    /// A buffer that is not full; a slot that is not full, or nothing, unless a buffer is waited for in vain. A layer
    /// that reads ahead is asked for nothing meanwhile, whatever the slot has room for.
    pub(super) fn has_room(&self) -> bool {
        match self.hold {
            Hold::None => !self.waiting,
            Hold::Slot => !(self.waiting && (self.full || self.policy.reads_ahead)),
            Hold::Buffer => !self.full,
        }
    }

    pub(super) fn is_blocked(&self) -> bool {
        self.blocked != 0 && !self.failed
    }

    pub(in crate::model) fn is_misfit(&self) -> bool {
        self.hold == Hold::Buffer && self.end.is_none() && !self.failed && self.needed_bytes > self.room()
    }

    pub(super) fn may_read(&self) -> bool {
        let is_parked = self.hold == Hold::Slot && !self.content.is_empty();
        let stopped = (self.policy.pause_when_blocked || is_parked || self.left) && self.is_blocked();
        self.end.is_none() && !self.paused && !self.is_misfit() && !stopped
    }

    pub(super) fn wants_read_interest(&self) -> bool {
        match self.policy.mode {
            Mode::Level => self.is_accepting(),
            Mode::OneShot | Mode::Optimistic | Mode::Completion => self.is_accepting() && !self.ready,
            Mode::Edge => self.end.is_none(),
            mode => unreachable!("the model does not know {mode:?}"),
        }
    }

    /// Whether read interest is off after its first report.
    pub(super) fn is_single_report(&self) -> bool {
        matches!(self.policy.mode, Mode::OneShot | Mode::Optimistic | Mode::Completion)
    }

    /// Receives that are allowed in a loop iteration.
    pub(super) fn reads_max(&self) -> u32 {
        if self.policy.reads_per_wake == 0 { 4 } else { self.policy.reads_per_wake.into() }
    }

    pub(super) fn in_budget(&self) -> bool {
        self.reads < self.reads_max() && !self.yielded
    }

    pub(super) fn may_ask(&self) -> bool {
        self.in_budget() && !self.has_work() && !self.in_flight()
    }

    pub(super) fn decodes(&self) -> bool {
        self.could_decode() && !self.slot_in_flight()
    }

    pub(super) fn could_decode(&self) -> bool {
        let free = self.needed_bytes == 0 && self.blocked == 0 && !self.yielded && !self.failed && !self.end_seen;
        free && !self.content.is_empty()
    }

    pub(super) fn discards(&self) -> bool {
        self.is_rubbish() && !self.slot_in_flight()
    }

    pub(super) fn is_rubbish(&self) -> bool {
        !self.content.is_empty() && (self.failed || self.end_seen)
    }

    pub(super) fn has_work(&self) -> bool {
        self.decodes() || self.discards()
    }

    pub(super) fn lacks_buffer(&self) -> bool {
        self.may_read() && self.ready && self.hold != Hold::Buffer
    }

    /// A receive, but for the budget.
    pub(super) fn has_unread(&self) -> bool {
        let place = self.hold == Hold::Buffer || self.has_lifeline();
        self.may_read() && self.ready && place && !self.full && !self.has_work() && !self.in_flight()
    }

    pub(super) fn receives(&self) -> bool {
        self.has_unread() && self.in_budget()
    }

    /// The most undecoded bytes that are parked when the pool asks.
    pub(super) fn asked_limit(&self) -> u32 {
        self.policy.park_bytes.max(self.policy.reclaim_bytes).into()
    }

    pub(super) fn parks(&self) -> bool {
        let limit = if self.reclaim { self.asked_limit() } else { self.policy.park_bytes.into() };
        let small = !self.content.is_empty() && self.buffered_bytes() <= limit;
        let stuck = self.needed_bytes > 0 || self.is_blocked();
        let dry = !self.ready || !self.may_read() || self.reclaim;
        let over = self.failed || self.end_seen || self.is_misfit() || self.end_due();
        self.hold == Hold::Buffer && !self.in_flight() && small && stuck && dry && !over
    }

    pub(super) fn end_due(&self) -> bool {
        let nothing_left = self.content.is_empty() || (self.needed_bytes > 0 && !self.failed);
        self.end.is_some() && !self.end_seen && !self.is_blocked() && nothing_left
    }

    pub(super) fn holds_empty(&self) -> bool {
        self.hold != Hold::None && self.content.is_empty()
    }

    /// An empty hold is kept only to receive into it, or because the next buffer would be too small as well.
    pub(super) fn keeps_empty(&self) -> bool {
        self.is_misfit() || self.in_flight() || self.receives() || (self.has_lifeline() && self.lacks_buffer())
    }

    /// A slot to receive into until the buffer comes.
    pub(super) fn has_lifeline(&self) -> bool {
        self.hold == Hold::Slot && self.waiting && !self.policy.reads_ahead
    }

    pub(super) fn waits_for_iteration(&self) -> bool {
        let decode = self.yielded && self.needed_bytes == 0 && !self.is_blocked();
        let receive = self.has_unread() || (self.lacks_buffer() && !self.waiting && !self.has_work());
        let reported_again = self.policy.mode == Mode::Level && !self.policy.reads_ahead;
        decode || (!reported_again && !self.in_budget() && receive)
    }
}
