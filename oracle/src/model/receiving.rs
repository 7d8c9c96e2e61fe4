//! The model of the receiving memory: kept bytes are vectors, each order is that of sorting all receivers, and free
//! buffers are counted each time.

mod calls;
mod counting;
mod delivery;
mod flight;
mod for_pool;
mod key;
mod legal;
mod look;
mod memory;
mod requests;
mod service;
mod shard;
mod tenants;

pub(super) use for_pool::{Fixed, Limited, Moved, reserve};
pub use legal::Legal;
use requests::Requests;
pub(super) use shard::Shard;

use crate::receiving_system::{After, Begin, Reason, ReceivingConfig, ReceivingSystem, Rest, Totals};
use counting::Access;
use flight::Flight;
use std::collections::BTreeMap;

/// Credit is between this and its negative.
const CREDIT_MAX: i64 = 65_536;
/// Receives of one trial.
const TRIAL_RECEIVES_MAX: u32 = 8;
/// Trials, and evictions, of one iteration.
const EACH_ITERATION_MAX: u32 = 64;

/// Where a receiver receives and decodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Place {
    OwnCell,
    ReceiveBuffer,
    FreeBuffer,
}

/// What a borrow is for, which decides what follows a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Purpose {
    Plain,
    Grant,
    Trial,
}

#[derive(Clone, Copy, Debug, Hash)]
struct Borrow {
    place: Place,
    purpose: Purpose,
    access: Access,
    /// How much may be received or looked at now; 0 if the decoder's report is next.
    max: u32,
    /// What the last receive was asked for, and brought.
    asked: u32,
    brought: u32,
    receives: u32,
    /// Undecoded bytes before the last receive.
    before: u32,
    /// Its receive is in flight.
    flight: Option<Flight>,
    /// It counts against `in_flight_max`.
    counted: bool,
    /// What the decoder consumed.
    consumed: u32,
    /// What was received is in the host's memory.
    in_place: bool,
    /// The last of the undecoded bytes that are in the kernel, and bytes consumed that are.
    seen: u32,
    owed: u32,
    /// The decoder has reported on what was looked at; what it needs from the kernel, if the borrow goes on once
    /// nothing is owed.
    reported: bool,
    again: Option<u32>,
    /// It began with the answer to a misfit.
    after_misfit: bool,
}

#[derive(Clone, Debug)]
struct Receiver {
    tenant: usize,
    unknown_length: bool,
    submits: bool,
    /// It is closed, and a receive is in flight.
    closed: bool,
    reads_ahead: bool,
    counts: bool,
    /// The kernel holds no more of its frame.
    is_full: bool,
    peer_closed: bool,
    /// What a look reported.
    looked: Option<u32>,
    /// It waits until this many bytes are in the kernel.
    mark: Option<u32>,
    bytes: Vec<u8>,
    /// Which of the sizes.
    cell: Option<usize>,
    borrow: Option<Borrow>,
    /// Where the content begins in a buffer that is borrowed, or the receiver's own.
    offset: u32,
    start: Option<u64>,
    /// When it was imported, or filled its cell.
    sparing: Option<u64>,
    held_since: Option<u64>,
    claim_since: Option<u64>,
    /// Its start is that of a claim, and nothing was reported to be there.
    is_guess: bool,
    needed: u32,
    usable: u32,
    credit: i64,
    charged_at: u64,
    kept_for_good: bool,
    /// Its place in the order of those that are off.
    off: Option<u64>,
    /// Why it was shed, and its place in the order of those that wait for their notice.
    shed: Option<(Reason, Option<u64>)>,
    /// Of the caller's duties alone.
    ended: bool,
}

impl Receiver {
    fn new(unknown_length: bool, now: u64) -> Receiver {
        Receiver {
            tenant: 0,
            unknown_length,
            submits: false,
            closed: false,
            reads_ahead: false,
            counts: false,
            is_full: false,
            peer_closed: false,
            looked: None,
            mark: None,
            bytes: Vec::new(),
            cell: None,
            borrow: None,
            offset: 0,
            start: None,
            sparing: None,
            held_since: None,
            claim_since: None,
            is_guess: false,
            needed: 1,
            usable: 1,
            credit: 0,
            charged_at: now,
            kept_for_good: false,
            off: None,
            shed: None,
            ended: false,
        }
    }

    fn kept(&self) -> u32 {
        self.bytes.len() as u32
    }
}

/// The model of `docs/memory-model.md`.
#[derive(Clone, Debug)]
pub struct ModelReceiving {
    config: ReceivingConfig,
    /// Buffers that are free when nothing is used, and how many of them only receivers in credit may use.
    usable_buffers: u32,
    reserve: u32,
    /// Buffers that the limit in force puts out of use.
    withheld: u32,
    /// Buffers out of use and the reserve, from the next advance on.
    next_limit: Option<(u32, u32)>,
    /// Receives in flight at most, trials aside.
    in_flight_max: u32,
    /// Cells of 64 bytes.
    header_cells: u32,
    /// Sizes of cells, ascending; the first is that of the header buffers.
    sizes: Vec<u32>,
    receivers: BTreeMap<u32, Receiver>,
    leases: u32,
    /// Where buffers come from, if the host's own requests have them as well.
    requests: Option<Requests>,
    /// A receiver whose borrow of a free buffer ends: nothing else uses that buffer until its content has a place.
    ending: Option<u32>,
    /// Host time of the last advance.
    advanced_at: Option<u64>,
    /// Pool time, and that before the last advance.
    now: u64,
    before: u64,
    /// Host time that did not count.
    skipped: u64,
    /// Advances.
    iteration: u64,
    /// Of this iteration.
    trials_left: u32,
    evictions_left: u32,
    /// The next place in an order.
    next_place: u64,
    counts: Totals,
    /// Evictions by a claim of another tenant, before the deadline.
    evictions_for_tenants: u64,
}

impl ModelReceiving {
    /// The model of this memory.
    ///
    /// # Errors
    ///
    /// The memory is too small, or a number is not allowed.
    pub fn new(config: ReceivingConfig) -> Result<ModelReceiving, String> {
        Ok(ModelReceiving::with_split(config, memory::Split::new(&config, 1)?))
    }

    fn with_split(config: ReceivingConfig, split: memory::Split) -> ModelReceiving {
        ModelReceiving {
            config,
            usable_buffers: split.buffers - 1 - split.header_buffers,
            reserve: split.buffers / 8,
            withheld: 0,
            next_limit: None,
            in_flight_max: split.in_flight_max,
            header_cells: split.header_cells,
            sizes: split.sizes,
            receivers: BTreeMap::new(),
            leases: 0,
            requests: None,
            ending: None,
            advanced_at: None,
            now: 0,
            before: 0,
            skipped: 0,
            iteration: 0,
            trials_left: EACH_ITERATION_MAX,
            evictions_left: EACH_ITERATION_MAX,
            next_place: 0,
            counts: Totals::default(),
            evictions_for_tenants: 0,
        }
    }

    /// Buffers of which only receivers in credit may use the last.
    pub fn reserve(&self) -> u32 {
        self.reserve
    }

    /// Receives in flight at most, trials aside.
    pub fn in_flight_max(&self) -> u32 {
        self.in_flight_max
    }

    /// Buffers that are free when nothing is used.
    pub fn usable_buffers(&self) -> u32 {
        self.usable_buffers
    }

    /// Sizes of cells, ascending, and how many of them a buffer has; the first is that of the header buffers.
    pub fn sizes(&self) -> Vec<(u32, u32)> {
        self.sizes.iter().map(|&size| (size, self.config.buffer_bytes / size)).collect()
    }

    /// Cells of 64 bytes, all of them.
    pub fn header_cells(&self) -> u32 {
        self.header_cells
    }

    /// Size of a buffer.
    pub fn buffer_bytes(&self) -> u32 {
        self.config.buffer_bytes
    }

    /// The most receivers; numbers are below it.
    pub fn receivers_max(&self) -> u32 {
        self.config.receivers_max
    }

    /// The most time that one advance adds.
    pub fn step_ns_max(&self) -> u64 {
        self.config.frame_grace_ns / 8
    }

    fn receiver(&self, id: u32) -> &Receiver {
        &self.receivers[&id]
    }

    fn receiver_mut(&mut self, id: u32) -> &mut Receiver {
        self.receivers.get_mut(&id).expect("the receiver is attached")
    }

    /// Receivers that were not shed.
    fn live(&self) -> impl Iterator<Item = (u32, &Receiver)> {
        self.receivers.iter().filter(|(_, receiver)| receiver.shed.is_none()).map(|(&id, receiver)| (id, receiver))
    }

    fn take_place(&mut self) -> u64 {
        self.next_place += 1;
        self.next_place
    }

    fn length(&self, id: u32) -> u32 {
        let receiver = self.receiver(id);
        if let Some(mark) = receiver.mark {
            return receiver.kept() + mark;
        }
        match receiver.bytes.is_empty() || receiver.unknown_length {
            true => self.config.buffer_bytes,
            false => receiver.kept().saturating_add(receiver.needed).min(self.config.buffer_bytes),
        }
    }

    fn deadline(&self, id: u32) -> Option<u64> {
        let receiver = self.receiver(id);
        let of_peer = receiver.start.map(|start| start + self.config.allowance_ns(self.length(id)));
        receiver.held_since.map(|since| since + self.config.blocked_ns).or(of_peer)
    }

    /// From when on its content may be evicted for others.
    fn evictable_from(&self, id: u32) -> Option<u64> {
        let receiver = self.receiver(id);
        let after = receiver.sparing.filter(|_| !receiver.has_trial()).map_or(0, |time| time + 1);
        self.deadline(id).map(|deadline| deadline.max(after))
    }

    /// The rest of the frame, as far as it is known.
    fn exact(&self, id: u32) -> u32 {
        let receiver = self.receiver(id);
        let room = self.config.buffer_bytes - receiver.kept();
        if receiver.unknown_length { room } else { receiver.usable.min(room) }
    }

    fn end_claim(&mut self, id: u32) {
        let now = self.now;
        self.receiver_mut(id).end_mark();
        if let Some(since) = self.receiver_mut(id).claim_since.take() {
            self.counts.longest_claim_ns = self.counts.longest_claim_ns.max(now - since);
        }
    }

    /// Nothing of this frame is left, or it waits for the host: no claim, and it may claim again.
    fn end_wait(&mut self, id: u32) {
        self.end_claim(id);
        let receiver = self.receiver_mut(id);
        (receiver.kept_for_good, receiver.is_full, receiver.off) = (false, false, None);
    }

    fn borrow(&mut self, id: u32, place: Place, purpose: Purpose, max: u32) {
        let receiver = self.receiver_mut(id);
        let (before, counted) = (receiver.kept(), receiver.submits && max > 0);
        let stays = place == Place::OwnCell && max == 0;
        receiver.off = None;
        receiver.end_mark();
        receiver.offset = if stays { receiver.offset } else { 0 };
        let (access, asked, brought, receives, consumed, flight) = (Access::Receive, max, 0, 0, 0, None);
        receiver.borrow = Some(Borrow {
            place,
            purpose,
            access,
            max,
            asked,
            brought,
            receives,
            before,
            consumed,
            flight,
            counted,
            in_place: false,
            seen: 0,
            owed: 0,
            reported: false,
            again: None,
            after_misfit: false,
        });
        self.settle_buffers();
    }

    pub(super) fn unborrow(&mut self, id: u32) {
        let receiver = self.receiver_mut(id);
        receiver.looked = None;
        let borrow = receiver.borrow.take();
        self.ending = borrow.filter(|borrow| borrow.place == Place::FreeBuffer).map(|_| id);
    }

    fn begin_claim(&mut self, id: u32) {
        let now = self.now;
        let receiver = self.receiver_mut(id);
        receiver.start.get_or_insert(now);
        receiver.end_mark();
        if receiver.claim_since.is_none() {
            receiver.claim_since = Some(now);
            self.counts.claims += 1;
        }
    }

    /// Something is there: what waited before was a guess.
    fn end_guess(&mut self, id: u32) {
        let now = self.now;
        let receiver = self.receiver_mut(id);
        if std::mem::take(&mut receiver.is_guess) {
            (receiver.start, receiver.claim_since) = (Some(now), receiver.claim_since.map(|_| now));
        }
    }

    /// Section 6; a claim that begins so is a guess or not.
    fn begin_as(&mut self, id: u32, is_guess: bool) -> Begin {
        self.make_ready();
        let Some((place, mut free)) = self.place_to_borrow(id) else {
            return Begin::Later;
        };
        while free == 0 && self.evict(Some(id)) {
            free = self.free();
        }
        let receiver = self.receiver(id);
        let kept = receiver.kept();
        let room = self.config.buffer_bytes - kept;
        let cell_room = receiver.cell.map(|cell| self.sizes[cell] - kept);
        let may_be_short = !receiver.submits || (receiver.cell == Some(self.sizes.len() - 1) && !self.is_at_limit(id));
        let (max, ends_claim) = if !self.is_in_shortage(id, free) && free > self.reserve {
            (room, true)
        } else if !self.is_in_shortage(id, free) {
            (if kept == 0 { room } else { self.exact(id) }, true)
        } else if receiver.counts_now() && !receiver.kept_for_good {
            return self.begin_whole(id, place);
        } else if let Some(cell_room) =
            cell_room.filter(|&cell_room| cell_room > 0 && may_be_short && self.may_fill_cell(id))
        {
            (self.exact(id).min(cell_room), false)
        } else if cell_room.is_none() && may_be_short && !receiver.reads_ahead && self.has_room(0, 0) {
            (64, false)
        } else if self.receiver(id).kept_for_good {
            let place = self.take_place();
            self.receiver_mut(id).off.get_or_insert(place);
            return Begin::Off;
        } else {
            self.receiver_mut(id).is_guess |= is_guess;
            self.begin_claim(id);
            return Begin::Claimed;
        };
        if ends_claim {
            self.end_claim(id);
        }
        self.borrow(id, place, Purpose::Plain, max);
        Begin::Receive { max }
    }

    /// A receiver that reads ahead receives into its cell only what completes its length.
    fn may_fill_cell(&self, id: u32) -> bool {
        let receiver = self.receiver(id);
        !receiver.reads_ahead || receiver.cell.is_some_and(|cell| self.length(id) <= self.sizes[cell])
    }

    /// A borrow whose receive, or look, brought nothing.
    fn end_dry(&mut self, id: u32) -> After {
        match self.receiver(id).whole_asked().or(self.receiver(id).look_asked()) {
            Some(whole) => self.end_without_whole(id, whole),
            None => self.end_unused(id),
        }
    }

    /// As `end_dry`, but nothing is known to be in the kernel.
    fn end_unused(&mut self, id: u32) -> After {
        if let Some(borrow) = &mut self.receiver_mut(id).borrow {
            (borrow.max, borrow.brought) = (0, 0);
        }
        if self.receiver(id).bytes.is_empty() {
            let receiver = self.receiver_mut(id);
            (receiver.start, receiver.is_guess) = (None, false);
            self.end_claim(id);
        }
        self.after_report(id)
    }

    /// What is left waits for the host from now on.
    fn hold(&mut self, id: u32) {
        self.end_wait(id);
        let now = self.now;
        let receiver = self.receiver_mut(id);
        receiver.held_since = receiver.held_since.or(Some(now)).filter(|_| !receiver.bytes.is_empty());
    }

    fn shed(&mut self, id: u32, reason: Reason, notice: Option<u64>) {
        self.end_claim(id);
        self.counts.shed[reason as usize] += 1;
        let unknown_length = self.receiver(id).unknown_length;
        *self.receiver_mut(id) = Receiver { shed: Some((reason, notice)), ..Receiver::new(unknown_length, 0) };
        self.ending = self.ending.filter(|&ending| ending != id);
        self.settle_buffers();
    }

    /// The receiver was shed by a call that cannot answer it.
    fn notify_shed(&mut self, id: u32) {
        let place = self.take_place();
        if let Some((_, notice)) = &mut self.receiver_mut(id).shed {
            *notice = Some(place);
        }
    }

    /// Ends the borrow of the receiver with the lowest number, if one borrows openly, as an advance of the clock does.
    pub(super) fn end_first_borrow(&mut self) -> Option<u32> {
        let open = |receiver: &Receiver| {
            receiver.borrow.filter(|borrow| receiver.borrows_openly() && !borrow.in_place && receiver.owes() == 0)
        };
        let (id, borrow) = self.live().find_map(|(id, receiver)| open(receiver).map(|borrow| (id, borrow)))?;
        let after = match borrow.max {
            0 => self.decoded(id, 0, Rest::Held),
            // What was to be received whole may not have been tried.
            _ => self.end_unused(id),
        };
        if let After::Shed { .. } = after {
            self.notify_shed(id);
        }
        Some(id)
    }
}
