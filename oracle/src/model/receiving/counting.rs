//! Section 15: receivers that count.

use super::{ModelReceiving, Place, Purpose, Receiver, TRIAL_RECEIVES_MAX};
use crate::receiving_system::{After, Begin};

/// A look is at this much at most.
const LOOK_BYTES_MAX: u32 = 64;

/// What a borrow may do with what is in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Access {
    Receive,
    /// It stays there.
    Look,
    /// All that was asked for, or nothing.
    Whole,
    /// The same, but it stays there while it is decoded.
    WholeLook,
}

impl Receiver {
    pub(super) fn counts_now(&self) -> bool {
        self.counts && !self.is_full && !self.peer_closed
    }

    /// How many bytes the decoder needs, from the first one in the kernel on; none if that is not known. A second look
    /// costs no more than a receive.
    fn rest(&self) -> Option<u32> {
        let reported = self.looked.filter(|&bytes| bytes > LOOK_BYTES_MAX);
        if self.bytes.is_empty() { reported } else { Some(self.needed) }
    }

    /// It waits under a mark no more.
    pub(super) fn end_mark(&mut self) {
        if self.mark.take().is_some() {
            self.looked = None;
        }
    }

    /// What a receive of a whole that is allowed now was asked for.
    pub(super) fn whole_asked(&self) -> Option<u32> {
        let borrow = self.borrow.filter(|borrow| borrow.access == Access::Whole);
        borrow.map(|borrow| borrow.max).filter(|&max| max > 0)
    }

    /// It borrows to look or to receive whole, or waits under a mark, and counts now.
    pub(super) fn may_be_full(&self) -> bool {
        self.counts_now() && (self.mark.is_some() || self.looks_or_takes_whole())
    }

    pub(super) fn looks_or_takes_whole(&self) -> bool {
        self.looks() || self.whole_asked().is_some() || self.look_asked().is_some()
    }

    pub(super) fn looks(&self) -> bool {
        self.borrow.is_some_and(|borrow| borrow.access == Access::Look)
    }

    /// What reads ahead, or has an unknown length, leaves nothing in the kernel that is known.
    pub(super) fn may_change_counting(&self) -> bool {
        !self.reads_ahead && !self.unknown_length && !self.looks_or_takes_whole() && !self.is_looked_at()
    }

    /// A claim or a mark: at its deadline there is a trial.
    pub(super) fn has_trial(&self) -> bool {
        (self.claim_since.is_some() || self.mark.is_some()) && self.borrow.is_none()
    }
}

impl ModelReceiving {
    /// In shortage.
    pub(super) fn begin_whole(&mut self, id: u32, place: Place) -> Begin {
        let (rest, looked) = (self.receiver(id).rest(), self.receiver(id).looked);
        self.end_claim(id);
        match rest {
            Some(bytes) => {
                self.borrow_as(id, place, Access::Whole, bytes);
                self.receiver_mut(id).looked = looked;
                match self.go_on_whole(id, bytes) {
                    After::WholeLook { bytes } => Begin::WholeLook { bytes },
                    _ => Begin::Whole { bytes },
                }
            }
            None => {
                self.borrow_as(id, place, Access::Look, LOOK_BYTES_MAX);
                Begin::Look { max: LOOK_BYTES_MAX }
            }
        }
    }

    fn borrow_as(&mut self, id: u32, place: Place, access: Access, max: u32) {
        self.borrow(id, place, Purpose::Plain, max);
        let borrow = self.receiver_mut(id).borrow.as_mut().expect("it borrows");
        // It is neither submitted nor limited.
        (borrow.access, borrow.counted) = (access, false);
    }

    pub(super) fn begin_or_stop_counting(&mut self, id: u32, counts: bool) {
        let receiver = self.receiver(id);
        assert!(
            counts || !(receiver.looks_or_takes_whole() || receiver.is_looked_at()),
            "it looks, or receives a whole"
        );
        let receiver = self.receiver_mut(id);
        receiver.counts = counts;
        receiver.is_full &= counts;
        if !counts && self.receiver(id).mark.is_some() {
            self.cancel(id);
        }
    }

    pub(super) fn follow_look(&mut self, id: u32, needed: u32) -> After {
        assert!(self.receiver(id).looks(), "nothing was looked at");
        if needed > self.config.buffer_bytes {
            return self.end_dry(id);
        }
        let now = self.now;
        let receiver = self.receiver_mut(id);
        receiver.start.get_or_insert(now);
        receiver.looked = Some(needed);
        self.go_on_whole(id, needed)
    }

    /// At most what there is room for; from a look if what the decoder may leave has no place.
    pub(super) fn go_on_whole(&mut self, id: u32, rest: u32) -> After {
        let bytes = rest.min(self.config.buffer_bytes - self.receiver(id).kept());
        let has_place = self.has_place(id, bytes);
        let borrow = self.receiver_mut(id).borrow.as_mut().expect("it borrows");
        (borrow.access, borrow.max) = (if has_place { Access::Whole } else { Access::WholeLook }, bytes);
        if has_place { After::Whole { bytes } } else { After::WholeLook { bytes } }
    }

    /// What was asked for is not there yet.
    pub(super) fn end_without_whole(&mut self, id: u32, whole: u32) -> After {
        let now = self.now;
        let receiver = self.receiver_mut(id);
        receiver.start.get_or_insert(now);
        let borrow = receiver.borrow.as_mut().expect("it borrows");
        (borrow.max, borrow.brought) = (0, 0);
        let after = self.after_report(id);
        if after == After::Ended {
            let receiver = self.receiver_mut(id);
            receiver.mark = Some(whole);
            receiver.looked = receiver.bytes.is_empty().then_some(whole);
        }
        after
    }

    /// What follows the report after a receive of a whole, if the borrow goes on.
    pub(super) fn receive_whole_again(&mut self, id: u32) -> Option<After> {
        let receiver = self.receiver(id);
        let borrow = receiver.borrow.filter(|borrow| borrow.access == Access::Whole)?;
        let has_brought_all = borrow.receives > 0 && borrow.brought == borrow.asked;
        let may_receive = receiver.kept() < self.config.buffer_bytes && borrow.receives < TRIAL_RECEIVES_MAX;
        let leaves_partial_frame = receiver.held_since.is_none() && !receiver.bytes.is_empty();
        let goes_on = has_brought_all && may_receive && leaves_partial_frame && receiver.counts_now();
        let needed = receiver.needed;
        goes_on.then(|| {
            // It is received behind what is left, which is in front.
            self.receiver_mut(id).offset = 0;
            self.go_on_whole(id, needed)
        })
    }

    pub(super) fn kernel_holds_no_more(&mut self, id: u32) -> After {
        assert!(self.receiver(id).may_be_full(), "it waits for nothing that the kernel could hold");
        self.counts.full_kernels += 1;
        let after = self.end_access(id);
        if after == After::Ended {
            self.receiver_mut(id).is_full = true;
        }
        after
    }

    pub(super) fn sends_no_more(&mut self, id: u32) -> After {
        let after = self.end_access(id);
        if after == After::Ended {
            self.receiver_mut(id).peer_closed = true;
        }
        after
    }

    /// A look, or a receive of a whole, is over.
    fn end_access(&mut self, id: u32) -> After {
        if self.receiver(id).looks_or_takes_whole() { self.end_dry(id) } else { After::Ended }
    }

    /// For the search.
    pub(super) fn counting_key(&self, id: u32, state: &mut Vec<u64>) {
        let Receiver { counts, is_full, peer_closed, looked, mark, .. } = *self.receiver(id);
        state.extend([counts, is_full, peer_closed].map(u64::from));
        state.extend([looked, mark].map(|bytes| bytes.map_or(u64::MAX, u64::from)));
    }
}
