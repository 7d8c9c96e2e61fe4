//! What a connection asks of the memory, and what it is shown of the answers.

use super::{ModelPool, OWN};
use crate::receiving_system::{After, Begin, ReceivingSystem, Rest};
use crate::system::Cell;
use demuxbuf::connection::{Action, Actions, Event, Hold, Mode};
use demuxbuf_capi::*;

/// How a receiver stands in the memory.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// It borrows, and may receive this much, or look at it; 0 if the decoder's report is next.
    Borrowing(u32),
    /// It was shed.
    Shed,
    /// It waits for its peer, or for nothing.
    Resting,
    /// It waits for room, for the end of shortage or under a mark, or its content for the host.
    Waiting,
}

impl ModelPool {
    pub(super) fn pending_of(&self, id: u64) -> Actions {
        self.connection(id).pending()
    }

    pub(super) fn feed(&mut self, id: u64, event: Event) {
        self.at(id).connection.handle(event, &[]).expect("an event that the connection asked for");
    }

    fn apply(&mut self, id: u64, event: Event, arrived: &[Cell]) -> Result<(), i32> {
        self.at(id).connection.handle(event, arrived).map(drop).map_err(|refusal| refusal.code())
    }

    pub(super) fn standing(&self, id: u64) -> Standing {
        let row = self.row(id);
        let facts = self.memory.facts(row);
        if facts.shed {
            Standing::Shed
        } else if facts.borrowed {
            Standing::Borrowing(self.memory.allowed(row))
        } else if facts.claim_since.is_some() || facts.mark > 0 || facts.off || facts.held_since.is_some() {
            Standing::Waiting
        } else {
            Standing::Resting
        }
    }

    fn is_borrowing(&self, id: u64) -> bool {
        matches!(self.standing(id), Standing::Borrowing(_))
    }

    /// How much may be received now, or looked at.
    pub(super) fn area(&self, id: u64) -> u32 {
        match self.standing(id) {
            Standing::Borrowing(_) if self.owes(id) > 0 => self.owes(id),
            Standing::Borrowing(max) if self.pending_of(id).has(Action::Recv) => max,
            _ => 0,
        }
    }

    /// What is undecoded, but in the host's memory; of a receiver that was shed or closed, nothing is left.
    pub(super) fn data(&self, id: u64) -> Vec<Cell> {
        if self.standing(id) == Standing::Shed || !self.connection(id).is_open() || self.is_in_place(id) {
            Vec::new()
        } else {
            self.connection(id).content()
        }
    }

    /// An event that the host reports; returns what the host is to do.
    pub(super) fn handle(&mut self, id: u64, event: Event, arrived: &[Cell]) -> Result<Actions, i32> {
        match event {
            Event::Attach { .. } | Event::BufferGranted { .. } | Event::BufferDenied | Event::BufferParked { .. } => {
                return Err(DEMUXBUF_ERR_INTERNAL_EVENT);
            }
            Event::BufferReleased | Event::ReclaimRequested | Event::LeaseExpired | Event::Sync { .. } => {
                return Err(DEMUXBUF_ERR_INTERNAL_EVENT);
            }
            event if !self.connection(id).is_open() => return self.handle_closed(id, event),
            Event::Received { bytes } => self.receive(id, bytes, arrived)?,
            Event::Consumed { bytes } => return self.decode(id, bytes, 0, 0),
            Event::Close => return Ok(self.close(id)),
            Event::Done(actions) => self.acknowledge(id, actions)?,
            Event::NeedMore { bytes } if bytes > 0 => return self.decode(id, 0, bytes, 0),
            Event::EndOfStream => {
                self.check_not_in_place(id)?;
                self.check_not_looked_at(id)?;
                self.apply(id, event, &[])?;
            }
            Event::TransportError => {
                self.check_not_in_place(id)?;
                self.give_up_look(id);
                self.apply(id, event, &[])?;
            }
            Event::WouldBlock | Event::WouldBlockArmed => {
                self.check_nothing_owed(id)?;
                self.apply(id, event, &[])?;
            }
            event => self.apply(id, event, &[])?,
        }
        if let Event::WouldBlock | Event::WouldBlockArmed | Event::EndOfStream | Event::TransportError = event {
            self.at(id).is_undelivered = false;
        }
        match event {
            Event::Readable | Event::PeerClosed | Event::KernelFull | Event::Wake => self.at(id).is_scheduled = false,
            // There is no decoder to look any more.
            Event::Fail => self.stop_counting(id),
            Event::EndOfStream | Event::TransportError if self.standing(id) != Standing::Shed => {
                self.memory.end(self.row(id));
            }
            _ => {}
        }
        Ok(match event {
            Event::Readable => self.readable(id),
            Event::PeerClosed => self.peer_closed(id),
            Event::KernelFull => self.kernel_full(id),
            _ => self.settle(id),
        })
    }

    fn receive(&mut self, id: u64, bytes: u32, arrived: &[Cell]) -> Result<(), i32> {
        if self.owes(id) > 0 {
            return self.receive_away(id, bytes);
        }
        let legal = self.memory.legal(self.row(id));
        let area = match self.connection(id).in_flight() {
            true => self.max_in_flight(id),
            false if legal.looked => 0,
            false => self.area(id),
        };
        if bytes > area {
            // Unless the connection has another reason.
            let mut trial = self.connection(id).clone();
            trial.handle(Event::Received { bytes }, arrived).map_err(|refusal| refusal.code())?;
            return Err(DEMUXBUF_ERR_TOO_MANY_BYTES);
        }
        if legal.whole_look && (1..area).contains(&bytes) {
            return Err(DEMUXBUF_ERR_LOOKED_AT);
        }
        self.apply(id, Event::Received { bytes }, arrived)?;
        self.memory.received(self.row(id), &vec![0; bytes as usize]);
        if !legal.whole_look {
            self.expire_mark(id);
            self.counts.received_bytes += u64::from(bytes);
        }
        Ok(())
    }

    /// `Shed` stays until the receiver is closed, and `Reschedule` may be the pool's.
    fn acknowledge(&mut self, id: u64, actions: Actions) -> Result<(), i32> {
        let is_late = actions.has(Action::Reschedule) && self.is_late(id);
        let sets_mark = actions.has(Action::WantRecv) && self.knows_mark(id);
        let mut others = actions.without(self.check_done(id, actions)?);
        if self.standing(id) == Standing::Shed {
            others = others.without(Action::Shed.into());
        }
        if is_late {
            others = others.without(Action::Reschedule.into());
        }
        self.apply(id, Event::Done(others), &[])?;
        self.at(id).is_scheduled |= is_late;
        if actions.has(Action::Recv) {
            self.memory.submit(self.row(id));
        }
        if sets_mark {
            self.set_mark(id);
        }
        Ok(())
    }

    /// The decoder's report.
    pub(super) fn decode(&mut self, id: u64, consumed: u32, need_more: u32, usable: u32) -> Result<Actions, i32> {
        let fits = (1..=self.config.buffer_bytes).contains(&need_more);
        let is_answer = fits && self.is_misfit(id) && self.connection(id).buffered_bytes() == 0;
        self.consume(id, consumed, need_more, false)?;
        let leaves_nothing = self.connection(id).buffered_bytes() == 0;
        let actions = self.settle_as(id, usable, false);
        if is_answer {
            self.memory.note_answer(self.row(id));
        }
        if leaves_nothing && need_more > 0 {
            self.note_usable(id, usable);
        }
        Ok(actions)
    }

    /// After a report that left nothing, and named a need.
    pub(super) fn note_usable(&mut self, id: u64, usable: u32) {
        let needed = self.connection(id).facts().needed_bytes;
        if needed > 0 && self.standing(id) != Standing::Shed {
            self.memory.set_usable(self.row(id), usable.max(needed));
        }
    }

    /// What is consumed, and what is needed. What is left in place, and is not decoded next, the report `has_rest` of.
    pub(super) fn consume(&mut self, id: u64, consumed: u32, need_more: u32, has_rest: bool) -> Result<(), i32> {
        let is_unread = self.host_actions(id).has(Action::CannotFit) && self.connection(id).buffered_bytes() == 0;
        if is_unread && consumed == 0 && need_more == 0 {
            return Err(DEMUXBUF_ERR_ZERO_BYTES);
        }
        if need_more > self.config.buffer_bytes && self.memory.looks_after_misfit(self.row(id)) {
            return Err(DEMUXBUF_ERR_TOO_MANY_BYTES);
        }
        let mut trial = self.connection(id).clone();
        trial.handle(Event::Consumed { bytes: consumed }, &[]).map_err(|refusal| refusal.code())?;
        if need_more > 0 {
            trial.handle(Event::NeedMore { bytes: need_more }, &[]).map_err(|refusal| refusal.code())?;
        }
        if !has_rest && trial.buffered_bytes() > 0 && !trial.pending().has(Action::Decode) {
            self.check_not_in_place(id)?;
        }
        if consumed > 0 {
            if !self.borrow_to_decode(id) {
                return Err(DEMUXBUF_ERR_NO_BUFFER_FREE);
            }
            let row = self.row(id);
            let before = self.memory.facts(row);
            match before.in_flight {
                true => self.memory.consume(row, consumed),
                false => self.memory.consume_borrowed(row, consumed),
            }
            self.counts.received_bytes += u64::from(before.seen - self.memory.facts(row).seen);
        }
        self.feed(id, Event::Consumed { bytes: consumed });
        if need_more > 0 {
            self.feed(id, Event::NeedMore { bytes: need_more });
        }
        self.follow_look(id, need_more);
        self.counts.consumed_bytes += u64::from(consumed);
        Ok(())
    }

    /// What is consumed is in a borrowed buffer; false if there is none.
    fn borrow_to_decode(&mut self, id: u64) -> bool {
        if self.is_borrowing(id) {
            return true;
        }
        let is_borrowed = self.memory.decode(self.row(id));
        if is_borrowed && self.connection(id).hold() != Hold::Buffer {
            let capacity = self.connection(id).buffered_bytes();
            self.feed(id, Event::BufferGranted { capacity });
        }
        is_borrowed
    }

    fn close(&mut self, id: u64) -> Actions {
        if self.standing(id) != Standing::Shed {
            // What was only looked at stays in the kernel.
            let dropped = self.connection(id).buffered_bytes() - self.memory.seen(self.row(id));
            self.counts.dropped_bytes += u64::from(dropped);
        }
        self.memory.close(self.row(id));
        self.feed(id, Event::Close);
        let is_in_flight = self.connection(id).in_flight();
        for (action, event) in [
            (Action::CancelRequest, Event::done(Action::CancelRequest)),
            (Action::ReleaseBuffer, Event::BufferReleased),
        ] {
            if self.pending_of(id).has(action) {
                self.feed(id, event);
            }
        }
        let actions = self.pending_of(id);
        if !is_in_flight {
            self.remove(id);
        }
        actions
    }

    fn max_in_flight(&self, id: u64) -> u32 {
        self.memory.max_in_flight(self.row(id))
    }

    /// What is left to come for a receiver that was closed with a receive in flight is the outcome of that.
    fn handle_closed(&mut self, id: u64, event: Event) -> Result<Actions, i32> {
        match event {
            Event::Consumed { .. } => return Err(DEMUXBUF_ERR_CLOSED),
            Event::Received { bytes } => {
                if bytes > self.max_in_flight(id) {
                    return Err(DEMUXBUF_ERR_TOO_MANY_BYTES);
                }
                self.apply(id, event, &[])?;
                self.counts.received_bytes += u64::from(bytes);
                self.counts.dropped_bytes += u64::from(bytes);
            }
            event => self.apply(id, event, &[])?,
        }
        if self.connection(id).in_flight() {
            return Ok(self.pending_of(id));
        }
        self.memory.complete(self.row(id));
        self.feed(id, Event::BufferReleased);
        let actions = self.pending_of(id);
        self.remove(id);
        Ok(actions)
    }

    /// The memory learns what of the policy it heeds.
    pub(super) fn follow_policy(&mut self, id: u64) {
        self.follow_mode(id);
        let is_to_count = self.connection(id).counts() && !self.connection(id).facts().failed;
        if !is_to_count {
            self.stop_counting(id);
        }
        self.memory.set_reads_ahead(self.row(id), self.connection(id).reads_ahead());
        self.follow_counting(id, is_to_count);
    }

    /// Whether receives are submitted follows the mode. What was allowed before was by the rules of the other one.
    fn follow_mode(&mut self, id: u64) {
        let (row, submits) = (self.row(id), self.connection(id).mode() == Mode::Completion);
        if self.memory.submits(row) == submits {
            return;
        }
        if self.memory.allowed(row) > 0 {
            let after = self.memory.dry(row);
            self.follow(id, after);
        }
        self.memory.set_submits(row, submits);
    }

    /// The receiver may receive this much.
    pub(super) fn grant(&mut self, id: u64, max: u32) {
        let facts = self.connection(id).facts();
        let is_reported = self.connection(id).mode() == Mode::Level && !self.connection(id).reads_ahead();
        let sees_all = is_reported || facts.needed_bytes > max;
        let capacity = if sees_all { self.config.buffer_bytes } else { facts.buffered_bytes + max };
        let sees_it_already = facts.hold == Hold::Buffer as u8 && facts.capacity >= capacity;
        self.feed(id, if sees_it_already { Event::Readable } else { Event::BufferGranted { capacity } });
    }

    /// What the receiver had is gone: it fails, and receives no more.
    pub(super) fn lose_content(&mut self, id: u64) {
        let bytes = self.connection(id).buffered_bytes();
        self.counts.dropped_bytes += u64::from(bytes);
        self.feed(id, Event::Fail);
        self.feed(id, Event::PauseRecv);
        self.feed(id, Event::Consumed { bytes });
        self.show_hold(id);
    }

    fn is_shed_unseen(&self, id: u64) -> bool {
        self.standing(id) == Standing::Shed && self.connection(id).buffered_bytes() > 0
    }

    /// The host calls for a receiver that was shed, before it has the notice.
    pub(super) fn follow_shed(&mut self, id: u64) {
        if self.is_shed_unseen(id) {
            self.lose_content(id);
        }
    }

    /// The clock was advanced while the receiver borrowed.
    pub(super) fn follow_end_of_borrow(&mut self, id: u64) {
        if self.standing(id) == Standing::Shed {
            self.lose_content(id);
        }
        self.show_left(id, true);
        self.show_hold(id);
        self.end_needless_claim(id);
    }

    /// What is left for the host.
    pub(super) fn host_actions(&self, id: u64) -> Actions {
        if self.is_shed_unseen(id) {
            return Action::Shed.into();
        }
        let mut actions = OWN.into_iter().fold(self.pending_of(id), |left, own| left.without(own.into()));
        if self.is_in_place(id) {
            actions = actions.without(Action::Recv.into());
        }
        if self.is_late(id) {
            actions = actions.without(Action::Decode.into());
            if !self.receivers[&id].is_scheduled {
                actions |= Actions::from(Action::Reschedule);
            }
        }
        let actions = self.with_counting(id, actions);
        if self.standing(id) == Standing::Shed { actions | Actions::from(Action::Shed) } else { actions }
    }

    /// There was no buffer to borrow.
    fn is_late(&self, id: u64) -> bool {
        let pending = self.pending_of(id);
        pending.has(Action::RequestBuffer) || (pending.has(Action::Decode) && !self.is_borrowing(id))
    }

    /// Connection and memory ask things of each other, until only the host is asked.
    pub(super) fn settle(&mut self, id: u64) -> Actions {
        self.settle_as(id, 0, false)
    }

    /// `usable` is what the decoder reported; `is_reported`, whether the poller did.
    pub(super) fn settle_as(&mut self, id: u64, usable: u32, is_reported: bool) -> Actions {
        let is_reported = is_reported || self.receivers[&id].is_undelivered;
        loop {
            self.show_hold(id);
            if !self.settle_once(id, usable, is_reported) {
                return self.host_actions(id);
            }
        }
    }

    /// Does the first thing that is to be done; false if there is none.
    fn settle_once(&mut self, id: u64, usable: u32, is_reported: bool) -> bool {
        let (pending, standing) = (self.pending_of(id), self.standing(id));
        if pending.has(Action::CancelRequest) {
            self.memory.cancel(self.row(id));
            self.feed(id, Event::done(Action::CancelRequest));
            return true;
        }
        if let Standing::Borrowing(max) = standing {
            return self.settle_borrow(id, max, usable);
        }
        if self.connection(id).facts().waiting && standing == Standing::Resting {
            // What it kept is gone, and its claim with that, but not its need.
            self.memory.claim_anew(self.row(id));
            return true;
        }
        if standing == Standing::Shed {
            return false;
        }
        if pending.has(Action::Discard) {
            self.discard(id);
            return true;
        }
        if self.follow_held(id) || self.end_needless_claim(id) {
            return true;
        }
        let keeps_misfit = self.connection(id).buffered_bytes() > 0 && self.is_misfit(id);
        if pending.has(Action::Decode) || (pending.has(Action::RequestBuffer) && keeps_misfit) {
            return self.borrow_to_decode(id);
        }
        pending.has(Action::RequestBuffer) && self.begin(id, is_reported)
    }

    /// As `settle_once`, of a receiver that borrows.
    fn settle_borrow(&mut self, id: u64, max: u32, usable: u32) -> bool {
        let pending = self.pending_of(id);
        if self.owes(id) > 0 {
            return false;
        }
        if self.memory.facts(self.row(id)).in_flight {
            return self.settle_flight(id);
        }
        if self.is_looked_at(id) && !pending.has(Action::Decode) {
            self.report_look(id, self.rest(id, usable));
            return true;
        }
        if pending.has(Action::Discard) {
            self.discard(id);
            return true;
        }
        if self.is_in_place(id) {
            // Only the host has what is left.
            return false;
        }
        if self.is_misfit(id) {
            return self.show_misfit(id);
        }
        let is_next = if max > 0 { pending.has(Action::Recv) } else { pending.has(Action::Decode) };
        if is_next {
            return false;
        }
        let after = match max {
            0 => self.memory.decoded(self.row(id), 0, self.rest(id, usable)),
            _ => self.memory.dry(self.row(id)),
        };
        self.follow(id, after);
        true
    }

    /// As `settle_borrow`, of one whose receive is in flight, or was until its outcome, which brought nothing.
    fn settle_flight(&mut self, id: u64) -> bool {
        if !self.connection(id).in_flight() {
            let after = self.memory.dry(self.row(id));
            self.follow(id, after);
            return true;
        }
        let discards = self.pending_of(id).has(Action::Discard);
        if discards {
            self.discard(id);
        }
        discards
    }

    pub(super) fn follow(&mut self, id: u64, after: After) {
        match after {
            After::Ended | After::Away { .. } => {}
            After::Receive { max } | After::Whole { bytes: max } | After::WholeLook { bytes: max } => {
                // They have a number of receives of their own.
                self.feed(id, Event::Wake);
                let facts = self.connection(id).facts();
                if facts.capacity >= facts.buffered_bytes + max {
                    self.feed(id, Event::Readable);
                } else {
                    self.grant(id, max);
                }
            }
            After::Shed { .. } => self.lose_content(id),
        }
    }

    fn discard(&mut self, id: u64) {
        let row = self.row(id);
        let bytes = match self.memory.facts(row) {
            memory if memory.in_flight => {
                self.memory.consume(row, memory.kept);
                memory.kept
            }
            _ => self.memory.discard(row),
        };
        self.counts.dropped_bytes += u64::from(bytes);
        self.feed(id, Event::Consumed { bytes });
    }

    /// The frame at the front fits into no buffer.
    pub(super) fn is_misfit(&self, id: u64) -> bool {
        let facts = self.connection(id).facts();
        let length = u64::from(facts.buffered_bytes) + u64::from(facts.needed_bytes);
        facts.end == 0 && !facts.failed && facts.needed_bytes > 0 && length > self.config.buffer_bytes.into()
    }

    /// The connection sees that the frame does not fit into a whole buffer; false if it does already.
    pub(super) fn show_misfit(&mut self, id: u64) -> bool {
        let (facts, capacity) = (self.connection(id).facts(), self.config.buffer_bytes);
        let sees_it = facts.hold == Hold::Buffer as u8 && facts.capacity == capacity;
        if !sees_it {
            self.feed(id, Event::BufferGranted { capacity });
        }
        !sees_it
    }

    fn begin(&mut self, id: u64, is_reported: bool) -> bool {
        let row = self.row(id);
        let begin = if is_reported { self.memory.begin(row) } else { self.memory.begin_unreported(row) };
        let facts = self.connection(id).facts();
        match begin {
            Begin::Receive { max } | Begin::Look { max } => self.grant(id, max),
            Begin::Whole { bytes } | Begin::WholeLook { bytes } => self.grant(id, bytes),
            Begin::Later => return false,
            Begin::Claimed | Begin::Off if facts.waiting => return false,
            Begin::Claimed if !is_reported && self.is_reported_again(id) => {
                // The poller reports what there is.
                self.memory.cancel(row);
                self.feed(id, Event::WouldBlock);
            }
            Begin::Claimed | Begin::Off => {
                // While it waits, there is no room behind what it keeps.
                if facts.buffered_bytes > 0 {
                    self.feed(id, Event::BufferParked { capacity: facts.buffered_bytes });
                }
                self.feed(id, Event::BufferDenied);
            }
        }
        true
    }

    /// Whether the poller reports once more what there is, for a receiver that keeps nothing.
    fn is_reported_again(&self, id: u64) -> bool {
        let connection = self.connection(id);
        connection.mode() != Mode::Edge && !connection.reads_ahead() && connection.buffered_bytes() == 0
    }

    /// A report, also of a receiver that waits: it begins again, and knows that there is something. An edge is certain
    /// only then.
    pub(super) fn readable(&mut self, id: u64) -> Actions {
        let waited = self.connection(id).facts().waiting;
        let is_certain = self.connection(id).mode() != Mode::Edge;
        let actions = self.settle_as(id, 0, is_certain);
        let may_begin = !self.is_borrowing(id) && self.standing(id) != Standing::Shed;
        if waited && self.connection(id).facts().waiting && may_begin && self.begin(id, true) {
            return self.settle(id);
        }
        actions
    }

    /// Why the decoder left bytes.
    fn rest(&self, id: u64, usable: u32) -> Rest {
        let facts = self.connection(id).facts();
        let needed = facts.needed_bytes;
        if facts.buffered_bytes == 0 {
            Rest::Nothing
        } else if needed > 0 && facts.blocked == 0 && !facts.paused && facts.end == 0 && !self.is_misfit(id) {
            Rest::Short { needed, usable }
        } else {
            Rest::Held
        }
    }

    /// A connection sees a buffer while it borrows, a slot while it keeps bytes, else nothing.
    fn show_hold(&mut self, id: u64) {
        let facts = self.connection(id).facts();
        let sees_misfit = facts.hold == Hold::Buffer as u8 && self.is_misfit(id);
        if facts.hold == Hold::None as u8 || self.is_borrowing(id) || sees_misfit {
            return;
        }
        if facts.buffered_bytes == 0 {
            self.feed(id, Event::BufferReleased);
        } else if facts.hold == Hold::Buffer as u8 {
            self.feed(id, Event::BufferParked { capacity: self.config.buffer_bytes });
        }
    }

    /// A receiver claims only while there may be something to be received, and waits under a mark only while it could
    /// be.
    fn end_needless_claim(&mut self, id: u64) -> bool {
        let claims = self.memory.facts(self.row(id)).claim_since.is_some();
        let wants = self.connection(id).facts().waiting || self.pending_of(id).has(Action::RequestBuffer);
        let awaits_in_vain = self.awaited_bytes(id) > 0 && !self.connection(id).is_accepting();
        let is_needless = (claims && !wants) || awaits_in_vain;
        if is_needless {
            self.memory.cancel(self.row(id));
        }
        is_needless
    }

    /// What is kept waits for the host, or for its peer, as the connection has it; while it waits for room, for that.
    fn follow_held(&mut self, id: u64) -> bool {
        let facts = self.connection(id).facts();
        let is_held = !facts.waiting && self.rest(id, 0) == Rest::Held;
        let changes = facts.buffered_bytes > 0 && is_held != self.memory.facts(self.row(id)).held_since.is_some();
        if changes {
            self.memory.set_held(self.row(id), is_held);
        }
        changes
    }
}
