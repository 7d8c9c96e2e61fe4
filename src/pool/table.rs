//! The table of receivers, of 48 bytes each.
//!
//! Generational handles, an index-linked free list, rows touched in the order of their first use, nothing allocated
//! after `new`. What a receiver keeps and waits for is the memory model's.

use super::error::PoolError;
use crate::alloc_util::{prefetch, reserve};
use crate::config_error::ConfigError;
use crate::connection::Connection;
use alloc::vec::Vec;
use core::fmt;

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

/// Distinguishes the handles of one table from all others: changes bits of a row (the low half of a handle) and of its
/// uses (24 bits above), which come out wrong in any other table.
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

const NIL: u32 = u32::MAX;
const USES: u32 = 0x00ff_ffff;

/// One receiver, or a link of the free list.
#[derive(Clone, Debug)]
struct Row {
    connection: Connection,
    token: [u32; 2],
    /// How often the row was used, 24 bits.
    uses: u32,
    /// Its class; as a link of the free list: the next free row.
    class_or_link: u32,
}

const _: () = assert!(size_of::<Row>() <= 48);

/// All receivers.
#[cfg_attr(feature = "model-check", derive(Clone))]
#[derive(Debug)]
pub(crate) struct Table {
    entries: Vec<Row>,
    free_entry: u32,
    len: u32,
    max: u32,
    stamp: Stamp,
}

impl Table {
    pub(crate) fn new(receivers: u32, stamp: Stamp) -> Result<Table, ConfigError> {
        let entries = reserve("receivers_max", receivers)?;
        Ok(Table { entries, free_entry: NIL, len: 0, max: receivers, stamp })
    }

    /// The row and the uses in a handle; of a foreign one, the one or the other is no row's.
    #[inline(always)]
    fn split(&self, id: ReceiverId) -> (u32, u32) {
        let bits = id.0 ^ self.stamp.mask;
        (bits as u32, (bits >> 32) as u32)
    }

    /// The row that a handle names, though the receiver may be gone; there may be none of this number.
    #[inline(always)]
    pub(crate) fn row(&self, id: ReceiverId) -> u32 {
        id.0 as u32 ^ self.stamp.mask as u32
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
    #[inline(always)]
    pub(crate) fn insert(&mut self, connection: Connection, class: u8, token: u64) -> Result<u32, PoolError> {
        self.check_free()?;
        let token = [token as u32, (token >> 32) as u32];
        let class_or_link = class.into();
        self.len += 1;
        if self.free_entry == NIL {
            // Inside what was reserved: as many rows as receivers.
            self.entries.push(Row { connection, token, uses: self.stamp.first_use, class_or_link });
            return Ok(self.entries.len() as u32 - 1);
        }
        let index = self.free_entry;
        let entry = &mut self.entries[index as usize];
        self.free_entry = entry.class_or_link;
        *entry = Row { connection, token, uses: entry.uses, class_or_link };
        Ok(index)
    }

    /// Ends the handle of one that holds and waits for nothing. After 2^24 uses of one row its numbers start again.
    #[inline(always)]
    pub(crate) fn remove(&mut self, index: u32) {
        let entry = &mut self.entries[index as usize];
        entry.connection = Connection::default();
        entry.uses = entry.uses.wrapping_add(1) & USES;
        entry.class_or_link = self.free_entry;
        self.free_entry = index;
        self.len -= 1;
    }

    #[inline]
    pub(crate) fn id(&self, index: u32) -> ReceiverId {
        let uses = self.entries[index as usize].uses;
        ReceiverId((u64::from(uses) << 32 | u64::from(index)) ^ self.stamp.mask)
    }

    #[inline]
    pub(crate) fn find(&self, id: ReceiverId) -> Result<u32, PoolError> {
        let (index, uses) = self.split(id);
        let entry = self.entries.get(index as usize).ok_or(PoolError::Stale)?;
        if entry.uses == uses && entry.connection.is_attached() { Ok(index) } else { Err(PoolError::Stale) }
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
        self.entries[index as usize].class_or_link as u8
    }

    pub(crate) fn set_class(&mut self, index: u32, class: u8) {
        self.entries[index as usize].class_or_link = class.into();
    }

    /// For the fast path: the row that a handle names, and its connection. Whether it is attached is for the connection
    /// to say.
    #[inline(always)]
    pub(crate) fn find_fast(&mut self, id: ReceiverId) -> Option<(u32, &mut Connection)> {
        let (index, uses) = self.split(id);
        let entry = self.entries.get_mut(index as usize)?;
        (entry.uses == uses).then_some((index, &mut entry.connection))
    }

    /// The connection in a row, if there is one.
    #[inline(always)]
    pub(crate) fn row_mut(&mut self, index: u32) -> Option<&mut Connection> {
        self.entries.get_mut(index as usize).map(|row| &mut row.connection)
    }

    /// A hint that the row of this number, if there is one, is used soon.
    #[inline(always)]
    pub(crate) fn prefetch(&self, index: u32) {
        if let Some(row) = self.entries.get(index as usize) {
            prefetch(row);
        }
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
        core::iter::successors(link(self.free_entry), move |&index| link(self.entries[index as usize].class_or_link))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is fetched ahead are the rows that the calls look at; a handle of no row names none.
    #[test]
    fn handle_names_its_row() {
        let mut table = Table::new(2, Stamp::new(0)).expect("there is memory");
        for row in 0..2 {
            assert_eq!(table.insert(Connection::default(), 15, 0), Ok(row));
        }
        table.salt(1 << 30);
        for row in 0..2 {
            assert_eq!(table.row(table.id(row)), row);
        }
        let beyond = ReceiverId(table.id(1).0 ^ 2);
        assert!(table.row(beyond) >= table.rows());
    }

    #[test]
    fn strangers_are_not_found() {
        let mut table = Table::new(2, Stamp::new(9)).expect("there is memory");
        assert_eq!(table.insert(Connection::default(), 0, 0), Ok(0));
        let known = table.id(0);
        let strangers = [1 << 32, 1 << 55, 1 << 56, 1 << 63, 1].map(|bit| ReceiverId::from_bits(known.to_bits() ^ bit));
        assert!(table.find_fast(known).is_some() && strangers.iter().all(|&id| table.find_fast(id).is_none()));
    }

    /// However many threads there are, and as many rows as they may have: no two of them have a handle in common, nor
    /// do they use the bits of the salt.
    #[test]
    #[cfg(feature = "std")]
    fn s84_rows_of_threads_differ() {
        let row_max = |threads: u32| crate::scheduler::INDEX_MAX / threads - 1;
        for threads in [1, 2, 3, 255, 256, 257, 300, 1023, 1024] {
            let mut seen = std::collections::HashSet::new();
            for index in 0..threads {
                let Stamp { mask, first_use } = Stamp::of_thread(0, index, threads, 0);
                assert_eq!((mask >> 32 << 32, mask as u32 >> 30, first_use), (Stamp::KIND, 0, 0));
                let mut table = Table::new(1, Stamp { mask, first_use }).expect("there is memory");
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
