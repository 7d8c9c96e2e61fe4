//! What is known of receivers. An idle one has a row only; one that borrows, keeps, waits or was shed has a keeper.

use super::NIL;
use super::sizes::Size;
use super::types::{Rest, ShedReason, Stance};
use crate::alloc_util::reserve;
use crate::config_error::ConfigError;
use crate::scheduler::list::{Linked, Links, List};
use alloc::vec::Vec;
use core::ops::{Index, IndexMut};

/// Every receiver.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    /// `NIL` if it is idle.
    pub(super) keeper: u32,
    /// Its credit when it was settled last.
    pub(super) credit_bytes: i32,
    pub(super) is_attached: bool,
    /// Its decoder only reports that it needs more.
    pub(super) unknown_length: bool,
    /// Its receives are submitted, and complete later.
    pub(super) submits: bool,
    pub(super) transport: Transport,
}

const _: () = assert!(size_of::<Row>() == 12);

/// What is known of the transport of a receiver, as bits of one byte, so that rows stay small.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Transport(u8);

impl Transport {
    /// A layer takes a whole record from it, whatever it is asked for.
    pub(super) const READS_AHEAD: Transport = Transport(1);
    /// The host can leave a partial frame in the kernel.
    pub(super) const COUNTS: Transport = Transport(2);
    /// The peer will send no more.
    pub(super) const CLOSED: Transport = Transport(4);

    pub(super) const fn has(self, fact: Transport) -> bool {
        self.0 & fact.0 != 0
    }

    pub(super) fn set(&mut self, fact: Transport, holds: bool) {
        self.0 = if holds { self.0 | fact.0 } else { self.0 & !fact.0 };
    }

    /// All of it, for model checkers.
    #[cfg(feature = "model-check")]
    pub(super) const fn bits(self) -> u64 {
        self.0 as u64
    }
}

impl Default for Row {
    fn default() -> Row {
        Row {
            keeper: NIL,
            credit_bytes: 0,
            is_attached: false,
            unknown_length: false,
            submits: false,
            transport: Transport::default(),
        }
    }
}

/// Where kept bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Nowhere,
    /// At the front of a cell.
    Cell {
        size: Size,
        index: u32,
    },
    /// In a buffer of its own, from `start` on.
    Whole {
        buffer: u32,
        start: u32,
    },
}

/// What a receiver waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// For its peer, or for nothing.
    Resting,
    /// For room.
    Claiming { since_ns: u64 },
    /// For the end of shortage.
    Off,
    /// Until a frame is whole in the kernel.
    Marked,
    /// For the host, to decode.
    Held { since_ns: u64 },
    /// For the host, to close it.
    Shed { reason: ShedReason },
}

/// What a keeper waits for in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Queue {
    /// Claims of receivers that were in credit when they were last looked at.
    CreditedClaims,
    /// Other claims.
    Claims,
    /// Content that may go for the sake of a claim once its deadline has passed.
    Evictable,
    /// Receivers that wait under a mark.
    Marks,
}

/// A receiver that is not idle.
#[derive(Clone, Debug)]
pub(super) struct Keeper {
    pub(super) receiver: u32,
    /// Undecoded bytes.
    pub(super) kept_bytes: u32,
    /// Bytes that must arrive before the decoder can go on; 0 if it reported nothing.
    pub(super) needed_bytes: u32,
    /// The most it could use at once; at least `needed_bytes`. Also if nothing is kept.
    pub(super) usable_bytes: u32,
    /// What a look reported of the frame in the kernel; 0 for nothing.
    pub(super) looked_bytes: u32,
    /// The mark that the host has set; 0 if it has no effect any more.
    pub(super) mark_bytes: u32,
    pub(super) place: Place,
    pub(super) standing: Standing,
    pub(super) start_ns: Option<u64>,
    /// From when on its content may be evicted, if its deadline is no later.
    pub(super) spared_ns: u64,
    /// Since when its cell is not charged yet.
    pub(super) charged_ns: u64,
    /// Its borrow, `NIL` for none.
    pub(super) borrow: u32,
    /// The heap that it is in, and where.
    pub(super) queued: Option<(Queue, u32)>,
    pub(super) is_kept_for_good: bool,
    /// The kernel will hold no more of its frame.
    pub(super) is_full: bool,
    /// Its claim began without any byte that is known to be there.
    pub(super) is_guess: bool,
    /// In a list of receivers that are off, were shed, or have a receive in flight; `next` also in the stack of free
    /// keepers.
    pub(super) links: Links,
}

impl Keeper {
    /// Of a receiver that keeps and waits for nothing.
    #[inline(always)]
    pub(super) fn of(receiver: u32) -> Keeper {
        Keeper {
            receiver,
            kept_bytes: 0,
            needed_bytes: 0,
            usable_bytes: 0,
            looked_bytes: 0,
            mark_bytes: 1,
            place: Place::Nowhere,
            standing: Standing::Resting,
            start_ns: None,
            spared_ns: 0,
            charged_ns: 0,
            borrow: NIL,
            queued: None,
            is_kept_for_good: false,
            is_full: false,
            is_guess: false,
            links: Links::NONE,
        }
    }

    /// The host decodes what it held.
    #[inline]
    pub(super) fn end_hold(&mut self, now_ns: u64) {
        if let Standing::Held { since_ns } = self.standing {
            self.start_ns = self.start_ns.map(|start_ns| start_ns + (now_ns - since_ns));
            self.standing = Standing::Resting;
        }
    }

    /// It received this much behind what it keeps, in a cell of this size or in none.
    #[inline(always)]
    pub(super) fn note_bytes(&mut self, received_bytes: u32, cell_bytes: u32, now_ns: u64) {
        self.start_ns.get_or_insert(now_ns);
        if self.kept_bytes > 0 && self.kept_bytes + received_bytes == cell_bytes {
            // There may be more, of which its host has not heard yet.
            self.spare(now_ns);
        }
    }

    /// Its content is not evicted before the host had an iteration to report what is there.
    pub(super) fn spare(&mut self, now_ns: u64) {
        self.spared_ns = now_ns.saturating_add(1);
    }

    /// A borrow in which it received this much behind what it kept in a cell of this size, and decoded this much, ends;
    /// what it keeps is as it was before.
    #[inline]
    pub(super) fn note_receive(&mut self, received_bytes: u32, consumed_bytes: u32, cell_bytes: u32, now_ns: u64) {
        if received_bytes > 0 {
            self.note_bytes(received_bytes, cell_bytes, now_ns);
        }
        if consumed_bytes > 0 && (received_bytes == 0 || consumed_bytes >= self.kept_bytes) {
            self.start_ns = Some(now_ns);
        }
        self.looked_bytes = 0;
    }

    /// A decoder reported why it left what is kept. Whether what it waits for ends with that.
    #[inline(always)]
    pub(super) fn note_rest(&mut self, rest: Rest, has_consumed: bool, now_ns: u64) {
        let keeps = self.kept_bytes > 0;
        (self.needed_bytes, self.usable_bytes) = match rest {
            Rest::Short { needed_bytes, usable_bytes } if keeps => (needed_bytes, usable_bytes.max(needed_bytes)),
            _ => (0, 0),
        };
        let is_held = rest == Rest::Held && keeps;
        if has_consumed || is_held {
            (self.is_kept_for_good, self.is_full) = (false, false);
        }
        if is_held {
            self.standing = Standing::Held { since_ns: now_ns };
        }
    }

    pub(super) fn is_off(&self) -> bool {
        self.standing == Standing::Off
    }

    pub(super) fn is_shed(&self) -> bool {
        self.shed_reason().is_some()
    }

    pub(super) fn shed_reason(&self) -> Option<ShedReason> {
        if let Standing::Shed { reason } = self.standing { Some(reason) } else { None }
    }

    pub(super) fn claim_since_ns(&self) -> Option<u64> {
        if let Standing::Claiming { since_ns } = self.standing { Some(since_ns) } else { None }
    }

    pub(super) fn held_since_ns(&self) -> Option<u64> {
        if let Standing::Held { since_ns } = self.standing { Some(since_ns) } else { None }
    }

    /// How it stands while it does not borrow.
    #[inline]
    pub(super) fn stance(&self) -> Stance {
        match self.standing {
            Standing::Resting => Stance::Resting,
            Standing::Claiming { .. } => Stance::Claiming,
            Standing::Off => Stance::Off,
            Standing::Marked => Stance::Marked,
            Standing::Held { .. } => Stance::Held,
            Standing::Shed { .. } => Stance::Shed,
        }
    }

    /// Whether it is as a receiver that has a row only.
    pub(super) fn is_idle(&self) -> bool {
        let rests = self.kept_bytes == 0 && self.borrow == NIL && self.standing == Standing::Resting;
        rests && !self.is_full && self.mark_bytes == 1 && self.usable_bytes <= 1
    }
}

impl Linked for Keeper {
    fn links(&self) -> &Links {
        &self.links
    }

    fn links_mut(&mut self) -> &mut Links {
        &mut self.links
    }
}

/// All keepers.
#[cfg_attr(feature = "model-check", derive(Clone))]
#[derive(Debug)]
pub(super) struct Keepers {
    keepers: Vec<Keeper>,
    free: u32,
}

impl Keepers {
    pub(super) fn new(receivers_max: u32) -> Result<Keepers, ConfigError> {
        Ok(Keepers { keepers: reserve("receivers_max", receivers_max)?, free: NIL })
    }

    /// One more than the largest number there is.
    pub(super) fn len(&self) -> u32 {
        self.keepers.len() as u32
    }

    /// A receiver is idle no more.
    pub(super) fn insert(&mut self, receiver: u32) -> u32 {
        self.add(Keeper::of(receiver))
    }

    /// The number of the next one.
    #[inline(always)]
    pub(super) fn next(&self) -> u32 {
        if self.free == NIL { self.keepers.len() as u32 } else { self.free }
    }

    /// As `insert`, with what is known of it.
    #[inline(always)]
    pub(super) fn add(&mut self, keeper: Keeper) -> u32 {
        if self.free == NIL {
            // Inside what was reserved: a receiver has at most one.
            self.keepers.push(keeper);
            return self.keepers.len() as u32 - 1;
        }
        let at = self.free;
        self.free = core::mem::replace(&mut self[at], keeper).links.next;
        at
    }

    /// A receiver is idle, or gone.
    pub(super) fn remove(&mut self, keeper: u32) {
        let free = self.free;
        let state = &mut self[keeper];
        state.receiver = NIL;
        state.links.next = free;
        self.free = keeper;
    }

    /// Takes a keeper that was shed out of the list of those that were, if its notice did not come yet.
    pub(super) fn unlist_shed(&mut self, keeper: u32, shed: &mut List) {
        if self[keeper].is_shed() && (shed.head == keeper || self[keeper].links.prev != NIL) {
            self.unlink(shed, keeper);
        }
    }

    /// Puts a keeper that is in no list behind all others of this one.
    pub(super) fn push(&mut self, list: &mut List, keeper: u32) {
        list.push_back(&mut self.keepers, keeper);
    }

    /// Takes a keeper out of this list.
    pub(super) fn unlink(&mut self, list: &mut List, keeper: u32) {
        list.unlink(&mut self.keepers, keeper);
        self[keeper].links = Links::NONE;
    }

    /// The place of a keeper in a list, from 1; 0 if it is not in it.
    #[cfg(feature = "model-check")]
    pub(super) fn place_in(&self, list: List, keeper: u32) -> u64 {
        list.place_of(&self.keepers, keeper)
    }

    /// Whether a list is linked soundly, and has only keepers in use for which `belongs` holds.
    pub(super) fn is_sound(&self, list: &List, belongs: impl Fn(&Keeper) -> bool) -> bool {
        list.is_sound(&self.keepers, |_, keeper| keeper.receiver != NIL && belongs(keeper))
    }

    /// All that there were, with their numbers as indexes.
    #[inline(always)]
    pub(super) fn table_mut(&mut self) -> &mut [Keeper] {
        &mut self.keepers
    }

    /// One of this number, if there is one.
    #[inline(always)]
    pub(super) fn get(&self, at: u32) -> Option<&Keeper> {
        self.keepers.get(at as usize)
    }

    /// Those in use, with their numbers.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &Keeper)> {
        (0..).zip(&self.keepers).filter(|(_, keeper)| keeper.receiver != NIL)
    }
}

impl Index<u32> for Keepers {
    type Output = Keeper;

    #[inline]
    fn index(&self, at: u32) -> &Keeper {
        &self.keepers[at as usize]
    }
}

impl IndexMut<u32> for Keepers {
    #[inline]
    fn index_mut(&mut self, at: u32) -> &mut Keeper {
        &mut self.keepers[at as usize]
    }
}
