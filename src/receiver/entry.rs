//! The table of receivers: generational handles, index-linked free list, nothing allocated after `new`.

use super::config::{ConfigError, no_memory};
use super::error::ReceiverError;
use crate::connection::Connection;
use crate::memory::SlotIndex;
use crate::pool::{LeaseId, WaitId};
use alloc::vec::Vec;

/// A receiver of one [`Receivers`](super::Receivers): 64 bits for C, refused once the receiver is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ReceiverId {
    index: u32,
    generation: u32,
}

impl ReceiverId {
    /// Changes the number so that it is nobody's if it is taken for a lease or a wait.
    const KIND: u64 = 3 << 54;

    /// The handle as a number.
    pub const fn to_bits(self) -> u64 {
        ((self.generation as u64) << 32 | self.index as u64) ^ Self::KIND
    }

    /// The handle with this number; any number is allowed, and refused where it is used if it is nobody's.
    pub const fn from_bits(bits: u64) -> ReceiverId {
        let bits = bits ^ Self::KIND;
        ReceiverId { index: bits as u32, generation: (bits >> 32) as u32 }
    }
}

/// Where a receiver's content is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// There is none.
    Nowhere,
    /// In a parking slot.
    Slot(SlotIndex),
    /// In a buffer.
    Buffer(LeaseId),
}

/// One receiver.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) connection: Connection,
    /// Where the content starts inside the place, in bytes.
    pub(super) start: u32,
    pub(super) place: Place,
    pub(super) wait: Option<WaitId>,
    pub(super) token: u64,
    pub(super) class: u8,
}

impl Entry {
    pub(super) fn new(connection: Connection, class: u8, token: u64) -> Entry {
        Entry { connection, start: 0, place: Place::Nowhere, wait: None, token, class }
    }

    /// The front of the content was consumed. Nothing is moved; an empty content starts at the front again.
    pub(super) fn advance(&mut self, bytes: u32) {
        self.start = if self.connection.level() == 0 { 0 } else { self.start + bytes };
    }

    /// Refuses received bytes that cannot lie behind the content, because nobody asked for the area that the content
    /// is moved to the front for. Where it is at the front, the machine knows the room.
    pub(super) fn check_behind(&self, bytes: u32) -> Result<(), ReceiverError> {
        let behind = self.connection.capacity() - self.start - self.connection.level();
        if self.start > 0 && bytes > behind { Err(ReceiverError::TooManyBytes) } else { Ok(()) }
    }

    /// Holds nothing any more; returns what was held.
    pub(super) fn leave(&mut self) -> Place {
        self.start = 0;
        core::mem::replace(&mut self.place, Place::Nowhere)
    }
}

/// A row of the table: a receiver, or a link of the free list.
#[derive(Clone, Debug)]
enum Row {
    Used(Entry),
    Free { next: Option<u32> },
}

/// All receivers, and who of them holds which buffer.
#[derive(Debug)]
pub(super) struct Table {
    rows: Vec<Row>,
    generations: Vec<u32>,
    /// By buffer index: the receiver that holds it; `NOBODY` for free buffers and the host's own.
    holders: Vec<u32>,
    free: Option<u32>,
    len: u32,
}

const NOBODY: u32 = u32::MAX;
const GENERATION_MASK: u32 = 0x00ff_ffff;

impl Table {
    pub(super) fn new(receivers: u32, buffers: u32, tag: u8) -> Result<Table, ConfigError> {
        let count = receivers as usize;
        let mut rows = Vec::new();
        rows.try_reserve_exact(count).map_err(|_| no_memory("receivers_max", count))?;
        let link = |index: u32| if index + 1 < receivers { Some(index + 1) } else { None };
        rows.extend((0..receivers).map(|index| Row::Free { next: link(index) }));
        let mut generations = Vec::new();
        generations.try_reserve_exact(count).map_err(|_| no_memory("receivers_max", count))?;
        // The pool's tag makes the handles of another pool strangers here.
        generations.resize(count, u32::from(tag) << 24);
        let mut holders = Vec::new();
        holders.try_reserve_exact(buffers as usize).map_err(|_| no_memory("pool.buffers", buffers as usize))?;
        holders.resize(buffers as usize, NOBODY);
        Ok(Table { rows, generations, holders, free: (receivers > 0).then_some(0), len: 0 })
    }

    pub(super) fn len(&self) -> u32 {
        self.len
    }

    pub(super) fn check_free(&self) -> Result<(), ReceiverError> {
        self.free.map(|_| ()).ok_or(ReceiverError::TableFull)
    }

    pub(super) fn insert(&mut self, entry: Entry) -> Result<u32, ReceiverError> {
        let index = self.free.ok_or(ReceiverError::TableFull)?;
        let Row::Free { next } = self.rows[index as usize] else {
            unreachable!("the free list links free rows only");
        };
        self.free = next;
        self.rows[index as usize] = Row::Used(entry);
        self.len += 1;
        Ok(index)
    }

    /// Ends the handle. After 2^24 uses of one row its numbers start again.
    pub(super) fn remove(&mut self, index: u32) {
        let generation = &mut self.generations[index as usize];
        *generation = (*generation & !GENERATION_MASK) | (generation.wrapping_add(1) & GENERATION_MASK);
        self.rows[index as usize] = Row::Free { next: self.free };
        self.free = Some(index);
        self.len -= 1;
    }

    pub(super) fn id(&self, index: u32) -> ReceiverId {
        ReceiverId { index, generation: self.generations[index as usize] }
    }

    pub(super) fn find(&self, id: ReceiverId) -> Result<u32, ReceiverError> {
        let known = self.generations.get(id.index as usize) == Some(&id.generation);
        let used = known && matches!(self.rows[id.index as usize], Row::Used(_));
        if used { Ok(id.index) } else { Err(ReceiverError::Stale) }
    }

    pub(super) fn entry(&self, index: u32) -> &Entry {
        match &self.rows[index as usize] {
            Row::Used(entry) => entry,
            Row::Free { .. } => unreachable!("an index comes from `find` or `insert` in the same step"),
        }
    }

    pub(super) fn entry_mut(&mut self, index: u32) -> &mut Entry {
        match &mut self.rows[index as usize] {
            Row::Used(entry) => entry,
            Row::Free { .. } => unreachable!("an index comes from `find` or `insert` in the same step"),
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &Entry)> {
        (0..).zip(&self.rows).filter_map(|(index, row)| match row {
            Row::Used(entry) => Some((index, entry)),
            Row::Free { .. } => None,
        })
    }

    pub(super) fn holder(&self, buffer: u32) -> Option<u32> {
        self.holders.get(buffer as usize).copied().filter(|&holder| holder != NOBODY)
    }

    pub(super) fn set_holder(&mut self, buffer: u32, receiver: Option<u32>) {
        self.holders[buffer as usize] = receiver.unwrap_or(NOBODY);
    }
}
