//! The calls of hosts and pools.

use super::counting::Access;
use super::shard::Shard;
use super::{EACH_ITERATION_MAX, ModelReceiving, Purpose, Receiver};
use crate::receiving_system::{After, Begin, Delivered, Facts, Notice, Reason, ReceivingSystem, Rest, Totals};

impl ReceivingSystem for ModelReceiving {
    fn attach(&mut self, receiver: u32, unknown_length: bool) {
        let attached = Receiver::new(unknown_length, self.now);
        assert!(self.receivers.insert(receiver, attached).is_none(), "receiver {receiver} is attached already");
    }

    fn set_reads_ahead(&mut self, receiver: u32, reads_ahead: bool) {
        self.receiver_mut(receiver).reads_ahead = reads_ahead;
    }

    fn set_counts(&mut self, receiver: u32, counts: bool) {
        self.begin_or_stop_counting(receiver, counts);
    }

    fn set_tenant(&mut self, receiver: u32, tenant: u32) {
        self.move_to_tenant(receiver, tenant as usize);
    }

    fn close(&mut self, receiver: u32) {
        self.end_claim(receiver);
        if self.receiver(receiver).is_in_flight() {
            return self.close_in_flight(receiver);
        }
        self.receivers.remove(&receiver);
        self.settle_buffers();
    }

    fn begin(&mut self, id: u32) -> Begin {
        self.end_guess(id);
        self.begin_as(id, false)
    }

    fn begin_unreported(&mut self, id: u32) -> Begin {
        let is_guess = self.receiver(id).bytes.is_empty() && self.receiver(id).claim_since.is_none();
        self.begin_as(id, is_guess)
    }

    fn received(&mut self, id: u32, bytes: &[u8]) {
        let now = self.now;
        self.end_flight(id);
        self.end_guess(id);
        let cell = self.receiver(id).cell.map(|cell| self.sizes[cell]);
        let receiver = self.receiver_mut(id);
        let before = receiver.kept();
        let borrow = receiver.borrow.as_mut().expect("a receive is into a borrow");
        assert!(
            (1..=borrow.max as usize).contains(&bytes.len()),
            "{} bytes where {} may be received",
            bytes.len(),
            borrow.max
        );
        (borrow.before, borrow.brought, borrow.asked) = (before, bytes.len() as u32, borrow.max);
        let is_look = borrow.access == Access::WholeLook && borrow.max > 0;
        assert!(!is_look || borrow.max as usize == bytes.len(), "a look at a part");
        (borrow.seen, borrow.reported) = (if is_look { borrow.max } else { 0 }, false);
        borrow.max = 0;
        borrow.receives += 1;
        receiver.looked = None;
        receiver.bytes.extend_from_slice(bytes);
        receiver.start.get_or_insert(now);
        if before > 0 && Some(self.receiver(id).kept()) == cell {
            self.receiver_mut(id).sparing = Some(now);
        }
    }

    fn deliver(&mut self, id: u32, bytes: &[u8]) -> Delivered {
        self.deliver_to(id, bytes)
    }

    fn dry(&mut self, id: u32) -> After {
        self.end_flight(id);
        self.end_dry(id)
    }

    fn looked(&mut self, id: u32, needed: u32) -> After {
        self.follow_look(id, needed)
    }

    fn received_away(&mut self, id: u32, bytes: u32) -> After {
        self.receive_away(id, bytes)
    }

    fn kernel_full(&mut self, id: u32) -> After {
        self.kernel_holds_no_more(id)
    }

    fn peer_closed(&mut self, receiver: u32) -> After {
        self.sends_no_more(receiver)
    }

    fn set_submits(&mut self, receiver: u32, submits: bool) {
        self.receiver_mut(receiver).submits = submits;
    }

    fn submit(&mut self, receiver: u32) {
        self.begin_flight(receiver);
    }

    fn consume(&mut self, receiver: u32, bytes: u32) {
        self.consume_before(receiver, bytes);
    }

    fn complete(&mut self, receiver: u32) {
        let closed = self.receivers.remove(&receiver);
        assert!(closed.is_some_and(|receiver| receiver.closed), "receiver {receiver} was not closed in flight");
        self.settle_buffers();
    }

    fn decode(&mut self, id: u32) -> bool {
        self.make_ready();
        let Some((place, _)) = self.place_to_borrow(id) else {
            return false;
        };
        let now = self.now;
        let receiver = self.receiver_mut(id);
        let held_ns = receiver.held_since.take().map_or(0, |since| now - since);
        receiver.start = receiver.start.map(|start| start + held_ns);
        self.borrow(id, place, Purpose::Plain, 0);
        true
    }

    fn decoded(&mut self, id: u32, consumed: u32, rest: Rest) -> After {
        let now = self.now;
        self.end_in_place(id);
        self.consume_borrowed(id, consumed);
        let borrow = self.receiver(id).borrow.expect("the decoder reports on a borrow");
        assert!(self.receiver(id).owes() == 0, "the decoder has reported, and what it decoded is to be received away");
        if borrow.consumed > 0 {
            self.end_wait(id);
        }
        let receiver = self.receiver_mut(id);
        let left = receiver.leave_seen();
        if receiver.bytes.is_empty() && left == 0 {
            receiver.start = None;
        } else if borrow.consumed > 0 && (borrow.receives == 0 || borrow.consumed >= borrow.before) {
            receiver.start = Some(now);
        }
        (receiver.needed, receiver.usable) = match rest {
            Rest::Short { needed, usable } if !receiver.bytes.is_empty() => (needed + left, usable.max(needed) + left),
            _ => (1, 1),
        };
        if rest == Rest::Held {
            self.hold(id);
        }
        match borrow.access {
            Access::WholeLook => self.after_look(id, left, rest),
            _ => self.after_report(id),
        }
    }

    fn set_usable(&mut self, id: u32, usable: u32) {
        let receiver = self.receiver_mut(id);
        assert!(receiver.bytes.is_empty(), "what is left is what a report is about");
        receiver.usable = usable;
    }

    fn end(&mut self, id: u32) {
        self.end_flight(id);
        self.hold(id);
        let receiver = self.receiver_mut(id);
        (receiver.start, receiver.is_guess, receiver.ended, receiver.usable) = (None, false, true, 1);
        let borrows = receiver.borrow.is_some();
        self.unborrow(id);
        if borrows && !self.keep_leftovers(id) {
            self.shed(id, Reason::Memory, None);
            self.notify_shed(id);
        }
    }

    fn advance(&mut self, now_ns: u64) {
        while self.end_first_borrow().is_some() {}
        self.free_receive_buffer();
        self.iteration += 1;
        let step_max = self.step_ns_max();
        self.before = self.now;
        let since_last = self.advanced_at.map_or(0, |last| now_ns.saturating_sub(last));
        self.now += since_last.min(step_max);
        self.skipped += since_last.saturating_sub(step_max);
        self.advanced_at = self.advanced_at.max(Some(now_ns));
        self.apply_limit();
        self.see();
        (self.trials_left, self.evictions_left) = (EACH_ITERATION_MAX, EACH_ITERATION_MAX);
    }

    fn poll(&mut self) -> Option<Notice> {
        if let Some(notice) = self.next_notice() {
            return Some(notice);
        }
        let sees_more = self.shard_mut().is_some_and(Shard::hold_one);
        if let Some(notice) = sees_more.then(|| self.next_notice()).flatten() {
            return Some(notice);
        }
        if self.rest_at_shard() { self.next_notice() } else { None }
    }

    fn poll_timeout(&self) -> Option<u64> {
        self.next_advance()
    }

    fn lease(&mut self) -> bool {
        while self.free() <= self.set_aside() {
            if !self.evict(None) {
                return false;
            }
        }
        self.leases += 1;
        true
    }

    fn release(&mut self) {
        self.leases = self.leases.checked_sub(1).expect("the host has a lease");
    }

    fn data(&self, receiver: u32) -> Vec<u8> {
        self.receiver(receiver).bytes.clone()
    }

    fn facts(&self, id: u32) -> Facts {
        let receiver = self.receiver(id);
        if receiver.shed.is_some() {
            return Facts { shed: true, ..Facts::default() };
        }
        if receiver.closed {
            return Facts { closed: true, borrowed: true, in_flight: true, ..Facts::default() };
        }
        Facts {
            kept: receiver.kept(),
            needed: receiver.needed,
            usable: receiver.usable,
            cell_bytes: receiver.cell.map_or(0, |cell| self.sizes[cell]),
            start: receiver.start,
            claim_since: receiver.claim_since,
            credit: self.credit_now(id),
            borrowed: receiver.borrow.is_some(),
            held_since: receiver.held_since,
            off: receiver.off.is_some(),
            kept_for_good: receiver.kept_for_good,
            in_flight: receiver.is_in_flight(),
            mark: receiver.mark.unwrap_or(0),
            full: receiver.is_full,
            seen: receiver.borrow.map_or(0, |borrow| borrow.seen),
            owed: receiver.owes(),
            closed: false,
            shed: false,
        }
    }

    fn totals(&self) -> Totals {
        let cells = (0..self.sizes.len()).map(|size| (self.sizes[size], self.cells(size))).collect();
        let held = [0, 1, 2].map(|tenant| self.held(tenant));
        Totals { free: self.free(), cells, held, ..self.counts.clone() }
    }
}
