//! Section 15: receives of a whole from a look.

use super::counting::Access;
use super::{ModelReceiving, Place, Receiver, TRIAL_RECEIVES_MAX};
use crate::receiving_system::{After, Rest};

impl Receiver {
    /// What is to be looked at, all of it, before it is decoded.
    pub(super) fn look_asked(&self) -> Option<u32> {
        let borrow = self.borrow.filter(|borrow| borrow.access == Access::WholeLook);
        borrow.map(|borrow| borrow.max).filter(|&max| max > 0)
    }

    /// The decoder has not reported on what was looked at.
    pub(super) fn is_looked_at(&self) -> bool {
        self.borrow.is_some_and(|borrow| !borrow.reported && (borrow.seen > 0 || borrow.owed > 0))
    }

    /// How much is to be received away now.
    pub(super) fn owes(&self) -> u32 {
        self.borrow.filter(|borrow| borrow.reported).map_or(0, |borrow| borrow.owed)
    }

    /// These bytes are consumed: those that are kept first.
    pub(super) fn take_front(&mut self, bytes: u32) {
        let kept = self.kept();
        if let Some(borrow) = &mut self.borrow {
            let seen = borrow.seen.min(kept - bytes);
            (borrow.owed, borrow.seen) = (borrow.owed + borrow.seen - seen, seen);
        }
        self.bytes.drain(..bytes as usize);
    }

    /// What was only looked at leaves the content; how much that was.
    pub(super) fn leave_seen(&mut self) -> u32 {
        let kept = self.kept();
        let seen = self.borrow.as_mut().map_or(0, |borrow| std::mem::take(&mut borrow.seen));
        self.bytes.truncate((kept - seen) as usize);
        seen
    }
}

impl ModelReceiving {
    /// How much of the content was only looked at.
    pub(in crate::model) fn seen(&self, id: u32) -> u32 {
        self.receiver(id).borrow.map_or(0, |borrow| borrow.seen)
    }

    /// Whether what the decoder may leave, after this many bytes more, has a place.
    pub(super) fn has_place(&self, id: u32, bytes: u32) -> bool {
        let receiver = self.receiver(id);
        let is_in_receive_buffer = receiver.borrow.is_some_and(|borrow| borrow.place == Place::ReceiveBuffer);
        let own_bytes = receiver.cell.map_or(0, |cell| self.sizes[cell]);
        !is_in_receive_buffer || self.free() > 0 || receiver.kept() + bytes <= own_bytes
    }

    /// After the report on what was looked at, of which this much was left there.
    pub(super) fn after_look(&mut self, id: u32, left: u32, rest: Rest) -> After {
        let whole = self.config.buffer_bytes;
        let receiver = self.receiver_mut(id);
        let (kept, counts_now) = (receiver.kept(), receiver.counts_now());
        let short = match rest {
            Rest::Short { needed, .. } if kept + left > 0 => Some(needed + left),
            _ => None,
        };
        if kept + left == 0 {
            receiver.start = None;
        }
        let borrow = receiver.borrow.as_mut().expect("it looked");
        let has_looked = borrow.receives > 0 && borrow.brought == borrow.asked;
        let may_look = kept < whole && borrow.receives < TRIAL_RECEIVES_MAX && counts_now;
        borrow.reported = true;
        borrow.again = short.filter(|_| has_looked && may_look);
        match borrow.owed {
            0 => self.end_look(id),
            bytes => {
                receiver.offset = 0;
                After::Away { bytes }
            }
        }
    }

    pub(super) fn receive_away(&mut self, id: u32, bytes: u32) -> After {
        assert!((1..=self.receiver(id).owes()).contains(&bytes), "it does not owe {bytes} bytes");
        let borrow = self.receiver_mut(id).borrow.as_mut().expect("it owes");
        borrow.owed -= bytes;
        match borrow.owed {
            0 => self.end_look(id),
            bytes => After::Away { bytes },
        }
    }

    /// Nothing is owed.
    fn end_look(&mut self, id: u32) -> After {
        let receiver = self.receiver_mut(id);
        let again = receiver.borrow.and_then(|borrow| borrow.again).filter(|_| receiver.counts_now());
        let Some(rest) = again else {
            receiver.start = receiver.start.filter(|_| !receiver.bytes.is_empty());
            return self.end_report(id);
        };
        receiver.offset = 0;
        receiver.looked = receiver.bytes.is_empty().then_some(rest);
        self.go_on_whole(id, rest)
    }
}
