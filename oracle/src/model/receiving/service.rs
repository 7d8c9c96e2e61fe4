//! Claims, trials and notices.

use super::{ModelReceiving, Purpose, Receiver, TRIAL_RECEIVES_MAX};
use crate::receiving_system::{After, Notice, Reason};
use std::cmp::Reverse;

impl ModelReceiving {
    /// Section 10.
    pub(super) fn next_notice(&mut self) -> Option<Notice> {
        self.next_shed()
            .or_else(|| {
                self.evict_for_requests();
                self.make_ready_to_serve();
                self.next_trial()
            })
            .or_else(|| self.next_grant())
            .or_else(|| self.next_resume())
            .or_else(|| self.next_take_back())
            .or_else(|| self.next_shed())
    }

    fn next_shed(&mut self) -> Option<Notice> {
        let waiting = |(&id, receiver): (&u32, &Receiver)| {
            receiver.shed.and_then(|(reason, notice)| notice.map(|place| (place, id, reason)))
        };
        let (_, id, reason) = self.receivers.iter().filter_map(waiting).min()?;
        self.receiver_mut(id).shed = Some((reason, None));
        Some(Notice::Shed { receiver: id, reason })
    }

    /// A shard takes what one that is served may need.
    fn make_ready_to_serve(&mut self) {
        let waits = |receiver: &Receiver| receiver.has_trial() || receiver.off.is_some() || receiver.borrow.is_some();
        if !self.is_borrowed() && self.live().any(|(_, receiver)| waits(receiver)) {
            self.make_ready();
        }
    }

    /// Claims, and receivers under a mark, whose deadline has passed, in the order of their trials.
    fn due(&self) -> Vec<u32> {
        let mut due: Vec<(u64, u32)> = self
            .live()
            .filter(|(_, receiver)| receiver.has_trial())
            .filter_map(|(id, _)| self.deadline(id).map(|deadline| (deadline, id)))
            .filter(|&(deadline, _)| deadline <= self.now)
            .collect();
        due.sort_unstable();
        due.into_iter().map(|(_, id)| id).collect()
    }

    fn next_trial(&mut self) -> Option<Notice> {
        if self.trials_left == 0 || self.is_borrowed() {
            return None;
        }
        let id = *self.due().first()?;
        self.place_to_borrow(id)?;
        self.trials_left -= 1;
        self.counts.trials += 1;
        let max = self.exact(id);
        self.serve(id, Purpose::Trial, max);
        Some(Notice::Trial { receiver: id, max })
    }

    pub(super) fn is_borrowed(&self) -> bool {
        self.live().any(|(_, receiver)| receiver.borrows_openly())
    }

    /// The claim that is granted before all others.
    pub(super) fn first_claim(&self) -> Option<u32> {
        let claims = self.served_first(|receiver| receiver.claim_since.is_some() && receiver.borrow.is_none());
        claims.into_iter().min_by_key(|&id| (Reverse(self.is_in_credit(id)), self.deadline(id), id))
    }

    /// The *k* of a claim.
    pub(super) fn claimed_size(&self, id: u32) -> usize {
        match self.receiver(id).submits {
            true => self.sizes.len() - 1,
            false => self.size_for(self.length(id), true),
        }
    }

    /// Whether there is room for a claim.
    pub(super) fn is_grantable(&self, id: u32) -> bool {
        self.has_room(self.claimed_size(id), self.floor(id)) && self.place_to_borrow(id).is_some()
    }

    fn next_grant(&mut self) -> Option<Notice> {
        if self.is_borrowed() {
            return None;
        }
        let id = self.first_claim()?;
        if self.is_at_limit(id) {
            return None;
        }
        while !self.is_grantable(id) {
            if !self.evict(None) && !self.evict_for(id, self.claimed_size(id)) {
                return None;
            }
        }
        self.counts.grants += 1;
        self.end_claim(id);
        let max = if self.receiver(id).bytes.is_empty() { self.config.buffer_bytes } else { self.exact(id) };
        self.serve(id, Purpose::Grant, max);
        Some(Notice::Granted { receiver: id, max })
    }

    /// A claim gets a borrow.
    fn serve(&mut self, id: u32, purpose: Purpose, max: u32) {
        let (place, _) = self.place_to_borrow(id).expect("there is a buffer to borrow");
        self.borrow(id, place, purpose, max);
    }

    /// Section 6, 7 and 8: what follows when nothing is left, or the decoder reported what is.
    pub(super) fn after_report(&mut self, id: u32) -> After {
        let receiver = self.receiver(id);
        let borrow = receiver.borrow.expect("a report ends a borrow");
        let is_done = borrow.consumed > 0 || receiver.held_since.is_some() || receiver.bytes.is_empty();
        let has_room = receiver.kept() < self.config.buffer_bytes;
        if borrow.purpose == Purpose::Trial && !is_done {
            if borrow.brought == borrow.asked && has_room && borrow.receives < TRIAL_RECEIVES_MAX {
                let max = self.exact(id);
                let borrow = self.receiver_mut(id).borrow.as_mut().expect("it borrows");
                borrow.max = max;
                return After::Receive { max };
            }
            return self.end_trial(id);
        }
        if let Some(again) = self.receive_whole_again(id) {
            return again;
        }
        self.end_report(id)
    }

    /// The borrow is over: what is left has a place, or the receiver is shed.
    pub(super) fn end_report(&mut self, id: u32) -> After {
        let receiver = self.receiver(id);
        let borrow = receiver.borrow.expect("a report ends a borrow");
        let leaves_partial_frame = receiver.held_since.is_none() && !receiver.bytes.is_empty();
        self.unborrow(id);
        if borrow.purpose == Purpose::Grant && leaves_partial_frame && self.keep(id, self.length(id)) {
            return After::Ended;
        }
        match self.keep_leftovers(id) {
            true => After::Ended,
            false => {
                self.shed(id, Reason::Memory, None);
                After::Shed { reason: Reason::Memory }
            }
        }
    }

    /// Section 8, of a trial that brought no frame.
    fn end_trial(&mut self, id: u32) -> After {
        self.unborrow(id);
        if self.deadline(id) > Some(self.now) && self.keep(id, 0) {
            return After::Ended;
        }
        if self.keep(id, self.length(id)) {
            self.end_claim(id);
            self.receiver_mut(id).kept_for_good = true;
            return After::Ended;
        }
        self.shed(id, Reason::Deadline, None);
        After::Shed { reason: Reason::Deadline }
    }

    /// The receiver that is off, and goes on first.
    pub(super) fn first_off(&self) -> Option<u32> {
        let off = self.served_first(|receiver| receiver.off.is_some());
        off.into_iter().map(|id| (self.receiver(id).off, id)).min().map(|(_, id)| id)
    }

    fn next_resume(&mut self) -> Option<Notice> {
        if self.is_borrowed() {
            return None;
        }
        let id = self.first_off()?;
        if self.is_in_shortage(id, self.free()) || self.place_to_borrow(id).is_none() {
            return None;
        }
        self.receiver_mut(id).off = None;
        Some(Notice::Resume { receiver: id })
    }

    /// Section 10: host time.
    pub(super) fn next_advance(&self) -> Option<u64> {
        let last = self.advanced_at.unwrap_or(0);
        let is_shed = self.receivers.values().any(|receiver| matches!(receiver.shed, Some((_, Some(_)))));
        let take_back = self.wants_take_back();
        let trial = self.due().first().copied();
        let is_trial_blocked = |id| self.is_receive_buffer_in_flight() && self.place_to_borrow(id).is_none();
        let has_limit = self.next_limit.is_some();
        if is_shed || has_limit || take_back == Some(true) || trial.is_some_and(|id| !is_trial_blocked(id)) {
            return Some(last);
        }
        let waiting = self.live().filter(|(_, receiver)| receiver.has_trial());
        let deadline = waiting.filter_map(|(id, _)| self.deadline(id)).min();
        let is_low = self.free() <= self.reserve;
        let is_kept = |receiver: &Receiver| receiver.borrow.is_none() && receiver.cell.is_some_and(|cell| cell > 0);
        let keeps = is_low && self.live().any(|(_, receiver)| is_kept(receiver));
        let step_max = self.step_ns_max();
        let until_deadline = deadline.map(|deadline| match deadline.saturating_sub(self.now) {
            0 => step_max,
            left => left.min(step_max),
        });
        until_deadline.or((keeps || take_back.is_some()).then_some(step_max)).map(|left| last + left)
    }
}
