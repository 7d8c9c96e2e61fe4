//! The table of receivers: 48 bytes for one that holds nothing, 12 more for one that waits or holds a slot; and 16 bytes
//! for each buffer.
//!
//! Generational handles, index-linked free lists, rows touched in the order of their first use, nothing allocated after
//! `new`. What a receiver holds and waits for is kept outside its row, so that the idle ones, which are nearly all, do
//! not pay for it: with the buffer if it holds one (`BufferOwner`), else in a table of its own (`ExtraState`).

mod rows;

use super::error::PoolError;
use crate::alloc_util::{prefetch, reserve};
use crate::config_error::ConfigError;
use crate::connection::Connection;
use crate::memory::SlotIndex;
use alloc::vec::Vec;
use core::fmt;
use rows::{
    BufferOwner, CLASS_MASK, CLASS_SHIFT, ExtraState, HIGH_BIT, HoldingRow, IdleRow, NIL, Row, USES, link, owner_of,
};

/// A receiver of one [`Pool`](super::Pool): 64 bits for C, refused once the receiver is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReceiverId(u64);

impl fmt::Display for ReceiverId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_bits().fmt(f)
    }
}

impl ReceiverId {
    /// The handle as a number.
    pub const fn to_bits(self) -> u64 {
        self.0
    }

    /// The handle with this number; any number is allowed, and refused where it is used if it is not one of a receiver.
    pub const fn from_bits(bits: u64) -> ReceiverId {
        ReceiverId(bits)
    }
}

/// Distinguishes the handles of one table from all others: changes bits of a row (the low half of a handle) and of its uses
/// (24 bits above), which come out wrong in any other table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stamp {
    mask: u64,
    /// Uses of a row that no receiver had yet.
    first_use: u32,
}

impl Stamp {
    /// Changes the number so that it is stale if it is taken for a lease or a wait.
    const KIND: u64 = 3 << 54;

    /// For the one table of a pool with this tag.
    pub(crate) fn new(tag: u8) -> Stamp {
        Stamp { mask: u64::from(tag) << 56 ^ Stamp::KIND, first_use: 0 }
    }

    /// For the table of one of `threads` threads. The row of a handle that belongs to another thread is above all that
    /// this one has: of [`INDEX_MAX`](crate::scheduler::INDEX_MAX) waits there is one for each receiver of each thread.
    /// `made` counts the tables that this thread had before: a handle of one of these finds a row with other uses.
    #[cfg(feature = "std")]
    pub(crate) fn of_thread(tag: u8, index: u32, threads: u32, made: u32) -> Stamp {
        let width = u32::BITS - (threads - 1).leading_zeros();
        let rows = (crate::scheduler::INDEX_MAX + 1) >> width << 1;
        let stamp = Stamp::new(tag);
        Stamp { mask: stamp.mask ^ u64::from(index * rows), first_use: made.wrapping_mul(0x9e_3779) & USES }
    }

    /// Changes bits of a row that no table has, [`SALT`](crate::scheduler::SALT).
    pub(crate) fn salt(&mut self, salt: u32) {
        self.mask ^= u64::from(salt);
    }
}

/// Where a receiver's content is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// There is none.
    Nowhere,
    /// In a parking slot, at its front.
    Slot(SlotIndex),
    /// In the buffer of this index.
    Buffer(u32),
}

/// All receivers, and which of them holds which buffer.
#[cfg_attr(feature = "model-check", derive(Clone))]
#[derive(Debug)]
pub(crate) struct Table {
    entries: Vec<Row>,
    extra_states: Vec<ExtraState>,
    /// By buffer index, touched in the order of first use; `NIL` for free buffers and the host's own.
    owners: Vec<BufferOwner>,
    free_entry: u32,
    free_extra: u32,
    len: u32,
    max: u32,
    stamp: Stamp,
}

impl Table {
    pub(crate) fn new(receivers: u32, buffers: u32, stamp: Stamp) -> Result<Table, ConfigError> {
        Ok(Table {
            entries: reserve("receivers_max", receivers)?,
            extra_states: reserve("receivers_max", receivers)?,
            owners: reserve("scheduler.buffers", buffers)?,
            free_entry: NIL,
            free_extra: NIL,
            len: 0,
            max: receivers,
            stamp,
        })
    }

    /// The row and the uses in a handle; of a foreign one, the one or the other is no row's.
    #[inline(always)]
    fn split(&self, id: ReceiverId) -> (u32, u32) {
        let bits = id.0 ^ self.stamp.mask;
        (bits as u32, (bits >> 32) as u32)
    }

    /// The row that a handle names, though the receiver may be gone.
    #[cfg(test)]
    pub(crate) fn row(&self, id: ReceiverId) -> u32 {
        self.split(id).0
    }

    /// The bits of [`SALT`](crate::scheduler::SALT) that handles have.
    pub(crate) fn salted(&self) -> u64 {
        self.stamp.mask & u64::from(crate::scheduler::SALT)
    }

    /// As [`Stamp::salt`], before there is any receiver.
    pub(crate) fn salt(&mut self, salt: u32) {
        self.stamp.salt(salt);
    }

    pub(crate) fn len(&self) -> u32 {
        self.len
    }

    pub(crate) fn check_free(&self) -> Result<(), PoolError> {
        if self.len < self.max { Ok(()) } else { Err(PoolError::ReceiversFull { receivers_max: self.max }) }
    }

    /// Adds an attached connection.
    pub(crate) fn insert(&mut self, connection: Connection, class: u8, token: u64) -> Result<u32, PoolError> {
        self.check_free()?;
        let token = [token as u32, (token >> 32) as u32];
        let class = u32::from(class) << CLASS_SHIFT;
        self.len += 1;
        if self.free_entry == NIL {
            // Inside what was reserved: as many rows as receivers.
            self.entries.push(Row { connection, token, key: self.stamp.first_use | class, link: 0 });
            return Ok(self.entries.len() as u32 - 1);
        }
        let index = self.free_entry;
        let entry = &mut self.entries[index as usize];
        self.free_entry = entry.link;
        *entry = Row { connection, token, key: entry.key | class, link: 0 };
        Ok(index)
    }

    /// Ends the handle of one that holds and waits for nothing. After 2^24 uses of one row its numbers start again.
    pub(crate) fn remove(&mut self, index: u32) {
        let entry = &mut self.entries[index as usize];
        entry.connection = Connection::default();
        entry.key = entry.key.wrapping_add(1) & USES;
        entry.link = self.free_entry;
        self.free_entry = index;
        self.len -= 1;
    }

    pub(crate) fn id(&self, index: u32) -> ReceiverId {
        let uses = self.entries[index as usize].key & USES;
        ReceiverId((u64::from(uses) << 32 | u64::from(index)) ^ self.stamp.mask)
    }

    #[inline]
    pub(crate) fn find(&self, id: ReceiverId) -> Result<u32, PoolError> {
        let (index, uses) = self.split(id);
        let entry = self.entries.get(index as usize).ok_or(PoolError::Stale)?;
        if entry.has_uses(uses) && entry.connection.is_attached() { Ok(index) } else { Err(PoolError::Stale) }
    }

    #[inline]
    pub(crate) fn connection(&self, index: u32) -> &Connection {
        &self.entries[index as usize].connection
    }

    #[inline]
    pub(crate) fn connection_mut(&mut self, index: u32) -> &mut Connection {
        &mut self.entries[index as usize].connection
    }

    pub(crate) fn token(&self, index: u32) -> u64 {
        let [low, high] = self.entries[index as usize].token;
        u64::from(high) << 32 | u64::from(low)
    }

    pub(crate) fn class(&self, index: u32) -> u8 {
        self.entries[index as usize].class()
    }

    pub(crate) fn set_class(&mut self, index: u32, class: u8) {
        let key = &mut self.entries[index as usize].key;
        *key = *key & !CLASS_MASK | u32::from(class) << CLASS_SHIFT;
    }

    /// Index of the tenant of its requests.
    #[inline]
    pub(crate) fn tenant(&self, index: u32) -> u32 {
        let Row { key, link, .. } = self.entries[index as usize];
        match key & link::MASK {
            link::TENANT => link,
            link::BUFFER => self.owners[link as usize].tenant,
            _ => self.extra_states[link as usize].tenant,
        }
    }

    pub(crate) fn set_tenant(&mut self, index: u32, tenant: u32) {
        let Row { key, link, .. } = &mut self.entries[index as usize];
        match *key & link::MASK {
            link::TENANT => *link = tenant,
            link::BUFFER => self.owners[*link as usize].tenant = tenant,
            _ => self.extra_states[*link as usize].tenant = tenant,
        }
    }

    #[inline]
    pub(crate) fn place(&self, index: u32) -> Place {
        let Row { key, link, .. } = self.entries[index as usize];
        match key & link::MASK {
            link::TENANT => Place::Nowhere,
            link::BUFFER => Place::Buffer(link),
            _ => match self.extra_states[link as usize].slot {
                NIL => Place::Nowhere,
                slot => Place::Slot(SlotIndex::from_number(slot)),
            },
        }
    }

    /// Moves a receiver to where its content is now, at the front; returns where it was.
    #[inline]
    pub(crate) fn set_place(&mut self, index: u32, place: Place) -> Place {
        let (was, extra) = self.take_hold(index);
        self.store_hold(index, place, extra);
        was
    }

    /// Whether there is a wait, or a buffer in place of it that was granted and cannot be used yet.
    #[inline]
    pub(crate) fn has_wait_or_grant(&self, index: u32) -> bool {
        self.wait_word(index) != NIL
    }

    /// Index of the wait.
    #[inline]
    pub(crate) fn wait(&self, index: u32) -> Option<u32> {
        Some(self.wait_word(index)).filter(|&wait| wait & HIGH_BIT == 0)
    }

    pub(crate) fn set_wait(&mut self, index: u32, wait: Option<u32>) {
        self.set_wait_word(index, wait.unwrap_or(NIL));
    }

    /// The buffer that was granted and cannot be used yet, in place of a wait.
    #[inline]
    pub(crate) fn deferred_grant(&self, index: u32) -> Option<u32> {
        let wait = self.wait_word(index);
        (wait != NIL && wait & HIGH_BIT != 0).then_some(wait & !HIGH_BIT)
    }

    pub(crate) fn set_deferred_grant(&mut self, index: u32, buffer: Option<u32>) {
        if let Some(was) = self.deferred_grant(index) {
            self.owners[was as usize] = BufferOwner::NONE;
        }
        if let Some(buffer) = buffer {
            *owner_of(&mut self.owners, buffer) = BufferOwner { receiver: index, ..BufferOwner::NONE };
        }
        self.set_wait_word(index, buffer.map_or(NIL, |buffer| buffer | HIGH_BIT));
    }

    /// Where the content starts inside the place, in bytes.
    #[inline]
    pub(crate) fn start(&self, index: u32) -> u32 {
        match self.place(index) {
            Place::Buffer(buffer) => self.start_in(buffer),
            Place::Slot(_) | Place::Nowhere => 0,
        }
    }

    /// Where the content of a buffer starts in it.
    #[inline]
    pub(crate) fn start_in(&self, buffer: u32) -> u32 {
        self.owners[buffer as usize].start
    }

    pub(crate) fn set_start(&mut self, buffer: u32, start: u32) {
        self.owners[buffer as usize].start = start;
    }

    pub(crate) fn holder(&self, buffer: u32) -> Option<u32> {
        self.owners.get(buffer as usize).map(|owner| owner.receiver).filter(|&receiver| receiver != NIL)
    }

    /// For the fast path: a receiver that holds and waits for nothing, if the handle is one's. Whether it is
    /// attached is for the connection to say.
    #[inline(always)]
    pub(crate) fn find_idle(&mut self, id: ReceiverId) -> Option<IdleRow<'_>> {
        let (index, uses) = self.split(id);
        let entry = self.entries.get_mut(index as usize)?;
        let is_idle = entry.key & link::MASK == link::TENANT;
        (entry.has_uses(uses) && is_idle).then_some(IdleRow { entry, owners: &mut self.owners, index })
    }

    /// As `find_idle`, one that holds a buffer and waits for nothing.
    #[inline(always)]
    pub(crate) fn find_holder(&mut self, id: ReceiverId) -> Option<HoldingRow<'_>> {
        let (index, uses) = self.split(id);
        let entry = self.entries.get_mut(index as usize)?;
        if !entry.has_uses(uses) || entry.key & link::MASK != link::BUFFER {
            return None;
        }
        let owner = self.owners.get_mut(entry.link as usize)?;
        (owner.wait == NIL).then_some(HoldingRow { entry, owner })
    }

    /// A hint that the row of a receiver is used soon.
    #[inline(always)]
    pub(crate) fn prefetch(&self, id: ReceiverId) {
        if let Some(row) = self.named_row(id) {
            prefetch(row);
        }
    }

    /// The row that a handle names, whether it is its receiver's or not; nothing of it is read.
    #[inline(always)]
    fn named_row(&self, id: ReceiverId) -> Option<&Row> {
        self.entries.get(self.split(id).0 as usize)
    }

    /// Rows that were used, by receivers that may be gone.
    pub(crate) fn rows(&self) -> u32 {
        self.entries.len() as u32
    }

    /// Those that are attached.
    pub(crate) fn iter(&self) -> impl Iterator<Item = u32> {
        (0..self.rows()).filter(|&index| self.connection(index).is_attached())
    }

    /// Free rows, in the order in which they are used again.
    #[cfg(feature = "model-check")]
    pub(crate) fn free_rows(&self) -> impl Iterator<Item = u32> {
        let link = |index: u32| (index != NIL).then_some(index);
        core::iter::successors(link(self.free_entry), move |&index| link(self.entries[index as usize].link))
    }

    #[inline]
    fn wait_word(&self, index: u32) -> u32 {
        let Row { key, link, .. } = self.entries[index as usize];
        match key & link::MASK {
            link::TENANT => NIL,
            link::BUFFER => self.owners[link as usize].wait,
            _ => self.extra_states[link as usize].wait,
        }
    }

    fn set_wait_word(&mut self, index: u32, wait: u32) {
        if let Place::Buffer(buffer) = self.place(index) {
            self.owners[buffer as usize].wait = wait;
        } else {
            let (place, extra) = self.take_hold(index);
            self.store_hold(index, place, ExtraState { wait, ..extra });
        }
    }

    /// Takes a receiver's place and extra state from where they are kept. It must `store_hold` somewhere next.
    #[inline]
    fn take_hold(&mut self, index: u32) -> (Place, ExtraState) {
        let Row { key, link, .. } = self.entries[index as usize];
        match key & link::MASK {
            link::TENANT => (Place::Nowhere, ExtraState { tenant: link, wait: NIL, slot: NIL }),
            link::BUFFER => {
                let BufferOwner { tenant, wait, .. } =
                    core::mem::replace(&mut self.owners[link as usize], BufferOwner::NONE);
                (Place::Buffer(link), ExtraState { tenant, wait, slot: NIL })
            }
            _ => {
                let place = self.place(index);
                (place, self.free_extra_state(link))
            }
        }
    }

    /// Keeps an extra state where it belongs for a receiver at this place.
    #[inline(always)] // its place is mostly known where it is called
    fn store_hold(&mut self, index: u32, place: Place, extra: ExtraState) {
        let ExtraState { tenant, wait, .. } = extra;
        let (kind, link) = match place {
            Place::Buffer(buffer) => {
                *owner_of(&mut self.owners, buffer) = BufferOwner { receiver: index, start: 0, tenant, wait };
                (link::BUFFER, buffer)
            }
            Place::Nowhere if wait == NIL => (link::TENANT, tenant),
            Place::Nowhere => (link::EXTRA, self.store_extra(ExtraState { tenant, wait, slot: NIL })),
            Place::Slot(slot) => (link::EXTRA, self.store_extra(ExtraState { tenant, wait, slot: slot.to_number() })),
        };
        let entry = &mut self.entries[index as usize];
        (entry.key, entry.link) = (entry.key & !link::MASK | kind, link);
    }

    fn store_extra(&mut self, extra: ExtraState) -> u32 {
        if self.free_extra == NIL {
            // Inside what was reserved: each receiver has at most one.
            self.extra_states.push(extra);
            return self.extra_states.len() as u32 - 1;
        }
        let at = self.free_extra;
        self.free_extra = core::mem::replace(&mut self.extra_states[at as usize], extra).tenant;
        at
    }

    fn free_extra_state(&mut self, at: u32) -> ExtraState {
        let extra = self.extra_states[at as usize];
        self.extra_states[at as usize].tenant = self.free_extra;
        self.free_extra = at;
        extra
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A table of two rows in use, in the names of tenants 5 and 6, for as many buffers.
    fn table() -> Table {
        let mut table = Table::new(2, 2, Stamp::new(0)).expect("there is memory");
        for (row, tenant) in [(0, 5), (1, 6)] {
            assert_eq!(table.insert(Connection::default(), 15, 0), Ok(row));
            table.set_tenant(row, tenant);
        }
        table
    }

    fn idle_tenant(table: &mut Table, row: u32) -> Option<u32> {
        let id = table.id(row);
        table.find_idle(id).map(|idle| idle.tenant())
    }

    /// What is fetched ahead is the row that the calls look at; a handle of no row names none.
    #[test]
    fn prefetch_names_the_row_of_the_handle() {
        let mut table = table();
        table.salt(1 << 30);
        for row in 0..2 {
            let named = table.named_row(table.id(row)).expect("the row is there");
            assert!(core::ptr::eq(named, &table.entries[row as usize]));
        }
        let beyond = ReceiverId(table.id(1).0 ^ 2);
        assert!(table.named_row(beyond).is_none());
    }

    #[test]
    fn idle_receiver_costs_one_row() {
        let mut table = table();
        let ids = [0, 1].map(|row| table.id(row));
        table.find_idle(ids[0]).expect("it holds nothing").hold(1);
        table.set_place(1, Place::Buffer(0));
        let holder = table.find_holder(ids[0]).expect("it holds a buffer");
        assert_eq!((holder.buffer(), holder.start()), (1, 0));
        holder.drop_buffer();
        assert_eq!(table.set_place(1, Place::Nowhere), Place::Buffer(0));
        table.set_wait(0, None);
        assert_eq!([0, 1].map(|row| idle_tenant(&mut table, row)), [Some(5), Some(6)]);
        assert_eq!((table.extra_states.len(), table.class(0), table.holder(0), table.holder(1)), (0, 15, None, None));

        // With an extra state, and without it again.
        let slot = Place::Slot(SlotIndex::from_number(9));
        for (wait, place) in [(Some(3), Place::Nowhere), (None, slot), (Some(3), slot)] {
            table.set_place(0, place);
            table.set_wait(0, wait);
            assert_eq!((table.place(0), table.wait(0), table.tenant(0)), (place, wait, 5));
            assert_eq!((idle_tenant(&mut table, 0), table.extra_states.len()), (None, 1));
            table.set_place(0, Place::Nowhere);
            table.set_wait(0, None);
            assert_eq!(idle_tenant(&mut table, 0), Some(5));
        }
    }

    #[test]
    fn holding_row_excludes_a_receiver_that_waits() {
        let mut table = table();
        let id = table.id(0);
        let holds_only_buffer = |table: &mut Table| table.find_holder(id).is_some();
        assert!(!holds_only_buffer(&mut table));
        table.find_idle(id).expect("it holds nothing").hold(1);
        assert!(holds_only_buffer(&mut table) && idle_tenant(&mut table, 0).is_none());
        table.set_wait(0, Some(3));
        assert!(!holds_only_buffer(&mut table));
        table.set_wait(0, None);
        table.set_deferred_grant(0, Some(0));
        assert!(!holds_only_buffer(&mut table));
        table.set_deferred_grant(0, None);
        assert!(holds_only_buffer(&mut table));
        table.set_place(0, Place::Slot(SlotIndex::from_number(9)));
        assert!(!holds_only_buffer(&mut table));
    }

    #[test]
    fn strangers_are_not_found() {
        let mut table = Table::new(2, 2, Stamp::new(9)).expect("there is memory");
        assert_eq!(table.insert(Connection::default(), 0, 0), Ok(0));
        let known = table.id(0);
        let strangers = [1 << 32, 1 << 55, 1 << 56, 1 << 63, 1].map(|bit| ReceiverId::from_bits(known.to_bits() ^ bit));
        assert!(table.find_idle(known).is_some() && strangers.iter().all(|&id| table.find_idle(id).is_none()));
        table.set_place(0, Place::Buffer(1));
        assert!(table.find_holder(known).is_some() && strangers.iter().all(|&id| table.find_holder(id).is_none()));
    }

    /// However many threads there are, and as many rows as they may have: no two of them have a handle in common, nor do
    /// they use the bits of the salt.
    #[test]
    #[cfg(feature = "std")]
    fn s84_rows_of_threads_differ() {
        let row_max = |threads: u32| crate::scheduler::INDEX_MAX / threads - 1;
        for threads in [1, 2, 3, 255, 256, 257, 300, 1023, 1024] {
            let mut seen = std::collections::HashSet::new();
            for index in 0..threads {
                let Stamp { mask, first_use } = Stamp::of_thread(0, index, threads, 0);
                assert_eq!((mask >> 32 << 32, mask as u32 >> 30, first_use), (Stamp::KIND, 0, 0));
                let mut table = Table::new(1, 1, Stamp { mask, first_use }).expect("there is memory");
                table.insert(Connection::default(), 0, 0).expect("there is room");
                assert!(seen.insert(table.id(0)), "thread {index} of {threads}");
                // The last row that a thread can have, seen by the others.
                let last = ReceiverId(u64::from(row_max(threads)) ^ mask);
                let others = (0..threads).filter(|&other| other != index).take(9);
                for other in others.chain((threads > 1).then_some((index + 1) % threads)) {
                    table.stamp = Stamp::of_thread(0, other, threads, 0);
                    assert!(table.row(last) > row_max(threads), "row of {index} for {other} of {threads}");
                }
            }
        }
    }
}
