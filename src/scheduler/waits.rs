//! The table of waits: generational handles, entries touched in the order of their first use.

use super::id::{Generation, WaitId};
use super::list::{Linked, Links, NIL};
use alloc::vec::Vec;

/// What a wait entry is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WaitState {
    Free,
    Queued,
    /// It has a buffer, and is in the scheduler's list of grants.
    Assigned,
    /// It has a buffer, and is in the list of its home.
    #[cfg(feature = "std")]
    AtHome,
}

/// One place in a queue, or a link of the free list. Half of the entries, of 48 bytes each, lie across two cache lines.
/// Ending a wait touches the first and the last field, so both lines are loaded before the entry is reused.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct Wait {
    pub(super) tenant: u32,
    /// Index of the buffer that was assigned.
    pub(super) buffer: u32,
    pub(super) token: u64,
    pub(super) since_ns: u64,
    /// Queued: the class's count of grants at the start. Assigned: the bypasses.
    pub(super) bypasses: u64,
    pub(super) links: Links,
    pub(super) generation: Generation,
    pub(super) class: u8,
    pub(super) size_index: u8,
    pub(super) has_deadline: bool,
    pub(super) state: WaitState,
}

const _: () = assert!(size_of::<Wait>() <= 48);

impl Linked for Wait {
    fn links(&self) -> &Links {
        &self.links
    }

    fn links_mut(&mut self) -> &mut Links {
        &mut self.links
    }
}

impl Wait {
    pub(super) fn id(&self, index: u32) -> WaitId {
        WaitId::new(index, self.generation)
    }
}

/// All waits of a pool.
#[cfg_attr(feature = "model-check", derive(Clone))]
#[derive(Debug)]
pub(super) struct Waits {
    table: Vec<Wait>,
    free: u32,
    max: u32,
    tag: u8,
}

impl Waits {
    /// A table for `max` waits in memory that was reserved for them.
    pub(super) fn new(table: Vec<Wait>, max: u32, tag: u8) -> Waits {
        Waits { table, free: NIL, max, tag }
    }

    pub(super) fn max(&self) -> u32 {
        self.max
    }

    pub(super) fn table(&self) -> &[Wait] {
        &self.table
    }

    pub(super) fn table_mut(&mut self) -> &mut [Wait] {
        &mut self.table
    }

    pub(super) fn has_room(&self) -> bool {
        self.free != NIL || (self.table.len() as u32) < self.max
    }

    /// Fills an entry; its generation and links are kept.
    ///
    /// # Panics
    ///
    /// There is no room: a bug of the caller.
    pub(super) fn add(&mut self, wait: Wait) -> u32 {
        if self.free == NIL {
            assert!(self.has_room(), "the caller asked `has_room`");
            // Inside what was reserved at start: no allocation, and a page is touched only when it is needed.
            self.table.push(Wait { generation: Generation::first(self.tag), ..wait });
            return self.table.len() as u32 - 1;
        }
        let index = self.free;
        let entry = &mut self.table[index as usize];
        self.free = entry.links.next;
        *entry = Wait { generation: entry.generation, ..wait };
        index
    }

    /// Ends the handle of an entry.
    pub(super) fn remove(&mut self, index: u32) {
        let entry = &mut self.table[index as usize];
        entry.state = WaitState::Free;
        entry.generation = entry.generation.next();
        entry.links.next = self.free;
        self.free = index;
    }

    pub(super) fn find(&self, wait: WaitId) -> Option<&Wait> {
        let entry = self.table.get(wait.index() as usize)?;
        (entry.generation == wait.generation() && entry.state != WaitState::Free).then_some(entry)
    }
}
