//! What a receiver does by itself, and what is shown of it.

use super::{ModelPool, OWN, Receiver};
use crate::system::{Ask, Asked, Demand, Notice, Step, System};
use demuxbuf::connection::{Action, Actions, Event, Hold};
use demuxbuf::memory::SLOT_SIZES;
use demuxbuf::scheduler::ReclaimKind;

impl ModelPool {
    pub(super) fn apply_event(&mut self, id: u64, event: Event) {
        self.at(id).connection.handle(event, &[]).expect("an event that the connection asked for");
    }

    /// Takes bytes off the front, and remembers where the rest begins: in a slot always at the front.
    pub(super) fn advance(&mut self, id: u64, bytes: u32) {
        let receiver = self.at(id);
        let is_empty = receiver.connection.buffered_bytes() == 0 && !receiver.connection.in_flight();
        let at_front = is_empty || receiver.connection.hold() == Hold::Slot;
        receiver.start = if at_front { 0 } else { receiver.start + bytes };
        if let Some(lease) = receiver.lease.filter(|_| bytes > 0) {
            self.scheduler.progress(lease, bytes.into()).expect("a lease in force");
        }
    }

    /// Does what is asked about buffers, until nothing is left but what the host does.
    pub(super) fn run_own_actions(&mut self, id: u64) -> Actions {
        loop {
            let pending = self.at(id).connection.pending();
            let done = match OWN.into_iter().find(|&action| pending.has(action)) {
                Some(Action::Discard) => self.discard(id),
                Some(Action::CancelRequest) => self.cancel_request(id),
                Some(Action::ReleaseBuffer) => self.release_held(id),
                Some(Action::RequestBuffer) => self.request_buffer(id),
                Some(Action::Park) => self.park(id),
                _ => false,
            };
            if !done {
                return OWN.into_iter().fold(pending, |left, own| left.without(own.into()));
            }
        }
    }

    fn discard(&mut self, id: u64) -> bool {
        let bytes = self.at(id).connection.buffered_bytes();
        self.counts.dropped_bytes += u64::from(bytes);
        self.apply_event(id, Event::Consumed { bytes });
        self.advance(id, bytes);
        true
    }

    fn cancel_request(&mut self, id: u64) -> bool {
        self.cancel_wait(id);
        self.apply_event(id, Event::done(Action::CancelRequest));
        true
    }

    /// Ends the wait, if there is one, or releases what was granted and not used.
    pub(super) fn cancel_wait(&mut self, id: u64) {
        if let Some(wait) = self.at(id).wait.take() {
            self.scheduler.cancel(wait).expect("a wait in force");
        }
        if let Some(granted) = self.at(id).granted.take() {
            self.scheduler.release(granted).expect("a lease in force");
        }
    }

    fn release_held(&mut self, id: u64) -> bool {
        (self.at(id).start, self.at(id).slot) = (0, None);
        if let Some(lease) = self.at(id).lease.take() {
            self.leave(id, lease);
        }
        self.apply_event(id, Event::BufferReleased);
        true
    }

    /// Releases a buffer. A receiver that waits for a larger one in its place no longer needs that one.
    fn leave(&mut self, id: u64, lease: u64) {
        if !self.at(id).connection.facts().waiting {
            self.cancel_wait(id);
        }
        self.scheduler.release(lease).expect("a lease in force");
    }

    /// The request of a receiver. A partial frame is never less critical than a new one.
    pub(super) fn ask(&mut self, id: u64, size_index: u8) -> Ask {
        let continuation = self.config.continuation_class;
        let receiver = self.at(id);
        let continues = continuation.filter(|_| receiver.connection.buffered_bytes() > 0);
        let class = continues.map_or(receiver.class, |class| class.min(receiver.class));
        Ask { class, size_index, tenant: None, token: receiver.token }
    }

    fn request_buffer(&mut self, id: u64) -> bool {
        let ask = self.ask(id, self.config.first_size_index);
        let tenant = self.at(id).tenant;
        match self.scheduler.request_as(ask, tenant, true).expect("there is a wait for each receiver") {
            Asked::Lease(lease) => self.enter(id, lease),
            Asked::Wait(wait) => {
                self.at(id).wait = Some(wait);
                self.apply_event(id, Event::BufferDenied);
                let is_of_use = self.config.lifeline && !self.at(id).connection.reads_ahead();
                let lifeline = self.smallest_slot().filter(|_| is_of_use);
                if let Some(slot) = lifeline.filter(|_| self.at(id).connection.hold() == Hold::None) {
                    self.counts.lifelines += 1;
                    self.enter_slot(id, slot);
                }
            }
        }
        true
    }

    pub(super) fn enter_slot(&mut self, id: u64, size_index: usize) {
        (self.at(id).start, self.at(id).slot) = (0, Some(size_index));
        self.apply_event(id, Event::BufferParked { capacity: SLOT_SIZES[size_index] as u32 });
        let in_use = (0..SLOT_SIZES.len()).map(|size_index| self.slots_in_use(size_index)).sum();
        self.counts.slots_in_use_peak = self.counts.slots_in_use_peak.max(in_use);
    }

    /// Moves the content of a slot or a smaller buffer to the front of the buffer.
    pub(super) fn enter(&mut self, id: u64, lease: u64) {
        let buffered_bytes = self.at(id).connection.buffered_bytes();
        self.counts.unparked += u64::from(self.at(id).slot.take().is_some() && buffered_bytes > 0);
        self.at(id).start = 0;
        if let Some(smaller) = self.at(id).lease.replace(lease) {
            self.counts.grown += 1;
            self.scheduler.release(smaller).expect("a lease in force");
        }
        let capacity = self.capacity_of(lease);
        self.apply_event(id, Event::BufferGranted { capacity });
    }

    fn park(&mut self, id: u64) -> bool {
        let buffered_bytes = self.at(id).connection.buffered_bytes();
        let Some(slot) = self.free_slot(buffered_bytes as usize) else {
            self.counts.park_refused += 1;
            return false;
        };
        self.counts.parked += 1;
        let lease = self.at(id).lease.take().expect("parked content was in a buffer");
        self.enter_slot(id, slot);
        self.leave(id, lease);
        true
    }

    /// Whether a demand is not passed on: no request waits but the receiver's own for a larger buffer, or the host
    /// blocks the content, which then has more time before it is shed.
    pub(super) fn spares(&mut self, demand: &Demand) -> bool {
        let holds = |receiver: &&Receiver| [receiver.lease, receiver.granted].contains(&Some(demand.lease));
        let holder = self.receivers.values().find(holds).expect("its holder");
        let is_blocked = holder.connection.facts().blocked != 0;
        if holder.wait.is_some_and(|wait| self.scheduler.waits_alone(wait)) {
            self.scheduler.spare(demand.lease, demand.kind);
            return true;
        }
        demand.kind == ReclaimKind::Shed && is_blocked && self.scheduler.defer(demand.lease)
    }

    /// Asks a receiver to return its buffer; returns its notice, if the receiver is to do something new.
    pub(super) fn reclaim(&mut self, demand: Demand) -> Option<Notice> {
        let holds = |lease: Option<u64>| lease == Some(demand.lease);
        let mut all = self.receivers.iter();
        let (&id, _) = all.find(|(_, receiver)| holds(receiver.lease) || holds(receiver.granted)).expect("its holder");
        let before = self.host_actions(id);
        let parked = self.counts.parked;
        match demand.kind {
            ReclaimKind::Park => self.apply_event(id, Event::ReclaimRequested),
            ReclaimKind::Shed => self.apply_event(id, Event::LeaseExpired),
        }
        let notice = self.notice_for(id);
        self.counts.parked_on_demand += self.counts.parked - parked;
        let new = self.host_actions(id).without(before);
        self.counts.shed += u64::from(new.has(Action::Shed));
        notice.filter(|_| !new.is_empty())
    }

    /// A wait for a larger buffer ends with its need; a partial frame is waited for in the class of those.
    fn review_wait(&mut self, id: u64, may_end_growth: bool) {
        let facts = self.at(id).connection.facts();
        let does_not_fit = self.at(id).connection.is_misfit();
        let is_needed = facts.open && does_not_fit && facts.blocked == 0;
        let waits = self.at(id).wait.or(self.at(id).granted).is_some();
        if waits && !facts.waiting && may_end_growth && !is_needed {
            self.cancel_wait(id);
            // Once it is not blocked any more, it is reported again that the frame does not fit.
            if facts.open && does_not_fit {
                self.apply_event(id, Event::NeedMore { bytes: facts.needed_bytes });
            }
        } else if facts.open && facts.buffered_bytes > 0 && facts.pending & Action::Decode as u32 == 0 {
            let Ask { class, .. } = self.ask(id, 0);
            if let Some(wait) = self.at(id).wait.filter(|_| class != self.receivers[&id].class) {
                self.scheduler.reclass(wait, class);
            }
        }
    }

    fn host_actions(&mut self, id: u64) -> Actions {
        let pending = self.at(id).connection.pending();
        OWN.into_iter().fold(pending, |left, own| left.without(own.into()))
    }

    /// The notice of a receiver after the pool did something for it, if it is to do anything.
    pub(super) fn notice_for(&mut self, id: u64) -> Option<Notice> {
        let actions = self.run_own_actions(id);
        let token = self.at(id).token;
        (!actions.is_empty()).then(|| Notice::Receiver { id, token, step: self.show(id, actions) })
    }

    /// What a step shows: where to receive, or what is buffered.
    pub(super) fn show(&mut self, id: u64, actions: Actions) -> Step {
        let Some(receiver) = self.receivers.get_mut(&id) else {
            return Step { actions: actions.bits(), area: 0, data: Vec::new() };
        };
        let (area, start, buffered_bytes) =
            (receiver.connection.recv_max(), receiver.start, receiver.connection.buffered_bytes());
        if area == 0 {
            return Step { actions: actions.bits(), area, data: receiver.connection.content() };
        }
        receiver.start = 0;
        if start > 0 && buffered_bytes > 0 {
            self.counts.compactions += 1;
            self.counts.compacted_bytes += u64::from(buffered_bytes);
        }
        Step { actions: actions.bits(), area, data: Vec::new() }
    }

    pub(super) fn close(&mut self, id: u64) -> Result<Step, i32> {
        let connection = &self.find(id)?.connection;
        let lost = if connection.is_open() { connection.buffered_bytes() } else { 0 };
        self.counts.dropped_bytes += u64::from(lost);
        self.apply_event(id, Event::Close);
        Ok(self.conclude(id, true))
    }

    /// What is left to do after an event: a deferred grant is used, the receiver's own actions are done, and a receiver
    /// that is finished goes.
    pub(super) fn conclude(&mut self, id: u64, may_end_growth: bool) -> Step {
        let connection = &self.at(id).connection;
        if connection.is_open() && !connection.in_flight() {
            if let Some(lease) = self.at(id).granted.take() {
                self.enter(id, lease);
            }
        }
        self.review_wait(id, may_end_growth);
        let actions = self.run_own_actions(id);
        if actions.has(Action::Finished) {
            let tenant = self.at(id).tenant;
            self.scheduler.unpin(tenant);
            self.receivers.remove(&id);
        }
        self.show(id, actions)
    }
}
