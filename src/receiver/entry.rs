//! The table of receivers: 48 bytes for one that holds nothing, 12 more for one that holds or waits.
//!
//! Generational handles, index-linked free lists, rows touched in the order of their first use, nothing allocated after
//! `new`. What a receiver holds and waits for (its *stake*) is a row of a table of its own, so that the idle ones, which
//! are nearly all, do not pay for it; where the content starts is kept with the buffer.

use super::config::{ConfigError, no_memory};
use super::error::ReceiverError;
use crate::connection::Connection;
use crate::memory::SlotIndex;
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
    /// In a parking slot, at its front.
    Slot(SlotIndex),
    /// In the buffer of this index.
    Buffer(u32),
}

const NIL: u32 = u32::MAX;
/// In `Entry::link`: the rest is the index of a stake. In `Stake`: the rest is the index of a buffer.
const HIGH_BIT: u32 = 1 << 31;
const GENERATION_MASK: u32 = 0x00ff_ffff;

/// One receiver, or a link of the free list.
#[derive(Clone, Debug)]
struct Entry {
    connection: Connection,
    token: [u32; 2],
    /// How often the row was used, in the low 24 bits; the class of its requests above.
    key: u32,
    /// Free: the next free row. Idle: its tenant. Else the index of its stake, with `HIGH_BIT`.
    link: u32,
}

const _: () = assert!(size_of::<Entry>() <= 48);

/// What a receiver holds and waits for, or a link of the free list (`tenant`).
#[derive(Clone, Copy, Debug)]
struct Stake {
    place: u32,
    /// Index of the wait, or of the buffer that was granted and cannot be used yet.
    wait: u32,
    tenant: u32,
}

const _: () = assert!(size_of::<Stake>() <= 12);

/// Who uses a buffer, and where the content starts in it.
#[derive(Clone, Copy, Debug)]
struct Usage {
    receiver: u32,
    start: u32,
}

/// All receivers, and who of them holds which buffer.
#[derive(Debug)]
pub(super) struct Table {
    entries: Vec<Entry>,
    stakes: Vec<Stake>,
    /// By buffer index; `NIL` for free buffers and the host's own.
    usage: Vec<Usage>,
    free_entry: u32,
    free_stake: u32,
    len: u32,
    max: u32,
    tag: u8,
}

impl Table {
    pub(super) fn new(receivers: u32, buffers: u32, tag: u8) -> Result<Table, ConfigError> {
        fn reserve<T>(field: &'static str, count: u32) -> Result<Vec<T>, ConfigError> {
            let mut table = Vec::new();
            table.try_reserve_exact(count as usize).map_err(|_| no_memory(field, count as usize))?;
            Ok(table)
        }
        let mut usage = reserve("pool.buffers", buffers)?;
        usage.resize(buffers as usize, Usage { receiver: NIL, start: 0 });
        Ok(Table {
            entries: reserve("receivers_max", receivers)?,
            stakes: reserve("receivers_max", receivers)?,
            usage,
            free_entry: NIL,
            free_stake: NIL,
            len: 0,
            max: receivers,
            tag,
        })
    }

    pub(super) fn len(&self) -> u32 {
        self.len
    }

    pub(super) fn check_free(&self) -> Result<(), ReceiverError> {
        if self.len < self.max { Ok(()) } else { Err(ReceiverError::TableFull) }
    }

    /// Adds an attached connection.
    pub(super) fn insert(&mut self, connection: Connection, class: u8, token: u64) -> Result<u32, ReceiverError> {
        self.check_free()?;
        let token = [token as u32, (token >> 32) as u32];
        let class = u32::from(class) << 24;
        self.len += 1;
        if self.free_entry == NIL {
            // Inside what was reserved: as many rows as receivers.
            self.entries.push(Entry { connection, token, key: class, link: 0 });
            return Ok(self.entries.len() as u32 - 1);
        }
        let index = self.free_entry;
        let entry = &mut self.entries[index as usize];
        self.free_entry = entry.link;
        *entry = Entry { connection, token, key: entry.key & GENERATION_MASK | class, link: 0 };
        Ok(index)
    }

    /// Ends the handle of one that holds and waits for nothing. After 2^24 uses of one row its numbers start again.
    pub(super) fn remove(&mut self, index: u32) {
        let entry = &mut self.entries[index as usize];
        entry.connection = Connection::default();
        entry.key = entry.key.wrapping_add(1) & GENERATION_MASK;
        entry.link = self.free_entry;
        self.free_entry = index;
        self.len -= 1;
    }

    pub(super) fn id(&self, index: u32) -> ReceiverId {
        // The pool's tag makes the handles of another pool strangers here.
        let generation = u32::from(self.tag) << 24 | self.entries[index as usize].key & GENERATION_MASK;
        ReceiverId { index, generation }
    }

    pub(super) fn find(&self, id: ReceiverId) -> Result<u32, ReceiverError> {
        let entry = self.entries.get(id.index as usize).ok_or(ReceiverError::Stale)?;
        let known = u32::from(self.tag) << 24 | entry.key & GENERATION_MASK == id.generation;
        if known && entry.connection.is_attached() { Ok(id.index) } else { Err(ReceiverError::Stale) }
    }

    pub(super) fn connection(&self, index: u32) -> &Connection {
        &self.entries[index as usize].connection
    }

    pub(super) fn connection_mut(&mut self, index: u32) -> &mut Connection {
        &mut self.entries[index as usize].connection
    }

    pub(super) fn token(&self, index: u32) -> u64 {
        let [low, high] = self.entries[index as usize].token;
        u64::from(high) << 32 | u64::from(low)
    }

    pub(super) fn class(&self, index: u32) -> u8 {
        (self.entries[index as usize].key >> 24) as u8
    }

    /// Index of the tenant in whose name it requests.
    pub(super) fn tenant(&self, index: u32) -> u32 {
        match self.stake(index) {
            Some(stake) => stake.tenant,
            None => self.entries[index as usize].link,
        }
    }

    pub(super) fn set_tenant(&mut self, index: u32, tenant: u32) {
        let link = self.entries[index as usize].link;
        match link & HIGH_BIT {
            0 => self.entries[index as usize].link = tenant,
            _ => self.stakes[(link & !HIGH_BIT) as usize].tenant = tenant,
        }
    }

    pub(super) fn place(&self, index: u32) -> Place {
        match self.stake(index) {
            None | Some(Stake { place: NIL, .. }) => Place::Nowhere,
            Some(stake) if stake.place & HIGH_BIT != 0 => Place::Buffer(stake.place & !HIGH_BIT),
            Some(stake) => Place::Slot(SlotIndex::from_number(stake.place)),
        }
    }

    /// Moves a receiver to where its content is now, at the front; returns where it was.
    pub(super) fn set_place(&mut self, index: u32, place: Place) -> Place {
        let was = self.place(index);
        if let Place::Buffer(buffer) = was {
            self.usage[buffer as usize].receiver = NIL;
        }
        let number = match place {
            Place::Nowhere => NIL,
            Place::Slot(slot) => slot.to_number(),
            Place::Buffer(buffer) => {
                self.usage[buffer as usize] = Usage { receiver: index, start: 0 };
                buffer | HIGH_BIT
            }
        };
        self.edit_stake(index, |stake| stake.place = number);
        was
    }

    /// Index of the wait.
    pub(super) fn wait(&self, index: u32) -> Option<u32> {
        self.stake(index).map(|stake| stake.wait).filter(|&wait| wait & HIGH_BIT == 0)
    }

    pub(super) fn set_wait(&mut self, index: u32, wait: Option<u32>) {
        self.edit_stake(index, |stake| stake.wait = wait.unwrap_or(NIL));
    }

    /// The buffer that was granted and cannot be used yet, in place of a wait.
    pub(super) fn granted(&self, index: u32) -> Option<u32> {
        let wait = self.stake(index)?.wait;
        (wait != NIL && wait & HIGH_BIT != 0).then_some(wait & !HIGH_BIT)
    }

    pub(super) fn set_granted(&mut self, index: u32, buffer: Option<u32>) {
        if let Some(was) = self.granted(index) {
            self.usage[was as usize].receiver = NIL;
        }
        if let Some(buffer) = buffer {
            self.usage[buffer as usize] = Usage { receiver: index, start: 0 };
        }
        self.edit_stake(index, |stake| stake.wait = buffer.map_or(NIL, |buffer| buffer | HIGH_BIT));
    }

    /// Where the content starts inside the place, in bytes.
    pub(super) fn start(&self, index: u32) -> u32 {
        match self.place(index) {
            Place::Buffer(buffer) => self.usage[buffer as usize].start,
            Place::Slot(_) | Place::Nowhere => 0,
        }
    }

    pub(super) fn set_start(&mut self, buffer: u32, start: u32) {
        self.usage[buffer as usize].start = start;
    }

    pub(super) fn holder(&self, buffer: u32) -> Option<u32> {
        self.usage.get(buffer as usize).map(|usage| usage.receiver).filter(|&receiver| receiver != NIL)
    }

    /// Those that are attached.
    pub(super) fn iter(&self) -> impl Iterator<Item = u32> {
        (0..self.entries.len() as u32).filter(|&index| self.connection(index).is_attached())
    }

    fn stake(&self, index: u32) -> Option<&Stake> {
        let link = self.entries[index as usize].link;
        (link & HIGH_BIT != 0).then(|| &self.stakes[(link & !HIGH_BIT) as usize])
    }

    /// Changes the stake; there is none exactly while nothing is held and nothing waited for.
    fn edit_stake(&mut self, index: u32, edit: impl FnOnce(&mut Stake)) {
        let link = self.entries[index as usize].link;
        let at = if link & HIGH_BIT != 0 { link & !HIGH_BIT } else { self.take_stake(link) };
        let stake = &mut self.stakes[at as usize];
        edit(stake);
        if stake.place == NIL && stake.wait == NIL {
            let tenant = core::mem::replace(&mut stake.tenant, self.free_stake);
            self.free_stake = at;
            self.entries[index as usize].link = tenant;
        } else {
            self.entries[index as usize].link = at | HIGH_BIT;
        }
    }

    fn take_stake(&mut self, tenant: u32) -> u32 {
        let stake = Stake { place: NIL, wait: NIL, tenant };
        if self.free_stake == NIL {
            // Inside what was reserved: each receiver has at most one.
            self.stakes.push(stake);
            return self.stakes.len() as u32 - 1;
        }
        let at = self.free_stake;
        self.free_stake = core::mem::replace(&mut self.stakes[at as usize], stake).tenant;
        at
    }
}
