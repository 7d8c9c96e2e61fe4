//! The waits that are in the common queue themselves: each has a home, the shard that is woken when it is served.

use super::cache::Holder;
use super::own_waits::OwnWait;
use crate::scheduler::{ConfigError, Generation, LeaseId, Request, WaitId, WaitInfo};
use alloc::vec::Vec;

const NIL: u32 = u32::MAX;

/// How a wait stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Unused,
    /// In the pool's queue, as this wait.
    Queued(WaitId),
    /// This buffer is its own; it was bypassed by this number of grants and has waited since then.
    Assigned {
        buffer: u32,
        bypasses: u64,
        since_ns: u64,
    },
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Ticket {
    pub(super) token: u64,
    pub(super) state: State,
    pub(super) home: u32,
    pub(super) class: u8,
    pub(super) has_deadline: bool,
    pub(super) holder: Holder,
    /// A wait with an earlier one was there before.
    stamp: u64,
    /// The number that the host knows it by, if it was queued by a shard before.
    pub(super) alias: Option<WaitId>,
    generation: Generation,
    next: u32,
    prev: u32,
}

/// The grants that a shard has not picked up, first in, first out; how many these are, and how many waits it has, queued
/// or assigned.
#[derive(Clone, Copy, Debug)]
struct Grants {
    head: u32,
    tail: u32,
    assigned: u32,
    waits: u32,
    /// How many may still be taken because the shard does not look, `next_due` first: those it had when this was noticed.
    due: u32,
    next_due: u32,
}

#[derive(Debug)]
pub(super) struct Tickets {
    /// Touched in the order of first use.
    table: Vec<Ticket>,
    max: u32,
    tag: u8,
    unused: u32,
    grants: Vec<Grants>,
    pub(super) assigned: u32,
    /// Waits that are exported and not adopted yet.
    pub(super) exported: u32,
    /// Waits that may begin, beside those that shards may begin themselves.
    pub(super) rights: u32,
}

impl Tickets {
    /// The home of a wait that is exported and not adopted yet.
    pub(super) const NOWHERE: u32 = NIL;

    pub(super) fn new(waiters_max: u32, shards: u32, tag: u8) -> Result<Tickets, ConfigError> {
        let table = crate::alloc_util::reserve("waiters_max", waiters_max)?;
        let mut grants = crate::alloc_util::reserve("shards", shards)?;
        grants.extend((0..shards).map(|_| Grants {
            head: NIL,
            tail: NIL,
            assigned: 0,
            waits: 0,
            due: 0,
            next_due: NIL,
        }));
        Ok(Tickets { table, max: waiters_max, tag, unused: NIL, grants, assigned: 0, exported: 0, rights: waiters_max })
    }

    pub(super) fn len(&self) -> u32 {
        self.max
    }

    /// The ticket that the next [`Tickets::open`] uses, or none is left.
    pub(super) fn next_unused(&self) -> Option<u32> {
        match self.unused {
            NIL => Some(self.table.len() as u32).filter(|&fresh| fresh < self.max),
            unused => Some(unused),
        }
    }

    /// Gives the request that waits in the pool as `wait` a home.
    pub(super) fn open(&mut self, home: u32, request: &Request, holder: Holder, wait: WaitId, stamp: u64) -> WaitId {
        let Request { token, class, has_deadline, .. } = *request;
        let (state, alias) = (State::Queued(wait), None);
        self.rights -= 1;
        let index =
            self.fill(home, |ticket| Ticket { token, state, class, has_deadline, holder, stamp, alias, ..ticket });
        self.wait_at(index)
    }

    /// As `open`, of a wait that its shard queued before: it had a right.
    pub(super) fn open_moved(&mut self, home: u32, moved: &OwnWait, alias: WaitId, state: State) {
        let OwnWait { token, class, has_deadline, holder, stamp, .. } = *moved;
        let alias = Some(alias);
        let index =
            self.fill(home, |ticket| Ticket { token, state, class, has_deadline, holder, stamp, alias, ..ticket });
        if let State::Assigned { .. } = state {
            self.assigned += 1;
            self.link(home, index);
        }
    }

    fn fill(&mut self, home: u32, fill: impl Fn(Ticket) -> Ticket) -> u32 {
        if self.unused == NIL {
            self.add_unused();
        }
        let index = self.unused;
        let ticket = &mut self.table[index as usize];
        self.unused = ticket.next;
        *ticket = Ticket { home, next: NIL, prev: NIL, ..fill(*ticket) };
        self.grants[home as usize].waits += 1;
        index
    }

    pub(super) fn stamp(&self, index: u32) -> u64 {
        self.table[index as usize].stamp
    }

    /// Inside what was reserved at start: as many as `max`.
    fn add_unused(&mut self) {
        let (state, generation) = (State::Unused, Generation::first(self.tag));
        self.unused = self.table.len() as u32;
        let (token, home, class, has_deadline, next, prev) = (0, NIL, 0, false, NIL, NIL);
        let holder = Holder::Host;
        let (stamp, alias) = (0, None);
        self.table.push(Ticket {
            token,
            state,
            home,
            class,
            has_deadline,
            holder,
            stamp,
            alias,
            generation,
            next,
            prev,
        });
    }

    pub(super) fn find(&self, wait: WaitId) -> Option<&Ticket> {
        let ticket = self.table.get(wait.index() as usize)?;
        (ticket.generation == wait.generation() && ticket.state != State::Unused).then_some(ticket)
    }

    pub(super) fn at(&self, index: u32) -> &Ticket {
        &self.table[index as usize]
    }

    /// Gives a buffer to a waiter; returns its home.
    pub(super) fn assign(&mut self, index: u32, lease: LeaseId, info: &WaitInfo, since_ns: u64) -> u32 {
        let ticket = &mut self.table[index as usize];
        ticket.state = State::Assigned { buffer: lease.index(), bypasses: info.bypasses, since_ns };
        self.assigned += 1;
        let home = ticket.home;
        self.link(home, index);
        home
    }

    /// The buffer and the class of a wait that has one.
    pub(super) fn assigned_at(&self, index: u32) -> (u32, u8) {
        let Ticket { state, class, .. } = self.table[index as usize];
        let State::Assigned { buffer, .. } = state else { unreachable!("what is among the grants is assigned") };
        (buffer, class)
    }

    /// A wait has another buffer.
    pub(super) fn set_buffer(&mut self, index: u32, other: u32) {
        if let State::Assigned { buffer, .. } = &mut self.table[index as usize].state {
            *buffer = other;
        }
    }

    /// A wait lost its buffer, and is in the pool's queue again.
    pub(super) fn queue_again(&mut self, index: u32, wait: WaitId, stamp: u64) {
        self.unlink(self.table[index as usize].home, index);
        self.assigned -= 1;
        let ticket = &mut self.table[index as usize];
        (ticket.state, ticket.stamp) = (State::Queued(wait), stamp);
    }

    /// The wait at this index, which is one.
    pub(super) fn wait_at(&self, index: u32) -> WaitId {
        WaitId::new(index, self.table[index as usize].generation)
    }

    /// The next grant of a shard.
    pub(super) fn first_grant(&self, home: u32) -> Option<WaitId> {
        let index = self.grants[home as usize].head;
        (index != NIL).then(|| self.wait_at(index))
    }

    /// The grants that a shard has now may be taken.
    pub(super) fn note_due(&mut self, home: u32) {
        let grants = &mut self.grants[home as usize];
        (grants.due, grants.next_due) = (grants.assigned, grants.head);
    }

    /// The next grant that may be taken. One that was looked at and kept its buffer is not seen again.
    pub(super) fn take_due(&mut self, home: u32) -> Option<WaitId> {
        let grants = &mut self.grants[home as usize];
        grants.due = grants.due.checked_sub(1)?;
        let index = grants.next_due;
        grants.next_due = self.table[index as usize].next;
        Some(self.wait_at(index))
    }

    /// The number that the host knows the next grant of a shard by.
    pub(super) fn first_number(&self, home: u32) -> Option<WaitId> {
        self.first_grant(home).map(|wait| self.at(wait.index()).alias.unwrap_or(wait))
    }

    /// Gives a wait another home, where it goes by this token.
    pub(super) fn rehome(&mut self, index: u32, home: u32, token: u64) {
        let Ticket { state, home: old, .. } = self.table[index as usize];
        self.exported -= u32::from(old == Tickets::NOWHERE);
        self.exported += u32::from(home == Tickets::NOWHERE);
        self.count_ended(old);
        if let Some(grants) = self.grants.get_mut(home as usize) {
            grants.waits += 1;
        }
        self.table[index as usize].home = home;
        self.table[index as usize].token = token;
        if let State::Assigned { .. } = state {
            self.unlink(old, index);
            self.link(home, index);
        }
    }

    /// Ends a wait; what it was is returned.
    pub(super) fn close(&mut self, index: u32) -> Ticket {
        let ticket = self.table[index as usize];
        if let State::Assigned { .. } = ticket.state {
            self.unlink(ticket.home, index);
            self.assigned -= 1;
        }
        self.exported -= u32::from(ticket.home == Tickets::NOWHERE);
        self.count_ended(ticket.home);
        self.rights += 1;
        let unused = &mut self.table[index as usize];
        unused.state = State::Unused;
        unused.generation = unused.generation.next();
        unused.next = self.unused;
        self.unused = index;
        ticket
    }

    /// How many waits a shard has.
    pub(super) fn waits_of(&self, home: u32) -> u32 {
        self.grants[home as usize].waits
    }

    /// How many of them are queued.
    pub(super) fn queued_of(&self, home: u32) -> u32 {
        let Grants { assigned, waits, .. } = self.grants[home as usize];
        waits - assigned
    }

    /// Rows of the table that were ever used, or more.
    pub(super) fn rows(&self) -> u32 {
        self.table.len() as u32
    }

    /// Whether the ticket at this index is a wait of a shard.
    pub(super) fn is_of(&self, home: u32, index: u32) -> bool {
        let ticket = &self.table[index as usize];
        ticket.home == home && ticket.state != State::Unused
    }

    /// Adds to the counts of waits and of those that have a buffer, for the check of invariants.
    #[cfg(all(test, not(loom)))]
    pub(super) fn miscount(&mut self, home: u32, [waits, assigned]: [u32; 2]) {
        self.grants[home as usize].waits += waits;
        self.grants[home as usize].assigned += assigned;
    }

    fn count_ended(&mut self, home: u32) {
        if let Some(grants) = self.grants.get_mut(home as usize) {
            grants.waits -= 1;
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Ticket> {
        self.table.iter().filter(|ticket| ticket.state != State::Unused)
    }

    fn link(&mut self, home: u32, index: u32) {
        let Some(grants) = self.grants.get_mut(home as usize) else {
            return;
        };
        grants.assigned += 1;
        let prev = core::mem::replace(&mut grants.tail, index);
        match prev {
            NIL => grants.head = index,
            prev => self.table[prev as usize].next = index,
        }
        self.table[index as usize].prev = prev;
        self.table[index as usize].next = NIL;
    }

    fn unlink(&mut self, home: u32, index: u32) {
        let Some(grants) = self.grants.get_mut(home as usize) else {
            return;
        };
        grants.assigned -= 1;
        let Ticket { next, prev, .. } = self.table[index as usize];
        match prev {
            NIL => grants.head = next,
            prev => self.table[prev as usize].next = next,
        }
        match next {
            NIL => grants.tail = prev,
            next => self.table[next as usize].prev = prev,
        }
    }
}
