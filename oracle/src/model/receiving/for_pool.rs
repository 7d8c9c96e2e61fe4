//! What a pool calls beside: the section on pools.

use super::{CREDIT_MAX, ModelReceiving, Place, Purpose, Requests};
use crate::model::ModelScheduler;
use crate::receiving_system::{Reason, ReceivingConfig};
use demuxbuf::scheduler::SchedulerConfig;

/// Content that left with a buffer.
pub(in crate::model) struct Left {
    pub(in crate::model) lease: u64,
    pub(in crate::model) offset: u32,
}

/// Of what receivers may have of this many buffers; when nothing is used, more is free.
fn reserve(requests: &SchedulerConfig, buffers: u32, fixed: u32) -> u32 {
    let last = usize::from(requests.classes) - 1;
    let most = (buffers - requests.reserves[last]).min(requests.class_caps[last]);
    (most / 8).min(most - fixed - 1)
}

impl ModelReceiving {
    /// Memory whose buffers the host's own requests have as well.
    pub(in crate::model) fn with_requests(config: ReceivingConfig, requests: SchedulerConfig) -> ModelReceiving {
        let mut model = ModelReceiving::new(config).expect("an allowed configuration");
        let fixed = requests.buffers - model.usable_buffers;
        model.reserve = reserve(&requests, requests.buffers, fixed);
        model.requests = Some(Requests::new(ModelScheduler::new(&requests), fixed));
        model
    }

    /// From the next advance on, this many buffers of all are out of use.
    pub(in crate::model) fn set_limit(&mut self, requests: &SchedulerConfig, limit: u32) -> Result<(), ()> {
        let fixed = requests.buffers - self.usable_buffers;
        let last = usize::from(requests.classes) - 1;
        let needs = |class: usize| requests.reserves[class] + fixed + if class == last { 2 } else { 1 };
        let least = (0..=last).map(needs).chain([8, fixed + 2]).max();
        if limit > requests.buffers || Some(limit) < least {
            return Err(());
        }
        self.next_limit = Some((requests.buffers - limit, reserve(requests, limit, fixed)));
        Ok(())
    }

    /// Nothing is borrowed: the limit is in force.
    pub(super) fn apply_limit(&mut self) {
        if let Some((withheld, reserve)) = self.next_limit.take() {
            self.reserve = reserve;
            self.scheduler().set_withheld(withheld);
        }
    }

    /// Buffers that will be out of use.
    pub(in crate::model) fn next_withheld(&self) -> Option<u32> {
        self.next_limit.map(|(withheld, _)| withheld)
    }

    /// Other times from now on.
    pub(in crate::model) fn set_times(&mut self, frame_grace_ns: u64, blocked_ns: u64) {
        (self.config.frame_grace_ns, self.config.blocked_ns) = (frame_grace_ns, blocked_ns);
    }

    /// Whether a request of the host's own waits, or was granted and not picked up.
    pub(in crate::model) fn has_requests(&self) -> bool {
        self.scheduler_seen().waits() > 0
    }

    /// The scheduler of the host's own requests.
    pub(in crate::model) fn scheduler(&mut self) -> &mut ModelScheduler {
        &mut self.requests.as_mut().expect("a pool has requests").scheduler
    }

    /// As `scheduler`, for looking.
    pub(in crate::model) fn scheduler_seen(&self) -> &ModelScheduler {
        &self.requests.as_ref().expect("a pool has requests").scheduler
    }

    /// Buffers that receivers have.
    pub(in crate::model) fn taken(&self) -> u32 {
        self.requests.as_ref().expect("a pool has requests").taken()
    }

    /// Whether a request of the host's own waits that a buffer could serve.
    pub(super) fn is_wanted(&self) -> bool {
        self.requests.as_ref().is_some_and(|requests| requests.scheduler.is_wanted())
    }

    /// Content goes for requests of the host's own that wait.
    pub(super) fn evict_for_requests(&mut self) {
        while self.is_wanted() && self.evict(None) {}
    }

    /// Why a receiver was shed.
    pub(in crate::model) fn shed_reason(&self, id: u32) -> Option<Reason> {
        self.receiver(id).shed.map(|(reason, _)| reason)
    }

    /// Whether the receives of a receiver are submitted.
    pub(in crate::model) fn submits(&self, id: u32) -> bool {
        self.receiver(id).submits
    }

    /// How much a receive that is in flight may bring, also for a receiver that was closed.
    pub(in crate::model) fn max_in_flight(&self, id: u32) -> u32 {
        self.receiver(id).borrow.filter(|borrow| borrow.flight.is_some()).map_or(0, |borrow| borrow.max)
    }

    /// How much a receiver may receive, or look at.
    pub(in crate::model) fn allowed(&self, id: u32) -> u32 {
        self.receiver(id).borrow.filter(|borrow| borrow.flight.is_none()).map_or(0, |borrow| borrow.max)
    }

    /// Whether a receiver has a decoder that only reports that it needs more.
    pub(in crate::model) fn has_unknown_length(&self, id: u32) -> bool {
        self.receiver(id).unknown_length
    }

    /// Whether a receiver can leave a partial frame in the kernel.
    pub(in crate::model) fn counts(&self, id: u32) -> bool {
        self.receiver(id).counts
    }

    /// Whether the decoder has to report on what a receiver looked at.
    pub(in crate::model) fn is_looked_at(&self, id: u32) -> bool {
        self.receiver(id).is_looked_at()
    }

    /// Receivers that wait under a mark.
    pub(in crate::model) fn under_mark(&self) -> Vec<u32> {
        self.live().filter(|(_, receiver)| receiver.mark.is_some()).map(|(id, _)| id).collect()
    }

    /// For how long a receiver has claimed.
    pub(in crate::model) fn claim_age_ns(&self, id: u32) -> u64 {
        self.receiver(id).claim_since.map_or(0, |since| self.now - since)
    }

    /// What is received now may need a place, which no request of the host's takes.
    pub(in crate::model) fn secure_borrow(&mut self) {
        if self.free() == 1 {
            let mut borrows = self.receivers.values_mut().filter_map(|receiver| receiver.borrow.as_mut());
            if let Some(borrow) = borrows.find(|borrow| borrow.place == Place::ReceiveBuffer) {
                borrow.place = Place::FreeBuffer;
            }
            self.settle_buffers();
        }
    }

    /// The receiver does not want to receive after all.
    pub(in crate::model) fn cancel(&mut self, id: u32) {
        if self.receiver(id).borrow.is_none() {
            self.end_claim(id);
            let receiver = self.receiver_mut(id);
            receiver.off = None;
            if receiver.bytes.is_empty() {
                (receiver.start, receiver.is_guess) = (None, false);
            }
        }
    }

    /// What is kept, and not borrowed, waits for the host from now on, or for its peer.
    pub(in crate::model) fn set_held(&mut self, id: u32, is_held: bool) {
        if is_held {
            return self.hold(id);
        }
        let now = self.now;
        let receiver = self.receiver_mut(id);
        let held_ns = receiver.held_since.take().map_or(0, |since| now - since);
        receiver.start = receiver.start.map(|start| start + held_ns);
    }

    /// A receiver that waits for nothing claims, whether there is room or not.
    pub(in crate::model) fn claim_anew(&mut self, id: u32) {
        self.receiver_mut(id).is_guess = false;
        self.begin_claim(id);
    }

    /// The decoder consumed something, and has not reported yet.
    pub(in crate::model) fn consume_borrowed(&mut self, id: u32, bytes: u32) {
        if bytes > 0 {
            self.settle_charge(id);
            let receiver = self.receiver_mut(id);
            receiver.credit = (receiver.credit + i64::from(bytes)).min(CREDIT_MAX);
            receiver.take_front(bytes);
            receiver.offset += bytes;
            let borrow = receiver.borrow.as_mut().expect("what is decoded is borrowed");
            (borrow.max, borrow.consumed) = (0, borrow.consumed + bytes);
            borrow.in_place &= !receiver.bytes.is_empty();
        }
    }

    /// What is undecoded is dropped, and what the receiver waits for ends. Returns how many bytes were dropped.
    pub(in crate::model) fn discard(&mut self, id: u32) -> u32 {
        self.end_wait(id);
        let receiver = self.receiver_mut(id);
        let bytes = std::mem::take(&mut receiver.bytes).len() as u32;
        receiver.looked = None;
        (receiver.borrow, receiver.start, receiver.held_since) = (None, None, None);
        (receiver.needed, receiver.usable) = (1, 1);
        self.set_cell(id, None);
        self.settle_buffers();
        bytes
    }

    /// Host time that did not count, since an advance adds an eighth of the grace at most.
    pub(in crate::model) fn skipped_ns(&self) -> u64 {
        self.skipped
    }

    /// A receiver that was just attached gets bytes that came before it. False if there is no room for what its decoder may leave.
    pub(in crate::model) fn receive_earlier(&mut self, id: u32, bytes: u32) -> bool {
        let whole = self.sizes.len() - 1;
        let has_hole = (self.size_for(bytes, false)..whole).any(|size| self.has_hole(size));
        let Some((place, _)) = self.place_to_borrow(id).filter(|&(_, free)| free > 0 || has_hole) else {
            return false;
        };
        self.borrow(id, place, Purpose::Plain, 0);
        self.begin_content(id, bytes);
        true
    }

    /// A receiver that was just attached gets a buffer of the host's, with its content where it is; without any, that is free. False
    /// if receivers have as many as they may.
    pub(in crate::model) fn adopt(&mut self, id: u32, lease: u64, offset: u32, bytes: u32) -> bool {
        if !self.requests.as_mut().expect("a pool has requests").adopt(lease) {
            return false;
        }
        if bytes > 0 {
            let whole = self.sizes.len() - 1;
            self.set_cell(id, Some(whole));
            self.begin_content(id, bytes);
            self.receiver_mut(id).offset = offset;
            self.borrow(id, Place::OwnCell, Purpose::Plain, 0);
        }
        self.settle_buffers();
        true
    }

    fn begin_content(&mut self, id: u32, bytes: u32) {
        let now = self.now;
        let receiver = self.receiver_mut(id);
        (receiver.bytes, receiver.start) = (vec![0; bytes as usize], Some(now));
    }

    /// The content of a receiver leaves with a buffer; none if there is no buffer for it.
    pub(in crate::model) fn take(&mut self, id: u32) -> Option<Left> {
        let whole = self.sizes.len() - 1;
        let receiver = self.receiver(id);
        let place = receiver.borrow.map(|borrow| borrow.place);
        let has_buffer = receiver.cell == Some(whole) || place == Some(Place::FreeBuffer);
        let offset = if has_buffer || place.is_some() { receiver.offset } else { 0 };
        if !has_buffer {
            // One takes the place of the receive buffer, or what is in the cell is copied to it.
            while self.free() == 0 {
                if !self.evict(Some(id)) {
                    return None;
                }
            }
            self.receiver_mut(id).borrow = None;
            let used = self.used();
            self.requests.as_mut().expect("a pool has requests").settle(used + 1);
        }
        let lease = self.requests.as_mut().expect("a pool has requests").give_away();
        self.discard(id);
        Some(Left { lease, offset })
    }
}
