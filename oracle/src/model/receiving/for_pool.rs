//! What a pool calls beside: the section on pools.

use super::memory::Split;
use super::shard::Shard;
use super::{CREDIT_MAX, ModelReceiving, Place, Purpose, Requests};
use crate::model::ModelScheduler;
use crate::receiving_system::{Reason, ReceivingConfig};
use demuxbuf::scheduler::SchedulerConfig;

/// Content that left with a buffer.
pub(in crate::model) struct Left {
    pub(in crate::model) lease: u64,
    pub(in crate::model) offset: u32,
}

/// Of what receivers may have of this many buffers; when nothing is used, but what threads have in any case, more is
/// free.
pub(in crate::model) fn reserve(requests: &SchedulerConfig, buffers: u32, fixed: Fixed) -> u32 {
    let last = usize::from(requests.classes) - 1;
    let most = (buffers - requests.reserves[last]).min(requests.class_caps[last]);
    (most / 8).min(most - fixed.always - fixed.spares.max(1))
}

/// What receivers have in any case.
#[derive(Clone, Copy, Debug)]
pub(in crate::model) struct Fixed {
    pub(in crate::model) threads: u32,
    /// Receive buffers and header buffers.
    pub(in crate::model) always: u32,
    /// Of threads that share a pool, one for each.
    pub(in crate::model) spares: u32,
}

/// The fewest buffers that a limit may leave.
fn least(requests: &SchedulerConfig, Fixed { threads, always, spares }: Fixed) -> u32 {
    let last = usize::from(requests.classes) - 1;
    let needs = |class: usize| requests.reserves[class] + always + if class == last { threads } else { spares } + 1;
    (0..=last).map(needs).fold((8 * threads).max(always + threads + 1), u32::max)
}

/// A limit of memory.
#[derive(Clone, Copy, Debug)]
pub(in crate::model) struct Limited {
    /// Buffers that are out of use.
    pub(in crate::model) withheld: u32,
    pub(in crate::model) reserve: u32,
}

impl Limited {
    /// None if it is not allowed.
    pub(in crate::model) fn new(requests: &SchedulerConfig, fixed: Fixed, limit: u32) -> Option<Limited> {
        let is_allowed = (least(requests, fixed)..=requests.buffers).contains(&limit);
        let limited = || Limited { withheld: requests.buffers - limit, reserve: reserve(requests, limit, fixed) };
        is_allowed.then(limited)
    }
}

/// What is known of a receiver beside its content, as it goes to another thread.
#[derive(Clone, Copy, Debug)]
pub(in crate::model) struct Moved {
    age: Option<u64>,
    is_guess: bool,
    /// It waits under this mark with nothing kept.
    mark: Option<u32>,
    credit: i64,
    pub(in crate::model) unknown_length: bool,
}

impl ModelReceiving {
    /// What a receiver takes along to another thread.
    pub(in crate::model) fn moved(&self, id: u32) -> Moved {
        let receiver = self.receiver(id);
        let age = receiver.start.map(|start| self.now - start);
        let (is_guess, unknown_length) = (receiver.is_guess, receiver.unknown_length);
        let mark = receiver.mark.filter(|_| receiver.bytes.is_empty());
        Moved { age, is_guess, mark, credit: self.credit_now(id), unknown_length }
    }

    /// A receiver came from another thread with this.
    pub(in crate::model) fn set_moved(&mut self, id: u32, moved: Moved) {
        let now = self.now;
        let receiver = self.receiver_mut(id);
        receiver.credit = moved.credit;
        if !receiver.bytes.is_empty() {
            receiver.start = moved.age.map(|age| now.saturating_sub(age));
            receiver.sparing = Some(now);
        }
    }

    /// A receiver came that keeps nothing: if it waited under a mark, it does so here. False if it did not.
    pub(in crate::model) fn go_on_under_mark(&mut self, id: u32, moved: Moved) -> bool {
        let now = self.now;
        let receiver = self.receiver_mut(id);
        (receiver.mark, receiver.looked) = (moved.mark, moved.mark);
        if receiver.mark.is_some() {
            receiver.start = moved.age.map(|age| now.saturating_sub(age));
        }
        receiver.mark.is_some()
    }

    /// A receiver came that keeps nothing and wants to receive: if it has an age, it claims. False if it does not.
    pub(in crate::model) fn go_on_waiting(&mut self, id: u32, moved: Moved) -> bool {
        let now = self.now;
        let receiver = self.receiver_mut(id);
        let Some(age) = moved.age.filter(|_| !receiver.counts_now()) else { return false };
        (receiver.start, receiver.is_guess) = (Some(now.saturating_sub(age)), moved.is_guess);
        self.begin_claim(id);
        true
    }

    /// A receiver came with a buffer: it borrows that.
    pub(in crate::model) fn import(&mut self, id: u32, lease: u64, offset: u32, bytes: u32) {
        self.requests.as_mut().expect("a pool has requests").import(lease);
        self.begin_in_buffer(id, offset, bytes);
    }

    fn begin_in_buffer(&mut self, id: u32, offset: u32, bytes: u32) {
        let whole = self.sizes.len() - 1;
        self.set_cell(id, Some(whole));
        self.begin_content(id, bytes);
        self.receiver_mut(id).offset = offset;
        self.borrow(id, Place::OwnCell, Purpose::Plain, 0);
    }

    /// Memory whose buffers the host's own requests have as well.
    pub(in crate::model) fn with_requests(config: ReceivingConfig, requests: SchedulerConfig) -> ModelReceiving {
        let mut model = ModelReceiving::new(config).expect("an allowed configuration");
        let fixed = requests.buffers - model.usable_buffers;
        model.reserve = reserve(&requests, requests.buffers, Fixed { threads: 1, always: fixed, spares: 0 });
        model.requests = Some(Requests::new(ModelScheduler::new(&requests), fixed));
        model
    }

    /// The header buffers of each of this many threads.
    pub(in crate::model) fn header_buffers_of(config: &ReceivingConfig, threads: u32) -> u32 {
        Split::new(config, threads).expect("an allowed configuration").header_buffers
    }

    /// Memory of one of several threads, with the buffers that it always has.
    pub(in crate::model) fn with_shard(
        config: ReceivingConfig,
        threads: u32,
        class: u8,
        shard: Shard,
    ) -> ModelReceiving {
        let split = Split::new(&config, threads).expect("an allowed configuration");
        let fixed = 1 + split.header_buffers;
        let mut model = ModelReceiving::with_split(config, split);
        model.requests = Some(Requests::of_shard(shard, class, fixed));
        model.see();
        model
    }

    /// From the next advance on, this many buffers of all are in use. With threads it is in force now.
    pub(in crate::model) fn set_limit(&mut self, requests: &SchedulerConfig, limit: u32) -> Result<(), ()> {
        let always = requests.buffers - self.usable_buffers;
        let fixed = Fixed { threads: 1, always, spares: 0 };
        let Limited { withheld, reserve } = Limited::new(requests, fixed, limit).ok_or(())?;
        let next = (withheld, reserve);
        self.next_limit = Some(next).filter(|&next| next != (self.withheld, self.reserve));
        Ok(())
    }

    /// Nothing is borrowed: the limit is in force.
    pub(super) fn apply_limit(&mut self) {
        if let Some((withheld, reserve)) = self.next_limit.take() {
            (self.withheld, self.reserve) = (withheld, reserve);
            self.call_scheduler(|scheduler| scheduler.set_withheld(withheld));
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
        let of_shard = self.shard().map(|shard| shard.host_waits() > 0);
        of_shard.unwrap_or_else(|| self.look_at_scheduler(|scheduler| scheduler.waits() > 0))
    }

    /// Calls the scheduler of the host's own requests.
    pub(in crate::model) fn call_scheduler<R>(&mut self, act: impl FnOnce(&mut ModelScheduler) -> R) -> R {
        self.requests.as_mut().expect("a pool has requests").call(act)
    }

    /// Looks at it.
    pub(in crate::model) fn look_at_scheduler<R>(&self, look: impl FnOnce(&ModelScheduler) -> R) -> R {
        self.requests.as_ref().expect("a pool has requests").look(look)
    }

    /// Buffers that receivers have.
    pub(in crate::model) fn taken(&self) -> u32 {
        self.requests.as_ref().expect("a pool has requests").taken()
    }

    /// Whether a request of the host's own waits that a buffer could serve.
    pub(super) fn is_wanted(&self) -> bool {
        self.requests.is_some() && self.look_at_scheduler(ModelScheduler::is_wanted)
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

    /// If it looks, it does so after the answer to a misfit.
    pub(in crate::model) fn note_answer(&mut self, id: u32) {
        let receiver = self.receiver_mut(id);
        let looks = receiver.looks();
        if let Some(borrow) = &mut receiver.borrow {
            borrow.after_misfit = looks;
        }
    }

    /// Whether it looks after the answer to a misfit.
    pub(in crate::model) fn looks_after_misfit(&self, id: u32) -> bool {
        let receiver = self.receiver(id);
        receiver.looks() && receiver.borrow.is_some_and(|borrow| borrow.after_misfit)
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

    /// A receiver that was just attached gets bytes that came before it. False if there is no room for what its decoder
    /// may leave.
    pub(in crate::model) fn receive_earlier(&mut self, id: u32, bytes: u32) -> bool {
        self.make_ready();
        let whole = self.sizes.len() - 1;
        let has_hole = (self.size_for(bytes, false)..whole).any(|size| self.has_hole(size));
        let Some((place, _)) = self.place_to_borrow(id).filter(|&(_, free)| free > 0 || has_hole) else {
            return false;
        };
        self.borrow(id, place, Purpose::Plain, 0);
        self.begin_content(id, bytes);
        true
    }

    /// A receiver that was just attached gets a buffer of the host's, with its content where it is; without any, that
    /// is free. False if receivers have as many as they may.
    pub(in crate::model) fn adopt(&mut self, id: u32, lease: u64, offset: u32, bytes: u32) -> bool {
        if !self.requests.as_mut().expect("a pool has requests").adopt(lease) {
            return false;
        }
        if bytes > 0 {
            self.begin_in_buffer(id, offset, bytes);
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
