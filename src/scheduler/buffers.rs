//! Which buffers are free: a free list for each size, and one budget for all of them.
//!
//! Each size has as many ids as the whole budget could be spent on, and what is outstanding is counted in units of the
//! greatest common size. So no buffer of one size is ever kept from being had by pieces of another that lie in its
//! way: the sizes share a number, not addresses.

use super::Request;
use super::config::SIZES_MAX;
use super::id::{Generation, LeaseId};
use super::list::NIL;
use alloc::vec::Vec;
use core::ops::Range;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LeaseState {
    Free,
    Leased,
    Assigned,
    /// Out of the budget.
    Withheld,
}

/// One buffer, or a link of its size's free list.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lease {
    pub(super) token: u64,
    pub(super) generation: Generation,
    next: u32,
    pub(super) tenant: u32,
    pub(super) class: u8,
    pub(super) size_index: u8,
    pub(super) state: LeaseState,
    pub(super) has_deadline: bool,
}

const _: () = assert!(size_of::<Lease>() <= 24);

impl Lease {
    /// Whether a class and a tenant have it: for checks.
    pub(super) fn is_outstanding(&self) -> bool {
        matches!(self.state, LeaseState::Leased | LeaseState::Assigned)
    }
}

/// One size of buffers.
#[derive(Clone, Copy, Debug, Default)]
struct Size {
    units: u32,
    /// Head of the free list.
    free: u32,
}

/// All buffers of a pool.
#[cfg_attr(feature = "model-check", derive(Clone))]
#[derive(Debug)]
pub(super) struct Buffers {
    table: Vec<Lease>,
    sizes: [Size; SIZES_MAX],
    units: u32,
    free_units: u32,
    /// Head of the list of those that are withheld, and how many there are.
    first_withheld: u32,
    withheld: u32,
    /// Of each buffer, how often it had been taken when it was trimmed last. Empty before that.
    trimmed: Vec<u32>,
}

impl Buffers {
    /// All buffers free, in memory that was reserved for them.
    pub(super) fn new(
        mut table: Vec<Lease>,
        trimmed: Vec<u32>,
        units: u32,
        sizes: &[u32; SIZES_MAX],
        tag: u8,
    ) -> Buffers {
        let mut lists = [Size { units: 0, free: NIL }; SIZES_MAX];
        for (size_index, &size_units) in sizes.iter().enumerate().filter(|(_, units)| **units > 0) {
            let (first, count) = (table.len() as u32, units / size_units);
            table.extend((first..first + count).map(|index| Lease {
                token: 0,
                generation: Generation::first(tag),
                next: if index + 1 < first + count { index + 1 } else { NIL },
                tenant: 0,
                class: 0,
                size_index: size_index as u8,
                state: LeaseState::Free,
                has_deadline: false,
            }));
            lists[size_index] = Size { units: size_units, free: if count > 0 { first } else { NIL } };
        }
        Buffers { table, sizes: lists, units, free_units: units, first_withheld: NIL, withheld: 0, trimmed }
    }

    pub(super) fn table(&self) -> &[Lease] {
        &self.table
    }

    pub(super) fn lease_mut(&mut self, index: u32) -> &mut Lease {
        &mut self.table[index as usize]
    }

    /// The budget, in units.
    pub(super) fn units(&self) -> u32 {
        self.units
    }

    #[inline]
    pub(super) fn free_units(&self) -> u32 {
        self.free_units
    }

    /// Units of a buffer of this size; 0 if there is no such size.
    #[inline]
    pub(super) fn units_of(&self, size_index: u8) -> u32 {
        self.sizes.get(usize::from(size_index)).map_or(0, |size_index| size_index.units)
    }

    /// Takes the buffer of this size that was used last: its memory is the most likely to be in a cache. The budget
    /// has room for it, the caller saw to that; then a free id is left, since there are as many as the budget allows.
    /// Returns its units too.
    #[inline(always)]
    pub(super) fn take(&mut self, request: &Request, tenant: u32, state: LeaseState) -> (LeaseId, u32) {
        let Request { token, class, size_index, has_deadline, .. } = *request;
        let list = &mut self.sizes[usize::from(size_index)];
        let index = list.free;
        let lease = &mut self.table[index as usize];
        let Lease { generation, next, .. } = *lease;
        *lease = Lease { token, generation, next, tenant, class, size_index, state, has_deadline };
        list.free = next;
        self.free_units -= list.units;
        (LeaseId::new(index, generation), list.units)
    }

    /// Frees a buffer; returns its units, and what was known of it.
    #[inline(always)]
    pub(super) fn put(&mut self, index: u32) -> (u32, Lease) {
        let lease = &mut self.table[index as usize];
        let was = *lease;
        let list = &mut self.sizes[usize::from(was.size_index)];
        lease.state = LeaseState::Free;
        lease.generation = was.generation.next();
        lease.next = list.free;
        list.free = index;
        self.free_units += list.units;
        (list.units, was)
    }

    /// Buffers that are withheld.
    pub(super) fn withheld(&self) -> u32 {
        self.withheld
    }

    /// Withholds a free buffer of the default size. `false` if there is none.
    pub(super) fn withhold(&mut self) -> bool {
        let index = self.sizes[0].free;
        if index == NIL || self.free_units < self.sizes[0].units {
            return false;
        }
        let lease = &mut self.table[index as usize];
        self.sizes[0].free = core::mem::replace(&mut lease.next, self.first_withheld);
        lease.state = LeaseState::Withheld;
        self.free_units -= self.sizes[0].units;
        (self.first_withheld, self.withheld) = (index, self.withheld + 1);
        true
    }

    /// Frees a buffer that is withheld. `false` if there is none.
    pub(super) fn restore(&mut self) -> bool {
        let Some(lease) = self.table.get_mut(self.first_withheld as usize) else {
            return false;
        };
        let index = core::mem::replace(&mut self.first_withheld, lease.next);
        lease.next = core::mem::replace(&mut self.sizes[0].free, index);
        lease.state = LeaseState::Free;
        self.free_units += self.sizes[0].units;
        self.withheld -= 1;
        true
    }

    pub(super) fn find(&self, lease: LeaseId) -> Option<&Lease> {
        let entry = self.table.get(lease.index() as usize)?;
        (entry.generation == lease.generation() && entry.state == LeaseState::Leased).then_some(entry)
    }

    /// The buffers of these rows that are free or withheld, in the order of their numbers, and of each whether it was
    /// taken since it was named here last.
    pub(super) fn free_to_trim(&mut self, rows: Range<u32>) -> impl Iterator<Item = (u32, bool)> {
        // Inside what was reserved at start.
        self.trimmed.resize(self.table.len(), 0);
        let inside = rows.start as usize..rows.end as usize;
        let free = rows.zip(&self.table[inside.clone()]).zip(&mut self.trimmed[inside]);
        let is_unused = |state| matches!(state, LeaseState::Free | LeaseState::Withheld);
        free.filter(move |((_, lease), _)| is_unused(lease.state)).map(|((index, lease), trimmed)| {
            let taken = lease.generation.uses_before();
            (index, core::mem::replace(trimmed, taken) != taken)
        })
    }

    /// The free buffers of one size, the one used last first.
    pub(super) fn free_of(&self, size_index: u8) -> impl Iterator<Item = u32> {
        let link = |index: u32| (index != NIL).then_some(index);
        core::iter::successors(link(self.sizes[usize::from(size_index)].free), move |&index| {
            link(self.table[index as usize].next)
        })
    }
}
