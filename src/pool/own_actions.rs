//! What happens inside a step: the receiver does what the machine asks about buffers, until only the host's actions are
//! left.

use super::table::Place;
use super::{BufferSource, Notice, Pool, PoolError};
use crate::connection::{Action, Actions, Event, EventError};
use crate::memory::SlotIndex;
use crate::scheduler::{Grant, LeaseId, Outcome, Reclaim, ReclaimKind, Request, SchedulerError};
use core::ops::Range;

impl<S: BufferSource> Pool<S> {
    /// Refuses a class that does not exist.
    pub(crate) fn check_class(&self, class: u8) -> Result<(), PoolError> {
        let classes = self.config.scheduler.classes;
        if class < classes { Ok(()) } else { Err(SchedulerError::UnknownClass { class, classes }.into()) }
    }

    /// As `handle`, of the receiver in this row, the slow path.
    #[doc(hidden)]
    pub fn handle_row(&mut self, index: u32, event: Event) -> Result<Actions, PoolError> {
        match event {
            Event::Attach { .. }
            | Event::BufferGranted { .. }
            | Event::BufferDenied
            | Event::BufferParked { .. }
            | Event::BufferReleased
            | Event::Sync { .. } => Err(PoolError::InternalEvent),
            Event::Received { bytes } => self.receive(index, bytes),
            Event::Consumed { bytes } => self.consume(index, bytes, 0),
            Event::Close => self.close(index),
            _ => self.handle_and_run(index, event),
        }
    }

    /// As `pending`, of the receiver in this row.
    #[inline]
    #[doc(hidden)]
    pub fn pending_at(&self, index: u32) -> Actions {
        host_actions(self.table.connection(index).pending())
    }

    fn receive(&mut self, index: u32, bytes: u32) -> Result<Actions, PoolError> {
        self.check_behind(index, bytes)?;
        let dropped = !self.table.connection(index).is_open();
        let actions = self.handle_and_run(index, Event::Received { bytes })?;
        self.counts.received_bytes += u64::from(bytes);
        if dropped {
            // A receive in flight has outlived its connection.
            self.counts.dropped_bytes += u64::from(bytes);
        }
        Ok(actions)
    }

    #[doc(hidden)]
    pub fn consume(&mut self, index: u32, bytes: u32, need_more: u32) -> Result<Actions, PoolError> {
        // What was buffered went with `Close`, though its memory may still be in use by a receive in flight.
        if !self.table.connection(index).is_open() {
            return Err(EventError::Closed.into());
        }
        // The machine checks all before it changes anything; try on a copy, so that a refused second half undoes the first.
        let mut trial = self.table.connection(index).clone();
        let did_not_fit = trial.is_misfit();
        trial.apply_event(Event::Consumed { bytes })?;
        if need_more > 0 {
            trial.apply_event(Event::NeedMore { bytes: need_more })?;
        }
        let actions = trial.pending();
        *self.table.connection_mut(index) = trial;
        self.counts.consumed_bytes += u64::from(bytes);
        self.advance(index, bytes);
        let actions = self.review_wait(index, actions, did_not_fit || bytes > 0);
        Ok(self.run_own_actions(index, actions))
    }

    pub(super) fn handle_and_run(&mut self, index: u32, event: Event) -> Result<Actions, PoolError> {
        let (did_not_fit, blocked) = (self.table.connection(index).is_misfit(), self.table.connection(index).blocked());
        let actions = self.table.connection_mut(index).handle(event)?;
        if blocked != 0 && self.table.connection(index).blocked() == 0 {
            self.start_lease_anew(index);
        }
        if !self.table.has_wait_or_grant(index) {
            return Ok(self.run_own_actions(index, actions));
        }
        let actions = self.enter_granted(index).unwrap_or(actions);
        let actions = self.review_wait(index, actions, did_not_fit || may_end_growth(event));
        Ok(self.run_own_actions(index, actions))
    }

    /// The time in which the host blocked what a receiver holds does not count against its peer.
    fn start_lease_anew(&mut self, index: u32) {
        if let Place::Buffer(buffer) = self.table.place(index) {
            self.source.progress_at(buffer, 0);
        }
    }

    /// What an event means for the wait of a receiver, if it has one: one for a larger buffer ends with its need, and a
    /// partial frame is waited for in the class of those. `actions` are what is pending; returns what is afterwards.
    #[inline(always)]
    fn review_wait(&mut self, index: u32, actions: Actions, may_end_growth: bool) -> Actions {
        if !self.table.has_wait_or_grant(index) {
            return actions;
        }
        self.review_its_wait(index, actions, may_end_growth)
    }

    fn review_its_wait(&mut self, index: u32, actions: Actions, may_end_growth: bool) -> Actions {
        let connection = self.table.connection(index);
        let is_for_larger = !connection.is_waiting();
        let is_needed = connection.is_open() && connection.is_misfit() && connection.blocked() == 0;
        if is_for_larger && may_end_growth && !is_needed {
            self.end_growth(index);
            return self.table.connection(index).pending();
        }
        if let Some(wait) = self.table.wait(index) {
            let has_begun = connection.is_open() && connection.buffered_bytes() > 0 && !actions.has(Action::Decode);
            let class = self.request_class(index);
            if has_begun && class != self.table.class(index) {
                self.source.reclass_at(wait, class);
            }
        }
        actions
    }

    /// The wait for a larger buffer ends, served or not. If it is only blocked, that it does not fit is reported again.
    fn end_growth(&mut self, index: u32) {
        self.cancel_wait(index);
        let connection = self.table.connection(index);
        if connection.is_open() && connection.is_misfit() {
            self.feed(index, Event::NeedMore { bytes: self.table.connection(index).needed_bytes() });
        }
    }

    /// A buffer that was granted while a receive was in flight becomes what the receiver holds once that is over.
    fn enter_granted(&mut self, index: u32) -> Option<Actions> {
        let connection = self.table.connection(index);
        if connection.is_in_flight() || !connection.is_open() {
            return None;
        }
        let buffer = self.table.deferred_grant(index)?;
        self.table.set_deferred_grant(index, None);
        self.enter_buffer(index, self.source.lease_at(buffer));
        Some(self.table.connection(index).pending())
    }

    /// Does what the machine asks about buffers, until only the host's actions are left. The handle ends with `Finished`.
    #[inline(always)]
    pub(super) fn run_own_actions(&mut self, index: u32, pending: Actions) -> Actions {
        if pending.intersection(OWN_ACTIONS | Action::Finished).is_empty() {
            return pending;
        }
        self.run_pending_own_actions(index, pending)
    }

    fn run_pending_own_actions(&mut self, index: u32, pending: Actions) -> Actions {
        let mut actions = pending;
        while !actions.intersection(OWN_ACTIONS).is_empty() {
            if actions.has(Action::Discard) {
                self.discard(index);
            } else if actions.has(Action::CancelRequest) {
                self.cancel_request(index);
            } else if actions.has(Action::ReleaseBuffer) {
                self.release_held(index);
            } else if actions.has(Action::RequestBuffer) {
                self.request_buffer(index);
            } else if !self.park(index) {
                break;
            }
            actions = self.table.connection(index).pending();
        }
        if actions.has(Action::Finished) {
            self.source.unpin_tenant(self.table.tenant(index));
            self.table.remove(index);
        }
        host_actions(actions)
    }

    fn close(&mut self, index: u32) -> Result<Actions, PoolError> {
        if self.table.connection(index).is_open() {
            self.counts.dropped_bytes += u64::from(self.table.connection(index).buffered_bytes());
        }
        self.handle_and_run(index, Event::Close)
    }

    /// As `grow`, of the receiver in this row.
    #[doc(hidden)]
    pub fn grow_at(&mut self, index: u32, size_index: u8) -> Result<Actions, PoolError> {
        let capacity = self.memory.arena().buffer_bytes(size_index);
        if capacity == 0 {
            return Err(SchedulerError::UnknownSize { size_index }.into());
        }
        let Place::Buffer(held) = self.table.place(index) else {
            return Err(PoolError::NoBuffer);
        };
        if capacity <= self.memory.arena().bytes_of(held) {
            return Err(PoolError::NotLarger);
        }
        if self.table.has_wait_or_grant(index) {
            return Err(PoolError::AlreadyWaiting);
        }
        self.check_not_in_flight(index)?;
        self.check_growth(index, held, size_index)?;
        match self.request_as(index, size_index)? {
            Outcome::Granted(lease) => self.enter_buffer(index, lease),
            Outcome::Queued(wait) => self.table.set_wait(index, Some(wait.index())),
        }
        let actions = self.table.connection(index).pending();
        Ok(self.run_own_actions(index, actions))
    }

    /// Refuses a larger buffer that could never be granted, since the one that is held is released only then.
    fn check_growth(&mut self, index: u32, held: u32, size_index: u8) -> Result<(), PoolError> {
        let request = Request { size_index, ..Request::new(self.request_class(index), 0) };
        let tenant = self.table.tenant(index);
        self.source.admit_beside(held, &request, tenant)
    }

    pub(crate) fn check_not_in_flight(&self, index: u32) -> Result<(), PoolError> {
        let in_flight = self.table.connection(index).is_in_flight();
        if in_flight { Err(EventError::InFlight.into()) } else { Ok(()) }
    }

    fn discard(&mut self, index: u32) {
        let bytes = self.table.connection(index).buffered_bytes();
        self.counts.dropped_bytes += u64::from(bytes);
        self.feed(index, Event::Consumed { bytes });
        self.advance(index, bytes);
    }

    /// A request that waited was granted; returns what its owner is to do, if anything.
    pub(super) fn pass_on(&mut self, grant: Grant) -> Option<Notice> {
        if !grant.has_deadline {
            self.host_waits -= 1;
            return Some(Notice::Lease { wait: grant.wait, token: grant.token, lease: grant.lease });
        }
        let index = grant.token as u32;
        self.table.set_wait(index, None);
        if self.table.connection(index).is_in_flight() {
            // What it receives into cannot be moved now: the host is asked to take the receive back.
            self.table.set_deferred_grant(index, Some(grant.lease.index()));
            self.feed(index, Event::ReclaimRequested);
        } else {
            self.enter_buffer(index, grant.lease);
        }
        self.notice_for(index)
    }

    fn notice_for(&mut self, index: u32) -> Option<Notice> {
        let pending = self.table.connection(index).pending();
        let actions = self.run_own_actions(index, pending);
        let notice = Notice::Receiver { id: self.table.id(index), token: self.table.token(index), actions };
        (!actions.is_empty()).then_some(notice)
    }

    /// Whether a receiver is not asked after all: no other request waits than its own for a larger buffer, or what its host
    /// blocks has more time before it is shed.
    pub(super) fn spares(&mut self, index: u32, reclaim: &Reclaim) -> bool {
        if self.table.wait(index).is_some_and(|wait| self.source.spare_if_alone(wait, reclaim)) {
            return true;
        }
        let is_blocked = self.table.connection(index).blocked() != 0;
        reclaim.kind == ReclaimKind::Shed && is_blocked && self.source.defer_at(reclaim.lease.index())
    }

    /// Asks a receiver to release its buffer; what it is to do, if that is something new.
    pub(super) fn reclaim(&mut self, index: u32, kind: ReclaimKind) -> Option<Notice> {
        let before = host_actions(self.table.connection(index).pending());
        let parked = self.counts.parked;
        match kind {
            ReclaimKind::Park => self.feed(index, Event::ReclaimRequested),
            ReclaimKind::Shed => self.feed(index, Event::LeaseExpired),
        }
        let granted = self.notice_for(index);
        self.counts.parked_on_demand += self.counts.parked - parked;
        let after = host_actions(self.table.connection(index).pending());
        self.counts.shed += u64::from(after.without(before).has(Action::Shed));
        granted.filter(|_| !after.without(before).is_empty())
    }

    fn cancel_request(&mut self, index: u32) {
        self.cancel_wait(index);
        self.feed(index, Event::done(Action::CancelRequest));
    }

    /// Ends the wait, if there is one: for a first buffer, or for a larger one than that which is given up.
    pub(super) fn cancel_wait(&mut self, index: u32) {
        if let Some(buffer) = self.table.deferred_grant(index) {
            self.table.set_deferred_grant(index, None);
            self.release_buffer(buffer);
        }
        if let Some(wait) = self.table.wait(index) {
            self.table.set_wait(index, None);
            self.source.cancel_at(wait);
        }
    }

    fn release_held(&mut self, index: u32) {
        match self.table.set_place(index, Place::Nowhere) {
            Place::Nowhere => {}
            Place::Slot(slot) => self.give_slot(slot),
            Place::Buffer(buffer) => self.leave_buffer(index, buffer),
        }
        self.feed(index, Event::BufferReleased);
    }

    pub(crate) fn give_slot(&mut self, slot: SlotIndex) {
        self.memory.retire_slot(slot);
        self.memory.slots_mut().give(slot).expect("a receiver's slot is taken");
    }

    /// Releases a buffer that the receiver holds no more. If it waits for a larger one, it does not need that now.
    fn leave_buffer(&mut self, index: u32, buffer: u32) {
        self.cancel_wait(index);
        self.release_buffer(buffer);
    }

    /// A receiver needs this buffer no more.
    pub(crate) fn release_buffer(&mut self, buffer: u32) {
        self.memory.retire_buffer(buffer);
        self.source.release_at(buffer);
    }

    fn request_as(&mut self, index: u32, size_index: u8) -> Result<Outcome, PoolError> {
        let class = self.request_class(index);
        let request = Request { token: index.into(), tenant: None, class, size_index, has_deadline: true };
        self.source.request_in(&request, self.table.tenant(index))
    }

    /// What has begun is never less critical than what has not.
    pub(super) fn request_class(&self, index: u32) -> u8 {
        let (own, continues) = (self.table.class(index), self.table.connection(index).buffered_bytes() > 0);
        self.config.continuation_class.filter(|_| continues).map_or(own, |class| class.min(own))
    }

    fn request_buffer(&mut self, index: u32) {
        let asked = self.request_as(index, self.config.first_size_index);
        match asked.expect("the table of waits has an entry for each receiver, and any class may have a first buffer") {
            Outcome::Granted(lease) => self.enter_buffer(index, lease),
            Outcome::Queued(wait) => {
                self.table.set_wait(index, Some(wait.index()));
                self.feed(index, Event::BufferDenied);
                self.lend_lifeline(index);
            }
        }
    }

    /// A receiver that waits with nothing held gets a slot to receive into meanwhile; under a layer that reads ahead it
    /// would receive nothing.
    fn lend_lifeline(&mut self, index: u32) {
        let is_of_use = self.config.lifeline && !self.table.connection(index).reads_ahead();
        if !is_of_use || self.table.place(index) != Place::Nowhere {
            return;
        }
        if let Some(slot) = self.memory.slots_mut().take_smallest() {
            self.table.set_place(index, Place::Slot(slot));
            self.counts.lifelines += 1;
            let capacity = self.memory.slots().slot(slot).len() as u32;
            self.feed(index, Event::BufferParked { capacity });
        }
    }

    /// The buffer becomes what the receiver holds; what a slot or a smaller buffer held comes to its front.
    fn enter_buffer(&mut self, index: u32, lease: LeaseId) {
        self.touch(lease);
        let buffer = lease.index();
        let content = self.content(index);
        match self.table.set_place(index, Place::Buffer(buffer)) {
            Place::Nowhere => {}
            Place::Slot(slot) => {
                self.counts.unparked += u64::from(!content.is_empty());
                self.memory.unpark(slot, content, buffer);
                self.give_slot(slot);
            }
            Place::Buffer(smaller) => {
                self.counts.grown += 1;
                self.memory.arena_mut().copy(smaller, content, buffer);
                self.release_buffer(smaller);
            }
        }
        self.feed(index, Event::BufferGranted { capacity: self.memory.arena().bytes_of(buffer) });
    }

    /// Moves the undecoded bytes into a slot; returns whether there was one.
    fn park(&mut self, index: u32) -> bool {
        let Place::Buffer(buffer) = self.table.place(index) else {
            return false;
        };
        let content = self.content(index);
        let Some(slot) = self.memory.slots_mut().take(content.len()) else {
            self.counts.park_refused += 1;
            return false;
        };
        self.memory.park(buffer, content, slot);
        self.counts.parked += 1;
        self.table.set_place(index, Place::Slot(slot));
        self.leave_buffer(index, buffer);
        let capacity = self.memory.slots().slot(slot).len() as u32;
        self.feed(index, Event::BufferParked { capacity });
        true
    }

    /// Bytes left from the front. In a buffer nothing is moved, and an empty one starts at the front again;
    /// a slot is so small that what is left is moved to its front at once.
    fn advance(&mut self, index: u32, bytes: u32) {
        let buffered_bytes = self.table.connection(index).buffered_bytes();
        match self.table.place(index) {
            Place::Buffer(buffer) => {
                // A receive in flight goes to behind what was there when it was submitted.
                let restarts = buffered_bytes == 0 && !self.table.connection(index).is_in_flight();
                let start = if restarts { 0 } else { self.table.start_in(buffer) + bytes };
                self.table.set_start(buffer, start);
                if bytes > 0 {
                    self.source.progress_at(buffer, bytes.into());
                }
            }
            Place::Slot(slot) => {
                let rest = bytes as usize..(bytes + buffered_bytes) as usize;
                self.memory.slots_mut().slot_mut(slot).copy_within(rest, 0);
            }
            Place::Nowhere => {}
        }
    }

    /// Moves what is buffered to the front, if it is not there.
    #[inline]
    pub(super) fn compact(&mut self, index: u32) {
        if self.table.start(index) > 0 {
            self.move_to_front(index);
        }
    }

    #[cold]
    fn move_to_front(&mut self, index: u32) {
        let Place::Buffer(buffer) = self.table.place(index) else {
            return;
        };
        let content = self.content(index);
        self.table.set_start(buffer, 0);
        if !content.is_empty() {
            self.counts.compactions += 1;
            self.counts.compacted_bytes += content.len() as u64;
            self.memory.arena_mut().buffer_mut(buffer).copy_within(content, 0);
        }
    }

    pub(super) fn feed(&mut self, index: u32, event: Event) {
        let applied = self.table.connection_mut(index).apply_event(event);
        applied.expect("the connection asked for what is reported to it");
    }

    /// Where the content lies inside what is held.
    #[inline]
    fn content(&self, index: u32) -> Range<usize> {
        let start = self.table.start(index) as usize;
        start..start + self.table.connection(index).buffered_bytes() as usize
    }

    /// The memory that is held, and where the content starts in it.
    #[inline]
    pub(super) fn held(&self, index: u32) -> (&[u8], usize) {
        match self.table.place(index) {
            Place::Nowhere => (&[], 0),
            Place::Slot(slot) => (self.memory.slots().slot(slot), 0),
            Place::Buffer(buffer) => (self.memory.arena().buffer(buffer), self.table.start_in(buffer) as usize),
        }
    }

    #[inline]
    pub(super) fn held_mut(&mut self, index: u32) -> (&mut [u8], usize) {
        match self.table.place(index) {
            Place::Nowhere => (&mut [], 0),
            Place::Slot(slot) => (self.memory.slots_mut().slot_mut(slot), 0),
            Place::Buffer(buffer) => {
                let start = self.table.start_in(buffer) as usize;
                (self.memory.arena_mut().buffer_mut(buffer), start)
            }
        }
    }

    /// A buffer was obtained and is about to be written.
    #[inline(always)]
    pub(super) fn touch(&mut self, lease: LeaseId) {
        self.source.touch(self.memory.arena_mut(), lease.index());
    }

    /// Refuses received bytes that cannot lie behind the content, because the host did not ask for the area that the content
    /// is moved to the front for. Where it is at the front, the machine knows the room.
    #[inline]
    fn check_behind(&self, index: u32, bytes: u32) -> Result<(), PoolError> {
        let (start, connection) = (self.table.start(index), self.table.connection(index));
        let behind = connection.capacity() - start - connection.buffered_bytes();
        if start > 0 && bytes > behind { Err(PoolError::TooManyBytes) } else { Ok(()) }
    }
}

/// Whether a larger buffer may no longer be needed after this event.
fn may_end_growth(event: Event) -> bool {
    use Event::{Block, Close, EndOfStream, Fail, SetBlocked, TransportError};
    matches!(event, Block { .. } | SetBlocked { .. } | Close | EndOfStream | Fail | TransportError)
}

/// What the receiver does by itself.
const OWN_ACTIONS: Actions =
    Actions::of(&[Action::RequestBuffer, Action::CancelRequest, Action::ReleaseBuffer, Action::Park, Action::Discard]);

/// What is left for the host.
pub(super) fn host_actions(actions: Actions) -> Actions {
    actions.without(OWN_ACTIONS)
}
