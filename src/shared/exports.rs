//! The exported receivers of a shared pool: each is imported once.

use crate::config_error::ConfigError;
use crate::pool::PoolError;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};

/// Names an exported receiver. C may copy the value that has it, but only one copy is imported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ticket {
    /// The shared pool, by a number that no other has in this process.
    pub pool: u64,
    /// An entry of its table.
    pub entry: u32,
    /// How often the entry was used; odd while the receiver is exported.
    pub uses: u32,
}

/// The tickets of one shared pool.
#[derive(Debug)]
pub(super) struct Exports {
    pool: u64,
    tickets: Mutex<Tickets>,
}

/// Entries are touched in the order of their first use; nothing is allocated after `new`.
#[derive(Debug)]
pub(super) struct Tickets {
    entries: Vec<Entry>,
    free: u32,
    max: u32,
}

#[derive(Debug)]
struct Entry {
    uses: u32,
    /// The tenant of the receiver, which is pinned. Not in the value that C may change.
    tenant: u32,
    /// The next free entry.
    next: u32,
}

const NIL: u32 = u32::MAX;

impl Exports {
    /// For at most `max` exported receivers at once.
    pub(super) fn new(max: u32) -> Result<Exports, ConfigError> {
        /// Only compared, so that what happens depends on nothing outside of the pool.
        static POOLS: AtomicU64 = AtomicU64::new(0);
        let entries = crate::alloc_util::reserve("receivers_max", max)?;
        let pool = POOLS.fetch_add(1, Ordering::Relaxed);
        Ok(Exports { pool, tickets: Mutex::new(Tickets { entries, free: NIL, max }) })
    }

    /// Keeps the table as it is until the export or import is done.
    #[inline(always)]
    pub(super) fn lock(&self) -> MutexGuard<'_, Tickets> {
        self.tickets.lock().expect("no thread panics while it moves a receiver")
    }

    /// Refuses a ticket of another pool, and one whose receiver is not exported.
    pub(super) fn check(&self, tickets: &Tickets, ticket: Ticket) -> Result<(), PoolError> {
        let entry = tickets.entries.get(ticket.entry as usize);
        let is_exported = entry.is_some_and(|entry| entry.uses == ticket.uses && entry.uses % 2 == 1);
        if ticket.pool == self.pool && is_exported { Ok(()) } else { Err(PoolError::Stale) }
    }

    /// A receiver is exported, of this tenant. The caller asked [`Tickets::check_room`].
    #[inline(always)]
    pub(super) fn open(&self, tickets: &mut Tickets, tenant: u32) -> Ticket {
        if tickets.free == NIL {
            tickets.entries.push(Entry { uses: 0, tenant: 0, next: NIL });
            tickets.free = tickets.entries.len() as u32 - 1;
        }
        let at = tickets.free;
        let entry = &mut tickets.entries[at as usize];
        tickets.free = entry.next;
        (entry.uses, entry.tenant) = (entry.uses.wrapping_add(1), tenant);
        Ticket { pool: self.pool, entry: at, uses: entry.uses }
    }
}

impl Tickets {
    /// Refuses one more if the table is full.
    pub(super) fn check_room(&self) -> Result<(), PoolError> {
        let has_room = self.free != NIL || (self.entries.len() as u32) < self.max;
        if has_room { Ok(()) } else { Err(PoolError::ExportsFull) }
    }

    /// The tenant of an exported receiver. The caller asked [`Exports::check`].
    pub(super) fn tenant(&self, ticket: Ticket) -> u32 {
        self.entries[ticket.entry as usize].tenant
    }

    /// A receiver is imported. The caller asked [`Exports::check`].
    #[inline(always)]
    pub(super) fn close(&mut self, ticket: Ticket) {
        let entry = &mut self.entries[ticket.entry as usize];
        entry.uses = entry.uses.wrapping_add(1);
        entry.next = self.free;
        self.free = ticket.entry;
    }
}
